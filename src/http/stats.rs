//! `GET …/CallStats`, of an account, of a service provider and of all accounts: how the calls of a time
//! stand, and, with `interval` or `group`, how many there were by the minute, hour or day and by groups.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};

use super::answer_budget::AnswerPermit;
use super::auth::StreamClient;
use super::error::ApiError;
use super::query::{refuse_parts, wrong};
use super::reading::{BodyReader, pieces};
use super::request::ApiRequest;
use super::response::{JSON, Response, json};
use super::stats_query::StatsQuery;
use crate::clock;
use crate::domain::{
    AccountSid, CallStatus, Direction, Filter, ServiceProviderSid, Timestamp, mask_numbers,
};
use crate::store::{
    AggregateRequest, Aggregates, Aggregating, BUCKETS_MAX, Bucket, CALLS_OF_AN_HOUR_MAX,
    CELLS_MAX, CountingAcross, Dimension, Exceeded, Figures, Group, Scope, ScopedAccount,
    StatusCount,
};
use crate::wire::{Interval, Zone};

/// Bytes that counting may use without a permit, and that one permit is for.
const MEMORY: usize = 1024 * 1024;

/// Those of one account.
pub(super) async fn of_account(
    request: &ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    call_stats(request, Scope::Account(account)).await
}

/// Those of all accounts of a service provider together.
pub(super) async fn of_provider(
    request: &ApiRequest<'_>,
    provider: ServiceProviderSid,
) -> Result<Response, ApiError> {
    call_stats(request, Scope::ServiceProvider(provider)).await
}

/// Those of all accounts together.
pub(super) async fn of_all(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    call_stats(request, Scope::Everybody).await
}

/// Without `interval` and `group` how the calls stand, else their figures.
async fn call_stats(request: &ApiRequest<'_>, scope: Scope) -> Result<Response, ApiError> {
    let query = StatsQuery::parse(request.query, scope)?;
    if request.is_masked() {
        refuse_parts(&query.filter)?;
    }
    if query.interval.is_none() && query.group.is_empty() {
        return standing(request, scope, query.filter).await;
    }
    figures(request, scope, query).await
}

/// `{"total":n,"inbound":{"total":n,"stale":n,"trying":n,…},"outbound":{…}}`.
async fn standing(
    request: &ApiRequest<'_>,
    scope: Scope,
    filter: Filter,
) -> Result<Response, ApiError> {
    let reading = BodyReader::new(request, scope);
    let accounts = reading.accounts().await?;
    let counting = CountingAcross::of_standing(&accounts, filter);
    let counted = reading.count_across(counting).await?.standing();
    StreamClient::new(request, scope).still_may_all(accounts.iter().map(|one| one.account)).await?;
    let total: u64 = counted.iter().map(sum).sum();
    let mut body = format!("{{\"total\":{total}");
    for (direction, standing) in Direction::ALL.into_iter().zip(&counted) {
        let (sum, stale) = (sum(standing), standing.stale);
        // Writing to a string does not fail.
        let _infallible = write!(body, ",\"{direction}\":{{\"total\":{sum},\"stale\":{stale}");
        for (status, count) in CallStatus::ALL.into_iter().zip(standing.statuses) {
            let _infallible = write!(body, ",\"{status}\":{count}");
        }
        body.push('}');
    }
    body.push('}');
    Ok(json(StatusCode::OK, body))
}

fn sum(standing: &StatusCount) -> u64 {
    standing.stale + standing.statuses.iter().sum::<u64>()
}

/// `{"calls":n,"answered":n,"seconds":n,"peak":n,"groups":[{"trunk":…,"calls":n,…}],"other":{…},
/// "buckets":[{"start":…,"end":…,"calls":n,…}]}`: groups and buckets as they were asked for.
async fn figures(
    request: &ApiRequest<'_>,
    scope: Scope,
    query: StatsQuery,
) -> Result<Response, ApiError> {
    let reading = BodyReader::new(request, scope);
    let client = StreamClient::new(request, scope);
    let accounts = reading.accounts().await?;
    let counted = AggregateRequest {
        accounts: accounts.clone(),
        filter: query.filter.clone(),
        interval: query.interval,
        zone: query.zone.clone(),
        group: query.group.clone(),
        top: query.top,
        now: clock::now(),
    };
    let counting = reading.slice(move |_| Ok(Aggregating::new(counted))).await?;
    let mut counting = counting.map_err(|exceeded| too_much(exceeded, &query))?;
    if *request.method == Method::HEAD {
        return Ok(json(StatusCode::OK, ""));
    }
    let mut permits = Vec::new();
    loop {
        let done;
        (counting, done) = reading
            .slice(move |store| {
                let done = counting.go_on(store)?;
                Ok((counting, done))
            })
            .await?;
        client.still_may().await?;
        reading.hold(&mut permits, counting.bytes(), MEMORY)?;
        if done {
            break;
        }
    }
    let counted = reading.slice(move |_| Ok(counting.finish())).await?;
    let counted = counted.map_err(|exceeded| too_much(exceeded, &query))?;
    let (dimensions, zone) = (query.group, query.zone);
    let (has_buckets, is_masked) = (query.interval.is_some(), request.is_masked());
    let writer = FiguresWriter { counted, dimensions, zone, has_buckets, is_masked };
    let mut begun = Vec::new();
    writer.begin(&mut begun);
    let rest = FiguresTail { reading, client, accounts, writer, from: None, permits };
    let (first, rest) = rest.piece(begun).await?;
    Ok(match rest {
        None => json(StatusCode::OK, first),
        Some(rest) => {
            let mut reply = pieces(first, rest, |rest| rest.piece(Vec::new()));
            reply.headers_mut().insert(CONTENT_TYPE, JSON);
            reply
        }
    })
}

/// 400 that says what would fit.
fn too_much(exceeded: Exceeded, query: &StatsQuery) -> ApiError {
    let interval = query.interval.map_or("", Interval::as_str);
    let group =
        query.group.iter().map(|dimension| dimension.as_str()).collect::<Vec<_>>().join(",");
    match exceeded {
        Exceeded::Buckets => {
            let or = match query.interval {
                Some(Interval::Minute) => ", or interval=hour",
                Some(Interval::Hour) => ", or interval=day",
                _ => "",
            };
            let expected = format!(
                "more than {BUCKETS_MAX} {interval}s; expected a shorter time (start, end){or}"
            );
            wrong("interval", interval, &expected)
        }
        Exceeded::Cells { buckets, groups } => {
            let expected = format!(
                "{groups} groups in {buckets} {interval}s, or in more; expected at most {CELLS_MAX} of both \
                 together: a smaller top, a shorter time (start, end), or a longer interval"
            );
            wrong("group", &group, &expected)
        }
        Exceeded::Groups(groups) => {
            let expected = format!(
                "more than {groups} groups; expected fewer words, a narrower search, or a shorter \
                 time (start, end)"
            );
            wrong("group", &group, &expected)
        }
        Exceeded::Peak => ApiError::bad(format!(
            "more than {CALLS_OF_AN_HOUR_MAX} calls within an hour; expected a narrower search"
        )),
    }
}

/// Writes what was counted.
struct FiguresWriter {
    counted: Aggregates,
    dimensions: Vec<Dimension>,
    zone: Zone,
    has_buckets: bool,
    /// Numbers are shown without their middle digits.
    is_masked: bool,
}

impl FiguresWriter {
    /// All but the buckets, and where these begin.
    fn begin(&self, body: &mut Vec<u8>) {
        body.push(b'{');
        write_figures(body, &self.counted.total);
        if !self.dimensions.is_empty() {
            body.extend_from_slice(b",\"groups\":");
            let groups = self.counted.groups.iter().map(|(group, figures)| (group, figures));
            self.groups(body, groups);
            if let Some((groups, figures)) = &self.counted.other {
                body.extend_from_slice(format!(",\"other\":{{\"groups\":{groups},").as_bytes());
                write_figures(body, figures);
                body.push(b'}');
            }
        }
        if self.has_buckets {
            body.extend_from_slice(b",\"buckets\":[");
        }
    }

    fn end(&self, body: &mut Vec<u8>) {
        body.extend_from_slice(if self.has_buckets { b"]}" } else { b"}" });
    }

    fn bucket(&self, body: &mut Vec<u8>, bucket: &Bucket) {
        let (start, end) = (self.zone.show(bucket.start), self.zone.show(bucket.end));
        body.extend_from_slice(format!("{{\"start\":\"{start}\",\"end\":\"{end}\",").as_bytes());
        let mut lines = bucket.figures.iter().flatten();
        write_figures(body, lines.next().unwrap_or(&Figures::default()));
        if !self.dimensions.is_empty() {
            // Groups without anything are left out.
            let has_any = |figures: &Figures| *figures != Figures::default();
            let groups = self.counted.groups.iter().map(|(group, _)| group).zip(lines.by_ref());
            body.extend_from_slice(b",\"groups\":");
            self.groups(body, groups.filter(|(_, figures)| has_any(figures)));
            if let Some(figures) = lines.next().filter(|figures| has_any(figures)) {
                body.extend_from_slice(b",\"other\":{");
                write_figures(body, figures);
                body.push(b'}');
            }
        }
        body.push(b'}');
    }

    /// The values of a group, as they are shown.
    fn values<'a>(&self, group: &'a Group) -> Vec<Option<Cow<'a, str>>> {
        let shown = |value: &'a str| {
            if self.is_masked { mask_numbers(value) } else { Cow::Borrowed(value) }
        };
        group.values().into_iter().map(|value| value.map(shown)).collect()
    }

    fn groups<'a>(
        &self,
        body: &mut Vec<u8>,
        groups: impl Iterator<Item = (&'a Group, &'a Figures)>,
    ) {
        let mut groups: Vec<_> =
            groups.map(|(group, figures)| (self.values(group), figures)).collect();
        if self.is_masked {
            // Groups that look alike stay apart, in an order that comes from nothing that is hidden.
            groups.sort_by(|(one, of_one), (other, of_other)| {
                let key = |of: &Figures| (Reverse(of.calls), of.answered, of.seconds, of.peak);
                Reverse(of_one.calls)
                    .cmp(&Reverse(of_other.calls))
                    .then_with(|| one.cmp(other))
                    .then_with(|| key(of_one).cmp(&key(of_other)))
            });
        }
        body.push(b'[');
        for (n, (values, figures)) in groups.into_iter().enumerate() {
            body.extend_from_slice(if n == 0 { b"{" } else { b",{" });
            for (dimension, value) in self.dimensions.iter().zip(values) {
                let value = serde_json::to_string(&value).unwrap_or_else(|_| "null".to_owned());
                body.extend_from_slice(format!("\"{}\":{value},", dimension.as_str()).as_bytes());
            }
            write_figures(body, figures);
            body.push(b'}');
        }
        body.push(b']');
    }
}

fn write_figures(body: &mut Vec<u8>, figures: &Figures) {
    let Figures { calls, answered, seconds, peak } = figures;
    let text =
        format!("\"calls\":{calls},\"answered\":{answered},\"seconds\":{seconds},\"peak\":{peak}");
    body.extend_from_slice(text.as_bytes());
}

/// The buckets that are still to come, and who reads them.
struct FiguresTail {
    reading: BodyReader,
    client: StreamClient,
    /// Whose calls were counted.
    accounts: Arc<[ScopedAccount]>,
    writer: FiguresWriter,
    /// The end of the last one that was written.
    from: Option<Timestamp>,
    /// For what the writer has counted.
    permits: Vec<AnswerPermit>,
}

impl FiguresTail {
    /// The next piece, after what has been written of it, and what is left then.
    async fn piece(self, begun: Vec<u8>) -> Result<(Bytes, Option<Self>), ApiError> {
        let Self { reading, client, accounts, writer, mut from, permits } = self;
        let permit = reading.permit();
        let most = permit.bytes();
        let (writer, body, from, done) = reading
            .slice(move |_| {
                let mut body = begun;
                let mut done = true;
                while let Some(bucket) = writer.counted.bucket(from) {
                    if body.len() >= most {
                        done = false;
                        break;
                    }
                    if from.is_some() {
                        body.push(b',');
                    }
                    writer.bucket(&mut body, &bucket);
                    from = Some(bucket.end);
                }
                if done {
                    writer.end(&mut body);
                }
                Ok((writer, body, from, done))
            })
            .await?;
        client.still_may_all(accounts.iter().map(|one| one.account)).await?;
        let rest = (!done).then_some(Self { reading, client, accounts, writer, from, permits });
        Ok((permit.hold(body), rest))
    }
}
