//! Sample calls that come and go while the server runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::scenario::{Random, SampleCall, Step};
use super::{HOUR_MILLIS, account, calls_of_hour};
use crate::clock;
use crate::domain::{CallId, CallStatus, Filter, Order, Rank};
use crate::ops::Failure;
use crate::store::{ListRequest, Slice, Store, StoreError};

/// Milliseconds between two calls, at least and at most.
const BETWEEN: (u64, u64) = (8_000, 22_000);
/// When calls that an earlier start has left end, after it.
const LEFT_END: (u64, u64) = (20_000, 240_000);
/// Calls that are looked at for that.
const LEFT_MAX: usize = 500;
const LEFT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Plays until the task is dropped, or the store closes.
pub(in crate::server) async fn play(store: Arc<Store>) {
    if let Err(error) = run(&store).await {
        tracing::debug!(%error, "no more sample calls come");
    }
}

async fn run(store: &Arc<Store>) -> Result<(), Failure> {
    let account = account()?;
    let mut random = Random::new(clock::now().millis());
    let mut planned: BTreeMap<(u64, u64), Step> = BTreeMap::new();
    let mut number = 0;
    let reader = store.clone();
    let left = tokio::task::spawn_blocking(move || left(&reader)).await;
    for step in left.unwrap_or(Ok(Vec::new()))? {
        number += 1;
        let after = LEFT_END.0 + random.below(LEFT_END.1 - LEFT_END.0);
        planned.insert((clock::now().plus_millis(after).millis(), number), step);
    }
    let mut next_call = clock::now().plus_millis(BETWEEN.0).millis();
    loop {
        let first = planned.keys().next().map_or(next_call, |(at, _)| (*at).min(next_call));
        let wait = first.saturating_sub(clock::now().millis());
        tokio::time::sleep_until(Instant::now() + Duration::from_millis(wait)).await;
        let now = clock::now();
        if next_call <= now.millis() {
            number += 1;
            let call = SampleCall::drawn(number, now, &mut random);
            for (at, step) in call.steps() {
                number += 1;
                planned.insert((at, number), step);
            }
            // Fewer at night.
            let pause = if calls_of_hour(now) < 10 { 2 } else { 1 };
            let between = BETWEEN.0 + random.below(BETWEEN.1 - BETWEEN.0);
            next_call = now.plus_millis(between * pause).millis();
        }
        let mut due = Vec::new();
        while let Some(entry) = planned.first_entry()
            && entry.key().0 <= now.millis()
        {
            due.push(entry.remove().at(now).change(account));
        }
        if due.is_empty() {
            continue;
        }
        match store.submit(due, now) {
            Ok(ticket) => drop(ticket.durable().await?),
            // Samples are the last to be missed.
            Err(StoreError::Busy | StoreError::Full | StoreError::Low { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The ends of calls that are active, and of which nobody else will tell.
fn left(store: &Store) -> Result<Vec<Step>, Failure> {
    let account = account()?;
    let is_active = |status: &CallStatus| status.rank() != Rank::Terminal;
    let mut statuses: Vec<CallStatus> = CallStatus::ALL.into_iter().filter(is_active).collect();
    statuses.sort_unstable();
    let start = Some(clock::now().minus_millis(24 * HOUR_MILLIS));
    let filter = Filter { statuses, start, ..Filter::default() };
    let request = ListRequest { account, filter, order: Order::NewestFirst, after: None };
    let slice = Slice { calls: LEFT_MAX, rows: LEFT_MAX, bytes: LEFT_BYTES_MAX };
    let mut steps = Vec::new();
    for (position, _) in store.list(&request, slice)?.calls {
        let Some(call) = store.call(CallId { account, sid: position.sid })? else { continue };
        let end = match call.progress.status.rank() {
            Rank::InProgress => CallStatus::Completed,
            Rank::Trying => CallStatus::Failed,
            _ => CallStatus::NoAnswer,
        };
        steps.push(Step::end_of(position.sid, call.direction.value, end, clock::now()));
    }
    Ok(steps)
}
