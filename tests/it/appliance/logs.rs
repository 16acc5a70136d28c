//! The log: what it says, and what it never says.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use serde_json::Value;

use super::super::harness::{A1, ROLLCALL, Rollcall, TIMEOUT, event, print, sid, skip, until};
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
        // It was there to be seen: the audit events, the slow answers, and masked ids of requests.
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
    let listed: Value = serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap();
    let listed = listed.as_array().unwrap().iter().find(|listed| listed["name"].is_null()).unwrap();
    let line = until("the line", || {
        let log = rollcall.log();
        let line = log.lines().find(|line| line.contains("this-very-one"))?;
        Some(serde_json::from_str::<Value>(line).unwrap())
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
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    // By another process: a file that this one has open for writing cannot be run by a child that
    // another test has just forked.
    let copied = Command::new("cp").arg(binary()).arg(root.join("rollcall")).status().unwrap();
    assert!(copied.success());
    let log = root.join("stderr.log");
    std::fs::write(&log, "").unwrap();
    let about = log.metadata().unwrap();
    let stream = format!("{}:{}", about.dev(), about.ino());
    // Asked for, and where standard error leads to the journal, as that says itself.
    let ways =
        [(&["--log-format", "journald"][..], "", true), (&[], &*stream, true), (&[], "1:2", false)];
    for (flags, stream, is_journal) in ways {
        let mut command = Command::new("chroot");
        command.arg(&root).args(["/rollcall", "serve", "--listen", "127.0.0.1:0"]);
        command.args(["--data-dir", "/data"]).args(flags).env("JOURNAL_STREAM", stream);
        let before = rollcall.log().len();
        rollcall.start_with(command);
        rollcall.ok(&["check"]);
        if !is_journal {
            until("the audit event", || rollcall.log().contains("socket uid").then_some(()));
            assert_eq!(rollcall.stop(), Some(0));
            continue;
        }
        let mut buffer = vec![0; 64 * 1024];
        let entry = until("the audit event", || {
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
            ("MESSAGE", "audit event who=\"socket uid 0\" what=check outcome=done"),
        ] {
            // The journal's own protocol: the name, the length in eight bytes, the value.
            let length = (value.len() as u64).to_le_bytes();
            let field = format!("{name}\n{}{value}\n", String::from_utf8_lossy(&length));
            assert!(entry.contains(&field), "{name}={value}: {entry}");
        }
        assert_eq!(rollcall.stop(), Some(0));
        let said = &rollcall.log()[before..];
        assert!(!said.contains("INFO") && !said.contains("WARN"), "it is in the journal: {said}");
    }
}

/// Each line of a text as an object of JSON.
fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| match serde_json::from_str(line) {
        Ok(object @ Value::Object(_)) => object,
        other => panic!("{other:?}: {line}\nin\n{text}"),
    };
    text.lines().map(object).collect()
}

/// The fields of the line that says this.
fn said<'a>(lines: &'a [Value], message: &str) -> &'a Value {
    let line = lines.iter().find(|line| line["fields"]["message"] == message);
    &line.unwrap_or_else(|| panic!("{message}: {lines:?}"))["fields"]
}

#[test]
fn json_is_alone_on_standard_error() {
    let mut rollcall = Rollcall::up(&["--log-format", "json", "--demo"]);
    let pid = std::process::id();
    rollcall.signal("HUP");
    until("the reload", || rollcall.log().contains("SIGHUP from pid").then_some(()));
    assert_eq!(rollcall.stop(), Some(0));
    // A second time there is something to say of the demo.
    rollcall.start();
    assert_eq!(rollcall.stop(), Some(0));
    let lines = objects(&rollcall.log());
    let data = rollcall.data().to_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let starts = said(&lines, "rollcall starts");
    assert_eq!((&starts["version"], &starts["data_dir"]), (&version.into(), &data.into()));
    let up = said(&lines, "rollcall is ready");
    assert_eq!((&up["data_dir"], &up["version"]), (&data.into(), &version.into()));
    assert!(up["calls"].as_u64().unwrap() > 2000, "{up}");
    assert_eq!(up["recovery"], "none, the store is new");
    assert!(up["listeners"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{up}");
    assert!(up["took"].is_string(), "{up}");
    let curl = said(&lines, "a line for a shell that lists the newest sample calls");
    assert!(curl["curl"].as_str().unwrap().starts_with("curl "), "{curl}");
    said(&lines, "the sample calls are there already: no history was added, and new ones come");
    // A link is no line of a log.
    said(&lines, "`rollcall open` makes a link to the console");
    assert!(!rollcall.log().contains("#code="));
    let stops = said(&lines, "rollcall stops");
    // By kill(1), which this process has started.
    let by = stops["by"].as_str().unwrap();
    let uid = rustix::process::getuid().as_raw();
    assert!(
        by.starts_with("SIGTERM from pid ") && by.contains(&format!(", uid {uid}")),
        "{by} {pid}"
    );
    assert!(stops["ran"].is_string(), "{stops}");
    said(&lines, "connections are closed");
    said(&lines, "rollcall has stopped, and the store is closed cleanly");
    assert!(rollcall.log().contains("the first admin token is in"));
}

#[test]
fn whatever_keeps_a_server_from_starting_is_json_too() {
    let up = Rollcall::up(&[]);
    let taken = format!("127.0.0.1:{}", up.port);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (unknown, broken) = (
        file("unknown.toml", "[log]\nformat = \"json\"\nlevle = \"info\"\n"),
        file("broken.toml", "[log]\nformat = 'json'\n[http\n"),
    );
    let missing = dir.path().join("missing.toml");
    let json = "--log-format=json";
    for (args, variable, said, code) in [
        (&["--log-format", "json", "--no-such-flag"][..], "", "--no-such-flag", 2),
        (&[json, "--listen", "nonsense"], "", "nonsense", 2),
        (&["--limits-idle", "soon"], "json", "soon", 2),
        (&["--config", &unknown], "", "levle", 2),
        (&["--config", &broken], "", "broken.toml", 2),
        (&[json, "--config", missing.to_str().unwrap()], "", "missing.toml", 2),
        (&[json, "--listen", &taken], "", &taken, 1),
        (&[json, "--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "", "/nowhere", 1),
        (&[json, "--data-dir", up.data().to_str().unwrap()], "", "in use by another rollcall", 1),
    ] {
        let mut command = Command::new(ROLLCALL);
        command.arg("serve").args(args);
        if !args.contains(&"--data-dir") {
            command.arg("--data-dir").arg(dir.path().join("data"));
        }
        if !variable.is_empty() {
            command.env("ROLLCALL_LOG_FORMAT", variable);
        }
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(code), "{args:?}: {printed:?}");
        let lines = objects(&printed.stderr);
        let last = lines.last().unwrap_or_else(|| panic!("{args:?}: {printed:?}"));
        assert_eq!(last["level"], "ERROR", "{args:?}: {last}");
        assert!(last["fields"]["message"].as_str().unwrap().contains(said), "{said}: {last}");
    }
    // Help was asked for, and is no error.
    let printed = print(Command::new(ROLLCALL).args(["serve", json, "--help"]), b"");
    assert_eq!((printed.code, &*printed.stderr), (Some(0), ""));
    assert!(printed.stdout.contains("--log-format"));
}

#[test]
fn a_start_says_what_was_repaired_and_a_stop_who_asked_for_it() {
    let mut rollcall = Rollcall::up(&[]);
    let events: Vec<String> = (1..=3).map(|n| event(n, "busy")).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    // What the last start of so many says once it is up.
    let up = |rollcall: &Rollcall, starts: usize| {
        until("it says that it is up", || {
            let log = rollcall.log();
            let lines: Vec<&str> =
                log.lines().filter(|line| line.contains("rollcall is ready")).collect();
            (lines.len() == starts).then(|| lines[starts - 1].to_owned())
        })
    };
    up(&rollcall, 1);
    rollcall.kill();
    rollcall.start();
    let line = up(&rollcall, 2);
    assert!(line.contains("calls=3") && line.contains("it was not closed in order"), "{line}");
    rollcall.signal("INT");
    assert_eq!(rollcall.wait(), Some(0));
    assert!(rollcall.log().contains("by=\"SIGINT from pid "), "{}", rollcall.log());
    rollcall.start();
    let line = up(&rollcall, 3);
    assert!(line.contains("recovery=\"none, it was closed in order\""), "{line}");
    std::fs::remove_file(rollcall.data().join("CURRENT")).unwrap();
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    let line = up(&rollcall, 4);
    assert!(line.contains("the index is built anew (there is none)"), "{line}");
}

#[test]
fn colours_are_for_terminals_and_for_a_user_who_asks() {
    for (variables, coloured) in [
        (&[][..], false),
        (&[("FORCE_COLOR", "1")], true),
        (&[("CLICOLOR_FORCE", "1")], true),
        (&[("FORCE_COLOR", "1"), ("NO_COLOR", "1")], false),
    ] {
        let mut rollcall = Rollcall::down();
        let mut command = rollcall.serve_command();
        for name in ["NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.envs(variables.iter().copied());
        rollcall.start_with(command);
        assert_eq!(rollcall.stop(), Some(0));
        assert_eq!(rollcall.log().contains('\u{1b}'), coloured, "{variables:?}");
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
