//! Webhooks of others that rollcall passes on.

use std::os::unix::fs::PermissionsExt as _;

use super::super::harness::{A1, Rollcall};
use super::api::{Api, HOOK_SET, KEY, PASSWORD, app};
use super::{Commands, row};

/// The targets that `attach --forward` writes for account one.
fn written(api: &Api, place: &Commands) -> (std::path::PathBuf, String) {
    let file = place.keep().with_file_name("targets.toml");
    let printed = place.attach(api, "account", &["--forward", file.to_str().unwrap()]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stdout.contains("1 target written to "), "{printed:?}");
    let no = "no target: shared a: its webhook is a GET";
    assert!(printed.stdout.contains(no), "{printed:?}");
    assert!(!printed.stdout.contains(KEY) && !printed.stdout.contains(PASSWORD), "{printed:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

#[test]
fn the_targets_that_are_needed_are_written_for_their_owner_alone() {
    let (api, place) = (Api::up(), Commands::new());
    let before = api.snapshot();
    let (file, text) = written(&api, &place);
    let busy = format!("application_sids = [\"{}\"]", app(2));
    for line in [
        "[[forward.targets]]",
        "name = \"busy-a0000000\"",
        &format!("url = \"https://own.example.com/status?key={KEY}\""),
        &format!("account_sid = \"{A1}\""),
        &busy,
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(!text.contains(PASSWORD), "{text}");
    let password = file.with_file_name("targets.toml.busy-a0000000.password");
    assert_eq!(std::fs::read_to_string(&password).unwrap(), format!("{PASSWORD}\n"));
    for file in [&file, &password] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(api.snapshot(), before, "nothing is changed in jambonz");
}

#[test]
fn a_webhook_that_is_passed_on_is_replaced_and_others_stay() {
    let (api, place) = (Api::up(), Commands::new());
    let (_, text) = written(&api, &place);
    // The one of `busy` alone.
    let tables: Vec<&str> = text.split("\n[[").collect();
    let busy = tables.iter().find(|table| table.contains("busy-")).unwrap();
    // Where the commands look for a store.
    let mut rollcall = Rollcall::down_in(&place.path("none"));
    let config = place.path("forward.toml");
    std::fs::write(&config, format!("[[{busy}\n")).unwrap();
    let flags = ["--config", config.to_str().unwrap()];
    // A server that was started without it does not pass anything on.
    rollcall.start();
    let stale = place.attach(&api, "account", &flags);
    assert_eq!(stale.code, Some(1), "{stale:?}");
    assert!(stale.stderr.contains("does not have the target busy-a0000000"), "{stale:?}");
    assert!(row(&stale, "busy").ends_with("refused"), "{stale:?}");
    assert_eq!(rollcall.stop(), Some(0));
    rollcall.set_args(&flags);
    rollcall.start();
    let applied = place.apply(&api, "account", &flags);
    assert_eq!(applied.code, Some(1), "{applied:?}");
    assert!(row(&applied, "busy").ends_with("replaced"), "{applied:?}");
    assert!(row(&applied, "shared a").ends_with("refused"), "{applied:?}");
    let says = "what came to its webhook is passed on to the target busy-a0000000";
    assert!(applied.stdout.contains(says), "{applied:?}");
    assert_eq!(api.hook_of(2)["url"], HOOK_SET);
    let back = place.detach(&api, "account", &["--apply"]);
    assert_eq!(api.hook_of(2)["password"], PASSWORD, "{back:?}");
}
