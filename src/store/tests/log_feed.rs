//! The change feed of nodes that follow one log: a position is good on each of them, and a reader who goes from one to
//! another reads what one reads who stays.

use std::collections::BTreeMap;

use super::*;
use crate::codec::Message;

const EPOCH: [u8; 16] = [7; 16];
const SMALL: FeedBudget = FeedBudget { frames: 7, read: 1 << 20, bytes: 4096 };

/// A sequence that looks random and is the same each time.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % sides
    }

    pub fn small(&mut self, sides: u64) -> u8 {
        u8::try_from(self.below(sides)).unwrap()
    }
}

/// What somebody knows who applies the feed.
type Copied = BTreeMap<CallId, Arc<Call>>;

/// A node, and the log that it follows.
pub(super) struct Node {
    store: Option<Store>,
    options: Options,
    applied: u64,
}

impl Node {
    /// Three with journals of their own kinds.
    pub fn three(home: &Path) -> [Self; 3] {
        let sizes = [4 << 10, 16 << 10, 1 << 20];
        [0, 1, 2].map(|n: usize| {
            let options = Options { segment_bytes: sizes[n], ..options(&home.join(n.to_string())) };
            Self::of(open(options.clone()), options)
        })
    }

    /// A store that begins with the log.
    pub fn of(store: Store, options: Options) -> Self {
        store.begin_log(at_message(0)).unwrap();
        Self { store: Some(store), options, applied: 0 }
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Applies the next messages of the log, as many as share a commit.
    pub fn apply(&mut self, log: &[Vec<(Timestamp, Vec<Change>)>], count: u64) {
        let mut tickets = Vec::new();
        for submissions in log.iter().skip(usize::try_from(self.applied).unwrap()) {
            if tickets.len() as u64 == count {
                break;
            }
            self.applied += 1;
            let taken_at = submissions.first().map(|(at, _)| *at);
            let submissions = submissions.iter().map(|(at, changes)| logged(changes, *at));
            let message = Message {
                node: "a".into(),
                id: u128::from(self.applied).to_be_bytes(),
                submissions: submissions.collect(),
            };
            let position = at_message(self.applied);
            // The same on every node.
            let logged_at = taken_at.unwrap_or_default();
            let message = AppliedMessage { position, logged_at, message };
            tickets.push(self.store().apply_message(message).unwrap());
        }
        for ticket in tickets {
            ticket.wait().unwrap();
        }
    }

    pub fn restart(&mut self) {
        self.store().close().unwrap();
        self.store = None;
        self.store = Some(open(self.options.clone()));
    }
}

fn at_message(seq: u64) -> LogPosition {
    LogPosition { epoch: EPOCH, turn: 0, seq, crc: 0 }
}

/// A message of some submissions.
fn message(dice: &mut Dice) -> Vec<(Timestamp, Vec<Change>)> {
    let count = dice.below(4);
    let submission = |dice: &mut Dice| {
        let at = clock::now();
        let changes = (0..=dice.below(5)).map(|_| {
            let of = 1 + dice.small(3);
            let id = id(of, 20 * of + dice.small(20));
            match dice.below(8) {
                0 => Change::Delete(id),
                1 => setting(dice.small(5)),
                _ => {
                    let status = CallStatus::ALL[usize::from(dice.small(9))];
                    Change::Event(Box::new(event(id, status, at)))
                }
            }
        });
        (at, changes.collect())
    };
    (0..count).map(|_| submission(dice)).collect()
}

fn setting(n: u8) -> Change {
    let json = format!("{{\"n\":{n}}}").into_bytes();
    Change::setting(crate::access::SettingRow { name: format!("x/{n}"), json })
}

/// How far a reader has come, as its client knows it.
#[derive(Debug, Clone, Copy)]
struct ReadUpTo {
    position: FeedPosition,
    point: LogPoint,
}

impl ReadUpTo {
    /// The beginning of a snapshot.
    fn start(store: &Store) -> Self {
        let (point, seq) = store.newest_point().unwrap();
        Self { position: FeedPosition::Snapshot(seq, None), point }
    }

    /// The next events of a node, some at most, and where that leads. The sequence number is that of the node.
    fn read(&mut self, store: &Store, reach: Reach, most: usize) -> Vec<Event> {
        let seq = store.sequence_of(self.point).unwrap();
        self.position = match self.position {
            FeedPosition::Changes(_) => FeedPosition::Changes(seq),
            FeedPosition::Snapshot(_, after) => FeedPosition::Snapshot(seq, after),
        };
        let feed = store.feed(reach, self.position).unwrap();
        let mut feed = feed.of_log(Some(self.point));
        let until = *store.published().borrow();
        let mut read: Vec<Event> = Vec::new();
        while read.len() < most && !feed.has_read(until) {
            read.extend(feed.next(store, until, SMALL).unwrap());
            (self.position, self.point) = (feed.position(), feed.point().unwrap());
        }
        if read.len() > most {
            read.truncate(most);
        }
        if let Some(last) = read.last().filter(|_| read.len() == most) {
            (self.position, self.point) = (last.position, last.point.unwrap());
        }
        read
    }
}

fn apply(copied: &mut Copied, events: &[Event]) {
    for event in events {
        match &event.what {
            What::Call(call) => drop(copied.insert(call.id, call.clone())),
            What::Deleted(id) => drop(copied.remove(id)),
            What::SnapshotEnd => {}
        }
    }
}

fn listed(store: &Store, accounts: &[u8]) -> Copied {
    let all = accounts.iter().flat_map(|n| list(store, &everything(account(*n)), 100).unwrap());
    all.map(|call| (call.id, call)).collect()
}

/// What tells the versions of a call apart.
fn short(what: &What) -> (u8, Option<(CallStatus, usize)>) {
    match what {
        What::Call(call) => {
            (call.id.sid.bytes()[0], Some((call.progress.status, call.timeline.len())))
        }
        What::Deleted(id) => (id.sid.bytes()[0], None),
        What::SnapshotEnd => (0, None),
    }
}

#[test]
fn who_goes_from_node_to_node_reads_what_one_reads_who_stays() {
    let mut inside = 0;
    for seed in 0..6 {
        let home = tempfile::tempdir().unwrap();
        let (mut nodes, mut dice, mut log) = (Node::three(home.path()), Dice(seed), Vec::new());
        let reaches = [(Reach::Everybody, &[1, 2, 3][..]), (Reach::Account(account(2)), &[2][..])];
        let begin = nodes.each_ref().map(|node| ReadUpTo::start(node.store()));
        assert!(begin.iter().all(|place| place.point == LogPoint::end_of(0)));
        let mut hopping = reaches.map(|_| (begin[0], Vec::new()));
        for _ in 0..60 {
            log.extend((0..dice.below(6)).map(|_| message(&mut dice)).collect::<Vec<_>>());
            let n = usize::from(dice.small(3));
            let count = 1 + dice.below(8);
            nodes[n].apply(&log, count);
            if dice.below(12) == 0 {
                nodes[n].restart();
            }
            if dice.below(8) == 0 {
                wake(nodes[n].store());
            }
            for ((reach, _), (place, read)) in reaches.iter().zip(&mut hopping) {
                let node = &nodes[usize::from(dice.small(3))];
                if node.applied < place.point.message {
                    let behind = node.store().sequence_of(place.point).unwrap_err();
                    assert!(
                        matches!(behind, StoreError::Behind { applied } if applied == node.applied)
                    );
                    continue;
                }
                read.extend(place.read(node.store(), *reach, 1 + usize::from(dice.small(4))));
                inside += u64::from(place.point.before_end > 0);
            }
        }
        for node in &mut nodes {
            node.apply(&log, u64::MAX);
        }
        for ((reach, accounts), (mut place, mut read)) in reaches.into_iter().zip(hopping) {
            for turn in 0.. {
                let more = place.read(nodes[turn % 3].store(), reach, 3);
                if more.is_empty() {
                    break;
                }
                read.extend(more);
            }
            assert_eq!(place.point, LogPoint::end_of(log.len() as u64), "seed {seed}");
            let whats = |events: &[Event]| -> Vec<_> {
                // Within it a place may be told by its last frame, or by what is left to be told.
                let message = |event: &Event| event.point.unwrap().message;
                events.iter().map(|event| (message(event), short(&event.what))).collect()
            };
            for node in &nodes {
                let mut staying = ReadUpTo { point: LogPoint::end_of(0), ..begin[0] };
                staying.position = FeedPosition::Changes(0);
                let own = staying.read(node.store(), reach, usize::MAX);
                let begun = read.iter().position(|event| event.what == What::SnapshotEnd).unwrap();
                assert!(own.len() > 10);
                let (read, own) = (whats(&read[begun + 1..]), whats(&own));
                let other = read.iter().zip(&own).position(|(read, own)| read != own);
                let other = other.map(|n| {
                    (n, &read[n.saturating_sub(3)..n + 3], &own[n.saturating_sub(3)..n + 3])
                });
                assert_eq!((other, read.len()), (None, own.len()), "seed {seed}, {reach:?}");
                assert!(listed(node.store(), accounts) == listed(nodes[0].store(), accounts));
            }
        }
    }
    assert!(inside > 100, "{inside} places within a message");
}

#[test]
fn a_packed_journal_is_read_on_from_any_place_of_the_log() {
    for seed in 0..4 {
        let home = tempfile::tempdir().unwrap();
        let (mut nodes, mut dice) = (Node::three(home.path()), Dice(100 + seed));
        let log: Vec<_> = (0..150).map(|_| message(&mut dice)).collect();
        let mut readers: Vec<_> =
            (0..8).map(|_| (ReadUpTo::start(nodes[0].store()), Copied::new())).collect();
        for round in 0..30 {
            for node in &mut nodes {
                node.apply(&log, 1 + round % 7);
            }
            let n = usize::from(dice.small(3));
            if dice.below(3) == 0 {
                wake(nodes[n].store());
                nodes[n].store().collect(Depth::Thorough).unwrap();
            }
            if dice.below(8) == 0 {
                nodes[n].restart();
            }
            for (place, copied) in &mut readers {
                let node = &nodes[usize::from(dice.small(3))];
                if dice.below(4) == 0 && place.point.message <= node.applied {
                    apply(
                        copied,
                        &place.read(
                            node.store(),
                            Reach::Everybody,
                            1 + usize::from(dice.small(30)),
                        ),
                    );
                }
            }
        }
        for node in &mut nodes {
            node.apply(&log, u64::MAX);
            wake(node.store());
            node.store().collect(Depth::Thorough).unwrap();
            // What was known without the journal is to be found in it, too.
            node.restart();
        }
        let expected = listed(nodes[0].store(), &[1, 2, 3]);
        assert!(!expected.is_empty());
        for (n, (place, copied)) in readers.iter_mut().enumerate() {
            let mut steps = 0;
            loop {
                // The least that can be asked for leads on.
                let node = &nodes[(n + steps) % 3];
                let more = place.read(node.store(), Reach::Everybody, 1);
                apply(copied, &more);
                if more.is_empty() {
                    break;
                }
                steps += 1;
                assert!(steps < 2000, "it does not come to an end");
            }
            assert!(
                *copied == expected,
                "seed {seed}, reader {n}: {} calls of {}",
                copied.len(),
                expected.len()
            );
        }
        for node in &nodes {
            assert!(listed(node.store(), &[1, 2, 3]) == expected);
            assert_sound(node.store());
        }
    }
}

#[test]
fn tags_say_the_same_on_every_node() {
    let home = tempfile::tempdir().unwrap();
    let (mut nodes, mut dice) = (Node::three(home.path()), Dice(9));
    let log: Vec<_> = (0..120).map(|_| message(&mut dice)).collect();
    // What the lists of an account were, by the tag that they had.
    let mut lists: BTreeMap<(u8, u64), Vec<Arc<Call>>> = BTreeMap::new();
    let mut equal = 0;
    for round in 0..60 {
        let n = usize::from(dice.small(3));
        nodes[n].apply(&log, 1 + round % 5);
        if dice.below(10) == 0 {
            nodes[n].restart();
        }
        for of in 1..=3 {
            let store = nodes[n].store();
            let tag = store.last_change_of(Scope::Account(account(of)), &[]);
            assert!(tag <= nodes[n].applied, "it is of a message");
            let calls = list(store, &everything(account(of)), 100).unwrap();
            if let Some(known) = lists.insert((of, tag), calls.clone()) {
                assert!(known == calls, "account {of}, tag {tag}");
                equal += 1;
            }
        }
    }
    for node in &mut nodes {
        node.apply(&log, u64::MAX);
    }
    assert!(equal > 20, "{equal} tags were met again");
    nodes[1].restart();
    let tags = |n: usize| {
        [1, 2, 3].map(|of| nodes[n].store().last_change_of(Scope::Account(account(of)), &[]))
    };
    assert_eq!(tags(1), [120; 3], "after a start it is the last message");
}
