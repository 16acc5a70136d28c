//! What the units forbid, and that rollcall does not miss it: system calls, and a network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;

use super::super::control::create;
use super::super::harness::{
    A1, Printed, ROLLCALL, Rollcall, event, have, print, sid, skip, until,
};
use super::units::source;

/// A command that runs the server under strace, which follows it and is not its parent.
fn traced(rollcall: &Rollcall, trace: &Path, calls: &str, args: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-q", "-e", &format!("trace={calls}"), "-o"]).arg(trace);
    command.args([ROLLCALL, "serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(rollcall.data());
    command.args(args);
    command
}

/// Ends the server, and returns what strace saw once that has ended too.
fn stop(rollcall: &mut Rollcall, trace: &Path) -> String {
    let ended = format!("{} +++ exited with 0 +++", rollcall.pid());
    assert_eq!(rollcall.stop(), Some(0));
    until("strace has written all", || {
        let text = std::fs::read_to_string(trace).unwrap();
        let spaced = text.lines().any(|line| line.split_whitespace().eq(ended.split(' ')));
        spaced.then_some(text)
    })
}

/// What a server does in its life: hooks, lists of all shapes, bad requests, a reload, a new index, and
/// all that an admin asks of it.
fn live(rollcall: &Rollcall) {
    let admin = rollcall.admin();
    let calls = format!("/v1/Accounts/{A1}/Calls");
    for round in 0..20 {
        let events: Vec<String> = (0..50).map(|n| event(round * 50 + n, "in-progress")).collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        assert_eq!(rollcall.post_events(&event(round, "completed")).status, 204);
        assert_eq!(rollcall.get(&admin, &format!("{calls}?limit=10")).status, 200);
    }
    let bearer = format!("Bearer {admin}");
    let headers = [("authorization", bearer.as_str()), ("accept", "text/csv")];
    assert_eq!(rollcall.send("GET", &calls, &headers, b"").unwrap().status, 200);
    let headers = [("authorization", bearer.as_str()), ("accept-encoding", "gzip")];
    // The harness reads texts, and this is none.
    assert!(rollcall.send("GET", &calls, &headers, b"").is_err());
    assert_eq!(rollcall.get("nobody", &calls).status, 401);
    let deleted = rollcall.ask("DELETE", &admin, &format!("{calls}/{}", sid(3))).status;
    assert!([204, 404].contains(&deleted), "{deleted}");
    // No feature server is configured, or nobody listens there.
    let made = create(rollcall, "").status;
    assert!([480, 500].contains(&made), "{made}");
    rollcall.signal("HUP");
    until("it has reloaded", || rollcall.log().contains("has been read again").then_some(()));
    for args in [
        &["rebuild"][..],
        &["check"],
        &["export"],
        &["status"],
        &["token", "list"],
        &["compact", "--drop-history"],
        &["expire"],
        &["purge", "--number", "+15550000019"],
        &["cert", "renew"],
    ] {
        rollcall.ok(args);
    }
    let backups = tempfile::tempdir().unwrap();
    let target = backups.path().join("copy");
    rollcall.ok(&["backup", target.to_str().unwrap()]);
    rollcall.ok(&["verify", target.to_str().unwrap()]);
}

/// Adds the system call of this name, or all of the set of this name.
fn expand(sets: &BTreeMap<String, Vec<String>>, name: &str, into: &mut BTreeSet<String>) {
    if let Some(members) = sets.get(name) {
        for member in members {
            expand(sets, member, into);
        }
    } else {
        assert!(!name.starts_with('@'), "{name} is no set");
        into.insert(name.to_owned());
    }
}

/// The system calls that a unit lets through.
fn allowed(unit: &str) -> BTreeSet<String> {
    let printed = print(Command::new("systemd-analyze").arg("syscall-filter"), b"");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in printed.stdout.lines() {
        let word = line.trim();
        if line.starts_with('@') {
            word.clone_into(&mut current);
        } else if !word.is_empty() && !word.starts_with('#') {
            sets.entry(current.clone()).or_default().push(word.to_owned());
        }
    }
    let mut allowed = BTreeSet::new();
    let unit = source(unit);
    for line in unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")) {
        let mut named = BTreeSet::new();
        for name in line.trim_start_matches('~').split(' ') {
            expand(&sets, name, &mut named);
        }
        if line.starts_with('~') {
            allowed.retain(|call| !named.contains(call));
        } else {
            allowed.append(&mut named);
        }
    }
    // systemd lets these through in any case.
    expand(&sets, "@default", &mut allowed);
    assert!(allowed.contains("fdatasync") && !allowed.contains("mount"), "{allowed:?}");
    allowed
}

/// The names of all system calls of a trace.
fn called(trace: &str) -> BTreeSet<String> {
    let name = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start();
        let call = call.strip_prefix("<... ").unwrap_or(call);
        let end = call.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
        (end > 0).then(|| call[..end].to_owned())
    };
    trace.lines().filter_map(name).collect()
}

/// What was changed in the file system beside these directories.
fn changed_beyond<'a>(trace: &'a str, dirs: &[&Path]) -> Vec<&'a str> {
    const CHANGES: [&str; 8] =
        ["mkdir", "rename", "link", "unlink", "symlink", "chmod", "rmdir", "truncate"];
    const WRITES: [&str; 3] = ["O_WRONLY", "O_RDWR", "O_CREAT"];
    let changes = |line: &&str| {
        let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
        let opens = call.starts_with("open") && WRITES.iter().any(|flag| call.contains(flag));
        opens || CHANGES.iter().any(|name| call.starts_with(name))
    };
    let beyond = |line: &&str| {
        let paths = line.split('"').skip(1).step_by(2).filter(|path| path.starts_with('/'));
        let mut others =
            paths.filter(|path| !dirs.iter().any(|dir| Path::new(path).starts_with(dir)));
        others.any(|path| path != "/dev/null")
    };
    let all: Vec<&str> = trace.lines().filter(changes).collect();
    assert!(all.iter().any(|line| line.contains(".log\"")), "nothing was seen: {all:?}");
    all.into_iter().filter(beyond).collect()
}

#[test]
fn the_backup_unit_lets_its_command_do_what_it_does() {
    if !have("strace") || !have("systemd-analyze") {
        return;
    }
    let mut rollcall = Rollcall::up(&[]);
    let (trace, backups) = (rollcall.dir.path().join("trace"), rollcall.dir.path().join("copies"));
    let etc = rollcall.dir.path().join("rollcall.toml");
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml"), &etc).unwrap();
    let unit = source("rollcall-backup.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let line = line.replace("/var/backups/rollcall", backups.to_str().unwrap());
    let line = line.replace("${CONFIGURATION_DIRECTORY}", rollcall.dir.path().to_str().unwrap());
    let line = line.replace("${STATE_DIRECTORY}", rollcall.data().to_str().unwrap());
    assert!(!line.contains('$') && line.contains(" --keep 14 "), "{line}");
    let allowed = allowed("rollcall-backup.service");
    // By a server, and where none is up.
    for up in [true, false] {
        // Copies are named by the second, and one is never written over another.
        std::fs::create_dir(&backups).unwrap();
        if up {
            assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
        } else {
            assert_eq!(rollcall.stop(), Some(0));
        }
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-o"]).arg(&trace).arg(ROLLCALL).args(line.split(' ').skip(1));
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(0), "{printed:?}");
        let text = std::fs::read_to_string(&trace).unwrap();
        let seen = called(&text);
        let beyond: Vec<&String> = seen.difference(&allowed).collect();
        assert!(seen.len() > 30 && beyond.is_empty(), "the unit forbids {beyond:?}");
        assert_eq!(changed_beyond(&text, &[rollcall.data(), &backups]), Vec::<&str>::new());
        assert!(!text.contains("socket(AF_INET"), "it has no network");
        assert_eq!(std::fs::read_dir(&backups).unwrap().count(), 1);
        std::fs::remove_dir_all(&backups).unwrap();
    }
}

#[test]
fn the_unit_lets_every_system_call_through_that_a_life_takes() {
    if !have("strace") || !have("systemd-analyze") {
        return;
    }
    let mut rollcall = Rollcall::down();
    let trace = rollcall.dir.path().join("trace");
    let mut seen = BTreeSet::new();
    // The first start makes everything; the second finds no index, and an unclean stop.
    let command = traced(&rollcall, &trace, "all", &["--demo", "--http-listen", "127.0.0.1:0"]);
    rollcall.start_with(command);
    live(&rollcall);
    let text = stop(&mut rollcall, &trace);
    assert_eq!(changed_beyond(&text, &[rollcall.data()]), Vec::<&str>::new());
    seen.append(&mut called(&text));
    rollcall.start();
    rollcall.kill();
    std::fs::remove_file(rollcall.data().join("CURRENT")).unwrap();
    let command = traced(&rollcall, &trace, "all", &[]);
    rollcall.start_with(command);
    seen.append(&mut called(&stop(&mut rollcall, &trace)));
    // The log of a service is a socket or a file, and its readers are told what goes on.
    assert!(seen.len() > 40 && seen.contains("fdatasync") && seen.contains("accept4"), "{seen:?}");
    let allowed = allowed("rollcall.service");
    let beyond: Vec<&String> = seen.difference(&allowed).collect();
    assert!(beyond.is_empty(), "the unit forbids {beyond:?}");
}

/// Where a traced server connected to or sent to by an address, but for unix sockets.
fn reached(trace: &str) -> Vec<&str> {
    let outward = ["connect(", "sendto(", "sendmsg(", "sendmmsg("];
    let lines = trace.lines().filter(|line| outward.iter().any(|call| line.contains(call)));
    lines.filter(|line| line.contains("sa_family=AF_") && !line.contains("AF_UNIX")).collect()
}

#[test]
fn nothing_is_connected_to_but_what_is_configured() {
    if !have("strace") {
        return;
    }
    let calls = "socket,connect,sendto,sendmsg,sendmmsg";
    let mut rollcall = Rollcall::down();
    let trace = rollcall.dir.path().join("trace");
    let command = traced(&rollcall, &trace, calls, &["--demo"]);
    rollcall.start_with(command);
    live(&rollcall);
    let text = stop(&mut rollcall, &trace);
    assert_eq!(reached(&text), Vec::<&str>::new());
    assert!(text.contains("socket(AF_INET, SOCK_STREAM"), "its own listener was seen");
    // The same server with one feature server goes there and nowhere else.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    drop(server);
    let url = format!("http://127.0.0.1:{port}");
    let command = traced(&rollcall, &trace, calls, &["--feature-servers-urls", &url]);
    rollcall.start_with(command);
    live(&rollcall);
    let text = stop(&mut rollcall, &trace);
    let reached = reached(&text);
    let there = |line: &&str| line.contains(&format!("htons({port})"));
    assert!(!reached.is_empty() && reached.iter().all(there), "{reached:?}");
}

/// A command that hands these sockets to the server by the way of systemd, `wrap` before it.
pub(super) fn handing(
    rollcall: &Rollcall,
    sockets: &[&TcpListener],
    names: &str,
    wrap: &[&str],
) -> (Command, Vec<OwnedFd>) {
    // Copies that a child inherits, far from the numbers that they are to have there.
    let copy = |socket: &&TcpListener| {
        let copy = rustix::io::fcntl_dupfd_cloexec(socket.as_fd(), 100).unwrap();
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
        copy
    };
    let copies: Vec<OwnedFd> = sockets.iter().map(copy).collect();
    let moves = (3..).zip(&copies).map(|(to, from)| format!(" {to}<&{}", from.as_raw_fd()));
    let moves: String = moves.collect();
    let mut command = Command::new("bash");
    command.args(["-c", &format!("LISTEN_PID=$$ exec \"$@\"{moves}"), "bash"]).args(wrap);
    command.args([ROLLCALL, "serve", "--data-dir"]).arg(rollcall.data());
    command.env("ROLLCALL_LISTEN", "127.0.0.1:1");
    command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names);
    (command, copies)
}

#[test]
fn a_server_without_a_network_answers_on_the_sockets_that_it_is_activated() {
    if !have("bash") || !have("unshare") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can make a network of its own");
        return;
    }
    let (tls, plain) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
    let (tls, plain) = (tls.unwrap(), plain.unwrap());
    let mut rollcall = Rollcall::down();
    let (mut command, copies) =
        handing(&rollcall, &[&plain, &tls], "http:https", &["unshare", "-n"]);
    command.arg("--demo");
    rollcall.start_with(command);
    drop(copies);
    assert_eq!(rollcall.port, tls.local_addr().unwrap().port());
    let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_ne!(network("self"), network(&rollcall.pid().to_string()));
    live(&rollcall);
    let url = format!("http://{}/readyz", plain.local_addr().unwrap());
    assert_eq!(ureq::get(&url).call().unwrap().status(), 200);
    // One more start takes the same sockets: connections wait for it meanwhile.
    assert_eq!(rollcall.stop(), Some(0));
    let (command, copies) = handing(&rollcall, &[&plain, &tls], "http:https", &["unshare", "-n"]);
    rollcall.start_with(command);
    drop(copies);
    assert!(rollcall.figures().contains("\"running\":true"));
    assert_eq!(rollcall.get("", "/readyz").status, 200);
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_socket_that_cannot_be_served_ends_the_start_and_is_named() {
    if !have("bash") {
        return;
    }
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let rollcall = Rollcall::down();
    let refused = |sockets: &[&TcpListener], names: &str| -> Printed {
        let (mut command, copies) = handing(&rollcall, sockets, names, &[]);
        let printed = print(&mut command, b"");
        drop(copies);
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(2), ""), "{printed:?}");
        assert!(!rollcall.data().exists(), "nothing was made");
        printed
    };
    let said = refused(&[&socket], "htps").stderr;
    assert!(said.contains("`htps`") && said.contains("one of `https`, `http`"), "{said}");
    let said = refused(&[&socket, &socket], "https").stderr;
    assert!(said.contains("names 1 sockets and LISTEN_FDS is 2"), "{said}");
    let connected = std::net::TcpStream::connect(socket.local_addr().unwrap()).unwrap();
    let connected = TcpListener::from(OwnedFd::from(connected));
    let said = refused(&[&connected], "https").stderr;
    assert!(said.contains("`https` cannot be served: it does not listen"), "{said}");
}

#[test]
fn plain_http_on_a_socket_that_others_reach_is_refused_like_an_address() {
    if !have("bash") {
        return;
    }
    let (tls, open) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("0.0.0.0:0"));
    let (tls, open) = (tls.unwrap(), open.unwrap());
    let mut rollcall = Rollcall::down();
    let (mut command, _copies) = handing(&rollcall, &[&tls, &open], "https:http", &[]);
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("http.allow_remote"), "{printed:?}");
    let (mut command, _copies) = handing(&rollcall, &[&tls, &open], "https:http", &[]);
    command.arg("--http-allow-remote");
    rollcall.start_with(command);
    let url = format!("http://127.0.0.1:{}/readyz", open.local_addr().unwrap().port());
    assert_eq!(ureq::get(&url).call().unwrap().status(), 200);
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let mut rollcall = Rollcall::down();
    let mut command = rollcall.serve_command();
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "https");
    rollcall.start_with(command);
    assert_eq!(rollcall.get("", "/readyz").status, 200);
    assert_eq!(rollcall.stop(), Some(0));
}
