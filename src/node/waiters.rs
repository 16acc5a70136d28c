//! Messages of this node that are on their way, and those who wait for what becomes of them.
//!
//! A message is told from others by its id: it may be in the log twice, and the first time counts.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::codec::MessageId;
use crate::store::SubmissionOutcome;

/// How long a message is remembered that was not read back.
const REMEMBERED: Duration = Duration::from_mins(1);

/// What became of the submissions of a message, in their order.
type Outcomes = Arc<[SubmissionOutcome]>;

/// Those who wait.
pub(super) struct Waiters {
    sent: Mutex<SentMessages>,
    /// How long outcomes are remembered: the acknowledgement may come later than the message itself.
    answered: Duration,
}

#[derive(Default)]
struct SentMessages {
    by_id: HashMap<MessageId, watch::Sender<Option<Outcomes>>>,
    /// In the order in which they are to be forgotten, of those that were sent and of those that were read back.
    sent: VecDeque<(Instant, MessageId)>,
    read: VecDeque<(Instant, MessageId)>,
}

impl Waiters {
    /// `hold` is how long a message is tried.
    pub fn new(hold: Duration) -> Self {
        Self { sent: Mutex::default(), answered: hold + Duration::from_secs(2) }
    }

    /// A message is about to be sent.
    pub fn begin(&self, id: MessageId) {
        let now = Instant::now();
        let mut sent = self.sent.lock();
        sent.forget(now, self.answered);
        sent.by_id.insert(id, watch::Sender::new(None));
        sent.sent.push_back((now, id));
    }

    /// It was read back and applied. One that nobody waits for is passed over.
    pub fn applied(&self, id: MessageId, outcomes: Vec<SubmissionOutcome>) {
        let now = Instant::now();
        let mut sent = self.sent.lock();
        let is_first = sent.by_id.get(&id).is_some_and(|message| {
            message.send_if_modified(|told| {
                let is_first = told.is_none();
                if is_first {
                    *told = Some(outcomes.into());
                }
                is_first
            })
        });
        if is_first {
            sent.read.push_back((now, id));
        }
        sent.forget(now, self.answered);
    }

    /// What became of one submission of a message; none where that is not known in time.
    pub async fn outcome(
        &self,
        id: MessageId,
        nth: usize,
        longest: Duration,
    ) -> Option<SubmissionOutcome> {
        let mut told = self.sent.lock().by_id.get(&id)?.subscribe();
        let applied = tokio::time::timeout(longest, told.wait_for(Option::is_some)).await;
        let outcomes = applied.ok()?.ok()?.clone()?;
        outcomes.get(nth).cloned()
    }
}

impl SentMessages {
    fn forget(&mut self, now: Instant, answered: Duration) {
        for (queue, longest) in [(&mut self.sent, REMEMBERED), (&mut self.read, answered)] {
            while let Some((at, id)) = queue.front()
                && now.saturating_duration_since(*at) > longest
            {
                self.by_id.remove(id);
                queue.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Outcome;

    fn done(new: u64) -> SubmissionOutcome {
        SubmissionOutcome::Done(Outcome { new, ..Outcome::default() })
    }

    fn is_new(outcome: Option<&SubmissionOutcome>) -> Option<u64> {
        match outcome {
            Some(SubmissionOutcome::Done(outcome)) => Some(outcome.new),
            _ => None,
        }
    }

    #[tokio::test]
    async fn each_submission_gets_its_own_outcome_before_or_after_it_asks() {
        let waiters = Waiters::new(Duration::ZERO);
        let long = Duration::from_mins(1);
        waiters.begin([1; 16]);
        let (early, ()) = tokio::join!(waiters.outcome([1; 16], 1, long), async {
            waiters.applied([1; 16], vec![done(5), done(7)]);
        });
        assert_eq!(is_new(early.as_ref()), Some(7));
        // The second time that it is read says nothing new of it.
        waiters.applied([1; 16], vec![done(0), done(0)]);
        assert_eq!(is_new(waiters.outcome([1; 16], 0, long).await.as_ref()), Some(5));
        assert!(waiters.outcome([1; 16], 2, long).await.is_none(), "it has two");
        // Of a message of another start nothing is known.
        waiters.applied([2; 16], vec![done(1)]);
        assert!(waiters.outcome([2; 16], 0, long).await.is_none());
        waiters.begin([3; 16]);
        assert!(waiters.outcome([3; 16], 0, Duration::ZERO).await.is_none(), "not in time");
    }

    #[test]
    fn what_was_read_is_forgotten_soon_and_what_was_not_later() {
        let waiters = Waiters::new(Duration::ZERO);
        waiters.begin([1; 16]);
        waiters.begin([2; 16]);
        waiters.applied([1; 16], vec![done(1)]);
        let mut sent = waiters.sent.lock();
        let after = |seconds| Instant::now() + Duration::from_secs(seconds);
        sent.forget(after(1), waiters.answered);
        assert_eq!(sent.by_id.len(), 2);
        sent.forget(after(3), waiters.answered);
        assert!(sent.by_id.contains_key(&[2; 16]) && sent.by_id.len() == 1);
        sent.forget(after(61), waiters.answered);
        assert!(sent.by_id.is_empty() && sent.sent.is_empty() && sent.read.is_empty());
    }
}
