//! The way to a webhook, and back.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::super::harness::{A1, A2, Rollcall, print};
use super::api::{ACCOUNT, Api, HOOK, HOOK_SET, KEY, PASSWORD, SP, SP2, app, hook};
use super::{Commands, row};

#[test]
fn it_says_first_what_would_change_and_changes_nothing() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    let dry = place.attach(&api, "account", &["--keep", place.keep().to_str().unwrap()]);
    assert_eq!(dry.code, Some(1), "{dry:?}");
    assert!(row(&dry, "without").contains("  none  "), "{dry:?}");
    assert!(row(&dry, "without").ends_with(&format!("{HOOK_SET}  set")), "{dry:?}");
    let busy = row(&dry, "busy");
    assert!(busy.contains("  https://own.example.com/status?… (with a password)  "), "{dry:?}");
    assert!(busy.contains("  the same  ") && busy.ends_with("  refused"), "{dry:?}");
    for says in [
        "\nrefused: busy (a0000000-0000-4000-8000-000000000002): somebody else uses its webhook, and nothing \
         would pass the events on; --replace replaces it, and --forward writes the targets that pass them \
         on\n",
        "\n3 applications: 1 set, 2 refused\n",
        "\nnothing was changed; --apply does it\n",
    ] {
        assert!(dry.stdout.contains(says), "{says}: {dry:?}");
    }
    assert!(!dry.stdout.contains("shared b") && !dry.stdout.contains("other"), "{dry:?}");
    let replacing = place.attach(&api, "account", &["--replace", "--json"]);
    assert_eq!(replacing.code, Some(0), "{replacing:?}");
    let report: Value = serde_json::from_str(&replacing.stdout).unwrap();
    assert_eq!(report["applied"], false);
    let actions: Vec<_> = report["applications"].as_array().unwrap().iter().collect();
    let actions: Vec<_> = actions.iter().map(|one| (&one["name"], &one["action"])).collect();
    let (busy, shared, without) = (json!("busy"), json!("shared a"), json!("without"));
    let (replace, set) = (json!("replace"), json!("set"));
    assert_eq!(actions, [(&busy, &replace), (&shared, &replace), (&without, &set)]);
    assert_eq!(report["applications"][0]["now"], "https://own.example.com/status?…");
    assert_eq!(report["applications"][0]["then"], HOOK_SET);
    assert_eq!(report["applications"][2]["now"], Value::Null);
    assert_eq!(api.writes(), [""; 0]);
    assert_eq!(api.snapshot(), before);
    assert!(!place.keep().exists(), "nothing is kept of what was not done");
}

#[test]
fn what_was_there_comes_back_byte_for_byte() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    api.with(|state| state.watched = Some(place.keep()));
    let refused = place.apply(&api, "account", &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stdout.contains("\n3 applications: 1 set, 2 refused\n"), "{refused:?}");
    assert_eq!(api.hook_of(1)["url"], HOOK_SET);
    assert_eq!(api.hook_of(1)["method"], "POST");
    assert_eq!(api.hook_of(2)["password"], PASSWORD);
    let all = place.apply(&api, "account", &["--replace"]);
    assert_eq!(all.code, Some(0), "{all:?}");
    assert!(all.stdout.contains("\n3 applications: 2 replaced, 1 already\n"), "{all:?}");
    let says = format!("\nwhat was there is kept in {}\n", place.keep().display());
    assert!(all.stdout.contains(&says), "{all:?}");
    for n in 1..=3 {
        assert_eq!(api.hook_of(n)["url"], HOOK_SET, "{n}");
    }
    // What is replaced is kept before it is, for its owner alone.
    let mode = std::fs::metadata(place.keep()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let seen = api.with(|state| std::mem::take(&mut state.seen));
    assert!(seen.iter().all(|seen| seen.lines().count() > 0), "{seen:?}");
    for n in 2..=3 {
        let last = seen.last().unwrap();
        assert!(seen[2].contains(&app(n)) && last.contains(&app(n)), "{seen:?}");
    }
    let lines = place.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let busy = lines.iter().find(|line| line["application_sid"] == app(2)).unwrap();
    assert_eq!(busy["call_status_hook"]["password"], PASSWORD);
    assert_eq!(busy["call_status_hook"]["webhook_sid"], hook(2));
    assert_eq!(
        busy["call_status_hook"]["url"],
        format!("https://own.example.com/status?key={KEY}")
    );
    // Once more there is nothing to do.
    api.take();
    let again = place.apply(&api, "account", &["--replace"]);
    assert_eq!((again.code, api.writes().len()), (Some(0), 0), "{again:?}");
    assert!(again.stdout.contains("\n3 applications: 3 already\n"), "{again:?}");
    assert_eq!(place.lines(), lines);
    // Back, and first only said.
    let dry = place.detach(&api, "account", &[]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(
        row(&dry, "without").ends_with("  none                              restore"),
        "{dry:?}"
    );
    assert!(row(&dry, "busy").ends_with("https://own.example.com/status?…  restore"), "{dry:?}");
    assert!(
        dry.stdout.ends_with("3 applications: 3 restore\nnothing was changed; --apply does it\n")
    );
    assert_eq!(api.writes(), [""; 0]);
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.stdout.ends_with("\n3 applications: 3 restored\n"), "{back:?}");
    assert_eq!(api.snapshot(), before);
    let again = place.detach(&api, "account", &["--apply"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.stdout.contains("\n3 applications: 3 already\n"), "{again:?}");
}

#[test]
fn only_the_applications_that_are_named_are_touched() {
    let (api, place) = (Api::up(), Commands::new());
    let names = |token: &str, flags: &[&str]| -> Vec<String> {
        let printed = place.attach(&api, token, &[&["--json"], flags].concat());
        let report: Value =
            serde_json::from_str(&printed.stdout).unwrap_or_else(|_| panic!("{printed:?}"));
        let all = report["applications"].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let own = ["busy", "shared a", "without"];
    let provider = ["busy", "shared a", "without", "shared b"];
    assert_eq!(names("account", &[]), own);
    assert_eq!(names("account", &["--account", A1]), own);
    assert_eq!(names("admin", &["--account", A1]), own);
    assert_eq!(names("admin", &["--account", A2, "--account", A1, "--account", A2]), provider);
    // The service provider's own list has those of others.
    assert_eq!(names("provider", &["--service-provider", SP]), provider);
    assert_eq!(names("admin", &["--service-provider", SP]), provider);
    assert_eq!(names("admin", &["--service-provider", SP2]), ["other"]);
    assert_eq!(names("admin", &[]).len(), 6);
    let before = api.snapshot();
    let applied = place.apply(&api, "provider", &["--service-provider", SP, "--replace"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    for n in 1..=4 {
        assert_eq!(api.hook_of(n)["url"], HOOK_SET, "{n}");
    }
    assert_eq!([api.hook_of(5), api.hook_of(6)], [Value::Null, Value::Null]);
    let back = place.detach(&api, "admin", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
}

#[test]
fn a_webhook_that_applications_share_stays_as_it_is_for_the_others() {
    let (api, place) = (Api::up(), Commands::new());
    let shared = api.hook_of(4);
    let call_hook = |api: &Api| api.with(|state| state.applications[2]["call_hook_sid"].clone());
    let call = call_hook(&api);
    let applied = place.apply(&api, "account", &["--replace"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(api.hook_of(3)["url"], HOOK_SET);
    assert_eq!((api.hook_of(4), call_hook(&api)), (shared, call));
}

#[test]
fn what_an_older_release_refuses_is_done_in_its_way() {
    let (api, place) = (Api::up(), Commands::new());
    api.with(|state| state.older = true);
    let before = api.snapshot();
    let applied = place.apply(&api, "account", &["--replace"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    for n in 1..=3 {
        assert_eq!(api.hook_of(n)["url"], HOOK_SET, "{n}");
    }
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
    // A row that is gone from jambonz is made again.
    for older in [true, false] {
        place.apply(&api, "account", &["--replace"]);
        api.with(|state| {
            state.older = older;
            state.applications.retain(|one| one["name"] != "shared b");
            state.point(5, None);
            state.webhooks.retain(|sid, _| *sid != hook(2));
        });
        let back = place.detach(&api, "account", &["--apply"]);
        assert_eq!(back.code, Some(0), "{back:?}");
        let again = api.hook_of(2);
        assert_eq!((&again["username"], &again["password"]), (&json!("me"), &json!(PASSWORD)));
        assert_eq!(again["url"], format!("https://own.example.com/status?key={KEY}"));
        assert_ne!(again["webhook_sid"], hook(2));
        // For the next turn.
        api.with(|state| {
            let row = again.as_object().unwrap().clone();
            state.webhooks.insert(hook(2), row);
            state.webhooks[&hook(2)].clone()
        });
        api.with(|state| {
            state.webhooks.get_mut(&hook(2)).unwrap()["webhook_sid"] = hook(2).into();
            state.point(2, Some(&hook(2)));
        });
        std::fs::remove_file(place.keep()).unwrap();
    }
}

#[test]
fn the_events_of_an_attached_application_are_taken() {
    let (api, place) = (Api::up(), Commands::new());
    let rollcall = Rollcall::up(&[]);
    let user = ["account", "set", A1, "--hook-user", "jambonz", "--hook-password", "pass:word"];
    rollcall.ok(&user);
    let hook = rollcall.url("/v1/hooks/call-status");
    let keep = place.keep();
    let (url, keep) = (api.url(), keep.to_str().unwrap());
    let token = place.path("account");
    let words = [
        "jambonz",
        "attach",
        "--api",
        &url,
        "--token-file",
        token.to_str().unwrap(),
        "--hook",
        &hook,
        "--account",
        A1,
        "--hook-user",
        "jambonz",
        "--hook-password",
        "-",
        "--keep",
        keep,
        "--replace",
        "--apply",
    ];
    let applied = rollcall.run_with(&words, b"pass:word\n");
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(
        !applied.stdout.contains("warning") && !applied.stderr.contains("warning"),
        "{applied:?}"
    );
    assert!(!applied.stdout.contains("pass:word"), "{applied:?}");
    // As jambonz does: the fragment is not sent.
    let set = api.hook_of(2);
    let (place, retries) = set["url"].as_str().unwrap().split_once('#').unwrap();
    assert_eq!((place, retries), (hook.as_str(), "rc=5&rp=ct,5xx"));
    let credentials =
        format!("{}:{}", set["username"].as_str().unwrap(), set["password"].as_str().unwrap());
    let basic = data_encoding::BASE64.encode(credentials.as_bytes());
    let path = place.strip_prefix(&rollcall.url("")).unwrap();
    let event = super::super::harness::event(1, "completed");
    let headers = [
        ("authorization", format!("Basic {basic}")),
        ("content-type", "application/json".to_owned()),
    ];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = rollcall.send("POST", path, &headers, event.as_bytes());
    assert_eq!(answer.unwrap().status, 204);
}

#[test]
fn a_webhook_of_ours_is_brought_up_to_date_and_keeps_its_credentials() {
    let (api, place) = (Api::up(), Commands::new());
    // As a person sets it, without the recipe.
    api.with(|state| {
        let row = json!({"url": HOOK, "username": "jambonz", "password": PASSWORD});
        let sid = state.make(row.as_object().unwrap().clone());
        state.point(2, Some(&sid));
    });
    let before = api.snapshot();
    let done = place.apply(&api, "account", &[]);
    assert!(row(&done, "busy").ends_with("  set"), "{done:?}");
    let set = api.hook_of(2);
    assert_eq!(set["url"], HOOK_SET);
    assert_eq!((&set["username"], &set["password"]), (&json!("jambonz"), &json!(PASSWORD)));
    let other = ["--account", A1, "--hook-user", "pbx", "--hook-password", "other"];
    place.apply(&api, "account", &other);
    assert_eq!(
        (&api.hook_of(2)["username"], &api.hook_of(2)["password"]),
        (&json!("pbx"), &json!("other"))
    );
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
}

#[test]
fn the_token_comes_from_a_file_a_credential_or_standard_input() {
    let (api, place) = (Api::up(), Commands::new());
    let named = place.path("account");
    for flags in
        [&["--token", "-"][..], &["--token-file", "credential:account"], &["--token", ACCOUNT]]
    {
        let mut command = std::process::Command::new(super::super::harness::ROLLCALL);
        command.args(["jambonz", "attach", "--api", &api.url(), "--hook", HOOK]).args(flags);
        command.env("CREDENTIALS_DIRECTORY", named.parent().unwrap());
        let input = format!("{ACCOUNT}\r\n");
        let printed = super::without_secrets(print(&mut command, input.as_bytes()));
        assert!(printed.stdout.contains("3 applications: "), "{flags:?}: {printed:?}");
    }
}

#[test]
fn the_commands_of_the_documents_do_what_they_say() {
    let (api, place) = (Api::up(), Commands::new());
    let rollcall = Rollcall::up(&[]);
    let before = api.snapshot();
    let page = include_str!("../../../docs/connect.md");
    let (_, section) = page.split_once("\n## Set the webhooks by one command\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let block = section.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let token = place.path("account");
    let keep = place.keep();
    let mut codes = Vec::new();
    let text = block.replace("\\\n", " ");
    for line in text.lines().filter(|line| line.starts_with("rollcall ")) {
        let line = line.split(" #").next().unwrap();
        let given = line
            .replace("https://jambonz.example.com/api", &api.url())
            .replace("/etc/rollcall/jambonz.key", token.to_str().unwrap())
            .replace("/etc/rollcall/jambonz-webhooks.json", keep.to_str().unwrap());
        let words: Vec<&str> = given.split_whitespace().skip(1).collect();
        let printed = rollcall.run_with(&words, b"wh_secret_x\n");
        assert!(!printed.stderr.contains("warning"), "{line}: {printed:?}");
        codes.push(printed.code);
        if line.contains(" attach ") && line.contains("--apply") {
            assert_eq!(
                api.hook_of(2)["url"].as_str().unwrap().split('#').nth(1),
                Some("rc=5&rp=ct,5xx")
            );
        }
    }
    assert_eq!(codes.len(), 5, "{block}");
    assert_eq!(codes, [Some(0), Some(1), Some(0), Some(0), Some(0)], "{block}");
    assert_eq!(api.snapshot(), before);
    // The short way of the README is that of the page.
    let readme = include_str!("../../../README.md");
    assert!(readme.contains("rollcall jambonz attach"), "the README has no short way");
}
