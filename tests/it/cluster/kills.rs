//! Processes that die, hang and come back under load: nothing that was acknowledged is missing, and the nodes stay one.
//!
//! `CLUSTER_KILLS` is the number of rounds, `TRIAL_SEED` the seed. Nine rounds do each kind of harm once; a short run
//! begins where its seed says.

use std::time::Instant;

use super::super::load::{Random, Trial};
use super::three::{MACHINES, Setup, Three};
use super::writers::{Follower, Load};

/// Requests that are acknowledged before and after each harm, and meanwhile where the log goes on.
const MORE: usize = 40;
const WORKERS: usize = 8;

/// What happens in a round.
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// `kill -9` of the server that leads the log.
    KillLeader,
    /// Of another server.
    KillFollower,
    KillNode,
    /// SIGSTOP, and SIGCONT later.
    HangLeader,
    HangNode,
    /// A server and the node of another machine.
    KillServerAndNode,
    /// Two servers: nothing is ordered until one is back, and events are kept.
    KillQuorum,
    /// Both processes of a machine.
    KillMachine,
    /// All six at once.
    KillAll,
}

const HARMS: [Harm; 9] = [
    Harm::KillLeader,
    Harm::KillNode,
    Harm::KillQuorum,
    Harm::KillAll,
    Harm::HangNode,
    Harm::KillFollower,
    Harm::HangLeader,
    Harm::KillMachine,
    Harm::KillServerAndNode,
];

#[test]
fn nothing_acknowledged_is_lost_by_kills_and_the_nodes_stay_one() {
    let trial = Trial::new("CLUSTER_KILLS", 4);
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let mut random = Random::new(trial.seed);
    let first = if trial.rounds < HARMS.len() { random.below(HARMS.len()) } else { 0 };
    let mut load = Load::new(trial.seed, WORKERS);
    let mut follower = Follower::default();
    let targets = three.targets.clone();
    for round in 0..trial.rounds {
        let harm = HARMS[(first + round) % HARMS.len()];
        let since = load.elapsed();
        load.during(&targets, |progress| {
            progress.more(MORE);
            follower.page(&targets, random.below(MACHINES));
            three.harm(harm, &mut random, || progress.more(MORE));
            progress.more(MORE);
        });
        let silence = load.history.longest_silence(since);
        let begun = Instant::now();
        three.rest();
        eprintln!(
            "round {round}: {harm:?}, at most {} ms without an acknowledgement, at rest after {} ms",
            silence.as_millis(),
            begun.elapsed().as_millis()
        );
        // The lists of all calls grow with the rounds.
        if round < 10 || round % 10 == 0 || round + 1 == trial.rounds {
            three.check(&load);
        }
    }
    for n in 0..MACHINES {
        follower.page(&targets, n);
    }
    follower.read_up(&targets, 0);
    three.assert_followed(&follower, 0);
    let counted = load.history.counted();
    assert!(counted.logged > 10 * trial.rounds, "{counted}");
    eprintln!("seed {}, {} rounds: {counted}; 0 lost", trial.seed, trial.rounds);
}

impl Three {
    /// Does harm, lets it last while more is acknowledged, and takes it away.
    fn harm(&mut self, harm: Harm, random: &mut Random, mut meanwhile: impl FnMut()) {
        let leader = self.leader();
        let other = (leader + 1 + random.below(2)) % MACHINES;
        let any = random.below(MACHINES);
        match harm {
            Harm::KillLeader => self.without_servers(&[leader], &mut meanwhile),
            Harm::KillFollower => self.without_servers(&[other], &mut meanwhile),
            Harm::KillQuorum => self.without_servers(&[leader, other], &mut meanwhile),
            Harm::HangLeader => {
                self.servers.signal(leader, "STOP");
                meanwhile();
                self.servers.signal(leader, "CONT");
            }
            Harm::HangNode => {
                self.nodes[any].signal("STOP");
                meanwhile();
                self.nodes[any].signal("CONT");
            }
            Harm::KillNode => {
                self.kill_node(any);
                meanwhile();
                self.start_node(any);
            }
            Harm::KillServerAndNode | Harm::KillMachine => {
                let node =
                    if matches!(harm, Harm::KillMachine) { any } else { (any + 1) % MACHINES };
                self.kill_node(node);
                self.without_servers(&[any], &mut meanwhile);
                self.start_node(node);
            }
            Harm::KillAll => {
                for n in 0..MACHINES {
                    self.servers.kill(n);
                    self.kill_node(n);
                }
                for n in 0..MACHINES {
                    self.servers.run(n);
                    self.start_node(n);
                }
            }
        }
    }

    fn without_servers(&mut self, servers: &[usize], meanwhile: &mut dyn FnMut()) {
        for n in servers {
            self.servers.kill(*n);
        }
        meanwhile();
        for n in servers {
            self.servers.run(*n);
        }
    }
}
