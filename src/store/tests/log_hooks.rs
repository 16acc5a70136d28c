//! Hooks of nodes that follow one log: the next sender goes on where the last one was, and none is left out.

use std::collections::{BTreeMap, BTreeSet};

use super::applied::{BEGIN, apply, logged_at, sent};
use super::log_feed::{Dice, Node};
use super::*;
use crate::access::{Replaces, SettingRow};
use crate::journal::{FrameKind, Scanner};

const TARGET: &str = "customer";

fn audience() -> Audience {
    Audience { account: account(1), applications: Vec::new() }
}

fn hook(n: u16, call: u8) -> Change {
    Change::Forward(Arc::new(Hook {
        account: account(1),
        applications: None,
        calls: vec![id(1, call).sid],
        content_type: b"application/json".to_vec(),
        b3: Vec::new(),
        body: n.to_string().into_bytes().into(),
        origin: None,
    }))
}

/// A call, and a hook of it.
fn call_with_hook(n: u16) -> Vec<Change> {
    let call = Change::Event(Box::new(event(id(1, 1), CallStatus::Ringing, clock::now())));
    vec![call, hook(n, 1)]
}

/// Hooks as they came to the target: their ids, and how often.
type Received = BTreeMap<(String, String), usize>;

/// Has a node begin to send.
fn begin(node: &Node) -> Vec<Change> {
    let store = node.store();
    store.sends_hooks(true);
    store.set_forward_targets(vec![(TARGET.to_owned(), audience())]);
    store.forward_rows(true)
}

/// Reads on and sends some of what is held, the first of it.
fn send(node: &Node, reader: &mut HookReader, most: usize, received: &mut Received) {
    let store = node.store();
    let (_, progress) = store.forward_targets().pop().unwrap();
    let span = progress.lock().next_span();
    if let Some(span) = span {
        let found = match store.recent_hooks(span, &audience(), 5) {
            Some(found) => found,
            None => store.read_hooks(reader, span, &audience(), 5).unwrap(),
        };
        let numbers = found.hooks.iter().map(|head| head.number);
        progress.lock().advance(span, found.read_to, numbers);
    }
    let held: Vec<u64> = progress.lock().held().map(|(number, _)| number).take(most).collect();
    let heads = store.find_hooks(&held).unwrap();
    for head in &heads {
        if store.has_calls_of(head.account, &head.calls).unwrap() {
            let HookLookup::Found(content) = store.hook_content(head).unwrap() else {
                panic!("{head:?}")
            };
            let body = String::from_utf8(content.body.to_vec()).unwrap();
            *received.entry((head.delivery_id(), body)).or_default() += 1;
        }
    }
    for number in held {
        progress.lock().done(number);
    }
}

fn hook_frames(store: &Store) -> usize {
    let count = |segment: Arc<crate::journal::Segment>| {
        let (mut scanner, mut count) = (Scanner::new(&segment).unwrap(), 0);
        while let Some((_, frame)) = scanner.next_frame().unwrap() {
            count += usize::from(frame.kind == FrameKind::Outbox);
        }
        count
    };
    store.segments().into_iter().map(count).sum()
}

#[test]
fn the_next_sender_leaves_out_no_hook_and_names_each_as_the_one_before() {
    let mut again = 0;
    for seed in 0..6 {
        let home = tempfile::tempdir().unwrap();
        let mut nodes = Node::three(home.path());
        let (mut dice, mut log) = (Dice(seed), Vec::new());
        let (mut received, mut expected) = (Received::new(), BTreeSet::new());
        let mut reader = HookReader::default();
        let mut first = 0;
        log.push(vec![(clock::now(), begin(&nodes[first]))]);
        for node in &mut nodes {
            node.apply(&log, u64::MAX);
        }
        for n in 0..150_u16 {
            let at = clock::now();
            let call = dice.small(60);
            let status = CallStatus::Ringing;
            let event = Change::Event(Box::new(event(id(1, call), status, at)));
            log.push(vec![(at, vec![event, hook(n, call)]), (at, vec![])]);
            expected.insert(n.to_string());
            for node in &mut nodes {
                node.apply(&log, dice.below(4));
            }
            if dice.below(3) == 0 {
                send(&nodes[first], &mut reader, usize::from(dice.small(6)), &mut received);
            }
            if dice.below(5) == 0 {
                let rows = nodes[first].store().forward_rows(true);
                if !rows.is_empty() {
                    log.push(vec![(clock::now(), rows)]);
                    nodes[first].apply(&log, u64::MAX);
                }
            }
            if dice.below(12) == 0 {
                let n = usize::from(dice.small(3));
                if n != first {
                    wake(nodes[n].store());
                    nodes[n].store().collect(Depth::Thorough).unwrap();
                    nodes[n].restart();
                }
            }
            if dice.below(20) == 0 {
                // What was sent since the last row another one sends again.
                nodes[first].store().sends_hooks(false);
                first = usize::from(dice.small(3));
                nodes[first].apply(&log, u64::MAX);
                reader = HookReader::default();
                let rows = begin(&nodes[first]);
                if !rows.is_empty() {
                    log.push(vec![(clock::now(), rows)]);
                }
            }
        }
        for node in &mut nodes {
            node.apply(&log, u64::MAX);
        }
        for _ in 0..400 {
            send(&nodes[first], &mut reader, 10, &mut received);
        }
        let bodies: BTreeSet<String> = received.keys().map(|(_, body)| body.clone()).collect();
        assert_eq!(bodies, expected, "seed {seed}");
        assert_eq!(received.len(), expected.len(), "a hook had two names: {received:?}");
        again += received.values().filter(|times| **times > 1).count();
        // What was passed on leaves the journals of all.
        log.push(vec![(clock::now(), nodes[first].store().forward_rows(true))]);
        for (n, node) in nodes.iter_mut().enumerate() {
            node.apply(&log, u64::MAX);
            let (_, progress) = node.store().forward_targets().pop().unwrap();
            assert_eq!(progress.lock().held().count(), 0, "node {n}");
            assert!(hook_frames(node.store()) > 0);
            wake(node.store());
            node.store().collect(Depth::Thorough).unwrap();
            assert_eq!(hook_frames(node.store()), 0, "node {n}");
        }
    }
    assert!(again > 5, "{again} were sent again");
}

#[test]
fn a_row_of_one_who_was_first_before_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut nodes = Node::three(home.path());
    let mut log = vec![vec![(clock::now(), begin(&nodes[0]))]];
    for node in &mut nodes {
        node.apply(&log, u64::MAX);
    }
    for n in 0..4 {
        log.push(vec![(clock::now(), call_with_hook(n))]);
    }
    for node in &mut nodes {
        node.apply(&log, u64::MAX);
    }
    let (mut reader, mut received) = (HookReader::default(), Received::new());
    send(&nodes[0], &mut reader, 1, &mut received);
    // Written, and not in the log before those of the next one are.
    let late = nodes[0].store().forward_rows(true);
    nodes[0].store().sends_hooks(false);
    begin(&nodes[1]);
    send(&nodes[1], &mut HookReader::default(), 4, &mut received);
    let rows = nodes[1].store().forward_rows(true);
    log.push(vec![(clock::now(), rows)]);
    log.push(vec![(clock::now(), late)]);
    for node in &mut nodes {
        node.apply(&log, u64::MAX);
        let (_, progress) = node.store().forward_targets().pop().unwrap();
        let progress = progress.lock();
        assert_eq!((progress.held().count(), progress.queued()), (0, 0));
    }
    assert_eq!(received.len(), 4);
}

#[test]
fn forwarding_is_paused_on_all_nodes_by_a_row_that_was_applied() {
    let home = tempfile::tempdir().unwrap();
    let mut nodes = Node::three(home.path());
    let mut log = vec![vec![(clock::now(), begin(&nodes[0]))]];
    nodes[2].apply(&log, u64::MAX);
    let late = nodes[2].store().forward_state(false);
    for paused in [true, false, true] {
        log.push(vec![(clock::now(), vec![nodes[2].store().forward_state(paused)])]);
        for node in &mut nodes {
            node.apply(&log, u64::MAX);
            assert_eq!(node.store().forward_paused(), paused);
            node.restart();
            assert_eq!(node.store().forward_paused(), paused, "after a start");
        }
    }
    // Who has seen something else changes nothing.
    log.push(vec![(clock::now(), vec![late])]);
    for node in &mut nodes {
        node.apply(&log, u64::MAX);
        assert!(node.store().forward_paused());
    }
}

#[test]
fn hooks_of_before_the_log_are_passed_on_by_the_node_that_has_them() {
    let home = tempfile::tempdir().unwrap();
    let options = options(home.path());
    let store = open(options.clone());
    store.set_forward_targets(vec![(TARGET.to_owned(), audience())]);
    store.apply(&store.forward_rows(true), clock::now(), false).unwrap();
    store.apply(&call_with_hook(1), clock::now(), false).unwrap();
    store.apply(&call_with_hook(2), clock::now(), false).unwrap();
    let mut node = Node::of(store, options);
    assert!(!node.store().forward_paused(), "it is the life of the data in which it was said");
    let mut log = vec![vec![(clock::now(), call_with_hook(3))]];
    node.apply(&log, u64::MAX);
    let rows = begin(&node);
    log.push(vec![(clock::now(), rows)]);
    node.apply(&log, u64::MAX);
    node.restart();
    begin(&node);
    let mut received = Received::new();
    for _ in 0..4 {
        send(&node, &mut HookReader::default(), 2, &mut received);
    }
    let bodies: Vec<&str> = received.keys().map(|(_, body)| &**body).collect();
    assert_eq!(bodies.len(), 3, "{bodies:?}");
}

#[test]
fn hooks_of_a_message_that_comes_again_have_the_same_names_though_some_of_it_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    store.begin_log(BEGIN).unwrap();
    store.set_forward_targets(vec![(TARGET.to_owned(), audience())]);
    let at = logged_at(1);
    let call = |call| Change::Event(Box::new(event(id(1, call), CallStatus::Ringing, at)));
    let row = SettingRow { name: "later/x".to_owned(), json: b"{}".to_vec() };
    let message = sent(
        10,
        &[
            (at, vec![call(1), hook(1, 1)]),
            (at, vec![Change::Admin(row, Replaces::Content([0; 16])), hook(2, 1)]),
            (at, vec![call(2), hook(3, 2), call(3), hook(4, 3)]),
        ],
    );
    let deletion = sent(11, &[(at, vec![Change::Delete(id(1, 2))])]);
    for (seq, message) in [(1, &message), (2, &deletion), (3, &message)] {
        apply(&store, seq, message);
    }
    let (_, progress) = store.forward_targets().pop().unwrap();
    let span = progress.lock().next_span().unwrap();
    let listed = store.recent_hooks(span, &audience(), 100).unwrap().hooks;
    let read = store.read_hooks(&mut HookReader::default(), span, &audience(), 100).unwrap();
    assert_eq!(read.hooks, listed);
    let names: Vec<String> = listed.iter().map(HookHead::delivery_id).collect();
    let id = "0a".repeat(16);
    assert_eq!(names, [0, 2, 3, 0, 3].map(|nth| format!("{id}-{nth}")));
    let numbers: BTreeSet<u64> = listed.iter().map(|head| head.number).collect();
    assert_eq!(numbers.len(), 5);
    assert_eq!(listed[2].origin, listed[4].origin);
}
