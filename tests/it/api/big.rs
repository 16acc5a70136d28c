//! Lists that are long, and readers that are slow.

use std::fmt::Write as _;

use super::super::harness::{A1, Rollcall, until};
use super::raw::Raw;
use super::samples::now;
use super::{calls_of, list, resident_kib, sids};

pub const CALLS: usize = 20_000;
const BATCH: usize = 2500;
/// Those that are slow.
const READERS: u64 = 48;

/// Calls with some text in them, three in each millisecond.
pub fn many(rollcall: &Rollcall) {
    let begun = now() - 60_000;
    let padding = "x".repeat(100);
    for batch in 0..CALLS / BATCH {
        let mut body = String::new();
        for n in (batch * BATCH..).take(BATCH) {
            writeln!(
                body,
                "{{\"account_sid\":\"{A1}\",\"call_sid\":\"c0000000-0000-4000-8000-{n:012x}\",\
                 \"direction\":\"inbound\",\"call_status\":\"busy\",\"from\":\"n{}\",\"to\":\"b\",\
                 \"call_id\":\"{n}\",\"pad\":\"{padding}\",\"at\":{}}}",
                n % 10,
                begun + i64::try_from(n / 3).unwrap()
            )
            .unwrap();
        }
        let answer = rollcall.post_events(&body);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

#[test]
fn a_long_list_streams_whole_and_in_bounded_memory() {
    let rollcall = Rollcall::up(&[]);
    many(&rollcall);
    let whole = sids(&list(&rollcall, ""));
    assert_eq!(whole.len(), CALLS);
    let mut asc = sids(&list(&rollcall, "order=asc"));
    asc.reverse();
    assert_eq!(asc, whole);
    assert_eq!(sids(&list(&rollcall, "callStatus=busy&from=n7")).len(), CALLS / 10);
    assert_eq!(sids(&list(&rollcall, "limit=10000")), whole[..10_000]);
    // Pieces in which nothing matches.
    assert_eq!(sids(&list(&rollcall, "from_prefix=n7")).len(), CALLS / 10);
    assert_eq!(list(&rollcall, "from_prefix=nobody").body, "[]");
    let none = list(&rollcall, "callStatus=failed,completed");
    assert_eq!(none.body, "[]");

    // Readers that take nothing: some megabytes wait for each.
    let bytes = list(&rollcall, "").body.len() as u64;
    let before = resident_kib(&rollcall);
    let mut readers: Vec<_> = (0..READERS).map(|_| Raw::connect(&rollcall)).collect();
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        calls_of(A1, ""),
        rollcall.admin()
    );
    for reader in &mut readers {
        reader.send(&request);
    }
    for _ in 0..20 {
        // Others are served meanwhile.
        assert_eq!(sids(&list(&rollcall, "limit=1")).len(), 1);
    }
    let grown = resident_kib(&rollcall).saturating_sub(before);
    assert!(bytes > 8_000_000, "{bytes} bytes are no long list");
    assert!(grown * 1024 < bytes * READERS / 5, "{grown} KiB for readers of {bytes} bytes each");
    // A slow reader gets all of it in the end.
    let text = String::from_utf8(readers.pop().unwrap().rest()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.ends_with("]\r\n0\r\n\r\n"), "it was cut off");
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off() {
    let rollcall = Rollcall::up(&["--limits-write", "200ms"]);
    many(&rollcall);
    let before = sockets(&rollcall);
    let mut reader = Raw::connect(&rollcall);
    assert_eq!(sockets(&rollcall), before + 1);
    reader.send(format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        calls_of(A1, ""),
        rollcall.admin()
    ));
    until("the server gives up", || (sockets(&rollcall) == before).then_some(()));
    let rest = reader.rest();
    assert!(rest.starts_with(b"HTTP/1.1 200"));
    assert!(!rest.ends_with(b"]\r\n0\r\n\r\n"), "a list that looks whole is whole");
}

/// How many sockets the server has open.
fn sockets(rollcall: &Rollcall) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", rollcall.pid())).unwrap();
    let targets = open.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}
