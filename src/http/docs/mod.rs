//! The API's description, in `OpenAPI` 3.1, and the pages that are made of it: the document itself, a
//! page to read, a text for language models, and the page that leads to these.
//!
//! `openapi.json` is written by hand. `tests/it/api/openapi.rs` holds it against the binary.

mod openapi;
mod render;

use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::BASE64;
use http::StatusCode;
use http::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use serde_json::Value;

use super::console;
use super::error::ApiError;
use super::gzip;
use super::request::ApiRequest;
use super::response::{JSON, Response, empty};

const STYLE: &str = include_str!("style.css");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

static SOURCE: LazyLock<String> = LazyLock::new(|| {
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    include_str!("../openapi.json").replacen("\"version\": \"0.0.0\"", version, 1)
});

/// The description that this binary answers by.
fn description() -> &'static Value {
    static DESCRIPTION: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_str(&SOURCE).unwrap_or_default());
    &DESCRIPTION
}

/// `GET /`: where to go from here. Health checks that have no path of their own ask for it; a browser is led
/// to the console.
#[expect(clippy::unnecessary_wraps, reason = "the type of a handler")]
pub(super) fn front(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    static PAGE: LazyLock<StaticPage> = LazyLock::new(|| StaticPage::rendered("front.html", HTML));
    if let Some(to_console) = console::leads_from_front(request) {
        return Ok(to_console);
    }
    Ok(PAGE.reply(request.headers))
}

/// `GET /openapi.json`.
#[expect(clippy::unnecessary_wraps, reason = "the type of a handler")]
pub(super) fn openapi(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    static PAGE: LazyLock<StaticPage> = LazyLock::new(|| StaticPage::new(JSON, SOURCE.clone()));
    Ok(PAGE.reply(request.headers))
}

/// `GET /docs`.
#[expect(clippy::unnecessary_wraps, reason = "the type of a handler")]
pub(super) fn docs(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    static PAGE: LazyLock<StaticPage> = LazyLock::new(|| StaticPage::rendered("page.html", HTML));
    Ok(PAGE.reply(request.headers))
}

/// `GET /llms.txt`.
#[expect(clippy::unnecessary_wraps, reason = "the type of a handler")]
pub(super) fn llms(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    static PAGE: LazyLock<StaticPage> = LazyLock::new(|| StaticPage::rendered("llms.txt", TEXT));
    Ok(PAGE.reply(request.headers))
}

/// `Content-Security-Policy` of the pages: their own style sheet, by its digest, and nothing else.
fn policy() -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        BASE64.encode(digest.as_ref())
    )
}

/// A body that is the same for every client.
struct StaticPage {
    kind: HeaderValue,
    policy: Option<HeaderValue>,
    plain: Bytes,
    gzip: Option<Bytes>,
}

impl StaticPage {
    fn new(kind: HeaderValue, body: String) -> Self {
        let gzip = gzip::whole(body.as_bytes()).map(Bytes::from);
        let policy = (kind.as_bytes().starts_with(b"text/html"))
            .then(policy)
            .and_then(|text| HeaderValue::try_from(text).ok());
        Self { kind, policy, plain: body.into(), gzip }
    }

    /// A template, filled from the description. Both are parts of the binary, and a test renders each.
    fn rendered(template: &str, kind: HeaderValue) -> Self {
        let body = render::render(template, description());
        Self::new(kind, body.unwrap_or_else(|error| error.to_string()))
    }

    fn reply(&self, asked: &HeaderMap) -> Response {
        let zipped = self.gzip.clone().filter(|_| gzip::accepted(asked));
        let mut reply = empty(StatusCode::OK);
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, self.kind.clone());
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if zipped.is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(policy) = &self.policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
        *reply.body_mut() = zipped.unwrap_or_else(|| self.plain.clone()).into();
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::super::{feed, health, query, recent_calls, stats_query};
    use super::openapi::{Node as _, resolve};
    use super::*;
    use crate::domain::SEARCH_PARAMETERS;

    #[test]
    fn every_parameter_that_is_read_is_described_and_no_other() {
        let document = description();
        let mut queries = 0;
        // A search stands behind the other filters.
        let (filters, rest) = query::PARAMETERS.split_at(8);
        let of_list = [filters, &SEARCH_PARAMETERS, rest].concat();
        let times = rest.get(..3).unwrap();
        assert_eq!(times, ["stale", "start", "end"]);
        let of_stats = [filters, &SEARCH_PARAMETERS, times, &stats_query::PARAMETERS].concat();
        for (path, item) in document.at("paths").members() {
            let read: &[&str] = match path.as_str() {
                path if path.ends_with("/Calls") => &of_list,
                path if path.ends_with("/CallStats") => &of_stats,
                path if path.ends_with("/RecentCalls") => &recent_calls::PARAMETERS,
                path if path.ends_with("/changes") => &feed::PARAMETERS,
                "/readyz" => &health::PARAMETERS,
                _ => &[],
            };
            for method in ["get", "head", "put", "post", "delete"] {
                if !item.has(method) {
                    continue;
                }
                let own = item.at(method).at("parameters").items();
                let own = own.iter().map(|parameter| resolve(document, parameter));
                let own = own.filter(|parameter| parameter.at("in").text() == "query");
                let own: Vec<&str> = own.map(|parameter| parameter.at("name").text()).collect();
                let expected = if matches!(method, "get" | "head") { read } else { &[] };
                assert_eq!(own, expected, "{method} {path}");
                queries += own.len();
            }
        }
        assert_eq!(queries, 2 * (3 * (18 + 15 + 30) + 9 + 9 + 2 + 2 + 2 + 1));
    }

    #[test]
    fn every_template_is_filled() {
        for (template, least) in [("page.html", 50_000), ("front.html", 1000), ("llms.txt", 20_000)]
        {
            let page = render::render(template, description()).unwrap();
            assert!(page.len() > least, "{template}: {page}");
            assert!(page.contains(env!("CARGO_PKG_VERSION")), "{template}: {page}");
        }
    }
}
