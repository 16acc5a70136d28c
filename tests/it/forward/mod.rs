//! Passing webhooks on: the real binary, and targets that answer, fail, or are gone.

mod delivered;
mod failing;
mod kept;
mod operated;
mod restarts;

use std::fmt::Write as _;
use std::path::PathBuf;

use super::harness::{A1, Answer, Rollcall, until};
use super::hooks::signed::{SECRET, mac, signature};
use super::peer::{Peer, Received};

pub const HOOK: &str = "/v1/hooks/call-status";
/// The application of the recorded hooks.
pub const APP: &str = "7087fe50-8acb-4f3b-b820-97b573723aab";
pub const OTHER_APP: &str = "0e0681b0-d49f-4fb8-b973-b5a3c6758de1";

/// A target in the configuration.
pub struct TargetLines {
    pub name: &'static str,
    pub url: String,
    pub account: &'static str,
    /// Further lines of TOML.
    pub more: String,
}

impl TargetLines {
    pub fn new(name: &'static str, url: String) -> Self {
        Self { name, url, account: A1, more: String::new() }
    }
}

/// Writes a configuration with these targets, whose attempts follow each other soon.
pub fn configure(rollcall: &mut Rollcall, targets: &[TargetLines], more: &str) -> PathBuf {
    let mut text = format!("[forward]\nretry_max = \"1s\"\n{more}\n");
    for TargetLines { name, url, account, more } in targets {
        let _infallible = write!(
            text,
            "[[forward.targets]]\nname = \"{name}\"\nurl = \"{url}\"\naccount_sid = \"{account}\"\n{more}\n"
        );
    }
    let path = rollcall.dir.path().join("forward.toml");
    std::fs::write(&path, text).unwrap();
    let flags = ["--config", path.to_str().unwrap()];
    rollcall.set_args(&flags);
    path
}

/// A running server that passes the hooks of account one on to these targets.
pub fn forwarding(targets: &[TargetLines], more: &str) -> Rollcall {
    let mut rollcall = Rollcall::down();
    configure(&mut rollcall, targets, more);
    let secret = ["account", "set", A1, "--webhook-secret", "-"];
    assert_eq!(rollcall.run_with(&secret, SECRET.as_bytes()).code, Some(0));
    rollcall.start();
    rollcall
}

/// A hook of call number `n` with this status, as jambonz writes it.
pub fn hook(n: u32, status: &str, application: &str) -> String {
    format!(
        "{{\"call_sid\":\"{}\",\"direction\":\"inbound\",\"from\":\"+1555000{n:04}\",\
         \"to\":\"+15550009999\",\"call_id\":\"lab-{n}@203.0.113.9\",\"call_status\":\"{status}\",\
         \"account_sid\":\"{A1}\",\"application_sid\":\"{application}\"}}",
        call(n)
    )
}

pub fn call(n: u32) -> String {
    format!("f0000000-0000-4000-8000-{n:012x}")
}

/// Sends a hook as jambonz does: signed now, with its trace.
pub fn send(rollcall: &Rollcall, body: &str) -> Answer {
    let signature = signature(SECRET, 0, body);
    let headers = [
        ("jambonz-signature", signature.as_str()),
        ("b3", "19ce790595bdd69de41c429bca614b32-7cc8bc0ba41bff3e-1"),
        ("content-type", "application/json"),
    ];
    rollcall.send("POST", HOOK, &headers, body.as_bytes()).unwrap()
}

/// Sends hooks that are to be taken.
pub fn send_all(rollcall: &Rollcall, bodies: &[String]) {
    for body in bodies {
        assert_eq!(send(rollcall, body).status, 204, "{body}");
    }
}

/// The statuses of one call, in their order.
pub fn whole_call(n: u32) -> Vec<String> {
    let statuses = ["trying", "ringing", "in-progress", "completed"];
    statuses.iter().map(|status| hook(n, status, APP)).collect()
}

/// Checks that a hook is signed with the secret of account one, at about the time at which it arrived.
pub fn assert_signed(received: &Received) {
    let text = received.header("jambonz-signature").unwrap();
    let (time, digest) = text.split_once(",v1=").unwrap();
    let time = time.strip_prefix("t=").unwrap();
    let expected = data_encoding::HEXLOWER.encode(&mac(SECRET, time, received.text()));
    assert_eq!(digest, expected, "{text}");
    let seconds: i64 = time.parse().unwrap();
    assert!((received.at / 1000 - seconds).abs() <= 5, "{text} arrived at {}", received.at);
}

/// Each body was taken, and none of a call arrived before those ahead of it were taken.
pub fn assert_in_order(received: &[Received], bodies: &[String]) {
    for body in bodies {
        assert!(received.iter().any(|one| one.text() == body), "never arrived: {body}");
    }
    let sid =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["call_sid"].clone();
    let mut calls: Vec<_> = bodies.iter().map(|body| sid(body)).collect();
    calls.dedup();
    for call in calls {
        let expected: Vec<&str> =
            bodies.iter().map(String::as_str).filter(|body| sid(body) == call).collect();
        let mut taken = 0;
        for one in received.iter().filter(|one| sid(one.text()) == call) {
            let place = expected.iter().position(|body| *body == one.text()).unwrap();
            assert!(place <= taken, "out of order: {}", one.text());
            taken += usize::from(one.accepted && place == taken);
        }
        assert_eq!(taken, expected.len(), "some were never taken");
    }
}

/// What `forward status` says of a target.
pub fn target(rollcall: &Rollcall, name: &str) -> serde_json::Value {
    let text = rollcall.ok(&["forward", "status", "--json"]);
    let figures: serde_json::Value = serde_json::from_str(&text).unwrap();
    let targets = figures["targets"].as_array().unwrap().clone();
    targets.into_iter().find(|target| target["name"] == name).unwrap()
}

/// Waits until nothing waits for a target any more.
pub fn until_empty(rollcall: &Rollcall, name: &str) {
    until("everything is delivered", || (target(rollcall, name)["queued"] == 0).then_some(()));
}

/// A target at a peer.
pub fn at(peer: &Peer) -> TargetLines {
    TargetLines::new("acme", peer.url("/status"))
}
