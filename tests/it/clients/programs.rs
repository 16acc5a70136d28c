//! One program a client. Each asserts what its client says; what can be known only from outside,
//! which calls there are and what the feature server was asked, is compared here.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use super::super::api::samples::STATUSES;
use super::super::control::server::{CREATED, FeatureServer, Received};
use super::super::harness::{A1, A2, Rollcall, print, sid};
use super::{installed, sources};

/// One client does not know it.
const UNKNOWN: &str = "early-media";
const LIVE: [&str; 5] = ["trying", "ringing", "alerting", "in-progress", "queued"];
const FROM: [&str; 4] =
    ["+15551230001", "15551230001", "sip:bob@example.com;user=phone", "a&b=c #%41 ü"];
const TO: [&str; 2] = ["+18005550100", "1800 555 0101"];
/// How the feature server answers updates of a call.
const KINDS: [&str; 3] = ["/s202", "/s200", "/s204"];

fn known() -> impl Iterator<Item = &'static str> {
    STATUSES.into_iter().filter(|status| *status != UNKNOWN)
}

#[test]
fn node_client() {
    run("node", "node-client.cjs", 1, &["ringing", "early-media"]);
}

#[test]
fn jambonz_sdk_of_npm() {
    let lists = 1 + 2 + FROM.len() + TO.len() + known().count() + 2;
    run("node", "sdk.mjs", lists, &["ringing", "early-media"]);
}

#[test]
fn jambonz_sdk_of_pypi() {
    let lists = 1 + 2 + FROM.len() + TO.len() + known().count();
    run("venv/bin/python", "sdk.py", lists, &["ringing"]);
}

/// Runs a program on calls of every kind, and compares what it prints. `others` are the statuses
/// that it finds in the other account.
fn run(runtime: &str, program: &str, lists: usize, others: &[&str]) {
    let Some(clients) = installed() else { return };
    let server = FeatureServer::up();
    let rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("/c201")]);
    let calls = calls(&server);
    let other = |status, n: u32| {
        json!({ "account_sid": A2, "call_sid": sid(n), "call_status": status,
                "direction": "inbound", "from": "1", "to": "2", "call_id": "x" })
    };
    let mut events = calls.clone();
    events.extend([other("early-media", 9001), other("ringing", 9002)]);
    assert_eq!(rollcall.post_events(&Value::from(events).to_string()).status, 204);

    let said = drive(&rollcall, &clients, runtime, program);
    let seen = said["lists"].as_array().unwrap();
    assert_eq!(seen.len(), lists);
    for list in seen {
        let filter = list[0].as_object().unwrap();
        let sids: Vec<_> = list[1].as_array().unwrap().iter().collect();
        let listed: BTreeSet<_> = sids.iter().map(|sid| sid.as_str().unwrap()).collect();
        assert_eq!(sids.len(), listed.len(), "{filter:?}: a call is listed twice");
        let matching = calls.iter().filter(|call| matches(call, filter));
        let expected: BTreeSet<_> =
            matching.map(|call| call["call_sid"].as_str().unwrap()).collect();
        assert_eq!(listed, expected, "{filter:?}");
        assert_eq!(expected.is_empty(), filter.values().any(|value| value == "nobody"));
    }
    let of_plain = seen[0][1].as_array().unwrap();
    assert_eq!(of_plain.len(), calls.len());
    if let Some(count) = said.get("count") {
        let live = |direction: &str| {
            let live = |call: &&Value| LIVE.iter().any(|status| call["call_status"] == *status);
            calls.iter().filter(live).filter(|call| call["direction"] == direction).count()
        };
        assert_eq!(*count, json!({ "inbound": live("inbound"), "outbound": live("outbound") }));
    }
    compare_control(&server.take(), &said);
    let mut statuses: Vec<_> =
        said["others"].as_array().unwrap().iter().map(|status| status.as_str().unwrap()).collect();
    statuses.sort_unstable();
    let mut others = others.to_vec();
    others.sort_unstable();
    assert_eq!(statuses, others);

    let left = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls")).json();
    let left: Vec<_> = left.as_array().unwrap().iter().map(|call| &call["call_sid"]).collect();
    let kept: Vec<_> = of_plain.iter().filter(|sid| **sid != said["deleted"]).collect();
    assert_eq!(left, kept);
}

/// Every status, direction, number and place in every combination.
fn calls(server: &FeatureServer) -> Vec<Value> {
    let mut calls = Vec::new();
    for status in known() {
        for direction in ["inbound", "outbound"] {
            for from in FROM {
                let n = u32::try_from(calls.len()).unwrap();
                let (to, kind) = (TO[calls.len() % 2], KINDS[calls.len() % 3]);
                calls.push(json!({
                    "account_sid": A1, "call_sid": sid(n), "call_id": format!("c{n}"),
                    "call_status": status, "direction": direction, "from": from, "to": to,
                    "sip_status": 200, "service_url": server.url(kind), "trace_id": "x",
                }));
            }
        }
    }
    calls
}

/// Whether a call is one that the filter asks for.
fn matches(call: &Value, filter: &Map<String, Value>) -> bool {
    filter.iter().all(|(name, value)| {
        let key = if name == "callStatus" { "call_status" } else { name };
        call.get(key).unwrap_or_else(|| panic!("{name} is no filter")) == value
    })
}

/// Runs the program to its end, and returns the line that it printed.
fn drive(rollcall: &Rollcall, clients: &Path, runtime: &str, program: &str) -> Value {
    // Beside the installed modules, so that they are found.
    let copy = clients.join(program);
    fs::copy(sources().join(program), &copy).unwrap();
    let runtime = if runtime == "node" { runtime.into() } else { clients.join(runtime) };
    let token = rollcall.token(&["--account", A1]);
    let other = rollcall.token(&["--account", A2]);
    let mut command = Command::new(runtime);
    command
        .arg(copy)
        .env("JAMBONZ_BASE_URL", rollcall.url(""))
        .env("JAMBONZ_ACCOUNT_SID", A1)
        .env("JAMBONZ_API_KEY", token)
        .env("OTHER_ACCOUNT_SID", A2)
        .env("OTHER_API_KEY", other)
        .env("NODE_EXTRA_CA_CERTS", rollcall.ca())
        .env("SSL_CERT_FILE", rollcall.ca());
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(0), "{program}: {}{}", printed.stdout, printed.stderr);
    serde_json::from_str(&printed.stdout).unwrap_or_else(|e| panic!("{e}: {printed:?}"))
}

/// What the program says that it asked for is what the feature server was asked, in that order.
fn compare_control(received: &[Received], said: &Value) {
    let asked = |name: &str| said[name].as_array().unwrap();
    let mut expected = Vec::new();
    for update in asked("updates") {
        let (sid, kind) = (update[0].as_str().unwrap(), update[1].as_str().unwrap());
        expected.push((format!("{kind}/v1/updateCall/{sid}"), update[2].clone()));
    }
    assert!(expected.len() > 20, "only {} updates were sent", expected.len());
    let created: Value = serde_json::from_str(CREATED).unwrap();
    for create in asked("creates") {
        assert_eq!(create[1], created["sid"]);
        let mut body = create[0].clone();
        body["account_sid"] = A1.into();
        for hook in ["call_hook", "call_status_hook"] {
            if let Value::String(url) = &body[hook] {
                body[hook] = json!({ "url": url, "method": "POST" });
            }
        }
        expected.push(("/c201/v1/createCall".to_owned(), body));
    }
    for (received, (url, body)) in received.iter().zip(&expected) {
        assert_eq!((&received.method[..], &received.url, &received.body), ("POST", url, body));
    }
    assert_eq!(received.len(), expected.len());
}
