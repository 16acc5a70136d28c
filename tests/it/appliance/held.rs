//! A listener that somebody else holds, as systemd does: a restart refuses nobody.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::harness::{A1, Rollcall, TIMEOUT, event, have, send, sid, skip, until};
use super::sandbox::handing;

/// Senders at a time.
const SENDERS: u32 = 6;
/// Calls that each of them may bring.
const CALLS_EACH: u32 = 1_000_000;

/// What became of all requests.
#[derive(Default)]
struct Totals {
    acknowledged: AtomicUsize,
    /// Nobody listened.
    refused: AtomicUsize,
    /// No answer came, or another one.
    cut: AtomicUsize,
}

/// Sends events, each over a connection of its own as jambonz does without a pool, until it is over.
/// Returns the calls that were acknowledged.
fn bring(
    rollcall: &Rollcall,
    token: &str,
    first: u32,
    totals: &Totals,
    over: &AtomicBool,
) -> Vec<u32> {
    let deadline = std::time::Instant::now() + 4 * TIMEOUT;
    let mut taken = Vec::new();
    for n in first..first + CALLS_EACH {
        if over.load(Ordering::Relaxed) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "nobody ends this load");
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let url = rollcall.url("/v1/hooks/call-status");
        let body = event(n, "completed");
        match send(&rollcall.new_agent(), "POST", &url, &headers, body.as_bytes()) {
            Ok(answer) if answer.status == 204 => {
                taken.push(n);
                totals.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(ureq::Error::Io(error)) if error.kind() == ErrorKind::ConnectionRefused => {
                totals.refused.fetch_add(1, Ordering::Relaxed);
            }
            other => {
                eprintln!("{other:?}");
                totals.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    taken
}

/// Restarts a server behind a held listener under load, again and again by this signal.
fn restarted_under_load(signal: &str) -> Totals {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut rollcall = Rollcall::down();
    let start = |rollcall: &mut Rollcall| {
        let (command, copies) = handing(rollcall, &[&socket], "https", &[]);
        rollcall.start_with(command);
        drop(copies);
    };
    start(&mut rollcall);
    let (totals, over) = (Totals::default(), AtomicBool::new(false));
    let token = rollcall.admin();
    // A client of its own: the server comes and goes.
    let mut at = Rollcall::down();
    at.trust(&rollcall.ca());
    at.port = rollcall.port;
    let taken: BTreeSet<u32> = std::thread::scope(|scope| {
        let (at, token, totals, over) = (&at, &token, &totals, &over);
        let senders: Vec<_> = (0..SENDERS)
            .map(|n| scope.spawn(move || bring(at, token, n * CALLS_EACH, totals, over)))
            .collect();
        for _ in 0..4 {
            let before = totals.acknowledged.load(Ordering::Relaxed);
            until("events are acknowledged", || {
                (totals.acknowledged.load(Ordering::Relaxed) > before + 30).then_some(())
            });
            if signal == "KILL" {
                rollcall.kill();
            } else {
                rollcall.signal(signal);
                assert_eq!(rollcall.wait(), Some(0), "{}", rollcall.log());
            }
            start(&mut rollcall);
        }
        over.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    let listed = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls")).json();
    let listed = listed.as_array().unwrap().iter().map(|call| call["call_sid"].as_str().unwrap());
    let listed: BTreeSet<&str> = listed.collect();
    let lost: Vec<u32> = taken.iter().copied().filter(|n| !listed.contains(&*sid(*n))).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(rollcall.stop(), Some(0));
    totals
}

#[test]
fn a_restart_behind_a_held_listener_refuses_nobody_and_answers_every_accepted_connection() {
    if !have("bash") {
        return;
    }
    let Totals { acknowledged, refused, cut } = restarted_under_load("TERM");
    let (refused, cut) = (refused.into_inner(), cut.into_inner());
    assert_eq!((refused, cut), (0, 0), "of {}", acknowledged.into_inner());
}

#[test]
fn a_kill_behind_a_held_listener_refuses_nobody_and_loses_nothing_acknowledged() {
    if !have("bash") {
        return;
    }
    let Totals { acknowledged, refused, cut } = restarted_under_load("KILL");
    let (taken, cut) = (acknowledged.into_inner(), cut.into_inner());
    assert_eq!(refused.into_inner(), 0, "{taken} were taken, {cut} were cut");
    // Whatever was in the middle of it, and no more.
    assert!(cut <= 4 * SENDERS as usize, "{cut} were cut, {taken} taken");
}

#[test]
fn the_log_says_who_holds_the_listener_and_that_the_configuration_says_otherwise() {
    if !have("bash") {
        return;
    }
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut rollcall = Rollcall::down();
    let (command, copies) = handing(&rollcall, &[&socket], "https", &[]);
    rollcall.start_with(command);
    drop(copies);
    let log = rollcall.log();
    assert!(log.contains("the service manager holds the listener"), "{log}");
    assert!(log.contains("listen = 127.0.0.1:1 is not listened on"), "{log}");
    assert!(log.contains(&address.to_string()), "{log}");
    assert_eq!(rollcall.stop(), Some(0));
    // The same address: nothing is amiss.
    let (mut command, copies) = handing(&rollcall, &[&socket], "https", &[]);
    command.env("ROLLCALL_LISTEN", address.to_string());
    rollcall.start_with(command);
    drop(copies);
    let log = rollcall.log();
    assert_eq!(log.matches("holds the listener").count(), 2, "{log}");
    assert_eq!(log.matches("is not listened on").count(), 1, "{log}");
    assert_eq!(rollcall.stop(), Some(0));
}

/// A socket that lets one connection wait.
fn narrow() -> TcpListener {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
    rustix::net::listen(&socket, 1).unwrap();
    TcpListener::from(socket)
}

#[test]
fn ten_seconds_of_connections_wait_for_a_server_that_stands_still() {
    const WAITING: usize = 2100;
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if !have("bash") || most.trim().parse::<usize>().unwrap() < WAITING {
        skip("net.core.somaxconn lets too few wait");
        return;
    }
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let needed = WAITING as u64 + 1000;
    if current.is_some_and(|current| current < needed)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_err()
    {
        skip("too few files may be open");
        return;
    }
    for activated in [false, true] {
        let mut rollcall = Rollcall::down();
        if activated {
            let socket = narrow();
            let (command, copies) = handing(&rollcall, &[&socket], "https", &[]);
            rollcall.start_with(command);
            drop(copies);
        } else {
            rollcall.start();
        }
        rollcall.signal("STOP");
        let address = SocketAddr::from(([127, 0, 0, 1], rollcall.port));
        let connect = || TcpStream::connect_timeout(&address, TIMEOUT).unwrap();
        let waiting: Vec<TcpStream> = (0..WAITING).map(|_| connect()).collect();
        rollcall.signal("CONT");
        drop(waiting);
        assert_eq!(rollcall.get("", "/livez").status, 200);
        assert_eq!(rollcall.stop(), Some(0));
    }
}
