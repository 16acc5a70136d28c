//! The real binary: its commands, and its server.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Outcome;
use super::client::Peer;
use super::process::peak;

/// A data directory, and the binary that works on it.
pub struct Rollcall {
    pub binary: PathBuf,
    pub data: PathBuf,
}

impl Rollcall {
    /// `ROLLCALL` names another binary than the one just built, to compare releases.
    pub fn new(data: &Path) -> Self {
        let binary = std::env::var_os("ROLLCALL");
        let binary = binary.map_or_else(|| env!("CARGO_BIN_EXE_rollcall").into(), PathBuf::from);
        Self { binary, data: data.to_owned() }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).arg("--data-dir").arg(&self.data).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end: seconds, and its peak of memory.
    pub fn timed(&self, args: &[&str]) -> Outcome<(f64, u64)> {
        let begun = Instant::now();
        let mut child = self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut most = 0;
        let status = loop {
            most = peak(child.id()).unwrap_or(most);
            if let Some(status) = child.try_wait()? {
                break status;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        };
        if !status.success() {
            return Err(format!("rollcall {} ended with {status}", args.join(" ")).into());
        }
        Ok((begun.elapsed().as_secs_f64(), most))
    }

    /// Starts the server and waits until it listens.
    pub fn serve(&self, flags: &[&str]) -> Outcome<Server> {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(flags);
        self.serve_by(command)
    }

    /// The same with a command line of one's own, such as one that wraps the server.
    pub fn serve_by(&self, mut command: Command) -> Outcome<Server> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = child.stdout.take().ok_or("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().ok_or("a port")?;
        let port: u16 = port.parse().map_err(|_| format!("it did not start: {line}"))?;
        let token = fs::read_to_string(self.data.join("admin.token"))?;
        let header = format!("Authorization: Bearer {}\r\n", token.trim());
        let peer = Peer::tls(port, &self.data.join("tls/ca.pem"), &header)?;
        Ok(Server { child, peer })
    }
}

/// A running server. One that is dropped without a stop is killed.
pub struct Server {
    child: Child,
    pub peer: Peer,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stop(mut self) -> Outcome<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is still there where nobody has stopped it.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
