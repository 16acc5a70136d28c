//! Reading a backup's files, where the store is.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::error::BackupError;
use super::examine::PIECE_BYTES;
use super::manifest::{ManifestFile, hex};
use super::names;
use super::parts::BackupLine;
use crate::domain::Timestamp;
use crate::fsutil;
use crate::store::{FORMAT, Progress, Store};
use crate::wire::show_time;

/// What a backup is asked to have.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BackupScope {
    /// Files that an earlier backup has; those that are the same are not sent.
    pub known: Vec<ManifestFile>,
    /// Bytes that are read in a second at most; 0 for as many as there are.
    pub rate: u64,
}

/// Emits a store's backup in pieces of at most 64 KiB. Everything that was acknowledged before this
/// was called is in it.
pub fn send(
    store: &Store,
    wanted: &BackupScope,
    now: Timestamp,
    put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), BackupError> {
    let dir = store.data_dir();
    let _use = store.uses_segments("backup");
    // Held segments keep their files; each is let go once it has been read.
    let segments = store.segments();
    let total = segments.iter().map(|segment| segment.disk_bytes()).sum();
    let mut sending = BackupSender { put, pace: Pace::new(wanted.rate), progress, total };
    let begin = BackupLine::Begin {
        format: FORMAT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: store.epoch().to_owned(),
        made_at: show_time(now).to_string(),
    };
    sending.line(&begin)?;
    for segment in segments {
        let file = segment.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = format!("journal/{file}");
        let bytes = segment.disk_bytes();
        let known = wanted.known.iter().find(|known| known.name == name && known.bytes == bytes);
        if let Some(known) = known
            && sending.is_same(&segment.path, bytes, known)?
        {
            sending.line(&BackupLine::Same { name })?;
        } else {
            sending.file(&segment.path, name, bytes)?;
        }
    }
    for (path, name) in secrets(dir)? {
        let content = match fsutil::read(&path, fsutil::SMALL_BYTES_MAX) {
            Ok(content) => content,
            // A token that was revoked just now, or a certificate that was replaced.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BackupError::io("read", &path)(error)),
        };
        sending.line(&BackupLine::File { name, bytes: content.len() as u64 })?;
        for piece in content.chunks(PIECE_BYTES) {
            sending.put(piece)?;
        }
    }
    sending.line(&BackupLine::End)
}

/// Files beside the journal that a working server needs, or that say who may use it.
fn secrets(dir: &Path) -> Result<Vec<(PathBuf, String)>, BackupError> {
    let mut found = Vec::new();
    let tls = dir.join("tls");
    if fsutil::is_dir(&tls) {
        for entry in fs::read_dir(&tls).map_err(BackupError::io("list", &tls))? {
            let path = entry.map_err(BackupError::io("list", &tls))?.path();
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = format!("tls/{file}");
            // What ends so is on its way to another name.
            let unfinished = path.extension().is_some_and(|ending| ending == "new");
            let ours = fsutil::is_content(OsStr::new(file)) && names::is_known(&name);
            if fsutil::is_file(&path) && ours && !unfinished {
                found.push((path, name));
            }
        }
    }
    found.sort();
    let token = dir.join(names::TOKEN);
    if fsutil::is_file(&token) {
        found.push((token, names::TOKEN.to_owned()));
    }
    Ok(found)
}

/// Takes a piece of a file.
type Each<'e, S> = dyn FnMut(&mut S, &[u8]) -> Result<(), BackupError> + 'e;

struct BackupSender<'a> {
    put: &'a mut dyn FnMut(&[u8]) -> io::Result<()>,
    pace: Pace,
    progress: &'a mut dyn FnMut(Progress),
    total: u64,
}

impl BackupSender<'_> {
    fn line(&mut self, part: &BackupLine) -> Result<(), BackupError> {
        self.put(&part.line())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        (self.put)(bytes).map_err(BackupError::io("send", Path::new("the backup")))
    }

    fn file(&mut self, path: &Path, name: String, bytes: u64) -> Result<(), BackupError> {
        self.line(&BackupLine::File { name, bytes })?;
        self.read(path, bytes, &mut |sending, piece| sending.put(piece))
    }

    fn is_same(
        &mut self,
        path: &Path,
        bytes: u64,
        known: &ManifestFile,
    ) -> Result<bool, BackupError> {
        let mut sum = Context::new(&SHA256);
        self.read(path, bytes, &mut |_, piece| {
            sum.update(piece);
            Ok(())
        })?;
        Ok(hex(sum.finish().as_ref()) == known.sha256)
    }

    /// Reads so many bytes from the beginning of a file, no faster than is allowed.
    fn read(
        &mut self,
        path: &Path,
        mut left: u64,
        each: &mut Each<'_, Self>,
    ) -> Result<(), BackupError> {
        let mut file = fsutil::open(path).map_err(BackupError::io("open", path))?;
        let mut buffer = vec![0; PIECE_BYTES];
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let piece = buffer.get_mut(..count).unwrap_or_default();
            file.read_exact(piece).map_err(BackupError::io("read", path))?;
            left -= count as u64;
            each(self, piece)?;
            self.pace.take(count as u64);
            let what = "reading the journal".to_owned();
            let done = self.pace.taken.min(self.total);
            (self.progress)(Progress::bytes(what, done, Some(self.total)));
        }
        Ok(())
    }
}

/// So many bytes a second and not more.
struct Pace {
    rate: u64,
    begun: Instant,
    taken: u64,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, begun: Instant::now(), taken: 0 }
    }

    /// Waits until so many bytes may have been taken.
    fn take(&mut self, bytes: u64) {
        self.taken += bytes;
        let Some(millis) = (self.taken.saturating_mul(1000)).checked_div(self.rate) else { return };
        let due = self.begun + Duration::from_millis(millis);
        while let Some(left) = due.checked_duration_since(Instant::now()) {
            if left.is_zero() {
                return;
            }
            std::thread::park_timeout(left);
        }
    }
}
