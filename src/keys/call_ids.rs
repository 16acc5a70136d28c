//! Keys of Call-IDs: their checksums, since they are long and differ in every byte.

use super::{CALL_ID, Range, with_account};
use crate::domain::{AccountSid, Call};

/// Call-IDs that a call may have: its own, that on the other side of the SBC, that of its CDR.
const CALL_IDS_MAX: usize = 3;

/// The checksums of a call's Call-IDs, ascending, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallIdHashes {
    hashes: [u32; CALL_IDS_MAX],
    count: usize,
}

impl CallIdHashes {
    pub fn of(call: &Call) -> Self {
        let (mut hashes, mut count) = ([u32::MAX; CALL_IDS_MAX], 0);
        for (call_id, place) in call.call_ids().zip(&mut hashes) {
            *place = hash(&call_id);
            count += 1;
        }
        hashes.sort_unstable();
        let mut own = Self::default();
        for hash in hashes.into_iter().take(count) {
            if !own.have(hash)
                && let Some(place) = own.hashes.get_mut(own.count)
            {
                *place = hash;
                own.count += 1;
            }
        }
        own
    }

    pub fn iter(self) -> impl Iterator<Item = u32> {
        self.hashes.into_iter().take(self.count)
    }

    pub fn have(self, hash: u32) -> bool {
        self.iter().any(|own| own == hash)
    }
}

fn hash(call_id: &str) -> u32 {
    crc32c::crc32c(call_id.as_bytes())
}

impl Range {
    /// The calls of an account with this Call-ID, among them others whose Call-IDs have its checksum.
    pub fn call_id(account: AccountSid, call_id: &str) -> Self {
        Self::call_id_hash(account, hash(call_id))
    }

    pub(super) fn call_id_hash(account: AccountSid, hash: u32) -> Self {
        let mut prefix = with_account(CALL_ID, account);
        prefix.extend_from_slice(&hash.to_be_bytes());
        Self::whole(prefix)
    }
}
