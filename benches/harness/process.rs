//! What processes have taken, as the kernel tells.

use std::fs;
use std::path::Path;

use super::Outcome;

/// Bytes that a process has had in memory at most; none when it has ended.
pub fn peak(pid: u32) -> Option<u64> {
    memory(pid, "VmHWM:")
}

/// A line of `/proc/PID/status`, in bytes.
pub fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_end_matches("kB").trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Bytes of all files below a directory.
pub fn size(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

/// Bytes of journal and index.
pub fn stored(data: &Path) -> Outcome<[u64; 2]> {
    let mut index = 0;
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("index-") {
            index += size(&entry.path())?;
        }
    }
    Ok([size(&data.join("journal"))?, index])
}
