//! Whether all nodes hold the same: each hashes what it has behind the same message of the log.
//!
//! The message is a *mark*: it has no submissions, and its id says what it is. A node that has applied it applies nothing more
//! until it has read all of its calls, and tells the hash with what it says of itself each second.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use super::{APPEND_TIMEOUT, Node, Running};
use crate::cluster::{Compared, Heartbeat};
use crate::codec::{MessageId, assemble};
use crate::random;
use crate::store::{StoreError, chain};

/// What the id of a mark begins with; the rest is random.
const MARK: &[u8; 8] = b"compare\0";
/// How long the hashes of all nodes are waited for.
const LONGEST: Duration = Duration::from_mins(5);
/// A node that says nothing for so long, while it is waited for, is not waited for any more.
const SILENT: Duration = Duration::from_secs(15);
/// How long it is tried to put the mark into the log: a leader may just be elected.
const ELECTION: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// What all nodes held behind one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The number of that message.
    pub seq: u64,
    /// All that are known, the one that was asked first.
    pub nodes: Vec<NodeContent>,
}

/// What a node held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeContent {
    pub node: String,
    /// None where it did not say so in time.
    pub calls: Option<u64>,
    /// SHA-256 over all calls: 64 hexadecimal digits.
    pub hash: Option<String>,
    /// The same over tokens, accounts and other settings.
    #[serde(default)]
    pub settings_hash: Option<String>,
}

impl NodeContent {
    fn said(&self) -> Option<(&String, &String)> {
        self.hash.as_ref().zip(self.settings_hash.as_ref())
    }
}

impl Comparison {
    /// Whether all of them said that they hold the same.
    pub fn is_same(&self) -> bool {
        self.silent().next().is_none() && self.is_same_where_said() && !self.nodes.is_empty()
    }

    /// Nodes that said nothing in time.
    pub fn silent(&self) -> impl Iterator<Item = &str> {
        let silent = self.nodes.iter().filter(|node| node.said().is_none());
        silent.map(|node| node.node.as_str())
    }

    /// Whether those that said something hold the same.
    pub fn is_same_where_said(&self) -> bool {
        let mut hashes = self.nodes.iter().filter_map(NodeContent::said);
        let first = hashes.next();
        hashes.all(|hash| Some(hash) == first)
    }
}

/// Whether a message is a mark.
pub(super) fn is_mark(id: &MessageId, submissions: usize) -> bool {
    submissions == 0 && id.starts_with(MARK)
}

/// A new mark.
pub(super) fn mark(node: &Node) -> Bytes {
    let mut id = *random::uuid().as_bytes();
    if let Some(begin) = id.first_chunk_mut() {
        *begin = *MARK;
    }
    Bytes::from(assemble(node.name.as_str(), id, &[] as &[Vec<u8>]))
}

/// Waits in a thread that may block until a message is applied; false where the node stops before.
pub(super) fn until_applied(node: &Node, running: &Running, seq: u64) -> bool {
    let (mut applied, mut stopping) = (running.applied.subscribe(), node.stopping.subscribe());
    node.runtime.block_on(async {
        tokio::select! {
            reached = applied.wait_for(|position| position.seq >= seq) => reached.is_ok(),
            _ = stopping.wait_for(|stops| *stops) => false,
        }
    })
}

/// Hashes what the store holds once this message is applied; in the thread that hands messages on, which applies nothing
/// more meanwhile.
pub(super) fn hash(node: &Node, running: &Running, seq: u64) {
    if !until_applied(node, running, seq) {
        return;
    }
    match node.store.content() {
        Ok(content) => {
            let [hash, settings] =
                [content.hash, content.settings].map(|hash| data_encoding::HEXLOWER.encode(&hash));
            *node.compared.lock() = Some(Compared { seq, calls: content.calls, hash, settings });
            node.has_news.notify_one();
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the calls of this node cannot be hashed");
        }
    }
}

impl Node {
    /// Has all nodes that are alive hash their calls behind the same message, and waits for them; in a thread that may block.
    ///
    /// # Errors
    /// The log takes no message.
    pub fn compare(&self) -> Result<Comparison, StoreError> {
        self.block_on(self.compared())
    }

    async fn compared(&self) -> Result<Comparison, StoreError> {
        let running = self.running();
        let running = running.ok_or_else(|| StoreError::NoQuorum(self.why_not_begun()))?;
        // A first message without submissions would be a claim.
        if running.applied.borrow().seq == 0 {
            return Err(StoreError::NoQuorum("there is nothing in the log yet".to_owned()));
        }
        if let Some(why) = self.holds_back() {
            return Err(StoreError::NoQuorum(why));
        }
        let epoch = running.life();
        let mark = mark(self);
        let begun = Instant::now();
        let seq = loop {
            match running.log.append(mark.clone(), APPEND_TIMEOUT).await {
                Ok(seq) => break seq,
                Err(error) if error.passes() && begun.elapsed() < ELECTION => sleep(PAUSE).await,
                Err(error) => return Err(StoreError::NoQuorum(chain(&error))),
            }
        };
        running.wake(seq);
        let own = |beat: &Heartbeat| beat.epoch == epoch;
        self.look_at_nodes();
        // One that is not heard, and not forgotten either, may hold something else.
        let others: Vec<String> = {
            let (health, now) = (self.health.lock(), Instant::now());
            let alive = health.peers.alive(now).filter(|beat| own(beat));
            let alive = alive.map(|beat| beat.node.as_str());
            alive.chain(health.peers.missed(now)).map(str::to_owned).collect()
        };
        let asked = Instant::now();
        let _or_not = timeout(LONGEST, async {
            while self.are_awaited(seq, &others, asked) {
                sleep(PAUSE).await;
            }
        })
        .await;
        Ok(Comparison { seq, nodes: self.contents(seq, &others) })
    }

    /// Whether this node, or one of these that is heard, has yet to say what it held. One that was away before it was asked has
    /// time as well.
    fn are_awaited(&self, seq: u64, others: &[String], asked: Instant) -> bool {
        let contents = self.contents(seq, others);
        let missing = contents.iter().filter(|node| node.hash.is_none());
        let health = self.health.lock();
        let heard: Vec<_> = health.peers.all(Instant::now()).collect();
        let is_silent = |name: &str| {
            let peer = heard.iter().find(|(beat, _)| beat.node == name);
            let ago = peer.map_or(asked.elapsed(), |(_, ago)| asked.elapsed().min(*ago));
            name != self.name.as_str() && ago > SILENT
        };
        missing.into_iter().any(|node| !is_silent(&node.node))
    }

    /// What this node and these others have said of the moment behind a message.
    fn contents(&self, seq: u64, others: &[String]) -> Vec<NodeContent> {
        let content = |node: &str, compared: Option<Compared>| {
            let compared = compared.filter(|compared| compared.seq == seq);
            let calls = compared.as_ref().map(|found| found.calls);
            let (hash, settings_hash) = compared.map(|found| (found.hash, found.settings)).unzip();
            NodeContent { node: node.to_owned(), calls, hash, settings_hash }
        };
        let mut all = vec![content(self.name.as_str(), self.compared.lock().clone())];
        let health = self.health.lock();
        let now = Instant::now();
        all.extend(others.iter().map(|name| {
            let heard = health.peers.all(now).find(|(beat, _)| beat.node == *name);
            content(name, heard.and_then(|(beat, _)| beat.compared.clone()))
        }));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(hashes: &[Option<&str>]) -> Comparison {
        let node = |hash: Option<&str>| NodeContent {
            node: "n".to_owned(),
            calls: hash.map(|_| 1),
            hash: hash.map(str::to_owned),
            settings_hash: hash.map(|_| "s".to_owned()),
        };
        Comparison { seq: 7, nodes: hashes.iter().copied().map(node).collect() }
    }

    #[test]
    fn nodes_are_the_same_where_each_says_so() {
        assert!(comparison(&[Some("a")]).is_same() && comparison(&[Some("a"); 3]).is_same());
        for other in [&[][..], &[None], &[Some("a"), None], &[Some("a"), Some("b")], &[None, None]]
        {
            assert!(!comparison(other).is_same(), "{other:?}");
        }
        // Tokens and accounts, too.
        let mut other = comparison(&[Some("a"); 2]);
        other.nodes[1].settings_hash = Some("t".to_owned());
        assert!(!other.is_same());
        // One that said nothing is named, whatever the others hold.
        for (hashes, is_same) in
            [([Some("a"), None, Some("a")], true), ([Some("a"), None, Some("b")], false)]
        {
            let found = comparison(&hashes);
            assert_eq!((found.silent().count(), found.is_same_where_said()), (1, is_same));
        }
    }

    #[test]
    fn a_mark_is_told_from_a_claim_and_from_what_has_submissions() {
        let mut id = [7; 16];
        assert!(!is_mark(&id, 0));
        id[..8].copy_from_slice(MARK);
        assert!(is_mark(&id, 0) && !is_mark(&id, 1));
    }
}
