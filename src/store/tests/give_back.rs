//! A log loses its end: what one store has applied of it is given back, and all stores are the same again.

use std::collections::BTreeSet;

use super::super::outbox::last_of_message;
use super::applied::{BEGIN, Sent, apply, hand_over_at, logged_at, messages, position, sent, told};
use super::placing::{cdr, waiting, webhook};
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
    // Nor is less given where the log loses more before what was given is there.
    let later = *ahead.log_places(usize::MAX).unwrap().0.last().unwrap();
    assert_eq!((later.position.seq, later.end), (5, place.end));
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

const TARGET: &str = "customer";

fn audience() -> Audience {
    Audience { account: account(1), applications: Vec::new() }
}

/// A call, and a webhook of it with this body.
fn call_with_hook(call: u8, body: &str) -> Vec<Change> {
    let hook = Hook {
        account: account(1),
        applications: None,
        calls: vec![id(1, call).sid],
        content_type: Vec::new(),
        b3: Vec::new(),
        body: body.as_bytes().to_vec().into(),
        origin: None,
    };
    let event = event(id(1, call), CallStatus::Ringing, logged_at(u64::from(call)));
    vec![Change::Event(Box::new(event)), Change::Forward(Arc::new(hook))]
}

/// A message of one webhook, and how its receivers are to know that.
fn hook_message(id: u8, body: &str) -> (Sent, (String, String)) {
    let message = sent(id, &[(logged_at(u64::from(id)), call_with_hook(id, body))]);
    (message, (format!("{}-0", format!("{id:02x}").repeat(16)), body.to_owned()))
}

/// Ids and bodies of all webhooks that the target is still to be sent, by what is stored of it; read from the list in
/// memory where that has them, and from the journal.
fn to_be_sent(store: &Store) -> [BTreeSet<(String, String)>; 2] {
    let (_, progress) = store.forward_targets().pop().unwrap();
    let progress = progress.lock().clone();
    [true, false].map(|in_memory| {
        let mut progress = progress.clone();
        let mut reader = HookReader::default();
        let mut found = BTreeSet::new();
        while let Some(span) = progress.next_span().filter(|_| progress_goes_on(store, &progress)) {
            let listed = in_memory.then(|| store.recent_hooks(span, &audience(), 2)).flatten();
            let read = match listed {
                Some(read) => read,
                None => store.read_hooks(&mut reader, span, &audience(), 2).unwrap(),
            };
            progress.advance(span, read.read_to, read.hooks.iter().map(|head| head.number));
        }
        let held: Vec<u64> = progress.held().map(|(number, _)| number).collect();
        for head in store.find_hooks(&held).unwrap() {
            let HookLookup::Found(content) = store.hook_content(&head).unwrap() else {
                panic!("{head:?}")
            };
            let body = String::from_utf8(content.body.to_vec()).unwrap();
            found.insert((head.delivery_id(), body));
        }
        found
    })
}

fn progress_goes_on(store: &Store, progress: &ForwardProgress) -> bool {
    progress.next_span().is_some_and(|span| span.next <= store.shared.view.last_number())
}

/// What a store may do between two messages.
const BETWEEN: [&str; 6] = ["nothing", "start", "checkpoint", "pack", "rebuild", "crash"];

fn between(store: Store, options: &Options, what: &str) -> Store {
    match what {
        "nothing" => return store,
        "checkpoint" => store.shared.checkpoint_now().unwrap(),
        "pack" => {
            wake(&store);
            store.collect(Depth::Erase).unwrap();
        }
        _ => {}
    }
    if what == "crash" {
        let image = tempfile::tempdir().unwrap();
        crash_image(&store, image.path());
        store.close().unwrap();
        drop(store);
        fs::remove_dir_all(&options.data_dir).unwrap();
        fs::rename(image.keep(), &options.data_dir).unwrap();
    } else {
        store.close().unwrap();
        drop(store);
    }
    open(Options { rebuild: what == "rebuild", ..options.clone() })
}

#[test]
fn webhooks_of_messages_that_the_log_has_lost_are_told_from_those_that_have_their_numbers_now() {
    for what in BETWEEN {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let all = [0, 1].map(|n| Options {
            segment_bytes: [2 << 10, 1 << 20][n],
            ..options(&dirs[n].path().join("data"))
        });
        let [mut ahead, mut behind] = [0, 1].map(|n| open(all[n].clone()));
        for store in [&ahead, &behind] {
            store.begin_log(BEGIN).unwrap();
        }
        ahead.sends_hooks(true);
        ahead.set_forward_targets(vec![(TARGET.to_owned(), audience())]);
        let rows = sent(1, &[(logged_at(1), ahead.forward_rows(true))]);
        let (mut log, mut expected) = (vec![rows], BTreeSet::new());
        for n in 2..=8 {
            let (message, hook) = hook_message(n, &format!("hook {n}"));
            log.push(message);
            expected.insert(hook);
        }
        for (seq, message) in (1..).zip(&log) {
            apply(&ahead, seq, message);
            if seq <= 4 {
                apply(&behind, seq, message);
            }
        }
        // The target is away: what the one who sends has read of it comes into the log, too.
        let (_, progress) = ahead.forward_targets().pop().unwrap();
        let span = progress.lock().next_span().unwrap();
        let read = ahead.recent_hooks(span, &audience(), 100).unwrap();
        assert_eq!(read.hooks.len(), 7);
        progress.lock().advance(span, read.read_to, read.hooks.iter().map(|head| head.number));
        let row = sent(9, &[(logged_at(9), ahead.forward_rows(true))]);
        apply(&ahead, 9, &row);
        ahead.sends_hooks(false);
        // The log ends with message 4, and goes on with others. One is what a sender of before still has written.
        let (fifth, hook) = hook_message(0x55, "another hook 5");
        expected.insert(hook);
        let two = [7, 8].map(|n| call_with_hook(n, &format!("another hook {n}")));
        let seventh = sent(0x57, &two.map(|changes| (logged_at(30), changes)));
        let second = |n| (format!("{}-{n}", "57".repeat(16)), format!("another hook {}", 7 + n));
        expected.extend([0, 1].map(second));
        for (seq, message) in (5..).zip([&fifth, &row, &seventh]) {
            apply(&behind, seq, message);
        }
        // What that one says of numbers that are yet to come counts for nothing.
        let news = BTreeSet::from([0, 1].map(second));
        assert!(news.is_subset(&to_be_sent(&behind)[1]), "{what}");
        let (places, _) = ahead.log_places(usize::MAX).unwrap();
        let place = *places.iter().find(|place| place.position == position(4, &log[3])).unwrap();
        let back = sent(0x60, &[(logged_at(31), given(&ahead, &place))]);
        ahead.begin_log(LogPosition { turn: 8, ..place.position }).unwrap();
        let agreed: BTreeSet<_> = expected
            .iter()
            .filter(|(_, body)| ("hook 2".."hook 5").contains(&body.as_str()))
            .cloned()
            .collect();
        for n in 0..2 {
            assert_eq!(to_be_sent(&ahead), [(); 2].map(|()| agreed.clone()), "{what}, {n}");
            let (_, progress) = ahead.forward_targets().pop().unwrap();
            assert!(progress.lock().needs(last_of_message(5)), "what comes is for it: {what}, {n}");
            assert!(!ahead.forward_paused(), "{what}, {n}");
            ahead = between(ahead, &all[0], what);
        }
        // What is lost at once is given once more, by the same names.
        let again = *ahead.log_places(usize::MAX).unwrap().0.last().unwrap();
        let again = given(&ahead, &again);
        let origin = |change: &Change| match change {
            Change::Forward(hook) => hook.origin.map(|origin| origin.id[0]),
            _ => None,
        };
        assert_eq!(again.iter().filter_map(origin).collect::<Vec<_>>(), [5, 6, 7, 8], "{what}");
        for (seq, message) in (5..).zip([&fifth, &row, &seventh]) {
            apply_in(&ahead, 8, seq, message);
            ahead = between(ahead, &all[0], what);
        }
        behind.begin_log(LogPosition { turn: 8, ..position(7, &seventh) }).unwrap();
        behind = between(behind, &all[1], what);
        for store in [&ahead, &behind] {
            apply_in(store, 8, 8, &back);
        }
        assert_eq!(told(&ahead), told(&behind));
        for n in 0..2 {
            for store in [&ahead, &behind] {
                assert_eq!(to_be_sent(store), [(); 2].map(|()| expected.clone()), "{what}, {n}");
            }
            ahead = between(ahead, &all[0], what);
            behind = between(behind, &all[1], what);
        }
        // Those of the life that is over have left the journal once it is packed.
        wake(&ahead);
        ahead.collect(Depth::Erase).unwrap();
        assert_eq!(to_be_sent(&ahead)[1], expected, "{what}");
    }
}

#[test]
fn a_cdr_brings_no_call_back_that_was_deleted_where_its_call_id_was_lost() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [ahead, behind] = [0, 1].map(|n| open(options(dirs[n].path())));
    let at = logged_at(1);
    let says = |event: StampedEvent| Change::Event(Box::new(event));
    let before = sent(0x61, &[(at, vec![says(event(id(1, 7), CallStatus::Ringing, at))])]);
    let lost = sent(0x62, &[(at, vec![says(webhook(1, 7, "sbc-7", CallStatus::InProgress, 1))])]);
    let deleted = sent(0x63, &[(at, vec![Change::Delete(id(1, 7))])]);
    for (store, messages) in [(&ahead, [&before, &lost]), (&behind, [&before, &deleted])] {
        store.begin_log(BEGIN).unwrap();
        for (seq, message) in (1..).zip(messages) {
            apply(store, seq, message);
        }
    }
    let gone = gone_instead(&ahead.given(id(1, 7)).unwrap().unwrap());
    assert_eq!(gone.len(), 3, "{gone:?}");
    let back = sent(0x64, &[(at, gone)]);
    let cdr = sent(0x65, &[(at, vec![says(cdr(1, None, "sbc-7", CallStatus::Completed))])]);
    ahead.begin_log(LogPosition { turn: 3, ..position(1, &before) }).unwrap();
    apply_in(&ahead, 3, 2, &deleted);
    behind.begin_log(LogPosition { turn: 3, ..position(2, &deleted) }).unwrap();
    for store in [&ahead, &behind] {
        apply_in(store, 3, 3, &back);
        apply_in(store, 3, 4, &cdr);
        assert_eq!(waiting(store), 0);
    }
    assert_eq!(ahead.content().unwrap(), behind.content().unwrap());
    assert_eq!(told(&ahead).0, []);
}
