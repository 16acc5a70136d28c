//! The log: made, opened, appended to, measured, trimmed.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{HeaderMap, Message, Request};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::{self, Ack, Failure, Purged, Removed, StreamConfig, StreamInfo};
use super::connection::Connection;
use super::epoch::Epoch;
use super::lost::Lost;
use super::read::ReadStats;
use super::same::{Position, WentBack, message_crc};
use crate::clock;
use crate::config::ClusterName;
use crate::domain::{Timestamp, counted, exact_duration};
use crate::wire::parse_time;

/// How long an answer of JetStream's API is waited for.
const API_TIMEOUT: Duration = Duration::from_secs(3);
/// Replicas of the stream: fewer keep no promise when a machine dies.
pub(super) const REPLICAS: usize = 3;
/// What headers and the name of the subject may take of a message.
const OVERHEAD_BYTES: usize = 4096;
/// Far above what packing makes, and below what the servers' makers advise.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A replica that is not current is away where the leader has not heard of it for so long.
const SILENT: Duration = Duration::from_secs(3);
const STATUS_TOO_MANY: u16 = 429;
/// What the name of a stream begins with; the name of the cluster follows.
const STREAM: &str = "RC_";
/// What follows the root in the subject of a message.
const ALL: &str = "all";
/// What follows it in a subject that the stream does not take.
const NO_MESSAGE_HAS: &str = "none.none";

/// Bytes of the largest message that a request with so large a body may need: it is passed on as it came, too. None
/// where no message may be so large.
pub fn message_bytes_for(body_bytes: usize) -> Option<usize> {
    let wanted = body_bytes.checked_mul(2)?.checked_add(64 * 1024)?;
    (wanted <= MESSAGE_BYTES_MAX).then_some(wanted)
}

/// What a new log is.
#[derive(Debug, Clone)]
pub struct LogOptions {
    pub epoch: Epoch,
    /// The sequence number of its first message, at least 1.
    pub first_seq: u64,
    /// How long messages are kept.
    pub max_age: Duration,
    /// How many bytes are kept: the oldest go when it is more.
    pub max_bytes: u64,
    /// The position in the log whose place this one takes; none for the first one.
    pub after: Option<Position>,
}

/// One stream of the servers, of one epoch. Cheap to copy.
#[derive(Clone)]
pub struct Log {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub connection: Connection,
    pub stream: String,
    /// What the subjects of its messages begin with, up to and with the last dot.
    pub root: String,
    pub epoch: Epoch,
    /// The greatest number of a message of this log that this node knows of.
    pub newest: AtomicU64,
    /// Of these messages the leader alone is asked.
    pub doubted: Mutex<Option<RangeInclusive<u64>>>,
    pub lost: Mutex<Lost>,
    pub went_back: Mutex<Option<WentBack>>,
    pub stats: ReadStats,
}

/// A message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    pub seq: u64,
    /// When its leader took it.
    pub at: Timestamp,
    pub bytes: Bytes,
}

/// How far the log reaches, and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// None where the stream says none that can be read.
    pub epoch: Option<Epoch>,
    /// Number of the oldest message, or of the next one where there is none.
    pub first: u64,
    /// Number of the newest message; `first - 1` where there is none.
    pub last: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Numbers between first and last that the leader has no message of.
    pub deleted: u64,
    /// Its server; none while there is no leader.
    pub leader: Option<String>,
    /// The other servers that have it.
    pub replicas: Vec<ReplicaState>,
    /// What the leader's clock shows; none where it does not say.
    pub clock: Option<LeaderClock>,
    /// The position in another log after which this one was begun, where it takes the place of that one.
    pub after: Option<Position>,
    pub(super) config: StreamConfig,
}

/// What the clock of a leader shows, as it has said in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderClock {
    pub at: Timestamp,
    /// When it was asked, and when it had answered: `at` lies between.
    pub asked: Instant,
    pub answered: Instant,
}

impl LeaderClock {
    /// What it shows now, at least.
    pub fn time(&self, now: Instant) -> Timestamp {
        later(self.at, now.saturating_duration_since(self.answered))
    }

    /// How far it is ahead of a clock that shows this now, in milliseconds; 0 where the time that the answer took explains it.
    pub fn ahead_of(&self, clock: Timestamp, now: Instant) -> i64 {
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
        let least = self.time(now).millis();
        let most = later(self.at, now.saturating_duration_since(self.asked)).millis();
        match clock.millis() {
            clock if clock < least => signed(least - clock),
            clock if clock > most => -signed(clock - most),
            _ => 0,
        }
    }
}

fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.plus_millis(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
}

impl Bounds {
    /// How far the leader's clock is ahead of this machine's, in milliseconds; none where it does not say.
    pub fn skew_millis(&self) -> Option<i64> {
        self.clock.map(|clock| clock.ahead_of(clock::now(), Instant::now()))
    }

    /// How long messages are kept.
    pub fn max_age(&self) -> Duration {
        Duration::from_nanos(self.config.max_age)
    }

    /// The subjects that a stream of its name and epoch takes; none where it says no epoch.
    pub(super) fn expected_subjects(&self) -> Option<String> {
        let cluster = self.config.name.strip_prefix(STREAM)?;
        Some(subjects_of(&root_of(cluster, self.epoch?)))
    }

    /// All servers that have it, its leader first.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        let followers = self.replicas.iter().map(|replica| replica.name.as_str());
        self.leader.as_deref().into_iter().chain(followers)
    }

    /// How many bytes are kept; none where there is no bound.
    pub fn max_bytes(&self) -> Option<u64> {
        u64::try_from(self.config.max_bytes).ok()
    }
}

/// A server that follows the leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaState {
    pub name: String,
    pub current: bool,
    pub offline: bool,
    /// Messages that it is behind, as far as the leader knows.
    pub lag: u64,
    /// How long the leader has not heard of it.
    pub silent: Duration,
}

impl ReplicaState {
    /// Why it does not count towards a quorum now, in words; none where it does.
    pub fn trouble(&self) -> Option<String> {
        let Self { name, current, offline, lag, silent } = self;
        // The servers call one offline only after some minutes.
        if *offline || !current && *silent >= SILENT {
            let silent = exact_duration(Duration::from_secs(silent.as_secs()));
            return Some(format!("server {name} has not answered the leader for {silent}"));
        }
        let behind = || match lag {
            // It has just been lost, or comes back.
            0 => format!("server {name} does not follow the leader now"),
            _ => format!("server {name} is behind the leader by {}", counted(*lag, "message")),
        };
        (!current).then(behind)
    }
}

/// Why JetStream's API did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("there is no connection to a server")]
    Disconnected,
    #[error(
        "no server answers for it: expected jetstream in nats.conf, and in the account of cluster.user"
    )]
    NoResponders,
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("{description} ({err_code})")]
    Refused { code: u16, err_code: u32, description: String },
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

/// Why a log cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("there is no stream {0}: `rollcall cluster create` makes it, once")]
    Missing(String),
    #[error(
        "stream {0} says no epoch in its metadata: `rollcall cluster create` has not made it; remove it, or take another cluster.name"
    )]
    NoEpoch(String),
    #[error("stream {stream} is there already, {}", shown(*epoch))]
    Exists { stream: String, epoch: Option<Epoch> },
    #[error("stream {stream}")]
    Api { stream: String, source: ApiError },
}

/// Why a message was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("there is no connection to a server")]
    Disconnected,
    #[error("the log has no leader")]
    NoLeader,
    #[error("no acknowledgement within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the same message is still under way")]
    Pending,
    #[error("the servers have too many messages that wait")]
    TooMany,
    #[error("the servers have no room: {0}")]
    Full(String),
    #[error("a message of {bytes} bytes: expected {most} at most (max_payload of the servers)")]
    TooLarge { bytes: usize, most: usize },
    #[error("the log has gone back: message {seq} was acknowledged after {newest} had been")]
    WentBack { seq: u64, newest: u64 },
    #[error("it is another log: {0}")]
    OtherLog(String),
    #[error("another message is the last one by now: {0}")]
    NotLast(String),
    #[error("{0}")]
    Refused(String),
}

impl AppendError {
    /// Whether the message may be in the log, or come there later.
    pub fn may_be_there(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Pending | Self::WentBack { .. })
    }

    /// Whether the same may succeed in a moment.
    pub fn passes(&self) -> bool {
        match self {
            Self::Disconnected
            | Self::NoLeader
            | Self::Timeout(_)
            | Self::Pending
            | Self::TooMany
            | Self::Full(_) => true,
            Self::TooLarge { .. }
            | Self::WentBack { .. }
            | Self::OtherLog(_)
            | Self::NotLast(_)
            | Self::Refused(_) => false,
        }
    }

    /// The word of the metric `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::NoLeader => "no_leader",
            Self::Timeout(_) => "timeout",
            Self::Pending => "pending",
            Self::TooMany => "too_many",
            Self::Full(_) => "full",
            Self::TooLarge { .. } => "too_large",
            Self::WentBack { .. } | Self::OtherLog(_) => "other_log",
            Self::NotLast(_) | Self::Refused(_) => "refused",
        }
    }
}

/// Why a log was not trimmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    #[error("message {asked} is not in the log yet: its last is {last}")]
    Beyond { asked: u64, last: u64 },
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl Log {
    /// The log of this epoch, whether servers are there or not.
    pub fn of(connection: &Connection, epoch: Epoch) -> Self {
        let cluster = &connection.settings.cluster;
        let shared = Shared {
            connection: connection.clone(),
            stream: stream_of(cluster),
            root: root_of(cluster.as_str(), epoch),
            epoch,
            newest: AtomicU64::new(0),
            doubted: Mutex::default(),
            lost: Mutex::default(),
            went_back: Mutex::default(),
            stats: ReadStats::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Makes the stream.
    ///
    /// # Errors
    /// [`OpenError::Exists`] where there is one of that name, whatever it is.
    pub async fn create(connection: &Connection, options: &LogOptions) -> Result<Self, OpenError> {
        let log = Self::of(connection, options.epoch);
        let config = expected_config(&log, options);
        let failed = |source| OpenError::Api { stream: log.shared.stream.clone(), source };
        let there = match log.info().await {
            Ok(info) => Some(info),
            Err(ApiError::Refused { err_code: api::NO_STREAM, .. }) => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(info) = there {
            let epoch = epoch_of(&info.config);
            return Err(OpenError::Exists { stream: log.shared.stream.clone(), epoch });
        }
        match log.api::<StreamInfo>("STREAM.CREATE", &config).await {
            Ok(_) => Ok(log),
            Err(ApiError::Refused { err_code: api::NAME_IN_USE, .. }) => {
                // Somebody else has made one in this moment.
                let made = log.info().await.ok();
                let epoch = made.and_then(|info| epoch_of(&info.config));
                Err(OpenError::Exists { stream: log.shared.stream.clone(), epoch })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The log that the servers have, whatever its epoch.
    pub async fn open(connection: &Connection) -> Result<Self, OpenError> {
        let unknown = Self::of(connection, Epoch::from_bytes([0; 16]));
        let stream = unknown.shared.stream.clone();
        match unknown.info().await {
            Ok(info) => match epoch_of(&info.config) {
                Some(epoch) => Ok(Self::of(connection, epoch)),
                None => Err(OpenError::NoEpoch(stream)),
            },
            Err(ApiError::Refused { err_code: api::NO_STREAM, .. }) => {
                Err(OpenError::Missing(stream))
            }
            Err(source) => Err(OpenError::Api { stream, source }),
        }
    }

    /// The name of the stream of a cluster.
    pub fn stream_of(connection: &Connection) -> String {
        stream_of(&connection.settings.cluster)
    }

    pub fn epoch(&self) -> Epoch {
        self.shared.epoch
    }

    /// The name of the stream, as servers and their tools show it.
    pub fn stream(&self) -> &str {
        &self.shared.stream
    }

    /// Bytes of the largest message.
    pub fn message_bytes_max(&self) -> usize {
        let most = self.shared.connection.max_payload().saturating_sub(OVERHEAD_BYTES);
        most.min(MESSAGE_BYTES_MAX)
    }

    /// Puts a message at the end. Returns its number, once a quorum of servers has it.
    ///
    /// # Errors
    /// It may be in the log all the same where [`AppendError::may_be_there`].
    pub async fn append(&self, bytes: Bytes, longest: Duration) -> Result<u64, AppendError> {
        self.append_with(ALL, &[], bytes, longest).await
    }

    /// The same with this end of the subject, and these headers.
    pub(super) async fn append_with(
        &self,
        part: &str,
        more: &[(&str, String)],
        bytes: Bytes,
        longest: Duration,
    ) -> Result<u64, AppendError> {
        let shared = &*self.shared;
        if !shared.connection.is_up() {
            return Err(AppendError::Disconnected);
        }
        let (given, most) = (bytes.len(), self.message_bytes_max());
        if given > most {
            return Err(AppendError::TooLarge { bytes: given, most });
        }
        let before = shared.newest.load(Ordering::Acquire);
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", shared.stream.as_str());
        for (name, value) in more {
            headers.insert(*name, value.as_str());
        }
        let payload = bytes.clone();
        let request = Request::new().headers(headers).payload(payload).timeout(Some(longest));
        let subject = format!("{}{part}", shared.root);
        let answer = shared.connection.client.send_request(subject, request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::TimedOut => AppendError::Timeout(longest),
            // Nobody has the subject of this epoch: no leader, or another log in its place.
            RequestErrorKind::NoResponders => AppendError::NoLeader,
            RequestErrorKind::MaxPayloadExceeded => AppendError::TooLarge { bytes: given, most },
            _ => AppendError::Refused(error.to_string()),
        })?;
        let seq = acknowledged(&answer, &shared.stream, given, most)?;
        // What came before this was sent has a smaller number.
        if seq <= before {
            let went_back = WentBack { seq, crc: message_crc(&bytes), at: Instant::now() };
            *shared.went_back.lock() = Some(went_back);
            return Err(AppendError::WentBack { seq, newest: before });
        }
        shared.newest.fetch_max(seq, Ordering::AcqRel);
        Ok(seq)
    }

    /// The same where this message is the last one, as nobody else has put one there meanwhile.
    ///
    /// # Errors
    /// [`AppendError::NotLast`] where another message is the last one by now.
    pub async fn append_behind(
        &self,
        last: u64,
        bytes: Bytes,
        longest: Duration,
    ) -> Result<u64, AppendError> {
        let last = [("Nats-Expected-Last-Sequence", last.to_string())];
        self.append_with(ALL, &last, bytes, longest).await
    }

    /// A message of this number was read, or was applied before the start.
    pub fn knows(&self, seq: u64) {
        self.shared.newest.fetch_max(seq, Ordering::AcqRel);
    }

    /// The greatest number of a message that this node knows of.
    pub fn newest(&self) -> u64 {
        self.shared.newest.load(Ordering::Acquire)
    }

    pub async fn bounds(&self) -> Result<Bounds, ApiError> {
        let asked = Instant::now();
        let info = self.info().await?;
        let answered = Instant::now();
        let clock = parse_time(&info.ts).map(|at| LeaderClock { at, asked, answered });
        let cluster = info.cluster.unwrap_or_default();
        let replicas = cluster.replicas.into_iter().map(|replica| ReplicaState {
            name: replica.name,
            current: replica.current,
            offline: replica.offline,
            lag: replica.lag,
            silent: Duration::from_nanos(replica.active),
        });
        Ok(Bounds {
            epoch: epoch_of(&info.config),
            first: info.state.first_seq,
            last: info.state.last_seq,
            messages: info.state.messages,
            bytes: info.state.bytes,
            deleted: info.state.num_deleted,
            leader: Some(cluster.leader).filter(|leader| !leader.is_empty()),
            replicas: replicas.collect(),
            clock,
            after: after_of(&info.config),
            config: info.config,
        })
    }

    /// Takes the stream away, with all that is in it.
    ///
    /// # Errors
    /// The servers refuse it, or do not answer.
    pub async fn remove(&self) -> Result<(), ApiError> {
        let done: Removed = self.api("STREAM.DELETE", &serde_json::json!({})).await?;
        if done.success { Ok(()) } else { Err(ApiError::Unreadable("no success".to_owned())) }
    }

    /// Lets go of all messages up to and with this one. Returns how many went.
    pub async fn trim(&self, until: u64) -> Result<u64, TrimError> {
        let last = self.bounds().await?.last;
        if until > last {
            return Err(TrimError::Beyond { asked: until, last });
        }
        let what = serde_json::json!({ "seq": until + 1 });
        let purged: Purged = self.api("STREAM.PURGE", &what).await?;
        Ok(purged.purged)
    }

    /// Waits until the leader has in place all that a quorum has, and proves by that that it leads: it has the servers let go
    /// of the messages of a subject that none has, which takes a quorum, and is answered behind all before it. One that is
    /// cut off answers questions for a while, as if the log ended where it had last heard of it.
    ///
    /// # Errors
    /// The servers refuse it, or do not answer.
    pub async fn settle(&self) -> Result<(), ApiError> {
        let nothing =
            serde_json::json!({ "filter": format!("{}{NO_MESSAGE_HAS}", self.shared.root) });
        let _none: Purged = self.api("STREAM.PURGE", &nothing).await?;
        Ok(())
    }

    pub(super) async fn info(&self) -> Result<StreamInfo, ApiError> {
        self.api("STREAM.INFO", &serde_json::json!({})).await
    }

    /// Asks JetStream's API something about the stream.
    pub(super) async fn api<T: DeserializeOwned>(
        &self,
        verb: &str,
        what: &impl Serialize,
    ) -> Result<T, ApiError> {
        let subject = format!("$JS.API.{verb}.{}", self.shared.stream);
        let unreadable = |error: serde_json::Error| ApiError::Unreadable(error.to_string());
        let payload = serde_json::to_vec(what).map_err(unreadable)?;
        let answer = self.request(subject, payload.into()).await?;
        let value: serde_json::Value =
            serde_json::from_slice(&answer.payload).map_err(unreadable)?;
        if let Some(error) = value.get("error") {
            let failure: Failure = serde_json::from_value(error.clone()).map_err(unreadable)?;
            let Failure { code, err_code, description } = failure;
            return Err(ApiError::Refused { code, err_code, description });
        }
        serde_json::from_value(value).map_err(unreadable)
    }

    pub(super) async fn request(
        &self,
        subject: String,
        payload: Bytes,
    ) -> Result<Message, ApiError> {
        let connection = &self.shared.connection;
        if !connection.is_up() {
            return Err(ApiError::Disconnected);
        }
        let request = Request::new().payload(payload).timeout(Some(API_TIMEOUT));
        let answer = connection.client.send_request(subject, request).await;
        answer.map_err(|error: RequestError| match error.kind() {
            RequestErrorKind::TimedOut => ApiError::Timeout(API_TIMEOUT),
            RequestErrorKind::NoResponders => ApiError::NoResponders,
            _ => ApiError::Unreadable(error.to_string()),
        })
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({}, {})", self.shared.stream, self.shared.epoch)
    }
}

/// The number in an acknowledgement.
fn acknowledged(
    answer: &Message,
    stream: &str,
    bytes: usize,
    most: usize,
) -> Result<u64, AppendError> {
    if let Some(status) = answer.status.filter(|status| !status.is_success()) {
        if status.as_u16() == STATUS_TOO_MANY {
            return Err(AppendError::TooMany);
        }
        let text = answer.description.clone().unwrap_or_default();
        return Err(AppendError::Refused(format!("{} {text}", status.as_u16())));
    }
    let ack: Ack = serde_json::from_slice(&answer.payload)
        .map_err(|error| AppendError::Refused(format!("no acknowledgement: {error}")))?;
    if let Some(Failure { code, err_code, description }) = ack.error {
        return Err(match err_code {
            api::PENDING => AppendError::Pending,
            api::FULL | api::NO_RESOURCES => AppendError::Full(description),
            api::TOO_LARGE => AppendError::TooLarge { bytes, most },
            api::NOT_LAST => AppendError::NotLast(description),
            api::OTHER_STREAM => AppendError::OtherLog(description),
            _ if code == STATUS_TOO_MANY => AppendError::TooMany,
            // No quorum, no leader, no room: it passes.
            _ if code == 503 => AppendError::Full(format!("{description} ({err_code})")),
            _ => AppendError::Refused(format!("{description} ({err_code})")),
        });
    }
    if ack.stream != stream {
        return Err(AppendError::OtherLog(format!("stream \"{}\" has taken it", ack.stream)));
    }
    if ack.seq == 0 {
        return Err(AppendError::Refused("an acknowledgement without a number".to_owned()));
    }
    Ok(ack.seq)
}

fn stream_of(cluster: &ClusterName) -> String {
    format!("{STREAM}{cluster}")
}

/// The epoch stands in the subject, so that a stream of another epoch takes nothing that is meant for this one.
fn root_of(cluster: &str, epoch: Epoch) -> String {
    format!("rc.{cluster}.log.{epoch}.")
}

/// The subjects that a stream takes.
fn subjects_of(root: &str) -> String {
    format!("{root}*")
}

pub(super) fn expected_config(log: &Log, options: &LogOptions) -> StreamConfig {
    let mut metadata = BTreeMap::from([(api::EPOCH.to_owned(), options.epoch.to_string())]);
    if let Some(Position { epoch, seq, crc }) = options.after {
        metadata.insert(api::AFTER.to_owned(), format!("{epoch}-{seq}-{crc:08x}"));
    }
    StreamConfig {
        name: log.shared.stream.clone(),
        subjects: vec![subjects_of(&log.shared.root)],
        retention: "limits".to_owned(),
        discard: "old".to_owned(),
        storage: "file".to_owned(),
        num_replicas: REPLICAS,
        max_age: api::nanos(options.max_age),
        max_bytes: i64::try_from(options.max_bytes).unwrap_or(i64::MAX),
        max_msgs: -1,
        max_msg_size: -1,
        max_consumers: -1,
        first_seq: options.first_seq,
        deny_delete: true,
        deny_purge: false,
        allow_direct: true,
        metadata,
        more: BTreeMap::new(),
    }
}

fn epoch_of(config: &StreamConfig) -> Option<Epoch> {
    config.metadata.get(api::EPOCH)?.parse().ok()
}

fn after_of(config: &StreamConfig) -> Option<Position> {
    let mut parts = config.metadata.get(api::AFTER)?.split('-');
    let (epoch, seq, crc) = (parts.next()?, parts.next()?, parts.next()?);
    let crc = u32::from_str_radix(crc, 16).ok()?;
    let position = Position { epoch: epoch.parse().ok()?, seq: seq.parse().ok()?, crc };
    parts.next().is_none().then_some(position)
}

fn shown(epoch: Option<Epoch>) -> String {
    epoch.map_or_else(|| "and says no epoch".to_owned(), |epoch| format!("of epoch {epoch}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(json: &str, status: Option<u16>) -> Message {
        Message {
            subject: "_INBOX.1".into(),
            reply: None,
            payload: Bytes::copy_from_slice(json.as_bytes()),
            headers: None,
            status: status.map(|code| async_nats::StatusCode::from_u16(code).unwrap()),
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_clock_is_ahead_by_what_the_time_of_the_answer_does_not_explain() {
        let at = |millis: u64| Timestamp::from_millis(1_800_000_000_000 + millis).unwrap();
        let asked = Instant::now();
        let after = |millis: u64| asked + Duration::from_millis(millis);
        // It was asked when this machine's clock showed 100, and had answered at 110; it is 150 now.
        for (said, expected) in [(100, 0), (105, 0), (110, 0), (99, -1), (5110, 5000)] {
            let clock = LeaderClock { at: at(said), asked, answered: after(10) };
            assert_eq!(clock.ahead_of(at(150), after(50)), expected);
            assert_eq!(clock.time(after(50)), at(said + 40));
        }
    }

    #[test]
    fn what_a_log_was_begun_after_is_read_as_it_is_written() {
        let (epoch, old) = (Epoch::from_bytes([1; 16]), Epoch::from_bytes([2; 16]));
        let config = |text: &str| StreamConfig {
            metadata: BTreeMap::from([(api::AFTER.to_owned(), text.to_owned())]),
            ..StreamConfig::default()
        };
        let position = Position { epoch: old, seq: 7, crc: 0xab };
        assert_eq!(after_of(&config(&format!("{old}-7-000000ab"))), Some(position));
        for bad in ["", "7", &format!("{epoch}-7"), &format!("{epoch}-7-1-1"), "x-7-1"] {
            assert_eq!(after_of(&config(bad)), None, "{bad}");
        }
    }

    #[test]
    fn each_answer_of_the_servers_is_the_error_that_it_means() {
        let said = |json: &str| acknowledged(&answer(json, None), "RC_pbx", 7, 9);
        assert_eq!(said(r#"{"stream":"RC_pbx","seq":5}"#), Ok(5));
        let failed = |code: u16, number: u32| {
            let json = format!(
                r#"{{"error":{{"code":{code},"err_code":{number},"description":"d"}},"stream":"RC_pbx","seq":0}}"#
            );
            said(&json).unwrap_err()
        };
        assert_eq!(failed(409, 10158), AppendError::Pending);
        assert_eq!(failed(503, 10077), AppendError::Full("d".to_owned()));
        assert_eq!(failed(500, 10047), AppendError::Full("d".to_owned()));
        assert_eq!(failed(429, 10167), AppendError::TooMany);
        assert_eq!(failed(400, 10060), AppendError::OtherLog("d".to_owned()));
        assert_eq!(failed(400, 10054), AppendError::TooLarge { bytes: 7, most: 9 });
        assert_eq!(failed(503, 10008), AppendError::Full("d (10008)".to_owned()));
        assert_eq!(failed(400, 10071), AppendError::NotLast("d".to_owned()));
        assert_eq!(failed(400, 10052), AppendError::Refused("d (10052)".to_owned()));
        let other = said(r#"{"stream":"RC_other","seq":5}"#).unwrap_err();
        assert!(matches!(other, AppendError::OtherLog(_)) && !other.passes());
        for junk in ["", "{}", "[]", r#"{"stream":"RC_pbx","seq":-1}"#, r#"{"stream":"RC_pbx"}"#] {
            assert!(said(junk).is_err(), "{junk}");
        }
        let many = acknowledged(&answer("", Some(429)), "RC_pbx", 7, 9).unwrap_err();
        assert_eq!(many, AppendError::TooMany);
        assert!(many.passes() && !many.may_be_there());
    }
}
