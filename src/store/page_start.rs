//! Where a page begins that is asked for by how many calls come before it.

use std::sync::Arc;

use super::StoreError;
use super::across::CountingAcross;
use super::count::CountsByTime;
use super::scope::ScopedAccount;
use super::state::View;
use crate::domain::{Filter, Timestamp};

/// Counts the calls of a list, the newest of which are passed over unread. What is counted of days tells on which of
/// them the page begins, and what is counted of the quarters of an hour of that day where, about.
pub struct PassingOver {
    accounts: Arc<[ScopedAccount]>,
    filter: Filter,
    /// Calls that are to be passed over.
    wanted: u64,
    counting: CountingAcross,
    /// Where the day begins whose quarters are being counted; none while days are.
    pub(super) day: Option<Timestamp>,
    start: PageStart,
}

/// What is known of the begin of a page.
#[derive(Debug, Default)]
pub struct PageStart {
    /// Calls of the list.
    pub total: u64,
    /// How many of them were passed over: those that are wanted, or fewer.
    pub passed: u64,
    /// All others; none where there are no others.
    pub rest: Option<Filter>,
}

impl PassingOver {
    /// Of a list whose calls can be counted by their kinds.
    pub fn new(accounts: Arc<[ScopedAccount]>, filter: Filter, wanted: u64) -> Self {
        let counting = CountingAcross::of_list(&accounts, filter.clone());
        let counting = counting.with_times(CountsByTime::by_days());
        Self { accounts, filter, wanted, counting, day: None, start: PageStart::default() }
    }

    /// One slice more. True once it is known where the page begins.
    pub fn go_on(&mut self, view: &View) -> Result<bool, StoreError> {
        if !self.counting.go_on(view)? {
            return Ok(false);
        }
        let left = self.wanted.saturating_sub(self.start.passed);
        let times = self.counting.by_time();
        let (passed, step) = times.map(|times| times.pass_over(left)).unwrap_or_default();
        self.start.passed += passed;
        let Some(day) = self.day else {
            self.start.total = self.counting.count();
            let Some((begin, end)) = step else { return Ok(true) };
            self.ends_before(end);
            if self.start.passed < self.wanted {
                let start = self.filter.start.max(Some(begin));
                let filter = Filter { start, ..self.filter.clone() };
                let counting = CountingAcross::of_list(&self.accounts, filter);
                self.counting = counting.with_times(CountsByTime::by_quarters());
                self.day = Some(begin);
                return Ok(false);
            }
            self.start.rest = Some(self.filter.clone());
            return Ok(true);
        };
        // Calls that have gone since may leave no more of that day than is passed over.
        self.ends_before(step.map_or(day, |(_, end)| end));
        self.start.rest = Some(self.filter.clone());
        Ok(true)
    }

    fn ends_before(&mut self, end: Timestamp) {
        self.filter.end = Some(self.filter.end.map_or(end, |before| before.min(end)));
    }

    /// What was found.
    pub fn finish(self) -> PageStart {
        self.start
    }
}
