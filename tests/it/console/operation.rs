//! What operators ask and do in the console.

use serde_json::{Value, json};

use super::super::api::{api_error, calls_of, sids};
use super::super::harness::{A1, A2, Rollcall, event, sid};
use super::{Browser, SAME_ORIGIN};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn tokens_are_made_with_the_own_token_once_more_and_end_their_sessions() {
    let rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.post_events(&event(1, "ringing")).status, 204);
    let admin = Browser::sign_in(&rollcall, &rollcall.admin());
    let other = rollcall.token(&["--admin", "--role", "read"]);
    let new = |own: &str| {
        json!({
            "name": "auditor", "scope": "account", "account_sid": A1, "role": "read",
            "expires_in_seconds": 3600, "own_token": own,
        })
    };
    for own in ["", "rc_wrong", &other] {
        let answer = admin.ask("POST", "/console/api/tokens", &new(own).to_string());
        assert!(api_error(&answer, 403).contains("own_token"), "{own}: {answer:?}");
    }
    // As it is pasted from a file.
    let body = new(&format!("{}\n", rollcall.admin())).to_string();
    let answer = admin.ask("POST", "/console/api/tokens", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let made = answer.json();
    assert_eq!((&made["scope"], &made["account_sid"]), (&json!("account"), &json!(A1)));
    assert_eq!((&made["role"], &made["name"]), (&json!("read"), &json!("auditor")));
    let (id, value) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    assert_eq!(sids(&rollcall.get(value, &calls_of(A1, ""))), [sid(1)]);
    let auditor = Browser::sign_in(&rollcall, value);
    assert_eq!(sids(&auditor.get(&calls_of(A1, ""))), [sid(1)]);
    let listed = admin.get("/console/api/tokens").json();
    let row = listed.as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
    assert_eq!(row["current"], false);
    assert!(row["expires_at"].is_string() && row["last_used_at"].is_string(), "{row}");
    assert!(!listed.to_string().contains(value));
    let current: Vec<_> =
        listed.as_array().unwrap().iter().filter(|row| row["current"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["id"], admin.session["token_id"]);
    let path = format!("/console/api/tokens/{id}");
    assert_eq!(admin.ask("DELETE", &path, "").status, 204);
    assert_eq!(auditor.get(&calls_of(A1, "")).status, 401);
    assert_eq!(auditor.get("/console/api/session").status, 401);
    assert_eq!(admin.ask("DELETE", &path, "").status, 404);
    // By its id alone, never by a name.
    assert_eq!(admin.ask("DELETE", "/console/api/tokens/first", "").status, 404);
    for (change, says) in [
        (json!({"scope": "everybody"}), "scope"),
        (json!({"scope": "account", "account_sid": null}), "scope"),
        (json!({"scope": "admin"}), "scope"),
        (json!({"expires_in_seconds": 0}), "expires_in_seconds"),
        (json!({"name": "x".repeat(300)}), "name"),
        (json!({"role": "king"}), "role \"king\": expected one of full, read, read-masked"),
        (json!({"account_sid": "none"}), "account sid \"none\": not a UUID"),
        (json!({"role": "metrics"}), "role"),
        (json!({"further": 1}), "JSON"),
    ] {
        let mut body = new(&rollcall.admin());
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = admin.ask("POST", "/console/api/tokens", &body.to_string());
        assert!(api_error(&answer, 400).contains(says), "{change}: {answer:?}");
    }
}

#[test]
fn operators_alone_operate() {
    let rollcall = Rollcall::up(&[]);
    let sessions = [
        rollcall.token(&["--admin", "--role", "read"]),
        rollcall.token(&["--admin", "--role", "export"]),
        rollcall.token(&["--account", A1]),
        rollcall.token(&["--service-provider", A2]),
    ];
    let routes = [
        ("GET", "tokens"),
        ("POST", "tokens"),
        ("DELETE", "tokens/x"),
        ("GET", "accounts"),
        ("PUT", &format!("accounts/{A1}")),
        ("DELETE", &format!("accounts/{A1}")),
        ("GET", "operation"),
        ("GET", "audit"),
        ("POST", "test-event"),
    ];
    for (method, route) in routes {
        let path = format!("/console/api/{route}");
        for token in &sessions {
            let browser = Browser::sign_in(&rollcall, token);
            assert!(!browser.session["may"].to_string().contains("operate"));
            let answer = browser.ask(method, &path, "{}");
            assert!(api_error(&answer, 403).contains("insufficient permissions"), "{path}");
        }
        // A token in the header field is no session.
        let bearer = format!("Bearer {}", rollcall.admin());
        let headers = [("authorization", bearer.as_str()), SAME_ORIGIN];
        let answer = rollcall.send(method, &path, &headers, b"{}").unwrap();
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(rollcall.send(method, &path, &[SAME_ORIGIN], b"{}").unwrap().status, 401);
    }
}

#[test]
fn accounts_are_set_and_removed_and_their_secrets_are_not_shown() {
    let rollcall = Rollcall::up(&[]);
    let admin = Browser::sign_in(&rollcall, &rollcall.admin());
    let path = format!("/console/api/accounts/{A1}");
    let body = json!({
        "name": "acme", "hook_user": "jam", "hook_password": "hush-hush", "keep": "90days",
        "webhook_secret": "quiet",
    });
    let answer = admin.ask("PUT", &path, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    let row = answer.json();
    let flags = [&row["has_hook_password"], &row["has_webhook_secret"], &row["registered"]];
    assert_eq!(flags, [&json!(true); 3], "{row}");
    assert_eq!((&row["name"], &row["keep"]), (&json!("acme"), &json!("90days")));
    assert!(!answer.body.contains("hush") && !answer.body.contains("quiet"));
    // What is absent stays.
    let answer = admin.ask("PUT", &path, "{\"keep\":\"forever\"}");
    assert_eq!(
        (&answer.json()["name"], &answer.json()["keep"]),
        (&json!("acme"), &json!("forever"))
    );
    assert_eq!(rollcall.post_events(&event(1, "ringing").replace(A1, A2)).status, 204);
    let rows = admin.get("/console/api/accounts").json();
    let rows = rows.as_array().unwrap();
    let sids: Vec<_> = rows.iter().map(|row| row["account_sid"].as_str().unwrap()).collect();
    assert_eq!(sids, [A1, A2]);
    assert_eq!(rows[1]["registered"], false);
    assert!(rows[1]["last_event_at"].is_string(), "{rows:?}");
    for (body, says) in [
        (json!({"keep": "1s"}), "keep"),
        (json!({"keep": "5m"}), "keep"),
        (json!({"hook_user": "a:b"}), "hook_user"),
        (json!({"name": ""}), "name"),
    ] {
        let answer = admin.ask("PUT", &path, &body.to_string());
        let said = api_error(&answer, 400);
        assert!(said.contains(says) && !said.contains("--hook"), "{body}: {said}");
    }
    let other = format!("/console/api/accounts/{A2}");
    for (body, says) in [
        (json!({"hook_user": "jam", "hook_password": "other"}), "hook_user \"jam\": it belongs to"),
        (json!({"service_provider_sid": "none"}), "service provider sid \"none\": not a UUID"),
    ] {
        let answer = admin.ask("PUT", &other, &body.to_string());
        let said = api_error(&answer, 400);
        assert!(said.contains(says), "{body}: {said}");
    }
    assert_eq!(admin.ask("PUT", "/console/api/accounts/none", "{}").status, 400);
    assert_eq!(admin.ask("DELETE", &path, "").status, 204);
    assert_eq!(admin.ask("DELETE", &path, "").status, 404);
}

#[test]
fn the_operation_says_what_the_commands_say() {
    let audit = tempfile::tempdir().unwrap();
    let file = audit.path().join("audit.log");
    let flag = format!("--log-audit={}", file.display());
    let rollcall = Rollcall::up(&[&flag]);
    let admin = Browser::sign_in(&rollcall, &rollcall.admin());
    let wrong = super::ask_to_sign_in(&rollcall, &json!({"token": "rc_wrong"}));
    assert_eq!(wrong.status, 401);
    let shown = admin.get("/console/api/operation").json();
    let figures = parsed(&rollcall.figures());
    let same = ["version", "pid", "epoch", "listeners", "started_at"];
    for name in same {
        assert_eq!(shown["status"][name], figures[name], "{name}");
    }
    let console = json!({"sessions": 1, "sign_ins": 1, "sign_ins_refused": 1});
    assert_eq!((&shown["console"], &figures["console"]), (&console, &console));
    assert!(rollcall.status().contains("1 session; 1 begun and 1 refused"));
    let metrics = rollcall.get(&rollcall.admin(), "/metrics").body;
    for line in [
        "rollcall_console_sessions 1.0",
        "rollcall_console_sign_ins_total 1",
        "rollcall_console_sign_ins_refused_total 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: {metrics}");
    }
    // The same checks as doctor's, by name.
    let checks = shown["checks"].as_array().unwrap();
    let doctor = rollcall.run(&["doctor", "--json"]);
    let findings = parsed(&doctor.stdout);
    let objects = |all: &Value, name: &str| -> std::collections::BTreeSet<String> {
        all.as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(objects(&shown["checks"], "name"), objects(&findings["findings"], "object"));
    let levels = ["ok", "warning", "failed", "unknown"];
    assert!(checks.iter().all(|one| levels.contains(&one["ok"].as_str().unwrap())));
    assert!(shown["disk"]["free_bytes"].as_u64() < shown["disk"]["total_bytes"].as_u64());
    let hook = format!("https://localhost:{}/v1/hooks/call-status#rc=5&rp=ct,5xx", rollcall.port);
    assert_eq!(shown["connect"]["webhook_url"], hook);
    assert_eq!(shown["connect"]["private_ca"], true);
    assert!(!shown["certificates"].as_array().unwrap().is_empty());
    // The audit log, newest first.
    let body = json!({ "account_sid": A1 }).to_string();
    let made = admin.ask("POST", "/console/api/test-event", &body);
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/v1/Accounts/{A1}/Calls/{}", made.json()["call_sid"].as_str().unwrap());
    let call = admin.get(&path).json();
    assert_eq!(
        (&call["call_status"], &call["duration"]),
        (&json!("completed"), &json!(6)),
        "{call}"
    );
    assert_eq!(call["customer_data"], json!({"test": true}));
    assert_eq!(admin.get(&format!("{path}/events")).json().as_array().unwrap().len(), 4);
    let entries = admin.get("/console/api/audit").json();
    let actions: Vec<_> =
        entries.as_array().unwrap().iter().map(|one| one["action"].as_str().unwrap()).collect();
    assert_eq!(actions[0], "test event");
    assert!(actions.contains(&"console sign in") && actions.contains(&"authenticate"));
    let who = format!("token {}", admin.session["token_id"].as_str().unwrap());
    assert_eq!(entries[0]["who"], who);
    assert_eq!(admin.get("/console/api/audit?limit=1").json().as_array().unwrap().len(), 1);
    assert!(api_error(&admin.get("/console/api/audit?limit=0"), 400).contains("limit"));
    let without = Rollcall::up(&[]);
    let admin = Browser::sign_in(&without, &without.admin());
    assert!(api_error(&admin.get("/console/api/audit"), 404).contains("log.audit"));
}

#[test]
fn changes_are_audited_as_those_of_the_command_line() {
    let audit = tempfile::tempdir().unwrap();
    let file = audit.path().join("audit.log");
    let rollcall = Rollcall::up(&[&format!("--log-audit={}", file.display())]);
    let admin = Browser::sign_in(&rollcall, &rollcall.admin());
    let token = json!({"scope": "admin", "role": "read", "own_token": rollcall.admin()});
    let made = admin.ask("POST", "/console/api/tokens", &token.to_string()).json();
    let (id, value) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let path = format!("/console/api/accounts/{A1}");
    let set = json!({"name": "acme", "hook_user": "jam", "hook_password": "hush-hush"});
    assert_eq!(admin.ask("PUT", &path, &set.to_string()).status, 200);
    assert_eq!(admin.ask("PUT", &path, "{\"keep\":\"1m\"}").status, 400);
    assert_eq!(admin.ask("DELETE", &path, "").status, 204);
    assert_eq!(admin.ask("DELETE", &format!("/console/api/tokens/{id}"), "").status, 204);
    assert_eq!(admin.ask("DELETE", "/console/api/session", "").status, 204);
    let text = std::fs::read_to_string(&file).unwrap();
    let who = format!("token {}", admin.session["token_id"].as_str().unwrap());
    let lines: Vec<Value> = text.lines().map(parsed).filter(|line| line["who"] == who).collect();
    let done: Vec<_> = lines
        .iter()
        .map(|line| format!("{} {}", line["what"], line["outcome"]).replace('"', ""))
        .collect();
    let expected = [
        "console sign in done",
        "token create done",
        "account set done",
        "account set failed",
        "account remove done",
        "token revoke done",
        "console sign out done",
    ];
    assert_eq!(done, expected);
    assert_eq!(lines[1]["object"], format!("token {id}, admin, role read"));
    for line in &lines {
        let peer = line["peer"].as_str().unwrap_or_default();
        assert!(peer.starts_with("127.0.0.1:"), "{line}");
    }
    for secret in [&rollcall.admin(), value, "hush-hush"] {
        assert!(!text.contains(secret) && !rollcall.log().contains(secret));
    }
}
