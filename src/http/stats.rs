//! `GET /v1/Accounts/{AccountSid}/CallStats`: how the calls of a time stand.

use std::fmt::Write as _;

use http::StatusCode;

use super::error::ApiError;
use super::query::ListQuery;
use super::reading::BodyReader;
use super::request::ApiRequest;
use super::response::{Response, json};
use crate::domain::{AccountSid, CallStatus, Direction, Filter, Order};
use crate::store::{Counting, ListRequest as Question, Reach, StatusCount};

/// `{"total":n,"inbound":{"total":n,"stale":n,"trying":n,…},"outbound":{…}}`, of the calls that
/// were listed from `start` to before `end`.
pub(super) async fn call_stats(
    request: &ApiRequest<'_>,
    account: AccountSid,
) -> Result<Response, ApiError> {
    let Filter { start, end, .. } = ListQuery::parse(request.query, account)?.filter;
    let filter = Filter { start, end, ..Filter::default() };
    let question = Question { account, filter, order: Order::NewestFirst, after: None };
    let reading = BodyReader::new(request, Reach::Account(account));
    let counted = reading.count(Counting::of_standing(&question)).await?.standing();
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
