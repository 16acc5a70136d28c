//! What the changes of a submission do, seen from what the commit has so far, the registry and the index.

use std::sync::Arc;

use super::{Group, PreparedSubmission, Staged};
use crate::access::{
    CLUSTER, Replaces, RowDigest, RowOfUse, SettingRow, is_never_made_again, row_digest,
};
use crate::domain::{Call, CallId, Source, Timestamp};
use crate::journal::ChangeOrigin;
use crate::keys::{derived_from, may_be_derived};
use crate::registry::CallState;
use crate::store::StoreError;
use crate::store::change::Change;
use crate::store::claims::has_namesake;
use crate::store::messages::Submission;
use crate::store::outbox::Hook;
use crate::store::parts::look_up;
use crate::store::submit::Backpressure;

impl Group<'_> {
    pub(super) fn draft(
        &self,
        changes: Vec<Change>,
        submission: &Submission,
    ) -> Result<PreparedSubmission, StoreError> {
        let Submission { at, dry, backpressure, .. } = *submission;
        if let Some(reason) = self.shared.health.failed.borrow().clone() {
            return Err(StoreError::Failed(reason));
        }
        if !dry && changes.iter().any(Change::grows) {
            self.shared.disk.admits()?;
        }
        let ids = changes.iter().filter_map(Change::id);
        if !self.has_memory(ids, self.shared.options.calls_in_memory(backpressure)) {
            match backpressure {
                Backpressure::None => self.shared.limit_registry(),
                Backpressure::Wait => self.shared.checkpointer.wake(),
            }
            return Err(StoreError::Busy);
        }
        self.prepare(changes, at)
    }

    /// What changes do, in their order.
    pub fn prepare(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> Result<PreparedSubmission, StoreError> {
        let mut draft = PreparedSubmission::default();
        for change in changes {
            self.change(&mut draft, change, at)?;
        }
        Ok(draft)
    }

    /// Whether the registry has memory for the calls of a message. One that has more calls than it may take is taken
    /// once it is empty.
    pub fn has_memory_for_message(&self, ids: impl Iterator<Item = CallId> + Clone) -> bool {
        let is_empty = self.staged.is_empty() && self.shared.view.registry.read().records() == 0;
        is_empty || self.has_memory(ids, self.shared.options.calls_in_memory(Backpressure::None))
    }

    /// Whether the registry has memory for the calls of these changes. A submission larger than all
    /// that it may take is taken once the registry is empty.
    fn has_memory(&self, ids: impl Iterator<Item = CallId> + Clone, most: usize) -> bool {
        let registry = self.shared.view.registry.read();
        let held = registry.len() + self.staged.len();
        let fits = |calls: usize| calls == 0 || held + calls.min(most) <= most;
        // Those that are there already need no more of it.
        let is_new = |id: &CallId| !registry.holds(*id) && !self.staged.contains_key(id);
        fits(ids.clone().count()) || fits(ids.filter(is_new).count())
    }

    fn change(
        &self,
        draft: &mut PreparedSubmission,
        change: Change,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(given) = change.id() else {
            match change {
                Change::Admin(row, replaces) => {
                    if replaces != Replaces::Anything
                        && (!replaces.fits(self.digest(draft, &row.name))
                            || self.is_removed(draft, &row.name))
                    {
                        return Err(StoreError::Conflict(row.name));
                    }
                    self.set(draft, row, at);
                }
                Change::Forward(hook) => {
                    let nth = draft.brought;
                    draft.brought = nth.saturating_add(1);
                    if !self.has_deleted(draft, &hook, at)? {
                        draft.hooks.push((nth, hook));
                    }
                }
                _ => {}
            }
            return Ok(());
        };
        let (is_cdr, is_placed) = (change.is_cdr(), matches!(change, Change::PlaceCdr { .. }));
        let is_gone = matches!(change, Change::Gone(_));
        let is_delete = is_gone || matches!(change, Change::Delete(_));
        let (change, owner_unknown) = self.addressed(draft, change, at)?;
        let Some(id) = change.id() else { return Ok(()) };
        let mut staged = self.staged_in(draft, id, at)?;
        let outcome = &mut draft.outcome;
        outcome.cdrs.by_call_id += u64::from((is_cdr || is_placed) && id != given);
        outcome.cdrs.by_sid += u64::from(is_cdr && !may_be_derived(given.sid));
        let known = match &staged.state {
            // The call that has taken it is in the index, or not: that is seen once there is one.
            Some(CallState::Deleted(_)) if owner_unknown => {
                staged.part = true;
                None
            }
            Some(CallState::Deleted(_)) if !is_gone => {
                outcome.ignored += 1;
                return Ok(());
            }
            Some(CallState::Call(call)) => Some(call.clone()),
            Some(CallState::Deleted(_)) | None => None,
        };
        // No call is known of that sid, and what is known is not shown yet.
        let hidden = staged.waits;
        if staged.part && !hidden && !change.grows() {
            // What is to become of a call depends on all that is known of it.
            self.shared.view.index()?;
            return Err(StoreError::Busy);
        }
        let Some((state, origin)) = change.after(known.as_deref(), at, outcome) else {
            return Ok(());
        };
        // A start, too, tells by its sid and its Call-IDs that it waits.
        let may_wait = is_cdr && call_of(&state).is_some_and(|call| derived_from(call).is_some());
        if hidden {
            // Whatever else is said of it makes it a call.
            staged.waits = may_wait;
            staged.part = may_wait;
        } else if may_wait && known.is_none() {
            staged.waits = !staged.part;
            staged.part = true;
        }
        let state = match state {
            CallState::Call(call) if !staged.part => {
                let before = known.as_deref().filter(|_| !hidden);
                let absorbed = (given != id).then_some(given);
                let whole = self.absorb(draft, before, &call, absorbed, at)?;
                staged.part = whole.is_none();
                CallState::Call(whole.unwrap_or(call))
            }
            state => state,
        };
        let origin = if is_placed { ChangeOrigin::Source(Source::Cdr) } else { origin };
        let state = match state {
            CallState::Call(mut call) if known.is_none() && !staged.part => {
                if !call.namesake && self.has_namesake(draft, id, at)? {
                    Arc::make_mut(&mut call).namesake = true;
                }
                CallState::Call(call)
            }
            state => state,
        };
        if !staged.part && (known.is_none() || hidden || is_deletion(&state)) {
            draft.claims.note(id, &state);
        }
        let outcome = &mut draft.outcome;
        match (&known, &state) {
            (Some(before), CallState::Call(after))
                if before == after && (!hidden || staged.waits) =>
            {
                outcome.unchanged += 1;
                return Ok(());
            }
            // Whether it is new is known once it has its place.
            (before, CallState::Call(_)) if !staged.part && (hidden || before.is_none()) => {
                outcome.new += 1;
                outcome.cdrs.made += u64::from(is_placed);
            }
            _ => outcome.changed += 1,
        }
        outcome.cdrs.waiting += u64::from(staged.waits);
        outcome.cdrs.alone += u64::from(is_cdr && !staged.part && may_be_derived(id.sid));
        let up = |call: Option<&Call>| i64::from(call.is_some_and(Call::live));
        let more = up(call_of(&state)) - up(known.as_deref().filter(|_| !hidden));
        if !staged.part {
            staged.live += more;
        }
        if let (CallState::Call(call), false) = (&state, staged.part)
            && self.shared.takes_cdrs()
        {
            draft.call_ids.learn(known.as_deref().filter(|_| !hidden), call);
        }
        staged.state = Some(state);
        if draft.touched.insert(id, (staged, origin)).is_none() {
            draft.order.push(id);
        }
        if let Some(call) = known.filter(|_| is_delete) {
            self.delete_call_ids(draft, &call, at)?;
        }
        Ok(())
    }

    /// A setting, unless it says nothing new.
    fn set(&self, draft: &mut PreparedSubmission, row: SettingRow, at: Timestamp) {
        let row = if row.name == CLUSTER {
            self.tombstones.row_to_store(&row, at)
        } else if let Some((token, of_use)) = RowOfUse::of(&row) {
            let before = draft.used.get(token).or_else(|| self.used.get(token)).copied();
            let before = before.or_else(|| self.shared.view.access.read().row_of_use(token));
            if of_use.follows(before) {
                draft.used.insert(token.to_owned(), of_use);
                Some(row)
            } else {
                None
            }
        } else {
            Some(row)
        };
        let outcome = &mut draft.outcome;
        *if row.is_some() { &mut outcome.changed } else { &mut outcome.unchanged } += 1;
        draft.admin.extend(row);
    }

    /// Whether a call of a hook was deleted, and what the hook brought is not taken.
    fn has_deleted(
        &self,
        draft: &PreparedSubmission,
        hook: &Hook,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        for sid in &hook.calls {
            let id = CallId { account: hook.account, sid: *sid };
            let state = match draft.touched.get(&id) {
                Some((staged, _)) => staged.state.clone(),
                None => self.current(id, at)?.state,
            };
            if matches!(state, Some(CallState::Deleted(_))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a call is after the changes of a submission so far.
    pub fn staged_in(
        &self,
        draft: &PreparedSubmission,
        id: CallId,
        at: Timestamp,
    ) -> Result<Staged, StoreError> {
        let touched = draft.touched.get(&id).map(|(staged, ..)| staged.clone());
        touched.map_or_else(|| self.current(id, at), Ok)
    }

    /// What is known of a call: by this commit, by the registry, by the index.
    ///
    /// # Errors
    /// In a node, where there is no index.
    fn current(&self, id: CallId, at: Timestamp) -> Result<Staged, StoreError> {
        if let Some(staged) = self.staged.get(&id) {
            let mut staged = staged.clone();
            self.let_pass(&mut staged, at);
            return Ok(staged);
        }
        let mut staged = Staged::default();
        let (in_memory, part) = {
            let registry = self.shared.view.registry.read();
            let in_memory = registry.get(id).map(|entry| entry.state.clone());
            (in_memory, registry.placeable_part(id).map(|part| part.call.clone()))
        };
        if let Some(part) = part {
            staged.part = true;
            staged.state = Some(CallState::Call(match in_memory {
                Some(CallState::Call(call)) => Arc::new(call.join(&part)),
                _ => part,
            }));
            return Ok(staged);
        }
        if in_memory.is_some() {
            staged.state = in_memory;
        } else {
            match self.ask(|index| look_up(index, id)) {
                Ok(found) => (staged.state, staged.indexed) = found.unzip(),
                Err(error) if self.is_node => return Err(error),
                Err(_) => {
                    // It is built again, and the part finds its place then.
                    let registry = self.shared.view.registry.read();
                    staged.state = registry.part(id).map(|part| CallState::Call(part.call.clone()));
                    staged.part = true;
                }
            }
        }
        self.let_pass(&mut staged, at);
        if !staged.part && may_be_derived(id.sid) {
            let registry = self.shared.view.registry.read();
            // It came after any deletion, whether or not that stands for what was received at that time.
            if let Some(waiting) = registry.waiting_for(id) {
                (staged.waits, staged.part) = (true, true);
                staged.state = Some(CallState::Call(waiting.call.clone()));
            }
        }
        Ok(staged)
    }

    /// A deletion may stand no longer for what was received at that time.
    fn let_pass(&self, staged: &mut Staged, at: Timestamp) {
        if let Some(CallState::Deleted(since)) = staged.state
            && !self.tombstones.stands(since, at)
        {
            staged.state = None;
        }
    }

    /// What a setting is after the changes of a submission so far.
    fn digest(&self, draft: &PreparedSubmission, name: &str) -> Option<RowDigest> {
        let staged = draft.admin.iter().rev().find(|row| row.name == name);
        let staged = staged
            .or_else(|| self.admin.iter().map(|(_, row)| row).rev().find(|row| row.name == name));
        match staged {
            Some(row) => row_digest(&row.json),
            None => self.shared.view.access.read().digest(name),
        }
    }

    /// Whether it is a setting that was removed and is never made again: the message that made it has come once more.
    fn is_removed(&self, draft: &PreparedSubmission, name: &str) -> bool {
        let here = self.admin.iter().map(|(_, row)| row);
        let mut rows = here.chain(&draft.admin).filter(|row| row.name == name);
        is_never_made_again(name)
            && (rows.any(|row| row.json.is_empty())
                || self.shared.view.access.read().is_removed(name))
    }

    /// Whether another account was the first with the sid of a call that is new.
    fn has_namesake(
        &self,
        draft: &PreparedSubmission,
        id: CallId,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let claims = [&draft.claims, &self.claims];
        let stands = |deleted_at| self.tombstones.stands(deleted_at, at);
        let asked = self.ask(|index| has_namesake(self.shared, Some(index), &claims, id, stands));
        match asked {
            Err(_) if !self.is_node => {
                // As far as is known without an index.
                Ok(has_namesake(self.shared, None, &claims, id, stands).unwrap_or(false))
            }
            asked => asked,
        }
    }
}

fn is_deletion(state: &CallState) -> bool {
    matches!(state, CallState::Deleted(_))
}

fn call_of(state: &CallState) -> Option<&Call> {
    match state {
        CallState::Call(call) => Some(call),
        CallState::Deleted(_) => None,
    }
}
