//! Users of this machine, as a person is told of them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::geteuid;

use crate::fsutil;

/// Whom this process runs as.
pub fn us() -> String {
    shown(geteuid().as_raw())
}

/// The name of the user that this process runs as, or its number.
pub fn name_of_us() -> String {
    let uid = geteuid().as_raw();
    name(uid).unwrap_or_else(|| uid.to_string())
}

/// A user by number, and by name where there is one.
pub fn shown(uid: u32) -> String {
    name(uid).map_or_else(|| format!("user {uid}"), |name| format!("user {uid} ({name})"))
}

/// The command line that runs a command of rollcall as this user.
pub fn sudo(uid: u32, command: &str) -> String {
    match name(uid) {
        _ if uid == 0 => format!("sudo rollcall {command}"),
        Some(name) => format!("sudo -u {name} rollcall {command}"),
        None => format!("sudo -u '#{uid}' rollcall {command}"),
    }
}

/// The number of a user.
pub fn numbered(name: &str) -> Option<u32> {
    find(|(known, _)| known == name).map(|(_, uid)| uid)
}

fn name(uid: u32) -> Option<String> {
    find(|(_, known)| *known == uid).map(|(name, _)| name)
}

fn find(wanted: impl Fn(&(String, u32)) -> bool) -> Option<(String, u32)> {
    let users = fsutil::read_text(Path::new("/etc/passwd")).ok()?;
    let mut users = users.lines().filter_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        Some((name.to_owned(), parts.nth(1)?.parse().ok()?))
    });
    users.find(wanted)
}

/// A file or directory that this process may not use, and whose it is.
#[derive(Debug, Clone)]
pub struct Closed {
    pub path: PathBuf,
    uid: u32,
    mode: u32,
    is_dir: bool,
}

impl Closed {
    pub fn of(path: &Path, about: &fs::Metadata) -> Self {
        let (uid, mode, is_dir) = (about.uid(), about.mode() & 0o7777, about.is_dir());
        Self { path: path.to_owned(), uid, mode, is_dir }
    }

    /// What is closed on the way to a path: the first directory that lets this user on no further, else
    /// what is nearest to the path.
    pub fn on_the_way(path: &Path) -> Option<Self> {
        let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
        let absolute = std::path::absolute(path).ok()?;
        let ways: Vec<&Path> = absolute.ancestors().filter(|way| way.exists()).collect();
        let closed = ways.iter().rev().find(|way| {
            let wanted = if way.is_dir() { Access::EXEC_OK } else { Access::READ_OK };
            !may(way, wanted)
        });
        let closed = closed.or(ways.first())?;
        Some(Self::of(closed, &fs::metadata(closed).ok()?))
    }

    pub fn is_dir(&self) -> bool {
        self.is_dir
    }

    /// Whether it belongs to somebody else. Root may use everybody's.
    pub fn is_of_another(&self) -> bool {
        self.uid != geteuid().as_raw() && !geteuid().is_root()
    }

    /// Whether its mode keeps its own owner out.
    pub fn keeps_owner_out(&self) -> bool {
        let needed = if self.is_dir { 0o700 } else { 0o600 };
        self.mode & needed != needed && !geteuid().is_root()
    }

    /// Whose it is, with `more` of the kind, and as whom this runs.
    pub fn whose(&self, more: &str) -> String {
        let (path, owner, us) = (self.path.display(), shown(self.uid), us());
        if self.uid == geteuid().as_raw() {
            let mode = self.mode;
            format!("{path}{more} has mode {mode:o} and belongs to {owner}, and this runs as {us}")
        } else {
            format!("{path}{more} belongs to {owner}, and this runs as {us}")
        }
    }

    /// The command by which its owner lets themselves in.
    pub fn open_it(&self) -> String {
        let rights = if self.is_dir { "rwx" } else { "rw" };
        format!("chmod u+{rights} {}", self.path.display())
    }
}
