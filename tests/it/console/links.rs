//! `rollcall open`: links that sign in once.

use serde_json::{Value, json};

use super::super::api::api_error;
use super::super::harness::{Rollcall, print};
use super::{ask_to_sign_in, cookie_of};

fn link(rollcall: &Rollcall) -> Value {
    serde_json::from_str(&rollcall.ok(&["open", "--json"])).unwrap()
}

fn code(link: &Value) -> String {
    link["url"].as_str().unwrap().split_once("#code=").unwrap().1.to_owned()
}

#[test]
fn a_link_signs_in_once_as_an_admin_by_a_token_that_can_be_revoked() {
    let rollcall = Rollcall::up(&[]);
    let link = link(&rollcall);
    let url = link["url"].as_str().unwrap();
    let begin = rollcall.url("/console/sign-in#code=");
    assert!(url.starts_with(&begin) && link["seconds"] == 60, "{link}");
    let sha256 = link["certificate_sha256"].as_str().unwrap();
    assert!(rollcall.ok(&["cert", "show", "--json"]).contains(sha256), "{link}");
    assert_eq!(link["authority"].as_str().unwrap(), rollcall.ca().to_str().unwrap());
    // Nothing was made before it is used.
    assert!(!rollcall.ok(&["token", "list"]).contains("console of"));
    let code = code(&link);
    let answer = ask_to_sign_in(&rollcall, &json!({ "code": code }));
    assert_eq!(answer.status, 200, "{answer:?}");
    let session = answer.json();
    assert_eq!((&session["scope"], &session["role"]), (&json!("admin"), &json!("full")));
    assert!(session["name"].as_str().unwrap().starts_with("console of "), "{session}");
    let time = |name: &str| session[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let lasts = time("expires_at").duration_since(time("time")).as_secs();
    assert!((12 * 3600 - 60..=12 * 3600).contains(&lasts), "{lasts}");
    let again = ask_to_sign_in(&rollcall, &json!({ "code": code }));
    assert_eq!(api_error(&again, 401), "Unauthorized");
    let browser = super::Browser { rollcall: &rollcall, cookie: cookie_of(&answer), session };
    assert_eq!(browser.get("/console/api/operation").status, 200);
    // It has no token that could be typed: another admin's shows who is there.
    let new = |own: &str| json!({"scope": "admin", "role": "read", "own_token": own}).to_string();
    assert_eq!(browser.ask("POST", "/console/api/tokens", &new("x")).status, 403);
    let made = browser.ask("POST", "/console/api/tokens", &new(&rollcall.admin()));
    assert_eq!(made.status, 201, "{made:?}");
    assert!(!rollcall.log().contains(&code));
    rollcall.ok(&["token", "revoke", browser.session["token_id"].as_str().unwrap()]);
    assert_eq!(browser.get("/v1/Calls").status, 401);
}

#[test]
fn a_link_is_for_the_server_that_runs() {
    let mut rollcall = Rollcall::up(&["--console-enabled=false"]);
    let printed = rollcall.run(&["open"]);
    assert_eq!(printed.code, Some(1));
    assert!(printed.stderr.contains("console.enabled"), "{printed:?}");
    rollcall.stop();
    let printed = rollcall.run(&["open"]);
    assert!(printed.stderr.contains("no server is running"), "{printed:?}");
    rollcall.set_args(&["--tls-names", "calls.example.com"]);
    rollcall.start();
    let old = code(&link(&rollcall));
    let url = "--url=https://calls.example.com/";
    let printed = rollcall.run(&["open", url]);
    assert!(printed.stdout.starts_with("https://calls.example.com/console/sign-in#code="));
    assert!(printed.stderr.contains("cert show --ca") && printed.stderr.contains("once"));
    let wrong = rollcall.run(&["open", "--url", "http://calls.example.com"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(2), ""), "{wrong:?}");
    // The next process knows nothing of it.
    rollcall.kill();
    rollcall.start();
    assert_eq!(ask_to_sign_in(&rollcall, &json!({ "code": old })).status, 401);
}

#[test]
fn the_browser_of_a_desktop_is_opened_and_never_over_ssh() {
    use std::os::unix::fs::PermissionsExt as _;
    let rollcall = Rollcall::up(&[]);
    let dir = tempfile::tempdir().unwrap();
    let opener = dir.path().join("xdg-open");
    let opened = dir.path().join("opened");
    let script = format!("#!/bin/sh\necho \"$1\" > {}.new\nmv {0}.new {0}\n", opened.display());
    std::fs::write(&opener, script).unwrap();
    std::fs::set_permissions(&opener, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let open = |env: &[(&str, &str)], tail: &str| {
        // script(1) gives it a terminal.
        let line = format!(
            "{} open --data-dir {}{tail}",
            super::super::harness::ROLLCALL,
            rollcall.data().display()
        );
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &line, "/dev/null"]);
        for name in ["SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(name);
        }
        command.env("PATH", &path).envs(env.iter().copied());
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(0), "{printed:?}");
        printed.stdout
    };
    if !super::super::harness::have("script") {
        return;
    }
    for (env, tail) in [
        (&[][..], ""),
        (&[("DISPLAY", ":0"), ("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22")], ""),
        (&[("DISPLAY", ":0")], " --print"),
        (&[("DISPLAY", ":0")], " --json"),
    ] {
        assert!(open(env, tail).contains("#code="));
    }
    assert!(!opened.exists());
    let shown = open(&[("WAYLAND_DISPLAY", "wayland-0")], "");
    let url = super::super::harness::until("the browser is opened", || {
        std::fs::read_to_string(&opened).ok()
    });
    assert!(shown.contains(url.trim()), "{url}: {shown}");
}
