//! What people use today, started here on loopback, on free ports, in temporary directories. What is
//! not installed is named and its rows are left out: `benches/baselines/setup` says what there has to be.

pub mod disk;
pub mod influx;
pub mod jambonz;
pub mod nginx;
pub mod postgres;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::Outcome;

/// How long a peer may take to be up.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A server that ends with its owner.
pub struct Daemon {
    child: Child,
    port: u16,
    /// Has it end at once, and its children.
    signal: &'static str,
}

impl Daemon {
    /// Starts it and waits until its port is open.
    fn start(command: &mut Command, port: u16) -> Outcome<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let mut daemon = Self { child, port, signal: "-TERM" };
        let begun = Instant::now();
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = daemon.child.try_wait()? {
                return Err(format!("{name} did not start: {status}").into());
            }
            if begun.elapsed() > TIMEOUT {
                return Err(format!("{name} does not listen").into());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(daemon)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let pid = self.child.id().to_string();
        let _gone = Command::new("kill").args([self.signal, &pid]).status();
        let begun = Instant::now();
        while begun.elapsed() < TIMEOUT && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A port that nobody has. Somebody else may take it before it is used; then the start fails.
fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Runs a command to its end, and says what it printed where it failed.
fn run(command: &mut Command) -> Outcome<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{name}: {e}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{name} ended with {}: {text}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is: on the path or in one of these directories.
fn find(name: &str, more: &[&str]) -> Outcome<String> {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(more.iter().copied());
    let found = dirs.map(|dir| format!("{dir}/{name}")).find(|file| Path::new(file).exists());
    Ok(found.ok_or(Missing(name.to_owned()))?)
}

/// Where Node finds jambonz's packages, of which this is one.
fn node_modules(package: &str) -> Outcome<PathBuf> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules");
    if !modules.join(package).exists() {
        return Err(Missing(format!("jambonz's package {package}")).into());
    }
    find("node", &[])?;
    Ok(modules)
}

/// Node with a script of this directory.
fn node(modules: &Path, script: &str, args: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baselines").join(script);
    let mut node = Command::new("node");
    node.arg(script).args(args).env("NODE_PATH", modules).env("NODE_ENV", "production");
    node
}

/// What is not installed.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not installed; see benches/baselines/setup")]
pub struct Missing(String);
