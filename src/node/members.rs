//! The nodes of the cluster: each has a row in the settings from when it was first seen until it is forgotten.
//!
//! So all nodes miss the same ones, also after a start: one that was silent since before may have what was deleted, and lacks
//! what the log has had since. The node that does for all what one node does writes the rows, and once each: nothing in
//! them changes while a node lives, is away, and comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::Node;
use super::state::State;
use crate::access::{Access, Replaces, SettingRow, node_row_name};
use crate::clock;
use crate::cluster::NODES_MAX;
use crate::store::{Change, chain};

/// How often it is looked whether a row is missing.
const LOOK: Duration = Duration::from_secs(1);
/// How long other nodes are told that one is gone for good.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// What a row says. Its name says all.
const ROW: &[u8] = b"{}";

/// Writes rows of nodes that are new, and removes those of nodes that are gone, for as long as it runs.
pub(super) async fn list(node: Arc<Node>) {
    loop {
        sleep(LOOK).await;
        node.look_at_nodes();
        let (new, gone) = node.to_list();
        if new.is_empty() && gone.is_empty() {
            continue;
        }
        let added = new.iter().map(|name| {
            let row = SettingRow { name: node_row_name(name), json: ROW.to_vec() };
            Change::Admin(row, Replaces::Nothing)
        });
        let changes: Vec<_> = added.chain(gone.iter().map(|name| removal(name))).collect();
        match node.outcome_of(&changes, clock::now()).await {
            Ok(_) => {
                let (new, gone) = (new.join(", "), gone.join(", "));
                tracing::info!(new, gone, "the list of nodes has changed");
            }
            // Another node was first, or there is no quorum: it is looked at again.
            Err(error) => tracing::debug!(error = chain(&error), "the list of nodes stays"),
        }
        node.look_at_nodes();
    }
}

/// The row of a node that is gone.
fn removal(node: &str) -> Change {
    Change::setting(SettingRow { name: node_row_name(node), json: Vec::new() })
}

impl Node {
    /// Takes over what the settings say of nodes.
    pub(super) fn look_at_nodes(&self) {
        let listed = self.listed();
        let others = listed.into_iter().filter(|node| node != self.name.as_str()).collect();
        self.health.lock().peers.list(others, Instant::now());
    }

    fn listed(&self) -> BTreeSet<String> {
        self.store.access(|access: &Access| access.nodes().clone())
    }

    /// Nodes that have no row yet, and those that are gone and have one; none where this is for another node to do.
    fn to_list(&self) -> (Vec<String>, Vec<String>) {
        if self.state() != State::Live || !self.is_first() {
            return (Vec::new(), Vec::new());
        }
        let listed = self.listed();
        let health = self.health.lock();
        let own = Some(self.name.as_str()).filter(|own| !listed.contains(*own));
        let new = own.into_iter().chain(health.peers.unlisted(Instant::now()));
        let new = new.take(NODES_MAX.saturating_sub(listed.len())).map(str::to_owned).collect();
        (new, health.peers.forgotten().map(str::to_owned).collect())
    }

    /// A node that is gone for good is not missed any more: by this one at once, by the others that run within some seconds,
    /// and by those that start once the log says so. Waits for the log in a thread of its own. Returns why that does not
    /// say so yet; none where it does.
    ///
    /// # Errors
    /// It is alive, or not known.
    pub fn forget(&self, node: &str) -> Result<Option<String>, String> {
        if node == self.name.as_str() {
            return Err(format!(
                "node {node} is this one, and runs: ask another node once it is gone"
            ));
        }
        let now = Instant::now();
        self.look_at_nodes();
        let mut health = self.health.lock();
        let heard = health.peers.all(now).find(|(beat, _)| beat.node == node);
        let ago = heard.map(|(_, ago)| ago.as_secs());
        if ago.is_none() && !health.peers.unheard().any(|known| known == node) {
            let heard = health.peers.all(now).map(|(beat, _)| beat.node.as_str());
            let mut names: Vec<&str> = heard.chain(health.peers.unheard()).collect();
            names.sort_unstable();
            let known = match names.as_slice() {
                [] => "no other node is known".to_owned(),
                names => format!("these are known: {}", names.join(", ")),
            };
            return Err(format!("node \"{node}\" was never heard; {known}"));
        }
        health.peers.forget(node, now);
        if let Some(ago) = ago
            && health.peers.all(now).any(|(beat, _)| beat.node == node)
        {
            return Err(format!("node {node} was heard {ago} s ago: stop it first"));
        }
        drop(health);
        self.forgotten.lock().push((node.to_owned(), now));
        self.has_news.notify_one();
        if !self.listed().contains(node) {
            return Ok(None);
        }
        let removed = self.apply(&[removal(node)], clock::now());
        self.look_at_nodes();
        Ok(removed.err().map(|error| chain(&error)))
    }

    /// Nodes that are gone for good, as is still told to the others.
    pub(super) fn forgotten(&self, now: Instant) -> Vec<String> {
        let mut forgotten = self.forgotten.lock();
        forgotten.retain(|(_, since)| now.saturating_duration_since(*since) < FORGOTTEN);
        forgotten.iter().map(|(node, _)| node.clone()).collect()
    }
}
