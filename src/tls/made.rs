//! The private authority and the server certificate that rollcall makes for
//! itself where none is configured.
//!
//! | file | content | rights |
//! |---|---|---|
//! | `ca.key` | the authority: facts, key, certificate | 0600 |
//! | `ca.pem` | its certificate alone, for clients to trust | 0644 |
//! | `server.pem` | the server: facts, key, certificate, authority | 0600 |
//!
//! `ca.key` is written first and is the truth: `ca.pem` is a copy that every
//! load puts right, and a `server.pem` that ends in another authority is made
//! anew. So a kill between any two steps is healed by the next load.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, DnsName};

use super::bundle::{Bundle, Facts};
use super::clients::Verifier;
use super::look::{CertificateRole, InUse};
use super::{Renew, TlsError, files};

const DAY_S: u64 = 24 * 60 * 60;
const AUTHORITY_DAYS: u64 = 3653;
/// Some clients refuse a server certificate that is valid for longer than
/// 398 days.
const SERVER_DAYS: u64 = 397;
/// With less than this left, a certificate is made anew.
const RENEW_DAYS: u64 = 30;
/// Certificates begin this long ago, for clients whose clocks are behind.
const BACKDATE_S: u64 = 60 * 60;
/// 1 January 9000: X.509 ends with the year 9999.
const CLOCK_MAX_S: u64 = 221_845_392_000;
/// Every certificate covers these besides the configured names.
const OWN_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// What [`load_or_make`] found or made.
pub(super) struct MadeCertificate {
    pub(super) config: Arc<ServerConfig>,
    pub(super) authority_pem: PathBuf,
    pub(super) not_after: SystemTime,
    pub(super) is_new: bool,
    pub(super) certificates: Vec<InUse>,
}

/// The file that holds the server's key and chain.
pub(super) fn server_file(directory: &Path) -> PathBuf {
    directory.join("server.pem")
}

/// What a pair that was made has in its chain: the server's own certificate, and the authority, which is
/// named by the file that clients are given.
pub(super) fn in_use(chain: &[CertificateDer<'_>], file: &Path) -> Vec<InUse> {
    let parts = [CertificateRole::Server, CertificateRole::Authority];
    let parts = chain.iter().zip(parts);
    let authority = file.with_file_name("ca.pem");
    let place = |part| if part == CertificateRole::Authority { authority.as_path() } else { file };
    parts.filter_map(|(der, part)| InUse::of(der, part, place(part), true)).collect()
}

/// Loads the server certificate in `directory`, after making what is missing,
/// about to expire, made for other names, or to be made anew by `renew`.
pub(super) fn load_or_make(
    directory: &Path,
    names: &[String],
    clients: Option<&Verifier>,
    renew: Renew,
    now: SystemTime,
) -> Result<MadeCertificate, TlsError> {
    let wanted = wanted_names(names)?;
    let now_s = unix_seconds(now)?;
    files::private_directory(directory)?;
    let authority = Authority::load_or_make(directory, renew, now_s)?;
    authority.publish()?;
    let path = server_file(directory);
    let usable = match renew {
        Renew::IfDue => usable_server(&path, &authority, &wanted, now_s)?,
        Renew::Server | Renew::Authority => None,
    };
    let (bundle, is_new) = match usable {
        Some(bundle) => (bundle, false),
        None => (authority.make_server(&path, wanted, now_s)?, true),
    };
    Ok(MadeCertificate {
        not_after: UNIX_EPOCH + Duration::from_secs(bundle.facts.not_after_s),
        certificates: in_use(&bundle.pair.chain, &path),
        config: bundle.pair.server_config(&path, &path, clients)?,
        authority_pem: authority.published,
        is_new,
    })
}

/// Whether [`load_or_make`] could, as far as that can be said without writing.
pub(super) fn check(directory: &Path, names: &[String], now: SystemTime) -> Result<(), TlsError> {
    wanted_names(names)?;
    unix_seconds(now)?;
    Authority::find(directory).map(|_| ())
}

/// The bundle at `path` when it serves as it is. A damaged one is as good as
/// none, for nothing is lost with it.
fn usable_server(
    path: &Path,
    authority: &Authority,
    wanted: &BTreeSet<String>,
    now_s: u64,
) -> Result<Option<Bundle>, TlsError> {
    let Some(bytes) = files::read_if_there(path)? else { return Ok(None) };
    let checked = Bundle::parse(&bytes, path).and_then(|bundle| {
        Bundle::parse(&bytes, path)?.pair.server_config(path, path, None)?;
        Ok(bundle)
    });
    let bundle = match checked {
        Ok(bundle) => bundle,
        Err(error) => {
            tracing::warn!(%error, "the server certificate is damaged and is made anew");
            return Ok(None);
        }
    };
    let facts = &bundle.facts;
    let reason = if bundle.last_certificate() != Some(&authority.certificate) {
        "it is not of this authority"
    } else if !wanted.is_subset(&facts.names) {
        "it does not cover the configured names"
    } else if facts.not_after_s < now_s + RENEW_DAYS * DAY_S {
        "it is about to expire"
    } else if facts.not_before_s > now_s {
        "it is not valid yet"
    } else {
        return Ok(Some(bundle));
    };
    tracing::info!(reason, "the server certificate is made anew");
    Ok(None)
}

/// The authority that signs server certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    not_after_s: u64,
    published: PathBuf,
}

impl Authority {
    fn load_or_make(directory: &Path, renew: Renew, now_s: u64) -> Result<Self, TlsError> {
        let found = if renew == Renew::Authority { None } else { Self::find(directory)? };
        let (path, published) = (directory.join("ca.key"), directory.join("ca.pem"));
        let Some(authority) = found else { return Self::make(&path, published, now_s) };
        if authority.not_after_s < now_s + RENEW_DAYS * DAY_S {
            tracing::warn!(
                path = %published.display(),
                "the private authority is about to expire; clients must trust the new one"
            );
            return Self::make(&path, published, now_s);
        }
        Ok(authority)
    }

    /// The one that is there. Its certificate alone is an error: clients trust it, and its key is lost.
    fn find(directory: &Path) -> Result<Option<Self>, TlsError> {
        let (path, published) = (directory.join("ca.key"), directory.join("ca.pem"));
        match files::read_if_there(&path)? {
            Some(bytes) => Self::load(&bytes, &path, published).map(Some),
            None if files::read_if_there(&published)?.is_some() => {
                Err(TlsError::AuthorityKeyMissing { key: path, certificate: published })
            }
            None => Ok(None),
        }
    }

    fn load(bytes: &[u8], path: &Path, published: PathBuf) -> Result<Self, TlsError> {
        let damaged = || TlsError::AuthorityDamaged { path: path.to_owned() };
        let bundle = Bundle::parse(bytes, path).map_err(|_| damaged())?;
        let key = KeyPair::try_from(&bundle.pair.key).map_err(|_| damaged())?;
        let certificate = bundle.last_certificate().cloned().ok_or_else(damaged)?;
        let certificate_pem = first_certificate_text(bytes).ok_or_else(damaged)?;
        // Only for its check that the key belongs to the certificate.
        bundle.pair.server_config(path, path, None).map_err(|_| damaged())?;
        Ok(Self {
            issuer: Issuer::new(authority_params(&bundle.facts), key),
            certificate,
            certificate_pem,
            not_after_s: bundle.facts.not_after_s,
            published,
        })
    }

    fn make(path: &Path, published: PathBuf, now_s: u64) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Make { path: path.to_owned(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut facts = Facts {
            common_name: String::new(),
            not_before_s: now_s.saturating_sub(BACKDATE_S),
            not_after_s: now_s + AUTHORITY_DAYS * DAY_S,
            names: BTreeSet::new(),
        };
        // Two authorities of one name confuse clients that trust both.
        let key_id = authority_params(&facts).key_identifier(&key);
        let mark = data_encoding::HEXLOWER.encode(key_id.get(..4).unwrap_or(&key_id));
        facts.common_name = format!("rollcall private authority {mark}");
        let certificate = authority_params(&facts).self_signed(&key).map_err(failed)?;
        let text = facts.above(&key.serialize_pem(), &certificate.pem());
        files::replace(path, text.as_bytes(), 0o600)?;
        tracing::info!(path = %published.display(), "made a private authority");
        Self::load(text.as_bytes(), path, published)
    }

    /// Makes `ca.pem` say which authority is in use.
    fn publish(&self) -> Result<(), TlsError> {
        let there = files::read_if_there(&self.published)?;
        if there.as_deref() == Some(self.certificate_pem.as_bytes()) {
            return Ok(());
        }
        files::replace(&self.published, self.certificate_pem.as_bytes(), 0o644)
    }

    fn make_server(
        &self,
        path: &Path,
        names: BTreeSet<String>,
        now_s: u64,
    ) -> Result<Bundle, TlsError> {
        let failed = |source| TlsError::Make { path: path.to_owned(), source };
        let not_before_s = now_s.saturating_sub(BACKDATE_S);
        let facts = Facts {
            common_name: "rollcall".to_owned(),
            not_before_s,
            not_after_s: (not_before_s + SERVER_DAYS * DAY_S).min(self.not_after_s),
            names,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = server_params(&facts)
            .and_then(|params| params.signed_by(&key, &self.issuer))
            .map_err(failed)?;
        let chain_pem = format!("{}{}", certificate.pem(), self.certificate_pem);
        let text = facts.above(&key.serialize_pem(), &chain_pem);
        files::replace(path, text.as_bytes(), 0o600)?;
        Bundle::parse(text.as_bytes(), path)
    }
}

fn authority_params(facts: &Facts) -> CertificateParams {
    let mut params = CertificateParams::default();
    set_subject_and_validity(&mut params, facts);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(facts: &Facts) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(facts.names.iter().cloned().collect::<Vec<String>>())?;
    set_subject_and_validity(&mut params, facts);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn set_subject_and_validity(params: &mut CertificateParams, facts: &Facts) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(facts.not_before_s);
    params.not_after = epoch + Duration::from_secs(facts.not_after_s);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, facts.common_name.as_str());
}

/// The first certificate of a PEM text, armour included.
fn first_certificate_text(bytes: &[u8]) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, from_begin) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = from_begin.split_once(END)?;
    Some(format!("-----BEGIN CERTIFICATE-----{body}{END}\n"))
}

/// The given names and rollcall's own, each in its one spelling.
fn wanted_names(names: &[String]) -> Result<BTreeSet<String>, TlsError> {
    let own = OWN_NAMES.iter().map(|name| (*name).to_owned());
    names.iter().map(|name| one_spelling(name)).chain(own.map(Ok)).collect()
}

fn one_spelling(name: &str) -> Result<String, TlsError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    let lower = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    match DnsName::try_from(lower.strip_prefix("*.").unwrap_or(&lower)) {
        Ok(_) => Ok(lower),
        Err(_) => Err(TlsError::Name { name: name.to_owned() }),
    }
}

fn unix_seconds(now: SystemTime) -> Result<u64, TlsError> {
    match now.duration_since(UNIX_EPOCH) {
        Ok(since) if since.as_secs() < CLOCK_MAX_S => Ok(since.as_secs()),
        _ => Err(TlsError::Clock),
    }
}
