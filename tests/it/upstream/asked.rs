//! How often jambonz is asked: once at a time, no more than may be, and never for its own limit's sake.

use serde_json::json;

use super::super::api::api_error;
use super::super::harness::{A1, A2, Rollcall, until};
use super::jambonz::{Manners, Whose};
use super::{
    KEY1, KEY2, NOBODYS_KEY, asking, calls, figures, list, says_no_token, unavailable, usual,
};

/// The value of a metric without labels.
fn metric(rollcall: &Rollcall, name: &str) -> f64 {
    let text = rollcall.get(&rollcall.admin(), "/metrics").body;
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// A key that jambonz does not know.
fn guess(n: u32) -> String {
    format!("deadbeef-0000-4000-8000-{n:012}")
}

/// The status of a list that a client of this address asks for.
fn list_from(rollcall: &Rollcall, address: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", address)];
    rollcall.send("GET", &calls(A1), &headers, b"").unwrap().status
}

#[test]
fn many_who_ask_at_once_are_one_question() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    jambonz.turns(Manners::Waits);
    let agents: Vec<_> = (0..8).map(|_| rollcall.new_agent()).collect();
    let url = &rollcall.url(&calls(A1));
    std::thread::scope(|scope| {
        let all: Vec<_> = agents
            .iter()
            .map(|agent| {
                scope.spawn(move || {
                    let bearer = format!("Bearer {KEY1}");
                    let headers = [("authorization", bearer.as_str())];
                    super::super::harness::send(agent, "GET", url, &headers, b"").unwrap().status
                })
            })
            .collect();
        until("all of them have come", || {
            let text = rollcall.get(&rollcall.admin(), "/metrics").body;
            let open = "rollcall_connections{listener=\"https\"} ";
            let open = text.lines().find_map(|line| line.strip_prefix(open)).unwrap();
            (open.parse::<f64>().unwrap() >= 9.0).then_some(())
        });
        until("jambonz is asked", || (!jambonz.about(KEY1).is_empty()).then_some(()));
        jambonz.turns(Manners::AsJambonz);
        for one in all {
            assert_eq!(one.join().unwrap(), 200);
        }
    });
    assert_eq!(jambonz.about(KEY1).len(), 1);
}

#[test]
fn a_client_that_leaves_takes_no_answer_from_others() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &["--upstream-auth-timeout", "1m"]);
    jambonz.turns(Manners::Waits);
    let mut raw = super::super::api::raw::Raw::connect(&rollcall);
    let path = calls(A1);
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY1}\r\n\r\n"));
    until("jambonz is asked", || (!jambonz.about(KEY1).is_empty()).then_some(()));
    drop(raw);
    jambonz.turns(Manners::AsJambonz);
    until("the answer is known", || {
        (figures(&rollcall)["questions"]["accepted"] == 1).then_some(())
    });
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    assert_eq!(jambonz.about(KEY1).len(), 1);
}

#[test]
fn guesses_from_one_address_leave_questions_for_others() {
    let jambonz = usual();
    let flags = ["--upstream-auth-address-questions", "3", "--http-trusted-proxies", "127.0.0.1"];
    let rollcall = asking(&jambonz, &flags);
    let from = |address: &str, token: &str| list_from(&rollcall, address, token);
    for n in 0..3 {
        assert_eq!(from("192.0.2.1", &guess(n)), 401);
    }
    let bearer = format!("Bearer {}", guess(3));
    let headers = [("authorization", bearer.as_str()), ("x-forwarded-for", "192.0.2.1")];
    let refused = rollcall.send("GET", &calls(A1), &headers, b"").unwrap();
    assert!(unavailable(&refused).contains("for this address"), "{refused:?}");
    // What was asked before is known, and another address has questions of its own.
    assert_eq!(from("192.0.2.1", &guess(0)), 401);
    assert_eq!(from("192.0.2.2", KEY1), 200);
    assert_eq!(from("192.0.2.1", KEY1), 200);
    assert_eq!(jambonz.about(&guess(3)), []);
    assert_eq!(figures(&rollcall)["unavailable"]["address_budget"], 1);
    says_no_token(&rollcall, &[KEY1, "deadbeef"]);
}

#[test]
fn guesses_from_everywhere_leave_questions_for_tokens_that_are_known() {
    let jambonz = usual();
    let flags = [
        "--upstream-auth-questions",
        "40",
        "--upstream-auth-cache",
        "1ms",
        "--http-trusted-proxies",
        "127.0.0.1",
    ];
    let rollcall = asking(&jambonz, &flags);
    let from = |n: u32, token: &str| list_from(&rollcall, &format!("192.0.2.{n}"), token);
    assert_eq!(from(1, KEY1), 200);
    // Until there are no more.
    let refused = (2..100).find(|n| from(*n, &guess(*n)) == 503).unwrap();
    assert!((20..=32).contains(&refused), "{refused} guesses");
    assert_eq!(from(101, KEY2), 503, "that of a valid token, too");
    let before = jambonz.about(KEY1).len();
    assert_eq!(from(102, KEY1), 200);
    assert_eq!(jambonz.about(KEY1).len(), before + 1, "it was asked again");
    let asked = jambonz.questions().len();
    // Then even those are used up, and the last answer has to do.
    until("all questions are used up", || {
        assert_eq!(from(103, KEY1), 200);
        (metric(&rollcall, "rollcall_upstream_stale_total") > 2.0).then_some(())
    });
    let questions = jambonz.questions().len();
    assert!((asked..=44).contains(&questions), "{questions} questions");
    let budget = figures(&rollcall)["unavailable"]["budget"].as_u64().unwrap();
    assert!(budget >= 2, "{budget}");
    let printed = rollcall.run(&["doctor"]);
    assert!(printed.stdout.contains("raise upstream.auth_questions"), "{printed:?}");
}

#[test]
fn a_429_of_jambonz_is_503_here_and_nothing_more_is_asked_for_that_long() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    let limited = "HTTP/1.1 429 Too Many Requests\r\nRateLimit-Reset: 200\r\nRetry-After: 200\r\n\
                   Content-Length: 0\r\n\r\n";
    jambonz.turns(Manners::Sends(limited.to_owned()));
    let answer = rollcall.get(KEY2, &calls(A2));
    assert!(unavailable(&answer).contains("its API answers no more requests for now"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((100..=200).contains(&seconds), "{seconds}");
    let asked = jambonz.questions().len();
    jambonz.turns(Manners::AsJambonz);
    for n in 0..5 {
        let answer = rollcall.get(&guess(n), &calls(A2));
        assert!(unavailable(&answer).contains("its API answers no more requests for now"));
    }
    assert_eq!(list(&rollcall, KEY1, A1), 200, "it is known");
    assert_eq!(jambonz.questions().len(), asked);
    let figures = figures(&rollcall);
    assert_eq!(figures["questions"]["limited"], 1, "{figures}");
    assert_eq!(figures["unavailable"]["limited"], 6, "{figures}");
}

#[test]
fn a_429_for_one_token_keeps_nobody_else_waiting() {
    // With RATE_LIMIT_BY=apikey anybody uses up the requests of a token alone.
    let jambonz = usual();
    let rollcall = asking(&jambonz, &["--upstream-auth-cache", "1ms"]);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    let limited = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 200\r\nContent-Length: 0\r\n\r\n";
    jambonz.turns(Manners::SendsKnown(limited.to_owned()));
    let answer = rollcall.get(KEY2, &calls(A2));
    assert!(unavailable(&answer).contains("its API answers no more requests for now"));
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((100..=200).contains(&seconds), "{seconds}");
    // Nobody else has to wait, and that token is not asked about all that time.
    assert_eq!(list(&rollcall, NOBODYS_KEY, A1), 401);
    jambonz.turns(Manners::AsJambonz);
    let asked = jambonz.questions().len();
    for account in [A1, A2] {
        unavailable(&rollcall.get(KEY2, &calls(account)));
    }
    assert_eq!(jambonz.questions().len(), asked);
    assert_eq!(rollcall.ask("HEAD", KEY1, &calls(A1)).status, 200);
    assert!(jambonz.questions().len() > asked);
    assert_eq!(figures(&rollcall)["failing_since"], json!(null));
}

#[test]
fn wrong_tokens_are_slowed_and_tokens_of_jambonz_are_not() {
    let jambonz = usual();
    let flags = ["--upstream-auth-address-questions", "100"];
    let rollcall = asking(&jambonz, &flags);
    for n in 0..10 {
        assert_eq!(list(&rollcall, &guess(n), A1), 401);
    }
    let agents: Vec<_> = (0..10).map(|_| rollcall.new_agent()).collect();
    let url = rollcall.url(&calls(A1));
    std::thread::scope(|scope| {
        let url = &url;
        let wrong: Vec<_> = agents
            .iter()
            .map(|agent| {
                scope.spawn(move || {
                    let bearer = format!("Bearer {NOBODYS_KEY}");
                    let headers = [("authorization", bearer.as_str())];
                    super::super::harness::send(agent, "GET", url, &headers, b"").unwrap().status
                })
            })
            .collect();
        // Meanwhile, from the same address, and for accounts that are not theirs.
        for _ in 0..20 {
            assert_eq!(list(&rollcall, KEY1, A1), 200);
            assert_eq!(list(&rollcall, KEY1, A2), 403);
        }
        let statuses: Vec<u16> = wrong.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(statuses.contains(&429), "{statuses:?}");
    });
    let all: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(all["failed_authentications"], 20, "{all}");
}

#[test]
fn the_limit_of_a_token_is_that_of_tokens_of_jambonz_too() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &["--limits-token-requests", "3"]);
    for left in ["2", "1", "0"] {
        let answer = rollcall.get(KEY1, &calls(A1));
        assert_eq!((answer.status, answer.header("ratelimit-remaining")), (200, Some(left)));
    }
    assert!(api_error(&rollcall.get(KEY1, &calls(A1)), 429).contains("too many requests"));
    assert_eq!(list(&rollcall, KEY2, A2), 200);
}

#[test]
fn a_strange_token_keeps_nobody_else_waiting() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    until("jambonz was seen", || (!figures(&rollcall)["answered_at"].is_null()).then_some(()));
    jambonz.knows("strange", Whose::Admin);
    let refused = "HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\n\r\n";
    jambonz.turns(Manners::SendsKnown(refused.to_owned()));
    let says = "its answer about this token does not count";
    assert!(unavailable(&rollcall.get("strange", &calls(A1))).contains(says));
    let asked = jambonz.questions().len();
    assert!(unavailable(&rollcall.get("strange", &calls(A1))).contains(says));
    assert_eq!(jambonz.questions().len(), asked, "it was asked again at once");
    assert_eq!(list(&rollcall, NOBODYS_KEY, A1), 401);
    assert_eq!(figures(&rollcall)["failing_since"], json!(null));
}
