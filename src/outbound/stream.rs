//! A connection of bytes to a place that the configuration names, with or without TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::{Endpoint, TargetHost};
use super::client::{CONFIGURED, Turns, authorities, look_up};
use super::error::ClientError;

/// How long a connection may take, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Bytes to and from a server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The files of TLS as a client, and the keys of the configuration that name them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientTls<'a> {
    /// Authorities of the server; those of the system where there is none.
    pub ca: Option<&'a Path>,
    pub ca_key: &'static str,
    /// Certificate and chain, and the key, with which this client shows who it is.
    pub identity: Option<(&'a Path, &'a Path)>,
    pub identity_keys: [&'static str; 2],
}

/// Makes connections.
#[derive(Clone)]
pub struct Connector(Option<TlsConnector>);

impl Connector {
    /// Connections without TLS.
    pub fn plain() -> Self {
        Self(None)
    }

    /// Connections with TLS.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
    pub fn tls(files: ClientTls<'_>) -> Result<Self, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities(files.ca, files.ca_key)?);
        let config =
            match files.identity {
                None => builder.with_no_client_auth(),
                Some((cert, key)) => {
                    let [cert_key, key_key] = files.identity_keys;
                    let wrong = |key: &'static str, path: &Path, why: String| {
                        ClientError::Identity { key, path: path.to_owned(), why }
                    };
                    let chain = CertificateDer::pem_file_iter(cert)
                        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                        .map_err(|error| wrong(cert_key, cert, error.to_string()))?;
                    let secret = PrivateKeyDer::from_pem_file(key)
                        .map_err(|error| wrong(key_key, key, error.to_string()))?;
                    builder
                        .with_client_auth_cert(chain, secret)
                        .map_err(|error| wrong(cert_key, cert, error.to_string()))?
                }
            };
        Ok(Self(Some(TlsConnector::from(Arc::new(config)))))
    }

    /// A connection to the first address of a place that answers.
    ///
    /// # Errors
    /// Why the last address did not.
    pub async fn connect(&self, place: &Endpoint) -> std::io::Result<Box<dyn Stream>> {
        let late = || {
            let time = humantime::format_duration(CONNECT_MAX);
            std::io::Error::other(format!("no connection within {time}"))
        };
        tokio::time::timeout(CONNECT_MAX, self.first(place)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn first(&self, place: &Endpoint) -> std::io::Result<Box<dyn Stream>> {
        let begun = Instant::now();
        let addresses = match place.host() {
            TargetHost::Ip(ip) => vec![(ip.to_canonical(), place.port()).into()],
            TargetHost::Name(name) => look_up(&CONFIGURED, name.clone(), place.port()).await?,
        };
        let mut last = std::io::Error::other("its name has no address");
        let mut turns = Turns::new(addresses.len(), CONNECT_MAX.saturating_sub(begun.elapsed()));
        for address in addresses {
            let connected = Box::pin(async {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = &self.0 else { return Ok(Box::new(stream) as Box<dyn Stream>) };
                let name = match place.host() {
                    TargetHost::Ip(ip) => ServerName::from(*ip),
                    TargetHost::Name(name) => {
                        ServerName::try_from(name.clone()).map_err(std::io::Error::other)?
                    }
                };
                Ok(Box::new(tls.connect(name, stream).await?) as Box<dyn Stream>)
            });
            match turns.next(connected).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
