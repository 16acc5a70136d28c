//! A call's `service_url` is no licence to call anywhere.

use super::super::harness::Rollcall;
use super::server::FeatureServer;
use super::{api_error, hang_up, register};

#[test]
fn nothing_is_called_that_is_not_configured() {
    let rollcall = Rollcall::up(&[]);
    let server = FeatureServer::up();
    let port = server.address.port();
    let urls = [
        server.url("/s202"),
        format!("http://localhost:{port}/s202"),
        format!("http://[::ffff:127.0.0.1]:{port}/s202"),
        format!("http://2130706433:{port}/s202"),
    ];
    for (n, url) in (0..).zip(&urls) {
        register(&rollcall, n, url);
        let msg = api_error(&hang_up(&rollcall, n), 502);
        assert!(msg.contains(url.as_str()) && msg.contains("feature_servers.urls"), "{msg}");
    }
    assert_eq!(server.take(), []);
}

#[test]
fn every_address_of_a_host_must_be_in_a_network() {
    let server = FeatureServer::up();
    let port = server.address.port();
    for (networks, url, status) in [
        ("127.0.0.1/32", server.url("/s202"), 202),
        ("127.0.0.0/8", format!("http://[::ffff:127.0.0.1]:{port}/s202"), 202),
        ("127.0.0.0/8,::1/128", format!("http://localhost:{port}/s202"), 202),
        ("::/0", format!("http://[::ffff:127.0.0.1]:{port}/s202"), 502),
        ("10.0.0.0/8", format!("http://localhost:{port}/s202"), 502),
        ("10.0.0.0/8", server.url("/s202"), 502),
        ("127.0.0.0/8", "http://[::1]:1".to_owned(), 502),
    ] {
        let rollcall = Rollcall::up(&["--feature-servers-networks", networks]);
        register(&rollcall, 1, &url);
        let answer = hang_up(&rollcall, 1);
        assert_eq!(answer.status, status, "{networks} {url}: {answer:?}");
        if status == 502 {
            let msg = api_error(&answer, 502);
            assert!(msg.contains("feature_servers.networks"), "{msg}");
        }
        assert_eq!(server.take().len(), usize::from(status == 202), "{networks} {url}");
    }
}

#[test]
fn a_url_with_more_than_a_place_in_it_is_refused() {
    let (allowed, evil) = (FeatureServer::up(), FeatureServer::up());
    let rollcall = Rollcall::up(&["--feature-servers-urls", &allowed.url("")]);
    let (good, bad) = (allowed.address, evil.address);
    let urls = [
        format!("http://{good}@{bad}/"),
        format!("http://x@{good}/"),
        format!("http://{bad}/#@{good}"),
        format!("http://{good}/?x"),
        format!("http://{good}/a/../.."),
        format!("http://{good}/%2e%2e"),
        format!("http://{good}\\\\@{bad}"),
        format!("http:{good}"),
        format!("https://{good}"),
        "http://127.0.0.1".to_owned(),
        bad.to_string(),
    ];
    for (n, url) in (0..).zip(&urls) {
        register(&rollcall, n, url);
        let msg = api_error(&hang_up(&rollcall, n), 502);
        assert!(msg.contains("feature_servers.urls"), "{url}: {msg}");
    }
    register(&rollcall, 99, &allowed.url("/s202/"));
    assert_eq!(hang_up(&rollcall, 99).status, 202);
    assert_eq!((allowed.take().len(), evil.take()), (1, vec![]));
}

#[test]
fn no_redirect_is_followed() {
    let server = FeatureServer::up();
    let rollcall = Rollcall::up(&["--feature-servers-urls", &server.url("")]);
    register(&rollcall, 1, &server.url("/s302"));
    assert!(api_error(&hang_up(&rollcall, 1), 502).contains("302"));
    assert_eq!(server.take().len(), 1);
}
