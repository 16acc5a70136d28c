//! Which calls a query means, and where in a list a call stands.

use super::{AccountSid, Call, CallField, CallSid, CallStatus, Direction, Search, Timestamp};

/// Newest first, or its exact reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
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

    /// When a call is listed that stands here.
    pub fn listed_at(self) -> Timestamp {
        Timestamp::from_millis(!self.newest_first).unwrap_or(Timestamp::MAX)
    }

    /// Before every call that is listed at this time or earlier, after every later one.
    pub const fn before_all_at(time: Timestamp) -> Self {
        Self::new(time, CallSid::from_bytes([0; 16]))
    }

    /// After every call that is listed at this time or later, before every earlier one.
    pub const fn last_at(time: Timestamp) -> Self {
        Self::new(time, CallSid::from_bytes([0xff; 16]))
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

    /// The position right after this one, in an order; none after the last of all.
    pub fn next(self, order: Order) -> Option<Self> {
        match order {
            Order::NewestFirst => self.greater(),
            Order::OldestFirst => self.less(),
        }
    }

    /// The position right before this one, in an order; none before the first of all.
    pub fn previous(self, order: Order) -> Option<Self> {
        match order {
            Order::NewestFirst => self.less(),
            Order::OldestFirst => self.greater(),
        }
    }

    fn greater(self) -> Option<Self> {
        let (sid, over) = u128::from_be_bytes(self.sid.bytes()).overflowing_add(1);
        let newest_first = self.newest_first.checked_add(u64::from(over))?;
        Some(Self { newest_first, sid: CallSid::from_bytes(sid.to_be_bytes()) })
    }

    fn less(self) -> Option<Self> {
        let (sid, under) = u128::from_be_bytes(self.sid.bytes()).overflowing_sub(1);
        let newest_first = self.newest_first.checked_sub(u64::from(under))?;
        Some(Self { newest_first, sid: CallSid::from_bytes(sid.to_be_bytes()) })
    }
}

/// A call's place among the calls of several accounts: in the order of its position, ties by ascending
/// account, since two accounts may have a call of one sid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AcrossPosition {
    pub position: Position,
    pub account: AccountSid,
}

/// What a list is limited to: every part that is not empty must match.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Filter {
    /// Any of these statuses, ascending; a stale call has none of them, unless stale ones are meant.
    pub statuses: Vec<CallStatus>,
    /// Any of these directions, ascending.
    pub directions: Vec<Direction>,
    /// Any of these calling numbers, exactly, ascending.
    pub from: Vec<String>,
    /// Any of these called numbers, exactly, ascending.
    pub to: Vec<String>,
    /// A calling number that begins with any of these, ascending.
    pub from_prefix: Vec<String>,
    /// A called number that begins with any of these, ascending.
    pub to_prefix: Vec<String>,
    /// B legs of any of these calls, ascending.
    pub parents: Vec<CallSid>,
    /// Stale calls alone, or all but them.
    pub stale: Option<bool>,
    /// Listed at this time or later.
    pub start: Option<Timestamp>,
    /// Listed before this time.
    pub end: Option<Timestamp>,
    /// Calls that are active or have ended lately.
    pub recent: Option<Recent>,
    /// What else is searched for.
    pub search: Search,
}

/// What counts as lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recent {
    /// The call ended at this time or later, or is active.
    pub ended_since: Timestamp,
    /// A call that is not up was listed at this time or later, so that its search has an end.
    pub listed_since: Timestamp,
}

impl Recent {
    fn matches(self, call: &Call) -> bool {
        let ended_at = call.terminated_at().unwrap_or_else(|| call.last_event_at());
        call.live() || ended_at >= self.ended_since && call.listed_at >= self.listed_since
    }
}

impl Filter {
    /// Whether the call is one that the query means.
    pub fn matches(&self, call: &Call) -> bool {
        let text = |field| call.text(field).unwrap_or_default();
        let one_of =
            |wanted: &[String], value: &str| wanted.is_empty() || wanted.iter().any(|w| w == value);
        let begins = |wanted: &[String], value: &str| {
            wanted.is_empty() || wanted.iter().any(|w| value.starts_with(w.as_str()))
        };
        // A stale call keeps its last status, but is found by it only where stale ones are meant.
        let status_counts = !call.stale || self.stale == Some(true);
        (self.statuses.is_empty() || status_counts && self.statuses.contains(&call.progress.status))
            && self.stale.is_none_or(|stale| stale == call.stale)
            && (self.directions.is_empty() || self.directions.contains(&call.direction.value))
            && one_of(&self.from, text(CallField::From))
            && one_of(&self.to, text(CallField::To))
            && begins(&self.from_prefix, text(CallField::From))
            && begins(&self.to_prefix, text(CallField::To))
            && (self.parents.is_empty()
                || call.parent().is_some_and(|parent| self.parents.contains(&parent)))
            && self.start.is_none_or(|start| call.listed_at >= start)
            && self.end.is_none_or(|end| call.listed_at < end)
            && self.recent.is_none_or(|recent| recent.matches(call))
            && self.search.matches(call)
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
