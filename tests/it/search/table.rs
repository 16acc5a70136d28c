//! Every parameter, alone and with others, in lists, pages, counts, and on the command line.

use serde_json::Value;

use super::super::api::{calls_of, list, sids};
use super::super::harness::{A1, A2, Rollcall};
use super::{Question, expected, query, server};

fn questions(all: &[Value]) -> Vec<Question> {
    let sid = all[10]["call_sid"].as_str().unwrap();
    let day = &all[60]["attempted_at"].as_str().unwrap();
    let table: &[&[(&'static str, &str)]] = &[
        &[("number", "+15551230001")],
        &[("number", "bob,anna,bea")],
        &[("number", "bob"), ("direction", "inbound")],
        &[("number", "bob"), ("from", "bob")],
        &[("number", "+15551230001,bob,Müller"), ("answered", "false")],
        &[("from_contains", "+1 (555) 123")],
        &[("to_contains", "123-4")],
        &[("number_contains", "4930")],
        &[("number_contains", "alice,007")],
        &[("number_contains", "SMITH")],
        &[("from_contains", "müll")],
        &[("from_contains", "4930"), ("to_prefix", "+1")],
        &[("call_id", "cid-2@10.0.0.9")],
        &[("call_id", "cid-2@10.0.0.9,cid-3@10.0.0.9"), ("callStatus", "busy,completed")],
        &[("sbc_callid", "sbc-1")],
        &[("trace_id", "00000000000000000000000000000003")],
        &[("application_sid", "7087fe50-8acb-4f3b-b820-97b573723aab")],
        &[("application_sid", "7087FE50-8ACB-4F3B-B820-97B573723AAB"), ("trunk", "BT,Twilio")],
        &[("trunk", "my trunk, \"x\" & <b>")],
        &[("termination", "caller")],
        &[("sip_status", "486")],
        &[("sip_status", "4xx,503")],
        &[("answered", "true")],
        &[("answered", "false"), ("sip_status", "4xx")],
        &[("duration_min", "7")],
        &[("duration_max", "7")],
        &[("duration_min", "8"), ("duration_max", "45"), ("termination", "callee,caller")],
        &[("q", sid)],
        &[("q", "cid-2@10.0.0.9")],
        &[("q", "sbc-2")],
        &[("q", "555 123")],
        &[("q", "sip:ALICE"), ("direction", "outbound"), ("answered", "true")],
        &[("q", "123"), ("start", day)],
        &[("number_contains", "555"), ("end", day), ("sip_status", "2xx")],
    ];
    let owned = |pairs: &&[(&'static str, &str)]| {
        pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    };
    table.iter().map(owned).collect()
}

#[test]
fn what_is_searched_for_is_found_in_lists_pages_and_counts() {
    let (rollcall, all) = server(240);
    let mut found = 0;
    for question in questions(&all) {
        let (query, mut expected) = (query(&question), expected(&all, &question));
        assert!(!expected.is_empty() && expected.len() < all.len(), "{query}");
        found += expected.len();
        let whole = list(&rollcall, &format!("{query}&count=true"));
        assert_eq!(sids(&whole), expected, "{query}");
        assert_eq!(whole.header("x-total-count"), Some(&*expected.len().to_string()), "{query}");
        expected.reverse();
        let pages = walk(&rollcall, &format!("{query}&order=asc&limit=3"));
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == 3), "{query}: {pages:?}");
        assert_eq!(pages.concat(), expected, "{query}");
        let one = list(&rollcall, &format!("{query}&limit=1&count=true"));
        assert_eq!(sids(&one), expected[expected.len() - 1..], "{query}");
        assert_eq!(one.header("x-total-count"), Some(&*expected.len().to_string()), "{query}");
        let stranger = rollcall.get(&rollcall.admin(), &calls_of(A2, &query));
        assert!(sids(&stranger).is_empty(), "{query}");
    }
    assert!(found > 1000, "{found} calls were found in all");
}

/// All pages, from the first on.
fn walk(rollcall: &Rollcall, query: &str) -> Vec<Vec<String>> {
    let (mut pages, mut path) = (Vec::new(), Some(calls_of(A1, query)));
    while let Some(next) = path {
        let answer = rollcall.get(&rollcall.admin(), &next);
        pages.push(sids(&answer));
        let link = answer.header("link").map(|link| link.split(['<', '>']).nth(1).unwrap());
        path = link.map(str::to_owned);
    }
    pages
}

#[test]
fn the_command_line_searches_as_the_api_does() {
    let (mut rollcall, all) = server(240);
    // By a running server, and in the files themselves.
    for stopped in [false, true] {
        if stopped {
            rollcall.stop();
        }
        for question in questions(&all) {
            let mut expected = expected(&all, &question);
            let flags = question.iter().flat_map(|(name, value)| {
                let name = if *name == "callStatus" { "status" } else { name };
                let flag = format!("--{}", name.replace('_', "-"));
                if name == "answered" {
                    vec![format!("{flag}={value}")]
                } else {
                    vec![flag, value.clone()]
                }
            });
            let flags: Vec<String> = flags.collect();
            let run = |begin: &[&str]| {
                let args = [begin, &flags.iter().map(String::as_str).collect::<Vec<_>>()].concat();
                let text = rollcall.ok(&args);
                let lines = text.lines().filter(|line| line.starts_with('{'));
                let calls: Vec<Value> = lines
                    .map(|line| serde_json::from_str(line.trim_end_matches(',')).unwrap())
                    .collect();
                super::sids(&calls)
            };
            let export = run(&["export", "--account", A1]);
            assert_eq!(export, expected, "{flags:?}");
            let limit = ["list", "--account", A1, "--json", "--limit", "5", "--order", "asc"];
            expected.reverse();
            expected.truncate(5);
            assert_eq!(run(&limit), expected, "{flags:?}");
        }
    }
}

#[test]
fn answered_needs_no_value_on_the_command_line_and_lists_may_be_flags() {
    let (rollcall, all) = server(60);
    let run = |flags: &[&str]| {
        let text = rollcall.ok(&[&["export", "--account", A1], flags].concat());
        text.lines().count()
    };
    let count = |question: &[(&'static str, &str)]| {
        let question = question.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        expected(&all, &question).len()
    };
    assert_eq!(run(&["--answered"]), count(&[("answered", "true")]));
    assert_eq!(run(&["--trunk", "BT", "--trunk", "Twilio"]), count(&[("trunk", "BT,Twilio")]));
    assert_eq!(
        run(&["--sip-status", "486", "--sip-status", "5xx"]),
        count(&[("sip_status", "486,5xx")])
    );
}

#[test]
fn a_search_that_finds_nothing_may_be_told_why() {
    let rollcall = Rollcall::up(&[]);
    for (flag, value, says) in [
        ("--number", "15551230001", Some("try --number +15551230001")),
        ("--from-contains", "001555", Some("begins with 00: without it, numbers")),
        ("--q", "0015551", Some("nothing was found; --q \"0015551\" begins with 00")),
        ("--to-contains", "1555", None),
    ] {
        for command in ["list", "export"] {
            let said = rollcall.run(&[command, flag, value]);
            assert_eq!(said.code, Some(0), "{said:?}");
            let hinted = said.stderr.contains("nothing was found");
            assert_eq!(hinted, says.is_some(), "{said:?}");
            assert!(said.stderr.contains(says.unwrap_or_default()), "{said:?}");
        }
    }
}

#[test]
fn a_search_that_finds_little_has_full_pages_and_counts_everything() {
    let rollcall = Rollcall::up(&[]);
    let begun = super::now() - 20 * 60_000;
    let mut all = Vec::new();
    for part in 0..5 {
        let events: Vec<String> = (0..1000)
            .map(|n| {
                let n = part * 1000 + n;
                let from = if n % 800 == 7 { "+49301234567" } else { "+15551230001" };
                let mut event = super::events(A1, n, 4, begun + i64::from(n) * 100).remove(0);
                event["from"] = from.into();
                if n % 800 == 7 {
                    all.push(event["call_sid"].as_str().unwrap().to_owned());
                }
                event.to_string()
            })
            .collect();
        assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    }
    assert_eq!(all.len(), 7);
    let pages = walk(&rollcall, "from_contains=30-123&order=asc&limit=3");
    let full: Vec<_> = all.chunks(3).map(<[String]>::to_vec).collect();
    assert_eq!(pages, full);
    let counted = list(&rollcall, "from_contains=30123&count=true&limit=1");
    assert_eq!(counted.header("x-total-count"), Some("7"));
    let stats = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/CallStats"));
    assert_eq!(stats.json()["total"], 5000);
}
