//! Lines of the log for those who come to the wrong port, or speak another protocol. A client that
//! does comes again and again, as health checks do: each kind is said once a minute.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often each is said.
const INTERVAL: Duration = Duration::from_mins(1);

/// What is warned of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Warning {
    /// A PROXY header has to come, and something else came.
    NoProxyHeader,
    /// A PROXY header came where none is expected.
    ProxyHeader,
    /// HTTP came to a TLS port.
    Plain,
    /// A TLS handshake came to a port of plain HTTP.
    Tls,
    /// HTTP/2 came, or the client speaks nothing else over TLS.
    Http2,
    /// HTTP/2 came in the clear to a TLS port.
    PlainHttp2,
    /// Neither TLS nor HTTP came to a TLS port.
    Other,
    /// A TLS handshake came that has nothing in common with what is spoken here.
    Incompatible,
    /// Something came to a TLS port and did not go on.
    Unfinished,
    /// A client does not accept the certificate of the server.
    Untrusted,
    /// The server does not accept the certificate of a client, or wants one and got none.
    Client,
}

/// How many kinds there are.
const KINDS: usize = 11;

/// The warnings of one listener.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    /// As people know it: `https://127.0.0.1:8443`.
    listener: Arc<str>,
    /// When each kind was said last.
    said: Arc<Mutex<[Option<Instant>; KINDS]>>,
}

impl Warnings {
    /// Those of the listener at this URL.
    pub fn of(url: &str) -> Self {
        Self { listener: url.into(), said: Arc::default() }
    }

    /// Says that this came from `peer`, if nothing of the kind was said in the last minute.
    pub(super) fn warn(&self, warning: Warning, peer: SocketAddr, why: &str) {
        let listener = &*self.listener;
        if !self.is_due(warning, Instant::now()) {
            tracing::debug!(%peer, listener, why, "a connection was closed");
            return;
        }
        let text = match warning {
            Warning::NoProxyHeader => {
                tracing::warn!(
                    %peer, listener, why,
                    "a connection was closed: the listener has proxy_protocol = true, and the client \
                     connects has to send that header (said once a minute)"
                );
                return;
            }
            Warning::ProxyHeader => {
                "a header of the PROXY protocol came to a listener that does not expect one: set \
                 proxy_protocol = true for it and http.trusted_proxies, or have the proxy send \
                 none (said once a minute)"
            }
            Warning::Plain => {
                "plain HTTP came to a port that speaks TLS: use https:// there (said once a minute)"
            }
            Warning::PlainHttp2 => {
                "HTTP/2 in the clear came to a port that speaks TLS: use https:// and HTTP/1.1 there \
                 (said once a minute)"
            }
            Warning::Other => {
                tracing::warn!(
                    %peer, listener, came = why,
                    "neither TLS nor HTTP came to a port that speaks TLS, and the connection was \
                     closed (said once a minute)"
                );
                return;
            }
            Warning::Incompatible => {
                tracing::warn!(
                    %peer, listener, why,
                    "a TLS handshake failed: the client has no version or cipher of TLS in common with \
                     the server, which speaks TLS 1.2 and 1.3 (said once a minute)"
                );
                return;
            }
            Warning::Untrusted => {
                tracing::warn!(
                    %peer, listener, why,
                    "a client does not accept the certificate of this server, and sent nothing: have it \
                     trust the authority that `rollcall status` names, and connect to a name that the \
                     certificate has (said once a minute)"
                );
                return;
            }
            Warning::Client => {
                tracing::warn!(
                    %peer, listener, why,
                    "a client was refused for its certificate: it needs one of an authority in \
                     tls.client_ca (said once a minute)"
                );
                return;
            }
            Warning::Unfinished => {
                "a TLS handshake began and was not finished within limits.handshake (said once a minute)"
            }
            Warning::Tls => {
                "TLS came to a port of plain HTTP: use http:// there, or the port of `listen` \
                 (said once a minute)"
            }
            Warning::Http2 => {
                "a client speaks HTTP/2 alone, and HTTP/1.1 is spoken here: have it use that \
                 (said once a minute)"
            }
        };
        tracing::warn!(%peer, listener, "{text}");
    }

    fn is_due(&self, warning: Warning, now: Instant) -> bool {
        let mut said = self.said.lock();
        let Some(last) = said.get_mut(warning as usize) else { return true };
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_a_minute() {
        let warnings = Warnings::of("https://127.0.0.1:8443");
        let now = Instant::now();
        for kind in [
            Warning::NoProxyHeader,
            Warning::ProxyHeader,
            Warning::Plain,
            Warning::Tls,
            Warning::Http2,
            Warning::PlainHttp2,
            Warning::Other,
            Warning::Incompatible,
            Warning::Unfinished,
            Warning::Untrusted,
            Warning::Client,
        ] {
            assert!(warnings.is_due(kind, now), "{kind:?}");
            assert!(!warnings.is_due(kind, now + INTERVAL / 2), "{kind:?}");
            assert!(warnings.is_due(kind, now + INTERVAL), "{kind:?}");
        }
    }
}
