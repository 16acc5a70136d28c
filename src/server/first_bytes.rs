//! What a connection begins with: whoever came to the wrong port is told so, and so is the log.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::proxy_header::{LINE_START, SIGNATURE};
use super::socket::Unread;
use super::warnings::{Warning, Warnings};

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;
/// The first bytes of one: its record has a version 3 of SSL.
const TLS: &[u8] = &[HANDSHAKE, 3];
/// What HTTP/2 begins with, as far as it is looked at. A request of HTTP/1.1 cannot begin so.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nS";

/// Bytes of a line that is looked at on a TLS port.
const LINE_BYTES_MAX: usize = 512;
/// Bytes that are read, and how long, before a TLS port closes a connection on which it has
/// answered: one that is closed before all was read may lose the answer.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How a connection to a TLS port begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// It ended.
    Nothing,
    /// As TLS does, or as nothing else that is known.
    Tls,
    /// As text does, or a PROXY header.
    Plain,
}

/// Looks at the first byte, and takes nothing.
pub(super) async fn opening(unread: &Unread) -> io::Result<Opening> {
    let mut first = [0; 1];
    match unread.peek(&mut first).await {
        Ok(0) => return Ok(Opening::Nothing),
        // Health checks may end so.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            return Ok(Opening::Nothing);
        }
        peeked => peeked?,
    };
    let [first] = first;
    Ok(if first.is_ascii_alphabetic() || matches!(first, b'\r' | b'\n') {
        Opening::Plain
    } else {
        Opening::Tls
    })
}

/// Reads the first line of what is no TLS, and answers a request. Returns what is to be warned of.
pub(super) async fn answer_plain(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<Option<Warning>> {
    let mut line = Vec::new();
    while line.len() < LINE_BYTES_MAX && !(line.contains(&b'\n') && line.len() >= SIGNATURE.len()) {
        let mut part = [0; LINE_BYTES_MAX];
        let got = stream.read(&mut part).await?;
        line.extend_from_slice(part.get(..got).unwrap_or_default());
        if got == 0 {
            break;
        }
    }
    if line.starts_with(SIGNATURE) || line.starts_with(LINE_START) {
        return Ok(Some(Warning::ProxyHeader));
    }
    let text = String::from_utf8_lossy(&line);
    let Some(line) = text.lines().find(|line| !line.is_empty()) else { return Ok(None) };
    if !line.contains(" HTTP/") {
        return Ok(None);
    }
    let body = "this port speaks TLS: use https://\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let rest = async {
        let mut left = DRAIN_BYTES;
        let mut part = [0; LINE_BYTES_MAX];
        while let Ok(got @ 1..) = stream.read(&mut part).await {
            left = left.saturating_sub(got);
            if left == 0 {
                return;
            }
        }
    };
    let _in_time = tokio::time::timeout(DRAIN_TIME, rest).await;
    Ok(Some(Warning::Plain))
}

/// What is noticed in the first bytes of a connection that HTTP/1.1 is spoken on.
const NOTICED: [(&[u8], Warning); 4] = [
    (TLS, Warning::Tls),
    (LINE_START, Warning::ProxyHeader),
    (SIGNATURE, Warning::ProxyHeader),
    (HTTP2, Warning::Http2),
];

/// The first bytes of such a connection.
pub(super) struct FirstBytes {
    peer: SocketAddr,
    warnings: Warnings,
    /// How many were seen; none are looked at any more once nothing can be found.
    seen: usize,
    /// Whether they may still be each of [`NOTICED`].
    open: [bool; NOTICED.len()],
    found: Option<Warning>,
}

impl FirstBytes {
    /// Of a connection from there.
    pub fn new(peer: SocketAddr, warnings: Warnings) -> Self {
        Self { peer, warnings, seen: 0, open: [true; NOTICED.len()], found: None }
    }

    /// Looks at these, which come next. The last one that tells HTTP/2 is changed: hyper answers
    /// whatever else it cannot read, and closes on HTTP/2 without a word.
    pub fn look(&mut self, bytes: &mut [u8]) {
        if self.found.is_some() || self.open == [false; NOTICED.len()] {
            return;
        }
        for byte in bytes {
            for (open, (pattern, warning)) in self.open.iter_mut().zip(NOTICED) {
                *open &= pattern.get(self.seen) == Some(byte);
                if *open && pattern.len() == self.seen + 1 {
                    self.found = Some(warning);
                }
            }
            self.seen += 1;
            if let Some(warning) = self.found {
                if warning == Warning::Http2 {
                    *byte = b'-';
                }
                self.warnings.warn(warning, self.peer, "");
                return;
            }
        }
    }

    /// What was found.
    pub fn found(&self) -> Option<Warning> {
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8], piece: usize) -> (Option<Warning>, Vec<u8>) {
        let mut first = FirstBytes::new(SocketAddr::from(([127, 0, 0, 1], 1)), Warnings::default());
        let mut bytes = bytes.to_vec();
        bytes.chunks_mut(piece).for_each(|piece| first.look(piece));
        (first.found(), bytes)
    }

    #[test]
    fn what_came_is_known_however_it_is_cut() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for piece in 1..30 {
            for (bytes, warning) in [
                (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Warning::Tls)),
                (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Some(Warning::ProxyHeader)),
                (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Some(Warning::ProxyHeader)),
                (b"POST /v1/hooks/call-status HTTP/1.1\r\n", None),
                (b"PRI * HTTP/1.1\r\n\r\n", None),
                (b"\r\n\r\nGET / HTTP/1.1\r\n", None),
                (b"", None),
            ] {
                let (was, after) = found(bytes, piece);
                assert_eq!((was, after.as_slice()), (warning, bytes), "{piece}");
            }
            let (was, after) = found(preface, piece);
            assert_eq!(was, Some(Warning::Http2));
            assert_eq!(after, b"PRI * HTTP/2.0\r\n\r\n-M\r\n\r\n", "{piece}");
        }
    }
}
