//! What is said of requests that were refused, and what they cost those who send them.

use serde_json::Value;

use super::super::api::api_error;
use super::super::harness::{A1, A2, Rollcall, event, sid};
use super::signed::{SECRET, basic, post_basic, post_signed, signature};
use super::{HOOK, known, post};

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

fn server(args: &[&str]) -> Rollcall {
    let rollcall = Rollcall::up(args);
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET]);
    rollcall.ok(&["account", "set", A1, "--hook-user", "one", "--hook-password", "right"]);
    rollcall
}

fn figures(rollcall: &Rollcall) -> Value {
    serde_json::from_str(&rollcall.figures()).unwrap()
}

/// What is said of the account's webhooks.
fn of_account(rollcall: &Rollcall, account: &str) -> Value {
    let accounts = figures(rollcall)["hooks"]["accounts"].clone();
    let own = |one: &&Value| one["account_sid"] == account;
    accounts.as_array().unwrap().iter().find(own).cloned().unwrap_or_default()
}

#[test]
fn status_doctor_and_log_say_why_webhooks_are_refused() {
    let rollcall = server(&[]);
    let quiet = of_account(&rollcall, A1);
    assert_eq!(
        (&quiet["last_event_at"], &quiet["refused"]),
        (&Value::Null, &Value::Object(serde_json::Map::new()))
    );
    let body = event(1, "ringing");
    for _ in 0..2 {
        assert_eq!(post_signed(&rollcall, &signature("hush hush", 0, &body), &body).status, 401);
    }
    assert_eq!(post_basic(&rollcall, "one", "very secret", &body).status, 401);
    assert_eq!(post_basic(&rollcall, "someone", "very secret", &body).status, 401);
    assert_eq!(post_basic(&rollcall, "one", "right", &body.replace(A1, A2)).status, 403);
    assert_eq!(post_basic(&rollcall, "one", "right", "{").status, 400);
    assert_eq!(post(&rollcall, &[], &body).status, 401);
    // An account that nobody has registered. The answer is that of a wrong secret.
    let strange = body.replace(A1, A2);
    let wrong = post_signed(&rollcall, &signature("hush hush", 0, &body), &body);
    let unknown = post_signed(&rollcall, &signature(SECRET, 0, &strange), &strange);
    assert_eq!((unknown.status, &unknown.body), (401, &wrong.body));
    assert_eq!(unknown.header("www-authenticate"), wrong.header("www-authenticate"));
    let own = of_account(&rollcall, A1);
    assert!(own["last_event_at"].is_null(), "{own}");
    let expected = serde_json::json!({
        "signature_wrong": 3, "wrong_password": 1, "other_account": 1, "malformed": 1,
    });
    assert_eq!(own["refused"], expected);
    assert!(of_account(&rollcall, A2).is_null());
    let others = figures(&rollcall)["hooks"]["others_refused"].clone();
    let expected =
        serde_json::json!({ "unknown_user": 1, "no_credentials": 1, "not_registered": 1 });
    assert_eq!(others, expected);

    assert_eq!(post_basic(&rollcall, "one", "right", &body).status, 204);
    let at = of_account(&rollcall, A1)["last_event_at"].as_str().unwrap().to_owned();
    let text = rollcall.status();
    let line = text.lines().find(|line| line.contains(A1)).unwrap();
    assert!(line.contains(&at), "{line}");
    assert!(line.contains("3 webhooks refused: signature does not verify"), "{line}");
    let doctor = rollcall.run(&["doctor"]).stdout;
    assert!(doctor.contains("3 webhooks refused: signature does not verify"), "{doctor}");
    let remedies = [
        format!("wrong webhook secret: `rollcall account set {A1} --webhook-secret -`"),
        format!("wrong password: `rollcall account set {A1} --hook-user USER --hook-password -`"),
        format!("account {A2}: 1 signed webhook refused: it is not registered here"),
        format!("if it is yours, `rollcall account set {A2} --webhook-secret -` registers it"),
    ];
    for remedy in &remedies {
        assert!(doctor.contains(remedy), "{remedy}: {doctor}");
    }
    assert!(text.contains(&remedies[2]), "{text}");

    let log = rollcall.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("a webhook was refused")).collect();
    assert_eq!(lines.len(), 9, "{lines:#?}");
    for says in ["signature does not verify", "wrong password", "no account has this hook user"] {
        assert!(lines.iter().any(|line| line.contains(says)), "{says}: {lines:#?}");
    }
    let unregistered = lines.iter().find(|line| line.contains(A2)).unwrap();
    assert!(unregistered.contains("not registered here; if it is yours"), "{unregistered}");
    assert!(!unregistered.contains("is the webhook secret the one"), "{unregistered}");
    assert!(lines[0].contains(A1) && lines[0].contains("status=401"), "{}", lines[0]);
    for secret in ["hush", "very secret", "right", "someone", SECRET] {
        assert!(lines.iter().all(|line| !line.contains(secret)), "{secret}: {lines:#?}");
    }
}

/// Nobody has registered anything yet: the most usual first day.
#[test]
fn an_account_that_was_never_registered_is_named_with_what_registers_it() {
    let rollcall = Rollcall::up(&[]);
    let body = event(1, "ringing");
    let send = || post_signed(&rollcall, &signature(SECRET, 0, &body), &body);
    assert_eq!(api_error(&send(), 401), "Unauthorized");
    let register = format!("`rollcall account set {A1} --webhook-secret -` registers it");
    for told in [rollcall.run(&["doctor"]).stdout, rollcall.log()] {
        assert!(told.contains(&register), "{told}");
        assert!(!told.contains("is the webhook secret the one in jambonz"), "{told}");
    }
    assert!(rollcall.status().contains(&format!("account {A1}: 1 signed webhook refused")));
    rollcall.ok(&["account", "set", A1, "--webhook-secret", SECRET]);
    assert_eq!(send().status, 204);
    // What is registered is no news.
    assert!(!rollcall.run(&["doctor"]).stdout.contains("not registered"));
}

/// As exactly as the client is told, and without what is personal.
#[test]
fn the_log_names_what_is_wrong_with_a_body() {
    let event = event(1, "ringing");
    let with_sid = |text: &str| event.replace(&sid(1), text);
    let several = format!("[{event},{}]", event.replace("inbound", "Alice"));
    let many = format!("[{}]", [&*event; 4].join(","));
    let missing = "is missing: expected a UUID in its hyphenated form";
    let refusals = [
        ("{bad", "not valid JSON: key must be a string at line 1 column 2"),
        (r#"{"account_sid":"x"}"#, "account_sid \"x\": not a UUID"),
        ("{}", &format!("account_sid {missing}")),
        ("[1", "not valid JSON: EOF while parsing"),
        ("[1,2]", "event 1: expected a JSON object"),
        ("\"+4915199998801\"", "expected a JSON object"),
        (&several, "event 2: direction is wrong: expected inbound or outbound"),
        (&event.replace("call_sid", "call_side"), &format!("call_sid {missing}")),
        (&with_sid("+4915199998801"), "call_sid is wrong: not a UUID"),
        (&with_sid("4915199998801"), "call_sid \"***01\": not a UUID"),
        (&with_sid("Alice <sip:alice@example.com>"), "call_sid is wrong: not a UUID"),
        (&with_sid(&"hush".repeat(20)), "call_sid is wrong: not a UUID"),
        (r#"{"type":"Alice","data":{}}"#, "type is wrong: expected \""),
        (&many, "too large: 4 events: a request has at most 3"),
        (&" ".repeat(5000), "too large: a request body has at most 4096 bytes"),
    ];
    // Of many that are refused for one cause not all have a line.
    for some in refusals.chunks(8) {
        let rollcall = server(&["--limits-batch-events", "3", "--limits-body-bytes", "4096"]);
        for (body, says) in some {
            let answer = post_basic(&rollcall, "one", "right", body);
            assert!(matches!(answer.status, 400 | 413), "{body}: {answer:?}");
            let log = rollcall.log();
            let line = log.lines().rfind(|line| line.contains("a webhook was refused")).unwrap();
            assert!(line.contains(&format!(": {says}")), "{says}: {line}");
            assert!(line.len() < 500, "{line}");
            for hidden in ["lice", "4915199998", "hush"] {
                assert!(!log.contains(hidden), "{hidden}: {log}");
            }
        }
    }
}

#[test]
fn the_log_does_not_grow_with_what_is_refused() {
    let rollcall = server(&[]);
    let body = event(1, "ringing");
    let headers = [("authorization", &*basic("one", "right")), ("jambonz-signature", "x")];
    for _ in 0..40 {
        // Known, so that it does not wait.
        api_error(&post(&rollcall, &headers, "{"), 400);
    }
    for n in 0..5 {
        assert_eq!(post(&rollcall, &headers, &body).status, 204, "{n}");
    }
    assert_eq!(of_account(&rollcall, A1)["refused"]["malformed"], 40);
    let log = rollcall.log();
    let count = |says: &str| log.lines().filter(|line| line.contains(says)).count();
    assert_eq!(count("a webhook was refused"), 10, "{log}");
    assert_eq!(count("Jambonz-Signature cannot be read"), 1, "{log}");
}

#[test]
fn a_wrong_signature_beside_a_right_password_is_told_once_a_minute() {
    let rollcall = server(&[]);
    for n in 1..=5 {
        let body = event(n, "busy");
        let signature = signature("changed in jambonz", 0, &body);
        let headers =
            [("jambonz-signature", &*signature), ("authorization", &*basic("one", "right"))];
        assert_eq!(post(&rollcall, &headers, &body).status, 204);
    }
    assert_eq!(known(&rollcall), 5);
    let log = rollcall.log();
    let says = "signature does not verify: is the webhook secret the one in jambonz?";
    let told: Vec<_> = log.lines().filter(|line| line.contains(says)).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains(A1), "{}", told[0]);
    assert_eq!(of_account(&rollcall, A1)["refused"], serde_json::json!({}));
}

/// Whatever else is valid, a wrong password is a guess; and a sender with the right one does not wait.
#[test]
fn guesses_at_a_users_password_are_slowed_beside_a_valid_signature() {
    let rollcall = server(&[]);
    rollcall.ok(&["account", "set", A2, "--hook-user", "two", "--hook-password", "theirs"]);
    let guess = |n: u32| {
        let body = event(n, "busy");
        let signature = signature(SECRET, 0, &body);
        let guess = basic("two", &format!("guess {n}"));
        post(&rollcall, &[("jambonz-signature", &*signature), ("authorization", &guess)], &body)
    };
    for n in 1..=10 {
        assert_eq!(guess(n).status, 204, "{n}");
    }
    assert_eq!(figures(&rollcall)["failed_authentications"], 10);
    let slowed = "many wrong passwords of one user; further ones are slowed";
    assert!(!rollcall.log().contains(slowed));
    assert_eq!(guess(11).status, 204);
    assert!(rollcall.log().contains(slowed));
    let body = event(99, "busy").replace(A1, A2);
    assert_eq!(post_basic(&rollcall, "two", "theirs", &body).status, 204);
    assert_eq!(known(&rollcall), 12);
}

#[test]
fn what_nobody_known_sends_is_counted_slowed_and_audited_whatever_is_wrong_with_it() {
    let rollcall = server(&["--limits-body-bytes", "65536"]);
    let audit = |log: &str| log.lines().filter(|line| line.contains("authenticate")).count();
    let long = "x".repeat(70_000);
    let body = event(1, "busy");
    let fresh = signature("wrong", 0, &body);
    let cases: [(Headers, &str, u16); 8] = [
        (&[], &body, 401),
        (&[("jambonz-signature", "nonsense")], &body, 400),
        (&[("authorization", "nonsense")], &body, 400),
        (&[("jambonz-signature", &fresh)], &long, 413),
        (&[("jambonz-signature", &fresh)], "{\"a", 401),
        (&[("jambonz-signature", &fresh)], "[0,0,0", 401),
        (&[("jambonz-signature", &fresh), ("content-encoding", "gzip")], &body, 415),
        (&[("jambonz-signature", &fresh)], &body, 401),
    ];
    for (n, (headers, body, status)) in cases.into_iter().enumerate() {
        let answer = rollcall.send("POST", HOOK, headers, body.as_bytes()).unwrap();
        api_error(&answer, status);
        assert_eq!(figures(&rollcall)["failed_authentications"], n as u64 + 1, "{headers:?}");
        assert_eq!(audit(&rollcall.log()), n + 1, "{headers:?}");
    }
    let slowed = "many wrong credentials; further ones are slowed";
    for _ in 0..2 {
        api_error(&post(&rollcall, &[("jambonz-signature", &fresh)], &long), 413);
        assert!(!rollcall.log().contains(slowed));
    }
    api_error(&post(&rollcall, &[("jambonz-signature", &fresh)], &long), 413);
    assert!(rollcall.log().contains(slowed));
    // Nothing of all that was read as an event, and who is known does not wait.
    let text = rollcall.get(&rollcall.admin(), "/metrics").body;
    assert!(text.contains("rollcall_events_received_total 0\n"), "{text}");
    assert_eq!(post_basic(&rollcall, "one", "right", &body).status, 204);
}
