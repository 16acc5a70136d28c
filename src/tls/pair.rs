//! A private key and its certificate chain, as PEM and as a TLS configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};

use super::TlsError;
use super::clients::Verifier;

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
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| malformed(chain_path, &error))?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: chain_path.to_owned() });
        }
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey { path: key_path.to_owned() },
            other => malformed(key_path, &other),
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
        let refused = |source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { certificate: chain_path.to_owned(), key: key_path.to_owned() }
            }
            source => TlsError::Refused {
                certificate: chain_path.to_owned(),
                key: key_path.to_owned(),
                source,
            },
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

/// Keeps the kind of damage and drops the quoted text, which may be a piece
/// of a key.
pub(super) fn malformed(path: &Path, error: &pem::Error) -> TlsError {
    let fault = match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no \"-----END\" line",
        pem::Error::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is malformed",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    };
    TlsError::Pem { path: path.to_owned(), fault }
}
