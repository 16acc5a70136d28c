//! Three machines: a nats-server and a rollcall each, as processes of this test, and what is true of them at rest.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::super::crash::{QUIET, RESTLESS, assert_checked};
use super::super::harness::{Printed, ROLLCALL, Rollcall, print, send, until};
use super::checker::{problems, settled};
use super::nats::{self, Options, Servers};
use super::network::End;
use super::register::Position;
use super::writers::{CLIENT_TIMEOUT, Follower, Load, Targets, listed};

/// Nodes, and servers.
pub const MACHINES: usize = 3;

const MONITOR_TIMEOUT: Duration = Duration::from_secs(5);

/// What differs from one test to the other.
#[derive(Clone)]
pub struct Setup {
    pub servers: Options,
    /// Where each machine keeps its data, below which nats-server and rollcall have directories of their own.
    pub dirs: Option<[PathBuf; 3]>,
    pub without_quorum: &'static str,
    /// Lines of `[cluster]`.
    pub more: &'static str,
    /// Whether each node looks at the monitor of its server.
    pub monitors: bool,
    /// By how many milliseconds the clock of each node is wrong.
    pub clocks: Option<[i64; MACHINES]>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            servers: Options::default(),
            dirs: None,
            without_quorum: "keep",
            more: "",
            monitors: true,
            clocks: None,
        }
    }
}

/// A cluster that runs until this is dropped.
pub struct Three {
    pub servers: Servers,
    pub nodes: Vec<Rollcall>,
    pub targets: Arc<Targets>,
    /// Of each node.
    pub configs: Vec<PathBuf>,
    dir: tempfile::TempDir,
}

impl Three {
    /// One that is ready, with an empty log; none where nats-server is not here.
    pub fn up(setup: &Setup) -> Option<Self> {
        let (mut nodes, servers, configs, dir) = begun(setup)?;
        until("the log is made", || (create(&servers, &configs[0]).code == Some(0)).then_some(()));
        nodes.iter_mut().for_each(Rollcall::start);
        nodes.iter().for_each(is_ready);
        let token = until("a token opens all nodes", || {
            let token = nodes.iter().find_map(token)?;
            let opens = |node: &Rollcall| node.get(&token, "/v1/Calls?limit=1").status == 200;
            nodes.iter().all(opens).then_some(token)
        });
        // It is the last message that comes by itself.
        until("all nodes are listed", || are_listed(&nodes).then_some(()));
        let agents = [0, 1, 2].map(|n| nodes[n].agent_within(CLIENT_TIMEOUT));
        let ports = [0, 1, 2].map(|n| AtomicU16::new(nodes[n].port));
        let targets = Arc::new(Targets { ports, agents, token });
        Some(Self { servers, nodes, targets, configs, dir })
    }

    /// Where files of a test are beside those of the machines.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The file that says by how much a node's clock is wrong, where the setup says something of clocks.
    pub fn clock(&self, n: usize) -> PathBuf {
        clock_of(self.dir.path(), n)
    }

    pub fn kill_node(&mut self, n: usize) {
        self.nodes[n].kill();
    }

    /// Starts a node. It listens when this returns, and may not be ready.
    pub fn start_node(&mut self, n: usize) {
        self.nodes[n].start();
        self.is_reached(n);
    }

    /// Clients reach a node that was started.
    pub fn is_reached(&self, n: usize) {
        self.targets.ports[n].store(self.nodes[n].port, Ordering::Release);
    }

    /// Waits until all nodes are ready.
    pub fn all_ready(&self) {
        self.nodes.iter().for_each(is_ready);
    }

    /// The server that leads the log, as servers say.
    pub fn leader(&self) -> usize {
        until("the log has a leader", || self.said_leader())
    }

    fn said_leader(&self) -> Option<usize> {
        let leader = (0..MACHINES).find_map(|n| {
            let said = self.jetstream(n)?;
            stream_in(&said)?["cluster"]["leader"].as_str().map(ToOwned::to_owned)
        });
        Some(self.servers.place_of(&leader?))
    }

    /// The number of the log's last message, as its leader says.
    fn end(&self) -> Option<u64> {
        let said = self.jetstream(self.said_leader()?)?;
        stream_in(&said)?["state"]["last_seq"].as_u64()
    }

    /// What a server says of its streams; none while it does not answer.
    pub fn jetstream(&self, n: usize) -> Option<Value> {
        let url = format!("{}/jsz?accounts=true&streams=true", self.servers.monitor(n));
        let agent = ureq::Agent::config_builder().timeout_global(Some(MONITOR_TIMEOUT)).build();
        let answer = send(&agent.new_agent(), "GET", &url, &[], b"").ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// What `status` says of a node's cluster.
    pub fn figures(&self, n: usize) -> Value {
        let figures: Value = serde_json::from_str(&self.nodes[n].figures()).unwrap();
        figures["cluster"].clone()
    }

    /// What a node has applied; none before it has begun with a log.
    pub fn position(&self, n: usize) -> Option<Position> {
        let figures = self.figures(n);
        let epoch = figures["epoch"].as_str()?.to_owned();
        Some(Position { epoch, seq: figures["applied"].as_u64()? })
    }

    /// Waits until all nodes have applied all of the log, and keep nothing.
    pub fn rest(&self) -> Position {
        self.all_ready();
        until("nothing is kept any more", || {
            let kept = |n| self.figures(n)["kept"]["count"].as_u64();
            (0..MACHINES).all(|n| kept(n) == Some(0)).then_some(())
        });
        until("all nodes have applied all of the log", || {
            let first = self.position(0)?;
            let are_same = (1..MACHINES).all(|n| self.position(n).as_ref() == Some(&first));
            // They look for more ten times a second: nodes that are the same may all have more to read.
            (are_same && self.end() == Some(first.seq)).then_some(first)
        })
    }

    /// All that must be so at rest, whatever has happened: the three nodes are one, and have what was acknowledged.
    pub fn check(&self, load: &Load) {
        assert_none("the history", &problems(&load.history));
        let exports = self.exports();
        for n in 1..MACHINES {
            if exports[0] != exports[n] {
                let differs = exports[0].lines().zip(exports[n].lines()).find(|(a, b)| a != b);
                let lengths = exports.iter().map(String::len).collect::<Vec<_>>();
                panic!("nodes 0 and {n} export {lengths:?} bytes, and at first {differs:#?}");
            }
        }
        let lists: Vec<_> = (0..MACHINES).map(|n| listed(&self.targets, n)).collect();
        for (n, list) in lists.iter().enumerate() {
            assert!(*list == lists[0], "nodes 0 and {n} list different calls");
            assert_none(&format!("node {n}"), &settled(&load.history, list));
        }
        let compare = ["cluster", "compare", "--config", self.configs[0].to_str().unwrap()];
        let compared = self.nodes[0].run(&compare);
        assert_eq!(compared.code, Some(0), "{compared:?}");
        for (n, node) in self.nodes.iter().enumerate() {
            assert_checked(node);
            let mut follower = Follower::default();
            follower.read_up(&self.targets, n);
            self.assert_followed(&follower, n);
        }
    }

    /// What a client of the feed knows is what the node lists.
    pub fn assert_followed(&self, follower: &Follower, n: usize) {
        let mut calls = BTreeMap::new();
        for account in super::register::ACCOUNTS {
            let path = format!("/v1/Accounts/{account}/Calls");
            let answer = self.targets.send(n, "GET", &path, &[], "").unwrap();
            for call in answer.json().as_array().unwrap() {
                calls.insert(call["call_sid"].as_str().unwrap().to_owned(), call.clone());
            }
        }
        let differs = calls.iter().find(|(sid, call)| follower.calls.get(*sid) != Some(call));
        assert!(
            differs.is_none() && calls.len() == follower.calls.len(),
            "node {n} lists {} calls, its feed has {}, and at first {differs:#?} differs",
            calls.len(),
            follower.calls.len()
        );
    }

    /// What all nodes export at one position.
    fn exports(&self) -> Vec<String> {
        until("all nodes export at one position", || {
            let before = self.rest();
            let exports: Vec<_> = self.nodes.iter().map(|node| node.ok(&["export"])).collect();
            (self.rest() == before).then_some(exports)
        })
    }
}

/// The log in what a server says of its streams.
pub fn stream_in(jetstream: &Value) -> Option<&Value> {
    let accounts = jetstream["account_details"].as_array().into_iter().flatten();
    let mut streams =
        accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
    streams.find(|stream| stream["name"] == "RC_pbx")
}

fn assert_none(what: &str, problems: &[String]) {
    let shown: Vec<_> = problems.iter().take(10).collect();
    assert!(problems.is_empty(), "{what}: {} problems, such as {shown:#?}", problems.len());
}

type Begun = (Vec<Rollcall>, Servers, Vec<PathBuf>, tempfile::TempDir);

/// Servers that run, and nodes that do not, with their configurations.
pub fn begun(setup: &Setup) -> Option<Begun> {
    if !nats::here() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let data = setup.dirs.clone().unwrap_or_else(|| {
        [1, 2, 3].map(|n| {
            let machine = dir.path().join(format!("machine-{n}"));
            fs::create_dir(&machine).unwrap();
            machine
        })
    });
    let dirs = [0, 1, 2].map(|n: usize| data[n].join("nats"));
    let servers = Servers::start(Options { dirs: Some(dirs), ..setup.servers.clone() });
    fs::write(dir.path().join("password"), "pw\n").unwrap();
    let configs: Vec<_> = (0..MACHINES)
        .map(|n| {
            let file = dir.path().join(format!("node{}.toml", n + 1));
            fs::write(&file, config(setup, &servers, dir.path(), n)).unwrap();
            file
        })
        .collect();
    // Nodes whose checkpoints, compactions and restarts differ have the same calls all the same.
    let flags: [&[&str]; MACHINES] = [&RESTLESS, &[], &QUIET];
    let nodes = (0..MACHINES).map(|n| {
        let mut node = Rollcall::down_in(&data[n].join("rollcall"));
        let config = ["--config", configs[n].to_str().unwrap()];
        node.set_args(&[&config, flags[n]].concat());
        if let Some(clocks) = setup.clocks {
            let file = clock_of(dir.path(), n);
            fs::write(&file, clocks[n].to_string()).unwrap();
            let variable = format!("TEST_CLOCK_SHIFT={}", file.display());
            node.set_place(Ipv4Addr::LOCALHOST.into(), vec!["env".to_owned(), variable]);
        }
        if let Some(network) = &setup.servers.network {
            let end = End::Node(n);
            node.set_place(end.address(), network.wrapper(end));
        }
        node
    });
    Some((nodes.collect(), servers, configs, dir))
}

fn clock_of(dir: &Path, n: usize) -> PathBuf {
    dir.join(format!("clock{n}"))
}

fn config(setup: &Setup, servers: &Servers, dir: &Path, n: usize) -> String {
    let mut addresses = servers.addresses();
    addresses.rotate_left(n);
    let monitors = if setup.monitors {
        format!("monitors = [\"{}\"]\n", servers.monitor(n))
    } else {
        String::new()
    };
    format!(
        "[cluster]\nname = \"pbx\"\nnode = \"node{}\"\nservers = {addresses:?}\nuser = \"rollcall\"\n\
         password_file = \"{}/password\"\nlog_bytes = \"512MiB\"\nwithout_quorum = \"{}\"\n{monitors}{}\n",
        n + 1,
        dir.display(),
        setup.without_quorum,
        setup.more,
    )
}

/// Tries to make the log. Until the servers have found each other that is refused.
pub fn create(servers: &Servers, config: &Path) -> Printed {
    let mut command = Command::new(ROLLCALL);
    command.args(["cluster", "create", "--config"]).arg(config);
    let is_trusted = fs::read_to_string(config).unwrap().contains("unverified_sync = true");
    for n in (0..MACHINES).filter(|_| !is_trusted) {
        command.args(["--monitor", &servers.monitor(n)]);
    }
    print(&mut command, b"")
}

fn is_ready(node: &Rollcall) {
    until("a node is ready", || {
        let answer = node.send("GET", "/readyz", &[], b"").ok()?;
        (answer.status == 200).then_some(())
    });
}

/// The settings that all nodes share name each of them.
fn are_listed(nodes: &[Rollcall]) -> bool {
    let logs: Vec<String> = nodes.iter().map(Rollcall::log).collect();
    let lines = logs.iter().flat_map(|log| log.lines());
    let lists: String =
        lines.filter(|line| line.contains("the list of nodes has changed")).collect();
    ["node1", "node2", "node3"].iter().all(|node| lists.contains(node))
}

fn token(node: &Rollcall) -> Option<String> {
    let text = fs::read_to_string(node.data().join("admin.token")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
