//! Filler: messages that change nothing, for the sake of what stands before them in the files of the servers.
//!
//! Servers keep the bytes of a message that is gone until the whole file is gone in which it is, and that may take long where
//! little comes in. Filler is more than such a file has. Their own logs (Raft) they cut when so much has been written to
//! them as counts once it is compressed: filler is random.
//!
//! One node sees to it that the files are *turned over* in so short a time that what was deleted leaves the log within a day after
//! its messages were to go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{APPEND_TIMEOUT, Node, Running};
use crate::clock;
use crate::cluster::AppendError;
use crate::codec::{assemble, encode_submission};
use crate::random;
use crate::store::{Progress, StoreError, chain, without_effect};

/// Files of servers have 8 MiB at most, and their own logs are cut after 8 MiB.
pub(super) const FILLER_BYTES: usize = 20 * 1024 * 1024;
/// Bytes of one message of it.
const PIECE: usize = 240 * 1024;
/// How often a message of it is tried.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);
/// How long the files of servers may be the same.
const TURNED: Duration = Duration::from_hours(12);
/// The same after a start: since when they are the same is not known then.
const TURNED_FIRST: Duration = Duration::from_hours(1);
/// Filler takes the log's size divided by this at most.
const FILLER_SHARE: u64 = 4;
/// How often it is looked whether they are to be turned over.
const LOOK: Duration = Duration::from_mins(1);

/// How much was written to the log since its files were others.
#[derive(Debug)]
pub(super) struct Turnover {
    bytes: usize,
    /// They are to be others by then.
    by: Instant,
}

impl Turnover {
    pub fn new(now: Instant) -> Self {
        Self { bytes: 1, by: now + TURNED_FIRST }
    }

    /// A message of so many bytes was read.
    pub fn read(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes;
        if self.bytes >= FILLER_BYTES {
            *self = Self { bytes: 0, by: now + TURNED };
        }
    }

    /// How many bytes of filler are due; none where there is time, or nothing to be moved on.
    pub fn due(&self, now: Instant) -> Option<usize> {
        (self.bytes > 0 && now >= self.by).then(|| FILLER_BYTES.saturating_sub(self.bytes).max(1))
    }
}

/// Turns the files over where this is for this node to do, for as long as it runs.
pub(super) async fn turn(node: Arc<Node>, running: Arc<Running>) {
    loop {
        sleep(LOOK).await;
        let due = node.turnover.lock().due(Instant::now());
        let is_mine = node.is_first() && node.refusal().is_none() && node.has_room_for_filler();
        let Some(bytes) = due.filter(|_| is_mine) else { continue };
        match node.fill(&running, bytes, &mut |_| {}).await {
            Ok(seq) => tracing::info!(
                bytes,
                seq,
                "filler was written to the log, which has had little of late"
            ),
            Err(error) => {
                tracing::warn!(error = chain(&error), "filler cannot be written to the log");
            }
        }
    }
}

impl Node {
    /// Whether a log of that size keeps messages for as long as it should, though filler comes as often as can be.
    fn has_room_for_filler(&self) -> bool {
        let health = self.health.lock();
        let Some((bounds, _)) = &health.bounds else { return false };
        let times = bounds.max_age().as_secs() / TURNED.as_secs() + 1;
        let most = times.saturating_mul(FILLER_BYTES as u64).saturating_mul(FILLER_SHARE);
        bounds.max_bytes().is_none_or(|bytes| most <= bytes)
    }

    /// Puts so much filler into the log. Returns the number of its last message.
    pub(super) async fn fill(
        &self,
        running: &Running,
        bytes: usize,
        tell: &mut (impl FnMut(Progress) + ?Sized),
    ) -> Result<u64, StoreError> {
        let mut last = 0;
        for begin in (0..bytes).step_by(PIECE) {
            let (done, all) = (begin as u64, Some(bytes as u64));
            tell(Progress::bytes("filling the log".to_owned(), done, all));
            last = self.fill_one(running).await?;
        }
        running.wake(last);
        self.has_news.notify_one();
        Ok(last)
    }

    async fn fill_one(&self, running: &Running) -> Result<u64, StoreError> {
        let mut content = vec![0; PIECE];
        random::fill(&mut content).map_err(|error| StoreError::Failed(error.to_string()))?;
        let filler = encode_submission(&without_effect(content, clock::now()), self.writes());
        let filler = filler.map_err(|error| StoreError::Unreadable(chain(&error)))?;
        let id = *random::uuid().as_bytes();
        let message = bytes::Bytes::from(assemble(self.name.as_str(), id, &[filler]));
        let mut failed = AppendError::NoLeader;
        for _ in 0..TRIES {
            match running.log.append(message.clone(), APPEND_TIMEOUT).await {
                Ok(seq) => return Ok(seq),
                Err(error) if error.passes() => failed = error,
                Err(error) => return Err(StoreError::NoQuorum(chain(&error))),
            }
            sleep(PAUSE).await;
        }
        Err(StoreError::NoQuorum(chain(&failed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_turned_over_by_what_comes_or_else_by_filler_within_half_a_day() {
        let begun = Instant::now();
        let after = |hours| begun + Duration::from_hours(hours);
        let mut turnover = Turnover::new(begun);
        // What the servers have is not known after a start.
        assert_eq!(turnover.due(begun), None);
        assert_eq!(turnover.due(after(1)), Some(FILLER_BYTES - 1));
        turnover.read(FILLER_BYTES / 2, after(1));
        turnover.read(FILLER_BYTES / 2, after(2));
        assert_eq!((turnover.due(after(2)), turnover.due(after(20))), (None, None));
        turnover.read(1000, after(13));
        assert_eq!(turnover.due(after(13)), None);
        assert_eq!(turnover.due(after(14)), Some(FILLER_BYTES - 1000));
        // It is read back like all others, and by all nodes.
        turnover.read(FILLER_BYTES - 1000, after(14));
        assert_eq!(turnover.due(after(40)), None);
    }
}
