//! What an operator sees and does.

use super::super::harness::{A1, Rollcall, until};
use super::super::hooks::signed::SECRET;
use super::super::peer::{Answering, Peer};
use super::{
    APP, TargetLines, at, configure, forwarding, hook, send, send_all, target, until_empty,
};

/// What `doctor` says of targets.
fn doctor(rollcall: &Rollcall, config: &std::path::Path) -> Vec<(String, String)> {
    let printed = rollcall.run(&["doctor", "--json", "--config", config.to_str().unwrap()]);
    let said: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    let findings = said["findings"].as_array().unwrap().iter();
    let of = findings.filter(|one| {
        let object = one["object"].as_str().unwrap();
        object.starts_with("target ") || object == "forwarding"
    });
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    of.map(|one| (text(&one["level"]), text(&one["problem"]))).collect()
}

#[test]
fn doctor_status_and_metrics_say_how_a_target_is() {
    let peer = Peer::saying(500);
    let mut closed = Peer::saying(200);
    let gone = TargetLines::new("gone", closed.url("/x?key=hunter2"));
    closed.end();
    let mut rollcall = Rollcall::down();
    let config = configure(&mut rollcall, &[at(&peer), gone], "");
    rollcall.start();
    let admin = rollcall.admin();
    // No account is registered: it comes by a token, and cannot be signed.
    assert_eq!(rollcall.post_events(&hook(1, "trying", APP)).status, 204);
    until("both are down", || {
        let down = |name| target(&rollcall, name)["down_since"].is_string();
        (down("acme") && down("gone")).then_some(())
    });
    let findings = doctor(&rollcall, &config);
    let has = |level: &str, text: &str| {
        assert!(
            findings.iter().any(|(its, what)| its == level && what.contains(text)),
            "{level} {text}: {findings:?}"
        );
    };
    has("ok", "it can be reached");
    has("error", "cannot connect to");
    has("error", "it answers 500; 1 webhook wait");
    has("warn", "no webhook secret: what is sent is not signed");
    assert!(findings.iter().all(|(_, what)| !what.contains("hunter2")), "{findings:?}");
    let scrape = rollcall.get(&admin, "/metrics").body;
    let value = |line: &str| {
        let found = scrape.lines().find_map(|own| own.strip_prefix(line));
        found.unwrap_or_else(|| panic!("{line}: {scrape}")).trim().parse::<f64>().unwrap()
    };
    for (line, least) in [
        ("rollcall_forward_queued{target=\"acme\"}", 1.0),
        ("rollcall_forward_down{target=\"gone\"}", 1.0),
        ("rollcall_forward_failures_total{target=\"acme\",reason=\"failed\"}", 5.0),
        ("rollcall_forward_failures_total{target=\"gone\",reason=\"unreached\"}", 5.0),
        ("rollcall_forward_unsigned_total{target=\"acme\"}", 5.0),
        ("rollcall_forward_oldest_unsent_seconds{target=\"acme\"}", 0.001),
    ] {
        assert!(value(line) >= least, "{line}: {scrape}");
    }
    assert!(!scrape.contains(A1) && !scrape.contains("hunter2"));
    peer.turn(|_| Answering::status(200));
    until_empty(&rollcall, "acme");
    assert!(peer.received().iter().all(|one| one.header("jambonz-signature").is_none()));
    assert_eq!(target(&rollcall, "acme")["down_since"], serde_json::Value::Null);
    assert_eq!(doctor(&rollcall, &config).iter().filter(|(level, _)| level == "ok").count(), 1);
}

#[test]
fn a_configuration_whose_target_cannot_be_used_is_refused_by_name() {
    let mut rollcall = Rollcall::down();
    let mut lines = TargetLines::new("acme", "http://127.0.0.1:9/".to_owned());
    lines.more = "user = \"u\"\npassword_file = \"/nowhere/password\"".to_owned();
    let config = configure(&mut rollcall, &[lines], "");
    let refused = rollcall.start_fails();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("forward.targets `acme`: password_file /nowhere/password"));
    let checked = rollcall.run(&["config", "check", "--config", config.to_str().unwrap()]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stderr.contains("password_file /nowhere/password"), "{checked:?}");
    assert!(!rollcall.data().join("journal").exists(), "a store was made");
}

#[test]
fn a_target_that_leaves_and_comes_back_gets_what_was_its_and_nothing_of_between() {
    let peer = Peer::saying(503);
    let other = Peer::saying(200);
    let both = || [at(&peer), TargetLines::new("other", other.url("/"))];
    let mut rollcall = forwarding(&both(), "");
    send_all(&rollcall, &[hook(1, "trying", APP)]);
    peer.wait_for(1);
    assert_eq!(rollcall.stop(), Some(0));
    configure(&mut rollcall, &both()[1..], "");
    rollcall.start();
    send_all(&rollcall, &[hook(2, "trying", APP)]);
    other.wait_for(2);
    let figures = target(&rollcall, "acme");
    assert_eq!((&figures["open"], &figures["queued"]), (&false.into(), &1.into()), "{figures}");
    rollcall.ok(&["compact", "--drop-history"]);
    assert_eq!(rollcall.stop(), Some(0));
    peer.take();
    peer.turn(|_| Answering::status(200));
    configure(&mut rollcall, &both(), "");
    rollcall.start();
    send_all(&rollcall, &[hook(3, "trying", APP)]);
    let mut texts: Vec<_> = peer.wait_for(2).iter().map(|one| one.text().to_owned()).collect();
    texts.sort_unstable();
    assert_eq!(texts, [hook(1, "trying", APP), hook(3, "trying", APP)]);
    until_empty(&rollcall, "acme");
}

#[test]
fn without_a_target_nothing_is_kept_and_a_secret_is_used_from_the_next_attempt_on() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&hook(1, "trying", APP)).status, 204);
    let checked = rollcall.ok(&["check"]);
    assert!(!checked.contains("webhook"), "{checked}");
    let shown = rollcall.ok(&["forward", "status"]);
    assert!(shown.contains("no webhook is passed on"), "{shown}");
    assert_eq!(rollcall.stop(), Some(0));
    let peer = Peer::saying(503);
    configure(&mut rollcall, &[at(&peer)], "");
    rollcall.start();
    assert_eq!(rollcall.post_events(&hook(2, "trying", APP)).status, 204);
    assert!(peer.wait_for(1)[0].header("jambonz-signature").is_none());
    let secret = ["account", "set", A1, "--webhook-secret", "-"];
    assert_eq!(rollcall.run_with(&secret, SECRET.as_bytes()).code, Some(0));
    peer.turn(|_| Answering::status(200));
    until_empty(&rollcall, "acme");
    let all = peer.received();
    let last = all.last().unwrap();
    super::assert_signed(last);
    assert_eq!(
        last.text(),
        hook(2, "trying", APP),
        "what came before there was a target is not sent"
    );
    assert_eq!(send(&rollcall, &hook(3, "trying", APP)).status, 204);
    until_empty(&rollcall, "acme");
}
