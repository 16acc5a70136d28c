//! What is said of a command line that makes no sense: the object, the value, what would be right.

use std::process::Command;

use super::super::harness::{A1, ROLLCALL, Rollcall, event, print, sid};

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
        (&["list", "--limit", "0"], 2, &["'0'", "--limit", "from 1 to 10000"]),
        (&["list", "--start", "monday"], 2, &["--start \"monday\"", "2026-01-31"]),
        (&["list", "--end", "2026-13-01"], 2, &["--end \"2026-13-01\""]),
        (&["export", "--format", "xml"], 2, &["'xml'", "ndjson", "csv"]),
        (&["export", "--spreadsheet"], 2, &["--spreadsheet needs --format csv"]),
        (&["export", "--format", "json", "--time-zone", "UTC"], 2, &["--time-zone needs"]),
        (&["export", "--format", "csv", "--time-zone", "Mars"], 2, &["'Mars'", "Europe/Berlin"]),
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

#[test]
fn a_number_that_finds_nothing_is_told_how_numbers_are_written() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "trying")).status, 204);
    for (flags, hint) in [
        (&["--from", "15550000001"][..], "try --from +15550000001"),
        (&["--from-prefix", "1555"], "try --from-prefix +1555"),
        (&["--to-prefix", "+1,abc"], "only names of SIP users can match it"),
        (&["--to", "+1 (555) 000-0001"], "try --to +15550000001"),
    ] {
        for command in ["list", "export"] {
            let printed = rollcall.run(&[&[command, "--status", "busy"], flags].concat());
            assert_eq!(printed.code, Some(0), "{printed:?}");
            assert!(printed.stderr.contains(hint), "{flags:?}: {printed:?}");
        }
        let printed = rollcall.run(&[&["list", "--json", "--status", "busy"], flags].concat());
        assert_eq!(printed.stdout, "[]\n", "{printed:?}");
        assert!(printed.stderr.contains(hint), "{flags:?}: {printed:?}");
    }
    // Nothing is said where something is found, or where the number is right.
    for flags in [&["--from-prefix", "+1555"][..], &["--from", "+1", "--status", "busy"], &[]] {
        let printed = rollcall.run(&[&["list"], flags].concat());
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
    }
}

#[test]
fn a_wrong_command_line_is_json_for_programs() {
    let rollcall = Rollcall::down();
    let cases: &[(&[&str], &[&str])] = &[
        (&["stauts", "--json"], &["'stauts'", "'status'"]),
        (&["--json", "list", "--stauts", "busy"], &["'--stauts'", "'--status'"]),
        (&["show", "--json"], &["<CALL_SID>"]),
        (&["list", "--json", "--limit", "0"], &["'0'", "from 1 to 10000"]),
        (&["export", "--json", "--format", "xml"], &["'xml'", "ndjson"]),
        (&["--json"], &["a command or an argument is missing"]),
        (&["--json", "token"], &["a command or an argument is missing"]),
        (&["--json", "list", "--start", "monday"], &["monday", "2026-01-31T23:59"]),
    ];
    for (args, said) in cases {
        let mut command = Command::new(ROLLCALL);
        let printed = print(command.args(*args).current_dir(rollcall.dir.path()), b"");
        let code = if args.contains(&"monday") { 1 } else { 2 };
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(code), ""), "{printed:?}");
        if code == 1 {
            continue;
        }
        let error: serde_json::Value = serde_json::from_str(&printed.stderr)
            .unwrap_or_else(|error| panic!("{args:?}: {error}: {printed:?}"));
        let text = error["error"].as_str().unwrap();
        for part in *said {
            assert!(text.contains(part), "{args:?}: {part} is missing in {text}");
        }
        assert!(!text.contains('\n') && !text.starts_with("error"), "{text}");
    }
    // Help is no error.
    let printed = rollcall.run(&["list", "--json", "--help"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
}

#[test]
fn every_way_to_ask_for_help_gives_it() {
    let rollcall = Rollcall::down();
    let print = |args: &[&str]| print(Command::new(ROLLCALL).args(args), b"");
    for (args, same) in [
        (&["help", "--help"][..], &["--help"][..]),
        (&["help", "-h"], &["--help"]),
        (&["help", "list", "--help"], &["list", "--help"]),
        (&["token", "help", "--help"], &["token", "--help"]),
        (&["token", "help", "create"], &["token", "create", "--help"]),
        (&["help", "config", "check"], &["config", "check", "--help"]),
    ] {
        let (asked, wanted) = (print(args), print(same));
        assert_eq!((asked.code, asked.stderr.as_str()), (Some(0), ""), "{args:?}: {asked:?}");
        assert_eq!(asked.stdout, wanted.stdout, "{args:?}");
    }
    let all = print(&["--help"]).stdout;
    let listed = all.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = listed
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let printed = print(&["help", command]);
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{command}");
        assert!(printed.stdout.contains("Usage: rollcall"), "{command}: {printed:?}");
    }
    drop(rollcall);
}

/// The usual slips of an operator: what was given, what is wrong with it, and what would be right.
#[test]
fn a_path_or_a_number_that_does_not_fit_is_told_what_would_be_right() {
    let rollcall = Rollcall::up(&[]);
    let place = rollcall.dir.path();
    let text = |name: &str| place.join(name).to_str().unwrap().to_owned();
    std::fs::write(place.join("file"), "x").unwrap();
    std::fs::create_dir(place.join("other")).unwrap();
    std::fs::write(place.join("other/file"), "x").unwrap();
    rollcall.ok(&["backup", &text("backup")]);
    let home = "`~` stands for no home directory here";
    let quotes = "the quotes are part of the path";
    let (file, other, backup) = (text("file"), text("other"), text("backup"));
    let (deep, below) = (text("no/such/copy"), text("file/copy"));
    let nowhere = text("nowhere");
    let quoted = format!("\"{backup}\"");
    let cases: [(&[&str], i32, &[&str]); 24] = [
        (&["backup", "~/copy"], 2, &["'~/copy'", home]),
        (&["backup", &quoted], 2, &[&quoted, quotes]),
        (&["backup", &deep], 1, &[&deep, "there is no directory", "no/such", "make it first"]),
        (&["backup", &below], 1, &[&below, "file is a file and no directory"]),
        (&["backup", &backup], 1, &[&backup, "is there already", "name another place", "--keep"]),
        (&["backup", &nowhere, "--keep", "abc"], 2, &["'abc'", "from 1 to 65535, such as 14"]),
        (&["backup", &nowhere, "--keep", "0"], 2, &["'0'", "from 1 to 65535, such as 14"]),
        (&["backup", &nowhere, "--incremental-from", &file], 1, &[&file]),
        (&["backup", &nowhere, "--incremental-from", &deep], 1, &[&deep, "nothing is there"]),
        (&["verify", "~/copy"], 2, &["'~/copy'", home]),
        (&["verify", &nowhere], 1, &[&nowhere, "No such file", "ls "]),
        (&["verify", &other], 1, &[&other, "no file BACKUP is in it; name what"]),
        (&["verify", &file], 1, &[&file, "name what `rollcall backup` has made"]),
        (&["restore", "~/copy"], 2, &["'~/copy'", home]),
        (&["restore", &quoted], 2, &[&quoted, quotes]),
        (&["import", "~/calls.json"], 2, &["'~/calls.json'", home]),
        (&["import", &nowhere], 1, &[&nowhere, "No such file", "see what is there"]),
        (&["import", &deep], 1, &[&deep, "there is no directory"]),
        (&["import", &other], 1, &[&other, "it is a directory: name a file"]),
        (&["export", "-o", "~/calls.json"], 2, &["'~/calls.json'", home]),
        (&["export", "-o", &deep], 1, &[&deep, "there is no directory"]),
        (&["list", "--limit", "all"], 2, &["'all'", "from 1 to 10000, such as 50"]),
        (&["list", "--limit", "20000"], 2, &["'20000'", "from 1 to 10000"]),
        (&["stauts"], 2, &["'stauts'", "'status'"]),
    ];
    for (args, code, said) in cases {
        let refused = rollcall.run(args);
        assert_eq!(refused.code, Some(code), "{args:?}: {refused:?}");
        for part in said {
            assert!(refused.stderr.contains(part), "{args:?}: {part}: {refused:?}");
        }
    }
    // The data directory itself.
    let cases: [(&[&str], &str, i32, &[&str]); 9] = [
        (&["status"], "~/data", 2, &["--data-dir: found \"~/data\"", home]),
        (&["status"], "'/var/lib/rollcall'", 2, &["--data-dir: found", quotes]),
        (&["status"], &file, 1, &[&file, "is a file", "--data-dir DIR"]),
        (&["restore", &backup], &file, 1, &[&file, "is a file and no directory", "--data-dir DIR"]),
        (&["restore", &backup], &other, 1, &[&other, "is not empty", "--data-dir DIR"]),
        (&["doctor"], &below, 1, &[&below, "a part of its path is a file", "name a directory"]),
        (&["doctor"], &other, 1, &["it has other files and no store", "--data-dir"]),
        (&["doctor"], &backup, 1, &["it is a backup and no data directory", "rollcall restore"]),
        (&["doctor"], &nowhere, 0, &["there is none", "name the right one"]),
    ];
    for (args, dir, code, said) in cases {
        let mut command = Command::new(ROLLCALL);
        command.args(args).args(["--data-dir", dir]).env("ROLLCALL_LISTEN", "127.0.0.1:0");
        let refused = print(&mut command, b"");
        assert_eq!(refused.code, Some(code), "{args:?} {dir}: {refused:?}");
        let all = refused.stdout + &refused.stderr;
        for part in said {
            assert!(all.contains(part), "{args:?} {dir}: {part}: {all}");
        }
        // What is no store is nobody's to lock up.
        assert!(!all.contains("chmod") && !all.contains("chown"), "{args:?} {dir}: {all}");
    }
    for (variable, value, said) in [
        (
            "ROLLCALL_LISTEN",
            "\"127.0.0.1:8443\"",
            "the quotes are part of the value: leave them out",
        ),
        ("ROLLCALL_LOG_LEVEL", "'info'", "the quotes are part of the value: leave them out"),
        ("ROLLCALL_DATA_DIR", "\"/var/lib/rollcall\"", quotes),
        ("ROLLCALL_CONFIG", "~/rollcall.toml", home),
    ] {
        let refused = print(Command::new(ROLLCALL).arg("status").env(variable, value), b"");
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(said), "{variable}: {refused:?}");
    }
}

#[test]
fn a_finished_backup_is_no_directory_for_backups() {
    let rollcall = Rollcall::up(&[]);
    let backups = rollcall.dir.path().join("backups");
    let one = backups.join("one");
    std::fs::create_dir(&backups).unwrap();
    rollcall.ok(&["backup", one.to_str().unwrap()]);
    let before = std::fs::read_dir(&one).unwrap().count();
    let printed = rollcall.run(&["backup", one.to_str().unwrap(), "--keep", "3"]);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    for part in [one.to_str().unwrap(), "is itself a finished backup", "the one above it"] {
        assert!(printed.stderr.contains(part), "{part}: {printed:?}");
    }
    assert_eq!(std::fs::read_dir(&one).unwrap().count(), before);
    rollcall.ok(&["verify", one.to_str().unwrap()]);
    let file = backups.join("file");
    std::fs::write(&file, "x").unwrap();
    let printed = rollcall.run(&["backup", file.to_str().unwrap(), "--keep", "3"]);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("is no directory; with --keep"), "{printed:?}");
    rollcall.ok(&["backup", backups.to_str().unwrap(), "--keep", "3"]);
}

#[test]
fn the_status_is_in_plain_words_and_names_the_authority_to_trust() {
    let rollcall = Rollcall::up(&[]);
    let text = rollcall.run(&["status"]).stdout;
    for part in ["tombstones", "epoch", " up\n", "left out"] {
        assert!(!text.contains(part), "{part}: {text}");
    }
    let ca = rollcall.data().join("tls/ca.pem");
    let line = text.lines().find(|line| line.contains("authority, made by rollcall")).unwrap();
    assert!(line.contains(&format!("{}, which clients must trust", ca.display())), "{line}");
    let shown = rollcall.ok(&["cert", "show"]);
    assert!(shown.contains(&format!("file             {}", ca.display())), "{shown}");
}

#[test]
fn an_event_without_a_time_is_told_so() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "trying")).status, 204);
    let calls = rollcall.dir.path().join("calls.ndjson");
    let exported = rollcall.ok(&["export"]);
    let mut call: serde_json::Value = serde_json::from_str(exported.trim()).unwrap();
    call["merge"]["timeline"][0][0] = serde_json::Value::Null;
    call["call_sid"] = sid(2).into();
    std::fs::write(&calls, call.to_string()).unwrap();
    rollcall.ok(&["import", calls.to_str().unwrap()]);
    let text = rollcall.ok(&["show", &sid(2)]);
    let timeline = text.split_once("timeline\n").unwrap().1;
    assert!(timeline.contains("no time was given"), "{text}");
    assert!(!timeline.contains("unknown"), "{text}");
}
