//! The log of several machines, and its nats-servers.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::cluster::{
    self, Bounds, ConnectError, Connection, Log, Monitors, Observed, OpenError, Problem,
    ReplicaState, ServerReport, Settings, message_bytes_for,
};
use crate::config::{Cluster, Config};
use crate::domain::{counted, exact_duration, show_size};
use crate::store::chain;
use crate::{fsutil, tls};

/// How long a nats-server is tried.
const CONNECT: Duration = Duration::from_secs(3);
/// Clocks that are further apart are told, and are wrong.
const SKEW_TOLD_MILLIS: u64 = 1000;
const SKEW_MAX_MILLIS: u64 = 30_000;
const DAY: Duration = Duration::from_hours(24);

/// Each nats-server, and what they say of the log. They are connected to, and nothing is changed.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let Some(cluster) = config.cluster() else { return Vec::new() };
    let object = format!("cluster {}", cluster.name);
    let settings = match Settings::of(&cluster) {
        Ok(settings) => settings,
        Err(error) => return vec![unread(&cluster, object, chain(&error))],
    };
    let monitors = match Monitors::of(&cluster) {
        Ok(monitors) => monitors,
        Err(error) => return vec![unread(&cluster, object, chain(&error))],
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(examine(config, &cluster, &settings, &monitors)),
        Err(error) => vec![Finding::unknown(object, error.to_string(), "try it again")],
    }
}

/// A file that cannot be read: by this user, where systemd hands it to the service alone.
fn unread(cluster: &Cluster, object: String, why: String) -> Finding {
    let files = cluster.login.iter().map(|(_, file)| file);
    let identity = cluster.identity.iter().flat_map(|(cert, key)| [cert, key]);
    let mut files = files.chain(&cluster.ca).chain(identity);
    if files.any(|file| tls::is_credential(file) && tls::resolve(file).is_err()) {
        let advice = "`rollcall status` says how the server itself finds its log";
        return Finding::unknown(object, why, advice);
    }
    Finding::error(object, why, "name files that are there, and that the server's user may read")
}

async fn examine(
    config: &Config,
    cluster: &Cluster,
    settings: &Settings,
    monitors: &Monitors,
) -> Vec<Finding> {
    let tries = settings.each().into_iter().map(|one| Connection::open(one, CONNECT));
    let tried = futures_util::future::join_all(tries).await;
    let mut findings = Vec::new();
    let mut connection = None;
    for (server, tried) in cluster.servers.iter().zip(tried) {
        let object = format!("nats-server {server}");
        findings.extend(reached(config, &object, &tried));
        connection = connection.or(tried.ok());
    }
    if let Some(connection) = &connection {
        let observed = cluster::observe(connection, monitors, cluster.unverified_sync).await;
        findings.extend(judge(config, cluster, &Log::stream_of(connection), &observed));
        findings.extend(connection.denial().map(|says| {
            let advice = "give cluster.user the permissions in nats.conf that a node needs";
            Finding::error(
                format!("cluster {}", cluster.name),
                format!("a nats-server says: {says}"),
                advice,
            )
        }));
    }
    findings
}

/// What comes of an attempt at one address.
fn reached(
    config: &Config,
    object: &str,
    tried: &Result<Connection, ConnectError>,
) -> Vec<Finding> {
    let connection = match tried {
        Ok(connection) => connection,
        Err(error) => {
            return vec![Finding::error(
                object,
                chain(error),
                "see whether it runs and this machine reaches it, and whether cluster.user, its password, \
                 cluster.ca and the client certificate are those that nats.conf wants",
            )];
        }
    };
    let (name, version) = connection.server().unwrap_or_default();
    let mut findings =
        vec![Finding::ok(object, format!("it lets this node in: {name}, version {version}"))];
    let (given, wanted) = (connection.max_payload(), message_bytes_for(config.limits.body_bytes));
    match wanted {
        Some(wanted) if given < wanted => findings.push(Finding::warn(
            object,
            format!(
                "it takes messages of {} at most, and a request of limits.body_bytes ({}) may need {}: larger \
                 ones are answered 413",
                size(given),
                size(config.limits.body_bytes),
                size(wanted)
            ),
            format!("write `max_payload: {wanted}` into nats.conf of each nats-server, or lower limits.body_bytes"),
        )),
        Some(_) => {}
        None => findings.push(Finding::warn(
            object,
            format!(
                "no message may be so large as a request of limits.body_bytes ({}) may need: larger ones are answered 413",
                size(config.limits.body_bytes)
            ),
            "lower limits.body_bytes to 4MB or less",
        )),
    }
    findings
}

fn size(bytes: usize) -> String {
    show_size(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// What the servers, their monitors and the nodes say.
pub(super) fn judge(
    config: &Config,
    cluster: &Cluster,
    stream: &str,
    observed: &Observed,
) -> Vec<Finding> {
    let object = format!("log {stream}");
    let mut findings = Vec::new();
    match &observed.log {
        Err(OpenError::Missing(_)) if observed.servers.applied_some().next().is_some() => {
            let nodes: Vec<&str> = observed.servers.applied_some().collect();
            findings.push(Finding::error(
                &object,
                cluster::log_is_gone(&nodes),
                "start all nats-servers first: the log may be there again",
            ));
        }
        Err(error) => findings.push(Finding::error(
            &object,
            chain(error),
            "`rollcall cluster create` makes the log of a new cluster, once; where there was one, `rollcall cluster \
             status` on another node says more",
        )),
        Ok((_, bounds)) => {
            findings.extend(about_log(config, cluster, &object, bounds));
            findings.extend(bounds.skew_millis().map(|skew| about_clock(&object, "its leader", skew)));
        }
    }
    for (node, ahead) in &observed.servers.clocks {
        findings.push(about_clock(&format!("node {node}"), "this node", *ahead));
    }
    findings.extend(observed.problems.iter().map(|problem| about_problem(&object, problem)));
    findings.extend(observed.servers.missed().map(|node| {
        let advice = "start it; `rollcall cluster forget NODE` where it is gone for good";
        Finding::warn(format!("node {node}"), "the other nodes do not hear it", advice)
    }));
    let disagreements = observed.servers.disagreements.iter().map(|what| {
        let advice = "write the same on all nodes, each with a cluster.node of its own, and restart those that were changed";
        Finding::error(format!("nodes of {}", cluster.name), what, advice)
    });
    findings.extend(disagreements);
    let silent = observed.servers.silent.iter().map(|error| {
        let advice = "see whether that nats-server runs, this machine reaches it, and the address is that of `http` in its \
                      nats.conf";
        Finding::warn(&object, error.to_string(), advice)
    });
    findings.extend(silent);
    findings.extend(observed.servers.reports.iter().filter_map(|one| about_room(config, one)));
    findings
}

fn about_problem(object: &str, problem: &Problem) -> Finding {
    let advice = match problem {
        Problem::TooOld { .. } => {
            "install that release: one server after the other, and no node is without a log"
        }
        Problem::Disabled { .. } => {
            "see its log; make room on the disk of its store_dir, and restart it: no other nats-server may fail before that"
        }
        Problem::SmallMessages { .. } => {
            "write `max_payload: 4MB` into its nats.conf, and have it read that again (SIGHUP)"
        }
        Problem::NotSynced { .. } => {
            "write `sync_interval: always` into the section jetstream of its nats.conf, and restart it"
        }
        Problem::Unproven { .. } => {
            "name the monitor of its machine in cluster.monitors there, and start that node; cluster.unverified_sync \
             = true takes it on trust"
        }
        Problem::Lost { .. } | Problem::LostBeginning { .. } => {
            "nothing is missing while another server has these messages, and nodes read them there; stop that \
             nats-server, empty its store_dir, and start it: it takes all from the one that leads by then, which must not be \
             one that has lost some itself"
        }
        Problem::OtherMessages { .. } => {
            "nodes that read there may apply what the others do not: stop that nats-server, empty its store_dir, \
             and start it: it takes all from the others; then see whether `rollcall cluster compare` finds a \
             difference"
        }
        Problem::Replicas { .. } | Problem::Config { .. } => {
            "`rollcall cluster create` makes it as it has to be; the tools of NATS can change a stream, too"
        }
    };
    if problem.refuses() {
        Finding::error(object, format!("{problem}; nothing is accepted so"), advice)
    } else {
        Finding::warn(object, problem.to_string(), advice)
    }
}

fn about_log(config: &Config, cluster: &Cluster, object: &str, bounds: &Bounds) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &bounds.leader {
        Some(leader) => {
            let messages = counted(bounds.messages, "message");
            let what = format!("{messages}, {}; its leader is {leader}", show_size(bounds.bytes));
            findings.push(Finding::ok(object, what));
        }
        None => findings.push(Finding::error(
            object,
            "it has no leader: fewer than two of its nats-servers are up and see each other",
            "start the nats-servers; events are kept or refused meanwhile, as cluster.without_quorum says",
        )),
    }
    for trouble in bounds.replicas.iter().filter_map(ReplicaState::trouble) {
        let advice = "see its log; until it has caught up no other nats-server may fail";
        findings.push(Finding::warn(object, trouble, advice));
    }
    let (age, erase_within) = (bounds.max_age(), config.retention.erase_within);
    let shown = exact_duration(age);
    if age.is_zero() || age + DAY > erase_within {
        let kept = if age.is_zero() { "for good".to_owned() } else { format!("for {shown}") };
        findings.push(Finding::error(
            object,
            format!(
                "it keeps messages {kept}, so that it may have a deleted call for longer than \
                 retention.erase_within ({})",
                exact_duration(erase_within)
            ),
            "change max_age of the stream with the tools of NATS, or retention.erase_within: it must be a day more",
        ));
    } else if age != cluster.log_age {
        let what = format!(
            "it keeps messages for {shown}, and cluster.log_age is {}",
            exact_duration(cluster.log_age)
        );
        let advice = "cluster.log_age counts when the log is made; change max_age of the stream with the tools of NATS";
        findings.push(Finding::warn(object, what, advice));
    }
    if bounds.max_bytes() != Some(cluster.log_bytes) {
        let most = bounds.max_bytes().map_or_else(|| "no bound".to_owned(), show_size);
        let what = format!(
            "its size is {most}, and cluster.log_bytes is {}",
            show_size(cluster.log_bytes)
        );
        let advice = "cluster.log_bytes counts when the log is made; change max_bytes of the stream with the tools of NATS";
        findings.push(Finding::warn(object, what, advice));
    }
    findings
}

/// How far a clock is ahead.
fn about_clock(object: &str, whose: &str, skew_millis: i64) -> Finding {
    let apart = skew_millis.unsigned_abs();
    let shown = exact_duration(Duration::from_millis(apart));
    let which = if skew_millis > 0 { "ahead of" } else { "behind" };
    let what = format!("the clock of {whose} is {shown} {which} this machine's");
    let advice = "set both clocks, and keep them so (chrony): events have the times of the node that takes them, and messages \
                  of the log end by the clocks of the nats-servers";
    if apart <= SKEW_TOLD_MILLIS {
        Finding::ok(object, format!("the clocks of {whose} and of this machine agree"))
    } else if apart <= SKEW_MAX_MILLIS {
        Finding::warn(object, what, advice)
    } else {
        Finding::error(object, what, advice)
    }
}

/// Whether the nats-server of this machine has a disk of its own.
fn about_room(config: &Config, server: &ServerReport) -> Option<Finding> {
    let dir = Path::new(&server.store_dir);
    let device = |path: &Path| std::fs::metadata(path).map(|about| about.dev()).ok();
    let log = device(dir).filter(|_| dir.is_absolute())?;
    let object = format!("disk of nats-server {}", server.name);
    if device(&config.data_dir) == Some(log) {
        let shown = dir.display();
        return Some(Finding::warn(
            object,
            format!(
                "{shown} is on the disk of the data directory: a full or broken disk takes both at once"
            ),
            "give the nats-server a disk of its own where that can be done, and leave room for cluster.log_bytes",
        ));
    }
    let free = fsutil::free_bytes(dir).ok()?;
    Some(Finding::ok(object, format!("{} are free", show_size(free))))
}
