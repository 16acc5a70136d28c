//! Random events, for the laws of this and other rooms.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

/// An account that many tests share.
pub const ACCOUNT: AccountSid = AccountSid::from_bytes([0xa1; 16]);
/// A call that many tests share.
pub const CALL: CallSid = CallSid::from_bytes([0xc1; 16]);

/// One of a few times.
pub fn time() -> impl Strategy<Value = Timestamp> {
    // Few values, so that events often share one.
    (0..6_u64).prop_map(|n| Timestamp::from_millis(1_800_000_000_000 + n * 1000).unwrap())
}

/// Any status.
pub fn status() -> impl Strategy<Value = CallStatus> {
    prop::sample::select(CallStatus::ALL.to_vec())
}

fn text() -> impl Strategy<Value = Option<Box<str>>> {
    option::of(prop::sample::select(vec!["", "a", "+1555", "b\0c"]).prop_map(Box::from))
}

fn json() -> impl Strategy<Value = Box<str>> {
    prop_oneof![
        3 => prop::sample::select(vec!["1", "true", "\"x\"", "{\"a\":[1,2.50]}"]).prop_map(Box::from),
        1 => (0..9000_usize).prop_map(|n| format!("\"{}\"", "y".repeat(n)).into()),
    ]
}

fn stamp() -> impl Strategy<Value = Option<Stamp>> {
    let imported = (option::of(time()), option::of(time()), option::of(time()), option::of(time()));
    let imported = imported.prop_map(|(at, attempted_at, answered_at, terminated_at)| Stamp {
        at,
        listed_at: None,
        attempted_at,
        answered_at,
        terminated_at,
    });
    prop_oneof![2 => Just(None), 1 => imported.prop_map(Some)]
}

prop_compose! {
    /// Any event of [`CALL`].
    pub fn event()(
        stamp in stamp(),
        at in time(),
        source in prop::sample::select(vec![Source::Webhook, Source::Import]),
        status in option::weighted(0.9, status()),
        sip_status in option::of(100..700_u16),
        sip_reason in text(),
        duration in option::of(0..100_u32),
        direction in prop::sample::select(Direction::ALL.to_vec()),
        texts in prop::array::uniform8(text()),
        extras in btree_map("[a-e]{1,2}", json(), 0..6),
        many in prop::bool::weighted(0.1),
    ) -> StampedEvent {
        let mut extras: Vec<(Box<str>, Box<str>)> =
            extras.into_iter().map(|(key, json)| (key.into(), json)).collect();
        if many {
            extras.extend((0..50).map(|n| (format!("z{n:02}").into(), "0".into())));
        }
        StampedEvent {
            id: CallId { account: ACCOUNT, sid: CALL },
            source,
            stamp: stamp.unwrap_or_else(|| Stamp::live(at, status)),
            status,
            sip_status,
            sip_reason,
            duration,
            direction,
            texts,
            extras,
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
