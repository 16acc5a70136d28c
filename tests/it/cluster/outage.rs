//! A day without a quorum: each machine keeps what comes to it, is killed and goes on; all of it comes into the log, with the
//! times at which it was accepted.
//!
//! `CLUSTER_KEPT_EVENTS` is the number of events that are kept: 864 000 are a day of ten in each second.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::harness::event;
use super::partitions::rest_for;
use super::three::{MACHINES, Setup, Three};

const HOURS: u32 = 24;
/// In milliseconds, and a little less than one: an event that is ordered more than a day after it was accepted counts as of a
/// day before.
const HOUR: u64 = 58 * 60_000;
/// Events of one request.
const BATCH: usize = 12;
const CLOCK_IS_READ: Duration = Duration::from_millis(100);
/// When a node is killed and started again, without a quorum.
const KILLED: [(u32, usize); 3] = [(5, 0), (12, 1), (20, 2)];

/// The calls that begin in an hour at a node; each is ended in the next hour, at the next node.
fn calls(each: u32, hour: u32, node: usize) -> Vec<u32> {
    let node = u32::try_from(node).unwrap();
    let first = (hour * 3 + node) * each;
    (first..first + each).collect()
}

/// An event with a key that no other event of its call has.
fn event_of(call: u32, status: &str) -> String {
    event(call, status).replacen('{', &format!("{{\"was_{}\":1,", &status[..2]), 1)
}

impl Three {
    /// Has a node take events, which it keeps.
    fn keeps(&self, n: usize, calls: &[u32], status: &str) {
        let headers = [("content-type", "application/json")];
        for calls in calls.chunks(BATCH) {
            let events: Vec<_> = calls.iter().map(|call| event_of(*call, status)).collect();
            let body = format!("[{}]", events.join(","));
            let kept = self.targets.send(n, "POST", "/v1/hooks/call-status", &headers, &body);
            let kept = kept.unwrap();
            assert_eq!((kept.status, kept.header("rollcall-kept")), (204, Some("1")), "{kept:?}");
        }
    }

    fn kept_messages(&self) -> u64 {
        (0..MACHINES).map(|n| self.figures(n)["kept"]["count"].as_u64().unwrap()).sum()
    }
}

#[test]
fn what_is_kept_for_a_day_comes_into_the_log_with_its_own_times() {
    let events = std::env::var("CLUSTER_KEPT_EVENTS").map_or(1440, |text| text.parse().unwrap());
    let each: u32 = (events / (2 * HOURS * 3)).max(1);
    let shift = |hour: u32| -i64::try_from(u64::from(HOURS - hour) * HOUR).unwrap();
    let Some(mut three) = Three::up(&Setup { clocks: Some([shift(0); 3]), ..Setup::default() })
    else {
        return;
    };
    three.rest();
    for n in 0..MACHINES {
        three.servers.kill(n);
    }
    let now = rollcall::clock::system_time();
    let begun = Instant::now();
    for hour in 0..=HOURS {
        for n in 0..MACHINES {
            three.set_clock(n, shift(hour));
        }
        // Each node looks at its clock's file now and then.
        rest_for(CLOCK_IS_READ);
        for (_, n) in KILLED.iter().filter(|(at, _)| *at == hour) {
            three.kill_node(*n);
            three.start_node(*n);
        }
        let three = &three;
        std::thread::scope(|scope| {
            for n in 0..MACHINES {
                scope.spawn(move || {
                    if hour > 0 {
                        three.keeps(n, &calls(each, hour - 1, (n + 2) % MACHINES), "completed");
                    }
                    if hour < HOURS {
                        three.keeps(n, &calls(each, hour, n), "in-progress");
                    }
                });
            }
        });
    }
    let (kept, took) = (three.kept_messages(), begun.elapsed());
    let all = HOURS * 3 * each;
    assert!(kept > 0);
    assert_eq!(three.nodes[0].ok(&["export"]), "", "what is kept is shown to nobody");
    let begun = Instant::now();
    for n in 0..MACHINES {
        three.servers.run(n);
    }
    let longest = Duration::from_secs(240 + u64::from(all) / 100);
    while three.kept_messages() > 0 {
        assert!(begun.elapsed() < longest, "{} of {kept} messages are kept", three.kept_messages());
        rest_for(Duration::from_millis(200));
    }
    three.rest();
    eprintln!(
        "{} events of {all} calls in {kept} messages, kept within {} s, in the log and on all nodes after {} s",
        2 * all,
        took.as_secs(),
        begun.elapsed().as_secs()
    );
    let exports: Vec<_> = three.nodes.iter().map(|node| node.ok(&["export"])).collect();
    assert!(
        exports[0] == exports[1] && exports[0] == exports[2],
        "the nodes export different calls"
    );
    let mut count = 0;
    for line in exports[0].lines() {
        let call: Value = serde_json::from_str(line).unwrap();
        let number = call["call_sid"].as_str().unwrap().rsplit('-').next().unwrap();
        let number = u32::from_str_radix(number, 16).unwrap();
        assert_eq!(call["call_status"], "completed", "{line}");
        assert!(call["was_in"] == 1 && call["was_co"] == 1, "{line}");
        let hour = number / (3 * each);
        for (time, after) in [("attempted_at", hour), ("terminated_at", hour + 1)] {
            let at = humantime::parse_rfc3339(call[time].as_str().unwrap()).unwrap();
            let from = now - Duration::from_millis(u64::from(HOURS - after) * HOUR);
            let until = from + took + Duration::from_secs(10);
            assert!((from..until).contains(&at), "{time} is not in hour {after}: {line}");
        }
        count += 1;
    }
    assert_eq!(count, all);
    let config = three.configs[0].to_str().unwrap();
    let compared = three.nodes[0].run(&["cluster", "compare", "--config", config]);
    assert_eq!(compared.code, Some(0), "{compared:?}");
}
