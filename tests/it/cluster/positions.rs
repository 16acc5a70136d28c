//! `Rollcall-At-Least` on each node, with positions that are right, to come, of another log, and none at all.

use super::super::harness::{A1, event, sid};
use super::register::Position;
use super::three::{MACHINES, Setup, Three, begun};

#[test]
fn each_node_answers_up_to_a_position_or_says_why_not() {
    let Some(three) = Three::up(&Setup::default()) else { return };
    let paths = [
        format!("/v1/Accounts/{A1}/Calls/{}", sid(1)),
        format!("/v1/Accounts/{A1}/Calls"),
        "/v1/Calls?limit=5".to_owned(),
    ];
    let headers = [("content-type", "application/json")];
    let body = event(1, "ringing");
    let posted = three.targets.send(0, "POST", "/v1/hooks/call-status", &headers, &body).unwrap();
    let position = Position::of(&posted).unwrap();
    let Position { epoch, seq } = &position;
    let other = epoch.chars().rev().collect::<String>();
    for n in 0..MACHINES {
        for path in &paths {
            let ask = |at: &str| {
                let headers = [("rollcall-at-least", at)];
                three.targets.send(n, "GET", path, &headers, "").unwrap()
            };
            let found = ask(&position.to_string());
            assert_eq!(found.status, 200, "node {n} {path}: {found:?}");
            assert!(Position::of(&found).unwrap().reaches(&position), "{found:?}");
            for gone in [format!("{other}-s{seq}"), format!("{epoch}-{seq}"), format!("{other}-7")]
            {
                let answer = ask(&gone);
                assert_eq!(answer.status, 410, "node {n} {path} {gone}: {answer:?}");
            }
            for junk in [
                "",
                "x",
                epoch,
                &format!("{epoch}-"),
                &format!("{epoch}-s"),
                &format!("{epoch}-s-1"),
                &format!("{epoch}-s18446744073709551616"),
                &format!("s{seq}"),
                &"7".repeat(3000),
            ] {
                let answer = ask(junk);
                assert_eq!(answer.status, 400, "node {n} {path} {junk}: {answer:?}");
                assert!(answer.body.contains("Rollcall-At-Least"), "{answer:?}");
            }
        }
        let to_come = format!("{epoch}-s{}", seq + 1_000_000);
        let headers = [("rollcall-at-least", to_come.as_str())];
        let behind = three.targets.send(n, "GET", &paths[0], &headers, "").unwrap();
        assert_eq!(behind.status, 503, "node {n}: {behind:?}");
        assert!(behind.header("retry-after").is_some(), "{behind:?}");
        assert!(behind.body.contains("behind"), "{behind:?}");
    }
}

#[test]
fn a_node_that_has_not_begun_with_the_log_answers_nothing_that_is_to_reach_a_position() {
    let Some((mut nodes, _servers, configs, _dir)) = begun(&Setup::default()) else { return };
    // It was a server by itself, and nobody makes the log that it is to begin.
    nodes[0].set_args(&[]);
    nodes[0].start();
    let token = nodes[0].admin();
    assert_eq!(nodes[0].post_events(&event(1, "busy")).status, 204);
    nodes[0].stop();
    nodes[0].set_args(&["--config", configs[0].to_str().unwrap()]);
    nodes[0].start();
    let bearer = format!("Bearer {token}");
    let at = format!("{}-s7", "a".repeat(32));
    let headers = [("authorization", bearer.as_str()), ("rollcall-at-least", at.as_str())];
    let answer = nodes[0].send("GET", "/v1/Calls", &headers, b"").unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    let without = nodes[0].send("GET", "/v1/Calls", &headers[..1], b"").unwrap();
    assert_eq!(without.status, 200, "{without:?}");
}
