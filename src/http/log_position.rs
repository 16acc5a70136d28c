//! Positions of the replicated log in headers: `Rollcall-Position` says how far the store has come with what it
//! answers, and `Rollcall-At-Least` asks a node to have come so far before it answers. So who writes on one node
//! reads on another what was written. A store that follows no log does neither.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};

use super::error::ApiError;
use super::feed_position::{PositionNumber, log_digits, parts};
use super::request::ApiRequest;
use super::response::Response;
use crate::store::{LogPoint, LogPosition, Store, StoreError};

/// How far what an answer shows has come, or what it says is done.
pub(super) const POSITION: HeaderName = HeaderName::from_static("rollcall-position");
/// How far an answer must have come.
pub(super) const AT_LEAST: HeaderName = HeaderName::from_static("rollcall-at-least");

/// How long a node waits for what it is asked for.
const BEHIND_MAX: Duration = Duration::from_secs(2);

/// Waits until the node has come as far as the request wants. Returns how far it has come then: what is read from now
/// on shows all of that.
pub(super) async fn at_least(request: &ApiRequest<'_>) -> Result<Option<LogPosition>, ApiError> {
    let store = &request.context.store;
    let Some(own) = store.log_epoch() else {
        // A node that has not begun with the log has reached nothing of it.
        let is_node = request.context.intake.node().is_some();
        if is_node && request.headers.contains_key(AT_LEAST) {
            return Err(StoreError::Behind { applied: 0 }.into());
        }
        return Ok(None);
    };
    if let Some(wanted) = request.headers.get(AT_LEAST) {
        let text = String::from_utf8_lossy(wanted.as_bytes());
        let message = message_of(&text, &own)?;
        reached(store, message).await?;
    }
    Ok(store.position())
}

/// The message that a text of the header means.
fn message_of(text: &str, own: &str) -> Result<u64, ApiError> {
    let malformed = || {
        let shown: String = text.chars().take(80).collect();
        let expected = "expected a position as Rollcall-Position has it";
        ApiError::bad(format!("Rollcall-At-Least \"{shown}\": {expected}"))
    };
    let (epoch, number, _) = parts(text.trim()).ok_or_else(malformed)?;
    match number {
        PositionNumber::Log(point) if epoch == own => Ok(point.message),
        _ => Err(ApiError::gone(
            "Rollcall-At-Least: the position belongs to another log; ask without it",
        )),
    }
}

/// Waits until the node has applied a message, for a while.
pub(super) async fn reached(store: &Store, message: u64) -> Result<(), ApiError> {
    let mut positions = store.log_positions();
    let applied = |position: &Option<LogPosition>| position.map_or(0, |position| position.seq);
    let wait = positions.wait_for(|position| applied(position) >= message);
    if let Ok(done) = tokio::time::timeout(BEHIND_MAX, wait).await {
        return done.map(drop).map_err(|_| StoreError::Closing.into());
    }
    let applied = applied(&store.position());
    Err(StoreError::Behind { applied }.into())
}

/// Says how far an answer has come.
pub(super) fn put(reply: &mut Response, position: Option<LogPosition>) {
    let Some(position) = position else { return };
    let (life, digits) = (position.life(), log_digits(LogPoint::end_of(position.seq)));
    if let Ok(value) = HeaderValue::try_from(format!("{life}-{digits}")) {
        reply.headers_mut().insert(POSITION, value);
    }
}
