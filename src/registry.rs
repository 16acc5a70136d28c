//! The registry: calls in memory that the index does not have yet, or not in this version.
//!
//! It answers the same ranges as the index, from keys of the same shape, so that one merge serves
//! both. Only the committer writes it; a call leaves it only after the checkpoint that holds it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;

use crate::domain::{AccountSid, Call, CallId, CallSid, Order, Position, Quarter, Timestamp};
use crate::index::{AdminRow, IndexStats, Stored};
use crate::keys::{IndexKeys, PositionSpan, Range, RangeRow, may_be_derived, merged, moved_rows};

/// What is known of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallState {
    Call(Arc<Call>),
    /// It was deleted at this time.
    Deleted(Timestamp),
}

/// What the index has of a call, so that its keys there can go.
pub type Indexed = (Stored, Option<IndexKeys>);

/// A call in the registry.
#[derive(Debug, Clone)]
pub struct RegistryEntry {
    /// What is known.
    pub state: CallState,
    /// The sequence number of the newest change.
    pub seq: u64,
    /// When the call entered the registry, by this machine's clock.
    pub entered_at: Timestamp,
    /// What the index has, if anything.
    pub indexed: Option<Indexed>,
    /// When the call is listed, or was; none where that was never known.
    listed_at: Option<Timestamp>,
}

impl RegistryEntry {
    /// Whether the index has this very version.
    pub fn covered(&self) -> bool {
        self.indexed.as_ref().is_some_and(|(stored, _)| stored.seq() == self.seq)
    }

    /// The quarter of an hour in which the call is listed, and the one in which the index has it.
    fn quarters(&self) -> impl Iterator<Item = Quarter> + use<> {
        let ours = self.listed_at.map(Quarter::of);
        let theirs = self.indexed.as_ref().and_then(|(stored, _)| stored.listed_at());
        let theirs = theirs.map(Quarter::of).filter(|theirs| Some(*theirs) != ours);
        ours.into_iter().chain(theirs)
    }

    /// What an index would have of it.
    fn stored(&self) -> Stored {
        match &self.state {
            CallState::Call(call) => Stored::Call { seq: self.seq, listed_at: call.listed_at },
            CallState::Deleted(deleted_at) => {
                Stored::Tombstone { seq: self.seq, deleted_at: *deleted_at }
            }
        }
    }

    /// The call, unless it was deleted.
    pub fn call(&self) -> Option<&Arc<Call>> {
        match &self.state {
            CallState::Call(call) => Some(call),
            CallState::Deleted(_) => None,
        }
    }
}

/// What was heard of a call while its record could not be looked up, since there was no index. It is
/// no version of the call: it is joined with the record once there is one again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialCall {
    /// All that was heard, joined.
    pub call: Arc<Call>,
    /// The sequence number of the first frame that holds some of it; the newest holds all.
    pub first_seq: u64,
    /// That of the newest.
    pub seq: u64,
    /// When the first of it was received.
    pub at: Timestamp,
}

/// How many calls and deletions the store knows, in memory and in the index together. Architecture
/// invariant: only a change that is published moves these numbers, and a deletion that the index lets
/// go of. What is copied into the index meanwhile moves none, so that a checkpoint is not seen here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub calls: u64,
    /// Deletions that are remembered.
    pub tombstones: u64,
}

impl Counts {
    fn add(&mut self, kind: Stored) {
        let count = self.of(kind);
        *count = count.saturating_add(1);
    }

    fn remove(&mut self, kind: Stored) {
        let count = self.of(kind);
        *count = count.saturating_sub(1);
    }

    fn of(&mut self, kind: Stored) -> &mut u64 {
        match kind {
            Stored::Call { .. } => &mut self.calls,
            Stored::Tombstone { .. } => &mut self.tombstones,
        }
    }
}

/// All calls in memory.
#[derive(Debug, Default)]
pub struct Registry {
    entries: HashMap<CallId, RegistryEntry>,
    /// The rows of each range that has any, by what its keys begin with.
    ranges: HashMap<Vec<u8>, BTreeSet<Position>>,
    /// Whose calls are among them.
    accounts: BTreeSet<AccountSid>,
    /// The quarters of an hour in which they are listed, and how many there are of each.
    quarters: BTreeMap<(AccountSid, Quarter), usize>,
    /// Which accounts know a call of which sid.
    sids: BTreeSet<(CallSid, AccountSid)>,
    /// Of calls of which there may be more in the index than is known here.
    parts: HashMap<CallId, PartialCall>,
    /// The same by the sequence numbers of their first frames.
    parts_in_order: BTreeMap<u64, CallId>,
    /// CDRs that wait for their call, under the sids that stand for their Call-IDs. Of none of these sids is
    /// there a call, or a deletion that stands.
    waiting: HashMap<CallId, PartialCall>,
    /// The same by the sequence numbers of their first frames.
    waiting_in_order: BTreeMap<u64, CallId>,
    /// Admin rows that the index does not have yet, by name.
    admin: BTreeMap<String, AdminRow>,
    last_seq: u64,
    /// The message of a log that brought what comes now, or the last of before; none where no log is followed.
    message: Option<u64>,
    /// Of each account that has changed since the start: the last change, or its message.
    changed: HashMap<AccountSid, u64>,
    /// The last change of any of them.
    last_changed: Option<u64>,
    /// The newest position that a call of each account ever had here. It stays when calls leave.
    newest: HashMap<AccountSid, Position>,
    /// The last sequence number of before the start, or the last message.
    opened_at: u64,
    /// What is known, parts apart; none before there is an index that counts.
    counts: Option<Counts>,
}

impl Registry {
    /// How many calls and tombstones it holds, parts of calls among them.
    pub fn len(&self) -> usize {
        self.entries.len() + self.parts.len() + self.waiting.len()
    }

    /// It holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls and tombstones it holds whole.
    pub fn records(&self) -> usize {
        self.entries.len()
    }

    /// Parts of calls.
    pub fn parts(&self) -> usize {
        self.parts.len()
    }

    /// CDRs that wait for their call.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the call, or a part of it, is in memory.
    pub fn holds(&self, id: CallId) -> bool {
        self.entries.contains_key(&id)
            || self.parts.contains_key(&id)
            || self.waiting.contains_key(&id)
    }

    /// What was heard of a call of which nothing else can be known at present.
    pub fn part(&self, id: CallId) -> Option<&PartialCall> {
        self.parts.get(&id).or_else(|| self.waiting.get(&id))
    }

    /// The same, CDRs that wait apart.
    pub fn placeable_part(&self, id: CallId) -> Option<&PartialCall> {
        self.parts.get(&id)
    }

    /// CDRs that wait for the call of this sid.
    pub fn waiting_for(&self, id: CallId) -> Option<&PartialCall> {
        self.waiting.get(&id)
    }

    /// All of them, those first that came first.
    pub fn all_waiting(&self) -> impl Iterator<Item = (CallId, &PartialCall)> {
        let ids = self.waiting_in_order.values();
        ids.filter_map(|id| Some((*id, self.waiting.get(id)?)))
    }

    /// The parts that were begun first, at most so many. Those under sids that stand for Call-IDs come
    /// after all others, which they may belong to.
    pub fn first_parts(&self, most: usize) -> Vec<(CallId, PartialCall)> {
        let parts = |derived: bool| -> Vec<_> {
            let ids = self.parts_in_order.values();
            let ids = ids.filter(|id| may_be_derived(id.sid) == derived).take(most);
            ids.filter_map(|id| Some((*id, self.parts.get(id)?.clone()))).collect()
        };
        Some(parts(false)).filter(|parts| !parts.is_empty()).unwrap_or_else(|| parts(true))
    }

    /// The sequence number of the first frame that belongs to a part.
    pub fn first_part_seq(&self) -> Option<u64> {
        self.parts_in_order.first_key_value().map(|(seq, _)| *seq)
    }

    /// That of the first frame that belongs to a part or to a CDR that waits.
    pub fn first_unplaced_seq(&self) -> Option<u64> {
        let waiting = self.waiting_in_order.first_key_value().map(|(seq, _)| *seq);
        self.first_part_seq().into_iter().chain(waiting).min()
    }

    /// A CDR that waits, joined with those that did already.
    pub fn put_waiting(&mut self, id: CallId, call: Arc<Call>, seq: u64, at: Timestamp) {
        let first = PartialCall { call: call.clone(), first_seq: seq, seq, at };
        let part = self.waiting.entry(id).or_insert(first);
        (part.call, part.seq) = (call, seq);
        self.waiting_in_order.insert(part.first_seq, id);
        self.published(seq);
    }

    /// There is no call of this part: from now on it waits for one.
    pub fn wait(&mut self, id: CallId) {
        if let Some(part) = self.parts.remove(&id) {
            self.parts_in_order.remove(&part.first_seq);
            self.waiting_in_order.insert(part.first_seq, id);
            self.waiting.insert(id, part);
        }
    }

    /// More of a part, joined with what there was of it.
    pub fn put_part(&mut self, id: CallId, call: Arc<Call>, seq: u64, at: Timestamp) {
        if let Some(part) = self.waiting.remove(&id) {
            self.waiting_in_order.remove(&part.first_seq);
            self.parts_in_order.insert(part.first_seq, id);
            self.parts.insert(id, part);
        }
        let part = self.parts.entry(id).or_insert(PartialCall {
            call: call.clone(),
            first_seq: seq,
            seq,
            at,
        });
        (part.call, part.seq) = (call, seq);
        self.parts_in_order.insert(part.first_seq, id);
        self.note_change(id.account, seq);
        self.published(seq);
    }

    /// How many calls and deletions are known; none where that cannot be said: before there was an
    /// index, and while there are parts, which may be of calls that are counted or not.
    pub fn counts(&self) -> Option<Counts> {
        self.counts.filter(|_| self.parts.is_empty())
    }

    /// The index counts so many, and has of each entry what the entry says.
    pub fn count_from(&mut self, stats: IndexStats) {
        let mut counts = Counts { calls: stats.calls, tombstones: stats.tombstones };
        for entry in self.entries.values() {
            if let Some((stored, _)) = &entry.indexed {
                counts.remove(*stored);
            }
            counts.add(entry.stored());
        }
        self.counts = Some(counts);
    }

    /// The index has let go of a deletion.
    pub fn forget(&mut self, id: CallId) {
        let follows = self
            .entries
            .get(&id)
            .is_some_and(|entry| matches!(entry.indexed, Some((Stored::Tombstone { .. }, _))));
        // What came in its place was counted instead of it, unless it was gone by then.
        if let Some(counts) = self.counts.as_mut().filter(|_| !follows) {
            counts.tombstones = counts.tombstones.saturating_sub(1);
        }
    }

    /// The sequence number of the last change that was published.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Everything up to this sequence number has been published.
    pub fn published(&mut self, seq: u64) {
        self.last_seq = self.last_seq.max(seq);
    }

    /// Everything of before this start has been published, or before this log.
    pub fn opened(&mut self) {
        self.opened_at = self.message.unwrap_or(self.last_seq);
        self.changed.clear();
        self.last_changed = None;
    }

    /// What comes now is of this message: changes of accounts are told by its number, which is the same on every node.
    pub fn note_message(&mut self, message: u64) {
        self.message = Some(message);
    }

    fn note_change(&mut self, account: AccountSid, seq: u64) {
        let seq = self.message.unwrap_or(seq);
        self.changed.insert(account, seq);
        self.last_changed = Some(seq);
    }

    /// That of the last change of any account's calls, in the same way.
    pub fn last_change_of_all(&self) -> u64 {
        self.last_changed.unwrap_or(self.opened_at)
    }

    /// Accounts whose calls have been in memory at any time, and where the newest of each stood: all calls
    /// that came since the start are no newer than that.
    pub fn newest(&self) -> &HashMap<AccountSid, Position> {
        &self.newest
    }

    /// The sequence number of an account's last change, or its message; of one that has not changed since the
    /// start, the last one of before it. Two equal numbers are two equal accounts.
    pub fn last_change(&self, account: AccountSid) -> u64 {
        self.changed.get(&account).copied().unwrap_or(self.opened_at)
    }

    /// The call, if it is in memory.
    pub fn get(&self, id: CallId) -> Option<&RegistryEntry> {
        self.entries.get(&id)
    }

    /// The calls of this sid, whosever they are, and deletions of such.
    pub fn with_sid(&self, sid: CallSid) -> impl Iterator<Item = (AccountSid, &RegistryEntry)> {
        let least = (sid, AccountSid::from_bytes([0; 16]));
        let alike = self.sids.range(least..).take_while(move |(other, _)| *other == sid);
        alike.filter_map(|&(sid, account)| Some((account, self.get(CallId { account, sid })?)))
    }

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = (CallId, &RegistryEntry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// There is a record that holds it.
    pub fn drop_part(&mut self, id: CallId) {
        if let Some(part) = self.parts.remove(&id) {
            self.parts_in_order.remove(&part.first_seq);
        }
        if let Some(part) = self.waiting.remove(&id) {
            self.waiting_in_order.remove(&part.first_seq);
        }
    }

    /// The newest version of a call, which holds what was heard of it in parts. `indexed` is what the index has, for a call that was not in
    /// memory before; of one that was, it is known already.
    pub fn put(
        &mut self,
        id: CallId,
        state: CallState,
        seq: u64,
        now: Timestamp,
        indexed: Option<Indexed>,
    ) {
        self.drop_part(id);
        let (entered_at, indexed, was, before) = match self.entries.remove(&id) {
            Some(old) => {
                self.leave_quarters(id.account, &old);
                let stored = old.stored();
                (old.entered_at, old.indexed, old.listed_at, Some((stored, old.state)))
            }
            None => (now, indexed, None, None),
        };
        let counted = match &before {
            Some((stored, _)) => Some(*stored),
            None => indexed.as_ref().map(|(stored, _)| *stored),
        };
        self.replace_rows(before.as_ref().map(|(_, state)| state), Some(&state));
        if let CallState::Call(call) = &state {
            let position = Position::of(call);
            let newest = self.newest.entry(id.account).or_insert(position);
            *newest = position.min(*newest);
        }
        let listed_at = match &state {
            CallState::Call(call) => Some(call.listed_at),
            CallState::Deleted(_) => was,
        };
        let entry = RegistryEntry { state, seq, entered_at, indexed, listed_at };
        self.enter_quarters(id.account, &entry);
        if let Some(counts) = &mut self.counts {
            if let Some(stored) = counted {
                counts.remove(stored);
            }
            counts.add(entry.stored());
        }
        self.entries.insert(id, entry);
        self.sids.insert((id.sid, id.account));
        self.note_change(id.account, seq);
        self.published(seq);
    }

    /// An admin row that the index does not have yet.
    pub fn put_admin(&mut self, row: AdminRow) {
        self.published(row.seq);
        self.admin.insert(row.name.clone(), row);
    }

    /// Admin rows that the index does not have yet.
    pub fn admin(&self) -> impl Iterator<Item = &AdminRow> {
        self.admin.values()
    }

    /// The index has these versions now. A call that has not changed since leaves.
    pub fn settle(&mut self, id: CallId, indexed: Option<Indexed>) {
        let seq = indexed.as_ref().map(|(stored, _)| stored.seq());
        let Some(entry) = self.entries.get(&id) else { return };
        if seq == Some(entry.seq) {
            self.take(id);
        } else {
            self.note_indexed(id, indexed);
        }
    }

    /// A new index has this of a call. The call stays: who reads in the old one is to find it.
    pub fn note_indexed(&mut self, id: CallId, indexed: Option<Indexed>) {
        if let Some(mut entry) = self.entries.remove(&id) {
            self.leave_quarters(id.account, &entry);
            entry.indexed = indexed;
            self.enter_quarters(id.account, &entry);
            self.entries.insert(id, entry);
        }
    }

    fn enter_quarters(&mut self, account: AccountSid, entry: &RegistryEntry) {
        for quarter in entry.quarters() {
            *self.quarters.entry((account, quarter)).or_default() += 1;
        }
    }

    fn leave_quarters(&mut self, account: AccountSid, entry: &RegistryEntry) {
        for quarter in entry.quarters() {
            if let Entry::Occupied(mut count) = self.quarters.entry((account, quarter)) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    /// The quarters of an hour, from one to another, of which calls of an account are in memory.
    pub fn quarters(
        &self,
        account: AccountSid,
        first: Quarter,
        last: Quarter,
    ) -> impl Iterator<Item = Quarter> {
        let some = Some((account, first)..=(account, last)).filter(|_| first <= last);
        let found = some.into_iter().flat_map(|some| self.quarters.range(some));
        found.map(|((_, quarter), _)| *quarter)
    }

    /// The index has this admin row now.
    pub fn settle_admin(&mut self, row: &AdminRow) {
        if self.admin.get(&row.name).is_some_and(|have| have.seq == row.seq) {
            self.admin.remove(&row.name);
        }
    }

    fn take(&mut self, id: CallId) {
        let Some(entry) = self.entries.remove(&id) else { return };
        self.leave_quarters(id.account, &entry);
        self.sids.remove(&(id.sid, id.account));
        self.replace_rows(Some(&entry.state), None);
    }

    /// From one version of a call to the next most rows stay.
    fn replace_rows(&mut self, before: Option<&CallState>, after: Option<&CallState>) {
        let (gone, new) = match (before, after) {
            (Some(CallState::Call(before)), Some(CallState::Call(after))) => {
                moved_rows(before, after)
            }
            (Some(CallState::Call(before)), _) => (rows_of(before), Vec::new()),
            (_, Some(CallState::Call(after))) => (Vec::new(), rows_of(after)),
            _ => return,
        };
        for (range, position) in gone {
            let Some(rows) = self.ranges.get_mut(range.prefix()) else { continue };
            rows.remove(&position);
            if rows.is_empty() {
                self.ranges.remove(range.prefix());
                if let Some(account) = range.account_of_all() {
                    self.accounts.remove(&account);
                }
            }
        }
        for (range, position) in new {
            if let Some(account) = range.account_of_all() {
                self.accounts.insert(account);
            }
            self.ranges.entry(range.into_prefix()).or_default().insert(position);
        }
    }

    /// The first `count` calls of some ranges together, in the span's order.
    pub fn positions(
        &self,
        account: AccountSid,
        ranges: &[Range],
        span: &PositionSpan,
        count: usize,
    ) -> Vec<(Position, Arc<Call>)> {
        let rows = ranges.iter().filter_map(|range| {
            let within = Some(span.within(range)).filter(|within| !within.is_empty())?;
            let rows = self.ranges.get(range.prefix())?.range((within.low, within.high));
            let row = |position: &Position| Ok::<_, Infallible>((*position, ()));
            Some(match span.order {
                Order::NewestFirst => {
                    Box::new(rows.map(row)) as Box<dyn Iterator<Item = Result<_, _>>>
                }
                Order::OldestFirst => Box::new(rows.rev().map(row)),
            })
        });
        merged(rows.collect(), span.order)
            .filter_map(|row| {
                let Ok((position, ())) = row;
                let id = CallId { account, sid: position.sid };
                Some((position, self.entries.get(&id)?.call()?.clone()))
            })
            .take(count)
            .collect()
    }

    /// The first account after this one that has a call.
    pub fn next_account(&self, after: Option<AccountSid>) -> Option<AccountSid> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.accounts.range((from, Unbounded)).next().copied()
    }
}

/// The rows of a call in all ranges that a list may scan.
fn rows_of(call: &Call) -> Vec<RangeRow> {
    let position = Position::of(call);
    let (own, index_keys) = (Range::all(call.id.account), IndexKeys::of(call));
    let ranges = std::iter::once(own).chain(index_keys.ranges(call.id.account));
    ranges.map(|range| (range, position)).collect()
}

#[cfg(test)]
mod tests;
