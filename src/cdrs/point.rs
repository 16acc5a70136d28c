//! What a point of `InfluxDB` says of a call.

use serde_json::{Map, Value as Json};

use super::line::{Line, LineError, Precision, Value, shown};
use super::{BY_END, MEASUREMENTS, RATED_TRUNK, UNKNOWN};
use crate::domain::{AccountSid, CallStatus, Moment, StampedEvent, TEXT_BYTES_MAX, Timestamp};
use crate::keys::derived;
use crate::wire::{WireError, parse_cdr};

/// Keys of an event that no CDR has: what a field of that name means is not known.
const NOT_OF_CDRS: [&str; 9] = [
    "at",
    "call_id",
    "call_status",
    "dropped",
    "listed_at",
    "merge",
    "sip_reason",
    "stale",
    "time_unknown",
];

/// What is taken of a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Cdr {
    /// A call's end; and, where something may be added to its point, what names the call.
    Event(Box<StampedEvent>, Option<(PointKey, Map<String, Json>)>),
    /// What was found out later of a point that was written before, such as what the call costs. The call is
    /// not named.
    Later(Box<Later>),
    /// It is of another measurement.
    Other,
}

/// Which point it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PointKey {
    account: AccountSid,
    /// In nanoseconds since 1970.
    time: i128,
    by_end: bool,
}

/// Values that are added to a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Later {
    pub point: PointKey,
    values: Map<String, Json>,
}

impl Later {
    /// What they say of the call that these values name.
    pub fn of_call(self, call: Map<String, Json>, now: Moment) -> Result<StampedEvent, PointError> {
        let mut values = self.values;
        values.remove("answered");
        values.extend(call);
        let mut event = parse_cdr(&Json::Object(values).to_string(), now.time())?;
        // What is added last counts.
        event.stamp.at = Some(now);
        Ok(event)
    }
}

/// Why a line is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("the tag account_sid is missing; expected a UUID in its hyphenated form")]
    NoAccount,
    #[error("neither call_sid nor sip_callid says which call it is of")]
    NoCall,
    #[error("sip_callid has more than {TEXT_BYTES_MAX} bytes")]
    LongCallId,
    #[error(transparent)]
    Value(#[from] WireError),
}

impl PointError {
    /// The same without values, which the log may not show.
    pub fn without_data(&self) -> String {
        match self {
            Self::Value(error) => error.without_data(),
            other => other.to_string(),
        }
    }

    /// As `InfluxDB` names the line.
    pub fn of_line(&self, line: &str) -> String {
        format!("unable to parse '{}': {self}", shown(line))
    }
}

impl Cdr {
    /// What a line says, received at `now`.
    pub fn read(line: &str, precision: Precision, now: Timestamp) -> Result<Self, PointError> {
        let measurement = Line::measurement_of(line)?;
        if !MEASUREMENTS.contains(&&*measurement) {
            return Ok(Self::Other);
        }
        let line = Line::read(line)?;
        let time = line.time.map(|time| precision.nanoseconds(time));
        let mut values = Map::new();
        for (key, value) in &line.tags {
            if &**value != UNKNOWN {
                values.insert(key.to_string(), Json::from(&**value));
            }
        }
        for (key, value) in &line.fields {
            let value = match value {
                Value::Text(text) if text == UNKNOWN => continue,
                Value::Text(text) => Json::from(&**text),
                Value::Integer(number) => Json::from(*number),
                Value::Float(number) => Json::from(*number),
                Value::Boolean(truth) => Json::from(*truth),
            };
            values.insert(key.to_string(), value);
        }
        Self::of(values, &measurement, time, now)
    }

    /// What a point says that has these tags and fields, at this time in nanoseconds since 1970.
    pub fn of(
        mut values: Map<String, Json>,
        measurement: &str,
        time: Option<i128>,
        now: Timestamp,
    ) -> Result<Self, PointError> {
        values.retain(|key, value| !NOT_OF_CDRS.contains(&&**key) && !value.is_null());
        let millis = |time: i128| u64::try_from(time / 1_000_000).ok().map(Json::from);
        let point = time.and_then(millis);
        let by_end = measurement == BY_END;
        if !by_end {
            values.remove("attempted_at");
        }
        let time_key = if by_end { "terminated_at" } else { "attempted_at" };
        let text = |values: &Map<String, Json>, key: &str| {
            let text = values.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
            text.map(str::to_owned)
        };
        let account = text(&values, "account_sid").ok_or(PointError::NoAccount)?;
        let (sid, call_id) = (text(&values, "call_sid"), text(&values, "sip_callid"));
        if sid.is_none() && call_id.is_none() {
            let is_end =
                ["sip_status", "terminated_at", "from"].iter().any(|key| values.contains_key(*key));
            let named = account.parse().ok().zip(time).filter(|_| !is_end);
            let (account, time) = named.ok_or(PointError::NoCall)?;
            let point = PointKey { account, time, by_end };
            return Ok(Self::Later(Box::new(Later { point, values })));
        }
        if let Some(point) = point.filter(|_| !values.contains_key(time_key)) {
            values.insert(time_key.to_owned(), point);
        }
        if sid.is_none() && call_id.as_ref().is_some_and(|call_id| call_id.len() > TEXT_BYTES_MAX) {
            return Err(PointError::LongCallId);
        }
        if let (None, Some(call_id), Ok(account)) = (&sid, &call_id, account.parse()) {
            let sid = derived(account, call_id).sid.to_string();
            values.insert("call_sid".to_owned(), sid.into());
        }
        values.extend(call_id.map(|call_id| ("call_id".to_owned(), call_id.into())));
        let answered = values.remove("answered").and_then(|answered| match answered {
            Json::Bool(answered) => Some(answered),
            Json::String(text) => text.to_ascii_lowercase().parse().ok(),
            _ => None,
        });
        let sip_status = values.get("sip_status").and_then(whole);
        let answered = answered.unwrap_or(sip_status.is_some_and(|status| status / 100 == 2));
        let status = status_of(answered, sip_status);
        values.insert("call_status".to_owned(), status.as_str().into());
        if answered {
            values.entry("sip_status").or_insert(200.into());
        } else {
            // It took no time, and was answered at no time.
            values.remove("duration");
            values.remove("answered_at");
        }
        if text(&values, "direction").as_deref() == Some("inbound")
            && let Some(trunk) = text(&values, "trunk")
        {
            values.insert("originating_sip_trunk_name".to_owned(), trunk.into());
        }
        let rated = text(&values, "trunk").as_deref() == Some(RATED_TRUNK);
        let call = ["call_sid", "call_id"]
            .into_iter()
            .filter_map(|key| Some((key.to_owned(), values.get(key)?.clone())));
        let point = account
            .parse()
            .ok()
            .zip(time)
            .filter(|_| rated)
            .map(|(account, time)| (PointKey { account, time, by_end }, call.collect()));
        let event = parse_cdr(&Json::Object(values).to_string(), now)?;
        Ok(Self::Event(Box::new(event), point))
    }
}

/// A whole number, also one that `InfluxDB` keeps as a float.
fn whole(value: &Json) -> Option<u64> {
    let text = match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.strip_suffix(".0").unwrap_or(&text).parse().ok()
}

/// How a call has ended, as the feature server of jambonz names it.
fn status_of(answered: bool, sip_status: Option<u64>) -> CallStatus {
    match sip_status {
        _ if answered => CallStatus::Completed,
        Some(486 | 600) => CallStatus::Busy,
        Some(408 | 480 | 487) => CallStatus::NoAnswer,
        _ => CallStatus::Failed,
    }
}
