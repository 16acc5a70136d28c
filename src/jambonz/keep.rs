//! The file with the webhooks that were there: a line of JSON for each that is replaced.
//!
//! Lines are added and synced before the first webhook changes, and are never changed. Of an application
//! the last line counts. A line without an end was written by a process that ended on the way, before it
//! changed anything: it is cut off before anything is added.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hook::{Hook, masked};
use crate::domain::{AccountSid, ApplicationSid};
use crate::fsutil;

/// The form of a line.
const FORMAT: u32 = 1;
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What an application had.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// When it was kept.
    at: String,
    /// Which API said so.
    api: String,
    pub application_sid: ApplicationSid,
    pub account_sid: Option<AccountSid>,
    pub name: String,
    /// As jambonz has sent it.
    pub call_status_hook: Option<Hook>,
    /// The URL that was set in its place.
    pub set_to: String,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.application_sid, masked(&self.set_to))
    }
}

impl Kept {
    pub(super) fn new(
        application_sid: ApplicationSid,
        account_sid: Option<AccountSid>,
        name: &str,
        api: &str,
        at: &str,
        call_status_hook: Option<Hook>,
        set_to: &str,
    ) -> Self {
        Self {
            format: FORMAT,
            at: at.to_owned(),
            api: api.to_owned(),
            application_sid,
            account_sid,
            name: name.to_owned(),
            call_status_hook,
            set_to: set_to.to_owned(),
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.call_status_hook == other.call_status_hook && self.set_to == other.set_to
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    #[error("{action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("line {line} is no webhook that `jambonz attach` has kept: {why}")]
    Line { line: usize, why: String },
    #[error("line {line} was written by a later release (format {format}); use that release")]
    Later { line: usize, format: u64 },
    #[error("others may read it, and it holds passwords; give it to its owner alone: chmod 600")]
    Open,
    #[error("another command uses it; wait until that has ended")]
    Busy,
}

/// The file, held by this process alone where it is to be written.
pub struct KeepFile {
    path: PathBuf,
    file: Option<File>,
    /// How many bytes of it are whole lines.
    whole: u64,
    kept: BTreeMap<ApplicationSid, Kept>,
}

impl KeepFile {
    /// Reads what was kept; nothing where there is no file.
    ///
    /// # Errors
    /// Those of [`KeepError`].
    pub fn read(path: &Path) -> Result<Self, KeepError> {
        match fsutil::open_named(path) {
            Ok(file) => Self::of(path, file, false),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), file: None, whole: 0, kept: BTreeMap::new() })
            }
            Err(source) => Err(KeepError::Io { action: "open", source }),
        }
    }

    /// Opens the file to add to it, and makes it where there is none. No other process uses it until this
    /// is dropped.
    ///
    /// # Errors
    /// Those of [`KeepError`].
    pub fn open_to_add(path: &Path) -> Result<Self, KeepError> {
        let new = !fsutil::is_there(path);
        let opened = fsutil::open_or_create(path);
        let file = opened.map_err(|source| KeepError::Io { action: "open", source })?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => KeepError::Busy,
            std::fs::TryLockError::Error(source) => KeepError::Io { action: "lock", source },
        })?;
        if new {
            fsutil::sync_parent(path)
                .map_err(|source| KeepError::Io { action: "sync the directory of", source })?;
        }
        Self::of(path, file, true)
    }

    fn of(path: &Path, file: File, adds: bool) -> Result<Self, KeepError> {
        let io = |action| move |source| KeepError::Io { action, source };
        let about = file.metadata().map_err(io("look at"))?;
        if adds && about.permissions().mode() & 0o077 != 0 {
            return Err(KeepError::Open);
        }
        let copy = file.try_clone().map_err(io("read"))?;
        let bytes = fsutil::contents(copy, FILE_BYTES_MAX).map_err(io("read"))?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = bytes.get(..whole).unwrap_or_default();
        let mut kept = BTreeMap::new();
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            if !line.is_empty() {
                let one = read_line(number, line)?;
                kept.insert(one.application_sid, one);
            }
        }
        let file = adds.then_some(file);
        Ok(Self { path: path.to_owned(), file, whole: whole as u64, kept })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was kept of an application.
    pub fn of_application(&self, sid: ApplicationSid) -> Option<&Kept> {
        self.kept.get(&sid)
    }

    /// What counts of each application.
    pub fn all(&self) -> impl Iterator<Item = &Kept> {
        self.kept.values()
    }

    /// Adds what the file does not say yet; it is on disk when this returns.
    ///
    /// # Errors
    /// It could not be written. Nothing must be replaced then.
    pub fn add(&mut self, all: Vec<Kept>) -> Result<(), KeepError> {
        let new = |one: &Kept| {
            !self.kept.get(&one.application_sid).is_some_and(|known| known.says_the_same(one))
        };
        let all: Vec<Kept> = all.into_iter().filter(new).collect();
        let Some(file) = self.file.as_mut().filter(|_| !all.is_empty()) else { return Ok(()) };
        let io = |source| KeepError::Io { action: "write", source };
        let mut lines = Vec::new();
        for one in &all {
            serde_json::to_writer(&mut lines, one).map_err(|error| io(error.into()))?;
            lines.push(b'\n');
        }
        file.set_len(self.whole).map_err(io)?;
        file.seek(SeekFrom::Start(self.whole)).map_err(io)?;
        file.write_all(&lines).map_err(io)?;
        file.sync_all().map_err(io)?;
        self.whole += lines.len() as u64;
        self.kept.extend(all.into_iter().map(|one| (one.application_sid, one)));
        Ok(())
    }
}

fn read_line(line: usize, bytes: &[u8]) -> Result<Kept, KeepError> {
    let wrong = |error: serde_json::Error| KeepError::Line { line, why: error.to_string() };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(wrong)?;
    let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if format > u64::from(FORMAT) {
        return Err(KeepError::Later { line, format });
    }
    serde_json::from_value(value).map_err(wrong)
}
