//! How far back the journal says that it reaches, and how far it does.

use std::collections::BTreeMap;

use super::*;
use crate::journal::SegmentVerifier;

/// Which change of which call is where in the journal.
fn changes(store: &Store) -> Vec<(u64, CallId)> {
    let segments = store.shared.view.segments.read().clone();
    let mut found = Vec::new();
    for segment in segments {
        let mut scanner = crate::journal::Scanner::new(&segment).unwrap();
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            if frame.kind == crate::journal::FrameKind::Record {
                found.push((frame.seq, crate::codec::peek_id(frame.body).unwrap()));
            }
        }
    }
    found
}

/// As of which sequence number a restore would believe the journal.
fn whole_from(store: &Store) -> u64 {
    let segments = store.shared.view.segments.read().clone();
    let each = segments.iter().map(|segment| {
        let name = segment.path.file_name().unwrap().to_str().unwrap();
        let mut audit = SegmentVerifier::new(name, None).unwrap().unwrap();
        let bytes = fs::read(&segment.path).unwrap();
        let counts = usize::try_from(segment.disk_bytes()).unwrap();
        audit.take(&bytes[..counts]).unwrap();
        audit.end().unwrap().whole_from
    });
    each.max().unwrap_or(0)
}

fn state(changes: &[(u64, CallId)], until: u64) -> BTreeMap<CallId, u64> {
    changes.iter().filter(|(seq, _)| *seq <= until).map(|(seq, id)| (*id, *seq)).collect()
}

/// Every state that a restore would make is the one that there was.
fn assert_past(store: &Store, truth: &[(u64, CallId)]) {
    let (from, left) = (whole_from(store), changes(store));
    let last = truth.last().unwrap().0;
    assert!(left.len() < truth.len(), "nothing has gone");
    for until in from..=last {
        assert!(state(&left, until) == state(truth, until), "as of {until}, whole from {from}");
    }
}

#[test]
fn what_goes_for_a_change_that_only_memory_has_is_history_until_then() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for n in 0..100 {
        send(&store, id(1, n), CallStatus::Completed, clock::now());
    }
    wake(&store);
    for n in 0..50 {
        let mut again = event(id(1, n), CallStatus::Completed, clock::now());
        again.texts[CallField::CallerName as usize] = Some("again".into());
        store.apply(&[Change::Event(Box::new(again))], clock::now(), false).unwrap();
    }
    let truth = changes(&store);
    store.collect(Depth::Usual).unwrap();
    let (from, left) = (whole_from(&store), changes(&store));
    for until in from..=truth.last().unwrap().0 {
        assert!(state(&left, until) == state(&truth, until), "as of {until}, whole from {from}");
    }
    store.collect(Depth::Thorough).unwrap();
    assert_past(&store, &truth);
}
