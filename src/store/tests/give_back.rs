//! A log loses its end: what one store has applied of it is given back, and all stores are the same again.

use super::applied::{BEGIN, Sent, apply, hand_over_at, logged_at, messages, position, sent, told};
use super::*;
use crate::codec;

/// What ends what is given: in the test it is all in one message.
fn given(store: &Store, place: &LogPlace) -> Vec<Change> {
    let changed = store.changed_since(place.end).unwrap();
    let calls = changed.calls.iter().filter_map(|id| store.given(*id).unwrap());
    let settings = changed
        .settings
        .iter()
        .map(|(name, json)| Change::setting(given_setting(name.clone(), json.clone(), 4)));
    let hooks = changed.hooks.iter().filter_map(|head| store.given_hook(head).unwrap());
    calls.chain(settings).chain(hooks).collect()
}

fn apply_in(store: &Store, turn: u64, seq: u64, message: &Sent) {
    let at = LogPosition { turn, ..position(seq, message) };
    hand_over_at(store, at, message).unwrap().wait().unwrap();
}

#[test]
fn what_a_store_has_applied_and_the_log_has_lost_is_everywhere_again() {
    let messages = messages();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [mut ahead, behind] = [0, 1].map(|n| open(options(dirs[n].path())));
    for (store, count) in [(&ahead, 10), (&behind, 4)] {
        store.begin_log(BEGIN).unwrap();
        for (seq, message) in (1..).zip(&messages[..count]) {
            apply(store, seq, message);
        }
    }
    // The log ends with message 4 now, and goes on otherwise: with a call that was in what is lost, too.
    let at = logged_at(30);
    let ringing = |call, at| Change::Event(Box::new(event(id(1, call), CallStatus::Ringing, at)));
    let news =
        sent(0x51, &[(at, vec![ringing(10, at), ringing(11, at), Change::Delete(id(1, 2))])]);
    apply(&behind, 5, &news);
    let (places, is_all) = ahead.log_places(usize::MAX).unwrap();
    assert!(is_all);
    let (newest, is_all) = ahead.log_places(1).unwrap();
    assert!(!is_all && newest.len() < places.len() && places.ends_with(&newest));
    let seqs: Vec<_> = places.iter().map(|place| place.position.seq).collect();
    assert_eq!(seqs, (0..=10).collect::<Vec<_>>());
    let place = *places.iter().find(|place| place.position == position(4, &messages[3])).unwrap();
    let changes = given(&ahead, &place);
    let is_gone = |change: &Change| matches!(change, Change::Gone(gone) if *gone == id(1, 1));
    assert!(changes.iter().any(is_gone), "{changes:?}");
    let back = sent(0x52, &[(logged_at(31), changes)]);
    // It goes back; what it has stays.
    let before = told(&ahead);
    ahead.begin_log(LogPosition { turn: 6, ..place.position }).unwrap();
    assert_eq!(told(&ahead), before);
    // Should the log go back at once, the same is given once more.
    let again = *ahead.log_places(usize::MAX).unwrap().0.last().unwrap();
    assert_eq!((again.position.turn, again.end), (6, place.end));
    assert_eq!(ahead.log_epoch().unwrap(), format!("{}.6", "e1".repeat(16)));
    apply_in(&ahead, 6, 5, &news);
    ahead.close().unwrap();
    drop(ahead);
    ahead = open(Options { rebuild: true, ..options(dirs[0].path()) });
    assert_eq!(ahead.position(), Some(LogPosition { turn: 6, ..position(5, &news) }));
    behind.begin_log(LogPosition { turn: 6, ..position(5, &news) }).unwrap();
    for store in [&ahead, &behind] {
        apply_in(store, 6, 6, &back);
    }
    assert_eq!(told(&ahead), told(&behind));
    let calls = told(&behind).0;
    let sids: Vec<_> = calls.iter().map(|call| call.id).collect();
    assert!(sids.contains(&id(1, 10)) && sids.contains(&id(1, 11)), "{sids:?}");
    assert!(!sids.contains(&id(1, 1)) && !sids.contains(&id(1, 2)), "{sids:?}");
    // What led to what they are now, and not what is in the log no more.
    let seqs: Vec<_> =
        ahead.log_places(usize::MAX).unwrap().0.iter().map(|one| one.position).collect();
    let turned = |seq, message| LogPosition { turn: 6, ..position(seq, message) };
    assert_eq!(seqs[4..], [turned(4, &messages[3]), turned(5, &news), turned(6, &back)]);
    // A deletion of a call that was never known stands, too.
    let never = sent(0x53, &[(logged_at(32), vec![Change::Gone(id(1, 40))])]);
    let late = sent(0x54, &[(logged_at(33), vec![ringing(40, at)])]);
    for store in [&ahead, &behind] {
        apply_in(store, 6, 7, &never);
        apply_in(store, 6, 8, &late);
        assert!(told(store).0.iter().all(|call| call.id != id(1, 40)));
        assert_sound(store);
        store.collect(Depth::Erase).unwrap();
        assert_sound(store);
    }
    assert_eq!(told(&ahead), told(&behind));
    assert_eq!(codec::decode_message(&back.bytes).unwrap().submissions.len(), 1);
}
