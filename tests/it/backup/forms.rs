//! Directories, archives, encrypted archives, and many of them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use age::secrecy::ExposeSecret as _;

use super::super::harness::{ROLLCALL, have, print};
use super::{add, backup, export, ok, place, restore, run, server, text};

#[test]
fn each_form_up_and_down_restores_to_the_same() {
    let mut rollcall = server(12_000);
    let key = age::x25519::Identity::generate();
    let identity = place(&rollcall, "key");
    fs::write(&identity, key.to_string().expose_secret()).unwrap();
    let recipient = key.to_public().to_string();
    let before = rollcall.ok(&["export"]);
    for up in [true, false] {
        if !up {
            assert_eq!(rollcall.stop(), Some(0));
        }
        for (name, made, read) in [
            ("a", &[][..], &[][..]),
            ("b.tar.zst", &["--rate", "0"], &[]),
            ("c.tar.zst.age", &["--encrypt-to", &recipient], &["--identity", text(&identity)]),
        ] {
            let target = place(&rollcall, &format!("{up}-{name}"));
            let told = backup(&rollcall, &target, made);
            let verified = ok(&[&["verify", text(&target)], read].concat());
            assert_eq!(verified["sequence"], told["sequence"]);
            let to = place(&rollcall, &format!("restored-{up}-{name}"));
            restore(&target, &to, read);
            assert!(export(&to) == before, "{up} {name}");
            assert_private(&target);
            assert_private(&to);
        }
    }
    let sealed = place(&rollcall, "true-c.tar.zst.age");
    let refused = run(&["verify", text(&sealed)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--identity"), "{refused:?}");
    fs::write(&identity, age::x25519::Identity::generate().to_string().expose_secret()).unwrap();
    let refused = run(&["verify", text(&sealed), "--identity", text(&identity)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("decrypt"), "{refused:?}");
    if have("age") && have("zstd") {
        fs::write(&identity, key.to_string().expose_secret()).unwrap();
        let script = "age -d -i \"$1\" \"$2\" | zstd -d | tar t";
        let mut shell = Command::new("sh");
        let listed = print(shell.args(["-c", script, "-", text(&identity), text(&sealed)]), b"");
        assert!(listed.code == Some(0) && listed.stdout.ends_with("BACKUP\n"), "{listed:?}");
    }
}

/// Nobody but its owner may look into it.
pub fn assert_private(path: &Path) {
    let about = fs::metadata(path).unwrap();
    let expected = if about.is_dir() { 0o700 } else { 0o600 };
    // What clients trust is for everybody, in a directory that is not.
    assert_eq!(about.permissions().mode() & 0o777, expected, "{}", path.display());
    if about.is_dir() {
        for entry in fs::read_dir(path).unwrap().map(Result::unwrap) {
            assert_private(&entry.path());
        }
    }
}

#[test]
fn an_incremental_backup_links_what_is_the_same_and_is_whole_alone() {
    let rollcall = server(6000);
    let [one, two, three] = ["one", "two", "three"].map(|name| place(&rollcall, name));
    backup(&rollcall, &one, &[]);
    add(&rollcall, 6000..12_000);
    let told = backup(&rollcall, &two, &["--incremental-from", text(&one)]);
    let linked = told["linked_files"].as_u64().unwrap();
    assert!(linked > 0, "{told}");
    let inode =
        |dir: &Path| fs::metadata(dir.join("journal/00000000000000000001.log")).unwrap().ino();
    assert_eq!(inode(&one), inode(&two));
    // What is damaged in the earlier one is made anew.
    fs::remove_dir_all(&one).unwrap();
    super::damage::flip(&two.join("journal/00000000000000000001.log"), 5000);
    let told = backup(&rollcall, &three, &["--incremental-from", text(&two)]);
    assert!(told["linked_files"].as_u64().unwrap() > 0, "{told}");
    assert_ne!(inode(&two), inode(&three));
    assert_eq!(run(&["verify", text(&two)]).code, Some(1));
    ok(&["verify", text(&three)]);
    let to = place(&rollcall, "restored");
    restore(&three, &to, &[]);
    assert!(export(&to) == rollcall.ok(&["export"]));
    // A segment of other data under the same name is not taken for the same.
    let other = server(6000);
    let mixed = place(&rollcall, "mixed");
    let told = backup(&other, &mixed, &["--incremental-from", text(&three)]);
    assert_eq!(told["linked_files"], 0, "{told}");
    let refused = run(&[
        "backup",
        "x.tar.zst",
        "--incremental-from",
        text(&one),
        "--data-dir",
        text(rollcall.data()),
    ]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

#[test]
fn only_the_newest_are_kept_and_leftovers_go() {
    let rollcall = server(10);
    let all = place(&rollcall, "all");
    let names = || {
        let entries = fs::read_dir(&all).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    fs::create_dir(&all).unwrap();
    // An older one, what a killed one has left, and what is nobody's business.
    let old = all.join("rollcall-20200101T000000Z");
    backup(&rollcall, &old, &[]);
    let older = all.join("rollcall-20190101T000000Z");
    backup(&rollcall, &older, &[]);
    fs::create_dir(all.join("rollcall-20200101T000001Z.partial")).unwrap();
    fs::write(all.join("rollcall-20200101T000002Z.partial"), "x").unwrap();
    fs::write(all.join("rollcall-notes"), "mine").unwrap();
    let told = backup(&rollcall, &all, &["--keep", "2"]);
    let made = told["path"].as_str().unwrap();
    assert!(Path::new(made).starts_with(&all), "{made}");
    let made = Path::new(made).file_name().unwrap().to_str().unwrap();
    assert_eq!(names(), ["rollcall-20200101T000000Z", made, "rollcall-notes"]);
    // The newest one that was there has lent its files.
    assert!(told["linked_files"].as_u64().unwrap() > 0 || told["files"].as_u64() < Some(5));
    ok(&["verify", text(&all.join(made))]);
}

#[test]
fn nothing_is_written_over_and_no_backup_is_served() {
    let rollcall = server(10);
    let target = place(&rollcall, "backup");
    backup(&rollcall, &target, &[]);
    let file = place(&rollcall, "file.tar.zst");
    fs::write(&file, "mine").unwrap();
    let data = text(rollcall.data());
    let nowhere = place(&rollcall, "nowhere");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["backup", text(&target), "--data-dir", data], 1, "is there already"),
        (&["backup", text(&file), "--data-dir", data], 1, "is there already"),
        (&["backup", data, "--data-dir", data], 2, "that is in the data directory"),
        (&["restore", text(&target), "--data-dir", data], 1, "is not empty"),
        (&["restore", data, "--data-dir", text(&nowhere)], 1, "it is a data directory"),
        (&["verify", text(&file)], 1, "neither compressed by zstd nor"),
        (&["verify", text(&nowhere)], 1, "No such file"),
        (&["status", "--data-dir", text(&target)], 1, "is a backup and no data directory"),
        (&["serve", "--data-dir", text(&target)], 1, "is a backup and no data directory"),
        (&["import", "--data-dir", text(&target)], 1, "is a backup and no data directory"),
        (&["backup", "x", "--encrypt-to", "age1x", "--data-dir", data], 2, "age-keygen"),
        (&["backup", "x.tar.zst.age", "--data-dir", data], 2, "--encrypt-to"),
        (&["backup", "x", "--rate", "fast", "--data-dir", data], 2, "512MiB"),
        (&["restore", "x", "--until", "monday"], 2, "2026-01-31"),
    ];
    for (args, code, said) in cases {
        let printed = run(args);
        let told = printed.stderr.contains(said) && printed.code == Some(*code);
        assert!(told && printed.stdout.is_empty(), "{args:?}: {printed:?}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    assert!(!nowhere.exists());
    ok(&["verify", text(&target)]);
    let output = Command::new(ROLLCALL)
        .args(["backup", text(&place(&rollcall, "new")), "--data-dir", data])
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("it holds secrets"), "{said}");
}
