//! Compressed bodies (RFC 9110, section 8.4.1.3).

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// Bytes of a body below which compressing is not worth its headers.
const BODY_BYTES_MIN: usize = 1024;

/// Whether the client can read gzip (RFC 9110, section 12.5.3).
pub(super) fn accepted(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any) = (None, None);
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for part in values.flat_map(|value| value.split(',')) {
        let mut parameters = part.split(';').map(str::trim);
        let coding = parameters.next().unwrap_or_default();
        let weight = parameters.find_map(|p| p.strip_prefix("q=").or(p.strip_prefix("Q=")));
        let wanted = weight.is_none_or(|q| q.trim().parse().is_ok_and(|q: f32| q > 0.0));
        match coding {
            "*" => any = Some(wanted),
            _ if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => {
                gzip = Some(wanted);
            }
            _ => {}
        }
    }
    gzip.or(any).unwrap_or(false)
}

/// Compresses a body piece by piece.
pub(super) struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    pub fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// What is to be sent for this piece. The client can read all of it at once.
    pub fn piece(&mut self, piece: &[u8], last: bool) -> Vec<u8> {
        // Writing to a vector does not fail.
        let _infallible = self.0.write_all(piece);
        let _infallible = if last { self.0.try_finish() } else { self.0.flush() };
        std::mem::take(self.0.get_mut())
    }
}

/// The whole body compressed; none where it is too small to be worth it.
pub(super) fn whole(body: &[u8]) -> Option<Vec<u8>> {
    (body.len() >= BODY_BYTES_MIN).then(|| Gzip::new().piece(body, true))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_header_is_read_as_it_is_written() {
        for (value, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("x-gzip", true),
            ("*", true),
            ("br;q=1.0, *;q=0.1", true),
            ("", false),
            ("identity", false),
            ("gzip;q=0", false),
            ("gzip; q=0.000, *", false),
            ("gzip;q=x", false),
            ("br", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(accepted(&headers), expected, "{value}");
        }
        assert!(!accepted(&HeaderMap::new()));
    }

    #[test]
    fn pieces_together_are_the_body_and_each_is_sent_whole() {
        let mut gzip = Gzip::new();
        let mut sent = gzip.piece(b"[1", false);
        let mut first = [0; 2];
        flate2::read::GzDecoder::new(sent.as_slice()).read_exact(&mut first).unwrap();
        assert_eq!(&first, b"[1");
        sent.extend(gzip.piece(b",2]", true));
        let mut text = String::new();
        flate2::read::GzDecoder::new(sent.as_slice()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "[1,2]");
        assert_eq!(whole(b"[]"), None);
        assert!(whole(&[b' '; 5000]).unwrap().len() < 100);
    }
}
