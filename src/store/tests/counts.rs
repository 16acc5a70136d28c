//! What is said of numbers while everything moves: each is right, whatever the checkpointer is at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// Calls that come and go together.
const BATCH: u16 = 150;
/// Batches of each kind of work.
const BATCHES: u16 = 12;

/// What was asked for and what was acknowledged, of something that only grows.
#[derive(Default)]
struct Grown {
    asked: AtomicU64,
    done: AtomicU64,
}

impl Grown {
    fn while_asked(&self, more: u64, work: impl FnOnce()) {
        self.asked.fetch_add(more, Ordering::SeqCst);
        work();
        self.done.fetch_add(more, Ordering::SeqCst);
    }

    fn least(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    fn most(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Calls that have come, have ended and have gone.
#[derive(Default)]
struct Truth {
    come: Grown,
    ended: Grown,
    gone: Grown,
}

impl Truth {
    /// Looks once, and compares with what must have been so at some moment of the look.
    fn holds(&self, store: &Store) {
        let before = [&self.come, &self.ended, &self.gone].map(Grown::least);
        let status = store.status();
        let scraped = store.figures(&[account(1), account(2)], clock::now());
        let after = [&self.come, &self.ended, &self.gone].map(Grown::most);
        let between = |what: &str, found: Option<u64>, least: u64, most: u64| {
            let Some(found) = found else { panic!("{what} is not known") };
            assert!((least..=most).contains(&found), "{found} {what}, not {least} to {most}");
        };
        let [(come, ended, gone), (all, over, left)] =
            [before, after].map(|[come, ended, gone]| (come, ended, gone));
        let fewest = |from: u64, less: u64| from.saturating_sub(less);
        for (calls, live, tombstones) in [
            (status.calls, status.live_calls, status.tombstones),
            (scraped.calls, scraped.live_calls, scraped.tombstones),
        ] {
            between("calls", calls, fewest(come, left), fewest(all, gone));
            between("calls that are up", live, fewest(come, over), fewest(all, ended));
            between("deletions", tombstones, gone, left);
        }
        let live = scraped.accounts.iter().map(|account| account.live).sum();
        between("calls of accounts", Some(live), fewest(come, over), fewest(all, ended));
    }
}

fn batch(n: u16) -> impl Iterator<Item = CallId> {
    (n * BATCH..(n + 1) * BATCH)
        .map(|call| incarnation(1 + u8::try_from(call % 2).unwrap(), 7, call))
}

#[test]
fn a_number_is_right_whatever_is_copied_expired_deleted_or_built_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Options {
        checkpoint_interval: Duration::from_millis(1),
        live_checkpoint_age_millis: 0,
        registry_calls: 10_000,
        sync: false,
        ..options(dir.path())
    };
    settings.retention.age_millis = Some(HOUR_MILLIS);
    let store = open(settings);
    let truth = Truth::default();
    let end = AtomicBool::new(false);
    let looks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let _at_the_end = Stop(&end);
        for _ in 0..2 {
            scope.spawn(|| {
                let _at_the_end = Stop(&end);
                while !end.load(Ordering::SeqCst) {
                    truth.holds(&store);
                    looks.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        scope.spawn(|| {
            let _at_the_end = Stop(&end);
            for round in 0.. {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let built = match round % 3 {
                    0 => store.compact(&mut |_| {}).map(|_| ()),
                    1 => store.rebuild(&mut |_| {}).map(|_| ()),
                    _ => store.collect(Depth::Thorough).map(|_| ()),
                };
                built.unwrap();
            }
        });
        let size = u64::from(BATCH);
        let now = clock::now();
        let apply = |changes: Vec<Change>| {
            let outcome = store.apply(&changes, now, false).unwrap();
            assert_eq!(outcome.new + outcome.changed, changes.len() as u64);
        };
        for n in 0..BATCHES {
            // These are listed long ago, so that those that end are over at once.
            let told = |id, status| {
                let mut event = event(id, status, now.minus_millis(2 * HOUR_MILLIS));
                event.stamp.listed_at = Some(now.minus_millis(2 * HOUR_MILLIS));
                Change::Event(Box::new(event))
            };
            truth.come.while_asked(size, || {
                apply(batch(n).map(|id| told(id, CallStatus::Ringing)).collect());
            });
            until("a checkpoint", || store.shared.view.registry.read().len() < usize::from(BATCH));
            if n % 2 == 0 {
                // Deleted while they are up.
                truth.ended.while_asked(size, || {
                    truth.gone.while_asked(size, || apply(batch(n).map(Change::Delete).collect()));
                });
            } else {
                // They end, and retention takes them: when is not told, only that it does.
                truth.ended.asked.fetch_add(size, Ordering::SeqCst);
                truth.gone.asked.fetch_add(size, Ordering::SeqCst);
                apply(batch(n).map(|id| told(id, CallStatus::Completed)).collect());
                truth.ended.done.fetch_add(size, Ordering::SeqCst);
                store.collect(Depth::Usual).unwrap();
                truth.gone.done.fetch_add(size, Ordering::SeqCst);
            }
        }
    });
    assert!(looks.into_inner() > 100);
    let told = |store: &Store| {
        let status = store.status();
        (status.calls, status.live_calls, status.tombstones)
    };
    let gone = Some(u64::from(BATCH * BATCHES));
    assert_eq!(told(&store), (Some(0), Some(0), gone));
    let checked = store.check(&|_| {}).unwrap();
    assert_eq!((checked.calls, Some(checked.deletions)), (0, gone));
    store.close().unwrap();
    drop(store);
    assert_eq!(told(&open(options(dir.path()))), (Some(0), Some(0), gone));
}

#[test]
fn a_number_that_is_not_known_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(options(dir.path()));
    for call in 1..=3 {
        send(&store, id(1, call), CallStatus::Ringing, clock::now());
    }
    store.close().unwrap();
    drop(store);
    // The index is gone, and events come before it is there again.
    fs::remove_dir_all(index_dir(dir.path())).unwrap();
    let store = open(Options { build_later: true, min_free_bytes: 0, ..options(dir.path()) });
    let told = || {
        let (status, scraped) = (store.status(), store.figures(&[account(1)], clock::now()));
        let live = scraped.accounts.first().map(|account| account.live);
        assert_eq!((status.calls, status.live_calls), (scraped.calls, scraped.live_calls));
        (status.calls, status.live_calls, live)
    };
    let before = told();
    assert!(before == (None, None, None) || before == (Some(3), Some(3), Some(3)), "{before:?}");
    store.wait_for_index(DEADLINE, &|_| {});
    assert_eq!(told(), (Some(3), Some(3), Some(3)));
    // What is heard while there is none may be of calls that are counted or not.
    store.shared.view.set_index(Err("a test says so".to_owned()));
    assert_eq!(told(), (Some(3), Some(3), Some(3)));
    wake_off(&store, || {
        send(&store, id(1, 9), CallStatus::Ringing, clock::now());
        assert_eq!(told(), (None, None, None));
    });
    wake(&store);
    assert_eq!(told(), (Some(4), Some(4), Some(4)));
}

/// Does something while the checkpointer cannot have an index take over.
fn wake_off(store: &Store, work: impl FnOnce()) {
    let writing = store.shared.index_writer.lock();
    work();
    drop(writing);
}
