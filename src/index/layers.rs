//! Layers of pages. The base holds nearly everything; what was packed lately lies over it, in layers that
//! are written once, and hides what the base has of the same keys. Some time later they are merged,
//! or folded into the base, so that a page of the base is rewritten for many entries at once.
//!
//! The layers that count are listed in a row of their own. A layer that is no longer listed goes once
//! nobody reads it any more, or at the next opening.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};

use super::IndexError;
use super::database::Database;
use super::page::{layer_in, page_key};
use super::rows::{sealed, unsealed};
use super::tree::strange_key;
use crate::keys;

/// The number of the base.
pub(super) const BASE: u32 = 0;
/// Pages that are removed in one step.
const BATCH_KEYS: usize = 96;

/// A layer over the base.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub number: u32,
    /// How many entries it has.
    pub entries: u64,
    /// It may have rows of calls.
    pub rows: bool,
}

/// Those over the base, the newest first.
pub(super) type Stack = Arc<[Arc<Layer>]>;

/// The layers of an index.
pub(super) struct Layers {
    stack: RwLock<Stack>,
    next: AtomicU32,
    /// No longer listed, and perhaps still read.
    left: Mutex<Vec<Arc<Layer>>>,
}

impl Layers {
    /// Those that are listed. Pages of others are removed.
    pub fn open(db: &Database) -> Result<Self, IndexError> {
        let strange = |error: &dyn std::fmt::Display| {
            IndexError::damaged(format!("the list of its layers: {error}"))
        };
        let listed: Vec<(u32, u64, bool)> = match db.get(keys::LAYERS)? {
            Some(row) => serde_json::from_slice(unsealed(&row)?.1).map_err(|e| strange(&e))?,
            None => Vec::new(),
        };
        let is_listed = |number| number == BASE || listed.iter().any(|(of, ..)| *of == number);
        let mut from = page_key(BASE, &[]);
        while let Some(key) = db.range(from..page_key(u32::MAX, &[])).keys().next() {
            let number = layer_in(&key?).ok_or_else(strange_key)?;
            if !is_listed(number) {
                remove_pages(db, number)?;
            }
            from = page_key(number.saturating_add(1), &[]);
        }
        let next = listed.iter().map(|(number, ..)| *number).max().unwrap_or(BASE) + 1;
        let layer = |(number, entries, rows)| Arc::new(Layer { number, entries, rows });
        let stack = RwLock::new(listed.into_iter().map(layer).collect());
        Ok(Self { stack, next: AtomicU32::new(next), left: Mutex::default() })
    }

    /// Those that count now.
    pub fn stack(&self) -> Stack {
        self.stack.read().clone()
    }

    /// A number that no layer has.
    pub fn new_number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Has other layers count from now on.
    pub fn replace(&self, db: &Database, stack: &Stack) -> Result<(), IndexError> {
        let listed: Vec<(u32, u64, bool)> =
            stack.iter().map(|layer| (layer.number, layer.entries, layer.rows)).collect();
        let json = serde_json::to_vec(&listed).map_err(|e| IndexError::damaged(e.to_string()))?;
        db.insert(keys::LAYERS, sealed(0, &json))?;
        let before = std::mem::replace(&mut *self.stack.write(), stack.clone());
        self.left.lock().extend(before.iter().filter(|layer| !stack.contains(layer)).cloned());
        Ok(())
    }

    /// Removes what is no longer listed and not read any more.
    pub fn sweep(&self, db: &Database) -> Result<(), IndexError> {
        let unread = |layer: &mut Arc<Layer>| Arc::strong_count(layer) == 1;
        let gone: Vec<_> = self.left.lock().extract_if(.., unread).collect();
        gone.iter().try_for_each(|layer| remove_pages(db, layer.number))
    }
}

fn remove_pages(db: &Database, number: u32) -> Result<(), IndexError> {
    loop {
        let (mut batch, mut count) = (sled::Batch::default(), 0);
        for key in db.scan_prefix(page_key(number, &[])).keys().take(BATCH_KEYS) {
            batch.remove(key?);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        db.apply_batch(batch)?;
    }
}
