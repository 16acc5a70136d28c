//! Closing idle connections while clients wait for one: those first that have been idle for longest.
//! Otherwise a client that opens all the connections there may be, and sends nothing or nothing whole,
//! keeps all others out.
//!
//! A connection with a request of an authenticated client is never closed. Any other one is idle even
//! while bytes come on it, except for a short time at the beginning of each request, in which the
//! client can authenticate.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::request_timer::InFlight;
use super::socket::{ResetOnClose, Unread};
use crate::http::Recognised;

/// How long a connection may be idle, however many wait.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// How long it may be when the first begins to wait.
const IDLE_FIRST: Duration = Duration::from_secs(16);
/// Whenever no connection was closed for so long, the time is halved.
pub(super) const STEP: Duration = Duration::from_millis(200);
/// How long an orderly end of a connection that leaves may take.
const GRACE: Duration = Duration::from_millis(500);

/// The side of the accept loop.
pub(super) struct IdleEviction {
    idle_max: watch::Sender<Duration>,
    next: Duration,
}

impl IdleEviction {
    pub fn new() -> Self {
        Self { idle_max: watch::Sender::new(Duration::MAX), next: IDLE_FIRST }
    }

    /// A client waits, and no connection was closed since the last time.
    pub fn raise(&mut self) {
        self.idle_max.send_replace(self.next);
        self.next = (self.next / 2).max(IDLE_MIN);
    }

    /// No client waits.
    pub fn release(&mut self) {
        self.next = IDLE_FIRST;
    }

    /// For one connection, which is idle until its first request.
    pub fn slot(&self) -> EvictionSlot {
        let times = Times { authenticated: Instant::now(), begun: None };
        let activity = Activity { recognised: Recognised::default(), times: Mutex::new(times) };
        EvictionSlot { idle_max: self.idle_max.subscribe(), activity: Arc::new(activity) }
    }
}

/// The side of one connection.
pub(super) struct EvictionSlot {
    idle_max: watch::Receiver<Duration>,
    pub activity: Arc<Activity>,
}

impl EvictionSlot {
    /// Ready once this connection is to leave. A request that has come and is not read yet is looked
    /// at first.
    pub async fn wanted(&mut self, unread: &Unread) {
        while self.idle_max.changed().await.is_ok() {
            let idle_max = *self.idle_max.borrow_and_update();
            let is_to_leave = || self.activity.idle().is_some_and(|idle| idle >= idle_max);
            if is_to_leave() {
                unread.settled().await;
                if is_to_leave() {
                    return;
                }
            }
        }
        std::future::pending::<()>().await;
    }

    /// Ready once the grace is over, if no request has come meanwhile.
    pub async fn overdue(&self) {
        loop {
            tokio::time::sleep(GRACE).await;
            if self.activity.idle().is_some() {
                return;
            }
        }
    }
}

pub(super) struct Activity {
    /// Whether the request that is being answered is of an authenticated client.
    pub recognised: Recognised,
    times: Mutex<Times>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    /// When the last authenticated request was over; at first, when the connection was opened.
    authenticated: Instant,
    /// Since when a request is being answered, down to the last byte that is made for it.
    begun: Option<Instant>,
}

impl Activity {
    /// For how long there was no authenticated request; none while there is one, or may be.
    fn idle(&self) -> Option<Duration> {
        let Times { authenticated, begun } = *self.times.lock();
        match begun {
            Some(_) if self.recognised.get() => None,
            Some(begun) if begun.elapsed() < IDLE_MIN => None,
            _ => Some(authenticated.elapsed()),
        }
    }

    /// A request has come, whose sender is not known yet.
    pub fn begin(self: &Arc<Self>) -> Running {
        let mut times = self.times.lock();
        self.recognised.set(false);
        times.begun = Some(Instant::now());
        Running(self.clone())
    }
}

/// A request that is being answered, until this is dropped.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut times = self.0.times.lock();
        times.begun = None;
        if self.0.recognised.get() {
            times.authenticated = Instant::now();
        }
    }
}

/// The body of an answer; its request runs for as long as it is there.
pub(super) struct TrackedBody<B> {
    body: Pin<Box<B>>,
    _running: (Running, InFlight),
    cut: Arc<ResetOnClose>,
    /// The last chunk says that it is whole.
    has_chunks: bool,
}

impl<B: Body> TrackedBody<B> {
    pub fn new(
        body: B,
        running: (Running, InFlight),
        cut: Arc<ResetOnClose>,
        has_chunks: bool,
    ) -> Self {
        if body.size_hint().exact().is_none() {
            cut.begin();
        }
        Self { body: Box::pin(body), _running: running, cut, has_chunks }
    }
}

impl<B: Body<Data = Bytes>> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = self.body.as_mut().poll_frame(context);
        if self.has_chunks && matches!(frame, Poll::Ready(None)) {
            self.cut.end();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some seconds ago.
    fn ago(seconds: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap()
    }

    async fn left(slot: &mut EvictionSlot) -> bool {
        tokio::time::timeout(Duration::ZERO, slot.wanted(&Unread::none())).await.is_ok()
    }

    #[tokio::test]
    async fn the_longest_idle_leave_first_and_who_is_busy_stays() {
        let mut pressure = IdleEviction::new();
        let mut slots = [0, 2, 17].map(|seconds| {
            let slot = pressure.slot();
            slot.activity.times.lock().authenticated = ago(seconds);
            slot
        });
        let mut busy = pressure.slot();
        busy.activity.times.lock().authenticated = ago(IDLE_FIRST.as_secs());
        let running = busy.activity.begin();
        busy.activity.recognised.set(true);
        busy.activity.times.lock().begun = Some(ago(5));
        let mut leave = Vec::new();
        for _ in 0..5 {
            pressure.raise();
            let mut count = 0;
            for slot in &mut slots {
                count += usize::from(left(slot).await);
            }
            assert!(!left(&mut busy).await);
            leave.push(count);
        }
        assert_eq!(leave, [1, 1, 1, 2, 2]);
        drop(running);
        pressure.raise();
        assert!(!left(&mut busy).await, "it has only just become idle");
        pressure.release();
        assert_eq!(pressure.next, IDLE_FIRST);
    }

    #[tokio::test]
    async fn a_request_of_nobody_known_is_no_reason_to_stay_and_renews_nothing() {
        let mut pressure = IdleEviction::new();
        let mut slot = pressure.slot();
        let under_pressure = async |pressure: &mut IdleEviction, slot: &mut EvictionSlot| {
            pressure.raise();
            left(slot).await
        };
        slot.activity.times.lock().authenticated = ago(20);
        let running = slot.activity.begin();
        assert!(!under_pressure(&mut pressure, &mut slot).await, "who it is may become known");
        slot.activity.times.lock().begun = Some(ago(2));
        assert!(under_pressure(&mut pressure, &mut slot).await, "the body never came");
        drop(running);
        assert!(under_pressure(&mut pressure, &mut slot).await, "nobody was there");
        let running = slot.activity.begin();
        slot.activity.recognised.set(true);
        slot.activity.times.lock().begun = Some(ago(2));
        assert!(!under_pressure(&mut pressure, &mut slot).await, "somebody is");
        drop(running);
        assert!(!under_pressure(&mut pressure, &mut slot).await, "somebody was just now");
    }
}
