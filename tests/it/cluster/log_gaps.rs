//! Messages that a replica has lost.

use rollcall::cluster::{Log, Problem, ReadError, verify};

use super::nats::{self, Options, Servers, append, read_to, until};

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
