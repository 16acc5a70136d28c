//! What is known of a time without looking at any call: its sealed quarters whose peaks are known, too.

use std::collections::VecDeque;

use super::lines::{Counted, Exceeded};
use super::reading::is_whole;
use super::{AggregateRequest, Period};
use crate::domain::{AccountSid, Quarter};
use crate::index::{QUARTERS_AFTER, QUARTERS_BEFORE};
use crate::store::StoreError;
use crate::store::sealed::{Part, Parts, SealedQuarter, With};
use crate::store::state::View;

/// Parts that are taken before others get a turn.
const PARTS: usize = 1024;
/// A reading of the calls of some quarters reads those of so many around them: what lies closer
/// together is looked at together.
const APART: u32 = QUARTERS_AFTER + QUARTERS_BEFORE;

/// A time that is gone through from its beginning.
pub(super) struct Overview {
    parts: Parts,
    first: Quarter,
    last: Quarter,
    /// Quarters that are known and not counted yet.
    known: VecDeque<Box<SealedQuarter>>,
    /// The quarters of which more has to be read: from one to another.
    pub open: Vec<(Quarter, Quarter)>,
}

impl Overview {
    pub fn new(account: AccountSid, first: Quarter, last: Quarter) -> Self {
        let parts = Parts::new(account, first, last, With::Peaks);
        Self { parts, first, last, known: VecDeque::new(), open: Vec::new() }
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        self.parts.bytes()
            + self.known.iter().map(|of| of.bytes()).sum::<usize>()
            + self.open.capacity() * size_of::<(Quarter, Quarter)>()
    }

    /// Counts some more of what is known. True once all was.
    pub fn go_on(
        &mut self,
        view: &View,
        request: &AggregateRequest,
        period: Period,
        counted: &mut Counted,
    ) -> Result<Result<bool, Exceeded>, StoreError> {
        for _ in 0..PARTS {
            let Some(part) = self.parts.next(view)? else {
                return Ok(self.count_known(counted, None).map(|()| true));
            };
            let (first, last) = match part {
                Part::Open(first, last) => (first, last),
                Part::Sealed(of) => {
                    let (since, quarter) = (of.row.sums.since(), of.row.quarter);
                    let mut meant = self.with_peaks(&of).map(|(at, _)| at).chain([quarter]);
                    let is_known = !of.peaks.is_empty() && quarter <= self.last;
                    if is_known && meant.all(|at| is_whole(request, period, at)) {
                        drop(meant);
                        self.known.push_back(of);
                        if let Err(exceeded) = self.count_known(counted, Some(since.minus(APART))) {
                            return Ok(Err(exceeded));
                        }
                        continue;
                    }
                    (since.max(self.first), quarter.min(self.last))
                }
            };
            match self.open.last_mut() {
                Some(before) if before.1.plus(APART) >= first => {
                    self.known.clear();
                    before.1 = last;
                }
                _ => {
                    if let Err(exceeded) = self.count_known(counted, None) {
                        return Ok(Err(exceeded));
                    }
                    self.open.push((first, last));
                }
            }
        }
        Ok(Ok(false))
    }

    /// The quarters in which calls are up, and how many at most.
    fn with_peaks(&self, of: &SealedQuarter) -> impl Iterator<Item = (Quarter, u32)> {
        of.peaks.iter().filter(|(.., peak)| *peak > 0).flat_map(|(first, last, peak)| {
            let quarters = first.max(&self.first).number()..=last.min(&self.last).number();
            quarters.map(|number| (Quarter::new(number), *peak))
        })
    }

    /// Counts those of before a quarter, or all.
    fn count_known(
        &mut self,
        counted: &mut Counted,
        before: Option<Quarter>,
    ) -> Result<(), Exceeded> {
        while let Some(of) = self.known.front() {
            if before.is_some_and(|before| of.row.quarter >= before) {
                break;
            }
            counted.add_sums(of.row.quarter.start(), &of.row.sums)?;
            for (at, peak) in self.with_peaks(of) {
                counted.add_peak(at.start(), u64::from(peak))?;
            }
            self.known.pop_front();
        }
        Ok(())
    }
}
