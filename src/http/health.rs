//! `GET /livez` and `GET /readyz`, for what watches the process.

use http::StatusCode;

use super::error::ApiError;
use super::request::ApiRequest;
use super::response::{Response, json};

const SHORT_OF_SPACE: &str = "the server is short of disk space and takes no events for now";
/// When there may be space again, in seconds.
const RETRY_SECONDS: u16 = 10;
/// The same of a node that is behind, or without a quorum.
const NODE_RETRY_SECONDS: u16 = 2;

/// The process answers.
#[expect(clippy::unnecessary_wraps, reason = "the type of a handler")]
pub(super) fn live(_: &ApiRequest<'_>) -> Result<Response, ApiError> {
    Ok(json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

/// The parameters of [`ready`]; any other means nothing.
pub(super) const PARAMETERS: [&str; 1] = ["for"];

/// Lists can be answered and events be taken. A disk that is short of space is reported and is no 503:
/// who takes this server out of service for it would take the lists away too, and hooks learn it by
/// their own answers. A node of a cluster is ready once it has caught up, and no more where it is far behind; that the
/// log has no quorum is reported and is no 503, since all nodes share it. With `for=events` it is about events alone, which are taken without an index.
pub(super) fn ready(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    let store = &request.context.store;
    let has_space = store.takes_events().is_ok();
    let node = request.context.intake.node();
    if is_for_events(request.query)? {
        store.lives()?;
        if !has_space {
            return Err(ApiError::unavailable(SHORT_OF_SPACE, RETRY_SECONDS));
        }
        if let Some(node) = node {
            node.events().map_err(|why| ApiError::unavailable(why, NODE_RETRY_SECONDS))?;
        }
    } else {
        store.ready()?;
        if let Some(node) = node {
            node.lists().map_err(|why| ApiError::unavailable(why, NODE_RETRY_SECONDS))?;
        }
        if !has_space {
            let body = serde_json::json!({ "msg": SHORT_OF_SPACE, "status": "read-only" });
            return Ok(json(StatusCode::OK, body.to_string()));
        }
        if let Some((status, msg)) = node.and_then(|node| node.away()) {
            let body = serde_json::json!({ "msg": msg, "status": status });
            return Ok(json(StatusCode::OK, body.to_string()));
        }
    }
    Ok(json(StatusCode::OK, "{\"status\":\"ok\"}"))
}

fn is_for_events(query: &str) -> Result<bool, ApiError> {
    let mut events = false;
    let given = form_urlencoded::parse(query.as_bytes());
    for (_, value) in given.filter(|(name, value)| name == PARAMETERS[0] && !value.is_empty()) {
        if value != "events" {
            let shown: String = value.chars().take(80).collect();
            return Err(ApiError::bad(format!("for \"{shown}\": expected events, or nothing")));
        }
        events = true;
    }
    Ok(events)
}
