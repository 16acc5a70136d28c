//! `InfluxDB` with the call detail records of jambonz, and its package for Node before it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Daemon, find, free_port, node, node_modules, run};
use crate::harness::Outcome;
use crate::harness::client::Peer;

/// As Debian has it, without its logs and its own statistics, on loopback alone.
const CONFIGURATION: &str = "\
reporting-enabled = false
bind-address = \"127.0.0.1:OTHER\"
[meta]
dir = \"DIR/meta\"
[data]
dir = \"DIR/data\"
wal-dir = \"DIR/wal\"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = \"127.0.0.1:PORT\"
log-enabled = false
";

/// `InfluxDB` with the calls of jambonz that have ended.
pub struct Influx {
    pub database: Daemon,
    modules: PathBuf,
}

impl Influx {
    pub fn start(dir: &Path) -> Outcome<Self> {
        let program = find("influxd", &["/usr/sbin"])?;
        let modules = node_modules("@jambonz/time-series")?;
        let port = free_port()?;
        let text = CONFIGURATION.replace("PORT", &port.to_string());
        let text = text.replace("OTHER", &free_port()?.to_string());
        let configuration = dir.join("influxdb.conf");
        fs::write(&configuration, text.replace("DIR", &dir.display().to_string()))?;
        let mut command = Command::new(program);
        command.arg("run").arg("-config").arg(configuration).env("HOME", dir);
        Ok(Self { database: Daemon::start(&mut command, port)?, modules })
    }

    fn node(&self, args: &[&str]) -> Command {
        let mut node = node(&self.modules, "recent.cjs", args);
        node.env("INFLUX_PORT", self.database.port.to_string());
        node
    }

    /// Takes the calls of a file, one JSON object a line.
    pub fn fill(&self, file: &Path) -> Outcome<()> {
        run(&mut self.node(&["fill", crate::harness::text(file)?])).map(|_| ())
    }

    /// The server of recent calls, and where it is.
    pub fn serve(&self) -> Outcome<(Daemon, Peer)> {
        let port = free_port()?;
        let daemon = Daemon::start(&mut self.node(&["serve", &port.to_string()]), port)?;
        Ok((daemon, Peer { port, tls: None, header: String::new() }))
    }
}
