//! The three ways to say who sends.

use data_encoding::{HEXLOWER, HEXUPPER};

use super::super::api::api_error;
use super::super::api::samples::now;
use super::super::harness::{A1, A2, Rollcall, event, until};
use super::signed::{SECRET, mac, post_basic, post_signed, signature};
use super::{known, post};

const SP1: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";

/// Two accounts with a secret each, and a user and a password each.
fn server() -> Rollcall {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET, "--service-provider", SP1]);
    rollcall.ok(&["account", "set", A1, "--hook-user", "one", "--hook-password", "pass:word"]);
    rollcall.ok(&["account", "set", A2, "--webhook-secret", "another secret"]);
    rollcall.ok(&["account", "set", A2, "--hook-user", "two", "--hook-password", "secret"]);
    rollcall
}

/// A batch of both accounts, whichever comes first.
fn mixed() -> [String; 2] {
    let (one, two) = (event(1, "busy"), event(2, "busy").replace(A1, A2));
    [format!("[{one},{two}]"), format!("[{two},{one}]")]
}

#[test]
fn a_signature_speaks_for_its_account() {
    let rollcall = server();
    let body = event(1, "ringing");
    assert_eq!(post_signed(&rollcall, &signature(SECRET, 0, &body), &body).status, 204);
    assert_eq!(known(&rollcall), 1);
    // A source that has had no answer sends the same again.
    let body = event(2, "ringing");
    let again = signature(SECRET, 0, &body);
    for _ in 0..3 {
        assert_eq!(post_signed(&rollcall, &again, &body).status, 204);
    }
    assert_eq!(known(&rollcall), 2);
    // Anywhere within five minutes; upper case, further parts and a second signature are fine.
    let t = (now() / 1000).to_string();
    let body = event(3, "ringing");
    let right = mac(SECRET, &t, &body);
    let wrong = HEXLOWER.encode(&mac("old secret", &t, &body));
    for header in [
        signature(SECRET, -290, &body),
        signature(SECRET, 290, &body),
        format!("t={t},v1={}", HEXUPPER.encode(&right)),
        format!("t={t},v1={wrong},v1={}", HEXLOWER.encode(&right)),
        format!("v1={},v0=abc,t={t}", HEXLOWER.encode(&right)),
        format!("t={t}, v1={}", HEXLOWER.encode(&right)),
    ] {
        assert_eq!(post_signed(&rollcall, &header, &body).status, 204, "{header}");
    }
    assert_eq!(known(&rollcall), 3);
    // What was signed are the bytes, not what they mean.
    let spaced = format!(" {} \n", event(4, "ringing").replace(',', " ,\t"));
    assert_eq!(post_signed(&rollcall, &signature(SECRET, 0, &spaced), &spaced).status, 204);
    let lines = format!("{}\n{}\n", event(5, "ringing"), event(6, "ringing"));
    let signed = signature(SECRET, 0, &lines);
    let headers = [("jambonz-signature", &*signed), ("content-type", "application/x-ndjson")];
    assert_eq!(post(&rollcall, &headers, &lines).status, 204);
    assert_eq!(known(&rollcall), 6);
}

#[test]
fn a_signature_that_is_not_right_is_401() {
    let rollcall = server();
    let body = event(1, "ringing");
    let t = (now() / 1000).to_string();
    let right = mac(SECRET, &t, &body);
    let hex = HEXLOWER.encode(&right);
    let with = |t: &str| format!("t={t},v1={hex}");
    let stranger = body.replace(A1, "0f0f0f0f-aaaa-4bbb-8ccc-121212121212");
    let cases = [
        (signature("another secret", 0, &body), body.clone()),
        (signature("", 0, &body), body.clone()),
        (signature(SECRET, -310, &body), body.clone()),
        (signature(SECRET, 310, &body), body.clone()),
        (signature(SECRET, 0, &format!("{body} ")), body.clone()),
        (signature(SECRET, 0, &body), body.replace("ringing", "busy")),
        (signature(SECRET, 0, &body), body.replace(A1, A2)),
        (signature(SECRET, 0, &stranger), stranger.clone()),
        (with(&(now() / 1000 + 1).to_string()), body.clone()),
        (with(&format!("0{t}")), body.clone()),
        (format!("t={t},v1={}", &hex[..62]), body.clone()),
        (format!("t={t},v1={hex}00"), body.clone()),
        (format!("t={t},v1="), body.clone()),
    ];
    for (header, body) in &cases {
        let answer = post_signed(&rollcall, header, body);
        assert_eq!(api_error(&answer, 401), "Unauthorized", "{header}");
        assert!(answer.header("www-authenticate").is_some(), "{header}");
    }
    let malformed = [
        String::new(),
        hex.clone(),
        format!("t={t}"),
        format!("v1={hex}"),
        format!("t=now,v1={hex}"),
        format!("t={t},v1=xyz"),
        format!("t={t};v1={hex}"),
        format!("t={t},v1={hex},"),
    ];
    for header in &malformed {
        let answer = post_signed(&rollcall, header, &body);
        assert!(api_error(&answer, 400).contains("Jambonz-Signature"), "{header}");
    }
    // An empty batch has no account, so that nobody can have signed for it.
    assert_eq!(post_signed(&rollcall, &signature(SECRET, 0, "[]"), "[]").status, 401);
    assert_eq!(known(&rollcall), 0);
    // Nothing of this was due to the account: the right one is taken.
    assert_eq!(post_signed(&rollcall, &with(&t), &body).status, 204);
}

#[test]
fn a_changed_secret_counts_at_once() {
    let rollcall = server();
    let body = event(1, "ringing");
    rollcall.ok(&["account", "set", A1, "--webhook-secret", "a new secret"]);
    assert_eq!(post_signed(&rollcall, &signature(SECRET, 0, &body), &body).status, 401);
    assert_eq!(post_signed(&rollcall, &signature("a new secret", 0, &body), &body).status, 204);
    rollcall.ok(&["account", "remove", A1]);
    assert_eq!(post_signed(&rollcall, &signature("a new secret", 0, &body), &body).status, 401);
    assert_eq!(post_basic(&rollcall, "one", "pass:word", &body).status, 401);
}

#[test]
fn a_user_and_a_password_speak_for_their_account() {
    let mut rollcall = server();
    let body = event(1, "ringing");
    assert_eq!(post_basic(&rollcall, "one", "pass:word", &body).status, 204);
    assert_eq!(post_basic(&rollcall, "two", "secret", &body.replace(A1, A2)).status, 204);
    assert_eq!(known(&rollcall), 2);
    for (user, password) in [
        ("one", "secret"),
        ("two", "pass:word"),
        ("one", ""),
        ("", "pass:word"),
        ("One", "pass:word"),
    ] {
        let answer = post_basic(&rollcall, user, password, &event(2, "busy"));
        assert_eq!(api_error(&answer, 401), "Unauthorized", "{user}:{password}");
        assert!(answer.header("www-authenticate").is_some());
    }
    for basic in ["Basic !!!", "Basic b25l", "Basic /w=="] {
        let answer = post(&rollcall, &[("authorization", basic)], &event(2, "busy"));
        assert_eq!(api_error(&answer, 401), "Unauthorized", "{basic}");
    }
    assert_eq!(known(&rollcall), 2);
    rollcall.kill();
    rollcall.start();
    assert_eq!(post_basic(&rollcall, "one", "pass:word", &event(2, "busy")).status, 204);
    assert_eq!(known(&rollcall), 3);
}

#[test]
fn nobody_is_401() {
    let rollcall = server();
    for headers in [
        &[][..],
        &[("authorization", "Bearer nobody-nobody-nobody")],
        &[("authorization", "Token x")],
    ] {
        let answer = post(&rollcall, headers, &event(1, "busy"));
        assert_eq!(api_error(&answer, 401), "Unauthorized", "{headers:?}");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
    }
    let answer = post(&rollcall, &[("authorization", "Bearer")], &event(1, "busy"));
    assert!(api_error(&answer, 400).contains("Authorization"));
    assert_eq!(known(&rollcall), 0);
}

#[test]
fn of_a_mixed_body_nothing_is_taken() {
    let rollcall = server();
    for body in mixed() {
        for secret in [SECRET, "another secret"] {
            let answer = post_signed(&rollcall, &signature(secret, 0, &body), &body);
            // Whose events come first decides whose signature it has to be.
            assert!([401, 403].contains(&answer.status), "{answer:?}");
        }
        for (user, password) in [("one", "pass:word"), ("two", "secret")] {
            let answer = post_basic(&rollcall, user, password, &body);
            assert!(api_error(&answer, 403).starts_with("insufficient permissions"));
        }
        for scope in [["--account", A1], ["--account", A2], ["--service-provider", SP1]] {
            let token = rollcall.token(&[&scope[..], &["--role", "ingest"]].concat());
            let bearer = format!("Bearer {token}");
            let answer = post(&rollcall, &[("authorization", &bearer)], &body);
            assert!(api_error(&answer, 403).starts_with("insufficient permissions"), "{scope:?}");
        }
    }
    // The one that begins with the account of the signature.
    let [body, _] = mixed();
    let answer = post_signed(&rollcall, &signature(SECRET, 0, &body), &body);
    assert!(api_error(&answer, 403).starts_with("insufficient permissions"));
    assert_eq!(known(&rollcall), 0);
    // Another account's events alone.
    let theirs = event(2, "busy").replace(A1, A2);
    assert_eq!(post_basic(&rollcall, "one", "pass:word", &theirs).status, 403);
    assert_eq!(known(&rollcall), 0);
    // An admin may bring both.
    assert_eq!(rollcall.post_events(&body).status, 204);
    assert_eq!(known(&rollcall), 2);
}

#[test]
fn a_token_that_brings_events_may_end() {
    let rollcall = server();
    let token = rollcall.token(&["--account", A1, "--role", "ingest", "--expires", "1s"]);
    let bearer = format!("Bearer {token}");
    let body = event(1, "busy");
    let refused = until("the token expires", || {
        let answer = post(&rollcall, &[("authorization", &bearer)], &body);
        (answer.status != 204).then_some(answer)
    });
    assert_eq!(api_error(&refused, 401), "Unauthorized");
}
