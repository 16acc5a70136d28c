//! Reading for a request, slice by slice: each waits for its turn ([`super::read_concurrency`]), and
//! none is read for a client that has left.
//!
//! Architecture invariant: an answer is made as its reader takes it. [`pieces`] makes the next piece
//! when the connection asks for it, so that of an answer which its client does not take there is one piece.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Weak};
use std::task::{Context as Task, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use parking_lot::Mutex;
use warp::Reply as _;

use super::ApiContext;
use super::answer_budget::{AnswerPermit, PIECE};
use super::error::ApiError;
use super::read_concurrency::Flow;
use super::request::ApiRequest;
use super::response::Response;
use crate::logs::{LogRequest, masked};
use crate::store::{
    Counting, CountingAcross, PageStart, PassingOver, Scope, ScopedAccount, Store, StoreError,
};

/// Whether a client is still there.
pub trait Presence: Send + Sync {
    /// It has closed its side, or the connection is broken.
    fn has_left(&self) -> bool;
}

/// The client's end of the connection, which is gone once the connection has ended.
#[derive(Clone)]
pub struct OtherEnd(pub Weak<dyn Presence>);

impl OtherEnd {
    fn has_left(&self) -> bool {
        self.0.upgrade().is_none_or(|presence| presence.has_left())
    }
}

/// Reads from the store for one request, within what others need, too.
pub(super) struct BodyReader {
    context: Arc<ApiContext>,
    flow: Flow,
    client: Option<OtherEnd>,
}

impl BodyReader {
    /// For calls that the request may see.
    pub fn new(request: &ApiRequest<'_>, scope: impl Into<Scope>) -> Self {
        static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let token = request.token().map(|token| &token.id);
        let flow = Flow { scope: scope.into(), token: STATE.hash_one(token) };
        Self {
            context: request.context.clone(),
            flow,
            client: request.connection.map(|connection| connection.client.clone()),
        }
    }

    pub fn context(&self) -> &Arc<ApiContext> {
        &self.context
    }

    /// A permit for the next piece of the answer.
    pub fn permit(&self) -> AnswerPermit {
        self.permit_of(PIECE)
    }

    /// The same, of another size at most.
    pub fn permit_of(&self, bytes: usize) -> AnswerPermit {
        self.context.answers.piece(self.flow.scope, bytes)
    }

    /// A permit for something else that the answer needs for as long as it lasts, if any is left.
    pub fn permit_for(&self, bytes: usize) -> Option<AnswerPermit> {
        self.context.answers.take(self.flow.scope, bytes)
    }

    /// Has permits for so many bytes beside the answer, each for as many as one is for; the first of them need
    /// none.
    pub fn hold(
        &self,
        permits: &mut Vec<AnswerPermit>,
        bytes: usize,
        each: usize,
    ) -> Result<(), ApiError> {
        permits.truncate(bytes / each);
        while permits.len() < bytes / each {
            let msg = "other answers need the memory of this one";
            let permit = self.permit_for(each).ok_or_else(|| ApiError::unavailable(msg, 1))?;
            permits.push(permit);
        }
        Ok(())
    }

    /// The accounts whose calls are read.
    pub async fn accounts(&self) -> Result<Arc<[ScopedAccount]>, ApiError> {
        let scope = self.flow.scope;
        if let Scope::Account(account) = scope {
            return Ok([ScopedAccount::of(account)].into());
        }
        loop {
            if let Some(accounts) = self.slice(move |store| store.accounts(scope)).await? {
                return Ok(accounts);
            }
        }
    }

    /// Reads a slice in a thread that may wait for the disk.
    pub async fn slice<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let turn = self.context.read_concurrency.take(self.flow, false).await;
        self.is_there()?;
        let store = self.context.store.clone();
        let request = LogRequest::current();
        // The turn ends with the work, even if its client leaves.
        let work = move || {
            let _turn = turn;
            LogRequest::in_scope(request, || read(&store))
        };
        let read = tokio::task::spawn_blocking(work).await;
        Ok(read.unwrap_or(Err(StoreError::Closing))?)
    }

    /// Reads a slice where the request is: changing threads would cost more.
    pub async fn short_slice<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<T, ApiError> {
        let _turn = self.context.read_concurrency.take(self.flow, true).await;
        Ok(read(&self.context.store)?)
    }

    /// Takes a count to its end.
    pub async fn count(&self, counting: Counting) -> Result<Counting, ApiError> {
        self.to_its_end(counting, |counting, store| counting.go_on(store)).await
    }

    /// The same with that of several accounts.
    pub async fn count_across(&self, counting: CountingAcross) -> Result<CountingAcross, ApiError> {
        self.to_its_end(counting, |counting, store| counting.go_on(store)).await
    }

    /// Finds where a page begins, slice by slice.
    pub async fn pass_over(&self, passing: PassingOver) -> Result<PageStart, ApiError> {
        let passing = self.to_its_end(passing, |passing, store| passing.go_on(store)).await?;
        Ok(passing.finish())
    }

    /// Goes on with work, a slice each time, until it is done.
    async fn to_its_end<T: Send + 'static>(
        &self,
        mut work: T,
        go_on: fn(&mut T, &Store) -> Result<bool, StoreError>,
    ) -> Result<T, ApiError> {
        loop {
            let done;
            (work, done) = self
                .slice(move |store| {
                    let done = go_on(&mut work, store)?;
                    Ok((work, done))
                })
                .await?;
            if done {
                return Ok(work);
            }
        }
    }

    fn is_there(&self) -> Result<(), ApiError> {
        if self.client.as_ref().is_some_and(OtherEnd::has_left) {
            return Err(ApiError::left());
        }
        Ok(())
    }
}

/// 200 with a body that begins with a piece, and goes on with those that are made of a state for as
/// long as one is left. One that fails cuts the connection off: what looks whole is whole.
pub(super) fn pieces<S, F, N>(first: Bytes, state: S, next: N) -> Response
where
    S: Send + 'static,
    F: Future<Output = Result<(Bytes, Option<S>), ApiError>> + Send + 'static,
    N: Fn(S) -> F + Send + 'static,
{
    let begun = stream::iter([Ok(first)]);
    let request = LogRequest::current();
    let rest = stream::try_unfold((Some(state), next, request), |(state, next, request)| async {
        let Some(state) = state else { return Ok(None) };
        match next(state).await {
            Ok((piece, left)) => Ok(Some((piece, (left, next, request)))),
            Err(error) => {
                let error = format!("{error:?}");
                LogRequest::in_scope(request, || {
                    tracing::warn!(error = &*masked(&error), "an answer was cut off in its middle");
                });
                Err(io::Error::other("the answer was cut off"))
            }
        }
    });
    let body = SyncStream(Mutex::new(Box::pin(stream::StreamExt::chain(begun, rest))));
    warp::reply::stream(body).into_response()
}

/// A stream that warp may share between threads, though it never does.
struct SyncStream(Mutex<Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>>);

impl Stream for SyncStream {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.get_mut().as_mut().poll_next(task)
    }
}
