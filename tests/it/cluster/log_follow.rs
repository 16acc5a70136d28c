//! Reading on and on, over kills, and not from a log that is another one.

use std::sync::Arc;

use rollcall::cluster::{
    ApiError, Follower, Following, Log, Position, Sameness, Stopped, StoredMessage,
};
use tokio::sync::{mpsc, watch};

use super::log_epochs::{delete_stream, position};
use super::nats::{self, EPOCH, Options, Servers, append, log_options, trim, until};

/// One who applies what it is handed.
struct Applier {
    follower: Follower,
    applied: Arc<watch::Sender<Position>>,
    messages: mpsc::Receiver<Vec<StoredMessage>>,
    all: Vec<StoredMessage>,
}

impl Applier {
    fn begin(log: &Log, from: Position) -> Self {
        let (applied, told) = watch::channel(from);
        let (follower, messages) = Follower::start(log, told);
        Self { follower, applied: Arc::new(applied), messages, all: Vec::new() }
    }

    fn take(&mut self) {
        while let Ok(batch) = self.messages.try_recv() {
            for message in batch {
                assert_eq!(message.seq, self.applied.borrow().seq + 1, "out of its place");
                self.applied.send_replace(position(message.seq, &message.bytes));
                self.all.push(message);
            }
        }
    }

    async fn until_applied(&mut self, seq: u64) {
        until("it is applied", async || {
            self.take();
            self.applied.borrow().seq >= seq
        })
        .await;
    }

    async fn until_it_says(&self, state: &Following) {
        until("the follower says so", async || *self.follower.state().borrow() == *state).await;
    }
}

const BEGINNING: Position = Position { epoch: EPOCH, seq: 0, crc: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_over_kills_and_a_restart() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    let mut first = Applier::begin(&log, BEGINNING);
    first.until_it_says(&Following::Current).await;
    for n in 0..20_u8 {
        append(&log, &[n]).await;
    }
    first.follower.wake(20);
    first.until_applied(20).await;
    let leader = servers.leader(&log).await;
    servers.kill(leader);
    let last = append(&log, b"without the leader").await;
    first.until_applied(last).await;
    servers.kill((leader + 1) % 3);
    // One replica alone still gives what it has.
    until("all is read of one replica", async || {
        let read = log.read_after(0).await;
        read.is_ok_and(|messages| messages.len() as u64 == last)
    })
    .await;
    servers.run(leader);
    servers.run((leader + 1) % 3);
    let last = append(&log, b"again").await;
    first.until_applied(last).await;
    // One that begins where another has stopped.
    let stopped = position(21, &first.all[20].bytes);
    let mut second = Applier::begin(&log, stopped);
    second.until_applied(last).await;
    assert_eq!(second.all, first.all[21..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_handed_on_of_a_log_that_is_not_the_one_that_was_applied() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (connection, log) = servers.log().await;
    for n in 0..10_u8 {
        append(&log, &[n]).await;
    }
    let stopped = |why: Sameness| Following::Stopped(Stopped::Differs(why));
    let wrong = Applier::begin(&log, position(5, b"another"));
    wrong.until_it_says(&stopped(Sameness::OtherMessage)).await;
    let ahead = Applier::begin(&log, position(11, b"more"));
    ahead.until_it_says(&stopped(Sameness::LostEnd { last: 10 })).await;
    trim(&servers, &log, 6).await;
    let behind = Applier::begin(&log, position(3, &[2]));
    behind.until_it_says(&stopped(Sameness::Behind { first: 7 })).await;
    let mut adjoins = Applier::begin(&log, position(6, &[5]));
    adjoins.until_applied(10).await;

    // While it is read, it is replaced by an older copy of itself that grows past what was applied.
    delete_stream(&servers).await;
    let copy = servers.make(&connection, &log_options(EPOCH, 1)).await;
    let mut last = 0;
    while last < 15 {
        last = append(&copy, b"other").await;
    }
    let mut seen = adjoins.follower.state();
    let different = |state: &Following| matches!(state, Following::Stopped(Stopped::Differs(_)));
    let seen = tokio::time::timeout(nats::LONG, seen.wait_for(different)).await;
    assert_eq!(*seen.unwrap().unwrap(), stopped(Sameness::OtherMessage));
    adjoins.take();
    assert_eq!(adjoins.all.len(), 4);
    for mut one in [wrong, ahead, behind] {
        one.take();
        assert!(one.all.is_empty(), "{:?}", one.all);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_before_new_messages_is_looked_at_again() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    let mut applier = Applier::begin(&log, BEGINNING);
    for n in 0..3_u8 {
        append(&log, &[n]).await;
    }
    applier.until_applied(3).await;
    // As if another log had come in its place without a pause.
    applier.applied.send_replace(position(3, b"another"));
    let begun = std::time::Instant::now();
    until("the last look is more than a second old", async || begun.elapsed().as_millis() > 1100)
        .await;
    append(&log, &[3]).await;
    applier.until_it_says(&Following::Stopped(Stopped::Differs(Sameness::OtherMessage))).await;
    applier.take();
    assert_eq!(applier.all.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_begins_without_servers() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"one").await;
    for n in 0..3 {
        servers.stop(n);
    }
    let connection = rollcall::cluster::Connection::begin(servers.settings("node2")).await.unwrap();
    let log = Log::of(&connection, EPOCH);
    let mut applier = Applier::begin(&log, BEGINNING);
    applier.until_it_says(&Following::Away(ApiError::Disconnected)).await;
    for n in 0..3 {
        servers.run(n);
    }
    applier.until_applied(1).await;
    assert_eq!(applier.all[0].bytes, "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_on_and_is_not_applied_yet_counts_too() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (connection, log) = servers.log().await;
    for n in 0..10_u8 {
        append(&log, &[n]).await;
    }
    // It takes all, and has applied three.
    let mut slow = Applier::begin(&log, position(3, &[2]));
    let mut taken = Vec::new();
    until("all is taken", async || {
        while let Ok(batch) = slow.messages.try_recv() {
            taken.extend(batch);
        }
        taken.len() == 7
    })
    .await;
    // The log goes back behind what is applied, and on past what was taken.
    delete_stream(&servers).await;
    let copy = servers.make(&connection, &log_options(EPOCH, 1)).await;
    for n in 0..7_u8 {
        append(&copy, &[n]).await;
    }
    for _ in 7..15 {
        append(&copy, b"other").await;
    }
    slow.until_it_says(&Following::Stopped(Stopped::Differs(Sameness::OtherMessage))).await;
    assert!(slow.messages.try_recv().is_err(), "more was handed on");
}
