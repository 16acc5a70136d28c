//! Who may do what: tokens, and the settings of accounts.
//!
//! Architecture invariant: no secret leaves this module but to be compared. A token is kept as its
//! SHA-256 alone; it is random enough that it cannot be found from that. The secrets of hooks must be
//! kept readable, since signatures are made with them.

mod account;
mod replaces;
mod secret;
mod session;
mod token;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};

pub use account::{Account, Keep};
pub use replaces::{Replaces, RowDigest, row_digest};
pub use secret::Secret;
pub use session::{SESSION_TOKEN_BYTES_MAX, Session, SessionCookie, SessionKey, new_session_id};
pub use token::{Role, Token, TokenHash, TokenScope, new_token_value};

use serde::{Deserialize, Serialize};

use crate::domain::{AccountSid, ServiceProviderSid, Timestamp};

/// All tokens and accounts.
#[derive(Debug, Default)]
pub struct Access {
    tokens: BTreeMap<String, Token>,
    by_hash: HashMap<TokenHash, String>,
    /// By the token's id: when it was used last, now and as the journal has it.
    used: BTreeMap<String, LastUsed>,
    accounts: BTreeMap<AccountSid, Account>,
    by_hook_user: HashMap<String, AccountSid>,
    /// Accounts with a webhook secret.
    secrets: usize,
    first_token_made: bool,
    /// Sessions of the console, by id.
    sessions: BTreeMap<String, Session>,
    session_key: Option<SessionKey>,
    cluster: Option<ClusterSettings>,
    level: Option<ClusterLevel>,
    /// By the token's id: what the row says that is called `used/<id>`.
    used_rows: HashMap<String, RowOfUse>,
    /// Nodes of the cluster, by name.
    nodes: BTreeSet<String>,
    is_demo: bool,
    /// What every setting is, by its name.
    digests: HashMap<String, RowDigest>,
    /// Tokens and sessions that are removed, by [`hash_of`] their names: there are more of them each day.
    removed: HashSet<u64>,
    refused: AtomicU64,
}

/// The row that says that the first admin token has been made, so that it is never made again.
pub const FIRST_TOKEN: &str = "first-token";

/// The row that says that the store was made for sample calls.
pub const DEMO: &str = "demo";

/// The row of the settings that all nodes of a cluster share.
pub const CLUSTER: &str = "cluster";

/// The row of the version of messages that the nodes of a cluster write.
const LEVEL: &str = "cluster-level";

/// The row that has the key of sessions.
pub const SESSION_KEY: &str = "session-key";

/// How the rows of nodes are called: each has one from when it was first seen until it is forgotten.
const NODE: &str = "node/";

/// How the row of a node is called.
pub fn node_row_name(node: &str) -> String {
    format!("{NODE}{node}")
}

/// How rows of tokens are called that show numbers masked. A release that does not know the role keeps such a
/// row and takes no notice of it: there the token is none.
const MASKED: &str = "masked-token/";

/// How the row of a token is called.
pub fn token_row_name(role: Role, id: &str) -> String {
    let kind = if role == Role::ReadMasked { MASKED } else { "token/" };
    format!("{kind}{id}")
}

/// Whether a setting of this name never comes back once it is removed: the name has an id that was drawn for it alone.
pub fn is_never_made_again(name: &str) -> bool {
    ["token/", MASKED, "session/"].iter().any(|kind| name.starts_with(kind))
}

/// When a token was used last, in milliseconds since 1970; 0 for never.
#[derive(Debug, Default)]
struct LastUsed {
    last: AtomicU64,
    stored: u64,
}

fn hash_of(name: &str) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(name)
}

/// One setting as the journal has it: a name and JSON, empty where it is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingRow {
    /// `token/<id>`, `masked-token/<id>`, `used/<id>`, `account/<sid>`, `session/<id>`, `node/<name>`, [`FIRST_TOKEN`],
    /// [`SESSION_KEY`], [`CLUSTER`], [`DEMO`] or that of a [`ClusterLevel`].
    pub name: String,
    /// The token or the account.
    pub json: Vec<u8>,
}

/// What a row says of when a token was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOfUse {
    /// In milliseconds since 1970.
    At(u64),
    /// The token was revoked.
    Revoked,
}

impl RowOfUse {
    /// The token's id, and what the row says; none where it is another row.
    pub fn of(row: &SettingRow) -> Option<(&str, Self)> {
        let id = row.name.strip_prefix("used/")?;
        if row.json.is_empty() {
            return Some((id, Self::Revoked));
        }
        Some((id, Self::At(serde_json::from_slice(&row.json).ok()?)))
    }

    /// Whether it says more than the row before it. Rows of several nodes come in any order.
    pub fn follows(self, before: Option<Self>) -> bool {
        match (self, before) {
            (Self::Revoked, _) | (_, None) => true,
            (Self::At(at), Some(Self::At(before))) => at > before,
            (Self::At(_), Some(Self::Revoked)) => false,
        }
    }
}

/// What all nodes of a cluster share, so that each of them does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// How long a call lives without an event.
    pub max_lifetime_millis: u64,
    /// Deletions of before this time, in milliseconds since 1970, say nothing any more.
    #[serde(default)]
    pub forgotten_before: u64,
}

impl ClusterSettings {
    /// Those in a row; none where it is another one.
    pub fn in_row(row: &SettingRow) -> Option<Self> {
        let json = Some(&row.json).filter(|_| row.name == CLUSTER)?;
        serde_json::from_slice(json).ok()
    }

    /// The row that says so.
    pub fn row(self) -> SettingRow {
        // A struct of two numbers has a JSON.
        let json = serde_json::to_vec(&self).unwrap_or_default();
        SettingRow { name: CLUSTER.to_owned(), json }
    }
}

/// Which version of messages the nodes of a cluster write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterLevel {
    pub version: u8,
}

impl ClusterLevel {
    /// The row that says so.
    pub fn row(self) -> SettingRow {
        // A struct of a number has a JSON.
        let json = serde_json::to_vec(&self).unwrap_or_default();
        SettingRow { name: LEVEL.to_owned(), json }
    }
}

impl Access {
    /// Takes a row over. A row of an unknown kind is of a later release: it is kept in the journal
    /// and means nothing here.
    pub fn apply(&mut self, row: &SettingRow) -> Result<(), serde_json::Error> {
        if let Some(digest) = row_digest(&row.json) {
            self.digests.insert(row.name.clone(), digest);
        } else {
            self.digests.remove(&row.name);
            if is_never_made_again(&row.name) {
                self.removed.insert(hash_of(&row.name));
            }
        }
        let token = row.name.strip_prefix("token/");
        if let Some(id) = token.or(row.name.strip_prefix(MASKED)) {
            if let Some(old) = self.tokens.remove(id) {
                self.by_hash.remove(&old.hash);
            }
            if row.json.is_empty() {
                self.used.remove(id);
            } else {
                let token: Token = serde_json::from_slice(&row.json)?;
                self.used.entry(id.to_owned()).or_default();
                self.by_hash.insert(token.hash, id.to_owned());
                self.tokens.insert(id.to_owned(), token);
            }
        } else if let Some(id) = row.name.strip_prefix("used/") {
            // Rows come in any order at the start; one of a revoked token is empty by then.
            if let Some((id, of_use)) = RowOfUse::of(row) {
                self.used_rows.insert(id.to_owned(), of_use);
            }
            if !row.json.is_empty() {
                let at: u64 = serde_json::from_slice(&row.json)?;
                let used = self.used.entry(id.to_owned()).or_default();
                used.stored = used.stored.max(at);
                used.last.fetch_max(at, Ordering::Relaxed);
            }
        } else if row.name == FIRST_TOKEN {
            self.first_token_made = !row.json.is_empty();
        } else if row.name == CLUSTER {
            self.cluster = ClusterSettings::in_row(row);
        } else if row.name == LEVEL {
            self.level = match row.json.as_slice() {
                [] => None,
                json => Some(serde_json::from_slice(json)?),
            };
        } else if row.name == DEMO {
            self.is_demo = !row.json.is_empty();
        } else if row.name == SESSION_KEY {
            self.session_key = match row.json.as_slice() {
                [] => None,
                json => Some(serde_json::from_slice(json)?),
            };
        } else if let Some(node) = row.name.strip_prefix(NODE) {
            if row.json.is_empty() {
                self.nodes.remove(node);
            } else {
                self.nodes.insert(node.to_owned());
            }
        } else if let Some(id) = row.name.strip_prefix("session/") {
            if row.json.is_empty() {
                self.sessions.remove(id);
            } else {
                self.sessions.insert(id.to_owned(), serde_json::from_slice(&row.json)?);
            }
        } else if let Some(sid) = row.name.strip_prefix("account/") {
            let Ok(sid) = sid.parse() else { return Ok(()) };
            if let Some(old) = self.accounts.remove(&sid) {
                self.secrets -= usize::from(old.webhook_secret.is_some());
                if let Some(user) = old.hook_user {
                    self.by_hook_user.remove(&user);
                }
            }
            if !row.json.is_empty() {
                let account: Account = serde_json::from_slice(&row.json)?;
                self.secrets += usize::from(account.webhook_secret.is_some());
                if let Some(user) = &account.hook_user {
                    self.by_hook_user.insert(user.clone(), sid);
                }
                self.accounts.insert(sid, account);
            }
        }
        Ok(())
    }

    /// All settings, and what they are, by their names.
    pub fn digests(&self) -> BTreeMap<&str, &RowDigest> {
        self.digests.iter().map(|(name, digest)| (name.as_str(), digest)).collect()
    }

    /// What the setting of this name is; none where there is none.
    pub fn digest(&self, name: &str) -> Option<RowDigest> {
        self.digests.get(name).copied()
    }

    /// Whether it is the name of a token or a session that is removed.
    pub fn is_removed(&self, name: &str) -> bool {
        self.removed.contains(&hash_of(name))
    }

    /// The token with this value, unless it has expired.
    pub fn token(&self, value: &str, now: Timestamp) -> Option<&Token> {
        let hash = TokenHash::of(value);
        let token = self.tokens.get(self.by_hash.get(&hash)?)?;
        if !token.hash.matches(&hash) || token.expired(now) {
            return None;
        }
        if let Some(used) = self.used.get(&token.id) {
            used.last.fetch_max(now.millis(), Ordering::Relaxed);
        }
        Some(token)
    }

    /// Counts a failed authentication.
    pub fn note_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Failed authentications since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// When a token was used last, in milliseconds since 1970; none where it never was.
    pub fn last_used(&self, id: &str) -> Option<u64> {
        let last = self.used.get(id)?.last.load(Ordering::Relaxed);
        (last > 0).then_some(last)
    }

    /// Rows that say when tokens were used last, of those whose row is older than that by more
    /// than so many milliseconds.
    pub fn used_rows(&self, older_millis: u64) -> Vec<SettingRow> {
        let used = self.used.iter().filter(|(id, _)| self.tokens.contains_key(*id));
        let rows = used.filter_map(|(id, used)| {
            let last = used.last.load(Ordering::Relaxed);
            let row =
                || SettingRow { name: format!("used/{id}"), json: last.to_string().into_bytes() };
            (last > used.stored.saturating_add(older_millis)).then(row)
        });
        rows.collect()
    }

    /// What the row says of when a token was used last; none where there is none.
    pub fn row_of_use(&self, id: &str) -> Option<RowOfUse> {
        self.used_rows.get(id).copied()
    }

    /// What all nodes of the cluster share; none where that was never set.
    pub fn cluster(&self) -> Option<ClusterSettings> {
        self.cluster
    }

    /// Which version of messages is written; none where nobody has raised it.
    pub fn level(&self) -> Option<ClusterLevel> {
        self.level
    }

    /// The nodes of the cluster that were seen and not forgotten since, by name.
    pub fn nodes(&self) -> &BTreeSet<String> {
        &self.nodes
    }

    /// Whether the first admin token has been made, even if it has been revoked since.
    pub fn first_token_made(&self) -> bool {
        self.first_token_made
    }

    /// Every token, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens.values()
    }

    /// The token with this id.
    pub fn token_by_id(&self, id: &str) -> Option<&Token> {
        self.tokens.get(id)
    }

    /// Whether a token of this value exists, expired or not.
    pub fn has_value(&self, value: &str) -> Option<&str> {
        self.by_hash.get(&TokenHash::of(value)).map(String::as_str)
    }

    /// Whether the store was made for sample calls.
    pub fn is_demo(&self) -> bool {
        self.is_demo
    }

    /// The key of sessions; none before the first of them.
    pub fn session_key(&self) -> Option<&SessionKey> {
        self.session_key.as_ref()
    }

    /// A session that was not signed out and whose time is not over.
    pub fn session(&self, id: &str, now: Timestamp) -> Option<&Session> {
        self.sessions.get(id).filter(|session| !session.is_over(now))
    }

    /// Every session, over or not.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// Whether the session opens anything: its time is not over, nor is its token's.
    pub fn is_live(&self, session: &Session, now: Timestamp) -> bool {
        let token = || self.tokens.get(&session.token_id);
        let has_token =
            || session.of_jambonz.is_some() || token().is_some_and(|token| !token.expired(now));
        !session.is_over(now) && has_token()
    }

    /// How many sessions open something.
    pub fn live_sessions(&self, now: Timestamp) -> u64 {
        self.sessions.values().filter(|session| self.is_live(session, now)).count() as u64
    }

    /// Every account that has settings, by sid.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// The settings of an account.
    pub fn account(&self, sid: AccountSid) -> Option<&Account> {
        self.accounts.get(&sid)
    }

    /// Whether any account has a webhook secret: else no signature can be checked.
    pub fn any_webhook_secret(&self) -> bool {
        self.secrets > 0
    }

    /// The account whose hooks bring this user name.
    pub fn account_by_hook_user(&self, user: &str) -> Option<&Account> {
        self.accounts.get(self.by_hook_user.get(user)?)
    }

    /// Whether the account belongs to the service provider.
    pub fn provides(&self, provider: ServiceProviderSid, account: AccountSid) -> bool {
        let account = self.accounts.get(&account);
        account.is_some_and(|account| account.service_provider_sid == Some(provider))
    }

    /// The accounts of the service provider, by sid.
    pub fn accounts_of(&self, provider: ServiceProviderSid) -> impl Iterator<Item = AccountSid> {
        let own = self.accounts.iter();
        own.filter(move |(_, account)| account.service_provider_sid == Some(provider))
            .map(|(sid, _)| *sid)
    }

    /// Whether a token may touch this account's calls at all.
    pub fn covers(&self, scope: TokenScope, account: AccountSid) -> bool {
        match scope {
            TokenScope::Admin => true,
            TokenScope::ServiceProvider(provider) => self.provides(provider, account),
            TokenScope::Account(own) => own == account,
        }
    }
}

#[cfg(test)]
mod tests;
