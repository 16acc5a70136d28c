//! Two releases beside each other: this one, and one that reads a further version of messages. The second is built by the test
//! of the same sources, with two constants changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::harness::{Printed, ROLLCALL, have, until};
use super::node::with_log;
use super::three::{MACHINES, Setup, Three};
use super::writers::{Load, Progress};

const WORKERS: usize = 6;
/// Requests that are acknowledged before and after each step.
const MORE: usize = 30;
/// What the second release calls itself.
const LATER: &str = "99.0.0";

/// A release that reads version 2 of messages.
fn later_release() -> Option<PathBuf> {
    if !have("cargo") {
        return None;
    }
    let from = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = Path::new(ROLLCALL).parent().unwrap();
    let target = built.parent().unwrap().parent().unwrap();
    let dir = target.join("later-release");
    let source = dir.join("source");
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        // Cargo reads the configuration of directories above as well, and would have each flag twice.
        let is_above = name == ".cargo" && target.starts_with(from);
        if name != "target" && name != ".git" && !is_above {
            copy(&from.join(&name), &source.join(&name));
        }
    }
    let version = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
    let other = format!("version = \"{LATER}\"");
    let named = |version: &str| format!("name = \"rollcall\"\n{version}");
    change(&source.join("Cargo.toml"), &named(version), &named(&other));
    change(&source.join("Cargo.lock"), &named(version), &named(&other));
    let constant = |version: u8| format!("pub const MESSAGE_VERSION: u8 = {version};");
    change(&source.join("src/codec/messages.rs"), &constant(1), &constant(2));
    // Libraries are those of this build, with the features that its tests need of them.
    let own = "[dev-dependencies]\nrollcall = { path = \".\", features = [\"fuzzing\"] }";
    change(&source.join("Cargo.toml"), own, "[target.'cfg(all())'.dependencies]");
    change(&source.join("Cargo.lock"), " \"rollcall\",\n", "");
    let of_target = |path: &Path| dir.join("target").join(path.strip_prefix(target).unwrap());
    for made in [built.to_owned(), target.join("debug")] {
        for part in ["deps", "build", ".fingerprint"] {
            link(&made.join(part), &of_target(&made).join(part));
        }
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--locked", "--offline", "--bin", "rollcall", "--target-dir"]);
    cargo.arg(dir.join("target")).current_dir(&source);
    // It is to be there soon, and not to be fast.
    cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_INCREMENTAL", "0");
    let made = cargo.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Some(of_target(built).join("rollcall"))
}

/// Copies files, with the times that tell whether they have changed.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
        return;
    }
    fs::copy(from, to).unwrap();
    set_time(to, fs::metadata(from).unwrap().modified().unwrap());
}

/// Changes a text that stands in a file once.
fn change(file: &Path, before: &str, after: &str) {
    let (text, time) =
        (fs::read_to_string(file).unwrap(), fs::metadata(file).unwrap().modified().unwrap());
    assert_eq!(text.matches(before).count(), 1, "{}: {before:?}", file.display());
    fs::write(file, text.replacen(before, after, 1)).unwrap();
    set_time(file, time);
}

fn set_time(file: &Path, time: SystemTime) {
    fs::File::options().append(true).open(file).unwrap().set_modified(time).unwrap();
}

/// The same files under other names; those of this package apart, which are made anew.
fn link(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let is_own = ["rollcall-", "librollcall-", "it-"];
        if is_own.iter().any(|own| name.to_str().unwrap().starts_with(own)) {
            continue;
        }
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            link(&from, &to);
        } else if !to.exists() {
            fs::hard_link(&from, &to).unwrap();
        }
    }
}

impl Three {
    /// What `cluster level` says, and its exit code.
    fn told_level(&self, n: usize) -> (Value, Option<i32>) {
        let told = self.nodes[n].run(&["cluster", "level", "--json"]);
        (serde_json::from_str(&told.stdout).unwrap(), told.code)
    }

    fn level(&self, n: usize) -> Value {
        self.told_level(n).0
    }

    fn raise(&self, n: usize) -> Printed {
        self.nodes[n].run(&["cluster", "level", "--raise"])
    }

    /// Replaces what a node runs, and waits until it is up with the log.
    fn replace(&mut self, n: usize, program: &Path) {
        assert_eq!(self.nodes[n].stop(), Some(0));
        self.nodes[n].set_program(program);
        self.start_node(n);
        self.all_ready();
    }

    /// Has a node run this, and returns why it applies nothing.
    fn stops(&mut self, n: usize, program: &Path) -> String {
        self.nodes[n].set_program(program);
        self.start_node(n);
        let figures = until("the node stops", || {
            Some(self.figures(n)).filter(|figures| figures["state"] == "stopped")
        });
        let why = figures["why"].as_str().unwrap().to_owned();
        let ready = self.targets.send(n, "GET", "/readyz", &[], "").unwrap();
        assert!(ready.status == 503 && ready.body.contains(&why), "{ready:?}");
        why
    }

    /// The versions of the messages behind this one.
    fn versions(&self, after: u64) -> Vec<u8> {
        let last = self.rest().seq;
        with_log(&self.servers, async |_, log| {
            let mut versions = Vec::new();
            for seq in after + 1..=last {
                versions.push(log.message_at(seq).await.unwrap().unwrap().bytes[0]);
            }
            versions
        })
    }
}

/// What each node reads, by its release.
fn reads(level: &Value) -> Vec<(&str, u64)> {
    let nodes = level["nodes"].as_array().unwrap().iter();
    nodes.map(|node| (node["release"].as_str().unwrap(), node["reads"].as_u64().unwrap())).collect()
}

#[test]
fn releases_run_beside_each_other_until_the_level_is_raised() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let Some(later) = later_release() else { return };
    let (own, later) = (Path::new(ROLLCALL), later.as_path());
    let release = env!("CARGO_PKG_VERSION");
    assert_eq!(reads(&three.level(0)), [(release, 1); MACHINES]);
    let nothing = three.raise(0);
    assert_eq!(nothing.code, Some(0), "{nothing:?}");
    assert!(nothing.stdout.contains("no node reads a later one"), "{nothing:?}");

    let mut load = Load::new(21, WORKERS);
    let targets = three.targets.clone();
    let more = |progress: &Progress| progress.more(MORE);
    load.during(&targets, |progress| {
        more(progress);
        for n in 0..MACHINES {
            three.replace(n, later);
            more(progress);
            let level = until("its release is heard", || {
                let level = three.level(2 - n);
                (reads(&level).get(n) == Some(&(LATER, 2))).then_some(level)
            });
            assert_eq!(level["writes"], 1, "{level}");
            if n + 1 < MACHINES {
                let refused = three.raise(n);
                assert_ne!(refused.code, Some(0), "{refused:?}");
                let said = "the cluster writes messages of version 1, and";
                assert!(refused.stderr.contains(said), "{refused:?}");
            }
        }
    });
    // There is a way back until it is raised, also for a single node.
    three.replace(1, own);
    three.replace(1, later);
    // One that is away may be of any release.
    assert_eq!(three.nodes[2].stop(), Some(0));
    until("a node is not heard", || three.level(0)["nodes"][2]["reads"].is_null().then_some(()));
    let refused = three.raise(0);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("what node3 reads, which is not heard"), "{refused:?}");
    three.start_node(2);
    let before = three.rest().seq;
    assert!(three.versions(0).iter().all(|version| *version == 1));
    let backup = three.dir().join("before.tar.zst");
    three.nodes[0].ok(&["backup", backup.to_str().unwrap()]);
    let done =
        until("all nodes are heard", || Some(three.raise(0)).filter(|done| done.code == Some(0)));
    let said = "from now on the cluster writes messages of version 2";
    assert!(done.stdout.contains(said), "{done:?}");
    let raised = three.rest().seq;
    // A node of before stops where it was raised, and loses nothing by that.
    assert_eq!(three.nodes[2].stop(), Some(0));
    three.nodes[2].set_program(own);
    let (data, aside) = (three.nodes[2].data().to_owned(), three.dir().join("aside"));
    fs::rename(&data, &aside).unwrap();
    three.nodes[2].ok(&["restore", backup.to_str().unwrap(), "--node", "node3"]);
    // Clients know its certificate.
    fs::remove_dir_all(data.join("tls")).unwrap();
    fs::rename(aside.join("tls"), data.join("tls")).unwrap();
    let why = three.stops(2, own);
    let said =
        "a message of version 2, and this release reads up to 1: expected a later release here";
    assert!(why.contains(said), "{why}");
    let stopped_at = three.position(2).unwrap().seq;
    assert!((before..raised).contains(&stopped_at), "{stopped_at}, {before}, {raised}");
    load.during(&targets, more);
    three.nodes[2].kill();
    three.nodes[2].set_program(later);
    three.start_node(2);
    load.during(&targets, more);
    let versions = three.versions(stopped_at);
    // That node has taken events as well.
    let written = versions.iter().filter(|version| **version == 2);
    assert!(written.count() > 10, "{versions:?}");
    // And so does what goes back to before.
    assert_eq!(three.nodes[1].stop(), Some(0));
    let why = three.stops(1, own);
    let said = "the cluster writes messages of version 2, and this release reads up to 1: expected a later \
                release here";
    assert!(why.ends_with(said), "{why}");
    load.during(&targets, more);
    let (level, code) = three.told_level(0);
    assert_eq!((reads(&level)[1], code), ((release, 1), Some(1)), "{level}");
    three.replace(1, later);
    three.rest();
    for n in 0..MACHINES {
        assert_eq!(three.level(n)["writes"], json!(2));
    }
    three.check(&load);
    let counted = load.history.counted();
    assert!(counted.logged > 5 * MORE, "{counted}");
    eprintln!("two releases: {counted}; 0 lost");
}
