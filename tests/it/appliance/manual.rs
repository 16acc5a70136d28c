//! Manual pages and completions come from the binary.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::super::harness::{Printed, ROLLCALL, have, print};

/// Also where the configuration is wrong.
fn run(args: &[&str]) -> Printed {
    let mut command = Command::new(ROLLCALL);
    command.args(args).env("ROLLCALL_LISTEN", "nowhere");
    let printed = print(&mut command, b"");
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{args:?}");
    printed
}

#[test]
fn shells_take_the_completions() {
    let mut seen = 0;
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).stdout;
        assert!(script.contains("rollcall") && script.contains("http-allow-remote"), "{script}");
        if shell == "bash" && have("bash") {
            let asked = "\nCOMP_WORDS=(rollcall acc); COMP_CWORD=1; _rollcall rollcall acc rollcall\n\
                         echo \"${COMPREPLY[*]}\"";
            // It is longer than what one argument may be.
            let printed = print(Command::new("bash").arg("-s"), (script + asked).as_bytes());
            assert_eq!(printed.stdout.trim(), "account", "{printed:?}");
        }
        seen += 1;
    }
    assert_eq!(seen, 3);
    let printed = print(Command::new(ROLLCALL).args(["completions", "csh"]), b"");
    assert_eq!(printed.code, Some(2), "{printed:?}");
}

#[test]
fn every_command_has_a_manual_page_that_anybody_may_read() {
    let page = run(&["man"]).stdout;
    assert!(page.contains(".TH rollcall 1") && page.contains("jambonz REST Calls API"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man/man1");
    run(&["man", pages.to_str().unwrap()]);
    let page = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    assert_eq!(page("rollcall.1"), run(&["man"]).stdout);
    assert!(page("rollcall-serve.1").contains("http\\-allow\\-remote"));
    assert!(page("rollcall-token-create.1").contains("\\-\\-service\\-provider"));
    let mut seen = 0;
    for entry in std::fs::read_dir(&pages).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o644, "{entry:?}");
        seen += 1;
    }
    assert!(seen > 15, "only {seen} pages were seen");
    // A place that cannot be written is named.
    let printed = print(Command::new(ROLLCALL).args(["man", "/proc/nowhere"]), b"");
    assert_eq!(printed.code, Some(1));
    assert!(printed.stderr.contains("cannot write /proc/nowhere: "), "{printed:?}");
}
