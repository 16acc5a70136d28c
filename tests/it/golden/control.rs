//! The recorded updates and new calls, replayed with a feature server that behaves as the recorded
//! one: what it receives is what was recorded, too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::control::server::FeatureServer;
use super::super::harness::Rollcall;
use super::verdicts::{
    Answer::{Accepted, Msg, Refused},
    Verdict::{self, Better, Same},
};
use super::{Judge, Recorded, replay, seeded_on};

/// A recorded exchange that a feature server had a part in.
#[derive(serde::Deserialize)]
struct Controlled {
    #[serde(flatten)]
    exchange: Recorded,
    /// Those that took new calls then.
    feature_servers: Vec<String>,
    /// Method, path and JSON body of what they received.
    received: Vec<(String, String, Value)>,
}

/// Where the recorded feature server was.
const RECORDED: &str = "127.0.0.1:3101";
/// Where the recorded feature server was not.
const NOBODY: &str = "127.0.0.1:3199";

const JSON_ACCEPTED: Verdict =
    Better("a client that parses every answer as JSON can parse this one, too", Accepted);
const JSON_ERRORS: &str = "every error body is {\"msg\": string}";
const SAYS_WHY: &str = "the message says what is wrong, and where";
const NO_QUERY: &str = "a query is not a part of the sid";
const PERMISSION_FIRST: &str = "who may not is told that before anything else";

const fn msg(why: &'static str, begins: &'static str) -> Verdict {
    Better(why, Msg(begins))
}

/// Those that are not [`Same`].
const OTHERS: [(&str, Verdict); 19] = [
    ("update: null", msg(SAYS_WHY, "the request body is not a JSON object")),
    ("update: malformed json", msg(SAYS_WHY, "the request body is not JSON: EOF")),
    ("update: fs 422 text", msg(JSON_ERRORS, "call session is gone for call_sid x")),
    ("update: fs 404 empty", msg(JSON_ERRORS, "Not Found")),
    ("update: fs 500 text", msg(JSON_ERRORS, "<b>boom</b>")),
    ("update: fs 200 not json", msg(SAYS_WHY, "the other side's answer is not JSON: \"hello\"")),
    ("update: fs down", msg(SAYS_WHY, "cannot connect to http://127.0.0.1:")),
    ("update: no serviceUrl on the call", msg(SAYS_WHY, "the call has no service_url")),
    ("update: malformed call sid", msg(SAYS_WHY, "call sid \"xyz\"")),
    ("update: malformed call sid and invalid body", msg(SAYS_WHY, "call sid \"xyz\"")),
    ("update: no auth", msg(JSON_ERRORS, "Unauthorized")),
    ("update: query string breaks sid", Better(NO_QUERY, Accepted)),
    (
        "create: no feature server, other account",
        Better(PERMISSION_FIRST, Refused(403, "insufficient permissions")),
    ),
    ("create: no feature server, no auth", msg(JSON_ERRORS, "Unauthorized")),
    ("create: fs answers 200", msg(SAYS_WHY, "the feature server answered 200")),
    ("create: fs answers 400", msg(SAYS_WHY, "the feature server answered 400")),
    ("create: fs answers 500", msg(SAYS_WHY, "the feature server answered 500: <b>boom</b>")),
    (
        "create: fs answers 201 not json",
        msg(SAYS_WHY, "the other side's answer is not JSON: \"nope\""),
    ),
    ("create: fs down", msg(SAYS_WHY, "cannot connect to http://127.0.0.1:")),
];

#[test]
fn every_recorded_update_and_new_call_is_passed_on_as_by_jambonz() {
    let recorded: Vec<Controlled> =
        serde_json::from_str(include_str!("../../fixtures/golden-control.json")).unwrap();
    let server = FeatureServer::up();
    let here = |text: &str| {
        let there = server.address.to_string();
        text.replace(RECORDED, &there).replace(NOBODY, "127.0.0.1:1")
    };
    let start = |urls: &[String]| {
        let urls = urls.iter().map(|url| here(url)).collect::<Vec<_>>().join(",");
        let urls = format!("--feature-servers-urls={urls}");
        ["--hooks-service-url=", "--feature-servers-networks=127.0.0.0/8", &urls]
            .map(ToOwned::to_owned)
    };
    let first = start(&[]);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let (mut rollcall, viewer) = seeded_on(Rollcall::up(&first), &here);
    let mut servers: &[String] = &[];
    let (mut same, mut better, mut received) = (0, 0, 0);
    for entry in &recorded {
        if entry.feature_servers != servers {
            servers = &entry.feature_servers;
            let args = start(servers);
            rollcall.stop();
            rollcall.set_args(&args.each_ref().map(String::as_str));
            rollcall.start();
        }
        let name = entry.exchange.name.as_str();
        let answered = replay(&rollcall, &entry.exchange, &viewer);
        let calls = BTreeMap::new();
        let judge = Judge { entry: &entry.exchange, answered: &answered, calls: &calls };
        let verdict = OTHERS.iter().find(|(other, _)| *other == name).map(|(_, verdict)| *verdict);
        let verdict = match verdict {
            None if entry.exchange.status == 202 => JSON_ACCEPTED,
            None => Same,
            Some(verdict) => verdict,
        };
        match verdict {
            Same => {
                judge.same();
                same += 1;
            }
            Better(_, answer) => {
                judge.better(answer);
                better += 1;
            }
        }
        let mut wanted = entry.received.clone();
        if name == "update: query string breaks sid" {
            let last = &recorded.iter().find(|one| one.exchange.name == "update: admin").unwrap();
            wanted.clone_from(&last.received);
        }
        let arrived = server.take();
        received += arrived.len();
        for request in &arrived {
            let kind = "content-type: application/json".to_owned();
            assert!(request.headers.contains(&kind), "{name}: {request:?}");
            let told = request.headers.iter().any(|header| header.starts_with("authorization"));
            assert!(!told, "{name}: a feature server needs no token");
        }
        let arrived: Vec<_> =
            arrived.into_iter().map(|one| (one.method, one.url, one.body)).collect();
        assert_eq!(arrived, wanted, "{name}");
    }
    let seen = recorded.iter().filter(|one| OTHERS.iter().any(|o| o.0 == one.exchange.name));
    assert_eq!(seen.count(), OTHERS.len(), "a verdict is of no recorded exchange");
    assert_eq!((same, better, received), (33, 34, 29));
}
