//! Pages: put together they are the whole list, whatever happens between them.

use super::super::harness::{A1, A2, Answer, Rollcall};
use super::samples::{Sample, newest_first, now, samples, send, server_with};
use super::{api_error, calls_of, list, sids};

/// The path in a Link header; none on the last page.
fn next(answer: &Answer) -> Option<String> {
    let Some(link) = answer.header("link") else {
        assert_eq!(answer.header("x-next-cursor"), None);
        return None;
    };
    let path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let cursor = answer.header("x-next-cursor").unwrap();
    assert!(path.ends_with(&format!("cursor={cursor}")), "{link} and {cursor}");
    Some(path.to_owned())
}

/// Follows the Link headers as they stand, doing something between the pages.
fn walk(
    rollcall: &mut Rollcall,
    query: &str,
    mut between: impl FnMut(&mut Rollcall),
) -> Vec<Vec<String>> {
    let admin = rollcall.admin();
    let mut pages = Vec::new();
    let mut path = Some(calls_of(A1, query));
    while let Some(next_path) = path {
        let answer = rollcall.get(&admin, &next_path);
        pages.push(sids(&answer));
        path = next(&answer);
        assert!(pages.len() <= 1000, "it never ends");
        if path.is_some() {
            between(rollcall);
        }
    }
    pages
}

#[test]
fn all_pages_together_are_the_whole_list() {
    let calls = samples(100);
    let mut rollcall = server_with(&calls);
    let filters = [
        "",
        "direction=inbound",
        "callStatus=busy,failed,completed",
        "callStatus=ringing&direction=outbound",
        "from=+15551230001",
        "from=bob,anna,bea&to=15083084809",
    ];
    for (filter, order) in filters.iter().flat_map(|f| [(f, "desc"), (f, "asc")]) {
        let query = format!("{filter}&order={order}");
        let whole = sids(&list(&rollcall, &query));
        assert!(whole.len() > 1, "{query}");
        for limit in [1, 2, 7, 33, 99, 100, 101, 10_000] {
            let pages = walk(&mut rollcall, &format!("{query}&limit={limit}"), |_| ());
            assert_eq!(pages.concat(), whole, "{query}, {limit} at a time");
            let (last, full) = pages.split_last().unwrap();
            assert!(full.iter().all(|page| page.len() == limit), "{query}, {limit} at a time");
            assert!(!last.is_empty(), "{query}, {limit} at a time: a page too many");
        }
    }
    assert!(next(&list(&rollcall, "limit=100")).is_none());
    assert!(next(&list(&rollcall, "limit=10000&from=nobody")).is_none());
}

#[test]
fn a_walk_goes_on_after_restarts_and_new_calls() {
    let calls = samples(30);
    for order in ["desc", "asc"] {
        let mut rollcall = server_with(&calls);
        let mut late = 0;
        let pages = walk(&mut rollcall, &format!("limit=4&order={order}"), |rollcall| {
            late += 1;
            match late {
                2 => assert_eq!(rollcall.stop(), Some(0)),
                4 => rollcall.kill(),
                _ => {
                    send(rollcall, &[newcomer(late)]);
                    return;
                }
            }
            rollcall.start();
        });
        let mut whole = newest_first(&calls, |_| true);
        let found = pages.concat();
        if order == "asc" {
            // Who goes towards the newest meets the calls that come meanwhile.
            whole.reverse();
            assert_eq!(found[..30], whole);
            assert!(found.len() > 30);
        } else {
            assert_eq!(found, whole);
        }
    }
}

fn newcomer(n: u32) -> Sample {
    Sample {
        sid: format!("d0000000-0000-4000-8000-{n:012x}"),
        at: now(),
        status: "trying",
        direction: "inbound",
        from: "bob",
        to: "carol",
    }
}

#[test]
fn a_call_that_ends_between_two_pages_keeps_its_place() {
    let calls = samples(20);
    let mut rollcall = server_with(&calls);
    let whole = newest_first(&calls, |_| true);
    let pages = walk(&mut rollcall, "limit=3", |rollcall| {
        let ended =
            calls.iter().map(|call| Sample { status: "completed", at: now(), ..call.clone() });
        send(rollcall, &ended.collect::<Vec<_>>());
    });
    assert_eq!(pages.concat(), whole);
}

#[test]
fn a_cursor_is_refused_where_it_was_not_made() {
    let calls = samples(30);
    let rollcall = server_with(&calls);
    let admin = rollcall.admin();
    let made_for = "direction=inbound&limit=2";
    let cursor = list(&rollcall, made_for).header("x-next-cursor").unwrap().to_owned();
    let again = list(&rollcall, &format!("{made_for}&cursor={cursor}"));
    assert_eq!(sids(&again), newest_first(&calls, |c| c.direction == "inbound")[2..4]);
    // The size of a page is no part of the question, nor how the question is spelt.
    for same in ["direction[]=inbound&limit=5", "direction=inbound,inbound&order=desc&foo=bar"] {
        assert_eq!(list(&rollcall, &format!("{same}&cursor={cursor}")).status, 200, "{same}");
    }
    let others = [
        "",
        "direction=outbound",
        "direction=inbound,outbound",
        "direction=inbound&order=asc",
        "direction=inbound&callStatus=busy",
        "direction=inbound&from=bob",
        "direction=inbound&to=bob",
        "direction=inbound&start=2026-01-01",
        "direction=inbound&end=2030-01-01",
    ];
    for other in others {
        let answer = list(&rollcall, &format!("{other}&limit=2&cursor={cursor}"));
        assert!(api_error(&answer, 400).contains("cursor"), "{other}");
    }
    let stranger = rollcall.get(&admin, &calls_of(A2, &format!("{made_for}&cursor={cursor}")));
    assert!(api_error(&stranger, 400).contains("cursor"));
    let flipped: String = cursor.chars().rev().collect();
    for junk in ["x", "AAAA", "%00", "../..", &cursor[1..], &format!("{cursor}A"), &flipped] {
        let answer = list(&rollcall, &format!("{made_for}&cursor={junk}"));
        assert!(api_error(&answer, 400).contains("cursor"), "{junk}");
    }
}

#[test]
fn the_link_keeps_the_query_and_no_token() {
    let calls = samples(30);
    let rollcall = server_with(&calls);
    let query = "from=+15551230001&callStatus=&x=%26%3D%20&access_token=secret&limit=1";
    let path = next(&list(&rollcall, query)).unwrap();
    assert!(path.starts_with(&format!("/v1/Accounts/{A1}/Calls?")), "{path}");
    assert!(!path.contains("secret"), "{path}");
    let second = rollcall.get(&rollcall.admin(), &path);
    assert_eq!(sids(&second), newest_first(&calls, |c| c.from == "+15551230001")[1..2]);
    assert_eq!(next(&second).unwrap().matches("cursor=").count(), 1);
}
