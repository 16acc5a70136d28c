//! Permits to read. What takes long is read in slices of about a millisecond, and each slice waits for
//! its turn, so that no reader waits for the whole of what another wants.
//!
//! **Fair.** The account that has used least is next, and within it the token that has: start-time
//! fair queueing (Goyal, Vin, Cheng 1996), weighted by the time that slices have taken. An account
//! that was quiet begins where the others are, and neither earlier nor later. So many questions
//! of one token take the turns of its own account, however many they are.
//!
//! **Space for others.** There are as many slots as processors, two at least. An account that has used
//! more than its [`LEAK`] of a processor lately never gets the last one for a slice that may take
//! long: else all processors could be in the midst of such slices when another client comes.
//!
//! **No client is waited for.** A turn belongs to the work and ends with it. A client that leaves while
//! it waits is passed over.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::store::Scope;

/// What a slice is taken to use until it is measured, in microseconds.
const EXPECTED: u64 = 500;
/// The part of a processor that an account may use without ever being taken for a heavy one.
const LEAK: u32 = 4;
/// What it may use at once besides that, in microseconds.
const BURST: u64 = 20_000;
/// Accounts that are remembered before those that are quiet are looked for.
const REMEMBERED: usize = 1024;

/// Who wants to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flow {
    /// Whose calls.
    pub scope: Scope,
    /// Stands for the token.
    pub token: u64,
}

/// Who is at it, and who waits.
#[derive(Debug)]
pub struct ReadConcurrency {
    slots: usize,
    state: Mutex<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    /// How far the account has come whose turn was last, or all of them where none has a turn.
    now: u64,
    /// How far any has come.
    most: u64,
    /// Slots in use, and who waits for one.
    taken: usize,
    waiting: usize,
    accounts: HashMap<Scope, AccountQueue>,
}

#[derive(Debug)]
struct AccountQueue {
    /// What it has used, on the scale of [`QueueState::now`].
    used: u64,
    /// The same for the token of the account whose turn was last.
    now: u64,
    tokens: HashMap<u64, TokenQueue>,
    /// Turns that it has, and that it waits for.
    running: usize,
    waiting: usize,
    /// Microseconds that it used lately, as of some time: they leak away.
    recent: u64,
    as_of: Instant,
}

#[derive(Debug, Default)]
struct TokenQueue {
    used: u64,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    short: bool,
    turn: oneshot::Sender<ReadPermit>,
}

/// The right to read one slice, given back when this is dropped.
#[derive(Debug)]
pub(super) struct ReadPermit {
    turns: Arc<ReadConcurrency>,
    flow: Flow,
    begun: Instant,
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.begun);
        self.turns.give_back(self.flow, took, now);
    }
}

impl ReadConcurrency {
    /// As many at a time as there are processors.
    pub fn new() -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(processors.max(2))
    }

    fn of(slots: usize) -> Arc<Self> {
        Arc::new(Self { slots, state: Mutex::default() })
    }

    /// Waits for one's turn. A short slice is one that is read at once, in a fraction of a
    /// millisecond.
    pub(super) async fn take(self: &Arc<Self>, flow: Flow, short: bool) -> ReadPermit {
        loop {
            let (turn, waits) = oneshot::channel();
            self.wait(flow, Waiter { short, turn }, Instant::now());
            // A waiter that still waits is never dropped.
            if let Ok(turn) = waits.await {
                return turn;
            }
        }
    }

    fn wait(self: &Arc<Self>, flow: Flow, waiter: Waiter, now: Instant) {
        let mut state = self.state.lock();
        state.forget_quiet(now);
        let others = state.now;
        let account = state.accounts.entry(flow.scope).or_insert_with(|| AccountQueue::new(now));
        if account.is_idle() {
            account.used = account.used.max(others);
        }
        let others = account.now;
        let token = account.tokens.entry(flow.token).or_default();
        if token.queue.is_empty() {
            token.used = token.used.max(others);
        }
        token.queue.push_back(waiter);
        account.waiting += 1;
        state.waiting += 1;
        self.give_on(state, now);
    }

    fn give_back(self: &Arc<Self>, flow: Flow, took: Duration, now: Instant) {
        let mut locked = self.state.lock();
        let state = &mut *locked;
        state.taken = state.taken.saturating_sub(1);
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        if let Some(account) = state.accounts.get_mut(&flow.scope) {
            account.running = account.running.saturating_sub(1);
            account.leak(now);
            account.recent = account.recent.saturating_add(took);
            let used_after = |used: u64| used.saturating_add(took).saturating_sub(EXPECTED);
            account.used = used_after(account.used);
            if let Some(token) = account.tokens.get_mut(&flow.token) {
                token.used = used_after(token.used);
            }
            let behind = account.now;
            account.tokens.retain(|_, token| !token.queue.is_empty() || token.used > behind);
            if account.is_idle() {
                account.tokens.clear();
                account.now = 0;
            }
            state.most = state.most.max(account.used);
        }
        if state.taken == 0 && state.waiting == 0 {
            state.now = state.most;
        }
        self.give_on(locked, now);
    }

    /// Gives free slots to those who wait.
    fn give_on(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, QueueState>, now: Instant) {
        // What cannot be sent is dropped once the state is free: that gives the slot back.
        let mut unwanted = Vec::new();
        while state.taken < self.slots {
            let last = state.taken + 1 == self.slots;
            let Some((flow, waiter)) = state.next(last, now) else { break };
            if waiter.turn.is_closed() {
                continue;
            }
            state.start(flow);
            let turn = ReadPermit { turns: self.clone(), flow, begun: now };
            if let Err(turn) = waiter.turn.send(turn) {
                unwanted.push(turn);
            }
        }
        drop(state);
    }

    /// How many wait.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.state.lock().waiting
    }
}

impl QueueState {
    /// Takes the next who may have a slot out of the queue.
    fn next(&mut self, last_slot: bool, now: Instant) -> Option<(Flow, Waiter)> {
        let mut best: Option<(u64, Scope)> = None;
        for (scope, account) in &mut self.accounts {
            if account.waiting == 0 || best.is_some_and(|(used, _)| used <= account.used) {
                continue;
            }
            account.leak(now);
            let heavy = account.recent > BURST;
            if !(last_slot && heavy) || account.next_token().is_some_and(|(_, short)| short) {
                best = Some((account.used, *scope));
            }
        }
        let (used, scope) = best?;
        let account = self.accounts.get_mut(&scope)?;
        let (token, _) = account.next_token()?;
        let of = account.tokens.get_mut(&token)?;
        let waiter = of.queue.pop_front()?;
        account.now = account.now.max(of.used);
        account.waiting -= 1;
        self.waiting = self.waiting.saturating_sub(1);
        self.now = self.now.max(used);
        Some((Flow { scope, token }, waiter))
    }

    /// A slice begins.
    fn start(&mut self, flow: Flow) {
        self.taken += 1;
        if let Some(account) = self.accounts.get_mut(&flow.scope) {
            account.running += 1;
            account.used = account.used.saturating_add(EXPECTED);
            if let Some(token) = account.tokens.get_mut(&flow.token) {
                token.used = token.used.saturating_add(EXPECTED);
            }
        }
    }

    /// Forgets accounts that have nothing to make up for.
    fn forget_quiet(&mut self, now: Instant) {
        if self.accounts.len() < REMEMBERED {
            return;
        }
        let others = self.now;
        self.accounts.retain(|_, account| {
            account.leak(now);
            !account.is_idle() || account.used > others || account.recent > 0
        });
    }
}

impl AccountQueue {
    fn new(now: Instant) -> Self {
        let tokens = HashMap::new();
        Self { used: 0, now: 0, tokens, running: 0, waiting: 0, recent: 0, as_of: now }
    }

    fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting == 0
    }

    fn leak(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of) / LEAK;
        let leaked = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        if leaked > 0 {
            self.recent = self.recent.saturating_sub(leaked);
            self.as_of = now;
        }
    }

    /// The token whose turn is next, and whether it wants a short slice.
    fn next_token(&self) -> Option<(u64, bool)> {
        let waiting = self.tokens.iter().filter_map(|(token, of)| {
            let first = of.queue.front()?;
            Some((of.used, *token, first.short))
        });
        waiting.min_by_key(|(used, ..)| *used).map(|(_, token, short)| (token, short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AccountSid;

    fn flow(account: u8, token: u64) -> Flow {
        Flow { scope: Scope::Account(AccountSid::from_bytes([account; 16])), token }
    }

    /// A client that waits for turns, one after another.
    struct Client {
        flow: Flow,
        short: bool,
        waits: oneshot::Receiver<ReadPermit>,
    }

    impl Client {
        fn new(turns: &Arc<ReadConcurrency>, flow: Flow, short: bool, now: Instant) -> Self {
            let (turn, waits) = oneshot::channel();
            turns.wait(flow, Waiter { short, turn }, now);
            Self { flow, short, waits }
        }

        /// Ends the turn that it has, if it has one, as of a time, and waits for another.
        fn goes_on(&mut self, turns: &Arc<ReadConcurrency>, took: Duration, now: Instant) -> bool {
            let Ok(turn) = self.waits.try_recv() else { return false };
            let again = Self::new(turns, self.flow, self.short, now);
            turns.give_back(turn.flow, took, now);
            std::mem::forget(turn);
            *self = again;
            true
        }
    }

    /// How many microseconds each of some flows has had after a while.
    fn shares(slots: usize, flows: &[(Flow, u64)], rounds: usize) -> Vec<u64> {
        let turns = ReadConcurrency::of(slots);
        let begun = Instant::now();
        let mut now = begun;
        let mut clients: Vec<_> =
            flows.iter().map(|(flow, _)| Client::new(&turns, *flow, false, begun)).collect();
        let mut used = vec![0; flows.len()];
        for _ in 0..rounds {
            now += Duration::from_millis(1);
            for (n, client) in clients.iter_mut().enumerate() {
                let took = flows[n].1;
                if client.goes_on(&turns, Duration::from_micros(took), now) {
                    used[n] += took;
                }
            }
        }
        used
    }

    #[test]
    fn a_many_of_one_account_takes_no_more_than_its_share() {
        let mut flows: Vec<_> = (0..32).map(|_| (flow(1, 1), 1000)).collect();
        flows.push((flow(2, 2), 1000));
        let used = shares(2, &flows, 4000);
        let (other, many) = (used[32], used[..32].iter().sum::<u64>());
        assert!(other * 5 > many * 4, "{other} beside {many}");
    }

    #[test]
    fn a_reader_of_longer_slices_gets_fewer_of_them() {
        let flows =
            [(flow(1, 1), 4000), (flow(2, 2), 1000), (flow(2, 2), 1000), (flow(2, 2), 1000)];
        let used = shares(2, &flows, 8000);
        let (slow, quick) = (used[0], used[1..].iter().sum::<u64>());
        assert!(slow * 2 > quick && slow < quick * 2, "{slow} beside {quick}");
    }

    #[test]
    fn tokens_of_one_account_share_its_turns() {
        let mut flows: Vec<_> = (0..16).map(|_| (flow(1, 1), 1000)).collect();
        flows.push((flow(1, 2), 1000));
        flows.push((flow(2, 3), 1000));
        let used = shares(2, &flows, 8000);
        let (many, beside, other) = (used[..16].iter().sum::<u64>(), used[16], used[17]);
        assert!(beside * 5 > many * 4, "{beside} beside {many}");
        assert!(other * 3 > many + beside, "{other} beside {many} and {beside}");
    }

    #[test]
    fn a_heavy_account_leaves_the_last_slot_to_others_and_to_what_is_short() {
        let turns = ReadConcurrency::of(2);
        let begun = Instant::now();
        let mut first = Client::new(&turns, flow(1, 1), false, begun);
        let mut second = Client::new(&turns, flow(1, 1), false, begun);
        assert!(first.goes_on(&turns, Duration::from_millis(50), begun));
        assert!(second.goes_on(&turns, Duration::from_millis(50), begun));
        // It has used much: one slot is all that it gets.
        let turn = first.waits.try_recv().unwrap();
        assert!(second.waits.try_recv().is_err());
        let mut short = Client::new(&turns, flow(1, 2), true, begun);
        let its = short.waits.try_recv().expect("what is short may have the last");
        std::mem::forget(its);
        turns.give_back(short.flow, Duration::from_micros(100), begun);
        let mut other = Client::new(&turns, flow(2, 3), false, begun);
        assert!(other.goes_on(&turns, Duration::from_millis(1), begun));
        drop((turn, first, second, short, other));
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_passed_over() {
        let turns = ReadConcurrency::of(2);
        let held = [turns.take(flow(1, 1), false).await, turns.take(flow(1, 1), false).await];
        let left: Vec<_> = (0..5).map(|_| Box::pin(turns.take(flow(2, 2), false))).collect();
        let mut left: Vec<_> = left;
        for waiter in &mut left {
            assert!(futures_util::poll!(waiter.as_mut()).is_pending());
        }
        assert_eq!(turns.waiting(), 5);
        let mut stays = Box::pin(turns.take(flow(3, 3), false));
        assert!(futures_util::poll!(stays.as_mut()).is_pending());
        drop(left);
        drop(held);
        let turn = stays.await;
        assert_eq!(turns.waiting(), 0);
        drop(turn);
        let state = turns.state.lock();
        assert_eq!(state.taken, 0);
        drop(state);
    }

    #[test]
    fn quiet_accounts_are_forgotten() {
        let turns = ReadConcurrency::of(2);
        let begun = Instant::now();
        for n in 0..3 * REMEMBERED {
            let mut sid = [0; 16];
            sid[..8].copy_from_slice(&n.to_be_bytes());
            let flow = Flow { scope: Scope::Account(AccountSid::from_bytes(sid)), token: 1 };
            let now = begun + Duration::from_millis(10 * n as u64);
            let mut client = Client::new(&turns, flow, true, now);
            let turn = client.waits.try_recv().unwrap();
            turns.give_back(flow, Duration::from_micros(EXPECTED), now);
            std::mem::forget(turn);
        }
        assert!(turns.state.lock().accounts.len() <= REMEMBERED + 1);
    }
}
