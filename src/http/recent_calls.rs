//! `GET /v1/Accounts/{AccountSid}/RecentCalls` and
//! `GET /v1/ServiceProviders/{ServiceProviderSid}/RecentCalls`: the calls that have ended, as the portal of
//! jambonz asks for them.
//!
//! Pages are counted from the newest call, so that what lies before one has to be counted. Where status,
//! direction and whether a call was answered decide, that is known of whole quarters of an hour; else it
//! is done over positions: no record is read where the keys alone decide. The calls of several accounts are merged
//! by position, each account read through its own keys.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;

use super::auth::StreamClient;
use super::error::ApiError;
use super::query::{time, wrong};
use super::reading::{BodyReader, pieces};
use super::request::ApiRequest;
use super::response::{JSON, Response, json};
use crate::clock;
use crate::domain::{
    AccountSid, AcrossPosition, CallId, CallStatus, Filter, Order, ServiceProviderSid, Timestamp,
    Typed,
};
use crate::store::{Across, PassingOver, Scope, Store, StoreError};
use crate::wire::{masked_call, write_recent_call};

/// Calls that one page may have.
const COUNT_MAX: u64 = 500;
/// Milliseconds of a day.
const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
/// Calls that are found in one slice.
const SLICE_PLACES: usize = 2048;
/// Bytes that a merge may hold without a permit, and that one permit is for.
const MEMORY: usize = 64 * 1024;
/// Calls that are read in one slice.
const SLICE_CALLS: usize = 32;

/// The parameters; any other means nothing.
pub(super) const PARAMETERS: [&str; 9] =
    ["page", "count", "days", "start", "end", "direction", "answered", "trunk", "filter"];

/// Those of one account.
pub(super) async fn of_account(
    request: &ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    answer(request, Scope::Account(account)).await
}

/// Those of all accounts of a service provider.
pub(super) async fn of_provider(
    request: &ApiRequest<'_>,
    provider: ServiceProviderSid,
) -> Result<Response, ApiError> {
    answer(request, Scope::ServiceProvider(provider)).await
}

async fn answer(request: &ApiRequest<'_>, scope: Scope) -> Result<Response, ApiError> {
    let query = PortalQuery::parse(request.query, clock::now())?;
    let is_masked = request.is_masked();
    let typed = query.filter.as_ref().and_then(|filter| filter.search.q.as_ref());
    if is_masked && typed.is_some_and(|typed| typed.sid().is_none()) {
        let msg = "filter: the token's role is read-masked, which may not search by parts of numbers; \
                   expected a whole call sid";
        return Err(ApiError::forbidden(msg).for_portal());
    }
    let reading = BodyReader::new(request, scope);
    let found = find(&reading, &query).await?;
    let (page, page_size) = (&query.page, &query.page_size);
    let total = found.total;
    // Both are digits, and a point.
    let head =
        format!("{{\"total\":{total},\"page_size\":\"{page_size}\",\"page\":\"{page}\",\"data\":[");
    let client = StreamClient::new(request, scope);
    let filter = query.filter.unwrap_or_default();
    let calls = found.calls;
    let rest = PageTail { reading, client, filter, is_masked, calls, begun: false };
    let (first, rest) = rest.piece(head.into_bytes()).await?;
    Ok(match rest {
        None => json(StatusCode::OK, first),
        Some(rest) => {
            let mut reply = pieces(first, rest, |rest| rest.piece(Vec::new()));
            reply.headers_mut().insert(http::header::CONTENT_TYPE, JSON);
            reply
        }
    })
}

/// What the portal asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PortalQuery {
    /// As they were given.
    page: String,
    page_size: String,
    /// Calls before the page.
    offset: u64,
    count: u64,
    /// None: no call is meant.
    filter: Option<Filter>,
}

impl PortalQuery {
    /// Empty values mean nothing, as in jambonz. What jambonz refuses is refused in its words.
    fn parse(query: &str, now: Timestamp) -> Result<Self, ApiError> {
        let mut given: [Option<String>; PARAMETERS.len()] = Default::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let at = PARAMETERS.iter().position(|known| *known == name);
            let Some(place) = at.and_then(|at| given.get_mut(at)) else { continue };
            if place.is_some() {
                return Err(ApiError::bad(format!("{name}: expected once")));
            }
            *place = Some(value.into_owned());
        }
        let [page, count, days, start, end, direction, answered, trunk, filter] =
            given.map(|value| value.filter(|value| !value.is_empty()));
        let missing = |name: &str| format!("missing or invalid \"{name}\" query arg");
        let page = page.ok_or_else(|| ApiError::bad(missing("page")))?;
        if page.starts_with('-') || page.trim_matches(['0', '.']).is_empty() {
            return Err(ApiError::bad(missing("page")));
        }
        let page_size = count.ok_or_else(|| ApiError::bad(missing("count")))?;
        let count = whole(&page_size).filter(|count| *count > 0).ok_or_else(|| {
            wrong("count", &page_size, &format!("expected a number, 1 to {COUNT_MAX}"))
        })?;
        if count > COUNT_MAX {
            return Err(ApiError::bad(missing("count")));
        }
        let offset = offset(&page, count).ok_or_else(|| {
            wrong("page", &page, "expected a number, 1 or more, as 2 for the second page")
        })?;
        let filter = calls_of([days, start, end, direction, answered, trunk, filter], now)?;
        Ok(Self { page, page_size, offset, count, filter })
    }
}

/// Which calls are meant; none where no call can be. The parameters are those from `days` to `filter`.
fn calls_of(given: [Option<String>; 7], now: Timestamp) -> Result<Option<Filter>, ApiError> {
    let [days, start, end, direction, answered, trunk, filter] = given;
    let mut meant = Filter {
        statuses: vec![
            CallStatus::Completed,
            CallStatus::Failed,
            CallStatus::Busy,
            CallStatus::NoAnswer,
        ],
        ..Filter::default()
    };
    if let Some(days) = days {
        let expected = || wrong("days", &days, "expected a number of days, as 7");
        let (past, digits) = match days.strip_prefix('-') {
            Some(digits) => (false, digits),
            None => (true, days.as_str()),
        };
        let millis = whole(digits).ok_or_else(expected)?.saturating_mul(DAY_MILLIS);
        meant.start = Some(if past { now.minus_millis(millis) } else { now.plus_millis(millis) });
    } else {
        meant.start = start.map(|start| time("start", &start)).transpose()?;
        let end = end.map(|end| time("end", &end)).transpose()?;
        // The portal means the end, too.
        meant.end = end.map(|end| end.plus_millis(1));
    }
    if let Some(direction) = direction {
        // Of a direction that there is not, jambonz has no calls.
        let Ok(direction) = direction.parse() else { return Ok(None) };
        meant.directions.push(direction);
    }
    // Anything else means nothing, as in jambonz.
    meant.search.answered = answered.and_then(|answered| answered.parse().ok());
    meant.search.trunk.extend(trunk);
    meant.search.q = filter.as_deref().and_then(Typed::in_portal);
    Ok(Some(meant))
}

/// A number of digits alone; one that is too large is the largest.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// How many calls stand before a page, which may be `1.5` where half a page is a whole number.
fn offset(page: &str, count: u64) -> Option<u64> {
    let (before, after) = page.split_once('.').unwrap_or((page, "0"));
    let (pages, part) = (whole(before)?.checked_sub(1)?, whole(after)?);
    let of = u32::try_from(after.len()).ok().and_then(|digits| 10_u64.checked_pow(digits))?;
    let part = part.checked_mul(count)?;
    part.is_multiple_of(of).then(|| pages.saturating_mul(count).saturating_add(part / of))
}

/// The calls of a page, and how many there are in all.
struct FoundPage {
    total: u64,
    calls: VecDeque<CallId>,
}

/// Counts all calls that are meant, and finds those of the page.
async fn find(reading: &BodyReader, query: &PortalQuery) -> Result<FoundPage, ApiError> {
    let mut found = FoundPage { total: 0, calls: VecDeque::new() };
    let Some(mut filter) = query.filter.clone() else { return Ok(found) };
    let accounts = reading.accounts().await?;
    let mut total = None;
    if filter.is_of_kinds() {
        let passing = PassingOver::new(Arc::clone(&accounts), filter, query.offset);
        let start = reading.pass_over(passing).await?;
        let Some(rest) = start.rest else {
            return Ok(FoundPage { total: start.total, ..found });
        };
        filter = rest;
        total = Some(start.total);
        found.total = start.passed;
    }
    let mut across = Across::new(accounts, filter, Order::NewestFirst, None);
    let mut permits = Vec::new();
    let end = query.offset.saturating_add(query.count);
    while found.total < end && !across.is_done() {
        let most = usize::try_from(end - found.total).unwrap_or(usize::MAX).min(SLICE_PLACES);
        let places;
        (across, places) = reading
            .slice(move |store| {
                let places = across.go_on(store, most)?;
                Ok((across, places))
            })
            .await?;
        reading.hold(&mut permits, across.bytes(), MEMORY)?;
        for AcrossPosition { position, account } in places {
            if found.total >= query.offset {
                found.calls.push_back(CallId { account, sid: position.sid });
            }
            found.total += 1;
        }
    }
    if let Some(total) = total {
        return Ok(FoundPage { total, ..found });
    }
    // Behind the page their order does not matter.
    while !across.is_done() {
        let more;
        (across, more) = reading
            .slice(move |store| {
                let more = across.count_some(store)?;
                Ok((across, more))
            })
            .await?;
        found.total += more;
    }
    Ok(found)
}

/// The calls of a page that are still to be written.
struct PageTail {
    reading: BodyReader,
    client: StreamClient,
    filter: Filter,
    /// Numbers are shown without their middle digits.
    is_masked: bool,
    calls: VecDeque<CallId>,
    /// One was written.
    begun: bool,
}

impl PageTail {
    /// The next piece, and what is left then.
    async fn piece(mut self, mut out: Vec<u8>) -> Result<(Bytes, Option<Self>), ApiError> {
        let permit = self.reading.permit();
        while out.len() < permit.bytes() && !self.calls.is_empty() {
            let most = permit.bytes() - out.len();
            let slice: Vec<_> = self.calls.iter().take(SLICE_CALLS).copied().collect();
            let (filter, begun, is_masked) = (self.filter.clone(), self.begun, self.is_masked);
            let read = move |store: &Store| write(store, &slice, &filter, is_masked, begun, most);
            let Rows { bytes, calls, begun } = self.reading.slice(read).await?;
            self.begun = begun;
            let written: Vec<_> = self.calls.drain(..calls).collect();
            self.client.still_may_all(written.into_iter().map(|call| call.account)).await?;
            out.extend_from_slice(&bytes);
        }
        if self.calls.is_empty() {
            out.extend_from_slice(b"]}");
            return Ok((permit.hold(out), None));
        }
        Ok((permit.hold(out), Some(self)))
    }
}

/// Some calls as they are written.
struct Rows {
    bytes: Vec<u8>,
    /// How many calls these are, with those that were left out.
    calls: usize,
    /// One was written, now or before.
    begun: bool,
}

/// The rows of calls, up to the one with which they have so many bytes. What has gone or changed since it
/// was found is left out.
fn write(
    store: &Store,
    calls: &[CallId],
    filter: &Filter,
    is_masked: bool,
    begun: bool,
    most: usize,
) -> Result<Rows, StoreError> {
    let mut rows = Rows { bytes: Vec::new(), calls: 0, begun };
    for id in calls {
        if rows.bytes.len() >= most {
            break;
        }
        rows.calls += 1;
        let Some(call) = store.call(*id)?.filter(|call| filter.matches(call)) else { continue };
        if rows.begun {
            rows.bytes.push(b',');
        }
        rows.begun = true;
        let provider = store.access(|access| access.account(id.account)?.service_provider_sid);
        if is_masked {
            write_recent_call(&mut rows.bytes, &masked_call(&call), provider);
        } else {
            write_recent_call(&mut rows.bytes, &call, provider);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<PortalQuery, String> {
        let now = Timestamp::from_millis(1_800_000_000_000).unwrap();
        PortalQuery::parse(query, now).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn pages_are_counted_from_the_first() {
        for (page, count, expected) in [
            ("1", 25, Some(0)),
            ("2", 25, Some(25)),
            ("1.5", 2, Some(1)),
            ("2.25", 4, Some(5)),
            ("01.50", 2, Some(1)),
            ("99999999999999999999", 500, Some(u64::MAX)),
            ("1.5", 25, None),
            ("0.5", 2, None),
            ("1.", 2, None),
            (".5", 2, None),
            ("1.0000000000000000000000001", 2, None),
            ("1e2", 2, None),
            ("abc", 2, None),
            ("", 2, None),
        ] {
            assert_eq!(offset(page, count), expected, "{page} of {count}");
        }
    }

    #[test]
    fn what_jambonz_refuses_is_refused_in_its_words_and_junk_is_named() {
        for (query, says) in [
            ("", "missing or invalid \\\"page\\\" query arg"),
            ("page=&count=25", "missing or invalid \\\"page\\\" query arg"),
            ("page=0&count=25", "missing or invalid \\\"page\\\" query arg"),
            ("page=-1&count=25", "missing or invalid \\\"page\\\" query arg"),
            ("page=1", "missing or invalid \\\"count\\\" query arg"),
            ("page=1&count=501", "missing or invalid \\\"count\\\" query arg"),
            ("page=1&count=0", "count \\\"0\\\": expected a number, 1 to 500"),
            ("page=1&count=many", "count \\\"many\\\": expected a number, 1 to 500"),
            ("page=one&count=25", "page \\\"one\\\": expected a number, 1 or more"),
            ("page=1.5&count=25", "page \\\"1.5\\\": expected a number, 1 or more"),
            ("page=1&page=2&count=25", "page: expected once"),
            ("page=1&count=25&direction=inbound&direction=outbound", "direction: expected once"),
            ("page=1&count=25&filter=&filter=", "filter: expected once"),
            ("page=1&count=25&days=abc", "days \\\"abc\\\": expected a number of days"),
            ("page=1&count=25&days=1.5", "days \\\"1.5\\\": expected a number of days"),
            ("page=1&count=25&start=yesterday", "start \\\"yesterday\\\": expected a time"),
            ("page=1&count=25&end=x", "end \\\"x\\\": expected a time"),
        ] {
            let error = parse(query).unwrap_err();
            assert!(error.contains(says), "{query}: {error}");
        }
    }

    #[test]
    fn days_go_before_start_and_end_and_the_end_is_meant_too() {
        let of = |query: &str| parse(&format!("page=1&count=25&{query}")).unwrap().filter;
        let days = of("days=7&start=junk&end=2026-01-01").unwrap();
        let week = Timestamp::from_millis(1_800_000_000_000 - 7 * 86_400_000).unwrap();
        assert_eq!((days.start, days.end), (Some(week), None));
        let later = of("days=-1").unwrap();
        assert_eq!(later.start.map(Timestamp::millis), Some(1_800_086_400_000));
        let end = of("end=2026-11-20T11:00:00.000Z").unwrap();
        assert_eq!(end.end.map(Timestamp::millis), Some(1_795_172_400_001));
        assert_eq!(of("direction=bogus"), None);
        assert_eq!(of("direction=&answered=maybe&filter=&trunk=&x=1"), of(""));
        assert_ne!(of("answered=true"), of(""));
    }
}
