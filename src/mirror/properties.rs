//! What the mirror makes of hashes, and how that goes with webhooks.

use proptest::collection::vec;
use proptest::prelude::*;

use super::calls::{HashError, Reading, Seen, call_of, is_wanted, key_of, object_of};
use super::resp::Value;
use crate::config::WantedAccounts;
use crate::domain::{Call, CallId, EventTimes, Moment, StampedEvent, Timestamp, merge};
use crate::wire::{parse_event, write_call};

const URL: &str = "http://{host}:3000";
const BEGIN: u64 = 1_800_000_000_000;

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_millis(BEGIN + seconds * 1000).unwrap()
}

/// A call, and its hash after a status.
type State = (CallId, Vec<(String, String)>);

/// The recorded ones of both legs, in order.
fn states() -> Vec<State> {
    let recorded: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../tests/fixtures/redis-hashes.json")).unwrap();
    let states = recorded.iter().map(|state| {
        let hash = state["hash"].as_object().unwrap().iter();
        let hash = hash.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned()));
        (call_of(state["key"].as_str().unwrap().as_bytes()).unwrap(), hash.collect())
    });
    states.collect()
}

fn legs() -> [Vec<State>; 2] {
    let all = states();
    let first = all[0].0;
    let (a, b): (Vec<_>, Vec<_>) = all.into_iter().partition(|(call, _)| *call == first);
    assert_eq!((a.len(), b.len()), (4, 4));
    [a, b]
}

fn value(hash: &[(String, String)], map: bool) -> Value {
    let texts = hash.iter().flat_map(|(key, text)| [key, text]);
    let items = texts.map(|text| Value::Text(text.clone().into_bytes())).collect();
    if map { Value::Map(items) } else { Value::Array(items) }
}

fn webhook(hash: &[(String, String)], at: Moment) -> StampedEvent {
    let object: serde_json::Map<_, _> =
        hash.iter().map(|(key, text)| (key.clone(), text.clone().into())).collect();
    parse_event(&serde_json::Value::Object(object).to_string(), at, URL).unwrap()
}

fn read(seen: &mut Seen, call: CallId, value: &Value, live: Option<u64>) -> Option<StampedEvent> {
    let live = live.map(|seconds| time(seconds).into());
    match seen.read(call, value, live, time(100), URL).unwrap() {
        Reading::Nothing => None,
        Reading::News(news) => {
            seen.remember(&news);
            Some(news.event)
        }
    }
}

fn shown(call: &Call) -> serde_json::Value {
    let mut json = Vec::new();
    write_call(&mut json, call);
    serde_json::from_slice(&json).unwrap()
}

/// What the mirror does with one state: nothing, a live read, or a look afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Missed,
    Live,
    Found,
}

fn merged(events: &[StampedEvent]) -> Call {
    let first: Option<Call> = None;
    let merged =
        events.iter().fold(first, |call, event| Some(merge(call.as_ref(), event.clone(), time(0))));
    Call { listed_at: Timestamp::default(), ..merged.unwrap() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Hooks that were sent, some late and some never, and what the mirror read, live or afterwards,
    /// before and after a restart: any order of both gives the same call.
    #[test]
    fn any_interleaving_of_webhooks_and_mirror_gives_the_same_call(
        leg in 0..2_usize,
        hooks in vec(any::<bool>(), 4),
        late in vec(0..9_u64, 4),
        looks in vec(prop::sample::select(vec![Look::Missed, Look::Live, Look::Found]), 4),
        restart in 0..5_usize,
        map in any::<bool>(),
        order in vec(any::<u64>(), 16),
    ) {
        let states = &legs()[leg];
        let mut seen = Seen::default();
        seen.complete = true;
        let (mut from_hooks, mut from_mirror) = (Vec::new(), Vec::new());
        for (n, (call, hash)) in states.iter().enumerate() {
            let second = n as u64 * 10;
            if hooks[n] {
                from_hooks.push(webhook(hash, time(second + late[n]).into()));
            }
            if n == restart {
                seen = Seen::default();
            }
            let value = value(hash, map);
            match looks[n] {
                Look::Missed => {}
                Look::Live => from_mirror.extend(read(&mut seen, *call, &value, Some(second + 1))),
                Look::Found => {
                    let event = read(&mut seen, *call, &value, None);
                    prop_assert!(event.iter().all(|event| event.stamp == EventTimes::default()));
                    from_mirror.extend(event);
                }
            }
            // An unchanged hash is no event.
            if looks[n] != Look::Missed {
                prop_assert!(read(&mut seen, *call, &value, Some(second + 2)).is_none());
                prop_assert!(read(&mut seen, *call, &value, None).is_none());
            }
        }
        let all = [from_hooks.clone(), from_mirror.clone()].concat();
        prop_assume!(!all.is_empty());
        let expected = merged(&all);
        let other = [from_mirror.clone(), from_hooks].concat();
        prop_assert_eq!(&merged(&other), &expected);
        let mut mixed: Vec<_> = order.iter().zip(all.iter().chain(&all)).collect();
        mixed.sort_by_key(|(place, _)| **place);
        let mut mixed: Vec<_> = mixed.into_iter().map(|(_, event)| event.clone()).collect();
        // Each at least once, in whatever order.
        mixed.extend(all);
        prop_assert_eq!(&merged(&mixed), &expected);
        // What a further look finds of a state that is known with its time is no change.
        let (call, hash) = states.last().unwrap();
        if looks[3] == Look::Live {
            let again = read(&mut Seen::default(), *call, &value(hash, map), None).unwrap();
            prop_assert_eq!(&merge(Some(&expected), again, time(0)), &expected);
        }
    }

    #[test]
    fn no_answer_makes_the_reader_of_hashes_panic(
        texts in vec("[a-zA-Z]{0,6}|callSid|accountSid|callStatus|\\PC{0,9}", 0..9),
        map in any::<bool>(),
    ) {
        let items: Vec<_> = texts.into_iter().map(|text| Value::Text(text.into_bytes())).collect();
        let value = if map { Value::Map(items) } else { Value::Array(items) };
        let call = legs()[0][0].0;
        let _either_way = Seen::default().read(call, &value, None, time(0), URL);
    }
}

#[test]
fn of_a_call_that_was_read_twice_what_was_before_the_first_is_left() {
    let [states, _] = legs();
    let (mut seen, mut undone) = (Seen::default(), Vec::new());
    for (call, hash) in [&states[0], &states[3]] {
        let read =
            seen.read(*call, &value(hash, true), Some(time(1).into()), time(1), URL).unwrap();
        let Reading::News(news) = read else { panic!("{hash:?} is no news") };
        seen.remember(&news);
        undone.push((*call, news.before));
    }
    seen.undo(undone.into_iter());
    assert!(!seen.knows(states[0].0));
}

#[test]
fn a_time_is_known_where_the_change_was_reported_and_only_of_what_changed() {
    let [states, _] = legs();
    let call = states[0].0;
    let mut seen = Seen::default();
    seen.complete = true;
    // In progress when it was found; then something else of it changes, and then it ends.
    let mut events = vec![read(&mut seen, call, &value(&states[2].1, true), None).unwrap()];
    let mut other = states[2].1.clone();
    other.push(("fsPublicIp".to_owned(), "203.0.113.9".to_owned()));
    events.push(read(&mut seen, call, &value(&other, true), Some(5)).unwrap());
    let call_now = shown(&merged(&events));
    assert_eq!(call_now["fs_public_ip"], "203.0.113.9");
    assert_eq!((call_now.get("answered_at"), call_now.get("attempted_at")), (None, None));
    events.push(read(&mut seen, call, &value(&states[3].1, true), Some(9)).unwrap());
    let ended = shown(&merged(&events));
    assert_eq!(ended["terminated_at"], "2027-01-15T08:00:09.000Z");
    assert_eq!((ended.get("answered_at"), ended.get("attempted_at")), (None, None));
    assert_eq!((&ended["time_unknown"], &ended["duration"]), (&true.into(), &43.into()));
    // While not all calls have been looked through, a call that is not known may have begun before.
    let mut seen = Seen::default();
    let event = read(&mut seen, call, &value(&states[2].1, true), Some(5)).unwrap();
    let answered = shown(&merged(&[event]));
    assert_eq!((answered["answered_at"].is_string(), answered.get("attempted_at")), (true, None));
    let event = read(&mut Seen::default(), call, &value(&states[0].1, true), Some(5)).unwrap();
    assert!(shown(&merged(&[event]))["attempted_at"].is_string());
}

#[test]
fn what_is_not_on_disk_is_read_again_as_it_was() {
    let [states, _] = legs();
    let call = states[0].0;
    let mut seen = Seen::default();
    seen.complete = true;
    read(&mut seen, call, &value(&states[0].1, true), Some(1)).unwrap();
    let ended = value(&states[3].1, true);
    for _ in 0..2 {
        let at = Some(time(9).into());
        let Ok(Reading::News(news)) = seen.read(call, &ended, at, time(9), URL) else { panic!() };
        seen.remember(&news);
        assert!(
            news.event.stamp.terminated_at.is_some() && news.event.stamp.attempted_at.is_none()
        );
        assert!(!seen.wants(call), "it has ended");
        seen.undo(std::iter::once((call, news.before)));
        assert!(seen.wants(call));
    }
}

#[test]
fn calls_that_are_gone_are_forgotten_and_end_nothing() {
    let [a, b] = legs();
    let mut seen = Seen::default();
    for states in [&a, &b] {
        read(&mut seen, states[0].0, &value(&states[0].1, true), Some(1)).unwrap();
    }
    assert_eq!((seen.len(), seen.active().len()), (2, 2));
    seen.begin_round();
    assert!(seen.wants(a[0].0));
    seen.end_round();
    assert!(seen.knows(a[0].0) && !seen.knows(b[0].0) && seen.complete);
    for gone in [Value::Map(Vec::new()), Value::Array(Vec::new()), Value::Null] {
        assert!(read(&mut seen, a[0].0, &gone, Some(2)).is_none());
        assert!(!seen.knows(a[0].0));
    }
}

#[test]
fn keys_and_hashes_are_taken_as_jambonz_writes_them_or_not_at_all() {
    let [states, _] = legs();
    let (call, hash) = &states[0];
    assert_eq!(call_of(key_of(*call).as_bytes()), Some(*call));
    let upper = key_of(*call).to_uppercase().replace("CALL:", "call:");
    for key in ["", "call:", "call:a:b", "xcall:", "active-call-sids", &upper] {
        assert_eq!(call_of(key.as_bytes()), None, "{key}");
    }
    assert_eq!(call_of(&[b"call:\xff", &key_of(*call).as_bytes()[6..]].concat()), None);
    let one = [WantedAccounts::One(call.account)];
    assert!(is_wanted(&one, call.account) && is_wanted(&[WantedAccounts::All], call.account));
    assert!(!is_wanted(&one, crate::domain::AccountSid::from_bytes([1; 16])));
    let json = object_of(&value(hash, false)).unwrap().unwrap();
    assert_eq!(json, object_of(&value(hash, true)).unwrap().unwrap());
    let mut turned = hash.clone();
    turned.reverse();
    assert_eq!(json, object_of(&value(&turned, true)).unwrap().unwrap());
    let mut foreign = hash.clone();
    foreign.retain(|(key, _)| key != "accountSid");
    foreign.push(("accountSid".to_owned(), "b1a7f3a2-0c55-4f6e-9c1d-7a9e2f4d8e10".to_owned()));
    let read = Seen::default().read(*call, &value(&foreign, true), None, time(0), URL);
    assert!(matches!(read, Err(HashError::OtherCall)));
    let many: Vec<_> = (0..2000).map(|n| (format!("k{n}"), String::new())).collect();
    assert!(matches!(object_of(&value(&many, true)), Err(HashError::TooLarge)));
    let large = [("x".to_owned(), "y".repeat(300_000))];
    assert!(matches!(object_of(&value(&large, true)), Err(HashError::TooLarge)));
    assert!(matches!(object_of(&Value::Integer(1)), Err(HashError::Shape(_))));
}
