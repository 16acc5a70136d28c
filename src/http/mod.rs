//! The API: requests in, answers out.
//!
//! warp matches paths; one service around it does what every request needs. A handler asks the
//! store and writes the answer: there is no layer between. Architecture invariant: no handler sees
//! a key, a frame or a sled error; [`reply::Refusal`] is the one place where errors become statuses.

mod auth;
mod calls;
mod changes;
mod cursor;
mod health;
mod hook;
mod list;
mod place;
mod query;
pub mod reply;
mod routes;
mod service;

use std::sync::Arc;
use std::time::Duration;

pub use service::{Api, service};
use tokio::sync::{Semaphore, watch};

use crate::store::Store;

/// What handlers know beside the request.
pub struct Context {
    /// Where calls are.
    pub store: Arc<Store>,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// How long a request body may take.
    pub body_time: Duration,
    /// Events of one request.
    pub batch_events: usize,
    /// `service_url` of events that name none; empty for none.
    pub service_url: String,
    /// `Access-Control-Allow-Origin`; none where other origins have no business here.
    pub allow_origin: Option<String>,
    /// Room for event streams.
    pub followers: Arc<Semaphore>,
    /// How long an event stream is silent at most.
    pub keep_alive: Duration,
    /// Changes, or loses its sender, when the server stops: event streams end at once.
    pub stopping: watch::Receiver<()>,
}
