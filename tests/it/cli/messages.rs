//! What is said of a command line that makes no sense: the object, the value, what would be right.

use std::process::Command;

use super::super::harness::{A1, ROLLCALL, Rollcall, print, sid};

#[test]
fn a_wrong_command_line_is_told_what_would_be_right() {
    let rollcall = Rollcall::up(&[]);
    let unknown = sid(404);
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["stauts"], 2, &["'stauts'", "'status'"]),
        (&["list", "--stauts", "busy"], 2, &["'--stauts'", "'--status'"]),
        (&["show", "c1"], 2, &["\"c1\"", "UUID"]),
        (&["show"], 2, &["<CALL_SID>"]),
        (&["show", &unknown], 1, &[&unknown, "no call"]),
        (&["list", "--account", "x"], 1, &["account \"x\"", "UUID"]),
        (&["list", "--status", "done"], 2, &["--status \"done\"", "completed"]),
        (&["list", "--status", ""], 2, &["--status \"\""]),
        (&["list", "--direction", "in"], 2, &["--direction \"in\"", "inbound"]),
        (&["list", "--limit", "0"], 2, &["'0'", "--limit", "1..=10000"]),
        (&["list", "--start", "monday"], 2, &["--start \"monday\"", "2026-01-31"]),
        (&["list", "--end", "2026-13-01"], 2, &["--end \"2026-13-01\""]),
        (&["export", "--format", "xml"], 2, &["'xml'", "ndjson", "csv"]),
        (&["export", "--spreadsheet"], 2, &["--spreadsheet needs --format csv"]),
        (&["export", "--format", "json", "--time-zone", "UTC"], 2, &["--time-zone needs"]),
        (&["export", "--format", "csv", "--time-zone", "Mars"], 2, &["\"Mars\"", "Europe/Berlin"]),
        (&["export", "-o", "/nonexistent/calls"], 1, &["/nonexistent/calls:", "No such file"]),
        (&["import", "/nonexistent/calls"], 1, &["/nonexistent/calls:", "No such file"]),
        (&["import", "/"], 1, &["/: ", "directory"]),
        (&["import", "--format", "xml"], 2, &["'xml'", "ndjson", "csv"]),
        (&["import", "--on-error", "go"], 2, &["'go'", "skip"]),
        (&["import", "--rejects", "x"], 2, &["--rejects", "--on-error skip"]),
        (&["token"], 2, &["create"]),
        (&["token", "create"], 2, &["--admin", "--account", "--service-provider"]),
        (&["token", "create", "--admin", "--account", A1], 2, &["--admin", "--account"]),
        (&["token", "create", "--admin", "--role", "root"], 2, &["'root'", "ingest"]),
        (&["token", "create", "--account", "me"], 1, &["account \"me\"", "UUID"]),
        (&["token", "create", "--admin", "--expires", "soon"], 2, &["'soon'", "--expires"]),
        (&["token", "create", "--admin", "--value", "short"], 2, &["--value", "16 to 256"]),
        (&["token", "create", "--admin", "--value", "a b c d e f g h i"], 2, &["--value"]),
        (&["token", "create", "--admin", "--value", "-"], 2, &["--value", "standard input"]),
        (&["token", "create", "--admin", "--name", ""], 2, &["--name", "1 to 256"]),
        (&["token", "revoke", "x"], 1, &["\"x\"", "rollcall token list"]),
        (&["account", "set", "x", "--name", "y"], 1, &["account \"x\"", "UUID"]),
        (&["account", "set", A1], 2, &["--name", "--webhook-secret"]),
        (&["account", "remove", "x"], 1, &["account \"x\"", "UUID"]),
        (&["account", "remove", A1], 1, &[A1, "no settings"]),
    ];
    for (args, code, said) in cases {
        let printed = rollcall.run(args);
        assert_eq!(
            (printed.code, printed.stdout.as_str()),
            (Some(*code), ""),
            "{args:?}: {printed:?}"
        );
        for part in *said {
            assert!(printed.stderr.contains(part), "{args:?}: {part} is missing in {printed:?}");
        }
        assert!(!printed.stderr.contains("panicked"), "{printed:?}");
    }
    for secret in ["short", "a b c d e f g h i"] {
        let printed = rollcall.run(&["token", "create", "--admin", "--value", secret]);
        assert!(!printed.stderr.contains(secret), "{printed:?}");
    }
}

#[test]
fn failures_for_programs_are_json() {
    let rollcall = Rollcall::up(&[]);
    for (args, code) in [(&["token", "revoke", "x"][..], 1), (&["list", "--status", "done"], 2)] {
        let printed = rollcall.run(&[args, &["--json"]].concat());
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(code), ""));
        let parsed: serde_json::Value = serde_json::from_str(&printed.stderr).unwrap();
        assert!(parsed["error"].as_str().unwrap().len() > 10, "{printed:?}");
    }
}

#[test]
fn help_and_version_are_not_failures() {
    for args in [&["--help"][..], &["--version"], &["help", "token"], &["serve", "--help"]] {
        let printed = print(Command::new(ROLLCALL).args(args), b"");
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!printed.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn root_does_not_make_files_that_their_owner_cannot_open() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.stop(), Some(0));
    let chown = |owner: &str| {
        Command::new("chown").arg("-R").arg(owner).arg(rollcall.data()).status().unwrap().success()
    };
    if !rustix::process::geteuid().is_root() {
        super::super::harness::skip("only root can give files away");
        return;
    }
    assert!(chown("12345"));
    // Root is who they are, unless it is to be a server.
    rollcall.status();
    let lock = std::fs::metadata(rollcall.data().join("LOCK")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&lock), 12345);
    let printed = rollcall.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("user 12345"), "{printed:?}");
    let empty = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(empty.path(), Some(12345), None).unwrap();
    let mut restore = Command::new(ROLLCALL);
    restore.args(["restore", "/nowhere", "--data-dir"]).arg(empty.path());
    let printed = print(&mut restore, b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("user 12345"), "{printed:?}");
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "12346", "--clear-groups", ROLLCALL, "status", "--data-dir"]);
    let printed = print(other.arg(rollcall.data()), b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("ermission denied"), "{printed:?}");
    assert!(chown("0"));
    rollcall.status();
}
