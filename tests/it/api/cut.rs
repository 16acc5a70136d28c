//! Answers that are cut off: never a part that looks whole.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use super::super::harness::{A1, Rollcall, event, until};
use super::calls_of;
use super::raw::{Raw, tcp};
use super::readers::fat_calls;

const PLAIN: &[&str] = &["--http-listen", "127.0.0.1:0"];

/// A request without the end of its head.
fn head(path: &str, version: &str, token: &str, accept: &str) -> String {
    format!(
        "GET {path} {version}\r\nHost: x\r\nAuthorization: Bearer {token}\r\nAccept: {accept}\r\n"
    )
}

/// How a plain connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    InOrder,
    Reset,
}

/// Everything that comes, and how it ends.
fn all(stream: &mut TcpStream) -> (Vec<u8>, End) {
    let mut read = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (read, End::InOrder),
            Ok(length) => read.extend_from_slice(&buffer[..length]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                return (read, End::Reset);
            }
        }
    }
}

fn asked(rollcall: &Rollcall, request: &str) -> TcpStream {
    let mut stream = tcp(rollcall.plain_port);
    stream.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    stream
}

fn answered(rollcall: &Rollcall, request: &str) -> String {
    let mut stream = asked(rollcall, request);
    let (read, end) = all(&mut stream);
    assert_eq!(end, End::InOrder);
    String::from_utf8_lossy(&read).to_lowercase()
}

#[test]
fn what_looks_whole_in_part_needs_a_protocol_that_says_its_end() {
    let rollcall = Rollcall::up(PLAIN);
    for n in 0..500 {
        assert_eq!(rollcall.post_events(&event(n, "busy")).status, 204);
    }
    let admin = rollcall.admin();
    let changes = format!("/v1/Accounts/{A1}/Calls/changes");
    for (path, accept) in [
        (calls_of(A1, ""), "text/csv"),
        (calls_of(A1, "callStatus=busy&spreadsheet=true"), "text/csv\r\nAccept-Encoding: gzip"),
        (changes.clone(), "application/x-ndjson"),
        (changes.clone(), "*/*"),
        ("/v1/Calls/changes".to_owned(), "*/*"),
    ] {
        for method in ["GET", "HEAD"] {
            let request = head(&path, "HTTP/1.0", &admin, accept).replacen("GET", method, 1);
            let answer = answered(&rollcall, &request);
            assert!(answer.starts_with("http/1.0 426 "), "{path}: {answer}");
            assert!(answer.contains("\r\nupgrade: http/1.1\r\n"), "{answer}");
            assert!(answer.contains("\r\nconnection: upgrade\r\n"), "{answer}");
            assert_eq!(answer.contains("limit="), method == "GET", "{answer}");
        }
        let request = head(&path, "HTTP/1.1", &admin, accept) + "Connection: close\r\n";
        assert!(answered(&rollcall, &request).starts_with("http/1.1 200 "), "{path}");
    }
    // Pages say how long they are, and lists as JSON do not look whole in part.
    let (mut rows, mut cursor) = (0, String::new());
    loop {
        let path = calls_of(A1, &format!("limit=10000&cursor={cursor}"));
        let mut stream = asked(&rollcall, &head(&path, "HTTP/1.0", &admin, "text/csv"));
        let (read, _) = all(&mut stream);
        let text = String::from_utf8(read).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(|value| value.trim().to_owned())
        };
        assert_eq!(field("content-length:"), Some(body.len().to_string()), "{head}");
        assert!(body.len() < 400 * 1024, "{} bytes", body.len());
        rows += body.matches("\r\n").count() - 1;
        let Some(next) = field("x-next-cursor:") else { break };
        cursor = next;
    }
    assert_eq!(rows, 500);
    let list = answered(&rollcall, &head(&calls_of(A1, ""), "HTTP/1.0", &admin, "*/*"));
    assert!(list.starts_with("http/1.0 200 ") && list.ends_with("}]"), "{list}");
    let part =
        answered(&rollcall, &head(&format!("{changes}?limit=10"), "HTTP/1.0", &admin, "*/*"));
    assert!(part.ends_with("\"type\":\"end\"}\n"), "{part}");
}

#[test]
fn a_list_whose_token_ends_in_its_middle_is_reset() {
    let rollcall = Rollcall::up(&[PLAIN, &["--limits-write", "10m"]].concat());
    fat_calls(&rollcall);
    let changes = format!("/v1/Accounts/{A1}/Calls/changes");
    for (path, version, accept) in [
        (calls_of(A1, ""), "HTTP/1.0", "*/*"),
        (calls_of(A1, ""), "HTTP/1.0", "*/*\r\nAccept-Encoding: gzip"),
        (calls_of(A1, "limit=590"), "HTTP/1.0", "*/*"),
        (calls_of(A1, ""), "HTTP/1.1", "text/csv"),
        (calls_of(A1, "limit=590"), "HTTP/1.1", "text/csv"),
        (calls_of(A1, ""), "HTTP/1.1", "text/csv\r\nAccept-Encoding: gzip"),
        (changes.clone(), "HTTP/1.1", "*/*"),
        (format!("{changes}?limit=590"), "HTTP/1.0", "*/*"),
    ] {
        let made = rollcall.ok(&["token", "create", "--account", A1, "--role", "read", "--json"]);
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let token = made["token"].as_str().unwrap();
        let mut stream = asked(&rollcall, &head(&path, version, token, accept));
        let mut begun = [0; 12];
        stream.read_exact(&mut begun).unwrap();
        assert!(begun.ends_with(b" 200"), "{path} {accept}");
        let mut secret = Raw::connect(&rollcall);
        secret.send(head(&path, version, token, accept) + "\r\n");
        assert!(secret.begins().contains(" 200"));
        rollcall.ok(&["token", "revoke", made["id"].as_str().unwrap()]);
        let (rest, end) = all(&mut stream);
        assert_eq!(end, End::Reset, "{path} {version} {accept}");
        assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "{path} {accept}");
        assert!(!secret.ends_in_order(), "{path} {version} {accept}");
    }
}

#[test]
fn a_list_goes_on_for_no_other_token_of_the_same_value() {
    let rollcall = Rollcall::up(&[PLAIN, &["--limits-write", "10m"]].concat());
    fat_calls(&rollcall);
    let value = "a-value-that-two-tokens-have";
    let create = ["token", "create", "--account", A1, "--value", value, "--role"];
    rollcall.ok(&[&create[..], &["read", "--name", "reader"]].concat());
    let mut stream = asked(&rollcall, &head(&calls_of(A1, ""), "HTTP/1.0", value, "*/*"));
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).unwrap();
    assert!(begun.ends_with(b" 200"));
    rollcall.ok(&["token", "revoke", "reader"]);
    // This one may see less.
    rollcall.ok(&[&create[..], &["read-masked"]].concat());
    assert_eq!(all(&mut stream).1, End::Reset);
}

#[test]
fn a_list_that_a_stop_or_the_time_for_writing_cuts_off_is_reset() {
    let mut rollcall = Rollcall::up(&[PLAIN, &["--limits-write", "300ms"]].concat());
    fat_calls(&rollcall);
    let request = head(&calls_of(A1, ""), "HTTP/1.0", &rollcall.admin(), "*/*");
    let mut slow = asked(&rollcall, &request);
    until("the server gives up", || {
        let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
        let open = "rollcall_connections{listener=\"http\"} 0";
        metrics.contains(open).then_some(())
    });
    assert_eq!(all(&mut slow).1, End::Reset);
    rollcall.stop();
    rollcall.set_args(&[PLAIN, &["--limits-write", "10m", "--limits-drain", "200ms"]].concat());
    rollcall.start();
    let request = head(&calls_of(A1, ""), "HTTP/1.0", &rollcall.admin(), "*/*");
    let mut slow = asked(&rollcall, &request);
    slow.read_exact(&mut [0; 12]).unwrap();
    rollcall.stop();
    assert_eq!(all(&mut slow).1, End::Reset);
}
