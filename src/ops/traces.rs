//! Searching what is on disk for a number: every file below a directory, of any kind, as it stands
//! there and as it unpacks.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::domain::{NUMBER_BYTES_MAX, Number, Sighting};
use crate::fsutil;

/// Bytes of a file that are searched at once.
const PIECE_BYTES: usize = 1 << 20;
/// What every compressed block begins with (RFC 8878, section 3.1.1).
const ZSTD: &[u8; 4] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What files begin with that cannot be looked into.
const CLOSED: [(&[u8], &str); 2] =
    [(b"age-encryption.org/", "it is encrypted"), (&[0x1f, 0x8b], "it is compressed by gzip")];
/// Blocks of one file that are unpacked; each is of 64 KiB or more before it is packed.
const BLOCKS_MAX: usize = 1 << 22;
/// Bytes that one block may unpack to: more is no block of ours.
const BLOCK_BYTES_MAX: u64 = 1 << 30;

/// Where a number was found, and what could not be searched for it.
#[derive(Default)]
pub(super) struct Traces {
    pub found: Vec<(PathBuf, Sighting)>,
    /// With the reason.
    pub unsearched: Vec<(PathBuf, String)>,
}

impl Traces {
    /// Searches a file, or everything in a directory and below it.
    pub fn search(&mut self, path: &Path, number: &Number) {
        let about = match fs::symlink_metadata(path) {
            Ok(about) => about,
            // It went while others were searched.
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(error) => return self.unsearched.push((path.to_owned(), error.to_string())),
        };
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let named = number.stands_in_bytes(name);
        let kind = about.file_type();
        if kind.is_dir() {
            self.note(path, named);
            match fs::read_dir(path) {
                Ok(entries) => self.search_all(path, entries, number),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // What root alone may look into, as `lost+found`, the server cannot have written to.
                Err(error)
                    if error.kind() == ErrorKind::PermissionDenied
                        && !fsutil::is_content(path.file_name().unwrap_or_default()) => {}
                Err(error) => self.unsearched.push((path.to_owned(), error.to_string())),
            }
        } else if kind.is_file() {
            match search_file(path, number) {
                Ok((found, closed)) => {
                    self.note(path, found.max(named));
                    self.unsearched.extend(closed.map(|why| (path.to_owned(), why)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => self.unsearched.push((path.to_owned(), error.to_string())),
            }
        } else {
            self.note(path, named);
            if kind.is_symlink() && fs::metadata(path).is_ok_and(|to| to.is_file() || to.is_dir()) {
                let why = "it is a symbolic link: what it leads to was not searched".to_owned();
                self.unsearched.push((path.to_owned(), why));
            }
        }
    }

    fn search_all(&mut self, dir: &Path, entries: fs::ReadDir, number: &Number) {
        for entry in entries {
            match entry {
                Ok(entry) => self.search(&entry.path(), number),
                Err(error) => self.unsearched.push((dir.to_owned(), error.to_string())),
            }
        }
    }

    fn note(&mut self, path: &Path, found: Option<Sighting>) {
        self.found.extend(found.map(|sighting| (path.to_owned(), sighting)));
    }
}

/// What of a number is in a file, and why that is not known of all of it.
fn search_file(path: &Path, number: &Number) -> io::Result<(Option<Sighting>, Option<String>)> {
    let mut file = fsutil::open(path)?;
    let (mut begin, mut at) = (Vec::new(), 0);
    let mut blocks = Vec::new();
    let mut best = pieces(&mut file, number, &mut |piece, fresh| {
        if begin.is_empty() {
            begin.extend_from_slice(piece.get(..64).unwrap_or(piece));
        }
        let kept = piece.len() - fresh;
        // The last three bytes of the piece before, and all of this one.
        let from = kept.saturating_sub(ZSTD.len() - 1);
        let rest = piece.get(from..).unwrap_or_default();
        let found = rest.windows(ZSTD.len()).enumerate().filter(|(_, bytes)| bytes == ZSTD);
        blocks.extend(found.map(|(place, _)| at + (from + place) as u64 - kept as u64));
        at += fresh as u64;
    })?;
    let closed = CLOSED.iter().find(|(magic, _)| begin.starts_with(magic));
    let mut why = closed.map(|(_, why)| (*why).to_owned());
    if blocks.len() > BLOCKS_MAX {
        why = Some("it has more compressed blocks than are looked into".to_owned());
    }
    let packed = path.file_name().is_some_and(|name| name.to_string_lossy().contains(".zst"));
    for block in blocks.into_iter().take(BLOCKS_MAX) {
        if best == Some(Sighting::Certain) {
            break;
        }
        let (found, unpacked) = search_block(&mut file, block, number)?;
        best = best.max(found);
        if !unpacked && packed && best != Some(Sighting::Certain) {
            why = Some(format!("what is compressed at byte {block} cannot be unpacked"));
        }
    }
    Ok((best, why))
}

/// What of a number is in the compressed block at this place, and whether it is one.
fn search_block(file: &mut File, at: u64, number: &Number) -> io::Result<(Option<Sighting>, bool)> {
    file.seek(SeekFrom::Start(at))?;
    let unpacker = zstd::stream::read::Decoder::new(&mut *file)?.single_frame();
    let mut best = None;
    let mut unpacker = CheckedReader { input: unpacker.take(BLOCK_BYTES_MAX), failed: false };
    best = best.max(pieces(&mut unpacker, number, &mut |_, _| {})?);
    Ok((best, !unpacker.failed))
}

/// Ends where its input fails.
struct CheckedReader<R> {
    input: R,
    failed: bool,
}

impl<R: Read> Read for CheckedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(out);
        self.failed |= read.is_err();
        Ok(read.unwrap_or(0))
    }
}

/// Searches everything that is read, in pieces; `look` is given each with how many bytes at its end
/// are new. Ends with the first that is certain.
fn pieces(
    from: &mut dyn Read,
    number: &Number,
    look: &mut dyn FnMut(&[u8], usize),
) -> io::Result<Option<Sighting>> {
    let (mut best, mut bytes) = (None, Vec::new());
    loop {
        let fresh = from.take(PIECE_BYTES as u64).read_to_end(&mut bytes)?;
        if fresh == 0 {
            return Ok(best);
        }
        look(&bytes, fresh);
        best = best.max(number.stands_in_bytes(&bytes));
        if best == Some(Sighting::Certain) {
            return Ok(best);
        }
        // What lies across two pieces is found with the next one.
        bytes.drain(..bytes.len().saturating_sub(NUMBER_BYTES_MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const NUMBER: &str = "15551230001";

    fn traces(dir: &Path) -> Traces {
        let mut traces = Traces::default();
        traces.search(dir, &Number::parse(&format!("+{NUMBER}")).unwrap());
        traces
    }

    fn found(dir: &Path) -> Vec<String> {
        let name = |path: &PathBuf| path.strip_prefix(dir).unwrap().display().to_string();
        let mut names: Vec<_> = traces(dir).found.iter().map(|(path, _)| name(path)).collect();
        names.sort();
        names
    }

    #[test]
    fn every_file_is_searched_across_pieces_and_as_it_unpacks() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        fs::create_dir_all(dir.path().join("index-7.damaged/blobs")).unwrap();
        let mut across = vec![b'x'; PIECE_BYTES - 5];
        across.extend_from_slice(NUMBER.as_bytes());
        write("index-7.damaged/blobs/9", &across);
        let mut text = vec![b'y'; 70_000];
        text.extend_from_slice(b" +1 (555) 123-\\u0030001 ");
        let block = zstd::encode_all(&text[..], 3).unwrap();
        write("packed.log.zst", &block);
        // Blocks anywhere in a file, one of them across two pieces.
        let mut blocks = vec![0; PIECE_BYTES - 2];
        blocks.extend_from_slice(&block);
        write("blocks", &blocks);
        // The beginning of one that was never finished, without its first bytes.
        let noise: Vec<u8> = (0..200_000_u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).rotate_left(n % 31).to_be_bytes())
            .collect();
        let long = zstd::encode_all(&[&text[..], &noise].concat()[..], 3).unwrap();
        write("cut.log.zst.new", &[&[0; 124][..], &long[..long.len() / 2]].concat());
        write("clean", b"15551230002 and +25551230001");
        write("mail-to-15551230001", b"");
        assert_eq!(
            found(dir.path()),
            [
                "blocks",
                "cut.log.zst.new",
                "index-7.damaged/blobs/9",
                "mail-to-15551230001",
                "packed.log.zst"
            ]
        );
    }

    #[test]
    fn what_cannot_be_searched_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("backup.age", b"age-encryption.org/v1\n...");
        write("old.gz", &[0x1f, 0x8b, 8, 0]);
        let block = zstd::encode_all(&vec![7; 100_000][..], 3).unwrap();
        write("damaged.log.zst", &block[..block.len() - 3]);
        write("elsewhere", b"");
        symlink("elsewhere", dir.path().join("link")).unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        let mut unsearched: Vec<String> = traces(dir.path())
            .unsearched
            .iter()
            .map(|(path, why)| format!("{}: {why}", path.file_name().unwrap().display()))
            .collect();
        unsearched.sort();
        assert_eq!(unsearched.len(), 4, "{unsearched:?}");
        for (line, start) in unsearched.iter().zip([
            "backup.age: it is encrypted",
            "damaged.log.zst: what is compressed at byte 0",
            "link: it is a symbolic link",
            "old.gz: it is compressed",
        ]) {
            assert!(line.starts_with(start), "{line}");
        }
        assert!(traces(dir.path()).found.is_empty());
    }
}
