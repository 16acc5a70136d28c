//! Whether it is the same log.

use std::time::{Duration, Instant};

use rollcall::cluster::{AppendError, Epoch, Log, Position, Sameness};

use super::nats::{self, EPOCH, Options, Servers, append, bounds, log_options, trim, until};

const OTHER: Epoch = Epoch::from_bytes([0xe2; 16]);

pub async fn delete_stream(servers: &Servers) {
    let options =
        async_nats::ConnectOptions::with_user_and_password("rollcall".into(), "pw".into());
    let client = options.connect(servers.addresses()[0].as_str()).await.unwrap();
    until("the stream is deleted", async || {
        let answer = client.request("$JS.API.STREAM.DELETE.RC_pbx", "".into()).await;
        let text = answer.map(|answer| String::from_utf8_lossy(&answer.payload).into_owned());
        text.is_ok_and(|text| text.contains("\"success\":true") || text.contains("10059"))
    })
    .await;
}

pub fn position(seq: u64, bytes: &[u8]) -> Position {
    Position { epoch: EPOCH, seq, crc: rollcall::cluster::message_crc(bytes) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_told_from_one_that_took_its_place() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (connection, log) = servers.log().await;
    let before = Position { epoch: EPOCH, seq: 0, crc: 0 };
    assert_eq!(log.compare(&before).await, Ok(Sameness::Adjoins));
    for n in 1..=5_u64 {
        assert_eq!(append(&log, &[u8::try_from(n).unwrap()]).await, n);
    }
    assert_eq!(log.compare(&position(5, &[5])).await, Ok(Sameness::Same));
    assert_eq!(log.compare(&position(3, &[3])).await, Ok(Sameness::Same));
    assert_eq!(log.compare(&position(3, &[4])).await, Ok(Sameness::OtherMessage));
    assert_eq!(log.compare(&position(6, &[6])).await, Ok(Sameness::LostEnd { last: 5 }));
    trim(&servers, &log, 3).await;
    assert_eq!(log.compare(&position(3, &[3])).await, Ok(Sameness::Adjoins));
    assert_eq!(log.compare(&position(2, &[2])).await, Ok(Sameness::Behind { first: 4 }));

    // A log of another life, under the same name: nothing of this one gets into it.
    delete_stream(&servers).await;
    assert_eq!(log.compare(&position(5, &[5])).await, Ok(Sameness::Gone));
    let other = servers.make(&connection, &log_options(OTHER, 6)).await;
    assert_eq!(log.compare(&position(5, &[5])).await, Ok(Sameness::OtherEpoch(Some(OTHER))));
    let refused = log.append(vec![6].into(), Duration::from_secs(2)).await;
    assert_eq!(refused, Err(AppendError::NoLeader));
    assert_eq!(bounds(&other).await.messages, 0);
    assert_eq!(Log::open(&connection).await.unwrap().epoch(), OTHER);
    assert_eq!(append(&other, &[6]).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_lost_its_end_takes_nothing_more() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (connection, log) = servers.log().await;
    for n in 1..=5_u64 {
        assert_eq!(append(&log, b"before").await, n);
    }
    // As a copy of the servers' directories from before would look: the same epoch, and less in it.
    delete_stream(&servers).await;
    let lost = servers.make(&connection, &log_options(EPOCH, 1)).await;
    assert_eq!(append(&lost, b"after").await, 1);
    assert_eq!(log.compare(&position(5, b"before")).await, Ok(Sameness::LostEnd { last: 1 }));
    assert_eq!(log.compare(&position(1, b"before")).await, Ok(Sameness::OtherMessage));
    let applied: Vec<_> = (1..=5).map(|seq| position(seq, b"before")).collect();
    assert_eq!(log.agreement(&applied).await, Ok(None));
    let applied = [position(1, b"after"), position(2, b"before"), position(9, b"before")];
    assert_eq!(log.agreement(&applied).await, Ok(Some(0)));
    assert_eq!(log.agreement(&applied[..1]).await, Ok(Some(0)));
    assert_eq!(log.agreement(&[]).await, Ok(None));
    let error = log.append(b"more".to_vec().into(), Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(error, AppendError::WentBack { seq: 2, newest: 5 });
    assert!(!error.passes() && error.may_be_there());
    // What was read or applied before counts as well.
    let restarted = Log::of(&connection, EPOCH);
    restarted.knows(5);
    let error = restarted.append(b"more".to_vec().into(), Duration::from_secs(5)).await;
    assert_eq!(error, Err(AppendError::WentBack { seq: 3, newest: 5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_quorum_is_not_believed_to_have_lost_anything() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    for n in 1..=3_u64 {
        assert_eq!(append(&log, b"before").await, n);
    }
    let leader = servers.leader(&log).await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for n in others {
        servers.kill(n);
    }
    // It answers for some seconds more as if it led, and might lack what the others have.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(12) {
        let found = log.compare(&position(5, b"more")).await;
        assert!(found.is_err(), "after {:?}: {found:?}", begun.elapsed());
    }
    for n in others {
        servers.run(n);
    }
    until("what is missing is told once a quorum says so", async || {
        log.compare(&position(5, b"more")).await == Ok(Sameness::LostEnd { last: 3 })
    })
    .await;
}
