//! Calls that jambonz's own package writes, while Redis and rollcall end and come back.
//!
//! `MIRROR_CALLS` is how many calls there are, `MIRROR_GAP` the milliseconds between the states of one.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::super::clients::{installed, sources};
use super::super::harness::{A1, Rollcall, until};
use super::redis::{Client, Redis, mirror_is, mirroring, timeline};

/// Calls of a short run; four states each.
const CALLS: u32 = 60;
/// Calls that begin in a second.
const RATE: u32 = 40;
/// Calls that are written after all restarts.
const MORE: u32 = 8;
const ENDED: [&str; 3] = ["completed", "busy", "no-answer"];
/// Restarts lose nothing of what it has answered.
const DURABLE: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// States of calls, in the order in which Redis has taken them.
type States = BTreeMap<String, Vec<String>>;

/// Lets so many calls be written, from this number on. `meanwhile` is told how many states there are.
/// None where the package is not installed.
fn write(
    redis: &mut Redis,
    first: u32,
    calls: u32,
    mut meanwhile: impl FnMut(&mut Redis, usize),
) -> Option<States> {
    let clients = installed()?;
    let program = clients.join("writer.cjs");
    fs::copy(sources().join("writer.cjs"), &program).unwrap();
    let gap = number("MIRROR_GAP", 100);
    let mut command = Command::new("node");
    command.arg(&program).args([first, calls, RATE, gap].map(|number| number.to_string()));
    command.env("REDIS_PORT", redis.port.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut states = States::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for (n, line) in lines.enumerate() {
        let line = line.unwrap();
        let (sid, status) = line.split_once(' ').unwrap();
        states.entry(sid.to_owned()).or_default().push(status.to_owned());
        meanwhile(redis, n + 1);
    }
    assert!(child.wait().unwrap().success());
    Some(states)
}

/// All calls of the account with their statuses.
fn listed(rollcall: &Rollcall) -> BTreeMap<String, String> {
    let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
    let calls = answer.json();
    let text = |call: &serde_json::Value, key: &str| call[key].as_str().unwrap().to_owned();
    let calls = calls.as_array().unwrap().iter();
    calls.map(|call| (text(call, "call_sid"), text(call, "call_status"))).collect()
}

/// Waits until each call is listed, with its last state. How many states in between were missed.
fn all_are_there(rollcall: &Rollcall, states: &States) -> usize {
    let last = |states: &Vec<String>| states.last().unwrap().clone();
    let expected: BTreeMap<_, _> =
        states.iter().map(|(sid, states)| (sid.clone(), last(states))).collect();
    assert!(expected.values().all(|status| ENDED.contains(&&**status)), "{expected:?}");
    until("all calls are listed with their last states", || {
        let listed = listed(rollcall);
        let missing = expected.iter().filter(|(sid, status)| listed.get(*sid) != Some(status));
        (missing.count() == 0 && listed.len() == expected.len()).then_some(())
    });
    let missed = |(sid, states): (&String, &Vec<String>)| {
        let seen: Vec<_> = timeline(rollcall, A1, sid).into_iter().map(|line| line.1).collect();
        states.iter().filter(|status| !seen.contains(status)).count()
    };
    states.iter().map(missed).sum()
}

/// No call and no final state is missed, whatever ends meanwhile.
fn survives(args: &[&str], mode: &str) {
    let args = [&DURABLE, args].concat();
    let Some(mut redis) = Redis::up(&args) else { return };
    let mut rollcall = mirroring(&redis, &[]);
    mirror_is(&rollcall, "it follows", |mirror| mirror["mode"] == mode);
    let calls = number("MIRROR_CALLS", CALLS);
    let all = calls as usize * 4;
    let written = write(&mut redis, 0, calls, |redis, states| {
        if states == all / 4 {
            rollcall.kill();
            rollcall.start();
        } else if states == all / 2 {
            redis.stop();
            redis.start();
        } else if states == all * 3 / 4 {
            rollcall.kill();
            redis.stop();
            redis.start();
            rollcall.start();
        }
    });
    let Some(mut written) = written else { return };
    // And some that begin when all is well again.
    written.extend(write(&mut redis, calls, MORE, |_, _| {}).unwrap());
    assert_eq!(written.len(), (calls + MORE) as usize);
    let missed = all_are_there(&rollcall, &written);
    let states: usize = written.values().map(Vec::len).sum();
    let calls = written.len();
    eprintln!("{mode}: {calls} calls, {states} states, 0 final ones missed, {missed} others");
}

#[test]
fn calls_of_jambonz_are_all_there_when_redis_and_rollcall_have_been_restarted() {
    survives(&[], "tracking");
}

#[test]
fn calls_of_jambonz_are_all_there_also_where_they_are_polled() {
    survives(&["--rename-command", "CLIENT", ""], "polling");
}

#[test]
fn calls_of_jambonz_are_all_there_where_nothing_ends() {
    let Some(mut redis) = Redis::up(&[]) else { return };
    let rollcall = mirroring(&redis, &[]);
    let calls = number("MIRROR_CALLS", CALLS);
    let Some(written) = write(&mut redis, 0, calls, |_, _| {}) else { return };
    let states: usize = written.values().map(Vec::len).sum();
    assert_eq!((written.len(), states), (calls as usize, calls as usize * 4));
    let missed = all_are_there(&rollcall, &written);
    eprintln!("{calls} calls, {states} states, {missed} missed");
}

/// Redis as it is so much later: what it keeps for a time is kept for less, and all is older.
fn age(client: &mut Client, millis: i64) {
    for key in client.ok(&["KEYS", "call:*"]) {
        let left: i64 = client.ok(&["PTTL", &key])[0].parse().unwrap();
        client.ok(&["PEXPIRE", &key, &(left - millis).to_string()]);
        if client.ok(&["ZSCORE", "active-call-sids", &key]).is_empty() {
            continue;
        }
        client.ok(&["ZINCRBY", "active-call-sids", &(-millis).to_string(), &key]);
    }
}

#[test]
fn half_an_hour_later_final_states_are_found_and_no_time_is_made_up() {
    const HALF_AN_HOUR: i64 = 30 * 60 * 1000;
    for polls in [false, true] {
        let args: &[&str] = if polls { &["--rename-command", "CLIENT", ""] } else { &[] };
        let Some(mut redis) = Redis::up(args) else { return };
        let mut rollcall = mirroring(&redis, &[]);
        let calls = number("MIRROR_CALLS", CALLS);
        let begun = write(&mut redis, 0, calls, |_, states| {
            if states == calls as usize * 2 {
                rollcall.kill();
            }
        });
        let Some(mut written) = begun else { return };
        written.extend(write(&mut redis, calls, calls, |_, _| {}).unwrap());
        age(&mut redis.client(), HALF_AN_HOUR);
        rollcall.start();
        all_are_there(&rollcall, &written);
        // Those that nobody saw have no time at all.
        for n in calls..2 * calls {
            let sid = super::super::harness::sid(n);
            let path = format!("/v1/Accounts/{A1}/Calls/{sid}");
            let call = rollcall.get(&rollcall.admin(), &path).json();
            assert_eq!(call["time_unknown"], true, "{call}");
            for key in ["attempted_at", "answered_at", "terminated_at"] {
                assert_eq!(call.get(key), None, "{call}");
            }
        }
        // After the hour they have left Redis, and stay here.
        age(&mut redis.client(), HALF_AN_HOUR);
        assert!(redis.client().ok(&["KEYS", "call:*"]).is_empty());
        let before = listed(&rollcall);
        rollcall.kill();
        rollcall.start();
        mirror_is(&rollcall, "all is looked through", |mirror| mirror["reconciled_at"].is_string());
        assert_eq!(listed(&rollcall), before);
    }
}
