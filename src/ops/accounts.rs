//! Settings of accounts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::{InTurn, apply, present};
use super::tokens::{forget_file, note_shared_name, removal};
use super::{AdminContext, AdminReply, Emit, Failure};
use crate::access::{Account, Keep, Secret, SettingRow, TokenHash, TokenScope};
use crate::domain::{AccountSid, ServiceProviderSid, counted, exact_duration};
use crate::intake::Intake;
use crate::store::{Change, Store};
use crate::wire::show_duration;

/// Bytes of a name, a user or a secret.
const TEXT_MAX: usize = 256;

/// Settings that are to change; what is absent stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountSettings {
    /// Its sid, or its name where it has one that no other account has.
    pub account: String,
    pub name: Option<String>,
    pub service_provider_sid: Option<ServiceProviderSid>,
    pub webhook_secret: Option<Secret>,
    pub hook_user: Option<String>,
    pub hook_password: Option<Secret>,
    pub keep: Option<NewKeep>,
}

/// How long an account's calls are to be kept from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewKeep {
    Default,
    /// As this says.
    Own(Keep),
}

/// An account in a list: which secrets it has, not what they are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountInfo {
    pub account_sid: AccountSid,
    pub name: Option<String>,
    pub service_provider_sid: Option<ServiceProviderSid>,
    pub webhook_secret: bool,
    pub hook_user: Option<String>,
    /// `forever` or a duration, where it differs from the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
}

pub(super) fn set(
    intake: &Intake,
    context: &AdminContext,
    new: AccountSettings,
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let sid = resolve(store, &new.account)?;
    let name = row_name(sid);
    let turn = InTurn::Account(sid);
    let (known, replaces, latest, users) = store.access(|access| {
        let users = InTurn::HookUsers.present(access);
        (access.account(sid).cloned(), present(access, &name), turn.present(access), users)
    });
    let mut account = known.unwrap_or_else(|| Account::new(sid));
    let texts = [
        ("--name", new.name.as_deref()),
        ("--webhook-secret", new.webhook_secret.as_ref().map(Secret::reveal)),
        ("--hook-user", new.hook_user.as_deref()),
        ("--hook-password", new.hook_password.as_ref().map(Secret::reveal)),
    ];
    for (flag, text) in texts {
        if text.is_some_and(|text| text.is_empty() || text.len() > TEXT_MAX) {
            return Err(Failure::usage(format!("{flag}: expected 1 to {TEXT_MAX} bytes")));
        }
    }
    if let Some(NewKeep::Own(Keep::Millis(millis))) = new.keep
        && millis < context.keep_least_millis
    {
        let words = show_duration(Duration::from_millis(millis));
        return Err(Failure::usage(format!(
            "--keep: the account's calls would go {words} after they were listed; give a day or more, \
             such as 90days (12m is 12 minutes), or set retention.allow_short = true for the server"
        )));
    }
    if let Some(user) = &new.hook_user {
        if user.contains(':') {
            return Err(Failure::usage(format!(
                "--hook-user \"{user}\": a user name has no colon (RFC 7617)"
            )));
        }
        let other = store.access(|access| access.account_by_hook_user(user).map(|a| a.account_sid));
        if let Some(other) = other.filter(|other| *other != sid) {
            return Err(Failure::new(format!(
                "the hook user \"{user}\" belongs to account {other}; webhooks are told apart by it"
            )));
        }
    }
    let mut others = new.name.as_deref().map(|name| named(store, name)).unwrap_or_default();
    others.retain(|other| *other != sid);
    account.name = new.name.or(account.name);
    account.service_provider_sid = new.service_provider_sid.or(account.service_provider_sid);
    account.webhook_secret = new.webhook_secret.or(account.webhook_secret);
    let mut changes = Vec::new();
    if new.hook_user.is_some() && new.hook_user != account.hook_user {
        changes.push(InTurn::HookUsers.change(users));
    }
    account.hook_user = new.hook_user.or(account.hook_user);
    account.hook_password = new.hook_password.or(account.hook_password);
    match new.keep {
        None => {}
        Some(NewKeep::Default) => account.keep = None,
        Some(NewKeep::Own(keep)) => account.keep = Some(keep),
    }
    if account.hook_user.is_some() != account.hook_password.is_some() {
        return Err(Failure::usage("--hook-user and --hook-password go together"));
    }
    let json = serde_json::to_vec(&account).map_err(|error| Failure::new(error.to_string()))?;
    changes.push(Change::Admin(SettingRow { name, json }, replaces));
    changes.push(turn.change(latest));
    apply(intake, &changes)?;
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let name = account.name.unwrap_or_default();
    let _gone = note_shared_name("account", &name, "sid", &others, emit);
    let kept = match new.keep {
        None => String::new(),
        Some(NewKeep::Default) => "; its calls are kept as the configuration says".to_owned(),
        Some(NewKeep::Own(Keep::Forever)) => "; its calls are kept for good".to_owned(),
        Some(NewKeep::Own(Keep::Millis(millis))) => {
            let words = show_duration(Duration::from_millis(millis));
            format!("; its calls are kept for {words} after they were listed")
        }
    };
    Ok(AdminReply::Done(format!("account {sid} is set{kept}")))
}

pub(super) fn list(store: &Store) -> AdminReply {
    let info = |account: &Account| AccountInfo {
        account_sid: account.account_sid,
        name: account.name.clone(),
        service_provider_sid: account.service_provider_sid,
        webhook_secret: account.webhook_secret.is_some(),
        hook_user: account.hook_user.clone(),
        keep: account.keep.map(|keep| match keep {
            Keep::Forever => "forever".to_owned(),
            Keep::Millis(millis) => exact_duration(Duration::from_millis(millis)).to_string(),
        }),
    };
    AdminReply::Accounts(store.access(|access| access.accounts().map(info).collect()))
}

fn row_name(sid: AccountSid) -> String {
    format!("account/{sid}")
}

/// The accounts of this name.
fn named(store: &Store, name: &str) -> Vec<AccountSid> {
    store.access(|access| {
        let named = access.accounts().filter(|account| account.name.as_deref() == Some(name));
        named.map(|account| account.account_sid).collect()
    })
}

/// The account that is meant by its sid, or by its name where no other account has that.
pub(super) fn resolve(store: &Store, text: &str) -> Result<AccountSid, Failure> {
    if let Ok(sid) = text.parse() {
        return Ok(sid);
    }
    match named(store, text).as_slice() {
        [sid] => Ok(*sid),
        [] => Err(Failure::new(format!(
            "there is no account {text:?}: expected its sid (a UUID), or the name that `rollcall account \
             list` shows"
        ))),
        several => {
            let sids: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Failure::new(format!(
                "{} accounts are called {text:?}; give the sid of one: {}",
                several.len(),
                sids.join(", ")
            )))
        }
    }
}

pub(super) fn remove(
    intake: &Intake,
    context: &AdminContext,
    account: &str,
) -> Result<AdminReply, Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let sid = resolve(store, account)?;
    let name = row_name(sid);
    let turn = InTurn::Account(sid);
    let (known, replaces, latest, tokens) = store.access(|access| {
        let own = access.tokens().filter(|token| token.scope == TokenScope::Account(sid));
        let own: Vec<(String, TokenHash)> =
            own.map(|token| (token.id.clone(), token.hash)).collect();
        (access.account(sid).is_some(), present(access, &name), turn.present(access), own)
    });
    if !known && tokens.is_empty() {
        return Err(Failure::new(format!("account {sid} has no settings and no tokens")));
    }
    let mut changes: Vec<Change> = tokens.iter().flat_map(|(id, _)| removal(id)).collect();
    changes.push(Change::Admin(SettingRow { name, json: Vec::new() }, replaces));
    changes.push(turn.change(latest));
    apply(intake, &changes)?;
    for (_, hash) in &tokens {
        forget_file(context, hash);
    }
    let tokens = counted(tokens.len(), "token");
    Ok(AdminReply::Done(format!("account {sid} is removed, with {tokens}; its calls stay")))
}
