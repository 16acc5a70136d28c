//! What a target gets.

use super::super::harness::{A1, A2};
use super::super::hooks::signed::SECRET;
use super::super::peer::{Answering, Peer, Received};
use super::{
    APP, OTHER_APP, TargetLines, assert_in_order, assert_signed, at, call, forwarding, hook, send,
    send_all, target, until_empty, whole_call,
};

#[test]
fn a_hook_arrives_as_it_came_signed_anew_and_with_its_trace() {
    let peer = Peer::saying(200);
    let mut lines = TargetLines::new("acme", peer.url("/a/status?tenant=5"));
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    lines.more = format!("user = \"acme\"\npassword_file = \"{}\"", password.display());
    let rollcall = forwarding(&[lines], "");
    // What a client may write otherwise than it would be written anew.
    let body = hook(1, "trying", APP).replacen('{', "{ \"x\" : 1.50,\n\t", 1);
    assert_eq!(send(&rollcall, &body).status, 204);
    let [received] = <[_; 1]>::try_from(peer.wait_for(1)).unwrap();
    assert_eq!((received.method.as_str(), received.url.as_str()), ("POST", "/a/status?tenant=5"));
    assert_eq!(received.text(), body);
    assert_eq!(received.header("content-type"), Some("application/json"));
    let b3 = "19ce790595bdd69de41c429bca614b32-7cc8bc0ba41bff3e-1";
    assert_eq!(received.header("b3"), Some(b3));
    let basic = super::super::hooks::signed::basic("acme", "hunter2");
    assert_eq!(received.header("authorization"), Some(basic.as_str()));
    assert!(received.header("rollcall-delivery").is_some_and(|id| id.contains('-')));
    assert_signed(&received);
    until_empty(&rollcall, "acme");
    let figures = target(&rollcall, "acme");
    assert_eq!((&figures["delivered"], &figures["set_aside"]), (&1.into(), &0.into()));
    let shown = rollcall.ok(&["forward", "status"]) + &rollcall.status() + &rollcall.log();
    for secret in ["hunter2", "tenant=5", SECRET] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn the_recorded_hooks_arrive_byte_for_byte_over_tls_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::secure(dir.path(), |_| Answering::status(204));
    let ca = format!("ca = \"{}\"", peer.ca.as_ref().unwrap().display());
    let rollcall = forwarding(&[at(&peer)], &ca);
    let recorded = include_str!("../../fixtures/status-hooks.jsonl").lines();
    let bodies: Vec<String> = recorded
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["body"].as_str().unwrap().to_owned()
        })
        .collect();
    send_all(&rollcall, &bodies);
    let received = peer.wait_for(bodies.len());
    let texts: Vec<&str> = received.iter().map(Received::text).collect();
    assert_eq!(texts, bodies);
    received.iter().for_each(assert_signed);
}

#[test]
fn a_target_gets_what_is_of_its_account_and_its_applications_and_nothing_else() {
    let [all, some, other] = [(); 3].map(|()| Peer::saying(200));
    let mut lines = [
        TargetLines::new("all", all.url("/")),
        TargetLines::new("some", some.url("/")),
        TargetLines::new("other", other.url("/")),
    ];
    lines[1].more = format!("application_sids = [\"{OTHER_APP}\"]");
    lines[2].account = A2;
    let rollcall = forwarding(&lines, "");
    let ours = [hook(1, "trying", APP), hook(2, "trying", OTHER_APP)];
    send_all(&rollcall, &ours);
    // A body that says something of another account is for nobody, whatever credentials it came with.
    let both = format!("[{},{}]", hook(3, "trying", APP), hook(4, "trying", APP).replace(A1, A2));
    assert_eq!(rollcall.post_events(&both).status, 204);
    // An array of one account is one hook; one with an application of others is not for `some`.
    let array = format!("[{},{}]", hook(5, "trying", APP), hook(6, "trying", OTHER_APP));
    assert_eq!(send(&rollcall, &array).status, 204);
    let own = format!("[{},{}]", hook(7, "trying", OTHER_APP), hook(7, "ringing", OTHER_APP));
    assert_eq!(send(&rollcall, &own).status, 204);
    let mut texts: Vec<_> = all.wait_for(4).iter().map(|one| one.text().to_owned()).collect();
    texts.sort_unstable();
    let mut expected = [ours.to_vec(), vec![array, own.clone()]].concat();
    expected.sort_unstable();
    assert_eq!(texts, expected);
    let mut texts: Vec<_> = some.wait_for(2).iter().map(|one| one.text().to_owned()).collect();
    texts.sort_unstable();
    let mut expected = vec![ours[1].clone(), own];
    expected.sort_unstable();
    assert_eq!(texts, expected);
    for name in ["all", "some", "other"] {
        until_empty(&rollcall, name);
    }
    assert!(other.received().is_empty());
    let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["forward"]["passed_over"], 1);
}

#[test]
fn calls_are_sent_beside_each_other_and_each_in_its_order() {
    let peer = Peer::up(|_| {
        Answering::After(std::time::Duration::from_millis(20), Box::new(Answering::status(200)))
    });
    let rollcall = forwarding(&[at(&peer)], "concurrency = 4");
    let calls: Vec<Vec<String>> = (1..=12).map(whole_call).collect();
    let bodies: Vec<String> =
        (0..4).flat_map(|step| calls.iter().map(move |call| call[step].clone())).collect();
    send_all(&rollcall, &bodies);
    let received = peer.wait_for(bodies.len());
    assert_in_order(&received, &bodies);
    assert_eq!(received.len(), bodies.len(), "once each");
    let most = peer.most_at_once();
    assert!((2..=4).contains(&most), "{most}");
    let mut ids: Vec<_> =
        received.iter().map(|one| one.header("rollcall-delivery").unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), bodies.len());
}

#[test]
fn hooks_share_connections_and_one_that_the_target_has_closed_loses_none() {
    let dir = tempfile::tempdir().unwrap();
    let closes = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    for (answering, is_shared) in
        [(Answering::status(200), true), (Answering::SendsAndCloses(closes.to_vec()), false)]
    {
        let peer = Peer::secure(dir.path(), move |_| answering.clone());
        let ca = format!("concurrency = 2\nca = \"{}\"", peer.ca.as_ref().unwrap().display());
        let rollcall = forwarding(&[at(&peer)], &ca);
        rollcall.ok(&["forward", "pause"]);
        let bodies: Vec<String> = (1..=15).flat_map(whole_call).collect();
        send_all(&rollcall, &bodies);
        rollcall.ok(&["forward", "resume"]);
        until_empty(&rollcall, "acme");
        let received = peer.received();
        assert_in_order(&received, &bodies);
        received.iter().for_each(assert_signed);
        // One that rests for a second is made anew.
        let connections = peer.connections();
        assert_eq!(connections < bodies.len() / 2, is_shared, "{connections}");
    }
}

#[test]
fn what_is_not_taken_is_not_passed_on() {
    let peer = Peer::saying(200);
    let rollcall = forwarding(&[at(&peer)], "");
    let body = hook(1, "trying", APP);
    let wrong = super::signature("other", 0, &body);
    let headers = [("jambonz-signature", wrong.as_str())];
    assert_eq!(rollcall.send("POST", super::HOOK, &headers, body.as_bytes()).unwrap().status, 401);
    let malformed = body.replace(&call(1), "x");
    assert_eq!(send(&rollcall, &malformed).status, 400);
    assert_eq!(send(&rollcall, &hook(2, "trying", APP)).status, 204);
    let received = peer.wait_for(1);
    assert_eq!(received[0].text(), hook(2, "trying", APP));
    until_empty(&rollcall, "acme");
    assert_eq!(peer.received().len(), 1);
}

#[test]
fn a_body_as_large_as_may_be_arrives_whole() {
    let peer = Peer::saying(200);
    let rollcall = forwarding(&[at(&peer)], "");
    let filler = "x".repeat(1_000_000);
    let body = hook(1, "trying", APP).replacen('{', &format!("{{\"customer\":\"{filler}\","), 1);
    assert_eq!(send(&rollcall, &body).status, 204);
    assert!(peer.wait_for(1)[0].text() == body, "another body arrived");
}
