//! All accounts as one list: whose they are, what a cursor serves, and what happens when an account goes.

use serde_json::Value;

use super::super::harness::{A1, A2, Answer, Rollcall, event, until};
use super::big::{CALLS, many};
use super::raw::Raw;
use super::readers::fat_calls;
use super::samples::{Sample, newest_first, samples};
use super::sids;

const PROVIDER: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";
const OTHER: &str = "5c2f6c9e-9a34-4b0f-8d1c-0d3c4f6a7b82";
/// An account without settings.
const STRANGE: &str = "0f0f0f0f-aaaa-4bbb-8ccc-121212121212";
const RESTS: [&str; 3] = ["Calls", "CallCount", "CallStats"];

fn of_provider(provider: &str, rest: &str) -> String {
    format!("/v1/ServiceProviders/{provider}/{rest}")
}

fn belongs(rollcall: &Rollcall, account: &str, provider: &str) {
    rollcall.ok(&["account", "set", account, "--service-provider", provider]);
}

/// Calls of three accounts in turns; those of the last two are of no service provider.
fn three_accounts(rollcall: &Rollcall) -> Vec<(Sample, &'static str)> {
    let calls: Vec<_> =
        samples(300).into_iter().zip([A1, A2, STRANGE].into_iter().cycle()).collect();
    let lines = calls.iter().map(|(call, account)| call.event().replace(A1, account));
    assert_eq!(rollcall.post_events(&lines.collect::<Vec<_>>().join("\n")).status, 204);
    belongs(rollcall, A1, PROVIDER);
    calls
}

fn expected(calls: &[(Sample, &str)], accounts: &[&str]) -> Vec<String> {
    let own = calls.iter().filter(|(_, account)| accounts.contains(account));
    newest_first(&own.map(|(call, _)| call.clone()).collect::<Vec<_>>(), |_| true)
}

fn with(rollcall: &Rollcall, token: &str, path: &str, header: (&str, &str)) -> Answer {
    let bearer = format!("Bearer {token}");
    rollcall.send("GET", path, &[("authorization", &bearer), header], b"").unwrap()
}

/// All pages, by their links.
fn pages(rollcall: &Rollcall, token: &str, path: &str) -> Vec<String> {
    let (mut found, mut path) = (Vec::new(), path.to_owned());
    loop {
        let answer = rollcall.get(token, &path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        found.extend(sids(&answer));
        let Some(link) = answer.header("link") else { return found };
        link.strip_prefix('<').unwrap().split_once('>').unwrap().0.clone_into(&mut path);
    }
}

#[test]
fn an_admin_and_a_service_provider_see_theirs_and_nobody_else_anything() {
    let rollcall = Rollcall::up(&["--store-checkpoint-interval", "20ms"]);
    let calls = three_accounts(&rollcall);
    belongs(&rollcall, A2, OTHER);
    let token = |flags: &[&str]| rollcall.token(flags);
    let admin = rollcall.admin();
    let own = token(&["--service-provider", PROVIDER]);
    let other = token(&["--service-provider", OTHER]);
    let role = |role: &str| token(&["--service-provider", PROVIDER, "--role", role]);
    let all_of = |role: &str| token(&["--admin", "--role", role]);
    let account = token(&["--account", A1]);
    for rest in RESTS {
        let all = format!("/v1/{rest}");
        let (mine, theirs) = (of_provider(PROVIDER, rest), of_provider(OTHER, rest));
        // Exports read lists alone.
        let export = if rest == "Calls" { 200 } else { 403 };
        for (token, path, status) in [
            (&admin, &all, 200),
            (&admin, &mine, 200),
            (&all_of("read"), &all, 200),
            (&all_of("read"), &mine, 200),
            (&all_of("export"), &all, export),
            (&all_of("ingest"), &all, 403),
            (&all_of("metrics"), &mine, 403),
            (&own, &mine, 200),
            (&role("read"), &mine, 200),
            (&role("export"), &mine, export),
            (&role("ingest"), &mine, 403),
            (&own, &theirs, 403),
            (&own, &all, 403),
            (&other, &mine, 403),
            (&account, &mine, 403),
            (&account, &all, 403),
            (&"nobody".to_owned(), &all, 401),
            (&"nobody".to_owned(), &mine, 401),
            (&admin, &of_provider("x", rest), 400),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = rollcall.ask(method, token, path);
                assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
            }
            let answer = rollcall.get(token, path);
            if status == 403 && *path != mine {
                let msg = answer.json()["msg"].as_str().unwrap().to_owned();
                assert!(msg.starts_with("insufficient permissions"), "{msg}");
            }
        }
    }
    for (token, path, accounts) in [
        (&admin, "/v1/Calls".to_owned(), &[A1, A2, STRANGE][..]),
        (&admin, of_provider(PROVIDER, "Calls"), &[A1]),
        (&own, of_provider(PROVIDER, "Calls"), &[A1]),
        (&other, of_provider(OTHER, "Calls"), &[A2]),
        (&admin, of_provider(STRANGE, "Calls"), &[]),
    ] {
        let all = expected(&calls, accounts);
        assert_eq!(all.len(), 100 * accounts.len(), "{path}");
        assert_eq!(sids(&rollcall.get(token, &path)), all, "{path}");
        for limit in [7, 100, 10_000] {
            assert_eq!(pages(&rollcall, token, &format!("{path}?limit={limit}")), all, "{path}");
        }
        let page = rollcall.get(token, &format!("{path}?limit=1&count=true"));
        assert_eq!(page.header("x-total-count"), Some(&*all.len().to_string()));
        let csv = with(&rollcall, token, &path, ("accept", "text/csv")).body;
        let rows: Vec<&str> =
            csv.lines().skip(1).map(|row| row.split(',').nth(2).unwrap()).collect();
        assert_eq!(rows, all, "{path}");
    }
    // One account after another.
    belongs(&rollcall, A2, PROVIDER);
    let both = expected(&calls, &[A1, A2]);
    assert_eq!(sids(&rollcall.get(&own, &of_provider(PROVIDER, "Calls"))), both);
    assert_eq!(sids(&rollcall.get(&other, &of_provider(OTHER, "Calls"))), Vec::<String>::new());
    let of_both = rollcall.get(&own, &of_provider(PROVIDER, "CallStats")).json();
    assert_eq!(of_both["total"], both.len());
    let live = rollcall.get(&own, &of_provider(PROVIDER, "CallCount")).json();
    let one =
        |account: &str| rollcall.get(&admin, &format!("/v1/Accounts/{account}/CallCount")).json();
    for direction in ["inbound", "outbound"] {
        let sum = one(A1)[direction].as_u64().unwrap() + one(A2)[direction].as_u64().unwrap();
        assert_eq!(live[direction], sum);
        assert!(sum > 10, "{sum} are few");
    }
}

#[test]
fn a_cursor_serves_its_path_alone_and_tells_calls_of_one_sid_apart() {
    let rollcall = Rollcall::up(&[]);
    let (admin, accounts) = (rollcall.admin(), [A1, A2, STRANGE]);
    // One sid and one time, of three accounts.
    let one = &samples(1)[0];
    let lines = accounts.map(|account| one.event().replace(A1, account));
    assert_eq!(rollcall.post_events(&lines.join("\n")).status, 204);
    for account in [A1, A2] {
        belongs(&rollcall, account, PROVIDER);
    }
    let mut sorted = accounts;
    sorted.sort_unstable();
    for (order, expected) in [("desc", sorted), ("asc", [sorted[2], sorted[1], sorted[0]])] {
        let mut path = format!("/v1/Calls?limit=1&order={order}");
        for account in expected {
            let page = rollcall.get(&admin, &path);
            let calls = page.json();
            assert_eq!(
                (&calls[0]["account_sid"], calls.as_array().unwrap().len()),
                (&account.into(), 1)
            );
            match page.header("x-next-cursor") {
                Some(cursor) => path = format!("/v1/Calls?limit=1&order={order}&cursor={cursor}"),
                None => assert_eq!(account, expected[2]),
            }
        }
    }
    let cursor_of = |path: &str| {
        let page = rollcall.get(&admin, path);
        let link = page.header("link").unwrap();
        let (begin, _) = path.split_once('?').unwrap();
        assert!(link.starts_with(&format!("<{begin}?")), "{link}");
        page.header("x-next-cursor").unwrap().to_owned()
    };
    belongs(&rollcall, STRANGE, OTHER);
    assert_eq!(rollcall.post_events(&event(7, "busy")).status, 204);
    belongs(&rollcall, A2, OTHER);
    let of_account = format!("/v1/Accounts/{A1}/Calls");
    let paths = [
        of_account,
        of_provider(PROVIDER, "Calls"),
        of_provider(OTHER, "Calls"),
        "/v1/Calls".into(),
    ];
    for path in &paths {
        let cursor = cursor_of(&format!("{path}?limit=1"));
        for other in &paths {
            let answer = rollcall.get(&admin, &format!("{other}?limit=1&cursor={cursor}"));
            let expected = if path == other { 200 } else { 400 };
            assert_eq!(answer.status, expected, "{path} at {other}: {answer:?}");
        }
        for change in ["order=asc", "direction=inbound", "callStatus=busy"] {
            let answer = rollcall.get(&admin, &format!("{path}?limit=1&{change}&cursor={cursor}"));
            assert_eq!(answer.status, 400, "{path} {change}: {answer:?}");
            assert!(answer.json()["msg"].as_str().unwrap().contains("not a cursor of this list"));
        }
    }
}

#[test]
fn a_tag_changes_with_each_call_of_the_accounts_and_with_the_accounts() {
    let rollcall = Rollcall::up(&[]);
    let (admin, own) = (rollcall.admin(), rollcall.token(&["--service-provider", PROVIDER]));
    three_accounts(&rollcall);
    let (all, mine) = ("/v1/Calls?limit=3".to_owned(), of_provider(PROVIDER, "Calls?limit=3"));
    let tag =
        |token: &str, path: &str| rollcall.get(token, path).header("etag").unwrap().to_owned();
    let stands = |token: &str, path: &str, tag: &str| {
        with(&rollcall, token, path, ("if-none-match", tag)).status == 304
    };
    let (of_all, of_mine) = (tag(&admin, &all), tag(&own, &mine));
    assert!(stands(&admin, &all, &of_all) && stands(&own, &mine, &of_mine));
    // Of another account: that of the service provider stands.
    assert_eq!(rollcall.post_events(&event(1, "busy").replace(A1, STRANGE)).status, 204);
    assert!(!stands(&admin, &all, &of_all) && stands(&own, &mine, &of_mine));
    let of_all = tag(&admin, &all);
    assert_eq!(rollcall.post_events(&event(2, "busy")).status, 204);
    assert!(!stands(&admin, &all, &of_all) && !stands(&own, &mine, &of_mine));
    let of_mine = tag(&own, &mine);
    belongs(&rollcall, A2, PROVIDER);
    assert!(!stands(&own, &mine, &of_mine));
    let of_both = tag(&own, &mine);
    belongs(&rollcall, A2, OTHER);
    assert!(!stands(&own, &mine, &of_both));
    assert!(stands(&own, &mine, &of_mine), "it is what it was");
}

#[test]
fn a_list_is_cut_off_before_calls_of_an_account_that_has_gone() {
    let rollcall = Rollcall::up(&[]);
    // The newest calls are of one account, and all others of another.
    many(&rollcall);
    let newest: Vec<String> = (0..50).map(|n| event(100_000 + n, "busy").replace(A1, A2)).collect();
    assert_eq!(rollcall.post_events(&newest.join("\n")).status, 204);
    for account in [A1, A2] {
        belongs(&rollcall, account, PROVIDER);
    }
    let own = rollcall.token(&["--service-provider", PROVIDER]);
    let path = of_provider(PROVIDER, "Calls");
    let whole = rollcall.get(&own, &path);
    assert_eq!(sids(&whole).len(), CALLS + 50);
    assert!(whole.body.len() > 8_000_000, "{} bytes fit into a socket", whole.body.len());
    for query in ["", "?limit=10000"] {
        let mut reader = Raw::connect(&rollcall);
        reader.send(format!(
            "GET {path}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {own}\r\n\r\n"
        ));
        let begun = reader.begins();
        assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
        belongs(&rollcall, A1, OTHER);
        let rest = reader.rest();
        assert!(!rest.ends_with(b"]\r\n0\r\n\r\n"), "what is cut off never looks whole");
        assert!(rest.len() < whole.body.len() / 2, "{} bytes came", rest.len());
        // What is asked from now on has the calls of the other account alone.
        let left = rollcall.get(&own, &path);
        let left: Vec<Value> = left.json().as_array().unwrap().clone();
        assert!(left.len() == 50 && left.iter().all(|call| call["account_sid"] == A2));
        belongs(&rollcall, A1, PROVIDER);
    }
    // A token that is revoked ends the list of all, too.
    let made = rollcall.ok(&["token", "create", "--admin", "--json"]);
    let made: Value = serde_json::from_str(&made).unwrap();
    let admin = made["token"].as_str().unwrap();
    let mut reader = Raw::connect(&rollcall);
    reader.send(format!(
        "GET /v1/Calls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\r\n"
    ));
    let begun = reader.begins();
    assert!(begun.starts_with("HTTP/1.1 200"), "{begun}");
    rollcall.ok(&["token", "revoke", made["id"].as_str().unwrap()]);
    assert!(!reader.rest().ends_with(b"]\r\n0\r\n\r\n"));
}

/// Accounts, and the calls that each has.
const ACCOUNTS: u32 = 400;
const CALLS_EACH: u32 = 5;

fn rows_read(rollcall: &Rollcall) -> u64 {
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    let rows = metrics.lines().find_map(|line| line.strip_prefix("rollcall_rows_read_total "));
    rows.unwrap().parse().unwrap()
}

#[test]
fn a_page_of_many_accounts_reads_what_it_has() {
    let rollcall = Rollcall::up(&["--store-checkpoint-interval", "20ms"]);
    let calls = samples(ACCOUNTS * CALLS_EACH);
    // Account by account, the newest last.
    let lines = calls.iter().enumerate().map(|(n, call)| {
        let account = format!("{:08x}-aaaa-4aaa-8aaa-000000000000", n / CALLS_EACH as usize);
        call.event().replace(A1, &account)
    });
    assert_eq!(rollcall.post_events(&lines.collect::<Vec<_>>().join("\n")).status, 204);
    let all = newest_first(&calls, |_| true);
    let admin = rollcall.admin();
    assert_eq!(pages(&rollcall, &admin, "/v1/Calls?limit=100"), all);
    until("all ended calls are in the index", || {
        let status: Value = serde_json::from_str(&rollcall.figures()).unwrap();
        (status["registry_calls"].as_u64()? < u64::from(ACCOUNTS * CALLS_EACH)).then_some(())
    });
    let before = rows_read(&rollcall);
    let page = rollcall.get(&admin, "/v1/Calls?limit=10");
    assert_eq!(sids(&page), all[..10]);
    let read = rows_read(&rollcall) - before;
    assert!(read <= 30, "{read} rows for a page of 10");
    // Whole, forwards and backwards.
    let mut asc = sids(&rollcall.get(&admin, "/v1/Calls?order=asc"));
    asc.reverse();
    assert_eq!(asc, all);
    assert_eq!(sids(&rollcall.get(&admin, "/v1/Calls")), all);
}

#[test]
fn pages_as_csv_whose_end_cannot_be_told_are_short_and_go_on() {
    let rollcall = Rollcall::up(&[]);
    fat_calls(&rollcall);
    let admin = rollcall.admin();
    let whole = sids(&rollcall.get(&admin, "/v1/Calls"));
    let (mut found, mut pages) = (Vec::new(), 0);
    let mut path = "/v1/Calls?limit=500".to_owned();
    loop {
        let mut raw = Raw::connect(&rollcall);
        raw.send(format!(
            "GET {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {admin}\r\n\
             Accept: text/csv\r\n\r\n"
        ));
        let all = String::from_utf8(raw.rest()).unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 ") && body.len() < 300_000, "{head}");
        let rows = body.split_terminator("\r\n").skip(1);
        found.extend(rows.map(|row| row.split(',').nth(2).unwrap().to_owned()));
        pages += 1;
        let link = head.lines().find_map(|line| line.strip_prefix("link: <"));
        let Some(link) = link else { break };
        link.split_once('>').unwrap().0.clone_into(&mut path);
    }
    assert_eq!(found, whole);
    assert!(pages > 10, "{pages} pages of about ten kilobytes a call");
}
