//! Downloads, the feed of a service provider, and who reads in the audit log.

use serde_json::Value;

use super::super::api::{api_error, calls_of, list, sids};
use super::super::harness::{A1, A2, Rollcall, event, sid};
use super::Browser;

const SP: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_list_is_downloaded_by_a_plain_link_in_each_form() {
    let rollcall = Rollcall::up(&[]);
    let events: Vec<_> = (1..=700).map(|n| event(n, "ringing")).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let json = list(&rollcall, "");
    let ndjson = list(&rollcall, "format=ndjson");
    assert_eq!(ndjson.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(ndjson.header("content-disposition"), Some("attachment; filename=\"calls.ndjson\""));
    assert_eq!(Value::from(lines(&ndjson.body)), json.json());
    let csv = list(&rollcall, "format=csv");
    let bearer = format!("Bearer {}", rollcall.admin());
    let accept = [("authorization", bearer.as_str()), ("accept", "text/csv")];
    let by_accept = rollcall.send("GET", &calls_of(A1, ""), &accept, b"").unwrap();
    assert_eq!(
        (&csv.body, csv.header("content-type")),
        (&by_accept.body, by_accept.header("content-type"))
    );
    // The parameter goes before the header, and is a part of where the next page is.
    let json_again = rollcall.send("GET", &calls_of(A1, "format=json"), &accept, b"").unwrap();
    assert_eq!(json_again.body, json.body);
    let mut found = Vec::new();
    let mut path = calls_of(A1, "format=ndjson&limit=300");
    loop {
        let page = rollcall.get(&rollcall.admin(), &path);
        found.extend(lines(&page.body));
        let Some(next) = page.header("link") else { break };
        path = next.split(['<', '>']).nth(1).unwrap().to_owned();
    }
    assert_eq!(Value::from(found), json.json());
    let all = rollcall.get(&rollcall.admin(), "/v1/Calls?format=ndjson&callStatus=ringing");
    assert_eq!(lines(&all.body).len(), 700);
    assert!(api_error(&list(&rollcall, "format=xml"), 400).contains("ndjson"));
    // Tags of the forms differ.
    let tag = |answer: &super::super::harness::Answer| answer.header("etag").unwrap().to_owned();
    assert!(tag(&json) != tag(&ndjson) && tag(&ndjson) != tag(&csv));
    let head = rollcall.ask("HEAD", &rollcall.admin(), &calls_of(A1, "format=ndjson"));
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/x-ndjson")));
    // In a session, too: a link of the page.
    let browser = Browser::sign_in(&rollcall, &rollcall.admin());
    assert_eq!(browser.get(&calls_of(A1, "format=csv")).body, csv.body);
}

#[test]
fn the_feed_of_a_service_provider_tells_of_its_accounts_and_ends_when_they_change() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--service-provider", SP]);
    let token = rollcall.token(&["--service-provider", SP]);
    let path = format!("/v1/ServiceProviders/{SP}/Calls/changes");
    let events = [event(1, "ringing"), event(2, "ringing").replace(A1, A2)].join("\n");
    assert_eq!(rollcall.post_events(&events).status, 204);
    let read = |query: &str| {
        let answer = rollcall.get(&token, &format!("{path}{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        lines(&answer.body)
    };
    let told = |lines: &[Value]| -> Vec<String> {
        let calls = lines.iter().filter(|line| line["type"] == "call");
        calls.map(|line| line["call"]["call_sid"].as_str().unwrap().to_owned()).collect()
    };
    let first = read("");
    assert_eq!(told(&first), [sid(1)]);
    let position = first.last().unwrap()["position"].as_str().unwrap().to_owned();
    let events = [event(1, "busy"), event(2, "busy").replace(A1, A2), event(3, "ringing")];
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let after = read(&format!("?after={position}"));
    let mut sids_after = told(&after);
    sids_after.sort();
    assert_eq!(sids_after, [sid(1), sid(3)]);
    // Page by page the same.
    let mut from = String::new();
    let mut paged = Vec::new();
    loop {
        let part = read(&format!("?limit=1{from}"));
        paged.extend(told(&part));
        let end = part.last().unwrap()["position"].as_str().unwrap();
        if part.len() == 1 {
            break;
        }
        from = format!("&after={end}");
    }
    paged.sort();
    paged.dedup();
    assert_eq!(paged, [sid(1), sid(3)]);
    // Another account joins: what was told before does not have its calls.
    rollcall.ok(&["account", "set", A2, "--service-provider", SP]);
    let answer = rollcall.get(&token, &format!("{path}?after={position}"));
    assert_eq!(answer.status, 410, "{answer:?}");
    let mut all = told(&read(""));
    all.sort();
    assert_eq!(all, [sid(1), sid(2), sid(3)]);
    // Nobody else reads it.
    let account = rollcall.token(&["--account", A1]);
    assert_eq!(rollcall.get(&account, &path).status, 403);
    let other = rollcall.token(&["--service-provider", A2]);
    assert_eq!(rollcall.get(&other, &path).status, 403);
    assert_eq!(rollcall.get(&rollcall.admin(), &path).status, 200);
    assert_eq!(rollcall.ask("HEAD", &token, &path).status, 200);
}

#[test]
fn who_reads_whose_calls_is_in_the_audit_log_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("audit.log");
    let audit = format!("--log-audit={}", file.display());
    let rollcall = Rollcall::up(&[&audit, "--log-audit-reads"]);
    assert_eq!(rollcall.post_events(&event(1, "ringing")).status, 204);
    let token = rollcall.token(&["--account", A1, "--role", "read"]);
    let browser = Browser::sign_in(&rollcall, &token);
    assert_eq!(sids(&rollcall.get(&token, &calls_of(A1, "from=+15550000001"))), [sid(1)]);
    let call = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    assert_eq!(browser.get(&call).status, 200);
    assert_eq!(rollcall.get(&token, &calls_of(A2, "")).status, 403);
    assert_eq!(rollcall.get(&rollcall.admin(), "/v1/CallCount").status, 200);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("15550000001"), "{text}");
    let id = browser.session["token_id"].as_str().unwrap();
    let reads: Vec<(String, String)> = lines(&text)
        .into_iter()
        .filter(|line| line["what"] == "read")
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            (text("who"), text("object"))
        })
        .collect();
    let sid = sid(1);
    assert_eq!(reads.len(), 3, "{reads:?}");
    let list = format!("account {A1}, /v1/Accounts/{{AccountSid}}/Calls");
    assert_eq!(reads[0], (format!("token {id}"), list));
    let one = format!("account {A1}, call {sid}, /v1/Accounts/{{AccountSid}}/Calls/{{CallSid}}");
    assert_eq!(reads[1], (format!("token {id}, in the console"), one));
    assert_eq!(reads[2].1, "all accounts, /v1/CallCount");
    // An admin can leave them out.
    let admin = Browser::sign_in(&rollcall, &rollcall.admin());
    let actions = |query: &str| -> Vec<String> {
        let entries = admin.get(&format!("/console/api/audit?{query}")).json();
        let entries = entries.as_array().unwrap().iter();
        entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(actions("reads=true"), actions(""));
    assert_eq!(actions("").iter().filter(|action| *action == "read").count(), 3);
    assert_eq!(actions("reads=false&limit=2"), ["console sign in", "console sign in"]);
    assert_eq!(actions("reads=false")[2], "token create");
    assert!(api_error(&admin.get("/console/api/audit?reads=no"), 400).contains("reads"));
}
