//! Archives: a tar, compressed, and encrypted where it is asked for.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use age::stream::StreamWriter;
pub use age::x25519::Recipient;
use zstd::stream::write::Encoder;

use super::error::BackupError;
use super::pipe::Pipe;

/// How hard zstd tries: packed segments are as small as they get already.
const LEVEL: i32 = 3;
/// tar's unit.
const BLOCK: usize = 512;

/// A key to encrypt to, as `age-keygen` prints it.
pub fn parse_recipient(text: &str) -> Result<Recipient, BackupError> {
    text.parse().map_err(|reason| {
        let expected = "expected the public key of age-keygen, as age1…";
        BackupError::Usage(format!("--encrypt-to {text:?}: {reason}; {expected}"))
    })
}

/// An archive that is being written. Files come one after the other: a head, and then its bytes.
pub(super) struct Archive {
    output: ArchiveOutput,
    /// Bytes of the file so far in the last, unfinished block.
    in_block: usize,
}

enum ArchiveOutput {
    Open(Encoder<'static, BufWriter<ArchivePlace>>),
    Sealed(Encoder<'static, StreamWriter<BufWriter<ArchivePlace>>>),
}

/// Where an archive goes.
pub(super) enum ArchivePlace {
    File(File),
    Pipe(Pipe),
}

impl Write for ArchivePlace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Pipe(pipe) => pipe.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Archive {
    pub fn new(place: ArchivePlace, recipients: &[Recipient]) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 18, place);
        let output = if recipients.is_empty() {
            let mut encoder = Encoder::new(file, LEVEL)?;
            encoder.include_checksum(true)?;
            ArchiveOutput::Open(encoder)
        } else {
            let all = recipients.iter().map(|one| -> &dyn age::Recipient { one });
            let encryptor = age::Encryptor::with_recipients(all).map_err(io::Error::other)?;
            ArchiveOutput::Sealed(Encoder::new(encryptor.wrap_output(file)?, LEVEL)?)
        };
        Ok(Self { output, in_block: 0 })
    }

    /// Begins a file of so many bytes.
    pub fn begin(&mut self, name: &str, bytes: u64, seconds: u64) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        header.set_cksum();
        self.in_block = 0;
        self.write(header.as_bytes())
    }

    pub fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.in_block = (self.in_block + bytes.len()) % BLOCK;
        self.write(bytes)
    }

    /// All bytes of the file have been taken.
    pub fn end_file(&mut self) -> io::Result<()> {
        let rest = self.in_block.next_multiple_of(BLOCK) - self.in_block;
        self.write([0; BLOCK].get(..rest).unwrap_or_default())
    }

    /// The end of the archive, written when this returns; on disk where it is a file.
    pub fn end(mut self) -> io::Result<()> {
        self.write(&[0; 2 * BLOCK])?;
        let file = match self.output {
            ArchiveOutput::Open(encoder) => encoder.finish()?,
            ArchiveOutput::Sealed(encoder) => encoder.finish()?.finish()?,
        };
        match file.into_inner().map_err(io::IntoInnerError::into_error)? {
            ArchivePlace::File(file) => file.sync_all(),
            ArchivePlace::Pipe(pipe) => pipe.end(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.output {
            ArchiveOutput::Open(encoder) => encoder.write_all(bytes),
            ArchiveOutput::Sealed(encoder) => encoder.write_all(bytes),
        }
    }
}
