//! Ends of the process at every moment: each hook arrives all the same.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::harness::{Rollcall, until};
use super::super::hooks::signed::{SECRET, signature};
use super::super::peer::{Answering, Peer, Received};
use super::{
    HOOK, assert_in_order, assert_signed, at, forwarding, send_all, target, until_empty, whole_call,
};

/// Sends a hook as jambonz does that repeats what was not answered. The server is started again where it is gone.
fn send_until_taken(rollcall: &mut Rollcall, body: &str) {
    loop {
        let signature = signature(SECRET, 0, body);
        let headers =
            [("jambonz-signature", signature.as_str()), ("content-type", "application/json")];
        if let Ok(answer) = rollcall.send("POST", HOOK, &headers, body.as_bytes()) {
            return assert_eq!(answer.status, 204, "{answer:?}");
        }
        rollcall.kill();
        rollcall.start();
    }
}

/// What is killed, and when: once so many requests have arrived there, before or after the answer.
fn kill_at(rollcall: &Rollcall, peer: &Peer, arrivals: usize, answers: bool) {
    let pid = rollcall.pid().to_string();
    let count = Arc::new(AtomicUsize::new(0));
    peer.turn(move |_| {
        if count.fetch_add(1, Ordering::SeqCst) == arrivals {
            if !answers {
                let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
                assert!(killed.success());
                return Answering::Closes;
            }
            let pid = pid.clone();
            std::thread::spawn(move || Command::new("kill").args(["-9", &pid]).status().unwrap());
        }
        Answering::status(200)
    });
}

#[test]
fn each_acknowledged_hook_arrives_in_order_wherever_the_process_is_killed() {
    let kills: u32 = std::env::var("FORWARD_KILLS").map_or(12, |n| n.parse().unwrap());
    let seed: u32 = std::env::var("FORWARD_SEED").map_or(1, |n| n.parse().unwrap());
    let peer = Peer::saying(200);
    let mut rollcall = forwarding(&[at(&peer)], "concurrency = 3");
    let (mut bodies, mut drawn) = (Vec::new(), seed);
    for round in 0..kills {
        drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let arrivals = (drawn >> 16) as usize % 20;
        kill_at(&rollcall, &peer, arrivals, round % 2 == 0);
        let pid = rollcall.pid();
        for body in (1..=5).flat_map(|n| whole_call(round * 10 + n)) {
            send_until_taken(&mut rollcall, &body);
            bodies.push(body);
        }
        if rollcall.pid() == pid {
            // It was to be killed by what arrives, which may take until all are sent.
            until("it is killed", || rollcall.is_gone().then_some(()));
            rollcall.kill();
            rollcall.start();
        }
    }
    peer.turn(|_| Answering::status(200));
    until_empty(&rollcall, "acme");
    let received = peer.received();
    assert_in_order(&received, &bodies);
    received.iter().for_each(assert_signed);
    eprintln!(
        "{kills} kills, seed {seed}: {} hooks arrived {} times",
        bodies.len(),
        received.len()
    );
}

#[test]
fn what_was_delivered_is_stored_soon_and_not_sent_again_after_a_kill() {
    let peer = Peer::saying(200);
    let mut rollcall = forwarding(&[at(&peer)], "");
    send_all(&rollcall, &(1..=5).flat_map(whole_call).collect::<Vec<_>>());
    peer.wait_for(20);
    until_empty(&rollcall, "acme");
    // What is stored is a change of the journal, the last one where nothing else comes.
    let mut last = (0, Instant::now());
    until("nothing is written any more", || {
        let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
        let sequence = figures["sequence"].as_u64().unwrap();
        if sequence != last.0 {
            last = (sequence, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(3)).then_some(())
    });
    rollcall.kill();
    peer.take();
    rollcall.start();
    send_all(&rollcall, &whole_call(9)[..1]);
    until_empty(&rollcall, "acme");
    assert_eq!(peer.received().len(), 1);
}

#[test]
fn a_signature_has_the_time_of_its_attempt() {
    let begun = Instant::now();
    let peer = Peer::up(move |_| {
        let late = begun.elapsed() > Duration::from_secs(8);
        Answering::status(if late { 200 } else { 503 })
    });
    let rollcall = forwarding(&[at(&peer)], "");
    send_all(&rollcall, &whole_call(1)[..1]);
    until_empty(&rollcall, "acme");
    let received = peer.received();
    received.iter().for_each(assert_signed);
    let time = |one: &Received| {
        let text = one.header("jambonz-signature").unwrap();
        let time = text.split_once(',').unwrap().0.strip_prefix("t=").unwrap();
        time.parse::<i64>().unwrap()
    };
    let (first, last) = (received.first().unwrap(), received.last().unwrap());
    let apart = last.at / 1000 - first.at / 1000;
    assert!(apart >= 6 && (time(last) - time(first) - apart).abs() <= 2, "{apart} s apart");
}

#[test]
fn an_index_that_is_built_again_loses_no_hook() {
    let peer = Peer::saying(503);
    let mut rollcall = forwarding(&[at(&peer)], "");
    let bodies: Vec<String> = (1..=5).flat_map(whole_call).collect();
    send_all(&rollcall, &bodies);
    rollcall.ok(&["rebuild"]);
    assert_eq!(target(&rollcall, "acme")["queued"], bodies.len());
    rollcall.kill();
    for entry in std::fs::read_dir(rollcall.data()).unwrap().map(Result::unwrap) {
        if entry.file_name().to_str().unwrap().starts_with("index-") {
            std::fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    rollcall.start();
    let known = || (target(&rollcall, "acme")["queued"] == bodies.len()).then_some(());
    until("all of them are there", known);
    peer.take();
    peer.turn(|_| Answering::status(200));
    assert_in_order(&peer.wait_for(bodies.len()), &bodies);
    until_empty(&rollcall, "acme");
}

#[test]
fn each_hook_arrives_in_order_though_the_process_is_killed_again_and_again() {
    let peer = Peer::up(|_| Answering::status(200));
    let mut rollcall = forwarding(&[at(&peer)], "concurrency = 3");
    let mut bodies = Vec::new();
    for round in 0..8 {
        let some: Vec<String> = (1..=6).flat_map(|n| whole_call(round * 10 + n)).collect();
        send_all(&rollcall, &some);
        bodies.extend(some);
        // At once, in the middle of it, and once all has arrived.
        peer.wait_for(bodies.len() * round as usize / 8);
        rollcall.kill();
        rollcall.start();
    }
    until_empty(&rollcall, "acme");
    let received = peer.received();
    assert_in_order(&received, &bodies);
    received.iter().for_each(assert_signed);
}

#[test]
fn a_backlog_survives_and_is_sent_in_order_once_the_target_is_back() {
    let peer = Peer::saying(503);
    let mut rollcall = forwarding(&[at(&peer)], "");
    let calls: u32 = std::env::var("FORWARD_CALLS").map_or(100, |n| n.parse().unwrap());
    let bodies: Vec<String> = (1..=calls).flat_map(whole_call).collect();
    send_all(&rollcall, &bodies);
    rollcall.kill();
    rollcall.start();
    // How many there are is known once they have been read.
    let known = || (target(&rollcall, "acme")["queued"] == bodies.len()).then_some(());
    until("all of them are there", known);
    peer.take();
    peer.turn(|_| Answering::status(200));
    let received = peer.wait_for(bodies.len());
    assert_in_order(&received, &bodies);
    until_empty(&rollcall, "acme");
    // In order, nothing is sent again after the next start.
    assert_eq!(rollcall.stop(), Some(0));
    peer.take();
    rollcall.start();
    send_all(&rollcall, &whole_call(9000));
    until_empty(&rollcall, "acme");
    let count = peer.received().len();
    assert_eq!(count, 4);
}
