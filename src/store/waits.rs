//! Who waits for the disk for long, and for what: said in the log.
//!
//! By a thread of its own. One that serves requests may wait for the same disk, and then would say
//! nothing either.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::logs::LogRequest;
use parking_lot::Mutex;

use crate::journal::Doing;

/// How long a request waits before it is logged.
const LONG: Duration = Duration::from_secs(10);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most of those who wait that are named after one look.
const NAMED_MAX: usize = 8;

/// All who wait now.
#[derive(Default)]
pub(super) struct Waits {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    next: u64,
    /// The oldest first.
    all: BTreeMap<u64, One>,
}

struct One {
    since: Instant,
    /// What it waits for; none for the committer, who says himself what he is at.
    what: Option<&'static str>,
    /// The request, for its lines in the log.
    request: Option<LogRequest>,
    reported: bool,
}

/// One who waits, until this is dropped.
pub struct WaitGuard {
    waits: Arc<Waits>,
    id: u64,
}

impl Drop for WaitGuard {
    fn drop(&mut self) {
        self.waits.waiting.lock().all.remove(&self.id);
    }
}

/// One who has waited for long and of whom nothing was said yet.
struct Overdue {
    waited: Duration,
    what: Option<&'static str>,
    request: Option<LogRequest>,
}

impl Waits {
    /// A caller begins to wait: for this, or for the committer.
    pub fn begin(self: &Arc<Self>, what: Option<&'static str>, now: Instant) -> WaitGuard {
        let mut waiting = self.waiting.lock();
        let id = waiting.next;
        waiting.next += 1;
        let one = One { since: now, what, request: LogRequest::current(), reported: false };
        waiting.all.insert(id, one);
        WaitGuard { waits: self.clone(), id }
    }

    /// Those to be named now, and how many more wait as long.
    fn overdue(&self, now: Instant) -> (Vec<Overdue>, usize) {
        let mut waiting = self.waiting.lock();
        let mut found = Vec::new();
        let mut more = 0;
        for one in waiting.all.values_mut() {
            let waited = now.saturating_duration_since(one.since);
            if waited < LONG {
                break;
            }
            if !one.reported && found.len() < NAMED_MAX {
                one.reported = true;
                found.push(Overdue { waited, what: one.what, request: one.request.clone() });
            } else {
                more += 1;
            }
        }
        (found, more)
    }

    /// Looks for them now and then, until the other end of `stop` is gone.
    pub fn watch(&self, doing: &Doing, queued: impl Fn() -> usize, stop: &Receiver<()>) {
        while stop.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let (overdue, others) = self.overdue(Instant::now());
            for Overdue { waited, what, request } in overdue {
                let now = doing.now();
                let what = what.or(now.map(|(what, _)| what));
                let (what, lasts) = (what.unwrap_or("its turn"), now.map(|(_, lasts)| lasts));
                LogRequest::in_scope(request, || {
                    tracing::warn!(
                        ?waited,
                        what,
                        committer_for = ?lasts.unwrap_or_default(),
                        queued = queued(),
                        others,
                        "a request waits for the disk"
                    );
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_long_is_named_once_and_who_is_answered_is_not() {
        let waits = Arc::new(Waits::default());
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let first = waits.begin(None, begun);
        let second = waits.begin(Some("reading calls"), after(5));
        let named = |now| {
            let (found, others) = waits.overdue(now);
            (found.iter().map(|one| (one.waited.as_secs(), one.what)).collect::<Vec<_>>(), others)
        };
        assert_eq!(named(after(9)), (vec![], 0));
        assert_eq!(named(after(10)), (vec![(10, None)], 0));
        assert_eq!(named(after(11)), (vec![], 1));
        assert_eq!(named(after(16)), (vec![(11, Some("reading calls"))], 1));
        drop(first);
        assert_eq!(named(after(17)), (vec![], 1));
        drop(second);
        assert_eq!(named(after(99)), (vec![], 0));
        let many: Vec<WaitGuard> = (0..20).map(|_| waits.begin(None, begun)).collect();
        assert_eq!(named(after(10)).0.len(), NAMED_MAX);
        assert_eq!(named(after(11)).1, 20 - NAMED_MAX);
        drop(many);
        assert!(waits.waiting.lock().all.is_empty());
    }
}
