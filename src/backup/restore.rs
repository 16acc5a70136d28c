//! Making a data directory of a backup.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use super::error::BackupError;
use super::examine::examine;
use super::in_place::BackupEntries;
use super::manifest::Manifest;
use super::names::{self, DIRS};
use super::read::{self, BackupSource, Identities, walk};
use super::verify::{complete, verify};
use crate::domain::Timestamp;
use crate::fsutil;
use crate::journal::{Chain, Passed, Until, cut};
use crate::store::{
    LogPosition, NodeName, Progress, UNFINISHED, applied_position, begin, write_node,
};
use crate::wire::show_time;

/// What a restore has made.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// The last sequence number that is there.
    pub sequence: u64,
    /// When the last change that is there was received; none without any.
    pub last_change_at: Option<Timestamp>,
    /// How far a log of several machines is applied in it; none where it is not, or `until` was asked for.
    pub applied: Option<LogPosition>,
    /// The epoch that begins.
    pub epoch: String,
    /// What an earlier restore had left unfinished was removed.
    pub cleared: bool,
    /// More was asked for than the backup has.
    pub beyond: bool,
}

/// What a restore makes in its directory.
const MADE: BackupEntries = BackupEntries {
    files: &[names::TOKEN, "FORMAT", "FORMAT.new", "NODE", "NODE.new"],
    note: "This restore was not finished. Run it again, or remove this directory.\n",
};

/// Makes a data directory at `dir`, which must be new or empty, and checks everything on the way. It
/// is whole and on disk when this returns; until then it is refused by name. A file is read twice:
/// nothing is written of one that is damaged. Standard input comes once, and is checked as it is written. Where it is to be that of a `node`, what the node of the backup had kept for the
/// log is left to that one. Before it is a data directory, `accept` looks at what it would be.
///
/// # Errors
/// What was made is removed again, unless the process is killed.
pub fn restore<E: From<BackupError>>(
    source: &BackupSource,
    identities: &Identities,
    dir: &Path,
    until: Option<Until>,
    node: Option<&str>,
    progress: &dyn Fn(Progress),
    accept: impl FnOnce(&Restored) -> Result<(), E>,
) -> Result<Restored, E> {
    let existed = dir.is_dir();
    fsutil::create_dirs(dir).map_err(BackupError::io("make", dir))?;
    let (_lock, cleared) = MADE.claim(dir)?;
    let filled = fill(source, identities, dir, until, node, progress).map_err(E::from);
    let accepted = filled.and_then(|filled| accept(&filled).map(|()| filled));
    let mut restored = accepted.inspect_err(|_| {
        // The marker goes last, so that what cannot be removed is refused by name.
        if MADE.give_up(dir).is_ok() && !existed {
            let _in_use = fs::remove_dir(dir);
        }
    })?;
    restored.cleared = cleared;
    let marker = dir.join(UNFINISHED);
    let synced = fs::remove_file(&marker).and_then(|()| fsutil::sync_dir(dir)).and_then(|()| {
        // Its own name, too, may be new.
        fsutil::sync_dir(fsutil::parent(dir))
    });
    synced.map_err(BackupError::io("remove", &marker))?;
    Ok(restored)
}

/// A journal on its way into a directory.
#[derive(Default)]
struct Filling {
    chain: Chain,
    /// The segment in which history ends.
    ends_in: Option<Passed>,
    /// The last frame that is kept, and when it was received.
    last: (u64, Option<Timestamp>),
    first_at: Option<Timestamp>,
    applied: Option<LogPosition>,
    /// Before this sequence number, what is kept is not the whole history.
    whole_from: u64,
}

fn fill(
    source: &BackupSource,
    identities: &Identities,
    dir: &Path,
    until: Option<Until>,
    node: Option<&str>,
    progress: &dyn Fn(Progress),
) -> Result<Restored, BackupError> {
    let path = source.name();
    // Nothing is written of what turns out to be no backup, and nothing where it does not fit.
    if let Some(expected) = expected(source, identities, progress)?
        && until.is_none()
    {
        has_room(dir, expected.bytes())?;
    }
    for name in DIRS {
        let place = dir.join(name);
        fsutil::create_dir(&place).map_err(BackupError::io("make", &place))?;
    }
    let mut filling = Filling::default();
    let manifest = walk(source, identities, progress, &mut |name, bytes, from| {
        let segment = names::segment(name).is_some();
        if segment && filling.ends_in.is_some() {
            // What came later is read, so that a damaged backup is found, and not kept.
            let examined = examine(path, name, None, from, &mut |_| Ok(()))?;
            filling.add(path, name, examined.passed.as_ref())?;
            return Ok(examined);
        }
        if !names::is_known(name) {
            return Err(BackupError::damaged(path, name, 0, "no file of a backup has this name"));
        }
        has_room(dir, bytes)?;
        let place = dir.join(name);
        let mut file = fsutil::create_in(dir, name).map_err(BackupError::io("write", &place))?;
        let examined = examine(path, name, until, from, &mut |bytes| {
            file.write_all(bytes).map_err(BackupError::io("write", &place))
        })?;
        file.sync_all().map_err(BackupError::io("write", &place))?;
        filling.add(path, name, examined.passed.as_ref())?;
        Ok(examined)
    })?;
    complete(path, &filling.chain, &manifest)?;
    filling.end(dir, until)?;
    for name in DIRS {
        let place = dir.join(name);
        fsutil::sync_dir(&place).map_err(BackupError::io("sync", &place))?;
    }
    let tls = dir.join("tls");
    // A server that has certificates of its own has none there.
    let _in_use = fs::remove_dir(&tls);
    let epoch = begin(dir)?;
    let (applied, (sequence, last_change_at)) = (filling.applied, filling.last);
    if let Some(name) = node {
        write_node(dir, &NodeName { name: name.to_owned(), kept_after: sequence })?;
    }
    let beyond = match until {
        Some(Until::Seq(seq)) => seq > manifest.sequence,
        // Both are in the same form, whose order is that of time.
        Some(Until::Time(at)) => show_time(at).to_string() > manifest.made_at,
        None => false,
    };
    Ok(Restored { manifest, sequence, last_change_at, applied, epoch, cleared: false, beyond })
}

/// What a backup says of itself. An archive says it with its last bytes, so that it is read through
/// and checked for it; the files of a directory are as long as its manifest says. None of what comes once.
fn expected(
    source: &BackupSource,
    identities: &Identities,
    progress: &dyn Fn(Progress),
) -> Result<Option<Manifest>, BackupError> {
    let BackupSource::Path(path) = source else { return Ok(None) };
    if path.is_dir() {
        return read::manifest(path).map(Some);
    }
    // The second reading is the one that writes.
    let checking = |step: Progress| progress(Progress { what: CHECKING.to_owned(), ..step });
    Ok(Some(verify(source, identities, &checking)?.manifest))
}

fn has_room(dir: &Path, needed: u64) -> Result<(), BackupError> {
    let free =
        fsutil::free_bytes(dir).map_err(BackupError::io("ask for the free space of", dir))?;
    if free < needed {
        return Err(BackupError::NoSpace { path: dir.to_owned(), needed, free });
    }
    Ok(())
}

/// What is being done before anything is written.
const CHECKING: &str = "checking the backup";

impl Filling {
    fn add(&mut self, path: &Path, name: &str, passed: Option<&Passed>) -> Result<(), BackupError> {
        let Some(passed) = passed else { return Ok(()) };
        let added = self.chain.add(passed);
        added.map_err(|reason| BackupError::damaged(path, name, 0, reason))?;
        if self.ends_in.is_some() {
            return Ok(());
        }
        self.first_at = self.first_at.or(passed.first_at);
        self.whole_from = self.whole_from.max(passed.whole_from);
        self.applied = applied_position(&passed.applied).or(self.applied);
        let kept = match passed.cut {
            Some(cut) => {
                self.ends_in = Some(passed.clone());
                cut.kept
            }
            None => passed.last_seq.zip(passed.last_at),
        };
        if let Some((seq, at)) = kept {
            self.last = (seq, Some(at));
        }
        Ok(())
    }

    /// Ends the journal where it is to end.
    fn end(&mut self, dir: &Path, until: Option<Until>) -> Result<(), BackupError> {
        let (Some(until), Some(passed)) = (until, &self.ends_in) else { return Ok(()) };
        let Some(cut_at) = passed.cut else { return Ok(()) };
        let whole_from = self.whole_from;
        let too_early = |reason| BackupError::TooEarly { asked: shown(until), reason };
        if cut_at.seq() < whole_from {
            return Err(too_early(format!(
                "what had been superseded by sequence {whole_from} is no longer in this backup; \
                 restore sequence {whole_from} or later, or an older backup"
            )));
        }
        if self.last.0 == 0 {
            let first = self.first_at.map(|at| format!(", received {}", show_time(at)));
            let first = first.unwrap_or_default();
            return Err(too_early(format!("its journal begins with a later commit{first}")));
        }
        Ok(cut(&dir.join("journal"), passed)?)
    }
}

fn shown(until: Until) -> String {
    match until {
        Until::Seq(seq) => seq.to_string(),
        Until::Time(at) => show_time(at).to_string(),
    }
}
