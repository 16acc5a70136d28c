//! The files for systemd, as systemd's own tools see them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::super::harness::{ROLLCALL, have, print};

/// Every unit, and for services the most exposure, of 10, that `systemd-analyze` may find.
const UNITS: &[(&str, Option<f64>)] = &[
    ("rollcall.service", Some(1.1)),
    ("rollcall-activated.service", Some(0.5)),
    ("rollcall-backup.service", Some(0.5)),
    ("rollcall.socket", None),
    ("rollcall-activated.socket", None),
    ("rollcall-backup.timer", None),
];

/// The text of a file of `systemd/`.
pub fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All units with the binary under test in its place.
fn units(dir: &Path) -> Vec<String> {
    let path = |(name, _): &(&str, _)| {
        let path = dir.join(name);
        std::fs::write(&path, source(name).replace("=/usr/bin/rollcall ", &at())).unwrap();
        path.to_str().unwrap().to_owned()
    };
    UNITS.iter().map(path).collect()
}

fn at() -> String {
    format!("={ROLLCALL} ")
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    if !have("systemd-analyze") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let units = units(dir.path());
    let started =
        units.iter().filter(|unit| std::fs::read_to_string(unit).unwrap().contains(&at()));
    assert_eq!(started.count(), 3);
    let printed = print(Command::new("systemd-analyze").arg("verify").args(&units), b"");
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
    let mut seen = 0;
    for ((name, max), unit) in UNITS.iter().zip(&units) {
        let Some(max) = max else { continue };
        let args = ["security", "--offline=true", "--no-pager", unit];
        let printed = print(Command::new("systemd-analyze").args(args), b"");
        let level = printed.stdout.lines().find_map(|line| line.split(&format!("{name}: ")).nth(1));
        let level: f64 = level.unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((0.0..=*max).contains(&level), "{name}: {}", printed.stdout);
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// The settings of a service.
fn settings(unit: &str) -> BTreeSet<&str> {
    let service = unit.split("[Service]").nth(1).unwrap().split("[Install]").next().unwrap();
    service.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")).collect()
}

/// What these have and those have not.
fn only<'a>(these: &BTreeSet<&'a str>, those: &BTreeSet<&'a str>) -> Vec<&'a str> {
    these.difference(those).copied().collect()
}

#[test]
fn the_two_ways_to_run_differ_only_in_the_network() {
    let (plain, activated) = (source("rollcall.service"), source("rollcall-activated.service"));
    let (plain, activated) = (settings(&plain), settings(&activated));
    assert_eq!(only(&plain, &activated), ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]);
    let more = ["IPAddressDeny=any", "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"];
    assert_eq!(only(&activated, &plain), more);
    assert!(plain.len() > 40, "only {} settings were seen", plain.len());
}

#[test]
fn a_listener_is_held_by_systemd_and_lets_thousands_wait() {
    for name in ["rollcall", "rollcall-activated"] {
        let (service, socket) =
            (source(&format!("{name}.service")), source(&format!("{name}.socket")));
        for line in [
            format!("Requires={name}.socket"),
            "WantedBy=multi-user.target".to_owned(),
            format!("Also={name}.socket"),
        ] {
            assert!(service.lines().any(|is| is == line), "{name}.service: {line}");
        }
        let after = service.lines().find_map(|line| line.strip_prefix("After=")).unwrap();
        assert!(after.split(' ').any(|unit| unit == format!("{name}.socket")), "{after}");
        let value = |key: &str| socket.lines().find_map(|line| line.strip_prefix(key));
        assert_eq!(value("FileDescriptorName="), Some("https"));
        assert_eq!(value("ListenStream="), Some("8443"));
        assert_eq!(value("Service="), None, "it is the one of the same name");
        let backlog: u32 = value("Backlog=").unwrap().parse().unwrap();
        assert!(backlog >= 10 * 200, "{backlog}");
    }
}

#[test]
fn a_backup_may_do_no_more_than_the_server() {
    let hardened = |unit: &str| -> BTreeSet<String> {
        let lines = unit.lines().skip_while(|line| !line.starts_with("AmbientCapabilities="));
        let lines = lines.take_while(|line| !line.starts_with('['));
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let backup = hardened(&source("rollcall-backup.service"));
    assert_eq!(backup, hardened(&source("rollcall-activated.service")));
    assert!(backup.len() > 20, "{backup:?}");
}

#[test]
fn the_units_user_is_a_fixed_one_and_owns_its_directories() {
    if !have("systemd-sysusers") || !have("systemd-tmpfiles") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = format!("--root={}", dir.path().display());
    std::fs::create_dir_all(dir.path().join("etc")).unwrap();
    let run = |program: &str, name: &str| {
        let place = dir.path().join(name);
        std::fs::write(&place, source(name)).unwrap();
        let mut command = Command::new(program);
        command.arg(&root).args((program == "systemd-tmpfiles").then_some("--create"));
        let printed = print(command.arg(&place), b"");
        assert_eq!(printed.code, Some(0), "{printed:?}");
    };
    run("systemd-sysusers", "rollcall.sysusers");
    let passwd = std::fs::read_to_string(dir.path().join("etc/passwd")).unwrap();
    assert!(passwd.contains("rollcall:x:") && passwd.contains(":/var/lib/rollcall:"), "{passwd}");
    let unit = source("rollcall.service");
    assert!(unit.contains("\nUser=rollcall\n") && !unit.contains("DynamicUser"));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    run("systemd-tmpfiles", "rollcall.tmpfiles");
    let user: u32 =
        passwd.split("rollcall:x:").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    for path in ["var/lib/rollcall", "var/backups/rollcall"] {
        let about = std::fs::metadata(dir.path().join(path)).unwrap();
        assert_eq!((about.mode() & 0o7777, about.uid()), (0o700, user), "{path}");
    }
}
