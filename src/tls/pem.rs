//! PEM as tools and people write it, and what a file holds that is no PEM of the wanted kind.

use std::borrow::Cow;
use std::path::Path;

use rustls::pki_types::pem::Error as PemError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::public_key::PublicKey;

use super::TlsError;

/// What a file is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PemContent {
    /// The certificate of the server and its chain.
    Chain,
    /// The private key of the server.
    Key,
    /// The authorities of client certificates.
    Authorities,
}

impl PemContent {
    fn error(self, path: &Path) -> TlsError {
        let path = path.to_owned();
        match self {
            Self::Chain => TlsError::NoCertificate { path },
            Self::Key => TlsError::NoKey { path },
            Self::Authorities => TlsError::NoClientAuthority { path },
        }
    }
}

/// The text as PEM has it: without byte order marks, in single bytes, and without blanks around its
/// lines, which an editor or a configuration in YAML may have added.
pub(super) fn plain(bytes: &[u8]) -> Vec<u8> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => Cow::Borrowed(bytes),
    };
    let mut out = Vec::with_capacity(text.len());
    for line in text.split(|byte| matches!(byte, b'\n' | b'\r')) {
        let mut line = line.trim_ascii();
        while let Some(rest) = line.strip_prefix("\u{feff}".as_bytes()) {
            line = rest.trim_ascii_start();
        }
        if !line.is_empty() {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    out
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'_, [u8]> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect();
    Cow::Owned(text.into_bytes())
}

/// Why nothing of the wanted kind is in this file. `text` is its [`plain`] text.
pub(super) fn nothing(bytes: &[u8], text: &[u8], wanted: PemContent, path: &Path) -> TlsError {
    let other = |holds: &'static str, advice: String| TlsError::Other {
        path: path.to_owned(),
        holds,
        advice,
    };
    let file = path.display();
    let openssl = |words: &str| format!("`openssl {words} -in {file} -out NEW-FILE` writes PEM");
    if text.is_empty() {
        return TlsError::Empty { path: path.to_owned() };
    }
    let text = String::from_utf8_lossy(text);
    let mixed_up = || "are tls.cert and tls.key mixed up?".to_owned();
    let label = text.lines().filter_map(|line| {
        line.strip_prefix("-----BEGIN ")?.split("-----").next().filter(|label| !label.is_empty())
    });
    let labels: Vec<&str> = label.collect();
    for label in &labels {
        return match (*label, wanted) {
            ("ENCRYPTED PRIVATE KEY", PemContent::Key) => {
                TlsError::Encrypted { path: path.to_owned() }
            }
            ("OPENSSH PRIVATE KEY", _) => other(
                "a key for SSH",
                "make a key and a certificate for TLS, or let tls.cert and tls.key be empty"
                    .to_owned(),
            ),
            ("CERTIFICATE", PemContent::Key) => {
                other("a certificate and no private key", mixed_up())
            }
            (label, PemContent::Chain) if label.ends_with("PRIVATE KEY") => {
                other("a private key and no certificate", mixed_up())
            }
            (label, PemContent::Authorities) if label.ends_with("PRIVATE KEY") => other(
                "a private key and no certificate",
                "name the certificates of the authorities".to_owned(),
            ),
            ("DSA PRIVATE KEY", PemContent::Key) => {
                TlsError::KeyKind { path: path.to_owned(), kind: "a DSA key".to_owned() }
            }
            ("PUBLIC KEY" | "RSA PUBLIC KEY", PemContent::Key) => {
                other("a public key", "name the private one".to_owned())
            }
            ("CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST", _) => other(
                "a request for a certificate",
                "name what the authority has given back for it".to_owned(),
            ),
            ("TRUSTED CERTIFICATE" | "X509 CERTIFICATE", _) => {
                other("a certificate of another form", openssl("x509"))
            }
            ("PKCS7", _) => other("a PKCS #7 bundle", openssl("pkcs7 -print_certs")),
            // Parameters of a key, which tell nothing of themselves.
            _ => continue,
        };
    }
    if !labels.is_empty() {
        return wanted.error(path);
    }
    if text.starts_with("PuTTY-User-Key-File") {
        let advice = "make a key and a certificate for TLS".to_owned();
        return other("a key for SSH (PuTTY)", advice);
    }
    match binary(bytes) {
        Some(Binary::Pkcs12) => other("a PKCS #12 store", openssl("pkcs12 -nodes")),
        Some(Binary::Java) => other(
            "a Java key store",
            "`keytool -importkeystore -deststoretype PKCS12` makes PKCS #12 of it, and `openssl \
             pkcs12 -nodes` makes PEM of that"
                .to_owned(),
        ),
        Some(Binary::Certificate) if wanted == PemContent::Key => {
            other("a certificate and no private key", mixed_up())
        }
        Some(Binary::Certificate) => {
            other("a certificate as DER, and PEM is read", openssl("x509 -inform der"))
        }
        Some(Binary::Key) if wanted == PemContent::Chain => {
            other("a private key and no certificate", mixed_up())
        }
        Some(Binary::Key) => {
            other("a private key as DER, and PEM is read", openssl("pkey -inform der"))
        }
        Some(Binary::Der) => other(
            "DER, and PEM is read",
            "`openssl x509`, `openssl pkey` or `openssl pkcs12` make PEM of it".to_owned(),
        ),
        None => wanted.error(path),
    }
}

/// Why PEM cannot be read; the text of the file, which may be a piece of a key, is not shown.
pub(super) fn malformed(text: &[u8], error: &PemError, path: &Path) -> TlsError {
    let path = path.to_owned();
    let has = |part: &[u8]| text.windows(part.len()).any(|window| window == part);
    if has(b"-----\\n") {
        let advice = "write real line ends in their place".to_owned();
        return TlsError::Other { path, holds: "line ends that are written as \\n", advice };
    }
    let fault = match error {
        PemError::MissingSectionEnd { .. } => "a section has no \"-----END\" line",
        PemError::IllegalSectionStart { .. } => "a \"-----BEGIN\" line is malformed",
        PemError::Base64Decode(_) => "a section is not base64",
        PemError::SectionTooLarge => "a section is too large",
        _ => "it cannot be read",
    };
    TlsError::Pem { path, fault }
}

/// Whether a key needs a passphrase: in PKCS #8, or by the header of older ones.
pub(super) fn is_encrypted(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
}

/// What binary data are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binary {
    Pkcs12,
    Java,
    Certificate,
    Key,
    Der,
}

fn binary(bytes: &[u8]) -> Option<Binary> {
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return Some(Binary::Java);
    }
    // A sequence with its length.
    let content = match bytes {
        [0x30, 0x82, _, _, content @ ..]
        | [0x30, 0x81, _, content @ ..]
        | [0x30, 0x80, content @ ..] => content,
        [0x30, _, content @ ..] if bytes.len() < 130 => content,
        _ => return None,
    };
    if content.starts_with(&[2, 1, 3]) {
        return Some(Binary::Pkcs12);
    }
    if x509_parser::parse_x509_certificate(bytes).is_ok() {
        return Some(Binary::Certificate);
    }
    let key = PrivateKeyDer::try_from(bytes).is_ok();
    Some(if key { Binary::Key } else { Binary::Der })
}

/// Kinds of keys that cannot be used, by what stands in them (the identifier of the curve or of the
/// algorithm, as DER).
const KINDS: [(&[u8], &str); 9] = [
    (&[6, 5, 0x2b, 0x81, 4, 0, 0x23], "ECDSA P-521 (secp521r1)"),
    (&[6, 5, 0x2b, 0x81, 4, 0, 0x0a], "of the curve secp256k1"),
    (&[6, 5, 0x2b, 0x81, 4, 0, 0x21], "of the curve P-224 (secp224r1)"),
    (&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1], "of the curve P-192 (prime192v1)"),
    (&[6, 9, 0x2b, 0x24, 3, 3, 2, 8, 1, 1], "of a Brainpool curve"),
    (&[6, 3, 0x2b, 0x65, 0x71], "an Ed448 key"),
    (&[6, 3, 0x2b, 0x65, 0x6e], "an X25519 key, which signs nothing"),
    (&[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1], "a DSA key"),
    (&[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a], "an RSA-PSS key"),
];

/// The version of a certificate, as people count it; none where it cannot be read.
pub(super) fn version(certificate: &CertificateDer<'_>) -> Option<u32> {
    let parsed = x509_parser::parse_x509_certificate(certificate).ok();
    parsed.map(|(_, parsed)| parsed.version().0 + 1)
}

/// What this key is, which the TLS library does not take; the certificate tells its size.
pub(super) fn kind(key: &PrivateKeyDer<'_>, certificate: Option<&CertificateDer<'_>>) -> String {
    let der = key.secret_der();
    let stands = |id: &[u8]| der.windows(id.len()).any(|window| window == id);
    if let Some((_, kind)) = KINDS.iter().find(|(id, _)| stands(id)) {
        return (*kind).to_owned();
    }
    if matches!(key, PrivateKeyDer::Sec1(_)) {
        // A curve that is not named: the length of the secret tells it.
        return match der {
            [0x30, 0x81, _, 2, 1, 1, 4, 66, ..] => "ECDSA P-521 (secp521r1)".to_owned(),
            _ => "of an unknown curve".to_owned(),
        };
    }
    let parsed = certificate.and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    let public = parsed.as_ref().and_then(|(_, parsed)| parsed.public_key().parsed().ok());
    match public {
        Some(PublicKey::RSA(rsa)) => format!("RSA of {} bits", rsa.key_size()),
        _ => "of an unknown kind".to_owned(),
    }
}
