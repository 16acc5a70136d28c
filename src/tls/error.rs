//! Why a certificate could not be loaded or made.

use std::path::PathBuf;

/// A failure to load or make what TLS needs.
///
/// Every variant names the file it is about and none holds key material, so
/// that both `Display` and `Debug` may be logged.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read.
    #[error("cannot read \"{}\"", path.display())]
    Read {
        /// The file that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file or directory could not be made, synced or renamed.
    #[error("cannot write \"{}\"", path.display())]
    Write {
        /// The file or directory that was to be written.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The PEM armour of a file is damaged.
    #[error("\"{}\" is not well-formed PEM: {fault}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The kind of damage; never the text of the file.
        fault: &'static str,
    },
    /// The file meant to hold the certificate chain holds no certificate.
    #[error(
        "no certificate in \"{}\": it must hold PEM sections \"CERTIFICATE\", the server's own first",
        path.display()
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The file meant to hold the private key holds none that can be read.
    #[error(
        "no private key in \"{}\": it must hold one unencrypted PEM section \"PRIVATE KEY\", \
         \"EC PRIVATE KEY\" or \"RSA PRIVATE KEY\"",
        path.display()
    )]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A file has nothing in it.
    #[error("\"{}\" is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file holds something else than it is to hold.
    #[error("\"{}\" holds {holds}: {advice}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        holds: &'static str,
        /// What to do.
        advice: String,
    },
    /// The private key needs a passphrase.
    #[error(
        "the private key in \"{path}\" is encrypted, and its passphrase is not asked for: \
         `openssl pkey -in {path} -out NEW-FILE` writes it without one",
        path = path.display()
    )]
    Encrypted {
        /// The file that holds the key.
        path: PathBuf,
    },
    /// The private key is of a kind that the TLS library cannot use.
    #[error(
        "the private key in \"{}\" is {kind}, which cannot be used: make one of ECDSA P-256 or \
         P-384, RSA of 2048 to 4096 bits, or Ed25519, and a certificate for it",
        path.display()
    )]
    KeyKind {
        /// The file that holds the key.
        path: PathBuf,
        /// What it is.
        kind: String,
    },
    /// The key belongs to a certificate that is not the first one.
    #[error(
        "the key in \"{}\" belongs to certificate {place} of \"{}\": put that one first, and then \
         its chain",
        key.display(),
        certificate.display()
    )]
    Order {
        /// The file that holds the chain.
        certificate: PathBuf,
        /// The file that holds the key.
        key: PathBuf,
        /// Which one it is; the first is 1.
        place: usize,
    },
    /// The key does not belong to the certificate.
    #[error(
        "the key in \"{}\" does not belong to the first certificate in \"{}\"",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The file that holds the chain.
        certificate: PathBuf,
        /// The file that holds the key.
        key: PathBuf,
    },
    /// The certificate is of a form that no client takes any more.
    #[error(
        "the first certificate in \"{}\" is of X.509 version {version}: make one of version 3, with \
         the names of the server in subjectAltName",
        path.display()
    )]
    Version {
        /// The file that holds the chain.
        path: PathBuf,
        /// The version, as people count it.
        version: u32,
    },
    /// The TLS library refuses the pair for another reason.
    #[error(
        "the certificate in \"{}\" cannot be used with the key in \"{}\"",
        certificate.display(),
        key.display()
    )]
    Refused {
        /// The file that holds the chain.
        certificate: PathBuf,
        /// The file that holds the key.
        key: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// A path is `credential:NAME`, and nothing was handed over.
    #[error(
        "\"{}\" is not there: CREDENTIALS_DIRECTORY is not set; systemd sets it for a unit with \
         LoadCredential={name}:PATH",
        path.display()
    )]
    NoCredentials {
        /// The path as it was given.
        path: PathBuf,
        /// The name of the credential.
        name: String,
    },
    /// What stands behind `credential:` is no file name.
    #[error("\"{}\" names no credential: write credential:NAME, without a slash", path.display())]
    CredentialName {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The file meant to hold the authorities of clients holds none.
    #[error(
        "no certificate in \"{}\": it must hold the authorities of client certificates, as PEM \
         sections \"CERTIFICATE\"",
        path.display()
    )]
    NoClientAuthority {
        /// The file.
        path: PathBuf,
    },
    /// An authority of clients is none.
    #[error("a certificate in \"{}\" is no authority for client certificates", path.display())]
    ClientAuthority {
        /// The file.
        path: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// A certificate that is configured was to be renewed by rollcall.
    #[error(
        "the certificate in \"{}\" is configured, and not rollcall's to renew: replace it and its \
         key where they come from, and send the server SIGHUP",
        path.display()
    )]
    NotOurs {
        /// The file that holds the chain.
        path: PathBuf,
    },
    /// A wanted name is neither a DNS name nor an IP address.
    #[error("\"{name}\" is not a name for a certificate: it must be a DNS name or an IP address")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// The private authority's own file is damaged. It is not replaced by
    /// itself, for every client that trusts it would need the new one.
    #[error(
        "\"{}\" is damaged: restore it from a backup, or remove it and \"ca.pem\" \
         for a new authority that every client must be given anew",
        path.display()
    )]
    AuthorityDamaged {
        /// The file that should hold the authority's key and certificate.
        path: PathBuf,
    },
    /// Clients were given an authority whose key is gone.
    #[error(
        "\"{}\" is missing beside \"{}\": restore it from a backup, or remove \"{}\" too \
         for a new authority that every client must be given anew",
        key.display(),
        certificate.display(),
        certificate.display()
    )]
    AuthorityKeyMissing {
        /// The file that is missing.
        key: PathBuf,
        /// The certificate that is there.
        certificate: PathBuf,
    },
    /// The clock shows a time for which no certificate can be made.
    #[error("the clock is set before 1970 or after 9000: set it before certificates are made")]
    Clock,
    /// A certificate could not be made.
    #[error("cannot make a certificate for \"{}\"", path.display())]
    Make {
        /// The file that was to hold it.
        path: PathBuf,
        /// What the certificate library said.
        source: rcgen::Error,
    },
}
