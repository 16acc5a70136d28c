//! What stands in the certificates that are in use.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateRole {
    /// The server shows it as its own.
    Server,
    /// The server shows it beside its own, up to the authority.
    Chain,
    /// rollcall's own authority, which clients trust.
    Authority,
    /// Clients' certificates are checked against it.
    ClientAuthority,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// What for.
    pub part: CertificateRole,
    /// The file that it was read from.
    pub file: PathBuf,
    /// The distinguished name of its subject.
    pub subject: String,
    /// DNS names and IP addresses that it is for.
    pub names: Vec<String>,
    /// First second of validity, Unix time.
    pub not_before_s: u64,
    /// Last second of validity, Unix time.
    pub not_after_s: u64,
    /// SHA-256 of the whole certificate, in hexadecimal digits.
    pub sha256: String,
    /// Whether rollcall made it, and renews it.
    pub made: bool,
}

impl InUse {
    /// Reads a certificate; none where it cannot be read, which the log then says. The TLS
    /// library decides what may be used, and this must not refuse what that takes.
    pub(super) fn of(
        der: &CertificateDer<'_>,
        part: CertificateRole,
        file: &Path,
        made: bool,
    ) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der)
            .inspect_err(|error| {
                let file = file.display();
                tracing::warn!(%file, %error, "a certificate cannot be looked into");
            })
            .ok()?;
        let validity = certificate.validity();
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|extension| &extension.value.general_names);
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        Some(Self {
            part,
            file: file.to_owned(),
            subject: certificate.subject().to_string(),
            names: names.into_iter().flatten().filter_map(name).collect(),
            not_before_s: u64::try_from(validity.not_before.timestamp()).unwrap_or(0),
            not_after_s: u64::try_from(validity.not_after.timestamp()).unwrap_or(0),
            sha256: data_encoding::HEXLOWER.encode(digest.as_ref()),
            made,
        })
    }

    /// Whole days until it ends, rounded down; negative once it is over.
    pub fn days_left(&self, now_s: u64) -> i64 {
        let seconds = i64::try_from(self.not_after_s).unwrap_or(i64::MAX)
            - i64::try_from(now_s).unwrap_or(i64::MAX);
        seconds.div_euclid(86_400)
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(|ip| Ipv4Addr::from(ip).to_string());
            let v6 = || <[u8; 16]>::try_from(*bytes).map(|ip| Ipv6Addr::from(ip).to_string());
            v4.or_else(|_| v6()).ok()
        }
        _ => None,
    }
}

/// How a file was when it was read, to see whether it has been replaced or written since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileStamp {
    path: PathBuf,
    seen: Option<(SystemTime, u64, u64)>,
}

impl FileStamp {
    /// Of the file as it is now; taken before it is read, so that a change in between is seen.
    pub(super) fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let about = std::fs::metadata(path).ok();
        let seen = about.and_then(|about| Some((about.modified().ok()?, about.len(), about.ino())));
        Self { path: path.to_owned(), seen }
    }

    /// The file, where it has changed. One that is gone has not: there is nothing to take up.
    pub(super) fn changed(&self) -> Option<&Path> {
        let now = Self::of(&self.path);
        (now.seen.is_some() && now != *self).then_some(&*self.path)
    }
}
