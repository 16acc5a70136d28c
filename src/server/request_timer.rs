//! How long a connection waits for a request: for its first byte while it is idle, and from then on
//! for the rest of its head. The two differ: proxies keep connections open to be used again, and
//! the side that closes first loses what the other one sends at that moment.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::socket::Unread;

pub(super) struct RequestTimer {
    header: Duration,
    idle: Duration,
    phase: Mutex<Phase>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request, until then.
    Idle(Instant),
    /// The rest of a head, or the first head of all, until then.
    Head(Instant),
    /// The end of an answer.
    Answering,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nothing has come.
    Idle,
    /// A head is not whole.
    Head,
}

impl RequestTimer {
    /// Begins with the time for the first head.
    pub fn new(header: Duration, idle: Duration) -> Self {
        let phase = Mutex::new(Phase::Head(Instant::now() + header));
        Self { header, idle, phase }
    }

    /// Bytes have come.
    pub fn read(&self) {
        let mut phase = self.phase.lock();
        if let Phase::Idle(_) = *phase {
            *phase = Phase::Head(Instant::now() + self.header);
        }
    }

    /// A request has come; what it returns lives until it is answered.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        *self.phase.lock() = Phase::Answering;
        InFlight(self.clone())
    }

    /// Ready once a time is over. An idle connection on which something has come that is not read
    /// yet is idle no more.
    pub async fn over(&self, unread: &Unread) -> Expired {
        // No time that begins after a look is over sooner than that.
        let step = self.header.min(self.idle);
        loop {
            let now = Instant::now();
            let phase = *self.phase.lock();
            let over = match phase {
                Phase::Idle(until) if until <= now => Some(Expired::Idle),
                Phase::Head(until) if until <= now => Some(Expired::Head),
                Phase::Idle(until) | Phase::Head(until) => {
                    tokio::time::sleep_until(until.min(now + step)).await;
                    None
                }
                Phase::Answering => {
                    tokio::time::sleep_until(now + step).await;
                    None
                }
            };
            match over {
                Some(Expired::Idle) if unread.any() => unread.settled().await,
                Some(over) => return over,
                None => {}
            }
        }
    }
}

/// A request that is being answered, until this is dropped.
pub(super) struct InFlight(Arc<RequestTimer>);

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.0.phase.lock() = Phase::Idle(Instant::now() + self.0.idle);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::super::socket::Socket;
    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_request_that_has_come_and_is_not_read_yet_keeps_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Socket::new(listener.accept().await.unwrap().0);
        let unread = socket.line().unread;
        let timer = Arc::new(RequestTimer::new(LONG, SHORT));
        drop(timer.begin());
        assert_eq!(timer.over(&unread).await, Expired::Idle);

        client.write_all(b"POST").await.unwrap();
        assert_eq!(unread.peek(&mut [0; 4]).await.unwrap(), 4);
        drop(timer.begin());
        assert!(
            tokio::time::timeout(Duration::from_millis(50), timer.over(&unread)).await.is_err()
        );
        // It is read: from now on there is time for its head.
        timer.read();
        assert!(
            tokio::time::timeout(Duration::from_millis(50), timer.over(&unread)).await.is_err()
        );
    }

    #[tokio::test]
    async fn a_head_has_its_time_from_its_first_byte_and_the_first_one_from_the_beginning() {
        let timer = Arc::new(RequestTimer::new(SHORT, LONG));
        assert_eq!(timer.over(&Unread::none()).await, Expired::Head);
        let answered = timer.begin();
        assert!(tokio::time::timeout(SHORT * 20, timer.over(&Unread::none())).await.is_err());
        drop(answered);
        assert!(tokio::time::timeout(SHORT * 20, timer.over(&Unread::none())).await.is_err());
        timer.read();
        assert_eq!(timer.over(&Unread::none()).await, Expired::Head);
    }
}
