//! Who joins and who leaves: under load, long behind, behind the log, under the name of another node, with other settings.
//!
//! `CLUSTER_JOINS` is the number of rounds, `TRIAL_SEED` the seed. A short run begins where its seed says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::harness::{A1, Printed, ROLLCALL, Rollcall, event, sid, until};
use super::super::load::{Random, Trial};
use super::nats::{bounds, trim};
use super::node::{figures, until_it_is, with_log};
use super::three::{MACHINES, Setup, Three};
use super::writers::Load;

/// Requests that are acknowledged before a node joins and after it, and while it is away for long.
const MORE: usize = 40;
const MANY: usize = 400;
const WORKERS: usize = 8;
/// Longer than a message that was forwarded is waited for.
const AGAIN: Duration = Duration::from_secs(8);

/// How a node comes back whose directory is gone.
#[derive(Debug, Clone, Copy)]
enum Join {
    /// From a backup of another node that was made when it was gone.
    Replaced,
    /// The same, through a pipe, as by ssh.
    Piped,
    /// From one that is long behind.
    LongBehind,
    /// Its own directory is there, and the log does not go on from it.
    BehindTheLog,
}

const JOINS: [Join; 4] = [Join::Replaced, Join::Piped, Join::LongBehind, Join::BehindTheLog];

impl Three {
    /// Has a node back up to a directory of this name.
    fn backup(&self, n: usize, name: &str) -> PathBuf {
        let to = self.dir().join(name);
        self.nodes[n].ok(&["backup", to.to_str().unwrap()]);
        to
    }

    /// Makes the data of a node of a backup, in place of those that it has. Its certificate stays.
    fn seed(&self, n: usize, backup: &Path) -> Value {
        let config = self.configs[n].to_str().unwrap();
        let seed = ["cluster", "seed", backup.to_str().unwrap(), "--config", config, "--json"];
        self.seeded(n, || self.nodes[n].ok(&seed))
    }

    /// The same of a backup that goes from one process to the other.
    fn seed_by_pipe(&self, n: usize, from: usize) -> Value {
        self.seeded(n, || {
            let mut writer = Command::new(ROLLCALL);
            writer.args(["backup", "-", "--data-dir"]).arg(self.nodes[from].data());
            writer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut writer = writer.spawn().unwrap();
            let mut reader = Command::new(ROLLCALL);
            reader.args(["cluster", "seed", "-", "--json", "--config"]).arg(&self.configs[n]);
            reader.arg("--data-dir").arg(self.nodes[n].data());
            let read = reader.stdin(writer.stdout.take().unwrap()).output().unwrap();
            let wrote = writer.wait_with_output().unwrap();
            assert!(wrote.status.success() && read.status.success(), "{wrote:?} {read:?}");
            String::from_utf8(read.stdout).unwrap()
        })
    }

    fn seeded(&self, n: usize, seed: impl FnOnce() -> String) -> Value {
        let (data, aside) = (self.nodes[n].data(), self.dir().join("tls-aside"));
        fs::rename(data.join("tls"), &aside).unwrap();
        fs::remove_dir_all(data).unwrap();
        let seeded: Value = serde_json::from_str(&seed()).unwrap();
        fs::remove_dir_all(data.join("tls")).unwrap();
        fs::rename(&aside, data.join("tls")).unwrap();
        seeded
    }

    /// The configuration of a node with another name, and more lines.
    fn config_as(&self, n: usize, name: &str, more: &str) -> PathBuf {
        let config = fs::read_to_string(&self.configs[n]).unwrap();
        let own = format!("node = \"node{}\"", n + 1);
        assert!(config.contains(&own), "{config}");
        let file = self.dir().join(format!("{name}.toml"));
        fs::write(&file, config.replace(&own, &format!("node = \"{name}\"")) + more).unwrap();
        file
    }

    /// A node beside the three, in a directory of its own, which does not run yet.
    fn beside(&self, directory: &str, config: &Path) -> Rollcall {
        let mut node = Rollcall::down_in(&self.dir().join(directory));
        node.set_args(&["--config", config.to_str().unwrap()]);
        node
    }

    /// Waits until a node beside the three has all that they have.
    fn until_it_has_all(&self, node: &Rollcall) {
        until("a node beside the three has all that they have", || {
            let of = figures(node);
            let is_there = Some(self.rest().seq) == of["applied"].as_u64();
            (of["state"] == "live" && is_there).then_some(())
        });
    }

    /// `cluster status` of the first node's configuration.
    fn cluster_status(&self) -> Printed {
        self.nodes[0].run(&["cluster", "status", "--config", self.configs[0].to_str().unwrap()])
    }
}

#[test]
fn nodes_join_under_load_and_are_the_same_as_the_others() {
    let trial = Trial::new("CLUSTER_JOINS", 4);
    // What is kept stands on one disk alone, and here directories are removed.
    let setup = Setup { without_quorum: "refuse", ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    let mut random = Random::new(trial.seed);
    let first = if trial.rounds < JOINS.len() { random.below(JOINS.len()) } else { 0 };
    let mut load = Load::new(trial.seed, WORKERS);
    let targets = three.targets.clone();
    for round in 0..trial.rounds {
        let join = JOINS[(first + round) % JOINS.len()];
        let node = random.below(MACHINES);
        let other = (node + 1 + random.below(MACHINES - 1)) % MACHINES;
        let name = format!("backup-{round}");
        let mut caught_up = None;
        load.during(&targets, |progress| {
            progress.more(MORE);
            let seeded = match join {
                Join::Replaced => {
                    three.kill_node(node);
                    let backup = three.backup(other, &name);
                    progress.more(MORE);
                    three.seed(node, &backup)
                }
                Join::Piped => {
                    three.kill_node(node);
                    three.seed_by_pipe(node, other)
                }
                Join::LongBehind => {
                    let backup = three.backup(other, &name);
                    progress.more(MANY);
                    three.kill_node(node);
                    three.seed(node, &backup)
                }
                Join::BehindTheLog => {
                    three.kill_node(node);
                    progress.more(MORE);
                    let applied = (0..MACHINES).filter(|n| *n != node);
                    let applied = applied.filter_map(|n| Some(three.position(n)?.seq)).min();
                    with_log(&three.servers, async |_, log| {
                        trim(&three.servers, &log, applied.unwrap()).await;
                    });
                    three.start_node(node);
                    let said = until_it_is(&three.nodes[node], "behind");
                    let why = said["why"].as_str().unwrap();
                    assert!(why.contains("rollcall cluster seed"), "{why}");
                    let ready = three.nodes[node].send("GET", "/readyz", &[], b"").unwrap();
                    assert_eq!(ready.status, 503, "{ready:?}");
                    assert!(ready.body.contains("rollcall cluster seed"), "{ready:?}");
                    three.kill_node(node);
                    let backup = three.backup(other, &name);
                    three.seed(node, &backup)
                }
            };
            let begun = Instant::now();
            // Clients come once it is ready: before that its lists are those of the backup.
            three.nodes[node].start();
            three.all_ready();
            three.is_reached(node);
            caught_up = Some((seeded["missing"].as_u64(), begun.elapsed()));
            progress.more(MORE);
        });
        three.rest();
        if !matches!(join, Join::Piped) {
            fs::remove_dir_all(three.dir().join(&name)).unwrap();
        }
        let (missing, took) = caught_up.unwrap();
        eprintln!(
            "round {round}: {join:?} of node {node}, {} messages behind, ready after {} ms",
            missing.unwrap(),
            took.as_millis()
        );
        if round < 6 || round % 10 == 0 || round + 1 == trial.rounds {
            three.check(&load);
        }
    }
    let counted = load.history.counted();
    assert!(counted.logged > 10 * trial.rounds, "{counted}");
    eprintln!("seed {}, {} rounds: {counted}; 0 lost", trial.seed, trial.rounds);
}

#[test]
fn two_nodes_of_one_name_and_settings_that_differ_are_told_everywhere() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let first_is = |three: &Three, n: usize| {
        until("a node does what one does for all", || {
            let is_first = |n: usize| three.figures(n)["first_node"] == true;
            (is_first(n) && (0..MACHINES).filter(|n| is_first(*n)).count() == 1).then_some(())
        });
    };
    first_is(&three, 0);
    let fine = three.cluster_status();
    assert_eq!(fine.code, Some(0), "{fine:?}");

    let backup = three.backup(0, "backup");
    let more = "[retention]\nage = \"30days\"\n[calls]\nmax_lifetime = \"13h\"\n";
    let config = three.config_as(0, "node1", "");
    let mut twin = three.beside("twin", &config);
    twin.ok(&["restore", backup.to_str().unwrap(), "--node", "node1"]);
    twin.start();
    let two = "two nodes are called node1";
    for n in 0..MACHINES {
        until("each node says that two have one name", || {
            three.figures(n)["problems"].to_string().contains(two).then_some(())
        });
    }
    until("the other one says so, too", || {
        figures(&twin)["problems"].to_string().contains(two).then_some(())
    });
    until("it is in its log", || twin.log().contains(two).then_some(()));
    // Another one does what one node does for all; and neither of the two.
    first_is(&three, 1);
    assert_eq!(figures(&twin)["first_node"], false);
    let told = three.cluster_status();
    assert!(told.code == Some(1) && told.stdout.contains(two), "{told:?}");
    let doctor = ["doctor", "--config", three.configs[1].to_str().unwrap()];
    let told = three.nodes[1].run(&doctor);
    assert!(told.stdout.contains(two), "{told:?}");
    // They take events all the same, which change nothing where they come twice.
    let ready = twin.send("GET", "/readyz?for=events", &[], b"").unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    twin.stop();
    // It gets a name of its own, and settings, too.
    let renamed = three.config_as(0, "node4", more);
    let refused = three.beside("twin", &renamed);
    let refused = refused.start_fails();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["the data of node \"node1\"", "cluster.node is \"node4\"", "/NODE"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    fs::remove_file(twin.data().join("NODE")).unwrap();
    twin.set_args(&["--config", renamed.to_str().unwrap()]);
    twin.start();
    assert_eq!(
        fs::read_to_string(twin.data().join("NODE")).unwrap().lines().next(),
        Some("node node4")
    );
    first_is(&three, 0);
    let age = "retention.age has to be the same on all nodes, and is 30days on node4; for good on node1, node2, node3";
    for n in 0..MACHINES {
        until("each node says what differs", || {
            let problems = three.figures(n)["problems"].to_string();
            let told = problems.contains(age) && problems.contains("calls.max_lifetime has to be");
            told.then_some(())
        });
    }
    let told = three.cluster_status();
    assert!(told.code == Some(1) && told.stdout.contains(age), "{told:?}");
    assert!(!told.stdout.contains(two), "{told:?}");
    twin.kill();
    three.kill_node(0);
    first_is_of_two(&three);
}

/// The second node does what one does for all once the first is gone.
fn first_is_of_two(three: &Three) {
    until("the second node is the first", || {
        (three.figures(1)["first_node"] == true).then_some(())
    });
    assert_eq!(three.figures(2)["first_node"], false);
}

#[test]
fn a_node_that_is_made_of_a_backup_leaves_what_the_other_one_keeps_to_that_one() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let headers = [("content-type", "application/json")];
    let post = |three: &Three, n: usize, call: u32| {
        let body = event(call, "completed");
        let sent = three.targets.send(n, "POST", "/v1/hooks/call-status", &headers, &body);
        sent.unwrap()
    };
    assert_eq!(post(&three, 0, 1).status, 204);
    let begun = three.rest();
    let leader = three.leader();
    let gone = [leader, (leader + 1) % MACHINES];
    for n in gone {
        three.servers.kill(n);
    }
    for (n, call) in [(0, 2), (0, 3), (2, 4)] {
        let kept = post(&three, n, call);
        assert_eq!((kept.status, kept.header("rollcall-kept")), (204, Some("1")), "{kept:?}");
    }
    three.kill_node(2);
    let count = three.figures(0)["kept"]["count"].as_u64().unwrap();
    assert!(count >= 1);
    let backup = three.backup(0, "backup");
    let backup = backup.to_str().unwrap();
    // What a node's own backup has is brought into the log by it.
    let own = three.beside("own", &three.configs[0].clone());
    own.ok(&["restore", backup]);
    let config = three.config_as(0, "node4", "");
    let mut fourth = three.beside("fourth", &config);
    fourth.ok(&["restore", backup, "--node", "node4"]);
    let own = Rollcall::up_in(own.data(), &["--config", config.to_str().unwrap()]);
    assert_eq!(figures(&own)["kept"]["count"], count);
    drop(own);
    for _ in 0..2 {
        fourth.start();
        assert_eq!(figures(&fourth)["kept"]["count"], 0);
        fourth.stop();
    }
    // Nor does it come back with what says that it is another's.
    fs::remove_file(fourth.data().join("NODE")).unwrap();
    fourth.start();
    assert_eq!(figures(&fourth)["kept"]["count"], 0);
    for n in gone {
        three.servers.run(n);
    }
    let token = three.targets.token.clone();
    let shows = |node: &Rollcall, call: u32| {
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(call));
        until("a node shows a call", || (node.get(&token, &path).status == 200).then_some(()));
    };
    for call in [1, 2, 3] {
        for node in [&three.nodes[0], &three.nodes[1], &fourth] {
            shows(node, call);
        }
    }
    // The third node comes back when the log has let go of what it lacks: what it has kept it brings there all the same, once.
    with_log(&three.servers, async |_, log| {
        let last = bounds(&log).await.last;
        assert!(last > begun.seq);
        trim(&three.servers, &log, last).await;
    });
    three.start_node(2);
    until_it_is(&three.nodes[2], "behind");
    let said = until("what it has kept is in the log", || {
        let said = figures(&three.nodes[2]);
        (said["kept"]["in_log"] == true).then_some(said)
    });
    assert!(said["problems"].to_string().contains("has kept are in the log"), "{said}");
    shows(&three.nodes[0], 4);
    let known = three.position(0).unwrap();
    let since = Instant::now();
    until("it had time to send it again", || (since.elapsed() > AGAIN).then_some(()));
    assert_eq!(three.position(0).unwrap(), known);
    three.kill_node(2);
    let newer = three.backup(0, "newer");
    three.seed(2, &newer);
    three.start_node(2);
    three.until_it_has_all(&fourth);
    assert_eq!(fourth.ok(&["export"]), three.nodes[1].ok(&["export"]));
    assert_eq!(fourth.ok(&["export"]), three.nodes[2].ok(&["export"]));
}
