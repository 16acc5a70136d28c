//! Status, direction, and how far along a call is.

use std::fmt;
use std::str::FromStr;

/// `call_status` as jambonz sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallStatus {
    Trying,
    Ringing,
    Alerting,
    EarlyMedia,
    InProgress,
    Completed,
    Failed,
    Busy,
    NoAnswer,
    Queued,
}

impl CallStatus {
    /// Every status, in the order of the published specification.
    pub const ALL: [Self; 10] = [
        Self::Trying,
        Self::Ringing,
        Self::Alerting,
        Self::EarlyMedia,
        Self::InProgress,
        Self::Completed,
        Self::Failed,
        Self::Busy,
        Self::NoAnswer,
        Self::Queued,
    ];

    /// The word in JSON and in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Ringing => "ringing",
            Self::Alerting => "alerting",
            Self::EarlyMedia => "early-media",
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Busy => "busy",
            Self::NoAnswer => "no-answer",
            Self::Queued => "queued",
        }
    }

    /// How far along the call is.
    pub const fn rank(self) -> Rank {
        match self {
            Self::Queued | Self::Trying => Rank::Trying,
            Self::Ringing | Self::Alerting => Rank::Ringing,
            Self::EarlyMedia => Rank::EarlyMedia,
            Self::InProgress => Rank::InProgress,
            Self::Completed | Self::Failed | Self::Busy | Self::NoAnswer => Rank::Terminal,
        }
    }

    /// The SIP status that stands for it where a source names none (RFC 3261, section 21).
    pub const fn usual_sip_status(self) -> u16 {
        match self {
            Self::Trying | Self::Queued => 100,
            Self::Ringing | Self::Alerting => 180,
            Self::EarlyMedia => 183,
            Self::InProgress | Self::Completed => 200,
            Self::Busy => 486,
            Self::NoAnswer => 480,
            Self::Failed => 500,
        }
    }
}

/// How far along a call is; the order is that of the merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// That of no status: values of a CDR have it, which count where no other source has any.
    Cdr,
    Trying,
    Ringing,
    EarlyMedia,
    InProgress,
    Terminal,
}

/// `direction` as jambonz sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Inbound, Self::Outbound];

    /// The word in JSON and in queries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

macro_rules! words {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = ();

            /// Exact and case-sensitive, as in jambonz.
            fn from_str(text: &str) -> Result<Self, ()> {
                Self::ALL.into_iter().find(|word| word.as_str() == text).ok_or(())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
words!(CallStatus);
words!(Direction);
