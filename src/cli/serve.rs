//! `rollcall serve`: what a person sees of it.

use std::io::{self, IsTerminal as _};

use super::PASSED_OVER;
use super::execute::runtime_dir;
use super::log::LogTarget;
use super::output::Output;
use super::owner::Owner;
use crate::config::{Config, ConfigError, SHORT};
use crate::ops::Failure;
use crate::server::{self, News};

pub(super) fn serve(
    config: &Config,
    demo: bool,
    passed_over: &[String],
    again: &dyn Fn() -> Result<Config, ConfigError>,
    output: &mut Output,
) -> Result<(), Failure> {
    let shape = super::log::begin(&config.log)?;
    if !passed_over.is_empty() {
        let variables = passed_over.join(" ");
        tracing::warn!(variables, "{PASSED_OVER}");
    }
    if let Some(foreign) = super::execute::foreign(&config.data_dir)?
        && !super::execute::is_given_by_group(&config.data_dir)
    {
        return Err(foreign);
    }
    if let Some(owner) = Owner::instead_of_root(&config.data_dir)? {
        return Err(owner.instead(&config.data_dir));
    }
    let keeps = config.keeps();
    if config.retention.age.is_some_and(|age| age < SHORT) {
        tracing::warn!("{keeps}");
    } else {
        tracing::info!("{keeps}");
    }
    let person = shape == LogTarget::Human && io::stderr().is_terminal();
    let data_dir = config.data_dir.clone();
    let mut closed = None;
    let mut tell = |news: News<'_>| match news {
        News::Starting(progress) if shape == LogTarget::Human => output.progress(&progress),
        News::Starting(_) => {}
        News::FirstToken(token) => {
            let path = data_dir.join("admin.token");
            say(output, shape, &format!("the first admin token is in {}", path.display()));
            if person {
                output.say(&format!("admin token: {token}"));
            }
        }
        News::Demo { filled, curl } => {
            if !filled {
                say(output, shape, "the store is not empty; no sample calls were added");
            }
            if shape == LogTarget::Human {
                output.say(&format!("list the newest sample calls:\n\n  {curl}\n"));
            } else {
                tracing::info!(curl, "a line for a shell that lists the newest sample calls");
            }
        }
        News::Listening(address) => {
            if let Err(failure) = output.text(&format!("listening on {address}")) {
                closed = Some(failure);
            }
        }
        News::Ready => output.finish(),
    };
    server::serve(config, runtime_dir(), demo, again, &mut tell)
}

/// Says something beside the log, or in it where nothing else may be where it is.
fn say(output: &mut Output, shape: LogTarget, text: &str) {
    if shape == LogTarget::Human {
        output.say(text);
    } else {
        tracing::info!("{text}");
    }
}
