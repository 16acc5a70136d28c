//! Requests over TLS: whose certificate is believed, and that the token stays with the caller.

use super::super::harness::{A1, Rollcall};
use super::server::{CREATED, FeatureServer};
use super::{api_error, create, hang_up, register};

const APPLICATION: &str = ",\"application_sid\":\"7087fe50-8acb-4f3b-b820-97b573723aab\"";

#[test]
fn a_call_goes_on_over_tls_to_whom_the_configuration_trusts_and_to_nobody_else() {
    // Another rollcall stands for jambonz's API behind TLS.
    let jambonz = FeatureServer::up();
    let front = Rollcall::up(&["--upstream-api-url", &jambonz.url("/api")]);
    let ca = front.ca();
    let url = front.url("");
    let trusting = ["--upstream-api-url", &url, "--upstream-ca", ca.to_str().unwrap()];
    let rollcall = Rollcall::up(&trusting);
    let admin = rollcall.admin();
    // Its own word decides who may: the token is not known there yet.
    assert_eq!(api_error(&create(&rollcall, APPLICATION), 401), "Unauthorized");
    front.token(&["--admin", "--value", &admin]);
    let answer = create(&rollcall, APPLICATION);
    assert_eq!((answer.status, answer.body.as_str()), (201, CREATED), "{answer:?}");
    let received = jambonz.take();
    assert_eq!(received.len(), 1);
    let bearer = format!("authorization: bearer {}", admin.to_ascii_lowercase());
    assert!(received[0].headers.contains(&bearer), "{received:?}");
    // An authority of one's own, or those of the system, have not signed it.
    let own = rollcall.ca();
    let address = url.replace("localhost", "127.0.0.2");
    for flags in [
        &["--upstream-api-url", &url, "--upstream-ca", own.to_str().unwrap()][..],
        &["--upstream-api-url", &url],
        // The right authority, for another name.
        &["--upstream-api-url", &address, "--upstream-ca", ca.to_str().unwrap()],
    ] {
        let rollcall = Rollcall::up(flags);
        front.token(&["--admin", "--value", &rollcall.admin()]);
        let msg = api_error(&create(&rollcall, APPLICATION), 500);
        assert!(msg.contains("cannot connect to https://"), "{msg}");
        assert!(!rollcall.log().contains(&rollcall.admin()), "a token is in the log");
    }
    assert_eq!(jambonz.take(), []);
}

#[test]
fn an_update_goes_to_a_feature_server_behind_tls() {
    let front = Rollcall::up(&[]);
    let (url, ca) = (front.url(""), front.ca());
    let rollcall =
        Rollcall::up(&["--feature-servers-urls", &url, "--upstream-ca", ca.to_str().unwrap()]);
    register(&rollcall, 1, &url);
    // A rollcall is no feature server, and says so.
    assert_eq!(api_error(&hang_up(&rollcall, 1), 404), "no such path");
}

#[test]
fn what_a_feature_server_refuses_is_not_held_against_the_caller() {
    let server = FeatureServer::up();
    let rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
    register(&rollcall, 1, &server.url("/s401"));
    for _ in 0..15 {
        assert_eq!(api_error(&hang_up(&rollcall, 1), 401), "Unauthorized");
    }
    let path = format!("/v1/Accounts/{A1}/CallCount");
    assert_eq!(rollcall.get(&rollcall.admin(), &path).status, 200);
    let figures: serde_json::Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["failed_authentications"], 0, "{figures}");
}
