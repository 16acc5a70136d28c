//! What nodes tell each other.

use std::time::Instant;

use rollcall::cluster::{Heartbeat, Hints, Peers};

use super::nats::{self, Options, Servers, until};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_hear_each_other_through_different_servers_and_junk_is_passed_over() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (first, second) =
        (servers.connect_to("node1", 0).await, servers.connect_to("node2", 1).await);
    assert_ne!(first.server(), second.server());
    let own = Hints::begin(&first, "one").await.unwrap();
    let mut other = Hints::begin(&second, "two").await.unwrap();
    let (say, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(heartbeat) = other.next().await {
            let _gone = say.send(heartbeat);
        }
    });
    let options =
        async_nats::ConnectOptions::with_user_and_password("rollcall".into(), "pw".into());
    let stranger = options.connect(servers.addresses()[0].as_str()).await.unwrap();
    let reports = vec![];
    let told = Heartbeat {
        node: "node1".to_owned(),
        start: "one".to_owned(),
        newest: 7,
        servers: reports,
        reads: 1,
        ..Heartbeat::default()
    };
    let mut peers = Peers::default();
    until("the other one hears it", async || {
        for junk in [
            "",
            "{",
            "{\"node\":\"a.b\"}",
            "{\"node\":\"node2\",\"start\":\"two\"}",
            &"x".repeat(20_000),
        ] {
            stranger.publish("rc.pbx.hint", junk.to_owned().into()).await.unwrap();
        }
        own.tell(&told).await.unwrap();
        while let Ok(heartbeat) = heard.try_recv() {
            assert_eq!(heartbeat, told);
            peers.note(heartbeat, Instant::now());
        }
        peers.alive(Instant::now()).count() == 1
    })
    .await;
    let (one, two) = ("node1".parse().unwrap(), "node2".parse().unwrap());
    assert!(!peers.is_first(&two, "", Instant::now()));
    assert!(Peers::default().is_first(&one, "", Instant::now()));
}
