//! An API that does not answer, or is none: always 503, and nobody gets in.

use super::super::harness::{A1, A2, Rollcall, until};
use super::jambonz::{Jambonz, Manners, free_port};
use super::{
    ADMIN_KEY, KEY1, KEY2, NOBODYS_KEY, PROVIDER_KEY, SP1, asking, calls, figures, list,
    says_no_token, teach, unavailable, usual,
};

fn http(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

#[test]
fn what_is_not_an_answer_of_jambonz_opens_nothing_and_is_never_401() {
    let jambonz = usual();
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    let json = "Content-Type: application/json\r\n";
    let not_found = "Content-Type: text/plain; charset=utf-8\r\n";
    let elsewhere = usual();
    let location = format!("Location: {}/v1/Accounts/{A1}/Calls/x\r\n", elsewhere.url());
    let huge = "x".repeat(2 << 20);
    for (what, manners, says) in [
        ("closes", Manners::Cuts, "the connection to "),
        // All paths and all tokens alike: a gateway whose server has gone, or a page for everybody.
        (
            "404 to all",
            Manners::Sends(http("404 Not Found", not_found, "Not Found")),
            "prove nothing",
        ),
        ("404, a page", Manners::Sends(http("404 Not Found", html, "<html>")), "answered 404"),
        (
            "404, of a gateway",
            Manners::SendsKnown(http("404 Not Found", not_found, "404 page not found\n")),
            "",
        ),
        (
            "404, of something else",
            Manners::SendsKnown(http("404 Not Found", json, "{\"message\":\"Not Found\"}")),
            "",
        ),
        ("403, a page", Manners::Sends(http("403 Forbidden", html, "<html>")), "answered 403"),
        ("401, a page", Manners::Sends(http("401 Unauthorized", html, "<html>")), "answered 401"),
        ("404 of one", Manners::SendsKnown(http("404 Not Found", html, "<html>")), ""),
        ("200 to all", Manners::Sends(http("200 OK", html, "<html>")), "answered 200"),
        ("500", Manners::Sends(http("500 Internal Server Error", "", "{}")), "answered 500"),
        ("502", Manners::Sends(http("502 Bad Gateway", html, "<html>")), "answered 502"),
        ("a redirect", Manners::Sends(http("302 Found", &location, "")), "answered 302"),
        ("moved", Manners::Sends(http("308 Permanent Redirect", &location, "")), "answered 308"),
        (
            "a password",
            Manners::Sends(http("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")),
            "answered 401",
        ),
        ("a huge body", Manners::Sends(http("404 Not Found", not_found, &huge)), "more than"),
        ("no HTTP", Manners::Sends("what?\r\n\r\n".to_owned()), "the connection to "),
        (
            "half of it",
            Manners::Sends("HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot".to_owned()),
            "the connection to ",
        ),
    ] {
        jambonz.turns(Manners::AsJambonz);
        let rollcall = asking(&jambonz, &[]);
        until("jambonz was seen", || (!figures(&rollcall)["answered_at"].is_null()).then_some(()));
        jambonz.turns(manners);
        for token in [KEY1, KEY2] {
            let answer = rollcall.get(token, &calls(A1));
            let msg = unavailable(&answer);
            assert!(
                msg.starts_with("jambonz cannot be asked about this token: its "),
                "{what}: {msg}"
            );
        }
        let path = format!("/v1/ServiceProviders/{SP1}/Calls");
        unavailable(&rollcall.get(PROVIDER_KEY, &path));
        let why = figures(&rollcall)["why"].as_str().unwrap_or_default().to_owned();
        assert!(why.contains(says), "{what}: {why}");
        says_no_token(&rollcall, &[KEY1, KEY2, PROVIDER_KEY]);
    }
    assert_eq!(elsewhere.questions(), [], "a redirect was followed");
}

#[test]
fn a_refusal_for_everybody_is_none() {
    // As where rollcall's own address is not let in.
    let jambonz = usual();
    let json = "Content-Type: application/json\r\n";
    jambonz.turns(Manners::Sends(http("403 Forbidden", json, "{\"message\":\"Forbidden\"}")));
    let rollcall = asking(&jambonz, &[]);
    unavailable(&rollcall.get(KEY1, &calls(A1)));
    let why = figures(&rollcall)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("prove nothing"), "{why}");
    jambonz.turns(Manners::AsJambonz);
    until("it lets rollcall in", || match list(&rollcall, KEY1, A2) {
        503 => None,
        status => {
            assert_eq!(status, 403);
            Some(())
        }
    });
    assert_eq!(list(&rollcall, KEY1, A1), 200);
}

#[test]
fn an_api_that_is_slow_or_not_there_is_503_until_it_answers() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/api");
    let flags = ["--upstream-api-url", &url, "--upstream-auth", "--upstream-auth-timeout", "1s"];
    let rollcall = Rollcall::up(&flags);
    unavailable(&rollcall.get(KEY1, &calls(A1)));
    let jambonz = Jambonz::up_at(&format!("127.0.0.1:{port}"));
    teach(&jambonz);
    jambonz.turns(Manners::Hangs);
    until("it is late", || {
        unavailable(&rollcall.get(KEY1, &calls(A1)));
        let why = figures(&rollcall)["why"].as_str().unwrap_or_default().to_owned();
        why.contains("did not answer within 1s").then_some(())
    });
    jambonz.turns(Manners::AsJambonz);
    until("it answers", || match list(&rollcall, KEY1, A1) {
        503 => None,
        status => {
            assert_eq!(status, 200);
            Some(())
        }
    });
    assert_eq!(list(&rollcall, KEY1, A2), 403);
    assert_eq!(list(&rollcall, NOBODYS_KEY, A1), 401);
}

#[test]
fn a_question_that_comes_back_is_found_out() {
    let port = free_port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    let listen = format!("127.0.0.1:{port}");
    let flags = ["--http-listen", &listen, "--upstream-api-url", &url, "--upstream-auth"];
    let rollcall = Rollcall::up(&flags);
    unavailable(&rollcall.get(KEY1, &calls(A1)));
    let why = figures(&rollcall)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("the question came back to rollcall"), "{why}");
    let asked = figures(&rollcall)["questions"]["failed"].as_u64().unwrap();
    assert!(asked <= 3, "{asked} questions went in circles");
}

#[test]
fn another_rollcall_is_no_jambonz() {
    let port = free_port().to_string();
    let listen = format!("127.0.0.1:{port}");
    let other = Rollcall::up(&["--http-listen", &listen]);
    other.token(&["--account", A1, "--role", "read", "--value", KEY1]);
    let url = format!("http://{listen}");
    let rollcall = Rollcall::up(&["--upstream-api-url", &url, "--upstream-auth"]);
    unavailable(&rollcall.get(KEY1, &calls(A1)));
    let why = figures(&rollcall)["why"].as_str().unwrap().to_owned();
    assert!(why.contains("the question came back to rollcall"), "{why}");
}

#[test]
fn over_tls_its_authority_is_the_one_that_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let jambonz = Jambonz::secure(dir.path());
    teach(&jambonz);
    let rollcall = asking(&jambonz, &[]);
    assert_eq!(list(&rollcall, KEY1, A1), 200);
    assert_eq!(list(&rollcall, KEY1, A2), 403);
    assert_eq!(list(&rollcall, NOBODYS_KEY, A1), 401);
    let printed = rollcall.run(&["doctor"]);
    assert!(printed.stdout.contains("it answers, with TLS, and refuses a token"), "{printed:?}");
    let asked = jambonz.questions().len();
    // An authority of one's own has not signed it, and the right one another name.
    let (own, ca) = (rollcall.ca(), jambonz.ca.clone().unwrap());
    let address = jambonz.url().replace("localhost", "127.0.0.1");
    for (url, ca, says) in
        [(jambonz.url(), own, "UnknownIssuer"), (address, ca, "not valid for name")]
    {
        let flags = ["--upstream-api-url", &url, "--upstream-auth", "--upstream-ca"];
        let rollcall = Rollcall::up(&[&flags[..], &[ca.to_str().unwrap()]].concat());
        unavailable(&rollcall.get(KEY1, &calls(A1)));
        let why = figures(&rollcall)["why"].as_str().unwrap().to_owned();
        assert!(why.contains(says), "{why}");
    }
    assert_eq!(jambonz.questions().len(), asked);
}

#[test]
fn a_jambonz_that_tells_no_accounts_apart_opens_none() {
    // Before 0.8.3 any token reads the calls of any account there.
    let jambonz = usual();
    jambonz.turns(Manners::OpensAll);
    let rollcall = asking(&jambonz, &[]);
    for token in [KEY1, KEY2, PROVIDER_KEY] {
        unavailable(&rollcall.get(token, &calls(A1)));
        until("it is asked again", || {
            let why = figures(&rollcall)["why"].as_str().unwrap_or_default().to_owned();
            unavailable(&rollcall.get(token, &calls(A1)));
            why.contains("jambonz-api-server before 0.8.3").then_some(())
        });
    }
    // An admin may read every account in any case.
    until("an admin reads", || (list(&rollcall, ADMIN_KEY, A1) == 200).then_some(()));
    jambonz.turns(Manners::AsJambonz);
    until("accounts are told apart", || (list(&rollcall, KEY1, A1) == 200).then_some(()));
    assert_eq!(list(&rollcall, KEY1, A2), 403);
    // That is seen once.
    let asked = jambonz.questions().len();
    assert_eq!(list(&rollcall, KEY2, A2), 200);
    assert_eq!(jambonz.questions().len(), asked + 2);
}
