//! Up or down, a command says the same.

use std::process::Command;

use super::super::harness::{A1, A2, Printed, ROLLCALL, Rollcall, print, recorded_events, sid};
use super::masked;

/// An existing API key.
const KEY: &str = "38700987-c7a4-4685-a5bb-af378f9734de";
const ANOTHER_KEY: &str = "38700987-c7a4-4685-a5bb-af378f9734df";

/// Two stores of the same content, the first with a server.
fn pair() -> (Rollcall, Rollcall) {
    let mut up = Rollcall::up(&[]);
    assert_eq!(up.post_events(recorded_events()).status, 204);
    assert_eq!(up.stop(), Some(0));
    let down = Rollcall::down();
    let copied = Command::new("cp").arg("-a").arg(up.data()).arg(down.data()).status().unwrap();
    assert!(copied.success());
    up.start();
    (up, down)
}

fn same(up: &Rollcall, down: &Rollcall, args: &[&str], input: &[u8]) -> Printed {
    let [one, two] = [up, down].map(|rollcall| {
        let printed = rollcall.run_with(args, input);
        Printed {
            stdout: masked(&printed.stdout),
            // A command that opens the store itself has its warnings too.
            stderr: masked(
                &printed
                    .stderr
                    .lines()
                    .filter(|l| !l.starts_with(" WARN"))
                    .fold(String::new(), |text, line| text + line + "\n"),
            )
            .replace(up.data().to_str().unwrap(), "DATA")
            .replace(down.data().to_str().unwrap(), "DATA"),
            code: printed.code,
        }
    });
    assert_eq!(one, two, "up and down differ for {args:?}");
    one
}

#[test]
fn every_command_says_the_same_up_and_down() {
    let (up, down) = pair();
    let call = "c1000000-0000-4000-8000-000000000001";
    let new = format!(
        "{{\"account_sid\":\"{A2}\",\"call_sid\":\"{}\",\"direction\":\"outbound\",\
         \"call_status\":\"busy\",\"attempted_at\":\"2026-01-31T12:00:00.000Z\"}}\n",
        sid(1)
    );
    let bad = new.replace("busy", "bsuy");
    let commands: &[(&[&str], &str, i32)] = &[
        (&["check"], "", 0),
        (&["list"], "", 0),
        (&["list", "--limit", "2", "--status", "completed,busy"], "", 0),
        (&["list", "--account", A1, "--direction", "outbound"], "", 0),
        (&["list", "--status", "bsuy"], "", 2),
        (&["show", call], "", 0),
        (&["show", &sid(404)], "", 1),
        (&["export"], "", 0),
        (&["export", "--format", "json", "--status", "no-answer"], "", 0),
        (&["export", "--start", "monday"], "", 2),
        (&["import", "--dry-run"], &new, 0),
        (&["import", "-"], &new, 0),
        (&["import"], &new, 0),
        (&["import"], &bad, 1),
        (&["import", "--on-error", "skip"], &bad, 0),
        (&["show", &sid(1)], "", 0),
        (&["account", "set", A1, "--name", "one", "--webhook-secret", "-"], "s3cret\n", 0),
        (&["account", "set", A1, "--hook-user", "jambonz"], "", 2),
        (&["account", "list"], "", 0),
        (&["account", "remove", A2], "", 1),
        (&["token", "create", "--account", A1, "--name", "a", "--value", KEY], "", 0),
        (&["token", "create", "--admin", "--value", KEY], "", 1),
        (&["token", "create", "--admin", "--value", "-"], ANOTHER_KEY, 0),
        (&["token", "create", "--admin", "--value", "short"], "", 2),
        (&["token", "revoke", "nonsense"], "", 1),
        (&["account", "remove", A1], "", 0),
        (&["rebuild"], "", 0),
        (&["check"], "", 0),
        (&["list"], "", 0),
    ];
    for (args, input, code) in commands {
        let human = same(&up, &down, args, input.as_bytes());
        assert_eq!(human.code, Some(*code), "{args:?}: {human:?}");
        assert_eq!(human.code == Some(0), !human.stdout.is_empty(), "{args:?}: {human:?}");
    }
    for (args, input, code) in commands.iter().filter(|(args, ..)| args[0] != "token") {
        let args = [args, &["--json"][..]].concat();
        let json = same(&up, &down, &args, input.as_bytes());
        // By now the account of the last removal has no settings any more.
        let expected =
            if args.starts_with(&["account", "remove"]) { json.code } else { Some(*code) };
        assert_eq!(json.code, expected, "{args:?}: {json:?}");
        let (text, other) = match json.code {
            Some(0) => (&json.stdout, &json.stderr),
            _ => (&json.stderr, &json.stdout),
        };
        assert!(other.lines().all(|line| !line.starts_with('{')), "{args:?}: {json:?}");
        for line in text.lines().filter(|_| args[0] != "export" && args[0] != "list") {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
            let talk = line.starts_with("left out: ");
            assert!(parsed.is_ok() || talk, "{args:?}: {line}");
        }
    }
    let [up_tokens, down_tokens] =
        [&up, &down].map(|rollcall| rollcall.ok(&["token", "list", "--json"]));
    let count = |text: &str| serde_json::from_str::<Vec<serde_json::Value>>(text).unwrap().len();
    assert_eq!((count(&up_tokens), count(&down_tokens)), (2, 2));
}

#[test]
fn tables_of_tokens_have_the_same_shape_up_and_down() {
    let (up, down) = pair();
    for rollcall in [&up, &down] {
        rollcall.ok(&["token", "create", "--admin", "--value", KEY, "--name", "a name"]);
    }
    let rows = |text: &str| {
        let mut rows: Vec<String> = masked(text).lines().map(str::to_owned).collect();
        rows.sort();
        rows
    };
    let [one, two] = [&up, &down].map(|rollcall| rows(&rollcall.ok(&["token", "list"])));
    assert_eq!(one, two);
    assert_eq!(one.len(), 3);
    assert!(one.iter().any(|row| row.contains("a name") && row.contains("admin")), "{one:?}");
}

#[test]
fn status_differs_only_in_who_answers_and_in_what_is_written_behind() {
    let (up, down) = pair();
    let [one, two] = [&up, &down].map(|rollcall| {
        let mut status: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
        let members = status.as_object_mut().unwrap();
        let running = members.remove("running").unwrap();
        for moving in [
            // One of the two is a copy.
            "epoch",
            "registry_calls",
            "checkpoint_sequence",
            "checkpoint_at",
            "index_bytes",
            "journal_bytes",
            "journal_segments",
            "disk_free_bytes",
            "reserve_bytes",
            // Nobody listens where none is up, which is a problem.
            "listeners",
            "problems",
        ] {
            assert!(members.remove(moving).is_some(), "{moving}");
        }
        for own in ["pid", "started_at", "uptime_seconds", "console"] {
            assert_eq!(members.remove(own).is_some(), running == true, "{own}");
        }
        for certificate in status["certificates"].as_array_mut().unwrap() {
            // The directory's own name, and a figure that turns in the course of a day.
            let certificate = certificate.as_object_mut().unwrap();
            assert!(certificate.remove("file").is_some());
            assert!(certificate.remove("days_left").is_some());
        }
        (running, status)
    });
    assert_eq!((one.0, two.0), (true.into(), false.into()));
    assert_eq!(one.1, two.1);
    assert_eq!(one.1["calls"], 26);
    let human = |rollcall: &Rollcall| rollcall.status();
    assert!(human(&up).starts_with("server           running for "), "{}", human(&up));
    assert!(human(&down).starts_with("server           not running;"), "{}", human(&down));
}

#[test]
fn no_command_makes_a_store_that_was_only_asked_about() {
    let rollcall = Rollcall::down();
    let some = sid(1);
    for args in [
        &["status"][..],
        &["check"],
        &["rebuild"],
        &["compact"],
        &["list"],
        &["export"],
        &["show", &some],
        &["token", "list"],
        &["token", "revoke", "x"],
        &["account", "list"],
        &["account", "remove", A1],
        &["import", "--dry-run"],
    ] {
        let printed = rollcall.run(args);
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(1), ""), "{args:?}: {printed:?}");
        assert!(printed.stderr.contains("there is no store in "), "{printed:?}");
        assert!(printed.stderr.contains(rollcall.data().to_str().unwrap()), "{printed:?}");
        assert!(!rollcall.data().exists(), "{args:?}");
    }
    let mut bare = Command::new(ROLLCALL);
    assert_eq!(print(&mut bare, b"").code, Some(2));
    // Nor one that would change something in it, before it was told to make one.
    let elsewhere = rollcall.dir.path().join("elsewhere");
    let away = elsewhere.to_str().unwrap();
    for empty in [false, true] {
        for args in [
            &["token", "create", "--admin"][..],
            &["account", "set", A1, "--name", "one"],
            &["import"],
            &["import", "--dry-run", "--init"],
            &["expire"],
            &["purge", "--number", "+15559990001"],
            &["backup", away],
            &["export", "-o", away],
            &["cert", "show"],
            &["cert", "renew"],
            &["doctor"],
            &["config", "check"],
        ] {
            if empty {
                std::fs::create_dir_all(rollcall.data()).unwrap();
            }
            let mut command = Command::new(ROLLCALL);
            let printed = print(command.args(args).arg("--data-dir").arg(rollcall.data()), b"");
            let looks = ["doctor", "config"].contains(&args[0]);
            assert!(looks || printed.code == Some(1), "{args:?}: {printed:?}");
            assert!(looks || printed.stdout.is_empty(), "{args:?}: {printed:?}");
            let named = ["there is no store in ", "--config FILE or --data-dir DIR", "--init"];
            let said = named.iter().all(|part| printed.stderr.contains(part));
            assert!(looks || said, "{args:?}: {printed:?}");
            assert_eq!(rollcall.data().exists(), empty, "{args:?}");
            let left = std::fs::read_dir(rollcall.data()).map_or(0, Iterator::count);
            assert_eq!((left, elsewhere.exists()), (0, false), "{args:?}");
        }
    }
    let made = rollcall.run(&["token", "create", "--admin"]);
    assert!(made.code == Some(0) && made.stdout.len() > 20, "{made:?}");
    let (dir, what) = (rollcall.data().display(), "a new store was made in");
    assert!(made.stderr.contains(&format!("{what} {dir}, for user ")), "{made:?}");
    let again = rollcall.run(&["token", "create", "--admin", "--init"]);
    assert!(again.code == Some(0) && !again.stderr.contains(what), "{again:?}");
}
