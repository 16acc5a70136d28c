//! The sled tree: reading ranges, and writing versions of calls.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::cursor::{Cursor, Direction, Entry, Lookup, beginning};
use super::database::{Database, guarded, open_once_released};
use super::entries::{Batches, CACHE_SHARE, Change, Entries, edits};
use super::row::CallRow;
use super::rows::{AdminRow, CheckpointMeta, IndexStats, Stored, sealed, unsealed};
use super::sealing::Sealing;
use super::sid_filter::SidFilter;
use super::{IndexError, Op, layout};
use crate::domain::{AccountSid, Call, CallId, CallSid, Order, Position, Timestamp};
use crate::fsutil;
use crate::keys::{self, IndexKeys, PositionSpan, Range, merged};

/// One generation of the index, open.
pub struct Index {
    pub(super) dir: PathBuf,
    pub(super) entries: Entries,
    /// The sids that stand under `k`, and perhaps others.
    pub(super) sids: SidFilter,
    pub(super) stats: Mutex<IndexStats>,
    pub(super) sealing: Mutex<Sealing>,
    /// The writes of calls, each of which is several batches.
    writes: Batches,
    /// Set once anything has failed; from then on nothing is read or written any more.
    failed: AtomicBool,
}

/// Keys of one batch while others read. sled holds a lock of the whole process meanwhile.
pub(super) const BATCH_KEYS: usize = 96;
/// Changes of so many calls at once go into the pages straight away.
const PACKED_OPS: usize = if cfg!(test) { 40 } else { 5000 };
/// Recent entries up to which none are packed.
const RECENT_MAX: usize = if cfg!(test) { 100 } else { 50_000 };
/// What the keys of a call take before they are compressed, about.
const KEYS_BYTES: u64 = 450;
/// What packing may write again of each call, about: its keys, and some of its rows.
const PACKED_AGAIN_BYTES: u64 = 288;
/// Sids that are read when it is opened; the others are read later.
const SIDS_AT_ONCE: usize = if cfg!(test) { 10 } else { 10_000 };
/// Entries of a call, about.
const CALL_ENTRIES: u64 = 6;

impl Index {
    /// Opens the store in a directory, which is made where it is missing.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, IndexError> {
        // The rest is for unpacked pages.
        let sled_bytes = cache_bytes - cache_bytes / CACHE_SHARE;
        let config = sled::Config::new().path(dir).cache_capacity(sled_bytes).flush_every_ms(None);
        // A damaged store may panic instead of failing.
        let opened = guarded(dir, || {
            let db = open_once_released(&config)?;
            layout::check(&db)?;
            let mark = read_mark(&db)?;
            let stats = mark.map(|mark| mark.stats).unwrap_or_default();
            let entries = Entries::open(Database::new(db), cache_bytes)?;
            Ok((entries, stats))
        });
        let (entries, stats) = opened?;
        let sids = SidFilter::new((stats.calls + stats.tombstones) / 4 * 5);
        let index = Self {
            dir: dir.to_owned(),
            entries,
            sids,
            stats: Mutex::new(stats),
            sealing: Mutex::default(),
            writes: Batches::default(),
            failed: AtomicBool::new(false),
        };
        index.learn_sids(SIDS_AT_ONCE)?;
        Ok(index)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The mark of the last checkpoint, none in a store that never had one.
    pub fn mark(&self) -> Result<Option<CheckpointMeta>, IndexError> {
        self.guarded(|| read_mark(&self.entries.db))
    }

    /// How many calls and tombstones it holds.
    pub fn stats(&self) -> IndexStats {
        *self.stats.lock()
    }

    /// Counts every row under `k` again.
    pub fn recount(&self) -> Result<IndexStats, IndexError> {
        self.guarded(|| {
            let mut stats = IndexStats::default();
            for entry in self.beginning(&[keys::KNOWN]).passing() {
                let (id, stored) = known_in(&entry?)?;
                stats.add(id, stored);
            }
            Ok(stats)
        })
    }

    /// What is known under a call's sid.
    pub fn stored(&self, id: CallId) -> Result<Option<Stored>, IndexError> {
        if !self.sids.may_hold(id.sid) {
            return self.guarded(|| Ok(None));
        }
        self.guarded(|| match self.entries.get(&keys::known(id))? {
            None => Ok(None),
            Some(value) => Stored::from_bytes(&value).map(Some),
        })
    }

    /// Which accounts know a call of this sid, and what of it; the calls themselves are not looked at.
    pub fn known(&self, sid: CallSid) -> Result<Vec<(AccountSid, Stored)>, IndexError> {
        if !self.sids.may_hold(sid) {
            return self.guarded(|| Ok(Vec::new()));
        }
        self.guarded(|| {
            let rows = self.beginning(&keys::known_sid(sid));
            let row = |entry: Result<Entry, IndexError>| {
                known_in(&entry?).map(|(id, stored)| (id.account, stored))
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
    pub fn row(&self, id: CallId) -> Result<Option<CallRow>, IndexError> {
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
    ) -> Result<Vec<Option<CallRow>>, IndexError> {
        self.guarded(|| {
            let (range, mut lookup) = (Range::all(account), Lookup::new(&self.entries));
            let row = |position: &Position| {
                let value = lookup.get(&range.key(*position))?;
                value.as_ref().map(CallRow::read).transpose()
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
    ) -> Result<Vec<(Position, usize, Option<CallRow>)>, IndexError> {
        let with_row = rows && ranges.len() == 1 && ranges.iter().all(Range::carries_texts);
        self.guarded(|| {
            let row = |position, range, entry: Entry| {
                let row = if with_row { Some(CallRow::read(&entry.value())?) } else { None };
                Ok((position, range, row))
            };
            if let [range] = ranges {
                let (mut brought, mut weight) = (Vec::new(), 0);
                for found in self.scan(range, span).take(count) {
                    let found = found.and_then(|(at, entry)| row(at, 0, entry))?;
                    weight += found.2.as_ref().map_or(0, CallRow::weight);
                    brought.push(found);
                    if weight >= bytes {
                        break;
                    }
                }
                return Ok(brought);
            }
            let mut sources = Vec::with_capacity(ranges.len());
            for (number, range) in ranges.iter().enumerate() {
                let rows = self.scan(range, span);
                let numbered = rows.map(move |row| row.map(|(at, found)| (at, (number, found))));
                sources.push(Box::new(numbered) as keys::RangeRows<'_, _, IndexError>);
            }
            let rows = merged(sources, span.order).take(count);
            rows.map(|found| found.and_then(|(at, (range, entry))| row(at, range, entry))).collect()
        })
    }

    /// How many writes of calls and how many batches there have been since it was opened; none while one
    /// is under way. What was read while they stay the same is of one piece.
    pub fn written(&self) -> Option<(u64, u64)> {
        Some((self.writes.written()?, self.entries.batches.written()?))
    }

    /// The rows of a range that lie in a span, one after another.
    pub(super) fn scan<'a>(
        &'a self,
        range: &'a Range,
        span: &PositionSpan,
    ) -> impl Iterator<Item = Result<(Position, Entry), IndexError>> + use<'a> {
        let direction = match span.order {
            Order::NewestFirst => Direction::Up,
            Order::OldestFirst => Direction::Down,
        };
        let cursor = span.keys(range).map(|bounds| self.entries.cursor(bounds, direction));
        cursor.into_iter().flatten().map(|entry| {
            let entry = entry?;
            let position = range.position_in(entry.key()).ok_or_else(strange_key)?;
            Ok((position, entry))
        })
    }

    /// The entries whose keys begin so, in order.
    fn beginning(&self, prefix: &[u8]) -> Cursor<'_> {
        self.entries.cursor(beginning(prefix), Direction::Up)
    }

    /// The first account after this one that has a call, and where its newest call stands.
    pub fn next_account(
        &self,
        after: Option<AccountSid>,
    ) -> Result<Option<(AccountSid, Position)>, IndexError> {
        self.guarded(|| {
            let from = match after {
                None => vec![keys::CALL],
                Some(account) => keys::call(account, Position::MAX),
            };
            let bounds =
                (std::ops::Bound::Excluded(from), std::ops::Bound::Excluded(vec![keys::CALL + 1]));
            match self.entries.cursor(bounds, Direction::Up).next().transpose()? {
                None => Ok(None),
                Some(entry) => {
                    let account = keys::account_in(entry.key()).ok_or_else(strange_key)?;
                    let position = Range::all(account).position_in(entry.key());
                    position.map(|position| Some((account, position))).ok_or_else(strange_key)
                }
            }
        })
    }

    /// Every live call in turn.
    pub fn each_live(&self, mut visit: impl FnMut(CallId)) -> Result<(), IndexError> {
        self.guarded(|| {
            for entry in self.beginning(&[keys::LIVE]) {
                visit(keys::id_at_end(entry?.key()).ok_or_else(strange_key)?);
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
            use std::ops::Bound::{Excluded, Included};
            let bounds = (Included(vec![kind]), Excluded(keys::timed_from(kind, time)));
            let rows = self.entries.cursor(bounds, Direction::Up).take(count);
            rows.map(|entry| keys::id_at_end(entry?.key()).ok_or_else(strange_key)).collect()
        })
    }

    /// Every admin row.
    pub fn admin_rows(&self) -> Result<Vec<AdminRow>, IndexError> {
        self.guarded(|| {
            let mut found = Vec::new();
            for row in self.entries.db.scan_prefix([keys::ADMIN]) {
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
        self.guarded(|| match self.entries.db.get(keys::admin(name))? {
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
            for entry in self.beginning(&[&[keys::KNOWN][..], leading].concat()) {
                let (id, stored) = known_in(&entry?)?;
                if !visit(id, stored)? {
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
            for kind in keys::ENTRIES {
                for entry in self.beginning(&[*kind]) {
                    entry?;
                    *counts.entry(*kind).or_default() += 1;
                }
            }
            Ok(counts)
        })
    }

    /// Whether this version of a call has all its keys, and how many those are beside `c` and `k`.
    pub fn has_keys(&self, call: &Call) -> Result<bool, IndexError> {
        self.guarded(|| {
            for key in IndexKeys::of(call).keys(call.id) {
                if self.entries.get(&key)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }

    /// Which of these keys there are; in their order, which is the faster the closer they stand together.
    pub fn holds(&self, keys: &[Vec<u8>]) -> Result<Vec<bool>, IndexError> {
        self.guarded(|| {
            let mut lookup = Lookup::new(&self.entries);
            keys.iter().map(|key| Ok(lookup.get(key)?.is_some())).collect()
        })
    }

    /// What is known under the sids of some calls; in their order, as above.
    pub fn stored_of(&self, ids: &[CallId]) -> Result<Vec<Option<Stored>>, IndexError> {
        self.guarded(|| {
            let mut lookup = Lookup::new(&self.entries);
            let mut stored = |id: &CallId| {
                let value = lookup.get(&keys::known(*id))?;
                value.map(|value| Stored::from_bytes(&value)).transpose()
            };
            ids.iter().map(&mut stored).collect()
        })
    }

    /// Writes new versions; all keys of one call change together where they are few. An admin row that
    /// was removed stays as an empty one: the index can say of every name which change was its last.
    pub fn write(&self, ops: &[Op<'_>], admin: &[AdminRow]) -> Result<(), IndexError> {
        let write = || {
            self.unseal(ops)?;
            let mut stats = self.stats();
            for op in ops {
                self.sids.insert(op.id.sid);
            }
            if ops.len() >= PACKED_OPS {
                let mut changes = ops.iter().flat_map(|op| op.changes(&mut stats)).collect();
                in_order(&mut changes);
                self.entries.pack(&edits(&changes), entries_of(stats))?;
                *self.stats.lock() = stats;
            } else {
                let mut batch = Vec::new();
                for op in ops {
                    batch.extend(op.changes(&mut stats));
                    if batch.len() >= BATCH_KEYS {
                        self.put(std::mem::take(&mut batch), stats)?;
                    }
                }
                self.put(batch, stats)?;
            }
            for row in admin {
                self.entries.db.insert(keys::admin(&row.name), sealed(row.seq, &row.json))?;
            }
            if self.entries.recent() > RECENT_MAX {
                self.entries.pack_recent(entries_of(stats))?;
            }
            Ok(())
        };
        self.writes.write(|| self.guarded(write))
    }

    /// Whether many writes have left something to put in order.
    pub fn is_untidy(&self) -> bool {
        self.entries.recent() > RECENT_MAX || self.entries.is_untidy()
    }

    /// Puts in order what many writes have left: for when nothing else is to be done.
    pub fn tidy(&self) -> Result<(), IndexError> {
        self.guarded(|| {
            if self.entries.recent() > RECENT_MAX {
                return self.entries.pack_recent(entries_of(self.stats()));
            }
            self.entries.tidy()
        })
    }

    /// Writes a batch; the statistics are those of after it.
    fn put(&self, batch: Vec<Change>, stats: IndexStats) -> Result<(), IndexError> {
        self.entries.put(batch, || *self.stats.lock() = stats)
    }

    /// Writes the mark and brings everything to disk. sled's own flush does not sync the file's
    /// metadata nor the disk's cache; `sync_data` on its file does.
    pub fn mark_and_sync(&self, mark: &CheckpointMeta) -> Result<(), IndexError> {
        self.guarded(|| {
            let json = serde_json::to_vec(mark).map_err(|e| IndexError::damaged(e.to_string()))?;
            self.entries.db.insert(keys::MARK, sealed(mark.last_seq, &json))?;
            Ok(())
        })?;
        self.sync()
    }

    /// Brings everything to disk that has been written so far.
    pub fn sync(&self) -> Result<(), IndexError> {
        self.guarded(|| {
            self.entries.db.flush()?;
            let db = self.dir.join("db");
            fsutil::open(&db)
                .and_then(|file| file.sync_data())
                .map_err(IndexError::io("sync", &db))?;
            fsutil::sync_dir(&self.dir).map_err(IndexError::io("sync", &self.dir))
        })
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.entries.db.size_on_disk().unwrap_or_default()
    }

    /// Bytes that it may take at most to write so many calls of that weight together: they themselves, layers
    /// that are merged, pages that get a few more.
    pub fn writing_bytes(&self, calls: usize, weight: usize) -> u64 {
        // A row has the answer and the record. sled keeps single rows in nodes that are not full.
        let spread = if calls >= PACKED_OPS { 1 } else { 4 };
        let own = (2 * weight as u64 + calls as u64 * KEYS_BYTES).saturating_mul(spread);
        let stats = self.stats();
        own.saturating_add((stats.calls + stats.tombstones).saturating_mul(PACKED_AGAIN_BYTES))
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

/// How many entries calls and tombstones have, about.
pub(super) fn entries_of(stats: IndexStats) -> u64 {
    (stats.calls + stats.tombstones).saturating_mul(CALL_ENTRIES)
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

/// The call of an entry under `k`, and what is known of it.
pub(super) fn known_in(entry: &Entry) -> Result<(CallId, Stored), IndexError> {
    let id = keys::id_in_known(entry.key()).ok_or_else(strange_key)?;
    Ok((id, Stored::from_bytes(&entry.value())?))
}

/// Has changes in the order of their keys, and of each key the last one.
pub(super) fn in_order(changes: &mut Vec<Change>) {
    changes.sort_by(|(a, _), (b, _)| a.cmp(b));
    changes.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            std::mem::swap(later, earlier);
        }
        same
    });
}
