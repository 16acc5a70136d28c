//! Events and imported records: JSON in, [`StampedEvent`] out.

use super::names::{canonical, unwrapped};
use super::object::{Object, compact, nesting};
use super::value::{DURATION_MAX, number, text, time};
use super::{WireError, replace_lone_surrogates};
use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, CallStatus, Direction, EVENT_FIELDS, EventTimes,
    KEY_BYTES_MAX, LeftOut, MirroredAt, Moment, Rank, SidError, Source, StampedEvent,
    TEXT_BYTES_MAX, Timestamp, bounded,
};

/// Bytes of one record of an import as JSON, merge state and all.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024;
/// Objects and arrays in one another; readers of JSON give up at some depth.
const NESTING_MAX: usize = 32;
/// Keys that rollcall makes itself; a source's own values for them are not kept.
const OWN_KEYS: [&str; 5] = ["dropped", "listed_at", "merge", "stale", "time_unknown"];

/// What a text says: an event, or a whole record with its merge state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedInput {
    /// One status of a call.
    Event(Box<StampedEvent>),
    /// All that another rollcall knew of a call.
    Record(Box<Call>),
}

/// How much a reader forgives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leniency {
    /// A source that is not to be taught: what makes no sense is left out.
    Webhook,
    /// There is a person to tell.
    Import,
    /// What rollcall has written itself, and had judged before: times are taken as they are.
    Export,
}

/// A status event as a webhook sends it, received at `now`. It is taken leniently: what can be
/// placed at all is kept.
pub fn parse_event(
    json: &str,
    now: impl Into<Moment>,
    service_url: &str,
) -> Result<StampedEvent, WireError> {
    let now: Moment = now.into();
    let json = replace_lone_surrogates(json);
    let object = unwrapped(Object::parse(&json)?)?;
    let mut draft = PartialEvent::read(&object, Leniency::Webhook, now.time())?;
    draft.derive_service_url(service_url);
    let live = EventTimes::live(draft.at.map_or(now, Moment::from), draft.status);
    let stamp = EventTimes {
        attempted_at: draft.attempted_at.or(live.attempted_at),
        answered_at: draft.answered_at.or(live.answered_at),
        terminated_at: draft.terminated_at.or(live.terminated_at),
        ..live
    };
    draft.finish(Source::Webhook, stamp)
}

/// The state of a call as it stands in jambonz's Redis, read at `now`: an object of texts. It is taken as
/// leniently as a webhook.
pub fn parse_mirrored(
    json: &str,
    now: Timestamp,
    seen: MirroredAt,
    service_url: &str,
) -> Result<StampedEvent, WireError> {
    let json = replace_lone_surrogates(json);
    let mut draft = PartialEvent::read(&Object::parse(&json)?, Leniency::Webhook, now)?;
    draft.derive_service_url(service_url);
    let stamp = EventTimes::mirrored(seen, draft.status);
    draft.finish(Source::Mirror, stamp)
}

/// What a CDR says of a call, received at `now`: an object with the keys of a record, of which
/// `call_status` may be missing. It is taken as leniently as a webhook. Its time is the call's own.
pub fn parse_cdr(json: &str, now: Timestamp) -> Result<StampedEvent, WireError> {
    let json = replace_lone_surrogates(json);
    let draft = PartialEvent::read(&Object::parse(&json)?, Leniency::Webhook, now)?;
    let stamp = EventTimes {
        at: draft.terminated_at.or(draft.attempted_at).map(Moment::from),
        attempted_at: draft.attempted_at,
        answered_at: draft.answered_at,
        terminated_at: draft.terminated_at,
        ..EventTimes::default()
    };
    draft.finish(Source::Cdr, stamp)
}

/// A record as `rollcall import` reads it: an element of a jambonz list, or a line of an export.
/// It is taken strictly, since there is a person to tell.
pub fn parse_record(
    json: &str,
    now: Timestamp,
    service_url: &str,
) -> Result<ParsedInput, WireError> {
    let json = replace_lone_surrogates(json);
    let object = unwrapped(Object::parse(&json)?)?;
    // An export line carries its merge state beside the record itself.
    if object.has("merge") {
        return super::record::parse(&object, now).map(|call| ParsedInput::Record(Box::new(call)));
    }
    let mut draft = PartialEvent::read(&object, Leniency::Import, now)?;
    draft.expect_sids()?;
    draft.derive_service_url(service_url);
    let status = draft.status;
    let (terminal, answered) = (draft.terminal(), status == Some(CallStatus::InProgress));
    let end = if terminal {
        draft.terminated_at.or(draft.answered_at).or(draft.attempted_at)
    } else if answered {
        draft.answered_at.or(draft.attempted_at)
    } else {
        draft.attempted_at
    };
    let stamp = EventTimes {
        at: draft.at.or(end).map(Moment::from),
        listed_at: draft.listed_at,
        attempted_at: draft.attempted_at.or(draft.at).or(end),
        answered_at: draft.answered_at.or(draft.at.filter(|_| answered)),
        terminated_at: draft.terminated_at.or(draft.at.filter(|_| terminal)),
        ..EventTimes::default()
    };
    draft.finish(Source::Import, stamp).map(|event| ParsedInput::Event(Box::new(event)))
}

/// What has been read of an object so far.
#[derive(Default)]
pub(super) struct PartialEvent {
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
    pub texts: [Option<Box<str>>; CallField::ALL.len()],
    pub extras: Vec<(Box<str>, Box<str>)>,
    pub left_out: LeftOut,
    pub unread: Vec<&'static str>,
}

impl PartialEvent {
    /// Reads every key. A value that is too large is left out. One that makes no sense is an error,
    /// unless it comes by a webhook and the event can be placed without it.
    pub fn read(object: &Object<'_>, how: Leniency, now: Timestamp) -> Result<Self, WireError> {
        let camel = !object.has("call_sid") && object.has("callSid");
        let mut draft = Self::default();
        for (key, raw) in &object.0 {
            if *raw == "null" {
                continue;
            }
            let key = &*canonical(key, camel);
            let Err(error) = draft.take(key, raw, how, now) else { continue };
            if how != Leniency::Webhook || matches!(key, "account_sid" | "call_sid" | "direction") {
                return Err(error);
            }
            draft.unread.extend(EVENT_FIELDS.into_iter().find(|field| *field == key));
        }
        // Of a repeated key the last value counts, as in every JSON reader, unless it is empty.
        draft.extras.reverse();
        draft.extras.sort_by(|(a, _), (b, _)| a.cmp(b));
        draft.extras.dedup_by(|earlier, last| {
            let same = earlier.0 == last.0;
            if same && &*last.1 == "\"\"" {
                std::mem::swap(&mut earlier.1, &mut last.1);
            }
            same
        });
        if how != Leniency::Webhook && draft.status.is_none() {
            return Err(WireError::missing("call_status", statuses()));
        }
        Ok(draft)
    }

    fn take(
        &mut self,
        key: &str,
        raw: &str,
        how: Leniency,
        now: Timestamp,
    ) -> Result<(), WireError> {
        let now = (how != Leniency::Export).then_some(now);
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
            "sip_status" => {
                let number = number(key, raw, 100, 699)?;
                self.sip_status = number.and_then(|number| u16::try_from(number).ok());
            }
            "sip_reason" => {
                let text = self.text(key, raw, how)?;
                put(&mut self.sip_reason, text);
            }
            "duration" => {
                let most = if now.is_some() { DURATION_MAX } else { u64::from(u32::MAX) };
                let number = number(key, raw, 0, most)?;
                self.duration = number.and_then(|number| u32::try_from(number).ok());
            }
            "at" => self.at = time(key, raw, now)?,
            "listed_at" => self.listed_at = time(key, raw, now)?,
            "attempted_at" => self.attempted_at = time(key, raw, now)?,
            "answered_at" => self.answered_at = time(key, raw, now)?,
            "terminated_at" => self.terminated_at = time(key, raw, now)?,
            "stale" => self.stale = raw == "true",
            _ if OWN_KEYS.contains(&key) => {}
            _ => match CallField::ALL.into_iter().find(|field| field.key() == key) {
                Some(field) => {
                    let value = self.text(key, raw, how)?;
                    if let Some(slot) = self.texts.get_mut(field as usize) {
                        put(slot, value);
                    }
                }
                None if key.len() > KEY_BYTES_MAX || nesting(raw) > NESTING_MAX => {
                    self.left_out.remembered.push(key.into());
                }
                None => self.extras.push((key.into(), compact(raw))),
            },
        }
        Ok(())
    }

    /// A text that a record keeps; none where it is too long. Blanks alone say no more than an empty one.
    fn text(&mut self, key: &str, raw: &str, how: Leniency) -> Result<Option<Box<str>>, WireError> {
        let mut value = text(key, raw)?;
        if how != Leniency::Export && value.trim().is_empty() {
            value.clear();
        }
        if value.len() <= TEXT_BYTES_MAX {
            return Ok(Some(value.into()));
        }
        self.left_out.remembered.push(key.into());
        Ok(None)
    }

    fn terminal(&self) -> bool {
        self.status.is_some_and(|status| status.rank() == Rank::Terminal)
    }

    /// The sids that a webhook may leave wrong.
    fn expect_sids(&self) -> Result<(), WireError> {
        for field in [CallField::ApplicationSid, CallField::ParentCallSid] {
            let value = self.texts.get(field as usize).and_then(Option::as_deref);
            let wrong = |value: &&str| !value.is_empty() && value.parse::<CallSid>().is_err();
            if let Some(value) = value.filter(wrong) {
                let quoted = format!("\"{value}\"");
                return Err(WireError::new(field.key(), &quoted, SidError.to_string()));
            }
        }
        Ok(())
    }

    /// Where an event names no `service_url`, it is that of the feature server whose SIP address
    /// the event has.
    fn derive_service_url(&mut self, template: &str) {
        let slot = CallField::ServiceUrl as usize;
        let named = self.texts.get(slot).and_then(Option::as_deref);
        if template.is_empty() || named.is_some_and(|url| !url.is_empty()) {
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

    /// The event, with the times that its source gave kept apart.
    fn finish(self, source: Source, stamp: EventTimes) -> Result<StampedEvent, WireError> {
        let (terminal, answered) = (self.terminal(), self.status == Some(CallStatus::InProgress));
        let stamp = EventTimes {
            said_attempted_at: self.attempted_at.or(self.at.filter(|_| !terminal)),
            said_answered_at: self.answered_at.or(self.at.filter(|_| answered)),
            end_said: terminal && (self.terminated_at.is_some() || self.at.is_some()),
            ..stamp
        };
        let (id, direction) = (self.id()?, self.direction()?);
        let (extras, left_out) = bounded(self.extras, self.left_out);
        Ok(StampedEvent {
            id,
            direction,
            source,
            stamp,
            status: self.status,
            sip_status: self.sip_status,
            sip_reason: self.sip_reason,
            duration: self.duration,
            texts: self.texts,
            extras,
            left_out,
            unread: self.unread,
        })
    }
}

/// Puts a text in its place, where it does not take the place of one that says more.
fn put(slot: &mut Option<Box<str>>, text: Option<Box<str>>) {
    if let Some(text) = text.filter(|text| slot.is_none() || !text.is_empty()) {
        *slot = Some(text);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{parse_time, write_call};

    const NOW: u64 = 1_800_000_000_000;
    const IDS: &str = r#""account_sid":"9351f46a-678c-43f5-b8a6-d4eb58d131af","call_sid":"C1000000-0000-4000-8000-000000000001","direction":"inbound""#;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW).unwrap()
    }

    fn event(members: &str) -> Result<StampedEvent, WireError> {
        parse_event(&format!("{{{IDS}{members}}}"), now(), "http://{host}:3000")
    }

    fn record(members: &str) -> Result<ParsedInput, WireError> {
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
        assert_eq!(strange.unread, ["call_status", "sip_status", "duration", "from"]);
        let long = event(&format!(r#","call_status":"busy","from":"{}""#, "é".repeat(257)));
        let long = long.unwrap();
        assert_eq!(long.texts[CallField::From as usize], None, "half of a number is another one");
        assert_eq!(long.left_out.names().collect::<Vec<_>>(), ["from"]);
        let ahead = event(r#","at":1800000300001,"attempted_at":1800000000"#).unwrap();
        assert_eq!(ahead.stamp.attempted_at, Some(now()));
        assert_eq!(ahead.unread, ["at", "attempted_at"]);
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
        let ParsedInput::Event(event) = record(
            r#","call_status":"completed","attempted_at":"2026-01-01T00:00:00Z","answered_at":1767225603000,"terminated_at":"2026-01-01T00:00:45.5Z""#,
        )
        .unwrap() else {
            panic!("no merge state")
        };
        let call = crate::domain::merge(None, *event, now());
        assert_eq!(call.duration(), Some(42));
        assert_eq!(call.listed_at, parse_time("2026-01-01").unwrap());
        let ParsedInput::Event(untimed) = record(r#","call_status":"completed""#).unwrap() else {
            panic!("no merge state")
        };
        assert_eq!(untimed.stamp, EventTimes::default());
        assert!(shown(*untimed).contains("\"time_unknown\":true"));
    }
}
