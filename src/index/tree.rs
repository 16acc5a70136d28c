//! The sled tree: reading ranges, and writing versions of calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::block::{Block, BlockRow};
use super::draft::{IndexBatch, RowChange};
use super::rows::{AdminRow, CheckpointMeta, IndexStats, Stored, sealed, unsealed};
use super::scan::{Batches, Finder, RangeScan};
use super::{IndexError, Op, layout};
use crate::domain::{AccountSid, Call, CallId, CallSid, Position, Timestamp};
use crate::fsutil;
use crate::keys::{self, IndexKeys, PositionSpan, Range, merged};

/// One generation of the index, open.
pub struct Index {
    pub(super) dir: PathBuf,
    pub(super) db: Database,
    batches: Batches,
    pub(super) stats: Mutex<IndexStats>,
    /// Set once anything has failed; from then on nothing is read or written any more.
    failed: AtomicBool,
}

/// Keys of one `apply_batch` while others read. sled holds a lock of the whole process meanwhile.
const BATCH_KEYS: usize = 96;
/// What is said of a panic.
const PANIC_CHARS_MAX: usize = 80;
/// How long a store that was just closed may still be locked.
const RELEASE_MAX: Duration = Duration::from_secs(10);
const RELEASE_POLL: Duration = Duration::from_millis(2);

impl Index {
    /// Opens the store in a directory, which is made where it is missing.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, IndexError> {
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes).flush_every_ms(None);
        // A damaged store may panic instead of failing.
        let opened = guarded(dir, || {
            let db = open_once_released(&config)?;
            layout::check(&db)?;
            let mark = read_mark(&db)?;
            Ok((db, mark))
        });
        let (db, mark) = opened?;
        let stats = mark.map(|mark| mark.stats).unwrap_or_default();
        Ok(Self {
            dir: dir.to_owned(),
            db: Database(Some(db)),
            batches: Batches::default(),
            stats: Mutex::new(stats),
            failed: AtomicBool::new(false),
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The mark of the last checkpoint, none in a store that never had one.
    pub fn mark(&self) -> Result<Option<CheckpointMeta>, IndexError> {
        self.guarded(|| read_mark(&self.db))
    }

    /// How many calls and tombstones it holds.
    pub fn stats(&self) -> IndexStats {
        *self.stats.lock()
    }

    /// Counts every row under `k` again.
    pub fn recount(&self) -> Result<IndexStats, IndexError> {
        self.guarded(|| {
            let mut stats = IndexStats::default();
            for row in self.db.scan_prefix([keys::KNOWN]) {
                let (key, value) = row?;
                let id = keys::id_in_known(&key).ok_or_else(strange_key)?;
                stats.add(id, Stored::from_bytes(&value)?);
            }
            Ok(stats)
        })
    }

    /// What is known under a call's sid.
    pub fn stored(&self, id: CallId) -> Result<Option<Stored>, IndexError> {
        self.guarded(|| match self.db.get(keys::known(id))? {
            None => Ok(None),
            Some(value) => Stored::from_bytes(&value).map(Some),
        })
    }

    /// Which accounts know a call of this sid, and what of it; the calls themselves are not looked at.
    pub fn known(&self, sid: CallSid) -> Result<Vec<(AccountSid, Stored)>, IndexError> {
        self.guarded(|| {
            let rows = self.db.scan_prefix(keys::known_sid(sid));
            let row = |row: sled::Result<(sled::IVec, sled::IVec)>| {
                let (key, value) = row?;
                let id = keys::id_in_known(&key).ok_or_else(strange_key)?;
                Ok((id.account, Stored::from_bytes(&value)?))
            };
            rows.map(row).collect()
        })
    }

    /// The version of a call that the index has.
    pub fn call(&self, id: CallId) -> Result<Option<(u64, Call)>, IndexError> {
        let Some(row) = self.row(id)? else { return Ok(None) };
        let call = self.guarded(|| row.call())?;
        if call.id != id {
            return Err(self.damaged("a call stands where another should"));
        }
        Ok(Some((row.seq(), call)))
    }

    /// The row of a call.
    pub fn row(&self, id: CallId) -> Result<Option<BlockRow>, IndexError> {
        let mut stored = self.stored(id)?;
        while let Some(Stored::Call { seq, listed_at }) = stored {
            let found = self.rows_at(id.account, &[Position::new(listed_at, id.sid)])?.pop();
            // Between the two reads the call may have got a newer version, never an older.
            if let Some(row) = found.flatten().filter(|row| row.seq() >= seq) {
                return Ok(Some(row));
            }
            let again = self.stored(id)?;
            if again == stored {
                return Err(self.damaged("a call is known by its sid and not to be found"));
            }
            stored = again;
        }
        Ok(None)
    }

    /// The rows of an account's calls at some positions, which are in order, one way or the other.
    pub fn rows_at(
        &self,
        account: AccountSid,
        positions: &[Position],
    ) -> Result<Vec<Option<BlockRow>>, IndexError> {
        self.guarded(|| {
            let mut finder = self.finder(Range::all(account));
            let row = |position: &Position| match finder.find(*position)? {
                Some((block, n)) => block.row(n),
                None => Ok(None),
            };
            positions.iter().map(row).collect()
        })
    }

    /// The first `count` positions of some ranges together, in the span's order, each with the number
    /// of the range that has it. With `rows`, a single range of whole calls brings them, until they
    /// weigh `bytes`.
    pub fn positions(
        &self,
        ranges: &[Range],
        span: &PositionSpan,
        count: usize,
        rows: bool,
        bytes: usize,
    ) -> Result<Vec<(Position, usize, Option<BlockRow>)>, IndexError> {
        let with_row = rows && ranges.len() == 1 && ranges.iter().all(Range::carries_texts);
        self.guarded(|| {
            let row = |position, range, (block, n): (Block, usize)| {
                Ok((position, range, if with_row { block.row(n)? } else { None }))
            };
            if let [range] = ranges {
                let (mut brought, mut weight) = (Vec::new(), 0);
                for found in self.scan(range, span)?.take(count) {
                    let found = found.and_then(|(at, found)| row(at, 0, found))?;
                    weight += found.2.as_ref().map_or(0, BlockRow::weight);
                    brought.push(found);
                    if weight >= bytes {
                        break;
                    }
                }
                return Ok(brought);
            }
            let mut sources = Vec::with_capacity(ranges.len());
            for (number, range) in ranges.iter().enumerate() {
                let rows = self.scan(range, span)?;
                let numbered = rows.map(move |row| row.map(|(at, found)| (at, (number, found))));
                sources.push(Box::new(numbered) as keys::RangeRows<'_, _, IndexError>);
            }
            let rows = merged(sources, span.order).take(count);
            rows.map(|found| found.and_then(|(at, (range, found))| row(at, range, found))).collect()
        })
    }

    /// How many batches have been written since it was opened; none while one is.
    pub fn batches_written(&self) -> Option<u64> {
        self.batches.written()
    }

    /// The rows of a range that lie in a span, one after another.
    pub(super) fn scan(
        &self,
        range: &Range,
        span: &PositionSpan,
    ) -> Result<RangeScan<'_>, IndexError> {
        RangeScan::new(&self.db, &self.batches, range, span)
    }

    /// What finds rows of a range by their positions.
    pub(super) fn finder(&self, range: Range) -> Finder<'_> {
        Finder::new(&self.db, &self.batches, range)
    }

    /// The first account after this one that has a call.
    pub fn next_account(
        &self,
        after: Option<AccountSid>,
    ) -> Result<Option<AccountSid>, IndexError> {
        self.guarded(|| {
            let from = match after {
                None => vec![keys::CALL],
                Some(account) => keys::call(account, Position::MAX),
            };
            let bounds =
                (std::ops::Bound::Excluded(from), std::ops::Bound::Excluded(vec![keys::CALL + 1]));
            match self.db.range::<Vec<u8>, _>(bounds).next().transpose()? {
                None => Ok(None),
                Some((key, _)) => keys::account_in(&key).map(Some).ok_or_else(strange_key),
            }
        })
    }

    /// Every live call in turn.
    pub fn each_live(&self, mut visit: impl FnMut(CallId)) -> Result<(), IndexError> {
        self.guarded(|| {
            for key in self.db.scan_prefix([keys::LIVE]).keys() {
                visit(keys::id_at_end(&key?).ok_or_else(strange_key)?);
            }
            Ok(())
        })
    }

    /// Live calls whose last event came before this time, oldest first.
    pub fn live_before(&self, time: Timestamp, count: usize) -> Result<Vec<CallId>, IndexError> {
        self.timed_before(keys::LIVE, time, count)
    }

    /// Tombstones of calls that were deleted before this time, oldest first.
    pub fn deleted_before(&self, time: Timestamp, count: usize) -> Result<Vec<CallId>, IndexError> {
        self.timed_before(keys::DELETED, time, count)
    }

    fn timed_before(
        &self,
        kind: u8,
        time: Timestamp,
        count: usize,
    ) -> Result<Vec<CallId>, IndexError> {
        self.guarded(|| {
            let rows = self.db.range(vec![kind]..keys::timed_from(kind, time)).keys().take(count);
            rows.map(|key| keys::id_at_end(&key?).ok_or_else(strange_key)).collect()
        })
    }

    /// Every admin row.
    pub fn admin_rows(&self) -> Result<Vec<AdminRow>, IndexError> {
        self.guarded(|| {
            let mut found = Vec::new();
            for row in self.db.scan_prefix([keys::ADMIN]) {
                let (key, value) = row?;
                let (seq, json) = unsealed(&value)?;
                let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
                found.push(AdminRow { name, seq, json: json.to_vec() });
            }
            Ok(found)
        })
    }

    /// The sequence number of the admin row of this name.
    pub fn admin_seq(&self, name: &str) -> Result<Option<u64>, IndexError> {
        self.guarded(|| match self.db.get(keys::admin(name))? {
            None => Ok(None),
            Some(value) => Ok(Some(unsealed(&value)?.0)),
        })
    }

    /// Every row under `k` whose sid begins with these bytes in turn, for as long as the visitor wants more.
    pub fn each_stored(
        &self,
        leading: &[u8],
        mut visit: impl FnMut(CallId, Stored) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        self.guarded(|| {
            for row in self.db.scan_prefix([&[keys::KNOWN][..], leading].concat()) {
                let (key, value) = row?;
                let id = keys::id_in_known(&key).ok_or_else(strange_key)?;
                if !visit(id, Stored::from_bytes(&value)?)? {
                    break;
                }
            }
            Ok(())
        })
    }

    /// How many rows each range of keys has that must agree: by the letter of the range.
    pub fn row_counts(&self) -> Result<std::collections::BTreeMap<u8, u64>, IndexError> {
        self.guarded(|| {
            let mut counts = std::collections::BTreeMap::new();
            for row in self.db.iter() {
                let (key, value) = row?;
                let letter = key.first().copied().ok_or_else(strange_key)?;
                let rows = if keys::is_in_range(&key) {
                    Block::read(&key, value)?.len() as u64
                } else {
                    1
                };
                *counts.entry(letter).or_default() += rows;
            }
            Ok(counts)
        })
    }

    /// Whether this version of a call has all its keys, and how many those are beside `c` and `k`.
    pub fn has_keys(&self, call: &Call) -> Result<bool, IndexError> {
        self.guarded(|| {
            for key in IndexKeys::of(call).keys(call.id) {
                if !self.has_key(&key)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    fn has_key(&self, key: &[u8]) -> Result<bool, IndexError> {
        if !keys::is_in_range(key) {
            return Ok(self.db.contains_key(key)?);
        }
        let (prefix, position) = keys::split(key).ok_or_else(strange_key)?;
        let last = keys::joined(prefix, Position::MAX);
        let Some(found) = self.db.range(key.to_vec()..=last).next() else { return Ok(false) };
        let (key, value) = found?;
        Ok(Block::read(&key, value)?.find(position).is_some())
    }

    /// Writes new versions in small batches; all keys of one call change together. An admin row that
    /// was removed stays as an empty one: the index can say of every name which change was its last.
    pub fn write(&self, ops: &[Op<'_>], admin: &[AdminRow]) -> Result<(), IndexError> {
        self.guarded(|| {
            let mut draft = IndexBatch::new(&self.db);
            let mut stats = self.stats();
            for op in ops {
                for change in op.changes(&mut stats) {
                    draft.apply(change)?;
                }
                if draft.len() >= BATCH_KEYS {
                    let whole = std::mem::replace(&mut draft, IndexBatch::new(&self.db));
                    self.apply(whole, stats)?;
                }
            }
            for row in admin {
                let value = sealed(row.seq, &row.json);
                draft.apply(RowChange::Value(keys::admin(&row.name), Some(value)))?;
            }
            self.apply(draft, stats)
        })
    }

    /// Writes a batch; the tally is that of after it.
    fn apply(&self, draft: IndexBatch<'_>, stats: IndexStats) -> Result<(), IndexError> {
        let batch = draft.into_batch();
        self.batches.write(|| {
            self.db.apply_batch(batch)?;
            *self.stats.lock() = stats;
            Ok(())
        })
    }

    /// Writes the mark and brings everything to disk. sled's own flush does not sync the file's
    /// metadata nor the disk's cache; `sync_data` on its file does.
    pub fn mark_and_sync(&self, mark: &CheckpointMeta) -> Result<(), IndexError> {
        self.guarded(|| {
            let json = serde_json::to_vec(mark).map_err(|e| IndexError::damaged(e.to_string()))?;
            self.db.insert(keys::MARK, sealed(mark.last_seq, &json))?;
            Ok(())
        })?;
        self.sync()
    }

    /// Brings everything to disk that has been written so far.
    pub fn sync(&self) -> Result<(), IndexError> {
        self.guarded(|| {
            self.db.flush()?;
            let db = self.dir.join("db");
            fsutil::open(&db)
                .and_then(|file| file.sync_data())
                .map_err(IndexError::io("sync", &db))?;
            fsutil::sync_dir(&self.dir).map_err(IndexError::io("sync", &self.dir))
        })
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or_default()
    }

    /// The error, after which nothing of this generation is trusted any more.
    pub fn damaged(&self, reason: &str) -> IndexError {
        self.failed.store(true, Ordering::Release);
        IndexError::damaged(reason)
    }

    pub(super) fn guarded<T>(
        &self,
        read: impl FnOnce() -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        if self.failed.load(Ordering::Acquire) {
            return Err(IndexError::damaged("it failed earlier"));
        }
        let result = guarded(&self.dir, read);
        if result.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        result
    }
}

/// sled's own threads close a store some time after it was dropped. Nobody but this process opens
/// it, so that a lock on it means just that.
pub(super) fn open_once_released(config: &sled::Config) -> Result<sled::Db, sled::Error> {
    let end = Instant::now() + RELEASE_MAX;
    loop {
        match config.open() {
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && Instant::now() < end =>
            {
                std::thread::park_timeout(RELEASE_POLL);
            }
            opened => return opened,
        }
    }
}

fn read_mark(db: &sled::Db) -> Result<Option<CheckpointMeta>, IndexError> {
    let Some(value) = db.get(keys::MARK)? else { return Ok(None) };
    let (_, json) = unsealed(&value)?;
    let mark = serde_json::from_slice(json);
    mark.map(Some).map_err(|error| rows_damaged(&error))
}

fn rows_damaged(error: &serde_json::Error) -> IndexError {
    IndexError::damaged(format!("the mark of the last checkpoint: {error}"))
}

pub(super) fn strange_key() -> IndexError {
    IndexError::damaged("a key of unknown shape")
}

/// sled, which syncs once more when it is closed and panics where it cannot. The last user of an
/// index does not notice that: what it has to keep was synced before.
pub(super) struct Database(Option<sled::Db>);

impl std::ops::Deref for Database {
    type Target = sled::Db;

    #[expect(clippy::expect_used, reason = "it is taken out when it is dropped, and not before")]
    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("the index is open")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.0.take();
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// sled may panic where it finds damage; others are not to notice that.
fn guarded<T>(dir: &Path, read: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        // sled may add all that it holds, and with it calls of all accounts.
        let reason = text.unwrap_or("no reason given").chars().take(PANIC_CHARS_MAX).collect();
        Err(IndexError::Panicked { path: dir.to_owned(), reason })
    })
}
