//! Which calls a query means, and where in a list a call stands.

use super::{Call, CallSid, CallStatus, Direction, Known, Timestamp};

/// Newest first, or its exact reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

/// A call's place among its account's calls, newest first, ties by ascending sid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The complement of `listed_at`, so that the newest comes first.
    newest_first: u64,
    /// The call.
    pub sid: CallSid,
}

impl Position {
    /// The least position of all.
    pub const MIN: Self = Self { newest_first: 0, sid: CallSid::from_bytes([0; 16]) };
    /// The greatest position of all.
    pub const MAX: Self = Self { newest_first: u64::MAX, sid: CallSid::from_bytes([0xff; 16]) };

    /// The place of a call.
    pub fn of(call: &Call) -> Self {
        Self::new(call.listed_at, call.id.sid)
    }

    /// The place of a call that is listed at this time.
    pub const fn new(listed_at: Timestamp, sid: CallSid) -> Self {
        Self { newest_first: !listed_at.millis(), sid }
    }

    /// Before every call that is listed at this time or earlier, after every later one.
    pub const fn before_all_at(time: Timestamp) -> Self {
        Self::new(time, CallSid::from_bytes([0; 16]))
    }

    /// 24 bytes whose order is that of positions.
    pub fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        let (time, sid) = bytes.split_at_mut(8);
        time.copy_from_slice(&self.newest_first.to_be_bytes());
        sid.copy_from_slice(&self.sid.bytes());
        bytes
    }

    /// The position with these bytes.
    pub fn from_bytes(bytes: [u8; 24]) -> Self {
        let mut time = [0; 8];
        let mut sid = [0; 16];
        time.copy_from_slice(&bytes[..8]);
        sid.copy_from_slice(&bytes[8..]);
        Self { newest_first: u64::from_be_bytes(time), sid: CallSid::from_bytes(sid) }
    }
}

/// What a list is limited to: every part that is not empty must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    /// Any of these statuses, ascending; a stale call has none of them.
    pub statuses: Vec<CallStatus>,
    /// Any of these directions, ascending.
    pub directions: Vec<Direction>,
    /// Any of these calling numbers, exactly, ascending.
    pub from: Vec<String>,
    /// Any of these called numbers, exactly, ascending.
    pub to: Vec<String>,
    /// Listed at this time or later.
    pub start: Option<Timestamp>,
    /// Listed before this time.
    pub end: Option<Timestamp>,
}

impl Filter {
    /// Whether the call is one that the query means.
    pub fn matches(&self, call: &Call) -> bool {
        let text = |known| call.text(known).unwrap_or_default();
        let one_of =
            |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|w| w == value);
        (self.statuses.is_empty() || !call.stale && self.statuses.contains(&call.progress.status))
            && (self.directions.is_empty() || self.directions.contains(&call.direction.value))
            && one_of(&self.from, text(Known::From))
            && one_of(&self.to, text(Known::To))
            && self.start.is_none_or(|start| call.listed_at >= start)
            && self.end.is_none_or(|end| call.listed_at < end)
    }

    /// The positions between which every match lies: from the first, inclusive, to the second,
    /// exclusive where it is given.
    pub fn bounds(&self) -> (Position, Option<Position>) {
        // `newest_first` runs against time: the newest match is just after `end`.
        let first = match self.end {
            None => Position::MIN,
            Some(end) if end.millis() == 0 => Position::MAX,
            Some(end) => Position::before_all_at(end.minus_millis(1)),
        };
        let last = match self.start {
            None => None,
            Some(start) if start.millis() == 0 => None,
            Some(start) => Some(Position::before_all_at(start.minus_millis(1))),
        };
        (first, last)
    }
}
