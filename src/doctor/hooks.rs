//! Webhooks: whether those of each account are taken.

use super::Finding;
use super::server::ObservedServer;
use crate::domain::{AccountSid, counted};
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
            let advice = advice(&one.refused, Some(one.account_sid));
            Finding::warn(format!("account {}", one.account_sid), problem, advice)
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
    findings.extend(hooks.unregistered.iter().map(|one| {
        let advice = format!("if it is yours, {}", one.remedy());
        Finding::warn(format!("account {}", one.account_sid), one.text(), advice)
    }));
    let others = hooks.others_unnamed();
    if !others.is_empty() {
        let problem = format!("of no account that is known: {}", others.texts().join("; "));
        let noise: u64 = NOISE.into_iter().map(|cause| others.of(cause)).sum();
        findings.push(if others.0.values().sum::<u64>() > noise {
            // With one account alone it is known whose they are to be.
            let only = match &hooks.accounts[..] {
                [only] => Some(only.account_sid),
                _ => None,
            };
            Finding::warn("webhooks", problem, advice(&others, only))
        } else {
            Finding::ok("webhooks", problem)
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("webhooks", "none was refused since the start"));
    }
    findings
}

/// What to do about each of them, in the order of their weight.
fn advice(refused: &Refusals, account: Option<AccountSid>) -> String {
    let sid = account.map_or_else(|| "ACCOUNT_SID".to_owned(), |account| account.to_string());
    let of = |causes: &[Cause]| causes.iter().any(|cause| refused.of(*cause) > 0);
    let secret = format!(
        "`rollcall account set {sid} --webhook-secret -` with the webhook secret that jambonz shows for the \
         account"
    );
    let user = format!(
        "`rollcall account set {sid} --hook-user USER --hook-password -` with those of the call status \
         webhook in jambonz"
    );
    let role = format!("`rollcall token create --account {sid} --role ingest` makes one that may");
    let remedies: [(&[Cause], &str, &str); 11] = [
        (&[Cause::SignatureWrong], "wrong webhook secret", &secret),
        (&[Cause::NotRegistered], "account not registered", &secret),
        (&[Cause::NoSecret], "no webhook secret", &secret),
        (&[Cause::WrongPassword], "wrong password", &user),
        (&[Cause::UnknownUser], "unknown user", &user),
        (
            &[Cause::SignatureTime],
            "time of the signature",
            "have the clocks of both machines set by NTP",
        ),
        (
            &[Cause::OtherAccount, Cause::TwoAccounts],
            "another account",
            "give each account credentials of its own, in jambonz and here",
        ),
        (&[Cause::UnknownToken, Cause::Role], "token", &role),
        (
            &[Cause::SignatureMalformed, Cause::NoAccount],
            "signature",
            "see whether a proxy changes the header Jambonz-Signature or the body",
        ),
        (&[Cause::Method], "method", "set that of the call status webhook in jambonz to POST"),
        (
            &[Cause::Malformed, Cause::TooLarge, Cause::SlowBody, Cause::Other],
            "body",
            "see the server's log, which names each cause",
        ),
    ];
    let named: Vec<String> = remedies
        .into_iter()
        .filter(|(causes, ..)| of(causes))
        .map(|(_, cause, remedy)| format!("{cause}: {remedy}"))
        .collect();
    if named.is_empty() {
        return "see the server's log, which names each cause".to_owned();
    }
    named.join("; ")
}
