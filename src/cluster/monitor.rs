//! What servers say of themselves at their monitoring addresses (`http` in nats.conf).

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde::Deserialize;

use super::hints::{Extent, ServerReport};
use crate::clock;
use crate::config::Cluster;
use crate::outbound::{Base, Client, ClientError, Message, RequestError};
use crate::wire::parse_time;

const CONNECT_MAX: Duration = Duration::from_secs(2);
const ANSWER_MAX: Duration = Duration::from_secs(3);
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of names and versions that are kept.
const TEXT_BYTES_MAX: usize = 128;

/// The monitoring addresses that the configuration names.
pub struct Monitors {
    client: Client,
    addresses: Vec<Base>,
}

/// Why a monitor says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cluster.monitors {address}: {why}")]
pub struct MonitorError {
    pub address: String,
    pub why: String,
}

#[derive(Deserialize)]
struct Varz {
    server_name: String,
    version: String,
    #[serde(default)]
    max_payload: u64,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JetStream {
    config: JetStreamConfig,
    stats: JetStreamStats,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JetStreamConfig {
    sync_always: bool,
    max_storage: u64,
    store_dir: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct JetStreamStats {
    storage: u64,
    reserved_storage: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Jsz {
    disabled: bool,
    account_details: Vec<Account>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Account {
    stream_detail: Vec<Stream>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stream {
    name: String,
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    first_ts: String,
    last_seq: u64,
    num_deleted: u64,
}

impl State {
    fn extent(&self) -> Option<Extent> {
        let first_at = parse_time(&self.first_ts).filter(|_| self.messages > 0)?.millis();
        let &Self { messages, bytes, first_seq: first, last_seq: last, .. } = self;
        Some(Extent { first, first_at, last, messages, bytes })
    }
}

impl Monitors {
    /// `ca` is for those with TLS.
    ///
    /// # Errors
    /// It cannot be read, or has no certificate.
    pub fn new(addresses: &[Base], ca: Option<&Path>) -> Result<Self, ClientError> {
        let client = Client::new(ca, "cluster.ca", CONNECT_MAX, ANSWER_MAX)?;
        Ok(Self { client, addresses: addresses.to_vec() })
    }

    /// Those of the configuration.
    pub fn of(cluster: &Cluster) -> Result<Self, ClientError> {
        Self::new(&cluster.monitors, cluster.ca.as_deref())
    }

    /// Asks each for its server, and for that server's replica of a stream.
    pub async fn look(&self, stream: &str) -> Vec<Result<ServerReport, MonitorError>> {
        let looks = self.addresses.iter().map(|address| self.look_at(address, stream));
        futures_util::future::join_all(looks).await
    }

    async fn look_at(&self, address: &Base, stream: &str) -> Result<ServerReport, MonitorError> {
        let failed = |why: String| MonitorError { address: address.to_string(), why };
        let varz: Varz = self.get(address, "/varz").await.map_err(failed)?;
        let jsz = self.get(address, "/jsz?accounts=true&streams=true").await;
        let jsz: Jsz = jsz.map_err(failed)?;
        let disabled = jsz.disabled;
        let mut streams = jsz.account_details.into_iter().flat_map(|account| account.stream_detail);
        let state = streams.find(|found| found.name == stream).map(|replica| replica.state);
        let JetStream { config, stats } = varz.jetstream;
        let short = |text: String| text.chars().take(TEXT_BYTES_MAX).collect();
        Ok(ServerReport {
            name: short(varz.server_name),
            version: short(varz.version),
            sync_always: config.sync_always,
            disabled,
            deleted: state.as_ref().map(|state| state.num_deleted),
            extent: state.as_ref().and_then(State::extent),
            before: None,
            max_payload: varz.max_payload,
            free_bytes: config
                .max_storage
                .saturating_sub(stats.storage.max(stats.reserved_storage)),
            looked_at: clock::now().millis(),
            store_dir: Some(config.store_dir)
                .filter(|_| address.is_this_machine())
                .unwrap_or_default(),
        })
    }

    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        address: &Base,
        path: &str,
    ) -> Result<T, String> {
        let message = Message {
            path: path.to_owned(),
            authorization: None,
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        let answer = self.client.request(address, Method::GET, message, BODY_BYTES_MAX).await;
        let answer = answer.map_err(|error: RequestError| error.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("{path} is answered {}", answer.status.as_u16()));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| format!("the answer to {path} cannot be read: {error}"))
    }
}
