//! The console: pages for a browser, and a small API of their own beside `/v1`.
//!
//! Architecture invariants. A session is its token: each request of it is judged as one with the token would be.
//! The cookie of a session counts for pages of this server alone, over connections that nobody reads along, and
//! never beside `Authorization`; no answer to a request with it may be read by a page of another origin.

mod operation;
mod origin;
mod pages;
mod session;

use std::future::Future;
use std::pin::Pin;

use http::header::{CACHE_CONTROL, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::ApiContext;
use super::auth::Principal;
use super::error::ApiError;
use super::request::ApiRequest;
use super::response::Response;
pub use operation::Operation;
pub(super) use pages::leads_from_front;
pub(super) use session::ConsoleSession;

/// Where the API of the console begins.
const API: &str = "/api/";
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

type Answer<'r> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'r>>;
/// What answers a route: the second argument is what stands in the path in place of the braces.
type Handler = for<'r> fn(&'r mut ApiRequest<'_>, &'r str) -> Answer<'r>;

/// A route of the console's own API, by its path behind `/console/api/`.
struct ConsoleRoute {
    method: Method,
    template: &'static str,
    handler: Handler,
}

macro_rules! routes {
    ($($method:ident $template:literal => $handler:path;)*) => {
        &[$(ConsoleRoute {
            method: Method::$method,
            template: $template,
            handler: |request, part| Box::pin($handler(request, part)),
        }),*]
    };
}

/// Every route, as docs/console.md has them.
static ROUTES: &[ConsoleRoute] = routes! {
    GET    "session" => session::show;
    POST   "session" => session::sign_in;
    DELETE "session" => session::sign_out;
    GET    "tokens" => operation::tokens;
    POST   "tokens" => operation::make_token;
    DELETE "tokens/{id}" => operation::revoke_token;
    GET    "accounts" => operation::accounts;
    PUT    "accounts/{sid}" => operation::set_account;
    DELETE "accounts/{sid}" => operation::remove_account;
    GET    "operation" => operation::operation;
    GET    "audit" => operation::audit;
    POST   "test-event" => operation::test_event;
};

/// What comes behind `/console` in a path of the console.
pub(super) fn rest_of(path: &str) -> Option<&str> {
    path.strip_prefix("/console").filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a request is one of the console, or brings the cookie of a session.
pub(super) fn concerns(head: &Parts) -> bool {
    rest_of(head.uri.path()).is_some() || session::cookie(&head.headers).is_some()
}

/// Answers a path of the console, by what comes behind `/console`.
pub(super) async fn answer(request: &mut ApiRequest<'_>, rest: &str) -> Result<Response, ApiError> {
    if !request.context.config.console.enabled {
        return Err(ApiError::not_found("the console is off: console.enabled is false"));
    }
    if !is_secure(request) {
        return Err(ApiError::forbidden(
            "the console is served over HTTPS: use the HTTPS listener; where a proxy ends TLS in front of \
             the plain one, name it in http.trusted_proxies",
        ));
    }
    let Some(path) = rest.strip_prefix(API) else { return pages::answer(request, rest) };
    let path = path.strip_suffix('/').unwrap_or(path);
    let (mut allow, mut found) = (Vec::new(), None);
    for route in ROUTES {
        let Some(part) = part_of(path, route.template) else { continue };
        allow.push(route.method.as_str());
        if route.method == Method::GET {
            allow.push("HEAD");
        }
        let is_read = *request.method == Method::HEAD && route.method == Method::GET;
        if route.method == *request.method || is_read {
            found = found.or(Some((route, part)));
        }
    }
    if allow.is_empty() {
        return Err(ApiError::not_found("no such path of the console"));
    }
    let Some((route, part)) = found else {
        let allow = allow.join(", ");
        return Err(ApiError::method(&allow, format!("this path answers {allow}")));
    };
    let mut reply = (route.handler)(request, part).await?;
    reply.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    Ok(reply)
}

/// What stands in a path in place of a template's braces, nothing where it has none; none where the path is
/// another.
fn part_of<'p>(path: &'p str, template: &str) -> Option<&'p str> {
    match template.split_once('{') {
        None => (path == template).then_some(""),
        Some((before, _)) => {
            path.strip_prefix(before).filter(|part| !part.is_empty() && !part.contains('/'))
        }
    }
}

/// Whether nobody can read along.
fn is_secure(request: &ApiRequest<'_>) -> bool {
    request.connection.is_some_and(|connection| connection.is_secure)
}

/// The session of a request, and what its token stands for now.
async fn signed_in<'r>(
    request: &'r ApiRequest<'_>,
) -> Result<(&'r ConsoleSession, Principal), ApiError> {
    let session = request.session.ok_or_else(|| ApiError::unauthorized(false))?;
    let principal = session.principal(request).await?;
    crate::logs::note_token(&principal.id);
    Ok((session, principal))
}

/// The sole value of a header field as text.
fn sole(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether the console is there for this request.
fn is_served(context: &ApiContext, connection: Option<&super::ConnectionInfo>) -> bool {
    context.config.console.enabled && connection.is_some_and(|connection| connection.is_secure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_documented_and_no_other() {
        let text = include_str!("../../../docs/console.md");
        let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: Vec<&str> = rows
            .filter_map(|row| row.split(['`', '?']).next())
            .filter(|row| row.contains(" /"))
            .collect();
        let routed: Vec<String> = ROUTES
            .iter()
            .map(|route| format!("{} /console/api/{}", route.method, route.template))
            .collect();
        let mut documented: Vec<String> = documented.iter().map(ToString::to_string).collect();
        let mut sorted = routed.clone();
        documented.sort();
        sorted.sort();
        assert_eq!(documented, sorted);
    }

    #[test]
    fn the_part_of_a_path_is_one_segment() {
        assert_eq!(part_of("tokens/a", "tokens/{id}"), Some("a"));
        for other in ["tokens/", "tokens", "tokens/a/b", "token/a"] {
            assert_eq!(part_of(other, "tokens/{id}"), None, "{other}");
        }
        assert_eq!(part_of("session", "session"), Some(""));
    }
}
