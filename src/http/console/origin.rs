//! Whether a browser sent a request from a page of this very server (Fetch Metadata, and RFC 6454).

use http::header::{HOST, HeaderName, ORIGIN};
use http::{HeaderMap, Method};

use super::super::ConnectionInfo;
use super::sole;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether the cookie of a session counts: the browser says that the request is of a page of this origin, and
/// where it may change something, names that origin as well.
pub(super) fn counts(method: &Method, headers: &HeaderMap, connection: &ConnectionInfo) -> bool {
    let is_same = sole(headers, SEC_FETCH_SITE) == Some("same-origin");
    is_same && (method.is_safe() || names_this(headers, connection))
}

/// The same for a request that signs in, of a browser that may be too old to say where it is from.
pub(super) fn may_sign_in(headers: &HeaderMap, connection: &ConnectionInfo) -> bool {
    if headers.contains_key(SEC_FETCH_SITE) && sole(headers, SEC_FETCH_SITE) != Some("same-origin")
    {
        return false;
    }
    let says_so = headers.contains_key(SEC_FETCH_SITE) && !headers.contains_key(ORIGIN);
    says_so || names_this(headers, connection)
}

/// Whether `Origin` is this server, as the client names it, or as a trusted proxy says that it does.
fn names_this(headers: &HeaderMap, connection: &ConnectionInfo) -> bool {
    let Some(origin) = sole(headers, ORIGIN).and_then(|origin| origin.strip_prefix("https://"))
    else {
        return false;
    };
    let is_origin = |host: &str| without_port(host).eq_ignore_ascii_case(without_port(origin));
    let forwarded = || {
        let last = headers.get_all(X_FORWARDED_HOST).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next().map(str::trim)
    };
    sole(headers, HOST).is_some_and(is_origin)
        || connection.is_proxied && forwarded().is_some_and(is_origin)
}

/// A host without the port that HTTPS has anyway.
fn without_port(host: &str) -> &str {
    host.strip_suffix(":443").unwrap_or(host)
}
