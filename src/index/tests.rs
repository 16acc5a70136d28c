//! The index alone: against a map, and damaged.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::domain::{AccountSid, Call, CallId, CallSid, Direction};
use crate::domain::{Order, Position, Timestamp, samples};
use crate::keys::{self, IndexKeys, PositionSpan, Range, live_ranges};

const CACHE_BYTES: u64 = 1 << 20;

/// Changes the rows of an index behind its back.
pub(crate) fn tamper<T>(dir: &std::path::Path, change: impl FnOnce(&sled::Db) -> T) -> T {
    let config = sled::Config::new().path(dir).flush_every_ms(None);
    let db = database::open_once_released(&config).unwrap();
    let result = change(&db);
    db.flush().unwrap();
    result
}

/// Has rows of an index come or go behind its back.
pub(crate) fn tamper_rows(dir: &std::path::Path, rows: &[(Vec<u8>, Option<Vec<u8>>)]) {
    let index = Index::open(dir, CACHE_BYTES).unwrap();
    index.entries.put(rows.to_vec(), || ()).unwrap();
    index.sync().unwrap();
}

/// The keys of an index's rows that begin so.
pub(crate) fn row_keys(dir: &std::path::Path, prefix: &[u8]) -> Vec<Vec<u8>> {
    let index = Index::open(dir, CACHE_BYTES).unwrap();
    let rows = index.entries.cursor(cursor::beginning(prefix), cursor::Direction::Up);
    rows.map(|row| row.unwrap().key().to_vec()).collect()
}

fn id(n: u8) -> CallId {
    CallId { account: AccountSid::from_bytes([n % 2; 16]), sid: CallSid::from_bytes([n; 16]) }
}

/// What the index is told of a call; none: its tombstone has expired.
#[derive(Debug, Clone)]
enum TestVersion {
    Call(Box<Call>),
    Tombstone(Timestamp),
    Nothing,
}

fn told() -> impl Strategy<Value = TestVersion> {
    prop_oneof![
        4 => samples::call().prop_map(|call| TestVersion::Call(Box::new(call))),
        1 => samples::time().prop_map(TestVersion::Tombstone),
        1 => Just(TestVersion::Nothing),
    ]
}

type Model = BTreeMap<CallId, (u64, TestVersion)>;

fn old(model: &Model, id: CallId) -> Option<(Stored, Option<IndexKeys>)> {
    match model.get(&id)? {
        (seq, TestVersion::Call(call)) => {
            let stored = Stored::Call { seq: *seq, listed_at: call.listed_at };
            Some((stored, Some(IndexKeys::of(call))))
        }
        (seq, TestVersion::Tombstone(at)) => {
            Some((Stored::Tombstone { seq: *seq, deleted_at: *at }, None))
        }
        (_, TestVersion::Nothing) => None,
    }
}

fn op(
    id: CallId,
    old: Option<(Stored, Option<IndexKeys>)>,
    seq: u64,
    told: &TestVersion,
) -> Op<'_> {
    let new = match told {
        TestVersion::Call(call) => Version::Call(seq, call),
        TestVersion::Tombstone(at) => Version::Tombstone(seq, *at),
        TestVersion::Nothing => Version::Nothing,
    };
    Op { id, old, new }
}

fn calls(model: &Model, account: AccountSid, meant: impl Fn(&Call) -> bool) -> Vec<(u64, Call)> {
    let calls = model.values().filter_map(|(seq, told)| match told {
        TestVersion::Call(call) if call.id.account == account && meant(call) => {
            Some((*seq, (**call).clone()))
        }
        _ => None,
    });
    let mut calls: Vec<_> = calls.collect();
    calls.sort_by_key(|(_, call)| Position::of(call));
    calls
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn it_is_a_map_with_sorted_views(steps in vec(vec((0..8_u8, told()), 1..5), 1..8)) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
        let mut model = Model::new();
        let mut seq = 0;
        for step in steps {
            let before = model.clone();
            let mut step: BTreeMap<u8, TestVersion> = step.into_iter().collect();
            for (n, told) in &mut step {
                if let TestVersion::Call(call) = told {
                    call.id = id(*n);
                }
            }
            let mut ops = Vec::new();
            for (n, told) in &step {
                seq += 1;
                ops.push(op(id(*n), old(&before, id(*n)), seq, told));
                model.insert(id(*n), (seq, told.clone()));
            }
            index.write(&ops, &[]).unwrap();
            let mut rows = 0;
            for account in [0, 1].map(|n| AccountSid::from_bytes([n; 16])) {
                let all = calls(&model, account, |_| true);
                for (_, call) in &all {
                    prop_assert!(index.has_keys(call).unwrap());
                    rows += 2 + IndexKeys::of(call).keys(call.id).len() as u64;
                }
                for (order, count) in [(Order::NewestFirst, 3), (Order::OldestFirst, 100)] {
                    let found = index.positions(&[Range::all(account)], &PositionSpan::all(order), count, true, usize::MAX);
                    let whole = |(_, _, row): (Position, usize, Option<CallRow>)| {
                        let row = row.unwrap();
                        let call = row.call().unwrap();
                        let mut answer = Vec::new();
                        crate::wire::write_call(&mut answer, &call);
                        assert_eq!(row.answer(), answer);
                        (row.seq(), call)
                    };
                    let found: Vec<_> = found.unwrap().into_iter().map(whole).collect();
                    let mut expected = all.clone();
                    if order == Order::OldestFirst {
                        expected.reverse();
                    }
                    expected.truncate(count);
                    prop_assert_eq!(found, expected);
                }
                for direction in Direction::ALL {
                    let up = |call: &Call| call.live() && call.direction.value == direction;
                    let up = calls(&model, account, up);
                    let up: Vec<_> = up.iter().map(|(_, call)| Position::of(call)).collect();
                    let ranges = live_ranges(account, direction);
                    let all = PositionSpan::all(Order::NewestFirst);
                    let found = index.positions(&ranges, &all, usize::MAX, false, usize::MAX).unwrap();
                    let found: Vec<_> = found.into_iter().map(|(position, ..)| position).collect();
                    prop_assert_eq!(found, up);
                }
            }
            for n in 0..8 {
                let known = old(&model, id(n)).map(|(stored, _)| stored);
                prop_assert_eq!(index.stored(id(n)).unwrap(), known);
                let call = calls(&model, id(n).account, |call| call.id == id(n)).pop();
                prop_assert_eq!(index.call(id(n)).unwrap(), call);
                rows += if let Some(Stored::Tombstone { .. }) = known { 2 } else { 0 };
            }
            prop_assert_eq!(index.row_counts().unwrap().values().sum::<u64>(), rows);
            prop_assert_eq!(index.recount().unwrap(), index.stats());
        }
        index.say_layout(LAYOUT).unwrap();
        let mark = CheckpointMeta { checkpoint: 3, last_seq: seq, replay_from: 2, stats: index.stats(), at: 5 };
        index.mark_and_sync(&mark).unwrap();
        drop(index);
        let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
        prop_assert_eq!(index.stats(), index.recount().unwrap());
        prop_assert_eq!(index.mark().unwrap(), Some(mark));
    }

    #[test]
    fn a_stats_does_not_depend_on_the_order_and_knows_every_row(
        (rows, shuffled) in vec((0..20_u8, 0..9_u64, any::<bool>()), 1..10)
            .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
    ) {
        let stored = |seq, deleted| {
            let at = Timestamp::default();
            if deleted { Stored::Tombstone { seq, deleted_at: at } }
            else { Stored::Call { seq, listed_at: at } }
        };
        let (mut one, mut other) = (IndexStats::default(), IndexStats::default());
        for (n, seq, deleted) in &rows {
            one.add(id(*n), stored(*seq, *deleted));
        }
        for (n, seq, deleted) in &shuffled {
            other.add(id(*n), stored(*seq, *deleted));
        }
        prop_assert_eq!(one, other);
        let (n, seq, deleted) = rows[0];
        other.remove(id(n), stored(seq, deleted));
        other.add(id(n), stored(seq + 1, deleted));
        prop_assert_ne!(one, other);
        for (n, seq, deleted) in rows {
            one.remove(id(n), stored(seq, deleted));
        }
        prop_assert_eq!(one, IndexStats::default());
    }

    #[test]
    fn noise_is_no_row(bytes in vec(any::<u8>(), 0..60)) {
        prop_assert!(Stored::from_bytes(&bytes).is_err());
        let key = page::page_key(layers::BASE, &keys::call(id(1).account, Position::MAX));
        prop_assert!(page::Page::read(&key, &bytes).is_err());
        prop_assert!(rows::unsealed(&bytes).is_err());
    }
}

/// The call of this number, listed at that many seconds.
fn listed(n: u8) -> Call {
    let at = Timestamp::from_millis(u64::from(n) * 1000).unwrap();
    Call { id: CallId { account: id(0).account, ..id(n) }, ..sample(at) }
}

/// Has that call come, or go.
fn set(index: &Index, n: u8, there: bool) {
    let call = listed(n);
    let stored = Stored::Call { seq: 1, listed_at: call.listed_at };
    let known = Some((stored, Some(IndexKeys::of(&call))));
    let (old, new) =
        if there { (None, Version::Call(1, &call)) } else { (known, Version::Nothing) };
    index.write(&[Op { id: call.id, old, new }], &[]).unwrap();
}

fn sample(at: Timestamp) -> Call {
    let event = samples::bare_event(id(1), None, at);
    crate::domain::merge(None, event, at)
}

/// All rows of an account in small steps, as a list reads them.
fn walk(index: &Index, order: Order, step: usize) -> Vec<CallSid> {
    let ranges = [Range::all(id(0).account)];
    let (mut span, mut sids) = (PositionSpan::all(order), Vec::new());
    loop {
        let rows = index.positions(&ranges, &span, step, true, usize::MAX).unwrap();
        let Some((last, ..)) = rows.last() else { return sids };
        span = span.after(*last);
        for (position, _, row) in rows {
            assert_eq!(row.unwrap().call().unwrap().id.sid, position.sid);
            sids.push(position.sid);
        }
    }
}

#[test]
fn pages_that_are_cut_and_grow_hide_nothing_from_a_reader_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    let write = |n: u8, there: bool| set(&index, n, there);
    // Every third stays; the ends come and go, too.
    let stays = |n: u8| n % 3 == 1;
    (0..120).filter(|n| stays(*n)).for_each(|n| write(n, true));
    let newest_first: Vec<_> = (0..120).rev().filter(|n| stays(*n)).map(|n| id(n).sid).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let walks = std::thread::scope(|scope| {
        let reader = |order: Order, mut expected: Vec<CallSid>| {
            let (index, done) = (&index, &done);
            if order == Order::OldestFirst {
                expected.reverse();
            }
            scope.spawn(move || {
                let mut walks = 0;
                while !done.load(std::sync::atomic::Ordering::Acquire) {
                    let mut found = walk(index, order, 1 + walks % 7);
                    let mut sorted = found.clone();
                    sorted.sort_unstable();
                    sorted.dedup();
                    assert_eq!(sorted.len(), found.len(), "one was listed twice");
                    found.retain(|sid| stays(sid.bytes()[0]));
                    assert_eq!(found, expected);
                    walks += 1;
                }
                walks
            })
        };
        let newest = reader(Order::NewestFirst, newest_first.clone());
        let oldest = reader(Order::OldestFirst, newest_first);
        let looker = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                let some = (0..120).rev().step_by(1 + looks % 13);
                let mut wanted: Vec<_> = some.map(|n| Position::of(&listed(n))).collect();
                if looks % 4 == 3 {
                    wanted.reverse();
                }
                let rows = index.rows_at(id(0).account, &wanted).unwrap();
                for (wanted, row) in wanted.iter().zip(rows) {
                    let found = row.map(|row| row.call().unwrap().id.sid);
                    let gone = found.is_none() && !stays(wanted.sid.bytes()[0]);
                    assert!(gone || found == Some(wanted.sid), "{wanted:?}: {found:?}");
                }
                looks += 1;
            }
            looks
        });
        for _ in 0..12 {
            for there in [true, false] {
                (0..120).filter(|n| !stays(*n)).for_each(|n| write(n, there));
            }
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        [newest, oldest, looker].map(|reader| reader.join().unwrap())
    });
    assert!(walks.iter().all(|walks| *walks > 5), "{walks:?}");
    assert_eq!(index.recount().unwrap(), index.stats());
}

#[test]
fn a_page_that_grows_between_two_steps_is_not_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    let add = |n: u8| {
        let call = listed(n);
        let op = Op { id: call.id, old: None, new: Version::Call(1, &call) };
        index.write(&[op], &[]).unwrap();
    };
    add(5);
    let at = Position::of(&listed(5));
    let high = std::ops::Bound::Included(at);
    let span = PositionSpan { high, ..PositionSpan::all(Order::OldestFirst) };
    let range = Range::all(id(0).account);
    let scan = index.scan(&range, &span);
    add(4);
    let found: Vec<_> = scan.map(|row| row.unwrap().0).collect();
    assert_eq!(found, [at]);
}

#[test]
fn what_is_cut_or_gone_behind_a_scan_hides_nothing_of_what_stays() {
    const CALLS: u8 = 240;
    let stays = |n: u8| n.is_multiple_of(2);
    let newest_first: Vec<_> = (0..CALLS).rev().filter(|n| stays(*n)).map(|n| id(n).sid).collect();
    let oldest_first: Vec<_> = newest_first.iter().rev().copied().collect();
    let range = IndexKeys::of(&listed(0)).ranges(id(0).account).next().unwrap();
    for read in (0..usize::from(CALLS)).step_by(9) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
        let write = |n: u8, there: bool| set(&index, n, there);
        (0..CALLS).for_each(|n| write(n, true));
        for there in [false, true] {
            for changed in (0..CALLS).filter(|n| !stays(*n)) {
                let sid = |row: Result<(Position, _), IndexError>| row.unwrap().0.sid;
                let at = |sid: &CallSid| Position::of(&listed(sid.bytes()[0]));
                let mut wanted = newest_first.iter().skip(read / 2).map(at);
                let mut lookup = cursor::Lookup::new(&index.entries);
                let mut find = |at| lookup.get(&range.key(at)).unwrap();
                let first = wanted.next().map(|first| (first, find(first)));
                let mut scans = [Order::NewestFirst, Order::OldestFirst].map(|order| {
                    let mut scan = index.scan(&range, &PositionSpan::all(order));
                    let found: Vec<_> = scan.by_ref().take(read).map(sid).collect();
                    (scan, found)
                });
                write(changed, there);
                let next = wanted.map(|wanted| (wanted, find(wanted)));
                for (wanted, found) in first.into_iter().chain(next) {
                    assert!(found.is_some(), "{wanted:?}, then {changed}: {there}");
                }
                for ((scan, found), expected) in
                    scans.iter_mut().zip([&newest_first, &oldest_first])
                {
                    found.extend(scan.map(sid));
                    found.retain(|sid| stays(sid.bytes()[0]));
                    assert_eq!(found, expected, "{read} read, then {changed}: {there}");
                }
            }
        }
    }
}

#[test]
fn no_sids_lead_a_scan_astray() {
    // sled, going back to the page before, looks for a key that is a little less than the first one
    // of a page. Were there keys between the two, it would never arrive.
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    let call = |n: u16| {
        let [cluster, rest] = n.to_be_bytes();
        let sid = |parts: [u8; 2]| {
            let mut sid = [0xff; 16];
            (sid[0], sid[15]) = (parts[0], parts[1]);
            CallSid::from_bytes(sid)
        };
        let mut call = sample(Timestamp::from_millis(1000).unwrap());
        call.id = CallId { account: id(0).account, sid: sid([cluster, rest]) };
        call
    };
    let numbers = || (0..16_u16).flat_map(|cluster| (0..100_u16).map(move |n| cluster * 256 + n));
    let calls: Vec<_> = numbers().map(call).collect();
    for some in calls.chunks(50) {
        let op = |call| Op {
            id: CallId::clone(&Call::clone(call).id),
            old: None,
            new: Version::Call(1, call),
        };
        index.write(&some.iter().map(op).collect::<Vec<_>>(), &[]).unwrap();
    }
    for order in [Order::NewestFirst, Order::OldestFirst] {
        assert_eq!(walk(&index, order, 100).len(), calls.len());
    }
}

#[test]
fn a_row_under_another_account_is_damage_and_no_answer() {
    let call = listed(5);
    let dir = with_one_call(&call);
    let stranger = id(1).account;
    tamper(dir.path(), |db| {
        db.insert(keys::LAYOUT, rows::sealed(0, &LAYOUT.to_be_bytes())).unwrap();
        let value =
            db.get(in_sled(&keys::call(call.id.account, Position::of(&call)))).unwrap().unwrap();
        db.insert(in_sled(&keys::call(stranger, Position::of(&call))), value).unwrap();
    });
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    let (all, span) = ([Range::all(stranger)], PositionSpan::all(Order::NewestFirst));
    let found = index.positions(&all, &span, 10, true, usize::MAX);
    assert!(matches!(found, Err(IndexError::Damaged(_))), "{found:?}");
}

#[test]
fn answers_that_are_stored_change_with_the_layout_alone() {
    // A change of what the API answers of a call raises the layout and changes this: what
    // an index has stored would be answered for ever.
    let call = crate::codec::decode(include_bytes!("../../tests/fixtures/record-v1.bin")).unwrap();
    let mut answer = Vec::new();
    crate::wire::write_call(&mut answer, &call);
    assert_eq!(
        (LAYOUT, crc32c::crc32c(&answer)),
        (10, 2_900_560_874),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// A key as it stands in sled.
pub(crate) fn in_sled(key: &[u8]) -> Vec<u8> {
    spaced::spaced(key)
}

/// An index with one call, closed.
fn with_one_call(call: &Call) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    index.write(&[op(call.id, None, 7, &TestVersion::Call(Box::new(call.clone())))], &[]).unwrap();
    let mark =
        CheckpointMeta { checkpoint: 1, last_seq: 7, replay_from: 8, stats: index.stats(), at: 5 };
    index.mark_and_sync(&mark).unwrap();
    drop(index);
    dir
}

#[test]
fn sids_get_known_little_by_little_after_an_index_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let write = |index: &Index, n: u8| {
        let call = Call { id: id(n), ..sample(Timestamp::default()) };
        index.write(&[op(id(n), None, n.into(), &TestVersion::Call(Box::new(call)))], &[]).unwrap();
        let (checkpoint, last_seq) = (n.into(), n.into());
        let mark = CheckpointMeta {
            checkpoint,
            last_seq,
            replay_from: last_seq + 1,
            stats: index.stats(),
            at: 5,
        };
        index.mark_and_sync(&mark).unwrap();
    };
    let first = Index::open(dir.path(), CACHE_BYTES).unwrap();
    (1..=25).for_each(|n| write(&first, n));
    drop(first);
    tamper(dir.path(), |db| {
        db.insert(keys::LAYOUT, rows::sealed(0, &LAYOUT.to_be_bytes())).unwrap()
    });
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    let are_known = |last: u8| (1..=last).all(|n| index.stored(id(n)).unwrap().is_some());
    assert!(are_known(25) && index.sids.may_hold(id(200).sid));
    write(&index, 26);
    // Ten were read as it was opened.
    assert!(index.learn_sids(10).unwrap());
    assert!(are_known(26) && index.sids.may_hold(id(200).sid));
    while index.learn_sids(3).unwrap() {}
    assert!(are_known(26));
    assert!((100..200).filter(|n| index.sids.may_hold(id(*n).sid)).count() < 20);
}

#[test]
fn every_flipped_bit_of_a_value_is_an_error_and_never_another_record() {
    let call = sample(Timestamp::default());
    let dir = with_one_call(&call);
    let record_key = in_sled(&keys::call(call.id.account, Position::of(&call)));
    let known_key = in_sled(&keys::known(call.id));
    let mut flips = 0;
    tamper(dir.path(), |db| {
        db.insert(keys::LAYOUT, rows::sealed(0, &LAYOUT.to_be_bytes())).unwrap()
    });
    for key in [record_key.as_slice(), &known_key, keys::MARK, keys::LAYOUT] {
        let sound = tamper(dir.path(), |db| db.get(key).unwrap().unwrap());
        for byte in 0..sound.len() {
            let mut value = sound.to_vec();
            value[byte] ^= 1 << (byte % 8);
            tamper(dir.path(), |db| db.insert(key, value).unwrap());
            let index = Index::open(dir.path(), CACHE_BYTES);
            if key == keys::MARK || key == keys::LAYOUT {
                assert!(index.is_err());
            } else {
                // What is known by sids is read when it is opened.
                let Ok(index) = index else {
                    assert_eq!(key, known_key, "byte {byte}");
                    flips += 1;
                    continue;
                };
                assert!(index.call(call.id).is_err(), "byte {byte}");
                assert!(index.mark().is_err(), "what has failed is not asked again");
            }
            flips += 1;
        }
        tamper(dir.path(), |db| db.insert(key, sound).unwrap());
    }
    assert!(flips > 100, "{flips}");
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    assert_eq!(index.call(call.id).unwrap(), Some((7, call)));
}

#[test]
fn an_index_says_its_layout_and_one_that_does_not_has_the_first() {
    let data = tempfile::tempdir().unwrap();
    let generations = Generations::new(data.path(), CACHE_BYTES);
    let (number, index) = generations.begin().unwrap();
    let mark =
        CheckpointMeta { checkpoint: 1, last_seq: 7, replay_from: 8, stats: index.stats(), at: 5 };
    index.mark_and_sync(&mark).unwrap();
    drop(index);
    generations.finish(number, false).unwrap();
    let path = data.path().join(format!("index-{number}"));
    let said = tamper(&path, |db| db.remove(keys::LAYOUT).unwrap());
    assert_eq!(said.unwrap(), rows::sealed(0, &LAYOUT.to_be_bytes()));
    let unsaid = matches!(generations.open().unwrap(), OpenedGeneration::Ready(_));
    assert_eq!(unsaid, LAYOUT == 1);
    for other in [0, LAYOUT + 1, u32::MAX] {
        tamper(&path, |db| {
            db.insert(keys::LAYOUT, rows::sealed(0, &other.to_be_bytes())).unwrap();
            // However its mark looks there, its seal stays.
            db.insert(keys::MARK, rows::sealed(7, b"strange")).unwrap();
        });
        match generations.open().unwrap() {
            OpenedGeneration::Other { layout, last_seq, .. } => {
                assert_eq!((layout, last_seq), (other, 7));
            }
            _ => panic!("layout {other} was read"),
        }
    }
}
