//! Where requests may go: base URLs, and networks of addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::str::FromStr;

use ipnet::IpNet;
use rustls::pki_types::DnsName;

const URL_BYTES: usize = 2048;

/// Why a text is no base URL or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error(
        "`{0}` is not a base URL; write http or https, a host, and if need be a port and a plain \
         path, such as http://10.0.0.5:3000"
    )]
    Base(String),
    #[error(
        "`{0}` is not a network; write its first address and the bits of its prefix, such as \
         10.0.0.0/24"
    )]
    Network(String),
}

/// `http[s]://host[:port][/path]`: where a server is. There are no credentials, no query, no
/// fragment, no escapes and no dot segments in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    secure: bool,
    host: TargetHost,
    port: u16,
    /// Empty, or begins with a slash and does not end with one.
    prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TargetHost {
    Ip(IpAddr),
    /// In lower case.
    Name(String),
}

impl Base {
    /// Whether TLS is spoken there.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Whether it is this machine, also by an address that others reach it by. Nothing is sent.
    pub fn is_this_machine(&self) -> bool {
        let TargetHost::Ip(ip) = self.host else { return self.host.is_loopback() };
        if ip.is_loopback() {
            return true;
        }
        // What would be sent there by this machine would come from that very address.
        let any: IpAddr =
            if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let from = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect((ip, self.port))?;
            socket.local_addr()
        });
        from.is_ok_and(|from| from.ip() == ip)
    }

    /// Whether others may read on the way what is sent there: it is another machine, and there is no TLS.
    pub fn is_readable(&self) -> bool {
        !self.secure && !self.host.is_loopback()
    }

    pub(super) fn host(&self) -> &TargetHost {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The path of `path` below this base.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The value of `TargetHost`.
    pub(super) fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether scheme, host and port are the same (RFC 6454).
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.secure, &self.host, self.port) == (other.secure, &other.host, other.port)
    }

    fn parse(text: &str) -> Option<Self> {
        if text.len() > URL_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = split_port(authority)?;
        let port = match port {
            None if secure => 443,
            None => 80,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0)?
            }
            Some(_) => return None,
        };
        let prefix = path.strip_suffix('/').unwrap_or(path);
        // Clients of jambonz write it so; here every path brings its own.
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let good = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(plain);
        if !prefix.split('/').skip(1).all(good) {
            return None;
        }
        Some(Self { secure, host: TargetHost::parse(host)?, port, prefix: prefix.to_owned() })
    }
}

/// A host and a port, for what does not speak HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    host: TargetHost,
    port: u16,
}

impl Endpoint {
    /// `host[:port]`; a host with colons stands in brackets.
    pub fn parse(text: &str, usual_port: u16) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let port = match port {
            None => usual_port,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0)?
            }
            Some(_) => return None,
        };
        Some(Self { host: TargetHost::parse(host)?, port })
    }

    /// The same of an address or a name by itself: no brackets stand around it.
    pub fn of(host: &str, port: u16) -> Option<Self> {
        let host = match host.parse::<IpAddr>() {
            Ok(ip) => TargetHost::Ip(ip.to_canonical()),
            Err(_) => TargetHost::parse(host)?,
        };
        (port > 0).then_some(Self { host, port })
    }

    pub(super) fn host(&self) -> &TargetHost {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Host and port; a host with colons stands in brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if authority.starts_with('[') {
        let (host, rest) = authority.split_at(authority.find(']')? + 1);
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

impl TargetHost {
    fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let ip: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(IpAddr::V6(ip).to_canonical()));
        }
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(ip));
        }
        let name = text.to_ascii_lowercase();
        // Refuses 127.1 and 0x7f000001 too, which resolvers read as addresses.
        let good = !name.ends_with('.') && DnsName::try_from(name.as_str()).is_ok();
        good.then_some(Self::Name(name))
    }
}

/// Addresses with a common prefix (CIDR, RFC 4632).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// How many first bits its addresses have in common.
    pub fn bits(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether its addresses are of IPv4.
    pub fn is_ipv4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// Whether the address lies in it; an IPv4-mapped IPv6 address counts as an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    fn parse(text: &str) -> Option<Self> {
        let network: IpNet = text.parse().ok()?;
        let first = network.addr();
        let whole = network.network() == first && first.to_canonical() == first;
        whole.then_some(Self(network))
    }
}

impl FromStr for Base {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text).ok_or_else(|| TargetError::Base(text.to_owned()))
    }
}

impl FromStr for Network {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        Self::parse(text).ok_or_else(|| TargetError::Network(text.to_owned()))
    }
}

impl fmt::Display for Base {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(formatter, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

impl fmt::Display for TargetHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(formatter, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(formatter),
            Self::Name(name) => name.fmt(formatter),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_are_plain_or_refused() {
        for (text, written) in [
            ("http://10.0.0.5:3000", "http://10.0.0.5:3000"),
            ("http://api/v1/", "http://api"),
            ("http://api/x/v1", "http://api/x"),
            ("HTTP://FS.Example/s202/", "http://fs.example/s202"),
            ("https://fs:443", "https://fs"),
            ("http://[fd00::1]:3000/a/b", "http://[fd00::1]:3000/a/b"),
            ("http://[::ffff:127.0.0.1]:1", "http://127.0.0.1:1"),
        ] {
            assert_eq!(text.parse::<Base>().unwrap().to_string(), written);
        }
        for text in [
            "",
            "fs",
            "ftp://fs",
            "http://",
            "http:///x",
            "http://a@b/",
            "http://allowed@evil/",
            "http://a/?q",
            "http://a?q",
            "http://a#f",
            "http://a/../b",
            "http://a/./b",
            "http://a//b",
            "http://a/%2e%2e",
            "http://a:0",
            "http://a:65536",
            "http://a:+80",
            "http://a:",
            "http://a\\b",
            "http://a b",
            "http://127.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://127.0.0.0x1",
            "http://[::1",
            "http://[::1]x",
            "http://::1",
            "http://a\r\nb",
            "http://a./",
            "http://é",
        ] {
            assert!(text.parse::<Base>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = |text: &str| text.parse::<Base>().unwrap();
        let own = base("http://fs:80/x");
        assert!(own.same_origin(&base("http://FS/y")));
        for other in ["https://fs:80", "http://fs:81", "http://fs.example", "http://fss"] {
            assert!(!own.same_origin(&base(other)), "{other}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        let is_here = |text: &str| text.parse::<Base>().unwrap().is_this_machine();
        for here in ["http://127.0.0.1:8222", "http://127.1.2.3", "http://localhost:8222"] {
            assert!(is_here(here), "{here}");
        }
        // An address of the machine's own network, where it has one.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        if socket.connect(("192.0.2.1", 9)).is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(is_here(&format!("http://{own}:8222")), "{own}");
        }
        assert!(!is_here("http://192.0.2.1:8222") && !is_here("http://node2:8222"));
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/24", &["10.0.0.0", "10.0.0.255", "::ffff:10.0.0.7"][..], "10.0.1.0"),
            ("10.1.2.3/32", &["10.1.2.3"], "10.1.2.2"),
            ("0.0.0.0/0", &["255.255.255.255"], "::1"),
            ("fd00::/8", &["fdff::1"], "fe00::"),
            ("::/0", &["::1"], "::ffff:10.0.0.1"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(parsed.to_string(), network);
            for address in inside {
                assert!(parsed.contains(address.parse().unwrap()), "{network} {address}");
            }
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
        }
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.1/24",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "x/8",
            "::ffff:10.0.0.0/120",
            "10.0.0.0/",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
