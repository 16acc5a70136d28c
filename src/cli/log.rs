//! The log of a server: where it goes, and in which shape.

use std::io::{self, IsTerminal as _};

use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
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
    let level = match log.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let ansi = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level);
    let _already_set = match log.format {
        LogFormat::Human => lines.with_ansi(ansi).try_init(),
        LogFormat::Json => lines.json().with_span_list(false).try_init(),
        LogFormat::Journald => return journald(level),
    };
    Ok(())
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
