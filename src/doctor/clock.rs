//! The clock: calls, tokens and certificates go by it.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::server::ObservedServer;
use super::{Finding, Surroundings, process};
use crate::config::Config;
use crate::domain::exact_duration;

/// 1 November 2026, before this release: no clock that is right shows an earlier time.
const RELEASED_S: u64 = 1_793_491_200;
/// Later than this release is expected to run.
const YEARS_MAX_S: u64 = 20 * 365 * 86_400;
/// Differences below this do not matter.
const SLACK: Duration = Duration::from_mins(2);

const OBJECT: &str = "clock";
const SET: &str = "set the clock, and keep it right: `timedatectl set-ntp true`, or chrony";

pub(super) fn check(
    config: &Config,
    server: &ObservedServer,
    around: &Surroundings,
) -> Vec<Finding> {
    let checkpoint = server.answers().and_then(|answers| {
        let at = answers.figures.store.checkpoint_at.as_deref()?;
        humantime::parse_rfc3339(at).ok()
    });
    let newest = newest(&config.data_dir).max(checkpoint);
    let pid = server.answers().and_then(|answers| answers.pid);
    let drift = pid.and_then(|pid| drift(&config.data_dir, pid, around.now));
    judge(around.now, newest, drift)
}

/// `newest` is when the data was last written, `drift` by how many seconds the clock has been set
/// forward since the server began.
pub(super) fn judge(
    now: SystemTime,
    newest: Option<SystemTime>,
    drift: Option<i64>,
) -> Vec<Finding> {
    let released = UNIX_EPOCH + Duration::from_secs(RELEASED_S);
    let shown = humantime::format_rfc3339_seconds(now.max(UNIX_EPOCH));
    let mut findings = Vec::new();
    if now < released {
        let problem = format!("it shows {shown}, a time before this release was made");
        findings.push(Finding::error(OBJECT, problem, SET));
    } else if now > released + Duration::from_secs(YEARS_MAX_S) {
        let problem = format!("it shows {shown}, far in the future");
        findings.push(Finding::warn(OBJECT, problem, SET));
    }
    if let Some(newest) = newest.filter(|newest| *newest > now + SLACK) {
        let written = humantime::format_rfc3339_seconds(newest);
        let problem = format!("it shows {shown}, and the data was written at {written}, later");
        findings.push(Finding::error(OBJECT, problem, SET));
    }
    if let Some(drift) = drift.filter(|drift| drift.unsigned_abs() > SLACK.as_secs()) {
        let way = if drift > 0 { "forward" } else { "back" };
        let by = exact_duration(Duration::from_secs(drift.unsigned_abs()));
        let problem = format!("it has been set {way} by {by} since the server started");
        let advice = format!("see whether the times of new calls are right; if not, {SET}");
        findings.push(Finding::warn(OBJECT, problem, advice));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(OBJECT, format!("it shows {shown}")));
    }
    findings
}

/// When anything of the data was last written.
fn newest(data_dir: &Path) -> Option<SystemTime> {
    let journal = fs::read_dir(data_dir.join("journal")).into_iter().flatten().flatten();
    let files = journal.map(|entry| entry.path());
    let files = files.chain(["LOCK", "FORMAT", "CURRENT"].map(|name| data_dir.join(name)));
    files.filter_map(|file| fs::metadata(file).ok()?.modified().ok()).max()
}

/// The server writes `LOCK` as soon as it runs, by the clock; when it began is also known in
/// seconds since the boot, which cannot be set. The difference is what was set since.
fn drift(data_dir: &Path, pid: u32, now: SystemTime) -> Option<i64> {
    let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    let age = since_boot - i64::try_from(process::started_s(pid)?).ok()?;
    let locked = fs::symlink_metadata(data_dir.join("LOCK")).ok()?.modified().ok()?;
    let seconds = |at: SystemTime| {
        let since = at.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    };
    Some(seconds(now)? - age - seconds(locked)?)
}
