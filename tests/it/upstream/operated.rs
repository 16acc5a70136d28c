//! What an operator sees of it.

use super::super::harness::{A1, A2, Rollcall, print, until};
use super::jambonz::{Manners, free_port};
use super::{KEY1, NOBODYS_KEY, asking, calls, figures, list, unavailable, usual};

#[test]
fn status_and_metrics_say_how_it_goes() {
    let jambonz = usual();
    let rollcall = asking(&jambonz, &[]);
    // At the start, without any request.
    until("jambonz was seen", || (!figures(&rollcall)["answered_at"].is_null()).then_some(()));
    for (token, account, status) in [
        (KEY1, A1, 200),
        (KEY1, A1, 200),
        (KEY1, A2, 403),
        (NOBODYS_KEY, A1, 401),
        (NOBODYS_KEY, A1, 401),
    ] {
        assert_eq!(list(&rollcall, token, account), status);
    }
    let said = figures(&rollcall);
    assert_eq!(said["url"], jambonz.url().as_str());
    let of = |kind: &str| said["questions"][kind].as_u64().unwrap();
    assert_eq!([of("accepted"), of("forbidden"), of("unknown"), of("proof")], [1, 1, 1, 3]);
    assert_eq!([of("limited"), of("failed")], [0, 0]);
    assert_eq!(said["cached"], 2);
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    for line in [
        "rollcall_upstream_available 1.0",
        "rollcall_upstream_questions_total{answer=\"accepted\"} 1",
        "rollcall_upstream_questions_total{answer=\"proof\"} 3",
        "rollcall_upstream_cached_total 2",
        "rollcall_upstream_remembered 3.0",
        "rollcall_upstream_unavailable_total{reason=\"budget\"} 0",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    let text = rollcall.status();
    let line = text.lines().find(|line| line.starts_with("jambonz's tokens")).unwrap();
    assert!(line.contains("6 questions (1 accepted, 1 forbidden, 3 proof, 1 unknown)"), "{line}");
    assert!(line.contains("; 2 requests without one"), "{line}");
    jambonz.turns(Manners::Cuts);
    unavailable(&rollcall.get("other", &calls(A1)));
    let text = rollcall.status();
    let line = text.lines().find(|line| line.starts_with("jambonz's tokens")).unwrap();
    assert!(line.contains(": no answer since ") && line.contains("answered 503: 1 failed"));
    assert!(text.contains("problem          jambonz's API cannot be asked about tokens: "));
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    assert!(metrics.contains("rollcall_upstream_available 0.0"), "{metrics}");
    assert!(rollcall.log().contains("jambonz's API cannot be asked about tokens"));
}

#[test]
fn doctor_tries_it() {
    let jambonz = usual();
    let rollcall = Rollcall::down();
    let doctor = |url: &str| {
        let mut command = std::process::Command::new(super::super::harness::ROLLCALL);
        command.arg("doctor").arg("--data-dir").arg(rollcall.data());
        command.env("ROLLCALL_UPSTREAM_AUTH", "true").env("ROLLCALL_UPSTREAM_API_URL", url);
        let printed = print(&mut command, b"");
        let object = format!("tokens of jambonz, asked for at {url}");
        let line = printed.stdout.lines().find(|line| line.contains(&object));
        line.unwrap_or_else(|| panic!("{printed:?}")).to_owned()
    };
    let line = doctor(&jambonz.url());
    assert!(line.starts_with("ok ") && line.contains("it answers, without TLS"), "{line}");
    assert!(jambonz.questions().iter().all(|one| one.token.len() == 36), "it is made up");
    let gone = format!("http://127.0.0.1:{}", free_port());
    for (url, says) in
        [(format!("{}/wrong", jambonz.url()), "prove nothing"), (gone, "cannot connect to")]
    {
        if url.ends_with("wrong") {
            let page = "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNot Found";
            jambonz.turns(Manners::Sends(page.to_owned()));
        }
        let line = doctor(&url);
        assert!(line.starts_with("error ") && line.contains(says), "{line}");
    }
}
