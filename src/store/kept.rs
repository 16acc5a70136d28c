//! Messages that found no quorum: they are on this disk alone until they can be put into the log.
//!
//! Architecture invariants:
//!
//! * A kept message is in the journal before its senders are answered, and stays there until it was read back from the
//!   log. Nothing in it is shown before that: only what is in the log has its place.
//! * That it is done is in the commit of what it did ([`super::applied`]). So a crash between the two sends it once more
//!   at most, and what it says twice changes nothing.
//!
//! ```text
//! body of a frame
//!  0  1 u8: the form
//!  1  number of this piece u16
//!  3  number of pieces u16
//!  5  id of the message, 16 bytes
//! 21  the piece
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;

use super::committer::append;
use super::messages::CommitterMessage;
use super::open::Store;
use super::state::{Shared, View};
use super::submit::Ticket;
use super::threads::ReplySender;
use super::{Outcome, StoreError};
use crate::clock;
use crate::codec::MessageId;
use crate::domain::Timestamp;
use crate::journal::{
    ChangeOrigin, FRAME_BODY_BYTES_MAX, Frame, FrameKind, JournalWriter, Scanner, Segment,
};

const FORM: u8 = 1;
const CONTENT_AT: usize = 21;
/// Bytes that one commit takes, beyond which the next one begins.
const COMMIT_BYTES: usize = 4 << 20;
/// How often a message is looked for that the compactor moves meanwhile.
const LOOKS_MAX: u32 = 16;

/// One frame of a kept message.
pub(super) struct KeptPiece<'a> {
    pub number: u16,
    pub pieces: u16,
    pub id: MessageId,
    content: &'a [u8],
}

impl<'a> KeptPiece<'a> {
    /// The piece in the body of a frame; none where its form is not known.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (&form, rest) = body.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (pieces, rest) = rest.split_first_chunk()?;
        let (id, content) = rest.split_first_chunk()?;
        let (number, pieces) = (u16::from_le_bytes(*number), u16::from_le_bytes(*pieces));
        let known = form == FORM && number < pieces;
        known.then_some(Self { number, pieces, id: *id, content })
    }
}

/// The bodies of a message's frames.
fn frames(id: MessageId, message: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces: Vec<&[u8]> = message.chunks(FRAME_BODY_BYTES_MAX - CONTENT_AT).collect();
    if pieces.is_empty() {
        pieces.push(&[]);
    }
    // A message has 16 MiB at most.
    let count = |number: usize| u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes();
    let body = |(number, piece): (usize, &&[u8])| {
        let mut body = Vec::with_capacity(CONTENT_AT + piece.len());
        body.push(FORM);
        body.extend_from_slice(&count(number));
        body.extend_from_slice(&count(pieces.len()));
        body.extend_from_slice(&id);
        body.extend_from_slice(piece);
        body
    };
    pieces.iter().enumerate().map(body).collect()
}

/// Where a kept message stands in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeptHead {
    /// The sequence number of its first frame.
    pub seq: u64,
    at: Timestamp,
    pieces: u16,
    /// Of the message, about: of a message of several pieces as many as they can have.
    bytes: u64,
    /// Where its first frame begins, in a segment that was packed so often.
    offset: u64,
    packings: u32,
}

impl KeptHead {
    /// The message that begins with this frame; none where none does.
    pub fn of(frame: &Frame<'_>, offset: u64, segment: &Segment) -> Option<(MessageId, Self)> {
        if frame.kind != FrameKind::Kept {
            return None;
        }
        let piece = KeptPiece::read(frame.body).filter(|piece| piece.number == 0)?;
        let head = Self {
            seq: frame.seq,
            at: frame.at,
            pieces: piece.pieces,
            bytes: piece.content.len() as u64 * u64::from(piece.pieces),
            offset,
            packings: segment.packings(),
        };
        Some((piece.id, head))
    }
}

/// Kept messages that are still to be put into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeptMessages {
    pub count: u64,
    pub bytes: u64,
    /// When the first of them was kept.
    pub oldest: Option<Timestamp>,
}

/// What the threads of the store share of kept messages.
#[derive(Default)]
pub(super) struct KeptList {
    state: Mutex<KeptState>,
    /// All that was kept before this sequence number was done by the newest checkpoint: a start looks no further back.
    noted: AtomicU64,
}

#[derive(Default)]
struct KeptState {
    by_seq: BTreeMap<u64, (MessageId, KeptHead)>,
    by_id: HashMap<MessageId, u64>,
    /// Of all of them.
    bytes: u64,
    /// Of those on their way to the disk.
    reserved: u64,
}

impl KeptState {
    fn insert(&mut self, id: MessageId, head: KeptHead) {
        self.bytes += head.bytes;
        self.by_id.insert(id, head.seq);
        self.by_seq.insert(head.seq, (id, head));
    }
}

impl KeptList {
    pub fn has(&self, id: &MessageId) -> bool {
        self.state.lock().by_id.contains_key(id)
    }

    /// Whether the message that begins with this frame is still needed.
    pub fn needs(&self, seq: u64) -> bool {
        self.state.lock().by_seq.contains_key(&seq)
    }

    /// Where the first of them begins.
    pub fn oldest_seq(&self) -> Option<u64> {
        self.state.lock().by_seq.first_key_value().map(|(seq, _)| *seq)
    }

    /// A start looks back to here, and no further.
    pub fn noted(&self) -> u64 {
        self.noted.load(Ordering::Acquire)
    }

    /// A checkpoint is in the journal, and says this.
    pub fn note(&self, from: u64) {
        self.noted.store(from, Ordering::Release);
    }

    /// These were found in the journal when it was opened.
    pub fn recovered(&self, kept: Vec<(MessageId, KeptHead)>, from: u64) {
        let mut state = self.state.lock();
        for (id, head) in kept {
            state.insert(id, head);
        }
        self.note(from);
    }

    /// These were read back from the log.
    pub fn let_go(&self, ids: impl Iterator<Item = MessageId>) {
        let mut state = self.state.lock();
        for id in ids {
            let seq = state.by_id.remove(&id);
            if let Some((_, head)) = seq.and_then(|seq| state.by_seq.remove(&seq)) {
                state.bytes = state.bytes.saturating_sub(head.bytes);
            }
        }
    }
}

/// A message on its way to the journal.
pub(super) struct KeepMessage {
    id: MessageId,
    message: Bytes,
    reply: ReplySender<Outcome>,
}

impl Store {
    /// Has a message written to this disk that found no quorum. The ticket tells when it is there. One that is there
    /// already is not written again.
    ///
    /// # Errors
    /// [`StoreError::KeptFull`] where so much is kept as may be, [`StoreError::Low`] where the disk is short of space.
    pub fn keep(&self, id: MessageId, message: Bytes) -> Result<Ticket, StoreError> {
        let shared = &self.shared;
        shared.health.lives()?;
        shared.disk.admits()?;
        let most = shared.options.kept_bytes;
        let bytes = message.len() as u64;
        let mut state = shared.kept.state.lock();
        let kept = state.bytes.saturating_add(state.reserved);
        if kept.saturating_add(bytes) > most {
            return Err(StoreError::KeptFull { kept, most });
        }
        state.reserved += bytes;
        drop(state);
        let (reply, answer) = shared.queue.committer.reply_to_task();
        let message = KeepMessage { id, message, reply };
        let sent = shared.queue.committer.send(CommitterMessage::Keep(message));
        // Who ends with the store leaves nothing behind that counts.
        sent.map(|()| Ticket::new(answer, shared.queue.waits.begin(None, Instant::now())))
    }

    /// What is kept at present.
    pub fn kept(&self) -> KeptMessages {
        let state = self.shared.kept.state.lock();
        KeptMessages {
            count: state.by_seq.len() as u64,
            bytes: state.bytes,
            oldest: state.by_seq.first_key_value().map(|(_, (_, head))| head.at),
        }
    }

    /// The sequence number of the message that was kept last; none where none is kept.
    pub fn newest_kept(&self) -> Option<u64> {
        self.shared.kept.state.lock().by_seq.last_key_value().map(|(seq, _)| *seq)
    }

    /// The message that was kept first of those after this sequence number, read back from the journal, and its own
    /// number; none where none is kept. It waits for the disk.
    pub fn next_kept(&self, after: u64) -> Result<Option<(u64, MessageId, Bytes)>, StoreError> {
        let kept = &self.shared.kept;
        for _ in 0..LOOKS_MAX {
            let state = kept.state.lock();
            let next = state.by_seq.range(after.saturating_add(1)..).next();
            let next = next.map(|(_, kept)| kept.clone());
            drop(state);
            let Some((id, head)) = next else { return Ok(None) };
            if let Some(message) = self.shared.view.kept_message(id, &head)? {
                return Ok(Some((head.seq, id, message)));
            }
            // It was packed meanwhile, or is done.
            self.find_kept(head.seq)?;
        }
        let reason = "a message that is kept stands nowhere in the journal".to_owned();
        Err(StoreError::Unreadable(reason))
    }

    /// Looks where the kept messages of a segment stand now.
    fn find_kept(&self, seq: u64) -> Result<(), StoreError> {
        let Some((segment, _)) = self.shared.view.segment_with(seq) else { return Ok(()) };
        let mut scanner = Scanner::new(&segment)?;
        let mut found = Vec::new();
        while let Some((offset, frame)) = scanner.next_frame()? {
            found.extend(KeptHead::of(&frame, offset, &segment));
        }
        let mut state = self.shared.kept.state.lock();
        for (_, head) in found {
            if let Some((_, known)) = state.by_seq.get_mut(&head.seq) {
                (known.offset, known.packings) = (head.offset, head.packings);
            }
        }
        Ok(())
    }
}

impl View {
    /// A kept message, where it stands where its head says.
    fn kept_message(&self, id: MessageId, head: &KeptHead) -> Result<Option<Bytes>, StoreError> {
        let Some((segment, _)) = self.segment_with(head.seq) else { return Ok(None) };
        if segment.packings() != head.packings {
            return Ok(None);
        }
        let mut scanner = Scanner::resume(&segment, head.offset)?;
        let mut message = Vec::new();
        for number in 0..head.pieces {
            let Some((_, frame)) = scanner.next_frame()? else { return Ok(None) };
            let ours = frame.kind == FrameKind::Kept && frame.seq == head.seq + u64::from(number);
            let piece = Some(frame.body).filter(|_| ours).and_then(KeptPiece::read);
            let Some(piece) = piece.filter(|piece| piece.id == id) else { return Ok(None) };
            message.extend_from_slice(piece.content);
        }
        Ok(Some(message.into()))
    }
}

/// Writes messages that are to be kept, as many as wait, in one commit. Returns the job that comes after them.
pub(super) fn write(
    shared: &Shared,
    writer: &mut JournalWriter,
    first: KeepMessage,
    jobs: &Receiver<CommitterMessage>,
) -> Option<CommitterMessage> {
    let mut next_job = None;
    let mut messages = vec![first];
    let mut bytes = messages.iter().map(|one| one.message.len()).sum::<usize>();
    while bytes < COMMIT_BYTES {
        match jobs.try_recv() {
            Ok(CommitterMessage::Keep(next)) => {
                bytes += next.message.len();
                messages.push(next);
            }
            Ok(other) => {
                next_job = Some(other);
                break;
            }
            Err(_) => break,
        }
    }
    let written = commit(shared, writer, &messages);
    let mut state = shared.kept.state.lock();
    state.reserved = state.reserved.saturating_sub(bytes as u64);
    if let Ok(heads) = &written {
        for (id, head) in heads {
            state.insert(*id, head.clone());
        }
    }
    drop(state);
    if written.is_err() {
        shared.disk.look();
    }
    for message in messages {
        message.reply.send(written.as_ref().map(|_| Outcome::default()).map_err(Clone::clone));
    }
    next_job
}

/// Where those stand that were not there yet.
fn commit(
    shared: &Shared,
    writer: &mut JournalWriter,
    messages: &[KeepMessage],
) -> Result<Vec<(MessageId, KeptHead)>, StoreError> {
    let mut batch = writer.batch();
    let mut heads: Vec<(MessageId, KeptHead)> = Vec::new();
    let at = clock::now();
    for KeepMessage { id, message, .. } in messages {
        if shared.kept.has(id) || heads.iter().any(|(other, _)| other == id) {
            continue;
        }
        let (seq, offset) = (batch.next_seq(), batch.bytes() as u64);
        let frames = frames(*id, message);
        for body in &frames {
            batch.push(at, ChangeOrigin::Admin, FrameKind::Kept, body)?;
        }
        let pieces = u16::try_from(frames.len()).unwrap_or(u16::MAX);
        let bytes = message.len() as u64;
        heads.push((*id, KeptHead { seq, at, pieces, bytes, offset, packings: 0 }));
    }
    let (bytes, last_seq) = (batch.bytes(), batch.next_seq() - 1);
    append(shared, writer, batch)?;
    shared.disk.wrote(bytes);
    let begin = writer.segment().length.saturating_sub(bytes as u64);
    for (_, head) in &mut heads {
        head.offset += begin;
    }
    shared.view.registry.write().published(last_seq);
    // There is nothing new to see: no reader is woken for it.
    shared.view.published.send_if_modified(|last| {
        *last = last_seq.max(*last);
        false
    });
    Ok(heads)
}
