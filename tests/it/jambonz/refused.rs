//! Command lines that make no sense, and tokens that may not do it.

use std::process::Command;

use super::super::harness::{A1, A2, ROLLCALL, print};
use super::api::{Api, HOOK, SP};
use super::{Commands, row};

#[test]
fn what_is_wrong_is_named_with_its_value_and_what_is_right() {
    let (api, place) = (Api::up(), Commands::new());
    let (url, token) = (api.url(), place.path("account"));
    let token = token.to_str().unwrap();
    std::fs::write(place.path("empty"), "\n").unwrap();
    std::fs::write(place.path("strange"), "a\tb\u{7}\n").unwrap();
    let (empty, strange) = (place.path("empty"), place.path("strange"));
    let (empty, strange) = (empty.to_str().unwrap(), strange.to_str().unwrap());
    let basis = ["--api", &url, "--token-file", token];
    let hook = ["--hook", HOOK];
    let cases: &[(&[&[&str]], &str)] = &[
        (&[&basis], "--hook <URL>"),
        (&[&["--api", &url], &hook], "<--token-file <FILE>|--token <TOKEN>>"),
        (
            &[&["--token-file", token], &hook],
            "where is jambonz's REST API? give --api URL, or set upstream.api_url",
        ),
        (
            &[&["--api", "jambonz", "--token-file", token], &hook],
            "--api \"jambonz\" is not a base URL; write http or https",
        ),
        (
            &[&["--api", "https://u:hunter2@jambonz", "--token-file", token], &hook],
            "--api \"https://…@jambonz\" is not",
        ),
        (&[&basis, &["--token", "x"], &hook], "cannot be used with"),
        (
            &[&basis, &["--hook", "https://calls.example.com"]],
            "--hook: \"https://calls.example.com\" is not where rollcall takes webhooks; write",
        ),
        (
            &[&basis, &["--hook", "https://u:hunter2@h/v1/hooks/call-status"]],
            "--hook: there are credentials in \"https://…@h/v1/hooks/call-status\"",
        ),
        (
            &[&basis, &["--hook", "https://v1/hooks/call-status"]],
            "--hook: \"https://v1/hooks/call-status\" is not where rollcall takes webhooks; write",
        ),
        (
            &[&basis, &["--hook", "https://[2001:db8::1]:8443/v1/hooks/call-status"]],
            "--hook: jambonz's API takes no webhook at the host of \"https://[2001:db8::1]:8443/v1/",
        ),
        (
            &[&basis, &["--hook", "https://h/v1/hooks/call-status#a b"]],
            "--hook: \"#a b\" is no recipe for retries",
        ),
        (
            &[&basis, &hook, &["--account", "acme"]],
            "invalid value 'acme' for '--account <SID>': not a UUID",
        ),
        (&[&basis, &hook, &["--account", A1, "--service-provider", SP]], "cannot be used with"),
        (&[&basis, &hook, &["--apply"]], "--keep <FILE>"),
        (&[&basis, &hook, &["--hook-user", "u"]], "--hook-password <PASSWORD>"),
        (
            &[&basis, &hook, &["--hook-user", "u", "--hook-password", "p"]],
            "--hook-user: the user and the password are those of one account",
        ),
        (
            &[
                &basis,
                &hook,
                &["--account", A1, "--account", A2, "--hook-user", "u", "--hook-password", "p"],
            ],
            "--hook-user: the user",
        ),
        (
            &[
                &["--api", &url, "--token", "-"],
                &hook,
                &["--account", A1, "--hook-user", "u", "--hook-password", "-"],
            ],
            "--token - and --hook-password - cannot both be read from standard input",
        ),
        (
            &[&basis, &hook, &["--account", A1, "--hook-user", "a:b", "--hook-password", "p"]],
            "--hook-user \"a:b\": a user name has no colon",
        ),
        (
            &[&basis, &hook, &["--account", A1, "--hook-user", "u", "--hook-password", ""]],
            "--hook-password: expected 1 to 255 bytes",
        ),
        (
            &[&["--api", &url, "--token", "-"], &hook],
            "--token -: expected a line on standard input",
        ),
        (
            &[&["--api", &url, "--token-file", empty], &hook],
            "its first line is no text; expected an API key of jambonz there",
        ),
        (
            &[&["--api", &url, "--token-file", strange], &hook],
            "the token has characters that no header may have",
        ),
        (&[&["--api", &url, "--token-file", "credential:x"], &hook], "--token-file: "),
    ];
    for (flags, why) in cases {
        let mut command = Command::new(ROLLCALL);
        command.args(["jambonz", "attach"]).args(flags.concat());
        command.env_remove("CREDENTIALS_DIRECTORY");
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(2), "{flags:?}: {printed:?}");
        assert!(printed.stderr.contains(why), "{flags:?}: {printed:?}");
        assert!(!printed.stderr.contains("hunter2"), "{printed:?}");
    }
    let nowhere = print(&mut place.command("attach", &url, "none", &hook), b"");
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains("cannot read --token-file "), "{nowhere:?}");
    let unkept = place.detach(&api, "account", &[]);
    assert_eq!(unkept.code, Some(2), "{unkept:?}");
    assert!(
        unkept.stderr.contains("nothing is kept there; name the file that was given to"),
        "{unkept:?}"
    );
    assert_eq!(api.take(), [""; 0]);
}

#[test]
fn a_token_that_may_not_do_it_is_told_so() {
    let (api, place) = (Api::up(), Commands::new());
    std::fs::write(place.path("unknown"), "nobody\n").unwrap();
    let before = api.snapshot();
    for (token, flags, why) in [
        (
            "unknown",
            &[][..],
            "jambonz answered 401 to GET /v1/Applications; it does not know the token, or the token has expired; nothing was changed\n",
        ),
        (
            "account",
            &["--account", A2],
            "jambonz answered 403 to GET /v1/Accounts/b1a7f3a2-0c55-4f6e-9c1d-7a9e2f4d8e10/Applications: insufficient permissions; the token may not do that",
        ),
        (
            "admin",
            &["--account", "00000000-0000-4000-8000-000000000000"],
            "jambonz shows no application of account 00000000-0000-4000-8000-000000000000; is it the right sid",
        ),
        (
            "admin",
            &["--service-provider", A1],
            "jambonz shows no application of service provider 9351f46a",
        ),
    ] {
        let printed = place.apply(&api, token, flags);
        assert_eq!(printed.code, Some(1), "{printed:?}");
        assert!(printed.stderr.contains(why), "{why}: {printed:?}");
    }
    let view = place.apply(&api, "view", &[]);
    assert_eq!(view.code, Some(1), "{view:?}");
    assert!(row(&view, "without").ends_with("  failed"), "{view:?}");
    assert!(
        view.stdout.contains(
            "answered 403 to POST /v1/Webhooks: User has view-only access; the token may not"
        ),
        "{view:?}"
    );
    assert_eq!(api.snapshot(), before);
    let none = "00000000-0000-4000-8000-000000000000";
    let some = place.attach(&api, "admin", &["--account", A1, "--account", none]);
    let says =
        format!("warning: jambonz shows no application of account {none}; is it the right sid?");
    assert!(some.stderr.contains(&says), "{some:?}");
    let json = place.attach(&api, "unknown", &["--json"]);
    assert!(json.stderr.starts_with("{\"error\":\"jambonz answered 401"), "{json:?}");
}
