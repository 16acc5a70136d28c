//! What the lines of the log say of the request that they are written for.
//!
//! Most requests write no line. So their id, token and account are kept as they are, and a span with
//! their text is made where a line is written ([`WithRequest`]), of whatever level.

use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use tokio::task::futures::TaskLocalFuture;
use tracing::span::{Attributes, EnteredSpan, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::masked;
use crate::domain::AccountSid;

tokio::task_local! {
    static CURRENT: LogRequest;
}

/// A request, as the log names it.
#[derive(Debug, Clone)]
pub struct LogRequest(Arc<Fields>);

#[derive(Debug)]
struct Fields {
    id: HeaderValue,
    token: OnceLock<Arc<str>>,
    account: OnceLock<AccountSid>,
}

impl LogRequest {
    pub fn new(id: HeaderValue) -> Self {
        Self(Arc::new(Fields { id, token: OnceLock::new(), account: OnceLock::new() }))
    }

    /// The request that this task, or this thread, works for.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    pub fn id(&self) -> &HeaderValue {
        &self.0.id
    }

    /// The future's work is for this request.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// The same of work in another thread, which may be for none.
    pub fn in_scope<T>(request: Option<Self>, work: impl FnOnce() -> T) -> T {
        match request {
            Some(request) => CURRENT.sync_scope(request, work),
            None => work(),
        }
    }

    fn span(&self) -> EnteredSpan {
        let Fields { id, token, account } = &*self.0;
        // A client may have taken a telephone number for an id.
        let id = masked(id.to_str().unwrap_or_default());
        tracing::error_span!(
            "request",
            id = &*id,
            token = token.get().map(|token| &**token),
            account = account.get().map(tracing::field::display),
        )
        .entered()
    }
}

/// From now on lines have the id of the token that authenticates the request.
pub fn note_token(id: &Arc<str>) {
    let _no_request = CURRENT.try_with(|request| {
        let _first_counts = request.0.token.set(id.clone());
    });
}

/// From now on lines have the account that the request is about.
pub fn note_account(account: AccountSid) {
    let _no_request = CURRENT.try_with(|request| {
        let _first_counts = request.0.account.set(account);
    });
}

/// A layer whose lines name the request that they are written for.
#[derive(Debug)]
pub struct WithRequest<L>(pub L);

impl<S, L> Layer<S> for WithRequest<L>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    L: Layer<S>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.on_new_span(attributes, id, context);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        self.0.on_record(id, record, context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let _span = LogRequest::current().map(|request| request.span());
        self.0.on_event(event, context);
    }
}
