//! Figures of a store, of the server on it, and of problems for the operator.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::certificates::{CertificateList, ReachableAt, certificates};
use super::forward::{self, ForwardFigures};
use super::hooks::{self, HookFigures};
use super::{AdminContext, AdminReply, Failure};
use crate::clock;
use crate::domain::{Timestamp, counted};
use crate::fsutil;
use crate::intake::Intake;
use crate::node::NodeStatus;
use crate::store::{MirrorMode, Status, Store};
use crate::wire::show_time;

/// The file of the data directory that says which backup was made last.
const LAST_BACKUP: &str = "LAST_BACKUP";

/// Figures of a store and of what it is served with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusFigures {
    /// The release that answers.
    pub version: String,
    /// The server; none where none is running.
    #[serde(flatten)]
    pub process: Option<ServerProcess>,
    /// Active calls; none while that is not known.
    pub live_calls: Option<u64>,
    /// RFC 3339: when the last event came; none where there was none, as far as the newest files tell.
    pub last_event_at: Option<String>,
    /// The last backup that was made of this store by its own command; none where there was none.
    pub last_backup: Option<LastBackup>,
    pub problems: Vec<String>,
    #[serde(flatten)]
    pub store: Status,
    #[serde(flatten)]
    pub tls: CertificateList,
    /// Where it can be reached; nowhere while no server is running.
    pub listeners: Vec<ReachableAt>,
    /// What became of the requests that brought events.
    pub hooks: HookFigures,
    /// The mirror of jambonz's Redis; none where there is none.
    pub mirror: Option<MirrorFigures>,
    /// CDRs; none where none are taken.
    pub cdrs: Option<CdrFigures>,
    /// The console; none where it is off, or no server is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleFigures>,
    /// Webhooks that are passed on; none where there never was a target.
    pub forward: Option<ForwardFigures>,
    /// Tokens of jambonz; none where they are not accepted.
    pub upstream_auth: Option<UpstreamFigures>,
    /// The node; none where this is a server by itself, or none is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<NodeStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerProcess {
    pub pid: u32,
    pub started_at: String,
    /// Seconds since then.
    pub uptime_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    pub at: String,
    pub path: String,
    /// The last sequence number in it.
    pub sequence: u64,
}

pub(super) fn figures(intake: &Intake, context: &AdminContext) -> AdminReply {
    let store: &Store = intake.store();
    let cluster = intake.node().map(|node| node.status());
    let now = clock::now();
    let status = store.status();
    let tls = certificates(context);
    let hooks = hooks::figures(store);
    let mirror = mirror(store);
    let heard = hooks.accounts.iter().filter_map(|one| one.last_event_at.clone());
    let cdrs = cdrs(store, &status);
    let heard = heard.chain(mirror.as_ref().and_then(|mirror| mirror.last_event_at.clone()));
    let heard = heard.chain(cdrs.as_ref().and_then(|cdrs| cdrs.last_cdr_at.clone())).max();
    // What came before the start is in the journal.
    let last_event_at = heard.or_else(|| {
        let found = store.last_event().ok().flatten();
        found.map(|at| show_time(at).to_string())
    });
    let process = context.started_at.map(|at| ServerProcess {
        pid: std::process::id(),
        started_at: show_time(at).to_string(),
        uptime_seconds: now.millis().saturating_sub(at.millis()) / 1000,
    });
    AdminReply::Status(Box::new(StatusFigures {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        process,
        live_calls: status.live_calls,
        last_event_at,
        last_backup: last_backup(context, now),
        problems: problems(store, &status, &tls, cluster.as_ref()),
        store: status,
        tls,
        listeners: context.listeners.clone(),
        hooks,
        mirror,
        cdrs,
        console: context.sign_in_codes.as_ref().map(|_| ConsoleFigures {
            sessions: store.access(|access| access.live_sessions(now)),
            sign_ins: store.meter().sign_ins.get(),
            sign_ins_refused: store.meter().sign_ins_refused.get(),
        }),
        forward: forward::figures(store),
        upstream_auth: upstream(store),
        cluster,
    }))
}

/// Sessions of the console, and what became of those who signed in since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleFigures {
    /// Not signed out, and not over.
    pub sessions: u64,
    pub sign_ins: u64,
    /// Wrong tokens and links.
    pub sign_ins_refused: u64,
}

/// The mirror of jambonz's Redis, since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorFigures {
    pub url: String,
    /// `tracking`, `polling` or `disconnected`.
    pub mode: String,
    /// RFC 3339.
    pub since: String,
    /// Why it polls, or is not connected.
    pub why: Option<String>,
    /// When all calls had been looked through last.
    pub reconciled_at: Option<String>,
    pub last_event_at: Option<String>,
    pub events: u64,
    /// Those of them that were found by looking through all calls.
    pub found: u64,
    /// Calls in Redis that could not be read.
    pub unreadable: u64,
}

fn mirror(store: &Store) -> Option<MirrorFigures> {
    let metrics = &store.meter().mirror;
    let state = metrics.state()?;
    let shown = |at: Option<Timestamp>| at.map(|at| show_time(at).to_string());
    Some(MirrorFigures {
        url: state.place,
        mode: state.mode.as_str().to_owned(),
        since: show_time(state.since).to_string(),
        why: state.why,
        reconciled_at: shown(state.reconciled_at),
        last_event_at: shown(state.last_event_at),
        events: metrics.events.get(),
        found: metrics.found.get(),
        unreadable: metrics.unreadable.get(),
    })
}

/// The listener for CDRs, since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CdrFigures {
    /// Where it listens.
    pub url: String,
    /// When the last request came from one who may write. RFC 3339.
    pub last_request_at: Option<String>,
    /// That was a subscription of an `InfluxDB`.
    pub by_subscription: bool,
    /// When the last CDR was on disk.
    pub last_cdr_at: Option<String>,
    /// Lines by what became of them.
    pub lines: BTreeMap<String, u64>,
    /// When and why the last line was refused that was.
    pub refused_at: Option<String>,
    pub refused: Option<String>,
    /// Requests without the right user and password.
    pub unauthorised: u64,
    /// Requests that were too large, or in no form that is known.
    pub unread: u64,
    /// When and why the last of them was not read.
    pub last_unread_at: Option<String>,
    pub last_unread: Option<String>,
    /// Requests that were answered 503.
    pub unavailable: u64,
    /// CDRs that wait for their calls.
    pub waiting: u64,
    /// What became of CDRs.
    pub found: crate::store::CdrOutcome,
}

fn cdrs(store: &Store, status: &Status) -> Option<CdrFigures> {
    let metrics = &store.meter().cdrs;
    let state = metrics.state()?;
    let shown = |at: Option<Timestamp>| at.map(|at| show_time(at).to_string());
    let (refused_at, refused) = state.refused.unzip();
    let (last_unread_at, last_unread) = state.unread.unzip();
    let last_unread_at = shown(last_unread_at);
    Some(CdrFigures {
        url: state.place,
        last_request_at: shown(state.last_request_at),
        by_subscription: state.by_subscription,
        last_cdr_at: shown(state.last_cdr_at),
        lines: metrics.by_outcome().map(|(name, count)| (name.to_owned(), count)).collect(),
        refused_at: shown(refused_at),
        refused,
        unauthorised: metrics.unauthorised.get(),
        unread: metrics.unread.get(),
        last_unread_at,
        last_unread,
        unavailable: metrics.unavailable.get(),
        waiting: status.cdrs_waiting,
        found: status.changes.cdrs,
    })
}

/// Questions to jambonz's API about tokens, since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamFigures {
    pub url: String,
    /// When an answer came last. RFC 3339.
    pub answered_at: Option<String>,
    /// Since when there are none.
    pub failing_since: Option<String>,
    /// Why there are none.
    pub why: Option<String>,
    /// Questions by their answers.
    pub questions: BTreeMap<String, u64>,
    /// Requests that were answered 503 since jambonz could not be asked, by the reason.
    pub unavailable: BTreeMap<String, u64>,
    /// Requests whose tokens it had been asked about before.
    pub cached: u64,
    /// Requests that were answered by an older word of it.
    pub stale: u64,
}

fn upstream(store: &Store) -> Option<UpstreamFigures> {
    let metrics = &store.meter().upstream;
    let state = metrics.state()?;
    let (failing_since, why) = state.failing.unzip();
    Some(UpstreamFigures {
        url: state.url,
        answered_at: state.answered_at.map(|at| show_time(at).to_string()),
        failing_since: failing_since.map(|at| show_time(at).to_string()),
        why,
        questions: metrics.questions().map(|(kind, n)| (kind.as_str().to_owned(), n)).collect(),
        unavailable: metrics.refused().map(|(kind, n)| (kind.as_str().to_owned(), n)).collect(),
        cached: metrics.cached.get(),
        stale: metrics.stale.get(),
    })
}

fn problems(
    store: &Store,
    status: &Status,
    tls: &CertificateList,
    node: Option<&NodeStatus>,
) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(reason) = store.failed().borrow().clone() {
        problems.push(format!("the store has failed: {reason}"));
    }
    if status.disk_low {
        problems.push("the disk is short of space: events and imports are refused".to_owned());
    }
    if status.index_bytes.is_none() {
        problems.push("the index is being built again: lists are not answered".to_owned());
    }
    problems.extend(node.into_iter().flat_map(|node| node.problems.iter().cloned()));
    if let Some(state) = store.meter().mirror.state()
        && let (MirrorMode::Disconnected, Some(why)) = (state.mode, &state.why)
    {
        problems.push(format!("the mirror is not connected to jambonz's Redis: {why}"));
    }
    if let Some(figures) = forward::figures(store) {
        let waiting = figures.targets.iter().map(|target| target.queued).sum::<u64>();
        let open = figures.targets.iter().any(|target| target.open);
        if figures.paused && (open || waiting > 0) {
            let waiting = counted(waiting, "webhook");
            problems.push(format!(
                "forwarding is paused, and {waiting} wait; `rollcall forward resume` sends them"
            ));
        }
        for target in &figures.targets {
            let name = &target.name;
            if let (Some(since), Some(why)) = (&target.down_since, &target.why) {
                problems.push(format!("no webhook reaches the target {name} since {since}: {why}"));
            }
            if target.set_aside > 0 {
                let aside = counted(target.set_aside, "webhook");
                problems.push(format!(
                    "{aside} for the target {name} were set aside; `rollcall forward retry {name}` sends \
                     them again"
                ));
            }
        }
    }
    if let Some((_, why)) = store.meter().upstream.state().and_then(|state| state.failing) {
        problems.push(format!("jambonz's API cannot be asked about tokens: {why}"));
    }
    if let Some(problem) = &tls.certificates_problem {
        problems.push(format!("the certificate cannot be read: {problem}"));
    }
    for one in tls.certificates.iter().filter(|one| one.days_left < 0) {
        problems.push(format!("the certificate {} ended at {}", one.file.display(), one.not_after));
    }
    problems
}

/// Writes down that a backup was made.
pub(super) fn note_backup(
    context: &AdminContext,
    made: &LastBackup,
) -> Result<AdminReply, Failure> {
    let path = context.data_dir.join(LAST_BACKUP);
    let json = serde_json::to_vec(made).map_err(|error| Failure::new(error.to_string()))?;
    let written = fsutil::replace(&path, 0o600, |_| json.clone());
    written.map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    Ok(AdminReply::Done("the backup is recorded".to_owned()))
}

/// What was written down last. A file that says nothing sensible says nothing, and a time to come is
/// none at which a backup was made.
fn last_backup(context: &AdminContext, now: Timestamp) -> Option<LastBackup> {
    let text = fsutil::read_text(&context.data_dir.join(LAST_BACKUP)).ok()?;
    let made: LastBackup = serde_json::from_str(&text).ok()?;
    let at = crate::wire::parse_time(&made.at)?;
    (at <= now.plus_millis(60_000)).then_some(made)
}
