//! Questions that take long: others are answered meanwhile, and nobody's is answered for nobody.

use super::super::harness::{A1, A2, Rollcall, event, until};
use super::big::{CALLS, many};
use super::calls_of;
use super::raw::Raw;

/// Those who ask what takes long.
const CLIENTS: usize = 8;
const PROVIDER: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";
const IDLE: &str = "0f0f0f0f-aaaa-4bbb-8ccc-121212121212";

fn rows_read(rollcall: &Rollcall) -> u64 {
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    let rows = metrics.lines().find_map(|line| line.strip_prefix("rollcall_rows_read_total "));
    rows.unwrap().parse().unwrap()
}

fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Each looks at every call of the account, some at every record; and those of a service provider at all of its
/// accounts. With the token of who asks.
fn long(rollcall: &Rollcall) -> Vec<(String, String)> {
    // Two accounts, of which one has hardly anything.
    for account in [A1, IDLE] {
        rollcall.ok(&["account", "set", account, "--service-provider", PROVIDER]);
    }
    assert_eq!(rollcall.post_events(&event(7, "busy").replace(A1, IDLE)).status, 204);
    let account = rollcall.token(&["--account", A1, "--role", "read"]);
    let provider = rollcall.token(&["--service-provider", PROVIDER, "--role", "read"]);
    let mut long = Vec::new();
    for (of, token) in
        [(format!("Accounts/{A1}"), account), (format!("ServiceProviders/{PROVIDER}"), provider)]
    {
        let questions = [
            "Calls?limit=1&count=true&from_prefix=n",
            "Calls?from_prefix=nobody",
            "Calls?from_prefix=nobody&limit=10",
            "Calls?from_prefix=nobody&order=asc",
            "Calls?number_contains=nobody&limit=1&count=true",
            "Calls?q=nobody&answered=true&limit=10",
            "RecentCalls?page=1&count=25&filter=nobody",
            "RecentCalls?page=1000&count=5",
            "CallStats?interval=day",
            "CallStats?group=from&start=2026-01-01",
        ];
        long.extend(questions.map(|question| (format!("/v1/{of}/{question}"), token.clone())));
    }
    long
}

#[test]
fn a_page_of_one_account_is_answered_before_the_counts_of_another_end() {
    let rollcall = Rollcall::up(&[]);
    many(&rollcall);
    let other = event(1, "busy").replace(A1, A2);
    assert_eq!(rollcall.post_events(&other).status, 204);
    let all = (CALLS * CLIENTS) as u64;
    for (path, token) in long(&rollcall) {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| Raw::connect(&rollcall)).collect();
        let before = rows_read(&rollcall);
        for asker in &mut clients {
            asker.send(request(&path, &token));
        }
        until("they are at it", || (rows_read(&rollcall) > before).then_some(()));
        let page = rollcall.get(&rollcall.admin(), &calls_of(A2, "limit=20"));
        assert_eq!(page.json().as_array().unwrap().len(), 1);
        let read = rows_read(&rollcall) - before;
        assert!(read < all / 2, "{path}: {read} of {all} rows were read before");
        for asker in &mut clients {
            assert_eq!(asker.begins().get(..12), Some("HTTP/1.1 200"));
        }
    }
}

#[test]
fn a_question_ends_when_its_client_has_left() {
    let rollcall = Rollcall::up(&[]);
    many(&rollcall);
    let all = (CALLS * CLIENTS) as u64;
    let long = long(&rollcall);
    // What follows on the connection is not read before the answer, and its end neither.
    for more in ["", "GET /livez HTTP/1.1\r\n"] {
        for (path, token) in &long {
            let before = rows_read(&rollcall);
            let mut clients: Vec<_> = (0..CLIENTS).map(|_| Raw::connect(&rollcall)).collect();
            for asker in &mut clients {
                asker.send(request(path, token) + more);
            }
            until("they are at it", || (rows_read(&rollcall) > before).then_some(()));
            drop(clients);
            let mut last = (0, 0);
            until("nothing more is read", || {
                let now = rows_read(&rollcall);
                last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
                (last.1 > 20).then_some(())
            });
            let read = last.0 - before;
            assert!(read < all / 2, "{path}: {read} of {all} rows were read for nobody");
        }
    }
}
