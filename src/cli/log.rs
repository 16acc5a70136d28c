//! The log of a server: where it goes, and in which shape.

use std::any::Any;
use std::borrow::Cow;
use std::io::{self, IsTerminal as _};
use std::panic::{self, PanicHookInfo};

use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::fmt::SubscriberBuilder;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, LogLevel, LogNumbers};
use crate::logs;
use crate::ops::Failure;

/// Where the systemd journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Begins the log. The process has one, and this is the only place that begins one for a server.
pub(super) fn begin(log: &Log) -> Result<(), Failure> {
    logs::show_numbers(log.numbers == LogNumbers::Full);
    panic::set_hook(Box::new(note_panic));
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let ansi = io::stderr().is_terminal();
    let lines = lines().with_max_level(level);
    let _already_set = match log.format {
        LogFormat::Human => lines.with_ansi(ansi).try_init(),
        LogFormat::Json => lines.json().with_span_list(false).try_init(),
        LogFormat::Journald => return journald(level),
    };
    Ok(())
}

/// Lines on standard error. One that cannot be written is lost: where the disk is full on which they
/// are kept, or nobody reads them any more, all else goes on.
pub(super) fn lines() -> SubscriberBuilder<DefaultFields, Format, LevelFilter, fn() -> Plain> {
    // Else it would be told on standard error, and whoever cannot write there panics.
    tracing_subscriber::fmt().with_writer(Plain::new as fn() -> _).log_internal_errors(false)
}

/// Standard error, on which no text of others changes how the rest of a line reads.
pub(super) struct Plain(io::Stderr);

impl Plain {
    fn new() -> Self {
        Self(io::stderr())
    }
}

impl io::Write for Plain {
    /// A line comes whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line).map(logs::plain_log) {
            Ok(Cow::Owned(plain)) => self.0.write_all(plain.as_bytes()).map(|()| line.len()),
            _ => self.0.write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn journald(level: LevelFilter) -> Result<(), Failure> {
    let journal = tracing_journald::layer().map_err(|error| {
        Failure::new(format!(
            "log.format is \"journald\", and the systemd journal does not listen on {JOURNAL} \
             ({error}); write \"human\" or \"json\""
        ))
    })?;
    let priorities = PriorityMappings {
        info: Priority::Informational,
        debug: Priority::Debug,
        ..PriorityMappings::new()
    };
    let journal = journal
        .with_syslog_identifier("rollcall".to_owned())
        .with_field_prefix(Some("ROLLCALL".to_owned()))
        .with_priority_mappings(priorities);
    let _already_set = tracing_subscriber::registry().with(level).with(journal).try_init();
    Ok(())
}

/// A panic is a line of the log like any other: in its shape, and without telephone numbers.
fn note_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let said = logs::masked(said(panic.payload()));
    tracing::error!(thread, at, said = &*said, "a panic");
}

/// The text of a panic.
fn said(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("something without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_panic_is_found_in_either_shape() {
        let caught = |work: fn()| panic::catch_unwind(work).unwrap_err();
        assert_eq!(said(&*caught(|| panic!("plain"))), "plain");
        assert_eq!(said(&*caught(|| panic!("call {}", 7))), "call 7");
        assert_eq!(said(&*caught(|| panic::panic_any(7))), "something without words");
    }
}
