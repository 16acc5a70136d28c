//! The appliance: store, sockets, signals, from start to end.

use std::convert::Infallible;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::certificates::{look_after, reload};
use super::demo;
use super::listener::{self, Drained, Limits};
use crate::config::{Config, Host, ListenAddr};
use crate::ops::{self, Failure};
use crate::store::{Lock, Progress, Store};
use crate::tls::TlsReloader;
use crate::{admin, clock, http, outbound};

/// How often it is written down when tokens were used last.
const USED_INTERVAL: Duration = Duration::from_hours(1);

/// What a started server has to say.
pub enum News<'a> {
    /// How far the start has come.
    Starting(Progress),
    /// The first admin token, just made.
    FirstToken(&'a str),
    /// Sample calls are there, or are not since the store is not empty; how to ask for them.
    Demo {
        /// They are there.
        filled: bool,
        /// A line for a shell.
        curl: String,
    },
    /// A listener is bound.
    Listening(String),
    /// Everything is up.
    Ready,
}

/// Runs the server until a signal ends it.
pub fn serve(
    config: &Config,
    runtime_dir: Option<PathBuf>,
    demo: bool,
    tell: &mut dyn FnMut(News<'_>),
) -> Result<(), Failure> {
    let lock = Lock::take(&config.data_dir, true)?;
    let store = {
        let tell = parking_lot::Mutex::new(&mut *tell);
        let progress = |progress| (tell.lock())(News::Starting(progress));
        Arc::new(Store::open(lock, config.store_options(), clock::now(), &progress)?)
    };
    if let Some(token) = ops::make_first(&store, &config.ops_context())? {
        tell(News::FirstToken(&token));
    }
    let demo = if demo { Some(demo::fill(&store, clock::now())?) } else { None };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = Server { config, store: store.clone(), runtime_dir, demo };
    let result = runtime.block_on(server.run(tell));
    // A journal that has failed says so below.
    let _failed = ops::note_used(&store, Duration::ZERO);
    // Commands that still run are cut off; what they have acknowledged is on disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let closed = store.close().map_err(Failure::from);
    result.and(closed)
}

struct Server<'a> {
    config: &'a Config,
    store: Arc<Store>,
    runtime_dir: Option<PathBuf>,
    /// Whether sample calls were asked for, and are there.
    demo: Option<bool>,
}

/// Signals that the server answers.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

impl Server<'_> {
    async fn run(self, tell: &mut dyn FnMut(News<'_>)) -> Result<(), Failure> {
        let config = self.config;
        // Before anybody is told that the server is up, and may send one.
        let signals = Signals::new()?;
        let reloader = Arc::new(config.certificate()?);
        let https = bind(&config.listen).await?;
        let plain = match &config.http.listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let socket = config.admin_socket_path(self.runtime_dir.as_deref());
        let admin = admin::bind(&socket, &config.data_dir).map_err(|error| {
            Failure::new(format!("cannot bind the admin socket {}: {error}", socket.display()))
        })?;
        let port = https.local_addr()?.port();
        if let Some(filled) = self.demo {
            tell(News::Demo { filled, curl: self.curl(port, &reloader) });
        }
        let (stop, stopped) = watch::channel(());
        let context = config.http_context(self.store.clone(), stopped.clone())?;
        let api = http::service(Arc::new(context));
        let limits = config.listener_limits();
        let mut listeners = tokio::task::JoinSet::new();
        tell(News::Listening(format!("https://{}:{port}", config.listen.shown_host())));
        let until = |mut stopped: watch::Receiver<()>| async move {
            let _either_way = stopped.changed().await;
        };
        let tls = Some(reloader.clone());
        listeners.spawn(listener::run(https, tls, api.clone(), limits, until(stopped.clone())));
        if let (Some(plain), Some(address)) = (plain, &config.http.listen) {
            let port = plain.local_addr()?.port();
            tell(News::Listening(format!("http://{}:{port}", address.shown_host())));
            listeners.spawn(listener::run(plain, None, api, limits, until(stopped)));
        }
        let mut commands = config.ops_context();
        commands.certificates = ops::Certificates::Served(reloader.clone());
        let admin = tokio::spawn(admin::serve(admin, self.store.clone(), commands));
        let certificate = tokio::spawn(look_after(reloader.clone()));
        let notes = tokio::spawn(note_used(self.store.clone()));
        let watchdog = tokio::spawn(watchdog(self.store.clone()));
        tell(News::Ready);
        notify(&[sd_notify::NotifyState::Ready]);
        let result = self.until_stopped(signals, &reloader).await;
        notify(&[sd_notify::NotifyState::Stopping]);
        admin.abort();
        watchdog.abort();
        notes.abort();
        certificate.abort();
        let _unlinked = std::fs::remove_file(&socket);
        drop(stop);
        while let Some(drained) = listeners.join_next().await {
            let Drained { in_order, cut } = drained.unwrap_or_default();
            tracing::info!(in_order, cut, "connections are closed");
        }
        result
    }

    /// Answers signals. Returns when the server is to end.
    async fn until_stopped(
        &self,
        signals: Signals,
        reloader: &Arc<TlsReloader>,
    ) -> Result<(), Failure> {
        let Signals { mut terminate, mut interrupt, mut hangup } = signals;
        let mut failed = self.store.failed();
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => {
                    notify(&reloading());
                    reload(reloader).await;
                    notify(&[sd_notify::NotifyState::Ready]);
                }
                changed = failed.changed() => {
                    let reason = failed.borrow().clone();
                    if let Some(reason) = reason {
                        return Err(Failure::new(format!("the journal has failed: {reason}")));
                    }
                    changed.map_err(|_| Failure::new("the store is gone"))?;
                }
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

/// A path as one word of a shell.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

async fn bind(address: &ListenAddr) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(address.to_string()).await;
    bound.map_err(|error| Failure::new(format!("cannot listen on {address}: {error}")))
}

/// Writes down now and then when tokens were used last.
async fn note_used(store: Arc<Store>) {
    let begin = tokio::time::Instant::now() + USED_INTERVAL;
    let mut ticks = tokio::time::interval_at(begin, USED_INTERVAL);
    loop {
        ticks.tick().await;
        let store = store.clone();
        let noted = tokio::task::spawn_blocking(move || ops::note_used(&store, USED_INTERVAL));
        if let Ok(Err(error)) = noted.await {
            tracing::warn!(%error, "it is not written down when tokens were used last");
        }
    }
}

/// Tells systemd that all is well, for as long as the store says so. Ends where systemd does not
/// watch.
fn watchdog(store: Arc<Store>) -> impl Future<Output = Option<Infallible>> {
    let interval = sd_notify::watchdog_enabled();
    async move {
        let mut ticks = tokio::time::interval(interval? / 2);
        loop {
            ticks.tick().await;
            let store = store.clone();
            // A look at the store's locks shows that its threads go on; a failed index is rebuilt.
            let looked = tokio::task::spawn_blocking(move || {
                let failed = store.failed();
                store.status();
                failed.borrow().is_none()
            });
            if looked.await.unwrap_or(false) {
                notify(&[sd_notify::NotifyState::Watchdog]);
            }
        }
    }
}

fn reloading() -> [sd_notify::NotifyState<'static>; 2] {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    [sd_notify::NotifyState::Reloading, sd_notify::NotifyState::MonotonicUsec(micros)]
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

impl Config {
    /// How the store is run.
    pub fn store_options(&self) -> crate::store::Options {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        crate::store::Options {
            data_dir: self.data_dir.clone(),
            index_cache_bytes: self.store.index_cache_bytes,
            segment_bytes: self.store.segment_bytes,
            registry_calls: self.store.registry_calls,
            queue_events: self.limits.queue_events,
            checkpoint_interval: self.store.checkpoint_interval,
            live_checkpoint_age_millis: millis(self.store.live_checkpoint_age),
            replay_bytes: self.store.replay_bytes,
            max_lifetime_millis: millis(self.calls.max_lifetime),
            sweep_interval: self.calls.sweep_interval,
            rebuild: false,
            sync: true,
        }
    }

    /// What commands need to know.
    pub fn ops_context(&self) -> ops::Context {
        ops::Context {
            service_url: self.service_url(),
            data_dir: self.data_dir.clone(),
            certificates: ops::Certificates::Files(self.tls_setup()),
        }
    }

    fn http_context(
        &self,
        store: Arc<Store>,
        stopping: watch::Receiver<()>,
    ) -> Result<http::Context, Failure> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let servers = &self.feature_servers;
        let ca = self.upstream.ca.as_deref();
        let client = outbound::Client::new(ca, servers.connect, servers.timeout)
            .map_err(|error| Failure::new(crate::store::chain(&error)))?;
        let (urls, networks) = (servers.urls.clone(), servers.networks.clone());
        Ok(http::Context {
            store,
            body_bytes: self.limits.body_bytes,
            body_time: self.limits.body,
            batch_events: self.limits.batch_events,
            service_url: self.service_url(),
            page_rows: self.list.page_rows,
            count_rows: self.list.count_rows,
            window: self.list.window.map(|window| http::Window {
                ended_millis: millis(window),
                lifetime_millis: millis(self.calls.max_lifetime),
            }),
            token_requests: self.limits.token_requests,
            token_window: self.limits.token_window,
            allow_origin: self.cors.allow_origin.as_ref().map(|origin| origin.as_str().to_owned()),
            client,
            feature_servers: outbound::Servers::new(urls, networks, servers.retry_after),
            upstream: self.upstream.api_url.clone(),
            followers: http::Crowd::new(self.limits.followers),
            keep_alive: self.limits.keep_alive,
            stopping,
        })
    }

    fn service_url(&self) -> String {
        self.hooks.service_url.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    fn listener_limits(&self) -> Limits {
        Limits {
            connections: self.limits.connections,
            handshake: self.limits.handshake,
            header: self.limits.header,
            write: self.limits.write,
            drain: self.limits.drain,
        }
    }
}

impl ListenAddr {
    /// The host as it stands in a URL.
    fn shown_host(&self) -> String {
        match self.host() {
            Host::Ip(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            Host::Ip(ip) => ip.to_string(),
            Host::Name(name) => name.to_string(),
        }
    }
}
