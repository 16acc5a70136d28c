//! What became of changes.

/// Of one submission, or of all since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// Calls that were not known before.
    pub new: u64,
    /// Changes of known calls, deletions and settings among them; and what was heard of calls while it
    /// was not known whether they are new.
    pub changed: u64,
    /// Said nothing new.
    pub unchanged: u64,
    /// For calls that were deleted, or deletions of unknown ones.
    pub ignored: u64,
    /// Events with a status that this version does not know: the rest of them was merged.
    pub unknown_statuses: u64,
    /// Unknown keys that did not fit into their record.
    pub dropped_keys: u64,
}

impl Outcome {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.unchanged += other.unchanged;
        self.ignored += other.ignored;
        self.unknown_statuses += other.unknown_statuses;
        self.dropped_keys += other.dropped_keys;
    }
}
