//! `rollcall serve`: what a person sees of it.

use std::io::{self, IsTerminal as _};

use super::execute::runtime_dir;
use super::output::Output;
use crate::config::{Config, LogFormat, LogLevel};
use crate::ops::Failure;
use crate::server::{self, News};

pub(super) fn serve(config: &Config, demo: bool, output: &mut Output) -> Result<(), Failure> {
    log(config);
    let person = io::stderr().is_terminal();
    let data_dir = config.data_dir.clone();
    let mut closed = None;
    let mut tell = |news: News<'_>| match news {
        News::Starting(progress) => output.progress(&progress),
        News::FirstToken(token) => {
            let path = data_dir.join("admin.token");
            output.say(&format!("the first admin token is in {}", path.display()));
            if person {
                output.say(&format!("admin token: {token}"));
            }
        }
        News::Demo { filled, curl } => {
            if !filled {
                output.say("the store is not empty; no sample calls were added");
            }
            output.say(&format!("list the newest sample calls:\n\n  {curl}\n"));
        }
        News::Listening(address) => {
            if let Err(failure) = output.text(&format!("listening on {address}")) {
                closed = Some(failure);
            }
        }
        News::Ready => output.finish(),
    };
    server::serve(config, runtime_dir(), demo, &mut tell)
}

fn log(config: &Config) {
    let level = match config.log.level {
        LogLevel::Error => tracing::Level::ERROR,
        LogLevel::Warn => tracing::Level::WARN,
        LogLevel::Info => tracing::Level::INFO,
        LogLevel::Debug => tracing::Level::DEBUG,
        LogLevel::Trace => tracing::Level::TRACE,
    };
    let ansi = io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level);
    // The process has one log, and this is the only place that begins one for a server.
    let _already_set = match config.log.format {
        LogFormat::Human => log.with_ansi(ansi).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
