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
    for request in [GET, &post, "OPTIONS * HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\n\n", HTTP2] {
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
    // Others who speak no TLS are closed, and no news.
    for junk in [&b"SSH-2.0-OpenSSH_9.6\r\n"[..], b"hello\r\n", b"\x80\x00\x01"] {
        let answer = answer(rollcall.port, junk);
        assert!(!answer.contains("HTTP"), "{answer}");
    }
    assert_eq!(rollcall.log().matches("WARN").count(), 1, "{}", rollcall.log());
    assert_eq!(rollcall.get("", "/livez").status, 200);
}

#[test]
fn tls_on_the_plain_port_is_named_in_the_log() {
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    assert!(Raw::over(&rollcall, tcp(rollcall.plain_port)).is_err());
    let log = log_with(&rollcall, "TLS came to a port of plain HTTP");
    assert!(log.contains(&format!("http://127.0.0.1:{}", rollcall.plain_port)), "{log}");
}

#[test]
fn http_2_is_told_that_it_is_not_spoken() {
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    let told = |answer: &str| {
        assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
        assert!(
            answer.ends_with("{\"msg\":\"HTTP/2 is not spoken here: use HTTP/1.1\"}"),
            "{answer}"
        );
    };
    told(&answer(rollcall.plain_port, HTTP2.as_bytes()));
    // The same within TLS, for one that has not asked what is spoken there.
    let mut tls = Raw::connect(&rollcall);
    tls.send(HTTP2);
    told(&String::from_utf8(tls.rest()).unwrap());
    let log = log_with(&rollcall, "somebody speaks HTTP/2 alone");
    assert!(log.contains("https://") && log.contains("http://"), "{log}");
}

#[test]
fn who_speaks_http_2_alone_over_tls_is_refused_and_named() {
    let rollcall = Rollcall::up(&[]);
    let error = Raw::speaking(&rollcall, &["h2"]).err().unwrap();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    log_with(&rollcall, "somebody speaks HTTP/2 alone");
    assert!(Raw::speaking(&rollcall, &["h2", "http/1.1"]).is_ok());
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
