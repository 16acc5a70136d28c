//! A cluster as it is seen from outside: its log, its servers, its nodes; and a log that is made once it is known
//! that its servers keep their promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::agree::{differing, two_of_a_name};
use super::connection::Connection;
use super::hints::{Heartbeat, Hints, Peers, ServerReport};
use super::log::{ApiError, Bounds, Log, LogOptions, OpenError, REPLICAS};
use super::monitor::{MonitorError, Monitors};
use super::verify::{Problem, verify, verify_servers};
use crate::clock;
use crate::domain::counted;

/// How long nodes are listened to: each says something once a second.
const LISTEN: Duration = Duration::from_millis(2500);
/// How long a new log may take until all of its servers are known.
const SETTLE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// What is known of the servers.
#[derive(Debug, Default)]
pub struct ServersSeen {
    /// Of each server the newest, by name.
    pub reports: Vec<ServerReport>,
    /// Monitors that said nothing.
    pub silent: Vec<MonitorError>,
    /// What each node has said last.
    pub nodes: Vec<Heartbeat>,
    /// Names and settings that are not as they have to be, in words.
    pub disagreements: Vec<String>,
    /// By how many milliseconds the clock of each is ahead of this machine's.
    pub clocks: Vec<(String, i64)>,
}

impl ServersSeen {
    /// Nodes that others know of, and that say nothing.
    pub fn missed(&self) -> impl Iterator<Item = &str> {
        let missed: BTreeSet<&str> =
            self.nodes.iter().flat_map(|node| &node.missed).map(String::as_str).collect();
        missed.into_iter().filter(|name| self.nodes.iter().all(|node| node.node != *name))
    }

    /// Nodes that have applied messages of a log.
    pub fn applied_some(&self) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().filter(|node| node.applied > 0);
        nodes.map(|node| node.node.as_str())
    }
}

/// What to do where there is no log, though these nodes have applied one. One of another life is not for them.
pub fn log_is_gone(nodes: &[&str]) -> String {
    format!(
        "the log is gone that {} applied: start all nats-servers, and if it is still gone, `rollcall cluster create --again` on \
         the node that has applied most",
        match nodes {
            [node] => format!("node {node} has"),
            nodes => format!("the nodes {} have", nodes.join(", ")),
        }
    )
}

/// What there is.
#[derive(Debug)]
pub struct Observed {
    pub log: Result<(Log, Bounds), OpenError>,
    pub servers: ServersSeen,
    /// Why the log or a server is not as it has to be.
    pub problems: Vec<Problem>,
}

/// Why no log was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(
        "{} that each message is on disk before it is acknowledged, and it has to be known of {REPLICAS}; name \
         the monitoring addresses of all in cluster.monitors or by --monitor, or set \
         cluster.unverified_sync = true{}",
        known_of(proven),
        why_silent(silent)
    )]
    Unproven { proven: Vec<String>, silent: Vec<MonitorError> },
    #[error("{}; for another cluster stop these nodes, and begin with empty data directories", gone(.0))]
    Gone(Vec<String>),
    #[error("{}", lines(.0))]
    Unfit(Vec<Problem>),
    #[error(
        "{}\nit cannot be taken away again: {source}; remove it with the tools of NATS",
        lines(problems)
    )]
    Left { problems: Vec<Problem>, source: OpenError },
    #[error("stream {stream}: its servers are not known after {} s: {why}", SETTLE.as_secs())]
    Unsettled { stream: String, why: String },
}

/// Asks the monitors, and listens to the nodes.
pub async fn servers(connection: &Connection, monitors: &Monitors, stream: &str) -> ServersSeen {
    let (found, peers) = tokio::join!(monitors.look(stream), listen(connection));
    let now = Instant::now();
    let nodes = peers.all(now).map(|(heartbeat, _)| heartbeat.clone()).collect();
    let clocks = peers.ahead(clock::now(), now).map(|(node, ahead)| (node.to_owned(), ahead));
    let clocks = clocks.collect();
    let mut disagreements: Vec<String> = peers.twice(now).map(two_of_a_name).collect();
    disagreements.extend(differing(peers.alive(now).map(|one| (&*one.node, &one.settings))));
    let mut seen = ServersSeen { nodes, disagreements, clocks, ..ServersSeen::default() };
    let told = peers.servers(now).into_iter().map(|report| (report.name.clone(), report));
    let mut reports: BTreeMap<String, ServerReport> = told.collect();
    for one in found {
        match one {
            Ok(report) => {
                let report = match reports.get(&report.name) {
                    Some(told) => {
                        let passed = report.looked_at.saturating_sub(told.looked_at);
                        report.after(told, Duration::from_millis(passed))
                    }
                    None => report,
                };
                drop(reports.insert(report.name.clone(), report));
            }
            Err(error) => seen.silent.push(error),
        }
    }
    seen.reports = reports.into_values().collect();
    seen
}

/// What each node says within some seconds.
async fn listen(connection: &Connection) -> Peers {
    let mut heard = Peers::default();
    let Ok(mut hints) = Hints::listen(connection).await else { return heard };
    let listening = async {
        while let Some(heartbeat) = hints.next().await {
            heard.note(heartbeat, Instant::now());
        }
    };
    let _over = tokio::time::timeout(LISTEN, listening).await;
    heard
}

/// Looks at everything.
pub async fn observe(
    connection: &Connection,
    monitors: &Monitors,
    unverified_sync: bool,
) -> Observed {
    let stream = Log::stream_of(connection);
    let (log, servers) = tokio::join!(open(connection), servers(connection, monitors, &stream));
    let mut problems = match &log {
        Ok((_, bounds)) => verify(bounds, &servers.reports, unverified_sync),
        Err(_) => verify_servers(&servers.reports),
    };
    problems.dedup();
    Observed { log, servers, problems }
}

async fn open(connection: &Connection) -> Result<(Log, Bounds), OpenError> {
    let log = Log::open(connection).await?;
    let bounds = log.bounds().await;
    let bounds =
        bounds.map_err(|source| OpenError::Api { stream: log.stream().to_owned(), source })?;
    Ok((log, bounds))
}

/// Makes a log, once it is known that its servers keep their promise. One on servers that do not is taken away
/// again.
///
/// # Errors
/// There is a log already; the servers are not as they have to be, or nothing is known of them.
pub async fn create(
    connection: &Connection,
    monitors: &Monitors,
    options: &LogOptions,
    unverified_sync: bool,
) -> Result<(Log, Bounds, ServersSeen), CreateError> {
    // What is there already is said before anything of the servers.
    match Log::open(connection).await {
        Err(OpenError::Missing(_)) => {}
        Ok(log) => {
            let (stream, epoch) = (log.stream().to_owned(), Some(log.epoch()));
            return Err(OpenError::Exists { stream, epoch }.into());
        }
        Err(error) => return Err(error.into()),
    }
    let seen = servers(connection, monitors, &Log::stream_of(connection)).await;
    let have: Vec<String> = seen.applied_some().map(str::to_owned).collect();
    if options.after.is_none() && !have.is_empty() {
        return Err(CreateError::Gone(have));
    }
    let problems = verify_servers(&seen.reports);
    if !problems.is_empty() {
        return Err(CreateError::Unfit(problems));
    }
    if seen.reports.len() < REPLICAS && !unverified_sync {
        let proven = seen.reports.into_iter().map(|report| report.name).collect();
        return Err(CreateError::Unproven { proven, silent: seen.silent });
    }
    let log = Log::create(connection, options).await?;
    match settled(&log).await {
        Ok(bounds) => {
            let problems = verify(&bounds, &seen.reports, unverified_sync);
            if problems.is_empty() {
                return Ok((log, bounds, seen));
            }
            if bounds.messages == 0
                && let Err(source) = log.remove().await
            {
                let source = OpenError::Api { stream: log.stream().to_owned(), source };
                return Err(CreateError::Left { problems, source });
            }
            Err(CreateError::Unfit(problems))
        }
        Err(why) => Err(CreateError::Unsettled { stream: log.stream().to_owned(), why }),
    }
}

/// Waits until the log says who has it.
async fn settled(log: &Log) -> Result<Bounds, String> {
    let begun = Instant::now();
    loop {
        let why = match log.bounds().await {
            Ok(bounds) if bounds.leader.is_some() && bounds.replicas.len() + 1 >= REPLICAS => {
                return Ok(bounds);
            }
            Ok(_) => "it has no leader".to_owned(),
            Err(error @ (ApiError::Refused { .. } | ApiError::Unreadable(_))) => {
                return Err(error.to_string());
            }
            Err(error) => error.to_string(),
        };
        if begun.elapsed() >= SETTLE {
            return Err(why);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn known_of(proven: &[String]) -> String {
    match proven {
        [] => "it is known of no nats-server".to_owned(),
        _ => format!(
            "it is only known of {} ({})",
            counted(proven.len(), "nats-server"),
            proven.join(", ")
        ),
    }
}

fn gone(nodes: &[String]) -> String {
    log_is_gone(&nodes.iter().map(String::as_str).collect::<Vec<_>>())
}

fn why_silent(silent: &[MonitorError]) -> String {
    silent.iter().fold(String::new(), |text, error| format!("{text}; {error}"))
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
