//! How a node is, and what that means for those who ask it.

use std::fmt;

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
