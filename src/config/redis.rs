//! Where jambonz's Redis is, and whose calls are taken from it.

use std::fmt;
use std::str::FromStr;

use crate::domain::AccountSid;
use crate::outbound::Endpoint;

/// The port of Redis.
const PORT: u16 = 6379;
/// The port of its sentinels.
const SENTINEL_PORT: u16 = 26379;
const USER_BYTES_MAX: usize = 128;
const DATABASES_MAX: u32 = 65_536;

/// Why a text is no such place or account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisUrlError {
    #[error(
        "`{0}` is not the URL of a Redis; write redis://HOST, or rediss://HOST for TLS, and if need be \
         a user, a port and a database, such as redis://rollcall@10.0.0.5:6379/0"
    )]
    Url(String),
    #[error(
        "there is a password in the URL, and the configuration is printed and logged; put it into a \
         file that only the server's user may read, and name that in mirror.redis.password_file"
    )]
    Password,
    #[error(
        "`{0}` is not the name of a user: 1 to {USER_BYTES_MAX} characters of ASCII, none of /?#%\"'"
    )]
    User(String),
    #[error("`{0}` is not the address of a sentinel; write HOST:PORT, such as 10.0.0.5:26379")]
    Sentinel(String),
    #[error(
        "`{0}` is neither * (all accounts) nor an account's sid, a UUID in its hyphenated form"
    )]
    Account(String),
}

/// `redis[s]://[user@]host[:port][/database]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUrl {
    tls: bool,
    user: Option<String>,
    /// As it was written: sentinels know a primary by a name in which the case counts.
    host: String,
    endpoint: Endpoint,
    database: u32,
}

impl RedisUrl {
    pub fn tls(&self) -> bool {
        self.tls
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What sentinels know the primary by.
    pub fn primary(&self) -> &str {
        &self.host
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub fn database(&self) -> u32 {
        self.database
    }

    fn parse(text: &str) -> Option<Result<Self, RedisUrlError>> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "redis" => false,
            "rediss" => true,
            _ => return None,
        };
        let (user, rest) = match rest.rsplit_once('@') {
            Some((credentials, _)) if credentials.contains(':') => {
                return Some(Err(RedisUrlError::Password));
            }
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if user.is_some_and(|user| !is_user(user)) {
            return None;
        }
        let (authority, database) = match rest.split_once('/') {
            Some((authority, "")) => (authority, 0),
            Some((authority, database)) => {
                let digits = database.bytes().all(|byte| byte.is_ascii_digit());
                let number = database.parse().ok().filter(|number| *number < DATABASES_MAX);
                (authority, number.filter(|_| digits)?)
            }
            None => (rest, 0),
        };
        let endpoint = Endpoint::parse(authority, PORT)?;
        let end = if authority.ends_with(']') { None } else { authority.rsplit_once(':') };
        let host = end.map_or(authority, |(host, _)| host).to_owned();
        Some(Ok(Self { tls, user: user.map(str::to_owned), host, endpoint, database }))
    }
}

impl FromStr for RedisUrl {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        // What is wrong in another way may hold a password all the same.
        let shown = || match text.rsplit_once('@') {
            Some((_, rest)) => format!("…@{rest}"),
            None => text.to_owned(),
        };
        Self::parse(text).unwrap_or_else(|| Err(RedisUrlError::Url(shown())))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        write!(f, "{scheme}://{user}{}:{}/{}", self.host, self.endpoint.port(), self.database)
    }
}

/// Whether a text can be a user's name, also within a URL.
fn is_user(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"/?#%\"'".contains(&byte);
    (1..=USER_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// A user of the sentinels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisUser(pub String);

impl FromStr for RedisUser {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        if is_user(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(RedisUrlError::User(text.to_owned()))
        }
    }
}

impl fmt::Display for RedisUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a sentinel is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentinelAddr(pub Endpoint);

impl FromStr for SentinelAddr {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        let wrong = || RedisUrlError::Sentinel(text.to_owned());
        Endpoint::parse(text, SENTINEL_PORT).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for SentinelAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whose calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedAccounts {
    All,
    One(AccountSid),
}

impl WantedAccounts {
    pub fn has(self, account: AccountSid) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == account,
        }
    }
}

impl FromStr for WantedAccounts {
    type Err = RedisUrlError;

    fn from_str(text: &str) -> Result<Self, RedisUrlError> {
        if text == "*" {
            return Ok(Self::All);
        }
        text.parse().map(Self::One).map_err(|_| RedisUrlError::Account(text.to_owned()))
    }
}

impl fmt::Display for WantedAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::One(account) => account.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_redis_is_read_and_written() {
        for (text, written) in [
            ("redis://10.0.0.5", "redis://10.0.0.5:6379/0"),
            ("redis://10.0.0.5/", "redis://10.0.0.5:6379/0"),
            (
                "rediss://rollcall@Redis.example.com:6380/2",
                "rediss://rollcall@Redis.example.com:6380/2",
            ),
            ("redis://[fd00::1]/3", "redis://[fd00::1]:6379/3"),
            ("redis://[fd00::1]:7/3", "redis://[fd00::1]:7/3"),
            ("REDIS://MyMaster", "redis://MyMaster:6379/0"),
        ] {
            let url: RedisUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), written);
            assert_eq!(written.parse::<RedisUrl>().unwrap(), url);
        }
        for text in [
            "",
            "redis",
            "redis://",
            "http://10.0.0.5",
            "10.0.0.5:6379",
            "redis://a:0",
            "redis://a:x",
            "redis://a/x",
            "redis://a/+1",
            "redis://a/99999",
            "redis://@a",
            "redis://a?b",
            "redis://a b",
        ] {
            assert!(text.parse::<RedisUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused_and_not_shown() {
        for text in ["redis://:hunter2@10.0.0.5", "rediss://user:hunter2@a/1", "x://u:hunter2@a"] {
            let error = text.parse::<RedisUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = "redis://:hunter2@10.0.0.5".parse::<RedisUrl>().unwrap_err().to_string();
        assert!(error.contains("mirror.redis.password_file"), "{error}");
    }

    #[test]
    fn sentinels_have_a_port_of_their_own_and_accounts_are_all_or_named() {
        let sentinel: SentinelAddr = "10.0.0.5".parse().unwrap();
        assert_eq!(sentinel.to_string(), "10.0.0.5:26379");
        assert!("redis://10.0.0.5".parse::<SentinelAddr>().is_err());
        let account = "9351f46a-678c-43f5-b8a6-d4eb58d131af";
        let one: WantedAccounts = account.parse().unwrap();
        assert!(one.has(account.parse().unwrap()) && WantedAccounts::All.to_string() == "*");
        assert!("**".parse::<WantedAccounts>().is_err());
    }
}
