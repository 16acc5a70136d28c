//! The checkpointer: the one thread that writes the index. It takes checkpoints, gives up calls that
//! have gone quiet, and has a new index take over when the old one fails or is compacted.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::believed_clock::BelievedClock;
use super::change::Change;
use super::checkpoint::{self, CheckpointScope};
use super::index_builder::IndexBuilder;
use super::messages::CheckpointerMessage;
use super::state::Shared;
use super::submit::Backpressure;
use super::threads::ReplySender;
use crate::clock;
use crate::domain::CallId;

/// Calls that one submission of the sweep gives up.
const SWEEP_CALLS: usize = 500;

/// What of the calls in memory may be CDRs that wait: one of so many.
const WAITING_SHARE: usize = 4;
/// Time between two looks for CDRs whose time is over.
const PLACING_MIN: Duration = Duration::from_millis(500);
/// Sids that an index which was opened gets to know at once.
const LEARNED_SIDS: usize = 100_000;
/// Calls that are counted at once for the quarters of an hour that are sealed.
const SEALED_CALLS: usize = 20_000;
/// How long after its end a quarter is sealed: until then most of its calls still change.
const SEAL_AGE_MS: u64 = 10 * 60 * 1000;
/// How long sids are read at once.
const LEARNING: Duration = Duration::from_millis(500);
/// How long quarters are sealed at once where nothing else is to be done.
const SEALING: Duration = Duration::from_secs(1);

/// The thread's own state.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    sweep: BelievedClock,
    builder: IndexBuilder,
    /// It has been logged that there is no room for a checkpoint.
    cramped: bool,
    /// CDRs that wait have been looked at up to this sequence number, with the index of this generation.
    cdrs_seen: (u64, u64),
}

/// What has been asked for since the last turn, new generations apart.
#[derive(Default)]
struct Asked {
    stop: bool,
    /// Nobody asked for anything: the time is over.
    nothing: bool,
    /// Everything goes to the index, whatever age it has.
    everything: bool,
    /// Who waits for that.
    replies: Vec<ReplySender<()>>,
}

impl Checkpointer {
    pub fn new(shared: Arc<Shared>, generation: u64) -> Self {
        let builder = IndexBuilder::new(shared.clone(), generation);
        Self { shared, sweep: BelievedClock::new(), builder, cramped: false, cdrs_seen: (0, 0) }
    }

    /// Runs until the store closes; the last thing is a checkpoint of everything.
    pub fn run(mut self, inbox: &Receiver<CheckpointerMessage>) {
        let interval = self.shared.options.checkpoint_interval;
        let mut last = Instant::now();
        loop {
            let left = interval.saturating_sub(last.elapsed());
            let sooner = [self.until_cdr_is_due(), self.builder.until_attempt()];
            let longest = sooner.into_iter().flatten().fold(left, Duration::min);
            let Asked { stop, nothing, everything, replies } = self.next_turn(inbox, longest);
            #[cfg(test)]
            self.shared.health.strike("checkpointer");
            // CDRs whose time is over need no checkpoint of their own, nor does an index that has failed.
            if nothing && last.elapsed() < interval {
                if self.builder.until_attempt().is_some() {
                    self.builder.tend();
                }
                self.place_cdrs();
                continue;
            }
            if stop {
                self.builder.end();
            } else {
                self.builder.tend();
            }
            let scope = if stop || everything {
                CheckpointScope::Everything
            } else {
                checkpoint::scope_of_next(&self.shared)
            };
            let mut done = checkpoint::take(&self.shared, self.builder.generation(), scope);
            if matches!(done, Ok(false)) && !stop && !everything {
                done = checkpoint::tidy(&self.shared).map(|()| false);
            }
            if !stop && done.is_ok() {
                self.learn_sids();
            }
            // Where memory has to be emptied, that goes first.
            if let Ok(written) = done
                && !stop
                && !(written && everything)
            {
                done = self.seal(written).map(|()| written);
            }
            match &done {
                Ok(_) => {
                    self.cramped = false;
                    self.shared.view.meter.checkpointed_at.set(clock::now().millis().cast_signed());
                }
                Err(error) => {
                    self.shared.view.meter.checkpoints_failed.inc();
                    self.complain(error);
                }
            }
            for reply in replies {
                reply.send(done.clone().map(drop));
            }
            self.shared.queue.announce_room();
            if stop {
                return;
            }
            last = Instant::now();
            self.place_cdrs();
            if self.sweep.last().elapsed() >= self.shared.options.sweep_interval {
                self.sweep();
            }
        }
    }

    /// Waits for a message, or for so long, and takes all that have come.
    fn next_turn(&mut self, inbox: &Receiver<CheckpointerMessage>, longest: Duration) -> Asked {
        let mut asked = Asked::default();
        let mut next = match inbox.recv_timeout(longest) {
            Err(RecvTimeoutError::Disconnected) => Some(CheckpointerMessage::Stop),
            message => message.ok(),
        };
        asked.nothing = next.is_none();
        while let Some(message) = next {
            match message {
                CheckpointerMessage::Wake => {
                    self.shared.checkpointer.awake();
                    asked.everything = true;
                }
                CheckpointerMessage::Checkpoint(reply) => {
                    asked.everything = true;
                    asked.replies.push(reply);
                }
                CheckpointerMessage::Build(reason, reply) => self.builder.ask(reason, reply),
                CheckpointerMessage::Compact => self.builder.ask_to_fit(),
                CheckpointerMessage::AwaitIndex(reply) => self.builder.await_index(reply),
                CheckpointerMessage::Filled => self.builder.filled(),
                CheckpointerMessage::Stop => asked.stop = true,
            }
            next = inbox.try_recv().ok();
        }
        asked
    }

    /// How long the CDR that came first has yet to wait, but for a moment; none where none waits, or another
    /// node looks after them.
    fn until_cdr_is_due(&self) -> Option<Duration> {
        self.shared.own_proposals()?;
        let registry = self.shared.view.registry.read();
        let (_, first) = registry.all_waiting().next()?;
        let due = first.at.plus_millis(self.shared.options.cdrs.wait_millis);
        let left = due.millis().saturating_sub(clock::now().millis());
        Some(Duration::from_millis(left).max(PLACING_MIN))
    }

    /// Looks again at CDRs that wait: those that are new, in case their call came meanwhile, and those whose
    /// time is over. Where many wait the first ones wait less.
    fn place_cdrs(&mut self) {
        // Without an index it is not known which calls there are.
        if self.shared.view.index().is_err() {
            return;
        }
        let Some(proposals) = self.shared.own_proposals() else {
            // Who takes over looks at all of them.
            self.cdrs_seen = (0, 0);
            return;
        };
        let (seen, generation) = self.cdrs_seen;
        let seen = if generation == self.builder.generation() { seen } else { 0 };
        let (now, wait) = (clock::now(), self.shared.options.cdrs.wait_millis);
        let mut newest = seen;
        let changes: Vec<Change> = {
            let registry = self.shared.view.registry.read();
            let most = self.shared.options.registry_calls / WAITING_SHARE;
            let surplus = registry.waiting().saturating_sub(most);
            let waiting = registry.all_waiting().enumerate();
            let looked = waiting.filter_map(|(n, (id, part))| {
                let due = n < surplus || part.at.plus_millis(wait) <= now;
                newest = newest.max(part.seq);
                (due || part.seq > seen).then_some(Change::PlaceCdr { id, due })
            });
            looked.collect()
        };
        for some in changes.chunks(SWEEP_CALLS) {
            let placed = proposals.propose(some.to_vec(), now, Backpressure::None);
            if let Err(error) = placed {
                tracing::warn!(%error, "CDRs that wait for their calls wait longer");
                return;
            }
        }
        self.cdrs_seen = (newest, self.builder.generation());
    }

    /// Has the index get to know sids that it had when it was opened, for a while.
    fn learn_sids(&self) {
        let begun = Instant::now();
        let Ok(index) = self.shared.view.index() else { return };
        loop {
            match index.learn_sids(LEARNED_SIDS) {
                Ok(true) if begun.elapsed() < LEARNING => {}
                Ok(_) => return,
                Err(error) => {
                    self.shared.view.index_failed(&error);
                    return;
                }
            }
        }
    }

    /// Seals some quarters of an hour; where nothing was written, for a while.
    fn seal(&self, written: bool) -> Result<(), StoreError> {
        let (begun, until) = (Instant::now(), clock::now().minus_millis(SEAL_AGE_MS));
        while checkpoint::seal(&self.shared, until, SEALED_CALLS, written)?
            && !written
            && begun.elapsed() < SEALING
        {}
        Ok(())
    }

    /// Logs that a checkpoint was not taken, unless that is known already.
    fn complain(&mut self, error: &StoreError) {
        let cramped = error.is_short_of_space();
        if std::mem::replace(&mut self.cramped, cramped) && cramped {
            return;
        }
        if !matches!(error, StoreError::IndexUnavailable(..)) || !self.builder.is_building() {
            tracing::warn!(%error, "the checkpoint was not taken");
        }
    }

    /// Gives up every call that has heard nothing for longer than a call may live.
    fn sweep(&mut self) {
        let now = clock::now();
        let shared = &self.shared;
        if !self.sweep.believes(now) {
            return;
        }
        let Some(proposals) = shared.own_proposals() else { return };
        let now = proposals.time(now);
        let heard_before = now.minus_millis(shared.view.tombstones().lifetime_millis());
        let mut quiet: Vec<CallId> = {
            let registry = shared.view.registry.read();
            let quiet = registry.iter().filter(|(_, entry)| {
                entry.call().is_some_and(|c| c.live() && c.last_event_at() < heard_before)
            });
            quiet.map(|(id, _)| id).collect()
        };
        if let Ok(index) = shared.view.index() {
            match index.live_before(heard_before, SWEEP_CALLS * 20) {
                Ok(more) => {
                    let registry = shared.view.registry.read();
                    quiet.extend(more.into_iter().filter(|id| registry.get(*id).is_none()));
                }
                Err(error) => {
                    shared.view.index_failed(&error);
                }
            }
        }
        for calls in quiet.chunks(SWEEP_CALLS) {
            let changes = calls.iter().map(|id| Change::Stale(*id, heard_before)).collect();
            match proposals.propose(changes, now, Backpressure::None) {
                Ok(outcome) => {
                    // Where it is not known yet they were quiet a moment ago.
                    let gone = outcome.map_or(calls.len() as u64, |outcome| outcome.changed);
                    shared.view.meter.gone_stale.inc_by(gone);
                    tracing::info!(calls = gone, "calls have gone stale");
                }
                Err(error) => {
                    tracing::warn!(%error, "stale calls wait for the next sweep");
                    return;
                }
            }
        }
    }
}
