//! The addresses that are listened on.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use rustix::net::{AddressFamily, SocketType};

use super::server::ObservedServer;
use super::{Finding, process};
use crate::config::{Config, ListenAddr};

/// The process that starts all others, and listens for them where it is configured to.
const SERVICE_MANAGER: u32 = 1;

pub(super) fn check(config: &Config, server: &ObservedServer) -> Vec<Finding> {
    let addresses = [
        ("listen", Some(&config.listen)),
        ("http.listen", config.http.listen.as_ref()),
        ("metrics.listen", config.metrics.listen.as_ref()),
    ];
    let addresses = addresses.into_iter().filter_map(|(key, address)| Some((key, address?)));
    addresses.map(|(key, address)| one(key, address, server)).collect()
}

fn one(key: &str, address: &ListenAddr, server: &ObservedServer) -> Finding {
    let object = format!("{key} {address}");
    let up = server.answers();
    if address.port() == 0 {
        return Finding::ok(object, "any free port will do");
    }
    let first = address.to_string().to_socket_addrs().map(|mut all| all.next());
    let Ok(Some(first)) = first else {
        let advice = "use an address, or see to it that this machine resolves the name";
        return Finding::error(object, "its name is not known", advice);
    };
    let error = match bind(first) {
        Ok(()) if up.is_some() => {
            let problem = "the server is running and does not listen there";
            let advice = "the configuration has changed since it started, or it was started with \
                          another one; restart it";
            return Finding::warn(object, problem, advice);
        }
        Ok(()) => return Finding::ok(object, "it is free"),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => in_use(object, first.port(), server),
        io::ErrorKind::PermissionDenied => {
            // The service has rights that this user does not have, and the reverse.
            let advice = "use a port from 1024 on, or AmbientCapabilities=CAP_NET_BIND_SERVICE in \
                          the unit";
            let problem = format!("this user may not listen there: {error}");
            if up.is_some() {
                return Finding::unknown(object, problem, "run this as the server's user");
            }
            Finding::warn(object, problem, advice)
        }
        io::ErrorKind::AddrNotAvailable => {
            let advice = "name an address of this machine (`ip address`), or 0.0.0.0 for all";
            Finding::error(object, "this machine does not have the address", advice)
        }
        _ => Finding::error(object, error.to_string(), "name another address"),
    }
}

fn in_use(object: String, port: u16, server: &ObservedServer) -> Finding {
    let holders = process::listeners(port);
    let named = |pid: u32| match process::name(pid) {
        Some(name) => format!("process {pid} ({name})"),
        None => format!("process {pid}"),
    };
    match server.answers() {
        Some(_) if holders.is_empty() => {
            return Finding::ok(object, "it is taken, by the server as it seems");
        }
        Some(answers) => {
            if let Some(pid) = answers.pid.filter(|pid| holders.contains(pid)) {
                let end = format!(":{port}");
                let mut there = answers.figures.listeners.iter().filter(|listener| {
                    listener.url.strip_suffix("/metrics").unwrap_or(&listener.url).ends_with(&end)
                });
                let held = if there.any(|listener| listener.held) {
                    "the service manager holds it: while the server restarts connections wait"
                } else {
                    "while it restarts connections are refused, and events can be lost: systemd \
                     can hold the listener (rollcall.socket)"
                };
                let what = format!("the server listens there, {}; {held}", named(pid));
                return Finding::ok(object, what);
            }
        }
        None if server.is_denied() && holders.is_empty() => {
            let what = "a process listens there, which may be the server";
            return Finding::denied(object, what, None);
        }
        None if holders == [SERVICE_MANAGER] => {
            let what = "the service manager listens there, and starts the server when it is needed";
            return Finding::ok(object, what);
        }
        None => {}
    }
    let who: Vec<String> = holders.into_iter().map(named).collect();
    let who = if who.is_empty() { "another process".to_owned() } else { who.join(", ") };
    Finding::error(object, format!("{who} listens there"), "end it, or name another port")
}

/// Binds a socket for a moment, as the server would, and does not listen on it.
fn bind(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}
