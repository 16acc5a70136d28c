//! What tokens open, and what they do not.

use serde_json::json;

use super::super::api::{api_error, sids};
use super::super::control::server::{CREATED, FeatureServer};
use super::super::harness::{A1, A2, Rollcall, event, sid, until};
use super::jambonz::{Jambonz, NO_CALL, Whose, jwt, now};
use super::{
    ADMIN_KEY, KEY1, KEY2, NOBODYS_KEY, PROVIDER_KEY, SP1, SP2, asking, call, calls, list, paths,
    says_no_token, usual,
};

#[test]
fn a_token_opens_the_accounts_that_it_opens_in_jambonz_and_no_other() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    // Each account is asked about by itself, also where the token is accepted for another one.
    for _ in 0..2 {
        for (token, of_a1, of_a2) in [
            (KEY1, 200, 403),
            (KEY2, 403, 200),
            (PROVIDER_KEY, 200, 200),
            (ADMIN_KEY, 200, 200),
            (NOBODYS_KEY, 401, 401),
        ] {
            assert_eq!(list(&rollcall, token, A1), of_a1, "{token}");
            assert_eq!(list(&rollcall, token, A2), of_a2, "{token}");
        }
    }
    assert_eq!(sids(&rollcall.get(KEY1, &calls(A1))), [sid(1)]);
    assert_eq!(sids(&rollcall.get(KEY2, &calls(A2))), [sid(2)]);
    // 403 and 401 are those of rollcall's own tokens.
    let forbidden = rollcall.get(KEY1, &calls(A2));
    assert_eq!(api_error(&forbidden, 403), "insufficient permissions");
    let unknown = rollcall.get(NOBODYS_KEY, &calls(A1));
    assert_eq!(api_error(&unknown, 401), "Unauthorized");
    let challenge = unknown.header("www-authenticate").unwrap();
    assert_eq!(challenge, "Bearer realm=\"Users\", error=\"invalid_token\"");
    // What was asked, and that it was asked once.
    let question = |account| format!("/api/v1/Accounts/{account}/Calls/{NO_CALL}");
    let (of_a1, of_a2) = (question(A1), question(A2));
    for token in [KEY1, KEY2, PROVIDER_KEY, ADMIN_KEY] {
        assert_eq!(paths(&jambonz.about(token)), [of_a1.as_str(), of_a2.as_str()], "{token}");
    }
    // A token that jambonz does not know is unknown for every account.
    assert_eq!(paths(&jambonz.about(NOBODYS_KEY)), [of_a1.as_str()]);
    for question in jambonz.questions() {
        assert_eq!(question.method, "GET");
        assert!(question.headers.iter().any(|line| line == "rollcall-question: 1"));
        assert!(question.headers.iter().any(|line| line.starts_with("user-agent: rollcall/")));
    }
    says_no_token(&rollcall, &[KEY1, KEY2, PROVIDER_KEY, ADMIN_KEY, NOBODYS_KEY]);
}

#[test]
fn every_path_of_an_account_is_open_to_its_token() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    for path in [
        "Calls",
        "Calls?limit=1",
        "CallCount",
        "CallStats",
        "RecentCalls?page=1&count=25",
        "Calls/changes?limit=10",
        &format!("Calls/{}", sid(1)),
        &format!("Calls/{}/events", sid(1)),
    ] {
        let path = format!("/v1/Accounts/{A1}/{path}");
        assert_eq!(rollcall.get(KEY1, &path).status, 200, "{path}");
        assert_eq!(rollcall.ask("HEAD", KEY1, &path).status, 200, "{path}");
        let refused = rollcall.get(KEY2, &path);
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
    }
    let path = format!("/v1/Accounts/{A2}/RecentCalls?page=1&count=25");
    let refused = rollcall.get(KEY1, &path).json();
    assert_eq!(refused["status"], "fail", "the portal reads this: {refused}");
    assert_eq!(rollcall.get(KEY1, &call(A1, 9)).status, 404);
    assert_eq!(paths(&jambonz.about(KEY1)).len(), 2);
}

#[test]
fn a_service_provider_is_open_to_whom_jambonz_opens_it_and_not_to_one_of_its_accounts() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    rollcall.ok(&["account", "set", A1, "--service-provider", SP1]);
    let path = |provider: &str, what: &str| format!("/v1/ServiceProviders/{provider}/{what}");
    for what in ["Calls", "CallCount", "CallStats", "RecentCalls?page=1&count=25"] {
        for (token, status) in
            [(KEY1, 403), (KEY2, 403), (PROVIDER_KEY, 200), (ADMIN_KEY, 200), (NOBODYS_KEY, 401)]
        {
            let answer = rollcall.get(token, &path(SP1, what));
            assert_eq!(answer.status, status, "{token} {what}: {answer:?}");
        }
        assert_eq!(rollcall.get(PROVIDER_KEY, &path(SP2, what)).status, 403, "{what}");
    }
    // Its accounts are those that rollcall knows as such.
    assert_eq!(sids(&rollcall.get(PROVIDER_KEY, &path(SP1, "Calls"))), [sid(1)]);
    assert_eq!(sids(&rollcall.get(ADMIN_KEY, &path(SP2, "Calls"))), [""; 0]);
    let question = path(SP1, "RecentCalls");
    assert_eq!(paths(&jambonz.about(KEY1)), [format!("/api{question}")]);
    // What is no sid to jambonz it has not, and says so with 500 in one case.
    for token in [KEY1, PROVIDER_KEY, ADMIN_KEY] {
        let path = path("00000000-0000-0000-0000-000000000001", "Calls");
        assert_eq!(rollcall.get(token, &path).status, 403, "{token}");
    }
    // What opens an account does not open its service provider, nor the other way round.
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    assert_eq!(rollcall.get(KEY1, &path(SP1, "Calls")).status, 403);
    assert_eq!(list(&rollcall, PROVIDER_KEY, "00000000-0000-4000-8000-000000000001"), 403);
}

#[test]
fn what_a_token_of_the_portal_may_is_what_its_user_may() {
    let jambonz = Jambonz::up();
    let claims = |view_only: bool| {
        json!({
            "scope": "account", "permissions": ["VIEW_ONLY"], "is_view_only": view_only,
            "account_sid": A1, "name": "joe", "iat": now(), "exp": now() + 3600,
        })
    };
    let (viewer, user) = (jwt(&claims(true)), jwt(&claims(false)));
    for token in [&viewer, &user, KEY1] {
        jambonz.knows(token, Whose::Account(A1.to_owned()));
    }
    let rollcall = asking(&jambonz, &[]);
    rollcall.post_events(&event(3, "completed"));
    for method in ["DELETE", "PUT", "POST"] {
        let refused = rollcall.ask(method, &viewer, &call(A1, 1));
        let msg = api_error(&refused, 403);
        assert!(msg.contains("the token's role is read"), "{msg}");
    }
    api_error(&rollcall.ask("POST", &viewer, &calls(A1)), 403);
    assert_eq!(rollcall.get(&viewer, &call(A1, 1)).status, 200);
    assert_eq!(rollcall.ask("DELETE", &user, &call(A1, 1)).status, 204);
    assert_eq!(rollcall.ask("DELETE", KEY1, &call(A1, 3)).status, 204);
    assert_eq!(rollcall.ask("DELETE", KEY1, &call(A2, 2)).status, 403);
    assert_eq!(rollcall.get(&viewer, &call(A1, 1)).status, 404);
    // The deletion is written down with a name of the token that tells nothing of it.
    let log = rollcall.log();
    let written = log.lines().filter(|line| line.contains("call delete")).count();
    assert!(written >= 2 && log.contains("token jambonz-"), "{log}");
    says_no_token(&rollcall, &[&viewer, &user, KEY1]);
}

#[test]
fn claims_never_open_anything() {
    let jambonz = Jambonz::up();
    let claims = json!({"scope": "admin", "account_sid": A2, "service_provider_sid": SP1});
    let boaster = jwt(&claims);
    let rollcall = asking(&jambonz, &[]);
    assert_eq!(list(&rollcall, &boaster, A2), 401);
    jambonz.knows(KEY1, Whose::Account(A1.to_owned()));
    let other = jwt(&json!({"scope": "admin", "account_sid": A2, "n": 2}));
    jambonz.knows(&other, Whose::Account(A1.to_owned()));
    assert_eq!(list(&rollcall, &other, A1), 200);
    assert_eq!(list(&rollcall, &other, A2), 403);
    assert_eq!(rollcall.get(&other, &format!("/v1/ServiceProviders/{SP1}/Calls")).status, 403);
}

#[test]
fn nothing_is_asked_where_no_account_is_named() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    let junk = format!("/v1/Accounts/{A1}x/Calls");
    for (method, path, status) in [
        ("GET", "/v1/Calls", 401),
        ("GET", "/v1/CallCount", 401),
        ("GET", "/v1/CallStats", 401),
        ("GET", "/v1/Calls/changes", 401),
        ("GET", "/metrics", 401),
        ("POST", "/v1/hooks/call-status", 401),
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/", 200),
        ("GET", &junk, 400),
        ("GET", "/v1/Accounts/1/Calls", 400),
        ("DELETE", &format!("/v1/Accounts/%00/Calls/{}", sid(1)), 400),
        ("GET", "/v1/ServiceProviders/nobody/Calls", 400),
        ("GET", &format!("/v1/Accounts/{A1}/Nothing"), 404),
        ("PATCH", &calls(A1), 405),
        ("OPTIONS", &calls(A1), 204),
    ] {
        let answer = rollcall.ask(method, ADMIN_KEY, path);
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    // Tokens of rollcall's own are never asked about, whether they count or not.
    let own = rollcall.token(&["--account", A1]);
    let given = rollcall.token(&["--account", A1, "--value", KEY1]);
    assert_eq!(given, KEY1);
    for token in [&own, KEY1, &rollcall.admin()] {
        assert_eq!(list(&rollcall, token, A1), 200);
    }
    assert_eq!(list(&rollcall, KEY1, A2), 403);
    assert_eq!(list(&rollcall, "rc_wrong-wrong-wrong", A1), 401);
    let bare = rollcall.send("GET", &calls(A1), &[], b"").unwrap();
    api_error(&bare, 401);
    let basic = rollcall.send("GET", &calls(A1), &[("authorization", "Basic YTpi")], b"").unwrap();
    api_error(&basic, 401);
    let long = "x".repeat(5000);
    assert_eq!(list(&rollcall, &long, A1), 401);
    let asked = jambonz.questions();
    let known = [ADMIN_KEY, KEY1, &own, &long];
    assert!(!asked.iter().any(|one| known.contains(&one.token.as_str())), "{asked:?}");
    // But for the one with which it sees that jambonz is there.
    assert!(asked.len() <= 1, "{asked:?}");
}

#[test]
fn a_token_of_rollcalls_own_that_has_expired_is_not_asked_for_again() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    rollcall.token(&["--account", A1, "--value", KEY1, "--expires", "1s"]);
    until("the token has expired", || (list(&rollcall, KEY1, A1) == 401).then_some(()));
    assert_eq!(jambonz.about(KEY1), []);
}

#[test]
fn nothing_changes_where_it_is_not_configured() {
    let jambonz = usual();
    let rollcall = Rollcall::up(&["--upstream-api-url", &jambonz.url()]);
    assert_eq!(list(&rollcall, KEY1, A1), 401);
    assert_eq!(rollcall.get(KEY1, "/v1/Accounts/1/Calls").status, 401);
    assert_eq!(jambonz.questions(), []);
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    assert!(!metrics.contains("rollcall_upstream"), "{metrics}");
    let mut fails = Rollcall::down();
    fails.set_args(&["--upstream-auth"]);
    let printed = fails.start_fails();
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("upstream.auth is true and upstream.api_url is not set"));
}

#[test]
fn calls_are_placed_by_jambonz_itself_which_may_refuse_that() {
    let jambonz = usual();
    let viewer = jwt(&json!({"scope": "account", "is_view_only": true}));
    jambonz.knows(&viewer, Whose::Account(A1.to_owned()));
    let feature_server = FeatureServer::up();
    let url = feature_server.url("");
    let rollcall = asking(&jambonz, &["--feature-servers-urls", &url]);
    let body = json!({
        "from": "15551230000",
        "to": {"type": "phone", "number": "15083084809"},
        "call_hook": "https://example.com/hook",
        "speech_synthesis_vendor": "google",
        "speech_synthesis_language": "en-US",
        "speech_synthesis_voice": "en-US-Standard-C",
        "speech_recognizer_vendor": "google",
        "speech_recognizer_language": "en-US",
    });
    let create = |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        rollcall.send("POST", &calls(A1), &headers, body.to_string().as_bytes()).unwrap()
    };
    for token in [KEY1, ADMIN_KEY] {
        let created = create(token);
        assert_eq!((created.status, created.body.as_str()), (201, CREATED), "{token}");
    }
    // In jambonz a service provider places none.
    let msg = api_error(&create(PROVIDER_KEY), 400);
    assert_eq!(msg, format!("unauthorized createCall request for account {A1}"));
    api_error(&create(KEY2), 403);
    api_error(&create(&viewer), 403);
    let posted: Vec<_> =
        jambonz.questions().into_iter().filter(|question| question.method == "POST").collect();
    let tokens: Vec<&str> = posted.iter().map(|question| question.token.as_str()).collect();
    assert_eq!(tokens, [KEY1, ADMIN_KEY, PROVIDER_KEY]);
    for question in &posted {
        assert_eq!(question.body.parse::<serde_json::Value>().unwrap(), body);
    }
    assert_eq!(feature_server.take(), []);
    // A token of rollcall's own goes to a feature server, as without jambonz.
    let answer = create(&rollcall.admin());
    assert_eq!(feature_server.take().len(), 1, "{answer:?}");
}

#[test]
fn one_key_is_one_token_in_either_case() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    // MySQL compares them so.
    let upper = KEY1.to_uppercase();
    jambonz.knows(&upper, Whose::Account(A1.to_owned()));
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    assert_eq!(list(&rollcall, &upper, A1), 200);
    assert_eq!(jambonz.about(&upper), []);
    // Other tokens are what they are.
    jambonz.knows("Key", Whose::Account(A1.to_owned()));
    assert_eq!(list(&rollcall, "Key", A1), 200);
    assert_eq!(list(&rollcall, "key", A1), 401);
}
