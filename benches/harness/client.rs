//! A client that costs little: HTTP/1.1 over one kept connection, TLS or not. Its time is not that of
//! whom it asks, but it runs on the same processors.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Outcome;

/// Where a server is, and how it is known.
#[derive(Clone)]
pub struct Peer {
    pub port: u16,
    /// Trusts the server's authority; none where there is no TLS.
    pub tls: Option<TlsConnector>,
    /// Lines of the header that each request has.
    pub header: String,
}

impl Peer {
    /// One that speaks TLS with a certificate of this authority.
    pub fn tls(port: u16, ca: &Path, header: &str) -> Outcome<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Some(TlsConnector::from(Arc::new(config)));
        Ok(Self { port, tls, header: header.to_owned() })
    }

    /// A connection.
    pub async fn connect(&self) -> Outcome<Connection> {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from("localhost")?;
                Box::new(tls.connect(name, tcp).await?)
            }
            None => Box::new(tcp),
        };
        let header = self.header.clone();
        Ok(Connection { stream, header, bytes: Vec::new(), head: String::new(), body: Vec::new() })
    }
}

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A kept connection.
pub struct Connection {
    stream: Box<dyn Stream>,
    header: String,
    /// What was read and is not yet taken.
    bytes: Vec<u8>,
    /// Of the last answer, in small letters.
    head: String,
    body: Vec<u8>,
}

impl Connection {
    /// The body of a 200.
    pub async fn get(&mut self, path: &str) -> Outcome<&[u8]> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", self.header);
        match self.exchange(request.as_bytes()).await? {
            200 => Ok(&self.body),
            status => Err(format!("GET {path}: {status}: {}", self.text()).into()),
        }
    }

    /// Sends events, which must be taken.
    pub async fn post(&mut self, path: &str, kind: &str, body: &str) -> Outcome<()> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n{}Content-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.header,
            body.len()
        );
        match self.exchange(request.as_bytes()).await? {
            204 => Ok(()),
            status => Err(format!("POST {path}: {status}: {}", self.text()).into()),
        }
    }

    /// A field of the last answer, by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let field = |line| str::split_once(line, ": ").filter(|(field, _)| *field == name);
        self.head.lines().find_map(field).map(|(_, value)| value)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    async fn exchange(&mut self, request: &[u8]) -> Outcome<u16> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.body.clear();
        let head = self.through(b"\r\n\r\n").await?;
        self.head = std::str::from_utf8(&head)?.to_ascii_lowercase();
        let status: u16 = self.head.get(9..12).ok_or("a status line")?.parse()?;
        if self.header("transfer-encoding") == Some("chunked") {
            self.chunks().await?;
        } else if status != 204 {
            let length = self.header("content-length").ok_or("a length of the body")?;
            let length: usize = length.trim().parse()?;
            self.fill(length).await?;
            self.body.extend(self.bytes.drain(..length));
        }
        Ok(status)
    }

    async fn chunks(&mut self) -> Outcome<()> {
        loop {
            let line = self.through(b"\r\n").await?;
            let length = usize::from_str_radix(std::str::from_utf8(&line)?.trim(), 16)?;
            self.fill(length + 2).await?;
            self.body.extend(self.bytes.drain(..length));
            self.bytes.drain(..2);
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// Takes what stands before this mark, and the mark.
    async fn through(&mut self, mark: &[u8]) -> Outcome<Vec<u8>> {
        loop {
            let found = self.bytes.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                return Ok(self.bytes.drain(..at + mark.len()).collect());
            }
            self.read().await?;
        }
    }

    async fn fill(&mut self, length: usize) -> Outcome<()> {
        while self.bytes.len() < length {
            self.read().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Outcome<()> {
        self.bytes.reserve(1 << 16);
        match self.stream.read_buf(&mut self.bytes).await? {
            0 => Err("the connection was closed".into()),
            _ => Ok(()),
        }
    }
}
