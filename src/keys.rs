//! Keys of ranges, for the index and the registry alike: big-endian parts of fixed width, so that their byte order is the order of what they mean.
//!
//! ```text
//! c | account 16 | position 24                        -> seq, answer, record
//! s | account 16 | status 1 | direction 1 | position 24 -> ""
//! f | account 16 | from, escaped | 00 00 | position   -> ""
//! o | account 16 | to, escaped   | 00 00 | position   -> ""
//! p | account 16 | parent 16 | position 24            -> ""   (B legs only)
//! i | account 16 | checksum of a Call-ID 4 | position 24 -> "" (each once)
//! g | account 16 | quarter 4                           -> what is counted of its calls
//! t | account 16 | day 4                               -> what is counted of the calls of a day
//! w | account 16 | day 4 | part 4                      -> the parties of these calls
//! e | account 16 | quarter 4                           -> what is counted of each kind of them
//! h | account 16 | quarter 4                           -> peaks
//! q | account 16 | quarter 4 | part 4                  -> heads of its calls
//! u | account 16 | quarter 4 | part 2                  -> when its calls are up
//! k | call 16 | account 16                            -> seq, listed_at or deleted_at
//! l | last event 8 | account 16 | call 16             -> ""   (live calls only)
//! d | deleted_at 8 | account 16 | call 16             -> ""   (tombstones only)
//! a | name                                            -> seq, JSON
//! b                                                   -> how large the generation was when built
//! m                                                   -> the mark of the last checkpoint
//! v                                                   -> the layout
//! y                                                   -> the layers of pages
//! ```
//!
//! A *position* is the complement of `listed_at` and then the call's sid: newest first, and the
//! same in every range, so that one cursor is valid in all. In a number, a byte 00 is written as
//! 00 FF, so that no number's range holds another's.

mod call_ids;
mod derived;

use std::ops::Bound::{self, Excluded, Included, Unbounded};

use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CallStatus, Day, Direction, Order, Position,
    Quarter, Timestamp,
};

use call_ids::CallIdHashes;

pub use derived::{derived, derived_from, may_be_derived};

/// What an index knows a call by: its status, or that it is stale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusKey {
    /// The call has this status.
    Status(CallStatus),
    /// The call is stale: no filter by status finds it.
    Stale,
}

impl StatusKey {
    const STALE: u8 = 0xf0;

    /// That of this version of a call.
    pub fn of(call: &Call) -> Self {
        if call.stale { Self::Stale } else { Self::Status(call.progress.status) }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Status(status) => status_byte(status),
            Self::Stale => Self::STALE,
        }
    }
}

/// A status in a key.
const fn status_byte(status: CallStatus) -> u8 {
    match status {
        CallStatus::Trying => 0,
        CallStatus::Ringing => 1,
        CallStatus::Alerting => 2,
        CallStatus::EarlyMedia => 3,
        CallStatus::InProgress => 4,
        CallStatus::Completed => 5,
        CallStatus::Failed => 6,
        CallStatus::Busy => 7,
        CallStatus::NoAnswer => 8,
        CallStatus::Queued => 9,
    }
}

/// A direction in a key.
const fn direction_byte(direction: Direction) -> u8 {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

/// Everything of a call that its index keys are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexKeys {
    listed_at: Timestamp,
    status_key: StatusKey,
    direction: Direction,
    from: Box<str>,
    to: Box<str>,
    parent: Option<CallSid>,
    call_ids: CallIdHashes,
    live_since: Option<Timestamp>,
}

impl IndexKeys {
    /// The index keys of this version of a call.
    pub fn of(call: &Call) -> Self {
        Self {
            listed_at: call.listed_at,
            status_key: StatusKey::of(call),
            direction: call.direction.value,
            from: call.text(CallField::From).unwrap_or_default().into(),
            to: call.text(CallField::To).unwrap_or_default().into(),
            parent: call.parent(),
            call_ids: CallIdHashes::of(call),
            live_since: call.live().then(|| call.last_event_at()),
        }
    }

    /// The call's place in lists.
    pub fn position(&self, sid: CallSid) -> Position {
        Position::new(self.listed_at, sid)
    }

    /// The ranges that a list may scan, `c` apart.
    pub fn ranges(&self, account: AccountSid) -> impl Iterator<Item = Range> {
        let ranges = [
            Range::status(account, self.status_key, self.direction),
            Range::from(account, &self.from),
            Range::to(account, &self.to),
        ];
        let parent = self.parent.map(|parent| Range::parent(account, parent));
        let call_ids = self.call_ids.iter().map(move |hash| Range::call_id_hash(account, hash));
        ranges.into_iter().chain(parent).chain(call_ids)
    }

    /// Since when a live call has heard nothing; none where it has ended.
    pub fn live_since(&self) -> Option<Timestamp> {
        self.live_since
    }

    /// The keys in these ranges, and that of a live call.
    pub fn keys(&self, id: CallId) -> Vec<Vec<u8>> {
        let position = self.position(id.sid);
        let mut keys: Vec<_> = self.ranges(id.account).map(|range| range.key(position)).collect();
        keys.extend(self.live_since.map(|since| timed(LIVE, since, id)));
        keys
    }
}

/// A row of a range: a position in it.
pub type RangeRow = (Range, Position);

/// The rows, those of `c` among them, that the first of two versions of a call has and the second has
/// not, and the other way round. Of what is the same in both no key is made.
pub fn moved_rows(before: &Call, after: &Call) -> (Vec<RangeRow>, Vec<RangeRow>) {
    fn text(call: &Call, field: CallField) -> &str {
        call.text(field).unwrap_or_default()
    }

    let account = after.id.account;
    let (from, to) = (Position::of(before), Position::of(after));
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    let mut row = |differs: bool, range: &dyn Fn(&Call) -> Option<Range>| {
        if differs || from != to {
            gone.extend(range(before).map(|range| (range, from)));
            new.extend(range(after).map(|range| (range, to)));
        }
    };
    let status = |call: &Call| (StatusKey::of(call), call.direction.value);
    row(false, &|_| Some(Range::all(account)));
    row(status(before) != status(after), &|call| {
        Some(Range::status(account, StatusKey::of(call), call.direction.value))
    });
    row(text(before, CallField::From) != text(after, CallField::From), &|call| {
        Some(Range::from(account, text(call, CallField::From)))
    });
    row(text(before, CallField::To) != text(after, CallField::To), &|call| {
        Some(Range::to(account, text(call, CallField::To)))
    });
    row(before.parent() != after.parent(), &|call| {
        call.parent().map(|parent| Range::parent(account, parent))
    });
    let call_ids = (CallIdHashes::of(before), CallIdHashes::of(after));
    let rows = |into: &mut Vec<RangeRow>, of: CallIdHashes, other: CallIdHashes, position| {
        let differ = of.iter().filter(|hash| from != to || !other.have(*hash));
        into.extend(differ.map(|hash| (Range::call_id_hash(account, hash), position)));
    };
    rows(&mut gone, call_ids.0, call_ids.1, from);
    rows(&mut new, call_ids.1, call_ids.0, to);
    (gone, new)
}

/// Keys that differ in their position alone, up to a last one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    prefix: Vec<u8>,
    last: Position,
}

/// Bytes of a position in a key.
const POSITION_BYTES: usize = 24;
/// Bytes of an account in a key.
const SID_BYTES: usize = 16;

pub(crate) const CALL: u8 = b'c';
pub(crate) const CALL_ID: u8 = b'i';
pub(crate) const KNOWN: u8 = b'k';
pub(crate) const LIVE: u8 = b'l';
pub(crate) const DELETED: u8 = b'd';
pub(crate) const QUARTER: u8 = b'g';
pub(crate) const KINDS: u8 = b'e';
pub(crate) const PEAKS: u8 = b'h';
pub(crate) const UPS: u8 = b'u';
pub(crate) const HEADS: u8 = b'q';
pub(crate) const DAY: u8 = b't';
pub(crate) const PARTIES: u8 = b'w';
pub(crate) const ADMIN: u8 = b'a';
/// What the keys of entries begin with, in order.
pub(crate) const ENTRIES: &[u8] = b"cdefghiklopqstuw";
pub(crate) const BUILT: &[u8] = b"b";
pub(crate) const MARK: &[u8] = b"m";
pub(crate) const LAYOUT: &[u8] = b"v";
pub(crate) const LAYERS: &[u8] = b"y";
/// How often an index was written to after it was opened.
pub(crate) const OPENED: &[u8] = b"n";

impl Range {
    /// All calls of an account.
    pub fn all(account: AccountSid) -> Self {
        Self::whole(with_account(CALL, account))
    }

    fn whole(prefix: Vec<u8>) -> Self {
        Self { prefix, last: Position::MAX }
    }

    /// The rows of this range up to this position, inclusive.
    #[must_use]
    pub fn until(self, last: Position) -> Self {
        Self { last, ..self }
    }

    /// The calls of an account with this status and direction.
    pub fn status(account: AccountSid, status_key: StatusKey, direction: Direction) -> Self {
        let mut prefix = with_account(b's', account);
        prefix.extend_from_slice(&[status_key.byte(), direction_byte(direction)]);
        Self::whole(prefix)
    }

    /// The calls of an account from this number.
    pub fn from(account: AccountSid, number: &str) -> Self {
        Self::whole(with_number(b'f', account, number))
    }

    /// The calls of an account to this number.
    pub fn to(account: AccountSid, number: &str) -> Self {
        Self::whole(with_number(b'o', account, number))
    }

    /// The B legs of a call.
    pub fn parent(account: AccountSid, parent: CallSid) -> Self {
        let mut prefix = with_account(b'p', account);
        prefix.extend_from_slice(&parent.bytes());
        Self::whole(prefix)
    }

    /// Whether the rows of this range carry more than their positions.
    pub fn carries_texts(&self) -> bool {
        carries_texts(&self.prefix)
    }

    /// Whether it may also hold calls that it does not mean: each is to be asked.
    pub fn is_hint(&self) -> bool {
        self.prefix.first() == Some(&CALL_ID)
    }

    /// What all keys of this range begin with.
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// The account whose calls it has, where it has all of them.
    pub fn account_of_all(&self) -> Option<AccountSid> {
        self.carries_texts().then(|| account_in(&self.prefix)).flatten()
    }

    pub fn into_prefix(self) -> Vec<u8> {
        self.prefix
    }

    /// The key at this position.
    pub fn key(&self, position: Position) -> Vec<u8> {
        joined(&self.prefix, position)
    }

    /// The position in a key of this range; none where the key has another shape.
    pub fn position_in(&self, key: &[u8]) -> Option<Position> {
        split(key).filter(|(prefix, _)| *prefix == self.prefix).map(|(_, position)| position)
    }
}

/// The key under which the call itself stands.
pub(crate) fn call(account: AccountSid, position: Position) -> Vec<u8> {
    Range::all(account).key(position)
}

/// Whether the rows of a key's range carry more than their positions.
pub(crate) fn carries_texts(key: &[u8]) -> bool {
    key.first() == Some(&CALL)
}

/// The key of a range that begins so, at this position.
pub(crate) fn joined(prefix: &[u8], position: Position) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + POSITION_BYTES);
    key.extend_from_slice(prefix);
    key.extend_from_slice(&position.to_bytes());
    key
}

/// The prefix of a key of a range, and its position.
pub(crate) fn split(key: &[u8]) -> Option<(&[u8], Position)> {
    let (prefix, position) = key.split_last_chunk::<POSITION_BYTES>()?;
    Some((prefix, Position::from_bytes(*position)))
}

/// The key under which a call's sid is found.
pub(crate) fn known(id: CallId) -> Vec<u8> {
    let mut key = known_sid(id.sid);
    key.extend_from_slice(&id.account.bytes());
    key
}

/// What the keys begin with under which a sid is found, whosever calls have it.
pub(crate) fn known_sid(sid: CallSid) -> Vec<u8> {
    let mut key = Vec::with_capacity(33);
    key.push(KNOWN);
    key.extend_from_slice(&sid.bytes());
    key
}

/// The call in a key that [`known`] made.
pub(crate) fn id_in_known(key: &[u8]) -> Option<CallId> {
    let (sid, account) = key.get(1..)?.split_first_chunk::<16>()?;
    let account = AccountSid::from_bytes(account.try_into().ok()?);
    Some(CallId { account, sid: CallSid::from_bytes(*sid) })
}

/// The call in a key that ends with account and call.
pub(crate) fn id_at_end(key: &[u8]) -> Option<CallId> {
    let (_, sid) = key.split_last_chunk::<16>()?;
    let (_, account) = key.get(..key.len() - 16)?.split_last_chunk::<16>()?;
    Some(CallId { account: AccountSid::from_bytes(*account), sid: CallSid::from_bytes(*sid) })
}

/// The account in a key of a range.
pub(crate) fn account_in(key: &[u8]) -> Option<AccountSid> {
    let (account, _) = key.get(1..)?.split_first_chunk::<SID_BYTES>()?;
    Some(AccountSid::from_bytes(*account))
}

/// A key that is ordered by time, over all accounts.
pub(crate) fn timed(kind: u8, time: Timestamp, id: CallId) -> Vec<u8> {
    let mut key = Vec::with_capacity(41);
    key.push(kind);
    key.extend_from_slice(&time.millis().to_be_bytes());
    key.extend_from_slice(&id.account.bytes());
    key.extend_from_slice(&id.sid.bytes());
    key
}

/// The least key of that kind at this time or later.
pub(crate) fn timed_from(kind: u8, time: Timestamp) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&time.millis().to_be_bytes());
    key
}

/// The key of what is kept of a quarter of an hour of an account.
pub(crate) fn quarter(kind: u8, account: AccountSid, quarter: Quarter) -> Vec<u8> {
    let mut key = with_account(kind, account);
    key.extend_from_slice(&quarter.number().to_be_bytes());
    key
}

/// The quarter in a key that begins like those of [`quarter`].
pub(crate) fn leading_quarter_in(key: &[u8]) -> Option<Quarter> {
    let (number, _) = key.get(1 + SID_BYTES..)?.split_first_chunk::<4>()?;
    Some(Quarter::new(u32::from_be_bytes(*number)))
}

/// The quarter in a key that [`quarter`] made.
pub(crate) fn quarter_in(key: &[u8]) -> Option<Quarter> {
    let number = key.get(1 + SID_BYTES..)?.try_into().ok()?;
    Some(Quarter::new(u32::from_be_bytes(number)))
}

/// The key of what is kept of a day of an account.
pub(crate) fn day(kind: u8, account: AccountSid, day: Day) -> Vec<u8> {
    let mut key = with_account(kind, account);
    key.extend_from_slice(&day.number().to_be_bytes());
    key
}

/// The day in a key that [`day`] made.
pub(crate) fn day_in(key: &[u8]) -> Option<Day> {
    let number = key.get(1 + SID_BYTES..)?.try_into().ok()?;
    Some(Day::new(u32::from_be_bytes(number)))
}

/// The key of a part of the parties of the calls of a day.
pub(crate) fn parties(account: AccountSid, of: Day, part: u32) -> Vec<u8> {
    let mut key = day(PARTIES, account, of);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The key of a part of the heads of the calls of a quarter.
pub(crate) fn heads(account: AccountSid, of: Quarter, part: u32) -> Vec<u8> {
    let mut key = quarter(HEADS, account, of);
    key.extend_from_slice(&part.to_be_bytes());
    key
}

/// The quarter and the part in a key that [`heads`] made.
pub(crate) fn heads_in(key: &[u8]) -> Option<(Quarter, u32)> {
    let (quarter, part) = key.get(1 + SID_BYTES..)?.split_first_chunk::<4>()?;
    let part = u32::from_be_bytes(part.try_into().ok()?);
    Some((Quarter::new(u32::from_be_bytes(*quarter)), part))
}

/// The key of an admin row.
pub(crate) fn admin(name: &str) -> Vec<u8> {
    let mut key = vec![ADMIN];
    key.extend_from_slice(name.as_bytes());
    key
}

fn with_account(kind: u8, account: AccountSid) -> Vec<u8> {
    let mut key = Vec::with_capacity(80);
    key.push(kind);
    key.extend_from_slice(&account.bytes());
    key
}

fn with_number(kind: u8, account: AccountSid, number: &str) -> Vec<u8> {
    let mut key = with_account(kind, account);
    for byte in number.bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[0, 0]);
    key
}

/// The keys between which some rows lie.
pub type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A part of every range: between two positions, in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PositionSpan {
    /// Which end comes first.
    pub order: Order,
    /// The least position, inclusive or not.
    pub low: Bound<Position>,
    /// The greatest position, inclusive or not.
    pub high: Bound<Position>,
}

impl PositionSpan {
    /// All positions.
    pub fn all(order: Order) -> Self {
        Self { order, low: Included(Position::MIN), high: Included(Position::MAX) }
    }

    /// What is left after this position.
    #[must_use]
    pub fn after(&self, position: Position) -> Self {
        let rest = Excluded(position);
        match self.order {
            Order::NewestFirst => Self { low: rest, ..self.clone() },
            Order::OldestFirst => Self { high: rest, ..self.clone() },
        }
    }

    /// No position lies between the two.
    pub fn is_empty(&self) -> bool {
        match (self.low, self.high) {
            (Unbounded, _) | (_, Unbounded) => false,
            (Included(low), Included(high)) => low > high,
            (Excluded(low), Included(high) | Excluded(high)) | (Included(low), Excluded(high)) => {
                low >= high
            }
        }
    }

    /// The position lies before the least one of this span.
    pub fn is_below(&self, position: Position) -> bool {
        match self.low {
            Unbounded => false,
            Included(low) => position < low,
            Excluded(low) => position <= low,
        }
    }

    /// The position lies after the greatest one of this span.
    pub fn is_above(&self, position: Position) -> bool {
        match self.high {
            Unbounded => false,
            Included(high) => position > high,
            Excluded(high) => position >= high,
        }
    }

    /// The part of this span that a range has.
    #[must_use]
    pub fn within(&self, range: &Range) -> Self {
        let high = match self.high {
            Included(high) | Excluded(high) if high <= range.last => self.high,
            _ => Included(range.last),
        };
        Self { high, ..self.clone() }
    }

    /// The keys of a range between which its rows of this span lie; none where it has no such rows.
    pub fn keys(&self, range: &Range) -> Option<Bounds> {
        let within = self.within(range);
        if within.is_empty() {
            return None;
        }
        let key = |bound: Bound<Position>, end: Position| match bound {
            Unbounded => Included(range.key(end)),
            bound => bound.map(|position| range.key(position)),
        };
        Some((key(within.low, Position::MIN), key(within.high, Position::MAX)))
    }
}

/// Rows of a range, in order.
pub type RangeRows<'a, V, E> = Box<dyn Iterator<Item = Result<(Position, V), E>> + 'a>;

/// Rows that each come in order, together in that order.
pub fn merged<V, E>(
    sources: Vec<RangeRows<'_, V, E>>,
    order: Order,
) -> impl Iterator<Item = Result<(Position, V), E>> {
    let mut sources: Vec<_> = sources.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let mut first: Option<(usize, Option<Position>)> = None;
        for (n, source) in sources.iter_mut().enumerate() {
            let Some(row) = source.peek() else { continue };
            // An error comes out at once.
            let position = row.as_ref().ok().map(|(position, _)| *position);
            let sooner = match (&first, order) {
                (None, _) => true,
                (Some((_, best)), Order::NewestFirst) => position < *best,
                (Some((_, best)), Order::OldestFirst) => {
                    position.is_none() || best.is_some() && position > *best
                }
            };
            if sooner {
                first = Some((n, position));
            }
        }
        sources.get_mut(first?.0)?.next()
    })
}

/// The ranges of an account's live calls in one direction.
#[cfg(test)]
pub(crate) fn live_ranges(account: AccountSid, direction: Direction) -> Vec<Range> {
    let live = CallStatus::ALL.into_iter().filter(|s| s.rank() < crate::domain::Rank::Terminal);
    live.map(|status| Range::status(account, StatusKey::Status(status), direction)).collect()
}

#[cfg(test)]
mod tests;
