//! Messages that found no quorum: kept on this machine's disk, and forwarded once there is one.
//!
//! What is kept is shown to nobody: it has no place in the order yet. It is let go of when it was read back from the log,
//! in the same commit that applies it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{APPEND_TIMEOUT, Node, Running};
use crate::cluster::{AppendError, KeepRequest};
use crate::codec::peek_message_id;
use crate::store::{StoreError, chain};

/// How often it is tried whether the log takes messages again.
const RETRY: Duration = Duration::from_millis(250);
/// Kept messages that are under way at a time.
const FORWARDED: usize = 8;
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
    let mut said = None;
    loop {
        // What is kept may be in the log already, and deleted since: that is known once all of the log was read, or
        // never will be. What the servers do not keep is not given to them.
        let has_read = node.caught_up.borrow().is_some() || node.broken().is_some();
        if !has_read || node.refusal().is_some() {
            sleep(RETRY).await;
            continue;
        }
        // A node that reads nothing back lets go of nothing: it sends each message once.
        let is_broken = node.broken().is_some();
        let from = if is_broken { node.kept_in_log.load(Ordering::Acquire) } else { 0 };
        match forward_all(&node, &running, from, &mut said).await {
            Ok(Some(last)) if is_broken => node.kept_in_log.store(last, Ordering::Release),
            Ok(Some(_)) => {}
            Ok(None) => {
                look_for_a_leader(&running).await;
                let _or_not = timeout(RETRY, node.kept_something.notified()).await;
            }
            Err(error) => {
                tracing::error!(error = chain(&error), "what is kept cannot be read");
                sleep(READ_BACK).await;
            }
        }
    }
}

/// Puts all into the log that is kept now after this sequence number, and waits until it was read back. Returns the number up
/// to which all is in the log, which is the first one where that is not known; none where nothing is kept. One goes first:
/// whether the log takes anything is not to be tried with many.
async fn forward_all(
    node: &Arc<Node>,
    running: &Arc<Running>,
    from: u64,
    said: &mut Option<&'static str>,
) -> Result<Option<u64>, StoreError> {
    let (mut after, mut newest, mut width) = (from, 0, 1);
    let mut all_taken = true;
    let mut goes_on = true;
    let mut under_way = JoinSet::new();
    let mut pause = RETRY;
    loop {
        while goes_on && under_way.len() < width {
            let store = node.store.clone();
            let next = tokio::task::spawn_blocking(move || store.next_kept(after)).await;
            let Some((seq, id, bytes)) = next.map_err(|_| StoreError::Closing)?? else {
                goes_on = false;
                break;
            };
            after = seq;
            node.waiters.begin(id);
            let log = running.log.clone();
            under_way.spawn(async move { log.append(bytes, APPEND_TIMEOUT).await });
        }
        let Some(done) = under_way.join_next().await else { break };
        match done {
            Ok(Ok(seq)) => {
                node.health.lock().logged(seq, Instant::now());
                newest = newest.max(seq);
                width = FORWARDED;
                running.packer.recovered();
                running.wake(seq);
                *said = None;
            }
            Ok(Err(error)) => {
                (goes_on, all_taken) = (false, false);
                // It is in the log each time, and this node is about to find out that it has lost its end.
                if matches!(error, AppendError::WentBack { .. }) {
                    pause = READ_BACK;
                }
                node.store.meter().cluster.failed(error.kind());
                if said.replace(error.kind()) != Some(error.kind()) {
                    tracing::warn!(
                        error = chain(&error),
                        "what is kept cannot be put into the log yet"
                    );
                }
            }
            Err(_) => (goes_on, all_taken) = (false, false),
        }
    }
    if newest > 0 && node.broken().is_none() {
        let mut applied = running.applied.subscribe();
        let _or_again =
            timeout(READ_BACK, applied.wait_for(|position| position.seq >= newest)).await;
    }
    if said.is_some() {
        sleep(pause).await;
    }
    Ok((after > from).then_some(if all_taken { after } else { from }))
}

/// Where nothing is kept, the packer does not find out by itself that the log is back.
async fn look_for_a_leader(running: &Running) {
    if running.packer.is_away()
        && running.log.bounds().await.is_ok_and(|bounds| bounds.leader.is_some())
    {
        running.packer.recovered();
    }
}
