//! Whose the files of a data directory are, said to a person.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use crate::config::Config;
use crate::fsutil;
use crate::ops::Failure;
use crate::store::chain;
use crate::tls::TlsError;
use crate::users::{self, Closed};

/// The data belong to another user than this process.
pub fn of_another(data_dir: &Path, owner: u32) -> Failure {
    let (dir, us) = (data_dir.display(), users::us());
    let (owns, sudo) = (users::shown(owner), users::sudo(owner, "…"));
    Failure::new(format!(
        "the data directory {dir} belongs to {owns}, and this runs as {us}, whose files they could \
         not open; run this as that user: {sudo}"
    ))
}

/// Why a store was not opened. Where the system does not let this user at a file, whose those are and
/// what gives them back.
pub fn cannot_open(error: &(dyn std::error::Error + 'static), data_dir: &Path) -> Failure {
    explained(chain(error), error, data_dir)
}

/// The same of something else that was tried in a data directory.
pub fn explained(
    text: String,
    error: &(dyn std::error::Error + 'static),
    data_dir: &Path,
) -> Failure {
    if !fsutil::is_denied(error) && !is_read_only(error) {
        return Failure::new(text);
    }
    if !data_dir.exists() {
        return Failure::new(format!("{text}; {}", elsewhere(data_dir)));
    }
    let closed = closed(data_dir);
    let Some(first) = closed.first() else { return Failure::new(text) };
    let more = match closed.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let (uid, gid, dir) = (geteuid().as_raw(), getegid().as_raw(), data_dir.display());
    let given = closed.iter().any(Closed::is_of_another);
    let opened = closed.iter().any(Closed::keeps_owner_out);
    let all = format!("chmod -R u+rwX {dir}");
    let remedy = match (given, opened) {
        (true, false) => {
            format!("give the files to the service, as root: chown -R {uid}:{gid} {dir}")
        }
        (true, true) => {
            format!("give the files to the service, as root: chown -R {uid}:{gid} {dir} && {all}")
        }
        (false, true) if more.is_empty() => format!("let it: {}", first.open_it()),
        (false, true) => format!("let it: {all}"),
        (false, false) => {
            "see whether its file system is mounted read-only, or whether the service \
                           manager keeps it so (ReadWritePaths= in systemd)"
                .to_owned()
        }
    };
    let whose = first.whose(&more);
    Failure::new(format!("{text}; {whose}, who may not read and write it; {remedy}"))
}

/// Why the admin socket cannot be bound. It may lie elsewhere than the data.
pub fn cannot_bind(error: &io::Error, socket: &Path, data_dir: &Path) -> Failure {
    let text = format!("cannot bind the admin socket {}: {error}", socket.display());
    if socket.starts_with(data_dir) {
        return explained(text, error, data_dir);
    }
    if !fsutil::is_denied(error) && !is_read_only(error) {
        return Failure::new(text);
    }
    let Some(closed) = Closed::on_the_way(socket) else { return Failure::new(text) };
    let open = if !closed.is_of_another() && closed.keeps_owner_out() {
        format!("let it: {}, or ", closed.open_it())
    } else {
        String::new()
    };
    Failure::new(format!(
        "{text}; {}, who may not write to it; {open}name a path in a directory that this user may write \
         to in admin_socket",
        closed.whose("")
    ))
}

/// Why there is no certificate. Its files may lie elsewhere than the data.
pub fn no_certificate(error: &TlsError, config: &Config) -> Failure {
    let files = config.tls.files().map(|files| [files.cert.clone(), files.key.clone()]);
    let authority = config.tls.clients().map(|clients| clients.ca.clone());
    let may_read = |path: &Path| accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS);
    let denied = files
        .into_iter()
        .flatten()
        .chain(authority)
        .find(|path| may_read(path).is_err_and(|error| error == Errno::ACCESS));
    let closed = denied.filter(|_| fsutil::is_denied(error)).and_then(|p| Closed::on_the_way(&p));
    let Some(closed) = closed else { return cannot_open(error, &config.data_dir) };
    let path = closed.path.display();
    let remedy = match (closed.is_of_another(), closed.is_dir()) {
        (false, _) => closed.open_it(),
        (true, true) => "name files that this user may read in tls.cert and tls.key".to_owned(),
        (true, false) => format!("as root: chown {} {path}", geteuid().as_raw()),
    };
    Failure::new(format!("{}; {}, who may not read it; {remedy}", chain(error), closed.whose("")))
}

/// What is to be done where no data directory can be made.
fn elsewhere(data_dir: &Path) -> String {
    let closed = Closed::on_the_way(data_dir);
    let whose = closed.as_ref().map(|closed| format!("{}; ", closed.whose(""))).unwrap_or_default();
    let open = closed.filter(|closed| !closed.is_of_another() && closed.keeps_owner_out());
    let open = open.map(|closed| format!("let it: {}, or ", closed.open_it())).unwrap_or_default();
    format!(
        "{whose}{open}name a directory that this user may make or write to with --data-dir DIR (or \
         data_dir in the configuration)"
    )
}

fn is_read_only(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    let here = io.is_some_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
    here || error.source().is_some_and(is_read_only)
}

/// What of a data directory this process may not use, the nearest first.
fn closed(data_dir: &Path) -> Vec<Closed> {
    let mut closed = Vec::new();
    let mut dirs = vec![data_dir.to_owned()];
    let mut level = 0;
    // Nothing of a store lies deeper.
    while level < 4 && !dirs.is_empty() {
        let mut next = Vec::new();
        for path in dirs {
            let Ok(about) = fs::symlink_metadata(&path) else { continue };
            let needed = match about.file_type() {
                kind if kind.is_dir() => Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
                kind if kind.is_file() => Access::READ_OK | Access::WRITE_OK,
                _ => continue,
            };
            if accessat(CWD, &path, needed, AtFlags::EACCESS).is_err() {
                closed.push(Closed::of(&path, &about));
            } else if about.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                next.extend(entries.map(|entry| entry.path()));
            }
        }
        next.sort_unstable();
        dirs = next;
        level += 1;
    }
    closed
}
