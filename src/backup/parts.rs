//! A backup on its way from the store to the command that writes it: lines of JSON, and files after theirs.

use serde::{Deserialize, Serialize};

use super::error::BackupError;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub(super) enum BackupLine {
    /// The first one.
    Begin { format: u32, release: String, epoch: String, made_at: String },
    /// A file: so many bytes follow the line.
    File { name: String, bytes: u64 },
    /// A file that the earlier backup has, byte for byte.
    Same { name: String },
    /// The last one.
    End,
}

impl BackupLine {
    pub fn line(&self) -> Vec<u8> {
        // Texts and numbers have a JSON.
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line
    }
}

/// A piece of what was received.
pub(super) enum BackupPiece<'a> {
    Part(BackupLine),
    /// Bytes of the last file, and whether they are its last ones.
    Bytes(&'a [u8], bool),
}

/// Puts parts together from pieces that end anywhere.
#[derive(Default)]
pub(super) struct Parts {
    line: Vec<u8>,
    left: u64,
}

const LINE_BYTES_MAX: usize = 4096;

impl Parts {
    pub fn take(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(BackupPiece<'_>) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, later) = bytes.split_at(count);
                self.left -= count as u64;
                each(BackupPiece::Bytes(now, self.left == 0))?;
                bytes = later;
                continue;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (now, later) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
            bytes = later;
            self.line.extend_from_slice(now);
            if self.line.len() > LINE_BYTES_MAX {
                return Err(BackupError::Parts("a line without an end".to_owned()));
            }
            if end.is_some() {
                let part = serde_json::from_slice(&self.line);
                let part = part.map_err(|error| BackupError::Parts(error.to_string()))?;
                self.line.clear();
                let mut empty = false;
                if let BackupLine::File { bytes, .. } = &part {
                    self.left = *bytes;
                    empty = *bytes == 0;
                }
                each(BackupPiece::Part(part))?;
                if empty {
                    each(BackupPiece::Bytes(&[], true))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_same_in_pieces_of_any_size() {
        let file = |name: &str, bytes| BackupLine::File { name: name.to_owned(), bytes };
        let mut sent = file("a", 5).line();
        sent.extend_from_slice(b"\n{\"x\n");
        sent.extend(file("b", 0).line());
        sent.extend(BackupLine::Same { name: "c".to_owned() }.line());
        sent.extend(BackupLine::End.line());
        for size in 1..sent.len() {
            let (mut parts, mut seen, mut content) = (Parts::default(), Vec::new(), Vec::new());
            let mut ends = 0;
            for piece in sent.chunks(size) {
                let mut each = |piece: BackupPiece<'_>| {
                    match piece {
                        BackupPiece::Part(part) => seen.push(part),
                        BackupPiece::Bytes(bytes, last) => {
                            content.extend_from_slice(bytes);
                            ends += usize::from(last);
                        }
                    }
                    Ok(())
                };
                parts.take(piece, &mut each).unwrap();
            }
            let same = BackupLine::Same { name: "c".to_owned() };
            assert_eq!(seen, [file("a", 5), file("b", 0), same, BackupLine::End]);
            assert_eq!((content.as_slice(), ends), (&b"\n{\"x\n"[..], 2));
        }
    }
}
