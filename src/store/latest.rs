//! What is newest of a call or of a setting, and what has left the journal for good.

use super::StoreError;
use super::shared::Shared;
use crate::domain::{CallId, Timestamp};
use crate::registry::CallState;

impl Shared {
    /// The sequence number of what is newest of a call, and when it was deleted if it was.
    pub(super) fn newest(
        &self,
        id: CallId,
    ) -> Result<Option<(u64, Option<Timestamp>)>, StoreError> {
        let _reading = self.readers.begin();
        if let Some(entry) = self.registry.read().get(id) {
            let deleted_at = match entry.state {
                CallState::Deleted(at) => Some(at),
                CallState::Call(_) => None,
            };
            return Ok(Some((entry.seq, deleted_at)));
        }
        let stored = self.index()?.stored(id).map_err(|error| self.index_failed(&error))?;
        Ok(stored.map(|stored| (stored.seq(), stored.deleted_at())))
    }

    /// The sequence number of what is newest of a setting.
    pub(super) fn newest_setting(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let _reading = self.readers.begin();
        if let Some(row) = self.registry.read().admin().find(|row| row.name == name) {
            return Ok(Some(row.seq));
        }
        self.index()?.admin_seq(name).map_err(|error| self.index_failed(&error))
    }

    /// Whether a deletion is no longer in the journal: then the index may let go of it.
    pub fn has_left_journal(&self, seq: u64, deleted_at: Timestamp) -> bool {
        let segments = self.segments.read();
        let next = segments.partition_point(|segment| segment.first_seq <= seq);
        let packed = next.checked_sub(1).and_then(|place| segments.get(place)?.packed.as_ref());
        let lifetime = self.options.max_lifetime_millis;
        packed.is_some_and(|packed| {
            seq <= packed.erased_until && deleted_at.plus_millis(lifetime) < packed.at
        })
    }
}
