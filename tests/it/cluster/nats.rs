//! Three nats-servers on free ports, in a directory of their own.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rollcall::cluster::{
    Bounds, Connection, Epoch, Log, LogOptions, Monitors, OpenError, ServerReport, Settings,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::harness::skip;
use super::network::{End, Network};

/// Longer than any test should take, on a machine that does other things.
pub const LONG: Duration = Duration::from_secs(90);
/// The releases that are tried: that of all tests, unless `NATS_VERSION` names another, and the oldest that is taken.
pub const NEWEST: &str = "2.15.1";
pub const OLDEST: &str = "2.14.6";
pub const EPOCH: Epoch = Epoch::from_bytes([0xe1; 16]);

pub struct Servers {
    pub dir: TempDir,
    pub all: Vec<Server>,
    options: Options,
}

pub struct Server {
    pub name: String,
    pub port: u16,
    pub http: u16,
    route: u16,
    process: Option<Child>,
}

/// What differs from servers as they should be.
#[derive(Clone)]
pub struct Options {
    pub sync_always: bool,
    /// Directory with server.pem, server.key and ca.pem: TLS with client certificates.
    pub tls: Option<PathBuf>,
    pub advertise: bool,
    pub max_file_store: &'static str,
    /// Where each server stores; below the directory of all where there is none.
    pub dirs: Option<[PathBuf; 3]>,
    /// One of those that `tests/nats/setup` fetches.
    pub version: String,
    /// Where each server has an address of its own; all have that of this machine where there is none.
    pub network: Option<Arc<Network>>,
}

impl Default for Options {
    fn default() -> Self {
        let version = std::env::var("NATS_VERSION").unwrap_or_else(|_| NEWEST.to_owned());
        Self {
            sync_always: true,
            tls: None,
            advertise: false,
            max_file_store: "1GB",
            dirs: None,
            version,
            network: None,
        }
    }
}

/// The program of a version.
pub fn program(version: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats");
    dir.join(version).join("nats-server")
}

/// Whether the servers can be started here; a test that needs them ends where they cannot.
pub fn here() -> bool {
    let missing = [NEWEST, OLDEST].into_iter().find(|version| !program(version).exists());
    missing.is_none_or(|version| skip(&format!("nats-server {version} is not here (tests/setup)")))
}

/// Ports that nobody listens on and no connection is given: those lie above. Each once in a process, since a server that
/// is killed comes back to its own.
fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    std::array::from_fn(|_| {
        let mut tried = 0;
        loop {
            // Other processes begin elsewhere.
            let begin = u16::try_from(std::process::id() % 32).unwrap() * 500;
            let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
            tried += 1;
            assert!(tried < 16_000, "no port is free");
        }
    })
}

impl Servers {
    pub fn start(options: Options) -> Self {
        let dir = tempfile::Builder::new().prefix("rollcall-nats-").tempdir().unwrap();
        let ports: [u16; 9] = free_ports();
        let all = (0..3).map(|n| Server {
            name: format!("n{}", n + 1),
            port: ports[3 * n],
            http: ports[3 * n + 1],
            route: ports[3 * n + 2],
            process: None,
        });
        let mut servers = Self { dir, all: all.collect(), options };
        for n in 0..3 {
            servers.configure(n);
            servers.run(n);
        }
        servers
    }

    fn configure(&self, n: usize) {
        let server = &self.all[n];
        let routes: Vec<_> = self
            .all
            .iter()
            .enumerate()
            .map(|(n, one)| format!("\"nats-route://{}:{}\"", self.host(n), one.route))
            .collect();
        let Options { sync_always, tls, advertise, max_file_store, .. } = &self.options;
        let store = self.store_dir(n).display().to_string();
        let sync = if *sync_always { "sync_interval: always," } else { "" };
        let tls = tls.as_ref().map_or(String::new(), |certs| {
            let certs = certs.display();
            format!(
                "tls {{ cert_file: \"{certs}/server.pem\", key_file: \"{certs}/server.key\", \
                 ca_file: \"{certs}/ca.pem\", verify: true }}\n"
            )
        });
        let text = format!(
            "server_name: {name}\nlisten: \"{host}:{port}\"\nhttp: \"{host}:{http}\"\n{tls}\
             jetstream {{ store_dir: \"{store}\", {sync} max_file_store: {max_file_store}, max_mem: 16MB }}\n\
             cluster {{ name: lab, listen: \"{host}:{route}\", no_advertise: {hidden}, ping_interval: \"2s\", ping_max: 2, \
             routes: [{routes}] }}\n\
             accounts {{ RC: {{ jetstream: enabled, users: [{{user: rollcall, password: pw}}] }}, \
             SYS: {{ users: [{{user: sys, password: sys}}] }} }}\nsystem_account: SYS\n",
            name = server.name,
            host = self.host(n),
            port = server.port,
            http = server.http,
            route = server.route,
            hidden = !advertise,
            routes = routes.join(","),
        );
        std::fs::write(self.conf(n), text).unwrap();
    }

    /// The configuration of a server; a change counts from its next start on.
    pub fn conf(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("{}.conf", self.all[n].name))
    }

    /// Where a server stores.
    pub fn store_dir(&self, n: usize) -> PathBuf {
        let own = || self.dir.path().join(&self.all[n].name);
        self.options.dirs.as_ref().map_or_else(own, |dirs| dirs[n].clone())
    }

    /// The address of a server.
    fn host(&self, n: usize) -> IpAddr {
        let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.options.network.as_ref().map_or(own, |_| End::Server(n).address())
    }

    pub fn run(&mut self, n: usize) {
        let (dir, conf) = (self.dir.path(), self.conf(n));
        let program = program(&self.options.version);
        let wrapper = self.options.network.as_ref().map(|network| network.wrapper(End::Server(n)));
        let mut line = wrapper.into_iter().flatten().map(PathBuf::from).chain([program]);
        let server = &mut self.all[n];
        assert!(server.process.is_none(), "{} runs already", server.name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join(format!("{}.log", server.name)))
            .unwrap();
        let process = Command::new(line.next().unwrap())
            .args(line)
            .arg("-c")
            .arg(conf)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        server.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.all[n].process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// An orderly stop: all is on disk.
    pub fn stop(&mut self, n: usize) {
        self.signal(n, "TERM");
        if let Some(mut process) = self.all[n].process.take() {
            process.wait().unwrap();
        }
    }

    pub fn signal(&self, n: usize, signal: &str) {
        let process = self.all[n].process.as_ref().unwrap();
        let done =
            Command::new("kill").arg(format!("-{signal}")).arg(process.id().to_string()).status();
        assert!(done.unwrap().success());
    }

    /// The process id of a server that runs.
    pub fn pid(&self, n: usize) -> u32 {
        self.all[n].process.as_ref().unwrap().id()
    }

    pub fn place_of(&self, name: &str) -> usize {
        self.all.iter().position(|server| server.name == name).unwrap()
    }

    pub fn addresses(&self) -> Vec<String> {
        let scheme = if self.options.tls.is_some() { "tls" } else { "nats" };
        let address =
            |(n, server): (usize, &Server)| format!("{scheme}://{}:{}", self.host(n), server.port);
        self.all.iter().enumerate().map(address).collect()
    }

    pub fn settings(&self, node: &str) -> Settings {
        settings_of(node, &self.addresses())
    }

    pub async fn connect(&self, node: &str) -> Connection {
        Connection::open(self.settings(node), LONG).await.unwrap()
    }

    /// A connection that begins with this server.
    pub async fn connect_to(&self, node: &str, n: usize) -> Connection {
        let mut addresses = self.addresses();
        addresses.rotate_left(n);
        until("the server listens", async || {
            tokio::net::TcpStream::connect((self.host(n), self.all[n].port)).await.is_ok()
        })
        .await;
        Connection::open(settings_of(node, &addresses), LONG).await.unwrap()
    }

    /// Connects, and makes a log once the servers have found each other.
    pub async fn log(&self) -> (Connection, Log) {
        let connection = self.connect("node1").await;
        let log = self.make(&connection, &log_options(EPOCH, 1)).await;
        (connection, log)
    }

    pub async fn make(&self, connection: &Connection, options: &LogOptions) -> Log {
        let begun = Instant::now();
        loop {
            match Log::create(connection, options).await {
                Ok(log) => return log,
                // It was made by the try before, whose answer did not come.
                Err(OpenError::Exists { epoch, .. }) if epoch == Some(options.epoch) => {
                    return Log::of(connection, options.epoch);
                }
                Err(error) if begun.elapsed() > LONG => panic!("{error:?}"),
                Err(_) => pause().await,
            }
        }
    }

    pub async fn leader(&self, log: &Log) -> usize {
        let mut leader = None;
        until("the log has a leader", async || {
            leader = log.bounds().await.ok().and_then(|bounds| bounds.leader);
            leader.is_some()
        })
        .await;
        self.place_of(&leader.unwrap())
    }

    /// The monitoring address of a server.
    pub fn monitor(&self, n: usize) -> String {
        format!("http://{}:{}", self.host(n), self.all[n].http)
    }

    pub async fn reports(&self, log: &Log) -> Vec<ServerReport> {
        let mut reports = Vec::new();
        for n in (0..3).filter(|n| self.all[*n].process.is_some()) {
            let monitors = Monitors::new(&[self.monitor(n).parse().unwrap()], None).unwrap();
            until("the monitor answers", async || {
                let found = monitors.look(log.stream()).await.into_iter().flatten();
                let before = reports.len();
                reports.extend(found);
                reports.len() > before
            })
            .await;
        }
        reports
    }

    /// The files of a replica's blocks, by their names.
    pub fn blocks(&self, n: usize) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut dirs = vec![self.store_dir(n)];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|end| end == "blk")
                    && path.to_string_lossy().contains("/streams/RC_pbx/msgs/")
                {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            eprintln!("the servers' files stay in {}", self.dir.path().display());
        }
        for server in &mut self.all {
            if let Some(mut process) = server.process.take() {
                let _gone = process.kill();
                let _gone = process.wait();
            }
        }
    }
}

pub fn settings_of(node: &str, addresses: &[String]) -> Settings {
    let servers: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let settings = Settings::new("pbx".parse().unwrap(), node.parse().unwrap(), &servers);
    settings.unwrap().user("rollcall", "pw")
}

pub fn log_options(epoch: Epoch, first_seq: u64) -> LogOptions {
    LogOptions {
        epoch,
        first_seq,
        max_age: Duration::from_hours(7 * 24),
        max_bytes: 512 * 1024 * 1024,
        after: None,
    }
}

pub async fn pause() {
    let _over = tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
}

/// Waits until something is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LONG, "{what}: not within {LONG:?}");
        pause().await;
    }
}

/// Appends until it is acknowledged.
pub async fn append(log: &Log, bytes: &[u8]) -> u64 {
    let mut seq = None;
    until("a message is taken", async || {
        let done = log.append(bytes.to_vec().into(), Duration::from_secs(2)).await;
        if let Err(error) = &done {
            assert!(error.passes(), "{error:?}");
        }
        seq = done.ok();
        seq.is_some()
    })
    .await;
    seq.unwrap()
}

/// What the servers say of the log, once they answer.
pub async fn bounds(log: &Log) -> Bounds {
    let mut bounds = None;
    until("the servers say how far the log reaches", async || {
        bounds = log.bounds().await.ok();
        bounds.is_some()
    })
    .await;
    bounds.unwrap()
}

/// Lets go of all messages up to and with this one. Who asks again finds it done.
pub async fn trim(servers: &Servers, log: &Log, to: u64) {
    until("the servers let go of messages", async || log.trim(to).await.is_ok()).await;
    // One that has not done so yet would answer with them.
    until("all of them have let go", async || {
        let reports = servers.reports(log).await;
        // One that has no message has no extent.
        reports.iter().all(|one| one.extent.is_none_or(|extent| extent.first > to))
    })
    .await;
}

/// Takes the log away.
/// Changes the stream as somebody with the tools of NATS does. Returns what it was.
pub async fn change_stream(servers: &Servers, changes: &Value) -> Value {
    let options =
        async_nats::ConnectOptions::with_user_and_password("rollcall".into(), "pw".into());
    let client = options.connect(servers.addresses()[0].as_str()).await.unwrap();
    let ask = async |verb: &str, what: &Value| {
        let (mut said, subject) = (Value::Null, format!("$JS.API.STREAM.{verb}.RC_pbx"));
        until("the stream is asked", async || {
            let answer = client.request(subject.clone(), what.to_string().into()).await;
            let Ok(answer) = answer else { return false };
            said = serde_json::from_slice(&answer.payload).unwrap();
            assert_eq!(said["error"], Value::Null, "{what}");
            true
        })
        .await;
        said["config"].clone()
    };
    let before = ask("INFO", &json!({})).await;
    let mut after = before.clone();
    for (key, value) in changes.as_object().unwrap() {
        after[key] = value.clone();
    }
    ask("UPDATE", &after).await;
    before
}

pub async fn remove(connection: &Connection, log: &Log) {
    until("the log is removed", async || {
        let is_gone = async || matches!(Log::open(connection).await, Err(OpenError::Missing(_)));
        log.remove().await.is_ok() || is_gone().await
    })
    .await;
}

/// All messages after a number, up to and with another.
pub async fn read_to(log: &Log, after: u64, last: u64) -> Vec<Vec<u8>> {
    let (mut at, mut all) = (after, Vec::new());
    until("all is read", async || {
        if let Ok(messages) = log.read_after(at).await {
            for message in messages {
                assert_eq!(message.seq, at + 1);
                at = message.seq;
                all.push(message.bytes.to_vec());
            }
        }
        at >= last
    })
    .await;
    all
}
