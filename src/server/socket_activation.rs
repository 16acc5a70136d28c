//! Sockets that systemd has opened and hands over (`sd_listen_fds(3)`), so that the server itself
//! may live in a network of its own, without any way out.

use std::net::TcpListener;

use listenfd::ListenFd;

use crate::ops::Failure;

/// What a socket may be called (`FileDescriptorName=`), and so what is served on it.
const NAMES: &[&str] = &["https", "http", "metrics"];

/// Listening sockets that were handed over and are not taken yet.
#[derive(Debug, Default)]
pub struct ActivatedSockets(Vec<(String, TcpListener)>);

impl ActivatedSockets {
    /// Takes over what this process was handed. To be called before there is a second thread:
    /// the variables that tell of it are removed, so that the sockets are not taken twice.
    pub fn from_environment() -> Result<Self, Failure> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        // Sockets for another process, such as the one that started this one, are not ours.
        if variable("LISTEN_PID") != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let mut fds = ListenFd::from_env();
        let names = variable("LISTEN_FDNAMES");
        let names: Vec<&str> = names.split(':').filter(|name| !name.is_empty()).collect();
        if names.len() != fds.len() {
            return Err(Failure::usage(format!(
                "LISTEN_FDNAMES names {} sockets and LISTEN_FDS is {}: give each socket unit \
                 FileDescriptorName=, one of {}",
                names.len(),
                fds.len(),
                known()
            )));
        }
        let mut activated = Vec::new();
        for (place, name) in names.into_iter().enumerate() {
            if !NAMES.contains(&name) {
                return Err(Failure::usage(format!(
                    "the socket that was activated over as `{name}` is for nothing: its \
                     FileDescriptorName= is to be one of {}",
                    known()
                )));
            }
            let unfit = |why: &dyn std::fmt::Display| {
                Failure::usage(format!(
                    "the socket that was activated over as `{name}` cannot be served: {why}; it is \
                     to be a listening TCP socket (ListenStream= with a port, Accept=no)"
                ))
            };
            let taken = fds.take_tcp_listener(place).map_err(|error| unfit(&error))?;
            let listener = taken.ok_or_else(|| unfit(&"it is not there"))?;
            let listens = rustix::net::sockopt::socket_acceptconn(&listener);
            if !listens.map_err(|error| unfit(&error))? {
                return Err(unfit(&"it does not listen"));
            }
            listener.set_nonblocking(true).map_err(|error| unfit(&error))?;
            activated.push((name.to_owned(), listener));
        }
        Ok(Self(activated))
    }

    /// The sockets of this name: several where one unit listens on several addresses.
    pub fn take(&mut self, name: &str) -> Vec<TcpListener> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(|(n, _)| n == name);
        self.0 = left;
        let taken: Vec<(String, TcpListener)> = taken;
        taken.into_iter().map(|(_, listener)| listener).collect()
    }
}

fn known() -> String {
    NAMES.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
