//! What became of the requests that brought events, as a running server answers it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{AccountSid, Timestamp, counted};
use crate::store::{Cause, Store};
use crate::wire::show_time;

/// Since the start: what was refused and why, and when the last event of each account was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HookFigures {
    /// By account: those that have settings, and those whose events were taken.
    pub accounts: Vec<AccountHooks>,
    /// Refused requests that cannot be put down to one of these.
    pub others_refused: Refusals,
    /// Accounts without settings that signed webhooks named: the last of them, and a few.
    #[serde(default)]
    pub unregistered: Vec<UnregisteredAccount>,
}

impl HookFigures {
    /// What was refused of no account that is named here.
    pub fn others_unnamed(&self) -> Refusals {
        let named: u64 = self.unregistered.iter().map(|one| one.refused).sum();
        if named >= self.others_refused.of(Cause::NotRegistered) {
            return self.others_refused.without(Cause::NotRegistered);
        }
        self.others_refused.clone()
    }
}

/// An account that nobody has registered, and whose webhooks come all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnregisteredAccount {
    pub account_sid: AccountSid,
    /// How many signed webhooks named it.
    pub refused: u64,
}

impl UnregisteredAccount {
    pub fn text(&self) -> String {
        format!("{} refused: it is not registered here", counted(self.refused, "signed webhook"))
    }

    /// How it is registered.
    pub fn remedy(&self) -> String {
        registers(self.account_sid)
    }
}

/// How an account is registered whose webhooks are signed.
pub fn registers(account: AccountSid) -> String {
    format!(
        "`rollcall account set {account} --webhook-secret -` registers it, with the webhook secret that \
         jambonz shows for it"
    )
}

/// The same of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHooks {
    pub account_sid: AccountSid,
    /// RFC 3339; none where none was taken since the start.
    pub last_event_at: Option<String>,
    pub refused: Refusals,
}

/// How many requests were refused, by the name of the cause.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Refusals(pub BTreeMap<String, u64>);

impl Refusals {
    /// The same without one cause.
    #[must_use]
    pub fn without(&self, cause: Cause) -> Self {
        let mut others = self.clone();
        others.0.remove(cause.name());
        others
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one cause, or none.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0.get(cause.name()).copied().unwrap_or_default()
    }

    /// A text for each cause: `12 webhooks refused: no credentials`.
    pub fn texts(&self) -> Vec<String> {
        let there = Cause::ALL.iter().map(|(cause, _, text)| (self.of(*cause), text));
        let there = there.filter(|(count, _)| *count > 0);
        there
            .map(|(count, text)| {
                let webhooks = if count == 1 { "webhook" } else { "webhooks" };
                format!("{count} {webhooks} refused: {text}")
            })
            .collect()
    }
}

/// Accounts that are listed: those with settings that have sent nothing fill up the rest.
const ACCOUNTS_MAX: usize = 5000;

pub(super) fn figures(store: &Store) -> HookFigures {
    let figures = store.meter().hooks.figures();
    let shown = |millis| Timestamp::from_millis(millis).map(|at| show_time(at).to_string());
    let heard = figures.accounts.into_iter().map(|one| {
        let last_event_at = one.taken_at.and_then(shown);
        (one.account_sid, (last_event_at, Refusals(one.refused)))
    });
    let mut all: BTreeMap<_, _> = heard.collect();
    store.access(|access| {
        for account in access.accounts() {
            if all.len() >= ACCOUNTS_MAX {
                break;
            }
            all.entry(account.account_sid).or_default();
        }
    });
    let accounts = all.into_iter().map(|(account_sid, (last_event_at, refused))| AccountHooks {
        account_sid,
        last_event_at,
        refused,
    });
    let accounts = accounts.collect();
    let unregistered = figures.unregistered.into_iter();
    // One that has been registered since is no news.
    let (known, unregistered): (Vec<_>, Vec<_>) =
        unregistered.partition(|(sid, _)| is_registered(store, *sid));
    let mut others_refused = figures.others_refused;
    let past: u64 = known.iter().map(|(_, count)| count).sum();
    if let Some(count) = others_refused.get_mut(Cause::NotRegistered.name()) {
        *count = count.saturating_sub(past);
    }
    others_refused.retain(|_, count| *count > 0);
    let unregistered = unregistered
        .into_iter()
        .map(|(account_sid, refused)| UnregisteredAccount { account_sid, refused })
        .collect();
    HookFigures { accounts, others_refused: Refusals(others_refused), unregistered }
}

fn is_registered(store: &Store, account: AccountSid) -> bool {
    store.access(|access| access.account(account).is_some())
}
