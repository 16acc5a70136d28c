//! The file with the webhooks that were there: a line of JSON for each that is replaced.
//!
//! Lines are added and synced before the first webhook changes, and are never changed. Of an application
//! the last line counts; the ones before say what else is ours, where they have kept the same. A piece of a
//! line at the end was written by a process that ended on the way, before it changed anything: it is cut
//! off before anything is added. Anything else that is not such a line keeps the file from being used.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hook::{Hook, HookUrl, masked, same_place};
use crate::domain::{AccountSid, ApplicationSid};
use crate::fsutil;

/// The form of a line.
const FORMAT: u32 = 1;
/// What each line begins with.
const BEGIN: &[u8] = b"{\"format\":";
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What an application had.
#[derive(Clone, Serialize, Deserialize)]
pub struct Kept {
    format: u32,
    /// When it was kept.
    at: String,
    /// Which API said so.
    pub api: String,
    pub application_sid: ApplicationSid,
    pub account_sid: Option<AccountSid>,
    pub name: String,
    /// As jambonz has sent it.
    pub call_status_hook: Option<Hook>,
    /// The URL that was set in its place.
    set_to: String,
    /// Those that were set, or were to be, before that: a server has moved.
    #[serde(skip)]
    earlier: Vec<String>,
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
            earlier: Vec::new(),
        }
    }

    /// Whether a URL is one that was set over what was kept.
    pub(super) fn is_set_to(&self, url: &str) -> bool {
        self.earlier.iter().chain([&self.set_to]).any(|set_to| same_place(set_to, url))
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
    /// It holds the lock.
    file: Option<File>,
    adds: bool,
    /// How many bytes of it are whole lines.
    whole: u64,
    /// The last of them has no end.
    unended: bool,
    /// The number of a line of which only a piece is there.
    cut: Option<usize>,
    kept: BTreeMap<ApplicationSid, Kept>,
}

impl KeepFile {
    /// Reads what was kept; nothing where there is no file. Nothing is added to it until this is dropped.
    ///
    /// # Errors
    /// Those of [`KeepError`].
    pub fn read(path: &Path) -> Result<Self, KeepError> {
        let file = match fsutil::open_named(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::empty(path)),
            Err(source) => return Err(KeepError::Io { action: "open", source }),
        };
        // Some file systems have no locks, and it can be read there all the same.
        if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock_shared() {
            return Err(KeepError::Busy);
        }
        Self::of(path, file, false)
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            adds: false,
            whole: 0,
            unended: false,
            cut: None,
            kept: BTreeMap::new(),
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
        let (lines, rest) = bytes.split_at_checked(whole).unwrap_or_default();
        let mut found = Self { adds, whole: whole as u64, ..Self::empty(path) };
        for (number, line) in (1..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
            if !line.trim_ascii().is_empty() {
                found.remember(read_line(number, line)?);
            }
        }
        if !rest.is_empty() {
            let number = lines.split_inclusive(|byte| *byte == b'\n').count() + 1;
            match read_line(number, rest) {
                // An editor has left its end out.
                Ok(one) => {
                    found.remember(one);
                    found.whole = bytes.len() as u64;
                    found.unended = true;
                }
                Err(_) if is_piece(rest) => found.cut = Some(number),
                Err(error) => return Err(error),
            }
        }
        found.file = Some(file);
        Ok(found)
    }

    fn remember(&mut self, mut one: Kept) {
        if let Some(last) = self.kept.remove(&one.application_sid)
            && last.call_status_hook == one.call_status_hook
        {
            one.earlier = last.earlier;
            if !one.earlier.contains(&last.set_to) {
                one.earlier.push(last.set_to);
            }
        }
        self.kept.insert(one.application_sid, one);
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the last line, where only a piece of it is there, which says nothing.
    pub fn cut_line(&self) -> Option<usize> {
        self.cut
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
        let writes = self.adds && !all.is_empty();
        let Some(file) = self.file.as_mut().filter(|_| writes) else { return Ok(()) };
        let io = |source| KeepError::Io { action: "write", source };
        let mut lines = if self.unended { vec![b'\n'] } else { Vec::new() };
        for one in &all {
            serde_json::to_writer(&mut lines, one).map_err(|error| io(error.into()))?;
            lines.push(b'\n');
        }
        file.set_len(self.whole).map_err(io)?;
        file.seek(SeekFrom::Start(self.whole)).map_err(io)?;
        file.write_all(&lines).map_err(io)?;
        file.sync_all().map_err(io)?;
        self.whole += lines.len() as u64;
        self.unended = false;
        for one in all {
            self.remember(one);
        }
        Ok(())
    }
}

/// Whether this is what a process leaves that ends while it writes a line; a disk may leave zeros.
fn is_piece(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    let piece = bytes.get(..end).unwrap_or_default();
    let goes_on = || serde_json::from_slice::<Value>(piece).is_err_and(|error| error.is_eof());
    BEGIN.starts_with(piece) || piece.starts_with(BEGIN) && goes_on()
}

fn read_line(line: usize, bytes: &[u8]) -> Result<Kept, KeepError> {
    let wrong = |why: &str| KeepError::Line { line, why: why.to_owned() };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| wrong(&error.to_string()))?;
    let format = value.get("format").and_then(Value::as_u64).unwrap_or_default();
    if format > u64::from(FORMAT) {
        return Err(KeepError::Later { line, format });
    }
    // One that is missing is not one that was not there. What is there may hold a password.
    match value.get("call_status_hook") {
        Some(Value::Null) => {}
        Some(hook) if hook.get("url").is_some_and(Value::is_string) => {}
        _ => {
            let why = "it has no call_status_hook; expected null, or an object with its url";
            return Err(wrong(why));
        }
    }
    let kept: Kept = serde_json::from_value(value).map_err(|error| wrong(&error.to_string()))?;
    match kept.set_to.parse::<HookUrl>() {
        Ok(_) => Ok(kept),
        Err(error) => Err(wrong(&format!("its set_to: {error}"))),
    }
}
