//! The socket of a connection: whether its client is still there, and how it ends.
//!
//! **Cut answers are reset.** The end of an answer whose length was not said is the end of the
//! connection (HTTP/1.0), or a last chunk that a proxy on the way may supply. An answer that ends
//! before it is whole must not look so: its connection is closed by a reset, and without TLS's
//! closing message. That holds for an error, a time limit, a panic and the order to stop.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::http::{OtherEnd, Presence};

pub(super) struct Socket {
    stream: Arc<TcpStream>,
    cut: Arc<ResetOnClose>,
}

/// Whether the connection is to be reset when it ends.
#[derive(Debug, Default)]
pub(super) struct ResetOnClose(AtomicBool);

impl ResetOnClose {
    /// An answer is on its way whose length was not said.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// What was sent is whole.
    pub fn end(&self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Socket {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream: Arc::new(stream), cut: Arc::default() }
    }

    /// What is known of it while something else owns it.
    pub fn line(&self) -> Transport {
        let presence: Arc<dyn Presence> = self.stream.clone();
        let client = OtherEnd(Arc::downgrade(&presence));
        Transport { client, cut: self.cut.clone(), unread: Unread(Arc::downgrade(&self.stream)) }
    }
}

/// A socket that something else owns.
pub(super) struct Transport {
    /// Says whether the client is there, for as long as the connection lasts.
    pub client: OtherEnd,
    /// Says how it ends.
    pub cut: Arc<ResetOnClose>,
    pub unread: Unread,
}

/// Says what has come and is not read yet.
pub(super) struct Unread(Weak<TcpStream>);

/// How long what has come may take to be read.
const READ_TIME: Duration = Duration::from_millis(10);

impl Unread {
    /// Of no connection.
    #[cfg(test)]
    pub fn none() -> Self {
        Self(Weak::new())
    }

    /// Whether there is something, be it the end.
    pub fn any(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return false };
        let mut looked = [PollFd::new(&*stream, PollFlags::IN)];
        rustix::event::poll(&mut looked, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Waits for a moment where there is something: the reader may be about to take it.
    pub async fn settled(&self) {
        if self.any() {
            tokio::time::sleep(READ_TIME).await;
        }
    }

    /// The first bytes of what there is, or of what comes next; none at the end.
    pub async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0.upgrade() {
            Some(stream) => stream.peek(bytes).await,
            None => Ok(0),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.cut.0.load(Ordering::Acquire) {
            // Closing then discards what was not sent, and says so to the other side.
            let linger = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
            if let Err(error) = linger {
                tracing::debug!(%error, "a connection cannot be reset");
            }
        }
    }
}

impl Presence for TcpStream {
    fn has_left(&self) -> bool {
        let mut looked = [PollFd::new(self, PollFlags::RDHUP)];
        rustix::event::poll(&mut looked, Some(&Timespec::default())).is_ok_and(|left| left > 0)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.read_some(buffer.initialize_unfilled()) {
                Ok(length) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(std::net::Shutdown::Write))
    }
}

impl Socket {
    /// Reads what there is. Less than there is room for was all of it: the next read waits for more
    /// without asking the system, which says so once more has come. (What came between the read and this
    /// is not forgotten: only the readiness from before the read is taken away.)
    fn read_some(&self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut all = None;
        let read = self.stream.try_io(Interest::READABLE, || {
            let length = self.stream.try_read(bytes)?;
            if 0 < length && length < bytes.len() {
                all = Some(length);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(length)
        });
        all.map_or(read, Ok)
    }

    fn poll_written(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Socket) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Socket::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn what_comes_after_a_read_with_room_left_is_read_and_so_is_the_end() {
        let (mut client, mut socket) = pair().await;
        let mut bytes = [0; 16];
        for n in 0..200_u8 {
            client.write_all(&[n; 3]).await.unwrap();
            assert_eq!(socket.read(&mut bytes).await.unwrap(), 3);
            assert_eq!(bytes[..3], [n; 3]);
        }
        // More than there is room for, and the end right behind it.
        client.write_all(&[7; 20]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [7; 20]);
        assert_eq!(socket.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn readers_and_writers_at_once_lose_nothing() {
        let (client, mut socket) = pair().await;
        let (mut from, mut to) = client.into_split();
        let sent = tokio::spawn(async move {
            for n in 0..2000_u32 {
                // Some are written in the middle of a read of what came before.
                to.write_all(&n.to_be_bytes()).await.unwrap();
                if n % 7 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        });
        let heard = tokio::spawn(async move {
            let mut all = Vec::new();
            from.read_to_end(&mut all).await.unwrap();
            all.len()
        });
        let mut all = Vec::new();
        let mut bytes = [0; 64];
        loop {
            let length = socket.read(&mut bytes).await.unwrap();
            if length == 0 {
                break;
            }
            all.extend_from_slice(&bytes[..length]);
            socket.write_all(&bytes[..length]).await.unwrap();
        }
        let expected: Vec<u8> = (0..2000_u32).flat_map(u32::to_be_bytes).collect();
        assert_eq!(all, expected);
        drop(socket);
        sent.await.unwrap();
        assert_eq!(heard.await.unwrap(), expected.len());
    }
}
