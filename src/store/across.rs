//! The lists of several accounts as one: an ordered merge, each account read through its own keys.
//!
//! A call's place is its position and then its account ([`AcrossPosition`]), so that two calls of one sid and
//! one time stand apart, and a list goes on behind any of them.
//!
//! **Only what is needed.** Of an account that has not been looked into it is known where its first call stands at
//! the earliest. The accounts wait in a heap by that; one is looked into when it is the first, so that a page of the
//! newest calls looks into those accounts alone that have some of them. How far a look has come is such a bound as
//! well: a search that finds nothing in one account does not go on there before the others have come as far.
//!
//! **Within bounds.** What is held is a place for each account and the positions that were found, of all accounts
//! together about [`HELD`]; the calls themselves are read once it is known which of them come next.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use super::StoreError;
use super::count::{Counting, CountsByTime, StatusCount};
use super::query::{ListRequest, Listed, Plan};
use super::scope::ScopedAccount;
use super::state::View;
use crate::domain::{AccountSid, AcrossPosition, CallId, Filter, Order, Position};

/// Positions of all accounts together that are held.
const HELD: usize = 32 * 1024;
/// Rows of one look into an account: at first, at least, and at most.
const ROWS_FIRST: usize = 8;
const ROWS_MIN: usize = 4;
const ROWS_MAX: usize = 2048;
/// The same where each row is read with its record.
const RECORDS_FIRST: usize = 32;
const RECORDS_MAX: usize = 256;
/// What one slice may cost: a key is one.
const SLICE_COST: usize = 2048;
/// What it costs to begin to read a range, and to read a record.
const RANGE_COST: usize = 64;
const RECORD_COST: usize = 8;
/// Accounts that are counted in one slice, where each has few calls.
const SLICE_COUNTS: usize = 16;

/// A list of several accounts that is still to be read.
#[derive(Clone)]
pub struct Across {
    /// That of one account after the other.
    request: ListRequest,
    after: Option<AcrossPosition>,
    accounts: Arc<[ScopedAccount]>,
    heads: BinaryHeap<Head>,
    /// Accounts that have been looked into, and positions that there is memory for.
    opened: usize,
    held: usize,
    ranges: usize,
}

/// An account, and where its next call stands: at the earliest, or exactly, where it was found.
#[derive(Clone)]
struct Head {
    key: Key,
    read: Option<Box<Read>>,
}

/// What has been read of an account.
#[derive(Clone, Default)]
struct Read {
    found: VecDeque<Position>,
    /// Where the next look begins; none where nothing is left.
    from: Option<Position>,
    rows: usize,
}

/// 40 bytes whose order is that of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; 40]);

impl Key {
    fn new(place: AcrossPosition, order: Order) -> Self {
        let mut bytes = [0; 40];
        let (position, account) = bytes.split_at_mut(24);
        position.copy_from_slice(&place.position.to_bytes());
        account.copy_from_slice(&place.account.bytes());
        Self(bytes).turned(order)
    }

    fn turned(self, order: Order) -> Self {
        match order {
            Order::NewestFirst => self,
            Order::OldestFirst => Self(self.0.map(|byte| !byte)),
        }
    }

    fn place(self, order: Order) -> AcrossPosition {
        let Self(bytes) = self.turned(order);
        let (mut position, mut account) = ([0; 24], [0; 16]);
        position.copy_from_slice(&bytes[..24]);
        account.copy_from_slice(&bytes[24..]);
        let position = Position::from_bytes(position);
        AcrossPosition { position, account: AccountSid::from_bytes(account) }
    }
}

impl Ord for Head {
    /// The first is the greatest, as a heap has it.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Head {}

impl Across {
    /// The list of these accounts from after a place on.
    pub fn new(
        accounts: Arc<[ScopedAccount]>,
        filter: Filter,
        order: Order,
        after: Option<AcrossPosition>,
    ) -> Self {
        let nobody = AccountSid::from_bytes([0; 16]);
        let account = accounts.first().map_or(nobody, |first| first.account);
        let request = ListRequest { account, filter, order, after: None };
        let ranges = Plan::of(&request).ranges.len();
        let heads = BinaryHeap::new();
        Self { request, after, accounts, heads, opened: 0, held: 0, ranges }.rewound()
    }

    /// The same list from its beginning.
    #[must_use]
    pub fn rewound(mut self) -> Self {
        let order = self.request.order;
        let heads = self.accounts.iter().filter_map(|one| {
            let position = begin(*one, &self.request, self.after)?;
            let place = AcrossPosition { position, account: one.account };
            Some(Head { key: Key::new(place, order), read: None })
        });
        self.heads = heads.collect();
        (self.opened, self.held) = (0, 0);
        self
    }

    /// Nothing is left.
    pub fn is_done(&self) -> bool {
        self.heads.is_empty()
    }

    /// About how much memory is used.
    pub fn bytes(&self) -> usize {
        self.accounts.len() * size_of::<ScopedAccount>()
            + self.heads.capacity() * size_of::<Head>()
            + self.opened * size_of::<Read>()
            + self.held * size_of::<Position>()
    }

    /// Finds the next calls, `most` at most, in one slice of reading. There may be fewer, or none, though more
    /// follow: see [`Self::is_done`].
    pub fn go_on(&mut self, view: &View, most: usize) -> Result<Vec<AcrossPosition>, StoreError> {
        let order = self.request.order;
        let (mut places, mut cost) = (Vec::new(), 0);
        while places.len() < most && cost < SLICE_COST {
            let Some(Head { key, mut read }) = self.heads.pop() else { break };
            let place = key.place(order);
            if read.as_deref_mut().and_then(|read| read.found.pop_front()).is_some() {
                places.push(place);
                cost += 1;
            } else {
                let (looked, costs) = self.look(view, place, read.as_deref())?;
                **read.get_or_insert_default() = looked;
                cost += costs;
            }
            let next = read.as_deref().and_then(|read| read.found.front().copied().or(read.from));
            if let Some(position) = next {
                let key = Key::new(AcrossPosition { position, ..place }, order);
                self.heads.push(Head { key, read });
            }
        }
        Ok(places)
    }

    /// One look into an account, from a position on, and what it costs. More is read of one that has been read
    /// before.
    fn look(
        &mut self,
        view: &View,
        from: AcrossPosition,
        before: Option<&Read>,
    ) -> Result<(Read, usize), StoreError> {
        let order = self.request.order;
        let direct = self.request.is_direct();
        let (first, most) =
            if direct { (ROWS_FIRST, ROWS_MAX) } else { (RECORDS_FIRST, RECORDS_MAX) };
        self.opened += usize::from(before.is_none());
        self.held = self.held.saturating_sub(before.map_or(0, |read| read.found.capacity()));
        let share = if self.held < HELD { HELD / self.opened.max(1) } else { 0 };
        let rows = before.map_or(first, |read| read.rows * 2).min(most).min(share).max(ROWS_MIN);
        self.request.account = from.account;
        self.request.after = from.position.previous(order);
        let positions = view.positions(&self.request, usize::MAX, rows)?;
        let found = VecDeque::from(positions.found);
        self.held += found.capacity();
        let cost = if direct { found.len() } else { rows.max(positions.cost) * RECORD_COST };
        let from = positions.next.and_then(|reached| reached.next(order));
        Ok((Read { found, from, rows }, cost + RANGE_COST * self.ranges))
    }

    /// The calls that come next, and match, in one slice of reading.
    pub fn calls(
        &mut self,
        view: &View,
        most: usize,
    ) -> Result<Vec<(AcrossPosition, Listed)>, StoreError> {
        let places = self.go_on(view, most)?;
        view.calls_at(&self.request, &places)
    }

    /// Counts some of the calls that are left, in no order and in one slice of reading.
    pub fn count_some(&mut self, view: &View) -> Result<u64, StoreError> {
        let order = self.request.order;
        let (mut count, mut cost) = (0, 0);
        while cost < SLICE_COST {
            let Some(Head { key, read }) = self.heads.pop() else { break };
            let mut place = key.place(order);
            let from = read.as_deref().map_or(Some(place.position), |read| read.from);
            count += read.as_deref().map_or(0, |read| read.found.len() as u64);
            let Some(from) = from else { continue };
            place.position = from;
            let (mut looked, costs) = self.look(view, place, read.as_deref())?;
            count += looked.found.len() as u64;
            cost += costs;
            looked.found.clear();
            if let Some(position) = looked.from {
                let key = Key::new(AcrossPosition { position, ..place }, order);
                self.heads.push(Head { key, read: Some(Box::new(looked)) });
            }
        }
        Ok(count)
    }

    /// The question that is asked of each account: what stands at a place is read by it.
    pub fn request(&self) -> &ListRequest {
        &self.request
    }
}

/// Where the calls of an account begin that are still to be listed; none where there are none.
fn begin(
    one: ScopedAccount,
    request: &ListRequest,
    after: Option<AcrossPosition>,
) -> Option<Position> {
    let order = request.order;
    let (first, end) = request.filter.bounds();
    let first = first.max(one.newest);
    let after = match after {
        None => None,
        Some(AcrossPosition { position, account }) => {
            let comes_later = match order {
                Order::NewestFirst => one.account > account,
                Order::OldestFirst => one.account < account,
            };
            Some(if comes_later { position } else { position.next(order)? })
        }
    };
    match order {
        Order::NewestFirst => {
            let from = after.map_or(first, |after| after.max(first));
            Some(from).filter(|from| end.is_none_or(|end| *from < end))
        }
        Order::OldestFirst => {
            let last = end.map_or(Some(Position::MAX), |end| end.next(order))?;
            let from = after.map_or(last, |after| after.min(last));
            Some(from).filter(|from| *from >= first)
        }
    }
}

impl View {
    /// The calls at some places of a list, in the order of the places. What has gone since they were found, or
    /// does not match any more, is left out.
    pub fn calls_at(
        &self,
        list: &ListRequest,
        places: &[AcrossPosition],
    ) -> Result<Vec<(AcrossPosition, Listed)>, StoreError> {
        let mut sorted: Vec<_> = places.iter().enumerate().collect();
        sorted.sort_by_key(|(_, place)| (place.account, place.position));
        let mut found = Vec::with_capacity(places.len());
        for own in sorted.chunk_by(|(_, a), (_, b)| a.account == b.account) {
            let Some((_, first)) = own.first() else { continue };
            let account = first.account;
            let request = ListRequest { account, after: None, ..list.clone() };
            let plan = Plan::of(&request);
            let positions: Vec<Position> = own.iter().map(|(_, place)| place.position).collect();
            let _reading = self.readers.begin();
            let rows = self.index()?.rows_at(account, &positions);
            let rows = rows.map_err(|error| self.index_failed(&error))?;
            let registry = self.registry.read();
            let listed = own.iter().zip(rows).filter_map(|((n, place), row)| {
                let id = CallId { account, sid: place.position.sid };
                // What the registry knows of a call counts.
                let listed = match registry.get(id) {
                    Some(entry) => {
                        let call = entry.call().filter(|call| Position::of(call) == place.position);
                        Listed::Call(call?.clone())
                    }
                    None => Listed::Row(
                        row.filter(|row| plan.ranges.iter().any(|range| row.stands_in(range)))?,
                    ),
                };
                Some((*n, **place, listed))
            });
            let listed: Vec<_> = listed.collect();
            drop(registry);
            for (n, place, mut listed) in listed {
                // The rows of an exact plan match.
                if !plan.exact || matches!(listed, Listed::Call(_)) {
                    let call = self.unpacked(listed)?;
                    if !request.filter.matches(&call) {
                        continue;
                    }
                    listed = Listed::Call(call);
                }
                found.push((n, (place, listed)));
            }
        }
        found.sort_by_key(|(n, _)| *n);
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }
}

/// A count of the calls of several accounts, one after the other.
pub struct CountingAcross {
    request: ListRequest,
    /// What is counted of one.
    of_one: fn(&ListRequest) -> Counting,
    left: std::vec::IntoIter<AccountSid>,
    current: Option<Counting>,
    count: u64,
    standing: [StatusCount; 2],
    by_time: Option<CountsByTime>,
}

impl CountingAcross {
    /// How many calls a list has from its beginning.
    pub fn of_list(accounts: &[ScopedAccount], filter: Filter) -> Self {
        Self::new(accounts, filter, Counting::of_list)
    }

    /// How the calls of a list stand from its beginning.
    pub fn of_standing(accounts: &[ScopedAccount], filter: Filter) -> Self {
        Self::new(accounts, filter, Counting::of_standing)
    }

    /// How many calls are active. Those that have none are not looked into.
    pub fn of_live(view: &View, accounts: &[ScopedAccount]) -> Self {
        let known = view.live_known.load(std::sync::atomic::Ordering::Acquire);
        let may_have = |one: &&ScopedAccount| !known || view.meter.live_of(one.account) > 0;
        let accounts: Vec<_> = accounts.iter().filter(may_have).copied().collect();
        Self::new(&accounts, Filter::default(), |request| Counting::of_live(request.account))
    }

    fn new(
        accounts: &[ScopedAccount],
        filter: Filter,
        of_one: fn(&ListRequest) -> Counting,
    ) -> Self {
        let account = AccountSid::from_bytes([0; 16]);
        let request = ListRequest { account, filter, order: Order::NewestFirst, after: None };
        let own = accounts.iter().filter(|one| begin(**one, &request, None).is_some());
        let left = own.map(|one| one.account).collect::<Vec<_>>().into_iter();
        let (count, standing, by_time) = Default::default();
        Self { request, of_one, left, current: None, count, standing, by_time }
    }

    /// The calls are counted by the time of listing as well.
    #[must_use]
    pub fn with_times(self, by_time: CountsByTime) -> Self {
        Self { by_time: Some(by_time), ..self }
    }

    /// What was counted by time.
    pub fn by_time(&self) -> Option<&CountsByTime> {
        self.by_time.as_ref()
    }

    /// How many there are, so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How they stand: inbound, outbound.
    pub fn standing(&self) -> [StatusCount; 2] {
        self.standing
    }

    /// How many of them have a status: inbound, outbound.
    pub fn with_status(&self) -> [u64; 2] {
        self.standing.map(|of| of.statuses.iter().sum())
    }

    /// One slice more. True once everything was counted.
    pub fn go_on(&mut self, view: &View) -> Result<bool, StoreError> {
        let begun = self.count;
        for _ in 0..SLICE_COUNTS {
            if self.current.is_none() {
                let Some(account) = self.left.next() else { return Ok(true) };
                self.request.account = account;
                let mut counting = (self.of_one)(&self.request);
                if let Some(by_time) = self.by_time.take() {
                    counting.count_by_time(by_time);
                }
                self.current = Some(counting);
            }
            let Some(current) = &mut self.current else { continue };
            if !current.go_on(view)? {
                // This one has many calls.
                return Ok(false);
            }
            self.count += current.count();
            self.by_time = current.by_time();
            for (sum, of) in self.standing.iter_mut().zip(current.standing()) {
                sum.add(of);
            }
            self.current = None;
            if self.count - begun >= SLICE_COST as u64 || !self.request.is_direct() {
                break;
            }
        }
        Ok(self.current.is_none() && self.left.len() == 0)
    }
}
