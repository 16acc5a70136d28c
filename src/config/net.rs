//! Addresses to listen on, names for a certificate, proxies, and what ends up in HTTP.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use rustls::pki_types;

use crate::outbound::Network;

/// Why a text is no address or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddrError {
    #[error(
        "`{0}` has no host; write HOST:PORT, such as 127.0.0.1:8443 for this machine alone or \
         0.0.0.0:8443 for every address"
    )]
    NoHost(String),
    #[error("`{0}` is a URL; write HOST:PORT alone, such as 127.0.0.1:8443")]
    Url(String),
    #[error(
        "`{host}` in `{text}` is neither a DNS name nor an IP address; write HOST:PORT, such as \
         127.0.0.1:8443, [::1]:8443, or 0.0.0.0:8443 for every address"
    )]
    Host { text: String, host: String },
    #[error("`{0}` has no port; write HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443")]
    NoPort(String),
    #[error("`{port}` in `{text}` is not a port; write a number from 0 (any free port) to 65535")]
    Port { text: String, port: String },
    #[error("the IPv6 address in `{0}` needs brackets; write [::1]:8443")]
    Brackets(String),
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    #[error(
        "`{0}` is neither an IP address nor a network; write an address, or the first address of a \
         network and the bits of its prefix, such as 10.0.0.5 or 10.0.0.0/24"
    )]
    Proxy(String),
}

/// `HOST:PORT`: an IP address (IPv6 in brackets) or a DNS name, and a port; 0 is any free one.
///
/// Its `Display` is what `tokio::net::TcpListener::bind` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr {
    host: Host,
    port: u16,
}

/// The host of a [`ListenAddr`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name, to be resolved when the listener is bound.
    Name(DnsName),
}

/// A name that a certificate is made for: an IP address, or a DNS name that may begin with `*.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubjectName {
    /// An address.
    Ip(IpAddr),
    Dns(DnsName),
}

/// The addresses of proxies: one, or a network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyAddress(pub Network);

/// A DNS name: dot-separated labels of ASCII letters, digits, `-` and `_` (RFC 1123, and the
/// underscore that container networks use), up to 253 characters, without a dot at the end. In a
/// [`SubjectName`] its first label may be `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsName(String);

impl ListenAddr {
    /// 127.0.0.1 and `port`.
    pub fn loopback(port: u16) -> Self {
        Self { host: Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)), port }
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port; 0 is any free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether both cannot be listened on at once: they are one address and port, or one of them is
    /// every address. Names are compared as they are written, but for `localhost`.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let every = |host: &Host| matches!(host, Host::Ip(ip) if ip.is_unspecified());
        let v4_alone =
            |host: &Host| matches!(host, Host::Ip(IpAddr::V4(ip)) if ip.is_unspecified());
        let v6 =
            |host: &Host| matches!(host, Host::Ip(IpAddr::V6(ip)) if ip.to_ipv4_mapped().is_none());
        let local = |host: &Host| match host {
            Host::Ip(ip) => ip.to_canonical() == IpAddr::V4(Ipv4Addr::LOCALHOST),
            Host::Name(name) => name.as_str().eq_ignore_ascii_case("localhost"),
        };
        let canonical = |host: &Host| match host {
            Host::Ip(ip) => ip.to_canonical().to_string(),
            Host::Name(name) => name.as_str().to_ascii_lowercase(),
        };
        if self.port == 0 || self.port != other.port {
            return false;
        }
        let (one, two) = (&self.host, &other.host);
        let covers = |one: &Host, two: &Host| {
            // 0.0.0.0 leaves those of IPv6 alone; [::] takes those of IPv4 too.
            every(one) && !(v4_alone(one) && v6(two) && !every(two))
        };
        covers(one, two)
            || covers(two, one)
            || canonical(one) == canonical(two)
            || (local(one) && local(two))
    }

    /// Whether it stands for all addresses of the machine.
    pub fn is_unspecified(&self) -> bool {
        matches!(&self.host, Host::Ip(ip) if ip.is_unspecified())
    }

    /// Whether only this machine can reach it: a loopback address, or the name `localhost`
    /// (RFC 6761). Any other name counts as reachable.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Ip(ip) => ip.to_canonical().is_loopback(),
            Host::Name(name) => name.as_str().eq_ignore_ascii_case("localhost"),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        let number =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if text.contains("://") {
            return Err(ListenAddrError::Url(text.to_owned()));
        }
        if number(text) || text.strip_prefix(':').is_some_and(number) {
            return Err(ListenAddrError::NoHost(text.to_owned()));
        }
        let (host, port) =
            text.rsplit_once(':').ok_or_else(|| ListenAddrError::NoPort(text.to_owned()))?;
        let wrong = || ListenAddrError::Host { text: text.to_owned(), host: host.to_owned() };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => match inner.parse::<Ipv6Addr>() {
                Ok(ip) => Host::Ip(IpAddr::V6(ip)),
                Err(_) => return Err(wrong()),
            },
            None if text.starts_with('[') => return Err(ListenAddrError::NoPort(text.to_owned())),
            None if host.parse::<Ipv6Addr>().is_ok() => {
                return Err(ListenAddrError::Brackets(text.to_owned()));
            }
            None => host.parse().map_err(|_| wrong())?,
        };
        let digits = number(port);
        match port.parse() {
            Ok(port) if digits => Ok(Self { host, port }),
            _ => Err(ListenAddrError::Port { text: text.to_owned(), port: port.to_owned() }),
        }
    }
}

impl FromStr for Host {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        match text.parse() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) => text.parse().map(Self::Name),
        }
    }
}

impl FromStr for ProxyAddress {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        let network = match text.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(ip) => format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }).parse(),
            Err(_) => text.parse(),
        };
        network.map(Self).map_err(|_| ListenAddrError::Proxy(text.to_owned()))
    }
}

impl FromStr for SubjectName {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let below = text.strip_prefix("*.").unwrap_or(text);
        match below.parse::<DnsName>() {
            Ok(_) => Ok(Self::Dns(DnsName(text.to_owned()))),
            Err(_) => Err(ListenAddrError::Name(text.to_owned())),
        }
    }
}

impl DnsName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, ListenAddrError> {
        // The library takes a dot at the end, and refuses what may be mistaken for an IP address.
        let good = !text.ends_with('.') && pki_types::DnsName::try_from(text).is_ok();
        if good { Ok(Self(text.to_owned())) } else { Err(ListenAddrError::Name(text.to_owned())) }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(formatter, "[{ip}]:{}", self.port),
            host => write!(formatter, "{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(formatter),
            Self::Dns(name) => name.fmt(formatter),
        }
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Why a text is no template or origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    #[error(
        "`{0}` is not a service_url template; \
         write a URL with {{host}} in it and no other braces, such as http://{{host}}:3000"
    )]
    Template(String),
    #[error("`{0}` is not an origin; write *, or scheme and host, such as https://app.example.com")]
    Origin(String),
}

/// A URL with `{host}` in it: the base URL of the feature server at that host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrlTemplate(String);

/// A value of `Access-Control-Allow-Origin`: `*`, or one origin (RFC 6454), in printable ASCII.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedOrigin(String);

impl ServiceUrlTemplate {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `http://{host}:3000`, the port of jambonz's feature server.
    pub fn feature_server() -> Self {
        Self("http://{host}:3000".to_owned())
    }
}

impl FromStr for ServiceUrlTemplate {
    type Err = WebError;

    fn from_str(text: &str) -> Result<Self, WebError> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let good = rest.is_some_and(|rest| {
            rest.contains("{host}")
                && !rest.replace("{host}", "").contains(['{', '}'])
                && is_graphic(rest)
        });
        if good { Ok(Self(text.to_owned())) } else { Err(WebError::Template(text.to_owned())) }
    }
}

impl AllowedOrigin {
    /// `*`: pages of any origin.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AllowedOrigin {
    type Err = WebError;

    fn from_str(text: &str) -> Result<Self, WebError> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let one_origin = rest.is_some_and(|host| {
            !host.is_empty()
                && is_graphic(host)
                && !host.contains(['/', '?', '#', '@', ',', '*', '\\'])
        });
        if text == "*" || one_origin {
            Ok(Self(text.to_owned()))
        } else {
            Err(WebError::Origin(text.to_owned()))
        }
    }
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl fmt::Display for ServiceUrlTemplate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for text in
            ["127.0.0.1:0", "[::1]:65535", "localhost:80", "my_host-1.example:1", "0.0.0.0:1"]
        {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        for (text, expected) in [
            ("", "has no port"),
            ("host", "has no port"),
            ("[::1]", "has no port"),
            ("[::1", "has no port"),
            ("::1:80", "needs brackets"),
            ("[127.0.0.1]:80", "neither a DNS name nor an IP address"),
            (
                ":80",
                "`:80` has no host; write HOST:PORT, such as 127.0.0.1:8443 for this machine alone or 0.0.0.0:8443",
            ),
            ("8443", "`8443` has no host; write HOST:PORT"),
            (
                "*:8443",
                "`*` in `*:8443` is neither a DNS name nor an IP address; write HOST:PORT, such as 127",
            ),
            ("a b:8443", "or 0.0.0.0:8443 for every address"),
            ("127.0.0.256:80", "neither a DNS name nor an IP address"),
            ("-a:80", "neither a DNS name nor an IP address"),
            ("a..b:80", "neither a DNS name nor an IP address"),
            ("*.a:80", "neither a DNS name nor an IP address"),
            ("http://a:80", "is a URL; write HOST:PORT alone"),
            ("a:b:80", "neither a DNS name nor an IP address"),
            ("a:", "is not a port"),
            ("a:+80", "is not a port"),
            ("a:65536", "is not a port"),
        ] {
            let message = text.parse::<ListenAddr>().expect_err(text).to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        for text in ["127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "LocalHost:1"] {
            assert!(text.parse::<ListenAddr>().unwrap().is_loopback(), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "192.168.0.1:1", "localhost.example:1"] {
            assert!(!text.parse::<ListenAddr>().unwrap().is_loopback(), "{text}");
        }
        for (text, good) in
            [("*.a.b", true), ("*", false), ("a.*.b", false), ("::1", true), ("*.1", false)]
        {
            assert_eq!(text.parse::<SubjectName>().is_ok(), good, "{text}");
        }
        for (text, written) in [
            ("10.0.0.5", "10.0.0.5/32"),
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.5", "10.0.0.5/32"),
        ] {
            assert_eq!(text.parse::<ProxyAddress>().unwrap().to_string(), written);
        }
        for text in ["", "proxy", "10.0.0.1/24", "10.0.0.0/33", "[::1]", "10.0.0.5:80"] {
            let message = text.parse::<ProxyAddress>().expect_err(text).to_string();
            assert!(message.contains(&format!("`{text}` is neither")), "{message}");
        }
        assert!("a".repeat(63).parse::<DnsName>().is_ok());
        assert!("a".repeat(64).parse::<DnsName>().is_err());
        assert!(["a"; 128].join(".").parse::<DnsName>().is_err());
    }

    #[test]
    fn a_template_is_a_url_with_a_host_to_be_filled_in() {
        for text in
            ["{host}", "http://fs:3000", "http://{host}:{port}", "http://{host} ", "ftp://{host}"]
        {
            assert!(text.parse::<ServiceUrlTemplate>().is_err(), "{text}");
        }
        for text in
            ["**", "null", "https://a/", "https://a, https://b", "https://", "https://*", "a"]
        {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }
}
