//! Whose files a command makes.
//!
//! Architecture invariant: what root makes in a data directory belongs to the owner of that directory.
//! A command of root is that owner for as long as it has the store open, and has no other rights than
//! theirs; so it also opens nothing that another user has put there for root.

use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::fsutil;
use crate::ops::Failure;
use crate::server;

/// A user with their group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// Whom the data are of where this process is root and they are not root's: the owner of the
    /// directory, and of the next one above it where there is none yet.
    pub fn instead_of_root(data_dir: &Path) -> io::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let mut place = data_dir;
        let dir = loop {
            match std::fs::metadata(place) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                        && place != fsutil::parent(place) =>
                {
                    place = fsutil::parent(place);
                }
                found => break found?,
            }
        };
        let mut owner = Self { uid: dir.uid(), gid: dir.gid() };
        // A volume may be root's with a store in it that is not. A link, or another name of another
        // user's file, says nothing of that.
        if owner.uid == 0
            && let Ok(lock) = std::fs::symlink_metadata(data_dir.join("LOCK"))
            && lock.is_file()
            && lock.nlink() == 1
        {
            owner.uid = lock.uid();
        }
        Ok(Some(owner).filter(|owner| owner.uid != 0))
    }

    /// Why root is not to run a server there.
    pub fn instead(self, data_dir: &Path) -> Failure {
        server::of_another(data_dir, self.uid)
    }

    /// Has this thread, and those that it starts, be this user until the value is dropped.
    pub fn act(self) -> Result<Acting, Failure> {
        let cannot = |error: rustix::io::Errno| {
            let Self { uid, gid } = self;
            Failure::new(format!(
                "cannot become the owner of the data directory, user {uid} of group {gid}: {error}; \
                 run this as that user: sudo -u '#{uid}' rollcall …"
            ))
        };
        let (user, group) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let acting = Acting { group: getegid() };
        set_thread_groups(&[group]).map_err(cannot)?;
        set_thread_res_gid(None, group, None).map_err(cannot)?;
        set_thread_res_uid(None, user, None).map_err(cannot)?;
        Ok(acting)
    }
}

/// Refuses a file or directory that a command is to write inside the data directory: what is not the
/// store's own there would be backed up, searched and judged with it, and might be root's.
pub(super) fn outside(target: &Path, data_dir: &Path) -> Result<(), Failure> {
    let Ok(dir) = data_dir.canonicalize() else { return Ok(()) };
    let Ok(target_path) = std::path::absolute(target) else { return Ok(()) };
    // What is not there yet lies in the next directory above that is.
    let Some(place) = target_path.ancestors().find_map(|path| path.canonicalize().ok()) else {
        return Ok(());
    };
    if !place.starts_with(&dir) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{}: that is in the data directory, {}, which is for the store alone; give a place outside of it",
        target.display(),
        data_dir.display()
    )))
}

/// As long as this lives the thread is another user than root.
pub(super) struct Acting {
    group: Gid,
}

impl Drop for Acting {
    fn drop(&mut self) {
        // A thread that cannot be root again has no more rights than before.
        let _as_it_is = set_thread_res_uid(None, Uid::ROOT, None)
            .and_then(|()| set_thread_res_gid(None, self.group, None))
            .and_then(|()| set_thread_groups(&[self.group]));
    }
}
