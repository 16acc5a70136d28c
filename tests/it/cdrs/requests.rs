//! Who may write, where, and in what form.

use std::io::Write as _;

use serde_json::Value;

use super::super::harness::{A1, A2, sid};
use super::writer::{PASSWORD, USER, basic, call, calls, request, taking, write, write_to};

fn line(account: &str, sid: &str, time: u64) -> String {
    format!(
        "cdrs,account_sid={account},answered=true,direction=inbound,trunk=t call_sid=\"{sid}\",duration=1,\
         from=\"+1\",sip_status=200,terminated_at={} {time}",
        time / 1_000_000 + 3000
    )
}

/// Nanoseconds, in the past of every test.
const TIME: u64 = 1_795_849_200_123_000_000;

#[test]
fn without_the_right_user_and_password_nothing_is_taken() {
    let rollcall = taking(&[]);
    let body = line(A1, &sid(1), TIME);
    let length = body.len().to_string();
    let ask = |target: &str, authorization: Option<&str>| {
        let mut headers = vec![("Host", "x"), ("Content-Length", length.as_str())];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        request(rollcall.cdr_port, "POST", target, &headers, body.as_bytes())
    };
    let right = basic(USER, PASSWORD);
    for (target, authorization, expected) in [
        ("/write?db=cdrs", None, 401),
        ("/write?db=cdrs", Some(basic(USER, "x")), 401),
        ("/write?db=cdrs", Some(basic("x", PASSWORD)), 401),
        ("/write?db=cdrs", Some("Basic x".to_owned()), 401),
        ("/write?db=cdrs", Some(format!("Bearer {}", rollcall.admin())), 401),
        ("/write?db=cdrs&u=rc-user&p=x", Some(right.clone()), 401),
        ("/query?q=show+databases&u=rc-user&p=", None, 401),
        ("/write?db=cdrs&u=rc-user&p=rc-pass", None, 204),
        ("/write?db=cdrs", Some(right), 204),
    ] {
        let answer = ask(target, authorization.as_deref());
        assert_eq!(answer.status, expected, "{target} {authorization:?}: {answer:?}");
        if expected == 401 {
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"InfluxDB\""));
            assert!(answer.json()["error"].is_string());
            assert_eq!(calls(&rollcall, A1).len(), 0);
        }
    }
    assert_eq!(calls(&rollcall, A1).len(), 1);
    // Guessing takes time, and at last is refused.
    let guess = || ask("/write?db=cdrs", Some(&basic(USER, "guess"))).status;
    let refused = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..30).map(|_| scope.spawn(guess)).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).any(|status| status == 429)
    });
    assert!(refused, "guesses go on");
    assert_eq!(write(&rollcall, &body).status, 204, "the right one does not wait");
    let log = rollcall.log();
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn what_is_not_of_cdrs_is_dropped_and_a_health_check_needs_no_password() {
    let rollcall = taking(&["--cdrs-accounts", A1]);
    let ping = request(rollcall.cdr_port, "GET", "/ping", &[("Host", "x")], b"");
    assert_eq!((ping.status, ping.header("x-influxdb-build")), (204, Some("OSS")));
    for (target, body) in [
        ("/write?db=alerts&precision=n", "alerts,alert_type=x message=\"y\"".to_owned()),
        ("/write?db=cdrs", "call_margin,service=voice cost=1".to_owned()),
        ("/write?db=cdrs", line(A2, &sid(1), TIME)),
        ("/write?db=cdrs", String::new()),
        ("/write?db=cdrs", "# nothing\n\n".to_owned()),
    ] {
        let answer = write_to(&rollcall, target, body.as_bytes(), &[]);
        assert_eq!((answer.status, answer.body.as_str()), (204, ""), "{target}: {answer:?}");
    }
    assert_eq!(calls(&rollcall, A2).len(), 0);
    for (method, target, status, error) in [
        ("POST", "/write", 400, "database is required"),
        ("POST", "/write?db=cdrs&precision=d", 400, "invalid precision \"d\""),
        ("GET", "/write?db=cdrs", 405, "method not allowed"),
        ("POST", "/nowhere", 404, "no such path"),
        ("GET", "/query", 400, "missing required parameter \"q\""),
    ] {
        let basic = basic(USER, PASSWORD);
        let headers = [("Host", "x"), ("Authorization", basic.as_str()), ("Content-Length", "0")];
        let answer = request(rollcall.cdr_port, method, target, &headers, b"");
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        assert!(answer.json()["error"].as_str().unwrap().starts_with(error), "{answer:?}");
    }
    // A query may come as a form.
    let form = "q=CREATE%20DATABASE%20%22cdrs%22%3Bshow+databases";
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = write_to(&rollcall, "/query", form.as_bytes(), &kind);
    assert_eq!(answer.json()["results"].as_array().unwrap().len(), 2, "{answer:?}");
}

#[test]
fn bodies_may_be_compressed_and_are_bounded_unpacked_too() {
    let rollcall = taking(&["--limits-body-bytes", "64KiB"]);
    let zipped = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = [("Content-Encoding", "gzip")];
    let target = "/write?db=cdrs&precision=ms&consistency=&rp=autogen";
    let text = line(A1, &sid(1), TIME).replace(&TIME.to_string(), &(TIME / 1_000_000).to_string());
    let answer = write_to(&rollcall, target, &zipped(text.as_bytes()), &gzip);
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(call(&rollcall, A1, &sid(1)).unwrap()["attempted_at"], "2026-11-28T07:00:00.123Z");
    let bomb = zipped(&vec![b'\n'; 100 * 1024]);
    assert!(bomb.len() < 1024);
    assert_eq!(write_to(&rollcall, target, &bomb, &gzip).status, 413);
    assert_eq!(write_to(&rollcall, target, &vec![b'\n'; 100 * 1024], &[]).status, 413);
    assert_eq!(write_to(&rollcall, target, b"x", &gzip).status, 400);
    assert_eq!(write_to(&rollcall, target, b"x", &[("Content-Encoding", "br")]).status, 415);
    // Nobody sends them again: that is said.
    let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["cdrs"]["unread"], 4, "{figures}");
    let status = rollcall.status();
    let expected = "; 4 requests not read, the last: Content-Encoding: expected gzip, or none";
    assert!(status.contains(expected), "{status}");
    let doctor = rollcall.run(&["doctor"]).stdout;
    assert!(doctor.contains("4 requests with CDRs not read, the last at"), "{doctor}");
    let log = rollcall.log();
    assert!(log.contains("a request with CDRs was not read, and is not sent again"), "{log}");
}

#[test]
fn a_line_that_cannot_be_read_costs_no_other_and_is_told() {
    let rollcall = taking(&[]);
    let body = [
        line(A1, &sid(1), TIME),
        "cdrs,account_sid=x from=\"unbalanced".to_owned(),
        "cdrs,account_sid=nonsense,direction=inbound call_sid=\"x\" 1".to_owned(),
        line("\"; drop", &sid(2), TIME),
        line(A1, &sid(3), TIME).replace("direction=inbound", "direction=sideways"),
        format!("cdrs,account_sid={A1},direction=inbound from=\"+15551234567\" {TIME}"),
        format!(
            "cdrs,account_sid={A1},direction=inbound sip_callid=\"{}\" {TIME}",
            "x".repeat(600)
        ),
        line(A1, &sid(4), TIME),
        // Its call sid is enough.
        line(A1, &sid(5), TIME)
            .replace("duration=1", &format!("sip_callid=\"{}\"", "x".repeat(600))),
        "cdrs,account_sid=x from=\"unbalanced".to_owned(),
        line(A1, &sid(6), TIME),
        // What is too large, or too many, is left out.
        line(A1, &sid(7), TIME)
            .replace(",direction", &format!(",host={},direction", "x".repeat(20_000))),
        line(A1, &sid(8), TIME)
            .replace("duration=1", &format!("duration=1,{}", vec!["x=1"; 600].join(","))),
    ]
    .join("\n");
    let answer = write(&rollcall, &format!("\u{feff}{body}"));
    assert_eq!(answer.status, 400, "{answer:?}");
    let error = answer.json()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("account_sid") && error.ends_with("(and 6 more) dropped=7"), "{error}");
    let mut sids: Vec<Value> =
        calls(&rollcall, A1).iter().map(|call| call["call_sid"].clone()).collect();
    sids.sort_by_key(ToString::to_string);
    assert_eq!(sids, [1, 4, 5, 6, 7, 8].map(|n| Value::from(sid(n))));
    let cut = call(&rollcall, A1, &sid(7)).unwrap();
    assert!(cut["dropped"].as_array().unwrap().contains(&"host".into()), "{cut}");
    let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
    assert_eq!(figures["cdrs"]["lines"]["refused"], 7, "{figures}");
    assert_eq!(figures["cdrs"]["lines"]["taken"], 6, "{figures}");
    let status = rollcall.status();
    assert!(status.contains("7 lines refused"), "{status}");
    let log = rollcall.log();
    assert!(log.contains("a line with a CDR was refused"), "{log}");
    assert!(!log.contains("15551234567"), "{log}");
}
