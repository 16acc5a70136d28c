//! Where the server can be reached: sockets that were handed over, else those of the configuration.
//!
//! An address is bound before the store is opened, and listened on once it is: until then clients are
//! refused, as where nothing runs, and do not wait.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpListener;

use super::socket_activation::ActivatedSockets;
use crate::config::{Config, Host, ListenAddr};
use crate::ops::Failure;

/// A listener that is bound, and what it is for.
pub struct BoundListener {
    /// Takes connections.
    pub listener: TcpListener,
    /// As people read it: `https://127.0.0.1:8443`.
    pub url: String,
    /// What is served there.
    pub purpose: ListenerKind,
    /// The service manager holds it, too: it stays open while the server restarts.
    pub held: bool,
}

/// An address that is taken, and not listened on yet unless the service manager does.
pub struct Taken {
    socket: Socket,
    /// As the configuration has it; none where it was handed over.
    address: Option<ListenAddr>,
    url: String,
    purpose: ListenerKind,
}

/// What is served on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    Https,
    /// The API, in the clear.
    Http,
    /// Metrics alone, in the clear.
    Metrics,
    /// CDRs alone.
    Cdrs,
    /// CDRs alone, over TLS.
    CdrsTls,
}

/// Takes all of them, HTTPS first.
pub fn take(config: &Config, mut activated: ActivatedSockets) -> Result<Vec<Taken>, Failure> {
    let cdrs = if config.cdrs.tls { ListenerKind::CdrsTls } else { ListenerKind::Cdrs };
    let purposes = [
        (ListenerKind::Https, Some(&config.listen), true),
        (ListenerKind::Http, config.http.listen.as_ref(), config.http.allow_remote),
        (ListenerKind::Metrics, config.metrics.listen.as_ref(), config.metrics.allow_remote),
        (cdrs, config.cdrs.listen.as_ref(), config.cdrs.allow_remote || config.cdrs.tls),
    ];
    let mut taken = Vec::new();
    for (purpose, address, remote) in purposes {
        let listeners = activated.take(purpose.name());
        if let (true, Some(address)) = (listeners.is_empty(), address) {
            taken.push(Taken::bind(address, purpose)?);
        }
        let mut held = Vec::new();
        for listener in listeners {
            let bound = listener.local_addr()?;
            if !remote && !bound.ip().is_loopback() {
                return Err(purpose.remote(bound));
            }
            held.push(bound);
            let url = purpose.url(&bound.to_string());
            taken.push(Taken { socket: listener.into(), address: None, url, purpose });
        }
        purpose.tell_held(&held, address);
    }
    Ok(taken)
}

/// Connections that may wait to be accepted: as many as the system lets (`net.core.somaxconn`, 4096
/// since Linux 5.4). Further ones are dropped, and tried again by their clients a second later.
const BACKLOG: i32 = i32::MAX;

impl Taken {
    fn bind(address: &ListenAddr, purpose: ListenerKind) -> Result<Self, Failure> {
        let socket = bind(address).map_err(|error| cannot_listen(address, &error))?;
        let bound = socket.local_addr()?.as_socket();
        let port = bound.map_or(address.port(), |bound| bound.port());
        let url = purpose.url(&format!("{}:{port}", address.shown_host()));
        Ok(Self { socket, address: Some(address.clone()), url, purpose })
    }

    /// Begins to take connections. Needs a runtime.
    pub fn listen(self) -> Result<BoundListener, Failure> {
        let Self { socket, address, url, purpose } = self;
        match (socket.listen(BACKLOG), &address) {
            (Ok(()), _) => {}
            (Err(error), Some(address)) => return Err(cannot_listen(address, &error)),
            // Never fewer than the socket unit says, whose number the system has cut, too.
            (Err(error), None) => {
                tracing::debug!(%error, url, "the backlog stays as it was handed over");
            }
        }
        let listener = TcpListener::from_std(socket.into())?;
        Ok(BoundListener { listener, url, purpose, held: address.is_none() })
    }
}

/// A socket with the first address of these that can be had.
fn bind(address: &ListenAddr) -> io::Result<Socket> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_string().to_socket_addrs()? {
        match bind_to(address) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn bind_to(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // The connections of a server that has just ended are no obstacle.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

fn cannot_listen(address: &ListenAddr, error: &io::Error) -> Failure {
    let advice = if error.kind() == io::ErrorKind::AddrInUse {
        "; another process listens there, and `ss -ltnp` shows which: end it, or choose another address"
    } else {
        ""
    };
    Failure::new(format!("cannot listen on {address}: {error}{advice}"))
}

impl ListenerKind {
    /// As systemd names the socket (`FileDescriptorName=`), and as the configuration's section.
    fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Metrics => "metrics",
            Self::Cdrs | Self::CdrsTls => "cdrs",
        }
    }

    fn url(self, address: &str) -> String {
        match self {
            Self::Https => format!("https://{address}"),
            Self::Http => format!("http://{address}"),
            Self::Metrics => format!("http://{address}/metrics"),
            Self::Cdrs => format!("http://{address}/write?db=cdrs"),
            Self::CdrsTls => format!("https://{address}/write?db=cdrs"),
        }
    }

    /// Says that sockets were handed over, and that the configuration says otherwise where it does.
    fn tell_held(self, held: &[SocketAddr], configured: Option<&ListenAddr>) {
        if held.is_empty() {
            return;
        }
        let key = match self {
            Self::Https => "listen",
            Self::Http => "http.listen",
            Self::Metrics => "metrics.listen",
            Self::Cdrs | Self::CdrsTls => "cdrs.listen",
        };
        let name = self.name();
        let addresses = held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::info!(
            name,
            addresses,
            "the service manager holds the listener: it stays open while the server restarts"
        );
        if let Some(configured) = configured
            && !held.iter().any(|held| configured.agrees(*held))
        {
            tracing::warn!(
                name,
                addresses,
                "{key} = {configured} is not listened on, since a listener was activated over: let \
                 {key} say the same, or change ListenStream= of the socket unit"
            );
        }
    }

    fn remote(self, address: SocketAddr) -> Failure {
        let name = self.name();
        let shows = match self {
            Self::Metrics => "metrics have no token there",
            Self::Cdrs | Self::CdrsTls => {
                "plain HTTP shows the password and telephone numbers to everyone who can read the network"
            }
            _ => "plain HTTP shows tokens and calls to everyone who can read the network",
        };
        Failure::usage(format!(
            "the socket that was activated over as `{name}` listens on {address}, and {shows}: let it \
             listen on 127.0.0.1 or [::1], or set {name}.allow_remote = true"
        ))
    }
}

impl ListenAddr {
    /// Whether a listener with this address is the one that is meant. All addresses are all, of IPv4
    /// and of IPv6.
    fn agrees(&self, bound: SocketAddr) -> bool {
        let same_host = match self.host() {
            Host::Ip(ip) => {
                ip.to_canonical() == bound.ip().to_canonical()
                    || ip.is_unspecified() && bound.ip().is_unspecified()
            }
            // What a name resolves to is not asked for.
            Host::Name(_) => !self.is_loopback() || bound.ip().is_loopback(),
        };
        same_host && [0, bound.port()].contains(&self.port())
    }

    /// The host as it stands in a URL.
    fn shown_host(&self) -> String {
        match self.host() {
            Host::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_activated_over_is_the_configured_one_or_not() {
        for (configured, bound, expected) in [
            ("127.0.0.1:8443", "127.0.0.1:8443", true),
            ("127.0.0.1:8443", "127.0.0.1:8444", false),
            ("127.0.0.1:8443", "[::]:8443", false),
            ("127.0.0.1:8443", "[::ffff:127.0.0.1]:8443", true),
            ("0.0.0.0:8443", "[::]:8443", true),
            ("[::]:8443", "10.0.0.5:8443", false),
            ("127.0.0.1:0", "127.0.0.1:8443", true),
            ("localhost:8443", "[::1]:8443", true),
            ("localhost:8443", "[::]:8443", false),
            ("calls.example.org:8443", "10.0.0.5:8443", true),
        ] {
            let configured: ListenAddr = configured.parse().unwrap();
            assert_eq!(configured.agrees(bound.parse().unwrap()), expected, "{configured} {bound}");
        }
    }
}
