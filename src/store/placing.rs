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
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::StoreError;
use super::change::Change;
use super::group::{Group, PreparedSubmission};
use super::open::Store;
use super::state::Shared;
use crate::domain::{
    AccountSid, Call, CallField, CallId, Direction, Order, Position, Source, Timestamp,
};
use crate::index::{Index, IndexError};
use crate::journal::ChangeOrigin;
use crate::keys::{PositionSpan, Range, derived, derived_from, may_be_derived};
use crate::registry::CallState;

/// Calls with one Call-ID that are looked at, those that were listed first.
const ALIKE_MAX: usize = 16;

/// Calls that have got to know a Call-ID, by account and Call-ID.
#[derive(Default)]
pub(super) struct CallIds(HashMap<(AccountSid, Box<str>), Vec<CallId>>);

impl CallIds {
    /// A call has become this, and may have Call-IDs that it had not before.
    pub fn learn(&mut self, before: Option<&Call>, call: &Call) {
        for call_id in call.call_ids().filter(|call_id| !call_id.is_empty()) {
            if before.is_none_or(|before| before.call_ids().all(|old| old != call_id)) {
                self.add(call.id.account, &call_id, call.id);
            }
        }
    }

    fn add(&mut self, account: AccountSid, call_id: &str, id: CallId) {
        let ids = self.0.entry((account, call_id.into())).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }

    pub fn extend(&mut self, later: Self) {
        for ((account, call_id), ids) in later.0 {
            for id in ids {
                self.add(account, &call_id, id);
            }
        }
    }

    fn get(&self, key: &(AccountSid, Box<str>)) -> &[CallId] {
        self.0.get(key).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Shared {
    /// Whether a call that is new may be known by its Call-ID already. In a node that does not depend on its
    /// own configuration.
    pub(super) fn takes_cdrs(&self) -> bool {
        self.cdrs_taken.load(Ordering::Acquire) || self.is_node()
    }
}

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
    ///
    /// # Errors
    /// In a node, where there is no index.
    pub(super) fn addressed(
        &self,
        draft: &PreparedSubmission,
        change: Change,
        at: Timestamp,
    ) -> Result<(Change, bool), StoreError> {
        let Some(id) = change.id().filter(|id| may_be_derived(id.sid)) else {
            return Ok((change, false));
        };
        let waiting = match change {
            Change::PlaceCdr { .. } => {
                let staged = self.staged_in(draft, id, at)?;
                match staged.state.filter(|_| staged.waits) {
                    Some(CallState::Call(call)) => Some(call),
                    _ => None,
                }
            }
            _ => None,
        };
        let (call_id, direction) = match (&change, &waiting) {
            (Change::Event(event) | Change::Imported(event), _) => {
                let text = event.texts.get(CallField::CallId as usize).cloned().flatten();
                let own = text.filter(|text| derived(id.account, text) == id);
                (own.map(String::from), event.direction)
            }
            (Change::Record(call) | Change::Given(call, _), _) | (_, Some(call)) => {
                (derived_from(call), call.direction.value)
            }
            _ => (None, Direction::Inbound),
        };
        let Some(call_id) = call_id else { return Ok((change, false)) };
        Ok(match self.owner_of(draft, id.account, &call_id, direction) {
            Ok(Some(owner)) => match waiting {
                Some(call) => (Change::Record(call).for_call(owner), false),
                None => (change.for_call(owner), false),
            },
            Ok(None) => (change, false),
            Err(error) if self.is_node => return Err(error),
            // Without an index it waits.
            Err(_) => (change, true),
        })
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
        let new = [draft.call_ids.get(&key), self.call_ids.get(&key)].concat();
        let changed = |id| {
            let staged = draft.touched.get(&id).map(|(staged, _)| staged);
            staged.or_else(|| self.staged(id)).filter(|staged| !staged.part)?.state.clone()
        };
        let key = (account, call_id);
        let owner =
            self.ask(|index| owner_of(self.shared, index, key, direction, changed, &new))?;
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
    ) -> Result<Option<Arc<Call>>, StoreError> {
        let mut call = call.clone();
        if !self.shared.takes_cdrs() {
            return Ok(Some(call));
        }
        let account = call.id.account;
        let new: Vec<String> = call
            .call_ids()
            .filter(|new| !new.is_empty())
            .filter(|new| before.is_none_or(|before| before.call_ids().all(|old| old != *new)))
            .map(std::borrow::Cow::into_owned)
            .collect();
        if derived_from(&call).is_some() {
            return Ok(Some(call));
        }
        let mut ids: Vec<CallId> = new.iter().map(|call_id| derived(account, call_id)).collect();
        ids.extend(other);
        ids.sort_unstable();
        ids.dedup();
        let known = ids.into_iter().map(|id| Ok((id, self.staged_in(draft, id, at)?)));
        let known = known.collect::<Result<Vec<_>, StoreError>>()?;
        if known.iter().any(|(_, staged)| staged.part && !staged.waits) {
            return Ok(None);
        }
        for (id, mut staged) in known {
            let Some(CallState::Call(known)) = staged.state.take() else { continue };
            call = Arc::new(call.join(&known));
            staged.live -= i64::from(known.live() && !staged.waits);
            draft.outcome.cdrs.merged += 1;
            draft.delete(id, staged, at, ChangeOrigin::Source(Source::Cdr));
        }
        Ok(Some(call))
    }

    /// Deletes with a call that is deleted the sids of its Call-IDs, under which nothing is known.
    pub(super) fn delete_call_ids(
        &self,
        draft: &mut PreparedSubmission,
        call: &Call,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.shared.takes_cdrs() || derived_from(call).is_some() {
            return Ok(());
        }
        for call_id in call.call_ids().filter(|call_id| !call_id.is_empty()) {
            let id = derived(call.id.account, &call_id);
            let staged = self.staged_in(draft, id, at)?;
            if staged.state.is_none() {
                draft.delete(id, staged, at, ChangeOrigin::Admin);
            }
        }
        Ok(())
    }
}

/// The call that has this Call-ID, as it is now. `changed` says what the commit has made of a call so far, and
/// `new` are those that have got to know the Call-ID with it. Architecture invariant: of each call its newest
/// version decides, wherever that is, so that the answer does not depend on what was copied or committed
/// together.
pub(super) fn owner_of(
    shared: &Shared,
    index: &Index,
    (account, call_id): (AccountSid, &str),
    direction: Direction,
    changed: impl Fn(CallId) -> Option<CallState>,
    new: &[CallId],
) -> Result<Option<Arc<Call>>, IndexError> {
    let ranges = [Range::call_id(account, call_id)];
    // Other Call-IDs may have the same checksum. They count among those that are looked at.
    let is_listed =
        |call: &Call| call.call_ids().any(|own| ranges.contains(&Range::call_id(account, &own)));
    let listed = |state: CallState| match state {
        CallState::Call(call) if is_listed(&call) => Some((Reverse(Position::of(&call)), call)),
        _ => None,
    };
    let new = new.iter().filter_map(|id| changed(*id)).filter_map(listed);
    let mut calls: BTreeMap<Reverse<Position>, Arc<Call>> = new.collect();
    // The committer alone has calls enter the registry and leave it.
    let (mut count, mut span) = (0, PositionSpan::all(Order::OldestFirst));
    while count < ALIKE_MAX {
        let page = shared.view.registry.read().positions(account, &ranges, &span, ALIKE_MAX);
        let Some((last, _)) = page.last() else { break };
        span = span.after(*last);
        for (_, call) in page {
            let state = changed(call.id).unwrap_or(CallState::Call(call));
            let found = listed(state);
            count += usize::from(found.is_some());
            calls.extend(found);
        }
    }
    span = PositionSpan::all(Order::OldestFirst);
    'pages: loop {
        let page = index.positions(&ranges, &span, ALIKE_MAX, false, usize::MAX)?;
        let Some((last, ..)) = page.last() else { break };
        span = span.after(*last);
        for (position, ..) in page {
            if calls.keys().nth(ALIKE_MAX - 1).is_some_and(|last| *last < Reverse(position)) {
                break 'pages;
            }
            let id = CallId { account, sid: position.sid };
            // One that is in memory has been looked at.
            let in_memory = shared.view.registry.read().get(id).is_some();
            let state = match changed(id) {
                Some(state) => Some(state),
                None if in_memory => None,
                None => index.call(id)?.map(|(_, call)| CallState::Call(Arc::new(call))),
            };
            calls.extend(state.and_then(listed));
        }
    }
    let owns = |call: &Arc<Call>| {
        call.call_ids().any(|own| own == call_id) && derived_from(call).is_none()
    };
    let mut owners = calls.into_values().take(ALIKE_MAX).filter(owns);
    let Some(first) = owners.next() else { return Ok(None) };
    let alike = |call: &Arc<Call>| call.direction.value == direction;
    Ok(Some(if alike(&first) { first } else { owners.find(alike).unwrap_or(first) }))
}
