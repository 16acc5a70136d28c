//! The role `read-masked`: calls without the middle digits of their numbers.

use std::io::Read as _;

use serde_json::{Value, json};

use super::super::api::{api_error, calls_of};
use super::super::harness::{A1, Rollcall, sid};
use super::Browser;

const SP: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";

/// Every number that a call of the store has, as digits.
fn numbers(n: u32) -> [String; 6] {
    let of = |kind: u32| format!("1555{kind}{n:06}");
    [of(1), of(2), of(3), of(4), of(5), of(6)]
}

/// A call that has numbers wherever a source may put them.
fn call(n: u32) -> Value {
    let [from, to, third, fourth, fifth, sixth] = numbers(n);
    json!({
        "account_sid": A1,
        "call_sid": sid(n),
        "call_id": format!("{third}-call@10.20.30.40"),
        "direction": if n.is_multiple_of(2) { "inbound" } else { "outbound" },
        "from": if n.is_multiple_of(3) { format!("sip:+{from}@10.20.30.40:5060") } else { format!("+{from}") },
        "to": format!("+{to}"),
        "call_status": "failed",
        "sip_status": 480,
        "sip_reason": format!("no {fourth} here"),
        "caller_name": format!("Bob {third}"),
        "originating_sip_trunk_name": format!("trunk {fourth}"),
        "caller_id": format!("\"{fifth}\" <tel:+{fifth}>"),
        "diversion": format!("<sip:{sixth}@host>"),
        "customer_data": {"number": sixth.parse::<u64>().unwrap(), fifth.clone(): [format!("x{fourth}y")]},
        "sip_headers": {"P-Asserted-Identity": format!("<sip:+{third}@host>")},
        format!("x-{sixth}"): "key",
        "host": "192.168.10.25",
        "recording_url": format!("https://192.168.10.25/{fifth}.wav"),
        "sbc_callid": format!("{sixth}@sbc"),
    })
}

/// A server with such calls, and a token for them.
fn masked_server() -> (Rollcall, String) {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--service-provider", SP]);
    let events: Vec<_> = (1..=40).map(|n| call(n).to_string()).collect();
    assert_eq!(rollcall.post_events(&events.join("\n")).status, 204);
    let token = rollcall.token(&["--admin", "--role", "read-masked", "--name", "auditor"]);
    (rollcall, token)
}

fn every_read() -> Vec<String> {
    let bases =
        [format!("/v1/Accounts/{A1}"), format!("/v1/ServiceProviders/{SP}"), "/v1".to_owned()];
    let mut paths = Vec::new();
    for base in &bases {
        for query in ["", "format=ndjson", "format=csv", "limit=5", "count=true&order=asc"] {
            paths.push(format!("{base}/Calls?{query}"));
        }
        paths.push(format!("{base}/Calls/changes"));
        paths.push(format!("{base}/CallCount"));
        for group in ["from", "to", "trunk", "from,status", "from&interval=hour", "to&top=3"] {
            paths.push(format!("{base}/CallStats?group={group}"));
        }
    }
    for base in &bases[..2] {
        paths.push(format!("{base}/RecentCalls?page=1&count=50"));
    }
    for n in [1, 2, 3] {
        paths.push(format!("/v1/Accounts/{A1}/Calls/{}", sid(n)));
        paths.push(format!("/v1/Accounts/{A1}/Calls/{}/events", sid(n)));
    }
    paths
}

#[test]
fn no_answer_to_a_masked_token_has_a_number_of_the_store() {
    let (rollcall, token) = masked_server();
    let browser = Browser::sign_in(&rollcall, &token);
    assert_eq!(browser.session["role"], "read-masked");
    assert_eq!(browser.session["may"], json!(["read", "export"]));
    let numbers: Vec<String> = (1..=40).flat_map(numbers).collect();
    let mut whole = 0;
    for path in every_read() {
        let bearer = format!("Bearer {token}");
        let plain = [("authorization", bearer.as_str()), ("accept-encoding", "identity")];
        let masked = rollcall.send("GET", &path, &plain, b"").unwrap();
        assert_eq!(masked.status, 200, "{path}: {masked:?}");
        let found = numbers.iter().find(|number| masked.body.contains(*number));
        assert_eq!(found, None, "{path}: {}", masked.body);
        // The same to another token has them, so that something was looked for.
        let open = rollcall.get(&rollcall.admin(), &path);
        let has_any = numbers.iter().any(|number| open.body.contains(number));
        whole += usize::from(has_any);
        assert_eq!(has_any, masked.body.contains("1555***"), "{path}: {}", masked.body);
        let in_session = browser.get(&path);
        assert!(!numbers.iter().any(|number| in_session.body.contains(number)), "{path}");
    }
    assert!(whole > 30, "{whole}");
    // An event stream.
    let request = http::Request::get(rollcall.url(&format!("/v1/Accounts/{A1}/Calls/changes")))
        .header("authorization", format!("Bearer {token}"))
        .header("accept", "text/event-stream");
    let mut answer = rollcall.new_agent().run(request.body(()).unwrap()).unwrap();
    let mut text = vec![0; 20_000];
    answer.body_mut().as_reader().read_exact(&mut text).unwrap();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("1555***"), "{text}");
    assert!(!numbers.iter().any(|number| text.contains(number)), "{text}");
}

#[test]
fn a_masked_call_is_whole_but_for_its_numbers() {
    let (rollcall, token) = masked_server();
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(3));
    let shown = rollcall.get(&token, &path).json();
    let open = rollcall.get(&rollcall.admin(), &path).json();
    for same in
        ["account_sid", "call_sid", "call_status", "direction", "sip_status", "attempted_at"]
    {
        assert_eq!(shown[same], open[same], "{same}");
    }
    assert_eq!(shown["from"], "sip:+1555***03@10.20.30.40:5060");
    assert_eq!(shown["to"], "+1555***03");
    assert_eq!(shown["call_id"], "1555***03-call@10.20.30.40");
    assert_eq!(shown["recording_url"], "https://192.168.10.25/1555***03.wav");
    assert_eq!(
        shown["customer_data"],
        json!({"number": "1555***03", "1555***03": ["x1555***03y"]})
    );
    assert_eq!(shown["x-1555***03"], "key");
    // Whatever stands between the digits of a party.
    let mut odd = call(50);
    odd["from"] = "sip:+1_555_123_4567@10.20.30.40:5060".into();
    odd["to"] = "\"1*555*765*4321\" <sip:bob@host>".into();
    assert_eq!(rollcall.post_events(&odd.to_string()).status, 204);
    let odd = rollcall.get(&token, &format!("/v1/Accounts/{A1}/Calls/{}", sid(50))).json();
    assert_eq!(odd["from"], "sip:+1555***67@10.20.30.40:5060");
    assert_eq!(odd["to"], "\"1555***21\" <sip:bob@host>");
    let names = |call: &Value| call.as_object().unwrap().len();
    assert_eq!(names(&shown), names(&open));
}

#[test]
fn whole_numbers_may_be_asked_for_and_no_parts() {
    let (rollcall, token) = masked_server();
    let list = |query: &str| rollcall.get(&token, &calls_of(A1, query));
    let [from, to, ..] = numbers(1);
    for query in [format!("from=%2B{from}"), format!("to=%2B{to}"), format!("number=%2B{to}")] {
        let found = list(&query);
        assert_eq!(found.json().as_array().unwrap().len(), 1, "{query}: {found:?}");
    }
    assert_eq!(list(&format!("q={}", sid(1))).json().as_array().unwrap().len(), 1);
    for part in [
        "from_prefix=%2B1555",
        "to_prefix=%2B1555",
        "from_contains=15551",
        "to_contains=15551",
        "number_contains=15551",
        "q=15551000001",
        "q=bob",
    ] {
        let name = part.split('=').next().unwrap();
        for path in [
            calls_of(A1, part),
            format!("/v1/Calls?{part}"),
            format!("/v1/Accounts/{A1}/CallStats?{part}"),
            format!("/v1/CallStats?group=status&{part}"),
        ] {
            let said = api_error(&rollcall.get(&token, &path), 403);
            assert!(said.starts_with(name) && said.contains("read-masked"), "{path}: {said}");
            assert_eq!(rollcall.get(&rollcall.admin(), &path).status, 200, "{path}");
        }
    }
    let recent = |filter: &str| {
        let path = format!("/v1/Accounts/{A1}/RecentCalls?page=1&count=5&filter={filter}");
        rollcall.get(&token, &path)
    };
    assert_eq!(recent("1555").status, 403);
    assert_eq!(recent(&sid(1)).json()["total"], 1);
}

#[test]
fn groups_that_look_alike_stay_apart_and_their_order_says_nothing() {
    // Alike but for their middle; one of the two is answered.
    let stats = |answered: &str| {
        let rollcall = Rollcall::up(&[]);
        let calls: Vec<String> = [("+15551000067", 1), ("+15559000067", 2)]
            .iter()
            .flat_map(|(from, n)| {
                let mut call = call(*n);
                call["from"] = (*from).into();
                let ended = call.to_string();
                call["call_status"] = "in-progress".into();
                call["sip_status"] = 200.into();
                let talks = (*from == answered).then(|| call.to_string());
                talks.into_iter().chain([ended])
            })
            .collect();
        assert_eq!(rollcall.post_events(&calls.join("\n")).status, 204);
        let token = rollcall.token(&["--admin", "--role", "read-masked"]);
        let stats = rollcall.get(&token, "/v1/CallStats?group=from").json();
        let groups = stats["groups"].as_array().unwrap();
        let shown = ["from", "calls", "answered"];
        groups.iter().map(|group| shown.map(|name| group[name].clone())).collect::<Vec<_>>()
    };
    let (one, other) = (stats("+15551000067"), stats("+15559000067"));
    assert_eq!(one, other);
    let alike = json!("+1555***67");
    assert_eq!(one, [[alike.clone(), json!(1), json!(0)], [alike, json!(1), json!(1)]]);
}

#[test]
fn the_role_is_listed_outlives_a_restart_and_does_no_more_than_read() {
    let (mut rollcall, token) = masked_server();
    let listed = rollcall.ok(&["token", "list", "--json"]);
    assert!(listed.contains("\"role\":\"read-masked\""), "{listed}");
    let call = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    for (method, path) in [
        ("DELETE", call.as_str()),
        ("PUT", &call),
        ("GET", "/metrics"),
        ("POST", "/v1/hooks/call-status"),
    ] {
        let bearer = format!("Bearer {token}");
        let body = b"{\"call_status\":\"completed\"}";
        let body: &[u8] = if method == "GET" || method == "DELETE" { b"" } else { body };
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let answer = rollcall.send(method, path, &headers, body).unwrap();
        assert!(matches!(answer.status, 400 | 403), "{method} {path}: {answer:?}");
        assert_ne!(answer.status, 400, "{method} {path}: {answer:?}");
    }
    rollcall.kill();
    rollcall.start();
    let shown = rollcall.get(&token, &call).json();
    assert_eq!(shown["to"], "+1555***01");
    rollcall.ok(&["token", "revoke", "auditor"]);
    assert_eq!(rollcall.get(&token, &call).status, 401);
    rollcall.kill();
    rollcall.start();
    assert_eq!(rollcall.get(&token, &call).status, 401);
}
