//! Appending commits.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Doing;
use super::disk::{self, DiskOp};
use super::format::{
    ChangeOrigin, FRAME_HEAD_BYTES, FRAMES_AT, Frame, FrameHead, FrameKind, Link, SegmentHeader,
    WITHOUT_LOG, fits,
};
use super::{JournalError, Segment};
use crate::domain::Timestamp;

pub struct JournalWriter {
    dir: PathBuf,
    file: File,
    segment: Segment,
    commit: u64,
    next_seq: u64,
    segment_bytes: u64,
    failed: Option<String>,
    /// False only in a benchmark that measures what syncing costs.
    sync: bool,
    /// How long the last sync took, until it is taken.
    sync_time: Option<Duration>,
    doing: Arc<Doing>,
}

/// Frames on their way into one commit.
pub struct Batch {
    bytes: Vec<u8>,
    heads_at: Vec<usize>,
    first_seq: u64,
    /// The least version of a segment that may hold it.
    version: u16,
}

impl Batch {
    /// Adds a frame and returns its sequence number.
    pub fn push(
        &mut self,
        at: Timestamp,
        origin: ChangeOrigin,
        kind: FrameKind,
        body: &[u8],
    ) -> Result<u64, JournalError> {
        fits(body.len())?;
        let seq = self.next_seq();
        self.version = self.version.max(kind.version());
        self.heads_at.push(self.bytes.len());
        self.bytes.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        Frame { seq, at, origin, kind, body }.write(&mut self.bytes);
        Ok(seq)
    }

    /// The sequence number that the next frame gets.
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.heads_at.len() as u64
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Frames so far.
    pub fn frames(&self) -> usize {
        self.heads_at.len()
    }

    /// No frame so far.
    pub fn is_empty(&self) -> bool {
        self.heads_at.is_empty()
    }

    fn seal(&mut self, salt: u64, commit: u64) {
        let ends = self.heads_at.iter().skip(1).copied().chain([self.bytes.len()]);
        let spans: Vec<_> = self.heads_at.iter().copied().zip(ends).collect();
        let count = spans.len();
        for (n, (begin, end)) in spans.into_iter().enumerate() {
            let Some(frame) = self.bytes.get_mut(begin..end) else { continue };
            let (head, payload) = frame.split_at_mut(FRAME_HEAD_BYTES);
            head.copy_from_slice(&FrameHead::of(payload, salt, commit, n + 1 == count).bytes());
        }
    }
}

impl JournalWriter {
    pub(super) fn new(
        dir: &Path,
        file: File,
        segment: Segment,
        commit: u64,
        next_seq: u64,
        segment_bytes: u64,
    ) -> Self {
        let dir = dir.to_owned();
        let (failed, sync, sync_time) = (None, true, None);
        let doing = Arc::default();
        Self { dir, file, segment, commit, next_seq, segment_bytes, failed, sync, sync_time, doing }
    }

    /// Says there from now on what it is at.
    pub fn tell(&mut self, doing: Arc<Doing>) {
        self.doing = doing;
    }

    /// Takes the sync out. For the benchmark that measures what it costs, and for nothing else.
    pub fn without_sync(&mut self) {
        self.sync = false;
    }

    /// An empty batch that continues the journal.
    pub fn batch(&self) -> Batch {
        Batch {
            bytes: Vec::new(),
            heads_at: Vec::new(),
            first_seq: self.next_seq,
            version: WITHOUT_LOG,
        }
    }

    /// The sequence number of the last frame; 0 where there is none.
    pub fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// The segment that is being written, with the length that counts.
    pub fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Writes and syncs a batch: when this returns `Ok`, all of it is on disk. Says whether a new
    /// segment was begun before it.
    ///
    /// # Errors
    /// After a failed sync nothing more is taken: the pages may be gone, and a second sync would
    /// succeed without them. A disk that is full takes nothing of the batch and may be tried again.
    pub fn append(&mut self, mut batch: Batch) -> Result<bool, JournalError> {
        if let Some(reason) = &self.failed {
            return Err(JournalError::Failed { reason: reason.clone() });
        }
        if batch.is_empty() {
            return Ok(false);
        }
        let frames = FRAMES_AT < self.segment.length;
        let is_full = frames && self.segment.length + batch.bytes() as u64 > self.segment_bytes;
        let rotate = is_full || batch.version > self.segment.header.version;
        if rotate {
            self.rotate(batch.first_seq, batch.version)?;
        }
        batch.seal(self.segment.header.salt, self.commit);
        let path = self.segment.path.clone();
        self.doing.begin("writing to the journal");
        let write = DiskOp::Write(&self.file, self.segment.length, &batch.bytes);
        if let Err(source) = disk::make(write) {
            let error = JournalError::Io { action: "write to", path, source };
            // Bytes that were written lie behind what counts; they must not outlive this process.
            let cut = DiskOp::Cut(&self.file, self.segment.length);
            if !error.is_full() || disk::make(cut).is_err() {
                self.failed = Some(describe(&error));
            }
            return Err(error);
        }
        self.doing.begin("syncing the journal");
        let begun = Instant::now();
        if self.sync
            && let Err(source) = disk::make(DiskOp::Sync(&self.file))
        {
            // Even where the disk is full: what of it is on disk is unknown.
            let source = io::Error::other(source);
            let error = JournalError::Io { action: "sync", path, source };
            self.failed = Some(describe(&error));
            return Err(error);
        }
        self.sync_time = self.sync.then(|| begun.elapsed());
        self.segment.length += batch.bytes() as u64;
        self.next_seq = batch.next_seq();
        self.commit += 1;
        Ok(rotate)
    }

    /// How long the last sync took; none where there was none since the last question.
    pub fn take_sync_time(&mut self) -> Option<Duration> {
        self.sync_time.take()
    }

    /// The journal takes nothing more.
    pub fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Begins a new segment, unless the present one is empty.
    pub fn begin_segment(&mut self) -> Result<(), JournalError> {
        if let Some(reason) = &self.failed {
            return Err(JournalError::Failed { reason: reason.clone() });
        }
        if self.segment.length == FRAMES_AT {
            Ok(())
        } else {
            self.rotate(self.next_seq, WITHOUT_LOG)
        }
    }

    /// Begins a segment of the version of the present one, or of this one where that is greater.
    fn rotate(&mut self, first_seq: u64, version: u16) -> Result<(), JournalError> {
        self.doing.begin("making a segment of the journal");
        // One without frames has the same name: the new one takes its place.
        let previous = if self.segment.length == FRAMES_AT {
            self.segment.header.previous
        } else {
            self.segment.link()
        };
        let version = version.max(self.segment.header.version);
        let first = (first_seq, self.commit);
        let created = create_segment(&self.dir, version, first, previous, new_salt(), &[]);
        match created {
            Ok((file, segment)) => {
                self.file = file;
                self.segment = segment;
                Ok(())
            }
            Err(error) => {
                // Once it has its name the new segment may or may not be the journal's last.
                if !error.is_full() {
                    self.failed = Some(describe(&error));
                }
                Err(error)
            }
        }
    }
}

fn describe(error: &JournalError) -> String {
    use std::error::Error as _;
    let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

/// A new segment with these frames, on disk under its own name when this returns.
///
/// `first` is the first sequence number and the first commit in it.
pub(super) fn create_segment(
    dir: &Path,
    version: u16,
    first: (u64, u64),
    previous: Link,
    salt: u64,
    frames: &[u8],
) -> Result<(File, Segment), JournalError> {
    let (first_seq, first_commit) = first;
    let path = dir.join(Segment::file_name(first_seq));
    let length = FRAMES_AT + frames.len() as u64;
    let header = SegmentHeader { version, salt, first_seq, previous, first_commit };
    let segment = Segment::plain(path.clone(), header, length);
    let unfinished = path.with_extension("log.new");
    let write = || -> io::Result<File> {
        let file = disk::create(&unfinished)?;
        disk::make(DiskOp::Write(&file, 0, &header.bytes()))?;
        disk::make(DiskOp::Write(&file, FRAMES_AT, frames))?;
        disk::make(DiskOp::Sync(&file))?;
        Ok(file)
    };
    let file = write().map_err(JournalError::io("write", &unfinished))?;
    let rename = DiskOp::Rename(&unfinished, &path);
    disk::make(rename).map_err(JournalError::io("rename", &unfinished))?;
    disk::make(DiskOp::SyncDir(dir)).map_err(|source| {
        // The name may be lost while the file is being written: not to be tried again.
        let source = io::Error::other(source);
        JournalError::Io { action: "sync", path: dir.to_owned(), source }
    })?;
    Ok((file, segment))
}

pub(super) fn new_salt() -> u64 {
    crate::random::uuid().as_u64_pair().0
}
