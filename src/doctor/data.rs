//! The data directory: what the server may do in it, who else may look into it, and who holds it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::rights::{ENTER, READ, Rights, Stranger, User, UserTable, WRITE, denied};
use super::{Finding, process, shown};
use crate::config::Config;
use crate::domain::counted;
use crate::fsutil;
use crate::store::{OpenError, UNFINISHED, chain, expect_node, read_format};

/// Files that are looked at, so that a strange directory does not take long.
const FILES_MAX: usize = 50_000;
/// Findings of one kind that are listed; the others are counted.
const LISTED_MAX: usize = 5;

/// `server` is the user whom the data are for.
pub(super) fn check(config: &Config, server: &User, known: &UserTable) -> Vec<Finding> {
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
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let problem = "a part of its path is a file";
            return vec![Finding::error(object(), problem, "name a directory in data_dir")];
        }
        Err(error) => {
            let advice = "see whether the disk is mounted and sound";
            return vec![Finding::error(object(), format!("cannot look at it: {error}"), advice)];
        }
    };
    if let Some(finding) = no_store(dir) {
        return vec![finding];
    }
    if let Err(error) = fs::read_dir(dir) {
        let advice = format!("as root: chown {} {1} && chmod 700 {1}", server.uid, shown(dir));
        return vec![Finding::error(object(), format!("cannot look into it: {error}"), advice)];
    }
    let mut findings = rights(dir, &about, server, known);
    findings.extend(lock(dir, server));
    findings.extend(format(dir, server));
    findings.extend(node(config));
    findings
}

/// What is in a directory that is no store and cannot become one: its files are none of the server's.
fn no_store(dir: &Path) -> Option<Finding> {
    let object = format!("data directory {}", shown(dir));
    let is_there = |name: &str| fsutil::is_there(&dir.join(name));
    if is_there("BACKUP") {
        let advice = format!("`rollcall restore {} --data-dir NEW` makes one of it", shown(dir));
        return Some(Finding::error(object, "it is a backup and no data directory", advice));
    }
    if is_there(UNFINISHED) {
        let problem = "it holds a backup or a restore that was not finished";
        return Some(Finding::error(object, problem, "do that again, or remove the directory"));
    }
    let is_store = ["FORMAT", "journal", "LOCK"].into_iter().any(is_there);
    if is_store || !fsutil::has_content(dir).unwrap_or_default() {
        return None;
    }
    let advice = "name the directory of the store in data_dir or with --data-dir; a new one is made in a \
                  new or an empty directory";
    Some(Finding::error(object, "it has other files and no store", advice))
}

/// What the server may do with everything in it, and who else may.
fn rights(dir: &Path, about: &Metadata, server: &User, known: &UserTable) -> Vec<Finding> {
    let object = format!("data directory {}", shown(dir));
    let (entries, seen) = walk(dir, about);
    let gids = entries.iter().map(|(_, about)| about.gid()).collect();
    let strangers = known.strangers(server, &gids);
    // Which of them get into a directory. What is in it comes after it.
    let mut entered: HashMap<&Path, Vec<&Stranger>> = HashMap::new();
    let (mut locked, mut foreign, mut open) = (Vec::new(), Vec::new(), Vec::new());
    // Users who may use something by a group that is the server's too, and how many files are of users
    // who have given them to such a group.
    let (mut members, mut others) = (BTreeMap::new(), BTreeMap::new());
    // Root may do what it likes, and what is the owner's is as it should be.
    let owner = if server.uid == 0 { about.uid() } else { 0 };
    for (path, about) in &entries {
        let rights = Rights::of(about);
        let all = || strangers.iter().collect();
        let mut there = match path.parent() {
            Some(parent) if path != dir => entered.get(parent).cloned().unwrap_or_default(),
            _ => all(),
        };
        // Clients are given the authority's certificate. A link's own mode means nothing.
        let public = *path == dir.join("tls/ca.pem") || about.is_symlink();
        if let Some(stranger) = there.iter().find(|one| !public && one.may_use(rights)) {
            if stranger.is_of_its_group {
                members.entry(stranger.name.as_str()).or_insert((path, rights));
            } else {
                open.push(open_to(stranger, path, rights, server));
            }
        }
        if let Some(finding) = out_of_reach(path, about, server, path == dir) {
            locked.push(finding);
        } else if ![server.uid, 0, owner].contains(&about.uid()) {
            if server.uid != 0 && server.groups.contains(&about.gid()) {
                *others.entry(about.uid()).or_insert(0_usize) += 1;
            } else {
                foreign.push(of_another(path, about, server));
            }
        }
        if about.is_dir() {
            there.retain(|one| one.may_enter(rights));
            entered.insert(path, there);
        }
    }
    let members = members.into_iter().map(|(name, (path, rights))| {
        let (path, mode) = (shown(path), rights.mode);
        let problem = format!("its mode is {mode:o}, so that {name} may use it, as the server may");
        let advice = "remove users from that group who must not see the calls";
        Finding::warn(path, problem, advice)
    });
    let others = others.into_iter().map(|(uid, count)| {
        let files = if count == 1 { "file in it is" } else { "files in it are" };
        let problem = format!(
            "{count} {files} user {uid}'s, which user {}, the server, may use by its groups",
            server.uid
        );
        let advice = format!("as root: chown -Rh {} {}", server.uid, shown(dir));
        Finding::warn(&object, problem, advice)
    });
    let aside: Vec<Finding> = members.chain(others).collect();
    if locked.is_empty() && open.is_empty() && foreign.is_empty() && aside.is_empty() {
        let what = format!(
            "files and directories ({seen}): the server, user {}, may use them all, and no other user",
            server.uid
        );
        return vec![Finding::ok(object, what)];
    }
    listed(locked, &object, "are out of the server's reach")
        .chain(listed(foreign, &object, "are of other users"))
        .chain(listed(open, &object, "are open to others"))
        .chain(aside)
        .collect()
}

/// What is to be said of what a stranger may use.
fn open_to(stranger: &Stranger, path: &Path, rights: Rights, server: &User) -> Finding {
    let (path, name) = (shown(path), &stranger.name);
    let problem = format!("its mode is {:o}, so that {name} may use it", rights.mode);
    let advice = server.keep_from(stranger, &path, rights);
    Finding::error(path, problem, advice)
}

/// What is to be said of what the server cannot do all with that it has to.
fn out_of_reach(path: &Path, about: &Metadata, server: &User, is_top: bool) -> Option<Finding> {
    let rights = Rights::of(about);
    let (wanted, whole) = if rights.is_dir {
        (READ | WRITE | ENTER, "700")
    } else if about.is_file() {
        // What is replaced and not written to need only be read.
        let name = path.file_name().unwrap_or_default();
        (if name == "LOCK" { READ | WRITE } else { READ }, "600")
    } else {
        return None;
    };
    if server.may(wanted, rights) {
        return None;
    }
    let (uid, owner) = (server.uid, rights.uid);
    let path = shown(path);
    let cannot = if server.may(READ, rights) { "write to it" } else { "read it" };
    let problem = format!(
        "the server, user {uid}, cannot {cannot}: it is user {owner}'s, of group {}, mode {:o}",
        rights.gid, rights.mode
    );
    let advice = match (owner == uid, is_top) {
        (true, _) => format!("chmod {whole} {path}"),
        (false, false) => format!("as root: chown -h {uid} {path}"),
        (false, true) => format!(
            "as root: chown {uid} {path}; in Kubernetes give the pod a securityContext.fsGroup"
        ),
    };
    Some(Finding::error(path, problem, advice))
}

/// What is to be said of a file of a user who is neither the server nor root, and can take it away
/// again.
fn of_another(path: &Path, about: &Metadata, server: &User) -> Finding {
    let (uid, path) = (server.uid, shown(path));
    let problem = format!("it is user {}'s, and the server is user {uid}", about.uid());
    let advice = format!("as root: chown -h {uid} {path}");
    Finding::error(path, problem, advice)
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
        Finding::error(object, format!("{} in it {what}", counted(more, "more file")), advice)
    });
    findings.into_iter().chain(rest)
}

/// A directory, what is in it and below it, and how many these are. What a file system or a machine
/// keeps there for itself is none of the server's.
fn walk(dir: &Path, about: &Metadata) -> (Vec<(PathBuf, Metadata)>, usize) {
    let mut found = vec![(dir.to_owned(), about.clone())];
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            if !fsutil::is_content(&entry.file_name()) {
                continue;
            }
            // Files come and go while a server is running.
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            if about.is_dir() {
                dirs.push(path.clone());
            }
            found.push((path, about));
            if found.len() > FILES_MAX {
                return (found, FILES_MAX);
            }
        }
    }
    let seen = found.len() - 1;
    (found, seen)
}

/// What `LOCK` says, whose process that names, and whether any process holds it.
pub(super) fn holder(dir: &Path) -> io::Result<(String, Option<u32>, bool)> {
    let path = dir.join("LOCK");
    let (text, about) = (fsutil::read_text(&path)?, fs::symlink_metadata(&path)?);
    let pid = text.lines().find_map(|line| line.strip_prefix("pid ")?.trim().parse::<u32>().ok());
    let alive = |pid| Path::new(&format!("/proc/{pid}")).exists();
    let held = process::is_locked(about.ino()).unwrap_or_else(|| pid.is_some_and(alive));
    Ok((text, pid, held))
}

/// Who holds the directory, and how the last one left.
fn lock(dir: &Path, server: &User) -> Vec<Finding> {
    let object = shown(&dir.join("LOCK"));
    let (text, pid, held) = match holder(dir) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            if let Some(denied) = denied(&object, &error, server, dir) {
                return vec![denied];
            }
            let advice = format!("as root: chown -h {} {object} && chmod 600 {object}", server.uid);
            return vec![Finding::error(object, format!("cannot be read: {error}"), advice)];
        }
    };
    vec![match pid {
        Some(pid) if held => {
            let name = process::name(pid).map_or_else(String::new, |name| format!(" ({name})"));
            Finding::ok(object, format!("process {pid}{name} holds it"))
        }
        Some(pid) => Finding::warn(
            object,
            format!("its last owner, process {pid}, did not end cleanly"),
            "nothing is lost: the next start looks the index through. If it was not a power \
             failure, the server's log says why it ended",
        ),
        None if held => Finding::ok(object, "a process holds it"),
        None if text.lines().any(|line| line == "clean") => {
            Finding::ok(object, "no process holds it, and its last owner ended cleanly")
        }
        None => Finding::warn(
            object,
            format!("it does not say how its last owner ended; it reads {text:?}"),
            "nothing is lost: the next start looks the index through",
        ),
    }]
}

/// Whether the data are those of the node that is configured.
fn node(config: &Config) -> Option<Finding> {
    let cluster = config.cluster()?;
    let object = shown(&config.data_dir.join("NODE"));
    match expect_node(&config.data_dir, cluster.node.as_str()) {
        Ok(()) => None,
        Err(error @ OpenError::OtherNode { .. }) => {
            let advice = "set cluster.node as it was; a start refuses it so";
            Some(Finding::error(object, chain(&error), advice))
        }
        Err(error) if fsutil::is_denied(&error) => None,
        Err(error) => {
            Some(Finding::error(object, chain(&error), "remove it: the next start writes it"))
        }
    }
}

fn format(dir: &Path, server: &User) -> Vec<Finding> {
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
        Err(error) if fsutil::is_denied(&error) => {
            let advice = format!("as root: chown -h {} {object} && chmod 600 {object}", server.uid);
            let ours = || Finding::error(&object, chain(&error), advice);
            vec![denied(&object, &error, server, dir).unwrap_or_else(ours)]
        }
        Err(error) => vec![Finding::error(
            object,
            chain(&error),
            "start the release that wrote it, or restore a backup",
        )],
    }
}
