//! `GET …/Calls`, of an account, of a service provider and of all accounts.
//!
//! A list that is small is answered whole. Of any other one piece is made at a time, when its reader
//! has taken the one before. A page says in its head where the next one begins, so that its calls are
//! found by their keys before the first is sent; what has come between them since then is left out.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{HeaderName, HeaderValue, LINK, VARY};

use super::auth::StreamClient;
use super::error::ApiError;
use super::etag::Tag;
use super::query::{ListQuery, refuse_parts};
use super::reading::{BodyReader, pieces};
use super::representation::BodyWriter;
use super::request::ApiRequest;
use super::response::Response;
use super::{ApiContext, across, cursor};
use crate::clock;
use crate::domain::{
    AccountSid, AcrossPosition, Filter, Order, Position, Recent, ServiceProviderSid, Timestamp,
};
use crate::store::{
    Counting, ListRequest as Question, Listed, Listing, Scope, Slice, Store, StoreError,
};

/// Rows with their records that are looked at in one slice.
const SLICE_ROWS: usize = 256;
/// Rows of which the keys alone are looked at in one slice.
const SLICE_KEYS: usize = 2048;
/// Bytes of a page whose end cannot be told from its middle unless its length is said: it ends early
/// where it would be larger.
pub(super) const UNCHUNKED_PAGE: usize = 256 * 1024;

pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("x-next-cursor");
pub(super) const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");

/// That of one account.
pub(super) async fn of_account(
    request: &ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    list(request, Scope::Account(account)).await
}

/// That of all accounts of a service provider together.
pub(super) async fn of_provider(
    request: &ApiRequest<'_>,
    provider: ServiceProviderSid,
) -> Result<Response, ApiError> {
    list(request, Scope::ServiceProvider(provider)).await
}

/// That of all accounts together.
pub(super) async fn of_all(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    list(request, Scope::Everybody).await
}

/// A bare array, newest first. With `limit` a page and where the next one is; without it all that
/// match, streamed.
async fn list(request: &ApiRequest<'_>, scope: Scope) -> Result<Response, ApiError> {
    let context = request.context;
    let mut query = ListQuery::parse(request.query, scope)?;
    if request.is_masked() {
        refuse_parts(&query.filter)?;
    }
    query.filter.recent = recent(context, &query.filter);
    let style = std::mem::take(&mut query.style);
    let writer = BodyWriter::for_request(request, query.layout, style);
    if writer.form().needs_an_end() && !request.has_chunks && query.limit.is_none() {
        return Err(ApiError::upgrade(
            "a whole list as CSV or by lines needs HTTP/1.1, which tells its end from a part of it; ask for \
             pages with limit=1..10000, or have the proxy speak HTTP/1.1",
        ));
    }
    // The window moves with the clock, and no change of the account tells of it.
    let tag = context
        .config
        .list
        .window
        .is_none()
        .then(|| Tag::of(&context.store, scope, writer.form().suffix()));
    if let Some(tag) = tag.as_ref().filter(|tag| tag.is_known(request.headers)) {
        return Ok(varying(tag.not_modified()));
    }
    let mut reply = if *request.method == Method::HEAD {
        writer.form().plain().reply(Bytes::new())
    } else {
        match scope {
            Scope::Account(account) => answer(request, account, query, writer).await?,
            _ => across::answer(request, scope, query, writer).await?,
        }
    };
    if let Some(tag) = tag {
        tag.put(&mut reply);
    }
    Ok(varying(reply))
}

async fn answer(
    request: &ApiRequest<'_>,
    account: AccountSid,
    query: ListQuery,
    writer: BodyWriter,
) -> Result<Response, ApiError> {
    let reading = BodyReader::new(request, Scope::Account(account));
    let ListQuery { filter, order, limit, after, count, .. } = query;
    let after = after.map(|after| after.position);
    let question = Question { account, filter, order, after };
    let total = if count { Some(total(&reading, &question).await?) } else { None };
    let mut reply = calls(reading, question, limit, writer, request).await?;
    if let Some(total) = total {
        reply.headers_mut().insert(TOTAL_COUNT, HeaderValue::from(total));
    }
    Ok(reply)
}

/// What the configuration leaves of the plain list.
fn recent(context: &ApiContext, filter: &Filter) -> Option<Recent> {
    let window = context.config.list.window?;
    if filter.start.is_some() || filter.end.is_some() || filter.stale.is_some() {
        return None;
    }
    let ended_since = before(clock::now(), window);
    let listed_since = before(ended_since, context.config.calls.max_lifetime);
    Some(Recent { ended_since, listed_since })
}

fn before(at: Timestamp, time: Duration) -> Timestamp {
    at.minus_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

async fn total(reading: &BodyReader, question: &Question) -> Result<u64, ApiError> {
    Ok(reading.count(Counting::of_list(question)).await?.count())
}

/// The calls of a page, or all of them. What is read before the answer begins is said by its status;
/// if the store fails later, or the token ends, the connection is cut.
async fn calls(
    reading: BodyReader,
    question: Question,
    limit: Option<usize>,
    mut writer: BodyWriter,
    request: &ApiRequest<'_>,
) -> Result<Response, ApiError> {
    let unchunked = writer.form().needs_an_end() && !request.has_chunks;
    let permit = if unchunked { reading.permit_of(UNCHUNKED_PAGE) } else { reading.permit() };
    let quick = !writer.form().is_slow() && question.is_direct();
    let begun = begin(&reading, &question, limit, permit.bytes(), quick).await?;
    let (mut next, last) = (begun.next, begun.is_whole || unchunked);
    if !last {
        writer.of_pieces(|bytes| reading.permit_for(bytes));
    }
    let position = begun.calls.last().map(|(position, _)| *position);
    let (writer, first) = write(&reading, writer, begun.calls, last, quick).await?;
    let (first, form) = (permit.hold(first), writer.form());
    let mut reply = if last {
        form.reply(first)
    } else {
        let question = Question { after: position, ..question.clone() };
        let mut page = None;
        if let Some(more) = limit.map(|limit| limit.saturating_sub(begun.count)) {
            let found = rest_of_page(&reading, &question, more).await?;
            (page, next) = (Some(found.0), found.1);
        }
        let client = StreamClient::new(request, Scope::Account(question.account));
        let part = RemainingList { question: question.clone(), writer, page };
        let rest = ListTail { reading, client, part };
        let mut reply = pieces(first, rest, next_piece);
        form.describe(&mut reply);
        reply
    };
    if let (Some(position), Some(_)) = (next, limit) {
        let account = question.account;
        link(
            &mut reply,
            request,
            &question,
            Scope::Account(account),
            AcrossPosition { position, account },
        );
    }
    Ok(reply)
}

/// Where the next page is (RFC 8288).
pub(super) fn link(
    reply: &mut Response,
    request: &ApiRequest<'_>,
    question: &Question,
    scope: Scope,
    next: AcrossPosition,
) {
    let cursor = cursor::write(scope, &question.filter, question.order, next);
    let query = ListQuery::next(request.query, &cursor);
    let of = match scope {
        Scope::Account(account) => format!("/Accounts/{account}"),
        Scope::ServiceProvider(provider) => format!("/ServiceProviders/{provider}"),
        Scope::Everybody => String::new(),
    };
    let link = format!("</v1{of}/Calls?{query}>; rel=\"next\"");
    let headers = reply.headers_mut();
    for (name, value) in [(LINK, link.as_str()), (NEXT_CURSOR, &cursor)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

/// What an answer begins with.
struct Begun {
    calls: Vec<(Position, Listed)>,
    count: usize,
    /// Where it goes on, if it does.
    next: Option<Position>,
    /// It is all of the page, or of the list.
    is_whole: bool,
}

/// The first calls of a list: one piece, or less where that is all of the page.
async fn begin(
    reading: &BodyReader,
    question: &Question,
    limit: Option<usize>,
    bytes: usize,
    quick: bool,
) -> Result<Begun, ApiError> {
    // One more than wanted tells whether there is a next page.
    let most = limit.map_or(usize::MAX, |limit| limit + 1);
    let mut question = question.clone();
    let (mut calls, mut weight, mut is_first) = (Vec::new(), 0, true);
    loop {
        let slice = Slice { calls: most - calls.len(), rows: SLICE_ROWS, bytes: bytes - weight };
        let listing = if quick && is_first {
            reading.short_slice(|store| store.list(&question, slice)).await?
        } else {
            let question = question.clone();
            reading.slice(move |store| store.list(&question, slice)).await?
        };
        is_first = false;
        weight += listing.calls.iter().map(|(_, call)| call.weight()).sum::<usize>();
        calls.extend(listing.calls);
        let mut next = listing.next;
        let is_full = calls.len() == most;
        if is_full {
            calls.pop();
            next = calls.last().map(|(position, _)| *position);
        }
        let is_whole = is_full || next.is_none();
        if is_whole || weight >= bytes {
            return Ok(Begun { count: calls.len(), calls, next, is_whole });
        }
        question.after = next;
    }
}

/// The calls of a page that are still to be sent.
struct UnsentPage {
    /// Of their positions, in order.
    hashes: VecDeque<u64>,
    last: Position,
}

/// A hash of a position, which is a fourth of its bytes. No client can find two that have the same.
fn hash(position: Position) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(position)
}

/// Which calls follow on a page, `count` at most, and where the next page begins, if there is one.
async fn rest_of_page(
    reading: &BodyReader,
    question: &Question,
    count: usize,
) -> Result<(UnsentPage, Option<Position>), ApiError> {
    let slice_rows = if question.is_direct() { SLICE_KEYS } else { SLICE_ROWS };
    let mut question = question.clone();
    let last = question.after.unwrap_or(Position::MAX);
    let mut page = UnsentPage { hashes: VecDeque::new(), last };
    loop {
        // Whether there is one more is asked, too.
        let wanted = count + 1 - page.hashes.len();
        let asked = question.clone();
        let found = reading.slice(move |store| store.positions(&asked, wanted, slice_rows)).await?;
        for position in found.found {
            if page.hashes.len() == count {
                let next = Some(page.last);
                return Ok((page, next));
            }
            page.hashes.push_back(hash(position));
            page.last = position;
        }
        if found.next.is_none() {
            return Ok((page, found.next));
        }
        question.after = found.next;
    }
}

/// Writes the first calls, in a thread of its own where that takes long.
pub(super) async fn write(
    reading: &BodyReader,
    mut writer: BodyWriter,
    calls: Vec<(Position, Listed)>,
    last: bool,
    quick: bool,
) -> Result<(BodyWriter, Vec<u8>), ApiError> {
    if quick {
        let piece = writer.piece(&reading.context().store, calls, last)?;
        return Ok((writer, piece));
    }
    let write = move |store: &Store| {
        let piece = writer.piece(store, calls, last)?;
        Ok((writer, piece))
    };
    reading.slice(write).await
}

impl UnsentPage {
    /// Leaves of what was read those calls that are on the page.
    fn keep(&mut self, listing: &mut Listing, order: Order) {
        listing.calls.retain(|(position, _)| {
            let hash = hash(*position);
            let found = self.hashes.iter().position(|of| *of == hash);
            if let Some(n) = found {
                self.hashes.drain(..=n);
            }
            found.is_some()
        });
        let is_over = |position: Position| match order {
            Order::NewestFirst => position >= self.last,
            Order::OldestFirst => position <= self.last,
        };
        if self.hashes.is_empty() || listing.next.is_some_and(is_over) {
            listing.next = None;
        }
    }
}

/// What is still to come, and who reads it.
struct ListTail {
    reading: BodyReader,
    client: StreamClient,
    part: RemainingList,
}

/// The part of a list that is still to come.
struct RemainingList {
    question: Question,
    writer: BodyWriter,
    /// None: all that follow.
    page: Option<UnsentPage>,
}

impl RemainingList {
    /// Its next piece, which may be empty, and what is left then.
    fn piece(mut self, store: &Store, bytes: usize) -> Result<(Vec<u8>, Option<Self>), StoreError> {
        let slice = Slice { calls: usize::MAX, rows: SLICE_ROWS, bytes };
        let mut listing = store.list(&self.question, slice)?;
        if let Some(page) = &mut self.page {
            page.keep(&mut listing, self.question.order);
        }
        let last = listing.next.is_none();
        self.question.after = listing.next;
        if listing.calls.is_empty() && !last {
            return Ok((Vec::new(), Some(self)));
        }
        let piece = self.writer.piece(store, listing.calls, last)?;
        Ok((piece, (!last).then_some(self)))
    }
}

/// The next piece of a body, and what is left then.
async fn next_piece(rest: ListTail) -> Result<(Bytes, Option<ListTail>), ApiError> {
    let ListTail { reading, client, mut part } = rest;
    let permit = reading.permit();
    let bytes = permit.bytes();
    loop {
        let (piece, left) = reading.slice(move |store| part.piece(store, bytes)).await?;
        client.still_may().await?;
        match left {
            None => return Ok((permit.hold(piece), None)),
            Some(left) if piece.is_empty() => part = left,
            Some(part) => {
                return Ok((permit.hold(piece), Some(ListTail { reading, client, part })));
            }
        }
    }
}

/// The same path is answered in several forms.
fn varying(mut reply: Response) -> Response {
    reply.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    reply
}
