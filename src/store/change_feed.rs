//! The change feed: a snapshot, and then every change in the order of sequence numbers.
//!
//! **Source.** The snapshot is the list itself, read page by page. Changes are the frames of the
//! journal that have been published, and never one beyond. Architecture invariant: settings, tokens
//! and checkpoints do not leave through here, and the record of another account is not even decoded.
//!
//! **Exactness.** A snapshot is named after the sequence number `S` that was published when it began.
//! A call that changes while the snapshot is read may show its newer state there, and comes again as
//! a change after `S`. Both are whole records: a reader that applies everything in order ends right.
//!
//! **Restarts.** A sequence number is given once, and one that has been published is on disk. The
//! copy of the last commit that a start makes stands behind the counted end of the segment before
//! it, so that each frame is met once.
//!
//! **Several nodes.** Sequence numbers are those of one node. Where a log is followed, positions are told as places
//! of that log ([`LogPoint`]), which are the same on every node; each event has its own, since a client may leave in
//! the middle of a message.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::frames::Body;
use super::list::Slice;
use super::log_map::LogPoint;
use super::query::ListRequest;
use super::state::View;
use super::{OpenError, StoreError};
use crate::domain::{AccountSid, Call, CallId, Filter, Order, Position, ServiceProviderSid};
use crate::journal::{Frame, FrameKind, Scanner, Segment};

/// Whose calls a feed tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Those of one account.
    Account(AccountSid),
    /// Those of the accounts of a service provider.
    ServiceProvider(ServiceProviderSid),
    /// Those of all accounts.
    Everybody,
}

/// The accounts of a service provider, as a feed of its calls knows them.
pub type FeedAccounts = Arc<BTreeSet<AccountSid>>;

/// How far a feed has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedPosition {
    /// Within the snapshot as of this sequence number, up to and with a call; none at its beginning.
    Snapshot(u64, Option<(AccountSid, Position)>),
    /// All changes up to and with this sequence number.
    Changes(u64),
}

/// What happened, and how far one who has it has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where the feed goes on after it.
    pub position: FeedPosition,
    /// The sequence number in that as a place of the log; none where no log is followed.
    pub point: Option<LogPoint>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The call is this now.
    Call(Arc<Call>),
    /// The call was deleted.
    Deleted(CallId),
    /// The snapshot is complete.
    SnapshotEnd,
}

/// What one look may take.
#[derive(Debug, Clone, Copy)]
pub struct FeedBudget {
    /// Calls or frames, those of others among them.
    pub frames: usize,
    /// Bytes of frames that are read, those of others among them; one frame may go beyond.
    pub read: usize,
    /// Bytes of the events; one call may go beyond.
    pub bytes: usize,
}

/// A reader's position in the feed. It holds nothing of the view.
#[derive(Debug, Clone)]
pub struct Feed {
    reach: Reach,
    /// Those of the service provider.
    accounts: Option<FeedAccounts>,
    position: FeedPosition,
    /// The sequence number in that as a place of the log.
    point: Option<LogPoint>,
    /// The file of the segment that was read last, and how far.
    segment: Option<(PathBuf, u64)>,
}

impl View {
    /// Which life of the data sequence numbers belong to: a UUID.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// The sequence number of the last change that readers may see; says when there is a newer one.
    pub fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// A feed from this position on.
    ///
    /// # Errors
    /// [`StoreError::Gone`] where the position is ahead of the store or older than its journal.
    pub fn feed(&self, reach: Reach, position: FeedPosition) -> Result<Feed, StoreError> {
        self.feed_of(reach, self.feed_accounts(reach), position)
    }

    /// The accounts of a service provider now; none where a feed is of another reach.
    pub fn feed_accounts(&self, reach: Reach) -> Option<FeedAccounts> {
        let Reach::ServiceProvider(provider) = reach else { return None };
        Some(Arc::new(self.access.read().accounts_of(provider).collect()))
    }

    /// A feed of the accounts that a service provider has or had.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn feed_of(
        &self,
        reach: Reach,
        accounts: Option<FeedAccounts>,
        position: FeedPosition,
    ) -> Result<Feed, StoreError> {
        let (FeedPosition::Snapshot(seq, _) | FeedPosition::Changes(seq)) = position;
        if seq > *self.published.borrow() {
            return Err(StoreError::Gone("the position is ahead of the store".to_owned()));
        }
        self.segment_after(seq)?;
        Ok(Feed { reach, accounts, position, point: None, segment: None })
    }
}

impl View {
    /// The segment in which the changes after this one begin, and the sequence number that the next
    /// segment begins with, where there is one.
    fn segment_after(&self, seq: u64) -> Result<(Arc<Segment>, Option<u64>), StoreError> {
        let older = || StoreError::Gone("the position is older than the journal".to_owned());
        let segments = self.segments.read();
        let forgotten = segments.iter().filter_map(|segment| segment.packed.as_ref());
        if forgotten.map(|packed| packed.forgotten).max().is_some_and(|forgotten| seq < forgotten) {
            return Err(older());
        }
        let next = segments.partition_point(|segment| segment.first_seq <= seq + 1);
        let found = next.checked_sub(1).and_then(|n| segments.get(n));
        let next = segments.get(next).map(|segment| segment.first_seq);
        Ok((found.cloned().ok_or_else(older)?, next))
    }
}

impl Feed {
    /// The same feed, whose position is this place of the log.
    pub fn of_log(self, point: Option<LogPoint>) -> Self {
        Self { point, ..self }
    }

    /// How far it has been read.
    pub fn position(&self) -> FeedPosition {
        self.position
    }

    /// The sequence number in that as a place of the log.
    pub fn point(&self) -> Option<LogPoint> {
        self.point
    }

    /// Whether everything up to this sequence number has been read.
    pub fn has_read(&self, until: u64) -> bool {
        matches!(self.position, FeedPosition::Changes(seq) if seq >= until)
    }

    /// The next events up to a sequence number, in a thread that may wait for the disk. There may be
    /// none though more follow: see [`Self::has_read`].
    pub fn next(
        &mut self,
        view: &View,
        until: u64,
        piece: FeedBudget,
    ) -> Result<Vec<Event>, StoreError> {
        match self.position {
            FeedPosition::Snapshot(seq, after) => self.calls(view, seq, after, piece),
            FeedPosition::Changes(seq) => {
                let until = until.min(*view.published.borrow());
                if seq < until { self.changes(view, seq, until, piece) } else { Ok(vec![]) }
            }
        }
    }

    /// The next calls of the snapshot, of one account at most.
    fn calls(
        &mut self,
        view: &View,
        seq: u64,
        after: Option<(AccountSid, Position)>,
        piece: FeedBudget,
    ) -> Result<Vec<Event>, StoreError> {
        let begun = after.filter(|(_, position)| *position < Position::MAX);
        let (account, position) = match (self.reach, begun) {
            (Reach::Account(account), Some((_, position)))
            | (Reach::ServiceProvider(_) | Reach::Everybody, Some((account, position))) => {
                (Some(account), Some(position))
            }
            (Reach::ServiceProvider(_), None) => {
                let after = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.0));
                let all = self.accounts.iter().flat_map(|all| all.range((after, Bound::Unbounded)));
                (all.copied().next(), None)
            }
            (Reach::Account(account), None) => (Some(account).filter(|_| after.is_none()), None),
            (Reach::Everybody, None) => (view.next_account(after.map(|after| after.0))?, None),
        };
        let Some(account) = account else {
            self.position = FeedPosition::Changes(seq);
            let (position, point) = (self.position, self.point);
            return Ok(vec![Event { position, point, what: What::SnapshotEnd }]);
        };
        let (filter, order) = (Filter::default(), Order::NewestFirst);
        let request = ListRequest { account, filter, order, after: position };
        let slice = Slice { calls: piece.frames, rows: usize::MAX, bytes: piece.bytes };
        let page = view.list(&request, slice)?;
        // After its last position an account has nothing more.
        let reached = page.next.unwrap_or(Position::MAX);
        self.position = FeedPosition::Snapshot(seq, Some((account, reached)));
        let point = self.point;
        let event = |call: Arc<Call>| Event {
            position: FeedPosition::Snapshot(seq, Some((account, Position::of(&call)))),
            point,
            what: What::Call(call),
        };
        let calls = page.calls.into_iter().map(|(_, listed)| view.unpacked(listed).map(event));
        calls.collect()
    }

    /// The next changes, of one segment at most.
    fn changes(
        &mut self,
        view: &View,
        seq: u64,
        until: u64,
        piece: FeedBudget,
    ) -> Result<Vec<Event>, StoreError> {
        let (segment, next) = view.segment_after(seq)?;
        let mut scanner = match &self.segment {
            Some((path, offset)) if *path == segment.path => Scanner::resume(&segment, *offset),
            _ => Scanner::new(&segment),
        }?;
        let (mut events, mut read) = (Vec::new(), seq);
        let (mut frames, mut bytes, mut taken) = (0, 0, 0);
        let mut unread = None;
        // Events of the message whose end is not met yet begin here.
        let (mut unended, mut within, mut point) = (0, false, self.point);
        while read < until && frames < piece.frames && bytes < piece.read && taken < piece.bytes {
            let Some((begin, frame)) = scanner.next_frame()? else {
                // All that the segment has is read, even where numbers are missing at its end.
                let Some(next) = next else { break };
                frames += 1;
                read = read.max(until.min(next - 1));
                break;
            };
            frames += 1;
            if frame.seq > until {
                (read, unread) = (until, Some(begin));
                break;
            }
            bytes += frame.body.len();
            if frame.seq <= seq {
                continue;
            }
            read = frame.seq;
            within = is_of_message(frame.kind);
            if let Some(message) = view.message_of(&frame)? {
                point = Some(LogPoint::end_of(message));
                place(events.get_mut(unended..), message, frame.seq);
                // After the last one that it is told of a message a reader has all of it.
                if let Some(last) = events.get_mut(unended..).and_then(<[Event]>::last_mut) {
                    last.point = point;
                }
                unended = events.len();
            }
            let what = self.seen(&frame).map_err(|reason| {
                let (file, seq) = (segment.path.display(), frame.seq);
                let reason = format!("{file} at byte {begin}: frame {seq}: {reason}");
                StoreError::Unreadable(reason)
            })?;
            if let Some(what) = what {
                taken += frame.body.len();
                events.push(Event { position: FeedPosition::Changes(read), point, what });
            }
        }
        if frames == 0 && piece.frames > 0 {
            let missing = seq + 1;
            let file = segment.path.display();
            return Err(StoreError::Unreadable(format!("change {missing} is not in {file}")));
        }
        let offset = unread.unwrap_or(scanner.offset());
        // A place inside a message is told by its end, which stands in the same segment.
        if within && view.newest_point().is_some() {
            while let Some((_, frame)) = scanner.next_frame()? {
                let Some(message) = view.message_of(&frame)? else { continue };
                let before_end = frame.seq.saturating_sub(read);
                point = Some(LogPoint { message, before_end });
                place(events.get_mut(unended..), message, frame.seq);
                break;
            }
        }
        self.point = point;
        self.segment = Some((segment.path.clone(), offset));
        self.position = FeedPosition::Changes(read);
        Ok(events)
    }

    /// What a frame says to this reader, or why it cannot be read.
    fn seen(&self, frame: &Frame<'_>) -> Result<Option<What>, String> {
        let strange = |error: OpenError| error.to_string();
        let (id, record) = match Body::decode(frame).map_err(strange)? {
            Body::Record(id, record) => (id, Some(record)),
            Body::Tombstone(id) => (id, None),
            // A part is shown once the record is there that holds it.
            Body::Setting(_)
            | Body::Checkpoint(_)
            | Body::Part(..)
            | Body::Outbox(_)
            | Body::Applied(_)
            | Body::Kept(_) => return Ok(None),
        };
        let is_told = match self.reach {
            Reach::Everybody => true,
            Reach::Account(account) => account == id.account,
            Reach::ServiceProvider(_) => {
                self.accounts.as_ref().is_some_and(|all| all.contains(&id.account))
            }
        };
        if !is_told {
            return Ok(None);
        }
        let Some(record) = record else { return Ok(Some(What::Deleted(id))) };
        let call = record.call().map_err(strange)?;
        // What is shown is decided by the record itself and not by the place of its bytes.
        if call.id != id {
            return Err("it is of another call than it says".to_owned());
        }
        Ok(Some(What::Call(Arc::new(call))))
    }
}

/// Whether a frame may stand before the last one of its message.
fn is_of_message(kind: FrameKind) -> bool {
    !matches!(kind, FrameKind::Applied | FrameKind::Checkpoint | FrameKind::Kept)
}

/// Says of events of a message where in it they stand, now that its last frame is known.
fn place(events: Option<&mut [Event]>, message: u64, end: u64) {
    for event in events.unwrap_or_default() {
        if let FeedPosition::Changes(seq) = event.position {
            event.point = Some(LogPoint { message, before_end: end.saturating_sub(seq) });
        }
    }
}
