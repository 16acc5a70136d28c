//! What is to change of one call, and which rows that means.

use super::entries::Change;
use super::row::CallRow;
use super::rows::{IndexStats, Stored};
use crate::domain::{Call, CallId, Position, Timestamp};
use crate::keys::{self, IndexKeys};

/// What the index is to know of a call from now on.
pub enum Version<'a> {
    /// The call, as of this sequence number.
    Call(u64, &'a Call),
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
        let id = self.id;
        if let (Some((old, Some(keys_of_old))), Version::Call(seq, call)) = (&self.old, &self.new)
            && *keys_of_old == IndexKeys::of(call)
        {
            // Nothing moves: the record alone is another.
            let stored = Stored::Call { seq: *seq, listed_at: call.listed_at };
            stats.remove(id, *old);
            stats.add(id, stored);
            let key = keys::call(id.account, Position::of(call));
            return vec![
                (key, Some(CallRow::value(*seq, call))),
                (keys::known(id), Some(stored.to_bytes())),
            ];
        }
        let mut old_keys = Vec::new();
        if let Some((stored, index_keys)) = &self.old {
            stats.remove(id, *stored);
            match (stored, index_keys) {
                (Stored::Tombstone { deleted_at, .. }, _) => {
                    old_keys.push(keys::timed(keys::DELETED, *deleted_at, id));
                }
                (Stored::Call { listed_at, .. }, index_keys) => {
                    old_keys.push(keys::call(id.account, Position::new(*listed_at, id.sid)));
                    old_keys.extend(index_keys.iter().flat_map(|index_keys| index_keys.keys(id)));
                }
            }
        }
        let (stored, new_keys) = match &self.new {
            Version::Call(seq, call) => {
                let mut rows = vec![(
                    keys::call(id.account, Position::of(call)),
                    Some(CallRow::value(*seq, call)),
                )];
                rows.extend(IndexKeys::of(call).keys(id).into_iter().map(|key| (key, None)));
                (Some(Stored::Call { seq: *seq, listed_at: call.listed_at }), rows)
            }
            Version::Tombstone(seq, deleted_at) => {
                let row = (keys::timed(keys::DELETED, *deleted_at, id), None);
                (Some(Stored::Tombstone { seq: *seq, deleted_at: *deleted_at }), vec![row])
            }
            Version::Nothing => (None, Vec::new()),
        };
        let gone = old_keys.iter().filter(|key| !new_keys.iter().any(|(new, _)| new == *key));
        let mut changes: Vec<Change> = gone.map(|key| (key.clone(), None)).collect();
        // A key without texts that is there already needs no second write.
        let written =
            new_keys.into_iter().filter(|(key, row)| row.is_some() || !old_keys.contains(key));
        changes.extend(written.map(|(key, row)| (key, Some(row.unwrap_or_default()))));
        if let Some(stored) = stored {
            stats.add(id, stored);
        }
        changes.push((keys::known(id), stored.map(Stored::to_bytes)));
        changes
    }
}
