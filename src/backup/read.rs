//! Reading a backup from its beginning to its end, in any form.

use std::cell::Cell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zstd::stream::read::Decoder;

use super::error::BackupError;
use super::examine::{Examined, PIECE_BYTES, unreadable};
use super::manifest::{MANIFEST_BYTES_MAX, Manifest};
use super::names;
use crate::fsutil;
use crate::store::{Progress, UNFINISHED};

/// What an age file begins with.
const AGE: &[u8] = b"age-encryption.org/";

/// How many times its size an archive may unpack to, beyond [`UNPACKED_FREE`]: the most repetitive
/// journal stays far below it.
const UNPACKED_TIMES: u64 = 1000;
/// Bytes that may come of an archive of any size.
const UNPACKED_FREE: u64 = 1 << 30;
/// How many times what it unpacks to an archive may be, beyond [`PACKED_FREE`]: zstd makes nothing much larger.
const PACKED_TIMES: u64 = 2;
/// Bytes that may be read before anything comes of them.
const PACKED_FREE: u64 = 16 << 20;
/// Bytes of the recipients that stand before what is encrypted.
const RECIPIENTS_BYTES_MAX: u64 = 1 << 20;
/// Bytes behind the last file: a tar ends with zeros, up to a whole number of blocks.
const PADDING_BYTES_MAX: u64 = 1 << 20;
/// Bytes by which an archive is told from other files, and which a message about another one shows.
const BEGIN_BYTES: u64 = 40;

/// Where a backup is read.
#[derive(Debug, Clone)]
pub enum BackupSource {
    /// A directory or a file.
    Path(PathBuf),
    /// An archive, which comes once.
    Stdin,
}

impl BackupSource {
    /// What messages call it.
    pub fn name(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Stdin => Path::new("standard input"),
        }
    }
}

/// The file with the keys that an encrypted backup is read with, where there is one.
#[derive(Debug, Clone, Default)]
pub struct Identities(pub Option<PathBuf>);

/// Takes a file: its name, how many bytes it has, and these.
pub(super) type Visit<'a> =
    dyn FnMut(&str, u64, &mut dyn Read) -> Result<Examined, BackupError> + 'a;

/// Hands every file of a backup to `visit` and compares what it is with the manifest.
pub(super) fn walk(
    source: &BackupSource,
    identities: &Identities,
    progress: &dyn Fn(Progress),
    visit: &mut Visit<'_>,
) -> Result<Manifest, BackupError> {
    let path = source.name();
    if matches!(source, BackupSource::Stdin) {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        let stdin = File::from(stdin.map_err(BackupError::io("read", path))?);
        return archive(path, stdin, None, identities, progress, visit);
    }
    if names::is_partial(path) {
        return Err(BackupError::Unfinished { path: path.to_owned() });
    }
    let about = fs::metadata(path).map_err(BackupError::io("read", path))?;
    if about.is_dir() {
        directory(path, progress, visit)
    } else {
        let file = fsutil::open_named(path).map_err(BackupError::io("read", path))?;
        let total = file.metadata().map_err(BackupError::io("read", path))?.len();
        archive(path, file, Some(total), identities, progress, visit)
    }
}

/// The manifest of a backup that is a directory.
pub(super) fn manifest(path: &Path) -> Result<Manifest, BackupError> {
    // One that was killed at its very beginning has nothing in it yet.
    if names::is_partial(path) || fsutil::is_there(&path.join(UNFINISHED)) {
        return Err(BackupError::Unfinished { path: path.to_owned() });
    }
    let place = path.join(names::MANIFEST);
    let file = fsutil::open_in(path, names::MANIFEST).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            let reason = if !fsutil::is_there(path) {
                "nothing is there"
            } else if fsutil::is_there(&path.join("FORMAT")) {
                "it is a data directory; `rollcall backup` makes a backup of one"
            } else {
                "no file BACKUP is in it; name what `rollcall backup` has made"
            };
            BackupError::NoBackup { path: path.to_owned(), reason: reason.to_owned() }
        }
        _ => BackupError::io("read", &place)(error),
    })?;
    let mut text = Vec::new();
    let read = file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text);
    read.map_err(BackupError::io("read", &place))?;
    Manifest::parse(path, &text)
}

fn directory(
    path: &Path,
    progress: &dyn Fn(Progress),
    visit: &mut Visit<'_>,
) -> Result<Manifest, BackupError> {
    let manifest = manifest(path)?;
    let (total, done) = (manifest.bytes(), Cell::new(0));
    let step = |bytes: u64| {
        done.set(done.get() + bytes);
        progress(Progress::bytes(READING, done.get(), Some(total)));
    };
    for entry in &manifest.files {
        let place = path.join(&entry.name);
        let mut file = fsutil::open_in(path, &entry.name).map_err(|error| match error.kind() {
            ErrorKind::NotFound => BackupError::damaged(path, &entry.name, 0, "it is missing"),
            _ => BackupError::io("read", &place)(error),
        })?;
        let bytes = file.metadata().map_err(BackupError::io("read", &place))?.len();
        if bytes != entry.bytes {
            let reason = format!("the file has {bytes} bytes where {} were written", entry.bytes);
            return Err(BackupError::damaged(path, &entry.name, bytes.min(entry.bytes), reason));
        }
        let found = visit(&entry.name, bytes, &mut ProgressReader::new(&mut file, &step))?;
        same(path, &found, entry)?;
    }
    Ok(manifest)
}

fn same(
    path: &Path,
    found: &Examined,
    entry: &super::manifest::ManifestFile,
) -> Result<(), BackupError> {
    if found.entry.sha256 != entry.sha256 {
        let reason = "its content does not fit its SHA-256 in the manifest";
        return Err(BackupError::damaged(path, &entry.name, 0, reason));
    }
    if found.entry != *entry {
        let reason = "it has other frames than the manifest says";
        return Err(BackupError::damaged(path, &entry.name, 0, reason));
    }
    Ok(())
}

/// Reads an archive, of so many bytes where that is known, once.
fn archive(
    path: &Path,
    file: File,
    total: Option<u64>,
    identities: &Identities,
    progress: &dyn Fn(Progress),
    visit: &mut Visit<'_>,
) -> Result<Manifest, BackupError> {
    let counted = Counted::default();
    // What comes out of it is of no matter: what goes in has an end, or is what is waited for.
    let step = |_: u64| progress(Progress::bytes(READING, counted.read.get(), total));
    let file = CountingReader { file, counted: counted.clone() };
    let input = unpacked(path, BufReader::with_capacity(PIECE_BYTES, file), &counted, identities)?;
    let cut_off = |error: io::Error| {
        let reason = format!("the archive cannot be read on: {}", unreadable(&error));
        BackupError::damaged(path, "the archive", counted.read.get(), reason)
    };
    let mut tar = tar::Archive::new(Bounded { input, counted: counted.clone() });
    let mut found: Vec<Examined> = Vec::new();
    let mut names_found = HashSet::new();
    let mut manifest = None;
    // As they stand there: a long name or an attribute is an entry of its own, which no backup has,
    // and is refused before its content, of any length, comes into memory.
    for entry in tar.entries().map_err(cut_off)?.raw(true) {
        let mut entry = entry.map_err(cut_off)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || manifest.is_some() {
            return Err(BackupError::damaged(path, &name, 0, "no file of a backup is like it"));
        }
        if found.len() >= names::FILES_MAX {
            return Err(BackupError::damaged(path, &name, 0, "no backup has so many files"));
        }
        if !names_found.insert(name.clone()) {
            return Err(BackupError::damaged(path, &name, 0, "it is there twice"));
        }
        if name == names::MANIFEST {
            let mut text = Vec::new();
            entry.by_ref().take(MANIFEST_BYTES_MAX).read_to_end(&mut text).map_err(cut_off)?;
            manifest = Some(Manifest::parse(path, &text)?);
        } else {
            let bytes = entry.size();
            let examined = visit(&name, bytes, &mut ProgressReader::new(&mut entry, &step))?;
            if examined.entry.bytes != bytes {
                let at = examined.entry.bytes;
                return Err(BackupError::damaged(path, &name, at, "the archive ends here"));
            }
            found.push(examined);
        }
    }
    let Some(manifest) = manifest else {
        let reason = "the archive ends before its manifest: it is only a part of a backup";
        return Err(BackupError::damaged(path, names::MANIFEST, counted.read.get(), reason));
    };
    // The last bytes say whether all before them are right.
    let mut padding = tar.into_inner().take(PADDING_BYTES_MAX + 1);
    if io::copy(&mut padding, &mut io::sink()).map_err(cut_off)? > PADDING_BYTES_MAX {
        let reason = format!("more than {PADDING_BYTES_MAX} bytes follow its last file");
        return Err(BackupError::damaged(path, "the archive", counted.read.get(), reason));
    }
    for (found, entry) in found.iter().zip(&manifest.files) {
        same(path, found, entry)?;
    }
    if let Some(missing) = manifest.files.get(found.len()) {
        return Err(BackupError::damaged(path, &missing.name, 0, "it is missing"));
    }
    if let Some(more) = found.get(manifest.files.len()) {
        return Err(BackupError::damaged(path, &more.entry.name, 0, "the manifest lacks it"));
    }
    Ok(manifest)
}

/// The tar of an archive.
fn unpacked(
    path: &Path,
    mut file: BufReader<CountingReader>,
    counted: &Counted,
    identities: &Identities,
) -> Result<Box<dyn Read>, BackupError> {
    // A pipe may bring it byte by byte.
    let mut begin = Vec::new();
    let read = file.by_ref().take(BEGIN_BYTES).read_to_end(&mut begin);
    read.map_err(BackupError::io("read", path))?;
    let encrypted = begin.starts_with(AGE);
    if !encrypted && !begin.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(BackupError::NoBackup { path: path.to_owned(), reason: no_archive(&begin) });
    }
    let file = io::Cursor::new(begin).chain(file);
    let tar: Box<dyn Read> = if encrypted {
        let decrypt = |reason: String| BackupError::Decrypt { path: path.to_owned(), reason };
        let Some(keys) = &identities.0 else {
            return Err(BackupError::Encrypted { path: path.to_owned() });
        };
        let text = fsutil::open_stream(keys).map_err(BackupError::io("read", keys))?;
        let known = age::IdentityFile::from_buffer(BufReader::new(text));
        let known = known.map_err(BackupError::io("read the keys in", keys))?;
        let known = known.into_identities().map_err(|error| decrypt(error.to_string()))?;
        counted.most.set(RECIPIENTS_BYTES_MAX);
        let decryptor = age::Decryptor::new_buffered(file);
        let decryptor = decryptor.map_err(|error| decrypt(error.to_string()))?;
        let content = decryptor.decrypt(known.iter().map(|key| -> &dyn age::Identity { &**key }));
        Box::new(Decrypting(content.map_err(|error| decrypt(error.to_string()))?))
    } else {
        Box::new(file)
    };
    counted.most.set(PACKED_FREE);
    let tar = BufReader::with_capacity(PIECE_BYTES, tar);
    let decoder = Decoder::with_buffer(tar).map_err(BackupError::io("unpack", path))?;
    Ok(Box::new(OneFrame(decoder.single_frame())))
}

/// Why a file that begins so is no archive.
fn no_archive(begin: &[u8]) -> String {
    if begin.is_empty() {
        return "nothing came, not a byte; the command that makes it says why".to_owned();
    }
    format!(
        "what begins with \"{}\" is neither compressed by zstd nor encrypted by age; name what `rollcall backup` has \
         made",
        begin.escape_ascii()
    )
}

/// What is decrypted, with an error that says what cannot be told apart.
struct Decrypting<R>(R);

impl<R: Read> Read for Decrypting<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => io::Error::new(
                ErrorKind::InvalidData,
                format!("it is damaged or cut off, and cannot be decrypted from here on ({error})"),
            ),
            _ => error,
        })
    }
}

/// What one frame of zstd has. Nothing may follow it.
struct OneFrame(Decoder<'static, BufReader<Box<dyn Read>>>);

impl Read for OneFrame {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(out)?;
        // To see the end is to know that what is encrypted is whole.
        if count == 0 && !out.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            return Err(io::Error::new(ErrorKind::InvalidData, "there is more behind its end"));
        }
        Ok(count)
    }
}

/// Says now and then how many bytes have come since it last did.
struct ProgressReader<'a> {
    from: &'a mut dyn Read,
    step: &'a dyn Fn(u64),
    unreported: u64,
}

/// Bytes after which progress is reported.
const STEP_BYTES: u64 = 1 << 20;
/// What is being done.
const READING: &str = "reading the backup";

impl<'a> ProgressReader<'a> {
    fn new(from: &'a mut dyn Read, step: &'a dyn Fn(u64)) -> Self {
        Self { from, step, unreported: 0 }
    }
}

impl Read for ProgressReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(out)?;
        self.unreported += count as u64;
        if self.unreported >= STEP_BYTES || count == 0 {
            (self.step)(std::mem::take(&mut self.unreported));
        }
        Ok(count)
    }
}

/// Bytes of an archive so far.
#[derive(Clone)]
struct Counted {
    read: Rc<Cell<u64>>,
    unpacked: Rc<Cell<u64>>,
    /// How many may be read.
    most: Rc<Cell<u64>>,
}

impl Default for Counted {
    fn default() -> Self {
        let most = Rc::new(Cell::new(PACKED_FREE));
        Self { read: Rc::default(), unpacked: Rc::default(), most }
    }
}

/// Counts how much of an archive is read, and ends where that is more than any has that is so far.
struct CountingReader {
    file: File,
    counted: Counted,
}

impl Read for CountingReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Counted { read, unpacked, most } = &self.counted;
        if read.get() > most.get() {
            return Err(io::Error::other(format!(
                "{} bytes were read of it, which unpack to no more than {}, and no backup is like that",
                read.get(),
                unpacked.get()
            )));
        }
        let count = self.file.read(out)?;
        read.set(read.get() + count as u64);
        Ok(count)
    }
}

/// Ends where more comes out than any backup has for what went in.
struct Bounded {
    input: Box<dyn Read>,
    counted: Counted,
}

impl Read for Bounded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        let Counted { read, unpacked, most } = &self.counted;
        let (read, so_far) = (read.get(), unpacked.get() + count as u64);
        unpacked.set(so_far);
        if so_far > read.saturating_mul(UNPACKED_TIMES).saturating_add(UNPACKED_FREE) {
            return Err(io::Error::other(format!(
                "it unpacks to more than {UNPACKED_TIMES} times the {read} bytes that were read of \
                 it, and no backup does"
            )));
        }
        most.set(so_far.saturating_mul(PACKED_TIMES).saturating_add(PACKED_FREE));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::verify;

    #[test]
    fn what_only_other_archives_have_is_refused_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("strange.tar.zst");
        for kind in [b'L', b'x', b'S', b'2', b'1', b'5'] {
            let mut header = tar::Header::new_gnu();
            header.set_path("tls/ca.pem").unwrap();
            header.set_entry_type(tar::EntryType::new(kind));
            // Its content is not there: a reader meets the end of the file.
            header.set_size(1 << 40);
            header.set_cksum();
            fs::write(&path, zstd::encode_all(&header.as_bytes()[..], 3).unwrap()).unwrap();
            let source = BackupSource::Path(path.clone());
            let refused = verify(&source, &Identities::default(), &|_| {}).unwrap_err().to_string();
            assert!(refused.contains("no file of a backup is like it"), "{kind}: {refused}");
        }
    }

    #[test]
    fn what_unpacks_to_far_more_than_any_backup_is_not_read_to_its_end() {
        // Eight times the size of what is free, and next to nothing of it is in the file.
        let counted = Counted::default();
        counted.read.set(100);
        let input = Box::new(io::repeat(0).take(8 << 30));
        let mut bounded = Bounded { input, counted };
        let (mut buffer, mut taken) = (vec![0; 1 << 20], 0);
        let refused = loop {
            match bounded.read(&mut buffer) {
                Ok(count) => taken += count as u64,
                Err(error) => break error.to_string(),
            }
        };
        assert!(taken <= UNPACKED_FREE + 100 * UNPACKED_TIMES, "{taken}");
        assert!(refused.contains("more than 1000 times the 100 bytes"), "{refused}");
    }
}
