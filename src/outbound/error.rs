//! Why a request of rollcall's own is not answered.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot read certificates from {key} {}: {why}", path.display())]
    Authorities { key: &'static str, path: PathBuf, why: String },
    #[error("cannot read {key} {}: {why}", path.display())]
    Identity { key: &'static str, path: PathBuf, why: String },
    #[error("cannot set up TLS for outgoing requests")]
    Tls(#[from] rustls::Error),
}

/// Why a request has no answer. Only after [`RequestError::Unreached`] and [`RequestError::Denied`] it is
/// certain that no server has received it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error(
        "service_url \"{url}\"{} is not a configured feature server; \
         add it to feature_servers.urls, or its address to feature_servers.networks",
        resolved(*.address)
    )]
    Denied {
        url: String,
        /// The address that is in no network, where one was looked up.
        address: Option<IpAddr>,
    },
    /// No connection was made, so that nothing was sent.
    #[error("cannot connect to {url}: {why}")]
    Unreached { url: String, why: String },
    /// It was sent, and no whole answer came in time.
    #[error("{url} did not answer within {}", humantime::format_duration(*.time))]
    Late { url: String, time: Duration },
    /// It was sent, and the connection failed.
    #[error("the connection to {url} failed: {why}")]
    Lost { url: String, why: String },
    #[error("the answer of {url} has more than {most} bytes")]
    TooLarge { url: String, most: usize },
}

fn resolved(address: Option<IpAddr>) -> String {
    address.map(|address| format!(" ({address})")).unwrap_or_default()
}
