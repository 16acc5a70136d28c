//! `rollcall mirror check`: what a person sees of it.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::output::Output;
use crate::config::Config;
use crate::logs;
use crate::mirror::{self, Check};
use crate::ops::Failure;

/// Tries, prints, and fails where a step does.
pub(super) fn check(config: &Config, output: &mut Output) -> Result<ExitCode, Failure> {
    let settings = &config.mirror_redis;
    let Some(url) = &settings.url else {
        return Err(Failure::usage(
            "mirror.redis.url is not set; set it to where jambonz's Redis is, such as \
             \"redis://10.0.0.5:6379\"",
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let check = runtime.block_on(mirror::check(settings, url));
    let text = if output.json { json!(check).to_string() } else { shown(&check) };
    output.text(&text)?;
    Ok(if check.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(check: &Check) -> String {
    let mut text = String::new();
    for step in &check.steps {
        let level = if step.ok { "ok" } else { "error" };
        let _infallible = writeln!(text, "{level:<8} {}: {}", step.name, step.text);
    }
    let _infallible = write!(
        text,
        "a user of Redis that may do this and nothing else, as a line of its ACL file (PASSWORD is for \
         you to choose):\n{}\n",
        check.acl
    );
    // What a server answers is not to be obeyed by a terminal.
    logs::plain_lines(&text).into_owned()
}
