//! Forgetting a person on all machines: after `purge --now` nothing of the calls is on any disk, neither in the files of the
//! nodes nor in those of the nats-servers.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::super::crash::assert_checked;
use super::super::harness::{A1, A2, Answer, Printed, ROLLCALL, print, sid, until};
use super::three::{MACHINES, Setup, Three};

const NUMBER: &str = "+15559871234";
/// What only the calls of that number have.
const MARKERS: [&str; 4] = ["15559871234", "call-id-of-carol", "tag-of-carol", "note-of-carol"];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// An event of the person's, with all markers in it.
fn of_carol(n: u32) -> String {
    let event = json!({
        "account_sid": A1, "call_sid": sid(n), "direction": "inbound", "call_status": "completed", "sip_status": 200,
        "from": NUMBER, "to": "+15550000002", "call_id": format!("call-id-of-carol-{n}"),
        "customer_data": {"tag": "tag-of-carol"}, "note": format!("note-of-carol {n}"),
    });
    event.to_string()
}

fn of_others(n: u32) -> String {
    of_carol(n).replace("carol", "dave").replace(NUMBER, "+15550000003")
}

fn post(three: &Three, n: usize, body: &str) -> Answer {
    let headers = [("content-type", "application/json")];
    three.targets.send(n, "POST", "/v1/hooks/call-status", &headers, body).unwrap()
}

fn purge(three: &Three, n: usize, more: &[&str]) -> (Printed, Value) {
    let args = ["--json", "purge", "--number", NUMBER, "--mentions", "--now"];
    let printed = three.nodes[n].run(&[&args, more].concat());
    let answer = serde_json::from_str(&printed.stdout).unwrap_or_default();
    (printed, answer)
}

/// Files below a directory that have a marker as they stand there.
fn traces(dir: &Path) -> BTreeSet<String> {
    let mut command = Command::new("grep");
    command.args(["--recursive", "--text", "--only-matching", "--fixed-strings"]);
    command.args(MARKERS.iter().flat_map(|marker| ["-e", marker]));
    // Files may go meanwhile: that is no error.
    let printed = print(command.arg(dir), b"");
    printed.stdout.lines().map(ToOwned::to_owned).collect()
}

/// Those that have it once they are unpacked.
fn packed_traces(dir: &Path, found: &mut BTreeSet<String>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            packed_traces(&path, found);
        }
        let Ok(bytes) = fs::read(&path) else { continue };
        let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == ZSTD[0]);
        for (at, _) in starts.filter(|(at, _)| bytes[*at..].starts_with(ZSTD)) {
            let mut text = Vec::new();
            let unpacker = zstd::stream::read::Decoder::new(&bytes[at..]).unwrap().single_frame();
            let _as_far_as_it_goes = unpacker.take(1 << 28).read_to_end(&mut text);
            let text = String::from_utf8_lossy(&text);
            let here = MARKERS.iter().filter(|marker| text.contains(**marker));
            found.extend(here.map(|marker| format!("{}:{marker}", path.display())));
        }
    }
}

/// The same of one node, and of one server.
fn of_node(three: &Three, n: usize) -> BTreeSet<String> {
    let mut found = traces(three.nodes[n].data());
    packed_traces(three.nodes[n].data(), &mut found);
    found
}

fn of_server(three: &Three, n: usize) -> BTreeSet<String> {
    traces(&three.servers.store_dir(n))
}

fn assert_gone(what: &str, found: &BTreeSet<String>) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}

#[test]
fn nothing_of_a_person_stays_on_any_disk_of_three_machines() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    for n in 0..60 {
        assert_eq!(post(&three, n as usize % 3, &of_others(1000 + n)).status, 204);
        if n % 6 == 0 {
            assert_eq!(post(&three, n as usize % 3, &of_carol(n)).status, 204);
        }
    }
    // Packed segments have them, too.
    for node in &three.nodes {
        node.ok(&["compact"]);
    }
    // What finds no quorum stands on one disk alone, and nobody looks into it.
    let leader = three.leader();
    let gone = [leader, (leader + 1) % MACHINES];
    for n in gone {
        three.servers.kill(n);
    }
    for (n, call) in [(0, 200), (1, 201)] {
        let kept = post(&three, n, &of_carol(call));
        assert_eq!((kept.status, kept.header("rollcall-kept")), (204, Some("1")), "{kept:?}");
    }
    let (early, _) = purge(&three, 0, &["--wait", "0s"]);
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.stderr.contains("node1 (1 message)"), "{early:?}");
    assert!(early.stderr.contains("nothing was deleted"), "{early:?}");
    for n in gone {
        three.servers.run(n);
    }
    three.rest();
    for n in 0..MACHINES {
        for (what, found) in [("node", of_node(&three, n)), ("server", of_server(&three, n))] {
            let seen = |marker: &&str| found.iter().any(|one| one.ends_with(*marker));
            assert!(MARKERS.iter().all(seen), "{what} {n}: {found:?}");
        }
    }

    // One that is dead is named, and the log keeps what it has not read.
    three.kill_node(2);
    let (first, answer) = purge(&three, 1, &[]);
    assert_eq!(first.code, Some(1), "{first:?}");
    assert_eq!((&answer["calls"], &answer["files"]), (&json!(12), &json!([])), "{answer}");
    let elsewhere = &answer["elsewhere"];
    assert_eq!(elsewhere["nodes"], json!(["node2", "node1"]), "{answer}");
    assert_eq!(elsewhere["searched"], "node2", "{answer}");
    assert_eq!(elsewhere["missing"][0]["node"], "node3", "{answer}");
    assert!(elsewhere["missing"][0]["why"].as_str().unwrap().contains("has said nothing for"));
    assert_eq!(elsewhere["trimmed"], Value::Null, "{answer}");
    for n in [0, 1] {
        assert_gone("a node that is alive", &of_node(&three, n));
    }
    assert!(
        (0..MACHINES).all(|n| !of_server(&three, n).is_empty() && !of_node(&three, 2).is_empty())
    );
    // Back again it reads in the log what is to be erased.
    three.start_node(2);
    until("the node that was dead has erased it", || of_node(&three, 2).is_empty().then_some(()));

    let last = three.rest().seq;
    // What was searched, and what others have only reported, is told apart.
    let second = three.nodes[2].run(&["purge", "--number", NUMBER, "--mentions", "--now"]);
    assert_eq!(second.code, Some(0), "{second:?}");
    let lines = |part: &str| second.stdout.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("every file of the data directory was searched: the number is in none"), 1);
    assert_eq!(lines("erased on the disk of node3, which is this node"), 1, "{second:?}");
    for node in ["node1", "node2"] {
        assert_eq!(lines(&format!("of {node}, as that node reports: ")), 1, "{second:?}");
    }
    assert_eq!(lines("files were not searched"), 3, "{second:?}");
    let begins = second.stdout.split_once("the log begins after message ").unwrap().1;
    let trimmed: u64 = begins.split_once(' ').unwrap().0.parse().unwrap();
    assert!(trimmed > last, "{second:?}");
    for n in 0..MACHINES {
        assert_gone("a node", &of_node(&three, n));
        // Followers are a moment later.
        until("the servers let go of it", || of_server(&three, n).is_empty().then_some(()));
    }
    // Nobody has lost anything else.
    assert_eq!(post(&three, 0, &of_others(2000)).status, 204);
    three.rest();
    let exports: Vec<String> = three.nodes.iter().map(|node| node.ok(&["export"])).collect();
    assert_eq!(exports[0].lines().count(), 61);
    assert!(exports.iter().all(|export| *export == exports[0]));
    let mut compare = Command::new(ROLLCALL);
    compare.args(["cluster", "compare", "--data-dir"]).arg(three.nodes[0].data());
    compare.args(["--config", three.configs[0].to_str().unwrap()]);
    let compared = print(&mut compare, b"");
    assert_eq!(compared.code, Some(0), "{compared:?}");
    three.nodes.iter().for_each(assert_checked);
}

#[test]
fn calls_whose_time_is_over_leave_every_node() {
    let more = "[retention]\nage = \"1s\"\nallow_short = true\n";
    let Some(three) = Three::up(&Setup { more, ..Setup::default() }) else { return };
    three.nodes[0].ok(&["account", "set", A1, "--keep", "forever"]);
    for n in 0..6 {
        assert_eq!(post(&three, n as usize % 3, &of_others(n)).status, 204);
        assert_eq!(post(&three, n as usize % 3, &of_carol(100 + n).replace(A1, A2)).status, 204);
    }
    three.rest();
    assert!((0..MACHINES).all(|n| !of_node(&three, n).is_empty()));
    until("the time of all is over", || {
        let calls: Value = serde_json::from_str(&three.nodes[1].ok(&["expire", "--json"])).unwrap();
        let left = three.nodes[1].ok(&["export"]);
        (left.lines().count() == 6).then_some(calls)
    });
    three.rest();
    for (n, node) in three.nodes.iter().enumerate() {
        assert_eq!(node.ok(&["export"]).lines().count(), 6);
        // What retention.erase_within has done in some days.
        node.ok(&["compact", "--drop-history"]);
        until("a node has it no more", || of_node(&three, n).is_empty().then_some(()));
    }
}
