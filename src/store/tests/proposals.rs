//! What the store changes by itself goes to who takes it, and happens nowhere else.

use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::placing::{cdr, put, waiting};
use super::*;
use crate::store::proposals::Proposals;
use crate::store::submit::Backpressure;

/// Records what is proposed, and does nothing of it.
#[derive(Default)]
struct Recorded {
    is_mine: AtomicBool,
    /// How far another clock is behind this machine's, in milliseconds.
    behind: AtomicU64,
    changes: Mutex<Vec<Change>>,
}

impl Proposals for Recorded {
    fn is_mine(&self) -> bool {
        self.is_mine.load(Ordering::Relaxed)
    }

    fn time(&self, clock: Timestamp) -> Timestamp {
        clock.minus_millis(self.behind.load(Ordering::Relaxed))
    }

    fn propose(
        &self,
        changes: Vec<Change>,
        _: Timestamp,
        _: Backpressure,
    ) -> Result<Option<Outcome>, StoreError> {
        self.changes.lock().extend(changes);
        Ok(None)
    }
}

#[test]
fn of_several_stores_one_proposes_what_each_would_change_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let usual = options(dir.path());
    let retention = RetentionPolicy { age_millis: Some(1), ..usual.retention };
    let store = open(Options {
        sweep_interval: Duration::ZERO,
        max_lifetime_millis: HOUR_MILLIS,
        retention,
        ..usual
    });
    let recorded = Arc::new(Recorded::default());
    store.propose_by(recorded.clone());
    let long_ago = clock::now().minus_millis(2 * HOUR_MILLIS);
    send(&store, id(1, 1), CallStatus::Ringing, long_ago);
    send(&store, id(1, 2), CallStatus::Completed, long_ago);
    put(&store, cdr(1, None, "sbc", CallStatus::Completed));
    let round = || {
        // The second one is taken after all that follows the first one.
        store.shared.checkpoint_now().unwrap();
        store.shared.checkpoint_now().unwrap();
        store.collect(Depth::Usual).unwrap()
    };
    round();
    assert!(recorded.changes.lock().is_empty(), "another one proposes");
    recorded.is_mine.store(true, Ordering::Relaxed);
    // By another clock nothing is over yet.
    recorded.behind.store(3 * HOUR_MILLIS, Ordering::Relaxed);
    round();
    let ends = |change: &Change| matches!(change, Change::Stale(..) | Change::Expire(_));
    assert!(!recorded.changes.lock().iter().any(ends), "it is over by this clock alone");
    recorded.behind.store(0, Ordering::Relaxed);
    assert_eq!(round().expired, 0, "nothing is known to have gone");
    let changes = std::mem::take(&mut *recorded.changes.lock());
    let has = |wanted: &dyn Fn(&Change) -> bool| changes.iter().any(wanted);
    assert!(has(&|change| matches!(change, Change::Stale(call, _) if *call == id(1, 1))));
    assert!(has(&|change| matches!(change, Change::Expire(call) if *call == id(1, 2))));
    assert!(has(&|change| matches!(change, Change::PlaceCdr { .. })));
    assert_eq!(store.call(id(1, 1)).unwrap().unwrap().progress.status, CallStatus::Ringing);
    assert!(store.call(id(1, 2)).unwrap().is_some());
    assert_eq!(waiting(&store), 1);
    assert_eq!(sids(&store, Filter::default()), [1, 2]);
}

#[test]
fn a_node_whose_log_is_not_at_hand_changes_nothing_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let usual = options(dir.path());
    let retention = RetentionPolicy { age_millis: Some(1), ..usual.retention };
    let store = open(Options {
        sweep_interval: Duration::ZERO,
        max_lifetime_millis: HOUR_MILLIS,
        retention,
        ..usual
    });
    let long_ago = clock::now().minus_millis(2 * HOUR_MILLIS);
    send(&store, id(1, 1), CallStatus::Ringing, long_ago);
    send(&store, id(1, 2), CallStatus::Completed, long_ago);
    put(&store, cdr(1, None, "sbc", CallStatus::Completed));
    store.begin_log(LogPosition { epoch: [7; 16], turn: 0, seq: 0, crc: 0 }).unwrap();
    for depth in [Depth::Usual, Depth::Thorough] {
        store.shared.checkpoint_now().unwrap();
        store.shared.checkpoint_now().unwrap();
        assert_eq!(store.collect(depth).unwrap().expired, 0);
    }
    assert_eq!(store.call(id(1, 1)).unwrap().unwrap().progress.status, CallStatus::Ringing);
    assert!(!store.call(id(1, 1)).unwrap().unwrap().stale);
    assert!(store.call(id(1, 2)).unwrap().is_some());
    assert_eq!(waiting(&store), 1);
}
