//! Where text goes: data to standard output, talk to standard error.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::{log, render};
use crate::logs;
use crate::ops::{Failure, Reply};
use crate::store::Progress;

/// The two streams of this process.
pub(super) struct Output {
    pub json: bool,
    bar: Option<(String, ProgressBar)>,
    closed: bool,
    /// A better measure than the command's own: bytes of input so far, and in all.
    measure: Option<(Arc<AtomicU64>, u64)>,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, bar: None, closed: false, measure: None }
    }

    /// Whether somebody closed standard output.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Remembers that a reader is gone.
    pub fn noticed(&mut self, error: &io::Error) {
        self.closed |= error.kind() == ErrorKind::BrokenPipe;
    }

    /// Data.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| named("standard output", &error)).inspect_err(|e| self.noticed(e))
    }

    /// A text that ends with a line end.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.finish();
        self.data(text.as_bytes())?;
        if !text.ends_with('\n') {
            self.data(b"\n")?;
        }
        Ok(())
    }

    /// Talk.
    pub fn say(&mut self, text: &str) {
        if let Some((_, bar)) = &self.bar {
            bar.suspend(|| talk(text));
        } else {
            talk(text);
        }
    }

    /// What a command answered.
    pub fn reply(&mut self, reply: &Reply, running: bool) -> Result<(), Failure> {
        let shown =
            if self.json { render::json(reply, running) } else { render::text(reply, running) };
        if let Some(aside) = shown.aside {
            self.say(&aside);
        }
        let data = &shown.data;
        self.text(&if self.json { Cow::Borrowed(data.as_str()) } else { logs::plain_lines(data) })
    }

    /// Why a command failed, as `{"error": …}` for programs.
    pub fn failure(&mut self, failure: &Failure) {
        self.finish();
        if self.json {
            talk(&serde_json::json!({ "error": failure.message }).to_string());
        } else {
            talk(&format!("rollcall: {failure}"));
        }
    }

    /// Has progress shown by what has been read of an input.
    pub fn measured_by(&mut self, read: Arc<AtomicU64>, total: u64) {
        self.measure = Some((read, total));
    }

    /// A bar, where a person looks on.
    pub fn progress(&mut self, progress: &Progress) {
        if !io::stderr().is_terminal() {
            return;
        }
        let mut progress = progress.clone();
        if let Some((read, total)) = &self.measure
            && progress.total.is_none()
        {
            progress.done = read.load(Ordering::Relaxed);
            progress.total = Some(*total);
        }
        let same = self.bar.as_ref().is_some_and(|(what, _)| *what == progress.what);
        if !same {
            self.finish();
            let bar = ProgressBar::new(progress.total.unwrap_or_default());
            let template = if progress.total.is_some() {
                "{msg} {wide_bar} {percent}% {per_sec} {eta}"
            } else {
                "{msg} {pos} {per_sec}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message(logs::plain(&progress.what).into_owned());
            self.bar = Some((progress.what, bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(progress.done);
        }
    }

    /// Takes the bar away.
    pub fn finish(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Warnings of a store that this command opens itself go to standard error.
    #[expect(clippy::unused_self, reason = "the streams are its own")]
    pub fn log_quietly(&self) {
        let lines = log::lines().with_ansi(false).without_time().with_target(false);
        // A second command of this process keeps the first one's.
        let _already_set = lines.with_max_level(tracing::Level::WARN).try_init();
    }
}

/// An error of writing that says where.
pub(super) fn named(what: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {what}: {error}"))
}

/// A line on standard error. Nobody listens where that fails.
fn talk(text: &str) {
    let _nobody_listens = writeln!(io::stderr(), "{}", logs::plain_lines(text));
}
