//! Searching by heads: against every call, with some quarters sealed and some not.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CallStatus, Direction, Filter, HeadFilter, Order,
    PartyPart, Position, Quarter, Search, SipStatuses, Timestamp, Typed, merge, samples,
};
use crate::keys::{IndexKeys, PositionSpan};

const CACHE_BYTES: u64 = 1 << 20;
const ACCOUNT: AccountSid = AccountSid::from_bytes([3; 16]);
const OTHER: AccountSid = AccountSid::from_bytes([4; 16]);
const FIRST: u32 = 1_900_000;
/// Calls are listed in so many quarters.
const QUARTERS: u32 = 9;

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

#[derive(Debug, Clone)]
struct Drawn {
    quarter: u32,
    /// Two calls of an account may share a moment.
    moment: u64,
    ended: Option<CallStatus>,
    direction: Direction,
    sip_status: Option<u16>,
    duration: Option<u32>,
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
        quarter in 0..QUARTERS,
        moment in 0..3_u64,
        ended in option::weighted(0.9, select(vec![CallStatus::Completed, CallStatus::Busy, CallStatus::Failed])),
        direction in select(Direction::ALL.to_vec()),
        sip_status in option::of(select(vec![200, 486, 487, 603])),
        duration in option::of(0..4_u32),
        parties in (select(PARTIES.to_vec()), select(PARTIES.to_vec())),
        trunks in (option::of(select(vec!["", "a", "b"])), option::weighted(0.1, select(vec!["a", "c"]))),
        application in option::of(select(vec!["", "x", "y"])),
        termination in option::of(select(vec!["caller", "callee"])),
        gone in prop::bool::weighted(0.1),
        account in select(vec![ACCOUNT, ACCOUNT, ACCOUNT, OTHER]),
    ) -> Drawn {
        Drawn {
            quarter, moment, ended, direction, sip_status, duration,
            from: parties.0, to: parties.1, trunk: trunks.0, cdr_trunk: trunks.1,
            application, termination, gone, account,
        }
    }
}

impl Drawn {
    fn call(&self, n: u8) -> Call {
        let id = CallId { account: self.account, sid: CallSid::from_bytes([n; 16]) };
        let at = Quarter::new(FIRST + self.quarter).start().plus_millis(self.moment * 299_000);
        let mut event = samples::bare_event(id, Some(CallStatus::Trying), at);
        event.direction = self.direction;
        let text = |text: &str| Some(text.into());
        event.texts[CallField::From as usize] = text(self.from);
        event.texts[CallField::To as usize] = text(self.to);
        event.texts[CallField::OriginatingSipTrunkName as usize] = self.trunk.and_then(text);
        event.texts[CallField::ApplicationSid as usize] = self.application.and_then(text);
        let json = |text: &str| format!("\"{text}\"").into();
        event.extras.extend(self.termination.map(|by| ("call_termination_by".into(), json(by))));
        event.extras.extend(self.cdr_trunk.map(|trunk| ("trunk".into(), json(trunk))));
        let begun = merge(None, event, at);
        let Some(status) = self.ended else { return begun };
        let end = at.plus_millis(5000);
        let mut event = samples::bare_event(id, Some(status), end);
        (event.sip_status, event.duration) = (self.sip_status, self.duration);
        merge(Some(&begun), event, end)
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
        (texts(0.1, &["a", "c", ""]), texts(0.1, &["x", "z"]), texts(0.1, &["caller", "nobody"]));
    let few = (
        texts(0.1, &["486", "4xx", "2xx"]),
        option::weighted(0.1, any::<bool>()),
        option::weighted(0.1, 0..3_u64),
        option::weighted(0.1, 2..5_u64),
        option::weighted(0.2, select(vec!["5551", "bob", "@example", "x", PARTIES[10]])),
        option::weighted(0.1, 0..12_u8),
    );
    let kind = (
        option::weighted(0.2, select(CallStatus::ALL.to_vec())),
        option::weighted(0.1, select(Direction::ALL.to_vec())),
        option::weighted(0.1, any::<bool>()),
    );
    (parts(), parts(), parts(), parties, words, few, kind).prop_map(
        |(from_contains, to_contains, number_contains, parties, words, few, kind)| {
            let sid = |n: u8| Typed::parse(&CallSid::from_bytes([n; 16]).to_string());
            let statuses: Vec<String> = few.0;
            let read = |text: String| text.parse::<SipStatuses>().unwrap();
            Filter {
                statuses: kind.0.into_iter().collect(),
                directions: kind.1.into_iter().collect(),
                stale: kind.2,
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
    while index.seal(Quarter::new(FIRST + QUARTERS - 2).end(), 5, false).unwrap() {}
    let gone = ops(true).into_iter().map(|(id, seq, old, _)| Op {
        id,
        old: Some((old, Some(IndexKeys::of(find(id))))),
        new: Version::Tombstone(1000 + seq, Timestamp::MAX),
    });
    for op in gone {
        index.write(&[op], &[]).unwrap();
    }
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
    ) {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), CACHE_BYTES).unwrap();
        let calls: Vec<_> = drawn.iter().zip(0_u8..).map(|(drawn, n)| (drawn.call(n), drawn.gone)).collect();
        write(&index, &calls);
        if seals_again {
            while index.seal(Quarter::new(FIRST + QUARTERS - 2).end(), 3, false).unwrap() {}
        }
        prop_assert_eq!(index.wrong_quarter(ACCOUNT).unwrap(), None);
        let sealed = index.quarters(ACCOUNT, Quarter::default(), Quarter::MAX, 1000, usize::MAX).unwrap();
        let sealed: BTreeSet<Quarter> = sealed.iter().map(|row| row.quarter).collect();
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
                let by_cdr = call.further_text("trunk").is_some();
                prop_assert!(
                    !is_sealed || by_cdr || filter.matches(call),
                    "{:?} need not be read for {:?}", call, filter
                );
            }
        }
    }
}
