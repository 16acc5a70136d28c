//! Lists: pages of calls, and where they stand.

use std::sync::Arc;

use super::StoreError;
use super::query::{ListRequest, Listed, LookRow, Most, Plan};
use super::state::View;
use crate::domain::{Call, Position};

/// Rows that one look into registry and index takes at most.
const CHUNK_ROWS: usize = 256;
/// Rows that it takes at least: where few of them match, many looks cost more than many rows.
const CHUNK_ROWS_MIN: usize = 32;

/// What the calls of one page may weigh in bytes; the last one may go beyond. Most calls weigh less
/// than 800.
const PAGE_BYTES: usize = 8 * 1024 * 1024;
/// Rows that are looked at for one page: a search that finds little has many pages with little on them.
const PAGE_ROWS: usize = 16 * 1024;
/// What the rows of one look may weigh, records and answers together.
const LOOK_BYTES: usize = 256 * 1024;

/// What one slice of a list may take. It ends with the first that is reached.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    /// Calls that match.
    pub calls: usize,
    /// Rows that are looked at; a look may go beyond by some.
    pub rows: usize,
    /// Bytes of calls that match, as they are answered; one call may go beyond.
    pub bytes: usize,
}

/// Calls in order, and where the list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub calls: Vec<Arc<Call>>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
}

/// The same, its calls as they were found.
pub struct Listing {
    /// The calls, each with its position.
    pub calls: Vec<(Position, Listed)>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
    /// What was looked at, in rows.
    pub rows: usize,
}

/// Where calls stand.
pub struct Positions {
    /// The positions of calls that match.
    pub found: Vec<Position>,
    /// The last position that was looked at; none where nothing is left.
    pub next: Option<Position>,
    /// What it has cost, in calls that are read.
    pub cost: usize,
}

impl View {
    /// The next calls of a list, at most `limit`, and less where they are large or far apart. A page
    /// that is not the last may be empty.
    pub fn page(&self, request: &ListRequest, limit: usize) -> Result<Page, StoreError> {
        let slice = Slice { calls: limit, rows: PAGE_ROWS, bytes: PAGE_BYTES };
        let Listing { calls, next, .. } = self.list(request, slice)?;
        let calls = calls.into_iter().map(|(_, listed)| self.unpacked(listed));
        Ok(Page { calls: calls.collect::<Result<_, _>>()?, next })
    }

    /// The next slice of a list, its calls as they are found. One that is not the last may be empty.
    pub fn list(&self, request: &ListRequest, slice: Slice) -> Result<Listing, StoreError> {
        let plan = Plan::of(request);
        let mut span = plan.span.clone();
        let mut page = Listing { calls: Vec::new(), next: request.after, rows: 0 };
        let mut chunk_rows = slice.calls.clamp(CHUNK_ROWS_MIN, CHUNK_ROWS);
        let mut weight = 0;
        while !span.is_empty() {
            let left = slice.rows.saturating_sub(page.rows).max(1);
            // Records are as large as answers, about. Where few match, more is read at once.
            let bytes = if plan.exact { 2 * (slice.bytes - weight) } else { LOOK_BYTES };
            let most = Most { rows: chunk_rows.min(left), bytes: bytes.min(LOOK_BYTES) };
            let look = self.look(request.account, &plan, &span, most, true)?;
            page.rows += look.cost;
            page.next = look.reached;
            for (position, found) in look.found {
                let LookRow::Call(mut listed) = found else { continue };
                // The rows of an exact plan match, and those in memory are few.
                if !plan.exact || matches!(listed, Listed::Call(_)) {
                    let call = self.unpacked(listed)?;
                    if !request.filter.matches(&call) {
                        continue;
                    }
                    listed = Listed::Call(call);
                }
                weight += listed.weight();
                page.calls.push((position, listed));
                if page.calls.len() == slice.calls || weight >= slice.bytes {
                    page.next = Some(position);
                    return Ok(page);
                }
            }
            let Some(reached) = page.next else { return Ok(page) };
            if page.rows >= slice.rows {
                return Ok(page);
            }
            span = span.after(reached);
            chunk_rows = (chunk_rows * 2).min(CHUNK_ROWS);
        }
        page.next = None;
        Ok(page)
    }

    /// Where the next `calls` of a list stand, from one look at no more than `rows`. No record is read
    /// where the keys alone decide.
    pub fn positions(
        &self,
        request: &ListRequest,
        calls: usize,
        rows: usize,
    ) -> Result<Positions, StoreError> {
        let plan = Plan::of(request);
        let mut positions = Positions { found: Vec::new(), next: None, cost: 0 };
        if plan.span.is_empty() {
            return Ok(positions);
        }
        let most = Most { rows, bytes: LOOK_BYTES };
        let look = self.look(request.account, &plan, &plan.span, most, !plan.exact)?;
        (positions.next, positions.cost) = (look.reached, look.cost);
        for (position, found) in look.found {
            if !self.is_wanted(request, found)? {
                continue;
            }
            positions.found.push(position);
            if positions.found.len() == calls {
                positions.next = Some(position);
                break;
            }
        }
        Ok(positions)
    }
}
