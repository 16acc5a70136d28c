//! What Redis reports, and what is polled.

use serde_json::Value;

use super::super::harness::{A1, A2, event, sid};
use super::redis::{Redis, call_with, mirror_is, mirroring, now, state_of, states, timeline};

const A_LEG: &str = "5f9d7a34-1f66-4a6f-9f5b-2b7e6a0b8f10";
const B_LEG: &str = "0b1f2f9e-9a61-4a7f-8e0a-7f0f3a2b9c11";

#[test]
fn both_legs_of_a_call_are_listed_as_jambonz_writes_them() {
    let Some(redis) = Redis::up(&[]) else { return };
    let rollcall = mirroring(&redis, &[]);
    let mirror = mirror_is(&rollcall, "it tracks", |mirror| mirror["mode"] == "tracking");
    assert_eq!(mirror["events"], 0);
    let before = now();
    let mut client = redis.client();
    for state in states() {
        client.write(&state, now());
        let hash = &state["hash"];
        let sid = hash["callSid"].as_str().unwrap();
        call_with(&rollcall, A1, sid, hash["callStatus"].as_str().unwrap());
    }
    let call = call_with(&rollcall, A1, A_LEG, "completed");
    for (key, value) in [
        ("account_sid", A1),
        ("call_id", "fs-1@198.51.100.7"),
        ("direction", "inbound"),
        ("from", "+15550000001"),
        ("to", "15550009999"),
        ("service_url", "http://172.20.0.10:3000"),
        ("application_sid", "7087fe50-8acb-4f3b-b820-97b573723aab"),
        ("originating_sip_trunk_name", "lab carrier"),
        ("sbc_callid", "lab-in-1@203.0.113.9"),
        ("trace_id", "2a9ca6a32fa82ba876855bc727805182"),
        ("fs_sip_address", "172.20.0.10:5060"),
        ("sip_reason", "OK"),
    ] {
        assert_eq!(call[key], value, "{key}: {call}");
    }
    assert_eq!((&call["sip_status"], &call["duration"]), (&200.into(), &43.into()));
    assert!(call.get("time_unknown").is_none(), "{call}");
    for key in ["attempted_at", "answered_at", "terminated_at"] {
        let at = rollcall::clock::now();
        let shown = call[key].as_str().unwrap();
        let millis = humantime::parse_rfc3339(shown).unwrap();
        let millis = millis.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert!((u128::from(before)..=u128::from(at.millis())).contains(&millis), "{key} {shown}");
    }
    let leg = call_with(&rollcall, A1, B_LEG, "completed");
    assert_eq!(leg["parent_call_sid"], A_LEG);
    assert_eq!(leg["local_sip_address"], "172.20.0.10:5060");
    assert_eq!((&leg["has_recording"], &leg["duration"]), (&false.into(), &21.into()));
    let seen = timeline(&rollcall, A1, A_LEG);
    let expected = ["trying", "early-media", "in-progress", "completed"];
    let expected = expected.map(|status| ("mirror".to_owned(), status.to_owned(), true));
    assert_eq!(seen, expected);
    let mirror = mirror_is(&rollcall, "all are counted", |mirror| mirror["events"] == 8);
    assert_eq!(mirror["found"], 0);
}

#[test]
fn what_has_not_changed_is_no_event_and_what_is_gone_ends_nothing() {
    let Some(redis) = Redis::up(&[]) else { return };
    let rollcall = mirroring(&redis, &["--mirror-redis-reconcile-interval", "1s"]);
    let mut client = redis.client();
    let answered = state_of(A1, 1, &states()[2]);
    client.write(&answered, now());
    call_with(&rollcall, A1, &sid(1), "in-progress");
    let events = |count: u64| {
        let all = move |mirror: &Value| mirror["events"] == count;
        mirror_is(&rollcall, "so many events", all)["reconciled_at"].clone()
    };
    let looked = events(1);
    // The same again; other keys, among them some that are no call's; and then it is gone.
    client.write(&answered, now());
    client.ok(&["SET", &format!("call:{A1}"), "x"]);
    client.ok(&["SET", &format!("call:{A1}:{}", sid(2)), "x"]);
    client.ok(&["HSET", &format!("call:{A1}:x"), "callSid", "x"]);
    client.ok(&["HSET", &format!("call:{A1}:{}", sid(3)), "callSid", "x"]);
    // A hash of another account than its key.
    let mut foreign = state_of(A1, 4, &states()[0]);
    foreign["key"] = format!("call:{A2}:{}", sid(4)).into();
    client.write(&foreign, now());
    let mirror = mirror_is(&rollcall, "all is looked at again", |mirror| {
        mirror["reconciled_at"] != looked && mirror["unreadable"].as_u64() >= Some(3)
    });
    assert_eq!(mirror["events"], 1, "{mirror}");
    client.ok(&["DEL", answered["key"].as_str().unwrap()]);
    client.write(&state_of(A1, 5, &states()[0]), now());
    call_with(&rollcall, A1, &sid(5), "trying");
    let call = call_with(&rollcall, A1, &sid(1), "in-progress");
    assert!(call["answered_at"].is_string(), "{call}");
    client.ok(&["FLUSHALL"]);
    client.write(&state_of(A1, 6, &states()[0]), now());
    call_with(&rollcall, A1, &sid(6), "trying");
    call_with(&rollcall, A1, &sid(5), "trying");
    for account in [A1, A2] {
        let path = format!("/v1/Accounts/{account}/Calls/{}", sid(4));
        assert_eq!(rollcall.get(&rollcall.admin(), &path).status, 404);
    }
}

#[test]
fn only_calls_of_accounts_that_are_wanted_are_taken() {
    let Some(redis) = Redis::up(&[]) else { return };
    let mut client = redis.client();
    client.write(&state_of(A2, 1, &states()[0]), now());
    let rollcall = mirroring(&redis, &["--mirror-redis-accounts", A1]);
    client.write(&state_of(A2, 2, &states()[0]), now());
    client.write(&state_of(A1, 3, &states()[0]), now());
    call_with(&rollcall, A1, &sid(3), "trying");
    let others = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A2}/Calls"));
    assert_eq!((others.status, others.body.as_str()), (200, "[]"));
}

#[test]
fn where_redis_does_not_report_changes_calls_are_polled() {
    // Redis before version 6, and one whose host has taken CLIENT away.
    for rename in [["--rename-command", "HELLO", ""], ["--rename-command", "CLIENT", ""]] {
        let Some(redis) = Redis::up(&rename) else { return };
        let mut client = redis.client();
        let old = state_of(A1, 1, &states()[2]);
        client.write(&old, now());
        let rollcall = mirroring(&redis, &[]);
        let mirror = mirror_is(&rollcall, "it polls", |mirror| mirror["mode"] == "polling");
        let why = mirror["why"].as_str().unwrap();
        assert!(why.contains(rename[1]), "{why}");
        assert!(rollcall.status().contains(": polling since "), "{}", rollcall.status());
        let found = call_with(&rollcall, A1, &sid(1), "in-progress");
        assert_eq!(
            (&found["time_unknown"], found.get("answered_at")),
            (&true.into(), None),
            "{found}"
        );
        let states = states();
        for state in [&states[0], &states[2], &states[7]] {
            client.write(&state_of(A1, 2, state), now());
            let status = state["hash"]["callStatus"].as_str().unwrap();
            call_with(&rollcall, A1, &sid(2), status);
        }
        client.write(&state_of(A1, 1, &states[7]), now());
        let ended = call_with(&rollcall, A1, &sid(1), "completed");
        assert!(ended["terminated_at"].is_string() && ended["time_unknown"] == true, "{ended}");
        let call = call_with(&rollcall, A1, &sid(2), "completed");
        assert!(call["attempted_at"].is_string() && call["answered_at"].is_string(), "{call}");
        let doctor = rollcall.run(&["doctor"]);
        assert!(doctor.stdout.contains("calls are asked for each second"), "{doctor:?}");
    }
}

#[test]
fn a_call_that_is_too_large_costs_no_other_one() {
    for rename in [&[][..], &["--rename-command", "CLIENT", ""]] {
        let Some(redis) = Redis::up(rename) else { return };
        let states = states();
        let mut client = redis.client();
        // Larger than an answer may be, in one value and in all; and one that is read and refused.
        let key = |n| format!("call:{A1}:{}", sid(n));
        client.ok(&["HSET", &key(1), "callStatus", &"x".repeat(2 << 20)]);
        let field = "x".repeat(1 << 20);
        for n in 0..17 {
            client.ok(&["HSET", &key(2), &n.to_string(), &field]);
        }
        client.ok(&["HSET", &key(3), "callStatus", &"x".repeat(512 << 10)]);
        for n in 1..4 {
            client.ok(&["ZADD", "active-call-sids", &now().to_string(), &key(n)]);
        }
        client.write(&state_of(A1, 4, &states[7]), now());
        let rollcall = mirroring(&redis, &["--mirror-redis-reconcile-interval", "1s"]);
        call_with(&rollcall, A1, &sid(4), "completed");
        // Nor once it is there and written again.
        client.ok(&["HSET", &key(1), "x", "x"]);
        client.ok(&["ZADD", "active-call-sids", &now().to_string(), &key(1)]);
        let before = mirror_is(&rollcall, "it is connected", |mirror| {
            mirror["mode"] != "disconnected" && mirror["unreadable"].as_u64() >= Some(3)
        });
        for state in [&states[0], &states[2], &states[7]] {
            client.write(&state_of(A1, 5, state), now());
            call_with(&rollcall, A1, &sid(5), state["hash"]["callStatus"].as_str().unwrap());
        }
        mirror_is(&rollcall, "all is looked through again", |mirror| {
            mirror["reconciled_at"] != before["reconciled_at"] && mirror["since"] == before["since"]
        });
        let left_out = rollcall.log().matches("and is left out").count();
        assert_eq!(left_out, 2, "{}", rollcall.log());
    }
}

#[test]
fn a_clock_that_is_ahead_hides_no_new_call_where_calls_are_polled() {
    let Some(redis) = Redis::up(&["--rename-command", "CLIENT", ""]) else { return };
    let mut client = redis.client();
    let states = states();
    client.write(&state_of(A1, 1, &states[0]), now() + 3_600_000);
    let rollcall = mirroring(&redis, &[]);
    call_with(&rollcall, A1, &sid(1), "trying");
    client.write(&state_of(A1, 2, &states[0]), now());
    let call = call_with(&rollcall, A1, &sid(2), "trying");
    assert!(call["attempted_at"].is_string(), "{call}");
}

#[test]
fn webhooks_and_the_mirror_together_are_harmless() {
    let Some(redis) = Redis::up(&[]) else { return };
    let rollcall = mirroring(&redis, &["--mirror-redis-reconcile-interval", "1s"]);
    let mut client = redis.client();
    let states = states();
    for (n, state) in (0_u32..).zip([&states[0], &states[2], &states[7]]) {
        let status = state["hash"]["callStatus"].as_str().unwrap();
        // One of both comes first, and the other one says it again.
        let hook = event(1, status).replace('}', ",\"duration\":43}");
        if n % 2 == 0 {
            assert_eq!(rollcall.post_events(&hook).status, 204);
        }
        client.write(&state_of(A1, 1, state), now());
        mirror_is(&rollcall, "it is mirrored", |mirror| mirror["events"] == n + 1);
        if n % 2 == 1 {
            assert_eq!(rollcall.post_events(&hook).status, 204);
        }
    }
    let call = call_with(&rollcall, A1, &sid(1), "completed");
    assert_eq!(call["duration"], 43, "{call}");
    let count = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/CallCount"));
    assert_eq!(count.json(), serde_json::json!({"inbound": 0, "outbound": 0}));
    let seen = timeline(&rollcall, A1, &sid(1));
    assert_eq!(seen.iter().filter(|(source, ..)| source == "mirror").count(), 3, "{seen:?}");
    assert_eq!(seen.iter().filter(|(source, ..)| source == "webhook").count(), 3, "{seen:?}");
}
