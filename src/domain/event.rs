//! A status event, stamped: what one message says of one call.

use super::{
    Call, CallField, CallId, CallStatus, CdrTimes, Direction, Extras, Field, LeftOut, Moment,
    Origin, Rank, SipReason, Source, StatusProgress, TimelineEntry, Timestamp,
};

/// The keys of an event whose values may make no sense, while the rest of it is taken.
pub const EVENT_FIELDS: [&str; 16] = [
    "call_status",
    "sip_status",
    "sip_reason",
    "duration",
    "at",
    "attempted_at",
    "answered_at",
    "terminated_at",
    "call_id",
    "from",
    "service_url",
    "to",
    "application_sid",
    "caller_name",
    "originating_sip_trunk_name",
    "parent_call_sid",
];

/// The times that an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTimes {
    /// The event's own time: it decides between values of one rank. None where a record was
    /// imported without any time.
    pub at: Option<Moment>,
    /// Where the call stands in lists, if this event registers it and says so.
    pub listed_at: Option<Timestamp>,
    /// When the call was first heard of, as far as this event knows.
    pub attempted_at: Option<Timestamp>,
    /// When the call was answered, as far as this event knows.
    pub answered_at: Option<Timestamp>,
    /// When the call ended, as far as this event knows.
    pub terminated_at: Option<Timestamp>,
    /// When the call was first heard of, where the source said so itself.
    pub said_attempted_at: Option<Timestamp>,
    /// When the call was answered, where the source said so itself.
    pub said_answered_at: Option<Timestamp>,
    /// When the call ended is what the source said.
    pub end_said: bool,
}

impl EventTimes {
    /// The stamp of a live event: a webhook that says `status` at this time.
    pub fn live(at: impl Into<Moment>, status: Option<CallStatus>) -> Self {
        let at = at.into();
        let when = |yes: bool| yes.then_some(at.time());
        Self {
            at: Some(at),
            attempted_at: Some(at.time()),
            answered_at: when(status == Some(CallStatus::InProgress)),
            terminated_at: when(status.is_some_and(|s| s.rank() == Rank::Terminal)),
            ..Self::default()
        }
    }

    /// The stamp of a state that was read from jambonz's Redis. A time that is not known stays unknown.
    pub fn mirrored(seen: MirroredAt, status: Option<CallStatus>) -> Self {
        let MirroredAt::Live { at, began, reached } = seen else { return Self::default() };
        let live = Self::live(at, status);
        Self {
            attempted_at: live.attempted_at.filter(|_| began),
            answered_at: live.answered_at.filter(|_| reached),
            terminated_at: live.terminated_at.filter(|_| reached),
            ..live
        }
    }
}

/// What is known of when a call came to the state in which it was read from jambonz's Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirroredAt {
    /// It was found there afterwards.
    Unknown,
    /// It was read as it changed.
    Live {
        at: Moment,
        /// The call began then: nothing of it was there before.
        began: bool,
        /// Its status was reached then, and not another value changed.
        reached: bool,
    },
}

/// An event that has been received. Everything that follows is a function of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedEvent {
    /// Account and call.
    pub id: CallId,
    /// How it came.
    pub source: Source,
    /// Its times.
    pub stamp: EventTimes,
    /// None where this version does not know the word that was sent.
    pub status: Option<CallStatus>,
    /// 100..=699; the status's usual one where the source sent none.
    pub sip_status: Option<u16>,
    /// The reason phrase.
    pub sip_reason: Option<Box<str>>,
    /// Whole seconds; used only where the status is final.
    pub duration: Option<u32>,
    /// Inbound or outbound.
    pub direction: Direction,
    /// By [`CallField`].
    pub texts: [Option<Box<str>>; CallField::ALL.len()],
    /// Unknown keys and their values as compact JSON; ascending by key, without repetition.
    pub extras: Vec<(Box<str>, Box<str>)>,
    /// What else it said, and cannot be kept.
    pub left_out: LeftOut,
    /// Of [`EVENT_FIELDS`] those whose values could not be read.
    pub unread: Vec<&'static str>,
}

impl StampedEvent {
    /// The record of a call that has this event alone.
    pub(super) fn into_call(self, listed_at: Timestamp) -> Call {
        let by_cdr = self.source == Source::Cdr;
        // A CDR is written when the call has ended.
        let said = self.status.filter(|status| !by_cdr || status.rank() == Rank::Terminal);
        let status = said.unwrap_or(CallStatus::Trying);
        let rank = status.rank();
        let origin = Origin { rank: if by_cdr { Rank::Cdr } else { rank }, at: self.stamp.at };
        let terminal = rank == Rank::Terminal;
        let sip_status = match said {
            Some(status) => self.sip_status.unwrap_or(status.usual_sip_status()),
            None => status.usual_sip_status(),
        };
        let progress = StatusProgress {
            status,
            // A word that is not understood must not win over one that is.
            at: said.and(self.stamp.at),
            sip_status,
            terminated_at: self.stamp.terminated_at.filter(|_| terminal),
            end_said: terminal && self.stamp.end_said,
            duration: self.duration.filter(|_| terminal),
            by_cdr,
        };
        let cdr = if by_cdr {
            CdrTimes {
                attempted_at: self.stamp.attempted_at,
                answered_at: self.stamp.answered_at,
                end: self.stamp.terminated_at.map(|at| (at, self.duration)),
            }
        } else {
            CdrTimes::default()
        };
        let stamp = if by_cdr { EventTimes::default() } else { self.stamp };
        let entry = TimelineEntry {
            at: self.stamp.at,
            source: self.source,
            status: said,
            sip_status: self.sip_status.unwrap_or(sip_status),
        };
        let reason = said.and(self.sip_reason).filter(|text| !text.is_empty());
        Call {
            id: self.id,
            listed_at,
            stale: false,
            namesake: false,
            progress,
            reason: reason.map(|text| SipReason { text, sip_status, origin }),
            attempted_at: stamp.attempted_at,
            said_attempted_at: stamp.said_attempted_at,
            said_answered_at: stamp.said_answered_at,
            answered_at: stamp.answered_at,
            cdr,
            direction: Field { value: self.direction, origin },
            texts: self.texts.map(|text| text.map(|value| Field { value, origin })),
            extras: Extras::of(self.extras, self.left_out, origin),
            timeline: vec![entry],
        }
    }
}
