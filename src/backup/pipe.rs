//! Writing into a pipe whose reader may go away, or stop reading.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::domain::exact_duration;

/// Bytes that a pipe takes as a whole once it takes any (`PIPE_BUF`): a write of these does not wait.
const PIECE_BYTES: usize = 4096;
/// How long the reader may take nothing. As long as it is waited for, the store keeps files of replaced segments.
pub(super) const READER_TIMEOUT: Duration = Duration::from_mins(1);

/// Standard output, or what else somebody reads. It may be a file as well.
pub(super) struct Pipe {
    file: File,
    timeout: Duration,
    /// The reader is not waited for again.
    failed: bool,
}

impl Pipe {
    pub fn new(file: File, timeout: Duration) -> Self {
        Self { file, timeout, failed: false }
    }

    /// All was written. A file is on disk when this returns.
    pub fn end(self) -> io::Result<()> {
        if self.file.metadata()?.is_file() { self.file.sync_all() } else { Ok(()) }
    }

    fn write_piece(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let timeout = Timespec::try_from(self.timeout).map_err(io::Error::other)?;
        let ready = poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&timeout))?;
        if ready == 0 {
            return Err(io::Error::new(
                ErrorKind::TimedOut,
                format!(
                    "its reader took nothing for {}, and is not waited for any longer",
                    exact_duration(self.timeout)
                ),
            ));
        }
        self.file.write(bytes.get(..PIECE_BYTES).unwrap_or(bytes))
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_piece(bytes).map_err(|error| match error.kind() {
            // A signal came; the caller tries again.
            ErrorKind::Interrupted => error,
            kind => {
                self.failed = true;
                let gone = "its reader went away before the end";
                if kind == ErrorKind::BrokenPipe { io::Error::new(kind, gone) } else { error }
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn pipe() -> (io::PipeReader, Pipe) {
        let (reader, writer) = io::pipe().unwrap();
        (
            reader,
            Pipe::new(File::from(std::os::fd::OwnedFd::from(writer)), Duration::from_millis(50)),
        )
    }

    #[test]
    fn a_reader_that_takes_nothing_is_given_up_once() {
        let (mut reader, mut pipe) = pipe();
        let all = vec![7; 1 << 20];
        let error = pipe.write_all(&all).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains("took nothing for 50ms"), "{error}");
        // What is dropped afterwards writes what it has left, which must not wait again.
        let error = pipe.write_all(&all).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
        drop(pipe);
        let mut taken = Vec::new();
        reader.read_to_end(&mut taken).unwrap();
        assert!(!taken.is_empty() && taken.len() < all.len(), "{}", taken.len());
    }

    #[test]
    fn a_reader_that_goes_away_is_told() {
        let (reader, mut pipe) = pipe();
        drop(reader);
        let error = pipe.write_all(b"x").unwrap_err().to_string();
        assert!(error.contains("went away before the end"), "{error}");
    }

    #[test]
    fn a_slow_reader_gets_all() {
        let (mut reader, mut pipe) = pipe();
        let all: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
        let taken = std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let (mut taken, mut piece) = (Vec::new(), vec![0; 50_000]);
                loop {
                    std::thread::yield_now();
                    match reader.read(&mut piece).unwrap() {
                        0 => return taken,
                        count => taken.extend_from_slice(&piece[..count]),
                    }
                }
            });
            pipe.write_all(&all).unwrap();
            pipe.end().unwrap();
            reading.join().unwrap()
        });
        assert!(taken == all);
    }
}
