//! The owner of the files of a data directory, for each user that runs a command.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;

use super::super::harness::{A1, Printed, ROLLCALL, Rollcall, event, have, print, skip};

const THEY: u32 = 4711;

fn can_be_anybody() -> bool {
    let can = rustix::process::geteuid().is_root() && have("setpriv");
    if !can {
        skip("only root can be somebody else");
    }
    can
}

/// A place that belongs to another user, who can come to it.
fn theirs() -> Rollcall {
    let rollcall = Rollcall::down();
    fs::set_permissions(rollcall.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::create_dir(rollcall.data()).unwrap();
    chown(rollcall.data(), Some(THEY), Some(THEY)).unwrap();
    rollcall
}

/// The same command, as they run it.
fn as_they(command: &Command) -> Command {
    let mut other = Command::new("setpriv");
    let user = THEY.to_string();
    other.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    other.arg(command.get_program()).args(command.get_args());
    other
}

/// Whose everything in a directory is.
fn owners(dir: &Path) -> Vec<(String, u32, u32)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let about = fs::symlink_metadata(&dir).unwrap();
        found.push((dir.display().to_string(), about.uid(), about.gid()));
        if about.is_dir() {
            dirs.extend(fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

fn assert_theirs(dir: &Path, after: &[&str]) {
    for (path, uid, gid) in owners(dir) {
        assert_eq!((uid, gid), (THEY, THEY), "{path} after {after:?}");
    }
}

fn run(rollcall: &Rollcall, args: &[&str], input: &[u8]) -> Printed {
    let mut command = Command::new(ROLLCALL);
    print(command.args(args).arg("--data-dir").arg(rollcall.data()), input)
}

#[test]
fn what_root_makes_in_a_data_directory_is_the_owners() {
    if !can_be_anybody() {
        return;
    }
    let mut rollcall = theirs();
    let made = run(&rollcall, &["token", "create", "--admin", "--init"], b"");
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stderr.contains(", for user 4711"), "{made:?}");
    assert_theirs(rollcall.data(), &["token", "create"]);
    // Files that root asks for elsewhere are root's, also where the owner of the data may not go.
    let own = rollcall.dir.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    let (export, backup) = (own.join("calls"), own.join("backup"));
    let audit = format!("log.audit = {:?}", rollcall.data().join("audit.log"));
    let config = rollcall.dir.path().join("c.toml");
    fs::write(&config, format!("{audit}\n")).unwrap();
    let config = config.to_str().unwrap();
    let call = event(1, "completed");
    for (args, input) in [
        (&["import"][..], call.as_bytes()),
        (&["status"], b""),
        (&["list"], b""),
        (&["check"], b""),
        (&["rebuild"], b""),
        (&["compact", "--drop-history"], b""),
        (&["cert", "renew"], b""),
        (&["account", "set", A1, "--name", "one", "--config", config], b""),
        (&["expire"], b""),
        (&["export", "-o", export.to_str().unwrap()], b""),
        (&["backup", backup.to_str().unwrap()], b""),
        (&["purge", "--number", "+15559990001"], b""),
    ] {
        let printed = run(&rollcall, args, input);
        // No server runs, which is all that `status` finds wrong.
        let code = i32::from(args == ["status"]);
        assert_eq!(printed.code, Some(code), "{args:?}: {printed:?}");
        assert_theirs(rollcall.data(), args);
    }
    assert!(rollcall.data().join("audit.log").exists());
    let audited = fs::read_to_string(rollcall.data().join("audit.log")).unwrap();
    assert!(audited.contains("command uid 0"), "{audited}");
    for (path, uid, _) in owners(&own) {
        assert_eq!(uid, 0, "{path}");
    }
    assert!(fs::read_to_string(&export).unwrap().contains(A1));
    // Their server starts, and knows the token.
    let command = as_they(&rollcall.serve_command());
    rollcall.start_with(command);
    let known = rollcall.get(made.stdout.trim(), &format!("/v1/Accounts/{A1}/Calls"));
    assert_eq!(known.status, 200, "{known:?}");
    assert_eq!(run(&rollcall, &["status"], b"").code, Some(0), "root asks it");
    assert_eq!(rollcall.stop(), Some(0));
    assert_theirs(rollcall.data(), &["serve"]);
}

#[test]
fn nothing_but_the_store_is_written_into_its_directory() {
    let rollcall = Rollcall::up(&[]);
    let bad = rollcall.dir.path().join("bad.json");
    fs::write(&bad, "{}").unwrap();
    let inside = |name: &str| rollcall.data().join(name).display().to_string();
    let (backup, export) = (inside("new/backup"), inside("journal/../out.ndjson"));
    let (rejects, bad) = (inside("rejects"), bad.to_str().unwrap());
    for args in [
        &["backup", &backup][..],
        &["backup", &inside("keep"), "--keep", "2"],
        &["export", "-o", &export],
        &["import", bad, "--on-error", "skip", "--rejects", &rejects],
    ] {
        let refused = run(&rollcall, args, b"");
        assert_eq!(refused.code, Some(2), "{args:?}: {refused:?}");
        assert!(refused.stderr.contains("that is in the data directory"), "{args:?}: {refused:?}");
    }
    for name in ["new", "keep", "out.ndjson", "rejects"] {
        assert!(!rollcall.data().join(name).exists(), "{name}");
    }
}

#[test]
fn a_directory_that_root_makes_is_that_of_the_owner_of_the_place() {
    if !can_be_anybody() {
        return;
    }
    let rollcall = theirs();
    let new = rollcall.data().join("new");
    let mut command = Command::new(ROLLCALL);
    command.args(["account", "set", A1, "--name", "one", "--init", "--data-dir"]).arg(&new);
    let made = print(&mut command, b"");
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_theirs(&new, &["account", "set"]);
}

#[test]
fn a_server_that_may_not_use_its_files_says_whose_they_are_and_what_gives_them_back() {
    if !can_be_anybody() {
        return;
    }
    let mut rollcall = theirs();
    let command = as_they(&rollcall.serve_command());
    rollcall.start_with(command);
    assert_eq!(rollcall.stop(), Some(0));
    let data = rollcall.data().to_owned();
    let segment = fs::read_dir(data.join("journal")).unwrap().next().unwrap().unwrap().path();
    let number = fs::read_to_string(data.join("CURRENT")).unwrap();
    let index = data.join(format!("index-{}", number.trim()));
    let refused = |rollcall: &Rollcall| {
        let serve = print(&mut as_they(&rollcall.serve_command()), b"");
        let mut status = Command::new(ROLLCALL);
        let status = print(&mut as_they(status.arg("status").arg("--data-dir").arg(&data)), b"");
        [serve, status]
    };
    let advice = format!("chown -R {THEY}:{THEY} {}", data.display());
    let mut places = vec![data.join("LOCK"), data.join("FORMAT"), data.join("journal"), segment];
    places.extend([index.join("db"), index, data.join("tls/server.pem"), data.join("tls")]);
    for place in places {
        chown(&place, Some(0), Some(0)).unwrap();
        // What a command needs no certificate for it does without one.
        let served = if place.starts_with(data.join("tls")) { 1 } else { 2 };
        for printed in refused(&rollcall).into_iter().take(served) {
            assert_eq!(printed.code, Some(1), "{place:?}: {printed:?}");
            for said in ["user 0 (root)", "runs as user 4711", &advice] {
                assert!(printed.stderr.contains(said), "{place:?}: {said}: {printed:?}");
            }
            assert!(!printed.stderr.contains("sudo"), "{place:?}: {printed:?}");
        }
        // Exactly what it says.
        let mut words = advice.split(' ');
        let done = Command::new(words.next().unwrap()).args(words).status().unwrap();
        assert!(done.success());
        let command = as_they(&rollcall.serve_command());
        rollcall.start_with(command);
        assert_eq!(rollcall.stop(), Some(0), "{place:?}");
    }
    // A whole directory of somebody else is not theirs to take.
    chown(&data, Some(0), Some(0)).unwrap();
    let start = print(&mut as_they(&rollcall.serve_command()), b"");
    assert!(start.stderr.contains("belongs to user 0 (root)"), "{start:?}");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let start = print(&mut as_they(&rollcall.serve_command()), b"");
    assert!(start.stderr.contains("run this as its owner: sudo rollcall"), "{start:?}");
}

/// The owner is right and the mode is not: `chown` would change nothing.
#[test]
fn what_is_the_users_own_is_opened_by_its_mode() {
    if !can_be_anybody() {
        return;
    }
    let mut rollcall = theirs();
    let command = as_they(&rollcall.serve_command());
    rollcall.start_with(command);
    assert_eq!(rollcall.stop(), Some(0));
    let data = rollcall.data().to_owned();
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let journal = data.join("journal");
    let cases = [(&data, 0o500), (&data, 0), (&journal, 0o500)];
    for (path, closed) in cases {
        mode(path, closed);
        let serve = print(&mut as_they(&rollcall.serve_command()), b"");
        let mut token = Command::new(ROLLCALL);
        let token = token.args(["token", "list", "--data-dir"]).arg(&data);
        let list = print(&mut as_they(token), b"");
        let advice = format!("chmod u+rwx {}", path.display());
        assert_eq!(serve.code, Some(1), "{path:?} {closed:o}: {serve:?}");
        // What a command does not write to it needs no right to write to.
        for printed in [serve, list].into_iter().filter(|printed| printed.code != Some(0)) {
            let mode = format!("has mode {closed:o} and belongs to user 4711");
            for said in [&*mode, &advice] {
                assert!(printed.stderr.contains(said), "{path:?} {closed:o}: {said}: {printed:?}");
            }
            for useless in ["chown", "sudo"] {
                assert!(!printed.stderr.contains(useless), "{path:?} {closed:o}: {printed:?}");
            }
        }
        // Exactly what it says.
        let mut words = advice.split(' ');
        let done = Command::new(words.next().unwrap()).args(words).status().unwrap();
        assert!(done.success());
        let command = as_they(&rollcall.serve_command());
        rollcall.start_with(command);
        assert_eq!(rollcall.stop(), Some(0), "{path:?} {closed:o}");
    }
    // A place in which a data directory, or another file, is to be made.
    let own = rollcall.dir.path().join("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(THEY), Some(THEY)).unwrap();
    mode(&own, 0o500);
    let (new, copy) = (own.join("data"), own.join("copy"));
    let data = data.to_str().unwrap();
    for args in [
        &["serve", "--listen", "127.0.0.1:0", "--data-dir", new.to_str().unwrap()][..],
        &["backup", copy.to_str().unwrap(), "--data-dir", data],
        &["export", "--output", copy.to_str().unwrap(), "--data-dir", data],
    ] {
        let refused = print(&mut as_they(Command::new(ROLLCALL).args(args)), b"");
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        let advice = format!("chmod u+rwx {}", own.display());
        assert!(refused.stderr.contains(&advice), "{args:?}: {refused:?}");
        assert!(!refused.stderr.contains("chown"), "{args:?}: {refused:?}");
    }
}

/// What lies elsewhere than the data is no fault of the data directory.
#[test]
fn a_socket_or_a_certificate_elsewhere_is_named_itself() {
    if !can_be_anybody() {
        return;
    }
    let rollcall = theirs();
    let dir = |name: &str, owner, mode| {
        let dir = rollcall.dir.path().join(name);
        fs::create_dir(&dir).unwrap();
        chown(&dir, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
        dir
    };
    let (roots, shut) = (dir("roots", 0, 0o755), dir("shut", THEY, 0o500));
    let key = roots.join("key.pem");
    fs::write(&key, "").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let flag = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
    let socket = |dir: &Path| vec![flag("admin-socket", &dir.join("admin.sock"))];
    let (roots_shown, shut_shown) = (roots.display(), shut.display());
    let cases = [
        (
            socket(&roots),
            vec![format!("{roots_shown} belongs to user 0"), "admin_socket".to_owned()],
        ),
        (
            socket(&shut),
            vec![format!("{shut_shown} has mode 500"), format!("chmod u+rwx {shut_shown}")],
        ),
        (
            vec![flag("tls-cert", &key), flag("tls-key", &key)],
            vec![format!("as root: chown 4711 {}", key.display())],
        ),
    ];
    let made = rollcall.dir.path().join("new");
    for (flags, says) in &cases {
        for data in [rollcall.data(), &made] {
            let mut serve = Command::new(ROLLCALL);
            serve.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data).args(flags);
            let refused = print(&mut as_they(&serve), b"");
            assert_eq!(refused.code, Some(1), "{flags:?}: {refused:?}");
            let error = refused.stderr.lines().find(|line| line.starts_with("rollcall: ")).unwrap();
            for said in says {
                assert!(error.contains(said), "{flags:?}: {said}: {error}");
            }
            for wrong in ["--data-dir", "chown -R", &*data.display().to_string()] {
                assert!(!error.contains(wrong), "{flags:?}: {wrong}: {error}");
            }
        }
    }
}

/// Each says whose the thing is, as whom this runs, and the way out.
#[test]
fn who_may_not_use_something_is_told_whose_it_is_and_the_way_out() {
    if !can_be_anybody() {
        return;
    }
    let rollcall = Rollcall::down();
    let place = rollcall.dir.path().to_owned();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    rollcall.ok(&["token", "create", "--admin"]);
    let backup = place.join("backup");
    rollcall.ok(&["backup", backup.to_str().unwrap()]);
    let (own, own_data) = (place.join("own"), place.join("own/data"));
    fs::create_dir(&own).unwrap();
    chown(&own, Some(THEY), Some(THEY)).unwrap();
    let (root, they) = ("belongs to user 0 (root)", "this runs as user 4711");
    let (data, backup) = (rollcall.data().to_str().unwrap(), backup.to_str().unwrap());
    let (own_copy, own_data) = (own.join("copy"), own_data.to_str().unwrap());
    let (missing, copy) = (place.join("missing"), place.join("copy"));
    let copy = copy.to_str().unwrap();
    let cases: [(&[&str], &[&str]); 10] = [
        // A directory in which nothing can be made.
        (
            &["serve", "--demo", "--listen", "127.0.0.1:0"],
            &["rollcall-data", root, they, "--data-dir"],
        ),
        (&["serve", "--listen", "127.0.0.1:0"], &["rollcall-data", root, they, "--data-dir"]),
        (&["token", "create", "--admin", "--init"], &["rollcall-data", root, they, "--data-dir"]),
        (&["restore", backup], &["rollcall-data", root, they, "--data-dir"]),
        // A backup that cannot be read.
        (
            &["restore", backup, "--data-dir", own_data],
            &[backup, root, they, "as root: chown -R 4711"],
        ),
        (&["verify", backup], &[backup, root, they, "as root: chown -R 4711"]),
        // The source, and not the target.
        (
            &["backup", own_copy.to_str().unwrap(), "--data-dir", data],
            &["cannot look into the data directory", data, root, they, "sudo rollcall"],
        ),
        (
            &["backup", copy, "--data-dir", data],
            &["cannot look into the data directory", data, root, they, "sudo rollcall"],
        ),
        (
            &["backup", copy, "--data-dir", missing.to_str().unwrap()],
            &["there is no store in", "missing", "--data-dir DIR"],
        ),
        (&["cert", "show", "--ca", "--data-dir", data], &["tls/ca.pem", root, they]),
    ];
    for (args, said) in cases {
        let mut command = as_they(Command::new(ROLLCALL).args(args));
        let refused = print(command.current_dir(&place), b"");
        assert_eq!(refused.code, Some(1), "{args:?}: {refused:?}");
        for part in said {
            assert!(refused.stderr.contains(part), "{args:?}: {part}: {refused:?}");
        }
        for wrong in ["first start of the server makes", ".partial"] {
            assert!(!refused.stderr.contains(wrong), "{args:?}: {refused:?}");
        }
    }
}
