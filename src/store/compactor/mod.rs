//! Giving disk space back: calls whose time is over are deleted, and the journal's full segments are
//! packed without what is needed no more.
//!
//! **Space.** A segment's place is taken by what was packed of it, and its file goes at once where
//! it is not read, before the next one is packed. Nothing is packed where that would shut the gate
//! (`disk_space.rs`); what does not fit is passed over, and tried again as soon as there is space for it.
//!
//! **What is dropped.** A frame goes only where the registry or the index shows a *later* one of the
//! same call. An index that knows nothing of a call whose record is in the journal has lost a row:
//! nothing is dropped then, and it is built again. Architecture invariant: no damage to the index can
//! make the compactor lose a call.
//!
//! **Deletions** stand for what they delete until nothing older of that call is left in the journal,
//! and for as long as a call may live. Segments are taken oldest first, and each says as of which
//! sequence number it has been cleared: a deletion below the least of these numbers of all segments
//! before it may go. The index lets go of it after that ([`Shared::has_left_journal`]).
//!
//! **History.** Segments younger than that are compressed and otherwise left as they are, so that a
//! backup of them can be restored as of any moment.

mod pack;
pub(crate) mod retention;
mod size_limit;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::clock;
use crate::domain::{CallId, Timestamp};
use crate::journal::Segment;
use crate::store::StoreError;
use crate::store::believed_clock::BelievedClock;
use crate::store::index_builder::BuildPause;
use crate::store::messages::{Collected, CommitterMessage, CompactorMessage, Depth};
use crate::store::state::Shared;
use crate::store::threads::ReplySender;
use retention::EXPIRED_AT_ONCE;
use size_limit::{Advice, SizeLimitRun};

/// How soon the size of a store is looked at again that does not fit.
const FIT_INTERVAL: Duration = Duration::from_secs(30);
/// How often it is looked whether there is space now for what had none.
const ROOM_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is looked whether replaced segments are still read.
const UNLINK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a round begins again since it has made space for what had none.
const ATTEMPTS_MAX: u32 = 16;

/// The thread that gives space back.
pub(crate) struct Compactor<'a> {
    pub(crate) shared: Arc<Shared>,
    inbox: &'a Receiver<CompactorMessage>,
    /// Rounds that were asked for.
    asked: RefCell<VecDeque<(Depth, ReplySender<Collected>)>>,
    stop: Cell<bool>,
    /// Who waits for this round.
    reply: Option<ReplySender<Collected>>,
    /// Of a round that was asked for: whether others are at work, beside whom alone it rests.
    pause: Option<BuildPause>,
    /// Segments that were replaced, until they are read no more.
    pub(crate) retired: Vec<Retired>,
    sweep: BelievedClock,
    /// The segment that is being written, and since when.
    present: (u64, Instant),
    fitting: SizeLimitRun,
}

/// A round that is due: how far it goes, and who waits for it.
type DueRound = (Depth, Option<ReplySender<Collected>>);

/// A segment whose place another one has taken.
pub(crate) struct Retired {
    pub segment: Arc<Segment>,
    /// It has been said that its file cannot be removed.
    reported: bool,
}

impl From<Arc<Segment>> for Retired {
    fn from(segment: Arc<Segment>) -> Self {
        Self { segment, reported: false }
    }
}

/// A round that found no space for part of its work.
struct Short {
    /// Bytes that it takes; none where that is not known.
    needed: Option<u64>,
}

impl Short {
    /// Where it is space that was missing.
    fn of(error: &StoreError) -> Option<Self> {
        let needed = match error {
            StoreError::NoSpace { needed, .. } => Some(*needed),
            _ => None,
        };
        error.is_short_of_space().then_some(Self { needed })
    }

    /// How often it is looked whether there is space. Where that is not known, as under a quota, only
    /// an attempt shows it, and that costs more.
    fn interval(&self) -> Duration {
        if self.needed.is_some() { ROOM_INTERVAL } else { FIT_INTERVAL }
    }
}

impl<'a> Compactor<'a> {
    pub fn new(shared: Arc<Shared>, inbox: &'a Receiver<CompactorMessage>) -> Self {
        Self {
            shared,
            inbox,
            asked: RefCell::default(),
            stop: Cell::new(false),
            reply: None,
            pause: None,
            retired: Vec::new(),
            sweep: BelievedClock::new(),
            present: (0, Instant::now()),
            fitting: SizeLimitRun::default(),
        }
    }

    /// Runs until the store closes.
    pub fn run(mut self) {
        let interval = self.shared.options.retention.interval;
        let mut next = Instant::now() + interval;
        let mut short = None;
        while let Some((depth, reply)) = self.sleep_until(next, short.as_ref()) {
            self.reply = reply;
            let (collected, done) = self.round(depth);
            if collected.segments + collected.expired > 0 {
                tracing::info!(
                    expired = collected.expired,
                    segments = collected.segments,
                    before = collected.bytes_before,
                    after = collected.bytes_after,
                    "the journal was collected"
                );
            }
            match &done {
                Ok(()) | Err(StoreError::Closing) => {}
                Err(error) if error.is_short_of_space() => {
                    tracing::warn!(%error, "not all of the journal was collected; it goes on once there is space");
                }
                Err(error @ StoreError::NoQuorum(_)) => {
                    tracing::warn!(%error, "calls whose time is over wait for a quorum");
                }
                Err(error) => tracing::warn!(%error, "the journal was not collected; trying again"),
            }
            let soon = done.is_ok() && collected.fitting;
            next = Instant::now() + if soon { interval.min(FIT_INTERVAL) } else { interval };
            short = done.as_ref().err().and_then(Short::of);
            if let Some(reply) = self.reply.take() {
                reply.send(done.map(|()| collected));
            }
        }
        self.unlink();
    }

    /// Waits until that time, or until there is space for what had none, or until one is asked for; none
    /// once the store closes.
    fn sleep_until(&mut self, next: Instant, short: Option<&Short>) -> Option<DueRound> {
        let interval = short.map_or(ROOM_INTERVAL, Short::interval);
        let mut look_at_room = Instant::now() + interval;
        loop {
            let mut wake_at = next;
            if short.is_some() {
                wake_at = wake_at.min(look_at_room);
            }
            if !self.retired.is_empty() {
                wake_at = wake_at.min(Instant::now() + UNLINK_INTERVAL);
            }
            let asked = self.asked_until(wake_at).ok()?;
            self.unlink();
            if let Some((depth, reply)) = asked {
                return Some((depth, Some(reply)));
            }
            if Instant::now() >= next {
                return Some((Depth::Usual, None));
            }
            if let Some(short) = short
                && Instant::now() >= look_at_room
            {
                if self.has_room_for(short) {
                    return Some((Depth::Usual, None));
                }
                look_at_room = Instant::now() + interval;
            }
        }
    }

    /// Waits until that time, or until a round is asked for.
    ///
    /// # Errors
    /// [`StoreError::Closing`], and nothing else.
    fn asked_until(
        &self,
        time: Instant,
    ) -> Result<Option<(Depth, ReplySender<Collected>)>, StoreError> {
        if self.asked.borrow().is_empty() && !self.stop.get() {
            self.receive(time.saturating_duration_since(Instant::now()));
        }
        if self.stop.get() {
            return Err(StoreError::Closing);
        }
        Ok(self.asked.borrow_mut().pop_front())
    }

    /// Takes the next message, should there be one within that time.
    fn receive(&self, longest: Duration) {
        match self.inbox.recv_timeout(longest) {
            Ok(CompactorMessage::Collect(depth, reply)) => {
                self.asked.borrow_mut().push_back((depth, reply));
            }
            Ok(CompactorMessage::Stop) | Err(RecvTimeoutError::Disconnected) => self.stop.set(true),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }

    fn has_room_for(&self, short: &Short) -> bool {
        let space = &self.shared.disk;
        let enough = |needed| space.leaves("it", needed, space.kept()).is_ok();
        short.needed.is_none_or(enough)
    }

    /// Rests for so long, unless the store closes.
    pub(crate) fn rest(&self, time: Duration) -> Result<(), StoreError> {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if !self.stop.get() {
                self.receive(left);
            }
            if self.stop.get() {
                return Err(StoreError::Closing);
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// A round, and what it has done, also where it ends in an error.
    fn round(&mut self, depth: Depth) -> (Collected, Result<(), StoreError>) {
        let mut collected = Collected::default();
        let now = clock::now();
        let asked = depth > Depth::Usual;
        let believed = self.sweep.believes(now) || asked;
        self.pause = asked.then(|| BuildPause::new(&self.shared));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let before = collected.segments;
            let done = self.attempt(now, depth, believed, &mut collected);
            self.unlink();
            // What was packed may have made space for what had none.
            let goes_on = collected.segments > before
                && attempts < ATTEMPTS_MAX
                && done.as_ref().err().and_then(Short::of).is_some_and(|s| self.has_room_for(&s));
            if !goes_on {
                return (collected, done);
            }
        }
    }

    /// Goes through all steps once. One that finds no space does not keep those after it from making
    /// some.
    fn attempt(
        &mut self,
        now: Timestamp,
        depth: Depth,
        believed: bool,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        #[cfg(test)]
        self.shared.health.strike("compactor");
        let asked = depth > Depth::Usual;
        // What is asked for is done here, whichever node looks after the rest.
        let proposals = self.shared.proposals();
        let expires = believed && proposals.is_some_and(|them| asked || them.is_mine());
        let mut short = None;
        if expires {
            let time = proposals.map_or(now, |them| them.time(now));
            let expired = self.expire(time);
            collected.expired += unless_short(&mut short, expired)?;
        }
        let begun = self.begin_segment(asked);
        unless_short(&mut short, begun)?;
        if asked {
            unless_short(&mut short, self.shared.checkpoint_now())?;
        }
        let packed = self.pack_journal(now, depth, collected);
        unless_short(&mut short, packed)?;
        if expires {
            let fits = self.enforce_size(now, collected);
            unless_short(&mut short, fits)?;
        }
        short.map_or(Ok(()), Err)
    }

    /// Makes the store fit into the size that is set.
    fn enforce_size(
        &mut self,
        now: Timestamp,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let advice = self.fitting.advice(&self.shared)?;
        collected.fitting = advice != Advice::Fits;
        let Advice::Delete(mut count) = advice else { return Ok(()) };
        while count > 0 {
            let oldest = self.shared.oldest(count, &mut || self.rest(Duration::from_millis(1)))?;
            tracing::info!(calls = oldest.len(), "the oldest calls go: the store is over its size");
            let deleted = self.delete(&oldest)?;
            collected.expired += deleted;
            // The index is asked for the next ones, and is to know that these are gone.
            self.shared.checkpoint_now()?;
            count = if deleted == 0 { 0 } else { count.saturating_sub(oldest.len() as u64) };
        }
        // What must fit has no space for history.
        self.begin_segment(true)?;
        self.shared.checkpoint_now()?;
        self.pack_journal(now, Depth::Erase, collected)
    }

    /// Deletes the calls whose time is over.
    fn expire(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut expired = 0;
        loop {
            let over = self.shared.over(now, &mut || self.rest(Duration::from_millis(1)))?;
            let changed = self.delete(&over.ids)?;
            expired += changed;
            if changed == 0 || !over.more {
                return Ok(expired);
            }
        }
    }

    /// Deletes those of these calls that have ended, in small pieces. Returns how many.
    fn delete(&self, calls: &[CallId]) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for calls in calls.chunks(EXPIRED_AT_ONCE) {
            deleted += loop {
                match self.shared.expire(calls, clock::now()) {
                    // The checkpointer makes space, unless the disk has none.
                    Err(StoreError::Busy) => {
                        if let Some(error) = self.shared.short_of_space.lock().clone() {
                            return Err(error);
                        }
                        self.rest(Duration::from_millis(10))?;
                    }
                    done => break done?,
                }
            };
            self.rest(Duration::from_millis(10))?;
        }
        Ok(deleted)
    }

    /// Has a new segment begun where the present one has been written for long: what was deleted
    /// would stay in it else.
    fn begin_segment(&mut self, at_once: bool) -> Result<(), StoreError> {
        let last = self.shared.view.segments.read().last().map_or(0, |segment| segment.first_seq);
        if self.present.0 != last {
            self.present = (last, Instant::now());
        }
        let age = Duration::from_millis(self.shared.options.retention.erase_millis / 4);
        if !at_once && self.present.1.elapsed() < age {
            return Ok(());
        }
        self.shared.queue.committer.ask(CommitterMessage::BeginSegment)
    }

    /// Removes the files of replaced segments that are not read.
    pub(crate) fn unlink(&mut self) {
        let before = self.retired.len();
        self.retired.retain_mut(|retired| {
            if Arc::strong_count(&retired.segment) > 1 {
                return true;
            }
            match std::fs::remove_file(&retired.segment.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    if !std::mem::replace(&mut retired.reported, true) {
                        let file = retired.segment.path.display();
                        tracing::warn!(%file, %error, "a replaced segment cannot be removed; trying on");
                    }
                    true
                }
                _ => false,
            }
        });
        if self.retired.len() < before {
            self.shared.disk.look();
        }
    }
}

/// A result; what had no space, or is not taken for want of a quorum, is kept aside, the first of all.
fn unless_short<T: Default>(
    short: &mut Option<StoreError>,
    done: Result<T, StoreError>,
) -> Result<T, StoreError> {
    match done {
        Err(error) if error.is_short_of_space() || matches!(error, StoreError::NoQuorum(_)) => {
            short.get_or_insert(error);
            Ok(T::default())
        }
        done => done,
    }
}
