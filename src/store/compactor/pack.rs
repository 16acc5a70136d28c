//! Packing the journal: which segments are worth it, which become one, what stays of them, and in
//! what space.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Compactor;
use crate::access::SettingRow;
use crate::domain::{CallId, Timestamp, show_size};
use crate::journal::{self, Frame, FrameDecision, FrameKind, PackedStamp, Scanner, Segment};
use crate::store::applied::AppliedFrame;
use crate::store::compactor::retention::SegmentCounts;
use crate::store::frames::Body;
use crate::store::messages::{Collected, Depth};
use crate::store::outbox::HookPiece;
use crate::store::threads::{Progress, ReplySender};
use crate::store::{OpenError, StoreError};

/// How long the compactor rests after some frames, in times of what they took.
const REST: u32 = 1;
/// The longest such rest.
const REST_MAX: Duration = Duration::from_millis(50);
/// Blocks of a packed segment between two looks at the space of the disk, and more bytes than they are.
const LOOK_BLOCKS: u32 = 4;
const LOOK_BYTES: u64 = 1 << 20;
/// What is done here, in errors.
const WORK: &str = "packing the journal";

/// How often the log says how far a long packing is.
const SAY_INTERVAL: Duration = Duration::from_secs(5);

/// One segment, as a round sees it.
struct Member {
    segment: Arc<Segment>,
    frames: u64,
    /// Those of them that count.
    live: u64,
    /// Something in it can go.
    dirty: bool,
    /// It is left whole for the sake of history.
    whole: bool,
    /// As of which sequence number it has been cleared.
    cleared: u64,
    /// It may have hooks that are still to be passed on, or messages that are to be put into the log.
    hooks: bool,
}

/// How far the packing has come, for the one who waits for it and for the log.
struct Packing {
    done: u64,
    total: u64,
    said: Instant,
}

impl Packing {
    fn of(members: &VecDeque<Member>) -> Self {
        let total = members.iter().map(|member| member.segment.length).sum();
        Self { done: 0, total, said: Instant::now() }
    }

    fn add(&mut self, run: &[Member]) {
        self.done += run.iter().map(|member| member.segment.length).sum::<u64>();
        if self.said.elapsed() >= SAY_INTERVAL {
            self.said = Instant::now();
            let (done, of) = (show_size(self.done), show_size(self.total));
            tracing::info!(done, of, "the journal is being packed");
        }
    }

    fn tell(&self, reply: Option<&ReplySender<Collected>>) {
        if let Some(reply) = reply {
            reply.tell(Progress::bytes(WORK, self.done, Some(self.total)));
        }
    }
}

impl Compactor<'_> {
    /// Packs what can be packed, oldest first, and gives back the space of each run before the next
    /// one takes any.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] where a run had no space; all others are packed nevertheless.
    pub(crate) fn pack_journal(
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
        removed.map_err(|error| {
            StoreError::IndexUnavailable(crate::store::error::chain(&error), None)
        })?;
        let mark = self
            .shared
            .view
            .index()?
            .mark()
            .map_err(|error| self.shared.view.index_failed(&error))?;
        let Some(mark) = mark else { return Ok(()) };
        // Every deletion up to here is in the index.
        let as_of = mark.last_seq;
        let mut members = self.members(now, depth)?;
        let (mut cleared, mut short) = (u64::MAX, None);
        let mut packing = Packing::of(&members);
        packing.tell(self.reply.as_ref());
        while let Some(run) = self.next_run(&mut members) {
            let whole = run.iter().any(|member| member.whole);
            let packed = if run.len() > 1 || run.iter().any(|member| member.dirty) {
                let erased_until = if whole { 0 } else { cleared.min(as_of) };
                let at = self.shared.view.tombstones().seen_at(now);
                let stamp = PackedStamp { as_of: if whole { 0 } else { as_of }, erased_until, at };
                match self.pack(&run, stamp, collected) {
                    Ok(()) => Some(stamp.as_of),
                    Err(error) if error.is_short_of_space() => {
                        short.get_or_insert(error);
                        None
                    }
                    Err(error) => return Err(error),
                }
            } else {
                None
            };
            let left = || run.iter().map(Member::cleared).min().unwrap_or(0);
            cleared = cleared.min(packed.unwrap_or_else(left));
            packing.add(&run);
            packing.tell(self.reply.as_ref());
            drop(run);
            self.unlink();
        }
        short.map_or(Ok(()), Err)
    }

    /// All segments but the present one. Nobody else holds those that are packed meanwhile.
    fn members(&self, now: Timestamp, depth: Depth) -> Result<VecDeque<Member>, StoreError> {
        let segments = self.shared.view.segments.read().clone();
        let usage = self.shared.usage(&segments, now, &mut || self.rest(REST_MAX / 50))?;
        let oldest_kept = self.shared.kept.oldest_seq().unwrap_or(u64::MAX);
        let oldest_hook = self.shared.oldest_needed_hook().min(oldest_kept);
        let mut members: VecDeque<Member> = VecDeque::new();
        for (pair, counts) in segments.windows(2).zip(usage.segments) {
            let [segment, next] = pair else { continue };
            let whole = depth < Depth::Erase && self.is_young(next, now)?;
            // A deletion stays for as long as anything before it does.
            let kept = whole || members.iter().any(|member| member.whole);
            let dispensable = if kept { 0 } else { counts.expired };
            let member = Member {
                segment: segment.clone(),
                frames: match &segment.packed {
                    Some(packed) => packed.frames.saturating_sub(packed.positions),
                    None => next.first_seq - segment.first_seq,
                },
                live: counts.live + counts.settings + counts.expired - dispensable,
                dirty: false,
                whole,
                cleared: usage.as_of,
                hooks: next.first_seq > oldest_hook,
            };
            members.push_back(self.judged(member, counts, depth, now));
        }
        Ok(members)
    }

    /// The next segments that become one: as many as fit, where each is in need of it or small, and
    /// where the disk has space for what becomes of them.
    fn next_run(&self, members: &mut VecDeque<Member>) -> Option<Vec<Member>> {
        let first = members.pop_front()?;
        let limit = self.shared.options.segment_bytes;
        let space = &self.shared.disk;
        let kept = space.kept();
        let joins = |member: &Member| member.dirty || member.segment.length < limit / 4;
        let mut bytes = first.expected_bytes();
        let mut needed = LOOK_BYTES + first.needed_bytes();
        let mut run = vec![first];
        while let (Some(first), Some(next)) = (run.first(), members.front()) {
            bytes += next.expected_bytes();
            needed += next.needed_bytes();
            let alike = joins(first) && joins(next) && first.whole == next.whole;
            if !alike || bytes > limit || space.leaves(WORK, needed, kept).is_err() {
                break;
            }
            run.extend(members.pop_front());
        }
        Some(run)
    }

    /// Whether the segment before this one belongs to the history that is kept.
    fn is_young(&self, next: &Segment, now: Timestamp) -> Result<bool, StoreError> {
        let history = self.shared.options.retention.history_millis;
        let ended = Scanner::new(next)?.next_frame()?.map_or(now, |(_, frame)| frame.at);
        Ok(ended.plus_millis(history) > now)
    }

    /// Says whether anything in it can go and is worth the work.
    fn judged(
        &self,
        mut member: Member,
        counts: SegmentCounts,
        depth: Depth,
        now: Timestamp,
    ) -> Member {
        let Some(packed) = &member.segment.packed else {
            member.dirty = true;
            return member;
        };
        // Positions of the log go with what they stand behind.
        let frames = packed.frames.saturating_sub(packed.positions);
        let dead = frames.saturating_sub(member.live);
        // A round out of turn looks at hooks, too; others leave those alone that may be needed.
        let others = frames.saturating_sub(packed.calls + counts.settings);
        let loose = if member.hooks { dead.saturating_sub(others) } else { dead };
        let due = packed.at.plus_millis(self.shared.options.retention.erase_millis / 2);
        let worth = packed.complete || loose * 4 >= frames || due <= now || depth > Depth::Usual;
        member.dirty = !member.whole && dead > 0 && worth;
        if packed.calls > counts.live + counts.expired {
            member.cleared = packed.as_of;
        }
        member
    }

    /// Packs a run and puts it in its segments' place.
    ///
    /// # Errors
    /// [`StoreError::NoSpace`] where too little space would be left, or is left in the middle of it,
    /// since others take some. Then all is as it was.
    fn pack(
        &mut self,
        run: &[Member],
        stamp: PackedStamp,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let old: Vec<Arc<Segment>> = run.iter().map(|member| member.segment.clone()).collect();
        let whole = run.iter().any(|member| member.whole);
        let needed = LOOK_BYTES + run.iter().map(Member::needed_bytes).sum::<u64>();
        let space = &self.shared.disk;
        let kept = space.kept();
        space.leaves(WORK, needed, kept)?;
        let needed_since = self.shared.view.tombstones().needed_since(stamp.at);
        let mut since = Instant::now();
        let mut frames = 0_u64;
        let mut pause = self.pause.take();
        // The hook, and the kept message, whose first frame was met last.
        let mut hook = (0, FrameDecision::Superseded);
        let mut kept_message = (0, FrameDecision::Superseded);
        // Something stays that stands after the last position of the log that stays.
        let mut without_position = false;
        let decision = |frame: &Frame<'_>| {
            frames += 1;
            if frames.is_multiple_of(256) {
                let rests = pause.as_mut().is_none_or(|pause| pause.is_due(&self.shared));
                let rest = if rests { since.elapsed() * REST } else { Duration::ZERO };
                self.rest(rest.min(REST_MAX))?;
                since = Instant::now();
            }
            let is_content =
                !matches!(frame.kind, FrameKind::Checkpoint | FrameKind::Outbox | FrameKind::Kept);
            if whole && is_content {
                return Ok(FrameDecision::Keep);
            }
            let unreadable =
                |error: OpenError| StoreError::Unreadable(crate::store::error::chain(&error));
            let decision = match Body::decode(frame).map_err(unreadable)? {
                Body::Checkpoint(_) => Ok(self.checkpoint_decision(frame)),
                Body::Record(id, _) | Body::Tombstone(id) | Body::Part(id, _) => {
                    self.decision(frame, id, stamp, needed_since)
                }
                Body::Setting(row) => self.admin_decision(frame, row, stamp),
                Body::Outbox(None) | Body::Kept(None) => Ok(FrameDecision::Keep),
                Body::Outbox(Some(piece)) => {
                    if piece.number == 0 {
                        hook = (frame.seq, self.hook_decision(frame, &piece)?);
                    }
                    // All pieces stand in one commit: without its first one a piece is worth nothing.
                    let same = frame.seq.checked_sub(u64::from(piece.number)) == Some(hook.0);
                    Ok(if same { hook.1 } else { FrameDecision::Superseded })
                }
                Body::Applied(applied) => {
                    Ok(self.applied_decision(frame, &applied, without_position))
                }
                Body::Kept(Some(piece)) => {
                    if piece.number == 0 {
                        let needed = self.shared.kept.needs(frame.seq);
                        let decision =
                            if needed { FrameDecision::Keep } else { FrameDecision::Superseded };
                        kept_message = (frame.seq, decision);
                    }
                    let begin = frame.seq.checked_sub(u64::from(piece.number));
                    let same = begin == Some(kept_message.0);
                    Ok(if same { kept_message.1 } else { FrameDecision::Superseded })
                }
            }?;
            if decision == FrameDecision::Keep {
                match frame.kind {
                    FrameKind::Applied => without_position = false,
                    FrameKind::Checkpoint | FrameKind::Kept => {}
                    _ => without_position = true,
                }
            }
            Ok(decision)
        };
        let mut blocks = 0_u32;
        let pace = || {
            blocks += 1;
            if !blocks.is_multiple_of(LOOK_BLOCKS) {
                return Ok(());
            }
            space.leaves(WORK, LOOK_BYTES, kept).map_err(|error| match error {
                // What has been written goes, so that all of it is needed again.
                StoreError::NoSpace { what, free, kept, .. } => {
                    StoreError::NoSpace { what, needed, free, kept }
                }
                error => error,
            })
        };
        let packed = journal::pack::<StoreError>(&old, stamp, decision, pace);
        self.pause = pause;
        let packed = Arc::new(packed?);
        collected.segments += old.len() as u64;
        collected.bytes_before += old.iter().map(|segment| segment.disk_bytes()).sum::<u64>();
        collected.bytes_after += packed.disk_bytes();
        let mut segments = self.shared.view.segments.write();
        let first = segments.iter().position(|segment| segment.first_seq == packed.first_seq);
        if let Some(first) = first {
            segments.splice(first..first + old.len(), [packed]);
        }
        drop(segments);
        self.shared.forgotten.store(true, Ordering::Release);
        self.retired.extend(old.into_iter().map(Into::into));
        Ok(())
    }

    /// What becomes of the frame of a call. What was superseded after the moment that the stamp names
    /// stays: as of that moment it is what counts, and it may be restored. Deletions of before `needed_since`
    /// need not be remembered.
    fn decision(
        &self,
        frame: &Frame<'_>,
        id: CallId,
        stamp: PackedStamp,
        needed_since: Timestamp,
    ) -> Result<FrameDecision, StoreError> {
        let seq = frame.seq;
        let may_go = |deleted_at| seq <= stamp.erased_until && deleted_at < needed_since;
        match self.shared.view.newest(id)? {
            Some((newest, _)) if newest > stamp.as_of => Ok(FrameDecision::Keep),
            Some((newest, _)) if newest > seq => Ok(FrameDecision::Superseded),
            // No record holds it yet.
            _ if frame.kind == FrameKind::Part => Ok(FrameDecision::Keep),
            Some((newest, deleted_at)) if newest == seq => Ok(match deleted_at {
                Some(at) if may_go(at) => FrameDecision::Forget,
                _ => FrameDecision::Keep,
            }),
            // A crash between the two: the index has let go of it already.
            None if frame.kind == FrameKind::Tombstone && may_go(frame.at) => {
                Ok(FrameDecision::Forget)
            }
            None if frame.kind == FrameKind::Tombstone => Ok(FrameDecision::Keep),
            _ => {
                let index = self.shared.view.index()?;
                let call = format!("{}/{}", id.account, id.sid);
                let reason = format!("it lacks change {seq} of {call}, which the journal has");
                Err(self.shared.view.index_failed(&index.damaged(&reason)))
            }
        }
    }

    /// The newest checkpoint stays: an index that lacks it is an old copy, and may have calls whose
    /// deletion is no longer in the journal.
    fn checkpoint_decision(&self, frame: &Frame<'_>) -> FrameDecision {
        let newest = self.shared.newest_checkpoint.load(Ordering::Acquire);
        if newest == 0 || frame.seq >= newest {
            FrameDecision::Keep
        } else {
            FrameDecision::Superseded
        }
    }

    /// A position of the log stays where something stays that came by its message, or by one since the position
    /// before it that stays. So does the last one, which says where the store is, and one that says that a kept message
    /// is done, for as long as a start would look at that message. One that goes back stays.
    fn applied_decision(
        &self,
        frame: &Frame<'_>,
        applied: &AppliedFrame,
        without_position: bool,
    ) -> FrameDecision {
        let is_last = frame.seq >= self.shared.view.applied_seq.load(Ordering::Acquire);
        let says_done = applied.kept.is_some() && frame.seq > self.shared.kept.noted();
        if without_position || is_last || says_done || applied.goes_back {
            FrameDecision::Keep
        } else {
            FrameDecision::Superseded
        }
    }

    /// A hook stays for as long as a target needs it, and its calls are there; one of a life of the log that is over, until
    /// the log has it again.
    fn hook_decision(
        &self,
        frame: &Frame<'_>,
        piece: &HookPiece<'_>,
    ) -> Result<FrameDecision, StoreError> {
        let Some(first) = piece.first() else { return Ok(FrameDecision::Keep) };
        let applications = first.applications.as_deref();
        let number = piece.logged.map_or(frame.seq, |logged| logged.number);
        let view = &self.shared.view;
        let needed = if view.is_hook_over(frame.seq, number) {
            // Until what was given back has come it may have to be given once more.
            view.position().is_some_and(|position| position.seq < position.turn)
        } else {
            self.shared.outbox.needs(number, piece.account, applications)
        };
        let needed = needed && view.has_calls_of(piece.account, &first.calls)?;
        Ok(if needed { FrameDecision::Keep } else { FrameDecision::Superseded })
    }

    fn admin_decision(
        &self,
        frame: &Frame<'_>,
        row: Option<SettingRow>,
        stamp: PackedStamp,
    ) -> Result<FrameDecision, StoreError> {
        let Some(row) = row else { return Ok(FrameDecision::Keep) };
        let newest = self.shared.view.newest_setting(&row.name)?;
        // A setting that the index does not know stays: its name may mean something to a later
        // release.
        let superseded = newest.is_some_and(|newest| newest > frame.seq && newest <= stamp.as_of);
        Ok(if superseded { FrameDecision::Superseded } else { FrameDecision::Keep })
    }
}

impl Member {
    /// As of which sequence number it has been cleared, where it stays as it is.
    fn cleared(&self) -> u64 {
        // Nothing has left it yet.
        if self.whole || self.segment.packed.is_none() { 0 } else { self.cleared }
    }

    /// What is expected of it once it is packed, before compression.
    fn expected_bytes(&self) -> u64 {
        let bytes = self.segment.length;
        match self.live.checked_mul(bytes) {
            Some(product) if !self.whole && !self.hooks && self.frames > 0 => {
                (product / self.frames).min(bytes)
            }
            _ => bytes,
        }
    }

    /// What it may take of the disk once it is packed: where it is compressed already, its share of
    /// that and an eighth more, for what stays may be what compresses worst.
    fn needed_bytes(&self) -> u64 {
        let unpacked = self.expected_bytes();
        let packed = match &self.segment.packed {
            Some(_) => {
                let share = u128::from(self.segment.disk_bytes()) * u128::from(unpacked);
                let share = share / u128::from(self.segment.length.max(1));
                let share = u64::try_from(share).unwrap_or(u64::MAX);
                share.saturating_add(share / 8)
            }
            None => unpacked,
        };
        packed.min(unpacked).saturating_add(4096)
    }
}
