//! The log is read, decoded and applied.
//!
//! Reading, decoding and committing overlap: the follower reads ahead, one thread decodes and hands messages to the store,
//! which waits where it has no room, and one task waits for them to be durable. All three keep the order of the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Node, Running, compare, erase, give_back, join};
use crate::cluster::{Position, StoredMessage, message_crc};
use crate::codec::{Message, MessageError, MessageId, decode_message};
use crate::store::{AppliedMessage, ApplyTicket, LogPosition, chain};

/// Messages that were handed to the store and are not durable yet.
pub(super) const UNDER_WAY: usize = 64;
/// How often a message that makes no sense is read again, of another replica perhaps.
const READ_AGAIN: usize = 3;
const READ_PAUSE: Duration = Duration::from_millis(300);

/// A message on its way through the store.
pub(super) struct Applying {
    position: LogPosition,
    /// Of a message of this node.
    own: Option<MessageId>,
    /// Behind it all nodes are compared.
    is_mark: bool,
    ticket: ApplyTicket,
}

/// Decodes and hands on, until there is nothing more to come. Runs in a thread of its own.
pub(super) fn hand_on(
    node: &Arc<Node>,
    running: &Running,
    mut batches: mpsc::Receiver<Vec<StoredMessage>>,
    under_way: &mpsc::Sender<Applying>,
) {
    if let Some(why) = node.is_too_old() {
        return node.stop_applying(why);
    }
    while let Some(batch) = batches.blocking_recv() {
        for stored in batch {
            if *node.stopping.borrow() {
                return;
            }
            match hand_on_one(node, running, stored) {
                Ok(applying) => {
                    let mark = applying.is_mark.then_some(applying.position.seq);
                    if under_way.blocking_send(applying).is_err() {
                        return;
                    }
                    if let Some(seq) = mark {
                        compare::hash(node, running, seq);
                    }
                }
                Err(_) if running.halts.load(Ordering::Acquire) => return,
                Err(why) => return node.stop_applying(why),
            }
        }
    }
    if !running.halts.load(Ordering::Acquire) {
        node.task_ended("follower of the log");
    }
}

/// The error says why nothing more can be applied.
fn hand_on_one(
    node: &Arc<Node>,
    running: &Running,
    stored: StoredMessage,
) -> Result<Applying, String> {
    let StoredMessage { seq, at, mut bytes } = stored;
    let mut message = match decode_message(&bytes) {
        Ok(message) => message,
        Err(error @ MessageError::Newer(_)) => return Err(format!("message {seq}: {error}")),
        Err(error) => {
            let (read, message) = read_again(node, running, seq, &error)?;
            bytes = read.bytes;
            message
        }
    };
    if let Some(why) = join::is_claim(seq, message.submissions.len()) {
        return Err(why);
    }
    let is_mark = compare::is_mark(&message.id, message.submissions.len());
    if erase::is_request(&message.id, message.submissions.len()) {
        node.erasing.ask(seq);
    }
    let own = (&*message.node == node.name.as_str()).then_some(message.id);
    node.turnover.lock().read(bytes.len(), Instant::now());
    give_back::judge(node, running, seq, &mut message)?;
    let position = running.position(seq, message_crc(&bytes));
    drop(bytes);
    node.health.lock().lag.read(seq, at);
    let applied = AppliedMessage { position, logged_at: at, message };
    let ticket = node.store.apply_message(applied).map_err(|error| chain(&error))?;
    Ok(Applying { position, own, is_mark, ticket })
}

/// A message that cannot be decoded: one replica may have it wrong.
fn read_again(
    node: &Arc<Node>,
    running: &Running,
    seq: u64,
    error: &MessageError,
) -> Result<(StoredMessage, Message), String> {
    for _ in 0..READ_AGAIN {
        let read = node.runtime.block_on(async {
            tokio::time::sleep(READ_PAUSE).await;
            running.log.message_at(seq).await
        });
        if let Ok(Some(stored)) = read
            && let Ok(message) = decode_message(&stored.bytes)
        {
            return Ok((stored, message));
        }
    }
    Err(format!("message {seq} of the log cannot be read: {}", chain(error)))
}

/// Waits until messages are durable, in their order, and tells those who wait for them.
pub(super) async fn settle(
    node: Arc<Node>,
    running: Arc<Running>,
    mut under_way: mpsc::Receiver<Applying>,
) {
    while let Some(Applying { position, own, ticket, .. }) = under_way.recv().await {
        let outcomes = match ticket.durable().await {
            Ok(outcomes) => outcomes,
            Err(error) => return node.stop_applying(chain(&error)),
        };
        node.health.lock().lag.applied(position.seq);
        let epoch = running.log.epoch();
        let LogPosition { seq, crc, .. } = position;
        running.applied.send_replace(Position { epoch, seq, crc });
        if let Some(id) = own {
            node.waiters.applied(id, outcomes);
        }
        node.look_whether_caught_up(Instant::now());
    }
}
