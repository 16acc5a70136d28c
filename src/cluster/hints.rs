//! What nodes tell each other at once, beside the log: how far it reaches, and that they are alive.
//!
//! Sent to all who listen and kept by nobody. Nothing depends on it for being right: a hint that is lost is made good by
//! the next look at the log, and two nodes that both take themselves for the first do no harm.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::agree::Starts;
use super::connection::Connection;
use crate::config::ClusterName;
use crate::domain::Timestamp;

/// Bytes of one hint; longer ones are passed over.
const HINT_BYTES_MAX: usize = 16 * 1024;
/// Nodes that are remembered.
pub const NODES_MAX: usize = 64;
/// A node that says nothing for so long is not counted as alive.
const ALIVE: Duration = Duration::from_secs(30);
/// One that says nothing for so long is not waited for where something is to be done by one node.
const FIRST: Duration = Duration::from_secs(5);

/// States of a node that applies nothing more until somebody has done something.
const TROUBLES: [&str; 3] = ["behind", "different", "stopped"];
/// Two looks at a server are this far apart at least.
const ANOTHER_LOOK: Duration = Duration::from_millis(500);

/// What a node says of itself, once a second and after each message that it has put into the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    pub node: String,
    /// Which start of it: 32 hexadecimal digits. Two nodes of one name are told by it.
    pub start: String,
    /// Of the log that it reads: 32 hexadecimal digits.
    pub epoch: String,
    /// The greatest number that it knows of.
    pub newest: u64,
    pub applied: u64,
    /// The log is not the one that it has applied, or has lost some of it: its numbers say nothing of the log.
    pub differs: bool,
    /// A word for how it is, such as `live`; of an earlier release none.
    pub state: String,
    /// Messages that it keeps until there is a quorum.
    pub kept: u64,
    /// Its release, such as `0.2.0`.
    pub release: String,
    /// The greatest version of messages that it reads.
    pub reads: u8,
    /// Its clock, in milliseconds since 1970.
    pub at: u64,
    /// What it has seen of the servers that it watches.
    pub servers: Vec<ServerReport>,
    /// What it held when it was compared with others last.
    pub compared: Option<Compared>,
    /// Nodes that are gone for good, as somebody has said there.
    pub forgotten: Vec<String>,
    /// Nodes that it knows of, and does not hear. They are told with the settings.
    pub missed: Vec<String>,
    /// Settings that have to be the same on all nodes, by their keys. They are told once a second; none says nothing.
    pub settings: BTreeMap<String, String>,
    /// All that was deleted up to this message is erased on its disk, as far as this was asked for since its start.
    pub erased: u64,
    /// Why more of it is not; empty where nothing keeps it from that.
    pub not_erased: String,
    /// Somebody waits there until all nodes have erased what was deleted up to this message; 0 where nobody does.
    pub erases: u64,
}

impl Heartbeat {
    /// Why it does not go on by itself, in words; none where it does, as far as it says.
    pub fn trouble(&self) -> Option<String> {
        let is_wrong = TROUBLES.contains(&self.state.as_str());
        let (node, state) = (&self.node, &self.state);
        is_wrong.then(|| format!("node {node} is {state}: `rollcall status` there says why"))
    }

    /// How long ago a server was looked at, when this was said; none where that is later than that.
    pub fn age_of(&self, report: &ServerReport) -> Option<Duration> {
        self.at.checked_sub(report.looked_at).map(Duration::from_millis)
    }
}

/// All calls of a node behind one message of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Compared {
    pub seq: u64,
    pub calls: u64,
    /// SHA-256: 64 hexadecimal digits.
    pub hash: String,
    /// The same of its tokens, accounts and other settings.
    pub settings: String,
}

/// From where to where a replica reaches, and how much that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Extent {
    pub first: u64,
    /// When its leader took the first message, in milliseconds since 1970.
    pub first_at: u64,
    pub last: u64,
    pub messages: u64,
    /// The same for the same messages, on each server.
    pub bytes: u64,
}

/// How far a replica reached before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Before {
    pub extent: Extent,
    /// How many milliseconds before.
    pub millis: u64,
}

/// What the monitor of one server says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerReport {
    pub name: String,
    pub version: String,
    /// Each message is on disk before it is acknowledged.
    pub sync_always: bool,
    /// It runs without JetStream.
    pub disabled: bool,
    /// Messages that its replica of the log has lost; none where it has no replica.
    pub deleted: Option<u64>,
    /// How far its replica reaches; none where it has no message.
    pub extent: Option<Extent>,
    /// How far it reached when it was looked at before; none where that is not known.
    pub before: Option<Before>,
    /// Of the largest message that it takes.
    pub max_payload: u64,
    /// What it may still store.
    pub free_bytes: u64,
    /// When it was looked at, in milliseconds since 1970, by the clock of the node that tells it: others pass it on by their
    /// own. 0: not known.
    pub looked_at: u64,
    /// Where it stores, if it is on this machine. It is told to no other node.
    #[serde(skip)]
    pub store_dir: String,
}

impl ServerReport {
    /// The same as one that comes so long after another of its server. What was looked at only a moment ago may be the same
    /// look, as others have passed it on.
    #[must_use]
    pub fn after(mut self, other: &Self, passed: Duration) -> Self {
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        self.before = if passed < ANOTHER_LOOK {
            let later =
                |before: Before| Before { millis: before.millis.saturating_add(millis), ..before };
            other.before.map(later)
        } else {
            other.extent.map(|extent| Before { extent, millis })
        };
        self
    }
}

/// Why hints cannot be sent or heard.
#[derive(Debug, thiserror::Error)]
#[error("hints of the cluster: {0}")]
pub struct HintError(String);

/// The subject of hints, and what is heard there.
pub struct Hints {
    connection: Connection,
    subject: String,
    heard: Subscriber,
    /// The node, and its start, whose hints are passed over.
    own: Option<(ClusterName, String)>,
}

impl Hints {
    /// For a node, which does not hear itself. It hears another one of its name.
    pub async fn begin(connection: &Connection, start: &str) -> Result<Self, HintError> {
        let own = Some((connection.settings.node.clone(), start.to_owned()));
        Ok(Self { own, ..Self::listen(connection).await? })
    }

    /// For a command that listens to all nodes.
    pub async fn listen(connection: &Connection) -> Result<Self, HintError> {
        let subject = format!("rc.{}.hint", connection.settings.cluster);
        let heard = connection.client.subscribe(subject.clone()).await;
        let heard = heard.map_err(|error| HintError(error.to_string()))?;
        Ok(Self { connection: connection.clone(), subject, heard, own: None })
    }

    /// Tells all others, where there is a connection.
    pub async fn tell(&self, heartbeat: &Heartbeat) -> Result<(), HintError> {
        if !self.connection.is_up() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(heartbeat).map_err(|error| HintError(error.to_string()))?;
        let sent = self.connection.client.publish(self.subject.clone(), bytes.into()).await;
        sent.map_err(|error| HintError(error.to_string()))
    }

    /// What another node says next; none once the connection has been given up.
    pub async fn next(&mut self) -> Option<Heartbeat> {
        loop {
            let message = self.heard.next().await?;
            if message.payload.len() > HINT_BYTES_MAX {
                continue;
            }
            // What is no heartbeat is of a later release, or of somebody else.
            let Ok(heartbeat) = serde_json::from_slice::<Heartbeat>(&message.payload) else {
                continue;
            };
            let Ok(node) = heartbeat.node.parse::<ClusterName>() else { continue };
            let is_own = |(name, start): &(_, String)| *name == node && *start == heartbeat.start;
            if !self.own.as_ref().is_some_and(is_own) {
                return Some(heartbeat);
            }
        }
    }
}

/// The other nodes: those that were heard, and those that the settings name.
#[derive(Debug, Default)]
pub struct Peers {
    heard: BTreeMap<String, Peer>,
    /// Those that the settings of all nodes name, this one left out.
    listed: BTreeSet<String>,
    /// Those of them that are gone for good, until the settings say so, too.
    forgotten: BTreeSet<String>,
}

/// What was heard under one name.
#[derive(Debug)]
struct Peer {
    /// The newest, with the settings that were told last.
    beat: Heartbeat,
    at: Instant,
    starts: Starts,
}

impl Peers {
    pub fn note(&mut self, heartbeat: Heartbeat, now: Instant) {
        if self.heard.len() >= NODES_MAX && !self.heard.contains_key(&heartbeat.node) {
            return;
        }
        self.forgotten.remove(&heartbeat.node);
        let peer = self.heard.entry(heartbeat.node.clone()).or_insert_with(|| Peer {
            beat: Heartbeat::default(),
            at: now,
            starts: Starts::default(),
        });
        peer.starts.note(&heartbeat.start, now);
        let known = std::mem::replace(&mut peer.beat, heartbeat);
        peer.at = now;
        if peer.beat.settings.is_empty() && known.start == peer.beat.start {
            (peer.beat.settings, peer.beat.missed) = (known.settings, known.missed);
        }
    }

    /// Names that two nodes have.
    pub fn twice(&self, now: Instant) -> impl Iterator<Item = &str> {
        let twice = self.heard.iter().filter(move |(_, peer)| peer.starts.are_two(now));
        twice.map(|(name, _)| name.as_str())
    }

    /// All that were ever heard, and how long ago.
    pub fn all(&self, now: Instant) -> impl Iterator<Item = (&Heartbeat, Duration)> {
        self.heard.values().map(move |peer| (&peer.beat, now.saturating_duration_since(peer.at)))
    }

    /// Those that are alive.
    pub fn alive(&self, now: Instant) -> impl Iterator<Item = &Heartbeat> {
        self.all(now).filter(|(_, ago)| Self::is_alive(*ago)).map(|(heartbeat, _)| heartbeat)
    }

    /// Whether a node that was heard so long ago counts as alive.
    pub fn is_alive(ago: Duration) -> bool {
        ago <= ALIVE
    }

    /// Whether a node that was heard so long ago is taken to run as it said.
    pub fn is_heard(ago: Duration) -> bool {
        ago <= FIRST
    }

    /// What the settings say now. One that they name no more is gone for good, unless it is alive.
    pub fn list(&mut self, listed: BTreeSet<String>, now: Instant) {
        let before = std::mem::replace(&mut self.listed, listed);
        self.forgotten.retain(|node| self.listed.contains(node));
        for node in before {
            if !self.listed.contains(&node) {
                self.forget(&node, now);
            }
        }
    }

    /// Nodes that the settings name, and that were never heard.
    pub fn unheard(&self) -> impl Iterator<Item = &str> {
        let listed = self.listed.iter().map(String::as_str);
        listed.filter(|node| !self.heard.contains_key(*node) && !self.forgotten.contains(*node))
    }

    /// Nodes that are alive, and that the settings do not name yet.
    pub fn unlisted(&self, now: Instant) -> impl Iterator<Item = &str> {
        let alive = self.alive(now).map(|beat| beat.node.as_str());
        alive.filter(|node| !self.listed.contains(*node))
    }

    /// Nodes that the settings name, and that are gone for good.
    pub fn forgotten(&self) -> impl Iterator<Item = &str> {
        self.forgotten.iter().map(String::as_str)
    }

    /// Nodes that are known, and not heard.
    pub fn missed(&self, now: Instant) -> impl Iterator<Item = &str> {
        let silent = self.all(now).filter(|(_, ago)| !Self::is_alive(*ago));
        silent.map(|(beat, _)| beat.node.as_str()).chain(self.unheard())
    }

    /// A node that is gone for good, unless it is alive.
    pub fn forget(&mut self, node: &str, now: Instant) {
        if self.alive(now).any(|beat| beat.node == node) {
            return;
        }
        self.heard.remove(node);
        if self.listed.contains(node) {
            self.forgotten.insert(node.to_owned());
        }
    }

    /// Whether what one node does for all is for this one to do: its name is the least of those that were heard
    /// in the last seconds. The others must read the same log, and a name that two nodes have is passed over: neither of them
    /// knows which one is meant.
    pub fn is_first(&self, own: &ClusterName, epoch: &str, now: Instant) -> bool {
        let heard = self.heard.values().filter(|peer| !peer.starts.are_two(now));
        heard
            .filter(|peer| now.saturating_duration_since(peer.at) <= FIRST)
            .filter(|peer| peer.beat.epoch == epoch)
            .all(|peer| own.as_str() < &*peer.beat.node)
    }

    /// Whether all that are known were heard in the last seconds, and read this log: then none of them goes on with
    /// it elsewhere without saying so.
    pub fn hears_all(&self, epoch: &str, now: Instant) -> bool {
        let mut all = self.all(now).peekable();
        let is_heard =
            |(other, ago): (&Heartbeat, Duration)| Self::is_heard(ago) && other.epoch == epoch;
        all.peek().is_some() && all.all(is_heard) && self.unheard().next().is_none()
    }

    /// How far the clock of each node that is alive is ahead of this one's, which shows `clock`, in milliseconds.
    pub fn ahead(&self, clock: Timestamp, now: Instant) -> impl Iterator<Item = (&str, i64)> {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        self.all(now).filter(|(_, ago)| *ago <= ALIVE).map(move |(other, ago)| {
            let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
            let there = signed(other.at).saturating_add(ago);
            (other.node.as_str(), there.saturating_sub(signed(clock.millis())))
        })
    }

    /// The greatest version of messages that every node reads.
    pub fn all_read(&self, own: u8, now: Instant) -> u8 {
        self.alive(now).map(|other| other.reads).fold(own, u8::min)
    }

    /// The reports of all servers that are watched by anyone, the newest of each.
    pub fn servers(&self, now: Instant) -> Vec<ServerReport> {
        let mut newest: BTreeMap<&str, (Duration, &ServerReport)> = BTreeMap::new();
        for (beat, ago) in self.all(now).filter(|(_, ago)| *ago <= ALIVE) {
            for report in &beat.servers {
                let age = beat.age_of(report).unwrap_or_default().saturating_add(ago);
                let slot = newest.entry(&report.name).or_insert((age, report));
                if age < slot.0 {
                    *slot = (age, report);
                }
            }
        }
        newest.into_values().map(|(_, report)| report.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(node: &str, reads: u8) -> Heartbeat {
        Heartbeat { node: node.to_owned(), epoch: "e".to_owned(), reads, ..Heartbeat::default() }
    }

    #[test]
    fn the_least_of_those_alive_is_first_and_the_silent_do_not_count() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let [a, b, c] = ["a", "b", "c"].map(|name| name.parse::<ClusterName>().unwrap());
        let mut peers = Peers::default();
        assert!(peers.is_first(&c, "e", begun));
        peers.note(beat("b", 1), begun);
        assert!(peers.is_first(&a, "e", begun) && !peers.is_first(&c, "e", begun));
        assert!(peers.is_first(&c, "other", begun), "it reads another log");
        peers.note(beat("a", 3), after(20));
        assert!(!peers.is_first(&b, "e", after(20)) && peers.is_first(&b, "e", after(26)));
        assert_eq!(peers.all_read(2, after(20)), 1);
        // b has said nothing for longer.
        assert_eq!(peers.all_read(2, after(31)), 2);
        assert_eq!(peers.alive(after(31)).count(), 1);
        assert_eq!(peers.all(after(31)).count(), 2);
        // One that is alive is not forgotten.
        peers.forget("a", after(31));
        assert_eq!(peers.all(after(31)).count(), 2);
        peers.forget("a", after(51));
        peers.forget("b", after(51));
        assert_eq!(peers.all(after(51)).count(), 0);
        assert!(peers.is_first(&c, "e", after(51)));
    }

    #[test]
    fn a_node_that_the_settings_name_is_missed_until_it_is_heard_or_forgotten() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let missed = |peers: &Peers, now| peers.missed(now).map(str::to_owned).collect::<Vec<_>>();
        let mut peers = Peers::default();
        peers.note(beat("a", 1), begun);
        peers.list(named(&["b", "c"]), begun);
        assert_eq!(missed(&peers, begun), ["b", "c"]);
        assert_eq!(peers.unlisted(begun).collect::<Vec<_>>(), ["a"]);
        assert!(!peers.hears_all("e", begun));
        // It was never heard, and is no node that something is waited for from.
        assert_eq!((peers.all_read(7, begun), peers.alive(begun).count()), (1, 1));
        peers.note(beat("b", 1), begun);
        peers.forget("c", begun);
        assert_eq!(peers.forgotten().collect::<Vec<_>>(), ["c"]);
        assert!(missed(&peers, begun).is_empty() && peers.hears_all("e", begun));
        // The settings have it until they say so, too; and one that comes back is missed again.
        peers.list(named(&["a", "b", "c"]), after(1));
        assert!(missed(&peers, after(1)).is_empty());
        peers.note(beat("c", 1), after(1));
        assert_eq!(
            (missed(&peers, after(31)), peers.forgotten().count()),
            (vec!["a".into(), "b".into()], 0)
        );
        // What another node has forgotten goes by the settings; one that is alive does not.
        peers.list(named(&["b"]), after(31));
        assert_eq!(missed(&peers, after(31)), ["b"]);
        assert_eq!(peers.unlisted(after(31)).collect::<Vec<_>>(), ["c"]);
        peers.list(named(&[]), after(31));
        assert!(missed(&peers, after(31)).is_empty() && peers.unheard().next().is_none());
    }

    #[test]
    fn of_two_nodes_of_a_name_neither_is_first_and_settings_stay_until_others_are_told() {
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let started = |node: &str, start: &str, settings: &[(&str, &str)]| Heartbeat {
            start: start.to_owned(),
            settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..beat(node, 1)
        };
        let b: ClusterName = "b".parse().unwrap();
        let mut peers = Peers::default();
        peers.note(started("a", "1", &[("x", "1")]), begun);
        peers.note(started("a", "1", &[]), begun);
        assert_eq!(peers.alive(begun).next().unwrap().settings["x"], "1");
        peers.note(started("a", "2", &[]), after(1));
        assert!(peers.alive(after(1)).next().unwrap().settings.is_empty());
        assert!(!peers.is_first(&b, "e", after(1)) && peers.twice(after(1)).next().is_none());
        peers.note(started("a", "1", &[]), after(2));
        assert_eq!(peers.twice(after(2)).collect::<Vec<_>>(), ["a"]);
        assert!(peers.is_first(&b, "e", after(2)));
        // Once one of them is called otherwise.
        peers.note(started("a", "1", &[]), after(15));
        assert!(!peers.is_first(&b, "e", after(15)) && peers.twice(after(15)).next().is_none());
    }

    #[test]
    fn clocks_that_differ_are_told_and_do_not_make_a_report_newer() {
        let begun = Instant::now();
        let clock = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let server = |looked_at, sync_always| ServerReport {
            name: "s".to_owned(),
            looked_at,
            sync_always,
            ..ServerReport::default()
        };
        let mut peers = Peers::default();
        let (at, ahead) = (clock.millis(), clock.millis() + 600_000);
        // The one whose clock is ahead has looked a minute ago, the other one a second ago.
        peers.note(
            Heartbeat { at: ahead, servers: vec![server(ahead - 60_000, false)], ..beat("a", 1) },
            begun,
        );
        peers.note(Heartbeat { at, servers: vec![server(at - 1000, true)], ..beat("b", 1) }, begun);
        assert!(peers.servers(begun)[0].sync_always);
        let later = begun + Duration::from_secs(2);
        let clocks: Vec<_> = peers.ahead(clock.plus_millis(2000), later).collect();
        assert_eq!(clocks, [("a", 600_000), ("b", 0)]);
        assert!(peers.hears_all("e", later) && !peers.hears_all("other", later));
        peers.note(beat("a", 1), begun + Duration::from_secs(9));
        assert!(!peers.hears_all("e", begun + Duration::from_secs(9)), "b is silent");
        assert!(!Peers::default().hears_all("e", begun), "nobody was heard");
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        for n in 0..1000 {
            peers.note(beat(&format!("n{n}"), 1), now);
        }
        assert_eq!(peers.all(now).count(), NODES_MAX);
        peers.note(beat("n0", 9), now);
        assert_eq!(peers.alive(now).map(|beat| beat.reads).max(), Some(9));
    }

    #[test]
    fn a_heartbeat_of_a_later_release_is_read_as_far_as_it_is_known() {
        let text = r#"{"node":"a","newest":7,"later":{"x":[1]},"servers":[{"name":"s","more":1}]}"#;
        let read: Heartbeat = serde_json::from_str(text).unwrap();
        assert_eq!((read.newest, read.applied, read.servers.len()), (7, 0, 1));
    }
}
