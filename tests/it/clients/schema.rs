//! The description in the binary, held against the binary by schemathesis: it makes requests of the
//! schemas, good and bad, and no answer may have a status, a header or a body that is not described.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;

use super::super::control::server::FeatureServer;
use super::super::harness::{A1, Rollcall, print, sid};
use super::{installed, sources};

/// Calls that are there at the beginning; `tests/clients/hooks.py` leads to them.
const CALLS: u32 = 1000;

#[test]
fn every_answer_is_as_the_description_says() {
    let Some(clients) = installed() else { return };
    let server = FeatureServer::up();
    let urls = server.url("/c201");
    let rollcall = Rollcall::up(&["--http-listen", "127.0.0.1:0", "--feature-servers-urls", &urls]);
    let statuses = ["ringing", "in-progress", "completed", "busy"];
    let kinds = ["/s202", "/s200", "/s204", "/s422text"];
    let call = |n: u32| {
        let at = usize::try_from(n).unwrap();
        json!({ "account_sid": A1, "call_sid": sid(n), "call_id": "x", "direction": "inbound",
                "from": "+15551230001", "to": "+18005550100", "sip_status": 200,
                "call_status": statuses[at % 4], "service_url": server.url(kinds[at / 4 % 4]) })
    };
    let calls: Vec<_> = (0..CALLS).map(call).collect();
    assert_eq!(rollcall.post_events(&json!(calls).to_string()).status, 204);

    let mut command = Command::new(clients.join("venv/bin/schemathesis"));
    command
        .arg("--config-file")
        .arg(sources().join("schemathesis.toml"))
        .args(["run", "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {}", rollcall.admin())])
        .arg(format!("http://127.0.0.1:{}/openapi.json", rollcall.plain_port))
        .env("SERVICE_URL", server.url("/s202"))
        .env("PYTHONPATH", sources())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(rollcall.dir.path());
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(0), "{}\n{}", printed.stdout, printed.stderr);

    // Answers of one kind alone would prove little: each operation was done, and the calls were met.
    let answers = fs::read_to_string(rollcall.dir.path().join("answers.json")).unwrap();
    let answers: BTreeMap<String, BTreeMap<u16, usize>> = serde_json::from_str(&answers).unwrap();
    for (operation, statuses) in &answers {
        assert!(statuses.range(200..300).next().is_some(), "{operation}: {statuses:?}");
    }
    assert!(answers.len() >= 28, "only {} operations were tried", answers.len());
    for operation in ["GET", "DELETE", "PUT", "POST"] {
        let of_call =
            &answers[&format!("{operation} /v1/Accounts/{{AccountSid}}/Calls/{{CallSid}}")];
        let found: usize = of_call.range(200..300).map(|(_, times)| times).sum();
        assert!(found > 5, "{operation}: {of_call:?}");
    }
    let sent = server.take();
    let to = |path: &str| sent.iter().filter(|request| request.url.contains(path)).count();
    assert!(to("/v1/createCall") > 0 && to("/v1/updateCall/") > 20, "{}", sent.len());
}
