//! `CallStats` by the hour and day and by groups: against a plain count of all calls that was written for
//! itself, over what is known of their making.

mod across;
mod laws;
mod refused;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::harness::{A1, Answer, Rollcall, until};
use super::properties::calls;
use super::search::{Question, is_meant};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-10-24T10:00Z. In the night that follows the clocks of Europe go back, so that all dates in the
/// tests are past, as calls are.
pub const BEGUN: i64 = 1_792_836_000_000;
pub const HOURS: i64 = 60;
const LENGTHS: [i64; 5] = [30_000, 10 * MINUTE, 59 * MINUTE + 30_000, 3 * HOUR, 30 * HOUR];

/// A call as it was made: its events in the order in which they are sent, and what is to be counted of it.
#[derive(Debug, Clone)]
pub struct Made {
    pub events: Vec<Value>,
    pub sid: String,
    pub listed_at: i64,
    /// From, and until; none where it is up at no time.
    pub up: Option<(i64, i64)>,
}

/// Call `n` of an account, made by a seed.
pub fn make(account: &str, n: u32, seed: u32) -> Made {
    let at = BEGUN + i64::from(seed % 7200) * 30_000 % (HOURS * HOUR);
    let length = LENGTHS[(seed / 9 % 5) as usize];
    let end = at + length;
    let words = [
        (vec![("trying", at)], Some((at, at + 1))),
        (vec![("trying", at), ("in-progress", at + 30_000)], Some((at, at + 30_001))),
        (vec![("trying", at), ("in-progress", at + 15_000), ("completed", end)], Some((at, end))),
        (vec![("trying", at), ("in-progress", at), ("failed", end)], Some((at, end))),
        (vec![("trying", at), ("busy", at + MINUTE)], Some((at, at + MINUTE))),
        (vec![("busy", at)], None),
        (vec![("completed", at)], None),
        (vec![("ringing", at), ("no-answer", end)], Some((at, end))),
        // The end was heard of first, and says where it is listed.
        (vec![("completed", end), ("in-progress", at + 15_000), ("trying", at)], Some((at, end))),
    ];
    let (words, up) = words[(seed % 9) as usize].clone();
    let listed_at = words[0].1;
    let up = up.map(|(from, until): (i64, i64)| {
        (from.max(listed_at - HOUR), until.min(listed_at + 24 * HOUR))
    });
    let sid = format!("c0000000-0000-4000-8000-{:012x}", n * 7919 % 65_521);
    let numbers = ["+15551230001", "bob", "sip:a,b@x", "+4930123456", ""];
    let event = |(word, at): &(&str, i64)| {
        let mut event = json!({
            "account_sid": account, "call_sid": sid, "call_id": format!("cid-{n}"),
            "direction": if seed.is_multiple_of(3) { "outbound" } else { "inbound" },
            "from": numbers[(seed / 2 % 5) as usize], "to": numbers[(seed / 4 % 5) as usize],
            "call_status": word, "at": at,
        });
        for (key, value) in [
            (
                "originating_sip_trunk_name",
                [None, Some("BT"), Some("\"x\" & ü")][(seed / 5 % 3) as usize],
            ),
            (
                "application_sid",
                [None, Some("7087fe50-8acb-4f3b-b820-97b573723aab")][(seed / 7 % 2) as usize],
            ),
        ] {
            if let Some(value) = value {
                event[key] = value.into();
            }
        }
        event
    };
    let events = words.iter().map(event).collect();
    Made { events, sid: sid.clone(), listed_at, up: up.filter(|(from, until)| from < until) }
}

/// Sends calls, one event at a time of each, until those that never end are stale; and all as they are
/// listed.
pub fn send(rollcall: &Rollcall, account: &str, made: &[Made]) -> Vec<Value> {
    let lines = made.iter().flat_map(|made| &made.events).map(Value::to_string);
    let lines: Vec<_> = lines.collect();
    assert_eq!(rollcall.post_events(&lines.join("\n")).status, 204);
    let path = format!("/v1/Accounts/{account}/Calls");
    until("calls that never end are stale", || {
        let all = calls(&rollcall.get(&rollcall.admin(), &path));
        let is_active = |call: &Value| {
            let words = ["trying", "ringing", "in-progress"];
            words.contains(&call["call_status"].as_str().unwrap()) && call.get("stale").is_none()
        };
        (all.len() == made.len() && !all.iter().any(is_active)).then_some(all)
    })
}

/// A server that finds stale calls at once, and writes its index all the time.
pub fn server() -> Rollcall {
    Rollcall::up(&[
        "--calls-sweep-interval",
        "50ms",
        "--store-checkpoint-interval",
        "20ms",
        "--store-live-checkpoint-age",
        "10ms",
    ])
}

/// What is asked: filters, and the rest.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub filters: Question,
    /// Milliseconds.
    pub start: Option<i64>,
    pub end: Option<i64>,
    pub interval: Option<&'static str>,
    pub zone: Option<&'static str>,
    pub group: Vec<&'static str>,
    pub top: Option<usize>,
}

impl Asked {
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.filters);
        for (name, at) in [("start", self.start), ("end", self.end)] {
            if let Some(at) = at {
                query.append_pair(name, &time(at).to_string());
            }
        }
        let group = Some(self.group.join(",")).filter(|group| !group.is_empty());
        let words = [
            ("interval", self.interval.map(ToOwned::to_owned)),
            ("time_zone", self.zone.map(ToOwned::to_owned)),
            ("group", group),
            ("top", self.top.map(|top| top.to_string())),
        ];
        for (name, value) in words {
            if let Some(value) = value {
                query.append_pair(name, &value);
            }
        }
        query.finish()
    }

    fn is_in(&self, at: i64) -> bool {
        self.start.is_none_or(|start| at >= start) && self.end.is_none_or(|end| at < end)
    }
}

pub fn time(at: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at).unwrap()
}

pub fn stats(rollcall: &Rollcall, account: &str, query: &str) -> Answer {
    rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{account}/CallStats?{query}"))
}

/// A call that is meant, as it is listed and as it was made.
type Meant<'a> = (&'a Value, &'a Made);
/// The values of a group.
type Group = Vec<Value>;

/// Holds an answer against a plain count; returns how many calls were counted.
pub fn check(asked: &Asked, answer: &Answer, all: &[Value], made: &[Made]) -> u64 {
    assert_eq!(answer.status, 200, "{asked:?}: {answer:?}");
    let found = answer.json();
    let by_sid: BTreeMap<_, _> = made.iter().map(|made| (made.sid.as_str(), made)).collect();
    let meant: Vec<Meant> = all
        .iter()
        .filter(|call| is_meant(call, &asked.filters))
        .map(|call| (call, by_sid[call["call_sid"].as_str().unwrap()]))
        .filter(|(_, made)| asked.is_in(made.listed_at) || clipped(asked, made).is_some())
        .collect();
    let no_end = (i64::MIN, i64::MAX);
    assert_eq!(figures(&found), plain(asked, &meant, no_end), "{asked:?}: {answer:?}");
    let groups = (!asked.group.is_empty()).then(|| ranked(asked, &meant));
    let top = asked.top.unwrap_or(20);
    if let Some(groups) = &groups {
        let shown = found["groups"].as_array().unwrap();
        let wanted: Vec<_> = groups.iter().take(top).cloned().collect();
        assert_eq!(shown.iter().map(|group| values(asked, group)).collect::<Vec<_>>(), wanted);
        check_groups(asked, &found, &meant, &wanted, no_end, true);
        let others = groups.len().saturating_sub(top);
        let said = found.get("other").map_or(0, |other| other["groups"].as_u64().unwrap());
        assert_eq!(said, others as u64, "{asked:?}: {answer:?}");
    } else {
        assert!(found.get("groups").is_none() && found.get("other").is_none(), "{answer:?}");
    }
    let Some(interval) = asked.interval else {
        assert!(found.get("buckets").is_none(), "{answer:?}");
        return found["calls"].as_u64().unwrap();
    };
    let buckets = found["buckets"].as_array().unwrap();
    let mut seen = 0;
    let mut last_end = None;
    for bucket in buckets {
        let [start, end] = ["start", "end"].map(|key| {
            bucket[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
        });
        assert!(last_end.is_none_or(|last| last == start), "{asked:?}: {answer:?}");
        last_end = Some(end);
        let zone = asked.zone.unwrap_or("UTC");
        let name = |at: i64| bucket_name(zone, interval, at);
        assert_eq!(name(start), name(end - 1), "{asked:?}: {bucket}");
        assert!(name(start) != name(end) && name(start - 1) != name(start), "{asked:?}: {bucket}");
        assert_eq!(figures(bucket), plain(asked, &meant, (start, end)), "{asked:?}: {bucket}");
        seen += bucket["calls"].as_u64().unwrap();
        if let Some(groups) = &groups {
            let top: Vec<_> = groups.iter().take(top).cloned().collect();
            check_groups(asked, bucket, &meant, &top, (start, end), false);
        }
    }
    // All that was counted is in one of them, and only the time that was asked for has empty ones outside.
    assert_eq!(found["calls"], seen, "{asked:?}: {answer:?}");
    let has_any = |bucket: &&Value| figures(bucket) != [0; 4];
    if asked.start.is_none() {
        assert_eq!(buckets.first(), buckets.iter().find(has_any), "{asked:?}");
    }
    if asked.end.is_none() {
        assert_eq!(buckets.last(), buckets.iter().rfind(has_any), "{asked:?}");
    }
    seen
}

/// Holds the groups of an object, and what is said of others, against a plain count.
fn check_groups(
    asked: &Asked,
    found: &Value,
    meant: &[Meant],
    top: &[Group],
    span: (i64, i64),
    with_empty: bool,
) {
    let of = |is: &dyn Fn(&Group) -> bool| {
        let of: Vec<_> =
            meant.iter().filter(|(call, _)| is(&group_of(asked, call))).copied().collect();
        plain(asked, &of, span)
    };
    let wanted = top.iter().map(|group| (group.clone(), of(&|it| it == group)));
    let wanted: Vec<_> = wanted.filter(|(_, figures)| with_empty || *figures != [0; 4]).collect();
    let shown = found["groups"].as_array().unwrap().iter();
    let shown: Vec<_> = shown.map(|group| (values(asked, group), figures(group))).collect();
    assert_eq!(shown, wanted, "{asked:?}: {found}");
    let other = found.get("other").map_or([0; 4], figures);
    assert_eq!(other, of(&|group| !top.contains(group)), "{asked:?}: {found}");
}

fn figures(of: &Value) -> [u64; 4] {
    ["calls", "answered", "seconds", "peak"].map(|key| of[key].as_u64().unwrap())
}

fn values(asked: &Asked, group: &Value) -> Group {
    let keys: BTreeSet<_> = group.as_object().unwrap().keys().map(String::as_str).collect();
    let wanted = asked.group.iter().copied().chain(["calls", "answered", "seconds", "peak"]);
    assert_eq!(keys, wanted.collect(), "{group}");
    asked.group.iter().map(|key| group[*key].clone()).collect()
}

fn group_of(asked: &Asked, call: &Value) -> Group {
    let value = |key: &&str| match *key {
        "status" if call["stale"] == true => json!("stale"),
        "status" => call["call_status"].clone(),
        "trunk" => call["originating_sip_trunk_name"].clone(),
        "application" => call["application_sid"].clone(),
        "to_country" => country_of(call["to"].as_str().unwrap()),
        key => call[key].clone(),
    };
    asked.group.iter().map(value).collect()
}

/// The country code of the numbers that [`make`] makes.
fn country_of(to: &str) -> Value {
    let codes = ["+1", "+49"];
    codes.into_iter().find(|code| to.starts_with(code)).map_or(Value::Null, Value::from)
}

/// All groups: those with the most calls first, then by their values, null before any.
fn ranked(asked: &Asked, meant: &[Meant]) -> Vec<Group> {
    let mut counts = BTreeMap::<Vec<Option<String>>, (u64, Group)>::new();
    for (call, made) in meant {
        let group = group_of(asked, call);
        let key = group.iter().map(|value| value.as_str().map(ToOwned::to_owned)).collect();
        let entry = counts.entry(key).or_insert((0, group));
        entry.0 += u64::from(asked.is_in(made.listed_at));
    }
    let mut groups: Vec<_> = counts.into_values().collect();
    groups.sort_by_key(|(calls, _)| std::cmp::Reverse(*calls));
    groups.into_iter().map(|(_, group)| group).collect()
}

/// When a call is up within the time that is asked for.
fn clipped(asked: &Asked, made: &Made) -> Option<(i64, i64)> {
    let (from, until) = made.up?;
    let from = from.max(asked.start.unwrap_or(from));
    let until = until.min(asked.end.unwrap_or(until));
    (from < until).then_some((from, until))
}

/// Calls, answered, seconds, peak.
fn plain(asked: &Asked, meant: &[Meant], (start, end): (i64, i64)) -> [u64; 4] {
    let is_in = |at: i64| at >= start && at < end && asked.is_in(at);
    let counted: Vec<_> = meant.iter().filter(|(_, made)| is_in(made.listed_at)).collect();
    let answered = counted.iter().filter(|(call, _)| {
        call.get("answered_at").is_some() || call["call_status"] == "completed"
    });
    let seconds = counted.iter().filter_map(|(call, _)| call["duration"].as_u64()).sum();
    let up: Vec<_> = meant.iter().filter_map(|(_, made)| clipped(asked, made)).collect();
    let instants =
        up.iter().map(|(from, _)| *from).chain([start]).filter(|at| is_in(*at) || *at == start);
    let peak =
        instants.map(|at| up.iter().filter(|(from, until)| *from <= at && at < *until).count());
    [counted.len() as u64, answered.count() as u64, seconds, peak.max().unwrap_or(0) as u64]
}

/// In which minute, hour or day of a zone an instant is: what its clocks show, and their offset.
fn bucket_name(zone: &str, interval: &str, at: i64) -> String {
    let zone = match zone {
        "+05:30" => jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(19_800).unwrap()),
        zone => jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap(),
    };
    let (shown, offset) = (zone.to_datetime(time(at)), zone.to_offset(time(at)));
    match interval {
        "day" => shown.date().to_string(),
        "hour" => format!("{}T{:02}{offset}", shown.date(), shown.hour()),
        _ => format!("{}T{:02}:{:02}{offset}", shown.date(), shown.hour(), shown.minute()),
    }
}

/// A server with so many calls of [`A1`].
pub fn server_with(count: u32) -> (Rollcall, Vec<Value>, Vec<Made>) {
    let rollcall = server();
    let made: Vec<_> = (0..count).map(|n| make(A1, n, n * 1_299_709 % 1_000_003)).collect();
    let all = send(&rollcall, A1, &made);
    (rollcall, all, made)
}
