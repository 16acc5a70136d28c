//! A server that takes CDRs, and one who writes them.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use serde_json::Value;

use super::super::harness::{Answer, Rollcall};

pub const USER: &str = "rc-user";
pub const PASSWORD: &str = "rc-pass";

/// A running server that takes CDRs at a port of its own, with these further flags.
pub fn taking(args: &[&str]) -> Rollcall {
    let mut rollcall = Rollcall::down();
    take(&mut rollcall, args);
    rollcall.start();
    rollcall
}

/// The flags of a server that takes CDRs.
pub fn take(rollcall: &mut Rollcall, args: &[&str]) {
    let file = rollcall.dir.path().join("cdrs.password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let mut all = vec!["--cdrs-listen", "127.0.0.1:0", "--cdrs-user", USER];
    all.extend(["--cdrs-password-file", file.to_str().unwrap()]);
    all.extend(args);
    rollcall.set_args(&all);
}

/// Sends a request, its header in this order, and reads the answer.
pub fn request(
    port: u16,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in headers {
        write!(bytes, "{name}: {value}\r\n").unwrap();
    }
    bytes += "\r\n";
    stream.write_all(&[bytes.as_bytes(), body].concat()).unwrap();
    answer(&mut stream)
}

/// An answer with a length, or without a body.
fn answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&part[..read]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = http::HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, value.parse().unwrap());
    }
    let length =
        headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        let read = stream.read(&mut part).unwrap();
        assert!(read > 0, "the body is cut off");
        body.extend_from_slice(&part[..read]);
    }
    Answer { status, headers, body: String::from_utf8(body).unwrap() }
}

/// Writes lines with the right user and password.
pub fn write(rollcall: &Rollcall, lines: &str) -> Answer {
    write_to(rollcall, "/write?db=cdrs&precision=n&rp=", lines.as_bytes(), &[])
}

/// The same to this target, with further headers.
pub fn write_to(
    rollcall: &Rollcall,
    target: &str,
    body: &[u8],
    headers: &[(&str, &str)],
) -> Answer {
    let length = body.len().to_string();
    let basic = basic(USER, PASSWORD);
    let mut all =
        vec![("Host", "127.0.0.1"), ("Content-Length", &length), ("Authorization", &basic)];
    all.extend(headers);
    request(rollcall.cdr_port, "POST", target, &all, body)
}

pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes()))
}

/// All calls of an account.
pub fn calls(rollcall: &Rollcall, account: &str) -> Vec<Value> {
    let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{account}/Calls"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

/// A call, where it is there.
pub fn call(rollcall: &Rollcall, account: &str, sid: &str) -> Option<Value> {
    let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{account}/Calls/{sid}"));
    (answer.status == 200).then(|| answer.json())
}

/// A port that nobody listens on at present.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
