//! Updates: who may, and what a feature server that misbehaves can do.

use serde_json::json;

use super::super::harness::{A1, A2, PATIENCE, Rollcall, event, sid};
use super::server::FeatureServer;
use super::{hang_up, refusal, register, send};

#[test]
fn a_call_that_two_accounts_claim_is_nobodys_to_control() {
    let server = FeatureServer::up();
    let rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
    register(&rollcall, 1, &server.url("/s202"));
    assert_eq!(hang_up(&rollcall, 1).status, 202);
    // Another account says that it has this call, too.
    let with = format!("{{\"service_url\":\"{}\",", server.url("/s202"));
    let planted = event(1, "in-progress").replacen('{', &with, 1).replace(A1, A2);
    assert_eq!(rollcall.post_events(&planted).status, 204);
    server.take();
    for account in [A1, A2] {
        let token = rollcall.token(&["--account", account]);
        let path = format!("/v1/Accounts/{account}/Calls/{}", sid(1));
        let answer = send(&rollcall, "PUT", &token, &path, "{\"call_status\":\"completed\"}");
        assert!(refusal(&answer, 409).contains("not unique"), "{answer:?}");
    }
    assert_eq!(server.take(), []);
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
            assert!(!refusal(&answer, status).is_empty(), "{method} {path}");
        }
    }
    let creates = send(&rollcall, "POST", &reader, &format!("/v1/Accounts/{A1}/Calls"), body);
    refusal(&creates, 403);
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
        let msg = refusal(&hang_up(&rollcall, n), status);
        assert!(msg.contains(says), "{kind}: {msg}");
        assert!(begun.elapsed() < PATIENCE / 4, "{kind}");
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
        assert_eq!(refusal(&answer, 400), "multiple options are not allowed in updateCall");
    }
    assert_eq!(server.take(), []);
}
