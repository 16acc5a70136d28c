//! The query of a list, read into checked types.

use std::str::FromStr;

use super::cursor;
use super::error::ApiError;
use super::representation::ListLayout;
use crate::domain::{
    AcrossPosition, CallSid, CallStatus, Direction, Filter, Order, SearchError, SidError,
    Timestamp, VALUES_MAX, with_plus,
};
use crate::store::Scope;
use crate::wire::{CsvStyle, Zone, ZoneError, parse_time, time_fault};

/// Calls that one page may have.
const LIMIT_MAX: usize = 10_000;

/// The parameters of a list beside those of a search; any other means nothing.
pub(super) const PARAMETERS: [&str; 18] = [
    "callStatus",
    "call_status",
    "direction",
    "from",
    "to",
    "from_prefix",
    "to_prefix",
    "parent_call_sid",
    "stale",
    "start",
    "end",
    "limit",
    "cursor",
    "order",
    "count",
    "format",
    "spreadsheet",
    "time_zone",
];

/// What a list was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ListQuery {
    pub filter: Filter,
    pub order: Order,
    /// None: all that match.
    pub limit: Option<usize>,
    pub after: Option<AcrossPosition>,
    /// Say how many match in all.
    pub count: bool,
    /// The form of the answer, where it is not left to `Accept`.
    pub layout: Option<ListLayout>,
    /// How CSV is written, where that is asked for.
    pub style: CsvStyle,
}

impl ListQuery {
    /// Reads a query string as a form is read: percent-decoded, `+` is a space. An empty value is
    /// no filter, and unknown parameters mean nothing.
    pub fn parse(query: &str, scope: Scope) -> Result<Self, ApiError> {
        let mut parsed = Self::default();
        let mut after = None;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = key.strip_suffix("[]").unwrap_or(&key);
            if value.is_empty()
                || parsed.filter.search.read(name, &value).map_err(|error| refused(&error))?
                || !PARAMETERS.contains(&name)
            {
                continue;
            }
            let filter = &mut parsed.filter;
            match name {
                name @ ("callStatus" | "call_status") => {
                    words(&mut filter.statuses, name, &value, &CallStatus::ALL)?;
                }
                "direction" => {
                    words(&mut filter.directions, "direction", &value, &Direction::ALL)?;
                }
                "from" => numbers(&mut filter.from, "from", &value)?,
                "to" => numbers(&mut filter.to, "to", &value)?,
                "from_prefix" => prefixes(&mut filter.from_prefix, "from_prefix", &value)?,
                "to_prefix" => prefixes(&mut filter.to_prefix, "to_prefix", &value)?,
                "parent_call_sid" => sids(&mut filter.parents, "parent_call_sid", &value)?,
                "stale" => filter.stale = Some(truth("stale", &value)?),
                // A number is the page size of other jambonz lists; here it never meant anything.
                "count" if value.bytes().all(|byte| byte.is_ascii_digit()) => {}
                "count" => parsed.count = truth("count", &value)?,
                "format" => {
                    let layout = ListLayout::named(&value);
                    let expected = || wrong("format", &value, "expected json, ndjson or csv");
                    parsed.layout = Some(layout.ok_or_else(expected)?);
                }
                "spreadsheet" => parsed.style.spreadsheet = truth("spreadsheet", &value)?,
                "time_zone" => parsed.style.zone = zone(&value)?,
                "start" => filter.start = Some(time("start", &value)?),
                "end" => filter.end = Some(time("end", &value)?),
                "limit" => parsed.limit = Some(limit(&value)?),
                "order" => {
                    parsed.order = match &*value {
                        "desc" => Order::NewestFirst,
                        "asc" => Order::OldestFirst,
                        _ => return Err(wrong("order", &value, "expected asc or desc")),
                    };
                }
                "cursor" => after = Some(value),
                _ => {}
            }
        }
        let filter = &mut parsed.filter;
        filter.statuses.sort_unstable();
        filter.statuses.dedup();
        filter.directions.sort_unstable();
        filter.directions.dedup();
        filter.parents.sort_unstable();
        filter.parents.dedup();
        let texts =
            [&mut filter.from, &mut filter.to, &mut filter.from_prefix, &mut filter.to_prefix];
        for texts in texts {
            texts.sort_unstable();
            texts.dedup();
        }
        filter.search.finish().map_err(|error| refused(&error))?;
        if let Some(text) = after {
            let position = cursor::read(&text, scope, filter, parsed.order);
            let expected = "not a cursor of this list; a cursor serves the path, the filters \
                            and the order that it was made for";
            parsed.after = Some(position.ok_or_else(|| wrong("cursor", &text, expected))?);
        }
        Ok(parsed)
    }

    /// The query of the next page: the same, with another cursor.
    pub fn next(query: &str, cursor: &str) -> String {
        let mut next = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if key != "cursor" && key != "access_token" {
                next.append_pair(&key, &value);
            }
        }
        next.append_pair("cursor", cursor);
        next.finish()
    }
}

/// Refuses a search by parts of numbers to a client that is shown none of them whole: it would tell their
/// digits one by one. Whole numbers may be asked for.
pub(super) fn refuse_parts(filter: &Filter) -> Result<(), ApiError> {
    let search = &filter.search;
    let parts = [
        ("from_prefix", !filter.from_prefix.is_empty()),
        ("to_prefix", !filter.to_prefix.is_empty()),
        ("from_contains", !search.from_contains.is_empty()),
        ("to_contains", !search.to_contains.is_empty()),
        ("number_contains", !search.number_contains.is_empty()),
        ("q", search.q.as_ref().is_some_and(|typed| typed.sid().is_none())),
    ];
    let Some((name, _)) = parts.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    let also = if name == "q" { ", or a whole call sid" } else { "" };
    Err(ApiError::forbidden(format!(
        "{name}: the token's role is read-masked, which may not search by parts of numbers; expected a \
         whole number in from, to or number{also}"
    )))
}

fn words<W: FromStr + Copy + std::fmt::Display>(
    wanted: &mut Vec<W>,
    name: &str,
    value: &str,
    all: &[W],
) -> Result<(), ApiError> {
    for word in parts(name, value)? {
        let parsed = word.parse().map_err(|_| {
            let known: Vec<_> = all.iter().map(ToString::to_string).collect();
            wrong(name, word, &format!("expected one of {}", known.join(", ")))
        })?;
        wanted.push(parsed);
    }
    bounded(wanted.len(), name)
}

/// The values of a list by comma, of which there is one at least: else it would be no filter, and
/// the answer more than was asked for.
fn parts<'a>(name: &str, value: &'a str) -> Result<Vec<&'a str>, ApiError> {
    bounded(value.split(',').count(), name)?;
    let parts: Vec<_> = value.split(',').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(wrong(name, value, "expected values between the commas"));
    }
    Ok(parts)
}

/// Numbers are compared exactly. A list by comma is several numbers, and also the one text that
/// has the commas, since a SIP user may have them.
fn numbers(wanted: &mut Vec<String>, name: &str, value: &str) -> Result<(), ApiError> {
    bounded(value.split(',').count(), name)?;
    wanted.extend(value.split(',').filter(|part| !part.is_empty()).map(with_plus));
    if value.contains(',') {
        wanted.push(with_plus(value));
    }
    bounded(wanted.iter().filter(|number| !number.contains(',')).count(), name)
}

/// Beginnings of numbers, separated by commas.
fn prefixes(wanted: &mut Vec<String>, name: &str, value: &str) -> Result<(), ApiError> {
    wanted.extend(parts(name, value)?.into_iter().map(with_plus));
    bounded(wanted.len(), name)
}

fn sids(wanted: &mut Vec<CallSid>, name: &str, value: &str) -> Result<(), ApiError> {
    for sid in parts(name, value)? {
        wanted.push(sid.parse().map_err(|error: SidError| wrong(name, sid, &error.to_string()))?);
    }
    bounded(wanted.len(), name)
}

fn zone(value: &str) -> Result<Zone, ApiError> {
    // The `+` of an offset that was not encoded has become a space.
    let zone = value.parse().or_else(|error| value.replace(' ', "+").parse().map_err(|_| error));
    zone.map_err(|error: ZoneError| wrong("time_zone", value, &error.to_string()))
}

fn truth(name: &str, value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| wrong(name, value, "expected true or false"))
}

fn bounded(values: usize, name: &str) -> Result<(), ApiError> {
    if values > VALUES_MAX {
        let msg = format!("{name}: {values} values, expected at most {VALUES_MAX}");
        return Err(ApiError::bad(msg));
    }
    Ok(())
}

fn limit(value: &str) -> Result<usize, ApiError> {
    let parsed = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    parsed.ok_or_else(|| wrong("limit", value, &format!("expected 1 to {LIMIT_MAX}")))
}

pub(super) fn time(name: &str, value: &str) -> Result<Timestamp, ApiError> {
    // The `+` of an offset that was not encoded has become a space.
    let parsed = parse_time(value).or_else(|| parse_time(&value.replace(' ', "+")));
    let expected = "expected a time as 2026-01-31T23:59:59Z, or a day as 2026-01-31";
    parsed.ok_or_else(|| match time_fault(value) {
        Some(fault) => wrong(name, value, &format!("{fault}; {expected}")),
        None => wrong(name, value, expected),
    })
}

pub(super) fn wrong(name: &str, value: &str, expected: &str) -> ApiError {
    let shown: String = value.chars().take(80).collect();
    ApiError::bad(format!("{name} \"{shown}\": {expected}"))
}

fn refused(error: &SearchError) -> ApiError {
    ApiError::bad(format!("{}{error}", error.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AccountSid, Position};

    const ACCOUNT: AccountSid = AccountSid::from_bytes([1; 16]);

    fn parse(query: &str) -> Result<ListQuery, ApiError> {
        ListQuery::parse(query, Scope::Account(ACCOUNT))
    }

    #[test]
    fn filters_are_lists_by_comma_and_by_repetition() {
        let query =
            parse("callStatus=ringing,busy&call_status=busy&direction[]=inbound&from=").unwrap();
        assert_eq!(query.filter.statuses, [CallStatus::Ringing, CallStatus::Busy]);
        assert_eq!(query.filter.directions, [Direction::Inbound]);
        assert!(query.filter.from.is_empty());
    }

    #[test]
    fn a_plus_that_became_a_space_is_a_plus_again() {
        assert_eq!(parse("from=+1555").unwrap().filter.from, ["+1555"]);
        assert_eq!(parse("from=%2B1555").unwrap().filter.from, ["+1555"]);
        assert_eq!(parse("from=+bob").unwrap().filter.from, [" bob"]);
        assert_eq!(parse("from=a,b").unwrap().filter.from, ["a", "a,b", "b"]);
        assert!(parse("start=2026-01-01T00:00:00+02:00").is_ok());
    }

    #[test]
    fn junk_is_refused_with_parameter_and_value() {
        for (query, says) in [
            ("callStatus=bogus", "callStatus \\\"bogus\\\": expected one of trying"),
            ("direction=Inbound", "direction \\\"Inbound\\\": expected one of inbound, outbound"),
            ("limit=0", "limit \\\"0\\\": expected 1 to 10000"),
            ("limit=10001", "limit"),
            ("limit=-1", "limit"),
            ("order=up", "order"),
            ("start=yesterday", "start \\\"yesterday\\\""),
            ("cursor=abc", "cursor"),
            ("stale=maybe", "stale \\\"maybe\\\": expected true or false"),
            ("count=yes", "count \\\"yes\\\": expected true or false"),
            ("parent_call_sid=x", "parent_call_sid \\\"x\\\": not a UUID"),
        ] {
            let error = format!("{:?}", parse(query).unwrap_err());
            assert!(error.contains(says), "{query}: {error}");
        }
        assert_eq!(parse("foo=bar&page=1&from=%zz").unwrap().filter.from, ["%zz"]);
    }

    #[test]
    fn a_list_by_comma_has_values_and_not_too_many() {
        let many = |name: &str, value: &str, count: usize| {
            format!("{name}={}", vec![value; count].join(","))
        };
        for (name, value) in [
            ("from", "1"),
            ("to", "1"),
            ("from_prefix", "1"),
            ("to_prefix", "1"),
            ("callStatus", "busy"),
            ("call_status", "busy"),
            ("direction", "inbound"),
            ("parent_call_sid", "c1000000-0000-4000-8000-000000000001"),
        ] {
            assert!(parse(&many(name, value, VALUES_MAX)).is_ok(), "{name}");
            for (value, count) in [(value, VALUES_MAX + 1), ("", VALUES_MAX + 1)] {
                let refused = format!("{:?}", parse(&many(name, value, count)).unwrap_err());
                let says = format!("{name}: 101 values, expected at most 100");
                assert!(refused.contains(&says), "{refused}");
            }
            let repeated = many(name, value, VALUES_MAX / 2) + "&";
            assert!(parse(&repeated.repeat(2)).is_ok(), "{name}");
            assert!(parse(&repeated.repeat(3)).is_err(), "{name}");
            // Commas alone are no filter that somebody means.
            let commas = parse(&format!("{name}=,,,"));
            if matches!(name, "from" | "to") {
                assert_ne!(commas.unwrap().filter, Filter::default(), "{name}");
            } else {
                let refused = format!("{:?}", commas.unwrap_err());
                assert!(
                    refused.contains(&format!("{name} \\\",,,\\\": expected values")),
                    "{refused}"
                );
            }
            assert!(parse(&format!("{name}=,{value},")).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_cursor_serves_its_question_however_that_is_written() {
        let after = AcrossPosition { position: Position::MIN, account: ACCOUNT };
        let write = |query: &str| {
            let ListQuery { filter, order, .. } = parse(query).unwrap();
            cursor::write(Scope::Account(ACCOUNT), &filter, order, after)
        };
        for same in [
            &["from=a,b", "from=a&from=b", "from[]=b&from[]=a", "from=b,a,b,", "from=b,a&from=a,b"]
                [..],
            &["to=%2B1,%2B2", "to=+1,+2", "to=+2&to=%2B1", "to=%202,%201"],
            &["from_prefix=1,2", "from_prefix=2&from_prefix=1"],
            &["callStatus=busy,failed", "call_status=failed&callStatus=busy&callStatus=busy"],
            &["direction=inbound&order=desc", "direction=inbound&order=&limit=5&count=true"],
            &["start=2026-01-01", "start=2026-01-01T00:00:00Z", "start=2026-01-01T01:00:00+01:00"],
            &[
                "parent_call_sid=c1000000-0000-4000-8000-00000000000a",
                "parent_call_sid=C1000000-0000-4000-8000-00000000000A",
            ],
        ] {
            for (one, other) in same.iter().flat_map(|one| same.iter().map(move |two| (one, two))) {
                let query = format!("{other}&cursor={}", write(one));
                assert_eq!(parse(&query).unwrap().after, Some(after), "{one} and {other}");
            }
        }
    }

    #[test]
    fn the_next_page_keeps_the_query() {
        let next = ListQuery::next("limit=5&from=%2B1&cursor=old&access_token=x", "new");
        assert_eq!(next, "limit=5&from=%2B1&cursor=new");
    }
}
