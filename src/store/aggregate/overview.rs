//! What is known of a time without looking at any call: its sealed quarters whose peaks are known, too.

use std::collections::{HashMap, VecDeque};

use super::groups::write_group_of_kind;
use super::lines::{Counted, Exceeded, Figures};
use super::reading::is_whole;
use super::{AggregateRequest, Dimension, Period};
use crate::codec::KindSums;
use crate::domain::{AccountSid, CallKind, CallStatus, Direction, GroupStatus, KindGroup, Quarter};
use crate::index::{IndexError, PeakRow, QUARTERS_AFTER, QUARTERS_BEFORE};
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
    groups: Option<GroupLines>,
    /// The quarters of which more has to be read: from one to another.
    pub open: Vec<(Quarter, Quarter)>,
}

impl Overview {
    /// With the lines of groups, where calls are grouped by what is kept of each quarter.
    pub fn new(
        account: AccountSid,
        first: Quarter,
        last: Quarter,
        groups: Option<GroupLines>,
    ) -> Self {
        let parts = Parts::new(account, first, last, With::Peaks);
        Self { parts, first, last, known: VecDeque::new(), groups, open: Vec::new() }
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
                return self.count_known(view, counted, None).map(|done| done.map(|()| true));
            };
            let (first, last) = match part {
                Part::Open(first, last) => (first, last),
                Part::Day(of) => (of.day.first(), of.day.last()),
                Part::Sealed(of) => {
                    let (since, quarter) = (of.row.sums.since(), of.row.quarter);
                    let mut meant = self.with_peaks(&of).map(|(at, _)| at).chain([quarter]);
                    if of.peaks.is_some() && meant.all(|at| is_whole(request, period, at)) {
                        drop(meant);
                        self.known.push_back(of);
                        let before = Some(since.minus(APART));
                        if let Err(exceeded) = self.count_known(view, counted, before)? {
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
                    if let Err(exceeded) = self.count_known(view, counted, None)? {
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
        let runs = of.peaks.iter().flat_map(PeakRow::runs).filter(|(.., peak)| *peak > 0);
        runs.flat_map(|(first, last, peak)| {
            self.quarters(first, last).map(move |quarter| (quarter, peak))
        })
    }

    /// Those of some quarters that are in this time.
    fn quarters(&self, first: Quarter, last: Quarter) -> impl Iterator<Item = Quarter> + use<> {
        (first.max(self.first).number()..=last.min(self.last).number()).map(Quarter::new)
    }

    /// Counts those of before a quarter, or all.
    fn count_known(
        &mut self,
        view: &View,
        counted: &mut Counted,
        before: Option<Quarter>,
    ) -> Result<Result<(), Exceeded>, StoreError> {
        while let Some(of) = self.known.pop_front() {
            if before.is_some_and(|before| of.row.quarter >= before) {
                self.known.push_front(of);
                break;
            }
            let known = self.figures_of(&of).map_err(|error| view.index_failed(&error))?;
            for (at, line, figures) in known {
                if let Err(exceeded) = counted.add(at.start(), line, &figures) {
                    return Ok(Err(exceeded));
                }
            }
        }
        Ok(Ok(()))
    }

    /// What a quarter adds, to which line.
    fn figures_of(
        &mut self,
        of: &SealedQuarter,
    ) -> Result<Vec<(Quarter, usize, Figures)>, IndexError> {
        let at = of.row.quarter;
        let peak = |peak: u32| Figures { peak: peak.into(), ..Figures::default() };
        let mut known = vec![(at, 0, Figures::of(&of.row.sums))];
        known.extend(self.with_peaks(of).map(|(at, of_all)| (at, 0, peak(of_all))));
        let Some(mut groups) = self.groups.take() else { return Ok(known) };
        for kind in of.row.bare_kinds() {
            let (kind, KindSums { calls, seconds }) = kind?;
            let answered = if kind.answered { calls } else { 0 };
            known.push((at, groups.line(&kind), Figures { calls, answered, seconds, peak: 0 }));
        }
        for (group, first, last, of_group) in
            of.peaks.as_ref().map_or(Ok(Vec::new()), PeakRow::groups)?
        {
            if let Some(line) = groups.line_of_group(group).filter(|_| of_group > 0) {
                known.extend(self.quarters(first, last).map(|at| (at, line, peak(of_group))));
            }
        }
        self.groups = Some(groups);
        Ok(known)
    }
}

/// The lines of groups by status, direction or both.
pub(super) struct GroupLines {
    by: Vec<Dimension>,
    numbers: HashMap<Box<[u8]>, usize>,
    others: usize,
    key: Vec<u8>,
}

impl GroupLines {
    /// By the numbers of groups; none where peaks are not kept of such groups.
    pub fn new(by: &[Dimension], numbers: &HashMap<Box<[u8]>, usize>) -> Option<Self> {
        let is_kept =
            |dimension: &Dimension| matches!(dimension, Dimension::Status | Dimension::Direction);
        let others = numbers.len();
        let own = || Self { by: by.to_vec(), numbers: numbers.clone(), others, key: Vec::new() };
        by.iter().all(is_kept).then(own)
    }

    /// The line of calls of a kind.
    fn line(&mut self, kind: &CallKind<'_>) -> usize {
        write_group_of_kind(&self.by, kind, &mut self.key);
        1 + self.numbers.get(&*self.key).copied().unwrap_or(self.others)
    }

    /// The line of a group of kinds, where these are told apart by just that.
    fn line_of_group(&mut self, group: KindGroup) -> Option<usize> {
        let has = |dimension| self.by.contains(&dimension);
        let KindGroup { status, direction } = group;
        if status.is_some() != has(Dimension::Status)
            || direction.is_some() != has(Dimension::Direction)
        {
            return None;
        }
        let kind = CallKind {
            status: match status {
                Some(GroupStatus::Status(status)) => status,
                _ => CallStatus::Trying,
            },
            stale: status == Some(GroupStatus::Stale),
            direction: direction.unwrap_or(Direction::Inbound),
            answered: false,
            trunk: None,
            application: None,
        };
        Some(self.line(&kind))
    }
}
