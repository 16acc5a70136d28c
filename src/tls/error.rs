//! Why a certificate could not be loaded or made.

use std::path::PathBuf;

/// A failure to load or make what TLS needs.
///
/// Every variant names the file it is about and none holds key material, so
/// that both `Display` and `Debug` may be logged.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read \"{}\"", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write \"{}\"", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("\"{}\" is not well-formed PEM: {fault}", path.display())]
    Pem {
        path: PathBuf,
        /// The kind of damage; never the text of the file.
        fault: &'static str,
    },
    #[error(
        "no certificate in \"{}\": it must hold PEM sections \"CERTIFICATE\", the server's own first",
        path.display()
    )]
    NoCertificate { path: PathBuf },
    #[error(
        "no private key in \"{}\": it must hold one unencrypted PEM section \"PRIVATE KEY\", \
         \"EC PRIVATE KEY\" or \"RSA PRIVATE KEY\"",
        path.display()
    )]
    NoKey { path: PathBuf },
    #[error("\"{}\" is empty", path.display())]
    Empty { path: PathBuf },
    #[error("\"{}\" holds {holds}: {advice}", path.display())]
    Other { path: PathBuf, holds: &'static str, advice: String },
    #[error(
        "the private key in \"{path}\" is encrypted, and its passphrase is not asked for: \
         `openssl pkey -in {path} -out NEW-FILE` writes it without one",
        path = path.display()
    )]
    Encrypted { path: PathBuf },
    #[error(
        "the private key in \"{}\" is {kind}, which cannot be used: make one of ECDSA P-256 or \
         P-384, RSA of 2048 to 4096 bits, or Ed25519, and a certificate for it",
        path.display()
    )]
    KeyKind { path: PathBuf, kind: String },
    #[error(
        "the key in \"{}\" belongs to certificate {place} of \"{}\": put that one first, and then \
         its chain",
        key.display(),
        certificate.display()
    )]
    Order {
        certificate: PathBuf,
        key: PathBuf,
        /// Which one it is; the first is 1.
        place: usize,
    },
    #[error(
        "the key in \"{}\" does not belong to the first certificate in \"{}\"",
        key.display(),
        certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error(
        "the first certificate in \"{}\" is of X.509 version {version}: make one of version 3, with \
         the names of the server in subjectAltName",
        path.display()
    )]
    Version { path: PathBuf, version: u32 },
    #[error(
        "the certificate in \"{}\" cannot be used with the key in \"{}\"",
        certificate.display(),
        key.display()
    )]
    Refused { certificate: PathBuf, key: PathBuf, source: rustls::Error },
    #[error(
        "\"{}\" is not there: CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with \
         LoadCredential={name}:PATH",
        path.display()
    )]
    NoCredentials { path: PathBuf, name: String },
    #[error("\"{}\" names no credential: write credential:NAME, without a slash", path.display())]
    CredentialName { path: PathBuf },
    #[error(
        "no certificate in \"{}\": it must hold the authorities of client certificates, as PEM \
         sections \"CERTIFICATE\"",
        path.display()
    )]
    NoClientAuthority { path: PathBuf },
    #[error("a certificate in \"{}\" is no authority for client certificates", path.display())]
    ClientAuthority { path: PathBuf, source: rustls::Error },
    #[error(
        "the certificate in \"{}\" is configured, and not rollcall's to renew: replace it and its \
         key where they come from, and send the server SIGHUP",
        path.display()
    )]
    NotOurs { path: PathBuf },
    #[error("\"{name}\" is not a name for a certificate: it must be a DNS name or an IP address")]
    Name { name: String },
    /// The private authority's own file is damaged. It is not replaced by
    /// itself, for every client that trusts it would need the new one.
    #[error(
        "\"{}\" is damaged: restore it from a backup, or remove it and \"ca.pem\" \
         for a new authority that every client must be given anew",
        path.display()
    )]
    AuthorityDamaged { path: PathBuf },
    #[error(
        "\"{}\" is missing beside \"{}\": restore it from a backup, or remove \"{}\" too \
         for a new authority that every client must be given anew",
        key.display(),
        certificate.display(),
        certificate.display()
    )]
    AuthorityKeyMissing { key: PathBuf, certificate: PathBuf },
    #[error("the clock is set before 1970 or after 9000: set it before certificates are made")]
    Clock,
    #[error("cannot make a certificate for \"{}\"", path.display())]
    Make { path: PathBuf, source: rcgen::Error },
}
