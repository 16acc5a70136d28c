//! Laws of the API, held against the real binary under random traffic. Every case has accounts of
//! its own, so that one server sees them all.

mod across;
mod credentials;
mod feed;
mod lists;
mod tenancy;

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::api::samples::{STATUSES, now};
use super::harness::{Answer, Rollcall};

/// What a source or a client does to one call.
#[derive(Debug, Clone)]
pub enum Operation {
    Event(Event),
    /// Of the call with this number.
    Delete(u32),
}

/// A status event.
#[derive(Debug, Clone)]
pub struct Event {
    pub call: u32,
    pub status: &'static str,
    pub inbound: bool,
    pub from: &'static str,
    pub to: &'static str,
    /// The number of the A leg.
    pub parent: Option<u32>,
    /// Milliseconds since the traffic began.
    pub at: i64,
}

pub const NUMBERS: [&str; 4] = ["+15551230001", "+15559990001", "15551230001", "anna,bea"];

/// An event of one of so many calls.
pub fn event(calls: u32) -> impl Strategy<Value = Event> {
    let parent = proptest::option::weighted(0.3, 0..3_u32);
    let numbers = (select(&NUMBERS[..]), select(&NUMBERS[..]));
    let strategy = (0..calls, select(&STATUSES[..]), any::<bool>(), numbers, parent, 0..1_000_i64);
    strategy.prop_map(|(call, status, inbound, (from, to), parent, at)| {
        let at = at * 1000;
        Event { call, status, inbound, from, to, parent, at }
    })
}

/// Operations on so many calls.
pub fn operations(calls: u32, most: usize) -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        9 => event(calls).prop_map(Operation::Event),
        1 => (0..calls).prop_map(Operation::Delete),
    ];
    vec(operation, 1..most)
}

/// Runs so many cases; more where `PROPTEST_CASES` says so.
pub fn cases(few: u32) -> TestRunner {
    let given = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    let cases = given.unwrap_or(few);
    TestRunner::new(Config {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..Config::default()
    })
}

/// A server that writes its calls into the index all the time.
pub fn restless() -> Rollcall {
    Rollcall::up(&["--store-checkpoint-interval", "20ms", "--store-live-checkpoint-age", "10ms"])
}

/// An account that no other case has, and when its traffic began.
#[derive(Debug, Clone)]
pub struct Account {
    pub sid: String,
    begun: i64,
    /// Leads every text that its events bring.
    mark: &'static str,
}

impl Account {
    pub fn new(mark: &'static str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let sid = format!("{number:08x}-aaaa-4aaa-8aaa-000000000000");
        Self { sid, begun: now() - 30 * 60_000, mark }
    }

    /// Another one, whose traffic began at the same time.
    pub fn beside(&self, mark: &'static str) -> Self {
        Self { begun: self.begun, ..Self::new(mark) }
    }

    /// The sid of a call; other accounts may have it, too.
    pub fn call(number: u32) -> String {
        format!("c0000000-0000-4000-8000-{:012x}", number * 7919 % 65_521)
    }

    pub fn body(&self, event: &Event) -> Value {
        let mut body = json!({
            "account_sid": self.sid,
            "call_sid": Self::call(event.call),
            "direction": if event.inbound { "inbound" } else { "outbound" },
            "from": event.from,
            "to": event.to,
            "call_id": format!("{}-{}", self.mark, event.call),
            "call_status": event.status,
            "at": self.begun + event.at,
            "note": self.mark,
        });
        if let Some(parent) = event.parent {
            body["parent_call_sid"] = Self::call(parent).into();
        }
        body
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/v1/Accounts/{}{rest}", self.sid)
    }

    /// Does it, and returns the answer's status.
    pub fn act(&self, rollcall: &Rollcall, operation: &Operation) -> u16 {
        match operation {
            Operation::Event(event) => rollcall.post_events(&self.body(event).to_string()).status,
            Operation::Delete(call) => {
                let path = self.path(&format!("/Calls/{}", Self::call(*call)));
                rollcall.ask("DELETE", &rollcall.admin(), &path).status
            }
        }
    }

    /// The list, as the admin sees it.
    pub fn list(&self, rollcall: &Rollcall, query: &str) -> Answer {
        let answer = rollcall.get(&rollcall.admin(), &self.path(&format!("/Calls?{query}")));
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        answer
    }
}

/// The calls of an answer.
pub fn calls(answer: &Answer) -> Vec<Value> {
    answer.json().as_array().unwrap().clone()
}

/// The sid of a call.
pub fn sid(call: &Value) -> String {
    call["call_sid"].as_str().unwrap().to_owned()
}

/// Filters of every kind, alone and together.
pub fn query() -> impl Strategy<Value = String> {
    let one = prop_oneof![
        vec(select(&STATUSES[..]), 1..4)
            .prop_map(|words| format!("callStatus={}", words.join(","))),
        select(vec!["inbound", "outbound"]).prop_map(|word| format!("direction={word}")),
        select(&NUMBERS[..]).prop_map(|number| format!("from={}", encoded(number))),
        select(&NUMBERS[..]).prop_map(|number| format!("to={}", encoded(number))),
        select(vec!["+1555", "+15559", "1", "an"])
            .prop_map(|p| format!("from_prefix={}", encoded(p))),
        select(vec!["+15551", "+", "anna,"]).prop_map(|p| format!("to_prefix={}", encoded(p))),
        (0..3_u32).prop_map(|n| format!("parent_call_sid={}", Account::call(n))),
        select(&NUMBERS[..]).prop_map(|number| format!("number={}", encoded(number))),
        select(vec!["1 (555)", "9990", "bea"])
            .prop_map(|part| format!("number_contains={}", encoded(part))),
        any::<bool>().prop_map(|answered| format!("answered={answered}")),
        any::<bool>().prop_map(|stale| format!("stale={stale}")),
        (0..1_000_i64).prop_map(|at| format!("start={}", time(at))),
        (0..1_000_i64).prop_map(|at| format!("end={}", time(at))),
    ];
    let order = select(vec!["", "order=asc", "order=desc"]).prop_map(ToOwned::to_owned);
    (vec(one, 0..3), order).prop_map(|(mut parts, order)| {
        // A parameter that is not a list can be given once.
        parts.sort();
        parts.dedup_by_key(|part| part.split('=').next().unwrap().to_owned());
        parts.push(order);
        parts.join("&")
    })
}

fn encoded(text: &str) -> String {
    text.replace('+', "%2B").replace(',', "%2C").replace(' ', "%20")
}

/// A time within the traffic, if that has begun less than a second ago.
fn time(at: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now() - 30 * 60_000 + at * 1000).unwrap();
    time.to_string()
}
