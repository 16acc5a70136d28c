//! What a file is, before anything in it is read: packed, in another encoding, or no text at all.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// Bytes at the beginning by which a file is known.
const LOOK_BYTES: usize = 8;
/// Bytes in which the end of the first line is looked for, since that tells one form of a text from
/// another.
const LINE_BYTES: usize = 64 * 1024;
/// Bytes that are decoded at once.
const PIECE_BYTES: usize = 32 * 1024;

/// An input with the bytes that were looked at put back.
type RewoundInput<R> = Chain<Cursor<Vec<u8>>, R>;

/// The text of an input as UTF-8: gzip is unpacked and UTF-16 read, in bounded memory. What is no text
/// is refused by the name of what it is.
pub fn text_of<'a, R: BufRead + Send + 'a>(
    mut input: R,
) -> io::Result<Box<dyn BufRead + Send + 'a>> {
    let start = look(&mut input)?;
    let packed = start.starts_with(&[0x1f, 0x8b]);
    let whole = Cursor::new(start.clone()).chain(input);
    if !packed {
        return decoded(&start, whole);
    }
    let mut unpacked = BufReader::with_capacity(PIECE_BYTES, MultiGzDecoder::new(whole));
    let start = look(&mut unpacked)?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Err(refused("it is gzip within gzip: unpack it once before the import"));
    }
    decoded(&start.clone(), Cursor::new(start).chain(unpacked))
}

fn decoded<'a, R: BufRead + Send + 'a>(
    start: &[u8],
    whole: RewoundInput<R>,
) -> io::Result<Box<dyn BufRead + Send + 'a>> {
    if let Some(what) = no_text(start) {
        return Err(refused(what));
    }
    Ok(match utf16(start) {
        Some(order) => Box::new(BufReader::with_capacity(PIECE_BYTES, Utf16::new(whole, order))),
        None => Box::new(whole),
    })
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The first bytes, up to the end of the first line at least; fewer where there are no more, or where
/// that line is long.
fn look(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(LOOK_BYTES);
    let mut has_line = false;
    while start.len() < LOOK_BYTES || !has_line && start.len() < LINE_BYTES {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let part = buffer.get(..LINE_BYTES).unwrap_or(buffer);
        start.extend_from_slice(part);
        let length = part.len();
        input.consume(length);
        // The last byte may be half of a unit of UTF-16.
        has_line |= start.iter().rev().skip(1).take(length + 1).any(|byte| *byte == b'\n');
    }
    Ok(start)
}

/// What a file is that holds no records as text.
fn no_text(start: &[u8]) -> Option<&'static str> {
    let utf32 = "it is UTF-32: save it as UTF-8";
    let markup = "it is HTML or XML, maybe under the name of a spreadsheet: save the sheet as CSV \
                  (UTF-8)";
    let ascii = |byte: u8| byte != 0 && byte.is_ascii();
    match *start {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Some(utf32),
        [a, 0, 0, 0, b, 0, 0, 0, ..] | [0, 0, 0, a, 0, 0, 0, b, ..] if ascii(a) && ascii(b) => {
            return Some(utf32);
        }
        _ => {}
    }
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    if text.trim_ascii_start().starts_with(b"<") {
        return Some(markup);
    }
    let kinds: [(&[u8], &str); 10] = [
        (
            b"PK\x03\x04",
            "it is a ZIP archive or a spreadsheet's own file (xlsx, ods): unpack it, or save the \
             sheet as CSV (UTF-8)",
        ),
        (
            &[0xd0, 0xcf, 0x11, 0xe0],
            "it is an old spreadsheet's own file (xls): save the sheet as CSV (UTF-8)",
        ),
        (&[0x28, 0xb5, 0x2f, 0xfd], "it is packed by zstd: unpack it with zstd -d"),
        (b"BZh", "it is packed by bzip2: unpack it with bunzip2"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "it is packed by xz: unpack it with unxz"),
        (b"PK\x05\x06", "it is an empty ZIP archive"),
        (&[0x04, 0x22, 0x4d, 0x18], "it is packed by lz4: unpack it with unlz4"),
        (b"{\\rtf", "it is rich text: save the table as CSV (UTF-8)"),
        (b"%PDF", "it is a PDF: expected JSON, NDJSON or CSV"),
        (b"SQLite", "it is an SQLite database: expected JSON, NDJSON or CSV"),
    ];
    kinds.into_iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, what)| what)
}

/// Which byte of a UTF-16 unit comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ByteOrder {
    Little,
    Big,
}

/// Whether a text is UTF-16: by its mark, or since its first characters are of ASCII.
fn utf16(start: &[u8]) -> Option<ByteOrder> {
    let ascii = |byte: u8| byte != 0 && byte.is_ascii();
    match *start {
        [0xff, 0xfe, ..] => Some(ByteOrder::Little),
        [0xfe, 0xff, ..] => Some(ByteOrder::Big),
        [a, 0, b, 0, ..] if ascii(a) && ascii(b) => Some(ByteOrder::Little),
        [0, a, 0, b, ..] if ascii(a) && ascii(b) => Some(ByteOrder::Big),
        _ => None,
    }
}

/// UTF-16 read as UTF-8, its mark too. Half a surrogate becomes U+FFFD.
struct Utf16<R> {
    input: R,
    order: ByteOrder,
    /// A unit that is not whole yet.
    half: Option<u8>,
    /// The first half of a pair.
    high: Option<u16>,
    out: Vec<u8>,
    sent: usize,
}

impl<R: BufRead> Utf16<R> {
    fn new(input: R, order: ByteOrder) -> Self {
        Self { input, order, half: None, high: None, out: Vec::new(), sent: 0 }
    }

    fn push(&mut self, c: char) {
        self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    fn unit(&mut self, unit: u16) {
        if let Some(high) = self.high.take() {
            if let Some(Ok(whole)) = char::decode_utf16([high, unit]).next() {
                return self.push(whole);
            }
            self.push(char::REPLACEMENT_CHARACTER);
        }
        match unit {
            0xd800..=0xdbff => self.high = Some(unit),
            _ => self.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER)),
        }
    }

    /// Decodes some more; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        self.out.clear();
        self.sent = 0;
        let buffer = self.input.fill_buf()?;
        let bytes: Vec<u8> = buffer.iter().take(PIECE_BYTES).copied().collect();
        self.input.consume(bytes.len());
        if bytes.is_empty() {
            if self.half.take().is_some() | self.high.take().is_some() {
                self.push(char::REPLACEMENT_CHARACTER);
            }
            return Ok(!self.out.is_empty());
        }
        for byte in bytes {
            match self.half.take() {
                None => self.half = Some(byte),
                Some(first) => self.unit(match self.order {
                    ByteOrder::Little => u16::from_le_bytes([first, byte]),
                    ByteOrder::Big => u16::from_be_bytes([first, byte]),
                }),
            }
        }
        Ok(true)
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.sent == self.out.len() {
            if !self.more()? {
                return Ok(0);
            }
        }
        let ready = self.out.get(self.sent..).unwrap_or_default();
        let length = ready.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..length), ready.get(..length)) {
            to.copy_from_slice(from);
        }
        self.sent += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], buffer: usize) -> Result<String, String> {
        let input = BufReader::with_capacity(buffer, bytes);
        let mut text = Vec::new();
        let mut input = text_of(input).map_err(|error| error.to_string())?;
        input.read_to_end(&mut text).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(text).unwrap())
    }

    fn wide(text: &str, order: ByteOrder, mark: bool) -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        let units = mark.into_iter().chain(text.encode_utf16());
        let bytes = |unit: u16| match order {
            ByteOrder::Little => unit.to_le_bytes(),
            ByteOrder::Big => unit.to_be_bytes(),
        };
        units.flat_map(bytes).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    proptest! {
        #[test]
        fn every_form_of_a_text_is_that_text(
            text in "[a-z]{2}[a-zé€😀\r\n,]{0,40}",
            buffer in 1..9_usize,
        ) {
            let mut forms = vec![text.clone().into_bytes()];
            for order in [ByteOrder::Little, ByteOrder::Big] {
                forms.push(wide(&text, order, false));
                prop_assert_eq!(read(&wide(&text, order, true), buffer), Ok(format!("\u{feff}{text}")));
            }
            for form in forms {
                prop_assert_eq!(read(&form, buffer), Ok(text.clone()));
                prop_assert_eq!(read(&gzip(&form), buffer), Ok(text.clone()));
            }
        }
    }

    #[test]
    fn what_is_cut_off_is_no_whole_text() {
        let cut = wide("ab😀", ByteOrder::Little, false);
        for length in 5..8 {
            assert_eq!(read(&cut[..length], 3), Ok("ab\u{fffd}".to_owned()));
        }
        let packed = gzip(&b"call_sid".repeat(100));
        assert!(read(&packed[..packed.len() - 9], 64).is_err());
        for short in [&b""[..], b"{", b"[]", b"a\0"] {
            assert_eq!(read(short, 4), Ok(String::from_utf8(short.to_vec()).unwrap()));
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        for (bytes, says) in [
            (&b"PK\x03\x04rest"[..], "save the sheet as CSV"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1", "xls"),
            (b"\x28\xb5\x2f\xfd....", "zstd -d"),
            (b"BZh91AY", "bunzip2"),
            (b"\xfd7zXZ\0\0", "unxz"),
            (b"%PDF-1.7", "PDF"),
            (b"SQLite format 3\0", "SQLite"),
            (b"PK\x05\x06\0\0", "empty ZIP"),
            (b"\x04\x22\x4d\x18....", "unlz4"),
            (b"{\\rtf1 x}", "rich text"),
            (b"\r\n<!DOCTYPE html>", "HTML"),
            (b"\xef\xbb\xbf<?xml", "XML"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-32"),
            (b"\0\0\xfe\xff\0\0\0a", "UTF-32"),
            (b"a\0\0\0b\0\0\0", "UTF-32"),
            (b"\0\0\0a\0\0\0b", "UTF-32"),
        ] {
            let error = read(bytes, 16).unwrap_err();
            assert!(error.contains(says), "{error}");
            let error = read(&gzip(bytes), 16).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(read(&gzip(&gzip(b"a")), 16).unwrap_err().contains("gzip within gzip"));
    }
}
