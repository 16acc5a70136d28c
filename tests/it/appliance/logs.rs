//! The log: what it says, and what it never says.

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use super::super::harness::{A1, PATIENCE, Rollcall, event, print, sid, skip, until};
use super::binary;

const HOOK: &str = "/v1/hooks/call-status";
/// As they may come: with a plus and without, with zeros before, as part of an address.
const NUMBERS: [&str; 4] =
    ["+4915199998801", "15551239802", "00441632998803", "sip:13125559804@10.0.0.9:5060"];
/// The digits of those that must not be seen.
const DIGITS: [&str; 4] = ["49151999988", "155512398", "4416329988", "131255598"];

/// Sends what holds numbers wherever a request can hold one.
fn talk(rollcall: &Rollcall, token: &str) {
    let bearer = format!("Bearer {token}");
    for (n, number) in (1..).zip(NUMBERS) {
        let events = event(n, "ringing").replace(&format!("+1555{n:07}"), number);
        assert_eq!(rollcall.post_events(&events).status, 204);
        let plain = number.trim_start_matches("sip:").split('@').next().unwrap();
        let plain = plain.trim_start_matches('+');
        let own = format!("call_{plain}");
        let id = [("authorization", &*bearer), ("x-request-id", &*own)];
        for path in [
            format!("/v1/Accounts/{A1}/Calls?from={plain}&limit=1"),
            format!("/v1/Accounts/{A1}/Calls/{plain}"),
            format!("/v1/Accounts/{A1}/Calls?cursor={plain}"),
            format!("/{plain}"),
        ] {
            rollcall.send("GET", &path, &id, b"").unwrap();
        }
        let broken = format!("{{\"from\":\"{number}\",\"call_status\":{number}}}");
        assert_eq!(rollcall.post_events(&broken).status, 400);
        let wrong = format!("Bearer {plain}{plain}");
        let wrong = [("authorization", &*wrong), ("x-request-id", plain)];
        rollcall.send("GET", &format!("/v1/Accounts/{plain}/Calls"), &wrong, b"").unwrap();
        rollcall.send("POST", HOOK, &wrong, b"{}").unwrap();
    }
    // So many that no machine answers within a millisecond.
    let many: Vec<String> = (100..2100).map(|n| event(n, "ringing")).collect();
    assert_eq!(rollcall.post_events(&many.join("\n")).status, 204);
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    assert_eq!(rollcall.ask("DELETE", token, &path).status, 204);
    rollcall.run(&["list", "--account", A1, "--from", NUMBERS[0]]);
    rollcall.run(&["token", "revoke", token]);
}

#[test]
fn neither_numbers_nor_tokens_are_in_the_log() {
    for format in ["human", "json"] {
        let rollcall = Rollcall::up(&["--log-slow", "1ms", "--log-format", format]);
        let token = rollcall.token(&["--account", A1]);
        talk(&rollcall, &token);
        let log = rollcall.log();
        // It was there to be seen: the deeds, the slow answers, and masked ids of requests.
        for said in ["call delete", "token create", "authenticate", "slow", "***01"] {
            assert!(log.contains(said), "{said}");
        }
        for hidden in DIGITS.into_iter().chain([&*token, &rollcall.admin(), "Bearer"]) {
            assert!(!log.contains(hidden), "{hidden}");
        }
    }
    let rollcall = Rollcall::up(&["--log-slow", "1ms", "--log-numbers", "full"]);
    talk(&rollcall, &rollcall.token(&["--account", A1]));
    assert!(rollcall.log().contains("4915199998801"), "they are whole where that is wanted");
}

#[test]
fn a_request_is_one_line_at_debug() {
    let rollcall = Rollcall::up(&["--log-level", "debug", "--log-format", "json"]);
    let token = rollcall.token(&["--account", A1]);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("x-request-id", "this-very-one")];
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    assert_eq!(rollcall.send("GET", &path, &headers, b"").unwrap().status, 404);
    let listed: serde_json::Value =
        serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap();
    let listed = listed.as_array().unwrap().iter().find(|listed| listed["name"].is_null()).unwrap();
    let line = until("the line", || {
        let log = rollcall.log();
        let line = log.lines().find(|line| line.contains("this-very-one"))?;
        Some(serde_json::from_str::<serde_json::Value>(line).unwrap())
    });
    let (fields, span) = (&line["fields"], &line["span"]);
    assert_eq!((&line["level"], &fields["status"]), (&"DEBUG".into(), &404.into()), "{line}");
    assert_eq!(fields["method"], "GET");
    assert_eq!(fields["path"], "/v1/Accounts/{AccountSid}/Calls/{CallSid}");
    assert!(fields["micros"].as_u64().is_some_and(|micros| micros > 0), "{line}");
    assert_eq!((&span["account"], &span["token"]), (&A1.into(), &listed["id"]), "{line}");
    assert_eq!(rollcall.log().matches("this-very-one").count(), 1, "{}", rollcall.log());
}

#[test]
fn the_systemd_journal_gets_every_value_as_a_field() {
    let rollcall = Rollcall::down();
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        let mut command = rollcall.serve_command();
        let printed = print(command.args(["--log-format", "journald"]), b"");
        assert_eq!(printed.code, Some(1), "{printed:?}");
        let said = "log.format is \"journald\", and the systemd journal does not listen";
        assert!(printed.stderr.contains(said), "{printed:?}");
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can change the root directory");
        return;
    }
    let mut rollcall = rollcall;
    let root = rollcall.dir.path().to_owned();
    std::fs::create_dir_all(root.join("run/systemd/journal")).unwrap();
    let socket = UnixDatagram::bind(root.join("run/systemd/journal/socket")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // By another process: a file that this one has open for writing cannot be run by a child that
    // another test has just forked.
    let copied = Command::new("cp").arg(binary()).arg(root.join("rollcall")).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new("chroot");
    command.arg(&root).args(["/rollcall", "serve", "--listen", "127.0.0.1:0"]);
    command.args(["--data-dir", "/data", "--log-format", "journald"]);
    rollcall.start_with(command);
    rollcall.ok(&["check"]);
    let mut buffer = vec![0; 64 * 1024];
    let entry = until("the deed", || {
        let length = socket.recv(&mut buffer).unwrap();
        let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
        entry.contains("socket uid").then_some(entry)
    });
    for (name, value) in [
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "rollcall"),
        ("TARGET", "audit"),
        ("ROLLCALL_WHAT", "check"),
        ("ROLLCALL_OUTCOME", "done"),
    ] {
        // The journal's own protocol: the name, the length in eight bytes, the value.
        let length = (value.len() as u64).to_le_bytes();
        let field = format!("{name}\n{}{value}\n", String::from_utf8_lossy(&length));
        assert!(entry.contains(&field), "{name}={value}: {entry}");
    }
}

#[test]
fn a_log_that_cannot_be_written_stops_nobody() {
    let mut rollcall = Rollcall::down();
    rollcall.set_args(&["--log-level", "debug", "--store-checkpoint-interval", "20ms"]);
    let serve = rollcall.serve_command();
    let mut command = Command::new("bash");
    command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"]);
    command.arg(serve.get_program()).args(serve.get_args());
    rollcall.start_with(command);
    for n in 1..=20 {
        assert_eq!(rollcall.post_events(&event(n, "busy")).status, 204, "{n}");
    }
    assert_eq!(
        rollcall
            .get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"))
            .json()
            .as_array()
            .unwrap()
            .len(),
        20
    );
    assert_eq!(rollcall.stop(), Some(0));
}
