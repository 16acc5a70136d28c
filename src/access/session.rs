//! Sessions of the console.
//!
//! A session is a row here and a cookie in a browser. The cookie has the token itself, sealed with a key that
//! only the store has, so that each request is judged by the token as it stands now. The row says that the
//! session has not been signed out: without it the cookie is worth nothing.

use std::fmt;
use std::io;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Secret, TokenScope};
use crate::domain::Timestamp;

/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of a session's id.
const ID_BYTES: usize = 16;
/// Bytes of the time at which a session was last seen.
const SEEN_BYTES: usize = 8;
/// Characters of a cookie: a browser keeps no more than 4096 of one with its name.
const COOKIE_CHARS_MAX: usize = 4000;
/// Bytes of a token that a cookie has room for.
pub const SESSION_TOKEN_BYTES_MAX: usize = 2900;
/// What is sealed, so that nothing else that the key may seal is taken for it.
const PURPOSE: &[u8] = b"rollcall console session 1";

/// A session that was begun and not signed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Of the token that it stands for.
    pub token_id: String,
    /// What jambonz accepted the token for; none for a token of rollcall's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_jambonz: Option<TokenScope>,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// When it ends, whatever is done with it. Milliseconds since 1970.
    pub ends_at: u64,
}

impl Session {
    /// Its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at <= now.millis()
    }
}

/// A new random id of a session.
pub fn new_session_id() -> io::Result<String> {
    let mut id = [0; ID_BYTES];
    crate::random::fill(&mut id)?;
    Ok(HEXLOWER.encode(&id))
}

/// What a cookie says.
#[derive(Debug, Clone)]
pub struct SessionCookie {
    /// Of the session.
    pub id: String,
    /// When the cookie was made.
    pub seen: Timestamp,
    pub token: Secret,
}

/// Seals cookies.
#[derive(Clone)]
pub struct SessionKey {
    bytes: [u8; KEY_BYTES],
    key: LessSafeKey,
}

impl SessionKey {
    /// A new random key.
    pub fn new() -> io::Result<Self> {
        let mut bytes = [0; KEY_BYTES];
        crate::random::fill(&mut bytes)?;
        Self::of(bytes).ok_or_else(|| io::Error::other("the key of sessions cannot be made"))
    }

    fn of(bytes: [u8; KEY_BYTES]) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?);
        Some(Self { bytes, key })
    }

    /// The cookie's value: a random nonce and what is sealed with it, in the letters of base64url. None where
    /// it would be too long for a browser, or the id is none.
    pub fn seal(&self, cookie: &SessionCookie) -> io::Result<Option<String>> {
        let token = cookie.token.reveal().as_bytes();
        let Ok(id) = HEXLOWER.decode(cookie.id.as_bytes()) else { return Ok(None) };
        if id.len() != ID_BYTES || token.is_empty() || token.len() > SESSION_TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let mut nonce = [0; NONCE_LEN];
        crate::random::fill(&mut nonce)?;
        let mut content = [&id, cookie.seen.millis().to_be_bytes().as_slice(), token].concat();
        let sealed = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(sealed, Aad::from(PURPOSE), &mut content)
            .map_err(|_| io::Error::other("a session cannot be sealed"))?;
        Ok(Some(BASE64URL_NOPAD.encode(&[nonce.as_slice(), &content].concat())))
    }

    /// What a cookie's value says; none where this key did not seal it.
    pub fn open(&self, value: &str) -> Option<SessionCookie> {
        if value.len() > COOKIE_CHARS_MAX {
            return None;
        }
        let mut bytes = BASE64URL_NOPAD.decode(value.as_bytes()).ok()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let content = self.key.open_in_place(nonce, Aad::from(PURPOSE), sealed).ok()?;
        let (id, rest) = content.split_at_checked(ID_BYTES)?;
        let (seen, token) = rest.split_at_checked(SEEN_BYTES)?;
        Some(SessionCookie {
            id: HEXLOWER.encode(id),
            seen: Timestamp::from_millis(u64::from_be_bytes(seen.try_into().ok()?))?,
            token: Secret::new(std::str::from_utf8(token).ok()?),
        })
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(***)")
    }
}

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(&self.bytes))
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Secret::deserialize(from)?;
        let bytes = HEXLOWER.decode(text.reveal().as_bytes()).ok();
        let key = bytes.and_then(|bytes| Self::of(bytes.try_into().ok()?));
        key.ok_or_else(|| serde::de::Error::custom("not a key of 256 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(token: &str) -> SessionCookie {
        let id = new_session_id().unwrap();
        let seen = Timestamp::from_millis(1_800_000_000_000).unwrap();
        SessionCookie { id, seen, token: Secret::new(token) }
    }

    #[test]
    fn a_cookie_says_what_was_sealed_and_nothing_else_opens() {
        let key = SessionKey::new().unwrap();
        let cookie = cookie("rc_one");
        let value = key.seal(&cookie).unwrap().unwrap();
        assert!(!value.contains("rc_one"));
        let opened = key.open(&value).unwrap();
        assert_eq!((&opened.id, opened.seen), (&cookie.id, cookie.seen));
        assert_eq!(opened.token.reveal(), "rc_one");
        assert_ne!(key.seal(&cookie).unwrap().unwrap(), value, "a nonce is used once");
        assert!(SessionKey::new().unwrap().open(&value).is_none(), "another key");
        for at in 0..value.len() {
            let mut bent = value.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            // The last letter has bits that stand for nothing, and are refused, too.
            assert!(key.open(std::str::from_utf8(&bent).unwrap()).is_none(), "{at}");
        }
        for junk in ["", "A", "AAAA", &"A".repeat(5000), "é"] {
            assert!(key.open(junk).is_none(), "{junk}");
        }
    }

    #[test]
    fn a_token_that_a_browser_would_not_keep_is_not_sealed() {
        let key = SessionKey::new().unwrap();
        let longest = key.seal(&cookie(&"x".repeat(SESSION_TOKEN_BYTES_MAX))).unwrap().unwrap();
        assert!(longest.len() <= COOKIE_CHARS_MAX);
        assert!(key.open(&longest).is_some());
        assert!(key.seal(&cookie(&"x".repeat(SESSION_TOKEN_BYTES_MAX + 1))).unwrap().is_none());
    }

    #[test]
    fn a_key_is_kept_as_it_is_and_not_shown() {
        let key = SessionKey::new().unwrap();
        let json = serde_json::to_string(&key).unwrap();
        let again: SessionKey = serde_json::from_str(&json).unwrap();
        let value = key.seal(&cookie("rc_one")).unwrap().unwrap();
        assert!(again.open(&value).is_some());
        assert_eq!(format!("{key:?}"), "SessionKey(***)");
        assert!(serde_json::from_str::<SessionKey>("\"00\"").is_err());
    }
}
