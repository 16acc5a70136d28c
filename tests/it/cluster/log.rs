//! Making, opening, appending, reading, trimming.

use std::time::Duration;

use rollcall::cluster::{AppendError, Log, OpenError, ReadError, TrimError, verify};

use serde_json::{Value, json};

use super::nats::{
    self, EPOCH, Options, Servers, append, bounds, change_stream, log_options, read_to, trim,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_appended_is_read_in_its_order_until_it_is_trimmed() {
    if nats::here() {
        appended_read_trimmed(Options::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_release_that_is_taken_does_the_same() {
    if nats::here() {
        let version = nats::OLDEST.to_owned();
        appended_read_trimmed(Options { version, ..Options::default() }).await;
    }
}

async fn appended_read_trimmed(options: Options) {
    let version = options.version.clone();
    let servers = Servers::start(options);
    let connection = servers.connect("node1").await;
    assert_eq!(connection.server().unwrap().1, version);
    let missing = Log::open(&connection).await;
    // Until the servers have found each other nothing at all is said.
    assert!(matches!(missing, Err(OpenError::Missing(_) | OpenError::Api { .. })), "{missing:?}");
    let log = servers.make(&connection, &log_options(EPOCH, 100)).await;
    let again = Log::create(&connection, &log_options(EPOCH, 1)).await.unwrap_err().to_string();
    assert!(again.contains("RC_pbx is there already, of epoch e1e1"), "{again}");
    let opened = Log::open(&connection).await.unwrap();
    assert_eq!((opened.epoch(), opened.stream()), (EPOCH, "RC_pbx"));

    let empty = bounds(&log).await;
    assert_eq!((empty.first, empty.last, empty.epoch), (100, 99, Some(EPOCH)));
    assert_eq!(log.read_after(99).await, Ok(vec![]));
    for n in 0..2500_u64 {
        assert_eq!(append(&log, &n.to_le_bytes()).await, 100 + n);
    }
    let messages = read_to(&log, 99, 2599).await;
    assert_eq!(messages.len(), 2500);
    assert!((0..).zip(&messages).all(|(n, bytes): (u64, _)| bytes == &n.to_le_bytes()));
    assert_eq!(log.read_after(2599).await, Ok(vec![]));
    let one = log.message_at(700).await.unwrap().unwrap();
    assert_eq!((one.seq, &*one.bytes), (700, &600_u64.to_le_bytes()[..]));
    assert_eq!(log.message_at(2600).await, Ok(None));

    assert!(matches!(log.trim(3000).await, Err(TrimError::Beyond { asked: 3000, last: 2599 })));
    assert_eq!(log.trim(599).await, Ok(500));
    let bounds = bounds(&log).await;
    assert_eq!((bounds.first, bounds.last, bounds.messages), (600, 2599, 2000));
    trim(&servers, &log, 599).await;
    assert_eq!(log.message_at(599).await, Ok(None));
    let behind = log.read_after(99).await;
    assert_eq!(behind, Err(ReadError::Behind { wanted: 100, first: 600 }));
    assert_eq!(log.read_after(599).await.unwrap()[0].seq, 600);
    assert!(verify(&bounds, &servers.reports(&log).await, false).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_submission_may_be_larger_than_what_is_packed_and_too_large_is_told_before_it_is_sent()
{
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    let most = log.message_bytes_max();
    assert!((900 * 1024..1024 * 1024).contains(&most), "{most}");
    let large = vec![7; most];
    assert_eq!(append(&log, &large).await, 1);
    let over = log.append(vec![7; most + 1].into(), Duration::from_secs(2)).await;
    assert_eq!(over, Err(AppendError::TooLarge { bytes: most + 1, most }));
    assert_eq!(read_to(&log, 0, 1).await, [large]);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_sync_now_and_then_are_refused_by_name() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options { sync_always: false, ..Options::default() });
    let (_connection, log) = servers.log().await;
    let bounds = bounds(&log).await;
    let problems = verify(&bounds, &servers.reports(&log).await, false);
    let mut said: Vec<_> = problems.iter().map(ToString::to_string).collect();
    said.sort();
    let expected = ["n1", "n2", "n3"].map(|name| {
        format!(
            "server {name} acknowledges before its disk has it: expected sync_interval: always in nats.conf"
        )
    });
    assert_eq!(said, expected);
    assert!(problems.iter().all(rollcall::cluster::Problem::refuses));
    // An operator's word does not count against what a server says itself.
    assert_eq!(verify(&bounds, &servers.reports(&log).await, true).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_has_changed_is_named_with_what_was_changed() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let (_connection, log) = servers.log().await;
    let problems = async || {
        let found = verify(&bounds(&log).await, &[], true);
        found
            .into_iter()
            .map(|problem| (problem.to_string(), problem.refuses()))
            .collect::<Vec<_>>()
    };
    assert_eq!(problems().await, []);
    let own = format!("rc.pbx.log.{EPOCH}.*");
    for (changes, said) in [
        (json!({ "no_ack": true }), "no_ack true: expected false".to_owned()),
        (json!({ "max_msgs_per_subject": 3 }), "max_msgs_per_subject 3: expected -1".to_owned()),
        (json!({ "max_msg_size": 300 }), "max_msg_size 300: expected -1".to_owned()),
        (json!({ "discard": "new" }), "discard new: expected old".to_owned()),
        (json!({ "subjects": ["rc.pbx.>"] }), format!("subjects rc.pbx.>: expected {own}")),
        (
            json!({ "subject_transform": { "src": own, "dest": "x" } }),
            "has subject_transform {\"src\":\"".to_owned(),
        ),
    ] {
        let before = change_stream(&servers, &changes).await;
        let found = problems().await;
        assert_eq!(found.len(), 1, "{changes}: {found:?}");
        assert!(found[0].1 && found[0].0.contains(&said), "{changes}: {found:?}");
        let keys = changes.as_object().unwrap().keys();
        let undone = keys.map(|key| (key.clone(), before[key].clone()));
        change_stream(&servers, &Value::Object(undone.collect())).await;
        assert_eq!(problems().await, [], "{changes}");
    }
    // What cannot be undone comes last. The stream takes messages and gives them, and nothing is lost.
    change_stream(&servers, &json!({ "deny_purge": true })).await;
    let found = problems().await;
    assert!(found.len() == 1 && !found[0].1 && found[0].0.contains("deny_purge true"), "{found:?}");
    change_stream(&servers, &json!({ "sealed": true })).await;
    let found = problems().await;
    assert!(
        found.iter().any(|(said, refuses)| *refuses && said.contains("sealed true")),
        "{found:?}"
    );
}
