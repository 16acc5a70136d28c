//! What a node knows of the servers, of the other nodes, and of how far the log reaches.
//!
//! Once a second it says how it is to all others, and hears them. Servers are looked at by the nodes that may ask their
//! monitors; each node passes on the newest that it knows of every server, so that what one of them has proven counts
//! though the node that has looked is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Node, Running};
use crate::clock;
use crate::cluster::{
    Bounds, Epoch, Heartbeat, Hints, LeaderClock, Log, Peers, Problem, Sameness, ServerReport,
    differing, two_of_a_name, unlike, verify,
};
use crate::codec::MESSAGE_VERSION;
use crate::domain::{Timestamp, counted};
use crate::store::chain;

use super::lag::Lag;
use super::level::RELEASE;

/// How often a node says how it is.
const BEAT: Duration = Duration::from_secs(1);
/// How often servers are looked at, and the same where something is wrong with them, or not known yet.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long it may be unknown how a server syncs, until the node that looks at it was heard.
const UNPROVEN_MAX: Duration = Duration::from_secs(30);
/// Pause before others are heard again, where that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages that a node may be behind, however few the log has.
const BEHIND_MIN: u64 = 10_000;
/// Nodes that are told to be missed.
const MISSED_MAX: usize = 16;
/// Servers of which reports are kept.
const SERVERS_MAX: usize = 16;

/// What is known at a time.
pub(super) struct Health {
    pub peers: Peers,
    /// The newest of each server, and when it was looked at.
    pub reports: BTreeMap<String, (ServerReport, Instant)>,
    /// Why monitors say nothing.
    pub unheard: Vec<String>,
    /// What the servers said of the log last, and when.
    pub bounds: Option<(Bounds, Instant)>,
    /// The servers said nothing of it when they were asked last: its leader may be gone.
    pub unanswered: bool,
    /// The servers have another log.
    pub other: Option<Sameness>,
    /// What is wrong with the servers; none before they were looked at.
    pub problems: Option<Vec<Problem>>,
    /// Since when other nodes are heard.
    pub since: Instant,
    pub lag: Lag,
    /// What the clock of the log's leader shows, as it has said last.
    pub leader_clock: Option<LeaderClock>,
    /// When it was known last how far the log reaches: its leader has said so, or has taken a message.
    pub leader_heard: Option<Instant>,
    /// The log reached so far when it was looked at after the start: what is shown before that is applied is of before.
    pub goal: Option<u64>,
    /// It has been seen once. A leader that was just elected may not have its end in place yet: it is looked at again.
    seen: bool,
    /// Another node of this name, as it was heard.
    namesake: Option<Namesake>,
    /// Since when it is not known of a server how it syncs.
    unproven: Option<Instant>,
}

/// Another node that runs under the name of this one.
struct Namesake {
    start: String,
    first: Instant,
    last: Instant,
}

/// How long one that was heard counts as there.
const NAMESAKE: Duration = Duration::from_secs(10);
/// What was on its way when this node was started is heard no longer than that.
const LATE: Duration = Duration::from_millis(500);

/// Why nothing new is given to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Untrusted {
    /// It is not known yet whether its servers keep what they acknowledge.
    Unknown,
    /// They do not.
    Servers(String),
}

impl Health {
    pub fn new() -> Self {
        Self {
            peers: Peers::default(),
            reports: BTreeMap::new(),
            unheard: Vec::new(),
            bounds: None,
            unanswered: false,
            other: None,
            problems: None,
            since: Instant::now(),
            lag: Lag::default(),
            leader_clock: None,
            leader_heard: None,
            goal: None,
            seen: false,
            namesake: None,
            unproven: None,
        }
    }

    /// Whether something keeps the servers from getting what is new.
    pub fn refusal(&self, now: Instant) -> Option<Untrusted> {
        let Some(problems) = &self.problems else { return Some(Untrusted::Unknown) };
        let refusing = problems.iter().filter(|problem| problem.refuses());
        let is_unproven = |problem: &&Problem| matches!(problem, Problem::Unproven { .. });
        let (unproven, wrong): (Vec<_>, Vec<_>) = refusing.partition(is_unproven);
        let waited = self.unproven.map(|since| now.saturating_duration_since(since));
        let is_early = waited.unwrap_or_default() < UNPROVEN_MAX;
        match (wrong.first(), unproven.first()) {
            (None, Some(_)) if is_early => Some(Untrusted::Unknown),
            (wrong, unproven) => {
                wrong.or(unproven).map(|problem| Untrusted::Servers(problem.to_string()))
            }
        }
    }

    /// Why nothing new is to come: the log could let go of what was not applied here, were it to grow on.
    pub fn overrun(&self) -> Option<String> {
        let (bounds, _) = self.bounds.as_ref()?;
        let (behind, there) = (self.lag.messages(), bounds.last.saturating_sub(bounds.first));
        (behind > BEHIND_MIN && behind > there / 2).then(|| {
            let behind = counted(behind, "message");
            format!("this node is {behind} behind, which is more than half of what the log keeps")
        })
    }

    /// Another log is followed from now on, or this one from a place before.
    pub fn begin_anew(&mut self, applied: u64) {
        self.forget_goal();
        (self.lag, self.other, self.bounds) = (Lag::default(), None, None);
        self.lag.applied(applied);
    }

    fn find(&mut self, problems: Vec<Problem>, now: Instant) {
        let unproven = problems.iter().any(|it| matches!(it, Problem::Unproven { .. }));
        self.unproven = unproven.then(|| self.unproven.unwrap_or(now));
        self.problems = Some(problems);
    }

    /// Nodes that are known, and not heard. Of those that were never heard nothing is said before they had the time for it.
    fn missed(&self, now: Instant) -> Vec<String> {
        let had_time = !Peers::is_alive(now.saturating_duration_since(self.since));
        let missed = self.peers.missed(now);
        let was_heard = |node: &str| self.peers.all(now).any(|(one, _)| one.node == node);
        let missed = missed.filter(|node| had_time || was_heard(node));
        missed.take(MISSED_MAX).map(str::to_owned).collect()
    }

    /// Another start was heard under the name of this node.
    fn hear_namesake(&mut self, start: &str, now: Instant) {
        match &mut self.namesake {
            Some(known) if known.start == start => known.last = now,
            namesake => {
                *namesake = Some(Namesake { start: start.to_owned(), first: now, last: now });
            }
        }
    }

    /// Whether another node runs under the name of this one.
    pub fn has_namesake(&self, now: Instant) -> bool {
        self.namesake.as_ref().is_some_and(|one| {
            let is_there = now.saturating_duration_since(one.last) <= NAMESAKE;
            is_there && one.last.saturating_duration_since(one.first) >= LATE
        })
    }

    pub fn forget_goal(&mut self) {
        (self.goal, self.seen) = (None, false);
    }

    fn note_report(&mut self, report: ServerReport, looked: Instant) {
        let is_newer = match self.reports.get(&report.name) {
            Some((_, known)) => *known <= looked,
            None => self.reports.len() < SERVERS_MAX,
        };
        if is_newer {
            self.reports.insert(report.name.clone(), (report, looked));
        }
    }

    /// What is known of servers, by this machine's clock.
    pub fn reports(&self, clock: Timestamp, now: Instant) -> Vec<ServerReport> {
        let known = self.reports.values().map(|(report, looked)| {
            let ago = now.saturating_duration_since(*looked).as_millis();
            let ago = u64::try_from(ago).unwrap_or(u64::MAX);
            ServerReport { looked_at: clock.minus_millis(ago).millis(), ..report.clone() }
        });
        known.collect()
    }

    /// A message of this number has just been put into the log.
    pub fn logged(&mut self, seq: u64, now: Instant) {
        self.leader_heard = Some(now);
        self.lag.heard(seq, now);
    }

    /// What the log's clock shows, as far as is known; this machine's may be set at any time.
    pub fn log_clock(&self, clock: Timestamp, now: Instant) -> Timestamp {
        self.leader_clock.map_or(clock, |leader| leader.time(now))
    }

    /// How far it is ahead of this machine's, which shows this, in milliseconds.
    pub fn skew(&self, clock: Timestamp, now: Instant) -> i64 {
        self.leader_clock.map_or(0, |leader| leader.ahead_of(clock, now))
    }

    /// The earliest of the clocks that are known: this machine's, those of the other nodes, the log's.
    pub fn earliest(&self, clock: Timestamp, now: Instant) -> Timestamp {
        let others = self.peers.ahead(clock, now).map(|(_, ahead)| ahead);
        let ahead = others.chain([self.skew(clock, now)]).min().unwrap_or_default();
        clock.minus_millis(ahead.min(0).unsigned_abs())
    }

    fn hear(&mut self, beat: Heartbeat, now: Instant) {
        for report in &beat.servers {
            // What is not yet, by the clock of who tells it, is not believed: it would count for longer than what is true
            // by then. The clocks of two nodes may differ.
            let looked = beat.age_of(report).and_then(|age| now.checked_sub(age));
            if let Some(looked) = looked {
                self.note_report(report.clone(), looked);
            }
        }
        self.lag.heard(beat.newest, now);
        if beat.differs
            && let Some((bounds, _)) = &self.bounds
        {
            self.lag.reaches(bounds.last);
        }
        for gone in &beat.forgotten {
            self.peers.forget(gone, now);
        }
        self.peers.note(beat, now);
    }

    /// What the servers say of the log, and whether they can be trusted with it.
    pub fn judge(&mut self, own: Epoch, bounds: Bounds, unverified_sync: bool, now: Instant) {
        self.other = (bounds.epoch != Some(own)).then_some(Sameness::OtherEpoch(bounds.epoch));
        if self.other.is_some() {
            return;
        }
        let is_whole = bounds.leader.is_some() && bounds.last >= self.lag.newest();
        if is_whole && self.seen {
            self.goal.get_or_insert(bounds.last);
        }
        self.seen |= is_whole;
        self.leader_clock = bounds.clock.or(self.leader_clock);
        if bounds.leader.is_some() {
            self.leader_heard = Some(now);
        }
        self.lag.heard(bounds.last, now);
        let reports = self.reports(clock::now(), now);
        self.find(verify(&present(&bounds), &reports, unverified_sync), now);
        self.bounds = Some((bounds, now));
    }
}

/// The same without servers that are away: they acknowledge nothing.
fn present(bounds: &Bounds) -> Bounds {
    let mut bounds = bounds.clone();
    bounds.replicas.retain(|replica| !replica.offline);
    bounds
}

/// Says how the node is and hears the others, for as long as it runs.
pub(super) async fn beat(node: Arc<Node>) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut hints = match Hints::begin(&node.connection, &node.start).await {
            Ok(hints) => hints,
            Err(error) => {
                tracing::debug!(error = chain(&error), "hints of the cluster cannot be heard");
                sleep(PAUSE).await;
                continue;
            }
        };
        loop {
            let is_whole;
            tokio::select! {
                _ = ticks.tick() => {
                    node.look_at_nodes();
                    node.look_at_state();
                    node.look_at_agreement();
                    is_whole = true;
                }
                () = node.has_news.notified() => is_whole = false,
                heard = hints.next() => {
                    let Some(beat) = heard else { break };
                    node.hear(beat);
                    continue;
                }
            }
            if let Err(error) = hints.tell(&node.heartbeat(is_whole)).await {
                tracing::debug!(error = chain(&error), "a hint was not sent");
            }
        }
        sleep(PAUSE).await;
    }
}

/// Looks at the log and at its servers, for as long as it runs. A monitor that does not answer holds up nothing but other
/// monitors.
pub(super) async fn watch_servers(node: Arc<Node>) {
    tokio::join!(watch_log(&node), watch_monitors(&node));
}

async fn watch_log(node: &Node) {
    loop {
        let mut is_heard = false;
        if let Some(running) = node.running() {
            is_heard = look(node, &running.log).await;
        }
        let is_fine = is_heard && node.is_fine();
        // Whether its lists are current is to be known before they are not.
        let often = LOOK.min(node.config.max_lag / 4);
        sleep(if is_fine { often } else { LOOK_AGAIN.min(often) }).await;
    }
}

async fn watch_monitors(node: &Node) {
    loop {
        if let Some(running) = node.running() {
            look_at_monitors(node, running.log.stream()).await;
        }
        sleep(if node.is_fine() { LOOK } else { LOOK_AGAIN }).await;
    }
}

/// Looks once at a log. Whether its leader has said how far it reaches.
async fn look(node: &Node, log: &Log) -> bool {
    let bounds = log.bounds().await;
    let now = Instant::now();
    let is_heard = bounds.as_ref().is_ok_and(|bounds| bounds.leader.is_some());
    if let (Ok(bounds), Some(running)) = (&bounds, node.running())
        && bounds.leader.is_some()
        && bounds.last < running.applied.borrow().seq
    {
        running.follower.compare_soon();
    }
    let mut health = node.health.lock();
    health.unanswered = !is_heard;
    if let Ok(bounds) = bounds {
        health.judge(log.epoch(), bounds, node.config.unverified_sync, now);
    }
    drop(health);
    node.look_whether_caught_up(now);
    is_heard
}

/// Looks once at the servers whose monitors this node may ask.
pub(super) async fn look_at_monitors(node: &Node, stream: &str) {
    let looked = node.monitors.look(stream).await;
    let now = Instant::now();
    let mut health = node.health.lock();
    health.unheard.clear();
    for report in looked {
        match report {
            Ok(report) => {
                let report = match health.reports.get(&report.name) {
                    Some((known, looked)) => {
                        report.after(known, now.saturating_duration_since(*looked))
                    }
                    None => report,
                };
                health.note_report(report, now);
            }
            Err(error) => health.unheard.push(error.to_string()),
        }
    }
}

impl Node {
    fn hear(&self, beat: Heartbeat) {
        let newest = beat.newest;
        let is_same = |one: &Arc<Running>| one.life() == beat.epoch && !beat.differs;
        let same_log = self.running().filter(is_same);
        let beat = Heartbeat { newest: if same_log.is_some() { newest } else { 0 }, ..beat };
        if beat.erases <= beat.newest {
            self.erasing.ask(beat.erases);
        }
        let now = Instant::now();
        if beat.node == self.name.as_str() {
            return self.health.lock().hear_namesake(&beat.start, now);
        }
        self.health.lock().hear(beat, now);
        if let Some(running) = same_log {
            running.wake(newest);
        }
    }

    /// `is_whole` with what is known of servers: once a second, and not with each message.
    fn heartbeat(&self, is_whole: bool) -> Heartbeat {
        let running = self.running();
        let running = running.as_ref();
        let kept = self.store.kept().count;
        let (differs, state) = (self.differs(), self.state());
        let health = self.health.lock();
        let (clock, now) = (clock::now(), Instant::now());
        let mut beat = Heartbeat {
            differs,
            state: state.word().to_owned(),
            node: self.name.to_string(),
            start: self.start.clone(),
            epoch: running.map(|running| running.life()).unwrap_or_default(),
            newest: running.map_or(0, |running| running.log.newest().max(health.lag.newest())),
            applied: running.map_or(0, |running| running.applied.borrow().seq),
            kept,
            release: RELEASE.to_owned(),
            reads: MESSAGE_VERSION,
            at: clock.millis(),
            servers: if is_whole { health.reports(clock, now) } else { Vec::new() },
            compared: self.compared.lock().clone(),
            forgotten: self.forgotten(now),
            missed: if is_whole { health.missed(now) } else { Vec::new() },
            settings: if is_whole { self.settings.clone() } else { BTreeMap::new() },
            ..Heartbeat::default()
        };
        drop(health);
        self.erasing.tell(&mut beat);
        beat
    }

    /// Names, settings and contents that are not as they have to be, in words.
    pub(super) fn disagreements(&self, now: Instant) -> Vec<String> {
        let life = self.running().map(|running| running.life()).unwrap_or_default();
        let compared = self.compared.lock().clone();
        let health = self.health.lock();
        let own = Some(self.name.as_str()).filter(|_| health.has_namesake(now));
        let mut found: Vec<String> =
            own.into_iter().chain(health.peers.twice(now)).map(two_of_a_name).collect();
        let others = health.peers.alive(now).map(|one| (&*one.node, &one.settings));
        found.extend(differing([(self.name.as_str(), &self.settings)].into_iter().chain(others)));
        let others = health.peers.alive(now).filter(|beat| beat.epoch == life);
        found
            .extend(others.filter_map(|beat| {
                unlike(compared.as_ref()?, &beat.node, beat.compared.as_ref()?)
            }));
        found
    }

    /// Says in the log what is not as it has to be any more, and what is again.
    fn look_at_agreement(&self) {
        let found: BTreeSet<String> = self.disagreements(Instant::now()).into_iter().collect();
        let mut told = self.disagreed.lock();
        for new in found.difference(&told) {
            tracing::error!(what = new, "the nodes do not agree");
        }
        for old in told.difference(&found) {
            tracing::info!(what = old, "that is so no longer");
        }
        *told = found;
    }

    /// The node has caught up once all is applied that the log had when it was looked at first.
    pub(super) fn look_whether_caught_up(&self, now: Instant) {
        let Some(running) = self.running() else { return };
        if self.caught_up.borrow().is_some() {
            return;
        }
        let goal = self.health.lock().goal;
        let applied = running.applied.borrow().seq;
        if goal.is_some_and(|goal| applied >= goal) {
            self.caught_up.send_replace(Some(now));
        }
    }
}

impl Running {
    /// The log reaches so far: there may be something to read.
    pub(super) fn wake(&self, newest: u64) {
        if self.applied.borrow().seq < newest {
            self.follower.wake(newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(name: &str, looked_at: u64, sync_always: bool) -> ServerReport {
        ServerReport { name: name.to_owned(), looked_at, sync_always, ..ServerReport::default() }
    }

    #[test]
    fn the_newest_word_of_a_server_counts_and_none_of_times_to_come() {
        let begun = Instant::now();
        let now = begun + Duration::from_hours(1);
        let mut health = Health::new();
        // Its sender's clock is ten minutes ahead, or behind: nothing depends on that.
        let clock = clock::now().millis();
        let beat =
            |at, servers| Heartbeat { node: "b".to_owned(), at, servers, ..Heartbeat::default() };
        let (ahead, behind) = (clock + 600_000, clock - 600_000);
        health.hear(beat(ahead, vec![report("s", ahead, false)]), now);
        health.hear(beat(behind, vec![report("s", behind - 5, true)]), now);
        assert!(!health.reports["s"].0.sync_always);
        health.hear(beat(clock, vec![report("s", clock + 1, true)]), now);
        assert!(!health.reports["s"].0.sync_always);
        health.hear(beat(behind, vec![report("s", behind, true)]), now);
        assert!(health.reports["s"].0.sync_always);
        // Others are told by the clock that is this one's by then, however it was set.
        let at = clock::now();
        assert_eq!(health.reports(at, now)[0].looked_at, at.millis());
    }

    #[test]
    fn what_is_over_is_decided_by_the_earliest_clock() {
        let now = Instant::now();
        let clock = clock::now();
        let mut health = Health::new();
        assert_eq!(health.earliest(clock, now), clock);
        let leader = |at| Some(LeaderClock { at, asked: now, answered: now });
        health.leader_clock = leader(clock.plus_millis(600_000));
        let ahead = Heartbeat { at: clock.millis() + 5000, ..Heartbeat::default() };
        health.hear(Heartbeat { node: "b".to_owned(), ..ahead }, now);
        assert_eq!(health.earliest(clock, now), clock);
        // The log's clock does not depend on this machine's.
        let hour = clock.plus_millis(3_600_000);
        assert_eq!(health.log_clock(hour, now), clock.plus_millis(600_000));
        assert_eq!(health.skew(hour, now), -3_000_000);
        health.leader_clock = leader(clock.minus_millis(1000));
        assert_eq!(health.earliest(clock, now), clock.minus_millis(1000));
        let behind = Heartbeat { at: clock.millis() - 600_000, ..Heartbeat::default() };
        health.hear(Heartbeat { node: "c".to_owned(), ..behind }, now);
        assert_eq!(health.earliest(clock, now), clock.minus_millis(600_000));
    }

    #[test]
    fn no_more_servers_are_remembered_than_there_can_be() {
        let (mut health, now) = (Health::new(), Instant::now());
        let clock = clock::now().millis();
        let many = (0..100).map(|n| report(&format!("s{n}"), clock, true)).collect();
        let beat =
            |at, servers| Heartbeat { node: "b".to_owned(), at, servers, ..Heartbeat::default() };
        health.hear(beat(clock, many), now);
        assert_eq!(health.reports.len(), SERVERS_MAX);
    }

    #[test]
    fn a_node_of_the_same_name_counts_once_it_was_heard_for_a_while() {
        let begun = Instant::now();
        let after = |millis| begun + Duration::from_millis(millis);
        let mut health = Health::new();
        assert!(!health.has_namesake(begun));
        // The last words of the start before.
        health.hear_namesake("before", begun);
        health.hear_namesake("before", after(3));
        assert!(!health.has_namesake(after(1000)));
        health.hear_namesake("other", after(2000));
        assert!(!health.has_namesake(after(2000)));
        health.hear_namesake("other", after(3000));
        assert!(health.has_namesake(after(3000)) && health.has_namesake(after(13_000)));
        assert!(!health.has_namesake(after(13_001)));
    }

    #[test]
    fn servers_that_are_wrong_are_refused_and_unknown_ones_after_a_while() {
        let begun = Instant::now();
        let (soon, later) = (begun + UNPROVEN_MAX / 2, begun + UNPROVEN_MAX);
        let mut health = Health::new();
        assert_eq!(health.refusal(later), Some(Untrusted::Unknown));
        health.find(Vec::new(), begun);
        assert_eq!(health.refusal(later), None);
        let server = || "n1".to_owned();
        let lost = Problem::Lost { server: server(), stream: "RC_pbx".to_owned(), count: 7 };
        let unproven = Problem::Unproven { server: server() };
        health.find(vec![lost.clone(), unproven.clone()], begun);
        assert_eq!(health.refusal(begun), Some(Untrusted::Unknown));
        // What is seen again is not new.
        health.find(vec![unproven.clone()], soon);
        assert_eq!(health.refusal(soon), Some(Untrusted::Unknown));
        let Some(Untrusted::Servers(why)) = health.refusal(later) else { panic!("not refused") };
        assert!(why.contains("nothing is known of how server n1 syncs"), "{why}");
        // One that comes back after it was known is waited for like the first.
        health.find(Vec::new(), later);
        health.find(vec![unproven.clone()], later);
        assert_eq!(health.refusal(later), Some(Untrusted::Unknown));
        health.find(vec![unproven, Problem::NotSynced { server: server() }], begun);
        let Some(Untrusted::Servers(why)) = health.refusal(begun) else { panic!("not refused") };
        assert!(why.contains("sync_interval"), "{why}");
        health.find(vec![lost], begun);
        assert_eq!(health.refusal(later), None);
    }
}
