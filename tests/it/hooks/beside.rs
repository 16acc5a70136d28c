//! Several credentials on one request: it is who any valid one of them says it is.

use super::super::api::api_error;
use super::super::api::raw::Raw;
use super::super::api::samples::now;
use super::super::harness::{A1, A2, Rollcall, event};
use super::signed::{SECRET, basic, signature};
use super::{HOOK, known, post};

/// The signatures that are sent with a body.
type Signatures = dyn Fn(&str) -> Vec<String>;

/// Account one has a secret, a user and a password; account two a user and a password.
fn server() -> Rollcall {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET]);
    rollcall.ok(&["account", "set", A1, "--hook-user", "one", "--hook-password", "right"]);
    rollcall.ok(&["account", "set", A2, "--hook-user", "two", "--hook-password", "right"]);
    rollcall
}

#[test]
fn a_credential_that_is_not_right_hides_none_that_is() {
    let rollcall = server();
    let bearer = |flags: &[&str]| format!("Bearer {}", rollcall.token(flags));
    let ingest = bearer(&["--account", A1, "--role", "ingest"]);
    let read = bearer(&["--account", A1, "--role", "read"]);
    let (right, wrong) = (basic("one", "right"), basic("one", "wrong"));
    let fields = |signatures: &[&str], authorizations: &[&str]| {
        let signatures = signatures.iter().map(|value| ("jambonz-signature", (*value).to_owned()));
        let rest = authorizations.iter().map(|value| ("authorization", (*value).to_owned()));
        signatures.chain(rest).collect::<Vec<_>>()
    };
    let mut seen = 0;
    let mut taken = |signatures: &dyn Fn(&str) -> Vec<String>, authorizations: &[&str]| {
        seen += 1;
        let body = event(seen, "busy");
        let signatures = signatures(&body);
        let signatures: Vec<_> = signatures.iter().map(String::as_str).collect();
        let fields = fields(&signatures, authorizations);
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = post(&rollcall, &fields, &body);
        assert_eq!(answer.status, 204, "{fields:?}: {answer:?}");
        assert_eq!(known(&rollcall), seen as usize, "{fields:?}");
    };
    let good = |body: &str| vec![signature(SECRET, 0, body)];
    let bad: [&Signatures; 6] = [
        &|body| vec![signature("another secret", 0, body)],
        &|body| vec![signature(SECRET, -600, body)],
        &|_| vec!["nonsense".to_owned()],
        &|_| vec![String::new()],
        &|_| vec![format!("t={},v1=00", now() / 1000)],
        &|body| vec![signature("x", 0, body), signature("y", 0, body), signature(SECRET, 0, body)],
    ];
    for signatures in bad {
        taken(signatures, &[&right]);
        taken(signatures, &[&ingest]);
    }
    for authorizations in [
        &[&*wrong][..],
        &[&basic("nobody", "right")],
        &["Bearer nobody-nobody-nobody"],
        &[&read],
        &["Basic"],
        &["Basic !!!"],
        &["Digest abc"],
        &["nonsense of three words"],
        &[&right, &right],
        &[&wrong, "Bearer nobody"],
        &[&right],
        &[&ingest],
    ] {
        taken(&good, authorizations);
    }
    // One may come from jambonz, and another from a proxy.
    for authorizations in [
        [&*right, "Bearer nobody"],
        ["Bearer nobody", &*right],
        [&*wrong, &*ingest],
        [&*right, "nonsense"],
        ["", &*ingest],
        [&*right, &*ingest],
        [&*read, &*ingest],
    ] {
        taken(&|_| Vec::new(), &authorizations);
    }
    taken(&|_| Vec::new(), &["Bearer nobody", "Digest abc", &right]);
    taken(&|body| vec!["x".to_owned(), signature("x", 0, body), signature(SECRET, 0, body)], &[]);
    // Two fields may have been joined on the way.
    for joined in [
        format!("Bearer nobody, {right}"),
        format!("{right},Bearer nobody"),
        format!("{wrong}, {ingest}"),
    ] {
        taken(&|_| Vec::new(), &[&joined]);
    }
    let joined: [&Signatures; 2] = [
        &|body| vec![format!("{},{}", signature(SECRET, 0, body), signature(SECRET, -600, body))],
        &|body| vec![format!("{}, {}", signature("x", -9, body), signature(SECRET, 0, body))],
    ];
    for signatures in joined {
        taken(signatures, &[]);
    }
    // Nor does a part of a signature hide another one.
    let parts: [&dyn Fn(&str) -> String; 2] =
        [&|right| right.replace(",v1=", ",v1=none,v1="), &|right| {
            right.replace(",v1=", &format!(",v1={},v1=", "0".repeat(64)))
        }];
    for part in parts {
        taken(&|body| vec![part(&signature(SECRET, 0, body))], &[]);
    }
    // One of two signatures is enough.
    taken(&|body| vec![signature("x", 0, body), signature(SECRET, 0, body)], &[]);
}

#[test]
fn where_no_secret_is_known_a_signature_says_nothing() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A2, "--hook-user", "two", "--hook-password", "right"]);
    let send = |n, authorization: &str| {
        let body = event(n, "busy").replace(A1, A2);
        let signature = signature("nobody has it", 0, &body);
        let headers = [("jambonz-signature", &*signature), ("authorization", authorization)];
        post(&rollcall, &headers, &body)
    };
    let bearer = format!("Bearer {}", rollcall.admin());
    assert_eq!(send(1, &basic("two", "right")).status, 204);
    assert_eq!(send(2, &bearer).status, 204);
    assert_eq!(api_error(&send(3, &basic("two", "wrong")), 401), "Unauthorized");
    assert_eq!(api_error(&send(4, "Bearer nobody"), 401), "Unauthorized");
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET]);
    assert_eq!(send(5, &basic("two", "right")).status, 204);
    assert_eq!(known(&rollcall), 3);
}

#[test]
fn credentials_of_two_accounts_are_403_and_nothing_is_taken() {
    let rollcall = server();
    let of_one = [event(1, "busy"), format!("[{}]", event(1, "busy")), "[]".to_owned()];
    let [other, own] = [A2, A1].map(|account| {
        let roles = ["ingest", "full", "read"];
        let tokens = roles.map(|role| rollcall.token(&["--account", account, "--role", role]));
        tokens.map(|token| format!("Bearer {token}"))
    });
    for body in &of_one[..2] {
        let signature = signature(SECRET, 0, body);
        for authorization in other.iter().chain([&basic("two", "right")]) {
            let headers = [("jambonz-signature", &*signature), ("authorization", authorization)];
            let answer = post(&rollcall, &headers, body);
            let msg = api_error(&answer, 403);
            assert!(msg.contains("different accounts"), "{authorization}: {msg}");
        }
    }
    let (one, two) = (basic("one", "right"), basic("two", "right"));
    for pair in [[&one, &two], [&two, &one], [&one, &other[0]], [&other[0], &own[0]]] {
        let headers = pair.map(|value| ("authorization", value.as_str()));
        api_error(&post(&rollcall, &headers, &of_one[0]), 403);
    }
    let wrong = basic("one", "wrong");
    let headers = [("authorization", &*wrong), ("authorization", "Bearer nobody")];
    api_error(&post(&rollcall, &headers, &of_one[0]), 401);
    assert_eq!(known(&rollcall), 0);
    // Every valid one has to reach all of them.
    let mixed = format!("[{},{}]", event(1, "busy"), event(2, "busy").replace(A1, A2));
    let admin = format!("Bearer {}", rollcall.admin());
    let signed = signature(SECRET, 0, &mixed);
    for headers in [
        &[("jambonz-signature", &*signed), ("authorization", &admin)][..],
        &[("jambonz-signature", &*signed), ("authorization", &basic("one", "right"))],
    ] {
        let msg = api_error(&post(&rollcall, headers, &mixed), 403);
        assert!(msg.contains("one account alone"), "{msg}");
    }
    assert_eq!(known(&rollcall), 0);
    let wrong = signature("x", 0, &mixed);
    let headers = [("jambonz-signature", &*wrong), ("authorization", &admin)];
    assert_eq!(post(&rollcall, &headers, &mixed).status, 204);
    // A token that may not bring events is no one's leave to.
    let [_, full, read] = &own;
    for token in [full, read] {
        for headers in [
            &[("authorization", token.as_str())][..],
            &[("authorization", token), ("jambonz-signature", &wrong)],
        ] {
            let msg = api_error(&post(&rollcall, headers, &of_one[0]), 403);
            assert!(msg.contains("role"), "{msg}");
        }
    }
    assert_eq!(known(&rollcall), 2);
}

#[test]
fn who_can_be_nobody_any_more_is_refused_before_the_body() {
    // A body that never comes would be 408 after an hour.
    let rollcall = Rollcall::up(&["--limits-body", "1h"]);
    let head = |fields: &str| {
        format!("POST {HOOK} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: 1000\r\n\r\n")
    };
    let refused = |fields: &str, status| {
        let mut raw = Raw::connect(&rollcall);
        raw.send(head(fields));
        let reply = raw.reply();
        assert_eq!(reply.status, status, "{fields}: {reply:?}");
    };
    let t = now() / 1000;
    let fresh = format!("Jambonz-Signature: t={t},v1={}\r\n", "0".repeat(64));
    refused(&fresh, 401);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET]);
    let stale = format!("Jambonz-Signature: t=1,v1={}\r\n", "0".repeat(64));
    let wrong = format!("Authorization: {}\r\n", basic("one", "wrong"));
    refused("", 401);
    refused(&stale, 401);
    refused(&wrong, 401);
    refused(&format!("{stale}{wrong}"), 401);
    refused(&format!("Jambonz-Signature: t={t},v1=00\r\n"), 401);
    refused("Jambonz-Signature: nonsense\r\n", 400);
    refused("Authorization: nonsense\r\n", 400);
    refused("Jambonz-Signature: nonsense\r\nAuthorization: Bearer nobody\r\n", 401);
    let read = rollcall.token(&["--account", A1, "--role", "read"]);
    refused(&format!("{stale}Authorization: Bearer {read}\r\n"), 403);
}

#[test]
fn an_answer_without_the_body_says_that_the_connection_ends() {
    let rollcall = Rollcall::up(&[]);
    for (fields, closes) in [("Expect: 100-continue\r\n", true), ("", false)] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(format!(
            "POST {HOOK} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer nobody\r\n{fields}\
             Content-Length: 2\r\n\r\n"
        ));
        if !closes {
            raw.send("[]");
        }
        let reply = raw.reply();
        assert_eq!(reply.status, 401, "{reply:?}");
        assert_eq!(reply.head.contains("connection: close"), closes, "{reply:?}");
    }
}
