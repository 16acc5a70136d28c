//! Tokens: what they open, whose calls they show, and when they end.

use std::io::Read as _;

use serde_json::Value;

use super::super::harness::{A1, A2, Rollcall, event, sid, until};
use super::{api_error, calls_of, count, sids};

const SP1: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";

/// A server whose two accounts each have a call of the same sid; the first belongs to a service
/// provider.
fn two_accounts() -> Rollcall {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--service-provider", SP1]);
    rollcall.ok(&["account", "set", A2, "--name", "another"]);
    let one = event(1, "in-progress");
    let two = one.replace(A1, A2).replace("inbound", "outbound");
    assert_eq!(rollcall.post_events(&format!("{one}\n{two}")).status, 204);
    rollcall
}

#[test]
fn each_role_opens_its_own_doors_within_its_scope() {
    let rollcall = two_accounts();
    let scopes: [(&str, &[&str]); 3] = [
        ("admin", &["--admin"]),
        ("provider", &["--service-provider", SP1]),
        ("account", &["--account", A1]),
    ];
    for (scope, flags) in scopes {
        for role in ["full", "read", "ingest", "export", "metrics"] {
            if role == "metrics" && scope != "admin" {
                continue;
            }
            let token = rollcall.token(&[flags, &["--role", role]].concat());
            let bearer = format!("Bearer {token}");
            for account in [A1, A2] {
                let within = scope == "admin" || account == A1;
                let unknown = sid(77);
                let list = rollcall.get(&token, &calls_of(account, ""));
                let get = rollcall.get(&token, &format!("/v1/Accounts/{account}/Calls/{}", sid(1)));
                let count = rollcall.get(&token, &format!("/v1/Accounts/{account}/CallCount"));
                let delete = format!("/v1/Accounts/{account}/Calls/{unknown}");
                let delete = rollcall.ask("DELETE", &token, &delete);
                let body = event(2, "busy").replace(A1, account);
                let headers = [("authorization", &*bearer)];
                let hook =
                    rollcall.send("POST", "/v1/hooks/call-status", &headers, body.as_bytes());
                let scrape = rollcall.get(&token, "/metrics");
                let doors = [
                    (list, 200, matches!(role, "full" | "read" | "export")),
                    (get, 200, matches!(role, "full" | "read")),
                    (count, 200, matches!(role, "full" | "read")),
                    (delete, 404, role == "full"),
                    (hook.unwrap(), 204, role == "ingest" || role == "full" && scope == "admin"),
                    (scrape, 200, role == "metrics" || role == "full" && scope == "admin"),
                ];
                for (n, (answer, open, may)) in doors.into_iter().enumerate() {
                    let expected = if within && may { open } else { 403 };
                    let door = format!("{scope}, {role}, {account}, door {n}");
                    assert_eq!(answer.status, expected, "{door}: {answer:?}");
                    if expected == 403 {
                        assert!(api_error(&answer, 403).starts_with("insufficient permissions"));
                    }
                }
            }
        }
    }
}

#[test]
fn another_account_is_403_in_the_words_of_jambonz() {
    let rollcall = two_accounts();
    let token = rollcall.token(&["--account", A1]);
    let answer = rollcall.get(&token, &calls_of(A2, ""));
    assert_eq!(answer.body, "{\"msg\":\"insufficient permissions\"}");
    let unknown = "0f0f0f0f-aaaa-4bbb-8ccc-121212121212";
    assert_eq!(
        api_error(&rollcall.get(&token, &calls_of(unknown, "")), 403),
        "insufficient permissions"
    );
    assert!(sids(&rollcall.get(&rollcall.admin(), &calls_of(unknown, ""))).is_empty());
}

#[test]
fn an_account_moves_between_service_providers_at_once() {
    let rollcall = two_accounts();
    let token = rollcall.token(&["--service-provider", SP1]);
    assert_eq!(rollcall.get(&token, &calls_of(A2, "")).status, 403);
    rollcall.ok(&["account", "set", A2, "--service-provider", SP1]);
    assert_eq!(sids(&rollcall.get(&token, &calls_of(A2, ""))), [sid(1)]);
    rollcall.ok(&["account", "remove", A1]);
    assert_eq!(rollcall.get(&token, &calls_of(A1, "")).status, 403);
}

#[test]
fn no_account_sees_or_touches_the_calls_of_another() {
    let rollcall = two_accounts();
    let [one, two] = [A1, A2].map(|account| rollcall.token(&["--account", account]));
    // A call that one of them alone has.
    assert_eq!(rollcall.post_events(&event(5, "ringing").replace(A1, A2)).status, 204);
    let whole = |token: &str, account: &str| {
        let answer = rollcall.get(token, &calls_of(account, ""));
        assert!(answer.json().as_array().unwrap().iter().all(|c| c["account_sid"] == account));
        sids(&answer)
    };
    assert_eq!(whole(&one, A1), [sid(1)]);
    assert_eq!(whole(&two, A2), [sid(5), sid(1)]);
    for query in ["callStatus=in-progress", "direction=inbound", "from=+15550000001", "limit=9"] {
        assert_eq!(sids(&rollcall.get(&one, &calls_of(A1, query))), [sid(1)], "{query}");
    }
    for query in
        ["callStatus=ringing", "direction=outbound", "from=+15550000005", "start=9000-01-01"]
    {
        assert!(sids(&rollcall.get(&one, &calls_of(A1, query))).is_empty(), "{query}");
    }
    assert_eq!((count(&rollcall, A1), count(&rollcall, A2)), ([1, 0], [1, 1]));
    // The same sid in both accounts is two calls, and a sid of the other is unknown here.
    let call = |token: &str, method: &str, account: &str, n: u32| {
        rollcall.ask(method, token, &format!("/v1/Accounts/{account}/Calls/{}", sid(n)))
    };
    assert_eq!(call(&one, "GET", A1, 1).json()["direction"], "inbound");
    assert_eq!(call(&two, "GET", A2, 1).json()["direction"], "outbound");
    for method in ["GET", "DELETE"] {
        assert_eq!(api_error(&call(&one, method, A1, 5), 404), "no such call");
        assert_eq!(call(&one, method, A2, 5).status, 403);
    }
    assert_eq!(call(&one, "DELETE", A1, 1).status, 204);
    assert_eq!(whole(&two, A2), [sid(5), sid(1)]);
    assert_eq!(whole(&one, A1), Vec::<String>::new());
    // A cursor of one account says nothing to the other.
    let cursor = rollcall.get(&two, &calls_of(A2, "limit=1"));
    let cursor = cursor.header("x-next-cursor").unwrap();
    let query = format!("limit=1&cursor={cursor}");
    assert!(api_error(&rollcall.get(&one, &calls_of(A1, &query)), 400).contains("cursor"));
    assert_eq!(rollcall.get(&one, &calls_of(A2, &query)).status, 403);
}

#[test]
fn a_client_without_credentials_is_401_and_told_how_to_ask() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    let plain = "Bearer realm=\"Users\"";
    let invalid = "Bearer realm=\"Users\", error=\"invalid_token\"";
    let cases = [
        (None, 401, Some(plain)),
        (Some("Basic YTpi".to_owned()), 401, Some(plain)),
        (Some(format!("Token {admin}")), 401, Some(plain)),
        (Some("Bearer deadbeef-0000-4000-8000-000000000000".to_owned()), 401, Some(invalid)),
        (Some(format!("Bearer {}", admin.to_uppercase())), 401, Some(invalid)),
        (Some(format!("Bearer {}", &admin[1..])), 401, Some(invalid)),
        (Some("Bearer".to_owned()), 400, None),
        (Some(admin.clone()), 400, None),
        (Some(format!("Bearer  {admin}")), 400, None),
        (Some(format!("Bearer {admin} x")), 400, None),
        (Some(format!("bearer {admin}")), 200, None),
        (Some(format!("BEARER {admin}")), 200, None),
    ];
    for (authorization, status, challenge) in cases {
        let header = authorization.as_deref().map(|value| ("authorization", value));
        for path in [calls_of(A1, ""), format!("/v1/Accounts/{A1}/CallCount")] {
            let answer = rollcall.send("GET", &path, header.as_slice(), b"").unwrap();
            assert_eq!(answer.status, status, "{authorization:?}");
            assert_eq!(answer.header("www-authenticate"), challenge, "{authorization:?}");
            if status == 401 {
                assert_eq!(api_error(&answer, 401), "Unauthorized");
            }
        }
    }
    let twice = [("authorization", &*format!("Bearer {admin}")), ("authorization", "Bearer x")];
    let answer = rollcall.send("GET", &calls_of(A1, ""), &twice, b"").unwrap();
    assert!(api_error(&answer, 400).contains("Authorization"));
}

#[test]
fn a_token_outside_the_header_is_no_token() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    let path = calls_of(A1, &format!("access_token={admin}"));
    assert_eq!(api_error(&rollcall.send("GET", &path, &[], b"").unwrap(), 401), "Unauthorized");
    // Nor does it harm beside one.
    assert_eq!(rollcall.get(&admin, &calls_of(A1, "access_token=nobody")).status, 200);
}

#[test]
fn a_revoked_token_opens_nothing_from_then_on() {
    let mut rollcall = two_accounts();
    let token = rollcall.token(&["--account", A1, "--name", "doomed"]);
    let path = calls_of(A1, "");
    assert_eq!(rollcall.get(&token, &path).status, 200);
    let listed = rollcall.ok(&["token", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let listed = listed.as_array().unwrap();
    let doomed = listed.iter().find(|token| token["name"] == "doomed").unwrap();
    rollcall.ok(&["token", "revoke", doomed["id"].as_str().unwrap()]);
    let answer = rollcall.get(&token, &path);
    assert_eq!(api_error(&answer, 401), "Unauthorized");
    assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"));
    rollcall.kill();
    rollcall.start();
    assert_eq!(rollcall.get(&token, &path).status, 401);
}

#[test]
fn a_list_that_has_begun_ends_with_its_token() {
    let rollcall = Rollcall::up(&[]);
    // More than sockets and buffers hold.
    let note = "x".repeat(9000);
    for batch in 0..30 {
        let calls: Vec<_> = (0..100)
            .map(|n| {
                let one = event(batch * 100 + n, "ringing");
                one.replace('}', &format!(",\"note\":\"{note}\"}}"))
            })
            .collect();
        assert_eq!(rollcall.post_events(&calls.join("\n")).status, 204);
    }
    let token = rollcall.token(&["--account", A1, "--name", "mine"]);
    let request = http::Request::get(rollcall.url(&calls_of(A1, "")))
        .header("authorization", format!("Bearer {token}"));
    let answer = rollcall.new_agent().run(request.body(()).unwrap()).unwrap();
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body().into_reader();
    let mut begun = vec![0; 1000];
    body.read_exact(&mut begun).unwrap();
    let tokens: Value = serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap();
    let mine = tokens.as_array().unwrap().iter().find(|token| token["name"] == "mine").unwrap();
    rollcall.ok(&["token", "revoke", mine["id"].as_str().unwrap()]);
    let mut rest = Vec::new();
    assert!(body.read_to_end(&mut rest).is_err(), "{} bytes and whole", rest.len());
    assert!(rest.len() < 20_000_000, "{}", rest.len());
}

#[test]
fn a_token_ends_when_its_time_is_over() {
    let mut rollcall = two_accounts();
    let token = rollcall.token(&["--account", A1, "--expires", "1s"]);
    let path = calls_of(A1, "");
    let ended = until("the token expires", || {
        let answer = rollcall.get(&token, &path);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(api_error(&ended, 401), "Unauthorized");
    assert!(ended.header("www-authenticate").unwrap().contains("invalid_token"));
    rollcall.stop();
    rollcall.start();
    assert_eq!(rollcall.get(&token, &path).status, 401);
}

#[test]
fn an_existing_key_goes_on_with_its_value() {
    let mut rollcall = two_accounts();
    let value = "aaaaaaaa-1111-4111-8111-aaaaaaaaaaa1";
    assert_eq!(rollcall.token(&["--account", A1, "--value", value]), value);
    assert_eq!(sids(&rollcall.get(value, &calls_of(A1, ""))), [sid(1)]);
    rollcall.kill();
    rollcall.start();
    assert_eq!(sids(&rollcall.get(value, &calls_of(A1, ""))), [sid(1)]);
}
