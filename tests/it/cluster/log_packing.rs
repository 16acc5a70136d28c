//! Group commit, and what becomes of submissions while there is no quorum.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rollcall::cluster::{AppendError, KeepRequest, Log, Packer, PackerOptions, PlaceError, Placed};
use tokio::sync::mpsc;

use super::nats::{self, Options, Servers, append, read_to, until};

/// A submission that is told from others by its number. What is in one is nothing to the log.
pub fn submission(n: u64) -> Bytes {
    n.to_be_bytes().to_vec().into()
}

/// The numbers in a message.
pub fn numbers(message: &[u8]) -> Vec<u64> {
    let (numbers, rest) = message.as_chunks::<8>();
    assert!(rest.is_empty(), "{} bytes are left over", rest.len());
    numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect()
}

pub fn packer(log: &Log, hold: Duration, keep: Option<mpsc::Sender<KeepRequest>>) -> Packer {
    let assemble = Arc::new(|parts: &[Bytes]| Bytes::from(parts.concat()));
    let options = PackerOptions { hold, queue_bytes: 1 << 20, assemble, keep };
    Packer::start(log.clone(), options)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_together_is_one_message_and_each_is_there_once() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"").await;
    let packer = packer(&log, Duration::from_mins(1), None);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..2000 {
        let packer = packer.clone();
        tasks.spawn(async move { (n, packer.place(submission(n)).await) });
    }
    let mut places = Vec::new();
    while let Some(done) = tasks.join_next().await {
        let (n, Ok(Placed::Logged { seq, message, nth })) = done.unwrap() else {
            panic!("not placed")
        };
        assert_eq!(numbers(&message)[nth], n);
        places.push((n, seq));
    }
    let last = places.iter().map(|(_, seq)| *seq).max().unwrap();
    let messages = read_to(&log, 0, last).await;
    assert!(messages.len() < 1000, "{} messages for 2000 submissions", messages.len());
    let mut found: Vec<(u64, u64)> = (1..)
        .zip(&messages)
        .flat_map(|(seq, message)| numbers(message).into_iter().map(move |n| (n, seq)))
        .collect();
    found.sort_unstable();
    places.sort_unstable();
    assert_eq!(found, places);
    // More than may wait is refused at once.
    let full = packer.place(vec![0; 2 << 20].into()).await;
    assert!(
        matches!(full, Err(PlaceError::Unavailable(error)) if matches!(*error, AppendError::TooLarge { .. }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_submissions_are_refused_where_nobody_keeps_and_taken_again_afterwards() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"first").await;
    let leader = servers.leader(&log).await;
    let packer = packer(&log, Duration::from_secs(2), None);
    servers.kill(leader);
    servers.kill((leader + 1) % 3);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let packer = packer.clone();
        tasks.spawn(async move { packer.place(submission(n)).await });
    }
    while let Some(done) = tasks.join_next().await {
        let done = done.unwrap();
        assert!(matches!(done, Err(PlaceError::Unavailable(_))), "{done:?}");
    }
    assert!(packer.is_away());
    servers.run(leader);
    servers.run((leader + 1) % 3);
    let mut placed = None;
    until("it is taken again", async || {
        placed = packer.place(submission(99)).await.ok();
        placed.is_some()
    })
    .await;
    assert!(!packer.is_away());
    let Some(Placed::Logged { seq, .. }) = placed else { panic!("{placed:?}") };
    let messages = read_to(&log, 0, seq).await;
    assert!(numbers(messages.last().unwrap()).contains(&99));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_never_kept_is_not_sent_again_where_it_may_be_there_already() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"").await;
    // For a shorter time than after which another leader is elected.
    let packer = packer(&log, Duration::from_millis(2500), None);
    for n in 0..3 {
        servers.signal(n, "STOP");
    }
    let refused = packer.place_or_refuse(submission(7)).await;
    for n in 0..3 {
        servers.signal(n, "CONT");
    }
    assert!(
        matches!(&refused, Err(PlaceError::Unavailable(error)) if error.may_be_there()),
        "{refused:?}"
    );
    let mut placed = None;
    until("something is taken again", async || {
        placed = packer.place(submission(8)).await.ok();
        placed.is_some()
    })
    .await;
    let Some(Placed::Logged { seq, .. }) = placed else { panic!("{placed:?}") };
    let messages = read_to(&log, 0, seq).await;
    let times = messages.iter().filter(|message| numbers(message).contains(&7)).count();
    assert!(times <= 1, "it is in the log {times} times");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_submissions_are_kept_and_what_cannot_be_kept_is_refused() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    append(&log, b"first").await;
    let leader = servers.leader(&log).await;
    let (keep, mut requests) = mpsc::channel::<KeepRequest>(4);
    let kept = Arc::new(std::sync::Mutex::new(Vec::new()));
    let disk = kept.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            let full = numbers(&request.message).contains(&666);
            if !full {
                disk.lock().unwrap().push(request.message);
            }
            let answer = if full { Err("no space".to_owned()) } else { Ok(()) };
            let _gone = request.reply.send(answer);
        }
    });
    let packer = packer(&log, Duration::from_millis(500), Some(keep));
    servers.kill(leader);
    servers.kill((leader + 1) % 3);
    for n in 0..20 {
        assert_eq!(packer.place(submission(n)).await, Ok(Placed::Kept));
    }
    let refused = packer.place(submission(666)).await;
    assert!(
        matches!(&refused, Err(PlaceError::NotKept { why, .. }) if why == "no space"),
        "{refused:?}"
    );
    // What its sender must know to be in the log is not kept.
    let refused = packer.place_or_refuse(submission(50)).await;
    assert!(matches!(&refused, Err(PlaceError::Unavailable(_))), "{refused:?}");
    let mut found: Vec<u64> =
        kept.lock().unwrap().iter().flat_map(|message| numbers(message)).collect();
    found.sort_unstable();
    assert_eq!(found, (0..20).collect::<Vec<_>>());

    servers.run(leader);
    servers.run((leader + 1) % 3);
    // What was kept goes first; then it is known that the log is back.
    let messages = kept.lock().unwrap().clone();
    for message in &messages {
        append(&log, message).await;
    }
    assert_eq!(packer.place(submission(20)).await, Ok(Placed::Kept), "it was not told yet");
    packer.recovered();
    let placed = packer.place(submission(21)).await;
    assert!(matches!(placed, Ok(Placed::Logged { .. })), "{placed:?}");
    // Those that may be kept and those that may not share no message, though they come together.
    let mut tasks = tokio::task::JoinSet::new();
    // Two of a kind after each other, so that some wait together.
    for n in (1000..1400_u64).step_by(4).flat_map(|n| [n, n + 2, n + 1, n + 3]) {
        let packer = packer.clone();
        tasks.spawn(async move {
            if n % 2 == 0 {
                packer.place(submission(n)).await
            } else {
                packer.place_or_refuse(submission(n)).await
            }
        });
    }
    let mut shared = 0;
    while let Some(done) = tasks.join_next().await {
        let Ok(Placed::Logged { message, .. }) = done.unwrap() else { panic!("not placed") };
        let numbers = numbers(&message);
        assert!(numbers.iter().all(|n| n % 2 == numbers[0] % 2), "{numbers:?}");
        shared += usize::from(numbers.len() > 1);
    }
    assert!(shared > 0, "none of 400 shared a message");
}
