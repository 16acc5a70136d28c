//! What tests and their set-up say of a machine on which something is missing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::harness::{Printed, print};

/// Runs `tests/setup --check` where these programs are the only ones.
fn check(programs: &Path, skipped: &Path, ci: bool) -> Printed {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut setup = Command::new("/bin/bash");
    setup.arg(root.join("tests/setup")).arg("--check").env_remove("CI");
    setup.env("PATH", programs).env("TESTS_SKIPPED", skipped);
    if ci {
        setup.env("CI", "true");
    }
    print(&mut setup, b"")
}

#[test]
fn a_bare_machine_is_told_what_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    for program in ["sed", "dirname"] {
        symlink(format!("/bin/{program}"), dir.path().join(program)).unwrap();
    }
    let skipped = dir.path().join("skipped");
    let printed = check(dir.path(), &skipped, false);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    for line in [
        "the order of writes, and system calls that fail: strace is not here (the package strace)",
        "lints: cargo-clippy is not here (rustup component add clippy)",
        "the layout of the code: cargo-fmt is not here (rustup component add rustfmt)",
    ] {
        assert!(printed.stdout.contains(line), "{line}: {}", printed.stdout);
    }
    assert!(fs::read_to_string(&skipped).unwrap().contains("the official clients\tnode is not"));
    let printed = check(dir.path(), &skipped, true);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("CI may leave nothing out"), "{printed:?}");
}

#[test]
fn a_test_that_is_skipped_is_named_with_its_reason() {
    let name = "order::after_a_failed_sync_nothing_is_acknowledged";
    let dir = tempfile::tempdir().unwrap();
    let skipped = dir.path().join("skipped");
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", name, "--test-threads", "2"]);
    again.env("PATH", dir.path()).env("TESTS_SKIPPED", &skipped).env_remove("CI");
    let printed = print(&mut again, b"");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let said = fs::read_to_string(&skipped).unwrap();
    assert_eq!(said, format!("{name}\tstrace is not installed\n"));
}
