//! `rollcall health`: whether the server does its work, as an exit code.
//!
//! It asks over the admin socket and touches nothing else: no lock, no store, no network. So it works
//! where only the binary and the data directory are, and disturbs no start.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::json;

use super::args::{HealthArgs, ServerWanted};
use super::execute::{connect, runtime_dir};
use super::output::Output;
use crate::config::{Config, ConfigError};
use crate::ops::{self, AdminReply, AdminRequest, Failure};
use crate::{admin, doctor};

struct HealthState {
    status: &'static str,
    running: bool,
    said: Option<ops::Health>,
    text: String,
}

/// Asks, prints, and fails where the server does not do what is asked for. A wrong configuration is a
/// failure like any other: health checks know the exit codes 0 and 1.
pub(super) fn health(
    config: Result<Config, ConfigError>,
    words: &HealthArgs,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let config = config.map_err(|error| Failure::new(crate::store::chain(&error)))?;
    let state = ask(&config, words.timeout);
    let does = |what: fn(&ops::Health) -> &Option<String>| {
        state.said.as_ref().is_some_and(|said| what(said).is_none())
    };
    let (live, lists, events) =
        (does(|said| &said.live), does(|said| &said.lists), does(|said| &said.events));
    let healthy = match words.wanted {
        ServerWanted::Lists => lists,
        ServerWanted::Events => events,
        ServerWanted::Life => live,
    };
    let shown = if output.json {
        let HealthState { status, running, text, .. } = &state;
        json!({
            "healthy": healthy,
            "status": status,
            "running": running,
            "lists": lists,
            "events": events,
            "msg": text,
        })
        .to_string()
    } else {
        format!("{}: {}", state.status, state.text)
    };
    output.text(&shown)?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the server says within this time.
fn ask(config: &Config, longest: Duration) -> HealthState {
    let socket = config.admin_socket_path(runtime_dir().as_deref());
    let data_dir = config.data_dir.clone();
    let (answer, answered) = mpsc::channel();
    // A thread of its own, since even connecting may wait; it ends with the process.
    let places = (socket.clone(), data_dir.clone());
    std::thread::spawn(move || {
        let reply = connect(&places.0, &places.1).map(|stream| {
            let mut nothing = io::empty();
            admin::ask(&stream, &AdminRequest::Health, &mut nothing, &mut |_| Ok(()))
        });
        let _late = answer.send(reply);
    });
    let down = |status, running, text| HealthState { status, running, said: None, text };
    let place = socket.display();
    match answered.recv_timeout(longest) {
        Ok(Ok(Ok(AdminReply::Health(said)))) => state_of(said),
        Ok(Ok(Ok(_))) => down("failed", true, "it answers something else".to_owned()),
        Ok(Ok(Err(failure))) => down("failed", true, failure.message),
        Ok(Err(error)) => silent(&error, &socket, &data_dir),
        Err(_) => {
            let within = humantime::format_duration(longest);
            down("silent", true, format!("the server gave no answer on {place} within {within}"))
        }
    }
}

fn state_of(said: ops::Health) -> HealthState {
    let (status, text) = match (&said.live, &said.lists, &said.events) {
        (Some(why), ..) => ("failed", why.clone()),
        (None, None, None) => ("ready", "lists are answered and events are taken".to_owned()),
        (None, Some(why), None) => {
            ("building", format!("events are taken, and lists are not answered yet: {why}"))
        }
        (None, None, Some(why)) => {
            ("read-only", format!("lists are answered, and events are not taken: {why}"))
        }
        (None, Some(why), Some(and)) => {
            ("building", format!("lists are not answered yet: {why}; events are not taken: {and}"))
        }
    };
    HealthState { status, running: true, said: Some(said), text }
}

/// Why no server answers.
fn silent(error: &io::Error, socket: &Path, data_dir: &Path) -> HealthState {
    let down = |status, running, text| HealthState { status, running, said: None, text };
    let (socket, data_dir) = (socket.display(), (data_dir, data_dir.display()));
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused if doctor::is_held(data_dir.0) => {
            let text =
                format!("a process holds {} and does not listen on {socket} yet", data_dir.1);
            down("starting", true, text)
        }
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            down("not running", false, format!("nothing listens on {socket}: {error}"))
        }
        _ => {
            let text = format!(
                "cannot ask on {socket}: {error}; run this as the server's user or as root"
            );
            down("unknown", false, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_does_not_do_is_named() {
        let why = |not: bool| not.then(|| "it is so".to_owned());
        for (live, lists, events, status) in [
            (false, false, false, "ready"),
            (false, true, false, "building"),
            (false, false, true, "read-only"),
            (false, true, true, "building"),
            (true, true, true, "failed"),
        ] {
            let said = ops::Health { live: why(live), lists: why(lists), events: why(events) };
            let state = state_of(said);
            assert_eq!(state.status, status);
            assert_eq!(state.text.contains("it is so"), live || lists || events, "{}", state.text);
        }
    }
}
