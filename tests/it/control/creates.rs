//! New calls: whose turn it is, and what jambonz's own API is asked.

use serde_json::json;

use super::super::api::raw::Raw;
use super::super::harness::{A1, Rollcall};
use super::server::{CREATED, FeatureServer};
use super::{api_error, create, send};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn up(urls: &[&str], further: &[&str]) -> Rollcall {
    let urls = urls.join(",");
    Rollcall::up(&[&["--feature-servers-urls", urls.as_str()], further].concat())
}

#[test]
fn feature_servers_take_new_calls_in_turn() {
    let (one, two) = (FeatureServer::up(), FeatureServer::up());
    let rollcall = up(&[&one.url("/c201"), &two.url("/c201")], &[]);
    for _ in 0..6 {
        let answer = create(&rollcall, "");
        assert_eq!((answer.status, answer.body.as_str()), (201, CREATED));
    }
    assert_eq!((one.take().len(), two.take().len()), (3, 3));
}

#[test]
fn without_a_feature_server_the_status_is_that_of_sip_in_the_words_of_jambonz() {
    let rollcall = Rollcall::up(&[]);
    let mut raw = Raw::connect(&rollcall);
    raw.send(format!(
        "POST /v1/Accounts/{A1}/Calls HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}",
        rollcall.admin()
    ));
    let reply = raw.reply();
    assert!(reply.head.starts_with("http/1.1 480 unknown\r\n"), "{reply:?}");
    assert_eq!(reply.body, "{\"msg\":\"no available feature servers at this time\"}");
}

#[test]
fn one_that_cannot_be_reached_is_set_aside_and_another_takes_the_call() {
    let well = FeatureServer::up();
    let rollcall = up(&[NOBODY, &well.url("/c201")], &["--feature-servers-retry-after", "1h"]);
    for _ in 0..4 {
        assert_eq!(create(&rollcall, "").status, 201);
    }
    assert_eq!(well.take().len(), 4);
    assert_eq!(rollcall.log().matches("is set aside").count(), 1, "{}", rollcall.log());
    let none = up(&[NOBODY], &[]);
    for _ in 0..2 {
        assert!(
            api_error(&create(&none, ""), 500).contains("cannot connect to http://127.0.0.1:1")
        );
    }
}

#[test]
fn what_may_have_been_received_is_not_sent_again() {
    for (kind, status) in [("/hang", 504), ("/cut", 500), ("/s500text", 500)] {
        let (ill, well) = (FeatureServer::up(), FeatureServer::up());
        let rollcall = up(
            &[&ill.url(kind), &well.url("/c201")],
            &["--feature-servers-timeout", "300ms", "--feature-servers-retry-after", "1h"],
        );
        api_error(&create(&rollcall, ""), status);
        assert_eq!((ill.take().len(), well.take().len()), (1, 0), "{kind}");
        assert_eq!(create(&rollcall, "").status, 201);
        let third = create(&rollcall, "").status;
        // One that was late is set aside; one that answered is not.
        assert_eq!(third, if kind == "/hang" { 201 } else { status }, "{kind}");
    }
}

#[test]
fn a_call_that_names_an_application_goes_to_jambonz_or_nowhere() {
    let (server, jambonz) = (FeatureServer::up(), FeatureServer::up());
    let application = ",\"application_sid\":\"7087fe50-8acb-4f3b-b820-97b573723aab\"";
    let alone = up(&[&server.url("/c201")], &[]);
    assert!(api_error(&create(&alone, application), 400).contains("upstream.api_url"));
    assert_eq!((server.take(), jambonz.take()), (vec![], vec![]));

    let api = jambonz.url("/api");
    let rollcall = up(&[&server.url("/c201")], &["--upstream-api-url", &api]);
    let answer = create(&rollcall, application);
    assert_eq!((answer.status, answer.body.as_str()), (201, CREATED));
    assert_eq!(server.take(), []);
    let received = jambonz.take();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].url, format!("/api/v1/Accounts/{A1}/Calls"));
    let bearer = format!("authorization: bearer {}", rollcall.admin().to_ascii_lowercase());
    assert!(received[0].headers.contains(&bearer), "{received:?}");
    assert_eq!(received[0].body["call_hook"], json!("http://x/"));

    for (path, status, msg) in [
        ("/s422text", 422, "call session is gone"),
        ("/s400json", 400, "not so"),
        ("/s302", 502, "302"),
    ] {
        let api = jambonz.url(path);
        let rollcall = Rollcall::up(&["--upstream-api-url", &api]);
        assert!(api_error(&create(&rollcall, application), status).contains(msg), "{path}");
        assert!(!rollcall.log().contains(&rollcall.admin()), "a token is in the log");
    }
    let stranger = rollcall.token(&["--account", super::super::harness::A2]);
    jambonz.take();
    let body = "{\"application_sid\":\"x\"}";
    let answer = send(&rollcall, "POST", &stranger, &format!("/v1/Accounts/{A1}/Calls"), body);
    api_error(&answer, 403);
    assert_eq!(jambonz.take(), []);
}
