//! *Recent calls*, as the portal of jambonz asks for them: pages, filters, and whose they are.

use serde_json::Value;

use super::super::harness::{A1, A2, Answer, Rollcall, event, sid};
use super::samples::{Sample, now, samples, send};

const PROVIDER: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";
const OTHER: &str = "5c2f6c9e-9a34-4b0f-8d1c-0d3c4f6a7b82";

fn of(rollcall: &Rollcall, query: &str) -> Answer {
    rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/RecentCalls?{query}"))
}

fn of_provider(rollcall: &Rollcall, token: &str, query: &str) -> Answer {
    rollcall.get(token, &format!("/v1/ServiceProviders/{PROVIDER}/RecentCalls?{query}"))
}

/// Total and sids.
fn page(answer: &Answer) -> (u64, Vec<String>) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let sids = body["data"].as_array().unwrap().iter();
    let sids = sids.map(|call| call["call_sid"].as_str().unwrap().to_owned()).collect();
    (body["total"].as_u64().unwrap(), sids)
}

fn ended(sample: &Sample) -> bool {
    ["completed", "failed", "busy", "no-answer"].contains(&sample.status)
}

/// The sids of ended calls that are wanted, in the order of lists.
fn expected(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Vec<String> {
    super::samples::newest_first(samples, |sample| ended(sample) && wanted(sample))
}

/// Whether a call is in the answer.
type Wanted = fn(&Sample) -> bool;

#[test]
fn every_page_of_any_size_is_that_part_of_the_ended_calls_with_their_total() {
    let calls = samples(900);
    let rollcall = Rollcall::up(&["--store-checkpoint-interval", "20ms"]);
    send(&rollcall, &calls);
    let cases: [(&str, Wanted); 10] = [
        ("", |_| true),
        ("&direction=inbound", |c| c.direction == "inbound"),
        ("&answered=true", |c| c.status == "completed"),
        ("&answered=false&direction=outbound", |c| {
            c.status != "completed" && c.direction == "outbound"
        }),
        ("&filter=555123", |c| c.from.contains("555123")),
        ("&filter=+1555", |c| c.from.contains("1555")),
        ("&filter=%2B1+(800)", |c| c.to.contains("1800")),
        ("&filter=CAROL", |c| c.to.contains("carol")),
        ("&filter=example.org", |c| c.to.contains("example.org")),
        ("&filter=b", |c| c.from.contains('b')),
    ];
    for (query, wanted) in cases {
        let all = expected(&calls, wanted);
        assert!(all.len() > 20, "{query}");
        for count in [7, 100, 500] {
            let pages = all.len().div_ceil(count);
            for n in [1, 2, pages - 1, pages, pages + 1].into_iter().filter(|n| *n > 0) {
                let answer = of(&rollcall, &format!("page={n}&count={count}{query}"));
                let from = ((n - 1) * count).min(all.len());
                let part = all[from..(n * count).min(all.len())].to_vec();
                assert_eq!(page(&answer), (all.len() as u64, part), "{query}: {n} of {count}");
                let body = answer.json();
                assert_eq!(body["page"], n.to_string());
                assert_eq!(body["page_size"], count.to_string());
            }
        }
    }
    // From a time, of which the end is meant, too.
    let time = |n: usize| jiff::Timestamp::from_millisecond(calls[n].at).unwrap();
    let query = format!("page=1&count=500&start={}&end={}", time(300), time(600));
    let within = expected(&calls, |c| (calls[300].at..=calls[600].at).contains(&c.at));
    assert_eq!(page(&of(&rollcall, &query)).1, within);
    // Days go first.
    let all = expected(&calls, |_| true).len() as u64;
    assert_eq!(page(&of(&rollcall, &format!("{query}&days=1"))).0, all);
    assert_eq!(page(&of(&rollcall, &format!("{query}&days=0"))).0, 0);
    let one = &expected(&calls, |_| true)[5];
    let found = page(&of(&rollcall, &format!("page=1&count=25&filter={one}")));
    assert_eq!(found, (1, vec![one.clone()]));
    let by_call_id = page(&of(&rollcall, "page=1&count=25&filter=x"));
    assert_eq!(by_call_id.0, all, "all have that Call-ID");
}

#[test]
fn a_call_that_is_up_comes_once_it_has_ended_and_columns_are_null_where_nothing_is_known() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "in-progress")).status, 204);
    assert_eq!(page(&of(&rollcall, "page=1&count=25")), (0, vec![]));
    assert_eq!(rollcall.post_events(&event(1, "completed")).status, 204);
    assert_eq!(rollcall.post_events(&event(2, "busy")).status, 204);
    let body = of(&rollcall, "page=1&count=25").json();
    assert_eq!(body["total"], 2);
    let columns = [
        "attempted_at",
        "account_sid",
        "answered",
        "answered_at",
        "application_sid",
        "call_sid",
        "direction",
        "duration",
        "from",
        "host",
        "recording_url",
        "remote_host",
        "service_provider_sid",
        "sip_callid",
        "sip_status",
        "terminated_at",
        "termination_reason",
        "to",
        "trace_id",
        "trunk",
    ];
    for call in body["data"].as_array().unwrap() {
        let keys: Vec<&str> = call.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, columns);
        for unknown in ["host", "recording_url", "remote_host", "service_provider_sid", "trunk"] {
            assert_eq!(call[unknown], Value::Null, "{unknown}");
        }
    }
    let by_sid = |n: u32| {
        let data = body["data"].as_array().unwrap().iter();
        data.clone().find(|call| call["call_sid"] == sid(n)).unwrap().clone()
    };
    let (answered, busy) = (by_sid(1), by_sid(2));
    assert_eq!((&answered["answered"], &answered["duration"]), (&true.into(), &0.into()));
    assert_ne!(answered["answered_at"], "1970-01-01T00:00:00.000Z");
    assert_eq!((&busy["answered"], &busy["duration"]), (&false.into(), &0.into()));
    assert_eq!(busy["answered_at"], "1970-01-01T00:00:00.000Z");
}

/// Calls of both accounts in turns, three of a second; of those of the second account, `to` is another.
fn two_accounts(rollcall: &Rollcall) -> Vec<Sample> {
    let calls: Vec<Sample> = samples(600).into_iter().filter(ended).collect();
    let lines: Vec<String> = calls
        .iter()
        .enumerate()
        .map(|(n, call)| if n % 2 == 0 { call.event() } else { call.event().replace(A1, A2) })
        .collect();
    assert_eq!(rollcall.post_events(&lines.join("\n")).status, 204);
    calls
}

#[test]
fn a_service_provider_has_the_calls_of_its_accounts_in_one_order_and_no_others() {
    let rollcall = Rollcall::up(&[]);
    let calls = two_accounts(&rollcall);
    let strange = event(1, "busy").replace(A1, "0f0f0f0f-aaaa-4bbb-8ccc-121212121212");
    assert_eq!(rollcall.post_events(&strange).status, 204);
    let (admin, own) = (rollcall.admin(), rollcall.token(&["--service-provider", PROVIDER]));
    assert_eq!(page(&of_provider(&rollcall, &own, "page=1&count=25")), (0, vec![]));
    for account in [A1, A2] {
        rollcall.ok(&["account", "set", account, "--service-provider", PROVIDER]);
    }
    let all = super::samples::newest_first(&calls, |_| true);
    for token in [&admin, &own] {
        for (n, count) in [(1, 25), (2, 25), (3, 70), (5, 40), (1, 500)] {
            let from = ((n - 1) * count).min(all.len());
            let part = all[from..(n * count).min(all.len())].to_vec();
            let answer = of_provider(&rollcall, token, &format!("page={n}&count={count}"));
            assert_eq!(page(&answer), (all.len() as u64, part), "{n} of {count}");
            let data = answer.json();
            let provider = |call: &Value| call["service_provider_sid"] == PROVIDER;
            assert!(data["data"].as_array().unwrap().iter().all(provider));
        }
        let found =
            page(&of_provider(&rollcall, token, "page=1&count=500&filter=carol&answered=true"));
        let wanted = |c: &Sample| c.to.contains("carol") && c.status == "completed";
        let wanted = super::samples::newest_first(&calls, wanted);
        assert_eq!(found, (wanted.len() as u64, wanted));
    }
    // An account that goes to another service provider takes its calls with it.
    rollcall.ok(&["account", "set", A2, "--service-provider", OTHER]);
    let first: Vec<Sample> = calls.into_iter().step_by(2).collect();
    let left = super::samples::newest_first(&first, |_| true);
    let found = page(&of_provider(&rollcall, &own, "page=1&count=500"));
    assert_eq!(found, (left.len() as u64, left));
}

#[test]
fn nobody_sees_the_recent_calls_of_others() {
    let rollcall = Rollcall::up(&[]);
    two_accounts(&rollcall);
    rollcall.ok(&["account", "set", A1, "--service-provider", PROVIDER]);
    rollcall.ok(&["account", "set", A2, "--service-provider", OTHER]);
    let token = |flags: &[&str]| rollcall.token(flags);
    let of_account = |account: &str| format!("/v1/Accounts/{account}/RecentCalls?page=1&count=5");
    let of_provider = |sid: &str| format!("/v1/ServiceProviders/{sid}/RecentCalls?page=1&count=5");
    let (a1, a2) = (token(&["--account", A1]), token(&["--account", A2]));
    let (provider, other) =
        (token(&["--service-provider", PROVIDER]), token(&["--service-provider", OTHER]));
    let reader = token(&["--account", A1, "--role", "read"]);
    let exporter = token(&["--account", A1, "--role", "export"]);
    let ingest = token(&["--account", A1, "--role", "ingest"]);
    for (token, path, status) in [
        (&a1, of_account(A1), 200),
        (&reader, of_account(A1), 200),
        (&exporter, of_account(A1), 200),
        (&provider, of_account(A1), 200),
        (&provider, of_provider(PROVIDER), 200),
        (&rollcall.admin(), of_provider(OTHER), 200),
        (&a2, of_account(A1), 403),
        (&a1, of_account(A2), 403),
        (&other, of_account(A1), 403),
        (&ingest, of_account(A1), 403),
        (&a1, of_provider(PROVIDER), 403),
        (&other, of_provider(PROVIDER), 403),
        (&provider, of_provider(OTHER), 403),
        (&"nobody".to_owned(), of_provider(PROVIDER), 401),
        (&rollcall.admin(), of_provider("x"), 400),
        (&rollcall.admin(), of_account("x"), 400),
        (&a1, format!("/v1/Accounts/{A1}/RecentCalls/x/invite/pcap"), 404),
    ] {
        let answer = rollcall.get(token, &path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        let body = answer.json();
        if status == 403 {
            let said = (&body["status"], &body["message"]);
            assert_eq!(said, (&"fail".into(), &"insufficient privileges".into()), "{answer:?}");
        }
        assert_eq!(body["msg"].is_string(), status != 200, "{answer:?}");
        if status == 200 {
            let own = if path.contains(A2) || path.contains(OTHER) { A2 } else { A1 };
            let data = body["data"].as_array().unwrap();
            assert!(data.len() == 5 && data.iter().all(|call| call["account_sid"] == own));
        }
    }
}

#[test]
fn what_changes_between_pages_is_counted_as_it_is() {
    let rollcall = Rollcall::up(&[]);
    let calls: Vec<Sample> = samples(200).into_iter().filter(ended).collect();
    send(&rollcall, &calls);
    let mut all = expected(&calls, |_| true);
    let gone = all.remove(3);
    let path = format!("/v1/Accounts/{A1}/Calls/{gone}");
    assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    let late = Sample { sid: sid(0xffff), at: now(), ..calls[0].clone() };
    send(&rollcall, std::slice::from_ref(&late));
    all.insert(0, late.sid);
    let found = page(&of(&rollcall, "page=2&count=10"));
    assert_eq!(found, (all.len() as u64, all[10..20].to_vec()));
    let head = format!("/v1/Accounts/{A1}/RecentCalls?page=1&count=10");
    let head = rollcall.ask("HEAD", &rollcall.admin(), &head);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn pages_of_many_days_begin_where_they_should() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let rollcall = Rollcall::up(&["--store-checkpoint-interval", "20ms"]);
    let midnight = now() / DAY * DAY - 6 * DAY;
    let at_times = [0, 1, 899_999, 900_000, DAY / 2, DAY / 2 + 1000, DAY / 2 + 900_000, DAY - 1];
    let mut calls: Vec<Sample> = Vec::new();
    for (sample, n) in samples(48).into_iter().zip(0..) {
        let (day, place) = (n / 8, n % 8);
        let status = if n % 3 == 0 { "busy" } else { "completed" };
        // One day has none.
        let day = day + i64::from(day >= 3);
        let at = midnight + (day - 1) * DAY + at_times[usize::try_from(place).unwrap()];
        calls.push(Sample { at, status, ..sample });
    }
    send(&rollcall, &calls);
    let time = |at: i64| jiff::Timestamp::from_millisecond(at).unwrap();
    let day = |n: i64| midnight + n * DAY;
    let everything = |calls: &[Sample], from: i64, to: i64| {
        for (query, from, to) in [
            (String::new(), i64::MIN, i64::MAX),
            (format!("&start={}&end={}", time(day(0)), time(day(1))), day(0), day(1)),
            (format!("&start={}&end={}", time(from), time(to)), from, to),
        ] {
            let wanted: [(&str, Wanted); 3] = [
                ("", |_| true),
                ("&direction=inbound", |c| c.direction == "inbound"),
                ("&answered=false", |c| c.status == "busy"),
            ];
            for (more, wanted) in wanted {
                let all = expected(calls, |c| wanted(c) && (from..=to).contains(&c.at));
                for count in [1, 3] {
                    for n in 1..=all.len().div_ceil(count) + 1 {
                        let answer = of(&rollcall, &format!("page={n}&count={count}{query}{more}"));
                        let part = all.iter().skip((n - 1) * count).take(count).cloned();
                        let right = (all.len() as u64, part.collect::<Vec<_>>());
                        assert_eq!(page(&answer), right, "{query}{more}: {n} of {count}");
                    }
                }
            }
        }
    };
    everything(&calls, day(0) + 1, day(3) + DAY / 2);
    // All calls of a day go, and some of another.
    let goes = |call: &Sample| (day(1)..day(2)).contains(&call.at) || call.at == day(3);
    for call in calls.iter().filter(|call| goes(call)) {
        let path = format!("/v1/Accounts/{A1}/Calls/{}", call.sid);
        assert_eq!(rollcall.ask("DELETE", &rollcall.admin(), &path).status, 204);
    }
    calls.retain(|call| !goes(call));
    everything(&calls, day(-1) + 900_000, day(4) - 1);
}
