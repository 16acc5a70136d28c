//! Events and imported records: JSON in, [`StampedEvent`] out.

use super::object::{Object, compact, nesting};
use super::{WireError, parse_time};
use crate::domain::{
    AccountSid, Call, CallId, CallSid, CallStatus, Direction, Known, Rank, SidError, Source, Stamp,
    StampedEvent, TEXT_BYTES_MAX, Timestamp,
};

/// Bytes of one event or record as JSON.
pub const EVENT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a key that rollcall does not know.
const KEY_BYTES_MAX: usize = 128;
/// Objects and arrays in one another; readers of JSON give up at some depth.
const NESTING_MAX: usize = 32;
/// How far ahead of rollcall's clock a source's clock may be, in milliseconds.
const AHEAD_MAX_MILLIS: u64 = 5 * 60 * 1000;
/// Keys that rollcall makes itself; a source's own values for them are not kept.
const OWN_KEYS: [&str; 4] = ["listed_at", "merge", "stale", "time_unknown"];

/// What a text told: an event, or a whole record with its merge state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// One status of a call.
    Event(Box<StampedEvent>),
    /// All that another rollcall knew of a call.
    Record(Box<Call>),
}

impl Told {
    /// The call that it is about.
    pub fn id(&self) -> CallId {
        match self {
            Self::Event(event) => event.id,
            Self::Record(call) => call.id,
        }
    }
}

/// A status event as a webhook sends it, received at `now`. It is taken leniently: what can be
/// placed at all is kept. `service_url` is the template for events that name none.
pub fn parse_event(
    json: &str,
    now: Timestamp,
    service_url: &str,
) -> Result<StampedEvent, WireError> {
    let object = Object::parse(within_bounds(json)?)?;
    let mut draft = Draft::read(&object, false, now)?;
    draft.derive_service_url(service_url);
    let at = draft.at.unwrap_or(now);
    let live = Stamp::live(at, draft.status);
    let stamp = Stamp {
        attempted_at: draft.attempted_at.or(live.attempted_at),
        answered_at: draft.answered_at.or(live.answered_at),
        terminated_at: draft.terminated_at.or(live.terminated_at),
        ..live
    };
    draft.finish(Source::Webhook, stamp)
}

/// A record as `rollcall import` reads it: an element of a jambonz list, or a line of an export.
/// It is taken strictly, since there is a person to tell.
pub fn parse_record(json: &str, now: Timestamp, service_url: &str) -> Result<Told, WireError> {
    // An export line carries its merge state beside the record itself.
    if json.len() > 4 * EVENT_BYTES_MAX {
        within_bounds(json)?;
    }
    let object = Object::parse(json)?;
    if object.has("merge") {
        return super::record::parse(&object, now).map(|call| Told::Record(Box::new(call)));
    }
    within_bounds(json)?;
    let mut draft = Draft::read(&object, true, now)?;
    draft.expect_sids()?;
    draft.derive_service_url(service_url);
    let status = draft.status;
    let terminal = status.is_some_and(|s| s.rank() == Rank::Terminal);
    let answered = status == Some(CallStatus::InProgress);
    let known = if terminal {
        draft.terminated_at.or(draft.answered_at).or(draft.attempted_at)
    } else if answered {
        draft.answered_at.or(draft.attempted_at)
    } else {
        draft.attempted_at
    };
    let stamp = Stamp {
        at: draft.at.or(known),
        listed_at: draft.listed_at,
        attempted_at: draft.attempted_at.or(draft.at).or(known),
        answered_at: draft.answered_at.or(draft.at.filter(|_| answered)),
        terminated_at: draft.terminated_at.or(draft.at.filter(|_| terminal)),
    };
    draft.finish(Source::Import, stamp).map(|event| Told::Event(Box::new(event)))
}

fn within_bounds(json: &str) -> Result<&str, WireError> {
    if json.len() > EVENT_BYTES_MAX {
        let expected = format!("{} bytes: an event has at most {EVENT_BYTES_MAX}", json.len());
        return Err(WireError::new("", json, expected));
    }
    Ok(json)
}

/// What has been read of an object so far.
#[derive(Default)]
pub(super) struct Draft {
    pub account: Option<AccountSid>,
    pub sid: Option<CallSid>,
    pub direction: Option<Direction>,
    pub status: Option<CallStatus>,
    pub sip_status: Option<u16>,
    pub sip_reason: Option<Box<str>>,
    pub duration: Option<u32>,
    pub at: Option<Timestamp>,
    pub listed_at: Option<Timestamp>,
    pub attempted_at: Option<Timestamp>,
    pub answered_at: Option<Timestamp>,
    pub terminated_at: Option<Timestamp>,
    pub stale: bool,
    pub texts: [Option<Box<str>>; Known::ALL.len()],
    pub extras: Vec<(Box<str>, Box<str>)>,
}

impl Draft {
    /// Reads every key. Where it is `strict` a value that makes no sense is an error; else it is
    /// left out, unless the event cannot be placed without it.
    pub fn read(object: &Object<'_>, strict: bool, now: Timestamp) -> Result<Self, WireError> {
        let camel = !object.has("call_sid") && object.has("callSid");
        let mut draft = Self::default();
        for (key, raw) in &object.0 {
            if *raw == "null" {
                continue;
            }
            let snake;
            let key: &str = if camel {
                snake = snake_case(key);
                &snake
            } else {
                key
            };
            let taken = draft.take(key, raw, strict, now);
            let needed = strict || matches!(key, "account_sid" | "call_sid" | "direction" | "at");
            if needed {
                taken?;
            }
        }
        // Of a repeated key the last value counts, as in every JSON reader.
        draft.extras.reverse();
        draft.extras.sort_by(|(a, _), (b, _)| a.cmp(b));
        draft.extras.dedup_by(|earlier, last| earlier.0 == last.0);
        if strict && draft.status.is_none() {
            return Err(WireError::missing("call_status", statuses()));
        }
        Ok(draft)
    }

    fn take(
        &mut self,
        key: &str,
        raw: &str,
        strict: bool,
        now: Timestamp,
    ) -> Result<(), WireError> {
        let sid = || WireError::new(key, raw, SidError.to_string());
        match key {
            "account_sid" => {
                self.account = Some(text(key, raw)?.parse().map_err(|_| sid())?);
            }
            "call_sid" => self.sid = Some(text(key, raw)?.parse().map_err(|_| sid())?),
            "direction" => {
                let wrong = |()| WireError::new(key, raw, "expected inbound or outbound");
                self.direction = Some(text(key, raw)?.parse().map_err(wrong)?);
            }
            "call_status" => {
                let wrong = |()| WireError::new(key, raw, statuses());
                self.status = Some(text(key, raw)?.parse().map_err(wrong)?);
            }
            "sip_status" => self.sip_status = Some(number(key, raw, &100, &699)?),
            "sip_reason" => self.sip_reason = Some(bounded(key, raw, strict)?),
            "duration" => self.duration = Some(number(key, raw, &0, &u32::MAX)?),
            "at" => self.at = Some(time(key, raw, now)?),
            "listed_at" => self.listed_at = Some(time(key, raw, now)?),
            "attempted_at" => self.attempted_at = Some(time(key, raw, now)?),
            "answered_at" => self.answered_at = Some(time(key, raw, now)?),
            "terminated_at" => self.terminated_at = Some(time(key, raw, now)?),
            "stale" => self.stale = raw == "true",
            _ if OWN_KEYS.contains(&key) => {}
            _ => match Known::ALL.into_iter().find(|known| known.key() == key) {
                Some(known) => {
                    let value = bounded(key, raw, strict)?;
                    if let Some(slot) = self.texts.get_mut(known as usize) {
                        *slot = Some(value);
                    }
                }
                None if key.len() > KEY_BYTES_MAX => {
                    let expected = format!("a key has at most {KEY_BYTES_MAX} bytes");
                    return Err(WireError::new(key, raw, expected));
                }
                None if nesting(raw) > NESTING_MAX => {
                    let expected = format!("nested deeper than {NESTING_MAX}");
                    return Err(WireError::new(key, raw, expected));
                }
                None => {
                    let json = compact(raw);
                    self.extras.push((key.into(), json));
                }
            },
        }
        Ok(())
    }

    /// The sids that a webhook may leave wrong.
    fn expect_sids(&self) -> Result<(), WireError> {
        for known in [Known::ApplicationSid, Known::ParentCallSid] {
            let value = self.texts.get(known as usize).and_then(Option::as_deref);
            if let Some(value) = value.filter(|value| value.parse::<CallSid>().is_err()) {
                let quoted = format!("\"{value}\"");
                return Err(WireError::new(known.key(), &quoted, SidError.to_string()));
            }
        }
        Ok(())
    }

    /// Where an event names no `service_url`, it is that of the feature server whose SIP address
    /// the event has.
    fn derive_service_url(&mut self, template: &str) {
        let slot = Known::ServiceUrl as usize;
        if template.is_empty() || self.texts.get(slot).is_some_and(Option::is_some) {
            return;
        }
        let address = self.extras.iter().find(|(key, _)| &**key == "fs_sip_address");
        let Some(address) = address.and_then(|(_, json)| text("", json).ok()) else { return };
        let host = host_of(&address);
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if host.is_empty() || !host.chars().all(plain) {
            return;
        }
        let url = template.replace("{host}", host);
        if let Some(slot) = self.texts.get_mut(slot).filter(|_| url.len() <= TEXT_BYTES_MAX) {
            *slot = Some(url.into());
        }
    }

    /// The call that the object names.
    pub fn id(&self) -> Result<CallId, WireError> {
        let sid = "expected a UUID in its hyphenated form";
        let account = self.account.ok_or_else(|| WireError::missing("account_sid", sid))?;
        let sid = self.sid.ok_or_else(|| WireError::missing("call_sid", sid))?;
        Ok(CallId { account, sid })
    }

    /// The direction that the object names.
    pub fn direction(&self) -> Result<Direction, WireError> {
        self.direction
            .ok_or_else(|| WireError::missing("direction", "expected inbound or outbound"))
    }

    fn finish(self, source: Source, stamp: Stamp) -> Result<StampedEvent, WireError> {
        Ok(StampedEvent {
            id: self.id()?,
            direction: self.direction()?,
            source,
            stamp,
            status: self.status,
            sip_status: self.sip_status,
            sip_reason: self.sip_reason,
            duration: self.duration,
            texts: self.texts,
            extras: self.extras,
        })
    }
}

/// The host of a SIP address: `10.0.0.5:5060`, `[2001:db8::1]:5060`, `fs-1.example.com`.
fn host_of(address: &str) -> &str {
    if address.starts_with('[') {
        return address.find(']').and_then(|end| address.get(..=end)).unwrap_or_default();
    }
    address.split_once(':').map_or(address, |(host, _)| host)
}

fn statuses() -> String {
    let words: Vec<_> = CallStatus::ALL.iter().map(|status| status.as_str()).collect();
    format!("expected one of {}", words.join(", "))
}

/// The text of a JSON string, or of a number, as it was written.
pub(super) fn text(key: &str, raw: &str) -> Result<String, WireError> {
    if raw.starts_with('"') {
        let broken = |_| WireError::new(key, raw, "expected valid Unicode");
        return serde_json::from_str(raw).map_err(broken);
    }
    if raw.starts_with(['{', '[', 't', 'f', 'n']) {
        return Err(WireError::new(key, raw, "expected a string"));
    }
    Ok(raw.to_owned())
}

fn bounded(key: &str, raw: &str, strict: bool) -> Result<Box<str>, WireError> {
    let mut value = text(key, raw)?;
    if value.len() > TEXT_BYTES_MAX {
        if strict {
            let expected = format!("{} bytes: at most {TEXT_BYTES_MAX}", value.len());
            return Err(WireError::new(key, raw, expected));
        }
        value.truncate(value.floor_char_boundary(TEXT_BYTES_MAX));
    }
    Ok(value.into())
}

fn number<N>(key: &str, raw: &str, least: &N, most: &N) -> Result<N, WireError>
where
    N: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let value = text(key, raw)?.parse().ok();
    value.filter(|value| (least..=most).contains(&value)).ok_or_else(|| {
        WireError::new(key, raw, format!("expected a whole number, {least} to {most}"))
    })
}

/// RFC 3339, or whole milliseconds since 1970 as in CDRs.
pub(super) fn time(key: &str, raw: &str, now: Timestamp) -> Result<Timestamp, WireError> {
    let value = text(key, raw)?;
    let millis = value.parse().ok().and_then(Timestamp::from_millis);
    let expected = "expected a time as 2026-01-31T23:59:59.000Z, or milliseconds since 1970";
    let time = millis.or_else(|| parse_time(&value));
    let time = time.ok_or_else(|| WireError::new(key, raw, expected))?;
    if time > now.plus_millis(AHEAD_MAX_MILLIS) {
        let expected = format!(
            "more than 5 minutes ahead of this machine's clock ({})",
            super::show_time(now)
        );
        return Err(WireError::new(key, raw, expected));
    }
    Ok(time)
}

fn snake_case(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::write_call;

    const NOW: u64 = 1_800_000_000_000;
    const IDS: &str = r#""account_sid":"9351f46a-678c-43f5-b8a6-d4eb58d131af","call_sid":"C1000000-0000-4000-8000-000000000001","direction":"inbound""#;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW).unwrap()
    }

    fn event(members: &str) -> Result<StampedEvent, WireError> {
        parse_event(&format!("{{{IDS}{members}}}"), now(), "http://{host}:3000")
    }

    fn record(members: &str) -> Result<Told, WireError> {
        parse_record(&format!("{{{IDS}{members}}}"), now(), "")
    }

    fn shown(event: StampedEvent) -> String {
        let mut out = Vec::new();
        write_call(&mut out, &crate::domain::merge(None, event, now()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_recorded_webhook_is_taken() {
        let lines = include_str!("../../tests/fixtures/call-status-events.ndjson");
        let mut seen = 0;
        for line in lines.lines() {
            let event = parse_event(line, now(), "http://{host}:3000").unwrap();
            assert!(event.status.is_some(), "{line}");
            seen += 1;
        }
        assert_eq!(seen, 68);
    }

    #[test]
    fn a_call_is_shown_with_its_keys_in_order_and_the_rest_as_sent() {
        let event = event(
            r#","call_status":"ringing","sip_status":"180","from":15551230001,"to":null,"fs_sip_address":"10.0.0.5:5060","has_recording": false,"customer_data":{"b": 1.50, "a":[1, 2]}"#,
        );
        assert_eq!(
            shown(event.unwrap()),
            r#"{"account_sid":"9351f46a-678c-43f5-b8a6-d4eb58d131af","call_id":"","call_sid":"c1000000-0000-4000-8000-000000000001","call_status":"ringing","direction":"inbound","from":"15551230001","service_url":"http://10.0.0.5:3000","sip_status":180,"to":"","attempted_at":"2027-01-15T08:00:00.000Z","customer_data":{"b":1.50,"a":[1,2]},"fs_sip_address":"10.0.0.5:5060","has_recording":false}"#
        );
    }

    #[test]
    fn camel_case_says_the_same() {
        let camel = r#"{"accountSid":"9351f46a-678c-43f5-b8a6-d4eb58d131af","callSid":"c1000000-0000-4000-8000-000000000001","direction":"inbound","callStatus":"busy","sipStatus":486,"parentCallSid":"x","fsSipAddress":"10.0.0.5"}"#;
        let snake = event(
            r#","call_status":"busy","sip_status":486,"parent_call_sid":"x","fs_sip_address":"10.0.0.5""#,
        );
        assert_eq!(parse_event(camel, now(), "http://{host}:3000"), snake);
    }

    #[test]
    fn a_webhook_is_taken_leniently() {
        let strange =
            event(r#","call_status":"on-hold","sip_status":9999,"duration":-1,"from":{}"#);
        let strange = strange.unwrap();
        assert_eq!((strange.status, strange.sip_status, strange.duration), (None, None, None));
        let long = event(&format!(r#","call_status":"busy","from":"{}""#, "é".repeat(600)));
        assert_eq!(long.unwrap().texts[Known::From as usize].as_ref().unwrap().len(), 512);
    }

    #[test]
    fn what_cannot_be_placed_is_refused_with_field_and_value() {
        for (json, says) in [
            (
                r#"{"call_sid":"c1000000-0000-4000-8000-000000000001","direction":"inbound"}"#,
                "account_sid is missing",
            ),
            (r#"{"account_sid":"x"}"#, r#"account_sid "x": not a UUID"#),
            (r#"{"account_sid":7}"#, "account_sid 7: not a UUID"),
            (
                r#"{"direction":"sideways"}"#,
                r#"direction "sideways": expected inbound or outbound"#,
            ),
            ("[]", "[]: expected a JSON object"),
            ("{", "not valid JSON"),
        ] {
            let error = parse_event(json, now(), "").unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let ahead = event(r#","at":1800000300001"#).unwrap_err().to_string();
        assert!(ahead.contains("5 minutes ahead"), "{ahead}");
        let huge = event(&format!(r#","x":"{}""#, "y".repeat(EVENT_BYTES_MAX)));
        assert!(huge.unwrap_err().to_string().contains("at most 16384"));
    }

    #[test]
    fn an_import_is_strict() {
        for (members, says) in [
            (r#","call_status":"on-hold""#, r#"call_status "on-hold": expected one of trying"#),
            ("", "call_status is missing"),
            (r#","call_status":"busy","sip_status":99"#, "sip_status 99: expected a whole number"),
            (
                r#","call_status":"busy","attempted_at":"soon""#,
                r#"attempted_at "soon": expected a time"#,
            ),
            (
                r#","call_status":"busy","application_sid":"x""#,
                r#"application_sid "x": not a UUID"#,
            ),
        ] {
            let error = record(members).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn an_imported_record_brings_its_times_along() {
        let Told::Event(event) = record(
            r#","call_status":"completed","attempted_at":"2026-01-01T00:00:00Z","answered_at":1767225603000,"terminated_at":"2026-01-01T00:00:45.5Z""#,
        )
        .unwrap() else {
            panic!("no merge state")
        };
        let call = crate::domain::merge(None, *event, now());
        assert_eq!(call.duration(), Some(42));
        assert_eq!(call.listed_at, parse_time("2026-01-01").unwrap());
        let Told::Event(untimed) = record(r#","call_status":"completed""#).unwrap() else {
            panic!("no merge state")
        };
        assert_eq!(untimed.stamp, Stamp::default());
        assert!(shown(*untimed).contains("\"time_unknown\":true"));
    }
}
