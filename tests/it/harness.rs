//! A running rollcall, and what talks to it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// The binary under test.
pub const ROLLCALL: &str = env!("CARGO_BIN_EXE_rollcall");
/// How long anything may take before a test fails.
pub const TIMEOUT: Duration = Duration::from_mins(4);

/// An account of the recorded exchanges, and its token.
pub const A1: &str = "9351f46a-678c-43f5-b8a6-d4eb58d131af";
/// Another account of the recorded exchanges.
pub const A2: &str = "b1a7f3a2-0c55-4f6e-9c1d-7a9e2f4d8e10";

/// A data directory, with or without a server on it. What the server says is kept, and shown when
/// a test fails.
pub struct Rollcall {
    pub dir: TempDir,
    data: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
    pub port: u16,
    /// The port of plain HTTP, where the flags ask for it.
    pub plain_port: u16,
    /// The port of scrapes, where the flags ask for it.
    pub metrics_port: u16,
    /// The port of CDRs, where the flags ask for it.
    pub cdr_port: u16,
    /// What the client trusts in place of rollcall's own authority.
    trusted: Option<PathBuf>,
    agent: Option<ureq::Agent>,
    /// Where it listens, and what its command line begins with.
    address: IpAddr,
    wrapper: Vec<String>,
    /// What is run: the server, and commands on its data.
    program: PathBuf,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What a command printed, and its exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Rollcall {
    /// A data directory without a server.
    pub fn down() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        Self {
            dir,
            data,
            args: Vec::new(),
            child: None,
            port: 0,
            plain_port: 0,
            metrics_port: 0,
            cdr_port: 0,
            trusted: None,
            agent: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            wrapper: Vec::new(),
            program: ROLLCALL.into(),
        }
    }

    /// A running server with these flags.
    pub fn up(args: &[&str]) -> Self {
        let mut rollcall = Self::down();
        rollcall.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        rollcall.start();
        rollcall
    }

    /// A data directory of one's own making, without a server.
    pub fn down_in(data: &Path) -> Self {
        let mut rollcall = Self::down();
        data.clone_into(&mut rollcall.data);
        rollcall
    }

    /// A running server on a data directory of one's own making.
    pub fn up_in(data: &Path, args: &[&str]) -> Self {
        let mut rollcall = Self::down_in(data);
        rollcall.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        rollcall.start();
        rollcall
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The flags of the next start.
    pub fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    /// Where the server listens from its next start on, and what its command line begins with.
    pub fn set_place(&mut self, address: IpAddr, wrapper: Vec<String>) {
        self.address = address;
        self.wrapper = wrapper;
    }

    /// The program of the next start, and of commands.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// The command line that starts the server.
    pub fn serve_command(&self) -> Command {
        let program = self.program.to_str().unwrap();
        let mut line = self.wrapper.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(line.next().unwrap());
        command.args(line).args(["serve", "--listen", &format!("{}:0", self.address)]);
        command.arg("--data-dir").arg(&self.data);
        command.args(&self.args);
        command
    }

    /// Talks to a server on this directory that somebody else has started, on this port.
    pub fn attach(&mut self, port: u16) {
        self.port = port;
        self.agent = Some(self.new_agent());
    }

    /// Starts the server and waits until it listens.
    pub fn start(&mut self) {
        let command = self.serve_command();
        self.start_with(command);
    }

    /// The same with a command line of one's own, such as one that wraps the server.
    pub fn start_with(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "it is up already");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut port_of = |scheme: &str| {
            lines.find_map(|line| {
                let line = line.unwrap();
                let line = line.strip_suffix("/metrics").unwrap_or(&line);
                let line = line.strip_suffix("/write?db=cdrs").unwrap_or(line);
                line.strip_prefix(scheme)?.rsplit(':').next()?.parse().ok()
            })
        };
        let Some(port) = port_of("listening on https://") else {
            let status = child.wait().unwrap();
            panic!("rollcall did not start ({status}):\n{}", self.log());
        };
        self.port = port;
        if self.args.iter().any(|arg| arg == "--http-listen") {
            self.plain_port = port_of("listening on http://").unwrap();
        }
        if self.args.iter().any(|arg| arg == "--metrics-listen") {
            self.metrics_port = port_of("listening on http://").unwrap();
        }
        if self.args.iter().any(|arg| arg == "--cdrs-listen") {
            let tls = self.args.iter().any(|arg| arg == "--cdrs-tls");
            let scheme = if tls { "listening on https://" } else { "listening on http://" };
            self.cdr_port = port_of(scheme).unwrap();
        }
        self.child = Some(child);
        self.agent = Some(self.new_agent());
    }

    /// The exit code of a start that is to fail, and what it said.
    pub fn start_fails(&self) -> Printed {
        print(&mut self.serve_command(), b"")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("stderr.log")
    }

    /// All that the server has said on standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process id of the child.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether the child has ended, by itself or by a signal.
    pub fn is_gone(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Sends a signal, by its name for kill(1).
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends the server as a power-hungry kernel would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends the server in order, and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the server to end by itself.
    pub fn wait(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let code = until("the server ends", || child.try_wait().unwrap());
        code.code()
    }

    /// The first admin token.
    pub fn admin(&self) -> String {
        std::fs::read_to_string(self.data.join("admin.token")).unwrap().trim().to_owned()
    }

    /// The certificate that the client trusts: that of rollcall's own authority, if not told else.
    pub fn ca(&self) -> PathBuf {
        self.trusted.clone().unwrap_or_else(|| self.data.join("tls/ca.pem"))
    }

    /// Makes the client trust this certificate, from the next start on.
    pub fn trust(&mut self, certificate: &Path) {
        self.trusted = Some(certificate.to_owned());
    }

    /// An HTTPS client that trusts that authority, with connections of its own.
    pub fn new_agent(&self) -> ureq::Agent {
        self.agent_within(TIMEOUT)
    }

    /// The same, which gives up after this time.
    pub fn agent_within(&self, timeout: Duration) -> ureq::Agent {
        use ureq::tls::{Certificate, RootCerts, TlsConfig};
        let ca = Certificate::from_pem(&std::fs::read(self.ca()).unwrap()).unwrap();
        let roots = RootCerts::Specific(Arc::new(vec![ca]));
        let tls = TlsConfig::builder().root_certs(roots).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .timeout_global(Some(timeout))
            .build();
        if self.address.is_loopback() {
            return config.new_agent();
        }
        ureq::Agent::with_parts(config, DefaultConnector::default(), Elsewhere(self.address))
    }

    /// The base of all URLs.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Sends a request with these headers.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, ureq::Error> {
        send(self.agent.as_ref().unwrap(), method, &self.url(path), headers, body)
    }

    /// The answer to a GET with this token.
    pub fn get(&self, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send("GET", path, &[("authorization", &bearer)], b"").unwrap()
    }

    /// The answer to a request with this token and no body.
    pub fn ask(&self, method: &str, token: &str, path: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send(method, path, &[("authorization", &bearer)], b"").unwrap()
    }

    /// Makes a token with these flags.
    pub fn token(&self, flags: &[&str]) -> String {
        let args = [&["token", "create"], flags].concat();
        self.ok(&args).trim().to_owned()
    }

    /// Sends events with the admin token.
    pub fn post_events(&self, body: &str) -> Answer {
        let bearer = format!("Bearer {}", self.admin());
        let kind = if body.starts_with('[') { "application/json" } else { "application/x-ndjson" };
        let headers = [("authorization", bearer.as_str()), ("content-type", kind)];
        self.send("POST", "/v1/hooks/call-status", &headers, body.as_bytes()).unwrap()
    }

    /// Runs a command on this data directory.
    pub fn run(&self, args: &[&str]) -> Printed {
        self.run_with(args, b"")
    }

    /// The same with standard input.
    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Printed {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--data-dir").arg(&self.data);
        // What is to be the first to write here says so.
        let makes =
            matches!(args, ["token", "create", ..] | ["account", "set", ..] | ["import", ..]);
        if makes && self.child.is_none() && !self.data.join("FORMAT").exists() {
            command.arg("--init");
        }
        print(&mut command, input)
    }

    /// Runs a command that is to succeed, and returns its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let printed = self.run(args);
        assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}\n{}", self.log());
        printed.stdout
    }
}

impl Rollcall {
    /// What `status` says, whether all is well or not.
    pub fn status(&self) -> String {
        self.status_with(&["status"])
    }

    /// The same as JSON.
    pub fn figures(&self) -> String {
        self.status_with(&["status", "--json"])
    }

    fn status_with(&self, args: &[&str]) -> String {
        let printed = self.run(args);
        let told = matches!(printed.code, Some(0 | 1)) && !printed.stdout.is_empty();
        assert!(told, "{printed:?}\n{}", self.log());
        printed.stdout
    }
}

/// Every name is that of one address.
#[derive(Debug)]
struct Elsewhere(IpAddr);

impl Resolver for Elsewhere {
    fn resolve(
        &self,
        uri: &http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        found.push(SocketAddr::new(self.0, uri.port_u16().unwrap()));
        Ok(found)
    }
}

impl Drop for Rollcall {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the server said ---\n{}", self.log());
        }
    }
}

/// Sends one request.
pub fn send(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, ureq::Error> {
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = if body.is_empty() {
        agent.run(request.body(()).unwrap())?
    } else {
        agent.run(request.body(body).unwrap())?
    };
    let (parts, mut body) = answer.into_parts();
    let body = body.with_config().limit(1 << 30).read_to_string()?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
}

/// Runs a command to its end.
pub fn print(command: &mut Command, input: &[u8]) -> Printed {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that fails early does not read to the end.
            let _unread = stdin.write_all(input);
        });
        child.wait_with_output().unwrap()
    });
    Printed {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code(),
    }
}

/// Waits for a condition, and fails when it does not come in time.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether a program is here. In CI a missing one is a failure; elsewhere the test says loudly that
/// it is skipped.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).exists());
    found || skip(&format!("{program} is not installed"))
}

/// Says that a test is skipped, and adds it to the file `TESTS_SKIPPED`, which `tests/run` shows at its
/// end. False, so that it can be returned. A failure in CI.
pub fn skip(why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "CI may skip nothing: {why}");
    eprintln!("SKIPPED: {why}");
    if let Some(path) = std::env::var_os("TESTS_SKIPPED") {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(format!("{test}\t{why}\n").as_bytes()).unwrap();
    }
    false
}

/// The recorded call status events of jambonz, one a line.
pub fn recorded_events() -> &'static str {
    include_str!("../fixtures/call-status-events.ndjson")
}

/// An event of account [`A1`] for call number `n`.
pub fn event(n: u32, status: &str) -> String {
    format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",\
         \"from\":\"+1555{n:07}\",\"to\":\"+15550000000\",\"call_id\":\"c{n}\",\
         \"call_status\":\"{status}\"}}",
        sid(n)
    )
}

/// The sid of call number `n`.
pub fn sid(n: u32) -> String {
    format!("c0000000-0000-4000-8000-{n:012x}")
}
