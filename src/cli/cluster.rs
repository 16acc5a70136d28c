//! `rollcall cluster`: words, what is done, and what a person sees of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::backup;
use super::execute::{execute, is_store};
use super::output::Output;
use super::paths::whole_path;
use super::table::{clean, table};
use super::words::Restore;
use crate::cluster::{
    self, Connection, CreateError, Epoch, Heartbeat, Log, LogOptions, Monitors, Observed,
    OpenError, Position, ReplicaState, Sameness, ServerReport, Settings, Stopped,
};
use crate::config::{Cluster, Config};
use crate::domain::{counted, exact_duration, show_size};
use crate::ops::{AdminReply, AdminRequest, ClusterPlace, Comparison, Failure, Levels};
use crate::outbound::Base;
use crate::random;
use crate::store::{LogPosition, chain};

/// How long the servers are tried.
const CONNECT: Duration = Duration::from_secs(10);

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Make the log of a new cluster on the nats-servers, once, before the first node starts.
    ///
    /// It makes a stream with three replicas, as `[cluster]` says, in JetStream. Before that each nats-server has to
    /// prove, by its monitoring address, that it syncs each message to its disk. The user of the nats-servers
    /// needs the right to make a stream for this, which the nodes do not need.
    Create(CreateArgs),
    /// Show the log, its nats-servers and the nodes; exit 1 if something is wrong.
    ///
    /// It asks the nats-servers and their monitors, and listens to the nodes for some seconds. It needs no server
    /// of rollcall, and changes nothing.
    Status,
    /// Have all nodes hash what they hold behind the same message of the log, and compare; exit 1 if they differ.
    ///
    /// That is all calls, and tokens, accounts and other settings.
    /// It asks the running server. Each node applies nothing while it reads all of its calls, so that it is some seconds
    /// behind for each million of them.
    Compare,
    /// Show which version of messages the nodes write, and which each of them reads; raise it when all are upgraded.
    ///
    /// A node stops at a message of a later version than it reads. So nodes of a new release write what the others read,
    /// until this raises it. It asks the running server.
    Level {
        /// Have all nodes write the latest version that every one of them reads. No earlier release can be a node afterwards.
        #[arg(long)]
        raise: bool,
    },
    /// Miss a node no more that is gone for good.
    ///
    /// Else `status` and alerts name it as one that is silent, and `purge --now` leaves in the log what it has not
    /// read. It asks the running server, which tells the other nodes, by the log also those that do not run.
    Forget {
        /// The node's name, as `cluster status` and `status` show it.
        #[arg(value_name = "NODE")]
        node: String,
    },
    /// Make the data of this node from a backup of another one, and say whether the log goes on from there.
    ///
    /// The backup is restored into the directory that --data-dir names, as `restore` does, and compared with the log.
    /// What it lacks comes from the log once the server starts. Exit 1 if the log does not have that any more: then nothing
    /// of it stays there; take a newer backup.
    Seed(SeedArgs),
}

#[derive(Debug, Args)]
pub(super) struct SeedArgs {
    /// The backup of another node, or - for an archive on standard input.
    #[arg(value_parser = whole_path())]
    backup: PathBuf,
    /// For an encrypted backup: the file with the age key.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// Monitoring address of a nats-server, beside those of `cluster.monitors`; may be given more than once.
    #[arg(long, value_name = "URL")]
    monitor: Vec<String>,
    /// The log is gone, with all that the nats-servers had: make one that goes on where this node is.
    ///
    /// Run it on the node that has applied most. The nodes go on with the new log by themselves; what some of them
    /// lack is given by those that have it. Refused where another node has more, or cannot be asked.
    #[arg(long)]
    again: bool,
    /// With --again: though another node has more, or cannot be asked.
    #[arg(long, requires = "again")]
    force: bool,
}

/// Runs one of them.
pub(super) fn run(
    config: &Config,
    command: ClusterCommand,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    let asked = match &command {
        ClusterCommand::Compare => Some(AdminRequest::ClusterCompare),
        ClusterCommand::Level { raise } => Some(AdminRequest::ClusterLevel { raise: *raise }),
        ClusterCommand::Forget { node } => Some(AdminRequest::ClusterForget { node: node.clone() }),
        _ => None,
    };
    if let Some(request) = asked {
        return ask(config, request, output);
    }
    let Some(cluster) = config.cluster() else {
        return Err(Failure::usage(
            "cluster.name is not set, so that this server is by itself; set cluster.name, cluster.node and \
             cluster.servers to make it one of several",
        ));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let ClusterCommand::Seed(args) = command {
        return seed(config, &cluster, args, &runtime, output);
    }
    runtime.block_on(async {
        match command {
            ClusterCommand::Create(args) => create(config, cluster, args, output).await,
            _ => status(&cluster, output).await,
        }
    })
}

/// Asks the running server.
fn ask(config: &Config, request: AdminRequest, output: &mut Output) -> Result<ExitCode, Failure> {
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let answer = execute(config, request, &mut std::io::empty(), output, &mut take)?;
    output.reply(&answer.reply, answer.running)?;
    let is_wrong = match &answer.reply {
        AdminReply::Compared(found) => !found.is_same(),
        AdminReply::Levels(levels, _) => !levels.stopped().is_empty(),
        _ => false,
    };
    Ok(if is_wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What nodes held, for people.
pub(super) fn compared(comparison: &Comparison) -> String {
    let rows = comparison.nodes.iter().map(|node| {
        vec![
            node.node.clone(),
            node.calls.map_or_else(|| "-".to_owned(), |calls| calls.to_string()),
            node.hash.clone().unwrap_or_else(|| "said nothing in time".to_owned()),
            // All of a hash is for programs; what differs differs here.
            node.settings_hash
                .as_deref()
                .map_or("-", |hash| hash.get(..16).unwrap_or(hash))
                .to_owned(),
        ]
    });
    let behind = comparison.seq;
    let silent: Vec<&str> = comparison.silent().collect();
    let others = if silent.is_empty() { "the nodes" } else { "the others" };
    let verdict = match (comparison.is_same_where_said(), comparison.nodes.len() - silent.len()) {
        (true, 1) if silent.is_empty() => {
            format!("there is one node alone, behind message {behind}")
        }
        (true, count) => format!("{count} nodes hold the same behind message {behind}"),
        (false, _) => format!("{others} do not hold the same behind message {behind}"),
    };
    let missing = match silent.as_slice() {
        [] => String::new(),
        silent => format!(
            "{} said nothing: start it, or `rollcall cluster forget` it where it is gone for good\n",
            silent.join(", ")
        ),
    };
    format!(
        "{}{verdict}\n{missing}",
        table(&["NODE", "CALLS", "SHA-256 OF THE CALLS", "OF SETTINGS"], rows.collect())
    )
}

/// The same for programs.
pub(super) fn compared_json(comparison: &Comparison) -> Value {
    let mut value = json!(comparison);
    if let Value::Object(members) = &mut value {
        members.insert("same".to_owned(), json!(comparison.is_same()));
    }
    value
}

/// Which version is written and read, for people.
pub(super) fn levels(levels: &Levels, is_raised: bool) -> String {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let rows = levels.nodes.iter().map(|node| {
        let reads = node.reads.map(|reads| reads.to_string());
        vec![node.node.clone(), or_none(node.release.clone()), or_none(reads)]
    });
    let table = table(&["NODE", "RELEASE", "READS UP TO"], rows.collect());
    let writes = levels.writes;
    let verdict = match (is_raised, levels.next()) {
        (true, _) => "no release that reads less can be a node of it any more".to_owned(),
        (false, Ok(Some(next))) => format!(
            "all nodes read version {next}: `rollcall cluster level --raise` once no node is to go back to an earlier release"
        ),
        (false, Ok(None)) => "no node reads a later one".to_owned(),
        (false, Err(error)) => format!("it cannot be raised: {error}"),
    };
    let now = if is_raised { "from now on " } else { "" };
    format!("{table}{now}the cluster writes messages of version {writes}\n{verdict}\n")
}

fn seed(
    config: &Config,
    cluster: &Cluster,
    args: SeedArgs,
    runtime: &Runtime,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    // A log that is not there is said before anything is read.
    runtime.block_on(log_of(cluster))?;
    let SeedArgs { backup: path, identity } = args;
    let words = Restore { backup: path, until: None, identity, node: Some(cluster.node.clone()) };
    let (mut seq, mut last) = (0, 0);
    let (_, calls) = backup::restored(config, words, output, |restored| {
        (seq, last) = runtime.block_on(goes_on(cluster, restored.applied))?;
        Ok(())
    })?;
    let missing = last.saturating_sub(seq);
    let text = if output.json {
        json!({ "calls": calls, "applied": seq, "last": last, "missing": missing }).to_string()
    } else {
        format!(
            "{}, up to message {seq} of the log, which goes on from there: {} more when the server starts\n",
            counted(calls, "call"),
            counted(missing, "message")
        )
    };
    output.text(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The log, by a connection of its own.
async fn log_of(cluster: &Cluster) -> Result<Log, Failure> {
    let (connection, _) = connect(cluster).await?;
    Log::open(&connection).await.map_err(|error| Failure::new(chain(&error)))
}

/// Where the log goes on from what a backup has, and its last message.
async fn goes_on(cluster: &Cluster, applied: Option<LogPosition>) -> Result<(u64, u64), Failure> {
    let position = applied.ok_or_else(|| {
        Failure::new(
            "the backup is of a server that was by itself: it has applied nothing of the log. Only the first node of a \
             new cluster begins so; others take a backup of that one",
        )
    })?;
    // To read the backup may have taken long.
    let log = log_of(cluster).await?;
    let failed = |error: &dyn std::error::Error| Failure::new(chain(error));
    let seq = position.seq;
    let found = log.compare(&in_log(position)).await.map_err(|error| failed(&error))?;
    let last = log.bounds().await.map_err(|error| failed(&error))?.last;
    if matches!(found, Sameness::Same | Sameness::Adjoins | Sameness::Follows(_)) {
        return Ok((seq, last));
    }
    let why = Stopped::Differs(found);
    Err(Failure::new(format!(
        "the backup ends with message {seq}, and the log does not go on from there: {why}; take a newer backup"
    )))
}

/// The same as the log knows it.
fn in_log(position: LogPosition) -> Position {
    let LogPosition { epoch, seq, crc, .. } = position;
    Position { epoch: Epoch::from_bytes(epoch), seq, crc }
}

async fn connect(cluster: &Cluster) -> Result<(Connection, Monitors), Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(chain(error));
    let settings = Settings::of(cluster).map_err(|error| failed(&error))?;
    let monitors = Monitors::of(cluster).map_err(|error| failed(&error))?;
    let connection = Connection::open(settings, CONNECT).await;
    Ok((connection.map_err(|error| failed(&error))?, monitors))
}

/// Where the new log goes on, which takes the place of the one that is gone.
async fn place_of(
    config: &Config,
    cluster: &Cluster,
    force: bool,
    connection: &Connection,
    monitors: &Monitors,
    output: &mut Output,
) -> Result<LogPosition, Failure> {
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let request = AdminRequest::ClusterPlace;
    let answer = execute(config, request, &mut std::io::empty(), output, &mut take)?;
    let AdminReply::Place(ClusterPlace { position, nodes }) = answer.reply else {
        return Err(Failure::new("the server said something else"));
    };
    let own = position.ok_or_else(|| {
        Failure::new(
            "this node has applied nothing of a log, so that none goes on here: `rollcall cluster create` without \
             --again makes the first one",
        )
    })?;
    if force {
        return Ok(own);
    }
    if !answer.running {
        return Err(Failure::new(
            "the server of this node does not run, so that it is not known what other nodes have: start it first, or add \
             --force",
        ));
    }
    let heard = cluster::observe(connection, monitors, cluster.unverified_sync).await.servers.nodes;
    let others = heard.iter().filter(|beat| beat.node != cluster.node.as_str());
    let mut problems: Vec<String> = others
        .filter_map(|beat| {
            let (node, applied) = (&beat.node, beat.applied);
            if beat.epoch != own.life() {
                return Some(format!("node {node} reads another log than this one has applied"));
            }
            let seq = own.seq;
            (applied > seq).then(|| {
                format!("node {node} has applied up to message {applied}, and this one up to {seq}: do it there")
            })
        })
        .collect();
    for node in nodes.iter().filter(|node| heard.iter().all(|beat| beat.node != node.node)) {
        let when = if node.heard {
            format!("was heard {:.0} s ago", node.seen_seconds)
        } else {
            "was not heard since this node was started".to_owned()
        };
        problems.push(format!(
            "node {0} {when} and cannot be asked how much it has: start it, or `rollcall cluster forget {0}` if it is gone for \
             good",
            node.node
        ));
    }
    if heard.iter().all(|beat| beat.node == cluster.node.as_str()) {
        problems.push("no other node is heard, so that it is not known what they have".to_owned());
    }
    if problems.is_empty() {
        return Ok(own);
    }
    problems.push("--force makes the log all the same".to_owned());
    Err(Failure::new(problems.join("; ")))
}

/// Refuses the first log of a cluster where this machine's data are of one that there was.
fn first_of(config: &Config, output: &mut Output) -> Result<(), Failure> {
    if !is_store(&config.data_dir) {
        return Ok(());
    }
    let mut take = |_: Option<&str>, _: &[u8]| Ok(());
    let request = AdminRequest::ClusterPlace;
    // What cannot be looked at says so when the node starts.
    let answer = execute(config, request, &mut std::io::empty(), output, &mut take);
    let Ok(AdminReply::Place(ClusterPlace { position: Some(own), .. })) =
        answer.map(|answer| answer.reply)
    else {
        return Ok(());
    };
    Err(Failure::new(format!(
        "{} has applied a log up to message {}, and one that begins anew is not for it: if that log is gone, `rollcall \
         cluster create --again` makes one that goes on there; for another cluster take an empty data directory",
        config.data_dir.display(),
        own.seq
    )))
}

async fn create(
    config: &Config,
    mut cluster: Cluster,
    args: CreateArgs,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    for text in args.monitor {
        let address: Base = text.parse().map_err(|error| {
            Failure::usage(format!(
                "--monitor: {error}; that of a nats-server is `http` in nats.conf"
            ))
        })?;
        if !cluster.monitors.contains(&address) {
            cluster.monitors.push(address);
        }
    }
    let (connection, monitors) = connect(&cluster).await?;
    let after = if args.again {
        let place = place_of(config, &cluster, args.force, &connection, &monitors, output).await?;
        Some(in_log(place))
    } else {
        if matches!(Log::open(&connection).await, Err(OpenError::Missing(_))) {
            first_of(config, output)?;
        }
        None
    };
    let options = LogOptions {
        epoch: Epoch::from_bytes(random::uuid().into_bytes()),
        first_seq: after.map_or(1, |after| after.seq + 1),
        max_age: cluster.log_age,
        max_bytes: cluster.log_bytes,
        after,
    };
    let made = cluster::create(&connection, &monitors, &options, cluster.unverified_sync).await;
    let (log, bounds, seen) = made.map_err(|error| why_not(&error, &connection, &cluster))?;
    let names: Vec<&str> = bounds.servers().collect();
    let unproven: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !seen.reports.iter().any(|report| report.name == *name))
        .collect();
    if output.json {
        let made = json!({
            "cluster": cluster.name.as_str(),
            "stream": log.stream(),
            "epoch": log.epoch().to_string(),
            "after": after.map(|after| after.seq),
            "log_age_s": cluster.log_age.as_secs(),
            "log_bytes": cluster.log_bytes,
            "servers": names,
            "unproven": unproven,
        });
        output.text(&made.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!(
        "made stream {} of epoch {}, on {}; it keeps messages for {}, and {} at most\n",
        log.stream(),
        log.epoch(),
        names.join(", "),
        exact_duration(cluster.log_age),
        show_size(cluster.log_bytes)
    );
    if let Some(after) = after {
        let _infallible = writeln!(
            text,
            "it goes on after message {}, with which the nodes begin by themselves within some seconds",
            after.seq
        );
    }
    if !unproven.is_empty() {
        let _infallible = writeln!(
            text,
            "that these sync each message is taken on trust (cluster.unverified_sync): {}",
            unproven.join(", ")
        );
    }
    output.text(&clean_lines(&text))?;
    Ok(ExitCode::SUCCESS)
}

fn why_not(error: &CreateError, connection: &Connection, cluster: &Cluster) -> Failure {
    let mut text = chain(error);
    // A server does not answer what a user may not ask, and says so apart.
    if let Some(complaint) = connection.complaint() {
        let _infallible = write!(text, "; a nats-server says: {complaint}");
    }
    if text.contains("insufficient storage") {
        let bytes = show_size(cluster.log_bytes);
        let _infallible = write!(
            text,
            "; max_file_store of each nats-server, and max_file of the account where it has one, has to be more than \
             cluster.log_bytes ({bytes})"
        );
    }
    if text.contains("non-clustered mode") {
        text.push_str("; the nats-servers have to form a cluster: `cluster` in nats.conf of each");
    }
    if matches!(error, CreateError::Open(OpenError::Exists { .. })) {
        text.push_str("; `rollcall cluster status` shows it");
    }
    Failure::new(text)
}

async fn status(cluster: &Cluster, output: &mut Output) -> Result<ExitCode, Failure> {
    let (connection, monitors) = connect(cluster).await?;
    let observed = cluster::observe(&connection, &monitors, cluster.unverified_sync).await;
    let problems = match &observed.log {
        Ok(_) => problems(&observed, connection.denial()),
        Err(_) => problems(&observed, connection.complaint()),
    };
    let text = if output.json {
        as_json(cluster, &connection, &observed, &problems).to_string()
    } else {
        as_text(cluster, &connection, &observed, &problems)
    };
    output.text(&text)?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that is wrong, in words.
fn problems(observed: &Observed, complaint: Option<String>) -> Vec<String> {
    let mut problems = Vec::new();
    match &observed.log {
        Err(error) => {
            // A server does not answer what a user may not ask, and says so apart.
            let says = complaint.map(|says| format!("; a nats-server says: {says}"));
            let is_gone = matches!(error, OpenError::Missing(_));
            problems.push(match observed.servers.applied_some().collect::<Vec<_>>().as_slice() {
                nodes @ [_, ..] if is_gone => cluster::log_is_gone(nodes),
                _ => chain(error) + &says.unwrap_or_default(),
            });
        }
        Ok((log, bounds)) => {
            let stream = log.stream();
            problems.extend(complaint.map(|says| format!("a nats-server says: {says}")));
            if bounds.leader.is_none() {
                problems
                    .push(format!("stream {stream} has no leader: no quorum of its servers is up"));
            }
            problems.extend(bounds.replicas.iter().filter_map(ReplicaState::trouble));
            let elsewhere =
                observed.servers.nodes.iter().filter(|node| lag(observed, node).is_none());
            problems.extend(elsewhere.filter(|node| node.trouble().is_none()).map(|node| {
                format!(
                    "node {} does not read this log: `rollcall status` there says why",
                    node.node
                )
            }));
        }
    }
    problems.extend(observed.servers.nodes.iter().filter_map(Heartbeat::trouble));
    problems.extend(observed.servers.missed().map(|node| {
        format!(
            "node {node} is not heard: start it, or `rollcall cluster forget {node}` where it is gone for good"
        )
    }));
    problems.extend(observed.servers.disagreements.iter().cloned());
    problems.extend(observed.problems.iter().map(ToString::to_string));
    problems.extend(observed.servers.silent.iter().map(ToString::to_string));
    problems
}

fn as_json(
    cluster: &Cluster,
    connection: &Connection,
    observed: &Observed,
    problems: &[String],
) -> Value {
    let log = observed.log.as_ref().ok().map(|(log, bounds)| {
        let replicas = bounds.replicas.iter().map(|replica| {
            json!({
                "name": replica.name, "current": replica.current, "offline": replica.offline,
                "lag": replica.lag, "silent_ms": millis(replica.silent),
            })
        });
        json!({
            "stream": log.stream(),
            "epoch": log.epoch().to_string(),
            "first": bounds.first,
            "last": bounds.last,
            "messages": bounds.messages,
            "bytes": bounds.bytes,
            "max_bytes": bounds.max_bytes(),
            "max_age_s": bounds.max_age().as_secs(),
            "leader": bounds.leader,
            "clock_ahead_ms": bounds.skew_millis(),
            "replicas": replicas.collect::<Vec<_>>(),
        })
    });
    let nodes = observed.servers.nodes.iter().map(|node| {
        json!({
            "node": node.node, "epoch": node.epoch, "applied": node.applied, "kept": node.kept,
            "reads": node.reads, "lag": lag(observed, node), "state": node.state,
        })
    });
    json!({
        "cluster": cluster.name.as_str(),
        "connected": connection.server().map(|(name, version)| json!({ "name": name, "version": version })),
        "log": log,
        "servers": observed.servers.reports,
        "nodes": nodes.collect::<Vec<_>>(),
        "problems": problems,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Messages that a node is behind; none where it is not known, or reads another log.
fn lag(observed: &Observed, node: &Heartbeat) -> Option<u64> {
    let (log, bounds) = observed.log.as_ref().ok()?;
    // Where the log has gone back, its turn stands behind.
    let epoch = node.epoch.split('.').next().unwrap_or_default();
    (epoch == log.epoch().to_string()).then(|| bounds.last.saturating_sub(node.applied))
}

fn as_text(
    cluster: &Cluster,
    connection: &Connection,
    observed: &Observed,
    problems: &[String],
) -> String {
    let mut text = format!("{:<11} {}\n", "cluster", cluster.name);
    let mut line = |name: &str, value: String| {
        let _infallible = writeln!(text, "{name:<11} {value}");
    };
    if let Some((name, version)) = connection.server() {
        line("asked", format!("{name}, nats-server {version}"));
    }
    if let Ok((log, bounds)) = &observed.log {
        line("log", format!("stream {} of epoch {}", log.stream(), log.epoch()));
        let within = match bounds.messages {
            0 => format!("none; the next is {}", bounds.first),
            count => format!("{count}, {} to {}", bounds.first, bounds.last),
        };
        line("messages", within);
        let most = bounds.max_bytes().map_or_else(|| "no bound".to_owned(), show_size);
        let age = exact_duration(bounds.max_age());
        line("size", format!("{} of {most}, kept for {age}", show_size(bounds.bytes)));
        let leader = bounds.leader.as_deref().unwrap_or("none");
        line("leader", leader.to_owned());
    }
    let mut text = clean_lines(&text);
    if !observed.servers.reports.is_empty() {
        text.push('\n');
        text.push_str(&servers(observed));
    }
    text.push('\n');
    if observed.servers.nodes.is_empty() {
        text.push_str("no node was heard\n");
    } else {
        text.push_str(&nodes(observed));
    }
    if !problems.is_empty() {
        text.push('\n');
    }
    for problem in problems {
        let _infallible = writeln!(text, "{:<11} {}", "problem", clean(problem));
    }
    text
}

fn servers(observed: &Observed) -> String {
    let role = |server: &ServerReport| {
        let Ok((_, bounds)) = &observed.log else { return "-".to_owned() };
        if bounds.leader.as_ref() == Some(&server.name) {
            return "leader".to_owned();
        }
        let replica = bounds.replicas.iter().find(|replica| replica.name == server.name);
        match replica {
            None => "-".to_owned(),
            Some(replica) if replica.current => "current".to_owned(),
            Some(_) => "not current".to_owned(),
        }
    };
    let rows = observed.servers.reports.iter().map(|server| {
        vec![
            server.name.clone(),
            server.version.clone(),
            if server.sync_always { "each message" } else { "now and then" }.to_owned(),
            role(server),
            server.deleted.map_or_else(|| "-".to_owned(), |lost| lost.to_string()),
            show_size(server.free_bytes),
        ]
    });
    table(&["SERVER", "VERSION", "SYNCS", "REPLICA", "LOST", "ROOM"], rows.collect())
}

fn nodes(observed: &Observed) -> String {
    let rows = observed.servers.nodes.iter().map(|node| {
        let lag = lag(observed, node);
        let unknown = match (&observed.log, node.epoch.is_empty()) {
            (Err(_), _) => "-",
            (Ok(_), true) => "no log",
            (Ok(_), false) => "another log",
        };
        vec![
            node.node.clone(),
            if node.state.is_empty() { "-" } else { &node.state }.to_owned(),
            node.applied.to_string(),
            lag.map_or_else(|| unknown.to_owned(), |lag| lag.to_string()),
            node.kept.to_string(),
        ]
    });
    table(&["NODE", "STATE", "APPLIED", "BEHIND", "KEPT"], rows.collect())
}

/// What a server says is not to be obeyed by a terminal.
fn clean_lines(text: &str) -> String {
    text.lines().fold(String::new(), |shown, line| shown + &clean(line) + "\n")
}
