//! Builders of answers.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

/// What handlers return.
pub type Response = warp::reply::Response;

/// `Content-Type` of JSON, as jambonz has it.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

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
