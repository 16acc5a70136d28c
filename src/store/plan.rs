//! Which ranges a question reads.

use std::ops::Bound;

use super::read::Request;
use crate::domain::{CallStatus, Direction, Filter, Position, Rank};
use crate::keys::{Range, Slot, Span};

/// Ranges that together hold every match, and the part of them to be read.
pub(super) struct Plan {
    pub ranges: Vec<Range>,
    pub span: Span,
    /// They hold nothing but matches: no record need be asked.
    pub exact: bool,
}

impl Plan {
    /// The narrowest ranges. Where they are not exact the filter is to be asked for each record.
    pub fn of(request: &Request) -> Self {
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
        } else if by_slot(filter) {
            if filter.stale != Some(true) {
                rest.statuses.clear();
            }
            rest.directions.clear();
            rest.stale = None;
            slots(request)
        } else {
            vec![Range::all(account)]
        };
        Self { ranges, span: span(request), exact: rest == Filter::default() }
    }

    /// These slots and directions apart, so that each row tells both: `ranges[n]` is that of
    /// `cells[n]`.
    pub fn cells_of(request: &Request, cells: &[(Slot, Direction)]) -> Self {
        let range = |(slot, direction): &_| Range::status(request.account, *slot, *direction);
        Self { ranges: cells.iter().map(range).collect(), span: span(request), exact: true }
    }

    /// Every slot in both directions.
    pub fn cells() -> Vec<(Slot, Direction)> {
        let slots = CallStatus::ALL.into_iter().map(Slot::Status).chain([Slot::Stale]);
        slots.flat_map(|slot| Direction::ALL.map(|direction| (slot, direction))).collect()
    }
}

fn by_slot(filter: &Filter) -> bool {
    !filter.statuses.is_empty()
        || !filter.directions.is_empty()
        || filter.stale.is_some()
        || filter.recent.is_some()
}

fn slots(request: &Request) -> Vec<Range> {
    let filter = &request.filter;
    let wanted = |slot: Slot| match slot {
        Slot::Stale => filter.stale.unwrap_or(filter.statuses.is_empty()),
        Slot::Status(status) => {
            filter.stale != Some(true)
                && (filter.statuses.is_empty() || filter.statuses.contains(&status))
        }
    };
    let cells = Plan::cells().into_iter().filter(|(slot, direction)| {
        wanted(*slot) && (filter.directions.is_empty() || filter.directions.contains(direction))
    });
    let ranges = cells.map(|(slot, direction)| {
        let range = Range::status(request.account, slot, direction);
        let up = matches!(slot, Slot::Status(status) if status.rank() < Rank::Terminal);
        match filter.recent {
            Some(recent) if !up => range.until(Position::last_at(recent.listed_since)),
            _ => range,
        }
    });
    ranges.collect()
}

fn span(request: &Request) -> Span {
    let (low, high) = request.filter.bounds();
    let high = high.map_or(Bound::Included(Position::MAX), Bound::Excluded);
    let span = Span { order: request.order, low: Bound::Included(low), high };
    match request.after {
        // A cursor is made for this very filter, so that it lies within the span.
        Some(position) => span.after(position),
        None => span,
    }
}
