//! The audit log: whether the server can add to it.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::rights::{ENTER, Rights, User, WRITE, denied};
use super::{Finding, shown};
use crate::config::Config;
use crate::fsutil;

/// `server` is the user that writes it.
pub(super) fn check(config: &Config, server: &User) -> Vec<Finding> {
    let Some(path) = &config.log.audit else { return Vec::new() };
    let object = format!("log.audit {}", shown(path));
    let user = server.uid;
    let advice = || format!("name a file in a directory that user {user} may write to");
    if let Err(error) = std::fs::metadata(path)
        && let Some(denied) = denied(&object, &error, server, &config.data_dir)
    {
        return vec![denied];
    }
    vec![match problem(path, server) {
        Ok(()) => Finding::ok(object, format!("user {user}, the server, may add to it")),
        Err(problem) => Finding::error(object, problem, advice()),
    }]
}

fn problem(path: &Path, server: &User) -> Result<(), String> {
    let (place, about, wanted) = match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => return Err("it is no file".to_owned()),
        Ok(about) => (path, about, WRITE),
        // The start makes it.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dir = fsutil::parent(path);
            let about = std::fs::metadata(dir)
                .map_err(|error| format!("its directory cannot be looked at: {error}"))?;
            if !about.is_dir() {
                return Err(format!("{} is no directory", shown(dir)));
            }
            (dir, about, WRITE | ENTER)
        }
        Err(error) => return Err(format!("it cannot be looked at: {error}")),
    };
    let file_system = fsutil::file_system(place).map_err(|error| error.to_string())?;
    if file_system.read_only {
        return Err("it is on a file system that is mounted read-only".to_owned());
    }
    let us = rustix::process::geteuid().as_raw();
    // Of its own user the kernel is asked, which knows of more than modes.
    let may = if us == server.uid {
        accessat(CWD, place, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    } else {
        server.may(wanted, Rights::of(&about))
    };
    if may {
        return Ok(());
    }
    let rights = Rights::of(&about);
    Err(format!(
        "user {}, the server, cannot write to {}: it is user {}'s, of group {}, mode {:o}; the server \
         does not start so",
        server.uid,
        shown(place),
        rights.uid,
        rights.gid,
        rights.mode
    ))
}
