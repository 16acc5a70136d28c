//! The file with what was there.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::super::harness::{A1, print};
use super::api::{ACCOUNT, Api, Fault, HOOK, HOOK_SET, PASSWORD, app, hook};
use super::{Commands, row};

#[test]
fn it_is_added_to_and_what_was_there_first_counts() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    place.apply(&api, "account", &["--replace"]);
    let first = std::fs::read_to_string(place.keep()).unwrap();
    // The server moves: its webhook is still ours, and is changed without --replace.
    let keep = place.keep();
    let moved = [
        "--hook",
        "https://new.example.com/v1/hooks/call-status#rc=3",
        "--apply",
        "--keep",
        keep.to_str().unwrap(),
    ];
    let moved = print(&mut place.command("attach", &api.url(), "account", &moved), b"");
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert_eq!(api.hook_of(2)["url"], "https://new.example.com/v1/hooks/call-status#rc=3");
    let second = std::fs::read_to_string(place.keep()).unwrap();
    assert!(second.starts_with(&first) && second.len() > first.len(), "{second}");
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before.clone()), "{back:?}");
    // Somebody sets another one, which is replaced next: then that counts.
    let theirs = api.with(|state| {
        let row = serde_json::json!({"url": "https://theirs.example.com/x", "password": "p"});
        let sid = state.make(row.as_object().unwrap().clone());
        state.point(2, Some(&sid));
        sid
    });
    let between = api.snapshot();
    place.apply(&api, "account", &["--replace"]);
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), between), "{back:?}");
    assert_eq!(api.hook_of(2)["webhook_sid"], theirs);
}

#[test]
fn only_what_is_still_ours_is_put_back() {
    let (api, place) = (Api::up(), Commands::new());
    place.apply(&api, "provider", &["--replace", "--service-provider", super::api::SP]);
    api.with(|state| {
        let row = serde_json::json!({"url": "https://theirs.example.com/x?secret"});
        let sid = state.make(row.as_object().unwrap().clone());
        state.point(1, Some(&sid));
        state.point(3, None);
        state.applications.retain(|one| one["name"] != "shared b");
    });
    let back = place.detach(&api, "admin", &["--apply"]);
    assert_eq!(back.code, Some(0), "{back:?}");
    assert!(back.stdout.contains("\n4 applications: 1 restored, 2 left, 1 gone\n"), "{back:?}");
    let says =
        format!("\nleft: without ({}): its webhook has been changed since, and stays\n", app(1));
    assert!(back.stdout.contains(&says), "{back:?}");
    let gone = row(&back, "shared b");
    assert!(gone.ends_with("  gone") && !gone.contains("the same"), "{back:?}");
    assert_eq!(api.hook_of(1)["url"], "https://theirs.example.com/x?secret");
    assert_eq!(api.hook_of(3), Value::Null);
    assert_eq!(api.hook_of(2)["username"], "me");
    // Another token may see it.
    let narrow = place.detach(&api, "account", &["--apply"]);
    assert_eq!(narrow.code, Some(1), "{narrow:?}");
    assert!(row(&narrow, "shared b").ends_with("  not seen"), "{narrow:?}");
    let says =
        format!("\nnot seen: shared b ({}): jambonz answered 403 to GET /v1/Accounts/", app(4));
    assert!(narrow.stdout.contains(&says), "{narrow:?}");
    // A token that sees none of them is a mistake.
    api.with(|state| state.applications.clear());
    let none = place.detach(&api, "admin", &["--apply"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(none.stderr.contains("the token sees none of 4 applications of "), "{none:?}");
}

#[test]
fn what_changes_meanwhile_is_not_replaced() {
    let (api, place) = (Api::up(), Commands::new());
    api.with(|state| state.meanwhile = Some(2));
    let attached = place.apply(&api, "account", &["--replace"]);
    assert_eq!(attached.code, Some(1), "{attached:?}");
    assert!(
        attached.stdout.contains("\n3 applications: 1 set, 1 replaced, 1 failed\n"),
        "{attached:?}"
    );
    let says = ": its webhook has changed meanwhile; give the command again\n";
    assert!(attached.stdout.contains(says), "{attached:?}");
    let by_hand = api.hook_of(2);
    assert_eq!(by_hand["url"], "https://pbx.example.com/hello");
    // What was kept of it says nothing of what it has had since.
    let back = place.detach(&api, "account", &[]);
    assert!(row(&back, "busy").ends_with("  left"), "{back:?}");
    place.apply(&api, "account", &["--replace"]);
    assert_eq!(api.hook_of(2)["url"], HOOK_SET);
    api.with(|state| state.meanwhile = Some(3));
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!(back.code, Some(1), "{back:?}");
    assert!(back.stdout.contains("\n3 applications: 2 restored, 1 failed\n"), "{back:?}");
    assert_eq!((api.hook_of(2), api.hook_of(3)), (by_hand.clone(), by_hand));
}

#[test]
fn a_change_at_the_same_time_is_not_written_over() {
    let (api, place) = (Api::up(), Commands::new());
    api.fault(2, Fault::Undone);
    // This token could do it in another way, too.
    let flags = ["--replace", "--service-provider", super::api::SP];
    let attached = place.apply(&api, "provider", &flags);
    assert!(row(&attached, "busy").ends_with("  failed"), "{attached:?}");
    assert_eq!(api.hook_of(2)["webhook_sid"], hook(1), "{attached:?}");
    let put = format!("PUT /v1/Applications/{}", app(2));
    assert_eq!(api.writes().iter().filter(|request| **request == put).count(), 1, "{attached:?}");
}

#[test]
fn a_row_that_has_been_changed_since_comes_back_as_it_is_now() {
    let (api, place) = (Api::up(), Commands::new());
    place.apply(&api, "account", &["--replace"]);
    // An application that shares the row is changed in the portal.
    let rows = api.with(|state| {
        let row = state.webhooks.get_mut(&hook(3)).unwrap();
        row.insert("url".to_owned(), "https://moved.example.com/shared".into());
        state.webhooks.len()
    });
    for says in ["3 restored", "3 already"] {
        let back = place.detach(&api, "account", &["--apply"]);
        assert_eq!(back.code, Some(0), "{back:?}");
        assert!(back.stdout.contains(&format!("\n3 applications: {says}\n")), "{back:?}");
        assert_eq!(api.hook_of(3), api.hook_of(4));
        assert_eq!(api.hook_of(3)["url"], "https://moved.example.com/shared");
    }
    assert_eq!(api.with(|state| state.webhooks.len()), rows);
}

#[test]
fn a_password_that_is_not_shown_is_not_set() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    api.with(|state| state.masks = true);
    place.apply(&api, "account", &["--replace"]);
    // The row still has it.
    let back = place.detach(&api, "account", &["--apply"]);
    api.with(|state| state.masks = false);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
    place.apply(&api, "account", &["--replace"]);
    let kept = std::fs::read_to_string(place.keep()).unwrap();
    std::fs::write(place.keep(), kept.replace(PASSWORD, "huntXXXXXX")).unwrap();
    api.with(|state| state.webhooks.retain(|sid, _| *sid != hook(2)));
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!(back.code, Some(1), "{back:?}");
    let says = "jambonz does not show the password of the webhook that was there";
    assert!(back.stdout.contains(says), "{back:?}");
    assert!(back.stdout.contains("\n3 applications: 2 restored, 1 failed\n"), "{back:?}");
    assert_eq!(api.hook_of(2)["url"], HOOK_SET);
}

#[test]
fn a_line_that_was_cut_is_no_line_and_any_other_is_refused() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    place.apply(&api, "account", &[]);
    let whole = std::fs::read_to_string(place.keep()).unwrap();
    std::fs::write(place.keep(), format!("{whole}{{\"format\":1,\"at\":\"20")).unwrap();
    let applied = place.apply(&api, "account", &["--replace"]);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert_eq!(place.lines().len(), 3);
    assert!(std::fs::read_to_string(place.keep()).unwrap().starts_with(&whole));
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
    let whole = std::fs::read_to_string(place.keep()).unwrap();
    api.take();
    for (text, why) in [
        (format!("{whole}nonsense\n"), "line 4 is no webhook that `jambonz attach` has kept: "),
        (format!("{{\"format\":9}}\n{whole}"), "line 1 was written by a later release (format 9)"),
        (
            whole.replace("\"application_sid\":\"a", "\"application_sid\":\"../a"),
            "line 1 is no webhook",
        ),
        // A key that is missing is not a webhook that was not there.
        (
            whole.replace("\"call_status_hook\":", "\"hook\":"),
            "expected null, or an object with its url",
        ),
        (whole.replace("\"url\":", "\"address\":"), "it has no call_status_hook; expected null"),
        (whole.replace("\"set_to\":\"https", "\"set_to\":\"mailto"), "its set_to: \"mailto://"),
        (
            format!("{whole}{{\"format\":1}} "),
            "line 4 is no webhook that `jambonz attach` has kept: ",
        ),
    ] {
        std::fs::write(place.keep(), &text).unwrap();
        for printed in [
            place.apply(&api, "account", &["--replace"]),
            place.detach(&api, "account", &["--apply"]),
        ] {
            assert_eq!(printed.code, Some(1), "{why}: {printed:?}");
            assert!(printed.stderr.contains(why), "{why}: {printed:?}");
        }
        assert_eq!(std::fs::read_to_string(place.keep()).unwrap(), text);
    }
    assert_eq!(api.take(), [""; 0]);
}

#[test]
fn it_is_for_its_owner_and_for_one_command_alone() {
    let (api, place) = (Api::up(), Commands::new());
    place.apply(&api, "account", &[]);
    api.take();
    let before = api.snapshot();
    std::fs::set_permissions(place.keep(), PermissionsExt::from_mode(0o640)).unwrap();
    let open = place.apply(&api, "account", &["--replace"]);
    assert_eq!(open.code, Some(1), "{open:?}");
    let says = format!(
        "others may read it, and it holds passwords; give it to its owner alone: chmod 600 {}\n",
        place.keep().display()
    );
    assert!(open.stderr.ends_with(&says), "{open:?}");
    std::fs::set_permissions(place.keep(), PermissionsExt::from_mode(0o600)).unwrap();
    let held = File::open(place.keep()).unwrap();
    held.lock().unwrap();
    for busy in
        [place.apply(&api, "account", &["--replace"]), place.detach(&api, "account", &["--apply"])]
    {
        assert_eq!(busy.code, Some(1), "{busy:?}");
        let says = "another command uses it; wait until that has ended";
        assert!(busy.stderr.contains(says), "{busy:?}");
    }
    drop(held);
    // A place where nothing can be written.
    let keep = place.path("none/webhooks.json");
    let flags = ["--replace", "--apply", "--keep", keep.to_str().unwrap()];
    let nowhere = place.attach(&api, "account", &flags);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(nowhere.stderr.contains("there is no directory "), "{nowhere:?}");
    assert_eq!((api.take(), api.snapshot()), (Vec::new(), before));
    assert_eq!(api.hook_of(1)["url"], HOOK_SET);
}

#[test]
fn a_file_of_something_else_stays_as_it_is() {
    let (api, place) = (Api::up(), Commands::new());
    // Without an end of their line, too.
    for text in [ACCOUNT, "{\"users\": [", "[upstream]", "{\"format\":1,\"at\":\"a\u{7}", "x\0\0"] {
        std::fs::write(place.keep(), text).unwrap();
        std::fs::set_permissions(place.keep(), PermissionsExt::from_mode(0o600)).unwrap();
        let applied = place.apply(&api, "account", &["--replace"]);
        assert_eq!(applied.code, Some(1), "{applied:?}");
        let says = "line 1 is no webhook that `jambonz attach` has kept: ";
        assert!(applied.stderr.contains(says), "{applied:?}");
        assert_eq!(std::fs::read_to_string(place.keep()).unwrap(), text);
    }
    assert_eq!(api.take(), [""; 0]);
}

#[test]
fn a_last_line_without_an_end_counts_where_it_is_whole() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    place.apply(&api, "account", &["--replace"]);
    let whole = std::fs::read_to_string(place.keep()).unwrap();
    // As editors leave it.
    std::fs::write(place.keep(), whole.trim_end()).unwrap();
    let more = ["--service-provider", super::api::SP, "--replace"];
    let applied = place.apply(&api, "provider", &more);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(std::fs::read_to_string(place.keep()).unwrap().starts_with(&whole));
    assert_eq!(place.lines().len(), 4);
    let text = std::fs::read_to_string(place.keep()).unwrap();
    std::fs::write(place.keep(), text.trim_end()).unwrap();
    let back = place.detach(&api, "provider", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
    assert!(!back.stderr.contains("warning"), "{back:?}");
    // A piece of one is passed over, and said.
    for piece in ["{\"for", "{\"format\":1,\"at\":\"20", "{\"format\":1,\0\0\0", "\0\0"] {
        std::fs::write(place.keep(), format!("{text}{piece}")).unwrap();
        let dry = place.detach(&api, "provider", &[]);
        assert_eq!(dry.code, Some(0), "{dry:?}");
        assert!(dry.stderr.contains(": line 5 is cut off and says nothing; "), "{dry:?}");
    }
}

#[test]
fn a_move_that_fails_half_way_loses_nothing() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    place.apply(&api, "account", &["--replace"]);
    let keep = place.keep();
    let to_new = || {
        let flags = [
            "--hook",
            "https://new.example.com/v1/hooks/call-status",
            "--apply",
            "--keep",
            keep.to_str().unwrap(),
        ];
        print(&mut place.command("attach", &api.url(), "account", &flags), b"")
    };
    api.fault(2, Fault::Status(503));
    let moved = to_new();
    assert!(moved.stdout.contains("\n3 applications: 2 set, 1 failed\n"), "{moved:?}");
    assert_eq!(api.hook_of(2)["url"], HOOK_SET);
    api.with(|state| state.faults.clear());
    // It is ours still, for both commands.
    let dry = place.detach(&api, "account", &[]);
    assert!(dry.stdout.contains("\n3 applications: 3 restore\n"), "{dry:?}");
    let moved = to_new();
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert!(moved.stdout.contains("\n3 applications: 1 set, 2 already\n"), "{moved:?}");
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
}

#[test]
fn a_row_without_a_url_comes_back_too() {
    let (api, place) = (Api::up(), Commands::new());
    // So the portal writes a webhook that was not filled in.
    let empty = api.with(|state| {
        let row = serde_json::json!({"url": ""});
        let sid = state.make(row.as_object().unwrap().clone());
        state.point(1, Some(&sid));
        sid
    });
    let before = api.snapshot();
    let applied = place.apply(&api, "account", &["--replace"]);
    assert!(row(&applied, "without").contains("  none  "), "{applied:?}");
    assert_eq!(api.hook_of(1)["url"], HOOK_SET);
    let dry = place.detach(&api, "account", &[]);
    assert!(row(&dry, "without").contains("  none  "), "{dry:?}");
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.snapshot()), (Some(0), before), "{back:?}");
    // Where the row is gone, none is the same.
    place.apply(&api, "account", &["--replace"]);
    api.with(|state| state.webhooks.retain(|sid, _| *sid != empty));
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!((back.code, api.hook_of(1)), (Some(0), Value::Null), "{back:?}");
}

#[test]
fn a_file_of_another_api_is_named() {
    let (api, place) = (Api::up(), Commands::new());
    place.apply(&api, "account", &["--replace"]);
    let own = place.detach(&api, "account", &[]);
    assert_eq!(own.stderr, "", "{own:?}");
    let elsewhere = api.url().replace("127.0.0.1", "localhost");
    let keep = place.keep();
    let flags = ["--keep", keep.to_str().unwrap()];
    let other = print(&mut place.command("detach", &elsewhere, "account", &flags), b"");
    let says = format!(
        " has what was at the API \"{}\", and --api is {elsewhere}; make sure that they are the same jambonz\n",
        api.url()
    );
    assert!(other.stderr.contains(&says), "{other:?}");
}

#[test]
fn a_webhook_of_ours_whose_password_is_not_shown_keeps_it() {
    let (api, place) = (Api::up(), Commands::new());
    let user = ["--account", A1, "--replace", "--hook-user", "u", "--hook-password", PASSWORD];
    place.apply(&api, "account", &user);
    let before = api.snapshot();
    api.with(|state| state.masks = true);
    let again = place.apply(&api, "account", &["--account", A1]);
    assert!(again.stdout.contains("\n3 applications: 3 already\n"), "{again:?}");
    api.with(|state| state.masks = false);
    assert_eq!(api.snapshot(), before);
}

#[test]
fn names_and_messages_of_others_add_no_lines() {
    let (api, place) = (Api::up(), Commands::new());
    let forged = "busy\n3 applications: 3 already\u{1b}[31m";
    api.with(|state| {
        state.applications[1].insert("name".to_owned(), forged.into());
        state.applications[0].insert("name".to_owned(), Value::Null);
        // What is listed twice is one.
        let twice = state.applications[1].clone();
        state.applications.push(twice);
        state.applications.last_mut().unwrap().insert("name".to_owned(), "again".into());
    });
    let flags = ["--hook", HOOK];
    let dry = print(&mut place.command("attach", &api.url(), "account", &flags), b"");
    assert!(dry.stdout.contains("\n3 applications: 1 set, 2 refused\n"), "{dry:?}");
    assert!(!dry.stdout.contains("\n3 applications: 3 already"), "{dry:?}");
    assert!(!dry.stdout.contains('\u{1b}'), "{dry:?}");
    // One without a name is known by its sid.
    assert!(row(&dry, &app(1)).ends_with("  set"), "{dry:?}");
}
