//! The sections of the configuration, one struct for each, with the bounds of their values.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::{ListenAddr, ProxyAddress, SubjectName};
use super::bounds::{
    DAY_MS, GIB, KIB, MIB, MINUTE_MS, few, optional, optional_path, optional_span, size, span,
    whole,
};
use super::web::{AllowedOrigin, ServiceUrlTemplate};
use crate::domain::AccountSid;
use crate::outbound::{Base, Network};

/// Section `[tls]`: the HTTPS certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The operator's certificate and key; `None`: both are made, in `tls/` of the data directory.
    pub files: Option<TlsFiles>,
    /// Names for the certificate that is made, besides `localhost` and its addresses.
    pub names: Vec<SubjectName>,
    /// What clients have to show; `None`: nothing.
    pub clients: Option<TlsClients>,
}

/// Client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsClients {
    /// PEM file: the authorities that they are checked against.
    pub ca: PathBuf,
    /// Whether a client without one is refused.
    pub required: bool,
}

/// Who has to show a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Nobody is asked.
    #[default]
    Off,
    /// Who shows one must show a right one.
    Optional,
    /// Everybody.
    Required,
}

/// The operator's certificate and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file: the certificate, then its chain.
    pub cert: PathBuf,
    /// PEM file: the private key.
    pub key: PathBuf,
}

/// Section `[http]`: the plain-HTTP listener, and proxies in front of rollcall.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Where plain HTTP is served; `None`: nowhere.
    #[serde(with = "optional")]
    pub listen: Option<ListenAddr>,
    /// Whether `listen` may be another address than a loopback one.
    pub allow_remote: bool,
    /// Whether connections to `listen` begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Proxies, before any listener, whose word on where a client is is believed.
    #[serde(deserialize_with = "few::<_, _, 100>")]
    pub trusted_proxies: Vec<ProxyAddress>,
}

/// Section `[limits]`: what a client may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Connections at a time, for each listener.
    #[serde(deserialize_with = "whole::<_, _, 1, 1_000_000>")]
    pub connections: usize,
    /// Bytes of a request body.
    #[serde(deserialize_with = "size::<_, _, KIB, { 256 * MIB }>")]
    pub body_bytes: usize,
    /// Events of one hook request.
    #[serde(deserialize_with = "whole::<_, _, 1, 1_000_000>")]
    pub batch_events: usize,
    /// Time for a TLS handshake.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub handshake: Duration,
    /// Time for a request's header.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub header: Duration,
    /// How long a connection may be idle between two requests.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub idle: Duration,
    /// Time for a request's body.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub body: Duration,
    /// How long a client may take nothing of an answer.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub write: Duration,
    /// How long running requests may take to end once the server stops.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub drain: Duration,
    /// Requests that a token may send in `token_window`; 0: as many as it likes.
    #[serde(deserialize_with = "whole::<_, _, 0, 1_000_000_000>")]
    pub token_requests: u64,
    /// The time in which a token's requests are counted.
    #[serde(with = "span::Between::<1000, DAY_MS>")]
    pub token_window: Duration,
    /// Events that may wait for the committer; never less than `batch_events`.
    #[serde(deserialize_with = "whole::<_, _, 1, 10_000_000>")]
    pub queue_events: usize,
    /// Readers of changes at a time, by lines or by events.
    #[serde(deserialize_with = "whole::<_, _, 0, 65_536>")]
    pub event_streams: usize,
    /// How long an event stream is silent at most.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub keep_alive: Duration,
}

/// Section `[store]`: journal, registry and index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Bytes of the index that are cached.
    #[serde(deserialize_with = "size::<_, _, MIB, { 1024 * GIB }>")]
    pub index_cache_bytes: u64,
    /// Bytes at which a journal segment is sealed.
    #[serde(deserialize_with = "size::<_, _, MIB, { 4 * GIB }>")]
    pub segment_bytes: u64,
    /// Calls that the registry holds.
    #[serde(deserialize_with = "whole::<_, _, 1000, 100_000_000>")]
    pub registry_calls: usize,
    /// Time between two checkpoints.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub checkpoint_interval: Duration,
    /// How long a live call is in the registry before it is written to the index too.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub live_checkpoint_age: Duration,
    /// Journal bytes after the last checkpoint beyond which live calls go to the index too.
    #[serde(deserialize_with = "size::<_, _, MIB, { 1024 * GIB }>")]
    pub replay_bytes: u64,
    /// Free bytes of the disk below which nothing is taken that makes the store grow; 0: any.
    #[serde(deserialize_with = "size::<_, _, 0, { 1024 * 1024 * GIB }>")]
    pub min_free_bytes: u64,
    /// Bytes of the disk that are held for a start on a full one; 0: none.
    #[serde(deserialize_with = "size::<_, _, 0, { 64 * GIB }>")]
    pub reserve_bytes: u64,
}

/// Section `[calls]`: how calls age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CallsSection {
    /// How long after its last event a live call becomes stale, and how long a tombstone stands.
    #[serde(with = "span::Between::<MINUTE_MS, { 365 * DAY_MS }>")]
    pub max_lifetime: Duration,
    /// Time between two searches for stale calls.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub sweep_interval: Duration,
}

/// Section `[retention]`: how long calls are kept, and how disk space comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSection {
    /// How long after it was listed an ended call is kept; `None`: for good.
    #[serde(with = "optional_span")]
    pub age: Option<Duration>,
    /// Whether calls may be kept for less than a day.
    pub allow_short: bool,
    /// Bytes that journal and index may take together; 0: any.
    #[serde(deserialize_with = "size::<_, _, 0, { 1024 * 1024 * GIB }>")]
    pub bytes: u64,
    /// How far back every version of every call is kept.
    #[serde(with = "span::Between::<0, { 365 * DAY_MS }>")]
    pub history: Duration,
    /// Time within which a deleted call has left the disk.
    #[serde(with = "span::Between::<{ 60 * MINUTE_MS }, { 365 * DAY_MS }>")]
    pub erase_within: Duration,
    /// Time between two searches for what can go.
    #[serde(with = "span::Between::<1000, DAY_MS>")]
    pub interval: Duration,
}

/// Section `[list]`: what a list shows, and what it may cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListSection {
    /// How long after its end a call is in the plain list; `None`: for good.
    #[serde(with = "optional_span")]
    pub window: Option<Duration>,
    /// Rows that a page looks at before it ends early.
    #[serde(deserialize_with = "whole::<_, _, 1000, 1_000_000_000>")]
    pub page_rows: usize,
    /// Rows that a count may look at.
    #[serde(deserialize_with = "whole::<_, _, 1000, 1_000_000_000>")]
    pub count_rows: usize,
}

/// Section `[hooks]`: the call status webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HooksSection {
    /// How `service_url` is derived where an event has none; `None`: it is not.
    #[serde(with = "optional")]
    pub service_url: Option<ServiceUrlTemplate>,
}

/// Section `[feature_servers]`: where calls are controlled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeatureServers {
    /// Servers that take new calls in turn; calls that name one of them are updated there.
    pub urls: Vec<Base>,
    /// Where the servers of calls may be besides.
    pub networks: Vec<Network>,
    /// Time for a connection, TLS included.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub connect: Duration,
    /// Time for an answer, once there is a connection.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub timeout: Duration,
    /// How long a server that did not answer is asked after all others.
    #[serde(with = "span::Between::<1, DAY_MS>")]
    pub retry_after: Duration,
}

/// Section `[upstream]`: jambonz's own API, and whom rollcall trusts as a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Upstream {
    /// Where new calls that name an application go; `None`: nowhere.
    #[serde(with = "optional")]
    pub api_url: Option<Base>,
    /// PEM file: authorities for https; `None`: those of the system.
    #[serde(with = "optional_path")]
    pub ca: Option<PathBuf>,
}

/// Section `[cors]`: cross-origin requests from browsers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cors {
    /// Value of `Access-Control-Allow-Origin`; `None`: no CORS headers.
    #[serde(with = "optional")]
    pub allow_origin: Option<AllowedOrigin>,
}

/// Section `[log]`: the log on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least grave messages that are written.
    pub level: LogLevel,
    /// The shape of a line.
    pub format: LogFormat,
    /// How long an answer may take before a warning says so; `None`: as long as it likes.
    #[serde(with = "optional_span")]
    pub slow: Option<Duration>,
    /// How telephone numbers are shown.
    pub numbers: LogNumbers,
    /// Where the deeds of admins are written, and wrong credentials; `None`: to the log.
    #[serde(with = "optional_path")]
    pub audit: Option<PathBuf>,
}

/// Section `[metrics]`: what Prometheus scrapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Where scrapes are answered without a token; `None`: nowhere.
    #[serde(with = "optional")]
    pub listen: Option<ListenAddr>,
    /// Whether `listen` may be another address than a loopback one.
    pub allow_remote: bool,
    /// Accounts with figures of their own; each makes the scrape longer.
    #[serde(deserialize_with = "few::<_, _, 100>")]
    pub accounts: Vec<AccountSid>,
}

/// How telephone numbers are shown in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogNumbers {
    /// The last two digits alone.
    Mask,
    /// As they are.
    Full,
}

/// How grave a message must be to be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Only failures.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And the course of things.
    Info,
    /// And each request.
    Debug,
    /// Everything.
    Trace,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Entries of the systemd journal where standard error leads there, else text for people.
    Auto,
    /// Text for people.
    Human,
    /// One JSON object a line.
    Json,
    /// Entries of the systemd journal, with a field for each value; nothing on stderr.
    Journald,
}
