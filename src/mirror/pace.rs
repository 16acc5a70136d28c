//! So many commands a second, and not more.

use std::time::Duration;

use tokio::time::Instant;

/// How much may be made up for in one go.
const BURST: Duration = Duration::from_millis(100);

/// Spreads commands over time.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    /// When the next one would be due if all had been spread evenly.
    next: Option<Instant>,
}

impl Pace {
    pub fn new(per_second: u64) -> Self {
        let every = Duration::from_secs(1) / u32::try_from(per_second.max(1)).unwrap_or(u32::MAX);
        Self { every, next: None }
    }

    /// Takes one; or says when there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let next = self.next.unwrap_or(now).max(now.checked_sub(BURST).unwrap_or(now));
        if next > now {
            return Err(next);
        }
        self.next = Some(next + self.every);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_commands_are_sent_than_the_pace_allows() {
        let begin = Instant::now();
        let mut pace = Pace::new(500);
        let mut sent = 0;
        for millis in 0..10_000 {
            while pace.take(begin + Duration::from_millis(millis)).is_ok() {
                sent += 1;
            }
        }
        assert!((4990..=5010).contains(&sent), "{sent}");
        // After a pause, what was not sent in it is not all made up for.
        let later = begin + Duration::from_mins(1);
        let burst = std::iter::from_fn(|| pace.take(later).ok()).count();
        assert!((40..=60).contains(&burst), "{burst}");
        assert!(Pace::new(1).take(begin).is_ok());
    }
}
