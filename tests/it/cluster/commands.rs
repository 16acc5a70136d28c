//! `rollcall cluster create` and `status`, `doctor`, and `config check`.

use std::path::PathBuf;

use serde_json::Value;

use super::super::harness::{Printed, Rollcall};
use super::nats::{self, Options, Servers, append, until};
use rollcall::cluster::Log;

/// A node's configuration file, and a place for its data.
struct Node {
    rollcall: Rollcall,
    file: PathBuf,
}

impl Node {
    fn new(servers: &Servers, more: &str) -> Self {
        let rollcall = Rollcall::down();
        let file = rollcall.dir.path().join("rollcall.toml");
        let password = rollcall.dir.path().join("password");
        std::fs::write(&password, "pw\n").unwrap();
        let text = format!(
            "[cluster]\nname = \"pbx\"\nnode = \"node1\"\nservers = {:?}\nuser = \"rollcall\"\n\
             password_file = \"{}\"\nlog_bytes = \"512MiB\"\n{more}\n",
            servers.addresses(),
            password.display()
        );
        std::fs::write(&file, text).unwrap();
        Self { rollcall, file }
    }

    fn run(&self, args: &[&str]) -> Printed {
        let file = self.file.to_str().unwrap();
        self.rollcall.run(&[args, &["--config", file]].concat())
    }

    /// Runs it until the servers have found each other and somebody answers.
    async fn run_until(&self, args: &[&str], is_so: impl Fn(&Printed) -> bool) -> Printed {
        let mut last = None;
        until("the command says so", async || {
            let printed = self.run(args);
            let so = is_so(&printed);
            if !so {
                eprintln!("{args:?}: {printed:?}");
            }
            last = Some(printed);
            so
        })
        .await;
        last.unwrap()
    }
}

fn monitors(servers: &Servers) -> String {
    format!("monitors = {:?}", [0, 1, 2].map(|n| servers.monitor(n)))
}

fn json(printed: &Printed) -> Value {
    serde_json::from_str(&printed.stdout).unwrap_or_else(|_| panic!("{printed:?}"))
}

/// The servers do not answer for JetStream before they have found each other.
fn is_answered(printed: &Printed) -> bool {
    !["no answer within", "no server answers", "not known after", "10008"]
        .iter()
        .any(|text| printed.stderr.contains(text) || printed.stdout.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_made_once_and_shown_with_what_is_wrong() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let node = Node::new(&servers, &monitors(&servers));
    let status = node.run_until(&["cluster", "status"], is_answered).await;
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(
        status
            .stdout
            .contains("there is no stream RC_pbx: `rollcall cluster create` makes it, once")
    );

    let made = json(&node.run_until(&["cluster", "create", "--json"], is_answered).await);
    assert_eq!(
        (made["stream"].as_str(), &made["unproven"]),
        (Some("RC_pbx"), &Value::from(Vec::<Value>::new()))
    );
    let mut names: Vec<_> =
        made["servers"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        (names, &made["log_bytes"], &made["log_age_s"]),
        (vec!["n1", "n2", "n3"], &Value::from(512 << 20), &Value::from(6 * 86_400))
    );
    let again = node.run_until(&["cluster", "create"], is_answered).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    let epoch = made["epoch"].as_str().unwrap();
    assert!(
        again.stderr.contains(&format!("stream RC_pbx is there already, of epoch {epoch}")),
        "{again:?}"
    );

    let connection = servers.connect("node1").await;
    let log = Log::open(&connection).await.unwrap();
    assert_eq!(log.epoch().to_string(), epoch);
    append(&log, b"one").await;
    let status =
        node.run_until(&["cluster", "status", "--json"], |printed| printed.code == Some(0)).await;
    let status = json(&status);
    assert_eq!(
        (&status["log"]["last"], &status["log"]["epoch"]),
        (&Value::from(1), &made["epoch"])
    );
    assert_eq!(status["servers"].as_array().unwrap().len(), 3, "{status}");
    assert_eq!(status["problems"], Value::from(Vec::<Value>::new()), "{status}");
    let text = node.run(&["cluster", "status"]).stdout;
    assert!(text.contains("each message") && text.contains("no node was heard"), "{text}");

    let doctor = node.run(&["doctor", "--json"]);
    let findings = json(&doctor)["findings"].clone();
    let about = |findings: &Value, object: &str| -> Vec<(String, String)> {
        let of = |one: &&Value| one["object"].as_str().unwrap().starts_with(object);
        let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
        let found = findings.as_array().unwrap().iter().filter(of);
        found.map(|one| (text(one, "level"), text(one, "problem"))).collect()
    };
    let log_findings = about(&findings, "log RC_pbx");
    assert!(log_findings.iter().all(|(level, _)| level == "ok"), "{log_findings:?}");
    let reached = about(&findings, "nats-server ");
    assert_eq!(reached.iter().filter(|(level, _)| level == "ok").count(), 3, "{reached:?}");
    // A request may have twice limits.body_bytes, and the servers of this test take 1 MiB.
    let small = reached.iter().filter(|(level, text)| level == "warn" && text.contains("413"));
    assert_eq!(small.count(), 3, "{reached:?}");
    let disks = about(&findings, "disk of nats-server ");
    assert_eq!(disks.len(), 3, "{findings}");

    // Without one of them it goes on, and is told; without two there is nobody to ask.
    let leader = servers.leader(&log).await;
    let away = (leader + 1) % 3;
    servers.kill(away);
    let name = servers.all[away].name.clone();
    let silent = format!("server {name} has not answered the leader for ");
    let status =
        node.run_until(&["cluster", "status"], |printed| printed.stdout.contains(&silent)).await;
    assert_eq!(status.code, Some(1));
    let findings = json(&node.run(&["doctor", "--json"]))["findings"].clone();
    let told = about(&findings, "log RC_pbx");
    let of_it = told.iter().find(|(_, text)| text.starts_with(&silent));
    assert_eq!(of_it.map(|(level, _)| level.as_str()), Some("warn"), "{told:?}");
    let unproven = told.iter().find(|(_, text)| text.contains(&format!("how server {name} syncs")));
    assert_eq!(unproven.map(|(level, _)| level.as_str()), Some("error"), "{told:?}");
    let gone =
        about(&findings, &format!("nats-server nats://127.0.0.1:{}", servers.all[away].port));
    assert_eq!(gone[0].0, "error", "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_is_made_where_it_is_not_known_that_every_message_is_synced() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options::default());
    let one = format!("monitors = [{:?}]", servers.monitor(0));
    let node = Node::new(&servers, &one);
    let refused = node.run_until(&["cluster", "create"], is_answered).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for text in [
        "it is only known of 1 nats-server (n1)",
        "name the monitoring addresses of all",
        "--monitor",
    ] {
        assert!(refused.stderr.contains(text), "{refused:?}");
    }
    let strange = node.run(&["cluster", "create", "--monitor", "127.0.0.1:8222"]);
    assert_eq!(strange.code, Some(2), "{strange:?}");
    assert!(strange.stderr.contains("`127.0.0.1:8222` is not a base URL"), "{strange:?}");
    let (two, three) = (servers.monitor(1), servers.monitor(2));
    let made = node
        .run_until(&["cluster", "create", "--monitor", &two, "--monitor", &three], is_answered)
        .await;
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.starts_with("made stream RC_pbx of epoch "), "{made:?}");
    // Each node knows of its own server, and says so to the others; here there is one that is alone.
    let status = node.run(&["cluster", "status"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(status.stdout.contains("nothing is known of how server n2 syncs"), "{status:?}");

    let trusting = Node::new(&servers, &format!("{one}\nunverified_sync = true"));
    let status =
        trusting.run_until(&["cluster", "status"], |printed| printed.code == Some(0)).await;
    assert!(!status.stdout.contains("problem"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_sync_now_and_then_get_no_log_on_anybodys_word() {
    if !nats::here() {
        return;
    }
    let servers = Servers::start(Options { sync_always: false, ..Options::default() });
    let node = Node::new(&servers, &format!("{}\nunverified_sync = true", monitors(&servers)));
    let refused = node.run_until(&["cluster", "create"], is_answered).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("expected sync_interval: always in nats.conf"), "{refused:?}");
    let status = node.run_until(&["cluster", "status"], is_answered).await;
    assert!(status.stdout.contains("there is no stream RC_pbx"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_away_or_let_nobody_in_are_named() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options::default());
    let node = Node::new(&servers, "");
    node.run_until(&["cluster", "status"], is_answered).await;
    std::fs::write(node.rollcall.dir.path().join("password"), "hunter2\n").unwrap();
    let refused = node.run(&["cluster", "status"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.to_lowercase().contains("authorization"), "{refused:?}");
    assert!(refused.stderr.contains("see cluster.user and cluster.password_file"), "{refused:?}");
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
    std::fs::remove_file(node.rollcall.dir.path().join("password")).unwrap();
    let unread = node.run(&["cluster", "status"]);
    assert!(unread.stderr.contains("cannot read cluster.password_file"), "{unread:?}");
    let doctor = node.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("error    cluster pbx: cannot read cluster.password_file"),
        "{doctor:?}"
    );
    // What a user may not do is said, though the log can be read.
    let made = Node::new(&servers, &monitors(&servers));
    made.run_until(&["cluster", "create"], |printed| printed.code == Some(0)).await;
    for n in 0..3 {
        servers.kill(n);
        let conf = std::fs::read_to_string(servers.conf(n)).unwrap();
        let narrow = "password: pw, permissions: { subscribe: [\"_INBOX.>\"] }";
        std::fs::write(servers.conf(n), conf.replace("password: pw", narrow)).unwrap();
    }
    (0..3).for_each(|n| servers.run(n));
    let denied = |printed: &Printed| printed.stdout.contains("leader      n");
    let status = made.run_until(&["cluster", "status"], denied).await;
    let says =
        "a nats-server says: nats: Permissions Violation for Subscription to \"rc.pbx.hint\"";
    assert!(status.code == Some(1) && status.stdout.contains(says), "{status:?}");
    let doctor = made.run(&["doctor"]);
    assert!(doctor.stdout.contains(&format!("error    cluster pbx: {says}")), "{doctor:?}");
    for n in 0..3 {
        servers.kill(n);
    }
    std::fs::write(node.rollcall.dir.path().join("password"), "pw\n").unwrap();
    let away = node.run(&["cluster", "status"]);
    assert_eq!(away.code, Some(1), "{away:?}");
    assert!(
        away.stderr.contains("no server of cluster.servers has answered within 10 s"),
        "{away:?}"
    );
    let all = servers.addresses().join(", ");
    assert!(away.stderr.contains(&format!("{all}: IO error: Connection refused")), "{away:?}");
    // One that is by itself says so.
    let alone = Rollcall::down().run(&["cluster", "status"]);
    assert_eq!(alone.code, Some(2), "{alone:?}");
    assert!(alone.stderr.contains("cluster.name is not set"), "{alone:?}");
}
