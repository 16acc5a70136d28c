//! The store as a whole: what goes in comes out, whatever happens in between.

mod across;
mod applied;
mod call_ids;
mod compaction;
mod counts;
mod cramped;
mod deaths;
mod drawn;
mod failures;
mod feed;
mod give_back;
mod kept;
mod lifetimes;
mod log_feed;
mod log_hooks;
mod logged;
mod model;
mod one_moment;
mod outage;
mod past;
mod placing;
mod placing_outage;
mod proposals;
mod quarters;
mod races;
mod same;
mod space;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::clock;
use crate::domain::*;

const HOUR: Duration = Duration::from_hours(1);
const HOUR_MILLIS: u64 = 3_600_000;
/// Long enough for any machine, short enough for a person.
const DEADLINE: Duration = Duration::from_mins(2);

/// A small store whose checkpointer does nothing unless it is woken.
fn options(dir: &Path) -> Options {
    Options {
        data_dir: dir.to_owned(),
        index_cache_bytes: 4 << 20,
        segment_bytes: 8 << 10,
        registry_calls: 1000,
        queue_events: 1000,
        checkpoint_interval: HOUR,
        live_checkpoint_age_millis: HOUR_MILLIS,
        replay_bytes: 1 << 30,
        min_free_bytes: 0,
        reserve_bytes: 0,
        kept_bytes: 1 << 30,
        max_lifetime_millis: 12 * HOUR_MILLIS,
        cdrs: CdrOptions { taken: true, wait_millis: 600_000 },
        sweep_interval: HOUR,
        retention: RetentionPolicy {
            age_millis: None,
            bytes: None,
            history_millis: 0,
            erase_millis: 7 * 24 * HOUR_MILLIS,
            interval: HOUR,
        },
        rebuild: false,
        build_later: false,
        sync: true,
    }
}

fn try_open(options: Options) -> Result<Store, OpenError> {
    let lock = Lock::take(&options.data_dir, true)?;
    Store::open(lock, options, clock::now(), &|_| {})
}

fn open(options: Options) -> Store {
    try_open(options).unwrap()
}

fn account(n: u8) -> AccountSid {
    AccountSid::from_bytes([n; 16])
}

fn id(account_n: u8, call: u8) -> CallId {
    CallId { account: account(account_n), sid: CallSid::from_bytes([call; 16]) }
}

fn event(id: CallId, status: CallStatus, at: Timestamp) -> StampedEvent {
    samples::bare_event(id, Some(status), at)
}

/// One event, durable when this returns.
fn send(store: &Store, id: CallId, status: CallStatus, at: Timestamp) -> Outcome {
    store.apply(&[Change::Event(Box::new(event(id, status, at)))], at, false).unwrap()
}

/// Waits for a condition.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Has the checkpointer copy everything into the index, and waits for it.
fn wake(store: &Store) {
    until("the checkpointer empties the registry", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok() && store.shared.view.registry.read().is_empty()
    });
}

/// All pages of a list.
fn list(store: &Store, request: &ListRequest, limit: usize) -> Result<Vec<Arc<Call>>, StoreError> {
    let mut request = request.clone();
    let mut calls = Vec::new();
    loop {
        let page = store.page(&request, limit)?;
        assert!(page.calls.len() <= limit, "{} calls on a page of {limit}", page.calls.len());
        calls.extend(page.calls);
        request.after = page.next;
        if page.next.is_none() {
            return Ok(calls);
        }
    }
}

/// Where the calls of a list stand, found in slices that are as small as can be.
fn places(store: &Store, request: &ListRequest, rows: usize) -> Result<Vec<Position>, StoreError> {
    let mut request = request.clone();
    let (mut by_keys, mut by_rows) = (Vec::new(), Vec::new());
    let begun = request.after;
    loop {
        let found = store.positions(&request, usize::MAX, rows)?;
        assert!(found.found.len() <= rows);
        by_keys.extend(found.found);
        request.after = found.next;
        if found.next.is_none() {
            break;
        }
    }
    request.after = begun;
    loop {
        let found = store.list(&request, Slice { calls: usize::MAX, rows, bytes: 1 })?;
        assert!(found.calls.len() <= 1, "one call is more than a byte");
        by_rows.extend(found.calls.iter().map(|(position, _)| *position));
        request.after = found.next;
        if found.next.is_none() {
            break;
        }
    }
    assert_eq!(by_keys, by_rows);
    Ok(by_keys)
}

/// A count that is taken to its end.
fn counted(store: &Store, mut counting: Counting) -> Result<Counting, StoreError> {
    while !counting.go_on(store)? {}
    Ok(counting)
}

fn live_calls(store: &Store, account: AccountSid) -> Result<[u64; 2], StoreError> {
    Ok(counted(store, Counting::of_live(account))?.with_status())
}

fn everything(account: AccountSid) -> ListRequest {
    let (filter, order) = (Filter::default(), Order::NewestFirst);
    ListRequest { account, filter, order, after: None }
}

fn sids(store: &Store, filter: Filter) -> Vec<u8> {
    let request = ListRequest { filter, ..everything(account(1)) };
    list(store, &request, 7).unwrap().iter().map(|call| call.id.sid.bytes()[0]).collect()
}

fn with_status(status: CallStatus) -> Filter {
    Filter { statuses: vec![status], ..Filter::default() }
}

/// Ends the others too where one fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn assert_sound(store: &Store) {
    assert_eq!(store.check(&|_| {}).unwrap().findings, []);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), &target) {
            // A file that was renamed meanwhile is there under its other name.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

/// What a process that is killed now would leave. The index first, so that it is never ahead.
fn crash_image(store: &Store, to: &Path) {
    let dir = &store.shared.options.data_dir;
    let index = index_dir(dir);
    copy_dir(&index, &to.join(index.file_name().unwrap()));
    image_without_index(dir, to);
}

/// The same where the index is lost.
fn image_without_index(dir: &Path, to: &Path) {
    for name in ["LOCK", "FORMAT", "CURRENT"] {
        fs::copy(dir.join(name), to.join(name)).unwrap();
    }
    copy_dir(&dir.join("journal"), &to.join("journal"));
}

/// The directory of the current generation.
fn index_dir(dir: &Path) -> std::path::PathBuf {
    let number = fs::read_to_string(dir.join("CURRENT")).unwrap();
    dir.join(format!("index-{}", number.trim()))
}

/// The call of this number after so many of the same were deleted.
fn incarnation(account_n: u8, call: u8, life: u16) -> CallId {
    let mut sid = [call; 16];
    let [high, low] = life.to_be_bytes();
    sid[14] ^= high;
    sid[15] ^= low;
    CallId { account: account(account_n), sid: CallSid::from_bytes(sid) }
}

/// The answer, once the index has been built again where that is needed.
fn patient<T>(store: &Store, mut ask: impl FnMut() -> Result<T, StoreError>) -> T {
    let mut found = None;
    until("the index is built again", || match ask() {
        Ok(answer) => {
            found = Some(answer);
            true
        }
        Err(StoreError::IndexUnavailable(..)) => {
            wake(store);
            false
        }
        Err(error) => panic!("{error}"),
    });
    found.unwrap()
}
