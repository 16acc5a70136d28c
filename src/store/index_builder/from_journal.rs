//! Building an index generation from the journal.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{CallId, Timestamp};
use crate::index::{AdminRow, CheckpointMeta, Index};
use crate::journal::{Scanner, Segment};
use crate::registry::CallState;
use crate::store::LogPosition;
use crate::store::frames::Body;
use crate::store::index_builder::fill::{BuildOptions, Latest, fill};
use crate::store::messages::Note;
use crate::store::state::Shared;
use crate::store::threads::Progress;
use crate::store::{OpenError, StoreError};

/// A generation that is complete and on disk, and not yet current.
pub(crate) struct Built {
    pub index: Arc<Index>,
    pub generation: u64,
    pub mark: CheckpointMeta,
}

/// What an index has that was filled from the journal.
pub(crate) struct FilledIndex {
    /// Everything up to this sequence number, parts of calls apart.
    pub until: u64,
    /// Where the first part begins that no record holds.
    pub first_part: Option<u64>,
}

impl Built {
    /// What the journal is to know of it.
    pub fn note(&self) -> Note {
        let replay_from = self.mark.replay_from;
        Note {
            generation: self.generation,
            checkpoint: self.mark.checkpoint,
            replay_from,
            log: None,
        }
    }
}

/// The newest frame of a call.
#[derive(Clone, Copy)]
pub(crate) struct Newest {
    pub seq: u64,
    /// When the call was deleted, where it was.
    pub deleted_at: Option<Timestamp>,
}

/// The newest frames of everything, found by reading the whole journal once. About 100 bytes of
/// memory a call.
pub(crate) struct JournalScan {
    pub calls: HashMap<CallId, Newest>,
    pub admin: HashMap<String, AdminRow>,
    /// Calls of which parts are newer than their records, and where those begin.
    pub parts: HashMap<CallId, u64>,
    /// Hooks that are to be passed on, or were.
    pub hooks: u64,
    /// The last message of the log that was applied.
    pub applied: Option<LogPosition>,
    /// A frame that says of an earlier message of the same log that it was applied later, and of which.
    pub went_back: Option<(u64, u64)>,
    pub last_seq: u64,
    pub frames: u64,
}

impl JournalScan {
    pub fn of(segments: &[Arc<Segment>], progress: &dyn Fn(Progress)) -> Result<Self, OpenError> {
        let mut scan = Self {
            calls: HashMap::new(),
            admin: HashMap::new(),
            parts: HashMap::new(),
            hooks: 0,
            applied: None,
            went_back: None,
            last_seq: 0,
            frames: 0,
        };
        let total: u64 = segments.iter().map(|segment| segment.length).sum();
        let mut before = 0;
        for segment in segments {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                scan.frames += 1;
                if scan.frames.is_multiple_of(10_000) {
                    let what = "reading the journal".to_owned();
                    progress(Progress::bytes(what, before + offset, Some(total)));
                }
                scan.last_seq = frame.seq;
                let seq = frame.seq;
                let (id, deleted_at) = match Body::decode(&frame)? {
                    Body::Record(id, _) => (id, None),
                    Body::Tombstone(id) => (id, Some(frame.at)),
                    Body::Setting(row) => {
                        if let Some(row) = row {
                            let row = AdminRow { name: row.name, seq, json: row.json };
                            scan.admin.insert(row.name.clone(), row);
                        }
                        continue;
                    }
                    Body::Part(id, _) => {
                        scan.parts.entry(id).or_insert(seq);
                        continue;
                    }
                    Body::Applied(applied) => {
                        let message = applied.position.seq;
                        let back = |last: LogPosition| {
                            last.is_of_one_life(&applied.position) && message <= last.seq
                        };
                        if scan.applied.is_some_and(back) {
                            scan.went_back.get_or_insert((seq, message));
                        }
                        scan.applied = Some(applied.position);
                        continue;
                    }
                    Body::Checkpoint(_) | Body::Kept(_) => continue,
                    Body::Outbox(piece) => {
                        let first = piece.is_some_and(|piece| piece.number == 0);
                        scan.hooks += u64::from(first);
                        continue;
                    }
                };
                scan.parts.remove(&id);
                scan.calls.insert(id, Newest { seq, deleted_at });
            }
            before += segment.length;
        }
        Ok(scan)
    }
}

/// Builds a generation from the whole journal while nothing else happens.
pub(crate) fn build(
    shared: &Shared,
    now: Timestamp,
    progress: &dyn Fn(Progress),
) -> Result<Built, OpenError> {
    let (generation, index) = shared.generations.begin()?;
    let options = BuildOptions { shared, gentle: false, kept: 0, progress };
    match fill_alone(&index, now, &options) {
        Ok(mark) => Ok(Built { index: Arc::new(index), generation, mark }),
        Err(error) => {
            drop(index);
            // It would take the room that the next attempt needs.
            let _kept_for_the_next_start = shared.generations.remove(generation);
            Err(error)
        }
    }
}

fn fill_alone(
    index: &Index,
    now: Timestamp,
    options: &BuildOptions<'_>,
) -> Result<CheckpointMeta, OpenError> {
    let FilledIndex { until: last_seq, first_part } = fill_from_journal(index, options)?;
    index.sync()?;
    index.note_built(now)?;
    let stats = index.stats();
    let replay_from = first_part.unwrap_or(u64::MAX).min(last_seq + 1);
    let mark = CheckpointMeta { checkpoint: 1, last_seq, replay_from, stats, at: now.millis() };
    index.mark_and_sync(&mark)?;
    Ok(mark)
}

/// Fills an empty generation from the journal.
pub(crate) fn fill_from_journal(
    index: &Index,
    options: &BuildOptions<'_>,
) -> Result<FilledIndex, OpenError> {
    let segments = options.shared.view.segments.read().clone();
    let scan = JournalScan::of(&segments, options.progress)?;
    let total = scan.calls.len() as u64;
    let latest = NewestRecords {
        segments: segments.iter(),
        scanner: None,
        newest: &scan.calls,
        failed: false,
    };
    fill(index, latest, total, options)?;
    let admin: Vec<AdminRow> = scan.admin.into_values().collect();
    index.write(&[], &admin)?;
    Ok(FilledIndex { until: scan.last_seq, first_part: scan.parts.into_values().min() })
}

/// The newest version of each call, in the order of the journal.
struct NewestRecords<'a> {
    segments: std::slice::Iter<'a, Arc<Segment>>,
    scanner: Option<Scanner>,
    newest: &'a HashMap<CallId, Newest>,
    failed: bool,
}

impl NewestRecords<'_> {
    fn step(&mut self) -> Result<Option<Latest>, OpenError> {
        loop {
            let Some(scanner) = &mut self.scanner else {
                let Some(segment) = self.segments.next() else { return Ok(None) };
                self.scanner = Some(Scanner::new(segment)?);
                continue;
            };
            let Some((_, frame)) = scanner.next_frame()? else {
                self.scanner = None;
                continue;
            };
            let seq = frame.seq;
            let is_newest =
                |id: &CallId| self.newest.get(id).is_some_and(|newest| newest.seq == seq);
            let (id, state) = match Body::decode(&frame)? {
                Body::Record(id, record) if is_newest(&id) => {
                    (id, CallState::Call(Arc::new(record.call()?)))
                }
                Body::Tombstone(id) if is_newest(&id) => (id, CallState::Deleted(frame.at)),
                _ => continue,
            };
            return Ok(Some(Latest { id, seq, state, row: None }));
        }
    }
}

impl Iterator for NewestRecords<'_> {
    type Item = Result<Latest, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = if self.failed { Ok(None) } else { self.step() };
        self.failed = step.is_err();
        step.transpose()
    }
}

impl From<OpenError> for StoreError {
    fn from(error: OpenError) -> Self {
        Self::IndexUnavailable(crate::store::error::chain(&error), None)
    }
}
