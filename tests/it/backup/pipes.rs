//! Backups in a pipe: written to standard output, read from standard input.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use age::secrecy::ExposeSecret as _;
use serde_json::Value;

use super::super::cli::pty;
use super::super::crash::{RESTLESS, assert_checked, wait};
use super::super::harness::{A1, Printed, ROLLCALL, Rollcall, event, print, sid, until};
use super::super::load::{Load, Random, Trial};
use super::forms::assert_private;
use super::{backup, export, ok, place, run, text};

/// Whom all calls are to, but for each tenth.
const NUMBER: &str = "+15550000000";
const PURGED: &str = "+15559990001";

/// A server with so many calls in several segments, whose journal no archive makes much smaller.
fn server(calls: u32) -> Rollcall {
    let rollcall = Rollcall::up(&["--store-segment-bytes=1048576"]);
    add(&rollcall, calls);
    rollcall
}

fn add(rollcall: &Rollcall, calls: u32) {
    let mut random = Random::new(9);
    let events: Vec<_> = (0..calls)
        .map(|n| {
            let note: Vec<String> =
                (0..60).map(|_| format!("{:016x}", random.below(usize::MAX))).collect();
            let note = note.concat();
            let event = event(n, "busy").replacen('{', &format!("{{\"note\":\"{note}\","), 1);
            if n % 10 == 0 { event.replace(NUMBER, PURGED) } else { event }
        })
        .collect();
    for part in events.chunks(500) {
        assert_eq!(rollcall.post_events(&part.join("\n")).status, 204);
    }
}

/// `rollcall backup -`, whose reader is this process.
fn writer(data: &Path, args: &[&str]) -> (Child, ChildStdout) {
    let mut command = Command::new(ROLLCALL);
    command.args(["backup", "-", "--data-dir", text(data)]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    (child, stdout)
}

/// What it said, and its exit code.
fn ended(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// The archive that it writes.
fn archive(data: &Path, args: &[&str]) -> Vec<u8> {
    let (child, mut stdout) = writer(data, args);
    let mut bytes = Vec::new();
    stdout.read_to_end(&mut bytes).unwrap();
    let (code, said) = ended(child);
    assert_eq!(code, Some(0), "{said}");
    bytes
}

/// Hands the backup of a data directory to another command.
fn piped(data: &Path, made: &[&str], read: &[&str]) -> (Printed, Printed) {
    let (child, stdout) = writer(data, made);
    let output = Command::new(ROLLCALL).args(read).stdin(Stdio::from(stdout)).output().unwrap();
    let (code, stderr) = ended(child);
    let wrote = Printed { stdout: String::new(), stderr, code };
    let read = Printed {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    };
    (wrote, read)
}

fn read_from(input: &[u8], args: &[&str]) -> Printed {
    print(Command::new(ROLLCALL).args(args), input)
}

/// Refused as a restore, from which nothing is left, and as a backup that is looked at.
#[track_caller]
fn assert_refused(input: &[u8], to: &Path, more: &[&str]) -> String {
    let refused = read_from(input, &[&["restore", "-", "--data-dir", text(to)], more].concat());
    assert!(refused.code == Some(1) && refused.stdout.is_empty(), "{refused:?}");
    assert!(refused.stderr.contains("standard input"), "{refused:?}");
    assert!(!refused.stderr.contains("panicked"), "{refused:?}");
    assert!(!to.exists(), "something is left: {refused:?}");
    let verified = read_from(input, &[&["verify", "-"], more].concat());
    assert!(verified.code == Some(1) && verified.stdout.is_empty(), "{verified:?}");
    refused.stderr
}

/// A key for encrypted ones: its file, and the recipient.
fn key(rollcall: &Rollcall) -> (String, String) {
    let key = age::x25519::Identity::generate();
    let file = place(rollcall, "key");
    fs::write(&file, key.to_string().expose_secret()).unwrap();
    (text(&file).to_owned(), key.to_public().to_string())
}

#[test]
fn a_pipe_between_two_processes_carries_all_that_was_acknowledged() {
    let trial = Trial::new("PIPE_ROUNDS", 4);
    let mut random = Random::new(trial.seed);
    let mut rollcall = Rollcall::up(&RESTLESS);
    let (identity, recipient) = key(&rollcall);
    let mut load = Load::new(trial.seed, 3);
    let mut acknowledged = 0;
    let mut before = 0;
    for round in 0..trial.rounds {
        let events: Vec<_> = (acknowledged..acknowledged + 200).map(|n| event(n, "busy")).collect();
        acknowledged += 200;
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
        let to = place(&rollcall, &format!("restored-{round}"));
        let (made, read) = match round % 2 {
            0 => (&[][..], &[][..]),
            _ => (&["--encrypt-to", &recipient][..], &["--identity", &identity][..]),
        };
        let (wrote, restored) = load.during(&mut rollcall, |rollcall| {
            wait(&mut random, 400);
            let read = [&["restore", "-", "--json", "--data-dir", text(&to)], read].concat();
            piped(rollcall.data(), made, &read)
        });
        assert_eq!(wrote.code, Some(0), "{wrote:?}");
        assert_eq!(restored.code, Some(0), "{restored:?}");
        assert_eq!(wrote.stderr.contains("it holds secrets"), made.is_empty(), "{wrote:?}");
        assert!(wrote.stderr.contains("standard output: "), "{wrote:?}");
        let told: Value = serde_json::from_str(&restored.stdout).unwrap();
        let sequence = told["sequence"].as_u64().unwrap();
        assert!(sequence > before, "{told}");
        before = sequence;
        assert_private(&to);
        let all = export(&to);
        for n in 0..acknowledged {
            assert!(all.contains(&sid(n)), "{n} of {acknowledged} is lost");
        }
        // The same as of that sequence number, from a file.
        let (file, again) = (place(&rollcall, "later.tar.zst"), place(&rollcall, "again"));
        backup(&rollcall, &file, &[]);
        let until = ["restore", "-", "--until", &sequence.to_string(), "--data-dir", text(&again)];
        let cut = read_from(&fs::read(&file).unwrap(), &until);
        assert_eq!(cut.code, Some(0), "{cut:?}");
        assert!(export(&again) == all, "two ways to sequence {sequence} differ");
        fs::remove_dir_all(&again).unwrap();
        fs::remove_file(&file).unwrap();
    }
    // It is not known where that went.
    let (child, mut stdout) = writer(rollcall.data(), &["--json"]);
    let mut bytes = Vec::new();
    stdout.read_to_end(&mut bytes).unwrap();
    let (code, said) = ended(child);
    assert_eq!(code, Some(0), "{said}");
    let figures: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(figures["path"], "-", "{said}");
    let verified = read_from(&bytes, &["verify", "-", "--json"]);
    let verified: Value = serde_json::from_str(&verified.stdout).unwrap();
    assert_eq!(
        (&verified["sequence"], &verified["epoch"]),
        (&figures["sequence"], &figures["epoch"])
    );
    fs::remove_file(rollcall.data().join("LAST_BACKUP")).unwrap();
    archive(rollcall.data(), &[]);
    assert!(!rollcall.data().join("LAST_BACKUP").exists());
    // A server works on it.
    let to = place(&rollcall, "restored-0");
    let served = Rollcall::up_in(&to, &RESTLESS);
    assert_eq!(served.admin(), rollcall.admin());
    assert_checked(&served);
    assert_checked(&rollcall);
}

#[test]
fn standard_output_may_be_a_file_and_there_may_be_no_server() {
    let mut rollcall = server(300);
    let before = rollcall.ok(&["export"]);
    assert_eq!(rollcall.stop(), Some(0));
    let (file, to) = (place(&rollcall, "file.tar.zst"), place(&rollcall, "restored"));
    for rights in [0o644, 0o600] {
        let output = File::create(&file).unwrap();
        output.set_permissions(Permissions::from_mode(rights)).unwrap();
        let mut command = Command::new(ROLLCALL);
        command.args(["backup", "-", "--data-dir", text(rollcall.data())]);
        let made = command.stdout(output).output().unwrap();
        let said = String::from_utf8(made.stderr).unwrap();
        assert!(made.status.success(), "{said}");
        assert_eq!(said.contains("a file that others may open (0644)"), rights == 0o644, "{said}");
    }
    ok(&["verify", text(&file)]);
    // A directory that is there, and may be a mount, is filled as it is.
    fs::create_dir(&to).unwrap();
    let (wrote, restored) =
        piped(rollcall.data(), &["--rate", "0"], &["restore", "-", "--data-dir", text(&to)]);
    assert_eq!((wrote.code, restored.code), (Some(0), Some(0)), "{wrote:?} {restored:?}");
    assert!(export(&to) == before);
    let data = text(rollcall.data());
    for (args, says) in [
        (&["backup", "-", "--keep", "3", "--data-dir", data][..], "--keep"),
        (
            &["backup", "-", "--incremental-from", text(&file), "--data-dir", data],
            "--incremental-from",
        ),
        (&["backup", "-", "--encrypt-to", "age1x", "--data-dir", data], "age-keygen"),
    ] {
        let refused = run(args);
        let said = refused.stderr.contains(says) && refused.stdout.is_empty();
        assert!(refused.code == Some(2) && said, "{args:?}: {refused:?}");
    }
}

#[test]
fn a_terminal_gets_no_backup_and_gives_none() {
    let rollcall = server(10);
    let to = place(&rollcall, "restored");
    for (args, says) in [
        (
            &["backup", "-", "--data-dir", text(rollcall.data())][..],
            "standard output is a terminal",
        ),
        (&["restore", "-", "--data-dir", text(&to)], "standard input is a terminal"),
        (&["verify", "-"], "standard input is a terminal"),
    ] {
        let (said, code) = pty::start(Command::new(ROLLCALL).args(args), 80).end();
        assert!(code == Some(2) && said.contains(says), "{args:?}: {said}");
    }
    assert!(!to.exists());
}

#[test]
fn a_reader_that_goes_away_has_no_backup_and_the_writer_says_so() {
    let mut rollcall = server(3000);
    let to = place(&rollcall, "restored");
    for up in [true, false] {
        if !up {
            assert_eq!(rollcall.stop(), Some(0));
        }
        for bytes in [0, 20_000, 700_000] {
            let (child, stdout) = writer(rollcall.data(), &[]);
            let mut taken = Vec::new();
            stdout.take(bytes).read_to_end(&mut taken).unwrap();
            assert_eq!(taken.len() as u64, bytes);
            let (code, said) = ended(child);
            let told = ["cannot write standard output", "went away before the end", "is no backup"];
            assert!(code == Some(1) && told.iter().all(|part| said.contains(part)), "{said}");
            let said = assert_refused(&taken, &to, &[]);
            let why = if bytes == 0 { "nothing came" } else { "cut off" };
            assert!(said.contains(why), "{said}");
        }
    }
    let whole = archive(rollcall.data(), &[]);
    assert!(whole.len() > 1_500_000, "{}", whole.len());
}

#[test]
fn a_server_that_dies_cuts_the_pipe_and_nothing_is_left_behind_it() {
    let mut rollcall = server(3000);
    let to = place(&rollcall, "restored");
    let data = rollcall.data().to_owned();
    let (child, stdout) = writer(&data, &["--rate", "400KiB"]);
    let mut command = Command::new(ROLLCALL);
    command.args(["restore", "-", "--data-dir", text(&to)]).stdin(Stdio::from(stdout));
    let reader = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("it writes", || fs::read_dir(to.join("journal")).ok()?.next().map(|_| ()));
    rollcall.kill();
    let ((code, said), (restored, why)) = (ended(child), ended(reader));
    assert!(code == Some(1) && said.contains("the server went away"), "{said}");
    assert!(restored == Some(1) && why.contains("cut off"), "{why}");
    assert!(!to.exists());
    rollcall.start();
    assert_checked(&rollcall);
}

/// Why files of the journal are kept that a purge has had replaced.
fn kept(rollcall: &Rollcall, wait: &str) -> (Option<i32>, String) {
    let purged = rollcall.run(&["--json", "purge", "--number", PURGED, "--wait", wait]);
    let answer: Value = serde_json::from_str(&purged.stdout).unwrap();
    (purged.code, answer["files"].to_string())
}

#[test]
fn a_reader_that_takes_nothing_is_waited_for_a_minute_and_holds_up_nobody() {
    let rollcall = server(3000);
    let mut down = server(3000);
    assert_eq!(down.stop(), Some(0));
    let (alone, alone_out) = writer(down.data(), &[]);
    let (child, mut stdout) = writer(rollcall.data(), &[]);
    let mut begin = [0; 4];
    stdout.read_exact(&mut begin).unwrap();
    // The store goes on, and says what it keeps and for whom.
    assert_eq!(rollcall.post_events(&event(900_000, "busy")).status, 204);
    let (code, files) = kept(&rollcall, "0s");
    assert!(code == Some(1) && files.contains("a backup runs"), "{files}");
    assert_eq!(rollcall.post_events(&event(900_001, "busy")).status, 204);
    let ended = [child, alone].map(ended);
    for (code, said) in ended {
        assert!(code == Some(1) && said.contains("took nothing for 1m"), "{said}");
    }
    drop(alone_out);
    let (code, files) = kept(&rollcall, "1min");
    assert!(code == Some(0), "{files}");
    down.ok(&["check"]);
    let mut taken = begin.to_vec();
    stdout.read_to_end(&mut taken).unwrap();
    let said = assert_refused(&taken, &place(&rollcall, "restored"), &[]);
    assert!(said.contains("cut off"), "{said}");
    let token = rollcall.token(&["--account", A1, "--role", "read"]);
    let list = rollcall.get(&token, &format!("/v1/Accounts/{A1}/Calls/{}", sid(900_001)));
    assert_eq!(list.status, 200, "{list:?}");
}

#[test]
fn what_is_cut_damaged_or_followed_by_more_leaves_nothing() {
    let trial = Trial::new("PIPE_CUTS", 25);
    let mut random = Random::new(trial.seed);
    let rollcall = server(1500);
    let to = place(&rollcall, "restored");
    let (identity, recipient) = key(&rollcall);
    let plain = archive(rollcall.data(), &[]);
    let sealed = archive(rollcall.data(), &["--encrypt-to", &recipient]);
    assert!(sealed.starts_with(b"age-encryption.org/") && !plain.starts_with(b"age"));
    let identity = ["--identity", &identity];
    for (whole, read) in [(&plain, &[][..]), (&sealed, &identity)] {
        for round in 0..trial.rounds {
            let place = match round {
                0 => whole.len() - 1,
                1 => 0,
                _ => random.below(whole.len()),
            };
            let said = assert_refused(&whole[..place], &to, read);
            let told = ["cut off", "nothing came", "neither compressed", "ncomplete header"];
            let told = told.iter().any(|why| said.contains(why));
            assert!(told, "cut at {place} of {}: {said}", whole.len());
            let mut damaged = whole.clone();
            damaged[place.min(whole.len() - 1)] ^= 1 << random.below(8);
            assert_refused(&damaged, &to, read);
        }
        for more in [&b"x"[..], whole, &[0; 100], &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]] {
            assert_refused(&[whole, more].concat(), &to, read);
        }
        let restored =
            read_from(whole, &[&["restore", "-", "--data-dir", text(&to)], read].concat());
        assert_eq!(restored.code, Some(0), "{restored:?}");
        assert!(export(&to) == rollcall.ok(&["export"]));
        fs::remove_dir_all(&to).unwrap();
    }
    // What is there already stays as it is.
    fs::create_dir(&to).unwrap();
    fs::write(to.join("mine"), "mine").unwrap();
    let refused = read_from(&plain, &["restore", "-", "--data-dir", text(&to)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("is not empty"), "{refused:?}");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 1);
    fs::remove_file(to.join("mine")).unwrap();
    let refused = read_from(&plain[..9000], &["restore", "-", "--data-dir", text(&to)]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    fs::remove_dir(&to).unwrap();
    assert!(assert_refused(&sealed, &to, &[]).contains("--identity"));
    assert!(assert_refused(b"ssh: no such host\n", &to, &[]).contains("\"ssh: no such host\\n\""));
}

/// Feeds a restore with a beginning and then the same for ever, until it has enough.
#[track_caller]
fn assert_ends(begin: &[u8], again: &[u8], to: &Path, says: &str) {
    let mut command = Command::new(ROLLCALL);
    command.args(["restore", "-", "--data-dir", text(to)]);
    command.args(["--identity", text(&to.with_file_name("key"))]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    if input.write_all(begin).is_ok() {
        while input.write_all(again).is_ok() {}
    }
    let (code, said) = ended(child);
    assert!(code == Some(1) && said.contains(says), "{said}");
    assert!(!to.exists());
}

#[test]
fn what_never_ends_is_given_up() {
    let rollcall = server(300);
    key(&rollcall);
    let to = place(&rollcall, "restored");
    let whole = archive(rollcall.data(), &[]);
    let zeros = vec![0; 1 << 16];
    assert_ends(&[], &zeros, &to, "neither compressed");
    assert_ends(&whole, &zeros, &to, "more behind its end");
    // Blocks without content, none of which is the last one.
    assert_ends(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x58], &zeros, &to, "no backup is like that");
    // Recipients without an end.
    let stanza = b"-> X25519 CJM36AHmTbdHSuOQL+NESqyVQE75f2e610iRdLPEN20\n\
                   C3ZAeY64NXS4QFrksLm3EGz+uPRyI0eQsWw7LWbbYig\n";
    assert_ends(b"age-encryption.org/v1\n", &stanza.repeat(100), &to, "no backup is like that");
    // Zeros behind the last file, as a tar has, and more of them than any.
    let mut tar = zstd::decode_all(&whole[..]).unwrap();
    tar.extend(vec![0; 2 << 20]);
    assert!(
        assert_refused(&zstd::encode_all(&tar[..], 3).unwrap(), &to, &[]).contains("bytes follow")
    );
    // A file that no disk has room for.
    let mut header = tar::Header::new_gnu();
    header.set_path("journal/00000000000000000001.log").unwrap();
    header.set_size(1 << 50);
    header.set_cksum();
    let large = zstd::encode_all(&header.as_bytes()[..], 3).unwrap();
    let refused = read_from(&large, &["restore", "-", "--data-dir", text(&to)]);
    assert!(refused.code == Some(1) && refused.stderr.contains("make space"), "{refused:?}");
    assert!(!to.exists());
}
