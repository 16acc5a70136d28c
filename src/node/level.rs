//! The level of the cluster: which version of messages its nodes write.
//!
//! It is a setting that all nodes share, and the first version where it was never set. Each node writes that version and
//! reads all up to its release's own, so that releases run beside each other: the level is raised once every node reads
//! more, and what no earlier release reads comes into the log from then on. The message that raises it is of the new version
//! itself: a node of an earlier release stops there, before it is asked to write what it does not know.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Node;
use crate::access::{Access, ClusterLevel, Replaces, row_digest};
use crate::clock;
use crate::cluster::Peers;
use crate::codec::{FIRST_MESSAGE_VERSION, MESSAGE_VERSION};
use crate::store::{Change, StoreError};

/// Which version of messages the nodes write, and which they read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    pub writes: u8,
    /// All that are known, by name.
    pub nodes: Vec<NodeLevel>,
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLevel {
    pub node: String,
    /// Its release; none where it is not heard.
    pub release: Option<String>,
    /// The greatest version that it reads; none where it is not heard.
    pub reads: Option<u8>,
}

/// Why the level stays.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    #[error(
        "it is not known what {0} reads, which is not heard or has a name that two nodes have: start it or mend that first, \
         or `rollcall cluster forget` it where it is gone for good"
    )]
    Unknown(String),
    #[error(
        "the cluster writes messages of version {writes}, and {nodes} no later one: upgrade that first"
    )]
    Highest { writes: u8, nodes: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Levels {
    /// The greatest version that every node reads.
    ///
    /// # Errors
    /// That of a node is not known.
    pub fn common(&self) -> Result<u8, LevelError> {
        let unknown = self.nodes.iter().filter(|node| node.reads.is_none());
        let unknown: Vec<&str> = unknown.map(|node| node.node.as_str()).collect();
        if !unknown.is_empty() {
            return Err(LevelError::Unknown(unknown.join(", ")));
        }
        Ok(self.nodes.iter().filter_map(|node| node.reads).min().unwrap_or(self.writes))
    }

    /// What the level can be raised to; none where it is the greatest that any node reads.
    ///
    /// # Errors
    /// A node reads no more than is written while another does, or it is not known what one reads.
    pub fn next(&self) -> Result<Option<u8>, LevelError> {
        let (writes, common) = (self.writes, self.common()?);
        if common > writes {
            return Ok(Some(common));
        }
        let mut old = self.stopped();
        if old.is_empty() {
            if self.nodes.iter().all(|node| node.reads == Some(writes)) {
                return Ok(None);
            }
            old = self.that_read(|reads| reads == writes);
        }
        let verb = if old.len() == 1 { "reads" } else { "read" };
        Err(LevelError::Highest { writes, nodes: format!("{} {verb}", old.join(", ")) })
    }

    /// Nodes that do not read what is written.
    pub fn stopped(&self) -> Vec<&str> {
        self.that_read(|reads| reads < self.writes)
    }

    fn that_read(&self, which: impl Fn(u8) -> bool) -> Vec<&str> {
        let nodes = self.nodes.iter().filter(|node| node.reads.is_some_and(&which));
        nodes.map(|node| node.node.as_str()).collect()
    }
}

impl Node {
    /// As the settings say it.
    fn level(&self) -> u8 {
        let level = self.store.access(Access::level);
        level.map_or(FIRST_MESSAGE_VERSION, |level| level.version)
    }

    /// The version of what this node puts into the log.
    pub(super) fn writes(&self) -> u8 {
        self.level().min(MESSAGE_VERSION)
    }

    /// Why this release cannot follow the log, where the level is beyond it.
    pub(super) fn is_too_old(&self) -> Option<String> {
        let level = self.level();
        (level > MESSAGE_VERSION).then(|| {
            format!(
                "the cluster writes messages of version {level}, and this release reads up to {MESSAGE_VERSION}: expected a \
                 later release here"
            )
        })
    }

    /// What is known of all nodes.
    pub fn levels(&self) -> Levels {
        let now = Instant::now();
        self.look_at_nodes();
        let health = self.health.lock();
        let of = |node: &str, known: Option<(&str, u8)>| NodeLevel {
            node: node.to_owned(),
            release: known.map(|(release, _)| release.to_owned()),
            reads: known.map(|(_, reads)| reads),
        };
        let own = (!health.has_namesake(now)).then_some((RELEASE, MESSAGE_VERSION));
        let heard = health.peers.all(now).map(|(beat, ago)| {
            // One that was silent for some seconds may be another release by now.
            let is_one =
                Peers::is_heard(ago) && health.peers.twice(now).all(|name| name != beat.node);
            of(&beat.node, is_one.then_some((beat.release.as_str(), beat.reads)))
        });
        let unheard = health.peers.unheard().map(|node| of(node, None));
        let mut nodes: Vec<_> =
            std::iter::once(of(self.name.as_str(), own)).chain(heard).chain(unheard).collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        Levels { writes: self.level(), nodes }
    }

    /// Raises the level as far as every node reads; in a thread that may block. Returns what is so then, and whether it was
    /// raised.
    ///
    /// # Errors
    /// A node does not read more, or is not heard; or the log takes nothing.
    pub fn raise(&self) -> Result<(Levels, bool), LevelError> {
        let levels = self.levels();
        let Some(version) = levels.next()? else { return Ok((levels, false)) };
        let before = self.store.access(Access::level);
        let replaces = match before.and_then(|level| row_digest(&level.row().json)) {
            Some(digest) => Replaces::Content(digest),
            None => Replaces::Nothing,
        };
        let change = Change::Admin(ClusterLevel { version }.row(), replaces);
        self.block_on(self.outcome_as(version, &[change], clock::now()))?;
        tracing::info!(version, "messages are written in a later version from now on");
        Ok((Levels { writes: version, ..levels }, true))
    }
}

/// This release.
pub(super) const RELEASE: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(writes: u8, reads: &[Option<u8>]) -> Levels {
        let nodes = reads.iter().zip(1..).map(|(reads, n)| NodeLevel {
            node: format!("node{n}"),
            release: reads.map(|_| RELEASE.to_owned()),
            reads: *reads,
        });
        Levels { writes, nodes: nodes.collect() }
    }

    #[test]
    fn the_level_is_raised_as_far_as_all_nodes_read() {
        let next = |writes, reads: &[Option<u8>]| levels(writes, reads).next();
        assert_eq!(next(1, &[Some(1), Some(1), Some(1)]).unwrap(), None);
        assert_eq!(next(1, &[Some(2), Some(3), Some(2)]).unwrap(), Some(2));
        assert_eq!(next(2, &[Some(2), Some(2)]).unwrap(), None);
        let old = next(1, &[Some(2), Some(1), Some(1)]).unwrap_err().to_string();
        assert!(old.contains("version 1, and node2, node3 read no later one"), "{old}");
        let silent = next(1, &[Some(2), None, Some(1)]).unwrap_err().to_string();
        assert!(silent.contains("what node2 reads, which is not heard"), "{silent}");
        // One that has stopped, as it reads less than is written, keeps it as well.
        for (reads, name) in [([Some(3), Some(1)], "node2"), ([Some(1), Some(2)], "node1")] {
            let error = next(2, &reads).unwrap_err().to_string();
            assert!(error.contains(&format!("version 2, and {name} reads no later")), "{error}");
            assert_eq!(levels(2, &reads).stopped(), [name]);
        }
    }
}
