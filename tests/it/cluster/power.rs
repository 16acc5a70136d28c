//! Power cuts: each machine's disk, that of its nats-server and its rollcall, is an image, and what the file system has not
//! written to it by then is gone.
//!
//! `CLUSTER_CUTS` is the number of rounds, `TRIAL_SEED` the seed.

use std::fs;

use serde_json::Value;

use super::super::crash::wait;
use super::super::harness::until;
use super::super::load::{Random, Trial};
use super::super::power::{Disk, frozen};
use super::nats::Options;
use super::register::Outcome;
use super::three::{MACHINES, Setup, Three, stream_in};
use super::writers::Load;

const IMAGE_BYTES: u64 = 1 << 30;
const WORKERS: usize = 6;
const MORE: usize = 40;

/// Disks of three machines, and a cluster on them.
fn machines(setup: &Setup) -> Option<(Vec<Disk>, Setup)> {
    let disks: Vec<Disk> = (0..MACHINES).map(|_| Disk::new(IMAGE_BYTES)).collect::<Option<_>>()?;
    let dirs = [0, 1, 2].map(|n| disks[n].mounted.clone());
    Some((disks, Setup { dirs: Some(dirs), ..setup.clone() }))
}

/// All processes of these machines stand still, and their disks are copied as they are.
fn cut(three: &mut Three, disks: &mut [Disk], machines: &[usize], witness: &str) {
    for n in machines {
        three.servers.signal(*n, "STOP");
        three.nodes[*n].signal("STOP");
    }
    for n in machines {
        let (server, node) = (three.servers.pid(*n), three.nodes[*n].pid());
        until("every thread stands still", || (frozen(server) && frozen(node)).then_some(()));
    }
    for n in machines {
        // Whether the cut is one: this is written, and not synced.
        fs::write(disks[*n].mounted.join(witness), [7; 5000]).unwrap();
        disks[*n].copy();
    }
    for n in machines {
        three.servers.kill(*n);
        three.kill_node(*n);
    }
}

/// Goes on with what the disks had. How many of the machines have lost what was not synced.
fn power_up(three: &mut Three, disks: &mut [Disk], machines: &[usize], witness: &str) -> usize {
    let mut cuts = 0;
    for n in machines {
        disks[*n].cut();
        let witness = fs::metadata(disks[*n].mounted.join(witness));
        // A kernel that was slow to be copied may have written it after all.
        cuts += usize::from(witness.map_or(0, |witness| witness.len()) == 0);
        three.servers.run(*n);
        three.start_node(*n);
    }
    cuts
}

#[test]
fn nothing_acknowledged_is_lost_by_power_cuts() {
    let trial = Trial::new("CLUSTER_CUTS", 2);
    let setup = Setup {
        servers: Options { max_file_store: "700MB", ..Options::default() },
        ..Setup::default()
    };
    let Some((mut disks, setup)) = machines(&setup) else { return };
    let Some(mut three) = Three::up(&setup) else { return };
    let mut random = Random::new(trial.seed);
    let mut load = Load::new(trial.seed, WORKERS);
    let targets = three.targets.clone();
    let mut cuts = 0;
    for round in 0..trial.rounds {
        // All of them, then one or two.
        let first = random.below(MACHINES);
        let count = if round % 2 == 0 { MACHINES } else { 1 + random.below(2) };
        let which: Vec<_> = (0..count).map(|n| (first + n) % MACHINES).collect();
        // A new name each time: ext4 writes a file that replaces another at once.
        let witness = format!("witness-{round}");
        load.during(&targets, |progress| {
            progress.more(MORE);
            wait(&mut random, 300);
            cut(&mut three, &mut disks, &which, &witness);
            cuts += power_up(&mut three, &mut disks, &which, &witness);
            progress.more(MORE);
        });
        three.rest();
        three.check(&load);
        eprintln!("round {round}: machines {which:?}");
    }
    assert!(cuts > 0, "nothing was ever cut off");
    let counted = load.history.counted();
    assert!(counted.logged > 10 * trial.rounds, "{counted}");
    eprintln!(
        "seed {}, {} power cuts ({cuts} of machines with a witness): {counted}; 0 lost",
        trial.seed, trial.rounds
    );
}

#[test]
fn what_servers_lose_that_sync_now_and_then_the_nodes_give_back() {
    let trial = Trial::new("CLUSTER_LOSSES", 1);
    let setup = Setup {
        servers: Options { sync_always: false, max_file_store: "700MB", ..Options::default() },
        more: "unverified_sync = true",
        monitors: false,
        ..Setup::default()
    };
    let Some((mut disks, setup)) = machines(&setup) else { return };
    let Some(mut three) = Three::up(&setup) else { return };
    let mut load = Load::new(trial.seed, WORKERS);
    let targets = three.targets.clone();
    load.during(&targets, |progress| {
        progress.more(MORE);
        cut(&mut three, &mut disks, &[0, 1, 2], "witness");
    });
    let newest = load.history.newest().unwrap();
    for (n, disk) in disks.iter_mut().enumerate() {
        disk.cut();
        three.start_node(n);
    }
    // What was acknowledged and was not applied anywhere yet stood nowhere but in the log.
    let applied = |n: usize| three.figures(n)["applied"].as_u64().unwrap();
    let (applied, most) = (0..MACHINES).map(|n| (applied(n), n)).max().unwrap();
    let mut nowhere = 0;
    for submission in &mut load.history.submissions {
        if matches!(&submission.outcome, Outcome::Logged(at) if at.seq > applied) {
            submission.outcome = Outcome::Unknown;
            nowhere += 1;
        }
    }
    for n in 0..MACHINES {
        three.servers.run(n);
    }
    let last = until("the servers say what they have left", || left(&three));
    assert!(last < newest.seq, "the log still has {last}, and {newest} was acknowledged");
    eprintln!(
        "seed {}: {newest} was acknowledged, {applied} applied, and the log ends with {last}; {nowhere} requests were in the \
         log alone",
        trial.seed
    );
    until("all nodes go on", || {
        let figures: Vec<_> = (0..MACHINES).map(|n| three.figures(n)).collect();
        let is_gone = |one: &Value| one["why"].as_str().is_some_and(|why| why.contains("--again"));
        if figures.iter().all(is_gone) {
            three.create_again(most, &[]);
        }
        figures.iter().all(|one| one["state"] == "live").then_some(())
    });
    load.during(&targets, |progress| progress.more(MORE));
    three.rest();
    three.check(&load);
}

/// The number of the last message that the log has, 0 where there is no log; none while the servers do not know.
fn left(three: &Three) -> Option<u64> {
    let said: Vec<_> = (0..MACHINES).map(|n| three.jetstream(n)).collect::<Option<_>>()?;
    let leads = said.iter().all(|one| one["meta_cluster"]["leader"].is_string());
    let streams: Vec<_> = said.iter().filter_map(stream_in).collect();
    if streams.is_empty() {
        return leads.then_some(0);
    }
    let led = streams.iter().find(|stream| stream["cluster"]["leader"].is_string())?;
    led["state"]["last_seq"].as_u64()
}
