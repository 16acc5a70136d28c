//! Where changes come in, from everywhere: webhooks, CDRs, the mirror, the API, commands.
//!
//! Who changes anything asks an [`Intake`], and who only reads asks the store. So what takes changes is decided in
//! one place, at the start. What the store changes by itself goes by `store::Proposals`.

use std::future::Future;
use std::sync::Arc;

use crate::domain::Timestamp;
use crate::store::{Change, Outcome, Store, StoreError};

/// Takes changes.
#[derive(Clone)]
pub enum Intake {
    /// The store of this process is the only one.
    Alone(Arc<Store>),
}

impl Intake {
    /// What has been taken and published.
    pub fn store(&self) -> &Arc<Store> {
        match self {
            Self::Alone(store) => store,
        }
    }

    /// Takes changes, all of them or none, and says so once they are on disk. Refused at once where there is no
    /// space for them. They are on their way when this returns, though nobody polls the answer.
    pub fn submit(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let submitted = match self {
            Self::Alone(store) => store.submit(changes, at),
        };
        async move { submitted?.durable().await.map(drop) }
    }

    /// The same, once it is known what became of them.
    pub async fn outcome_of(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> Result<Outcome, StoreError> {
        match self {
            Self::Alone(store) => store.submit(changes, at)?.durable().await,
        }
    }

    /// The same for bulk work and commands, in a thread that may block: waits for space as long as it takes.
    /// Where `dry` it only says what would happen.
    ///
    /// # Errors
    /// Also where there will be no space, since what is in memory does not fit on the disk.
    pub fn apply(
        &self,
        changes: &[Change],
        at: Timestamp,
        dry: bool,
    ) -> Result<Outcome, StoreError> {
        match self {
            Self::Alone(store) => store.apply(changes, at, dry),
        }
    }
}
