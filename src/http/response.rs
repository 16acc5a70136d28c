//! Builders of answers.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::log_position;
use crate::intake::Accepted;

/// What handlers return.
pub type Response = warp::reply::Response;

/// `Content-Type` of JSON, as jambonz has it.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// It is on the disk of one machine alone.
const KEPT: HeaderName = HeaderName::from_static("rollcall-kept");

/// An answer with a JSON body.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut reply = Response::new(body.into().into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, JSON);
    reply
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut reply = Response::new(Bytes::new().into());
    *reply.status_mut() = status;
    reply
}

/// 204 for changes that were accepted, and where they are: in the log of a cluster, or on this machine alone.
pub(super) fn accepted_reply(accepted: &Accepted) -> Response {
    let mut reply = empty(StatusCode::NO_CONTENT);
    log_position::put(&mut reply, accepted.position);
    if accepted.kept {
        reply.headers_mut().insert(KEPT, HeaderValue::from_static("1"));
    }
    reply
}
