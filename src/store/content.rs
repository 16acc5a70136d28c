//! Whether two stores hold the same: a hash over all calls and CDRs that wait, and one over all settings.

use ring::digest::{Context, SHA256};

use super::error::StoreError;
use super::query::ListRequest;
use super::state::View;
use crate::codec::encode;
use crate::domain::{Filter, Order};
use crate::wire::write_export;

/// Calls that are read at a time.
const PAGE_CALLS: usize = 500;

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub calls: u64,
    /// SHA-256 of the lines that an export has of them, account by account, oldest first; and of CDRs that wait for
    /// their calls, in the order of their sids.
    pub hash: [u8; 32],
    /// SHA-256 of the names and hashes of tokens, accounts and all other settings, by their names.
    pub settings: [u8; 32],
}

impl View {
    /// Reads all of it. Nothing may change meanwhile, or it is a hash of no moment.
    ///
    /// # Errors
    /// Where there is no index.
    pub fn content(&self) -> Result<Content, StoreError> {
        let (mut calls, mut hash, mut account) = (0, Context::new(&SHA256), None);
        while let Some(next) = self.next_account(account)? {
            let (filter, order) = (Filter::default(), Order::OldestFirst);
            let mut request = ListRequest { account: next, filter, order, after: None };
            loop {
                let page = self.page(&request, PAGE_CALLS)?;
                let mut lines = Vec::with_capacity(page.calls.len() * 1024);
                for call in &page.calls {
                    write_export(&mut lines, call);
                    lines.push(b'\n');
                }
                hash.update(&lines);
                calls += page.calls.len() as u64;
                if page.next.is_none() {
                    break;
                }
                request.after = page.next;
            }
            account = Some(next);
        }
        let mut waiting: Vec<_> = {
            let registry = self.registry.read();
            registry.all_waiting().map(|(id, part)| (id, part.call.clone())).collect()
        };
        waiting.sort_unstable_by_key(|(id, _)| *id);
        for (_, call) in waiting {
            hash.update(b"waits ");
            hash.update(&encode(&call));
        }
        let mut settings = Context::new(&SHA256);
        for (name, digest) in self.access.read().digests() {
            settings.update(&(name.len() as u64).to_le_bytes());
            settings.update(name.as_bytes());
            settings.update(digest);
        }
        let [hash, settings] = [hash, settings].map(|context| {
            let mut bytes = [0; 32];
            bytes.copy_from_slice(context.finish().as_ref());
            bytes
        });
        Ok(Content { calls, hash, settings })
    }
}
