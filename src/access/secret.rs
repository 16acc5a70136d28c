//! Texts that are not to be seen.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

/// A secret: its `Debug` shows a mask, and it is compared in constant time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, to make a signature with or to show once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether the text is this one. Takes the same time for every text of the same length; a
    /// digest is compared, so that not even the length shows.
    pub fn matches(&self, text: &str) -> bool {
        let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        digest(&self.0).as_ref().ct_eq(digest(text).as_ref()).into()
    }

    /// The HMAC-SHA256 of these parts, one after the other, under this secret: 32 bytes.
    pub fn sign(&self, parts: &[&[u8]]) -> impl AsRef<[u8]> + use<> {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.0.as_bytes());
        let mut context = ring::hmac::Context::with_key(&key);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    /// Whether one of the digests is the HMAC-SHA256 of these parts, one after the other, under this
    /// secret. The parts are not copied.
    pub fn signs(&self, parts: &[&[u8]], digests: &[Vec<u8>]) -> bool {
        let right = self.sign(parts);
        digests.iter().any(|digest| right.as_ref().ct_eq(digest).into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}
