//! A client of one connection that is kept open.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Outcome;
use super::server::{Server, trusting};

/// How long anything may take.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Where a server is, and who asks.
#[derive(Clone)]
pub struct Target {
    pub port: u16,
    tls: Arc<ClientConfig>,
    pub token: String,
}

impl Target {
    pub fn of(server: &Server) -> Self {
        Self { port: server.port, tls: server.tls.clone(), token: server.token.clone() }
    }

    /// A server that somebody else has started, with its authority's certificate.
    pub fn new(port: u16, token: String, ca: &Path) -> Outcome<Self> {
        Ok(Self { port, tls: trusting(ca)?, token })
    }

    pub async fn tcp(&self) -> Outcome<TcpStream> {
        Ok(timeout(TIMEOUT, TcpStream::connect(("127.0.0.1", self.port))).await??)
    }

    pub async fn tls(&self) -> Outcome<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(self.tls.clone());
        let name = ServerName::try_from("localhost")?;
        let stream = self.tcp().await?;
        stream.set_nodelay(true)?;
        Ok(timeout(TIMEOUT, connector.connect(name, stream)).await??)
    }

    pub async fn client(&self) -> Outcome<Client> {
        Ok(Client {
            stream: self.tls().await?,
            target: self.clone(),
            read: Vec::new(),
            used: Instant::now(),
        })
    }
}

pub struct Client {
    stream: TlsStream<TcpStream>,
    target: Target,
    read: Vec<u8>,
    /// When it was last answered.
    used: Instant,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Client {
    /// The connection, as it is after an answer.
    pub fn into_stream(self) -> TlsStream<TcpStream> {
        self.stream
    }

    /// Opens a new connection in the place of one that was idle for so long that the server may be
    /// about to close it. Whether it did.
    pub async fn reopen_after(&mut self, idle: Duration) -> Outcome<bool> {
        let due = self.used.elapsed() >= idle;
        if due {
            *self = self.target.client().await?;
        }
        Ok(due)
    }

    pub async fn get(&mut self, path: &str) -> Outcome<Answer> {
        let token = &self.target.token;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        self.ask(head.as_bytes()).await
    }

    pub async fn post(&mut self, lines: &str) -> Outcome<Answer> {
        let request = format!(
            "POST /v1/hooks/call-status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {}\r\n\r\n{lines}",
            self.target.token,
            lines.len()
        );
        self.ask(request.as_bytes()).await
    }

    /// Sends a whole request and reads its answer.
    pub async fn ask(&mut self, request: &[u8]) -> Outcome<Answer> {
        timeout(TIMEOUT, async {
            self.stream.write_all(request).await?;
            self.answer().await
        })
        .await?
    }

    async fn answer(&mut self) -> Outcome<Answer> {
        let head_end = self.until(0, b"\r\n\r\n").await?;
        let head = String::from_utf8_lossy(self.read.get(..head_end).unwrap_or_default());
        let head = head.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or("no status")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let end = if head.contains("transfer-encoding: chunked") {
            self.until(head_end - 2, b"\r\n0\r\n\r\n").await?
        } else {
            let length: usize = length.map_or(Ok(0), str::parse)?;
            while self.read.len() < head_end + length {
                self.more().await?;
            }
            head_end + length
        };
        let body = self.read.get(head_end..end).unwrap_or_default().to_vec();
        self.read.drain(..end);
        self.used = Instant::now();
        Ok(Answer { status, body })
    }

    /// Reads until this has come, and returns where it ends.
    async fn until(&mut self, from: usize, text: &[u8]) -> Outcome<usize> {
        let mut looked = from;
        loop {
            let rest = self.read.get(looked..).unwrap_or_default();
            if let Some(place) = rest.windows(text.len()).position(|part| part == text) {
                return Ok(looked + place + text.len());
            }
            looked = from.max(self.read.len().saturating_sub(text.len()));
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Outcome<()> {
        let count = timeout(TIMEOUT, self.stream.read_buf(&mut self.read)).await??;
        if count == 0 {
            return Err("the server has closed the connection".into());
        }
        Ok(())
    }
}

/// An account.
pub const ACCOUNT: &str = "a0000000-0000-4000-8000-000000000000";
/// Another, whose readers want much.
pub const CROWDED: &str = "a0000000-0000-4000-8000-000000000001";

/// A status event of call number `n` of the account.
pub fn event(n: u64, status: &str, more: &str) -> String {
    format!(
        "{{\"account_sid\":\"{ACCOUNT}\",\"call_sid\":\"e0000000-0000-4000-8000-{n:012x}\",\
         \"direction\":\"inbound\",\"from\":\"+1555{:07}\",\"to\":\"+15559999999\",\
         \"call_id\":\"c-{n}@10.0.0.9\",\"call_status\":\"{status}\",\"sip_status\":200,\
         \"trace_id\":\"{n:032x}\"{more}}}",
        n % 5000
    )
}
