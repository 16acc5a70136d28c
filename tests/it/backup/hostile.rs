//! Backups that somebody has made who means harm.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use super::super::harness::{Printed, ROLLCALL, Rollcall, print};
use super::{backup, ok, place, run, server, text};

/// A file of an archive.
type Entry = (String, Vec<u8>);

fn unpacked(path: &Path) -> Vec<Entry> {
    let bytes = zstd::decode_all(fs::File::open(path).unwrap()).unwrap();
    let mut tar = tar::Archive::new(&bytes[..]);
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    entries.collect()
}

fn packed(path: &Path, entries: &[Entry]) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    fs::write(path, zstd::encode_all(&tar.into_inner().unwrap()[..], 3).unwrap()).unwrap();
}

/// An archive with many segments, and what is in it.
fn archive() -> (Rollcall, Vec<Entry>) {
    let rollcall = server(12_000);
    let path = place(&rollcall, "backup.tar.zst");
    backup(&rollcall, &path, &[]);
    let entries = unpacked(&path);
    assert!(entries.len() > 5, "{}", entries.len());
    (rollcall, entries)
}

/// Restores where no file may have more than 4 KiB: a process that writes more is killed.
fn restored_without_writing(from: &Path, to: &Path) -> Printed {
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 4; exec \"$0\" \"$@\"", ROLLCALL]);
    command.args(["restore", text(from), "--data-dir", text(to)]);
    print(&mut command, b"")
}

#[track_caller]
fn assert_refused(rollcall: &Rollcall, entries: &[Entry], says: &[&str]) {
    let (from, to) = (place(rollcall, "strange.tar.zst"), place(rollcall, "restored"));
    packed(&from, entries);
    for refused in [run(&["verify", text(&from)]), restored_without_writing(&from, &to)] {
        let said = says.iter().all(|says| refused.stderr.contains(says));
        assert!(refused.code == Some(1) && said, "{refused:?}");
    }
    assert!(!to.exists());
    // What comes once is written before that is known, and removed.
    let mut piped = Command::new(ROLLCALL);
    let refused =
        print(piped.args(["restore", "-", "--data-dir", text(&to)]), &fs::read(&from).unwrap());
    let said = says.iter().all(|says| refused.stderr.contains(says));
    assert!(refused.code == Some(1) && said, "{refused:?}");
    assert!(!to.exists(), "{refused:?}");
}

#[test]
fn nothing_is_written_of_an_archive_that_is_refused() {
    let (rollcall, entries) = archive();
    let last = entries.len() - 1;
    assert_eq!(entries[last].0, "BACKUP");
    assert!(entries[0].1.len() > 100_000);
    // Only its end says that it is not what it seems to be.
    assert_refused(&rollcall, &entries[..last], &["BACKUP", "only a part of a backup"]);
    let mut changed = entries.clone();
    changed[last - 1].1[0] ^= 1;
    assert_refused(&rollcall, &changed, &[&entries[last - 1].0, "SHA-256"]);
    // The whole one is taken.
    let (from, to) = (place(&rollcall, "same.tar.zst"), place(&rollcall, "same"));
    packed(&from, &entries);
    ok(&["verify", text(&from)]);
    assert_eq!(run(&["restore", text(&from), "--data-dir", text(&to)]).code, Some(0));
}

#[test]
fn small_files_are_small_and_each_is_there_once() {
    let (rollcall, entries) = archive();
    let zeros = |bytes| vec![0; bytes];
    for (name, bytes) in [("tls/ca.pem", (4 << 20) + 1), ("tls/x", 50 << 20), ("admin.token", 5000)]
    {
        let mut more: Vec<_> = entries.iter().filter(|entry| entry.0 != name).cloned().collect();
        more.insert(0, (name.to_owned(), zeros(bytes)));
        assert_refused(&rollcall, &more, &[name, "bytes, and no such file has"]);
    }
    for name in [entries[0].0.as_str(), "tls/ca.pem", "admin.token"] {
        let mut twice = entries.clone();
        let found = entries.iter().find(|entry| entry.0 == name).unwrap().clone();
        twice.insert(1, found);
        // The first one of all is followed by itself; others come again.
        assert_refused(&rollcall, &twice, &[name, "it is there twice"]);
    }
}

#[test]
fn a_backup_that_does_not_fit_on_the_disk_is_not_begun() {
    let Some(disk) = super::super::power::Disk::new(16 << 20) else { return };
    let (rollcall, _) = archive();
    let (whole, to) = (place(&rollcall, "backup"), disk.mounted.join("data"));
    backup(&rollcall, &whole, &[]);
    let filler = fs::File::create(disk.mounted.join("filler")).unwrap();
    let free = rollcall::fsutil::free_bytes(&disk.mounted).unwrap();
    let left = 1 << 20;
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, free - left).unwrap();
    for from in [whole, place(&rollcall, "backup.tar.zst")] {
        let refused = run(&["restore", text(&from), "--data-dir", text(&to)]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("make space"), "{refused:?}");
        assert!(!to.exists());
    }
}

#[test]
fn a_restore_that_ends_without_an_index_says_what_is_there_and_how_to_go_on() {
    let (rollcall, _) = archive();
    let (from, to) = (place(&rollcall, "backup.tar.zst"), place(&rollcall, "restored"));
    let config = place(&rollcall, "rollcall.toml");
    fs::write(&config, "").unwrap();
    // The index is one file of more than that; no segment is.
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f 1100; exec \"$0\" \"$@\"", ROLLCALL]);
    command.args(["restore", text(&from), "--data-dir", text(&to)]);
    let failed = print(&mut command, b"");
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for says in ["all of the backup is in", "checked and on disk", "nothing need be restored again"]
    {
        assert!(failed.stderr.contains(says), "{failed:?}");
    }
    let again = run(&["restore", text(&from), "--data-dir", text(&to)]);
    assert!(again.code == Some(1) && again.stderr.contains("is not empty"), "{again:?}");
    assert!(super::export(&to) == rollcall.ok(&["export"]));
    let indexes = fs::read_dir(&to).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_str().unwrap().starts_with("index-")
    });
    assert_eq!(indexes.count(), 1, "what was half made is left");
}
