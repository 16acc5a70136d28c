//! What a store has of a log that the log itself has lost: where both agree, and what has changed here since.
//!
//! Nothing here changes anything. Who gives back puts the changes into the log, and then lets the store go on from where
//! both agree ([`Store::begin_log`]). Until that is on disk all of it can be done again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::StoreError;
use super::applied::{AppliedFrame, LogPosition};
use super::change::Change;
use super::error::chain;
use super::frames::Body;
use super::open::Store;
use super::outbox::{Hook, HookHead, HookLookup, Progress, TARGET, last_of_message};
use super::parts::look_up;
use crate::access::SettingRow;
use crate::domain::CallId;
use crate::index::AdminRow;
use crate::journal::{FrameKind, Scanner};
use crate::keys::{derived, derived_from};
use crate::registry::CallState;

/// Places of the log that are remembered, beyond which some of the older ones are left out: then more is given back than
/// has to be.
const PLACES_MAX: usize = 1 << 16;

/// A message of the log that was applied, and where in the journal that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlace {
    pub position: LogPosition,
    /// The sequence number of its last frame.
    pub end: u64,
}

/// What has changed since a place.
#[derive(Debug, Default)]
pub struct ChangedSince {
    pub calls: BTreeSet<CallId>,
    /// As they are now, by name; empty where they were removed.
    pub settings: BTreeMap<String, Vec<u8>>,
    /// Those that a target still needs. Of a life of the log that was over by then: those that a target may need and of
    /// which nothing came later.
    pub hooks: Vec<HookHead>,
}

impl Store {
    /// The messages that led to what the store is, in ascending order of their numbers: those that were applied before
    /// the log went back are not among them. They are those that the last segments of the journal still name; true where
    /// these are all segments.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn log_places(&self, segments: usize) -> Result<(Vec<LogPlace>, bool), StoreError> {
        let view = &self.shared.view;
        let published = *view.published.borrow();
        let all = view.segments.read().clone();
        let with_log = all.iter().filter(|segment| segment.may_have_log());
        let left_out = with_log.clone().count().saturating_sub(segments);
        let mut places: Vec<LogPlace> = Vec::new();
        // The life of the log to which it went back last, and from where on what it did has to be given once more, should the
        // log lose something before that life has begun.
        let mut back = None;
        for segment in with_log.skip(left_out) {
            let mut scanner = Scanner::new(segment)?;
            while let Some((_, frame)) = scanner.next_frame()? {
                if frame.kind != FrameKind::Applied || frame.seq > published {
                    continue;
                }
                let Some(AppliedFrame { position, goes_back, .. }) = AppliedFrame::read(frame.body)
                else {
                    continue;
                };
                let is_before = |place: &LogPlace| {
                    place.position.epoch == position.epoch && place.position.seq < position.seq
                };
                let (mut end, mut is_known) = (frame.seq, !goes_back);
                while let Some(place) = places.pop_if(|place| !is_before(place)) {
                    // It went back to this place: what it did behind it before may have to be given once more.
                    if (place.position.seq, place.position.crc) == (position.seq, position.crc) {
                        end = end.min(place.end);
                        is_known = true;
                    }
                }
                if !is_known && left_out > 0 {
                    return self.log_places(segments.saturating_mul(2));
                }
                if goes_back {
                    back = Some((position.turn, end));
                } else if let Some((turn, from)) = back
                    && turn == position.turn
                    && position.seq < turn
                {
                    end = end.min(from);
                }
                places.push(LogPlace { position, end });
                if places.len() > PLACES_MAX {
                    let old = PLACES_MAX / 2;
                    let mut nth = 0;
                    places.retain(|_| {
                        nth += 1;
                        nth > old || nth % 2 == 0
                    });
                }
            }
        }
        Ok((places, left_out == 0))
    }

    /// What has changed since this frame of the journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn changed_since(&self, end: u64) -> Result<ChangedSince, StoreError> {
        let view = &self.shared.view;
        let segments = view.segments.read().clone();
        let published = *view.published.borrow();
        let first = segments.partition_point(|segment| segment.first_seq <= end);
        let mut changed = ChangedSince::default();
        let (mut over, mut came_again) = (Vec::new(), HashSet::new());
        for segment in segments.get(first.saturating_sub(1)..).unwrap_or_default() {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                if frame.seq <= end || frame.seq > published {
                    continue;
                }
                let body = Body::decode(&frame);
                match body.map_err(|error| StoreError::Unreadable(chain(&error)))? {
                    Body::Record(id, _) | Body::Part(id, _) | Body::Tombstone(id) => {
                        changed.calls.insert(id);
                    }
                    Body::Setting(Some(SettingRow { name, json })) => {
                        changed.settings.insert(name, json);
                    }
                    Body::Outbox(_) => {
                        let Some(head) = super::outbox::head_of(&frame, offset, segment) else {
                            continue;
                        };
                        if view.is_over(&head) {
                            if self.forwards(head.account, head.applications.as_deref()) {
                                over.push(head);
                            }
                            continue;
                        }
                        came_again.extend(head.origin);
                        let applications = head.applications.as_deref();
                        if self.shared.outbox.needs(head.number, head.account, applications) {
                            changed.hooks.push(head);
                        }
                    }
                    Body::Setting(None)
                    | Body::Checkpoint(_)
                    | Body::Applied(_)
                    | Body::Kept(_) => {}
                }
            }
        }
        over.retain(|head| head.origin.is_none_or(|origin| !came_again.contains(&origin)));
        over.append(&mut changed.hooks);
        changed.hooks = over;
        Ok(changed)
    }

    /// The change that makes any other store have of a call what this one has; none where this one knows nothing of it
    /// any more.
    ///
    /// # Errors
    /// The index is away.
    pub fn given(&self, id: CallId) -> Result<Option<Change>, StoreError> {
        let view = &self.shared.view;
        let registry = view.registry.read();
        let in_memory = registry.get(id).map(|entry| entry.state.clone());
        let waiting = registry.waiting_for(id).map(|part| part.call.clone());
        drop(registry);
        let state = if in_memory.is_some() {
            in_memory
        } else {
            let found = look_up(&*view.index()?, id);
            found.map_err(|error| view.index_failed(&error))?.map(|(state, _)| state)
        };
        Ok(match (state, waiting) {
            (_, Some(call)) => Some(Change::Given(call, true)),
            (Some(CallState::Call(call)), None) => Some(Change::Given(call, false)),
            (Some(CallState::Deleted(_)), None) => Some(Change::Gone(id)),
            (None, None) => None,
        })
    }

    /// Settings of these names as they are now; those that are removed, or never were, are left out.
    ///
    /// # Errors
    /// The index is away.
    pub fn settings_named(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let view = &self.shared.view;
        let rows = view.index()?.admin_rows().map_err(|error| view.index_failed(&error))?;
        let mut newest: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
        let registry = view.registry.read();
        for AdminRow { name, seq, json } in rows.into_iter().chain(registry.admin().cloned()) {
            let is_newer = newest.get(&name).is_none_or(|(known, _)| *known < seq);
            if names.contains(&name) && is_newer {
                newest.insert(name, (seq, json));
            }
        }
        drop(registry);
        let rows = newest.into_iter().map(|(name, (_, json))| (name, json));
        Ok(rows.filter(|(_, json)| !json.is_empty()).collect())
    }

    /// A hook that is still to be sent; none where it has left the journal.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn given_hook(&self, head: &HookHead) -> Result<Option<Change>, StoreError> {
        let HookLookup::Found(content) = self.hook_content(head)? else { return Ok(None) };
        Ok(Some(Change::Forward(Arc::new(Hook {
            account: head.account,
            applications: head.applications.as_deref().map(<[_]>::to_vec),
            calls: head.calls.to_vec(),
            content_type: content.content_type,
            b3: content.b3,
            body: content.body,
            origin: head.origin,
        }))))
    }
}

/// What deletes on every node the call that this change gives back. A CDR of it may still come: all of its Call-IDs go, as they
/// went where it was deleted.
pub fn gone_instead(change: &Change) -> Vec<Change> {
    let Some(id) = change.id() else { return Vec::new() };
    let mut gone = vec![Change::Gone(id)];
    if let Change::Given(call, _) = change
        && derived_from(call).is_none()
    {
        let call_ids = call.call_ids().filter(|call_id| !call_id.is_empty());
        gone.extend(call_ids.map(|call_id| Change::Gone(derived(id.account, &call_id))));
    }
    gone
}

/// Whether a row says how far a target of webhooks has got.
pub fn is_progress(name: &str) -> bool {
    name.starts_with(TARGET)
}

/// A row as it is to be given back, where the log goes on after this message: how far a target of webhooks has got says
/// nothing of numbers that the log gives again.
pub fn given_setting(name: String, json: Vec<u8>, after: u64) -> SettingRow {
    let progress = is_progress(&name).then(|| Progress::read(&json)).flatten();
    let json = match progress {
        Some(mut progress) => {
            progress.back_to(last_of_message(after));
            progress.row()
        }
        None => json,
    };
    SettingRow { name, json }
}
