//! Several accounts, whose calls are gone through window by window: all accounts have come to the end of a window
//! before any goes on. So when how many calls of all of them are up is known without an order of their calls, and
//! each account is read by what is kept of it.
//!
//! An account is looked into in those windows alone in which it has calls. Windows are as long as few calls allow.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::domain::{AccountSid, Quarter, Timestamp};
use crate::store::scope::ScopedAccount;

/// Calls of a window with which the next one is longer, and with which it is shorter.
const FEW: usize = if cfg!(test) { 3 } else { 16 * 1024 };
const MANY: usize = if cfg!(test) { 6 } else { 128 * 1024 };
/// Quarters of a window at most: a day.
const QUARTERS_MAX: u32 = 96;

/// What is to be done next.
pub(super) enum WindowStep {
    /// The calls of an account in these quarters are to be read; it is asked for its next ones after that.
    Read(AccountSid, Quarter, Quarter),
    /// All that is still to come is listed no earlier than this.
    Passed(Timestamp),
}

/// Where accounts have come to.
pub(super) struct Windows {
    accounts: Arc<[ScopedAccount]>,
    /// Where the next calls of each account are listed at the earliest.
    heads: BinaryHeap<Reverse<(Quarter, usize)>>,
    last: Quarter,
    /// The one that is gone through, and how many calls were found in it.
    window: Option<(Quarter, Quarter)>,
    found: usize,
    quarters: u32,
    current: Option<usize>,
}

impl Windows {
    pub fn new(accounts: Arc<[ScopedAccount]>, first: Quarter, last: Quarter) -> Self {
        let may_have = |(_, one): &(usize, &ScopedAccount)| {
            Quarter::of(one.newest.listed_at()) >= first && first <= last
        };
        let own = accounts.iter().enumerate().filter(may_have);
        let heads = own.map(|(n, _)| Reverse((first, n))).collect();
        Self { accounts, heads, last, window: None, found: 0, quarters: 1, current: None }
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Reverse<(Quarter, usize)>>()
    }

    /// Some calls have been found.
    pub fn note(&mut self, calls: usize) {
        self.found += calls;
    }

    /// The account that was read in a window and the quarter behind that, if there is one: from there on its next
    /// calls are to be found.
    pub fn has_read(&mut self) -> Option<(AccountSid, Quarter, Quarter)> {
        let one = self.accounts.get(self.current?)?;
        let (_, end) = self.window?;
        let next = Some(end).filter(|end| *end < self.last).map(|end| end.plus(1));
        if next.is_none() {
            self.current = None;
        }
        Some((one.account, next?, self.last))
    }

    /// The calls of the account that was read go on in this quarter at the earliest.
    pub fn goes_on(&mut self, next: Option<Quarter>) {
        let current = self.current.take();
        self.heads.extend(next.zip(current).map(Reverse));
    }

    /// None once all calls have been passed.
    pub fn next(&mut self) -> Option<WindowStep> {
        let head = self.heads.peek().map(|Reverse((next, _))| *next);
        let Some((_, end)) = self.window else {
            let first = head?;
            self.window = Some((first, first.plus(self.quarters - 1).min(self.last)));
            return self.next();
        };
        if head.is_some_and(|next| next <= end)
            && let Some(Reverse((next, n))) = self.heads.pop()
            && let Some(one) = self.accounts.get(n)
        {
            self.current = Some(n);
            return Some(WindowStep::Read(one.account, next, end));
        }
        match self.found {
            0..FEW => self.quarters = (self.quarters * 2).min(QUARTERS_MAX),
            FEW..MANY => {}
            _ => self.quarters = (self.quarters / 2).max(1),
        }
        (self.window, self.found) = (None, 0);
        Some(WindowStep::Passed(end.end()))
    }
}
