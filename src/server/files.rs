//! Open files. Every client that connects takes one, without any credentials; the store keeps those that
//! it needs. An index whose files cannot be opened would count as failed.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// Files that are open beside connections and feeds: the journal, the index, sockets, requests to
/// others.
const OTHERS: u64 = 256;

/// Raises what this process may open to all that the system lets it have, and returns that.
pub fn raise() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    let may = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    may.unwrap_or(u64::MAX)
}

/// Connections of each listener: as configured, or as many as leave enough to the store.
pub(super) fn connections(config: &Config, files: u64) -> usize {
    let listeners = 1 + u64::from(config.http.listen.is_some());
    let wanted = config.limits.connections;
    let others = OTHERS + config.limits.event_streams as u64;
    let left = left_for_each(files, others, listeners);
    if left >= wanted {
        return wanted;
    }
    tracing::warn!(
        files,
        wanted,
        taken = left,
        "fewer connections are taken than limits.connections says: raise the limit of open files"
    );
    left
}

/// What is left for each listener. Where next to nothing is, half of all goes to connections.
fn left_for_each(files: u64, others: u64, listeners: u64) -> usize {
    let left = files.saturating_sub(others).max(files / 2) / listeners;
    usize::try_from(left).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_store_its_files() {
        assert_eq!(left_for_each(65_536, 512, 1), 65_024);
        assert_eq!(left_for_each(65_536, 512, 2), 32_512);
        assert_eq!(left_for_each(300, 512, 1), 150);
        assert_eq!(left_for_each(1, 512, 2), 1);
        assert_eq!(left_for_each(u64::MAX, 512, 1), usize::try_from(u64::MAX - 512).unwrap());
    }
}
