//! The appliance: store, sockets, signals, from start to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::certificates::{look_after, reload};
use super::client_address::TrustedProxies;
use super::demo::{self, Samples};
use super::files;
use super::listener::{self, Drained, Front, Proxies};
use super::listeners::{BoundListener, ListenerKind, Taken};
use super::owner::{cannot_bind, cannot_open};
use super::prepare::Prepared;
use super::signals::{SignalAction, Signals};
use super::systemd;
use super::warnings::Warnings;
use super::watchdog::{Watchdog, watchdog};
use crate::access::Access;
use crate::config::{Config, ConfigError, LimitsSection, SHORT};
use crate::domain::{Timestamp, exact_duration};
use crate::forward::Forwarder;
use crate::intake::Intake;
use crate::logs::AuditLog;
use crate::node::{Node, shared_settings};
use crate::ops::{self, Failure};
use crate::store::{NodeName, OpenError, Options, Progress, Store, chain, read_node, write_node};
use crate::tls::TlsReloader;
use crate::{admin, cdrs, clock, http, mirror, users};

/// Why samples are not for a cluster.
const NO_DEMO: &str =
    "--demo: sample calls are for a server by itself, and [cluster] is configured";

/// Connections of scrapers at a time.
const SCRAPERS_MAX: usize = 16;

/// How long a start waits for an index that is built again. After that events are accepted without it,
/// and lists are answered once it is there.
const INDEX_MAX: Duration = Duration::from_secs(10);

/// Pause between attempts to make the first token of a cluster.
const FIRST_TOKEN_PAUSE: Duration = Duration::from_millis(500);
/// The same for settings that all nodes share.
const AGREEMENT_PAUSE: Duration = Duration::from_secs(1);
/// How often the times at which tokens were last used are stored.
const USED_INTERVAL: Duration = Duration::from_hours(1);
/// How long an accept loop may take to come around.
const WATCHDOG_MAX: Duration = Duration::from_secs(10);
/// Threads that serve requests, also where there are fewer processors: some may wait for the disk.
const THREADS_MIN: usize = 4;

/// What a started server has to say.
pub enum News<'a> {
    /// How far the start has come.
    Starting(Progress),
    /// The first admin token, just made.
    FirstToken(&'a str),
    /// Sample calls are there, or are not since the store is not empty; how to ask for them.
    Demo {
        samples: Samples,
        /// A line for a shell.
        curl: String,
    },
    Listening(String),
    /// Everything is running.
    Ready,
    /// A link to the console that signs in.
    Link(ops::SignInLink),
}

/// Runs the server until a signal ends it. `again` reads the configuration once more.
pub fn serve(
    config: &Config,
    runtime_dir: Option<PathBuf>,
    demo: bool,
    again: &dyn Fn() -> Result<Config, ConfigError>,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<(), Failure> {
    let (started_at, begun) = (clock::now(), Instant::now());
    let (version, data_dir) = (env!("CARGO_PKG_VERSION"), config.data_dir.display());
    tracing::info!(version, %data_dir, pid = std::process::id(), "rollcall starts");
    let cluster = config.cluster();
    if demo && cluster.is_some() {
        return Err(Failure::usage(NO_DEMO));
    }
    let files = files::raise();
    let forwarder = Forwarder::new(&config.forward).map_err(|error| Failure::new(chain(&error)))?;
    let Prepared { taken, audit, lock, cdr_credentials } =
        Prepared::of(config, runtime_dir.as_deref())?;
    let cannot_open = |error: OpenError| cannot_open(&error, &config.data_dir);
    let store = {
        let progress_to = parking_lot::Mutex::new((&mut *tell, systemd::Starting::begin()));
        let progress = |progress| {
            let (tell, systemd) = &mut *progress_to.lock();
            systemd.progress(&progress);
            tell(News::Starting(progress));
        };
        let options = Options { build_later: true, ..config.store_options() };
        let store = Store::open(lock, options, clock::now(), &progress).map_err(cannot_open)?;
        // Sample calls are only for a store that is known to be empty.
        store.wait_for_index(if demo { Duration::MAX } else { INDEX_MAX }, &progress);
        Arc::new(store)
    };
    // Short reads are done where their request is and may wait for the disk.
    let threads = std::thread::available_parallelism()?.get().max(THREADS_MIN);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(threads).enable_all().build()?;
    let intake = match cluster {
        None if store.position().is_some() => return Err(Failure::new(of_a_cluster(config))),
        None => Intake::Alone(store.clone()),
        Some(cluster) => {
            note_node(config, cluster.node.as_str());
            let node =
                runtime.block_on(Node::start(store.clone(), cluster, shared_settings(config)));
            Intake::Cluster(node.map_err(|error| Failure::new(chain(&error)))?)
        }
    };
    let first_token = if let Some(node) = intake.node() {
        // What the log has of tokens is only known once it was read.
        runtime.spawn(make_first_token(node.clone(), intake.clone(), config.ops_context()));
        runtime.spawn(agree_on_settings(node.clone()));
        None
    } else {
        forwarder.open(&intake)?;
        ops::make_first(&intake, &config.ops_context())?
    };
    if let Some(token) = &first_token {
        tell(News::FirstToken(token));
    }
    let is_new = first_token.is_some();
    let demo = if demo { Some(demo::fill(&store, is_new, clock::now())?) } else { None };
    let server = RunningServer {
        config,
        store: store.clone(),
        intake: intake.clone(),
        runtime_dir,
        demo,
        again,
        audit: Arc::new(audit),
        cdr_credentials,
        started_at,
        begun,
        files,
    };
    let result = runtime.block_on(server.run(taken, forwarder, tell));
    // What is in memory goes to the index, however much it is.
    let _time = systemd::Asking::begin();
    // A journal that has failed says so below.
    let _failed = ops::note_used(&intake, Duration::ZERO);
    if let Some(node) = intake.node() {
        node.stop();
    }
    // Commands that still run are cut off; what they have acknowledged is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let closed = store.close().map_err(Failure::from);
    if result.is_ok() && closed.is_ok() {
        tracing::info!("rollcall has stopped, and the store is closed cleanly");
    }
    result.and(closed)
}

pub(super) struct RunningServer<'a> {
    pub(super) config: &'a Config,
    pub(super) store: Arc<Store>,
    pub(super) intake: Intake,
    runtime_dir: Option<PathBuf>,
    /// Whether sample calls were asked for, and are there.
    demo: Option<Samples>,
    again: &'a dyn Fn() -> Result<Config, ConfigError>,
    pub(super) audit: Arc<AuditLog>,
    /// Who may write CDRs; none where they are not taken.
    cdr_credentials: Option<cdrs::Credentials>,
    pub(super) started_at: Timestamp,
    begun: Instant,
    /// Files that the process may have open.
    files: u64,
}

impl RunningServer<'_> {
    async fn run(
        self,
        taken: Vec<Taken>,
        forwarder: Forwarder,
        tell: &mut dyn FnMut(News<'_>),
    ) -> Result<(), Failure> {
        let config = self.config;
        // Before anyone is informed that the server is running, and may send one.
        let signals = Signals::new()?;
        let reloader = Arc::new(config.certificate()?);
        let bound_listeners =
            taken.into_iter().map(Taken::listen).collect::<Result<Vec<_>, _>>()?;
        let socket = config.admin_socket_path(self.runtime_dir.as_deref());
        let admin = admin::bind(&socket, &config.data_dir)
            .map_err(|error| cannot_bind(&error, &socket, &config.data_dir))?;
        if let (Some(samples), Some(bound)) = (self.demo, bound_listeners.first()) {
            let port = bound.listener.local_addr()?.port();
            tell(News::Demo { samples, curl: self.curl(port, &reloader) });
        }
        let configuration = bound(config, &bound_listeners).to_toml();
        let (stop, stopped) = watch::channel(());
        let context = Arc::new(self.http_context(stopped.clone(), &reloader)?);
        let api = http::service(context.clone());
        let cdrs = self.cdr_credentials.clone().map(|found| http::cdrs(context.clone(), found));
        let meter = self.store.meter();
        let connections = files::connections(config, self.files);
        let limits = LimitsSection { connections, ..config.limits };
        let proxies = config.http.trusted_proxies.iter().map(|proxy| proxy.0);
        let trusted = TrustedProxies::new(proxies);
        let mut listeners = tokio::task::JoinSet::new();
        let (mut watchdogs, mut urls) = (Vec::new(), Vec::new());
        let mut reached = Vec::new();
        for BoundListener { listener, url, purpose, held } in bound_listeners {
            let (watchdog, asked) = watchdog();
            let mut stopped = stopped.clone();
            let stop = async move {
                let _either_way = stopped.changed().await;
            };
            let warnings = Warnings::of(&url);
            match purpose {
                ListenerKind::Https => {
                    let (tls, counted) = (Some(reloader.clone()), meter.https.clone());
                    let (trusted, header) = (trusted.clone(), config.proxy_protocol);
                    let proxies = Proxies { trusted, header };
                    let (front, api) = (Front { tls, proxies, warnings }, api.clone());
                    listeners
                        .spawn(listener::run(listener, front, api, limits, counted, asked, stop));
                }
                ListenerKind::Http => {
                    let (counted, api) = (meter.http.clone(), api.clone());
                    let (trusted, header) = (trusted.clone(), config.http.proxy_protocol);
                    let proxies = Proxies { trusted, header };
                    let front = Front { tls: None, proxies, warnings };
                    listeners
                        .spawn(listener::run(listener, front, api, limits, counted, asked, stop));
                }
                ListenerKind::Metrics => {
                    let limits = LimitsSection { connections: SCRAPERS_MAX, ..limits };
                    let (counted, api) = (meter.metrics.clone(), http::scrapes(context.clone()));
                    let front = Front { warnings, ..Front::default() };
                    listeners
                        .spawn(listener::run(listener, front, api, limits, counted, asked, stop));
                }
                ListenerKind::Cdrs | ListenerKind::CdrsTls => {
                    // There is none without its credentials.
                    let Some(api) = cdrs.clone() else {
                        tracing::warn!(
                            url,
                            "nothing is served there, since cdrs.listen is not set"
                        );
                        continue;
                    };
                    meter.cdrs.listens(&url);
                    let tls = (purpose == ListenerKind::CdrsTls).then(|| reloader.clone());
                    let counted = meter.cdr_connections.clone();
                    let front = Front { tls, warnings, ..Front::default() };
                    listeners
                        .spawn(listener::run(listener, front, api, limits, counted, asked, stop));
                }
            }
            watchdogs.push(watchdog);
            tell(News::Listening(url.clone()));
            reached.push(ops::ReachableAt { url: url.clone(), held });
            urls.push(url);
        }
        let mut ops = config.ops_context();
        ops.certificates = ops::Certificates::Served(reloader.clone());
        ops.listeners = reached;
        ops.configuration = configuration;
        let watchdogs = Arc::new(watchdogs);
        ops.loops = Some(all_turn(&watchdogs));
        ops.started_at = Some(self.started_at);
        ops.sign_in_codes = config.console.enabled.then(ops::SignInCodes::default);
        ops.stopping = Some(stopped);
        context.operation.begin(ops.clone(), self.runtime_dir.clone());
        let admin = admin::serve(admin, self.intake.clone(), ops, self.audit.clone());
        let admin = tokio::spawn(admin);
        let player = self.is_demo().then(|| tokio::spawn(demo::play(self.store.clone())));
        let read_again = Arc::new(Notify::new());
        let certificate = tokio::spawn(look_after(reloader.clone(), read_again.clone()));
        let notes = tokio::spawn(note_used(self.intake.clone()));
        let service_url = config.hooks.service_url().to_owned();
        let mirror = mirror::run(config.mirror_redis.clone(), service_url, self.intake.clone());
        let mirror = tokio::spawn(mirror);
        let (stop_forwarding, forwarding_stopped) = watch::channel(());
        let forward = forwarder.run(self.intake.clone(), forwarding_stopped, config.limits.drain);
        let forward = tokio::spawn(forward);
        let upstream = context.upstream_auth.clone().map(|auth| tokio::spawn(auth.watch()));
        let watchdog = tokio::spawn(systemd::watchdog(self.store.clone(), watchdogs));
        tell(News::Ready);
        let status = format!("listening on {}", urls.join(", "));
        systemd::ready(&status);
        self.say_started(&urls);
        if self.is_demo()
            && let Some(link) = link(&context)
        {
            tell(News::Link(link));
        }
        let result = self.until_stopped(signals, &reloader, &read_again, &status).await;
        systemd::stopping(self.config.limits.drain);
        admin.abort();
        watchdog.abort();
        notes.abort();
        mirror.abort();
        if let Some(player) = player {
            player.abort();
        }
        if let Some(upstream) = upstream {
            upstream.abort();
        }
        certificate.abort();
        let _unlinked = std::fs::remove_file(&socket);
        drop(stop_forwarding);
        drop(stop);
        let (mut connections, mut cut_off) = (0, 0);
        while let Some(drained) = listeners.join_next().await {
            let Drained { in_order, cut } = drained.unwrap_or_default();
            connections += in_order + cut;
            cut_off += cut;
        }
        tracing::info!(connections, cut_off, "connections are closed");
        let _ended = forward.await;
        result
    }

    /// Answers signals. Returns when the server is to end.
    async fn until_stopped(
        &self,
        mut signals: Signals,
        reloader: &Arc<TlsReloader>,
        read_again: &Notify,
        status: &str,
    ) -> Result<(), Failure> {
        let mut failed = self.store.failed();
        loop {
            tokio::select! {
                received = signals.next() => {
                    let by = received.by;
                    if received.order == SignalAction::Stop {
                        tracing::info!(by, ran = %self.ran(), "rollcall stops");
                        return Ok(());
                    }
                    tracing::info!(by, "certificates are read again, and the audit log is opened again");
                    systemd::reloading();
                    reload(reloader).await;
                    read_again.notify_one();
                    if let Err(error) = self.audit.reopen() {
                        tracing::error!(%error, "cannot open the audit log again; the old file stays in use");
                    }
                    self.say_changes();
                    systemd::ready(status);
                }
                changed = failed.changed() => {
                    let reason = failed.borrow().clone();
                    if let Some(reason) = reason {
                        tracing::error!(reason, ran = %self.ran(), "rollcall stops: the store has failed");
                        return Err(Failure::new(format!("the store has failed: {reason}")));
                    }
                    changed.map_err(|_| Failure::new("the store is gone"))?;
                }
            }
        }
    }

    /// Whether sample calls were asked for, and are there.
    pub(super) fn is_demo(&self) -> bool {
        matches!(self.demo, Some(Samples::Made | Samples::There))
    }

    /// Says in the log what is running, and on which addresses.
    fn say_started(&self, urls: &[String]) {
        let status = self.store.status();
        let took = Duration::from_millis(self.begun.elapsed().as_millis().try_into().unwrap_or(0));
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            data_dir = %self.config.data_dir.display(),
            calls = status.calls,
            listeners = urls.join(", "),
            recovery = self.store.recovery().to_string(),
            took = %humantime::format_duration(took),
            "rollcall is ready"
        );
    }

    /// For how long it has been running, in whole seconds.
    fn ran(&self) -> impl std::fmt::Display {
        exact_duration(Duration::from_secs(self.begun.elapsed().as_secs()))
    }

    /// Says which keys of the configuration have changed since the start: they count from the next one on.
    fn say_changes(&self) {
        match (self.again)().map(|config| self.config.changed(&config)) {
            Ok(keys) if keys.is_empty() => {
                tracing::info!("the configuration is the one that the server runs with");
            }
            Ok(keys) => {
                let keys = keys.join(" ");
                tracing::warn!(
                    keys,
                    "these keys of the configuration have changed and need a restart; the server goes on \
                     with what it was started with"
                );
            }
            Err(error) => {
                let error = chain(&error);
                tracing::error!(
                    error,
                    "the configuration cannot be read again, and the next start would be refused; the \
                     server goes on with what it was started with"
                );
            }
        }
    }

    /// A line for a shell that lists the newest sample calls.
    fn curl(&self, port: u16, reloader: &TlsReloader) -> String {
        let authority = reloader.loaded().authority;
        let trust = authority.map(|ca| format!("--cacert {} ", word(&ca))).unwrap_or_default();
        let token = self.config.data_dir.join("admin.token");
        format!(
            "curl {trust}-H \"Authorization: Bearer $(cat {})\" \
             \"https://localhost:{port}/v1/Accounts/{}/Calls?limit=3\"",
            word(&token),
            demo::ACCOUNT
        )
    }
}

/// Says in the data directory which node it is of, where that was never said.
fn note_node(config: &Config, name: &str) {
    let dir = &config.data_dir;
    let noted = read_node(dir).and_then(|known| match known {
        Some(_) => Ok(()),
        None => write_node(dir, &NodeName { name: name.to_owned(), kept_after: 0 }),
    });
    if let Err(error) = noted {
        tracing::warn!(error = chain(&error), "it cannot be noted of which node these data are");
    }
}

/// Why a node does not start by itself.
fn of_a_cluster(config: &Config) -> String {
    format!(
        "{} has the data of a node of a cluster, and no cluster is configured: set [cluster] as it was, since the \
         other nodes would never have what is taken here alone",
        config.data_dir.display()
    )
}

/// Tells all nodes of this one's `calls.max_lifetime` where the log has another: what decides is the same on every
/// node, and the node that was started last says it.
async fn agree_on_settings(node: Arc<Node>) {
    node.until_caught_up().await;
    while let Some(change) = node.store().cluster_row_to_propose() {
        let told = node.outcome_of(&[change], clock::now()).await;
        if told.is_ok() {
            tracing::info!("all nodes take calls.max_lifetime from the configuration of this one");
            return;
        }
        tokio::time::sleep(AGREEMENT_PAUSE).await;
    }
}

/// Makes the first admin token of a cluster, unless another node has.
async fn make_first_token(node: Arc<Node>, intake: Intake, context: ops::AdminContext) {
    node.until_caught_up().await;
    let path = context.data_dir.join("admin.token");
    let mut said = None;
    loop {
        // One node makes it. The others see it in the log.
        if !node.is_first() && !intake.store().access(Access::first_token_made) {
            tokio::time::sleep(FIRST_TOKEN_PAUSE).await;
            continue;
        }
        let (intake, context) = (intake.clone(), context.clone());
        let made = tokio::task::spawn_blocking(move || ops::make_first(&intake, &context));
        match made.await {
            Ok(Ok(Some(_))) => {
                tracing::info!(file = %path.display(), "the first admin token of the cluster is made");
                return;
            }
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) if said.as_ref() != Some(&error) => {
                tracing::warn!(%error, "the first admin token of the cluster cannot be made yet");
                said = Some(error);
            }
            Ok(Err(_)) => {}
        }
        tokio::time::sleep(FIRST_TOKEN_PAUSE).await;
    }
}

/// A link to the console for the user of this process.
fn link(context: &http::ApiContext) -> Option<ops::SignInLink> {
    let admin = context.operation.admin_context()?;
    let new = ops::NewLink { user: users::name_of_us(), is_remote: false, url: None };
    let answer = ops::run_without_store(admin, &ops::AdminRequest::ConsoleOpen(new))?;
    match answer {
        Ok(ops::AdminReply::SignInLink(link)) => Some(link),
        _ => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The configuration with the ports that were found where any free one was asked for.
fn bound(config: &Config, bound_listeners: &[BoundListener]) -> Config {
    let mut config = config.absolute();
    for BoundListener { listener, purpose, .. } in bound_listeners {
        let found = listener.local_addr().ok().and_then(|at| at.to_string().parse().ok());
        let place = match purpose {
            ListenerKind::Https => Some(&mut config.listen),
            ListenerKind::Http => config.http.listen.as_mut(),
            ListenerKind::Metrics => config.metrics.listen.as_mut(),
            ListenerKind::Cdrs | ListenerKind::CdrsTls => config.cdrs.listen.as_mut(),
        };
        if let (Some(place), Some(found)) = (place, found)
            && place.port() == 0
        {
            *place = found;
        }
    }
    config
}

/// A path as one word of a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Asks every accept loop whether it turns; blocks for as long as that takes.
fn all_turn(watchdogs: &Arc<Vec<Watchdog>>) -> ops::Loops {
    let (watchdogs, runtime) = (watchdogs.clone(), tokio::runtime::Handle::current());
    ops::Loops(Arc::new(move || {
        runtime.block_on(async {
            for watchdog in watchdogs.iter() {
                if !watchdog.beats(WATCHDOG_MAX).await {
                    return false;
                }
            }
            true
        })
    }))
}

/// Stores now and then when tokens were last used.
async fn note_used(intake: Intake) {
    let begin = tokio::time::Instant::now() + USED_INTERVAL;
    let mut ticks = tokio::time::interval_at(begin, USED_INTERVAL);
    loop {
        ticks.tick().await;
        let intake = intake.clone();
        let note = tokio::task::spawn_blocking(move || ops::note_used(&intake, USED_INTERVAL));
        if let Ok(Err(error)) = note.await {
            tracing::warn!(%error, "cannot store when tokens were last used");
        }
    }
}

impl Config {
    pub fn store_options(&self) -> Options {
        Options {
            data_dir: self.data_dir.clone(),
            index_cache_bytes: self.store.index_cache_bytes,
            segment_bytes: self.store.segment_bytes,
            registry_calls: self.store.registry_calls,
            queue_events: self.limits.queue_events,
            checkpoint_interval: self.store.checkpoint_interval,
            live_checkpoint_age_millis: millis(self.store.live_checkpoint_age),
            replay_bytes: self.store.replay_bytes,
            min_free_bytes: self.store.min_free_bytes,
            reserve_bytes: self.store.reserve_bytes,
            kept_bytes: self.cluster.kept_bytes,
            max_lifetime_millis: millis(self.calls.max_lifetime),
            cdrs: crate::store::CdrOptions {
                taken: self.cdrs.listen.is_some(),
                wait_millis: millis(self.cdrs.wait),
            },
            sweep_interval: self.calls.sweep_interval,
            retention: crate::store::RetentionPolicy {
                age_millis: self.retention.age.map(millis),
                bytes: Some(self.retention.bytes).filter(|bytes| *bytes > 0),
                history_millis: millis(self.retention.history),
                erase_millis: millis(self.retention.erase_within),
                interval: self.retention.interval,
            },
            rebuild: false,
            build_later: false,
            sync: true,
        }
    }

    pub fn ops_context(&self) -> ops::AdminContext {
        ops::AdminContext {
            service_url: self.hooks.service_url().to_owned(),
            data_dir: self.data_dir.clone(),
            audit_log: self.log.audit.clone(),
            certificates: ops::Certificates::Files(self.tls_setup()),
            listeners: Vec::new(),
            loops: None,
            keep_least_millis: if self.retention.allow_short { 0 } else { millis(SHORT) },
            configuration: String::new(),
            sign_in_codes: None,
            started_at: None,
            stopping: None,
        }
    }

    pub fn audit(&self) -> Result<AuditLog, Failure> {
        let path = self.log.audit.as_deref();
        AuditLog::open(path).map_err(|error| {
            let path = path.unwrap_or(Path::new("")).display();
            Failure::new(format!("cannot open log.audit {path}: {error}"))
        })
    }
}
