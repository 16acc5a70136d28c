//! Whether rollcall takes what the webhooks bring.

use super::super::harness::{A1, A2, Rollcall, print};
use super::Commands;
use super::api::{Api, HOOK, SP};

#[test]
fn an_account_whose_webhooks_would_be_refused_is_named() {
    let (api, place, rollcall) = (Api::up(), Commands::new(), Rollcall::up(&[]));
    let (url, token) = (api.url(), place.path("provider"));
    let attach = |flags: &[&str]| {
        let basis = [
            "jambonz",
            "attach",
            "--api",
            &url,
            "--hook",
            HOOK,
            "--replace",
            "--token-file",
            token.to_str().unwrap(),
        ];
        rollcall.run(&[&basis, flags].concat())
    };
    let none = attach(&["--service-provider", SP]);
    assert_eq!(none.code, Some(0), "{none:?}");
    for account in [A1, A2] {
        let says = format!(
            "warning: account {account} has no webhook secret here, and so its webhooks will be refused; \
             `rollcall account set {account} --webhook-secret -` registers it, with the webhook secret that \
             jambonz shows for it\n"
        );
        assert!(none.stderr.contains(&says), "{none:?}");
    }
    rollcall.ok(&["account", "set", A1, "--webhook-secret", "wh_secret_x"]);
    rollcall.ok(&["account", "set", A2, "--hook-user", "pbx", "--hook-password", "p"]);
    let some = attach(&["--service-provider", SP, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&some.stdout).unwrap();
    let warnings = report["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1, "{report}");
    let says = format!(
        "account {A2} has the hook user \"pbx\" here and no webhook secret, and the webhook does not send \
         that user, so it will be refused; give --hook-user pbx and --hook-password, or "
    );
    assert!(warnings[0].as_str().unwrap().starts_with(&says), "{report}");
    let with = attach(&["--account", A2, "--hook-user", "pbx", "--hook-password", "p"]);
    assert_eq!((with.code, with.stderr.as_str()), (Some(0), ""), "{with:?}");
    let other = attach(&["--account", A2, "--hook-user", "other", "--hook-password", "p"]);
    assert!(other.stderr.contains("has the hook user \"pbx\" here"), "{other:?}");
    let plain = ["--hook", "http://10.0.0.5:8080/v1/hooks/call-status"];
    let plain = print(&mut place.command("attach", &url, "account", &plain), b"");
    let says = "warning: --hook http://10.0.0.5:8080/v1/hooks/call-status is plain HTTP to another machine: ";
    assert!(plain.stderr.contains(says), "{plain:?}");
    // It also works where the server is not, and says what it does not know.
    let elsewhere = place.attach(&api, "account", &["--replace"]);
    assert_eq!(elsewhere.code, Some(0), "{elsewhere:?}");
    assert!(
        elsewhere.stderr.starts_with(
            "warning: it is not known here which accounts are registered (there is no store in "
        ),
        "{elsewhere:?}"
    );
}

#[test]
fn the_api_of_the_configuration_is_the_default() {
    let (api, place) = (Api::up(), Commands::new());
    let file = place.path("rollcall.toml");
    std::fs::write(&file, format!("[upstream]\napi_url = \"{}\"\n", api.url())).unwrap();
    let (file, token) = (file.to_str().unwrap().to_owned(), place.path("account"));
    let words = [
        "jambonz",
        "attach",
        "--config",
        &file,
        "--hook",
        HOOK,
        "--token-file",
        token.to_str().unwrap(),
    ];
    let printed = Rollcall::down().run(&words);
    assert!(printed.stdout.contains("\n3 applications: 1 set, 2 refused\n"), "{printed:?}");
}
