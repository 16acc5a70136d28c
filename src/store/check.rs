//! The journal and the index, compared row by row.

use std::collections::{BTreeMap, HashSet};

use parking_lot::MutexGuard;

use super::index_builder::from_journal::{JournalScan, Newest};
use super::open::Store;
use super::threads::Progress;
use super::{LogPosition, OpenError, StoreError};
use crate::domain::{CallId, Position};
use crate::index::{Index, Stored};
use crate::keys::IndexKeys;
use crate::wire::write_call;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoreFinding {
    /// What it is about: a file, or a call as `account/call`.
    pub object: String,
    /// What is wrong.
    pub problem: String,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checked {
    /// Calls that were compared.
    pub calls: u64,
    /// Calls that were deleted, and are remembered as such, that were compared.
    pub deletions: u64,
    /// Webhooks in the journal that are to be passed on, or were and have not left it yet.
    pub hooks: u64,
    /// What is wrong.
    pub findings: Vec<StoreFinding>,
    /// The index was written to all the while and could not be counted: whether it has rows that
    /// belong to no call is not known.
    pub uncounted: bool,
}

/// What counting the rows of the index has shown.
enum RowCount {
    Right,
    Wrong(String),
    Disturbed,
}

/// Findings that a check lists; it counts the others.
const FINDINGS_MAX: usize = 100;
/// Calls that are compared before the checkpointer gets a turn: the index stands still meanwhile.
const COMPARED_AT_ONCE: usize = 10_000;
/// How often the rows are counted before it is given up: who writes does not wait.
const COUNTS: u32 = 3;
/// Calls of an index that stands still while it is counted, where nothing else helps: less than two
/// seconds.
const STILL_MAX: u64 = if cfg!(test) { 150 } else { 100_000 };

impl Store {
    /// Reads the whole journal and the whole index and compares them. Changes that come in meanwhile
    /// are not looked at.
    pub fn check(&self, progress: &dyn Fn(Progress)) -> Result<Checked, StoreError> {
        let _use = self.uses_segments("check");
        let _still = self.shared.at_rest.write();
        // The journal may already hold changes that are not published yet.
        let published = self.shared.view.registry.read().last_seq();
        let position = self.position();
        let segments = self.shared.view.segments.read().clone();
        let scan = match JournalScan::of(&segments, progress) {
            Ok(scan) => scan,
            Err(OpenError::Journal(error)) => {
                let object = "journal".to_owned();
                let findings = vec![StoreFinding { object, problem: super::error::chain(&error) }];
                return Ok(Checked {
                    calls: 0,
                    deletions: 0,
                    hooks: 0,
                    findings,
                    uncounted: false,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let mut findings = Vec::new();
        let mut note = |object: String, problem: &str| {
            if findings.len() < FINDINGS_MAX {
                findings.push(StoreFinding { object, problem: problem.to_owned() });
            }
        };
        if let Some((seq, message)) = scan.went_back {
            let problem = format!(
                "change {seq} says that message {message} of the log was applied, after a later one"
            );
            note("journal".to_owned(), &problem);
        }
        let is_behind = |position: LogPosition| {
            scan.applied.is_none_or(|applied| {
                applied.is_of_one_life(&position) && applied.seq < position.seq
            })
        };
        if let Some(position) = position.filter(|position| is_behind(*position)) {
            let seq = position.seq;
            let problem = format!("it does not say that message {seq} of the log was applied");
            note("journal".to_owned(), &problem);
        }
        let total = scan.calls.len() as u64;
        let (mut compared, mut deletions) = (0, 0);
        let mut still = self.shared.index_writer.lock();
        // About in the order of the rows, so that neighbours are read together.
        let mut calls: Vec<_> = scan.calls.iter().collect();
        calls.sort_unstable_by_key(|(id, newest)| (id.account, newest.seq));
        for (n, calls) in calls.chunks(COMPARED_AT_ONCE).enumerate() {
            MutexGuard::bump(&mut still);
            let (what, done) = ("comparing the index".to_owned(), n * COMPARED_AT_ONCE);
            progress(Progress::steps(what, done as u64, Some(total)));
            let known = calls.iter().filter(|(_, newest)| newest.seq <= published);
            let known: Vec<_> = known.map(|(id, newest)| (**id, **newest)).collect();
            let agreed = self.agreed(&known)?;
            for (id, newest) in known {
                match newest.deleted_at {
                    None => compared += 1,
                    Some(_) => deletions += 1,
                }
                if !agreed.contains(&id)
                    && let Some(problem) = self.compare(id, newest)?
                {
                    note(name(id), problem);
                }
            }
        }
        drop(still);
        let index = self.shared.view.index()?;
        let mut strangers = Vec::new();
        let visited = index.each_stored(&[], |id, stored| {
            let left = |at| self.shared.view.has_left_journal(stored.seq(), at);
            let known = scan.calls.contains_key(&id) || stored.deleted_at().is_some_and(left);
            if stored.seq() <= scan.last_seq && !known {
                strangers.push(id);
            }
            Ok(true)
        });
        visited.map_err(|error| self.shared.view.index_failed(&error))?;
        for id in strangers {
            note(name(id), "the index has it and the journal does not");
        }
        let count = self.count_rows()?;
        if let RowCount::Wrong(problem) = &count {
            note("index".to_owned(), problem);
        }
        let uncounted = matches!(count, RowCount::Disturbed);
        let hooks = scan.hooks;
        Ok(Checked { calls: compared, deletions, hooks, findings, uncounted })
    }

    /// Those of some calls of which the index has everything as it should be. It is read in the order of its
    /// keys, so that each page is unpacked once. Of the others nothing is said.
    fn agreed(&self, calls: &[(CallId, Newest)]) -> Result<HashSet<CallId>, StoreError> {
        let shared = &self.shared;
        let _reading = shared.view.readers.begin();
        let index = shared.view.index()?;
        let failed = |error| shared.view.index_failed(&error);
        let registry = shared.view.registry.read();
        let copied = calls
            .iter()
            .filter(|(id, newest)| newest.deleted_at.is_none() && registry.get(*id).is_none());
        let mut calls: Vec<_> = copied.copied().collect();
        drop(registry);
        calls.sort_unstable_by_key(|(id, _)| (id.sid, id.account));
        let ids: Vec<_> = calls.iter().map(|(id, _)| *id).collect();
        let mut places = Vec::with_capacity(calls.len());
        for ((id, newest), stored) in calls.iter().zip(index.stored_of(&ids).map_err(failed)?) {
            if let Some(Stored::Call { seq, listed_at }) = stored
                && seq == newest.seq
            {
                places.push((id.account, Position::new(listed_at, id.sid), seq));
            }
        }
        places.sort_unstable();
        let (mut agreed, mut keys) = (HashSet::new(), Vec::new());
        for places in places.chunk_by(|(one, ..), (next, ..)| one == next) {
            let positions: Vec<_> = places.iter().map(|(_, position, _)| *position).collect();
            let Some((account, ..)) = places.first() else { continue };
            let rows = index.rows_at(*account, &positions).map_err(failed)?;
            for ((account, position, seq), row) in places.iter().zip(rows) {
                let Some(row) = row.filter(|row| row.seq() == *seq) else { continue };
                let call = row.call().map_err(failed)?;
                let id = CallId { account: *account, sid: position.sid };
                let mut answer = Vec::new();
                write_call(&mut answer, &call);
                if call.id == id && Position::of(&call) == *position && answer == row.answer() {
                    agreed.insert(id);
                    keys.extend(IndexKeys::of(&call).keys(id).into_iter().map(|key| (key, id)));
                }
            }
        }
        keys.sort_unstable();
        let (keys, owners): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        for (id, there) in owners.iter().zip(index.holds(&keys).map_err(failed)?) {
            if !there {
                agreed.remove(id);
            }
        }
        Ok(agreed)
    }

    /// What is wrong with one call, if anything.
    fn compare(&self, id: CallId, newest: Newest) -> Result<Option<&'static str>, StoreError> {
        let Newest { seq, deleted_at } = newest;
        let shared = &self.shared;
        let _reading = shared.view.readers.begin();
        if let Some(entry) = shared.view.registry.read().get(id) {
            let older = entry.seq < seq;
            return Ok(older.then_some("the registry has an older version than the journal"));
        }
        let index = shared.view.index()?;
        let failed = |error| shared.view.index_failed(&error);
        Ok(match (index.stored(id).map_err(failed)?, deleted_at) {
            (Some(stored), _) if stored.seq() > seq => None,
            (Some(stored), _) if stored.seq() < seq => {
                Some("the index has an older version than the journal")
            }
            (None | Some(Stored::Tombstone { .. }), Some(_)) => None,
            (None, None) => Some("the journal has it and the index does not"),
            (Some(Stored::Call { listed_at, .. }), None) => {
                let position = Position::new(listed_at, id.sid);
                let rows = index.rows_at(id.account, &[position]).map_err(failed)?;
                let Some(row) = rows.into_iter().flatten().find(|row| row.seq() == seq) else {
                    return Ok(Some("the index has no record of it where it should stand"));
                };
                let call = row.call().map_err(failed)?;
                let mut answer = Vec::new();
                write_call(&mut answer, &call);
                if call.id != id || call.listed_at != listed_at {
                    Some("the index has the record of another call where it should stand")
                } else if answer != row.answer() {
                    Some("the index would answer something else than its record")
                } else {
                    let whole = index.has_keys(&call).map_err(failed)?;
                    (!whole).then_some("the index lacks a key of it")
                }
            }
            _ => Some("the index and the journal differ on whether it was deleted"),
        })
    }

    /// Counts the rows of the index while nobody writes to it, without keeping others from it.
    fn count_rows(&self) -> Result<RowCount, StoreError> {
        let shared = &self.shared;
        for _ in 0..COUNTS {
            let index = shared.view.index()?;
            let before = index.written();
            let problem = self.surplus(&index)?;
            if before.is_some() && before == index.written() {
                return Ok(problem.map_or(RowCount::Right, RowCount::Wrong));
            }
        }
        let _nobody_writes = shared.index_writer.lock();
        let index = shared.view.index()?;
        if index.stats().calls > STILL_MAX {
            return Ok(RowCount::Disturbed);
        }
        Ok(self.surplus(&index)?.map_or(RowCount::Right, RowCount::Wrong))
    }

    /// Rows of the index that belong to no call, found by their number.
    fn surplus(&self, index: &Index) -> Result<Option<String>, StoreError> {
        let shared = &self.shared;
        let failed = |error| shared.view.index_failed(&error);
        let mut expected: BTreeMap<u8, u64> = BTreeMap::new();
        let mut account = None;
        while let Some((next, _)) = index.next_account(account).map_err(failed)? {
            if let Some(quarter) = index.wrong_quarter(next).map_err(failed)? {
                let at = crate::wire::show_time(quarter.start());
                return Ok(Some(format!(
                    "what is counted of the calls of {next} that are listed in the quarter of an hour from \
                     {at} is not what they say"
                )));
            }
            if let Some(day) = index.wrong_day(next).map_err(failed)? {
                let at = crate::wire::show_time(day.first().start());
                return Ok(Some(format!(
                    "what is counted of the calls of {next} that are listed on the day from {at} is not what they \
                     say"
                )));
            }
            let ranges = [crate::keys::Range::all(next)];
            let mut span = crate::keys::PositionSpan::all(crate::domain::Order::NewestFirst);
            loop {
                let rows =
                    index.positions(&ranges, &span, 1000, true, usize::MAX).map_err(failed)?;
                for (position, _, row) in &rows {
                    let Some(row) = row else { continue };
                    let call = row.call().map_err(failed)?;
                    if call.id.account != next || Position::of(&call) != *position {
                        return Ok(Some(format!("{} stands at a wrong place", name(call.id))));
                    }
                    for key in IndexKeys::of(&call).keys(call.id) {
                        *expected.entry(key.first().copied().unwrap_or_default()).or_default() += 1;
                    }
                    *expected.entry(b'c').or_default() += 1;
                }
                let Some((last, ..)) = rows.last() else { break };
                span = span.after(*last);
            }
            account = Some(next);
        }
        let stats = index.stats();
        let found = index.row_counts().map_err(failed)?;
        let counted = |letter: u8| found.get(&letter).copied().unwrap_or_default();
        for letter in [b'c', b's', b'f', b'o', b'p', b'i', b'l'] {
            let (have, want) =
                (counted(letter), expected.get(&letter).copied().unwrap_or_default());
            if have != want {
                let letter = char::from(letter);
                return Ok(Some(format!("{have} rows under {letter} where the calls have {want}")));
            }
        }
        let says = (stats.calls, stats.tombstones, stats.calls + stats.tombstones);
        let has = (counted(b'c'), counted(b'd'), counted(b'k'));
        if says != has {
            return Ok(Some(format!(
                "it says that it has {} and {}, and has {}, {} and {} for both",
                crate::domain::counted(stats.calls, "call"),
                crate::domain::counted(stats.tombstones, "deletion"),
                has.0,
                has.1,
                crate::domain::counted(has.2, "row"),
            )));
        }
        Ok(None)
    }
}

fn name(id: CallId) -> String {
    format!("{}/{}", id.account, id.sid)
}
