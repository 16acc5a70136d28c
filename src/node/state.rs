//! How a node is, and what that means for those who ask it.

use std::fmt;
use std::time::{Duration, Instant};

use super::Node;
use super::health::Untrusted;
use super::submit::UNKNOWN;
use crate::clock;
use crate::cluster::{Following, ReadError, Sameness, Stopped};
use crate::config::WithoutQuorum;

/// The log's leader says in this time how far it reaches, or there is none.
const UNHEARD: Duration = Duration::from_secs(15);
/// How long a node listens before it takes itself for the first.
pub(super) const LISTENS: Duration = Duration::from_secs(5);

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It has not caught up with the log since its start.
    Starting(Option<String>),
    Live,
    /// The log takes nothing: there is no quorum, or no connection.
    Away,
    /// The log begins after what was applied here: the node has to be made anew from a backup of another one.
    Behind {
        first: u64,
    },
    /// The log is not the one that was applied, or has lost messages.
    Different(String),
    /// The log has lost messages that were applied here: what they did is put into it again, and then it is read on.
    GivingBack(String),
    /// Nothing more is applied.
    Stopped(String),
}

impl State {
    /// The word of `status` and of heartbeats.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Starting(_) => "starting",
            Self::Live => "live",
            Self::Away => "away",
            Self::Behind { .. } => "behind",
            Self::Different(_) => "different",
            Self::GivingBack(_) => "giving back",
            Self::Stopped(_) => "stopped",
        }
    }

    /// Why it is no longer so as it should be, and what to do; none where nothing is wrong for good.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::Starting(None) | Self::Live => None,
            Self::Starting(Some(why)) => {
                Some(format!("this node has not caught up with the log: {why}"))
            }
            Self::Away => Some("the log has no quorum, or no server can be reached".to_owned()),
            Self::Behind { first } => Some(format!(
                "this node is further behind than the log reaches, which begins with message {first}: make it \
                 anew in an empty directory with a backup of another node (`ssh NODE rollcall backup - | rollcall cluster seed \
                 -`), and delete this one: it may have calls that were erased on the others"
            )),
            Self::Different(why) => {
                Some(format!("the log is not the one that this node has applied: {why}"))
            }
            Self::GivingBack(why) => Some(format!(
                "the log has lost messages that this node has applied, which gives back what they did and goes on by \
                 itself: {why}"
            )),
            Self::Stopped(why) => Some(format!("this node applies nothing more: {why}")),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem() {
            Some(problem) => write!(f, "{}: {problem}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

impl Node {
    /// Why nothing is given to the log, where its servers are the reason.
    pub(super) fn refusal(&self) -> Option<Untrusted> {
        self.health.lock().refusal(Instant::now())
    }

    pub(super) fn why_not_begun(&self) -> String {
        let why = self.stopped.lock().clone().or_else(|| self.waits_for.lock().clone());
        why.unwrap_or_else(|| "this node has not found the log yet".to_owned())
    }

    /// How it is now.
    pub fn state(&self) -> State {
        if let Some(state) = self.broken() {
            return state;
        }
        let Some(running) = self.running() else {
            return State::Starting(Some(self.why_not_begun()));
        };
        let away = match &*running.following.borrow() {
            Following::Away(error) => Some(error.to_string()),
            _ => None,
        };
        if self.caught_up.borrow().is_none() {
            return State::Starting(away);
        }
        let is_away = away.is_some()
            || running.packer.is_away()
            || self.silence() > UNHEARD.min(self.config.max_lag);
        if is_away { State::Away } else { State::Live }
    }

    /// For how long it has not been known how far the log reaches.
    pub(super) fn silence(&self) -> Duration {
        let heard = self.health.lock().leader_heard;
        heard.map(|heard| heard.elapsed()).unwrap_or_default()
    }

    /// Nothing is to be waited for: it has caught up, and knows its servers.
    pub(super) fn is_fine(&self) -> bool {
        self.refusal().is_none() && self.caught_up.borrow().is_some()
    }

    /// The log is not the one that was applied, or has lost some of it.
    pub(super) fn differs(&self) -> bool {
        matches!(self.broken(), Some(State::Different(_) | State::GivingBack(_)))
    }

    /// What does not pass by itself.
    pub(super) fn broken(&self) -> Option<State> {
        if let Some(why) = self.stopped.lock().clone() {
            return Some(State::Stopped(why));
        }
        let running = self.running()?;
        let differs = self.differs.lock().clone();
        if let Some(doing) = differs.giving_back {
            return Some(State::GivingBack(doing));
        }
        let more = differs.why.map(|why| format!("; {why}")).unwrap_or_default();
        match &*running.following.borrow() {
            Following::Stopped(
                Stopped::Differs(Sameness::Behind { first })
                | Stopped::Unreadable(ReadError::Behind { first, .. }),
            ) => return Some(State::Behind { first: *first }),
            Following::Stopped(why) => return Some(State::Different(format!("{why}{more}"))),
            _ => {}
        }
        let why = self.health.lock().other.map(Stopped::Differs)?;
        Some(State::Different(format!("{why}{more}")))
    }

    /// Says in the log what has changed.
    pub(super) fn look_at_state(&self) {
        let state = self.state();
        let changed = self.told.send_if_modified(|before| {
            let differs = *before != state;
            before.clone_from(&state);
            differs
        });
        if !changed {
            return;
        }
        let shown = state.to_string();
        match state {
            State::Live => tracing::info!("the node is up with the log"),
            State::Starting(_) => tracing::info!(state = shown, "the node reads the log"),
            _ => tracing::warn!(state = shown, "the node is not as it should be"),
        }
    }

    /// Whether what one node does for all is for this one to do.
    pub fn is_first(&self) -> bool {
        let now = Instant::now();
        let Some(running) = self.running() else { return false };
        let since = *self.caught_up.borrow();
        let listened = since.is_some_and(|at| now.saturating_duration_since(at) >= LISTENS);
        let epoch = running.life();
        // Until the message has come that ends what was given back, it is not known what is still to be done.
        let is_turning = self.store.position().is_none_or(|position| position.seq < position.turn);
        if !listened || is_turning || self.broken().is_some() {
            return false;
        }
        let health = self.health.lock();
        !health.has_namesake(now) && health.peers.is_first(&self.name, &epoch, now)
    }

    /// Whether lists are answered as they should be: an error says why not.
    pub fn lists(&self) -> Result<(), String> {
        match self.state() {
            State::Live | State::Away => {}
            State::Starting(None) => {
                return Err("this node has not caught up with the log yet".to_owned());
            }
            state => return Err(state.problem().unwrap_or_else(|| state.word().to_owned())),
        }
        let (lag, most) = (self.lag(), self.config.max_lag);
        if lag > most {
            let (seconds, most) = (lag.as_secs(), most.as_secs());
            return Err(format!(
                "this node is {seconds} s behind the log, and more than {most} s (cluster.max_lag) count as away"
            ));
        }
        let silence = self.silence();
        if silence > most && !self.hears_all_others() {
            let (seconds, most) = (silence.as_secs(), most.as_secs());
            return Err(format!(
                "the leader of the log was heard last {seconds} s ago, more than {most} s (cluster.max_lag), and not all other \
                 nodes are heard: they may have gone on without this one"
            ));
        }
        Ok(())
    }

    /// Whether events are taken, into the log or onto this machine's disk: an error says why not.
    pub fn events(&self) -> Result<(), String> {
        if self.running().is_none() {
            return Err(self.why_not_begun());
        }
        if let Some(why) = self.holds_back() {
            return Err(why);
        }
        let keeps = self.config.without_quorum == WithoutQuorum::Keep;
        match self.refusal() {
            Some(Untrusted::Servers(why)) => return Err(why),
            Some(Untrusted::Unknown) if !keeps => return Err(UNKNOWN.to_owned()),
            _ => {}
        }
        if self.state() != State::Away {
            return Ok(());
        }
        if !keeps {
            let refused = "the log has no quorum, and events are refused (cluster.without_quorum)";
            return Err(refused.to_owned());
        }
        if self.store.kept().bytes < self.config.kept_bytes {
            return Ok(());
        }
        Err("the log has no quorum, and no more is kept here (cluster.kept_bytes)".to_owned())
    }

    /// What becomes of events for want of a quorum, as a word and a sentence; none where there is one.
    pub fn away(&self) -> Option<(&'static str, &'static str)> {
        if self.state() != State::Away {
            return None;
        }
        Some(match self.config.without_quorum {
            WithoutQuorum::Keep if self.events().is_err() => {
                ("refusing", "the log takes nothing, and no events are kept on this machine")
            }
            WithoutQuorum::Keep => {
                ("kept", "the log has no quorum: events are kept on this machine and shown later")
            }
            WithoutQuorum::Refuse => ("refusing", "the log has no quorum: events are refused"),
        })
    }

    /// How old the first message is that is known and not applied here.
    pub(super) fn lag(&self) -> Duration {
        let (health, now) = (self.health.lock(), Instant::now());
        health.lag.time(health.log_clock(clock::now(), now), now)
    }

    /// No other node has gone on with the log without this one.
    pub(super) fn hears_all_others(&self) -> bool {
        let Some(running) = self.running() else { return false };
        let epoch = running.life();
        self.health.lock().peers.hears_all(&epoch, Instant::now())
    }

    /// Why nothing is taken, whatever the servers say: it would not be applied here in time, or is for another log.
    pub(super) fn holds_back(&self) -> Option<String> {
        if let Some(state @ (State::Different(_) | State::GivingBack(_))) = self.broken() {
            return state.problem();
        }
        self.health.lock().overrun()
    }
}
