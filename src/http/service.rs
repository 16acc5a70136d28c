//! What every request goes through, whatever its path.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_REQUEST_HEADERS, HOST, HeaderValue,
    TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use hyper::body::Incoming;
use tower_service::Service as _;
use warp::filters::BoxedFilter;

use super::Context;
use super::reply::{Refusal, Reply, empty};
use super::routes::routes;

const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,POST,PUT,DELETE");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("ETag,Link,X-Next-Cursor,X-Total-Count,Retry-After");

/// The API as a hyper service.
#[derive(Clone)]
pub struct Api {
    routes: BoxedFilter<(Reply,)>,
    allow_origin: Option<HeaderValue>,
}

/// The API over this context.
pub fn service(context: Arc<Context>) -> Api {
    let allow_origin = context.allow_origin.as_deref();
    let allow_origin = allow_origin.and_then(|origin| HeaderValue::from_str(origin).ok());
    Api { routes: routes(context), allow_origin }
}

impl hyper::service::Service<Request<Incoming>> for Api {
    type Response = Reply;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Reply, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            let mut reply = if let Err(refusal) = unambiguous(&request) {
                refusal.into()
            } else if *request.method() == Method::OPTIONS {
                preflight(request.headers())
            } else {
                let Ok(reply) = warp::service(api.routes).call(request).await;
                reply
            };
            if let Some(origin) = api.allow_origin {
                let headers = reply.headers_mut();
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            Ok(reply)
        })
    }
}

/// Whether everybody on the way reads this request alike (RFC 9112, sections 3.2 and 6). hyper
/// itself closes the connection after a request with both a length and a transfer encoding.
fn unambiguous<B>(request: &Request<B>) -> Result<(), Refusal> {
    let headers = request.headers();
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && request.version() == Version::HTTP_11 {
        return Err(Refusal::bad("Host: expected exactly one"));
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let plain = |encoding: &HeaderValue| encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if encodings.next().is_some_and(|first| !plain(first)) || encodings.next().is_some() {
        return Err(Refusal::bad("Transfer-Encoding: expected chunked, once"));
    }
    Ok(())
}

/// The answer to a browser that asks beforehand.
fn preflight(asked: &HeaderMap) -> Reply {
    let mut reply = empty(StatusCode::NO_CONTENT);
    let headers = reply.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    reply
}
