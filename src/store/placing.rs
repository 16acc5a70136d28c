//! Calls and CDRs that name each other by Call-ID alone.
//!
//! A CDR without a call sid belongs to the call of its account that has its Call-ID. While none has, the CDR
//! *waits* under the sid that stands for account and Call-ID (`keys/derived.rs`), and then is a call of that
//! sid. Architecture invariants:
//!
//! * A CDR that waits is a part of a call (`parts.rs`) of which there is nothing else: no entry of the
//!   registry, no row of the index. It is on disk before its sender has an answer, no client is shown it,
//!   and no mark of an index lets a replay begin after it.
//! * What is said of a derived sid is said of the call that has the Call-ID, where there is one. A call that
//!   gets to know a Call-ID takes what is known under the sid of that Call-ID, in the same commit that deletes
//!   it there. So it is the same in which order they come, and of the two never more than one is left.
//! * A deletion of a derived sid stands like any other: what is said again of it goes to the call that has
//!   taken it, or, where that was deleted, nowhere. Who deletes a call deletes the sids of its Call-IDs with
//!   it: a CDR of it may still come.
//! * While there is no index neither question has an answer. A CDR is a part then, whatever is in memory, and
//!   so is a call from when it gets to know a Call-ID of whose sid it is not known what the index has. Both
//!   are on disk as such, and find their place when an index takes over, or at the next start.
//!
//! Where calls share a Call-ID, those of the CDR's direction come first, then the one that was listed first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::StoreError;
use super::change::Change;
use super::committer::{Group, PreparedSubmission};
use super::open::Store;
use super::state::Shared;
use crate::domain::{AccountSid, Call, CallField, CallId, Direction, Order, Source, Timestamp};
use crate::index::{Index, IndexError};
use crate::journal::ChangeOrigin;
use crate::keys::{PositionSpan, Range, derived, derived_from, may_be_derived};
use crate::registry::CallState;

/// Calls with one Call-ID that are looked at.
const ALIKE_MAX: usize = 16;

/// Calls by what CDRs may know them by.
pub(super) type CallIds = HashMap<(AccountSid, Box<str>), CallId>;

impl Store {
    /// The changes that make calls of all CDRs that wait now, each part of the call that it belongs to or one
    /// of its own.
    pub fn cdrs_to_place(&self) -> Vec<Change> {
        let registry = self.shared.view.registry.read();
        registry.all_waiting().map(|(id, _)| Change::PlaceCdr { id, due: true }).collect()
    }
}

impl Group<'_> {
    /// A change of a call that is known by its Call-ID alone, as one of the call that has this Call-ID. True
    /// where it cannot be known which one has.
    pub(super) fn addressed(
        &self,
        draft: &PreparedSubmission,
        change: Change,
        at: Timestamp,
    ) -> (Change, bool) {
        let Some(id) = change.id().filter(|id| may_be_derived(id.sid)) else {
            return (change, false);
        };
        let waiting = |change: &Change| match change {
            Change::PlaceCdr { .. } => {
                let staged = self.staged_in(draft, id, at);
                let Some(CallState::Call(call)) = staged.state.filter(|_| staged.waits) else {
                    return None;
                };
                Some(call)
            }
            _ => None,
        };
        let waiting = waiting(&change);
        let (call_id, direction) = match (&change, &waiting) {
            (Change::Event(event) | Change::Imported(event), _) => {
                let text = event.texts.get(CallField::CallId as usize).cloned().flatten();
                let own = text.filter(|text| derived(id.account, text) == id);
                (own.map(String::from), event.direction)
            }
            (Change::Record(call), _) | (_, Some(call)) => {
                (derived_from(call), call.direction.value)
            }
            _ => (None, Direction::Inbound),
        };
        let Some(call_id) = call_id else { return (change, false) };
        match self.owner_of(draft, id.account, &call_id, direction) {
            Ok(Some(owner)) => match waiting {
                Some(call) => (Change::Record(call).for_call(owner), false),
                None => (change.for_call(owner), false),
            },
            Ok(None) => (change, false),
            // Without an index it waits.
            Err(_) => (change, true),
        }
    }

    /// The call that has this Call-ID.
    fn owner_of(
        &self,
        draft: &PreparedSubmission,
        account: AccountSid,
        call_id: &str,
        direction: Direction,
    ) -> Result<Option<CallId>, StoreError> {
        self.shared.cdrs_taken.store(true, Ordering::Release);
        let key = (account, Box::from(call_id));
        if let Some(id) = draft.call_ids.get(&key).or_else(|| self.call_ids.get(&key)) {
            return Ok(Some(*id));
        }
        let is_there = |call: &Call| {
            let staged = draft.touched.get(&call.id).map(|(staged, _)| staged);
            let staged = staged.or_else(|| self.staged(call.id));
            !staged.is_some_and(|staged| matches!(staged.state, Some(CallState::Deleted(_))))
        };
        let owner = self.ask(|index| {
            published_owner(self.shared, index, (account, call_id), direction, is_there)
        })?;
        Ok(owner.map(|call| call.id))
    }

    /// A call with what is known under the sids of Call-IDs that are new to it, which is deleted there.
    /// `other` is a sid of that kind under which something was said of the call just now. None where it
    /// cannot be known what there is: the call is a part then, which takes it later.
    pub(super) fn absorb(
        &self,
        draft: &mut PreparedSubmission,
        before: Option<&Call>,
        call: &Arc<Call>,
        other: Option<CallId>,
        at: Timestamp,
    ) -> Option<Arc<Call>> {
        let mut call = call.clone();
        if !self.shared.cdrs_taken.load(Ordering::Acquire) {
            return Some(call);
        }
        let account = call.id.account;
        let new: Vec<String> = call
            .call_ids()
            .filter(|new| !new.is_empty())
            .filter(|new| before.is_none_or(|before| before.call_ids().all(|old| old != *new)))
            .map(std::borrow::Cow::into_owned)
            .collect();
        if derived_from(&call).is_some() {
            return Some(call);
        }
        let mut ids: Vec<CallId> = new.iter().map(|call_id| derived(account, call_id)).collect();
        ids.extend(other);
        ids.sort_unstable();
        ids.dedup();
        let known: Vec<_> = ids.into_iter().map(|id| (id, self.staged_in(draft, id, at))).collect();
        if known.iter().any(|(_, staged)| staged.part && !staged.waits) {
            return None;
        }
        for call_id in new {
            draft.call_ids.entry((account, call_id.into())).or_insert(call.id);
        }
        for (id, mut staged) in known {
            let Some(CallState::Call(known)) = staged.state.take() else { continue };
            call = Arc::new(call.join(&known));
            if known.live() && !staged.waits {
                draft.live.push((account, -1));
            }
            (staged.part, staged.waits) = (false, false);
            staged.state = Some(CallState::Deleted(at));
            draft.outcome.cdrs.merged += 1;
            let origin = ChangeOrigin::Source(Source::Cdr);
            if draft.touched.insert(id, (staged, origin)).is_none() {
                draft.order.push(id);
            }
        }
        Some(call)
    }

    /// Deletes with a call that is deleted the sids of its Call-IDs, under which nothing is known.
    pub(super) fn delete_call_ids(
        &self,
        draft: &mut PreparedSubmission,
        call: &Call,
        at: Timestamp,
    ) {
        if !self.shared.cdrs_taken.load(Ordering::Acquire) || derived_from(call).is_some() {
            return;
        }
        for call_id in call.call_ids().filter(|call_id| !call_id.is_empty()) {
            let id = derived(call.id.account, &call_id);
            let mut staged = self.staged_in(draft, id, at);
            if staged.state.is_some() {
                continue;
            }
            (staged.part, staged.waits) = (false, false);
            staged.state = Some(CallState::Deleted(at));
            if draft.touched.insert(id, (staged, ChangeOrigin::Admin)).is_none() {
                draft.order.push(id);
            }
        }
    }
}

/// The call that has this Call-ID, of those that are published and still there.
pub(super) fn published_owner(
    shared: &Shared,
    index: &Index,
    (account, call_id): (AccountSid, &str),
    direction: Direction,
    is_there: impl Fn(&Call) -> bool,
) -> Result<Option<Arc<Call>>, IndexError> {
    let (ranges, span) =
        ([Range::call_id(account, call_id)], PositionSpan::all(Order::OldestFirst));
    // The committer alone has calls enter the registry and leave it.
    let mut calls = shared.view.registry.read().positions(account, &ranges, &span, ALIKE_MAX);
    for (position, ..) in index.positions(&ranges, &span, ALIKE_MAX, false, usize::MAX)? {
        let id = CallId { account, sid: position.sid };
        let in_memory = shared.view.registry.read().get(id).is_some();
        if let Some((_, call)) = index.call(id)?.filter(|_| !in_memory) {
            calls.push((position, Arc::new(call)));
        }
    }
    calls.sort_by_key(|(position, _)| Reverse(*position));
    // Other Call-IDs may have the same checksum.
    let owns = |call: &Arc<Call>| {
        call.call_ids().any(|own| own == call_id) && derived_from(call).is_none() && is_there(call)
    };
    let mut owners = calls.into_iter().map(|(_, call)| call).filter(owns);
    let Some(first) = owners.next() else { return Ok(None) };
    let alike = |call: &Arc<Call>| call.direction.value == direction;
    Ok(Some(if alike(&first) { first } else { owners.find(alike).unwrap_or(first) }))
}
