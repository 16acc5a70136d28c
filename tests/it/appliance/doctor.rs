//! `rollcall doctor`: each finding is provoked, and nothing is changed by looking.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::super::harness::{Printed, ROLLCALL, Rollcall, event, have, print, skip};
use super::files;
use super::tls::Authority;

/// What the doctor says of this data directory, with these variables.
fn examine(rollcall: &Rollcall, vars: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let mut command = Command::new(ROLLCALL);
    command.args(["doctor", "--json", "--data-dir"]).arg(rollcall.data());
    command.env("ROLLCALL_LISTEN", "127.0.0.1:0");
    command.envs(vars.iter().copied());
    let printed = print(&mut command, b"");
    let said: Value =
        serde_json::from_str(&printed.stdout).unwrap_or_else(|e| panic!("{e}: {printed:?}"));
    let findings = said["findings"].as_array().unwrap().clone();
    let count = |level: &str| findings.iter().filter(|one| one["level"] == level).count();
    assert_eq!(said["errors"], count("error"), "{said}");
    assert_eq!(said["warnings"], count("warn"), "{said}");
    assert_eq!(said["unknown"], count("unknown"), "{said}");
    assert_eq!(printed.code, Some(i32::from(count("error") > 0)), "{said}");
    for one in &findings {
        let advised = one["advice"].as_str().is_some_and(|advice| !advice.is_empty());
        assert_eq!(advised, one["level"] != "ok", "{one}");
    }
    (printed.code, findings)
}

/// The level of the finding whose object and problem hold these words.
#[track_caller]
pub(super) fn level<'a>(findings: &'a [Value], object: &str, problem: &str) -> &'a str {
    let holds = |one: &&Value| {
        one["object"].as_str().unwrap().contains(object)
            && one["problem"].as_str().unwrap().contains(problem)
    };
    let found = findings.iter().find(holds);
    let found = found.unwrap_or_else(|| panic!("no {object}: {problem} in {findings:#?}"));
    found["level"].as_str().unwrap()
}

/// Errors and warnings that are not the machine's own.
pub(super) fn bad(findings: &[Value]) -> Vec<&Value> {
    let machine = |one: &&Value| {
        let object = one["object"].as_str().unwrap();
        object.starts_with("disk of")
            || ["open files", "net.core.somaxconn"].contains(&object)
            || object.contains("systemd")
    };
    let bad = findings.iter().filter(|one| one["level"] == "warn" || one["level"] == "error");
    bad.filter(|one| !machine(one)).collect()
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_sound_appliance_has_no_findings_up_or_down_and_nothing_is_changed() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let port = format!("127.0.0.1:{}", rollcall.port);
    let (code, findings) = examine(&rollcall, &[("ROLLCALL_LISTEN", &port)]);
    assert_eq!((code, bad(&findings)), (Some(0), vec![]), "{findings:#?}");
    let pid = rollcall.pid();
    assert_eq!(level(&findings, "admin socket", &format!("(process {pid})")), "ok");
    assert_eq!(level(&findings, "LOCK", &format!("process {pid} (rollcall) holds it")), "ok");
    assert_eq!(
        level(&findings, "listen", &format!("the server listens there, process {pid}")),
        "ok"
    );
    assert_eq!(level(&findings, "certificate", "CN=rollcall"), "ok");
    assert_eq!(level(&findings, "tokens", "1 of them for everything"), "ok");
    assert_eq!(level(&findings, "index", "1 call, "), "ok");
    let url = format!("it is at https://127.0.0.1:{}/console/: 0 sessions", rollcall.port);
    assert_eq!(level(&findings, "console", &url), "ok");
    let text = rollcall.run(&["doctor"]);
    assert!(text.stdout.contains("ok       clock: it shows 2"), "{text:?}");

    assert_eq!(rollcall.stop(), Some(0));
    let before = files(rollcall.data());
    let (code, findings) = examine(&rollcall, &[("ROLLCALL_LISTEN", &port)]);
    assert_eq!((code, bad(&findings)), (Some(0), vec![]), "{findings:#?}");
    assert_eq!(level(&findings, "admin socket", "no server is running"), "unknown");
    assert_eq!(level(&findings, "tokens", "no server tells"), "unknown");
    assert_eq!(level(&findings, "listen", "it is free"), "ok");
    assert_eq!(files(rollcall.data()), before);
    let none = Rollcall::down();
    let (code, findings) = examine(&none, &[]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert_eq!(level(&findings, "data directory", "there is none"), "warn");
    assert!(!none.data().exists());
}

#[test]
fn a_configuration_that_is_not_understood_is_the_only_finding() {
    let rollcall = Rollcall::down();
    let (code, findings) = examine(&rollcall, &[("ROLLCALL_LIMITS_CONNECTIONS", "0")]);
    assert_eq!((code, findings.len()), (Some(1), 1));
    assert_eq!(level(&findings, "configuration", "ROLLCALL_LIMITS_CONNECTIONS"), "error");
    let (_, findings) = examine(&rollcall, &[("ROLLCALL_LIMITS_CONECTIONS", "1")]);
    assert_eq!(level(&findings, "configuration", "did you mean"), "error");
}

#[test]
fn rights_and_owners_in_the_data_directory_are_looked_at() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.stop(), Some(0));
    let data = rollcall.data().to_owned();
    set_mode(&data, 0o755);
    set_mode(&data.join("tls"), 0o711);
    set_mode(&data.join("tls/ca.key"), 0o644);
    let (code, findings) = examine(&rollcall, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(level(&findings, data.to_str().unwrap(), "its mode is 755"), "error");
    assert_eq!(level(&findings, "tls/ca.key", "its mode is 644"), "error");
    // What nobody gets to is open to nobody.
    set_mode(&data.join("tls"), 0o700);
    assert_eq!(bad(&examine(&rollcall, &[]).1).len(), 1);
    set_mode(&data.join("tls"), 0o711);
    set_mode(&data, 0o700);
    assert_eq!(bad(&examine(&rollcall, &[]).1), Vec::<&Value>::new());
    set_mode(&data, 0o755);
    set_mode(&data.join("journal"), 0o755);
    set_mode(&data.join("tls/ca.key"), 0o600);
    // More than are listed are counted: the data directory, the journal, and all but three of these.
    for n in 0..8 {
        fs::write(data.join(format!("journal/{n}.tmp")), "").unwrap();
        set_mode(&data.join(format!("journal/{n}.tmp")), 0o666);
    }
    let (_, findings) = examine(&rollcall, &[]);
    assert_eq!(level(&findings, "data directory", "5 more files in it are open"), "error");
    set_mode(&data, 0o700);
    for n in 0..8 {
        fs::remove_file(data.join(format!("journal/{n}.tmp"))).unwrap();
    }
    if !rustix::process::geteuid().is_root() {
        skip("only root can give files away");
        return;
    }
    let owner = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), None).unwrap();
    owner(&data.join("FORMAT"), 4711);
    let (_, findings) = examine(&rollcall, &[]);
    assert_eq!(level(&findings, "FORMAT", "it is user 4711's"), "error");
    owner(&data.join("FORMAT"), 0);
    assert_eq!(bad(&examine(&rollcall, &[]).1), Vec::<&Value>::new());
}

#[test]
fn another_user_is_told_to_be_the_owner() {
    if !rustix::process::geteuid().is_root() || !have("setpriv") {
        return;
    }
    let rollcall = Rollcall::up(&[]);
    // The binary and the data must be in a place that the other user may enter.
    let public = tempfile::tempdir().unwrap();
    set_mode(public.path(), 0o755);
    set_mode(rollcall.dir.path(), 0o755);
    let binary = public.path().join("rollcall");
    // By another process: a file that this one has open for writing cannot be run by a child that
    // another test has just forked.
    assert!(Command::new("cp").args([ROLLCALL.as_ref(), &*binary]).status().unwrap().success());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&binary);
    command.args(["doctor", "--data-dir"]).arg(rollcall.data());
    let Printed { stdout, code, .. } = print(&mut command, b"");
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("permission denied: it is of user 0 (root), who alone"), "{stdout}");
    assert!(stdout.contains("as root: sudo rollcall doctor"), "{stdout}");
    // The server runs, and this user may not know it.
    assert!(stdout.contains("whether a server is running is not known"), "{stdout}");
    let wrong = ["0 B", "certificate:", "tokens:", "no server is running", "error    "];
    for wrong in wrong {
        assert!(!stdout.contains(wrong), "{wrong}: {stdout}");
    }
    assert!(stdout.ends_with("0 errors, 0 warnings, 2 unknown\n"), "{stdout}");
    // Nor can what is in a directory that they may not enter be judged.
    set_mode(rollcall.dir.path(), 0o700);
    let Printed { stdout, code, .. } = print(&mut command, b"");
    set_mode(rollcall.dir.path(), 0o755);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("a directory that leads there may not be entered"), "{stdout}");
    for wrong in wrong {
        assert!(!stdout.contains(wrong), "{wrong}: {stdout}");
    }
    // And the configuration.
    let config = public.path().join("rollcall.toml");
    fs::write(&config, "").unwrap();
    set_mode(&config, 0o600);
    let mut unread = Command::new("setpriv");
    unread.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&binary);
    unread.args(["doctor", "--json", "--config"]).arg(&config);
    let printed = print(&mut unread, b"");
    let said: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!((printed.code, &said["errors"], &said["unknown"]), (Some(1), &0.into(), &1.into()));
    assert!(said["findings"][0]["problem"].as_str().unwrap().contains("permission denied"));
    // Nor is anything advised that takes the data from whom they are for, where others may look in.
    let (mut rollcall, data) = (rollcall, public.path().join("data"));
    assert_eq!(rollcall.stop(), Some(0));
    assert!(
        Command::new("cp").arg("-a").arg(rollcall.data()).arg(&data).status().unwrap().success()
    );
    for path in ["", "journal", "tls"] {
        set_mode(&data.join(path), 0o755);
    }
    assert!(
        Command::new("chown").arg("-R").arg("4712:4712").arg(&data).status().unwrap().success()
    );
    let mut command = Command::new("setpriv");
    command.args(["--reuid=4711", "--regid=4711", "--clear-groups"]).arg(&binary);
    command.args(["doctor", "--data-dir"]).arg(&data);
    let Printed { stdout, code, .. } = print(&mut command, b"");
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("sudo -u '#4712' rollcall doctor, or as root"), "{stdout}");
    // A member of the group who may look into the directory and not into the files is not the server.
    for path in ["", "journal", "tls"] {
        set_mode(&data.join(path), 0o770);
    }
    let mut member = Command::new("setpriv");
    member.args(["--reuid=4711", "--regid=4712", "--clear-groups"]).arg(&binary);
    member.args(["doctor", "--data-dir"]).arg(&data);
    let told = print(&mut member, b"").stdout;
    assert!(told.contains("its files are of user 4712"), "{told}");
    assert!(told.contains("sudo -u '#4712' rollcall doctor, or as root"), "{told}");
    assert!(!told.contains("chown") && !told.contains("error    "), "{told}");
    for wrong in ["chown", "chmod", "restore a backup", "tls.cert"] {
        assert!(!stdout.contains(wrong), "{wrong}: {stdout}");
    }
}

#[test]
fn how_the_last_owner_left_and_what_the_format_says_is_looked_at() {
    let mut rollcall = Rollcall::up(&[]);
    let pid = rollcall.pid();
    rollcall.kill();
    let (code, findings) = examine(&rollcall, &[]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert_eq!(level(&findings, "LOCK", &format!("process {pid}, did not end cleanly")), "warn");
    assert_eq!(level(&findings, "admin socket", "nothing listens on it"), "warn");

    let format = rollcall.data().join("FORMAT");
    let whole = fs::read_to_string(&format).unwrap();
    fs::write(&format, whole.replace("rollcall-data 1", "rollcall-data 99")).unwrap();
    assert_eq!(level(&examine(&rollcall, &[]).1, "FORMAT", "by a later release"), "error");
    fs::write(&format, "strange").unwrap();
    assert_eq!(level(&examine(&rollcall, &[]).1, "FORMAT", "strange"), "error");
    fs::remove_file(&format).unwrap();
    assert_eq!(level(&examine(&rollcall, &[]).1, "FORMAT", "missing beside a journal"), "error");
    // Another inode: a copy.
    fs::write(&format, whole).unwrap();
    assert_eq!(level(&examine(&rollcall, &[]).1, "FORMAT", "is a copy"), "warn");
}

#[test]
fn damaged_and_missing_indexes_and_data_from_the_future_are_found() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.stop(), Some(0));
    let data = rollcall.data().to_owned();
    fs::create_dir(data.join("index-7.damaged")).unwrap();
    set_mode(&data.join("index-7.damaged"), 0o700);
    let (_, findings) = examine(&rollcall, &[]);
    assert_eq!(level(&findings, "index-7.damaged", "was quarantined and built again"), "warn");
    fs::write(data.join("CURRENT"), "9\n").unwrap();
    let (_, findings) = examine(&rollcall, &[]);
    assert_eq!(level(&findings, "index", "does not lead to one"), "warn");
    let later = rollcall::clock::system_time() + std::time::Duration::from_hours(24);
    fs::File::options().write(true).open(data.join("LOCK")).unwrap().set_modified(later).unwrap();
    let (_, findings) = examine(&rollcall, &[]);
    assert_eq!(level(&findings, "clock", "the data was written at"), "error");
}

#[test]
fn a_clock_that_was_set_while_the_server_was_up_is_found() {
    let rollcall = Rollcall::up(&[]);
    let earlier = rollcall::clock::system_time() - std::time::Duration::from_hours(2);
    let lock = fs::File::options().write(true).open(rollcall.data().join("LOCK")).unwrap();
    lock.set_modified(earlier).unwrap();
    let (_, findings) = examine(&rollcall, &[]);
    assert_eq!(level(&findings, "clock", "set forward by"), "warn");
}

#[test]
fn addresses_that_cannot_be_listened_on_are_found() {
    let rollcall = Rollcall::down();
    let free = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    // Held for as long as it is looked at.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let here = std::process::id();
    let with = |listen: &str| examine(&rollcall, &[("ROLLCALL_LISTEN", listen)]).1;
    assert_eq!(level(&with(&address), "listen", &format!("process {here} (")), "error");
    assert_eq!(level(&with(&free), "listen", "it is free"), "ok");
    assert_eq!(level(&with("192.0.2.1:4433"), "listen", "does not have the address"), "error");
    assert_eq!(level(&with("nowhere.invalid:4433"), "listen", "its name is not known"), "error");
    for (key, object) in
        [("ROLLCALL_HTTP_LISTEN", "http.listen"), ("ROLLCALL_METRICS_LISTEN", "metrics.listen")]
    {
        let findings = examine(&rollcall, &[(key, address.as_str())]).1;
        assert_eq!(level(&findings, object, "listens there"), "error");
    }
}

#[test]
fn certificates_are_looked_at_by_file_and_by_what_the_server_has() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let mut rollcall = Rollcall::down();
    let vars = |chain: &Path, key: &Path| {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        BTreeMap::from([("ROLLCALL_TLS_CERT", text(chain)), ("ROLLCALL_TLS_KEY", text(key))])
    };
    let with = |rollcall: &Rollcall, chain: &Path, key: &Path| {
        let vars = vars(chain, key);
        let vars: Vec<_> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        examine(rollcall, &vars).1
    };
    let (good, soon) = (authority.give("good", 90), authority.give("soon", 20));
    let over = authority.give("over", 0);
    for (pair, expected) in [(&good, "ok"), (&soon, "warn"), (&over, "error")] {
        set_mode(&pair.1, 0o400);
        let findings = with(&rollcall, &pair.0, &pair.1);
        assert_eq!(level(&findings, "certificate", "ends at"), expected);
    }
    let findings = with(&rollcall, &good.0, &soon.1);
    assert_eq!(level(&findings, "certificate", "does not belong"), "error");
    set_mode(&good.1, 0o644);
    let findings = with(&rollcall, &good.0, &good.1);
    assert_eq!(level(&findings, "good.key", "mode is 644"), "error");
    set_mode(&good.1, 0o440);
    let findings = with(&rollcall, &good.0, &dir.path().join("nowhere.key"));
    assert_eq!(level(&findings, "certificate", "nowhere.key"), "error");
    let findings = with(&rollcall, Path::new("credential:c.pem"), Path::new("credential:c.key"));
    assert_eq!(level(&findings, "credential:c.pem", "only the service"), "unknown");

    // What another machine has made, and is not good yet.
    let later = authority.give_from("later", 10, 20);
    set_mode(&later.1, 0o400);
    let findings = with(&rollcall, &later.0, &later.1);
    assert_eq!(level(&findings, "certificate", "begins only at"), "error");
    // A running server's own configuration counts.
    rollcall.set_args(&["--tls-names", "one.example.org"]);
    rollcall.start();
    let (_, findings) = examine(&rollcall, &[("ROLLCALL_TLS_NAMES", "two.example.org")]);
    assert_eq!(bad(&findings), Vec::<&Value>::new());
    assert_eq!(level(&findings, "configuration", "they differ in listen, tls.names"), "ok");
}

#[test]
fn limits_and_networks_that_are_too_wide_are_found() {
    let flags = ["--limits-connections=1000000", "--feature-servers-networks=10.0.0.0/8"];
    let rollcall = Rollcall::up(&flags);
    let (_, findings) = examine(&rollcall, &[]);
    let open = findings.iter().find(|one| one["object"] == "open files").unwrap();
    assert!(open["problem"].as_str().unwrap().starts_with("the server may open"), "{open}");
    assert_eq!(level(&findings, "10.0.0.0/8", "very wide"), "warn");
    // With the last admin token goes the last way in.
    let tokens: Value = serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap();
    rollcall.ok(&["token", "revoke", tokens[0]["id"].as_str().unwrap()]);
    assert_eq!(level(&examine(&rollcall, &[]).1, "tokens", "none is an admin token"), "warn");
}

#[test]
fn a_disk_that_is_memory_is_found() {
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        skip("there is no /dev/shm");
        return;
    };
    let rollcall = Rollcall::up_in(&memory.path().join("data"), &[]);
    assert_eq!(level(&examine(&rollcall, &[]).1, "disk of", "it is tmpfs"), "warn");
}

#[test]
fn a_file_system_that_is_read_only_and_an_audit_log_that_cannot_be_written_are_found() {
    if !rustix::process::geteuid().is_root() || !have("unshare") {
        skip("only root may mount and give files away");
        return;
    }
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.stop(), Some(0));
    let script =
        "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(rollcall.data()).arg(ROLLCALL);
    command.args(["doctor", "--json", "--data-dir"]).arg(rollcall.data());
    let audit = rollcall.data().join("audit.log");
    command.env("ROLLCALL_LOG_AUDIT", &audit);
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    let said: Value = serde_json::from_str(&printed.stdout).unwrap();
    let findings = said["findings"].as_array().unwrap();
    assert_eq!(level(findings, "disk of", "mounted read-only"), "error");
    assert_eq!(level(findings, "log.audit", "mounted read-only"), "error");
    // The data are of somebody who may not write there.
    for entry in files(rollcall.data()) {
        let path = rollcall.data().join(entry.0);
        std::os::unix::fs::chown(path, Some(4711), Some(4711)).unwrap();
    }
    std::os::unix::fs::chown(rollcall.data(), Some(4711), Some(4711)).unwrap();
    let outside = rollcall.dir.path().join("audit.log");
    let with = |path: &Path| {
        let path = path.to_str().unwrap();
        examine(&rollcall, &[("ROLLCALL_LOG_AUDIT", path)]).1
    };
    let problem = "user 4711, the server, cannot write to";
    assert_eq!(level(&with(&outside), "log.audit", problem), "error");
    fs::write(&outside, "").unwrap();
    set_mode(&outside, 0o644);
    assert_eq!(level(&with(&outside), "log.audit", problem), "error");
    std::os::unix::fs::chown(&outside, Some(4711), None).unwrap();
    assert_eq!(level(&with(&outside), "log.audit", "may add to it"), "ok");
    let dir = rollcall.dir.path();
    assert_eq!(level(&with(dir), "log.audit", "it is no file"), "error");
    assert_eq!(level(&with(&dir.join("none/audit")), "log.audit", "its directory"), "error");
    // Where a server runs it is that one's that counts, which is where it should be.
    fs::remove_file(&outside).unwrap();
    let running = Rollcall::up(&["--log-audit", outside.to_str().unwrap()]);
    let (code, findings) = examine(&running, &[("ROLLCALL_LOG_AUDIT", "/nowhere/audit.log")]);
    assert_eq!(code, Some(0), "{findings:#?}");
    assert_eq!(level(&findings, "audit.log", "may add to it"), "ok");
}
