//! Workers that write to a cluster and read from it over HTTPS, while something happens to it.
//!
//! Each worker has calls of its own and one request at a time. It stays at one node as long as that answers, as behind a load
//! balancer; what was not answered it mostly sends again elsewhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::harness::{Answer, TIMEOUT, send, until};
use super::super::load::{Random, STATUSES};
use super::register::{
    ACCOUNTS, Call, Content, Event, History, Outcome, Position, Read, Shown, Submission,
};

/// Events of one call; a record keeps at most 64 keys.
const CALL_EVENTS_MAX: usize = 24;
/// Events of one request.
const BATCH_EVENTS_MAX: usize = 12;
/// How long a client waits for an answer: jambonz gives up after ten seconds.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a load balancer asks whether a node is ready.
const LOOK: Duration = Duration::from_millis(500);
/// Before a request is sent again after one that failed.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the nodes are reached, over all restarts.
pub struct Targets {
    pub ports: [AtomicU16; 3],
    pub agents: [ureq::Agent; 3],
    pub token: String,
}

impl Targets {
    /// Sends a request to a node; none where there is no whole answer.
    pub fn send(
        &self,
        node: usize,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let port = self.ports[node].load(Ordering::Acquire);
        let bearer = format!("Bearer {}", self.token);
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        let url = format!("https://localhost:{port}{path}");
        send(&self.agents[node], method, &url, &headers, body.as_bytes()).ok()
    }

    fn get(&self, node: usize, path: &str, at_least: Option<&Position>) -> Option<Answer> {
        let asked = at_least.map(ToString::to_string);
        let headers: Vec<_> = asked.iter().map(|at| ("rollcall-at-least", at.as_str())).collect();
        self.send(node, "GET", path, &headers, "")
    }
}

/// How far a load has come.
#[derive(Default)]
pub struct Progress {
    acknowledged: AtomicUsize,
    /// What the clients of a load balancer wrote, acknowledged by a quorum, and read.
    ordered: AtomicUsize,
    read: AtomicUsize,
    /// How many milliseconds everybody rests after each request.
    rest: AtomicU64,
    over: AtomicBool,
}

/// A load balancer as docs/cluster.md has it: what it has found out of the nodes.
#[derive(Default)]
struct Balancer {
    /// Which answer 200 to `/readyz`, and which to `/readyz?for=events`.
    lists: [AtomicBool; 3],
    events: [AtomicBool; 3],
}

impl Balancer {
    /// Asks a node on and on.
    fn look(&self, run: &Run<'_>, node: usize) {
        while !run.is_over() {
            for (path, ready) in [("/readyz", &self.lists), ("/readyz?for=events", &self.events)] {
                let answer = run.targets.send(node, "GET", path, &[], "");
                ready[node].store(answer.is_some_and(|it| it.status == 200), Ordering::Release);
            }
            std::thread::park_timeout(LOOK);
        }
    }

    /// The node that a client gets, which has had this one: the same while that is ready. Where none is ready for lists
    /// any answers them.
    fn choose(ready: &[AtomicBool; 3], had: usize) -> usize {
        let mut nodes = (0..3).map(|n| (had + n) % 3);
        nodes.find(|n| ready[*n].load(Ordering::Acquire)).unwrap_or((had + 1) % 3)
    }
}

impl Progress {
    /// Waits until so many more requests that write were acknowledged.
    pub fn more(&self, count: usize) {
        let before = self.acknowledged.load(Ordering::Acquire);
        until("more is acknowledged", || {
            (self.acknowledged.load(Ordering::Acquire) >= before + count).then_some(())
        });
    }

    /// Has everybody rest after each request, from now on.
    pub fn rest(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.rest.store(millis, Ordering::Release);
    }

    /// Waits until the clients of the load balancer have had so many more events ordered, and so many more answers that
    /// show all that they know of.
    pub fn more_balanced(&self, count: usize) {
        for (what, counter) in [("ordered", &self.ordered), ("read", &self.read)] {
            let before = counter.load(Ordering::Acquire);
            until(&format!("more is {what} through the load balancer"), || {
                (counter.load(Ordering::Acquire) >= before + count).then_some(())
            });
        }
    }
}

/// Workers, and all that they did.
pub struct Load {
    pub history: History,
    workers: Vec<Worker>,
    begun: Instant,
    random: Random,
    /// How many of the workers come through a load balancer, the last ones.
    balanced: usize,
    /// The longest time for which it may run.
    pub longest: Duration,
}

/// What a worker goes on with.
struct Worker {
    number: usize,
    random: Random,
    node: usize,
    /// It comes through a load balancer.
    is_balanced: bool,
    /// Where it reads, then.
    reads_at: usize,
    /// How many events each of its calls has; none of one that is not written to any more.
    calls: Vec<Option<usize>>,
    /// The newest position that it was told.
    newest: Option<Position>,
    begun: Instant,
}

/// What workers and readers share while they run.
struct Run<'a> {
    targets: &'a Targets,
    progress: &'a Progress,
    /// How many calls each worker has begun.
    counts: Vec<AtomicUsize>,
    history: Mutex<History>,
    begun: Instant,
    balancer: Balancer,
    longest: Duration,
}

impl Load {
    pub fn new(seed: u64, workers: usize) -> Self {
        Self::balanced(seed, workers, 0)
    }

    /// The same with so many more workers that come through a load balancer.
    pub fn balanced(seed: u64, workers: usize, balanced: usize) -> Self {
        let begun = Instant::now();
        let worker = |number| Worker {
            number,
            random: Random::new(seed ^ ((number as u64 + 1) << 32)),
            node: number % 3,
            is_balanced: number >= workers,
            reads_at: number % 3,
            calls: Vec::new(),
            newest: None,
            begun,
        };
        let workers = (0..workers + balanced).map(worker).collect();
        let (history, random) = (History::default(), Random::new(!seed));
        Self { history, workers, begun, random, balanced, longest: TIMEOUT }
    }

    /// Writes and reads as long as `act` runs.
    pub fn during<T>(&mut self, targets: &Arc<Targets>, act: impl FnOnce(&Progress) -> T) -> T {
        let progress = Progress::default();
        let counts = self.workers.iter().map(|worker| AtomicUsize::new(worker.calls.len()));
        let run = Run {
            targets,
            progress: &progress,
            counts: counts.collect(),
            history: Mutex::default(),
            begun: self.begun,
            balancer: Balancer::default(),
            longest: self.longest,
        };
        let seed = self.random.below(usize::MAX) as u64;
        let result = std::thread::scope(|scope| {
            for worker in &mut self.workers {
                scope.spawn(|| worker.work(&run));
            }
            let run = &run;
            for node in 0..3 {
                scope.spawn(move || run.read_on(node, Random::new(seed ^ node as u64)));
                if self.balanced > 0 {
                    scope.spawn(move || run.balancer.look(run, node));
                }
            }
            // The workers end also where the act fails.
            let end = EndsAll(&progress);
            let result = act(&progress);
            drop(end);
            result
        });
        self.history.append(run.history.into_inner().unwrap());
        result
    }

    /// Since the register was begun.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// What says the same while it runs.
    pub fn clock(&self) -> impl Fn() -> Duration + use<> {
        let begun = self.begun;
        move || begun.elapsed()
    }
}

struct EndsAll<'a>(&'a Progress);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl Run<'_> {
    fn is_over(&self) -> bool {
        self.progress.over.load(Ordering::Acquire)
    }

    fn rest(&self) {
        let millis = self.progress.rest.load(Ordering::Acquire);
        std::thread::park_timeout(Duration::from_millis(millis));
    }

    fn note(&self, change: impl FnOnce(&mut History)) {
        change(&mut self.history.lock().unwrap());
    }

    /// Reads calls of all workers, and pages of lists, from one node.
    fn read_on(&self, node: usize, mut random: Random) {
        while !self.is_over() {
            let worker = random.below(self.counts.len());
            let count = self.counts[worker].load(Ordering::Acquire);
            if count == 0 || random.percent(20) {
                self.read_list(node, ACCOUNTS[random.below(ACCOUNTS.len())]);
            } else {
                let number = count - 1 - random.below(count.min(40));
                self.read_call(node, Call { worker, number }, None);
            }
            std::thread::park_timeout(PAUSE);
            self.rest();
        }
    }

    fn read_list(&self, node: usize, account: &str) {
        let begun = self.begun.elapsed();
        let path = format!("/v1/Accounts/{account}/Calls?limit=20");
        let Some(answer) = self.targets.get(node, &path, None) else { return };
        let ended = self.begun.elapsed();
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{answer:?}");
            return;
        }
        let position = Position::of(&answer);
        for shown in answer.json().as_array().unwrap() {
            let Some(call) = Call::of(shown["call_sid"].as_str().unwrap()) else { continue };
            let (position, shown) = (position.clone(), Shown::of(shown));
            let read = Read { node, call, begun, ended, at_least: None, position, shown };
            self.note(|history| history.reads.push(read));
        }
    }

    /// What was answered; none where nothing was, or 503.
    fn read_call(&self, node: usize, call: Call, at_least: Option<&Position>) -> Option<Read> {
        let begun = self.begun.elapsed();
        let answer = self.targets.get(node, &call.path(), at_least)?;
        let ended = self.begun.elapsed();
        let shown = match answer.status {
            200 => Shown::of(&answer.json()),
            404 => Shown::Absent,
            // The log was made anew, or has gone back, since that position was told.
            410 if at_least.is_some() => return None,
            503 => {
                self.note(|history| history.behind += usize::from(at_least.is_some()));
                return None;
            }
            _ => panic!("{answer:?}"),
        };
        let (at_least, position) = (at_least.cloned(), Position::of(&answer));
        let read = Read { node, call, begun, ended, at_least, position, shown };
        self.note(|history| history.reads.push(read.clone()));
        Some(read)
    }
}

impl Worker {
    fn work(&mut self, run: &Run<'_>) {
        let deadline = Instant::now() + run.longest;
        while !run.is_over() {
            assert!(Instant::now() < deadline, "nobody ends this load");
            if self.is_balanced && self.random.percent(60) && !self.calls.is_empty() {
                self.read_through(run);
            } else if self.random.percent(45) && !self.calls.is_empty() {
                self.read(run);
            } else {
                self.write(run);
            }
            run.rest();
        }
    }

    /// Reads a call of its own, mostly of the last ones, from any node.
    fn read(&mut self, run: &Run<'_>) {
        let count = self.calls.len();
        let number = count - 1 - self.random.below(count.min(20));
        let node = self.random.below(3);
        let at_least = self.newest.clone().filter(|_| self.random.percent(60));
        let call = Call { worker: self.number, number };
        if run.read_call(node, call, at_least.as_ref()).is_none() {
            std::thread::park_timeout(PAUSE);
        }
    }

    /// Reads a call of its own, or a list, and takes no answer that is older than what it knows.
    fn read_through(&mut self, run: &Run<'_>) {
        self.reads_at = Balancer::choose(&run.balancer.lists, self.reads_at);
        let count = self.calls.len();
        let number = count - 1 - self.random.below(count.min(20));
        let call = Call { worker: self.number, number };
        match run.read_call(self.reads_at, call, self.newest.as_ref()) {
            Some(read) => {
                self.knows(read.position);
                run.progress.read.fetch_add(1, Ordering::AcqRel);
            }
            None => std::thread::park_timeout(PAUSE),
        }
    }

    fn knows(&mut self, position: Option<Position>) {
        if let Some(position) = position
            && self
                .newest
                .as_ref()
                .is_none_or(|newest| position.reaches(newest) || position.epoch != newest.epoch)
        {
            self.newest = Some(position);
        }
    }

    /// Sends events, or deletes a call; elsewhere again where it was not acknowledged, but not always.
    fn write(&mut self, run: &Run<'_>) {
        let content = self.content();
        run.counts[self.number].store(self.calls.len(), Ordering::Release);
        if self.is_balanced {
            // Round robin.
            self.node = (self.node + 1) % 3;
        } else if self.random.percent(10) {
            self.node = self.random.below(3);
        }
        let pad = "-".repeat(self.random.below(1200));
        loop {
            if self.is_balanced {
                self.node = Balancer::choose(&run.balancer.events, self.node);
            }
            let sent = self.begun.elapsed();
            let answer = match &content {
                Content::Deletion(call) => {
                    run.targets.send(self.node, "DELETE", &call.path(), &[], "")
                }
                Content::Events(events) => {
                    let lines: Vec<_> = events.iter().map(|event| event.json(&pad)).collect();
                    let headers = [("content-type", "application/x-ndjson")];
                    let path = "/v1/hooks/call-status";
                    run.targets.send(self.node, "POST", path, &headers, &lines.join("\n"))
                }
            };
            let answered = self.begun.elapsed();
            let outcome = outcome(answer.as_ref(), &content);
            if let Outcome::Logged(position) = &outcome {
                self.knows(Some(position.clone()));
                if self.is_balanced {
                    run.progress.ordered.fetch_add(1, Ordering::AcqRel);
                }
            }
            let is_acknowledged = outcome != Outcome::Unknown;
            // What is kept is acknowledged fast, and comes into the log later, all of it.
            if outcome == Outcome::Kept {
                std::thread::park_timeout(PAUSE);
            }
            let node = self.node;
            let submission = Submission { node, content: content.clone(), sent, answered, outcome };
            run.note(|history| history.submissions.push(submission));
            if is_acknowledged {
                run.progress.acknowledged.fetch_add(1, Ordering::AcqRel);
                return;
            }
            self.node = (self.node + 1) % 3;
            std::thread::park_timeout(PAUSE);
            if run.is_over() || self.random.percent(30) {
                return;
            }
        }
    }

    fn content(&mut self) -> Content {
        let count = self.calls.len();
        if count > 0 && self.random.percent(6) {
            let number = self.random.below(count);
            if self.calls[number].take().is_some() {
                return Content::Deletion(Call { worker: self.number, number });
            }
        }
        let size =
            if self.random.percent(60) { 1 } else { 2 + self.random.below(BATCH_EVENTS_MAX - 1) };
        Content::Events((0..size).map(|_| self.event()).collect())
    }

    /// An event of a new call, of one of the last, or sometimes of any.
    fn event(&mut self) -> Event {
        let count = self.calls.len();
        let chosen = match self.random.below(100) {
            0..40 => None,
            40..95 => count.checked_sub(1 + self.random.below(15)),
            _ => Some(self.random.below(count)),
        };
        let chosen = chosen.filter(|number| {
            matches!(self.calls.get(*number), Some(Some(events)) if *events < CALL_EVENTS_MAX)
        });
        let number = chosen.unwrap_or_else(|| {
            self.calls.push(Some(0));
            count
        });
        let status = self.random.below(STATUSES.len());
        let events = self.calls[number].as_mut().unwrap();
        *events += 1;
        Event { call: Call { worker: self.number, number }, number: *events - 1, status }
    }
}

/// What an answer says of a request that wrote. Any answer that is not foreseen is a failure.
fn outcome(answer: Option<&Answer>, content: &Content) -> Outcome {
    let Some(answer) = answer else { return Outcome::Unknown };
    match answer.status {
        204 => {
            let position = Position::of(answer);
            let kept = position.is_none().then_some("1");
            assert_eq!(answer.header("rollcall-kept"), kept, "{answer:?}");
            position.map_or(Outcome::Kept, Outcome::Logged)
        }
        // A call that this node does not have yet, or that was deleted by the request before.
        404 if matches!(content, Content::Deletion(_)) => Outcome::Unknown,
        503 => Outcome::Unknown,
        _ => panic!("{answer:?}"),
    }
}

/// All calls that a node lists, by the lists of all accounts, whole.
pub fn listed(targets: &Targets, node: usize) -> BTreeMap<Call, Shown> {
    let mut calls = BTreeMap::new();
    for account in ACCOUNTS {
        let path = format!("/v1/Accounts/{account}/Calls");
        let answer = until("a list is answered", || {
            targets.get(node, &path, None).filter(|answer| answer.status != 503)
        });
        assert_eq!(answer.status, 200, "{answer:?}");
        for shown in answer.json().as_array().unwrap() {
            let sid = shown["call_sid"].as_str().unwrap();
            let call = Call::of(sid).unwrap_or_else(|| panic!("nobody has sent {sid}"));
            assert_eq!(call.account(), account, "{shown}");
            assert!(calls.insert(call, Shown::of(shown)).is_none(), "{sid} is listed twice");
        }
    }
    calls
}

/// A client of the change feed that asks another node for each page.
#[derive(Default)]
pub struct Follower {
    pub calls: BTreeMap<String, Value>,
    position: Option<String>,
}

impl Follower {
    /// Reads one page from a node. Whether anything new was in it; none where there was no answer.
    pub fn page(&mut self, targets: &Targets, node: usize) -> Option<bool> {
        let after = self.position.as_ref().map(|at| format!("&after={at}")).unwrap_or_default();
        let path = format!("/v1/Calls/changes?limit=200{after}");
        let answer = targets.get(node, &path, None)?;
        if answer.status == 503 {
            return None;
        }
        assert_eq!(answer.status, 200, "after {:?}: {answer:?}", self.position);
        let mut has_news = false;
        for line in answer.body.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let sid = || line["call"]["call_sid"].as_str().unwrap().to_owned();
            match line["type"].as_str().unwrap() {
                "call" => drop(self.calls.insert(sid(), line["call"].clone())),
                "deleted" => drop(self.calls.remove(&sid())),
                "snapshot_end" | "end" => {}
                other => panic!("{other}"),
            }
            has_news |= line["type"] == "call" || line["type"] == "deleted";
            self.position =
                line["position"].as_str().map(ToOwned::to_owned).or(self.position.take());
        }
        Some(has_news)
    }

    /// Reads until a node has nothing more.
    pub fn read_up(&mut self, targets: &Targets, node: usize) {
        until("the feed is read to its end", || (!self.page(targets, node)?).then_some(()));
    }
}
