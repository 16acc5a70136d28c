//! CDRs beside the webhooks of their calls, in any order, with crashes in between.
//!
//! `CDR_CALLS` is how many calls there are.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::harness::{A1, A2, Rollcall, sid, until};
use super::writer::{taking, write};

/// Calls of a short run. Of ten, one is known by CDRs alone and three have CDRs without a call sid.
const CALLS: u32 = 300;
/// What one request has.
const BATCH: usize = 40;
/// Milliseconds, in the past of every test.
const TIME: u64 = 1_795_849_200_123;

enum Request {
    Hooks(Vec<Value>),
    Lines(Vec<String>),
}

/// Numbers that look like any, the same in each run.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for n in (1..items.len()).rev() {
            items.swap(n, self.below(n + 1));
        }
    }
}

fn is_alone(n: u32) -> bool {
    n.is_multiple_of(10)
}

fn names_no_sid(n: u32) -> bool {
    n % 10 < 3
}

fn hooks(n: u32) -> Vec<Value> {
    if is_alone(n) {
        return Vec::new();
    }
    let answered = !names_no_sid(n);
    let states: &[(&str, u16)] = if answered {
        &[("trying", 100), ("in-progress", 200), ("completed", 200)]
    } else {
        &[("trying", 100), ("no-answer", 480)]
    };
    let state = |(status, sip_status): &(&str, u16)| {
        json!({
            "account_sid": A1, "call_sid": sid(n), "call_status": status, "sip_status": sip_status,
            "direction": "inbound", "from": format!("+1555{n:07}"), "to": "+15550009999",
            "call_id": format!("fs-{n}"), "sbc_callid": format!("sbc-{n}"),
        })
    };
    states.iter().map(state).collect()
}

/// The CDR of a call, as it is written once or, for the carrier that jambonz manages, twice; and that of
/// another account with the same Call-ID.
fn lines(n: u32) -> Vec<String> {
    let begun = TIME + u64::from(n) * 10;
    let end = begun + 5000;
    let tags = format!(",account_sid={A1},direction=inbound,host=10.0.0.1,trunk=carrier-{n}");
    let fields = format!(
        "from=\"1555{n:07}\",sip_callid=\"sbc-{n}\",termination_reason=\"caller hungup\",terminated_at={end}"
    );
    if names_no_sid(n) {
        let other = tags.replace(A1, A2);
        return vec![
            format!("cdrs{tags},answered=false {fields},duration=0,sip_status=487 {begun}000000"),
            format!("cdrs{other},answered=false {fields},duration=0,sip_status=487 {begun}000000"),
        ];
    }
    let fields = format!(
        "{fields},answered_at={},call_sid=\"{}\",duration=4,sip_status=200",
        begun + 1,
        sid(n)
    );
    vec![
        format!("cdrs{tags},answered=true {fields} {begun}123456"),
        format!("cdrs_by_end{tags},answered=true {fields},attempted_at={begun} {end}123456"),
    ]
}

fn requests(calls: u32, drawn: &mut Drawn) -> Vec<Request> {
    let mut all_hooks: Vec<Value> = (0..calls).flat_map(hooks).collect();
    let mut all_lines: Vec<String> = (0..calls).flat_map(lines).collect();
    drawn.shuffle(&mut all_hooks);
    drawn.shuffle(&mut all_lines);
    let hooks = all_hooks.chunks(BATCH).map(|some| Request::Hooks(some.to_vec()));
    let lines = all_lines.chunks(BATCH).map(|some| Request::Lines(some.to_vec()));
    let mut all: Vec<Request> = hooks.chain(lines).collect();
    drawn.shuffle(&mut all);
    all
}

fn send(rollcall: &Rollcall, request: &Request) {
    let answer = match request {
        Request::Hooks(hooks) => {
            let body: Vec<_> = hooks.iter().map(ToString::to_string).collect();
            rollcall.post_events(&body.join("\n"))
        }
        Request::Lines(lines) => write(rollcall, &lines.join("\n")),
    };
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// All calls of all accounts, by account and sid.
fn exported(rollcall: &Rollcall) -> Vec<Value> {
    let text = rollcall.ok(&["export"]);
    let mut calls: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    calls.sort_by_key(|call| (call["account_sid"].to_string(), call["call_sid"].to_string()));
    calls
}

/// What of a call does not depend on when something came.
fn said(call: &Value) -> Value {
    let keys = [
        "account_sid",
        "call_sid",
        "call_status",
        "sip_status",
        "direction",
        "from",
        "to",
        "call_id",
        "sbc_callid",
        "sip_callid",
        "trunk",
        "host",
        "termination_reason",
        "originating_sip_trunk_name",
    ];
    keys.iter()
        .map(|key| ((*key).to_owned(), call[*key].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn in_any_order_and_with_crashes_each_call_is_there_once_with_what_all_have_said() {
    let calls = std::env::var("CDR_CALLS").map_or(CALLS, |text| text.parse().unwrap());
    let mut before: Option<Vec<Value>> = None;
    for seed in [1, 2] {
        let mut drawn = Drawn(seed);
        let mut rollcall = taking(&["--cdrs-wait", "1s", "--store-checkpoint-interval", "1s"]);
        let requests = requests(calls, &mut drawn);
        let crashes: BTreeSet<usize> = (0..4).map(|_| drawn.below(requests.len())).collect();
        for (n, request) in requests.iter().enumerate() {
            send(&rollcall, request);
            if crashes.contains(&n) {
                rollcall.kill();
                rollcall.start();
                // Its sender has not heard the answer.
                send(&rollcall, request);
            }
        }
        let alone = (0..calls).filter(|n| is_alone(*n)).count();
        let others = (0..calls).filter(|n| names_no_sid(*n)).count();
        let whole = usize::try_from(calls).unwrap() + others;
        let all = until("no CDR waits any more", || {
            let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
            (figures["cdrs_waiting"] == 0).then(|| exported(&rollcall))
        });
        assert_eq!(all.len(), whole, "seed {seed}");
        let own: Vec<&Value> = all.iter().filter(|call| call["account_sid"] == A1).collect();
        let derived = own.iter().filter(|call| call["call_id"] == call["sip_callid"]);
        assert_eq!(derived.count(), alone, "of the others none is left under another sid");
        for call in &own {
            assert_eq!(call["termination_reason"], "caller hungup", "{call}");
            if call["call_id"] != call["sip_callid"] {
                assert!(call["from"].as_str().unwrap().starts_with('+'), "{call}");
                let expected = if call["sip_status"] == 480 { "no-answer" } else { "completed" };
                assert_eq!(call["call_status"], expected, "{call}");
                assert_ne!(call["sip_status"], 487, "{call}");
            }
        }
        // All of it once more, and nothing changes.
        for request in requests.iter().filter(|request| matches!(request, Request::Lines(_))) {
            send(&rollcall, request);
        }
        assert_eq!(exported(&rollcall), all);
        let said: Vec<Value> = all.iter().map(said).collect();
        assert_eq!(*before.get_or_insert(said.clone()), said, "whatever the order");
        assert_eq!(rollcall.run(&["check"]).code, Some(0));
    }
}
