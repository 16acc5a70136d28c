//! The header that a load balancer sends before everything else to say where a connection came
//! from: the PROXY protocol, version 1 (a line of text) and version 2 (binary).
//!
//! Nothing after the header is read: a TLS handshake or a request follows at once.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Most bytes of a line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// Least bytes of one: `PROXY UNKNOWN` and its end.
const LINE_BYTES_MIN: usize = 15;
pub(super) const LINE_START: &[u8] = b"PROXY ";

/// What version 2 begins with.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of the rest.
const FIXED_BYTES: usize = 16;
/// Most bytes of that rest: addresses, and values of which only the checksum is looked at.
const REST_BYTES_MAX: usize = 4096;
/// The type of the value that holds a checksum (CRC-32C) of the whole header.
const CHECKSUM: u8 = 0x03;

/// Why a connection did not begin with such a header.
#[derive(Debug)]
pub(super) enum HeaderError {
    /// It ended before anything came.
    Nothing,
    /// It began with something else.
    Missing,
    /// It begins like one, and this is wrong with it.
    Malformed(&'static str),
    /// Reading failed, or the connection ended.
    Io(io::Error),
}

impl fmt::Display for HeaderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("it ended before anything came"),
            Self::Missing => formatter.write_str("it does not begin with a PROXY header"),
            Self::Malformed(what) => write!(formatter, "its PROXY header is malformed: {what}"),
            Self::Io(error) => write!(formatter, "its PROXY header cannot be read: {error}"),
        }
    }
}

/// Reads the header. None where it says that the connection is the balancer's own, as for health
/// checks, or came by something else than TCP.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, HeaderError> {
    let mut seen = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        let missing = match step(&seen)? {
            HeaderStep::Whole(client) => return Ok(client),
            HeaderStep::More(bytes) => bytes as u64,
        };
        let got = match (&mut *stream).take(missing).read_buf(&mut seen).await {
            // Health checks may end so.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset && seen.is_empty() => 0,
            read => read.map_err(HeaderError::Io)?,
        };
        if got == 0 && seen.is_empty() {
            return Err(HeaderError::Nothing);
        }
        if got == 0 {
            return Err(HeaderError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// What is known after some bytes.
#[derive(Debug, PartialEq, Eq)]
enum HeaderStep {
    /// The header has at least so many more.
    More(usize),
    /// It ends here; the client, where it names one.
    Whole(Option<SocketAddr>),
}

fn step(seen: &[u8]) -> Result<HeaderStep, HeaderError> {
    if seen.is_empty() {
        return Ok(HeaderStep::More(LINE_BYTES_MIN.min(FIXED_BYTES)));
    }
    let begins = |with: &[u8]| seen.iter().zip(with).all(|(one, other)| one == other);
    if begins(SIGNATURE) {
        binary(seen)
    } else if begins(LINE_START) {
        line(seen)
    } else {
        Err(HeaderError::Missing)
    }
}

/// Version 1: `PROXY TCP4 192.0.2.1 198.51.100.1 50000 443` and a line end.
fn line(seen: &[u8]) -> Result<HeaderStep, HeaderError> {
    const MALFORMED: HeaderError = HeaderError::Malformed(
        "expected `PROXY TCP4|TCP6 CLIENT SERVER PORT PORT` or `PROXY UNKNOWN`, and CR LF",
    );
    let end = seen.iter().position(|&byte| byte == b'\n');
    let Some(end) = end else {
        return match seen {
            _ if seen.len() >= LINE_BYTES_MAX => {
                Err(HeaderError::Malformed("its line is too long"))
            }
            _ if seen.len() < LINE_BYTES_MIN => Ok(HeaderStep::More(LINE_BYTES_MIN - seen.len())),
            [.., b'\r'] => Ok(HeaderStep::More(1)),
            _ => Ok(HeaderStep::More(2.min(LINE_BYTES_MAX - seen.len()))),
        };
    };
    let text = match seen.split_at(end) {
        ([text @ .., b'\r'], [b'\n']) => std::str::from_utf8(text).map_err(|_| MALFORMED)?,
        _ => return Err(MALFORMED),
    };
    let words: Vec<&str> = text.split(' ').collect();
    let (v4, from, to, ports) = match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Ok(HeaderStep::Whole(None)),
        ["PROXY", "TCP4", from, to, port, there] => (true, from, to, [port, there]),
        ["PROXY", "TCP6", from, to, port, there] => (false, from, to, [port, there]),
        _ => return Err(MALFORMED),
    };
    let address = |text: &str| -> Option<IpAddr> {
        if v4 {
            text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
        } else {
            text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
    };
    let port = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| plain && (text == "0" || !text.starts_with('0')))
    };
    match (address(from), address(to), ports.map(port)) {
        (Some(from), Some(_), [Some(port), Some(_)]) => {
            Ok(HeaderStep::Whole(Some(client(from, port))))
        }
        _ => Err(MALFORMED),
    }
}

fn binary(seen: &[u8]) -> Result<HeaderStep, HeaderError> {
    let Some((fixed, rest)) = seen.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(HeaderStep::More(FIXED_BYTES - seen.len()));
    };
    let [.., version, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES_MAX {
        return Err(HeaderError::Malformed("it is too long"));
    }
    // In this order, so that what can never be right is not waited for.
    let local = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(HeaderError::Malformed("its version or command is unknown")),
    };
    let addresses = match family {
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        0x00 => 0,
        _ if local => 0,
        _ => return Err(HeaderError::Malformed("its family of addresses is unknown")),
    };
    if rest.len() < length {
        return Ok(HeaderStep::More(length - rest.len()));
    }
    if local {
        // What follows is skipped.
        return Ok(HeaderStep::Whole(None));
    }
    let Some((addresses, values)) = rest.split_at_checked(addresses) else {
        return Err(HeaderError::Malformed("it is shorter than its addresses"));
    };
    check_values(seen, if family == 0 { &[] } else { values })?;
    let found = match family {
        0x11 => addresses.first_chunk::<12>().map(|bytes| {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *bytes;
            client(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low]))
        }),
        0x21 => addresses.first_chunk::<16>().zip(addresses.get(32..34)).map(|(ip, port)| {
            let port = port.iter().fold(0, |port, byte| port << 8 | u16::from(*byte));
            client(Ipv6Addr::from(*ip).into(), port)
        }),
        _ => None,
    };
    Ok(HeaderStep::Whole(found))
}

/// Goes through the values behind the addresses: each has to end within the header, and a checksum
/// to be right.
fn check_values(header: &[u8], mut values: &[u8]) -> Result<(), HeaderError> {
    const MALFORMED: HeaderError = HeaderError::Malformed("a value does not end within it");
    while !values.is_empty() {
        let Some(([kind, high, low], behind)) = values.split_first_chunk::<3>() else {
            return Err(MALFORMED);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, next)) = behind.split_at_checked(length) else { return Err(MALFORMED) };
        if *kind == CHECKSUM {
            let Ok(checksum) = value.try_into().map(u32::from_be_bytes) else {
                return Err(HeaderError::Malformed("its checksum does not have 4 bytes"));
            };
            // Computed with zeros in its own place.
            let begin = header.len() - behind.len();
            let before = crc32c::crc32c(header.get(..begin).unwrap_or_default());
            let zeros = crc32c::crc32c_append(before, &[0; 4]);
            if crc32c::crc32c_append(zeros, next) != checksum {
                return Err(HeaderError::Malformed("its checksum is wrong"));
            }
        }
        values = next;
    }
    Ok(())
}

fn client(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use proptest::prelude::*;
    use tokio::io::ReadBuf;

    use super::*;

    /// Gives its bytes in two pieces, or one at a time, and counts what is taken of them.
    struct Pieces {
        bytes: Vec<u8>,
        taken: usize,
        split: usize,
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let end = match self.split {
                0 => self.taken + 1,
                split if self.taken < split => split,
                _ => usize::MAX,
            };
            let end = end.min(self.bytes.len()).min(self.taken + buffer.remaining());
            buffer.put_slice(&self.bytes[self.taken..end]);
            self.taken = end;
            Poll::Ready(Ok(()))
        }
    }

    /// What comes out of these bytes however they arrive, and how many of them were taken.
    fn outcome(bytes: &[u8]) -> (Result<Option<SocketAddr>, String>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut outcomes = (0..=bytes.len()).map(|split| {
            let mut pieces = Pieces { bytes: bytes.to_vec(), taken: 0, split };
            let read = runtime.block_on(read(&mut pieces));
            (read.map_err(|error| error.to_string()), pieces.taken)
        });
        let first = outcomes.next().unwrap();
        for other in outcomes {
            assert_eq!(other.0, first.0, "{bytes:?}");
            assert!(first.0.is_err() || other.1 == first.1, "{bytes:?}");
        }
        first
    }

    fn binary_header(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[version, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0xC3, 0x50, 1, 0xBB];

    fn v6() -> Vec<u8> {
        let mut bytes = Vec::new();
        for ip in ["2001:db8::7", "2001:db8::1"] {
            bytes.extend_from_slice(&ip.parse::<Ipv6Addr>().unwrap().octets());
        }
        bytes.extend_from_slice(&[0xC3, 0x50, 1, 0xBB]);
        bytes
    }

    fn with_checksum(wrong: u8) -> Vec<u8> {
        let values: &[u8] = &[0x04, 0, 2, 9, 9, 0x03, 0, 4, 0, 0, 0, 0, 0x02, 0, 1, b'x'];
        let mut header = binary_header(0x21, 0x11, &[&V4[..], values].concat());
        let sum = crc32c::crc32c(&header) ^ u32::from(wrong);
        let at = FIXED_BYTES + V4.len() + 8;
        header[at..at + 4].copy_from_slice(&sum.to_be_bytes());
        header
    }

    #[test]
    fn a_header_names_the_client_and_what_follows_is_left() {
        let (four, six) = ("192.0.2.7:50000", "[2001:db8::7]:50000");
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
        assert_eq!(long.len(), LINE_BYTES_MAX);
        let whole = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                     ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        let largest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        let filled = [&V4[..], &[0xEA, 0x0F, 0xF1], &[0; REST_BYTES_MAX - 15]].concat();
        let headers: Vec<(Vec<u8>, &str)> = vec![
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n".to_vec(), four),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 443\r\n".to_vec(), six),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 50000 0\r\n".to_vec(), four),
            (whole.into(), largest),
            (b"PROXY UNKNOWN\r\n".to_vec(), ""),
            (b"PROXY UNKNOWN 2001:db8::7 x 1 2\r\n".to_vec(), ""),
            (long.into(), ""),
            (binary_header(0x21, 0x11, &V4), four),
            (binary_header(0x21, 0x21, &v6()), six),
            (binary_header(0x21, 0x11, &[&V4[..], &[0x05, 0, 3, 1, 2, 3]].concat()), four),
            (binary_header(0x21, 0x11, &filled), four),
            (with_checksum(0), four),
            // Health checks, sockets of other kinds, and unknown ones.
            (binary_header(0x20, 0x00, b""), ""),
            (binary_header(0x20, 0x11, &V4), ""),
            (binary_header(0x20, 0x55, b"whatever"), ""),
            (binary_header(0x21, 0x00, b""), ""),
            (binary_header(0x21, 0x00, b"anything"), ""),
            (binary_header(0x21, 0x12, &V4), ""),
            (binary_header(0x21, 0x31, &[7; 216]), ""),
        ];
        for (header, client) in headers {
            let expected = (!client.is_empty()).then(|| client.parse().unwrap());
            let bytes = [&header[..], b"\x16\x03\x01\r\n\r\nPROXY "].concat();
            let (read, taken) = if header.len() > 300 {
                let mut pieces = Pieces { bytes, taken: 0, split: 0 };
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let read = runtime.block_on(read(&mut pieces));
                (read.map_err(|error| error.to_string()), pieces.taken)
            } else {
                outcome(&bytes)
            };
            assert_eq!((read, taken), (Ok(expected), header.len()), "{header:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_and_says_why() {
        let cut = [&V4[..], &[0x05, 0, 3, 1, 2]].concat();
        for (bytes, says) in [
            (&b""[..], "before anything came"),
            (b"GET / HTTP/1.1\r\n\r\n", "does not begin with"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "does not begin with"),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", "does not begin with"),
            (b"proxy TCP4 192.0.2.7 198.51.100.1 50000 443\r\n", "does not begin with"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443", "cannot be read"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\nx", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\rx\r\n", "expected `PROXY"),
            (b"PROXY TCP4  192.0.2.7 198.51.100.1 50000 443\r\n", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443 \r\n", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 050000 443\r\n", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 +5000 443\r\n", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.07 198.51.100.1 5000 443\r\n", "expected `PROXY"),
            (b"PROXY TCP4 2001:db8::7 2001:db8::1 50000 443\r\n", "expected `PROXY"),
            (b"PROXY TCP6 192.0.2.7 198.51.100.1 50000 443\r\n", "expected `PROXY"),
            (b"PROXY UDP4 192.0.2.7 198.51.100.1 50000 443\r\n", "expected `PROXY"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n", "expected `PROXY"),
            (b"PROXY \xff\xfe 192.0.2.7 198.51.100.1 50000\r\n", "expected `PROXY"),
            (b"PROXY\r\n", "does not begin with"),
            (&[&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat(), "too long"),
            (&binary_header(0x11, 0x11, &V4), "version or command"),
            (&binary_header(0x22, 0x11, &V4), "version or command"),
            (&binary_header(0x21, 0x13, &V4), "family"),
            (&binary_header(0x21, 0x41, &V4), "family"),
            (&binary_header(0x21, 0x11, &V4[..11]), "shorter than"),
            (&binary_header(0x21, 0x21, &V4), "shorter than"),
            (&binary_header(0x21, 0x11, &cut), "does not end within"),
            (&binary_header(0x21, 0x11, &[&V4[..], &[5]].concat()), "does not end within"),
            (&binary_header(0x21, 0x11, &[&V4[..], &[3, 0, 1, 0]].concat()), "4 bytes"),
            (&binary_header(0x21, 0x11, &V4)[..20], "cannot be read"),
            (&with_checksum(1), "checksum is wrong"),
            (&[SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(), "too long"),
        ] {
            let (read, taken) = outcome(bytes);
            let why = read.expect_err("it is no header");
            assert!(why.contains(says), "{why}: {bytes:?}");
            assert!(taken <= FIXED_BYTES + REST_BYTES_MAX);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_take_more_than_a_header_has(
            version in any::<bool>(),
            tail in proptest::collection::vec(any::<u8>(), 0..200),
            flip in any::<(usize, u8)>(),
        ) {
            let start = if version {
                binary_header(0x21, 0x11, &V4)
            } else {
                b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 443\r\n".to_vec()
            };
            let whole = start.len();
            let mut bytes = [start, tail].concat();
            let at = flip.0 % bytes.len();
            bytes[at] ^= flip.1;
            let (read, taken) = outcome(&bytes);
            prop_assert!(taken <= bytes.len());
            if at >= whole {
                prop_assert_eq!((read, taken), (Ok(Some("192.0.2.7:50000".parse().unwrap())), whole));
            }
        }
    }
}
