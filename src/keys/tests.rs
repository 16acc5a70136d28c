//! Keys against what they mean.

use proptest::prelude::*;

use super::*;

fn account() -> impl Strategy<Value = AccountSid> {
    prop::sample::select(vec![[0; 16], [1; 16], [0xff; 16]]).prop_map(AccountSid::from_bytes)
}

fn sid() -> impl Strategy<Value = CallSid> {
    prop_oneof![Just([0; 16]), Just([0xff; 16]), any::<[u8; 16]>()].prop_map(CallSid::from_bytes)
}

fn number() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['\0', '\u{1}', '+', '\u{ff}']), 0..4)
        .prop_map(String::from_iter)
}

fn position() -> impl Strategy<Value = Position> {
    let time = prop_oneof![Just(0), Just(Timestamp::MAX.millis()), 0..1000_u64];
    (time, sid()).prop_map(|(time, sid)| Position::new(Timestamp::from_millis(time).unwrap(), sid))
}

fn status_key() -> impl Strategy<Value = StatusKey> {
    let status = prop::sample::select(CallStatus::ALL.to_vec());
    prop_oneof![4 => status.prop_map(StatusKey::Status), 1 => Just(StatusKey::Stale)]
}

/// What a range means, in the order of its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Meaning {
    All(AccountSid),
    From(AccountSid, String),
    CallId(AccountSid, u32),
    To(AccountSid, String),
    Parent(AccountSid, CallSid),
    Status(AccountSid, u8, Direction),
}

fn range() -> impl Strategy<Value = (Meaning, Range)> {
    let direction = prop::sample::select(Direction::ALL.to_vec());
    prop_oneof![
        account().prop_map(|a| (Meaning::All(a), Range::all(a))),
        (account(), number()).prop_map(|(a, n)| (Meaning::From(a, n.clone()), Range::from(a, &n))),
        (account(), number()).prop_map(|(a, n)| (Meaning::To(a, n.clone()), Range::to(a, &n))),
        (account(), sid()).prop_map(|(a, p)| (Meaning::Parent(a, p), Range::parent(a, p))),
        (account(), number()).prop_map(|(a, n)| {
            (Meaning::CallId(a, crc32c::crc32c(n.as_bytes())), Range::call_id(a, &n))
        }),
        (account(), status_key(), direction)
            .prop_map(|(a, s, d)| { (Meaning::Status(a, s.byte(), d), Range::status(a, s, d)) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn the_order_of_keys_is_that_of_what_they_mean(
        a in (range(), position()), b in (range(), position()),
    ) {
        let (((meaning_a, range_a), at_a), ((meaning_b, range_b), at_b)) = (a, b);
        let keys = range_a.key(at_a).cmp(&range_b.key(at_b));
        prop_assert_eq!(keys, (meaning_a, at_a).cmp(&(meaning_b, at_b)));
    }

    #[test]
    fn no_range_holds_a_row_of_another(
        a in range(), b in range(), at in position(), order in any::<bool>(),
    ) {
        let order = if order { Order::NewestFirst } else { Order::OldestFirst };
        let key = b.1.key(at);
        let bounds = PositionSpan::all(order).keys(&a.1).unwrap();
        let within = std::ops::RangeBounds::contains(&bounds, &key);
        prop_assert_eq!(within, a.0 == b.0);
        prop_assert_eq!(a.1.position_in(&key), within.then_some(at));
    }

    #[test]
    fn all_keys_of_a_call_lie_in_ranges_of_its_own_account(
        mut call in crate::domain::samples::call(), account in account(), other in range(),
        parent in proptest::option::of(sid()),
    ) {
        call.id.account = account;
        if let Some(parent) = parent {
            call.texts[CallField::ParentCallSid as usize] = Some(crate::domain::Field {
                value: parent.to_string().into(),
                origin: call.direction.origin,
            });
        }
        prop_assert_eq!(call.parent(), parent);
        let index_keys = IndexKeys::of(&call);
        let keys = index_keys.keys(call.id);
        let call_ids: std::collections::BTreeSet<_> = call.call_ids().collect();
        let single = usize::from(call.parent().is_some()) + usize::from(call.live());
        prop_assert_eq!(keys.len(), 3 + single + call_ids.len());
        for key in keys {
            if other.1.position_in(&key).is_some() {
                prop_assert_eq!(account_in(&key), Some(account));
            }
            if key[0] == LIVE {
                prop_assert_eq!(id_at_end(&key), Some(call.id));
            } else {
                prop_assert_eq!(account_in(&key), Some(account));
                prop_assert_eq!(split(&key).map(|(_, position)| position), Some(Position::of(&call)));
            }
        }
    }

    #[test]
    fn what_is_left_after_a_position_is_what_comes_later(
        positions in prop::collection::btree_set(position(), 1..10),
        after in position(), newest in any::<bool>(), last in position(),
    ) {
        let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
        let span = PositionSpan::all(order).after(after);
        let range = Range::all(AccountSid::from_bytes([1; 16]));
        let bounds = span.keys(&range);
        let up_to_last = range.clone().until(last);
        let bounds_up_to_last = span.keys(&up_to_last);
        for position in positions {
            let later = if newest { position > after } else { position < after };
            let holds = |bounds: &Option<_>| {
                let key = range.key(position);
                bounds.as_ref().is_some_and(|bounds| std::ops::RangeBounds::contains(bounds, &key))
            };
            prop_assert_eq!(holds(&bounds), later);
            prop_assert_eq!(holds(&bounds_up_to_last), later && position <= last);
            prop_assert!(!(later && span.is_empty()));
        }
    }
}

#[test]
fn statuses_and_directions_have_their_bytes() {
    let account = AccountSid::from_bytes([1; 16]);
    let bytes = |status_key, direction| {
        let range = Range::status(account, status_key, direction);
        range.prefix()[range.prefix().len() - 2..].to_vec()
    };
    for (n, status) in (0..).zip(CallStatus::ALL) {
        assert_eq!(bytes(StatusKey::Status(status), Direction::Inbound), [n, 0], "{status}");
    }
    assert_eq!(bytes(StatusKey::Stale, Direction::Outbound), [0xf0, 1]);
}
