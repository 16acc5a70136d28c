//! Users of this machine, as a person is told of them.

use std::path::Path;

use rustix::process::geteuid;

use crate::fsutil;

/// Whom this process runs as.
pub fn us() -> String {
    shown(geteuid().as_raw())
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
