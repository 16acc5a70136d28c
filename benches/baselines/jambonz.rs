//! jambonz's own path: Redis, and its package for Node before it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, find, free_port, node, node_modules, run};
use crate::harness::Outcome;
use crate::harness::client::Peer;

/// Redis with the calls of jambonz.
pub struct Jambonz {
    pub redis: Daemon,
    modules: PathBuf,
}

/// How Redis keeps what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In memory alone.
    Memory,
    /// On disk before it answers.
    Disk,
}

impl Jambonz {
    pub fn start(dir: &Path, kept: Kept) -> Outcome<Self> {
        let modules = node_modules("@jambonz/realtimedb-helpers")?;
        let port = free_port()?;
        let append = if kept == Kept::Disk { "yes" } else { "no" };
        let mut redis = Command::new(find("redis-server", &[])?);
        redis.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        redis.args(["--appendonly", append, "--appendfsync", "always", "--dir"]).arg(dir);
        Ok(Self { redis: Daemon::start(&mut redis, port)?, modules })
    }

    fn node(&self, args: &[&str]) -> Command {
        let mut node = node(&self.modules, "jambonz.cjs", args);
        node.env("JAMBONES_REDIS_PORT", self.redis.port.to_string());
        node
    }

    /// Takes calls from a file.
    pub fn fill(&self, file: &Path) -> Outcome<()> {
        let file = file.to_str().ok_or("a path in UTF-8")?;
        run(&mut self.node(&["fill", file])).map(|_| ())
    }

    /// The server of lists, and where it is.
    pub fn serve(&self) -> Outcome<(Daemon, Peer)> {
        let port = free_port()?;
        let daemon = Daemon::start(&mut self.node(&["serve", &port.to_string()]), port)?;
        Ok((daemon, Peer { port, tls: None, header: String::new() }))
    }

    /// Updates calls for so long: events a second, and p50, p99 and p99.9 in milliseconds.
    pub fn events(&self, seconds: u64, in_flight: usize) -> Outcome<(f64, [f64; 3])> {
        let (seconds, in_flight) = (seconds.to_string(), in_flight.to_string());
        let text = run(&mut self.node(&["events", &seconds, &in_flight]))?;
        let found: serde_json::Value = serde_json::from_str(&text)?;
        let figure = |name: &str| found.get(name).and_then(serde_json::Value::as_f64);
        let figure = |name: &str| figure(name).ok_or_else(|| format!("no {name} in {text}"));
        let rate = figure("events")? / figure("seconds")?;
        Ok((rate, [figure("p50")?, figure("p99")?, figure("p999")?]))
    }
}
