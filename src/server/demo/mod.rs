//! Sample calls, to try rollcall with: those of the last seven days, and new ones while the server runs.
//!
//! They are made in a store that is new, and in one that was made so; never beside calls of anybody.

mod play;
mod scenario;

use crate::access::{DEMO, SettingRow};
use crate::domain::{CallStatus, Direction, Timestamp};
use crate::ops::Failure;
use crate::store::{Change, Store};

pub(super) use play::play;
pub use scenario::{ACCOUNT, account};
use scenario::{Random, SampleCall, Step};

/// Changes that are written at once.
const BATCH: usize = 2000;
const MINUTE_MILLIS: u64 = 60_000;
const HOUR_MILLIS: u64 = 60 * MINUTE_MILLIS;
/// The stories of the calls of the last hour: each status with the seconds since the first.
const STORIES: [(Direction, &[(CallStatus, u64)]); 10] = {
    use CallStatus::{
        Alerting, Busy, Completed, EarlyMedia, Failed, InProgress, NoAnswer, Queued, Ringing,
        Trying,
    };
    use Direction::{Inbound, Outbound};
    [
        (Inbound, &[(Trying, 0), (Ringing, 1), (InProgress, 6), (Completed, 94)]),
        (Outbound, &[(Trying, 0), (Ringing, 2), (Busy, 3)]),
        (Inbound, &[(Trying, 0), (Ringing, 1), (NoAnswer, 31)]),
        (Outbound, &[(Trying, 0), (Failed, 1)]),
        (Inbound, &[(Trying, 0), (Ringing, 1), (InProgress, 9)]),
        (Outbound, &[(Trying, 0), (EarlyMedia, 2)]),
        (Inbound, &[(Trying, 0), (Alerting, 1)]),
        (Outbound, &[(Trying, 0), (Ringing, 1)]),
        (Inbound, &[(Trying, 0)]),
        (Outbound, &[(Queued, 0)]),
    ]
};
/// Calls of the last hour, two minutes apart.
const LATEST: u64 = 25;
/// Hours before it.
const HOURS: u64 = 7 * 24 - 1;
/// Calls in each hour of a working day; of the others there are a third.
const SHAPE: [u64; 24] =
    [3, 2, 1, 1, 2, 4, 8, 16, 32, 48, 56, 52, 40, 48, 52, 48, 40, 28, 18, 14, 12, 10, 8, 5];

/// What became of the wish for sample calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Samples {
    /// They were made now.
    Made,
    /// They are there from an earlier start.
    There,
    /// The store has something else.
    None,
}

/// Fills a new store. `is_new`: it was made by this start.
pub(super) fn fill(store: &Store, is_new: bool, now: Timestamp) -> Result<Samples, Failure> {
    if store.access(crate::access::Access::is_demo) {
        return Ok(Samples::There);
    }
    if !is_new || store.status().calls != Some(0) {
        return Ok(Samples::None);
    }
    let account = account()?;
    // The same calls each time, but for when they were.
    let mut random = Random::new(7);
    let mut changes = history(now, &mut random);
    changes.extend(latest(now, &mut random));
    changes.sort_by_key(|(at, _)| *at);
    let marker = SettingRow { name: DEMO.to_owned(), json: b"true".to_vec() };
    let mut batch = vec![Change::setting(marker)];
    for (_, step) in changes {
        batch.push(step.change(account));
        if batch.len() >= BATCH {
            store.apply(&batch, now, false)?;
            batch.clear();
        }
    }
    store.apply(&batch, now, false)?;
    Ok(Samples::Made)
}

/// The calls of the days before, each with when it happened.
fn history(now: Timestamp, random: &mut Random) -> Vec<(u64, Step)> {
    let mut steps = Vec::new();
    let mut number = 0;
    for hour in 1..=HOURS {
        let begin = now.minus_millis((hour + 1) * HOUR_MILLIS);
        for _ in 0..calls_of_hour(begin) {
            number += 1;
            let at = begin.plus_millis(random.below(HOUR_MILLIS));
            let call = SampleCall::drawn(number, at, random);
            steps.extend(call.steps());
        }
    }
    steps
}

/// How many calls begin in the hour of this time, in UTC.
fn calls_of_hour(at: Timestamp) -> u64 {
    let hours = at.millis() / HOUR_MILLIS;
    let (day, hour) = ((hours / 24 + 4) % 7, usize::try_from(hours % 24).unwrap_or_default());
    let calls = SHAPE.get(hour).copied().unwrap_or_default();
    if matches!(day, 0 | 6) { calls.div_ceil(3) } else { calls }
}

/// The calls of the last hour: one of each story, some of them active.
fn latest(now: Timestamp, random: &mut Random) -> Vec<(u64, Step)> {
    let mut steps = Vec::new();
    for (n, (direction, story)) in (1..=LATEST).zip(STORIES.iter().cycle()) {
        let begun = now.minus_millis((LATEST - n) * 2 * MINUTE_MILLIS + 2 * MINUTE_MILLIS);
        let call = SampleCall::of_story(n, begun, *direction, story, random);
        steps.extend(call.steps());
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn the_history_has_the_shape_of_days_whenever_it_is_made() {
        let mut counts = BTreeSet::new();
        for hours in [0, 5, 31, 100] {
            let now = Timestamp::from_millis(1_800_000_000_000 + hours * HOUR_MILLIS).unwrap();
            let steps = history(now, &mut Random::new(7));
            let mut calls: BTreeMap<_, Vec<_>> = BTreeMap::new();
            for (at, step) in steps {
                assert!(at + 40 * MINUTE_MILLIS < now.millis(), "in the past");
                calls.entry(step.sid()).or_default().push(step.status());
            }
            assert!(
                calls.values().all(|of| of.last().unwrap().rank() == crate::domain::Rank::Terminal)
            );
            counts.insert(calls.len() / 100);
            let failed = calls.values().filter(|of| of.last() == Some(&CallStatus::Failed));
            assert!(failed.count() > 50);
        }
        assert!(counts.iter().all(|count| (25..50).contains(count)), "{counts:?}");
    }
}
