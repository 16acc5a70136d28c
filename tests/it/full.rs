//! A disk that is short of space, or has none.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::crash::{assert_checked, listed, sids};
use super::harness::{Rollcall, event, sid, until};
use super::power::Disk;

const MIB: u64 = 1 << 20;
/// A reserve of a few MiB, and a gate above it.
pub const SMALL: [&str; 5] = [
    "--store-min-free-bytes=33554432",
    "--store-reserve-bytes=8388608",
    "--store-segment-bytes=1048576",
    "--store-checkpoint-interval=50ms",
    "--store-live-checkpoint-age=1ms",
];
/// More than any disk has.
const SHUT: &str = "--store-min-free-bytes=1125899906842624";

/// Takes all that is left of a disk.
pub fn fill(path: &Path) {
    let mut file = File::options().create(true).append(true).open(path).unwrap();
    for length in [1 << 20, 1 << 12, 1] {
        let piece = vec![7; length];
        while file.write_all(&piece).and_then(|()| file.sync_data()).is_ok() {}
    }
}

/// Whether an event is, one that would change nothing: the gate may not have shut yet.
pub fn refused(rollcall: &Rollcall) -> bool {
    let answer = rollcall.post_events(&event(1, "completed"));
    if answer.status == 204 {
        return false;
    }
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")), "{answer:?}");
    let msg = answer.json()["msg"].as_str().unwrap().to_owned();
    // How much is free concerns the operator, and no tenant.
    assert_eq!(msg, "the server is short of disk space; nothing of this was stored");
    rollcall.status().contains("events and imports are refused below")
}

#[test]
fn below_the_least_room_events_and_imports_are_refused_and_all_else_goes_on() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "completed")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&[SHUT]);
    rollcall.start();
    let admin = rollcall.admin();
    assert!(refused(&rollcall));
    assert_eq!(listed(&rollcall), sids(1));
    let ready = rollcall.send("GET", "/readyz", &[], b"").unwrap();
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"read-only".into()), "{ready:?}");
    assert!(!ready.body.contains(|c: char| c.is_ascii_digit()), "{ready:?}");
    let events = rollcall.send("GET", "/readyz?for=events", &[], b"").unwrap();
    assert_eq!(events.status, 503, "{events:?}");
    assert!(!events.body.contains(|c: char| c.is_ascii_digit()), "{events:?}");
    let metrics = rollcall.get(&admin, "/metrics").body;
    for sample in ["rollcall_disk_low 1", "rollcall_disk_least_bytes 1125899906842624"] {
        assert!(metrics.lines().any(|line| line.starts_with(sample)), "{sample}: {metrics}");
    }
    let counted = "rollcall_hook_requests_refused_total{reason=\"disk\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(rollcall.status().contains("events and imports are refused below"));
    let import = rollcall.run_with(&["import", "-"], event(3, "completed").as_bytes());
    assert_eq!(import.code, Some(1), "{import:?}");
    assert!(import.stderr.contains("store.min_free_bytes"), "{import:?}");
    let token = rollcall.token(&["--admin", "--name", "made while it is short"]);
    let call = format!("/v1/Accounts/{}/Calls/{}", super::harness::A1, sid(1));
    assert_eq!(rollcall.ask("DELETE", &token, &call).status, 204);
    assert_eq!(rollcall.get(&token, &call).status, 404);
    assert_eq!(rollcall.log().matches("the disk is short of space").count(), 1);
}

#[test]
fn a_disk_that_is_full_can_be_opened_and_one_with_room_again_takes_events() {
    let Some(disk) = Disk::new(192 * MIB) else { return };
    let filler = disk.mounted.join("filler");
    let mut rollcall = Rollcall::up_in(&disk.mounted.join("data"), &SMALL);
    let reserve = rollcall.data().join("RESERVE");
    let held = || fs::metadata(&reserve).is_ok_and(|file| file.blocks() * 512 >= 8 * MIB);
    until("there is a reserve", || held().then_some(()));
    assert_eq!(rollcall.post_events(&event(1, "completed")).status, 204);
    fill(&filler);
    until("the gate shuts", || refused(&rollcall).then_some(()));
    assert_eq!(listed(&rollcall), sids(1));
    assert!(held());
    rollcall.kill();

    // The reserve is what this start lives on.
    fill(&filler);
    rollcall.start();
    assert!(refused(&rollcall));
    assert_eq!(listed(&rollcall), sids(1));
    assert!(!reserve.exists());
    rollcall.kill();

    // So do commands.
    assert!(rollcall.status().contains("no reserve"));
    assert!(rollcall.ok(&["export"]).contains(&sid(1)));
    assert_checked(&rollcall);
    let import = rollcall.run_with(&["import", "-"], event(3, "completed").as_bytes());
    assert_eq!(import.code, Some(1), "{import:?}");
    assert!(import.stderr.contains("store.min_free_bytes"), "{import:?}");

    fill(&filler);
    let failed = rollcall.start_fails();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("free some space on it and start again"), "{failed:?}");

    fs::remove_file(&filler).unwrap();
    rollcall.start();
    assert_eq!(rollcall.post_events(&event(2, "completed")).status, 204);
    until("the reserve is back", || held().then_some(()));
    assert_eq!(listed(&rollcall), sids(2));
    assert_checked(&rollcall);

    // Without a start in between, too.
    fill(&filler);
    until("the gate shuts", || refused(&rollcall).then_some(()));
    fs::remove_file(&filler).unwrap();
    until("the gate opens", || (!refused(&rollcall)).then_some(()));
    assert_eq!(rollcall.post_events(&event(3, "completed")).status, 204);
    assert!(rollcall.log().contains("the disk has space again"));
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_backup_leaves_the_disk_of_the_store_its_room() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "completed")).status, 204);
    let config = rollcall.dir.path().join("rollcall.toml");
    fs::write(&config, "[store]\nmin_free_bytes = 1125899906842624\n").unwrap();
    let target = rollcall.dir.path().join("backup");
    let (config, target) = (config.to_str().unwrap(), target.to_str().unwrap());
    let failed = rollcall.run(&["backup", target, "--config", config]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("make space, or write to another disk"), "{failed:?}");
    assert!(!Path::new(target).exists());
    rollcall.ok(&["backup", target]);
    assert!(!Path::new(target).join("RESERVE").exists());
}
