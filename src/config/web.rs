//! Values that end up in HTTP: the template of `service_url`, and the allowed origin.

use std::fmt;
use std::str::FromStr;

/// Why a text is no template or origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// The template has no place for the host, or another one.
    #[error(
        "`{0}` is not a service_url template; \
         write a URL with {{host}} in it and no other braces, such as http://{{host}}:3000"
    )]
    Template(String),
    /// Neither `*` nor an origin.
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
    /// `http://{host}:3000`, the port of jambonz's feature server.
    pub fn feature_server() -> Self {
        Self("http://{host}:3000".to_owned())
    }

    /// The URL for `host`: a name or an IP address; a bare IPv6 address gets its brackets.
    pub fn for_host(&self, host: &str) -> String {
        if host.contains(':') && !host.starts_with('[') {
            self.0.replace("{host}", &format!("[{host}]"))
        } else {
            self.0.replace("{host}", host)
        }
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
    fn a_template_gives_the_url_of_a_host() {
        let template = ServiceUrlTemplate::feature_server();
        assert_eq!(template.for_host("10.0.0.1"), "http://10.0.0.1:3000");
        assert_eq!(template.for_host("fd00::1"), "http://[fd00::1]:3000");
        assert_eq!(template.for_host("[fd00::1]"), "http://[fd00::1]:3000");
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
