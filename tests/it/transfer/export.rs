//! Export: everything, as it was, to where it is wanted.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::super::harness::{A1, A2, Rollcall, event, recorded_events, sid, until};
use super::{TIMES, import, outcome, record, status};

/// A store with a call of every kind: told by the webhook, imported with and without times, with
/// further fields, stale, and deleted.
fn every_kind() -> Rollcall {
    let mut rollcall =
        Rollcall::up(&["--calls-max-lifetime", "1m", "--calls-sweep-interval", "10ms"]);
    let old =
        record(1, ",\"attempted_at\":\"2020-01-01T00:00:00Z\"").replace("completed", "ringing");
    import(&rollcall, &[], &old);
    until("the old call is stale", || {
        rollcall.ok(&["export"]).contains("\"stale\":true").then_some(())
    });
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&[]);
    rollcall.start();
    assert_eq!(rollcall.post_events(recorded_events()).status, 204);
    let odd = ",\"b\":[1.50,1E+300,{\"\\u00e4\":null}],\"a\":\"x\\ty\",\"sip_reason\":\"OK\"";
    import(&rollcall, &[], &[record(2, TIMES), record(3, ""), record(4, odd)].join("\n"));
    let other = record(5, TIMES).replace(A1, A2).replace("inbound", "outbound");
    import(&rollcall, &[], &other);
    assert_eq!(rollcall.post_events(&event(6, "busy")).status, 204);
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(6));
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    rollcall
}

#[test]
fn an_export_imported_into_an_empty_store_is_the_same_store() {
    let mut rollcall = every_kind();
    let export = rollcall.ok(&["export"]);
    assert_eq!(export.lines().count(), 31);
    assert!(!export.contains(&sid(6)), "deleted calls are absent");
    for part in [
        "\"stale\":true",
        "\"time_unknown\":true",
        "\"b\":[1.50,1E+300,{\"\\u00e4\":null}]",
        "\"timeline\":[[",
        "\"trace_id\"",
    ] {
        assert!(export.contains(part), "{part}");
    }
    let array = rollcall.ok(&["export", "--format", "json"]);
    let parsed: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap_or_default();
    assert_eq!(array.lines().count(), 33, "{}", parsed.len());
    for input in [&export, &array] {
        for up in [true, false] {
            let other = if up { Rollcall::up(&[]) } else { Rollcall::down() };
            assert_eq!(outcome(&import(&other, &[], input)), [31, 0, 0], "{up}");
            assert_eq!(other.ok(&["export"]), export, "{up}");
            assert_eq!(other.ok(&["export", "--format", "json"]), array);
            assert_eq!(other.ok(&["list"]), rollcall.ok(&["list"]));
            let [one, two] = [&rollcall, &other].map(|r| r.ok(&["show", &sid(4), "--json"]));
            assert_eq!(one, two);
            assert_eq!(status(&other)["calls"], 31);
        }
    }
    assert_eq!(rollcall.stop(), Some(0));
    assert_eq!(rollcall.ok(&["export"]), export, "up and down");
    rollcall.ok(&["rebuild"]);
    assert_eq!(rollcall.ok(&["export"]), export, "after a rebuild");
}

#[test]
fn filters_choose_what_is_exported() {
    let rollcall = every_kind();
    let count = |args: &[&str]| rollcall.ok(&[&["export"], args].concat()).lines().count();
    let all = count(&[]);
    assert_eq!(all, 31);
    assert_eq!(count(&["--account", A2]), 4);
    assert_eq!(count(&["--account", A1]), 27);
    assert_eq!(count(&["--account", A1, "--account", A2, "--account", A2]), all);
    assert_eq!(count(&["--account", &sid(1)]), 0);
    let inbound = count(&["--direction", "inbound"]);
    assert_eq!(inbound + count(&["--direction", "outbound"]), all);
    assert_eq!(count(&["--from", "+15550000002"]), 1);
    assert_eq!(count(&["--from", "+1555000000"]), 0, "a number is meant whole");
    assert_eq!(count(&["--to", "+15550000000"]), 5);
    assert_eq!(count(&["--start", "2026-01-31", "--end", "2026-02-01"]), 2);
    assert_eq!(count(&["--start", "2026-01-31T12:00:00Z", "--end", "2026-01-31T12:00:00.001Z"]), 2);
    assert_eq!(count(&["--end", "2026-01-31T12:00:00Z"]), 1, "the end is not within");
    // A stale call leaves lists that filter by status, and no others.
    assert_eq!(count(&["--end", "2021-01-01", "--status", "ringing"]), 0);
    assert_eq!(count(&["--end", "2021-01-01", "--direction", "inbound"]), 1);
    let statuses = ["completed", "busy", "failed", "no-answer", "queued", "trying", "ringing"];
    let statuses = [&statuses[..], &["alerting", "early-media", "in-progress"]].concat();
    let one_by_one: usize = statuses.iter().map(|status| count(&["--status", status])).sum();
    assert_eq!(one_by_one, all - 1);
    assert_eq!(count(&["--status", &statuses.join(",")]), all - 1);
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    for up in [true, false] {
        let mut rollcall = Rollcall::up(&[]);
        import(&rollcall, &[], &[record(1, TIMES), record(2, "")].join("\n"));
        if !up {
            assert_eq!(rollcall.stop(), Some(0));
        }
        let dir = rollcall.dir.path().join("out");
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("calls.ndjson");
        let file = path.to_str().unwrap();
        std::fs::write(&path, "what was there").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        for wrong in [&["--status", "done"][..], &["--start", "x"]] {
            let printed = rollcall.run(&[&["export", "-o", file], wrong].concat());
            assert_eq!(printed.code, Some(2), "{printed:?}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "what was there");
        let printed = rollcall.run(&["export", "-o", file]);
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(0), ""));
        assert_eq!(printed.stderr, "2 calls exported\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), rollcall.ok(&["export"]));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // A link stays one, and its target is what is replaced.
        let link = dir.join("link");
        symlink(&path, &link).unwrap();
        let args = ["export", "--format", "json", "-o", link.to_str().unwrap()];
        rollcall.ok(&args);
        assert!(link.is_symlink());
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("[\n{"));
        let names = std::fs::read_dir(&dir).unwrap().count();
        assert_eq!(names, 2, "nothing unfinished is left");
        let printed = rollcall.run(&["export", "-o", dir.to_str().unwrap()]);
        assert_eq!(printed.code, Some(1));
        assert!(printed.stderr.contains("irectory"), "{printed:?}");
        // Devices are written to, and not replaced.
        let device = dir.join("device");
        symlink("/dev/null", &device).unwrap();
        rollcall.ok(&["export", "-o", device.to_str().unwrap()]);
        assert!(device.is_symlink() && !std::path::Path::new("/dev/null").is_file());
        assert_eq!(rollcall.ok(&["export", "-o", "-"]), rollcall.ok(&["export"]));
        let full = rollcall.run(&["export", "-o", "/dev/full"]);
        assert_eq!(full.code, Some(1));
        assert!(full.stderr.contains("cannot write /dev/full: "), "{full:?}");
    }
}

#[test]
fn an_empty_store_is_an_empty_export() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.ok(&["export"]), "");
    assert_eq!(rollcall.ok(&["export", "--format", "json"]), "[]\n");
    assert_eq!(rollcall.ok(&["list", "--json"]), "[]\n");
    assert_eq!(rollcall.ok(&["list"]).lines().count(), 1);
}

#[test]
fn an_array_is_one_whatever_its_size() {
    let rollcall = Rollcall::up(&[]);
    // Several pieces of what comes through the socket.
    let records: Vec<_> = (0..500).map(|n| record(n, TIMES)).collect();
    import(&rollcall, &[], &records.join("\n"));
    let array = rollcall.ok(&["export", "--format", "json"]);
    let array: Vec<serde_json::Value> = serde_json::from_str(&array).unwrap();
    let lines = rollcall.ok(&["export"]);
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(rollcall.ok(&["export"]).len() > 2 * 64 * 1024);
    assert_eq!(array, lines);
}
