//! Sealed quarters of an hour: what is counted once is not looked at again, and what changes is.

use super::super::count::CountsByTime;
use super::super::sealed::{Part, Parts, With};
use super::*;
use crate::domain::{Day, PartyPart, Quarter, Search, merge};
use crate::keys;

const MINUTE: u64 = 60_000;
/// Each a few minutes after the one before it, so that a quarter has three.
const CALLS: u8 = 100;
const APART: u64 = 5 * MINUTE;

fn begun() -> Timestamp {
    clock::now().minus_millis((u64::from(CALLS) + 20) * APART)
}

fn filled(dir: &Path) -> Store {
    let store = open(options(dir));
    let at = begun();
    for call in 0..CALLS {
        let at = at.plus_millis(u64::from(call) * APART);
        send(&store, id(1, call), CallStatus::Trying, at);
        send(&store, id(1, call), CallStatus::InProgress, at.plus_millis(MINUTE));
        if call % 10 != 7 {
            send(&store, id(1, call), CallStatus::Completed, at.plus_millis(7 * MINUTE));
        }
    }
    sealed(&store);
    store
}

fn sealed(store: &Store) {
    wake(store);
    while checkpoint::seal(&store.shared, clock::now(), 7, false).unwrap() {}
}

/// How many calls of a filter there are, and how many rows were looked at for it.
fn count(store: &Store, filter: Filter) -> (u64, u64) {
    let read = || store.shared.view.meter.rows_read.get();
    let before = read();
    let request = ListRequest { filter, ..everything(account(1)) };
    let count = counted(store, Counting::of_list(&request)).unwrap().count();
    (count, read() - before)
}

/// All calls, those that were answered, and the peak; and how many rows were looked at.
fn figures(store: &Store) -> (Figures, u64) {
    let read = || store.shared.view.meter.rows_read.get();
    let before = read();
    let mut counting = Aggregating::new(AggregateRequest {
        accounts: [ScopedAccount::of(account(1))].into(),
        filter: Filter::default(),
        interval: Some(crate::wire::Interval::Hour),
        zone: "Asia/Kolkata".parse().unwrap(),
        group: Vec::new(),
        top: 1,
        now: clock::now(),
    })
    .unwrap();
    while !counting.go_on(store).unwrap() {}
    (counting.finish().unwrap().total, read() - before)
}

#[test]
fn what_is_counted_once_is_not_looked_at_again_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let calls = u64::from(CALLS);
    let all = || count(&store, Filter::default());
    let completed = || count(&store, with_status(CallStatus::Completed));
    assert_eq!(all(), (calls, 0));
    assert_eq!(completed(), (calls * 9 / 10, 0));
    // Ten are up, and two others, as one begins two minutes before the last but one ends.
    let seconds = 90 * 6 * 60;
    let expected = Figures { calls, answered: calls, seconds, peak: 12 };
    assert_eq!(figures(&store), (expected, 0));
    assert_sound(&store);
    // One ends, late: its quarter alone is looked at.
    send(&store, id(1, 17), CallStatus::Completed, begun().plus_millis(100 * APART));
    let (count_of_it, rows) = completed();
    assert_eq!(count_of_it, calls * 9 / 10 + 1);
    assert!((1..=6).contains(&rows), "{rows}");
    assert_eq!(figures(&store).0.peak, 12);
    sealed(&store);
    assert_eq!(completed(), (calls * 9 / 10 + 1, 0));
    assert_sound(&store);
    // One goes, and another comes in a quarter that had its calls already.
    store.apply(&[Change::Delete(id(1, 40))], clock::now(), false).unwrap();
    assert_eq!(all().0, calls - 1);
    send(&store, id(1, 200), CallStatus::Trying, begun().plus_millis(40 * APART));
    for then in [|_: &Store| (), wake, sealed] {
        then(&store);
        assert_eq!(all().0, calls);
        assert_eq!(figures(&store).0.calls, calls);
    }
    assert_eq!(all().1, 0);
    assert_sound(&store);
    // They are kept from one start to the next, and not taken over by a new index.
    store.close().unwrap();
    let store = open(options(dir.path()));
    assert_eq!(count(&store, Filter::default()), (calls, 0));
    store.compact(&mut |_| {}).unwrap();
    assert_eq!(count(&store, Filter::default()).0, calls);
    sealed(&store);
    assert_eq!(count(&store, Filter::default()), (calls, 0));
    assert_sound(&store);
}

#[test]
fn a_call_from_before_all_others_and_one_in_a_long_pause_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let now = clock::now();
    let hours = |hours: u64| now.minus_millis(hours * HOUR_MILLIS);
    for (n, at) in [(1, hours(5000)), (2, hours(400)), (3, hours(300))] {
        send(&store, id(1, n), CallStatus::Trying, at);
        send(&store, id(1, n), CallStatus::Completed, at.plus_millis(MINUTE));
    }
    sealed(&store);
    assert_eq!(count(&store, Filter::default()), (3, 0));
    assert_eq!(figures(&store).0.peak, 1);
    for (n, at) in [(4, hours(6000)), (5, hours(2000)), (6, hours(1))] {
        send(&store, id(1, n), CallStatus::Trying, at);
        let found = u64::from(n);
        for then in [|_: &Store| (), wake, sealed] {
            then(&store);
            assert_eq!(count(&store, Filter::default()).0, found);
            assert_eq!(figures(&store).0.calls, found);
        }
        assert_eq!(count(&store, Filter::default()).1, 0);
    }
    assert_sound(&store);
}

#[test]
fn calls_of_a_quarter_that_has_more_kinds_than_can_be_kept_count_in_the_peaks_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let at = clock::now().minus_millis(50 * HOUR_MILLIS);
    for call in 0..12 {
        // All begin within a minute, and end two hours later.
        let at = at.plus_millis(u64::from(call) * 1000);
        let mut trying = event(id(1, call), CallStatus::Trying, at);
        let trunk = format!("trunk {call}");
        trying.texts[CallField::OriginatingSipTrunkName as usize] = Some(trunk.into());
        store.apply(&[Change::Event(Box::new(trying))], at, false).unwrap();
        let end = at.plus_millis(2 * HOUR_MILLIS);
        send(&store, id(1, call), CallStatus::Completed, end);
    }
    for call in 1..180 {
        let at = at.plus_millis(u64::from(call) * 16 * MINUTE);
        send(&store, id(1, call + 20), CallStatus::Trying, at);
        send(&store, id(1, call + 20), CallStatus::Completed, at.plus_millis(MINUTE));
    }
    for then in [|_: &Store| (), sealed] {
        then(&store);
        assert_eq!(count(&store, Filter::default()).0, 191);
        let found = figures(&store).0;
        assert_eq!((found.calls, found.peak), (191, 13));
    }
    // It alone is looked at for a count.
    let (_, rows) = count(&store, Filter::default());
    assert!(rows < 30, "{rows}");
    assert_sound(&store);
}

#[test]
fn of_quarters_with_many_calls_few_are_in_memory_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let begun = Quarter::of(clock::now().minus_millis(50 * HOUR_MILLIS)).start();
    for call in 0..30 {
        let quarter = begun.plus_millis(u64::from(call / 10) * Quarter::MILLIS);
        let at = quarter.plus_millis(u64::from(call % 10) * 1000);
        send(&store, id(1, call), CallStatus::Trying, at);
        send(&store, id(1, call), CallStatus::Completed, at.plus_millis(MINUTE));
    }
    sealed(&store);
    let mut parts = Parts::new(account(1), Quarter::default(), Quarter::MAX, With::Ups);
    let mut read = Vec::new();
    while let Some(part) = parts.next(&store).unwrap() {
        if let Part::Sealed(of) = part {
            read.push(of.ups.len());
            assert!(of.bytes() > 400, "{}", of.bytes());
        }
        // The other quarters are read once it is their turn.
        assert!(parts.bytes() < 400, "{}", parts.bytes());
    }
    assert_eq!(read, [10, 10, 10]);
}

/// Calls that a search finds, and how many rows were looked at for it.
fn search(store: &Store, search: Search) -> (Vec<u8>, u64) {
    let read = || store.shared.view.meter.rows_read.get();
    let before = read();
    let found = sids(store, Filter { search, ..Filter::default() });
    (found, read() - before)
}

#[test]
fn a_search_passes_over_the_calls_of_sealed_quarters_that_do_not_match() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let at = begun();
    for call in 0..CALLS {
        let at = at.plus_millis(u64::from(call) * APART);
        let mut event = event(id(1, call), CallStatus::Busy, at);
        event.texts[CallField::From as usize] = Some(format!("+1555000{call:03}").into());
        event.texts[CallField::To as usize] = Some("+49".into());
        event.texts[CallField::OriginatingSipTrunkName as usize] =
            Some(if call % 10 == 3 { "a" } else { "b" }.into());
        store.apply(&[Change::Event(Box::new(event))], clock::now(), false).unwrap();
    }
    wake(&store);
    let parts = || vec![PartyPart::parse("0042").unwrap(), PartyPart::parse("0017").unwrap()];
    let contains = || Search { number_contains: parts(), ..Search::default() };
    let trunk = || Search { trunk: vec!["a".to_owned()], ..Search::default() };
    let longer = || Search { duration_min: Some(1), ..Search::default() };
    let by_trunk = [93, 83, 73, 63, 53, 43, 33, 23, 13, 3];
    assert_eq!(search(&store, contains()).0, [42, 17]);
    sealed(&store);
    assert_eq!(search(&store, contains()), (vec![42, 17], 2));
    assert_eq!(search(&store, trunk()), (by_trunk.to_vec(), 10));
    assert_eq!(search(&store, longer()), (vec![], 0));
    // One changes, and its quarter is read.
    let mut event = event(id(1, 50), CallStatus::Busy, at.plus_millis(50 * APART));
    event.source = Source::Import;
    event.texts[CallField::From as usize] = Some("+490017".into());
    store.apply(&[Change::Delete(id(1, 17))], clock::now(), false).unwrap();
    store.apply(&[Change::Record(Arc::new(merge(None, event, at)))], clock::now(), false).unwrap();
    for then in [|_: &Store| (), wake, sealed] {
        then(&store);
        let (found, rows) = search(&store, contains());
        assert_eq!(found, [50, 42]);
        assert!(rows <= 9, "{rows}");
    }
    assert_eq!(search(&store, contains()).1, 2);
    assert_sound(&store);
}

/// How many calls each status has by the hour, with their peaks.
fn by_status(store: &Store, filter: Filter) -> (Vec<(Group, Figures)>, Vec<Bucket>) {
    let mut counting = Aggregating::new(AggregateRequest {
        accounts: [ScopedAccount::of(account(1))].into(),
        filter,
        interval: Some(crate::wire::Interval::Hour),
        zone: "Asia/Kolkata".parse().unwrap(),
        group: vec![Dimension::Status],
        top: 10,
        now: clock::now(),
    })
    .unwrap();
    while !counting.go_on(store).unwrap() {}
    let counted = counting.finish().unwrap();
    let mut buckets: Vec<Bucket> = Vec::new();
    while let Some(bucket) = counted.bucket(buckets.last().map(|bucket| bucket.end)) {
        buckets.push(bucket);
    }
    (counted.groups, buckets)
}

#[test]
fn figures_of_each_status_are_kept_with_their_peaks() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path());
    let at = |n: u8| Quarter::of(begun().plus_millis(u64::from(n) * APART));
    let times = Filter { end: Some(at(80).start()), ..Filter::default() };
    let every = Filter { from_prefix: vec![String::new()], ..times.clone() };
    let found = by_status(&store, times.clone());
    assert_eq!(found, by_status(&store, every));
    assert_eq!(found.0.len(), 2);
    assert_eq!(found.0[1].1, Figures { calls: 8, answered: 8, seconds: 0, peak: 8 });
    // From the rows alone: the times of calls of some quarters are gone.
    store.close().unwrap();
    drop(store);
    let first = (0..3).map(|n| keys::quarter(keys::UPS, account(1), at(30).plus(n)));
    let parts = first.map(|key| ([&key[..], &[0, 0]].concat(), None)).collect::<Vec<_>>();
    crate::index::tests::tamper_rows(&index_dir(dir.path()), &parts);
    let store = open(options(dir.path()));
    let read = || store.shared.view.meter.rows_read.get();
    let before = read();
    let again = by_status(&store, times);
    assert_eq!(again, found);
    assert_eq!(read(), before);
    assert_eq!(store.check(&|_| {}).unwrap().findings.len(), 1);
}

#[test]
fn a_quarter_whose_kinds_are_missing_is_looked_at_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let begun = Quarter::of(clock::now().minus_millis(50 * HOUR_MILLIS)).start();
    for call in 0..30 {
        let at = begun.plus_millis(u64::from(call) * APART);
        let mut trying = event(id(1, call), CallStatus::Trying, at);
        trying.texts[CallField::ApplicationSid as usize] = Some(format!("{}", call % 3).into());
        store.apply(&[Change::Event(Box::new(trying))], at, false).unwrap();
    }
    sealed(&store);
    let application_sid = vec!["1".to_owned()];
    let search = Search { application_sid, ..Search::default() };
    let of_one = || Filter { search: search.clone(), ..Filter::default() };
    assert_eq!(count(&store, of_one()), (10, 0));
    assert_sound(&store);
    store.close().unwrap();
    drop(store);
    let key = keys::quarter(keys::KINDS, account(1), Quarter::of(begun).plus(4));
    crate::index::tests::tamper_rows(&index_dir(dir.path()), &[(key, None)]);
    let store = open(options(dir.path()));
    let (found, rows) = count(&store, of_one());
    assert_eq!(found, 10);
    // Of its three calls one has it; the heads of the others may tell that of them.
    assert!((1..=3).contains(&rows), "{rows}");
    assert_eq!(count(&store, with_status(CallStatus::Trying)), (30, 0));
    assert_eq!(store.check(&|_| {}).unwrap().findings.len(), 1);
}

#[test]
fn a_count_of_many_days_reads_the_sums_of_whole_days_and_no_quarters_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let first = Day::of(Quarter::of(clock::now().minus_millis(9 * 24 * HOUR_MILLIS)));
    let hour = |n: u8| first.first().start().plus_millis(u64::from(n) * 2 * HOUR_MILLIS);
    for call in 0..96 {
        let status = if call % 3 == 0 { CallStatus::Busy } else { CallStatus::Completed };
        send(&store, id(1, call), CallStatus::Trying, hour(call));
        send(&store, id(1, call), status, hour(call).plus_millis(MINUTE));
        send(&store, id(2, call), CallStatus::Trying, hour(call));
    }
    sealed(&store);
    let day = |n: u32| Day::new(first.number() + n);
    let filters = || {
        let cut = |filter: Filter, start: Timestamp, end: Timestamp| Filter {
            start: Some(start),
            end: Some(end),
            ..filter
        };
        let (start, end) = (day(2).first().start(), day(5).first().start());
        let busy = || with_status(CallStatus::Busy);
        [
            (Filter::default(), 96),
            (busy(), 32),
            (cut(busy(), start, end), 12),
            // Days that are cut have their quarters counted, and quarters that are cut their calls.
            (cut(Filter::default(), start.plus_millis(1), end), 35),
            (cut(Filter::default(), start, end.plus_millis(1)), 37),
            (cut(Filter::default(), hour(13), hour(40).plus_millis(1)), 28),
            (cut(Filter::default(), start, start), 0),
        ]
    };
    let all = |store: &Store| {
        filters().map(|(filter, expected)| {
            let (found, rows) = count(store, filter.clone());
            assert_eq!(found, expected, "{filter:?}");
            rows
        })
    };
    assert_eq!(all(&store), [0, 0, 0, 0, 1, 1, 0]);
    let grouped = |store: &Store| {
        let times = Filter { end: Some(day(6).first().start()), ..Filter::default() };
        by_status(store, times).0.into_iter().map(|(_, figures)| figures.calls).collect::<Vec<_>>()
    };
    assert_eq!(grouped(&store), [48, 24]);
    assert_sound(&store);
    // The quarters of a day are gone, and it is counted all the same.
    store.close().unwrap();
    drop(store);
    let quarters = (0..Day::QUARTERS).map(|n| day(3).first().plus(n));
    let gone = quarters.map(|at| (keys::quarter(keys::QUARTER, account(1), at), None));
    crate::index::tests::tamper_rows(&index_dir(dir.path()), &gone.collect::<Vec<_>>());
    let store = open(options(dir.path()));
    // Of one that is cut its calls are looked at.
    assert_eq!(all(&store), [0, 0, 0, 0, 1, 5, 0]);
    // A call of that day changes: it counts as it is, and so once it is in the index.
    send(&store, id(1, 40), CallStatus::Busy, hour(40).plus_millis(2 * MINUTE));
    store.apply(&[Change::Delete(id(1, 37))], clock::now(), false).unwrap();
    let (busy, others) = (with_status(CallStatus::Busy), id(2, 37));
    for then in [|_: &Store| (), wake, sealed] {
        then(&store);
        assert_eq!(count(&store, Filter::default()).0, 95);
        assert_eq!(count(&store, busy.clone()).0, 32);
        assert!(store.call(others).unwrap().is_some());
    }
    assert_eq!(count(&store, Filter::default()), (95, 0));
    assert_sound(&store);
}

#[test]
fn quarters_of_a_day_that_is_cut_behind_days_without_calls_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let first = Day::of(Quarter::of(clock::now().minus_millis(9 * 24 * HOUR_MILLIS)));
    let day = |n: u32| Day::new(first.number() + n).first().start();
    for (call, at) in
        [(1, day(0)), (2, day(4).plus_millis(MINUTE)), (3, day(4).plus_millis(HOUR_MILLIS))]
    {
        send(&store, id(1, call), CallStatus::Busy, at);
    }
    for then in [|_: &Store| (), sealed] {
        then(&store);
        for (start, end, expected) in [(0, 4, 2), (1, 4, 1), (0, 3, 1), (1, 3, 0), (4, 4, 1)] {
            let end = day(end).plus_millis(HOUR_MILLIS);
            let times = Filter { start: Some(day(start)), end: Some(end), ..Filter::default() };
            assert_eq!(count(&store, times.clone()).0, expected, "{times:?}");
            let busy = Filter { statuses: vec![CallStatus::Busy], ..times };
            assert_eq!(count(&store, busy).0, expected);
        }
    }
}

#[test]
fn where_a_page_begins_is_known_by_days_and_then_by_quarters() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let begun = clock::now().minus_millis(6 * 24 * HOUR_MILLIS);
    let at = |call: u8| begun.plus_millis(u64::from(call) * 61 * MINUTE);
    for call in 0..60 {
        send(&store, id(1, call), CallStatus::Busy, at(call));
        send(&store, id(2, call), CallStatus::Busy, at(call));
    }
    sealed(&store);
    // Of one account some days are not taken as a whole.
    send(&store, id(2, 30), CallStatus::Busy, at(30).plus_millis(MINUTE));
    let accounts: Vec<_> = [1, 2].map(|n| ScopedAccount::of(account(n))).into();
    let times: Vec<_> = (0..60).flat_map(|call| [at(call), at(call)]).collect();
    for by in [CountsByTime::by_days(), CountsByTime::by_quarters()] {
        let counting = CountingAcross::of_list(&accounts, Filter::default());
        let mut counting = counting.with_times(by.clone());
        while !counting.go_on(&store).unwrap() {}
        assert_eq!(counting.count(), 120);
        for wanted in 0..120 {
            let (passed, step) = counting.by_time().unwrap().pass_over(wanted);
            let (start, end) = step.unwrap();
            let newer = times.iter().filter(|at| **at >= end).count() as u64;
            let in_step = times.iter().filter(|at| start <= **at && **at < end).count() as u64;
            assert_eq!(passed, newer, "{wanted}, {by:?}");
            assert!(passed <= wanted && wanted < passed + in_step, "{wanted}, {by:?}");
        }
    }
}

/// The sids of all calls, the newest first, and when each is listed.
type Listed = Vec<(u8, Timestamp)>;

#[test]
fn a_page_begins_where_it_should_whatever_changes_between_counting_days_and_quarters() {
    let newest = Day::of(Quarter::of(clock::now())).number() - 2;
    let day = |n: u32| Day::new(newest - n).first().start();
    // Of each day: its first instant, its last one, two in a quarter and others.
    let end = Quarter::MILLIS * u64::from(Day::QUARTERS) - 1;
    let minutes = [0, 1, 100, 101, 719, 720, 900];
    let of_day = |n: u32| {
        let times = minutes.map(|at| at * MINUTE).into_iter().chain([end]).collect::<Vec<_>>();
        let number =
            move |place: usize| u8::try_from(n).unwrap() * 10 + u8::try_from(place).unwrap();
        let calls = times.into_iter().enumerate();
        calls.map(move |(place, at)| (number(place), day(n).plus_millis(at))).collect::<Listed>()
    };
    let come = |store: &Store, (call, at): (u8, Timestamp)| {
        send(store, id(1 + call % 2, call), CallStatus::Busy, at);
    };
    let goes = |store: &Store, (call, _): (u8, Timestamp)| {
        store.apply(&[Change::Delete(id(1 + call % 2, call))], clock::now(), false).unwrap();
    };
    let ordered = |mut calls: Listed| {
        calls.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        calls
    };
    // The days of the calls that go between, which of them, and calls that come.
    let cases: [(&[u32], usize, Listed); 6] = [
        (&[], 0, vec![]),
        (&[2], 0, vec![]),
        (&[2], 4, vec![]),
        (&[0, 1, 3], 3, vec![]),
        (&[], 0, vec![(100, day(2).plus_millis(1)), (101, day(2).plus_millis(end - 1))]),
        (&[1, 2], 2, vec![(102, day(1)), (103, day(3).plus_millis(end))]),
    ];
    let times = [
        (None, None),
        (Some(day(3).plus_millis(101 * MINUTE)), Some(day(0).plus_millis(101 * MINUTE))),
    ];
    let both = cases.iter().flat_map(|case| times.map(|times| (case, times)));
    for ((days, from, coming), (start, end)) in both {
        let is_in =
            |at: Timestamp| start.is_none_or(|start| start <= at) && end.is_none_or(|end| at < end);
        let list = Filter { start, end, ..with_status(CallStatus::Busy) };
        for is_sealed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(options(dir.path()));
            let before = ordered((0..4).flat_map(of_day).collect());
            for call in &before {
                come(&store, *call);
            }
            if is_sealed {
                sealed(&store);
            }
            let going: Listed =
                days.iter().flat_map(|n| of_day(*n).into_iter().skip(*from)).collect();
            let accounts: Arc<[ScopedAccount]> =
                [1, 2].map(|n| ScopedAccount::of(account(n))).into();
            // All begin before anything changes.
            let begun = (0..=before.len() as u64).map(|wanted| {
                let mut passing = PassingOver::new(Arc::clone(&accounts), list.clone(), wanted);
                let mut done = false;
                while !done && passing.day.is_none() {
                    done = passing.go_on(&store).unwrap();
                }
                (passing, done)
            });
            let begun = begun.collect::<Vec<_>>();
            for call in &going {
                goes(&store, *call);
            }
            for call in coming {
                come(&store, *call);
            }
            let left = before.iter().filter(|call| !going.contains(call));
            let after = ordered(left.chain(coming).copied().collect());
            let within =
                |calls: Listed| calls.into_iter().filter(|(_, at)| is_in(*at)).collect::<Listed>();
            let (before, after) = (within(before), within(after));
            for (wanted, (mut passing, mut done)) in begun.into_iter().enumerate() {
                while !done {
                    done = passing.go_on(&store).unwrap();
                }
                let start = passing.finish();
                assert_eq!(start.total, before.len() as u64);
                let Some((_, at)) = before.get(wanted) else {
                    assert!(start.rest.is_none());
                    continue;
                };
                // What is newer than its day was counted as it was before.
                let end = Day::of(Quarter::of(*at)).last().end();
                let newer = before.iter().filter(|(_, at)| *at >= end);
                let expected = newer.chain(after.iter().filter(|(_, at)| *at < end));
                let expected: Vec<u8> = expected.skip(wanted).map(|(call, _)| *call).collect();
                let left = wanted - usize::try_from(start.passed).unwrap();
                assert!(!is_sealed || left < 8, "{left}");
                let filter = start.rest.unwrap();
                let mut across =
                    Across::new(Arc::clone(&accounts), filter, Order::NewestFirst, None);
                let mut found = Vec::new();
                while !across.is_done() {
                    found.extend(across.go_on(&store, 100).unwrap());
                }
                let found = found.iter().skip(left).map(|place| place.position.sid);
                let expected = expected.iter().map(|call| id(1, *call).sid);
                assert!(found.eq(expected), "{wanted} {days:?} {from} {is_sealed}");
            }
        }
    }
}

#[test]
fn groups_that_are_found_by_days_are_those_of_all_calls() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let first = Day::of(Quarter::of(clock::now())).number() - 7;
    let day = |n: u32| Day::new(first + n).first().start();
    // Of one status there are the most calls, all of one kind; of the others there are more kinds. Half of the third
    // day has none, and some are listed as a day begins.
    for n in 0..110_u8 {
        let late = if n < 54 { 0 } else { 24 * 60 };
        let at = day(0).plus_millis((u64::from(n) * 40 + late) * MINUTE);
        let (status, direction) = match n % 6 {
            0..=2 => (CallStatus::Busy, Direction::Inbound),
            3 => (CallStatus::Completed, Direction::Inbound),
            4 => (CallStatus::Completed, Direction::Outbound),
            _ => (CallStatus::Failed, Direction::Outbound),
        };
        let mut event = event(id(1 + n / 6 % 2, n), status, at);
        event.direction = direction;
        event.texts[CallField::OriginatingSipTrunkName as usize] =
            Some(if n % 5 == 0 { "a" } else { "b" }.into());
        store.apply(&[Change::Event(Box::new(event))], clock::now(), false).unwrap();
    }
    sealed(&store);
    let counted = |filter: &Filter, accounts: &[u8], group: &[Dimension], interval, top| {
        let read = || store.shared.view.meter.rows_read.get();
        let before = read();
        let mut counting = Aggregating::new(AggregateRequest {
            accounts: accounts.iter().map(|n| ScopedAccount::of(account(*n))).collect(),
            filter: filter.clone(),
            interval,
            zone: "Asia/Kolkata".parse().unwrap(),
            group: group.to_vec(),
            top,
            now: clock::now(),
        })
        .unwrap();
        while !counting.go_on(&store).unwrap() {}
        let found = counting.finish().unwrap();
        let groups: Vec<(String, Figures)> = found
            .groups
            .iter()
            .map(|(group, figures)| (format!("{:?}", group.values()), *figures))
            .collect();
        ((groups, found.other, found.total), read() - before)
    };
    let times = [
        (None, None),
        (Some(day(1)), Some(day(4))),
        (Some(day(0).plus_millis(1)), Some(day(3).plus_millis(1))),
        (Some(day(1).plus_millis(13 * HOUR_MILLIS + 1)), Some(day(4).minus_millis(5 * MINUTE))),
        (Some(day(2)), None),
        (None, Some(day(3))),
    ];
    let groups: [&[Dimension]; 4] = [
        &[Dimension::Status],
        &[Dimension::Direction],
        &[Dimension::Status, Dimension::Direction],
        &[Dimension::Trunk, Dimension::Status],
    ];
    for (start, end) in times {
        for (statuses, directions) in [
            (vec![], vec![]),
            (vec![], vec![Direction::Outbound]),
            (vec![CallStatus::Completed, CallStatus::Failed], vec![]),
        ] {
            let filter = Filter { statuses, directions, start, end, ..Filter::default() };
            // Asked like this every call is looked at.
            let every = Filter { from_prefix: vec![String::new()], ..filter.clone() };
            for group in groups {
                for (top, interval) in [(1, None), (2, Some(crate::wire::Interval::Day)), (9, None)]
                {
                    for accounts in [&[1_u8][..], &[1, 2]] {
                        let (found, _) = counted(&filter, accounts, group, interval, top);
                        let (expected, rows) = counted(&every, accounts, group, interval, top);
                        assert_eq!(found, expected, "{filter:?} {group:?} {top} {accounts:?}");
                        assert!(rows > 0);
                    }
                }
            }
        }
    }
    let by_status = counted(&Filter::default(), &[1], &[Dimension::Status], None, 1);
    assert_eq!(by_status.1, 0);
    assert_eq!(by_status.0.0[0].0, "[Some(\"busy\")]");
}
