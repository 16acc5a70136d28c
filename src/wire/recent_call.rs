//! An ended call as the portal of jambonz lists it: the columns of a CDR.

use super::call::{member, next, put, quoted, string, time};
use super::show_time;
use crate::domain::{Call, CallField, ServiceProviderSid, Timestamp};

/// Appends an object with every column, `null` where it is not known. What a source has sent under the
/// name of a column is that column; `provider` is whose account the call is of.
pub fn write_recent_call(out: &mut Vec<u8>, call: &Call, provider: Option<ServiceProviderSid>) {
    let answered = call.answered();
    let sent = |key: &str| call.extras.kept.iter().find(|extra| *extra.key == *key);
    let or_null = |out: &mut Vec<u8>, text: Option<&str>| match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    };
    let column = |out: &mut Vec<u8>, key: &str, other: Option<&str>| {
        next(out, key, |out| match sent(key) {
            Some(extra) => out.extend_from_slice(extra.json.as_bytes()),
            None => or_null(out, other),
        });
    };
    let at = |out: &mut Vec<u8>, at: Option<Timestamp>| match at {
        Some(at) => time(out, at),
        None => out.extend_from_slice(b"null"),
    };
    out.push(b'{');
    member(out, "attempted_at", |out| match call.attempted_at() {
        Some(at) => quoted(out, shortest(at)),
        None => out.extend_from_slice(b"null"),
    });
    next(out, "account_sid", |out| quoted(out, call.id.account));
    next(out, "answered", |out| put(out, answered));
    // A CDR says of a call that was never answered that it was in 1970.
    let answered_at = call.answered_at().or_else(|| (!answered).then(Timestamp::default));
    next(out, "answered_at", |out| at(out, answered_at));
    next(out, "application_sid", |out| or_null(out, call.text(CallField::ApplicationSid)));
    next(out, "call_sid", |out| quoted(out, call.id.sid));
    next(out, "direction", |out| quoted(out, call.direction.value));
    let duration = call.duration().or_else(|| (!answered).then_some(0));
    next(out, "duration", |out| match duration {
        Some(seconds) => put(out, seconds),
        None => out.extend_from_slice(b"null"),
    });
    next(out, "from", |out| or_null(out, call.text(CallField::From)));
    column(out, "host", None);
    column(out, "recording_url", None);
    column(out, "remote_host", None);
    let provider = provider.map(|provider| provider.to_string());
    column(out, "service_provider_sid", provider.as_deref());
    let outer = call.further_text("sbc_callid");
    column(out, "sip_callid", outer.as_deref().or_else(|| call.text(CallField::CallId)));
    if sent("sip_parent_callid").is_some() {
        column(out, "sip_parent_callid", None);
    }
    next(out, "sip_status", |out| put(out, call.progress.sip_status));
    next(out, "terminated_at", |out| at(out, call.terminated_at()));
    column(out, "termination_reason", None);
    next(out, "to", |out| or_null(out, call.text(CallField::To)));
    column(out, "trace_id", None);
    column(out, "trunk", call.text(CallField::OriginatingSipTrunkName));
    out.push(b'}');
}

/// A time without the zeros at its end, as `InfluxDB` writes the time of a row.
fn shortest(at: Timestamp) -> String {
    let text = show_time(at).to_string();
    let text = text.trim_end_matches('Z').trim_end_matches('0');
    match text.strip_suffix('.') {
        Some(seconds) => format!("{seconds}Z"),
        None => format!("{text}Z"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_no_zeros_behind_its_point() {
        for (millis, expected) in [
            (1_795_172_400_000, "2026-11-20T11:00:00Z"),
            (1_795_172_400_120, "2026-11-20T11:00:00.12Z"),
            (1_795_172_400_123, "2026-11-20T11:00:00.123Z"),
            (1_795_172_400_003, "2026-11-20T11:00:00.003Z"),
        ] {
            assert_eq!(shortest(Timestamp::from_millis(millis).unwrap()), expected);
        }
    }
}
