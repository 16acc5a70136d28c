//! The record of a call: its values, and where each came from.

use std::borrow::Cow;

use super::{AccountSid, CallSid, CallStatus, Direction, Extras, Moment, Rank, Timestamp};

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
    /// jambonz's Redis, as it was read.
    Mirror,
    /// A CDR: what an SBC writes of a call once it has ended.
    Cdr,
}

impl Source {
    /// The word in exports and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Import => "import",
            Self::Mirror => "mirror",
            Self::Cdr => "cdr",
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
    pub at: Option<Moment>,
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<T> {
    pub value: T,
    pub origin: Origin,
}

/// The texts that the Call object names; every one of them may be absent from an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallField {
    CallId,
    From,
    ServiceUrl,
    To,
    ApplicationSid,
    CallerName,
    OriginatingSipTrunkName,
    ParentCallSid,
}

impl CallField {
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
pub struct StatusProgress {
    pub status: CallStatus,
    /// The time of the deciding event, where it is known.
    pub at: Option<Moment>,
    /// 100..=699.
    pub sip_status: u16,
    /// When the call ended, said by the event that ended it.
    pub terminated_at: Option<Timestamp>,
    /// The source said when, and not the clock of the receipt.
    pub end_said: bool,
    /// Whole seconds, said by the event that ended it.
    pub duration: Option<u32>,
    /// It is what a CDR says: any other event of its rank comes before it.
    pub by_cdr: bool,
}

/// The times of a call that CDRs say. Each counts where no other source has said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CdrTimes {
    /// The least.
    pub attempted_at: Option<Timestamp>,
    /// The least.
    pub answered_at: Option<Timestamp>,
    /// The last one, and the whole seconds of the call that were said with it.
    pub end: Option<(Timestamp, Option<u32>)>,
}

/// A reason phrase, and the status that it was sent with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipReason {
    /// The phrase; never empty.
    pub text: Box<str>,
    /// 100..=699.
    pub sip_status: u16,
    /// Where it came from.
    pub origin: Origin,
}

/// One line of a call's timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimelineEntry {
    /// The time of the event, where it is known.
    pub at: Option<Moment>,
    /// How it came.
    pub source: Source,
    /// What it said; none where this version does not know the word that was sent, or where the
    /// call became stale.
    pub status: Option<CallStatus>,
    /// 100..=699.
    pub sip_status: u16,
}

/// The record of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Account and call.
    pub id: CallId,
    /// The call's place in lists: fixed when it is registered.
    pub listed_at: Timestamp,
    /// No event for longer than a call may live, and no final one.
    pub stale: bool,
    /// When the call was registered another account had a call of this sid: it is listed and nothing
    /// else, since a feature server knows calls by their sids alone. Fixed like the place in lists.
    pub namesake: bool,
    /// The status and what came with it.
    pub progress: StatusProgress,
    /// The reason phrase of the event that came farthest and had one.
    pub reason: Option<SipReason>,
    /// The least event time known, those of CDRs apart.
    pub attempted_at: Option<Timestamp>,
    /// The least time at which a source itself said that the call began.
    pub said_attempted_at: Option<Timestamp>,
    /// The least time at which a source itself said that the call was answered.
    pub said_answered_at: Option<Timestamp>,
    /// The least time of an `in-progress` event.
    pub answered_at: Option<Timestamp>,
    /// What CDRs say of the same times, and of the end.
    pub cdr: CdrTimes,
    /// Inbound or outbound.
    pub direction: Field<Direction>,
    /// By [`CallField`].
    pub texts: [Option<Field<Box<str>>>; CallField::ALL.len()],
    /// The keys that rollcall does not know.
    pub extras: Extras,
    /// Ascending, without repetition; the last [`TIMELINE_MAX`].
    pub timeline: Vec<TimelineEntry>,
}

impl Call {
    /// The value of a known text.
    pub fn text(&self, field: CallField) -> Option<&str> {
        self.texts.get(field as usize)?.as_ref().map(|field| &*field.value)
    }

    /// The text of a further key: that of a string, or a number as it was sent.
    pub fn further_text(&self, key: &str) -> Option<Cow<'_, str>> {
        let kept = &self.extras.kept;
        let at = kept.binary_search_by(|extra| (*extra.key).cmp(key)).ok()?;
        let json = &*kept.get(at)?.json;
        match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(text) if !text.contains('\\') => Some(Cow::Borrowed(text)),
            Some(_) => serde_json::from_str(json).ok().map(Cow::Owned),
            None => {
                json.starts_with(|c: char| c == '-' || c.is_ascii_digit()).then_some(json.into())
            }
        }
    }

    /// About how many bytes of text it has.
    pub fn weight(&self) -> usize {
        let texts: usize = self.texts.iter().flatten().map(|field| field.value.len()).sum();
        let extras: usize = self.extras.kept.iter().map(super::Extra::size).sum();
        let dropped: usize = self.extras.dropped.iter().map(|gone| gone.key.len() + 24).sum();
        256 + texts + extras + dropped
    }

    /// The A leg, where this is a dialled B leg and names it properly.
    pub fn parent(&self) -> Option<CallSid> {
        self.text(CallField::ParentCallSid)?.parse().ok()
    }

    /// The call has ended.
    pub fn ended(&self) -> bool {
        self.progress.status.rank() == Rank::Terminal
    }

    /// The call is active, as far as its events say.
    pub fn live(&self) -> bool {
        !self.ended() && !self.stale
    }

    /// When the call began, as far as is known.
    pub fn attempted_at(&self) -> Option<Timestamp> {
        self.attempted_at.or(self.cdr.attempted_at)
    }

    /// When the call was answered, as far as is known.
    pub fn answered_at(&self) -> Option<Timestamp> {
        self.answered_at.or(self.cdr_answered_at())
    }

    fn cdr_answered_at(&self) -> Option<Timestamp> {
        self.cdr.answered_at.filter(|_| !self.unanswered())
    }

    /// Another source than a CDR says that the call has ended and was not answered.
    fn unanswered(&self) -> bool {
        let StatusProgress { status, by_cdr, .. } = self.progress;
        self.ended() && !by_cdr && status != CallStatus::Completed && self.answered_at.is_none()
    }

    /// When the call ended, as far as is known.
    pub fn terminated_at(&self) -> Option<Timestamp> {
        let by_cdr = || self.cdr.end.filter(|_| self.ended()).map(|(at, _)| at);
        self.progress.terminated_at.or_else(by_cdr)
    }

    /// The call was answered: it says when, or its status says so.
    pub fn answered(&self) -> bool {
        let by_status =
            matches!(self.progress.status, CallStatus::InProgress | CallStatus::Completed);
        by_status || self.answered_at().is_some()
    }

    /// The reason phrase of its SIP status, where a source sent one: that of an earlier status says
    /// nothing of a later one.
    pub fn sip_reason(&self) -> Option<&str> {
        let reason = self.reason.as_ref()?;
        (reason.sip_status == self.progress.sip_status).then_some(&*reason.text)
    }

    /// Whole seconds from answer to end: as the source said, else as its times say, else as a CDR says.
    pub fn duration(&self) -> Option<u64> {
        if !self.ended() {
            return None;
        }
        if let Some(seconds) = self.progress.duration.map(u64::from)
            && self.longest().is_none_or(|longest| seconds <= longest)
        {
            return Some(seconds);
        }
        let seconds =
            |(from, to): (Timestamp, Timestamp)| to.millis().saturating_sub(from.millis()) / 1000;
        if let Some(own) = self.answered_at.zip(self.progress.terminated_at) {
            return Some(seconds(own));
        }
        if let Some((_, Some(said))) = self.cdr.end.filter(|_| !self.unanswered()) {
            return Some(said.into());
        }
        self.answered_at().zip(self.terminated_at()).map(seconds)
    }

    /// The seconds that the call can have taken at most. Only sources know that: none where its
    /// beginning or its end is when rollcall heard of it. A source may round up.
    fn longest(&self) -> Option<u64> {
        let until = self.progress.terminated_at.filter(|_| self.progress.end_said)?;
        // What a CDR alone knows it has said.
        let said = |said: Option<Timestamp>, known: Option<Timestamp>, cdr: Option<Timestamp>| {
            if known.is_none() { cdr.is_some() } else { said == known }
        };
        let begun = said(self.said_attempted_at, self.attempted_at, self.cdr.attempted_at)
            || said(self.said_answered_at, self.answered_at, self.cdr_answered_at());
        let times = (self.attempted_at(), self.answered_at());
        let since = super::join::least(times.0, times.1).filter(|_| begun)?;
        Some(until.millis().saturating_sub(since.millis()).div_ceil(1000) + 1)
    }

    /// When the newest event came, or the call was registered where none has a time.
    pub fn last_event_at(&self) -> Timestamp {
        let newest = self.timeline.iter().filter(|entry| entry.source != Source::Sweep);
        newest.filter_map(|entry| entry.at).max().map_or(self.listed_at, Moment::time)
    }
}
