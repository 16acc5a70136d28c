//! How long an answer of jambonz counts, and what happens while it cannot be asked.

use serde_json::json;

use super::super::api::changes::Events;
use super::super::harness::{A1, event, sid, until};
use super::jambonz::{Jambonz, Manners, Whose, jwt, now};
use super::{
    KEY1, KEY2, NOBODYS_KEY, PROVIDER_KEY, SP1, asking, call, calls, figures, list, says_no_token,
    unavailable, usual,
};

#[test]
fn a_token_that_is_revoked_in_jambonz_ends_here_with_its_answer() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &["--upstream-auth-cache", "1s"]);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    assert_eq!(list(&rollcall, NOBODYS_KEY, A1), 401);
    jambonz.forgets(KEY1);
    jambonz.knows(NOBODYS_KEY, Whose::Account(A1.to_owned()));
    let becomes = |token: &str, status: u16| {
        until("the answer is asked for again", || {
            (list(&rollcall, token, A1) == status).then_some(())
        });
    };
    becomes(KEY1, 401);
    becomes(NOBODYS_KEY, 200);
}

#[test]
fn an_answer_counts_no_longer_than_the_token_itself() {
    let jambonz = Jambonz::up();
    // Beyond that there would be no question for an hour.
    let flags = ["--upstream-auth-cache", "1h", "--upstream-auth-stale", "1h"];
    let rollcall = asking(&jambonz, &flags);
    let claims = |n: u64| json!({"exp": now() + 4, "is_view_only": false, "n": n});
    let (first, second) = (jwt(&claims(1)), jwt(&claims(2)));
    for token in [&first, &second] {
        jambonz.knows(token, Whose::Account(A1.to_owned()));
        assert_eq!(list(&rollcall, token, A1), 200);
    }
    until("the token ends", || (list(&rollcall, &first, A1) == 401).then_some(()));
    // That the other one has ended, too, jambonz cannot say.
    until("the other one ends", || (now() > second_end(&second)).then_some(()));
    jambonz.turns(Manners::Cuts);
    unavailable(&rollcall.get(&second, &calls(A1)));
    assert_eq!(figures(&rollcall)["stale"], 0);
}

#[test]
fn a_token_whose_own_end_is_over_or_unreadable_opens_nothing_though_jambonz_accepts_it() {
    let jambonz = Jambonz::up();
    let rollcall = asking(&jambonz, &["--upstream-auth-stale", "1h"]);
    jambonz.accepts_ended();
    let over = [json!("soon"), json!(-5), json!(null), json!([]), json!(0), json!(now() - 1)];
    for exp in over {
        let token = jwt(&json!({"exp": exp, "is_view_only": false}));
        jambonz.knows(&token, Whose::Account(A1.to_owned()));
        // Not 401: it is jambonz that says which token is wrong.
        let msg = unavailable(&rollcall.get(&token, &calls(A1)));
        assert!(msg.contains("its answer about this token does not count"), "{exp}: {msg}");
        let asked = jambonz.questions().len();
        for _ in 0..3 {
            unavailable(&rollcall.get(&token, &calls(A1)));
        }
        assert_eq!(jambonz.questions().len(), asked, "{exp}");
    }
    let token = jwt(&json!({"exp": now() + 60}));
    jambonz.knows(&token, Whose::Account(A1.to_owned()));
    assert_eq!(list(&rollcall, &token, A1), 200);
    assert!(rollcall.log().contains("accepts a token whose own end (exp) is over"));
}

fn second_end(token: &str) -> u64 {
    let payload = token.split('.').nth(1).unwrap();
    let payload = data_encoding::BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    claims["exp"].as_u64().unwrap()
}

#[test]
fn an_accepted_token_reads_on_for_a_while_and_changes_nothing() {
    let jambonz = usual();
    let flags = ["--upstream-auth-cache", "1s", "--upstream-auth-stale", "1h"];
    let rollcall = asking(&jambonz, &flags);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    jambonz.turns(Manners::Cuts);
    until("an older answer does", || {
        assert_eq!(list(&rollcall, KEY1, A1), 200);
        (figures(&rollcall)["stale"].as_u64() > Some(0)).then_some(())
    });
    let msg = unavailable(&rollcall.ask("DELETE", KEY1, &call(A1, 1)));
    assert_eq!(msg, "jambonz cannot be asked about this token: its API does not answer");
    assert!(figures(&rollcall)["unavailable"]["failed"].as_u64() > Some(0));
    assert_eq!(rollcall.get(KEY1, &call(A1, 1)).status, 200);
    // What was never accepted opens nothing, and is not told that it is wrong.
    unavailable(&rollcall.get(KEY2, &calls(A1)));
    unavailable(&rollcall.get(NOBODYS_KEY, &calls(A1)));
    unavailable(&rollcall.get(PROVIDER_KEY, &format!("/v1/ServiceProviders/{SP1}/Calls")));
    let said = rollcall.run(&["status"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("jambonz's API cannot be asked about tokens"), "{said:?}");
    jambonz.turns(Manners::AsJambonz);
    until("jambonz answers again", || {
        (rollcall.ask("DELETE", KEY1, &call(A1, 1)).status == 204).then_some(())
    });
    assert!(rollcall.log().contains("answers questions about tokens again"), "{}", rollcall.log());
    says_no_token(&rollcall, &[KEY1, KEY2, NOBODYS_KEY, PROVIDER_KEY]);
}

#[test]
fn an_older_answer_does_no_longer_than_it_may() {
    let jambonz = usual();
    let flags = ["--upstream-auth-cache", "1s", "--upstream-auth-stale", "2s"];
    let rollcall = asking(&jambonz, &flags);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    jambonz.turns(Manners::Cuts);
    until("its time is over", || match list(&rollcall, KEY1, A1) {
        200 => None,
        status => {
            assert_eq!(status, 503);
            Some(())
        }
    });
    unavailable(&rollcall.get(KEY1, &calls(A1)));
}

#[test]
fn none_does_where_none_may() {
    let jambonz = usual();
    let flags = ["--upstream-auth-cache", "1ms", "--upstream-auth-stale", "0s"];
    let rollcall = asking(&jambonz, &flags);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    jambonz.turns(Manners::Cuts);
    until("no answer counts", || (list(&rollcall, KEY1, A1) == 503).then_some(()));
    assert_eq!(figures(&rollcall)["stale"], 0);
}

#[test]
fn a_stream_ends_with_its_token() {
    let jambonz = usual();
    let flags = ["--upstream-auth-cache", "1s", "--limits-event-keep-alive", "50ms"];
    let rollcall = asking(&jambonz, &flags);
    let path = format!("/v1/Accounts/{A1}/Calls/changes");
    let events = Events::open(&rollcall, KEY1, &path, &[]);
    assert_eq!(events.next()["type"], "call");
    assert_eq!(events.next()["type"], "snapshot_end");
    until("it is asked again", || (jambonz.about(KEY1).len() > 1).then_some(()));
    rollcall.post_events(&event(7, "trying"));
    assert_eq!(events.next()["call"]["call_sid"], sid(7));
    jambonz.forgets(KEY1);
    events.ended();
    assert!(!rollcall.log().contains(KEY1));
}
