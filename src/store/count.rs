//! Counting: how many calls a list has, and how they stand.

use super::StoreError;
use super::open::Store;
use super::plan::Plan;
use super::read::{Found, Look, Request};
use crate::domain::{AccountSid, Call, CallStatus, Direction, Filter, Order, Rank};
use crate::keys::Slot;

/// Rows of one look.
const LOOK_ROWS: usize = 1024;

/// How many calls of a direction have which status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// By [`CallStatus`], as in [`CallStatus::ALL`]; stale calls apart.
    pub statuses: [u64; CallStatus::ALL.len()],
    /// Calls that are stale, whatever their last status.
    pub stale: u64,
}

impl Store {
    /// The sequence number of an account's last change, or one of before the start where it has
    /// not changed since: while it stays the same, so does every list of the account.
    pub fn last_change(&self, account: AccountSid) -> u64 {
        self.shared.registry.read().last_change(account)
    }

    /// How many calls a list has from its beginning, exact as of the scan; none where it would have
    /// to look at more than `rows`.
    pub fn count(&self, request: &Request, rows: usize) -> Result<Option<u64>, StoreError> {
        let request = Request { after: None, ..request.clone() };
        let plan = Plan::of(&request);
        let mut count = 0;
        let whole = self.scan(&request, &plan, rows, |found| {
            count += u64::from(match found {
                Found::Call(listed) => request.filter.matches(&*self.unpacked(listed)?),
                Found::In(_) => true,
            });
            Ok(())
        })?;
        Ok(whole.then_some(count))
    }

    /// How the calls of a list stand, inbound and outbound; none where it would have to look at
    /// more than `rows`. Of the filter only the times count.
    pub fn standing(
        &self,
        request: &Request,
        rows: usize,
    ) -> Result<Option<[Standing; 2]>, StoreError> {
        self.stand_in(request, &Plan::cells(), rows)
    }

    /// How many calls of an account are up: inbound, outbound.
    pub fn live_calls(&self, account: AccountSid) -> Result<[u64; 2], StoreError> {
        let (filter, order) = (Filter::default(), Order::NewestFirst);
        let request = Request { account, filter, order, after: None };
        let up = |(slot, _): &(Slot, Direction)| matches!(slot, Slot::Status(status) if status.rank() < Rank::Terminal);
        let cells: Vec<_> = Plan::cells().into_iter().filter(up).collect();
        let standing = self.stand_in(&request, &cells, usize::MAX)?.unwrap_or_default();
        Ok(standing.map(|of| of.statuses.iter().sum()))
    }

    /// How the calls of a list stand that are in one of these cells.
    fn stand_in(
        &self,
        request: &Request,
        cells: &[(Slot, Direction)],
        rows: usize,
    ) -> Result<Option<[Standing; 2]>, StoreError> {
        let plan = Plan::cells_of(request, cells);
        let mut standing = [Standing::default(); 2];
        let whole = self.scan(request, &plan, rows, |found| {
            let cell = match found {
                Found::Call(listed) => Some(cell_of(&*self.unpacked(listed)?)),
                Found::In(range) => cells.get(range).copied(),
            };
            let Some((slot, direction)) = cell else { return Ok(()) };
            let Some(of) = standing.get_mut(direction as usize) else { return Ok(()) };
            match slot {
                Slot::Stale => of.stale += 1,
                Slot::Status(status) => {
                    if let Some(count) = of.statuses.get_mut(status as usize) {
                        *count += 1;
                    }
                }
            }
            Ok(())
        })?;
        Ok(whole.then_some(standing))
    }

    /// Looks at every row of the plan. False where there are more than `rows`.
    fn scan(
        &self,
        request: &Request,
        plan: &Plan,
        rows: usize,
        mut visit: impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let mut span = plan.span.clone();
        let mut looked_at = 0;
        while !span.is_empty() {
            let look = self.look(request.account, plan, &span, LOOK_ROWS, !plan.exact)?;
            let Look { found, reached } = look;
            looked_at += found.len();
            if looked_at > rows {
                return Ok(false);
            }
            for (_, found) in found {
                visit(found)?;
            }
            let Some(reached) = reached else { break };
            span = span.after(reached);
        }
        Ok(true)
    }
}

fn cell_of(call: &Call) -> (Slot, Direction) {
    let slot = if call.stale { Slot::Stale } else { Slot::Status(call.progress.status) };
    (slot, call.direction.value)
}
