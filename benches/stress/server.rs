//! The server under stress, and what it takes of the machine.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::Outcome;

const ROLLCALL: &str = env!("CARGO_BIN_EXE_rollcall");
/// The authority's certificate, in the data directory.
const CA: &str = "tls/ca.pem";

pub struct Server {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
    pub token: String,
    pub tls: Arc<ClientConfig>,
}

/// What a process takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Taken {
    pub resident_bytes: u64,
    pub peak_bytes: u64,
    pub files: usize,
    /// Of these.
    pub sockets: usize,
    pub threads: u64,
    /// Of the data directory.
    pub disk_bytes: u64,
    /// Seconds of processor time, in hundredths.
    pub cpu_ticks: u64,
}

impl Server {
    pub fn start(flags: &[&str]) -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let log = fs::File::create(dir.path().join("stderr.log"))?;
        let mut command = Command::new(of());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data).args(flags);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().ok_or("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        let Some(port) = port else {
            let said = fs::read_to_string(dir.path().join("stderr.log"))?;
            return Err(format!("rollcall did not start: {line}{said}").into());
        };
        let token = fs::read_to_string(data.join("admin.token"))?.trim().to_owned();
        let tls = trusting(&data.join(CA))?;
        Ok(Self { child, dir, port, token, tls })
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn ca(&self) -> PathBuf {
        self.data().join(CA)
    }

    /// Gives an account a webhook secret, so that a signature may be a right one.
    pub fn sign(&self, account: &str) -> Outcome<()> {
        let mut command = Command::new(of());
        command.args(["account", "set", account, "--webhook-secret", "-", "--data-dir"]);
        let mut child = command.arg(self.data()).stdin(Stdio::piped()).spawn()?;
        let mut secret = child.stdin.take().ok_or("standard input is piped")?;
        writeln!(secret, "a-webhook-secret")?;
        drop(secret);
        let code = child.wait()?;
        code.success().then_some(()).ok_or_else(|| format!("account set: {code}").into())
    }

    /// Warnings and errors that it has written.
    pub fn complaints(&self) -> Outcome<usize> {
        let said = fs::read_to_string(self.dir.path().join("stderr.log"))?;
        Ok(said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).count())
    }

    pub fn taken(&self) -> Outcome<Taken> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(proc.join("status"))?;
        let field = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let mut files = 0;
        let mut sockets = 0;
        for file in fs::read_dir(proc.join("fd"))? {
            // It may be gone meanwhile.
            let Ok(open) = fs::read_link(file?.path()) else { continue };
            files += 1;
            sockets += usize::from(open.to_string_lossy().starts_with("socket:"));
        }
        let stat = fs::read_to_string(proc.join("stat"))?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |place| after_name.split_whitespace().nth(place)?.parse::<u64>().ok();
        Ok(Taken {
            resident_bytes: field("VmRSS:").ok_or("no VmRSS")? * 1024,
            peak_bytes: field("VmHWM:").ok_or("no VmHWM")? * 1024,
            files,
            sockets,
            threads: field("Threads:").unwrap_or(0),
            disk_bytes: size(&self.data())?,
            cpu_ticks: ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0),
        })
    }

    /// Ends it in order; its exit code.
    pub fn stop(mut self) -> Outcome<Option<i32>> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The binary, or another one to compare with, such as that of the release before.
fn of() -> OsString {
    std::env::var_os("ROLLCALL").unwrap_or_else(|| ROLLCALL.into())
}

/// Bytes of all files below a directory. One that is gone meanwhile takes none.
fn size(dir: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(about) = entry.metadata() else { continue };
        bytes += if about.is_dir() { size(&entry.path()).unwrap_or(0) } else { about.len() };
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "few digits are shown")]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// A client's configuration that trusts this authority.
pub fn trusting(ca: &Path) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(tls))
}
