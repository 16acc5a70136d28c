//! The registry as a map with sorted views, and what it counts.

use proptest::prelude::*;

use super::*;
use crate::domain::{CallSid, CallStatus, Direction, samples};
use crate::keys::{StatusKey, live_ranges};

#[derive(Debug, Clone)]
enum RegistryStep {
    Put(u8, Box<Call>),
    Delete(u8),
    /// The index has the call as of that many changes ago.
    Settle(u8, usize),
}

fn step() -> impl Strategy<Value = RegistryStep> {
    prop_oneof![
        4 => (0..6_u8, samples::call()).prop_map(|(n, call)| RegistryStep::Put(n, Box::new(call))),
        1 => (0..6_u8).prop_map(RegistryStep::Delete),
        2 => (0..6_u8, 0..2_usize).prop_map(|(n, ago)| RegistryStep::Settle(n, ago)),
    ]
}

fn id(n: u8) -> CallId {
    CallId { account: samples::ACCOUNT, sid: CallSid::from_bytes([n; 16]) }
}

/// What the index has of a call that has left memory.
fn indexed_of(
    registry: &Registry,
    history: &BTreeMap<CallId, Vec<(u64, Indexed)>>,
    id: CallId,
    before: u64,
) -> Option<Indexed> {
    let versions = history.get(&id).filter(|_| registry.get(id).is_none())?;
    let last = versions.iter().rev().find(|(seq, _)| *seq < before)?;
    Some(last.1.clone())
}

proptest! {
    #[test]
    fn the_rows_that_move_are_those_that_differ(
        before in samples::call(), after in samples::call(), parts in 0..32_u8,
    ) {
        // Of five parts of a call, some are those of the other version.
        let mut next = before.clone();
        if parts & 1 > 0 { next.listed_at = after.listed_at; }
        if parts & 2 > 0 { (next.stale, next.progress) = (after.stale, after.progress.clone()); }
        if parts & 4 > 0 { next.direction = after.direction.clone(); }
        if parts & 8 > 0 { next.texts = after.texts.clone(); }
        if parts & 16 > 0 { next = after; next.id = before.id; }
        let (old, new) = (rows_of(&before), rows_of(&next));
        let only = |of: &[RangeRow], other: &[RangeRow]| -> Vec<_> {
            of.iter().filter(|row| !other.contains(row)).cloned().collect()
        };
        prop_assert_eq!(moved_rows(&before, &next), (only(&old, &new), only(&new, &old)));
    }
}

proptest! {
    #[test]
    fn it_is_a_map_with_sorted_views(steps in proptest::collection::vec(step(), 1..40)) {
        let mut registry = Registry::default();
        registry.count_from(IndexStats::default());
        let mut model: BTreeMap<CallId, CallState> = BTreeMap::new();
        // All that was ever said of a call, wherever it is by now.
        let mut known: BTreeMap<CallId, CallState> = BTreeMap::new();
        let mut history: BTreeMap<CallId, Vec<(u64, Indexed)>> = BTreeMap::new();
        let now = Timestamp::default();
        for (seq, step) in (1_u64..).zip(steps) {
            match step {
                RegistryStep::Put(n, mut call) => {
                    call.id = id(n);
                    let stored = Stored::Call { seq, listed_at: call.listed_at };
                    let indexed = (stored, Some(IndexKeys::of(&call)));
                    history.entry(call.id).or_default().push((seq, indexed));
                    let state = CallState::Call(Arc::from(call));
                    let indexed = indexed_of(&registry, &history, id(n), seq);
                    registry.put(id(n), state.clone(), seq, now, indexed);
                    known.insert(id(n), state.clone());
                    model.insert(id(n), state);
                }
                RegistryStep::Delete(n) => {
                    let indexed = (Stored::Tombstone { seq, deleted_at: now }, None);
                    history.entry(id(n)).or_default().push((seq, indexed));
                    let indexed = indexed_of(&registry, &history, id(n), seq);
                    registry.put(id(n), CallState::Deleted(now), seq, now, indexed);
                    known.insert(id(n), CallState::Deleted(now));
                    model.insert(id(n), CallState::Deleted(now));
                }
                RegistryStep::Settle(n, ago) => {
                    let versions = history.get(&id(n)).map(Vec::as_slice).unwrap_or_default();
                    if let Some((_, indexed)) = versions.iter().rev().nth(ago) {
                        registry.settle(id(n), Some(indexed.clone()));
                        if ago == 0 {
                            model.remove(&id(n));
                        } else if let Some(entry) = registry.get(id(n)) {
                            prop_assert_eq!(entry.indexed.as_ref(), Some(indexed));
                        }
                    }
                }
            }
            if let Some(newest) = history.values().flatten().map(|(seq, _)| *seq).max() {
                prop_assert_eq!(registry.last_seq(), newest);
            }
            let have: BTreeMap<_, _> =
                registry.iter().map(|(id, entry)| (id, entry.state.clone())).collect();
            prop_assert_eq!(&have, &model);
            let calls = known.values().filter(|state| matches!(state, CallState::Call(_)));
            let calls = calls.count() as u64;
            let tombstones = known.len() as u64 - calls;
            prop_assert_eq!(registry.counts(), Some(Counts { calls, tombstones }));
            let calls = |range: &dyn Fn(&Call) -> bool| {
                let calls = model.values().filter_map(|state| match state {
                    CallState::Call(call) if range(call) => Some(call.clone()),
                    _ => None,
                });
                let mut calls: Vec<_> = calls.map(|call| (Position::of(&call), call)).collect();
                calls.sort_by_key(|(position, _)| *position);
                calls
            };
            let account = samples::ACCOUNT;
            for order in [Order::NewestFirst, Order::OldestFirst] {
                let span = PositionSpan::all(order);
                let found = |ranges: &[Range], count| {
                    registry.positions(account, ranges, &span, count)
                };
                let turned = |mut calls: Vec<_>| {
                    if order == Order::OldestFirst {
                        calls.reverse();
                    }
                    calls
                };
                let all = turned(calls(&|_| true));
                prop_assert_eq!(&found(&[Range::all(account)], 100), &all);
                prop_assert_eq!(&found(&[Range::all(account)], 2), &all[..all.len().min(2)]);
                let inbound = live_ranges(account, Direction::Inbound);
                let up = |call: &Call| call.live() && call.direction.value == Direction::Inbound;
                prop_assert_eq!(found(&inbound, 100), turned(calls(&up)));
                let busy = StatusKey::Status(CallStatus::Busy);
                let busy = Direction::ALL.map(|way| Range::status(account, busy, way));
                let is_busy = |call: &Call| !call.stale && call.progress.status == CallStatus::Busy;
                prop_assert_eq!(found(&busy, 100), turned(calls(&is_busy)));
                let elsewhere = AccountSid::from_bytes([0xa2; 16]);
                prop_assert!(found(&[Range::all(elsewhere)], 100).is_empty());
            }
            let any = !calls(&|_| true).is_empty();
            prop_assert_eq!(registry.next_account(None), any.then_some(account));
            prop_assert_eq!(registry.next_account(Some(account)), None);
        }
    }
}
