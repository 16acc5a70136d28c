//! Settings of accounts on the command line.

use data_encoding::BASE64;

use super::super::harness::{A1, A2, Rollcall, event};
use super::holds;

const SP1: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";

fn accounts(rollcall: &Rollcall) -> Vec<serde_json::Value> {
    serde_json::from_str(&rollcall.ok(&["account", "list", "--json"])).unwrap()
}

/// The status of an event that is sent with a user name and a password.
fn hook(rollcall: &Rollcall, user: &str, password: &str) -> u16 {
    let basic = format!("Basic {}", BASE64.encode(format!("{user}:{password}").as_bytes()));
    let headers = [("authorization", basic.as_str()), ("content-type", "application/json")];
    let event = event(1, "trying");
    rollcall.send("POST", "/v1/hooks/call-status", &headers, event.as_bytes()).unwrap().status
}

#[test]
fn what_is_not_given_stays_as_it_is() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--name", "one", "--webhook-secret", "first"]);
    let args = ["account", "set", A1, "--hook-user", "jambonz", "--hook-password", "-"];
    let printed = rollcall.run_with(&args, b"pass:word\r\n");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert_eq!(hook(&rollcall, "jambonz", "pass:word"), 204);
    rollcall.ok(&["account", "set", A1, "--service-provider", SP1]);
    rollcall.ok(&["account", "set", A1, "--hook-password", "another"]);
    assert_eq!(hook(&rollcall, "jambonz", "pass:word"), 401);
    assert_eq!(hook(&rollcall, "jambonz", "another"), 204);
    let expected = serde_json::json!([{
        "account_sid": A1, "name": "one", "service_provider_sid": SP1, "webhook_secret": true,
        "hook_user": "jambonz",
    }]);
    assert_eq!(serde_json::json!(accounts(&rollcall)), expected);
    let table = rollcall.ok(&["account", "list"]);
    let row = table.lines().nth(1).unwrap();
    for cell in [A1, "one", SP1, "yes", "jambonz"] {
        assert!(row.contains(cell), "{table}");
    }
    assert!(!table.contains("another") && !table.contains("first"), "{table}");
    assert!(!rollcall.log().contains("another"), "{}", rollcall.log());
}

#[test]
fn a_secret_is_a_line_of_standard_input() {
    let rollcall = Rollcall::up(&[]);
    let password = ["account", "set", A1, "--hook-user", "u", "--hook-password", "-"];
    let printed = rollcall.run_with(&password, b"password");
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let secret = ["account", "set", A1, "--webhook-secret", "-"];
    assert_eq!(rollcall.run_with(&secret, b"signing\n").code, Some(0));
    assert_eq!(hook(&rollcall, "u", "password"), 204);
    // These must be kept readable; it is the directory that keeps them.
    assert!(!holds(rollcall.data(), b"signing", &[]).is_empty());
    let printed = rollcall.run_with(&password, b"\n");
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("--hook-password"), "{printed:?}");
}

#[test]
fn a_hook_user_belongs_to_one_account() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--hook-user", "u", "--hook-password", "one"]);
    let other = rollcall.run(&["account", "set", A2, "--hook-user", "u", "--hook-password", "two"]);
    assert_eq!(other.code, Some(1));
    assert!(other.stderr.contains("\"u\"") && other.stderr.contains(A1), "{other:?}");
    assert_eq!(accounts(&rollcall).len(), 1);
    // A user name that is given up is free.
    rollcall.ok(&["account", "set", A1, "--hook-user", "v"]);
    rollcall.ok(&["account", "set", A2, "--hook-user", "u", "--hook-password", "two"]);
    assert_eq!(hook(&rollcall, "v", "one"), 204);
    assert_eq!(hook(&rollcall, "u", "one"), 401);
}

#[test]
fn settings_that_make_no_sense_are_refused_whole() {
    let rollcall = Rollcall::down();
    let long = "x".repeat(257);
    for (flags, named) in [
        (&["--hook-user", "u"][..], "--hook-password"),
        (&["--hook-password", "p"], "--hook-user"),
        (&["--hook-user", "a:b", "--hook-password", "p"], "\"a:b\""),
        (&["--name", ""], "--name"),
        (&["--name", &long], "--name"),
        (&["--webhook-secret", ""], "--webhook-secret"),
        (&["--service-provider", "x"], "--service-provider"),
        (&[], "--name"),
    ] {
        let args = [&["account", "set", A1], flags].concat();
        let printed = rollcall.run(&args);
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(2), ""), "{args:?}: {printed:?}");
        assert!(printed.stderr.contains(named), "{args:?}: {printed:?}");
    }
    rollcall.ok(&["account", "set", A2, "--name", "two"]);
    assert_eq!(accounts(&rollcall).len(), 1);
}

#[test]
fn removing_an_account_takes_its_settings_and_tokens_and_not_its_calls() {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--hook-user", "u", "--hook-password", "p"]);
    let own = rollcall.token(&["--account", A1]);
    let other = rollcall.token(&["--account", A2]);
    assert_eq!(hook(&rollcall, "u", "p"), 204);
    let calls = format!("/v1/Accounts/{A1}/Calls");
    assert_eq!(rollcall.get(&own, &calls).status, 200);
    let said = rollcall.ok(&["account", "remove", A1]);
    assert!(said.contains(A1) && said.contains('1'), "{said}");
    assert_eq!(rollcall.get(&own, &calls).status, 401);
    assert_eq!(rollcall.get(&other, &format!("/v1/Accounts/{A2}/Calls")).status, 200);
    assert_eq!(hook(&rollcall, "u", "p"), 401);
    let admin = rollcall.get(&rollcall.admin(), &calls);
    assert_eq!(admin.json().as_array().unwrap().len(), 1);
    let again = rollcall.run(&["account", "remove", A1]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains(A1), "{again:?}");
}

#[test]
fn two_secrets_do_not_come_from_one_standard_input() {
    let rollcall = Rollcall::down();
    let args = ["account", "set", A1, "--hook-user", "jambonz"];
    for secrets in [
        ["--hook-password", "-", "--webhook-secret", "-"],
        ["--webhook-secret", "-", "--hook-password", "-"],
    ] {
        let refused = rollcall.run_with(&[&args[..], &secrets].concat(), b"one\ntwo\n");
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let told = "--webhook-secret - and --hook-password - cannot both be read";
        assert!(refused.stderr.contains(told), "{refused:?}");
        assert!(!rollcall.data().exists());
    }
    let secrets = ["--hook-password", "-", "--webhook-secret", "given"];
    let set = rollcall.run_with(&[&args[..], &secrets].concat(), b"one\ntwo\n");
    assert_eq!(set.code, Some(0), "{set:?}");
}
