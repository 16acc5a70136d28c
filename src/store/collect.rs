//! Giving disk space back: calls whose time is over are deleted, and the journal's full segments are
//! packed without what nobody needs any more.
//!
//! **What is dropped.** A frame goes only where the registry or the index shows a *later* one of the
//! same call. An index that knows nothing of a call whose record is in the journal has lost a row:
//! nothing is dropped then, and it is built again. Architecture invariant: no damage to the index can
//! make the collector lose a call.
//!
//! **Deletions** stand for what they delete until nothing older of that call is left in the journal,
//! and for as long as a call may live. Segments are taken oldest first, and each says as of which
//! sequence number it has been cleared: a deletion below the least of these numbers of all segments
//! before it may go. The index lets go of it after that ([`Shared::has_left_journal`]).
//!
//! **History.** Segments younger than that are compressed and otherwise left as they are, so that a
//! backup of them can be restored as of any moment.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::bodies::{admin_row, tombstone_id};
use super::commit::Job;
use super::fit::{Advice, Fitting};
use super::keeper::Sweep;
use super::shared::Shared;
use super::survey::{Counts, EXPIRED_AT_ONCE};
use crate::clock;
use crate::codec;
use crate::domain::{CallId, Timestamp};
use crate::journal::{self, Fate, Frame, Kind, Scanner, Segment, Stamp};

/// How long the collector rests after each block, in times of what the block took.
const REST: u32 = 1;
/// The longest such rest.
const REST_MAX: Duration = Duration::from_millis(50);
/// How long a checkpoint may take that somebody waits for.
const CHECKPOINT_MAX: Duration = Duration::from_mins(1);
/// How soon the size of a store is looked at again that does not fit.
const FIT_INTERVAL: Duration = Duration::from_secs(30);

/// What is kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long after it was listed an ended call is kept; for good where there is none.
    pub age_millis: Option<u64>,
    /// What journal and index together may take on disk.
    pub bytes: Option<u64>,
    /// How far back every version of every call is kept.
    pub history_millis: u64,
    /// Within what time a deleted call has left the journal.
    pub erase_millis: u64,
    /// Time between two rounds.
    pub interval: Duration,
}

/// What a round has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Collected {
    /// Calls whose time was over.
    pub expired: u64,
    /// Segments that were packed.
    pub segments: u64,
    /// Bytes on disk of these segments before, and of what took their place.
    pub bytes_before: u64,
    /// The same after.
    pub bytes_after: u64,
    /// The store is larger than it may be: more follows.
    pub fitting: bool,
}

/// How far a round goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What is worth the work.
    Usual,
    /// Whatever can go, but for the history that is kept.
    Thorough,
    /// Whatever can go.
    Erase,
}

/// What the collector is asked to do.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    /// Close.
    pub stop: bool,
    /// A round out of turn.
    pub asked: Option<Depth>,
    /// What became of the last round that was asked for.
    pub done: Option<Result<Collected, StoreError>>,
}

/// The thread that gives space back.
pub(super) struct Collector {
    shared: Arc<Shared>,
    /// Segments that were replaced, until nobody reads them any more.
    retired: Vec<Arc<Segment>>,
    sweep: Sweep,
    /// The segment that is being written, and since when.
    present: (u64, Instant),
    fitting: Fitting,
}

/// One round that is due.
struct Turn {
    depth: Depth,
    /// Somebody waits for it.
    asked: bool,
}

/// One segment, as a round sees it.
struct Member {
    segment: Arc<Segment>,
    /// Frames in it.
    frames: u64,
    /// Those of them that count.
    live: u64,
    /// Something in it can go.
    dirty: bool,
    /// It is left whole for the sake of history.
    whole: bool,
    /// As of which sequence number it has been cleared.
    cleared: u64,
}

impl Collector {
    pub fn new(shared: Arc<Shared>) -> Self {
        let (sweep, fitting) = (Sweep::new(), Fitting::default());
        Self { shared, retired: Vec::new(), sweep, present: (0, Instant::now()), fitting }
    }

    /// Runs until the store closes.
    pub fn run(mut self) {
        let interval = self.shared.options.retention.interval;
        let mut next = Instant::now() + interval;
        while let Some(turn) = self.sleep_until(next) {
            let done = self.round(turn.depth);
            match &done {
                Ok(collected) if collected.segments + collected.expired > 0 => tracing::info!(
                    expired = collected.expired,
                    segments = collected.segments,
                    before = collected.bytes_before,
                    after = collected.bytes_after,
                    "the journal was collected"
                ),
                Ok(_) | Err(StoreError::Closing) => {}
                Err(error) => tracing::warn!(%error, "the journal was not collected; trying again"),
            }
            if turn.asked {
                let (tidy, done_now) = &self.shared.tidy;
                tidy.lock().done = Some(done.clone());
                done_now.notify_all();
            }
            let soon = done.is_ok_and(|collected| collected.fitting);
            next = Instant::now() + if soon { interval.min(FIT_INTERVAL) } else { interval };
        }
    }

    /// Waits until that time, or until somebody asks; none once the store closes.
    fn sleep_until(&self, next: Instant) -> Option<Turn> {
        let (tidy, woken) = &self.shared.tidy;
        let mut tidy = tidy.lock();
        while !tidy.stop && tidy.asked.is_none() {
            if woken.wait_until(&mut tidy, next).timed_out() {
                break;
            }
        }
        let asked = tidy.asked.take();
        let turn = Turn { asked: asked.is_some(), depth: asked.unwrap_or(Depth::Usual) };
        (!tidy.stop).then_some(turn)
    }

    /// Rests for so long, unless the store closes.
    fn rest(&self, time: Duration) -> Result<(), StoreError> {
        let (tidy, woken) = &self.shared.tidy;
        let mut tidy = tidy.lock();
        if !tidy.stop && !time.is_zero() {
            woken.wait_for(&mut tidy, time);
        }
        if tidy.stop { Err(StoreError::Closing) } else { Ok(()) }
    }

    fn round(&mut self, depth: Depth) -> Result<Collected, StoreError> {
        let now = clock::now();
        let mut collected = Collected::default();
        let asked = depth > Depth::Usual;
        let believed = self.sweep.believes(now) || asked;
        if believed {
            collected.expired = self.expire(now)?;
        }
        self.begin_segment(asked)?;
        if asked {
            self.shared.checkpoint_now(CHECKPOINT_MAX)?;
        }
        self.collect(now, depth, &mut collected)?;
        if believed {
            self.fit(now, &mut collected)?;
        }
        self.unlink();
        Ok(collected)
    }

    /// Makes the store fit into the size that is set.
    fn fit(&mut self, now: Timestamp, collected: &mut Collected) -> Result<(), StoreError> {
        let advice = self.fitting.advice(&self.shared)?;
        collected.fitting = advice != Advice::Fits;
        let Advice::Delete(count) = advice else { return Ok(()) };
        let oldest = self.shared.oldest(count, &mut || self.rest(Duration::from_millis(1)))?;
        tracing::info!(calls = oldest.len(), "the oldest calls go: the store is over its size");
        collected.expired += self.delete(&oldest)?;
        // What must fit has no room for history.
        self.begin_segment(true)?;
        self.shared.checkpoint_now(CHECKPOINT_MAX)?;
        self.collect(now, Depth::Erase, collected)
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
                    // The keeper makes room.
                    Err(StoreError::Busy) => self.rest(Duration::from_millis(10))?,
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
        let last = self.shared.segments.read().last().map_or(0, |segment| segment.first_seq);
        if self.present.0 != last {
            self.present = (last, Instant::now());
        }
        let age = Duration::from_millis(self.shared.options.retention.erase_millis / 4);
        if !at_once && self.present.1.elapsed() < age {
            return Ok(());
        }
        self.shared.ask(Job::BeginSegment)
    }

    /// Packs what can be packed, oldest first.
    fn collect(
        &mut self,
        now: Timestamp,
        depth: Depth,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let kept = match depth {
            Depth::Erase => Duration::ZERO,
            _ => Duration::from_millis(self.shared.options.retention.erase_millis),
        };
        let removed = self.shared.generations.remove_damaged(kept);
        removed.map_err(|error| StoreError::IndexUnavailable(super::error::chain(&error)))?;
        let mark = self.shared.index()?.mark().map_err(|error| self.shared.index_failed(&error))?;
        let Some(mark) = mark else { return Ok(()) };
        let segments = self.shared.segments.read().clone();
        let census = self.shared.census(&segments, now, &mut || self.rest(REST_MAX / 50))?;
        // Every deletion up to here is in the index.
        let as_of = mark.last_seq;
        let mut members: Vec<Member> = Vec::new();
        for (pair, counts) in segments.windows(2).zip(census.segments) {
            let [segment, next] = pair else { continue };
            let whole = depth < Depth::Erase && self.is_young(next, now)?;
            // A deletion stays for as long as anything before it does.
            let kept = whole || members.iter().any(|member| member.whole);
            let dispensable = if kept { 0 } else { counts.expired };
            let member = Member {
                segment: segment.clone(),
                frames: match &segment.packed {
                    Some(packed) => packed.frames,
                    None => next.first_seq - segment.first_seq,
                },
                live: counts.live + counts.settings + counts.expired - dispensable,
                dirty: false,
                whole,
                cleared: census.as_of,
            };
            members.push(self.judged(member, counts, depth, now));
        }
        let mut cleared = u64::MAX;
        let mut rest = members.as_slice();
        while !rest.is_empty() {
            let (run, after) = rest.split_at(self.run_length(rest));
            rest = after;
            let whole = run.iter().any(|member| member.whole);
            if run.len() > 1 || run.iter().any(|member| member.dirty) {
                let erase_until = if whole { 0 } else { cleared.min(as_of) };
                let as_of = if whole { 0 } else { as_of };
                let stamp = Stamp { as_of, erased_until: erase_until, at: now };
                self.pack(run, stamp, collected)?;
                cleared = cleared.min(as_of);
            } else {
                let clean = |member: &Member| if member.whole { 0 } else { member.cleared };
                cleared = run.iter().map(clean).fold(cleared, u64::min);
            }
            self.unlink();
        }
        Ok(())
    }

    /// Whether the segment before this one belongs to the history that is kept.
    fn is_young(&self, next: &Segment, now: Timestamp) -> Result<bool, StoreError> {
        let history = self.shared.options.retention.history_millis;
        let ended = Scanner::new(next)?.next_frame()?.map_or(now, |(_, frame)| frame.at);
        Ok(ended.plus_millis(history) > now)
    }

    /// Says whether anything in it can go and is worth the work.
    fn judged(&self, mut member: Member, counts: Counts, depth: Depth, now: Timestamp) -> Member {
        let Some(packed) = &member.segment.packed else {
            member.dirty = true;
            return member;
        };
        let dead = packed.frames.saturating_sub(member.live);
        let due = packed.at.plus_millis(self.shared.options.retention.erase_millis / 2);
        let worth =
            packed.complete || dead * 4 >= packed.frames || due <= now || depth > Depth::Usual;
        member.dirty = !member.whole && dead > 0 && worth;
        if packed.calls > counts.live + counts.expired {
            member.cleared = packed.as_of;
        }
        member
    }

    /// How many segments from the first on become one: as many as fit, where each is in need of it
    /// or small.
    fn run_length(&self, members: &[Member]) -> usize {
        let limit = self.shared.options.segment_bytes;
        let mut bytes = 0;
        let joins = |member: &&Member| {
            let small = member.segment.length < limit / 4;
            let whole = members.first().is_some_and(|first| first.whole);
            bytes += member.expected_bytes();
            (member.dirty || small) && member.whole == whole && bytes <= limit
        };
        members.iter().take_while(joins).count().max(1)
    }

    /// Packs a run and puts it in its segments' place.
    fn pack(
        &mut self,
        run: &[Member],
        stamp: Stamp,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let old: Vec<Arc<Segment>> = run.iter().map(|member| member.segment.clone()).collect();
        let whole = run.iter().any(|member| member.whole);
        let needed = run.iter().map(Member::expected_bytes).sum();
        self.shared.room.holds("packing the journal", needed)?;
        let mut since = Instant::now();
        let mut frames = 0_u64;
        let fate = |frame: &Frame<'_>| {
            frames += 1;
            if frames.is_multiple_of(256) {
                self.rest((since.elapsed() * REST).min(REST_MAX))?;
                since = Instant::now();
            }
            match frame.kind {
                Kind::Checkpoint => Ok(self.checkpoint_fate(frame)),
                _ if whole => Ok(Fate::Keep),
                Kind::Record | Kind::Tombstone => self.fate(frame, stamp),
                Kind::Admin => self.admin_fate(frame, stamp),
            }
        };
        let packed = Arc::new(journal::pack::<StoreError>(&old, stamp, fate, || {})?);
        collected.segments += old.len() as u64;
        collected.bytes_before += old.iter().map(|segment| segment.disk_bytes()).sum::<u64>();
        collected.bytes_after += packed.disk_bytes();
        let mut segments = self.shared.segments.write();
        let first = segments.iter().position(|segment| segment.first_seq == packed.first_seq);
        if let Some(first) = first {
            segments.splice(first..first + old.len(), [packed]);
        }
        drop(segments);
        self.shared.forgotten.store(true, Ordering::Release);
        self.retired.extend(old);
        Ok(())
    }

    /// What becomes of the frame of a call. What was superseded after the moment that the stamp names
    /// stays: as of that moment it is what counts, and somebody may restore it.
    fn fate(&self, frame: &Frame<'_>, stamp: Stamp) -> Result<Fate, StoreError> {
        let id = match frame.kind {
            Kind::Tombstone => tombstone_id(frame.body),
            _ => codec::peek_id(frame.body),
        };
        let seq = frame.seq;
        let strange =
            || StoreError::Failed(format!("a frame of the journal ({seq}) cannot be read"));
        let id = id.ok_or_else(strange)?;
        match self.shared.newest(id)? {
            Some((newest, _)) if newest > stamp.as_of => Ok(Fate::Keep),
            Some((newest, _)) if newest > seq => Ok(Fate::Superseded),
            Some((newest, deleted_at)) if newest == seq => Ok(match deleted_at {
                Some(at) if self.may_go(seq, at, stamp) => Fate::Forget,
                _ => Fate::Keep,
            }),
            // A crash between the two: the index has let go of it already.
            None if frame.kind == Kind::Tombstone && self.may_go(seq, frame.at, stamp) => {
                Ok(Fate::Forget)
            }
            None if frame.kind == Kind::Tombstone => Ok(Fate::Keep),
            _ => {
                let index = self.shared.index()?;
                let call = format!("{}/{}", id.account, id.sid);
                let reason = format!("it lacks change {seq} of {call}, which the journal has");
                Err(self.shared.index_failed(&index.damaged(&reason)))
            }
        }
    }

    fn may_go(&self, seq: u64, deleted_at: Timestamp, stamp: Stamp) -> bool {
        let lifetime = self.shared.options.max_lifetime_millis;
        seq <= stamp.erased_until && deleted_at.plus_millis(lifetime) < stamp.at
    }

    /// The newest checkpoint stays: an index that lacks it is an old copy, and may have calls whose
    /// deletion is no longer in the journal.
    fn checkpoint_fate(&self, frame: &Frame<'_>) -> Fate {
        let newest = self.shared.newest_checkpoint.load(Ordering::Acquire);
        if newest == 0 || frame.seq >= newest { Fate::Keep } else { Fate::Superseded }
    }

    fn admin_fate(&self, frame: &Frame<'_>, stamp: Stamp) -> Result<Fate, StoreError> {
        let Some(row) = admin_row(frame.body) else { return Ok(Fate::Keep) };
        let newest = self.shared.newest_setting(&row.name)?;
        // A setting that the index does not know stays: its name may mean something to a later
        // release.
        let superseded = newest.is_some_and(|newest| newest > frame.seq && newest <= stamp.as_of);
        Ok(if superseded { Fate::Superseded } else { Fate::Keep })
    }

    /// Removes the files of replaced segments that nobody reads.
    fn unlink(&mut self) {
        self.retired.retain(|segment| {
            if Arc::strong_count(segment) > 1 {
                return true;
            }
            if let Err(error) = std::fs::remove_file(&segment.path) {
                let file = segment.path.display();
                tracing::warn!(%file, %error, "a packed segment's source stays until the next start");
            }
            false
        });
    }
}

impl Member {
    /// What is expected of it once it is packed, before compression.
    fn expected_bytes(&self) -> u64 {
        let bytes = self.segment.length;
        match self.live.checked_mul(bytes) {
            Some(product) if !self.whole && self.frames > 0 => (product / self.frames).min(bytes),
            _ => bytes,
        }
    }
}
