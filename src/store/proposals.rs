//! What the store changes by itself, and who takes it.
//!
//! Calls that have gone quiet, calls whose time or space is over, and CDRs whose time is over are found by the
//! threads of the store. Alone it takes these changes like any others. As one of several nodes it may not: the
//! others would not have them. Then one node brings them to where all changes come from.

use std::sync::Arc;

use super::Outcome;
use super::StoreError;
use super::change::Change;
use super::open::Store;
use super::state::{CommitQueue, Shared};
use super::submit::Backpressure;
use crate::domain::Timestamp;

/// Takes what the store changes by itself.
pub trait Proposals: Send + Sync {
    /// Whether this store looks for such changes now. Of several nodes one does; two do no harm.
    fn is_mine(&self) -> bool;

    /// By which time is decided what is over, where this machine's clock shows this one: never later than by any clock that
    /// is known of. A wrong clock must not end what is young by all others.
    fn time(&self, clock: Timestamp) -> Timestamp;

    /// Brings changes on their way: all of them happen or none. Says what became of them, where that is
    /// known by then.
    ///
    /// Without backpressure it is asked by the thread that makes space in memory, and must not wait until the
    /// changes are applied, which may need that space.
    fn propose(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
        backpressure: Backpressure,
    ) -> Result<Option<Outcome>, StoreError>;
}

impl Proposals for CommitQueue {
    fn is_mine(&self) -> bool {
        true
    }

    fn time(&self, clock: Timestamp) -> Timestamp {
        clock
    }

    fn propose(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
        backpressure: Backpressure,
    ) -> Result<Option<Outcome>, StoreError> {
        self.submit(changes, at, false, backpressure)?.wait().map(Some)
    }
}

impl Shared {
    /// Who takes what the store changes by itself; nobody where it is a node whose log is not at hand, as in a
    /// command.
    pub fn proposals(&self) -> Option<&dyn Proposals> {
        match self.proposals.get() {
            Some(others) => Some(&**others),
            None => (!self.is_node()).then_some(&self.queue as &dyn Proposals),
        }
    }

    /// The same, where it is this store that looks for such changes.
    pub fn own_proposals(&self) -> Option<&dyn Proposals> {
        self.proposals().filter(|proposals| proposals.is_mine())
    }
}

impl Store {
    /// What the store changes by itself goes there from now on. Said once, before anything else is asked of it.
    pub fn propose_by(&self, proposals: Arc<dyn Proposals>) {
        let _first_counts = self.shared.proposals.set(proposals);
    }
}
