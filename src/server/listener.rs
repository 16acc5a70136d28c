//! The accept loop: how many connections may be open, and how they end when
//! the server stops.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::Service;
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use super::client_address::TrustedProxies;
use super::connection::{self, Connection, End};
use super::idle_eviction::{IdleEviction, STEP};
use super::warnings::Warnings;
use super::watchdog::Asked;
use crate::config::LimitsSection;
use crate::logs::masked;
use crate::meter::Connections;
use crate::tls::TlsReloader;

/// How long to wait after an error that will not go away by itself, such as
/// no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Bytes of an answer that the system holds before it has sent them. Else it takes megabytes for each
/// client that reads nothing, and all of them are read and encrypted in vain.
const UNSENT_BYTES: u32 = 64 * 1024;

/// How long to wait, after the drain, for tasks that were aborted.
const ABORT_WAIT: Duration = Duration::from_secs(1);

/// What stands between a listener and the service.
#[derive(Clone, Default)]
pub struct Front {
    /// Encrypts; none in the clear.
    pub tls: Option<Arc<TlsReloader>>,
    /// Proxies and load balancers before it.
    pub proxies: Proxies,
    /// Logs clients that connect to the wrong port.
    pub warnings: Warnings,
}

/// How proxies and load balancers name the client's address.
#[derive(Clone, Default)]
pub struct Proxies {
    /// Those that are believed.
    pub trusted: TrustedProxies,
    /// Every connection begins with a header of the PROXY protocol.
    pub header: bool,
}

/// How the connections ended that were open when the order to stop came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Idle, or finished with their request in time.
    pub in_order: usize,
    /// Broken by an error, or still running at the limit and aborted.
    pub cut: usize,
}

/// Accepts connections and serves each with a clone of `service`, over TLS
/// where `front` says so, until `shutdown` is ready. Then closes the socket,
/// lets running requests finish for at most `limits.drain`, cuts the rest and
/// returns.
///
/// Requests carry [`crate::http::ConnectionInfo`] as an extension. Nothing that a client does, no error of the system and no panic
/// of the service ends the loop. It answers the watchdog, which asks whether it still runs.
pub async fn run<S, B>(
    listener: TcpListener,
    front: Front,
    service: S,
    limits: LimitsSection,
    counted: Arc<Connections>,
    mut asked: Asked,
    shutdown: impl Future<Output = ()>,
) -> Drained
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut shutdown = pin!(shutdown);
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (stopper, stopped) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut pressure = IdleEviction::new();
    loop {
        let (permit, stream, peer) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(ended) = tasks.join_next() => {
                note_panic(&ended);
                continue;
            }
            () = asked.answer() => continue,
            accepted = accept(&listener, &permits, &counted, &mut pressure) => accepted,
        };
        let config = front.tls.as_ref().map(|tls| tls.current());
        let (open, slot) = (Open::new(&counted), pressure.slot());
        let (proxies, warnings) = (front.proxies.clone(), front.warnings.clone());
        let is_proxied = proxies.trusted.trust(peer.ip());
        let stop = stopped.clone();
        let connection =
            Connection { peer, is_proxied, proxies, warnings, stop, slot, open, permit };
        tasks.spawn(connection::serve(stream, config, service.clone(), limits, connection));
    }
    drop(listener);
    // A receiver that was cloned before this sees it, even if its task has
    // not run yet.
    stopper.send_replace(());
    drain(tasks, limits.drain).await
}

/// A connection that is counted as open for as long as this lives.
pub(super) struct Open(pub Arc<Connections>);

impl Open {
    fn new(counted: &Arc<Connections>) -> Self {
        counted.accepted.inc();
        counted.open.inc();
        Self(counted.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

/// Waits for a permit, then for a connection.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
    counted: &Connections,
    pressure: &mut IdleEviction,
) -> (OwnedSemaphorePermit, TcpStream, SocketAddr) {
    if permits.available_permits() == 0 {
        counted.held_back.inc();
    } else {
        pressure.release();
    }
    let permit = loop {
        let free = Arc::clone(permits).acquire_owned();
        match tokio::time::timeout(STEP, free).await {
            Ok(Ok(permit)) => break permit,
            // The semaphore is never closed.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) if somebody_waits(listener) => pressure.raise(),
            Err(_) => pressure.release(),
        }
    };
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let socket = SockRef::from(&stream);
                let set = socket.set_tcp_nodelay(true);
                if let Err(error) = set.and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES)) {
                    tracing::debug!(%peer, %error, "cannot set an option of a connection");
                }
                return (permit, stream, peer);
            }
            Err(error) if concerns_one_connection(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                counted.accept_errors.inc();
                tracing::warn!(%error, pause = ?ACCEPT_PAUSE, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether a connection is in the system's queue.
fn somebody_waits(listener: &TcpListener) -> bool {
    let mut looked = [PollFd::new(listener, PollFlags::IN)];
    rustix::event::poll(&mut looked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Whether the next connection may be accepted at once after this error.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
    )
}

/// Waits for the tasks to end, for at most `limit`, then aborts the others.
async fn drain(mut tasks: JoinSet<End>, limit: Duration) -> Drained {
    let mut drained = Drained::default();
    let all_ended = async {
        while let Some(ended) = tasks.join_next().await {
            note_panic(&ended);
            match ended {
                Ok(End::InOrder) => drained.in_order += 1,
                Ok(End::Broken) | Err(_) => drained.cut += 1,
            }
        }
    };
    if tokio::time::timeout(limit, all_ended).await.is_err() {
        drained.cut += tasks.len();
        tracing::warn!(cut = tasks.len(), ?limit, "connections were still busy and are cut");
        // A task that blocks its thread cannot be aborted; it is not waited for.
        if tokio::time::timeout(ABORT_WAIT, tasks.shutdown()).await.is_err() {
            tracing::warn!("a connection's task does not end");
        }
    }
    drained
}

fn note_panic(ended: &Result<End, JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        let said = error.to_string();
        tracing::error!(error = &*masked(&said), "a connection's task panicked");
    }
}
