//! Messages that a replica has lost.

use rollcall::cluster::{Log, Problem, ReadError, Sameness, StoredMessage, message_crc, verify};

use super::lost::copy_dir;
use super::nats::{self, EPOCH, Options, Servers, append, bounds, read_to, until};

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

/// One server is put back to what it was, one was away: they elect a leader that lacks what the third has. That one keeps it,
/// under numbers that are given anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_keeps_what_the_log_has_lost_is_told_and_does_not_count() {
    if !nats::here() {
        return;
    }
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
    let lost = bounds(&log).await.last;
    assert_eq!(lost, 40);
    let position = rollcall::cluster::Position {
        epoch: EPOCH,
        seq: lost,
        crc: message_crc(&log.message_at(lost).await.unwrap().unwrap().bytes),
    };
    servers.stop(0);
    servers.stop(2);
    std::fs::remove_dir_all(servers.store_dir(0)).unwrap();
    copy_dir(&copy, &servers.store_dir(0));
    servers.run(0);
    servers.run(1);
    until("these two go on", async || {
        log.bounds().await.is_ok_and(|bounds| bounds.leader.is_some() && bounds.last < lost)
    })
    .await;
    servers.run(2);
    // As by a node that knows of nothing: one that does takes this for what it is.
    let connection = servers.connect("node2").await;
    let other = Log::of(&connection, EPOCH);
    until("the log has given the numbers anew", async || {
        append(&other, &[4; 100]).await;
        bounds(&other).await.last > lost + 5
    })
    .await;
    all_are_current(&other).await;
    // That replica answers as the others do.
    let mut answers = std::collections::BTreeSet::new();
    until("it answers", async || {
        answers.insert(next(&other, 30).await.bytes[0]);
        answers.len() == 2
    })
    .await;
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [3, 4]);
    // The leader's word counts where the log is compared, and where it is known that the log had lost its end.
    other.doubt_until(lost);
    for _ in 0..20 {
        assert_eq!(other.message_at(lost).await.unwrap().unwrap().bytes[0], 4);
        assert_eq!(next(&other, 30).await.bytes[0], 4);
    }
    assert_eq!(other.compare(&position).await.unwrap(), Sameness::OtherMessage);
    // A server that has not all yet says nothing for either side: then both are named.
    until("it is named", async || {
        let problems = verify(&bounds(&other).await, &servers.reports(&other).await, false);
        let named = problems.iter().map(|problem| match problem {
            Problem::OtherMessages { server, .. } => server.as_str(),
            _ => panic!("{problems:?}"),
        });
        named.collect::<Vec<_>>() == [servers.all[2].name.as_str()]
    })
    .await;
}
