//! Updates: who may, and what a feature server that misbehaves can do.

use serde_json::json;

use super::super::harness::{A1, A2, Rollcall, TIMEOUT, event, sid};
use super::server::FeatureServer;
use super::{api_error, hang_up, register, send};

/// Account `account` says that it has call `n`, and that this server runs it.
fn claim(rollcall: &Rollcall, account: &str, n: u32, service_url: &str) {
    let with = format!("{{\"service_url\":\"{service_url}\",");
    let event = event(n, "in-progress").replacen('{', &with, 1).replace(A1, account);
    assert_eq!(rollcall.post_events(&event).status, 204);
}

/// What an account is answered that ends call `n`, and which of the calls were asked about.
fn end(rollcall: &Rollcall, server: &FeatureServer, account: &str, n: u32) -> (u16, String, bool) {
    let token = rollcall.token(&["--account", account]);
    let path = format!("/v1/Accounts/{account}/Calls/{}", sid(n));
    let answer = send(rollcall, "PUT", &token, &path, "{\"call_status\":\"completed\"}");
    let asked = server.take();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let meant = asked[0].url.ends_with(&format!("/v1/updateCall/{}", sid(n)));
    (answer.status, answer.body.replace(&sid(n), "SID"), meant)
}

/// A feature server knows a call by its sid alone.
#[test]
fn a_call_is_controlled_by_the_account_that_had_it_first_and_nobody_else_learns_of_it() {
    let server = FeatureServer::up();
    let mut rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
    let (accepts, gone) = (server.url("/s202"), server.url("/gone"));
    claim(&rollcall, A1, 1, &accepts);
    claim(&rollcall, A1, 3, &gone);
    // The same sids, and two that nobody else has.
    for n in [1, 2] {
        claim(&rollcall, A2, n, &accepts);
    }
    for n in [3, 4] {
        claim(&rollcall, A2, n, &gone);
    }
    let look = |rollcall: &Rollcall| {
        let (status, _, meant) = end(rollcall, &server, A1, 1);
        assert_eq!((status, meant), (202, true), "its owner's");
        for (taken, free) in [(1, 2), (3, 4)] {
            let (taken, free) =
                (end(rollcall, &server, A2, taken), end(rollcall, &server, A2, free));
            assert!(!taken.2 && free.2, "its owner's call is left alone: {taken:?} {free:?}");
            assert_eq!((taken.0, taken.1), (free.0, free.1), "nothing tells them apart");
        }
        // Each has its own record.
        for account in [A1, A2] {
            let path = format!("/v1/Accounts/{account}/Calls/{}", sid(1));
            let call = rollcall.get(&rollcall.admin(), &path).json();
            assert_eq!(call["account_sid"], account);
            assert!(call.get("namesake").is_none(), "{call}");
        }
    };
    look(&rollcall);
    rollcall.kill();
    rollcall.start();
    look(&rollcall);
    rollcall.ok(&["rebuild"]);
    look(&rollcall);
    // An account that was not the first does not become it.
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    assert!(!end(&rollcall, &server, A2, 1).2);
    // Nor in another store, in whatever order it is told of the two.
    let exported = rollcall.ok(&["export"]);
    let mut lines: Vec<_> = exported.lines().filter(|line| line.contains(&sid(3))).collect();
    assert_eq!(lines.len(), 2, "{exported}");
    for _ in 0..2 {
        let copy = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
        let told = copy.run_with(&["import", "-"], lines.join("\n").as_bytes());
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(end(&copy, &server, A1, 3).2 && !end(&copy, &server, A2, 3).2);
        lines.reverse();
    }
}

#[test]
fn only_the_account_of_a_call_and_a_full_token_may_update_it() {
    let server = FeatureServer::up();
    let rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
    register(&rollcall, 1, &server.url("/s202"));
    let other = rollcall.token(&["--account", A2]);
    let reader = rollcall.token(&["--account", A1, "--role", "read"]);
    let own = rollcall.token(&["--account", A1]);
    let body = "{\"call_status\":\"completed\"}";
    let of = |account: &str, n| format!("/v1/Accounts/{account}/Calls/{}", sid(n));
    for (token, path, status) in [
        (&other, of(A1, 1), 403),
        (&other, of(A2, 1), 404),
        (&reader, of(A1, 1), 403),
        (&rollcall.admin(), of(A2, 1), 404),
        (&own, of(A1, 2), 404),
    ] {
        for method in ["PUT", "POST"] {
            let answer = send(&rollcall, method, token, &path, body);
            assert!(!api_error(&answer, status).is_empty(), "{method} {path}");
        }
    }
    let creates = send(&rollcall, "POST", &reader, &format!("/v1/Accounts/{A1}/Calls"), body);
    api_error(&creates, 403);
    assert_eq!(server.take(), []);
    assert_eq!(send(&rollcall, "PUT", &own, &of(A1, 1), body).status, 202);
    let received = server.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].url, format!("/s202/v1/updateCall/{}", sid(1)));
    assert_eq!(received[0].body, json!({ "call_status": "completed" }));
}

#[test]
fn what_a_feature_server_says_is_passed_back_within_bounds_of_size_and_time() {
    let server = FeatureServer::up();
    let urls = server.url("");
    let flags = ["--feature-servers-urls", &urls, "--feature-servers-timeout", "300ms"];
    let rollcall = Rollcall::up(&flags);
    for (n, kind, status, says) in [
        (1, "hang", 504, "did not answer within 300ms"),
        (2, "huge", 502, "more than 1048576 bytes"),
        (3, "cut", 500, "the connection to"),
        (4, "s400json", 400, "not so"),
    ] {
        register(&rollcall, n, &server.url(&format!("/{kind}")));
        let begun = std::time::Instant::now();
        let msg = api_error(&hang_up(&rollcall, n), status);
        assert!(msg.contains(says), "{kind}: {msg}");
        assert!(begun.elapsed() < TIMEOUT / 4, "{kind}");
        assert_eq!(server.take().len(), 1, "{kind}: it is sent once");
    }
    register(&rollcall, 5, &server.url("/s204"));
    let answer = hang_up(&rollcall, 5);
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
}

/// Those that @jambonz/sdk 0.10 and @jambonz/node-client 0.4 send.
#[test]
fn updates_of_later_versions_are_passed_on_and_are_one_option_each() {
    let server = FeatureServer::up();
    let rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
    register(&rollcall, 1, &server.url("/s202"));
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    for (option, value) in [
        ("dub", json!({ "action": "addTrack", "track": "a" })),
        ("agent_update", json!({ "text": "x" })),
        ("transfer", json!({ "type": "blind" })),
        ("noise_isolation_status", json!("enable")),
        ("llm_status", json!("stop")),
        ("room_say", json!({ "text": "x" })),
        ("room_play", json!({ "url": "http://x/" })),
    ] {
        let mut body = json!({ option: value });
        let answer = send(&rollcall, "PUT", &rollcall.admin(), &path, &body.to_string());
        assert_eq!(answer.status, 202, "{option}: {answer:?}");
        assert_eq!(server.take().pop().unwrap().body, body);
        body["mute_status"] = json!("mute");
        let answer = send(&rollcall, "PUT", &rollcall.admin(), &path, &body.to_string());
        assert_eq!(api_error(&answer, 400), "multiple options are not allowed in updateCall");
    }
    assert_eq!(server.take(), []);
}
