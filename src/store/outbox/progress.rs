//! How far a target has got: which hooks it is still to be sent, without a list of all of them.
//!
//! Hooks are read from the journal in their order. What is not read yet is a *span* of their numbers; what
//! was read and is not decided yet is *held*, and only so many are held at once. What was given up is *set
//! aside*, as ranges. So all of it stays small, however long a target is down.
//!
//! It is stored as a setting of the journal, some time after what it tells of: a hook may be sent again after a
//! crash, and none is left out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::domain::{AccountSid, ApplicationSid, Timestamp};

use super::hook::{HookHead, steps_between};

/// Ranges of hooks that were set aside. Beyond, two neighbours become one: a retry then sends again what lies
/// between them.
const ASIDE_MAX: usize = 768;
/// Spans: what is set aside is asked for again as these. A row with as many of all fits into a frame.
const SPANS_MAX: usize = ASIDE_MAX + 16;
/// What is stored of a target grows the journal by no more, but for small rows.
const ROW_BYTES_A_SECOND: u64 = 4096;
/// Where nothing is for a target, it is stored after so many sequence numbers, or messages, how far it has got: a start reads the
/// journal from there on.
const READ_AGAIN_MAX: u64 = 100_000;

/// Whose hooks a target gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    pub account: AccountSid,
    /// Those of these applications alone; empty: of all.
    pub applications: Vec<ApplicationSid>,
}

impl Audience {
    /// Whether a hook is for it. One with an event of another application is not.
    pub fn has(&self, account: AccountSid, applications: Option<&[ApplicationSid]>) -> bool {
        let all =
            |names: &[ApplicationSid]| names.iter().all(|sid| self.applications.contains(sid));
        self.account == account && (self.applications.is_empty() || applications.is_some_and(all))
    }

    pub fn has_hook(&self, head: &HookHead) -> bool {
        self.has(head.account, head.applications.as_deref())
    }
}

/// Hooks that are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub next: u64,
    /// The last one; none where it goes on with what is to come.
    pub to: Option<u64>,
    /// When they were asked for again: until then their age does not count.
    pub again: Option<u64>,
}

/// Hooks that were given up: all that the target was to be sent between two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Aside {
    from: u64,
    to: u64,
    count: u64,
}

/// What a target is still to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub audience: Audience,
    spans: Vec<Span>,
    /// With when they were asked for again.
    held: BTreeMap<u64, Option<u64>>,
    aside: Vec<Aside>,
    /// The last one that was delivered.
    delivered: u64,
    /// How many hooks the spans have, about.
    unread: u64,
    /// What is stored is older.
    changed: bool,
    /// When it is stored next at the soonest.
    stored_after: Option<Instant>,
    /// What of what is to come was to be read next, as it is stored.
    stored_next: u64,
}

/// The same as it is stored.
#[derive(Serialize, Deserialize)]
struct Row {
    audience: Audience,
    spans: Vec<Span>,
    /// By when they were asked for again: the first one, and how much greater each is than the one before.
    held: Vec<(Option<u64>, Vec<u64>)>,
    aside: Vec<Aside>,
    delivered: u64,
    unread: u64,
}

impl Progress {
    /// A target that gets what comes from this number on.
    pub fn new(audience: Audience, next: u64) -> Self {
        Self {
            audience,
            spans: vec![Span { next, to: None, again: None }],
            held: BTreeMap::new(),
            aside: Vec::new(),
            delivered: 0,
            unread: 0,
            changed: true,
            stored_after: None,
            stored_next: next,
        }
    }

    /// What was stored.
    pub fn read(json: &[u8]) -> Option<Self> {
        let row: Row = serde_json::from_slice(json).ok()?;
        let Row { audience, spans, held, aside, delivered, unread } = row;
        let mut all = BTreeMap::new();
        for (again, steps) in held {
            let mut number = 0_u64;
            for step in steps {
                number = number.checked_add(step)?;
                all.insert(number, again);
            }
        }
        let mut progress = Self {
            audience,
            spans,
            held: all,
            aside,
            delivered,
            unread,
            changed: false,
            stored_after: None,
            stored_next: 0,
        };
        progress.stored_next = progress.next_of_open();
        Some(progress)
    }

    /// What of what is to come is to be read next; 0 where nothing of that is for it.
    fn next_of_open(&self) -> u64 {
        self.spans.iter().find(|span| span.to.is_none()).map_or(0, |span| span.next)
    }

    pub fn row(&self) -> Vec<u8> {
        let mut held: BTreeMap<Option<u64>, (u64, Vec<u64>)> = BTreeMap::new();
        for (&number, &again) in &self.held {
            let (last, steps) = held.entry(again).or_default();
            steps.push(number - *last);
            *last = number;
        }
        let row = Row {
            audience: self.audience.clone(),
            spans: self.spans.clone(),
            held: held.into_iter().map(|(again, (_, steps))| (again, steps)).collect(),
            aside: self.aside.clone(),
            delivered: self.delivered,
            unread: self.unread,
        };
        // Numbers and sids have a JSON.
        serde_json::to_vec(&row).unwrap_or_default()
    }

    /// What is to be stored where that is older; from then on it counts as stored. A large row is not stored
    /// again soon, nor one that has but read on, unless `now` is none.
    pub fn take_row(&mut self, now: Option<Instant>) -> Option<Vec<u8>> {
        let early = now.zip(self.stored_after).is_some_and(|(now, after)| now < after);
        let next = self.next_of_open();
        let least = if now.is_some() { READ_AGAIN_MAX } else { 1 };
        let has_read = steps_between(self.stored_next, next) >= least;
        if early || !(self.changed || has_read) {
            return None;
        }
        (self.changed, self.stored_next) = (false, next);
        let row = self.row();
        let rests = Duration::from_secs(row.len() as u64 / ROW_BYTES_A_SECOND);
        self.stored_after = now.map(|now| now + rests);
        Some(row)
    }

    pub fn note_unstored(&mut self) {
        self.changed = true;
        self.stored_after = None;
    }

    /// Whether a hook may still have to be read for it.
    pub fn needs(&self, number: u64) -> bool {
        let after = self.aside.partition_point(|aside| aside.to < number);
        self.held.contains_key(&number)
            || self
                .spans
                .iter()
                .any(|span| span.next <= number && span.to.is_none_or(|to| number <= to))
            || self.aside.get(after).is_some_and(|aside| aside.from <= number)
    }

    /// The least number that it may still need.
    pub fn oldest_needed(&self) -> u64 {
        let spans = self.spans.iter().map(|span| span.next);
        let held = self.held.first_key_value().map(|(number, _)| *number);
        let aside = self.aside.first().map(|aside| aside.from);
        spans.chain(held).chain(aside).min().unwrap_or(u64::MAX)
    }

    /// What is to be read next: the oldest first.
    pub fn next_span(&self) -> Option<Span> {
        self.spans.iter().min_by_key(|span| span.next).copied()
    }

    /// Everything of a span up to a number was read, and these are its hooks.
    pub fn advance(&mut self, span: Span, read_to: u64, hooks: impl Iterator<Item = u64>) {
        let Some(place) = self.spans.iter().position(|one| *one == span) else { return };
        for number in hooks {
            self.held.insert(number, span.again);
            self.unread = self.unread.saturating_sub(1);
            self.changed = true;
        }
        let ended = span.to.is_some_and(|to| read_to >= to);
        if ended {
            self.spans.remove(place);
            self.changed = true;
        } else if let Some(span) = self.spans.get_mut(place) {
            span.next = span.next.max(read_to.saturating_add(1));
        }
    }

    /// All that there is has been read.
    pub fn is_read(&mut self) {
        self.unread = 0;
    }

    /// A hook for it has come.
    pub fn one_more(&mut self) {
        self.unread += 1;
        self.changed = true;
    }

    /// It was delivered, or is not there any more.
    pub fn done(&mut self, number: u64) {
        self.held.remove(&number);
        self.delivered = self.delivered.max(number);
        self.changed = true;
    }

    /// It is given up until somebody asks for it again.
    pub fn set_aside(&mut self, number: u64) {
        self.held.remove(&number);
        self.changed = true;
        let place = self.aside.partition_point(|aside| aside.to < number);
        let before = place.checked_sub(1).and_then(|place| self.aside.get_mut(place));
        if let Some(before) = before {
            // Nothing of the target's lies between them.
            let alone = self.held.range(before.to..number).next().is_none();
            if self.delivered <= before.to && alone {
                before.to = number;
                before.count += 1;
                return;
            }
        }
        self.aside.insert(place, Aside { from: number, to: number, count: 1 });
        if self.aside.len() > ASIDE_MAX {
            self.join_nearest();
        }
    }

    fn join_nearest(&mut self) {
        let gap = |pair: &[Aside]| match pair {
            [one, next] => next.from - one.to,
            _ => u64::MAX,
        };
        let nearest = self.aside.windows(2).map(gap).enumerate().min_by_key(|(_, gap)| *gap);
        let Some((place, _)) = nearest else { return };
        let next = self.aside.remove(place + 1);
        if let Some(one) = self.aside.get_mut(place) {
            one.to = next.to;
            one.count += next.count;
        }
    }

    /// What was set aside is read again, unless too much of it is asked for already. Returns how many hooks that
    /// is, about.
    pub fn retry(&mut self, now: Timestamp) -> u64 {
        let mut count = 0;
        let room = SPANS_MAX.saturating_sub(self.spans.len()).min(self.aside.len());
        for aside in self.aside.drain(..room) {
            count += aside.count;
            let again = Some(now.millis());
            self.spans.push(Span { next: aside.from, to: Some(aside.to), again });
        }
        self.unread += count;
        self.changed |= count > 0;
        count
    }

    /// The greatest number that it says anything of.
    fn greatest(&self) -> u64 {
        let spans = self.spans.iter().map(|span| span.to.unwrap_or(span.next.saturating_sub(1)));
        let held = self.held.last_key_value().map(|(number, _)| *number);
        let aside = self.aside.last().map(|aside| aside.to);
        spans.chain(held).chain(aside).max().unwrap_or_default().max(self.delivered)
    }

    /// Numbers after this one are given again: nothing of what comes has been read.
    pub fn back_to(&mut self, last: u64) {
        if self.greatest() <= last {
            return;
        }
        for span in &mut self.spans {
            match &mut span.to {
                None => span.next = span.next.min(last.saturating_add(1)),
                Some(to) => *to = (*to).min(last),
            }
        }
        self.spans.retain(|span| span.to.is_none_or(|to| span.next <= to));
        self.held.retain(|number, _| *number <= last);
        self.aside.retain(|aside| aside.from <= last);
        for aside in &mut self.aside {
            aside.to = aside.to.min(last);
        }
        self.delivered = self.delivered.min(last);
        self.changed = true;
    }

    /// It is configured no more: nothing that comes from now on is for it.
    pub fn close(&mut self, last: u64) {
        for span in self.spans.iter_mut().filter(|span| span.to.is_none()) {
            span.to = Some(last);
            self.changed = true;
        }
        self.spans.retain(|span| span.to.is_none_or(|to| span.next <= to));
    }

    /// It is configured, for these hooks: what comes from now on is for it.
    pub fn open(&mut self, audience: Audience, next: u64) {
        if self.audience != audience {
            self.audience = audience;
            self.changed = true;
        }
        if !self.is_open() {
            self.spans.push(Span { next, to: None, again: None });
            self.changed = true;
        }
    }

    /// What comes from now on is for it.
    pub fn is_open(&self) -> bool {
        self.spans.iter().any(|span| span.to.is_none())
    }

    /// The hooks that are held, with when they were asked for again.
    pub fn held(&self) -> impl Iterator<Item = (u64, Option<u64>)> {
        self.held.iter().map(|(number, again)| (*number, *again))
    }

    /// How many hooks wait to be delivered, about.
    pub fn queued(&self) -> u64 {
        self.unread + self.held.len() as u64
    }

    /// How many were set aside, about.
    pub fn aside(&self) -> u64 {
        self.aside.iter().map(|aside| aside.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audience(account: u8, applications: &[u8]) -> Audience {
        let applications = applications.iter().map(|n| ApplicationSid::from_bytes([*n; 16]));
        let account = AccountSid::from_bytes([account; 16]);
        Audience { account, applications: applications.collect() }
    }

    fn stored(progress: &Progress) -> Progress {
        let Progress { changed, stored_after, stored_next, .. } = *progress;
        Progress { changed, stored_after, stored_next, ..Progress::read(&progress.row()).unwrap() }
    }

    #[test]
    fn a_target_gets_the_hooks_of_its_account_and_of_its_applications_alone() {
        let (own, other) = (AccountSid::from_bytes([1; 16]), AccountSid::from_bytes([2; 16]));
        let application = |n: u8| ApplicationSid::from_bytes([n; 16]);
        let all = audience(1, &[]);
        assert!(all.has(own, None) && all.has(own, Some(&[application(7)])));
        assert!(!all.has(other, None));
        let some = audience(1, &[7, 8]);
        assert!(some.has(own, Some(&[application(7), application(8)])));
        assert!(!some.has(own, Some(&[application(7), application(9)])), "another is in it");
        assert!(!some.has(own, None), "it names none");
        assert!(!some.has(other, Some(&[application(7)])), "of another account");
    }

    #[test]
    fn what_is_needed_is_what_was_not_delivered() {
        let mut progress = Progress::new(audience(1, &[]), 10);
        let span = progress.next_span().unwrap();
        progress.advance(span, 19, [11, 15, 18].into_iter());
        progress.done(15);
        progress.set_aside(11);
        for (number, needed) in
            [(9, false), (10, false), (11, true), (15, false), (18, true), (20, true)]
        {
            assert_eq!(progress.needs(number), needed, "{number}");
        }
        assert_eq!((progress.oldest_needed(), progress.aside()), (11, 1));
        assert_eq!(stored(&progress), progress);
        assert_eq!(progress.retry(Timestamp::default()), 1);
        assert!(progress.needs(11) && progress.aside() == 0);
        let span = progress.next_span().unwrap();
        assert_eq!((span.next, span.to), (11, Some(11)));
        progress.advance(span, 11, [11].into_iter());
        assert_eq!(progress.next_span().unwrap().next, 20);
        assert_eq!(progress.held().collect::<Vec<_>>(), [(11, Some(0)), (18, None)]);
        assert_eq!(stored(&progress), progress);
        progress.done(11);
        assert!(!progress.needs(11));
    }

    #[test]
    fn an_outage_is_one_range_and_what_was_delivered_between_is_not_sent_again() {
        let mut progress = Progress::new(audience(1, &[]), 1);
        let span = progress.next_span().unwrap();
        progress.advance(span, 100, 1..=100);
        (1..=50).for_each(|number| progress.set_aside(number));
        assert_eq!(progress.aside.len(), 1);
        progress.done(52);
        progress.set_aside(51);
        progress.set_aside(53);
        assert_eq!(progress.aside(), 52);
        progress.retry(Timestamp::default());
        let spans: Vec<_> = progress.spans.iter().skip(1).map(|s| (s.next, s.to)).collect();
        assert!(spans.iter().all(|(from, to)| !(*from <= 52 && to.unwrap() >= 52)), "{spans:?}");
        assert!((1..=51).chain([53]).all(|number| progress.needs(number)) && !progress.needs(52));
    }

    #[test]
    fn ranges_are_bounded_and_none_of_what_was_set_aside_is_lost() {
        let mut progress = Progress::new(audience(1, &[]), 1);
        let count = 2 * ASIDE_MAX as u64 + 10;
        let span = progress.next_span().unwrap();
        progress.advance(span, count, 1..=count);
        for number in (1..=count).step_by(2) {
            progress.done(number + 1);
            progress.set_aside(number);
        }
        assert_eq!((progress.aside.len(), progress.aside()), (ASIDE_MAX, count / 2));
        assert!((1..=count).step_by(2).all(|number| progress.needs(number)));
    }

    #[test]
    fn the_largest_row_fits_into_a_frame() {
        let mut progress = Progress::new(audience(1, &[1; 1000]), u64::MAX / 2);
        let span = progress.next_span().unwrap();
        let begin = u64::MAX / 2;
        let numbers =
            |from: u64, count: u64| (0..count).map(move |n| begin + (from + n) * 1_000_000);
        let count = ASIDE_MAX as u64;
        progress.advance(span, begin + 100_000_000_000, numbers(0, 2 * count));
        for number in numbers(0, count) {
            progress.done(number + 1);
            progress.set_aside(number);
        }
        progress.retry(Timestamp::MAX);
        for number in numbers(count, count) {
            progress.done(number + 1);
            progress.set_aside(number);
        }
        assert_eq!(progress.retry(Timestamp::MAX), 15, "others are asked for already");
        let span = progress.spans.iter().find(|span| span.to.is_none()).copied().unwrap();
        progress.advance(span, u64::MAX - 1, numbers(200_000, 8192));
        let row = progress.row().len();
        assert!(row > 150_000 && crate::journal::fits(row + 100).is_ok(), "{row}");
        assert_eq!(stored(&progress), progress);
    }

    #[test]
    fn a_target_that_is_gone_and_comes_back_gets_nothing_of_between() {
        let mut progress = Progress::new(audience(1, &[]), 5);
        progress.close(9);
        assert!(progress.needs(9) && !progress.needs(10));
        progress.open(audience(1, &[]), 21);
        assert!(progress.needs(9) && !progress.needs(20) && progress.needs(21));
        progress.open(audience(1, &[]), 30);
        assert!(progress.needs(21), "it was open already");
        let mut read = Progress::new(audience(1, &[]), 5);
        read.close(4);
        assert_eq!(read.next_span(), None);
    }

    #[test]
    fn what_has_changed_is_stored_once_and_a_large_row_not_often() {
        let mut progress = Progress::new(audience(1, &[]), 1);
        let now = Instant::now();
        assert!(progress.take_row(Some(now)).is_some());
        assert_eq!(progress.take_row(Some(now)), None, "nothing has changed");
        let span = progress.next_span().unwrap();
        progress.advance(span, 20_000, (1..=20_000).step_by(2));
        let row = progress.take_row(Some(now)).unwrap();
        assert!(row.len() > 16_384, "{}", row.len());
        progress.done(1);
        assert_eq!(progress.take_row(Some(now + Duration::from_secs(3))), None);
        assert!(progress.clone().take_row(None).is_some(), "the process ends");
        assert!(progress.take_row(Some(now + Duration::from_secs(9))).is_some());
    }

    #[test]
    fn how_far_a_target_has_read_is_stored_though_nothing_was_for_it() {
        let mut progress = Progress::new(audience(1, &[]), 1);
        let now = Instant::now();
        assert!(progress.take_row(Some(now)).is_some());
        let read_to = |progress: &mut Progress, number: u64| {
            let span = progress.next_span().unwrap();
            progress.advance(span, number, [].into_iter());
        };
        read_to(&mut progress, READ_AGAIN_MAX - 1);
        assert_eq!(progress.take_row(Some(now)), None, "it is not far");
        let at_end = Progress::read(&progress.take_row(None).unwrap()).unwrap();
        assert_eq!(at_end.next_span().unwrap().next, READ_AGAIN_MAX);
        assert_eq!(progress.take_row(None), None);
        read_to(&mut progress, 2 * READ_AGAIN_MAX - 1);
        let stored = Progress::read(&progress.take_row(Some(now)).unwrap()).unwrap();
        assert_eq!(stored.next_span().unwrap().next, 2 * READ_AGAIN_MAX);
    }

    #[test]
    fn what_is_no_progress_is_refused() {
        for text in ["", "{}", "null", "{\"held\":[[null,[18446744073709551615,1]]]}"] {
            assert!(Progress::read(text.as_bytes()).is_none(), "{text}");
        }
    }
}
