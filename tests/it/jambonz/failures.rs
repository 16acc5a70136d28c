//! What one application, a cut connection or an impatient API costs.

use std::process::Stdio;

use serde_json::Value;

use super::super::harness::{A1, Rollcall, until};
use super::api::{Answering, Api, Fault, HOOK, HOOK_SET, app};
use super::{Commands, row};

#[test]
fn one_application_that_fails_costs_no_other() {
    let (api, place) = (Api::up(), Commands::new());
    api.with(|state| state.add(8));
    let before = api.snapshot();
    let faults = [
        (1000, Fault::Status(403), "jambonz answered 403 to PUT /v1/Applications/"),
        (1001, Fault::Status(422), "a fault of 422"),
        (1002, Fault::Status(500), "a fault of 500"),
        (1003, Fault::Cut, "the connection to http://127.0.0.1:"),
        (1004, Fault::Ignored, "jambonz took the change, and has another webhook all the same"),
        (1005, Fault::Status(503), "jambonz answered 503"),
    ];
    for (n, fault, _) in faults {
        api.fault(n, fault);
    }
    // Its answer is lost, and it is done.
    api.fault(1006, Fault::CutAfter);
    let failed = place.apply(&api, "account", &["--replace"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.stdout.contains("\n11 applications: 3 set, 2 replaced, 6 failed\n"),
        "{failed:?}"
    );
    for (n, _, why) in faults {
        let sid = app(n);
        let line =
            failed.stdout.lines().find(|line| line.starts_with("failed: ") && line.contains(&sid));
        assert!(line.is_some_and(|line| line.contains(why)), "{n}: {failed:?}");
        assert_eq!(api.hook_of(n), Value::Null, "{n}");
        assert!(row(&failed, &format!("more {:03}", n - 1000)).ends_with("  failed"), "{failed:?}");
    }
    for n in [1, 2, 3, 1006, 1007] {
        assert_eq!(api.hook_of(n)["url"], HOOK_SET, "{n}");
    }
    // The same command does the rest.
    api.with(|state| state.faults.clear());
    let again = place.apply(&api, "account", &["--replace"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("\n11 applications: 6 set, 5 already\n"), "{again:?}");
    assert_eq!(place.lines().len(), 11);
    // So it is on the way back.
    api.fault(2, Fault::Status(500));
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!(back.code, Some(1), "{back:?}");
    assert!(back.stdout.contains("\n11 applications: 10 restored, 1 failed\n"), "{back:?}");
    api.with(|state| state.faults.clear());
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
}

#[test]
fn an_api_that_is_gone_is_not_tried_for_ever() {
    let (api, place) = (Api::up(), Commands::new());
    api.with(|state| {
        state.add(8);
        state.answered = Some(1);
    });
    let failed = place.apply(&api, "account", &[]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let says = "\n11 applications: 2 refused, 3 failed, 6 not tried\n";
    assert!(failed.stdout.contains(says), "{failed:?}");
    let says = "the ones before have failed for the same reason";
    assert_eq!(failed.stdout.matches(says).count(), 6, "{failed:?}");
    // Each by itself is no reason to leave the others.
    api.with(|state| state.answered = None);
    for n in 1000..1008 {
        api.fault(n, Fault::Cut);
    }
    let failed = place.apply(&api, "account", &[]);
    let says = "\n11 applications: 1 set, 2 refused, 8 failed\n";
    assert!(failed.stdout.contains(says), "{failed:?}");
}

#[test]
fn a_command_that_ends_half_way_leaves_what_takes_it_back() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    api.fault(3, Fault::Hang);
    let keep = place.keep();
    let flags = ["--hook", HOOK, "--replace", "--apply", "--keep", keep.to_str().unwrap()];
    let mut command = place.command("attach", &api.url(), "account", &flags);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let put = format!("PUT /v1/Applications/{}", app(3));
    until("the second one is asked for", || {
        api.with(|state| state.requests.contains(&put)).then_some(())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(api.hook_of(2)["url"], HOOK_SET);
    assert_ne!(api.snapshot(), before);
    assert_eq!(place.lines().len(), 3);
    api.with(|state| state.faults.clear());
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
    assert!(back.stdout.contains("\n3 applications: 1 restored, 2 already\n"), "{back:?}");
}

#[test]
fn a_limit_of_requests_is_waited_for() {
    let (api, place) = (Api::up(), Commands::new());
    api.with(|state| state.answering = Answering::TooMany(2, 1));
    let done = place.apply(&api, "account", &["--replace"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let says = "jambonz answers 429, too many requests; going on in 1s\n";
    assert_eq!(done.stderr.matches(says).count(), 2, "{done:?}");
    assert_eq!(api.hook_of(2)["url"], HOOK_SET);
    // Not for ever, and not for an hour.
    for (times, seconds) in [(9, 1), (1, 3600)] {
        api.with(|state| state.answering = Answering::TooMany(times, seconds));
        let given_up = place.apply(&api, "account", &["--replace"]);
        assert_eq!(given_up.code, Some(1), "{given_up:?}");
        let says = "jambonz allows no more requests for 1";
        assert!(given_up.stderr.contains(says), "{given_up:?}");
        assert!(given_up.stderr.ends_with("; nothing was changed\n"), "{given_up:?}");
    }
    // All clients share what jambonz allows: some of it is left to them.
    api.with(|state| {
        state.answering = Answering::Well;
        state.left = Some(152);
    });
    let gentle = place.detach(&api, "account", &["--apply"]);
    assert_eq!(gentle.code, Some(0), "{gentle:?}");
    let says = "a quarter of jambonz's requests is left to others; going on in 1s\n";
    assert!(gentle.stderr.contains(says), "{gentle:?}");
}

#[test]
fn the_token_goes_nowhere_else() {
    let (api, other, place) = (Api::up(), Api::up(), Commands::new());
    let elsewhere = format!("{}/v1/Applications?key=secret", other.url());
    api.with(|state| state.answering = Answering::Redirect(elsewhere));
    let led = place.attach(&api, "account", &[]);
    assert_eq!(led.code, Some(1), "{led:?}");
    assert!(
        led.stderr
            .contains("jambonz answered 302 to GET /v1/Applications; the token is not sent on"),
        "{led:?}"
    );
    assert!(led.stderr.contains("/v1/Applications?…)"), "{led:?}");
    assert_eq!(other.take(), [""; 0]);
}

#[test]
fn answers_have_bounds_and_must_be_what_is_expected() {
    let (api, place) = (Api::up(), Commands::new());
    api.with(|state| state.answering = Answering::Bytes(70 << 20));
    let large = place.attach(&api, "account", &[]);
    assert_eq!(large.code, Some(1), "{large:?}");
    assert!(large.stderr.contains("has more than 67108864 bytes"), "{large:?}");
    api.with(|state| state.answering = Answering::Page);
    let page = place.attach(&api, "account", &[]);
    assert_eq!(page.code, Some(1), "{page:?}");
    assert!(page.stderr.contains("it is not JSON"), "{page:?}");
    assert!(page.stderr.contains("expected --api to be the base of its REST API"), "{page:?}");
    api.with(|state| {
        state.answering = Answering::Well;
        state.applications[0].insert("application_sid".to_owned(), "../Accounts".into());
    });
    let strange = place.attach(&api, "account", &[]);
    assert!(strange.stderr.contains("an application has no application_sid"), "{strange:?}");
}

#[test]
fn over_tls_only_who_is_trusted_gets_the_token() {
    // Another rollcall stands for the API: it has a certificate, and no applications.
    let (front, place) = (Rollcall::up(&[]), Commands::new());
    let (url, ca) = (front.url(""), front.ca());
    let flags = ["--hook", HOOK, "--account", A1];
    let attach =
        |flags: &[&str]| super::print(&mut place.command("attach", &url, "account", flags), b"");
    let trusted = attach(&[&flags[..], &["--ca", ca.to_str().unwrap()]].concat());
    assert!(trusted.stderr.contains("jambonz answered 404 to GET /v1/Accounts/"), "{trusted:?}");
    let unknown = attach(&flags);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("cannot connect to https://"), "{unknown:?}");
    let none = attach(&[&flags[..], &["--ca", "/nowhere/ca.pem"]].concat());
    assert!(
        none.stderr.contains("cannot read certificates from --ca /nowhere/ca.pem: "),
        "{none:?}"
    );
}
