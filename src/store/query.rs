//! Which ranges a question reads.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use super::StoreError;
use super::list::ListRequest;
use super::open::Store;
use crate::codec;
use crate::domain::{CallSid, CallStatus, Direction, Filter, Position, Rank, Timestamp};
use crate::index::Stored;
use crate::journal::{FrameKind, Scanner};
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

/// Sids that are kept of a search; what is beyond is not even counted.
const SIDS_MAX: usize = 10_000;

/// The newest records of the journal of which one is the last event, however they were merged.
const NEWEST: usize = 64;
/// Bytes of a segment that are read for it.
const LOOKED_AT_MAX: u64 = 256 << 20;

/// What a search for sids has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidMatches {
    /// The sids, ascending.
    pub sids: Vec<CallSid>,
    /// There are more of them.
    pub more: bool,
}

impl Store {
    /// The sids, of whichever account, that begin with these bytes and are meant. Of the index those that
    /// begin so are read, and no call.
    pub fn find_sids(
        &self,
        leading: &[u8],
        is_meant: impl Fn(CallSid) -> bool,
    ) -> Result<SidMatches, StoreError> {
        let shared = &self.shared;
        let _reading = shared.readers.begin();
        let index = shared.index()?;
        let mut sids = BTreeSet::new();
        let mut more = false;
        let looked = index.each_stored(leading, |id, stored| {
            let is_call = matches!(stored, Stored::Call { .. });
            // What is in memory is newer, and asked below.
            if is_call && is_meant(id.sid) && !shared.registry.read().holds(id) {
                more |= sids.len() >= SIDS_MAX;
                sids.insert(id.sid);
            }
            Ok(!more)
        });
        looked.map_err(|error| shared.index_failed(&error))?;
        for (id, entry) in shared.registry.read().iter() {
            if entry.call().is_some() && id.sid.bytes().starts_with(leading) && is_meant(id.sid) {
                more |= sids.len() >= SIDS_MAX;
                sids.insert(id.sid);
            }
        }
        Ok(SidMatches { sids: sids.into_iter().collect(), more })
    }

    /// When the last event came, by the newest records that the journal has. The segment that has them is
    /// read through; one that is very large is not.
    pub fn last_event(&self) -> Result<Option<Timestamp>, StoreError> {
        let segments = self.shared.segments.read().clone();
        for segment in segments.iter().rev() {
            if segment.length > LOOKED_AT_MAX {
                return Ok(None);
            }
            let mut scanner = Scanner::new(segment)?;
            let mut newest = VecDeque::with_capacity(NEWEST);
            while let Some((_, frame)) = scanner.next_frame()? {
                if frame.kind == FrameKind::Record {
                    if newest.len() == NEWEST {
                        newest.pop_front();
                    }
                    newest.push_back(frame.body.to_vec());
                }
            }
            let calls = newest.iter().filter_map(|body| codec::decode(body).ok());
            if let Some(at) = calls.map(|call| call.last_event_at()).max() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}
