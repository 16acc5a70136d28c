//! The sled tree: reading ranges, and writing versions of calls.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::rows::{AdminRow, Mark, Stored, Tally, record, sealed, unsealed};
use super::{IndexError, layout};
use crate::codec;
use crate::domain::{AccountSid, Call, CallId, Order, Position, Timestamp};
use crate::keys::{self, Facets, Range, Span, merged};

/// One generation of the index, open.
pub struct Index {
    pub(super) dir: PathBuf,
    pub(super) db: Database,
    pub(super) tally: Mutex<Tally>,
    /// Set once anything has failed; from then on nothing is read or written any more.
    failed: AtomicBool,
}

/// What the index is to know of a call from now on.
pub enum Version<'a> {
    /// The call, as of this sequence number.
    Call(u64, &'a Call),
    /// It was deleted.
    Tombstone(u64, Timestamp),
    /// Nothing: its tombstone has expired.
    Nothing,
}

/// A position that was found, and the record with its sequence number where the range carries it.
pub type Row = (Position, Option<(u64, Call)>);

/// One change of the index.
pub struct Op<'a> {
    /// The call.
    pub id: CallId,
    /// What the index knows of it so far.
    pub old: Option<(Stored, Option<Facets>)>,
    /// What it is to know.
    pub new: Version<'a>,
}

/// Keys of one `apply_batch` while others read. sled holds a lock of the whole process meanwhile.
const BATCH_KEYS: usize = 96;
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
        let tally = mark.map(|mark| mark.tally).unwrap_or_default();
        let (tally, failed) = (Mutex::new(tally), AtomicBool::new(false));
        Ok(Self { dir: dir.to_owned(), db: Database(Some(db)), tally, failed })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The mark of the last checkpoint, none in a store that never had one.
    pub fn mark(&self) -> Result<Option<Mark>, IndexError> {
        self.guarded(|| read_mark(&self.db))
    }

    /// How many calls and tombstones it holds.
    pub fn tally(&self) -> Tally {
        *self.tally.lock()
    }

    /// Counts every row under `k` again.
    pub fn recount(&self) -> Result<Tally, IndexError> {
        self.guarded(|| {
            let mut tally = Tally::default();
            for row in self.db.scan_prefix([keys::KNOWN]) {
                let (key, value) = row?;
                let id = keys::id_at_end(&key).ok_or_else(strange_key)?;
                tally.add(id, Stored::from_bytes(&value)?);
            }
            Ok(tally)
        })
    }

    /// What is known under a call's sid.
    pub fn stored(&self, id: CallId) -> Result<Option<Stored>, IndexError> {
        self.guarded(|| match self.db.get(keys::known(id))? {
            None => Ok(None),
            Some(value) => Stored::from_bytes(&value).map(Some),
        })
    }

    /// The version of a call that the index has.
    pub fn call(&self, id: CallId) -> Result<Option<(u64, Call)>, IndexError> {
        let mut stored = self.stored(id)?;
        while let Some(Stored::Call { seq, listed_at }) = stored {
            let found = self.call_at(id.account, Position::new(listed_at, id.sid))?;
            // Between the two reads the call may have got a newer version, never an older.
            if let Some((have, call)) = found.filter(|(have, call)| *have >= seq && call.id == id) {
                return Ok(Some((have, call)));
            }
            let again = self.stored(id)?;
            if again == stored {
                return Err(self.damaged("a call is known by its sid and not to be found"));
            }
            stored = again;
        }
        Ok(None)
    }

    /// The call at a position.
    pub fn call_at(
        &self,
        account: AccountSid,
        position: Position,
    ) -> Result<Option<(u64, Call)>, IndexError> {
        self.guarded(|| match self.db.get(keys::call(account, position))? {
            None => Ok(None),
            Some(value) => record(&value).map(Some),
        })
    }

    /// The first `count` positions of some ranges together, in the span's order; the rows of one
    /// range that carries records bring them.
    pub fn positions(
        &self,
        ranges: &[Range],
        span: &Span,
        count: usize,
    ) -> Result<Vec<Row>, IndexError> {
        let with_record = ranges.len() == 1 && ranges.iter().all(Range::carries_records);
        self.rows(ranges, span, count, |(_, value)| {
            if with_record { record(&value).map(Some) } else { Ok(None) }
        })
    }

    /// The same without records: each position, and the number of the range that has it.
    pub fn places(
        &self,
        ranges: &[Range],
        span: &Span,
        count: usize,
    ) -> Result<Vec<(Position, usize)>, IndexError> {
        self.rows(ranges, span, count, |(range, _)| Ok(range))
    }

    fn rows<T>(
        &self,
        ranges: &[Range],
        span: &Span,
        count: usize,
        read: impl Fn((usize, sled::IVec)) -> Result<T, IndexError>,
    ) -> Result<Vec<(Position, T)>, IndexError> {
        self.guarded(|| {
            let sources = ranges.iter().enumerate().filter_map(|(n, range)| {
                let rows = self.db.range(span.keys(range)?);
                let row = move |row: sled::Result<(sled::IVec, sled::IVec)>| {
                    let (key, value) = row?;
                    Ok((range.position_in(&key).ok_or_else(strange_key)?, (n, value)))
                };
                Some(match span.order {
                    Order::NewestFirst => Box::new(rows.map(row)) as keys::Rows<'_, _, IndexError>,
                    Order::OldestFirst => Box::new(rows.rev().map(row)),
                })
            });
            let rows = merged(sources.collect(), span.order).take(count);
            rows.map(|row| row.and_then(|(position, row)| Ok((position, read(row)?)))).collect()
        })
    }

    /// The positions of all rows of some ranges.
    pub fn count(&self, ranges: &[Range]) -> Result<Vec<Position>, IndexError> {
        let span = Span::all(Order::NewestFirst);
        let rows = self.places(ranges, &span, usize::MAX)?;
        Ok(rows.into_iter().map(|(position, _)| position).collect())
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

    /// Every row under `k` in turn, for as long as the visitor wants more.
    pub fn each_stored(
        &self,
        mut visit: impl FnMut(CallId, Stored) -> Result<bool, IndexError>,
    ) -> Result<(), IndexError> {
        self.guarded(|| {
            for row in self.db.scan_prefix([keys::KNOWN]) {
                let (key, value) = row?;
                let id = keys::id_at_end(&key).ok_or_else(strange_key)?;
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
            for key in self.db.iter().keys() {
                let key = key?;
                let letter = key.first().copied().ok_or_else(strange_key)?;
                *counts.entry(letter).or_default() += 1;
            }
            Ok(counts)
        })
    }

    /// Whether this version of a call has all its keys, and how many those are beside `c` and `k`.
    pub fn has_keys(&self, call: &Call) -> Result<bool, IndexError> {
        self.guarded(|| {
            for key in Facets::of(call).keys(call.id) {
                if !self.db.contains_key(key)? {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Writes new versions in small batches; all keys of one call change together. An admin row that
    /// was removed stays as an empty one: the index can say of every name which change was its last.
    pub fn write(&self, ops: &[Op<'_>], admin: &[AdminRow]) -> Result<(), IndexError> {
        self.guarded(|| {
            let mut batch = sled::Batch::default();
            let mut keys = 0;
            let mut tally = self.tally();
            for op in ops {
                for (key, value) in op.rows(&mut tally) {
                    keys += 1;
                    match value {
                        Some(value) => batch.insert(key, value),
                        None => batch.remove(key),
                    }
                }
                if keys >= BATCH_KEYS {
                    self.db.apply_batch(std::mem::take(&mut batch))?;
                    keys = 0;
                }
            }
            for row in admin {
                batch.insert(keys::admin(&row.name), sealed(row.seq, &row.json));
            }
            self.db.apply_batch(batch)?;
            *self.tally.lock() = tally;
            Ok(())
        })
    }

    /// Writes the mark and brings everything to disk. sled's own flush does not sync the file's
    /// metadata nor the disk's cache; `sync_data` on its file does.
    pub fn mark_and_sync(&self, mark: &Mark) -> Result<(), IndexError> {
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
            File::open(&db)
                .and_then(|file| file.sync_data())
                .map_err(IndexError::io("sync", &db))?;
            File::open(&self.dir)
                .and_then(|dir| dir.sync_all())
                .map_err(IndexError::io("sync", &self.dir))
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

impl Op<'_> {
    /// The rows that change and what they become, none where they go; counted in `tally`.
    pub(super) fn rows(&self, tally: &mut Tally) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let id = self.id;
        let mut old_keys = Vec::new();
        if let Some((stored, facets)) = &self.old {
            tally.remove(id, *stored);
            match (stored, facets) {
                (Stored::Tombstone { deleted_at, .. }, _) => {
                    old_keys.push(keys::timed(keys::DELETED, *deleted_at, id));
                }
                (Stored::Call { listed_at, .. }, facets) => {
                    old_keys.push(keys::call(id.account, Position::new(*listed_at, id.sid)));
                    old_keys.extend(facets.iter().flat_map(|facets| facets.keys(id)));
                }
            }
        }
        let (stored, new_keys) = match &self.new {
            Version::Call(seq, call) => {
                let position = Position::of(call);
                let mut rows =
                    vec![(keys::call(id.account, position), sealed(*seq, &codec::encode(call)))];
                let keys = Facets::of(call).keys(id);
                rows.extend(keys.into_iter().map(|key| (key, Vec::new())));
                (Some(Stored::Call { seq: *seq, listed_at: call.listed_at }), rows)
            }
            Version::Tombstone(seq, deleted_at) => {
                let row = (keys::timed(keys::DELETED, *deleted_at, id), Vec::new());
                (Some(Stored::Tombstone { seq: *seq, deleted_at: *deleted_at }), vec![row])
            }
            Version::Nothing => (None, Vec::new()),
        };
        let mut changed: Vec<_> = old_keys
            .iter()
            .filter(|key| !new_keys.iter().any(|(new, _)| new == *key))
            .map(|key| (key.clone(), None))
            .collect();
        // A key without a value that is there already needs no second write.
        let written = new_keys
            .into_iter()
            .filter(|(key, value)| !value.is_empty() || !old_keys.contains(key));
        changed.extend(written.map(|(key, value)| (key, Some(value))));
        if let Some(stored) = stored {
            tally.add(id, stored);
        }
        changed.push((keys::known(id), stored.map(Stored::to_bytes)));
        changed
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

fn read_mark(db: &sled::Db) -> Result<Option<Mark>, IndexError> {
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

/// sled, which syncs once more when it is closed and panics where it cannot. Whoever lets go of an
/// index is not to notice that: what it has to keep was synced before.
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

/// sled may panic where it finds damage; nobody else is to notice that.
fn guarded<T>(dir: &Path, read: impl FnOnce() -> Result<T, IndexError>) -> Result<T, IndexError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        let reason = text.unwrap_or("no reason given").to_owned();
        Err(IndexError::Panicked { path: dir.to_owned(), reason })
    })
}
