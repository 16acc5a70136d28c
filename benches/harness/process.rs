//! What processes have taken, as the kernel tells.

use std::fs;

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
