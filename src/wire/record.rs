//! An export line read back into the very record that it was written from.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::WireError;
use super::call::rank_of;
use super::event::{Leniency, PartialEvent};
use super::object::Object;
use crate::domain::{
    Call, CallField, CallStatus, CdrTimes, Dropped, EXTRA_BYTES_MAX, EXTRAS_MAX, Extra, Extras,
    Field, Moment, NameOrder, Origin, REMEMBERED_MAX, Rank, SipReason, SizeRange, Source,
    StatusProgress, TIMELINE_MAX, TimelineEntry, Timestamp,
};

/// The member `merge` of an export line.
#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are members of JSON")]
#[serde(deny_unknown_fields)]
struct Merge {
    status_at: Option<At>,
    duration: Option<u32>,
    origins: BTreeMap<String, (u8, Option<At>)>,
    /// Phrase, SIP status, origin, where these are not those of the status.
    reason: Option<(String, u16, (u8, Option<At>))>,
    said_attempted_at: Option<u64>,
    said_answered_at: Option<u64>,
    #[serde(default)]
    end_said: bool,
    #[serde(default)]
    by_cdr: bool,
    cdr: Option<CdrMembers>,
    /// Those of the times that only CDRs have said.
    #[serde(default)]
    shown: Vec<String>,
    #[serde(default)]
    bytes: BTreeMap<String, (u16, u16)>,
    /// The most bytes of a key, as 0.1.0 wrote them.
    #[serde(default)]
    bytes_max: BTreeMap<String, u16>,
    #[serde(default)]
    dropped: BTreeMap<String, (u16, u16)>,
    #[serde(default)]
    crowded: bool,
    #[serde(default)]
    remembered: Vec<String>,
    /// The first key that did not fit, as 0.1.0 wrote it.
    extras_cut: Option<String>,
    timeline: Vec<(Option<At>, String, Option<String>, u16)>,
    #[serde(default)]
    namesake: bool,
}

/// Attempted, answered, and terminated with the duration.
type CdrMembers = (Option<u64>, Option<u64>, Option<(u64, Option<u32>)>);

/// Milliseconds, or milliseconds and microseconds.
#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum At {
    Whole(u64),
    Fine(u64, u16),
}

impl At {
    fn moment(self) -> Option<Moment> {
        let (Self::Whole(millis) | Self::Fine(millis, _)) = self;
        let micros = if let Self::Fine(_, micros) = self { micros } else { 0 };
        let time = Timestamp::from_millis(millis).filter(|_| micros < 1000)?;
        Some(Moment::new(time, micros))
    }
}

pub(super) fn parse(object: &Object<'_>, now: Timestamp) -> Result<Call, WireError> {
    let mut draft = PartialEvent::read(object, Leniency::Export, now)?;
    let json = object.0.iter().rev().find(|(key, _)| key == "merge");
    let (_, json) = json.ok_or_else(|| WireError::missing("merge", "expected an object"))?;
    let wrong = |why: String| WireError::new("merge", json, why);
    let merge: Merge = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
    let moment = |at: Option<At>| match at {
        None => Ok(None),
        Some(at) => match at.moment() {
            Some(moment) => Ok(Some(moment)),
            None => Err(wrong("a time is milliseconds since 1970".to_owned())),
        },
    };
    let time = |millis: Option<u64>| Ok(moment(millis.map(At::Whole))?.map(Moment::time));
    let read_origin = |(rank, at): (u8, Option<At>), key: &str| {
        let rank = rank_of(rank);
        let rank = rank.ok_or_else(|| wrong(format!("origins: {key}: a rank is 0 to 5")))?;
        Ok(Origin { rank, at: moment(at)? })
    };
    let origin = |key: &str| {
        let origin = merge.origins.get(key).copied();
        origin.map(|origin| read_origin(origin, key)).transpose()
    };
    let needed = |key: &str| {
        let missing = || wrong(format!("origins: {key} is missing"));
        origin(key).and_then(|origin| origin.ok_or_else(missing))
    };

    let mut texts: [Option<Field<Box<str>>>; CallField::ALL.len()] = Default::default();
    for ((field, slot), value) in
        CallField::ALL.into_iter().zip(&mut texts).zip(draft.texts.iter_mut())
    {
        // A text that is always written may be written without a value.
        if let (Some(value), Some(origin)) = (value.take(), origin(field.key())?) {
            *slot = Some(Field { value, origin });
        }
    }
    let span = |(least, most): (u16, u16)| SizeRange::new(least, most);
    let mut extras = Extras { crowded: merge.crowded, ..Extras::default() };
    for (key, json) in std::mem::take(&mut draft.extras) {
        let origin = needed(&key)?;
        let mut extra = Extra::new(key, json, origin);
        if let Some(bytes) = merge.bytes.get(&*extra.key) {
            extra.bytes = span(*bytes);
        } else if let Some(most) = merge.bytes_max.get(&*extra.key) {
            extra.bytes = SizeRange::new(extra.bytes.least, (*most).max(extra.bytes.most));
        }
        extras.kept.push(extra);
    }
    for (key, bytes) in &merge.dropped {
        let kept = extras.kept.binary_search_by(|extra| (*extra.key).cmp(key)).is_ok();
        if kept {
            return Err(wrong(format!("dropped: {key} is there")));
        }
        extras.dropped.push(Dropped { key: (**key).into(), bytes: span(*bytes) });
    }
    let names = merge.remembered.iter().chain(&merge.extras_cut).map(|name| &**name);
    extras.remembered = names.chain(draft.left_out.names()).map(NameOrder::new).collect();
    let bytes = extras.kept.iter().map(|extra| usize::from(extra.bytes.most).max(extra.size()));
    let bytes = bytes.chain(extras.dropped.iter().map(|gone| gone.key.len())).sum::<usize>();
    if extras.kept.len() + extras.dropped.len() > EXTRAS_MAX
        || bytes > EXTRA_BYTES_MAX
        || extras.remembered.len() > REMEMBERED_MAX
        || merge.timeline.len() > TIMELINE_MAX
    {
        return Err(wrong("more than a record holds".to_owned()));
    }
    let mut timeline = Vec::with_capacity(merge.timeline.len());
    for (at, source, status, sip_status) in &merge.timeline {
        let source = SOURCES.into_iter().find(|s| s.as_str() == source);
        let source = source.ok_or_else(|| wrong("timeline: unknown source".to_owned()))?;
        let status = match status {
            None => None,
            Some(word) => {
                let unknown = |()| wrong(format!("timeline: unknown status {word}"));
                Some(word.parse::<CallStatus>().map_err(unknown)?)
            }
        };
        timeline.push(TimelineEntry { at: moment(*at)?, source, status, sip_status: *sip_status });
    }
    let status = draft.status.unwrap_or(CallStatus::Trying);
    let listed_at = draft.listed_at.ok_or_else(|| {
        WireError::missing("listed_at", "an exported record has the time of its listing")
    })?;
    let sip_status = draft.sip_status.unwrap_or(status.usual_sip_status());
    let reason = match merge.reason {
        Some((text, sip_status, origin)) => {
            let origin = read_origin(origin, "reason")?;
            Some(SipReason { text: text.into(), sip_status, origin })
        }
        None => match draft.sip_reason.take() {
            Some(text) => {
                let origin = Origin { rank: status.rank(), at: moment(merge.status_at)? };
                Some(SipReason { text, sip_status, origin })
            }
            None => None,
        },
    };
    let reason = reason.filter(|reason| !reason.text.is_empty());
    let cdr = match merge.cdr {
        Some((attempted, answered, end)) => CdrTimes {
            attempted_at: time(attempted)?,
            answered_at: time(answered)?,
            end: end
                .map(|(at, seconds)| Ok(time(Some(at))?.map(|at| (at, seconds))))
                .transpose()?
                .flatten(),
        },
        None => CdrTimes::default(),
    };
    let own = |key: &str, at: Option<Timestamp>| {
        at.filter(|_| !merge.shown.iter().any(|shown| shown == key))
    };
    Ok(Call {
        id: draft.id()?,
        listed_at,
        stale: draft.stale && status.rank() != Rank::Terminal,
        namesake: merge.namesake,
        progress: StatusProgress {
            status,
            at: moment(merge.status_at)?,
            sip_status,
            terminated_at: own("terminated_at", draft.terminated_at),
            end_said: merge.end_said,
            duration: merge.duration,
            by_cdr: merge.by_cdr,
        },
        reason,
        attempted_at: own("attempted_at", draft.attempted_at),
        said_attempted_at: time(merge.said_attempted_at)?,
        said_answered_at: time(merge.said_answered_at)?,
        answered_at: own("answered_at", draft.answered_at),
        cdr,
        direction: Field { value: draft.direction()?, origin: needed("direction")? },
        texts,
        extras,
        timeline,
    })
}

const SOURCES: [Source; 5] =
    [Source::Webhook, Source::Import, Source::Sweep, Source::Mirror, Source::Cdr];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::domain::{Timestamp, samples};
    use crate::wire::{ParsedInput, parse_record, write_export};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn import_undoes_export(call in samples::call()) {
            let mut line = Vec::new();
            write_export(&mut line, &call);
            let line = String::from_utf8(line).unwrap();
            prop_assert!(!line.contains('\n'));
            let parsed = parse_record(&line, Timestamp::MAX, "http://{host}:3000").unwrap();
            prop_assert_eq!(parsed, ParsedInput::Record(Box::new(call)));
        }
    }
}
