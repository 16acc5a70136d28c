//! One request over one connection, to an address that was looked at beforehand. What is delivered may share connections.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::address::{Base, Network, TargetHost};
use super::error::{ClientError, RequestError};

/// Bytes of an answer's body.
const ANSWER_BYTES: usize = 1024 * 1024;
/// What is read of an answer whose body does not matter.
const PASSED_OVER_BYTES: usize = 64 * 1024;
const PASSED_OVER_TIME: Duration = Duration::from_secs(1);
/// How long a connection is kept without a request. Shorter than what servers wait for the next one, of which 2 seconds are
/// the shortest in use: a request that meets the end of a connection is lost.
const KEPT: Duration = Duration::from_secs(1);
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("rollcall/", env!("CARGO_PKG_VERSION")));

/// Sends requests.
pub struct Client {
    tls: TlsConnector,
    connect: Duration,
    timeout: Duration,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Message {
    /// The path below the base; it begins with a slash and holds nothing that came from outside
    /// but checked sids.
    pub path: String,
    /// The value of `Authorization`.
    pub authorization: Option<HeaderValue>,
    /// Further header fields.
    pub headers: HeaderMap,
    /// JSON, unless a header field says something else; empty where there is none.
    pub body: Bytes,
}

/// Connections to one place that are kept for what is delivered there next.
#[derive(Default)]
pub struct KeptConnections(Mutex<Vec<KeptConnection>>);

struct KeptConnection {
    sender: RequestSender,
    /// Drives it for as long as this is there.
    driver: JoinSet<()>,
    since: Instant,
}

impl KeptConnections {
    /// Closes those that were not used for a while.
    pub fn close_idle(&self) {
        self.0.lock().retain(|one| one.since.elapsed() < KEPT);
    }

    /// Closes all.
    pub fn close(&self) {
        self.0.lock().clear();
    }

    /// The one that was used last, where a request can be sent over it now.
    fn take(&self) -> Option<(RequestSender, JoinSet<()>)> {
        let mut kept = self.0.lock();
        kept.retain(|one| one.since.elapsed() < KEPT && !one.sender.is_closed());
        let place = kept.iter().rposition(|one| one.sender.is_ready())?;
        let KeptConnection { sender, driver, .. } = kept.remove(place);
        Some((sender, driver))
    }

    fn keep(&self, sender: RequestSender, driver: JoinSet<()>) {
        self.0.lock().push(KeptConnection { sender, driver, since: Instant::now() });
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamResponse {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The whole body, of which there is a bound.
    pub body: Vec<u8>,
}

/// Names of the configuration that are looked up at once.
pub(super) static CONFIGURED: Semaphore = Semaphore::const_new(LOOKUPS);
/// Names that came with events.
static GIVEN: Semaphore = Semaphore::const_new(LOOKUPS);
const LOOKUPS: usize = 16;

type RequestSender = SendRequest<Full<Bytes>>;

impl Client {
    /// A client that trusts the authorities in a PEM file, which `ca_key` names in errors, else those of
    /// the system. A connection must be up within `connect`; from then on the answer must be there within
    /// `timeout`.
    ///
    /// # Errors
    /// The file cannot be read, or has no certificate.
    pub fn new(
        ca: Option<&Path>,
        ca_key: &'static str,
        connect: Duration,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities(ca, ca_key)?)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), connect, timeout })
    }

    /// Posts a message to a place. Where `networks` are given, every address of the place must lie
    /// in one of them. The answer has 1 MiB at most.
    ///
    /// # Errors
    /// Those of [`RequestError`].
    pub async fn post(
        &self,
        base: &Base,
        networks: Option<&[Network]>,
        message: Message,
    ) -> Result<UpstreamResponse, RequestError> {
        self.send(base, networks, Method::POST, message, ANSWER_BYTES).await
    }

    /// Sends a message with this method to a place that the operator has named. The answer has
    /// `answer_bytes` at most.
    ///
    /// # Errors
    /// Those of [`RequestError`], but for [`RequestError::Denied`].
    pub async fn request(
        &self,
        base: &Base,
        method: Method,
        message: Message,
        answer_bytes: usize,
    ) -> Result<UpstreamResponse, RequestError> {
        self.send(base, None, method, message, answer_bytes).await
    }

    /// Connects to a place that the operator has named, with TLS where it has that, and sends nothing.
    ///
    /// # Errors
    /// [`RequestError::Unreached`].
    pub async fn reach(&self, base: &Base) -> Result<(), RequestError> {
        self.sender(base, None, &mut JoinSet::new()).await.map(|_| ())
    }

    /// Posts a message to a place that the operator has named, over a connection that was kept or a new one, and says
    /// how it was answered. The head of the answer counts: what follows it is read no further than a little, and may be
    /// cut off.
    ///
    /// # Errors
    /// Those of [`RequestError`], but for [`RequestError::Denied`] and [`RequestError::TooLarge`].
    pub async fn deliver(
        &self,
        base: &Base,
        kept: &KeptConnections,
        message: Message,
    ) -> Result<StatusCode, RequestError> {
        let mut request = request(base, Method::POST, message)?;
        let (answer, sender, driver) = loop {
            let connection = kept.take();
            let is_new = connection.is_none();
            let (mut sender, driver) = if let Some(connection) = connection {
                connection
            } else {
                let mut driver = JoinSet::new();
                (self.sender(base, None, &mut driver).await?, driver)
            };
            let answering = sender.try_send_request(request);
            let answer = tokio::time::timeout(self.timeout, answering).await;
            let answer = answer
                .map_err(|_| RequestError::Late { url: base.to_string(), time: self.timeout })?;
            match answer {
                Ok(answer) => break (answer, sender, driver),
                // The connection had ended before, and nothing was sent.
                Err(mut failed) => match failed.take_message().filter(|_| !is_new) {
                    Some(unsent) => request = unsent,
                    None => return Err(lost(base, &failed.into_error())),
                },
            }
        };
        let (head, body) = answer.into_parts();
        let rest = Limited::<Incoming>::new(body, PASSED_OVER_BYTES).collect();
        if matches!(tokio::time::timeout(PASSED_OVER_TIME, rest).await, Ok(Ok(_))) {
            kept.keep(sender, driver);
        }
        Ok(head.status)
    }

    async fn send(
        &self,
        base: &Base,
        networks: Option<&[Network]>,
        method: Method,
        message: Message,
        answer_bytes: usize,
    ) -> Result<UpstreamResponse, RequestError> {
        let mut driver = JoinSet::new();
        let sender = self.sender(base, networks, &mut driver).await?;
        let exchanging = exchange(base, sender, method, message, answer_bytes);
        tokio::time::timeout(self.timeout, exchanging).await.unwrap_or_else(|_| {
            Err(RequestError::Late { url: base.to_string(), time: self.timeout })
        })
    }

    /// The same within the time for a connection.
    async fn sender(
        &self,
        base: &Base,
        networks: Option<&[Network]>,
        driver: &mut JoinSet<()>,
    ) -> Result<RequestSender, RequestError> {
        let connecting = self.connection(base, networks, driver);
        tokio::time::timeout(self.connect, connecting).await.unwrap_or_else(|_| {
            let time = humantime::format_duration(self.connect);
            Err(unreached(base, format!("no connection within {time}")))
        })
    }

    /// A connection to the first address that answers, driven by a task of `driver`.
    async fn connection(
        &self,
        base: &Base,
        networks: Option<&[Network]>,
        driver: &mut JoinSet<()>,
    ) -> Result<RequestSender, RequestError> {
        let mut last = "its name has no address".to_owned();
        let begun = Instant::now();
        let addresses = checked_addresses(base, networks).await?;
        let mut turns = Turns::new(addresses.len(), self.connect.saturating_sub(begun.elapsed()));
        for address in addresses {
            let connected = Box::pin(async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                if !base.secure() {
                    return handshake(stream, driver).await;
                }
                let name = match base.host() {
                    TargetHost::Ip(ip) => ServerName::from(*ip),
                    TargetHost::Name(name) => {
                        ServerName::try_from(name.clone()).map_err(std::io::Error::other)?
                    }
                };
                handshake(self.tls.connect(name, stream).await?, driver).await
            });
            match turns.next(connected).await {
                Ok(sender) => return Ok(sender),
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        Err(unreached(base, last))
    }
}

/// The time for a connection, shared by the addresses of a place: one that does not answer leaves time for those
/// after it.
pub(super) struct Turns {
    until: Instant,
    left: u32,
}

impl Turns {
    pub fn new(addresses: usize, time: Duration) -> Self {
        let left = u32::try_from(addresses).unwrap_or(u32::MAX);
        Self { until: Instant::now() + time, left }
    }

    /// What comes of the next address. The last one has whatever time the caller gives it.
    pub async fn next<T>(
        &mut self,
        connecting: impl Future<Output = std::io::Result<T>>,
    ) -> std::io::Result<T> {
        let share = self.until.saturating_duration_since(Instant::now()) / self.left.max(1);
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return connecting.await;
        }
        let connected = tokio::time::timeout(share, connecting).await;
        connected.unwrap_or_else(|_| Err(std::io::Error::other("it does not answer")))
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    driver: &mut JoinSet<()>,
) -> std::io::Result<RequestSender> {
    let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = made.map_err(std::io::Error::other)?;
    driver.spawn(async move {
        // Its failure is that of the request, too.
        let _ended = connection.await;
    });
    Ok(sender)
}

/// The addresses of a place, all of which lie in the networks where those are given.
async fn checked_addresses(
    base: &Base,
    networks: Option<&[Network]>,
) -> Result<Vec<SocketAddr>, RequestError> {
    let addresses: Vec<IpAddr> = match base.host() {
        TargetHost::Ip(ip) => vec![ip.to_canonical()],
        TargetHost::Name(name) => {
            // A name in the configuration does not wait for one that came with an event.
            let line = if networks.is_none() { &CONFIGURED } else { &GIVEN };
            let found = look_up(line, name.clone(), base.port()).await;
            let found = found.map_err(|error| unreached(base, error.to_string()))?;
            found.into_iter().map(|address| address.ip().to_canonical()).collect()
        }
    };
    if let Some(networks) = networks {
        let outside = |address: &&IpAddr| !networks.iter().any(|one| one.contains(**address));
        if let Some(address) = addresses.iter().find(outside) {
            return Err(RequestError::Denied { url: base.to_string(), address: Some(*address) });
        }
    }
    Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, base.port())).collect())
}

/// Asks the system for the addresses of a name. It may take long, and a thread all that time: the
/// line says how many may be asked for at once, whether or not anybody still waits for the answer.
pub(super) async fn look_up(
    line: &'static Semaphore,
    name: String,
    port: u16,
) -> std::io::Result<Vec<SocketAddr>> {
    let turn = line.acquire().await.map_err(std::io::Error::other)?;
    let looking = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Ok((name.as_str(), port).to_socket_addrs()?.collect())
    });
    looking.await.map_err(std::io::Error::other)?
}

/// From here on the other side may have received the request.
async fn exchange(
    base: &Base,
    mut sender: RequestSender,
    method: Method,
    message: Message,
    answer_bytes: usize,
) -> Result<UpstreamResponse, RequestError> {
    let request = request(base, method, message)?;
    let answer = sender.send_request(request).await.map_err(|error| lost(base, &error))?;
    let (head, body) = answer.into_parts();
    let body = Limited::<Incoming>::new(body, answer_bytes).collect().await;
    let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => RequestError::TooLarge { url: base.to_string(), most: answer_bytes },
        None => RequestError::Lost { url: base.to_string(), why: error.to_string() },
    })?;
    let body = body.to_bytes().to_vec();
    Ok(UpstreamResponse { status: head.status, headers: head.headers, body })
}

fn request(
    base: &Base,
    method: Method,
    message: Message,
) -> Result<Request<Full<Bytes>>, RequestError> {
    let mut request = Request::builder()
        .method(method)
        .uri(base.path(&message.path))
        .header(HOST, base.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*");
    if !message.body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(authorization) = message.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Full::new(message.body));
    let mut request = request.map_err(|error| unreached(base, error.to_string()))?;
    request.headers_mut().extend(message.headers);
    Ok(request)
}

fn lost(base: &Base, error: &hyper::Error) -> RequestError {
    RequestError::Lost { url: base.to_string(), why: error.to_string() }
}

fn unreached(base: &Base, why: String) -> RequestError {
    RequestError::Unreached { url: base.to_string(), why }
}

/// The authorities of a file, which a key of the configuration names, else those of the system.
pub(super) fn authorities(
    ca: Option<&Path>,
    key: &'static str,
) -> Result<RootCertStore, ClientError> {
    let mut store = RootCertStore::empty();
    let Some(path) = ca else {
        let found = rustls_native_certs::load_native_certs();
        let (good, _) = store.add_parsable_certificates(found.certs);
        if good == 0 {
            tracing::info!("no certificate authorities on this system; set {key} for TLS");
        }
        return Ok(store);
    };
    let wrong = |why: String| ClientError::Authorities { key, path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // A mark of the byte order before a section would hide it.
    let text = text.replace('\u{feff}', "");
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        store.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next_one() {
        let time = Duration::from_millis(90);
        let tried = async {
            let mut turns = Turns::new(3, time);
            for _ in 0..2 {
                let silent = std::future::pending::<std::io::Result<()>>();
                let error = turns.next(silent).await.unwrap_err().to_string();
                assert_eq!(error, "it does not answer");
            }
            turns.next(async { Ok("connected") }).await
        };
        assert_eq!(tokio::time::timeout(time, tried).await.unwrap().unwrap(), "connected");
    }
}
