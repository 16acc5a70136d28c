//! Figures of random calls, against a plain count: of every call at every instant that matters.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::groups::GROUPS_BYTES_MAX;
use super::lines::{Lines, Period, Sample};
use super::*;
use crate::domain::Call;

const MINUTE: u64 = 60_000;
/// 2026-10-24T12:00Z: the clocks of Berlin go back in the night.
const BEGUN: u64 = 1_792_843_200_000;
const MINUTES: u64 = 40 * 60;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// In units of half a minute, so that many begin as others end, and on the edges of hours.
fn sample() -> impl Strategy<Value = (Sample, usize)> {
    let up =
        prop::option::weighted(0.9, (0..=180_u64, prop_oneof![0..4_u64, 0..200_u64, 0..2880_u64]));
    // Half of them close together, where the order in which they come matters.
    let listed_at = prop_oneof![0..MINUTES * 2, 2000..2200_u64];
    (listed_at, up, any::<bool>(), 0..100_u64, 0..3_usize).prop_map(
        |(listed_at, up, answered, seconds, group)| {
            let listed_at = BEGUN + listed_at * MINUTE / 2;
            let up = up.and_then(|(before, length)| {
                let from = listed_at - before.saturating_sub(60) * MINUTE / 2;
                let until = from + length * MINUTE / 2;
                (length > 0).then_some(Up { from: at(from), until: at(until) })
            });
            (Sample { listed_at: at(listed_at), answered, seconds, up }, group)
        },
    )
}

/// In which minute, hour or day of a zone an instant is: what its clocks show, and their offset.
fn name(zone: &str, interval: Interval, millis: u64) -> String {
    let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
    let instant = jiff::Timestamp::from_millisecond(millis.cast_signed()).unwrap();
    let (shown, offset) = (zone.to_datetime(instant), zone.to_offset(instant));
    match interval {
        Interval::Day => shown.date().to_string(),
        Interval::Minute => {
            format!("{}T{:02}:{:02}{offset}", shown.date(), shown.hour(), shown.minute())
        }
        Interval::Hour => format!("{}T{:02}{offset}", shown.date(), shown.hour()),
    }
}

/// Figures by the name of the bucket, and over all (""), and by group, where 9 is all.
fn plain(
    samples: &[(Sample, usize)],
    (start, end): (u64, u64),
    name: impl Fn(u64) -> String,
) -> BTreeMap<(String, usize), Figures> {
    let mut found = BTreeMap::<(String, usize), Figures>::new();
    let mut instants: BTreeSet<u64> =
        (0..MINUTES + 48 * 60).map(|n| BEGUN - 240 * MINUTE + n * MINUTE).collect();
    instants.insert(start);
    instants.extend(samples.iter().filter_map(|(sample, _)| sample.up).map(|up| up.from.millis()));
    let is_in = |millis: u64| start <= millis && millis < end;
    for (sample, group) in samples {
        let listed_at = sample.listed_at.millis();
        for bucket in [name(listed_at), String::new()] {
            for group in [*group, 9] {
                if is_in(listed_at) {
                    let figures = found.entry((bucket.clone(), group)).or_default();
                    figures.calls += 1;
                    figures.answered += u64::from(sample.answered);
                    figures.seconds += sample.seconds;
                }
            }
        }
    }
    for instant in instants.into_iter().filter(|millis| is_in(*millis)) {
        let is_up = |sample: &Sample| {
            sample.up.is_some_and(|up| up.from.millis() <= instant && instant < up.until.millis())
        };
        for group in [0, 1, 2, 9] {
            let up =
                samples.iter().filter(|(sample, of)| is_up(sample) && (group == 9 || *of == group));
            let peak = up.count() as u64;
            for bucket in [name(instant), String::new()] {
                if peak > 0 {
                    let figures = found.entry((bucket, group)).or_default();
                    figures.peak = figures.peak.max(peak);
                }
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn figures_are_those_of_a_plain_count(
        samples in vec(sample(), 0..40),
        zone in select(vec!["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York"]),
        interval in select(&Interval::ALL[..]),
        period in (prop::option::of(0..MINUTES), prop::option::of(0..MINUTES)),
        steps_min in select(vec![0, 3, 1000]),
    ) {
        let mut samples = samples;
        samples.sort_by_key(|(sample, _)| sample.listed_at);
        let millis = |minutes: Option<u64>| minutes.map(|minutes| BEGUN + minutes * MINUTE);
        let (start, end) = (millis(period.0), millis(period.1));
        let clock = Some((interval, zone.parse().unwrap()));
        let period = Period { start: start.map(at), end: end.map(at) };
        let mut lines = Lines::sweeping(period, clock, 3, steps_min);
        for (sample, group) in &samples {
            lines.add(sample, Some(*group)).unwrap();
            lines.take_steps(sample.listed_at).unwrap();
        }
        let (totals, buckets) = lines.finish().unwrap();
        let mut found = BTreeMap::new();
        let named = buckets.iter().map(|(at, lines)| (name(zone, interval, at.millis()), lines));
        for (bucket, lines) in named.chain([(String::new(), &totals)]) {
            for (figures, group) in lines.iter().zip([9, 0, 1, 2]) {
                if *figures != Figures::default() {
                    prop_assert!(found.insert((bucket.clone(), group), *figures).is_none());
                }
            }
        }
        let times = (start.unwrap_or(0), end.unwrap_or(u64::MAX));
        prop_assert_eq!(found, plain(&samples, times, |millis| name(zone, interval, millis)));
    }

    #[test]
    fn the_top_groups_are_the_first_of_all(
        calls in vec((select(vec!["", "a", "b", "bb", "c"]), any::<bool>(), 0..2_u64), 0..60),
        most in 1..8_usize,
    ) {
        let mut counts = GroupCounts::default();
        let mut plain = BTreeMap::<(Option<&str>, &str), u64>::new();
        for (value, has_trunk, listed) in &calls {
            let call = call(has_trunk.then_some(*value), value);
            let mut key = Vec::new();
            write_group(&[Dimension::Trunk, Dimension::To], &call, &mut key);
            counts.add(&key, *listed).unwrap();
            let trunk = has_trunk.then_some(*value);
            *plain.entry((trunk, *value)).or_default() += listed;
        }
        let (top, others) = counts.top(most);
        let mut plain: Vec<_> = plain.into_iter().collect();
        plain.sort_by_key(|(key, calls)| (std::cmp::Reverse(*calls), *key));
        prop_assert_eq!(others, plain.len().saturating_sub(most));
        let wanted: Vec<_> =
            plain.iter().take(most).map(|((trunk, to), _)| vec![*trunk, Some(*to)]).collect();
        let found: Vec<_> = top.iter().map(Group::values).collect();
        prop_assert_eq!(found, wanted);
    }
}

fn call(trunk: Option<&str>, to: &str) -> Call {
    use crate::domain::samples::{ACCOUNT, CALL, bare_event};
    use crate::domain::{CallField, CallId, merge};
    let mut event = bare_event(CallId { account: ACCOUNT, sid: CALL }, None, at(BEGUN));
    event.texts[CallField::To as usize] = Some(to.into());
    let mut call = merge(None, event, at(BEGUN));
    let origin = call.direction.origin;
    call.texts[CallField::OriginatingSipTrunkName as usize] =
        trunk.map(|value| crate::domain::Field { value: value.into(), origin });
    call
}

#[test]
fn what_does_not_fit_is_said() {
    let hour = Some((Interval::Hour, Zone::default()));
    let sample = |hours: u64| Sample {
        listed_at: at(BEGUN + hours * 60 * MINUTE),
        answered: false,
        seconds: 0,
        up: None,
    };
    let mut lines = Lines::new(Period::default(), hour.clone(), 0);
    for hours in 0..BUCKETS_MAX as u64 {
        lines.add(&sample(hours), None).unwrap();
    }
    assert_eq!(lines.add(&sample(BUCKETS_MAX as u64), None), Err(Exceeded::Buckets));
    let mut lines = Lines::new(Period::default(), hour, 99);
    for hours in 0..1000 {
        lines.add(&sample(hours), Some(1)).unwrap();
    }
    let exceeded = Exceeded::Cells { buckets: 1001, groups: 99 };
    assert_eq!(lines.add(&sample(1000), Some(1)), Err(exceeded));
    let mut counts = GroupCounts::default();
    let exceeded = (0..300_000_u32).find_map(|n| counts.add(&n.to_be_bytes(), 1).err());
    assert!(matches!(exceeded, Some(Exceeded::Groups(100_000..))), "{exceeded:?}");
    assert!(counts.bytes() < GROUPS_BYTES_MAX + 1000);
}
