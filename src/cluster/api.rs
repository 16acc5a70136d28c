//! What JetStream's API is asked and answers: JSON over requests.
//!
//! Only what is used of it, and all that is read has a default: later servers say more.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The stream that a message names is another one.
pub(super) const OTHER_STREAM: u32 = 10060;
/// No such stream.
pub(super) const NO_STREAM: u32 = 10059;
/// There is one of that name with another configuration.
pub(super) const NAME_IN_USE: u32 = 10058;
/// The last message is another one than is expected.
pub(super) const NOT_LAST: u32 = 10071;
/// A message with the same id is under way.
pub(super) const PENDING: u32 = 10158;
/// `max_bytes`, with `discard: new`.
pub(super) const FULL: u32 = 10077;
/// The server has no room on its disk.
pub(super) const NO_RESOURCES: u32 = 10047;
/// The message is larger than the stream takes.
pub(super) const TOO_LARGE: u32 = 10054;
/// No message of that number.
pub(super) const NO_MESSAGE: u32 = 10037;

/// The key of the stream's metadata that has the epoch of the log.
pub(super) const EPOCH: &str = "rollcall.epoch";
/// The header that names messages which the log has lost.
pub(super) const LOST: &str = "Rollcall-Lost";
/// The key that has the position in another log after which this one was begun.
pub(super) const AFTER: &str = "rollcall.after";

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct StreamConfig {
    pub name: String,
    pub subjects: Vec<String>,
    pub retention: String,
    pub discard: String,
    pub storage: String,
    pub num_replicas: usize,
    /// Nanoseconds.
    pub max_age: u64,
    pub max_bytes: i64,
    pub max_msgs: i64,
    pub max_msg_size: i64,
    pub max_consumers: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub first_seq: u64,
    pub deny_delete: bool,
    pub deny_purge: bool,
    pub allow_direct: bool,
    pub metadata: BTreeMap<String, String>,
    /// What else the servers say of it; nothing of this is asked for.
    #[serde(flatten, skip_serializing)]
    pub more: BTreeMap<String, serde_json::Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamState {
    pub messages: u64,
    pub bytes: u64,
    pub first_seq: u64,
    pub last_seq: u64,
    pub num_deleted: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct ClusterInfo {
    pub leader: String,
    pub replicas: Vec<Replica>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Replica {
    pub name: String,
    pub current: bool,
    pub offline: bool,
    pub lag: u64,
    /// Nanoseconds since the leader has heard of it.
    pub active: u64,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamInfo {
    pub config: StreamConfig,
    pub state: StreamState,
    pub cluster: Option<ClusterInfo>,
    /// When it was answered.
    pub ts: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Failure {
    #[serde(default)]
    pub code: u16,
    #[serde(default)]
    pub err_code: u32,
    #[serde(default)]
    pub description: String,
}

/// The acknowledgement of a message.
#[derive(Debug, Deserialize)]
pub(super) struct Ack {
    #[serde(default)]
    pub stream: String,
    #[serde(default)]
    pub seq: u64,
    pub error: Option<Failure>,
}

/// One message, as the leader gives it.
#[derive(Debug, Deserialize)]
pub(super) struct LeaderMessage {
    pub message: RawMessage,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawMessage {
    pub seq: u64,
    pub time: String,
    /// Base 64, as its headers.
    #[serde(default)]
    pub data: String,
    #[serde(default)]
    pub hdrs: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Purged {
    #[serde(default)]
    pub purged: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Removed {
    #[serde(default)]
    pub success: bool,
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
