//! Searching by heads: against every call, with some quarters sealed and some not.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::cursor::{Direction as Going, beginning};
use super::*;
use crate::codec::{Heads, HeadsOfPart};
use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CallStatus, Day, Direction, Filter, HeadFilter,
    Order, PartyPart, Position, Quarter, Recent, Search, SipStatuses, Timestamp, Typed, merge,
    samples, sid_mark,
};
use crate::keys::{self, IndexKeys, PositionSpan};

const CACHE_BYTES: u64 = 1 << 20;
const ACCOUNT: AccountSid = AccountSid::from_bytes([3; 16]);
const OTHER: AccountSid = AccountSid::from_bytes([4; 16]);
const FIRST: u32 = 1_900_000;
/// Calls are listed in so many quarters, two or three of each day.
const QUARTERS: u32 = 9;
const APART: u32 = 40;

fn quarter(n: u32) -> Quarter {
    Quarter::new(FIRST + n * APART)
}

const PARTIES: [&str; 11] = [
    "",
    "+15551234",
    "0015551234",
    "15559",
    "sip:+1555%31234@example.com;user=phone",
    "\"B <x>\" <sip:Bob.Smith@example.com>",
    "bobsmith",
    "１５５５",
    "+",
    "++1\u{1f}555",
    "01010101-0101-0101-0101-010101010101",
];

/// Sids of which many have the same mark.
static SIDS: LazyLock<Vec<CallSid>> = LazyLock::new(|| {
    let sids = (1_u128..).map(|n| CallSid::from_bytes(n.to_be_bytes()));
    sids.filter(|sid| matches!(sid_mark(*sid), [0, 0..=3])).take(64).collect()
});

#[derive(Debug, Clone)]
struct Drawn {
    quarter: u32,
    /// Two calls of an account may share a moment.
    moment: u64,
    ended: Option<CallStatus>,
    direction: Direction,
    sip_status: Option<u16>,
    duration: Option<u32>,
    stale: bool,
    from: &'static str,
    to: &'static str,
    trunk: Option<&'static str>,
    cdr_trunk: Option<&'static str>,
    application: Option<&'static str>,
    termination: Option<&'static str>,
    gone: bool,
    account: AccountSid,
}

prop_compose! {
    fn drawn()(
        quarter in prop_oneof![Just(2_u32), 0..QUARTERS],
        moment in 0..3_u64,
        ended in option::weighted(0.9, select(vec![CallStatus::Completed, CallStatus::Busy, CallStatus::Failed])),
        direction in select(Direction::ALL.to_vec()),
        sip_status in option::of(select(vec![200, 486, 487, 603])),
        duration in option::of(prop_oneof![0..4_u32, Just(u32::MAX)]),
        stale in prop::bool::weighted(0.1),
        parties in (select(PARTIES.to_vec()), select(PARTIES.to_vec())),
        trunks in (option::of(select(vec!["", "a", "b"])), option::weighted(0.1, select(vec!["a", "c"]))),
        application in option::of(select(vec!["", "x", "y"])),
        termination in option::of(select(vec!["\"caller\"", "\"callee\"", "16"])),
        gone in prop::bool::weighted(0.1),
        account in select(vec![ACCOUNT, ACCOUNT, ACCOUNT, OTHER]),
    ) -> Drawn {
        Drawn {
            quarter, moment, ended, direction, sip_status, duration, stale,
            from: parties.0, to: parties.1, trunk: trunks.0, cdr_trunk: trunks.1,
            application, termination, gone, account,
        }
    }
}

impl Drawn {
    fn call(&self, n: u8) -> Call {
        let id = CallId { account: self.account, sid: SIDS[usize::from(n)] };
        let at = quarter(self.quarter).start().plus_millis(self.moment * 299_000);
        let mut event = samples::bare_event(id, Some(CallStatus::Trying), at);
        event.direction = self.direction;
        let text = |text: &str| Some(text.into());
        event.texts[CallField::From as usize] = text(self.from);
        event.texts[CallField::To as usize] = text(self.to);
        event.texts[CallField::OriginatingSipTrunkName as usize] = self.trunk.and_then(text);
        event.texts[CallField::ApplicationSid as usize] = self.application.and_then(text);
        let json = |text: &str| format!("\"{text}\"").into();
        let by = self.termination.map(|by| ("call_termination_by".into(), by.into()));
        event.extras.extend(by);
        event.extras.extend(self.cdr_trunk.map(|trunk| ("trunk".into(), json(trunk))));
        let mut call = merge(None, event, at);
        if let Some(status) = self.ended {
            let end = at.plus_millis(5000);
            let mut event = samples::bare_event(id, Some(status), end);
            (event.sip_status, event.duration) = (self.sip_status, self.duration);
            call = merge(Some(&call), event, end);
        }
        Call { stale: self.stale, ..call }
    }
}

fn part(text: &str) -> PartyPart {
    PartyPart::short(text).unwrap()
}

/// At most a few of the parts, each of which few calls have.
fn filter() -> impl Strategy<Value = Filter> {
    let parts = || {
        let parts = ["5551", "1555", "smith", "b", "9", "7777777"];
        option::weighted(0.15, subsequence(parts.to_vec(), 1..3))
            .prop_map(|parts| parts.unwrap_or_default().into_iter().map(part).collect::<Vec<_>>())
    };
    let texts = |weight: f64, texts: &[&'static str]| {
        option::weighted(weight, subsequence(texts.to_vec(), 1..2))
            .prop_map(|texts| texts.unwrap_or_default().into_iter().map(str::to_owned).collect())
    };
    let parties = (
        texts(0.1, &PARTIES),
        texts(0.1, &["+1", "sip:", "00", "", "++"]),
        texts(0.1, &["+1555", "bob", "1"]),
        texts(0.1, &PARTIES),
    );
    let words =
        (texts(0.1, &["a", "c", ""]), texts(0.1, &["x", "z"]), texts(0.1, &["caller", "16"]));
    let few = (
        texts(0.1, &["486", "4xx", "2xx"]),
        option::weighted(0.1, any::<bool>()),
        option::weighted(0.1, select(vec![0, 1, 2, u64::from(u32::MAX), u64::MAX])),
        option::weighted(0.1, select(vec![2, 3, 4, u64::MAX])),
        option::weighted(0.2, select(vec!["5551", "bob", "@example", "x", PARTIES[10]])),
        option::weighted(0.1, 0..12_u8),
    );
    let kind = (
        option::weighted(0.2, select(CallStatus::ALL.to_vec())),
        option::weighted(0.1, select(Direction::ALL.to_vec())),
        option::weighted(0.1, any::<bool>()),
        option::weighted(0.1, 0..QUARTERS),
    );
    (parts(), parts(), parts(), parties, words, few, kind).prop_map(
        |(from_contains, to_contains, number_contains, parties, words, few, kind)| {
            let sid = |n: u8| Typed::parse(&SIDS[usize::from(n)].to_string());
            let at = |n: u32| quarter(n).start();
            let recent = |n| Recent { ended_since: at(n), listed_since: at(n / 2) };
            let statuses: Vec<String> = few.0;
            let read = |text: String| text.parse::<SipStatuses>().unwrap();
            Filter {
                statuses: kind.0.into_iter().collect(),
                directions: kind.1.into_iter().collect(),
                stale: kind.2,
                recent: kind.3.map(recent),
                from: parties.0,
                from_prefix: parties.1,
                to_prefix: parties.2,
                search: Search {
                    number: parties.3,
                    from_contains,
                    to_contains,
                    number_contains,
                    trunk: words.0,
                    application_sid: words.1,
                    termination: words.2,
                    sip_status: statuses.into_iter().map(read).collect(),
                    answered: few.1,
                    duration_min: few.2,
                    duration_max: few.3,
                    q: few.4.and_then(Typed::in_portal).or(few.5.and_then(sid)),
                    ..Search::default()
                },
                ..Filter::default()
            }
        },
    )
}

/// What is found from one look to the next.
fn found(
    index: &Index,
    filter: &HeadFilter,
    span: PositionSpan,
    rows: usize,
    bytes: usize,
) -> Vec<(Position, Call)> {
    let (mut span, mut all) = (span, Vec::new());
    for _ in 0..1000 {
        let found = index.find_by_heads(ACCOUNT, filter, &span, rows, bytes).unwrap();
        assert!(found.rows.len() <= rows);
        for (position, row) in found.rows {
            assert!(!span.is_below(position) && !span.is_above(position));
            all.push((position, row.call().unwrap()));
        }
        let Some(reached) = found.reached else { return all };
        assert!(!span.is_below(reached) && !span.is_above(reached), "no step forward");
        span = span.after(reached);
    }
    panic!("it never ends");
}

fn write(index: &Index, calls: &[(Call, bool)]) {
    let ops = |gone: bool| {
        let op = move |(n, (call, _)): (usize, &'_ (Call, bool))| {
            let seq = n as u64 + 1;
            let old = Stored::Call { seq, listed_at: call.listed_at };
            (call.id, seq, old, gone)
        };
        calls
            .iter()
            .enumerate()
            .filter(move |(_, (_, is_gone))| *is_gone || !gone)
            .map(op)
            .collect::<Vec<_>>()
    };
    let find = |id| calls.iter().map(|(call, _)| call).find(|call| call.id == id).unwrap();
    let new = ops(false).into_iter().map(|(id, seq, ..)| Op {
        id,
        old: None,
        new: Version::Call(seq, find(id)),
    });
    index.write(&new.collect::<Vec<_>>(), &[]).unwrap();
    while index.seal(quarter(QUARTERS - 2).end(), 5, false).unwrap() {}
    let gone = ops(true).into_iter().map(|(id, seq, old, _)| Op {
        id,
        old: Some((old, Some(IndexKeys::of(find(id))))),
        new: Version::Tombstone(1000 + seq, Timestamp::MAX),
    });
    for op in gone {
        index.write(&[op], &[]).unwrap();
    }
}

/// The heads of a quarter that stand in the index, part by part.
fn heads_of(index: &Index, quarter: Quarter) -> Vec<(Vec<u8>, Vec<u8>)> {
    let prefix = keys::quarter(keys::HEADS, ACCOUNT, quarter);
    let entries = index.entries.cursor(beginning(&prefix), Going::Up);
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.key().to_vec(), entry.value().to_vec()))
        .collect()
}

/// The parties of a day that stand in the index, part by part.
fn parties_of(index: &Index, day: Day) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries =
        index.entries.cursor(beginning(&keys::day(keys::PARTIES, ACCOUNT, day)), Going::Up);
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.key().to_vec(), entry.value().to_vec()))
        .collect()
}

/// The same of a day that is counted anew.
fn disturb_parties(index: &Index, place: prop::sample::Index, goes: bool) {
    let days = index.days(ACCOUNT, Day::default(), Day::MAX, 100).unwrap();
    let days: Vec<_> = days.iter().map(|row| parties_of(index, row.day)).collect();
    let all: Vec<_> = days.iter().filter(|parts| parts.len() > 1).collect();
    let Some(parts) = all.get(place.index(all.len().max(1))) else { return };
    let number = place.index(parts.len());
    // Those of the next count are others.
    let other = || days.iter().find(|of| of.len() > number && of[0].0 != parts[0].0);
    let value = if goes { None } else { other().map(|of| of[number].1.clone()) };
    index.entries.put(vec![(parts[number].0.clone(), value)], || ()).unwrap();
}

/// What a reader may find who reads while a quarter is counted anew: a part has gone already, or is one of
/// the next count, by which an older call has gone.
fn disturb(index: &Index, of: &BTreeSet<Quarter>, place: prop::sample::Index, goes: bool) {
    disturb_parties(index, place, goes);
    let quarters: Vec<_> = of.iter().filter(|of| heads_of(index, **of).len() > 1).collect();
    let Some(quarter) = quarters.get(place.index(quarters.len().max(1))) else { return };
    let parts = heads_of(index, **quarter);
    let number = place.index(parts.len());
    let mut value = None;
    if !goes {
        let (mut span, mut heads) = (PositionSpan::all(Order::OldestFirst), Heads::default());
        span.high = std::ops::Bound::Included(Position::last_at(quarter.start()));
        span.low = std::ops::Bound::Included(Position::before_all_at(quarter.last()));
        let all = keys::Range::all(ACCOUNT);
        let rows = index.positions(&[all], &span, 1000, true, usize::MAX).unwrap();
        for (_, _, row) in rows.into_iter().skip(1) {
            let row = row.unwrap();
            heads.add(&row.call().unwrap(), row.seq());
        }
        let Some(part) = heads.encode().nth(number) else { return };
        value = Some(part);
    }
    index.entries.put(vec![(parts[number].0.clone(), value)], || ()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn heads_find_every_match_in_order_and_pass_over_what_does_not_match(
        drawn in vec(drawn(), 0..40),
        filters in vec(filter(), 1..12),
        newest_first in any::<bool>(),
        rows in select(vec![1, 2, 3, 100]),
        bytes in select(vec![1, 3000, usize::MAX]),
        ends in option::weighted(0.4, (0..40_usize, 0..40_usize)),
        seals_again in any::<bool>(),
        disturbs in option::weighted(0.3, (any::<prop::sample::Index>(), any::<bool>())),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
        let calls: Vec<_> = drawn.iter().zip(0_u8..).map(|(drawn, n)| (drawn.call(n), drawn.gone)).collect();
        write(&index, &calls);
        if seals_again {
            while index.seal(quarter(QUARTERS - 2).end(), 3, false).unwrap() {}
        }
        prop_assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
        let sealed = index.quarters(ACCOUNT, Quarter::default(), Quarter::MAX, 1000, usize::MAX).unwrap();
        let sealed: BTreeSet<Quarter> = sealed.iter().map(|row| row.quarter).collect();
        if let Some((place, goes)) = disturbs {
            disturb(&index, &sealed, place, goes);
        }
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let mut span = PositionSpan::all(order);
        if let Some((low, high)) = ends {
            let at = |n: usize| calls.get(n).map(|(call, _)| Position::of(call));
            span.low = at(low).map_or(span.low, std::ops::Bound::Included);
            span.high = at(high).map_or(span.high, std::ops::Bound::Excluded);
        }
        for filter in filters {
            let Some(heads) = HeadFilter::of(&filter) else { continue };
            let found = found(&index, &heads, span.clone(), rows, bytes);
            let positions: Vec<_> = found.iter().map(|(position, _)| *position).collect();
            prop_assert!(
                positions.windows(2).all(|two| (two[0] < two[1]) == newest_first && two[0] != two[1]),
                "not in order"
            );
            let mut expected: Vec<_> = calls.iter()
                .filter(|(call, gone)| !gone && call.id.account == ACCOUNT && filter.matches(call))
                .map(|(call, _)| Position::of(call))
                .filter(|position| !span.is_below(*position) && !span.is_above(*position))
                .collect();
            expected.sort_unstable();
            for position in &expected {
                prop_assert!(positions.contains(position), "{:?} lacks {:?}", filter, position);
            }
            for (position, call) in &found {
                let is_sealed = sealed.contains(&Quarter::of(position.listed_at()));
                let asked = Filter { recent: None, ..filter.clone() };
                let is_typed = |sid: CallSid| sid_mark(sid) == sid_mark(call.id.sid);
                let looks_typed = filter.search.q.as_ref().and_then(Typed::sid).is_some_and(is_typed);
                let looks_so = |other: &Call| {
                    other.listed_at == call.listed_at
                        && sid_mark(other.id.sid) == sid_mark(call.id.sid)
                        && (other.further_text("trunk").is_some() || asked.matches(other))
                };
                prop_assert!(
                    disturbs.is_some() || !is_sealed || looks_typed || calls.iter().any(|(call, _)| looks_so(call)),
                    "{:?} need not be read for {:?}", call, filter
                );
            }
        }
    }
}

/// A call of a quarter, so many milliseconds after its begin.
fn call(n: usize, quarter: Quarter, after: u64, from: &str) -> Call {
    let id = CallId { account: ACCOUNT, sid: SIDS[n] };
    let at = quarter.start().plus_millis(after);
    let mut event = samples::bare_event(id, Some(CallStatus::Completed), at);
    event.texts[CallField::From as usize] = Some(from.into());
    merge(None, event, at)
}

fn filled(calls: &[Call]) -> (tempfile::TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
    let calls: Vec<_> = calls.iter().map(|call| (call.clone(), false)).collect();
    write(&index, &calls);
    (dir, index)
}

/// As before the day has ended.
fn without_days(index: &Index) {
    let days = index.days(ACCOUNT, Day::default(), Day::MAX, 100).unwrap();
    let gone = days.iter().map(|row| (keys::day(keys::DAY, ACCOUNT, row.day), None));
    index.entries.put(gone.collect(), || ()).unwrap();
}

fn contains(parts: &[&str]) -> HeadFilter {
    let number_contains = parts.iter().map(|text| part(text)).collect();
    let search = Search { number_contains, ..Search::default() };
    HeadFilter::of(&Filter { search, ..Filter::default() }).unwrap()
}

/// One of each of these groups, of at most two.
fn containing(groups: &[&[&str]]) -> HeadFilter {
    let parts = |n: usize| {
        let texts = groups.get(n).copied().unwrap_or_default();
        texts.iter().map(|text| part(text)).collect::<Vec<_>>()
    };
    let search = Search { number_contains: parts(0), from_contains: parts(1), ..Search::default() };
    HeadFilter::of(&Filter { search, ..Filter::default() }).unwrap()
}

fn both() -> [Order; 2] {
    [Order::NewestFirst, Order::OldestFirst]
}

#[test]
fn calls_of_one_moment_whose_sids_look_alike_are_found_once_each_whatever_part_has_them() {
    let quarter = Quarter::new(FIRST);
    let alike: Vec<usize> = (0..SIDS.len()).filter(|n| sid_mark(SIDS[*n]) == [0, 1]).collect();
    assert!(alike.len() > 6, "{}", alike.len());
    let calls: Vec<_> = alike.iter().map(|n| call(*n, quarter, 5, "+1555")).collect();
    let (_dir, index) = filled(&calls);
    assert!(heads_of(&index, quarter).len() > 2);
    for order in both() {
        for rows in [1, 2, 4, 100] {
            let found =
                found(&index, &contains(&["555"]), PositionSpan::all(order), rows, usize::MAX);
            assert_eq!(found.len(), calls.len(), "{order:?} {rows}");
        }
    }
}

#[test]
fn a_search_goes_on_within_a_quarter_without_going_through_what_lies_before() {
    let quarter = Quarter::new(FIRST);
    let calls: Vec<_> =
        (0..60).map(|n| call(n, quarter, n as u64, &format!("+{n}555{n}"))).collect();
    let (_dir, index) = filled(&calls);
    assert_eq!(heads_of(&index, quarter).len(), 20);
    without_days(&index);
    let (filter, mut costs) = (contains(&["7777"]), Vec::new());
    for order in both() {
        let mut span = PositionSpan::all(order);
        loop {
            let found = index.find_by_heads(ACCOUNT, &filter, &span, 10, usize::MAX).unwrap();
            costs.push(found.cost);
            let Some(reached) = found.reached else { break };
            span = span.after(reached);
        }
    }
    assert!(costs.len() > 10, "{costs:?}");
    assert!(costs.iter().all(|cost| *cost <= costs[0] + 4), "{costs:?}");
}

#[test]
fn a_search_for_many_texts_goes_through_less_at_once() {
    let quarter = Quarter::new(FIRST);
    let calls: Vec<_> = (0..60).map(|n| call(n, quarter, n as u64, "+1555")).collect();
    let (_dir, index) = filled(&calls);
    without_days(&index);
    let texts: Vec<String> = (0..100).map(|n| format!("777{n}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let reached = |texts: &[&str]| {
        let span = PositionSpan::all(Order::OldestFirst);
        let found = index.find_by_heads(ACCOUNT, &contains(texts), &span, 10, usize::MAX).unwrap();
        assert!(found.rows.is_empty());
        found.reached.unwrap().listed_at()
    };
    assert!(reached(&texts) < reached(&texts[..1]));
}

#[test]
fn counts_of_other_calls_are_not_taken_for_one() {
    let quarter = Quarter::new(FIRST);
    let of = |versions: &[(usize, u64)]| {
        let mut heads = Heads::default();
        for (n, seq) in versions {
            heads.add(&call(*n, quarter, *n as u64, "+1555"), *seq);
        }
        let parts: Vec<_> = heads.encode().collect();
        HeadsOfPart::read(&parts[0]).unwrap().of()
    };
    // One that was deleted, and one that came into the index late.
    assert_ne!(of(&[(0, 40), (2, 100)]), of(&[(1, 50), (2, 100)]));
    assert_ne!(of(&[(0, 40), (2, 100)]), of(&[(1, 40), (2, 100)]));
    assert_ne!(of(&[(0, 40), (2, 100)]), of(&[(0, 41), (2, 100)]));
    assert_eq!(of(&[(0, 40), (2, 100)]), of(&[(0, 40), (2, 100)]));
}

#[test]
fn heads_that_are_more_than_can_be_kept_are_not_and_the_calls_are_found() {
    let long = "9".repeat(500);
    for (count, is_kept) in [(5, true), (60, false)] {
        let quarter = Quarter::new(FIRST);
        let from = |n: usize| format!("+555{n}{long}");
        let mut calls: Vec<_> = (0..count).map(|n| call(n, quarter, n as u64, &from(n))).collect();
        // Those of another quarter of the day are.
        calls.push(call(count, quarter.plus(1), 0, "+1777"));
        let (_dir, index) = filled(&calls);
        let sealed = index.quarters(ACCOUNT, quarter, quarter, 10, usize::MAX).unwrap();
        assert_eq!(sealed.len(), 1);
        assert_eq!(heads_of(&index, quarter).is_empty(), !is_kept, "{count}");
        assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
        for order in both() {
            let found = found(&index, &contains(&["555"]), PositionSpan::all(order), 7, usize::MAX);
            assert_eq!(found.len(), count);
        }
    }
}

#[test]
fn a_search_finds_what_is_listed_at_the_first_instant_and_at_the_last() {
    let calls = [
        call(0, Quarter::new(0), 0, "+1555"),
        call(1, Quarter::new(0), 1, "+1555"),
        call(2, Quarter::of(Timestamp::MAX), 998, "+1555"),
        call(3, Quarter::of(Timestamp::MAX), 999, "+1555"),
    ];
    assert_eq!(calls[3].listed_at, Timestamp::MAX);
    let (_dir, index) = filled(&calls);
    while index.seal(Quarter::new(FIRST).start(), 5, false).unwrap() {}
    for order in both() {
        let found = found(&index, &contains(&["555"]), PositionSpan::all(order), 2, usize::MAX);
        assert_eq!(found.len(), 4, "{order:?}");
    }
}

#[test]
fn a_part_that_is_gone_or_of_another_count_leads_to_the_calls_themselves() {
    let quarter = Quarter::new(FIRST);
    let calls: Vec<_> = (0..9).map(|n| call(n, quarter, n as u64, "+1555")).collect();
    let (_dir, index) = filled(&calls);
    let parts = heads_of(&index, quarter);
    assert_eq!(parts.len(), 3);
    // The oldest call has gone, and so each part begins with another one.
    let mut others = Heads::default();
    calls.iter().skip(1).zip(2..).for_each(|(call, seq)| others.add(call, seq));
    let others: Vec<_> = others.encode().collect();
    for (number, (key, value)) in parts.iter().enumerate() {
        for disturbed in [None, Some(others[number].clone())] {
            index.entries.put(vec![(key.clone(), disturbed.clone())], || ()).unwrap();
            for order in both() {
                for rows in [1, 2, 100] {
                    let span = PositionSpan::all(order);
                    let found = found(&index, &contains(&["555"]), span, rows, usize::MAX);
                    let mut sids: Vec<_> = found.iter().map(|(at, _)| at.sid).collect();
                    if order == Order::NewestFirst {
                        sids.reverse();
                    }
                    assert_eq!(sids, SIDS[..9], "part {number}, {disturbed:?}, {order:?}, {rows}");
                }
            }
        }
        index.entries.put(vec![(key.clone(), Some(value.clone()))], || ()).unwrap();
    }
}

/// A day of five quarters, in each of which another number calls, and a few times.
fn day_of_calls() -> (Day, Vec<Call>) {
    let day = Day::of(Quarter::new(FIRST));
    let calls = (0..40).zip(0_u32..).map(|(n, number)| {
        let at = day.first().plus(number / 8 * 20);
        call(n, at, u64::from(number) * 1000, &format!("+1555{}00", number / 8))
    });
    (day, calls.collect())
}

#[test]
fn quarters_of_a_day_without_the_part_of_a_number_are_passed_over() {
    let (day, calls) = day_of_calls();
    let (_dir, index) = filled(&calls);
    assert_eq!(index.days(ACCOUNT, day, day, 9).unwrap().len(), 1);
    assert!(!parties_of(&index, day).is_empty());
    for order in both() {
        let found = |groups: &[&[&str]]| {
            let filter = containing(groups);
            let (mut span, mut numbers, mut cost) = (PositionSpan::all(order), Vec::new(), 0);
            loop {
                let look = index.find_by_heads(ACCOUNT, &filter, &span, 100, usize::MAX).unwrap();
                numbers.extend(look.rows.iter().map(|(at, _)| at.sid));
                cost += look.cost;
                let Some(reached) = look.reached else { break };
                span = span.after(reached);
            }
            if order == Order::NewestFirst {
                numbers.reverse();
            }
            (numbers, cost)
        };
        let (sids, with_heads) = found(&[&["155520"]]);
        assert_eq!(sids, SIDS[16..24]);
        let (sids, none) = found(&[&["155590"]]);
        assert!(sids.is_empty() && none < with_heads, "{none} {with_heads}");
        // No quarter has both, and of two of which one stands everywhere the other counts.
        let (sids, both) = found(&[&["155520"], &["155530"]]);
        assert!(sids.is_empty() && both < with_heads, "{both} {with_heads}");
        for groups in [[&["155540"][..], &["555"]], [&["555"], &["155540"]]] {
            assert_eq!(found(&groups).0, SIDS[32..40]);
        }
        // Not even whether they are sealed is looked at.
        let others = [0, 1, 3, 4].map(|n| day.first().plus(n * 20));
        let gone = others.iter().flat_map(|at| {
            let heads = heads_of(&index, *at).into_iter().map(|(key, _)| key);
            heads.chain([keys::quarter(keys::QUARTER, ACCOUNT, *at)])
        });
        index.entries.put(gone.map(|key| (key, None)).collect(), || ()).unwrap();
        let (sids, without_others) = found(&[&["155520"]]);
        assert_eq!(sids, SIDS[16..24]);
        assert!(without_others <= with_heads, "{without_others} {with_heads}");
        // Where so many may have it, it is looked for in all; and in a quarter that is not sealed in its calls.
        let own = keys::quarter(keys::QUARTER, ACCOUNT, day.first().plus(40));
        index.entries.put(vec![(own, None)], || ()).unwrap();
        assert_eq!(found(&[&["1555"]]).0, SIDS[..40]);
        assert_eq!(found(&[&["155520"]]).0, SIDS[16..24]);
    }
}

#[test]
fn parties_of_a_day_that_are_more_than_can_be_kept_are_not_and_the_calls_are_found() {
    let day = Day::of(Quarter::new(FIRST));
    for (count, is_kept) in [(5, true), (60, false)] {
        let long = "9".repeat(200);
        let calls: Vec<_> = (0..count)
            .zip(0..)
            .map(|(n, after)| call(n, day.first().plus(after), 5, &format!("+555{n}{long}")))
            .collect();
        let (_dir, index) = filled(&calls);
        assert_eq!(index.days(ACCOUNT, day, day, 9).unwrap().len(), 1);
        assert_eq!(parties_of(&index, day).is_empty(), !is_kept, "{count}");
        assert_eq!(index.wrong_day(ACCOUNT).unwrap(), None);
        for order in both() {
            let found = found(&index, &contains(&["555"]), PositionSpan::all(order), 7, usize::MAX);
            assert_eq!(found.len(), count);
        }
    }
}

#[test]
fn a_part_of_the_parties_of_a_day_that_is_gone_or_of_another_count_is_not_believed() {
    let day = Day::of(Quarter::new(FIRST));
    let calls: Vec<_> = (0..30)
        .zip(0_u32..)
        .map(|(n, after)| call(n, day.first().plus(after * 3), 5, &format!("+1555{n:02}")))
        .collect();
    let (_dir, index) = filled(&calls);
    let parts = parties_of(&index, day);
    // The first call has gone, and so each part begins with another number.
    let (_other_dir, other) = filled(&calls[1..]);
    let others = parties_of(&other, day);
    assert!(parts.len() > 3 && others.len() == parts.len(), "{} {}", parts.len(), others.len());
    for (number, (key, value)) in parts.iter().enumerate() {
        for disturbed in [None, Some(others[number].1.clone())] {
            index.entries.put(vec![(key.clone(), disturbed)], || ()).unwrap();
            for order in both() {
                for (n, call) in calls.iter().enumerate() {
                    let filter = contains(&[&format!("1555{n:02}")]);
                    let span = PositionSpan::all(order);
                    let found = found(&index, &filter, span, 7, usize::MAX);
                    assert_eq!(found.len(), 1, "part {number}, call {n}, {order:?}");
                    assert_eq!(found[0].1.id, call.id);
                }
            }
        }
        index.entries.put(vec![(key.clone(), Some(value.clone()))], || ()).unwrap();
    }
}
