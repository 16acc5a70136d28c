//! Certificates: where they come from, how they are made where none is
//! configured, and how they are swapped while connections are open.
//!
//! Architecture Invariant: a key is never loaded beside a certificate that it
//! does not belong to. The TLS library checks each pair, and what rollcall
//! makes is kept in one file that is renamed into place.
//!
//! The functions here read and write files and block for some milliseconds.

mod bundle;
mod clients;
mod credential;
mod error;
mod expiry;
mod files;
mod look;
mod made;
mod pair;
mod pem;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod use_tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;

pub use clients::Clients;
pub use credential::{first_line, is_credential, resolve};
pub use error::TlsError;
pub use expiry::Expiries;
pub use look::{CertificateRole, InUse};

use clients::Verifier;
use look::FileStamp;
use pair::Pair;

/// What TLS is served with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// The server's own certificate.
    pub source: TlsSource,
    /// What clients have to show; `None`: nothing.
    pub clients: Option<Clients>,
}

/// What a load makes anew, of what rollcall makes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renew {
    /// What is missing, has less than 30 days left or lacks a wanted name.
    IfDue,
    /// The server's certificate and key.
    Server,
    /// The authority too, which clients must then be given.
    Authority,
}

/// Where the server's key and certificate come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSource {
    /// Files that another program keeps up to date.
    Files {
        /// PEM chain, the server's own certificate first; may be `credential:NAME`.
        certificate: PathBuf,
        /// PEM private key, unencrypted: PKCS #8, SEC 1 or PKCS #1; may be `credential:NAME`.
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

/// A certificate that is ready for use, and its facts.
#[derive(Clone)]
pub struct LoadedCertificate {
    /// TLS 1.2 and 1.3, HTTP/1.1 alone by ALPN.
    pub config: Arc<ServerConfig>,
    /// The PEM file that clients must trust; `None` where the certificate is
    /// configured, for then the operator knows.
    pub authority: Option<PathBuf>,
    /// When the certificate ends; `None` where it is configured.
    pub not_after: Option<SystemTime>,
    /// Whether this load made a new certificate.
    pub made_new: bool,
    /// All that is shown to clients or trusted, the server's own certificate first.
    pub certificates: Vec<InUse>,
    /// The files that another program keeps up to date, as they were.
    stamps: Vec<FileStamp>,
    verifier: Option<Verifier>,
}

impl fmt::Debug for LoadedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedCertificate")
            .field("authority", &self.authority)
            .field("not_after", &self.not_after)
            .field("made_new", &self.made_new)
            .finish_non_exhaustive()
    }
}

/// Loads what `setup` names, after making what `renew` says where that is rollcall's task.
///
/// # Errors
///
/// Says which file is missing, malformed, mismatched or not writable, which
/// name is none, or that the clock is out of range.
pub fn load(setup: &Setup, renew: Renew, now: SystemTime) -> Result<LoadedCertificate, TlsError> {
    let clients = setup.clients.as_ref();
    // Before it is read.
    let stamp = clients.and_then(|clients| resolve(&clients.authority).ok());
    let stamp = stamp.map(|path| FileStamp::of(&path));
    let verifier = clients.map(Clients::load).transpose()?;
    let mut loaded = load_with(&setup.source, verifier, renew, now)?;
    loaded.stamps.extend(stamp);
    Ok(loaded)
}

/// Looks into the files that `setup` names, and changes nothing. Empty where rollcall makes the
/// certificate and has not done so yet.
///
/// # Errors
///
/// Says which file is missing, malformed or mismatched.
pub fn look(setup: &Setup) -> Result<Vec<InUse>, TlsError> {
    let mut found = match &setup.source {
        TlsSource::Files { certificate, key } => load_files(certificate, key, None)?.certificates,
        TlsSource::Made { directory, .. } => {
            let path = made::server_file(directory);
            match files::read_if_there(&path)? {
                None => Vec::new(),
                Some(bytes) => {
                    let pair = Pair::from_pem(&bytes, &path, &bytes, &path)?;
                    let found = made::in_use(&pair.chain, &path);
                    pair.server_config(&path, &path, None)?;
                    found
                }
            }
        }
    };
    let clients = setup.clients.as_ref().map(Clients::load).transpose()?;
    found.extend(clients.into_iter().flat_map(|clients| clients.authorities));
    Ok(found)
}

/// Whether a load will find what `setup` names, and may make the rest; changes nothing.
///
/// # Errors
///
/// Those of [`load`], but for what cannot be written.
pub fn check(setup: &Setup, now: SystemTime) -> Result<(), TlsError> {
    let verifier = setup.clients.as_ref().map(Clients::load).transpose()?;
    match &setup.source {
        TlsSource::Files { certificate, key } => {
            load_files(certificate, key, verifier.as_ref()).map(|_| ())
        }
        TlsSource::Made { directory, names } => made::check(directory, names, now),
    }
}

fn load_with(
    source: &TlsSource,
    verifier: Option<Verifier>,
    renew: Renew,
    now: SystemTime,
) -> Result<LoadedCertificate, TlsError> {
    let mut loaded = match source {
        TlsSource::Files { certificate, .. } if renew != Renew::IfDue => {
            return Err(TlsError::NotOurs { path: certificate.clone() });
        }
        TlsSource::Files { certificate, key } => load_files(certificate, key, verifier.as_ref())?,
        TlsSource::Made { directory, names } => {
            let made = made::load_or_make(directory, names, verifier.as_ref(), renew, now)?;
            LoadedCertificate {
                config: made.config,
                authority: Some(made.authority_pem),
                not_after: Some(made.not_after),
                made_new: made.is_new,
                certificates: made.certificates,
                stamps: Vec::new(),
                verifier: None,
            }
        }
    };
    let authorities = verifier.iter().flat_map(|verifier| verifier.authorities.iter().cloned());
    loaded.certificates.extend(authorities);
    loaded.verifier = verifier;
    Ok(loaded)
}

fn load_files(
    certificate: &Path,
    key: &Path,
    clients: Option<&Verifier>,
) -> Result<LoadedCertificate, TlsError> {
    let (certificate, key) = (resolve(certificate)?, resolve(key)?);
    let stamps = vec![FileStamp::of(&certificate), FileStamp::of(&key)];
    let chain_pem = files::read(&certificate)?;
    let key_pem = files::read(&key)?;
    let pair = Pair::from_pem(&chain_pem, &certificate, &key_pem, &key)?;
    let parts =
        std::iter::once(CertificateRole::Server).chain(std::iter::repeat(CertificateRole::Chain));
    let certificates = pair.chain.iter().zip(parts);
    let certificates =
        certificates.filter_map(|(der, part)| InUse::of(der, part, &certificate, false)).collect();
    let config = pair.server_config(&certificate, &key, clients)?;
    Ok(LoadedCertificate {
        config,
        authority: None,
        not_after: None,
        made_new: false,
        certificates,
        stamps,
        verifier: None,
    })
}

/// The certificate in use, which can be swapped while connections are open:
/// a connection keeps the one that it began with.
pub struct TlsReloader {
    setup: Setup,
    loaded: RwLock<LoadedCertificate>,
    /// Held while files are read and written, so that two reloads at once do
    /// not write the same file.
    reloading: Mutex<()>,
}

impl TlsReloader {
    /// Loads or makes what `setup` names.
    ///
    /// # Errors
    ///
    /// Those of [`load`].
    pub fn new(setup: Setup, now: SystemTime) -> Result<Self, TlsError> {
        let loaded = RwLock::new(load(&setup, Renew::IfDue, now)?);
        Ok(Self { setup, loaded, reloading: Mutex::new(()) })
    }

    /// The configuration that a new connection uses.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.loaded.read().config)
    }

    /// What the last good load found or made.
    pub fn loaded(&self) -> LoadedCertificate {
        self.loaded.read().clone()
    }

    /// Each certificate in use by its file, with its last second of validity (Unix time).
    pub fn expiries(&self) -> Vec<(PathBuf, u64)> {
        let loaded = self.loaded.read();
        let all = loaded.certificates.iter();
        all.map(|certificate| (certificate.file.clone(), certificate.not_after_s)).collect()
    }

    /// The configured files that are not any more what they were when they were read; a reload
    /// takes them up. Asks the file system.
    pub fn changed_on_disk(&self) -> Vec<PathBuf> {
        let stamps = self.loaded.read().stamps.clone();
        stamps.iter().filter_map(FileStamp::changed).map(Path::to_owned).collect()
    }

    /// Loads everything again, for new connections.
    ///
    /// # Errors
    ///
    /// Those of [`load`]; what is in use then stays.
    pub fn reload(&self, now: SystemTime) -> Result<(), TlsError> {
        self.renew(Renew::IfDue, now)
    }

    /// Loads everything again, after making anew what is asked for, for new connections.
    ///
    /// # Errors
    ///
    /// Those of [`load`], and [`TlsError::NotOurs`] where the certificate is configured; what is
    /// in use then stays.
    pub fn renew(&self, renew: Renew, now: SystemTime) -> Result<(), TlsError> {
        let _one_at_a_time = self.reloading.lock();
        let loaded = load(&self.setup, renew, now)?;
        *self.loaded.write() = loaded;
        Ok(())
    }

    /// Renews a made certificate where that is due, and says whether it was. Files of
    /// another program are left alone: they are read again on request.
    ///
    /// # Errors
    ///
    /// Those of [`load`]; what is in use then stays.
    pub fn renew_if_due(&self, now: SystemTime) -> Result<bool, TlsError> {
        if matches!(self.setup.source, TlsSource::Files { .. }) {
            return Ok(false);
        }
        let _one_at_a_time = self.reloading.lock();
        let (verifier, stamps) = {
            let loaded = self.loaded.read();
            (loaded.verifier.clone(), loaded.stamps.clone())
        };
        let mut loaded = load_with(&self.setup.source, verifier, Renew::IfDue, now)?;
        let made_new = loaded.made_new;
        if made_new {
            loaded.stamps = stamps;
            *self.loaded.write() = loaded;
        }
        Ok(made_new)
    }
}

impl fmt::Debug for TlsReloader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsReloader").field("setup", &self.setup).finish_non_exhaustive()
    }
}
