//! Where the server can be reached: sockets that were handed over, else those of the configuration.

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
    /// Whether TLS is spoken.
    pub tls: bool,
}

/// All of them, HTTPS first.
pub async fn all(config: &Config, mut handed: Handed) -> Result<Vec<Door>, Failure> {
    let mut doors = Vec::new();
    for listener in handed.take("https") {
        doors.push(Door::handed(listener, true)?);
    }
    if doors.is_empty() {
        doors.push(Door::bind(&config.listen, true).await?);
    }
    let plain = handed.take("http");
    if let (true, Some(address)) = (plain.is_empty(), &config.http.listen) {
        doors.push(Door::bind(address, false).await?);
    }
    for listener in plain {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() && !config.http.allow_remote {
            return Err(Failure::usage(format!(
                "the socket that was handed over as `http` listens on {address}, and plain HTTP \
                 shows tokens and calls to whoever can read the network: let it listen on \
                 127.0.0.1 or [::1], or set http.allow_remote = true"
            )));
        }
        doors.push(Door::handed(listener, false)?);
    }
    Ok(doors)
}

impl Door {
    async fn bind(address: &ListenAddr, tls: bool) -> Result<Self, Failure> {
        let bound = TcpListener::bind(address.to_string()).await;
        let failed = |error| Failure::new(format!("cannot listen on {address}: {error}"));
        let listener = bound.map_err(failed)?;
        let port = listener.local_addr()?.port();
        let url = format!("{}://{}:{port}", scheme(tls), address.shown_host());
        Ok(Self { listener, url, tls })
    }

    fn handed(listener: std::net::TcpListener, tls: bool) -> Result<Self, Failure> {
        let url = format!("{}://{}", scheme(tls), listener.local_addr()?);
        Ok(Self { listener: TcpListener::from_std(listener)?, url, tls })
    }
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
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
