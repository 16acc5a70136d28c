//! What anybody can use up without credentials, and what is kept out of their reach.

use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use super::super::harness::{A1, A2, Rollcall, TIMEOUT, event, send, sid, until};
use super::super::hooks::signed::basic;
use super::raw::Raw;
use super::samples::now;
use super::{api_error, calls_of, list};

/// A server under this `ulimit`.
fn limited(limit: &str, args: &[&str]) -> Rollcall {
    let mut rollcall = Rollcall::down();
    rollcall.set_args(args);
    let serve = rollcall.serve_command();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
    command.arg(serve.get_program()).args(serve.get_args());
    rollcall.start_with(command);
    rollcall
}

/// Files and sockets that the server has open.
fn files(rollcall: &Rollcall) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", rollcall.pid())).unwrap().count()
}

fn open(rollcall: &Rollcall, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| TcpStream::connect(("127.0.0.1", rollcall.port)).unwrap()).collect()
}

#[test]
fn connections_do_not_take_the_files_that_the_store_needs() {
    let often = ["--store-checkpoint-interval", "20ms", "--store-live-checkpoint-age", "10ms"];
    let rollcall = limited("-n 100", &often);
    assert_eq!(list(&rollcall, "").status, 200);
    // Half of the files are for connections: the first of them is the client's own.
    let held = open(&rollcall, 90);
    until("as many are taken as may be", || (files(&rollcall) >= 50).then_some(()));
    for n in 1..=200 {
        assert_eq!(rollcall.post_events(&event(n, "busy")).status, 204, "{n}");
    }
    assert_eq!(list(&rollcall, "").json().as_array().unwrap().len(), 200);
    let log = rollcall.log();
    assert!(log.contains("fewer connections are taken"), "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
    drop(held);
}

#[test]
fn the_server_takes_what_the_system_lets_it_have() {
    let rollcall = limited("-Sn 100", &[]);
    let held = open(&rollcall, 200);
    until("all are taken", || (files(&rollcall) > 200).then_some(()));
    assert_eq!(list(&rollcall, "").status, 200);
    drop(held);
}

#[test]
fn a_burst_of_connections_waits_in_line() {
    let rollcall = Rollcall::up(&["--limits-connections", "1"]);
    let begun = Instant::now();
    let held = open(&rollcall, 300);
    assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
    drop(held);
    assert_eq!(list(&rollcall, "").status, 200);
}

/// The header of a signature that is of this moment, and wrong.
fn fresh() -> String {
    format!("Jambonz-Signature: t={},v1={}", now() / 1000, "0".repeat(64))
}

/// The head of a request that brings events.
fn hook(fields: &str, length: usize) -> String {
    format!(
        "POST /v1/hooks/call-status HTTP/1.1\r\nHost: x\r\n{fields}\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Connections on which this was sent.
fn held(rollcall: &Rollcall, count: usize, bytes: &str) -> Vec<Raw> {
    let one = |_| {
        let mut raw = Raw::connect(rollcall);
        raw.send(bytes);
        raw
    };
    (0..count).map(one).collect()
}

/// A body of the greatest size but for its last byte.
fn almost(fields: &str) -> String {
    let size = 1 << 20;
    hook(fields, size) + &" ".repeat(size - 1)
}

#[test]
fn those_who_send_large_bodies_without_credentials_keep_out_their_like_alone() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", "a secret"]);
    // More than there is room for.
    let held = held(&rollcall, 70, &almost(&fresh()));
    // A small one is only told that nobody knows its sender.
    let mut raw = Raw::connect(&rollcall);
    raw.send(hook(&fresh(), event(1, "busy").len()) + &event(1, "busy"));
    assert_eq!(raw.reply().status, 401);
    // And a large one of somebody known is taken.
    let large: Vec<_> = (1..=1000).map(|n| event(n, "busy")).collect();
    assert_eq!(rollcall.post_events(&large.join("\n")).status, 204);
    let calls = rollcall.get(&rollcall.admin(), &calls_of(A1, "count=true&limit=1"));
    assert_eq!(calls.header("x-total-count"), Some("1000"));
    let refused = "rollcall_hook_requests_refused_total{reason=\"busy\"} ";
    until("some are refused", || {
        let figures = rollcall.get(&rollcall.admin(), "/metrics").body;
        let count = figures.lines().find_map(|line| line.strip_prefix(refused))?.parse::<usize>();
        (1..held.len()).contains(&count.unwrap()).then_some(())
    });
}

#[test]
fn large_bodies_of_one_account_leave_room_for_those_of_another() {
    let rollcall = Rollcall::up(&["--limits-body", "1h"]);
    for (account, user) in [(A1, "one"), (A2, "two")] {
        rollcall.ok(&["account", "set", account, "--hook-user", user, "--hook-password", "pass"]);
    }
    let theirs = format!("Authorization: {}", basic("two", "pass"));
    let held = held(&rollcall, 70, &almost(&theirs));
    // As many as they may have are held, and all others are refused.
    let refused = "rollcall_hook_requests_refused_total{reason=\"busy\"} ";
    until("some are refused", || {
        let figures = rollcall.get(&rollcall.admin(), "/metrics").body;
        let count = figures.lines().find_map(|line| line.strip_prefix(refused))?.parse::<usize>();
        (count == Ok(held.len() - 32)).then_some(())
    });
    let large: Vec<_> = (1..=1000).map(|n| event(n, "busy")).collect();
    let large = large.join("\n");
    let own = [("authorization", &*basic("one", "pass")), ("content-type", "application/x-ndjson")];
    let send = |headers: &[(&str, &str)], body: &str| {
        rollcall.send("POST", "/v1/hooks/call-status", headers, body.as_bytes()).unwrap()
    };
    assert_eq!(send(&own, &large).status, 204);
    let theirs = [("authorization", &*basic("two", "pass")), own[1]];
    let answer = send(&theirs, &" ".repeat(1 << 20));
    assert!(api_error(&answer, 503).contains("of this sender"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(send(&theirs, &event(1, "busy").replace(A1, A2)).status, 204);
    drop(held);
}

#[test]
fn who_is_not_known_keeps_nobody_out() {
    // Nothing of what they do would ever end by itself.
    let forever = ["--limits-connections", "20", "--limits-body", "1h", "--limits-header", "1h"];
    let rollcall = Rollcall::up(&forever);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", "a secret"]);
    let call = format!("/v1/Accounts/{A1}/Calls");
    let put = |fields: &str| format!("PUT {call}/{} HTTP/1.1\r\nHost: x\r\n{fields}\r\n", sid(1));
    for (what, bytes) in [
        ("nothing", String::new()),
        ("half a head", "GET / HTTP/1.1\r\nHost: x\r\n".to_owned()),
        ("no credentials", hook("X: y", 1000)),
        ("a stale signature", hook(&format!("Jambonz-Signature: t=1,v1={}", "0".repeat(64)), 1000)),
        ("a signature of this moment", hook(&fresh(), 1000)),
        ("and a body in pieces", hook(&fresh(), 1000) + "{\"account_sid\":"),
        ("a malformed signature", hook("Jambonz-Signature: x", 1000)),
        ("a wrong password", hook(&format!("Authorization: {}", basic("a", "b")), 1000)),
        ("an update without a token", put("Content-Length: 1000\r\n")),
        ("one with a wrong token", put("Authorization: Bearer x\r\nContent-Length: 1000\r\n")),
        ("chunks that do not come", put("Transfer-Encoding: chunked\r\n") + "5\r\nab"),
        ("many small requests", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50)),
    ] {
        let _held = held(&rollcall, 20, &bytes);
        let agent = rollcall.new_agent();
        let bearer = format!("Bearer {}", rollcall.admin());
        let url = rollcall.url(&calls_of(A1, "limit=1"));
        let answer = send(&agent, "GET", &url, &[("authorization", &bearer)], b"");
        assert_eq!(answer.unwrap().status, 200, "{what}");
    }
}

#[test]
fn who_is_known_stays_while_others_wait() {
    let rollcall = Rollcall::up(&["--limits-connections", "4", "--limits-body", "1h"]);
    rollcall.ok(&["account", "set", A1, "--hook-user", "one", "--hook-password", "pass"]);
    let body = event(1, "busy");
    let basic = format!("Authorization: {}", basic("one", "pass"));
    let bearer = format!("Authorization: Bearer {}", rollcall.admin());
    let mut slow: Vec<_> = [&basic, &bearer]
        .map(|fields| held(&rollcall, 1, &(hook(fields, body.len()) + &body[..10])).remove(0))
        .into();
    // Others come and go in the places that are left, and have to wait for them.
    let _idle = held(&rollcall, 2, "");
    for _ in 0..3 {
        let agent = rollcall.new_agent();
        let url = rollcall.url("/livez");
        assert_eq!(send(&agent, "GET", &url, &[], b"").unwrap().status, 200);
        let _taken = held(&rollcall, 2, "");
    }
    for raw in &mut slow {
        raw.send(&body[10..]);
        assert_eq!(raw.reply().status, 204);
    }
}

#[test]
fn bodies_that_are_announced_and_do_not_come_take_no_memory() {
    // 128 MiB of addresses more than the server has at rest.
    let mut probe = Rollcall::up(&["--limits-body-bytes", "67108864"]);
    let kib = addresses(&probe) / 1024 + 128 * 1024;
    probe.stop();
    let rollcall = limited(&format!("-v {kib}"), &["--limits-body-bytes", "67108864"]);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", "a secret"]);
    let held = held(&rollcall, 20, &(hook(&fresh(), 60_000_000) + " {"));
    for n in 1..=20 {
        assert_eq!(rollcall.post_events(&event(n, "busy")).status, 204, "{n}");
    }
    drop(held);
}

/// Bytes of addresses that the server has taken.
fn addresses(rollcall: &Rollcall) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", rollcall.pid())).unwrap();
    statm.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
}
