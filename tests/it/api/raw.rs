//! A TLS connection without an HTTP client, for what no client would send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::super::harness::{Rollcall, TIMEOUT};

/// An open connection.
pub struct Raw {
    tls: StreamOwned<ClientConnection, TcpStream>,
    unread: Vec<u8>,
    closed: bool,
}

/// What came back.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    /// Status line and header fields, in lower case.
    pub head: String,
    pub body: String,
}

/// A TCP connection that waits as long as a test does.
pub fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

impl Raw {
    /// Connects and shakes hands.
    pub fn connect(rollcall: &Rollcall) -> Self {
        Self::over(rollcall, tcp(rollcall.port)).unwrap()
    }

    /// Connects and shakes hands as a client that speaks these protocols.
    pub fn speaking(rollcall: &Rollcall, protocols: &[&str]) -> std::io::Result<Self> {
        Self::shake_hands(rollcall, tcp(rollcall.port), protocols)
    }

    /// Shakes hands on a connection that is there.
    pub fn over(rollcall: &Rollcall, stream: TcpStream) -> std::io::Result<Self> {
        Self::shake_hands(rollcall, stream, &[])
    }

    fn shake_hands(
        rollcall: &Rollcall,
        mut stream: TcpStream,
        protocols: &[&str],
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(rollcall.ca()).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream)?;
        }
        Ok(Self { tls: StreamOwned::new(client, stream), unread: Vec::new(), closed: false })
    }

    /// The server's own certificate.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.tls.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// Sends as much as the server takes: it may have answered and closed before the end.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.tls.write_all(bytes.as_ref()).and_then(|()| self.tls.flush());
        if let Err(error) = sent {
            let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(closed.contains(&error.kind()), "{error}");
        }
    }

    /// One answer with a length, or with none at all.
    pub fn reply(&mut self) -> RawResponse {
        let end = loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            assert!(self.more(), "closed without an answer: {:?}", self.unread);
        };
        let head = String::from_utf8(self.unread.drain(..end + 4).collect()).unwrap();
        let head = head.to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.parse::<usize>().unwrap());
        while self.unread.len() < length {
            assert!(self.more(), "closed within an answer: {head}");
        }
        let body = String::from_utf8(self.unread.drain(..length).collect()).unwrap();
        RawResponse { status, head, body }
    }

    /// The beginning of what comes: a status line at least.
    pub fn begins(&mut self) -> String {
        while self.unread.len() < 16 {
            assert!(self.more(), "closed without an answer: {:?}", self.unread);
        }
        String::from_utf8_lossy(&self.unread).into_owned()
    }

    /// Whether the connection ends with TLS's closing message.
    pub fn ends_in_order(&mut self) -> bool {
        while self.more() {}
        self.closed
    }

    /// Everything until the server closes the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.unread)
    }

    /// Reads what is there; false once the connection is closed. Nothing is written meanwhile: what
    /// the server has not taken does not matter once it has answered.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        loop {
            let StreamOwned { conn, sock } = &mut self.tls;
            let wanting = match conn.reader().read(&mut buffer) {
                Ok(length) => {
                    self.unread.extend_from_slice(&buffer[..length]);
                    self.closed = length == 0;
                    return length > 0;
                }
                Err(error) => error.kind(),
            };
            if wanting == ErrorKind::UnexpectedEof {
                // A connection that is cut has no closing message.
                return false;
            }
            assert_eq!(wanting, ErrorKind::WouldBlock);
            match conn.read_tls(sock) {
                Ok(_) => drop(conn.process_new_packets().unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                    return false;
                }
            }
        }
    }
}
