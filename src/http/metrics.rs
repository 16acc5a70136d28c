//! `GET /metrics`: the figures, for Prometheus. With a token on the API's own listeners; on the
//! listener that the configuration has for scrapes, without one.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use hyper::body::Incoming;

use super::ApiContext;
use super::calls::blocking;
use super::error::ApiError;
use super::request::ApiRequest;
use super::response::{Response, json};
use crate::clock;
use crate::meter;

/// The exposition format of Prometheus.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// `GET /metrics`.
pub(super) async fn metrics(request: &ApiRequest<'_>) -> Result<Response, ApiError> {
    scrape(request.context).await
}

async fn scrape(context: &Arc<ApiContext>) -> Result<Response, ApiError> {
    let all = context.clone();
    let text = blocking(&context.store, move |store| {
        let mut figures = store.figures(&all.config.metrics.accounts, clock::now());
        figures.started_at = all.started_at.millis();
        figures.event_streams = all.event_streams.inside();
        figures.certificates = (all.certificates)();
        figures.cluster = all.intake.node().map(|node| node.gauges());
        Ok(meter::scrape(store.meter().clone(), all.requests.clone(), figures))
    });
    let mut reply = json(StatusCode::OK, text.await?);
    reply.headers_mut().insert(CONTENT_TYPE, TEXT);
    Ok(reply)
}

/// A hyper service that answers scrapes and nothing else, without a token.
#[derive(Clone)]
pub struct Scrapes(Arc<ApiContext>);

/// Scrapes of what this context counts.
pub fn scrapes(context: Arc<ApiContext>) -> Scrapes {
    Scrapes(context)
}

impl hyper::service::Service<http::Request<Incoming>> for Scrapes {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        let context = self.0.clone();
        Box::pin(async move {
            let answer = match (request.uri().path(), request.method()) {
                ("/metrics", &Method::GET | &Method::HEAD) => scrape(&context).await,
                ("/metrics", _) => {
                    Err(ApiError::method("GET, HEAD", "this path answers GET, HEAD"))
                }
                _ => Err(ApiError::not_found("no such path: scrapes are answered at /metrics")),
            };
            Ok(answer.unwrap_or_else(Response::from))
        })
    }
}
