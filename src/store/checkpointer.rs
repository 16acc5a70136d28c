//! The keeper: the one thread that writes the index. It takes checkpoints, gives up calls that
//! have gone quiet, and has a new index take over when the old one fails or is compacted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::StoreError;
use super::checkpoint::{self, CheckpointScope, IndexCheckpoint, Versions};
use super::commit::Job;
use super::index_builder::Builds;
use super::shared::{Shared, Wake};
use super::submit::{Backpressure, Change, Ticket};
use crate::clock;
use crate::domain::{CallId, Timestamp};

/// Calls that one submission of the sweep gives up.
const SWEEP_CALLS: usize = 500;
/// A step of the clock that is not believed at once.
const STEP: Duration = Duration::from_hours(1);

/// The keeper's own state.
pub(super) struct Checkpointer {
    pub(super) shared: Arc<Shared>,
    pub(super) generation: u64,
    sweep: Sweep,
    pub(super) builds: Builds,
    /// It has been said that there is no room for a checkpoint.
    cramped: bool,
}

impl Checkpointer {
    pub fn new(shared: Arc<Shared>, generation: u64) -> Self {
        let sweep = Sweep::new();
        Self { shared, generation, sweep, builds: Builds::none(), cramped: false }
    }

    /// Runs until the store closes; the last thing is a checkpoint of everything.
    pub fn run(mut self) {
        let interval = self.shared.options.checkpoint_interval;
        let mut next = Instant::now() + interval;
        loop {
            let Wake { stop, pressure, .. } = self.sleep_until(next);
            next = Instant::now() + interval;
            #[cfg(test)]
            self.shared.strike("checkpointer");
            if stop {
                self.end_builds();
            } else {
                self.tend_builds();
            }
            let all = stop || pressure;
            let scope =
                if all { CheckpointScope::Everything } else { checkpoint::scope(&self.shared) };
            match self.checkpoint(scope) {
                Ok(()) => {
                    self.cramped = false;
                    self.shared.checkpointed(clock::now());
                }
                Err(error) => {
                    self.shared.meter.checkpoints_failed.add_one();
                    self.complain(&error);
                }
            }
            self.announce();
            if stop {
                return;
            }
            if self.sweep.last.elapsed() >= self.shared.options.sweep_interval {
                self.sweep();
            }
        }
    }

    /// Waits until that time, or until somebody wakes the keeper; returns what it is asked to do.
    fn sleep_until(&self, next: Instant) -> Wake {
        let (wake, woken) = &self.shared.wake;
        let mut wake = wake.lock();
        while !wake.stop && !wake.pressure && !wake.look {
            if woken.wait_until(&mut wake, next).timed_out() {
                break;
            }
        }
        let pressure = std::mem::take(&mut wake.pressure);
        wake.look = false;
        Wake { pressure, stop: wake.stop, ..Wake::default() }
    }

    /// Says that a checkpoint was not taken, unless it is known why.
    fn complain(&mut self, error: &StoreError) {
        let cramped = error.is_short_of_room();
        if cramped {
            self.shared.wake.0.lock().cramped = Some(error.clone());
        }
        if std::mem::replace(&mut self.cramped, cramped) && cramped {
            return;
        }
        if !matches!(error, StoreError::IndexUnavailable(_)) || !self.is_building() {
            tracing::warn!(%error, "the checkpoint was not taken");
        }
    }

    fn announce(&self) {
        self.shared.wake.1.notify_all();
    }

    /// Copies calls into the index, and has the journal say so.
    pub(super) fn checkpoint(&self, scope: CheckpointScope) -> Result<(), StoreError> {
        let _writing = self.shared.index_writer.lock();
        self.checkpoint_locked(scope)
    }

    /// The same for whoever holds the lock of those who write the index.
    pub(super) fn checkpoint_locked(&self, scope: CheckpointScope) -> Result<(), StoreError> {
        let shared = &self.shared;
        let index = shared.index()?;
        // An index that finds no room while it is written has failed, and with it all lists.
        if let Some(needed) = checkpoint::needed_bytes(shared) {
            shared.room.holds("a checkpoint", needed)?;
        }
        let written = checkpoint::write(shared, &index, self.generation, scope, clock::now());
        let written = written.map_err(|error| shared.index_failed(&error))?;
        let Some(IndexCheckpoint { note, versions }) = written else { return Ok(()) };
        let done = shared.ask(|reply| Job::Checkpoint(note, reply));
        self.let_go(versions)?;
        done
    }

    /// Has calls leave memory that the index has, once those are done who may not have seen them there.
    pub(super) fn let_go(&self, versions: Versions) -> Result<(), StoreError> {
        let shared = &self.shared;
        shared.readers.wait_for_present();
        for piece in versions.pieces() {
            shared.ask(|reply| Job::Settle(piece, reply))?;
        }
        Ok(())
    }

    /// Gives up every call that has heard nothing for longer than a call may live.
    fn sweep(&mut self) {
        let now = clock::now();
        if !self.sweep.believes(now) {
            return;
        }
        let shared = &self.shared;
        let heard_before = now.minus_millis(shared.options.max_lifetime_millis);
        let mut quiet: Vec<CallId> = {
            let registry = shared.registry.read();
            let quiet = registry.iter().filter(|(_, entry)| {
                entry.call().is_some_and(|c| c.live() && c.last_event_at() < heard_before)
            });
            quiet.map(|(id, _)| id).collect()
        };
        if let Ok(index) = shared.index() {
            match index.live_before(heard_before, SWEEP_CALLS * 20) {
                Ok(more) => {
                    let registry = shared.registry.read();
                    quiet.extend(more.into_iter().filter(|id| registry.get(*id).is_none()));
                }
                Err(error) => {
                    shared.index_failed(&error);
                }
            }
        }
        for calls in quiet.chunks(SWEEP_CALLS) {
            let changes = calls.iter().map(|id| Change::Stale(*id, heard_before)).collect();
            let swept =
                shared.submit(changes, now, false, Backpressure::None).and_then(Ticket::wait);
            match swept {
                Ok(outcome) => {
                    shared.meter.gone_stale.add(outcome.changed);
                    tracing::info!(calls = outcome.changed, "calls have gone stale");
                }
                Err(error) => {
                    tracing::warn!(%error, "stale calls wait for the next sweep");
                    return;
                }
            }
        }
    }
}

/// When the last sweep was, by two clocks: one that can be set and one that cannot.
pub(super) struct Sweep {
    last: Instant,
    clock: Timestamp,
    paused_until: Option<Instant>,
}

impl Sweep {
    pub fn new() -> Self {
        Self { last: Instant::now(), clock: clock::now(), paused_until: None }
    }

    /// Whether this time is believed. A clock that has stepped forward by more than an hour is not,
    /// until it has stayed there for an hour: a wrong clock must not end everybody's calls.
    pub fn believes(&mut self, now: Timestamp) -> bool {
        let passed = self.last.elapsed();
        let shown = now.millis().saturating_sub(self.clock.millis());
        self.last = Instant::now();
        self.clock = now;
        if Duration::from_millis(shown) > passed + STEP {
            tracing::warn!(
                "the clock has stepped forward; no call is given up or deleted for an hour"
            );
            self.paused_until = Some(self.last + STEP);
        }
        if self.paused_until.is_some_and(|until| until > self.last) {
            return false;
        }
        self.paused_until = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_not_believed_at_once() {
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let mut sweep = Sweep { last: Instant::now(), clock: now, paused_until: None };
        assert!(sweep.believes(now.plus_millis(1000)));
        assert!(!sweep.believes(now.plus_millis(2 * 3_600_000)));
        assert!(!sweep.believes(now.plus_millis(2 * 3_600_000 + 1)), "not yet confirmed");
        sweep.paused_until = Some(Instant::now());
        assert!(sweep.believes(now.plus_millis(2 * 3_600_000 + 2)), "an hour later it is");
    }
}
