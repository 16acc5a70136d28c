//! Messages that found no quorum: none is lost, none is shown, and each goes when it was read back.

use bytes::Bytes;

use super::super::messages::CommitterMessage;
use super::applied::{BEGIN, Sent, apply, hand_over, sent};
use super::*;
use crate::codec::MessageId;
use crate::journal::{FrameKind, Scanner};

fn keep(store: &Store, message: &Sent) {
    store.keep(message.id, message.bytes.clone()).unwrap().wait().unwrap();
}

/// A message of so many bytes, about, that says something of a call of its number.
fn message(number: u8, bytes: usize) -> Sent {
    let at = clock::now();
    let mut changes = vec![Change::Event(Box::new(event(id(1, number), CallStatus::Busy, at)))];
    for n in 0..bytes / (100 << 10) {
        let json = vec![b'"'; 100 << 10];
        let name = format!("later/{number}-{n}");
        changes.push(Change::setting(crate::access::SettingRow { name, json }));
    }
    sent(number, &[(at, changes)])
}

fn oldest(store: &Store) -> Option<(MessageId, Bytes)> {
    store.next_kept(0).unwrap().map(|(_, id, message)| (id, message))
}

fn is_oldest(store: &Store, message: &Sent) {
    let (id, bytes) = oldest(store).unwrap();
    assert!(id == message.id && bytes == message.bytes, "{id:?}");
}

/// Frames of kept messages in the journal.
fn frames(store: &Store) -> usize {
    let count = |segment: &Arc<crate::journal::Segment>| {
        let mut scanner = Scanner::new(segment).unwrap();
        let mut count = 0;
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            count += usize::from(frame.kind == FrameKind::Kept);
        }
        count
    };
    store.segments().iter().map(count).sum()
}

fn again(store: Store, options: Options) -> Store {
    store.close().unwrap();
    drop(store);
    open(options)
}

#[test]
fn kept_messages_outlive_restarts_and_compaction_and_go_when_they_are_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    let messages = [message(1, 0), message(2, 700 << 10), message(3, 300 << 10)];
    // What stands before the first one goes, so that it moves.
    send(&store, id(1, 50), CallStatus::Ringing, clock::now());
    for message in &messages {
        keep(&store, message);
    }
    let kept = store.kept();
    let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
    assert_eq!((kept.count, kept.bytes), (3, bytes as u64));
    assert!(kept.oldest.is_some() && frames(&store) == 1 + 3 + 2);
    let frames_before = store.status().sequence;
    keep(&store, &messages[1]);
    assert_eq!((store.kept().count, store.status().sequence), (3, frames_before), "once is enough");
    assert_eq!(sids(&store, Filter::default()), [50], "nothing in it has its place yet");
    send(&store, id(1, 50), CallStatus::Busy, clock::now());
    assert_eq!(store.position(), Some(BEGIN));
    for (seq, message) in (1..).zip(&messages) {
        for round in 0..3 {
            is_oldest(&store, message);
            match round {
                0 => {
                    let image = tempfile::tempdir().unwrap();
                    crash_image(&store, image.path());
                    let killed = open(options(image.path()));
                    is_oldest(&killed, message);
                    assert_eq!(killed.kept().count, 4 - seq);
                }
                1 => drop(store.collect(Depth::Erase).unwrap()),
                _ => store = again(store, options(dir.path())),
            }
        }
        apply(&store, seq, message);
        assert_eq!(store.kept().count, 3 - seq);
        store.collect(Depth::Erase).unwrap();
        if seq == 2 {
            assert_eq!(frames(&store), 2, "what is done leaves the journal");
        }
    }
    assert!(oldest(&store).is_none() && store.kept() == KeptMessages::default());
    store.collect(Depth::Erase).unwrap();
    assert_eq!(frames(&store), 0);
    assert_eq!(sids(&store, Filter::default()).len(), 4);
    let store = again(store, options(dir.path()));
    assert!(oldest(&store).is_none());
    assert_sound(&store);
}

#[test]
fn what_is_done_does_not_come_back_while_an_older_one_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    // Neighbours that do not fit into one stay by themselves.
    let store = open(Options { segment_bytes: 64 << 10, ..options(dir.path()) });
    store.begin_log(BEGIN).unwrap();
    let setting = |name: &str, bytes: usize| {
        let row = crate::access::SettingRow { name: name.to_owned(), json: vec![b' '; bytes] };
        Change::setting(row)
    };
    let segment = || store.shared.queue.committer.ask(CommitterMessage::BeginSegment).unwrap();
    let first = sent(11, &[(clock::now(), vec![setting("later/first", 56 << 10)])]);
    let second = message(12, 0);
    // The time of the log begins with its first message.
    apply(&store, 1, &sent(10, &[(clock::now(), Vec::new())]));
    // A segment that is packed and then left alone for the sake of the first message.
    send(&store, id(1, 1), CallStatus::Ringing, clock::now());
    send(&store, id(1, 2), CallStatus::Ringing, clock::now());
    keep(&store, &first);
    keep(&store, &second);
    segment();
    send(&store, id(1, 1), CallStatus::Busy, clock::now());
    store.apply(&[setting("later/x", 10 << 10)], clock::now(), false).unwrap();
    wake(&store);
    store.collect(Depth::Usual).unwrap();
    segment();
    // That the second one is done stands in one that is packed later, and nothing beside it stays.
    apply(&store, 2, &sent(16, &[]));
    apply(&store, 3, &second);
    apply(&store, 4, &sent(13, &[]));
    apply(&store, 5, &sent(15, &[(clock::now(), vec![Change::Delete(id(1, 12))])]));
    wake(&store);
    segment();
    apply(&store, 6, &sent(14, &[]));
    wake(&store);
    store.collect(Depth::Usual).unwrap();
    assert_eq!((store.kept().count, frames(&store)), (1, 2));
    let image = tempfile::tempdir().unwrap();
    crash_image(&store, image.path());
    let killed = open(options(image.path()));
    is_oldest(&killed, &first);
    assert_eq!(killed.kept().count, 1);
}

#[test]
fn a_message_that_is_read_back_before_it_is_kept_is_kept_until_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    let message = message(1, 0);
    apply(&store, 1, &message);
    // Nobody knew that the log had taken it.
    keep(&store, &message);
    let store = again(store, options(dir.path()));
    is_oldest(&store, &message);
    apply(&store, 2, &message);
    assert!(oldest(&store).is_none());
    assert_eq!(sids(&store, Filter::default()), [1]);
    // What is kept after that is not done by what was read back before.
    keep(&store, &message);
    let store = again(store, options(dir.path()));
    is_oldest(&store, &message);
}

#[test]
fn no_more_is_kept_than_may_be_and_nothing_where_the_disk_is_short_of_space() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (message(1, 0), message(2, 0));
    let most = (one.bytes.len() + other.bytes.len()) as u64 - 1;
    let store = open(Options { kept_bytes: most, ..options(dir.path()) });
    store.begin_log(BEGIN).unwrap();
    keep(&store, &one);
    for _ in 0..2 {
        let refused = store.keep(other.id, other.bytes.clone()).err();
        let kept = one.bytes.len() as u64;
        assert!(
            matches!(refused, Some(StoreError::KeptFull { kept: k, most: m }) if k == kept && m == most)
        );
    }
    apply(&store, 1, &one);
    keep(&store, &other);
    let short = Options { min_free_bytes: u64::MAX, ..options(dir.path()) };
    let store = again(store, short);
    let refused = store.keep(one.id, one.bytes.clone()).err();
    assert!(matches!(refused, Some(StoreError::Low { .. })), "{refused:?}");
    is_oldest(&store, &other);
}

#[test]
fn what_waits_for_the_log_does_not_wait_behind_what_cannot_be_applied() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    let still = store.shared.index_writer.lock();
    store.shared.view.set_index(Err("a test says so".to_owned()));
    let ticket = hand_over(&store, 1, &message(1, 0)).unwrap();
    until("the message waits", || store.apply_waits().is_some());
    let kept = message(2, 0);
    keep(&store, &kept);
    is_oldest(&store, &kept);
    drop(still);
    until("the index is built again", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok()
    });
    ticket.wait().unwrap();
}
