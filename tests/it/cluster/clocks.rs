//! Clocks of nodes that are wrong by ten minutes, and are set while the nodes run: what is accepted is ordered and is the same
//! on all of them, nothing young is given up or deleted, and it is told.
//!
//! `CLUSTER_CLOCKS` is the number of times that a clock is set, `TRIAL_SEED` the seed.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use super::super::crash::wait;
use super::super::harness::{A1, event, sid, until};
use super::super::load::{Random, Trial};
use super::three::{MACHINES, Setup, Three};
use super::writers::Load;

const TEN_MINUTES: i64 = 600_000;
const MONTH: Duration = Duration::from_hours(30 * 24);
const MORE: usize = 25;

#[test]
fn nodes_whose_clocks_are_apart_and_jump_stay_one_and_say_so() {
    let trial = Trial::new("CLUSTER_CLOCKS", 4);
    let clocks = [TEN_MINUTES, 0, -TEN_MINUTES];
    let Some(three) = Three::up(&Setup { clocks: Some(clocks), ..Setup::default() }) else {
        return;
    };
    let mut random = Random::new(trial.seed);
    let mut load = Load::balanced(trial.seed, 4, 2);
    let targets = three.targets.clone();
    load.during(&targets, |progress| {
        progress.more(MORE);
        for _ in 0..trial.rounds {
            let by = i64::try_from(random.below(20 * 60_000)).unwrap() - TEN_MINUTES;
            let n = random.below(MACHINES);
            three.set_clock(n, by);
            eprintln!("the clock of node {n} is wrong by {by} ms");
            // No node counts as behind by its clock alone.
            for _ in 0..20 {
                for n in 0..MACHINES {
                    let ready = targets.send(n, "GET", "/readyz", &[], "").unwrap();
                    assert_eq!(ready.status, 200, "node {n}: {ready:?}");
                }
                wait(&mut random, 20);
            }
            progress.more(MORE);
            progress.more_balanced(MORE / 5);
        }
    });
    for (n, by) in clocks.into_iter().enumerate() {
        three.set_clock(n, by);
    }
    for (n, furthest) in [(0, -1200.0), (2, 1200.0)] {
        let figures = until("a node says how far its clock is off", || {
            let figures = three.figures(n);
            let skew = figures["clock_skew_seconds"].as_f64()?;
            ((skew - furthest).abs() < 30.0).then_some(figures)
        });
        let problems = figures["problems"].to_string();
        assert!(problems.contains("the clock of node"), "{problems}");
    }
    let scrape = targets.send(0, "GET", "/metrics", &[], "").unwrap();
    assert!(scrape.body.contains("\nrollcall_cluster_clock_skew_seconds -1"), "{scrape:?}");
    let config = three.configs[1].to_str().unwrap();
    let doctor = three.nodes[1].run(&["doctor", "--config", config]);
    for node in ["node1", "node3"] {
        let says = |line: &str| line.contains(node) && line.contains("the clock of this node is");
        assert!(doctor.stdout.lines().any(says), "{doctor:?}");
    }
    three.rest();
    three.check(&load);
    let counted = load.history.counted();
    assert_eq!(counted.kept, 0, "{counted}");
    eprintln!("seed {}, {} jumps: {counted}; 0 lost", trial.seed, trial.rounds);
}

#[test]
fn a_first_node_whose_clock_is_ahead_gives_up_and_deletes_nothing_that_is_young() {
    let more = "[calls]\nmax_lifetime = \"5m\"\n[retention]\nage = \"5m\"\nallow_short = true\n";
    let setup = Setup { clocks: Some([TEN_MINUTES, 0, 0]), more, ..Setup::default() };
    let Some(three) = Three::up(&setup) else { return };
    let headers = [("content-type", "application/json")];
    for (call, status) in [(1, "ringing"), (2, "busy"), (3, "ringing"), (4, "busy")] {
        let body = event(call, status);
        let posted =
            three.targets.send(1, "POST", "/v1/hooks/call-status", &headers, &body).unwrap();
        assert_eq!(posted.status, 204, "{posted:?}");
    }
    three.rest();
    // The same a month earlier: these are old by every clock.
    let exported = three.nodes[1].ok(&["export"]);
    let old = exported.lines().filter(|line| line.contains(&sid(3)) || line.contains(&sid(4)));
    let old: String = old
        .map(|line| {
            let line = line.replace(&sid(3), &sid(13)).replace(&sid(4), &sid(14));
            earlier(&line) + "\n"
        })
        .collect();
    let imported = three.nodes[1].run_with(&["import"], old.as_bytes());
    assert_eq!(imported.code, Some(0), "{imported:?}");
    let shown = |call: u32| {
        let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(call));
        three.targets.send(2, "GET", &path, &[], "").unwrap()
    };
    until("the old call is given up", || {
        let shown = shown(13);
        (shown.status == 200 && shown.json()["stale"] == true).then_some(())
    });
    three.nodes[0].ok(&["expire"]);
    until("the old call is deleted", || (shown(14).status == 404).then_some(()));
    three.rest();
    for call in [1, 3] {
        let shown = shown(call);
        assert_eq!(shown.status, 200, "{shown:?}");
        assert_ne!(shown.json()["stale"], true, "{shown:?}");
    }
    for call in [2, 4] {
        let shown = shown(call);
        assert_eq!(shown.status, 200, "{shown:?}");
    }
}

/// A record whose times are a month earlier.
fn earlier(record: &str) -> String {
    let mut record: Value = serde_json::from_str(record).unwrap();
    move_back(&mut record);
    record.to_string()
}

fn move_back(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(_, value)| move_back(value)),
        Value::Array(values) => values.iter_mut().for_each(move_back),
        Value::String(text) => {
            if let Ok(time) = humantime::parse_rfc3339(text) {
                *text = humantime::format_rfc3339_millis(time - MONTH).to_string();
            }
        }
        Value::Number(number) => {
            let month = u64::try_from(MONTH.as_millis()).unwrap();
            if let Some(millis) = number.as_u64().filter(|millis| *millis > 50 * 12 * month) {
                *value = (millis - month).into();
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

impl Three {
    /// By how many milliseconds a node's clock is wrong from now on.
    pub fn set_clock(&self, n: usize, by: i64) {
        let file = self.clock(n);
        let new = file.with_extension("new");
        fs::write(&new, by.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }
}
