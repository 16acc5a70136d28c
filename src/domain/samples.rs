//! Random events, for the properties of this and other modules.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

/// An account that many tests share.
pub const ACCOUNT: AccountSid = AccountSid::from_bytes([0xa1; 16]);
/// A call that many tests share.
pub const CALL: CallSid = CallSid::from_bytes([0xc1; 16]);

/// An event of a webhook that says nothing but a status.
pub fn bare_event(id: CallId, status: Option<CallStatus>, at: Timestamp) -> StampedEvent {
    StampedEvent {
        id,
        source: Source::Webhook,
        stamp: EventTimes::live(at, status),
        status,
        sip_status: None,
        sip_reason: None,
        duration: None,
        direction: Direction::Inbound,
        texts: Default::default(),
        extras: Vec::new(),
        left_out: LeftOut::default(),
        unread: Vec::new(),
    }
}

/// One of a few times.
pub fn time() -> impl Strategy<Value = Timestamp> {
    // Few values, so that events often share one.
    (0..6_u64).prop_map(|n| Timestamp::from_millis(1_800_000_000_000 + n * 1000).unwrap())
}

/// Any status.
pub fn status() -> impl Strategy<Value = CallStatus> {
    prop::sample::select(CallStatus::ALL.to_vec())
}

/// One of a few moments, many of them within one millisecond.
pub fn moment() -> impl Strategy<Value = Moment> {
    (time(), prop::sample::select(vec![0, 0, 1, 7, 999])).prop_map(|(t, n)| Moment::new(t, n))
}

fn text() -> impl Strategy<Value = Option<Box<str>>> {
    option::of(prop::sample::select(vec!["", "a", "+1555", "b\0c"]).prop_map(Box::from))
}

fn json() -> impl Strategy<Value = Box<str>> {
    let small = ["1", "true", "\"\"", "\"x\"", "\"a\"", "{\"a\":[1,2.50]}"];
    prop_oneof![
        6 => prop::sample::select(small.to_vec()).prop_map(Box::from),
        1 => (0..9000_usize).prop_map(|n| format!("\"{}\"", "y".repeat(n)).into()),
        1 => (0..400_usize).prop_map(|n| format!("\"{}\"", "y".repeat(n)).into()),
        1 => Just(format!("\"{}\"", "y".repeat(20_000)).into()),
    ]
}

/// Keys of one of several kinds: few, some, more than a record holds, and long ones.
fn extras() -> impl Strategy<Value = Vec<(Box<str>, Box<str>)>> {
    let keys = prop_oneof![
        6 => btree_map("[a-e]|[a-e]{2}|[a-e]{2}|s(bc|ip)_callid", json(), 0..6),
        1 => btree_map("[a-e]{1,3}", json(), 0..40),
        1 => btree_map("z[0-9]{2}", json(), 60..90),
        1 => btree_map("[a-c][x-z]{90,127}", json(), 0..30),
    ];
    keys.prop_map(|keys| keys.into_iter().map(|(key, json)| (key.into(), json)).collect())
}

/// What the reader of an event has left out of it.
fn left_out() -> impl Strategy<Value = LeftOut> {
    let names = |pattern, most| {
        let names = prop::collection::btree_set(pattern, 0..=most);
        names.prop_map(|names| names.into_iter().map(Box::from).collect::<Vec<Box<str>>>())
    };
    let some = (names("[f-g]{1,2}", 4), names("[f-k]{1,80}", 40));
    prop_oneof![
        4 => Just(LeftOut::default()),
        1 => some.prop_map(|(large, remembered)| LeftOut { large, remembered, more: 0 }),
    ]
}

fn stamp() -> impl Strategy<Value = Option<EventTimes>> {
    let times = (option::of(time()), option::of(time()), option::of(time()), option::of(time()));
    let imported = (option::of(moment()), times, any::<bool>());
    let imported = imported.prop_map(|(at, times, end_said)| EventTimes {
        at,
        listed_at: None,
        attempted_at: times.0,
        answered_at: times.1,
        terminated_at: times.2,
        said_attempted_at: times.3,
        said_answered_at: times.1,
        end_said,
    });
    prop_oneof![2 => Just(None), 1 => imported.prop_map(Some)]
}

prop_compose! {
    /// Any event of [`CALL`].
    pub fn event()(
        stamp in stamp(),
        at in moment(),
        source in prop::sample::select(vec![
            Source::Webhook,
            Source::Import,
            Source::Mirror,
            Source::Cdr,
        ]),
        status in option::weighted(0.9, status()),
        sip_status in option::of(100..700_u16),
        sip_reason in text(),
        duration in option::of(0..100_u32),
        direction in prop::sample::select(Direction::ALL.to_vec()),
        texts in prop::array::uniform8(text()),
        extras in extras(),
        left_out in left_out(),
    ) -> StampedEvent {
        StampedEvent {
            id: CallId { account: ACCOUNT, sid: CALL },
            source,
            stamp: stamp.unwrap_or_else(|| EventTimes::live(at, status)),
            status,
            sip_status,
            sip_reason,
            duration,
            direction,
            texts,
            extras,
            left_out,
            unread: Vec::new(),
        }
    }
}

prop_compose! {
    /// Any record: what some events make together.
    pub fn call()(events in vec(event(), 1..8), stale in any::<bool>(), at in time()) -> Call {
        let mut call = None;
        for event in events {
            call = Some(merge(call.as_ref(), event, at));
        }
        let call = call.unwrap();
        if stale && !call.ended() { call.into_stale(at) } else { call }
    }
}
