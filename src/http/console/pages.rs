//! The pages of the console, and what they load. Every page is the same document, which reads its address.

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};

use super::super::error::ApiError;
use super::super::request::ApiRequest;
use super::super::response::{Response, empty};
use super::super::{accept, gzip};
use super::{NO_STORE, is_served, sole};
use crate::console::{self, Asset};

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     font-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
);
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const NO_PERMISSIONS: HeaderValue = HeaderValue::from_static(
    "camera=(), microphone=(), geolocation=(), payment=(), usb=(), browsing-topics=()",
);
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
/// A file never changes under its path.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Answers a path that is no part of the API, by what comes behind `/console`.
pub(super) fn answer(request: &ApiRequest<'_>, rest: &str) -> Result<Response, ApiError> {
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return Err(ApiError::method("GET, HEAD", "this path answers GET, HEAD"));
    }
    if rest.is_empty() {
        return Ok(lead("/console/"));
    }
    if let Some(path) = rest.strip_prefix("/assets/") {
        let (version, path) = path.split_once('/').unwrap_or_default();
        let asset = console::asset(path).filter(|_| version == console::version());
        let asset = asset.ok_or_else(|| ApiError::not_found("no such file of this console"))?;
        return Ok(send(request, asset, FOR_GOOD));
    }
    if !is_page(rest) {
        return Err(ApiError::not_found("no such page of the console"));
    }
    let mut reply = send(request, console::shell(), ASK_AGAIN);
    let headers = reply.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(OPENER_POLICY, SAME_ORIGIN);
    headers.insert(PERMISSIONS_POLICY, NO_PERMISSIONS);
    Ok(reply)
}

fn is_page(rest: &str) -> bool {
    let rest = rest.trim_start_matches('/');
    match rest.strip_suffix('/').unwrap_or(rest) {
        "" | "live" | "history" | "statistics" | "operation" | "sign-in" => true,
        path => path.strip_prefix("calls/").is_some_and(|call| {
            let mut sids = call.split('/');
            sids.by_ref().take(2).filter(|sid| !sid.is_empty()).count() == 2
                && sids.next().is_none()
        }),
    }
}

fn send(request: &ApiRequest<'_>, asset: &Asset, cache: HeaderValue) -> Response {
    let tag = format!("\"{}\"", console::version());
    let is_known = sole(request.headers, IF_NONE_MATCH).is_some_and(|known| {
        known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
    });
    let mut reply = empty(if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK });
    let headers = reply.headers_mut();
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, cache);
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
    if is_known {
        return reply;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    let body = if gzip::accepted(request.headers) {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        &asset.gzip
    } else {
        &asset.plain
    };
    *reply.body_mut() = body.clone().into();
    reply
}

/// Where a browser goes that asks for `/`; none for any other client, and where there is no console.
pub(in crate::http) fn leads_from_front(request: &ApiRequest<'_>) -> Option<Response> {
    let wants_pages = wants_pages(request.headers);
    (wants_pages && is_served(request.context, request.connection)).then(|| lead("/console/"))
}

fn wants_pages(headers: &HeaderMap) -> bool {
    let [page, ..] = accept::weights(headers, "text/html");
    page.is_some_and(|weight| weight > 0.0)
}

fn lead(to: &'static str) -> Response {
    let mut reply = empty(StatusCode::FOUND);
    let headers = reply.headers_mut();
    headers.insert(LOCATION, HeaderValue::from_static(to));
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(VARY, HeaderValue::from(ACCEPT));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_of_the_table() {
        for page in ["/", "/live", "/live/", "/history", "/calls/a/b", "/calls/a/b/", "/sign-in"] {
            assert!(is_page(page), "{page}");
        }
        for other in ["/x", "/calls", "/calls/a", "/calls/a/", "/calls//b", "/calls/a/b/c", "/api"]
        {
            assert!(!is_page(other), "{other}");
        }
    }
}
