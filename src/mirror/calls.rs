//! Calls as they stand in Redis: their keys, their hashes, and what of them is known already.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher as _;

use super::connection::PREFIX;
use super::resp::Value;
use crate::config::WantedAccounts;
use crate::domain::{
    AccountSid, CallId, CallSid, MirroredAt, Moment, Rank, StampedEvent, Timestamp,
};
use crate::wire::{WireError, parse_mirrored};

/// Bytes of all keys and values of a hash. One of jambonz has less than two thousand.
const HASH_BYTES_MAX: usize = 256 * 1024;
/// Keys of a hash.
const FIELDS_MAX: usize = 1024;
/// Calls that are remembered. Of others each look finds that they say nothing new.
const REMEMBERED_MAX: usize = 2_000_000;
/// Calls that are remembered as too large for an answer. Each more costs a connection at each look.
const LEFT_OUT_MAX: usize = 10_000;

/// The call that a key is of; none where it is no call's key.
pub(super) fn call_of(key: &[u8]) -> Option<CallId> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?;
    if rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let (account, sid) = rest.split_once(':')?;
    let (account, sid): (AccountSid, CallSid) = (account.parse().ok()?, sid.parse().ok()?);
    Some(CallId { account, sid })
}

/// The key of a call. jambonz writes sids in lower case.
pub(super) fn key_of(call: CallId) -> String {
    format!("{PREFIX}{}:{}", call.account, call.sid)
}

/// Whether the calls of an account are taken.
pub(super) fn is_wanted(wanted: &[WantedAccounts], account: AccountSid) -> bool {
    wanted.iter().any(|one| one.has(account))
}

/// Why a hash is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("it is no hash: {0}")]
    Shape(String),
    #[error("it has more than {FIELDS_MAX} keys or {HASH_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is of another call than its key")]
    OtherCall,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// The hash of a call as an object of texts; none where there is none: it has expired, or was deleted.
pub(super) fn object_of(value: &Value) -> Result<Option<String>, HashError> {
    let (Value::Array(items) | Value::Map(items)) = value else {
        return match value {
            Value::Null => Ok(None),
            other => Err(HashError::Shape(other.to_string())),
        };
    };
    if items.is_empty() {
        return Ok(None);
    }
    let bytes: usize = items.iter().filter_map(Value::text).map(<[u8]>::len).sum();
    if items.len() / 2 > FIELDS_MAX || bytes > HASH_BYTES_MAX {
        return Err(HashError::TooLarge);
    }
    // In an order of its own: that of Redis may change by itself.
    let mut members: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for pair in items.chunks_exact(2) {
        let [Some(key), Some(text)] = [0, 1].map(|n| pair.get(n).and_then(Value::text)) else {
            return Err(HashError::Shape("a value that is no text".to_owned()));
        };
        let (key, text) = (String::from_utf8_lossy(key), String::from_utf8_lossy(text));
        // Redis has texts alone; jambonz's hooks send this one as it is.
        let value = match (&*key, &*text) {
            ("hasRecording", "true") => true.into(),
            ("hasRecording", "false") => false.into(),
            _ => text.into_owned().into(),
        };
        members.insert(key.into_owned(), value);
    }
    let json = serde_json::to_string(&members);
    json.map(Some).map_err(|error| HashError::Shape(error.to_string()))
}

/// What of a call was read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    hash: u64,
    /// Of `callStatus` and `sipStatus` alone.
    status: u64,
    ended: bool,
    /// The look through all calls in which it was read or seen last.
    round: u32,
}

/// The calls that were read, so that one that has not changed is no event.
#[derive(Debug, Default)]
pub(super) struct Seen {
    calls: HashMap<CallId, Remembered>,
    /// Calls whose hash is larger than any answer may be, and the look in which each was seen last.
    left_out: HashMap<CallId, u32>,
    hasher: RandomState,
    round: u32,
    /// All calls were looked through once: one that is not known is new.
    pub complete: bool,
}

/// What has become of a call that was read.
pub(super) enum Reading {
    /// It is as it was, or is not there.
    Nothing,
    News(Box<News>),
}

/// A state that was not known.
pub(super) struct News {
    pub event: StampedEvent,
    remembered: Remembered,
    /// What of the call was read before.
    pub before: Option<Remembered>,
}

impl Seen {
    /// What a hash says of a call that was not known. `live` where Redis has reported a change of it.
    pub fn read(
        &mut self,
        call: CallId,
        value: &Value,
        live: Option<Moment>,
        now: Timestamp,
        service_url: &str,
    ) -> Result<Reading, HashError> {
        let Some(json) = object_of(value)? else {
            self.calls.remove(&call);
            return Ok(Reading::Nothing);
        };
        let hash = self.hash(&[json.as_bytes()]);
        let before = self.calls.get(&call).copied();
        if before.is_some_and(|before| before.hash == hash) {
            return Ok(Reading::Nothing);
        }
        let text = |key: &str| value.member(key).and_then(Value::text).unwrap_or_default();
        let status = self.hash(&[text("callStatus"), text("sipStatus")]);
        let seen = match live {
            None => MirroredAt::Unknown,
            Some(at) => MirroredAt::Live {
                at,
                began: before.is_none() && (self.complete || text("callStatus") == b"trying"),
                reached: before.is_none_or(|before| before.status != status),
            },
        };
        let event = parse_mirrored(&json, now, seen, service_url)?;
        if event.id != call {
            return Err(HashError::OtherCall);
        }
        let ended = event.status.is_some_and(|status| status.rank() == Rank::Terminal);
        let remembered = Remembered { hash, status, ended, round: self.round };
        Ok(Reading::News(Box::new(News { event, remembered, before })))
    }

    /// Remembers what was read, so that it is no news again.
    pub fn remember(&mut self, news: &News) {
        let call = news.event.id;
        if self.calls.len() < REMEMBERED_MAX || self.calls.contains_key(&call) {
            self.calls.insert(call, Remembered { round: self.round, ..news.remembered });
        }
    }

    /// Has calls as they were read before, since what was read later, in this order, is not on disk.
    pub fn undo(&mut self, calls: impl DoubleEndedIterator<Item = (CallId, Option<Remembered>)>) {
        // One call may be there twice: what stands before the first of both is on disk.
        for (call, before) in calls.rev() {
            match before {
                Some(before) => self.calls.insert(call, Remembered { round: self.round, ..before }),
                None => self.calls.remove(&call),
            };
        }
    }

    /// Does not have this call read again for as long as it is there.
    pub fn leave_out(&mut self, call: CallId) {
        if self.left_out.len() < LEFT_OUT_MAX {
            self.left_out.insert(call, self.round);
        }
    }

    pub fn leaves_out(&self, call: CallId) -> bool {
        self.left_out.contains_key(&call)
    }

    /// Whether a look through all calls has to read this one: it is not known, or not ended.
    pub fn wants(&mut self, call: CallId) -> bool {
        let round = self.round;
        if let Some(left_out) = self.left_out.get_mut(&call) {
            *left_out = round;
            return false;
        }
        self.calls.get_mut(&call).is_none_or(|known| {
            known.round = round;
            !known.ended
        })
    }

    pub fn knows(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// The calls that have not ended.
    pub fn active(&self) -> Vec<CallId> {
        let active = self.calls.iter().filter(|(_, known)| !known.ended);
        active.map(|(call, _)| *call).collect()
    }

    /// A look through all calls begins.
    pub fn begin_round(&mut self) {
        self.round = self.round.wrapping_add(1);
    }

    /// It has come to its end: what was neither seen in it nor read since is not there any more.
    pub fn end_round(&mut self) {
        let round = self.round;
        self.calls.retain(|_, known| known.round == round);
        self.left_out.retain(|_, seen| *seen == round);
        self.complete = true;
    }

    pub fn len(&self) -> usize {
        self.calls.len()
    }

    fn hash(&self, parts: &[&[u8]]) -> u64 {
        self.hasher.hash_one(parts)
    }
}
