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
    /// What became of CDRs.
    #[serde(default)]
    pub cdrs: CdrOutcome,
}

/// What became of CDRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct CdrOutcome {
    /// They named their call.
    pub by_sid: u64,
    /// Their call was found by its Call-ID.
    pub by_call_id: u64,
    /// They wait for their call.
    pub waiting: u64,
    /// They are a call of their own, and changed it.
    pub alone: u64,
    /// Calls of CDRs alone, or CDRs that waited, that became part of another call.
    pub merged: u64,
    /// Calls of CDRs alone that were made, since no other source had said anything of them.
    pub made: u64,
}

impl CdrOutcome {
    fn add(&mut self, other: Self) {
        self.by_sid += other.by_sid;
        self.by_call_id += other.by_call_id;
        self.waiting += other.waiting;
        self.alone += other.alone;
        self.merged += other.merged;
        self.made += other.made;
    }
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
        self.cdrs.add(other.cdrs);
    }
}
