//! What is to change of one call, and which rows that means.

use super::block::Row;
use super::draft::Change;
use super::rows::{Stored, Tally};
use crate::domain::{Call, CallId, Position, Timestamp};
use crate::keys::{self, Facets};

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
    pub old: Option<(Stored, Option<Facets>)>,
    /// What it is to know.
    pub new: Version<'a>,
}

impl Op<'_> {
    /// The rows that change; counted in `tally`.
    pub(super) fn changes(&self, tally: &mut Tally) -> Vec<Change> {
        let id = self.id;
        let mut old_keys = Vec::new();
        if let Some((stored, facets)) = &self.old {
            tally.remove(id, *stored);
            match (stored, facets) {
                (Stored::Tombstone { deleted_at, .. }, _) => {
                    old_keys.push(keys::timed(keys::DELETED, *deleted_at, id));
                }
                (Stored::Call { listed_at, .. }, facets) => {
                    old_keys.push(keys::call(id.account, Position::new(*listed_at, id.sid)));
                    old_keys.extend(facets.iter().flat_map(|facets| facets.keys(id)));
                }
            }
        }
        let (stored, new_keys) = match &self.new {
            Version::Call(seq, call) => {
                let mut rows =
                    vec![(keys::call(id.account, Position::of(call)), Some(Row::of(*seq, call)))];
                rows.extend(Facets::of(call).keys(id).into_iter().map(|key| (key, None)));
                (Some(Stored::Call { seq: *seq, listed_at: call.listed_at }), rows)
            }
            Version::Tombstone(seq, deleted_at) => {
                let row = (keys::timed(keys::DELETED, *deleted_at, id), None);
                (Some(Stored::Tombstone { seq: *seq, deleted_at: *deleted_at }), vec![row])
            }
            Version::Nothing => (None, Vec::new()),
        };
        let gone = old_keys.iter().filter(|key| !new_keys.iter().any(|(new, _)| new == *key));
        let mut changes: Vec<_> = gone
            .map(|key| {
                let key = key.clone();
                if keys::is_in_range(&key) { Change::Take(key) } else { Change::Value(key, None) }
            })
            .collect();
        // A key without texts that is there already needs no second write.
        let written =
            new_keys.into_iter().filter(|(key, row)| row.is_some() || !old_keys.contains(key));
        changes.extend(written.map(|(key, row)| {
            if keys::is_in_range(&key) {
                Change::Put(key, row)
            } else {
                Change::Value(key, Some(Vec::new()))
            }
        }));
        if let Some(stored) = stored {
            tally.add(id, stored);
        }
        changes.push(Change::Value(keys::known(id), stored.map(Stored::to_bytes)));
        changes
    }
}
