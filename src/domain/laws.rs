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
    StampedEvent {
        id: CallId { account: samples::ACCOUNT, sid: samples::CALL },
        source: Source::Webhook,
        stamp: Stamp::live(at, Some(status)),
        status: Some(status),
        sip_status: None,
        sip_reason: None,
        duration: None,
        direction: Direction::Inbound,
        texts: Default::default(),
        extras: Vec::new(),
    }
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
        prop_assert!(call.extras.len() <= EXTRAS_MAX);
        prop_assert!(call.extras.iter().map(Extra::bytes).sum::<usize>() <= EXTRA_BYTES_MAX);
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
    untimed.stamp = Stamp::default();
    let call = merged(&[untimed, live(CallStatus::Completed, 5)], Timestamp::default());
    assert_eq!(call.progress.status, CallStatus::Completed, "an unknown time loses");
}

#[test]
fn an_unknown_status_changes_no_status_but_brings_the_rest() {
    let mut strange = live(CallStatus::Trying, 9);
    strange.status = None;
    strange.sip_status = Some(200);
    strange.texts[Known::CallerName as usize] = Some("Ada".into());
    let call = merged(&[live(CallStatus::Trying, 1), strange.clone()], Timestamp::default());
    assert_eq!((call.progress.status, call.progress.sip_status), (CallStatus::Trying, 100));
    assert_eq!(call.text(Known::CallerName), Some("Ada"));
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
