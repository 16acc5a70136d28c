//! An HTTP server of a test: it keeps what it is sent, and answers as it is told, also wrongly or never.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::harness::TIMEOUT;

/// How often a server that is told to end looks for that.
const PAUSE: Duration = Duration::from_millis(2);

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Names in lower case, in their order.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When its last byte was read, in milliseconds since 1970.
    pub at: i64,
    /// The answer is that it was taken.
    pub accepted: bool,
}

impl Received {
    /// The last one of this name: `HAProxy` adds one of its own where there is one already.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rfind(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Answering {
    /// These bytes are sent, and the next request is read.
    Sends(Vec<u8>),
    /// These bytes are sent, and the connection is closed.
    SendsAndCloses(Vec<u8>),
    /// These bytes are sent, and from then on what the client says, four bytes at a time.
    Echoes(Vec<u8>),
    /// The head of a 200 is sent, and bytes of a body without end.
    Endless,
    /// Nothing is sent until the client gives up.
    Hangs,
    /// The connection is closed.
    Closes,
    /// The connection is reset.
    Resets,
    /// The same after a while.
    After(Duration, Box<Answering>),
}

impl Answering {
    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self::Sends(format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n").into_bytes())
    }

    pub fn text(status: u16, kind: &str, body: &str) -> Self {
        let length = body.len();
        Self::Sends(
            format!(
                "HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .into_bytes(),
        )
    }

    /// Whether it is the whole head of an answer with a status of 2xx.
    fn accepts(&self) -> bool {
        match self {
            Self::Sends(bytes) | Self::SendsAndCloses(bytes) => {
                bytes.starts_with(b"HTTP/1.1 2") && bytes.windows(4).any(|end| end == b"\r\n\r\n")
            }
            Self::Endless => true,
            Self::After(_, then) => then.accepts(),
            Self::Echoes(_) | Self::Hangs | Self::Closes | Self::Resets => false,
        }
    }
}

type Answer = dyn Fn(&Received) -> Answering + Send + Sync;

struct Shared {
    answer: Mutex<Arc<Answer>>,
    received: Mutex<Vec<Received>>,
    arrived: Condvar,
    /// Requests that are being answered, and as many as ever were at a time.
    open: AtomicUsize,
    most: AtomicUsize,
    connections: AtomicUsize,
    ends: AtomicBool,
}

/// It runs until it is dropped.
pub struct Peer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
    /// The file with its authority, where it speaks TLS.
    pub ca: Option<PathBuf>,
}

impl Peer {
    /// One that answers so.
    pub fn up(answer: impl Fn(&Received) -> Answering + Send + Sync + 'static) -> Self {
        Self::with("127.0.0.1:0", None, None, Arc::new(answer))
    }

    /// One that answers everything with this status.
    pub fn saying(status: u16) -> Self {
        Self::up(move |_| Answering::status(status))
    }

    /// One at an address where there was another before.
    pub fn up_at(
        address: SocketAddr,
        answer: impl Fn(&Received) -> Answering + Send + Sync + 'static,
    ) -> Self {
        Self::with(&address.to_string(), None, None, Arc::new(answer))
    }

    /// One with TLS for `localhost`, whose authority is a file in this directory.
    pub fn secure(
        dir: &Path,
        answer: impl Fn(&Received) -> Answering + Send + Sync + 'static,
    ) -> Self {
        let (ca, config) = certificate(dir);
        Self::with("127.0.0.1:0", Some(ca), Some(Arc::new(config)), Arc::new(answer))
    }

    fn with(
        address: &str,
        ca: Option<PathBuf>,
        tls: Option<Arc<ServerConfig>>,
        answer: Arc<Answer>,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            answer: Mutex::new(answer),
            received: Mutex::default(),
            arrived: Condvar::new(),
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            ends: AtomicBool::new(false),
        });
        let kept = shared.clone();
        let accepting = std::thread::spawn(move || {
            while !kept.ends.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    std::thread::park_timeout(PAUSE);
                    continue;
                };
                kept.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (kept.clone(), tls.clone());
                // A client that goes away is not the test's concern.
                std::thread::spawn(move || serve(stream, tls, &shared).unwrap_or_default());
            }
        });
        Self { address, shared, accepting: Some(accepting), ca }
    }

    /// The URL of a path there.
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// From now on it answers so.
    pub fn turn(&self, answer: impl Fn(&Received) -> Answering + Send + Sync + 'static) {
        *self.shared.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Connections that were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// No connection is accepted any more, and nothing is answered: the address is free when this returns.
    pub fn end(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            accepting.thread().unpark();
            accepting.join().unwrap();
        }
    }

    /// All that has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.all().clone()
    }

    /// All that has arrived since the last time.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.all())
    }

    /// Waits until that much has arrived, and returns all of it.
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        let deadline = Instant::now() + TIMEOUT;
        let mut received = self.all();
        while received.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "only {} of {count} arrived", received.len());
            received = self.shared.arrived.wait_timeout(received, left).unwrap().0;
        }
        received.clone()
    }

    /// As many requests as were ever answered at a time.
    pub fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Received>> {
        self.shared.received.lock().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end();
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    shared: &Shared,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let socket = stream.try_clone()?;
    match tls {
        None => exchange(stream, &socket, shared),
        Some(tls) => {
            let tls = ServerConnection::new(tls).unwrap();
            exchange(StreamOwned::new(tls, stream), &socket, shared)
        }
    }
}

/// Reads requests and answers them, one after the other.
fn exchange(stream: impl Read + Write, socket: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(mut received) = read(&mut stream)? {
        if shared.ends.load(Ordering::SeqCst) {
            break;
        }
        let answer = shared.answer.lock().unwrap().clone();
        let now = shared.open.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(now, Ordering::SeqCst);
        let answering = answer(&received);
        received.accepted = answering.accepts();
        shared.received.lock().unwrap().push(received);
        shared.arrived.notify_all();
        // A client that has its answer may send the next request at once.
        let mut is_open = true;
        let mut ended = || {
            if std::mem::take(&mut is_open) {
                shared.open.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let goes_on = carry_out(answering, &mut stream, socket, &mut ended);
        ended();
        if !goes_on? {
            break;
        }
    }
    Ok(())
}

/// Says whether the connection stays.
fn carry_out(
    answering: Answering,
    reader: &mut BufReader<impl Read + Write>,
    socket: &TcpStream,
    ended: &mut dyn FnMut(),
) -> std::io::Result<bool> {
    let stream = reader.get_mut();
    match answering {
        Answering::Sends(bytes) => {
            ended();
            stream.write_all(&bytes)?;
            stream.flush()?;
            return Ok(true);
        }
        Answering::SendsAndCloses(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
        }
        Answering::Echoes(bytes) => {
            stream.write_all(&bytes)?;
            let mut said = [0; 4];
            loop {
                reader.read_exact(&mut said)?;
                reader.get_mut().write_all(&said)?;
            }
        }
        Answering::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                stream.write_all(b"400\r\n")?;
                stream.write_all(&[b'x'; 1024])?;
                stream.write_all(b"\r\n")?;
            }
        }
        Answering::Hangs => drop(stream.read_to_end(&mut Vec::new())),
        Answering::Closes => {}
        Answering::Resets => {
            socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
        }
        Answering::After(time, then) => {
            // Also a server that is slow is given up at last.
            std::thread::park_timeout(time);
            return carry_out(*then, reader, socket, ended);
        }
    }
    Ok(false)
}

/// The next request; none at the end of the connection.
fn read(stream: &mut BufReader<impl Read>) -> std::io::Result<Option<Received>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, url) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim_start().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body)?;
    let at = jiff::Timestamp::now().as_millisecond();
    Ok(Some(Received { method, url, headers, body, at, accepted: false }))
}

/// An authority in a file of this directory, and what a server for `localhost` has of it.
pub fn certificate(dir: &Path) -> (PathBuf, ServerConfig) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = dir.join("ca.pem");
    std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain = params.signed_by(&key, &issuer).unwrap().pem();
    let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    (ca, config)
}
