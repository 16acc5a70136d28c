//! A node that is silent since before all others were started: they miss it until somebody says that it is gone.

use serde_json::{Value, json};

use super::super::harness::{Rollcall, event, until};
use super::node::{figures, until_it_is};
use super::three::{Setup, Three};

/// What a node says of another one; none where it does not miss it.
fn said_of(node: &Rollcall, name: &str) -> Option<Value> {
    let figures = figures(node);
    figures["nodes"].as_array()?.iter().find(|one| one["node"] == name).cloned()
}

fn purge(three: &Three, n: usize) -> (Option<i32>, Value) {
    let args = ["--json", "purge", "--number", "+15559871234", "--now", "--wait", "1m"];
    let printed = three.nodes[n].run(&args);
    (printed.code, serde_json::from_str(&printed.stdout).unwrap_or_default())
}

#[test]
fn a_node_that_was_silent_since_before_the_others_were_started_is_missed_until_it_is_forgotten() {
    // Of the server of a machine that is gone nobody knows that it syncs.
    let setup = Setup { more: "unverified_sync = true", ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    let headers = [("content-type", "application/json")];
    let body = event(1, "completed");
    let sent = three.targets.send(0, "POST", "/v1/hooks/call-status", &headers, &body);
    assert_eq!(sent.unwrap().status, 204);
    three.rest();
    for n in [2, 0, 1] {
        three.kill_node(n);
    }
    for n in [0, 1] {
        three.start_node(n);
    }
    for n in [0, 1] {
        let missed = until("it is missed", || said_of(&three.nodes[n], "node3"));
        assert_eq!(missed["heard"], false, "{missed}");
        let status = three.nodes[n].status();
        assert!(status.contains("node3: not heard since this one was started"), "{status}");
    }
    let scrape = three.targets.send(1, "GET", "/metrics", &[], "").unwrap();
    assert!(scrape.body.contains("node_seen_seconds{node=\"node3\"}"), "{scrape:?}");
    let (code, answer) = purge(&three, 1);
    let elsewhere = &answer["elsewhere"];
    assert_eq!((code, &elsewhere["trimmed"]), (Some(1), &Value::Null), "{answer}");
    assert_eq!(elsewhere["missing"][0]["node"], "node3", "{answer}");
    let why = elsewhere["missing"][0]["why"].as_str().unwrap();
    assert!(why.contains("was not heard since this node was started"), "{answer}");

    // It is forgotten everywhere: also by nodes that are started when nobody says so any more but the log.
    three.kill_node(0);
    let forgotten = three.nodes[1].ok(&["cluster", "forget", "node3"]);
    assert!(forgotten.contains("node node3 is not missed any more\n"), "{forgotten}");
    three.kill_node(1);
    for n in [0, 1] {
        three.start_node(n);
    }
    for (n, other) in [(0, "node2"), (1, "node1")] {
        until("it is missed no more", || {
            let of = |name| said_of(&three.nodes[n], name);
            (of(other).is_some() && of("node3").is_none()).then_some(())
        });
    }
    let (code, answer) = purge(&three, 0);
    assert_eq!((code, &answer["elsewhere"]["missing"]), (Some(0), &json!([])), "{answer}");
    assert!(answer["elsewhere"]["trimmed"].is_u64(), "{answer}");

    // It comes back all the same, and is missed again when it is gone.
    three.start_node(2);
    until_it_is(&three.nodes[2], "behind");
    let told = "node node3 is behind: `rollcall status` there says why";
    until("another node tells it", || {
        let problems = figures(&three.nodes[1])["problems"].clone();
        problems.as_array()?.iter().any(|one| one == told).then_some(())
    });
    let config = three.configs[0].to_str().unwrap();
    let status = three.nodes[0].run(&["cluster", "status", "--config", config]);
    assert!(status.code == Some(1) && status.stdout.contains(told), "{status:?}");
    three.kill_node(2);
    until("it was seen", || said_of(&three.nodes[1], "node3"));
}
