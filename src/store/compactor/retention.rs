//! Looking through all that the index knows: which calls' time is over, and where in the journal the
//! versions stand that count.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::access::Keep;
use crate::clock;
use crate::domain::{AccountSid, CallId, Timestamp};
use crate::index::{Index, IndexError, Stored};
use crate::journal::Segment;
use crate::store::StoreError;
use crate::store::change::Change;
use crate::store::compactor::size_limit::Oldest;
use crate::store::state::Shared;
use crate::store::submit::Backpressure;
use crate::wire::show_time;

/// Calls that one submission deletes.
pub(crate) const EXPIRED_AT_ONCE: usize = 500;
/// Calls that are remembered for being deleted, 32 bytes each.
const OVER_MAX: usize = 500_000;
/// Rows that are looked at before others get a turn.
const ROWS_AT_ONCE: u64 = 4096;

/// Calls whose time is over.
pub(crate) struct ExpiredCalls {
    pub ids: Vec<CallId>,
    /// There are more of them.
    pub more: bool,
}

/// Of every segment, what counts.
pub(crate) struct Usage {
    pub segments: Vec<SegmentCounts>,
    /// Everything up to this sequence number was looked at.
    pub as_of: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SegmentCounts {
    /// Calls, and deletions that must be remembered.
    pub live: u64,
    /// Tokens and settings.
    pub settings: u64,
    /// Deletions that need not be remembered any longer.
    pub expired: u64,
}

/// What would be deleted of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiring {
    pub account_sid: AccountSid,
    /// How many calls.
    pub calls: u64,
    /// When the oldest of them was listed: RFC 3339.
    pub oldest: String,
    /// When the newest of them was listed: RFC 3339.
    pub newest: String,
    /// Why they go.
    pub reason: RemovalReason,
}

/// Why a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RemovalReason {
    /// It has been kept for as long as it was to be.
    Age,
    /// The store is larger than it may be, and it is one of the oldest. How many go for that is an
    /// estimate: all calls are taken to weigh the same.
    Size,
}

/// By account and reason: how many, and when the oldest and the newest of them were listed.
type ExpiryCounts = BTreeMap<(AccountSid, RemovalReason), (u64, Timestamp, Timestamp)>;

/// Lets others have a turn; an error ends the work.
pub(crate) type Yield<'a> = dyn FnMut() -> Result<(), StoreError> + 'a;

impl Shared {
    /// Before which time the calls of an account are over.
    fn cutoff(&self, account: AccountSid, now: Timestamp) -> Option<Timestamp> {
        let keep = self.view.access.read().account(account).and_then(|account| account.keep);
        let age = match keep {
            Some(Keep::Forever) => None,
            Some(Keep::Millis(age)) => Some(age),
            None => self.options.retention.age_millis,
        };
        age.map(|age| now.minus_millis(age))
    }

    /// Visits every row of the index.
    pub(crate) fn each_row(
        &self,
        turn: &mut Yield<'_>,
        visit: &mut dyn FnMut(CallId, Stored) -> bool,
    ) -> Result<(), StoreError> {
        let index: Arc<Index> = self.view.index()?;
        let mut rows = 0_u64;
        let mut ended = None;
        let visited = index.each_stored(&[], |id, stored| {
            rows += 1;
            if rows.is_multiple_of(ROWS_AT_ONCE)
                && let Err(error) = turn()
            {
                ended = Some(error);
            }
            Ok(ended.is_none() && visit(id, stored))
        });
        visited.map_err(|error: IndexError| self.view.index_failed(&error))?;
        ended.map_or(Ok(()), Err)
    }

    /// Visits every call, those that the index does not know yet among them, and says when it is
    /// listed; of those in memory, whether they are active.
    fn each_listed(
        &self,
        turn: &mut Yield<'_>,
        visit: &mut dyn FnMut(CallId, Timestamp, Option<bool>) -> bool,
    ) -> Result<(), StoreError> {
        let mut held = HashSet::new();
        let mut calls = Vec::new();
        for (id, entry) in self.view.registry.read().iter() {
            held.insert(id);
            calls.extend(entry.call().map(|call| (id, call.listed_at, call.live())));
        }
        for (id, listed_at, live) in calls {
            if !visit(id, listed_at, Some(live)) {
                return Ok(());
            }
        }
        self.each_row(turn, &mut |id, stored| match stored {
            Stored::Call { listed_at, .. } if !held.contains(&id) => visit(id, listed_at, None),
            _ => true,
        })
    }

    /// The calls whose time is over, ended or not: who deletes them looks.
    pub(crate) fn over(
        &self,
        now: Timestamp,
        turn: &mut Yield<'_>,
    ) -> Result<ExpiredCalls, StoreError> {
        let mut over = ExpiredCalls { ids: Vec::new(), more: false };
        let kept = self.view.access.read().accounts().any(|account| account.keep.is_some());
        if self.options.retention.age_millis.is_none() && !kept {
            return Ok(over);
        }
        let mut account = None;
        self.each_listed(turn, &mut |id, listed_at, live| {
            if live == Some(true) {
                return true;
            }
            let cutoff = match account {
                Some((sid, cutoff)) if sid == id.account => cutoff,
                _ => self.cutoff(id.account, now),
            };
            account = Some((id.account, cutoff));
            if cutoff.is_some_and(|cutoff| listed_at < cutoff) {
                over.more = over.ids.len() == OVER_MAX;
                if !over.more {
                    over.ids.push(id);
                }
            }
            !over.more
        })?;
        Ok(over)
    }

    /// Deletes those of these calls that have ended. Returns how many.
    pub(crate) fn expire(&self, calls: &[CallId], now: Timestamp) -> Result<u64, StoreError> {
        let changes = calls.iter().map(|id| Change::Expire(*id)).collect();
        let Some(proposals) = self.proposals() else { return Ok(0) };
        let done = proposals.propose(changes, now, Backpressure::Wait)?;
        Ok(done.unwrap_or_default().changed)
    }

    /// What counts in these segments.
    pub(crate) fn usage(
        &self,
        segments: &[Arc<Segment>],
        now: Timestamp,
        turn: &mut Yield<'_>,
    ) -> Result<Usage, StoreError> {
        let mark = self.view.index()?.mark().map_err(|error| self.view.index_failed(&error))?;
        let as_of = mark.map_or(0, |mark| mark.last_seq);
        let mut counts = vec![SegmentCounts::default(); segments.len()];
        let needed_since = self.view.tombstones().needed_since(now);
        let place_of = |seq: u64| {
            let next = segments.partition_point(|segment| segment.first_seq <= seq);
            next.checked_sub(1)
        };
        let index = self.view.index()?;
        let settings = index.admin_rows().map_err(|error| self.view.index_failed(&error))?;
        for row in settings {
            if let Some(counts) = place_of(row.seq).and_then(|place| counts.get_mut(place)) {
                counts.settings += 1;
            }
        }
        self.each_row(turn, &mut |_, stored| {
            let counts = place_of(stored.seq()).and_then(|place| counts.get_mut(place));
            if let Some(counts) = counts {
                match stored.deleted_at() {
                    Some(at) if at < needed_since => counts.expired += 1,
                    _ => counts.live += 1,
                }
            }
            true
        })?;
        Ok(Usage { segments: counts, as_of })
    }
}

impl Shared {
    /// What the next round of retention would delete, by account.
    pub fn expiring(&self) -> Result<Vec<Expiring>, StoreError> {
        let shared = self;
        let now = clock::now();
        // Active ones stay.
        let live = shared.view.index()?.live_before(Timestamp::MAX, usize::MAX);
        let live = live.map_err(|error| shared.view.index_failed(&error))?;
        let live: HashSet<CallId> = live.into_iter().collect();
        let mut found: ExpiryCounts = BTreeMap::new();
        let mut add = |id: CallId, reason: RemovalReason, at: Timestamp| {
            let entry = found.entry((id.account, reason)).or_insert((0, at, at));
            *entry = (entry.0 + 1, entry.1.min(at), entry.2.max(at));
        };
        let (mut all, mut over) = (0_u64, 0_u64);
        shared.each_listed(&mut || Ok(()), &mut |id, listed_at, up| {
            all += 1;
            if up.unwrap_or_else(|| live.contains(&id)) {
                return true;
            }
            if shared.cutoff(id.account, now).is_some_and(|cutoff| listed_at < cutoff) {
                over += 1;
                add(id, RemovalReason::Age, listed_at);
            }
            true
        })?;
        let surplus = shared.surplus_after(all, over)?;
        if surplus > 0 {
            let own = shared.own_rules();
            let mut oldest = Oldest::new(surplus);
            shared.each_listed(&mut || Ok(()), &mut |id, listed_at, up| {
                let stays = up.unwrap_or_else(|| live.contains(&id)) || own.contains(&id.account);
                let goes = shared.cutoff(id.account, now).is_some_and(|cutoff| listed_at < cutoff);
                if !stays && !goes {
                    oldest.add(id, listed_at);
                }
                true
            })?;
            for (listed_at, id) in oldest.into_sorted() {
                add(id, RemovalReason::Size, listed_at);
            }
        }
        let show = |time| show_time(time).to_string();
        let expiring = |((account_sid, reason), (calls, oldest, newest))| Expiring {
            reason,
            account_sid,
            calls,
            oldest: show(oldest),
            newest: show(newest),
        };
        Ok(found.into_iter().map(expiring).collect())
    }
}
