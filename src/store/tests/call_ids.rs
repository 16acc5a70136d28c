//! Call-IDs: a call is found by each of its own, and by no other, also where checksums are the same.

use super::*;
use crate::domain::Search;

/// Two that have the same checksum.
const ALIKE: [&str; 2] = ["4ca3a936-2226@sbc", "39a30572-837b@sbc"];

fn says(store: &Store, id: CallId, own: Option<&str>, other: Option<(&str, &str)>) {
    let mut event = event(id, CallStatus::Trying, clock::now());
    event.texts[CallField::CallId as usize] = own.map(Into::into);
    let other = other.map(|(key, value)| (key.into(), format!("\"{value}\"").into()));
    event.extras.extend(other);
    store.apply(&[Change::Event(Box::new(event))], clock::now(), false).unwrap();
}

fn of(call_id: &[&str], sbc_callid: &[&str]) -> Filter {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let (call_id, sbc_callid) = (texts(call_id), texts(sbc_callid));
    Filter { search: Search { call_id, sbc_callid, ..Search::default() }, ..Filter::default() }
}

/// Calls that are found, ascending, and how many rows were looked at.
fn found(store: &Store, filter: &Filter) -> (Vec<u8>, u64) {
    let read = || store.shared.view.meter.rows_read.get();
    let before = read();
    let mut sids = sids(store, filter.clone());
    let rows = read() - before;
    sids.sort_unstable();
    let request = ListRequest { filter: filter.clone(), ..everything(account(1)) };
    let counting = counted(store, Counting::of_list(&request)).unwrap();
    assert_eq!(counting.count(), sids.len() as u64);
    assert_eq!(places(store, &request, 3).unwrap().len(), sids.len());
    (sids, rows)
}

/// Does this with calls in memory, in the index, in one that was built from it, and from the journal.
fn everywhere(store: &Store, ask: impl Fn()) {
    ask();
    wake(store);
    ask();
    store.compact(&mut |_| {}).unwrap();
    ask();
    store.rebuild(&mut |_| {}).unwrap();
    ask();
    assert_sound(store);
}

#[test]
fn a_call_is_found_by_each_of_its_call_ids_and_no_other_is_looked_at() {
    assert_eq!(crc32c::crc32c(ALIKE[0].as_bytes()), crc32c::crc32c(ALIKE[1].as_bytes()));
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for n in 0..60 {
        says(&store, id(1, n), Some(&format!("own-{n}")), Some(("sbc_callid", "other")));
    }
    says(&store, id(1, 100), Some(ALIKE[0]), Some(("sbc_callid", ALIKE[1])));
    says(&store, id(1, 101), Some(ALIKE[1]), Some(("sbc_callid", ALIKE[1])));
    says(&store, id(1, 102), Some("ü \\ \0"), Some(("sbc_callid", ALIKE[0])));
    says(&store, id(1, 103), None, Some(("sip_callid", ALIKE[0])));
    // Those of another account.
    says(&store, id(2, 104), Some(ALIKE[0]), Some(("sbc_callid", ALIKE[1])));
    says(&store, id(2, 105), Some("own-7"), None);
    everywhere(&store, || {
        let [one, two] = ALIKE;
        for (call_id, sbc_callid, expected, looked_at) in [
            (&["own-7"][..], &[][..], &[7][..], 1),
            (&["own-7", "own-8", "Own-9", "nobody"], &[], &[7, 8], 2),
            (&["OWN-7"], &[], &[], 0),
            (&[one], &[], &[100], 4),
            (&[two], &[], &[101], 4),
            (&[one, two], &[], &[100, 101], 4),
            (&[], &[one], &[102], 4),
            (&[], &[two], &[100, 101], 4),
            (&[two], &[two], &[101], 4),
            (&["own-7"], &["other"], &[7], 1),
            (&["own-7"], &[one], &[], 1),
            (&["ü \\ \0"], &[], &[102], 1),
        ] {
            let (sids, rows) = found(&store, &of(call_id, sbc_callid));
            assert_eq!(sids, expected, "{call_id:?} {sbc_callid:?}");
            assert!(rows <= looked_at, "{rows} for {call_id:?} {sbc_callid:?}");
        }
        assert_eq!(found(&store, &of(&[], &["other"])).0, (0..60).collect::<Vec<u8>>());
    });
}

#[test]
fn call_ids_come_change_and_go_with_their_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let [one, two] = ALIKE;
    let is = |own: &[&str], sbc: &[&str], expected: &[u8]| {
        assert_eq!(found(&store, &of(own, sbc)).0, expected, "{own:?} {sbc:?}");
    };
    says(&store, id(1, 1), Some(one), None);
    wake(&store);
    // One is added, whose checksum is the same; then it changes, and the other.
    says(&store, id(1, 1), None, Some(("sbc_callid", two)));
    everywhere(&store, || {
        is(&[one], &[], &[1]);
        is(&[], &[two], &[1]);
    });
    says(&store, id(1, 1), None, Some(("sbc_callid", "new")));
    everywhere(&store, || {
        is(&[one], &[], &[1]);
        is(&[], &["new"], &[1]);
        is(&[], &[two], &[]);
    });
    says(&store, id(1, 1), Some("new"), None);
    everywhere(&store, || {
        is(&[one], &[], &[]);
        is(&["new"], &["new"], &[1]);
    });
    store.apply(&[Change::Delete(id(1, 1))], clock::now(), false).unwrap();
    everywhere(&store, || {
        is(&["new"], &[], &[]);
        is(&[], &["new"], &[]);
    });
}
