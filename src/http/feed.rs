//! `GET …/Calls/changes`, of an account, of a service provider and of all accounts: every call, and then
//! every change.
//!
//! One feed in two shapes: lines (NDJSON) up to what was published when the request began, and an
//! event stream (SSE) that goes on for ever. What was read is sent only if the token may still see
//! it *after* it was read. Settings take effect before [`Store::published`] counts them, so that no
//! change that came after a revocation is ever sent.
//!
//! The account of a call decides who sees it. Of other accounts only one thing shows: sequence
//! numbers are counted over all of them, so that a position says how much happened elsewhere. The feed of a
//! service provider ends with 410 when its accounts change: what was told of others would be wrong from then on.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use warp::Reply as _;

use super::accept;
use super::auth::StreamClient;
use super::error::ApiError;
use super::feed_position::{PositionCodec, PositionNumber};
use super::log_position;
use super::reading::{BodyReader, pieces};
use super::request::ApiRequest;
use super::response::{Response, empty};
use super::stream_limit::StreamPermit;
use crate::domain::{AccountSid, CallId, ServiceProviderSid};
use crate::logs::{LogRequest, masked};
use crate::store::{Event, Feed, FeedAccounts, FeedBudget, FeedPosition, Reach, Store, What};
use crate::wire::{masked_call, write_call};

/// Calls or frames, and bytes of frames, that one look into the store may take.
const LOOK_FRAMES: usize = 256;
const LOOK_BYTES: usize = 512 * 1024;
/// Pieces that wait for a slow reader of an event stream, beside the one that is being sent.
const PIECES_AHEAD: usize = 1;
/// Most lines that can be asked for.
const LIMIT_MAX: usize = 10_000;
/// How long a client waits before it comes again, in milliseconds.
const RETRY_MILLIS: u32 = 2000;
/// When to try again where no other stream is allowed, in seconds.
const RETRY_SECONDS: u16 = 10;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// The feed of one account.
pub(super) async fn of_account(
    request: &ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    changes(request, Reach::Account(account)).await
}

/// The feed of all accounts of a service provider.
pub(super) async fn of_provider(
    request: &ApiRequest<'_>,
    provider: ServiceProviderSid,
) -> Result<Response, ApiError> {
    changes(request, Reach::ServiceProvider(provider)).await
}

/// The feed of all accounts.
pub(super) async fn of_all(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    changes(request, Reach::Everybody).await
}

async fn changes(request: &ApiRequest<'_>, reach: Reach) -> Result<Response, ApiError> {
    let events = wants_events(request.headers);
    let query = Query::parse(request.query)?;
    if !events && query.limit.is_none() && !request.has_chunks {
        return Err(ApiError::upgrade(
            "a whole feed as lines needs HTTP/1.1, which tells its end from a part of it; ask for \
             parts with limit=1..10000, or have the proxy speak HTTP/1.1",
        ));
    }
    if events && query.limit.is_some() {
        return Err(ApiError::bad(
            "limit: an event stream has no end; ask for application/x-ndjson",
        ));
    }
    let store = &request.context.store;
    let accounts = store.feed_accounts(reach);
    let log = store.log_epoch();
    let epoch = log.as_deref().unwrap_or(store.epoch());
    let positions = PositionCodec::new(epoch, log.is_some(), reach, accounts.as_ref());
    let last = request.headers.get(LAST_EVENT_ID).filter(|id| events && !id.is_empty());
    let reading = BodyReader::new(request, reach);
    let given = match (last, query.after.as_deref()) {
        (Some(id), _) => {
            Some(positions.read("Last-Event-ID", &String::from_utf8_lossy(id.as_bytes()))?)
        }
        (None, Some("now") | None) => None,
        (None, Some(text)) => Some(positions.read("after", text)?),
    };
    let (from, point) = match given {
        None => {
            let newest = log.and_then(|_| store.newest_point()).unzip();
            let seq = newest.1.unwrap_or_else(|| *store.published().borrow());
            let is_now = query.after.is_some();
            let from =
                if is_now { FeedPosition::Changes(seq) } else { FeedPosition::Snapshot(seq, None) };
            (from, newest.0)
        }
        Some(given) => match given.number {
            PositionNumber::Sequence(seq) => (given.at(seq), None),
            PositionNumber::Log(point) => {
                log_position::reached(store, point.message).await?;
                let seq = reading.slice(move |store| store.sequence_of(point)).await?;
                (given.at(seq), Some(point))
            }
        },
    };
    // After the position: what is read from there on reaches at least as far.
    let until = *store.published().borrow();
    let feed = store.feed_of(reach, accounts.clone(), from)?.of_log(point);
    if *request.method == Method::HEAD {
        return Ok(head(empty(StatusCode::OK), events));
    }
    let permit = request.context.event_streams.enter(reach).ok_or_else(|| {
        ApiError::unavailable("as many event streams are open as there may be", RETRY_SECONDS)
    })?;
    let client = StreamClient::new(request, reach);
    let is_masked = request.is_masked();
    let reader = FeedReader {
        reach,
        accounts,
        reading,
        client,
        positions,
        feed,
        is_masked,
        _permit: permit,
    };
    if !events {
        return lines(reader, until, query.limit.unwrap_or(usize::MAX)).await;
    }
    let (pieces, body) = channel();
    let stream = follow(reader, pieces);
    match LogRequest::current() {
        Some(request) => tokio::spawn(request.scope(stream)),
        None => tokio::spawn(stream),
    };
    Ok(head(body, true))
}

/// The header fields of either shape.
fn head(mut reply: Response, events: bool) -> Response {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(CONTENT_TYPE, if events { EVENT_STREAM } else { NDJSON });
    reply
}

/// Whether the client asks for an event stream.
fn wants_events(headers: &HeaderMap) -> bool {
    let [events, ..] = accept::weights(headers, "text/event-stream");
    let [lines, ..] = accept::weights(headers, "application/x-ndjson");
    events.is_some_and(|weight| weight > 0.0 && weight >= lines.unwrap_or(0.0))
}

/// The parameters of a feed; any other means nothing.
pub(super) const PARAMETERS: [&str; 2] = ["after", "limit"];

/// What the query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    after: Option<String>,
    limit: Option<usize>,
}

impl Query {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        let pairs = form_urlencoded::parse(query.as_bytes());
        for (name, value) in pairs.filter(|(name, _)| PARAMETERS.contains(&&**name)) {
            match &*name {
                "after" if parsed.after.is_some() => {
                    return Err(ApiError::bad("after: expected once"));
                }
                "after" => parsed.after = Some(value.into_owned()),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    let shown: String = value.chars().take(80).collect();
                    let wrong = || format!("limit \"{shown}\": expected 1 to {LIMIT_MAX}");
                    parsed.limit = Some(limit.ok_or_else(|| ApiError::bad(wrong()))?);
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

/// Pieces of a body, and the answer with that body.
fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Response) {
    let (pieces, mut receiver) = mpsc::channel(PIECES_AHEAD);
    let body = stream::poll_fn(move |context| receiver.poll_recv(context));
    (pieces, warp::reply::stream(body).into_response())
}

struct FeedReader {
    reach: Reach,
    /// Those of the service provider, which are the same for as long as the feed is read.
    accounts: Option<FeedAccounts>,
    reading: BodyReader,
    client: StreamClient,
    positions: PositionCodec,
    feed: Feed,
    /// Numbers are shown without their middle digits.
    is_masked: bool,
    _permit: StreamPermit,
}

impl FeedReader {
    /// The next events, if the token may see them now that they have been read: so many bytes of
    /// them, about.
    async fn read(&mut self, until: u64, bytes: usize) -> Result<Vec<Event>, ApiError> {
        let mut feed = self.feed.clone();
        let piece = FeedBudget { frames: LOOK_FRAMES, read: LOOK_BYTES, bytes };
        let is_masked = self.is_masked;
        let read = move |store: &Store| {
            let mut events = feed.next(store, until, piece)?;
            for event in events.iter_mut().filter(|_| is_masked) {
                if let What::Call(call) = &mut event.what {
                    *call = Arc::new(masked_call(call));
                }
            }
            Ok((feed, events))
        };
        let (feed, events) = self.reading.slice(read).await?;
        self.client.still_may().await?;
        let store = &self.reading.context().store;
        if store.feed_accounts(self.reach) != self.accounts {
            return Err(ApiError::gone(
                "the accounts of the service provider have changed; begin again without a position",
            ));
        }
        self.feed = feed;
        Ok(events)
    }

    /// How far it has been read, as a text.
    fn position(&self) -> Option<String> {
        self.positions.write(self.feed.position(), self.feed.point())
    }

    /// One line for each of the next events, and whether the last one was the end.
    async fn lines(
        &mut self,
        until: u64,
        left: &mut usize,
        bytes: usize,
    ) -> Result<(Vec<u8>, bool), ApiError> {
        let events = self.read(until, bytes).await?;
        let mut body = Vec::new();
        for event in events {
            object(&mut body, self.positions.write(event.position, event.point), &event.what);
            body.push(b'\n');
            *left -= 1;
            if *left == 0 {
                bare(&mut body, self.positions.write(event.position, event.point), "end");
                body.push(b'\n');
                return Ok((body, true));
            }
        }
        let last = self.feed.has_read(until);
        if last {
            bare(&mut body, self.position(), "end");
            body.push(b'\n');
        }
        Ok((body, last))
    }

    /// Sends events until the client leaves or the token ends.
    async fn send_events(&mut self, pieces: &mpsc::Sender<io::Result<Bytes>>) {
        let mut published = self.reading.context().store.published();
        let mut body = format!("retry: {RETRY_MILLIS}\n\n").into_bytes();
        // A client that begins at the present gets its position at once.
        let mut due = Instant::now();
        loop {
            // Nothing is read for a client that has not taken what was read before.
            let Ok(way) = pieces.reserve().await else { return };
            let until = *published.borrow_and_update();
            let permit = self.reading.permit();
            let events = match self.read(until, permit.bytes()).await {
                Ok(events) => events,
                Err(error) => {
                    let error = format!("{error:?}");
                    tracing::info!(error = &*masked(&error), "an event stream has ended");
                    return;
                }
            };
            for event in &events {
                let position = self.positions.write(event.position, event.point);
                let name = word(&event.what);
                framed(&mut body, name, position, |body, at| object(body, at, &event.what));
            }
            let caught_up = self.feed.has_read(until);
            if events.is_empty() && due <= Instant::now() {
                match self.position() {
                    Some(position) => {
                        let name = "position";
                        framed(&mut body, name, Some(position), |body, at| bare(body, at, name));
                    }
                    None => body.extend_from_slice(b":\n\n"),
                }
            }
            if body.is_empty() {
                drop((way, permit));
            } else {
                way.send(Ok(permit.hold(std::mem::take(&mut body))));
                due = Instant::now() + self.reading.context().config.limits.event_keep_alive;
            }
            if caught_up && matches!(timeout_at(due, published.changed()).await, Ok(Err(_))) {
                return;
            }
        }
    }
}

/// Lines that are still to be written.
struct PendingLines {
    reader: FeedReader,
    until: u64,
    left: usize,
}

impl PendingLines {
    /// The next piece, and what is left then.
    async fn piece(mut self) -> Result<(Bytes, Option<Self>), ApiError> {
        let permit = self.reader.reading.permit();
        loop {
            let read = self.reader.lines(self.until, &mut self.left, permit.bytes());
            let (piece, last) = read.await?;
            if last {
                return Ok((permit.hold(piece), None));
            }
            if !piece.is_empty() {
                return Ok((permit.hold(piece), Some(self)));
            }
        }
    }
}

/// Everything up to a sequence number. The first piece is read before the answer begins, so that a
/// store that cannot be read says so; if it fails later, the connection is cut.
async fn lines(reader: FeedReader, until: u64, left: usize) -> Result<Response, ApiError> {
    let (first, rest) = PendingLines { reader, until, left }.piece().await?;
    let body = match rest {
        None => {
            let mut whole = empty(StatusCode::OK);
            *whole.body_mut() = first.into();
            whole
        }
        Some(rest) => pieces(first, rest, PendingLines::piece),
    };
    Ok(head(body, false))
}

/// An event stream, until its reader goes, the token ends, the server stops or the journal fails.
async fn follow(mut reader: FeedReader, pieces: mpsc::Sender<io::Result<Bytes>>) {
    let mut stopping = reader.reading.context().stopping.clone();
    let mut failed = reader.reading.context().store.failed();
    let failure = async {
        let _either_way = failed.wait_for(Option::is_some).await.is_ok();
    };
    tokio::select! {
        biased;
        _ = stopping.changed() => {}
        () = failure => {}
        () = pieces.closed() => {}
        () = reader.send_events(&pieces) => {}
    }
}

/// The `type` of an event.
fn word(what: &What) -> &'static str {
    match what {
        What::Call(_) => "call",
        What::Deleted(_) => "deleted",
        What::SnapshotEnd => "snapshot_end",
    }
}

/// Appends `{"position":…,"type":…}`.
fn bare(body: &mut Vec<u8>, position: Option<String>, name: &str) {
    let position = position.unwrap_or_default();
    body.extend_from_slice(
        format!("{{\"position\":\"{position}\",\"type\":\"{name}\"}}").as_bytes(),
    );
}

/// Appends an event as one JSON object without a line end.
fn object(body: &mut Vec<u8>, position: Option<String>, what: &What) {
    bare(body, position, word(what));
    body.pop();
    match what {
        What::Call(call) => {
            body.extend_from_slice(b",\"call\":");
            write_call(body, call);
        }
        What::Deleted(CallId { account, sid }) => {
            let sids = format!("{{\"account_sid\":\"{account}\",\"call_sid\":\"{sid}\"}}");
            body.extend_from_slice(b",\"call\":");
            body.extend_from_slice(sids.as_bytes());
        }
        What::SnapshotEnd => {}
    }
    body.push(b'}');
}

/// Appends an event in the form of the HTML standard, section 9.2. Its data is one line, since no
/// JSON that is kept has a line end.
fn framed(
    body: &mut Vec<u8>,
    name: &str,
    position: Option<String>,
    data: impl FnOnce(&mut Vec<u8>, Option<String>),
) {
    if let Some(position) = &position {
        body.extend_from_slice(format!("id: {position}\n").as_bytes());
    }
    body.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
    data(body, position);
    body.extend_from_slice(b"\n\n");
}
