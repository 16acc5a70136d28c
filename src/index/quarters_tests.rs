//! Sealed quarters of an hour: what a stop leaves, and what is not kept.

use super::cursor::{Direction, beginning};
use super::quarters::PARTS;
use super::tree::BATCH_KEYS;
use super::*;
use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CallStatus, Day, Field, Quarter, Timestamp,
    merge, samples,
};
use crate::keys::{self, IndexKeys};

const CACHE_BYTES: u64 = 1 << 20;
const MINUTE: u64 = 60_000;
const ACCOUNT: AccountSid = AccountSid::from_bytes([3; 16]);
/// The first quarter that has calls, and the one that has many.
const FIRST: u32 = 1_900_000;
const BUSY: u32 = FIRST + 2;

/// The end of the last quarter that is sealed.
fn limit() -> Timestamp {
    Quarter::new(FIRST + 12).end()
}

/// A call that is up for an hour.
fn call(n: u8, quarter: u32) -> Call {
    let id = CallId { account: ACCOUNT, sid: CallSid::from_bytes([n; 16]) };
    let at = Quarter::new(quarter).start().plus_millis(u64::from(n) * 1000);
    let begun = merge(None, samples::bare_event(id, Some(CallStatus::Trying), at), at);
    let end = at.plus_millis(60 * MINUTE);
    merge(Some(&begun), samples::bare_event(id, Some(CallStatus::Completed), end), end)
}

/// One in each quarter, and eleven others in one of them.
fn calls() -> Vec<Call> {
    let others = (13..24).map(|n| call(n, BUSY));
    (0..13).map(|n| call(n, FIRST + u32::from(n))).chain(others).collect()
}

fn with_trunk(call: Call, trunk: &str) -> Call {
    let origin = call.direction.origin;
    let mut call = call;
    call.texts[CallField::OriginatingSipTrunkName as usize] =
        Some(Field { value: trunk.into(), origin });
    call
}

fn write(index: &Index, calls: &[Call]) {
    let mut ops = Vec::new();
    for call in calls {
        ops.push(Op { id: call.id, old: None, new: Version::Call(1, call) });
    }
    index.write(&ops, &[]).unwrap();
}

fn is_gone(call: &Call) -> Op<'_> {
    let stored = Stored::Call { seq: 1, listed_at: call.listed_at };
    let new = Version::Tombstone(2, call.listed_at);
    Op { id: call.id, old: Some((stored, Some(IndexKeys::of(call)))), new }
}

fn seal(index: &Index) {
    while index.seal(limit(), 7, false).unwrap() {}
}

fn sealed(index: &Index) -> Vec<u32> {
    let rows = index.quarters(ACCOUNT, Quarter::default(), Quarter::MAX, 1000, usize::MAX).unwrap();
    rows.iter().map(|row| row.quarter.number()).collect()
}

fn peaks(index: &Index) -> Vec<PeakRow> {
    index.peaks(ACCOUNT, Quarter::default(), Quarter::MAX, 1000).unwrap()
}

fn open(dir: &tempfile::TempDir) -> Index {
    Index::open(dir.path(), CACHE_BYTES).unwrap()
}

/// An index with these calls whose quarters are sealed.
fn filled(calls: &[Call]) -> (tempfile::TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    write(&index, calls);
    seal(&index);
    (dir, index)
}

#[test]
fn wherever_unsealing_stops_what_is_left_is_right() {
    let calls = calls();
    let ops = || calls[14..].iter().map(is_gone).collect::<Vec<_>>();
    let (_dir, index) = filled(&calls);
    let known = peaks(&index).len();
    assert!(known > 4, "{known}");
    let keys = index.unsealed_keys(&ops()).unwrap().concat();
    assert!(keys.len() > known);
    for count in 0..=keys.len() {
        for begins in [false, true] {
            let (dir, index) = filled(&calls);
            let gone = keys[..count].iter().map(|key| (key.clone(), None)).collect();
            index.entries.put(gone, || ()).unwrap();
            index.sync().unwrap();
            drop(index);
            let index = open(&dir);
            if begins {
                // It begins to seal, and has not come far.
                index.seal(limit(), 1, false).unwrap();
            }
            index.write(&ops(), &[]).unwrap();
            assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None, "{count} {begins}");
            seal(&index);
            assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None, "{count} {begins}");
            assert_eq!(sealed(&index).len(), 13, "{count} {begins}");
            assert_eq!(peaks(&index).len(), known, "{count} {begins}");
        }
    }
}

/// The keys that stand beside a row of a quarter or a day, without it.
fn strays(index: &Index) -> Vec<Vec<u8>> {
    let keys = |kind: u8| {
        let bounds = beginning(&[kind]);
        let entries = index.entries.cursor(bounds, Direction::Up);
        entries.map(|entry| entry.unwrap().key().to_vec()).collect::<Vec<_>>()
    };
    let mut strays = Vec::new();
    for (row, beside) in [(keys::QUARTER, &PARTS[..]), (keys::DAY, &[keys::PARTIES])] {
        let rows = keys(row);
        let all = beside.iter().flat_map(|kind| keys(*kind));
        strays.extend(all.filter(|key| !rows.iter().any(|row| row[1..] == key[1..row.len()])));
    }
    strays
}

/// The quarters and the day of these calls, sealed, one of which has very many.
fn busy_day() -> (Vec<Call>, impl Fn() -> (tempfile::TempDir, Index)) {
    let calls: Vec<Call> = calls().into_iter().chain((24..250).map(|n| call(n, BUSY))).collect();
    let of = calls.clone();
    (calls, move || {
        let (dir, index) = filled(&of);
        while index.seal(Quarter::new(FIRST + 200).start(), 1000, false).unwrap() {}
        assert_eq!(index.days(ACCOUNT, Day::default(), Day::MAX, 9).unwrap().len(), 1);
        assert_eq!(strays(&index), Vec::<Vec<u8>>::new());
        (dir, index)
    })
}

#[test]
fn wherever_unsealing_stops_nothing_is_left_beside_no_row() {
    let (calls, filled) = busy_day();
    let ops = || calls.iter().map(is_gone).collect::<Vec<_>>();
    let batches = filled().1.unsealed_keys(&ops()).unwrap();
    for count in 0..=batches.len() {
        for known in [false, true] {
            let (dir, mut index) = filled();
            if !known {
                index.sync().unwrap();
                drop(index);
                index = open(&dir);
            }
            assert_eq!(index.unsealed_keys(&ops()).unwrap(), batches);
            for batch in &batches[..count] {
                let gone = batch.iter().map(|key| (key.clone(), None)).collect();
                index.entries.put(gone, || ()).unwrap();
            }
            assert_eq!(strays(&index), Vec::<Vec<u8>>::new(), "{count} of {}", batches.len());
        }
    }
    // One quarter has more keys than a batch should have; all others stay small.
    let (large, small): (Vec<_>, Vec<_>) =
        batches.iter().map(Vec::len).partition(|keys| *keys > BATCH_KEYS);
    assert!(large.len() == 1 && small.len() < 8, "{large:?} {small:?}");
}

#[test]
fn what_sealing_that_stops_has_left_goes_with_its_calls_and_before_the_account_is_sealed() {
    let (calls, filled) = busy_day();
    let in_busy = |call: &&Call| Quarter::of(call.listed_at) == Quarter::new(BUSY);
    // The parts of one quarter were written or those of all, and no rows; the last parts may be missing.
    for all in [false, true] {
        for missing in [0, 1, 40] {
            let torn = || {
                let (dir, index) = filled();
                let of_busy = keys::quarter(keys::QUARTER, ACCOUNT, Quarter::new(BUSY));
                let kinds = [keys::QUARTER, keys::PEAKS, keys::DAY, keys::PARTIES];
                let mut gone: Vec<Vec<u8>> = Vec::new();
                for kind in kinds {
                    let bounds = beginning(&[kind]);
                    let rows = index.entries.cursor(bounds, Direction::Up);
                    let rows = rows.map(|row| row.unwrap().key().to_vec());
                    gone.extend(rows.filter(|key| all || kind != keys::QUARTER || *key == of_busy));
                }
                let heads = keys::quarter(keys::HEADS, ACCOUNT, Quarter::new(BUSY));
                let bounds = beginning(&heads);
                let parts = index.entries.cursor(bounds, Direction::Down);
                gone.extend(parts.take(missing).map(|part| part.unwrap().key().to_vec()));
                let gone = gone.into_iter().map(|key| (key, None)).collect();
                index.entries.put(gone, || ()).unwrap();
                index.sync().unwrap();
                drop(index);
                let index = open(&dir);
                assert!(strays(&index).len() > 10);
                (dir, index)
            };
            // All of its calls go, one write after the other.
            let (_dir, index) = torn();
            for call in calls.iter().filter(|call| all || in_busy(call)) {
                index.write(&[is_gone(call)], &[]).unwrap();
            }
            assert_eq!(strays(&index), Vec::<Vec<u8>>::new(), "{all} {missing}");
            // They go at once.
            let (_dir, index) = torn();
            let ops: Vec<_> =
                calls.iter().filter(|call| all || in_busy(call)).map(is_gone).collect();
            index.write(&ops, &[]).unwrap();
            assert_eq!(strays(&index), Vec::<Vec<u8>>::new(), "{all} {missing}");
            // The account is sealed where nothing of these quarters has ended yet.
            let (_dir, index) = torn();
            while index.seal(Quarter::new(FIRST).start(), 1000, false).unwrap() {}
            assert_eq!(strays(&index), Vec::<Vec<u8>>::new(), "{all} {missing}");
            // Everything is sealed again.
            let (_dir, index) = torn();
            while index.seal(Quarter::new(FIRST + 200).start(), 1000, false).unwrap() {}
            assert_eq!(strays(&index), Vec::<Vec<u8>>::new(), "{all} {missing}");
            assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
            assert_eq!(index.wrong_day(ACCOUNT).unwrap(), None);
            assert_eq!(sealed(&index).len(), 13);
        }
    }
}

#[test]
fn a_quarter_with_more_than_can_be_kept_is_not_sealed_and_no_peaks_are_reckoned_without_it() {
    let many = |kinds: u8, trunk: &dyn Fn(u8) -> String| {
        let mut calls: Vec<Call> = (0..12).map(|n| call(n, FIRST + u32::from(n))).collect();
        calls.extend((0..kinds).map(|n| with_trunk(call(30 + n, BUSY), &trunk(n))));
        filled(&calls)
    };
    let all: Vec<u32> = (FIRST..FIRST + 12).collect();
    let others: Vec<u32> = all.iter().copied().filter(|quarter| *quarter != BUSY).collect();
    let name = |n: u8| format!("trunk {n}");
    assert_eq!(sealed(&many(7, &name).1), all);
    let (_dir, index) = many(8, &name);
    assert_eq!(sealed(&index), others);
    // A call of it may be up in any of the others from two quarters before it on.
    assert_eq!(peaks(&index), []);
    assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
    // It is not tried again with each call of it that changes.
    let gone = call(30, BUSY);
    index.write(&[is_gone(&with_trunk(gone, &name(0)))], &[]).unwrap();
    seal(&index);
    assert_eq!(sealed(&index), others);
    // Names that are long are more than can be kept, too.
    let long = |n: u8| format!("{n}{}", "x".repeat(20_000));
    assert_eq!(sealed(&many(6, &long).1), all);
    assert_eq!(sealed(&many(7, &long).1), others);
}

#[test]
fn what_changed_a_moment_ago_rests_where_there_is_more_to_do() {
    let calls = calls();
    let (_dir, index) = filled(&calls);
    let all = sealed(&index);
    assert!(all.contains(&BUSY));
    let others: Vec<u32> = all.iter().copied().filter(|quarter| *quarter != BUSY).collect();
    index.write(&[is_gone(&calls[13])], &[]).unwrap();
    let seal = |later: u64, busy| {
        while index.seal(limit().plus_millis(later), 7, busy).unwrap() {}
        sealed(&index)
    };
    assert_eq!(seal(MINUTE, true), others);
    assert_eq!(seal(6 * MINUTE, true), all);
    index.write(&[is_gone(&calls[14])], &[]).unwrap();
    assert_eq!(seal(6 * MINUTE, true), others);
    assert_eq!(seal(6 * MINUTE, false), all);
}

#[test]
fn what_was_counted_does_not_wait_for_what_rests() {
    let calls = calls();
    let dir = tempfile::tempdir().unwrap();
    let index = open(&dir);
    write(&index, &calls);
    // The first two are counted, and more has begun that changes.
    for _ in 0..3 {
        assert!(index.seal(limit(), 1, true).unwrap());
    }
    assert!(sealed(&index).is_empty());
    index.write(&[is_gone(&calls[14])], &[]).unwrap();
    while index.seal(limit(), 7, true).unwrap() {}
    assert_eq!(sealed(&index), [FIRST, FIRST + 1]);
    assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
}

#[test]
fn a_write_reads_no_more_of_an_account_than_it_changes() {
    let calls = calls();
    let (dir, index) = filled(&calls);
    index.sync().unwrap();
    drop(index);
    let index = open(&dir);
    index.write(&[is_gone(&calls[13])], &[]).unwrap();
    assert!(index.sealing.lock().accounts.is_empty());
    assert!(!sealed(&index).contains(&BUSY));
    seal(&index);
    assert!(sealed(&index).contains(&BUSY));
    assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
}

#[test]
fn what_is_counted_is_packed_like_everything_else() {
    let calls: Vec<Call> = (0..60).map(|n| call(n, FIRST - 50 + u32::from(n))).collect();
    let (_dir, index) = filled(&calls);
    let before = (sealed(&index), peaks(&index));
    assert!(index.is_untidy());
    while index.is_untidy() {
        index.tidy().unwrap();
    }
    assert!(index.entries.recent() < 100, "{}", index.entries.recent());
    assert_eq!((sealed(&index), peaks(&index)), before);
}

#[test]
fn a_quarter_whose_calls_have_all_gone_is_no_reason_to_forget_the_peaks_of_a_day() {
    let calls = calls();
    // One comes there again, whatever is known of it by then.
    for begins in [0, 1, 7] {
        let (dir, index) = filled(&calls);
        let known = peaks(&index).len();
        for call in &calls[..2] {
            index.write(&[is_gone(call)], &[]).unwrap();
            seal(&index);
        }
        assert_eq!(peaks(&index).len(), known - 2);
        assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
        index.sync().unwrap();
        drop(index);
        let index = open(&dir);
        if begins > 0 {
            index.seal(limit(), begins, false).unwrap();
        }
        write(&index, &[call(100, FIRST + 1)]);
        assert_eq!(peaks(&index), [], "{begins}");
        seal(&index);
        assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None, "{begins}");
        assert_eq!(peaks(&index).len(), known - 1, "{begins}");
    }
}
