//! How far a node is behind the log, in messages and in time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::domain::Timestamp;

/// Numbers of which it is known when they were first heard of.
const HEARD_MAX: usize = 4096;

/// What is read and not applied yet, and what others say that there is.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Messages that were read, and when the log took them.
    reading: VecDeque<(u64, Timestamp)>,
    /// The greatest number that was known of, and since when.
    heard: VecDeque<(u64, Instant)>,
    applied: u64,
    newest: u64,
}

impl Lag {
    /// A message was read and is to be applied.
    pub fn read(&mut self, seq: u64, at: Timestamp) {
        self.reading.push_back((seq, at));
        self.newest = self.newest.max(seq);
    }

    /// The log reaches at least so far.
    pub fn heard(&mut self, newest: u64, now: Instant) {
        self.newest = self.newest.max(newest);
        let is_new = self.heard.back().is_none_or(|(before, _)| *before < newest);
        if newest > self.applied && is_new && self.heard.len() < HEARD_MAX {
            self.heard.push_back((newest, now));
        }
    }

    /// The log does not reach further, whatever was heard.
    pub fn reaches(&mut self, last: u64) {
        self.heard.retain(|(heard, _)| *heard <= last);
        let read = self.reading.back().map_or(self.applied, |(read, _)| *read);
        self.newest = self.newest.min(last).max(read).max(self.applied);
    }

    pub fn applied(&mut self, seq: u64) {
        self.applied = self.applied.max(seq);
        self.newest = self.newest.max(seq);
        while self.reading.front().is_some_and(|(read, _)| *read <= seq) {
            self.reading.pop_front();
        }
        while self.heard.front().is_some_and(|(heard, _)| *heard <= seq) {
            self.heard.pop_front();
        }
    }

    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Messages that are known of and not applied.
    pub fn messages(&self) -> u64 {
        self.newest.saturating_sub(self.applied)
    }

    /// How old the first message is that is not applied, where the log's clock shows `clock`; none where all are, as far
    /// as is known. Of one that was not read it is only known when it was heard of.
    pub fn time(&self, clock: Timestamp, now: Instant) -> Duration {
        let read = self.reading.front().map(|(_, at)| clock.millis().saturating_sub(at.millis()));
        let read = read.map(Duration::from_millis);
        let heard = self.heard.front().map(|(_, since)| now.saturating_duration_since(*since));
        read.max(heard).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_that_is_not_applied_counts() {
        let mut lag = Lag::default();
        let at = |seconds: u64| Timestamp::from_millis(1_800_000_000_000 + 1000 * seconds).unwrap();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!((lag.messages(), lag.time(at(0), begun)), (0, Duration::ZERO));
        lag.read(1, at(0));
        lag.read(2, at(4));
        assert_eq!((lag.messages(), lag.time(at(9), after(9))), (2, Duration::from_secs(9)));
        lag.applied(1);
        assert_eq!((lag.messages(), lag.time(at(9), after(9))), (1, Duration::from_secs(5)));
        lag.applied(2);
        // What is not read is as old as the word of it.
        lag.heard(7, after(10));
        lag.heard(9, after(12));
        assert_eq!((lag.messages(), lag.time(at(15), after(15))), (7, Duration::from_secs(5)));
        lag.applied(7);
        assert_eq!((lag.messages(), lag.time(at(15), after(15))), (2, Duration::from_secs(3)));
        lag.applied(9);
        lag.heard(9, after(20));
        assert_eq!((lag.messages(), lag.time(at(99), after(99))), (0, Duration::ZERO));
        // One has applied 40 messages of a log that has lost its end.
        lag.heard(40, after(20));
        lag.reaches(11);
        assert_eq!((lag.messages(), lag.time(at(99), after(99))), (2, Duration::ZERO));
        lag.read(12, at(90));
        lag.reaches(11);
        assert_eq!((lag.messages(), lag.time(at(99), after(99))), (3, Duration::from_secs(9)));
    }
}
