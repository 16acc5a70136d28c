//! `GET /livez` and `GET /readyz`, for whatever watches the process.

use http::{Method, StatusCode};

use super::reply::{Refusal, Reply, json};
use super::routes::Request;

/// The process answers.
pub(super) fn live(request: &Request<'_>) -> Result<Reply, Refusal> {
    readable(request)?;
    Ok(json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

/// Lists can be answered and events be taken. A disk that is short of room is told and is no 503: who
/// takes this server out of service for it would take the lists away too, and hooks are told by
/// their own answers.
pub(super) fn ready(request: &Request<'_>) -> Result<Reply, Refusal> {
    readable(request)?;
    request.context.store.ready()?;
    if request.context.store.takes_events().is_err() {
        let msg = "the server is short of room on its disk and takes no events for now";
        let body = serde_json::json!({ "status": "read-only", "msg": msg });
        return Ok(json(StatusCode::OK, body.to_string()));
    }
    Ok(json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

fn readable(request: &Request<'_>) -> Result<(), Refusal> {
    if matches!(*request.method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    Err(Refusal::method("GET, HEAD"))
}
