//! Messages that a replica has lost.

use std::time::Duration;

use rollcall::cluster::{
    Connection, Follower, Log, Position, Problem, ReadError, Sameness, StoredMessage, message_crc,
    verify,
};
use serde_json::Value;

use super::super::harness::send;
use super::lost::copy_dir;
use super::nats::{self, EPOCH, LONG, Options, Servers, append, bounds, read_to, until};

/// Stops a server, flips a bit in the middle of its first block, and starts it again.
pub fn damage(servers: &mut Servers, n: usize) {
    servers.stop(n);
    let blocks = servers.blocks(n);
    let path = blocks.first().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
    // Without it the server reads its blocks at the start.
    let state = path.parent().unwrap().join("index.db");
    let _missing = std::fs::remove_file(state);
    servers.run(n);
}

async fn filled(log: &Log, messages: u64) {
    for n in 1..=messages {
        append(log, &vec![u8::try_from(n % 251).unwrap(); 60_000]).await;
    }
}

async fn all_are_current(log: &Log) {
    until("all replicas are current", async || {
        log.bounds().await.is_ok_and(|bounds| {
            bounds.leader.is_some() && bounds.replicas.iter().all(|replica| replica.current)
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_has_lost_is_read_from_the_others_and_told() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    filled(&log, 400).await;
    let follower = (servers.leader(&log).await + 1) % 3;
    damage(&mut servers, follower);
    all_are_current(&log).await;
    // By chance any of them answers: nothing is ever missing.
    let mut rounds = 0;
    while log.stats().gaps() == 0 || rounds < 10 {
        let messages = read_to(&log, 0, 400).await;
        let right =
            (1..).zip(&messages).all(|(n, bytes)| bytes[0] == u8::try_from(n % 251).unwrap());
        assert!(right && messages.len() == 400);
        rounds += 1;
        assert!(rounds < 200, "no answer of the damaged replica");
    }
    assert!(log.stats().rereads() > 0);
    let problems = verify(&log.bounds().await.unwrap(), &servers.reports(&log).await, false);
    let name = &servers.all[follower].name;
    let [Problem::Lost { server, count, .. }] = &problems[..] else { panic!("{problems:?}") };
    assert!(server == name && (1..400).contains(count), "{problems:?}");
    assert!(!problems[0].refuses());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_all_replicas_have_lost_is_named() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    filled(&log, 400).await;
    for n in 0..3 {
        damage(&mut servers, n);
        all_are_current(&log).await;
    }
    let mut hole = None;
    let mut at = 0;
    until("the hole is met", async || {
        match log.read_after(at).await {
            Ok(messages) => at = messages.last().map_or(at, |message| message.seq),
            Err(ReadError::Api(_)) => {}
            Err(error) => hole = Some(error),
        }
        hole.is_some()
    })
    .await;
    let hole = hole.unwrap();
    let ReadError::Hole { first, last, .. } = hole else { panic!("{hole:?}") };
    assert!(first == at + 1 && (first..400).contains(&last), "{hole}");
    assert!(hole.to_string().starts_with(&format!("messages {first} to {last} are in no replica")));
    // What is behind it is not given out.
    assert!(log.read_after(at).await.is_err());
}

/// The message after this one, however it is read.
async fn next(log: &Log, seq: u64) -> StoredMessage {
    let mut found = None;
    until("a message is read", async || {
        let messages = log.read_after(seq).await;
        found = messages.ok().and_then(|messages| messages.into_iter().next());
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// A log that has lost its end, and the one server that keeps it.
struct Kept {
    servers: Servers,
    connection: Connection,
    log: Log,
    /// Which messages are lost, with what each of them was.
    lost: Vec<(u64, u32)>,
    /// What was before them.
    before: Position,
}

/// One server is put back to what it was, one was away: they elect a leader that lacks what the third has. That one keeps it,
/// under numbers that are given anew; none where it leads again at once. `is_said` where somebody gives back what was lost.
async fn one_that_keeps_what_was_lost(is_said: bool) -> Option<Kept> {
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    let write = async |byte: u8, bytes: usize, count: u64| {
        for _ in 0..count {
            append(&log, &vec![byte; bytes]).await;
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    write(1, 100, 10).await;
    servers.stop(0);
    copy_dir(&servers.store_dir(0), &copy);
    servers.run(0);
    write(2, 100, 10).await;
    all_are_current(&log).await;
    servers.stop(1);
    write(3, 300, 20).await;
    let end = bounds(&log).await.last;
    assert_eq!(end, 40);
    let crc = async |seq| message_crc(&log.message_at(seq).await.unwrap().unwrap().bytes);
    let before = Position { epoch: EPOCH, seq: 20, crc: crc(20).await };
    let mut lost = Vec::new();
    for seq in 21..=end {
        lost.push((seq, crc(seq).await));
    }
    servers.stop(0);
    servers.stop(2);
    std::fs::remove_dir_all(servers.store_dir(0)).unwrap();
    copy_dir(&copy, &servers.store_dir(0));
    servers.run(0);
    servers.run(1);
    until("these two go on", async || {
        log.bounds().await.is_ok_and(|bounds| bounds.leader.is_some() && bounds.last < end)
    })
    .await;
    // As by a node that knows of nothing: one that does takes this for what it is.
    let connection = servers.connect("node2").await;
    let log = Log::of(&connection, EPOCH);
    if is_said {
        until("what was lost is said", async || {
            log.append_lost(&lost, &vec![4; 100].into(), Duration::from_secs(2)).await.is_ok()
        })
        .await;
    }
    append(&log, &[4; 100]).await;
    servers.run(2);
    until("the log has given the numbers anew", async || {
        append(&log, &[4; 100]).await;
        bounds(&log).await.last > end + 5
    })
    .await;
    all_are_current(&log).await;
    let is_anew = log.message_at(30).await.unwrap().unwrap().bytes[0] == 4;
    if !is_anew {
        return None;
    }
    // That replica answers as the others do.
    let mut answers = std::collections::BTreeSet::new();
    until("it answers", async || {
        answers.insert(next(&log, 30).await.bytes[0]);
        answers.len() == 2
    })
    .await;
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [3, 4]);
    Some(Kept { servers, connection, log, lost, before })
}

async fn kept(is_said: bool) -> Kept {
    for _ in 0..5 {
        if let Some(kept) = one_that_keeps_what_was_lost(is_said).await {
            return kept;
        }
    }
    panic!("the third one leads again each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_when_a_reader_begins_is_as_the_leader_has_it() {
    if !nats::here() {
        return;
    }
    let Kept { servers: _servers, connection, log, before, .. } = kept(false).await;
    let end = bounds(&log).await.last;
    for _ in 0..20 {
        assert!(!follows(&connection, before, end).await.contains(&3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_keeps_what_the_log_has_lost_is_told_and_does_not_count() {
    if !nats::here() {
        return;
    }
    let Kept { mut servers, connection, log, lost, before } = kept(true).await;
    // The leader's word counts where the log is compared.
    let end = bounds(&log).await.last;
    let &(seq, crc) = lost.last().unwrap();
    let position = Position { epoch: EPOCH, seq, crc };
    assert_eq!(log.compare(&position).await.unwrap(), Sameness::OtherMessage);
    for _ in 0..20 {
        assert_eq!(log.message_at(seq).await.unwrap().unwrap().bytes[0], 4);
        assert!(!follows(&connection, before, end).await.contains(&3));
    }
    let mut problems = Vec::new();
    until("it is told by name", async || {
        problems = verify(&bounds(&log).await, &servers.reports(&log).await, false);
        let [Problem::OtherMessages { server, .. }] = &problems[..] else { return false };
        *server == servers.all[2].name
    })
    .await;
    assert!(!problems[0].refuses());
    // It comes to lead.
    loop {
        let leader = servers.leader(&log).await;
        if leader == 2 {
            break;
        }
        servers.stop(leader);
        until("another one leads", async || {
            let said = log.bounds().await.ok().and_then(|bounds| bounds.leader);
            said.is_some_and(|name| name != servers.all[leader].name)
        })
        .await;
        servers.run(leader);
        all_are_current(&log).await;
    }
    for _ in 0..10 {
        assert!(!follows(&connection, before, end).await.contains(&3));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_lost_is_not_taken_of_one_that_is_left_alone_with_it() {
    if !nats::here() {
        return;
    }
    let Kept { mut servers, lost, .. } = kept(true).await;
    let connection = servers.connect_to("node3", 2).await;
    let log = Log::of(&connection, EPOCH);
    log.lose(lost);
    servers.stop(0);
    servers.stop(1);
    for _ in 0..3 {
        let read = log.read_after(29).await;
        let taken = read.iter().flatten().find(|message| message.bytes[0] == 3);
        assert_eq!(taken, None);
    }
    servers.run(0);
    servers.run(1);
    assert_eq!(next(&log, 29).await.bytes[0], 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_asks_on_and_on_for_what_may_come() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"all").await;
    let leader = servers.leader(&log).await;
    log.doubt(1..=1000);
    assert_eq!(next(&log, 0).await.bytes, "all");
    let asked = || {
        let said =
            send(&ureq::agent(), "GET", &format!("{}/jsz", servers.monitor(leader)), &[], b"");
        let said: Value = serde_json::from_str(&said.unwrap().body).unwrap();
        said["api"]["total"].as_u64().unwrap()
    };
    let before = asked();
    for _ in 0..100 {
        assert_eq!(log.read_after(1).await, Ok(Vec::new()));
    }
    let asked = asked() - before;
    assert!((100..1000).contains(&asked), "{asked}");
}

/// The first bytes of all messages after a position, up to and with this one, as a node reads them that was just started.
async fn follows(connection: &Connection, after: Position, last: u64) -> Vec<u8> {
    let log = Log::of(connection, EPOCH);
    let (_say, applied) = tokio::sync::watch::channel(after);
    let (_follower, mut batches) = Follower::start(&log, applied);
    let mut found = Vec::new();
    while found.len() < usize::try_from(last - after.seq).unwrap() {
        let batch = tokio::time::timeout(LONG, batches.recv()).await.unwrap().unwrap();
        found.extend(batch.iter().map(|message| message.bytes[0]));
    }
    found
}
