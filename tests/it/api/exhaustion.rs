//! What anybody can use up without credentials, and what is kept out of their reach.

use std::net::TcpStream;
use std::process::Command;
use std::time::Instant;

use super::super::harness::{A1, PATIENCE, Rollcall, event, until};
use super::raw::Raw;
use super::{calls_of, list};

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
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    drop(held);
    assert_eq!(list(&rollcall, "").status, 200);
}

#[test]
fn those_who_send_large_bodies_without_credentials_keep_out_their_like_alone() {
    let rollcall = Rollcall::up(&[]);
    let head = |length: usize| {
        format!(
            "POST /v1/hooks/call-status HTTP/1.1\r\nHost: x\r\nJambonz-Signature: t=1,v1=00\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    // More than there is room for, and all but the last byte of each.
    let size = 1 << 20;
    let most = " ".repeat(size - 1);
    let held: Vec<Raw> = (0..70)
        .map(|_| {
            let mut raw = Raw::connect(&rollcall);
            raw.send(head(size) + &most);
            raw
        })
        .collect();
    // A small one is only told that nobody knows its sender.
    let mut raw = Raw::connect(&rollcall);
    raw.send(head(event(1, "busy").len()) + &event(1, "busy"));
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
        (1..held.len() / 2).contains(&count.unwrap()).then_some(())
    });
}

#[test]
fn bodies_that_are_announced_and_do_not_come_take_no_memory() {
    // 128 MiB of addresses more than the server has at rest.
    let mut probe = Rollcall::up(&["--limits-body-bytes", "67108864"]);
    let kib = addresses(&probe) / 1024 + 128 * 1024;
    probe.stop();
    let rollcall = limited(&format!("-v {kib}"), &["--limits-body-bytes", "67108864"]);
    let held: Vec<Raw> = (0..20)
        .map(|_| {
            let mut raw = Raw::connect(&rollcall);
            raw.send(
                "POST /v1/hooks/call-status HTTP/1.1\r\nHost: x\r\nJambonz-Signature: t=1,v1=00\r\n\
                 Content-Length: 60000000\r\n\r\n {",
            );
            raw
        })
        .collect();
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
