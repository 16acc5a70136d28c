//! The API: requests in, answers out.
//!
//! `router.rs` has one table of routes. `service.rs` stands around it: what every request needs is
//! done there. A handler asks the store and writes the answer: there is no layer between. Architecture invariant: no handler sees
//! a key, a frame or a sled error; [`error::ApiError`] is the one place where errors become statuses.

mod accept;
mod across;
mod answer_budget;
mod auth;
mod auth_throttle;
mod body;
mod body_budget;
mod calls;
mod cdrs;
mod console;
mod control;
mod cursor;
mod docs;
mod error;
mod etag;
mod feed;
mod feed_position;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod gzip;
mod health;
mod jambonz;
mod list;
mod log_position;
mod metrics;
mod near_path;
mod query;
mod rate;
mod read_concurrency;
mod reading;
mod recent_calls;
mod representation;
mod request;
mod response;
mod router;
mod service;
mod stats;
mod stats_query;
mod stream_limit;
mod validate;
mod webhook;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use answer_budget::AnswerBudget;
pub use body_budget::BodyBudget;
pub use cdrs::cdrs;
pub use console::Operation;
pub use metrics::scrapes;
pub use read_concurrency::ReadConcurrency;
pub use reading::{OtherEnd, Presence};
pub use router::templates;
pub use service::service;
pub use stream_limit::StreamLimit;
use tokio::sync::watch;

use crate::config::Config;
use crate::domain::Timestamp;
use crate::intake::Intake;
use crate::logs::AuditLog;
use crate::meter::Requests;
use crate::outbound::{Client, Servers};
use crate::store::Store;
use crate::upstream::UpstreamAuth;

/// What handlers know beside the request.
pub struct ApiContext {
    pub config: Arc<Config>,
    pub store: Arc<Store>,
    /// Takes what is to change.
    pub intake: Intake,
    /// Memory for request bodies.
    pub bodies: BodyBudget,
    pub read_concurrency: Arc<ReadConcurrency>,
    /// Memory for answers.
    pub answers: Arc<AnswerBudget>,
    /// Sends the requests of rollcall's own.
    pub client: Client,
    /// Where calls are controlled.
    pub feature_servers: Servers,
    /// Asks jambonz about tokens; none where they are not accepted.
    pub upstream_auth: Option<Arc<UpstreamAuth>>,
    /// Event streams that may be open.
    pub event_streams: Arc<StreamLimit>,
    /// Requests so far.
    pub requests: Arc<Requests>,
    /// When the process started.
    pub started_at: Timestamp,
    /// Each file with certificates in use, once, and when they end, in seconds since 1970.
    pub certificates: Box<dyn Fn() -> Vec<(String, u64)> + Send + Sync>,
    /// What the console's page for operators asks.
    pub operation: Operation,
    /// The calls are samples.
    pub is_demo: bool,
    /// Where audit events are written.
    pub audit: Arc<AuditLog>,
    /// Changes, or loses its sender, when the server stops: event streams end at once.
    pub stopping: watch::Receiver<()>,
}

/// Request extension: the connection that it came on.
#[derive(Clone)]
pub struct ConnectionInfo {
    /// Its client's address; that which a trusted proxy names, where one does.
    pub peer: SocketAddr,
    pub client: OtherEnd,
    pub recognised: Recognised,
    /// Nobody can read along: it came over TLS, or from a trusted proxy that does not say otherwise.
    pub is_secure: bool,
    /// It came from a trusted proxy.
    pub is_proxied: bool,
}

/// Whether the client is authenticated. The server keeps such connections where others wait for one.
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
