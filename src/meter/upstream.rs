//! How jambonz's API answers questions about tokens.

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::domain::Timestamp;

/// All instruments of the questions about tokens.
#[derive(Debug, Default)]
pub struct UpstreamMetrics {
    questions: [Counter; TokenAnswer::ALL.len()],
    unavailable: [Counter; Unasked::ALL.len()],
    /// Requests whose token had been asked about before.
    pub cached: Counter,
    /// Those of them for which an answer had to do that was too old.
    pub stale: Counter,
    /// Answers that are remembered.
    pub remembered: Gauge,
    state: Mutex<Option<UpstreamState>>,
}

/// What jambonz said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAnswer {
    Accepted,
    /// The token is good, and not for that account.
    Forbidden,
    Unknown,
    /// A made-up token was refused, as it should be, or it was asked about a made-up account.
    Proof,
    /// It answers no more for now (429).
    Limited,
    /// There was none, or none that jambonz gives.
    Failed,
}

impl TokenAnswer {
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::Forbidden, Self::Unknown, Self::Proof, Self::Limited, Self::Failed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Forbidden => "forbidden",
            Self::Unknown => "unknown",
            Self::Proof => "proof",
            Self::Limited => "limited",
            Self::Failed => "failed",
        }
    }
}

/// Why a token could not be asked about, so that its request was answered 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unasked {
    /// As many questions were asked as may be.
    Budget,
    /// The same for the client's address.
    AddressBudget,
    /// jambonz answers no more for now.
    Limited,
    /// It does not answer.
    Failed,
    /// Its answer about this token does not count.
    Token,
}

impl Unasked {
    pub const ALL: [Self; 5] =
        [Self::Budget, Self::AddressBudget, Self::Limited, Self::Failed, Self::Token];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::AddressBudget => "address_budget",
            Self::Limited => "limited",
            Self::Failed => "failed",
            Self::Token => "token",
        }
    }
}

/// How it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamState {
    /// Who is asked.
    pub url: String,
    /// When an answer came last.
    pub answered_at: Option<Timestamp>,
    /// Since when there are none, and why.
    pub failing: Option<(Timestamp, String)>,
}

impl UpstreamMetrics {
    /// How it is; none where nobody is asked.
    pub fn state(&self) -> Option<UpstreamState> {
        self.state.lock().clone()
    }

    /// This API is to be asked.
    pub fn begin(&self, url: &str) {
        url.clone_into(&mut self.state.lock().get_or_insert_default().url);
    }

    /// A question was answered. Whether the one before was not.
    pub fn answered(&self, answer: TokenAnswer, now: Timestamp) -> bool {
        self.count(answer);
        let mut state = self.state.lock();
        let state = state.get_or_insert_default();
        state.answered_at = Some(now);
        state.failing.take().is_some()
    }

    /// A question has no answer that counts.
    pub fn failed(&self, answer: TokenAnswer, why: &str, now: Timestamp) {
        self.count(answer);
        let mut state = self.state.lock();
        let failing = &mut state.get_or_insert_default().failing;
        let since = failing.as_ref().map_or(now, |(since, _)| *since);
        *failing = Some((since, why.to_owned()));
    }

    /// Counts a question.
    pub fn count(&self, answer: TokenAnswer) {
        if let Some(counter) = self.questions.get(answer as usize) {
            counter.inc();
        }
    }

    /// A request is answered 503.
    pub fn unavailable(&self, why: Unasked) {
        if let Some(counter) = self.unavailable.get(why as usize) {
            counter.inc();
        }
    }

    /// Questions by their answers.
    pub fn questions(&self) -> impl Iterator<Item = (TokenAnswer, u64)> {
        TokenAnswer::ALL.into_iter().zip(self.questions.iter().map(Counter::get))
    }

    /// Requests that were answered 503, by the reason.
    pub fn refused(&self) -> impl Iterator<Item = (Unasked, u64)> {
        Unasked::ALL.into_iter().zip(self.unavailable.iter().map(Counter::get))
    }
}
