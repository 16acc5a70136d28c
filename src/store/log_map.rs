//! Where the messages of the replicated log end in the journal: a position in the log leads to one of the journal.
//!
//! All frames of a message stand together, and the last of them says which message it was (`FrameKind::Applied`).
//! Architecture invariants:
//!
//! * Packing leaves out such a frame only where no frame is kept between it and the one before. So of what lies
//!   between the last one at or before a message, and that message, nothing is left to be read.
//! * How many frames of a message come after one of them is the same on every node, since what a message does is.
//!   Sequence numbers are not: each node writes checkpoints of its own between messages.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::StoreError;
use super::applied::{AppliedFrame, GoneBack};
use super::state::View;
use crate::journal::{Frame, FrameKind, Scanner, Segment};

/// Messages that are known without a look into the journal.
const RECENT_MAX: usize = 16_384;
/// Times that a store went back which are remembered: more than any should see.
const GONE_BACK_MAX: usize = 1024;
/// Logs that are remembered which were followed one after the other.
const FOLLOWED_MAX: usize = 16;

/// A place in the replicated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogPoint {
    /// The number of a message.
    pub message: u64,
    /// How many of its frames come after the place; 0 at its end.
    pub before_end: u64,
}

impl LogPoint {
    /// The end of a message.
    pub fn end_of(message: u64) -> Self {
        Self { message, before_end: 0 }
    }
}

/// Messages of the log, with the sequence numbers of their last frames.
#[derive(Debug, Default)]
pub(super) struct LogMap {
    /// The newest, without a gap. Of the first of them it is only known that it ends there or before.
    recent: Mutex<VecDeque<(u64, u64)>>,
    /// The first message that ends in a segment, by its file; none where none does.
    firsts: Mutex<HashMap<PathBuf, Option<u64>>>,
    /// Where the store went back, in their order: each to a later message than those before.
    gone_back: RwLock<Vec<GoneBack>>,
    /// The epochs of logs that were followed before this one, some of the last.
    before: RwLock<Vec<[u8; 16]>>,
}

impl LogMap {
    /// All messages up to this one end at or before this sequence number, and what comes next follows it.
    pub fn begin(&self, message: u64, end: u64) {
        let mut recent = self.recent.lock();
        recent.clear();
        recent.push_back((message, end));
        drop(recent);
        self.firsts.lock().clear();
    }

    /// What is in the journal before this, of later messages than that, is of a life of the log that is over.
    pub fn go_back(&self, now: GoneBack) {
        let mut all = self.gone_back.write();
        // What those before leave out is left out by this one, too.
        all.retain(|one| one.at < now.at && one.to_message < now.to_message);
        all.push(now);
        let over = all.len().saturating_sub(GONE_BACK_MAX);
        all.drain(..over);
    }

    /// Where the store went back, in their order.
    pub fn gone_back(&self) -> Vec<GoneBack> {
        self.gone_back.read().clone()
    }

    /// A log is followed in the place of this one.
    pub fn follow_after(&self, epoch: [u8; 16]) {
        let mut before = self.before.write();
        before.retain(|one| *one != epoch);
        before.push(epoch);
        let over = before.len().saturating_sub(FOLLOWED_MAX);
        before.drain(..over);
    }

    /// The epochs of logs that were followed before this one, some of the last.
    pub fn followed_before(&self) -> Vec<[u8; 16]> {
        self.before.read().clone()
    }

    /// Whether what stands in the journal at a sequence number and came by a message is of a life of the log that is over:
    /// the number of the message says nothing any more.
    pub fn is_over(&self, seq: u64, message: u64) -> bool {
        self.gone_back.read().iter().any(|one| seq < one.at && message > one.to_message)
    }

    /// The message that ends here is published.
    pub fn note(&self, message: u64, end: u64) {
        let mut recent = self.recent.lock();
        recent.push_back((message, end));
        while recent.len() > RECENT_MAX {
            recent.pop_front();
        }
    }

    /// The newest message; none where no log is followed.
    pub fn newest(&self) -> Option<(u64, u64)> {
        self.recent.lock().back().copied()
    }

    /// The last one at or before a message, where that is known; `exact`: with its last frame.
    fn recent(&self, message: u64, exact: bool) -> Option<(u64, u64)> {
        let recent = self.recent.lock();
        let next = recent.partition_point(|(known, _)| *known <= message);
        let place = next.checked_sub(1).filter(|place| *place > 0 || !exact)?;
        recent.get(place).copied()
    }
}

impl View {
    /// The life of the log that is followed ([`LogPosition::life`]); none where the store is no node.
    ///
    /// [`LogPosition::life`]: super::applied::LogPosition::life
    pub fn log_epoch(&self) -> Option<String> {
        self.position().map(|position| position.life())
    }

    /// The log that is followed ([`LogPosition::log`]); none where the store is no node.
    ///
    /// [`LogPosition::log`]: super::applied::LogPosition::log
    pub fn followed_log(&self) -> Option<String> {
        self.position().map(|position| position.log())
    }

    /// The end of the newest message that readers may see, and the sequence number of its last frame. None where
    /// the store is no node.
    pub fn newest_point(&self) -> Option<(LogPoint, u64)> {
        let (message, end) = self.log.newest()?;
        Some((LogPoint::end_of(message), end))
    }

    /// The sequence number up to which the journal has been read by one who stands at this place. It may wait for
    /// the disk.
    ///
    /// # Errors
    /// [`StoreError::Behind`] where the message is yet to come. Whether the journal still has all that came after a
    /// sequence number says [`Self::feed`].
    pub fn sequence_of(&self, point: LogPoint) -> Result<u64, StoreError> {
        let LogPoint { message, before_end } = point;
        let applied = self.log.newest().map_or(0, |(newest, _)| newest);
        if message > applied {
            return Err(StoreError::Behind { applied });
        }
        let found = match self.log.recent(message, before_end > 0) {
            Some(found) => Some(found),
            None => self.find_end(message)?,
        };
        Ok(match found {
            Some((found, end)) if found == message => end.saturating_sub(before_end),
            // Where its last frame is not there any more, none of its frames is.
            Some((_, end)) => end,
            // All that is left of the log comes after it.
            None => {
                let segments = self.segments.read();
                let first = segments.iter().find(|segment| segment.may_have_log());
                first.map_or(0, |segment| segment.first_seq.saturating_sub(1))
            }
        })
    }

    /// The last message at or before this one whose end stands in the journal.
    fn find_end(&self, message: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let segments = self.segments.read().clone();
        self.log.firsts.lock().retain(|path, _| segments.iter().any(|one| one.path == *path));
        // Where no message ends in a segment, it is one of before the log, or has next to nothing.
        let (mut low, mut high) = (0, segments.len());
        while low < high {
            let middle = low.midpoint(high);
            let Some(segment) = segments.get(middle) else { break };
            let is_last = middle + 1 == segments.len();
            if self.first_end(segment, is_last)?.is_none_or(|first| first <= message) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        for segment in segments.get(..low).unwrap_or_default().iter().rev() {
            let is_last = segments.last().is_some_and(|last| Arc::ptr_eq(last, segment));
            if self.first_end(segment, is_last)?.is_none_or(|first| first > message) {
                continue;
            }
            let (mut scanner, mut found) = (Scanner::new(segment)?, None);
            while let Some((_, frame)) = scanner.next_frame()? {
                match self.message_of(&frame)? {
                    Some(later) if later > message => break,
                    Some(ended) => found = Some((ended, frame.seq)),
                    None => {}
                }
            }
            return Ok(found);
        }
        Ok(None)
    }

    /// The first message that ends in a segment.
    fn first_end(&self, segment: &Segment, is_last: bool) -> Result<Option<u64>, StoreError> {
        if let Some(known) = self.log.firsts.lock().get(&segment.path) {
            return Ok(*known);
        }
        if !segment.may_have_log() {
            return Ok(None);
        }
        let (mut scanner, mut first) = (Scanner::new(segment)?, None);
        while let Some((_, frame)) = scanner.next_frame()? {
            first = self.message_of(&frame)?;
            if first.is_some() {
                break;
            }
        }
        // One that is written to may get one yet.
        if first.is_some() || !is_last {
            self.log.firsts.lock().insert(segment.path.clone(), first);
        }
        Ok(first)
    }

    /// The message of the present log that a frame ends.
    pub(super) fn message_of(&self, frame: &Frame<'_>) -> Result<Option<u64>, StoreError> {
        if frame.kind != FrameKind::Applied {
            return Ok(None);
        }
        let Some(AppliedFrame { position, .. }) = AppliedFrame::read(frame.body) else {
            let reason = format!("frame {} says of no message that it was applied", frame.seq);
            return Err(StoreError::Unreadable(reason));
        };
        let of_log = self.position().is_some_and(|known| known.is_of_one_life(&position));
        Ok(of_log.then_some(position.seq))
    }
}
