//! What wrong credentials cost, how many requests a token has, and what every answer brings.

use std::time::{Duration, Instant};

use super::super::harness::{A1, A2, Answer, Rollcall, event};
use super::raw::Raw;
use super::{api_error, calls_of, list};

fn with(rollcall: &Rollcall, token: &str) -> Answer {
    rollcall.get(token, &calls_of(A1, "limit=1"))
}

#[test]
fn a_token_has_so_many_requests_and_is_told_how_many_are_left() {
    let flags = ["--limits-token-requests", "3", "--limits-token-window", "1h"];
    let rollcall = Rollcall::up(&flags);
    let token = rollcall.token(&["--account", A1, "--role", "read"]);
    let other = rollcall.token(&["--account", A1]);
    for left in ["2", "1", "0"] {
        let answer = with(&rollcall, &token);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-limit"), Some("3"));
        assert_eq!(answer.header("ratelimit-remaining"), Some(left));
        let reset: u64 = answer.header("ratelimit-reset").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&reset), "{reset}");
        assert_eq!(answer.header("retry-after"), None);
    }
    let answer = with(&rollcall, &token);
    assert!(api_error(&answer, 429).contains("too many requests"));
    assert_eq!(answer.header("ratelimit-remaining"), Some("0"));
    let retry: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((3500..=3600).contains(&retry));
    // Each token by itself, and a client without one is not counted.
    assert_eq!(with(&rollcall, &other).status, 200);
    for _ in 0..5 {
        let answer = rollcall.send("GET", "/livez", &[], b"").unwrap();
        assert_eq!((answer.status, answer.header("ratelimit-limit")), (200, None));
    }
    // No limit unless one is configured.
    let rollcall = Rollcall::up(&[]);
    for _ in 0..5 {
        assert_eq!(list(&rollcall, "").header("ratelimit-limit"), None);
    }
}

#[test]
fn wrong_credentials_are_slowed_and_counted_and_right_ones_never_wait() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    for _ in 0..10 {
        api_error(&with(&rollcall, "rc_wrong-wrong-wrong"), 401);
    }
    let begun = Instant::now();
    let agents: Vec<_> = (0..12).map(|_| rollcall.new_agent()).collect();
    let path = rollcall.url(&calls_of(A1, "limit=1"));
    let (statuses, right) = std::thread::scope(|scope| {
        let path = &path;
        let wrong: Vec<_> = agents
            .iter()
            .map(|agent| {
                scope.spawn(move || {
                    let headers = [("authorization", "Bearer rc_wrong-wrong-wrong")];
                    let answer = super::super::harness::send(agent, "GET", path, &headers, b"");
                    answer.unwrap().status
                })
            })
            .collect();
        // Meanwhile, from the same address.
        let right = (0..20).filter(|_| with(&rollcall, &admin).status == 200).count();
        let statuses: Vec<u16> = wrong.into_iter().map(|w| w.join().unwrap()).collect();
        (statuses, right)
    });
    assert_eq!(right, 20);
    assert!(begun.elapsed() >= Duration::from_secs(2), "they were answered at once");
    let of = |status: u16| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(of(401) + of(429), 12, "{statuses:?}");
    assert!(of(401) >= 2 && of(429) >= 2, "{statuses:?}");
    let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["failed_authentications"], 22, "{figures}");
    // A client without credentials has not failed.
    let asked = rollcall.send("GET", &calls_of(A1, ""), &[], b"").unwrap();
    api_error(&asked, 401);
}

#[test]
fn every_answer_has_an_id_which_the_log_has_too() {
    let rollcall = Rollcall::up(&["--log-level", "debug"]);
    let bearer = format!("Bearer {}", rollcall.admin());
    let ask = |path: &str, id: &str| {
        let headers = [("authorization", bearer.as_str()), ("x-request-id", id)];
        let answer = rollcall.send("GET", path, &headers, b"").unwrap();
        answer.header("x-request-id").unwrap().to_owned()
    };
    let path = calls_of(A1, "from=%2B15550000001");
    assert_eq!(ask(&path, "my-id_1.2"), "my-id_1.2");
    assert_eq!(ask("/nowhere", "x"), "x");
    let long = "x".repeat(65);
    for odd in ["", "a b", "a\"b", &*long] {
        let given = ask(&path, odd);
        assert!(given.len() == 32 && given != odd, "{odd}: {given}");
    }
    let log = rollcall.log();
    let line = log.lines().find(|line| line.contains("my-id_1.2")).unwrap();
    assert!(line.contains("/Calls") && line.contains("status=200"), "{line}");
    assert!(!log.contains("15550000001"), "a number is in the log");
    assert!(!log.contains(&rollcall.admin()), "a token is in the log");
}

#[test]
fn a_head_that_cannot_be_read_is_refused_with_a_reason() {
    let rollcall = Rollcall::up(&[]);
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let path = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        ("GET  /\r\n\r\n", 400),
        ("G\u{0} / HTTP/1.1\r\n\r\n", 400),
        (&*long, 431),
        (&*path, 431),
    ] {
        let mut raw = Raw::connect(&rollcall);
        raw.send(head);
        let reply = raw.reply();
        assert_eq!(reply.status, status, "{reply:?}");
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert!(body["msg"].as_str().unwrap().contains("request's head"), "{reply:?}");
    }
}

#[test]
fn a_token_knows_when_it_was_used_last() {
    let mut rollcall = Rollcall::up(&[]);
    let used = rollcall.token(&["--account", A1, "--name", "used"]);
    rollcall.token(&["--account", A2, "--name", "unused"]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let last_used = |rollcall: &Rollcall, name: &str| {
        let tokens: serde_json::Value =
            serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap();
        let tokens = tokens.as_array().unwrap().clone();
        let token = tokens.into_iter().find(|token| token["name"] == name).unwrap();
        token["last_used_at"].clone()
    };
    assert!(last_used(&rollcall, "used").is_null());
    assert_eq!(with(&rollcall, &used).status, 200);
    let at = last_used(&rollcall, "used");
    assert!(at.as_str().unwrap().starts_with("20"), "{at}");
    assert_eq!(rollcall.stop(), Some(0));
    assert_eq!(last_used(&rollcall, "used"), at, "the stop has written it down");
    rollcall.start();
    rollcall.kill();
    rollcall.start();
    assert_eq!(last_used(&rollcall, "used"), at);
    assert!(last_used(&rollcall, "unused").is_null());
}
