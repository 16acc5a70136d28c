//! Whose calls are read, and which accounts these are.
//!
//! An account of which nothing is to be read costs nothing but its place in a list: of each account
//! that has calls it is known how new they are at most ([`NewestCalls`]), so that one is looked into only
//! once its turn comes. What is known is of the accounts that the index had when they were looked through, once for
//! each generation of it, and of what has come since then: that all went through the registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use super::StoreError;
use super::change_feed::Reach;
use super::state::View;
use crate::domain::{AccountSid, Position, ServiceProviderSid};
use crate::index::Index;

/// Accounts of the index that are looked at in one slice.
const SLICE_ACCOUNTS: usize = 64;

/// Whose calls are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of one account.
    Account(AccountSid),
    /// Those of the accounts of a service provider.
    ServiceProvider(ServiceProviderSid),
    /// Those of all accounts.
    Everybody,
}

impl From<Reach> for Scope {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Account(account) => Self::Account(account),
            Reach::ServiceProvider(provider) => Self::ServiceProvider(provider),
            Reach::Everybody => Self::Everybody,
        }
    }
}

/// An account that may have calls, and where the newest of them stands at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopedAccount {
    pub account: AccountSid,
    /// No call of the account comes before it in a list, newest first.
    pub newest: Position,
}

impl ScopedAccount {
    /// One of which nothing is known.
    pub fn of(account: AccountSid) -> Self {
        Self { account, newest: Position::MIN }
    }
}

/// What is known of the accounts of the current index.
#[derive(Default)]
pub(super) struct NewestCalls {
    /// The generation that it is known of.
    index: Weak<Index>,
    by_account: BTreeMap<AccountSid, Position>,
    is_complete: bool,
}

impl NewestCalls {
    /// What is known of this generation, which may be nothing.
    fn of(&mut self, index: &Arc<Index>) -> &mut Self {
        if !std::ptr::eq(self.index.as_ptr(), Arc::as_ptr(index)) {
            *self = Self { index: Arc::downgrade(index), ..Self::default() };
        }
        self
    }
}

impl View {
    /// The accounts of a scope that may have calls, by sid; none while they are still to be found: then one
    /// slice more of the work has been done.
    pub fn accounts(&self, scope: Scope) -> Result<Option<Arc<[ScopedAccount]>>, StoreError> {
        if let Scope::Account(account) = scope {
            return Ok(Some([ScopedAccount::of(account)].into()));
        }
        if !self.learn_accounts()? {
            return Ok(None);
        }
        let owned: Option<Vec<AccountSid>> = match scope {
            Scope::ServiceProvider(provider) => {
                let access = self.access.read();
                Some(access.accounts_of(provider).collect())
            }
            _ => None,
        };
        let came: HashMap<AccountSid, Position> = {
            let registry = self.registry.read();
            let newest = registry.newest();
            match &owned {
                None => newest.clone(),
                Some(owned) => {
                    let came = |account: &AccountSid| Some((*account, *newest.get(account)?));
                    owned.iter().filter_map(came).collect()
                }
            }
        };
        let index = self.index()?;
        let mut known = self.newest_calls.lock();
        let known = known.of(&index);
        if !known.is_complete {
            return Ok(None);
        }
        let accounts: Vec<AccountSid> = owned.unwrap_or_else(|| {
            let others = came.keys().filter(|account| !known.by_account.contains_key(account));
            let mut all: Vec<_> = known.by_account.keys().chain(others).copied().collect();
            all.sort_unstable();
            all
        });
        let scoped = accounts.into_iter().filter_map(|account| {
            let newest = [known.by_account.get(&account), came.get(&account)];
            let newest = newest.into_iter().flatten().min().copied()?;
            Some(ScopedAccount { account, newest })
        });
        Ok(Some(scoped.collect()))
    }

    /// Looks at some more accounts of the index. True once all of them are known.
    fn learn_accounts(&self) -> Result<bool, StoreError> {
        let index = self.index()?;
        let mut after = {
            let mut known = self.newest_calls.lock();
            let known = known.of(&index);
            if known.is_complete {
                return Ok(true);
            }
            known.by_account.last_key_value().map(|(account, _)| *account)
        };
        let (mut found, mut is_complete) = (Vec::new(), false);
        while found.len() < SLICE_ACCOUNTS && !is_complete {
            match index.next_account(after).map_err(|error| self.index_failed(&error))? {
                None => is_complete = true,
                Some((account, newest)) => {
                    after = Some(account);
                    found.push((account, newest));
                }
            }
        }
        let mut known = self.newest_calls.lock();
        let known = known.of(&index);
        known.by_account.extend(found);
        known.is_complete |= is_complete;
        Ok(known.is_complete)
    }

    /// The sequence number of the last change of these accounts' calls, or one of before the start: while
    /// it stays the same, and the accounts do, so does every list of them together. Where a log is followed it is the
    /// number of a message, which says the same on every node.
    pub fn last_change_of(&self, scope: Scope, accounts: &[AccountSid]) -> u64 {
        let registry = self.registry.read();
        match scope {
            Scope::Everybody => registry.last_change_of_all(),
            Scope::Account(account) => registry.last_change(account),
            Scope::ServiceProvider(_) => {
                let changes = accounts.iter().map(|account| registry.last_change(*account));
                changes.max().unwrap_or_default()
            }
        }
    }
}
