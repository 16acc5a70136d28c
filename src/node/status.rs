//! What a node says of itself, of the servers, and of the other nodes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Node;
use super::state::State;
use crate::clock;
use crate::cluster::{Link, Problem, ReadStats};
use crate::config::WithoutQuorum;
use crate::domain::counted;
use crate::meter::{ClusterGauges, PeerGauge, ServerGauge};
use crate::store::KeptMessages;
use crate::wire::show_time;

/// Figures of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub cluster: String,
    pub node: String,
    /// 32 hexadecimal digits; none before the node has begun with a log.
    pub epoch: Option<String>,
    /// `starting`, `live`, `away`, `behind`, `different`, `giving back` or `stopped`.
    pub state: String,
    /// Why, where something is to be done or waited for.
    pub why: Option<String>,
    /// `keep` or `refuse`.
    pub without_quorum: String,
    /// It does what one node does for all.
    pub first_node: bool,
    /// The server that it speaks to; none while there is no connection.
    pub server: Option<String>,
    /// The server that leads the log, as was seen last.
    pub leader: Option<String>,
    pub applied: u64,
    /// The newest message that is known of.
    pub last: u64,
    /// The oldest message that the log had when it was looked at last.
    pub first: Option<u64>,
    /// Bytes that the log has.
    pub log_bytes: Option<u64>,
    pub lag: LagFigures,
    pub kept: KeptFigures,
    /// How far a clock is ahead of this machine's: that of the log's leader or of another node, whichever differs most.
    pub clock_skew_seconds: f64,
    pub servers: Vec<ServerFigures>,
    /// The other nodes.
    pub nodes: Vec<PeerFigures>,
    /// Why monitors say nothing.
    pub unheard_monitors: Vec<String>,
    pub problems: Vec<String>,
}

/// How far the node is behind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LagFigures {
    pub messages: u64,
    pub seconds: f64,
}

/// What stands on this machine's disk alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFigures {
    /// Messages, of one submission or several.
    pub count: u64,
    pub bytes: u64,
    /// RFC 3339.
    pub oldest_at: Option<String>,
    /// All of it is in the log as well, which this node does not read any more.
    #[serde(default)]
    pub in_log: bool,
}

/// A server that has the log, or was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFigures {
    pub name: String,
    /// None where nobody has looked at it.
    pub version: Option<String>,
    pub sync_always: Option<bool>,
    /// It has all that the leader has; none of the leader, and where it has no replica.
    pub current: Option<bool>,
    /// Messages that it is behind the leader.
    pub behind: Option<u64>,
    /// Messages that its replica has lost.
    pub deleted: Option<u64>,
    pub offline: bool,
    /// Why it is not as it should be.
    pub trouble: Option<String>,
}

/// Another node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerFigures {
    pub node: String,
    pub applied: u64,
    pub kept: u64,
    /// It reads this log.
    pub same_log: bool,
    /// As it said last; none where it was not heard, and of an earlier release.
    #[serde(default)]
    pub state: Option<String>,
    /// What is to be done there before it goes on; none where it does.
    #[serde(default)]
    pub trouble: Option<String>,
    /// How far its clock is ahead of this machine's; none where it was not heard lately.
    pub clock_skew_seconds: Option<f64>,
    /// It was heard since this node was started; else all but its name is not known.
    #[serde(default = "is_heard")]
    pub heard: bool,
    /// How long ago it was heard last, or this node was started.
    pub seen_seconds: f64,
    /// Two nodes have this name.
    #[serde(default)]
    pub twice: bool,
}

const fn is_heard() -> bool {
    true
}

/// A node that has not been heard for so long is a problem.
const SILENT: Duration = Duration::from_secs(30);
/// Clocks that differ by so much are a problem.
const SKEW_MAX: f64 = 1.0;

impl Node {
    pub fn status(&self) -> NodeStatus {
        let (now, state) = (Instant::now(), self.state());
        let running = self.running();
        let running = running.as_ref();
        let first_node = self.is_first();
        let KeptMessages { count, bytes, oldest } = self.store.kept();
        let sent = self.kept_in_log.load(Ordering::Acquire);
        let in_log = count > 0 && self.broken().is_some() && self.store.newest_kept() <= Some(sent);
        let up = *self.connection.link().borrow() == Link::Up;
        let epoch = running.map(|running| running.log.epoch().to_string());
        let life = running.map(|running| running.life());
        let health = self.health.lock();
        let bounds = health.bounds.as_ref().map(|(bounds, _)| bounds);
        let is_same = |other: &str| life.as_deref() == Some(other);
        let clock = clock::now();
        let log_skew = health.skew(clock, now);
        let ahead: BTreeMap<&str, i64> = health.peers.ahead(clock, now).collect();
        let nodes = health.peers.all(now).map(|(beat, ago)| PeerFigures {
            node: beat.node.clone(),
            applied: beat.applied,
            kept: beat.kept,
            same_log: is_same(&beat.epoch),
            state: Some(beat.state.clone()).filter(|state| !state.is_empty()),
            trouble: beat.trouble(),
            clock_skew_seconds: ahead.get(beat.node.as_str()).map(|millis| seconds(*millis)),
            heard: true,
            seen_seconds: ago.as_secs_f64(),
            twice: health.peers.twice(now).any(|name| name == beat.node),
        });
        let unheard = health.peers.unheard().map(|node| PeerFigures {
            node: node.to_owned(),
            applied: 0,
            kept: 0,
            same_log: false,
            state: None,
            trouble: None,
            clock_skew_seconds: None,
            heard: false,
            seen_seconds: now.saturating_duration_since(health.since).as_secs_f64(),
            twice: false,
        });
        let mut nodes: Vec<_> = nodes.chain(unheard).collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        let mut status = NodeStatus {
            cluster: self.config.name.to_string(),
            node: self.name.to_string(),
            epoch: epoch.clone(),
            state: state.word().to_owned(),
            why: state.problem(),
            without_quorum: match self.config.without_quorum {
                WithoutQuorum::Keep => "keep".to_owned(),
                WithoutQuorum::Refuse => "refuse".to_owned(),
            },
            first_node,
            server: self.connection.server().filter(|_| up).map(|(name, _)| name),
            // One that died is not named until another one leads.
            leader: bounds
                .filter(|_| !health.unanswered && state != State::Away)
                .and_then(|bounds| bounds.leader.clone()),
            applied: running.map_or(0, |running| running.applied.borrow().seq),
            last: health.lag.newest(),
            first: bounds.map(|bounds| bounds.first),
            log_bytes: bounds.map(|bounds| bounds.bytes),
            lag: LagFigures {
                messages: health.lag.messages(),
                seconds: health.lag.time(health.log_clock(clock, now), now).as_secs_f64(),
            },
            kept: KeptFigures {
                count,
                bytes,
                oldest_at: oldest.map(|at| show_time(at).to_string()),
                in_log,
            },
            clock_skew_seconds: seconds(
                ahead
                    .values()
                    .copied()
                    .chain([log_skew])
                    .max_by_key(|ahead| ahead.unsigned_abs())
                    .unwrap_or_default(),
            ),
            servers: servers(&health),
            nodes,
            unheard_monitors: health.unheard.clone(),
            problems: health.problems.iter().flatten().map(Problem::to_string).collect(),
        };
        drop(health);
        status.problems.splice(0..0, state.problem());
        let waits = self.store.apply_waits();
        status
            .problems
            .extend(waits.map(|why| format!("the next message of the log waits: {why}")));
        status.problems.extend(self.disagreements(now));
        status.problems.extend(self.connection.refusal().filter(|_| !up));
        let denied = self.connection.denial().filter(|_| up);
        status.problems.extend(denied.map(|says| format!("a nats-server says: {says}")));
        let more = problems(&status, seconds(log_skew));
        status.problems.extend(more);
        status
    }

    /// The figures of a scrape.
    pub fn gauges(&self) -> ClusterGauges {
        let status = self.status();
        let running = self.running();
        let stats = running.as_ref().map(|running| running.log.stats());
        let oldest = self.store.kept().oldest;
        let age = oldest.map(|at| clock::now().millis().saturating_sub(at.millis()));
        let servers = status.servers.into_iter().map(|server| ServerGauge {
            name: server.name,
            behind: server.behind,
            deleted: server.deleted,
        });
        let nodes = status.nodes.into_iter();
        ClusterGauges {
            connected: status.server.is_some(),
            ready: self.lists().is_ok(),
            applied: status.applied,
            last: status.last,
            first: status.first,
            lag_seconds: status.lag.seconds,
            kept: status.kept.count,
            kept_bytes: status.kept.bytes,
            problems: u64::try_from(status.problems.len()).unwrap_or(u64::MAX),
            kept_oldest_seconds: Duration::from_millis(age.unwrap_or_default()).as_secs_f64(),
            gaps: stats.map_or(0, ReadStats::gaps),
            rereads: stats.map_or(0, ReadStats::rereads),
            clock_skew_seconds: status.clock_skew_seconds,
            servers: servers.collect(),
            nodes: nodes
                .map(|node| PeerGauge { name: node.node, seen_seconds: node.seen_seconds })
                .collect(),
        }
    }
}

fn servers(health: &super::Health) -> Vec<ServerFigures> {
    let bounds = health.bounds.as_ref().map(|(bounds, _)| bounds);
    let replicas = bounds.into_iter().flat_map(|bounds| &bounds.replicas);
    let leader = bounds.and_then(|bounds| bounds.leader.clone());
    let of = |name: String, current, behind, offline, trouble| {
        let report = health.reports.get(&name).map(|(report, _)| report);
        ServerFigures {
            version: report.map(|report| report.version.clone()),
            sync_always: report.map(|report| report.sync_always),
            deleted: report.and_then(|report| report.deleted),
            current,
            behind,
            offline,
            trouble,
            name,
        }
    };
    let mut all: Vec<_> =
        leader.into_iter().map(|name| of(name, None, Some(0), false, None)).collect();
    all.extend(replicas.map(|replica| {
        let (current, behind) = (Some(replica.current), Some(replica.lag));
        of(replica.name.clone(), current, behind, replica.offline, replica.trouble())
    }));
    let others = health.reports.keys().filter(|name| !all.iter().any(|one| one.name == **name));
    let others: Vec<_> = others.map(|name| of(name.clone(), None, None, false, None)).collect();
    all.extend(others);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// What an operator has to know beside the state and the servers.
fn problems(status: &NodeStatus, log_skew: f64) -> Vec<String> {
    let mut problems = Vec::new();
    if status.kept.count > 0 {
        let count = counted(status.kept.count, "message");
        let oldest = status.kept.oldest_at.as_deref().unwrap_or("an unknown time");
        problems.push(if status.kept.in_log {
            format!("{count} that this machine has kept are in the log; nothing is lost with it")
        } else {
            format!(
                "{count} stand on this machine alone until the log takes them, the oldest of {oldest}"
            )
        });
    }
    let nodes = status.nodes.iter();
    let clocks =
        nodes.filter_map(|node| Some((format!("node {}", node.node), node.clock_skew_seconds?)));
    for (whose, skew) in [("the log's leader".to_owned(), log_skew)].into_iter().chain(clocks) {
        if skew.abs() >= SKEW_MAX {
            let way = if skew > 0.0 { "ahead of" } else { "behind" };
            let by = skew.abs();
            problems.push(format!("the clock of {whose} is {by:.1} s {way} this machine's"));
        }
    }
    problems.extend(status.servers.iter().filter_map(|server| server.trouble.clone()));
    for node in &status.nodes {
        let name = &node.node;
        if node.seen_seconds >= SILENT.as_secs_f64() {
            let seconds = node.seen_seconds;
            let when = if node.heard {
                format!("was heard last {seconds:.0} s ago")
            } else {
                format!("was not heard since this node was started {seconds:.0} s ago")
            };
            problems.push(format!(
                "node {name} {when}; `rollcall cluster forget {name}` where it is gone for good"
            ));
        } else if let Some(trouble) = &node.trouble {
            problems.push(trouble.clone());
        } else if node.heard && !node.same_log {
            problems.push(format!("node {name} reads another log"));
        }
    }
    problems.extend(status.unheard_monitors.iter().cloned());
    problems
}

fn seconds(millis: i64) -> f64 {
    let seconds = Duration::from_millis(millis.unsigned_abs()).as_secs_f64();
    if millis < 0 { -seconds } else { seconds }
}
