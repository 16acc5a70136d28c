//! A call's timeline as JSON.

use serde::Serialize;

use super::show_time;
use crate::domain::{Call, CallField, CallStatus, Moment, Origin, Rank, Source, TimelineEntry};

#[derive(Serialize)]
struct CallChange<'a> {
    /// When, by the source's clock or else by that of the receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    source: &'static str,
    /// What it said; absent where it said no known status, or where the call became stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    call_status: Option<&'static str>,
    sip_status: u16,
    /// The keys of the call whose present values came from it.
    changed: Vec<&'a str>,
}

/// Appends the last changes of a call, an array, newest last.
pub fn write_timeline(out: &mut Vec<u8>, call: &Call) {
    let changes: Vec<CallChange<'_>> =
        call.timeline.iter().map(|entry| change(call, entry)).collect();
    // Writing to a vector does not fail, and neither does a struct of texts and numbers.
    let _infallible = serde_json::to_writer(out, &changes);
}

fn change<'a>(call: &'a Call, entry: &TimelineEntry) -> CallChange<'a> {
    CallChange {
        at: entry.at.map(|at| show_time(at.time()).to_string()),
        source: entry.source.as_str(),
        call_status: entry.status.map(CallStatus::as_str),
        sip_status: entry.sip_status,
        changed: changed(call, entry),
    }
}

/// What still stands of a change. The merge keeps of each value where it came from, and not what
/// it was before: the order in which events arrived does not matter to it.
fn changed<'a>(call: &'a Call, entry: &TimelineEntry) -> Vec<&'a str> {
    if entry.source == Source::Sweep {
        return if call.stale { vec!["stale"] } else { Vec::new() };
    }
    let mut keys = Vec::new();
    let progress = &call.progress;
    let decided = progress.by_cdr == (entry.source == Source::Cdr);
    if decided && entry.status == Some(progress.status) && entry.at == progress.at {
        keys.extend(["call_status", "sip_status"]);
        keys.extend(progress.duration.is_some().then_some("duration"));
    }
    let by_cdr = entry.source == Source::Cdr;
    let rank = entry.status.map_or(Rank::Trying, CallStatus::rank);
    let own = Origin { rank: if by_cdr { Rank::Cdr } else { rank }, at: entry.at };
    let reason = call.reason.as_ref().filter(|reason| reason.origin == own);
    keys.extend(reason.and(call.sip_reason()).map(|_| "sip_reason"));
    if call.direction.origin == own {
        keys.push("direction");
    }
    let texts = CallField::ALL.into_iter().zip(&call.texts);
    let texts = texts.filter(|(_, text)| text.as_ref().is_some_and(|text| text.origin == own));
    keys.extend(texts.map(|(field, _)| field.key()));
    let extras = call.extras.kept.iter().filter(|extra| extra.origin == own);
    keys.extend(extras.map(|extra| &*extra.key));
    if by_cdr {
        let times = [
            ("attempted_at", call.attempted_at.is_none() && call.attempted_at().is_some()),
            ("answered_at", call.answered_at.is_none() && call.answered_at().is_some()),
            ("terminated_at", entry.at.map(Moment::time) == call.terminated_at()),
        ];
        keys.extend(times.into_iter().filter(|(_, its)| *its).map(|(key, _)| key));
        return keys;
    }
    let times = [
        ("attempted_at", call.attempted_at),
        ("answered_at", call.answered_at.filter(|_| own.rank == Rank::InProgress)),
        ("terminated_at", progress.terminated_at.filter(|_| own.rank == Rank::Terminal)),
    ];
    let times =
        times.into_iter().filter(|(_, at)| at.is_some() && *at == entry.at.map(Moment::time));
    keys.extend(times.map(|(key, _)| key));
    keys
}
