//! A private key and its certificate chain, as PEM and as a TLS configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::Error::NoItemsFound;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};

use super::clients::Verifier;
use super::pem::PemContent;
use super::{TlsError, pem};

/// A private key and the chain it is used with, the owner's certificate first.
///
/// It has no `Debug` on purpose.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Pair {
    /// Takes the chain out of `chain_pem` and the key out of `key_pem`; the
    /// paths are for the error alone.
    pub(super) fn from_pem(
        chain_pem: &[u8],
        chain_path: &Path,
        key_pem: &[u8],
        key_path: &Path,
    ) -> Result<Self, TlsError> {
        let chain_text = pem::plain(chain_pem);
        let chain = CertificateDer::pem_slice_iter(&chain_text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem::malformed(&chain_text, &error, chain_path))?;
        if chain.is_empty() {
            return Err(pem::nothing(chain_pem, &chain_text, PemContent::Chain, chain_path));
        }
        let key_text = pem::plain(key_pem);
        let key = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| match error {
            NoItemsFound => pem::nothing(key_pem, &key_text, PemContent::Key, key_path),
            _ if pem::is_encrypted(&key_text) => TlsError::Encrypted { path: key_path.to_owned() },
            other => pem::malformed(&key_text, &other, key_path),
        })?;
        Ok(Self { chain, key })
    }

    /// Makes the configuration every listener uses: TLS 1.2 and 1.3 by ring,
    /// HTTP/1.1 alone by ALPN, client certificates as `clients` says. A key
    /// that does not belong to the certificate is refused here.
    pub(super) fn server_config(
        self,
        chain_path: &Path,
        key_path: &Path,
        clients: Option<&Verifier>,
    ) -> Result<Arc<ServerConfig>, TlsError> {
        let signing = provider().key_provider.load_private_key(self.key.clone_key());
        let signing = signing.map_err(|_| TlsError::KeyKind {
            path: key_path.to_owned(),
            kind: pem::kind(&self.key, self.chain.first()),
        })?;
        let chain = self.chain.clone();
        let refused = |source| {
            let (certificate, key) = (chain_path.to_owned(), key_path.to_owned());
            match source {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                    let fits = |der: &CertificateDer<'static>| {
                        let pair = CertifiedKey::new(vec![der.clone()], Arc::clone(&signing));
                        pair.keys_match().is_ok()
                    };
                    match chain.iter().position(fits) {
                        Some(place) => TlsError::Order { certificate, key, place: place + 1 },
                        None => TlsError::Mismatch { certificate, key },
                    }
                }
                source => match chain.first().and_then(|first| pem::version(first)) {
                    Some(version @ ..=2) => TlsError::Version { path: certificate, version },
                    _ => TlsError::Refused { certificate, key, source },
                },
            }
        };
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(refused)?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(&clients.check)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(self.chain, self.key).map_err(refused)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // The best of what both know, not what the client likes best.
        config.ignore_client_order = true;
        Ok(Arc::new(config))
    }
}

/// What TLS is done with: ring, whose suites all have forward secrecy and authenticated
/// encryption. A test holds the list.
pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}
