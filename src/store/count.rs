//! Counting: how many calls a list has, and how they stand.

use super::StoreError;
use super::query::{IndexPass, ListRequest, LookRow, Most, Plan};
use super::state::View;
use crate::domain::{AccountSid, Call, CallStatus, Direction, Filter, Order, Rank};
use crate::keys::{PositionSpan, StatusKey};

/// Rows of one look at keys.
const KEYS: Most = Most { rows: 2048, bytes: usize::MAX };
/// Rows of one look at records.
const RECORDS: Most = Most { rows: 256, bytes: 256 * 1024 };

/// How many calls of a direction have which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusCount {
    /// By [`CallStatus`], as in [`CallStatus::ALL`]; stale calls apart.
    pub statuses: [u64; CallStatus::ALL.len()],
    /// Calls that are stale, by no status.
    pub stale: u64,
}

impl StatusCount {
    /// Those of others besides.
    pub(super) fn add(&mut self, other: Self) {
        self.stale += other.stale;
        for (count, more) in self.statuses.iter_mut().zip(other.statuses) {
            *count += more;
        }
    }
}

/// A count that is taken slice by slice, so that others get a turn in between, and that ends where
/// it is not gone on with.
pub struct Counting {
    request: ListRequest,
    plan: Plan,
    /// Status keys and directions, by the plan's ranges if they are exact; none where only the sum is
    /// wanted.
    cells: Vec<(StatusKey, Direction)>,
    /// What is still to be looked at; none once all was.
    left: Option<PositionSpan>,
    count: u64,
    standing: [StatusCount; 2],
}

impl Counting {
    /// How many calls a list has from its beginning, exact as of the scan.
    pub fn of_list(request: &ListRequest) -> Self {
        let request = ListRequest { after: None, ..request.clone() };
        let plan = Plan::of(&request);
        Self::new(request, plan, Vec::new())
    }

    /// How the calls of a list stand from its beginning, inbound and outbound.
    pub fn of_standing(request: &ListRequest) -> Self {
        let request = ListRequest { after: None, ..request.clone() };
        let Filter { start, end, .. } = request.filter;
        if request.filter == (Filter { start, end, ..Filter::default() }) {
            return Self::of_cells(request, Plan::cells());
        }
        // No range of keys tells both of them.
        let plan = Plan { exact: false, ..Plan::of(&request) };
        Self::new(request, plan, Plan::cells())
    }

    /// How many calls of an account are active.
    pub fn of_live(account: AccountSid) -> Self {
        let (filter, order) = (Filter::default(), Order::NewestFirst);
        let up = |(status_key, _): &(StatusKey, Direction)| matches!(status_key, StatusKey::Status(status) if status.rank() < Rank::Terminal);
        let cells = Plan::cells().into_iter().filter(up).collect();
        Self::of_cells(ListRequest { account, filter, order, after: None }, cells)
    }

    fn of_cells(request: ListRequest, cells: Vec<(StatusKey, Direction)>) -> Self {
        let plan = Plan::cells_of(&request, &cells);
        Self::new(request, plan, cells)
    }

    fn new(request: ListRequest, plan: Plan, cells: Vec<(StatusKey, Direction)>) -> Self {
        let left = Some(plan.span.clone());
        Self { request, plan, cells, left, count: 0, standing: Default::default() }
    }

    /// How many there are, so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How they stand: inbound, outbound.
    pub fn standing(&self) -> [StatusCount; 2] {
        self.standing
    }

    /// How many of them have a status: inbound, outbound.
    pub fn with_status(&self) -> [u64; 2] {
        self.standing.map(|of| of.statuses.iter().sum())
    }

    /// One look more. True once everything was looked at.
    pub fn go_on(&mut self, view: &View) -> Result<bool, StoreError> {
        let Some(span) = self.left.take().filter(|span| !span.is_empty()) else { return Ok(true) };
        let records = !self.plan.exact;
        let most = if records { RECORDS } else { KEYS };
        let IndexPass { found, reached } =
            view.look(self.request.account, &self.plan, &span, most, records)?;
        for (_, found) in found {
            if self.cells.is_empty() {
                self.count += u64::from(view.is_wanted(&self.request, found)?);
            } else {
                self.count_by_status(view, found)?;
            }
        }
        self.left = reached.map(|reached| span.after(reached));
        Ok(self.left.is_none())
    }

    /// Counts a call under its status and direction.
    fn count_by_status(&mut self, view: &View, found: LookRow) -> Result<(), StoreError> {
        let cell = match found {
            LookRow::Call(listed) => {
                let call = view.unpacked(listed)?;
                self.request.filter.matches(&call).then(|| cell_of(&call))
            }
            LookRow::In(range) => self.cells.get(range).copied(),
        };
        let Some((status_key, direction)) = cell else { return Ok(()) };
        let Some(of) = self.standing.get_mut(direction as usize) else { return Ok(()) };
        self.count += 1;
        match status_key {
            StatusKey::Stale => of.stale += 1,
            StatusKey::Status(status) => {
                if let Some(count) = of.statuses.get_mut(status as usize) {
                    *count += 1;
                }
            }
        }
        Ok(())
    }
}

fn cell_of(call: &Call) -> (StatusKey, Direction) {
    (StatusKey::of(call), call.direction.value)
}
