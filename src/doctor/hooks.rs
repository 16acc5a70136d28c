//! Webhooks: whether those of each account are taken.

use super::Finding;
use super::server::ObservedServer;
use crate::domain::counted;
use crate::ops::{HookFigures, Refusals};
use crate::store::Cause;

/// Accounts with a finding of their own.
const SHOWN_MAX: usize = 20;
/// What any client that tries an address brings about: nothing of it is meant to be a webhook.
const NOISE: [Cause; 4] =
    [Cause::NoCredentials, Cause::OtherScheme, Cause::UnknownToken, Cause::AuthorizationMalformed];

pub(super) fn check(server: &ObservedServer) -> Vec<Finding> {
    server.answers().map(|answers| judge(&answers.figures.hooks)).unwrap_or_default()
}

pub(super) fn judge(hooks: &HookFigures) -> Vec<Finding> {
    let refused: Vec<_> = hooks.accounts.iter().filter(|one| !one.refused.is_empty()).collect();
    let mut findings: Vec<_> = refused
        .iter()
        .take(SHOWN_MAX)
        .map(|one| {
            let last = one.last_event_at.as_deref();
            let last = last.map_or("no event was taken since the start".to_owned(), |at| {
                format!("the last event was taken at {at}")
            });
            let problem = format!("{}; {last}", one.refused.texts().join("; "));
            Finding::warn(format!("account {}", one.account_sid), problem, advice(&one.refused))
        })
        .collect();
    if let Some(more) = refused.len().checked_sub(SHOWN_MAX).filter(|more| *more > 0) {
        let advice = "`rollcall status` has all of them";
        findings.push(Finding::warn(
            "webhooks",
            format!("so it is with {} more", counted(more, "account")),
            advice,
        ));
    }
    let others = &hooks.others_refused;
    if !others.is_empty() {
        let problem = format!("of no account that is known: {}", others.texts().join("; "));
        let noise: u64 = NOISE.into_iter().map(|cause| others.of(cause)).sum();
        findings.push(if others.0.values().sum::<u64>() > noise {
            Finding::warn("webhooks", problem, advice(others))
        } else {
            Finding::ok("webhooks", problem)
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("webhooks", "none was refused since the start"));
    }
    findings
}

/// What to do about the gravest of them.
fn advice(refused: &Refusals) -> &'static str {
    let any = |causes: &[Cause]| causes.iter().any(|cause| refused.of(*cause) > 0);
    if any(&[Cause::SignatureWrong, Cause::NoSecret]) {
        "`rollcall account set SID --webhook-secret -` with the webhook secret that jambonz shows for \
         the account"
    } else if any(&[Cause::WrongPassword, Cause::UnknownUser]) {
        "`rollcall account set SID --hook-user USER --hook-password -` with those of the call status \
         webhook in jambonz"
    } else if any(&[Cause::SignatureTime]) {
        "have both machines' clocks set by NTP"
    } else if any(&[Cause::OtherAccount, Cause::TwoAccounts]) {
        "give each account credentials of its own, in jambonz and here"
    } else if any(&[Cause::Method]) {
        "set the method of the call status webhook in jambonz to POST"
    } else {
        "see the server's log: it names each cause"
    }
}
