//! Sessions: what they open, from where, and when they end.

use serde_json::{Value, json};

use super::super::api::raw::Raw;
use super::super::api::{api_error, calls_of, sids};
use super::super::harness::{A1, A2, Rollcall, event, sid, until};
use super::{Browser, SAME_ORIGIN, ask_to_sign_in, cookie_of};

/// A server on which each of two accounts has a call.
fn two_accounts() -> Rollcall {
    let rollcall = Rollcall::up(&[]);
    rollcall.ok(&["account", "set", A1, "--name", "one"]);
    let events = [event(1, "in-progress"), event(2, "ringing").replace(A1, A2)].join("\n");
    assert_eq!(rollcall.post_events(&events).status, 204);
    rollcall
}

#[test]
fn a_session_opens_what_its_token_does_and_says_what_that_is() {
    let rollcall = two_accounts();
    let admin = Browser::sign_in(&rollcall, &rollcall.admin());
    let session = &admin.session;
    assert_eq!((&session["scope"], &session["role"]), (&json!("admin"), &json!("full")));
    assert_eq!(session["may"], json!(["read", "delete", "export", "operate"]));
    assert_eq!(session["name"], "first");
    let accounts = json!([{"account_sid": A1, "name": "one"}, {"account_sid": A2, "name": null}]);
    assert_eq!(session["accounts"], accounts);
    let mut all = sids(&admin.get("/v1/Calls"));
    all.sort();
    assert_eq!(all, [sid(1), sid(2)]);
    let read = rollcall.token(&["--account", A2, "--role", "read", "--name", "auditor"]);
    let other = Browser::sign_in(&rollcall, &read);
    assert_eq!(other.session["may"], json!(["read", "export"]));
    assert_eq!(other.session["account_sid"], A2);
    assert_eq!(other.session["accounts"], json!([{"account_sid": A2, "name": null}]));
    // Side by side each sees its own.
    assert_eq!(sids(&other.get(&calls_of(A2, ""))), [sid(2)]);
    assert_eq!(other.get(&calls_of(A1, "")).status, 403);
    assert_eq!(other.get("/v1/Calls").status, 403);
    let path = format!("/v1/Accounts/{A2}/Calls/{}", sid(2));
    assert_eq!(other.ask("DELETE", &path, "").status, 403);
    assert_eq!(admin.ask("DELETE", &path, "").status, 204);
    assert_eq!(other.get("/console/api/session").json()["token_id"], other.session["token_id"]);
}

#[test]
fn a_cookie_is_for_the_browser_alone_and_is_not_the_token() {
    let rollcall = two_accounts();
    let admin = rollcall.admin();
    let answer = ask_to_sign_in(&rollcall, &json!({ "token": admin }));
    let set = answer.header("set-cookie").unwrap();
    assert!(set.starts_with("__Host-rollcall="), "{set}");
    for part in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Strict", "; Max-Age=43200"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    assert!(!set.contains("Domain") && !set.contains(&admin));
    assert!(!answer.body.contains(&admin) && !rollcall.log().contains(&admin));
    let value = cookie_of(&answer);
    let value = value.split_once('=').unwrap().1;
    assert!(!rollcall.log().contains(value));
    // A cookie is no token.
    assert_eq!(rollcall.get(value, "/v1/Calls").status, 401);
}

#[test]
fn a_cookie_counts_for_pages_of_this_server_alone() {
    let rollcall = two_accounts();
    let browser = Browser::sign_in(&rollcall, &rollcall.admin());
    let (cookie, origin) = (("cookie", &*browser.cookie), rollcall.url(""));
    let own = ("origin", &*origin);
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(1));
    let ask = |method: &str, headers: &[(&str, &str)]| {
        let headers = [headers, &[cookie]].concat();
        rollcall.send(method, &path, &headers, b"").unwrap()
    };
    let site = |site| ("sec-fetch-site", site);
    assert_eq!(ask("GET", &[SAME_ORIGIN]).status, 200);
    for headers in [
        vec![],
        vec![own],
        vec![site("cross-site")],
        vec![site("same-site")],
        vec![site("none")],
        vec![site("same-origin"), site("cross-site")],
        vec![site("same-origin, cross-site")],
    ] {
        assert_eq!(ask("GET", &headers).status, 401, "{headers:?}");
    }
    let port = rollcall.port;
    let others =
        ["https://evil.example", "null", "http://localhost", &format!("https://localhost:{port}1")];
    for headers in [
        vec![SAME_ORIGIN],
        vec![own],
        vec![SAME_ORIGIN, ("origin", others[0])],
        vec![SAME_ORIGIN, ("origin", others[1])],
        vec![SAME_ORIGIN, ("origin", others[2])],
        vec![SAME_ORIGIN, ("origin", others[3])],
        vec![SAME_ORIGIN, own, ("origin", others[0])],
        vec![site("cross-site"), own],
        vec![SAME_ORIGIN, ("origin", others[0]), ("x-forwarded-host", "evil.example")],
    ] {
        assert_eq!(ask("DELETE", &headers).status, 401, "{headers:?}");
    }
    // A header field goes before a cookie, also a wrong one.
    let wrong = ("authorization", "Bearer rc_wrong");
    assert_eq!(ask("GET", &[SAME_ORIGIN, wrong]).status, 401);
    assert_eq!(ask("DELETE", &[SAME_ORIGIN, own]).status, 204);
    // Nor is a cookie looked at elsewhere.
    let scrape = rollcall.send("GET", "/metrics", &[SAME_ORIGIN, cookie], b"").unwrap();
    assert_eq!(scrape.status, 401);
}

#[test]
fn a_cookie_is_found_beside_those_of_other_servers_of_the_host() {
    let rollcall = two_accounts();
    let browser = Browser::sign_in(&rollcall, &rollcall.admin());
    let cookie = browser.cookie.as_bytes();
    // Cookies are for all ports of a host, and what another server keeps in one need not be ASCII.
    for others in [
        &[b"name=M\xc3\xbcller; ", cookie].concat()[..],
        &[b"name=M\xfcller; ", cookie].concat(),
        &[cookie, b"; name=\xff"].concat(),
        &[cookie, b"\r\nCookie: name=\xff"].concat(),
        &[b"=; a; rollcall=x; ", cookie, b"; __Host-rollcall=later"].concat(),
    ] {
        let mut raw = Raw::connect(&rollcall);
        let head = b"GET /console/api/session HTTP/1.1\r\nHost: a\r\nSec-Fetch-Site: same-origin\r\nCookie: ";
        raw.send([head, others, b"\r\n\r\n"].concat());
        let begin = raw.begins();
        assert!(begin.contains(" 200"), "{} {begin}", String::from_utf8_lossy(others));
    }
}

#[test]
fn no_answer_with_a_cookie_may_be_read_by_another_origin() {
    let rollcall = two_accounts();
    let browser = Browser::sign_in(&rollcall, &rollcall.admin());
    let cors = |answer: &super::super::harness::Answer| {
        let mut names = answer.headers.keys().map(|name| name.as_str().to_owned());
        names.any(|name| name.starts_with("access-control-"))
    };
    assert!(cors(&rollcall.get(&rollcall.admin(), "/v1/Calls")));
    assert!(!cors(&browser.get("/v1/Calls")));
    let cookie = ("cookie", &*browser.cookie);
    for (method, path) in
        [("GET", "/v1/Calls"), ("OPTIONS", "/v1/Calls"), ("OPTIONS", "/console/api/session")]
    {
        let headers =
            [cookie, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
        let answer = rollcall.send(method, path, &headers, b"").unwrap();
        assert!(!cors(&answer), "{method} {path}: {answer:?}");
    }
}

#[test]
fn signing_in_is_for_pages_of_this_server_and_takes_a_right_token() {
    let rollcall = two_accounts();
    let origin = rollcall.url("");
    let body = json!({ "token": rollcall.admin() }).to_string();
    let ask = |headers: &[(&str, &str)], body: &str| {
        rollcall.send("POST", "/console/api/session", headers, body.as_bytes()).unwrap()
    };
    // An old browser names its origin alone.
    assert_eq!(ask(&[("origin", &origin)], &body).status, 200);
    let evil = ("origin", "https://evil.example");
    for headers in [
        vec![],
        vec![evil],
        vec![SAME_ORIGIN, evil],
        vec![("sec-fetch-site", "cross-site"), ("origin", &*origin)],
        vec![("sec-fetch-site", "same-site"), ("origin", &*origin)],
    ] {
        let answer = ask(&headers, &body);
        assert!(api_error(&answer, 403).contains("another origin"), "{headers:?}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    for (body, status) in [
        (json!({"token": "rc_wrong"}), 401),
        (json!({"code": "wrong"}), 401),
        (json!({"token": ""}), 401),
        (json!({}), 400),
        (json!({"token": "a", "code": "b"}), 400),
        (json!({"token": 7}), 400),
        (json!({"tokens": "a"}), 400),
        (json!({"token": "x".repeat(4000)}), 400),
        (json!({"token": "x".repeat(40_000)}), 413),
        (Value::Null, 400),
    ] {
        let answer = ask_to_sign_in(&rollcall, &body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let said = api_error(&answer, status);
        assert!(!said.contains("xxx"), "{said}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    for role in ["ingest", "metrics"] {
        let token = rollcall.token(&["--admin", "--role", role]);
        let answer = ask_to_sign_in(&rollcall, &json!({ "token": token }));
        assert!(api_error(&answer, 403).contains(role), "{answer:?}");
    }
}

#[test]
fn guessing_is_slowed_as_anywhere_else() {
    let rollcall = Rollcall::up(&[]);
    let refused = until("guesses are refused", || {
        let agents: Vec<_> = (0..20).map(|_| rollcall.new_agent()).collect();
        std::thread::scope(|scope| {
            let asked: Vec<_> = agents
                .iter()
                .map(|agent| {
                    scope.spawn(|| {
                        let (url, origin) =
                            (rollcall.url("/console/api/session"), rollcall.url(""));
                        let headers = [SAME_ORIGIN, ("origin", &*origin)];
                        let body = b"{\"token\":\"rc_guess\"}";
                        super::super::harness::send(agent, "POST", &url, &headers, body).unwrap()
                    })
                })
                .collect();
            let answers = asked.into_iter().map(|asked| asked.join().unwrap());
            answers.filter(|answer| answer.status == 429).last()
        })
    });
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // A right one is never kept waiting.
    Browser::sign_in(&rollcall, &rollcall.admin());
}

#[test]
fn a_session_ends_with_its_token_and_when_it_is_signed_out_and_outlives_a_restart() {
    let mut rollcall = two_accounts();
    let token = rollcall.token(&["--account", A1, "--name", "mine"]);
    let (mine, signed_out, stays) = {
        let [mine, out, stays] = [&token, &token, &rollcall.admin()].map(|token| {
            let browser = Browser::sign_in(&rollcall, token);
            assert_eq!(browser.get(&calls_of(A1, "")).status, 200);
            browser.cookie
        });
        (mine, out, stays)
    };
    let open = |rollcall: &Rollcall, cookie: &str| {
        let headers = [SAME_ORIGIN, ("cookie", cookie)];
        rollcall.send("GET", &calls_of(A1, ""), &headers, b"").unwrap().status
    };
    {
        let browser =
            Browser { rollcall: &rollcall, cookie: signed_out.clone(), session: Value::Null };
        let answer = browser.ask("DELETE", "/console/api/session", "");
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"), "{answer:?}");
        // The cookie is dead on the server, too, and the other session of the token goes on.
        assert_eq!(api_error(&browser.get("/console/api/session"), 401), "Unauthorized");
        assert_eq!(browser.ask("DELETE", "/console/api/session", "").status, 401);
    }
    assert_eq!((open(&rollcall, &signed_out), open(&rollcall, &mine)), (401, 200));
    rollcall.kill();
    rollcall.start();
    assert_eq!((open(&rollcall, &signed_out), open(&rollcall, &mine)), (401, 200));
    assert_eq!(open(&rollcall, &stays), 200);
    rollcall.ok(&["token", "revoke", "mine"]);
    assert_eq!((open(&rollcall, &mine), open(&rollcall, &stays)), (401, 200));
    // A token of the same value is another one.
    rollcall.ok(&["token", "create", "--account", A1, "--value", &token]);
    assert_eq!(rollcall.get(&token, &calls_of(A1, "")).status, 200);
    assert_eq!(open(&rollcall, &mine), 401);
    // What a store has not sealed opens nothing in it.
    let other = Rollcall::up(&[]);
    Browser::sign_in(&other, &other.admin());
    assert_eq!(open(&other, &stays), 401);
}

#[test]
fn a_new_session_has_an_id_of_its_own_and_ends_the_one_before() {
    let rollcall = two_accounts();
    let before = Browser::sign_in(&rollcall, &rollcall.admin());
    let origin = rollcall.url("");
    let headers = [SAME_ORIGIN, ("origin", &*origin), ("cookie", &*before.cookie)];
    let body = json!({ "token": rollcall.admin() }).to_string();
    let answer = rollcall.send("POST", "/console/api/session", &headers, body.as_bytes()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(cookie_of(&answer), before.cookie);
    assert_eq!(before.get("/v1/Calls").status, 401);
    // A cookie that somebody else has made up is not taken over.
    let planted = [SAME_ORIGIN, ("origin", &*origin), ("cookie", "__Host-rollcall=planted")];
    let answer = rollcall.send("POST", "/console/api/session", &planted, body.as_bytes()).unwrap();
    assert!(!cookie_of(&answer).contains("planted"));
}

#[test]
fn a_session_ends_with_its_time_or_with_that_of_its_token() {
    let rollcall = Rollcall::up(&["--console-lifetime", "2s"]);
    let browser = Browser::sign_in(&rollcall, &rollcall.admin());
    let time = |name: &str| browser.session[name].as_str().unwrap().parse::<jiff::Timestamp>();
    let lasts = time("expires_at").unwrap().duration_since(time("time").unwrap());
    assert!((0..=2).contains(&lasts.as_secs()), "{lasts:?}");
    // However much it is used.
    until("the session ends", || (browser.get("/v1/Calls").status == 401).then_some(()));
    let rollcall = Rollcall::up(&[]);
    let token = rollcall.token(&["--admin", "--expires", "2s"]);
    let short = Browser::sign_in(&rollcall, &token);
    until("the token ends", || (short.get("/v1/Calls").status == 401).then_some(()));
}

#[test]
fn only_an_unused_session_is_idle() {
    let rollcall = Rollcall::up(&["--console-idle", "2s"]);
    let unused = Browser::sign_in(&rollcall, &rollcall.admin());
    let mut used = Browser::sign_in(&rollcall, &rollcall.admin());
    // As a browser does: it takes each cookie that comes.
    until("the first cookie of the other session ends", || {
        let answer = used.get("/v1/Calls");
        assert_eq!(answer.status, 200, "{answer:?}");
        if answer.header("set-cookie").is_some() {
            used.cookie = cookie_of(&answer);
        }
        (unused.get("/v1/Calls?limit=1").status == 401).then_some(())
    });
    assert_eq!(used.get("/v1/Calls").status, 200);
}

#[test]
fn a_proxy_that_ends_tls_is_believed_where_it_is_trusted() {
    let plain = ["--http-listen", "127.0.0.1:0"];
    let trusted = Rollcall::up(&[&plain[..], &["--http-trusted-proxies", "127.0.0.1"]].concat());
    let other = Rollcall::up(&plain);
    let ask = |rollcall: &Rollcall, method: &str, headers: &[(&str, &str)], body: &[u8]| {
        let url = format!("http://127.0.0.1:{}/console/api/session", rollcall.plain_port);
        super::super::harness::send(&rollcall.new_agent(), method, &url, headers, body).unwrap()
    };
    let body = json!({ "token": trusted.admin() }).to_string();
    let origin = ("origin", "https://calls.example.com");
    let (https, host) = (("x-forwarded-proto", "https"), ("x-forwarded-host", "calls.example.com"));
    let through = [SAME_ORIGIN, origin, https, host];
    let answer = ask(&trusted, "POST", &through, body.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let cookie = cookie_of(&answer);
    let with_cookie = [&through[..], &[("cookie", cookie.as_str())]].concat();
    assert_eq!(ask(&trusted, "GET", &with_cookie, b"").status, 200);
    // What the proxy says counts: it was plain HTTP, or another host.
    let plain = [SAME_ORIGIN, origin, ("x-forwarded-proto", "http"), host];
    assert_eq!(ask(&trusted, "POST", &plain, body.as_bytes()).status, 403);
    let made_up = [SAME_ORIGIN, origin, ("x-forwarded-proto", "https, http"), host];
    assert_eq!(ask(&trusted, "POST", &made_up, body.as_bytes()).status, 403);
    let elsewhere = [SAME_ORIGIN, origin, https, ("x-forwarded-host", "evil.example")];
    assert_eq!(ask(&trusted, "POST", &elsewhere, body.as_bytes()).status, 403);
    // Anyone may say so, and a stranger is not believed.
    let body = json!({ "token": other.admin() }).to_string();
    let answer = ask(&other, "POST", &through, body.as_bytes());
    assert!(api_error(&answer, 403).contains("HTTPS"), "{answer:?}");
}
