//! Who may write CDRs.

use std::fmt;
use std::str::FromStr;

const USER_BYTES_MAX: usize = 128;

/// A user of the listener for CDRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CdrUser(String);

/// Why a text is no such user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the name of a user: 1 to {USER_BYTES_MAX} characters of ASCII, none of /?#@:%\"'"
)]
pub struct CdrUserError(String);

impl CdrUser {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CdrUser {
    type Err = CdrUserError;

    fn from_str(text: &str) -> Result<Self, CdrUserError> {
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#@:%\"'".contains(&byte);
        if (1..=USER_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(CdrUserError(text.to_owned()))
        }
    }
}

impl fmt::Display for CdrUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
