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
//!
//! Where calls share a Call-ID, those of the CDR's direction come first, then the one that was listed first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::StoreError;
use super::change::Change;
use super::committer::{Group, PreparedSubmission};
use super::open::Store;
use super::parts::PLACED_AT_ONCE;
use super::submit::Backpressure;
use crate::clock;
use crate::domain::{AccountSid, Call, CallField, CallId, Direction, Source, Timestamp};
use crate::journal::ChangeOrigin;
use crate::keys::{derived, derived_from, may_be_derived};
use crate::registry::CallState;

/// Calls by what CDRs may know them by.
pub(super) type CallIds = HashMap<(AccountSid, Box<str>), CallId>;

impl Store {
    /// Makes calls of all CDRs that wait, each part of the call that it belongs to or one of its own.
    ///
    /// # Errors
    /// The store takes no changes, or there is no index.
    pub fn place_cdrs(&self) -> Result<(), StoreError> {
        let waiting: Vec<CallId> = {
            let registry = self.shared.view.registry.read();
            registry.all_waiting().map(|(id, _)| id).collect()
        };
        for some in waiting.chunks(PLACED_AT_ONCE) {
            let changes = some.iter().map(|id| Change::PlaceCdr { id: *id, due: true }).collect();
            self.shared.intake.apply(changes, clock::now(), Backpressure::Wait)?;
        }
        Ok(())
    }
}

impl Group<'_> {
    /// A change of a call that is known by its Call-ID alone, as one of the call that has this Call-ID.
    pub(super) fn addressed(
        &self,
        draft: &PreparedSubmission,
        change: Change,
        at: Timestamp,
    ) -> Change {
        let Some(id) = change.id().filter(|id| may_be_derived(id.sid)) else { return change };
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
        let Some(call_id) = call_id else { return change };
        match self.owner_of(draft, id.account, &call_id, direction) {
            Ok(Some(owner)) => match waiting {
                Some(call) => Change::Record(call).for_call(owner),
                None => change.for_call(owner),
            },
            // Without an index it waits.
            Ok(None) | Err(_) => change,
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
        let found = self.shared.view.with_call_id(account, call_id)?;
        let is_there = |call: &&Arc<Call>| {
            let staged = draft.touched.get(&call.id).map(|(staged, _)| staged);
            let staged = staged.or_else(|| self.staged(call.id));
            let deleted =
                staged.is_some_and(|staged| matches!(staged.state, Some(CallState::Deleted(_))));
            !deleted && derived_from(call).is_none()
        };
        let mut there = found.iter().filter(is_there);
        let first = there.clone().find(|call| call.direction.value == direction);
        Ok(first.or_else(|| there.next()).map(|call| call.id))
    }

    /// A call with what is known under the sids of Call-IDs that are new to it, which is deleted there.
    /// `other` is a sid of that kind under which something was said of the call just now.
    pub(super) fn absorb(
        &self,
        draft: &mut PreparedSubmission,
        before: Option<&Call>,
        mut call: Arc<Call>,
        other: Option<CallId>,
        at: Timestamp,
    ) -> Arc<Call> {
        if !self.shared.cdrs_taken.load(Ordering::Acquire) {
            return call;
        }
        let account = call.id.account;
        let new: Vec<String> = call
            .call_ids()
            .filter(|new| !new.is_empty())
            .filter(|new| before.is_none_or(|before| before.call_ids().all(|old| old != *new)))
            .map(std::borrow::Cow::into_owned)
            .collect();
        if derived_from(&call).is_some() {
            return call;
        }
        let mut ids: Vec<CallId> = new.iter().map(|call_id| derived(account, call_id)).collect();
        ids.extend(other.filter(|other| !ids.contains(other)));
        for call_id in new {
            draft.call_ids.entry((account, call_id.into())).or_insert(call.id);
        }
        for id in ids {
            let mut staged = self.staged_in(draft, id, at);
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
        call
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
