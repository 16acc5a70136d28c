//! What one nats-server stores is damaged, or is older than it was. Nothing that was acknowledged is missing afterwards, no node
//! applies anything else than the others, and what is wrong is told by name.
//!
//! `CLUSTER_DAMAGE` is the number of rounds, `TRIAL_SEED` the seed. A short run begins with the kind of damage that
//! its seed says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::super::crash::wait;
use super::super::harness::until;
use super::super::load::{Random, Trial};
use super::lost::copy_dir;
use super::register::{Call, Content, Event, Outcome, Position, Submission};
use super::three::{MACHINES, Setup, Three, stream_in};
use super::writers::Load;

const WORKERS: usize = 6;
/// Requests that are acknowledged before, meanwhile and afterwards.
const MORE: usize = 30;
/// Requests of a quarter of a megabyte: the log's blocks have eight.
const FILLERS: usize = 34;

/// What is done to a server's files while it does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    BlockRemoved,
    BlockCut,
    BlockZeroed,
    /// The index of the blocks.
    IndexRemoved,
    IndexOld,
    StreamRemoved,
    /// What the replicas of the stream have agreed on: the Raft log.
    RaftRemoved,
    /// What the servers have agreed on.
    MetaRemoved,
    AllRemoved,
    /// The machine was put back to what it was.
    AllOld,
    /// The same, and another server was away: these two elect a leader that does not have all.
    AllOldAndOneBehind,
}

const DAMAGES: [Damage; 11] = [
    Damage::BlockRemoved,
    Damage::AllOld,
    Damage::BlockZeroed,
    Damage::RaftRemoved,
    Damage::StreamRemoved,
    Damage::AllOldAndOneBehind,
    Damage::IndexOld,
    Damage::BlockCut,
    Damage::AllRemoved,
    Damage::MetaRemoved,
    Damage::IndexRemoved,
];

/// A server's directories.
struct Store {
    root: PathBuf,
}

impl Store {
    fn of(three: &Three, n: usize) -> Self {
        Self { root: three.servers.store_dir(n) }
    }

    fn stream(&self) -> PathBuf {
        self.root.join("jetstream/RC/streams/RC_pbx")
    }

    fn index(&self) -> PathBuf {
        self.stream().join("msgs/index.db")
    }

    /// One that was killed may have none.
    fn remove_index(&self) {
        let _none = fs::remove_file(self.index());
    }

    fn put_back(&self, copy: &Path) {
        fs::remove_dir_all(&self.root).unwrap();
        copy_dir(copy, &self.root);
    }

    /// Of the stream, whose name is that of a group of three, or of all servers.
    fn raft(&self, of_all: bool) -> PathBuf {
        let dir = self.root.join("jetstream/SYS/_js_");
        let mut dirs = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        dirs.find(|dir| (dir.file_name().unwrap() == "_meta_") == of_all).unwrap()
    }
}

impl Damage {
    /// What is put back was copied before something was written.
    fn needs_copy(self) -> bool {
        matches!(self, Self::IndexOld | Self::AllOld | Self::AllOldAndOneBehind)
    }

    fn act(self, three: &Three, n: usize, copy: &Path, random: &mut Random) {
        let store = Store::of(three, n);
        let blocks = three.servers.blocks(n);
        let block = &blocks[random.below(blocks.len())];
        let bytes = fs::read(block).unwrap();
        let middle = bytes.len() / 4 + random.below(bytes.len() / 2 + 1);
        match self {
            Self::BlockRemoved => fs::remove_file(block).unwrap(),
            Self::BlockCut => fs::write(block, &bytes[..middle]).unwrap(),
            Self::BlockZeroed => {
                let mut bytes = bytes;
                let end = bytes.len().min(middle + 1 + random.below(20_000));
                bytes[middle..end].fill(0);
                fs::write(block, bytes).unwrap();
            }
            Self::IndexRemoved => store.remove_index(),
            Self::IndexOld => {
                let old = Store { root: copy.to_owned() }.index();
                fs::copy(old, store.index()).unwrap();
            }
            Self::StreamRemoved => fs::remove_dir_all(store.stream()).unwrap(),
            Self::RaftRemoved => fs::remove_dir_all(store.raft(false)).unwrap(),
            Self::MetaRemoved => fs::remove_dir_all(store.raft(true)).unwrap(),
            Self::AllRemoved => fs::remove_dir_all(&store.root).unwrap(),
            Self::AllOld | Self::AllOldAndOneBehind => store.put_back(copy),
        }
    }
}

/// The messages in the blocks of a replica, as they stand there, by their numbers: what is between the length and the checksum,
/// which is another one in another block.
fn messages(blocks: &[PathBuf]) -> BTreeMap<u64, Vec<u8>> {
    let mut found = BTreeMap::new();
    for block in blocks {
        let bytes = fs::read(block).unwrap();
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_le_bytes(*length) & 0x7fff_ffff).unwrap();
            let seq = after.first_chunk::<8>().filter(|_| (30..=rest.len()).contains(&length));
            let Some(seq) = seq.map(|seq| u64::from_le_bytes(*seq)) else { break };
            // Others are of messages that went.
            if seq >> 62 == 0 {
                found.insert(seq, rest[4..length - 8].to_vec());
            }
            rest = &rest[length..];
        }
    }
    found
}

/// What a server says of its replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Replica {
    first: u64,
    last: u64,
    deleted: u64,
}

/// What is wrong with the replicas, as their files say.
#[derive(Debug, Default)]
struct Wrong {
    /// Servers that have lost messages.
    lost: BTreeSet<usize>,
    /// The one that has other messages than the two others.
    other: Option<usize>,
}

impl Three {
    fn replica(&self, n: usize) -> Option<Replica> {
        let said = self.jetstream(n)?;
        let state = &stream_in(&said)?["state"];
        let number = |name: &str| state[name].as_u64();
        Some(Replica {
            first: number("first_seq")?,
            last: number("last_seq")?,
            deleted: number("num_deleted").unwrap_or_default(),
        })
    }

    fn replicas(&self) -> Vec<Replica> {
        until("all servers say what they have", || {
            (0..MACHINES).map(|n| self.replica(n)).collect::<Option<_>>()
        })
    }

    /// A server notices damage within a block only when it reads there. Without the index of its blocks it reads all of them
    /// when it starts.
    fn read_again(&mut self, n: usize) {
        self.servers.stop(n);
        Store::of(self, n).remove_index();
        self.servers.run(n);
        self.until_all_follow();
    }

    /// What is wrong while nothing is written.
    fn wrong(&self) -> Wrong {
        let (mut wrong, replicas) = (Wrong::default(), self.replicas());
        let first = replicas.iter().map(|one| one.first).min();
        let lost = |one: &Replica| one.deleted > 0 || Some(one.first) > first;
        wrong.lost.extend((0..MACHINES).filter(|n| lost(&replicas[*n])));
        let all: Vec<_> = (0..MACHINES).map(|n| messages(&self.servers.blocks(n))).collect();
        for n in (0..MACHINES).filter(|n| !wrong.lost.contains(n)) {
            let (a, b) = (&all[(n + 1) % MACHINES], &all[(n + 2) % MACHINES]);
            let lacks = b.keys().find(|seq| a.contains_key(seq) && !all[n].contains_key(seq));
            assert!(
                lacks.is_none(),
                "server {n} lacks message {lacks:?}, and says that it has all"
            );
            let is_other = |(seq, bytes): (&u64, &Vec<u8>)| {
                let mut others = [a, b].map(|other| other.get(seq)).into_iter();
                others.all(|other| other.is_some_and(|other| other != bytes))
            };
            if all[n].iter().any(is_other) {
                assert!(wrong.other.replace(n).is_none(), "all three have other messages");
            }
        }
        wrong
    }

    fn until_all_follow(&self) {
        until("all servers follow the leader", || {
            let replicas: Vec<_> = (0..MACHINES).map(|n| self.replica(n)).collect::<Option<_>>()?;
            let leader = self.jetstream(self.leader())?;
            let others = stream_in(&leader)?["cluster"]["replicas"].as_array()?.clone();
            let current =
                others.len() == MACHINES - 1 && others.iter().all(|one| one["current"] == true);
            (current && replicas.iter().all(|one| one.last == replicas[0].last)).then_some(())
        });
    }

    /// Stops the servers that lead until this one does.
    fn make_leader(&mut self, n: usize) {
        let mut tried = 0;
        loop {
            let leader = self.leader();
            if leader == n {
                return;
            }
            self.servers.stop(leader);
            until("another one leads", || self.is_led_without(leader).then_some(()));
            self.servers.run(leader);
            self.until_all_follow();
            tried += 1;
            assert!(tried < 30, "server {n} is never elected");
        }
    }

    fn is_led_without(&self, gone: usize) -> bool {
        (0..MACHINES).filter(|n| *n != gone).any(|n| {
            let said = self.jetstream(n);
            let stream = said.as_ref().and_then(stream_in);
            let leader = stream.and_then(|stream| stream["cluster"]["leader"].as_str());
            leader.is_some_and(|leader| leader != self.servers.all[gone].name)
        })
    }

    /// Messages that fill a block of the log, all of one event.
    fn fill(&self, node: usize, load: &mut Load) {
        let call = Call { worker: WORKERS, number: 0 };
        let event = Event { call, number: 0, status: 0 };
        let body = vec![event.json(&"-".repeat(4800)); 50].join("\n");
        let headers = [("content-type", "application/x-ndjson")];
        for _ in 0..FILLERS {
            let sent = load.elapsed();
            let place = until("filler is in the log", || {
                let path = "/v1/hooks/call-status";
                let answer = self.targets.send(node, "POST", path, &headers, &body)?;
                Position::of(&answer).filter(|_| answer.status == 204)
            });
            load.history.submissions.push(Submission {
                node,
                content: Content::Events(vec![event]),
                sent,
                answered: load.elapsed(),
                outcome: Outcome::Logged(place),
            });
        }
    }

    /// Waits until all nodes but one that is away have applied the same, and keep nothing.
    fn rest_without(&self, away: Option<usize>) {
        until("all nodes that run have applied the same", || {
            let run = (0..MACHINES).filter(|n| Some(*n) != away);
            let figures: Vec<_> = run.map(|n| self.figures(n)).collect();
            let rests = |one: &Value| {
                one["state"] == "live"
                    && one["kept"]["count"] == 0
                    && one["applied"] == figures[0]["applied"]
            };
            figures.iter().all(rests).then_some(())
        });
    }

    /// Two servers go on that do not have the end of what was acknowledged: one that is older than it was, and one that was
    /// away meanwhile. A node may be away as well.
    fn lose_by_election(
        &mut self,
        old: usize,
        away: Option<usize>,
        is_soon_back: bool,
        load: &mut Load,
        copy: &Path,
    ) {
        let (behind, whole) = ((old + 1) % MACHINES, (old + 2) % MACHINES);
        let targets = self.targets.clone();
        self.servers.stop(behind);
        load.during(&targets, |progress| progress.more(2 * MORE));
        self.rest_without(away);
        let end = self.replica(whole).unwrap().last;
        self.servers.stop(old);
        self.servers.stop(whole);
        Store::of(self, old).put_back(copy);
        self.servers.run(old);
        self.servers.run(behind);
        until("these two go on", || self.is_led_without(whole).then_some(()));
        if !is_soon_back {
            let begin = until("it says what it has", || self.replica(behind)).last;
            load.during(&targets, |_| {
                until("the log goes on", || (self.replica(behind)?.last > begin).then_some(()));
            });
        }
        self.servers.run(whole);
        // It has still what was lost, and gets nothing new before the numbers of that were given again.
        load.during(&targets, |progress| {
            until("the log is longer than it was", || {
                progress.more(MORE);
                (self.replica(old)?.last > end).then_some(())
            });
        });
        self.rest_without(away);
    }

    /// All nodes name what is wrong, and say nothing where nothing is.
    fn assert_told(&self, wrong: &Wrong) {
        for node in 0..MACHINES {
            until(&format!("node {node} tells what is wrong: {wrong:?}"), || {
                let figures = self.figures(node);
                let problems = figures["problems"].as_array()?;
                let says = |n: usize, what: &str| {
                    let what = format!("server {} has {what}", self.servers.all[n].name);
                    problems.iter().any(|one| one.as_str().is_some_and(|one| one.contains(&what)))
                };
                let is_right = (0..MACHINES).all(|n| {
                    says(n, "lost") == wrong.lost.contains(&n)
                        && says(n, "other messages") == (wrong.other == Some(n))
                });
                is_right.then_some(())
            });
        }
        let servers = wrong.lost.iter().copied().chain(wrong.other);
        for name in servers.map(|n| &self.servers.all[n].name) {
            let config = self.configs[0].to_str().unwrap();
            for command in [&["doctor"][..], &["cluster", "status"]] {
                until(&format!("{command:?} tells of server {name}"), || {
                    let said = self.nodes[0].run(&[command, &["--config", config]].concat());
                    let said = said.stdout + &said.stderr;
                    said.contains(&format!("server {name} has ")).then_some(())
                });
            }
            let scrape = self.targets.send(0, "GET", "/metrics", &[], "").unwrap();
            let (_, count) = scrape.body.split_once("\nrollcall_cluster_problems ").unwrap();
            assert!(!count.starts_with("0\n"), "{count}");
        }
    }

    /// What the page says: a server that has all leads, and the replicas of the others are made anew.
    fn mend(&mut self, wrong: &Wrong) {
        let bad = |n: &usize| wrong.lost.contains(n) || wrong.other == Some(*n);
        let whole = (0..MACHINES).find(|n| !bad(n)).unwrap();
        for n in (0..MACHINES).filter(bad) {
            self.make_leader(whole);
            self.servers.stop(n);
            fs::remove_dir_all(Store::of(self, n).root.join("jetstream")).unwrap();
            self.servers.run(n);
            self.until_all_follow();
        }
        let left = self.wrong();
        assert!(left.lost.is_empty() && left.other.is_none(), "{left:?}");
    }
}

#[test]
fn what_is_damaged_in_one_replica_is_missing_nowhere() {
    let trial = Trial::new("CLUSTER_DAMAGE", 1);
    let Some(mut three) = Three::up(&Setup::default()) else { return };
    let mut random = Random::new(trial.seed);
    let begin = if trial.rounds < DAMAGES.len() { random.below(DAMAGES.len()) } else { 0 };
    let mut load = Load::new(trial.seed, WORKERS);
    let targets = three.targets.clone();
    let mut told = 0;
    three.fill(0, &mut load);
    for round in 0..trial.rounds {
        let damage = DAMAGES[(begin + round) % DAMAGES.len()];
        let (n, reader) = (random.below(MACHINES), random.below(MACHINES));
        let (leads, in_order) = (random.percent(50), random.percent(50));
        let away = damage != Damage::AllOldAndOneBehind || random.percent(50);
        let begun = Instant::now();
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy");
        load.during(&targets, |progress| progress.more(MORE));
        if damage.needs_copy() {
            three.servers.stop(n);
            copy_dir(&three.servers.store_dir(n), &copy);
            three.servers.run(n);
            three.until_all_follow();
        }
        // It reads all of it later.
        three.kill_node(reader);
        three.fill((reader + 1) % MACHINES, &mut load);
        if damage == Damage::AllOldAndOneBehind {
            if !away {
                three.start_node(reader);
            }
            three.lose_by_election(n, away.then_some(reader), in_order, &mut load, &copy);
        } else {
            load.during(&targets, |progress| {
                progress.more(MORE);
                if in_order {
                    three.servers.stop(n);
                } else {
                    three.servers.kill(n);
                }
                damage.act(&three, n, &copy, &mut random);
                wait(&mut random, 1000);
                three.servers.run(n);
                progress.more(MORE);
            });
        }
        three.until_all_follow();
        if leads {
            load.during(&targets, |progress| {
                three.make_leader(n);
                progress.more(MORE);
            });
        }
        if away {
            three.start_node(reader);
        }
        three.rest();
        load.during(&targets, |progress| progress.more(MORE));
        three.rest();
        three.check(&load);
        three.until_all_follow();
        if [Damage::BlockCut, Damage::BlockZeroed].contains(&damage) {
            three.read_again(n);
        }
        let wrong = three.wrong();
        three.assert_told(&wrong);
        eprintln!(
            "round {round}: {damage:?} at server {n}{}, node {reader} {}: {wrong:?} told, {} ms",
            if leads { ", which leads then" } else { "" },
            if away { "was away, and has it to read" } else { "runs" },
            begun.elapsed().as_millis()
        );
        told += wrong.lost.len() + usize::from(wrong.other.is_some());
        three.mend(&wrong);
    }
    three.rest();
    three.check(&load);
    assert!(told > 0 || trial.rounds < DAMAGES.len(), "nothing was ever lost");
    let counted = load.history.counted();
    eprintln!(
        "seed {}, {} rounds, {told} replicas made anew: {counted}; 0 lost",
        trial.seed, trial.rounds
    );
}
