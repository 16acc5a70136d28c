//! Opening a store: the journal is read, the index is trusted or built again, and what it took is kept
//! for the log.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::checkpoint::{self, CheckpointScope, IndexCheckpoint};
use super::data_dir::Lock;
use super::frames::{Body, Encoded};
use super::index_builder::from_journal;
use super::messages::CheckpointNote;
use super::parts::{self, look_up_indexed};
use super::state::Shared;
use super::threads::Progress;
use super::{OpenError, committer};
use crate::access::{Access, SettingRow};
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
    pub shared: Shared,
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
            self.shared.view.registry.write().count_from(index.stats());
            self.shared.view.set_index(Ok(index.clone()));
            let reason = match self.replay(&index, &mark, now, progress) {
                Ok(true) => return self.join_parts(&index, now),
                Ok(false) => "it is older than the journal says it is".to_owned(),
                Err(OpenError::Index(error)) => super::error::chain(&error),
                Err(error) => return Err(error),
            };
            self.shared.view.set_index(Err(reason.clone()));
            drop(index);
            self.shared.view.registry = parking_lot::RwLock::default();
            *self.shared.view.access.write() = Access::default();
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
        self.shared.view.set_index(Err(reason.to_owned()));
        self.shared.view.damaged.store(damaged, Ordering::Release);
        self.shared.checkpointer.wake();
        self.read_without_index(progress)
    }

    /// Reads in the journal what has to be known while there is no index: settings, and calls of which
    /// only parts are known.
    fn read_without_index(&self, progress: &dyn Fn(Progress)) -> Result<(), OpenError> {
        let segments = self.shared.view.segments.read().clone();
        let mut steps = Steps::new("reading the journal", &segments, progress);
        for segment in &segments {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                steps.step(offset);
                let seq = frame.seq;
                match Body::decode(&frame)? {
                    Body::Checkpoint(_) => {
                        self.shared.newest_checkpoint.store(seq, Ordering::Release);
                    }
                    Body::Record(id, _) | Body::Tombstone(id) => {
                        self.shared.view.registry.write().drop_part(id);
                    }
                    Body::Part(_, record) => self.put_part(&frame, &record)?,
                    Body::Setting(row) => self.put_setting(seq, row)?,
                    Body::Outbox(_) | Body::Applied(_) | Body::Kept(_) => {}
                }
            }
            steps.end_of(segment);
        }
        self.shared.view.registry.write().published(self.writer.last_seq());
        Ok(())
    }

    fn put_part(&self, frame: &Frame<'_>, record: &Encoded<'_>) -> Result<(), OpenError> {
        let call = record.call()?;
        let mut registry = self.shared.view.registry.write();
        registry.put_part(call.id, Arc::new(call), frame.seq, frame.at);
        Ok(())
    }

    fn put_setting(&self, seq: u64, row: Option<SettingRow>) -> Result<(), OpenError> {
        let Some(row) = row else { return Ok(()) };
        apply(&mut self.shared.view.access.write(), seq, &row)?;
        let row = AdminRow { name: row.name, seq, json: row.json };
        self.shared.view.registry.write().put_admin(row);
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
        self.shared.view.meter.index_rebuilds.inc();
        let note = CheckpointNote { note: built.note(), at: now };
        let from_journal::Built { index, mark, .. } = built;
        self.shared.view.registry.write().count_from(index.stats());
        self.shared.view.set_index(Ok(index.clone()));
        if mark.replay_from <= mark.last_seq {
            self.replay(&index, &mark, now, progress)?;
        } else {
            self.load_access(&index)?;
        }
        let seq = committer::checkpoint(&self.shared, &mut self.writer, &note)?;
        self.shared.view.registry.write().published(seq);
        self.join_parts(&index, now)
    }

    /// What was heard of calls while there was no index finds its place, now that there is one.
    fn join_parts(&mut self, index: &Index, now: Timestamp) -> Result<(), OpenError> {
        while self.shared.view.registry.read().first_part_seq().is_some() {
            parts::join_first(&self.shared, &mut self.writer, index)?;
            if self.shared.view.registry.read().records() >= self.shared.options.registry_calls {
                self.empty_registry(index, now)?;
            }
        }
        Ok(())
    }

    fn load_access(&self, index: &Index) -> Result<(), OpenError> {
        let mut access = self.shared.view.access.write();
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
        let segments = self.shared.view.segments.read().clone();
        let newer = segments.iter().position(|segment| segment.first_seq > mark.replay_from);
        let first = newer.unwrap_or(segments.len()).saturating_sub(1);
        let from = segments.get(first..).unwrap_or_default();
        let mut steps = Steps::new("replaying the journal", from, progress);
        for segment in from {
            let mut scanner = Scanner::new(segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                steps.step(offset);
                let seq = frame.seq;
                let is_checkpoint = frame.kind == FrameKind::Checkpoint;
                let is_known = seq < mark.replay_from && !is_checkpoint;
                let body = if is_known { None } else { Some(Body::decode(&frame)?) };
                match body {
                    Some(Body::Checkpoint(note)) => {
                        self.shared.newest_checkpoint.store(seq, Ordering::Release);
                        let newer = note.is_some_and(|note| {
                            note.generation == self.generation && note.checkpoint > mark.checkpoint
                        });
                        if newer {
                            return Ok(false);
                        }
                    }
                    Some(Body::Record(id, record)) => {
                        let call = Arc::new(record.call()?);
                        self.put(index, id, CallState::Call(call), seq, now)?;
                    }
                    Some(Body::Tombstone(id)) => {
                        self.put(index, id, CallState::Deleted(frame.at), seq, now)?;
                    }
                    Some(Body::Part(id, record))
                        if index.stored(id)?.is_none_or(|stored| stored.seq() < seq) =>
                    {
                        self.put_part(&frame, &record)?;
                    }
                    None
                    | Some(Body::Part(..) | Body::Outbox(_) | Body::Applied(_) | Body::Kept(_)) => {
                    }
                    Some(Body::Setting(row)) => self.put_setting(seq, row)?,
                }
                let is_known = is_known || is_checkpoint;
                self.recovery.replayed += u64::from(!is_known);
                self.shared.view.registry.write().published(seq);
                if self.shared.view.registry.read().records() >= self.shared.options.registry_calls
                {
                    self.empty_registry(index, now)?;
                }
            }
            steps.end_of(segment);
        }
        self.shared.view.registry.write().published(self.writer.last_seq());
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
        let indexed = if self.shared.view.registry.read().get(id).is_some() {
            None
        } else {
            let stored = index.stored(id)?;
            if stored.is_some_and(|stored| stored.seq() >= seq) {
                return Ok(());
            }
            look_up_indexed(index, id)?
        };
        self.shared.view.registry.write().put(id, state, seq, now, indexed);
        Ok(())
    }

    /// The registry is full in the middle of a replay: all that it holds goes into the index, which
    /// from then on needs the journal from this place on.
    fn empty_registry(&mut self, index: &Index, now: Timestamp) -> Result<(), OpenError> {
        let written = checkpoint::write(
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
