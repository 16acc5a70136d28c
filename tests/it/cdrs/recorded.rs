//! What was recorded of jambonz's own clients and of a subscription, byte for byte.

use serde_json::Value;

use super::super::harness::{A1, Answer, Rollcall};
use super::writer::{PASSWORD, USER, basic, call, calls, request, taking};

const SUBSCRIPTION: &str = include_str!("../../fixtures/influx/subscription.jsonl");
const EARLIER: &str = include_str!("../../fixtures/influx/time-series-0.2.17.jsonl");
const LATER: &str = include_str!("../../fixtures/influx/time-series-0.5.1.jsonl");
const FEATURE_SERVER: &str = include_str!("../../fixtures/influx/influx-client-5.11.jsonl");

const INBOUND: &str = "5f9d7a34-1f66-4a6f-9f5b-2b7e6a0b8f10";
const OUTBOUND: &str = "0b1f2f9e-9a61-4a7f-8e0a-7f0f3a2b9c11";

/// Sends a recorded request, with the credentials of this test in place of its own, and says its
/// recorded status.
fn replay(rollcall: &Rollcall, recorded: &Value) -> (Answer, Option<u64>) {
    let text = |key: &str| recorded[key].as_str().unwrap();
    let target = text("url").replace("p=root&", "p=rc-pass&").replace("u=root", "u=rc-user");
    let pairs: Vec<&str> =
        recorded["headers"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let ours = basic(USER, PASSWORD);
    let headers: Vec<(&str, &str)> =
        pairs
            .chunks(2)
            .map(|pair| {
                if pair[0] == "Authorization" {
                    (pair[0], ours.as_str())
                } else {
                    (pair[0], pair[1])
                }
            })
            .collect();
    let answer =
        request(rollcall.cdr_port, text("method"), &target, &headers, text("body").as_bytes());
    (answer, recorded["status"].as_u64())
}

fn recorded(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The calls of the recorded CDRs, each once.
fn assert_calls(rollcall: &Rollcall) {
    let inbound = call(rollcall, A1, INBOUND).unwrap();
    for (key, value) in [
        ("call_status", "completed"),
        ("direction", "inbound"),
        ("from", "+15550000001"),
        ("to", "15550009999"),
        ("call_id", "lab-in-1@203.0.113.9"),
        ("sip_callid", "lab-in-1@203.0.113.9"),
        ("application_sid", "7087fe50-8acb-4f3b-b820-97b573723aab"),
        ("originating_sip_trunk_name", "Carrier, \"A\" = 1"),
        ("trunk", "Carrier, \"A\" = 1"),
        ("host", "198.51.100.7:5060"),
        ("remote_host", "203.0.113.9"),
        ("termination_reason", "caller hungup"),
        ("answered_at", "2026-11-28T07:00:02.223Z"),
        ("terminated_at", "2026-11-28T07:00:45.423Z"),
        ("attempted_at", "2026-11-28T07:00:00.123Z"),
    ] {
        assert_eq!(inbound[key], value, "{key}: {inbound}");
    }
    assert_eq!((&inbound["duration"], &inbound["sip_status"]), (&43.into(), &200.into()));
    let outbound = call(rollcall, A1, OUTBOUND).unwrap();
    assert_eq!(outbound["attempted_at"], "2026-11-28T07:00:05.123Z");
    assert_eq!(outbound["terminated_at"], "2026-11-28T07:00:30.123Z");
    assert_eq!((&outbound["trunk"], &outbound["duration"]), (&"jambonz".into(), &21.into()));
    assert_eq!(outbound.get("originating_sip_trunk_name"), None);
    assert_eq!(calls(rollcall, A1).len(), 2, "the one without a call sid waits");
}

#[test]
fn a_subscription_writes_cdrs_and_each_call_is_there_once() {
    let rollcall = taking(&[]);
    for _ in 0..2 {
        for recorded in recorded(SUBSCRIPTION) {
            let (answer, _) = replay(&rollcall, &recorded);
            assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{answer:?}");
        }
        assert_calls(&rollcall);
    }
    let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
    let cdrs = &figures["cdrs"];
    assert_eq!((&cdrs["waiting"], &cdrs["by_subscription"]), (&1.into(), &true.into()), "{cdrs}");
    assert_eq!(cdrs["lines"]["taken"], 8, "{cdrs}");
}

#[test]
fn jambonz_itself_writes_cdrs_as_to_an_influxdb() {
    for client in [EARLIER, LATER] {
        let rollcall = taking(&[]);
        for recorded in recorded(client) {
            let url = recorded["url"].as_str().unwrap();
            let (answer, expected) = replay(&rollcall, &recorded);
            if url.contains("SELECT") {
                assert!(answer.body.contains("not supported"), "{answer:?}");
                continue;
            }
            assert_eq!(Some(u64::from(answer.status)), expected, "{url}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            assert!(answer.header("x-influxdb-version").is_some(), "{answer:?}");
            if url.contains("create") {
                assert_eq!(
                    answer.json(),
                    serde_json::from_str::<Value>(recorded["answer"].as_str().unwrap()).unwrap()
                );
            } else if url.contains("show") {
                assert_eq!(answer.json()["results"][0]["series"][0]["values"][1][0], "cdrs");
            }
        }
        assert_calls(&rollcall);
    }
}

#[test]
fn the_client_of_the_feature_server_writes_what_names_no_account() {
    let rollcall = taking(&[]);
    let recorded = recorded(FEATURE_SERVER).next().unwrap();
    let (answer, _) = replay(&rollcall, &recorded);
    assert_eq!(answer.status, 400, "{answer:?}");
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("partial write: unable to parse 'cdrs,direction"), "{error}");
    assert!(error.contains("account_sid is missing") && error.ends_with("dropped=1"), "{error}");
}
