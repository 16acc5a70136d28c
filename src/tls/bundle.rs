//! The file rollcall keeps a made key in: what it was made for, the key, and
//! its certificate chain, all in one.
//!
//! One file because two cannot be renamed at once: a kill between them would
//! leave a key beside a certificate that it does not fit. What the certificate
//! was made for stands above it as text, so that no X.509 parser is needed to
//! see whether it still serves; PEM readers skip such lines (RFC 7468, 2).

use std::collections::BTreeSet;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::TlsError;
use super::pair::Pair;

const INTRODUCTION: &str = "\
Made by rollcall, and made anew by it when needed. Do not edit.
It holds a private key: keep it secret.
";

/// What a certificate was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// The subject's common name.
    pub(super) common_name: String,
    /// First second of validity, Unix time.
    pub(super) not_before_s: u64,
    /// Last second of validity, Unix time.
    pub(super) not_after_s: u64,
    /// DNS names and IP addresses; none for an authority.
    pub(super) names: BTreeSet<String>,
}

/// A made key with its certificate chain and what they were made for.
pub(super) struct Bundle {
    pub(super) facts: Facts,
    pub(super) pair: Pair,
}

impl Bundle {
    /// Reads the content of the file at `path`; an error when anything is
    /// missing from it or does not belong together.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, TlsError> {
        let pair = Pair::from_pem(bytes, path, bytes, path)?;
        let facts = Facts::parse(bytes)
            .ok_or(TlsError::Pem { path: path.to_owned(), fault: "its first lines are damaged" })?;
        Ok(Self { facts, pair })
    }

    /// The authority at the end of the chain, or the only certificate.
    pub(super) fn last_certificate(&self) -> Option<&CertificateDer<'static>> {
        self.pair.chain.last()
    }
}

impl Facts {
    /// Writes the content of a file that holds `key_pem` and `chain_pem`.
    pub(super) fn above(&self, key_pem: &str, chain_pem: &str) -> String {
        let names: String =
            self.names.iter().flat_map(|name| ["name: ", name.as_str(), "\n"]).collect();
        format!(
            "{INTRODUCTION}common-name: {}\nnot-before: {}\nnot-after: {}\n{names}{key_pem}{chain_pem}",
            self.common_name, self.not_before_s, self.not_after_s
        )
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut common_name, mut not_before_s, mut not_after_s) = (None, None, None);
        let mut names = BTreeSet::new();
        let text = std::str::from_utf8(bytes).ok()?;
        for line in text.lines().take_while(|line| !line.starts_with("-----BEGIN")) {
            match line.split_once(": ") {
                Some(("common-name", value)) => common_name = Some(value.to_owned()),
                Some(("not-before", value)) => not_before_s = Some(value.parse().ok()?),
                Some(("not-after", value)) => not_after_s = Some(value.parse().ok()?),
                Some(("name", value)) => {
                    names.insert(value.to_owned());
                }
                // A later version may say more.
                _ => {}
            }
        }
        Some(Self {
            common_name: common_name?,
            not_before_s: not_before_s?,
            not_after_s: not_after_s?,
            names,
        })
    }
}
