//! What the system says of this process.

use std::fs;

/// Figures of `/proc/self`; each is none where the system does not tell.
#[derive(Debug, Default)]
pub(super) struct ProcessFigures {
    /// Bytes of memory in use.
    pub resident_bytes: Option<u64>,
    /// Open files, sockets among them.
    pub open_files: Option<u64>,
    /// How many there may be.
    pub most_files: Option<u64>,
    pub threads: Option<u64>,
}

impl ProcessFigures {
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let most_files = limits.lines().find_map(|line| {
            line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok()
        });
        let open_files = fs::read_dir("/proc/self/fd").ok();
        Self {
            resident_bytes: field("VmRSS:").map(|kilobytes| kilobytes * 1024),
            // The directory that is being read is one of them.
            open_files: open_files.map(|files| (files.count() as u64).saturating_sub(1)),
            most_files,
            threads: field("Threads:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells() {
        let process = ProcessFigures::read();
        assert!(process.resident_bytes.unwrap() > 100_000, "{process:?}");
        assert!(process.open_files.unwrap() >= 3, "{process:?}");
        assert!(process.most_files >= process.open_files, "{process:?}");
        assert!(process.threads.unwrap() >= 1, "{process:?}");
    }
}
