//! Lists as CSV.

use super::super::harness::{A1, Answer, Rollcall};
use super::samples::{newest_first, samples, server_with};
use super::{api_error, calls_of, list, sids};

fn csv(rollcall: &Rollcall, method: &str, query: &str) -> Answer {
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", bearer.as_str()), ("accept", "text/csv")];
    rollcall.send(method, &calls_of(A1, query), &headers, b"").unwrap()
}

#[test]
fn a_list_as_csv_has_the_calls_of_the_list_and_can_be_imported() {
    let calls = samples(700);
    let rollcall = server_with(&calls);
    for query in ["", "limit=10", "direction=inbound&order=asc", "from=nobody"] {
        let answer = csv(&rollcall, "GET", query);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("content-type").unwrap().starts_with("text/csv"));
        let rows: Vec<_> = answer.body.split_terminator("\r\n").collect();
        assert!(rows[0].starts_with("account_sid,call_id,call_sid,call_status,"), "{}", rows[0]);
        let shown: Vec<_> = rows[1..].iter().map(|row| row.split(',').nth(2).unwrap()).collect();
        assert_eq!(shown, sids(&list(&rollcall, query)), "{query}");
    }
    assert_eq!(csv(&rollcall, "GET", "").body.lines().count(), 701);
    let page = csv(&rollcall, "GET", "limit=10");
    assert!(page.header("x-next-cursor").is_some());
    assert_ne!(page.header("etag"), list(&rollcall, "limit=10").header("etag"));
    let head = csv(&rollcall, "HEAD", "");
    assert_eq!(
        (head.body.as_str(), head.header("content-type")),
        ("", page.header("content-type"))
    );
    let copy = Rollcall::down();
    let printed = copy.run_with(&["import", "-"], csv(&rollcall, "GET", "").body.as_bytes());
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let mut copy = copy;
    copy.start();
    assert_eq!(sids(&list(&copy, "")), newest_first(&calls, |_| true));
}

#[test]
fn a_spreadsheet_gets_its_mark_and_people_their_time() {
    let rollcall = server_with(&samples(3));
    let answer = csv(&rollcall, "GET", "spreadsheet=true&time_zone=Asia/Tokyo");
    assert!(answer.body.starts_with("\u{feff}account_sid,"), "{}", answer.body);
    assert!(answer.body.matches("+09:00").count() >= 3, "{}", answer.body);
    assert!(answer.body.contains(",+15551230001,"), "a number is no formula");
    let said = api_error(&csv(&rollcall, "GET", "time_zone=Mars/Olympus"), 400);
    assert!(said.contains("time_zone") && said.contains("Mars/Olympus"), "{said}");
    api_error(&csv(&rollcall, "GET", "spreadsheet=perhaps"), 400);
}

#[test]
fn what_is_named_exactly_counts_before_its_kind() {
    let rollcall = server_with(&samples(1));
    let bearer = format!("Bearer {}", rollcall.admin());
    for (accept, wanted) in [
        ("text/csv", "text/csv"),
        ("text/*", "text/csv"),
        ("text/html, text/*;q=0.5", "text/csv"),
        ("application/json;q=0, */*", "text/csv"),
        ("application/json;q=0.1, text/csv;q=0.2", "text/csv"),
        ("*/*", "application/json"),
        ("text/csv, */*", "text/csv"),
        ("text/csv;q=0, */*", "application/json"),
        ("text/csv, application/json", "application/json"),
        ("text/csv;q=0.5, */*", "application/json"),
        ("text/csv;q=0.5, application/*;q=0.9", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("image/png", "application/json"),
    ] {
        let headers = [("authorization", bearer.as_str()), ("accept", accept)];
        let answer = rollcall.send("GET", &calls_of(A1, ""), &headers, b"").unwrap();
        assert!(answer.header("content-type").unwrap().starts_with(wanted), "{accept}");
    }
}
