//! Calls of every kind, and what a list of them should be: the plainest model there is.

use super::super::harness::{A1, Rollcall};

/// Every status, in the order of the contract.
pub const STATUSES: [&str; 10] = [
    "trying",
    "ringing",
    "alerting",
    "early-media",
    "in-progress",
    "completed",
    "failed",
    "busy",
    "no-answer",
    "queued",
];
const FROM: [&str; 4] = ["+15551230001", "15551230001", "bob", "anna,bea"];
const TO: [&str; 3] = ["+18005550100", "sip:carol@example.org;transport=tcp", "15083084809"];

/// One call of account [`A1`] with the one event that it has.
#[derive(Debug, Clone)]
pub struct Sample {
    pub sid: String,
    /// When it was listed, in milliseconds since 1970.
    pub at: i64,
    pub status: &'static str,
    pub direction: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

impl Sample {
    /// The event.
    pub fn event(&self) -> String {
        format!(
            "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"{}\",\"from\":\"{}\",\
             \"to\":\"{}\",\"call_id\":\"x\",\"call_status\":\"{}\",\"at\":{}}}",
            self.sid, self.direction, self.from, self.to, self.status, self.at
        )
    }
}

/// This machine's time, in milliseconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// So many calls, the oldest first, three of them in each second; sids are in no order.
pub fn samples(count: u32) -> Vec<Sample> {
    let begun = now() - 20 * 60_000;
    let pick = |from: &[&'static str], n: u32| from[n as usize % from.len()];
    let one = |n: u32| Sample {
        sid: format!("c0000000-0000-4000-8000-{:012x}", n * 7919 % 65_521),
        at: begun + i64::from(n / 3) * 1000,
        status: pick(&STATUSES, n),
        direction: if n.is_multiple_of(3) { "outbound" } else { "inbound" },
        from: pick(&FROM, n / 2),
        to: pick(&TO, n / 5),
    };
    (0..count).map(one).collect()
}

/// A server that has these calls.
pub fn server_with(samples: &[Sample]) -> Rollcall {
    let rollcall = Rollcall::up(&[]);
    send(&rollcall, samples);
    rollcall
}

/// Sends the events of these calls.
pub fn send(rollcall: &Rollcall, samples: &[Sample]) {
    let events: Vec<_> = samples.iter().map(Sample::event).collect();
    let answer = rollcall.post_events(&events.join("\n"));
    assert_eq!(answer.status, 204, "{answer:?}");
}

/// The sids of those that are wanted: newest first, ties by ascending sid.
pub fn newest_first(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Vec<String> {
    let mut found: Vec<_> = samples.iter().filter(|sample| wanted(sample)).collect();
    found.sort_by_key(|sample| (-sample.at, &sample.sid));
    found.into_iter().map(|sample| sample.sid.clone()).collect()
}
