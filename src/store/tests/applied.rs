//! Messages of the replicated log: what they did and where the store is are one, whatever happens in between.

use std::sync::LazyLock;

use bytes::Bytes;

use super::super::messages::CommitterMessage;
use super::*;
use crate::access::{Replaces, SettingRow};
use crate::codec;
use crate::journal::{FrameKind, Scanner, disk_tests};

const EPOCH: [u8; 16] = [0xe1; 16];

/// A message as nodes send it, by its number.
#[derive(Clone)]
pub(super) struct Sent {
    pub id: codec::MessageId,
    pub bytes: Bytes,
}

pub(super) fn sent(id: u8, submissions: &[(Timestamp, Vec<Change>)]) -> Sent {
    let bodies = submissions
        .iter()
        .map(|(at, changes)| codec::encode_submission(&logged(changes, *at), 1).unwrap());
    let id = [id; 16];
    let bytes = codec::assemble("node1", id, &bodies.collect::<Vec<_>>());
    Sent { id, bytes: bytes.into() }
}

pub(super) fn position(seq: u64, message: &Sent) -> LogPosition {
    LogPosition { epoch: EPOCH, turn: 0, seq, crc: crc32c::crc32c(&message.bytes) }
}

/// The position before the first message.
pub(super) const BEGIN: LogPosition = LogPosition { epoch: EPOCH, turn: 0, seq: 0, crc: 0 };

pub(super) fn logged_at(seq: u64) -> Timestamp {
    // Not long ago: what was packed long ago by the time of the log is packed again.
    static BEGUN: LazyLock<Timestamp> = LazyLock::new(|| clock::now().minus_millis(HOUR_MILLIS));
    BEGUN.plus_millis(seq * 1000)
}

pub(super) fn hand_over(
    store: &Store,
    seq: u64,
    message: &Sent,
) -> Result<ApplyTicket, StoreError> {
    hand_over_at(store, position(seq, message), message)
}

pub(super) fn hand_over_at(
    store: &Store,
    position: LogPosition,
    message: &Sent,
) -> Result<ApplyTicket, StoreError> {
    let read = codec::decode_message(&message.bytes).unwrap();
    assert_eq!(codec::peek_message_id(&message.bytes), Some(read.id));
    let logged_at = logged_at(position.seq);
    store.apply_message(AppliedMessage { position, logged_at, message: read })
}

pub(super) fn apply(store: &Store, seq: u64, message: &Sent) -> Vec<SubmissionOutcome> {
    hand_over(store, seq, message).unwrap().wait().unwrap()
}

fn at(seq: u64) -> Timestamp {
    logged_at(seq).minus_millis(20)
}

fn says(call: u8, status: CallStatus, at: Timestamp) -> Change {
    Change::Event(Box::new(event(id(1, call), status, at)))
}

fn row(name: &str, json: &str) -> SettingRow {
    SettingRow { name: name.to_owned(), json: json.as_bytes().to_vec() }
}

fn hook(call: u8, bytes: usize) -> Change {
    Change::Forward(Arc::new(Hook {
        account: account(1),
        applications: None,
        calls: vec![id(1, call).sid],
        content_type: b"application/json".to_vec(),
        b3: Vec::new(),
        body: vec![call; bytes].into(),
        origin: None,
    }))
}

/// Some messages with all that there is in them.
pub(super) fn messages() -> Vec<Sent> {
    let one = |seq: u64| match seq {
        // Large enough for a segment of its own.
        3 => vec![(at(seq), vec![says(3, CallStatus::Ringing, at(seq)), hook(3, 9000)])],
        5 => vec![(at(seq), vec![Change::Delete(id(1, 1))])],
        6 => vec![
            (at(seq), vec![Change::setting(row("later/x", "{\"n\":1}"))]),
            (at(seq), vec![Change::Admin(row("later/x", "{\"n\":2}"), Replaces::Nothing)]),
        ],
        7 => vec![(at(seq), vec![Change::Stale(id(1, 2), at(seq)), Change::Expire(id(1, 3))])],
        8 => Vec::new(),
        _ => {
            let call = u8::try_from(seq).unwrap();
            vec![
                (at(seq), vec![says(call, CallStatus::Ringing, at(seq))]),
                (at(seq), vec![says(call, CallStatus::InProgress, at(seq).plus_millis(5))]),
            ]
        }
    };
    let number = |seq: u64| u8::try_from(seq).unwrap();
    (1..=10).map(|seq| sent(number(seq), &one(seq))).collect()
}

/// All that a store says of its calls and of a setting.
pub(super) type Shown = (Vec<Arc<Call>>, Option<[u8; 16]>);

pub(super) fn told(store: &Store) -> Shown {
    let calls = patient(store, || list(store, &everything(account(1)), 7));
    (calls, store.access(|access| access.digest("later/x")))
}

/// The same of a store to which the first of these messages were applied.
fn expected(messages: &[Sent]) -> Shown {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { sync: false, ..options(dir.path()) });
    store.begin_log(BEGIN).unwrap();
    for (seq, message) in (1..).zip(messages) {
        apply(&store, seq, message);
    }
    told(&store)
}

fn kinds(store: &Store) -> Vec<FrameKind> {
    let mut kinds = Vec::new();
    for segment in store.segments() {
        let mut scanner = Scanner::new(&segment).unwrap();
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            kinds.push(frame.kind);
        }
    }
    kinds
}

#[test]
fn where_a_store_is_and_what_it_has_are_the_same_after_every_start() {
    let messages = messages();
    let all = expected(&messages);
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(options(dir.path()));
    assert_eq!(store.position(), None);
    store.begin_log(BEGIN).unwrap();
    assert_eq!(store.position(), Some(BEGIN));
    for (seq, message) in (1..).zip(&messages) {
        apply(&store, seq, message);
        assert_eq!(store.position(), Some(position(seq, message)));
        assert_eq!(told(&store), expected(&messages[..usize::try_from(seq).unwrap()]), "{seq}");
        match seq {
            2 => wake(&store),
            4 => {
                // Nothing but its journal.
                let copy = tempfile::tempdir().unwrap();
                copy_dir(&dir.path().join("journal"), &copy.path().join("journal"));
                fs::copy(dir.path().join("FORMAT"), copy.path().join("FORMAT")).unwrap();
                let again = open(options(copy.path()));
                assert_eq!(again.position(), Some(position(seq, message)));
                assert_eq!(told(&again), told(&store));
            }
            _ => {}
        }
        if seq > 4 {
            store.close().unwrap();
            drop(store);
            let (rebuild, build_later) = (seq == 6, seq == 7);
            store = open(Options { rebuild, build_later, ..options(dir.path()) });
            assert_eq!(store.position(), Some(position(seq, message)), "{seq}");
        }
    }
    assert_eq!(told(&store), all);
    let image = tempfile::tempdir().unwrap();
    crash_image(&store, image.path());
    let killed = open(options(image.path()));
    assert_eq!((killed.position(), told(&killed)), (store.position(), all));
    for store in [&store, &killed] {
        store.collect(Depth::Erase).unwrap();
        assert_sound(store);
    }
    assert!(!kinds(&store).contains(&FrameKind::Part));
}

#[test]
fn each_message_has_its_frame_behind_what_it_did_though_many_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    // The committer cannot publish while somebody looks: the others come together.
    let registry = store.shared.view.registry.read();
    let tickets: Vec<_> =
        (1..).zip(messages()).map(|(seq, one)| hand_over(&store, seq, &one).unwrap()).collect();
    drop(registry);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for ticket in tickets {
        runtime.block_on(ticket.durable()).unwrap();
    }
    assert_eq!(*store.log_positions().borrow(), store.position());
    let kinds = kinds(&store);
    let applied = kinds.iter().filter(|kind| **kind == FrameKind::Applied);
    assert_eq!(applied.count(), 11, "{kinds:?}");
    assert_eq!(kinds.first(), Some(&FrameKind::Applied), "where it begins");
    assert_eq!(kinds.last(), Some(&FrameKind::Applied));
    assert_eq!(told(&store), expected(&messages()));
    // Readers of changes see calls, and come to the end.
    let mut feed = store.feed(Reach::Everybody, FeedPosition::Changes(0)).unwrap();
    let last = *store.published().borrow();
    let mut seen = 0;
    while !feed.has_read(last) {
        seen += feed.next(&store, last, feed::WIDE).unwrap().len();
    }
    let records =
        kinds.iter().filter(|kind| matches!(kind, FrameKind::Record | FrameKind::Tombstone));
    assert_eq!(seen, records.count());
}

#[test]
fn the_same_message_twice_changes_nothing() {
    let messages = messages();
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    for (seq, message) in (1..).zip(&messages) {
        apply(&store, seq, message);
    }
    let before = told(&store);
    let outcomes = (11..).zip(&messages).map(|(seq, message)| (seq, apply(&store, seq, message)));
    for (seq, outcomes) in outcomes {
        for outcome in outcomes {
            if let SubmissionOutcome::Done(outcome) = outcome {
                assert_eq!(outcome.new, 0, "{seq}");
            }
        }
    }
    assert_eq!(told(&store), before);
    assert_sound(&store);
}

#[test]
fn a_setting_that_is_not_any_more_what_was_seen_is_a_conflict_and_nothing_of_it_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    let first = row("later/x", "{\"n\":1}");
    let second = row("later/x", "{\"n\":2}");
    let seen = Replaces::content(&first.json);
    let message = sent(
        1,
        &[
            (at(1), vec![Change::Admin(first.clone(), Replaces::Nothing)]),
            (at(1), vec![Change::Admin(second.clone(), seen), says(1, CallStatus::Busy, at(1))]),
            (at(1), vec![says(2, CallStatus::Busy, at(1)), Change::Admin(second.clone(), seen)]),
            (at(1), vec![says(3, CallStatus::Busy, at(1))]),
        ],
    );
    let outcomes = apply(&store, 1, &message);
    let conflict = SubmissionOutcome::Conflict { name: "later/x".to_owned() };
    assert!(matches!(outcomes[1], SubmissionOutcome::Done(done) if done.new == 1));
    assert_eq!(outcomes[2], conflict);
    assert_eq!(sids(&store, Filter::default()), [1, 3]);
    assert_eq!(
        store.access(|access| access.digest("later/x")),
        match Replaces::content(&second.json) {
            Replaces::Content(digest) => Some(digest),
            _ => None,
        }
    );
    // So it is after a restart, and where the store is alone.
    store.close().unwrap();
    drop(store);
    let store = open(options(dir.path()));
    assert_eq!(
        apply(&store, 2, &sent(2, &[(at(2), vec![Change::Admin(first, seen)])])),
        [conflict]
    );
    let third = Change::Admin(row("later/x", "{\"n\":3}"), Replaces::content(&second.json));
    let outcomes = apply(&store, 3, &sent(3, &[(at(3), vec![third])]));
    assert!(matches!(outcomes[0], SubmissionOutcome::Done(done) if done.changed == 1));
    let told = store.apply(&[Change::Admin(second, seen)], at(3), false);
    assert!(matches!(told, Err(StoreError::Conflict(name)) if name == "later/x"));
}

#[test]
fn a_message_that_is_not_the_next_one_is_refused_and_nothing_happens() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let messages = messages();
    let refused =
        |seq: u64| matches!(hand_over(&store, seq, &messages[0]), Err(StoreError::OutOfOrder(_)));
    assert!(refused(1), "there is no log");
    store.begin_log(BEGIN).unwrap();
    store.begin_log(BEGIN).unwrap();
    assert!(refused(0) && refused(2));
    apply(&store, 1, &messages[0]);
    assert!(refused(1) && refused(3));
    let again = store.begin_log(LogPosition { seq: 7, ..BEGIN });
    assert!(matches!(again, Err(StoreError::OutOfOrder(_))), "{again:?}");
    let frames = store.status().sequence;
    assert_eq!(sids(&store, Filter::default()), [1]);
    apply(&store, 2, &messages[1]);
    assert!(store.status().sequence > frames);
    // A log that is made anew goes on from where the store is.
    let other = LogPosition { epoch: [0xe2; 16], turn: 0, seq: 2, crc: 0 };
    store.begin_log(other).unwrap();
    assert!(refused(3), "of the log before");
    assert_eq!(store.position(), Some(other));
}

#[test]
fn a_store_that_is_alone_writes_what_an_earlier_release_reads() {
    let version = |store: &Store| {
        let last = store.segments().pop().unwrap();
        let header = fs::read(&last.path).unwrap();
        u16::from_le_bytes([header[8], header[9]])
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    send(&store, id(1, 1), CallStatus::Ringing, clock::now());
    wake(&store);
    assert_eq!(version(&store), 3);
    store.begin_log(BEGIN).unwrap();
    assert_eq!(version(&store), 4);
    store.close().unwrap();
    drop(store);
    let store = open(options(dir.path()));
    assert_eq!((version(&store), store.position()), (4, Some(BEGIN)));
    assert_sound(&store);
    // Also where the segment had no frames yet.
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    send(&store, id(1, 1), CallStatus::Ringing, clock::now());
    store.close().unwrap();
    drop(store);
    assert_eq!(open(options(dir.path())).position(), Some(BEGIN));
}

/// Of each frame that does something, the message that did it: that of the next position behind it.
fn done_by(store: &Store) -> std::collections::BTreeMap<u64, u64> {
    let (mut done, mut open) = (std::collections::BTreeMap::new(), Vec::new());
    for segment in store.segments() {
        let mut scanner = Scanner::new(&segment).unwrap();
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            match frame.kind {
                FrameKind::Applied => {
                    let applied = super::super::applied::applied_frame(&frame).unwrap();
                    let seqs = std::mem::take(&mut open);
                    done.extend(seqs.into_iter().map(|seq| (seq, applied.position.seq)));
                }
                FrameKind::Checkpoint | FrameKind::Kept => {}
                _ => open.push(frame.seq),
            }
        }
    }
    done
}

#[test]
fn what_stays_of_a_message_keeps_its_position_and_all_other_positions_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { segment_bytes: 2 << 10, ..options(dir.path()) });
    store.begin_log(BEGIN).unwrap();
    for seq in 1..=60_u8 {
        // Some calls are heard of again and again.
        let call = if seq % 3 == 0 { 1 } else { seq };
        let at = at(u64::from(seq));
        let changes = vec![says(call, CallStatus::Ringing, at.plus_millis(u64::from(seq)))];
        apply(&store, u64::from(seq), &sent(seq, &[(at, changes)]));
    }
    let before = done_by(&store);
    // What was written last counts as history in the first round.
    for _ in 0..2 {
        store.collect(Depth::Thorough).unwrap();
    }
    let after = done_by(&store);
    assert!(after.len() < before.len(), "{} of {}", after.len(), before.len());
    for (seq, message) in &after {
        assert_eq!(Some(message), before.get(seq), "{seq}");
    }
    let kinds = kinds(&store);
    let positions = kinds.iter().filter(|kind| **kind == FrameKind::Applied).count();
    assert!(positions <= after.len() + 1, "{positions} beside {}", after.len());
    // That they stay is no reason to pack once more: the segment of the newest checkpoint alone is.
    let packed = [(); 4].map(|()| store.collect(Depth::Usual).unwrap().segments);
    assert!(packed.last().is_some_and(|segments| *segments <= 1), "{packed:?}");
    store.close().unwrap();
    drop(store);
    let store = open(options(dir.path()));
    assert_eq!(store.position().unwrap().seq, 60);
    assert_sound(&store);
}

#[test]
fn a_check_finds_a_journal_whose_positions_are_out_of_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    apply(&store, 1, &messages()[0]);
    assert_sound(&store);
    let before = store.position();
    store.shared.queue.committer.ask(|reply| CommitterMessage::BeginLog(BEGIN, reply)).unwrap();
    let findings = store.check(&|_| {}).unwrap().findings;
    let problems: Vec<_> = findings.iter().map(|finding| finding.problem.as_str()).collect();
    let says = |text: &str| problems.iter().any(|problem| problem.contains(text));
    assert!(says("message 0 of the log was applied, after a later one"), "{problems:?}");
    store.shared.view.applied.send_replace(before);
    let findings = store.check(&|_| {}).unwrap().findings;
    let problems: Vec<_> = findings.iter().map(|finding| finding.problem.as_str()).collect();
    let says = |text: &str| problems.iter().any(|problem| problem.contains(text));
    assert!(says("it does not say that message 1 of the log was applied"), "{problems:?}");
}

/// What waits is applied once nothing hinders it, in its order.
fn hindered(store: &Store, ticket: ApplyTicket, free: impl FnOnce()) {
    until("the message waits", || store.apply_waits().is_some());
    assert_eq!(store.position(), Some(BEGIN));
    assert!(store.failed().borrow().is_none());
    free();
    ticket.wait().unwrap();
}

#[test]
fn while_there_is_no_index_messages_wait_and_no_part_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    let old = clock::now();
    send(&store, id(1, 1), CallStatus::Ringing, old);
    wake(&store);
    store.begin_log(BEGIN).unwrap();
    let still = store.shared.index_writer.lock();
    store.shared.view.set_index(Err("a test says so".to_owned()));
    let ticket = hand_over(&store, 1, &sent(1, &[(old, vec![says(1, CallStatus::Busy, old)])]));
    hindered(&store, ticket.unwrap(), || {
        drop(still);
        until("the index is built again", || {
            store.shared.checkpointer.wake();
            store.ready().is_ok()
        });
    });
    assert_eq!(sids(&store, with_status(CallStatus::Busy)), [1]);
    assert!(!kinds(&store).contains(&FrameKind::Part));
    assert_sound(&store);
}

#[test]
fn while_memory_is_full_messages_wait_and_one_that_is_larger_than_all_of_it_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { registry_calls: 10, ..options(dir.path()) });
    store.begin_log(BEGIN).unwrap();
    let now = clock::now();
    let calls = |calls: std::ops::Range<u8>| {
        let changes = calls.map(|call| says(call, CallStatus::Ringing, now)).collect();
        (now, changes)
    };
    let still = store.shared.index_writer.lock();
    send(&store, id(1, 100), CallStatus::Ringing, now);
    let ticket = hand_over(&store, 1, &sent(1, &[calls(0..6), calls(6..40)])).unwrap();
    let next = hand_over(&store, 2, &sent(2, &[calls(40..80)])).unwrap();
    hindered(&store, ticket, || drop(still));
    next.wait().unwrap();
    assert_eq!(sids(&store, Filter::default()).len(), 81);
    assert_sound(&store);
}

#[test]
fn while_the_disk_is_full_messages_wait() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { segment_bytes: 1, ..options(dir.path()) });
    store.begin_log(BEGIN).unwrap();
    let full = failures::fill_disk(&store);
    let ticket = hand_over(&store, 1, &messages()[0]).unwrap();
    hindered(&store, ticket, || fs::remove_file(full).unwrap());
    assert!(store.apply_waits().is_none());
    assert_eq!(sids(&store, Filter::default()), [1]);
}

#[test]
fn what_can_never_be_applied_ends_the_store_and_names_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    // A frame of the journal does not hold it, and the codec lets no such message through.
    let name = "n".repeat(20_000);
    let changes = vec![Change::setting(SettingRow { name, json: vec![b' '; 255 * 1024] })];
    let message = codec::Message {
        node: "node1".into(),
        id: [1; 16],
        submissions: vec![logged(&changes, clock::now())],
    };
    let position = LogPosition { seq: 1, ..BEGIN };
    let ticket = store.apply_message(AppliedMessage { position, logged_at: logged_at(1), message });
    let told = ticket.unwrap().wait().unwrap_err().to_string();
    assert!(told.contains("message 1 of the log cannot be applied"), "{told}");
    assert!(store.failed().borrow().is_some());
    let next = hand_over(&store, 2, &messages()[0]);
    assert!(matches!(next, Err(StoreError::Failed(_))));
    drop(store);
    assert_eq!(open(options(dir.path())).position(), Some(BEGIN));
}

#[test]
fn a_leader_whose_clock_is_years_ahead_for_a_moment_does_not_date_what_comes_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    let one =
        |seq: u64, call| sent(call, &[(at(seq), vec![says(call, CallStatus::Busy, at(seq))])]);
    let first = one(1, 1);
    let message = codec::decode_message(&first.bytes).unwrap();
    let ahead = logged_at(1).plus_millis(2 * 365 * 24 * HOUR_MILLIS);
    let ahead = AppliedMessage { position: position(1, &first), logged_at: ahead, message };
    store.apply_message(ahead).unwrap().wait().unwrap();
    assert_eq!(store.shared.view.logged_at(), Some(at(1).plus_millis(24 * HOUR_MILLIS)));
    apply(&store, 2, &one(2, 2));
    // A message without submissions says nothing of the time.
    apply(&store, 3, &sent(3, &[]));
    for (seq, call) in [(1, 1), (2, 2)] {
        assert_eq!(store.call(id(1, call)).unwrap().unwrap().listed_at, at(seq));
    }
}

/// What the journal's thread does is watched, and fails from one change on.
fn on_committer<T: Send + 'static>(store: &Store, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    let act = Box::new(move || tell.send(act()).unwrap());
    store.shared.queue.committer.send(CommitterMessage::Do(act)).unwrap();
    told.recv_timeout(DEADLINE).unwrap()
}

/// Messages, and what a store has after each of them.
struct History {
    messages: Vec<Sent>,
    after: Vec<Shown>,
    /// One that is never read back.
    other: Sent,
}

impl History {
    /// A store that a crash has left: it is where its data are, it has all that was acknowledged, and goes on.
    fn check(&self, dir: &Path, acked: u64, kept: &[codec::MessageId], what: &str) {
        let store = open(Options { sync: false, ..options(dir) });
        let at = store.position().unwrap().seq;
        assert!(at >= acked, "{what}: {acked} were acknowledged, and {at} are there");
        assert!(told(&store) == self.after[usize::try_from(at).unwrap()], "{what}: after {at}");
        for seq in at + 1..=self.messages.len() as u64 {
            // A message that is kept is there until it is read back.
            let next = &self.messages[usize::try_from(seq - 1).unwrap()];
            let waits = kept.contains(&next.id);
            let has = || store.shared.kept.has(&next.id);
            assert!(!waits || has(), "{what}: {seq} was kept");
            apply(&store, seq, next);
            assert!(!has(), "{what}: {seq} was read back");
        }
        assert!(told(&store) == self.after[self.messages.len()], "{what}: at the end");
        if kept.contains(&self.other.id) {
            let (_, id, bytes) = store.next_kept(0).unwrap().unwrap();
            assert!((id, bytes) == (self.other.id, self.other.bytes.clone()), "{what}");
        }
        for message in self.messages.iter().take(usize::try_from(at).unwrap()) {
            assert!(!store.shared.kept.has(&message.id), "{what}: it was done");
        }
    }
}

/// The process is killed, or the power is cut, at each change of the journal in turn.
#[test]
fn wherever_it_ends_what_was_done_and_where_it_is_are_one() {
    let messages = messages();
    let after = (0..=messages.len()).map(|count| expected(&messages[..count])).collect();
    let other = sent(99, &[(at(1), vec![says(99, CallStatus::Busy, at(1)), hook(99, 300_000)])]);
    let history = History { messages, after, other };
    let begun = tempfile::tempdir().unwrap();
    let store = open(options(begun.path()));
    store.begin_log(BEGIN).unwrap();
    for seq in 1..=2 {
        apply(&store, seq, &history.messages[usize::try_from(seq - 1).unwrap()]);
    }
    store.close().unwrap();
    drop(store);
    let mut random = disk_tests::Random(7);
    let mut cuts = 0;
    for after in 0.. {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(begun.path(), dir.path());
        let store = open(options(dir.path()));
        let journal = dir.path().join("journal");
        on_committer(&store, move || {
            disk_tests::begin(&journal);
            disk_tests::fail(after, disk_tests::Fault::Dead);
        });
        let (mut acked, mut kept) = (2, Vec::new());
        for seq in 3..=history.messages.len() as u64 {
            for message in [&history.messages[6], &history.other] {
                let keeps = seq == 5
                    && store
                        .keep(message.id, message.bytes.clone())
                        .is_ok_and(|t| t.wait().is_ok());
                if keeps {
                    kept.push(message.id);
                }
            }
            let message = &history.messages[usize::try_from(seq - 1).unwrap()];
            if hand_over(&store, seq, message).is_ok_and(|ticket| ticket.wait().is_ok()) {
                assert_eq!(acked, seq - 1);
                acked = seq;
            }
        }
        let (is_dead, watch) = on_committer(&store, || (disk_tests::repair(), disk_tests::end()));
        assert_eq!(is_dead, store.failed().borrow().is_some());
        drop(store);
        history.check(dir.path(), acked, &kept, &format!("killed at change {after}"));
        for image in 0..3 {
            let cut = tempfile::tempdir().unwrap();
            fs::create_dir(cut.path().join("journal")).unwrap();
            fs::copy(begun.path().join("FORMAT"), cut.path().join("FORMAT")).unwrap();
            for (name, bytes) in watch.image(watch.len(), &mut random) {
                fs::write(cut.path().join("journal").join(name), bytes).unwrap();
            }
            history.check(cut.path(), acked, &kept, &format!("cut {image} at change {after}"));
            cuts += 1;
        }
        if !is_dead {
            assert!(after > 30 && acked == 10 && kept.len() == 2, "{after} changes, {acked}");
            break;
        }
    }
    assert!(cuts > 90, "{cuts}");
}
