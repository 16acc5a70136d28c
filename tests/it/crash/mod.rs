//! `kill -9` at any moment, and directories that somebody has damaged.

mod compact;
mod import;
mod index;
mod journal;
mod rounds;
mod start;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::harness::{A1, Printed, Rollcall, print, sid, until};
use super::load::Random;

/// Checkpoints, rotation and eviction happen all the time.
pub const RESTLESS: [&str; 7] = [
    "--store-segment-bytes=1048576",
    "--store-checkpoint-interval=20ms",
    "--store-live-checkpoint-age=100ms",
    "--store-registry-calls=1000",
    "--store-replay-bytes=1048576",
    "--calls-sweep-interval=50ms",
    "--store-index-cache-bytes=4194304",
];

/// Nothing but what is asked for gets into the journal.
pub const QUIET: [&str; 1] = ["--store-checkpoint-interval=1day"];

/// Lets something happen for a random time.
pub fn wait(random: &mut Random, millis: usize) {
    let end = Instant::now() + Duration::from_millis(5 + random.below(millis) as u64);
    // Threads that have ended may have left a token that ends the first one at once.
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Journal and index agree. A server that builds its index says so and is asked again.
pub fn assert_checked(rollcall: &Rollcall) {
    let printed = until("there is an index to check", || {
        let printed = rollcall.run(&["check"]);
        (!printed.stderr.contains("is being built again")).then_some(printed)
    });
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.stdout.ends_with(" compared: journal and index agree\n"), "{printed:?}");
}

/// A start that is to fail, and ends all the same where it does not.
pub fn start_fails(rollcall: &Rollcall) -> Printed {
    let serve = rollcall.serve_command();
    let mut command = Command::new("timeout");
    print(command.arg("60").arg(serve.get_program()).args(serve.get_args()), b"")
}

/// The sids of the calls of [`A1`], in their own order.
pub fn listed(rollcall: &Rollcall) -> Vec<String> {
    let path = format!("/v1/Accounts/{A1}/Calls");
    let answer = until("there is an index to list from", || {
        let answer = rollcall.get(&rollcall.admin(), &path);
        (answer.status != 503).then_some(answer)
    });
    let calls = answer.json();
    let sids = calls.as_array().unwrap().iter();
    let mut sids: Vec<_> = sids.map(|c| c["call_sid"].as_str().unwrap().to_owned()).collect();
    sids.sort();
    sids
}

/// Those of calls 1 to `count`.
pub fn sids(count: u32) -> Vec<String> {
    (1..=count).map(sid).collect()
}

/// The files in a directory that end so, by name.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect();
    found.sort();
    found
}

pub fn segments(rollcall: &Rollcall) -> Vec<PathBuf> {
    files(&rollcall.data().join("journal"), ".log")
}

/// Changes one byte, or changes it back.
fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}
