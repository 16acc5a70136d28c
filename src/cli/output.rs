//! Where text goes: data to standard output, talk to standard error.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{log, render};
use crate::domain::show_size;
use crate::logs;
use crate::ops::{AdminReply, Failure};
use crate::store::{Progress, Unit};

/// How far something is, where a person looks on.
struct ProgressShown {
    what: String,
    line: ProgressBar,
    begun: Instant,
}

/// The two streams of this process.
pub(super) struct Output {
    pub json: bool,
    shown: Option<ProgressShown>,
    closed: bool,
    measure: Option<Measure>,
    /// No progress is shown: the command's own lines say how far it is.
    still: bool,
}

/// A better measure than the command's own.
#[derive(Clone)]
enum Measure {
    /// Bytes of the input so far, and in all.
    Read(Arc<AtomicU64>, u64),
    /// Bytes of the output so far.
    Written(Arc<AtomicU64>),
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, shown: None, closed: false, measure: None, still: false }
    }

    /// Whether the reader closed standard output.
    pub fn closed(&self) -> bool {
        self.closed
    }

    /// Remembers that a reader is gone.
    pub fn noticed(&mut self, error: &io::Error) {
        self.closed |= error.kind() == ErrorKind::BrokenPipe;
    }

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

    pub fn say(&mut self, text: &str) {
        if let Some(ProgressShown { line, .. }) = &self.shown {
            line.suspend(|| talk(text));
        } else {
            talk(text);
        }
    }

    pub fn reply(&mut self, reply: &AdminReply, running: bool) -> Result<(), Failure> {
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
        self.measure = Some(Measure::Read(read, total));
    }

    /// Has progress shown with the bytes that were written.
    pub fn measured_by_output(&mut self, written: Arc<AtomicU64>) {
        self.measure = Some(Measure::Written(written));
    }

    pub fn be_still(&mut self) {
        self.still = true;
    }

    /// A line that is replaced by the next one, where a person looks on; nothing elsewhere.
    pub fn progress(&mut self, progress: &Progress) {
        if self.still || !io::stderr().is_terminal() {
            return;
        }
        let mut progress = progress.clone();
        let mut written = None;
        match &self.measure {
            Some(Measure::Read(read, total)) if progress.total.is_none() => {
                let done = read.load(Ordering::Relaxed);
                progress = Progress::bytes(progress.what, done, Some(*total));
            }
            Some(Measure::Written(bytes)) => written = Some(bytes.load(Ordering::Relaxed)),
            _ => {}
        }
        let same = self.shown.as_ref().is_some_and(|shown| shown.what == progress.what);
        if !same {
            self.finish();
            let line = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                line.set_style(style);
            }
            self.shown =
                Some(ProgressShown { what: progress.what.clone(), line, begun: Instant::now() });
        }
        if let Some(ProgressShown { line, begun, .. }) = &self.shown {
            line.set_message(
                logs::plain(&progress_line(&progress, written, begun.elapsed())).into_owned(),
            );
        }
    }

    /// Takes the line away.
    pub fn finish(&mut self) {
        if let Some(ProgressShown { line, .. }) = self.shown.take() {
            line.finish_and_clear();
        }
    }

    /// Warnings of a store that this command opens itself go to standard error.
    #[expect(clippy::unused_self, reason = "the streams are its own")]
    pub fn log_quietly(&self) {
        let lines = log::lines().with_ansi(false).without_time().with_target(false);
        let warnings = tracing_subscriber::registry().with(LevelFilter::WARN).with(lines);
        // A second command of this process keeps the first one's.
        let _already_set = warnings.try_init();
    }
}

/// How far something is: `reading the journal: 1.2 GB of 3.4 GB, 35 %, 12.0 MB/s`.
fn progress_line(progress: &Progress, written: Option<u64>, elapsed: Duration) -> String {
    let Progress { what, done, total, unit } = progress;
    let is_bytes = *unit == Unit::Bytes;
    let amount = |count: u64| if is_bytes { show_size(count) } else { count.to_string() };
    let mut parts: Vec<String> = written.map(show_size).into_iter().collect();
    match total.map(|total| total.max(*done)) {
        Some(total) => {
            parts.push(format!("{} of {}", amount(*done), amount(total)));
            let percent = u128::from(*done) * 100 / u128::from(total.max(1));
            parts.push(format!("{percent} %"));
        }
        None => parts.push(amount(*done)),
    }
    // A rate of the first moments says nothing.
    let bytes = written.or(is_bytes.then_some(*done));
    if let Some(bytes) = bytes.filter(|_| elapsed >= Duration::from_millis(500)) {
        let rate = u128::from(bytes) * 1000 / elapsed.as_millis();
        parts.push(format!("{}/s", show_size(u64::try_from(rate).unwrap_or(u64::MAX))));
    }
    format!("{what}: {}", parts.join(", "))
}

/// An error of writing that says where.
pub(super) fn named(what: impl std::fmt::Display, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {what}: {error}"))
}

/// A line on standard error. Nobody listens where that fails.
pub(super) fn talk(text: &str) {
    let _nobody_listens = writeln!(io::stderr(), "{}", logs::plain_lines(text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_in_bytes_with_units() {
        let (giga, mega) = (1_000_000_000, 1_000_000);
        let read = Progress::bytes("reading", 12 * giga / 10, Some(34 * giga / 10));
        let line = |progress: &Progress, written, seconds| {
            progress_line(progress, written, Duration::from_secs(seconds))
        };
        assert_eq!(line(&read, None, 100), "reading: 1.2 GB of 3.4 GB, 35 %, 12.0 MB/s");
        assert_eq!(line(&read, None, 0), "reading: 1.2 GB of 3.4 GB, 35 %");
        let calls = Progress::steps("exporting", 5, Some(20));
        assert_eq!(line(&calls, Some(3 * mega), 2), "exporting: 3.0 MB, 5 of 20, 25 %, 1.5 MB/s");
        let endless = Progress::bytes("importing", 0, None);
        assert_eq!(line(&endless, None, 1), "importing: 0 B, 0 B/s");
        // A total that was too low is no more than a hundred per cent.
        let more = Progress::steps("building", 7, Some(0));
        assert_eq!(line(&more, None, 1), "building: 7 of 7, 100 %");
    }
}
