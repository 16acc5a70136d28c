//! The change feed: lines, event streams, and who may see them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::harness::{A1, A2, Rollcall, TIMEOUT, event, have, sid, until};
use super::{api_error, list};

const SP1: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";
/// An event stream that speaks often enough for a test.
const LIVELY: &[&str] = &["--limits-event-keep-alive", "50ms"];

fn path(account: &str, query: &str) -> String {
    format!("/v1/Accounts/{account}/Calls/changes{query}")
}

/// The lines of an answer; the last one is the end.
fn lines(rollcall: &Rollcall, token: &str, path: &str) -> Vec<Value> {
    let answer = rollcall.get(token, path);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let lines: Vec<Value> = answer.body.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.last().unwrap()["type"], "end", "{}", answer.body);
    lines
}

fn position(line: &Value) -> String {
    line["position"].as_str().unwrap().to_owned()
}

/// The types, in one word.
fn types(lines: &[Value]) -> String {
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    types.join(" ")
}

/// What a client that applies these lines knows.
fn applied<'a>(lines: impl IntoIterator<Item = &'a Value>) -> BTreeMap<String, Value> {
    let mut calls = BTreeMap::new();
    for line in lines {
        let sid = || line["call"]["call_sid"].as_str().unwrap().to_owned();
        match line["type"].as_str().unwrap() {
            "call" => drop(calls.insert(sid(), line["call"].clone())),
            "deleted" => drop(calls.remove(&sid())),
            _ => {}
        }
    }
    calls
}

fn listed(rollcall: &Rollcall) -> BTreeMap<String, Value> {
    let calls = list(rollcall, "").json();
    let calls = calls.as_array().unwrap().iter();
    calls.map(|call| (call["call_sid"].as_str().unwrap().to_owned(), call.clone())).collect()
}

/// An event stream that is read in a thread of its own.
pub struct Events {
    blocks: Receiver<BTreeMap<String, String>>,
}

impl Events {
    pub fn open(rollcall: &Rollcall, token: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut request = http::Request::get(rollcall.url(path))
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "text/html, text/event-stream;q=0.9");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = rollcall.new_agent().run(request.body(()).unwrap()).unwrap();
        assert_eq!(answer.status(), 200);
        for (name, value) in [
            ("content-type", "text/event-stream"),
            ("cache-control", "no-store"),
            ("x-accel-buffering", "no"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        Self::read(answer.into_body().into_reader())
    }

    fn read(input: impl std::io::Read + Send + 'static) -> Self {
        let (sender, blocks) = channel();
        std::thread::spawn(move || {
            let mut block = BTreeMap::new();
            for line in BufReader::new(input).lines() {
                let Ok(line) = line else { return };
                if let Some((name, value)) = line.split_once(": ") {
                    block.insert(name.to_owned(), value.to_owned());
                } else if sender.send(std::mem::take(&mut block)).is_err() {
                    return;
                }
            }
        });
        Self { blocks }
    }

    /// The next event that is not a mere position.
    pub fn next(&self) -> Value {
        loop {
            let value = self.any();
            if value["type"] != "position" {
                return value;
            }
        }
    }

    /// The next event, whose parts agree.
    fn any(&self) -> Value {
        loop {
            let block = self.blocks.recv_timeout(TIMEOUT).unwrap();
            let Some(data) = block.get("data") else { continue };
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!(block["id"], data["position"], "{block:?}");
            assert_eq!(block["event"], data["type"], "{block:?}");
            return data;
        }
    }

    /// Waits for the end.
    pub fn ended(self) {
        until("the event stream ends", || {
            let left = self.blocks.try_iter().count();
            let over = std::sync::mpsc::TryRecvError::Disconnected;
            (left == 0 && self.blocks.try_recv() == Err(over)).then_some(())
        });
    }
}

#[test]
fn a_snapshot_and_then_every_change() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    assert_eq!(types(&lines(&rollcall, &admin, &path(A1, ""))), "snapshot_end end");
    for n in 1..=3 {
        rollcall.post_events(&event(n, "ringing"));
    }
    let begun = lines(&rollcall, &admin, &path(A1, ""));
    assert_eq!(types(&begun), "call call call snapshot_end end");
    assert_eq!(applied(&begun), listed(&rollcall));
    let after = position(begun.last().unwrap());
    rollcall.post_events(&event(2, "in-progress"));
    rollcall.ask("DELETE", &admin, &format!("/v1/Accounts/{A1}/Calls/{}", sid(1)));
    rollcall.post_events(&event(4, "busy"));
    let more = lines(&rollcall, &admin, &path(A1, &format!("?after={after}")));
    assert_eq!(types(&more), "call deleted call end");
    assert_eq!(more[1]["call"], serde_json::json!({"account_sid": A1, "call_sid": sid(1)}));
    assert_eq!(applied(begun.iter().chain(&more)), listed(&rollcall));
    let after = position(more.last().unwrap());
    let none = lines(&rollcall, &admin, &path(A1, &format!("?after={after}")));
    assert_eq!((types(&none).as_str(), position(&none[0])), ("end", after));
    let other_case = format!("/V1/accounts/{A1}/calls/Changes/?after=now");
    let now = lines(&rollcall, &admin, &other_case);
    assert_eq!(types(&now), "end");
    let head = rollcall.ask("HEAD", &admin, &path(A1, ""));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn each_position_goes_on_with_exactly_the_rest_across_restarts_and_kills() {
    let mut rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    for n in 1..=6 {
        rollcall.post_events(&event(n, "ringing"));
    }
    let begun = position(&lines(&rollcall, &admin, &path(A1, "?limit=1"))[0]);
    for n in [3, 1, 7, 3] {
        rollcall.post_events(&event(n, "in-progress"));
    }
    rollcall.ask("DELETE", &admin, &format!("/v1/Accounts/{A1}/Calls/{}", sid(2)));
    let whole =
        |rollcall: &Rollcall| lines(rollcall, &admin, &path(A1, &format!("?after={begun}")));
    let mut first = whole(&rollcall);
    assert_eq!(types(&first), "call call call call snapshot_end call call call call deleted end");
    first.pop();
    for round in 0..3 {
        for (n, line) in first.iter().enumerate() {
            let mut rest = Vec::new();
            let mut at = position(line);
            loop {
                let mut some = lines(&rollcall, &admin, &path(A1, &format!("?limit=2&after={at}")));
                at = position(&some.pop().unwrap());
                assert!(some.len() <= 2);
                if some.is_empty() {
                    break;
                }
                rest.extend(some);
            }
            assert_eq!(rest, first[n + 1..], "round {round}, line {n}");
        }
        if round == 0 {
            rollcall.kill();
        } else {
            assert_eq!(rollcall.stop(), Some(0));
        }
        rollcall.start();
    }
    assert_eq!(rollcall.post_events(&event(9, "ringing")).status, 204);
    let after = position(first.last().unwrap());
    let rest = lines(&rollcall, &admin, &path(A1, &format!("?after={after}")));
    assert_eq!(types(&rest), "call end");
    assert_eq!(rest[0]["call"]["call_sid"], sid(9));
}

#[test]
fn accounts_see_themselves_and_the_admin_sees_all() {
    let rollcall = Rollcall::up(&[]);
    for n in 1..=4 {
        let one = event(n, "ringing");
        rollcall.post_events(&format!("{one}\n{}", one.replace(A1, A2)));
        rollcall.token(&["--account", A2]);
    }
    let admin = rollcall.admin();
    let [own, other] = [A1, A2].map(|account| rollcall.token(&["--account", account]));
    let ingest = rollcall.token(&["--admin", "--role", "ingest"]);
    for (token, account, theirs) in [(&own, A1, A2), (&other, A2, A1)] {
        let answer = rollcall.get(token, &path(account, ""));
        assert_eq!(answer.body.matches(account).count(), 4, "{answer:?}");
        assert!(!answer.body.contains(theirs));
        assert_eq!(answer.body.lines().count(), 6);
        api_error(&rollcall.get(token, &path(theirs, "")), 403);
        api_error(&rollcall.get(token, "/v1/Calls/changes"), 403);
    }
    for path in [path(A1, ""), "/v1/Calls/changes".to_owned()] {
        api_error(&rollcall.get("nobody", &path), 401);
        api_error(&rollcall.get(&ingest, &path), 403);
        api_error(&rollcall.ask("POST", &admin, &path), 405);
    }
    let all = lines(&rollcall, &admin, "/v1/Calls/changes");
    assert_eq!(all.len(), 10);
    for (n, line) in all.iter().enumerate().take(9) {
        let at = position(line);
        let rest = lines(&rollcall, &admin, &format!("/v1/Calls/changes?after={at}"));
        assert_eq!(rest, all[n + 1..]);
    }
    for token in ["token/", "hash", "first-token", "checkpoint"] {
        assert!(!rollcall.get(&admin, "/v1/Calls/changes").body.contains(token));
    }
}

#[test]
fn strange_positions_are_refused() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    let end = position(lines(&rollcall, &admin, &path(A1, "")).last().unwrap());
    let (epoch, seq) = end.split_once('-').unwrap();
    let strange = "0123456789abcdef0123456789abcdef";
    for gone in
        [format!("{strange}-{seq}"), format!("{epoch}-999999"), format!("{epoch}-{}", u64::MAX)]
    {
        let msg = api_error(&rollcall.get(&admin, &path(A1, &format!("?after={gone}"))), 410);
        assert!(msg.ends_with("; begin again without a position"), "{msg}");
    }
    for junk in ["", "x", epoch, &format!("{end}-AAAA"), &format!("{epoch}--1"), &format!("{end}-")]
    {
        let msg = api_error(&rollcall.get(&admin, &path(A1, &format!("?after={junk}"))), 400);
        assert!(msg.starts_with(&format!("after \"{junk}\"")), "{msg}");
    }
    for limit in ["0", "10001", "x"] {
        api_error(&rollcall.get(&admin, &path(A1, &format!("?limit={limit}"))), 400);
    }
    let bearer = format!("Bearer {admin}");
    let accept = ("accept", "text/event-stream");
    let headers = [("authorization", bearer.as_str()), accept, ("last-event-id", "x")];
    let answer = rollcall.send("GET", &path(A1, "?after=now"), &headers, b"").unwrap();
    assert!(api_error(&answer, 400).starts_with("Last-Event-ID"));
}

#[test]
fn an_older_copy_that_is_put_back_begins_a_new_epoch() {
    let mut rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    rollcall.post_events(&event(1, "ringing"));
    assert_eq!(rollcall.stop(), Some(0));
    let copy = rollcall.dir.path().join("copy");
    let cp = |from: &std::path::Path, to: &std::path::Path| {
        assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
    };
    cp(rollcall.data(), &copy);
    rollcall.start();
    rollcall.post_events(&event(2, "ringing"));
    let known = position(lines(&rollcall, &admin, &path(A1, "")).last().unwrap());
    let tag = list(&rollcall, "").header("etag").unwrap().to_owned();
    // An orderly restart goes on.
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    assert_eq!(types(&lines(&rollcall, &admin, &path(A1, &format!("?after={known}")))), "end");
    assert_eq!(rollcall.stop(), Some(0));
    std::fs::remove_dir_all(rollcall.data()).unwrap();
    cp(&copy, rollcall.data());
    rollcall.start();
    rollcall.post_events(&event(3, "ringing"));
    api_error(&rollcall.get(&admin, &path(A1, &format!("?after={known}"))), 410);
    let bearer = format!("Bearer {admin}");
    let headers = [("authorization", bearer.as_str()), ("if-none-match", tag.as_str())];
    let path = format!("/v1/Accounts/{A1}/Calls");
    assert_eq!(rollcall.send("GET", &path, &headers, b"").unwrap().status, 200);
}

#[test]
fn an_event_stream_tells_of_changes_at_once_and_goes_on_from_the_last_event() {
    let rollcall = Rollcall::up(LIVELY);
    let admin = rollcall.admin();
    rollcall.post_events(&event(1, "ringing"));
    let events = Events::open(&rollcall, &admin, &path(A1, ""), &[]);
    assert_eq!(events.next()["call"]["call_sid"], sid(1));
    assert_eq!(events.next()["type"], "snapshot_end");
    let begun = Instant::now();
    rollcall.post_events(&event(2, "ringing"));
    let second = events.next();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(second["call"]["call_sid"], sid(2));
    rollcall.post_events(&event(3, "ringing").replace(A1, A2));
    // The position moves on though nothing of this account has happened.
    let at = until("the position has moved", || {
        let at = events.any();
        assert_eq!(at["type"], "position", "{at}");
        (at["position"] != second["position"]).then(|| position(&at))
    });
    drop(events);
    rollcall.post_events(&event(4, "ringing"));
    for headers in [&[("last-event-id", at.as_str())][..], &[("last-event-id", &position(&second))]]
    {
        let events = Events::open(&rollcall, &admin, &path(A1, "?after=now"), headers);
        assert_eq!(events.next()["call"]["call_sid"], sid(4));
    }
    let events = Events::open(&rollcall, &admin, &path(A1, "?after=now"), &[]);
    assert_eq!(events.any()["type"], "position");
    rollcall.post_events(&event(5, "ringing"));
    assert_eq!(events.next()["call"]["call_sid"], sid(5));
}

#[test]
fn an_event_stream_ends_with_its_token_and_with_its_account() {
    // Nothing but the change itself wakes these streams.
    let rollcall = Rollcall::up(&["--limits-event-keep-alive", "1h"]);
    rollcall.ok(&["account", "set", A1, "--service-provider", SP1]);
    let provider = rollcall.token(&["--service-provider", SP1]);
    let own = rollcall.token(&["--account", A1, "--name", "mine"]);
    let tokens: Value = serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap();
    let mine = tokens.as_array().unwrap().iter().find(|token| token["name"] == "mine").unwrap();
    let streams = [&own, &provider].map(|token| {
        let events = Events::open(&rollcall, token, &path(A1, ""), &[]);
        assert_eq!(events.next()["type"], "snapshot_end");
        events
    });
    rollcall.post_events(&event(1, "ringing"));
    let [first, second] = streams;
    assert_eq!(first.next()["type"], "call");
    assert_eq!(second.next()["type"], "call");
    rollcall.ok(&["token", "revoke", mine["id"].as_str().unwrap()]);
    first.ended();
    rollcall.ok(&[
        "account",
        "set",
        A1,
        "--service-provider",
        "2708b1b3-2736-40ea-b502-000000000000",
    ]);
    second.ended();
}

#[test]
fn an_event_stream_ends_when_its_token_does() {
    let rollcall = Rollcall::up(LIVELY);
    let token = rollcall.token(&["--account", A1, "--expires", "2s"]);
    let events = Events::open(&rollcall, &token, &path(A1, ""), &[]);
    assert_eq!(events.next()["type"], "snapshot_end");
    events.ended();
    api_error(&rollcall.get(&token, &path(A1, "")), 401);
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_up_a_stop() {
    let mut rollcall = Rollcall::up(&["--limits-drain", "1s"]);
    let calls: Vec<_> = (0..9_000).map(|n| event(n, "ringing")).collect();
    for some in calls.chunks(1000) {
        assert_eq!(rollcall.post_events(&some.join("\n")).status, 204);
    }
    let request = http::Request::get(rollcall.url(&path(A1, "")))
        .header("authorization", format!("Bearer {}", rollcall.admin()))
        .header("accept", "text/event-stream");
    let answer = rollcall.new_agent().run(request.body(()).unwrap()).unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(rollcall.stop(), Some(0));
    drop(answer);
}

#[test]
fn a_stop_ends_event_streams_at_once() {
    let mut rollcall = Rollcall::up(&["--limits-drain", "1day"]);
    let events = Events::open(&rollcall, &rollcall.admin(), "/v1/Calls/changes", &[]);
    assert_eq!(events.next()["type"], "snapshot_end");
    assert_eq!(rollcall.stop(), Some(0));
    events.ended();
}

#[test]
fn there_is_room_for_so_many_event_streams_and_no_more() {
    let rollcall =
        Rollcall::up(&["--limits-event-streams", "1", "--limits-event-keep-alive", "50ms"]);
    let admin = rollcall.admin();
    let events = Events::open(&rollcall, &admin, &path(A1, ""), &[]);
    assert_eq!(events.next()["type"], "snapshot_end");
    let bearer = format!("Bearer {admin}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/event-stream")];
    let answer = rollcall.send("GET", &path(A1, ""), &headers, b"").unwrap();
    api_error(&answer, 503);
    assert_eq!(answer.header("retry-after"), Some("10"));
    // Lines are a stream, too, for as long as they take.
    api_error(&rollcall.get(&admin, &path(A1, "")), 503);
    drop(events);
    rollcall.post_events(&event(1, "ringing"));
    // The room is given back once the connection is found to be closed.
    until("there is room again", || {
        let request = http::Request::get(rollcall.url(&path(A1, "?after=now")))
            .header("authorization", &bearer)
            .header("accept", "text/event-stream");
        let answer = rollcall.new_agent().run(request.body(()).unwrap()).unwrap();
        (answer.status() == 200).then_some(())
    });
    // And by lines once they are written.
    until("there is room for lines", || {
        (rollcall.get(&admin, &path(A1, "")).status == 200).then_some(())
    });
    for _ in 0..3 {
        lines(&rollcall, &admin, &path(A1, ""));
    }
}

#[test]
fn curl_follows() {
    if !have("curl") {
        return;
    }
    let rollcall = Rollcall::up(LIVELY);
    let mut curl = Command::new("curl")
        .args(["-sSN", "-H", "Accept: text/event-stream", "--cacert"])
        .arg(rollcall.ca())
        .args(["-H", &format!("Authorization: Bearer {}", rollcall.admin())])
        .arg(rollcall.url(&path(A1, "?after=now")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let events = Events::read(curl.stdout.take().unwrap());
    assert_eq!(events.any()["type"], "position");
    rollcall.post_events(&event(1, "ringing"));
    assert_eq!(events.next()["call"]["call_sid"], sid(1));
    curl.kill().unwrap();
    curl.wait().unwrap();
}
