//! What Prometheus scrapes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::super::harness::{A1, A2, Answer, Rollcall, event, print, send, sid, until};
use super::exposition::Scraped;

const HOOK: &str = "/v1/hooks/call-status";

/// The answer of the listener for scrapes.
fn ask(rollcall: &Rollcall, method: &str, path: &str) -> Answer {
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let url = format!("http://127.0.0.1:{}{path}", rollcall.metrics_port);
    send(&agent, method, &url, &[], b"").unwrap()
}

fn scrape(rollcall: &Rollcall) -> Scraped {
    let answer = ask(rollcall, "GET", "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Scraped::parse(&answer.body)
}

/// That what a scrape says is a number, as far as the format can tell.
fn is(value: f64, expected: u32) -> bool {
    (value - f64::from(expected)).abs() < 1e-9
}

#[test]
fn a_scrape_says_what_went_on() {
    let flags = ["--metrics-listen", "127.0.0.1:0", "--metrics-accounts", A1];
    let rollcall = Rollcall::up(&flags);
    let admin = rollcall.admin();
    let before = scrape(&rollcall);
    for events in [event(1, "ringing"), event(2, "in-progress"), event(1, "ringing")] {
        assert_eq!(rollcall.post_events(&events).status, 204);
    }
    let other = [event(3, "ringing").replace(A1, A2), event(2, "completed")].join("\n");
    assert_eq!(rollcall.post_events(&other).status, 204);
    assert_eq!(rollcall.post_events("{}").status, 400);
    let wrong = [("authorization", "Bearer nobody-knows-this-one")];
    let refused = rollcall.send("POST", HOOK, &wrong, event(9, "busy").as_bytes()).unwrap();
    assert_eq!(refused.status, 401);
    let list = format!("/v1/Accounts/{A1}/Calls");
    assert_eq!(rollcall.get(&admin, &list).status, 200);
    assert_eq!(rollcall.get(&admin, &format!("{list}/{}", sid(1))).status, 200);
    let after = scrape(&rollcall);
    let grown = |name: &str, labels: &[(&str, &str)], by: u32| {
        let (before, after) = (before.sum(name, labels), after.sum(name, labels));
        assert!(is(after - before, by), "{name} {labels:?}: {before}, then {after}");
    };
    grown("rollcall_events_received_total", &[], 5);
    grown("rollcall_changes_total", &[("result", "new")], 3);
    grown("rollcall_changes_total", &[("result", "changed")], 2);
    grown("rollcall_hook_requests_refused_total", &[], 2);
    grown("rollcall_hook_requests_refused_total", &[("reason", "malformed")], 1);
    grown("rollcall_hook_requests_refused_total", &[("reason", "unauthorised")], 1);
    grown("rollcall_failed_authentications_total", &[], 1);
    let hook = ("route", HOOK);
    grown("rollcall_http_requests_total", &[hook, ("method", "POST"), ("status", "204")], 4);
    grown("rollcall_http_request_duration_seconds_count", &[hook], 6);
    let call = ("route", "/v1/Accounts/{AccountSid}/Calls/{CallSid}");
    grown("rollcall_http_requests_total", &[call, ("status", "200")], 1);
    grown("rollcall_commit_changes_count", &[], 4);
    grown("rollcall_commit_changes_sum", &[], 5);
    grown("rollcall_calls", &[], 3);
    grown("rollcall_live_calls", &[], 2);
    grown("rollcall_account_live_calls", &[("account_sid", A1)], 1);
    assert!(is(after.sum("rollcall_account_live_calls", &[]), 1), "A2 was not asked for");
    assert!(after.one("rollcall_journal_sync_duration_seconds_count") >= 4.0);
    assert!(after.one("rollcall_commit_size_bytes_sum") > 500.0);
    assert!(after.one("rollcall_journal_bytes") > before.one("rollcall_journal_bytes"));
    assert!(is(after.sum("rollcall_connections", &[("listener", "https")]), 1));
    assert!(after.one("process_resident_memory_bytes") > 1e6);
    assert!(after.one("process_start_time_seconds") > 1.7e9);
    assert!(after.one("rollcall_disk_size_bytes") >= after.one("rollcall_disk_free_bytes"));
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert!(is(after.sum("rollcall_build_info", &version), 1));
}

/// Live calls by scrapes and by lists, which count them in other ways.
fn live(rollcall: &Rollcall) -> (f64, u64) {
    let counted = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/CallCount")).json();
    let listed = counted["inbound"].as_u64().unwrap() + counted["outbound"].as_u64().unwrap();
    (scrape(rollcall).one("rollcall_live_calls"), listed)
}

#[test]
fn live_calls_are_counted_wherever_they_are() {
    let quick = ["--store-checkpoint-interval", "20ms", "--store-live-checkpoint-age", "1ms"];
    let flags = [&["--metrics-listen", "127.0.0.1:0"], &quick[..]].concat();
    let mut rollcall = Rollcall::up(&flags);
    for n in 0..20 {
        assert_eq!(rollcall.post_events(&event(n, "ringing")).status, 204);
    }
    let emptied = || {
        until("calls leave the memory", || {
            is(scrape(&rollcall).one("rollcall_registry_calls"), 0).then_some(())
        });
    };
    emptied();
    for n in 0..5 {
        assert_eq!(rollcall.post_events(&event(n, "completed")).status, 204);
    }
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(6));
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    assert_eq!(rollcall.post_events(&event(6, "ringing")).status, 204);
    assert_eq!(live(&rollcall), (14.0, 14));
    emptied();
    assert!(is(scrape(&rollcall).one("rollcall_calls"), 19));
    rollcall.kill();
    rollcall.start();
    assert_eq!(live(&rollcall), (14.0, 14));
    rollcall.ok(&["rebuild"]);
    assert_eq!(live(&rollcall), (14.0, 14));
    assert!(is(scrape(&rollcall).one("rollcall_index_rebuilds_total"), 1));
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&["--metrics-listen", "127.0.0.1:0"]);
    rollcall.start();
    assert_eq!(rollcall.post_events(&event(7, "completed")).status, 204);
    assert_eq!(live(&rollcall), (13.0, 13));
}

#[test]
fn the_listener_for_scrapes_answers_them_and_nothing_else() {
    let rollcall = Rollcall::up(&["--metrics-listen", "127.0.0.1:0"]);
    assert_eq!(ask(&rollcall, "HEAD", "/metrics").status, 200);
    assert_eq!(ask(&rollcall, "POST", "/metrics").status, 405);
    for path in ["/", "/livez", "/metrics/x", &format!("/v1/Accounts/{A1}/Calls")] {
        assert_eq!(ask(&rollcall, "GET", path).status, 404, "{path}");
    }
}

#[test]
fn a_token_for_scrapes_opens_nothing_else() {
    let rollcall = Rollcall::up(&[]);
    let token = rollcall.token(&["--role", "metrics"]);
    let answer = rollcall.get(&token, "/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(is(Scraped::parse(&answer.body).one("rollcall_calls"), 0));
    let account = format!("/v1/Accounts/{A1}");
    for path in ["/Calls", "/CallCount", "/CallStats", "/Calls/changes"] {
        assert_eq!(rollcall.get(&token, &format!("{account}{path}")).status, 403, "{path}");
    }
    assert_eq!(rollcall.get(&token, "/v1/Calls/changes").status, 403);
    assert_eq!(rollcall.send("GET", "/metrics", &[], b"").unwrap().status, 401);
    let printed = rollcall.run(&["token", "create", "--role", "metrics", "--account", A1]);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("--role metrics"), "{printed:?}");
    let printed = rollcall.run(&["token", "create", "--role", "read"]);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("--account SID"), "{printed:?}");
}

#[test]
fn no_client_makes_series_of_its_own() {
    let rollcall = Rollcall::up(&["--metrics-listen", "127.0.0.1:0"]);
    let admin = rollcall.admin();
    let strange = |n: u32| {
        rollcall.get(&admin, &format!("/{n}/{}", "x".repeat(50)));
        rollcall.ask(&format!("M{n}"), &admin, &format!("/v1/Accounts/{}/Calls", sid(n)));
        rollcall.get(&admin, &format!("/v1/Accounts/{}/Calls/{}", sid(n), sid(n)));
    };
    strange(0);
    let first = scrape(&rollcall).samples.len();
    (1..30).for_each(strange);
    let answer = ask(&rollcall, "GET", "/metrics");
    assert_eq!(Scraped::parse(&answer.body).samples.len(), first);
    assert!(!answer.body.contains("xxx") && !answer.body.contains(&sid(0)), "{}", answer.body);
}

/// The names of metrics in a text.
fn named(text: &str) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !plain(c));
    let ours = |word: &&str| word.starts_with("rollcall_") || word.starts_with("process_");
    words.filter(ours).map(ToOwned::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_what_there_is() {
    let mut flags = vec!["--metrics-listen", "127.0.0.1:0", "--metrics-accounts", A1];
    // Nobody is there, which is one of the things that are scraped.
    flags.extend(["--mirror-redis-url", "redis://127.0.0.1:1"]);
    flags.extend(["--upstream-api-url", "http://127.0.0.1:1", "--upstream-auth"]);
    let target =
        format!("[{{ name = \"acme\", url = \"http://127.0.0.1:1/\", account_sid = \"{A1}\" }}]");
    flags.extend(["--forward-targets", &target]);
    let files = tempfile::tempdir().unwrap();
    let password = files.path().join("password");
    std::fs::write(&password, "rc-pass").unwrap();
    flags.extend(["--cdrs-listen", "127.0.0.1:0", "--cdrs-user", "rc-user"]);
    flags.extend(["--cdrs-password-file", password.to_str().unwrap()]);
    let rollcall = Rollcall::up(&flags);
    let names = until("the mirror has begun", || {
        let names = scrape(&rollcall).names();
        names.contains("rollcall_mirror_mode").then_some(names)
    });
    // A node whose servers are not there, either.
    let flags = ["--cluster-name", "pbx", "--cluster-node", "node1", "--metrics-listen"];
    let flags = [&flags[..], &["127.0.0.1:0", "--cluster-servers", "nats://127.0.0.1:1"]].concat();
    let node = Rollcall::up(&flags);
    let names: BTreeSet<_> = names.into_iter().chain(scrape(&node).names()).collect();
    let monitoring = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    for (file, least) in [("grafana.json", 20), ("alerts.yml", 10)] {
        let text = std::fs::read_to_string(monitoring.join(file)).unwrap();
        let named = named(&text);
        assert!(named.len() >= least, "{file} names {named:?}");
        for name in named {
            assert!(names.contains(&name), "{file}: there is no {name}");
        }
    }
    let dashboard = std::fs::read_to_string(monitoring.join("grafana.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 12);
    // promtool comes with Prometheus itself, which is large: what it says is looked at where it is.
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join("promtool").exists()) {
        let body = ask(&rollcall, "GET", "/metrics").body;
        let printed = print(Command::new("promtool").args(["check", "metrics"]), body.as_bytes());
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
        let rules = monitoring.join("alerts.yml");
        let mut command = Command::new("promtool");
        let printed = print(command.args(["check", "rules"]).arg(rules), b"");
        assert_eq!(printed.code, Some(0), "{printed:?}");
    }
}
