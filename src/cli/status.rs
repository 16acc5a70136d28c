//! `rollcall status`: what a person sees of it, and whether all is well.

use std::fmt::Write as _;
use std::time::Duration;

use super::render::{changed, left, part};
use super::table::clean;
use crate::clock;
use crate::domain::{Timestamp, counted, short_duration, show_age, show_size};
use crate::ops::{
    CdrFigures, CertificateInfo, CertificateList, CertificateRole, ConsoleFigures, ForwardFigures,
    HookFigures, MirrorFigures, NodeStatus, ReachableAt, Refusals, StatusFigures, TargetFigures,
    UpstreamFigures,
};
use crate::store::{MirrorMode, Status};
use crate::wire::parse_time;

/// A clock of another node that differs by so many seconds is told.
const SKEW_TOLD: f64 = 1.0;

/// Problems for the operator; none where all is well.
pub(super) fn problems(figures: &StatusFigures, running: bool) -> Vec<String> {
    let down = (!running).then(|| "no server is running".to_owned());
    down.into_iter().chain(figures.problems.iter().cloned()).collect()
}

/// A line for each figure, and one for each problem.
pub(super) fn text(figures: &StatusFigures, running: bool) -> String {
    let now = clock::now();
    let status = &figures.store;
    let index = status.index_bytes.map_or_else(|| "is being built again".to_owned(), show_size);
    let checkpoint = match &status.checkpoint_at {
        Some(at) => format!("{}, up to sequence {}", ago(at, now), status.checkpoint_sequence),
        None => "none yet".to_owned(),
    };
    let live = figures.live_calls.map_or_else(|| "unknown".to_owned(), |live| live.to_string());
    let last_event = figures.last_event_at.as_ref();
    let mut lines = vec![("server", server(figures, running))];
    if running {
        lines.push(("version", figures.version.clone()));
    }
    // Nobody has heard of them since a server ended.
    let when = if running { "" } else { " when it ended" };
    let calls = format!("{}, {live} of them active{when}", count(status.calls));
    lines.extend([
        ("calls", calls),
        ("last event", last_event.map_or_else(|| "none known".to_owned(), |at| ago(at, now))),
        ("last backup", backup(figures, now)),
        ("in memory", counted(status.registry_calls, "call")),
        ("deleted", format!("{} still remembered as deleted", counted_calls(status.tombstones))),
        ("sequence", status.sequence.to_string()),
        ("history id", status.epoch.clone()),
        ("last checkpoint", checkpoint),
        (
            "journal",
            format!(
                "{} in {}{}",
                show_size(status.journal_bytes),
                counted(status.journal_segments, "segment"),
                ratio(status)
            ),
        ),
        ("index", index),
        ("disk", disk(status)),
        ("values dropped", left_out(status)),
        ("failed logins", status.failed_authentications.to_string()),
    ]);
    lines.extend(figures.listeners.iter().map(listener));
    lines.extend(certificate_lines(&figures.tls));
    lines.extend(hook_lines(&figures.hooks));
    lines.extend(figures.console.iter().map(|console| ("console", console_line(console))));
    lines.extend(figures.cluster.iter().flat_map(|node| node_lines(node, now)));
    lines.extend(figures.mirror.iter().map(|mirror| ("mirror", mirror_line(mirror, now))));
    lines.extend(figures.cdrs.iter().map(|cdrs| ("CDRs", cdr_line(cdrs, now))));
    lines.extend(figures.forward.iter().flat_map(|forward| forward_lines(forward, now)));
    let upstream = figures.upstream_auth.iter();
    lines.extend(upstream.map(|upstream| ("jambonz's tokens", upstream_line(upstream, now))));
    lines
        .extend(problems(figures, running).into_iter().map(|problem| ("problem", clean(&problem))));
    lines.into_iter().fold(String::new(), |mut text, (name, value)| {
        let _infallible = writeln!(text, "{name:<16} {value}");
        text
    })
}

fn counted_calls(count: Option<u64>) -> String {
    count.map_or_else(
        || "those are not known until the index is built, and".to_owned(),
        |n| counted(n, "call"),
    )
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(|| "not known until the index is built".to_owned(), |n| n.to_string())
}

fn server(figures: &StatusFigures, running: bool) -> String {
    match &figures.process {
        Some(process) => {
            let uptime = short_duration(Duration::from_secs(process.uptime_seconds));
            let (pid, since) = (process.pid, &process.started_at);
            format!("running for {uptime}, since {since}, process {pid}")
        }
        None if running => "running".to_owned(),
        None => "not running; what follows is what the files say".to_owned(),
    }
}

fn backup(figures: &StatusFigures, now: Timestamp) -> String {
    match &figures.last_backup {
        Some(made) => clean(&format!(
            "{}, up to sequence {}, {}",
            ago(&made.at, now),
            made.sequence,
            made.path
        )),
        None => "none known".to_owned(),
    }
}

/// A time, and how long ago that was.
fn ago(at: &str, now: Timestamp) -> String {
    match parse_time(at) {
        Some(time) => {
            let age = Duration::from_millis(now.millis().saturating_sub(time.millis()));
            format!("{at} ({})", show_age(age))
        }
        None => at.to_owned(),
    }
}

/// A line for each certificate that is in use, for the figures.
fn certificate_lines(list: &CertificateList) -> Vec<(&'static str, String)> {
    let one = |one: &CertificateInfo| {
        let names = if one.names.is_empty() { &one.subject } else { &one.names.join(" ") };
        let (file, end, left) = (one.file.display(), &one.not_after, left(one.days_left));
        let trust = if one.made && one.part == CertificateRole::Authority {
            ", which clients must trust"
        } else {
            ""
        };
        let text = format!("{}: {file}{trust}, {names}, until {end} ({left})", part(one));
        ("certificate", clean(&text))
    };
    let changed = list.certificates_changed.iter().map(|path| ("", changed(path)));
    let problem = list.certificates_problem.iter().map(|problem| ("certificate", problem.clone()));
    list.certificates.iter().map(one).chain(changed).chain(problem).collect()
}

fn listener(listener: &ReachableAt) -> (&'static str, String) {
    let held = if listener.held { ", held by the service manager" } else { "" };
    ("listener", format!("{}{held}", listener.url))
}

/// What of events was not taken while the rest of them was.
fn left_out(status: &Status) -> String {
    let mut text = format!("{} too large", counted(status.changes.dropped_keys, "value"));
    for (field, count) in &status.unread_values {
        let _infallible = write!(text, ", {count} of {field} unreadable");
    }
    text
}

/// A line for each account, for at most so many of them.
fn hook_lines(hooks: &HookFigures) -> Vec<(&'static str, String)> {
    const ACCOUNTS_MAX: usize = 50;
    let line = |whose: &str, last: Option<&str>, refused: &Refusals| {
        let parts: Vec<_> = last.map(str::to_owned).into_iter().chain(refused.texts()).collect();
        ("webhooks", format!("{whose}: {}", parts.join("; ")))
    };
    // Those with a problem first.
    let mut accounts: Vec<_> = hooks.accounts.iter().collect();
    accounts.sort_by_key(|one| one.refused.is_empty());
    let mut lines: Vec<_> = accounts
        .iter()
        .take(ACCOUNTS_MAX)
        .map(|one| {
            let whose = format!("account {}", one.account_sid);
            let last = one.last_event_at.as_deref();
            let last = last.map_or("no event since the start".to_owned(), |at| {
                format!("last event taken at {at}")
            });
            line(&whose, Some(&last), &one.refused)
        })
        .collect();
    if accounts.len() > ACCOUNTS_MAX {
        let more = accounts.len() - ACCOUNTS_MAX;
        lines.push(("", format!("and {} more: see --json", counted(more, "account"))));
    }
    lines.extend(
        hooks
            .unregistered
            .iter()
            .map(|one| ("webhooks", format!("account {}: {}", one.account_sid, one.text()))),
    );
    let others = hooks.others_unnamed();
    if !others.is_empty() {
        lines.push(line("no known account", None, &others));
    }
    lines
}

/// Who is signed in at the console.
fn console_line(console: &ConsoleFigures) -> String {
    let ConsoleFigures { sessions, sign_ins, sign_ins_refused } = console;
    format!(
        "{}; {sign_ins} begun and {sign_ins_refused} refused since the start",
        counted(*sessions, "session")
    )
}

/// How this node of a cluster is, and what it knows of the others.
fn node_lines(node: &NodeStatus, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut text = format!("{} of {}: {}", node.node, node.cluster, node.state);
    let _infallible = write!(text, ", applied {} of {}", node.applied, node.last);
    if node.lag.messages > 0 {
        let behind = counted(node.lag.messages, "message");
        let _infallible = write!(text, ", {behind} and {:.1} s behind", node.lag.seconds);
    }
    match &node.server {
        Some(server) => {
            let _infallible = write!(text, "; connected to {server}");
        }
        None => text.push_str("; not connected"),
    }
    match &node.leader {
        Some(leader) => {
            let _infallible = write!(text, ", the leader is {leader}");
        }
        None => text.push_str(", no leader known"),
    }
    if node.first_node {
        text.push_str("; does what one node does for all");
    }
    let mut lines = vec![("node", clean(&text))];
    if let (Some(first), Some(bytes)) = (node.first.filter(|first| *first > 0), node.log_bytes) {
        let epoch = node.epoch.as_deref().unwrap_or("unknown");
        let log = format!("begins with message {first}, {}, epoch {epoch}", show_size(bytes));
        lines.push(("log", clean(&log)));
    }
    let kept = match &node.kept.oldest_at {
        Some(at) => {
            let count = counted(node.kept.count, "message");
            format!(
                "{count} on this machine alone, {}, the oldest {}",
                show_size(node.kept.bytes),
                ago(at, now)
            )
        }
        None => "nothing on this machine alone".to_owned(),
    };
    lines.push(("kept", clean(&kept)));
    for server in &node.servers {
        let version = server.version.as_deref().unwrap_or("unknown");
        let mut text = format!("{}: nats-server {version}", server.name);
        match server.sync_always {
            Some(true) => text.push_str(", syncs each message"),
            Some(false) => text.push_str(", does not sync each message"),
            None => text.push_str(", not looked at"),
        }
        if server.offline {
            text.push_str(", away");
        } else if let Some(behind) = server.behind.filter(|behind| *behind > 0) {
            let _infallible = write!(text, ", {} behind", counted(behind, "message"));
        }
        if let Some(lost) = server.deleted.filter(|lost| *lost > 0) {
            let _infallible = write!(text, ", has lost {}", counted(lost, "message"));
        }
        lines.push(("server of the log", clean(&text)));
    }
    for peer in &node.nodes {
        if !peer.heard {
            let seconds = peer.seen_seconds;
            let text =
                format!("{}: not heard since this one was started {seconds:.0} s ago", peer.node);
            lines.push(("other node", clean(&text)));
            continue;
        }
        let mut text = format!("{}: ", peer.node);
        if let Some(state) = &peer.state {
            let _infallible = write!(text, "{state}, ");
        }
        let _infallible = write!(text, "applied {}", peer.applied);
        if peer.kept > 0 {
            let _infallible = write!(text, ", keeps {}", counted(peer.kept, "message"));
        }
        let _infallible = write!(text, ", heard {:.0} s ago", peer.seen_seconds);
        if let Some(skew) = peer.clock_skew_seconds.filter(|skew| skew.abs() >= SKEW_TOLD) {
            let _infallible = write!(text, ", its clock {skew:+.1} s");
        }
        lines.push(("other node", clean(&text)));
    }
    lines
}

/// How the mirror of jambonz's Redis is.
fn mirror_line(mirror: &MirrorFigures, now: Timestamp) -> String {
    let MirrorFigures { url, mode, since, events, found, .. } = mirror;
    if mode == MirrorMode::Elsewhere.as_str() {
        return clean(&format!("{url}: another node mirrors it, since {since}"));
    }
    let mut text = format!("{url}: {mode} since {since}");
    if let Some(why) = &mirror.why {
        let _infallible = write!(text, ": {why}");
    }
    let events = counted(*events, "event");
    let _infallible = write!(text, "; {events}, {found} of them found afterwards");
    match &mirror.reconciled_at {
        Some(at) => {
            let _infallible = write!(text, "; all calls looked through {}", ago(at, now));
        }
        None => text.push_str("; not all calls looked through yet"),
    }
    if mirror.unreadable > 0 {
        let _infallible = write!(text, "; {} unreadable", counted(mirror.unreadable, "call"));
    }
    clean(&text)
}

/// How webhooks are passed on.
pub(super) fn forward_lines(
    forward: &ForwardFigures,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let mut lines: Vec<_> =
        forward.targets.iter().map(|target| ("forwarding", target_line(target, now))).collect();
    if forward.paused {
        lines.insert(0, ("forwarding", "paused: webhooks are kept and not sent".to_owned()));
    }
    if forward.passed_over > 0 {
        let count = counted(forward.passed_over, "webhook");
        let why =
            "that had events of several accounts or of too many calls, or came back from a target";
        lines.push(("forwarding", format!("not for {count} {why}")));
    }
    lines
}

fn target_line(target: &TargetFigures, now: Timestamp) -> String {
    let mut text = format!("{} of account {}", target.name, target.account_sid);
    if !target.application_sids.is_empty() {
        let count = counted(target.application_sids.len() as u64, "application");
        let _infallible = write!(text, ", {count}");
    }
    match (&target.url, target.open) {
        (Some(url), _) => {
            let _infallible = write!(text, ", at {url}");
        }
        (None, true) => {}
        (None, false) => text.push_str(", not configured any more"),
    }
    let _infallible = write!(
        text,
        ": {} delivered, {} waiting, {} set aside",
        target.delivered, target.queued, target.set_aside
    );
    if let Some(at) = &target.oldest_unsent_at {
        let _infallible = write!(text, "; the oldest unsent is of {}", ago(at, now));
    }
    let failures: Vec<_> = target
        .failures
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(how, count)| format!("{count} {how}"))
        .collect();
    if !failures.is_empty() {
        let _infallible = write!(text, "; attempts that failed: {}", failures.join(", "));
    }
    if let Some(since) = &target.down_since {
        let _infallible = write!(text, "; it fails since {}", ago(since, now));
    }
    if let Some(why) = &target.why {
        let _infallible = write!(text, "; {why}");
    }
    if target.unsigned > 0 {
        let attempts = counted(target.unsigned, "attempt");
        let _infallible = write!(text, "; {attempts} unsigned, since the account has no secret");
    }
    if target.gone > 0 {
        let gone = counted(target.gone, "webhook");
        let _infallible = write!(text, "; {gone} of deleted calls not sent");
    }
    clean(&text)
}

/// What came to the listener for CDRs.
fn cdr_line(cdrs: &CdrFigures, now: Timestamp) -> String {
    let of = |name: &str| cdrs.lines.get(name).copied().unwrap_or_default();
    let mut text = format!("{}: ", cdrs.url);
    match (&cdrs.last_cdr_at, &cdrs.last_request_at) {
        (Some(at), _) => {
            let _infallible = write!(text, "last {}", ago(at, now));
        }
        (None, Some(at)) => {
            let _infallible = write!(text, "none yet; last request {}", ago(at, now));
        }
        (None, None) => text.push_str("none yet"),
    }
    if cdrs.by_subscription {
        text.push_str(", by a subscription");
    }
    let found = cdrs.found;
    let _infallible = write!(
        text,
        "; {}: {} by call sid, {} by Call-ID, {} waiting",
        counted(of("taken"), "CDR"),
        found.by_sid,
        found.by_call_id,
        cdrs.waiting
    );
    if let Some(why) = &cdrs.refused {
        let _infallible =
            write!(text, "; {} refused, the last: {why}", counted(of("refused"), "line"));
    }
    if let Some(why) = &cdrs.last_unread {
        let requests = counted(cdrs.unread, "request");
        let _infallible = write!(text, "; {requests} not read, the last: {why}");
    }
    if cdrs.unavailable > 0 {
        let requests = counted(cdrs.unavailable, "request");
        let _infallible = write!(text, "; {requests} answered 503");
    }
    if cdrs.unauthorised > 0 {
        let requests = counted(cdrs.unauthorised, "request");
        let _infallible = write!(text, "; {requests} with a wrong user or password");
    }
    clean(&text)
}

/// How questions about tokens of jambonz are answered.
fn upstream_line(upstream: &UpstreamFigures, now: Timestamp) -> String {
    let UpstreamFigures { url, answered_at, failing_since, questions, unavailable, .. } = upstream;
    let mut text = format!("asked for at {url}");
    match (failing_since, answered_at) {
        (Some(since), _) => {
            let _infallible = write!(text, ": no answer since {}", ago(since, now));
        }
        (None, Some(at)) => {
            let _infallible = write!(text, ": last answer {}", ago(at, now));
        }
        (None, None) => text.push_str(": not asked yet"),
    }
    let asked = counted(questions.values().sum::<u64>(), "question");
    let kinds = questions.iter().filter(|(_, count)| **count > 0);
    let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{count} {kind}")).collect();
    let _infallible = write!(text, "; {asked}");
    if !kinds.is_empty() {
        let _infallible = write!(text, " ({})", kinds.join(", "));
    }
    let remembered = counted(upstream.cached, "request");
    let _infallible = write!(text, "; {remembered} without one");
    if upstream.stale > 0 {
        let stale = counted(upstream.stale, "request");
        let _infallible = write!(text, "; {stale} by an older answer");
    }
    let refused = unavailable.iter().filter(|(_, count)| **count > 0);
    let refused: Vec<_> = refused.map(|(reason, count)| format!("{count} {reason}")).collect();
    if !refused.is_empty() {
        let _infallible = write!(text, "; answered 503: {}", refused.join(", "));
    }
    clean(&text)
}

fn disk(status: &Status) -> String {
    let free = status.disk_free_bytes.map_or_else(|| "unknown".to_owned(), show_size);
    let refused = if status.disk_low {
        format!("; events and imports are refused below {}", show_size(status.disk_least_bytes))
    } else {
        String::new()
    };
    let reserve = match status.reserve_bytes {
        0 => "no reserve".to_owned(),
        held => format!("{} in reserve", show_size(held)),
    };
    format!("{free} free, {reserve}{refused}")
}

/// How much smaller the journal is than what was written.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn ratio(status: &Status) -> String {
    if status.journal_unpacked_bytes <= status.journal_bytes {
        return String::new();
    }
    let ratio = status.journal_unpacked_bytes as f64 / status.journal_bytes.max(1) as f64;
    format!(", compressed {ratio:.1} times")
}
