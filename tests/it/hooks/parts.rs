//! One bad part of an event does not cost the rest of it: what is too large, no Unicode, implausible,
//! empty, or no number.

use serde_json::{Value, json};

use super::super::api::samples::now;
use super::super::harness::{A1, Rollcall, event, recorded_events, sid};
use super::{call, known, post_json, post_lines};

/// An event of call number `n` with these members beside the necessary ones.
fn with(n: u32, members: &str) -> String {
    format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",{members}}}",
        sid(n)
    )
}

fn take(rollcall: &Rollcall, body: &str) {
    let answer = post_json(rollcall, body);
    assert_eq!(answer.status, 204, "{answer:?} for {body:.300}");
}

fn status(rollcall: &Rollcall) -> Value {
    serde_json::from_str(&rollcall.figures()).unwrap()
}

fn fill(bytes: usize) -> String {
    "x".repeat(bytes)
}

/// A time some milliseconds after 1970, as answers have it.
fn shown(millis: i64) -> Value {
    format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap()).into()
}

#[test]
fn what_is_too_large_is_left_out_by_itself_and_named() {
    let rollcall = Rollcall::up(&[]);
    take(&rollcall, &event(1, "trying"));
    let large = |status: &str, bytes: usize, more: &str| {
        let data = format!("\"customerData\":{{\"transcript\":\"{}\"}}", fill(bytes));
        event(1, status).replace('}', &format!(",{data}{more}}}"))
    };
    take(&rollcall, &large("in-progress", 20_000, ""));
    let up = call(&rollcall, 1);
    assert_eq!(up["call_status"], "in-progress");
    assert!(up["answered_at"].is_string(), "{up}");
    let headers = format!(
        ",\"headers\":{{\"x\":\"{}\"}},\"duration\":42,\"trace_id\":\"aa\",\"zz\":\"last\"",
        fill(17_000)
    );
    // It is in one batch with others, and they count.
    let batch = format!(
        "[{},{},{}]",
        event(2, "busy"),
        large("completed", 300_000, &headers),
        event(3, "busy")
    );
    take(&rollcall, &batch);
    let over = call(&rollcall, 1);
    for (key, value) in [
        ("call_status", json!("completed")),
        ("duration", json!(42)),
        ("trace_id", json!("aa")),
        ("zz", json!("last")),
        ("dropped", json!(["customer_data", "headers"])),
    ] {
        assert_eq!(over[key], value, "{key}: {over}");
    }
    assert_eq!((over.get("customer_data"), over.get("headers")), (None, None));
    assert_eq!(known(&rollcall), 3);
    assert_eq!(call(&rollcall, 2).get("dropped"), None);
    assert_eq!(status(&rollcall)["changes"]["dropped_keys"], 3);
}

#[test]
fn everything_that_has_a_bound_is_left_out_by_itself() {
    let rollcall = Rollcall::up(&[]);
    let long = fill(513);
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    let deeper = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let key = "k".repeat(129);
    take(&rollcall, &with(1, "\"call_status\":\"ringing\",\"from\":\"+1555\",\"sip_status\":180"));
    let members = format!(
        "\"call_status\":\"in-progress\",\"sip_status\":200,\"from\":\"{long}\",\"to\":\"{long}\",\
         \"sip_reason\":\"{long}\",\"deep\":{deep},\"deeper\":{deeper},\"{key}\":1,\"trace_id\":\"aa\""
    );
    take(&rollcall, &with(1, &members));
    let shown = call(&rollcall, 1);
    for (key, value) in [
        ("call_status", json!("in-progress")),
        ("from", json!("+1555")),
        ("to", json!("")),
        ("trace_id", json!("aa")),
    ] {
        assert_eq!(shown[key], value, "{key}: {shown}");
    }
    assert_eq!(shown.get("sip_reason"), None);
    let mut dropped: Vec<_> =
        shown["dropped"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(dropped.iter().any(|name| name.starts_with("kkkk") && name.len() < 60), "{dropped:?}");
    dropped.retain(|name| !name.starts_with("kkkk"));
    assert_eq!(dropped, ["deep", "deeper", "from", "sip_reason", "to"]);
    // 64 keys, the smallest of them.
    let keys: Vec<_> = (0..80).map(|n| format!("\"k{n:02}\":\"{}\"", fill(100 - n))).collect();
    take(&rollcall, &with(2, &format!("\"call_status\":\"busy\",{}", keys.join(","))));
    let shown = call(&rollcall, 2);
    let names = shown.as_object().unwrap().keys().filter(|key| key.starts_with('k'));
    let names: Vec<_> = names.cloned().collect();
    assert_eq!(names.len(), 64);
    assert_eq!(names[0], "k16");
    assert_eq!(shown["dropped"].as_array().unwrap().len(), 16);
    // A body up to the limit is one event's, if need be.
    let empty = with(3, "\"call_status\":\"completed\",\"x\":\"\"");
    let body = empty.replace("\"x\":\"", &format!("\"x\":\"{}", fill(1024 * 1024 - empty.len())));
    assert_eq!(body.len(), 1024 * 1024);
    take(&rollcall, &body);
    assert_eq!(call(&rollcall, 3)["call_status"], "completed");
    assert_eq!(post_json(&rollcall, &format!("{body} ")).status, 413);
}

#[test]
fn what_is_left_out_does_not_depend_on_the_order() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 60_000;
    let story = |n: u32| {
        [
            ("trying", 100, 50),
            ("ringing", 9000, 4000),
            ("in-progress", 12_000, 70),
            ("completed", 8, 9),
        ]
        .iter()
        .zip(0..)
        .map(|((status, data, notes), after)| {
            with(
                n,
                &format!(
                    "\"call_status\":\"{status}\",\"at\":{},\"customerData\":\"{}\",\
                         \"notes\":\"{}\",\"trace_id\":\"aa\"",
                    base + after * 1000,
                    fill(*data),
                    fill(*notes)
                ),
            )
        })
        .collect::<Vec<_>>()
    };
    for (n, order) in (1..).zip([[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]]) {
        for place in order {
            take(&rollcall, &story(n)[place]);
        }
        let mut shown = call(&rollcall, n);
        shown.as_object_mut().unwrap().remove("call_sid");
        let mut first = call(&rollcall, 1);
        first.as_object_mut().unwrap().remove("call_sid");
        assert_eq!(shown, first, "{order:?}");
        assert_eq!(shown["dropped"], json!(["customer_data"]));
        assert_eq!((&shown["notes"], &shown["trace_id"]), (&fill(9).into(), &json!("aa")));
    }
}

/// Reads JSON as a reader does that takes Unicode alone.
fn strict(json: &str) -> Value {
    assert!(serde_json::from_str::<Value>("\"\\ud83d\"").is_err(), "it is such a reader");
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

#[test]
fn half_a_character_is_replaced_wherever_it_stands() {
    let mut rollcall = Rollcall::up(&[]);
    let half = "\\ud83d";
    let members = [
        ("\"caller_name\":\"Caf\\u00e9 HALF\"", "caller_name", json!("Caf\u{e9} \u{fffd}")),
        ("\"from\":\"annaHALF\"", "from", json!("anna\u{fffd}")),
        ("\"from\":\"\\uDC00anna\"", "from", json!("\u{fffd}anna")),
        ("\"customerData\":{\"n\":\"a HALF\"}", "customer_data", json!({"n": "a \u{fffd}"})),
        (
            "\"customerData\":{\"HALF\":[\"HALFx\"]}",
            "customer_data",
            json!({"\u{fffd}": ["\u{fffd}x"]}),
        ),
        ("\"xHALF\":1", "x\u{fffd}", json!(1)),
        ("\"x\\udc00\":1,\"xHALF\":2", "x\u{fffd}", json!(2)),
        ("\"sip_reason\":\"RingHALF\"", "sip_reason", json!("Ring\u{fffd}")),
        ("\"x\":\"HALF\\ude00 \\\\ud83d\"", "x", json!("\u{1f600} \\ud83d")),
    ];
    for (n, (member, key, value)) in (1..).zip(&members) {
        let member = member.replace("HALF", half);
        take(&rollcall, &with(n, &format!("\"call_status\":\"ringing\",{member}")));
        assert_eq!(&call(&rollcall, n)[key], value, "{member}");
    }
    // A word that is none is no status.
    let lines = [with(20, &format!("\"call_status\":\"busy{half}\"")), event(21, "busy")];
    assert_eq!(post_lines(&rollcall, &lines.join("\n")).status, 204);
    assert_eq!(call(&rollcall, 20)["call_status"], "trying");
    let admin = rollcall.admin();
    let list = format!("/v1/Accounts/{A1}/Calls");
    assert_eq!(strict(&rollcall.get(&admin, &list).body).as_array().unwrap().len(), 11);
    let found = rollcall.get(&admin, &format!("{list}?from=anna%EF%BF%BD"));
    assert_eq!(found.json().as_array().unwrap().len(), 1);
    for line in rollcall.get(&admin, &format!("{list}/changes")).body.lines() {
        strict(line);
    }
    let export = rollcall.ok(&["export"]);
    let sheet = rollcall.ok(&["export", "--format", "csv"]);
    export.lines().for_each(|line| drop(strict(line)));
    rollcall.stop();
    for text in [&export, &sheet] {
        let other = Rollcall::down();
        assert_eq!(other.run_with(&["import", "-"], text.as_bytes()).code, Some(0));
        assert_eq!(other.ok(&["export"]), export);
    }
    let other = Rollcall::down();
    let record = with(1, &format!("\"call_status\":\"busy\",\"from\":\"a{half}\",\"{half}\":1"));
    assert_eq!(other.run_with(&["import", "-"], record.as_bytes()).code, Some(0));
    assert_eq!(strict(other.ok(&["export"]).trim())["from"], "a\u{fffd}");
}

#[test]
fn a_byte_that_is_no_utf8_costs_no_event() {
    let rollcall = Rollcall::up(&[]);
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let body = event(1, "busy").replace("+15550000001", "Jos?");
    let body: Vec<u8> = body.bytes().map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect();
    let answer = rollcall.send("POST", super::HOOK, &headers, &body).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(call(&rollcall, 1)["from"], "Jos\u{fffd}");
}

#[test]
fn a_number_that_no_double_holds_does_not_keep_strict_readers_from_the_list() {
    let rollcall = Rollcall::up(&[]);
    let digits = "7".repeat(5000);
    let members = format!(
        "\"call_status\":\"busy\",\"e\":1E+400,\"customerData\":{{\"a\":[-1e999,1.50],\"b\":{digits}}}"
    );
    take(&rollcall, &with(1, &members));
    let shown = call(&rollcall, 1);
    assert_eq!(shown["e"], "1E+400");
    assert_eq!(shown["customer_data"], json!({"a": ["-1e999", 1.5], "b": digits}));
    for path in ["Calls", "Calls?limit=5", "RecentCalls?page=1&count=5"] {
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/{path}"));
        assert_eq!(answer.status, 200, "{path}");
        strict(&answer.body);
    }
    strict(rollcall.ok(&["export"]).trim());
}

#[test]
fn blanks_replace_no_text_that_says_more() {
    let rollcall = Rollcall::up(&[]);
    let known = "\"from\":\"+15550100001\",\"caller_name\":\"Pat\"";
    take(&rollcall, &with(1, &format!("\"call_status\":\"ringing\",{known}")));
    let blank = "\"from\":\"  \",\"caller_name\":\"\\t\u{a0}\"";
    take(&rollcall, &with(1, &format!("\"call_status\":\"completed\",{blank}")));
    let shown = call(&rollcall, 1);
    let texts = (&shown["from"], &shown["caller_name"]);
    assert_eq!(texts, (&json!("+15550100001"), &json!("Pat")));
    let header = "account_sid,call_sid,call_status,direction,from,caller_name";
    let row = format!("{A1},{},completed,inbound,\" \", ", sid(1));
    let table = format!("{header}\n{row}\n");
    assert_eq!(rollcall.run_with(&["import", "-"], table.as_bytes()).code, Some(0));
    assert_eq!(call(&rollcall, 1)["from"], "+15550100001");
}

#[test]
fn a_number_in_the_place_of_a_text_is_its_digits() {
    let rollcall = Rollcall::up(&[]);
    let numbers = ["15551230001", "15551230001.0", "1.5551230001e10", "155512300010E-1"];
    for (n, number) in (1..).zip(numbers) {
        take(&rollcall, &with(n, &format!("\"call_status\":\"busy\",\"from\":{number}")));
        assert_eq!(call(&rollcall, n)["from"], "15551230001", "{number}");
    }
    take(&rollcall, &with(9, "\"call_status\":\"busy\",\"from\":1.5"));
    assert_eq!(call(&rollcall, 9)["from"], "1.5");
}

#[test]
fn a_nul_is_a_character_as_any_other() {
    let rollcall = Rollcall::up(&[]);
    for (n, from) in (1..).zip(["a", "a\\u0000", "a\\u0000\\u0000b", "\\u0000", "a\\u0001\\u001f"])
    {
        take(&rollcall, &with(n, &format!("\"call_status\":\"busy\",\"from\":\"{from}\"")));
    }
    let admin = rollcall.admin();
    let list = |query: &str| {
        let path = format!("/v1/Accounts/{A1}/Calls?{query}");
        strict(&rollcall.get(&admin, &path).body).as_array().unwrap().len()
    };
    for from in ["from=a", "from=a%00", "from=a%00%00b", "from=%00", "from=a%01%1F"] {
        assert_eq!(list(from), 1, "{from}");
    }
    assert_eq!((list("from_prefix=a"), list("from_prefix=a%00"), list("")), (4, 2, 5));
    let export = rollcall.ok(&["export"]);
    let other = Rollcall::down();
    let sheet = rollcall.ok(&["export", "--format", "csv"]);
    assert_eq!(other.run_with(&["import", "-"], sheet.as_bytes()).code, Some(0));
    assert_eq!(other.ok(&["export"]), export);
}

#[test]
fn a_call_that_moves_is_answered_once_and_keeps_what_was_known() {
    let rollcall = Rollcall::up(&[]);
    let event = |from: &str,
                 to: &str,
                 call_id: &str,
                 sip: u16,
                 status: &str,
                 host: u8,
                 more: &str| {
        let members = format!(
            "\"from\":\"{from}\",\"to\":\"{to}\",\"call_id\":\"{call_id}\",\"sip_status\":{sip},\
             \"call_status\":\"{status}\",\"fs_sip_address\":\"192.0.2.{host}:5060\"{more}"
        );
        take(&rollcall, &with(1, &members));
        call(&rollcall, 1)
    };
    let (a, b) = ("a@198.51.100.1", "b@192.0.2.11");
    event("+15550100001", "+15550100002", a, 100, "trying", 11, "");
    let more = ",\"caller_name\":\"Pat\",\"tag\":\"x\",\"sip_reason\":\"OK\"";
    let first = event("+15550100001", "+15550100002", a, 200, "in-progress", 11, more);
    assert_eq!(first["service_url"], "http://192.0.2.11:3000");
    let empty = ",\"caller_name\":\"\",\"tag\":\"\",\"sip_reason\":\"\",\"service_url\":\"\"";
    for (sip, status) in [(100, "trying"), (180, "ringing")] {
        let moving = event("", "context-1", b, sip, status, 12, empty);
        assert_eq!(moving["call_status"], "in-progress");
        assert_eq!(moving["service_url"], "http://192.0.2.11:3000");
    }
    let second = event("", "context-1", b, 200, "in-progress", 12, empty);
    for (key, value) in [
        ("call_status", json!("in-progress")),
        ("answered_at", first["answered_at"].clone()),
        ("service_url", json!("http://192.0.2.12:3000")),
        ("fs_sip_address", json!("192.0.2.12:5060")),
        ("call_id", json!(b)),
        ("from", json!("+15550100001")),
        ("caller_name", json!("Pat")),
        ("tag", json!("x")),
        ("sip_reason", json!("OK")),
    ] {
        assert_eq!(second[key], value, "{key}: {second}");
    }
    let over =
        event("", "context-1", b, 200, "completed", 12, ",\"duration\":1,\"caller_name\":\"\"");
    assert_eq!((&over["call_status"], &over["duration"]), (&json!("completed"), &json!(1)));
    let path = format!("/v1/Accounts/{A1}/Calls?from=%2B15550100001");
    assert_eq!(rollcall.get(&rollcall.admin(), &path).json().as_array().unwrap().len(), 1);
}

#[test]
fn whole_numbers_are_taken_however_they_are_written() {
    let rollcall = Rollcall::up(&[]);
    let mut counted = 0;
    for (n, (written, right)) in (1..).zip([
        ("42", Some(42)),
        ("42.0", Some(42)),
        ("4.2e1", Some(42)),
        ("420E-1", Some(42)),
        ("\"42\"", Some(42)),
        ("\"42.0\"", Some(42)),
        ("0", Some(0)),
        ("\"\"", None),
        ("42.7", None),
        ("-1589241600", None),
        ("1589241600", None),
        ("4294967296", None),
        ("\"00:00:42\"", None),
        ("{}", None),
        ("true", None),
    ]) {
        let members =
            format!("\"call_status\":\"completed\",\"sip_status\":200.0,\"duration\":{written}");
        take(&rollcall, &with(n, &members));
        let shown = call(&rollcall, n);
        assert_eq!(shown["sip_status"], 200);
        assert_eq!(shown.get("duration"), right.map(Value::from).as_ref(), "{written}");
        counted += u64::from(right.is_none() && written != "\"\"");
    }
    take(
        &rollcall,
        &with(99, "\"call_status\":\"busy\",\"sip_status\":4860,\"from\":{},\"at\":\"x\""),
    );
    let figures = status(&rollcall);
    assert_eq!(
        figures["unread_values"],
        json!({"duration": counted, "sip_status": 1, "from": 1, "at": 1}),
        "{figures}"
    );
    assert!(rollcall.status().contains("7 of duration unreadable"));
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    let line = format!("rollcall_unread_values_total{{field=\"duration\"}} {counted}");
    assert!(metrics.contains(&line), "{metrics}");
}

#[test]
fn an_implausible_time_is_dropped_and_counted_and_the_event_is_taken() {
    let rollcall = Rollcall::up(&["--retention-age=365days"]);
    let (begun, hour) = (now(), 3_600_000);
    let seconds = (begun - hour) / 1000;
    let wrong = [
        seconds.to_string(),
        format!("{seconds}.123"),
        format!("\"{seconds}\""),
        format!("{seconds}000000"),
        (seconds + 62_167_219_200).to_string(),
        (begun + 6 * 60_000).to_string(),
        "0".to_owned(),
        "-1".to_owned(),
        "{}".to_owned(),
        "\"soon\"".to_owned(),
        "\"1970-01-01T00:00:00Z\"".to_owned(),
        "\"2026-01-31 12:00:00\"".to_owned(),
    ];
    for (n, at) in (1..).zip(&wrong) {
        let key = if n % 2 == 0 { "at" } else { "attempted_at" };
        take(&rollcall, &with(n, &format!("\"call_status\":\"completed\",\"{key}\":{at}")));
        let attempted = call(&rollcall, n)["attempted_at"].as_str().unwrap().to_owned();
        assert!(attempted.as_str() >= shown(begun).as_str().unwrap(), "{at}: {attempted}");
    }
    assert_eq!(known(&rollcall), wrong.len());
    assert_eq!(status(&rollcall)["unread_values"], json!({"at": 6, "attempted_at": 6}));
    assert!(!rollcall.ok(&["expire", "--dry-run"]).contains(&sid(1)[..12]), "none is old");
    // A little ahead is fine, and so is long ago.
    for (n, at) in (100..).zip([begun + 4 * 60_000, begun - 86_400_000]) {
        take(&rollcall, &with(n, &format!("\"call_status\":\"trying\",\"at\":{at}")));
        assert_eq!(call(&rollcall, n)["attempted_at"], shown(at));
    }
    let zone =
        jiff::Timestamp::from_millisecond(begun - hour).unwrap().strftime("%Y-%m-%d %H:%M:%S+00");
    take(&rollcall, &with(110, &format!("\"call_status\":\"trying\",\"at\":\"{zone}\"")));
    assert_eq!(call(&rollcall, 110)["attempted_at"], shown((begun - hour) / 1000 * 1000));
}

#[test]
fn the_beginning_of_time_is_no_answer_and_no_end() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 60_000;
    for (n, none) in
        (1..).zip(["0", "\"0\"", "\"\"", "\"1970-01-01T00:00:00.000Z\"", "\"1970-01-01 00:00:00\""])
    {
        let members = format!(
            "\"call_status\":\"no-answer\",\"at\":{},\"attempted_at\":{base},\"answered_at\":{none}",
            base + 9000
        );
        take(&rollcall, &with(n, &members));
        let over = call(&rollcall, n);
        assert_eq!((over.get("answered_at"), over.get("duration")), (None, None), "{none}: {over}");
        assert_eq!(over["terminated_at"], shown(base + 9000));
        let members = format!("\"call_status\":\"in-progress\",\"terminated_at\":{none}");
        take(&rollcall, &with(n + 100, &members));
        assert_eq!(call(&rollcall, n + 100).get("terminated_at"), None);
    }
    assert_eq!(status(&rollcall)["unread_values"], json!({}));
}

#[test]
fn a_duration_that_the_sources_own_times_do_not_allow_is_not_shown() {
    let rollcall = Rollcall::up(&[]);
    let base = now() - 100_000;
    let told = |n: u32, duration: u32| {
        let answered = format!("\"call_status\":\"in-progress\",\"at\":{base}");
        let over = base + 42_000;
        let over = format!("\"call_status\":\"completed\",\"at\":{over},\"duration\":{duration}");
        take(&rollcall, &with(n, &answered));
        take(&rollcall, &with(n, &over));
        call(&rollcall, n)["duration"].clone()
    };
    assert_eq!(told(1, 40), 40);
    assert_eq!(told(2, 43), 43);
    assert_eq!(told(3, 86_400), 42, "as the times say");
    // When rollcall heard of it says nothing.
    take(&rollcall, &event(4, "in-progress"));
    take(&rollcall, &event(4, "completed").replace('}', ",\"duration\":86400}"));
    assert_eq!(call(&rollcall, 4)["duration"], 86_400);
}

#[test]
fn of_two_events_within_a_millisecond_the_later_one_counts() {
    let rollcall = Rollcall::up(&[]);
    // Each pair is in one body, so that both come at once.
    let words = [("trying", "queued"), ("queued", "trying"), ("ringing", "alerting")];
    let pairs = (0..300_u32).map(|n| (n, words[n as usize % 3]));
    let lines: Vec<String> =
        pairs.clone().flat_map(|(n, (a, b))| [event(n, a), event(n, b)]).collect();
    assert_eq!(post_lines(&rollcall, &lines.join("\n")).status, 204);
    for (n, (_, last)) in pairs {
        assert_eq!(call(&rollcall, n)["call_status"], last, "{n}");
    }
    let export = rollcall.ok(&["export"]);
    let other = Rollcall::down();
    assert_eq!(other.run_with(&["import", "-"], export.as_bytes()).code, Some(0));
    assert_eq!(other.ok(&["export"]), export);
    assert!(recorded_events().lines().count() > 60);
}
