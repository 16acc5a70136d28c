//! The first bytes of a connection: a client on the wrong port gets an error that says so, and the log
//! too.

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

/// The answer to clients that speak HTTP/2: on any listener, and in the clear on one of TLS.
pub(super) const HTTP2_MSG: &str = "HTTP/2 is not spoken here: use HTTP/1.1";
const PLAIN_HTTP2_MSG: &str = "this port speaks TLS and HTTP/1.1: use https:// and HTTP/1.1";
/// Of HTTP/2 (RFC 9113): the kinds of two frames, and the reason for the second.
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const HTTP_1_1_REQUIRED: u32 = 0xd;

/// Bytes of a line that is looked at on a TLS port.
const LINE_BYTES_MAX: usize = 512;
/// Bytes that are read, and how long, before a TLS port closes a connection on which it has
/// answered: one that is closed before all was read may lose the answer.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// How a connection to a TLS port begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Nothing,
    /// As TLS does.
    Tls,
    /// As text does, or a PROXY header.
    Plain,
    /// As something else does: what, for people.
    Other(&'static str),
}

/// What speaks so, by the first bytes, whose first one is neither a letter nor that of TLS.
fn speaker(bytes: &[u8]) -> &'static str {
    match bytes {
        [3, 0, ..] => "RDP",
        [4 | 5, ..] => "SOCKS",
        [0, 0, 0, 8, ..] => "PostgreSQL",
        [0x80..=0xff, _, 1, ..] => "SSL 2",
        _ => "bytes that begin nothing known",
    }
}

/// The same by the first line.
fn speaker_of(line: &str) -> &'static str {
    let begins = |words: &[&str]| {
        let begin =
            |word: &&str| line.get(..word.len()).is_some_and(|l| l.eq_ignore_ascii_case(word));
        words.iter().any(begin)
    };
    if begins(&["SSH-"]) {
        "SSH"
    } else if begins(&["EHLO ", "HELO ", "LHLO "]) {
        "SMTP"
    } else {
        "text"
    }
}

/// Says in HTTP/2 that HTTP/1.1 is to be used: a client of it reads nothing else.
pub(super) fn use_http_1_1(msg: &str) -> Vec<u8> {
    let mut frames = frame(SETTINGS, &[]);
    let last_stream = 0_u32.to_be_bytes();
    let reason = HTTP_1_1_REQUIRED.to_be_bytes();
    frames.extend(frame(GOAWAY, &[&last_stream, &reason, msg.as_bytes()].concat()));
    frames
}

/// A frame of the connection itself, without flags.
fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or_default().to_be_bytes();
    let head = [length.get(1..).unwrap_or_default(), &[kind, 0, 0, 0, 0, 0]].concat();
    [&head, content].concat()
}

/// Looks at the first bytes, and takes nothing.
pub(super) async fn opening(unread: &Unread) -> io::Result<Opening> {
    let mut first = [0; 4];
    let got = match unread.peek(&mut first).await {
        // Health checks may end so.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
        peeked => peeked?,
    };
    let first = first.get(..got).unwrap_or_default();
    Ok(match first {
        [] => Opening::Nothing,
        [HANDSHAKE, ..] => Opening::Tls,
        [letter, ..] if letter.is_ascii_alphabetic() || b"\r\n".contains(letter) => Opening::Plain,
        _ => Opening::Other(speaker(first)),
    })
}

/// Reads the first line of what is no TLS, and answers a request. Returns what is to be warned of, and
/// what it is.
pub(super) async fn answer_plain(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<(Warning, &'static str)> {
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
        return Ok((Warning::ProxyHeader, ""));
    }
    let text = String::from_utf8_lossy(&line);
    let line = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    let body = "this port speaks TLS: use https://\n";
    let (answer, warning) = if text.starts_with("PRI * HTTP/2") {
        (use_http_1_1(PLAIN_HTTP2_MSG), Warning::PlainHttp2)
    } else if line.contains(" HTTP/") {
        let head = format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        (head.into_bytes(), Warning::Plain)
    } else if line.starts_with("GET /") {
        // HTTP/0.9, whose answers have no head.
        (body.as_bytes().to_vec(), Warning::Plain)
    } else {
        return Ok((Warning::Other, speaker_of(line)));
    };
    stream.write_all(&answer).await?;
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
    Ok((warning, ""))
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
    /// everything else that it cannot read, and closes on HTTP/2 without a word.
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
