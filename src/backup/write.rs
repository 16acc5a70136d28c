//! Writing a backup, with the rights of the user who runs the command.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use age::x25519::Recipient;

use super::archive::{Archive, ArchivePlace};
use super::error::BackupError;
use super::examine::{Examination, Examined, examine};
use super::in_place::BackupEntries;
use super::keep;
use super::manifest::{Manifest, VERSION};
use super::names::{self, ARCHIVE, DIRS, ENCRYPTED};
use super::parts::{BackupLine, BackupPiece, Parts};
use super::pipe::{Pipe, READER_TIMEOUT};
use super::read;
use super::send::BackupScope;
use crate::domain::Timestamp;
use crate::fsutil;
use crate::journal::Chain;
use crate::store::UNFINISHED;
use crate::wire::show_time;

/// What a backup makes in a directory that is there already.
const MADE: BackupEntries = BackupEntries {
    files: &[names::TOKEN, names::MANIFEST, "BACKUP.new"],
    note: "This backup was not finished. Make it again, or remove what is here.\n",
};

/// What is to be made.
#[derive(Clone)]
pub struct BackupRequest {
    /// A directory, or a file that ends in `.tar.zst` or `.tar.zst.age`; with `keep` the directory
    /// in which it is made.
    pub target: PathBuf,
    /// A backup whose files are linked where they are the same.
    pub incremental_from: Option<PathBuf>,
    /// Keys that can decrypt it; it is not encrypted where this is empty.
    pub recipients: Vec<Recipient>,
    /// How many are to be there afterwards.
    pub keep: Option<usize>,
    /// Bytes a second at most; 0 for no limit.
    pub rate: u64,
    /// The data directory.
    pub source: PathBuf,
    /// Bytes that are to stay free on its disk.
    pub leave: u64,
}

/// What was made.
#[derive(Debug)]
pub struct BackupSummary {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub manifest: Manifest,
    /// Files of it that an earlier backup has, too.
    pub linked: usize,
    /// What killed backups had left, which was removed.
    pub cleared: Vec<PathBuf>,
    /// Old backups that were removed.
    pub removed: Vec<PathBuf>,
}

/// What is to be written to a stream.
#[derive(Clone)]
pub struct StreamRequest {
    /// Keys that can decrypt it; it is not encrypted where this is empty.
    pub recipients: Vec<Recipient>,
    /// Bytes a second at most; 0 for no limit.
    pub rate: u64,
    /// The data directory.
    pub source: PathBuf,
}

/// What standard output is called.
const STREAM: &str = "standard output";

/// Takes pieces of what a store sends.
pub type Put<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Makes a backup of what `fetch` has a store send. It has its name once it is whole and on disk.
///
/// # Errors
/// What was written is removed again, unless the process is killed.
pub fn write<E: From<BackupError>>(
    order: &BackupRequest,
    now: Timestamp,
    fetch: impl FnOnce(BackupScope, &mut Put<'_>) -> Result<(), E>,
) -> Result<BackupSummary, E> {
    let (path, archive) = order.place(now)?;
    let mut cleared = Vec::new();
    let mut earlier = order.incremental_from.clone();
    if order.keep.is_some() {
        fsutil::create_dirs(&order.target).map_err(BackupError::io("make", &order.target))?;
        cleared = keep::clear_all(&order.target)?;
        if earlier.is_none() && !archive {
            // The newest one that says what it has; a damaged one must not end all backups.
            let mut there = keep::whole(&order.target)?.into_iter();
            earlier = there.find(|path| fsutil::is_dir(path) && read::manifest(path).is_ok());
        }
    }
    // It may be the first directory of a disk, to which nothing can be renamed.
    let in_place = !archive && path.is_dir();
    if !in_place && fs::symlink_metadata(&path).is_ok() {
        return Err(BackupError::Exists { path }.into());
    }
    let partial = names::partial(&path);
    if keep::clear(&partial)? {
        cleared.push(partial.clone());
    }
    let partial = if in_place { path.clone() } else { partial };
    let earlier = match earlier {
        Some(earlier) => Some(Earlier::read(&earlier)?),
        None => None,
    };
    let known = earlier.iter().flat_map(|earlier| earlier.files.values());
    let known = known.map(|examined| examined.entry.clone()).collect();
    let wanted = BackupScope { known, rate: order.rate };
    let kind = if archive { BackupKind::Archive } else { BackupKind::Directory { in_place } };
    let (begun, unfinished) = begin(order, &partial, kind)?;
    if unfinished {
        cleared.push(partial.clone());
    }
    let mut writing = Writing::new(begun, partial.clone(), order.source.clone(), now);
    let disk = if in_place { path.clone() } else { fsutil::parent(&partial).to_owned() };
    writing.room = Some(Room { disk, leave: order.leave });
    writing.earlier = earlier;
    let name = (!in_place).then_some(path.as_path());
    let written = writing.all(wanted, fetch, name);
    // What is removed is still locked.
    let (manifest, linked) = written.inspect_err(|_| {
        let _already_gone = if in_place {
            MADE.give_up(&partial).map_err(BackupError::io("clear", &partial))
        } else {
            keep::remove(&partial)
        };
    })?;
    let removed = match order.keep {
        Some(keep) => keep::remove_old(&order.target, keep, &path)?,
        None => Vec::new(),
    };
    Ok(BackupSummary { path, manifest, linked, cleared, removed })
}

/// Writes what `fetch` has a store send into a stream, as an archive. A reader that takes nothing for a minute is given up:
/// as long as it is waited for, the store keeps what the backup has not read yet.
///
/// # Errors
/// What was written has no end, and is refused by every reader of backups.
pub fn write_stream<E: From<BackupError>>(
    order: &StreamRequest,
    stream: File,
    now: Timestamp,
    fetch: impl FnOnce(BackupScope, &mut Put<'_>) -> Result<(), E>,
) -> Result<Manifest, E> {
    let path = Path::new(STREAM);
    let pipe = ArchivePlace::Pipe(Pipe::new(stream, READER_TIMEOUT));
    let archive = Archive::new(pipe, &order.recipients).map_err(BackupError::io("write", path))?;
    let begun = (None, BackupForm::Archive(Some(Box::new(archive))));
    let mut writing = Writing::new(begun, path.to_owned(), order.source.clone(), now);
    let wanted = BackupScope { known: Vec::new(), rate: order.rate };
    writing.all(wanted, fetch, None).map(|(manifest, _)| manifest)
}

impl BackupRequest {
    /// Where it will be, and whether it is one file.
    fn place(&self, now: Timestamp) -> Result<(PathBuf, bool), BackupError> {
        let usage = |text: String| Err(BackupError::Usage(text));
        let name = self.target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let encrypts = !self.recipients.is_empty();
        let place = if self.keep.is_some() {
            let target = self.target.display();
            if fsutil::is_there(&self.target.join(names::MANIFEST)) {
                return usage(format!(
                    "{target} is itself a finished backup; with --keep, name the directory in which the \
                     backups are to be, such as the one above it"
                ));
            }
            if fsutil::is_there(&self.target) && !self.target.is_dir() {
                return usage(format!(
                    "{target} is no directory; with --keep, name the directory in which the backups are \
                     to be"
                ));
            }
            let ending = if encrypts { ENCRYPTED } else { "" };
            (self.target.join(keep::name(now, ending)), encrypts)
        } else if name.ends_with(ENCRYPTED) {
            if !encrypts {
                return usage(format!("{name}: --encrypt-to says to whom it is encrypted"));
            }
            (self.target.clone(), true)
        } else if encrypts {
            return usage(format!("{name}: what is encrypted is one file, called …{ENCRYPTED}"));
        } else {
            (self.target.clone(), name.ends_with(ARCHIVE))
        };
        if place.1 && self.incremental_from.is_some() {
            return usage("--incremental-from needs a directory: an archive is whole".to_owned());
        }
        Ok(place)
    }
}

/// An earlier backup, whose files have been read.
struct Earlier {
    path: PathBuf,
    files: HashMap<String, Examined>,
}

impl Earlier {
    /// A file of it that is damaged is left out, and made anew.
    fn read(path: &Path) -> Result<Self, BackupError> {
        let manifest = read::manifest(path)?;
        let mut files = HashMap::new();
        for entry in manifest.files.into_iter().filter(|entry| entry.frames.is_some()) {
            let Ok(mut file) = fsutil::open_in(path, &entry.name) else { continue };
            match examine(path, &entry.name, None, &mut file, &mut |_| Ok(())) {
                Ok(examined) if examined.entry == entry => {
                    files.insert(entry.name, examined);
                }
                _ => {}
            }
        }
        Ok(Self { path: path.to_owned(), files })
    }
}

/// What is to be made.
#[derive(Clone, Copy)]
enum BackupKind {
    Directory { in_place: bool },
    Archive,
}

enum BackupForm {
    Directory(Option<File>),
    Archive(Option<Box<Archive>>),
}

/// A backup that is being written.
struct Writing {
    /// Where it stands until it is whole.
    path: PathBuf,
    source: PathBuf,
    /// None for a stream.
    room: Option<Room>,
    form: BackupForm,
    /// Held, so that it is not taken for a leftover.
    _lock: Option<File>,
    earlier: Option<Earlier>,
    seconds: u64,
    parts: Parts,
    open: Option<Examination>,
    chain: Chain,
    manifest: Manifest,
    linked: usize,
    ended: bool,
    failed: Option<BackupError>,
}

/// The disk that has to have space.
struct Room {
    /// A directory on it.
    disk: PathBuf,
    /// Bytes that are to stay free where it is the disk of the store.
    leave: u64,
}

/// Held as long as it is written, and its form.
type Begun = (Option<File>, BackupForm);

/// Takes the place of a backup. Says whether something was removed that a killed one had left there.
fn begin(
    order: &BackupRequest,
    path: &Path,
    kind: BackupKind,
) -> Result<(Begun, bool), BackupError> {
    let (claimed, cleared) = match kind {
        BackupKind::Directory { in_place: true } => match MADE.claim(path) {
            Ok((lock, cleared)) => (Some(lock), cleared),
            Err(BackupError::NotEmpty { path }) => return Err(BackupError::Exists { path }),
            Err(error) => return Err(error),
        },
        _ => (None, false),
    };
    let mark = |path: &Path| {
        let lock = fsutil::create(path)?;
        lock.try_lock()?;
        Ok::<_, io::Error>(lock)
    };
    let begin = || {
        if matches!(kind, BackupKind::Archive) {
            let lock = mark(path)?;
            let place = ArchivePlace::File(lock.try_clone()?);
            let archive = Archive::new(place, &order.recipients)?;
            return Ok((Some(lock), BackupForm::Archive(Some(Box::new(archive)))));
        }
        let lock = if let Some(lock) = claimed {
            lock
        } else {
            fsutil::create_dir(path)?;
            mark(&path.join(UNFINISHED))?
        };
        for name in DIRS {
            fsutil::create_dir(&path.join(name))?;
        }
        Ok((Some(lock), BackupForm::Directory(None)))
    };
    let begun = begin().map_err(BackupError::io("write", path))?;
    Ok((begun, cleared))
}

impl Writing {
    fn new((lock, form): Begun, path: PathBuf, source: PathBuf, now: Timestamp) -> Self {
        let manifest = Manifest {
            rollcall_backup: VERSION,
            release: String::new(),
            format: 0,
            epoch: String::new(),
            sequence: 0,
            made_at: String::new(),
            last_change_at: None,
            frames: 0,
            files: Vec::new(),
        };
        Self {
            path,
            source,
            room: None,
            form,
            _lock: lock,
            earlier: None,
            seconds: now.millis() / 1000,
            parts: Parts::default(),
            open: None,
            chain: Chain::default(),
            manifest,
            linked: 0,
            ended: false,
            failed: None,
        }
    }

    /// Takes all that `fetch` has the store send. Returns how many files are linked, too.
    fn all<E: From<BackupError>>(
        &mut self,
        wanted: BackupScope,
        fetch: impl FnOnce(BackupScope, &mut Put<'_>) -> Result<(), E>,
        name: Option<&Path>,
    ) -> Result<(Manifest, usize), E> {
        let fetched = fetch(wanted, &mut |bytes| self.take(bytes));
        let linked = self.linked;
        match (self.failed.take(), fetched) {
            (Some(error), _) => Err(error.into()),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Ok((self.finish(name)?, linked)),
        }
    }

    /// The next bytes that the store sends.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut parts = std::mem::take(&mut self.parts);
        let taken = parts.take(bytes, &mut |piece| match piece {
            BackupPiece::Part(part) => self.part(part),
            BackupPiece::Bytes(bytes, last) => self.bytes(bytes, last),
        });
        self.parts = parts;
        taken.map_err(|error| {
            let short = io::Error::other(error.to_string());
            self.failed = Some(error);
            short
        })
    }

    fn part(&mut self, part: BackupLine) -> Result<(), BackupError> {
        match part {
            BackupLine::Begin { format, release, epoch, made_at } => {
                self.manifest =
                    Manifest { release, format, epoch, made_at, ..self.manifest.clone() };
            }
            BackupLine::File { name, bytes } => {
                self.has_room(bytes)?;
                self.open = Some(Examination::new(&self.source, &name, None)?);
                let place = self.path.join(&name);
                let begun = match &mut self.form {
                    BackupForm::Directory(file) => {
                        fsutil::create_in(&self.path, &name).map(|new| *file = Some(new))
                    }
                    BackupForm::Archive(Some(archive)) => archive.begin(&name, bytes, self.seconds),
                    BackupForm::Archive(None) => Ok(()),
                };
                begun.map_err(BackupError::io("write", &place))?;
            }
            BackupLine::Same { name } => {
                let earlier = self.earlier.as_ref();
                let found = earlier.and_then(|earlier| Some((earlier, earlier.files.get(&name)?)));
                let Some((earlier, examined)) = found else {
                    return Err(BackupError::Parts(format!("the earlier backup has no {name}")));
                };
                let to = self.path.join(&name);
                let examined = examined.clone();
                link((&earlier.path, &self.path), &name).map_err(BackupError::io("link", &to))?;
                self.linked += 1;
                self.add(examined)?;
            }
            BackupLine::End => self.ended = true,
        }
        Ok(())
    }

    /// Asks before each file: a backup that fills up the disk of the store stops the store, too.
    fn has_room(&self, bytes: u64) -> Result<(), BackupError> {
        let Some(Room { disk, leave }) = &self.room else { return Ok(()) };
        let beside = match (fs::metadata(&self.path), fs::metadata(&self.source)) {
            (Ok(backup), Ok(store)) if backup.dev() == store.dev() => *leave,
            _ => 0,
        };
        let needed = bytes.saturating_add(beside);
        let free = fsutil::free_bytes(disk);
        match free.map_err(BackupError::io("ask for the free space of", &self.path))? {
            free if free < needed => {
                Err(BackupError::NoSpace { path: self.path.clone(), needed, free })
            }
            _ => Ok(()),
        }
    }

    fn bytes(&mut self, bytes: &[u8], last: bool) -> Result<(), BackupError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.take(&self.source, bytes)?;
        let written = match &mut self.form {
            BackupForm::Directory(file) => match file {
                Some(open) if last => open.write_all(bytes).and_then(|()| open.sync_all()),
                Some(open) => open.write_all(bytes),
                None => Ok(()),
            },
            BackupForm::Archive(Some(archive)) => {
                archive.take(bytes).and_then(|()| if last { archive.end_file() } else { Ok(()) })
            }
            BackupForm::Archive(None) => Ok(()),
        };
        written.map_err(BackupError::io("write", &self.path))?;
        if last && let Some(open) = self.open.take() {
            let examined = open.end(&self.source)?;
            self.add(examined)?;
        }
        Ok(())
    }

    fn add(&mut self, examined: Examined) -> Result<(), BackupError> {
        if let Some(passed) = &examined.passed {
            let added = self.chain.add(passed);
            let name = &examined.entry.name;
            added.map_err(|reason| BackupError::damaged(&self.source, name, 0, reason))?;
        }
        self.manifest.files.push(examined.entry);
        Ok(())
    }

    /// Writes the manifest and gives the backup its name, where it has another one so far.
    fn finish(&mut self, name: Option<&Path>) -> Result<Manifest, BackupError> {
        if !self.ended || self.open.is_some() {
            return Err(BackupError::Parts("the end is missing".to_owned()));
        }
        self.chain.end().map_err(|reason| BackupError::Parts(reason.to_owned()))?;
        self.manifest.sequence = self.chain.last_seq;
        self.manifest.frames = self.chain.frames;
        self.manifest.last_change_at = self.chain.last_at.map(|at| show_time(at).to_string());
        let text = self.manifest.text();
        let written = match &mut self.form {
            BackupForm::Directory(_) => finish_directory(&self.path, &text),
            BackupForm::Archive(archive) => match archive.take() {
                Some(mut archive) => {
                    let bytes = text.len() as u64;
                    let begun = archive.begin(names::MANIFEST, bytes, self.seconds);
                    let taken = begun.and_then(|()| archive.take(text.as_bytes()));
                    taken.and_then(|()| archive.end_file()).and_then(|()| archive.end())
                }
                None => Ok(()),
            },
        };
        written.map_err(BackupError::io("write", &self.path))?;
        if let Some(name) = name {
            fsutil::rename(&self.path, name).map_err(BackupError::io("rename", &self.path))?;
        }
        Ok(self.manifest.clone())
    }
}

fn finish_directory(path: &Path, text: &str) -> io::Result<()> {
    for name in DIRS {
        let dir = path.join(name);
        fsutil::sync_dir(&dir)?;
        if !fsutil::has_content(&dir)? {
            // Other files in there are not ours.
            let _in_use = fs::remove_dir(&dir);
        }
    }
    fsutil::replace(&path.join(names::MANIFEST), 0o600, |_| text.as_bytes().to_vec())?;
    fs::remove_file(path.join(UNFINISHED))?;
    fsutil::sync_dir(path)
}

/// One file under two names; two files where that cannot be.
fn link((from, to): (&Path, &Path), name: &str) -> io::Result<()> {
    let mut file = fsutil::open_in(from, name)?;
    if fs::hard_link(from.join(name), to.join(name)).is_ok() {
        return Ok(());
    }
    let mut copy = fsutil::create_in(to, name)?;
    io::copy(&mut file, &mut copy)?;
    copy.sync_all()
}
