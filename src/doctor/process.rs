//! What the kernel says of processes, in `/proc`.

use std::fs;
use std::path::Path;

/// Ticks a second in `/proc/PID/stat`: the same on every Linux of today.
const TICKS: u64 = 100;

pub(super) fn name(pid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/comm")).ok().map(|name| name.trim().to_owned())
}

/// The groups of a process beside its own one.
pub(super) fn groups(pid: u32) -> Option<Vec<u32>> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    Some(line.split_whitespace().filter_map(|gid| gid.parse().ok()).collect())
}

/// Seconds between the boot and the start of a process.
pub(super) fn started_s(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    Some(ticks / TICKS)
}

/// The soft limit of open files of a process.
pub(super) fn open_files_max(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next().map(|soft| soft.parse().unwrap_or(u64::MAX))
}

/// Whether any process holds an advisory lock on the file with this inode; none where the kernel
/// does not say.
pub(super) fn is_locked(inode: u64) -> Option<bool> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let end = format!(":{inode}");
    let held = |line: &str| line.contains(" FLOCK ") && line.split(' ').any(|w| w.ends_with(&end));
    Some(locks.lines().any(held))
}

/// The processes that have a listening socket on a TCP port of this machine, as far as this user
/// may know. A service manager that hands sockets over has them, too.
pub(super) fn listeners(port: u16) -> Vec<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .flat_map(|table| listening(table, port))
        .collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let listens = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| inodes.iter().any(|inode| link == Path::new(&format!("socket:[{inode}]"))))
    };
    pids.filter(listens).collect()
}

/// The inodes of the sockets that listen on a port.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    let text = fs::read_to_string(table).unwrap_or_default();
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let listens = words.get(1)?.ends_with(&end) && *words.get(3)? == LISTEN;
        listens.then(|| words.get(9).map(|inode| (*inode).to_owned()))?
    };
    text.lines().filter_map(inode).collect()
}
