//! Targets that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::harness::{Rollcall, until};
use super::super::peer::{Answering, Peer};
use super::{
    APP, HOOK, TargetLines, assert_in_order, assert_signed, at, call, forwarding, hook, send,
    send_all, target, until_empty, whole_call,
};

/// The first `count` requests fare so, all others well.
fn first(count: usize, then: Answering) -> impl Fn(&super::Received) -> Answering {
    let seen = Arc::new(AtomicUsize::new(0));
    move |_| {
        let n = seen.fetch_add(1, Ordering::SeqCst);
        if n < count { then.clone() } else { Answering::status(200) }
    }
}

#[test]
fn each_failure_is_followed_by_another_attempt_that_is_signed_anew() {
    for (kind, answering) in [
        ("failed", Answering::status(500)),
        ("refused", Answering::status(404)),
        (
            "redirected",
            Answering::Sends(
                b"HTTP/1.1 301 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_vec(),
            ),
        ),
        ("lost", Answering::Closes),
        ("lost", Answering::Resets),
        ("lost", Answering::SendsAndCloses(b"HTTP/1.1 200 O".to_vec())),
        ("late", Answering::Hangs),
    ] {
        let peer = Peer::up(first(2, answering.clone()));
        let rollcall = forwarding(&[at(&peer)], "timeout = \"300ms\"");
        let bodies = whole_call(1);
        send_all(&rollcall, &bodies);
        let received = peer.wait_for(bodies.len() + 2);
        assert_in_order(&received, &bodies);
        assert!(received.iter().all(|one| one.url == "/status"), "it was followed: {kind}");
        received.iter().for_each(assert_signed);
        let ids: Vec<_> = received.iter().map(|one| one.header("rollcall-delivery")).collect();
        assert_eq!((ids[0], ids[0]), (ids[1], ids[2]), "{kind}");
        assert_ne!(ids[2], ids[3]);
        until_empty(&rollcall, "acme");
        assert_eq!(target(&rollcall, "acme")["failures"][kind], 2, "{kind}: {answering:?}");
    }
}

#[test]
fn the_head_of_an_answer_counts_whatever_follows_it() {
    for answering in [
        Answering::Endless,
        Answering::SendsAndCloses(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nabc".to_vec()),
        Answering::text(202, "text/plain", &"x".repeat(3_000_000)),
    ] {
        let peer = Peer::up(move |_| answering.clone());
        let rollcall = forwarding(&[at(&peer)], "");
        send_all(&rollcall, &whole_call(1));
        until_empty(&rollcall, "acme");
        assert_eq!(peer.received().len(), 4);
        assert_eq!(target(&rollcall, "acme")["delivered"], 4);
    }
}

#[test]
fn a_target_that_is_down_is_left_alone_and_keeps_no_other_waiting() {
    let (mut down, well) = (Peer::saying(200), Peer::saying(200));
    let address = down.address;
    let lines =
        [TargetLines::new("down", down.url("/status")), TargetLines::new("well", well.url("/"))];
    down.end();
    let rollcall = forwarding(&lines, "");
    let bodies: Vec<String> = (1..=50).flat_map(whole_call).collect();
    send_all(&rollcall, &bodies);
    assert_in_order(&well.wait_for(bodies.len()), &bodies);
    let figures = until("it is known to be down", || {
        let figures = target(&rollcall, "down");
        figures["down_since"].is_string().then_some(figures)
    });
    assert_eq!(figures["queued"], bodies.len());
    assert!(figures["oldest_unsent_at"].is_string(), "{figures}");
    let attempts = figures["failures"]["unreached"].as_u64().unwrap();
    assert!(attempts < 30, "200 webhooks made {attempts} attempts");
    assert!(rollcall.status().contains("no webhook reaches the target down since"));
    let up = Peer::up_at(address, |_| Answering::status(200));
    assert_in_order(&up.wait_for(bodies.len()), &bodies);
    until_empty(&rollcall, "down");
    assert_eq!(target(&rollcall, "down")["delivered"], bodies.len());
}

#[test]
fn a_call_that_is_refused_keeps_no_other_call_waiting() {
    let bad = call(3);
    let peer = Peer::up(move |received| {
        Answering::status(if received.text().contains(&bad) { 422 } else { 200 })
    });
    let rollcall = forwarding(&[at(&peer)], "");
    let bodies: Vec<String> = (1..=6).flat_map(whole_call).collect();
    send_all(&rollcall, &bodies);
    until("the others are delivered", || {
        (target(&rollcall, "acme")["delivered"] == 20).then_some(())
    });
    // Only the first of that call is ever tried.
    let texts = peer.received().into_iter().filter(|one| one.text().contains(&call(3)));
    assert!(texts.into_iter().all(|one| one.text() == hook(3, "trying", APP)));
    assert_eq!(target(&rollcall, "acme")["queued"], 4);
}

#[test]
fn an_answer_that_never_comes_does_not_delay_the_sender() {
    let peer = Peer::up(|_| Answering::Hangs);
    let rollcall = forwarding(&[at(&peer)], "timeout = \"2m\"\nconcurrency = 2");
    let bodies: Vec<String> = (1..=100).map(|n| hook(n, "trying", APP)).collect();
    // Each is answered though no attempt has ended by then.
    send_all(&rollcall, &bodies);
    peer.wait_for(2);
    assert_eq!(peer.most_at_once(), 2);
    assert_eq!(target(&rollcall, "acme")["queued"], 100);
    assert_eq!(send(&rollcall, &hook(101, "trying", APP)).status, 204);
}

#[test]
fn a_target_that_leads_back_here_gets_a_webhook_once() {
    let here = Arc::new(std::sync::OnceLock::<std::sync::Weak<Rollcall>>::new());
    let back = here.clone();
    let peer = Peer::up(move |received| {
        let rollcall = back.get().and_then(std::sync::Weak::upgrade).unwrap();
        let headers = ["jambonz-signature", "rollcall-delivery", "content-type"]
            .map(|name| (name, received.header(name).unwrap()));
        let answer = rollcall.send("POST", HOOK, &headers, received.text().as_bytes()).unwrap();
        Answering::status(answer.status)
    });
    let rollcall = Arc::new(forwarding(&[at(&peer)], ""));
    here.set(Arc::downgrade(&rollcall)).unwrap();
    let bodies = whole_call(1);
    send_all(&rollcall, &bodies);
    until_empty(&rollcall, "acme");
    let received = peer.received();
    assert_in_order(&received, &bodies);
    assert_eq!(received.len(), bodies.len());
    let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["forward"]["passed_over"], 4);
    assert!(rollcall.status().contains("came back from a target"));
}
