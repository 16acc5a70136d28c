//! The listener for CDRs: the write side of `InfluxDB` 1.x, as far as jambonz and a subscription use it.
//!
//! `POST /write` takes lines, `/query` answers `show databases` and `create database`, `/ping` answers. What
//! is of another database or measurement is dropped: the same parts of jambonz write alerts and counts to the
//! same address. Architecture invariants: 204 says that each CDR of the request is on disk. A line that cannot
//! be read costs no other, is logged and counted, and is named in the answer, since nobody sends it again.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::io::Read as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use flate2::read::MultiGzDecoder;
use http::header::{
    ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    HeaderValue, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::{Map, Value as Json, json};
use tokio::sync::Semaphore;

use super::auth_throttle::{self, AuthThrottle, Penalty};
use super::body_budget::{BodyOwner, BodyPermit};
use super::response::{Response, accepted_reply, empty, json as json_reply};
use super::service::request_id;
use super::{ApiContext, ConnectionInfo};
use crate::cdrs::{Cdr, Credentials, DATABASE, PointError, PointKey, Precision, lines};
use crate::clock;
use crate::domain::{StampedEvent, Timestamp};
use crate::intake::Accepted;
use crate::logs::{LogRequest, masked};
use crate::meter::CdrLine;
use crate::store::{Change, StoreError};

/// The release of `InfluxDB` that clients are told.
const VERSION: HeaderValue = HeaderValue::from_static("1.8.10");
const BUILD: HeaderValue = HeaderValue::from_static("OSS");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"InfluxDB\"");
const X_VERSION: HeaderName = HeaderName::from_static("x-influxdb-version");
const X_BUILD: HeaderName = HeaderName::from_static("x-influxdb-build");
const X_ERROR: HeaderName = HeaderName::from_static("x-influxdb-error");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What a subscription calls itself.
const SUBSCRIBER: &[u8] = b"InfluxDBClient";
/// Time between two lines of the log that say why lines are refused.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// Points that are remembered, so that what is added to one finds its call.
const POINTS_MAX: usize = 20_000;

/// A hyper service that takes CDRs.
#[derive(Clone)]
pub struct CdrService(Arc<Inner>);

struct Inner {
    context: Arc<ApiContext>,
    credentials: Credentials,
    throttle: AuthThrottle,
    /// Clients that may wait though they are refused.
    waiting: Semaphore,
    /// When it was logged last that something was not taken, and how often it was not logged since.
    logged: Mutex<(Option<Instant>, u64)>,
    points: Mutex<Points>,
}

/// The calls of points that something may be added to.
#[derive(Default)]
struct Points {
    calls: HashMap<PointKey, Map<String, Json>>,
    in_order: VecDeque<PointKey>,
}

/// Takes CDRs from those who have these credentials.
pub fn cdrs(context: Arc<ApiContext>, credentials: Credentials) -> CdrService {
    CdrService(Arc::new(Inner {
        context,
        credentials,
        throttle: AuthThrottle::default(),
        waiting: Semaphore::new(auth_throttle::WAITING_MAX),
        logged: Mutex::default(),
        points: Mutex::default(),
    }))
}

impl hyper::service::Service<http::Request<Incoming>> for CdrService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let inner = self.0.clone();
        let (head, body) = request.into_parts();
        let log = LogRequest::new(request_id(&head.headers));
        let id = log.id().clone();
        let answer = async move {
            let mut reply = inner.answer(&head, body).await.unwrap_or_else(InfluxError::into_reply);
            let headers = reply.headers_mut();
            headers.insert(CONTENT_TYPE, JSON);
            headers.insert(X_VERSION, VERSION);
            headers.insert(X_BUILD, BUILD);
            headers.insert(REQUEST_ID, id.clone());
            headers.insert(X_REQUEST_ID, id);
            Ok(reply)
        };
        Box::pin(log.scope(answer))
    }
}

/// An answer that says what is wrong, as `InfluxDB` says it.
struct InfluxError {
    status: StatusCode,
    error: String,
    retry_after: Option<u16>,
    challenge: bool,
    /// The connection cannot be used again.
    is_last: bool,
}

impl InfluxError {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into(), retry_after: None, challenge: false, is_last: false }
    }

    fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    fn into_reply(self) -> Response {
        let body = json!({ "error": self.error }).to_string() + "\n";
        let mut reply = json_reply(self.status, body);
        let headers = reply.headers_mut();
        // What a line has in it may be no text of a header.
        if let Ok(error) = HeaderValue::try_from(self.error) {
            headers.insert(X_ERROR, error);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.challenge {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if self.is_last {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

impl From<StoreError> for InfluxError {
    fn from(error: StoreError) -> Self {
        let error = super::error::ApiError::from(error);
        let mut own = Self::new(StatusCode::SERVICE_UNAVAILABLE, error.message());
        own.retry_after = Some(error.retry_after().unwrap_or(1));
        own
    }
}

/// The pairs of a query.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: &[u8]) -> Self {
        Self(form_urlencoded::parse(query).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Inner {
    async fn answer(&self, head: &Parts, body: Incoming) -> Result<Response, InfluxError> {
        let path = head.uri.path();
        if path == "/ping" {
            return Ok(empty(StatusCode::NO_CONTENT));
        }
        if !["/write", "/query"].contains(&path) {
            return Err(InfluxError::new(
                StatusCode::NOT_FOUND,
                "no such path: CDRs are taken at /write",
            ));
        }
        let parameters = Parameters::of(head.uri.query().unwrap_or_default().as_bytes());
        let connection = head.extensions.get::<ConnectionInfo>();
        if let Err(error) = self.authenticate(head, &parameters) {
            self.context.store.meter().cdrs.unauthorised.inc();
            return Err(self.throttled(error, connection.map(|info| info.peer)).await);
        }
        if let Some(connection) = connection {
            connection.recognised.set(true);
        }
        let by_subscription = head.headers.get(USER_AGENT).is_some_and(|agent| agent == SUBSCRIBER);
        self.context.store.meter().cdrs.heard(by_subscription, clock::now());
        match (path, &head.method) {
            ("/write", &Method::POST) => self.write(head, &parameters, body).await,
            ("/query", &Method::GET | &Method::POST) => self.query(head, &parameters, body).await,
            _ => Err(InfluxError::new(StatusCode::METHOD_NOT_ALLOWED, "method not allowed")),
        }
    }

    /// Whether the request has the right user and password: in the query, else in its head.
    fn authenticate(
        &self,
        head: &Parts,
        parameters: &Parameters,
    ) -> Result<(), (InfluxError, Option<String>)> {
        let wrong = |error| {
            let mut error = InfluxError::new(StatusCode::UNAUTHORIZED, error);
            error.challenge = true;
            error
        };
        let in_query = parameters.get("u").zip(parameters.get("p"));
        let in_query = in_query.map(|(user, password)| (user.to_owned(), password.to_owned()));
        let in_head = || {
            let value = head.headers.get(AUTHORIZATION)?.to_str().ok()?;
            let (scheme, value) = value.split_once(' ')?;
            let decoded = BASE64.decode(value.trim().as_bytes()).ok()?;
            let text = String::from_utf8(decoded).ok()?;
            let (user, password) = text.split_once(':')?;
            let basic = scheme.eq_ignore_ascii_case("basic");
            basic.then(|| (user.to_owned(), password.to_owned()))
        };
        let Some((user, password)) = in_query.or_else(in_head) else {
            return Err((wrong("unable to parse authentication credentials"), None));
        };
        if self.credentials.are(&user, &password) {
            return Ok(());
        }
        Err((wrong("authorization failed"), Some(user)))
    }

    /// The answer to wrong credentials, once their sender has waited for it.
    async fn throttled(
        &self,
        (error, user): (InfluxError, Option<String>),
        peer: Option<SocketAddr>,
    ) -> InfluxError {
        let now = Instant::now();
        let of_user = user.map(|user| self.throttle.failed_user(&user, now));
        let of_address = peer.map(|peer| self.throttle.failed(peer.ip(), now));
        match of_user.max(of_address) {
            None => error,
            Some(Penalty::Wait(time)) => {
                tokio::time::sleep(time).await;
                error
            }
            Some(Penalty::Refuse) => {
                if let Ok(_permit) = self.waiting.try_acquire() {
                    tokio::time::sleep(auth_throttle::REFUSED).await;
                }
                let msg =
                    "too many wrong credentials have come from this address, or for this user";
                let mut error = InfluxError::new(StatusCode::TOO_MANY_REQUESTS, msg);
                error.retry_after = u16::try_from(auth_throttle::RETRY_SECONDS).ok();
                error.is_last = true;
                error
            }
        }
    }

    /// The whole body, unpacked, within the limits of size, time and memory.
    async fn body<'a>(
        &'a self,
        head: &Parts,
        mut body: Incoming,
    ) -> Result<(Vec<u8>, BodyPermit<'a>), InfluxError> {
        let limit = self.context.config.limits.body_bytes;
        let too_large = || {
            let msg = format!("a request body has at most {limit} bytes, unpacked too");
            let mut error = InfluxError::new(StatusCode::PAYLOAD_TOO_LARGE, msg);
            error.is_last = true;
            error
        };
        let zipped = match head.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"" | b"identity") => false,
            Some(coding) if coding.eq_ignore_ascii_case(b"gzip") => true,
            Some(_) => {
                let msg = "Content-Encoding: expected gzip, or none";
                return Err(InfluxError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, msg));
            }
        };
        let announced = head.headers.get(CONTENT_LENGTH);
        let announced: Option<usize> =
            announced.and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let mut permit = self.context.bodies.open(BodyOwner::Token("cdrs".into()));
        let busy = |_| {
            let mut error = InfluxError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large bodies are being read",
            );
            (error.retry_after, error.is_last) = (Some(1), true);
            error
        };
        let read = async {
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|_| InfluxError::bad("the request body was cut off"))?;
                let Ok(part) = frame.into_data() else { continue };
                let length = bytes.len() + part.len();
                if length > limit {
                    return Err(too_large());
                }
                permit.grow(2 * length).map_err(busy)?;
                bytes.extend_from_slice(&part);
            }
            Ok(bytes)
        };
        let read = tokio::time::timeout(self.context.config.limits.body, read).await;
        let bytes = read.unwrap_or_else(|_| {
            let mut error =
                InfluxError::new(StatusCode::REQUEST_TIMEOUT, "the request body took too long");
            error.is_last = true;
            Err(error)
        })?;
        if !zipped {
            return Ok((bytes, permit));
        }
        let mut text = Vec::new();
        let most = limit as u64 + 1;
        let unpacked = MultiGzDecoder::new(bytes.as_slice()).take(most).read_to_end(&mut text);
        unpacked.map_err(|error| InfluxError::bad(format!("the body is not gzip: {error}")))?;
        if text.len() > limit {
            return Err(too_large());
        }
        permit.grow(2 * (bytes.len() + text.len())).map_err(busy)?;
        Ok((text, permit))
    }

    /// `show databases` and `create database`: what a client asks before it writes.
    async fn query(
        &self,
        head: &Parts,
        parameters: &Parameters,
        body: Incoming,
    ) -> Result<Response, InfluxError> {
        let (body, _permit) = self.body(head, body).await?;
        let form = Parameters::of(&body);
        let query = parameters.get("q").or_else(|| form.get("q")).unwrap_or_default();
        if query.trim().is_empty() {
            return Err(InfluxError::bad("missing required parameter \"q\""));
        }
        let statements = query.split(';').map(str::trim).filter(|text| !text.is_empty());
        let results = statements.enumerate().map(|(n, statement)| {
            let words: Vec<String> =
                statement.split_whitespace().take(3).map(str::to_ascii_lowercase).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words.as_slice() {
                ["show", "databases"] => json!({
                    "statement_id": n,
                    "series": [{
                        "name": "databases",
                        "columns": ["name"],
                        "values": [["_internal"], [DATABASE]],
                    }],
                }),
                ["create", "database", _] => json!({ "statement_id": n }),
                _ => json!({
                    "statement_id": n,
                    "error": "not supported: rollcall answers SHOW DATABASES and CREATE DATABASE, and \
                              lists calls by its own API",
                }),
            }
        });
        let results: Vec<Json> = results.collect();
        Ok(json_reply(StatusCode::OK, json!({ "results": results }).to_string() + "\n"))
    }

    /// Takes the CDRs of a body. 204 once they are on disk.
    async fn write(
        &self,
        head: &Parts,
        parameters: &Parameters,
        body: Incoming,
    ) -> Result<Response, InfluxError> {
        let database = parameters.get("db").filter(|name| !name.is_empty());
        let database = database.ok_or_else(|| InfluxError::bad("database is required"))?;
        let precision = parameters.get("precision").unwrap_or_default();
        let precision = Precision::read(precision).ok_or_else(|| {
            InfluxError::bad(format!("invalid precision \"{precision}\" (use n, u, ms, s, m or h)"))
        })?;
        let is_wanted = database == DATABASE;
        let (body, _permit) = match self.body(head, body).await {
            Err(error) if is_wanted => return Err(self.unread(error)),
            read => read?,
        };
        let text = String::from_utf8_lossy(&body);
        let metrics = &self.context.store.meter().cdrs;
        if !is_wanted {
            metrics.count(CdrLine::Other, lines(&text).count() as u64);
            return Ok(empty(StatusCode::NO_CONTENT));
        }
        let now = clock::now();
        let read = self.read(&text, precision, now).map_err(|error| self.unread(error))?;
        let ends: Vec<Timestamp> =
            read.events.iter().filter_map(|event| event.stamp.terminated_at).collect();
        let taken = read.events.len() as u64;
        let mut accepted = Accepted::default();
        if taken > 0 {
            let changes = read.events.into_iter().map(Box::new).map(Change::Event).collect();
            let stored = self.context.intake.submit(changes, now).await;
            if stored.is_err() {
                metrics.unavailable.inc();
            }
            accepted = stored?;
            self.remember(read.points);
            let now = clock::now();
            metrics.taken(now);
            for end in ends {
                let late = now.millis().saturating_sub(end.millis());
                metrics.delay.observe_time(Duration::from_millis(late));
            }
        }
        metrics.count(CdrLine::Taken, taken);
        metrics.count(CdrLine::Other, read.others);
        metrics.count(CdrLine::Unplaced, read.unplaced);
        metrics.count(CdrLine::Refused, read.refused.len() as u64);
        let Some(first) = read.refused.first() else {
            return Ok(accepted_reply(&accepted));
        };
        let more = read.refused.len() - 1;
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        Err(InfluxError::bad(format!(
            "partial write: {first}{more} dropped={}",
            read.refused.len()
        )))
    }

    /// Reads the lines of a body.
    fn read(
        &self,
        text: &str,
        precision: Precision,
        now: Timestamp,
    ) -> Result<ReadLines, InfluxError> {
        let config = &self.context.config;
        let mut read = ReadLines::default();
        for (n, line) in lines(text).enumerate() {
            if n >= config.limits.batch_events {
                let most = config.limits.batch_events;
                let msg = format!("a request has at most {most} lines");
                return Err(InfluxError::new(StatusCode::PAYLOAD_TOO_LARGE, msg));
            }
            let wanted = |event: &StampedEvent| {
                config.cdrs.accounts.iter().any(|one| one.has(event.id.account))
            };
            match Cdr::read(line, precision, now) {
                Ok(Cdr::Event(event, point)) if wanted(&event) => {
                    read.points.extend(point);
                    read.events.push(*event);
                }
                Ok(Cdr::Later(later)) => {
                    let call = self.points.lock().calls.get(&later.point).cloned();
                    match call.map(|call| later.of_call(call, clock::moment())) {
                        Some(Ok(event)) if wanted(&event) => read.events.push(event),
                        Some(Ok(_)) => read.others += 1,
                        Some(Err(error)) => self.refuse(&mut read, &error, line, now),
                        None => read.unplaced += 1,
                    }
                }
                Ok(Cdr::Event(..) | Cdr::Other) => read.others += 1,
                Err(error) => self.refuse(&mut read, &error, line, now),
            }
        }
        Ok(read)
    }

    /// Notes that a line is refused, and logs why: not each time.
    fn refuse(&self, read: &mut ReadLines, error: &PointError, line: &str, now: Timestamp) {
        read.refused.push(error.of_line(line));
        let why = error.without_data();
        self.context.store.meter().cdrs.refused(why.clone(), now);
        let Some(left_out) = self.turn_to_log() else { return };
        let named = error.of_line(line);
        tracing::warn!(
            why = &*masked(&why),
            line = &*masked(&named),
            left_out = (left_out > 0).then_some(left_out),
            "a line with a CDR was refused, and is not sent again"
        );
    }

    /// Notes that a request is not read, and logs why: not each time.
    fn unread(&self, error: InfluxError) -> InfluxError {
        let metrics = &self.context.store.meter().cdrs;
        if error.status == StatusCode::SERVICE_UNAVAILABLE {
            metrics.unavailable.inc();
            return error;
        }
        metrics.unread(&error.error, clock::now());
        if let Some(left_out) = self.turn_to_log() {
            tracing::warn!(
                why = &*error.error,
                left_out = (left_out > 0).then_some(left_out),
                "a request with CDRs was not read, and is not sent again"
            );
        }
        error
    }

    /// How often nothing was logged since the last time, where it is time to log again.
    fn turn_to_log(&self) -> Option<u64> {
        let mut logged = self.logged.lock();
        if logged.0.is_some_and(|at| at.elapsed() < SAY_AGAIN) {
            logged.1 += 1;
            return None;
        }
        logged.0 = Some(Instant::now());
        Some(std::mem::take(&mut logged.1))
    }

    fn remember(&self, points: Vec<(PointKey, Map<String, Json>)>) {
        let mut known = self.points.lock();
        for (point, call) in points {
            if known.calls.insert(point, call).is_none() {
                known.in_order.push_back(point);
            }
        }
        while known.in_order.len() > POINTS_MAX {
            if let Some(oldest) = known.in_order.pop_front() {
                known.calls.remove(&oldest);
            }
        }
    }
}

/// What the lines of a body say.
#[derive(Default)]
struct ReadLines {
    events: Vec<StampedEvent>,
    points: Vec<(PointKey, Map<String, Json>)>,
    others: u64,
    unplaced: u64,
    /// What is wrong with each of those that cannot be read.
    refused: Vec<String>,
}
