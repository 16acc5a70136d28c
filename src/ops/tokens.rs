//! Tokens: made, listed, revoked.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accounts::resolve;
use super::settings::{InTurn, apply, new_row, removed};
use super::{AdminContext, AdminReply, Emit, Failure, FailureKind, Item};
use crate::access::{
    Access, FIRST_TOKEN, Role, Secret, SettingRow, Token, TokenHash, TokenScope, new_token_value,
    token_row_name,
};
use crate::clock;
use crate::domain::Timestamp;
use crate::fsutil;
use crate::intake::Intake;
use crate::store::{Change, Store};
use crate::wire::show_time;

/// Characters of a token that is taken over.
const VALUE_CHARS: std::ops::RangeInclusive<usize> = 16..=256;
/// Others of the same name that a note shows.
const OTHERS_SHOWN: usize = 3;
/// Bytes of a token's name.
const NAME_BYTES_MAX: usize = 256;
/// How long a token may last, in seconds: a hundred years.
const EXPIRES_MAX: u64 = 100 * 365 * 86_400;

/// A token that is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NewToken {
    pub scope: NewScope,
    pub role: Role,
    /// What a person calls it.
    pub name: Option<String>,
    /// Seconds until it ends; none for never.
    pub expires_in: Option<u64>,
    /// An existing API key to be taken over.
    pub value: Option<Secret>,
}

/// Whose calls a token that is to be is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum NewScope {
    /// As it will be written down.
    Known(TokenScope),
    /// Those of the account that has this name.
    AccountNamed(String),
}

impl fmt::Display for NewScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(scope) => scope.fmt(f),
            Self::AccountNamed(name) => write!(f, "account {name}"),
        }
    }
}

impl NewScope {
    fn resolved(self, store: &Store) -> Result<TokenScope, Failure> {
        match self {
            Self::Known(scope) => Ok(scope),
            Self::AccountNamed(name) => resolve(store, &name).map(TokenScope::Account),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenInfo {
    pub id: String,
    pub name: Option<String>,
    pub scope: String,
    pub role: Role,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub expired: bool,
    /// To within an hour where the server was killed.
    pub last_used_at: Option<String>,
}

/// Makes a token. The value is in the reply, and nowhere else.
pub(super) fn create(
    intake: &Intake,
    new: NewToken,
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let values = store.access(|access| InTurn::TokenValues.present(access));
    let scope = new.scope.clone().resolved(store)?;
    let value = match &new.value {
        Some(value) => checked(value.reveal())?.to_owned(),
        None => new_value()?,
    };
    if let Some(id) = store.access(|access| access.has_value(&value).map(str::to_owned)) {
        return Err(Failure::new(format!("this token exists already, as {id}")));
    }
    if new.name.as_ref().is_some_and(|name| name.is_empty() || name.len() > NAME_BYTES_MAX) {
        return Err(Failure::usage(format!("--name: expected 1 to {NAME_BYTES_MAX} bytes")));
    }
    if new.expires_in.is_some_and(|seconds| seconds == 0 || seconds > EXPIRES_MAX) {
        return Err(Failure::usage("--expires: expected 1s to 100years"));
    }
    if new.role == Role::Metrics && scope != TokenScope::Admin {
        return Err(Failure::usage(
            "--role metrics: a scrape tells of all accounts; give no --account",
        ));
    }
    let others = new.name.as_deref().map(|name| named(store, name)).unwrap_or_default();
    let name = new.name.clone().unwrap_or_default();
    let is_taken_over = new.value.is_some();
    let (id, row) = token_row(new, scope, &value)?;
    let mut changes = vec![new_row(row)];
    if is_taken_over {
        changes.push(InTurn::TokenValues.change(values));
    }
    apply(intake, &changes)?;
    let others: Vec<String> = others.into_iter().map(|(id, ..)| id).collect();
    let _gone = note_shared_name("token", &name, "id", &others, emit);
    Ok(AdminReply::Token { id, value })
}

/// Says who else is called so, since the name then means none of them.
pub(super) fn note_shared_name(
    what: &str,
    name: &str,
    by: &str,
    others: &[String],
    emit: &mut Emit<'_>,
) -> std::io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let shown: Vec<&str> = others.iter().take(OTHERS_SHOWN).map(String::as_str).collect();
    let more = if others.len() > OTHERS_SHOWN { ", …" } else { "" };
    emit(Item::Note(&format!(
        "note: {} called {name:?} already ({}{more}): commands now need the {by}, not the name",
        match others.len() {
            1 => format!("another {what} is"),
            count => format!("{count} other {what}s are"),
        },
        shown.join(", ")
    )))
}

/// Makes the first admin token, once in the life of a store or of a cluster, and keeps it in `admin.token`. None
/// where that has been done.
pub fn make_first(intake: &Intake, context: &AdminContext) -> Result<Option<String>, Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let path = context.data_dir.join("admin.token");
    let kept = fsutil::read_text(&path).map(|kept| kept.trim().to_owned());
    if store.access(|access| access.first_token_made() || access.tokens().next().is_some()) {
        if intake.node().is_some()
            && let Ok(kept) = kept
            && store.access(|access| access.has_value(&kept).is_none())
        {
            // It was revoked on another node, or another node was faster.
            forget_file(context, &TokenHash::of(&kept));
        }
        return Ok(None);
    }
    // A start that was killed in between has left the file, and not the token.
    let value = match kept {
        Ok(kept) if checked(&kept).is_ok() => kept,
        _ => {
            let value = new_value()?;
            let written = fsutil::replace(&path, 0o600, |_| format!("{value}\n").into_bytes());
            written.map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))?;
            value
        }
    };
    let new = NewToken {
        scope: NewScope::Known(TokenScope::Admin),
        role: Role::Full,
        name: Some("first".to_owned()),
        expires_in: None,
        value: None,
    };
    let (_, row) = token_row(new, TokenScope::Admin, &value)?;
    let made = SettingRow { name: FIRST_TOKEN.to_owned(), json: b"true".to_vec() };
    match apply(intake, &[new_row(row), new_row(made)]) {
        // Another node was faster.
        Err(failure) if failure.kind == FailureKind::Conflict => {
            forget_file(context, &TokenHash::of(&value));
            Ok(None)
        }
        done => done.map(|()| Some(value)),
    }
}

fn new_value() -> Result<String, Failure> {
    new_token_value().map_err(|error| Failure::new(error.to_string()))
}

fn token_row(
    new: NewToken,
    scope: TokenScope,
    value: &str,
) -> Result<(String, SettingRow), Failure> {
    let now = clock::now();
    let expires_at = new.expires_in.map(|seconds| now.plus_millis(seconds * 1000).millis());
    let random = crate::random::uuid().simple().to_string();
    let id = random.get(..12).unwrap_or(&random).to_owned();
    let token = Token {
        id: id.clone(),
        name: new.name,
        scope,
        role: new.role,
        hash: TokenHash::of(value),
        created_at: now.millis(),
        expires_at,
    };
    let json = serde_json::to_vec(&token).map_err(|error| Failure::new(error.to_string()))?;
    let name = token_row_name(token.role, &id);
    Ok((id, SettingRow { name, json }))
}

/// What can stand in an `Authorization` header after its scheme (RFC 6750, section 2.1, and the
/// characters that a UUID has).
fn checked(value: &str) -> Result<&str, Failure> {
    let right = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    if !VALUE_CHARS.contains(&value.len()) || !value.chars().all(right) {
        return Err(Failure::usage("--value: expected 16 to 256 letters, digits and -._~+/="));
    }
    Ok(value)
}

pub(super) fn list(store: &Store) -> AdminReply {
    let now = clock::now();
    let shown = |millis| {
        let at = Timestamp::from_millis(millis).unwrap_or_default();
        show_time(at).to_string()
    };
    let info = |access: &Access, token: &Token| TokenInfo {
        id: token.id.clone(),
        name: token.name.clone(),
        scope: token.scope.to_string(),
        role: token.role,
        created_at: shown(token.created_at),
        expires_at: token.expires_at.map(shown),
        expired: token.expired(now),
        last_used_at: access.last_used(&token.id).map(shown),
    };
    let all = |access: &Access| access.tokens().map(|token| info(access, token)).collect();
    AdminReply::Tokens(store.access(all))
}

/// Ends a token, by its id or by a name that no other token has. The file with the first token goes
/// with it. The other nodes of a cluster are waited for, `wait` at most.
pub(super) fn revoke(
    intake: &Intake,
    context: &AdminContext,
    given: &str,
    wait: Option<Duration>,
) -> Result<AdminReply, Failure> {
    let store = intake.store();
    let one_at_a_time = store.settings();
    let found = match store.access(|access| access.token_by_id(given).map(reference)) {
        Some(token) => vec![token],
        None => named(store, given),
    };
    match found.as_slice() {
        [(id, name, hash)] => {
            apply(intake, &removal(id))?;
            forget_file(context, hash);
            drop(one_at_a_time);
            let behind = match wait {
                Some(longest) => intake.wait_for_others(longest),
                None => Vec::new(),
            };
            Ok(AdminReply::Revoked { id: id.clone(), name: name.clone(), behind })
        }
        [] => Err(Failure::new(format!(
            "there is no token \"{given}\": give the id or the name that `rollcall token list` shows"
        ))),
        several => {
            let ids: Vec<&str> = several.iter().map(|(id, ..)| id.as_str()).collect();
            Err(Failure::new(format!(
                "{} tokens are called \"{given}\"; give the id of one: {}",
                several.len(),
                ids.join(", ")
            )))
        }
    }
}

/// What is needed of a token to speak of it, and to end it.
type TokenReference = (String, Option<String>, TokenHash);

fn reference(token: &Token) -> TokenReference {
    (token.id.clone(), token.name.clone(), token.hash)
}

/// The tokens of this name.
fn named(store: &Store, name: &str) -> Vec<TokenReference> {
    store.access(|access| {
        let named = access.tokens().filter(|token| token.name.as_deref() == Some(name));
        named.map(reference).collect()
    })
}

/// The changes with which a token ends, whatever was changed of it meanwhile.
pub(super) fn removal(id: &str) -> Vec<Change> {
    ["token", "masked-token", "used"].map(|kind| removed(format!("{kind}/{id}"))).to_vec()
}

/// Makes durable when tokens were used last: of each at most once in so much time.
pub fn note_used(intake: &Intake, interval: Duration) -> Result<(), Failure> {
    let store = intake.store();
    let _one_at_a_time = store.settings();
    let older = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    let rows = store.access(|access| access.used_rows(older));
    if rows.is_empty() {
        return Ok(());
    }
    apply(intake, &rows.into_iter().map(Change::setting).collect::<Vec<_>>())
}

/// Removes the file of the first admin token where it holds a token of this hash.
pub(super) fn forget_file(context: &AdminContext, hash: &TokenHash) {
    let path = context.data_dir.join("admin.token");
    let kept = fsutil::read_text(&path);
    if kept.is_ok_and(|kept| TokenHash::of(kept.trim()).matches(hash))
        && let Err(error) = std::fs::remove_file(&path)
    {
        tracing::warn!(path = %path.display(), %error, "the revoked token's file is still there");
    }
}
