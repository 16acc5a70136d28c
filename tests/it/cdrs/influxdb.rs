//! A real `InfluxDB` 1.x: a subscription, and what is read back by query.

use std::fs::{self, File};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::super::harness::{A1, A2, Answer, Printed, ROLLCALL, Rollcall, have, print, sid, until};
use super::writer::{PASSWORD, call, calls, free_port, request, take, taking};

/// Milliseconds, in the past of every test.
const TIME: u64 = 1_795_849_200_123;

/// A server, until this is dropped.
struct Influx {
    port: u16,
    dir: TempDir,
    /// The end of its configuration, within `[http]`.
    more: String,
    child: Option<Child>,
}

impl Drop for Influx {
    fn drop(&mut self) {
        self.end();
    }
}

impl Influx {
    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }

    /// A running one with the database of CDRs, which gives fewer rows in an answer than it is asked for;
    /// none where it is not installed.
    fn up() -> Option<Self> {
        if !have("influxd") {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Another test may be faster and take a port.
        let mut influx = Self { port: 0, dir, more: String::new(), child: None };
        while !influx.start() {}
        let answer = influx.query("POST", "create database \"cdrs\"");
        assert_eq!(answer.status, 200, "{answer:?}");
        Some(influx)
    }

    fn start(&mut self) -> bool {
        self.port = free_port();
        let path = self.dir.path();
        let dirs = ["data", "wal", "meta"].map(|name| path.join(name).display().to_string());
        let configuration = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n[meta]\ndir = {:?}\n[data]\n\
             dir = {:?}\nwal-dir = {:?}\n[monitor]\nstore-enabled = false\n[http]\n\
             bind-address = \"127.0.0.1:{}\"\nmax-row-limit = 700\n{}",
            free_port(),
            dirs[2],
            dirs[0],
            dirs[1],
            self.port,
            self.more
        );
        let file = path.join("influxdb.conf");
        fs::write(&file, configuration).unwrap();
        let log = File::create(path.join("log")).unwrap();
        let mut command = Command::new("influxd");
        command.arg("-config").arg(&file).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.child.insert(command.spawn().unwrap());
        until("InfluxDB listens", || {
            if child.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", self.port)).is_ok().then_some(true)
        })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn query(&self, method: &str, query: &str) -> Answer {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let target = format!("/query?db=cdrs&q={query}");
        request(
            self.port,
            method,
            &target,
            &[("Host", "x"), ("Connection", "close"), ("Content-Length", "0")],
            b"",
        )
    }

    fn write(&self, lines: &str) {
        let length = lines.len().to_string();
        let headers = [("Host", "x"), ("Content-Length", length.as_str())];
        let answer = request(self.port, "POST", "/write?db=cdrs", &headers, lines.as_bytes());
        assert_eq!(answer.status, 204, "{answer:?}");
    }
}

/// Runs a command on the directory of a server with these variables.
fn run_in(rollcall: &Rollcall, args: &[&str], variables: &[(&str, &str)]) -> Printed {
    let mut command = Command::new(ROLLCALL);
    command.args(args).arg("--data-dir").arg(rollcall.data());
    print(command.envs(variables.iter().copied()), b"")
}

/// The CDR of a call that is answered, or of one that is not and names no call sid.
fn cdr(account: &str, n: u32) -> String {
    let begun = TIME + u64::from(n) * 10;
    let end = begun + 5000;
    let tags = format!("account_sid={account},direction=inbound,host=10.0.0.1,trunk=a\\ carrier");
    let both = format!(
        "from=\"1555{n:07}\",sip_callid=\"sbc-{n}\",termination_reason=\"x\",terminated_at={end},to=\"2\""
    );
    if n.is_multiple_of(3) {
        format!("cdrs,{tags},answered=false {both},duration=0,sip_status=487 {begun}000000")
    } else {
        format!(
            "cdrs,{tags},answered=true {both},answered_at={},call_sid=\"{}\",duration=4,sip_status=200 \
             {begun}000000",
            begun + 1000,
            sid(n)
        )
    }
}

fn hook(n: u32) -> Value {
    serde_json::json!({
        "account_sid": A1, "call_sid": sid(n), "call_status": "ringing", "sip_status": 180,
        "direction": "inbound", "from": format!("+1555{n:07}"), "to": "+2", "call_id": format!("fs-{n}"),
        "sbc_callid": format!("sbc-{n}"),
    })
}

#[test]
fn a_subscription_is_made_shown_and_removed_and_sends_cdrs() {
    let Some(influx) = Influx::up() else { return };
    let rollcall = taking(&[]);
    let url = format!("http://127.0.0.1:{}", rollcall.cdr_port);
    let file = rollcall.dir.path().join("cdrs.password");
    let configured = [
        ("ROLLCALL_CDRS_LISTEN", "127.0.0.1:8086"),
        ("ROLLCALL_CDRS_USER", "rc-user"),
        ("ROLLCALL_CDRS_PASSWORD_FILE", file.to_str().unwrap()),
    ];
    let influx_url = influx.url();
    let subscribe = |more: &[&str]| {
        let args = [&["cdrs", "subscribe", "--influx", &influx_url], more].concat();
        let printed = run_in(&rollcall, &args, &configured);
        assert_eq!(printed.code, Some(0), "{printed:?}");
        assert!(!printed.stdout.contains(PASSWORD) && !printed.stderr.contains(PASSWORD));
        printed.stdout
    };
    let there =
        format!("cdrs.autogen rollcall: http://rc-user:***@127.0.0.1:{}", rollcall.cdr_port);
    for (flags, said) in [
        (vec!["--url", "http://127.0.0.1:1"], "is made"),
        (vec!["--url", url.as_str()], "is replaced"),
        (vec!["--url", url.as_str()], "is there already"),
    ] {
        assert!(subscribe(&flags).contains(said), "{flags:?}");
    }
    let shown = subscribe(&["--url", &url]);
    assert!(shown.contains(&there), "{shown}");
    let lines: Vec<_> = (0..50).map(|n| cdr(A1, n)).collect();
    for some in lines.chunks(7) {
        influx.write(&some.join("\n"));
    }
    // InfluxDB sends them on once it has answered.
    let all = until("all CDRs have come", || {
        let all = calls(&rollcall, A1);
        (all.len() >= 33).then_some(all)
    });
    assert_eq!(all.len(), 33, "those without a call sid wait");
    let one = call(&rollcall, A1, &sid(1)).unwrap();
    assert_eq!((&one["trunk"], &one["duration"]), (&"a carrier".into(), &4.into()));
    let doctor = run_in(&rollcall, &["doctor"], &configured);
    assert!(doctor.stdout.contains("by a subscription of InfluxDB"), "{doctor:?}");
    assert!(subscribe(&["--remove"]).contains("is removed"));
    // InfluxDB logs what it does; requests are logged by others, too.
    let log = fs::read_to_string(influx.dir.path().join("log")).unwrap();
    let requests: Vec<_> = log.lines().filter(|line| line.starts_with("[httpd]")).collect();
    assert!(requests.iter().any(|line| line.contains("POST /query")), "{log}");
    assert!(!requests.iter().any(|line| line.contains(PASSWORD)), "{log}");
    assert!(subscribe(&["--remove"]).contains("is not there"));
}

#[test]
fn a_subscription_over_tls_needs_the_authority_and_who_does_not_trust_it_is_named() {
    let Some(mut influx) = Influx::up() else { return };
    let rollcall = taking(&["--cdrs-tls"]);
    let file = rollcall.dir.path().join("cdrs.password");
    let configured = [
        ("ROLLCALL_CDRS_LISTEN", "127.0.0.1:8086"),
        ("ROLLCALL_CDRS_TLS", "true"),
        ("ROLLCALL_CDRS_USER", "rc-user"),
        ("ROLLCALL_CDRS_PASSWORD_FILE", file.to_str().unwrap()),
    ];
    let url = format!("https://localhost:{}", rollcall.cdr_port);
    let args = ["cdrs", "subscribe", "--influx", &influx.url(), "--url", &url];
    let printed = run_in(&rollcall, &args, &configured);
    assert!(printed.stdout.contains("is made"), "{printed:?}");
    influx.write(&cdr(A1, 1));
    until("the certificate is refused", || {
        let log = rollcall.log();
        let said = "a client does not accept the certificate of this server";
        let at = format!("listener=\"https://127.0.0.1:{}/write", rollcall.cdr_port);
        log.lines().any(|line| line.contains(said) && line.contains(&at)).then_some(())
    });
    assert_eq!(calls(&rollcall, A1).len(), 0);
    influx.end();
    influx.more = format!("[subscriber]\nca-certs = {:?}\n", rollcall.ca().display().to_string());
    while !influx.start() {}
    influx.write(&cdr(A1, 2));
    until("the CDR has come", || call(&rollcall, A1, &sid(2)));
    // An InfluxDB that speaks TLS itself, with a certificate of the same authority.
    influx.end();
    let own = rollcall.data().join("tls/server.pem").display().to_string();
    influx.more = format!("https-enabled = true\nhttps-certificate = {own:?}\n");
    while !influx.start() {}
    let plain = influx.url();
    let secure = plain.replace("http:", "https:");
    let ca = rollcall.ca().display().to_string();
    let from = "2026-11-28T07:00:00Z";
    let backfill = |flags: &[&str]| {
        let args = [&["cdrs", "backfill", "--from", from, "--influx"], flags].concat();
        run_in(&rollcall, &args, &configured)
    };
    for (flags, said) in [
        (
            vec![plain.as_str()],
            "InfluxDB answered 400: Client sent an HTTP request to an HTTPS server.",
        ),
        (vec![&secure], "invalid peer certificate"),
    ] {
        let printed = backfill(&flags);
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(printed.stderr.contains(said), "{printed:?}");
    }
    let printed = backfill(&[&secure, "--ca", &ca]);
    assert!(printed.stdout.contains("2 records: 1 new"), "{printed:?}");
}

#[test]
fn what_was_missed_is_read_back_and_twice_changes_nothing() {
    let Some(influx) = Influx::up() else { return };
    let mut rollcall = Rollcall::down();
    take(&mut rollcall, &["--cdrs-wait", "1s"]);
    rollcall.start();
    // More than a page of answers holds, the last 1000 at one time; one of another account, one that
    // cannot be read.
    let at_once = |n: u32, line: String| {
        if n < 3500 {
            return line;
        }
        let [own, first] = [n, 3500].map(|n| format!(" {}000000", TIME + u64::from(n) * 10));
        line.replace(&own, &first).replace("carrier", &format!("carrier{n}"))
    };
    let lines: Vec<_> = (0..4500).map(|n| at_once(n, cdr(A1, n))).collect();
    for some in lines.chunks(1000) {
        influx.write(&some.join("\n"));
    }
    influx.write(&cdr(A2, 1));
    influx.write(&format!("cdrs,account_sid=nonsense from=\"+15551234567\" {TIME}000000"));
    rollcall.ok(&["status"]);
    let answer = rollcall.post_events(&hook(3).to_string());
    assert_eq!(answer.status, 204, "{answer:?}");
    let influx_url = influx.url();
    let backfill = |more: &[&str]| {
        let args = [&["--json", "cdrs", "backfill", "--influx", &influx_url], more].concat();
        let printed = rollcall.run(&args);
        assert!(
            printed.stderr.contains("left out: neither call_sid nor sip_callid"),
            "{printed:?}"
        );
        assert!(!printed.stderr.contains("15551234567"), "{printed:?}");
        assert_eq!(printed.code, Some(1), "a row was left out: {printed:?}");
        serde_json::from_str::<Value>(&printed.stdout).unwrap()
    };
    let from = "2026-11-28T07:00:00Z";
    let dry = backfill(&["--from", from, "--dry-run"]);
    assert_eq!(dry["records"], 4501, "{dry}");
    assert_eq!(calls(&rollcall, A1).len(), 1);
    let first = backfill(&["--from", from]);
    assert_eq!(
        (&first["records"], &first["outcome"]["new"]),
        (&4501.into(), &4500.into()),
        "{first}"
    );
    let export = || {
        let mut lines: Vec<_> = rollcall.ok(&["export"]).lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let before = export();
    assert_eq!(before.len(), 4501);
    let again = backfill(&["--from", from]);
    assert_eq!(
        (&again["outcome"]["new"], &again["outcome"]["changed"]),
        (&0.into(), &0.into()),
        "{again}"
    );
    assert_eq!(export(), before);
    let own = call(&rollcall, A1, &sid(3)).unwrap();
    assert_eq!((&own["call_status"], &own["from"]), (&"no-answer".into(), &"+15550000003".into()));
    // A call is meant by its end, and one that ended before is not.
    let later = backfill(&["--from", "2026-11-28T07:00:10Z", "--to", "2026-11-28T07:00:11Z"]);
    assert_eq!(later["records"], 600, "{later}");
}

#[test]
fn an_influxdb_that_is_not_there_or_refuses_is_told() {
    let rollcall = taking(&[]);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let printed = rollcall.run(&["cdrs", "backfill", "--influx", &nowhere, "--from", "1h"]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("cannot connect to http://127.0.0.1:"), "{printed:?}");
    // Another server than an InfluxDB: rollcall itself, which wants a password.
    let here = format!("http://127.0.0.1:{}", rollcall.cdr_port);
    let printed = rollcall.run(&["cdrs", "backfill", "--influx", &here, "--from", "1h"]);
    assert!(printed.stderr.contains("InfluxDB answered 401"), "{printed:?}");
    assert!(printed.stderr.contains("give --user and --password-file"), "{printed:?}");
    for (args, expected) in [
        (vec!["cdrs", "backfill", "--influx", "http://u:secret@h", "--from", "1h"], "…@h"),
        (vec!["cdrs", "backfill", "--influx", "http://h", "--from", "soon"], "--from \"soon\""),
        (
            vec!["cdrs", "backfill", "--influx", "http://h", "--from", "1h", "--to", "2h"],
            "is not before",
        ),
        (vec!["cdrs", "subscribe", "--influx", "http://h"], "cdrs.listen is not set"),
    ] {
        let printed = rollcall.run(&args);
        assert_eq!(printed.code, Some(2), "{printed:?}");
        assert!(
            printed.stderr.contains(expected) && !printed.stderr.contains("secret"),
            "{printed:?}"
        );
    }
}
