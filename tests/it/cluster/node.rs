//! One node: how it begins with a log, what it says of itself, and where it stops.

use std::fs;
use std::time::Duration;

use rollcall::cluster::{Connection, Epoch, Log};
use serde_json::{Value, json};

use super::super::harness::{A1, Answer, Rollcall, event, sid, until};
use super::nats::{bounds, change_stream, log_options, remove, trim};
use super::three::{Setup, Three, begun, create};

/// What `status` says of a node.
pub fn figures(node: &Rollcall) -> Value {
    let figures: Value = serde_json::from_str(&node.figures()).unwrap();
    figures["cluster"].clone()
}

/// Waits until a node is in this state. Returns its figures.
pub fn until_it_is(node: &Rollcall, state: &str) -> Value {
    until(&format!("the node is {state}"), || {
        let figures = figures(node);
        (figures["state"] == state).then_some(figures)
    })
}

fn ready(node: &Rollcall, what: &str) -> Answer {
    node.send("GET", &format!("/readyz{what}"), &[], b"").unwrap()
}

/// Sends an event of a call to a node.
fn post(three: &Three, n: usize, call: u32) -> Answer {
    let headers = [("content-type", "application/json")];
    let body = event(call, "completed");
    three.targets.send(n, "POST", "/v1/hooks/call-status", &headers, &body).unwrap()
}

/// Does something to the log itself.
pub fn with_log<T>(
    servers: &super::nats::Servers,
    work: impl AsyncFnOnce(Connection, Log) -> T,
) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connection = servers.connect("test").await;
        let mut log = None;
        super::nats::until("the log is there", async || {
            log = Log::open(&connection).await.ok();
            log.is_some()
        })
        .await;
        work(connection.clone(), log.unwrap()).await
    })
}

#[test]
fn a_store_that_was_alone_begins_a_log_and_the_others_begin_with_its_backup() {
    let Some((mut nodes, servers, configs, dir)) = begun(&Setup::default()) else { return };
    // Two stores that were alone, with calls of their own.
    for (n, node) in nodes.iter_mut().enumerate().take(2) {
        let config = fs::read_to_string(&configs[n]).unwrap();
        fs::write(&configs[n], "").unwrap();
        node.start();
        assert_eq!(node.post_events(&event(u32::try_from(n).unwrap(), "completed")).status, 204);
        node.stop();
        fs::write(&configs[n], config).unwrap();
    }
    until("the log is made", || (create(&servers, &configs[0]).code == Some(0)).then_some(()));
    nodes[0].start();
    let first = until("the first has begun", || {
        let figures = figures(&nodes[0]);
        (figures["applied"] == 1).then_some(figures)
    });
    // What was there is shown as before.
    let token = fs::read_to_string(nodes[0].data().join("admin.token")).unwrap();
    assert_eq!(
        nodes[0].get(token.trim(), &format!("/v1/Accounts/{A1}/Calls/{}", sid(0))).status,
        200
    );
    // Neither another one with calls nor an empty one mixes with it.
    for n in [1, 2] {
        nodes[n].start();
        let figures = until_it_is(&nodes[n], "stopped");
        let why = figures["why"].as_str().unwrap();
        assert!(why.contains("rollcall backup"), "{why}");
        assert_eq!((&figures["epoch"], &figures["applied"]), (&Value::Null, &Value::from(0)));
        assert_eq!(ready(&nodes[n], "").status, 503);
        assert_eq!(ready(&nodes[n], "?for=events").status, 503);
        if n == 1 {
            let refused = nodes[n].post_events(&event(9, "ringing"));
            assert_eq!(refused.status, 503, "{refused:?}");
        }
        nodes[n].stop();
    }
    // A backup has its place in the log.
    let backup = dir.path().join("backup");
    nodes[0].ok(&["backup", backup.to_str().unwrap()]);
    for n in [1, 2] {
        let data = dir.path().join(format!("joined-{n}"));
        let mut joined = Rollcall::down_in(&data);
        joined.ok(&["restore", backup.to_str().unwrap()]);
        joined.set_args(&["--config", configs[n].to_str().unwrap()]);
        joined.start();
        let figures = until_it_is(&joined, "live");
        assert_eq!(figures["epoch"], first["epoch"]);
        nodes[n] = joined;
    }
    assert_eq!(nodes[0].post_events(&event(3, "completed")).status, 204);
    for node in &nodes {
        let list = until("both calls are listed", || {
            let list = node.get(token.trim(), &format!("/v1/Accounts/{A1}/Calls"));
            let calls = list.json().as_array()?.len();
            (calls == 2).then_some(list)
        });
        assert!(list.body.contains(&sid(3)) && list.body.contains(&sid(0)), "{list:?}");
    }
    drop(servers);
}

#[test]
fn a_message_of_a_later_release_stops_a_node_which_says_so_and_passes_over_nothing() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    assert_eq!(post(&three, 0, 1).status, 204);
    let before = three.rest().seq;
    with_log(&three.servers, async |_, log| {
        let later = log.append(vec![200; 40].into(), Duration::from_secs(5)).await;
        assert_eq!(later, Ok(before + 1));
    });
    for node in &three.nodes {
        let figures = until_it_is(node, "stopped");
        assert!(figures["why"].as_str().unwrap().contains("later release"), "{figures}");
        let answer = ready(node, "");
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.body.contains("later release"), "{answer:?}");
        // What comes now is in the log all the same, and is applied by a later release.
        assert_eq!(ready(node, "?for=events").status, 200);
    }
    assert_eq!(post(&three, 1, 2).status, 204);
    // Who needs to know what became of a change is told that it is not known here.
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    let deletion = three.targets.send(0, "DELETE", &path, &[], "").unwrap();
    assert_eq!(deletion.status, 503, "{deletion:?}");
    assert!(deletion.body.contains("in the log as message"), "{deletion:?}");
    assert!(deletion.body.contains("applies nothing more"), "{deletion:?}");
    for n in 0..3 {
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(2));
        assert_eq!(three.targets.send(n, "GET", &path, &[], "").unwrap().status, 404);
        assert_eq!(figures(&three.nodes[n])["applied"], before);
    }
}

#[test]
fn a_node_that_is_further_behind_than_the_log_reaches_says_so_and_is_not_ready() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    assert_eq!(post(&three, 0, 1).status, 204);
    three.rest();
    three.kill_node(2);
    for call in 2..5 {
        assert_eq!(post(&three, 0, call).status, 204);
    }
    with_log(&three.servers, async |_, log| {
        let last = bounds(&log).await.last;
        trim(&three.servers, &log, last - 1).await;
    });
    three.start_node(2);
    let figures = until_it_is(&three.nodes[2], "behind");
    let why = figures["why"].as_str().unwrap();
    assert!(why.contains("rollcall cluster seed"), "{why}");
    let answer = ready(&three.nodes[2], "");
    assert!(answer.status == 503 && answer.body.contains("rollcall cluster seed"), "{answer:?}");
    // The others have all of it and go on, and the three figures say so.
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(4));
    assert_eq!(three.targets.send(0, "GET", &path, &[], "").unwrap().status, 200);
    assert_eq!(three.targets.send(2, "GET", &path, &[], "").unwrap().status, 404);
    assert_eq!(ready(&three.nodes[0], "").status, 200);
}

#[test]
fn a_log_that_was_made_anew_gets_nothing_from_nodes_that_have_applied_another() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    assert_eq!(post(&three, 0, 1).status, 204);
    three.rest();
    let other = Epoch::from_bytes([0x77; 16]);
    with_log(&three.servers, async |connection, log| {
        remove(&connection, &log).await;
        three.servers.make(&connection, &log_options(other, 1)).await;
    });
    for node in &three.nodes {
        let figures = until_it_is(node, "different");
        assert_ne!(figures["epoch"], other.to_string());
        assert_eq!(ready(node, "").status, 503);
        let events = ready(node, "?for=events");
        assert!(events.status == 503 && events.body.contains(&other.to_string()), "{events:?}");
    }
    for (n, node) in three.nodes.iter().enumerate() {
        let refused = post(&three, n, 2);
        assert_eq!(refused.status, 503, "{refused:?}");
        assert_eq!(figures(node)["kept"]["count"], 0);
    }
    with_log(&three.servers, async |_, log| {
        let bounds = bounds(&log).await;
        assert_eq!((log.epoch(), bounds.last), (other, 0));
    });
}

#[test]
fn what_one_node_has_seen_of_its_server_counts_for_all_when_it_is_gone() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    three.kill_node(2);
    // It learns from the other one what the third has seen of its server.
    three.kill_node(0);
    three.start_node(0);
    let taken = until("events are taken, and not kept", || {
        let answer = post(&three, 0, 1);
        let is_logged = answer.status == 204 && answer.header("rollcall-kept").is_none();
        is_logged.then_some(answer)
    });
    assert!(taken.header("rollcall-position").is_some(), "{taken:?}");
    let figures = figures(&three.nodes[0]);
    let servers = figures["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3);
    assert!(servers.iter().all(|server| server["sync_always"] == true), "{servers:?}");
}

#[test]
fn a_node_that_was_away_is_ready_once_it_has_all_that_the_others_have() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    three.kill_node(2);
    let headers = [("content-type", "application/x-ndjson")];
    for batch in 0..20 {
        let events: Vec<_> = (0..100).map(|n| event(1000 + 100 * batch + n, "completed")).collect();
        let body = events.join("\n");
        let taken = three.targets.send(0, "POST", "/v1/hooks/call-status", &headers, &body);
        assert_eq!(taken.unwrap().status, 204);
    }
    three.start_node(2);
    until("it is ready", || (ready(&three.nodes[2], "").status == 200).then_some(()));
    let path = format!("/v1/Accounts/{A1}/Calls");
    let list = three.targets.send(2, "GET", &path, &[], "").unwrap();
    assert_eq!(list.json().as_array().unwrap().len(), 2000);
}

#[test]
fn a_server_that_does_not_sync_any_more_gets_nothing_though_it_runs() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    assert_eq!(post(&three, 0, 1).status, 204);
    let conf = three.servers.conf(2);
    let text = fs::read_to_string(&conf).unwrap();
    assert!(text.contains("sync_interval: always,"), "{text}");
    fs::write(&conf, text.replace("sync_interval: always,", "")).unwrap();
    three.servers.stop(2);
    three.servers.run(2);
    for n in 0..3 {
        until("events are refused", || (post(&three, n, 2).status == 503).then_some(()));
        let refused = post(&three, n, 2);
        assert!(refused.body.contains("server n3 acknowledges before"), "{refused:?}");
        assert_eq!(ready(&three.nodes[n], "?for=events").status, 503);
        // What is there is shown.
        assert_eq!(ready(&three.nodes[n], "").status, 200);
    }
    let status = three.nodes[0].status();
    assert!(status.contains("n3: nats-server 2.15.1, does not sync each message"), "{status}");
    fs::write(&conf, text).unwrap();
    three.servers.stop(2);
    three.servers.run(2);
    until("events are taken again", || (post(&three, 0, 3).status == 204).then_some(()));
}

#[test]
fn a_store_that_has_applied_a_log_is_not_served_by_itself() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    three.nodes[0].stop();
    let config = fs::read_to_string(&three.configs[0]).unwrap();
    fs::write(&three.configs[0], "").unwrap();
    let refused = three.nodes[0].start_fails();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no cluster is configured"), "{refused:?}");
    fs::write(&three.configs[0], config).unwrap();
    three.start_node(0);
    until_it_is(&three.nodes[0], "live");
}

#[test]
fn what_is_larger_than_the_servers_take_is_refused_with_the_key_that_says_how_large_it_may_be() {
    let more = "[limits]\nbody_bytes = \"4MiB\"";
    let Some(three) = Three::up(&Setup { more, ..Setup::default() }) else { return };
    let pad = "x".repeat(1200);
    let large = |n| event(n, "completed").replacen('{', &format!("{{\"pad{n}\":\"{pad}\","), 1);
    let events: Vec<_> = (0..1000).map(large).collect();
    let headers = [("content-type", "application/x-ndjson")];
    let send = |events: &[String]| {
        let body = events.join("\n");
        three.targets.send(0, "POST", "/v1/hooks/call-status", &headers, &body).unwrap()
    };
    let refused = send(&events);
    assert_eq!(refused.status, 413, "{refused:?}");
    assert!(refused.body.contains("max_payload"), "{refused:?}");
    // Nothing of it is anywhere, and each half of it is taken.
    let path = format!("/v1/Accounts/{A1}/Calls");
    let list = three.targets.send(0, "GET", &path, &[], "").unwrap();
    assert_eq!(list.json().as_array().unwrap().len(), 0);
    for half in events.chunks(500) {
        assert_eq!(send(half).status, 204);
    }
    three.rest();
    for n in 0..3 {
        let list = three.targets.send(n, "GET", &path, &[], "").unwrap();
        assert_eq!(list.json().as_array().unwrap().len(), 1000);
    }
}

#[test]
fn all_that_was_kept_comes_into_the_log_and_is_let_go_of() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    assert_eq!(post(&three, 0, 1).status, 204);
    three.rest();
    three.servers.kill(0);
    three.servers.kill(1);
    for call in 2..62 {
        let kept = post(&three, 0, call);
        assert_eq!((kept.status, kept.header("rollcall-kept")), (204, Some("1")), "{kept:?}");
    }
    assert_eq!(figures(&three.nodes[0])["kept"]["count"], 60);
    three.servers.run(0);
    three.servers.run(1);
    until("nothing is kept", || (figures(&three.nodes[0])["kept"]["count"] == 0).then_some(()));
    three.rest();
    let path = format!("/v1/Accounts/{A1}/Calls");
    for n in 0..3 {
        let list = three.targets.send(n, "GET", &path, &[], "").unwrap();
        assert_eq!(list.json().as_array().unwrap().len(), 61);
    }
}

#[test]
fn a_node_says_how_it_is_to_people_and_to_what_watches_it() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    assert_eq!(post(&three, 0, 1).status, 204);
    let at = three.rest().seq;
    let figures = figures(&three.nodes[1]);
    assert_eq!(figures["applied"], at);
    assert_eq!((&figures["cluster"], &figures["node"]), (&"pbx".into(), &"node2".into()));
    assert_eq!((figures["epoch"].as_str().unwrap().len(), &figures["state"]), (32, &"live".into()));
    assert_eq!(figures["nodes"].as_array().unwrap().len(), 2);
    let text = three.nodes[1].status();
    for part in
        ["node2 of pbx: live", "nats-server 2.1", "syncs each message", "node1: live, applied"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let scrape = three.targets.send(1, "GET", "/metrics", &[], "").unwrap();
    for name in [
        "connected",
        "ready",
        "applied",
        "last",
        "first",
        "lag_seconds",
        "kept",
        "publish_seconds_count",
        "publish_failures_total{kind=\"no_leader\"}",
        "gaps_total",
        "clock_skew_seconds",
        "replica_behind{server=",
        "replica_deleted{server=",
        "node_seen_seconds{node=\"node1\"}",
    ] {
        assert!(scrape.body.contains(&format!("\nrollcall_cluster_{name}")), "{name}: {scrape:?}");
    }
    // One of them, and no other, does what one does for all.
    let first = until("one node is the first", || {
        let first: Vec<_> =
            three.nodes.iter().map(|node| self::figures(node)["first_node"] == true).collect();
        first.contains(&true).then_some(first)
    });
    assert_eq!(first, [true, false, false]);
}

#[test]
fn why_a_node_is_kept_out_and_why_nothing_is_taken_is_said_where_somebody_looks() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    // Nothing is taken, whatever is kept without a quorum.
    let change = |changes: Value| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(change_stream(&three.servers, &changes));
    };
    change(json!({ "allow_direct": false }));
    let refusing = until("it is away, and refuses", || {
        let said = ready(&three.nodes[1], "").body;
        said.contains("\"status\"").then_some(said).filter(|said| !said.contains("\"ok\""))
    });
    let events = until("events are refused", || {
        let events = ready(&three.nodes[1], "?for=events");
        (events.status == 503).then_some(events)
    });
    assert!(events.body.contains("allow_direct false: expected true"), "{events:?}");
    let lists = ready(&three.nodes[1], "");
    assert!(lists.body.contains("\"status\":\"refusing\""), "{refusing} {lists:?}");
    change(json!({ "allow_direct": true }));

    // The password is another one by now.
    let password = three.dir().join("password");
    three.nodes[0].stop();
    fs::write(&password, "hunter2\n").unwrap();
    three.start_node(0);
    let why = "authorization violation; see cluster.user and cluster.password_file";
    until("it says why", || {
        let figures = figures(&three.nodes[0]);
        let mut problems = figures["problems"].as_array()?.iter().filter_map(Value::as_str);
        problems.any(|problem| problem.contains(why)).then_some(())
    });
    let log = three.nodes[0].log();
    let said = log.lines().filter(|line| line.contains("there is no connection to a nats-server"));
    assert_eq!(said.filter(|line| line.contains(why)).count(), 1, "{log}");
    assert!(!log.contains("async_nats") && !log.contains("hunter2"), "{log}");
    three.nodes[0].stop();
    fs::write(&password, "pw\n").unwrap();
    three.start_node(0);
    until_it_is(&three.nodes[0], "live");
    assert!(three.nodes[0].log().contains("connected to a nats-server"));
    three.all_ready();
}
