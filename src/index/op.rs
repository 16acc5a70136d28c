//! What is to change of one call, and which rows that means.

use super::entries::Change;
use super::row::CallRow;
use super::rows::{IndexStats, Stored};
use crate::domain::{Call, CallId, Position, Timestamp};
use crate::keys::{self, IndexKeys, Range};

/// What the index is to know of a call from now on.
pub enum Version<'a> {
    /// The call, as of this sequence number.
    Call(u64, &'a Call),
    /// The call of this row of another generation.
    Copy(&'a CallRow, &'a Call),
    /// It was deleted.
    Tombstone(u64, Timestamp),
    /// Nothing: its tombstone has expired.
    Nothing,
}

/// One change of the index.
pub struct Op<'a> {
    /// The call.
    pub id: CallId,
    /// What the index knows of it so far.
    pub old: Option<(Stored, Option<IndexKeys>)>,
    /// What it is to know.
    pub new: Version<'a>,
}

impl Op<'_> {
    /// The rows that change; counted in `stats`.
    pub(super) fn changes(&self, stats: &mut IndexStats) -> Vec<Change> {
        let (id, mut changes) = (self.id, Vec::with_capacity(8));
        let mut put = |key: &[u8], value: &[u8]| changes.push((key.to_vec(), Some(value.to_vec())));
        let (stays, old_keys) = match (&self.old, &self.new) {
            (None, _) => (false, Vec::new()),
            (Some((_, Some(old))), Version::Call(_, call)) if *old == IndexKeys::of(call) => {
                (true, Vec::new())
            }
            (Some((Stored::Tombstone { deleted_at, .. }, _)), _) => {
                (false, vec![keys::timed(keys::DELETED, *deleted_at, id)])
            }
            (Some((Stored::Call { listed_at, .. }, index_keys)), _) => {
                let mut old = vec![keys::call(id.account, Position::new(*listed_at, id.sid))];
                old.extend(index_keys.iter().flat_map(|index_keys| index_keys.keys(id)));
                (false, old)
            }
        };
        if let Some((stored, _)) = self.old {
            stats.remove(id, stored);
        }
        self.new_rows(stats, stays, &mut put);
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for key in old_keys {
            let again = changes.iter().find(|(new, _)| *new == key);
            match again {
                None => gone.push((key, None)),
                // A key without texts that is there already needs no second write.
                Some(_) if !keys::carries_texts(&key) => kept.push(key),
                Some(_) => {}
            }
        }
        changes.retain(|(key, _)| !kept.contains(key));
        changes.extend(gone);
        if matches!(self.new, Version::Nothing) {
            changes.push((keys::known(id), None));
        }
        changes
    }

    /// The rows of the new version; counted in `stats`. Where the call stays in its ranges those that
    /// say more than that.
    pub(super) fn new_rows(
        &self,
        stats: &mut IndexStats,
        stays: bool,
        put: &mut impl FnMut(&[u8], &[u8]),
    ) {
        let id = self.id;
        let (seq, call, row) = match &self.new {
            Version::Call(seq, call) => (*seq, call, None),
            Version::Copy(row, call) => (row.seq(), call, Some(row)),
            Version::Tombstone(seq, deleted_at) => {
                let stored = Stored::Tombstone { seq: *seq, deleted_at: *deleted_at };
                stats.add(id, stored);
                put(&keys::timed(keys::DELETED, *deleted_at, id), &[]);
                put(&keys::known(id), &stored.to_bytes());
                return;
            }
            Version::Nothing => return,
        };
        let (position, index_keys) = (Position::of(call), IndexKeys::of(call));
        let ranges: Vec<Range> = index_keys.ranges(id.account).collect();
        let key = keys::call(id.account, position);
        match row {
            Some(row) => put(&key, row.bytes()),
            None => put(&key, &CallRow::value(seq, call, &ranges)),
        }
        if !stays {
            for range in ranges {
                put(&range.key(position), &[]);
            }
            if let Some(since) = index_keys.live_since() {
                put(&keys::timed(keys::LIVE, since, id), &[]);
            }
        }
        let stored = Stored::Call { seq, listed_at: call.listed_at };
        stats.add(id, stored);
        put(&keys::known(id), &stored.to_bytes());
    }
}
