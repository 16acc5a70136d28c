//! Tokens: what an API key may see and do.

use std::{fmt, io};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq as _;

use crate::domain::{AccountSid, ServiceProviderSid, Timestamp};

/// Whose calls a token reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenScope {
    /// Every account.
    Admin,
    /// The accounts of one service provider.
    ServiceProvider(ServiceProviderSid),
    Account(AccountSid),
}

impl fmt::Display for TokenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::ServiceProvider(sid) => write!(f, "service provider {sid}"),
            Self::Account(sid) => write!(f, "account {sid}"),
        }
    }
}

/// What a token may do within its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything that the API offers; events only where the scope is admin.
    Full,
    /// Lists, single calls and counts.
    Read,
    /// The same without the middle digits of telephone numbers, and without a search by parts of them.
    #[serde(rename = "read-masked")]
    ReadMasked,
    /// Status events, and nothing else.
    Ingest,
    /// Lists, and nothing else.
    Export,
    /// Scrapes of the figures, and nothing else.
    Metrics,
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Read, Self::ReadMasked, Self::Ingest, Self::Export, Self::Metrics];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Read => "read",
            Self::ReadMasked => "read-masked",
            Self::Ingest => "ingest",
            Self::Export => "export",
            Self::Metrics => "metrics",
        }
    }
}

/// The SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of this token.
    pub fn of(value: &str) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, value.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }

    /// Whether the two are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// Its first 8 bytes in hexadecimal digits: enough to tell tokens apart, and nothing to find one by.
    pub fn beginning(&self) -> String {
        HEXLOWER.encode(self.0.get(..8).unwrap_or_default())
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

impl Serialize for TokenHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        let hash = bytes.try_into().map_err(|_| serde::de::Error::custom("not a SHA-256"))?;
        Ok(Self(hash))
    }
}

/// An API key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Token {
    /// A short name for lists and for revoking; it tells nothing of the value.
    pub id: String,
    /// What a person calls it.
    pub name: Option<String>,
    /// Whose calls.
    pub scope: TokenScope,
    /// What it may do.
    pub role: Role,
    /// Of the value.
    pub hash: TokenHash,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// Milliseconds since 1970; none for one that does not expire.
    pub expires_at: Option<u64>,
}

impl Token {
    /// Its time is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now.millis())
    }
}

/// A new random token: `rc_` and 256 bits.
pub fn new_token_value() -> io::Result<String> {
    let mut random = [0; 32];
    crate::random::fill(&mut random)?;
    Ok(format!("rc_{}", data_encoding::BASE64URL_NOPAD.encode(&random)))
}
