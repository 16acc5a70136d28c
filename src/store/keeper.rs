//! The keeper: the one thread that writes the index. It takes checkpoints, gives up calls that
//! have gone quiet, and builds a new index when the old one fails.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::StoreError;
use super::checkpoint::{self, Scope};
use super::commit::Job;
use super::rebuild;
use super::shared::{Shared, Wake};
use super::submit::{Change, Patience, Ticket};
use crate::clock;
use crate::domain::{CallId, Timestamp};

/// Calls that one submission of the sweep gives up.
const SWEEP_CALLS: usize = 500;
/// The least time between two attempts to build an index that has failed.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(2);
/// A step of the clock that is not believed at once.
const STEP: Duration = Duration::from_hours(1);

/// The keeper's own state.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    generation: u64,
    sweep: Sweep,
    /// When a failed index may be built again.
    next_attempt: Instant,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>, generation: u64) -> Self {
        let sweep = Sweep { last: Instant::now(), clock: clock::now(), paused_until: None };
        Self { shared, generation, sweep, next_attempt: Instant::now() }
    }

    /// Runs until the store closes; the last thing is a checkpoint of everything.
    pub fn run(mut self) {
        let interval = self.shared.options.checkpoint_interval;
        let mut next = Instant::now() + interval;
        loop {
            let Wake { stop, pressure, .. } = self.sleep_until(next);
            next = Instant::now() + interval;
            let asked = std::mem::take(&mut self.shared.wake.0.lock().rebuild);
            let failed = self.shared.index().is_err();
            if asked || failed && Instant::now() >= self.next_attempt {
                // A disk that is full stays so for a while; reading the journal is not free.
                self.next_attempt = Instant::now() + ATTEMPT_INTERVAL;
                let built = self.build_anew(failed);
                if let Err(error) = &built {
                    tracing::error!(%error, "the index cannot be built again; trying on");
                }
                if asked {
                    self.shared.wake.0.lock().rebuilt = Some(built);
                }
            }
            let all = stop || pressure;
            let scope = if all { Scope::Everything } else { checkpoint::scope(&self.shared) };
            match self.checkpoint(scope) {
                Ok(()) => self.shared.checkpointed(clock::now()),
                Err(error) => {
                    self.shared.meter.checkpoints_failed.add_one();
                    tracing::warn!(%error, "the checkpoint was not taken");
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
        while !wake.stop && !wake.pressure && !wake.rebuild {
            if woken.wait_until(&mut wake, next).timed_out() {
                break;
            }
        }
        let pressure = std::mem::take(&mut wake.pressure);
        Wake { pressure, stop: wake.stop, ..Wake::default() }
    }

    fn announce(&self) {
        self.shared.wake.1.notify_all();
    }

    fn checkpoint(&self, scope: Scope) -> Result<(), StoreError> {
        let shared = &self.shared;
        let _writing = shared.index_writer.lock();
        let index = shared.index()?;
        let written = checkpoint::write(shared, &index, self.generation, scope, clock::now());
        let Some(written) = written.map_err(|error| shared.index_failed(&error))? else {
            return Ok(());
        };
        let (reply, answer) = sync_channel(1);
        let job = Job::Checkpoint(Box::new(written), reply);
        shared.jobs.send(job).map_err(|_| StoreError::Closing)?;
        answer.recv().unwrap_or(Err(StoreError::Closing))
    }

    /// A new generation takes over. One that has failed is moved aside.
    fn build_anew(&mut self, failed: bool) -> Result<u64, StoreError> {
        let shared = &self.shared;
        let _writing = shared.index_writer.lock();
        let built =
            rebuild::build(shared, clock::now(), &|step| *shared.rebuilding.lock() = Some(step))?;
        let (reply, answer) = sync_channel(1);
        let job = Job::Replace(built.index, reply);
        shared.jobs.send(job).map_err(|_| StoreError::Closing)?;
        answer.recv().unwrap_or(Err(StoreError::Closing))?;
        self.generation = built.generation;
        shared.generations.finish(built.generation, failed)?;
        shared.meter.index_rebuilds.add_one();
        tracing::info!(calls = built.calls, "the index has been built again");
        Ok(built.calls)
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
            let swept = shared.submit(changes, now, false, Patience::None).and_then(Ticket::wait);
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
struct Sweep {
    last: Instant,
    clock: Timestamp,
    paused_until: Option<Instant>,
}

impl Sweep {
    /// Whether this time is believed. A clock that has stepped forward by more than an hour is not,
    /// until it has stayed there for an hour: a wrong clock must not end everybody's calls.
    fn believes(&mut self, now: Timestamp) -> bool {
        let passed = self.last.elapsed();
        let shown = now.millis().saturating_sub(self.clock.millis());
        self.last = Instant::now();
        self.clock = now;
        if Duration::from_millis(shown) > passed + STEP {
            tracing::warn!("the clock has stepped forward; calls are not given up for an hour");
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
