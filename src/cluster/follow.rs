//! Reading the log on and on, from where it was applied, and only while it is the same log.
//!
//! **Checks.** Before the first message, and each minute, the log is compared with the last message that was handed on (`same.rs`).
//! Before messages are handed on, the message before them is looked at again, once a second. In between a log could be
//! replaced by an older copy of itself and grow past the position: not within a second, since each node takes nothing more
//! after the first acknowledgement that goes back. After such a one a leader that does not have what was acknowledged then is
//! not believed for a while.
//!
//! **Ahead.** So many batches may wait for the one who applies them; nothing more is read meanwhile.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

use super::log::{ApiError, Log, StoredMessage};
use super::read::ReadError;
use super::same::{Position, Sameness, message_crc};

/// Batches that wait to be applied: of 4 MiB each at most.
const BATCHES_AHEAD: usize = 4;
/// How long nothing is looked for, where no hint says that there is something.
const LOOK: Duration = Duration::from_millis(100);
/// The first pause where it is known that there is more: the replica that was asked may not have it yet. It doubles.
const LOOK_SOON: Duration = Duration::from_millis(2);
/// How old the last look at the message before may be.
const CHECKED: Duration = Duration::from_secs(1);
/// How old the last comparison may be.
const COMPARED: Duration = Duration::from_mins(1);
/// Pause after something that may pass.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause after something that somebody has to mend.
const LONG_PAUSE: Duration = Duration::from_secs(5);

/// How the reading goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Following {
    /// It was not compared yet.
    Starting,
    /// All that the log had when it was looked at last was handed on.
    Current,
    /// More follows.
    CatchingUp,
    /// Nobody answers.
    Away(ApiError),
    /// It is not the log that was applied, or does not have what comes next. Nothing is handed on.
    Stopped(Stopped),
}

/// Why nothing is handed on, until somebody has mended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    Differs(Sameness),
    Unreadable(ReadError),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs(Sameness::Behind { first }) => {
                write!(f, "the log begins with message {first}, later than what was applied here")
            }
            Self::Differs(Sameness::LostEnd { last }) => {
                write!(f, "the log ends with message {last}, before what was applied here")
            }
            Self::Differs(Sameness::OtherMessage) => {
                write!(
                    f,
                    "the log has another message where the last one stood that was applied here"
                )
            }
            Self::Differs(Sameness::OtherEpoch(Some(epoch))) => {
                write!(f, "the log is one of epoch {epoch}")
            }
            Self::Differs(Sameness::OtherEpoch(None)) => write!(f, "the log says no epoch"),
            Self::Differs(Sameness::Follows(epoch)) => {
                write!(f, "the log was made anew, as one of epoch {epoch}")
            }
            Self::Differs(Sameness::Gone) => write!(f, "the log is gone"),
            Self::Differs(Sameness::Same | Sameness::Adjoins) => write!(f, "nothing"),
            Self::Unreadable(error) => write!(f, "{error}"),
        }
    }
}

/// A task that reads; ends when this is dropped.
pub struct Follower {
    state: watch::Receiver<Following>,
    task: tokio::task::JoinHandle<()>,
    wake: Arc<Notify>,
    newest: Arc<AtomicU64>,
    doubted: Arc<AtomicBool>,
    handed_on: Arc<AtomicU64>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower {
    /// Reads what comes after the position that was applied, which `applied` says at any time. What is handed on
    /// is in order and without a gap, each message once.
    pub fn start(
        log: &Log,
        applied: watch::Receiver<Position>,
    ) -> (Self, mpsc::Receiver<Vec<StoredMessage>>) {
        let (out, messages) = mpsc::channel(BATCHES_AHEAD);
        let (say, state) = watch::channel(Following::Starting);
        let wake = Arc::new(Notify::new());
        let read = *applied.borrow();
        log.knows(read.seq);
        let newest = Arc::new(AtomicU64::new(read.seq));
        let doubted = Arc::new(AtomicBool::new(false));
        let handed_on = Arc::new(AtomicU64::new(read.seq));
        let work = Work {
            log: log.clone(),
            applied,
            out,
            say,
            wake: wake.clone(),
            newest: newest.clone(),
            read,
            doubted: doubted.clone(),
            handed_on: handed_on.clone(),
            compared: None,
        };
        (Self { state, task: tokio::spawn(work.run()), wake, newest, doubted, handed_on }, messages)
    }

    /// The log reaches so far, as a hint or an acknowledgement says.
    pub fn wake(&self, newest: u64) {
        self.newest.fetch_max(newest, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// The log is to be compared before anything more is read: it may have lost its end.
    pub fn compare_soon(&self) {
        self.doubted.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// The number of the last message that was handed on.
    pub fn handed_on(&self) -> u64 {
        self.handed_on.load(Ordering::Acquire)
    }

    /// Reads nothing more.
    pub fn stop(&self) {
        self.task.abort();
    }

    pub fn state(&self) -> watch::Receiver<Following> {
        self.state.clone()
    }
}

struct Work {
    log: Log,
    applied: watch::Receiver<Position>,
    out: mpsc::Sender<Vec<StoredMessage>>,
    say: watch::Sender<Following>,
    wake: Arc<Notify>,
    /// The log reaches at least so far, as others say.
    newest: Arc<AtomicU64>,
    /// Somebody has seen the log end too soon.
    doubted: Arc<AtomicBool>,
    /// The last message that was handed on, and its number for others.
    read: Position,
    handed_on: Arc<AtomicU64>,
    /// When the log was compared last, and when it was looked at.
    compared: Option<(Instant, Instant)>,
}

impl Work {
    async fn run(mut self) {
        let mut soon = LOOK_SOON;
        loop {
            match self.step().await {
                Ok(true) => soon = LOOK_SOON,
                Ok(false) => {
                    let is_known = self.read.seq < self.newest.load(Ordering::Acquire);
                    let woken = self.wake.notified();
                    let pause = if is_known { soon } else { LOOK };
                    let is_woken = tokio::time::timeout(pause, woken).await.is_ok();
                    soon = if is_woken || !is_known { LOOK_SOON } else { (2 * soon).min(LOOK) };
                }
                Err(End) => return,
            }
        }
    }

    /// Hands on what there is; false where there is nothing more for now.
    async fn step(&mut self) -> Result<bool, End> {
        if self.doubted.swap(false, Ordering::AcqRel) || self.log.has_gone_back() {
            self.compared = None;
        }
        if self.compared.is_none_or(|(at, _)| at.elapsed() >= COMPARED) {
            match self.log.learn_what_was_lost(true).await {
                // The comparison says why it is refused.
                Ok(_) | Err(ApiError::Refused { .. }) => {}
                Err(error) => return self.away(error).await,
            }
            match self.log.compare(&self.position()).await {
                Ok(Sameness::Same | Sameness::Adjoins) => {
                    // Of what is there by now a replica that was away may have other messages under the same numbers.
                    match self.log.bounds().await {
                        Ok(bounds) if bounds.last > self.read.seq => {
                            self.log.doubt(self.read.seq + 1..=bounds.last);
                        }
                        Ok(_) => {}
                        Err(error) => return self.away(error).await,
                    }
                    self.compared = Some((Instant::now(), Instant::now()));
                }
                Ok(other) => return self.stop(Stopped::Differs(other)).await,
                Err(error) => return self.away(error).await,
            }
        }
        let messages = match self.log.read_after(self.read.seq).await {
            Ok(messages) => messages,
            Err(ReadError::Api(error)) => return self.away(error).await,
            Err(error) => return self.stop(Stopped::Unreadable(error)).await,
        };
        let Some(last) = messages.last().map(|message| Position {
            seq: message.seq,
            crc: message_crc(&message.bytes),
            ..self.read
        }) else {
            self.tell(Following::Current);
            return Ok(false);
        };
        if !self.still_fits().await {
            // What was read is not handed on, and is read again if it is right.
            self.compared = None;
            return Ok(true);
        }
        self.say.send_if_modified(|state| {
            let is_new = *state != Following::Current && *state != Following::CatchingUp;
            if is_new {
                *state = Following::CatchingUp;
            }
            is_new
        });
        self.out.send(messages).await.map_err(|_| End)?;
        self.handed_on.store(last.seq, Ordering::Release);
        self.read = last;
        Ok(true)
    }

    /// Where what comes next has to follow: what was handed on may not be applied yet. (What was applied may have been
    /// read once more, of a replica that has it right.)
    fn position(&self) -> Position {
        let applied = *self.applied.borrow();
        if applied.seq >= self.read.seq { applied } else { self.read }
    }

    /// Whether the last message that was handed on is still where it was; asked once a second.
    async fn still_fits(&mut self) -> bool {
        let Some((compared, looked)) = self.compared else { return false };
        if looked.elapsed() < CHECKED {
            return true;
        }
        if !matches!(self.log.learn_what_was_lost(false).await, Ok(false)) {
            return false;
        }
        let position = self.position();
        let fits = match self.log.message_at(position.seq).await {
            Ok(Some(message)) => message_crc(&message.bytes) == position.crc,
            // It may have been trimmed: the comparison says.
            Ok(None) | Err(_) => false,
        };
        if fits {
            self.compared = Some((compared, Instant::now()));
        }
        fits
    }

    async fn away(&mut self, error: ApiError) -> Result<bool, End> {
        self.compared = None;
        self.tell(Following::Away(error));
        tokio::time::sleep(PAUSE).await;
        if self.out.is_closed() { Err(End) } else { Ok(true) }
    }

    async fn stop(&mut self, why: Stopped) -> Result<bool, End> {
        self.compared = None;
        self.tell(Following::Stopped(why));
        tokio::time::sleep(LONG_PAUSE).await;
        if self.out.is_closed() { Err(End) } else { Ok(true) }
    }

    fn tell(&self, state: Following) {
        self.say.send_if_modified(|said| {
            let is_new = *said != state;
            *said = state;
            is_new
        });
    }
}

/// Nobody takes what is read any more.
struct End;
