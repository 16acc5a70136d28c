//! A message that is in the log once more, long after it was done and undone, changes nothing.

use std::time::Duration;

use serde_json::Value;

use super::super::console::Browser;
use super::super::harness::{A1, A2, Rollcall, event, until};
use super::super::peer::Peer;
use super::node::with_log;
use super::three::{MACHINES, Setup, Three};

const MASKED: &[&str] =
    &["token", "create", "--admin", "--role", "read-masked", "--name", "masked"];

/// What commands have made of a node; when tokens were used last apart.
fn state(node: &Rollcall) -> Vec<Value> {
    let shown = |args: &[&str]| -> Value { serde_json::from_str(&node.ok(args)).unwrap() };
    let mut tokens = shown(&["token", "list", "--json"]);
    for token in tokens.as_array_mut().unwrap() {
        token["last_used_at"].take();
    }
    let paused = shown(&["forward", "status", "--json"])["paused"].clone();
    vec![shown(&["account", "list", "--json"]), tokens, paused]
}

fn id_of(node: &Rollcall, name: &str) -> String {
    let tokens: Value = serde_json::from_str(&node.ok(&["token", "list", "--json"])).unwrap();
    let named = tokens.as_array().unwrap().iter().find(|token| token["name"] == name);
    named.unwrap()["id"].as_str().unwrap().to_owned()
}

#[test]
fn commands_that_were_undone_are_not_done_again_where_their_messages_come_again() {
    let peer = Peer::saying(200);
    let lines = format!(
        "[forward]\n[[forward.targets]]\nname = \"customer\"\nurl = \"{}\"\naccount_sid = \"{A1}\"\n",
        peer.url("/hook")
    );
    let setup = Setup { more: Box::leak(lines.into_boxed_str()), ..Setup::default() };
    let Some(three) = Three::up(&setup) else { return };
    until("webhooks are for the target", || {
        let text = three.nodes[1].run(&["forward", "status", "--json"]).stdout;
        let figures: Value = serde_json::from_str(&text).ok()?;
        (figures["targets"][0]["open"] == true).then_some(())
    });
    let ok = |n: usize, args: &[&str]| {
        three.nodes[n].ok(args);
        three.rest();
    };
    for name in ["one", "two", "one"] {
        ok(0, &["account", "set", A1, "--name", name]);
    }
    ok(1, &["account", "set", A2, "--name", "gone"]);
    ok(2, &["account", "remove", A2]);
    for args in [&["token", "create", "--admin", "--name", "full"][..], MASKED] {
        ok(0, args);
        ok(1, &["token", "revoke", &id_of(&three.nodes[1], args[args.len() - 1])]);
    }
    ok(1, &["forward", "pause"]);
    ok(2, &["forward", "resume"]);
    let browser = Browser::sign_in(&three.nodes[0], &three.targets.token);
    three.rest();
    let signed_out = browser.ask("DELETE", "/console/api/session", "");
    assert_eq!(signed_out.status, 204, "{signed_out:?}");
    let taken = three.targets.send(0, "POST", "/v1/hooks/call-status", &[], &event(1, "completed"));
    assert_eq!(taken.unwrap().status, 204);
    let last = three.rest().seq;
    let before: Vec<_> = three.nodes.iter().map(state).collect();
    assert!(before.iter().all(|state| *state == before[0] && state[2] == false), "{before:#?}");
    with_log(&three.servers, async |_, log| {
        // What undid something comes before that.
        for seq in (1..=last).rev() {
            let message = log.message_at(seq).await.unwrap().unwrap();
            log.append(message.bytes, Duration::from_secs(5)).await.unwrap();
        }
    });
    let now = three.rest().seq;
    assert!(now >= 2 * last, "{now}");
    for n in 0..MACHINES {
        assert_eq!(state(&three.nodes[n]), before[0], "node {n}");
    }
    assert_eq!(browser.get("/console/api/session").status, 401, "the session was ended");
}
