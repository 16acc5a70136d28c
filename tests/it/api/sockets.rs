//! What comes over a connection that no honest client would send.

use std::io::{ErrorKind, Read as _};

use super::super::harness::{A1, Rollcall, event, sid};
use super::raw::{Raw, RawResponse, tcp};
use super::{calls_of, list, sids};

fn msg(reply: &RawResponse, status: u16) -> String {
    assert_eq!(reply.status, status, "{reply:?}");
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    body["msg"].as_str().unwrap().to_owned()
}

/// A request for the list, with further header fields.
fn get(rollcall: &Rollcall, fields: &str) -> String {
    let admin = rollcall.admin();
    format!("GET {} HTTP/1.1\r\nAuthorization: Bearer {admin}\r\n{fields}\r\n", calls_of(A1, ""))
}

/// The head of a hook request, with further header fields.
fn hook(rollcall: &Rollcall, fields: &str) -> String {
    let admin = rollcall.admin();
    format!(
        "POST /v1/hooks/call-status HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {admin}\r\n{fields}\r\n"
    )
}

#[test]
fn one_host_is_expected() {
    let rollcall = Rollcall::up(&[]);
    for fields in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(get(&rollcall, fields));
        assert!(msg(&raw.reply(), 400).contains("Host"), "{fields:?}");
    }
    let mut raw = Raw::connect(&rollcall);
    for _ in 0..2 {
        raw.send(get(&rollcall, "Host: anything.example\r\n"));
        let reply = raw.reply();
        assert_eq!((reply.status, reply.body.as_str()), (200, "[]"));
    }
    // HTTP/1.0 had none.
    let mut raw = Raw::connect(&rollcall);
    raw.send(get(&rollcall, "").replace("HTTP/1.1", "HTTP/1.0"));
    assert_eq!(raw.reply().status, 200);
}

#[test]
fn a_body_has_one_framing() {
    let rollcall = Rollcall::up(&[]);
    let chunks = "2\r\n[]\r\n0\r\n\r\n";
    for fields in [
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
    ] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(hook(&rollcall, fields) + chunks);
        assert!(msg(&raw.reply(), 400).contains("Transfer-Encoding"), "{fields:?}");
    }
    let mut raw = Raw::connect(&rollcall);
    raw.send(hook(&rollcall, "Transfer-Encoding: Chunked\r\n") + chunks);
    assert_eq!(raw.reply().status, 204);
    // With both, whatever follows on this connection is not taken for a request.
    let smuggled = format!("{chunks}{}", get(&rollcall, "Host: a\r\n"));
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(hook(&rollcall, fields) + &smuggled);
        let rest = String::from_utf8(raw.rest()).unwrap();
        assert_eq!(rest.matches("HTTP/1.1 ").count(), 1, "{rest}");
    }
    for fields in ["Content-Length: 5\r\nContent-Length: 6\r\n", "Content-Length: -1\r\n"] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(hook(&rollcall, fields) + "[1,2]");
        assert_eq!(raw.reply().status, 400, "{fields:?}");
    }
}

#[test]
fn a_header_has_a_limit() {
    let rollcall = Rollcall::up(&[]);
    let mut raw = Raw::connect(&rollcall);
    raw.send(get(&rollcall, &format!("Host: a\r\nX-Long: {}\r\n", "x".repeat(17 * 1024))));
    assert_eq!(raw.reply().status, 431);
    assert!(raw.rest().is_empty());
    let mut raw = Raw::connect(&rollcall);
    raw.send(get(&rollcall, &format!("Host: a\r\nX-Long: {}\r\n", "x".repeat(15 * 1024))));
    assert_eq!(raw.reply().status, 200);
}

#[test]
fn a_body_has_a_limit() {
    let rollcall = Rollcall::up(&["--limits-body-bytes", "1024"]);
    let body =
        |length: usize| format!("{}{}", event(1, "busy"), " ".repeat(length))[..length].to_owned();
    // Announced: answered before any of it is sent.
    let mut raw = Raw::connect(&rollcall);
    raw.send(hook(&rollcall, "Content-Length: 1025\r\n"));
    assert!(msg(&raw.reply(), 413).contains("1024"));
    // Not announced.
    let mut raw = Raw::connect(&rollcall);
    let chunk = format!("401\r\n{}\r\n", body(0x401));
    raw.send(hook(&rollcall, "Transfer-Encoding: chunked\r\n") + &chunk);
    assert!(msg(&raw.reply(), 413).contains("1024"));
    assert!(sids(&list(&rollcall, "")).is_empty());
    // The limit itself is fine.
    let mut raw = Raw::connect(&rollcall);
    let chunk = format!("400\r\n{}\r\n0\r\n\r\n", body(0x400));
    raw.send(hook(&rollcall, "Transfer-Encoding: chunked\r\n") + &chunk);
    assert_eq!(raw.reply().status, 204);
    raw.send(hook(&rollcall, "Content-Length: 1024\r\n") + &body(1024));
    assert_eq!(raw.reply().status, 204);
    assert_eq!(sids(&list(&rollcall, "")), [sid(1)]);
}

#[test]
fn who_waits_for_leave_to_send_a_body_gets_it() {
    let rollcall = Rollcall::up(&[]);
    let body = event(1, "busy");
    let fields = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", body.len());
    let mut raw = Raw::connect(&rollcall);
    raw.send(hook(&rollcall, &fields));
    assert_eq!(raw.reply().status, 100);
    raw.send(body);
    assert_eq!(raw.reply().status, 204);
}

#[test]
fn a_body_that_does_not_come_is_408() {
    let rollcall = Rollcall::up(&["--limits-body", "200ms"]);
    for framing in ["Content-Length: 100\r\n\r\n[", "Transfer-Encoding: chunked\r\n\r\n2\r\n["] {
        let mut raw = Raw::connect(&rollcall);
        let request = hook(&rollcall, "");
        raw.send(format!("{}{framing}", request.strip_suffix("\r\n").unwrap()));
        assert!(msg(&raw.reply(), 408).contains("body"), "{framing:?}");
        assert!(raw.rest().is_empty());
    }
}

#[test]
fn a_body_that_is_cut_off_takes_nothing() {
    let rollcall = Rollcall::up(&[]);
    let body = event(1, "busy");
    let fields =
        format!("Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n", 2 * body.len());
    let mut raw = Raw::connect(&rollcall);
    raw.send(hook(&rollcall, &fields) + &body);
    drop(raw);
    // Another connection is served after it, and sees nothing of it.
    assert_eq!(rollcall.post_events(&event(2, "busy")).status, 204);
    assert_eq!(sids(&list(&rollcall, "")), [sid(2)]);
}

#[test]
fn a_silent_client_is_cut_off() {
    let times = ["--limits-handshake", "1s", "--limits-header", "1s", "--limits-idle", "1s"];
    let rollcall = Rollcall::up(&times);
    // Before the handshake, and in it.
    for greeting in [&b""[..], b"\x16\x03\x01"] {
        let mut stream = tcp(rollcall.port);
        std::io::Write::write_all(&mut stream, greeting).unwrap();
        let ended = stream.read(&mut [0; 64]);
        let cut = matches!(&ended, Ok(0))
            || ended.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset);
        assert!(cut, "{ended:?}");
    }
    // After it, within a request, and between two.
    for sent in ["", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(sent);
        let rest = String::from_utf8(raw.rest()).unwrap();
        assert!(!rest.contains(" 200 "), "{rest}");
    }
    let mut raw = Raw::connect(&rollcall);
    raw.send(get(&rollcall, "Host: a\r\n"));
    assert_eq!(raw.reply().status, 200);
    assert!(raw.rest().is_empty());
}

#[test]
fn what_is_not_tls_or_not_http_is_no_request() {
    let rollcall = Rollcall::up(&[]);
    let mut stream = tcp(rollcall.port);
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    // It is told so, and nothing else.
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
    let mut raw = Raw::connect(&rollcall);
    raw.send("\u{0}\u{1}\u{2} nonsense\r\n\r\n");
    assert_eq!(raw.reply().status, 400);
    assert_eq!(list(&rollcall, "").status, 200);
}
