//! The record of a call: what is known of it, and where each value came from.

use super::{AccountSid, CallSid, CallStatus, Direction, Rank, Timestamp};

/// Extra keys that a record keeps: those that come first by name.
pub const EXTRAS_MAX: usize = 64;
/// Bytes of extra keys and values that a record keeps.
pub const EXTRA_BYTES_MAX: usize = 10 * 1024;
/// Bytes of one known text, such as `from`.
pub const TEXT_BYTES_MAX: usize = 512;
/// Changes that a record remembers.
pub const TIMELINE_MAX: usize = 32;

/// A call's full name: no call is ever looked up without its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The owner.
    pub account: AccountSid,
    /// The leg.
    pub sid: CallSid,
}

/// How a change reached rollcall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The call status webhook.
    Webhook,
    /// `rollcall import`.
    Import,
    /// rollcall itself: the sweep for stale calls.
    Sweep,
}

impl Source {
    /// The word in exports and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Import => "import",
            Self::Sweep => "sweep",
        }
    }
}

/// Where a value came from. Of two values the greater origin wins; an unknown time is the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The rank of the event.
    pub rank: Rank,
    /// The time of the event, where it is known.
    pub at: Option<Timestamp>,
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Field<T> {
    pub value: T,
    pub origin: Origin,
}

/// The texts that the Call object names; every one of them may be absent from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of the jambonz REST API")]
pub enum Known {
    CallId,
    From,
    ServiceUrl,
    To,
    ApplicationSid,
    CallerName,
    OriginatingSipTrunkName,
    ParentCallSid,
}

impl Known {
    /// Every one, in the order in which a call's JSON has them.
    pub const ALL: [Self; 8] = [
        Self::CallId,
        Self::From,
        Self::ServiceUrl,
        Self::To,
        Self::ApplicationSid,
        Self::CallerName,
        Self::OriginatingSipTrunkName,
        Self::ParentCallSid,
    ];

    /// The key in JSON.
    pub const fn key(self) -> &'static str {
        match self {
            Self::CallId => "call_id",
            Self::From => "from",
            Self::ServiceUrl => "service_url",
            Self::To => "to",
            Self::ApplicationSid => "application_sid",
            Self::CallerName => "caller_name",
            Self::OriginatingSipTrunkName => "originating_sip_trunk_name",
            Self::ParentCallSid => "parent_call_sid",
        }
    }
}

/// What came together from the event that decides the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The status.
    pub status: CallStatus,
    /// The time of the deciding event, where it is known.
    pub at: Option<Timestamp>,
    /// 100..=699.
    pub sip_status: u16,
    /// The reason phrase, where the source sent one.
    pub sip_reason: Option<Box<str>>,
    /// When the call ended, said by the event that ended it.
    pub terminated_at: Option<Timestamp>,
    /// Whole seconds, said by the event that ended it.
    pub duration: Option<u32>,
}

/// A key that rollcall does not know, kept as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extra {
    /// The key.
    pub key: Box<str>,
    /// The value: one compact JSON text.
    pub json: Box<str>,
    /// Where the value came from.
    pub origin: Origin,
    /// The most bytes that key and value have ever had together. Which keys fit is decided by it,
    /// so that it does not depend on the order in which events arrive.
    pub bytes_max: u16,
}

impl Extra {
    /// The bytes of key and value.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.json.len()
    }
}

/// One line of a call's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// The time of the event, where it is known.
    pub at: Option<Timestamp>,
    /// How it came.
    pub source: Source,
    /// What it said; none where this version does not know the word that was sent, or where the
    /// call became stale.
    pub status: Option<CallStatus>,
    /// 100..=699.
    pub sip_status: u16,
}

/// All that is known of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Account and call.
    pub id: CallId,
    /// The call's place in lists: fixed when it is registered.
    pub listed_at: Timestamp,
    /// No event for longer than a call may live, and no final one.
    pub stale: bool,
    /// The status and what came with it.
    pub progress: Progress,
    /// The least event time known.
    pub attempted_at: Option<Timestamp>,
    /// The least time of an `in-progress` event.
    pub answered_at: Option<Timestamp>,
    /// Inbound or outbound.
    pub direction: Field<Direction>,
    /// By [`Known`].
    pub texts: [Option<Field<Box<str>>>; Known::ALL.len()],
    /// Ascending by key, without repetition.
    pub extras: Vec<Extra>,
    /// The least key that did not fit; neither it nor any greater one is kept, ever.
    pub extras_cut: Option<Box<str>>,
    /// Ascending, without repetition; the last [`TIMELINE_MAX`].
    pub timeline: Vec<Entry>,
}

impl Call {
    /// The value of a known text.
    pub fn text(&self, known: Known) -> Option<&str> {
        self.texts.get(known as usize)?.as_ref().map(|field| &*field.value)
    }

    /// About how many bytes of text it has.
    pub fn weight(&self) -> usize {
        let texts: usize = self.texts.iter().flatten().map(|field| field.value.len()).sum();
        let extra = |extra: &Extra| extra.key.len() + extra.json.len();
        256 + texts + self.extras.iter().map(extra).sum::<usize>()
    }

    /// The A leg, where this is a dialled B leg and names it properly.
    pub fn parent(&self) -> Option<CallSid> {
        self.text(Known::ParentCallSid)?.parse().ok()
    }

    /// The call has ended.
    pub fn ended(&self) -> bool {
        self.progress.status.rank() == Rank::Terminal
    }

    /// The call is up, as far as anyone knows.
    pub fn live(&self) -> bool {
        !self.ended() && !self.stale
    }

    /// Whole seconds from answer to end: as the source said, else as the times say.
    pub fn duration(&self) -> Option<u64> {
        if !self.ended() {
            return None;
        }
        if let Some(seconds) = self.progress.duration {
            return Some(u64::from(seconds));
        }
        let (from, to) = (self.answered_at?, self.progress.terminated_at?);
        Some(to.millis().saturating_sub(from.millis()) / 1000)
    }

    /// When the newest event came, or the call was registered where none has a time.
    pub fn last_event_at(&self) -> Timestamp {
        let newest = self.timeline.iter().filter(|entry| entry.source != Source::Sweep);
        newest.filter_map(|entry| entry.at).max().unwrap_or(self.listed_at)
    }
}
