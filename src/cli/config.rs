//! `rollcall config check`: what the configuration comes to, and whether what it names is there.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::output::Output;
use crate::clock;
use crate::config::Config;
use crate::fsutil;
use crate::ops::Failure;
use crate::outbound;
use crate::store::chain;
use crate::tls;

/// Bytes of a path that a socket can have.
const SOCKET_PATH_MAX: usize = 107;

/// A value of the configuration that does not work.
#[derive(Debug, Serialize)]
struct ConfigFinding {
    key: &'static str,
    problem: String,
    /// Only the server's user can tell.
    unknown: bool,
}

/// Prints the configuration, opens what it names, and fails where that does not work.
pub(super) fn check(
    config: &Config,
    file: Option<&Path>,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let cannot = |error: &(dyn std::error::Error + 'static)| Failure::new(chain(error));
    let text = config.to_toml();
    let problems = problems(config, clock::system_time());
    let wrong = problems.iter().any(|problem| !problem.unknown);
    if output.json {
        let table: toml::Table = text.parse().map_err(|error| cannot(&error))?;
        let mut value = json!(table);
        if let serde_json::Value::Object(members) = &mut value {
            members.insert("file".to_owned(), json!(file));
            members.insert("says".to_owned(), json!(config.durations()));
            members.insert("problems".to_owned(), json!(problems));
        }
        output.text(&value.to_string())?;
    } else {
        output.text(&text)?;
        for words in config.durations() {
            output.say(&words);
        }
        for ConfigFinding { key, problem, unknown } in &problems {
            let who = if *unknown { "only the server's user can tell: " } else { "" };
            output.say(&format!("{key}: {who}{problem}"));
        }
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn problems(config: &Config, now: SystemTime) -> Vec<ConfigFinding> {
    let mut problems = Vec::new();
    let mut note = |key: &'static str, unknown: bool, problem: String| {
        problems.push(ConfigFinding { key, problem, unknown });
    };
    match fs::metadata(&config.data_dir) {
        Ok(dir) if !dir.is_dir() => {
            note("data_dir", false, format!("{} is no directory", config.data_dir.display()));
            return problems;
        }
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound) => {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            note("data_dir", denied, format!("{}: {error}", config.data_dir.display()));
        }
        _ => {}
    }
    certificates(config, now, &mut note);
    if let Some(ca) = &config.upstream.ca {
        let (connect, timeout) = (config.feature_servers.connect, config.feature_servers.timeout);
        if let Err(error) = outbound::Client::new(Some(ca), connect, timeout) {
            note("upstream.ca", fsutil::is_denied(&error), chain(&error));
        }
    }
    if let Some(path) = &config.log.audit
        && let Err((denied, problem)) = appended(path)
    {
        note("log.audit", denied, problem);
    }
    if let Some(socket) = &config.admin_socket {
        let (shown, bytes) = (socket.display(), socket.as_os_str().len());
        let dir = fsutil::parent(socket);
        if bytes > SOCKET_PATH_MAX {
            let most = SOCKET_PATH_MAX;
            let problem = format!("{shown} has {bytes} bytes, and a socket's path {most} at most");
            note("admin_socket", false, problem);
        } else if let Err(error) = fs::metadata(dir)
            && dir != config.data_dir
        {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            note("admin_socket", denied, format!("the directory of {shown}: {error}"));
        }
    }
    problems
}

fn certificates(
    config: &Config,
    now: SystemTime,
    note: &mut dyn FnMut(&'static str, bool, String),
) {
    let tls = &config.tls;
    let given = [("tls.cert", &tls.cert), ("tls.key", &tls.key), ("tls.client_ca", &tls.client_ca)];
    for (key, path) in given {
        let Some(path) = path else { continue };
        if tls::is_credential(path) && tls::resolve(path).is_err() {
            let problem = format!("systemd hands {} over to the service alone", path.display());
            return note(key, true, problem);
        }
        let opened = tls::resolve(path).map_err(|error| (false, chain(&error)));
        let opened = opened.and_then(|path| {
            fsutil::open_named(&path).map(|_| ()).map_err(|error| cannot("read", &path, &error))
        });
        if let Err((denied, problem)) = opened {
            return note(key, denied, problem);
        }
    }
    match tls::look(&config.tls_setup()) {
        Err(error) => note("tls", fsutil::is_denied(&error), chain(&error)),
        Ok(found) => {
            for one in found {
                let file = one.file.display();
                let at = |seconds: u64| {
                    let time = UNIX_EPOCH + Duration::from_secs(seconds);
                    (time, humantime::format_rfc3339_seconds(time))
                };
                let ((begins, begin), (ends, end)) = (at(one.not_before_s), at(one.not_after_s));
                // What rollcall makes it also renews.
                if begins > now {
                    note("tls", false, format!("the certificate in {file} begins only at {begin}"));
                } else if ends < now && !one.made {
                    note("tls", false, format!("the certificate in {file} expired at {end}"));
                }
            }
        }
    }
}

/// Whether something can be added to a file, without a change of it; there need be none yet.
fn appended(path: &Path) -> Result<(), (bool, String)> {
    match OpenOptions::new().append(true).open(path) {
        Ok(file) if file.metadata().is_ok_and(|about| about.is_file()) => Ok(()),
        Ok(_) => Err((false, format!("{} is no file", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dir = fsutil::parent(path);
            let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            let flags = rustix::fs::AtFlags::EACCESS;
            let made = rustix::fs::accessat(rustix::fs::CWD, dir, wanted, flags);
            made.map_err(|error| cannot("make a file in", dir, &error.into()))
        }
        Err(error) => Err(cannot("write", path, &error)),
    }
}

fn cannot(action: &str, path: &Path, error: &io::Error) -> (bool, String) {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    (denied, format!("cannot {action} {}: {error}", path.display()))
}
