//! An export line read back into the very record that it was written from.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::WireError;
use super::event::Draft;
use super::object::Object;
use crate::domain::{
    Call, CallStatus, EXTRA_BYTES_MAX, EXTRAS_MAX, Entry, Extra, Field, Known, Origin, Progress,
    Rank, Source, TIMELINE_MAX, Timestamp,
};

/// The member `merge` of an export line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    status_at: Option<u64>,
    duration: Option<u32>,
    origins: BTreeMap<String, (u8, Option<u64>)>,
    #[serde(default)]
    bytes_max: BTreeMap<String, u16>,
    extras_cut: Option<String>,
    timeline: Vec<(Option<u64>, String, Option<String>, u16)>,
}

pub(super) fn parse(object: &Object<'_>, now: Timestamp) -> Result<Call, WireError> {
    let mut draft = Draft::read(object, true, now)?;
    let json = object.0.iter().rev().find(|(key, _)| key == "merge");
    let (_, json) = json.ok_or_else(|| WireError::missing("merge", "expected an object"))?;
    let wrong = |why: String| WireError::new("merge", json, why);
    let merge: Merge = serde_json::from_str(json).map_err(|error| wrong(error.to_string()))?;
    let time = |millis: Option<u64>| match millis {
        None => Ok(None),
        Some(millis) => match Timestamp::from_millis(millis) {
            Some(time) => Ok(Some(time)),
            None => Err(wrong(format!("{millis} is not a time in milliseconds since 1970"))),
        },
    };
    let origin = |key: &str| match merge.origins.get(key) {
        None => Ok(None),
        Some((rank, at)) => {
            let rank = RANKS.get(usize::from(*rank)).copied();
            let rank = rank.ok_or_else(|| wrong(format!("origins: {key}: a rank is 0 to 4")))?;
            Ok(Some(Origin { rank, at: time(*at)? }))
        }
    };
    let needed = |key: &str| {
        let missing = || wrong(format!("origins: {key} is missing"));
        origin(key).and_then(|origin| origin.ok_or_else(missing))
    };

    let mut texts: [Option<Field<Box<str>>>; Known::ALL.len()] = Default::default();
    for ((known, slot), value) in Known::ALL.into_iter().zip(&mut texts).zip(draft.texts.iter_mut())
    {
        // A text that is always written may be written without being known.
        if let (Some(value), Some(origin)) = (value.take(), origin(known.key())?) {
            *slot = Some(Field { value, origin });
        }
    }
    let mut extras = Vec::with_capacity(draft.extras.len());
    for (key, json) in std::mem::take(&mut draft.extras) {
        let origin = needed(&key)?;
        let mut extra = Extra { key, json, origin, bytes_max: 0 };
        let bytes = u16::try_from(extra.bytes()).unwrap_or(u16::MAX);
        extra.bytes_max = merge.bytes_max.get(&*extra.key).copied().unwrap_or(bytes).max(bytes);
        extras.push(extra);
    }
    let bytes: usize = extras.iter().map(|extra| usize::from(extra.bytes_max)).sum();
    if extras.len() > EXTRAS_MAX || bytes > EXTRA_BYTES_MAX || merge.timeline.len() > TIMELINE_MAX {
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
        timeline.push(Entry { at: time(*at)?, source, status, sip_status: *sip_status });
    }
    let status = draft.status.unwrap_or(CallStatus::Trying);
    let listed_at = draft.listed_at.ok_or_else(|| {
        WireError::missing("listed_at", "an exported record has the time of its listing")
    })?;
    Ok(Call {
        id: draft.id()?,
        listed_at,
        stale: draft.stale && status.rank() != Rank::Terminal,
        progress: Progress {
            status,
            at: time(merge.status_at)?,
            sip_status: draft.sip_status.unwrap_or(status.usual_sip_status()),
            sip_reason: draft.sip_reason.take(),
            terminated_at: draft.terminated_at,
            duration: merge.duration,
        },
        attempted_at: draft.attempted_at,
        answered_at: draft.answered_at,
        direction: Field { value: draft.direction()?, origin: needed("direction")? },
        texts,
        extras,
        extras_cut: merge.extras_cut.map(Into::into),
        timeline,
    })
}

const RANKS: [Rank; 5] =
    [Rank::Trying, Rank::Ringing, Rank::EarlyMedia, Rank::InProgress, Rank::Terminal];
const SOURCES: [Source; 3] = [Source::Webhook, Source::Import, Source::Sweep];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::domain::{Timestamp, samples};
    use crate::wire::{Told, parse_record, write_export};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn import_undoes_export(call in samples::call()) {
            let mut line = Vec::new();
            write_export(&mut line, &call);
            let line = String::from_utf8(line).unwrap();
            prop_assert!(!line.contains('\n'));
            let told = parse_record(&line, Timestamp::MAX, "http://{host}:3000").unwrap();
            prop_assert_eq!(told, Told::Record(Box::new(call)));
        }
    }
}
