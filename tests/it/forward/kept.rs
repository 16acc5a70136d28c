//! What is kept: until it is delivered, until it is asked for again, and not beyond its call.

use super::super::harness::{A1, Rollcall, until};
use super::super::peer::{Answering, Peer};
use super::{
    APP, assert_in_order, at, call, forwarding, hook, send_all, target, until_empty, whole_call,
};

#[test]
fn what_is_paused_is_sent_afterwards() {
    let peer = Peer::saying(200);
    let mut rollcall = forwarding(&[at(&peer)], "");
    assert!(rollcall.ok(&["forward", "pause"]).contains("paused"));
    send_all(&rollcall, &whole_call(1));
    assert_eq!(target(&rollcall, "acme")["queued"], 4);
    assert!(rollcall.status().contains("forwarding is paused, and 4 webhooks wait"));
    // Also after a restart.
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    until("what waits is there", || (target(&rollcall, "acme")["queued"] == 4).then_some(()));
    assert!(peer.received().is_empty());
    assert!(rollcall.ok(&["forward", "resume"]).contains("goes on"));
    peer.wait_for(4);
    until_empty(&rollcall, "acme");
}

#[test]
fn what_is_set_aside_is_sent_when_somebody_asks_for_it() {
    let peer = Peer::saying(503);
    let mut rollcall = forwarding(&[at(&peer)], "max_age = \"1s\"");
    let bodies = [whole_call(1), whole_call(2)].concat();
    send_all(&rollcall, &bodies);
    until("all are set aside", || (target(&rollcall, "acme")["set_aside"] == 8).then_some(()));
    assert_eq!(target(&rollcall, "acme")["queued"], 0);
    assert!(rollcall.status().contains("8 webhooks for the target acme were set aside"));
    peer.take();
    peer.turn(|_| Answering::status(200));
    // They stay so over a kill and a compaction, and what comes after them is sent.
    rollcall.ok(&["compact", "--drop-history"]);
    rollcall.kill();
    rollcall.start();
    send_all(&rollcall, &[hook(3, "trying", APP)]);
    assert_eq!(peer.wait_for(1)[0].text(), hook(3, "trying", APP));
    assert_eq!(target(&rollcall, "acme")["set_aside"], 8);
    let unknown = rollcall.run(&["forward", "retry", "acne"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("there is no target `acne`: there are acme"), "{unknown:?}");
    assert_eq!(rollcall.ok(&["forward", "retry", "acme"]).trim(), "8 webhooks will be sent again");
    let received = peer.wait_for(9);
    assert_in_order(received.get(1..).unwrap(), &bodies);
    until_empty(&rollcall, "acme");
    assert_eq!(target(&rollcall, "acme")["set_aside"], 0);
}

#[test]
fn hooks_of_a_deleted_call_are_not_sent_and_leave_the_disk() {
    let peer = Peer::saying(503);
    let rollcall = forwarding(&[at(&peer)], "");
    send_all(&rollcall, &[whole_call(1), whole_call(2)].concat());
    until("both are tried", || {
        let tried = peer.received();
        let tries = |n| tried.iter().any(|one| one.text().contains(&call(n)));
        (tries(1) && tries(2)).then_some(())
    });
    let purged = rollcall.run(&["purge", "--number", "+15550000001"]);
    assert_eq!(purged.code, Some(0), "{purged:?}");
    peer.take();
    peer.turn(|_| Answering::status(200));
    until_empty(&rollcall, "acme");
    let received = peer.received();
    assert!(received.iter().all(|one| !one.text().contains(&call(1))), "it was sent");
    assert_eq!(target(&rollcall, "acme")["delivered"], 4);
    assert!(target(&rollcall, "acme")["gone"].as_u64().unwrap() > 0);
    // An event that comes late for it is answered, and goes nowhere.
    peer.take();
    send_all(&rollcall, &[hook(1, "completed", APP), hook(3, "trying", APP)]);
    until_empty(&rollcall, "acme");
    assert!(peer.wait_for(1).iter().all(|one| one.text().contains(&call(3))));
}

#[test]
fn a_delivered_hook_leaves_the_journal_and_one_that_waits_stays() {
    let peer = Peer::up(|received| {
        Answering::status(if received.text().contains(&call(2)) { 503 } else { 200 })
    });
    let marked =
        |n: u32| hook(n, "trying", APP).replacen('{', &format!("{{\"mark{n}\":\"a {n} b\","), 1);
    let mut rollcall = forwarding(&[at(&peer)], "");
    send_all(&rollcall, &[marked(1), marked(2)]);
    until("one is delivered", || (target(&rollcall, "acme")["queued"] == 1).then_some(()));
    rollcall.ok(&["compact", "--drop-history"]);
    assert_eq!(target(&rollcall, "acme")["queued"], 1);
    // Of both there was one; the one that was delivered has left the disk.
    let checked = rollcall.ok(&["check"]);
    assert!(checked.contains("the journal has 1 webhook to pass on"), "{checked}");
    rollcall.kill();
    rollcall.start();
    peer.take();
    peer.turn(|_| Answering::status(200));
    let received = peer.wait_for(1);
    assert_eq!(received[0].text(), marked(2));
    until_empty(&rollcall, "acme");
}

#[test]
fn a_restored_directory_sends_nothing_before_it_is_told_to() {
    let peer = Peer::saying(503);
    let mut rollcall = forwarding(&[at(&peer)], "");
    send_all(&rollcall, &whole_call(1));
    peer.wait_for(1);
    let backup = rollcall.dir.path().join("backup");
    rollcall.ok(&["backup", backup.to_str().unwrap()]);
    assert_eq!(rollcall.stop(), Some(0));
    let restored = rollcall.dir.path().join("restored");
    let there = Rollcall::down_in(&restored);
    assert_eq!(there.run(&["restore", backup.to_str().unwrap()]).code, Some(0));
    peer.turn(|_| Answering::status(200));
    peer.take();
    let mut restored = Rollcall::down_in(&restored);
    super::configure(&mut restored, &[at(&peer)], "");
    restored.start();
    let queued = |count: u32| (target(&restored, "acme")["queued"] == count).then_some(());
    until("what waited is there", || queued(4));
    send_all(&restored, &[hook(2, "trying", APP)]);
    until("what came is kept, too", || queued(5));
    assert!(
        restored.status().contains("forwarding is paused, and 5 webhooks wait"),
        "{}",
        restored.status()
    );
    assert!(peer.received().is_empty());
    restored.ok(&["forward", "resume"]);
    peer.wait_for(5);
    until_empty(&restored, "acme");
    assert_eq!(target(&restored, "acme")["account_sid"], A1);
}

#[test]
fn what_is_asked_for_again_goes_before_what_came_after_it() {
    let peer = Peer::saying(422);
    let rollcall = forwarding(&[at(&peer)], "max_age = \"4s\"");
    let [first, second, ..] = <[_; 4]>::try_from(whole_call(1)).unwrap();
    send_all(&rollcall, std::slice::from_ref(&first));
    until("it is set aside", || (target(&rollcall, "acme")["set_aside"] == 1).then_some(()));
    send_all(&rollcall, std::slice::from_ref(&second));
    until("the next one is tried", || {
        peer.received().iter().any(|one| one.text() == second).then_some(())
    });
    rollcall.ok(&["forward", "pause"]);
    rollcall.ok(&["forward", "retry", "acme"]);
    until("both wait", || {
        let figures = target(&rollcall, "acme");
        (figures["queued"] == 2 && figures["set_aside"] == 0).then_some(())
    });
    peer.turn(|_| {
        Answering::After(std::time::Duration::from_millis(1500), Box::new(Answering::status(200)))
    });
    peer.take();
    rollcall.ok(&["forward", "resume"]);
    until_empty(&rollcall, "acme");
    let texts: Vec<_> = peer.received().iter().map(|one| one.text().to_owned()).collect();
    assert_eq!(texts, [first, second]);
    assert_eq!(peer.most_at_once(), 1);
}

#[test]
fn what_cannot_be_read_for_a_target_is_said() {
    use std::os::unix::fs::FileExt as _;
    let peer = Peer::saying(503);
    let rollcall = forwarding(&[at(&peer)], "");
    let body = hook(1, "trying", APP).replacen('{', "{\"marker\":\"once only\",", 1);
    send_all(&rollcall, std::slice::from_ref(&body));
    peer.wait_for(1);
    // The hook, and not the call that it is about.
    let mut journal = std::fs::read_dir(rollcall.data().join("journal")).unwrap();
    let begin = |bytes: &[u8]| bytes.windows(body.len()).position(|at| at == body.as_bytes());
    let found = journal.find_map(|file| {
        let path = file.unwrap().path();
        Some((begin(&std::fs::read(&path).unwrap())?, path))
    });
    let (begin, path) = found.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"[", begin as u64).unwrap();
    until("it is said", || {
        let said = "webhooks that are to be passed on cannot be read now";
        rollcall.log().contains(said).then_some(())
    });
    peer.take();
    peer.turn(|_| Answering::status(200));
    send_all(&rollcall, &[hook(2, "trying", APP)]);
    assert_eq!(peer.wait_for(1)[0].text(), hook(2, "trying", APP), "another call waits");
    until("the other waits", || (target(&rollcall, "acme")["queued"] == 1).then_some(()));
}
