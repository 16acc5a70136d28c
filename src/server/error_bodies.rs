//! Bodies for the errors that hyper answers by itself.
//!
//! A head that cannot be read never reaches the service: hyper answers 400, 414 or 431 with an
//! empty body. On its way out such an answer gets the body that every other error has.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::first_bytes::{FirstBytes, HTTP2_MSG, use_http_1_1};
use super::request_timer::RequestTimer;
use super::warnings::Warning;

/// Bytes that such an answer has at most.
const ANSWER_BYTES_MAX: usize = 256;

/// A connection on which hyper's own errors are explained, and on which it is noticed when something
/// comes.
pub(super) struct Explained<I> {
    inner: I,
    first: FirstBytes,
    timer: Arc<RequestTimer>,
    /// An answer that is to be written before anything else.
    pending: Vec<u8>,
    written: usize,
}

impl<I: AsyncWrite + Unpin> Explained<I> {
    pub fn new(inner: I, first: FirstBytes, timer: Arc<RequestTimer>) -> Self {
        Self { inner, first, timer, pending: Vec::new(), written: 0 }
    }

    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.pending.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.inner).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Explained<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let read = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if !read.is_empty() {
            self.timer.read();
            self.first.look(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Explained<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.drain(context))?;
        if let Some(answer) = explained(bytes, self.first.found()) {
            self.pending = answer;
            self.written = 0;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut full = slices.iter().filter(|slice| !slice.is_empty());
        if let (Some(only), None) = (full.next(), full.next()) {
            return self.poll_write(context, only);
        }
        ready!(self.drain(context))?;
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The answer with a body, where these bytes are one of hyper's: nothing but a head without one.
/// The service's own errors all have bodies.
fn explained(bytes: &[u8], began: Option<Warning>) -> Option<Vec<u8>> {
    if bytes.len() > ANSWER_BYTES_MAX || !bytes.starts_with(b"HTTP/1.") {
        return None;
    }
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let msg = match (head.get(8..13)?, began) {
        (" 400 ", Some(Warning::Http2)) => return Some(use_http_1_1(HTTP2_MSG)),
        (" 400 ", Some(Warning::Tls)) => "TLS came, and this port speaks plain HTTP: use http://",
        (" 400 ", Some(Warning::ProxyHeader)) => {
            "a header of the PROXY protocol came, and this listener does not expect one"
        }
        (" 400 ", _) => "the request's head cannot be read",
        (" 414 ", _) => "the request's path is too long",
        (" 431 ", _) => "the request's head is too large",
        _ => return None,
    };
    let place = lines.iter().position(|line| line.eq_ignore_ascii_case("content-length: 0"))?;
    let body = format!("{{\"msg\":\"{msg}\"}}");
    let length = format!("content-length: {}", body.len());
    if let Some(line) = lines.get_mut(place) {
        *line = &length;
    }
    lines.push("content-type: application/json; charset=utf-8");
    Some(format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_error_gets_a_body_and_nothing_else_is_touched() {
        let answer = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\
                       date: x\r\n\r\n";
        let text = String::from_utf8(explained(answer, None).unwrap()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "{\"msg\":\"the request's head is too large\"}");
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
        assert!(head.contains("date: x") && head.ends_with("charset=utf-8"), "{head}");
        for other in [
            &b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            b"[{\"call_sid\":\"x\"}]",
            b"",
        ] {
            assert_eq!(explained(other, None), None);
        }
    }
}
