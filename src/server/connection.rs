//! One connection, from the socket to its last byte: the header of a load
//! balancer, the TLS handshake and HTTP/1.1 over it, each under a time limit.
//!
//! hyper has no limit for a stalled request body: the code that reads a body sets it.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Version};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::{AlertDescription, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::error_bodies::Explained;
use super::first_bytes::{self, FirstBytes, Opening};
use super::idle_eviction::{EvictionSlot, TrackedBody};
use super::listener::{Open, Proxies};
use super::proxy_header::{self, HeaderError};
use super::request_timer::{Expired, RequestTimer};
use super::socket::{Socket, Transport};
use super::warnings::{Warning, Warnings};
use crate::config::LimitsSection;
use crate::http::ConnectionInfo;

/// Most bytes of a request's line and headers together, which includes the
/// query. More is answered 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most bytes read ahead, and of an answer that waits to be written. hyper
/// lets a message that came in few packets go a little over it, so that it
/// does not stand in for [`HEAD_BYTES_MAX`].
pub const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// How long a connection may go on after the order to stop before it is closed for being idle: a
/// request may be on its way. One that comes is answered, and the answer says that it is the last.
const LINGER: Duration = Duration::from_millis(300);

/// How long a handshake may go on after the order to stop. A client that was accepted before is still
/// served: it could not be told why not.
const HANDSHAKE_LINGER: Duration = Duration::from_secs(2);

/// Tells a client how long a connection may be idle, so that it does not send a request at the very
/// moment at which it is closed.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What the client of a proxy spoke.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Shorter times are not announced: a client takes a second off for the way.
const KEEP_ALIVE_MIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole answer, or before the first request.
    InOrder,
    /// By an error or a time limit.
    Broken,
}

pub(super) struct Connection {
    pub peer: SocketAddr,
    /// Whether the other end is a trusted proxy.
    pub is_proxied: bool,
    /// Proxies that are trusted to name the client's address.
    pub proxies: Proxies,
    /// Logs clients that connect to the wrong port.
    pub warnings: Warnings,
    /// Changes when the server stops.
    pub stop: watch::Receiver<()>,
    pub slot: EvictionSlot,
    pub open: Open,
    /// One of those that may be open at once.
    pub permit: OwnedSemaphorePermit,
}

/// Serves one connection until it ends. When `stop` changes, a running
/// request is answered first, and then or after a moment it is closed.
pub(super) async fn serve<S, B>(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    limits: LimitsSection,
    mut connection: Connection,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let socket = Socket::new(stream);
    let line = socket.line();
    // Under TLS, so that the limit also holds for the closing message.
    let mut stream = Box::pin(TimeoutStream::new(socket));
    stream.as_mut().set_write_timeout_pinned(Some(limits.write));
    let deadline = Instant::now() + limits.handshake;
    if connection.proxies.header {
        match Box::pin(read_proxy_header(&mut stream, &line, deadline, &mut connection)).await {
            Ok(peer) => connection.peer = peer,
            Err(end) => return end,
        }
    }
    let Some(config) = tls else {
        return serve_http(stream, line, service, limits, connection, false).await;
    };
    // In a box: a task takes memory for all that it ever waits for, however long it will be idle.
    match Box::pin(shake_hands(stream, &line, config, deadline, &mut connection)).await {
        Ok(stream) => serve_http(stream, line, service, limits, connection, true).await,
        Err(end) => end,
    }
}

/// Where the connection came from by the header that it has to begin with; that of a stranger says
/// nothing.
async fn read_proxy_header(
    stream: &mut (impl AsyncRead + Unpin),
    line: &Transport,
    deadline: Instant,
    connection: &mut Connection,
) -> Result<SocketAddr, End> {
    let peer = connection.peer;
    let read = tokio::time::timeout_at(deadline, proxy_header::read(stream));
    let outcome = tokio::select! {
        outcome = read => outcome,
        () = stopped(connection.stop.clone(), HANDSHAKE_LINGER) => return Err(End::InOrder),
        () = connection.slot.wanted(&line.unread) => return Err(End::Broken),
    };
    let why = match outcome {
        Ok(Ok(Some(client))) if connection.proxies.trusted.trust(peer.ip()) => return Ok(client),
        Ok(Ok(_)) => return Ok(peer),
        // A health check that only connects.
        Ok(Err(HeaderError::Nothing)) => return Err(End::InOrder),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "its PROXY header took too long".to_owned(),
    };
    connection.open.0.proxy_headers_failed.inc();
    connection.warnings.warn(Warning::NoProxyHeader, peer, &why);
    Err(End::Broken)
}

/// The connection after the handshake. In a box: it is moved on, and a task takes memory for each place
/// that it has been at.
async fn shake_hands<I: AsyncRead + AsyncWrite + Unpin>(
    mut stream: I,
    line: &Transport,
    config: Arc<ServerConfig>,
    deadline: Instant,
    connection: &mut Connection,
) -> Result<Box<TlsStream<I>>, End> {
    let peer = connection.peer;
    let began = AtomicBool::new(false);
    let handshake = tokio::time::timeout_at(deadline, async {
        let opening = first_bytes::opening(&line.unread).await?;
        began.store(true, Ordering::Relaxed);
        let (warning, what) = match opening {
            // A health check that only connects.
            Opening::Nothing => return Ok(None),
            Opening::Tls => return TlsAcceptor::from(config).accept(stream).await.map(Some),
            Opening::Plain => first_bytes::answer_plain(&mut stream).await?,
            Opening::Other(what) => (Warning::Other, what),
        };
        connection.warnings.warn(warning, peer, what);
        Err(io::ErrorKind::InvalidData.into())
    });
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        () = stopped(connection.stop.clone(), HANDSHAKE_LINGER) => return Err(End::InOrder),
        () = connection.slot.wanted(&line.unread) => return Err(End::Broken),
    };
    match outcome {
        Ok(Ok(Some(stream))) => return Ok(Box::new(stream)),
        Ok(Ok(None)) => return Err(End::InOrder),
        Ok(Err(error)) => {
            if let Some((warning, why)) = refusal(&error) {
                connection.warnings.warn(warning, peer, &why);
            }
            tracing::debug!(%peer, %error, "the TLS handshake failed");
        }
        // Browsers connect ahead of what they may ask for, and then say nothing.
        Err(_) if !began.load(Ordering::Relaxed) => {
            tracing::debug!(%peer, "nothing came of a TLS handshake");
        }
        Err(_) => connection.warnings.warn(Warning::Unfinished, peer, ""),
    }
    connection.open.0.handshakes_failed.inc();
    Err(End::Broken)
}

/// What is to be warned of where a handshake has failed, and why it did.
fn refusal(error: &io::Error) -> Option<(Warning, String)> {
    match error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>())? {
        rustls::Error::NoApplicationProtocol => Some((Warning::Http2, String::new())),
        error @ rustls::Error::PeerIncompatible(_) => {
            Some((Warning::Incompatible, error.to_string()))
        }
        rustls::Error::InvalidMessage(_) => {
            Some((Warning::Other, "what begins like TLS, and is none".to_owned()))
        }
        error @ rustls::Error::AlertReceived(alert) if is_of_certificate(*alert) => {
            Some((Warning::Untrusted, error.to_string()))
        }
        error @ (rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            Some((Warning::Client, error.to_string()))
        }
        _ => None,
    }
}

/// Whether a client says by this that it does not accept the server's certificate.
fn is_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

/// Ready so long after the order to stop.
async fn stopped(mut stop: watch::Receiver<()>, linger: Duration) {
    let _either_way = stop.changed().await;
    tokio::time::sleep(linger).await;
}

async fn serve_http<I, S, B>(
    stream: I,
    line: Transport,
    service: S,
    limits: LimitsSection,
    connection: Connection,
    is_encrypted: bool,
) -> End
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let Connection {
        peer,
        is_proxied,
        proxies,
        warnings,
        stop,
        mut slot,
        permit: _permit,
        open: _open,
    } = connection;
    let (activity, stopping) = (slot.activity.clone(), stop.clone());
    let Transport { client, cut, unread } = line;
    let recognised = activity.recognised.clone();
    let info = ConnectionInfo { peer, client, recognised, is_secure: is_encrypted, is_proxied };
    let whole = cut.clone();
    let timer = Arc::new(RequestTimer::new(limits.header, limits.idle));
    let keep_alive = keep_alive_header(limits.idle);
    let first = FirstBytes::new(peer, warnings);
    let stream = Explained::new(stream, first, timer.clone());
    let service = service_fn({
        let timer = timer.clone();
        move |mut request: Request<Incoming>| {
            let peer = proxies.trusted.client(peer, request.headers());
            let is_secure = is_encrypted || is_proxied && !names_plain_http(request.headers());
            let info = ConnectionInfo { peer, is_secure, ..info.clone() };
            request.extensions_mut().insert(info);
            let has_chunks = request.version() >= Version::HTTP_11;
            let (running, cut) = ((activity.begin(), timer.begin()), cut.clone());
            let announced =
                keep_alive.clone().filter(|_| has_chunks && !is_last(request.headers()));
            let (answered, stopping) = (service.call(request), stopping.clone());
            async move {
                let mut answer = answered.await?;
                if stopping.has_changed().unwrap_or(true) {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                } else if let Some(announced) = announced.filter(|_| !is_last(answer.headers())) {
                    answer.headers_mut().insert(KEEP_ALIVE, announced);
                }
                let body = |body| TrackedBody::new(body, running, cut, has_chunks);
                Ok::<_, Infallible>(answer.map(body))
            }
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // It would run while nothing comes, too.
            .header_read_timeout(None)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let result = tokio::select! {
        // First: a request that has come is answered.
        biased;
        result = connection.as_mut() => result,
        over = timer.over(&unread) => match over {
            Expired::Idle => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(limits.write, connection.as_mut()).await {
                    Ok(result) => result,
                    Err(_) => return End::InOrder,
                }
            }
            Expired::Head => {
                tracing::debug!(%peer, "the head of a request took too long");
                return End::Broken;
            }
        },
        () = async { stopped(stop, LINGER.min(limits.drain / 4)).await; unread.settled().await } => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                // Nothing came, or not even a whole head.
                () = slot.overdue() => return End::InOrder,
            }
        }
        () = slot.wanted(&unread) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                // Within the head of a request.
                () = slot.overdue() => return End::Broken,
            }
        }
    };
    match result {
        Ok(()) => {
            whole.end();
            End::InOrder
        }
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::debug!(%peer, %error, cause, "the connection broke");
            End::Broken
        }
    }
}

/// Whether a proxy says that its client spoke plain HTTP.
fn names_plain_http(headers: &HeaderMap) -> bool {
    let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back();
    let last = last.map(|value| value.as_bytes().rsplit(|byte| *byte == b',').next());
    last.is_some_and(|last| !last.unwrap_or_default().trim_ascii().eq_ignore_ascii_case(b"https"))
}

/// The header that announces how long a connection may be idle.
fn keep_alive_header(idle: Duration) -> Option<HeaderValue> {
    let text = (idle >= KEEP_ALIVE_MIN).then(|| format!("timeout={}", idle.as_secs()));
    text.and_then(|text| HeaderValue::try_from(text).ok())
}

/// Whether a client says that this is its last request.
fn is_last(headers: &HeaderMap) -> bool {
    let close = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"close");
    headers.get_all(CONNECTION).iter().any(close)
}
