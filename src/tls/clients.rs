//! Client certificates: which clients may shake hands at all. They say nothing about what a
//! client may do; that is what tokens are for.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::look::{CertificateRole, InUse};
use super::pem::PemContent;
use super::{TlsError, credential, files, pair, pem};

/// What clients have to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// PEM file with the authorities of their certificates; may be `credential:NAME`.
    pub authority: PathBuf,
    /// Whether a client without a certificate is refused; one with a wrong certificate always is.
    pub required: bool,
}

/// What is asked of clients, ready for use.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) check: Arc<dyn ClientCertVerifier>,
    pub(super) authorities: Vec<InUse>,
}

impl Clients {
    /// Reads the authorities.
    pub(super) fn load(&self) -> Result<Verifier, TlsError> {
        let file = credential::resolve(&self.authority)?;
        let bytes = files::read(&file)?;
        let text = pem::plain(&bytes);
        let authorities = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem::malformed(&text, &error, &file))?;
        if authorities.is_empty() {
            return Err(pem::nothing(&bytes, &text, PemContent::Authorities, &file));
        }
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            let refused = |source| TlsError::ClientAuthority { path: file.clone(), source };
            roots.add(authority.clone()).map_err(refused)?;
        }
        let provider = Arc::new(pair::provider());
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = if self.required { builder } else { builder.allow_unauthenticated() };
        let check =
            builder.build().map_err(|_| TlsError::NoClientAuthority { path: file.clone() })?;
        let authorities = authorities
            .iter()
            .filter_map(|der| InUse::of(der, CertificateRole::ClientAuthority, &file, false))
            .collect();
        Ok(Verifier { check, authorities })
    }
}
