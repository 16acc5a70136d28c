//! The threads of a store: how they are started, asked and answered, and what becomes of those who
//! wait when one dies.
//!
//! Each thread has one channel of messages. One that is to be answered carries a [`ReplySender`], which
//! answers by itself when it is dropped. So a thread that has died is an error for all who wait
//! for it, and never a wait: what it was at is dropped as it unwinds, and what is still in its channel
//! once it is known why it died.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::StoreError;

/// How far a long piece of work has come.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// Units done.
    pub done: u64,
    /// Units in all, where that is known.
    pub total: Option<u64>,
    /// What they are.
    #[serde(default)]
    pub unit: Unit,
}

/// What progress is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Unit {
    /// Calls, records or rounds.
    #[default]
    Steps,
    Bytes,
}

impl Progress {
    /// So many steps of so many.
    pub fn steps(what: impl Into<String>, done: u64, total: Option<u64>) -> Self {
        Self { what: what.into(), done, total, unit: Unit::Steps }
    }

    /// So many bytes of so many.
    pub fn bytes(what: impl Into<String>, done: u64, total: Option<u64>) -> Self {
        Self { what: what.into(), done, total, unit: Unit::Bytes }
    }
}

/// Whether the store goes on.
pub(super) struct Health {
    /// Set once the journal or a thread has failed: nothing more is taken and the process should end.
    pub failed: watch::Sender<Option<String>>,
    /// The store closes: work that takes long ends early.
    pub closing: AtomicBool,
    /// The thread that is to panic.
    #[cfg(test)]
    pub doomed: parking_lot::Mutex<Option<&'static str>>,
}

impl Health {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            failed: watch::Sender::new(None),
            closing: AtomicBool::new(false),
            #[cfg(test)]
            doomed: parking_lot::Mutex::new(None),
        })
    }

    /// An error where the store has failed for good.
    pub fn lives(&self) -> Result<(), StoreError> {
        self.failed.borrow().clone().map_or(Ok(()), |reason| Err(StoreError::Failed(reason)))
    }

    /// Why a thread does not answer any more.
    pub fn gone(&self) -> StoreError {
        self.lives().err().unwrap_or(StoreError::Closing)
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub fn journal_failed(&self, reason: &str) {
        tracing::error!(%reason, "the journal has failed; nothing more is acknowledged");
        self.failed.send_replace(Some(reason.to_owned()));
    }

    /// A message of the replicated log cannot be applied: this store would be another than those of all other nodes.
    pub fn log_failed(&self, reason: &str) {
        tracing::error!(%reason, "nothing more is applied or acknowledged");
        self.failed.send_replace(Some(reason.to_owned()));
    }

    /// A thread of the store, or a task that it needs, has died. No other does its work, so that this is the end of the
    /// store.
    pub fn died(&self, thread: &str, panic: &str) {
        tracing::error!(
            thread,
            panic,
            "a thread or a task has died that nothing goes on without; nothing more is acknowledged"
        );
        self.failed.send_replace(Some(format!("the {thread} panicked: {panic}")));
    }

    /// Panics where a test has chosen this thread.
    #[cfg(test)]
    pub fn strike(&self, thread: &str) {
        let doomed = self.doomed.lock().take_if(|doomed| *doomed == thread);
        assert!(doomed.is_none(), "{thread} was struck");
    }
}

/// Runs a thread of the store; its panic is the store's end. What it is given, its channel, lives until
/// that is known: a caller that finds the channel closed finds out why.
pub(super) fn start<G: Send + 'static>(
    health: Arc<Health>,
    name: &'static str,
    given: G,
    work: impl FnOnce(&G) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(&given))) {
            health.died(name, said(&*panic));
        }
    })
}

/// What a panic says.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Where messages for a thread go.
pub(super) struct Inbox<M> {
    to: Sender<M>,
    health: Arc<Health>,
    /// The thread that answers.
    thread: &'static str,
}

/// What a thread says to one who waits.
enum Report<T> {
    Progress(Progress),
    Done(Result<T, StoreError>),
}

enum ReplyTo<T> {
    /// A thread that may block.
    Thread(Sender<Report<T>>),
    Task(oneshot::Sender<Result<T, StoreError>>),
}

/// Where an answer goes. One that is dropped unsent answers that the store closes or has failed.
pub(super) struct ReplySender<T> {
    to: Option<ReplyTo<T>>,
    health: Arc<Health>,
    thread: &'static str,
}

/// An answer that has not come yet.
pub(super) struct Answer<T> {
    from: Receiver<Report<T>>,
    health: Arc<Health>,
}

impl<M> Inbox<M> {
    pub fn new(thread: &'static str, health: &Arc<Health>) -> (Self, Receiver<M>) {
        let (to, messages) = mpsc::channel();
        (Self { to, health: health.clone(), thread }, messages)
    }

    /// An error where the store has failed for good.
    pub fn lives(&self) -> Result<(), StoreError> {
        self.health.lives()
    }

    /// Leaves a message.
    ///
    /// # Errors
    /// The thread has ended: the store closes, or has failed.
    pub fn send(&self, message: M) -> Result<(), StoreError> {
        self.to.send(message).map_err(|_| self.health.gone())
    }

    /// Asks for something, and waits until it is done.
    pub fn ask<T>(&self, message: impl FnOnce(ReplySender<T>) -> M) -> Result<T, StoreError> {
        self.ask_telling(message, &mut |_| {})
    }

    /// The same, and says how far it is.
    pub fn ask_telling<T>(
        &self,
        message: impl FnOnce(ReplySender<T>) -> M,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<T, StoreError> {
        let done = self.begin(message)?.wait(None, progress);
        done.unwrap_or_else(|| Err(self.health.gone()))
    }

    /// Asks for something.
    pub fn begin<T>(
        &self,
        message: impl FnOnce(ReplySender<T>) -> M,
    ) -> Result<Answer<T>, StoreError> {
        let (to, from) = mpsc::channel();
        self.send(message(self.reply(ReplyTo::Thread(to))))?;
        Ok(Answer { from, health: self.health.clone() })
    }

    /// The sending end of an answer to a task.
    pub fn reply_to_task<T>(&self) -> (ReplySender<T>, oneshot::Receiver<Result<T, StoreError>>) {
        let (to, from) = oneshot::channel();
        (self.reply(ReplyTo::Task(to)), from)
    }

    fn reply<T>(&self, to: ReplyTo<T>) -> ReplySender<T> {
        ReplySender { to: Some(to), health: self.health.clone(), thread: self.thread }
    }
}

impl<T> Answer<T> {
    /// Waits for the answer, until a time where there is one; none where it has not come by then.
    pub fn wait(
        self,
        until: Option<Instant>,
        progress: &mut dyn FnMut(Progress),
    ) -> Option<Result<T, StoreError>> {
        loop {
            let report = match until {
                None => self.from.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    self.from.recv_timeout(left)
                }
            };
            match report {
                Ok(Report::Progress(step)) => progress(step),
                Ok(Report::Done(done)) => return Some(done),
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(Err(self.health.gone())),
            }
        }
    }
}

impl<T> ReplySender<T> {
    pub fn send(mut self, done: Result<T, StoreError>) {
        self.answer(done);
    }

    /// Says how far it is.
    pub fn tell(&self, step: Progress) {
        if let Some(ReplyTo::Thread(to)) = &self.to {
            let _gone = to.send(Report::Progress(step));
        }
    }

    fn answer(&mut self, done: Result<T, StoreError>) {
        match self.to.take() {
            Some(ReplyTo::Thread(to)) => {
                let _gone = to.send(Report::Done(done));
            }
            Some(ReplyTo::Task(to)) => {
                let _gone = to.send(done);
            }
            None => {}
        }
    }
}

impl<T> Drop for ReplySender<T> {
    fn drop(&mut self) {
        if self.to.is_some() {
            let error = match self.health.gone() {
                // Its reason is not known yet.
                StoreError::Closing if std::thread::panicking() => {
                    StoreError::Failed(format!("the {} panicked", self.thread))
                }
                error => error,
            };
            self.answer(Err(error));
        }
    }
}
