//! Tokens of jambonz: what its API accepts opens that account's calls here, and nothing else.

mod accepted;
mod asked;
mod broken;
mod in_the_console;
pub mod jambonz;
mod lasting;
mod operated;

use serde_json::Value;

use super::api::api_error;
use super::harness::{A1, A2, Answer, Rollcall, event, sid};
use jambonz::{Jambonz, Question, Whose};

/// Service providers of the recorded exchanges.
const SP1: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";
const SP2: &str = "3708b1b3-2736-40ea-b502-c53d8396247f";
/// API keys as jambonz makes them.
const KEY1: &str = "aaaaaaaa-1111-4111-8111-aaaaaaaaaaa1";
const KEY2: &str = "aaaaaaaa-2222-4222-8222-aaaaaaaaaaa2";
const PROVIDER_KEY: &str = "bbbbbbbb-1111-4111-8111-bbbbbbbbbbb1";
const ADMIN_KEY: &str = "38700987-c7a4-4685-a5bb-af378f9734de";
const NOBODYS_KEY: &str = "deadbeef-0000-4000-8000-000000000000";

/// A rollcall that asks this jambonz, with a call of each of two accounts, and with further flags.
fn asking(jambonz: &Jambonz, flags: &[&str]) -> Rollcall {
    let url = jambonz.url();
    let mut all = vec!["--upstream-api-url", &url, "--upstream-auth", "--log-level", "trace"];
    let ca = jambonz.ca.as_ref().map(|ca| ca.to_str().unwrap());
    if let Some(ca) = ca {
        all.extend(["--upstream-ca", ca]);
    }
    all.extend(flags);
    let rollcall = Rollcall::up(&all);
    assert_eq!(rollcall.post_events(&event(1, "completed")).status, 204);
    assert_eq!(rollcall.post_events(&event(2, "completed").replace(A1, A2)).status, 204);
    rollcall
}

/// A jambonz with keys of two accounts, of their service provider and of an admin.
fn usual() -> Jambonz {
    let jambonz = Jambonz::up();
    teach(&jambonz);
    jambonz
}

fn teach(jambonz: &Jambonz) {
    jambonz.knows(KEY1, Whose::Account(A1.to_owned()));
    jambonz.knows(KEY2, Whose::Account(A2.to_owned()));
    let accounts = vec![A1.to_owned(), A2.to_owned()];
    jambonz.knows(PROVIDER_KEY, Whose::Provider(SP1.to_owned(), accounts));
    jambonz.knows(ADMIN_KEY, Whose::Admin);
}

fn calls(account: &str) -> String {
    format!("/v1/Accounts/{account}/Calls")
}

fn call(account: &str, n: u32) -> String {
    format!("/v1/Accounts/{account}/Calls/{}", sid(n))
}

/// The status of the list of an account.
fn list(rollcall: &Rollcall, token: &str, account: &str) -> u16 {
    rollcall.get(token, &calls(account)).status
}

/// The message of a 503, which says when to come again.
fn unavailable(answer: &Answer) -> String {
    let msg = api_error(answer, 503);
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{answer:?}");
    assert!(answer.header("www-authenticate").is_none(), "{answer:?}");
    msg
}

/// What `status` says of it.
fn figures(rollcall: &Rollcall) -> Value {
    let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
    figures["upstream_auth"].clone()
}

/// The paths of questions.
fn paths(questions: &[Question]) -> Vec<&str> {
    questions.iter().map(|question| question.path.as_str()).collect()
}

/// No secret of a test stands anywhere in what the server says of itself.
fn says_no_token(rollcall: &Rollcall, tokens: &[&str]) {
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    for text in [rollcall.log(), rollcall.figures(), rollcall.status(), metrics] {
        for token in tokens {
            assert!(!text.contains(token), "a token is said: {text}");
        }
    }
}
