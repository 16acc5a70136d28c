//! Volumes as platforms give them: root's at the top, and written to by a group or by whatever user the
//! platform has chosen, with what the file system keeps there for itself.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::super::harness::{Printed, ROLLCALL, Rollcall, event, have, print, skip};
use super::doctor::{bad, level, set_mode};

/// A user, the group that it runs with, and the other ones.
#[derive(Clone, Copy)]
struct User(u32, u32, &'static str);

/// A place that every user may enter, with the binary in it, and a volume.
struct Mount {
    dir: TempDir,
    volume: PathBuf,
}

impl Mount {
    /// None where this cannot be tried.
    fn new(uid: u32, gid: u32, mode: u32) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can give files away");
            return None;
        }
        if !have("setpriv") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        // By another process: a file that this one has open for writing cannot be run by a child that
        // another test has just forked.
        let binary = dir.path().join("rollcall");
        assert!(Command::new("cp").args([ROLLCALL.as_ref(), &*binary]).status().unwrap().success());
        let volume = dir.path().join("volume");
        fs::create_dir_all(volume.join("lost+found")).unwrap();
        set_mode(&volume.join("lost+found"), 0o700);
        chown(&volume, Some(uid), Some(gid)).unwrap();
        set_mode(&volume, mode);
        Some(Self { dir, volume })
    }

    /// The binary, run by this user.
    fn by(&self, user: User) -> Command {
        let mut command = Command::new("setpriv");
        let User(uid, gid, groups) = user;
        command.args([&format!("--reuid={uid}"), &format!("--regid={gid}")]);
        command.arg(if groups.is_empty() {
            "--clear-groups".to_owned()
        } else {
            format!("--groups={groups}")
        });
        command.arg(self.dir.path().join("rollcall"));
        command
    }

    /// A server of this user on the volume.
    fn serve(&self, user: User, args: &[&str]) -> Rollcall {
        let mut rollcall = Rollcall::down_in(&self.volume);
        let mut command = self.by(user);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&self.volume);
        command.args(args);
        rollcall.start_with(command);
        rollcall
    }

    fn run(&self, user: User, args: &[&str]) -> Printed {
        let mut command = self.by(user);
        command.args(args).arg("--data-dir").arg(&self.volume);
        print(&mut command, b"")
    }

    /// What the doctor says to this user.
    fn doctor(&self, user: User, vars: &[(&str, &Path)]) -> Vec<Value> {
        let mut command = self.by(user);
        command.args(["doctor", "--json", "--data-dir"]).arg(&self.volume);
        command.env("ROLLCALL_LISTEN", "127.0.0.1:0").envs(vars.iter().copied());
        let printed = print(&mut command, b"");
        let said: Value =
            serde_json::from_str(&printed.stdout).unwrap_or_else(|e| panic!("{e}: {printed:?}"));
        said["findings"].as_array().unwrap().clone()
    }

    /// Does what Kubernetes does with `fsGroup` before a pod starts.
    fn give_to_group(&self, gid: u32) {
        let mut dirs = vec![self.volume.clone()];
        while let Some(dir) = dirs.pop() {
            chown(&dir, None, Some(gid)).unwrap();
            set_mode(&dir, dir.metadata().unwrap().mode() & 0o777 | 0o2770);
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let about = fs::symlink_metadata(&path).unwrap();
                if about.is_dir() {
                    dirs.push(path);
                } else if about.is_file() {
                    chown(&path, None, Some(gid)).unwrap();
                    set_mode(&path, about.mode() & 0o777 | 0o660);
                }
            }
        }
    }
}

const ROOT: User = User(0, 0, "");

#[test]
fn volumes_of_platforms_are_as_they_should_be() {
    for (volume, user) in [
        // Its own.
        ((21_999, 21_999, 0o700), User(21_999, 21_999, "")),
        // Kubernetes, fsGroup: one more group, or the only one.
        ((0, 22_000, 0o2770), User(21_000, 21_000, "22000")),
        ((0, 21_000, 0o2770), User(21_000, 21_000, "")),
        ((0, 22_000, 0o2775), User(21_000, 0, "22000")),
        // OpenShift.
        ((0, 0, 0o770), User(1_000_650_000, 0, "")),
        // Another user has made it, and gives it by the group.
        ((23_000, 22_000, 0o770), User(21_000, 21_000, "22000")),
    ] {
        let (uid, gid, mode) = volume;
        let Some(place) = Mount::new(uid, gid, mode) else { return };
        let sees = |what: &str| {
            for who in [user, ROOT] {
                let findings = place.doctor(who, &[]);
                let bad = bad(&findings);
                // That others may list its names is right, and that a stranger owns it.
                let expected = usize::from(mode == 0o2775 || uid == 23_000);
                assert_eq!(bad.len(), expected, "{what} {volume:?}: {bad:#?}");
            }
        };
        let mut rollcall = place.serve(user, &[]);
        assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
        sees("up");
        for args in [&["status"][..], &["list"], &["check"]] {
            let printed = place.run(user, args);
            assert_eq!(printed.code, Some(0), "{volume:?} {args:?}: {printed:?}");
        }
        assert_eq!(rollcall.stop(), Some(0));
        sees("down");
        assert!(place.run(user, &["list"]).stdout.contains("+15550000001"));
    }
}

#[test]
fn advice_about_a_volume_locks_no_server_out() {
    let user = User(21_000, 21_000, "22000");
    for (uid, gid, mode) in [(0, 0, 0o777), (0, 22_000, 0o2777), (21_000, 0, 0o755), (0, 0, 0o757)]
    {
        let Some(place) = Mount::new(uid, gid, mode) else { return };
        let mut rollcall = place.serve(user, &[]);
        let findings = place.doctor(user, &[]);
        let [only] = &bad(&findings)[..] else { panic!("{findings:#?}") };
        assert_eq!(only["level"], "error");
        let advice = only["advice"].as_str().unwrap();
        assert_eq!(rollcall.stop(), Some(0));
        let advice = advice.strip_prefix("as root: ").unwrap_or(advice);
        assert!(Command::new("sh").args(["-c", advice]).status().unwrap().success(), "{advice}");
        let mut rollcall = place.serve(user, &[]);
        let findings = place.doctor(user, &[]);
        assert_eq!(bad(&findings), Vec::<&Value>::new(), "{advice}");
        assert_eq!(rollcall.stop(), Some(0));
    }
    // One that it cannot use at all.
    let Some(place) = Mount::new(0, 0, 0o755) else { return };
    let findings = place.doctor(user, &[]);
    assert_eq!(level(&findings, "volume", "user 21000, cannot write to it"), "error");
}

#[test]
fn a_volume_that_is_given_to_a_group_again_serves_the_next_user_too() {
    let Some(place) = Mount::new(0, 22_000, 0o2770) else { return };
    let (first, next) = (User(21_000, 21_000, "22000"), User(21_001, 21_001, "22000"));
    let mut rollcall = place.serve(first, &[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    for user in [first, next] {
        place.give_to_group(22_000);
        let mut rollcall = place.serve(user, &[]);
        let list = format!("/v1/Accounts/{}/Calls", super::super::harness::A1);
        assert!(rollcall.get(&rollcall.admin(), &list).body.contains("+15550000001"));
        assert_eq!(place.run(user, &["status"]).code, Some(0));
        let findings = place.doctor(user, &[]);
        let others = usize::from(user.0 == next.0);
        let bad = bad(&findings);
        assert_eq!(bad.len(), others, "{bad:#?}");
        assert!(bad.iter().all(|one| one["level"] == "warn"), "{bad:#?}");
        assert_eq!(rollcall.stop(), Some(0));
    }
}

#[test]
fn a_restore_goes_into_a_volume_that_is_given_to_a_group() {
    let Some(place) = Mount::new(0, 22_000, 0o2770) else { return };
    let user = User(21_000, 21_000, "22000");
    let mut rollcall = place.serve(user, &[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let elsewhere = place.dir.path().join("backups");
    fs::create_dir(&elsewhere).unwrap();
    chown(&elsewhere, Some(21_000), None).unwrap();
    let backup = elsewhere.join("backup");
    let made = place.run(user, &["backup", backup.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(rollcall.stop(), Some(0));
    let Some(new) = Mount::new(0, 22_000, 0o2770) else { return };
    fs::rename(&backup, new.dir.path().join("backup")).unwrap();
    let backup = new.dir.path().join("backup");
    let restored = new.run(user, &["restore", backup.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let mut rollcall = new.serve(user, &[]);
    assert_eq!(bad(&new.doctor(user, &[])), Vec::<&Value>::new());
    assert_eq!(rollcall.stop(), Some(0));
    // Root would make files there that the volume's user cannot open.
    let Some(own) = Mount::new(21_000, 21_000, 0o700) else { return };
    let refused = own.run(ROOT, &["restore", backup.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("sudo -u '#21000' rollcall restore"), "{refused:?}");
}

#[test]
fn a_key_is_looked_at_as_the_server_sees_it() {
    let Some(place) = Mount::new(21_000, 21_000, 0o700) else { return };
    let user = User(21_000, 21_000, "22000");
    let authority = super::tls::Authority::new(place.dir.path(), "authority");
    let (chain, key) = authority.give("own", 90);
    let vars = [("ROLLCALL_TLS_CERT", &*chain), ("ROLLCALL_TLS_KEY", &*key)];
    set_mode(&chain, 0o644);
    for (uid, gid, mode, expected) in [
        // A secret of Kubernetes with fsGroup, and without.
        (0, 22_000, 0o440, None),
        (0, 22_000, 0o640, None),
        (0, 22_000, 0o660, None),
        (21_000, 0, 0o640, None),
        (0, 0, 0o644, Some("so that others may use it")),
        (0, 0, 0o400, Some("the server, user 21000, cannot read the private key")),
        (21_000, 0, 0o660, Some("so that others may use it")),
    ] {
        chown(&key, Some(uid), Some(gid)).unwrap();
        set_mode(&key, mode);
        let findings = place.doctor(user, &vars);
        let about_it: Vec<_> = findings.iter().filter(|one| one["level"] == "error").collect();
        match expected {
            None => assert!(about_it.is_empty(), "{uid} {gid} {mode:o}: {about_it:#?}"),
            Some(problem) => assert_eq!(level(&findings, "own.key", problem), "error"),
        }
    }
    // What nobody gets to is open to nobody.
    chown(&key, Some(21_000), Some(0)).unwrap();
    set_mode(&key, 0o644);
    let closed = place.dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    chown(&closed, Some(21_000), None).unwrap();
    set_mode(&closed, 0o700);
    fs::rename(&key, closed.join("own.key")).unwrap();
    let findings = place.doctor(
        user,
        &[("ROLLCALL_TLS_CERT", &*chain), ("ROLLCALL_TLS_KEY", &closed.join("own.key"))],
    );
    assert_eq!(bad(&findings).len(), 0, "{findings:#?}");
}
