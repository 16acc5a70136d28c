//! What stands around every handler: ids, spans, limits, waits for wrong credentials, and metrics.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use futures_util::{FutureExt as _, Stream, TryStreamExt as _};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, CONNECTION, EXPECT, HOST,
    HeaderName, HeaderValue, TRANSFER_ENCODING, VARY, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tower_service::Service as _;
use warp::Filter as _;

use super::auth_throttle::{self, AuthThrottle, Penalty};
use super::console::{self, ConsoleSession};
use super::error::{ApiError, Why};
use super::rate::Rate;
use super::request::{ApiRequest, RequestBody};
use super::response::{Response, empty};
use super::router::{self, Target};
use super::webhook::{self, name_account, presented};
use super::{ApiContext, ConnectionInfo};
use crate::access::Access;
use crate::clock;
use crate::domain::AccountSid;
use crate::logs::{self, LogRequest};
use crate::meter::{Cause, Refused};
use crate::upstream::QUESTION;

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "ETag,Link,X-Next-Cursor,X-Total-Count,Retry-After,RateLimit-Limit,RateLimit-Remaining,\
     RateLimit-Reset,X-Request-Id,Rollcall-Position,Rollcall-Kept",
);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The API as a hyper service.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    context: Arc<ApiContext>,
    allow_origin: Option<HeaderValue>,
    /// The methods of all routes.
    methods: HeaderValue,
    throttle: AuthThrottle,
    /// Clients that may wait though they are refused.
    waiting: Semaphore,
    rate: Option<Rate>,
}

/// The API over this context.
pub fn service(context: Arc<ApiContext>) -> Api {
    let allow_origin = context.config.cors.allow_origin.as_ref();
    let allow_origin = allow_origin.and_then(|origin| HeaderValue::from_str(origin.as_str()).ok());
    let limits = &context.config.limits;
    let methods = HeaderValue::try_from(router::methods());
    Api(Arc::new(Inner {
        allow_origin,
        methods: methods.unwrap_or_else(|_| HeaderValue::from_static("GET")),
        throttle: AuthThrottle::default(),
        waiting: Semaphore::new(auth_throttle::WAITING_MAX),
        rate: Rate::new(limits.token_requests, limits.token_window),
        context,
    }))
}

impl hyper::service::Service<Request<Incoming>> for Api {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let api = self.0.clone();
        let (mut head, body) = request.into_parts();
        without_doubled_slash(&mut head.uri);
        let request = LogRequest::new(request_id(&head.headers));
        let shared = Arc::new((head, request.clone()));
        // All that warp does is to hand over the body.
        let handed = warp::body::stream().then(move |body| {
            let (api, shared) = (api.clone(), shared.clone());
            async move {
                let (head, request) = &*shared;
                api.serve(head, request.id(), body).await
            }
        });
        let answer = async move { warp::service(handed).call(Request::new(body)).await };
        Box::pin(request.scope(answer))
    }
}

/// The answer, which says so where it is the last one of its connection: of the body something is left, and
/// a proxy would send its next request there in vain.
fn ending(mut reply: Response, is_last: bool) -> Response {
    if is_last {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

impl Inner {
    /// What stands around every answer, also that of a handler that panics.
    async fn serve<B: Buf>(
        &self,
        head: &Parts,
        id: &HeaderValue,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + Sync,
    ) -> Response {
        let begun = Instant::now();
        let target = Target::of(head.uri.path());
        let body = pin!(body.map_ok(|mut part| part.copy_to_bytes(part.remaining())));
        let mut reply = unless_it_panics(self.answer(target, head, body)).await;
        let headers = reply.headers_mut();
        headers.insert(REQUEST_ID, id.clone());
        // No page of another origin reads what belongs to a session.
        if let Some(origin) = &self.allow_origin
            && !console::concerns(head)
        {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        self.observe(target, head, &reply, begun.elapsed());
        reply
    }

    async fn answer(&self, target: Target<'_>, head: &Parts, body: RequestBody<'_>) -> Response {
        if let Err(error) = unambiguous(head) {
            return error.into();
        }
        // Whatever is known of the token here: rollcall is not jambonz.
        if head.headers.contains_key(QUESTION) {
            return ApiError::circle().into();
        }
        if head.method == Method::OPTIONS {
            return self.preflight(head);
        }
        let session = ConsoleSession::of(&self.context, head);
        let mut request = ApiRequest::new(&self.context, head, session.as_ref(), body);
        target.recognise(&mut request).await;
        let rate = self.rate.as_ref().zip(request.token());
        let rate = rate.map(|(rate, token)| rate.count(&token.id, Instant::now()));
        let mut reply = match rate.filter(|rate| rate.exceeded) {
            Some(rate) => {
                let (_, whole) = request.drain().await;
                let error = ApiError::too_many("this token sends too many requests", rate.reset);
                ending(error.into(), !whole)
            }
            None => self.throttled(target, &mut request).await,
        };
        if let Some(rate) = rate {
            rate.put(&mut reply);
        }
        if let Some(session) = &session {
            session.put(&self.context, &mut reply);
        }
        reply
    }

    /// The handler's answer. Those who bring wrong credentials wait for it.
    async fn throttled(&self, target: Target<'_>, request: &mut ApiRequest<'_>) -> Response {
        let mut answer = target.answer(request).await;
        let mut is_last = false;
        if let Err(error) = &mut answer {
            // A client that waits for a "100 Continue" has sent nothing yet.
            is_last = request.headers.contains_key(EXPECT);
            if !is_last {
                // No connection is kept for what is only thrown away.
                let recognised = request.is_recognised();
                request.recognise(false);
                let (begin, whole) = request.drain().await;
                request.recognise(recognised);
                name_account(&self.context, error, &begin);
                is_last = !whole;
            }
        }
        let mut reply = ending(answer.unwrap_or_else(Response::from), is_last);
        self.audit_read(target, request, &reply);
        let why = reply.extensions().get::<Why>();
        // An answer of rollcall's own; that of a feature server has no challenge.
        let refused = reply.status() == StatusCode::UNAUTHORIZED
            && reply.headers().contains_key(WWW_AUTHENTICATE)
            && presented(request.headers);
        let failed = refused || why.is_some_and(|why| why.unauthenticated);
        let users = why.map(|why| why.users.as_slice()).unwrap_or_default();
        let Some(peer) = request.peer().filter(|_| failed || !users.is_empty()) else {
            return reply;
        };
        self.log_wrong_credentials(peer, target);
        let now = Instant::now();
        let of_user = users.iter().map(|user| self.throttle.failed_user(user, now)).max();
        let of_address = failed.then(|| self.throttle.failed(peer.ip(), now));
        match of_user.max(of_address) {
            None => {}
            Some(Penalty::Wait(time)) => tokio::time::sleep(time).await,
            Some(Penalty::Refuse) => {
                // A client that guesses on waits, too, as far as the limit allows, and needs a
                // handshake for each guess.
                if let Ok(_permit) = self.waiting.try_acquire() {
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

    /// Counts an answer and logs it. Not the path, nor the query: there are telephone numbers in
    /// them.
    fn observe(&self, target: Target<'_>, head: &Parts, reply: &Response, time: Duration) {
        let (method, status) = (&head.method, reply.status());
        self.context.requests.count(target.label, method.as_str(), status.as_u16(), time);
        if !status.is_success() && brings_events(target, head) {
            let counted = reply.extensions().get().copied();
            self.context.store.meter().refuse(counted.unwrap_or_else(|| refused(status)));
            self.log_refused_hook(peer(head), reply);
        }
        let (path, status) = (target.template(), status.as_u16());
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // Guesses are kept waiting, which is no news.
        let unauthenticated = reply.extensions().get().is_some_and(|why: &Why| why.unauthenticated);
        let kept_waiting = unauthenticated || matches!(status, 401 | 429);
        if !kept_waiting && self.context.config.log.slow.is_some_and(|slow| time > slow) {
            tracing::warn!(%method, path, status, micros, "an answer was slow");
        } else {
            tracing::debug!(%method, path, status, micros, "answered");
        }
    }

    /// Writes down who reads whose calls, where that is wanted.
    fn audit_read(&self, target: Target<'_>, request: &ApiRequest<'_>, reply: &Response) {
        let status = reply.status();
        let is_read = status.is_success() || status == StatusCode::NOT_MODIFIED;
        if !self.context.config.log.audit_reads || !is_read {
            return;
        }
        let object = target.read_object(request.method);
        let Some((object, token)) = object.zip(request.token()) else { return };
        let through = if request.session.is_some() { ", in the console" } else { "" };
        self.context.audit.write(&logs::AuditEvent {
            at: clock::now(),
            who: &format!("token {}{through}", token.id),
            what: "read",
            object: Some(&format!("{object}, {}", target.template())),
            outcome: logs::AuditOutcome::Done,
            peer: request.peer(),
        });
    }

    fn log_wrong_credentials(&self, peer: SocketAddr, target: Target<'_>) {
        self.context.store.access(Access::note_refused);
        let event = logs::AuditEvent {
            at: clock::now(),
            who: "nobody",
            what: "authenticate",
            object: Some(target.template()),
            outcome: logs::AuditOutcome::Refused,
            peer: Some(peer),
        };
        if !self.context.audit.write_wrong(&event, Instant::now()) {
            self.context.store.meter().audit_left_out.inc();
        }
    }

    /// Counts a request that brought events and was refused, and says why: not all of many.
    fn log_refused_hook(&self, peer: Option<SocketAddr>, reply: &Response) {
        let status = reply.status();
        let why = reply.extensions().get::<Why>().cloned();
        let why = why.unwrap_or_else(|| Why::of(None, webhook::cause(status)));
        let cause = why.causes.first().copied().unwrap_or(Cause::Other);
        let has_settings = |sid: &AccountSid| {
            self.context.store.access(|access| access.account(*sid).is_some())
                || !why.unauthenticated
        };
        let own = why.account.filter(has_settings);
        let hooks = &self.context.store.meter().hooks;
        if let Some(account) = why.unregistered {
            hooks.unregistered(account);
        }
        let Some(left_out) = hooks.refused(own, cause, Instant::now()) else { return };
        // For the log alone: a client is not told which accounts there are.
        let reasons = why.causes.iter().map(|cause| match (cause, why.unregistered) {
            (Cause::NotRegistered, Some(account)) => format!(
                "{}; if it is yours, `rollcall account set {account} --webhook-secret -` registers it",
                cause.text()
            ),
            _ => cause.text().to_owned(),
        });
        let mut reasons: Vec<_> = reasons.collect();
        if let Some((detail, reason)) = why.detail.zip(reasons.first_mut()) {
            *reason = format!("{reason}: {detail}");
        }
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

    /// The answer to a browser that asks beforehand.
    fn preflight(&self, head: &Parts) -> Response {
        let asked = &head.headers;
        let mut reply = empty(StatusCode::NO_CONTENT);
        if console::concerns(head) {
            return reply;
        }
        let headers = reply.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        headers.insert(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        reply
    }
}

/// What is answered in place of this refusal, where too many of them were.
fn too_many_wrong(refused: &Response) -> Response {
    let msg = "too many wrong credentials have come from this address, or for this user";
    let mut reply = Response::from(ApiError::too_many(msg, auth_throttle::RETRY_SECONDS));
    if let Some(why) = refused.extensions().get::<Why>() {
        reply.extensions_mut().insert(why.clone());
    }
    reply
}

/// How a user name begins: it may be a password in the wrong place.
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

/// Where the connection comes from.
fn peer(head: &Parts) -> Option<SocketAddr> {
    head.extensions.get().map(|connection: &ConnectionInfo| connection.peer)
}

/// Whether events come with it, or come by a method by which none are taken: jambonz then puts them
/// into the query.
fn brings_events(target: Target<'_>, head: &Parts) -> bool {
    let by_query = || head.uri.query().is_some_and(|query| query.contains("call_sid="));
    target.takes_events()
        && (head.method == Method::POST || head.method == Method::GET && by_query())
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

/// The request's own id, where it brings a sensible one, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        (1..=64).contains(&id.len()) && id.as_bytes().iter().all(plain)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(sensible) {
        return id.clone();
    }
    let id = crate::random::request_id();
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

/// Whether every server on the way reads this request alike (RFC 9112, sections 3.2 and 6). hyper
/// itself closes the connection after a request with both a length and a transfer encoding.
fn unambiguous(head: &Parts) -> Result<(), ApiError> {
    let headers = &head.headers;
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && head.version == Version::HTTP_11 {
        return Err(ApiError::bad("Host: expected exactly one"));
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if encodings.next().is_some_and(|first| !plain(first)) || encodings.next().is_some() {
        return Err(ApiError::bad("Transfer-Encoding: expected chunked, once"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

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
