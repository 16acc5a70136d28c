//! One connection, from login to loss: what Redis reports, and what a look through all calls finds.
//!
//! **Commands are sent ahead.** Redis answers in order, so what each answer is for stands in a queue. One
//! task does everything; while events wait for the disk it goes on noting what Redis reports, which is a
//! set of calls and so bounded by how many there are.
//!
//! **A change that is found is reported, too.** The read of a look through all calls may be answered
//! before Redis reports the change that it shows. So what it found is held back until the answer to a
//! PING that was sent after it: what was reported until then is read again and has its time, and only
//! the rest is of unknown time.
//!
//! **Nothing is remembered as taken that is not on disk.** Where the store refuses events, their calls
//! are as they were read before, and are read again. What is then read long after it was reported is of
//! unknown time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::calls::{News, Reading, Remembered, Seen, call_of, is_wanted, key_of};
use super::connection::{ANSWER_MAX, Connection, Following, PREFIX, RedisError};
use super::pace::Pace;
use super::resp::Value;
use crate::clock;
use crate::config::MirrorRedis;
use crate::domain::{CallId, StampedEvent};
use crate::intake::Intake;
use crate::meter::MirrorMetrics;
use crate::store::{Change, StoreError};

/// Commands whose answers are waited for at a time.
const AHEAD_MAX: usize = 128;
/// Events of one submission.
const BATCH_MAX: usize = 500;
/// Changes that are noted before they are read. Beyond, all calls are looked through again.
const WAITING_MAX: usize = 1_000_000;
/// Keys that one SCAN looks at.
const SCAN_COUNT: &str = "100";
/// Time between two rounds of polling, where there is time for them.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// New calls that one command of polling answers.
const NEW_MAX: usize = 1000;
/// How far back polling looks for new calls: clocks differ, and a call is entered after its time.
const NEW_BACK: Duration = Duration::from_secs(5);
/// The same at first: those are read as found, so that none is missed whose server's clock is behind.
const FIRST_BACK: Duration = Duration::from_mins(1);
/// A change that is read later than that after it was reported may be older than it looks: its time is
/// unknown.
const LIVE_MAX: Duration = Duration::from_secs(10);
/// Silence after which Redis is asked whether it is still there.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long the mirror waits where the store takes nothing.
const REFUSED_PAUSE: Duration = Duration::from_millis(500);
/// The sorted set of jambonz: calls by the time of their first 100 Trying, in milliseconds.
pub(super) const NEW_CALLS: &str = "active-call-sids";

/// What the answer to a command is for.
enum Awaited {
    /// The hash of a call that Redis has reported.
    Changed(CallId, Instant),
    /// The hash of a call that is to be polled: whether its state is seen as it comes.
    Polled(CallId, bool),
    /// The hash of a call that a look through all calls came by.
    Found(CallId),
    Scan,
    /// New calls; the least score that was asked for.
    New,
    /// What was found before it has not been reported by now.
    Fence,
    Ping,
}

/// A look through all calls.
#[derive(Default)]
struct Reconcile {
    /// Where SCAN goes on; none once it has come around.
    cursor: Option<Vec<u8>>,
    /// A SCAN is on its way.
    scanning: bool,
    /// Calls that are still to be read.
    calls: VecDeque<CallId>,
    /// Reads on their way.
    reading: usize,
}

/// Events on their way to the disk.
struct Submitted {
    durable: BoxFuture<'static, Result<(), StoreError>>,
    /// Each call, and what there is to know where its event is refused.
    calls: Vec<(CallId, Undo)>,
}

#[derive(Clone, Copy)]
struct Undo {
    before: Option<Remembered>,
    /// When the change was reported.
    reported: Option<Instant>,
    /// It was found by a look through all calls.
    found: bool,
}

pub(super) struct Follower<'a> {
    pub settings: &'a MirrorRedis,
    pub service_url: &'a str,
    pub intake: &'a Intake,
    pub seen: &'a mut Seen,
    pub connection: Connection,
    pace: Pace,
    awaited: VecDeque<Awaited>,
    /// Reported calls that are still to be read, in order, and since when.
    changed: VecDeque<(CallId, Instant)>,
    waiting: HashSet<CallId>,
    polled: VecDeque<(CallId, bool)>,
    reconcile: Option<Reconcile>,
    reconcile_at: Instant,
    /// Then all calls are to be looked through again, also those that the present round has passed.
    again_at: Option<Instant>,
    poll_at: Option<Instant>,
    /// The newest score of [`NEW_CALLS`] that was answered.
    newest: Option<u64>,
    /// They were answered once: one that is not known is new.
    asked_new: bool,
    /// Found, and not known yet whether also reported; the second ones before the fence on its way.
    held: HashMap<CallId, News>,
    fenced: HashMap<CallId, News>,
    fence: bool,
    batch: Vec<(News, Option<Instant>)>,
    submitted: Option<Submitted>,
    /// The store takes nothing until then.
    paused: Option<Instant>,
    heard: Instant,
}

impl<'a> Follower<'a> {
    pub fn new(
        settings: &'a MirrorRedis,
        service_url: &'a str,
        intake: &'a Intake,
        seen: &'a mut Seen,
        connection: Connection,
        following: &'a Following,
    ) -> Self {
        let now = Instant::now();
        Self {
            settings,
            service_url,
            intake,
            seen,
            connection,
            pace: Pace::new(settings.max_commands),
            awaited: VecDeque::new(),
            changed: VecDeque::new(),
            waiting: HashSet::new(),
            polled: VecDeque::new(),
            reconcile: None,
            reconcile_at: now,
            again_at: None,
            poll_at: matches!(following, Following::Polling { .. }).then_some(now),
            newest: None,
            asked_new: false,
            held: HashMap::new(),
            fenced: HashMap::new(),
            fence: false,
            batch: Vec::new(),
            submitted: None,
            paused: None,
            heard: now,
        }
    }

    fn meter(&self) -> &MirrorMetrics {
        &self.intake.store().meter().mirror
    }

    /// Follows until the connection is lost.
    pub async fn run(mut self) -> RedisError {
        let error = loop {
            if let Err(error) = self.turn().await {
                break error;
            }
        };
        self.leave_out(&error);
        // What was read has its time, which would be unknown if it were found later.
        let ending = tokio::time::timeout(ANSWER_MAX, async {
            while self.paused.is_none() && (self.submitted.is_some() || !self.batch.is_empty()) {
                self.submit();
                let durable = done(&mut self.submitted).await;
                self.stored(durable);
            }
        });
        let _in_time = ending.await;
        let submitted = self.submitted.take().map(|submitted| submitted.calls).unwrap_or_default();
        let submitted = submitted.into_iter().map(|(call, undo)| (call, undo.before));
        let left = self.batch.iter().map(|(news, _)| (news.event.id, news.before));
        self.seen.undo(submitted.chain(left));
        error
    }

    /// Has no more to do with a call whose answer was too large: the next connection would be lost by it
    /// as well.
    fn leave_out(&mut self, error: &RedisError) {
        if !error.is_of_size() || self.connection.has_push() {
            return;
        }
        let Some(Awaited::Changed(call, _) | Awaited::Polled(call, _) | Awaited::Found(call)) =
            self.awaited.front()
        else {
            return;
        };
        let call = *call;
        self.seen.leave_out(call);
        self.meter().unreadable.inc();
        tracing::warn!(
            account = %call.account, call = %call.sid,
            "a call in Redis is larger than any answer may be, and is left out"
        );
    }

    /// Sends what may be sent, and waits for the next thing to happen.
    async fn turn(&mut self) -> Result<(), RedisError> {
        let now = Instant::now();
        while let Some(push) = self.connection.take_push() {
            self.pushed(&push);
        }
        self.begin(now);
        self.submit();
        let wake = self.ask(now);
        self.connection.flush().await?;
        let (meter, waiting) = (self.meter(), self.changed.len() + self.polled.len());
        meter.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        meter.remembered.set(i64::try_from(self.seen.len()).unwrap_or(i64::MAX));
        tokio::select! {
            durable = done(&mut self.submitted) => self.stored(durable),
            value = self.connection.next() => {
                self.heard = Instant::now();
                self.take(value?)?;
                while let Some(value) = self.connection.buffered()? {
                    self.take(value)?;
                }
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        let silent = self.heard.elapsed();
        if !self.awaited.is_empty() && silent >= ANSWER_MAX + SILENCE_MAX {
            return Err(RedisError::Late { place: self.connection.place().to_owned() });
        }
        Ok(())
    }

    /// Begins what is due.
    fn begin(&mut self, now: Instant) {
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
        }
        let finished = self.reconcile.as_ref().is_some_and(|reconcile| {
            reconcile.cursor.is_none()
                && !reconcile.scanning
                && reconcile.calls.is_empty()
                && reconcile.reading == 0
        });
        if finished && self.held.is_empty() && !self.fence {
            self.reconcile = None;
            self.reconcile_at = now + self.settings.reconcile_interval;
            self.seen.end_round();
            self.meter().reconciled(clock::now());
        }
        if self.reconcile.is_none() {
            if let Some(at) = self.again_at.take() {
                self.reconcile_at = self.reconcile_at.min(at);
            }
            if self.reconcile_at <= now {
                self.seen.begin_round();
                self.reconcile =
                    Some(Reconcile { cursor: Some(b"0".to_vec()), ..Reconcile::default() });
            }
        }
        let polls = self.polled.is_empty()
            && !self.awaited.iter().any(|one| matches!(one, Awaited::Polled(..) | Awaited::New));
        if self.poll_at.is_some_and(|at| at <= now) && polls {
            self.poll_at = Some(now + POLL_INTERVAL);
            self.polled.extend(self.seen.active().into_iter().map(|call| (call, true)));
            self.ask_new();
        }
    }

    /// Asks for what may be asked for now. When there is more to ask without anything happening.
    fn ask(&mut self, now: Instant) -> Instant {
        let mut wake = now + SILENCE_MAX;
        for due in [Some(self.reconcile_at), self.poll_at, self.paused].into_iter().flatten() {
            if due > now {
                wake = wake.min(due);
            }
        }
        if !self.held.is_empty() && !self.fence && self.poll_at.is_none() {
            self.fenced = std::mem::take(&mut self.held);
            self.fence = true;
            self.send(Awaited::Fence, &[b"PING"]);
        }
        // What cannot be stored is not read.
        let full = || self.paused.is_some() || self.batch.len() >= BATCH_MAX;
        if full() {
            return wake;
        }
        while self.awaited.len() < AHEAD_MAX
            && let Some((call, since)) = self.changed.pop_front()
        {
            self.waiting.remove(&call);
            self.send_read(call, Awaited::Changed(call, since));
        }
        while self.awaited.len() < AHEAD_MAX && (self.has_more()) {
            if let Err(later) = self.pace.take(now) {
                return wake.min(later);
            }
            self.ask_one();
        }
        if self.awaited.is_empty() && self.heard.elapsed() >= SILENCE_MAX {
            self.send(Awaited::Ping, &[b"PING"]);
        }
        wake
    }

    /// Whether something is to be asked that has to keep the pace.
    fn has_more(&self) -> bool {
        !self.polled.is_empty()
            || self.reconcile.as_ref().is_some_and(|reconcile| {
                !reconcile.calls.is_empty() || (reconcile.cursor.is_some() && !reconcile.scanning)
            })
    }

    fn ask_one(&mut self) {
        if let Some((call, live)) = self.polled.pop_front() {
            return self.send_read(call, Awaited::Polled(call, live));
        }
        let Some(reconcile) = &mut self.reconcile else { return };
        if let Some(call) = reconcile.calls.pop_front() {
            reconcile.reading += 1;
            return self.send_read(call, Awaited::Found(call));
        }
        if let Some(cursor) = reconcile.cursor.take() {
            reconcile.scanning = true;
            let pattern = format!("{PREFIX}*");
            let words: [&[u8]; 6] =
                [b"SCAN", &cursor, b"MATCH", pattern.as_bytes(), b"COUNT", SCAN_COUNT.as_bytes()];
            self.send(Awaited::Scan, &words);
        }
    }

    fn ask_new(&mut self) {
        let back = |from: u64, by: Duration| {
            from.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX))
        };
        let least = match self.newest {
            Some(newest) => back(newest, NEW_BACK),
            None => back(clock::now().millis(), FIRST_BACK),
        };
        // While nothing is reported, the answer to this says which of those that were found are new.
        self.fenced.extend(std::mem::take(&mut self.held));
        self.fence = true;
        let (least, most) = (least.to_string(), NEW_MAX.to_string());
        let words: [&[u8]; 8] = [
            b"ZRANGEBYSCORE",
            NEW_CALLS.as_bytes(),
            least.as_bytes(),
            b"+inf",
            b"WITHSCORES",
            b"LIMIT",
            b"0",
            most.as_bytes(),
        ];
        self.send(Awaited::New, &words);
    }

    fn send_read(&mut self, call: CallId, awaited: Awaited) {
        self.send(awaited, &[b"HGETALL", key_of(call).as_bytes()]);
    }

    fn send(&mut self, awaited: Awaited, words: &[&[u8]]) {
        self.connection.put(words);
        self.awaited.push_back(awaited);
        self.meter().commands.inc();
    }

    /// A push, or the answer to the command that has waited longest.
    fn take(&mut self, value: Value) -> Result<(), RedisError> {
        if let Value::Push(push) = value {
            self.pushed(&push);
            return Ok(());
        }
        let place = || self.connection.place().to_owned();
        let Some(awaited) = self.awaited.pop_front() else {
            let found = value.to_string();
            return Err(RedisError::Unexpected { place: place(), command: "nothing", found });
        };
        let command = match awaited {
            Awaited::Changed(..) | Awaited::Polled(..) | Awaited::Found(_) => "HGETALL",
            Awaited::Scan => "SCAN",
            Awaited::New => "ZRANGEBYSCORE",
            Awaited::Fence | Awaited::Ping => "PING",
        };
        if let Value::Error(why) = &value {
            // A key of another kind is no call; all else would go on like that.
            let is_other = why.starts_with("WRONGTYPE");
            if !is_other {
                return Err(RedisError::Refused { place: place(), command, why: why.clone() });
            }
        }
        match awaited {
            Awaited::Changed(call, since) => {
                self.held.remove(&call);
                self.fenced.remove(&call);
                if let Some(news) = self.read(call, &value, since.elapsed() <= LIVE_MAX) {
                    self.put(news, Some(since));
                }
            }
            Awaited::Polled(call, live) => {
                if let Some(news) = self.read(call, &value, live) {
                    self.put(news, None);
                }
            }
            Awaited::Found(call) => {
                if let Some(reconcile) = &mut self.reconcile {
                    reconcile.reading = reconcile.reading.saturating_sub(1);
                }
                if let Some(news) = self.read(call, &value, false)
                    && !self.waiting.contains(&call)
                {
                    self.held.insert(call, news);
                }
            }
            Awaited::Scan => self.scanned(&value)?,
            Awaited::New => {
                self.new_calls(&value);
                self.pass_fence();
            }
            Awaited::Fence => self.pass_fence(),
            Awaited::Ping => {}
        }
        Ok(())
    }

    /// What a hash says that was not known.
    fn read(&mut self, call: CallId, value: &Value, live: bool) -> Option<News> {
        let live = live.then(clock::moment);
        match self.seen.read(call, value, live, clock::now(), self.service_url) {
            Ok(Reading::News(news)) => Some(*news),
            Ok(Reading::Nothing) => None,
            Err(error) => {
                self.meter().unreadable.inc();
                let (account, call) = (call.account, call.sid);
                tracing::debug!(%account, %call, %error, "a call in Redis cannot be read");
                None
            }
        }
    }

    /// What was found before it is not seen as it comes: its time is unknown.
    fn pass_fence(&mut self) {
        self.fence = false;
        for (_, news) in std::mem::take(&mut self.fenced) {
            self.put(news, None);
        }
    }

    fn put(&mut self, news: News, reported: Option<Instant>) {
        self.seen.remember(&news);
        self.batch.push((news, reported));
    }

    /// Redis reports keys that have changed, or, with nothing in their place, that it was emptied.
    fn pushed(&mut self, push: &[Value]) {
        let [kind, keys, ..] = push else { return };
        if kind.text() != Some(b"invalidate") {
            return;
        }
        let since = Instant::now();
        for call in keys.texts().into_iter().flatten().filter_map(call_of) {
            if !is_wanted(&self.settings.accounts, call.account) || self.seen.leaves_out(call) {
                continue;
            }
            self.held.remove(&call);
            self.fenced.remove(&call);
            if self.changed.len() >= WAITING_MAX {
                self.again_at = Some(since);
            } else if self.waiting.insert(call) {
                self.changed.push_back((call, since));
            }
        }
    }

    fn scanned(&mut self, value: &Value) -> Result<(), RedisError> {
        let wrong = || RedisError::Unexpected {
            place: self.connection.place().to_owned(),
            command: "SCAN",
            found: value.to_string(),
        };
        let Value::Array(parts) = value else { return Err(wrong()) };
        let [cursor, keys] = &parts[..] else { return Err(wrong()) };
        let cursor = cursor.text().ok_or_else(wrong)?.to_vec();
        let accounts = &self.settings.accounts;
        let calls = keys.texts().into_iter().flatten().filter_map(call_of);
        let calls: Vec<_> = calls.filter(|call| is_wanted(accounts, call.account)).collect();
        let Some(reconcile) = &mut self.reconcile else { return Ok(()) };
        reconcile.scanning = false;
        reconcile.cursor = (cursor != b"0").then_some(cursor);
        let polls = self.poll_at.is_some();
        for call in calls {
            // Polling reads what is known.
            if self.seen.wants(call) && !(polls && self.seen.knows(call)) {
                reconcile.calls.push_back(call);
            }
        }
        Ok(())
    }

    fn new_calls(&mut self, value: &Value) {
        let first = !std::mem::replace(&mut self.asked_new, true);
        let Value::Array(items) = value else { return };
        let now = clock::now().millis();
        // RESP3 has a list of pairs, RESP2 one of members and scores in turn.
        let pairs: Vec<(&[u8], &[u8])> = match items.first() {
            Some(Value::Array(_)) => items
                .iter()
                .filter_map(|pair| {
                    let Value::Array(pair) = pair else { return None };
                    pair.first().and_then(Value::text).zip(pair.get(1).and_then(Value::text))
                })
                .collect(),
            _ => items
                .chunks_exact(2)
                .filter_map(|pair| {
                    pair.first().and_then(Value::text).zip(pair.get(1).and_then(Value::text))
                })
                .collect(),
        };
        for (member, score) in &pairs {
            let score = std::str::from_utf8(score).ok().and_then(|text| text.parse::<f64>().ok());
            if let Some(score) = score.filter(|score| (0.0..9.0e15).contains(score)) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it is within these bounds"
                )]
                // A clock that is ahead hides no call that another server enters.
                let score = (score as u64).min(now);
                self.newest = self.newest.max(Some(score));
            }
            let Some(call) = call_of(member) else { continue };
            let known = self.seen.knows(call) || self.seen.leaves_out(call);
            if is_wanted(&self.settings.accounts, call.account) && !known {
                if !first {
                    self.held.remove(&call);
                    self.fenced.remove(&call);
                }
                self.polled.push_back((call, !first));
            }
        }
    }

    /// Hands the batch to the store, unless one is on its way.
    fn submit(&mut self) {
        if self.submitted.is_some() || self.batch.is_empty() || self.paused.is_some() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let undo = |(news, reported): &(News, Option<Instant>)| {
            let (before, found) = (news.before, news.event.stamp.at.is_none());
            (news.event.id, Undo { before, reported: *reported, found })
        };
        let calls = batch.iter().map(undo).collect();
        let events: Vec<StampedEvent> = batch.into_iter().map(|(news, _)| news.event).collect();
        let meter = self.intake.store().meter();
        events.iter().flat_map(|event| &event.unread).for_each(|field| meter.unread(field));
        let changes = events.into_iter().map(|event| Change::Event(Box::new(event))).collect();
        let durable = self.intake.submit(changes, clock::now()).map(|done| done.map(drop)).boxed();
        self.submitted = Some(Submitted { durable, calls });
    }

    /// The store has answered.
    fn stored(&mut self, result: Result<(), StoreError>) {
        let Some(submitted) = self.submitted.take() else { return };
        let meter = &self.intake.store().meter().mirror;
        match result {
            Ok(()) => {
                meter.events.inc_by(submitted.calls.len() as u64);
                for (_, undo) in &submitted.calls {
                    meter.found.inc_by(u64::from(undo.found));
                    if let Some(since) = undo.reported {
                        meter.delay.observe_time(since.elapsed());
                    }
                }
                meter.taken(clock::now());
            }
            Err(error) => {
                tracing::debug!(%error, "the store takes nothing of the mirror");
                let now = Instant::now();
                self.paused = Some(now + REFUSED_PAUSE);
                let before = submitted.calls.iter().map(|(call, undo)| (*call, undo.before));
                self.seen.undo(before);
                for (call, undo) in submitted.calls {
                    if undo.found {
                        self.again_at = Some(now + REFUSED_PAUSE);
                    } else if self.waiting.insert(call) {
                        self.changed.push_back((call, undo.reported.unwrap_or(now)));
                    }
                }
            }
        }
    }
}

/// The answer of the store; never where nothing was handed to it.
async fn done(submitted: &mut Option<Submitted>) -> Result<(), StoreError> {
    match submitted {
        Some(submitted) => (&mut submitted.durable).await,
        None => std::future::pending().await,
    }
}
