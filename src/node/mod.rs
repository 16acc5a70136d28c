//! A node: this store as one of several that apply the same log.
//!
//! **In.** Submissions are encoded and packed into messages (`cluster::Packer`). One is acknowledged when its message is in
//! the log, which a quorum of servers has on disk by then, and this store has applied it, for which at most a quarter of
//! a second is waited. Nothing is published here before it comes back from the log.
//!
//! **Applied.** `reader.rs` reads the log from the position of the store on and hands each message to its committer. The
//! position is in the commit of the data.
//!
//! **Without a quorum** a message is kept on this machine's disk and forwarded later (`kept.rs`), or refused. Changes by
//! an admin and imports are never kept: whether they are in order is only known with their place in the log.
//!
//! **Health** (`health.rs`): what is known of servers and of other nodes. Servers that acknowledge before they have synced are
//! given nothing.
//!
//! Architecture invariants:
//!
//! * The store of a node changes by messages of the log alone, in its order, each once.
//! * What was acknowledged is in the log, or on this machine's disk and said so.
//! * A node that does not know whether it has all says so (`State`), and is not ready.

mod compare;
mod erase;
mod filler;
mod give_back;
mod health;
mod join;
mod kept;
mod lag;
mod level;
mod members;
mod reader;
mod shared;
mod state;
mod status;
mod submit;
mod tasks;
mod waiters;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

pub use compare::Comparison;
pub use erase::{Erasure, Missing};
pub use level::{LevelError, Levels};
pub use shared::shared_settings;
pub use status::{NodeStatus, PeerFigures};
pub use submit::Accepted;

use erase::Erasing;
use filler::Turnover;
use health::Health;
use join::Joined;
use state::State;
use submit::Proposer;
use tasks::{guarded, guarded_thread};
use waiters::Waiters;

use crate::cluster::{
    ClusterName, Compared, ConnectError, Connection, Epoch, Follower, Following, Link, Log,
    Monitors, Packer, PackerOptions, Peers, Position, Problem, Settings, SettingsError,
    verify_servers,
};
use crate::codec::assemble;
use crate::config::{Cluster, WithoutQuorum};
use crate::random;
use crate::store::{LogPosition, Store, StoreError, chain};

/// How long an acknowledgement of one attempt is waited for, outside of the packer.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of submissions that may wait for the log.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// How long a start waits for the servers to say whether they can be trusted.
const START_MAX: Duration = Duration::from_secs(3);
/// Pause between attempts to begin with a log.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked whether the other nodes have applied something.
const OTHERS_PAUSE: Duration = Duration::from_millis(20);
/// Requests to keep a message that wait.
const KEEPING: usize = 64;

/// Why a node cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Monitors(#[from] crate::outbound::ClientError),
    #[error("the servers of the log cannot keep what they acknowledge: {0}")]
    Servers(String),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One node of a cluster. Runs until [`Node::stop`].
pub struct Node {
    name: ClusterName,
    /// Which start of the node this is.
    start: String,
    store: Arc<Store>,
    config: Cluster,
    /// What has to be the same on all nodes.
    settings: BTreeMap<String, String>,
    connection: Connection,
    monitors: Monitors,
    runtime: Handle,
    /// Set once it is known which log it is; another where that is made anew.
    running: RwLock<Option<Arc<Running>>>,
    waiters: Arc<Waiters>,
    health: Mutex<Health>,
    /// Since when all is applied that was there at the start.
    caught_up: watch::Sender<Option<Instant>>,
    /// Why nothing is applied, for good.
    stopped: Mutex<Option<String>>,
    /// Why it has not begun yet.
    waits_for: Mutex<Option<String>>,
    /// As it was told in the log of the process last.
    told: watch::Sender<State>,
    /// What this store held behind the last mark.
    compared: Mutex<Option<Compared>>,
    erasing: Erasing,
    turnover: Mutex<Turnover>,
    /// Nodes that are gone for good, and since when that is told to the others.
    forgotten: Mutex<Vec<(String, Instant)>>,
    /// What nodes do not agree on, as was told in the log of the process.
    disagreed: Mutex<BTreeSet<String>>,
    /// What is done about a log that is not the one that was applied, or why nothing is.
    differs: Mutex<Differs>,
    /// There is something to tell other nodes.
    has_news: Notify,
    kept_something: Notify,
    /// Of a node that reads nothing back: all that it keeps up to this sequence number is in the log.
    kept_in_log: AtomicU64,
    stopping: watch::Sender<bool>,
    /// Held by threads that wait for the log: the runtime stays until they are done.
    waiting: RwLock<()>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// What a node does where the log is not the one that it has applied.
#[derive(Debug, Clone, Default)]
struct Differs {
    /// It gives back what the log has lost, and is at this.
    giving_back: Option<String>,
    /// Why it does not, and what is to be done.
    why: Option<String>,
}

/// What there is once the log is known.
pub(crate) struct Running {
    log: Log,
    packer: Packer,
    follower: Follower,
    following: watch::Receiver<Following>,
    applied: watch::Sender<Position>,
    /// How often the log has gone back (`LogPosition::turn`).
    turn: AtomicU64,
    /// Nothing more is to be read.
    halts: AtomicBool,
    /// What still works on what was read; none once that was waited for.
    work: Mutex<Option<Work>>,
}

/// What applies, and what else ends with it.
struct Work {
    reader: std::thread::JoinHandle<()>,
    settler: tokio::task::JoinHandle<()>,
    others: [AbortHandle; 4],
}

impl Running {
    /// The life of the log that positions are told of.
    fn life(&self) -> String {
        self.position(0, 0).life()
    }

    /// A place of the log that is followed.
    fn position(&self, seq: u64, crc: u32) -> LogPosition {
        let turn = self.turn.load(Ordering::Acquire);
        LogPosition { epoch: self.log.epoch().bytes(), turn, seq, crc }
    }
}

impl Node {
    /// Begins to apply the log of the configuration, as tasks of this runtime. Servers that are not there are
    /// waited for. `settings` are those of [`shared_settings`].
    ///
    /// # Errors
    /// A file cannot be read; or the servers are there, and cannot keep what they acknowledge.
    pub async fn start(
        store: Arc<Store>,
        config: Cluster,
        settings: BTreeMap<String, String>,
    ) -> Result<Arc<Self>, NodeError> {
        let connection = Connection::begin(Settings::of(&config)?).await?;
        let monitors = Monitors::of(&config)?;
        let node = Arc::new(Self {
            name: config.node.clone(),
            start: random::uuid().simple().to_string(),
            settings,
            waiters: Arc::new(Waiters::new(config.hold)),
            store,
            config,
            connection,
            monitors,
            runtime: Handle::current(),
            running: RwLock::default(),
            health: Mutex::new(Health::new()),
            caught_up: watch::Sender::new(None),
            stopped: Mutex::default(),
            waits_for: Mutex::default(),
            told: watch::Sender::new(State::Starting(None)),
            compared: Mutex::default(),
            erasing: Erasing::new(),
            turnover: Mutex::new(Turnover::new(Instant::now())),
            forgotten: Mutex::default(),
            disagreed: Mutex::default(),
            differs: Mutex::default(),
            has_news: Notify::new(),
            kept_something: Notify::new(),
            kept_in_log: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            waiting: RwLock::default(),
            tasks: Mutex::default(),
        });
        node.look_at_nodes();
        node.examine().await?;
        match node.store.position() {
            Some(position) => {
                let epoch = Epoch::from_bytes(position.epoch);
                let log = Log::of(&node.connection, epoch);
                node.run(log, position)?;
            }
            None => {
                node.spawn("task that joins the log", join(node.clone()));
            }
        }
        node.spawn("task that watches the connection", node.connection.clone().explain());
        node.spawn("task that looks for what the log has lost", give_back::watch(node.clone()));
        node.spawn("task of heartbeats", health::beat(node.clone()));
        node.spawn("task that looks at the servers", health::watch_servers(node.clone()));
        node.spawn("task that lists the nodes", members::list(node.clone()));
        node.store.propose_by(Arc::new(Proposer(Arc::downgrade(&node))));
        Ok(node)
    }

    /// Refuses servers that are known to be unfit from the start.
    async fn examine(&self) -> Result<(), NodeError> {
        let stream = Log::stream_of(&self.connection);
        let asked = timeout(START_MAX, async {
            self.connection.link().wait_for(|link| *link == Link::Up).await.ok()?;
            let log = match self.store.position() {
                Some(position) => Log::of(&self.connection, Epoch::from_bytes(position.epoch)),
                None => Log::open(&self.connection).await.ok()?,
            };
            let bounds = log.bounds().await.ok()?;
            Some((log.epoch(), bounds))
        });
        let ((), asked) = tokio::join!(health::look_at_monitors(self, &stream), asked);
        if let Ok(Some((epoch, bounds))) = asked {
            let (unverified, now) = (self.config.unverified_sync, Instant::now());
            self.health.lock().judge(epoch, bounds, unverified, now);
        }
        let mut health = self.health.lock();
        let reports: Vec<_> = health.reports.values().map(|(report, _)| report.clone()).collect();
        let problems = match &health.problems {
            Some(problems) => problems.clone(),
            None => verify_servers(&reports),
        };
        // The other nodes have not said yet what they know.
        let wrong = problems
            .iter()
            .filter(|problem| problem.refuses() && !matches!(problem, Problem::Unproven { .. }));
        let wrong: Vec<String> = wrong.map(ToString::to_string).collect();
        // What was seen of a log that may not be the one that is applied counts for no more than this.
        health.forget_goal();
        if wrong.is_empty() { Ok(()) } else { Err(NodeError::Servers(wrong.join("; "))) }
    }

    /// Reads, applies and appends from now on.
    fn run(self: &Arc<Self>, log: Log, position: LogPosition) -> Result<(), NodeError> {
        let _runtime = self.runtime.enter();
        let LogPosition { turn, seq, crc, .. } = position;
        self.health.lock().lag.applied(seq);
        let (keep, requests) = mpsc::channel(KEEPING);
        let (name, waiters) = (self.name.to_string(), self.waiters.clone());
        let assemble = move |parts: &[Bytes]| {
            let id = *random::uuid().as_bytes();
            waiters.begin(id);
            Bytes::from(assemble(&name, id, parts))
        };
        let keeps = self.config.without_quorum == WithoutQuorum::Keep;
        let packer = Packer::start(
            log.clone(),
            PackerOptions {
                hold: self.config.hold,
                queue_bytes: QUEUE_BYTES,
                assemble: Arc::new(assemble),
                keep: keeps.then_some(keep),
            },
        );
        let applied = watch::Sender::new(Position { epoch: log.epoch(), seq, crc });
        let (follower, batches) = Follower::start(&log, applied.subscribe());
        let following = follower.state();
        let (turn, halts, work) = (AtomicU64::new(turn), AtomicBool::new(false), Mutex::default());
        let running =
            Arc::new(Running { log, packer, follower, following, applied, turn, halts, work });
        let (to_settle, under_way) = mpsc::channel(reader::UNDER_WAY);
        let (node, own) = (self.clone(), running.clone());
        let thread = std::thread::Builder::new().name("log reader".to_owned());
        // It ends with the follower, or with the store.
        let reader = thread.spawn(move || {
            guarded_thread(&node.store, "log reader", || {
                reader::hand_on(&node, &own, batches, &to_settle);
            });
        })?;
        let settle = reader::settle(self.clone(), running.clone(), under_way);
        let settler = guarded(self.store.clone(), "task that waits for messages", settle);
        let settler = self.runtime.spawn(settler);
        self.tasks.lock().push(settler.abort_handle());
        let forward = kept::forward(self.clone(), running.clone());
        let forwarder = self.spawn("task that forwards what is kept", forward);
        self.spawn("task that keeps messages", kept::keep(self.clone(), requests));
        let (node, packer) = (self.clone(), running.packer.clone());
        let packer_watch = self.spawn("task that looks at the packer", async move {
            packer.ended().await;
            node.task_ended("packer");
        });
        let eraser = self.spawn("task that erases", erase::erase(self.clone(), running.clone()));
        let turner =
            self.spawn("task that writes filler", filler::turn(self.clone(), running.clone()));
        let others = [forwarder, packer_watch, eraser, turner];
        *running.work.lock() = Some(Work { reader, settler, others });
        *self.running.write() = Some(running);
        *self.waits_for.lock() = None;
        Ok(())
    }

    /// Reads, applies and forwards nothing more of the log that is followed. Returns once all that was read is on disk.
    async fn halt(&self, running: &Running) {
        running.halts.store(true, Ordering::Release);
        running.follower.stop();
        let Some(Work { reader, settler, others }) = running.work.lock().take() else { return };
        others.iter().for_each(AbortHandle::abort);
        let _done = tokio::task::spawn_blocking(move || reader.join()).await;
        let _done = settler.await;
    }

    /// Goes on from this position, of this log, where nothing works on another one any more.
    ///
    /// # Errors
    /// It is not on disk: the store closes, or has failed.
    async fn go_on(self: &Arc<Self>, log: Log, position: LogPosition) -> Result<(), NodeError> {
        let store = self.store.clone();
        let begun = tokio::task::spawn_blocking(move || store.begin_log(position)).await;
        begun.unwrap_or(Err(StoreError::Closing))?;
        self.health.lock().begin_anew(position.seq);
        self.erasing.begin_anew();
        self.caught_up.send_replace(None);
        *self.compared.lock() = None;
        *self.differs.lock() = Differs::default();
        self.run(log, position)
    }

    /// The log that is followed; none before it is known.
    fn running(&self) -> Option<Arc<Running>> {
        self.running.read().clone()
    }

    /// Runs a task as long as the node.
    fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let task = self.runtime.spawn(guarded(self.store.clone(), name, task));
        let handle = task.abort_handle();
        self.tasks.lock().push(handle.clone());
        handle
    }

    /// A task has ended that ends with the node alone.
    fn task_ended(&self, name: &str) {
        if !*self.stopping.borrow() {
            self.store.task_died(name, "its task has ended");
        }
    }

    /// Its name, as cluster.node says.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Waits for this in a thread of its own, unless the node stops.
    fn block_on<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _runtime_stays = self.waiting.read();
        let mut stopping = self.stopping.subscribe();
        if *stopping.borrow() {
            return Err(StoreError::Closing);
        }
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                _ = stopping.wait_for(|stops| *stops) => Err(StoreError::Closing),
            }
        })
    }

    fn stop_applying(&self, why: String) {
        if !*self.stopping.borrow() {
            tracing::error!(why, "nothing more of the log is applied here");
            self.stopped.lock().get_or_insert(why);
        }
    }

    /// Returns once the node has caught up with the log.
    pub async fn until_caught_up(&self) {
        let mut caught_up = self.caught_up.subscribe();
        let _gone = caught_up.wait_for(Option::is_some).await.map(|_| ());
    }

    /// Waits in a thread of its own until the other nodes that are alive have applied all that this one has by now.
    /// Returns the names of those of which that is not known in time.
    pub fn wait_for_others(&self, longest: Duration) -> Vec<String> {
        let Some(position) = self.store.position() else { return Vec::new() };
        let epoch = position.life();
        let begun = Instant::now();
        loop {
            let (health, now) = (self.health.lock(), Instant::now());
            let others = health.peers.alive(now);
            let behind = others.filter(|beat| beat.epoch != epoch || beat.applied < position.seq);
            let mut behind: Vec<String> = behind.map(|beat| beat.node.clone()).collect();
            // Of two of a name one may have said so, and not the other.
            behind.extend(health.peers.twice(now).map(str::to_owned));
            // Those that had no time to say that they are there.
            if Peers::is_alive(now.saturating_duration_since(health.since)) {
                behind.extend(health.peers.unheard().map(str::to_owned));
            }
            behind.extend(Some(self.name.to_string()).filter(|_| health.has_namesake(now)));
            behind.sort_unstable();
            behind.dedup();
            drop(health);
            if behind.is_empty() || begun.elapsed() >= longest || *self.stopping.borrow() {
                return behind;
            }
            std::thread::park_timeout(OTHERS_PAUSE);
        }
    }

    /// Reads and takes nothing more. Returns once nobody waits in a thread of their own. The store is to be closed next.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
        if let Some(running) = self.running() {
            running.follower.stop();
        }
        let _nobody_waits = self.waiting.write();
    }
}

/// Begins with a log, once there is one to begin with.
async fn join(node: Arc<Node>) {
    loop {
        match join::join(&node.store, &node.connection, node.name.as_str()).await {
            Ok(Joined::Begun(log, position)) => {
                tracing::info!(epoch = %log.epoch(), seq = position.seq, "the node begins with the log");
                if let Err(error) = node.run(log, position) {
                    node.stop_applying(chain(&error));
                }
                return;
            }
            Ok(Joined::NotYet(why)) => {
                let is_new = node.waits_for.lock().as_ref() != Some(&why);
                if is_new {
                    tracing::warn!(why, "the node cannot begin with the log yet");
                    *node.waits_for.lock() = Some(why);
                }
            }
            Ok(Joined::Never(why)) => return node.stop_applying(why),
            Err(error) => return node.stop_applying(chain(&error)),
        }
        sleep(JOIN_PAUSE).await;
    }
}
