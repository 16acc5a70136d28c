//! Networks that are cut, one way or both, under load: nothing that was acknowledged is missing, a minority orders nothing,
//! no client is shown an older state than it has seen, and clients of a load balancer go on by what `/readyz` says.
//!
//! `CLUSTER_PARTITIONS` is the number of rounds, `TRIAL_SEED` the seed, `CLUSTER_AWAY_SECONDS` how long each of them lasts at
//! least. As many rounds as there are partitions do each of them once; a short run begins where its seed says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::harness::{TIMEOUT, until};
use super::super::load::{Random, Trial};
use super::nats::{self, Options};
use super::network::{End, Network};
use super::register::{Content, History, Outcome};
use super::three::{MACHINES, Setup, Three, stream_in};
use super::writers::{Load, Progress};

/// Requests that are acknowledged before and after each partition, and meanwhile.
const MORE: usize = 30;
/// Of clients of the load balancer that have to go on meanwhile.
const MORE_BALANCED: usize = 15;
const WORKERS: usize = 4;
const BALANCED: usize = 2;
/// What was under way when the network was cut is over then.
const SETTLED: Duration = Duration::from_secs(1);
const FLAPS: usize = 8;
/// Of everybody after each request, while a partition lasts longer than it must.
const AWAY_REST: Duration = Duration::from_millis(100);

/// What happens in a round. The machine that it happens to has the leader of the log, or not.
#[derive(Debug, Clone, Copy)]
enum Partition {
    /// The leader's machine is cut off from the others.
    LeaderAlone,
    /// A node reaches no server, and its clients reach it.
    NodeWithoutServers,
    /// The same of all nodes: the servers are well.
    NobodyReachesServers,
    /// What a machine sends is lost, or what is sent to it.
    OneWayOut,
    OneWayIn,
    /// The leader is not heard by one of the other servers.
    LeaderUnheard,
    /// A machine is cut off and comes back each second.
    Flapping,
    /// Nobody reaches two of the servers.
    MajorityAway,
    /// Each machine is alone.
    AllAlone,
    /// A machine that does not lead is cut off.
    FollowerAlone,
}

const PARTITIONS: [Partition; 10] = [
    Partition::LeaderAlone,
    Partition::MajorityAway,
    Partition::NodeWithoutServers,
    Partition::OneWayIn,
    Partition::AllAlone,
    Partition::Flapping,
    Partition::OneWayOut,
    Partition::NobodyReachesServers,
    Partition::LeaderUnheard,
    Partition::FollowerAlone,
];

/// What a partition leaves.
struct Cut {
    /// Nodes that order nothing.
    away: Vec<usize>,
    /// A server that is without a quorum.
    alone: Option<usize>,
    /// Nodes that cannot know whether others go on: their lists do not count as current any more.
    unsure: Vec<usize>,
}

impl Cut {
    fn none() -> Self {
        Self { away: Vec::new(), alone: None, unsure: Vec::new() }
    }

    fn off(machine: usize) -> Self {
        Self { away: vec![machine], alone: Some(machine), unsure: vec![machine] }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_partitions_and_a_minority_orders_nothing() {
    let trial = Trial::new("CLUSTER_PARTITIONS", 1);
    if !nats::here() {
        return;
    }
    let Some(network) = Network::new() else { return };
    let network = Arc::new(network);
    network.within(|| rounds(&trial, &network));
}

fn rounds(trial: &Trial, network: &Arc<Network>) {
    let lasts = std::env::var("CLUSTER_AWAY_SECONDS");
    let lasts = Duration::from_secs(lasts.map_or(0, |text| text.parse().unwrap()));
    let mut random = Random::new(trial.seed);
    // One node of three refuses what finds no quorum, the others keep it.
    let refuses = random.below(MACHINES);
    let setup = Setup {
        servers: Options { network: Some(network.clone()), ..Options::default() },
        more: "max_lag = \"4s\"\nallow_plain = true\n",
        ..Setup::default()
    };
    let Some(mut three) = Three::up(&setup) else { return };
    three.refuses(refuses);
    let first = if trial.rounds < PARTITIONS.len() { random.below(PARTITIONS.len()) } else { 0 };
    let mut load = Load::balanced(trial.seed, WORKERS, BALANCED);
    load.longest = 3 * TIMEOUT + lasts;
    let targets = three.targets.clone();
    for round in 0..trial.rounds {
        let partition = PARTITIONS[(first + round) % PARTITIONS.len()];
        let (since, begun) = (load.elapsed(), Instant::now());
        let mut ordered = Vec::new();
        let clock = load.clock();
        load.during(&targets, |progress| {
            progress.more(MORE);
            ordered = part(
                &three,
                network,
                partition,
                refuses,
                &mut random,
                progress,
                &|| {
                    progress.rest(AWAY_REST);
                    rest_for(lasts.saturating_sub(begun.elapsed()));
                    progress.rest(Duration::ZERO);
                },
                &clock,
            );
            progress.more(MORE);
        });
        for (node, from, to) in ordered {
            assert_orders_nothing(&load.history, node, from, to);
        }
        let lasted = begun.elapsed();
        let silence = load.history.longest_silence(since);
        three.rest();
        eprintln!(
            "round {round}: {partition:?}, {} s, at most {} ms without an acknowledgement, at rest after {} ms",
            lasted.as_secs(),
            silence.as_millis(),
            begun.elapsed().saturating_sub(lasted).as_millis()
        );
        // The lists of all calls grow with the rounds.
        if round < 10 || round % 10 == 0 || round + 1 == trial.rounds {
            three.check(&load);
        }
    }
    let counted = load.history.counted();
    assert!(counted.logged > 10 * trial.rounds, "{counted}");
    eprintln!(
        "seed {}, {} partitions: {counted}, {} answers that a node was behind; 0 lost",
        trial.seed, trial.rounds, load.history.behind
    );
}

/// When a node could order nothing, since the register was begun.
type Away = (usize, Duration, Duration);

/// Cuts the network, sees that all is as it is said to be, and mends it.
#[expect(clippy::too_many_arguments, reason = "all that a round has")]
fn part(
    three: &Three,
    network: &Network,
    partition: Partition,
    refuses: usize,
    random: &mut Random,
    progress: &Progress,
    last: &dyn Fn(),
    clock: &dyn Fn() -> Duration,
) -> Vec<Away> {
    let leader = three.leader();
    let other = (leader + 1 + random.below(2)) % MACHINES;
    let any = random.below(MACHINES);
    let cut = cut(network, partition, leader, other, any);
    let from = clock();
    rest_for(SETTLED);
    let before = cut.alone.map(|server| three.last(server));
    progress.more(MORE);
    if cut.away.len() < MACHINES {
        progress.more_balanced(MORE_BALANCED);
    }
    for n in 0..MACHINES {
        let is_ready = !cut.unsure.contains(&n);
        until(&format!("node {n} is ready for lists: {is_ready} ({partition:?})"), || {
            // Who lacks the last messages that another one has shows less, until somebody orders something again.
            let lacks = || cut.away.len() == MACHINES && three.lacks_some(n);
            let ready = three.is_ready(n, "");
            (ready == is_ready || !ready && lacks()).then_some(())
        });
        let is_away = cut.away.contains(&n);
        let takes = !(is_away && n == refuses);
        until(&format!("node {n} takes events: {takes} ({partition:?})"), || {
            (three.is_ready(n, "?for=events") == takes).then_some(())
        });
        if is_away {
            until(&format!("node {n} is away ({partition:?})"), || {
                (three.figures(n)["state"] == "away").then_some(())
            });
        }
    }
    last();
    let to = clock();
    if let Some(server) = cut.alone {
        assert_eq!(
            Some(three.last(server)),
            before,
            "a server that is alone has ordered something"
        );
    }
    network.mend();
    cut.away.into_iter().map(|node| (node, from, to)).collect()
}

fn cut(network: &Network, partition: Partition, leader: usize, other: usize, any: usize) -> Cut {
    let servers = || (0..MACHINES).map(End::Server);
    let not_of =
        |machine: usize| End::all().filter(move |end| !End::of_machine(machine).contains(end));
    match partition {
        Partition::LeaderAlone => {
            network.part(&End::of_machine(leader));
            Cut::off(leader)
        }
        Partition::FollowerAlone => {
            network.part(&End::of_machine(other));
            Cut::off(other)
        }
        Partition::OneWayOut => {
            network.cut(End::of_machine(any), not_of(any));
            // What the others order may still come to its server for some seconds.
            Cut { alone: None, ..Cut::off(any) }
        }
        Partition::OneWayIn => {
            network.cut(not_of(any), End::of_machine(any));
            Cut::off(any)
        }
        Partition::NodeWithoutServers => {
            network.part(&[End::Node(any)]);
            Cut { alone: None, ..Cut::off(any) }
        }
        Partition::NobodyReachesServers => {
            (0..MACHINES).for_each(|n| network.part(&[End::Node(n)]));
            let all: Vec<_> = (0..MACHINES).collect();
            Cut { away: all.clone(), alone: None, unsure: all }
        }
        Partition::LeaderUnheard => {
            network.cut([End::Server(leader)], [End::Server(other)]);
            Cut::none()
        }
        Partition::Flapping => {
            for _ in 0..FLAPS {
                network.part(&End::of_machine(leader));
                rest_for(Duration::from_secs(1));
                network.mend();
                rest_for(Duration::from_secs(1));
            }
            Cut::none()
        }
        Partition::MajorityAway => {
            servers().filter(|end| *end != End::Server(any)).for_each(|end| network.part(&[end]));
            // All nodes hear each other by the server that is left: none of them shows anything older than another.
            Cut { away: (0..MACHINES).collect(), alone: Some(any), unsure: Vec::new() }
        }
        Partition::AllAlone => {
            (0..MACHINES).for_each(|n| network.part(&End::of_machine(n)));
            let all: Vec<_> = (0..MACHINES).collect();
            Cut { away: all.clone(), alone: Some(any), unsure: all }
        }
    }
}

/// What was sent to a node and answered while it was away has no place in the log.
fn assert_orders_nothing(history: &History, node: usize, from: Duration, to: Duration) {
    for submission in &history.submissions {
        let is_then =
            submission.node == node && submission.sent >= from && submission.answered <= to;
        let is_logged = matches!(submission.outcome, Outcome::Logged(_));
        assert!(
            !is_then || !is_logged,
            "node {node} was away from {from:?} to {to:?}: {submission:?}"
        );
        let is_kept_deletion = submission.outcome == Outcome::Kept
            && matches!(submission.content, Content::Deletion(_));
        assert!(!is_kept_deletion, "{submission:?}");
    }
}

/// Threads that have ended may have left a token that ends one wait at once.
pub fn rest_for(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

impl Three {
    /// A node refuses what finds no quorum, from now on.
    fn refuses(&mut self, n: usize) {
        self.kill_node(n);
        let config = std::fs::read_to_string(&self.configs[n]).unwrap();
        assert!(config.contains("\"keep\""), "{config}");
        std::fs::write(&self.configs[n], config.replace("\"keep\"", "\"refuse\"")).unwrap();
        self.start_node(n);
        self.all_ready();
    }

    fn is_ready(&self, n: usize, what: &str) -> bool {
        let answer = self.targets.send(n, "GET", &format!("/readyz{what}"), &[], "");
        answer.is_some_and(|answer| answer.status == 200)
    }

    /// Whether another node has applied more.
    fn lacks_some(&self, n: usize) -> bool {
        let applied = |n| self.position(n).map(|position| position.seq);
        (0..MACHINES).any(|other| applied(other) > applied(n))
    }

    /// The number of the last message that a server has.
    fn last(&self, n: usize) -> u64 {
        until("a server says what it has", || {
            stream_in(&self.jetstream(n)?)?["state"]["last_seq"].as_u64()
        })
    }
}
