//! The list of several accounts as one.
//!
//! As with one account a list is answered piece by piece, and the calls of a page are found before its first is
//! sent, since its head says where the next page begins. Before a piece is sent it is asked whether the token still
//! opens all accounts whose calls are in it: an account may have gone to another service provider.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::answer_budget::AnswerPermit;
use super::auth::StreamClient;
use super::error::ApiError;
use super::list::{TOTAL_COUNT, UNCHUNKED_PAGE, link, write};
use super::query::ListQuery;
use super::reading::{BodyReader, pieces};
use super::representation::BodyWriter;
use super::request::ApiRequest;
use super::response::Response;
use crate::domain::{AccountSid, AcrossPosition, Position};
use crate::store::{
    Across, CountingAcross, ListRequest as Question, Listed, Scope, Store, StoreError,
};

/// Calls that are found in one slice, and that are read at once.
const SLICE_PLACES: usize = 256;
const SLICE_CALLS: usize = 32;
/// How often that is done in one slice.
const SLICE_READS: usize = 4;
/// Bytes that a merge may hold without a permit, and that one permit is for.
const MEMORY: usize = 64 * 1024;

/// The calls of a page, or all of them.
pub(super) async fn answer(
    request: &ApiRequest<'_>,
    scope: Scope,
    query: ListQuery,
    mut writer: BodyWriter,
) -> Result<Response, ApiError> {
    let reading = BodyReader::new(request, scope);
    let client = StreamClient::new(request, scope);
    let accounts = reading.accounts().await?;
    let ListQuery { filter, order, limit, after, count, .. } = query;
    let mut total = None;
    if count {
        let counting = CountingAcross::of_list(&accounts, filter.clone());
        total = Some(reading.count_across(counting).await?.count());
        client.still_may_all(accounts.iter().map(|one| one.account)).await?;
    }
    let across = reading.slice(move |_| Ok(Across::new(accounts, filter, order, after))).await?;
    let question = Arc::new(across.request().clone());
    let unread = Unread { across: Some(across), places: VecDeque::new() };
    let mut list =
        RemainingCalls { reading, client, question: question.clone(), unread, permits: Vec::new() };
    let mut next = None;
    if let Some(limit) = limit {
        next = list.find_page(limit).await?;
    }
    let unchunked = writer.form().needs_an_end() && !request.has_chunks;
    let permit =
        if unchunked { list.reading.permit_of(UNCHUNKED_PAGE) } else { list.reading.permit() };
    let read = list.read(permit.bytes()).await?;
    let last = read.is_last || unchunked;
    if !read.is_last && unchunked {
        next = read.reached;
    }
    if !last {
        writer.of_pieces(|bytes| list.reading.permit_for(bytes));
    }
    let quick = !writer.form().is_slow();
    let (writer, first) = write(&list.reading, writer, read.calls, last, quick).await?;
    list.client.still_may_all(read.accounts).await?;
    let (first, form) = (permit.hold(first), writer.form());
    let mut reply = if last {
        form.reply(first)
    } else {
        let mut reply = pieces(first, (list, writer), |(list, writer)| list.piece(writer));
        form.describe(&mut reply);
        reply
    };
    if let (Some(next), Some(_)) = (next, limit) {
        link(&mut reply, request, &question, scope, next);
    }
    if let Some(total) = total {
        reply.headers_mut().insert(TOTAL_COUNT, total.into());
    }
    Ok(reply)
}

/// What is still to be sent of a list, and who reads it.
struct RemainingCalls {
    reading: BodyReader,
    client: StreamClient,
    question: Arc<Question>,
    unread: Unread,
    /// For what the merge holds.
    permits: Vec<AnswerPermit>,
}

/// What is still to be read.
#[derive(Default)]
struct Unread {
    /// Where more is found; none where nothing is, or the calls of a page were all found.
    across: Option<Across>,
    /// Found, and not read yet.
    places: VecDeque<AcrossPosition>,
}

/// Calls of a piece.
#[derive(Default)]
struct ReadCalls {
    calls: Vec<(Position, Listed)>,
    weight: usize,
    /// Whose they are; one may come more than once.
    accounts: Vec<AccountSid>,
    /// The last place that was read.
    reached: Option<AcrossPosition>,
    /// Nothing is left.
    is_last: bool,
}

impl Unread {
    /// Finds some more, `most` at most.
    fn find(&mut self, store: &Store, most: usize) -> Result<(), StoreError> {
        let Some(across) = &mut self.across else { return Ok(()) };
        self.places.extend(across.go_on(store, most)?);
        if across.is_done() {
            self.across = None;
        }
        Ok(())
    }

    /// Reads some calls, up to the one with which there are so many bytes, and finds more where none are
    /// left. There may be none though more follow.
    fn read(
        &mut self,
        store: &Store,
        question: &Question,
        into: &mut ReadCalls,
        bytes: usize,
    ) -> Result<(), StoreError> {
        if self.places.is_empty() {
            self.find(store, SLICE_PLACES)?;
        }
        let places: Vec<_> = self.places.drain(..self.places.len().min(SLICE_CALLS)).collect();
        into.reached = places.last().copied().or(into.reached);
        for (place, listed) in store.calls_at(question, &places)? {
            into.weight += listed.weight();
            into.accounts.push(place.account);
            into.calls.push((place.position, listed));
            if into.weight >= bytes {
                // What comes after it is for the next piece.
                let rest = places.iter().rev().take_while(|other| **other != place);
                rest.for_each(|other| self.places.push_front(*other));
                into.reached = Some(place);
                break;
            }
        }
        into.is_last = self.places.is_empty() && self.across.is_none();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.across.as_ref().map_or(0, Across::bytes)
            + self.places.len() * size_of::<AcrossPosition>()
    }
}

impl RemainingCalls {
    /// Does a slice of work with what is unread.
    async fn slice<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Unread, &Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mut unread = std::mem::take(&mut self.unread);
        let work = move |store: &Store| {
            let done = work(&mut unread, store)?;
            Ok((unread, done))
        };
        let done;
        (self.unread, done) = self.reading.slice(work).await?;
        self.reading.hold(&mut self.permits, self.unread.bytes(), MEMORY)?;
        Ok(done)
    }

    /// Finds the calls of a page, and the last of them where there is another page.
    async fn find_page(&mut self, limit: usize) -> Result<Option<AcrossPosition>, ApiError> {
        // One more than wanted tells whether there is a next page.
        while self.unread.places.len() <= limit && self.unread.across.is_some() {
            let most = limit + 1 - self.unread.places.len();
            self.slice(move |unread, store| unread.find(store, most)).await?;
        }
        self.unread.across = None;
        if self.unread.places.len() <= limit {
            return Ok(None);
        }
        self.unread.places.truncate(limit);
        Ok(self.unread.places.back().copied())
    }

    /// Reads calls of so many bytes, about, or all that are left.
    async fn read(&mut self, bytes: usize) -> Result<ReadCalls, ApiError> {
        let mut read = ReadCalls::default();
        while !read.is_last && read.weight < bytes {
            let question = self.question.clone();
            let work = move |unread: &mut Unread, store: &Store| {
                for _ in 0..SLICE_READS {
                    unread.read(store, &question, &mut read, bytes)?;
                    if read.is_last || read.weight >= bytes {
                        break;
                    }
                }
                Ok(read)
            };
            read = self.slice(work).await?;
        }
        Ok(read)
    }

    /// The next piece of the body, and what is left then.
    async fn piece(
        mut self,
        writer: BodyWriter,
    ) -> Result<(Bytes, Option<(Self, BodyWriter)>), ApiError> {
        let permit = self.reading.permit();
        let ReadCalls { calls, accounts, is_last, .. } = self.read(permit.bytes()).await?;
        let quick = !writer.form().is_slow();
        let (writer, piece) = write(&self.reading, writer, calls, is_last, quick).await?;
        self.client.still_may_all(accounts).await?;
        Ok((permit.hold(piece), (!is_last).then_some((self, writer))))
    }
}
