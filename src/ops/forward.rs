//! Passing webhooks on: how it goes, and what an admin does about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AdminReply, Failure};
use crate::clock;
use crate::domain::{AccountSid, ApplicationSid, Timestamp, counted};
use crate::intake::Intake;
use crate::store::{Store, StoreError, TargetMetrics};
use crate::wire::show_time;

/// How webhooks are passed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardFigures {
    /// They are kept and not sent.
    pub paused: bool,
    /// Webhooks that were for no target, since they had events of several accounts or of too many calls, or came
    /// back from a target.
    pub passed_over: u64,
    pub targets: Vec<TargetFigures>,
}

/// One target. What is counted is so since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFigures {
    pub name: String,
    /// Without its query; none where no server runs that has it in its configuration.
    pub url: Option<String>,
    pub account_sid: AccountSid,
    /// Empty: all.
    pub application_sids: Vec<ApplicationSid>,
    /// New webhooks are for it.
    pub open: bool,
    /// Webhooks that wait to be delivered, about.
    pub queued: u64,
    /// RFC 3339: when the oldest of them was received, of those that are read already.
    pub oldest_unsent_at: Option<String>,
    /// Webhooks that were given up and wait for `rollcall forward retry`, about.
    pub set_aside: u64,
    pub delivered: u64,
    pub last_delivered_at: Option<String>,
    /// Attempts that failed, by kind.
    pub failures: BTreeMap<String, u64>,
    /// Since when attempts have failed one after the other.
    pub down_since: Option<String>,
    /// What the last failure was; none after a success.
    pub why: Option<String>,
    /// Attempts without a signature, since the account has no webhook secret.
    pub unsigned: u64,
    /// Webhooks that were not sent, since their calls were deleted before.
    pub gone: u64,
}

/// None where there never was a target.
pub(super) fn figures(store: &Store) -> Option<ForwardFigures> {
    let progress = store.forward_targets();
    if progress.is_empty() {
        return None;
    }
    let running: BTreeMap<_, _> = store.meter().forward.all().into_iter().collect();
    let shown = |at: Option<Timestamp>| at.map(|at| show_time(at).to_string());
    let targets = progress.into_iter().map(|(name, progress)| {
        let metrics = running.get(&name);
        let state = metrics.map(|metrics| metrics.state()).unwrap_or_default();
        let count = |of: fn(&TargetMetrics) -> u64| metrics.map_or(0, |m| of(m));
        let progress = progress.lock();
        TargetFigures {
            url: Some(state.url).filter(|url| !url.is_empty()),
            account_sid: progress.audience.account,
            application_sids: progress.audience.applications.clone(),
            open: progress.is_open(),
            queued: progress.queued(),
            oldest_unsent_at: shown(metrics.and_then(|metrics| metrics.oldest())),
            set_aside: progress.aside(),
            delivered: count(|metrics| metrics.delivered.get()),
            last_delivered_at: shown(state.last_delivered_at),
            failures: metrics
                .into_iter()
                .flat_map(|metrics| metrics.failures())
                .map(|(how, count)| (how.as_str().to_owned(), count))
                .collect(),
            down_since: shown(state.down_since),
            why: state.why,
            unsigned: count(|metrics| metrics.unsigned.get()),
            gone: count(|metrics| metrics.gone.get()),
            name,
        }
    });
    Some(ForwardFigures {
        paused: store.forward_paused(),
        passed_over: store.meter().forward.passed_over.get(),
        targets: targets.collect(),
    })
}

pub(super) fn status(store: &Store) -> AdminReply {
    let none = ForwardFigures { paused: false, passed_over: 0, targets: Vec::new() };
    AdminReply::Forward(figures(store).unwrap_or(none))
}

/// Has what was set aside sent again: of a target, or of all.
pub(super) fn retry(intake: &Intake, target: Option<&str>) -> Result<AdminReply, Failure> {
    let store = intake.store();
    if !intake.is_mine() {
        let why = "this node does not pass webhooks on now: ask the node that does (`rollcall forward status` on \
                   each says which delivers)";
        return Err(Failure::new(why));
    }
    let all = store.forward_targets();
    if let Some(target) = target
        && all.iter().all(|(name, _)| name != target)
    {
        let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        let known = if names.is_empty() {
            "there is none; forward.targets names them".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        return Err(Failure::new(format!("there is no target `{target}`: {known}")));
    }
    let mut count = 0;
    for (name, progress) in all {
        if target.is_none_or(|target| name == target) {
            count += progress.lock().retry(clock::now());
        }
    }
    write_rows(intake)?;
    store.announce_forwarding();
    let hooks = counted(count, "webhook");
    Ok(AdminReply::Done(format!("{hooks} will be sent again")))
}

/// Stops sending, or goes on. What is accepted meanwhile is kept.
pub(super) fn pause(intake: &Intake, paused: bool) -> Result<AdminReply, Failure> {
    let store = intake.store();
    intake.apply(&[store.forward_state(paused)], clock::now(), false)?;
    let done = if paused {
        "forwarding is paused: webhooks are kept, and passed on after `rollcall forward resume`"
    } else {
        "forwarding goes on"
    };
    Ok(AdminReply::Done(done.to_owned()))
}

fn write_rows(intake: &Intake) -> Result<(), StoreError> {
    let store = intake.store();
    let rows = store.forward_rows(true);
    let stored = intake.apply(&rows, clock::now(), false);
    if stored.is_err() {
        store.forward_unstored();
    }
    stored.map(|_| ())
}
