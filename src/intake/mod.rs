//! Where changes come in, from everywhere: webhooks, CDRs, the mirror, the API, commands.
//!
//! Who changes anything asks an [`Intake`], and who only reads asks the store. So what takes changes is decided in
//! one place, at the start. What the store changes by itself goes by `store::Proposals`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::Timestamp;
pub use crate::node::Accepted;
use crate::node::Node;
use crate::store::{Change, Outcome, Store, StoreError, Ticket};

/// How often it is asked whether this node does what one does for all.
const LOOK: Duration = Duration::from_millis(250);
/// What a message of a log has room for beside others.
const LOGGED_BATCH_BYTES: usize = 256 * 1024;

/// Takes changes.
#[derive(Clone)]
pub enum Intake {
    /// The store of this process is the only one.
    Alone(Arc<Store>),
    /// The store is one of several that apply the same log.
    Cluster(Arc<Node>),
}

impl Intake {
    /// What has been taken and published.
    pub fn store(&self) -> &Arc<Store> {
        match self {
            Self::Alone(store) => store,
            Self::Cluster(node) => node.store(),
        }
    }

    /// The node; none where the store of this process is the only one.
    pub fn node(&self) -> Option<&Arc<Node>> {
        match self {
            Self::Alone(_) => None,
            Self::Cluster(node) => Some(node),
        }
    }

    /// Whether this process does what one does for all nodes: passing webhooks on, following jambonz's Redis.
    pub fn is_mine(&self) -> bool {
        match self {
            Self::Alone(_) => true,
            Self::Cluster(node) => node.is_first(),
        }
    }

    /// Waits until that is so, or is not so any more.
    pub async fn until_mine(&self, mine: bool) {
        while self.is_mine() != mine {
            match self {
                // It stays as it is.
                Self::Alone(_) => std::future::pending().await,
                Self::Cluster(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Takes changes, all of them or none, and says so once they are safe. Refused at once where there is no space
    /// for them. They are on their way when this returns, though nobody polls the answer.
    pub fn submit(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> impl Future<Output = Result<Accepted, StoreError>> + Send + use<> {
        let submitted = match self {
            Self::Alone(store) => {
                Submitted::Here(is_alone(store).and_then(|()| store.submit(changes, at)))
            }
            Self::Cluster(node) => Submitted::Logged(node.submit(changes, at)),
        };
        async move {
            match submitted {
                Submitted::Here(ticket) => {
                    ticket?.durable().await?;
                    Ok(Accepted::default())
                }
                Submitted::Logged(placed) => placed.await,
            }
        }
    }

    /// The same, once it is known what became of them.
    pub async fn outcome_of(
        &self,
        changes: Vec<Change>,
        at: Timestamp,
    ) -> Result<(Outcome, Accepted), StoreError> {
        match self {
            Self::Alone(store) => {
                is_alone(store)?;
                let outcome = store.submit(changes, at)?.durable().await?;
                Ok((outcome, Accepted::default()))
            }
            Self::Cluster(node) => node.outcome_of(&changes, at).await,
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
            Self::Alone(store) => {
                if !dry {
                    is_alone(store)?;
                }
                store.apply(changes, at, dry)
            }
            Self::Cluster(node) if dry => node.store().apply(changes, at, dry),
            Self::Cluster(node) => node.apply(changes, at),
        }
    }

    /// Waits until the other nodes that are alive have applied what this one has by now. Returns those of which that is
    /// not known in time.
    pub fn wait_for_others(&self, longest: Duration) -> Vec<String> {
        match self {
            Self::Alone(_) => Vec::new(),
            Self::Cluster(node) => node.wait_for_others(longest),
        }
    }

    /// Bytes of records that one submission of bulk work should have at most, about.
    pub fn batch_bytes(&self) -> usize {
        match self {
            Self::Alone(_) => usize::MAX,
            Self::Cluster(_) => LOGGED_BATCH_BYTES,
        }
    }
}

/// An error where the data are those of a node, whose log is not at hand: they change by its messages alone.
fn is_alone(store: &Store) -> Result<(), StoreError> {
    if store.position().is_some() { Err(StoreError::OfNode) } else { Ok(()) }
}

/// Changes that are on their way.
enum Submitted<L> {
    Here(Result<Ticket, StoreError>),
    Logged(L),
}
