//! The log loses its end while the target of webhooks is away. Each webhook of an event that was acknowledged arrives all
//! the same, by one name and with its own content, though the log gives the numbers of their messages again.
//!
//! `CLUSTER_LOST_HOOKS` is the number of rounds, `TRIAL_SEED` the seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::super::forward::{HOOK, whole_call};
use super::super::harness::{A1, until};
use super::super::load::{Random, Trial};
use super::super::peer::{Answering, Peer};
use super::three::{MACHINES, Setup, Three};

/// What a target took: bodies and delivery ids.
type Taken = Arc<Mutex<Vec<(String, String)>>>;

/// A cluster, a target, and the webhooks that were acknowledged.
struct Trip {
    three: Three,
    /// The target takes what it is sent.
    takes: Arc<AtomicBool>,
    taken: Taken,
    acknowledged: Vec<String>,
    calls: u32,
    _peer: Peer,
}

impl Trip {
    fn begin() -> Option<Self> {
        let (takes, taken) = (Arc::new(AtomicBool::new(true)), Taken::default());
        let peer = {
            let (takes, taken) = (takes.clone(), taken.clone());
            Peer::up(move |received| {
                if !takes.load(Ordering::Acquire) {
                    return Answering::status(503);
                }
                let id = received.header("rollcall-delivery").unwrap().to_owned();
                taken.lock().unwrap().push((received.text().to_owned(), id));
                Answering::status(200)
            })
        };
        let lines = format!(
            "[forward]\nretry_max = \"1s\"\n[[forward.targets]]\nname = \"customer\"\nurl = \"{}\"\naccount_sid = \"{A1}\"\n",
            peer.url("/hook")
        );
        let setup = Setup { more: Box::leak(lines.into_boxed_str()), ..Setup::default() };
        let three = Three::up(&setup)?;
        // From when the first node has said so the target is open.
        for n in 0..MACHINES {
            until("webhooks are for the target on all nodes", || {
                let text = three.nodes[n].run(&["forward", "status", "--json"]).stdout;
                let figures: Value = serde_json::from_str(&text).ok()?;
                (figures["targets"][0]["open"] == true).then_some(())
            });
        }
        Some(Self { three, takes, taken, acknowledged: Vec::new(), calls: 0, _peer: peer })
    }

    /// Sends each event once, to one of these nodes, until those of so many calls are acknowledged.
    fn post(&mut self, nodes: &[usize], calls: usize) {
        let goal = self.acknowledged.len() + 4 * calls;
        until("so many events are acknowledged", || {
            for body in whole_call(self.calls) {
                let node = nodes[self.acknowledged.len() % nodes.len()];
                let json = [("content-type", "application/json")];
                let answer = self.three.targets.send(node, "POST", HOOK, &json, &body);
                // One that was not acknowledged may have been taken. It is not sent again, so that each has one name.
                if answer.is_some_and(|answer| answer.status == 204) {
                    self.acknowledged.push(body);
                }
            }
            self.calls += 1;
            (self.acknowledged.len() >= goal).then_some(())
        });
    }

    fn refuse(&self) {
        self.takes.store(false, Ordering::Release);
    }

    /// The target takes again, until each has arrived that was acknowledged: by one name, which is no other's.
    fn take(&self) {
        self.takes.store(true, Ordering::Release);
        until("each webhook arrives", || {
            let taken = self.taken.lock().unwrap();
            let arrived: BTreeSet<&str> = taken.iter().map(|(body, _)| body.as_str()).collect();
            self.acknowledged.iter().all(|body| arrived.contains(body.as_str())).then_some(())
        });
        let taken = self.taken.lock().unwrap();
        let (mut ids, mut bodies) = (BTreeMap::new(), BTreeMap::new());
        for (body, id) in &*taken {
            let known = ids.entry(body).or_insert(id);
            assert_eq!(*known, id, "a webhook has two names: {body}");
            let known = bodies.entry(id).or_insert(body);
            assert_eq!(*known, body, "two webhooks have one name");
        }
        eprintln!("{} webhooks came {} times", ids.len(), taken.len());
    }

    /// The log loses its end, which all nodes but one have applied, and others come in the place of that.
    fn lose_the_end(&mut self, behind: usize) {
        let mut others = [1, 2].map(|more| (behind + more) % MACHINES);
        // The first of them sends.
        others.sort_unstable();
        let dir = tempfile::tempdir().unwrap();
        self.refuse();
        self.post(&[0, 1, 2], 3);
        self.three.rest();
        let copies = self.three.copied(dir.path());
        self.three.rest();
        self.three.kill_node(behind);
        self.post(&others, 6);
        self.three.until_same(others);
        // Some arrive, and who sent them dies before others hear of that.
        let before = self.taken.lock().unwrap().len();
        self.takes.store(true, Ordering::Release);
        until("some arrive", || (self.taken.lock().unwrap().len() > before).then_some(()));
        self.refuse();
        self.three.kill_node(others[0]);
        self.three.stop_servers();
        self.three.put_back(&copies);
        self.three.run_servers();
        // It takes what has the numbers of what is lost, while the others still find that out.
        self.three.start_node(behind);
        self.post(&[behind], 4);
        self.three.start_node(others[0]);
        self.three.rest();
        self.post(&[0, 1, 2], 2);
        self.three.rest();
        // The one that sends finds them in its journal.
        for n in others {
            self.three.kill_node(n);
            self.three.start_node(n);
        }
        self.three.rest();
    }
}

#[test]
fn webhooks_of_what_the_log_has_lost_arrive_with_their_names_and_their_own_content() {
    let trial = Trial::new("CLUSTER_LOST_HOOKS", 1);
    let Some(mut trip) = Trip::begin() else { return };
    let mut random = Random::new(trial.seed);
    trip.post(&[0, 1, 2], 2);
    trip.take();
    for round in 0..trial.rounds {
        // The first node sends: it is one of those that have applied what is lost, or the one that has not.
        trip.lose_the_end(if round % 2 == 0 { 1 + random.below(2) } else { 0 });
        // What waits another node sends.
        trip.three.kill_node(0);
        trip.take();
        trip.three.start_node(0);
        trip.three.rest();
    }
}
