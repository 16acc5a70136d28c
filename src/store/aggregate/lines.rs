//! The figures of calls: how many, and how many of them are up at the same time.
//!
//! Calls are added as they are listed, the oldest first, some at a time in any order. What the peaks need of a call is when it
//! begins and ends to be up: these *steps* wait until no call can come any more that is up earlier, and
//! are then taken in order. So what is kept is the steps of one hour, and the ends of the calls that are
//! up.

use std::collections::BTreeMap;

use crate::codec::QuarterSums;
use crate::domain::{Timestamp, UP_BEFORE_MS, Up};
use crate::wire::{Interval, Zone};

/// Hours or days that one answer may have.
pub const BUCKETS_MAX: usize = 10_000;
/// Buckets times what each is divided into.
pub const CELLS_MAX: usize = 100_000;
/// Steps that may wait: two for each call that is up or began within an hour.
const STEPS_MAX: usize = 2 * CALLS_OF_AN_HOUR_MAX;
/// Calls that may begin within an hour, or be up at the same time.
pub const CALLS_OF_AN_HOUR_MAX: usize = 2_000_000;
/// Groups that may be told apart.
pub const TOP_MAX: usize = 1000;
/// Steps that wait before any is taken.
const STEPS_MIN: usize = 8192;

/// What is counted of some calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    pub calls: u64,
    /// Of these calls.
    pub answered: u64,
    /// The sum of their durations.
    pub seconds: u64,
    /// The most calls that were up at the same time, whenever they were listed.
    pub peak: u64,
}

impl Figures {
    /// Those of the calls of a quarter of an hour.
    pub(super) fn of(sums: &QuarterSums) -> Self {
        let QuarterSums { calls, answered, seconds, .. } = *sums;
        Self { calls, answered, seconds, peak: 0 }
    }

    /// Counts those of other calls in.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.answered = self.answered.saturating_add(other.answered);
        self.seconds = self.seconds.saturating_add(other.seconds);
        self.peak = self.peak.max(other.peak);
    }
}

/// Figures of several times, none of which has a part in another: over all, and by the minute, hour or day.
#[derive(Debug)]
pub(super) struct Counted {
    interval: Option<(Interval, Zone)>,
    pub totals: Vec<Figures>,
    pub buckets: Buckets,
    /// The bucket that was asked for last.
    current: (Timestamp, Timestamp),
}

impl Counted {
    pub fn new(interval: Option<(Interval, Zone)>, groups: usize) -> Self {
        let totals = vec![Figures::default(); 1 + groups];
        let current = (Timestamp::MAX, Timestamp::default());
        Self { interval, totals, buckets: BTreeMap::new(), current }
    }

    /// Adds what is counted of calls of a quarter of an hour to all, which is line 0, or to a group.
    pub fn add(&mut self, at: Timestamp, line: usize, more: &Figures) -> Result<(), Exceeded> {
        if let Some(total) = self.totals.get_mut(line) {
            total.add(more);
        }
        let Some((interval, zone)) = &self.interval else { return Ok(()) };
        if at < self.current.0 || at >= self.current.1 {
            self.current = zone.span(*interval, at);
        }
        let (first, width) = (self.current.0, self.totals.len());
        if let Some(figures) = figures_of(&mut self.buckets, first, width)?.get_mut(line) {
            figures.add(more);
        }
        Ok(())
    }

    /// Adds what was counted of another time.
    pub fn absorb(&mut self, lines: Lines) -> Result<(), Exceeded> {
        let (totals, buckets) = lines.finish()?;
        for (total, more) in self.totals.iter_mut().zip(&totals) {
            total.add(more);
        }
        for (first, figures) in buckets {
            let there = figures_of(&mut self.buckets, first, self.totals.len())?;
            for (there, more) in there.iter_mut().zip(&figures) {
                there.add(more);
            }
        }
        Ok(())
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.buckets, self.totals.len())
    }
}

fn bytes_of(buckets: &Buckets, width: usize) -> usize {
    (buckets.len() + 1) * width * size_of::<Figures>() + buckets.len() * 64
}

/// The figures of a bucket, which is made where there is none.
fn figures_of(
    buckets: &mut Buckets,
    first: Timestamp,
    width: usize,
) -> Result<&mut Vec<Figures>, Exceeded> {
    let known = buckets.len();
    Ok(match buckets.entry(first) {
        std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
        std::collections::btree_map::Entry::Vacant(free) => {
            check_size(known + 1, width)?;
            free.insert(vec![Figures::default(); width])
        }
    })
}

/// What is counted of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub listed_at: Timestamp,
    pub answered: bool,
    pub seconds: u64,
    pub up: Option<Up>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    /// More than [`BUCKETS_MAX`] hours or days.
    Buckets,
    /// More than [`CELLS_MAX`] figures: so many buckets at least, of so many groups each.
    Cells { buckets: usize, groups: usize },
    /// More calls at the same time than can be followed.
    Peak,
    /// More groups than there is memory for, which is so many at least.
    Groups(usize),
}

/// The time that is asked for: its calls are counted, and its peaks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Period {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

impl Period {
    pub fn has(self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| at >= start) && self.end.is_none_or(|end| at < end)
    }

    /// The part of it in which a call is up.
    pub fn part_of(self, up: Option<Up>) -> Option<Up> {
        let up = up?;
        let from = self.start.map_or(up.from, |start| up.from.max(start));
        let until = self.end.map_or(up.until, |end| up.until.min(end));
        (from < until).then_some(Up { from, until })
    }
}

/// A call begins or ends to be up: its time, then its line, then which of both; so steps are in order of
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Step(u64);

const LINE_BITS: u32 = 11;
const _: () =
    assert!(TOP_MAX + 2 < 1 << LINE_BITS, "lines are all calls, the groups, and the others");

impl Step {
    fn new(at: Timestamp, line: usize, begins: bool) -> Self {
        let line = line as u64 & ((1 << LINE_BITS) - 1);
        Self(at.millis() << (LINE_BITS + 1) | line << 1 | u64::from(begins))
    }

    fn at(self) -> Timestamp {
        Timestamp::from_millis(self.0 >> (LINE_BITS + 1)).unwrap_or(Timestamp::MAX)
    }

    fn line(self) -> usize {
        usize::try_from(self.0 >> 1 & ((1 << LINE_BITS) - 1)).unwrap_or_default()
    }

    fn change(self) -> i64 {
        if self.0 & 1 == 1 { 1 } else { -1 }
    }
}

/// Figures over all, and by the minute, hour or day: of all calls, and of each group of them.
pub(super) struct Lines {
    period: Period,
    interval: Option<(Interval, Zone)>,
    /// All calls first, then each group.
    totals: Vec<Figures>,
    buckets: BTreeMap<Timestamp, Vec<Figures>>,
    /// The bucket that was asked for last.
    current: (Timestamp, Timestamp),
    steps: Vec<Step>,
    steps_min: usize,
    sweep_at: usize,
    /// Calls that are up, by line, as of the last step that was taken.
    up: Vec<u64>,
    /// The last step that was taken.
    taken: Timestamp,
}

impl Lines {
    /// `groups` beside the line of all calls.
    pub fn new(period: Period, interval: Option<(Interval, Zone)>, groups: usize) -> Self {
        Self::sweeping(period, interval, groups, STEPS_MIN)
    }

    pub(super) fn sweeping(
        period: Period,
        interval: Option<(Interval, Zone)>,
        groups: usize,
        steps_min: usize,
    ) -> Self {
        Self {
            period,
            interval,
            totals: vec![Figures::default(); 1 + groups],
            buckets: BTreeMap::new(),
            current: (Timestamp::MAX, Timestamp::default()),
            steps: Vec::new(),
            steps_min,
            sweep_at: steps_min,
            up: vec![0; 1 + groups],
            taken: Timestamp::default(),
        }
    }

    /// The time that it counts.
    pub fn period(&self) -> Period {
        self.period
    }

    /// Adds a call to all and to a group.
    pub fn add(&mut self, sample: &Sample, group: Option<usize>) -> Result<(), Exceeded> {
        let Sample { listed_at, answered, seconds, up } = *sample;
        if self.period.has(listed_at) {
            let figures = Figures { calls: 1, answered: u64::from(answered), seconds, peak: 0 };
            self.add_calls(listed_at, &figures, group)?;
        }
        self.add_up(up, group);
        Ok(())
    }

    /// Whether the steps that wait are not too many.
    pub fn check_size(&self) -> Result<(), Exceeded> {
        // Those of a window of several accounts are added before any is taken.
        if self.steps.len() > 2 * STEPS_MAX { Err(Exceeded::Peak) } else { Ok(()) }
    }

    /// Adds calls that are listed in the bucket of this time.
    pub fn add_calls(
        &mut self,
        listed_at: Timestamp,
        sums: &Figures,
        group: Option<usize>,
    ) -> Result<(), Exceeded> {
        for line in [Some(0), self.line(group)].into_iter().flatten() {
            self.figures(listed_at, line, |figures| figures.add(sums))?;
        }
        Ok(())
    }

    /// Adds the time in which a call is up.
    pub fn add_up(&mut self, up: Option<Up>, group: Option<usize>) {
        if let Some(Up { from, until }) = self.period.part_of(up) {
            let line = self.line(group).unwrap_or_default();
            self.steps.push(Step::new(from, line, true));
            self.steps.push(Step::new(until, line, false));
        }
    }

    /// Takes the steps of before all calls that are still to come, which are listed no earlier than this; not
    /// each time.
    pub fn take_steps(&mut self, listed_at: Timestamp) -> Result<(), Exceeded> {
        if self.steps.len() >= self.sweep_at {
            self.sweep(listed_at.minus_millis(UP_BEFORE_MS))?;
            if self.steps.len() > STEPS_MAX {
                return Err(Exceeded::Peak);
            }
            self.sweep_at = self.steps.len() + self.steps.len() / 4 + self.steps_min;
        }
        Ok(())
    }

    fn line(&self, group: Option<usize>) -> Option<usize> {
        group.map(|group| group + 1).filter(|line| *line < self.totals.len())
    }

    /// The totals, and the buckets that have anything, once all calls were added.
    pub fn finish(mut self) -> Result<(Vec<Figures>, Buckets), Exceeded> {
        self.sweep(Timestamp::MAX)?;
        Ok((self.totals, self.buckets))
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        bytes_of(&self.buckets, self.totals.len()) + self.steps.capacity() * size_of::<Step>()
    }

    /// Takes the steps before a time, in order.
    fn sweep(&mut self, before: Timestamp) -> Result<(), Exceeded> {
        self.steps.sort_unstable();
        let ready = self.steps.partition_point(|step| step.at() < before);
        let mut steps = std::mem::take(&mut self.steps);
        let mut lines = Vec::new();
        for together in steps.get(..ready).unwrap_or_default().chunk_by(|a, b| a.at() == b.at()) {
            let Some(at) = together.first().map(|step| step.at()) else { continue };
            self.carry_on(at)?;
            lines.clear();
            for step in together {
                let group = Some(step.line()).filter(|line| *line > 0);
                for line in [Some(0), group].into_iter().flatten() {
                    if let Some(up) = self.up.get_mut(line) {
                        *up = up.saturating_add_signed(step.change());
                    }
                    lines.push(line);
                }
            }
            if self.interval.is_some() && self.bucket(at).0 == at {
                lines = (0..self.up.len()).collect();
            } else {
                lines.sort_unstable();
                lines.dedup();
            }
            for line in &lines {
                self.peak(at, *line)?;
            }
        }
        steps.drain(..ready);
        self.steps = steps;
        Ok(())
    }

    /// Those that are up stay so until a time: the buckets up to there have them.
    fn carry_on(&mut self, until: Timestamp) -> Result<(), Exceeded> {
        while self.interval.is_some() && self.up.first().is_some_and(|up| *up > 0) {
            let (_, end) = self.bucket(self.taken);
            if end >= until || end <= self.taken {
                break;
            }
            self.taken = end;
            for line in 0..self.up.len() {
                self.peak(end, line)?;
            }
        }
        self.taken = until;
        Ok(())
    }

    /// As many are up at a time as there are now.
    fn peak(&mut self, at: Timestamp, line: usize) -> Result<(), Exceeded> {
        match self.up.get(line).copied() {
            None | Some(0) => Ok(()),
            Some(up) => self.figures(at, line, |figures| figures.peak = figures.peak.max(up)),
        }
    }

    /// Changes the figures of a line, over all and of the bucket that a time is in.
    fn figures(
        &mut self,
        at: Timestamp,
        line: usize,
        change: impl Fn(&mut Figures),
    ) -> Result<(), Exceeded> {
        if let Some(total) = self.totals.get_mut(line) {
            change(total);
        }
        if self.interval.is_none() {
            return Ok(());
        }
        let (first, _) = self.bucket(at);
        let figures = figures_of(&mut self.buckets, first, self.totals.len())?;
        if let Some(figures) = figures.get_mut(line) {
            change(figures);
        }
        Ok(())
    }

    fn bucket(&mut self, at: Timestamp) -> (Timestamp, Timestamp) {
        let (first, end) = self.current;
        if (at < first || at >= end)
            && let Some((interval, zone)) = &self.interval
        {
            self.current = zone.span(*interval, at);
        }
        self.current
    }
}

/// Figures of lines, by the first instant of each bucket.
pub(super) type Buckets = BTreeMap<Timestamp, Vec<Figures>>;

/// Whether so many buckets with so many figures each are few enough.
pub(super) fn check_size(buckets: usize, width: usize) -> Result<(), Exceeded> {
    if buckets > BUCKETS_MAX {
        return Err(Exceeded::Buckets);
    }
    if width > 1 && buckets * width > CELLS_MAX {
        return Err(Exceeded::Cells { buckets, groups: width - 1 });
    }
    Ok(())
}
