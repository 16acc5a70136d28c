//! What a jambonz feature server really sends, byte for byte, to a rollcall that was set up as the
//! README says. The recorded signatures are of the day of the recording.

use std::path::Path;
use std::process::Command;

use data_encoding::HEXLOWER;
use serde_json::Value;

use super::super::api::raw::Raw;
use super::super::api::samples::now;
use super::super::harness::{A1, ROLLCALL, Rollcall, print};
use super::signed::mac;

/// The secret and the password of the recording.
const SECRET: &str = "wh_secret_cJqgtMDPzDhhnjmaJH6Mtk";
const PASSWORD: &str = "labpass";
const CALL: &str = "9928be9f-df5e-4cbb-bb9e-f1feebe8023b";

/// One recorded request.
struct Recorded {
    /// Names and values, in their order and spelling.
    headers: Vec<(String, String)>,
    body: String,
}

fn recorded() -> Vec<Recorded> {
    let lines = include_str!("../../fixtures/status-hooks.jsonl").lines();
    let all: Vec<_> = lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["method"], &line["url"]), (&"POST".into(), &super::HOOK.into()));
            let texts: Vec<_> =
                line["headers"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
            let pairs = texts.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
            Recorded { headers: pairs.collect(), body: line["body"].as_str().unwrap().to_owned() }
        })
        .collect();
    assert_eq!(all.len(), 4);
    all
}

impl Recorded {
    fn signature(&mut self) -> &mut String {
        let field = self.headers.iter_mut().find(|(name, _)| name == "Jambonz-Signature");
        &mut field.unwrap().1
    }

    /// The same, signed as of now.
    fn signed_anew(mut self) -> Self {
        let t = (now() / 1000).to_string();
        *self.signature() = format!("t={t},v1={}", HEXLOWER.encode(&mac(SECRET, &t, &self.body)));
        self
    }

    fn head(&self) -> String {
        let fields = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("POST {} HTTP/1.1\r\n{}\r\n", super::HOOK, fields.collect::<String>())
    }
}

/// The command of the README's third step that has this flag.
fn command(flag: &str) -> String {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let (_, step) = readme.split_once("\n3. ").unwrap();
    let (step, _) = step.split_once("\n4. ").unwrap();
    let blocks: Vec<_> = step.split("```").skip(1).step_by(2).collect();
    let block = blocks.iter().find(|block| block.contains(flag)).unwrap();
    block.strip_prefix("sh\n").unwrap().to_owned()
}

/// Runs it in a shell as it stands there, on this data directory.
fn run(rollcall: &Rollcall, command: &str, input: &str) {
    let config = rollcall.dir.path().join("rollcall.toml");
    std::fs::write(&config, format!("data_dir = \"{}\"\n", rollcall.data().display())).unwrap();
    assert!(command.contains(A1), "{command}");
    let script = format!("rollcall() {{ \"$ROLLCALL\" \"$@\"; }}\n{command}");
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).env("ROLLCALL", ROLLCALL);
    // In the place of /etc/rollcall/rollcall.toml.
    shell.env("ROLLCALL_CONFIG", &config);
    let printed = print(&mut shell, format!("{input}\n").as_bytes());
    assert_eq!(printed.code, Some(0), "{command}: {printed:?}");
}

/// The statuses of all of them, sent one after the other on one connection.
fn replay(rollcall: &Rollcall, requests: &[Recorded]) -> Vec<u16> {
    let mut raw = Raw::connect(rollcall);
    let mut statuses = Vec::new();
    for request in requests {
        raw.send(request.head());
        raw.send(&request.body);
        let reply = raw.reply();
        assert!(!reply.head.contains("connection: close"), "{reply:?}");
        statuses.push(reply.status);
    }
    statuses
}

/// The one call that all of them are about.
fn expect_the_call(rollcall: &Rollcall) {
    let listed = rollcall.get(&rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls")).json();
    let calls = listed.as_array().unwrap();
    assert_eq!(calls.len(), 1, "{listed}");
    let call = &calls[0];
    for (key, value) in [
        ("call_sid", CALL),
        ("call_status", "completed"),
        ("from", "+1555000000"),
        ("to", "+15550009999"),
        ("originating_sip_trunk_name", "lab-carrier"),
        ("service_url", "http://172.20.0.10:3000"),
        ("trace_id", "19ce790595bdd69de41c429bca614b32"),
    ] {
        assert_eq!(call[key], value, "{key}: {call}");
    }
    assert_eq!((&call["sip_status"], &call["duration"]), (&200.into(), &0.into()));
}

#[test]
fn the_recording_is_what_it_says() {
    for mut request in recorded() {
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(
            names,
            ["host", "connection", "Jambonz-Signature", "Authorization", "b3", "user-agent"]
                .into_iter()
                .chain(["Content-Type", "content-length"])
                .collect::<Vec<_>>()
        );
        let signature = request.signature().clone();
        let t = signature.strip_prefix("t=").unwrap().split(',').next().unwrap();
        let right = HEXLOWER.encode(&mac(SECRET, t, &request.body));
        assert_eq!(signature, format!("t={t},v1={right}"));
    }
}

#[test]
fn with_a_user_and_a_password_what_jambonz_sends_is_taken_as_it_is() {
    let rollcall = Rollcall::up(&[]);
    run(&rollcall, &command("--hook-password"), PASSWORD);
    assert_eq!(replay(&rollcall, &recorded()), [204; 4]);
    expect_the_call(&rollcall);
    // And signed a moment ago, as it comes from a real one.
    let fresh: Vec<_> = recorded().into_iter().map(Recorded::signed_anew).collect();
    assert_eq!(replay(&rollcall, &fresh), [204; 4]);
    expect_the_call(&rollcall);
}

#[test]
fn with_the_webhook_secret_what_jambonz_sends_is_taken_as_it_is() {
    let rollcall = Rollcall::up(&[]);
    run(&rollcall, &command("--webhook-secret"), SECRET);
    let fresh = || recorded().into_iter().map(Recorded::signed_anew).collect::<Vec<_>>();
    assert_eq!(replay(&rollcall, &fresh()), [204; 4]);
    expect_the_call(&rollcall);
    // Nobody knows the user, and the time of the signature is over.
    let mut old = recorded();
    for request in &mut old {
        *request.signature() =
            format!("t=1,v1={}", HEXLOWER.encode(&mac(SECRET, "1", &request.body)));
    }
    assert_eq!(replay(&rollcall, &old), [401; 4]);
    // With both, either is enough.
    run(&rollcall, &command("--hook-password"), PASSWORD);
    assert_eq!(replay(&rollcall, &old), [204; 4]);
    assert_eq!(replay(&rollcall, &fresh()), [204; 4]);
    expect_the_call(&rollcall);
}
