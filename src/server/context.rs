//! The state that handlers of requests share, made of the configuration.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::certificates::ends;
use super::serve::RunningServer;
use crate::http;
use crate::meter::Requests;
use crate::ops::Failure;
use crate::outbound;
use crate::tls::TlsReloader;

impl RunningServer<'_> {
    /// `stopping` changes, or loses its sender, when the server stops.
    pub(super) fn http_context(
        &self,
        stopping: watch::Receiver<()>,
        reloader: &Arc<TlsReloader>,
    ) -> Result<http::ApiContext, Failure> {
        let config = self.config;
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let servers = &config.feature_servers;
        let ca = config.upstream.ca.as_deref();
        let client = outbound::Client::new(ca, servers.connect, servers.timeout)
            .map_err(|error| Failure::new(crate::store::chain(&error)))?;
        let (urls, networks) = (servers.urls.clone(), servers.networks.clone());
        Ok(http::ApiContext {
            store: self.store.clone(),
            body_bytes: config.limits.body_bytes,
            bodies: http::BodyBudget::new(config.limits.body_bytes),
            turns: http::ReadConcurrency::new(),
            answers: http::AnswerBudget::new(),
            body_time: config.limits.body,
            batch_events: config.limits.batch_events,
            service_url: config.service_url(),
            page_rows: config.list.page_rows,
            count_rows: config.list.count_rows,
            window: config.list.window.map(|window| http::Window {
                ended_millis: millis(window),
                lifetime_millis: millis(config.calls.max_lifetime),
            }),
            token_requests: config.limits.token_requests,
            token_window: config.limits.token_window,
            allow_origin: config
                .cors
                .allow_origin
                .as_ref()
                .map(|origin| origin.as_str().to_owned()),
            client,
            feature_servers: outbound::Servers::new(urls, networks, servers.retry_after),
            upstream: config.upstream.api_url.clone(),
            event_streams: http::StreamLimit::new(config.limits.event_streams),
            keep_alive: config.limits.keep_alive,
            requests: Arc::new(Requests::new(http::templates())),
            started_at: self.started_at,
            certificates: {
                let reloader = reloader.clone();
                Box::new(move || ends(&reloader))
            },
            metrics_accounts: config.metrics.accounts.clone(),
            slow: config.log.slow,
            audit: self.audit.clone(),
            stopping,
        })
    }
}
