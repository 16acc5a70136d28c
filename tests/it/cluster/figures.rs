//! What a cluster costs and gives beside a single node on the same machine, in one run.
//!
//! Short by default, so that it runs at all. For figures that count: `CLUSTER_FIGURES=20 cargo test --release --test it
//! cluster::figures -- --nocapture` on a machine that does nothing else. `CLUSTER_FIGURES` is the seconds of each part,
//! `CLUSTER_FIGURES_WRITERS` the number of clients with one request at a time each, `CLUSTER_FIGURES_KILLS` how often the
//! leading server is killed in each mode, `CLUSTER_FIGURES_CALLS` how many calls are looked at on the disks.

#![expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::super::harness::{A1, Rollcall, event, recorded_events, send, sid, until};
use super::nats;
use super::node::with_log;
use super::register::Position;
use super::three::{MACHINES, Setup, Three};
use super::writers::Targets;

const EVENTS: &str = "/v1/hooks/call-status";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// As jambonz tells of a call that is answered.
const STATUSES: &[&str] = &["trying", "ringing", "in-progress", "completed"];

/// Of the kernel, in a second: it is 100 wherever rollcall runs.
const TICKS: f64 = 100.0;

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Processor time that a process has used, in seconds.
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u32 = [11, 12].map(|at| fields[at].parse::<u32>().unwrap()).into_iter().sum();
    f64::from(ticks) / TICKS
}

/// Times of a kind.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let time = self.0.get(last * percent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1000.0
    }
}

/// What one load has shown.
struct Measured {
    events: usize,
    seconds: f64,
    acknowledged: Times,
}

impl Measured {
    fn say(mut self, what: &str, costs: &[(&str, f64)]) {
        let rate = self.events as f64 / self.seconds;
        let (p50, p99) = (self.acknowledged.at(50), self.acknowledged.at(99));
        eprintln!(
            "{what}: {} events, {rate:.0}/s, acknowledged p50 {p50:.1} ms, p99 {p99:.1} ms",
            self.events
        );
        for (who, seconds) in costs {
            let micros = seconds * 1e6 / self.events as f64;
            eprintln!("  {who}: {micros:.0} µs of a processor an event");
        }
    }
}

/// Clients that send one event after the other, for so long.
fn load(
    agents: &[ureq::Agent],
    urls: &[String],
    token: &str,
    writers: usize,
    length: Duration,
    first: &AtomicUsize,
) -> Measured {
    let (over, all) = (AtomicBool::new(false), Mutex::new(Times::default()));
    let bearer = format!("Bearer {token}");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (agent, url) = (&agents[writer % agents.len()], &urls[writer % urls.len()]);
            let (over, all, bearer) = (&over, &all, &bearer);
            scope.spawn(move || {
                let headers = [("authorization", bearer.as_str()), JSON[0]];
                let mut own = Times::default();
                while !over.load(Ordering::Relaxed) {
                    let n = u32::try_from(first.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let body = event(n, "in-progress");
                    let sent = Instant::now();
                    let answer = send(agent, "POST", url, &headers, body.as_bytes()).unwrap();
                    assert_eq!(answer.status, 204, "{answer:?}");
                    assert_eq!(answer.header("rollcall-kept"), None);
                    own.0.push(sent.elapsed());
                }
                all.lock().unwrap().0.append(&mut own.0);
            });
        }
        while begun.elapsed() < length {
            std::thread::park_timeout(length.saturating_sub(begun.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
    });
    let seconds = begun.elapsed().as_secs_f64();
    let acknowledged = all.into_inner().unwrap();
    Measured { events: acknowledged.0.len(), seconds, acknowledged }
}

#[test]
fn what_three_machines_cost_beside_one() {
    if !nats::here() {
        return;
    }
    let length = Duration::from_secs(number("CLUSTER_FIGURES", 1) as u64);
    let writers = number("CLUSTER_FIGURES_WRITERS", 48);
    let first = AtomicUsize::new(0);

    let single = Rollcall::up(&[]);
    let agents: Vec<_> = (0..writers).map(|_| single.new_agent()).collect();
    let url = [single.url(EVENTS)];
    let before = cpu(single.pid());
    let measured = load(&agents, &url, &single.admin(), writers, length, &first);
    measured.say("one machine", &[("rollcall", cpu(single.pid()) - before)]);
    drop(single);

    // What is kept in a slow moment would be no figure of the log.
    let setup = Setup { more: "hold = \"30s\"", ..Setup::default() };
    let mut three = Three::up(&setup).unwrap();
    let agents: Vec<_> = (0..writers).map(|n| three.nodes[n % MACHINES].new_agent()).collect();
    let urls: Vec<_> = (0..writers).map(|n| three.nodes[n % MACHINES].url(EVENTS)).collect();
    let costs = |three: &Three| {
        let nodes = three.nodes.iter().map(|node| cpu(node.pid())).sum::<f64>();
        let servers = (0..MACHINES).map(|n| cpu(three.servers.pid(n))).sum::<f64>();
        [nodes, servers].map(|seconds| seconds / MACHINES as f64)
    };
    let token = three.targets.token.clone();
    let log_bytes =
        || with_log(&three.servers, async |_, log| nats::bounds(&log).await.bytes) as f64;
    let (before, bytes) = (costs(&three), log_bytes());
    let measured = load(&agents, &urls, &token, writers, length, &first);
    let (after, bytes) = (costs(&three), log_bytes() - bytes);
    eprintln!("the log: {:.0} B an event in each copy", bytes / measured.events as f64);
    let [nodes, servers] = [0, 1].map(|n| after[n] - before[n]);
    measured.say(
        "three machines, six processes on this one",
        &[("rollcall, on each machine", nodes), ("nats-server, on each machine", servers)],
    );
    let mut alone = load(&agents[..1], &urls[..1], &token, 1, length, &first);
    eprintln!(
        "one client: acknowledged p50 {:.1} ms, p99 {:.1} ms",
        alone.acknowledged.at(50),
        alone.acknowledged.at(99)
    );
    let mut lags = lags(&three, length);
    eprintln!(
        "read at another node after {} acknowledgements, request included: p50 {:.1} ms, p99 {:.1} ms",
        lags.0.len(),
        lags.at(50),
        lags.at(99)
    );
    let events = number("CLUSTER_FIGURES", 1) * 10_000;
    catch_up(&mut three, 10_000_000, events, STATUSES);
    catch_up(&mut three, 20_000_000, events, &STATUSES[..1]);
    drop(three);
    let kills = number("CLUSTER_FIGURES_KILLS", 0);
    for without_quorum in ["refuse", "keep"] {
        if kills > 0 {
            silences(without_quorum, kills, &first);
        }
    }
}

/// Bytes of the files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => bytes_below(&entry.path()),
            Ok(about) => about.len(),
            // It was replaced just now.
            Err(_) => 0,
        })
        .sum()
}

/// Bytes of the index and of the journal of a node, once there is one index.
fn stored(node: &Rollcall) -> [u64; 2] {
    let index = until("the index that was replaced is gone", || {
        let entries = fs::read_dir(node.data()).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let all: Vec<_> = entries.filter(|path| name(path).starts_with("index-")).collect();
        <[_; 1]>::try_from(all).ok()
    });
    [bytes_below(&index[0]), bytes_below(&node.data().join("journal"))]
}

/// Memory of a process that is not shared or given back, and the most that it had, in bytes.
fn memory(pid: u32) -> [u64; 2] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    ["VmRSS:", "VmHWM:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    })
}

/// An event as jambonz sends it.
fn recorded(n: u32, status: &str) -> String {
    let mut event: serde_json::Value =
        serde_json::from_str(recorded_events().lines().next().unwrap()).unwrap();
    let members = [
        ("account_sid", A1.to_owned()),
        ("call_sid", sid(n)),
        ("call_id", format!("cid-{n}@10.0.0.9")),
        ("sbc_callid", format!("sbc-{n}")),
        ("trace_id", format!("{:032x}", u128::from(n) << 64 | u128::from(n))),
        ("from", format!("+1555{n:07}")),
        ("call_status", status.to_owned()),
    ];
    for (name, value) in members {
        event[name] = value.into();
    }
    event.to_string()
}

#[test]
fn what_calls_take_on_the_disks_and_in_memory() {
    if !nats::here() {
        return;
    }
    let calls = u32::try_from(number("CLUSTER_FIGURES_CALLS", 100)).unwrap();
    let writers = number("CLUSTER_FIGURES_WRITERS", 48);
    let three = Three::up(&Setup { more: "hold = \"30s\"", ..Setup::default() }).unwrap();
    let next = AtomicUsize::new(1);
    let log_bytes = || with_log(&three.servers, async |_, log| nats::bounds(&log).await.bytes);
    let journal = || bytes_below(&three.nodes[0].data().join("journal"));
    let (logged, kept) = (log_bytes(), journal());
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let (three, next) = (&three, &next);
            scope.spawn(move || {
                loop {
                    let n = u32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    if n > calls {
                        return;
                    }
                    for status in STATUSES {
                        post(&three.targets, writer % MACHINES, &recorded(n, status));
                    }
                }
            });
        }
    });
    three.rest();
    let events = u64::from(calls) * STATUSES.len() as u64;
    let sent = recorded(1, STATUSES[0]).len() as u64;
    let (logged, kept) = ((log_bytes() - logged) / events, (journal() - kept) / events);
    eprintln!("{events} events of {calls} calls, {sent} B each as JSON, one a request:");
    eprintln!("the log: {logged} B an event in each copy; the journal: {kept} B an event");
    for n in 0..MACHINES {
        let store = bytes_below(&three.servers.store_dir(n));
        let [now, most] = memory(three.servers.pid(n));
        let [own, own_most] = memory(three.nodes[n].pid());
        eprintln!(
            "machine {n}: files of nats-server {} B an event, memory {} MB ({} at most); memory of rollcall {} MB ({})",
            store / events,
            now / 1_000_000,
            most / 1_000_000,
            own / 1_000_000,
            own_most / 1_000_000
        );
    }
    let node = &three.nodes[0];
    for what in ["as they came", "compacted"] {
        let [index, journal] = stored(node).map(|bytes| bytes / u64::from(calls));
        eprintln!("a call on the disk of a node, {what}: index {index} B, journal {journal} B");
        node.ok(&["compact", "--drop-history"]);
    }
    // The page on sizes says no more than this.
    assert!(logged < sent, "an event takes {logged} B in the log and {sent} B as JSON");
}

/// How long nothing is acknowledged when the leading server is killed, and how long the servers take to elect another.
fn silences(without_quorum: &'static str, kills: usize, first: &AtomicUsize) {
    let setup = Setup { without_quorum, ..Setup::default() };
    let mut three = Three::up(&setup).unwrap();
    for _ in 0..kills {
        let leader = three.leader();
        let (node, over) = ((leader + 1) % MACHINES, AtomicBool::new(false));
        let targets = three.targets.clone();
        let (silence, elected) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| silence(&targets, node, first, &over));
            // Some are acknowledged before.
            std::thread::park_timeout(Duration::from_millis(500));
            three.servers.kill(leader);
            let killed = Instant::now();
            until("another server leads", || (three.leader() != leader).then_some(()));
            let elected = killed.elapsed();
            until("the log takes messages", || {
                let n = u32::try_from(first.fetch_add(1, Ordering::Relaxed)).unwrap();
                let answer = targets.send(node, "POST", EVENTS, &JSON, &event(n, "in-progress"));
                answer.is_some_and(|answer| Position::of(&answer).is_some()).then_some(())
            });
            over.store(true, Ordering::Relaxed);
            (writer.join().unwrap(), elected)
        });
        eprintln!(
            "{without_quorum}, kill -9 of the leading server: {:.2} s without an acknowledgement, another one led after {:.2} s",
            silence.as_secs_f64(),
            elected.as_secs_f64()
        );
        three.servers.run(leader);
        three.rest();
    }
}

/// The longest time in which a client got no acknowledgement.
fn silence(targets: &Targets, node: usize, first: &AtomicUsize, over: &AtomicBool) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let n = u32::try_from(first.fetch_add(1, Ordering::Relaxed)).unwrap();
        let answer = targets.send(node, "POST", EVENTS, &JSON, &event(n, "in-progress"));
        if answer.is_some_and(|answer| answer.status == 204) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest.max(last.elapsed())
}

/// How long another node takes to have what was just acknowledged: it is asked at once.
fn lags(three: &Three, length: Duration) -> Times {
    let (mut times, begun) = (Times::default(), Instant::now());
    let mut n = 0;
    while begun.elapsed() < length {
        n += 1;
        let answer = post(&three.targets, 0, &event(n, "completed"));
        let position = Position::of(&answer).unwrap().to_string();
        let sent = Instant::now();
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(n));
        let asked = [("rollcall-at-least", position.as_str())];
        let shown = three.targets.send(1, "GET", &path, &asked, "").unwrap();
        assert_eq!(shown.status, 200, "{shown:?}");
        times.0.push(sent.elapsed());
    }
    times
}

fn post(targets: &Targets, node: usize, body: &str) -> super::super::harness::Answer {
    let headers = [("content-type", "application/x-ndjson")];
    let answer = targets.send(node, "POST", EVENTS, &headers, body).unwrap();
    assert_eq!(answer.status, 204, "{answer:?}");
    answer
}

/// How fast a node that was away takes what the log has for it: these events of each call, that come beside those of
/// many others.
fn catch_up(three: &mut Three, first: usize, events: usize, of_a_call: &[&str]) {
    const BATCH: usize = 500;
    three.kill_node(2);
    let mut last = None;
    for batch in 0..events.div_ceil(BATCH) {
        // A batch has one event of each of so many calls.
        let (calls, nth) = (batch / of_a_call.len() * BATCH, batch % of_a_call.len());
        let lines =
            (0..BATCH).map(|n| event(u32::try_from(first + calls + n).unwrap(), of_a_call[nth]));
        let answer = post(&three.targets, 0, &lines.collect::<Vec<_>>().join("\n"));
        last = Position::of(&answer);
    }
    let last = last.unwrap();
    let begun = Instant::now();
    three.start_node(2);
    let (listens, mut reads, before) = (begun.elapsed(), None, three.position(2));
    until("it has caught up", || {
        let position = three.position(2);
        if position != before {
            reads.get_or_insert_with(|| begun.elapsed());
        }
        position?.reaches(&last).then_some(())
    });
    let (seconds, reads) = (begun.elapsed().as_secs_f64(), reads.unwrap().as_secs_f64());
    eprintln!(
        "catching up, {} events a call: {events} events within {seconds:.2} s of its start ({:.2} s until it listened, {reads:.2} s \
         until the first was applied): {:.0}/s, {:.0}/s from then on",
        of_a_call.len(),
        listens.as_secs_f64(),
        events as f64 / seconds,
        events as f64 / (seconds - reads)
    );
}
