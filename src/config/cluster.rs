//! Several machines: what they are called, and where the servers of their log are.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Config;
use super::sections::WithoutQuorum;
use crate::outbound::{Base, Endpoint};

const NAME_BYTES_MAX: usize = 32;
const USER_BYTES_MAX: usize = 128;
/// The port of nats-server.
const PORT: u16 = 4222;

/// Why a text is no such name or place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    #[error("`{0}` is no name; write 1 to {NAME_BYTES_MAX} of a-z, 0-9, - and _, such as node1")]
    Name(String),
    #[error(
        "`{0}` is not the address of a nats-server; write tls://HOST:PORT, or nats://HOST:PORT without \
         TLS, such as tls://10.0.0.1:4222"
    )]
    Server(String),
    #[error(
        "there is a user or a password in the address, and the configuration is printed and logged; write \
         the user as cluster.user, and put the password into a file that only the server's user may read, \
         and name that in cluster.password_file"
    )]
    Credentials,
    #[error(
        "`{0}` is not the name of a user: 1 to {USER_BYTES_MAX} characters of ASCII, no blanks"
    )]
    User(String),
}

/// The name of a cluster, or of a node in it. It is part of subjects, of a stream's name and of positions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(Box<str>);

impl ClusterName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) {
            Ok(Self(text.into()))
        } else {
            Err(ClusterError::Name(text.to_owned()))
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `tls://host[:port]`, or `nats://` without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogServer {
    tls: bool,
    endpoint: Endpoint,
}

impl LogServer {
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Whether others may read on the way what is sent there.
    pub fn is_readable(&self) -> bool {
        !self.tls && !self.endpoint.is_loopback()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, place) = text.split_once("://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "tls" => true,
            "nats" => false,
            _ => return None,
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        Some(Self { tls, endpoint: Endpoint::parse(place, PORT)? })
    }
}

impl FromStr for LogServer {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        if text.contains('@') {
            return Err(ClusterError::Credentials);
        }
        Self::parse(text).ok_or_else(|| ClusterError::Server(text.to_owned()))
    }
}

impl fmt::Display for LogServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats" };
        write!(f, "{scheme}://{}", self.endpoint)
    }
}

/// A user of the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogUser(String);

impl LogUser {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogUser {
    type Err = ClusterError;

    fn from_str(text: &str) -> Result<Self, ClusterError> {
        let fits = text.bytes().all(|byte| byte.is_ascii_graphic());
        if (1..=USER_BYTES_MAX).contains(&text.len()) && fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClusterError::User(text.to_owned()))
        }
    }
}

impl fmt::Display for LogUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `[cluster]` where it is used: all that a node needs is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub name: ClusterName,
    pub node: ClusterName,
    /// In the order in which they are tried. Never empty.
    pub servers: Vec<LogServer>,
    /// The user, and the file with its password.
    pub login: Option<(LogUser, PathBuf)>,
    pub ca: Option<PathBuf>,
    /// Client certificate and chain, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    pub monitors: Vec<Base>,
    pub unverified_sync: bool,
    pub without_quorum: WithoutQuorum,
    pub hold: Duration,
    pub max_lag: Duration,
    pub log_age: Duration,
    pub log_bytes: u64,
    pub kept_bytes: u64,
}

impl Config {
    /// `[cluster]`; none where this is a server by itself.
    pub fn cluster(&self) -> Option<Cluster> {
        let section = &self.cluster;
        Some(Cluster {
            name: section.name.clone()?,
            node: section.node.clone()?,
            servers: section.servers.clone(),
            login: section.user.clone().zip(section.password_file.clone()),
            ca: section.ca.clone(),
            identity: section.cert.clone().zip(section.key.clone()),
            monitors: section.monitors.clone(),
            unverified_sync: section.unverified_sync,
            without_quorum: section.without_quorum,
            hold: section.hold,
            max_lag: section.max_lag,
            log_age: section.log_age,
            log_bytes: section.log_bytes,
            kept_bytes: section.kept_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_bytes_that_subjects_or_positions_give_a_meaning() {
        for good in ["a", "pbx", "node-1", "x_9", &"a".repeat(32)] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in ["", "A", "a.b", "a b", "a>", "a*", "$a", "é", &"a".repeat(33)] {
            let error = bad.parse::<ClusterName>().unwrap_err().to_string();
            assert!(error.contains("1 to 32 of a-z"), "{error}");
        }
    }

    #[test]
    fn servers_are_addresses_with_a_scheme() {
        for (text, written, readable) in [
            ("tls://10.0.0.1:4222", "tls://10.0.0.1:4222", false),
            ("TLS://Node1.example", "tls://node1.example:4222", false),
            ("nats://10.0.0.1", "nats://10.0.0.1:4222", true),
            ("nats://127.0.0.1:5/", "nats://127.0.0.1:5", false),
            ("nats://localhost", "nats://localhost:4222", false),
            ("nats://[::1]:7", "nats://[::1]:7", false),
            ("nats://[fd00::1]", "nats://[fd00::1]:4222", true),
        ] {
            let server: LogServer = text.parse().unwrap();
            assert_eq!((server.to_string().as_str(), server.is_readable()), (written, readable));
            assert_eq!(written.parse::<LogServer>().unwrap(), server);
        }
        for bad in [
            "",
            "10.0.0.1:4222",
            "ws://10.0.0.1",
            "http://10.0.0.1:1",
            "tls://",
            "tls://a:0",
            "tls://a:x",
            "tls://a/b",
            "tls://a b",
            "tls://a?x",
        ] {
            let error = bad.parse::<LogServer>().unwrap_err();
            assert_eq!(error, ClusterError::Server(bad.to_owned()));
        }
        let error = "tls://u:hunter2@10.0.0.1".parse::<LogServer>().unwrap_err().to_string();
        assert!(error.contains("cluster.password_file") && !error.contains("hunter2"), "{error}");
    }
}
