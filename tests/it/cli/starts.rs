//! A start that cannot be, and a store that is not to be made: nothing is left of them.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::super::harness::{ROLLCALL, Rollcall, event, print};

/// Names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_start_that_fails_leaves_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    fs::write(path("key.pem"), key).unwrap();
    fs::write(path("no.pem"), "nothing\n").unwrap();
    fs::write(path("file"), "").unwrap();
    let long = path(&"x".repeat(200));
    let cases: [(&[&str], &str); 9] = [
        (&["--listen", &taken], "cannot listen on 127.0.0.1"),
        (&["--http-listen", &taken], "cannot listen on 127.0.0.1"),
        (&["--metrics-listen", &taken], "cannot listen on 127.0.0.1"),
        (&["--tls-cert", &path("no.pem"), "--tls-key", &path("key.pem")], "no.pem"),
        (&["--tls-cert", &path("none.pem"), "--tls-key", &path("key.pem")], "none.pem"),
        (&["--tls-client-auth", "required", "--tls-client-ca", &path("no.pem")], "no.pem"),
        (&["--admin-socket", &path("file")], "there is a file that is no socket"),
        (&["--admin-socket", &long], "a socket has at most 107"),
        (&["--log-audit", &path("none/audit.log")], "cannot open log.audit"),
    ];
    for (args, said) in cases {
        let data = dir.path().join("deep/data");
        let serve = || {
            let mut command = Command::new(ROLLCALL);
            command.args(["serve", "--data-dir"]).arg(&data).args(args);
            if !args.contains(&"--listen") {
                command.args(["--listen", "127.0.0.1:0"]);
            }
            print(&mut command, b"")
        };
        let before = names(dir.path());
        let printed = serve();
        assert_ne!(printed.code, Some(0), "{printed:?}");
        assert!(printed.stderr.contains(said), "{args:?}: {printed:?}");
        assert_eq!(names(dir.path()), before, "{args:?}");
        // What was there stays.
        fs::create_dir_all(data.join("lost+found")).unwrap();
        assert!(serve().stderr.contains(said));
        assert_eq!(names(&data), ["lost+found"], "{args:?}");
        fs::remove_dir_all(dir.path().join("deep")).unwrap();
    }
}

#[test]
fn a_start_that_fails_leaves_a_store_as_it_was() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    // Who has the store is said first.
    let mut other = Rollcall::down_in(rollcall.data());
    other.set_args(&["--http-listen", &taken]);
    let printed = other.start_fails();
    assert!(printed.stderr.contains("in use by another rollcall"), "{printed:?}");
    assert_eq!(rollcall.stop(), Some(0));
    let state = |name: &str| fs::read(rollcall.data().join(name)).unwrap();
    let before = (names(rollcall.data()), state("LOCK"), state("FORMAT"));
    let printed = other.start_fails();
    assert!(printed.stderr.contains("cannot listen on"), "{printed:?}");
    assert_eq!((names(rollcall.data()), state("LOCK"), state("FORMAT")), before);
    rollcall.start();
    assert!(rollcall.log().contains("rollcall is ready"));
}

#[test]
fn a_store_is_not_made_among_the_files_of_somebody_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("home");
    let rollcall = Rollcall::down_in(&data);
    fs::create_dir_all(data.join("Documents")).unwrap();
    for name in [".bashrc", "notes.txt", "z\u{1b}[31m", "lost+found"] {
        fs::write(data.join(name), "").unwrap();
    }
    let before = names(&data);
    let create = ["token", "create", "--admin"];
    for printed in [rollcall.start_fails(), rollcall.run(&create)] {
        assert_eq!(printed.code, Some(1), "{printed:?}");
        let said = "home has other files and no store (.bashrc, Documents, notes.txt and 1 more)";
        assert!(printed.stderr.contains(said), "{printed:?}");
        assert!(printed.stderr.contains("name an empty directory"), "{printed:?}");
    }
    assert_eq!(names(&data), before);
    // What no person has put there is nobody's.
    let mut rollcall = Rollcall::down_in(&dir.path().join("volume"));
    fs::create_dir(rollcall.data()).unwrap();
    for name in ["lost+found", ".snapshot", ".gitkeep", "._x"] {
        fs::write(rollcall.data().join(name), "").unwrap();
    }
    rollcall.start();
    assert_eq!(rollcall.stop(), Some(0));
    // Beside a store they are its owner's business.
    fs::write(rollcall.data().join("notes.txt"), "").unwrap();
    rollcall.ok(&create);
    rollcall.start();
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_place_that_is_no_directory_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    symlink(dir.path().join("nowhere"), dir.path().join("link")).unwrap();
    for (place, said) in [
        ("file", "file is a file, and the store needs a directory"),
        ("file/below", "below lies below a file, and the store needs a directory"),
        ("link", "link is a link that leads nowhere, and the store needs a directory"),
    ] {
        let rollcall = Rollcall::down_in(&dir.path().join(place));
        let tried = [
            rollcall.start_fails(),
            rollcall.run(&["token", "create", "--admin"]),
            rollcall.run(&["check"]),
        ];
        for printed in tried {
            assert_eq!(printed.code, Some(1), "{place}: {printed:?}");
            assert!(printed.stderr.contains(said), "{place}: {printed:?}");
        }
    }
    assert_eq!(names(dir.path()), ["file", "link"]);
}
