//! Building an index generation from the journal.

use std::collections::HashMap;
use std::sync::Arc;

use super::checkpoint::Note;
use super::commit::{admin_row, record, tombstone_id};
use super::shared::{Progress, Shared};
use super::{OpenError, StoreError};
use crate::domain::{Call, CallId, CallSid, Position, Timestamp};
use crate::index::{AdminRow, Generations, Index, Mark, Op, Version};
use crate::journal::{Kind, Reader, Scanner, Segment};

/// Calls that are written to the new generation at once; nobody reads it yet.
const BATCH_CALLS: usize = 100;

/// A generation that is complete and on disk, and not yet current.
pub(super) struct Built {
    pub index: Arc<Index>,
    pub generation: u64,
    pub calls: u64,
}

impl Built {
    /// What the journal is to know of it.
    pub fn note(&self, last_seq: u64) -> Note {
        Note { generation: self.generation, checkpoint: 1, replay_from: last_seq + 1 }
    }
}

/// The newest frame of a call: where it is.
#[derive(Clone, Copy)]
pub(super) struct Newest {
    pub seq: u64,
    pub kind: Newness,
    segment: u32,
    offset: u64,
}

/// What the newest frame of a call says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Newness {
    /// A call that is listed at this position.
    Call(Position),
    /// A deletion at this time.
    Deleted(Timestamp),
}

impl Newness {
    /// Where the call stands among its account's, deleted ones too.
    pub fn place(self, sid: CallSid) -> Position {
        match self {
            Self::Call(position) => position,
            Self::Deleted(at) => Position::new(at, sid),
        }
    }
}

/// The newest frames of everything, found by reading the whole journal once. About 120 bytes of
/// memory a call.
pub(super) struct Survey {
    pub calls: HashMap<CallId, Newest>,
    pub admin: HashMap<String, AdminRow>,
    pub last_seq: u64,
    pub frames: u64,
}

impl Survey {
    pub fn of(segments: &[Arc<Segment>], progress: &dyn Fn(Progress)) -> Result<Self, OpenError> {
        let mut survey =
            Self { calls: HashMap::new(), admin: HashMap::new(), last_seq: 0, frames: 0 };
        let total: u64 = segments.iter().map(|segment| segment.length).sum();
        let mut before = 0;
        for (number, segment) in segments.iter().enumerate() {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                survey.frames += 1;
                if survey.frames.is_multiple_of(10_000) {
                    let what = "reading the journal".to_owned();
                    progress(Progress { what, done: before + offset, total: Some(total) });
                }
                let segment = u32::try_from(number).unwrap_or(u32::MAX);
                survey.last_seq = frame.seq;
                let seq = frame.seq;
                let (id, kind) = match frame.kind {
                    Kind::Record => {
                        let call = record(seq, frame.body)?;
                        (call.id, Newness::Call(Position::of(&call)))
                    }
                    Kind::Tombstone => {
                        let strange =
                            || OpenError::Record { seq, reason: "a strange tombstone".to_owned() };
                        (tombstone_id(frame.body).ok_or_else(strange)?, Newness::Deleted(frame.at))
                    }
                    Kind::Admin => {
                        if let Some(row) = admin_row(frame.body) {
                            let row = AdminRow { name: row.name, seq, json: row.json };
                            survey.admin.insert(row.name.clone(), row);
                        }
                        continue;
                    }
                    Kind::Checkpoint => continue,
                };
                survey.calls.insert(id, Newest { seq, kind, segment, offset });
            }
            before += segment.length;
        }
        Ok(survey)
    }
}

/// Builds a generation beside the current one, while the store runs.
pub(super) fn build(
    shared: &Shared,
    now: Timestamp,
    progress: &dyn Fn(Progress),
) -> Result<Built, OpenError> {
    let segments = shared.segments.read().clone();
    build_from(&shared.generations, &segments, now, progress)
}

/// Builds a generation from these segments, in key order.
pub(super) fn build_from(
    generations: &Generations,
    segments: &[Arc<Segment>],
    now: Timestamp,
    progress: &dyn Fn(Progress),
) -> Result<Built, OpenError> {
    let survey = Survey::of(segments, progress)?;
    let (generation, index) = generations.begin()?;
    let mut order: Vec<(CallId, Newest)> = survey.calls.into_iter().collect();
    order.sort_unstable_by_key(|(id, newest)| (id.account, newest.kind.place(id.sid)));
    let mut readers: Vec<Reader> =
        segments.iter().map(|segment| Reader::open(segment)).collect::<Result<_, _>>()?;
    let total = order.len() as u64;
    let mut payload = Vec::new();
    for (n, chunk) in order.chunks(BATCH_CALLS).enumerate() {
        let mut calls: Vec<(CallId, Newest, Option<Call>)> = Vec::with_capacity(chunk.len());
        for (id, newest) in chunk {
            let call = match newest.kind {
                Newness::Deleted(_) => None,
                Newness::Call(_) => {
                    let place = newest.segment as usize;
                    let Some(reader) = readers.get_mut(place) else { continue };
                    let frame = reader.frame_at(newest.offset, &mut payload)?;
                    Some(record(frame.seq, frame.body)?)
                }
            };
            calls.push((*id, *newest, call));
        }
        let ops: Vec<Op<'_>> = calls
            .iter()
            .map(|(id, newest, call)| {
                let new = match (newest.kind, call) {
                    (_, Some(call)) => Version::Call(newest.seq, call),
                    (Newness::Deleted(at), None) => Version::Tombstone(newest.seq, at),
                    (Newness::Call(_), None) => Version::Nothing,
                };
                Op { id: *id, old: None, new }
            })
            .collect();
        index.write_whole(&ops)?;
        let done = ((n * BATCH_CALLS + chunk.len()) as u64).min(total);
        progress(Progress { what: "building the index".to_owned(), done, total: Some(total) });
    }
    let admin: Vec<AdminRow> = survey.admin.into_values().collect();
    index.write(&[], &admin)?;
    let tally = index.tally();
    let last_seq = survey.last_seq;
    let mark = Mark { checkpoint: 1, last_seq, replay_from: last_seq + 1, tally, at: now.millis() };
    index.mark_and_sync(&mark)?;
    Ok(Built { index: Arc::new(index), generation, calls: tally.calls })
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        Self::IndexUnavailable(super::error::chain(&error))
    }
}
