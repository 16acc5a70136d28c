//! What a later release has written is refused by name, with what to do, and left as it is.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rollcall::domain::Timestamp;
use rollcall::journal::{self, ChangeOrigin, FrameKind};

use super::super::harness::{Printed, Rollcall, event, print};
use super::{RELEASES, files, unpack};

/// What to do about it.
const ADVICE: &str = "start that release, or restore a backup made by this one";

/// The newest fixture's data directory, which has plain and packed segments.
fn data() -> (Rollcall, PathBuf) {
    let rollcall = Rollcall::down();
    let release = fs::read_dir(RELEASES).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    unpack(&release.join("data.tar.zst"), rollcall.dir.path());
    let journal = rollcall.data().join("journal");
    (rollcall, journal)
}

/// Everything that opens a store.
fn openings(rollcall: &Rollcall) -> Vec<Printed> {
    let serve = rollcall.serve_command();
    let mut command = Command::new("timeout");
    let served = print(command.arg("60").arg(serve.get_program()).args(serve.get_args()), b"");
    let backup = rollcall.dir.path().join("backup");
    let mut printed = vec![served];
    for args in [
        &["list"][..],
        &["export"],
        &["status"],
        &["check"],
        &["rebuild"],
        &["expire"],
        &["token", "create", "--admin"],
        &["backup", backup.to_str().unwrap()],
    ] {
        printed.push(rollcall.run(args));
    }
    printed.push(rollcall.run_with(&["import", "-"], event(1, "busy").as_bytes()));
    assert!(!backup.exists());
    printed
}

fn assert_refused(rollcall: &Rollcall, says: &str) {
    for printed in openings(rollcall) {
        let told = printed.stderr.contains(says) && printed.stderr.contains(ADVICE);
        assert!(printed.code == Some(1) && told, "{says}: {printed:?}");
    }
}

/// Writes the version at this place of the first file that ends so.
fn version(journal: &Path, end: &str, at: u64) -> PathBuf {
    let path = files(journal).into_keys().rfind(|path| path.to_str().unwrap().ends_with(end));
    let path = path.unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&5_u16.to_le_bytes(), at).unwrap();
    path
}

#[test]
fn a_later_format_and_later_segments_are_refused_and_nothing_is_changed() {
    for (end, at) in [("FORMAT", 0), (".log", 8), (".log.zst", 16)] {
        let (rollcall, journal) = data();
        let says = if end == "FORMAT" {
            let path = rollcall.data().join("FORMAT");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replacen("rollcall-data 1", "rollcall-data 2", 1)).unwrap();
            format!(
                "{} was written by a later release (format 2, this one knows 1)",
                path.display()
            )
        } else {
            let path = version(&journal, end, at);
            format!("{} was written by a later release (journal version 5)", path.display())
        };
        // What a killed release has left is not cleared away by another one either.
        fs::write(journal.join("00000000000000999999.log.new"), "unfinished").unwrap();
        let before = files(rollcall.data());
        assert!(before.len() > 8, "{:?}", before.keys());
        assert_refused(&rollcall, &says);
        let after = files(rollcall.data());
        assert!(after.keys().eq(before.keys()), "{:?}", after.keys());
        for (path, content) in before {
            assert!(after[&path] == content, "{} was changed", path.display());
        }
    }
}

#[test]
fn a_later_record_is_refused_and_the_journal_goes_on_with_the_release_that_wrote_it() {
    let (rollcall, journal) = data();
    let mut opened = journal::open(&journal, false, 1 << 20).unwrap();
    let mut batch = opened.writer.batch();
    let seq =
        batch.push(Timestamp::default(), ChangeOrigin::Admin, FrameKind::Record, &[4; 40]).unwrap();
    opened.writer.append(batch).unwrap();
    drop(opened);
    let names = || -> Vec<_> { files(&journal).into_keys().collect() };
    let before = names();
    assert_refused(
        &rollcall,
        &format!(
            "the call in frame {seq} of the journal was written by a later release (record version 4)"
        ),
    );
    // The last commit was copied, as at every start, and is what it was.
    assert!(before.iter().all(|path| names().contains(path)), "{before:?}");
    let opened = journal::open(&journal, false, 1 << 20).unwrap();
    assert_eq!((opened.writer.last_seq(), opened.torn), (seq, None));
}

#[test]
fn a_later_backup_is_refused_and_nothing_is_made_of_it() {
    for (end, at) in [("BACKUP", 0), (".log", 8), (".log.zst", 16)] {
        let (rollcall, _) = data();
        let backup = rollcall.dir.path().join("backup");
        let restored = rollcall.dir.path().join("restored");
        rollcall.ok(&["backup", backup.to_str().unwrap()]);
        let says = if end == "BACKUP" {
            let path = backup.join("BACKUP");
            let text = fs::read_to_string(&path).unwrap();
            let later = text.replacen("\"rollcall_backup\": 1", "\"rollcall_backup\": 2", 1);
            assert_ne!(later, text);
            fs::write(&path, later).unwrap();
            "was made by a later release (2, this one knows 1); use that release"
        } else {
            version(&backup.join("journal"), end, at);
            "a later release wrote it (journal version 5); use that release"
        };
        let before = files(&backup);
        let verified = rollcall.run(&["verify", backup.to_str().unwrap()]);
        let to = ["restore", backup.to_str().unwrap(), "--data-dir", restored.to_str().unwrap()];
        let mut restore = Command::new(super::super::harness::ROLLCALL);
        for printed in [verified, print(restore.args(to), b"")] {
            assert!(printed.code == Some(1) && printed.stderr.contains(says), "{end}: {printed:?}");
        }
        assert!(!restored.exists());
        assert!(files(&backup) == before);
    }
}
