//! What every request goes through, whatever its path.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION, HOST, HeaderName,
    HeaderValue, TRANSFER_ENCODING, VARY, WWW_AUTHENTICATE,
};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower_service::Service as _;
use tracing::Instrument as _;
use warp::filters::BoxedFilter;

use super::auth::token_id;
use super::auth_throttle::{self, AuthThrottle, Penalty};
use super::rate::Rate;
use super::reply::{ApiError, Response, Why, empty};
use super::routes::{Protocol, Route, drain, routes};
use super::sender::presented;
use super::{ApiContext, PeerAddr, Recognised, hook};
use crate::access::Access;
use crate::domain::AccountSid;
use crate::meter::{Cause, Refused};
use crate::{clock, logs};

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,PUT,DELETE");
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag,Link,X-Next-Cursor,X-Total-Count,Retry-After,RateLimit-Limit,RateLimit-Remaining,\
     RateLimit-Reset,X-Request-Id",
);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request came from, as far as that is known.
struct RequestPeer(Option<SocketAddr>);

/// The API as a hyper service.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    routes: BoxedFilter<(Response,)>,
    context: Arc<ApiContext>,
    allow_origin: Option<HeaderValue>,
    guard: AuthThrottle,
    /// Room for those who wait though they are refused.
    waiting: Semaphore,
    rate: Option<Rate>,
}

/// The API over this context.
pub fn service(context: Arc<ApiContext>) -> Api {
    let allow_origin = context.allow_origin.as_deref();
    let allow_origin = allow_origin.and_then(|origin| HeaderValue::from_str(origin).ok());
    Api(Arc::new(Inner {
        routes: routes(context.clone()),
        allow_origin,
        guard: AuthThrottle::default(),
        waiting: Semaphore::new(auth_throttle::WAITING_MAX),
        rate: Rate::new(context.token_requests, context.token_window),
        context,
    }))
}

impl hyper::service::Service<Request<Incoming>> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let api = self.0.clone();
        without_doubled_slash(request.uri_mut());
        let id = request_id(request.headers());
        // So grave that the lines of a request have it whatever the level is.
        let span = tracing::error_span!(
            "request",
            id = shown_id(&id).as_ref(),
            token = tracing::field::Empty,
            account = tracing::field::Empty,
        );
        let answer = async move {
            let begun = Instant::now();
            let method = request.method().clone();
            let hook = is_hook(&request);
            let peer = request.extensions().get().map(|peer: &PeerAddr| peer.0);
            let mut reply = unless_it_panics(api.answer(request)).await;
            let headers = reply.headers_mut();
            headers.insert(REQUEST_ID, id);
            if let Some(origin) = &api.allow_origin {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            api.note(&method, hook.then_some(RequestPeer(peer)), &reply, begun.elapsed());
            Ok(reply)
        };
        Box::pin(answer.instrument(span))
    }
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        if let Err(error) = unambiguous(&request) {
            return error.into();
        }
        if *request.method() == Method::OPTIONS {
            return preflight(request.headers());
        }
        let token = token_id(&self.context, request.headers());
        if let Some(recognised) = request.extensions().get::<Recognised>() {
            recognised.set(token.is_some());
        }
        let rate = self.rate.as_ref().zip(token);
        let rate = rate.map(|(rate, token)| rate.count(&token, Instant::now()));
        let mut reply = match rate.filter(|rate| rate.exceeded) {
            Some(rate) => {
                drain(request.into_body().into_data_stream()).await;
                ApiError::too_many("this token sends too many requests", rate.reset).into()
            }
            None => self.route(request).await,
        };
        if let Some(rate) = rate {
            rate.put(&mut reply);
        }
        reply
    }

    /// Counts an answer, and says what it was. Not the path, nor the query: there are telephone
    /// numbers in them.
    ///
    /// `hook` is there for a request that brings events.
    fn note(&self, method: &Method, hook: Option<RequestPeer>, reply: &Response, time: Duration) {
        let route = reply.extensions().get().copied().unwrap_or(Route::OTHER);
        let status = reply.status();
        self.context.requests.count(route.0, method.as_str(), status.as_u16(), time);
        if let Some(RequestPeer(peer)) = hook.filter(|_| !status.is_success()) {
            let counted = reply.extensions().get().copied();
            self.context.store.meter().refuse(counted.unwrap_or_else(|| refused(status)));
            self.note_refused_hook(peer, reply);
        }
        let (path, status) = (route.template(), status.as_u16());
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // Whoever guesses is kept waiting, which is no news.
        let nobody = reply.extensions().get().is_some_and(|why: &Why| why.nobody);
        let kept_waiting = nobody || matches!(status, 401 | 429);
        if !kept_waiting && self.context.slow.is_some_and(|slow| time > slow) {
            tracing::warn!(%method, path, status, micros, "an answer was slow");
        } else {
            tracing::debug!(%method, path, status, micros, "answered");
        }
    }

    /// Writes down that somebody came with wrong credentials.
    fn note_wrong(&self, peer: SocketAddr, what: &str, reply: &Response) {
        self.context.store.access(Access::note_refused);
        let route = reply.extensions().get().copied().unwrap_or(Route::OTHER);
        let action = logs::AuditEvent {
            at: clock::now(),
            who: "nobody",
            what,
            object: Some(route.template()),
            outcome: logs::AuditOutcome::Refused,
            peer: Some(peer),
        };
        if !self.context.audit.write_wrong(&action, Instant::now()) {
            self.context.store.meter().audit_left_out.inc();
        }
    }

    /// Counts a request that brought events and was refused, and says why: not all of many.
    fn note_refused_hook(&self, peer: Option<SocketAddr>, reply: &Response) {
        let status = reply.status();
        let why = reply.extensions().get::<Why>().cloned();
        let why = why.unwrap_or_else(|| Why::of(None, hook::cause(status)));
        let cause = why.causes.first().copied().unwrap_or(Cause::Other);
        let has_settings = |sid: &AccountSid| {
            self.context.store.access(|access| access.account(*sid).is_some()) || !why.nobody
        };
        let own = why.account.filter(has_settings);
        let hooks = &self.context.store.meter().hooks;
        let Some(left_out) = hooks.refused(own, cause, Instant::now()) else { return };
        let reasons: Vec<_> = why.causes.iter().map(|cause| cause.text()).collect();
        tracing::warn!(
            account = why.account.map(tracing::field::display),
            status = status.as_u16(),
            peer = peer.map(tracing::field::display),
            user = why.users.first().map(|user| begins(user)),
            left_out = (left_out > 0).then_some(left_out),
            "a webhook was refused: {}",
            reasons.join("; ")
        );
    }

    async fn route(&self, mut request: Request<Incoming>) -> Response {
        let protocol = Protocol(request.version());
        request.extensions_mut().insert(protocol);
        let presented = presented(request.headers());
        let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
        let Ok(mut reply) = warp::service(self.routes.clone()).call(request).await;
        let why = reply.extensions().get::<Why>();
        // An answer of rollcall's own; that of a feature server has no challenge.
        let challenged = reply.headers().contains_key(WWW_AUTHENTICATE);
        let refused = presented && reply.status() == StatusCode::UNAUTHORIZED && challenged;
        let failed = refused || why.is_some_and(|why| why.nobody);
        let users = why.map(|why| why.users.clone()).unwrap_or_default();
        let Some(peer) = peer.filter(|_| failed || !users.is_empty()) else { return reply };
        self.note_wrong(peer, "authenticate", &reply);
        let now = Instant::now();
        let of_user = users.iter().map(|user| self.guard.failed_user(user, now)).max();
        let of_address = failed.then(|| self.guard.failed(peer.ip(), now));
        match of_user.max(of_address) {
            None => {}
            Some(Penalty::Wait(time)) => tokio::time::sleep(time).await,
            Some(Penalty::Refuse) => {
                // Whoever guesses on waits, too, as far as there is room, and needs a handshake
                // for each guess.
                if let Ok(_room) = self.waiting.try_acquire() {
                    tokio::time::sleep(auth_throttle::REFUSED).await;
                }
                if failed {
                    reply = too_many_wrong(&reply);
                }
                reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        reply
    }
}

/// What is answered in place of this refusal, where too many of them were.
fn too_many_wrong(refused: &Response) -> Response {
    let msg = "too many wrong credentials have come from this address, or for this user";
    let route = refused.extensions().get::<Route>().copied();
    let mut reply = Response::from(ApiError::too_many(msg, auth_throttle::RETRY_SECONDS));
    reply.extensions_mut().insert(route.unwrap_or(Route::OTHER));
    if let Some(why) = refused.extensions().get::<Why>() {
        reply.extensions_mut().insert(why.clone());
    }
    reply
}

/// How a user name begins: somebody may have taken a password for one.
fn begins(user: &str) -> String {
    let begin: String = user.chars().filter(|c| !c.is_control()).take(2).collect();
    format!("{begin}…")
}

/// The answer, or 500 where a panic comes instead of one. The panic itself is a line of the log, with
/// the id of the request, and the connection goes on.
async fn unless_it_panics(answer: impl Future<Output = Response>) -> Response {
    let answer = AssertUnwindSafe(answer).catch_unwind().await;
    answer.unwrap_or_else(|_| ApiError::panicked().into())
}

/// Takes slashes away at which a path begins beside its first, as where a proxy puts its own path
/// before one.
fn without_doubled_slash(uri: &mut Uri) {
    let Some(rest) = uri.path_and_query().and_then(|all| all.as_str().strip_prefix("//")) else {
        return;
    };
    let path = format!("/{}", rest.trim_start_matches('/'));
    let Ok(path) = PathAndQuery::try_from(path) else { return };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(path);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

/// Whether events come with it, or come by a method by which none are taken: jambonz then puts them
/// into the query.
fn is_hook(request: &Request<Incoming>) -> bool {
    let path = request.uri().path();
    let path = path.strip_suffix('/').unwrap_or(path);
    let by_query = || request.uri().query().is_some_and(|query| query.contains("call_sid="));
    let brings = match *request.method() {
        Method::POST => true,
        Method::GET => by_query(),
        _ => false,
    };
    brings && path.eq_ignore_ascii_case("/v1/hooks/call-status")
}

/// Why events were not taken, by the status of the answer.
fn refused(status: StatusCode) -> Refused {
    match status.as_u16() {
        400 | 415 => Refused::Malformed,
        401 => Refused::Unauthorised,
        403 => Refused::Forbidden,
        408 => Refused::SlowBody,
        413 => Refused::TooLarge,
        429 => Refused::TooMany,
        _ => Refused::Other,
    }
}

/// A request's id as the log has it: a client may have taken a telephone number for one.
fn shown_id(id: &HeaderValue) -> Cow<'_, str> {
    logs::masked(id.to_str().unwrap_or_default())
}

/// The request's own id, where it brings a sensible one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(plain)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(sensible) {
        return id.clone();
    }
    let id = crate::random::uuid().simple().to_string();
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// Whether everybody on the way reads this request alike (RFC 9112, sections 3.2 and 6). hyper
/// itself closes the connection after a request with both a length and a transfer encoding.
fn unambiguous<B>(request: &Request<B>) -> Result<(), ApiError> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(ApiError::bad("Host: expected exactly one"));
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if encodings.next().is_some_and(|first| !plain(first)) || encodings.next().is_some() {
        return Err(ApiError::bad("Transfer-Encoding: expected chunked, once"));
    }
    Ok(())
}

/// The answer to a browser that asks beforehand.
fn preflight(asked: &HeaderMap) -> Response {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_with_one_slash() {
        for (uri, expected) in [
            ("//livez", "/livez"),
            ("///v1/a//b?c=//d", "/v1/a//b?c=//d"),
            ("//", "/"),
            ("//?a=b", "/?a=b"),
            ("/livez", "/livez"),
            ("/v1//Calls", "/v1//Calls"),
            ("http://x//livez", "http://x/livez"),
        ] {
            // As it is read from a request, which has no place for a host in such a path.
            let mut parts = http::uri::Parts::default();
            match uri.strip_prefix("http://x") {
                Some(path) => {
                    parts.scheme = Some(http::uri::Scheme::HTTP);
                    parts.authority = Some("x".parse().unwrap());
                    parts.path_and_query = Some(path.parse().unwrap());
                }
                None => parts.path_and_query = Some(uri.parse().unwrap()),
            }
            let mut read = Uri::from_parts(parts).unwrap();
            without_doubled_slash(&mut read);
            assert_eq!(read.to_string(), expected, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_panic_is_500_and_an_answer_is_itself() {
        let reply = unless_it_panics(async { panic!("on purpose") }).await;
        assert_eq!(reply.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(reply.extensions().get(), Some(&Refused::Panic));
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            body.contains("an error inside rollcall") && body.contains("X-Request-Id"),
            "{body}"
        );
        let reply = unless_it_panics(async { empty(StatusCode::NO_CONTENT) }).await;
        assert_eq!(reply.status(), StatusCode::NO_CONTENT);
    }
}
