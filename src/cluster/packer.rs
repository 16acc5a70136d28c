//! Group commit before the log: what waits goes into one message, of which a few are under way at a time.
//!
//! A submission is never cut: it is in one message whole, and so is applied whole. Order between messages that are under
//! way is free, since the merge of calls does not depend on it.
//!
//! **Not kept.** What must not come into the log later than its sender believes, such as a change of a token, is never
//! kept. It shares no message with what may be. Nor is it sent again where it may be in the log already: a server that hangs
//! may deliver what it was given long after, and what has been changed back meanwhile would be changed once more.
//!
//! **Without a quorum.** A message is tried until `hold` is over since the oldest submission in it came. Then it is
//! *kept*, where there is somebody who keeps, and acknowledged by that; else its senders are refused. Once one message
//! has failed so, those after it are kept or refused at once, until [`Packer::recovered`] says that a kept one, or a
//! probe, has got through: no sender waits for a log that is known to be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::log::{AppendError, Log};

/// Bytes of what is packed into one message: what the servers sync at once. One submission may be larger.
pub(super) const PACKED_BYTES: usize = 256 * 1024;
/// Messages that are under way at a time.
const IN_FLIGHT: usize = 4;
/// How long an acknowledgement is waited for before the message is sent again.
const ACK_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause before a message is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Makes one message of submissions.
pub type Assemble = Arc<dyn Fn(&[Bytes]) -> Bytes + Send + Sync>;

/// A message that is to be written to this machine's disk, and how that went.
pub struct KeepRequest {
    pub message: Bytes,
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// How submissions are packed.
pub struct PackerOptions {
    /// How long a message is tried.
    pub hold: Duration,
    /// Bytes of submissions that may wait.
    pub queue_bytes: usize,
    pub assemble: Assemble,
    /// Who keeps messages while there is no quorum; none where they are refused.
    pub keep: Option<mpsc::Sender<KeepRequest>>,
}

/// Where a submission is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// In the log.
    Logged {
        /// The number of the message.
        seq: u64,
        /// The message itself.
        message: Bytes,
        /// Which of its submissions it is.
        nth: usize,
    },
    /// On the disk of this machine alone.
    Kept,
}

/// Why a submission is nowhere that would be safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("too much waits for the log already")]
    Busy,
    #[error("the log takes nothing: {0}")]
    Unavailable(Arc<AppendError>),
    #[error("the log takes nothing ({log}), and it cannot be kept: {why}")]
    NotKept { log: Arc<AppendError>, why: String },
    #[error("the server is closing")]
    Closing,
}

struct Waiting {
    bytes: Bytes,
    may_be_kept: bool,
    since: Instant,
    reply: oneshot::Sender<Result<Placed, PlaceError>>,
    _space: OwnedSemaphorePermit,
}

/// Takes submissions. Cheap to copy; ends when the last copy is dropped.
#[derive(Clone)]
pub struct Packer {
    queue: mpsc::UnboundedSender<Waiting>,
    space: Arc<Semaphore>,
    space_bytes: usize,
    away: Arc<AtomicBool>,
}

impl Packer {
    /// Starts packing, as a task of the runtime.
    pub fn start(log: Log, options: PackerOptions) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        let space_bytes = options.queue_bytes.clamp(1, Semaphore::MAX_PERMITS);
        let away = Arc::new(AtomicBool::new(false));
        let packer =
            Self { queue, space: Arc::new(Semaphore::new(space_bytes)), space_bytes, away };
        let work = Work {
            log,
            hold: options.hold,
            assemble: options.assemble,
            keep: options.keep,
            away: packer.away.clone(),
        };
        tokio::spawn(run(Arc::new(work), waiting));
        packer
    }

    /// Hands a submission over and waits until it is safe.
    pub async fn place(&self, bytes: Bytes) -> Result<Placed, PlaceError> {
        self.hand_over(bytes, true).await
    }

    /// The same of one that is never kept: it is in the log, or refused. (One that is refused may be in the log all
    /// the same, or come there: [`AppendError::may_be_there`].)
    pub async fn place_or_refuse(&self, bytes: Bytes) -> Result<Placed, PlaceError> {
        self.hand_over(bytes, false).await
    }

    async fn hand_over(&self, bytes: Bytes, may_be_kept: bool) -> Result<Placed, PlaceError> {
        let weight = bytes.len().clamp(1, self.space_bytes);
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let space = self.space.clone().try_acquire_many_owned(weight);
        let space = space.map_err(|_| PlaceError::Busy)?;
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting { bytes, may_be_kept, since: Instant::now(), reply, _space: space };
        self.queue.send(waiting).map_err(|_| PlaceError::Closing)?;
        answer.await.unwrap_or(Err(PlaceError::Closing))
    }

    /// Returns once nothing more is packed, which is never as long as all is well.
    pub async fn ended(&self) {
        self.queue.closed().await;
    }

    /// The log is known to be away.
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// It takes messages again.
    pub fn recovered(&self) {
        self.away.store(false, Ordering::Release);
    }
}

struct Work {
    log: Log,
    hold: Duration,
    assemble: Assemble,
    keep: Option<mpsc::Sender<KeepRequest>>,
    away: Arc<AtomicBool>,
}

async fn run(work: Arc<Work>, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut carried = None;
    loop {
        let first = match carried.take() {
            Some(first) => first,
            None => match queue.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        // What comes while all that may be under way is under way goes into the same message. One who has waited for
        // too long goes past those.
        let left = work.hold.saturating_sub(first.since.elapsed());
        let turn = tokio::time::timeout(left, in_flight.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok);
        let (mut bytes, may_be_kept) = (first.bytes.len(), first.may_be_kept);
        let mut group = vec![first];
        while let Ok(next) = queue.try_recv() {
            if bytes + next.bytes.len() > PACKED_BYTES || next.may_be_kept != may_be_kept {
                carried = Some(next);
                break;
            }
            bytes += next.bytes.len();
            group.push(next);
        }
        let work = work.clone();
        tokio::spawn(async move {
            work.place(group, may_be_kept).await;
            drop(turn);
        });
    }
}

impl Work {
    async fn place(&self, group: Vec<Waiting>, may_be_kept: bool) {
        let since = group.iter().map(|waiting| waiting.since).min().unwrap_or_else(Instant::now);
        let parts: Vec<Bytes> = group.iter().map(|waiting| waiting.bytes.clone()).collect();
        let message = (self.assemble)(&parts);
        let keep = self.keep.as_ref().filter(|_| may_be_kept);
        let placed = match self.append(&message, since, keep.is_some(), may_be_kept).await {
            Ok(seq) => Ok(seq),
            Err(error) if error.passes() => {
                self.away.store(true, Ordering::Release);
                let error = Arc::new(error);
                Err(match keep {
                    Some(keep) => kept(keep, message.clone(), error).await,
                    None => Err(PlaceError::Unavailable(error)),
                })
            }
            Err(error) => Err(Err(PlaceError::Unavailable(Arc::new(error)))),
        };
        for (nth, waiting) in group.into_iter().enumerate() {
            let placed = match &placed {
                Ok(seq) => Ok(Placed::Logged { seq: *seq, message: message.clone(), nth }),
                Err(other) => other.clone(),
            };
            let _gone = waiting.reply.send(placed);
        }
    }

    async fn append(
        &self,
        message: &Bytes,
        since: Instant,
        is_kept: bool,
        may_be_sent_again: bool,
    ) -> Result<u64, AppendError> {
        // What is not kept is tried once, whatever is known of the log: its sender has no other way.
        let mut error = AppendError::NoLeader;
        let mut is_first = !is_kept || !self.away.load(Ordering::Acquire);
        loop {
            let left = self.hold.saturating_sub(since.elapsed());
            if !is_first && (left.is_zero() || self.away.load(Ordering::Acquire)) {
                return Err(error);
            }
            is_first = false;
            let longest = left.max(RETRY_PAUSE);
            let longest = if may_be_sent_again { longest.min(ACK_TIMEOUT) } else { longest };
            match self.log.append(message.clone(), longest).await {
                Ok(seq) => {
                    self.away.store(false, Ordering::Release);
                    return Ok(seq);
                }
                Err(failed) if !failed.passes() => return Err(failed),
                Err(failed) if failed.may_be_there() && !may_be_sent_again => return Err(failed),
                Err(failed) => error = failed,
            }
            tokio::time::sleep(RETRY_PAUSE.min(self.hold.saturating_sub(since.elapsed()))).await;
        }
    }
}

/// Has a message written to this machine's disk.
async fn kept(
    keep: &mpsc::Sender<KeepRequest>,
    message: Bytes,
    log: Arc<AppendError>,
) -> Result<Placed, PlaceError> {
    let (reply, answer) = oneshot::channel();
    let answer = match keep.send(KeepRequest { message, reply }).await {
        Ok(()) => answer.await.unwrap_or_else(|_| Err("who keeps has ended".to_owned())),
        Err(_) => Err("who keeps has ended".to_owned()),
    };
    match answer {
        Ok(()) => Ok(Placed::Kept),
        Err(why) => Err(PlaceError::NotKept { log, why }),
    }
}
