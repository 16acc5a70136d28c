//! `rollcall config check`: what the configuration comes to, and whether what it names is there.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::output::Output;
use crate::clock;
use crate::cluster;
use crate::config::{Config, ConfigError, LoadedConfig};
use crate::domain::counted;
use crate::forward;
use crate::fsutil;
use crate::mirror;
use crate::ops::Failure;
use crate::outbound;
use crate::store::chain;
use crate::tls;

/// The place of what is given nowhere.
const DEFAULT: &str = "default";
/// Bytes of a path that a socket can have.
const SOCKET_PATH_MAX: usize = 107;

/// A value of the configuration that does not work.
#[derive(Debug, Serialize)]
struct ConfigFinding {
    key: &'static str,
    /// Where it was given: `FILE:LINE`, a flag or a variable, or `default`.
    place: String,
    problem: String,
    /// Only the server's user can tell.
    unknown: bool,
}

impl fmt::Display for ConfigFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, place, problem, unknown } = self;
        let who = if *unknown { "only the server's user can tell: " } else { "" };
        match place.as_str() {
            DEFAULT => write!(f, "{key}: {who}{problem}"),
            place => write!(f, "{place}: {key}: {who}{problem}"),
        }
    }
}

/// What is noted of a key: whether only the server's user can tell, and what is wrong.
type Note<'a> = dyn FnMut(&'static str, bool, String) + 'a;

/// Prints the configuration, opens what it names, and fails where that does not work. All that is wrong is
/// named at once.
pub(super) fn check(
    loaded: &LoadedConfig,
    errors: Vec<ConfigError>,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let cannot = |error: &(dyn std::error::Error + 'static)| Failure::new(chain(error));
    let config = &loaded.config;
    let mut problems = problems(loaded, clock::system_time());
    if let Some(error) = ConfigError::of(errors) {
        // Of what is wrong there is the default, of which there is nothing to be said.
        problems.retain(|problem| problem.place != DEFAULT);
        let mut lines = error.lines();
        lines.extend(problems.iter().map(ConfigFinding::to_string));
        return Err(Failure::usage(match lines.len() {
            1 => lines.concat(),
            count => {
                format!("the configuration has {}:\n{}", counted(count, "error"), lines.join("\n"))
            }
        }));
    }
    let text = config.to_toml();
    let wrong = problems.iter().any(|problem| !problem.unknown);
    if output.json {
        let table: toml::Table = text.parse().map_err(|error| cannot(&error))?;
        let mut value = json!(table);
        if let serde_json::Value::Object(members) = &mut value {
            members.insert("file".to_owned(), json!(loaded.file));
            members.insert("says".to_owned(), json!(config.durations()));
            members.insert("problems".to_owned(), json!(problems));
        }
        output.text(&value.to_string())?;
    } else {
        output.text(&text)?;
        for words in config.durations() {
            output.say(&words);
        }
        for problem in &problems {
            output.say(&problem.to_string());
        }
    }
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn problems(loaded: &LoadedConfig, now: SystemTime) -> Vec<ConfigFinding> {
    let config = &loaded.config;
    let mut problems = Vec::new();
    let mut note = |key: &'static str, unknown: bool, problem: String| {
        let keys = if key == "tls" { &["tls.cert", "tls.key", "tls.names"][..] } else { &[key] };
        let place = loaded.places.of_first(keys).to_string();
        problems.push(ConfigFinding { key, place, problem, unknown });
    };
    let dir = config.data_dir.display();
    match fs::metadata(&config.data_dir) {
        Ok(about) if !about.is_dir() => {
            let right = "name a directory, or one that is still to be made";
            note("data_dir", false, format!("{dir} is no directory; {right}"));
        }
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound) => {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            let right = "name a directory, or one that is still to be made";
            note("data_dir", denied, format!("cannot look at {dir}: {error}; {right}"));
        }
        _ => {}
    }
    certificates(config, now, &mut note);
    if let Some(ca) = &config.upstream.ca {
        let (connect, timeout) = (config.feature_servers.connect, config.feature_servers.timeout);
        if let Err(error) = outbound::Client::new(Some(ca), "upstream.ca", connect, timeout) {
            let right = "name the PEM file with the authority's certificate";
            let problem = format!("{}; {right}", chain(&error));
            note("upstream.ca", fsutil::is_denied(&error), problem);
        }
    }
    mirror_files(config, &mut note);
    cluster_files(config, &mut note);
    if let Err(error) = forward::check_files(&config.forward) {
        note("forward.targets", false, chain(&error));
    }
    if let Some(path) = &config.log.audit
        && let Err((denied, problem)) = appended(path)
    {
        let right = "name a file in a directory that the server's user may write to";
        note("log.audit", denied, format!("{problem}; {right}"));
    }
    if let Some(socket) = &config.admin_socket {
        let (shown, bytes) = (socket.display(), socket.as_os_str().len());
        let dir = fsutil::parent(socket);
        if bytes > SOCKET_PATH_MAX {
            let most = SOCKET_PATH_MAX;
            let problem = format!(
                "{shown} has {bytes} bytes, and a socket's path {most} at most; name a shorter one"
            );
            note("admin_socket", false, problem);
        } else if let Err(error) = fs::read_dir(dir)
            && dir != config.data_dir
        {
            let denied = error.kind() == ErrorKind::PermissionDenied;
            let dir = dir.display();
            let right = "name a file in a directory that is there";
            let problem = format!("the directory {dir} of {shown}: {error}; {right}");
            note("admin_socket", denied, problem);
        }
    }
    problems
}

/// The files for jambonz's Redis.
fn mirror_files(config: &Config, note: &mut Note<'_>) {
    let redis = &config.mirror_redis;
    let Some(url) = &redis.url else { return };
    let given = [
        ("mirror.redis.password_file", &redis.password_file, "name the file with the password"),
        ("mirror.redis.ca", &redis.ca, "name the PEM file with the authority's certificate"),
        ("mirror.redis.cert", &redis.cert, "name the PEM file with the client certificate"),
        ("mirror.redis.key", &redis.key, "name the PEM file with the key of that certificate"),
    ];
    if all_open(&given, note)
        && let Err(error) = mirror::check_files(redis, url)
    {
        note("mirror.redis.url", false, chain(&error));
    }
}

/// The files for the nats-servers.
fn cluster_files(config: &Config, note: &mut Note<'_>) {
    let section = &config.cluster;
    let Some(cluster) = config.cluster() else { return };
    let given = [
        ("cluster.password_file", &section.password_file, "name the file with the password"),
        ("cluster.ca", &section.ca, "name the PEM file with the authority's certificate"),
        ("cluster.cert", &section.cert, "name the PEM file with the client certificate"),
        ("cluster.key", &section.key, "name the PEM file with the key of that certificate"),
    ];
    if !all_open(&given, note) {
        return;
    }
    if let Err(error) = cluster::Settings::of(&cluster) {
        note("cluster.servers", false, chain(&error));
    }
    if let Err(error) = cluster::Monitors::of(&cluster) {
        note("cluster.ca", fsutil::is_denied(&error), chain(&error));
    }
}

/// Opens files that are given, and notes those that cannot be opened.
fn all_open(given: &[(&'static str, &Option<PathBuf>, &'static str)], note: &mut Note<'_>) -> bool {
    let mut all_open = true;
    for (key, path, right) in given {
        let Some(path) = path else { continue };
        if tls::is_credential(path) && tls::resolve(path).is_err() {
            let problem = format!("systemd hands {} over to the service alone", path.display());
            note(key, true, problem);
            all_open = false;
            continue;
        }
        let opened = tls::resolve(path).map_err(|error| (false, chain(&error)));
        let opened = opened.and_then(|path| {
            fsutil::open_named(&path).map(|_| ()).map_err(|error| cannot("read", &path, &error))
        });
        if let Err((denied, problem)) = opened {
            note(key, denied, format!("{problem}; {right}"));
            all_open = false;
        }
    }
    all_open
}

fn certificates(config: &Config, now: SystemTime, note: &mut Note<'_>) {
    let tls = &config.tls;
    let given = [
        ("tls.cert", &tls.cert, "name the PEM file with the server's certificate"),
        ("tls.key", &tls.key, "name the PEM file with the certificate's key"),
        ("tls.client_ca", &tls.client_ca, "name the PEM file with the authorities of clients"),
    ];
    if !all_open(&given, note) {
        return;
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
                    let right = "set the clock, or use another";
                    let problem =
                        format!("the certificate in {file} begins only at {begin}; {right}");
                    note("tls", false, problem);
                } else if ends < now && !one.made {
                    let right = "get a new one";
                    note(
                        "tls",
                        false,
                        format!("the certificate in {file} expired at {end}; {right}"),
                    );
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
