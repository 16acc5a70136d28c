//! The disk: its free space, and whether it keeps what is written.

use std::io::ErrorKind;
use std::path::Path;
use std::{fs, io};

use super::rights::{User, denied};
use super::{Finding, shown};
use crate::config::Config;
use crate::domain::{counted, show_size};
use crate::fsutil;

/// File systems by the number that `statfs` gives, of which one should know: what they are, and
/// why.
const KINDS: [(u64, &str, &str); 9] = [
    (0x0102_1994, "tmpfs", MEMORY),
    (0x8584_58f6, "ramfs", MEMORY),
    (0x794c_7630, "overlayfs", "it is a container's own layer, and is gone with the container"),
    (0x6969, "nfs", NETWORK),
    (0xff53_4d42, "cifs", NETWORK),
    (0xfe53_4d42, "smb", NETWORK),
    (0x517b, "smb", NETWORK),
    (0x0102_1997, "9p", NETWORK),
    (0x6573_5546, "fuse", "what a sync does depends on the program behind it"),
];
const MEMORY: &str = "it is memory, and is gone with the next boot";
const NETWORK: &str = "locks and syncs depend on another machine";
/// Files that a rebuild and a checkpoint may need.
const FILES_MIN: u64 = 1000;

/// What is known of a file system, and what is on it.
pub(super) struct Disk {
    /// The number of its kind.
    pub(super) kind: u64,
    pub(super) free_bytes: u64,
    /// Nothing can be written to it.
    pub(super) read_only: bool,
    /// None where it does not count files.
    pub(super) free_files: Option<u64>,
    /// Bytes of the journal and of the index; none where they are not known.
    pub(super) used: Option<(u64, u64)>,
    pub(super) segment_bytes: u64,
    /// Below so much, events and imports are refused.
    pub(super) least_bytes: u64,
    /// None where there is to be none.
    pub(super) reserve: Option<bool>,
}

pub(super) fn check(config: &Config, server: &User) -> Vec<Finding> {
    let dir = &config.data_dir;
    // Before the first start its place is what counts.
    let there = std::path::absolute(dir).unwrap_or_else(|_| dir.clone());
    let Some(there) = there.ancestors().find(|dir| dir.is_dir()) else { return Vec::new() };
    let object = format!("disk of {}", shown(dir));
    let (about, space) = match (rustix::fs::statfs(there), fsutil::file_system(there)) {
        (Ok(about), Ok(space)) => (about, space),
        (about, space) => {
            let error = about.err().map(io::Error::from).or(space.err());
            let error = error.map_or_else(String::new, |error| error.to_string());
            let advice = "run this as the owner of the data directory, or as root";
            return vec![Finding::error(object, format!("cannot look at it: {error}"), advice)];
        }
    };
    let sizes = size(&dir.join("journal")).and_then(|journal| Ok((journal, indexes(dir)?)));
    let unknown = sizes.as_ref().err().map(|error| {
        let or = || Finding::unknown(&object, format!("{error}"), "run `rollcall status`");
        denied(&format!("{object}, journal and index"), error, server, dir).unwrap_or_else(or)
    });
    let sizes = sizes.ok();
    let findings = judge(
        &object,
        &Disk {
            // The upper half is a sign that has been stretched.
            kind: u64::try_from(about.f_type & 0xffff_ffff).unwrap_or_default(),
            free_bytes: space.free_bytes,
            read_only: space.read_only,
            free_files: space.free_files,
            used: sizes,
            segment_bytes: config.store.segment_bytes,
            least_bytes: config.store.min_free_bytes,
            reserve: (dir.join("FORMAT").exists() && config.store.reserve_bytes > 0)
                .then(|| dir.join("RESERVE").exists()),
        },
    );
    findings.into_iter().chain(unknown).collect()
}

pub(super) fn judge(object: &str, disk: &Disk) -> Vec<Finding> {
    let mut findings = Vec::new();
    if disk.read_only {
        findings.push(Finding::error(
            object,
            "it is mounted read-only: no call can be stored, and no server can start",
            "mount it for writing (`mount -o remount,rw`); where it was, the kernel has met an error of \
             the disk, and `dmesg` says which",
        ));
    }
    let free = show_size(disk.free_bytes);
    let index_bytes = disk.used.map_or(0, |(_, index)| index);
    let needed = index_bytes.saturating_add(disk.segment_bytes);
    if disk.free_bytes < disk.least_bytes {
        findings.push(Finding::error(
            object,
            format!(
                "{free} are free, less than store.min_free_bytes ({}): events and imports are \
                 refused",
                show_size(disk.least_bytes)
            ),
            "free some space now; then they are accepted again",
        ));
    } else if disk.free_bytes < disk.segment_bytes {
        findings.push(Finding::error(
            object,
            format!(
                "{free} are free, less than one journal segment ({})",
                show_size(disk.segment_bytes)
            ),
            "free some space now: without any, events are answered 503",
        ));
    } else if disk.free_bytes < needed {
        findings.push(Finding::warn(
            object,
            format!("{free} are free, and a rebuild of the index needs {}", show_size(needed)),
            "free some space, or move the data to a larger disk",
        ));
    }
    if disk.reserve == Some(false) {
        findings.push(Finding::warn(
            object,
            "there is no RESERVE in the data directory: it was given up at a start on a full disk",
            "free some space: a running server makes it again",
        ));
    }
    match disk.free_files {
        Some(files) if files < FILES_MIN => findings.push(Finding::warn(
            object,
            format!("{} more can be made on it", counted(files, "file")),
            "remove small files, or make a file system with more inodes",
        )),
        _ => {}
    }
    if let Some((_, kind, why)) = KINDS.iter().find(|(number, ..)| *number == disk.kind) {
        findings.push(Finding::warn(
            object,
            format!("it is {kind}: {why}"),
            "keep the data on a local disk, such as ext4 or xfs",
        ));
    }
    if findings.is_empty() {
        let used = disk.used.map(|(journal, index)| {
            format!("; the journal has {}, the index {}", show_size(journal), show_size(index))
        });
        let what = format!("{free} are free{}", used.unwrap_or_default());
        findings.push(Finding::ok(object, what));
    }
    findings
}

/// Bytes of the generations of the index that are in use.
fn indexes(data_dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in entries(data_dir)? {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("index-") && !name.ends_with(".damaged") {
            bytes += size(&entry.path())?;
        }
    }
    Ok(bytes)
}

/// Bytes of the files in a directory and below it. Files come and go while a server is running.
fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in entries(dir)? {
        match entry.metadata() {
            Ok(about) if about.is_dir() => bytes += size(&entry.path())?,
            Ok(about) => bytes += about.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(named(&entry.path(), &error)),
        }
    }
    Ok(bytes)
}

/// What is in a directory; nothing where there is none.
fn entries(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().collect()),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        Err(error) => Err(named(dir, &error)),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot read {}: {error}", shown(path)))
}
