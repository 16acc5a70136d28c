//! Whose a call sid was first.
//!
//! A call that is new is a *namesake* where another account has a call of its sid already, or had one whose
//! deletion stands; calls that are themselves namesakes apart. Architecture invariant: of each call its newest
//! version decides, wherever that is: in the commit, in the registry, in the index, in this order. So the answer
//! does not depend on what was copied, compacted or committed together.

use std::collections::BTreeMap;

use super::state::Shared;
use crate::domain::{AccountSid, CallId, CallSid, Timestamp};
use crate::index::{Index, IndexError, Stored};
use crate::registry::CallState;

/// What a call says of who had its sid first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Its account was the first, as far as was known.
    First,
    /// Another one was.
    Namesake,
    Deleted(Timestamp),
}

impl Claim {
    fn of(state: &CallState) -> Self {
        match state {
            CallState::Call(call) if call.namesake => Self::Namesake,
            CallState::Call(_) => Self::First,
            CallState::Deleted(at) => Self::Deleted(*at),
        }
    }
}

/// The claims of calls that a commit makes or deletes. Other changes change none.
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<(CallSid, AccountSid), Claim>);

impl Claims {
    pub fn note(&mut self, id: CallId, state: &CallState) {
        self.0.insert((id.sid, id.account), Claim::of(state));
    }

    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    fn of(&self, sid: CallSid) -> impl Iterator<Item = (AccountSid, Claim)> {
        let least = (sid, AccountSid::from_bytes([0; 16]));
        let alike = self.0.range(least..).take_while(move |((other, _), _)| *other == sid);
        alike.map(|((_, account), claim)| (*account, *claim))
    }
}

/// Whether a call that is new is a namesake. `changed` are the claims of the commit, the latest first; `stands`
/// says whether a deletion does.
pub(super) fn has_namesake(
    shared: &Shared,
    index: Option<&Index>,
    changed: &[&Claims],
    id: CallId,
    stands: impl Fn(Timestamp) -> bool,
) -> Result<bool, IndexError> {
    let mut newest: BTreeMap<AccountSid, Claim> = BTreeMap::new();
    for (account, claim) in changed.iter().flat_map(|claims| claims.of(id.sid)) {
        newest.entry(account).or_insert(claim);
    }
    let registry = shared.view.registry.read();
    for (account, entry) in registry.with_sid(id.sid) {
        newest.entry(account).or_insert_with(|| Claim::of(&entry.state));
    }
    drop(registry);
    newest.remove(&id.account);
    let counts = |claim: Claim| match claim {
        Claim::First => true,
        Claim::Namesake => false,
        Claim::Deleted(at) => stands(at),
    };
    if newest.values().any(|claim| counts(*claim)) {
        return Ok(true);
    }
    let Some(index) = index else { return Ok(false) };
    for (account, stored) in index.known(id.sid)? {
        if account == id.account || newest.contains_key(&account) {
            continue;
        }
        let claim = match stored {
            Stored::Tombstone { deleted_at, .. } => Some(Claim::Deleted(deleted_at)),
            Stored::Call { .. } => {
                let call = index.call(CallId { account, ..id })?;
                call.map(|(_, call)| if call.namesake { Claim::Namesake } else { Claim::First })
            }
        };
        if claim.is_some_and(counts) {
            return Ok(true);
        }
    }
    Ok(false)
}
