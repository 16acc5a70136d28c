//! The certificate while the server is running: read again on SIGHUP, renewed before it expires, and
//! named in the log when it is about to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::Notify;

use super::owner::no_certificate;
use crate::clock;
use crate::config::{Config, SubjectName};
use crate::ops::Failure;
use crate::store::chain;
use crate::tls::{Clients, Expiries, Setup, TlsReloader, TlsSource};

/// How often it is looked at. A clock that is set, or a machine that slept, is noticed as soon.
const INTERVAL: Duration = Duration::from_hours(1);

/// Reads certificates again, for new connections.
pub(super) async fn reload(reloader: &Arc<TlsReloader>) {
    let reloader = reloader.clone();
    let reloaded = tokio::task::spawn_blocking(move || reloader.reload(clock::system_time())).await;
    match reloaded {
        Ok(Ok(())) => tracing::info!("the certificate has been read again"),
        Ok(Err(error)) => {
            let error = chain(&error);
            tracing::error!(error, "the certificate stays as it is");
        }
        Err(error) => tracing::error!(%error, "the certificate stays as it is"),
    }
}

/// Renews a made certificate in time, and logs what is about to expire: every hour, and after
/// `read_again`. Never returns.
pub(super) async fn look_after(reloader: Arc<TlsReloader>, read_again: Arc<Notify>) {
    let mut expiries = Expiries::default();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = read_again.notified() => {}
        }
        let reloader = reloader.clone();
        let looked = tokio::task::spawn_blocking(move || {
            look(&reloader, &mut expiries);
            expiries
        });
        expiries = looked.await.unwrap_or_default();
    }
}

fn look(reloader: &TlsReloader, expiries: &mut Expiries) {
    let now = clock::system_time();
    match reloader.renew_if_due(now) {
        Ok(true) => tracing::info!("new connections are served with the new certificate"),
        Ok(false) => {}
        Err(error) => {
            let error = chain(&error);
            tracing::error!(error, "the certificate cannot be renewed and stays as it is");
        }
    }
    let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let certificates = &reloader.loaded().certificates;
    for certificate in certificates.iter().filter(|one| now_s < one.not_before_s) {
        let file = certificate.file.display();
        let subject = certificate.subject.escape_default();
        let not_before = time(certificate.not_before_s);
        tracing::error!(%file, %subject, %not_before, "a certificate is not valid yet, or the clock is wrong");
    }
    for certificate in expiries.due(certificates, now_s) {
        let file = certificate.file.display();
        let subject = certificate.subject.escape_default();
        let not_after = time(certificate.not_after_s);
        let days_left = certificate.days_left(now_s);
        if now_s > certificate.not_after_s {
            tracing::error!(%file, %subject, %not_after, "a certificate has expired");
        } else {
            tracing::warn!(%file, %subject, %not_after, days_left, "a certificate is about to expire");
        }
    }
}

/// A time as people read it; one after the year 9999 as its end.
fn time(unix_s: u64) -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s.min(253_402_300_799)))
}

/// When the certificates in use end, by their files. One with several ends with the first of them.
pub(super) fn ends(reloader: &TlsReloader) -> Vec<(String, u64)> {
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for (file, not_after_s) in reloader.expiries() {
        let end = ends.entry(file.display().to_string()).or_insert(u64::MAX);
        *end = not_after_s.min(*end);
    }
    ends.into_iter().collect()
}

impl Config {
    pub fn tls_setup(&self) -> Setup {
        let source = match self.tls.files() {
            Some(files) => {
                TlsSource::Files { certificate: files.cert.clone(), key: files.key.clone() }
            }
            None => TlsSource::Made {
                directory: self.data_dir.join("tls"),
                names: self.tls.names.iter().map(SubjectName::to_string).collect(),
            },
        };
        let clients = self
            .tls
            .clients()
            .map(|clients| Clients { authority: clients.ca.clone(), required: clients.required });
        Setup { source, clients }
    }

    pub(super) fn certificate(&self) -> Result<TlsReloader, Failure> {
        TlsReloader::new(self.tls_setup(), clock::system_time())
            .map_err(|error| no_certificate(&error, self))
    }
}
