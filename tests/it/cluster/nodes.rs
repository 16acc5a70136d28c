//! `rollcall cluster compare`, `level`, `forget` and `seed`, of nodes that run.

use std::path::PathBuf;

use rollcall::cluster::{Heartbeat, Hints, Log};
use serde_json::Value;

use super::super::harness::{Printed, Rollcall, event, until};
use super::nats::{self, Options, Servers, bounds, trim};

/// A node with a configuration file of its own.
struct Node {
    rollcall: Rollcall,
    file: PathBuf,
}

impl Node {
    fn new(servers: &Servers, name: &str) -> Self {
        let mut rollcall = Rollcall::down();
        let file = rollcall.dir.path().join("rollcall.toml");
        let password = rollcall.dir.path().join("password");
        std::fs::write(&password, "pw\n").unwrap();
        let monitors = [0, 1, 2].map(|n| servers.monitor(n));
        let text = format!(
            "data_dir = \"{}\"\n[cluster]\nname = \"pbx\"\nnode = \"{name}\"\nservers = {:?}\nuser = \"rollcall\"\n\
             password_file = \"{}\"\nlog_bytes = \"256MiB\"\nmonitors = {monitors:?}\n",
            rollcall.data().display(),
            servers.addresses(),
            password.display(),
        );
        std::fs::write(&file, text).unwrap();
        rollcall.set_args(&["--config", file.to_str().unwrap()]);
        Self { rollcall, file }
    }

    fn run(&self, args: &[&str]) -> Printed {
        self.rollcall.run(&[args, &["--config", self.file.to_str().unwrap()]].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        let printed = self.run(args);
        assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}\n{}", self.rollcall.log());
        serde_json::from_str(&printed.stdout).unwrap()
    }

    /// The nodes that its server misses or hears, by name.
    fn others(&self) -> Vec<String> {
        let figures: Value = serde_json::from_str(&self.rollcall.figures()).unwrap();
        let nodes = figures["cluster"]["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    }
}

fn send(node: &Node, token: &str, n: u32) -> bool {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/x-ndjson")];
    let body = event(n, "busy");
    let answer = node.rollcall.send("POST", "/v1/hooks/call-status", &headers, body.as_bytes());
    let answer = answer.unwrap();
    answer.status == 204 && answer.headers.get("rollcall-kept").is_none()
}

#[test]
fn nodes_are_compared_forgotten_and_made_of_a_backup() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let mut nodes = ["node1", "node2", "node3"].map(|name| Node::new(&servers, name));
    until("the log is made", || {
        let made = nodes[0].run(&["cluster", "create"]);
        (made.code == Some(0) || made.stderr.contains("is there already")).then_some(())
    });
    let alone = nodes[0].run(&["cluster", "compare"]);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    for node in &mut nodes {
        node.rollcall.start();
    }
    let token = until("a token opens all nodes", || {
        let mut files = nodes.iter().map(|node| node.rollcall.data().join("admin.token"));
        let token = files.find_map(|file| std::fs::read_to_string(file).ok())?;
        let token = token.trim().to_owned();
        let opens = |node: &Node| node.rollcall.get(&token, "/v1/Calls?limit=1").status == 200;
        nodes.iter().all(opens).then_some(token)
    });
    for n in 1..=20 {
        let node = &nodes[n as usize % 3];
        until("an event is in the log", || send(node, &token, n).then_some(()));
    }
    until("the nodes hear each other", || (nodes[1].others().len() == 2).then_some(()));

    let compared = nodes[1].json(&["cluster", "compare", "--json"]);
    assert_eq!(compared["same"], true, "{compared}");
    let of = |compared: &Value| -> Vec<(String, u64)> {
        let nodes = compared["nodes"].as_array().unwrap().iter();
        let mut all: Vec<_> = nodes
            .map(|node| {
                (node["node"].as_str().unwrap().to_owned(), node["calls"].as_u64().unwrap())
            })
            .collect();
        all.sort();
        all
    };
    let expected = ["node1", "node2", "node3"].map(|name| (name.to_owned(), 20));
    assert_eq!(of(&compared), expected);
    let text = nodes[0].run(&["cluster", "compare"]);
    assert!(text.stdout.contains("3 nodes hold the same behind message "), "{text:?}");
    let level = nodes[0].json(&["cluster", "level", "--json"]);
    let read = level["nodes"].as_array().unwrap();
    assert!(read.len() == 3 && read.iter().all(|node| node["reads"] == level["writes"]), "{level}");

    // A new node of a backup, while the others go on.
    let backup = nodes[0].rollcall.dir.path().join("backup");
    let backup = backup.to_str().unwrap();
    let made = nodes[0].run(&["backup", backup]);
    assert_eq!(made.code, Some(0), "{made:?}");
    until("an event is in the log", || send(&nodes[0], &token, 21).then_some(()));
    let mut fourth = Node::new(&servers, "node4");
    let seeded = fourth.json(&["cluster", "seed", backup, "--json"]);
    assert_eq!(seeded["calls"], 20, "{seeded}");
    assert!(seeded["missing"].as_u64() >= Some(1), "{seeded}");
    fourth.rollcall.start();
    until("the new node has what came meanwhile", || {
        let compared = fourth.run(&["cluster", "compare", "--json"]);
        let compared: Value = serde_json::from_str(&compared.stdout).ok()?;
        (compared["same"] == true && of(&compared).len() == 4).then_some(())
    });

    // One that is alive is not forgotten, and one that is gone is missed until then.
    nodes[2].rollcall.kill();
    let early = nodes[0].run(&["cluster", "forget", "node3"]);
    assert_eq!(early.code, Some(1), "{early:?}");
    assert!(early.stderr.contains("node node3 was heard"), "{early:?}");
    // Nor is one waited for that has just ended; it is named.
    let compared = nodes[0].run(&["cluster", "compare", "--json"]);
    assert_eq!(compared.code, Some(1), "{compared:?}");
    let compared: Value = serde_json::from_str(&compared.stdout).unwrap();
    for node in compared["nodes"].as_array().unwrap() {
        let is_gone = node["node"] == "node3";
        assert!(node["hash"].is_null() == is_gone, "{compared}");
        assert!(node["settings_hash"].is_null() == is_gone, "{compared}");
    }
    let strange = nodes[0].run(&["cluster", "forget", "node9"]);
    assert!(strange.stderr.contains("these are known: node2, node3, node4"), "{strange:?}");
    until("the others say that they miss it", || {
        let told = nodes[1].run(&["cluster", "status"]);
        let is_told = told.stdout.contains("node node3 is not heard: start it");
        (told.code == Some(1) && is_told).then_some(())
    });
    let doctor = nodes[1].run(&["doctor"]);
    assert!(doctor.stdout.contains("the other nodes do not hear it"), "{doctor:?}");
    // What it holds is not known, however long it is silent.
    let compared = nodes[1].run(&["cluster", "compare"]);
    assert_eq!(compared.code, Some(1), "{compared:?}");
    assert!(compared.stdout.contains("3 nodes hold the same behind message "), "{compared:?}");
    assert!(compared.stdout.contains("\nnode3 said nothing: start it, or "), "{compared:?}");
    until("it is silent for long enough", || {
        (nodes[0].run(&["cluster", "forget", "node3"]).code == Some(0)).then_some(())
    });
    assert_eq!(nodes[0].others(), ["node2", "node4"]);
    until("the others miss it no more", || (nodes[1].others() == ["node1", "node4"]).then_some(()));

    // A backup that ends before the log begins is too old.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connection = servers.connect("node1").await;
        let log = Log::open(&connection).await.unwrap();
        let of = bounds(&log).await;
        assert!(of.messages > 20);
        trim(&servers, &log, of.last).await;
    });
    let late = Node::new(&servers, "node6");
    let refused = late.run(&["cluster", "seed", backup]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("later than what was applied here; take a newer"),
        "{refused:?}"
    );
    assert!(!late.rollcall.data().exists(), "something is left: {refused:?}");
    // A newer one goes to the same place, packed as it is.
    let newer = nodes[0].rollcall.dir.path().join("newer");
    for args in [&["compact"][..], &["backup", newer.to_str().unwrap()]] {
        let done = nodes[0].run(args);
        assert_eq!(done.code, Some(0), "{done:?}");
    }
    let seeded = late.json(&["cluster", "seed", newer.to_str().unwrap(), "--json"]);
    assert_eq!(seeded["calls"], 21, "{seeded}");

    // A backup of a server that was by itself is no beginning for one of several.
    let single = Rollcall::up(&[]);
    let other = single.dir.path().join("backup");
    single.ok(&["backup", other.to_str().unwrap()]);
    let fifth = Node::new(&servers, "node5");
    let refused = fifth.run(&["cluster", "seed", other.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("is of a server that was by itself"), "{refused:?}");
    let data = fifth.rollcall.data();
    assert!(!data.exists(), "something is left: {refused:?}");
    // Nor is what somebody has made before it: an empty directory, which may be a mount.
    std::fs::create_dir_all(data).unwrap();
    let refused = fifth.run(&["cluster", "seed", other.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(std::fs::read_dir(data).unwrap().count(), 0, "something is left");

    // A node that reads no message of the version that is written is named.
    let told = std::thread::scope(|scope| {
        let level = scope.spawn(|| {
            until("node7 is heard", || {
                let told = nodes[0].run(&["cluster", "level"]);
                told.stdout.contains("node7").then_some(told)
            })
        });
        runtime.block_on(async {
            let hints = Hints::begin(&servers.connect("node7").await, "start").await.unwrap();
            let node7 = Heartbeat { node: "node7".to_owned(), ..Heartbeat::default() };
            while !level.is_finished() {
                hints.tell(&node7).await.unwrap();
                nats::pause().await;
            }
        });
        level.join().unwrap()
    });
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stdout.contains("node7 reads no later one: upgrade that first"), "{told:?}");
}
