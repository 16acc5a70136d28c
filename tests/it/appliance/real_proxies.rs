//! nginx and `HAProxy` in front, with the configurations of `docs/proxies.md`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::api::readers::fat_calls;
use super::super::harness::{A1, ROLLCALL, Rollcall, event, print, sid, skip, until};
use super::proxies::{peers, tcp_from};

const PAGE: &str = include_str!("../../../docs/proxies.md");

/// Where a program is that may not be in the path of everybody. Skipped, loudly, where it is not.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(Into::into));
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.exists());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// The configurations of this language on a page, one after the other.
pub fn configurations(page: &str, language: &str) -> Vec<String> {
    let fence = format!("\n```{language}\n");
    let blocks = page.split(&fence[..]).skip(1);
    let blocks: Vec<_> =
        blocks.map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect();
    assert!(!blocks.is_empty(), "no {language} on the page");
    blocks
}

/// A configuration with each of these in place of what stands on the page.
pub fn adapted(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert_eq!(text.matches(from).count(), 1, "`{from}` in\n{text}");
        text.replace(from, to)
    })
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A certificate for localhost that trusts itself, and its key, as files of this directory.
pub fn certificate(dir: &Path) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let [cert, secret] = ["front.pem", "front.key"].map(|name| dir.join(name));
    fs::write(&cert, params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&secret, key.serialize_pem()).unwrap();
    (cert, secret)
}

/// nginx with these blocks in `http`, which listens on this port for TLS.
pub fn nginx(nginx: &Path, dir: &Path, port: u16, blocks: &str) -> Proxy {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {}/{name};", dir.display()));
    let text = format!(
        "daemon off; master_process off; pid {0}/nginx.pid; error_log stderr;\n\
         events {{}}\nhttp {{ access_log off; {1}\n{blocks}\n}}\n",
        dir.display(),
        temporary.join(" ")
    );
    let file = dir.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(nginx);
    command.arg("-p").arg(dir).args(["-e", "stderr", "-c"]).arg(&file);
    Proxy::run(command, &dir.join("nginx.log"), port, true)
}

/// `HAProxy` with this configuration, which listens on this port, with TLS or without.
pub fn haproxy(haproxy: &Path, dir: &Path, text: &str, port: u16, secure: bool) -> Proxy {
    let file = dir.join("haproxy.cfg");
    fs::write(&file, text).unwrap();
    let checked = print(Command::new(haproxy).args(["-c", "-f"]).arg(&file), b"");
    assert_eq!(checked.code, Some(0), "{checked:?}\n{text}");
    assert!(!checked.stderr.contains("WARNING"), "{checked:?}\n{text}");
    let mut command = Command::new(haproxy);
    command.args(["-db", "-f"]).arg(&file);
    Proxy::run(command, &dir.join("haproxy.log"), port, secure)
}

/// A proxy that runs, until this is dropped.
pub struct Proxy {
    child: Child,
    pub port: u16,
    /// What is spoken to it.
    secure: bool,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Proxy {
    pub fn run(mut command: Command, log: &Path, port: u16, secure: bool) -> Self {
        let log_file = fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(log_file.try_clone().unwrap()).stderr(log_file);
        let mut proxy = Self { child: command.spawn().unwrap(), port, secure };
        until("the proxy listens", || {
            let ended = proxy.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(log).unwrap());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        proxy
    }

    /// A client's connection, from an address of its own.
    pub fn connect(&self, ca: &Path) -> Client {
        let stream = tcp_from([127, 0, 0, 2], self.port);
        stream.set_nodelay(true).unwrap();
        if self.secure { Client::Tls(Box::new(tls(stream, ca))) } else { Client::Plain(stream) }
    }
}

pub enum Client {
    Plain(TcpStream),
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, TcpStream>>),
}

fn tls(stream: TcpStream, ca: &Path) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(client, stream)
}

impl std::io::Read for Client {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl std::io::Write for Client {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The proxies of these tests, and rollcall behind them.
struct Scene {
    rollcall: Rollcall,
    audit: PathBuf,
    /// Ports that rollcall has at every start.
    ports: [u16; 2],
    /// Whether the connections to `listen` begin with a PROXY header.
    header: bool,
    /// The port to which these tests go instead, as they send no such header.
    front: Option<u16>,
    dir: tempfile::TempDir,
}

impl Scene {
    fn new(header: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rollcall = Rollcall::down();
        let audit = rollcall.dir.path().join("audit.log");
        let mut scene =
            Self { rollcall, audit, ports: [free_port(), free_port()], header, front: None, dir };
        scene.start();
        scene
    }

    fn start(&mut self) {
        let [https, http] = self.ports;
        let mut command = Command::new(ROLLCALL);
        command.arg("serve").arg("--data-dir").arg(self.rollcall.data());
        command.args(["--listen", &format!("127.0.0.1:{https}")]);
        command.args(["--http-listen", &format!("127.0.0.1:{http}"), "--log-slow", ""]);
        command.args(["--http-trusted-proxies", "127.0.0.1", "--limits-write", "10m"]);
        command.arg("--log-audit").arg(&self.audit);
        if self.header {
            command.arg("--proxy-protocol");
        }
        self.rollcall.start_with(command);
        self.rollcall.plain_port = http;
        self.rollcall.port = self.front.unwrap_or(https);
    }

    fn nginx(&self, nginx: &Path) -> (Proxy, PathBuf) {
        let (cert, key) = certificate(self.dir.path());
        let port = free_port();
        let [block] = configurations(PAGE, "nginx").try_into().unwrap();
        let block = adapted(
            &block,
            &[
                ("server 127.0.0.1:8080;", &format!("server 127.0.0.1:{};", self.ports[1])),
                ("listen 443 ssl;", &format!("listen 127.0.0.1:{port} ssl;")),
                ("/etc/ssl/calls.pem", cert.to_str().unwrap()),
                ("/etc/ssl/calls.key", key.to_str().unwrap()),
            ],
        );
        (self::nginx(nginx, self.dir.path(), port, &block), cert)
    }

    /// `HAProxy` with the first or the second configuration of the page, whose bind line and server
    /// are these. `stats` is its socket.
    fn haproxy(&self, haproxy: &Path, text: &str, port: u16, secure: bool) -> Proxy {
        let text = format!("global\n    stats socket {}\n{text}\n", self.stats().display());
        self::haproxy(haproxy, self.dir.path(), &text, port, secure)
    }

    fn stats(&self) -> PathBuf {
        self.dir.path().join("stats")
    }

    /// What `HAProxy` says of its one server: its state, and what its last check came to.
    fn health(&self) -> (String, String) {
        let mut socket = until("HAProxy says how it is", || UnixStream::connect(self.stats()).ok());
        socket.write_all(b"show stat\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().unwrap();
        let own = lines.find(|line| line.get(1) == Some(&"one")).unwrap();
        let value = |name: &str| own[names.iter().position(|n| *n == name).unwrap()].to_owned();
        (value("status"), value("check_status"))
    }
}

/// Reads a head: its status and its lines, in lower case.
pub fn head(reader: &mut impl std::io::BufRead) -> (u16, String) {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "closed within a head: {text}");
        if line == "\r\n" {
            break;
        }
        text.push_str(&line.to_lowercase());
    }
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

pub fn length(head: &str) -> usize {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.map_or(0, |length| length.trim().parse().unwrap())
}

/// Reads chunks to the last one. None where they are cut off.
pub fn chunks(reader: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Some(body);
        }
    }
}

pub fn ask(client: &mut impl std::io::Write, method: &str, path: &str, lines: &str, body: &str) {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    client.write_all(request.as_bytes()).unwrap();
    client.flush().unwrap();
}

const CSV: &str = "/v1/Accounts/9351f46a-678c-43f5-b8a6-d4eb58d131af/Calls";

/// What has to hold behind any proxy.
fn holds(scene: &mut Scene, proxy: &Proxy, ca: &Path, pools: bool) {
    let rollcall = &scene.rollcall;
    let admin = format!("Authorization: Bearer {}\r\n", rollcall.admin());
    let connect = || BufReader::new(proxy.connect(ca));

    // Who it was: the client, whatever it says itself.
    let mut client = connect();
    let lines = "Authorization: Bearer nobody\r\nX-Forwarded-For: 192.0.2.9\r\n\
                 Forwarded: for=192.0.2.8\r\nConnection: close\r\n";
    ask(client.get_mut(), "GET", CSV, lines, "");
    assert_eq!(head(&mut client).0, 401);
    let seen = peers(&scene.audit);
    assert!(seen.last().unwrap().starts_with("127.0.0.2"), "{seen:?}");

    // Posts, several at a time, over and over again on connections that are kept.
    let accepted = || {
        let text = rollcall.get(&rollcall.admin(), "/metrics").body;
        let line = "rollcall_connections_accepted_total{listener=\"http\"} ";
        text.lines().find_map(|l| l.strip_prefix(line)?.parse::<u64>().ok()).unwrap()
    };
    let before = if pools { accepted() } else { 0 };
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (admin, connect) = (&admin, &connect);
            scope.spawn(move || {
                let mut client = connect();
                for n in 0..50 {
                    let event = event(9000 + worker * 50 + n, "ringing");
                    let lines = format!("{admin}Content-Type: application/json\r\n");
                    ask(client.get_mut(), "POST", "/v1/hooks/call-status", &lines, &event);
                    assert_eq!(head(&mut client).0, 204);
                }
            });
        }
    });
    if pools {
        let opened = accepted() - before;
        assert!(opened < 50, "{opened} connections for 200 requests");
    }
    for n in 9000..9200 {
        let path = format!("{CSV}/{}", sid(n));
        assert_eq!(rollcall.get(&rollcall.admin(), &path).status, 200, "{n}");
    }

    // Events pass at once, while the stream is open.
    let mut stream = connect();
    let lines = format!("{admin}Accept: text/event-stream\r\n");
    ask(stream.get_mut(), "GET", &format!("{CSV}/changes?after=now"), &lines, "");
    let (status, said) = head(&mut stream);
    assert_eq!(status, 200, "{said}");
    assert_eq!(rollcall.post_events(&event(9300, "busy")).status, 204);
    let mut line = String::new();
    while !line.contains(&sid(9300)) {
        line.clear();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "the stream has ended");
    }
    drop(stream);

    // A whole table, and one that is cut off.
    fat_calls(rollcall);
    let mut client = connect();
    ask(client.get_mut(), "GET", CSV, &format!("{admin}Accept: text/csv\r\n"), "");
    assert_eq!(head(&mut client).0, 200);
    let whole = chunks(&mut client).unwrap();
    let bearer = format!("Bearer {}", rollcall.admin());
    let headers = [("authorization", &*bearer), ("accept", "text/csv")];
    let direct = rollcall.send("GET", CSV, &headers, b"").unwrap();
    assert_eq!(whole.len(), direct.body.len());
    assert!(whole == direct.body.as_bytes());

    let made = rollcall.ok(&["token", "create", "--account", A1, "--role", "read", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    let token = format!("Authorization: Bearer {}\r\n", made["token"].as_str().unwrap());
    let mut client = connect();
    ask(client.get_mut(), "GET", CSV, &format!("{token}Accept: text/csv\r\n"), "");
    assert_eq!(head(&mut client).0, 200);
    rollcall.ok(&["token", "revoke", made["id"].as_str().unwrap()]);
    assert!(chunks(&mut client).is_none(), "a part looks whole");

    // A restart: what was acknowledged is there, and it goes on by itself.
    let mut client = connect();
    ask(client.get_mut(), "GET", "/livez", "", "");
    let (status, said) = head(&mut client);
    client.read_exact(&mut vec![0; length(&said)]).unwrap();
    assert_eq!(status, 200);
    assert_eq!(scene.rollcall.stop(), Some(0));
    scene.start();
    let rollcall = &scene.rollcall;
    until("posts pass again", || {
        let mut client = BufReader::new(proxy.connect(ca));
        let lines = format!("{admin}Content-Type: application/json\r\nConnection: close\r\n");
        let sent = client.get_mut().write_all(
            format!(
                "POST /v1/hooks/call-status HTTP/1.1\r\nHost: localhost\r\n{lines}\
                 Content-Length: {}\r\n\r\n{}",
                event(9400, "busy").len(),
                event(9400, "busy")
            )
            .as_bytes(),
        );
        let mut line = String::new();
        let read = sent.and_then(|()| client.read_line(&mut line));
        (read.is_ok() && line.contains(" 204 ")).then_some(())
    });
    assert_eq!(rollcall.get(&rollcall.admin(), &format!("{CSV}/{}", sid(9400))).status, 200);
    for (n, line) in rollcall.log().lines().enumerate() {
        assert!(!line.contains("WARN") || line.contains("cut off in its middle"), "{n}: {line}");
    }
}

#[test]
fn nginx_in_front_as_the_page_says() {
    let Some(nginx) = program("nginx") else { return };
    let mut scene = Scene::new(false);
    let (proxy, ca) = scene.nginx(&nginx);
    holds(&mut scene, &proxy, &ca, true);
}

#[test]
fn haproxy_in_front_with_tls_passed_on_and_proxy_headers() {
    let Some(haproxy) = program("haproxy") else { return };
    let mut scene = Scene::new(true);
    let ca = scene.rollcall.ca();
    let port = free_port();
    let text = adapted(
        &configurations(PAGE, "haproxy")[0],
        &[
            ("bind :8443", &format!("bind 127.0.0.1:{port}")),
            ("10.0.0.5:8443", &format!("127.0.0.1:{}", scene.ports[0])),
            ("/etc/haproxy/rollcall-ca.pem", ca.to_str().unwrap()),
        ],
    );
    let proxy = scene.haproxy(&haproxy, &text, port, true);
    goes_down_and_comes_back(&mut scene);
    (scene.front, scene.rollcall.port) = (Some(port), port);
    holds(&mut scene, &proxy, &ca, false);
}

#[test]
fn haproxy_in_front_with_tls_ended_there() {
    let Some(haproxy) = program("haproxy") else { return };
    let mut scene = Scene::new(false);
    let (cert, key) = certificate(scene.dir.path());
    let both = scene.dir.path().join("both.pem");
    fs::write(&both, [fs::read(&cert).unwrap(), fs::read(&key).unwrap()].concat()).unwrap();
    let port = free_port();
    let text = adapted(
        &configurations(PAGE, "haproxy")[1],
        &[
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("127.0.0.1:8080", &format!("127.0.0.1:{}", scene.ports[1])),
            ("/etc/haproxy/calls.pem", both.to_str().unwrap()),
        ],
    );
    let proxy = scene.haproxy(&haproxy, &text, port, true);
    goes_down_and_comes_back(&mut scene);
    holds(&mut scene, &proxy, &cert, true);
}

/// `HAProxy` sees that the server is healthy, that it is gone, and that it is back.
fn goes_down_and_comes_back(scene: &mut Scene) {
    let up = |scene: &Scene| {
        until("it is healthy", || {
            (scene.health() == ("UP".to_owned(), "L7OK".to_owned())).then_some(())
        });
    };
    up(scene);
    assert_eq!(scene.rollcall.stop(), Some(0));
    until("it is down", || (scene.health().0 == "DOWN").then_some(()));
    scene.start();
    up(scene);
    assert!(!scene.rollcall.log().contains("WARN"), "{}", scene.rollcall.log());
}

#[test]
fn a_health_check_that_only_connects_finds_a_server_and_is_no_news() {
    let Some(haproxy) = program("haproxy") else { return };
    let scene = Scene::new(true);
    let port = free_port();
    let text = format!(
        "frontend f\n    mode tcp\n    bind 127.0.0.1:{port}\n    timeout client 60s\n    \
         default_backend b\nbackend b\n    mode tcp\n    timeout connect 5s\n    timeout server 60s\n    \
         server one 127.0.0.1:{} send-proxy-v2 check port {0} inter 100ms",
        scene.ports[0]
    );
    let _proxy = scene.haproxy(&haproxy, &text, port, false);
    until("it is healthy", || (scene.health().1 == "L4OK").then_some(()));
    assert!(!scene.rollcall.log().contains("WARN"), "{}", scene.rollcall.log());
}
