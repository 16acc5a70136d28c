//! Certificates: where they come from, how they are made where none is
//! configured, and how they are swapped while connections are open.
//!
//! Architecture Invariant: a key is never loaded beside a certificate that it
//! does not belong to. The TLS library checks each pair, and what rollcall
//! makes is kept in one file that is renamed into place.
//!
//! The functions here read and write files and block for some milliseconds.

mod bundle;
mod error;
mod files;
mod made;
mod pair;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;

pub use error::TlsError;
use pair::Pair;

/// Where the server's key and certificate come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSource {
    /// Files that somebody else keeps up to date.
    Files {
        /// PEM chain, the server's own certificate first.
        certificate: PathBuf,
        /// PEM private key, unencrypted: PKCS #8, SEC 1 or PKCS #1.
        key: PathBuf,
    },
    /// A private authority and a certificate that rollcall makes and renews.
    Made {
        /// The directory they are kept in; its parent must exist.
        directory: PathBuf,
        /// DNS names and IP addresses that clients use, besides `localhost`,
        /// `127.0.0.1` and `::1`, which are always covered.
        names: Vec<String>,
    },
}

/// A certificate that is ready for use, and what is known about it.
#[derive(Clone)]
pub struct Loaded {
    /// TLS 1.2 and 1.3, HTTP/1.1 alone by ALPN, no client certificates.
    pub config: Arc<ServerConfig>,
    /// The PEM file that clients must trust; `None` where the certificate is
    /// configured, for then the operator knows.
    pub authority: Option<PathBuf>,
    /// When the certificate ends; `None` where it is configured, for then it
    /// is not looked into.
    pub not_after: Option<SystemTime>,
    /// Whether this load made a new certificate.
    pub made_new: bool,
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded")
            .field("authority", &self.authority)
            .field("not_after", &self.not_after)
            .field("made_new", &self.made_new)
            .finish_non_exhaustive()
    }
}

/// Loads the certificate of `source`, after making it where that is rollcall's
/// task and it is missing, has less than 30 days left or lacks a wanted name.
///
/// # Errors
///
/// Says which file is missing, malformed, mismatched or not writable, which
/// name is none, or that the clock is out of range.
pub fn load_or_make(source: &TlsSource, now: SystemTime) -> Result<Loaded, TlsError> {
    match source {
        TlsSource::Files { certificate, key } => load_files(certificate, key),
        TlsSource::Made { directory, names } => {
            let made = made::load_or_make(directory, names, now)?;
            Ok(Loaded {
                config: made.config,
                authority: Some(made.authority_pem),
                not_after: Some(made.not_after),
                made_new: made.is_new,
            })
        }
    }
}

fn load_files(certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    let chain_pem = files::read(certificate)?;
    let key_pem = files::read(key)?;
    let pair = Pair::from_pem(&chain_pem, certificate, &key_pem, key)?;
    let config = pair.server_config(certificate, key)?;
    Ok(Loaded { config, authority: None, not_after: None, made_new: false })
}

/// The certificate in use, which can be swapped while connections are open:
/// a connection keeps the one that it began with.
pub struct TlsReloader {
    source: TlsSource,
    loaded: RwLock<Loaded>,
    /// Held while files are read and written, so that two reloads at once do
    /// not write the same file.
    reloading: Mutex<()>,
}

impl TlsReloader {
    /// Loads or makes the certificate of `source`.
    ///
    /// # Errors
    ///
    /// Those of [`load_or_make`].
    pub fn new(source: TlsSource, now: SystemTime) -> Result<Self, TlsError> {
        let loaded = RwLock::new(load_or_make(&source, now)?);
        Ok(Self { source, loaded, reloading: Mutex::new(()) })
    }

    /// The configuration that a new connection uses.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.read().config)
    }

    /// What the last good load found or made.
    pub fn loaded(&self) -> Loaded {
        self.loaded.read().clone()
    }

    /// Loads the source again, for new connections. A made certificate is
    /// renewed by this alone, so that it must be called at least once in 30
    /// days, and better daily.
    ///
    /// # Errors
    ///
    /// Those of [`load_or_make`]; the certificate in use then stays.
    pub fn reload(&self, now: SystemTime) -> Result<(), TlsError> {
        let _one_at_a_time = self.reloading.lock();
        let loaded = load_or_make(&self.source, now)?;
        *self.loaded.write() = loaded;
        Ok(())
    }
}

impl fmt::Debug for TlsReloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsReloader").field("source", &self.source).finish_non_exhaustive()
    }
}
