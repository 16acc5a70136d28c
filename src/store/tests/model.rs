//! The store against a map, under random changes, crashes and damage.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::RandomState;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use tempfile::TempDir;

use super::drawn::{
    ACCOUNTS, CALL_IDS, CALLS, Damage, Do, Look, NUMBERS, PARENT, Step, look, step, time,
};
use super::*;
use crate::access::{Account, Keep, SettingRow};
use crate::domain::{Search, merge};

/// Changes that a deleted call is told of before another takes its place: else all are soon deleted,
/// and the store has nothing to do.
const DEAF: u8 = 2;

/// What the store should hold.
#[derive(Default, Clone)]
struct StoreModel {
    calls: BTreeMap<CallId, Call>,
    deleted: BTreeSet<CallId>,
    /// Of each call by its numbers, how many were deleted before it, and what it was told of since it
    /// was deleted itself.
    lives: BTreeMap<(u8, u8), (u16, u8)>,
}

impl StoreModel {
    /// The call that has this number now.
    fn call(&self, account: u8, call: u8) -> CallId {
        let (life, _) = self.lives.get(&(account, call)).copied().unwrap_or_default();
        incarnation(account, call, life)
    }

    /// The same, where something happens to it.
    fn next_call(&mut self, account: u8, call: u8) -> CallId {
        if self.deleted.contains(&self.call(account, call)) {
            let (life, deaf) = self.lives.entry((account, call)).or_default();
            *deaf += 1;
            if *deaf > DEAF {
                (*life, *deaf) = (*life + 1, 0);
            }
        }
        self.call(account, call)
    }

    /// Does it here, and says what the store is to be told and how it will answer.
    fn apply(&mut self, id: CallId, change: &Do, at: Timestamp, told: &mut Outcome) -> Change {
        let deleted = self.deleted.contains(&id);
        let known = self.calls.get(&id);
        let text = |n: usize| Some(NUMBERS[n].into()).filter(|_| n > 0);
        let (change, new) = match *change {
            Do::Event { seconds, status, direction, from, to, call_ids } => {
                let mut event = event(id, status, time(seconds));
                event.direction = direction;
                event.texts[CallField::From as usize] = text(from);
                event.texts[CallField::To as usize] = text(to);
                // By some numbers the call has a trunk, and by one an application.
                event.texts[CallField::OriginatingSipTrunkName as usize] =
                    text(from).filter(|_| from > 2);
                event.texts[CallField::ApplicationSid as usize] = text(to).filter(|_| to == 4);
                let [own, other] = call_ids.map(|n| Some(CALL_IDS[n]).filter(|_| n > 0));
                event.texts[CallField::CallId as usize] = own.map(Into::into);
                let other = other.map(|id| ("sbc_callid".into(), format!("\"{id}\"").into()));
                event.extras.extend(other);
                if to == 1 {
                    event.texts[CallField::ParentCallSid as usize] =
                        Some(PARENT.to_string().into());
                }
                let merged = merge(known, event.clone(), at);
                (Change::Event(Box::new(event)), Some(merged))
            }
            Do::Record { seconds, status, to } => {
                let mut event = event(id, status, time(seconds));
                event.source = Source::Import;
                event.texts[CallField::To as usize] = text(to);
                let record = merge(None, event, at);
                let joined = known.map_or_else(|| record.clone(), |call| call.join(&record));
                (Change::Record(Arc::new(record)), Some(joined))
            }
            Do::Delete => {
                if known.is_some() {
                    self.calls.remove(&id);
                    self.deleted.insert(id);
                    told.changed += 1;
                } else {
                    told.ignored += 1;
                }
                return Change::Delete(id);
            }
            Do::Expire => {
                match known {
                    _ if deleted => told.ignored += 1,
                    Some(call) if !call.live() => {
                        self.calls.remove(&id);
                        self.deleted.insert(id);
                        told.changed += 1;
                    }
                    _ => told.unchanged += 1,
                }
                return Change::Expire(id);
            }
            Do::Stale { seconds } => {
                let quiet = known.filter(|c| c.live() && c.last_event_at() < time(seconds));
                let given_up = quiet.map(|call| call.clone().into_stale(at));
                let change = Change::Stale(id, time(seconds));
                if given_up.is_none() && !deleted {
                    told.unchanged += 1;
                    return change;
                }
                (change, given_up)
            }
        };
        match new {
            _ if deleted => told.ignored += 1,
            Some(new) if known == Some(&new) => told.unchanged += 1,
            Some(new) => {
                told.changed += u64::from(known.is_some());
                told.new += u64::from(known.is_none());
                let namesake = new.namesake || known.is_none() && self.has_namesake(id);
                self.calls.insert(id, Call { namesake, ..new });
            }
            None => {}
        }
        change
    }

    /// Whether another account had a call of this sid before.
    fn has_namesake(&self, id: CallId) -> bool {
        (1..=ACCOUNTS).map(account).filter(|account| *account != id.account).any(|account| {
            let other = CallId { account, ..id };
            let first = |call: &Call| !call.namesake;
            self.deleted.contains(&other) || self.calls.get(&other).is_some_and(first)
        })
    }

    fn list(&self, look: &Look) -> Vec<Call> {
        let ours = self.calls.values().filter(|call| call.id.account == account(look.account));
        let mut calls: Vec<_> = ours.filter(|c| look.filter.matches(c)).cloned().collect();
        calls.sort_by_key(Position::of);
        if !look.newest_first {
            calls.reverse();
        }
        calls
    }
}

impl StoreModel {
    fn standing(&self, look: &Look) -> [StatusCount; 2] {
        let mut standing = [StatusCount::default(); 2];
        for call in self.list(look) {
            let of = &mut standing[call.direction.value as usize];
            if call.stale {
                of.stale += 1;
            } else {
                of.statuses[call.progress.status as usize] += 1;
            }
        }
        standing
    }
}

/// A store and its model.
struct Bench {
    home: TempDir,
    round: u32,
    options: Options,
    store: Option<Store>,
    model: StoreModel,
    saved: bool,
    /// What a follower of the feed knows, and how far it has read.
    followed: BTreeMap<CallId, Call>,
    position: Option<FeedPosition>,
    /// Changes that were made and questions that were asked.
    operations: u64,
    /// Changes to calls, those of deleted calls, and questions of a store without calls.
    changes: u64,
    ignored: u64,
    idle: u64,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let options = options(&home.path().join("0"));
        let store = Some(open(options.clone()));
        Self {
            home,
            round: 0,
            options,
            store,
            model: StoreModel::default(),
            saved: false,
            followed: BTreeMap::new(),
            position: None,
            operations: 0,
            changes: 0,
            ignored: 0,
            idle: 0,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn take(&mut self, step: &Step) {
        self.operations += 1;
        match step {
            Step::Submit(changes) => {
                self.operations += changes.len() as u64;
                let at = clock::now();
                let mut told = Outcome::default();
                let changes: Vec<_> = changes
                    .iter()
                    .map(|(account, call, change)| {
                        let id = self.model.next_call(*account, *call);
                        self.model.apply(id, change, at, &mut told)
                    })
                    .collect();
                self.changes += changes.len() as u64;
                self.ignored += told.ignored;
                assert_eq!(patient(self.store(), || self.store().apply(&changes, at, false)), told);
            }
            Step::Checkpoint => wake(self.store()),
            Step::Seal(calls) => {
                let shared = &self.store().shared;
                for _ in 0..20 {
                    match checkpoint::seal(shared, clock::now(), *calls, false) {
                        Ok(true) => {}
                        Ok(false) | Err(StoreError::IndexUnavailable(..)) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            Step::Outage(batches, crash) => self.outage(batches, crash.as_ref()),
            Step::Collect => {
                patient(self.store(), || self.store().collect(Depth::Thorough));
            }
            Step::Retire(n) => self.retire(*n),
            // One that has been damaged is not copied.
            Step::Compact => match self.store().compact(&mut |_| {}) {
                Ok(_) | Err(StoreError::NotBuilt(_) | StoreError::IndexUnavailable(..)) => {}
                Err(error) => panic!("{error}"),
            },
            Step::Rebuild => {
                let calls = self.model.calls.len() as u64;
                assert_eq!(self.store().rebuild(&mut |_| {}).unwrap(), calls);
            }
            Step::Save => {
                let saved = self.home.path().join("saved");
                let _none = fs::remove_dir_all(&saved);
                let still = self.store().shared.index_writer.lock();
                copy_dir(&index_dir(&self.options.data_dir), &saved);
                drop(still);
                self.saved = true;
            }
            Step::Reopen { crash, damage, age, busy, space } => {
                self.options.live_checkpoint_age_millis = *age;
                self.options.checkpoint_interval =
                    if *busy { Duration::from_millis(3) } else { HOUR };
                self.options.registry_calls = *space;
                self.reopen(*crash, damage);
            }
        }
    }

    /// Without an index whatever is heard of calls is taken, as far as there is space in memory; the
    /// rest has to wait for it.
    fn outage(&mut self, batches: &[Vec<(u8, u8, Do)>], crash: Option<&Damage>) {
        let store = self.store.as_ref().unwrap();
        // Nothing is built while this is held.
        let still = store.shared.index_writer.lock();
        store.shared.view.set_index(Err("on purpose".to_owned()));
        for batch in batches {
            let at = clock::now();
            let (mut model, mut told) = (self.model.clone(), Outcome::default());
            let heard = batch
                .iter()
                .filter(|(.., change)| matches!(change, Do::Event { .. } | Do::Record { .. }));
            let changes: Vec<_> = heard
                .map(|(account, call, change)| {
                    let id = model.next_call(*account, *call);
                    model.apply(id, change, at, &mut told)
                })
                .collect();
            match store.submit(changes.clone(), at).unwrap().wait() {
                Ok(done) => {
                    self.model = model;
                    self.operations += changes.len() as u64;
                    let sum = |o: Outcome| o.new + o.changed + o.unchanged + o.ignored;
                    assert_eq!(sum(done), sum(told), "each of them was dealt with");
                }
                Err(StoreError::Busy) => assert!(self.options.registry_calls < 1000),
                Err(error) => panic!("{error}"),
            }
        }
        let Some(damage) = crash else {
            drop(still);
            until("the index is built again", || {
                store.shared.checkpointer.wake();
                store.ready().is_ok()
            });
            return;
        };
        self.round += 1;
        let image = self.home.path().join(self.round.to_string());
        fs::create_dir(&image).unwrap();
        crash_image(store, &image);
        drop(still);
        self.options.data_dir = image;
        drop(self.store.take());
        self.come_back(damage);
    }

    /// All calls of an account that are not up go.
    fn retire(&mut self, n: u8) {
        let keep = |keep| {
            let account = Account { keep, ..Account::new(account(n)) };
            let name = format!("account/{}", account.account_sid);
            Change::setting(SettingRow { name, json: serde_json::to_vec(&account).unwrap() })
        };
        let set = |keep_for| {
            let changes = [keep(keep_for)];
            patient(self.store(), || self.store().apply(&changes, clock::now(), false));
        };
        wake(self.store());
        set(Some(Keep::Millis(1)));
        let done = patient(self.store(), || self.store().collect(Depth::Usual));
        set(None);
        let over = |call: &Call| call.id.account == account(n) && !call.live();
        let gone: Vec<_> =
            self.model.calls.values().filter(|call| over(call)).map(|call| call.id).collect();
        assert_eq!(done.expired, gone.len() as u64);
        self.model.calls.retain(|_, call| !over(call));
        self.model.deleted.extend(gone);
    }

    /// A client that applies a snapshot and all changes knows what the store knows.
    fn follow(&mut self) {
        let store = self.store.as_ref().unwrap();
        let until = *store.published().borrow();
        let piece = FeedBudget { frames: 7, read: 1 << 20, bytes: 1 << 20 };
        loop {
            let begin = FeedPosition::Snapshot(until, None);
            let position = *self.position.get_or_insert_with(|| {
                self.followed.clear();
                begin
            });
            let Ok(mut feed) = store.feed(Reach::Everybody, position) else {
                // It is older than what the journal still has.
                assert_ne!(position, begin);
                self.position = None;
                continue;
            };
            while !feed.has_read(until) {
                self.operations += 1;
                for event in patient(store, || feed.next(store, until, piece)) {
                    match event.what {
                        What::Call(call) => drop(self.followed.insert(call.id, (*call).clone())),
                        What::Deleted(id) => drop(self.followed.remove(&id)),
                        What::SnapshotEnd => {}
                    }
                }
            }
            self.position = Some(feed.position());
            break;
        }
        assert_eq!(self.followed, self.model.calls);
    }

    fn reopen(&mut self, crash: bool, damage: &Damage) {
        if crash {
            self.round += 1;
            let image = self.home.path().join(self.round.to_string());
            fs::create_dir(&image).unwrap();
            crash_image(self.store(), &image);
            self.options.data_dir = image;
            drop(self.store.take());
        } else {
            self.store.take().unwrap().close().unwrap();
        }
        self.come_back(damage);
    }

    fn come_back(&mut self, damage: &Damage) {
        let dir = index_dir(&self.options.data_dir);
        let db = fs::OpenOptions::new().write(true).open(dir.join("db")).unwrap();
        let length = db.metadata().unwrap().len();
        let somewhere = |place: &Index| place.index(usize::try_from(length).unwrap()) as u64;
        match damage {
            Damage::Older if self.saved => {
                fs::remove_dir_all(&dir).unwrap();
                copy_dir(&self.home.path().join("saved"), &dir);
            }
            Damage::None | Damage::Rebuild | Damage::Older => {}
            Damage::Deleted => fs::remove_dir_all(&dir).unwrap(),
            Damage::Forgotten => fs::remove_file(self.options.data_dir.join("CURRENT")).unwrap(),
            Damage::Truncated(place) => db.set_len(somewhere(place)).unwrap(),
            Damage::Noise(place) => {
                let noise: Vec<u8> = (0..64).map(|n: u8| n.wrapping_mul(151) ^ 0x5a).collect();
                db.write_all_at(&noise, somewhere(place)).unwrap();
            }
        }
        if let Damage::Noise(_) = damage {
            // A store that was closed in order is not looked through when it is opened.
            let lock = self.options.data_dir.join("LOCK");
            fs::File::create(lock).unwrap().write_all(b"pid 1\n").unwrap();
        }
        let rebuild = matches!(damage, Damage::Rebuild);
        self.store = Some(open(Options { rebuild, ..self.options.clone() }));
    }

    fn compare(&mut self, look: &Look) {
        self.follow();
        self.operations += 5 + u64::from(CALLS);
        self.idle += u64::from(self.model.calls.is_empty());
        let store = self.store();
        let order = if look.newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let (account, filter) = (account(look.account), look.filter.clone());
        let request = ListRequest { account, filter, order, after: None };
        let calls = patient(store, || list(store, &request, look.limit));
        let calls: Vec<Call> = calls.iter().map(|call| (**call).clone()).collect();
        assert_eq!(calls, self.model.list(look));
        let count = patient(store, || counted(store, Counting::of_list(&request)));
        assert_eq!(count.count(), calls.len() as u64);
        let places = patient(store, || places(store, &request, look.limit));
        assert_eq!(places, calls.iter().map(Position::of).collect::<Vec<_>>());
        let of_each =
            (1..=ACCOUNTS).map(|account| self.model.list(&Look { account, ..look.clone() }));
        let of_each: Vec<_> = of_each.collect();
        patient(store, || {
            across::is_the_merge(store, &look.filter, order, look.limit, of_each.clone())
        });
        let times = Filter { start: look.filter.start, end: look.filter.end, ..Filter::default() };
        let of_times = Look { filter: times.clone(), ..look.clone() };
        let request = ListRequest { filter: times, ..request };
        let standing = patient(store, || counted(store, Counting::of_standing(&request)));
        assert_eq!(standing.standing(), self.model.standing(&of_times));
        self.compare_statistics(look, standing.count());
        let mut live = [0_u64, 0];
        let mut accounts: Vec<AccountSid> = Vec::new();
        for call in self.model.calls.values() {
            live[call.direction.value as usize] +=
                u64::from(call.live() && call.id.account == account);
            accounts.push(call.id.account);
        }
        assert_eq!(patient(store, || live_calls(store, account)), live);
        if store.shared.view.live_known.load(Ordering::Acquire) {
            let kept = store.meter().live_of(account);
            assert_eq!(kept, live.iter().sum::<u64>(), "the count that is kept of {account}");
        }
        accounts.dedup();
        let mut found = Vec::new();
        while let Some(next) = patient(store, || store.next_account(found.last().copied())) {
            found.push(next);
        }
        assert!(found.is_sorted() && accounts.iter().all(|a| found.contains(a)), "{found:?}");
        for call in 0..CALLS {
            let id = self.model.call(look.account, call);
            let have = patient(store, || store.call(id));
            assert_eq!(have.as_deref(), self.model.calls.get(&id));
        }
        // The figures are exact while the checkpointer stands still.
        until("all are counted", || store.status().calls == Some(self.model.calls.len() as u64));
    }
}

impl Bench {
    /// Statistics are those of the calls, looked at one by one.
    fn compare_statistics(&self, look: &Look, calls: u64) {
        let store = self.store();
        let filters = [
            Filter { start: look.filter.start, end: look.filter.end, ..Filter::default() },
            Filter {
                statuses: look.filter.statuses.clone(),
                directions: look.filter.directions.clone(),
                stale: look.filter.stale,
                start: look.filter.start,
                end: look.filter.end,
                search: Search {
                    answered: look.filter.search.answered,
                    application_sid: look.filter.search.application_sid.clone(),
                    ..Search::default()
                },
                ..Filter::default()
            },
        ];
        for filter in filters {
            assert!(filter.is_of_kinds());
            for group in [&[][..], &look.group] {
                let request = AggregateRequest {
                    accounts: [ScopedAccount::of(account(look.account))].into(),
                    filter: filter.clone(),
                    interval: look.interval,
                    zone: look.zone.clone(),
                    group: group.to_vec(),
                    top: look.top,
                    now: clock::now(),
                };
                // Every number begins so.
                let every = Filter { from_prefix: vec![String::new()], ..filter.clone() };
                let one_by_one = AggregateRequest { filter: every, ..request.clone() };
                let found = patient(store, || aggregated(store, &request));
                let expected = patient(store, || aggregated(store, &one_by_one));
                assert_eq!(found, expected, "{request:?}");
                if filter.statuses.is_empty()
                    && filter.directions.is_empty()
                    && filter.stale.is_none()
                    && filter.search == Search::default()
                {
                    assert_eq!(found.0.calls, calls);
                }
            }
            let accounts = (1..=ACCOUNTS).map(|n| ScopedAccount::of(account(n))).collect();
            let of_all = AggregateRequest {
                accounts,
                filter: filter.clone(),
                interval: look.interval,
                zone: look.zone.clone(),
                group: look.group.clone(),
                top: look.top,
                now: clock::now(),
            };
            let every = Filter { from_prefix: vec![String::new()], ..filter.clone() };
            let one_by_one = AggregateRequest { filter: every, ..of_all.clone() };
            let found = patient(store, || aggregated(store, &of_all));
            let expected = patient(store, || aggregated(store, &one_by_one));
            assert_eq!(found, expected, "{of_all:?}");
            let (order, after) = (Order::NewestFirst, None);
            let account = account(look.account);
            let request = ListRequest { account, filter: filter.clone(), order, after };
            let standing = patient(store, || counted(store, Counting::of_standing(&request)));
            let of_look = Look { filter, ..look.clone() };
            assert_eq!(standing.standing(), self.model.standing(&of_look));
            let count = patient(store, || counted(store, Counting::of_list(&request)));
            assert_eq!(count.count(), self.model.list(&of_look).len() as u64);
        }
    }
}

type Statistics = (Figures, Vec<(Group, Figures)>, Option<(usize, Figures)>, Vec<Bucket>);

fn aggregated(store: &Store, request: &AggregateRequest) -> Result<Statistics, StoreError> {
    let mut counting = Aggregating::new(request.clone()).unwrap();
    while !counting.go_on(store)? {}
    let counted = counting.finish().unwrap();
    let mut buckets: Vec<Bucket> = Vec::new();
    while let Some(bucket) = counted.bucket(buckets.last().map(|bucket| bucket.end)) {
        buckets.push(bucket);
    }
    Ok((counted.total, counted.groups, counted.other, buckets))
}

/// `MODEL_CASES` says how many runs there are, and `MODEL_CHANGES` how many changes come at once.
#[test]
fn the_store_is_a_map_whatever_happens_to_its_index() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
    };
    let seed = number("TRIAL_SEED", std::hash::BuildHasher::hash_one(&RandomState::new(), 0));
    let cases = u32::try_from(number("MODEL_CASES", 24)).unwrap();
    let most = usize::try_from(number("MODEL_CHANGES", 12)).unwrap();
    let config = ProptestConfig {
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let all = std::cell::Cell::new([0; 5]);
    let begun = Instant::now();
    let run = |steps: Vec<(Step, Look)>| {
        let mut bench = Bench::new();
        for (step, look) in &steps {
            bench.take(step);
            bench.compare(look);
        }
        patient(bench.store(), || bench.store().check(&|_| {}));
        assert_sound(bench.store());
        wake(bench.store());
        assert_sound(bench.store());
        bench.store.take().unwrap().close().unwrap();
        let Bench { operations, changes, ignored, idle, .. } = bench;
        let of_run = [operations, changes, ignored, steps.len() as u64, idle];
        all.set(std::array::from_fn(|n| all.get()[n] + of_run[n]));
        Ok(())
    };
    let told =
        TestRunner::new_with_rng(config, random).run(&vec((step(most), look()), 10..60), run);
    if let Err(error) = told {
        panic!("again: TRIAL_SEED={seed} MODEL_CASES={cases} MODEL_CHANGES={most}: {error}");
    }
    let [operations, changes, ignored, looks, idle] = all.get();
    eprintln!(
        "seed {seed}: {cases} runs, {operations} operations in {:.0?}: {changes} changes, {ignored} of \
         them of deleted calls, and {looks} looks at everything, {idle} of them at nothing",
        begun.elapsed()
    );
    assert!(operations > u64::from(cases) * 300, "{operations}");
    // It would be easy to be right about a store that is empty.
    assert!(ignored * 3 < changes && idle * 5 < looks);
}
