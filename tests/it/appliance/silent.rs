//! A client that connects and says nothing, or not enough, keeps nobody out: on the admin socket, from
//! scrapes, and from looks at the server's health.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::super::harness::{ROLLCALL, Rollcall, event, until};

/// What a plain GET is answered with; a status of 0 where the connection ends without one.
fn get(port: u16, path: &str) -> u16 {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let answer = agent.get(format!("http://127.0.0.1:{port}{path}")).call();
    answer.map_or(0, |answer| answer.status().as_u16())
}

/// Connections that have sent so much, and wait.
fn waiting(port: u16, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    (0..count).map(connect).collect()
}

#[test]
fn silent_connections_to_the_admin_socket_keep_no_command_out() {
    let rollcall = Rollcall::up(&[]);
    let socket = rollcall.data().join("admin.sock");
    let mut held = Vec::new();
    for begin in [&b""[..], b"Q", b"Q\0\0", b"Q\0\x3f\xff\xff", b"Q\0\x3f\xff\xff{\"Status"] {
        for _ in 0..70 {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.write_all(begin).unwrap();
            held.push(stream);
        }
        assert!(rollcall.status().starts_with("server           running"), "{begin:?}");
        assert_eq!(rollcall.ok(&["token", "list", "--json"]).matches("\"id\"").count(), 1);
    }
    // What is no request ends at once, and alone.
    for strange in [&b"D\0\0\0\x01x"[..], b"Q\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(strange).unwrap();
        let mut answer = Vec::new();
        let _reset = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert_eq!(answer, b"");
    }
    drop(held);
    assert!(rollcall.ok(&["export"]).is_empty());
}

#[test]
fn imports_that_bring_nothing_keep_no_quick_command_out() {
    let rollcall = Rollcall::up(&[]);
    let importing = || {
        let mut command = Command::new(ROLLCALL);
        command.args(["import", "--data-dir"]).arg(rollcall.data());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut imports: Vec<_> = (0..20).map(|_| importing()).collect();
    let connected = |pid: u32| {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let links = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count() > 0
    };
    for import in &imports {
        until("it is connected", || connected(import.id()).then_some(()));
    }
    assert!(rollcall.status().starts_with("server           running"));
    assert!(rollcall.ok(&["token", "create", "--admin"]).len() > 20);
    // And they go on, once there is something to import.
    for (n, import) in (0..).zip(&mut imports) {
        let mut input = import.stdin.take().unwrap();
        input.write_all(event(n, "completed").as_bytes()).unwrap();
    }
    for mut import in imports {
        assert_eq!(import.wait().unwrap().code(), Some(0));
    }
    assert_eq!(rollcall.ok(&["export"]).lines().count(), 20);
}

#[test]
fn silent_connections_keep_no_scrape_and_no_look_at_the_health_out() {
    let rollcall = Rollcall::up(&[
        "--http-listen",
        "127.0.0.1:0",
        "--metrics-listen",
        "127.0.0.1:0",
        "--limits-connections",
        "8",
    ]);
    for bytes in [
        &b""[..],
        b"GET /metrics HTTP/1.1\r\nHo",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
    ] {
        let held = waiting(rollcall.metrics_port, 20, bytes);
        assert_eq!(get(rollcall.metrics_port, "/metrics"), 200, "{bytes:?}");
        drop(held);
    }
    for bytes in [
        &b""[..],
        b"GET /livez HTTP/1.1\r\nHo",
        b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
    ] {
        let held = waiting(rollcall.plain_port, 20, bytes);
        assert_eq!(get(rollcall.plain_port, "/livez"), 200, "{bytes:?}");
        assert_eq!(get(rollcall.plain_port, "/readyz"), 200, "{bytes:?}");
        drop(held);
        let held = waiting(rollcall.port, 20, b"");
        assert_eq!(rollcall.get("", "/livez").status, 200);
        drop(held);
    }
}
