//! The pages in a browser: Debian's Chromium, driven by the programs in `tests/console`. Each starts
//! servers of its own from the binary under test, and asserts what the pages show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::harness::{ROLLCALL, print, skip};

/// Where the packages are, if they are those of the lock file, and the browser. A failure in CI if not.
fn installed() -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("target/console");
    let lock = fs::read_to_string(root.join("tests/console/package-lock.json")).unwrap();
    if fs::read_to_string(modules.join("installed")).unwrap_or_default() != lock {
        skip("what drives the browser is not installed; run tests/console/setup");
        return None;
    }
    let places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let browser = places.iter().map(PathBuf::from).find(|path| path.exists());
    if browser.is_none() {
        skip("chromium is not installed");
    }
    Some((modules, browser?))
}

/// Runs the tests of a program, and shows what it says if one fails.
fn run(program: &str) {
    let Some((modules, browser)) = installed() else { return };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new("node");
    command
        .arg(sources.join("run.mjs"))
        .arg(sources.join(program))
        .env("ROLLCALL", ROLLCALL)
        .env("DATA", data.path())
        .env("MODULES", &modules)
        .env("CHROMIUM", browser)
        .env("PICTURES", modules.join("failed"));
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(0), "{program}:\n{}{}", printed.stdout, printed.stderr);
}

#[test]
fn pages() {
    run("pages.mjs");
}

#[test]
fn live() {
    run("live.mjs");
}

#[test]
fn statistics() {
    run("statistics.mjs");
}

#[test]
fn operation() {
    run("operation.mjs");
}
