//! Which calls a command means, and how they are written.

use serde::{Deserialize, Serialize};

use super::accounts::resolve;
use super::{AdminReply, Emit, Failure, Item};
use crate::clock;
use crate::domain::{AccountSid, Call, CallSid, Filter, Order, SearchError, Timestamp};
use crate::store::{Across, ListRequest, Progress, Scope, ScopedAccount, Store};
use crate::wire::{
    CsvStyle, When, ZoneError, csv_export_header, parse_when, show_time, write_call,
    write_csv_export, write_export,
};

/// Calls that are read at once.
const PAGE_CALLS: usize = 1000;
/// Slices of reading after which it is said how many were found.
const SLICES: usize = 64;

/// Filters, as they were typed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Selection {
    /// By sid or by name.
    pub accounts: Vec<String>,
    pub statuses: Vec<String>,
    pub direction: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    pub from_prefix: Vec<String>,
    pub to_prefix: Vec<String>,
    pub parents: Vec<CallSid>,
    pub stale: Option<bool>,
    /// Parameters of a search, by the names that they have in the API.
    pub search: Vec<(String, String)>,
    pub start: Option<String>,
    pub end: Option<String>,
    pub oldest_first: bool,
}

impl Selection {
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
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
        filter.from.extend(self.from.iter().flat_map(|text| numbers(text)));
        filter.to.extend(self.to.iter().flat_map(|text| numbers(text)));
        for (flag, prefixes, wanted) in [
            ("--from-prefix", &self.from_prefix, &mut filter.from_prefix),
            ("--to-prefix", &self.to_prefix, &mut filter.to_prefix),
        ] {
            // Every number begins with nothing: that would be no filter.
            if prefixes.iter().any(String::is_empty) {
                return Err(wrong(flag, "", "the beginning of a number, such as +1555"));
            }
            wanted.extend(prefixes.iter().cloned());
            wanted.sort_unstable();
            wanted.dedup();
        }
        filter.parents.extend(&self.parents);
        filter.parents.sort_unstable();
        filter.parents.dedup();
        filter.stale = self.stale;
        let refused = |error: SearchError| {
            Failure::usage(format!("--{}{error}", error.name.replace('_', "-")))
        };
        for (name, value) in &self.search {
            if !filter.search.read(name, value).map_err(refused)? {
                return Err(Failure::usage(format!("{name} is no parameter of a search")));
            }
        }
        filter.search.finish().map_err(refused)?;
        let time = |flag: &str, text: &Option<String>| -> Result<Option<Timestamp>, Failure> {
            let Some(text) = text else { return Ok(None) };
            let time = parse_when(text, clock::now(), When::Ago).map(Some);
            time.map_err(|why| Failure::usage(format!("{flag} \"{text}\": {why}")))
        };
        filter.start = time("--start", &self.start)?;
        filter.end = time("--end", &self.end)?;
        if let (Some(start), Some(end)) = (filter.start, filter.end)
            && end <= start
        {
            let (start, end) = (show_time(start), show_time(end));
            return Err(Failure::usage(format!(
                "--end is {end}, and not after --start, {start}; both of 2h and 1h are that long ago: \
                 --start 2h --end 1h is the hour between"
            )));
        }
        filter.statuses.sort_unstable();
        filter.statuses.dedup();
        Ok(filter)
    }

    fn order(&self) -> Order {
        if self.oldest_first { Order::OldestFirst } else { Order::NewestFirst }
    }

    /// The accounts that are meant; none where all are.
    pub(super) fn chosen(&self, store: &Store) -> Result<Vec<AccountSid>, Failure> {
        self.accounts.iter().map(|account| resolve(store, account)).collect()
    }
}

/// The accounts that are meant, one after the other.
fn next_account(
    store: &Store,
    chosen: &[AccountSid],
    after: Option<AccountSid>,
) -> Result<Option<AccountSid>, Failure> {
    if chosen.is_empty() {
        return Ok(store.next_account(after)?);
    }
    let rest = chosen.iter().filter(|account| after.is_none_or(|a| **account > a));
    Ok(rest.min().copied())
}

/// Several numbers with commas between them, and the one text that has the commas: a SIP user may have
/// them.
fn numbers(text: &str) -> Vec<String> {
    let mut all: Vec<String> =
        text.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if all.len() != 1 || text.contains(',') {
        all.push(text.to_owned());
    }
    all.sort_unstable();
    all.dedup();
    all
}

pub(super) enum ExportLayout {
    Lines,
    /// A header, and a row each.
    Csv(CsvStyle),
}

impl ExportLayout {
    /// CSV in the zone of that name, and in UTC where none is named.
    pub fn csv(spreadsheet: bool, time_zone: Option<&str>) -> Result<Self, Failure> {
        let zone = |name: &str| {
            let wrong = |error| Failure::usage(format!("--time-zone {name:?}: {error}"));
            name.parse().map_err(|error: ZoneError| wrong(error))
        };
        let zone = time_zone.map(zone).transpose()?;
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
    shape: &ExportLayout,
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let (filter, chosen) = (selection.filter()?, selection.chosen(store)?);
    // How many a filter means is known at the end.
    let total =
        (filter == Filter::default() && chosen.is_empty()).then(|| store.status().calls).flatten();
    if let ExportLayout::Csv(style) = shape {
        let mut header = Vec::new();
        csv_export_header(&mut header, style);
        emit(Item::Data(&header))?;
    }
    let mut written = 0;
    let mut account = None;
    while let Some(next) = next_account(store, &chosen, account)? {
        let mut request = ListRequest {
            account: next,
            filter: filter.clone(),
            order: selection.order(),
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
            emit(Item::Progress(Progress::steps(what, written, total)))?;
            if page.next.is_none() {
                break;
            }
            request.after = page.next;
        }
        account = Some(next);
    }
    Ok(AdminReply::Written(written))
}

/// The newest calls of all the accounts that are meant, together.
pub(super) fn list(
    store: &Store,
    selection: &Selection,
    limit: usize,
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let (filter, mut chosen) = (selection.filter()?, selection.chosen(store)?);
    chosen.sort_unstable();
    chosen.dedup();
    let accounts = if chosen.is_empty() {
        loop {
            if let Some(accounts) = store.accounts(Scope::Everybody)? {
                break accounts;
            }
        }
    } else {
        chosen.into_iter().map(ScopedAccount::of).collect()
    };
    let mut across = Across::new(accounts, filter, selection.order(), None);
    let (mut lines, mut found) = (Vec::new(), 0);
    for slice in 1.. {
        if found == limit || across.is_done() {
            break;
        }
        for (_, listed) in across.calls(store, (limit - found).min(PAGE_CALLS))? {
            write_call(&mut lines, &*store.unpacked(listed)?);
            lines.push(b'\n');
            found += 1;
        }
        // One who has gone away is noticed.
        if slice % SLICES == 0 {
            emit(Item::Progress(Progress::steps("searching".to_owned(), found as u64, None)))?;
        }
    }
    emit(Item::Data(&lines))?;
    Ok(AdminReply::Written(found as u64))
}
