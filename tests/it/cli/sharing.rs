//! One data directory, several processes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use super::super::harness::{ROLLCALL, Rollcall, event, until};

fn status(rollcall: &Rollcall) -> serde_json::Value {
    serde_json::from_str(&rollcall.figures()).unwrap()
}

#[test]
fn a_socket_that_a_kill_left_behind_is_in_nobodys_way() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    rollcall.kill();
    assert!(rollcall.data().join("admin.sock").exists());
    assert_eq!(status(&rollcall)["running"], false);
    assert_eq!(status(&rollcall)["calls"], 1);
    rollcall.start();
    assert_eq!(status(&rollcall)["running"], true);
    assert_eq!(rollcall.stop(), Some(0));
    assert!(!rollcall.data().join("admin.sock").exists());
}

#[test]
fn a_second_server_is_refused_and_the_first_goes_on() {
    let rollcall = Rollcall::up(&[]);
    let second = rollcall.start_fails();
    assert_eq!((second.code, second.stdout.as_str()), (Some(1), ""));
    let pid = format!("process {}", rollcall.pid());
    assert!(second.stderr.contains(&pid), "{second:?}");
    assert!(second.stderr.contains(rollcall.data().to_str().unwrap()), "{second:?}");
    assert_eq!(status(&rollcall)["running"], true);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
}

#[test]
fn a_second_data_directory_does_not_take_the_first_ones_socket() {
    let first = Rollcall::up(&[]);
    let socket = first.data().join("admin.sock");
    let mut second = Rollcall::down();
    second.set_args(&["--admin-socket", socket.to_str().unwrap()]);
    let printed = second.start_fails();
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains(socket.to_str().unwrap()), "{printed:?}");
    assert_eq!(status(&first)["running"], true);
    let file = second.dir.path().join("precious");
    std::fs::write(&file, "precious").unwrap();
    second.set_args(&["--admin-socket", file.to_str().unwrap()]);
    assert_eq!(second.start_fails().code, Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn a_command_finds_a_socket_that_stands_elsewhere() {
    let mut rollcall = Rollcall::down();
    let runtime = rollcall.dir.path().join("run");
    std::fs::create_dir(&runtime).unwrap();
    let mut command = rollcall.serve_command();
    command.env("RUNTIME_DIRECTORY", &runtime);
    rollcall.start_with(command);
    assert!(runtime.join("admin.sock").exists());
    assert_eq!(status(&rollcall)["running"], true);
    rollcall.kill();
    assert_eq!(status(&rollcall)["running"], false);
    rollcall.start();
    assert_eq!(status(&rollcall)["running"], true);
}

#[test]
fn a_command_waits_for_a_server_that_starts() {
    let mut rollcall = Rollcall::up(&[]);
    let events: Vec<String> = (0..2000).map(|n| event(n, "busy")).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    for _ in 0..5 {
        rollcall.kill();
        let lock = rollcall.data().join("LOCK");
        let before = std::fs::read_to_string(&lock).unwrap();
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                until("the lock is taken", || {
                    let now = std::fs::read_to_string(&lock).unwrap();
                    (now != before && now.starts_with("pid ")).then_some(())
                });
                let mut command = Command::new(ROLLCALL);
                command.args(["status", "--json", "--data-dir"]).arg(lock.parent().unwrap());
                super::super::harness::print(&mut command, b"")
            });
            rollcall.start();
            let printed = asked.join().unwrap();
            assert_eq!(printed.code, Some(0), "{printed:?}");
            let status: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
            assert_eq!((&status["running"], &status["calls"]), (&true.into(), &2000.into()));
        });
    }
}

#[test]
fn a_command_says_whom_it_waits_for() {
    let mut rollcall = Rollcall::up(&[]);
    std::fs::remove_file(rollcall.data().join("admin.sock")).unwrap();
    let mut command = Command::new(ROLLCALL);
    command.args(["status", "--json", "--data-dir"]).arg(rollcall.data());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let pid = format!("process {}", rollcall.pid());
    assert!(said.contains(&pid) && said.contains("waiting"), "{said}");
    assert_eq!(rollcall.stop(), Some(0));
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(printed.contains("\"running\":false"), "{printed}");
}

#[test]
fn a_reader_that_closes_the_pipe_has_seen_enough() {
    let mut rollcall = Rollcall::up(&[]);
    let events: Vec<String> = (0..3000).map(|n| event(n, "busy")).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    for up in [true, false] {
        for args in [&["export"][..], &["export", "--format", "json"], &["list", "--limit", "9999"]]
        {
            let mut command = Command::new(ROLLCALL);
            command.args(args).arg("--data-dir").arg(rollcall.data());
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut line = String::new();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            stdout.read_line(&mut line).unwrap();
            drop(stdout);
            let output = child.wait_with_output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""), "{up} {args:?}");
            assert!(!line.is_empty());
        }
        if up {
            assert_eq!(rollcall.stop(), Some(0));
        }
    }
    assert!(rollcall.ok(&["check"]).contains("3000 calls"));
}

#[test]
fn a_full_disk_on_the_way_out_is_a_failure_that_names_where() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    for args in [&["export"][..], &["list"], &["status"]] {
        let mut command = Command::new(ROLLCALL);
        command.args(args).arg("--data-dir").arg(rollcall.data()).stdin(Stdio::null());
        command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let output = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("standard output") && stderr.contains("space"), "{stderr}");
    }
}
