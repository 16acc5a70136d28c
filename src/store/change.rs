//! What a change is, and what becomes of it.

use std::sync::Arc;

use super::Outcome;
use super::outbox::Hook;
use crate::access::{Replaces, SettingRow};
use crate::domain::{Call, CallId, Source, StampedEvent, Timestamp, merge};
use crate::journal::ChangeOrigin;
use crate::registry::CallState;

/// One thing that is to happen to the store.
#[derive(Debug, Clone)]
pub enum Change {
    /// An event is merged with its call.
    Event(Box<StampedEvent>),
    /// The same of an imported record, which tells nothing new where its call shows all of it.
    Imported(Box<StampedEvent>),
    /// A whole record is joined with its call.
    Record(Arc<Call>),
    /// A whole record of a node whose log has lost what led to it: joined with its call, whose place in lists becomes
    /// that of the record. True where it is a CDR that waits for its call.
    Given(Arc<Call>, bool),
    /// A call is deleted.
    Delete(CallId),
    /// A call was deleted at a node whose log has lost that: a deletion of it stands from now on, known or not.
    Gone(CallId),
    /// A call that has heard nothing since this time becomes stale.
    Stale(CallId, Timestamp),
    /// A call whose time is over is deleted, unless it is active.
    Expire(CallId),
    /// A CDR that waits is looked at again: it becomes part of the call that it belongs to, or, where its
    /// time is over, a call of its own.
    PlaceCdr { id: CallId, due: bool },
    /// A token or the settings of an account, and what must be there before.
    Admin(SettingRow, Replaces),
    /// The hook that brought the events before it is to be passed on, unless a call of it was deleted.
    Forward(Arc<Hook>),
}

impl Change {
    /// A setting, whatever it was before.
    pub fn setting(row: SettingRow) -> Self {
        Self::Admin(row, Replaces::Anything)
    }

    /// The call that it is about.
    pub fn id(&self) -> Option<CallId> {
        match self {
            Self::Event(event) | Self::Imported(event) => Some(event.id),
            Self::Record(call) | Self::Given(call, _) => Some(call.id),
            Self::Delete(id)
            | Self::Gone(id)
            | Self::Expire(id)
            | Self::Stale(id, _)
            | Self::PlaceCdr { id, .. } => Some(*id),
            Self::Admin(..) | Self::Forward(_) => None,
        }
    }

    /// About how much memory it takes.
    pub(super) fn weight(&self) -> usize {
        let own = match self {
            Self::Event(event) | Self::Imported(event) => {
                let texts = event.texts.iter().flatten().map(|text| text.len());
                let extras = event.extras.iter().map(|(key, json)| key.len() + json.len());
                size_of::<StampedEvent>() + texts.chain(extras).sum::<usize>()
            }
            Self::Record(call) | Self::Given(call, _) => call.weight(),
            Self::Admin(row, _) => row.name.len() + row.json.len(),
            Self::Forward(hook) => hook.body.len(),
            Self::Delete(_)
            | Self::Gone(_)
            | Self::Stale(..)
            | Self::Expire(_)
            | Self::PlaceCdr { .. } => 0,
        };
        size_of::<Self>().saturating_add(own)
    }

    /// It makes the store grow, and has to wait where the disk is short of space.
    pub fn grows(&self) -> bool {
        matches!(
            self,
            Self::Event(_)
                | Self::Imported(_)
                | Self::Record(_)
                | Self::Given(..)
                | Self::Forward(_)
        )
    }

    /// The same change of another call.
    pub(super) fn for_call(self, id: CallId) -> Self {
        let of_event = |event: Box<StampedEvent>| Box::new(StampedEvent { id, ..*event });
        match self {
            Self::Event(event) => Self::Event(of_event(event)),
            Self::Imported(event) => Self::Imported(of_event(event)),
            Self::Record(record) => {
                Self::Record(Arc::new(Call { id, ..Arc::unwrap_or_clone(record) }))
            }
            Self::Given(record, waits) => {
                Self::Given(Arc::new(Call { id, ..Arc::unwrap_or_clone(record) }), waits)
            }
            other => other,
        }
    }

    /// It is what a CDR says.
    pub(super) fn is_cdr(&self) -> bool {
        match self {
            Self::Event(event) => event.source == Source::Cdr,
            Self::Given(_, waits) => *waits,
            _ => false,
        }
    }

    /// What its call is after it, and where it came from; none where nothing happens to it.
    pub(super) fn after(
        self,
        known: Option<&Call>,
        at: Timestamp,
        outcome: &mut Outcome,
    ) -> Option<(CallState, ChangeOrigin)> {
        let sweep = ChangeOrigin::Source(Source::Sweep);
        match self {
            Self::Imported(event) if known.is_some_and(|call| call.shows_all_of(&event)) => {
                outcome.unchanged += 1;
                None
            }
            Self::Event(event) | Self::Imported(event) => {
                let origin = ChangeOrigin::Source(event.source);
                outcome.unknown_statuses += u64::from(event.status.is_none());
                let sent: Vec<Box<str>> = event.extras.iter().map(|(key, _)| key.clone()).collect();
                outcome.dropped_keys += event.left_out.count();
                let merged = merge(known, *event, at);
                let dropped = sent.iter().filter(|key| merged.extras.get(key).is_none());
                outcome.dropped_keys += dropped.count() as u64;
                Some((CallState::Call(Arc::new(merged)), origin))
            }
            Self::Record(record) => {
                let joined = match known {
                    Some(call) => Arc::new(call.join(&record)),
                    None => record,
                };
                Some((CallState::Call(joined), ChangeOrigin::Source(Source::Import)))
            }
            Self::Given(record, _) => {
                // Whatever was known before: what the record does not say of itself is the same everywhere then.
                let joined =
                    known.map_or_else(|| record.clone(), |call| Arc::new(record.join(call)));
                Some((CallState::Call(joined), ChangeOrigin::Source(Source::Import)))
            }
            Self::Gone(_) => Some((CallState::Deleted(at), ChangeOrigin::Admin)),
            Self::Delete(_) => {
                outcome.ignored += u64::from(known.is_none());
                known.map(|_| (CallState::Deleted(at), ChangeOrigin::Admin))
            }
            Self::Expire(_) => match known {
                Some(call) if !call.live() => Some((CallState::Deleted(at), sweep)),
                _ => {
                    outcome.unchanged += 1;
                    None
                }
            },
            Self::Stale(_, heard_before) => match known {
                Some(call) if call.live() && call.last_event_at() < heard_before => {
                    Some((CallState::Call(Arc::new(call.clone().into_stale(at))), sweep))
                }
                _ => {
                    outcome.unchanged += 1;
                    None
                }
            },
            Self::PlaceCdr { due, .. } => {
                let waits = known.filter(|_| due)?;
                let origin = ChangeOrigin::Source(Source::Cdr);
                Some((CallState::Call(Arc::new(waits.clone())), origin))
            }
            Self::Admin(..) | Self::Forward(_) => None,
        }
    }
}
