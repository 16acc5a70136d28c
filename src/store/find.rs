//! What a person asks a store for: calls by a part of their sid, and when the last event came.

use std::collections::{BTreeSet, VecDeque};

use super::StoreError;
use super::open::Store;
use crate::codec;
use crate::domain::{CallSid, Timestamp};
use crate::index::Stored;
use crate::journal::{FrameKind, Scanner};

/// Sids that are kept of a search; what is beyond is not even counted.
const SIDS_MAX: usize = 10_000;

/// The newest records of the journal of which one is the last event, however they were merged.
const NEWEST: usize = 64;
/// Bytes of a segment that are read for it.
const LOOKED_AT_MAX: u64 = 256 << 20;

/// What a search for sids has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SidMatches {
    /// The sids, ascending.
    pub sids: Vec<CallSid>,
    /// There are more of them.
    pub more: bool,
}

impl Store {
    /// The sids, of whichever account, that begin with these bytes and are meant. Of the index those that
    /// begin so are read, and no call.
    pub fn find_sids(
        &self,
        leading: &[u8],
        is_meant: impl Fn(CallSid) -> bool,
    ) -> Result<SidMatches, StoreError> {
        let shared = &self.shared;
        let _reading = shared.readers.begin();
        let index = shared.index()?;
        let mut sids = BTreeSet::new();
        let mut more = false;
        let looked = index.each_stored(leading, |id, stored| {
            let is_call = matches!(stored, Stored::Call { .. });
            // What is in memory is newer, and asked below.
            if is_call && is_meant(id.sid) && !shared.registry.read().holds(id) {
                more |= sids.len() >= SIDS_MAX;
                sids.insert(id.sid);
            }
            Ok(!more)
        });
        looked.map_err(|error| shared.index_failed(&error))?;
        for (id, entry) in shared.registry.read().iter() {
            if entry.call().is_some() && id.sid.bytes().starts_with(leading) && is_meant(id.sid) {
                more |= sids.len() >= SIDS_MAX;
                sids.insert(id.sid);
            }
        }
        Ok(SidMatches { sids: sids.into_iter().collect(), more })
    }

    /// When the last event came, by the newest records that the journal has. The segment that has them is
    /// read through; one that is very large is not.
    pub fn last_event(&self) -> Result<Option<Timestamp>, StoreError> {
        let segments = self.shared.segments.read().clone();
        for segment in segments.iter().rev() {
            if segment.length > LOOKED_AT_MAX {
                return Ok(None);
            }
            let mut scanner = Scanner::new(segment)?;
            let mut newest = VecDeque::with_capacity(NEWEST);
            while let Some((_, frame)) = scanner.next_frame()? {
                if frame.kind == FrameKind::Record {
                    if newest.len() == NEWEST {
                        newest.pop_front();
                    }
                    newest.push_back(frame.body.to_vec());
                }
            }
            let calls = newest.iter().filter_map(|body| codec::decode(body).ok());
            if let Some(at) = calls.map(|call| call.last_event_at()).max() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}
