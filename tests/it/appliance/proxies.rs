//! Proxies and load balancers in front: whose word on where a client is counts, and for what.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

use super::super::api::raw::{Raw, tcp};
use super::super::harness::{A1, Rollcall, TIMEOUT, until};

/// A server that writes its audit log to a file, and also serves plain HTTP.
fn behind(args: &[&str]) -> (Rollcall, PathBuf) {
    let mut rollcall = Rollcall::down();
    let path = rollcall.dir.path().join("audit.log");
    let own = ["--log-audit", path.to_str().unwrap(), "--http-listen", "127.0.0.1:0"];
    rollcall.set_args(&[&own, args].concat());
    rollcall.start();
    (rollcall, path)
}

/// These clients have been seen, in this order; of one that ends with a colon any port.
fn assert_peers(path: &Path, expected: &[&str]) {
    let peers = peers(path);
    assert_eq!(peers.len(), expected.len(), "{peers:?}");
    for (peer, client) in peers.iter().zip(expected) {
        let same = if client.ends_with(':') { peer.starts_with(client) } else { peer == client };
        assert!(same, "{peers:?} and not {expected:?}");
    }
}

/// Where wrong credentials came from, by the audit log, one after the other.
pub fn peers(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let wrong = lines.filter(|line| line["what"] == "authenticate");
    wrong.map(|line| line["peer"].as_str().unwrap().to_owned()).collect()
}

/// A request with a token that nobody has, and these header lines.
fn wrong(lines: &str) -> String {
    format!(
        "GET /v1/Accounts/{A1}/CallCount HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Bearer nobody\r\n{lines}\r\n"
    )
}

/// A connection from an address of this machine.
pub fn tcp_from(from: [u8; 4], port: u16) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).unwrap();
    rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// The status of what comes back for these bytes; 0 for nothing.
fn status(mut stream: TcpStream, bytes: &[u8]) -> u16 {
    // It may be closed before all is sent.
    let _closed = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, rest].concat()
}

const ADDRESSES: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xC3, 0x50, 1, 0xBB];

#[test]
fn the_client_that_a_trusted_proxy_names_is_written_down_and_no_other() {
    let (rollcall, path) = behind(&["--http-trusted-proxies", "127.0.0.1,10.0.0.0/8"]);
    let mut expected = Vec::new();
    for (from, lines, client) in [
        ([127, 0, 0, 1], "X-Forwarded-For: 198.51.100.1, 192.0.2.1, 10.0.0.3\r\n", "192.0.2.1"),
        (
            [127, 0, 0, 1],
            "X-Forwarded-For: 192.0.2.2\r\nx-forwarded-for: 10.0.0.3\r\n",
            "192.0.2.2",
        ),
        (
            [127, 0, 0, 1],
            "Forwarded: for=\"[2001:db8::3]:4711\";proto=https\r\n",
            "[2001:db8::3]:4711",
        ),
        ([127, 0, 0, 1], "X-Forwarded-For: junk\r\n", "127.0.0.1:"),
        ([127, 0, 0, 1], "", "127.0.0.1:"),
        // A peer that is no proxy of ours says nothing of where it is.
        ([127, 0, 0, 2], "X-Forwarded-For: 192.0.2.4\r\n", "127.0.0.2:"),
        ([127, 0, 0, 2], "Forwarded: for=192.0.2.4\r\n", "127.0.0.2:"),
    ] {
        let stream = tcp_from(from, rollcall.plain_port);
        assert_eq!(status(stream, wrong(lines).as_bytes()), 401, "{lines}");
        expected.push(client);
    }
    // The same over TLS, which a proxy may speak, too.
    let mut tls = Raw::connect(&rollcall);
    tls.send(wrong("X-Forwarded-For: 192.0.2.5\r\n"));
    assert_eq!(tls.reply().status, 401);
    expected.push("192.0.2.5");
    assert_peers(&path, &expected);
}

#[test]
fn without_trusted_proxies_nobody_is_believed() {
    let (rollcall, path) = behind(&[]);
    let lines = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n";
    assert_eq!(status(tcp(rollcall.plain_port), wrong(lines).as_bytes()), 401);
    assert!(peers(&path)[0].starts_with("127.0.0.1:"), "{:?}", peers(&path));
}

#[test]
fn wrong_credentials_are_slowed_by_client_and_not_by_proxy() {
    let (rollcall, path) = behind(&["--http-trusted-proxies", "127.0.0.1"]);
    let port = rollcall.plain_port;
    let from = |client: &str| {
        status(tcp(port), wrong(&format!("X-Forwarded-For: {client}\r\n")).as_bytes())
    };
    // Far more than are free of one client: some are refused for it.
    let refused = std::thread::scope(|scope| {
        let all: Vec<_> = (0..30).map(|_| scope.spawn(|| from("192.0.2.1"))).collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|status| *status == 429).count()
    });
    assert!(refused > 0, "nobody was slowed");
    // Free are ten of each.
    assert_eq!(from("192.0.2.2"), 401);
    let lines = rollcall.log();
    assert!(lines.contains("address=192.0.2.1"), "{lines}");
    assert!(!lines.contains("address=127.0.0.1"), "{lines}");
    assert!(peers(&path).iter().any(|peer| peer == "192.0.2.2"));
}

#[test]
fn a_listener_with_the_proxy_protocol_takes_the_client_from_its_header() {
    let (rollcall, path) = behind(&[
        "--http-trusted-proxies",
        "127.0.0.1",
        "--http-proxy-protocol",
        "--proxy-protocol",
    ]);
    let (request, mut expected) = (wrong(""), Vec::new());
    let spoofed = wrong("X-Forwarded-For: 198.51.100.9\r\n");
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let with = |header: &[u8], request: &str| [header, request.as_bytes()].concat();
    for (from, bytes, client) in [
        (here, with(V1, &request), "192.0.2.7:50000"),
        (here, with(&v2(0x21, 0x11, &ADDRESSES), &request), "192.0.2.7:50000"),
        (
            here,
            with(&v2(0x21, 0x11, &[&ADDRESSES[..], &[5, 0, 2, 1, 2]].concat()), &request),
            "192.0.2.7:50000",
        ),
        // The client is not one of the proxies, and cannot say that it is somebody else.
        (here, with(V1, &spoofed), "192.0.2.7:50000"),
        // The balancer itself, as for its health checks.
        (here, with(&v2(0x20, 0, b""), &request), "127.0.0.1:"),
        (here, with(&v2(0x21, 0, b""), &request), "127.0.0.1:"),
        (here, with(b"PROXY UNKNOWN\r\n", &request), "127.0.0.1:"),
        // A balancer that speaks for another proxy.
        (here, with(&v2(0x20, 0, b""), &spoofed), "198.51.100.9"),
        // A stranger's header is read and not believed, and so is what else it says.
        (there, with(V1, &request), "127.0.0.2:"),
        (there, with(&v2(0x21, 0x11, &ADDRESSES), &spoofed), "127.0.0.2:"),
    ] {
        assert_eq!(status(tcp_from(from, rollcall.plain_port), &bytes), 401, "{client}");
        expected.push(client);
    }
    for header in [V1.to_vec(), v2(0x21, 0x11, &ADDRESSES)] {
        let mut stream = tcp(rollcall.port);
        // In two pieces: what follows has to wait for the rest.
        stream.write_all(&header[..20]).unwrap();
        stream.write_all(&header[20..]).unwrap();
        let mut tls = Raw::over(&rollcall, stream).unwrap();
        tls.send(&request);
        assert_eq!(tls.reply().status, 401);
        expected.push("192.0.2.7:50000");
    }
    assert_peers(&path, &expected);
}

#[test]
fn a_connection_without_the_header_that_it_has_to_have_is_closed_and_the_log_says_why() {
    let (rollcall, path) = behind(&[
        "--http-trusted-proxies",
        "127.0.0.1",
        "--http-proxy-protocol",
        "--proxy-protocol",
    ]);
    let request = wrong("");
    for bytes in [
        request.as_bytes(),
        b"PROXY TCP4 192.0.2.7\r\n",
        &[&v2(0x22, 0x11, &ADDRESSES), request.as_bytes()].concat(),
        &[b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", &vec![0; 70_000][..]].concat(),
        &[b"PROXY UNKNOWN ", &vec![b'x'; 70_000][..]].concat(),
    ] {
        assert_eq!(status(tcp(rollcall.plain_port), bytes), 0);
    }
    assert!(Raw::over(&rollcall, tcp(rollcall.port)).is_err(), "TLS began without it");
    let said = "proxy_protocol = true";
    until("the log says so", || rollcall.log().contains(said).then_some(()));
    assert_eq!(
        rollcall.log().matches(said).count(),
        2,
        "once for each listener\n{}",
        rollcall.log()
    );
    assert_eq!(peers(&path), Vec::<String>::new());
    // And one that says nothing at all is closed in its time.
    let mut silent = Rollcall::down();
    silent.set_args(&[
        "--http-listen",
        "127.0.0.1:0",
        "--http-proxy-protocol",
        "--http-trusted-proxies",
        "127.0.0.1",
        "--limits-handshake",
        "50ms",
    ]);
    silent.start();
    assert_eq!(status(tcp(silent.plain_port), b"PROX"), 0);
}
