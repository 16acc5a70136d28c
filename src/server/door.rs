//! Where the server can be reached: sockets that were handed over, else those of the configuration.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::handed::Handed;
use crate::config::{Config, Host, ListenAddr};
use crate::ops::Failure;

/// A listener that is bound, and what it is for.
pub struct Door {
    /// Takes connections.
    pub listener: TcpListener,
    /// As people are told: `https://127.0.0.1:8443`.
    pub url: String,
    /// What is served there.
    pub purpose: Purpose,
}

/// What is served on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The API, over TLS.
    Https,
    /// The API, in the clear.
    Http,
    /// Metrics alone, in the clear.
    Metrics,
}

/// All of them, HTTPS first.
pub async fn all(config: &Config, mut handed: Handed) -> Result<Vec<Door>, Failure> {
    let purposes = [
        (Purpose::Https, Some(&config.listen), true),
        (Purpose::Http, config.http.listen.as_ref(), config.http.allow_remote),
        (Purpose::Metrics, config.metrics.listen.as_ref(), config.metrics.allow_remote),
    ];
    let mut doors = Vec::new();
    for (purpose, address, remote) in purposes {
        let listeners = handed.take(purpose.name());
        if let (true, Some(address)) = (listeners.is_empty(), address) {
            doors.push(Door::bind(address, purpose).await?);
        }
        for listener in listeners {
            let address = listener.local_addr()?;
            if !remote && !address.ip().is_loopback() {
                return Err(purpose.remote(address));
            }
            doors.push(Door::handed(listener, purpose)?);
        }
    }
    Ok(doors)
}

/// Connections that may wait to be accepted; the system has a limit of its own
/// (`net.core.somaxconn`). What comes beyond is dropped, and tried again by its client a second
/// later.
const BACKLOG: i32 = 4096;

impl Door {
    async fn bind(address: &ListenAddr, purpose: Purpose) -> Result<Self, Failure> {
        let bound = TcpListener::bind(address.to_string()).await;
        let failed = |error| Failure::new(format!("cannot listen on {address}: {error}"));
        let listener = bound.map_err(failed)?;
        rustix::net::listen(&listener, BACKLOG).map_err(|error| failed(error.into()))?;
        let port = listener.local_addr()?.port();
        let url = purpose.url(&format!("{}:{port}", address.shown_host()));
        Ok(Self { listener, url, purpose })
    }

    fn handed(listener: std::net::TcpListener, purpose: Purpose) -> Result<Self, Failure> {
        let url = purpose.url(&listener.local_addr()?.to_string());
        Ok(Self { listener: TcpListener::from_std(listener)?, url, purpose })
    }
}

impl Purpose {
    /// As systemd names the socket (`FileDescriptorName=`), and as the configuration's section.
    fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Metrics => "metrics",
        }
    }

    fn url(self, address: &str) -> String {
        match self {
            Self::Https => format!("https://{address}"),
            Self::Http => format!("http://{address}"),
            Self::Metrics => format!("http://{address}/metrics"),
        }
    }

    fn remote(self, address: SocketAddr) -> Failure {
        let name = self.name();
        let shows = match self {
            Self::Metrics => "metrics have no token there",
            _ => "plain HTTP shows tokens and calls to whoever can read the network",
        };
        Failure::usage(format!(
            "the socket that was handed over as `{name}` listens on {address}, and {shows}: let it \
             listen on 127.0.0.1 or [::1], or set {name}.allow_remote = true"
        ))
    }
}

impl ListenAddr {
    /// The host as it stands in a URL.
    fn shown_host(&self) -> String {
        match self.host() {
            Host::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        }
    }
}
