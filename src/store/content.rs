//! Whether two stores hold the same calls: a hash over all of them.

use ring::digest::{Context, SHA256};

use super::error::StoreError;
use super::query::ListRequest;
use super::state::View;
use crate::domain::{Filter, Order};
use crate::wire::write_export;

/// Calls that are read at a time.
const PAGE_CALLS: usize = 500;

/// What a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub calls: u64,
    /// SHA-256 of the lines that an export has of them, account by account, oldest first.
    pub hash: [u8; 32],
}

impl View {
    /// Reads all calls. Nothing may change meanwhile, or it is a hash of no moment.
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
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hash.finish().as_ref());
        Ok(Content { calls, hash: bytes })
    }
}
