//! The replicated log: one stream of NATS JetStream with three replicas, which every node reads in the same order.
//!
//! **Append.** A message is acknowledged once a quorum of servers has synced it (`verify.rs` refuses servers
//! that do not). What waits is packed into messages of about 256 KiB, of which four are under way at a time
//! (`packer.rs`). A message that was not acknowledged may be in the log all the same: what is in it has to stand
//! being there twice.
//!
//! **Read.** By batched direct gets, which any replica answers, and not by consumers: these stall for half a
//! minute when the server that hosts one dies. Each sequence number must follow the one before it. A replica whose
//! disk has lost a block passes over it and says nothing, so a gap is asked of the others (`read.rs`). What is in the log when
//! a reader begins is asked of the leader: a server that was away may have other messages there. What the log is known to have
//! lost is taken from nobody (`lost.rs`).
//!
//! **The same log.** Its epoch stands in its metadata and in the subject of each message, so that a stream of another epoch
//! takes none of ours. Whether it has lost its end is seen by the message that was applied last (`same.rs`).
//!
//! Architecture invariants:
//!
//! * This module alone names the client of NATS, and knows nothing of the store.
//! * Connections go to the addresses of the configuration, and to none that a server announces.
//! * A position is given out only for a message that was read in its place, or acknowledged.

mod agree;
mod api;
mod connection;
mod epoch;
mod follow;
mod hints;
mod log;
mod lost;
mod monitor;
mod observe;
mod packer;
mod read;
mod same;
mod settings;
mod verify;

pub use crate::config::{ClusterName, WithoutQuorum};
pub use agree::{differing, two_of_a_name, unlike};
pub use connection::{ConnectError, Connection, Link};
pub use epoch::{Epoch, EpochError};
pub use follow::{Follower, Following, Stopped};
pub use hints::{Compared, Extent, Heartbeat, HintError, Hints, NODES_MAX, Peers, ServerReport};
pub use log::{
    ApiError, AppendError, Bounds, LeaderClock, Log, LogOptions, OpenError, ReplicaState,
    StoredMessage, TrimError, message_bytes_for,
};
pub use lost::{DOUBTED_BEYOND, Named};
pub use monitor::{MonitorError, Monitors};
pub use observe::{CreateError, Observed, ServersSeen, create, log_is_gone, observe};
pub use packer::{Assemble, KeepRequest, Packer, PackerOptions, PlaceError, Placed};
pub use read::{ReadError, ReadStats};
pub use same::{Position, Sameness, message_crc};
pub use settings::{Identity, Settings, SettingsError};
pub use verify::{Problem, verify, verify_servers};
