//! `rollcall serve`: what a person sees of it.

use std::io::{self, IsTerminal as _};

use super::PASSED_OVER;
use super::execute::runtime_dir;
use super::log::LogTarget;
use super::output::Output;
use super::owner::Owner;
use crate::config::{Config, ConfigError, SHORT};
use crate::ops::Failure;
use crate::server::{self, News, Samples};

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
        News::Demo { samples, curl } => {
            match samples {
                Samples::Made => {}
                Samples::There => say(
                    output,
                    shape,
                    "the sample calls are there already: no history was added, and new ones come",
                ),
                Samples::None => say(
                    output,
                    shape,
                    "the store is not empty, or was not made by --demo; no sample calls were added",
                ),
            }
            if samples == Samples::None {
                return;
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
        // A link is a secret for a minute: it is for a person, and for no log that is kept.
        News::Link(link) if shape == LogTarget::Human => {
            let (said, url) = (super::open::said(&link), &link.url);
            let later = data_dir.display();
            output.say(&format!("\n{said}\nlater: rollcall open --data-dir {later}\n\n  {url}\n"));
        }
        News::Link(_) => tracing::info!("`rollcall open` makes a link to the console"),
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
