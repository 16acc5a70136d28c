//! The accept loop with real sockets: limits hold, a stop ends everything.

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connection::HEAD_BYTES_MAX;
use super::listener::{Drained, Front, Proxies, run};
use super::watchdog::{Watchdog, watchdog};
use crate::config::LimitsSection;
use crate::http::ConnectionInfo;
use crate::tls::{Setup, TlsReloader, TlsSource};

/// Nothing in these tests should take this long.
const DEADLINE: Duration = Duration::from_mins(1);
/// A piece of an endless answer.
const CHUNK_BYTES: usize = 64 * 1024;
const LONG: Duration = Duration::from_mins(1);

fn usual() -> LimitsSection {
    LimitsSection {
        connections: 16,
        handshake: LONG,
        header: LONG,
        idle: LONG,
        write: LONG,
        drain: LONG,
        ..LimitsSection::default()
    }
}

struct TestServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    watchdog: Watchdog,
    ended: JoinHandle<Drained>,
    /// Requests to `/wait` that have begun, and pieces of `/endless`.
    begun: Arc<AtomicUsize>,
    /// Lets all requests to `/wait` go on.
    release: Arc<Notify>,
}

async fn start(tls: Option<Arc<TlsReloader>>, limits: LimitsSection) -> TestServer {
    start_behind(Proxies::default(), tls, limits).await
}

async fn start_behind(
    proxies: Proxies,
    tls: Option<Arc<TlsReloader>>,
    limits: LimitsSection,
) -> TestServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (begun, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (count, gate) = (Arc::clone(&begun), Arc::clone(&release));
    let service = service_fn(move |request| answer(request, Arc::clone(&count), Arc::clone(&gate)));
    let (watchdog, asked) = watchdog();
    let counted = Arc::default();
    let front = Front { tls, proxies, ..Front::default() };
    let ended = tokio::spawn(run(listener, front, service, limits, counted, asked, async move {
        let _ = stopped.await;
    }));
    TestServer { address, stop, watchdog, ended, begun, release }
}

async fn answer(
    request: Request<Incoming>,
    begun: Arc<AtomicUsize>,
    release: Arc<Notify>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let body = match request.uri().path() {
        path @ ("/wait" | "/stranger") => {
            // Who asks for the first is known.
            let connection = request.extensions().get::<ConnectionInfo>().unwrap();
            connection.recognised.set(path == "/wait");
            let released = release.notified();
            begun.fetch_add(1, Ordering::SeqCst);
            released.await;
            Full::from("waited").boxed()
        }
        "/endless" => {
            let chunk = Bytes::from(vec![b'x'; CHUNK_BYTES]);
            let next = move || {
                begun.fetch_add(1, Ordering::SeqCst);
                Ok(Frame::data(chunk.clone()))
            };
            StreamBody::new(stream::repeat_with(next)).boxed()
        }
        "/panic" => panic!("asked to"),
        _ => {
            let ConnectionInfo { peer, .. } = request.extensions().get().unwrap();
            Full::from(format!("for {peer}")).boxed()
        }
    };
    Ok(Response::new(body))
}

impl TestServer {
    async fn connect(&self) -> TcpStream {
        timeout(DEADLINE, TcpStream::connect(self.address)).await.unwrap().unwrap()
    }

    async fn until_begun(&self, count: usize) {
        let begun = async {
            while self.begun.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(DEADLINE, begun).await.expect("the request reaches the service");
    }

    async fn stopped(self) -> Drained {
        self.stop.send(()).unwrap();
        timeout(DEADLINE, self.ended).await.expect("run returns").unwrap()
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(UnixTime::now().as_secs())
}

fn reloader(directory: &TempDir) -> Arc<TlsReloader> {
    let source =
        TlsSource::Made { directory: directory.path().join("tls"), names: vec!["r.test".into()] };
    Arc::new(TlsReloader::new(Setup { source, clients: None }, now()).unwrap())
}

/// A TLS connection whose client trusts `ca.pem` alone, for `name`.
async fn connect_tls(
    server: &TestServer,
    directory: &TempDir,
    name: &'static str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(directory.path().join("tls/ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(name).unwrap();
    timeout(DEADLINE, connector.connect(name, server.connect().await)).await.unwrap()
}

async fn ask(stream: &mut (impl AsyncWrite + Unpin), path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: r.test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads one answer and returns its body; empty when the connection ended.
async fn answer_of(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut seen = Vec::new();
    let whole = async {
        loop {
            let text = String::from_utf8(seen.clone()).unwrap();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).unwrap();
                let length = length.lines().next().unwrap().parse::<usize>().unwrap();
                if body.len() >= length {
                    return body.to_owned();
                }
            }
            match stream.read_buf(&mut seen).await {
                Ok(0) | Err(_) => return String::new(),
                Ok(_) => {}
            }
        }
    };
    timeout(DEADLINE, whole).await.expect("an answer or the end in time")
}

/// Waits for the end of the connection, whatever comes before it.
async fn ends(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = vec![0; 64 * 1024];
    let ended = async { while matches!(stream.read(&mut rest).await, Ok(count) if count > 0) {} };
    timeout(DEADLINE, ended).await.expect("the connection ends");
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_answered_over_tls() {
    let directory = TempDir::new().unwrap();
    let server = start(Some(reloader(&directory)), usual()).await;
    for name in ["r.test", "localhost", "127.0.0.1", "::1"] {
        let mut stream = connect_tls(&server, &directory, name).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
        ask(&mut stream, "/").await;
        let peer = stream.get_ref().0.local_addr().unwrap();
        assert_eq!(answer_of(&mut stream).await, format!("for {peer}"));
    }
    let stranger = connect_tls(&server, &directory, "other.test").await;
    assert!(stranger.unwrap_err().to_string().contains("not valid for name"));
}

#[tokio::test]
async fn without_a_certificate_http_is_plain_and_says_so() {
    let server = start(None, usual()).await;
    let mut stream = server.connect().await;
    ask(&mut stream, "/").await;
    let peer = stream.local_addr().unwrap();
    assert_eq!(answer_of(&mut stream).await, format!("for {peer}"));
}

#[tokio::test]
async fn a_reload_serves_new_connections_and_keeps_the_old() {
    let directory = TempDir::new().unwrap();
    let reloader = reloader(&directory);
    let server = start(Some(Arc::clone(&reloader)), usual()).await;
    let mut old = connect_tls(&server, &directory, "r.test").await.unwrap();
    fs::remove_file(directory.path().join("tls/server.pem")).unwrap();
    reloader.reload(now()).unwrap();
    let new = connect_tls(&server, &directory, "r.test").await.unwrap();
    assert_ne!(certificate_of(&old), certificate_of(&new));
    ask(&mut old, "/").await;
    assert!(answer_of(&mut old).await.starts_with("for "));
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_after_the_handshake_time() {
    let directory = TempDir::new().unwrap();
    let limits = LimitsSection { handshake: Duration::from_millis(100), ..usual() };
    let server = start(Some(reloader(&directory)), limits).await;
    ends(&mut server.connect().await).await;
}

#[tokio::test]
async fn slow_headers_are_cut_after_the_header_time_and_idle_connections_are_not() {
    let limits = LimitsSection { header: Duration::from_millis(100), ..usual() };
    let server = start(None, limits).await;
    let mut idle = server.connect().await;
    ask(&mut idle, "/").await;
    assert!(answer_of(&mut idle).await.starts_with("for "));
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    ends(&mut silent).await;
    ends(&mut slow).await;
    // It has waited for as long, and is still there.
    ask(&mut idle, "/").await;
    assert!(answer_of(&mut idle).await.starts_with("for "));
    idle.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    ends(&mut idle).await;
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_own_time_and_what_has_begun_is_not() {
    let limits = LimitsSection { idle: Duration::from_millis(100), ..usual() };
    let directory = TempDir::new().unwrap();
    for tls in [None, Some(reloader(&directory))] {
        let over_tls = tls.is_some();
        let server = start(tls, limits).await;
        let mut waiting = server.connect().await;
        ask(&mut waiting, "/wait").await;
        let mut begun = server.connect().await;
        if over_tls {
            let mut idle = connect_tls(&server, &directory, "r.test").await.unwrap();
            ask(&mut idle, "/").await;
            assert!(answer_of(&mut idle).await.starts_with("for "));
            // With TLS's closing message, or this is an error.
            assert_eq!(timeout(DEADLINE, idle.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
            continue;
        }
        ask(&mut begun, "/").await;
        assert!(answer_of(&mut begun).await.starts_with("for "));
        begun.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        let mut idle = server.connect().await;
        ask(&mut idle, "/").await;
        assert!(answer_of(&mut idle).await.starts_with("for "));
        assert_eq!(timeout(DEADLINE, idle.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
        begun.write_all(b"Host: r.test\r\n\r\n").await.unwrap();
        assert!(answer_of(&mut begun).await.starts_with("for "));
        server.release.notify_waiters();
        assert_ne!(answer_of(&mut waiting).await, "");
    }
}

#[tokio::test]
async fn clients_are_told_how_long_a_connection_may_be_idle() {
    let server = start(None, usual()).await;
    for (version, line, told) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "Connection: keep-alive\r\n", false),
    ] {
        let mut stream = server.connect().await;
        let request = format!("GET / HTTP/{version}\r\nHost: r.test\r\n{line}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.windows(4).any(|four| four == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
        }
        let head = String::from_utf8(head).unwrap();
        assert_eq!(
            head.contains("\r\nkeep-alive: timeout=60\r\n"),
            told,
            "{version} {line}: {head}"
        );
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_answered_431_however_it_arrives() {
    let server = start(None, usual()).await;
    for (bytes, piece, status) in [
        (HEAD_BYTES_MAX, usize::MAX, "200"),
        (HEAD_BYTES_MAX + 1, usize::MAX, "431"),
        (HEAD_BYTES_MAX + 1, 1000, "431"),
    ] {
        let (start, end) = ("GET /?", " HTTP/1.1\r\nHost: r.test\r\n\r\n");
        let head = format!("{start}{}{end}", "q".repeat(bytes - start.len() - end.len()));
        let mut stream = server.connect().await;
        for part in head.as_bytes().chunks(piece) {
            stream.write_all(part).await.unwrap();
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut line = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&line), format!("HTTP/1.1 {status}"), "{bytes}");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_after_the_write_time() {
    let directory = TempDir::new().unwrap();
    let limits = LimitsSection { connections: 1, write: Duration::from_millis(150), ..usual() };
    for tls in [None, Some(reloader(&directory))] {
        let server = start(tls.clone(), limits).await;
        let asked: Box<dyn std::any::Any> = if tls.is_some() {
            let mut stream = connect_tls(&server, &directory, "r.test").await.unwrap();
            ask(&mut stream, "/endless").await;
            Box::new(stream)
        } else {
            let mut stream = server.connect().await;
            ask(&mut stream, "/endless").await;
            Box::new(stream)
        };
        // The only permit is free again while the first client still holds on.
        if tls.is_some() {
            let mut next = connect_tls(&server, &directory, "r.test").await.unwrap();
            ask(&mut next, "/").await;
            assert!(answer_of(&mut next).await.starts_with("for "));
        } else {
            let mut next = server.connect().await;
            ask(&mut next, "/").await;
            assert!(answer_of(&mut next).await.starts_with("for "));
        }
        // Nor was more made for it than the system had to have.
        let made = server.begun.load(Ordering::SeqCst) * CHUNK_BYTES;
        assert!(made < 1024 * 1024, "{made} bytes");
        drop(asked);
    }
}

#[tokio::test]
async fn a_client_that_reads_slowly_but_steadily_is_served() {
    let limits = LimitsSection { write: Duration::from_millis(300), ..usual() };
    let server = start(None, limits).await;
    let mut stream = server.connect().await;
    ask(&mut stream, "/endless").await;
    let mut buffer = vec![0; 64 * 1024];
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < 3 * limits.write {
        let count = timeout(DEADLINE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(count > 0, "cut after {:?}", begun.elapsed());
        // The pace of the client, not a wait for the server: slow enough that
        // the server must wait to write, fast enough that what the system
        // still holds of a cut connection is used up before the loop ends.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_waits_and_is_served_when_one_leaves() {
    let server = start(None, LimitsSection { connections: 2, ..usual() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    ask(&mut first, "/").await;
    assert_ne!(answer_of(&mut first).await, "");
    ask(&mut second, "/").await;
    assert_ne!(answer_of(&mut second).await, "");
    let mut third = server.connect().await;
    ask(&mut third, "/wait").await;
    let early = timeout(Duration::from_millis(150), server.until_begun(1)).await;
    assert!(early.is_err(), "the third connection was served over the limit");
    drop(first);
    server.until_begun(1).await;
    server.release.notify_waiters();
    assert_eq!(answer_of(&mut third).await, "waited");
}

#[tokio::test]
async fn idle_connections_make_room_for_one_that_waits_and_requests_of_known_ones_do_not() {
    let directory = TempDir::new().unwrap();
    let server =
        start(Some(reloader(&directory)), LimitsSection { connections: 5, ..usual() }).await;
    let mut running = connect_tls(&server, &directory, "r.test").await.unwrap();
    ask(&mut running, "/wait").await;
    server.until_begun(1).await;
    let mut stranger = connect_tls(&server, &directory, "r.test").await.unwrap();
    ask(&mut stranger, "/stranger").await;
    server.until_begun(2).await;
    let mut answered = connect_tls(&server, &directory, "r.test").await.unwrap();
    ask(&mut answered, "/").await;
    assert_ne!(answer_of(&mut answered).await, "");
    let mut within_head = connect_tls(&server, &directory, "r.test").await.unwrap();
    within_head.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    let mut silent = server.connect().await;
    // A place for each of these, one after the other.
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut next = connect_tls(&server, &directory, "r.test").await.unwrap();
        ask(&mut next, "/").await;
        assert!(answer_of(&mut next).await.starts_with("for "));
        held.push(next);
    }
    ends(&mut stranger).await;
    ends(&mut answered).await;
    ends(&mut within_head).await;
    ends(&mut silent).await;
    server.release.notify_waiters();
    assert_eq!(answer_of(&mut running).await, "waited");
}

#[tokio::test]
async fn a_panic_frees_its_permit_and_the_loop_goes_on() {
    let server = start(None, LimitsSection { connections: 1, ..usual() }).await;
    for _ in 0..3 {
        let mut stream = server.connect().await;
        ask(&mut stream, "/panic").await;
        ends(&mut stream).await;
    }
    let mut stream = server.connect().await;
    ask(&mut stream, "/").await;
    assert!(answer_of(&mut stream).await.starts_with("for "));
}

#[tokio::test]
async fn a_stop_answers_the_running_request_and_closes_the_idle() {
    let directory = TempDir::new().unwrap();
    let server = start(Some(reloader(&directory)), usual()).await;
    let mut running = connect_tls(&server, &directory, "r.test").await.unwrap();
    ask(&mut running, "/wait").await;
    server.until_begun(1).await;
    let mut idle = connect_tls(&server, &directory, "r.test").await.unwrap();
    let mut in_handshake = server.connect().await;
    ask(&mut idle, "/").await;
    assert_ne!(answer_of(&mut idle).await, "");
    let (address, release) = (server.address, Arc::clone(&server.release));
    let stopped = tokio::spawn(server.stopped());
    ends(&mut idle).await;
    ends(&mut in_handshake).await;
    assert!(TcpStream::connect(address).await.is_err(), "the socket is still open");
    release.notify_waiters();
    assert_eq!(answer_of(&mut running).await, "waited");
    assert_eq!(stopped.await.unwrap(), Drained { in_order: 3, cut: 0 });
}

#[tokio::test]
async fn a_stop_cuts_what_does_not_end_within_the_drain() {
    let server = start(None, LimitsSection { drain: Duration::from_millis(150), ..usual() }).await;
    let mut stuck = server.connect().await;
    ask(&mut stuck, "/wait").await;
    server.until_begun(1).await;
    let mut idle = server.connect().await;
    ask(&mut idle, "/").await;
    assert_ne!(answer_of(&mut idle).await, "");
    assert_eq!(server.stopped().await, Drained { in_order: 1, cut: 1 });
    assert_eq!(answer_of(&mut stuck).await, "");
}

#[tokio::test]
async fn the_loop_has_a_watchdog_until_it_ends_even_where_no_connection_is_free() {
    let server = start(None, LimitsSection { connections: 1, ..usual() }).await;
    let held = TcpStream::connect(server.address).await.unwrap();
    let waiting = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        assert!(server.watchdog.beats(DEADLINE).await);
    }
    drop((held, waiting));
    server.stop.send(()).unwrap();
    timeout(DEADLINE, server.ended).await.unwrap().unwrap();
    assert!(!server.watchdog.beats(DEADLINE).await);
}
