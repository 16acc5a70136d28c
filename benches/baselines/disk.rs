//! The disk alone: bytes that are appended to a file and synced.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::Outcome;

/// Appends so many bytes and syncs them, one after another. Returns how long each took.
pub fn append(dir: &Path, bytes: usize, times: usize) -> Outcome<Vec<Duration>> {
    let mut appender = Appender::new(dir, bytes)?;
    (0..times).map(|_| appender.once()).collect()
}

/// The same at intervals, until it is told to stop: how the disk is while others write.
pub fn beside(
    dir: &Path,
    bytes: usize,
    every: Duration,
    stop: &AtomicBool,
) -> Outcome<Vec<Duration>> {
    let mut appender = Appender::new(dir, bytes)?;
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        times.push(appender.once()?);
        std::thread::park_timeout(every);
    }
    Ok(times)
}

struct Appender {
    file: File,
    piece: Vec<u8>,
}

impl Appender {
    fn new(dir: &Path, bytes: usize) -> Outcome<Self> {
        let file = File::options().create(true).append(true).open(dir.join("appended"))?;
        Ok(Self { file, piece: vec![b'x'; bytes] })
    }

    fn once(&mut self) -> Outcome<Duration> {
        let begun = Instant::now();
        self.file.write_all(&self.piece)?;
        self.file.sync_data()?;
        Ok(begun.elapsed())
    }
}
