//! `rollcall doctor`: looks at everything that an appliance stands on, and says what is wrong and
//! what to do about it.
//!
//! Architecture Invariant: nothing here changes anything. No store is opened, no lock is taken and
//! no file is written; what only a running server knows it is asked over the admin socket.
//!
//! A file a family of checks; each check is a function that returns findings, among them one that
//! says so where all is well, so that a reader sees that it was looked at.

mod audit;
mod cdrs;
mod certificate;
mod clock;
mod cluster;
mod console;
mod data;
mod disk;
mod forward;
mod hooks;
mod index;
mod limits;
mod mirror;
mod outbound;
mod ports;
mod process;
mod rights;
mod server;
#[cfg(test)]
mod tests;
mod tokens;
mod unit;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::config::{Config, ConfigError};
use crate::store::chain;
use crate::{fsutil, users};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// This cannot be known as this user, or without a running server.
    Unknown,
    /// It works, and an operator should look at it.
    Warn,
    /// It does not work, or calls or secrets are in danger.
    Error,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What it is about: `clock`, a file, an address.
    pub object: String,
    /// What there is, or what is wrong with it.
    pub problem: String,
    /// What to do; none where nothing is to be done.
    pub advice: Option<String>,
    /// The system does not let this user look.
    #[serde(skip)]
    pub denied: bool,
}

impl Finding {
    fn ok(object: impl Into<String>, what: impl Into<String>) -> Self {
        let (object, problem) = (object.into(), what.into());
        Self { level: Level::Ok, object, problem, advice: None, denied: false }
    }

    fn bad(
        level: Level,
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        let (object, problem) = (object.into(), problem.into());
        Self { level, object, problem, advice: Some(advice.into()), denied: false }
    }

    fn unknown(
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::bad(Level::Unknown, object, problem, advice)
    }

    /// What the system does not let this user look at. It says nothing of the object.
    fn denied(object: impl Into<String>, what: &str, server: Option<u32>) -> Self {
        let problem = format!("permission denied: {what}, and this runs as {}", users::us());
        let advice = match server {
            Some(uid @ 1..) => {
                format!("run it as that user, {}, or as root", users::sudo(uid, "doctor"))
            }
            _ => format!("run it as the server's user or as root: {}", users::sudo(0, "doctor")),
        };
        Self { denied: true, ..Self::unknown(object, problem, advice) }
    }

    fn warn(
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::bad(Level::Warn, object, problem, advice)
    }

    fn error(
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self::bad(Level::Error, object, problem, advice)
    }
}

/// What checks look at beside the configuration.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// systemd's `RUNTIME_DIRECTORY`.
    pub runtime_dir: Option<PathBuf>,
    /// Where `etc` and `usr` are: `/`.
    pub root: PathBuf,
    pub now: SystemTime,
}

/// All findings, in the order of the checks.
pub fn examine(config: &Config, around: &Surroundings) -> Vec<Finding> {
    let known = rights::UserTable::read(&around.root);
    let (server, about_server) = server::ask(config, around);
    let user = known.server(&config.data_dir, server.peer());
    // What a running server has counts, and not what this user sees.
    let (running, about_configuration) = server::configuration(config, &server);
    let config = running.as_ref().unwrap_or(config);
    if let Some(finding) = rights::not_for_us(&user, &config.data_dir) {
        // What cannot be read would look as if it were wrong.
        let others =
            [clock::check(config, &server, around), ports::check(config, &server)].concat();
        return [vec![about_configuration, finding], about_server, others].concat();
    }
    [
        vec![about_configuration],
        data::check(config, &user, &known),
        about_server,
        clock::check(config, &server, around),
        disk::check(config, &user),
        audit::check(config, &user),
        limits::check(config, &server),
        certificate::check(config, &server, (&user, &known), around),
        ports::check(config, &server),
        console::check(config, &server),
        index::check(config, &server, &user),
        tokens::check(&server),
        hooks::check(&server),
        mirror::check(config, &server),
        cdrs::check(config, &server),
        upstream::check(config, &server),
        forward::check(config, &server),
        cluster::check(config),
        outbound::check(config, &user),
        unit::check(config, &known, around),
    ]
    .concat()
}

/// Whether a process holds this data directory. Nothing is locked to find out.
pub fn is_held(data_dir: &Path) -> bool {
    data::holder(data_dir).is_ok_and(|(_, _, held)| held)
}

/// What there is to say where the configuration is not understood: all else depends on it.
pub fn without_configuration(error: &ConfigError) -> Vec<Finding> {
    let problem = chain(error);
    if fsutil::is_denied(error) {
        let what = format!("{problem}; nothing was examined");
        return vec![Finding::denied("configuration", &what, users::numbered("rollcall"))];
    }
    let advice =
        "correct it; nothing else was examined. `rollcall config example` prints every key";
    vec![Finding::error("configuration", problem, advice)]
}

/// A path for people.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
