//! The API: requests in, answers out.
//!
//! warp matches paths; one service around it does what every request needs. A handler asks the
//! store and writes the answer: there is no layer between. Architecture invariant: no handler sees
//! a key, a frame or a sled error; [`reply::Refusal`] is the one place where errors become statuses.

mod auth;
mod calls;
mod cursor;
mod docs;
mod document;
mod etag;
mod form;
mod gzip;
mod health;
mod hook;
mod list;
mod llms;
mod ordered;
mod query;
pub mod reply;
mod routes;
mod service;
mod stats;

use std::sync::Arc;
use std::time::Duration;

pub use service::{Api, service};

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
    /// Rows that a page looks at before it ends early.
    pub page_rows: usize,
    /// Rows that a count may look at.
    pub count_rows: usize,
    /// What the plain list is limited to, if anything.
    pub window: Option<Window>,
    /// `Access-Control-Allow-Origin`; none where other origins have no business here.
    pub allow_origin: Option<String>,
}

/// How far back the plain list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// How long after its end a call is listed, in milliseconds.
    pub ended_millis: u64,
    /// How long a call lasts at most, in milliseconds.
    pub lifetime_millis: u64,
}
