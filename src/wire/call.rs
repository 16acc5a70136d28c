//! A call as JSON: the API's object, and the export line.

use std::io::Write as _;

use super::show_time;
use crate::domain::{
    Call, CallField, CdrTimes, Extra, Moment, NameOrder, Origin, Rank, SipReason, SizeRange,
    Timestamp,
};

/// Appends the Call object of the API, its keys in the contract's order.
pub fn write_call(out: &mut Vec<u8>, call: &Call) {
    out.push(b'{');
    write_members(out, call);
    out.push(b'}');
}

/// Appends the export line without a line end: the Call object, the call's place in lists and the
/// state of its merge, so that an import of it makes the very same record.
pub fn write_export(out: &mut Vec<u8>, call: &Call) {
    out.push(b'{');
    write_members(out, call);
    out.extend_from_slice(b",\"listed_at\":");
    time(out, call.listed_at);
    next(out, "merge", |out| write_merge(out, call));
    out.push(b'}');
}

/// Appends the state of the merge, as the member `merge` of an export line has it.
pub(super) fn write_merge(out: &mut Vec<u8>, call: &Call) {
    out.push(b'{');
    member(out, "status_at", |out| moment(out, call.progress.at));
    if let Some(duration) = call.progress.duration {
        next(out, "duration", |out| put(out, duration));
    }
    next(out, "origins", |out| origins(out, call));
    let usual = Origin { rank: call.progress.status.rank(), at: call.progress.at };
    let beside = |reason: &&SipReason| {
        (reason.origin, reason.sip_status) != (usual, call.progress.sip_status)
    };
    if let Some(reason) = call.reason.as_ref().filter(beside) {
        next(out, "reason", |out| {
            out.push(b'[');
            string(out, &reason.text);
            out.push(b',');
            put(out, reason.sip_status);
            out.push(b',');
            origin(out, reason.origin);
            out.push(b']');
        });
    }
    write_said(out, call);
    write_cdr(out, call);
    let grown = |extra: &&Extra| extra.bytes != SizeRange::one(extra.size());
    if call.extras.kept.iter().any(|extra| grown(&extra)) {
        let grown = call.extras.kept.iter().filter(grown);
        next(out, "bytes", |out| spans(out, grown.map(|extra| (&*extra.key, extra.bytes))));
    }
    if !call.extras.dropped.is_empty() {
        let dropped = call.extras.dropped.iter();
        next(out, "dropped", |out| spans(out, dropped.map(|gone| (&*gone.key, gone.bytes))));
    }
    if call.extras.crowded {
        next(out, "crowded", |out| out.extend_from_slice(b"true"));
    }
    if !call.extras.remembered.is_empty() {
        next(out, "remembered", |out| {
            strings(out, call.extras.remembered.iter().map(NameOrder::as_str));
        });
    }
    next(out, "timeline", |out| timeline(out, call));
    if call.namesake {
        next(out, "namesake", |out| put(out, true));
    }
    out.push(b'}');
}

/// What sources said themselves of the call's times.
fn write_said(out: &mut Vec<u8>, call: &Call) {
    for (key, at) in
        [("said_attempted_at", call.said_attempted_at), ("said_answered_at", call.said_answered_at)]
    {
        if let Some(at) = at {
            next(out, key, |out| put(out, at.millis()));
        }
    }
    if call.progress.end_said {
        next(out, "end_said", |out| out.extend_from_slice(b"true"));
    }
}

/// What CDRs said: their times, `[attempted, answered, [terminated, duration]]`, which of these times the
/// call shows since no other source has said them, and whether its end is theirs.
fn write_cdr(out: &mut Vec<u8>, call: &Call) {
    let (cdr, progress) = (&call.cdr, &call.progress);
    if progress.by_cdr {
        next(out, "by_cdr", |out| put(out, true));
    }
    if *cdr == CdrTimes::default() {
        return;
    }
    next(out, "cdr", |out| {
        out.push(b'[');
        number(out, cdr.attempted_at.map(Timestamp::millis));
        out.push(b',');
        number(out, cdr.answered_at.map(Timestamp::millis));
        out.push(b',');
        match cdr.end {
            Some((at, seconds)) => {
                out.push(b'[');
                put(out, at.millis());
                out.push(b',');
                number(out, seconds);
                out.push(b']');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.push(b']');
    });
    let shown = [
        ("attempted_at", call.attempted_at.is_none() && call.attempted_at().is_some()),
        ("answered_at", call.answered_at.is_none() && call.answered_at().is_some()),
        ("terminated_at", progress.terminated_at.is_none() && call.terminated_at().is_some()),
    ];
    if shown.iter().any(|(_, by_cdr)| *by_cdr) {
        let shown = shown.into_iter().filter(|(_, by_cdr)| *by_cdr);
        next(out, "shown", |out| strings(out, shown.map(|(key, _)| key)));
    }
}

fn number(out: &mut Vec<u8>, number: Option<impl std::fmt::Display>) {
    match number {
        Some(number) => put(out, number),
        None => out.extend_from_slice(b"null"),
    }
}

/// The least and the most bytes of some keys.
fn spans<'a>(out: &mut Vec<u8>, spans: impl Iterator<Item = (&'a str, SizeRange)>) {
    out.push(b'{');
    for (n, (key, span)) in spans.enumerate() {
        comma(out, n);
        string(out, key);
        out.extend_from_slice(b":[");
        put(out, span.least);
        out.push(b',');
        put(out, span.most);
        out.push(b']');
    }
    out.push(b'}');
}

fn strings<'a>(out: &mut Vec<u8>, texts: impl Iterator<Item = &'a str>) {
    out.push(b'[');
    for (n, text) in texts.enumerate() {
        comma(out, n);
        string(out, text);
    }
    out.push(b']');
}

fn write_members(out: &mut Vec<u8>, call: &Call) {
    let text =
        |out: &mut Vec<u8>, name: CallField| string(out, call.text(name).unwrap_or_default());
    let progress = &call.progress;
    member(out, "account_sid", |out| quoted(out, call.id.account));
    next(out, "call_id", |out| text(out, CallField::CallId));
    next(out, "call_sid", |out| quoted(out, call.id.sid));
    next(out, "call_status", |out| quoted(out, progress.status));
    next(out, "direction", |out| quoted(out, call.direction.value));
    next(out, "from", |out| text(out, CallField::From));
    next(out, "service_url", |out| text(out, CallField::ServiceUrl));
    next(out, "sip_status", |out| put(out, progress.sip_status));
    next(out, "to", |out| text(out, CallField::To));
    let optional = |out: &mut Vec<u8>, name: CallField| {
        if let Some(value) = call.text(name) {
            next(out, name.key(), |out| string(out, value));
        }
    };
    optional(out, CallField::ApplicationSid);
    optional(out, CallField::CallerName);
    if let Some(seconds) = call.duration() {
        next(out, "duration", |out| put(out, seconds));
    }
    optional(out, CallField::OriginatingSipTrunkName);
    optional(out, CallField::ParentCallSid);
    for (key, at) in [
        ("attempted_at", call.attempted_at()),
        ("answered_at", call.answered_at()),
        ("terminated_at", call.terminated_at()),
    ] {
        if let Some(at) = at {
            next(out, key, |out| time(out, at));
        }
    }
    if call.stale {
        out.extend_from_slice(b",\"stale\":true");
    }
    if call.attempted_at().is_none() {
        out.extend_from_slice(b",\"time_unknown\":true");
    }
    write_further(out, call);
}

/// Appends the members that have no place of their own, each with a comma before it.
pub(super) fn write_further(out: &mut Vec<u8>, call: &Call) {
    let mut left_out = call.extras.names_left_out().peekable();
    if left_out.peek().is_some() {
        next(out, "dropped", |out| strings(out, left_out));
    }
    if let Some(reason) = call.sip_reason() {
        next(out, "sip_reason", |out| string(out, reason));
    }
    for extra in &call.extras.kept {
        next(out, &extra.key, |out| out.extend_from_slice(extra.json.as_bytes()));
    }
}

/// The number that stands for a rank.
const fn rank_number(rank: Rank) -> u8 {
    match rank {
        Rank::Trying => 0,
        Rank::Ringing => 1,
        Rank::EarlyMedia => 2,
        Rank::InProgress => 3,
        Rank::Terminal => 4,
        Rank::Cdr => 5,
    }
}

/// The rank that a number stands for.
pub(super) const fn rank_of(number: u8) -> Option<Rank> {
    Some(match number {
        0 => Rank::Trying,
        1 => Rank::Ringing,
        2 => Rank::EarlyMedia,
        3 => Rank::InProgress,
        4 => Rank::Terminal,
        5 => Rank::Cdr,
        _ => return None,
    })
}

/// `[rank, time]`
fn origin(out: &mut Vec<u8>, origin: Origin) {
    out.push(b'[');
    put(out, rank_number(origin.rank));
    out.push(b',');
    moment(out, origin.at);
    out.push(b']');
}

/// Each value's origin, by key.
fn origins(out: &mut Vec<u8>, call: &Call) {
    out.push(b'{');
    member(out, "direction", |out| origin(out, call.direction.origin));
    for (name, field) in CallField::ALL.into_iter().zip(&call.texts) {
        if let Some(field) = field {
            next(out, name.key(), |out| origin(out, field.origin));
        }
    }
    for extra in &call.extras.kept {
        next(out, &extra.key, |out| origin(out, extra.origin));
    }
    out.push(b'}');
}

/// Each change's `[time, source, status, SIP status]`, oldest first.
fn timeline(out: &mut Vec<u8>, call: &Call) {
    out.push(b'[');
    for (n, entry) in call.timeline.iter().enumerate() {
        comma(out, n);
        out.push(b'[');
        moment(out, entry.at);
        out.push(b',');
        quoted(out, entry.source.as_str());
        out.push(b',');
        match entry.status {
            Some(status) => quoted(out, status),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
        put(out, entry.sip_status);
        out.push(b']');
    }
    out.push(b']');
}

fn comma(out: &mut Vec<u8>, n: usize) {
    if n > 0 {
        out.push(b',');
    }
}

pub(super) fn next(out: &mut Vec<u8>, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    out.push(b',');
    member(out, key, value);
}

pub(super) fn member(out: &mut Vec<u8>, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    string(out, key);
    out.push(b':');
    value(out);
}

/// A JSON string of any text.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector does not fail, and a string is always valid JSON.
    let _infallible = serde_json::to_writer(&mut *out, text);
}

/// A JSON string of a word that needs no escapes.
pub(super) fn quoted(out: &mut Vec<u8>, word: impl std::fmt::Display) {
    out.push(b'"');
    put(out, word);
    out.push(b'"');
}

pub(super) fn put(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    let _infallible = write!(out, "{value}");
}

pub(super) fn time(out: &mut Vec<u8>, at: Timestamp) {
    quoted(out, show_time(at));
}

/// Milliseconds, or `[milliseconds, microseconds]` where it is finer.
fn moment(out: &mut Vec<u8>, at: Option<Moment>) {
    match at {
        Some(at) if at.rest() > 0 => {
            out.push(b'[');
            put(out, at.time().millis());
            out.push(b',');
            put(out, at.rest());
            out.push(b']');
        }
        Some(at) => put(out, at.time().millis()),
        None => out.extend_from_slice(b"null"),
    }
}
