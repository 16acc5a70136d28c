//! The audit log.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::super::harness::{A1, ROLLCALL, Rollcall, event, have, print, sid, until};

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(lines: &'a [Value], what: &str) -> &'a Value {
    let found = lines.iter().find(|line| line["what"] == what);
    found.unwrap_or_else(|| panic!("no {what} in {lines:?}"))
}

/// A server that writes its audit log to a file beside its data.
fn audited() -> (Rollcall, std::path::PathBuf) {
    let mut rollcall = Rollcall::down();
    let path = rollcall.dir.path().join("audit.log");
    rollcall.set_args(&["--log-audit", path.to_str().unwrap()]);
    rollcall.start();
    (rollcall, path)
}

#[test]
fn audit_events_are_written_down_with_who_what_and_how_it_went_and_without_secrets() {
    let (rollcall, path) = audited();
    let secret = "hush-hush-hush-hush";
    let token =
        rollcall.token(&["--account", A1, "--value", "aaaaaaaa-1111-4111-8111-aaaaaaaaaaa1"]);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", secret, "--name", "Somebody"]);
    assert_eq!(rollcall.run(&["token", "revoke", secret]).code, Some(1));
    rollcall.status();
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let call = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    assert_eq!(rollcall.ask("DELETE", &token, &call).status, 204);
    assert_eq!(rollcall.get("guessed-it-have-i", &call).status, 401);
    let lines = lines(&path);
    let socket = format!("socket uid {}", rustix::process::geteuid().as_raw());
    let made = of(&lines, "token create");
    assert_eq!((&made["who"], &made["outcome"]), (&socket.into(), &"done".into()));
    let object = made["object"].as_str().unwrap();
    assert!(object.starts_with("token ") && object.contains(A1) && object.contains("full"));
    let id = object.split([' ', ',']).nth(1).unwrap();
    assert_eq!(of(&lines, "account set")["object"], format!("account {A1}"));
    assert_eq!(of(&lines, "token revoke")["outcome"], "failed");
    let deleted = of(&lines, "call delete");
    assert_eq!(deleted["who"], format!("token {id}"));
    assert_eq!(deleted["object"], format!("account {A1}, call {}", sid(1)));
    let wrong = of(&lines, "authenticate");
    assert_eq!((&wrong["who"], &wrong["outcome"]), (&"nobody".into(), &"refused".into()));
    assert!(wrong["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{wrong}");
    assert_eq!(wrong["object"], "/v1/Accounts/{AccountSid}/Calls/{CallSid}");
    assert_eq!(lines.len(), 5, "{lines:?}");
    assert!(lines.iter().all(|line| line["at"].as_str().unwrap().ends_with('Z')));
    let text = std::fs::read_to_string(&path).unwrap();
    for hidden in [secret, &token, "guessed", "Somebody"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!rollcall.log().contains("call delete"), "it is in one place");
}

#[test]
fn a_command_without_a_server_is_a_audit_event_too() {
    let (mut rollcall, path) = audited();
    assert_eq!(rollcall.stop(), Some(0));
    let args = ["token", "create", "--admin", "--name", "x"];
    let mut command = Command::new(ROLLCALL);
    command.args(args).arg("--data-dir").arg(rollcall.data()).env("ROLLCALL_LOG_AUDIT", &path);
    assert!(command.output().unwrap().status.success());
    let lines = lines(&path);
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(of(&lines, "token create")["who"], format!("command uid {uid}"));
}

#[test]
fn another_user_at_the_admin_socket_is_refused_and_written_down() {
    if !rustix::process::geteuid().is_root() || !have("setpriv") {
        return;
    }
    let (rollcall, path) = audited();
    let open = |path: &Path| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    // Even if somebody has opened all doors that lead to it.
    for path in [rollcall.dir.path(), rollcall.data(), &rollcall.data().join("admin.sock")] {
        open(path);
    }
    let binary = rollcall.dir.path().join("rollcall");
    // By another process: a file that this one has open for writing cannot be run by a child that
    // another test has just forked.
    assert!(Command::new("cp").args([ROLLCALL.as_ref(), &*binary]).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&binary);
    let printed = print(command.args(["token", "list", "--data-dir"]).arg(rollcall.data()), b"");
    assert_eq!((printed.code, printed.stdout.as_str()), (Some(1), ""), "{printed:?}");
    let refused = until("the audit event", || {
        lines(&path).into_iter().find(|line| line["outcome"] == "refused")
    });
    assert_eq!(
        (&refused["who"], &refused["what"]),
        (&"socket uid 4711".into(), &"authenticate".into())
    );
    assert_eq!(refused["object"], "the admin socket");
}

#[test]
fn a_file_that_was_moved_away_is_made_anew_on_hangup() {
    let (rollcall, path) = audited();
    rollcall.ok(&["check"]);
    let moved = path.with_extension("1");
    std::fs::rename(&path, &moved).unwrap();
    rollcall.ok(&["token", "list"]);
    rollcall.signal("HUP");
    until("the file is there", || path.exists().then_some(()));
    rollcall.ok(&["account", "list"]);
    let whats = |path: &Path| {
        lines(path).iter().map(|line| line["what"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(whats(&moved), ["check", "token list"]);
    assert_eq!(whats(&path), ["account list"]);
}

#[test]
fn a_file_that_cannot_be_opened_stops_the_start() {
    let mut rollcall = Rollcall::down();
    rollcall.set_args(&["--log-audit", "/proc/nowhere/audit.log"]);
    let printed = rollcall.start_fails();
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("log.audit /proc/nowhere/audit.log"), "{printed:?}");
}
