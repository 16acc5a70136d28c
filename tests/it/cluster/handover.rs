//! What one node does for all is done by the next when that one is gone: calls are mirrored from Redis, and CDRs that wait for
//! their call become one. Nothing is missing then, and nothing is there twice.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::super::cdrs::writer::{PASSWORD, USER, write};
use super::super::forward::HOOK;
use super::super::harness::{A1, A2, Rollcall, sid, until};
use super::super::mirror::redis::{Client, Redis, now, state_of, states};
use super::three::{Setup, Three};

const STATUSES: [&str; 4] = ["trying", "early-media", "in-progress", "completed"];

/// The states of one leg, in order.
fn leg() -> Vec<Value> {
    let mut states = states();
    let sid = states[0]["hash"]["callSid"].clone();
    states.retain(|state| state["hash"]["callSid"] == sid);
    let statuses: Vec<&str> =
        states.iter().map(|state| state["hash"]["callStatus"].as_str().unwrap()).collect();
    assert_eq!(statuses, STATUSES);
    states
}

/// The nodes of these that mirror, by their number.
fn mirroring(nodes: &[Rollcall], alive: &[usize]) -> Vec<usize> {
    let tracks = |n: &&usize| {
        let figures: Value = serde_json::from_str(&nodes[**n].figures()).unwrap();
        figures["mirror"]["mode"] == "tracking"
    };
    alive.iter().filter(tracks).copied().collect()
}

/// Writes these states of these calls as jambonz does. Where a node is given it has seen each before the next comes.
fn write_states(
    three: &Three,
    redis: &mut Client,
    node: Option<usize>,
    calls: &[u32],
    which: &[usize],
) {
    let leg = leg();
    for n in which {
        for call in calls {
            redis.write(&state_of(A1, *call, &leg[*n]), now());
        }
        for call in calls {
            if let Some(node) = node {
                is_so(three, node, *call, STATUSES[*n]);
            }
        }
    }
}

/// Waits until a node shows a call with this status.
fn is_so(three: &Three, node: usize, call: u32, status: &str) {
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(call));
    until(&format!("call {call} is {status}"), || {
        let answer = three.nodes[node].get(&three.targets.token, &path);
        (answer.status == 200 && answer.json()["call_status"] == status).then_some(())
    });
}

/// A CDR without a call sid.
fn cdr(n: u32) -> String {
    format!(
        "cdrs,account_sid={A2},direction=inbound,host=10.0.0.1,trunk=carrier-{n},answered=false from=\"1555{n:07}\",\
         sip_callid=\"sbc-{n}\",termination_reason=\"caller hungup\",terminated_at=1795849205123,duration=0,sip_status=487 \
         1795849200123000000"
    )
}

/// A webhook of the call that the CDR is of.
fn hook(n: u32) -> String {
    let event = json!({
        "account_sid": A2, "call_sid": sid(n), "call_status": "no-answer", "sip_status": 480, "direction": "inbound",
        "from": format!("+1555{n:07}"), "to": "+15550009999", "call_id": format!("fs-{n}"),
        "sbc_callid": format!("sbc-{n}"),
    });
    event.to_string()
}

fn post(three: &Three, node: usize, body: &str) {
    let json = [("content-type", "application/json")];
    until("an event is taken", || {
        let answer = three.targets.send(node, "POST", HOOK, &json, body)?;
        (answer.status == 204).then_some(())
    });
}

/// Calls of the account of the CDRs on a node, and what says how they ended.
fn of_cdrs(node: &Rollcall) -> Vec<(String, String)> {
    let export = node.ok(&["export"]);
    let calls = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |call: &Value, key: &str| call[key].as_str().unwrap_or_default().to_owned();
    let mut calls: Vec<_> = calls
        .filter(|call| call["account_sid"] == A2)
        .map(|call| (text(&call, "sbc_callid"), text(&call, "termination_reason")))
        .collect();
    calls.sort();
    calls
}

#[test]
fn another_node_mirrors_and_places_cdrs_when_the_first_is_gone() {
    let Some(redis) = Redis::up(&[]) else { return };
    let password = redis.dir.path().join("cdrs.password");
    fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let lines = format!(
        "[mirror.redis]\nurl = \"{}\"\n[cdrs]\nlisten = \"127.0.0.1:0\"\nuser = \"{USER}\"\npassword_file = \"{}\"\n\
         wait = \"5s\"\n",
        redis.url(),
        password.display()
    );
    let setup = Setup { more: Box::leak(lines.into_boxed_str()), ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    for node in &mut three.nodes {
        let log = node.log();
        let before = log.split("/write?db=cdrs").next().unwrap();
        node.cdr_port = before.rsplit(':').next().unwrap().parse().unwrap();
    }
    // Three CDRs of whose calls nothing is known, each written to all nodes.
    for n in 1..=3 {
        for node in &three.nodes {
            let answer = write(node, &cdr(n));
            assert_eq!(answer.status, 204, "{answer:?}");
        }
    }
    post(&three, 2, &hook(1));
    until("the first node mirrors", || (mirroring(&three.nodes, &[0, 1, 2]) == [0]).then_some(()));
    let mut client = redis.client();
    write_states(&three, &mut client, Some(1), &[1, 2, 3, 4, 5, 6], &[0, 1, 2]);

    three.kill_node(0);
    // Nobody mirrors now: of the states of a call the last one stays.
    write_states(&three, &mut client, None, &[1, 2, 3], &[3]);
    write_states(&three, &mut client, None, &[7], &[0, 1, 2]);
    is_so(&three, 2, 7, "in-progress");
    assert_eq!(mirroring(&three.nodes, &[1, 2]), [1]);
    write_states(&three, &mut client, Some(2), &[4, 5, 6, 7], &[3]);
    until("the next node places what waited", || {
        (of_cdrs(&three.nodes[1]).len() == 3).then_some(())
    });
    post(&three, 1, &hook(2));

    three.start_node(0);
    three.all_ready();
    until("the first one mirrors again", || {
        (mirroring(&three.nodes, &[0, 1, 2]) == [0]).then_some(())
    });
    write_states(&three, &mut client, Some(1), &[8], &[0, 1, 2, 3]);
    post(&three, 0, &hook(3));
    three.rest();
    for node in &three.nodes {
        let expected = |n| (format!("sbc-{n}"), "caller hungup".to_owned());
        assert_eq!(of_cdrs(node), [1, 2, 3].map(expected));
        let listed = node.get(&three.targets.token, &format!("/v1/Accounts/{A1}/Calls")).json();
        let sids: BTreeSet<&str> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|call| call["call_sid"].as_str().unwrap())
            .collect();
        assert_eq!((listed.as_array().unwrap().len(), sids.len()), (8, 8));
        for call in 1..=8 {
            let seen = timeline_of(&three, node, call);
            // What was found and not reported has no time, and so stands first.
            let expected: &[&str] = match call {
                1..=3 => &["completed", "trying", "early-media", "in-progress"],
                7 => &STATUSES[2..],
                _ => &STATUSES[..],
            };
            assert_eq!(seen, expected, "call {call}");
        }
    }
}

/// The statuses that a call has had, as the mirror has seen them.
fn timeline_of(three: &Three, node: &Rollcall, call: u32) -> Vec<String> {
    let path = format!("/v1/Accounts/{A1}/Calls/{}/events", sid(call));
    let answer = node.get(&three.targets.token, &path);
    assert_eq!(answer.status, 200, "{answer:?}");
    let entries = answer.json();
    let status = |entry: &Value| entry["call_status"].as_str().unwrap().to_owned();
    entries.as_array().unwrap().iter().map(status).collect()
}
