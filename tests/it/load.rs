//! Writers over HTTPS that remember what was acknowledged, and the comparison with what is listed.
//!
//! Each writer has calls of its own, so that it knows in which order its requests were answered.
//! Each event brings a key that no other event of its call has. Keys are never removed by a merge,
//! so that the listed record tells of every single event whether it was taken.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::harness::{A1, A2, Answer, Rollcall, TIMEOUT, send, until};

/// Accounts whose calls are written.
const ACCOUNTS: [&str; 3] = [A1, A2, "0c9e7a52-6f0e-4c35-8a80-6a1f6a0f2b11"];
/// Each status, and how far along a call with it is.
pub const STATUSES: [(&str, usize); 10] = [
    ("queued", 0),
    ("trying", 0),
    ("ringing", 1),
    ("alerting", 1),
    ("early-media", 2),
    ("in-progress", 3),
    ("completed", 4),
    ("failed", 4),
    ("busy", 4),
    ("no-answer", 4),
];
/// Events of one call; a record keeps at most 64 keys.
const CALL_EVENTS_MAX: usize = 24;
/// Events of one request.
const BATCH_EVENTS_MAX: usize = 20;

/// Numbers that can be had again (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap()
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// The seed and the length of a test, said when it fails.
pub struct Trial {
    pub rounds: usize,
    pub seed: u64,
    rounds_from: &'static str,
}

impl Trial {
    /// So many rounds, unless this variable says otherwise; the seed is that of `TRIAL_SEED`.
    pub fn new(rounds_from: &'static str, rounds: usize) -> Self {
        let number = |name| {
            let text = std::env::var(name).ok()?;
            Some(text.parse().unwrap_or_else(|e| panic!("{name}: {e}: {text}")))
        };
        let rounds = number(rounds_from).map_or(rounds, |n| usize::try_from(n).unwrap());
        let seed = number("TRIAL_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
        Self { rounds, seed, rounds_from }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("again: TRIAL_SEED={} {}={}", self.seed, self.rounds_from, self.rounds);
        }
    }
}

/// What is known of an event or a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// It must be there.
    Acknowledged,
    /// Both are right: its request was not answered.
    Unknown,
    /// It must not be there.
    Refused,
}

struct Event {
    status: usize,
    delivery: Delivery,
}

struct Call {
    account: &'static str,
    sid: String,
    events: Vec<Event>,
    deleted: Option<Delivery>,
}

/// A request: places of calls, and of an event in each.
enum Request {
    Events(Vec<(usize, usize)>),
    Delete(usize),
}

struct Writer {
    number: usize,
    random: Random,
    calls: Vec<Call>,
    /// Requests without an answer since the last comparison.
    unknown: Vec<Request>,
    acknowledged: usize,
}

/// Several writers, and how they take a refusal.
pub struct Load {
    writers: Vec<Writer>,
    /// A request that was answered 503 has left nothing, for certain.
    pub refusals_are_final: bool,
    /// Requests that were answered 503.
    pub refused: usize,
}

impl Load {
    pub fn new(seed: u64, writers: usize) -> Self {
        let writer = |number| Writer {
            number,
            random: Random::new(seed ^ ((number as u64 + 1) << 32)),
            calls: Vec::new(),
            unknown: Vec::new(),
            acknowledged: 0,
        };
        let writers = (0..writers).map(writer).collect();
        Self { writers, refusals_are_final: true, refused: 0 }
    }

    /// Events and deletions that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.writers.iter().map(|writer| writer.acknowledged).sum()
    }

    /// Writes as long as `act` runs, each writer until its connection breaks.
    pub fn during<T>(
        &mut self,
        rollcall: &mut Rollcall,
        act: impl FnOnce(&mut Rollcall) -> T,
    ) -> T {
        let over = AtomicBool::new(false);
        let bearer = format!("Bearer {}", rollcall.admin());
        let url = rollcall.url("");
        std::thread::scope(|scope| {
            let (over, bearer, url) = (&over, bearer.as_str(), url.as_str());
            let running: Vec<_> = self
                .writers
                .iter_mut()
                .map(|writer| {
                    let agent = rollcall.new_agent();
                    let post = move |method: &str, path: &str, kind: &str, body: &str| {
                        let headers = [("authorization", bearer), ("content-type", kind)];
                        let url = format!("{url}{path}");
                        send(&agent, method, &url, &headers, body.as_bytes()).ok()
                    };
                    let refusals_are_final = self.refusals_are_final;
                    scope.spawn(move || writer.run(&post, over, refusals_are_final))
                })
                .collect();
            let result = act(rollcall);
            over.store(true, Ordering::Relaxed);
            self.refused += running.into_iter().map(|run| run.join().unwrap()).sum::<usize>();
            result
        })
    }

    /// Compares with what the server lists. What was open before is settled by that: what has been
    /// shown once must stay.
    pub fn compare(&mut self, rollcall: &Rollcall) {
        let mut listed = HashMap::new();
        let mut problems = Vec::new();
        for account in ACCOUNTS {
            let calls = list(rollcall, &format!("/v1/Accounts/{account}/Calls"));
            let ended =
                list(rollcall, &format!("/v1/Accounts/{account}/Calls?callStatus=completed"));
            let count = calls.iter().filter(|call| call["call_status"] == "completed").count();
            if ended.len() != count {
                problems
                    .push(format!("{account}: {count} completed calls, {} listed", ended.len()));
            }
            for call in calls {
                let sid = call["call_sid"].as_str().unwrap().to_owned();
                if listed.insert((account, sid), call).is_some() {
                    problems.push(format!("{account}: a call is listed twice"));
                }
            }
        }
        let mut known = 0;
        for writer in &mut self.writers {
            known += writer.compare(&listed, &mut problems);
        }
        if known != listed.len() {
            problems.push(format!("{} calls are listed, {known} of them known", listed.len()));
        }
        let count = problems.len();
        problems.truncate(10);
        assert!(problems.is_empty(), "{count} problems, such as {problems:#?}");
    }
}

/// All calls of a list; again while the index is being built, or breaks in mid-list.
fn list(rollcall: &Rollcall, path: &str) -> Vec<Value> {
    let bearer = format!("Bearer {}", rollcall.admin());
    until("a list is answered", || {
        match rollcall.send("GET", path, &[("authorization", &bearer)], b"") {
            Ok(Answer { status: 200, body, .. }) => serde_json::from_str(&body).ok(),
            Ok(Answer { status: 503, .. }) | Err(_) => None,
            Ok(answer) => panic!("{answer:?}"),
        }
    })
}

impl Writer {
    /// Returns how many requests were refused.
    fn run(
        &mut self,
        post: &dyn Fn(&str, &str, &str, &str) -> Option<Answer>,
        over: &AtomicBool,
        refusals_are_final: bool,
    ) -> usize {
        let deadline = std::time::Instant::now() + TIMEOUT;
        let mut refused = 0;
        while !over.load(Ordering::Relaxed) {
            assert!(std::time::Instant::now() < deadline, "nobody ends this load");
            let request = self.next_request();
            let answer = match &request {
                Request::Delete(call) => {
                    let Call { account, sid, .. } = &self.calls[*call];
                    post("DELETE", &format!("/v1/Accounts/{account}/Calls/{sid}"), "", "")
                }
                Request::Events(events) => {
                    let pad = "-".repeat(self.random.below(1500));
                    let line = |place: &_| self.event(*place, &pad);
                    let lines: Vec<_> = events.iter().map(line).collect();
                    let (kind, body) = if self.random.percent(50) {
                        ("application/x-ndjson", lines.join("\n"))
                    } else if let [line] = lines.as_slice() {
                        ("application/json", line.clone())
                    } else {
                        ("application/json", format!("[{}]", lines.join(",")))
                    };
                    post("POST", "/v1/hooks/call-status", kind, &body)
                }
            };
            match answer.map(|answer| (answer.status, answer)) {
                Some((204, _)) => {
                    self.acknowledged += match &request {
                        Request::Events(events) => events.len(),
                        Request::Delete(_) => 1,
                    };
                    self.settle(&request, Delivery::Acknowledged);
                }
                Some((503, _)) => {
                    refused += 1;
                    if refusals_are_final {
                        self.settle(&request, Delivery::Refused);
                    } else {
                        self.unknown.push(request);
                    }
                }
                Some((_, answer)) => panic!("{answer:?}"),
                None => {
                    self.unknown.push(request);
                    return refused;
                }
            }
        }
        refused
    }

    fn next_request(&mut self) -> Request {
        let ended = self.calls.len();
        if ended > 0 && self.random.percent(8) {
            let call = self.random.below(ended);
            let there =
                self.calls[call].events.iter().any(|e| e.delivery == Delivery::Acknowledged);
            if there && self.calls[call].deleted.is_none() {
                self.calls[call].deleted = Some(Delivery::Unknown);
                return Request::Delete(call);
            }
        }
        let count =
            if self.random.percent(50) { 1 } else { 2 + self.random.below(BATCH_EVENTS_MAX - 1) };
        Request::Events((0..count).map(|_| self.next_event()).collect())
    }

    /// An event of a new call, of one of the last, or sometimes of any.
    fn next_event(&mut self) -> (usize, usize) {
        let count = self.calls.len();
        let known = match self.random.below(100) {
            0..45 => None,
            45..95 => count.checked_sub(1 + self.random.below(30)),
            _ => Some(self.random.below(count)),
        };
        let known = known.filter(|call| {
            self.calls.get(*call).is_some_and(|call| call.events.len() < CALL_EVENTS_MAX)
        });
        let call = known.unwrap_or_else(|| {
            let account = ACCOUNTS[self.random.below(ACCOUNTS.len())];
            let sid = format!("d0000000-0000-4000-8{:03x}-{count:012x}", self.number);
            self.calls.push(Call { account, sid, events: Vec::new(), deleted: None });
            count
        });
        let status = self.random.below(STATUSES.len());
        self.calls[call].events.push(Event { status, delivery: Delivery::Unknown });
        (call, self.calls[call].events.len() - 1)
    }

    fn event(&self, (call, event): (usize, usize), pad: &str) -> String {
        let Call { account, sid, events, .. } = &self.calls[call];
        let status = STATUSES[events[event].status].0;
        format!(
            "{{\"account_sid\":\"{account}\",\"call_sid\":\"{sid}\",\"direction\":\"inbound\",\
             \"from\":\"+1555{call:07}\",\"to\":\"+15550000000\",\"call_status\":\"{status}\",\
             \"pad\":\"{pad}\",\"e{event}\":1}}"
        )
    }

    fn settle(&mut self, request: &Request, delivery: Delivery) {
        match request {
            Request::Delete(call) => {
                self.calls[*call].deleted =
                    Some(delivery).filter(|delivery| *delivery != Delivery::Refused);
            }
            Request::Events(events) => {
                for (call, event) in events {
                    self.calls[*call].events[*event].delivery = delivery;
                }
            }
        }
    }

    /// Returns how many of the listed calls are this writer's.
    fn compare(
        &mut self,
        listed: &HashMap<(&'static str, String), Value>,
        problems: &mut Vec<String>,
    ) -> usize {
        let find = |call: &Call| listed.get(&(call.account, call.sid.clone()));
        // What became of deletions first: a deleted call says nothing about its events.
        let unknown = std::mem::take(&mut self.unknown);
        let (deletions, events): (Vec<_>, Vec<_>) =
            unknown.into_iter().partition(|request| matches!(request, Request::Delete(_)));
        for request in deletions.into_iter().chain(events) {
            let delivery = match &request {
                Request::Delete(call) if find(&self.calls[*call]).is_none() => {
                    Delivery::Acknowledged
                }
                Request::Delete(_) => Delivery::Refused,
                Request::Events(events) => {
                    let told =
                        events.iter().filter(|(call, _)| self.calls[*call].deleted.is_none());
                    let taken: Vec<bool> = told
                        .map(|(call, event)| {
                            find(&self.calls[*call]).is_some_and(|c| has(c, *event))
                        })
                        .collect();
                    let there = taken.contains(&true);
                    if there && taken.contains(&false) {
                        problems.push(format!("half of a batch was taken: {taken:?}"));
                    }
                    if there { Delivery::Acknowledged } else { Delivery::Refused }
                }
            };
            self.settle(&request, delivery);
        }
        let mut known = 0;
        for call in &self.calls {
            let found = find(call);
            known += usize::from(found.is_some());
            if let Some(problem) = call.problem(found) {
                problems.push(format!("{} {}: {problem}: {found:?}", call.account, call.sid));
            }
        }
        known
    }
}

fn has(listed: &Value, event: usize) -> bool {
    listed.get(format!("e{event}")).is_some()
}

impl Call {
    fn problem(&self, listed: Option<&Value>) -> Option<String> {
        if self.deleted == Some(Delivery::Acknowledged) {
            return listed.map(|_| "it was deleted".to_owned());
        }
        let lost = |event: &(usize, &Event)| event.1.delivery == Delivery::Acknowledged;
        let Some(listed) = listed else {
            let lost = self.events.iter().enumerate().find(lost);
            return lost.map(|(number, _)| format!("event {number} and the whole call are lost"));
        };
        let mut furthest = None;
        for (number, event) in self.events.iter().enumerate() {
            match (event.delivery, has(listed, number)) {
                (Delivery::Acknowledged, false) => return Some(format!("event {number} is lost")),
                (Delivery::Refused, true) => return Some(format!("event {number} was refused")),
                (_, true) => furthest = furthest.max(Some(STATUSES[event.status].1)),
                (_, false) => {}
            }
        }
        let rank = STATUSES.iter().find(|(status, _)| listed["call_status"] == *status);
        (rank.map(|(_, rank)| *rank) != furthest).then(|| format!("its rank is not {furthest:?}"))
    }
}
