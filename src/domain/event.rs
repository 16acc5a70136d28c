//! A status event, stamped: what one message says of one call.

use super::{
    Call, CallId, CallStatus, Direction, Entry, Extra, Field, Known, Origin, Progress, Source,
    Timestamp,
};

/// The times that an event carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The event's own time: it decides between values of one rank. None where a record was
    /// imported without any time.
    pub at: Option<Timestamp>,
    /// Where the call stands in lists, if this event registers it and says so.
    pub listed_at: Option<Timestamp>,
    /// When the call was first heard of, as far as this event knows.
    pub attempted_at: Option<Timestamp>,
    /// When the call was answered, as far as this event knows.
    pub answered_at: Option<Timestamp>,
    /// When the call ended, as far as this event knows.
    pub terminated_at: Option<Timestamp>,
}

impl Stamp {
    /// The stamp of a live event: a webhook that says `status` at this time.
    pub fn live(at: Timestamp, status: Option<CallStatus>) -> Self {
        let when = |yes: bool| yes.then_some(at);
        Self {
            at: Some(at),
            listed_at: None,
            attempted_at: Some(at),
            answered_at: when(status == Some(CallStatus::InProgress)),
            terminated_at: when(status.is_some_and(|s| s.rank() == super::Rank::Terminal)),
        }
    }
}

/// An event that has been received. Everything that follows is a function of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedEvent {
    /// Account and call.
    pub id: CallId,
    /// How it came.
    pub source: Source,
    /// Its times.
    pub stamp: Stamp,
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
    /// By [`Known`].
    pub texts: [Option<Box<str>>; Known::ALL.len()],
    /// Unknown keys and their values as compact JSON; ascending by key, without repetition.
    pub extras: Vec<(Box<str>, Box<str>)>,
}

impl StampedEvent {
    /// The record of a call of which this event is all that is known.
    pub(super) fn into_call(self, listed_at: Timestamp) -> Call {
        let status = self.status.unwrap_or(CallStatus::Trying);
        let rank = status.rank();
        let origin = Origin { rank, at: self.stamp.at };
        let terminal = rank == super::Rank::Terminal;
        let sip_status = match self.status {
            Some(status) => self.sip_status.unwrap_or(status.usual_sip_status()),
            None => status.usual_sip_status(),
        };
        let progress = Progress {
            status,
            // A word that is not understood must not win over one that is.
            at: self.status.and(self.stamp.at),
            sip_status,
            sip_reason: self.status.and(self.sip_reason),
            terminated_at: self.stamp.terminated_at.filter(|_| terminal),
            duration: self.duration.filter(|_| terminal),
        };
        let entry = Entry {
            at: self.stamp.at,
            source: self.source,
            status: self.status,
            sip_status: self.sip_status.unwrap_or(sip_status),
        };
        let extras = self.extras.into_iter().map(|(key, json)| {
            let bytes = key.len() + json.len();
            Extra { key, json, origin, bytes_max: u16::try_from(bytes).unwrap_or(u16::MAX) }
        });
        Call {
            id: self.id,
            listed_at,
            stale: false,
            progress,
            attempted_at: self.stamp.attempted_at,
            answered_at: self.stamp.answered_at,
            direction: Field { value: self.direction, origin },
            texts: self.texts.map(|text| text.map(|value| Field { value, origin })),
            extras: extras.collect(),
            extras_cut: None,
            timeline: vec![entry],
        }
    }
}
