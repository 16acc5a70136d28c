//! Ends of the process at every moment: each hook arrives all the same.

use super::super::peer::{Answering, Peer};
use super::{assert_in_order, assert_signed, at, forwarding, send_all, until_empty, whole_call};

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
    assert_eq!(super::target(&rollcall, "acme")["queued"], bodies.len());
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
