//! Messages that found no quorum: kept on this machine's disk, and forwarded once there is one.
//!
//! What is kept is shown to nobody: it has no place in the order yet. It is let go of when it was read back from the log,
//! in the same commit that applies it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::{APPEND_TIMEOUT, Node, Running};
use crate::cluster::KeepRequest;
use crate::codec::peek_message_id;
use crate::store::{StoreError, chain};

/// How often it is tried whether the log takes messages again.
const RETRY: Duration = Duration::from_millis(250);
/// How long a message that is in the log may take to be read back before it is looked at again.
const READ_BACK: Duration = Duration::from_secs(5);

/// Writes what the packer could not place.
pub(super) async fn keep(node: Arc<Node>, mut requests: mpsc::Receiver<KeepRequest>) {
    while let Some(KeepRequest { message, reply }) = requests.recv().await {
        let node = node.clone();
        // Several wait for one sync of the disk.
        tokio::spawn(async move {
            let kept = keep_one(&node, message).await;
            let _gone = reply.send(kept.map_err(|error| chain(&error)));
        });
    }
}

/// A message is on disk when this returns.
pub(super) async fn keep_one(node: &Node, message: Bytes) -> Result<(), StoreError> {
    let Some(id) = peek_message_id(&message) else {
        return Err(StoreError::Failed("a message without an id".to_owned()));
    };
    let store = node.store.clone();
    let begun = tokio::task::spawn_blocking(move || store.keep(id, message)).await;
    let ticket = begun.map_err(|_| StoreError::Closing)??;
    ticket.durable().await?;
    node.kept_something.notify_one();
    Ok(())
}

/// Puts what is kept into the log, the oldest first, for as long as it runs.
pub(super) async fn forward(node: Arc<Node>, running: Arc<Running>) {
    loop {
        // What the servers do not keep is not given to them.
        if node.refusal().is_some() {
            sleep(RETRY).await;
            continue;
        }
        let store = node.store.clone();
        let oldest = tokio::task::spawn_blocking(move || store.oldest_kept()).await;
        let (id, bytes) = match oldest {
            Ok(Ok(Some(oldest))) => oldest,
            Ok(Ok(None)) => {
                look_for_a_leader(&running).await;
                let _or_not = timeout(RETRY, node.kept_something.notified()).await;
                continue;
            }
            Ok(Err(error)) => {
                tracing::error!(error = chain(&error), "what is kept cannot be read");
                sleep(READ_BACK).await;
                continue;
            }
            Err(_) => return,
        };
        let mut applied = running.applied.subscribe();
        node.waiters.begin(id);
        match running.log.append(bytes, APPEND_TIMEOUT).await {
            Ok(seq) => {
                running.packer.recovered();
                running.wake(seq);
                let _or_again =
                    timeout(READ_BACK, applied.wait_for(|position| position.seq >= seq)).await;
            }
            Err(error) => {
                node.store.meter().cluster.failed(error.kind());
                sleep(RETRY).await;
            }
        }
    }
}

/// Where nothing is kept, the packer does not find out by itself that the log is back.
async fn look_for_a_leader(running: &Running) {
    if running.packer.is_away()
        && running.log.bounds().await.is_ok_and(|bounds| bounds.leader.is_some())
    {
        running.packer.recovered();
    }
}
