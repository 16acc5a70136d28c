//! Which layout an index has: what its keys and its values look like.
//!
//! A layout may change in any release, since an index is only a view. One of another layout, older
//! or newer, is not read: the start builds it again from the journal, beside the old one, and a kill
//! in the middle leaves the old one for the next start to do the same. So an index is never migrated.
//!
//! **What stays in every layout**, so that this much can always be read: the row `v` with the number
//! of the layout, the row `m` of the mark, and the seal of both, with the last sequence number of the
//! journal that the index knew.

use super::rows::{sealed, unsealed};
use super::{Index, IndexError};
use crate::keys;

/// The layout that this release reads and writes.
pub const LAYOUT: u32 = 10;
/// That of an index which has a mark and does not say its layout.
const UNSAID: u32 = 1;

impl Index {
    /// Says what layout this generation has.
    pub fn say_layout(&self, layout: u32) -> Result<(), IndexError> {
        self.guarded(|| {
            self.entries.db.insert(keys::LAYOUT, sealed(0, &layout.to_be_bytes()))?;
            Ok(())
        })
    }
}

/// An error where a store has another layout than this release reads.
pub(super) fn check(db: &sled::Db) -> Result<(), IndexError> {
    let mark = db.get(keys::MARK)?;
    let found = match (db.get(keys::LAYOUT)?, &mark) {
        (Some(value), _) => {
            let number = unsealed(&value)?.1.try_into();
            let number = number.map_err(|_| IndexError::damaged("its layout is no number"))?;
            u32::from_be_bytes(number)
        }
        (None, Some(_)) => UNSAID,
        // A generation that is being begun.
        (None, None) => LAYOUT,
    };
    if found == LAYOUT {
        return Ok(());
    }
    let last_seq = match mark {
        Some(value) => unsealed(&value)?.0,
        None => 0,
    };
    Err(IndexError::Layout { found, last_seq })
}
