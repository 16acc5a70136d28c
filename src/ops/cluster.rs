//! Several machines: whether all nodes hold the same, what they write, and a node that is gone for good.

use serde::{Deserialize, Serialize};

use super::{AdminReply, Failure};
use crate::intake::Intake;
use crate::node::{LevelError, Node, PeerFigures};
use crate::store::LogPosition;

/// How far this store has applied a log, and how far the other nodes have, as they were heard last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterPlace {
    /// None where it has applied nothing of one.
    pub position: Option<LogPosition>,
    pub nodes: Vec<PeerFigures>,
}

/// The node of this process.
fn node(intake: &Intake) -> Result<&Node, Failure> {
    match intake.node() {
        Some(node) => Ok(node),
        None => Err(Failure::new(
            "no server is running here that is one of several: start `rollcall serve` with cluster.name set",
        )),
    }
}

pub(super) fn compare(intake: &Intake) -> Result<AdminReply, Failure> {
    Ok(AdminReply::Compared(node(intake)?.compare()?))
}

pub(super) fn level(intake: &Intake, raise: bool) -> Result<AdminReply, Failure> {
    let node = node(intake)?;
    let (levels, is_raised) = if raise {
        node.raise().map_err(|error| match error {
            LevelError::Store(error) => error.into(),
            error => Failure::new(error.to_string()),
        })?
    } else {
        (node.levels(), false)
    };
    Ok(AdminReply::Levels(levels, is_raised))
}

pub(super) fn place(intake: &Intake) -> AdminReply {
    let nodes = intake.node().map(|node| node.status().nodes).unwrap_or_default();
    AdminReply::Place(ClusterPlace { position: intake.store().position(), nodes })
}

pub(super) fn forget(intake: &Intake, name: &str) -> Result<AdminReply, Failure> {
    let why = node(intake)?.forget(name).map_err(Failure::new)?;
    Ok(AdminReply::Done(match why {
        None => format!("node {name} is not missed any more"),
        Some(why) => format!(
            "node {name} is not missed any more by the nodes that run; the log says so once it has a quorum, and a node \
             that starts before that misses it again: {why}"
        ),
    }))
}
