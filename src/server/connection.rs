//! One connection, from the socket to its last byte: the TLS handshake and
//! HTTP/1.1 over it, each under a time limit.
//!
//! hyper has no limit for a stalled request body: whoever reads a body sets it.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;

use super::explain::Explained;
use super::listener::{Limits, Open};
pub use crate::http::{OverTls, PeerAddr};

/// Most bytes of a request's line and headers together, which includes the
/// query. More is answered 431.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most bytes read ahead, and of an answer that waits to be written. hyper
/// lets a message that came in few packets go a little over it, so that it
/// does not stand in for [`HEAD_BYTES_MAX`].
pub const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After a whole answer, or before the first request.
    InOrder,
    /// By an error or a time limit.
    Broken,
}

/// Serves one connection until it ends. When `stop` changes, an idle
/// connection is closed and a running request is answered first.
pub(super) async fn serve<S, B>(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    service: S,
    limits: Limits,
    mut stop: watch::Receiver<()>,
    open: Open,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    // Under TLS, so that the limit also holds for the closing message.
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(limits.write));
    let Some(config) = tls else {
        return serve_http(stream, peer, OverTls(false), service, limits, stop).await;
    };
    let handshake =
        tokio::time::timeout(limits.handshake, TlsAcceptor::from(config).accept(stream));
    let outcome = tokio::select! {
        outcome = handshake => outcome,
        // No request has been read, so nothing is lost.
        _ = stop.changed() => return End::InOrder,
    };
    match outcome {
        Ok(Ok(stream)) => serve_http(stream, peer, OverTls(true), service, limits, stop).await,
        Ok(Err(error)) => {
            open.0.handshakes_failed.add_one();
            tracing::debug!(%peer, %error, "the TLS handshake failed");
            End::Broken
        }
        Err(_) => {
            open.0.handshakes_failed.add_one();
            tracing::debug!(%peer, limit = ?limits.handshake, "the TLS handshake took too long");
            End::Broken
        }
    }
}

async fn serve_http<I, S, B>(
    stream: I,
    peer: SocketAddr,
    over_tls: OverTls,
    service: S,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) -> End
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        request.extensions_mut().insert(over_tls);
        service.call(request)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .half_close(false)
            .serve_connection(TokioIo::new(Explained::new(stream)), service)
    );
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match result {
        Ok(()) => End::InOrder,
        Err(error) => {
            let cause = error.source().map(ToString::to_string);
            tracing::debug!(%peer, %error, cause, "the connection broke");
            End::Broken
        }
    }
}
