//! For how long a deletion stands, and when it need not be remembered any longer.
//!
//! A deletion stands for as long as a call may live: what is heard of its call until then is ignored. After that
//! it says nothing, whether it is still there or has left index and journal. Architecture invariants, which make
//! nodes that apply the same log the same:
//!
//! * Whether a deletion stands depends on when it was made, on when what is asked about was received, and on
//!   settings that are in the log; not on the configuration, on this machine's clock or on what was compacted.
//! * What was forgotten stands for nothing that may still be applied. A message may be late, or its node's
//!   clock wrong, but its time counts only within a day of that of the log ([`received_at`]). So in a node a
//!   deletion is forgotten a day after its time, by the time of the log.
//! * The log's time is that of its leader's clock, but no more than a day after what its nodes' clocks say
//!   ([`logged_time`]): one nats-server whose clock is years ahead for a moment would else be its time for years.
//! * Where the lifetime grows, no deletion comes back that one node has forgotten and another has not
//!   (`forgotten_before`).

use std::sync::atomic::Ordering;

use super::change::Change;
use super::open::Store;
use super::state::{Shared, View};
use crate::access::{CLUSTER, ClusterSettings, Replaces, SettingRow};
use crate::domain::Timestamp;

/// How far the time at which a node has taken something may lie from that of the log. Part of what decides what
/// a message does: every node has the same.
pub(super) const LATE_MAX_MILLIS: u64 = 24 * 3_600_000;

/// How long a call lives in a node before the log says so: as long as it may be configured to. What counts is not
/// what this node is configured to, which another one may not be, and no deletion is forgotten that a row may need.
const UNSAID_MILLIS: u64 = 365 * 24 * 3_600_000;

/// What decides whether a deletion stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tombstones {
    lifetime_millis: u64,
    /// Deletions of before this time stand no longer.
    forgotten_before: Timestamp,
    /// A row says so, and not the configuration.
    is_set: bool,
    /// The time of the newest message of the log; none where the store is no node.
    logged_at: Option<Timestamp>,
}

impl Tombstones {
    /// How long a call lives without an event.
    pub fn lifetime_millis(&self) -> u64 {
        self.lifetime_millis
    }

    /// Whether a deletion of this time counts for what was received at `at`.
    pub fn stands(&self, deleted_at: Timestamp, at: Timestamp) -> bool {
        deleted_at >= self.forgotten_before && deleted_at.plus_millis(self.lifetime_millis) >= at
    }

    /// Deletions of before this time need not be remembered any longer. `now` is the time of this machine's
    /// clock. What has left the journal by this counts as gone, though the lifetime has grown since.
    pub fn needed_since(&self, now: Timestamp) -> Timestamp {
        let late = if self.logged_at.is_some() { LATE_MAX_MILLIS } else { 0 };
        let since = self.seen_at(now).minus_millis(late).minus_millis(self.lifetime_millis);
        since.max(self.forgotten_before)
    }

    /// The time of this machine's clock, but none that the log has not reached.
    pub fn seen_at(&self, now: Timestamp) -> Timestamp {
        self.logged_at.map_or(now, |logged_at| logged_at.min(now))
    }

    /// With a row of the settings of the cluster; any other row changes nothing.
    #[must_use]
    pub fn with(self, row: &SettingRow) -> Self {
        match ClusterSettings::in_row(row) {
            Some(settings) => self.of(settings),
            None => self,
        }
    }

    fn of(self, settings: ClusterSettings) -> Self {
        let before = Timestamp::from_millis(settings.forgotten_before);
        Self {
            lifetime_millis: settings.max_lifetime_millis,
            forgotten_before: before.unwrap_or(Timestamp::MAX),
            is_set: true,
            ..self
        }
    }

    /// The row of the settings of a cluster, received at `at`, as it is to be stored: deletions that do not
    /// stand now never will again. None where it changes nothing, or is no such row.
    pub fn row_to_store(&self, row: &SettingRow, at: Timestamp) -> Option<SettingRow> {
        let settings = ClusterSettings::in_row(row)?;
        if self.is_set && settings.max_lifetime_millis == self.lifetime_millis {
            return None;
        }
        let old = at.minus_millis(self.lifetime_millis);
        let forgotten_before = self.forgotten_before.max(old).millis();
        Some(ClusterSettings { forgotten_before, ..settings }.row())
    }
}

impl View {
    /// What decides now whether a deletion stands.
    pub(super) fn tombstones(&self) -> Tombstones {
        let logged_at = self.logged_at();
        let own = Tombstones {
            lifetime_millis: logged_at.map_or(self.lifetime_millis, |_| UNSAID_MILLIS),
            forgotten_before: Timestamp::default(),
            is_set: false,
            logged_at,
        };
        let settings = self.access.read().cluster();
        settings.map_or(own, |settings| own.of(settings))
    }

    /// The time of the newest message of the log that was applied; none where the store is no node.
    pub(super) fn logged_at(&self) -> Option<Timestamp> {
        let millis = self.logged_at.load(Ordering::Acquire);
        Timestamp::from_millis(millis).filter(|_| millis > 0)
    }

    /// The store is a node, and has met a message of this time. Architecture invariant: the time of the log
    /// never goes back, though it is that of one server after another.
    pub(super) fn note_logged(&self, at: Timestamp) -> Timestamp {
        let before = self.logged_at.fetch_max(at.millis().max(1), Ordering::AcqRel);
        Timestamp::from_millis(before).map_or(at, |before| before.max(at))
    }
}

impl Store {
    /// What all nodes are to be told where the log has another lifetime of calls than this node's configuration;
    /// none where both are the same.
    pub fn cluster_row_to_propose(&self) -> Option<Change> {
        let seen = self.access(|access| access.digest(CLUSTER));
        let (now, own) = (self.tombstones(), self.lifetime_millis);
        let differs = !now.is_set || now.lifetime_millis != own;
        let settings = ClusterSettings { max_lifetime_millis: own, forgotten_before: 0 };
        differs.then(|| Change::Admin(settings.row(), Replaces::seen(seen)))
    }
}

impl Shared {
    /// It applies the messages of a log, and nothing else.
    pub(super) fn is_node(&self) -> bool {
        self.view.logged_at().is_some()
    }
}

/// The time of a message of the log, whose newest submission was taken at `sent`: that of the log's leader, but no more
/// than a day after that. A message without submissions says nothing of the time.
pub(super) fn logged_time(logged_at: Timestamp, sent: Option<Timestamp>) -> Timestamp {
    sent.map_or(Timestamp::default(), |sent| logged_at.min(sent.plus_millis(LATE_MAX_MILLIS)))
}

/// When a message's submission counts as received: the time at which its node took it, where that is within a
/// day of the time at which it was logged, else as near to it as that.
pub(super) fn received_at(at: Timestamp, logged_at: Timestamp) -> Timestamp {
    let least = logged_at.minus_millis(LATE_MAX_MILLIS);
    at.clamp(least, logged_at.plus_millis(LATE_MAX_MILLIS))
}
