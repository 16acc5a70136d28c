//! Paths, methods, origins, and the order in which a request is looked at.

use super::super::harness::{A1, A2, Rollcall, event, sid};
use super::{api_error, calls_of, list, sids};

#[test]
fn a_path_may_end_in_a_slash_and_be_written_in_either_case() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let admin = rollcall.admin();
    let upper = A1.to_uppercase();
    for path in [
        format!("/v1/Accounts/{A1}/Calls"),
        format!("/v1/Accounts/{A1}/Calls/"),
        format!("/v1/Accounts/{A1}/Calls/?limit=5"),
        format!("/V1/ACCOUNTS/{upper}/CALLS"),
        format!("/v1/accounts/{A1}/calls/?callStatus=busy"),
    ] {
        assert_eq!(sids(&rollcall.get(&admin, &path)), [sid(1)], "{path}");
    }
    for path in [
        format!("/v1/Accounts/{A1}/Calls/{}/", sid(1)),
        format!("/v1/accounts/{upper}/calls/{}", sid(1).to_uppercase()),
        format!("/v1/Accounts/{A1}/CallCount/"),
        format!("/v1/accounts/{A1}/callcount"),
        "/livez/".to_owned(),
        "/READYZ".to_owned(),
    ] {
        assert_eq!(rollcall.get(&admin, &path).status, 200, "{path}");
    }
    let hook = rollcall.ask("POST", &admin, "/V1/Hooks/Call-Status/");
    assert_eq!(hook.status, 400, "no body: {hook:?}");
    // The next page of an oddly written list is where it says.
    rollcall.post_events(&event(2, "busy"));
    let page = rollcall.get(&admin, &format!("/v1/accounts/{upper}/calls/?limit=1"));
    let link = page.header("link").unwrap();
    let path = link.trim_start_matches('<').split('>').next().unwrap();
    assert_eq!(sids(&rollcall.get(&admin, path)), [sid(1)]);
}

#[test]
fn an_unknown_path_is_404() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    for path in [
        "/v1".to_owned(),
        "/v1/Nope".to_owned(),
        format!("/v2/Accounts/{A1}/Calls"),
        format!("/Accounts/{A1}/Calls"),
        format!("/v1/Accounts/{A1}"),
        format!("/v1/Accounts/{A1}/Nope"),
        format!("/v1/Accounts/{A1}/Calls//"),
        format!("/v1/Accounts/{A1}/Calls/{}/Nope", sid(1)),
        format!("/v1/Accounts/{A1}//Calls"),
        "/livez/x".to_owned(),
        "/v1/hooks".to_owned(),
    ] {
        for method in ["GET", "POST", "DELETE", "HEAD"] {
            let answer = rollcall.ask(method, &admin, &path);
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
            assert!(method == "HEAD" || !api_error(&answer, 404).is_empty());
        }
    }
}

#[test]
fn a_known_path_with_another_method_is_405_and_says_which_are_allowed() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    let call = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    let count = format!("/v1/Accounts/{A1}/CallCount");
    let cases = [
        (calls_of(A1, ""), "GET, HEAD, POST", vec!["PATCH", "DELETE", "PUT", "PROPFIND", "TRACE"]),
        (call, "GET, HEAD, PUT, POST, DELETE", vec!["PATCH", "PROPFIND"]),
        (count, "GET, HEAD", vec!["POST", "PUT", "DELETE", "PATCH"]),
        ("/v1/hooks/call-status".to_owned(), "POST", vec!["GET", "HEAD", "PUT", "DELETE"]),
        ("/livez".to_owned(), "GET, HEAD", vec!["POST", "DELETE"]),
        ("/readyz".to_owned(), "GET, HEAD", vec!["POST", "DELETE"]),
    ];
    for (path, allowed, methods) in cases {
        for method in methods {
            let answer = rollcall.ask(method, &admin, &path);
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
            if method != "HEAD" {
                assert!(api_error(&answer, 405).contains(allowed), "{method} {path}");
            }
        }
    }
}

#[test]
fn head_is_get_without_the_body() {
    let rollcall = Rollcall::up(&[]);
    rollcall.post_events(&event(1, "busy"));
    let admin = rollcall.admin();
    let call = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    let nobody = format!("/v1/Accounts/{A1}/Calls/{}", sid(2));
    let paths = [
        (calls_of(A1, ""), 200),
        (calls_of(A1, "limit=1"), 200),
        (calls_of(A1, "limit=0"), 400),
        (calls_of("x", ""), 400),
        (call, 200),
        (nobody, 404),
        (format!("/v1/Accounts/{A1}/CallCount"), 200),
        ("/livez".to_owned(), 200),
        ("/readyz".to_owned(), 200),
    ];
    for (path, status) in paths {
        let [head, get] = ["HEAD", "GET"].map(|method| rollcall.ask(method, &admin, &path));
        assert_eq!((head.status, get.status), (status, status), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        // A length that is not that of the body of GET would be a lie (RFC 9110, section 8.6).
        if let Some(length) = head.header("content-length") {
            assert_eq!(length, get.body.len().to_string(), "{path}");
        }
    }
}

#[test]
fn any_origin_may_ask_unless_the_configuration_says_otherwise() {
    let preflight = [
        ("origin", "https://portal.example.com"),
        ("access-control-request-method", "DELETE"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let mut rollcall = Rollcall::up(&[]);
    for path in [calls_of(A1, ""), "/nope".to_owned(), "/v1/hooks/call-status".to_owned()] {
        let answer = rollcall.send("OPTIONS", &path, &preflight, b"").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(["GET", "HEAD", "POST", "PUT", "DELETE"].iter().all(|m| methods.contains(m)));
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("authorization,content-type"));
        assert_eq!(answer.header("vary"), Some("Access-Control-Request-Headers"));
    }
    let bare = rollcall.send("OPTIONS", &calls_of(A1, ""), &[], b"").unwrap();
    assert_eq!((bare.status, bare.header("access-control-allow-headers")), (204, None));
    for (token, query, status) in
        [("", "", 401), (&*rollcall.admin(), "", 200), (&*rollcall.admin(), "limit=0", 400)]
    {
        let headers = [("authorization", &*format!("Bearer {token}")), preflight[0]];
        let headers = if token.is_empty() { &headers[1..] } else { &headers[..] };
        let answer = rollcall.send("GET", &calls_of(A1, query), headers, b"").unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("Link") && exposed.contains("X-Next-Cursor"), "{exposed}");
    }
    for (setting, shown) in [("https://a.example.com", Some("https://a.example.com")), ("", None)] {
        rollcall.stop();
        rollcall.set_args(&["--cors-allow-origin", setting]);
        rollcall.start();
        let answer = list(&rollcall, "");
        assert_eq!(answer.header("access-control-allow-origin"), shown);
    }
}

#[test]
fn a_malformed_sid_is_400_and_the_answer_says_which() {
    let rollcall = Rollcall::up(&[]);
    let admin = rollcall.admin();
    for bad in [
        "xyz",
        "*",
        "%3A1",
        "9351f46a678c43f5b8a6d4eb58d131af",
        "%7B9351f46a-678c-43f5-b8a6-d4eb58d131af%7D",
        "9351f46a-678c-43f5-b8a6-d4eb58d131ag",
        "urn:uuid:9351f46a-678c-43f5-b8a6-d4eb58d131af",
    ] {
        for path in [
            calls_of(bad, ""),
            format!("/v1/Accounts/{bad}/CallCount"),
            format!("/v1/Accounts/{bad}/Calls/{}", sid(1)),
            format!("/v1/Accounts/{bad}/Calls/{bad}"),
        ] {
            let msg = api_error(&rollcall.get(&admin, &path), 400);
            assert!(msg.starts_with("account sid") && msg.contains(bad), "{path}: {msg}");
        }
        for method in ["GET", "DELETE"] {
            let answer = rollcall.ask(method, &admin, &format!("/v1/Accounts/{A1}/Calls/{bad}"));
            let msg = api_error(&answer, 400);
            assert!(msg.starts_with("call sid") && msg.contains(bad), "{bad}: {msg}");
        }
    }
    // Any version and either case will do.
    for good in ["0190b8f0-1234-7abc-8def-0123456789ab", "00000000-0000-0000-0000-000000000000"] {
        assert!(sids(&rollcall.get(&admin, &calls_of(good, ""))).is_empty());
        assert_eq!(rollcall.get(&admin, &format!("/v1/Accounts/{A1}/Calls/{good}")).status, 404);
    }
}

/// Token, account sid, permission, call sid, query, look-up: each case fails at one and at all that
/// come after it.
#[test]
fn a_request_is_looked_at_in_the_order_of_jambonz() {
    let rollcall = Rollcall::up(&[]);
    let own = rollcall.token(&["--account", A1]);
    let nobody = "Bearer nobody-nobody-nobody";
    let own = format!("Bearer {own}");
    let unknown = sid(9);
    let cases = [
        ("GET", nobody, "/v1/Accounts/x/Calls/y".to_owned(), 401, "Unauthorized"),
        ("GET", nobody, "/v1/Accounts/x/Calls?limit=0".to_owned(), 401, "Unauthorized"),
        ("GET", "Bearer", "/v1/Accounts/x/Calls/y".to_owned(), 400, "Authorization"),
        ("GET", &*own, "/v1/Accounts/x/Calls/y".to_owned(), 400, "account sid"),
        ("GET", &*own, "/v1/Accounts/x/Calls?limit=0".to_owned(), 400, "account sid"),
        ("GET", &*own, format!("/v1/Accounts/{A2}/Calls/y"), 403, "insufficient permissions"),
        ("DELETE", &*own, format!("/v1/Accounts/{A2}/Calls/y"), 403, "insufficient permissions"),
        ("GET", &*own, format!("/v1/Accounts/{A2}/Calls?limit=0"), 403, "insufficient permissions"),
        ("GET", &*own, format!("/v1/Accounts/{A1}/Calls/y"), 400, "call sid"),
        ("DELETE", &*own, format!("/v1/Accounts/{A1}/Calls/y"), 400, "call sid"),
        ("GET", &*own, format!("/v1/Accounts/{A1}/Calls?limit=0"), 400, "limit"),
        ("GET", &*own, format!("/v1/Accounts/{A1}/Calls/{unknown}"), 404, "no such call"),
        ("DELETE", &*own, format!("/v1/Accounts/{A1}/Calls/{unknown}"), 404, "no such call"),
    ];
    for (method, authorization, path, status, says) in cases {
        let answer =
            rollcall.send(method, &path, &[("authorization", authorization)], b"").unwrap();
        assert!(api_error(&answer, status).starts_with(says), "{method} {path}: {answer:?}");
    }
}

/// Only templates are named: the answer says nothing of what there is, whether the client is known or not.
#[test]
fn a_near_miss_of_a_path_is_told_what_may_be_meant() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    let calls = "no such path; did you mean /v1/Accounts/{AccountSid}/Calls?";
    let hooks = "no such path; did you mean /v1/hooks/call-status?";
    let (one, unknown) = (sid(1), sid(2));
    for (path, says) in [
        (format!("/v1/Account/{A1}/Calls"), calls),
        (format!("/v1/Account/{A2}/Calls?from=+15550000001"), calls),
        (format!("/accounts/{A1}/calls"), calls),
        (format!("/v1/Accounts/{A1}"), calls),
        (
            format!("/v1/Accounts/{A1}/Cals/{one}"),
            "no such path; did you mean \
            /v1/Accounts/{AccountSid}/Calls/{CallSid}?",
        ),
        (
            format!("/v1/Accounts/{A1}/Cals/{unknown}"),
            "no such path; did you mean \
            /v1/Accounts/{AccountSid}/Calls/{CallSid}?",
        ),
        ("/hooks/call-status".to_owned(), hooks),
        ("/v1/webhooks/call-status".to_owned(), hooks),
        ("/readyzz".to_owned(), "no such path; did you mean /readyz?"),
        (format!("/v1/Accounts/{A1}/Applications"), "no such path"),
        ("/nothing".to_owned(), "no such path"),
    ] {
        for token in [rollcall.admin(), "nobody".to_owned()] {
            assert_eq!(api_error(&rollcall.get(&token, &path), 404), says, "{path}");
        }
    }
}
