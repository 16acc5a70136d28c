//! Backups: making, verifying and restoring them.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::endings;
use super::execute::{execute, reachable};
use super::output::Output;
use super::owner::outside;
use super::paths::backup_failure;
use super::words;
use crate::backup::{
    self, BackupError, BackupRequest, BackupScope, BackupSource, BackupSummary, Identities,
    Manifest, Put, Recipient, Restored, StreamRequest,
};
use crate::config::{ClusterName, Config};
use crate::domain::{counted, show_size};
use crate::ops::{AdminRequest, Failure, LastBackup};
use crate::store::{Lock, Store};
use crate::wire::show_time;
use crate::{clock, server, users};

/// Why a backup was not made, or not restored: for what the store's side says, or for what this one does.
enum Failed {
    Command(Failure),
    Backup(BackupError),
}

impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self::Backup(error)
    }
}

/// The name of standard output, and of standard input. A directory of this name is `./-`.
const STREAM: &str = "-";

/// Makes a backup. The server reads, and this process writes.
pub(super) fn backup(
    config: &Config,
    words: &words::Backup,
    output: &mut Output,
) -> Result<(), Failure> {
    if words.target == Path::new(STREAM) {
        return stream(config, words, output);
    }
    endings::backup(&words.target, !words.encrypt_to.is_empty(), words.keep.is_some())?;
    // The source first: what is not there, or not for this user, makes any target right or wrong.
    reachable(config)?;
    outside(&words.target, &config.data_dir)?;
    let order = BackupRequest {
        target: words.target.clone(),
        incremental_from: words.incremental_from.clone(),
        recipients: recipients(words)?,
        keep: words.keep.map(usize::from),
        rate: words.rate,
        source: config.data_dir.clone(),
        leave: config.store.min_free_bytes,
    };
    let written = backup::write(&order, clock::now(), |wanted, put| {
        fetch(config, wanted, output, put).map_err(Failed::Command)
    });
    let written = written.map_err(|failed| match failed {
        Failed::Command(failure) => failure,
        Failed::Backup(error) => backup_failure(error, None),
    })?;
    output.finish();
    note(config, &written, output);
    for path in &written.cleared {
        output.say(&if *path == written.path {
            format!("removed what an earlier backup had left unfinished in {}", path.display())
        } else {
            format!("removed {}, which was never finished", path.display())
        });
    }
    for path in &written.removed {
        output.say(&format!("removed {}, an old one", path.display()));
    }
    if order.recipients.is_empty() {
        output.say(SECRETS);
    }
    let path = written.path.display();
    if output.json {
        let more = [("path", json!(path.to_string())), ("linked_files", json!(written.linked))];
        return output.text(&figures(&written.manifest, more).to_string());
    }
    let linked = match written.linked {
        0 => String::new(),
        linked => format!(", {linked} of them linked"),
    };
    output.text(&format!("{path}: {}{linked}", described(&written.manifest)))
}

/// What is said of a backup that is not encrypted.
const SECRETS: &str = "it holds secrets: keys, tokens and every call; keep it for its owner alone";

/// Writes a backup to standard output, and all that is said of it to standard error. Where it goes is not known, so that
/// `rollcall status` does not count it.
fn stream(config: &Config, words: &words::Backup, output: &mut Output) -> Result<(), Failure> {
    for (flag, given) in
        [("--keep", words.keep.is_some()), ("--incremental-from", words.incremental_from.is_some())]
    {
        if given {
            return Err(Failure::usage(format!(
                "{flag}: standard output (-) gets one archive, which is whole; give a directory, or leave {flag} out"
            )));
        }
    }
    let order = StreamRequest {
        recipients: recipients(words)?,
        rate: words.rate,
        source: config.data_dir.clone(),
    };
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Err(Failure::usage(
            "standard output is a terminal, and a backup is no text: pass it on, as in `rollcall backup - | \
             ssh HOST 'cat > rollcall.tar.zst'`, or name a file",
        ));
    }
    reachable(config)?;
    let stdout = File::from(stdout.as_fd().try_clone_to_owned()?);
    let metadata = stdout.metadata()?;
    if !metadata.is_file() {
        // Who reads it may say on the same terminal how far it is.
        output.be_still();
    }
    let written = backup::write_stream(&order, stdout, clock::now(), |wanted, put| {
        fetch(config, wanted, output, put).map_err(Failed::Command)
    });
    output.finish();
    let manifest = written.map_err(|failed| {
        let Failure { message, kind } = match failed {
            Failed::Command(failure) => failure,
            Failed::Backup(error) => backup_failure(error, None),
        };
        let message = format!("{message}; what was written has no end, and is no backup");
        Failure { message, kind }
    })?;
    if order.recipients.is_empty() {
        output.say(SECRETS);
        let rights = metadata.mode() & 0o777;
        if metadata.is_file() && rights & 0o077 != 0 {
            output.say(&format!(
                "standard output is a file that others may open ({rights:04o}): `chmod 600` it, or name it in place of -, and \
                 it is made so"
            ));
        }
    }
    let more = [("path", json!(STREAM)), ("linked_files", json!(0))];
    output.say(&if output.json {
        figures(&manifest, more).to_string()
    } else {
        format!("standard output: {}", described(&manifest))
    });
    Ok(())
}

fn recipients(words: &words::Backup) -> Result<Vec<Recipient>, Failure> {
    let recipients = words.encrypt_to.iter().map(|text| backup::parse_recipient(text));
    Ok(recipients.collect::<Result<_, _>>()?)
}

/// Has a store send a backup.
fn fetch(
    config: &Config,
    wanted: BackupScope,
    output: &mut Output,
    put: &mut Put<'_>,
) -> Result<(), Failure> {
    let mut take = |_: Option<&str>, bytes: &[u8]| put(bytes);
    let request = AdminRequest::Backup(wanted);
    execute(config, request, &mut io::empty(), output, &mut take).map(|_| ())
}

/// Where a backup of this name is read.
fn source(path: PathBuf) -> Result<BackupSource, Failure> {
    if path != Path::new(STREAM) {
        return Ok(BackupSource::Path(path));
    }
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "standard input is a terminal, and a backup is expected there: pass one in, as in `ssh HOST rollcall backup \
             - | rollcall …`, or name a file",
        ));
    }
    Ok(BackupSource::Stdin)
}

/// Records that the backup was made, for `rollcall status`.
fn note(config: &Config, written: &BackupSummary, output: &mut Output) {
    let path = std::path::absolute(&written.path).unwrap_or_else(|_| written.path.clone());
    let made = LastBackup {
        at: written.manifest.made_at.clone(),
        path: path.display().to_string(),
        sequence: written.manifest.sequence,
    };
    let request = AdminRequest::BackupMade(made);
    let note = execute(config, request, &mut io::empty(), output, &mut |_, _| Ok(()));
    if let Err(failure) = note {
        output.say(&format!(
            "the backup is whole, and `rollcall status` does not know it: {failure}"
        ));
    }
}

pub(super) fn verify(words: words::Verify, output: &mut Output) -> Result<(), Failure> {
    let source = source(words.backup)?;
    let verified = {
        let output = parking_lot::Mutex::new(&mut *output);
        let progress = |progress| output.lock().progress(&progress);
        let verified = backup::verify(&source, &Identities(words.identity), &progress);
        verified.map_err(|error| backup_failure(error, None))?
    };
    output.finish();
    if output.json {
        let more =
            [("segments", json!(verified.segments)), ("history_from", json!(verified.whole_from))];
        return output.text(&figures(&verified.manifest, more).to_string());
    }
    let backup = source.name().display();
    let from = match verified.whole_from {
        0 => "the whole history".to_owned(),
        seq => format!("history from sequence {seq} on"),
    };
    output.text(&format!("{backup}: {}, with {from}: all is whole", described(&verified.manifest)))
}

/// Makes a data directory of a backup, and its index.
pub(super) fn restore(
    config: &Config,
    words: words::Restore,
    output: &mut Output,
) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let (restored, calls) = restored(config, words, output, |_| Ok(()))?;
    let last = restored.last_change_at.map(|at| show_time(at).to_string());
    if output.json {
        return output.text(
            &json!({
                "data_dir": dir.display().to_string(),
                "calls": calls,
                "sequence": restored.sequence,
                "last_change_at": last,
                "backup_sequence": restored.manifest.sequence,
                "epoch": restored.epoch,
            })
            .to_string(),
        );
    }
    let last = last.map(|at| format!(", received {at}")).unwrap_or_default();
    let dir = dir.display();
    output.say(&format!("next: rollcall serve --data-dir {dir}"));
    let sequence = restored.sequence;
    let calls = counted(calls, "call");
    output.text(&format!("{dir}: {calls}, up to sequence {sequence}{last}"))
}

/// The same, with nothing but notes said of it. What `accept` refuses is removed again. Returns how many calls it has, too.
pub(super) fn restored(
    config: &Config,
    words: words::Restore,
    output: &mut Output,
    accept: impl FnOnce(&Restored) -> Result<(), Failure>,
) -> Result<(Restored, u64), Failure> {
    let dir = &config.data_dir;
    let source = source(words.backup)?;
    let identities = Identities(words.identity);
    let us = rustix::process::geteuid().as_raw();
    let owner = std::fs::metadata(dir).map(|dir| dir.uid()).ok();
    // A volume may be root's, and be given to the server's user by a group.
    let by_group = |owner: u32| owner == 0 && us != 0;
    if let Some(owner) = owner.filter(|owner| *owner != us && !by_group(*owner)) {
        return Err(Failure::new(format!(
            "{} belongs to {}, who could not open what is restored into it; run this as that user, who \
             must be able to read the backup: {}",
            dir.display(),
            users::shown(owner),
            users::sudo(owner, "restore …")
        )));
    }
    let restored = {
        let output = parking_lot::Mutex::new(&mut *output);
        let progress = |progress| output.lock().progress(&progress);
        let (until, node) = (words.until, words.node.as_ref().map(ClusterName::as_str));
        let accept = |restored: &_| accept(restored).map_err(Failed::Command);
        let restored = backup::restore(&source, &identities, dir, until, node, &progress, accept);
        restored.map_err(|failed| match failed {
            Failed::Command(failure) => failure,
            // The directory itself cannot be made.
            Failed::Backup(error @ BackupError::Io { .. }) if is_of(&error, dir) => {
                server::cannot_open(&error, dir)
            }
            Failed::Backup(error) => backup_failure(error, Some(dir)),
        })?
    };
    if restored.beyond {
        let Manifest { sequence, made_at, .. } = &restored.manifest;
        output.say(&format!(
            "note: the backup was made at {made_at} and ends with sequence {sequence}, before what \
             --until asks for; all of it is restored"
        ));
    }
    if restored.cleared {
        let dir = dir.display();
        output.say(&format!("removed what an earlier restore had left unfinished in {dir}"));
    }
    // That it opens is the last proof; and the first start is quick.
    let calls = opened(config, output).map_err(|failure| {
        let Failure { message, kind } = failure;
        let dir = dir.display();
        let message = format!(
            "all of the backup is in {dir}, checked and on disk, and only its index is missing: \
 {message}; once that is repaired, `rollcall serve` or `rollcall rebuild` makes it, and \
             nothing need be restored again"
        );
        Failure { message, kind }
    })?;
    Ok((restored, calls))
}

/// Whether a directory that is not there is what it is about.
fn is_of(error: &BackupError, dir: &Path) -> bool {
    matches!(error, BackupError::Io { path, .. } if path == dir && !dir.exists())
}

/// Opens what was restored, which makes its index. Returns how many calls it has.
fn opened(config: &Config, output: &mut Output) -> Result<u64, Failure> {
    let lock = Lock::take(&config.data_dir, false)?;
    let store = {
        let output = parking_lot::Mutex::new(&mut *output);
        let progress = |progress| output.lock().progress(&progress);
        Store::open(lock, config.store_options(), clock::now(), &progress)?
    };
    // It was built here, so that its number is known.
    let calls = store.status().calls.unwrap_or_default();
    store.close()?;
    output.finish();
    Ok(calls)
}

fn described(manifest: &Manifest) -> String {
    let Manifest { sequence, frames, .. } = manifest;
    let last = manifest.last_change_at.as_ref();
    let last = last.map(|at| format!(" of {at}")).unwrap_or_default();
    let (files, bytes) = (manifest.files.len(), manifest.bytes());
    format!(
        "{} up to sequence {sequence}{last}, {} in {}",
        counted(*frames, "change"),
        show_size(bytes),
        counted(files, "file")
    )
}

fn figures(manifest: &Manifest, more: [(&str, Value); 2]) -> Value {
    let mut value = json!({
        "release": manifest.release,
        "epoch": manifest.epoch,
        "made_at": manifest.made_at,
        "sequence": manifest.sequence,
        "last_change_at": manifest.last_change_at,
        "frames": manifest.frames,
        "files": manifest.files.len(),
        "bytes": manifest.bytes(),
    });
    if let Value::Object(members) = &mut value {
        members.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    value
}
