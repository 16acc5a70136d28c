//! `rollcall serve`: what a person sees of it.

use std::io::{self, IsTerminal as _};

use super::execute::runtime_dir;
use super::output::Output;
use crate::config::Config;
use crate::ops::Failure;
use crate::server::{self, News};

pub(super) fn serve(config: &Config, demo: bool, output: &mut Output) -> Result<(), Failure> {
    super::log::begin(&config.log)?;
    if let Some(foreign) = super::execute::foreign(&config.data_dir)? {
        return Err(foreign);
    }
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
