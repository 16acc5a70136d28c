//! The log loses something that the nodes have applied: its end, everything, or it is another one. Nothing that was
//! acknowledged is missing afterwards, and the nodes stay one.
//!
//! `CLUSTER_LOST` is the number of rounds, `TRIAL_SEED` the seed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::super::crash::wait;
use super::super::harness::{A1, Printed, event, until};
use super::super::load::{Random, Trial};
use super::log_gaps::damage;
use super::nats::trim;
use super::node::with_log;
use super::register::{History, Outcome, Position};
use super::three::{MACHINES, Setup, Three, create};
use super::writers::Load;

const WORKERS: usize = 6;
const MORE: usize = 30;

impl Three {
    pub fn stop_servers(&mut self) {
        for n in 0..MACHINES {
            self.servers.stop(n);
        }
    }

    pub fn run_servers(&mut self) {
        for n in 0..MACHINES {
            self.servers.run(n);
        }
    }

    /// What the servers have now, for [`Self::put_back`].
    pub fn copied(&mut self, to: &Path) -> Vec<PathBuf> {
        self.stop_servers();
        let copies = (0..MACHINES).map(|n| {
            let copy = to.join(format!("nats-{n}"));
            let _none = fs::remove_dir_all(&copy);
            copy_dir(&self.servers.store_dir(n), &copy);
            copy
        });
        let copies = copies.collect();
        self.run_servers();
        copies
    }

    /// Older copies take the place of what the servers, which do not run, have.
    pub fn put_back(&mut self, copies: &[PathBuf]) {
        for (n, copy) in copies.iter().enumerate() {
            let dir = self.servers.store_dir(n);
            fs::remove_dir_all(&dir).unwrap();
            copy_dir(copy, &dir);
        }
    }

    /// `kill -9` of a node that gives back, at any moment of that; false where none does any more.
    fn kill_one_that_gives_back(&mut self, random: &mut Random) -> bool {
        let states = |three: &Self| -> Vec<String> {
            let state = |n| three.figures(n)["state"].as_str().unwrap().to_owned();
            (0..MACHINES).map(state).collect()
        };
        let found = until("a node gives back, or all have", || {
            let states = states(self);
            let gives = states.iter().position(|state| state == "giving back");
            (gives.is_some() || states.iter().all(|state| state == "live")).then_some(gives)
        });
        let Some(n) = found else { return false };
        wait(random, 400);
        self.kill_node(n);
        self.start_node(n);
        true
    }

    pub fn until_same(&self, nodes: [usize; 2]) {
        until("two nodes have applied the same", || {
            (self.position(nodes[0])? == self.position(nodes[1])?).then_some(())
        });
    }

    /// Gives a command until it is done: it may be refused for want of a quorum.
    fn do_at(&self, n: usize, command: &[&str]) {
        until(&format!("{command:?} is done"), || {
            (self.nodes[n].run(command).code == Some(0)).then_some(())
        });
    }

    fn until_all_are(&self, state: &str) {
        for n in 0..MACHINES {
            until(&format!("node {n} is {state}"), || {
                (self.figures(n)["state"] == state).then_some(())
            });
        }
    }

    pub fn create_again(&self, n: usize, more: &[&str]) -> Printed {
        let config = self.configs[n].to_str().unwrap();
        let is_trusted = fs::read_to_string(config).unwrap().contains("unverified_sync = true");
        let monitors = (0..MACHINES).filter(|_| !is_trusted).map(|n| self.servers.monitor(n));
        let monitors: Vec<String> = monitors.collect();
        let mut args = vec!["cluster", "create", "--again", "--config", config];
        for monitor in &monitors {
            args.extend(["--monitor", monitor]);
        }
        args.extend(more);
        self.nodes[n].run(&args)
    }

    /// The tokens that a node knows, by their ids.
    fn tokens(&self, n: usize) -> Vec<String> {
        let list: Value =
            serde_json::from_str(&self.nodes[n].ok(&["token", "list", "--json"])).unwrap();
        let mut ids: Vec<_> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|token| token["id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort();
        ids
    }

    /// Makes a token, and says its id.
    fn new_token(&self, n: usize) -> String {
        let before = self.tokens(n);
        until("a token is made", || {
            let made = self.nodes[n].run(&["token", "create", "--account", A1]);
            (made.code == Some(0)).then_some(())
        });
        let new = self.tokens(n).into_iter().find(|id| !before.contains(id));
        new.unwrap()
    }
}

pub fn copy_dir(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// How far a node says in its answers that it has come.
fn told(three: &Three, n: usize) -> Position {
    let answer = three.targets.send(n, "GET", "/v1/Calls?limit=1", &[], "").unwrap();
    Position::of(&answer).unwrap()
}

/// Requests that are acknowledged, and that at least one node has applied when this returns.
fn write(three: &Three, load: &mut Load, count: usize) {
    let targets = three.targets.clone();
    load.during(&targets, |progress| progress.more(count));
}

/// The places that were told since then are lost. Until that is given back nobody knows that others stand there in the log.
fn forget_places(history: &mut History, (submissions, reads): (usize, usize)) {
    history.reads.truncate(reads);
    for submission in history.submissions.iter_mut().skip(submissions) {
        if matches!(submission.outcome, Outcome::Logged(_)) {
            // It is acknowledged, and must be there in the end.
            submission.outcome = Outcome::Kept;
        }
    }
}

/// The stores of the servers are put back to what they were before. How many nodes were killed while they gave back.
fn lose_the_end(three: &mut Three, load: &mut Load, random: &mut Random) -> usize {
    write(three, load, MORE);
    let revoked = three.new_token(0);
    three.rest();
    let dir = tempfile::tempdir().unwrap();
    let copies = three.copied(dir.path());
    three.rest();
    // One node has less of what is lost than the others, or nothing of it.
    let behind = random.below(MACHINES);
    if random.percent(50) {
        write(three, load, MORE);
        three.rest();
    }
    three.kill_node(behind);
    write(three, load, 2 * MORE);
    let others = [1, 2].map(|more| (behind + more) % MACHINES);
    three.do_at(others[0], &["token", "revoke", &revoked]);
    let made = three.new_token(others[1]);
    three.until_same(others);
    let lost = told(three, others[0]);
    three.stop_servers();
    three.put_back(&copies);
    three.run_servers();
    three.start_node(behind);
    let mut kills = 0;
    for _ in 0..=random.below(3) {
        kills += usize::from(three.kill_one_that_gives_back(random));
    }
    three.rest();
    let now = told(three, 0);
    assert_ne!(now.epoch, lost.epoch, "positions of before are of another life");
    let gone = [("rollcall-at-least", lost.to_string())];
    let gone = gone.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = three.targets.send(others[1], "GET", "/v1/Calls?limit=1", &gone, "").unwrap();
    assert_eq!(refused.status, 410, "{refused:?}");
    write(three, load, MORE);
    three.rest();
    for n in 0..MACHINES {
        let tokens = three.tokens(n);
        assert!(tokens.contains(&made) && !tokens.contains(&revoked), "{tokens:?}");
    }
    three.check(load);
    eprintln!("{lost} was applied, and all go on at {now}; {kills} killed while they gave back");
    kills
}

/// The servers have nothing any more, and a log is made anew: on a node that has applied most, or by force on one that has less.
fn lose_all(three: &mut Three, load: &mut Load, behind: usize, is_forced: bool) {
    write(three, load, MORE);
    three.rest();
    three.kill_node(behind);
    write(three, load, MORE);
    let others = [1, 2].map(|more| (behind + more) % MACHINES);
    three.until_same(others);
    let lost = three.position(others[0]).unwrap();
    for n in 0..MACHINES {
        three.servers.kill(n);
        fs::remove_dir_all(three.servers.store_dir(n)).unwrap();
    }
    three.run_servers();
    three.start_node(behind);
    three.until_all_are("different");
    let refused = until("the nodes hear each other", || {
        let refused = three.create_again(behind, &[]);
        refused.stderr.contains("do it there").then_some(refused)
    });
    assert_eq!(refused.code, Some(1), "{refused:?}");
    // A first log is for nobody: neither beside this node's data, nor from a machine that has none.
    let config = &three.configs[behind];
    let first =
        three.nodes[behind].run(&["cluster", "create", "--config", config.to_str().unwrap()]);
    assert!(first.stderr.contains("has applied a log up to message"), "{first:?}");
    let first = create(&three.servers, config);
    assert!(
        first.stderr.contains("the log is gone that the nodes node1, node2, node3 have applied"),
        "{first:?}"
    );
    let status =
        three.nodes[behind].run(&["cluster", "status", "--config", config.to_str().unwrap()]);
    assert!(status.stdout.contains("the log is gone that the nodes"), "{status:?}");
    let ready = three.targets.send(others[0], "GET", "/readyz", &[], "").unwrap();
    assert!(ready.body.contains("rollcall cluster create --again"), "{ready:?}");
    let (maker, force) = if is_forced { (behind, &["--force"][..]) } else { (others[0], &[][..]) };
    until("the log is made", || {
        let made = three.create_again(maker, force);
        (made.code == Some(0) || made.stderr.contains("is there already")).then_some(())
    });
    let now = three.rest();
    assert!(now.epoch != lost.epoch && (is_forced || now.seq >= lost.seq), "{lost} {now}");
    write(three, load, MORE);
    three.rest();
    three.check(load);
    eprintln!("{lost} was applied, and all go on at {now} of a log that was made anew");
}

#[test]
fn what_the_log_has_lost_comes_back_from_the_nodes() {
    let trial = Trial::new("CLUSTER_LOST", 1);
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let mut random = Random::new(trial.seed);
    let mut load = Load::new(trial.seed, WORKERS);
    let mut kills = 0;
    for round in 0..trial.rounds {
        kills += lose_the_end(&mut three, &mut load, &mut random);
        lose_all(&mut three, &mut load, round % MACHINES, false);
    }
    let counted = load.history.counted();
    assert!(kills > 0 || trial.rounds < 5, "no node was killed while it gave back");
    eprintln!(
        "seed {}, {} rounds, {kills} nodes killed while they gave back: {counted}; 0 lost",
        trial.seed, trial.rounds
    );
}

#[test]
fn a_command_after_the_loss_is_done_on_all_nodes_while_others_write() {
    let trial = Trial::new("CLUSTER_LOST", 1);
    // A node that is alone does not hear from others that their servers sync.
    let setup = Setup { more: "unverified_sync = true\n", ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    let mut load = Load::new(trial.seed, WORKERS);
    let dir = tempfile::tempdir().unwrap();
    for round in 0..trial.rounds {
        let n = round % MACHINES;
        let others = [1, 2].map(|more| (n + more) % MACHINES);
        three.do_at(n, &["account", "set", A1, "--name", "before"]);
        let removed = [three.new_token(n), three.new_token(n)];
        write(&three, &mut load, MORE);
        three.rest();
        let copies = three.copied(dir.path());
        three.rest();
        // It has nothing of what is lost, and goes on with the log as it is then.
        three.kill_node(n);
        three.do_at(others[0], &["account", "set", A1, "--name", "lost"]);
        let made = three.new_token(others[1]);
        let before = (load.history.submissions.len(), load.history.reads.len());
        write(&three, &mut load, MORE);
        three.until_same(others);
        for other in others {
            three.kill_node(other);
        }
        three.stop_servers();
        three.put_back(&copies);
        three.run_servers();
        three.start_node(n);
        // On the others the account was changed, and a submission that removes it does not fit.
        three.do_at(n, &["account", "remove", A1]);
        let targets = three.targets.clone();
        load.during(&targets, |progress| {
            progress.more(MORE);
            for other in others {
                three.start_node(other);
            }
            three.until_all_are("live");
            progress.more(MORE);
        });
        forget_places(&mut load.history, before);
        three.rest();
        for n in 0..MACHINES {
            let tokens = three.tokens(n);
            assert!(!removed.iter().any(|id| tokens.contains(id)), "node {n}: {tokens:?}");
            assert!(tokens.contains(&made), "node {n}: {tokens:?}");
            let accounts = three.nodes[n].ok(&["account", "list", "--json"]);
            assert!(!accounts.contains(A1), "node {n}: {accounts}");
        }
        three.check(&load);
        lose_all(&mut three, &mut load, n, true);
    }
    eprintln!("seed {}: {}; 0 lost", trial.seed, load.history.counted());
}

#[test]
fn what_was_lost_is_said_to_a_node_that_comes_when_the_log_begins_later() {
    let trial = Trial::new("CLUSTER_LOST", 1);
    let setup = Setup { more: "unverified_sync = true\n", ..Setup::default() };
    let Some(mut three) = Three::up(&setup) else { return };
    let mut load = Load::new(trial.seed, WORKERS);
    write(&three, &mut load, MORE);
    three.rest();
    let dir = tempfile::tempdir().unwrap();
    let copies = three.copied(dir.path());
    three.rest();
    three.kill_node(1);
    three.kill_node(2);
    let before = (load.history.submissions.len(), load.history.reads.len());
    write(&three, &mut load, MORE);
    three.kill_node(0);
    three.stop_servers();
    three.put_back(&copies);
    three.run_servers();
    // The others go on, and have lost nothing.
    three.start_node(1);
    three.start_node(2);
    write(&three, &mut load, 3 * MORE);
    three.until_same([1, 2]);
    three.kill_node(2);
    let away = three.position(1).unwrap();
    three.start_node(0);
    // It may have applied as many as the others have since, and take itself for one of them at first.
    until("what was lost is given", || {
        let given = three.position(1).filter(|position| position.seq > away.seq)?;
        (three.figures(0)["state"] == "live" && three.position(0)? == given).then_some(())
    });
    with_log(&three.servers, async |_, log| trim(&three.servers, &log, away.seq).await);
    three.start_node(2);
    three.rest();
    forget_places(&mut load.history, before);
    three.check(&load);
}

#[test]
fn what_one_replica_has_lost_is_read_from_the_others_and_told_by_name() {
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let path = format!("/v1/Accounts/{A1}/Calls?limit=1");
    // It reads all of it later.
    three.kill_node(2);
    let headers = [("content-type", "application/x-ndjson")];
    let pad = "-".repeat(4000);
    // More than a block of the stream has.
    for batch in 0..60_u32 {
        let of = |n: u32| {
            event(100 * batch + n, "completed").replacen('{', &format!("{{\"pad\":\"{pad}\","), 1)
        };
        let body = (0..50).map(of).collect::<Vec<_>>().join("\n");
        let taken = three.targets.send(0, "POST", "/v1/hooks/call-status", &headers, &body);
        assert_eq!(taken.unwrap().status, 204);
    }
    let damaged = (three.leader() + 1) % MACHINES;
    assert!(three.servers.blocks(damaged).len() > 1, "the first block is not the last one");
    damage(&mut three.servers, damaged);
    let name = three.servers.all[damaged].name.clone();
    three.start_node(2);
    three.rest();
    let exports: Vec<_> = three.nodes.iter().map(|node| node.ok(&["export"])).collect();
    assert!(exports.iter().all(|export| *export == exports[0]), "the nodes differ");
    assert_eq!(exports[0].lines().count(), 3000);
    for n in 0..MACHINES {
        assert_eq!(three.targets.send(n, "GET", &path, &[], "").unwrap().status, 200);
        until("the node tells which server has lost some", || {
            let told = three.figures(n)["problems"].as_array()?.iter().any(|problem| {
                problem
                    .as_str()
                    .is_some_and(|problem| problem.contains(&format!("server {name} has lost")))
            });
            told.then_some(())
        });
        let scrape = three.targets.send(n, "GET", "/metrics", &[], "").unwrap();
        let lost = format!("\nrollcall_cluster_replica_deleted{{server=\"{name}\"}} ");
        let (_, count) = scrape.body.split_once(&lost).unwrap();
        let count: f64 = count.lines().next().unwrap().parse().unwrap();
        assert!(count > 0.0, "{count}");
    }
    let config = three.configs[0].to_str().unwrap();
    for command in [&["cluster", "status", "--config", config][..], &["doctor", "--config", config]]
    {
        let printed = three.nodes[0].run(command);
        let said = printed.stdout + &printed.stderr;
        assert!(said.contains(&format!("{name} has lost")), "{said}");
    }
}
