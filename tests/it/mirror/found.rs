//! What a look through all calls finds.

use super::super::harness::{A1, sid, until};
use super::redis::{Redis, call_with, mirror_is, mirroring, now, state_of, states, timeline};

#[test]
fn what_came_while_nobody_listened_is_found_and_its_time_is_not_invented() {
    let Some(redis) = Redis::up(&[]) else { return };
    let mut rollcall = mirroring(&redis, &[]);
    let (mut client, states) = (redis.client(), states());
    // One goes on, one is answered and ends, one comes and goes.
    for n in [1, 2] {
        client.write(&state_of(A1, n, &states[0]), now());
        call_with(&rollcall, A1, &sid(n), "trying");
    }
    rollcall.kill();
    client.write(&state_of(A1, 2, &states[2]), now());
    client.write(&state_of(A1, 2, &states[7]), now());
    for state in [&states[0], &states[7]] {
        client.write(&state_of(A1, 3, state), now());
    }
    rollcall.start();
    let ended = call_with(&rollcall, A1, &sid(2), "completed");
    assert!(ended["attempted_at"].is_string(), "{ended}");
    assert_eq!((&ended["duration"], ended.get("terminated_at")), (&43.into(), None), "{ended}");
    assert_eq!(ended.get("answered_at"), None, "{ended}");
    let found = call_with(&rollcall, A1, &sid(3), "completed");
    assert_eq!(found["time_unknown"], true, "{found}");
    for key in ["attempted_at", "answered_at", "terminated_at"] {
        assert_eq!(found.get(key), None, "{found}");
    }
    let known = |status: &str, at| ("mirror".to_owned(), status.to_owned(), at);
    assert_eq!(timeline(&rollcall, A1, &sid(3)), [known("completed", false)]);
    let seen = timeline(&rollcall, A1, &sid(2));
    assert_eq!(seen.len(), 2, "{seen:?}");
    // What is known already makes no event that is told twice.
    assert_eq!(timeline(&rollcall, A1, &sid(1)), [known("trying", true)]);
    client.write(&state_of(A1, 1, &states[2]), now());
    let call = call_with(&rollcall, A1, &sid(1), "in-progress");
    assert!(call["answered_at"].is_string(), "{call}");
}

#[test]
fn a_restart_of_either_side_changes_nothing_that_is_known() {
    let Some(mut redis) = Redis::up(&[]) else { return };
    let mut rollcall = mirroring(&redis, &[]);
    let states = states();
    let mut client = redis.client();
    for state in &states {
        client.write(state, now());
        let hash = &state["hash"];
        let (sid, status) =
            (hash["callSid"].as_str().unwrap(), hash["callStatus"].as_str().unwrap());
        call_with(&rollcall, A1, sid, status);
    }
    let list = |rollcall: &super::super::harness::Rollcall| {
        let answer = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"));
        assert_eq!(answer.status, 200);
        answer.body
    };
    let before = list(&rollcall);
    rollcall.stop();
    rollcall.start();
    let mirror =
        mirror_is(&rollcall, "all is looked through", |mirror| mirror["reconciled_at"].is_string());
    assert_eq!(mirror["mode"], "tracking");
    let after = until("all that was found is on disk", || {
        let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
        (figures["mirror"]["events"] == 2).then_some(figures)
    });
    assert_eq!(list(&rollcall), before);
    let changes = ["new", "changed", "unchanged"].map(|result| after["changes"][result].clone());
    assert_eq!(changes, [0, 0, 2], "the same state is no change");
    // Redis goes, comes back empty, and is followed again.
    redis.stop();
    let down = mirror_is(&rollcall, "it is noticed", |mirror| mirror["mode"] == "disconnected");
    assert!(down["why"].is_string(), "{down}");
    let status = rollcall.run(&["status"]);
    assert!(status.stdout.contains("the mirror is not connected"), "{status:?}");
    assert_eq!(status.code, Some(1));
    redis.start();
    mirror_is(&rollcall, "it is back", |mirror| mirror["mode"] == "tracking");
    assert_eq!(list(&rollcall), before);
    let mut client = redis.client();
    client.write(&state_of(A1, 9, &states[0]), now());
    call_with(&rollcall, A1, &sid(9), "trying");
}

#[test]
fn calls_of_one_look_are_all_found_at_any_pace() {
    const CALLS: u32 = 700;
    let Some(redis) = Redis::up(&[]) else { return };
    let (mut client, states) = (redis.client(), states());
    for n in 0..CALLS {
        client.write(&state_of(A1, n, &states[usize::from(n % 2 == 0) * 7]), now());
    }
    let rollcall = mirroring(&redis, &["--mirror-redis-max-commands", "400"]);
    let mirror = mirror_is(&rollcall, "all are on disk", |mirror| mirror["events"] == CALLS);
    assert_eq!(mirror["found"], CALLS);
    let count = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/CallCount"));
    assert_eq!(count.json()["inbound"], CALLS / 2);
}
