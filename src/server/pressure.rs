//! What becomes of idle connections while others wait for a place: they leave, those first that
//! have been idle for longest. Else whoever opens as many as there may be, and says nothing on
//! them, keeps everybody else out. A connection with a request on it never leaves.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::socket::Cut;

/// How long a connection may be idle, however many wait.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// How long it may be when the first begins to wait.
const IDLE_FIRST: Duration = Duration::from_secs(16);
/// Whenever nobody has left for so long, the time is halved.
pub(super) const STEP: Duration = Duration::from_millis(200);
/// How long an orderly end of a connection that leaves may take.
const GRACE: Duration = Duration::from_millis(500);

/// The side of the accept loop.
pub(super) struct Pressure {
    idle_max: watch::Sender<Duration>,
    next: Duration,
}

impl Pressure {
    pub fn new() -> Self {
        Self { idle_max: watch::Sender::new(Duration::MAX), next: IDLE_FIRST }
    }

    /// Somebody waits, and nobody has left since the last time.
    pub fn raise(&mut self) {
        self.idle_max.send_replace(self.next);
        self.next = (self.next / 2).max(IDLE_MIN);
    }

    /// Nobody waits.
    pub fn release(&mut self) {
        self.next = IDLE_FIRST;
    }

    /// For one connection, which is idle until its first request.
    pub fn place(&self) -> Place {
        let activity =
            Activity { running: AtomicBool::new(false), since: Mutex::new(Instant::now()) };
        Place { idle_max: self.idle_max.subscribe(), activity: Arc::new(activity) }
    }
}

/// The side of one connection.
pub(super) struct Place {
    idle_max: watch::Receiver<Duration>,
    pub activity: Arc<Activity>,
}

impl Place {
    /// Ready once this connection is to leave.
    pub async fn wanted(&mut self) {
        while self.idle_max.changed().await.is_ok() {
            let idle_max = *self.idle_max.borrow_and_update();
            if self.activity.idle().is_some_and(|idle| idle >= idle_max) {
                return;
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

/// What a connection is doing.
pub(super) struct Activity {
    /// A request is being answered, down to the last byte that is made for it.
    running: AtomicBool,
    /// Since when none is.
    since: Mutex<Instant>,
}

impl Activity {
    fn idle(&self) -> Option<Duration> {
        let running = self.running.load(Ordering::Acquire);
        (!running).then(|| self.since.lock().elapsed())
    }

    /// A request has come.
    pub fn begin(self: &Arc<Self>) -> Running {
        self.running.store(true, Ordering::Release);
        Running(self.clone())
    }
}

/// A request that is being answered, until this is dropped.
pub(super) struct Running(Arc<Activity>);

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.since.lock() = Instant::now();
        self.0.running.store(false, Ordering::Release);
    }
}

/// The body of an answer; its request runs for as long as it is there.
pub(super) struct Answering<B> {
    body: Pin<Box<B>>,
    _running: Running,
    cut: Arc<Cut>,
    /// The last chunk says that it is whole.
    has_chunks: bool,
}

impl<B: Body> Answering<B> {
    pub fn new(body: B, running: Running, cut: Arc<Cut>, has_chunks: bool) -> Self {
        if body.size_hint().exact().is_none() {
            cut.begin();
        }
        Self { body: Box::pin(body), _running: running, cut, has_chunks }
    }
}

impl<B: Body<Data = Bytes>> Body for Answering<B> {
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

    #[tokio::test]
    async fn the_longest_idle_leave_first_and_who_is_busy_stays() {
        let mut pressure = Pressure::new();
        let mut places = [0, 2, 17].map(|seconds| {
            let place = pressure.place();
            let since = Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
            *place.activity.since.lock() = since;
            place
        });
        let mut busy = pressure.place();
        *busy.activity.since.lock() = Instant::now().checked_sub(IDLE_FIRST).unwrap();
        let running = busy.activity.begin();
        let left = async |place: &mut Place| {
            tokio::time::timeout(Duration::ZERO, place.wanted()).await.is_ok()
        };
        let mut leave = Vec::new();
        for _ in 0..5 {
            pressure.raise();
            let mut count = 0;
            for place in &mut places {
                count += usize::from(left(place).await);
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
}
