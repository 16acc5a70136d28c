//! How a store that has applied nothing yet begins with a log.
//!
//! An empty store begins with message 1. A store that was alone and has calls begins a log that is empty: its first
//! message is a *claim*, which has no submissions, and whose id tells of which store it is. All other nodes then begin with
//! a backup of that one. So no two nodes begin with different calls.

use ring::digest;

use crate::cluster::{ApiError, Connection, Log, OpenError, message_crc};
use crate::codec::{MessageId, assemble, decode_message};
use crate::store::{LogPosition, Store, StoreError, chain};

use super::APPEND_TIMEOUT;

/// What a node that has applied nothing finds.
pub(super) enum Joined {
    /// It has begun: its store says so, and will after a restart.
    Begun(Log, LogPosition),
    /// It may be otherwise in a moment.
    NotYet(String),
    /// It cannot begin with this log.
    Never(String),
}

/// Tries once to begin.
pub(super) async fn join(
    store: &Store,
    connection: &Connection,
    node: &str,
) -> Result<Joined, StoreError> {
    let log = match Log::open(connection).await {
        Ok(log) => log,
        Err(OpenError::Api { source, .. }) => return Ok(Joined::NotYet(source.to_string())),
        Err(error) => return Ok(Joined::NotYet(error.to_string())),
    };
    let begins = match begins(store, &log, node).await {
        Ok(begins) => begins,
        Err(error) => return Ok(Joined::NotYet(error.to_string())),
    };
    match begins? {
        Begins::With(position) => {
            store.begin_log(position)?;
            Ok(Joined::Begun(log, position))
        }
        Begins::NotYet(why) => Ok(Joined::NotYet(why)),
        Begins::Never(why) => Ok(Joined::Never(why)),
    }
}

enum Begins {
    With(LogPosition),
    NotYet(String),
    Never(String),
}

/// The outer error is that of the servers, the inner one that of the store.
async fn begins(
    store: &Store,
    log: &Log,
    node: &str,
) -> Result<Result<Begins, StoreError>, ApiError> {
    let is_empty = match store.is_empty() {
        Ok(is_empty) => is_empty,
        Err(error @ StoreError::IndexUnavailable(..)) => {
            return Ok(Ok(Begins::NotYet(error.to_string())));
        }
        Err(error) => return Ok(Err(error)),
    };
    let own = claim_id(store);
    let at = |seq, crc| LogPosition { epoch: log.epoch().bytes(), turn: 0, seq, crc };
    let bounds = log.bounds().await?;
    if bounds.first > 1 {
        let first = bounds.first;
        let why = format!("the log begins with message {first}, and this store has none before it");
        return Ok(Ok(Begins::Never(with_advice(&why))));
    }
    if bounds.last == 0 {
        if is_empty {
            return Ok(Ok(Begins::With(at(0, 0))));
        }
        let claim = assemble(node, own, &[] as &[Vec<u8>]);
        if let Err(error) = log.append(claim.into(), APPEND_TIMEOUT).await {
            return Ok(Ok(Begins::NotYet(chain(&error))));
        }
    }
    // Another node may have been first.
    let Some(first) = log.message_at(1).await? else {
        return Ok(Ok(Begins::NotYet("the first message of the log cannot be read".to_owned())));
    };
    Ok(Ok(match (claim_of(&first.bytes), is_empty) {
        (Some(claim), false) if claim == own => Begins::With(at(1, message_crc(&first.bytes))),
        (Some(_), true) => Begins::Never(with_advice(CLAIMED)),
        (None, true) => Begins::With(at(0, 0)),
        (_, false) => Begins::Never(with_advice(
            "this store has calls or settings of its own, and the log has begun without them",
        )),
    }))
}

/// Why an empty store does not begin with a log.
const CLAIMED: &str = "the log was begun by a store that had calls already";

fn with_advice(why: &str) -> String {
    format!(
        "{why}: begin with a backup of another node (`ssh NODE rollcall backup - | rollcall cluster seed -`)"
    )
}

/// The id of the claim of a store.
fn claim_id(store: &Store) -> MessageId {
    let digest = digest::digest(&digest::SHA256, store.status().epoch.as_bytes());
    digest.as_ref().first_chunk().copied().unwrap_or_default()
}

/// The id of a message that is a claim.
fn claim_of(bytes: &[u8]) -> Option<MessageId> {
    let message = decode_message(bytes).ok()?;
    message.submissions.is_empty().then_some(message.id)
}

/// A message that a node which began empty must not go past.
pub(super) fn is_claim(seq: u64, submissions: usize) -> Option<String> {
    (seq == 1 && submissions == 0).then(|| with_advice(CLAIMED))
}
