//! What the model is tried with: changes, damage and questions, drawn at random.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::*;
use crate::domain::{PartyPart, Recent, Search, Typed};
use crate::wire::{Interval, Zone};

pub const ACCOUNTS: u8 = 3;
pub const CALLS: u8 = 10;
pub const PARENT: CallSid = CallSid::from_bytes([9; 16]);
pub const NUMBERS: [&str; 5] = ["", "+1", "+15", "+1\0", "+1\0\0\u{ff}"];
/// None, two that have the same checksum, and another.
pub const CALL_IDS: [&str; 4] = ["", "4ca3a936-2226@sbc", "39a30572-837b@sbc", "x"];

/// One change, in small numbers.
#[derive(Debug, Clone)]
pub enum Do {
    Event {
        seconds: u64,
        status: CallStatus,
        direction: Direction,
        from: usize,
        to: usize,
        /// Its own Call-ID, and the other one.
        call_ids: [usize; 2],
    },
    Record {
        seconds: u64,
        status: CallStatus,
        to: usize,
    },
    Delete,
    Stale {
        seconds: u64,
    },
    /// As the compactor does where a call's time is over.
    Expire,
}

/// What happens to the index while the store is down.
#[derive(Debug, Clone)]
pub enum Damage {
    None,
    Deleted,
    Forgotten,
    Truncated(Index),
    Noise(Index),
    Older,
    Rebuild,
}

#[derive(Debug, Clone)]
pub enum Step {
    Submit(Vec<(u8, u8, Do)>),
    Checkpoint,
    /// Counts so many calls for the quarters of an hour that are over.
    Seal(usize),
    /// Packs whatever can be packed.
    Collect,
    /// Has the time of an account's calls be over.
    Retire(u8),
    /// Makes a new index from the present one.
    Compact,
    /// Makes a new index from the journal.
    Rebuild,
    /// The index fails, and these come before it is built again; or before a crash.
    Outage(Vec<Vec<(u8, u8, Do)>>, Option<Damage>),
    /// Keeps a copy of the index for [`Damage::Older`].
    Save,
    Reopen {
        crash: bool,
        damage: Damage,
        age: u64,
        busy: bool,
        space: usize,
    },
}

#[derive(Debug, Clone)]
pub struct Look {
    pub account: u8,
    pub filter: Filter,
    pub newest_first: bool,
    pub limit: usize,
    /// By what statistics are divided.
    pub group: Vec<Dimension>,
    pub interval: Option<Interval>,
    pub zone: Zone,
    pub top: usize,
}

fn status() -> impl Strategy<Value = CallStatus> {
    select(CallStatus::ALL.to_vec())
}

fn change() -> impl Strategy<Value = Do> {
    let direction = select(Direction::ALL.to_vec());
    let number = 0..NUMBERS.len();
    let call_ids = [0..CALL_IDS.len(), 0..CALL_IDS.len()];
    prop_oneof![
        8 => (0..40_u64, status(), direction, number.clone(), number.clone(), call_ids).prop_map(
            |(seconds, status, direction, from, to, call_ids)| {
                Do::Event { seconds, status, direction, from, to, call_ids }
            }
        ),
        2 => (0..40_u64, status(), number)
            .prop_map(|(seconds, status, to)| Do::Record { seconds, status, to }),
        1 => Just(Do::Delete),
        2 => (0..40_u64).prop_map(|seconds| Do::Stale { seconds }),
        1 => Just(Do::Expire),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => Just(Damage::None),
        1 => Just(Damage::Deleted),
        1 => Just(Damage::Forgotten),
        1 => any::<Index>().prop_map(Damage::Truncated),
        1 => any::<Index>().prop_map(Damage::Noise),
        2 => Just(Damage::Older),
        1 => Just(Damage::Rebuild),
    ]
}

fn changes(most: usize) -> impl Strategy<Value = Vec<(u8, u8, Do)>> {
    vec((1..=ACCOUNTS, 0..CALLS, change()), 1..most)
}

/// With fewer changes at once than `most`.
pub fn step(most: usize) -> impl Strategy<Value = Step> {
    let reopened = (
        any::<bool>(),
        damage(),
        select(vec![0, HOUR_MILLIS]),
        any::<bool>(),
        select(vec![12, 1000]),
    );
    prop_oneof![
        12 => changes(most).prop_map(Step::Submit),
        4 => Just(Step::Checkpoint),
        4 => select(vec![1, 4, 1000]).prop_map(Step::Seal),
        2 => Just(Step::Collect),
        1 => (1..=ACCOUNTS).prop_map(Step::Retire),
        1 => Just(Step::Compact),
        1 => Just(Step::Rebuild),
        1 => Just(Step::Save),
        2 => (vec(changes(most), 1..5), prop::option::of(damage()))
            .prop_map(|(changes, crash)| Step::Outage(changes, crash)),
        2 => reopened
            .prop_map(|(crash, damage, age, busy, space)| Step::Reopen { crash, damage, age, busy, space }),
    ]
}

/// Mostly none; else a number of either party, Call-IDs, or what no range stands for.
fn search() -> impl Strategy<Value = Search> {
    let number = subsequence(NUMBERS.to_vec(), 1..4);
    let call_ids = subsequence(CALL_IDS[1..].to_vec(), 1..3);
    let contains = select(vec!["1", "15", "5", "777", "\u{ff}"]);
    let drawn = (0..13_u8, number, any::<bool>(), 0..3_u64, call_ids, contains);
    drawn.prop_map(|(parts, number, answered, seconds, call_ids, contains)| {
        let typed = if parts == 12 { call_ids[0] } else { contains };
        let call_ids = |part| {
            let call_ids = call_ids.iter().filter(|_| parts == part);
            call_ids.map(|&call_id| call_id.to_owned()).collect()
        };
        let part = |n: u8| PartyPart::short(contains).filter(|_| parts == n).into_iter().collect();
        Search {
            call_id: call_ids(6),
            sbc_callid: call_ids(7),
            from_contains: part(8),
            to_contains: part(9),
            number_contains: part(10),
            q: Typed::in_portal(typed).filter(|_| parts > 10),
            number: if parts < 2 {
                number.into_iter().map(str::to_owned).collect()
            } else {
                Vec::new()
            },
            answered: (parts == 1 || parts == 2).then_some(answered),
            duration_min: (parts == 3).then_some(seconds),
            application_sid: if parts == 4 { vec![NUMBERS[4].to_owned()] } else { Vec::new() },
            ..Search::default()
        }
    })
}

prop_compose! {
    pub fn look()(
        account in 1..=ACCOUNTS,
        statuses in subsequence(CallStatus::ALL.to_vec(), 0..4),
        directions in subsequence(Direction::ALL.to_vec(), 0..2),
        from in subsequence(NUMBERS.to_vec(), 0..3),
        to in subsequence(NUMBERS.to_vec(), 0..3),
        window in prop::option::weighted(0.3, (0..40_u64, 0..40_u64)),
        parts in 0..128_u8,
        stale in any::<bool>(),
        lately in (0..40_u64, 0..40_u64),
        newest_first in any::<bool>(),
        limit in select(vec![1, 2, 3, 5, 1000]),
        search in search(),
        group in prop_oneof![
            subsequence(Dimension::ALL.to_vec(), 0..3),
            subsequence(Dimension::ALL[..2].to_vec(), 1..3).prop_shuffle(),
        ],
        interval in select(vec![None, Some(Interval::Minute), Some(Interval::Hour), Some(Interval::Day)]),
        // 5:40, 5:45 and 0 hours: an hour is made of whole quarters in the last two alone.
        zone in select(vec!["+05:40", "Asia/Kathmandu", "UTC"]),
        top in select(vec![1, 2, 3, 50]),
    ) -> Look {
        let prefixes = |part: u8, text: &str| {
            if parts & 0x18 == part { vec![text.to_owned()] } else { Vec::new() }
        };
        let numbers = |part: u8, numbers: Vec<&str>| {
            if parts & part == 0 { Vec::new() } else { numbers.iter().map(|&n| n.into()).collect() }
        };
        let filter = Filter {
            statuses: if parts & 1 == 0 { Vec::new() } else { statuses },
            directions: if parts & 2 == 0 { Vec::new() } else { directions },
            from: numbers(4, from),
            to: numbers(8, to),
            from_prefix: prefixes(16, "+1"),
            to_prefix: prefixes(24, "+15"),
            parents: if parts & 0x70 == 0x60 { vec![PARENT] } else { Vec::new() },
            stale: (parts & 0x60 == 0x20).then_some(stale),
            start: window.map(|(start, _)| time(start)),
            end: window.map(|(_, end)| time(end)),
            recent: (parts & 0x60 == 0x40)
                .then(|| Recent { ended_since: time(lately.0), listed_since: time(lately.1) }),
            search,
        };
        let zone = zone.parse().unwrap();
        Look { account, filter, newest_first, limit, group, interval, zone, top }
    }
}

/// A drawn time: some calls share one, some a quarter of an hour, and some lie on other days.
pub fn time(n: u64) -> Timestamp {
    base().plus_millis((7 * n + 14 * 60 * (n / 8)) * 60_000)
}

/// Recent, so that nothing expires; all that is drawn is over.
fn base() -> Timestamp {
    static BASE: std::sync::OnceLock<Timestamp> = std::sync::OnceLock::new();
    *BASE.get_or_init(|| {
        let begun = clock::now().minus_millis(3700 * 60_000).millis();
        Timestamp::from_millis(begun / 1000 * 1000).unwrap()
    })
}
