//! The laws of the merge.

use proptest::collection::vec;
use proptest::prelude::*;

use super::samples::{event, time};
use super::*;

fn merged(events: &[StampedEvent], received_at: Timestamp) -> Call {
    let mut call: Option<Call> = None;
    for event in events {
        call = Some(merge(call.as_ref(), event.clone(), received_at));
    }
    let mut call = call.unwrap();
    call.listed_at = Timestamp::default();
    call
}

fn live(status: CallStatus, at: u64) -> StampedEvent {
    let at = Timestamp::from_millis(at).unwrap();
    let id = CallId { account: samples::ACCOUNT, sid: samples::CALL };
    samples::bare_event(id, Some(status), at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn order_and_repetition_do_not_matter(
        (events, shuffled) in vec(event(), 1..12).prop_flat_map(|events| {
            let repeated = [events.clone(), events.clone()].concat();
            (Just(events), Just(repeated).prop_shuffle())
        }),
        at in time(),
    ) {
        prop_assert_eq!(merged(&events, at), merged(&shuffled, at));
    }

    #[test]
    fn the_join_of_records_is_that_of_their_events(
        left in vec(event(), 1..8),
        right in vec(event(), 1..8),
        at in time(),
    ) {
        let all = [left.clone(), right.clone()].concat();
        let joined = merged(&left, at).join(&merged(&right, at));
        prop_assert_eq!(merged(&all, at), joined);
    }

    #[test]
    fn a_record_stays_within_its_bounds(events in vec(event(), 1..40), at in time()) {
        let call = merged(&events, at);
        let Extras { kept, dropped, remembered, .. } = &call.extras;
        prop_assert!(kept.len() + dropped.len() <= EXTRAS_MAX);
        let names: usize = dropped.iter().map(|gone| gone.key.len()).sum();
        let values: usize = kept.iter().map(Extra::size).sum();
        prop_assert!(values + names <= EXTRA_BYTES_MAX);
        prop_assert!(remembered.len() <= REMEMBERED_MAX);
        prop_assert!(kept.is_sorted_by(|a, b| a.key < b.key));
        prop_assert!(dropped.is_sorted_by(|a, b| a.key < b.key));
        prop_assert!(call.timeline.len() <= TIMELINE_MAX);
        prop_assert!(call.timeline.is_sorted_by_key(|entry| entry.at));
    }

    #[test]
    fn a_known_call_keeps_its_place(first in event(), second in event(), a in time(), b in time()) {
        let call = merge(None, first, a);
        prop_assert_eq!(merge(Some(&call), second, b).listed_at, call.listed_at);
    }
}

#[test]
fn a_late_event_does_not_make_an_ended_call_ring() {
    let call = merged(
        &[
            live(CallStatus::Trying, 1),
            live(CallStatus::Completed, 5),
            live(CallStatus::Ringing, 9),
        ],
        Timestamp::default(),
    );
    assert_eq!(call.progress.status, CallStatus::Completed);
    assert_eq!(call.progress.terminated_at, Timestamp::from_millis(5));
}

#[test]
fn a_call_ends_once_at_its_first_final_event() {
    let ended = [live(CallStatus::Completed, 5), live(CallStatus::Failed, 9)];
    let call = merged(&ended, Timestamp::default());
    assert_eq!(call.progress.status, CallStatus::Completed);
    let mut untimed = live(CallStatus::Failed, 1);
    untimed.stamp = EventTimes::default();
    let call = merged(&[untimed, live(CallStatus::Completed, 5)], Timestamp::default());
    assert_eq!(call.progress.status, CallStatus::Completed, "an unknown time loses");
}

#[test]
fn an_unknown_status_changes_no_status_but_brings_the_rest() {
    let mut strange = live(CallStatus::Trying, 9);
    strange.status = None;
    strange.sip_status = Some(200);
    strange.texts[CallField::CallerName as usize] = Some("Ada".into());
    let call = merged(&[live(CallStatus::Trying, 1), strange.clone()], Timestamp::default());
    assert_eq!((call.progress.status, call.progress.sip_status), (CallStatus::Trying, 100));
    assert_eq!(call.text(CallField::CallerName), Some("Ada"));
    let alone = merged(&[strange], Timestamp::default());
    assert_eq!((alone.progress.status, alone.progress.sip_status), (CallStatus::Trying, 100));
}

#[test]
fn a_stale_call_comes_back_with_its_next_event_and_only_then() {
    let ringing = live(CallStatus::Ringing, 1);
    let at = Timestamp::from_millis(100).unwrap();
    let stale = merge(None, ringing.clone(), at).into_stale(at);
    assert!(stale.stale && !stale.live());
    assert!(merge(Some(&stale), ringing, at).stale, "nothing new was heard");
    assert!(!merge(Some(&stale), live(CallStatus::InProgress, 200), at).stale);
    assert_eq!(stale.last_event_at().millis(), 1, "noticing is not hearing");
}

#[test]
fn duration_is_said_or_derived_or_absent() {
    let derived = merged(
        &[live(CallStatus::InProgress, 1000), live(CallStatus::Completed, 46_500)],
        Timestamp::default(),
    );
    assert_eq!(derived.duration(), Some(45));
    let busy = merged(&[live(CallStatus::Busy, 5)], Timestamp::default());
    assert_eq!(busy.duration(), None);
    let mut said = live(CallStatus::Completed, 46_500);
    said.duration = Some(40);
    assert_eq!(merged(&[said], Timestamp::default()).duration(), Some(40));
}

proptest! {
    #[test]
    fn every_match_lies_within_the_bounds_of_its_filter(
        call in samples::call(), start in proptest::option::of(time()), end in proptest::option::of(time()),
    ) {
        let filter = Filter { start, end, ..Filter::default() };
        let (first, last) = filter.bounds();
        let place = Position::of(&call);
        let within = place >= first && last.is_none_or(|last| place < last);
        prop_assert_eq!(filter.matches(&call), within);
        prop_assert_eq!(Position::from_bytes(place.to_bytes()), place);
    }
}

/// Events that compete for space: many keys, of sizes that grow and shrink from event to event.
fn many_keys() -> impl Strategy<Value = Vec<StampedEvent>> {
    let bytes = prop_oneof![4 => 2..200_usize, 2 => 2..3000_usize, 1 => Just(20_000_usize)];
    let few = proptest::collection::btree_map("[a-h]", bytes.clone(), 0..8);
    let many = proptest::collection::btree_map("[a-h][a-z0-9]{0,2}", bytes, 0..80);
    let events = prop_oneof![2 => vec(few, 1..10), 1 => vec(many, 1..6)];
    (events, vec(0..5_u64, 10)).prop_map(|(events, at)| {
        let events = events.into_iter().zip(at).map(|(keys, at)| {
            let value = |bytes| format!("\"{}\"", "x".repeat(bytes - 2));
            let mut event = live(CallStatus::Ringing, at);
            event.extras =
                keys.into_iter().map(|(key, bytes)| (key.into(), value(bytes).into())).collect();
            event
        });
        events.collect()
    })
}

/// What of some events is to be kept, without any order among them.
fn kept(events: &[StampedEvent]) -> Vec<Box<str>> {
    let mut sizes: std::collections::BTreeMap<Box<str>, (usize, usize)> =
        std::collections::BTreeMap::new();
    for event in events {
        let (pairs, left_out) = bounded(event.extras.clone(), LeftOut::default());
        let never = left_out.large.into_iter().map(|key| (key, EXTRA_BYTES_MAX + 1));
        for (key, bytes) in
            pairs.into_iter().map(|(k, json)| (k.clone(), k.len() + json.len())).chain(never)
        {
            let span = sizes.entry(key).or_insert((bytes, bytes));
            *span = (span.0.min(bytes), span.1.max(bytes));
        }
    }
    let mut names: Vec<_> = sizes.keys().cloned().collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    let crowded = names.len() > EXTRAS_MAX;
    names.truncate(EXTRAS_MAX);
    names.sort();
    names.retain(|name| {
        let most = sizes[name].1;
        if crowded {
            return most <= EXTRA_BYTES_MAX / EXTRAS_MAX;
        }
        let others = sizes.iter().filter(|(other, _)| *other != name);
        let cost: usize = others
            .map(|(other, span)| {
                let smaller = (span.0, other) < (most, name);
                if smaller { span.1.min(most) } else { other.len() }
            })
            .sum();
        most + cost <= EXTRA_BYTES_MAX
    });
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_left_out_does_not_depend_on_the_order_of_arrival(
        (events, shuffled) in many_keys().prop_flat_map(|events| {
            let repeated = [events.clone(), events.clone()].concat();
            (Just(events), Just(repeated).prop_shuffle())
        }),
        cut in any::<prop::sample::Index>(),
        at in time(),
    ) {
        let call = merged(&events, at);
        prop_assert_eq!(&call, &merged(&shuffled, at));
        let (left, right) = shuffled.split_at(cut.index(shuffled.len()).max(1));
        if !right.is_empty() {
            prop_assert_eq!(&call, &merged(right, at).join(&merged(left, at)));
        }
        let names: Vec<_> = call.extras.kept.iter().map(|extra| extra.key.clone()).collect();
        prop_assert_eq!(names, kept(&events));
        let named: Vec<_> = call.extras.names_left_out().collect();
        let sent: std::collections::BTreeSet<_> =
            events.iter().flat_map(|event| &event.extras).map(|(key, _)| &**key).collect();
        let gone = sent.iter().filter(|key| call.extras.get(key).is_none()).count();
        prop_assert!(gone == 0 || !named.is_empty());
        prop_assert!(gone > EXTRAS_MAX || named.len() >= gone.min(REMEMBERED_MAX), "{named:?}");
    }

    #[test]
    fn small_keys_are_kept_whatever_else_there_is(events in many_keys(), at in time()) {
        // So many that none is left out for the number of keys.
        let mut events = events;
        for event in &mut events {
            event.extras.truncate(30);
        }
        let names: std::collections::BTreeSet<_> =
            events.iter().flat_map(|event| &event.extras).map(|(key, _)| key.clone()).collect();
        prop_assume!(names.len() < EXTRAS_MAX);
        let last = events.last_mut().unwrap();
        last.extras.push(("zz".into(), "\"small\"".into()));
        for events in [events.clone(), events.into_iter().rev().collect()] {
            let call = merged(&events, at);
            prop_assert_eq!(call.extras.get("zz"), Some("\"small\""));
        }
    }
}

#[test]
fn the_largest_is_left_out_and_named_and_stays_out() {
    let with = |at, pairs: &[(&str, usize)]| {
        let value = |bytes| format!("\"{}\"", "x".repeat(bytes)).into();
        let mut event = live(CallStatus::InProgress, at);
        event.extras = pairs.iter().map(|(key, bytes)| ((*key).into(), value(*bytes))).collect();
        event
    };
    let events = [
        with(1, &[("customerData", 100), ("trace_id", 36)]),
        with(2, &[("customerData", 20_000), ("headers", 17_000), ("notes", 5000)]),
        with(3, &[("customerData", 100), ("zz", 3)]),
    ];
    let call = merged(&events, Timestamp::default());
    let kept: Vec<_> = call.extras.kept.iter().map(|extra| &*extra.key).collect();
    assert_eq!(kept, ["notes", "trace_id", "zz"]);
    assert_eq!(call.extras.names_left_out().collect::<Vec<_>>(), ["customerData", "headers"]);
    // One event of many keys keeps the smallest.
    let many: Vec<(String, usize)> = (0..70).map(|n| (format!("key{n}"), 100 - n)).collect();
    let many: Vec<(&str, usize)> = many.iter().map(|(key, bytes)| (&**key, *bytes)).collect();
    let call = merged(&[with(1, &many)], Timestamp::default());
    assert_eq!((call.extras.kept.len(), call.extras.crowded), (EXTRAS_MAX, false));
    let named: Vec<_> = call.extras.names_left_out().collect();
    assert_eq!(named, ["key0", "key1", "key2", "key3", "key4", "key5"]);
}

#[test]
fn an_empty_text_never_replaces_a_known_one() {
    let mut first = live(CallStatus::InProgress, 1);
    first.sip_reason = Some("OK".into());
    let mut second = live(CallStatus::InProgress, 9);
    second.sip_reason = Some("".into());
    for field in CallField::ALL {
        first.texts[field as usize] = Some("known".into());
        second.texts[field as usize] = Some("".into());
    }
    first.extras = vec![("x".into(), "\"known\"".into())];
    second.extras = vec![("x".into(), "\"\"".into())];
    for events in [[first.clone(), second.clone()], [second.clone(), first.clone()]] {
        let call = merged(&events, Timestamp::default());
        assert!(CallField::ALL.into_iter().all(|field| call.text(field) == Some("known")));
        assert_eq!(call.extras.get("x"), Some("\"known\""));
        assert_eq!(call.sip_reason(), Some("OK"));
    }
    let mut busy = live(CallStatus::Busy, 10);
    busy.sip_reason = Some("".into());
    let call = merged(&[first, second, busy], Timestamp::default());
    assert_eq!(call.sip_reason(), None, "it was the phrase of another status");
}

#[test]
fn of_two_events_of_one_millisecond_the_later_one_counts() {
    let at = Timestamp::from_millis(5).unwrap();
    for (first, last) in [("trying", "queued"), ("queued", "trying"), ("ringing", "alerting")] {
        let said = |word: &str, micros| {
            let status: CallStatus = word.parse().unwrap();
            let mut event = live(status, 5);
            event.stamp = EventTimes::live(Moment::new(at, micros), Some(status));
            event.texts[CallField::CallerName as usize] = Some(word.into());
            event
        };
        for events in [[said(first, 1), said(last, 2)], [said(last, 2), said(first, 1)]] {
            let call = merged(&events, Timestamp::default());
            assert_eq!(call.progress.status.as_str(), last);
            assert_eq!(call.text(CallField::CallerName), Some(last));
            assert_eq!(call.attempted_at, Some(at));
        }
    }
}

#[test]
fn a_duration_is_believed_as_far_as_the_sources_own_times_allow() {
    let call = |duration, said: fn(&mut EventTimes)| {
        let mut event = live(CallStatus::Completed, 100_000);
        event.duration = Some(duration);
        event.stamp.attempted_at = Timestamp::from_millis(40_000);
        event.stamp.answered_at = Timestamp::from_millis(58_000);
        said(&mut event.stamp);
        merged(&[event], Timestamp::default()).duration()
    };
    let all = |stamp: &mut EventTimes| {
        (stamp.said_attempted_at, stamp.end_said) = (stamp.attempted_at, true);
    };
    assert_eq!(call(42, all), Some(42));
    assert_eq!(call(61, all), Some(61), "it was rounded up");
    assert_eq!(call(62, all), Some(42), "as the times say");
    let answer = |stamp: &mut EventTimes| {
        (stamp.said_answered_at, stamp.end_said) = (stamp.answered_at, true);
    };
    assert_eq!(call(62, answer), Some(42));
    for heard in [
        |_: &mut EventTimes| {},
        |stamp: &mut EventTimes| stamp.end_said = true,
        |stamp: &mut EventTimes| stamp.said_attempted_at = stamp.attempted_at,
        |stamp: &mut EventTimes| {
            (stamp.said_attempted_at, stamp.end_said) = (Timestamp::from_millis(90_000), true);
        },
    ] {
        assert_eq!(call(4000, heard), Some(4000), "no event says otherwise");
    }
}
