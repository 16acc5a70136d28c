//! Who is between the index and the registry.
//!
//! A reader asks the index first and then the registry. A call may leave the registry only when no
//! reader is left that began before the index had it: such a reader would find it in neither. So
//! readers sign in by rounds, and whoever wants calls to leave begins a new round and waits for the
//! readers of those before. Architecture invariant: readers never wait, and the one who waits for
//! them is the keeper, never the committer: no commit takes longer because somebody reads slowly.

use std::collections::BTreeMap;

use parking_lot::{Condvar, Mutex};

/// All readers.
#[derive(Default)]
pub(super) struct ReaderTable {
    rounds: Mutex<Rounds>,
    one_gone: Condvar,
}

#[derive(Default)]
struct Rounds {
    current: u64,
    /// How many readers of each round are there; none has none.
    readers: BTreeMap<u64, usize>,
}

/// Somebody reads, until this is dropped.
pub(super) struct ReadGuard<'a> {
    readers: &'a ReaderTable,
    round: u64,
}

impl ReaderTable {
    /// Signs in.
    pub fn begin(&self) -> ReadGuard<'_> {
        let mut rounds = self.rounds.lock();
        let round = rounds.current;
        *rounds.readers.entry(round).or_default() += 1;
        ReadGuard { readers: self, round }
    }

    /// Waits until nobody reads any more who reads now. Whoever begins meanwhile is not waited for.
    pub fn wait_for_present(&self) {
        let mut rounds = self.rounds.lock();
        let round = rounds.current;
        rounds.current += 1;
        while rounds.readers.first_key_value().is_some_and(|(first, _)| *first <= round) {
            self.one_gone.wait(&mut rounds);
        }
    }
}

impl Drop for ReadGuard<'_> {
    fn drop(&mut self) {
        let mut rounds = self.readers.rounds.lock();
        let Some(count) = rounds.readers.get_mut(&self.round) else { return };
        *count -= 1;
        if *count == 0 {
            rounds.readers.remove(&self.round);
            self.readers.one_gone.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn those_who_read_are_waited_for_and_those_who_come_later_are_not() {
        let readers = ReaderTable::default();
        let waited = AtomicBool::new(false);
        let first = readers.begin();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                readers.wait_for_present();
                waited.store(true, Ordering::SeqCst);
            });
            while readers.rounds.lock().current == 0 {
                std::thread::yield_now();
            }
            let later = readers.begin();
            assert_eq!(later.round, 1, "it was let in while somebody waits");
            assert!(!waited.load(Ordering::SeqCst));
            drop(first);
            while !waited.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            drop(later);
        });
        readers.wait_for_present();
        assert!(readers.rounds.lock().readers.is_empty());
    }
}
