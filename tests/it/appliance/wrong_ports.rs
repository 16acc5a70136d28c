//! Health checks as load balancers make them, and clients that come to the wrong port or speak what
//! is not spoken there.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use socket2::SockRef;

use super::super::api::raw::{Raw, tcp};
use super::super::harness::{Rollcall, until};

const GET: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const HTTP2: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";

/// What comes back on this port for these bytes, until the server closes.
fn answer(port: u16, bytes: &[u8]) -> String {
    let mut stream = tcp(port);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// The log once this stands in it.
fn log_with(rollcall: &Rollcall, said: &str) -> String {
    until(said, || Some(rollcall.log()).filter(|log| log.contains(said)))
}

#[test]
fn health_checks_of_all_kinds_find_a_healthy_server() {
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    let port = rollcall.plain_port;
    for (request, status) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", "204"),
        ("OPTIONS * HTTP/1.1\r\nHost: lb\r\nConnection: close\r\n\r\n", "204"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
        ("HEAD / HTTP/1.0\r\n\r\n", "200"),
        ("GET /livez HTTP/1.0\r\n\r\n", "200"),
        ("HEAD /readyz HTTP/1.0\r\nConnection: close\r\n\r\n", "200"),
        (GET, "200"),
        (
            "GET http://calls.example.com/livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "200",
        ),
        ("GET /livez/?probe=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET //livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET ///readyz?for=events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET //nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "404"),
        ("GET /livez HTTP/1.0\n\n", "200"),
        (
            "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            "200",
        ),
    ] {
        let answer = answer(port, request.as_bytes());
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}: {answer}");
    }
    let front = rollcall.get("", "/");
    assert_eq!(
        (front.status, front.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let links: Vec<&str> = front.body.split("href=\"").skip(1).collect();
    assert!(links.len() > 4, "{}", front.body);
    for link in links {
        let link = link.split('"').next().unwrap();
        assert_eq!(rollcall.get("", link).status, 200, "{link}");
    }
    // One that only connects is no news, be it to a port of TLS or not.
    for _ in 0..5 {
        drop((tcp(rollcall.port), tcp(port)));
    }
    assert_eq!(rollcall.get("", "/livez").status, 200);
    assert!(!rollcall.log().contains("WARN"), "{}", rollcall.log());
}

#[test]
fn a_connection_that_ends_at_once_is_no_news_where_a_proxy_header_has_to_come() {
    let flags = ["--http-listen", "127.0.0.1:0", "--http-proxy-protocol", "--proxy-protocol"];
    let rollcall = Rollcall::up(&[&flags[..], &["--http-trusted-proxies", "127.0.0.1"]].concat());
    for port in [rollcall.port, rollcall.plain_port] {
        drop(tcp(port));
        // As `HAProxy` ends its own.
        let stream = tcp(port);
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    // What is wrong, after those, is said; and nothing before it.
    assert_eq!(answer(rollcall.plain_port, GET.as_bytes()), "");
    let log = log_with(&rollcall, "proxy_protocol = true");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains(&format!("http://127.0.0.1:{}", rollcall.plain_port)), "{log}");
}

#[test]
fn plain_http_on_the_tls_port_is_answered_and_named_in_the_log_once() {
    let rollcall = Rollcall::up(&[]);
    let post =
        format!("POST /v1/hooks/call-status HTTP/1.1\r\nHost: x\r\n\r\n{}", "x".repeat(9000));
    for request in [GET, &post, "OPTIONS * HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\n\n"] {
        let answer = answer(rollcall.port, request.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
        assert!(head.contains("content-type: text/plain"), "{answer}");
        assert_eq!(body, "this port speaks TLS: use https://\n");
    }
    let log = log_with(&rollcall, "plain HTTP came to a port that speaks TLS");
    assert_eq!(log.matches("plain HTTP came").count(), 1, "{log}");
    assert!(log.contains(&format!("listener=\"https://127.0.0.1:{}\"", rollcall.port)), "{log}");
    assert!(log.contains("peer=127.0.0.1:"), "{log}");
    // An old client gets the words alone.
    assert_eq!(
        answer(rollcall.port, b"GET /\r\n\r\n\r\n\r\n"),
        "this port speaks TLS: use https://\n"
    );
    assert_eq!(rollcall.get("", "/livez").status, 200);
}

#[test]
fn tls_on_the_plain_port_is_named_in_the_log() {
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    assert!(Raw::over(&rollcall, tcp(rollcall.plain_port)).is_err());
    let log = log_with(&rollcall, "TLS came to a port of plain HTTP");
    assert!(log.contains(&format!("http://127.0.0.1:{}", rollcall.plain_port)), "{log}");
}

/// Reads what HTTP/2 reads: settings, and that HTTP/1.1 is required, in these words.
fn assert_goes_away(answer: &[u8], words: &str) {
    let (settings, goaway) = answer.split_at(9);
    assert_eq!(settings, b"\0\0\0\x04\0\0\0\0\0", "{answer:?}");
    let length = u8::try_from(8 + words.len()).unwrap();
    let head = [0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13];
    assert_eq!(goaway, [&head, words.as_bytes()].concat(), "{answer:?}");
}

#[test]
fn http_2_is_told_in_its_own_words_that_it_is_not_spoken() {
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    let words = "HTTP/2 is not spoken here: use HTTP/1.1";
    assert_goes_away(answer(rollcall.plain_port, HTTP2.as_bytes()).as_bytes(), words);
    // The same within TLS, for one that has not asked what is spoken there, and for one that has.
    let mut tls = Raw::connect(&rollcall);
    tls.send(HTTP2);
    assert_goes_away(&tls.rest(), words);
    let mut tls = Raw::speaking(&rollcall, &["http/1.1"]).unwrap();
    tls.send(HTTP2);
    assert_goes_away(&tls.rest(), words);
    let log = log_with(&rollcall, "a client speaks HTTP/2 alone");
    assert!(log.contains("https://") && log.contains("http://"), "{log}");
    // In the clear where TLS is spoken.
    let words = "this port speaks TLS and HTTP/1.1: use https:// and HTTP/1.1";
    for _ in 0..2 {
        assert_goes_away(answer(rollcall.port, HTTP2.as_bytes()).as_bytes(), words);
    }
    let log = log_with(&rollcall, "HTTP/2 in the clear came to a port that speaks TLS");
    assert_eq!(log.matches("HTTP/2 in the clear").count(), 1, "{log}");
}

#[test]
fn what_is_neither_tls_nor_http_is_closed_and_named_once() {
    let old = [
        // A handshake of TLS 1.0 that offers one cipher.
        &b"\x16\x03\x01\0\x2f\x01\0\0\x2b\x03\x01"[..],
        &[7; 32],
        &b"\0\0\x04\0\x2f\0\xff\x01\0"[..],
    ]
    .concat();
    for (bytes, said) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "came=\"SSH\""),
        (b"EHLO mail.example.com\r\n", "came=\"SMTP\""),
        (b"hello, is anybody there\r\n", "came=\"text\""),
        (b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0", "came=\"RDP\""),
        (b"\x05\x01\0", "came=\"SOCKS\""),
        (b"\x04\x01\0\x50\x7f\0\0\x01\0", "came=\"SOCKS\""),
        (b"\x80\x2e\x01\0\x02\0\x15", "came=\"SSL 2\""),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", "came=\"PostgreSQL\""),
        (b"\xfe\xed\xfa\xce", "came=\"bytes that begin nothing known\""),
        (
            b"\x16\x03\x01\0\x05nonsense, and more of it",
            "came=\"what begins like TLS, and is none\"",
        ),
        (&old, "the client has no version or cipher of TLS in common"),
    ] {
        let rollcall = Rollcall::up(&[]);
        for _ in 0..2 {
            let answer = answer(rollcall.port, bytes);
            assert!(!answer.contains("HTTP"), "{said}: {answer}");
        }
        let log = log_with(&rollcall, said);
        assert_eq!(log.matches("WARN").count(), 1, "{said}: {log}");
        assert!(
            log.contains(&format!("listener=\"https://127.0.0.1:{}\"", rollcall.port)),
            "{log}"
        );
        assert_eq!(rollcall.get("", "/livez").status, 200);
    }
}

#[test]
fn a_handshake_that_does_not_go_on_is_closed_and_named_and_silence_is_only_closed() {
    let rollcall = Rollcall::up(&["--limits-handshake", "1s"]);
    assert_eq!(answer(rollcall.port, b""), "");
    assert!(!rollcall.log().contains("WARN"), "{}", rollcall.log());
    for begun in [&b"\x16\x03\x01\x02"[..], b"EHLO"] {
        assert_eq!(answer(rollcall.port, begun), "");
    }
    let log = log_with(&rollcall, "was not finished within limits.handshake");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
}

#[test]
fn who_speaks_http_2_alone_over_tls_is_refused_and_named() {
    let rollcall = Rollcall::up(&[]);
    let error = Raw::speaking(&rollcall, &["h2"]).err().unwrap();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    log_with(&rollcall, "a client speaks HTTP/2 alone");
    assert!(Raw::speaking(&rollcall, &["h2", "http/1.1"]).is_ok());
}

#[test]
fn who_does_not_accept_the_certificate_is_named_in_the_log() {
    let (rollcall, other) = (Rollcall::up(&[]), Rollcall::up(&[]));
    for _ in 0..2 {
        // It trusts the authority of the other one.
        let error = Raw::over(&other, tcp(rollcall.port)).err().unwrap();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let log = log_with(&rollcall, "a client does not accept the certificate of this server");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains(&format!("listener=\"https://127.0.0.1:{}\"", rollcall.port)), "{log}");
    let status = rollcall.status();
    assert!(status.contains("tls/ca.pem, which clients must trust"), "{status}");
}

#[test]
fn a_proxy_header_that_nobody_expects_is_named_in_the_log() {
    let v1 = format!("PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n{GET}");
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x10\0\0\x50";
    for header in [v1.as_bytes(), &[v2, GET.as_bytes()].concat()] {
        let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
        let said = "a header of the PROXY protocol came to a listener that does not expect one";
        let answered = answer(rollcall.plain_port, header);
        assert!(answered.starts_with("HTTP/1.1 400 "), "{answered}");
        assert!(answered.contains("this listener does not expect one"), "{answered}");
        assert!(log_with(&rollcall, said).contains("http://127.0.0.1:"));
        assert_eq!(answer(rollcall.port, header), "");
        until("both are said", || (rollcall.log().matches(said).count() == 2).then_some(()));
        assert!(rollcall.log().contains("proxy_protocol = true"), "{}", rollcall.log());
    }
}
