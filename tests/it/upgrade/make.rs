//! Makes the fixture of this release. Once before each release:
//!
//! ```text
//! cargo test --test it upgrade::make -- --ignored
//! ```
//!
//! It refuses to replace one: what a release has written stays as it is.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::super::harness::{A1, A2, Rollcall, event, recorded_events, sid, until};
use super::{RELEASES, STILL, pack};

/// What has heard nothing for long gets stale soon.
const BRIEF: [&str; 2] = ["--calls-max-lifetime=1m", "--calls-sweep-interval=50ms"];

#[test]
#[ignore = "it makes a file of the sources"]
fn make_the_fixture_of_this_release() {
    let to = Path::new(RELEASES).join(env!("CARGO_PKG_VERSION"));
    assert!(!to.exists(), "{} is there already", to.display());
    fs::create_dir_all(&to).unwrap();
    let mut rollcall = Rollcall::up(&BRIEF);
    let read = settings(&rollcall);
    calls(&rollcall);
    // Each start begins a segment.
    rollcall.set_args(&STILL);
    for part in 0..4 {
        assert_eq!(rollcall.stop(), Some(0));
        rollcall.start();
        let events: Vec<_> = (10 * part..10 * part + 10).map(|n| event(n, "busy")).collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        if part == 1 {
            rollcall.ok(&["compact", "--drop-history"]);
        }
    }
    rollcall.ok(&["backup", to.join("backup.tar.zst").to_str().unwrap()]);
    fs::write(to.join("export.ndjson"), rollcall.ok(&["export"])).unwrap();
    let told = json!({
        "read": read,
        "admin": rollcall.admin(),
        "tokens": parsed(&rollcall.ok(&["token", "list", "--json"])),
        "accounts": parsed(&rollcall.ok(&["account", "list", "--json"])),
    });
    fs::write(to.join("told.json"), format!("{told:#}\n")).unwrap();
    assert_eq!(rollcall.stop(), Some(0));
    let names: Vec<_> = super::files(&rollcall.data().join("journal")).into_keys().collect();
    let count = |end: &str| names.iter().filter(|n| n.to_str().unwrap().ends_with(end)).count();
    assert!(count(".log.zst") > 0 && count(".log") > 1, "{names:?}");
    pack(rollcall.dir.path(), &to.join("data.tar.zst"));
}

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

/// Tokens of every role, and an account with all that it can have. Returns a token that reads.
fn settings(rollcall: &Rollcall) -> String {
    let set = ["account", "set", A1, "--name", "ours", "--keep", "forever"];
    let secrets = ["--webhook-secret", "whsec", "--hook-user", "jambonz", "--hook-password", "pw"];
    rollcall.ok(&[&set[..], &secrets].concat());
    for role in ["full", "ingest", "export", "metrics"] {
        rollcall.token(&["--admin", "--role", role, "--name", role]);
    }
    rollcall.token(&["--service-provider", A2, "--role", "read", "--expires", "90days"]);
    let revoked: serde_json::Value =
        parsed(&rollcall.ok(&["token", "create", "--account", A2, "--json"]));
    rollcall.ok(&["token", "revoke", revoked["id"].as_str().unwrap()]);
    rollcall.token(&["--account", A1, "--role", "read"])
}

/// Calls as jambonz sends them, one that is stale, one that is deleted, and an imported one.
fn calls(rollcall: &Rollcall) {
    assert_eq!(rollcall.post_events(recorded_events()).status, 204);
    let old = event(100, "in-progress").replacen('{', "{\"at\":\"2026-01-31T12:00:00Z\",", 1);
    assert_eq!(rollcall.post_events(&old).status, 204);
    assert_eq!(rollcall.post_events(&event(101, "completed")).status, 204);
    let path = |n| format!("/v1/Accounts/{A1}/Calls/{}", sid(n));
    until("it is stale", || {
        (rollcall.get(&rollcall.admin(), &path(100)).json()["stale"] == true).then_some(())
    });
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path(101)).status, 204);
    let record = event(102, "completed").replacen('{', "{\"customer_data\":{\"a\":[1,null]},", 1);
    let printed = rollcall.run_with(&["import", "-"], record.as_bytes());
    assert_eq!(printed.code, Some(0), "{printed:?}");
}
