//! The API: requests in, answers out.
//!
//! `router.rs` has one table of routes. `service.rs` stands around it: what every request needs is
//! done there. A handler asks the store and writes the answer: there is no layer between. Architecture invariant: no handler sees
//! a key, a frame or a sled error; [`error::ApiError`] is the one place where errors become statuses.

mod accept;
mod answer_budget;
mod auth;
mod auth_throttle;
mod body;
mod body_budget;
mod calls;
mod changes;
mod control;
mod cursor;
mod docs;
mod error;
mod etag;
mod feed_position;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod gzip;
mod health;
mod hook;
mod list;
mod metrics;
mod query;
mod rate;
mod read_concurrency;
mod reading;
mod representation;
mod request;
mod response;
mod router;
mod sender;
mod service;
mod stats;
mod stream_limit;
mod validate;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use answer_budget::AnswerBudget;
pub use body_budget::BodyBudget;
pub use metrics::scrapes;
pub use read_concurrency::ReadConcurrency;
pub use reading::{OtherEnd, Presence};
pub use router::templates;
pub use service::service;
pub use stream_limit::StreamLimit;
use tokio::sync::watch;

use crate::domain::{AccountSid, Timestamp};
use crate::logs::AuditLog;
use crate::meter::Requests;
use crate::outbound::{Base, Client, Servers};
use crate::store::Store;

/// What handlers know beside the request.
pub struct ApiContext {
    /// Where calls are.
    pub store: Arc<Store>,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Memory for request bodies.
    pub bodies: BodyBudget,
    /// Turns at reading.
    pub turns: Arc<ReadConcurrency>,
    /// Memory for answers.
    pub answers: Arc<AnswerBudget>,
    /// How long a request body may take.
    pub body_time: Duration,
    /// Events of one request.
    pub batch_events: usize,
    /// `service_url` of events that name none; empty for none.
    pub service_url: String,
    /// Rows that a page looks at before it ends early.
    pub page_rows: usize,
    /// Rows that a count may look at.
    pub count_rows: usize,
    /// What the plain list is limited to, if anything.
    pub window: Option<Window>,
    /// Requests that a token may send in [`ApiContext::token_window`]; 0 for as many as it likes.
    pub token_requests: u64,
    /// The time in which they are counted.
    pub token_window: Duration,
    /// `Access-Control-Allow-Origin`; none where other origins have no business here.
    pub allow_origin: Option<String>,
    /// Sends the requests of rollcall's own.
    pub client: Client,
    /// Where calls are controlled.
    pub feature_servers: Servers,
    /// jambonz's own API, for new calls that name an application.
    pub upstream: Option<Base>,
    /// Event streams that may be open.
    pub event_streams: Arc<StreamLimit>,
    /// How long an event stream is silent at most.
    pub keep_alive: Duration,
    /// Requests so far.
    pub requests: Arc<Requests>,
    /// When the process started.
    pub started_at: Timestamp,
    /// Each file with certificates in use, once, and when they end, in seconds since 1970.
    pub certificates: Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync>,
    /// Accounts with figures of their own in scrapes.
    pub metrics_accounts: Vec<AccountSid>,
    /// How long an answer may take before a warning says so.
    pub slow: Option<Duration>,
    /// Where audit events are written.
    pub audit: Arc<AuditLog>,
    /// Changes, or loses its sender, when the server stops: event streams end at once.
    pub stopping: watch::Receiver<()>,
}

/// Request extension: the address that the connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Request extension: whether the client is authenticated. The server keeps such connections where
/// others wait for one.
#[derive(Debug, Clone, Default)]
pub struct Recognised(Arc<AtomicBool>);

impl Recognised {
    pub fn set(&self, known: bool) {
        self.0.store(known, Ordering::Release);
    }

    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Request extension: whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverTls(pub bool);

/// How far back the plain list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How long after its end a call is listed, in milliseconds.
    pub ended_millis: u64,
    /// How long a call lasts at most, in milliseconds.
    pub lifetime_millis: u64,
}
