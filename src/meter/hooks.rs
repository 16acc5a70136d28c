//! What became of the requests that bring events: those that were refused, by cause and account,
//! and when the last event of each account was taken.
//!
//! Architecture invariant: no client decides how much is remembered. An account has an entry of its
//! own if it has settings or its events were taken, up to a limit; all others share one entry, and of the
//! accounts that nobody has registered only a few sids are kept.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::domain::{AccountSid, Timestamp};

/// Accounts with an entry of their own.
const ACCOUNTS_MAX: usize = 5000;
/// Accounts without settings whose sids are remembered: those that signed webhooks named last.
const UNREGISTERED_MAX: usize = 20;
/// Lines in the log for one account and cause in one [`WINDOW`].
const LINES_MAX: u32 = 10;
/// The time in which they are counted.
const WINDOW: Duration = Duration::from_mins(1);

/// Why a request that brings events was refused, or what was wrong with one of its credentials. Of
/// several the first in this order is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    TwoAccounts,
    OtherAccount,
    SignatureWrong,
    WrongPassword,
    SignatureTime,
    NotRegistered,
    UnknownUser,
    UnknownToken,
    Role,
    NoSecret,
    NoAccount,
    SignatureMalformed,
    AuthorizationMalformed,
    OtherScheme,
    NoCredentials,
    TooManyRequests,
    TooLarge,
    SlowBody,
    Malformed,
    Method,
    Unavailable,
    Other,
}

const CAUSES: usize = Cause::ALL.len();

impl Cause {
    /// Every one, with its name for programs and its text for people.
    pub const ALL: [(Self, &'static str, &'static str); 22] = [
        (Self::TwoAccounts, "two_accounts", "two valid credentials name different accounts"),
        (Self::OtherAccount, "other_account", "events of an account that is not the sender's"),
        (
            Self::SignatureWrong,
            "signature_wrong",
            "signature does not verify: is the webhook secret the one in jambonz?",
        ),
        (
            Self::WrongPassword,
            "wrong_password",
            "wrong password: is the hook password the one in jambonz?",
        ),
        (
            Self::SignatureTime,
            "signature_time",
            "the signature's time is more than 5 minutes off: are both clocks right?",
        ),
        (
            Self::NotRegistered,
            "not_registered",
            "signed, but the account of its first event is not registered here",
        ),
        (Self::UnknownUser, "unknown_user", "no account has this hook user"),
        (Self::UnknownToken, "unknown_token", "the token is unknown, expired or revoked"),
        (Self::Role, "role", "the token's role does not bring events"),
        (Self::NoSecret, "no_secret", "signed, but the account has no webhook secret here"),
        (Self::NoAccount, "no_account", "signed, but its first event names no account"),
        (Self::SignatureMalformed, "signature_malformed", "Jambonz-Signature cannot be read"),
        (Self::AuthorizationMalformed, "authorization_malformed", "Authorization cannot be read"),
        (Self::OtherScheme, "other_scheme", "Authorization is neither Basic nor Bearer"),
        (Self::NoCredentials, "no_credentials", "no credentials"),
        (Self::TooManyRequests, "too_many_requests", "too many requests"),
        (Self::TooLarge, "too_large", "too large"),
        (Self::SlowBody, "slow_body", "the body did not come in time"),
        (Self::Malformed, "malformed", "the body cannot be read, or an event not be placed"),
        (Self::Method, "method", "the method is GET: is that of the hook in jambonz POST?"),
        (Self::Unavailable, "unavailable", "rollcall could not take it at that moment"),
        (Self::Other, "other", "another reason"),
    ];

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("other", |(_, name, _)| name)
    }

    /// Its text for people.
    pub fn text(self) -> &'static str {
        Self::ALL.get(self as usize).map_or("another reason", |(.., text)| text)
    }
}

/// What became of the requests that bring events.
#[derive(Debug, Default)]
pub struct HookMetrics(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    accounts: HashMap<AccountSid, HookCounters>,
    others: HookCounters,
    /// Accounts without settings that signed webhooks named, and how many; the last one last.
    unregistered: Vec<(AccountSid, u64)>,
}

/// The requests of one account, or of all that have no entry of their own.
#[derive(Debug, Default)]
struct HookCounters {
    /// When the last event was taken, in milliseconds since 1970.
    taken_at: Option<u64>,
    /// By cause; none as long as nothing was refused.
    refused: Option<Box<[RefusalCount; CAUSES]>>,
    /// When a warning was last due that a credential beside a valid one is wrong.
    warned: Option<Instant>,
}

/// Requests that were refused for one cause.
#[derive(Debug, Clone, Copy, Default)]
struct RefusalCount {
    total: u64,
    /// When the current window began.
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl RefusalCount {
    /// Counts one more. Whether a line is to say so, and then how many had none before it.
    fn add(&mut self, now: Instant) -> Option<u64> {
        self.total += 1;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Book {
    /// The account's own entry; a new one only where there is room.
    fn own(&mut self, account: AccountSid) -> Option<&mut HookCounters> {
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&account) {
            return None;
        }
        Some(self.accounts.entry(account).or_default())
    }
}

impl HookMetrics {
    /// Events of the account were taken.
    pub fn taken(&self, account: AccountSid, now: Timestamp) {
        if let Some(entry) = self.0.lock().own(account) {
            entry.taken_at = entry.taken_at.max(Some(now.millis()));
        }
    }

    /// Counts a refused request; `account` where it is one that has settings. Whether a line of the
    /// log is to say so, and then how many had none before it.
    pub fn refused(&self, account: Option<AccountSid>, cause: Cause, now: Instant) -> Option<u64> {
        let mut book = self.0.lock();
        let book = &mut *book;
        let entry = match account {
            Some(account) if book.accounts.contains_key(&account) => {
                book.accounts.get_mut(&account)
            }
            Some(account) if book.accounts.len() < ACCOUNTS_MAX => {
                Some(book.accounts.entry(account).or_default())
            }
            _ => None,
        };
        let counts = entry.unwrap_or(&mut book.others).refused.get_or_insert_default();
        counts.get_mut(cause as usize)?.add(now)
    }

    /// Remembers that a signed webhook named an account without settings. Anybody can send such a one.
    pub fn unregistered(&self, account: AccountSid) {
        let mut book = self.0.lock();
        let known = &mut book.unregistered;
        let at = known.iter().position(|(sid, _)| *sid == account);
        let count = at.map_or(0, |at| known.remove(at).1);
        if known.len() >= UNREGISTERED_MAX {
            // One that was named often is no accident.
            let least = known.iter().map(|(_, count)| *count).min();
            if let Some(at) = known.iter().position(|(_, count)| Some(*count) == least) {
                known.remove(at);
            }
        }
        known.push((account, count + 1));
    }

    /// Whether a warning is due that a credential beside a valid one of this account is wrong:
    /// once a minute.
    pub fn warns(&self, account: AccountSid, now: Instant) -> bool {
        let mut book = self.0.lock();
        let Some(entry) = book.own(account) else { return false };
        let due = entry.warned.is_none_or(|at| now.saturating_duration_since(at) >= WINDOW);
        if due {
            entry.warned = Some(now);
        }
        due
    }

    /// All of it, as it is now.
    pub fn figures(&self) -> HookCounts {
        let book = self.0.lock();
        let mut accounts: Vec<_> = book.accounts.iter().map(|(sid, one)| (*sid, one)).collect();
        accounts.sort_by_key(|(sid, _)| *sid);
        let accounts = accounts.into_iter().map(|(account_sid, one)| AccountHookCounts {
            account_sid,
            taken_at: one.taken_at,
            refused: one.refused(),
        });
        HookCounts {
            accounts: accounts.collect(),
            others_refused: book.others.refused(),
            unregistered: book.unregistered.clone(),
        }
    }
}

impl HookCounters {
    fn refused(&self) -> BTreeMap<String, u64> {
        let counts = self.refused.iter().flat_map(|counts| counts.iter());
        let named = Cause::ALL.iter().zip(counts).filter(|(_, count)| count.total > 0);
        named.map(|((_, name, _), count)| ((*name).to_owned(), count.total)).collect()
    }
}

/// What became of the requests that bring events, since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HookCounts {
    pub accounts: Vec<AccountHookCounts>,
    /// Refused requests that cannot be put down to an account, by the names of causes.
    pub others_refused: BTreeMap<String, u64>,
    /// Accounts without settings that signed webhooks named, a few, and how many named them.
    pub unregistered: Vec<(AccountSid, u64)>,
}

/// The same of one account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountHookCounts {
    pub account_sid: AccountSid,
    /// When its last event was taken, in milliseconds since 1970.
    pub taken_at: Option<u64>,
    /// Refused requests, by the names of causes.
    pub refused: BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u32) -> AccountSid {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        AccountSid::from_bytes(bytes)
    }

    #[test]
    fn every_cause_has_its_own_place() {
        for (n, (cause, name, text)) in Cause::ALL.into_iter().enumerate() {
            assert_eq!((cause as usize, cause.name(), cause.text()), (n, name, text));
        }
    }

    #[test]
    fn refusals_are_counted_by_account_and_lines_are_bounded() {
        let hooks = HookMetrics::default();
        let now = Instant::now();
        let lines = |at| {
            let told = (0..100).map(|_| hooks.refused(Some(account(1)), Cause::WrongPassword, at));
            told.flatten().collect::<Vec<_>>()
        };
        assert_eq!(lines(now), [0; LINES_MAX as usize]);
        assert_eq!(lines(now + WINDOW)[..2], [100 - u64::from(LINES_MAX), 0]);
        assert_eq!(hooks.refused(None, Cause::NoCredentials, now), Some(0));
        hooks.taken(account(1), Timestamp::from_millis(7).unwrap());
        hooks.taken(account(1), Timestamp::from_millis(5).unwrap());
        let figures = hooks.figures();
        assert_eq!(figures.others_refused, [("no_credentials".to_owned(), 1)].into());
        let one = &figures.accounts[0];
        assert_eq!((one.taken_at, &one.refused["wrong_password"]), (Some(7), &200));
    }

    #[test]
    fn few_accounts_that_nobody_has_registered_are_remembered() {
        let hooks = HookMetrics::default();
        for n in 0..1000 {
            hooks.unregistered(account(7));
            hooks.unregistered(account(1000 + n));
        }
        let known = hooks.figures().unregistered;
        assert_eq!(known.len(), UNREGISTERED_MAX);
        assert!(known.contains(&(account(7), 1000)) && known.contains(&(account(1999), 1)));
    }

    #[test]
    fn the_accounts_that_are_remembered_are_bounded() {
        let hooks = HookMetrics::default();
        let now = Instant::now();
        for n in 0..6000 {
            hooks.taken(account(n), Timestamp::default());
            hooks.refused(Some(account(n)), Cause::Malformed, now);
        }
        let figures = hooks.figures();
        assert_eq!(figures.accounts.len(), ACCOUNTS_MAX);
        assert_eq!(figures.others_refused["malformed"], 1000);
        assert!(hooks.warns(account(1), now) && !hooks.warns(account(1), now));
        assert!(hooks.warns(account(1), now + WINDOW) && !hooks.warns(account(5999), now));
    }
}
