//! The client's address behind proxies: `X-Forwarded-For` and `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it saw at the right; what stands further left may be made up. So
//! both headers are read from the right: through the trusted proxies, to the first other address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::HeaderMap;
use http::header::{FORWARDED, GetAll, HeaderName, HeaderValue};

use crate::outbound::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most proxies that a request may have come through.
const PROXIES_MAX: usize = 32;
/// Most bytes of what one of them has added.
const ADDED_BYTES_MAX: usize = 1024;

/// Proxies that are trusted to name the client's address.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[Network]>);

impl TrustedProxies {
    /// Proxies with an address in one of these networks.
    pub fn new(networks: impl IntoIterator<Item = Network>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Whether this is one of them.
    pub fn trust(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(ip))
    }

    /// The client of a request that `peer` has sent: `peer` itself, if it is not one of them or
    /// names no client. Port 0 stands for one that is not known.
    ///
    /// A proxy writes one of the two headers and may pass the other on as a client has sent it.
    /// Where they disagree neither is believed.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trust(peer.ip()) {
            return peer;
        }
        let listed = self.nearest(&headers.get_all(X_FORWARDED_FOR), |_| false, node);
        let named = self.nearest(&headers.get_all(FORWARDED), |byte| byte == b'"', forwarded);
        match (listed, named) {
            (Some(one), Some(other)) if one.ip() != other.ip() => peer,
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) => peer,
        }
    }

    /// The last address that is not of a trusted proxy, else the first of all that are named; none
    /// where not even the last one can be read.
    fn nearest(
        &self,
        lines: &GetAll<'_, HeaderValue>,
        quotes: impl Fn(u8) -> bool + Copy,
        read: impl Fn(&str) -> Option<SocketAddr>,
    ) -> Option<SocketAddr> {
        let added = lines.iter().rev().flat_map(|line| FromRight { rest: line.as_bytes(), quotes });
        let mut nearest = None;
        for text in added.take(PROXIES_MAX) {
            let address = std::str::from_utf8(text).ok().and_then(&read);
            let Some(address) = address else { break };
            nearest = Some(address);
            if !self.trust(address.ip()) {
                break;
            }
        }
        nearest
    }
}

/// The elements of a list, from the right, without blanks around them; empty ones are none. Commas
/// in quotes part nothing: what a client has sent stands to the left, so that it cannot open a quote
/// for what a proxy has added.
struct FromRight<'a, Q> {
    rest: &'a [u8],
    quotes: Q,
}

impl<'a, Q: Fn(u8) -> bool> Iterator for FromRight<'a, Q> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let mut quoted = false;
            let comma = self.rest.iter().enumerate().rev().find(|&(at, &byte)| {
                if (self.quotes)(byte) {
                    let before = self.rest.get(..at).unwrap_or_default();
                    let escapes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
                    quoted ^= escapes % 2 == 0;
                }
                byte == b',' && !quoted
            });
            let comma = comma.map(|(at, _)| at);
            let (left, element) = match comma.and_then(|at| self.rest.split_at_checked(at)) {
                Some((left, element)) => (left, element.get(1..).unwrap_or_default()),
                None => (&[][..], self.rest),
            };
            self.rest = left;
            let element = element.trim_ascii();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// The address of `for` in what one proxy has added: `for="[2001:db8::1]:4711";proto=https`.
fn forwarded(element: &str) -> Option<SocketAddr> {
    if element.len() > ADDED_BYTES_MAX {
        return None;
    }
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = if let Some(quoted) = behind.strip_prefix('"') {
            unquote(quoted)?
        } else {
            let end = behind.find(';').unwrap_or(behind.len());
            let (value, behind) = behind.split_at(end);
            (value.trim_end().to_owned(), behind)
        };
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
        match behind.trim_start().strip_prefix(';') {
            Some(next) => rest = next,
            None if behind.trim().is_empty() => return node(&found?),
            None => return None,
        }
    }
}

/// A quoted text without its escapes, and what stands behind it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut rest = quoted.chars();
    loop {
        match rest.next()? {
            '"' => return Some((text, rest.as_str())),
            '\\' => text.push(rest.next()?),
            other => text.push(other),
        }
    }
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]:80`. None for `unknown` and for names of a proxy's own (`_hidden`).
fn node(text: &str) -> Option<SocketAddr> {
    let at = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(at(ip, 0));
    }
    let (host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']')?;
        let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
        (IpAddr::V6(host.parse().ok()?), port)
    } else {
        let (host, port) = text.split_once(':')?;
        (IpAddr::V4(host.parse().ok()?), Some(port))
    };
    let named = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && name.bytes().all(plain)
    };
    match port {
        None => Some(at(host, 0)),
        Some(port) if port.strip_prefix('_').is_some_and(named) => Some(at(host, 0)),
        Some(port) => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            Some(at(host, port.parse().ok().filter(|_| digits)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1:5000";

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/24", "fd00::/8"].map(|text| text.parse().unwrap()))
    }

    /// Who sent a request with these lines, `name: value`.
    fn client_of(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        proxies().client(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_last_address_that_is_not_of_a_trusted_proxy_is_the_client() {
        let (far, far6) = ("192.0.2.7:0", "[2001:db8::7]:0");
        for (lines, client) in [
            (&["x-forwarded-for: 192.0.2.7"][..], far),
            (&["X-Forwarded-For: 192.0.2.7, 10.0.0.9"], far),
            (&["x-forwarded-for: 198.51.100.9, 192.0.2.7,10.0.0.9 , fd00::3"], far),
            (&["x-forwarded-for: 198.51.100.9", "x-forwarded-for: 192.0.2.7, 10.0.0.2"], far),
            (&["x-forwarded-for: 192.0.2.7", "x-forwarded-for: 10.0.0.2"], far),
            (&["x-forwarded-for: junk, \", 192.0.2.7"], far),
            (&["x-forwarded-for: \u{e9}, 192.0.2.7"], far),
            (&["x-forwarded-for: ,, 192.0.2.7 ,,"], far),
            (&["x-forwarded-for: 192.0.2.7:4711"], "192.0.2.7:4711"),
            (&["x-forwarded-for: ::ffff:192.0.2.7"], far),
            (&["x-forwarded-for: 2001:db8::7"], far6),
            (&["x-forwarded-for: [2001:db8::7]"], far6),
            (&["x-forwarded-for: [2001:DB8::7]:4711"], "[2001:db8::7]:4711"),
            (&["forwarded: for=192.0.2.7"], far),
            (&["Forwarded: For=\"192.0.2.7:4711\""], "192.0.2.7:4711"),
            (&["forwarded: for=192.0.2.7:4711"], "192.0.2.7:4711"),
            (&["forwarded: for=192.0.2.7;proto=https;by=203.0.113.43"], far),
            (&["forwarded: by=\"_me\" ; proto=http ; for=192.0.2.7 "], far),
            (&["forwarded: for=\"[2001:db8::7]\""], far6),
            (
                &["forwarded: for=\"[2001:db8::7]:4711\";host=\"a,b;for=192.0.2.9\""],
                "[2001:db8::7]:4711",
            ),
            (&["forwarded: for=\"[2001:db8::7]:_hidden\""], far6),
            (&["forwarded: for=\"192.0.\\2.7\""], far),
            (&["forwarded: for=198.51.100.9, for=192.0.2.7, for=10.0.0.9"], far),
            (&["forwarded: for=198.51.100.9", "forwarded: for=192.0.2.7"], far),
            (&["forwarded: for=\"198.51.100.9", "forwarded: for=192.0.2.7"], far),
            // What stands left of the client may be anything.
            (&["forwarded: for=\"x, for=192.0.2.7"], far),
            (&["forwarded: for=\"x\\, for=192.0.2.7;proto=https"], far),
            (&["forwarded: ;;=\"\"\", for=192.0.2.7"], far),
            // A host with quotes in it, as the client has sent it, does not end its own quotes.
            (&["forwarded: for=192.0.2.7;host=\"x\\\",for=198.51.100.9;y=\\\"\""], far),
            // Both, and they agree; or one says nothing.
            (&["x-forwarded-for: 192.0.2.7", "forwarded: for=192.0.2.7:80"], far),
            (&["x-forwarded-for: 192.0.2.7", "forwarded: junk"], far),
            (&["x-forwarded-for: unknown", "forwarded: for=192.0.2.7"], far),
            // A client within the trusted networks.
            (&["x-forwarded-for: 10.0.0.77"], "10.0.0.77:0"),
            (&["x-forwarded-for: 10.0.0.77, 10.0.0.2"], "10.0.0.77:0"),
            (&["x-forwarded-for: unknown, 10.0.0.2"], "10.0.0.2:0"),
        ] {
            assert_eq!(client_of(PEER, lines), client, "{lines:?}");
        }
    }

    #[test]
    fn what_names_nobody_leaves_the_proxy_itself() {
        let long = format!("forwarded: for=192.0.2.7;host={}", "x".repeat(ADDED_BYTES_MAX));
        let many = format!("x-forwarded-for: 192.0.2.7{}", ", 10.0.0.9".repeat(PROXIES_MAX));
        assert_eq!(client_of(PEER, &[&many]), "10.0.0.9:0");
        for lines in [
            &[][..],
            &["x-forwarded-for: "],
            &["x-forwarded-for: unknown"],
            &["x-forwarded-for: _hidden"],
            &["x-forwarded-for: 192.0.2.7, junk"],
            &["x-forwarded-for: 192.0.2.7;proto=https"],
            &["x-forwarded-for: 192.0.2.7:"],
            &["x-forwarded-for: 192.0.2.7:65536"],
            &["x-forwarded-for: 192.0.2.7:+80"],
            &["x-forwarded-for: 192.0.2.07"],
            &["x-forwarded-for: [192.0.2.7]"],
            &["x-forwarded-for: [2001:db8::7"],
            &["x-forwarded-for: [2001:db8::7]x"],
            &["x-forwarded-for: fe80::1%eth0"],
            &["x-forwarded-for: example.org"],
            &["forwarded: for=unknown"],
            &["forwarded: for=_SEVKISEK"],
            &["forwarded: for=\"_gazonk\""],
            &["forwarded: proto=https"],
            &["forwarded: for=192.0.2.7;for=192.0.2.8"],
            &["forwarded: for=\"192.0.2.7"],
            &["forwarded: for=192.0.2.7\""],
            &["forwarded: for=\"192.0.2.7\"x"],
            &["forwarded: for"],
            &["forwarded: 192.0.2.7"],
            &[&long],
            // They disagree: one of them is the client's own.
            &["x-forwarded-for: 192.0.2.7", "forwarded: for=198.51.100.9"],
        ] {
            assert_eq!(client_of(PEER, lines), PEER, "{lines:?}");
        }
    }

    #[test]
    fn a_peer_that_is_not_trusted_cannot_say_where_it_came_from() {
        let lines = ["x-forwarded-for: 192.0.2.7", "forwarded: for=192.0.2.7"];
        for peer in ["10.0.1.1:5000", "192.0.2.1:1", "[2001:db8::1]:1"] {
            assert_eq!(client_of(peer, &lines), peer);
        }
        assert_eq!(client_of("[::ffff:10.0.0.1]:1", &lines), "192.0.2.7:0");
        let nobody = TrustedProxies::default();
        assert!(!nobody.trust("10.0.0.1".parse().unwrap()));
    }

    proptest! {
        /// Only what the proxy adds counts, and not what a client sends before it.
        #[test]
        fn no_header_of_a_client_hides_it(sent in "[ -~]{0,60}", own_line: bool, name: bool) {
            let (name, added) = if name {
                ("x-forwarded-for", "192.0.2.7")
            } else {
                ("forwarded", "for=192.0.2.7;host=\"a, b\"")
            };
            let (first, second) = (format!("{name}: {sent}"), format!("{name}: {added}"));
            let joined = format!("{name}: {sent}, {added}");
            let lines: &[&str] = if own_line { &[&first, &second] } else { &[&joined] };
            prop_assert_eq!(client_of(PEER, lines), "192.0.2.7:0");
        }

        #[test]
        fn no_text_is_too_strange(sent in proptest::collection::vec(any::<u8>(), 0..80)) {
            let parts = FromRight { rest: &sent, quotes: |byte| byte == b'"' };
            for part in parts.filter_map(|part| std::str::from_utf8(part).ok()) {
                forwarded(part);
                node(part);
            }
        }
    }
}
