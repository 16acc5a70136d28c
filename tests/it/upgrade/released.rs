//! Every release opens what every release before it has left.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::crash::assert_checked;
use super::super::harness::{A1, Rollcall, event};
use super::{RELEASES, STILL, generations, unpack};

/// The fixtures.
fn releases() -> Vec<PathBuf> {
    let found: Vec<_> =
        fs::read_dir(RELEASES).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!found.is_empty(), "no release has a fixture");
    found
}

fn told(release: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(release.join("told.json")).unwrap()).unwrap()
}

/// A list without what moves with time.
fn settled(list: &Value) -> Vec<Value> {
    let mut rows = list.as_array().unwrap().clone();
    for row in &mut rows {
        for moving in ["expired", "last_used_at"] {
            row.as_object_mut().unwrap().remove(moving);
        }
    }
    rows
}

/// All that was told of the data when it was left is told of it now.
fn assert_same(rollcall: &Rollcall, release: &Path, told: &Value) {
    let export = fs::read_to_string(release.join("export.ndjson")).unwrap();
    assert!(export.lines().count() > 50, "{export}");
    assert_eq!(rollcall.ok(&["export"]), export);
    for (key, command) in [("tokens", "token"), ("accounts", "account")] {
        let now: Value = serde_json::from_str(&rollcall.ok(&[command, "list", "--json"])).unwrap();
        assert_eq!(settled(&now), settled(&told[key]), "{key}");
        assert!(!settled(&now).is_empty(), "{key}");
    }
}

/// Tokens and secrets are good for what they were, and events are taken.
fn assert_serves(rollcall: &Rollcall, told: &Value) {
    assert_eq!(rollcall.admin(), told["admin"].as_str().unwrap());
    let list = format!("/v1/Accounts/{A1}/Calls");
    let calls = rollcall.get(told["read"].as_str().unwrap(), &list);
    assert_eq!(calls.status, 200, "{calls:?}");
    let all: Value = rollcall.get(&rollcall.admin(), &list).json();
    assert_eq!(calls.json(), all);
    assert!(all.as_array().unwrap().len() > 40);
    let basic = format!("Basic {}", data_encoding::BASE64.encode(b"jambonz:pw"));
    let headers = [("authorization", &*basic), ("content-type", "application/json")];
    let event = event(9000, "busy");
    let sent = rollcall.send("POST", "/v1/hooks/call-status", &headers, event.as_bytes());
    assert_eq!(sent.unwrap().status, 204);
}

#[test]
fn a_data_directory_of_every_release_opens_with_its_index_and_without() {
    for release in releases() {
        let told = told(&release);
        for with_index in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            unpack(&release.join("data.tar.zst"), dir.path());
            let data = dir.path().join("data");
            assert_eq!(generations(&data).len(), 1);
            if !with_index {
                for index in generations(&data) {
                    fs::remove_dir_all(index).unwrap();
                }
            }
            let mut rollcall = Rollcall::up_in(&data, &STILL);
            let rebuilt = rollcall.log().contains("the index is built anew");
            // An index is read for as long as its layout is the first, and built again after that.
            assert_eq!(rebuilt, !with_index || rollcall::index::LAYOUT != 1);
            assert_same(&rollcall, &release, &told);
            assert_eq!(rollcall.stop(), Some(0));
            assert_same(&rollcall, &release, &told);
            rollcall.start();
            assert_serves(&rollcall, &told);
            assert_checked(&rollcall);
        }
    }
}

#[test]
fn a_backup_of_every_release_is_verified_and_restored() {
    for release in releases() {
        let backup = release.join("backup.tar.zst");
        let backup = backup.to_str().unwrap();
        let rollcall = Rollcall::down();
        let verified: Value =
            serde_json::from_str(&rollcall.ok(&["verify", backup, "--json"])).unwrap();
        assert_eq!(verified["release"].as_str(), release.file_name().unwrap().to_str());
        rollcall.ok(&["restore", backup]);
        let told = told(&release);
        assert_same(&rollcall, &release, &told);
        let served = Rollcall::up_in(rollcall.data(), &STILL);
        assert_serves(&served, &told);
        assert_checked(&served);
    }
}
