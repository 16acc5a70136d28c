//! `GET /livez` and `GET /readyz`, for whatever watches the process.

use http::{Method, StatusCode};

use super::reply::{Refusal, Reply, json};
use super::routes::Request;

/// The process answers.
pub(super) fn live(request: &Request<'_>) -> Result<Reply, Refusal> {
    readable(request)?;
    Ok(json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

/// Lists can be answered and events be taken.
pub(super) fn ready(request: &Request<'_>) -> Result<Reply, Refusal> {
    readable(request)?;
    request.context.store.ready()?;
    Ok(json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

fn readable(request: &Request<'_>) -> Result<(), Refusal> {
    if matches!(*request.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    Err(Refusal::method("GET, HEAD"))
}
