//! The running server: health, signals, certificates, the plain listener.

use std::path::Path;

use super::super::harness::{A1, Rollcall, event, sid, until};
use super::raw::Raw;
use super::{api_error, calls_of, list, sids};

#[test]
fn it_says_that_it_lives_and_is_ready() {
    let rollcall = Rollcall::up(&[]);
    let wrong = rollcall.send("GET", "/readyz?for=lists", &[], b"").unwrap();
    assert_eq!(api_error(&wrong, 400), "for \"lists\": expected events, or nothing");
    for path in ["/livez", "/readyz", "/readyz?for=events", "/readyz?for=&probe=1"] {
        let answer = rollcall.send("GET", path, &[], b"").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"status\":\"ok\"}"), "{path}");
        // A probe brings no token, and a wrong one does not matter.
        let wrong = [("authorization", "Bearer nobody")];
        assert_eq!(rollcall.send("GET", path, &wrong, b"").unwrap().status, 200);
    }
}

#[test]
fn a_stop_answers_the_running_request_first() {
    let mut rollcall = Rollcall::up(&[]);
    let mut idle = Raw::connect(&rollcall);
    let mut running = Raw::connect(&rollcall);
    let body = event(1, "in-progress");
    running.send(format!(
        "POST /v1/hooks/call-status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        rollcall.admin(),
        body.len()
    ));
    // Now the request is known to run.
    assert_eq!(running.reply().status, 100);
    running.send(&body[..10]);
    rollcall.signal("TERM");
    until("the listener is closed", || {
        std::net::TcpStream::connect(("127.0.0.1", rollcall.port)).err()
    });
    assert!(idle.rest().is_empty());
    running.send(&body[10..]);
    assert_eq!(running.reply().status, 204);
    assert!(running.rest().is_empty());
    assert_eq!(rollcall.wait(), Some(0));
    rollcall.start();
    assert_eq!(sids(&list(&rollcall, "")), [sid(1)]);
}

#[test]
fn a_stop_waits_no_longer_than_the_drain() {
    let mut rollcall = Rollcall::up(&["--limits-drain", "200ms"]);
    let mut stuck = Raw::connect(&rollcall);
    stuck.send(format!(
        "POST /v1/hooks/call-status HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\
         Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        rollcall.admin()
    ));
    assert_eq!(stuck.reply().status, 100);
    let begun = std::time::Instant::now();
    assert_eq!(rollcall.stop(), Some(0));
    assert!(begun.elapsed() < std::time::Duration::from_secs(15), "the default drain is 20 s");
    assert!(stuck.rest().is_empty());
}

/// Writes a new certificate for localhost and its key.
fn write_pair(certificate: &Path, key: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
}

#[test]
fn a_hangup_takes_a_new_certificate_and_keeps_the_old_where_the_new_is_wrong() {
    let mut rollcall = Rollcall::down();
    let path = |name: &str| rollcall.dir.path().join(name);
    let (certificate, key, trusted) = (path("cert.pem"), path("key.pem"), path("trusted.pem"));
    let other_key = path("other-key.pem");
    write_pair(&certificate, &key);
    std::fs::copy(&certificate, &trusted).unwrap();
    rollcall.trust(&trusted);
    rollcall.set_args(&[
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    rollcall.start();
    let mut old_connection = Raw::connect(&rollcall);
    let first = old_connection.certificate();
    assert_eq!(list(&rollcall, "").status, 200);

    write_pair(&certificate, &key);
    let both = [&trusted, &certificate].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&trusted, both.concat()).unwrap();
    rollcall.signal("HUP");
    let second = until("the new certificate is shown", || {
        let shown = Raw::connect(&rollcall).certificate();
        (shown != first).then_some(shown)
    });
    // Who is connected stays so.
    old_connection.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(old_connection.reply().status, 200);

    // A certificate whose key is another: nothing changes.
    write_pair(&certificate, &other_key);
    rollcall.signal("HUP");
    until("it says so", || rollcall.log().contains("the certificate stays as it is").then_some(()));
    assert_eq!(Raw::connect(&rollcall).certificate(), second);
    // Nor with a file that is gone.
    std::fs::remove_file(&key).unwrap();
    rollcall.signal("HUP");
    until("it says so again", || {
        (rollcall.log().matches("the certificate stays as it is").count() == 2).then_some(())
    });
    assert_eq!(Raw::connect(&rollcall).certificate(), second);
    assert_eq!(rollcall.stop(), Some(0));
    // It would not start like this.
    let failed = rollcall.start_fails();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("key.pem"), "{failed:?}");
}

#[test]
fn plain_http_is_served_on_loopback_alone() {
    let mut rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0"]);
    let client = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let ask = |rollcall: &Rollcall, token: &str| {
        let url = format!("http://127.0.0.1:{}{}", rollcall.plain_port, calls_of(A1, ""));
        let bearer = format!("Bearer {token}");
        super::super::harness::send(&client, "GET", &url, &[("authorization", &bearer)], b"")
    };
    assert_eq!(rollcall.post_events(&event(1, "busy")).status, 204);
    assert_eq!(sids(&ask(&rollcall, &rollcall.admin()).unwrap()), [sid(1)]);
    assert_eq!(api_error(&ask(&rollcall, "nobody-nobody-nobody").unwrap(), 401), "Unauthorized");
    rollcall.stop();
    for remote in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        rollcall.set_args(&["--http-listen", remote]);
        let refused = rollcall.start_fails();
        assert_ne!(refused.code, Some(0), "{remote}: {refused:?}");
        assert!(refused.stderr.contains("http.allow_remote"), "{remote}: {refused:?}");
    }
    rollcall.set_args(&["--http-listen", "0.0.0.0:0", "--http-allow-remote"]);
    rollcall.start();
    assert_eq!(sids(&ask(&rollcall, &rollcall.admin()).unwrap()), [sid(1)]);
}
