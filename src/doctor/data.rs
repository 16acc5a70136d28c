//! The data directory: whose it is, who may look into it, and who holds it.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Finding, Level, process, shown};
use crate::config::Config;
use crate::files;
use crate::store::{chain, read_format};

/// Files that are looked at, so that a strange directory does not keep anybody waiting.
const FILES_MAX: usize = 50_000;
/// Findings of one kind that are listed; the others are counted.
const LISTED_MAX: usize = 5;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let dir = &config.data_dir;
    let object = || format!("data directory {}", shown(dir));
    let about = match fs::metadata(dir) {
        Ok(about) if about.is_dir() => about,
        Ok(_) => {
            let advice = "name a directory in data_dir";
            return vec![Finding::error(object(), "it is no directory", advice)];
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let advice = "`rollcall serve` makes it; or name the right one in data_dir";
            return vec![Finding::warn(object(), "there is none", advice)];
        }
        Err(error) => {
            let advice = "run this as the owner of the data directory, or as root";
            return vec![Finding::error(object(), format!("cannot look at it: {error}"), advice)];
        }
    };
    if let Err(error) = fs::read_dir(dir) {
        let owner = about.uid();
        let advice = format!("run this as its owner, user {owner}, or as root");
        return vec![Finding::error(object(), format!("cannot look into it: {error}"), advice)];
    }
    let mut findings = rights(dir, &about);
    findings.extend(lock(dir));
    findings.extend(format(dir));
    findings
}

/// Owners and modes of everything in it.
fn rights(dir: &Path, about: &Metadata) -> Vec<Finding> {
    let owner = about.uid();
    let object = format!("data directory {}", shown(dir));
    let (mut open, mut foreign) = (Vec::new(), Vec::new());
    if about.mode() & 0o077 != 0 {
        open.push(mode_finding(dir, about));
    }
    let (entries, seen) = walk(dir);
    for (path, about) in entries {
        if about.uid() != owner {
            let problem =
                format!("it is user {}'s, and the data directory user {owner}'s", about.uid());
            let advice = format!("chown -h {owner} {}", shown(&path));
            foreign.push(Finding::error(shown(&path), problem, advice));
        }
        // Clients are given the authority's certificate. A link's own mode means nothing.
        let public = path == dir.join("tls/ca.pem") || about.is_symlink();
        if about.mode() & 0o077 != 0 && !public {
            open.push(mode_finding(&path, &about));
        }
    }
    if open.is_empty() && foreign.is_empty() {
        let what = format!("{seen} files and directories, all of user {owner} alone");
        return vec![Finding::ok(object, what)];
    }
    listed(foreign, &object, "are of other users")
        .chain(listed(open, &object, "are open to others"))
        .collect()
}

fn mode_finding(path: &Path, about: &Metadata) -> Finding {
    let right = if about.is_dir() { "700" } else { "600" };
    let problem = format!("its mode is {:o}, so that others may use it", about.mode() & 0o777);
    Finding::error(shown(path), problem, format!("chmod {right} {}", shown(path)))
}

fn listed(
    mut findings: Vec<Finding>,
    object: &str,
    what: &str,
) -> impl Iterator<Item = Finding> + use<> {
    let more = findings.len().saturating_sub(LISTED_MAX);
    findings.truncate(LISTED_MAX);
    let rest = (more > 0).then(|| {
        let advice = "do the same with all of them, as with those above";
        Finding::error(object, format!("{more} more files in it {what}"), advice)
    });
    findings.into_iter().chain(rest)
}

/// What is in a directory and below it, and how many that are.
fn walk(dir: &Path) -> (Vec<(PathBuf, Metadata)>, usize) {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            // Files come and go while a server is up.
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            if about.is_dir() {
                dirs.push(path.clone());
            }
            found.push((path, about));
            if found.len() >= FILES_MAX {
                return (found, FILES_MAX);
            }
        }
    }
    let seen = found.len();
    (found, seen)
}

/// Who holds the directory, and how the last one left.
fn lock(dir: &Path) -> Vec<Finding> {
    let path = dir.join("LOCK");
    let object = shown(&path);
    let (text, about) =
        match files::read_text(&path).and_then(|t| Ok((t, fs::symlink_metadata(&path)?))) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                let advice = "run this as the owner of the data directory, or as root";
                return vec![Finding::error(object, format!("cannot be read: {error}"), advice)];
            }
        };
    let pid = text.lines().find_map(|line| line.strip_prefix("pid ")?.trim().parse::<u32>().ok());
    let alive = |pid| Path::new(&format!("/proc/{pid}")).exists();
    let held = process::is_locked(about.ino()).unwrap_or_else(|| pid.is_some_and(alive));
    vec![match pid {
        Some(pid) if held => {
            let name = process::name(pid).map_or_else(String::new, |name| format!(" ({name})"));
            Finding::ok(object, format!("process {pid}{name} holds it"))
        }
        Some(pid) => Finding::warn(
            object,
            format!("its last owner, process {pid}, did not end in order"),
            "nothing is lost: the next start looks the index through. If it was not a power \
             failure, the server's log says why it ended",
        ),
        None if held => Finding::ok(object, "a process holds it"),
        None if text.lines().any(|line| line == "clean") => {
            Finding::ok(object, "nobody holds it, and its last owner ended in order")
        }
        None => Finding::warn(
            object,
            format!("it does not say how its last owner ended; it reads {text:?}"),
            "nothing is lost: the next start looks the index through",
        ),
    }]
}

fn format(dir: &Path) -> Vec<Finding> {
    let object = shown(&dir.join("FORMAT"));
    match read_format(dir) {
        Ok(None) if !dir.join("journal").exists() => Vec::new(),
        Ok(None) => vec![Finding::error(
            object,
            "it is missing beside a journal",
            "look whether other files are missing too; the next start writes it, and begins a new \
             epoch",
        )],
        Ok(Some(format)) if format.original => {
            vec![Finding::ok(object, format!("this release reads it; epoch {}", format.epoch))]
        }
        Ok(Some(_)) => vec![Finding::warn(
            object,
            "the data directory is a copy",
            "nothing is to be done: the next start begins a new epoch, and clients fetch lists \
             again",
        )],
        Err(error) => vec![Finding::bad(
            Level::Error,
            object,
            chain(&error),
            "start the release that wrote it, or restore a backup",
        )],
    }
}
