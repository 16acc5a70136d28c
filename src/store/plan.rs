//! Which ranges a question reads.

use std::ops::Bound;

use super::read::ListRequest;
use crate::domain::{CallStatus, Direction, Filter, Position, Rank};
use crate::keys::{PositionSpan, Range, StatusKey};

/// Ranges that together hold every match, and the part of them to be read.
pub(super) struct Plan {
    pub ranges: Vec<Range>,
    pub span: PositionSpan,
    /// They hold nothing but matches: no record need be asked.
    pub exact: bool,
}

impl Plan {
    /// The narrowest ranges. Where they are not exact the filter is to be asked for each record.
    pub fn of(request: &ListRequest) -> Self {
        let (account, filter) = (request.account, &request.filter);
        // Whatever this one part of the filter leaves to be asked.
        let mut rest = Filter { start: None, end: None, ..filter.clone() };
        let ranges: Vec<Range> = if !filter.parents.is_empty() {
            rest.parents.clear();
            filter.parents.iter().map(|parent| Range::parent(account, *parent)).collect()
        } else if !filter.from.is_empty() {
            rest.from.clear();
            filter.from.iter().map(|number| Range::from(account, number)).collect()
        } else if !filter.to.is_empty() {
            rest.to.clear();
            filter.to.iter().map(|number| Range::to(account, number)).collect()
        } else if by_status_key(filter) {
            if filter.stale != Some(true) {
                rest.statuses.clear();
            }
            rest.directions.clear();
            rest.stale = None;
            status_keys(request)
        } else {
            vec![Range::all(account)]
        };
        Self { ranges, span: span(request), exact: rest == Filter::default() }
    }

    /// These slots and directions apart, so that each row tells both: `ranges[n]` is that of
    /// `cells[n]`.
    pub fn cells_of(request: &ListRequest, cells: &[(StatusKey, Direction)]) -> Self {
        let range =
            |(status_key, direction): &_| Range::status(request.account, *status_key, *direction);
        Self { ranges: cells.iter().map(range).collect(), span: span(request), exact: true }
    }

    /// Every slot in both directions.
    pub fn cells() -> Vec<(StatusKey, Direction)> {
        let status_keys =
            CallStatus::ALL.into_iter().map(StatusKey::Status).chain([StatusKey::Stale]);
        status_keys
            .flat_map(|status_key| Direction::ALL.map(|direction| (status_key, direction)))
            .collect()
    }
}

fn by_status_key(filter: &Filter) -> bool {
    !filter.statuses.is_empty()
        || !filter.directions.is_empty()
        || filter.stale.is_some()
        || filter.recent.is_some()
}

fn status_keys(request: &ListRequest) -> Vec<Range> {
    let filter = &request.filter;
    let wanted = |status_key: StatusKey| match status_key {
        StatusKey::Stale => filter.stale.unwrap_or(filter.statuses.is_empty()),
        StatusKey::Status(status) => {
            filter.stale != Some(true)
                && (filter.statuses.is_empty() || filter.statuses.contains(&status))
        }
    };
    let cells = Plan::cells().into_iter().filter(|(status_key, direction)| {
        wanted(*status_key)
            && (filter.directions.is_empty() || filter.directions.contains(direction))
    });
    let ranges = cells.map(|(status_key, direction)| {
        let range = Range::status(request.account, status_key, direction);
        let up = matches!(status_key, StatusKey::Status(status) if status.rank() < Rank::Terminal);
        match filter.recent {
            Some(recent) if !up => range.until(Position::last_at(recent.listed_since)),
            _ => range,
        }
    });
    ranges.collect()
}

fn span(request: &ListRequest) -> PositionSpan {
    let (low, high) = request.filter.bounds();
    let high = high.map_or(Bound::Included(Position::MAX), Bound::Excluded);
    let span = PositionSpan { order: request.order, low: Bound::Included(low), high };
    match request.after {
        // A cursor is made for this very filter, so that it lies within the span.
        Some(position) => span.after(position),
        None => span,
    }
}
