//! `list --follow`: calls as they come.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::super::harness::{A1, A2, ROLLCALL, Rollcall, event, sid};
use super::pty;

/// A list that is followed.
struct EventStream {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl EventStream {
    fn of(rollcall: &Rollcall, flags: &[&str]) -> Self {
        let mut command = Command::new(ROLLCALL);
        command.args(["list", "--follow", "--data-dir"]).arg(rollcall.data()).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// Its exit code, and what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let said = std::io::read_to_string(self.child.stderr.take().unwrap()).unwrap();
        (status.code(), said)
    }
}

#[test]
fn new_and_changed_calls_come_a_line_each() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "trying")).status, 204);
    let mut all = EventStream::of(&rollcall, &[]);
    // Once its head is there nothing is missed.
    let head = all.next();
    assert!(head.starts_with("ATTEMPTED") && head.ends_with("ACCOUNT SID"), "{head}");
    let mut own = EventStream::of(&rollcall, &["--account", A2, "--limit", "1"]);
    let mut busy =
        EventStream::of(&rollcall, &["--status", "busy", "--from-prefix", "+15550000002"]);
    own.next();
    busy.next();
    for (n, status, account) in
        [(1, "in-progress", A1), (2, "trying", A1), (2, "busy", A1), (3, "trying", A2)]
    {
        let event = event(n, status).replace(A1, account);
        assert_eq!(rollcall.post_events(&event).status, 204);
        let line = all.next();
        for part in [&sid(n), status, account] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    let line = own.next();
    assert!(line.contains(&sid(3)) && !line.contains(A1), "{line}");
    assert_eq!(own.end(), (Some(0), String::new()), "it ends after so many lines");
    let line = busy.next();
    assert!(line.contains(&sid(2)) && line.contains("busy"), "{line}");
    let _gone = (busy.child.kill(), all.child.kill());
    let _gone = (busy.end(), all.end());
    // A client that has gone away holds nothing.
    assert_eq!(rollcall.post_events(&event(4, "trying")).status, 204);
}

#[test]
fn programs_get_an_object_a_line() {
    let rollcall = Rollcall::up(&[]);
    let account = rollcall.ok(&["account", "set", A1, "--name", "acme"]);
    assert!(account.contains(A1));
    let mut named = EventStream::of(&rollcall, &["--account", "acme"]);
    let mut lines = EventStream::of(&rollcall, &["--json", "--limit", "2"]);
    named.next();
    // An object says nothing until there is one: what comes first may have come before it looked.
    let mut seen = Vec::new();
    let mut n = 0;
    let reader = std::thread::spawn(move || {
        let both = [lines.next(), lines.next()];
        (both, lines.end())
    });
    while !reader.is_finished() {
        n += 1;
        assert!(n < 2000, "no line came");
        assert_eq!(rollcall.post_events(&event(n, "trying")).status, 204);
    }
    let (both, ended) = reader.join().unwrap();
    assert_eq!(ended.0, Some(0), "{ended:?}");
    for line in both {
        let call: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(call["call_status"], "trying");
        seen.push(call["call_sid"].as_str().unwrap().to_owned());
    }
    assert_ne!(seen[0], seen[1]);
    assert!(named.next().contains(&sid(1)));
    let _gone = named.child.kill();
    named.end();
}

#[test]
fn a_terminal_gets_short_lines_until_somebody_ends_it() {
    let rollcall = Rollcall::up(&[]);
    let mut command = Command::new(ROLLCALL);
    command.args(["list", "--follow", "--data-dir"]).arg(rollcall.data()).env("NO_COLOR", "1");
    let mut terminal = pty::start(&mut command, 80);
    let head = terminal.read_until("SID");
    assert!(head.starts_with("UTC"), "{head}");
    assert_eq!(rollcall.post_events(&event(1, "early-media")).status, 204);
    let line = terminal.read_until("early-media");
    assert!(line.contains("+15550000001") && line.contains("+15550000000"), "{line}");
    assert!(line.trim_end().len() <= 80 && !line.contains(&sid(1)), "{line}");
    // As Ctrl-C does.
    let pid = terminal.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    let (_, code) = terminal.end();
    assert_eq!(code, None, "a signal ends it, which a shell calls 130");
}

#[test]
fn it_needs_a_server_and_ends_with_it() {
    let mut rollcall = Rollcall::up(&[]);
    let mut event_stream = EventStream::of(&rollcall, &[]);
    event_stream.next();
    assert_eq!(rollcall.stop(), Some(0));
    let (code, said) = event_stream.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the server stops"), "{said}");
    let down = rollcall.run(&["list", "--follow"]);
    assert_eq!((down.code, down.stdout.as_str()), (Some(1), ""), "{down:?}");
    assert!(down.stderr.contains("no server is running"), "{down:?}");
    let wrong = rollcall.run(&["list", "--follow", "--order", "asc"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("--order") && wrong.stderr.contains("--follow"), "{wrong:?}");
}
