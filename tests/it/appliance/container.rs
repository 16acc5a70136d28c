//! The image, built and run by podman: an empty root that cannot be written to, whatever user, group 0, a
//! volume with `lost+found`, 128 MiB of memory.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::super::harness::{A1, Printed, ROLLCALL, Rollcall, event, have, print, skip, until};

const MEMORY: u64 = 128 << 20;
const USER: &str = "1000650000:0";

/// podman with a store of its own, which goes with it.
struct Engine {
    dir: TempDir,
}

/// Where a container may not be told its limits by both kinds of control groups at once.
const ALONE: &str = "umount -R /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";

impl Engine {
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root runs containers with a limit of memory");
            return None;
        }
        let there = have("podman") && have("crun") && have("unshare");
        there.then(|| Self { dir: tempfile::tempdir().unwrap() })
    }

    fn options(&self) -> Vec<String> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let places = [("--root", "storage"), ("--runroot", "run"), ("--tmpdir", "tmp")];
        let places = places.map(|(flag, name)| [flag.to_owned(), at(name)]);
        let more = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "crun"];
        places.concat().into_iter().chain(more.map(str::to_owned)).collect()
    }

    fn podman(&self, args: &[&str], input: &[u8]) -> Printed {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", ALONE, "sh", "podman"]).args(self.options()).args(args);
        print(&mut command, input)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let printed = self.podman(args, b"");
        assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
        printed.stdout
    }

    /// A program of the container, with this input.
    #[track_caller]
    fn exec(&self, args: &[&str], input: &[u8]) -> String {
        let printed = self.podman(&[&["exec", "-i", "box", "rollcall"], args].concat(), input);
        assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
        printed.stdout
    }

    fn build(&self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/image");
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", ALONE, "sh"]).arg(script).args([ROLLCALL, "box"]);
        command.env("ENGINE", format!("podman {}", self.options().join(" ")));
        command.env("CONTEXT", self.dir.path().join("context"));
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(0), "{printed:?}");
    }

    /// A directory as the first one of a new disk, of root and group 0.
    fn disk(&self, name: &str) -> PathBuf {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(dir.join("lost+found")).unwrap();
        fs::set_permissions(dir.join("lost+found"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o770)).unwrap();
        dir
    }

    fn run(&self, volume: &Path, backup: &Path) {
        let mount = |from: &Path, to: &str| format!("{}:{to}", from.display());
        self.ok(&[
            &["run", "--detach", "--name=box", "--network=host", "--no-hosts"][..],
            &["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--user", USER],
            &["--security-opt=no-new-privileges", "--memory=128m", "--pids-limit=100"],
            &["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"],
            &["--env=ROLLCALL_LISTEN=127.0.0.1:0", "--volume", &mount(volume, "/var/lib/rollcall")],
            &["--volume", &mount(backup, "/backup"), "box"],
        ]
        .concat());
    }

    fn inspect(&self, what: &str) -> String {
        self.ok(&["inspect", "--format", what, "box"]).trim().to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let gone = self.podman(&["rm", "--force", "--time=0", "--ignore", "box"], b"");
        if std::thread::panicking() {
            eprintln!("{gone:?}");
        }
    }
}

/// The limit of a process's memory and the most that it has had, as its control group counts.
fn memory(pid: &str) -> (u64, u64) {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let number = |path: String| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        text.trim().parse().unwrap()
    };
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:"));
    if let Some((_, path)) = v1 {
        let at = |name: &str| number(format!("/sys/fs/cgroup/memory{path}/memory.{name}"));
        return (at("limit_in_bytes"), at("max_usage_in_bytes"));
    }
    let path = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let at = |name: &str| number(format!("/sys/fs/cgroup{path}/memory.{name}"));
    (at("max"), at("peak"))
}

/// The most memory of its own that a process has had.
fn resident_max(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn the_image_serves_from_an_empty_root_that_cannot_be_written_to() {
    let Some(engine) = Engine::new() else { return };
    engine.build();
    let image =
        "{{.Config.User}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.Healthcheck.Test}}";
    let said = engine.ok(&["image", "inspect", "--format", image, "box"]);
    let health = "[CMD /usr/bin/rollcall health --for events]";
    assert_eq!(said, format!("65532:0 [/usr/bin/rollcall] [serve] {health}\n"));
    let (volume, backup) = (engine.disk("volume"), engine.disk("backup"));
    engine.run(&volume, &backup);
    let listening = || {
        let said = engine.podman(&["logs", "box"], b"");
        let line = said.stdout.lines().find_map(|line| line.strip_prefix("listening on https://"));
        assert_eq!(engine.inspect("{{.State.Status}}"), "running", "{said:?}");
        line?.rsplit(':').next()?.parse().ok()
    };
    let mut rollcall = Rollcall::down_in(&volume);
    rollcall.attach(until("the container listens", listening));
    let pid = engine.inspect("{{.State.Pid}}");
    assert_eq!(memory(&pid).0, MEMORY);
    for part in 0..10 {
        let events: Vec<_> = (part * 1000..(part + 1) * 1000).map(|n| event(n, "busy")).collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    }
    let list = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
    assert_eq!(list.json().as_array().unwrap().len(), 10_000);

    engine.exec(&["health"], b"");
    engine.ok(&["healthcheck", "run", "box"]);
    engine.exec(&["doctor"], b"");
    let exported = engine.exec(&["export"], b"");
    assert_eq!(exported.lines().count(), 10_000);
    let zone = engine.exec(&["export", "--format=csv", "--time-zone=Europe/Berlin"], b"");
    assert!(zone.contains("+01:00") || zone.contains("+02:00"), "{}", &zone[..500]);
    let again = engine.exec(&["import"], exported.as_bytes());
    assert!(again.contains("10000"), "{again}");
    engine.exec(&["backup", "/backup", "--keep", "2"], b"");
    engine.exec(&["backup", "/backup/one.tar.zst"], b"");
    engine.exec(&["verify", "/backup/one.tar.zst"], b"");
    engine.exec(&["check"], b"");
    engine.exec(&["compact"], b"");
    let (peak, resident) = (memory(&pid).1 >> 20, resident_max(&pid));
    eprintln!("of 128 MiB at most: {peak} MiB of the group, {} MiB resident", resident >> 20);
    assert!(resident < MEMORY, "{resident}");

    engine.ok(&["stop", "--time=200", "box"]);
    let ended = engine.inspect("{{.State.ExitCode}} {{.State.OOMKilled}}");
    assert_eq!(ended, "0 false", "{:?}", engine.podman(&["logs", "box"], b""));
    assert!(volume.join("lost+found").exists());
    // It was the only thing in the image, and wrote nowhere else.
    let mounted = engine.ok(&["image", "mount", "box"]);
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from(mounted.trim())];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { found.push(path) }
        }
    }
    assert!(found.len() == 1 && found[0].ends_with("usr/bin/rollcall"), "{found:?}");
}
