//! Sealed days: against a plain count, whatever changes and wherever it stops.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CallStatus, Day, Direction, Quarter, Timestamp,
    merge, samples,
};
use crate::keys::{self, IndexKeys};

const CACHE_BYTES: u64 = 1 << 20;
const ACCOUNTS: [AccountSid; 2] =
    [AccountSid::from_bytes([3; 16]), AccountSid::from_bytes([4; 16])];
/// The first day that has calls, and how many days may have some.
const FIRST: u32 = 20_000;
const DAYS: u32 = 5;

/// A call: by its number, whose it is, its day and its quarter of that.
#[derive(Debug, Clone, Copy)]
struct Drawn(u8, usize, u32, u32);

fn drawn() -> impl Strategy<Value = Drawn> {
    (0..30_u8, 0..2_usize, 0..DAYS, select(vec![0, 1, 40, 95]))
        .prop_map(|(n, account, day, quarter)| Drawn(n, account, day, quarter))
}

impl Drawn {
    fn id(self) -> CallId {
        CallId { account: ACCOUNTS[self.1], sid: CallSid::from_bytes([self.0; 16]) }
    }

    fn call(self) -> Call {
        let Self(n, _, day, quarter) = self;
        let quarter = Day::new(FIRST + day).first().plus(quarter);
        let at = quarter.start().plus_millis(u64::from(n) * 7000);
        let mut event = samples::bare_event(self.id(), Some(CallStatus::Trying), at);
        event.direction = Direction::ALL[usize::from(n % 2)];
        event.texts[CallField::From as usize] = Some(format!("+1555{:03}", n % 7).into());
        event.texts[CallField::To as usize] = Some(format!("sip:{n}@example.com").into());
        let call = merge(None, event, at);
        let end = at.plus_millis(u64::from(n) * 60_000);
        let status = [CallStatus::Completed, CallStatus::Busy][usize::from(n % 3 == 0)];
        merge(Some(&call), samples::bare_event(self.id(), Some(status), end), end)
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Calls that come, or change where they are known, in one write.
    Write(Vec<Drawn>),
    Remove(Vec<Drawn>),
    /// Seals what has ended by the begin of a day, and a quarter of it, reading so many calls at a time, so many
    /// times.
    Seal(u32, u32, usize, usize),
    Open,
    /// A stop has left the parties of a day without its row, all or some of them; where it is all of them, also what
    /// stands beside the rows of its quarters.
    Torn(u32, usize),
    /// A write stops as it takes away what is kept, after so many keys.
    Stop(Drawn, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let seal = (0..=DAYS, select(vec![0, 1, 41]), select(vec![1, 3, 1000]), 1..30_usize);
    prop_oneof![
        4 => vec(drawn(), 1..6).prop_map(Step::Write),
        1 => vec(drawn(), 1..6).prop_map(Step::Remove),
        6 => seal.prop_map(|(day, quarter, calls, times)| Step::Seal(day, quarter, calls, times)),
        1 => Just(Step::Open),
        1 => (0..DAYS, 0..3_usize).prop_map(|(day, parts)| Step::Torn(day, parts)),
        1 => (drawn(), 0..8_usize).prop_map(|(drawn, keys)| Step::Stop(drawn, keys)),
    ]
}

/// An index, and the calls that it has.
struct Bench {
    dir: tempfile::TempDir,
    index: Option<Index>,
    calls: BTreeMap<CallId, (u64, Call)>,
    seq: u64,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let index = Some(Index::open(dir.path(), CACHE_BYTES).unwrap());
        Self { dir, index, calls: BTreeMap::new(), seq: 0 }
    }

    fn index(&self) -> &Index {
        self.index.as_ref().unwrap()
    }

    fn open(&mut self) {
        self.index().sync().unwrap();
        self.index = None;
        self.index = Some(Index::open(self.dir.path(), CACHE_BYTES).unwrap());
    }

    /// Each once; those that are there stay where they are listed.
    fn new_versions(&mut self, drawn: &[Drawn]) -> BTreeMap<CallId, (u64, Call)> {
        let mut new = BTreeMap::new();
        for drawn in drawn {
            self.seq += 1;
            let mut call = drawn.call();
            if let Some((_, known)) = self.calls.get(&drawn.id()) {
                call.listed_at = known.listed_at;
            }
            new.insert(drawn.id(), (self.seq, call));
        }
        new
    }

    fn old(&self, id: CallId) -> Option<(Stored, Option<IndexKeys>)> {
        let (seq, call) = self.calls.get(&id)?;
        let stored = Stored::Call { seq: *seq, listed_at: call.listed_at };
        Some((stored, Some(IndexKeys::of(call))))
    }

    fn write(&mut self, drawn: &[Drawn]) {
        let new = self.new_versions(drawn);
        let op = |(id, (seq, call)): (&CallId, &'_ (u64, Call))| {
            (*id, self.old(*id), *seq, call.clone())
        };
        let ops: Vec<_> = new.iter().map(op).collect();
        let ops = ops.iter().map(|(id, old, seq, call)| Op {
            id: *id,
            old: old.clone(),
            new: Version::Call(*seq, call),
        });
        self.index().write(&ops.collect::<Vec<_>>(), &[]).unwrap();
        self.calls.extend(new);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write(drawn) => self.write(drawn),
            Step::Remove(drawn) => {
                let ids: std::collections::BTreeSet<_> = drawn.iter().map(|d| d.id()).collect();
                for id in ids {
                    let Some(old) = self.old(id) else { continue };
                    self.seq += 1;
                    let new = Version::Tombstone(self.seq, Timestamp::MAX);
                    self.index().write(&[Op { id, old: Some(old), new }], &[]).unwrap();
                    self.calls.remove(&id);
                }
            }
            Step::Seal(day, quarter, calls, times) => {
                let until = Day::new(FIRST + day).first().plus(*quarter).start();
                for _ in 0..*times {
                    if !self.index().seal(until, *calls, false).unwrap() {
                        break;
                    }
                }
            }
            Step::Open => self.open(),
            Step::Torn(day, parts) => {
                let day = Day::new(FIRST + day);
                let keys = self.parties().into_iter().filter(|(of, _)| *of == day);
                let gone = keys.map(|(_, key)| key).skip(*parts);
                let rows = ACCOUNTS.map(|account| keys::day(keys::DAY, account, day));
                let mut gone: Vec<_> = rows.into_iter().chain(gone).collect();
                if *parts == 2 {
                    let in_day = |key: &Vec<u8>| {
                        key[0] == keys::PEAKS
                            || keys::leading_quarter_in(key).map(Day::of) == Some(day)
                    };
                    gone.extend(
                        self.keys(&[keys::QUARTER, keys::PEAKS]).into_iter().filter(in_day),
                    );
                }
                let gone = gone.into_iter().map(|key| (key, None)).collect();
                self.index().entries.put(gone, || ()).unwrap();
                self.open();
            }
            Step::Stop(drawn, count) => {
                let new = self.new_versions(&[*drawn]);
                let (id, (seq, call)) = new.first_key_value().unwrap();
                let op = Op { id: *id, old: self.old(*id), new: Version::Call(*seq, call) };
                let keys = self.index().unsealed_keys(&[op]).unwrap().concat();
                let gone = keys.into_iter().take(*count).map(|key| (key, None)).collect();
                self.index().entries.put(gone, || ()).unwrap();
                // What is in the journal is written again then.
                self.open();
                self.check();
                self.write(&[*drawn]);
            }
        }
    }

    /// Whether all that is kept is what a plain count says. Returns the days that are sealed.
    fn check(&self) -> [Vec<Day>; 2] {
        ACCOUNTS.map(|account| {
            assert_eq!(self.index().wrong_quarter(account).unwrap(), None);
            assert_eq!(self.index().wrong_day(account).unwrap(), None);
            let rows = self.index().days(account, Day::default(), Day::MAX, 1000).unwrap();
            for row in &rows {
                let of_day = |first: Day, last: Day| {
                    self.calls.values().map(|(_, call)| call).filter(move |call| {
                        let day = Day::of(Quarter::of(call.listed_at));
                        call.id.account == account && first <= day && day <= last
                    })
                };
                let own = || of_day(row.day, row.day);
                let answered = own().filter(|call| call.answered()).count();
                let seconds: u64 = own().filter_map(Call::duration).sum();
                let sums = row.sums();
                assert_eq!(
                    (sums.calls, sums.answered, sums.seconds),
                    (own().count() as u64, answered as u64, seconds)
                );
                assert_eq!(of_day(row.since(), row.day).count(), own().count());
                for kind in row.bare_kinds() {
                    let (kind, sums) = kind.unwrap();
                    let same = own().filter(|call| {
                        call.progress.status == kind.status
                            && call.direction.value == kind.direction
                            && call.answered() == kind.answered
                    });
                    assert_eq!(sums.calls, same.count() as u64);
                }
            }
            rows.iter().map(|row| row.day).collect()
        })
    }

    /// The keys of all parties that are kept, and of which day they are.
    fn parties(&self) -> Vec<(Day, Vec<u8>)> {
        let bounds = cursor::beginning(&[keys::PARTIES]);
        let entries = self.index().entries.cursor(bounds, cursor::Direction::Up);
        let key = |entry: Result<_, IndexError>| {
            let key = cursor::Entry::key(&entry.unwrap()).to_vec();
            (keys::day_in(&key[..key.len() - 4]).unwrap(), key)
        };
        entries.map(key).collect()
    }

    /// All keys of these kinds.
    fn keys(&self, kinds: &[u8]) -> Vec<Vec<u8>> {
        let of = |kind: &u8| {
            let bounds = cursor::beginning(&[*kind]);
            let entries = self.index().entries.cursor(bounds, cursor::Direction::Up);
            entries.map(|entry| entry.unwrap().key().to_vec()).collect::<Vec<_>>()
        };
        kinds.iter().flat_map(of).collect()
    }

    /// The days of each account that have calls.
    fn with_calls(&self) -> [Vec<Day>; 2] {
        ACCOUNTS.map(|account| {
            let own = self.calls.values().filter(|(_, call)| call.id.account == account);
            let mut days: Vec<_> =
                own.map(|(_, call)| Day::of(Quarter::of(call.listed_at))).collect();
            days.sort_unstable();
            days.dedup();
            days
        })
    }
}

fn everything(bench: &mut Bench) {
    bench.take(&Step::Seal(DAYS, 0, 3, 1000));
    assert_eq!(bench.check(), bench.with_calls());
    // Of no day that is not sealed is there a number.
    let days = bench.with_calls().concat();
    assert!(bench.parties().iter().all(|(day, _)| days.contains(day)));
    let rows = bench.keys(&[keys::QUARTER]);
    for key in bench.keys(&[keys::KINDS, keys::UPS, keys::HEADS]) {
        assert!(rows.iter().any(|row| row[1..] == key[1..row.len()]), "{key:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_of_days_is_what_a_plain_count_says_whatever_changes(
        steps in vec(step(), 1..25),
    ) {
        let mut bench = Bench::new();
        for step in &steps {
            bench.take(step);
            bench.check();
        }
        everything(&mut bench);
        bench.open();
        everything(&mut bench);
        for Drawn(n, account, ..) in (0..60).map(|n| Drawn(n % 30, usize::from(n / 30), 0, 0)) {
            bench.take(&Step::Remove(vec![Drawn(n, account, 0, 0)]));
        }
        prop_assert!(bench.calls.is_empty());
        prop_assert_eq!(bench.parties(), []);
        prop_assert_eq!(bench.keys(b"eguq"), Vec::<Vec<u8>>::new());
    }
}

/// Calls of four days, the second of which has none.
fn filled() -> Bench {
    let mut bench = Bench::new();
    let calls = [(0, 0), (1, 0), (2, 0), (3, 2), (4, 2), (5, 3)];
    let calls = calls.map(|(n, day)| Drawn(n, 0, day, u32::from(n) * 15));
    bench.write(&calls);
    bench.write(&calls.map(|Drawn(n, _, day, quarter)| Drawn(n + 10, 1, day, quarter)));
    everything(&mut bench);
    bench
}

#[test]
fn a_day_is_not_sealed_before_it_has_ended_nor_while_a_quarter_of_it_is_open() {
    let mut bench = Bench::new();
    let at = |n: u8, quarter: u32| Drawn(n, 0, 0, quarter);
    bench.write(&[at(1, 3), at(2, 40)]);
    bench.take(&Step::Seal(0, 95, 1000, 100));
    assert_eq!(bench.check()[0], []);
    bench.take(&Step::Seal(1, 0, 1000, 100));
    assert_eq!(bench.check()[0], [Day::new(FIRST)]);
    // A quarter that has too many kinds to be sealed.
    let many: Vec<_> = (0..12).map(|n| at(3 + n, 60)).collect();
    bench.write(&many);
    for Drawn(n, ..) in many {
        let mut call = at(n, 60).call();
        let trunk = CallField::OriginatingSipTrunkName as usize;
        let origin = call.direction.origin;
        call.texts[trunk] = Some(crate::domain::Field { value: format!("{n}").into(), origin });
        let op = Op { id: call.id, old: bench.old(call.id), new: Version::Call(900, &call) };
        bench.index().write(&[op], &[]).unwrap();
        bench.calls.insert(call.id, (900, call));
    }
    bench.take(&Step::Seal(1, 0, 1000, 100));
    assert_eq!(bench.check()[0], []);
}

#[test]
fn a_day_that_was_damaged_is_found() {
    let bench = filled();
    let account = ACCOUNTS[0];
    let [first, second, _]: [DayRow; 3] =
        bench.index().days(account, Day::default(), Day::MAX, 9).unwrap().try_into().unwrap();
    assert_eq!(second.since(), Day::new(FIRST + 1));
    let key = |row: &DayRow| keys::day(keys::DAY, account, row.day);
    let value = |row: &DayRow| Some(row.value().to_vec());
    for (row, wrong) in [(&first, value(&second)), (&second, value(&first))] {
        bench.index().entries.put(vec![(key(row), wrong)], || ()).unwrap();
        assert_eq!(bench.index().wrong_day(account).unwrap(), Some(row.day));
        assert_eq!(bench.index().wrong_day(ACCOUNTS[1]).unwrap(), None);
        bench.index().entries.put(vec![(key(row), value(row))], || ()).unwrap();
        assert_eq!(bench.index().wrong_day(account).unwrap(), None);
    }
    // Its parties are gone, or others.
    let parties = bench.parties();
    let of = |n: usize| {
        parties.iter().filter(move |(day, key)| {
            *day == [first.day, second.day][n] && key[1..17] == account.bytes()
        })
    };
    let first_key = of(0).next().unwrap().1.clone();
    let other = bench.index().entries.get(&of(1).next().unwrap().1).unwrap();
    let right = bench.index().entries.get(&first_key).unwrap();
    for wrong in [None, other] {
        let put = |value: &Option<bytes::Bytes>| {
            let value = value.as_ref().map(|value| value.to_vec());
            bench.index().entries.put(vec![(first_key.clone(), value)], || ()).unwrap();
        };
        put(&wrong);
        assert_eq!(bench.index().wrong_day(account).unwrap(), Some(first.day));
        put(&right);
        assert_eq!(bench.index().wrong_day(account).unwrap(), None);
    }
    // One that says that there were no calls where there are some.
    let row = bench.index().counted_since(account, Day::default(), second.day).unwrap();
    bench.index().entries.put(vec![(key(&second), Some(row))], || ()).unwrap();
    assert_eq!(bench.index().wrong_day(account).unwrap(), Some(second.day));
}

#[test]
fn a_call_that_comes_while_its_day_is_being_counted_is_counted() {
    let at = |n: u8, quarter: u32| Drawn(n, 0, 1, quarter);
    for (changed, before) in [(at(9, 0), 1), (Drawn(9, 0, 0, 40), 0), (Drawn(9, 1, 1, 0), 1)] {
        let mut bench = Bench::new();
        bench.write(&[at(0, 0), at(1, 1), at(2, 40), at(3, 95)]);
        while bench.index().sealing.lock().day.is_none() {
            bench.take(&Step::Seal(DAYS, 0, 1, 1));
        }
        bench.write(&[changed]);
        bench.take(&Step::Seal(DAYS, 0, 1, 1000));
        assert_eq!(bench.check(), bench.with_calls());
        let row = bench.index().days(ACCOUNTS[0], Day::new(FIRST + 1), Day::MAX, 1).unwrap();
        assert_eq!(row[0].since(), Day::new(if before == 1 { 0 } else { FIRST + 1 }));
    }
}

#[test]
fn numbers_that_a_stop_has_left_without_their_day_go_with_its_calls_and_before_it_is_sealed() {
    let day = Day::new(FIRST);
    let of_day = |bench: &Bench| bench.parties().iter().filter(|(of, _)| *of == day).count();
    for parts in [1, 9] {
        let mut bench = filled();
        bench.take(&Step::Torn(0, parts));
        assert!(of_day(&bench) > 0);
        for n in [0, 1, 2, 10, 11, 12] {
            bench.take(&Step::Remove(vec![Drawn(n, usize::from(n >= 10), 0, 0)]));
        }
        assert_eq!(of_day(&bench), 0);
        let mut bench = filled();
        bench.take(&Step::Torn(0, parts));
        // Nothing of the day itself can be sealed yet.
        bench.take(&Step::Seal(0, 0, 1000, 100));
        assert_eq!(of_day(&bench), 0);
        everything(&mut bench);
    }
}
