//! The console: whether it is there, where from, and who used it.

use super::Finding;
use super::server::ObservedServer;
use crate::config::{Config, Host};
use crate::domain::counted;
use crate::ops::ConsoleFigures;

const OBJECT: &str = "console";

/// What a running server says of its console.
#[derive(Clone, Copy)]
pub(super) enum Running<'s> {
    NoServer,
    /// Its HTTPS address, and who used the console.
    At(&'s str, &'s ConsoleFigures),
    /// It has no such address, or no console.
    Without,
}

pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let running = server.answers().map_or(Running::NoServer, |answers| {
        let mut urls = answers.figures.listeners.iter().map(|listener| listener.url.as_str());
        let https = urls.find(|url| url.starts_with("https://"));
        let both = https.zip(answers.figures.console.as_ref());
        both.map_or(Running::Without, |(url, figures)| Running::At(url, figures))
    });
    vec![judge(config, running)]
}

pub(super) fn judge(config: &Config, running: Running<'_>) -> Finding {
    if !config.console.enabled {
        return Finding::ok(OBJECT, "it is off: console.enabled is false");
    }
    let proxied = config.http.listen.is_some() && !config.http.trusted_proxies.is_empty();
    let is_here = |host: &Host| match host {
        Host::Ip(ip) => ip.is_loopback(),
        Host::Name(name) => name.to_string() == "localhost",
    };
    let mut what = match running {
        Running::NoServer => "it is there once a server runs".to_owned(),
        Running::Without => {
            let advice = "restart the server, so that it is of this version and configuration";
            return Finding::error(OBJECT, "the server runs, and nothing serves it", advice);
        }
        Running::At(url, figures) => format!(
            "it is at {url}/console/: {}; since the start {}, and {} refused",
            counted(figures.sessions, "session"),
            counted(figures.sign_ins, "sign-in"),
            figures.sign_ins_refused
        ),
    };
    if is_here(config.listen.host()) && !proxied {
        let only = format!("; only this machine reaches it: listen is {}", config.listen);
        what.push_str(&only);
    }
    if config.http.listen.is_some() && !proxied {
        what.push_str("; not through a proxy to http.listen: http.trusted_proxies is empty");
    }
    if config.log.audit.is_none() {
        what.push_str("; it shows no audit log: log.audit is not set");
    }
    Finding::ok(OBJECT, what)
}
