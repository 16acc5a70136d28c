//! The ordered map against a map in memory, and its pages damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included};

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::cursor::{Cursor, Direction, Entry, Lookup, beginning};
use super::entries::{Change, Entries, edits};
use super::layers::BASE;
use super::page::{self, PACKED, Page, page_key};
use super::{IndexError, database};
use crate::domain::{AccountSid, CallSid, Position, Timestamp};
use crate::keys::Range;

const ROUNDS: usize = 3000;

fn entries(dir: &tempfile::TempDir) -> Entries {
    let config = sled::Config::new().path(dir.path()).flush_every_ms(None);
    let db = database::open_once_released(&config).unwrap();
    Entries::open(database::Database::new(db), 1 << 20).unwrap()
}

/// One of 200 keys: of calls, of numbers, of two accounts.
fn key(n: u8) -> Vec<u8> {
    let account = AccountSid::from_bytes([n % 2; 16]);
    let position = Position::new(
        Timestamp::from_millis(u64::from(n / 8) * 1000).unwrap(),
        CallSid::from_bytes([n; 16]),
    );
    match n % 4 {
        0 | 1 => Range::all(account).key(position),
        _ => Range::from(account, &format!("+1555{}", n % 7)).key(position),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Recent,
    Packed,
    /// Recent, and what is recent is packed.
    Moved,
    /// Nothing changes, and all layers are merged.
    Tidied,
}

fn step() -> impl Strategy<Value = (Way, BTreeMap<u8, Option<u8>>, usize)> {
    let way =
        prop_oneof![Just(Way::Recent), Just(Way::Packed), Just(Way::Moved), Just(Way::Tidied)];
    (way, btree_map(0..200_u8, option::weighted(0.7, any::<u8>()), 0..40), 0..30_usize)
}

fn value(key: &[u8], byte: u8) -> Vec<u8> {
    let bytes = if crate::keys::carries_texts(key) { usize::from(byte) * 3 } else { 0 };
    vec![byte; bytes]
}

fn write(entries: &Entries, way: Way, changes: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
    let changes: Vec<Change> = changes.clone().into_iter().collect();
    match way {
        Way::Recent => entries.put(changes, || ()).unwrap(),
        Way::Tidied => entries.tidy().unwrap(),
        Way::Moved => {
            entries.put(changes, || ()).unwrap();
            entries.pack_recent(100).unwrap();
        }
        Way::Packed => {
            entries.pack(&edits(&changes), 100).unwrap();
        }
    }
}

fn read(entry: Result<Entry, IndexError>) -> (Vec<u8>, Vec<u8>) {
    let entry = entry.unwrap();
    (entry.key().to_vec(), entry.value().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn they_are_an_ordered_map_for_readers_while_they_change(
        steps in vec(step(), 1..14), low in 0..200_u8, high in 0..200_u8,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = entries(&dir);
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let all = || (Included(b"c".to_vec()), Excluded(b"g".to_vec()));
        let part = || (Included(key(low)), Excluded(key(high)));
        let within = |at: &Vec<u8>| *at >= key(low) && *at < key(high);
        let half = steps.len() / 2;
        let mut readers = Vec::new();
        for (n, (way, changes, count)) in steps.iter().enumerate() {
            let changes: BTreeMap<_, _> = changes.iter().map(|(n, byte)| {
                let key = key(*n);
                let value = byte.map(|byte| value(&key, byte));
                (key, value)
            }).collect();
            write(&store, *way, &changes);
            for (key, value) in changes.into_iter().filter(|_| *way != Way::Tidied) {
                match value {
                    Some(value) => { model.insert(key, value); }
                    None => { model.remove(&key); }
                }
            }
            // Those that began earlier go on.
            let now: BTreeSet<Vec<u8>> = model.keys().cloned().collect();
            for (cursor, _, stays, ever, found) in &mut readers {
                *stays = BTreeSet::intersection(stays, &now).cloned().collect();
                BTreeSet::extend(ever, now.iter().cloned());
                let cursor: &mut Cursor<'_> = cursor;
                let found: &mut Vec<Vec<u8>> = found;
                found.extend(cursor.take(*count).map(|entry| read(entry).0));
            }
            if n == half || n == 0 {
                for direction in [Direction::Up, Direction::Down] {
                    let cursor = store.cursor(all(), direction);
                    readers.push((cursor, direction, now.clone(), now.clone(), Vec::new()));
                }
            }
            // And one that begins now sees what is there.
            let expected: Vec<_> = model.clone().into_iter().collect();
            let found: Vec<_> = store.cursor(all(), Direction::Up).map(read).collect();
            prop_assert_eq!(&found, &expected);
            let mut found: Vec<_> = store.cursor(all(), Direction::Down).map(read).collect();
            found.reverse();
            prop_assert_eq!(&found, &expected);
            let expected: Vec<_> = expected.into_iter().filter(|(key, _)| within(key)).collect();
            for direction in [Direction::Up, Direction::Down] {
                let mut found: Vec<_> = store.cursor(part(), direction).map(read).collect();
                if direction == Direction::Down {
                    found.reverse();
                }
                prop_assert_eq!(&found, &expected);
            }
            let mut lookup = Lookup::new(&store);
            for n in 0..200 {
                let expected = model.get(&key(n)).cloned();
                prop_assert_eq!(store.get(&key(n)).unwrap().map(|value| value.to_vec()), expected.clone());
                prop_assert_eq!(lookup.get(&key(n)).unwrap().map(|value| value.to_vec()), expected);
            }
        }
        for (cursor, direction, stays, ever, mut found) in readers {
            found.extend(cursor.map(|entry| read(entry).0));
            if direction == Direction::Down {
                found.reverse();
            }
            prop_assert!(found.is_sorted_by(|a, b| a < b), "twice, or out of order");
            let found: BTreeSet<_> = found.into_iter().collect();
            prop_assert!(stays.is_subset(&found), "one that stays was passed over");
            prop_assert!(found.is_subset(&ever), "one that never was");
        }
        drop(store);
        let store = entries(&dir);
        let found: Vec<_> = store.cursor(all(), Direction::Up).map(read).collect();
        prop_assert_eq!(found, model.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn noise_is_no_page(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Page::read(&page_key(BASE, b"x"), &bytes).is_err());
        // Nor where it has the right checksum.
        let key = page_key(BASE, b"x");
        let mut sealed = page::checksum(&key, &bytes).to_be_bytes().to_vec();
        sealed.extend_from_slice(&bytes);
        let _no_panic = Page::read(&key, &sealed);
    }

    #[test]
    fn a_page_says_again_what_was_put_into_it(
        rows in btree_map(0..200_u8, vec(any::<u8>(), 0..50), 0..60), noise in vec(any::<u8>(), 0..60),
    ) {
        let rows: BTreeMap<_, _> = rows.into_iter().map(|(n, value)| (key(n), value)).collect();
        let puts: Vec<_> = rows.iter().map(|(key, value)| (key.as_slice(), Some(value.as_slice()))).collect();
        let at = page_key(BASE, b"x");
        let value = page::PageWriter::new().unwrap().value(&at, 7, b"lower", &puts).unwrap();
        let page = Page::read(&at, &value).unwrap();
        let found: BTreeMap<_, _> =
            (0..page.len()).map(|n| (page.key(n).to_vec(), page.value(n).unwrap().to_vec())).collect();
        prop_assert_eq!(&found, &rows);
        prop_assert_eq!((page.lower(), page::checked(&at, &value).unwrap().0), (&b"lower"[..], 7));
        prop_assert!(Page::read(&page_key(BASE, b"y"), &value).is_err(), "under another key");
        // Entries that are right by their checksum and wrong in themselves.
        let packed = zstd::bulk::compress(&noise, 3).unwrap();
        let mut strange = value[..4 + 8 + 2 + 5].to_vec();
        strange.extend_from_slice(&u32::try_from(noise.len()).unwrap().to_be_bytes());
        strange.extend_from_slice(&packed);
        let crc = page::checksum(&at, &strange[4..]).to_be_bytes();
        strange[..4].copy_from_slice(&crc);
        let _no_panic = Page::read(&at, &strange);
    }
}

#[test]
fn a_stop_between_packing_and_the_end_of_what_was_recent_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows = |byte| (0..120).map(move |n| (key(n), Some(value(&key(n), byte)))).collect();
    let (first, mut second): (BTreeMap<_, _>, BTreeMap<_, _>) = (rows(50), rows(60));
    write(&store, Way::Packed, &first);
    for n in (0..120).step_by(3) {
        second.insert(key(n), None);
    }
    write(&store, Way::Recent, &second);
    let seen = |store: &Entries| -> Vec<_> {
        store.cursor(beginning(b"c"), Direction::Up).map(read).collect()
    };
    let before = seen(&store);
    // The first half of what packing does.
    store.write(BASE, &edits(&second.into_iter().collect::<Vec<_>>())).unwrap();
    assert_eq!(seen(&store), before);
    drop(store);
    let store = entries(&dir);
    assert_eq!(seen(&store), before);
    store.pack_recent(200).unwrap();
    assert_eq!((seen(&store), store.recent()), (before, 0));
}

#[test]
fn a_layer_that_is_not_listed_goes_when_the_index_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows = |byte| (0..100).map(move |n| (key(n), Some(value(&key(n), byte)))).collect();
    let (listed, unlisted): (BTreeMap<_, _>, BTreeMap<_, _>) = (rows(90), rows(91));
    store.pack(&edits(&listed.clone().into_iter().collect::<Vec<_>>()), 1000).unwrap();
    let number = store.layers.new_number();
    // The first part of what packing does.
    store.write(number, &edits(&unlisted.into_iter().collect::<Vec<_>>())).unwrap();
    drop(store);
    let store = entries(&dir);
    let pages = |number| store.db.scan_prefix(page_key(number, &[])).count();
    assert_eq!((pages(number), store.layers.stack().len()), (0, 1));
    assert!(pages(store.layers.stack()[0].number) > 0);
    let found: Vec<_> = store.cursor(beginning(b"c"), Direction::Up).map(read).collect();
    let expected = listed.into_iter().filter(|(key, _)| key[0] == b'c');
    assert_eq!(found, expected.map(|(key, value)| (key, value.unwrap())).collect::<Vec<_>>());
}

#[test]
fn a_layer_that_is_lost_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows: Vec<Change> = (0..100).map(|n| (key(n), Some(value(&key(n), 90)))).collect();
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    store.pack(&edits(&rows.into_iter().collect::<Vec<_>>()), 1000).unwrap();
    let number = store.layers.stack()[0].number;
    for page in store.db.scan_prefix(page_key(number, &[])).keys() {
        store.db.remove(page.unwrap()).unwrap();
    }
    for direction in [Direction::Up, Direction::Down] {
        assert!(store.cursor(beginning(b"f"), direction).next().unwrap().is_err());
    }
    assert!(store.get(&key(2)).is_err());
}

#[test]
fn readers_see_every_entry_once_while_layers_are_merged_and_folded() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows: Vec<_> = (0..200).map(|n| (key(n), value(&key(n), 9))).collect();
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let changes = |n: usize| -> Vec<Change> {
        rows.iter().skip(n % 7).step_by(7).map(|(k, v)| (k.clone(), Some(v.clone()))).collect()
    };
    for n in 0..7 {
        store.pack(&edits(&changes(n)), 10_000).unwrap();
    }
    let end = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for direction in [Direction::Up, Direction::Down] {
            let (store, rows, end) = (&store, &rows, &end);
            scope.spawn(move || {
                while !end.load(std::sync::atomic::Ordering::Relaxed) {
                    let bounds = (Included(b"c".to_vec()), Excluded(b"g".to_vec()));
                    let mut found: Vec<_> = store.cursor(bounds, direction).map(read).collect();
                    if direction == Direction::Down {
                        found.reverse();
                    }
                    assert!(found.iter().map(|(k, v)| (k, v)).eq(rows.iter()), "{direction:?}");
                    assert!(rows.iter().all(|(key, value)| {
                        store.get(key).unwrap().is_some_and(|found| found == value)
                    }));
                }
            });
        }
        for n in 0..400 {
            match n % 5 {
                0 => store.put(changes(n), || ()).unwrap(),
                1 => store.pack_recent(10_000).unwrap(),
                2 => store.tidy().unwrap(),
                // Of which half is a fold.
                _ => store.pack(&edits(&changes(n)), if n % 2 == 0 { 60 } else { 10_000 }).unwrap(),
            }
        }
        end.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn nothing_is_missing_while_the_first_page_comes() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows: Vec<Change> = vec![(key(0), Some(value(&key(0), 1)))];
    let together = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        let readers: Vec<_> = [Direction::Up, Direction::Down]
            .map(|direction| {
                let (store, together) = (&store, &together);
                scope.spawn(move || {
                    (0..ROUNDS)
                        .filter(|_| {
                            together.wait();
                            let mut seen = None;
                            while seen.is_none() {
                                seen = store.cursor(beginning(b"c"), direction).next();
                            }
                            together.wait();
                            seen.is_some_and(|entry| entry.is_err())
                        })
                        .count()
                })
            })
            .into();
        for _ in 0..ROUNDS {
            together.wait();
            store.write(BASE, &edits(&rows)).unwrap();
            together.wait();
            store.db.remove(page_key(BASE, page::LAST)).unwrap();
        }
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 0, "errors in {ROUNDS} rounds");
        }
    });
}

#[test]
fn a_page_that_is_unpacked_already_is_believed_under_its_own_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows: BTreeMap<_, _> = (0..200).map(|n| (key(n), Some(value(&key(n), 90)))).collect();
    write(&store, Way::Packed, &rows);
    let whole = || {
        let rows = store.cursor(beginning(b"c"), Direction::Up);
        rows.collect::<Result<Vec<_>, _>>().map(|rows| rows.len())
    };
    let sound = whole().unwrap();
    let pages: Vec<_> = store.db.scan_prefix([PACKED]).map(|page| page.unwrap()).collect();
    let [(_, first), (at, second), ..] = pages.as_slice() else { panic!("{}", pages.len()) };
    // The whole page of another key; and one that names another page which is in memory.
    let mut named = second.to_vec();
    named[4..12].copy_from_slice(&first[4..12]);
    for strange in [first.to_vec(), named] {
        store.db.insert(at, strange).unwrap();
        assert!(whole().is_err());
    }
    store.db.insert(at, second).unwrap();
    assert_eq!(whole().unwrap(), sound);
}

#[test]
fn a_page_that_is_lost_or_damaged_is_an_error_for_who_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = entries(&dir);
    let rows: BTreeMap<_, _> = (0..200).map(|n| (key(n), Some(value(&key(n), 90)))).collect();
    write(&store, Way::Packed, &rows);
    drop(store);
    let pages: Vec<_> = super::tests::tamper(dir.path(), |db| {
        db.scan_prefix([PACKED]).map(|page| page.unwrap()).collect()
    });
    assert!(pages.len() > 5, "{}", pages.len());
    let whole = |direction| {
        let store = entries(&dir);
        let keys = store
            .cursor(beginning(b"c"), direction)
            .map(|entry| entry.map(|entry| entry.key().to_vec()));
        keys.collect::<Result<Vec<_>, _>>().map(|keys| keys.len())
    };
    let sound = whole(Direction::Up).unwrap();
    for (key, value) in pages.iter().take(3) {
        for byte in (0..value.len()).step_by(7) {
            let mut flipped = value.to_vec();
            flipped[byte] ^= 1 << (byte % 8);
            super::tests::tamper(dir.path(), |db| db.insert(key, flipped).unwrap());
            assert!(whole(Direction::Up).is_err(), "byte {byte}");
            assert!(whole(Direction::Down).is_err(), "byte {byte}");
        }
        super::tests::tamper(dir.path(), |db| db.insert(key, value).unwrap());
    }
    let (lost, value) = &pages[1];
    super::tests::tamper(dir.path(), |db| db.remove(lost).unwrap());
    assert!(whole(Direction::Up).is_err());
    assert!(whole(Direction::Down).is_err());
    super::tests::tamper(dir.path(), |db| db.insert(lost, value).unwrap());
    assert_eq!(whole(Direction::Up).unwrap(), sound);
    assert_eq!(whole(Direction::Down).unwrap(), sound);
}
