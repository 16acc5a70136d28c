//! Directories that somebody else may write to: nothing in them is followed, waited for or emptied.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::harness::{Printed, ROLLCALL, Rollcall, event, skip, until};

const SECRET: &str = "theirs, and as it was\n";

/// Runs a command that must end, however little it is given.
fn ends(args: &[&str], data: Option<&Path>) -> Printed {
    let mut command = Command::new(ROLLCALL);
    command.args(args);
    if let Some(data) = data {
        command.arg("--data-dir").arg(data);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| fs::File::create(dir.path().join(name)).unwrap();
    command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
    let mut child = command.spawn().unwrap();
    let status = until(&format!("{args:?} ends"), || child.try_wait().unwrap());
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    Printed { stdout: text("out"), stderr: text("err"), code: status.code() }
}

fn refused(args: &[&str], data: Option<&Path>, what: &str) {
    let printed = ends(args, data);
    assert_eq!(printed.code, Some(1), "{args:?}: {printed:?}");
    assert!(printed.stderr.contains(what), "{args:?}: {printed:?}");
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A data directory with a call, whose server has stopped; and a file of somebody else.
fn stopped() -> (Rollcall, PathBuf) {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert_eq!(rollcall.stop(), Some(0));
    let theirs = rollcall.dir.path().join("theirs");
    fs::write(&theirs, SECRET).unwrap();
    (rollcall, theirs)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_stands_in_the_place_of_a_file_is_neither_followed_nor_waited_for() {
    let (rollcall, theirs) = stopped();
    let data = rollcall.data();
    let segment = fs::read_dir(data.join("journal")).unwrap().next().unwrap().unwrap().path();
    for place in [data.join("LOCK"), data.join("FORMAT"), segment] {
        let aside = rollcall.dir.path().join("aside");
        fs::rename(&place, &aside).unwrap();
        symlink(&theirs, &place).unwrap();
        for args in [&["status"][..], &["token", "list"], &["compact", "--drop-history"]] {
            refused(args, Some(data), "it is a symbolic link");
        }
        fs::remove_file(&place).unwrap();
        pipe(&place);
        for args in [&["status"][..], &["check"], &["purge", "--number", "+15559990001"]] {
            refused(args, Some(data), "it is a pipe");
        }
        let _findings = ends(&["doctor"], Some(data));
        let start = rollcall.start_fails();
        assert!(start.stderr.contains("it is a pipe"), "{start:?}");
        fs::rename(&aside, &place).unwrap();
    }
    // Another name of somebody's file.
    let lock = fs::read(data.join("LOCK")).unwrap();
    fs::remove_file(data.join("LOCK")).unwrap();
    fs::hard_link(&theirs, data.join("LOCK")).unwrap();
    refused(&["status"], Some(data), "it has 2 names");
    fs::remove_file(data.join("LOCK")).unwrap();
    fs::write(data.join("LOCK"), lock).unwrap();
    // A directory.
    let elsewhere = rollcall.dir.path().join("elsewhere");
    fs::rename(data.join("journal"), &elsewhere).unwrap();
    symlink(&elsewhere, data.join("journal")).unwrap();
    refused(&["status"], Some(data), "journal: it is a symbolic link");
    fs::remove_file(data.join("journal")).unwrap();
    fs::rename(&elsewhere, data.join("journal")).unwrap();
    assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET);
    assert_eq!(ends(&["check"], Some(data)).code, Some(0));
}

#[test]
fn a_view_that_is_a_link_or_a_pipe_is_built_again() {
    let (rollcall, theirs) = stopped();
    let data = rollcall.data();
    let current = || {
        let number = fs::read_to_string(data.join("CURRENT")).unwrap();
        data.join(format!("index-{}", number.trim()))
    };
    for link in [true, false] {
        let db = current().join("db");
        fs::remove_file(&db).unwrap();
        if link {
            symlink(&theirs, &db).unwrap();
        } else {
            pipe(&db);
        }
        let status = ends(&["status", "--json"], Some(data));
        // No server runs, which it says.
        assert_eq!(status.code, Some(1), "{status:?}");
        assert!(status.stdout.contains("\"calls\":1,"), "{status:?}");
    }
    for name in ["CURRENT.new", "FORMAT.new", "admin.token.new"] {
        symlink(&theirs, data.join(name)).unwrap();
    }
    let journal: Vec<_> = fs::read_dir(data.join("journal")).unwrap().collect();
    assert!(!journal.is_empty());
    fs::remove_dir_all(current()).unwrap();
    assert_eq!(ends(&["rebuild"], Some(data)).code, Some(0));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET);
}

#[test]
fn what_was_put_into_a_new_directory_leads_nowhere() {
    let mut rollcall = Rollcall::down();
    let theirs = rollcall.dir.path().join("theirs");
    fs::write(&theirs, SECRET).unwrap();
    fs::create_dir(rollcall.data()).unwrap();
    for name in ["FORMAT.new", "admin.token", "admin.token.new", "CURRENT.new", "RESERVE"] {
        symlink(&theirs, rollcall.data().join(name)).unwrap();
    }
    rollcall.start();
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert!(!rollcall.data().join("admin.token").is_symlink());
    assert_eq!(rollcall.stop(), Some(0));
    assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET);
    // The keys that rollcall makes.
    let tls = rollcall.data().join("tls");
    let elsewhere = rollcall.dir.path().join("elsewhere");
    fs::rename(&tls, &elsewhere).unwrap();
    symlink(&elsewhere, &tls).unwrap();
    let start = rollcall.start_fails();
    assert_eq!(start.code, Some(1), "{start:?}");
    assert!(start.stderr.contains("it is a symbolic link"), "{start:?}");
    fs::remove_file(&tls).unwrap();
    fs::rename(&elsewhere, &tls).unwrap();
    fs::remove_file(tls.join("server.pem")).unwrap();
    pipe(&tls.join("server.pem"));
    let start = rollcall.start_fails();
    assert!(start.stderr.contains("it is a pipe"), "{start:?}");
}

#[test]
fn root_makes_and_empties_nothing_in_a_directory_of_somebody_else() {
    if !rustix::process::geteuid().is_root() {
        skip("only root can be fooled so");
        return;
    }
    let (rollcall, theirs) = stopped();
    let data = rollcall.data();
    for entry in fs::read_dir(data).unwrap() {
        chown(entry.unwrap().path(), Some(4711), Some(4711)).unwrap();
    }
    chown(data, Some(4711), Some(4711)).unwrap();
    // The way there is open to them; what is theirs beside it is not.
    fs::set_permissions(rollcall.dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o600)).unwrap();
    let commands =
        [&["status"][..], &["token", "create", "--admin"], &["purge", "--number", "+15559990001"]];
    let foreign = |what: &str| {
        for args in commands {
            refused(args, Some(data), what);
        }
        assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET, "{what}");
        let start = rollcall.start_fails();
        assert!(start.stderr.contains("belongs to user 4711"), "{start:?}");
    };
    fs::remove_file(data.join("LOCK")).unwrap();
    symlink(&theirs, data.join("LOCK")).unwrap();
    foreign("it is a symbolic link");
    fs::remove_file(data.join("LOCK")).unwrap();
    fs::hard_link(&theirs, data.join("LOCK")).unwrap();
    // They may not open it, whatever name it has.
    foreign("LOCK: Permission denied");
    fs::remove_file(data.join("LOCK")).unwrap();
    pipe(&data.join("LOCK"));
    foreign("LOCK: ");
    assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET);
}

#[test]
fn a_place_of_backups_may_be_full_of_traps() {
    let (rollcall, theirs) = stopped();
    let data = rollcall.data();
    let dir = rollcall.dir.path();
    let kept = dir.join("kept");
    let backup = || ends(&["backup", text(&kept), "--keep", "1"], Some(data));
    assert_eq!(backup().code, Some(0));
    // A whole backup elsewhere, which a link leads to.
    let real = fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path();
    let elsewhere = dir.join("elsewhere");
    fs::rename(&real, &elsewhere).unwrap();
    let name = |name: &str| kept.join(format!("rollcall-{name}"));
    symlink(&elsewhere, name("20200101T000000Z")).unwrap();
    symlink(&elsewhere, name("20200102T000000Z.partial")).unwrap();
    symlink(&theirs, name("20200103T000000Z.partial")).unwrap();
    symlink(&theirs, name("20200104T000000Z.tar.zst")).unwrap();
    pipe(&name("20200105T000000Z.partial"));
    pipe(&name("20200106T000000Z.tar.zst"));
    fs::create_dir(name("20200107T000000Z.partial")).unwrap();
    symlink(&elsewhere, name("20200107T000000Z.partial/journal")).unwrap();
    fs::create_dir(name("20200108T000000Z")).unwrap();
    pipe(&name("20200108T000000Z/BACKUP"));
    fs::create_dir(name("20200109T000000Z")).unwrap();
    symlink(elsewhere.join("BACKUP"), name("20200109T000000Z/BACKUP")).unwrap();
    let made = backup();
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(name("20200101T000000Z").is_symlink() && !name("20200107T000000Z.partial").exists());
    let verified = ends(&["verify", text(&elsewhere)], None);
    assert_eq!(verified.code, Some(0), "nothing elsewhere was touched: {verified:?}");
    assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET);
    // A name that a link has is followed where somebody gives it.
    assert_eq!(ends(&["verify", text(&name("20200101T000000Z"))], None).code, Some(0));
}

#[test]
fn a_backup_from_elsewhere_holds_up_nobody() {
    let (rollcall, theirs) = stopped();
    let dir = rollcall.dir.path();
    let backup = dir.join("backup");
    assert_eq!(ends(&["backup", text(&backup)], Some(rollcall.data())).code, Some(0));
    let segment = fs::read_dir(backup.join("journal")).unwrap().next().unwrap().unwrap().path();
    let new = dir.join("new");
    for place in [backup.join("BACKUP"), segment] {
        let aside = dir.join("aside");
        fs::rename(&place, &aside).unwrap();
        pipe(&place);
        refused(&["verify", text(&backup)], None, "it is a pipe");
        refused(&["restore", text(&backup)], Some(&new), "it is a pipe");
        fs::remove_file(&place).unwrap();
        symlink(&theirs, &place).unwrap();
        refused(&["verify", text(&backup)], None, "it is a symbolic link");
        refused(&["restore", text(&backup)], Some(&new), "it is a symbolic link");
        let increment = dir.join("increment");
        let args = ["backup", text(&increment), "--incremental-from", text(&backup)];
        let made = ends(&args, Some(rollcall.data()));
        if made.code == Some(0) {
            assert_eq!(ends(&["verify", text(&increment)], None).code, Some(0));
            fs::remove_dir_all(&increment).unwrap();
        }
        fs::rename(&aside, &place).unwrap();
    }
    let elsewhere = dir.join("elsewhere");
    fs::rename(backup.join("journal"), &elsewhere).unwrap();
    symlink(&elsewhere, backup.join("journal")).unwrap();
    refused(&["verify", text(&backup)], None, "symbolic link");
    fs::remove_file(backup.join("journal")).unwrap();
    fs::rename(&elsewhere, backup.join("journal")).unwrap();
    // Archives.
    let archive = dir.join("x.tar.zst");
    pipe(&archive);
    refused(&["verify", text(&archive)], None, "it is a pipe");
    refused(&["restore", text(&archive)], Some(&new), "it is a pipe");
    // The place of a restore.
    let into = dir.join("into");
    fs::create_dir(&into).unwrap();
    for (trap, what) in [(0, "it is a symbolic link"), (1, "it is a pipe"), (2, "it has 2 names")] {
        let mark = into.join("UNFINISHED");
        match trap {
            0 => symlink(&theirs, &mark).unwrap(),
            1 => pipe(&mark),
            _ => fs::hard_link(&theirs, &mark).unwrap(),
        }
        refused(&["restore", text(&backup)], Some(&into), what);
        assert_eq!(fs::read_to_string(&theirs).unwrap(), SECRET);
        fs::remove_file(&mark).unwrap();
    }
    let restored = ends(&["restore", text(&backup)], Some(&into));
    assert_eq!(restored.code, Some(0), "{restored:?}");
}
