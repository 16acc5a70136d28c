//! What is sent to one target, and when: hooks of one call one after the other, others beside each other.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};

use super::age::Ages;
use super::attempt::{Destination, FailedAttempt};
use super::pace::{Pace, pause};
use crate::access::Account;
use crate::clock;
use crate::config::Forward;
use crate::domain::{CallSid, Timestamp, counted};
use crate::meter::TargetMetrics;
use crate::outbound::Client;
use crate::random;
use crate::store::{
    ForwardProgress, FoundHooks, HookHead, HookLookup, HookOrigin, HookReader, Span, Store,
    StoreError, chain,
};

/// Hooks that are read ahead.
const AHEAD: usize = 1024;
/// Hooks that are held, those among them whose attempts have failed. With as many nothing more is read until one
/// is delivered or set aside.
const HELD_MAX: usize = 8192;
/// Sids of all hooks that are held.
const SIDS_MAX: usize = 4 * HELD_MAX;
/// How often it is looked whether hooks are too old.
const AGE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a look at the store that failed rests.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Time between two lines of the log that say the same.
const SAY_AGAIN: Duration = Duration::from_mins(1);
/// Hooks that are remembered by their messages.
const KNOWN_MAX: usize = 8192;

/// What is sent to one target.
pub(super) struct Target {
    name: String,
    store: Arc<Store>,
    client: Arc<Client>,
    destination: Arc<Destination>,
    metrics: Arc<TargetMetrics>,
    progress: Arc<Mutex<ForwardProgress>>,
    longest: Duration,
    ages: Arc<Ages>,
    pace: Pace,
    held: BTreeMap<u64, HeldHook>,
    /// The hooks of each call, in their order.
    calls: HashMap<CallSid, BTreeSet<u64>>,
    /// Sids of all hooks that are held.
    weight: usize,
    /// Hooks that may be sent once their time has come.
    due: BTreeSet<(Instant, u64)>,
    attempts: JoinSet<Attempted>,
    /// The hook of each attempt that is under way.
    sent: HashMap<Id, u64>,
    known: KnownHooks,
    /// Where the reading of each span has stopped, by its end.
    readers: HashMap<Option<u64>, HookReader>,
    /// When the store is asked again after an error.
    rests_until: Option<Instant>,
    aged_at: Option<Instant>,
    aside: u64,
    said_aside: Option<Instant>,
    said_unread: Option<Instant>,
}

/// The hooks that were read last, by what has brought them: one that is in the log twice is sent once.
#[derive(Default)]
struct KnownHooks {
    numbers: HashMap<HookOrigin, u64>,
    /// The oldest first.
    order: VecDeque<HookOrigin>,
}

impl KnownHooks {
    /// The other number that it is known by: the first one counts.
    fn first_of(&mut self, head: &HookHead) -> Option<u64> {
        let origin = head.origin?;
        match self.numbers.entry(origin) {
            Entry::Occupied(known) => Some(*known.get()).filter(|first| *first != head.number),
            Entry::Vacant(unknown) => {
                unknown.insert(head.number);
                self.order.push_back(origin);
                if self.order.len() > KNOWN_MAX
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.numbers.remove(&oldest);
                }
                None
            }
        }
    }

    /// From now on another number of it counts as the first.
    fn replace(&mut self, head: &HookHead) {
        if let Some(known) = head.origin.and_then(|origin| self.numbers.get_mut(&origin)) {
            *known = head.number;
        }
    }
}

/// A hook that is held.
struct HeldHook {
    head: HookHead,
    /// From when on its age counts.
    since: Timestamp,
    failures: u32,
    /// It is being sent.
    under_way: bool,
    /// Further numbers of it. Another node may have it under one of them alone, so it is done with all of them together.
    again: Vec<u64>,
}

impl HeldHook {
    /// All numbers of it.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        self.again.iter().copied().chain([self.head.number])
    }
}

/// What became of an attempt.
enum Attempted {
    Delivered,
    Failed(FailedAttempt),
    /// A call of it was deleted, or it is not in the journal any more.
    Gone,
    /// It is somewhere else in the journal.
    Moved,
    /// The store cannot say now.
    Unknown(StoreError),
}

impl Target {
    pub fn new(
        name: String,
        settings: &Forward,
        store: Arc<Store>,
        client: Arc<Client>,
        destination: Arc<Destination>,
        progress: Arc<Mutex<ForwardProgress>>,
        ages: Arc<Ages>,
    ) -> Self {
        let metrics = store.meter().forward.target(&name);
        Self {
            name,
            store,
            client,
            destination,
            metrics,
            progress,
            longest: settings.retry_max,
            ages,
            pace: Pace::new(settings.concurrency, settings.retry_max),
            held: BTreeMap::new(),
            calls: HashMap::new(),
            weight: 0,
            due: BTreeSet::new(),
            attempts: JoinSet::new(),
            sent: HashMap::new(),
            known: KnownHooks::default(),
            readers: HashMap::new(),
            rests_until: None,
            aged_at: None,
            aside: 0,
            said_aside: None,
            said_unread: None,
        }
    }

    /// Sends until it is told to stop, and then waits for what is under way.
    pub async fn run(mut self, mut stopped: watch::Receiver<()>) {
        let wake = self.store.forward_wake(&self.name);
        self.find_held().await;
        loop {
            let more = self.fill().await;
            self.give_up_old();
            self.note_oldest();
            self.destination.close_idle();
            if !self.store.forward_paused() {
                self.start_attempts();
            }
            let wakes_at = self.wakes_at(more);
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                Some(ended) = self.attempts.join_next_with_id() => self.settle(ended).await,
                () = wake.notified() => {}
                () = tokio::time::sleep_until(wakes_at.into()) => {}
            }
        }
        while let Some(ended) = self.attempts.join_next_with_id().await {
            self.settle(ended).await;
        }
        self.destination.close();
    }

    /// When there is something to do without anybody saying so.
    fn wakes_at(&self, more: bool) -> Instant {
        let now = Instant::now();
        if more {
            return now;
        }
        let mut at = now + AGE_INTERVAL;
        if let Some(until) = self.rests_until {
            at = at.min(until);
        }
        let waits = !self.store.forward_paused();
        if let Some((due, _)) = self.due.first().filter(|_| waits) {
            // What is due already waits for an attempt to end, or for a target that is down.
            let due = if self.pace.admits(self.attempts.len(), now.max(*due)) { *due } else { at };
            at = at.min(due);
            if let Some(probe) = self.pace.next().filter(|_| self.attempts.is_empty()) {
                at = at.min(probe);
            }
        }
        at
    }

    /// Finds what was held when the process ended last.
    async fn find_held(&mut self) {
        let held: Vec<(u64, Option<u64>)> = self.progress.lock().held().collect();
        if held.is_empty() {
            return;
        }
        let numbers: Vec<u64> = held.iter().map(|(number, _)| *number).collect();
        let again: HashMap<u64, Option<u64>> = held.into_iter().collect();
        let heads = loop {
            match self.locate(numbers.clone()).await {
                Ok(heads) => break heads,
                Err(error) => self.say_unread(&error),
            }
            tokio::time::sleep(STORE_PAUSE).await;
        };
        let audience = self.progress.lock().audience.clone();
        let found: BTreeSet<u64> = heads.iter().map(|head| head.number).collect();
        for head in heads {
            if audience.has_hook(&head) {
                let again = again.get(&head.number).copied().flatten();
                self.take_one(head, again);
            } else {
                self.progress.lock().done(head.number);
            }
        }
        let gone = numbers.into_iter().filter(|number| !found.contains(number));
        gone.for_each(|number| self.progress.lock().done(number));
    }

    async fn locate(&self, numbers: Vec<u64>) -> Result<Vec<HookHead>, StoreError> {
        let store = self.store.clone();
        let found = tokio::task::spawn_blocking(move || store.find_hooks(&numbers)).await;
        found.unwrap_or(Err(StoreError::Closing))
    }

    /// Reads on, while there is room. Says whether there may be more to read at once.
    async fn fill(&mut self) -> bool {
        if self.rests_until.is_some_and(|until| Instant::now() < until) || !self.has_room() {
            return false;
        }
        self.rests_until = None;
        let (span, audience) = {
            let progress = self.progress.lock();
            (progress.next_span(), progress.audience.clone())
        };
        let Some(span) = span else { return false };
        if let Some(found) = self.store.recent_hooks(span, &audience, AHEAD / 4) {
            return self.take(span, found);
        }
        let mut reader = self.readers.remove(&span.to).unwrap_or_default();
        let store = self.store.clone();
        let read = move || {
            let found = store.read_hooks(&mut reader, span, &audience, AHEAD / 4);
            (reader, found)
        };
        let Ok((reader, found)) = tokio::task::spawn_blocking(read).await else { return false };
        match found {
            Ok(found) => {
                self.readers.insert(span.to, reader);
                self.take(span, found)
            }
            Err(error) => {
                self.say_unread(&error);
                self.rests_until = Some(Instant::now() + STORE_PAUSE);
                false
            }
        }
    }

    fn take(&mut self, span: Span, found: FoundHooks) -> bool {
        let FoundHooks { hooks, read_to, is_all } = found;
        {
            let mut progress = self.progress.lock();
            progress.advance(span, read_to, hooks.iter().map(|head| head.number));
            if is_all && span.to.is_none() && progress.next_span().is_none_or(|s| s.to.is_none()) {
                progress.is_read();
            }
        }
        for head in hooks {
            self.take_one(head, span.again);
        }
        let ended = span.to.is_some_and(|to| read_to >= to);
        if ended {
            self.readers.remove(&span.to);
        }
        (ended || !is_all) && self.has_room()
    }

    /// Holds a hook, unless it was delivered under another number. `again` is when it was asked for again.
    fn take_one(&mut self, head: HookHead, again: Option<u64>) {
        let Some(first) = self.known.first_of(&head) else { return self.hold(head, again) };
        match self.held.get_mut(&first) {
            Some(held) if held.again.contains(&head.number) => {}
            Some(held) => held.again.push(head.number),
            // It was set aside, as far as is known: it gets another try.
            None if self.progress.lock().needs(first) => {
                self.known.replace(&head);
                self.hold(head, again);
            }
            None => self.progress.lock().done(head.number),
        }
    }

    /// Whether more may be read: what only waits for its next attempt leaves room for others.
    fn has_room(&self) -> bool {
        let ahead = if self.pace.is_down() { AHEAD / 4 } else { AHEAD };
        let waiting = self.held.values().filter(|held| held.failures == 0).count();
        waiting < ahead && self.held.len() < HELD_MAX && self.weight < SIDS_MAX
    }

    fn hold(&mut self, head: HookHead, again: Option<u64>) {
        let number = head.number;
        let again = again.and_then(Timestamp::from_millis);
        let since = again.map_or(head.at, |again| again.max(head.at));
        if let Some(held) = self.held.get_mut(&number) {
            held.since = held.since.max(since);
            return;
        }
        for call in &head.calls {
            self.calls.entry(*call).or_default().insert(number);
        }
        self.weight += head.sids();
        let held = HeldHook { head, since, failures: 0, under_way: false, again: Vec::new() };
        self.held.insert(number, held);
        if self.is_first(number) {
            self.due.insert((Instant::now(), number));
        }
    }

    /// Whether no other hook of its calls is before it.
    fn is_first(&self, number: u64) -> bool {
        let Some(held) = self.held.get(&number) else { return false };
        held.head.calls.iter().all(|call| {
            self.calls.get(call).is_none_or(|all| all.first().is_none_or(|first| *first == number))
        })
    }

    /// Lets go of a hook, and lets the next ones of its calls be sent.
    fn release(&mut self, number: u64) -> Option<HeldHook> {
        let held = self.held.remove(&number)?;
        self.weight = self.weight.saturating_sub(held.head.sids());
        let mut next = BTreeSet::new();
        for call in &held.head.calls {
            let Some(all) = self.calls.get_mut(call) else { continue };
            all.remove(&number);
            match all.first() {
                Some(first) => drop(next.insert(*first)),
                None => drop(self.calls.remove(call)),
            }
        }
        let now = Instant::now();
        for number in next {
            if self.is_first(number) && self.held.get(&number).is_some_and(|held| !held.under_way) {
                self.due.insert((now, number));
            }
        }
        Some(held)
    }

    /// Sets hooks aside that have waited for too long.
    fn give_up_old(&mut self) {
        let now = Instant::now();
        if self.store.forward_paused()
            || self.aged_at.is_some_and(|at| now.duration_since(at) < AGE_INTERVAL)
        {
            return;
        }
        self.aged_at = Some(now);
        let Some(least) = self.ages.least(clock::now()) else { return };
        let old = self.held.iter().filter(|(_, held)| held.since < least && !held.under_way);
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        for number in old {
            // One that is read late has had no attempt of its own, and the target was tried with others.
            self.due.retain(|(_, due)| *due != number);
            if let Some(held) = self.release(number) {
                let mut progress = self.progress.lock();
                held.numbers().for_each(|number| progress.set_aside(number));
            }
            self.metrics.set_aside.inc();
            self.aside += 1;
        }
        let says = self.said_aside.is_none_or(|at| now.duration_since(at) >= SAY_AGAIN);
        if self.aside > 0 && says {
            let why = self.metrics.state().why.unwrap_or_default();
            let (target, hooks) = (self.name.as_str(), self.aside);
            tracing::error!(
                target_name = target,
                hooks,
                why,
                "webhooks could not be passed on within forward.max_age and were set aside; \
                 `rollcall forward retry {target}` sends them again"
            );
            (self.aside, self.said_aside) = (0, Some(now));
        }
    }

    fn note_oldest(&self) {
        self.metrics.set_oldest(self.held.values().map(|held| held.head.at).min());
    }

    /// Begins as many attempts as may be under way.
    fn start_attempts(&mut self) {
        let now = Instant::now();
        while let Some(&(due, number)) = self.due.first() {
            // While it is down its own pause counts, and not those of hooks.
            if (due > now && !self.pace.is_down()) || !self.pace.admits(self.attempts.len(), now) {
                return;
            }
            self.due.pop_first();
            // One before it may have been asked for again meanwhile: then its turn comes with the end of that.
            if !self.is_first(number) {
                continue;
            }
            let Some(held) = self.held.get_mut(&number).filter(|held| !held.under_way) else {
                continue;
            };
            held.under_way = true;
            let head = held.head.clone();
            let (store, client) = (self.store.clone(), self.client.clone());
            let (destination, metrics) = (self.destination.clone(), self.metrics.clone());
            let task = self
                .attempts
                .spawn(async move { attempt(store, &client, &destination, &metrics, head).await });
            self.sent.insert(task.id(), number);
        }
    }

    /// Takes the result of an attempt.
    async fn settle(&mut self, ended: Result<(Id, Attempted), JoinError>) {
        let (task, attempted) = match ended {
            Ok((task, attempted)) => (task, attempted),
            // It panicked, which the log says.
            Err(error) => (error.id(), Attempted::Unknown(StoreError::Closing)),
        };
        let Some(number) = self.sent.remove(&task) else { return };
        if let Some(held) = self.held.get_mut(&number) {
            held.under_way = false;
        }
        match attempted {
            Attempted::Delivered => self.delivered(number),
            Attempted::Gone => self.gone(number),
            Attempted::Failed(failed) => self.failed(number, failed),
            Attempted::Moved => self.find_again(number).await,
            Attempted::Unknown(error) => {
                self.say_unread(&error);
                self.due.insert((Instant::now() + STORE_PAUSE, number));
            }
        }
    }

    /// It is not there any more, or a call of it is not.
    fn gone(&mut self, number: u64) {
        if let Some(held) = self.release(number) {
            self.done(&held);
        }
        self.metrics.gone.inc();
    }

    fn done(&self, held: &HeldHook) {
        let mut progress = self.progress.lock();
        held.numbers().for_each(|number| progress.done(number));
    }

    fn delivered(&mut self, number: u64) {
        let Some(held) = self.release(number) else { return };
        self.done(&held);
        let now = clock::now();
        self.metrics.delivered.inc();
        let delay = now.millis().saturating_sub(held.head.at.millis());
        self.metrics.delay.observe_time(Duration::from_millis(delay));
        self.metrics.change(|state| {
            state.down_since = None;
            state.why = None;
            state.last_delivered_at = Some(now);
        });
        if self.pace.is_failing() {
            tracing::info!(target_name = self.name, "the target of webhooks answers again");
        }
        if self.pace.succeeded() {
            // What failed while it was down waits no longer for that.
            let now = Instant::now();
            let due = std::mem::take(&mut self.due);
            self.due = due.into_iter().map(|(at, number)| (at.min(now), number)).collect();
        }
    }

    fn failed(&mut self, number: u64, failed: FailedAttempt) {
        let now = Instant::now();
        self.metrics.failed(failed.how);
        let refused = Some(number).filter(|_| failed.of_hook);
        let began = self.pace.failed(refused, now, random::share());
        if let Some(held) = self.held.get_mut(&number) {
            held.failures = held.failures.saturating_add(1);
            let after = pause(held.failures, self.longest, random::share());
            self.due.insert((now + after, number));
        }
        let why = failed.why.clone();
        self.metrics.change(|state| {
            state.why = Some(failed.why);
            if began {
                state.down_since = Some(clock::now());
            }
        });
        if began {
            let waiting = counted(self.held.len() as u64, "webhook");
            tracing::warn!(
                target_name = self.name,
                why,
                waiting,
                "the target of webhooks fails; it is tried again now and then, and what is for it is kept"
            );
        } else {
            tracing::debug!(target_name = self.name, why, "a webhook was not passed on");
        }
    }

    /// The journal was packed: looks for all hooks that stood where this one stood.
    async fn find_again(&mut self, number: u64) {
        let numbers: Vec<u64> = self.held.keys().copied().collect();
        match self.locate(numbers).await {
            Ok(heads) => {
                let mut found = BTreeSet::new();
                for head in heads {
                    found.insert(head.number);
                    if let Some(held) = self.held.get_mut(&head.number) {
                        held.head = head;
                    }
                }
                if found.contains(&number) {
                    self.due.insert((Instant::now(), number));
                } else {
                    self.gone(number);
                }
            }
            Err(error) => {
                self.say_unread(&error);
                self.due.insert((Instant::now() + STORE_PAUSE, number));
            }
        }
    }

    /// Says once a minute what keeps the store from answering.
    fn say_unread(&mut self, error: &StoreError) {
        let now = Instant::now();
        let says = self.said_unread.is_none_or(|at| now.duration_since(at) >= SAY_AGAIN);
        if says && !matches!(error, StoreError::Closing) {
            self.said_unread = Some(now);
            let error = chain(error);
            tracing::warn!(
                target_name = self.name,
                error,
                "webhooks that are to be passed on cannot be read now; trying again"
            );
        }
    }
}

/// Reads a hook and sends it, unless a call of it was deleted.
async fn attempt(
    store: Arc<Store>,
    client: &Client,
    destination: &Destination,
    metrics: &TargetMetrics,
    head: HookHead,
) -> Attempted {
    let read = {
        let (store, head) = (store.clone(), head.clone());
        move || {
            if !store.has_calls_of(head.account, &head.calls)? {
                return Ok(None);
            }
            store.hook_content(&head).map(Some)
        }
    };
    let content = match tokio::task::spawn_blocking(read).await {
        Err(_) => return Attempted::Unknown(StoreError::Closing),
        Ok(Err(error)) => return Attempted::Unknown(error),
        Ok(Ok(None)) => return Attempted::Gone,
        Ok(Ok(Some(HookLookup::Moved))) => return Attempted::Moved,
        Ok(Ok(Some(HookLookup::Found(content)))) => content,
    };
    let secret = store.access(|access| {
        access.account(head.account).and_then(|account: &Account| account.webhook_secret.clone())
    });
    if secret.is_none() {
        metrics.unsigned.inc();
    }
    let _on_its_way = store.hook_on_its_way(head.delivery_id());
    match destination.send(client, &head, content, secret.as_ref(), clock::now()).await {
        Ok(()) => Attempted::Delivered,
        Err(failed) => Attempted::Failed(failed),
    }
}
