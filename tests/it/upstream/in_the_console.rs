//! Sessions of tokens that jambonz knows.

use serde_json::{Value, json};

use super::super::api::{api_error, sids};
use super::super::console::{Browser, ask_to_sign_in, cookie_of};
use super::super::harness::{A1, A2, sid};
use super::{KEY1, NOBODYS_KEY, PROVIDER_KEY, SP1, asking, calls, says_no_token, usual};

#[test]
fn a_session_opens_what_jambonz_says_and_is_audited_from_its_begin_to_its_end() {
    let jambonz = usual();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let flag = format!("--log-audit={}", file.display());
    let rollcall = asking(&jambonz, &[&flag]);
    for (body, status) in [
        (json!({"token": KEY1}), 401),
        (json!({"token": NOBODYS_KEY, "account_sid": A1}), 401),
        (json!({"token": KEY1, "account_sid": A2}), 403),
        (json!({"token": KEY1, "account_sid": "none"}), 400),
        (json!({"token": KEY1, "account_sid": A1, "service_provider_sid": SP1}), 400),
    ] {
        let answer = ask_to_sign_in(&rollcall, &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    let sign_in = |body: &Value| {
        let answer = ask_to_sign_in(&rollcall, body);
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        Browser { rollcall: &rollcall, cookie: cookie_of(&answer), session: answer.json() }
    };
    let own = sign_in(&json!({"token": KEY1, "account_sid": A1}));
    assert_eq!(sids(&own.get(&calls(A1))), [sid(1)]);
    assert_eq!(own.get(&calls(A2)).status, 403);
    assert_eq!(own.get("/v1/Calls").status, 401);
    assert_eq!(own.get("/console/api/operation").status, 403);
    let provider = sign_in(&json!({"token": PROVIDER_KEY, "service_provider_sid": SP1}));
    assert_eq!(provider.session["service_provider_sid"], SP1);
    assert_eq!(own.ask("DELETE", "/console/api/session", "").status, 204);
    assert_eq!(own.get(&calls(A1)).status, 401);
    let id = own.session["token_id"].as_str().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let mut done = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["who"] == format!("token {id}") {
            done.push(line["what"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(done, ["console sign in", "console sign out"], "{text}");
    says_no_token(&rollcall, &[KEY1, PROVIDER_KEY]);
}

#[test]
fn jambonz_is_not_told_a_token_of_rollcalls_own() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    let revoked = rollcall.token(&["--account", A1, "--name", "mine"]);
    rollcall.ok(&["token", "revoke", "mine"]);
    let value = "value-of-a-token-that-ends";
    rollcall.ok(&["token", "create", "--account", A1, "--value", value, "--expires", "1s"]);
    super::super::harness::until("the token ends", || {
        (rollcall.get(value, &calls(A1)).status == 401).then_some(())
    });
    for token in [&*revoked, value] {
        let answer = ask_to_sign_in(&rollcall, &json!({"token": token, "account_sid": A1}));
        assert_eq!(api_error(&answer, 401), "Unauthorized");
        assert_eq!(jambonz.about(token), [], "{token}");
    }
}
