//! A message of a later release, which this one cannot read.

use rollcall::cluster::Log;

use super::super::harness::{event, until};
use super::nats::append;
use super::three::{MACHINES, Setup, Three};

#[test]
fn nodes_stop_at_a_message_of_a_later_release_and_say_which_they_need() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let post = |three: &Three, call: u32| {
        let path = "/v1/hooks/call-status";
        let headers = [("content-type", "application/json")];
        let taken = three.targets.send(0, "POST", path, &headers, &event(call, "completed"));
        assert_eq!(taken.unwrap().status, 204);
    };
    post(&three, 1);
    let before = three.rest().seq;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_connection, log, later) = runtime.block_on(async {
        let connection = three.servers.connect("later").await;
        let log = Log::open(&connection).await.unwrap();
        // Its version is all that is known of it.
        let seq = append(&log, &[&[2][..], &[0xff; 40]].concat()).await;
        (connection, log, seq)
    });
    assert_eq!(later, before + 1);
    let said = format!(
        "message {later}: a message of version 2, and this release reads up to 1: expected a later release here"
    );
    let all_stop = |three: &Three| {
        for n in 0..MACHINES {
            let figures = until("the node stops", || {
                Some(three.figures(n)).filter(|figures| figures["state"] == "stopped")
            });
            assert!(figures["why"].as_str().unwrap().contains(&said), "{figures}");
            assert_eq!(figures["applied"], before);
            let ready = three.targets.send(n, "GET", "/readyz", &[], "").unwrap();
            assert!(ready.status == 503 && ready.body.contains(&said), "{ready:?}");
        }
    };
    all_stop(&three);
    // It is in the log, for those that read on.
    post(&three, 2);
    for n in 0..MACHINES {
        three.kill_node(n);
        three.start_node(n);
    }
    all_stop(&three);
    let rest = runtime.block_on(async { log.read_after(later).await.unwrap() });
    assert!(rest.iter().any(|message| message.bytes.len() > 100), "{rest:?}");
}
