//! Readers that take nothing, and what is made for those that do.

use std::fmt::Write as _;
use std::io::Read as _;

use super::super::harness::{A1, Answer, Rollcall, event, until};
use super::raw::Raw;
use super::{api_error, calls_of, list, resident_kib, sids};

/// Calls of about ten kilobytes each.
const FAT: usize = 600;
/// Readers of each kind.
const READERS: u64 = 24;
/// What each of them may take of the server's memory, in KiB: a few hundred.
const EACH_KIB: u64 = 512;

pub fn fat_calls(rollcall: &Rollcall) {
    for batch in 0..FAT / 50 {
        let mut body = String::new();
        for n in (batch * 50..).take(50) {
            write!(
                body,
                "{{\"account_sid\":\"{A1}\",\"call_sid\":\"c0000000-0000-4000-8000-{n:012x}\",\
                 \"direction\":\"inbound\",\"call_status\":\"busy\",\"from\":\"n{}\",\"to\":\"b\",\
                 \"call_id\":\"{n}\"",
                n % 3
            )
            .unwrap();
            // Nothing that compresses well.
            let mut noise = n as u64 + 1;
            for key in 0..4 {
                write!(body, ",\"k{key}\":\"").unwrap();
                for _ in 0..150 {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    write!(body, "{noise:016x}").unwrap();
                }
                body.push('"');
            }
            body.push_str("}\n");
        }
        let answer = rollcall.post_events(&body);
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// Clock ticks that the server has used.
fn used(rollcall: &Rollcall) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", rollcall.pid())).unwrap();
    let after = stat.rsplit(')').next().unwrap();
    let ticks = after.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Waits until the server does nothing more: all that is to be made for slow readers is made.
fn rest(rollcall: &Rollcall) {
    let mut last = (used(rollcall), 0);
    until("the server is at rest", || {
        let now = used(rollcall);
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        (last.1 > 40).then_some(())
    });
}

#[test]
fn readers_that_take_nothing_hold_a_few_hundred_kilobytes_each() {
    let mut rollcall = Rollcall::up(&["--limits-write", "10m", "--limits-event-streams", "1000"]);
    fat_calls(&rollcall);
    // All calls are in the index then: what a checkpoint takes in between is no reader's.
    rollcall.stop();
    rollcall.start();
    let changes = format!("/v1/Accounts/{A1}/Calls/changes");
    for (path, accept) in [
        (calls_of(A1, "limit=500"), "*/*"),
        (calls_of(A1, "limit=500&from_prefix=n"), "*/*"),
        (calls_of(A1, "limit=500"), "text/csv"),
        (calls_of(A1, ""), "*/*"),
        (calls_of(A1, ""), "text/csv"),
        (calls_of(A1, ""), "*/*\r\nAccept-Encoding: gzip"),
        ("/v1/Calls?limit=500".to_owned(), "*/*"),
        ("/v1/Calls".to_owned(), "text/csv"),
        (changes.clone(), "application/x-ndjson"),
        (changes.clone(), "text/event-stream"),
    ] {
        // What answering takes at all is taken before.
        for _ in 0..3 {
            list(&rollcall, "limit=500");
        }
        rest(&rollcall);
        let before = resident_kib(&rollcall);
        let mut readers: Vec<_> = (0..READERS).map(|_| Raw::connect(&rollcall)).collect();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nAccept: {accept}\r\n\r\n",
            rollcall.admin()
        );
        for reader in &mut readers {
            reader.send(&request);
        }
        for reader in &mut readers {
            assert!(reader.begins().starts_with("HTTP/1.1 200"), "{path} {accept}");
        }
        rest(&rollcall);
        // What was freed goes back to the system after a second.
        until(&format!("{READERS} readers hold little: {path} {accept}"), || {
            let grown = resident_kib(&rollcall).saturating_sub(before);
            (grown < EACH_KIB * READERS).then_some(())
        });
        drop(readers);
        until("the readers are gone", || {
            let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
            metrics.contains("rollcall_event_streams 0").then_some(())
        });
    }
}

fn with(rollcall: &Rollcall, query: &str, accept: &str) -> Answer {
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", bearer.as_str()), ("accept", accept)];
    rollcall.send("GET", &calls_of(A1, query), &headers, b"").unwrap()
}

#[test]
fn large_pages_are_streamed_and_are_the_pages_of_the_whole_list() {
    let rollcall = Rollcall::up(&[]);
    fat_calls(&rollcall);
    let cursor_of = |answer: &Answer| answer.header("x-next-cursor").map(str::to_owned);
    for query in ["", "order=asc", "from=n1", "from_prefix=n1,n2", "callStatus=busy&from_prefix=n0"]
    {
        let whole = sids(&list(&rollcall, query));
        assert!(whole.len() >= FAT / 3, "{query}");
        for limit in [70, whole.len() - 1, whole.len(), whole.len() + 1] {
            let (mut paged, mut cursor) = (Vec::new(), Some(String::new()));
            let mut pages = 0;
            while let Some(text) = &cursor {
                let page =
                    list(&rollcall, &format!("{query}&limit={limit}&count=true&cursor={text}"));
                assert_eq!(page.header("x-total-count"), Some(&*whole.len().to_string()));
                assert!(page.header("etag").is_some());
                assert_eq!(page.header("link").is_some(), cursor_of(&page).is_some());
                paged.extend(sids(&page));
                pages += 1;
                assert!(
                    paged.len() == whole.len() || paged.len() == pages * limit,
                    "{query} {limit}"
                );
                cursor = cursor_of(&page);
            }
            assert_eq!(paged, whole, "{query} {limit}");
            assert_eq!(pages, whole.len().div_ceil(limit), "{query} {limit}");
            let csv = with(&rollcall, &format!("{query}&limit={limit}"), "text/csv");
            let rows = csv.body.split_terminator("\r\n").skip(1);
            let shown: Vec<_> = rows.map(|row| row.split(',').nth(2).unwrap()).collect();
            assert_eq!(shown, whole[..limit.min(whole.len())], "{query} {limit}");
            assert_eq!(cursor_of(&csv).is_some(), limit < whole.len());
        }
    }
}

#[test]
fn a_large_page_that_is_compressed_is_the_page() {
    let rollcall = Rollcall::up(&[]);
    fat_calls(&rollcall);
    let plain = list(&rollcall, "limit=300");
    let mut raw = Raw::connect(&rollcall);
    raw.send(format!(
        "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nAccept-Encoding: gzip\r\n\
         Connection: close\r\n\r\n",
        calls_of(A1, "limit=300"),
        rollcall.admin()
    ));
    let all = raw.rest();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(all[..end].to_vec()).unwrap().to_lowercase();
    assert!(head.contains("content-encoding: gzip") && head.contains("x-next-cursor"), "{head}");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*chunks(&all[end..])).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.body);
}

#[test]
fn no_piece_of_an_answer_is_much_larger_than_what_it_is_paid_for() {
    let rollcall = Rollcall::up(&[]);
    fat_calls(&rollcall);
    // Those of the portal have a few of their fields.
    let long = |n: u32| {
        event(n, "busy").replacen('{', &format!("{{\"recording_url\":\"{}\",", "x".repeat(9000)), 1)
    };
    for n in 10_000..10_100 {
        assert_eq!(rollcall.post_events(&long(n)).status, 204);
    }
    // A piece, and the call with which it is full.
    let most = (64 + 16) * 1024;
    for path in [
        "Accounts/{}/Calls?limit=500",
        "Accounts/{}/Calls",
        "Accounts/{}/RecentCalls?page=1&count=100",
        "Accounts/{}/Calls/changes?limit=500",
        "Calls?limit=500",
        "Calls?from_prefix=n&order=asc",
    ] {
        let path = path.replace("{}", A1);
        let mut raw = Raw::connect(&rollcall);
        raw.send(format!(
            "GET /v1/{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Connection: close\r\n\r\n",
            rollcall.admin()
        ));
        let all = raw.rest();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
        assert!(head.contains("transfer-encoding: chunked"), "{path}: {head}");
        let sizes: Vec<_> = pieces(&all[end..]).iter().map(|piece| piece.len()).collect();
        assert!(sizes.len() > 10 && sizes.iter().all(|size| *size <= most), "{path}: {sizes:?}");
    }
}

/// A body without its framing.
fn chunks(body: &[u8]) -> Vec<u8> {
    pieces(body).concat()
}

/// The pieces in which a body was sent.
fn pieces(mut body: &[u8]) -> Vec<&[u8]> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.push(&body[end + 2..][..size]);
        body = &body[end + 2 + size + 2..];
    }
}

#[test]
fn lines_of_changes_that_nobody_takes_are_event_streams() {
    let rollcall = Rollcall::up(&["--limits-event-streams", "2"]);
    fat_calls(&rollcall);
    let path = format!("/v1/Accounts/{A1}/Calls/changes");
    let mut slow = Raw::connect(&rollcall);
    let admin = rollcall.admin();
    slow.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\r\n"));
    assert!(slow.begins().starts_with("HTTP/1.1 200"));
    let crowded = rollcall.get(&admin, &path);
    assert!(api_error(&crowded, 503).contains("event streams"), "{crowded:?}");
    assert_eq!(crowded.header("retry-after"), Some("10"));
    drop(slow);
    until("its place is free", || (rollcall.get(&admin, &path).status == 200).then_some(()));
}
