//! Without a quorum of servers: events are kept or refused, nothing is ordered, and nothing is shown before it is.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use rollcall::cluster::Log;

use super::super::crash::start_fails;
use super::super::harness::{A1, Answer, event, sid, until};
use super::nats::read_to;
use super::register::Position;
use super::three::{MACHINES, Setup, Three};

impl Three {
    /// Sends an event of a call to a node.
    fn post(&self, n: usize, call: u32, status: &str) -> Answer {
        let headers = [("content-type", "application/json")];
        let body = event(call, status);
        self.targets.send(n, "POST", "/v1/hooks/call-status", &headers, &body).unwrap()
    }

    /// The status of an answer of a node about a call.
    fn shows(&self, n: usize, call: u32) -> u16 {
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(call));
        self.targets.send(n, "GET", &path, &[], "").unwrap().status
    }

    fn is_nowhere(&self, call: u32) {
        for n in 0..MACHINES {
            assert_eq!(self.shows(n, call), 404, "node {n} shows call {call}");
        }
    }

    /// Waits until each node shows a call.
    fn is_everywhere(&self, call: u32) {
        for n in 0..MACHINES {
            until("a node shows a call", || (self.shows(n, call) == 200).then_some(()));
        }
    }

    fn kept(&self, n: usize) -> u64 {
        self.figures(n)["kept"]["count"].as_u64().unwrap()
    }
}

#[test]
fn without_a_quorum_events_are_kept_or_refused_and_shown_to_nobody_before_they_are_ordered() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    // What a server by itself takes a node takes, too.
    let often = "\"duration\":\"x\",".repeat(5000);
    let strange = event(2, "ringing").replacen('{', &format!("{{{often}"), 1);
    let headers = [("content-type", "application/json")];
    let taken = three.targets.send(0, "POST", "/v1/hooks/call-status", &headers, &strange).unwrap();
    assert_eq!(taken.status, 204, "{taken:?}");
    // The third node refuses.
    three.kill_node(2);
    let config = fs::read_to_string(&three.configs[2]).unwrap();
    assert!(config.contains("\"keep\""), "{config}");
    fs::write(&three.configs[2], config.replace("\"keep\"", "\"refuse\"")).unwrap();
    three.start_node(2);
    three.all_ready();
    let ordered = three.post(0, 1, "ringing");
    assert_eq!(ordered.status, 204, "{ordered:?}");
    let before = Position::of(&ordered).unwrap();
    three.is_everywhere(1);

    let leader = three.leader();
    let gone = [leader, (leader + 1) % MACHINES];
    for n in gone {
        three.servers.kill(n);
    }
    for (n, call) in [(0, 10), (1, 11)] {
        let kept = three.post(n, call, "busy");
        assert_eq!((kept.status, kept.header("rollcall-kept")), (204, Some("1")), "{kept:?}");
        assert_eq!(kept.header("rollcall-position"), None);
    }
    let refused = three.post(2, 12, "busy");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert!(refused.body.contains("quorum"), "{refused:?}");
    for call in [10, 11, 12] {
        three.is_nowhere(call);
    }
    assert_eq!([0, 1, 2].map(|n| three.kept(n)), [1, 1, 0]);
    // A deletion is not kept: who asks for one wants to know that it has happened.
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    let deletion = three.targets.send(0, "DELETE", &path, &[], "").unwrap();
    assert_eq!(deletion.status, 503, "{deletion:?}");
    // What all share is no reason to take a node out of service, but it is said.
    let ready = three.targets.send(0, "GET", "/readyz", &[], "").unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("kept"), "{ready:?}");

    // What is kept survives its node, which starts without a quorum, too.
    three.kill_node(0);
    three.start_node(0);
    until("it says what it keeps", || (three.kept(0) == 1).then_some(()));
    assert_eq!(three.shows(0, 1), 200, "lists are those of before");
    three.is_nowhere(10);
    let kept = three.post(0, 13, "busy");
    assert_eq!(kept.header("rollcall-kept"), Some("1"), "{kept:?}");
    assert_eq!(three.kept(0), 2);

    for n in gone {
        three.servers.run(n);
    }
    for call in [10, 11, 13] {
        three.is_everywhere(call);
    }
    let after = three.rest();
    assert!(after.reaches(&before) && after != before, "{before}, then {after}");
    three.is_nowhere(12);
    let ordered = until("events are ordered again", || {
        let answer = three.post(2, 14, "busy");
        (answer.status == 204).then_some(answer)
    });
    assert!(Position::of(&ordered).unwrap().reaches(&after), "{ordered:?}");
}

/// How often each message is in the log, by its id.
fn messages(three: &Three, last: u64) -> BTreeMap<Vec<u8>, usize> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let messages = runtime.block_on(async {
        let connection = three.servers.connect("reader").await;
        let log = Log::open(&connection).await.unwrap();
        read_to(&log, 0, last).await
    });
    let mut times = BTreeMap::new();
    for message in messages {
        let begin = 2 + usize::from(message[1]);
        *times.entry(message[begin..begin + 16].to_vec()).or_default() += 1;
    }
    times
}

#[test]
fn what_an_older_copy_of_a_node_keeps_is_not_put_into_the_log_again_where_it_is_there() {
    // What servers sync is taken for granted: nothing else holds the forwarding up.
    let setup = Setup { monitors: false, more: "unverified_sync = true\n", ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    let leader = three.leader();
    let gone = [leader, (leader + 1) % MACHINES];
    for n in gone {
        three.servers.kill(n);
    }
    for call in 10..20 {
        let kept = three.post(0, call, "busy");
        assert_eq!((kept.status, kept.header("rollcall-kept")), (204, Some("1")), "{kept:?}");
    }
    three.kill_node(0);
    let data = three.nodes[0].data().to_owned();
    let (copy, later) = (data.with_extension("copy"), data.with_extension("later"));
    let copied = Command::new("cp").arg("-a").args([&data, &copy]).status().unwrap();
    assert!(copied.success());
    for n in gone {
        three.servers.run(n);
    }
    three.start_node(0);
    for call in 10..20 {
        three.is_everywhere(call);
    }
    let before = messages(&three, three.rest().seq);

    three.kill_node(0);
    fs::rename(&data, later).unwrap();
    fs::rename(copy, data).unwrap();
    three.start_node(0);
    let mut after = messages(&three, three.rest().seq);
    after.retain(|id, _| before.contains_key(id));
    assert_eq!(after, before);
}

#[test]
fn servers_that_sync_now_and_then_are_refused_by_name_before_anything_is_taken() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    // As somebody might change it one day, on one of the machines.
    let text = fs::read_to_string(three.servers.conf(1)).unwrap();
    let without = text.replace("sync_interval: always,", "");
    assert_ne!(text, without);
    fs::write(three.servers.conf(1), without).unwrap();
    three.servers.stop(1);
    three.servers.run(1);
    let refused = until("nothing is taken any more", || {
        let answer = three.post(0, 1, "busy");
        (answer.status == 503).then_some(answer)
    });
    assert!(refused.body.contains("n2") && refused.body.contains("sync"), "{refused:?}");
    assert_eq!(three.kept(0), 0);
    three.kill_node(1);
    let start = until("a start is refused", || {
        let printed = start_fails(&three.nodes[1]);
        printed.stderr.contains("sync_interval: always").then_some(printed)
    });
    assert_eq!((start.code, start.stdout.as_str()), (Some(1), ""), "{start:?}");
    assert!(start.stderr.contains("server n2"), "{start:?}");

    fs::write(three.servers.conf(1), text).unwrap();
    three.servers.stop(1);
    three.servers.run(1);
    three.start_node(1);
    until("events are taken again", || (three.post(0, 2, "busy").status == 204).then_some(()));
}
