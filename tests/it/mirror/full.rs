//! A disk that is full while calls are mirrored.

use std::fs;
use std::time::{Duration, Instant};

use super::super::crash::assert_checked;
use super::super::full::{SMALL, fill, refused};
use super::super::harness::{A1, Rollcall, sid, until};
use super::super::power::Disk;
use super::redis::{Redis, call_with, now, state_of, states};

/// Calls that end while the disk is full, and others that come and go.
const CALLS: u32 = 20;
/// How long a change that is reported has the time of its reading, and a little more.
const LIVE_MAX: Duration = Duration::from_secs(11);

/// Changes that are reported and not read.
fn waiting(rollcall: &Rollcall) -> f64 {
    let text = rollcall.get(&rollcall.admin(), "/metrics").body;
    let value = text.lines().find_map(|line| line.strip_prefix("rollcall_mirror_waiting "));
    value.unwrap().parse().unwrap()
}

#[test]
fn a_full_disk_takes_nothing_by_halves_and_all_is_there_once_it_has_room() {
    let Some(redis) = Redis::up(&[]) else { return };
    let Some(disk) = Disk::new(192 << 20) else { return };
    let filler = disk.mounted.join("filler");
    let url = redis.url();
    let flags = [&SMALL[..], &["--mirror-redis-url", &url]].concat();
    let mut rollcall = Rollcall::up_in(&disk.mounted.join("data"), &flags);
    let reserve = rollcall.data().join("RESERVE");
    until("there is a reserve", || reserve.exists().then_some(()));
    let (mut client, states) = (redis.client(), states());
    for n in 0..CALLS {
        client.write(&state_of(A1, n, &states[0]), now());
        call_with(&rollcall, A1, &sid(n), "trying");
    }
    let list = |rollcall: &Rollcall| {
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
        assert_eq!(answer.status, 200);
        answer.body
    };
    for killed in [false, true] {
        let before = list(&rollcall);
        fill(&filler);
        // An event of a webhook is refused, too.
        until("the gate shuts", || refused(&rollcall).then_some(()));
        let first = if killed { 2 * CALLS } else { 0 };
        for n in first..first + 2 * CALLS {
            client.write(&state_of(A1, n, &states[2]), now());
            client.write(&state_of(A1, n, &states[7]), now());
        }
        until("it has heard of them", || (waiting(&rollcall) > 0.0).then_some(()));
        assert_eq!(list(&rollcall), before, "nothing is taken");
        if killed {
            rollcall.kill();
            fs::remove_file(&filler).unwrap();
            rollcall.start();
        } else {
            // Until nobody can say any more when that was.
            let begun = Instant::now();
            until("what was reported is old", || (begun.elapsed() > LIVE_MAX).then_some(()));
            assert_eq!(list(&rollcall), before, "nothing is taken");
            fs::remove_file(&filler).unwrap();
        }
        for n in first..first + 2 * CALLS {
            let call = call_with(&rollcall, A1, &sid(n), "completed");
            // What is read long after it was reported has no time that anybody knows.
            assert_eq!(call.get("terminated_at"), None, "{call}");
            assert_eq!(call["duration"], 43, "{call}");
        }
        assert!(!refused(&rollcall));
    }
    until("nothing waits", || (waiting(&rollcall) < 1.0).then_some(()));
    assert_checked(&rollcall);
    assert_eq!(rollcall.stop(), Some(0));
}
