//! A request as handlers see it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use std::sync::Arc;

use super::auth::{Authorization, Principal};
use super::console::ConsoleSession;
use super::error::ApiError;
use super::{ApiContext, ConnectionInfo};

/// What is read of the body of a refused request.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;
/// What is kept of that.
const BEGIN_BYTES: usize = 8 * 1024;
/// How long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The parts of a body as they come.
pub(super) type RequestBody<'a> =
    Pin<&'a mut (dyn Stream<Item = Result<Bytes, warp::Error>> + Send + Sync + 'a)>;

pub(super) struct ApiRequest<'a> {
    pub context: &'a Arc<ApiContext>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    pub body: RequestBody<'a>,
    /// Whether the end of an answer of unknown length can be told from its middle.
    pub has_chunks: bool,
    pub connection: Option<&'a ConnectionInfo>,
    /// The session of the console that it was sent in, which stands for a token.
    pub session: Option<&'a ConsoleSession>,
    pub authorizations: Vec<Authorization<'a>>,
    /// Why jambonz did not accept the token, where it was asked.
    pub denied: Option<ApiError>,
}

impl<'a> ApiRequest<'a> {
    pub fn new(
        context: &'a Arc<ApiContext>,
        head: &'a Parts,
        session: Option<&'a ConsoleSession>,
        body: RequestBody<'a>,
    ) -> Self {
        let authorizations = match session {
            Some(session) => vec![session.authorization(context)],
            None => Authorization::all(context, &head.headers),
        };
        let request = Self {
            context,
            method: &head.method,
            headers: &head.headers,
            query: head.uri.query().unwrap_or_default(),
            body,
            has_chunks: head.version >= Version::HTTP_11,
            connection: head.extensions.get(),
            session,
            authorizations,
            denied: None,
        };
        request.recognise(request.token().is_some());
        request
    }

    /// The first valid token.
    pub fn token(&self) -> Option<&Principal> {
        self.authorizations.iter().find_map(Authorization::token)
    }

    /// Whether telephone numbers are shown without their middle digits.
    pub fn is_masked(&self) -> bool {
        self.token().is_some_and(Principal::is_masked)
    }

    /// Where the connection comes from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.connection.map(|connection| connection.peer)
    }

    /// Says to the server whether the client is authenticated.
    pub fn recognise(&self, known: bool) {
        if let Some(connection) = self.connection {
            connection.recognised.set(known);
        }
    }

    pub fn is_recognised(&self) -> bool {
        self.connection.is_some_and(|connection| connection.recognised.get())
    }

    /// Reads what is left of a refused request's body, within bounds: a connection that is closed
    /// while the client sends may lose the answer, too.
    ///
    /// Returns how it begins, a few bytes, and whether that was all of it: else the connection cannot
    /// be used again.
    pub async fn drain(&mut self) -> (Vec<u8>, bool) {
        let mut begin = Vec::new();
        let read = async {
            let mut left = DRAIN_BYTES;
            while let Some(Ok(part)) = self.body.next().await {
                let room = BEGIN_BYTES.saturating_sub(begin.len());
                begin.extend_from_slice(part.get(..room).unwrap_or(&part));
                left = left.saturating_sub(part.len());
                if left == 0 {
                    return false;
                }
            }
            true
        };
        let whole = tokio::time::timeout(DRAIN_TIME, read).await;
        (begin, whole.unwrap_or(false))
    }
}
