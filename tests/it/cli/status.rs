//! `rollcall status`: whether the server is well, and an exit code that says so.

use serde_json::Value;

use super::super::harness::{Rollcall, event};

/// The figures, and the exit code.
fn status(rollcall: &Rollcall) -> (Value, Option<i32>) {
    let printed = rollcall.run(&["status", "--json"]);
    (
        serde_json::from_str(&printed.stdout).unwrap_or_else(|e| panic!("{e}: {printed:?}")),
        printed.code,
    )
}

#[test]
fn a_running_server_says_what_it_is() {
    let mut rollcall = Rollcall::up(&[]);
    let events = [event(1, "trying"), event(2, "in-progress"), event(3, "completed")];
    assert_eq!(rollcall.post_events(&(events.join("\n") + "\n")).status, 204);
    let (figures, code) = status(&rollcall);
    assert_eq!(code, Some(0), "{figures}");
    assert_eq!(figures["running"], true);
    assert_eq!(figures["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(figures["pid"], rollcall.pid());
    assert_eq!((&figures["calls"], &figures["live_calls"]), (&3.into(), &2.into()));
    assert!(figures["uptime_seconds"].is_u64() && figures["started_at"].is_string());
    assert_eq!(figures["listeners"][0]["url"], format!("https://127.0.0.1:{}", rollcall.port));
    assert_eq!(
        (&figures["problems"], &figures["last_backup"]),
        (&Value::Array(vec![]), &Value::Null)
    );
    let last = figures["last_event_at"].as_str().unwrap().to_owned();
    let text = rollcall.ok(&["status"]);
    for line in [
        "server           running for ",
        &format!("process {}\n", rollcall.pid()),
        &format!("version          {}\n", env!("CARGO_PKG_VERSION")),
        "calls            3, 2 of them active\n",
        &format!("last event       {last} ("),
        "last backup      none known\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // A backup that was made is known, also after a restart, and whether the server is up or not.
    let place = rollcall.dir.path().join("backup");
    rollcall.ok(&["backup", place.to_str().unwrap()]);
    for up in [true, false] {
        let (figures, _) = status(&rollcall);
        assert_eq!(figures["last_backup"]["path"], place.to_str().unwrap());
        assert!(figures["last_backup"]["sequence"].as_u64().unwrap() > 0, "{figures}");
        assert_eq!(
            figures["last_event_at"].as_str().map(|at| at[..19].to_owned()),
            Some(last[..19].to_owned())
        );
        if up {
            rollcall.stop();
        }
    }
}

#[test]
fn a_server_that_is_down_is_a_problem_and_the_files_are_told() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "trying")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    let (figures, code) = status(&rollcall);
    assert_eq!(code, Some(1), "{figures}");
    assert_eq!((&figures["running"], &figures["calls"]), (&false.into(), &1.into()));
    assert_eq!(figures["problems"], serde_json::json!(["no server is running"]));
    assert!(figures["last_event_at"].is_string() && figures.get("pid").is_none(), "{figures}");
    let printed = rollcall.run(&["status"]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stdout.starts_with("server           not running;"), "{printed:?}");
    assert!(
        printed.stdout.contains("calls            1, 1 of them active when it ended"),
        "{printed:?}"
    );
    assert!(printed.stdout.contains("problem          no server is running\n"), "{printed:?}");
    // A backup that is made meanwhile is known all the same.
    let place = rollcall.dir.path().join("backup.tar.zst");
    rollcall.ok(&["backup", place.to_str().unwrap()]);
    assert_eq!(status(&rollcall).0["last_backup"]["path"], place.to_str().unwrap());
    // One that fails is none.
    assert_eq!(rollcall.run(&["backup", place.to_str().unwrap()]).code, Some(1));
    let nowhere = Rollcall::down();
    let printed = nowhere.run(&["status"]);
    assert_eq!((printed.code, printed.stdout.as_str()), (Some(1), ""), "{printed:?}");
}

#[test]
fn a_disk_that_is_short_of_space_is_a_problem() {
    let rollcall = Rollcall::up(&["--store-min-free-bytes=1000000GB"]);
    let (figures, code) = status(&rollcall);
    assert_eq!(code, Some(1), "{figures}");
    let problem = figures["problems"][0].as_str().unwrap();
    assert!(problem.contains("events and imports are refused"), "{figures}");
    let text = rollcall.run(&["status"]).stdout;
    assert!(text.contains("problem          the disk is short of space"), "{text}");
    assert!(text.contains("are refused below 1.0 PB"), "{text}");
}
