//! What a search asks of a call beside its status, direction, numbers and times: parts of numbers,
//! ids, SIP statuses, durations.
//!
//! The API and the command line read it here, by the names that the parameters have in the API.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::{Call, CallField, CallSid, PART_CHARS_MIN, PartyPart, fold_party};

/// Values that one parameter may have.
pub const VALUES_MAX: usize = 100;

/// The parameters of a search.
pub const SEARCH_PARAMETERS: [&str; 15] = [
    "number",
    "from_contains",
    "to_contains",
    "number_contains",
    "call_id",
    "sbc_callid",
    "trace_id",
    "application_sid",
    "trunk",
    "termination",
    "sip_status",
    "answered",
    "duration_min",
    "duration_max",
    "q",
];

/// Every part that is not empty must match. Lists ascend, without repetition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Search {
    /// Either party is any of these, exactly.
    pub number: Vec<String>,
    /// The calling party has any of these in it.
    pub from_contains: Vec<PartyPart>,
    /// The called party has any of these in it.
    pub to_contains: Vec<PartyPart>,
    /// Either party has any of these in it.
    pub number_contains: Vec<PartyPart>,
    /// Any of these SIP Call-IDs, exactly.
    pub call_id: Vec<String>,
    /// Any of these Call-IDs on the other side of the SBC, exactly.
    pub sbc_callid: Vec<String>,
    /// Any of these traces, exactly.
    pub trace_id: Vec<String>,
    /// Any of these applications, exactly as they are kept.
    pub application_sid: Vec<String>,
    /// By any of these trunks, exactly: as a CDR says it, too.
    pub trunk: Vec<String>,
    /// Ended by any of these, exactly.
    pub termination: Vec<String>,
    /// Any of these SIP statuses.
    pub sip_status: Vec<SipStatuses>,
    /// Answered calls, or all but them.
    pub answered: Option<bool>,
    /// Of so many seconds at least.
    pub duration_min: Option<u64>,
    /// Of so many seconds at most.
    pub duration_max: Option<u64>,
    /// What was typed into one box.
    pub q: Option<Typed>,
}

/// Why a parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchError {
    /// The parameter.
    pub name: &'static str,
    /// What of it is wrong; none where it is too much.
    value: Option<String>,
    /// What would be right.
    expected: String,
}

impl fmt::Display for SearchError {
    /// Without the name, which is another one on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = &self.value {
            write!(f, " \"{value}\"")?;
        }
        write!(f, ": {}", self.expected)
    }
}

impl Search {
    /// Takes a parameter; false where it is none of a search.
    pub fn read(&mut self, name: &str, value: &str) -> Result<bool, SearchError> {
        let known = SEARCH_PARAMETERS.into_iter().find(|known| *known == name);
        let Some(name) = known else { return Ok(false) };
        match name {
            "number" => texts(&mut self.number, name, value, with_plus)?,
            "from_contains" => parts(&mut self.from_contains, name, value)?,
            "to_contains" => parts(&mut self.to_contains, name, value)?,
            "number_contains" => parts(&mut self.number_contains, name, value)?,
            "call_id" => texts(&mut self.call_id, name, value, str::to_owned)?,
            "sbc_callid" => texts(&mut self.sbc_callid, name, value, str::to_owned)?,
            "trace_id" => texts(&mut self.trace_id, name, value, str::to_owned)?,
            "application_sid" => texts(&mut self.application_sid, name, value, str::to_owned)?,
            "trunk" => texts(&mut self.trunk, name, value, str::to_owned)?,
            "termination" => texts(&mut self.termination, name, value, str::to_owned)?,
            "sip_status" => statuses(&mut self.sip_status, name, value)?,
            "answered" => {
                let truth = value.parse();
                let truth = truth.map_err(|_| wrong(name, value, "expected true or false"))?;
                once(&mut self.answered, name, value, truth)?;
            }
            "duration_min" => once(&mut self.duration_min, name, value, seconds(name, value)?)?,
            "duration_max" => once(&mut self.duration_max, name, value, seconds(name, value)?)?,
            _ => {
                let expected = format!("expected at least {PART_CHARS_MIN} characters");
                let typed = Typed::parse(value).ok_or_else(|| wrong(name, value, &expected))?;
                once(&mut self.q, name, value, typed)?;
            }
        }
        Ok(true)
    }

    /// Puts the lists in order, once all parameters have been read.
    pub fn finish(&mut self) -> Result<(), SearchError> {
        for texts in [
            &mut self.number,
            &mut self.call_id,
            &mut self.sbc_callid,
            &mut self.trace_id,
            &mut self.application_sid,
            &mut self.trunk,
            &mut self.termination,
        ] {
            texts.sort_unstable();
            texts.dedup();
        }
        for parts in [&mut self.from_contains, &mut self.to_contains, &mut self.number_contains] {
            parts.sort_unstable();
            parts.dedup();
        }
        self.sip_status.sort_unstable();
        self.sip_status.dedup();
        match (self.duration_min, self.duration_max) {
            (Some(min), Some(max)) if min > max => {
                let expected = format!("expected no more than duration_max, which is {max}");
                Err(wrong("duration_min", &min.to_string(), &expected))
            }
            _ => Ok(()),
        }
    }

    /// Call-IDs of which each match has one, where such are asked for.
    pub fn any_call_id(&self) -> Option<&[String]> {
        [&self.call_id, &self.sbc_callid].into_iter().find(|ids| !ids.is_empty()).map(Vec::as_slice)
    }

    /// Whether anything but `number` is asked.
    pub fn asks_beside_number(&self) -> bool {
        // Named one by one, so that a new part is met here.
        let Self {
            number: _,
            from_contains,
            to_contains,
            number_contains,
            call_id,
            sbc_callid,
            trace_id,
            application_sid,
            trunk,
            termination,
            sip_status,
            answered,
            duration_min,
            duration_max,
            q,
        } = self;
        let parts = [from_contains, to_contains, number_contains];
        let texts = [call_id, sbc_callid, trace_id, application_sid, trunk, termination];
        parts.into_iter().any(|parts| !parts.is_empty())
            || texts.into_iter().any(|texts| !texts.is_empty())
            || !sip_status.is_empty()
            || answered.is_some()
            || duration_min.is_some()
            || duration_max.is_some()
            || q.is_some()
    }

    /// Whether the call is one that is searched for.
    pub fn matches(&self, call: &Call) -> bool {
        let text = |field| call.text(field).unwrap_or_default();
        let (from, to) = (text(CallField::From), text(CallField::To));
        let is_any = |wanted: &[String], value: &str| wanted.iter().any(|wanted| wanted == value);
        let has_any = PartyPart::any_in;
        let named = |wanted: &[String], value: Option<&str>| {
            wanted.is_empty() || value.is_some_and(|value| is_any(wanted, value))
        };
        let sent = |wanted: &[String], key: &str| {
            wanted.is_empty() || call.further_text(key).is_some_and(|value| is_any(wanted, &value))
        };
        (self.number.is_empty() || is_any(&self.number, from) || is_any(&self.number, to))
            && (self.from_contains.is_empty() || has_any(&self.from_contains, from))
            && (self.to_contains.is_empty() || has_any(&self.to_contains, to))
            && (self.number_contains.is_empty()
                || has_any(&self.number_contains, from)
                || has_any(&self.number_contains, to))
            && named(&self.call_id, call.text(CallField::CallId))
            && sent(&self.sbc_callid, SBC_CALLID)
            && sent(&self.trace_id, "trace_id")
            && named(&self.application_sid, call.text(CallField::ApplicationSid))
            && (named(&self.trunk, call.text(CallField::OriginatingSipTrunkName))
                || sent(&self.trunk, "trunk"))
            && sent(&self.termination, "call_termination_by")
            && (self.sip_status.is_empty()
                || self.sip_status.iter().any(|wanted| wanted.have(call.progress.sip_status)))
            && self.answered.is_none_or(|answered| answered == call.answered())
            && self.are_seconds(call.duration())
            && self.q.as_ref().is_none_or(|typed| typed.matches(call))
    }

    /// Whether a duration is within the bounds; none is within no bound.
    pub(super) fn are_seconds(&self, duration: Option<u64>) -> bool {
        if self.duration_min.is_none() && self.duration_max.is_none() {
            return true;
        }
        duration.is_some_and(|seconds| {
            self.duration_min.is_none_or(|min| seconds >= min)
                && self.duration_max.is_none_or(|max| seconds <= max)
        })
    }
}

/// The key of the Call-ID on the other side of the SBC.
const SBC_CALLID: &str = "sbc_callid";
/// Keys of Call-IDs beside `call_id`; the second is that of CDRs.
const OTHER_CALLIDS: [&str; 2] = [SBC_CALLID, "sip_callid"];

impl Call {
    /// Its Call-IDs: its own, that on the other side of the SBC, that of its CDR.
    pub fn call_ids(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let own = self.text(CallField::CallId).map(Cow::Borrowed);
        own.into_iter().chain(OTHER_CALLIDS.iter().filter_map(|key| self.further_text(key)))
    }
}

/// One SIP status, or those of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SipStatuses {
    /// 100..=699.
    One(u16),
    /// 1..=6, the hundreds.
    Class(u16),
}

impl SipStatuses {
    pub(super) fn have(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl FromStr for SipStatuses {
    type Err = ();

    /// `486`, or `4xx`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
        let (digits, least, most) = match class {
            Some(class) => (class, 1, 6),
            None => (text, 100, 699),
        };
        let number = digits.parse().ok().filter(|number| (least..=most).contains(number));
        let number: u16 = number.filter(|_| is_number(digits)).ok_or(())?;
        Ok(if class.is_some() { Self::Class(number) } else { Self::One(number) })
    }
}

impl fmt::Display for SipStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}

/// What a person types into one box: the sid of a call, a Call-ID, a number or a part of one.
///
/// A call matches whose Call-ID is the text, on either side of the SBC or in its CDR. Of a sid the call matches that
/// has it; any other text may be a part of a number as well, where it has letters and digits enough.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Typed {
    text: Box<str>,
    sid: Option<CallSid>,
    part: Option<PartyPart>,
    /// It is also looked for in the numbers as it stands.
    as_it_stands: bool,
}

impl Typed {
    /// Blanks at both ends do not count; none where fewer than [`PART_CHARS_MIN`] characters are left.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.chars().count() < PART_CHARS_MIN {
            return None;
        }
        let sid = text.parse().ok();
        let part = if sid.is_some() { None } else { PartyPart::parse(text) };
        Some(Self { text: text.into(), sid, part, as_it_stands: false })
    }

    /// What is typed into the portal of jambonz: any text but none, which may also stand as it is in a
    /// number, and be a part of one however short it is.
    pub fn in_portal(text: &str) -> Option<Self> {
        let text = text.trim();
        let (sid, part) = (text.parse().ok(), PartyPart::short(text));
        let part = part.filter(|_| sid.is_none());
        (!text.is_empty()).then(|| Self { text: text.into(), sid, part, as_it_stands: true })
    }

    /// What was typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The sid that it is, if any.
    pub fn sid(&self) -> Option<CallSid> {
        self.sid
    }

    /// What stands in a party of each call that matches by its numbers: one of these at least.
    pub(super) fn in_parties(&self) -> Vec<&str> {
        let part = self.part.as_ref().map(PartyPart::as_str);
        part.into_iter().chain(self.as_it_stands.then_some(&*self.text)).collect()
    }

    /// Whether it stands in a party, which is given as it is compared, and as it is.
    pub(super) fn is_in(&self, folded: &str, party: &str) -> bool {
        self.part.as_ref().is_some_and(|part| folded.contains(part.as_str()))
            || self.as_it_stands && party.contains(&*self.text)
    }

    fn matches(&self, call: &Call) -> bool {
        let has_part = |field| {
            let party = call.text(field).unwrap_or_default();
            self.is_in(&fold_party(party), party)
        };
        self.sid == Some(call.id.sid)
            || call.call_ids().any(|call_id| *call_id == *self.text)
            || has_part(CallField::From)
            || has_part(CallField::To)
    }
}

fn wrong(name: &'static str, value: &str, expected: &str) -> SearchError {
    let value = Some(value.chars().take(80).collect());
    SearchError { name, value, expected: expected.to_owned() }
}

fn bounded(values: usize, name: &'static str) -> Result<(), SearchError> {
    if values > VALUES_MAX {
        let expected = format!("{values} values, expected at most {VALUES_MAX}");
        return Err(SearchError { name, value: None, expected });
    }
    Ok(())
}

/// The values of a list by comma, of which there is one at least.
fn values<'a>(name: &'static str, value: &'a str) -> Result<Vec<&'a str>, SearchError> {
    bounded(value.split(',').count(), name)?;
    let values: Vec<_> = value.split(',').filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        let expected = if value.is_empty() { "a value" } else { "values between the commas" };
        return Err(wrong(name, value, &format!("expected {expected}")));
    }
    Ok(values)
}

/// Texts that are compared exactly. A list by comma is several of them, and also the one text that has
/// the commas.
fn texts(
    wanted: &mut Vec<String>,
    name: &'static str,
    value: &str,
    read: fn(&str) -> String,
) -> Result<(), SearchError> {
    wanted.extend(values(name, value)?.into_iter().map(read));
    if value.contains(',') {
        wanted.push(read(value));
    }
    bounded(wanted.iter().filter(|text| !text.contains(',')).count(), name)
}

/// A `+` that was not encoded has become a space; no number begins with one.
pub fn with_plus(text: &str) -> String {
    match text.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("+{rest}"),
        _ => text.to_owned(),
    }
}

/// Parts of numbers, separated by commas.
fn parts(wanted: &mut Vec<PartyPart>, name: &'static str, value: &str) -> Result<(), SearchError> {
    for text in values(name, value)? {
        let part = PartyPart::parse(text).ok_or_else(|| {
            let expected = format!(
                "expected at least {PART_CHARS_MIN} digits or letters of a number or SIP user"
            );
            wrong(name, text, &expected)
        })?;
        wanted.push(part);
    }
    bounded(wanted.len(), name)
}

fn statuses(
    wanted: &mut Vec<SipStatuses>,
    name: &'static str,
    value: &str,
) -> Result<(), SearchError> {
    for text in values(name, value)? {
        let expected = "expected a SIP status, 100 to 699, or a class of them, 1xx to 6xx";
        wanted.push(text.parse().map_err(|()| wrong(name, text, expected))?);
    }
    bounded(wanted.len(), name)
}

fn seconds(name: &'static str, value: &str) -> Result<u64, SearchError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = value.parse().ok().filter(|_| digits);
    seconds.ok_or_else(|| wrong(name, value, "expected whole seconds, such as 90"))
}

/// Takes a value of which there can be one.
fn once<T: PartialEq>(
    place: &mut Option<T>,
    name: &'static str,
    value: &str,
    new: T,
) -> Result<(), SearchError> {
    if place.as_ref().is_some_and(|old| *old != new) {
        return Err(wrong(name, value, "expected once, and it was given another value before"));
    }
    *place = Some(new);
    Ok(())
}
