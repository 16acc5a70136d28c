//! The register: what each request to a cluster said, when, to which node, and what was answered.
//!
//! Each event brings a key that no other event of its call has. A merge takes no key away, so a call that is shown says of
//! each event whether it is in it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::harness::{A1, A2, Answer};
use super::super::load::STATUSES;

/// Accounts whose calls are written.
pub const ACCOUNTS: [&str; 3] = [A1, A2, "0c9e7a52-6f0e-4c35-8a80-6a1f6a0f2b11"];

/// Where data stand in the replicated log, as an answer says: `<epoch>-s<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub epoch: String,
    pub seq: u64,
}

impl Position {
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, seq) = text.rsplit_once("-s")?;
        Some(Self { epoch: epoch.to_owned(), seq: seq.parse().ok()? })
    }

    /// That of an answer, where it has one.
    pub fn of(answer: &Answer) -> Option<Self> {
        let text = answer.header("rollcall-position")?;
        Some(Self::parse(text).unwrap_or_else(|| panic!("no position: {text}")))
    }

    /// Whether all up to the other is up to this one as well. Positions of two lives of a log say nothing of each other.
    pub fn reaches(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.seq >= other.seq
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-s{}", self.epoch, self.seq)
    }
}

/// A call: which worker writes it, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    pub worker: usize,
    pub number: usize,
}

impl Call {
    pub fn account(self) -> &'static str {
        ACCOUNTS[(self.worker + self.number) % ACCOUNTS.len()]
    }

    pub fn sid(self) -> String {
        format!("d0000000-0000-4000-8{:03x}-{:012x}", self.worker, self.number)
    }

    pub fn path(self) -> String {
        format!("/v1/Accounts/{}/Calls/{}", self.account(), self.sid())
    }

    /// The call of a sid; none where no worker has made it.
    pub fn of(sid: &str) -> Option<Self> {
        let (worker, number) = sid.strip_prefix("d0000000-0000-4000-8")?.split_once('-')?;
        let read = |text| usize::from_str_radix(text, 16).ok();
        Some(Self { worker: read(worker)?, number: read(number)? })
    }
}

/// An event of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    pub call: Call,
    /// Its key is `e<number>`.
    pub number: usize,
    /// Of [`STATUSES`].
    pub status: usize,
}

impl Event {
    /// As it is sent. The pad makes events of many sizes.
    pub fn json(&self, pad: &str) -> String {
        let Self { call, number, status } = self;
        format!(
            "{{\"account_sid\":\"{}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",\
             \"from\":\"+1555{:07}\",\"to\":\"+15550000000\",\"call_status\":\"{}\",\
             \"pad\":\"{pad}\",\"e{number}\":1}}",
            call.account(),
            call.sid(),
            call.number,
            STATUSES[*status].0,
        )
    }
}

/// What a request wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Events(Vec<Event>),
    Deletion(Call),
}

/// What is known of a request that wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged: it is in the log at this place, on the disks of a quorum.
    Logged(Position),
    /// Acknowledged: it is on the disk of one node, and comes into the log later.
    Kept,
    /// It was not answered, or 503: it may be in the log, or come there, or never.
    Unknown,
}

/// A request that wrote. Times are since the register was begun.
#[derive(Debug, Clone)]
pub struct Submission {
    pub node: usize,
    pub content: Content,
    pub sent: Duration,
    pub answered: Duration,
    pub outcome: Outcome,
}

/// What an answer showed of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    Absent,
    Present { events: BTreeSet<usize>, status: String },
}

impl Shown {
    /// What a call's JSON says.
    pub fn of(call: &Value) -> Self {
        let numbers = call
            .as_object()
            .unwrap()
            .keys()
            .filter_map(|key| key.strip_prefix('e').and_then(|number| number.parse().ok()));
        let status = call["call_status"].as_str().unwrap_or_default().to_owned();
        Self::Present { events: numbers.collect(), status }
    }
}

/// An answer that showed a call, or that there is none.
#[derive(Debug, Clone)]
pub struct Read {
    pub node: usize,
    pub call: Call,
    pub begun: Duration,
    pub ended: Duration,
    /// What was asked for with `Rollcall-At-Least`.
    pub at_least: Option<Position>,
    /// What the answer reached at least.
    pub position: Option<Position>,
    pub shown: Shown,
}

/// All requests of a test.
#[derive(Debug, Default)]
pub struct History {
    pub submissions: Vec<Submission>,
    pub reads: Vec<Read>,
    /// Reads that were answered 503 since the node was behind what was asked for.
    pub behind: usize,
}

/// How much a history has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Events and deletions that are in the log, as was acknowledged.
    pub logged: usize,
    /// Those that were acknowledged by one disk.
    pub kept: usize,
    /// Requests without an answer, and those that were answered 503.
    pub unknown: usize,
    pub reads: usize,
}

impl History {
    pub fn append(&mut self, mut other: Self) {
        self.submissions.append(&mut other.submissions);
        self.reads.append(&mut other.reads);
        self.behind += other.behind;
    }

    pub fn counted(&self) -> Counted {
        let mut counted = Counted { reads: self.reads.len(), ..Counted::default() };
        for submission in &self.submissions {
            let size = match &submission.content {
                Content::Events(events) => events.len(),
                Content::Deletion(_) => 1,
            };
            match submission.outcome {
                Outcome::Logged(_) => counted.logged += size,
                Outcome::Kept => counted.kept += size,
                Outcome::Unknown => counted.unknown += 1,
            }
        }
        counted
    }

    /// The last place in the log at which something was acknowledged.
    pub fn newest(&self) -> Option<Position> {
        let places = self.submissions.iter().filter_map(|submission| match &submission.outcome {
            Outcome::Logged(position) => Some(position),
            Outcome::Kept | Outcome::Unknown => None,
        });
        places.max_by_key(|position| position.seq).cloned()
    }

    /// The longest time in which nothing was acknowledged, from the first acknowledgement to the last of those that
    /// began after this time.
    pub fn longest_silence(&self, since: Duration) -> Duration {
        let acknowledged = self.submissions.iter().filter(|submission| {
            submission.outcome != Outcome::Unknown && submission.answered >= since
        });
        let mut times: Vec<_> = acknowledged.map(|submission| submission.answered).collect();
        times.sort_unstable();
        times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { logged, kept, unknown, reads } = self;
        write!(
            f,
            "{logged} events and deletions acknowledged by a quorum, {kept} by one disk, {unknown} requests \
             without an answer or refused, {reads} reads"
        )
    }
}
