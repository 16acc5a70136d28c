//! Entries in the order of their keys, however many there are: what memory does not hold waits in a
//! file, in runs that are each in order, and is merged once.
//!
//! ```text
//! file   run*
//! run    block*
//! block  length u32 | page without a bound (see `page.rs`)
//! ```
//!
//! The file has no name, so that nothing is left of it however the process ends.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::IndexError;
use super::page::{Page, PageWriter, Put, shares};
use crate::fsutil;

/// Bytes of a block that are believed: many times as much as a page may have.
const BLOCK_MAX: u32 = 64 << 20;

/// Entries that are still in memory, as they came.
#[derive(Default)]
pub struct Gathered {
    bytes: Vec<u8>,
    spans: Vec<EntrySpan>,
}

/// Where an entry stands: its key, and after it its value.
#[derive(Clone, Copy)]
struct EntrySpan {
    at: usize,
    key: u32,
    value: u32,
}

impl Gathered {
    /// Empty, with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), spans: Vec::new() }
    }

    /// Empty, with the room that it had.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.spans.push(EntrySpan { at: self.bytes.len(), key: length(key), value: length(value) });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// Bytes of memory that it takes.
    pub fn weight(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<EntrySpan>()
    }

    /// The entries as they came.
    pub fn entries(&self) -> Vec<Put<'_>> {
        let entry = |span: &EntrySpan| {
            let rest = self.bytes.get(span.at..).unwrap_or_default();
            let (key, rest) = rest.split_at_checked(span.key as usize).unwrap_or_default();
            (key, rest.get(..span.value as usize))
        };
        self.spans.iter().map(entry).collect()
    }
}

/// The runs that wait to be merged.
pub(super) struct Runs {
    file: File,
    path: PathBuf,
    length: u64,
    /// Where each begins and ends.
    spans: Vec<(u64, u64)>,
    writer: PageWriter,
}

impl Runs {
    /// None yet, in a file of this directory.
    pub fn new(dir: &Path, name: &str) -> Result<Self, IndexError> {
        let path = dir.join(name);
        let file = fsutil::create(&path).map_err(IndexError::io("create", &path))?;
        fs::remove_file(&path).map_err(IndexError::io("remove", &path))?;
        Ok(Self { file, path, length: 0, spans: Vec::new(), writer: PageWriter::hasty()? })
    }

    /// Adds one. Its entries are in order.
    pub fn add(&mut self, entries: &[Put<'_>]) -> Result<(), IndexError> {
        let begin = self.length;
        let mut rest = entries;
        for share in shares(entries) {
            let (now, later) = rest.split_at(share);
            let page = self.writer.value(&[], 0, &[], now)?;
            let mut block = u32::try_from(page.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            block.extend_from_slice(&page);
            let written = self.file.write_all_at(&block, self.length);
            written.map_err(IndexError::io("write", &self.path))?;
            self.length += block.len() as u64;
            rest = later;
        }
        self.spans.push((begin, self.length));
        Ok(())
    }

    /// All entries of all runs in order. Of those with the same key the one of the latest run comes last.
    pub fn merged(&self) -> Result<Merged<'_>, IndexError> {
        let mut heads = BinaryHeap::with_capacity(self.spans.len());
        for (run, (begin, end)) in self.spans.iter().enumerate() {
            heads.extend(self.head(run, *begin, *end)?);
        }
        Ok(Merged { runs: self, heads })
    }

    /// The first entry of what is left of a run; none where nothing is.
    fn head(&self, run: usize, at: u64, end: u64) -> Result<Option<Head>, IndexError> {
        if at >= end {
            return Ok(None);
        }
        let read = |bytes: &mut [u8], at| {
            let read = self.file.read_exact_at(bytes, at);
            read.map_err(IndexError::io("read", &self.path))
        };
        let mut length = [0; 4];
        read(&mut length, at)?;
        let length = u32::from_be_bytes(length);
        if length > BLOCK_MAX {
            return Err(IndexError::damaged(format!("a block of {length} bytes to be merged")));
        }
        let mut block = vec![0; length as usize];
        read(&mut block, at + 4)?;
        let page = Page::read(&[], &block)?;
        Ok(Some(Head { page, n: 0, run, next: at + 4 + u64::from(length), end }))
    }
}

/// The next entry of a run.
struct Head {
    page: Page,
    n: usize,
    run: usize,
    /// Where the next block begins.
    next: u64,
    end: u64,
}

impl Head {
    fn key(&self) -> &[u8] {
        self.page.key(self.n)
    }
}

/// The least comes first: of the heap it is the greatest.
impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(self.key()).then(other.run.cmp(&self.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

/// Reads runs as one.
pub(super) struct Merged<'a> {
    runs: &'a Runs,
    heads: BinaryHeap<Head>,
}

impl Merged<'_> {
    /// Replaces what was gathered by the next entries, as many as fit into these bytes; none at the end.
    pub fn next(&mut self, gathered: &mut Gathered, bytes: usize) -> Result<(), IndexError> {
        gathered.clear();
        while gathered.weight() < bytes {
            let Some(mut head) = self.heads.peek_mut() else { break };
            gathered.push(head.key(), head.page.value(head.n).unwrap_or_default());
            head.n += 1;
            if head.n == head.page.len() {
                let Head { run, next, end, .. } = PeekMut::pop(head);
                self.heads.extend(self.runs.head(run, next, end)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn merged_runs_are_what_was_added_in_order(
            runs in vec(btree_map(vec(any::<u8>(), 1..6), vec(any::<u8>(), 0..40), 1..60), 0..8),
            bytes in 1..2000_usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut sorted = Runs::new(dir.path(), "runs").unwrap();
            let mut expected = BTreeMap::new();
            for run in &runs {
                // Keys of no range of calls.
                let run: BTreeMap<_, _> =
                    run.iter().map(|(key, value)| ([&b"k"[..], key].concat(), value.clone())).collect();
                let entries: Vec<Put<'_>> =
                    run.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))).collect();
                sorted.add(&entries).unwrap();
                expected.extend(run);
            }
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it has a name");
            let mut merged = sorted.merged().unwrap();
            let mut found = Vec::new();
            let mut some = Gathered::default();
            loop {
                merged.next(&mut some, bytes).unwrap();
                if some.entries().is_empty() {
                    break;
                }
                found.extend(some.entries().iter().map(|(key, value)| (key.to_vec(), value.unwrap().to_vec())));
            }
            prop_assert!(found.is_sorted_by(|a, b| a.0 <= b.0));
            prop_assert_eq!(found.len(), runs.iter().map(BTreeMap::len).sum::<usize>());
            let last: BTreeMap<_, _> = found.into_iter().collect();
            prop_assert_eq!(last, expected);
        }
    }
}
