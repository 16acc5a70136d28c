//! Real answers, held against what the description says of each: status, header fields, media type
//! and body.

use std::collections::{BTreeMap, BTreeSet};

use super::super::control::server::{CREATED, FeatureServer};
use super::super::harness::{A1, A2, Answer, Rollcall, event, sid};
use super::description::Description;

const DIAL: &str = "{\"from\":\"1\",\"to\":{\"type\":\"phone\",\"number\":\"2\"},\
    \"call_hook\":\"http://x/\",\"speech_synthesis_vendor\":\"g\",\
    \"speech_synthesis_language\":\"g\",\"speech_synthesis_voice\":\"g\",\
    \"speech_recognizer_vendor\":\"g\",\"speech_recognizer_language\":\"g\"}";
const HANG_UP: &str = "{\"call_status\":\"completed\"}";

/// A server, its description, and which header fields its answers had.
struct Bench<'a> {
    rollcall: &'a Rollcall,
    description: Description,
    seen: BTreeMap<(String, String), BTreeSet<String>>,
}

impl<'a> Bench<'a> {
    fn new(rollcall: &'a Rollcall) -> Self {
        let description = Description::of(rollcall);
        Self { rollcall, description, seen: BTreeMap::new() }
    }

    /// Asks what an operation is for; an empty token is none.
    fn ask(
        &mut self,
        (id, status): (&str, u16),
        target: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let operation = self.description.operation(id);
        let bearer = format!("Bearer {token}");
        let mut headers = headers.to_vec();
        if !token.is_empty() {
            headers.push(("authorization", &bearer));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            headers.push(("content-type", "application/json"));
        }
        let method = &operation.method;
        let answer = self.rollcall.send(method, target, &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{id} {target}: {answer:?}");
        let (name, fields) = self.description.matches(&operation, &answer);
        self.seen.entry((id.to_owned(), name)).or_default().extend(fields);
        answer
    }

    /// Fails where a header field is described that no answer had.
    fn nothing_is_invented(&self) {
        for ((id, status), seen) in &self.seen {
            let operation = self.description.operation(id);
            let described = self.description.resolve(&operation.node["responses"][status]);
            let fields = self.description.fields(described).into_iter().map(|(name, _)| name);
            // `caching.rs` and `raw.rs` look at compressed bodies.
            let fields: BTreeSet<_> = fields.filter(|name| name != "content-encoding").collect();
            assert_eq!(*seen, fields, "{id} {status}");
        }
    }
}

fn calls(account: &str, rest: &str) -> String {
    format!("/v1/Accounts/{account}/Calls{rest}")
}

fn call(n: u32) -> String {
    calls(A1, &format!("/{}", sid(n)))
}

/// Registers call `n`, run by the server at that URL.
fn register(rollcall: &Rollcall, n: u32, service_url: &str) {
    let with = format!("{{\"service_url\":\"{service_url}\",");
    let event = event(n, "in-progress").replacen('{', &with, 1);
    assert_eq!(rollcall.post_events(&event).status, 204);
}

#[test]
fn what_is_read_is_as_described() {
    let rollcall = Rollcall::up(&["--limits-token-requests", "100000"]);
    for events in [event(1, "in-progress"), event(1, "completed"), event(2, "busy")] {
        assert_eq!(rollcall.post_events(&events).status, 204);
    }
    let stranger = rollcall.token(&["--account", A2]);
    let admin = rollcall.admin();
    let mut bench = Bench::new(&rollcall);
    let csv = [("accept", "text/csv")];
    for (id, list) in [("listCalls", true), ("headCalls", false)] {
        bench.ask((id, 200), &calls(A1, "?limit=1&count=true"), &admin, &[], "");
        bench.ask((id, 200), &calls(A1, "?time_zone=Europe/Berlin"), &admin, &csv, "");
        let all = bench.ask((id, 200), &calls(A1, ""), &admin, &[], "");
        assert!(!list || all.body.contains("terminated_at"), "{all:?}");
        let tag = [("if-none-match", all.header("etag").unwrap())];
        bench.ask((id, 304), &calls(A1, ""), &admin, &tag, "");
        bench.ask((id, 400), &calls(A1, "?limit=0"), &admin, &[], "");
        bench.ask((id, 401), &calls(A1, ""), "", &[], "");
        bench.ask((id, 403), &calls(A1, ""), &stranger, &[], "");
    }
    rollcall.ok(&["account", "set", A1, "--service-provider", A1]);
    let provider = |rest: &str| format!("/v1/ServiceProviders/{A1}{rest}");
    for (get, head, target) in [
        ("listCallsOfProvider", "headCallsOfProvider", provider("/Calls")),
        ("listAllCalls", "headAllCalls", "/v1/Calls".to_owned()),
    ] {
        for id in [get, head] {
            bench.ask((id, 200), &format!("{target}?limit=1&count=true"), &admin, &[], "");
            bench.ask((id, 200), &format!("{target}?time_zone=Europe/Berlin"), &admin, &csv, "");
            let all = bench.ask((id, 200), &target, &admin, &[], "");
            let tag = [("if-none-match", all.header("etag").unwrap())];
            bench.ask((id, 304), &target, &admin, &tag, "");
            bench.ask((id, 400), &format!("{target}?limit=0"), &admin, &[], "");
            bench.ask((id, 401), &target, "", &[], "");
            bench.ask((id, 403), &target, &stranger, &[], "");
        }
    }
    for (get, head, target) in [
        ("countAllCalls", "headAllCallCount", "/v1/CallCount"),
        ("allCallStats", "headAllCallStats", "/v1/CallStats?start=2026-01-01"),
        ("allCallStats", "headAllCallStats", "/v1/CallStats?interval=day&group=status&top=1"),
    ] {
        for id in [get, head] {
            bench.ask((id, 200), target, &admin, &[], "");
            bench.ask((id, 401), target, "nobody", &[], "");
            bench.ask((id, 403), target, &stranger, &[], "");
            if target.contains('?') {
                bench.ask((id, 400), &format!("{target}&start=x"), &admin, &[], "");
            }
        }
    }
    let one = |rest: &str| format!("{}{rest}", call(1));
    let account = |rest: &str| format!("/v1/Accounts/{A1}{rest}");
    for (get, head, target) in [
        ("getCall", "headCall", one("")),
        ("listCallEvents", "headCallEvents", one("/events")),
        ("countCalls", "headCallCount", account("/CallCount")),
        ("callStats", "headCallStats", account("/CallStats?start=2026-01-01")),
        ("callStats", "headCallStats", account("/CallStats?interval=day&group=status,trunk&top=1")),
        ("recentCalls", "headRecentCalls", account("/RecentCalls?page=1&count=25")),
        (
            "recentCallsOfProvider",
            "headRecentCallsOfProvider",
            provider("/RecentCalls?page=1&count=25"),
        ),
        ("countCallsOfProvider", "headCallCountOfProvider", provider("/CallCount")),
        (
            "callStatsOfProvider",
            "headCallStatsOfProvider",
            provider("/CallStats?interval=day&group=status,trunk&top=1"),
        ),
        ("listChanges", "headChanges", account("/Calls/changes")),
        ("listServiceProviderChanges", "headServiceProviderChanges", provider("/Calls/changes")),
    ] {
        for id in [get, head] {
            bench.ask((id, 200), &target, &admin, &[], "");
            bench.ask((id, 400), &target.replace(A1, "x"), &admin, &[], "");
            bench.ask((id, 401), &target, "nobody", &[], "");
            bench.ask((id, 403), &target, &stranger, &[], "");
            if target.contains(&sid(1)) {
                bench.ask((id, 404), &target.replace(&sid(1), &sid(7)), &admin, &[], "");
            }
        }
    }
    let gone = "?after=00000000000000000000000000000000-1";
    let lines = bench.ask(("listAllChanges", 200), "/v1/Calls/changes", &admin, &[], "");
    assert_eq!(lines.body.lines().count(), 4, "{lines:?}");
    for id in ["listAllChanges", "headAllChanges"] {
        bench.ask((id, 200), "/v1/Calls/changes?after=now", &admin, &[], "");
        bench.ask((id, 400), "/v1/Calls/changes?limit=0", &admin, &[], "");
        bench.ask((id, 401), "/v1/Calls/changes", "", &[], "");
        bench.ask((id, 403), "/v1/Calls/changes", &stranger, &[], "");
        bench.ask((id, 410), &format!("/v1/Calls/changes{gone}"), &admin, &[], "");
    }
    for id in ["listChanges", "headChanges"] {
        bench.ask((id, 410), &account(&format!("/Calls/changes{gone}")), &admin, &[], "");
    }
    for id in ["metrics", "headMetrics"] {
        bench.ask((id, 200), "/metrics", &admin, &[], "");
        bench.ask((id, 401), "/metrics", "", &[], "");
        bench.ask((id, 403), "/metrics", &stranger, &[], "");
    }
    for (get, head, target) in [
        ("live", "headLive", "/livez"),
        ("ready", "headReady", "/readyz"),
        ("openapi", "headOpenapi", "/openapi.json"),
        ("front", "headFront", "/"),
        ("docs", "headDocs", "/docs"),
        ("llms", "headLlms", "/llms.txt"),
    ] {
        bench.ask((get, 200), target, "", &[], "");
        bench.ask((head, 200), target, "", &[], "");
    }
    for id in ["ready", "headReady"] {
        bench.ask((id, 400), "/readyz?for=lists", "", &[], "");
    }
    bench.nothing_is_invented();
    let reading = |operation: &super::description::Operation<'_>| {
        matches!(&*operation.method, "GET" | "HEAD")
            && !bench.seen.contains_key(&(operation.id().to_owned(), "200".to_owned()))
    };
    let operations = bench.description.operations().into_iter();
    let missing: Vec<_> = operations.filter(reading).map(|o| o.id().to_owned()).collect();
    assert!(missing.is_empty(), "nobody looked at {missing:?}");
}

#[test]
fn what_is_sent_is_answered_as_described() {
    let flags = ["--limits-token-requests", "100000", "--limits-body-bytes", "2048"];
    let rollcall = Rollcall::up(&flags);
    let ingest = rollcall.token(&["--account", A2, "--role", "ingest"]);
    let read = rollcall.token(&["--account", A1, "--role", "read"]);
    let admin = rollcall.admin();
    let mut bench = Bench::new(&rollcall);
    let (hook, large) = ("/v1/hooks/call-status", "x".repeat(3000));
    let gzip = [("content-encoding", "gzip")];
    let example = bench.description.operation("takeEvents").node["requestBody"].clone();
    for (kind, media) in example["content"].as_object().unwrap() {
        let body = media["example"].as_str().map(ToOwned::to_owned);
        let body = body.unwrap_or_else(|| media["example"].to_string());
        bench.ask(("takeEvents", 204), hook, &admin, &[("content-type", kind)], &body);
    }
    bench.ask(("takeEvents", 400), hook, &admin, &[], "{}");
    bench.ask(("takeEvents", 401), hook, "", &[], &event(1, "busy"));
    bench.ask(("takeEvents", 403), hook, &ingest, &[], &event(1, "busy"));
    bench.ask(("takeEvents", 413), hook, &admin, &[], &large);
    bench.ask(("takeEvents", 415), hook, &admin, &gzip, &event(1, "busy"));
    bench.ask(("takeEvents", 204), hook, &admin, &[], &event(1, "busy"));
    bench.ask(("deleteCall", 400), &calls(A1, "/x"), &admin, &[], "");
    bench.ask(("deleteCall", 401), &call(1), "", &[], "");
    bench.ask(("deleteCall", 403), &call(1), &read, &[], "");
    bench.ask(("deleteCall", 204), &call(1), &admin, &[], "");
    bench.ask(("deleteCall", 404), &call(1), &admin, &[], "");
    let none = bench.ask(("createCall", 480), &calls(A1, ""), &admin, &[], DIAL);
    bench.nothing_is_invented();
    assert!(none.body.contains("no available feature servers"), "{none:?}");
}

#[test]
fn control_is_answered_as_described() {
    let server = FeatureServer::up();
    let urls = server.url("/c201");
    let flags = ["--feature-servers-urls", &urls, "--limits-token-requests", "100000"];
    let flags = [&flags[..], &["--limits-body-bytes", "2048"]].concat();
    let rollcall = Rollcall::up(&flags);
    let read = rollcall.token(&["--account", A1, "--role", "read"]);
    let admin = rollcall.admin();
    let mut bench = Bench::new(&rollcall);
    let (large, gzip) = ("x".repeat(3000), [("content-encoding", "gzip")]);
    let created = bench.ask(("createCall", 201), &calls(A1, ""), &admin, &[], DIAL);
    assert_eq!(created.body, CREATED);
    let statuses = [
        ("/s200", 200),
        ("/s202", 202),
        ("/s204", 204),
        ("/s422text", 422),
        ("/s200notjson", 500),
        ("/s302", 502),
    ];
    for id in ["updateCall", "updateCallByPost"] {
        for (n, (place, status)) in (1..).zip(statuses) {
            register(&rollcall, n, &server.url(place));
            bench.ask((id, status), &call(n), &admin, &[], HANG_UP);
        }
        register(&rollcall, 9, "http://192.0.2.1:3000");
        bench.ask((id, 502), &call(9), &admin, &[], HANG_UP);
        bench.ask((id, 404), &call(99), &admin, &[], HANG_UP);
    }
    let (one, list) = (call(1), calls(A1, ""));
    for (id, target, body) in [
        ("updateCall", &one, HANG_UP),
        ("updateCallByPost", &one, HANG_UP),
        ("createCall", &list, DIAL),
    ] {
        bench.ask((id, 400), target, &admin, &[], "{}");
        bench.ask((id, 401), target, "", &[], body);
        bench.ask((id, 403), target, &read, &[], body);
        bench.ask((id, 413), target, &admin, &[], &large);
        bench.ask((id, 415), target, &admin, &gzip, body);
    }
    bench.nothing_is_invented();
    let example = bench.description.operation("updateCall").node["requestBody"].clone();
    let kind = "application/x-www-form-urlencoded";
    let body = example["content"][kind]["example"].as_str().unwrap();
    bench.ask(("updateCall", 202), &call(2), &admin, &[("content-type", kind)], body);
}

#[test]
fn a_request_too_many_is_answered_as_described() {
    let rollcall = Rollcall::up(&["--limits-token-requests", "1"]);
    let admin = rollcall.admin();
    let mut bench = Bench::new(&rollcall);
    bench.ask(("countCalls", 200), &format!("/v1/Accounts/{A1}/CallCount"), &admin, &[], "");
    bench.ask(("listCalls", 429), &calls(A1, ""), &admin, &[], "");
    bench.nothing_is_invented();
}
