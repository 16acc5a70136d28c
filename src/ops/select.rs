//! Which calls a command means, and how they are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Emit, Failure, Item, Reply};
use crate::domain::{AccountSid, Call, CallId, CallSid, Filter, Order, Position, Timestamp};
use crate::store::{Progress, Request, Store};
use crate::wire::{
    CsvStyle, csv_export_header, parse_time, write_call, write_csv_export, write_export,
};

/// Calls that are read at once.
const PAGE_CALLS: usize = 1000;

/// Filters, as they were typed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the flags")]
pub struct Selection {
    pub accounts: Vec<AccountSid>,
    pub statuses: Vec<String>,
    pub direction: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub start: Option<String>,
    pub end: Option<String>,
}

impl Selection {
    fn filter(&self) -> Result<Filter, Failure> {
        let wrong = |flag: &str, value: &str, expected: &str| {
            Failure::usage(format!("{flag} \"{value}\": expected {expected}"))
        };
        let mut filter = Filter::default();
        for status in &self.statuses {
            let known =
                crate::domain::CallStatus::ALL.map(crate::domain::CallStatus::as_str).join(", ");
            let parsed = status
                .parse()
                .map_err(|()| wrong("--status", status, &format!("one of {known}")))?;
            filter.statuses.push(parsed);
        }
        if let Some(direction) = &self.direction {
            let parsed = direction.parse();
            let parsed =
                parsed.map_err(|()| wrong("--direction", direction, "inbound or outbound"))?;
            filter.directions.push(parsed);
        }
        filter.from.extend(self.from.clone());
        filter.to.extend(self.to.clone());
        let time = |flag: &str, text: &Option<String>| -> Result<Option<Timestamp>, Failure> {
            let Some(text) = text else { return Ok(None) };
            let expected = "a time as 2026-01-31T23:59:59Z, or a day as 2026-01-31";
            parse_time(text).map(Some).ok_or_else(|| wrong(flag, text, expected))
        };
        filter.start = time("--start", &self.start)?;
        filter.end = time("--end", &self.end)?;
        filter.statuses.sort_unstable();
        filter.statuses.dedup();
        Ok(filter)
    }

    /// The accounts that are meant, one after the other.
    fn next_account(
        &self,
        store: &Store,
        after: Option<AccountSid>,
    ) -> Result<Option<AccountSid>, Failure> {
        if self.accounts.is_empty() {
            return Ok(store.next_account(after)?);
        }
        let rest = self.accounts.iter().filter(|account| after.is_none_or(|a| **account > a));
        Ok(rest.min().copied())
    }
}

/// How an export is written.
pub(super) enum Shape {
    /// A line of JSON each.
    Lines,
    /// A header, and a row each.
    Csv(CsvStyle),
}

impl Shape {
    /// CSV in the zone of that name, and in UTC where none is named.
    pub fn csv(spreadsheet: bool, time_zone: Option<&str>) -> Result<Self, Failure> {
        let zone = time_zone.map(str::parse).transpose();
        let zone = zone.map_err(|error| Failure::usage(format!("--time-zone {error}")))?;
        Ok(Self::Csv(CsvStyle { spreadsheet, zone: zone.unwrap_or_default() }))
    }

    fn write(&self, out: &mut Vec<u8>, call: &Call) {
        match self {
            Self::Lines => {
                write_export(out, call);
                out.push(b'\n');
            }
            Self::Csv(style) => write_csv_export(out, call, style),
        }
    }
}

/// Every call that is meant, account by account, newest first.
pub(super) fn export(
    store: &Store,
    selection: &Selection,
    shape: &Shape,
    emit: &mut Emit<'_>,
) -> Result<Reply, Failure> {
    let filter = selection.filter()?;
    let total = store.status().calls;
    if let Shape::Csv(style) = shape {
        let mut header = Vec::new();
        csv_export_header(&mut header, style);
        emit(Item::Data(&header))?;
    }
    let mut written = 0;
    let mut account = None;
    while let Some(next) = selection.next_account(store, account)? {
        let mut request = Request {
            account: next,
            filter: filter.clone(),
            order: Order::NewestFirst,
            after: None,
        };
        loop {
            let page = store.page(&request, PAGE_CALLS)?;
            let mut lines = Vec::with_capacity(page.calls.len() * 1024);
            for call in &page.calls {
                shape.write(&mut lines, call);
            }
            emit(Item::Data(&lines))?;
            written += page.calls.len() as u64;
            let what = "exporting".to_owned();
            emit(Item::Progress(Progress { what, done: written, total }))?;
            if page.next.is_none() {
                break;
            }
            request.after = page.next;
        }
        account = Some(next);
    }
    Ok(Reply::Written(written))
}

/// The newest calls of all the accounts that are meant, together.
pub(super) fn list(
    store: &Store,
    selection: &Selection,
    limit: usize,
    emit: &mut Emit<'_>,
) -> Result<Reply, Failure> {
    let filter = selection.filter()?;
    let mut newest: Vec<Arc<Call>> = Vec::new();
    let mut account = None;
    while let Some(next) = selection.next_account(store, account)? {
        let filter = filter.clone();
        let request = Request { account: next, filter, order: Order::NewestFirst, after: None };
        newest.extend(store.page(&request, limit)?.calls);
        newest.sort_by_key(|call| (Position::of(call), call.id.account));
        newest.truncate(limit);
        account = Some(next);
    }
    let mut lines = Vec::new();
    for call in &newest {
        write_call(&mut lines, call);
        lines.push(b'\n');
    }
    emit(Item::Data(&lines))?;
    Ok(Reply::Written(newest.len() as u64))
}

/// The call with this sid, of whichever account.
pub(super) fn show(store: &Store, sid: CallSid) -> Result<Reply, Failure> {
    let mut found = Vec::new();
    let mut after = None;
    while let Some(account) = store.next_account(after)? {
        if let Some(call) = store.call(CallId { account, sid })? {
            let mut line = Vec::new();
            write_export(&mut line, &call);
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
        after = Some(account);
    }
    if found.is_empty() {
        return Err(Failure::new(format!("there is no call {sid}")));
    }
    Ok(Reply::Calls(found))
}
