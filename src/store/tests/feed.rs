//! The change feed: applied in order it is the store, from wherever it goes on.

use std::collections::BTreeMap;

use super::*;

const SMALL: FeedBudget = FeedBudget { frames: 3, read: 1 << 20, bytes: 4096 };
pub(super) const WIDE: FeedBudget = FeedBudget { frames: 1000, read: 1 << 20, bytes: 1 << 20 };

/// What somebody knows who applies the feed.
type Copied = BTreeMap<CallId, Arc<Call>>;

fn apply(copied: &mut Copied, events: &[Event]) {
    for event in events {
        match &event.what {
            What::Call(call) => drop(copied.insert(call.id, call.clone())),
            What::Deleted(id) => drop(copied.remove(id)),
            What::SnapshotEnd => {}
        }
    }
}

/// Everything up to now.
fn drain(store: &Store, feed: &mut Feed, piece: FeedBudget) -> Vec<Event> {
    let until = *store.published().borrow();
    let mut events = Vec::new();
    while !feed.has_read(until) {
        events.extend(feed.next(store, until, piece).unwrap());
    }
    events
}

fn from(store: &Store, reach: Reach, place: FeedPosition) -> Vec<Event> {
    drain(store, &mut store.feed(reach, place).unwrap(), SMALL)
}

fn start(store: &Store) -> FeedPosition {
    FeedPosition::Snapshot(*store.published().borrow(), None)
}

fn listed(store: &Store, accounts: &[u8]) -> Copied {
    let all = accounts.iter().flat_map(|n| list(store, &everything(account(*n)), 100).unwrap());
    all.map(|call| (call.id, call)).collect()
}

/// A sequence that looks random and is the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }

    fn small(&mut self, sides: u64) -> u8 {
        u8::try_from(self.below(sides)).unwrap()
    }
}

fn change(store: &Store, dice: &mut Dice) {
    let id = id(1 + dice.small(3), dice.small(20));
    let at = clock::now();
    if dice.below(6) == 0 {
        store.apply(&[Change::Delete(id)], at, false).unwrap();
    } else {
        let status = CallStatus::ALL[usize::from(dice.small(9))];
        send(store, id, status, at);
    }
}

fn setting() -> Change {
    let name = crate::access::FIRST_TOKEN.to_owned();
    Change::setting(crate::access::SettingRow { name, json: b"true".to_vec() })
}

#[test]
fn a_client_that_applies_the_feed_knows_what_the_store_knows() {
    let (mut crashes, mut changes) = (0, 0);
    for seed in 0..12 {
        let home = tempfile::tempdir().unwrap();
        let mut options = options(&home.path().join("first"));
        let mut store = open(options.clone());
        let mut dice = Dice(seed);
        for _ in 0..40 {
            change(&store, &mut dice);
        }
        let reaches = [(Reach::Everybody, &[1, 2, 3][..]), (Reach::Account(account(2)), &[2][..])];
        let mut feeds = reaches.map(|(reach, accounts)| {
            let feed = store.feed(reach, start(&store)).unwrap();
            (feed, reach, accounts, Copied::new())
        });
        for round in 0..150 {
            change(&store, &mut dice);
            for (feed, _, _, copied) in &mut feeds {
                if dice.below(3) == 0 {
                    let until = *store.published().borrow();
                    let events = feed.next(&store, until, SMALL).unwrap();
                    changes += events.len();
                    apply(copied, &events);
                }
            }
            if dice.below(40) == 0 {
                wake(&store);
            }
            if dice.below(60) == 0 {
                if dice.below(2) == 0 {
                    let image = home.path().join(round.to_string());
                    fs::create_dir(&image).unwrap();
                    crash_image(&store, &image);
                    options.data_dir = image;
                    drop(store);
                    crashes += 1;
                } else {
                    store.close().unwrap();
                    drop(store);
                }
                store = open(options.clone());
                for (feed, reach, ..) in &mut feeds {
                    *feed = store.feed(*reach, feed.position()).unwrap();
                }
            }
        }
        for (feed, _, accounts, copied) in &mut feeds {
            apply(copied, &drain(&store, feed, SMALL));
            assert_eq!(*copied, listed(&store, accounts), "seed {seed}");
            assert!(!copied.is_empty());
        }
    }
    assert!(crashes > 3 && changes > 500, "{crashes} crashes, {changes} changes");
}

#[test]
fn every_position_leads_to_exactly_the_rest_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(options(dir.path()));
    let mut dice = Dice(7);
    for _ in 0..60 {
        change(&store, &mut dice);
    }
    let begin = start(&store);
    for n in 0..60 {
        change(&store, &mut dice);
        if n % 20 == 0 {
            store.apply(&[setting()], clock::now(), false).unwrap();
            wake(&store);
        }
    }
    for round in 0..3 {
        for reach in [Reach::Everybody, Reach::Account(account(1))] {
            let whole = from(&store, reach, begin);
            assert!(whole.len() > 20, "{reach:?}: {}", whole.len());
            assert_eq!(whole.iter().filter(|event| event.what == What::SnapshotEnd).count(), 1);
            for (n, event) in whole.iter().enumerate() {
                let rest = from(&store, reach, event.position);
                assert!(rest == whole[n + 1..], "{reach:?}, round {round}, event {n}");
            }
            let mut feed = store.feed(reach, begin).unwrap();
            assert!(drain(&store, &mut feed, WIDE) == whole);
        }
        store.close().unwrap();
        drop(store);
        store = open(options(dir.path()));
    }
}

#[test]
fn changes_come_in_order_and_no_account_sees_another_nor_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let begin = FeedPosition::Changes(0);
    for n in 0..90 {
        let at = clock::now();
        let events =
            [1, 2].map(|of| Change::Event(Box::new(event(id(of, n), CallStatus::Ringing, at))));
        store.apply(&[&events[..], &[setting()]].concat(), at, false).unwrap();
    }
    let place = |event: &Event| match event.position {
        FeedPosition::Changes(seq) => seq,
        place @ FeedPosition::Snapshot(..) => panic!("{place:?}"),
    };
    let seqs = |reach| from(&store, reach, begin).iter().map(place).collect::<Vec<_>>();
    let mut both = Vec::new();
    for of in [1, 2] {
        let own = from(&store, Reach::Account(account(of)), begin);
        assert_eq!(own.len(), 90);
        for event in &own {
            let What::Call(call) = &event.what else { panic!("{event:?}") };
            assert_eq!(call.id.account, account(of));
        }
        both.extend(seqs(Reach::Account(account(of))));
    }
    both.sort_unstable();
    assert_eq!(seqs(Reach::Everybody), both);
    assert_eq!(from(&store, Reach::Account(account(3)), begin), []);
    assert_eq!(from(&store, Reach::Account(account(3)), start(&store)).len(), 1);
}

#[test]
fn what_is_not_there_yet_or_no_longer_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for n in 0..200 {
        send(&store, id(1, n), CallStatus::Ringing, clock::now());
    }
    let ahead = *store.published().borrow() + 1;
    for place in [
        FeedPosition::Changes(ahead),
        FeedPosition::Changes(u64::MAX),
        FeedPosition::Snapshot(ahead, None),
    ] {
        let refused = store.feed(Reach::Everybody, place).err();
        assert!(matches!(refused, Some(StoreError::Gone(_))), "{place:?}: {refused:?}");
    }
    let mut begun = store.feed(Reach::Everybody, FeedPosition::Changes(0)).unwrap();
    let first_kept = {
        let mut segments = store.shared.view.segments.write();
        segments.remove(0);
        segments[0].first_seq
    };
    let place = FeedPosition::Changes(first_kept - 2);
    assert!(matches!(store.feed(Reach::Everybody, place).err(), Some(StoreError::Gone(_))));
    assert!(matches!(begun.next(&store, ahead, WIDE), Err(StoreError::Gone(_))));
    let rest = from(&store, Reach::Everybody, FeedPosition::Changes(first_kept - 1));
    assert_eq!(rest.first().map(|event| event.position), Some(FeedPosition::Changes(first_kept)));
}

#[test]
fn a_follower_is_woken_by_changes_and_by_settings_but_not_by_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let mut published = store.published();
    published.mark_unchanged();
    send(&store, id(1, 1), CallStatus::Ringing, clock::now());
    assert!(published.has_changed().unwrap());
    published.mark_unchanged();
    wake(&store);
    assert!(!published.has_changed().unwrap());
    until("the checkpoint is published", || *store.published().borrow() == store.status().sequence);
    store.apply(&[setting()], clock::now(), false).unwrap();
    assert!(published.has_changed().unwrap());
    let seen = *published.borrow_and_update();
    assert_eq!(seen, store.status().sequence);
}

#[test]
fn a_frame_that_cannot_be_read_is_named_and_ends_nothing_but_that_reading() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let begin = *store.published().borrow();
    let now = clock::now();
    for call in 0..3 {
        send(&store, id(1, call), CallStatus::Ringing, now);
    }
    let mut ahead = store.feed(Reach::Everybody, FeedPosition::Changes(begin)).unwrap();
    assert_eq!(drain(&store, &mut ahead, WIDE).len(), 3);
    let segment = store.segments().pop().unwrap();
    let mut scanner = crate::journal::Scanner::new(&segment).unwrap();
    scanner.next_frame().unwrap();
    let (offset, frame) = scanner.next_frame().unwrap().unwrap();
    let middle = offset + 16 + frame.body.len() as u64 / 2;
    let file = fs::OpenOptions::new().write(true).open(&segment.path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 3], middle).unwrap();
    let mut feed = store.feed(Reach::Everybody, FeedPosition::Changes(begin)).unwrap();
    let until = *store.published().borrow();
    let told = loop {
        match feed.next(&store, until, SMALL) {
            Ok(_) => assert!(!feed.has_read(until), "it was passed over"),
            Err(error) => break error,
        }
    };
    let place = format!("{} at byte {offset}: ", segment.path.display());
    assert!(
        matches!(&told, StoreError::Unreadable(reason) if reason.starts_with(&place)),
        "{told:?}"
    );
    assert!(told.to_string().starts_with("the journal cannot be read: "), "{told}");
    // The journal has not failed.
    send(&store, id(1, 9), CallStatus::Ringing, now);
    assert!(store.ready().is_ok());
    assert_eq!(drain(&store, &mut ahead, WIDE).len(), 1, "a reader behind it goes on");
    assert_eq!(listed(&store, &[1]).len(), 4);
}
