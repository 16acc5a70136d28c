//! Tokens on the command line: seen once, kept as a hash, ended at once.

use super::super::harness::{A1, A2, Rollcall, event, until};
use super::holds;

const KEY: &str = "38700987-c7a4-4685-a5bb-af378f9734de";

fn calls() -> String {
    format!("/v1/Accounts/{A1}/Calls")
}

fn tokens(rollcall: &Rollcall) -> Vec<serde_json::Value> {
    serde_json::from_str(&rollcall.ok(&["token", "list", "--json"])).unwrap()
}

#[test]
fn a_token_is_shown_once_and_kept_as_a_hash() {
    let mut rollcall = Rollcall::up(&["--log-level", "trace"]);
    let printed = rollcall.run(&["token", "create", "--account", A1, "--name", "made"]);
    let made = printed.stdout.trim().to_owned();
    assert_eq!(printed.stdout.lines().count(), 1, "{printed:?}");
    assert!(made.starts_with("rc_") && made.len() == 46, "{made}");
    assert!(printed.stderr.contains("not shown again"), "{printed:?}");
    let given = rollcall.run_with(&["token", "create", "--admin", "--value", "-"], KEY.as_bytes());
    assert_eq!(given.stdout.trim(), KEY);
    for token in [&made, KEY, &rollcall.admin()] {
        assert_eq!(rollcall.get(token, &calls()).status, 200);
    }
    let listed = rollcall.ok(&["token", "list"]) + &rollcall.ok(&["token", "list", "--json"]);
    let secrets = [made.clone(), KEY.to_owned(), rollcall.admin()];
    assert_eq!(rollcall.stop(), Some(0));
    for secret in &secrets {
        assert_eq!(holds(rollcall.data(), secret.as_bytes(), &["admin.token"]), [""; 0]);
        assert!(!listed.contains(secret.as_str()), "{listed}");
        assert!(!rollcall.log().contains(secret.as_str()), "{}", rollcall.log());
    }
    assert_eq!(holds(rollcall.data(), secrets[2].as_bytes(), &[]).len(), 1, "admin.token alone");
    // What was made while the server was up is there when it is down, and the other way round.
    assert_eq!(tokens(&rollcall).len(), 3);
    let later = rollcall.ok(&["token", "create", "--admin"]);
    rollcall.start();
    assert_eq!(rollcall.get(later.trim(), &calls()).status, 200);
}

#[test]
fn a_token_of_an_existing_value_is_refused() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["token", "create", "--admin", "--value", KEY]);
    let known = tokens(&rollcall).into_iter().map(|token| token["id"].as_str().unwrap().to_owned());
    let known: Vec<String> = known.collect();
    let again = rollcall.run(&["token", "create", "--account", A1, "--value", KEY]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(1), ""));
    assert!(known.iter().any(|id| again.stderr.contains(id)), "{again:?}");
    assert!(!again.stderr.contains(KEY), "{again:?}");
    assert_eq!(tokens(&rollcall).len(), 2);
}

#[test]
fn a_token_ends_with_its_time() {
    let rollcall = Rollcall::up(&[]);
    let token = rollcall.token(&["--admin", "--expires", "1s"]);
    let until_then = rollcall.get(&token, &calls()).status;
    assert!([200, 401].contains(&until_then));
    until("the token ends", || (rollcall.get(&token, &calls()).status == 401).then_some(()));
    let listed = tokens(&rollcall);
    assert_eq!(listed.iter().filter(|token| token["expired"] == true).count(), 1);
    assert!(rollcall.ok(&["token", "list"]).contains("(over)"));
    let lasting = rollcall.token(&["--admin", "--expires", "90d"]);
    assert_eq!(rollcall.get(&lasting, &calls()).status, 200);
    for (time, code) in [("0s", 2), ("ever", 2), ("90", 2), ("101years", 2), ("-1d", 2)] {
        let flag = format!("--expires={time}");
        let printed = rollcall.run(&["token", "create", "--admin", &flag]);
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(code), ""), "{printed:?}");
        assert!(printed.stderr.contains("--expires"), "{printed:?}");
    }
}

#[test]
fn a_revoked_token_ends_at_once_and_the_first_one_takes_its_file_along() {
    let mut rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    let made = rollcall.run(&["token", "create", "--admin", "--json"]);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let (id, value) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(rollcall.get(value, &calls()).status, 200);
    rollcall.ok(&["token", "revoke", id]);
    assert_eq!(rollcall.get(value, &calls()).status, 401);
    assert!(rollcall.data().join("admin.token").exists());
    let first = tokens(&rollcall)[0]["id"].as_str().unwrap().to_owned();
    rollcall.ok(&["token", "revoke", &first]);
    assert_eq!(rollcall.get(&admin, &calls()).status, 401);
    assert!(!rollcall.data().join("admin.token").exists());
    // It is made once in the life of a store, and not whenever there is none.
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.start();
    assert_eq!(rollcall.get(&admin, &calls()).status, 401);
    assert!(!rollcall.data().join("admin.token").exists());
    assert_eq!(tokens(&rollcall).len(), 0);
    let twice = rollcall.run(&["token", "revoke", &first]);
    assert_eq!(twice.code, Some(1));
    assert!(twice.stderr.contains(&format!("\"{first}\"")), "{twice:?}");
}

#[test]
fn a_token_revoked_while_the_server_is_down_stays_revoked() {
    let mut rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    assert_eq!(rollcall.stop(), Some(0));
    let first = tokens(&rollcall)[0]["id"].as_str().unwrap().to_owned();
    rollcall.ok(&["token", "revoke", &first]);
    assert!(!rollcall.data().join("admin.token").exists());
    rollcall.start();
    assert_eq!(rollcall.get(&admin, &calls()).status, 401);
}

#[test]
fn a_token_is_revoked_by_its_name_where_only_one_has_it() {
    let mut rollcall = Rollcall::up(&["--log-format", "json"]);
    let one = rollcall.token(&["--admin", "--name", "prometheus"]);
    let two = rollcall.token(&["--admin", "--name", "twin"]);
    let shared = rollcall.run(&["token", "create", "--admin", "--name", "twin"]);
    let note = "note: another token is called \"twin\" already (";
    assert!(shared.code == Some(0) && shared.stderr.contains(note), "{shared:?}");
    let id = |name: &str| {
        let named = tokens(&rollcall).into_iter().filter(|token| token["name"] == name);
        named.map(|token| token["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let twins = id("twin");
    assert!(twins.iter().any(|id| shared.stderr.contains(&format!("({id})"))), "{shared:?}");
    let refused = rollcall.run(&["token", "revoke", "twin"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("2 tokens are called \"twin\"; give the id of one"),
        "{refused:?}"
    );
    assert!(twins.iter().all(|id| refused.stderr.contains(id.as_str())), "{refused:?}");
    assert_eq!(rollcall.get(&two, &calls()).status, 200);
    let ids = id("prometheus");
    let done = rollcall.ok(&["token", "revoke", "prometheus"]);
    assert_eq!(done, format!("token {} (prometheus) is revoked\n", ids[0]));
    assert_eq!(rollcall.get(&one, &calls()).status, 401);
    // The log says which one it was, however it was named.
    assert!(rollcall.log().contains(&format!("token {}", ids[0])), "{}", rollcall.log());
    // An id is no name: a token that is called like another's id does not shield that.
    rollcall.token(&["--admin", "--name", &twins[0]]);
    rollcall.ok(&["token", "revoke", &twins[0]]);
    assert_eq!(id("twin"), [twins[1].clone()]);
    assert_eq!(id(&twins[0]).len(), 1);
    for name in ["Prometheus", "prom", ""] {
        let refused = rollcall.run(&["token", "revoke", name]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(&format!("there is no token \"{name}\"")), "{refused:?}");
    }
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.ok(&["token", "revoke", "twin"]);
}

#[test]
fn an_account_is_named_by_its_name_where_only_one_has_it() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--name", "acme"]);
    let token = rollcall.token(&["--account", "acme", "--role", "ingest"]);
    let headers =
        [("authorization", &*format!("Bearer {token}")), ("content-type", "application/json")];
    let sent = |account: &str| {
        let event = event(1, "busy").replace(A1, account);
        rollcall.send("POST", "/v1/hooks/call-status", &headers, event.as_bytes()).unwrap().status
    };
    assert_eq!((sent(A1), sent(A2)), (204, 403));
    assert_eq!(rollcall.ok(&["list", "--account", "acme"]).lines().count(), 2);
    assert_eq!(rollcall.ok(&["export", "--account", "acme"]).lines().count(), 1);
    let same = rollcall.run(&["account", "set", "acme", "--keep", "90d", "--name", "acme"]);
    assert_eq!((same.code, same.stderr.as_str()), (Some(0), ""), "{same:?}");
    let shared = rollcall.run(&["account", "set", A2, "--name", "acme"]);
    let note = format!("note: another account is called \"acme\" already ({A1})");
    assert!(shared.code == Some(0) && shared.stderr.contains(&note), "{shared:?}");
    for args in [
        &["list", "--account", "acme"][..],
        &["export", "--account", "acme"],
        &["account", "set", "acme", "--keep", "1d"],
        &["account", "remove", "acme"],
        &["token", "create", "--account", "acme"],
    ] {
        let refused = rollcall.run(args);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
        for part in ["2 accounts are called \"acme\"", A1, A2] {
            assert!(refused.stderr.contains(part), "{args:?}: {refused:?}");
        }
    }
    rollcall.ok(&["account", "set", A2, "--name", "other"]);
    let removed = rollcall.ok(&["account", "remove", "acme"]);
    assert!(removed.contains(A1), "{removed}");
    assert_eq!(sent(A1), 401);
}
