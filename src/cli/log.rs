//! The log of a server: where it goes, and in which shape.

use std::any::Any;
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};
use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::colour;
use super::systemd_journal::{SOCKET, SystemdJournal};
use crate::config::{DEFAULT_FILE, Log, LogFormat, LogLevel, LogNumbers};
use crate::logs::{self, WithRequest};
use crate::ops::Failure;

/// Where the log goes, and how it looks there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogTarget {
    Human,
    /// One JSON object a line on standard error, and nothing else there.
    Json,
    Journal,
}

/// The shape of the log of this process, once it has begun.
static BEGUN: OnceLock<LogTarget> = OnceLock::new();

/// Begins the log. The process has one, and this is the only place that begins one for a server.
pub(super) fn begin(log: &Log) -> Result<LogTarget, Failure> {
    logs::show_numbers(log.numbers == LogNumbers::Full);
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let shape = LogTarget::of(log.format);
    begin_in(shape, level).map_err(|error| {
        Failure::new(format!(
            "log.format is \"journald\", and the systemd journal does not listen on {SOCKET} \
             ({error}); write \"human\" or \"json\""
        ))
    })?;
    Ok(shape)
}

fn begin_in(shape: LogTarget, level: LevelFilter) -> io::Result<()> {
    // The client of NATS says at each attempt, and not why, what the module `cluster` says once.
    let client = if level >= LevelFilter::DEBUG { level } else { LevelFilter::OFF };
    let targets = Targets::new().with_default(level).with_target("async_nats", client);
    let log = tracing_subscriber::registry().with(targets);
    let _already_set = match shape {
        LogTarget::Human => {
            let lines = lines().with_ansi(colour::on(io::stderr().is_terminal()));
            log.with(WithRequest(lines)).try_init()
        }
        LogTarget::Json => log.with(WithRequest(lines().json().with_span_list(false))).try_init(),
        LogTarget::Journal => log.with(WithRequest(SystemdJournal::new()?)).try_init(),
    };
    let _already_set = BEGUN.set(shape);
    Ok(())
}

/// Has panics written as the log is, also before it has begun.
pub(super) fn note_panics() {
    panic::set_hook(Box::new(|panic| {
        if BEGUN.get().is_none() {
            let _ends_anyway = begin_in(asked(), LevelFilter::INFO);
        }
        note_panic(panic);
    }));
}

/// Says why a server does not start, or has ended, in the shape of its log. False where that is text
/// for people, which is not written here.
pub(super) fn failed(text: &str) -> bool {
    let shape = BEGUN.get().copied().unwrap_or_else(asked);
    if shape == LogTarget::Human
        || BEGUN.get().is_none() && begin_in(shape, LevelFilter::INFO).is_err()
    {
        return false;
    }
    tracing::error!("{text}");
    true
}

impl LogTarget {
    fn of(format: LogFormat) -> Self {
        match format {
            LogFormat::Json => Self::Json,
            LogFormat::Journald => Self::Journal,
            LogFormat::Auto if is_journal() && SystemdJournal::new().is_ok() => Self::Journal,
            LogFormat::Auto | LogFormat::Human => Self::Human,
        }
    }
}

/// Whether standard error leads to the systemd journal, which then says so.
fn is_journal() -> bool {
    let Ok(about) = rustix::fs::fstat(io::stderr()) else { return false };
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    stream == format!("{}:{}", about.st_dev, about.st_ino)
}

/// The shape that was asked for, as far as that can be told without a whole configuration: what is
/// wrong with it is said in that shape, too.
fn asked() -> LogTarget {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let named = |flag: &str| {
        let mut found = None;
        for (at, argument) in arguments.iter().enumerate() {
            let Some(argument) = argument.to_str() else { continue };
            if argument == flag {
                found = arguments.get(at + 1).cloned();
            } else if let Some(value) =
                argument.strip_prefix(flag).and_then(|v| v.strip_prefix('='))
            {
                found = Some(value.into());
            }
        }
        found
    };
    let format = named("--log-format").or_else(|| std::env::var_os("ROLLCALL_LOG_FORMAT"));
    let format = format.or_else(|| {
        let file = named("--config").or_else(|| std::env::var_os("ROLLCALL_CONFIG"));
        let is_demo = arguments.iter().any(|argument| argument == "--demo");
        let default = || Some(DEFAULT_FILE.into()).filter(|_| !is_demo);
        let text = std::fs::read_to_string(PathBuf::from(file.or_else(default)?)).ok()?;
        format_in(&text).map(OsString::from)
    });
    LogTarget::of(match format.as_deref().and_then(OsStr::to_str) {
        Some("human") => LogFormat::Human,
        Some("json") => LogFormat::Json,
        Some("journald") => LogFormat::Journald,
        _ => LogFormat::Auto,
    })
}

/// `log.format` of a configuration that may not be one.
fn format_in(text: &str) -> Option<String> {
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.split(']').next().unwrap_or_default().trim();
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim();
        if key == "log.format" && section.is_empty() || key == "format" && section == "log" {
            let value = value.trim();
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            return value.split(quote).nth(1).map(str::to_owned);
        }
    }
    None
}

/// Lines on standard error. One that cannot be written is lost: where the disk is full on which they
/// are kept, or have no reader any more, all else goes on.
pub(super) fn lines<S>() -> fmt::Layer<S, DefaultFields, Format, fn() -> Plain>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // Else it would be told on standard error, and a failed write there panics.
    fmt::layer().with_writer(Plain::new as fn() -> _).log_internal_errors(false)
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

/// A panic is a line of the log like any other: in its shape, and without telephone numbers.
fn note_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let said = logs::masked(said(panic.payload()));
    tracing::error!(thread, at, said = &*said, "a panic");
}

fn said(payload: &dyn Any) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("something without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_in_a_configuration_that_is_wrong_elsewhere() {
        for (text, expected) in [
            ("x = [\n[log]\nformat = \"json\"\n", Some("json")),
            ("log.format = 'json' # so\n[http]\nformat = \"human\"", Some("json")),
            ("[http]\nformat = \"json\"", None),
            ("[ log ]\n format=\"journald\"", Some("journald")),
            ("[log]\nformat = json", None),
            ("", None),
        ] {
            assert_eq!(format_in(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_text_of_a_panic_is_found_in_either_shape() {
        let caught = |work: fn()| panic::catch_unwind(work).unwrap_err();
        assert_eq!(said(&*caught(|| panic!("plain"))), "plain");
        assert_eq!(said(&*caught(|| panic!("call {}", 7))), "call 7");
        assert_eq!(said(&*caught(|| panic::panic_any(7))), "something without words");
    }
}
