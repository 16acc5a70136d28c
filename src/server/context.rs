//! The state that handlers of requests share, made of the configuration.

use std::sync::Arc;

use tokio::sync::watch;

use super::certificates::ends;
use super::serve::RunningServer;
use crate::http;
use crate::meter::Requests;
use crate::ops::Failure;
use crate::outbound;
use crate::tls::TlsReloader;
use crate::upstream::UpstreamAuth;

impl RunningServer<'_> {
    /// `stopping` changes, or loses its sender, when the server stops.
    pub(super) fn http_context(
        &self,
        stopping: watch::Receiver<()>,
        reloader: &Arc<TlsReloader>,
    ) -> Result<http::ApiContext, Failure> {
        let config = self.config;
        let servers = &config.feature_servers;
        let ca = config.upstream.ca.as_deref();
        let client = outbound::Client::new(ca, "upstream.ca", servers.connect, servers.timeout)
            .map_err(|error| Failure::new(crate::store::chain(&error)))?;
        let upstream_auth = UpstreamAuth::new(&config.upstream, self.store.meter().clone())
            .map_err(|error| Failure::new(crate::store::chain(&error)))?;
        let (urls, networks) = (servers.urls.clone(), servers.networks.clone());
        Ok(http::ApiContext {
            config: Arc::new(config.clone()),
            store: self.store.clone(),
            intake: self.intake.clone(),
            bodies: http::BodyBudget::new(config.limits.body_bytes),
            read_concurrency: http::ReadConcurrency::new(),
            answers: http::AnswerBudget::new(),
            client,
            feature_servers: outbound::Servers::new(urls, networks, servers.retry_after),
            upstream_auth,
            event_streams: http::StreamLimit::new(config.limits.event_streams),
            requests: Arc::new(Requests::new(http::templates())),
            started_at: self.started_at,
            certificates: {
                let reloader = reloader.clone();
                Box::new(move || ends(&reloader))
            },
            operation: http::Operation::default(),
            is_demo: self.is_demo(),
            audit: self.audit.clone(),
            stopping,
        })
    }
}
