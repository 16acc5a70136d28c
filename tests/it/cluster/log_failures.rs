//! Servers die, hang and come back under load: what was acknowledged is read, in its place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rollcall::cluster::{Follower, Log, Packer, Placed, Position, ReadError};

use super::log_packing::{numbers, packer, submission};
use super::nats::{self, EPOCH, LONG, Options, Servers, append, pause, until};

const WRITERS: u64 = 32;

/// Writers that note what was acknowledged, and a reader that notes what it met.
struct Load {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicU64>,
    /// By number: the message that it was acknowledged in.
    acknowledged: Arc<Mutex<BTreeMap<u64, u64>>>,
    refused: Arc<AtomicU64>,
    longest_silence: Arc<Mutex<(Instant, Duration)>>,
    tasks: tokio::task::JoinSet<()>,
}

impl Load {
    /// `from` is the first number that they use.
    fn begin(packer: &Packer, from: u64) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            next: Arc::new(AtomicU64::new(from)),
            acknowledged: Arc::default(),
            refused: Arc::default(),
            longest_silence: Arc::new(Mutex::new((Instant::now(), Duration::ZERO))),
            tasks: tokio::task::JoinSet::new(),
        };
        for _ in 0..WRITERS {
            let (packer, stop, next) = (packer.clone(), load.stop.clone(), load.next.clone());
            let (acknowledged, silence) = (load.acknowledged.clone(), load.longest_silence.clone());
            let refused = load.refused.clone();
            load.tasks.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let Ok(Placed::Logged { seq, .. }) = packer.place(submission(n)).await else {
                        refused.fetch_add(1, Ordering::SeqCst);
                        continue;
                    };
                    acknowledged.lock().unwrap().insert(n, seq);
                    let mut silence = silence.lock().unwrap();
                    silence.1 = silence.1.max(silence.0.elapsed());
                    silence.0 = Instant::now();
                }
            });
        }
        load
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Waits until so many more have been acknowledged.
    async fn more(&self, count: usize) {
        let before = self.count();
        until("more is acknowledged", async || self.count() >= before + count).await;
    }

    async fn end(mut self) -> (BTreeMap<u64, u64>, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        let silence = self.longest_silence.lock().unwrap().1;
        (self.acknowledged.lock().unwrap().clone(), silence)
    }
}

/// What was met, by number: the messages that it was in.
type Met = Arc<Mutex<BTreeMap<u64, Vec<u64>>>>;

/// Reads on and on. What it has met, by number, and the message after which it goes on.
fn follow(log: &Log) -> (Met, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let (met, at) = (Met::default(), Arc::new(AtomicU64::new(1)));
    let (log, into, place) = (log.clone(), met.clone(), at.clone());
    let task = tokio::spawn(async move {
        loop {
            let after = place.load(Ordering::SeqCst);
            match log.read_after(after).await {
                Ok(messages) if messages.is_empty() => pause().await,
                Ok(messages) => {
                    let mut met = into.lock().unwrap();
                    for message in messages {
                        for n in numbers(&message.bytes) {
                            met.entry(n).or_default().push(message.seq);
                        }
                        place.store(message.seq, Ordering::SeqCst);
                    }
                }
                Err(ReadError::Api(_)) => pause().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    (met, at, task)
}

async fn checked(log: &Log, what: &str, harm: impl AsyncFnOnce(&Load)) {
    static ROUND: AtomicU64 = AtomicU64::new(1);
    let round = ROUND.fetch_add(1, Ordering::SeqCst);
    let packer = packer(log, Duration::from_mins(1), None);
    let (met, at, reader) = follow(log);
    let load = Load::begin(&packer, round << 32);
    load.more(500).await;
    harm(&load).await;
    load.more(500).await;
    // All of it passes within the time for which messages are tried.
    assert_eq!(load.refused.load(Ordering::SeqCst), 0);
    let (acknowledged, silence) = load.end().await;
    let last = *acknowledged.values().max().unwrap();
    until("the reader has all", async || {
        assert!(!reader.is_finished(), "the reader has ended");
        at.load(Ordering::SeqCst) >= last
    })
    .await;
    reader.abort();
    let met = met.lock().unwrap();
    for (n, seq) in &acknowledged {
        let places = met.get(n);
        assert!(
            places.is_some_and(|places| places.contains(seq)),
            "{n} acknowledged as {seq}: {places:?}"
        );
    }
    let twice = met.values().filter(|places| places.len() > 1).count();
    eprintln!(
        "{what}: {} acknowledged, {twice} twice, silent for {silence:?} at most",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_missing_after_kills_and_pauses() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"begin").await;

    let leader = servers.leader(&log).await;
    checked(&log, "kill -9 of the leader", async |load| {
        servers.kill(leader);
        load.more(500).await;
        servers.run(leader);
    })
    .await;

    let follower = (servers.leader(&log).await + 1) % 3;
    checked(&log, "kill -9 of a follower", async |load| {
        servers.kill(follower);
        load.more(500).await;
        servers.run(follower);
    })
    .await;

    let leader = servers.leader(&log).await;
    checked(&log, "SIGSTOP of the leader", async |load| {
        servers.signal(leader, "STOP");
        load.more(500).await;
        servers.signal(leader, "CONT");
    })
    .await;

    checked(&log, "kill -9 of all", async |_| {
        for n in 0..3 {
            servers.kill(n);
        }
        for n in 0..3 {
            servers.run(n);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_own_server_hangs_goes_to_another() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"begin").await;
    let leader = servers.leader(&log).await;
    // Its own server is a follower: the log itself goes on.
    let own = (leader + 1) % 3;
    let connection = servers.connect_to("node2", own).await;
    assert_eq!(connection.server().unwrap().0, servers.all[own].name);
    let reading = Log::of(&connection, log.epoch());
    assert_eq!(reading.read_after(0).await.unwrap().len(), 1);
    servers.signal(own, "STOP");
    let seq = append(&log, b"meanwhile").await;
    let mut read = Vec::new();
    until("it is read through another server", async || {
        read = reading.read_after(seq - 1).await.unwrap_or_default();
        !read.is_empty()
    })
    .await;
    assert_eq!(read[0].bytes, "meanwhile");
    assert_ne!(connection.server().unwrap().0, servers.all[own].name);
    servers.signal(own, "CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_not_waited_for() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"begin").await;
    let leader = servers.leader(&log).await;
    let (hangs, own) = ((leader + 1) % 3, (leader + 2) % 3);
    let connection = servers.connect_to("node2", own).await;
    let reading = Log::of(&connection, log.epoch());
    until("every replica has it", async || {
        log.bounds().await.is_ok_and(|bounds| bounds.replicas.iter().all(|replica| replica.current))
    })
    .await;
    let mut unanswered = 0;
    // A replica begins to answer some seconds after the stream was made; then a third of the questions goes to it.
    until("it is asked", async || {
        servers.signal(hangs, "STOP");
        unanswered = 0;
        for _ in 0..60 {
            unanswered += usize::from(reading.read_after(0).await.is_err());
        }
        servers.signal(hangs, "CONT");
        unanswered > 0 || reading.stats().rereads() > 10
    })
    .await;
    assert!(unanswered <= 6, "{unanswered} of 60");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_begins_while_a_replica_hangs() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"begin").await;
    let leader = servers.leader(&log).await;
    let (hangs, own) = ((leader + 1) % 3, (leader + 2) % 3);
    let connection = servers.connect_to("node2", own).await;
    let reading = Log::of(&connection, EPOCH);
    // The servers leave one that hangs after some seconds. Until then a third of the questions goes to it.
    until("a node begins before they do", async || {
        servers.signal(hangs, "CONT");
        pause().await;
        servers.signal(hangs, "STOP");
        let beginning = Position { epoch: EPOCH, seq: 0, crc: 0 };
        let (_say, applied) = tokio::sync::watch::channel(beginning);
        let (_follower, mut batches) = Follower::start(&Log::of(&connection, EPOCH), applied);
        let batch = tokio::time::timeout(LONG, batches.recv()).await.unwrap().unwrap();
        assert_eq!(batch[0].bytes, "begin");
        let before = reading.stats().rereads();
        for _ in 0..30 {
            let _unanswered = reading.read_after(0).await;
        }
        reading.stats().rereads() > before + 6
    })
    .await;
    servers.signal(hangs, "CONT");
}
