//! What it took to open a store, for the log.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::OpenError;
use super::checkpointer::{
    self, CheckpointNote, CheckpointScope, Checkpointer, IndexCheckpoint, Note,
};
use super::committer::{self, Job};
use super::compactor::Collector;
use super::data_dir::Lock;
use super::frames::{admin_row, record, tombstone_id};
use super::index_builder::from_journal;
use super::open::{Store, watched};
use super::parts::{self, look_up_indexed};
use super::state::{Progress, State};
use crate::access::{Access, SettingRow};
use crate::codec;
use crate::domain::{CallId, Timestamp};
use crate::index::{AdminRow, CheckpointMeta, Index, IndexError, LAYOUT, OpenedGeneration};
use crate::journal::{Frame, FrameKind, JournalWriter, Scanner, Segment};
use crate::registry::CallState;

/// What the opening of a store came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// There was nothing yet.
    pub is_new: bool,
    /// The last owner closed the store in order.
    pub was_clean: bool,
    /// Bytes of a commit that was cut off and is dropped.
    pub torn_bytes: Option<u64>,
    /// Frames of the journal that were read again, since the index did not have them.
    pub replayed: u64,
    /// Why the index is built anew.
    pub rebuild: Option<String>,
}

impl fmt::Display for Recovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self { is_new: true, .. } => "none, the store is new",
            Self { was_clean: true, .. } => "none, it was closed in order",
            _ => "it was not closed in order",
        })?;
        if let Some(bytes) = self.torn_bytes {
            write!(formatter, "; a commit that was cut off is dropped ({bytes} bytes)")?;
        }
        match (self.replayed, &self.rebuild) {
            (0, _) => {}
            (1, _) => formatter.write_str("; 1 record of the journal was read again")?,
            (n, _) => write!(formatter, "; {n} records of the journal were read again")?,
        }
        if let Some(reason) = &self.rebuild {
            write!(formatter, "; the index is built anew ({reason})")?;
        }
        Ok(())
    }
}

/// A store on its way up.
pub(super) struct Start {
    pub shared: State,
    pub writer: JournalWriter,
    pub generation: u64,
    pub recovery: Recovery,
}

impl Start {
    /// Opens the index if it can be trusted, else builds it anew; then replays the rest.
    pub fn index(
        &mut self,
        lock: &Lock,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<(), OpenError> {
        let last_seq = self.writer.last_seq();
        let (index, reason, damaged) = match self.shared.generations.open()? {
            OpenedGeneration::Missing if last_seq == 0 => {
                let (generation, index) = self.shared.generations.begin()?;
                let empty = CheckpointMeta {
                    checkpoint: 0,
                    last_seq: 0,
                    replay_from: 1,
                    stats: index.stats(),
                    at: now.millis(),
                };
                index.mark_and_sync(&empty)?;
                self.shared.generations.finish(generation, false)?;
                (Some((index, empty)), "", false)
            }
            OpenedGeneration::Missing => (None, "there is none", false),
            // It is as good as it was, and not to be put aside.
            OpenedGeneration::Broken(error) if error.is_full() => return Err(error.into()),
            OpenedGeneration::Broken(error) if error.is_denied() => {
                let dir = &self.shared.options.data_dir;
                let denied = std::io::ErrorKind::PermissionDenied.into();
                return Err(OpenError::io("open the index in", dir)(denied));
            }
            OpenedGeneration::Broken(error) => {
                tracing::warn!(error = super::error::chain(&error), "the index cannot be opened");
                (None, "it cannot be opened", true)
            }
            // Nothing is wrong with it, so that it is not kept.
            OpenedGeneration::Other { path, layout, last_seq } => {
                self.not_ahead(&path, last_seq)?;
                tracing::info!(layout, reads = LAYOUT, "the index is one of another release");
                (None, "it has another layout", false)
            }
            OpenedGeneration::Ready(index) => match self.trusted(&index, lock)? {
                Ok(mark) if !self.shared.options.rebuild => (Some((*index, mark)), "", false),
                Ok(_) => (None, "it was asked for", false),
                Err(reason) => (None, reason, true),
            },
        };
        self.generation = self.shared.generations.current()?.unwrap_or_default();
        if let Some((index, mark)) = index {
            let index = Arc::new(index);
            self.shared.registry.write().count_from(index.stats());
            self.shared.set_index(Ok(index.clone()));
            let reason = match self.replay(&index, &mark, now, progress) {
                Ok(true) => return self.place_parts(&index, now),
                Ok(false) => "it is older than the journal says it is".to_owned(),
                Err(OpenError::Index(error)) => super::error::chain(&error),
                Err(error) => return Err(error),
            };
            self.shared.set_index(Err(reason.clone()));
            drop(index);
            self.shared.registry = parking_lot::RwLock::default();
            *self.shared.access.write() = Access::default();
            return self.begin_anew(&reason, true, now, progress);
        }
        self.begin_anew(reason, damaged, now, progress)
    }

    /// Has an index built anew from the journal, now or as soon as the store runs.
    fn begin_anew(
        &mut self,
        reason: &str,
        damaged: bool,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<(), OpenError> {
        tracing::warn!(reason, "the index is built anew from the journal");
        self.recovery.rebuild = Some(reason.to_owned());
        self.recovery.replayed = 0;
        if !self.shared.options.build_later {
            return self.build(damaged, now, progress);
        }
        self.shared.set_index(Err(reason.to_owned()));
        self.shared.damaged.store(damaged, Ordering::Release);
        self.shared.wake.0.lock().look = true;
        self.read_without_index(progress)
    }

    /// Reads in the journal what has to be known while there is no index: settings, and calls of which
    /// only parts are known.
    fn read_without_index(&self, progress: &dyn Fn(Progress)) -> Result<(), OpenError> {
        let segments = self.shared.segments.read().clone();
        let mut steps = Steps::new("reading the journal", &segments, progress);
        for segment in &segments {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                steps.step(offset);
                let seq = frame.seq;
                let strange =
                    || OpenError::Record { seq, reason: "a strange tombstone".to_owned() };
                match frame.kind {
                    FrameKind::Checkpoint => {
                        self.shared.newest_checkpoint.store(seq, Ordering::Release)
                    }
                    FrameKind::Record => {
                        // One that is of a later release says so when it is read.
                        let id = codec::peek_id(frame.body)
                            .map_or_else(|| record(seq, frame.body).map(|call| call.id), Ok)?;
                        self.shared.registry.write().drop_part(id);
                    }
                    FrameKind::Tombstone => {
                        let id = tombstone_id(frame.body).ok_or_else(strange)?;
                        self.shared.registry.write().drop_part(id);
                    }
                    FrameKind::Part => self.put_part(&frame)?,
                    FrameKind::Admin => self.put_setting(&frame)?,
                }
            }
            steps.end_of(segment);
        }
        self.shared.registry.write().published(self.writer.last_seq());
        Ok(())
    }

    fn put_part(&self, frame: &Frame<'_>) -> Result<(), OpenError> {
        let call = record(frame.seq, frame.body)?;
        let mut registry = self.shared.registry.write();
        registry.put_part(call.id, Arc::new(call), frame.seq, frame.at);
        Ok(())
    }

    fn put_setting(&self, frame: &Frame<'_>) -> Result<(), OpenError> {
        let Some(row) = admin_row(frame.body) else { return Ok(()) };
        apply(&mut self.shared.access.write(), frame.seq, &row)?;
        let row = AdminRow { name: row.name, seq: frame.seq, json: row.json };
        self.shared.registry.write().put_admin(row);
        Ok(())
    }

    /// The mark of an index that can be believed so far, or what is wrong with it.
    fn trusted(
        &self,
        index: &Index,
        lock: &Lock,
    ) -> Result<Result<CheckpointMeta, &'static str>, OpenError> {
        let mark = match index.mark() {
            Ok(Some(mark)) => mark,
            Ok(None) => return Ok(Err("it has no mark of a checkpoint")),
            Err(error) => {
                tracing::warn!(error = super::error::chain(&error), "the index cannot be read");
                return Ok(Err("it cannot be read"));
            }
        };
        self.not_ahead(index.dir(), mark.last_seq)?;
        if !lock.was_clean {
            match index.recount() {
                Ok(stats) if stats == mark.stats => {}
                Ok(_) => return Ok(Err("its count or its sum differs from its mark")),
                Err(_) => return Ok(Err("it cannot be read")),
            }
        }
        Ok(Ok(mark))
    }

    /// An error where an index knows more than the journal, and nobody has accepted the loss.
    fn not_ahead(&self, path: &Path, index: u64) -> Result<(), OpenError> {
        let journal = self.writer.last_seq();
        if index > journal && !self.shared.options.rebuild {
            return Err(OpenError::IndexAhead { path: path.to_owned(), index, journal });
        }
        Ok(())
    }

    /// Builds a generation from the whole journal and makes it current.
    fn build(
        &mut self,
        damaged: bool,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<(), OpenError> {
        let built = from_journal::build(&self.shared, now, progress)?;
        self.shared.generations.finish(built.generation, damaged)?;
        self.generation = built.generation;
        self.shared.meter.index_rebuilds.inc();
        let note = CheckpointNote { note: built.note(), at: now };
        let from_journal::Built { index, mark, .. } = built;
        self.shared.registry.write().count_from(index.stats());
        self.shared.set_index(Ok(index.clone()));
        if mark.replay_from <= mark.last_seq {
            self.replay(&index, &mark, now, progress)?;
        } else {
            self.load_access(&index)?;
        }
        let seq = committer::checkpoint(&self.shared, &mut self.writer, &note)?;
        self.shared.registry.write().published(seq);
        self.place_parts(&index, now)
    }

    /// What was heard of calls while there was no index finds its place, now that there is one.
    fn place_parts(&mut self, index: &Index, now: Timestamp) -> Result<(), OpenError> {
        while self.shared.registry.read().first_part_seq().is_some() {
            parts::place(&self.shared, &mut self.writer, index)?;
            if self.shared.registry.read().records() >= self.shared.options.registry_calls {
                self.make_room(index, now)?;
            }
        }
        Ok(())
    }

    fn load_access(&self, index: &Index) -> Result<(), OpenError> {
        let mut access = self.shared.access.write();
        for row in index.admin_rows()? {
            apply(&mut access, row.seq, &SettingRow { name: row.name, json: row.json })?;
        }
        Ok(())
    }

    /// Reads the journal from where the index ends. False where a checkpoint is found that the
    /// index should have and has not.
    fn replay(
        &mut self,
        index: &Index,
        mark: &CheckpointMeta,
        now: Timestamp,
        progress: &dyn Fn(Progress),
    ) -> Result<bool, OpenError> {
        self.load_access(index)?;
        let segments = self.shared.segments.read().clone();
        let newer = segments.iter().position(|segment| segment.first_seq > mark.replay_from);
        let first = newer.unwrap_or(segments.len()).saturating_sub(1);
        let from = segments.get(first..).unwrap_or_default();
        let mut steps = Steps::new("replaying the journal", from, progress);
        for segment in from {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                steps.step(offset);
                let seq = frame.seq;
                match frame.kind {
                    FrameKind::Checkpoint => {
                        self.shared.newest_checkpoint.store(seq, Ordering::Release);
                        let note: Result<Note, _> = serde_json::from_slice(frame.body);
                        let newer = note.is_ok_and(|note| {
                            note.generation == self.generation && note.checkpoint > mark.checkpoint
                        });
                        if newer {
                            return Ok(false);
                        }
                    }
                    _ if seq < mark.replay_from => {}
                    FrameKind::Record => {
                        let call = record(seq, frame.body)?;
                        self.put(index, call.id, CallState::Call(Arc::new(call)), seq, now)?;
                    }
                    FrameKind::Tombstone => {
                        let strange =
                            || OpenError::Record { seq, reason: "a strange tombstone".to_owned() };
                        let id = tombstone_id(frame.body).ok_or_else(strange)?;
                        self.put(index, id, CallState::Deleted(frame.at), seq, now)?;
                    }
                    FrameKind::Part => {
                        let strange =
                            || OpenError::Record { seq, reason: "a strange part".to_owned() };
                        let id = codec::peek_id(frame.body).ok_or_else(strange)?;
                        if index.stored(id)?.is_none_or(|stored| stored.seq() < seq) {
                            self.put_part(&frame)?;
                        }
                    }
                    FrameKind::Admin => self.put_setting(&frame)?,
                }
                let is_known =
                    seq < mark.replay_from || matches!(frame.kind, FrameKind::Checkpoint);
                self.recovery.replayed += u64::from(!is_known);
                self.shared.registry.write().published(seq);
                if self.shared.registry.read().records() >= self.shared.options.registry_calls {
                    self.make_room(index, now)?;
                }
            }
            steps.end_of(segment);
        }
        self.shared.registry.write().published(self.writer.last_seq());
        Ok(true)
    }

    fn put(
        &self,
        index: &Index,
        id: CallId,
        state: CallState,
        seq: u64,
        now: Timestamp,
    ) -> Result<(), IndexError> {
        let indexed = if self.shared.registry.read().get(id).is_some() {
            None
        } else {
            let stored = index.stored(id)?;
            if stored.is_some_and(|stored| stored.seq() >= seq) {
                return Ok(());
            }
            look_up_indexed(index, id)?
        };
        self.shared.registry.write().put(id, state, seq, now, indexed);
        Ok(())
    }

    /// The registry is full in the middle of a replay: all that it holds goes into the index, which
    /// from then on needs the journal from this place on.
    fn make_room(&mut self, index: &Index, now: Timestamp) -> Result<(), OpenError> {
        let written = checkpointer::write_checkpoint(
            &self.shared,
            index,
            self.generation,
            CheckpointScope::Everything,
            now,
        )?;
        let Some(IndexCheckpoint { note, versions }) = written else { return Ok(()) };
        let done = committer::checkpoint(&self.shared, &mut self.writer, &note);
        versions.settle(&self.shared);
        done.map(|_| ()).map_err(OpenError::from)
    }

    /// Begins to take changes.
    pub fn run(self, lock: Lock, queue: Receiver<Job>) -> Store {
        let Self { shared, writer, generation, recovery } = self;
        shared.registry.write().opened();
        shared.published.send_replace(shared.registry.read().last_seq());
        super::stats::count_live(&shared);
        let shared = Arc::new(shared);
        let committer = {
            let work = shared.clone();
            let run = move |queue: &_| committer::run(&work, writer, queue);
            watched(shared.clone(), "committer", queue, run)
        };
        let collector = Collector::new(shared.clone());
        let collector = watched(shared.clone(), "collector", (), move |()| collector.run());
        let checkpointer = Checkpointer::new(shared.clone(), generation);
        let checkpointer =
            watched(shared.clone(), "checkpointer", (), move |()| checkpointer.run());
        let room = {
            let work = shared.clone();
            watched(shared.clone(), "look at the disk", (), move |()| work.room.watch())
        };
        let waits = {
            let work = shared.clone();
            let queued = {
                let (queue, all) = (shared.queue.clone(), shared.options.queue_events);
                move || all.saturating_sub(queue.available_permits())
            };
            watched(shared.clone(), "look at those who wait", (), move |()| {
                work.waits.watch(&work.doing, queued);
            })
        };
        let end = Some(Job::Stop);
        Store::running(
            shared,
            lock,
            vec![
                (waits, None),
                (room, None),
                (collector, None),
                (checkpointer, None),
                (committer, end),
            ],
            recovery,
        )
    }
}

fn apply(access: &mut Access, seq: u64, row: &SettingRow) -> Result<(), OpenError> {
    let unread = |error| OpenError::Record { seq, reason: format!("{}: {error}", row.name) };
    access.apply(row).map_err(unread)
}

/// Says now and then how far the reading of segments has come.
struct Steps<'a> {
    what: &'static str,
    frames: u64,
    before: u64,
    total: u64,
    progress: &'a dyn Fn(Progress),
}

impl<'a> Steps<'a> {
    fn new(what: &'static str, of: &[Arc<Segment>], progress: &'a dyn Fn(Progress)) -> Self {
        let total = of.iter().map(|segment| segment.length).sum();
        Self { what, frames: 0, before: 0, total, progress }
    }

    fn step(&mut self, offset: u64) {
        self.frames += 1;
        if self.frames.is_multiple_of(10_000) {
            let (what, total) = (self.what.to_owned(), Some(self.total));
            (self.progress)(Progress::bytes(what, self.before + offset, total));
        }
    }

    fn end_of(&mut self, segment: &Segment) {
        self.before += segment.length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_says_what_was_repaired() {
        let clean = Recovery { was_clean: true, ..Recovery::default() };
        assert_eq!(clean.to_string(), "none, it was closed in order");
        assert_eq!(
            Recovery { is_new: true, ..clean.clone() }.to_string(),
            "none, the store is new"
        );
        let unclean = Recovery {
            torn_bytes: Some(17),
            replayed: 1,
            rebuild: Some("there is none".to_owned()),
            ..Recovery::default()
        };
        assert_eq!(
            unclean.to_string(),
            "it was not closed in order; a commit that was cut off is dropped (17 bytes); 1 record \
             of the journal was read again; the index is built anew (there is none)"
        );
        let replayed = Recovery { replayed: 2, ..Recovery::default() };
        assert!(replayed.to_string().ends_with("2 records of the journal were read again"));
    }
}
