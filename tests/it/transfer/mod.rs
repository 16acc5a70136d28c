//! Calls in and out: import and export.

mod csv;
mod export;
mod import;
mod large;
mod parts;
mod rejects;
mod sheets;

use super::harness::{A1, Rollcall, sid};

/// A record of account [`A1`] as a list of jambonz has it, with more members of one's own.
fn record(n: u32, more: &str) -> String {
    format!(
        "{{\"account_sid\":\"{A1}\",\"call_sid\":\"{}\",\"direction\":\"inbound\",\
         \"from\":\"+1555{n:07}\",\"to\":\"+15550000000\",\"call_id\":\"c{n}\",\
         \"call_status\":\"completed\",\"sip_status\":200,\
         \"service_url\":\"http://10.0.0.5:3000\",\"duration\":12{more}}}",
        sid(n)
    )
}

/// The three times of a record.
const TIMES: &str = ",\"attempted_at\":\"2026-01-31T12:00:00.000Z\",\
    \"answered_at\":\"2026-01-31T12:00:05.500Z\",\"terminated_at\":\"2026-01-31T12:00:17.500Z\"";

fn status(rollcall: &Rollcall) -> serde_json::Value {
    serde_json::from_str(&rollcall.figures()).unwrap()
}

/// What an import of this input says, as JSON.
fn import(rollcall: &Rollcall, args: &[&str], input: &str) -> serde_json::Value {
    let args = [&["import", "--json"], args].concat();
    let printed = rollcall.run_with(&args, input.as_bytes());
    assert_eq!(printed.code, Some(0), "{args:?}: {printed:?}");
    serde_json::from_str(&printed.stdout).unwrap()
}

/// The figures new, changed and unchanged.
fn outcome(summary: &serde_json::Value) -> [u64; 3] {
    ["new", "changed", "unchanged"].map(|name| summary["outcome"][name].as_u64().unwrap())
}

fn shown(rollcall: &Rollcall, n: u32) -> serde_json::Value {
    let shown = rollcall.ok(&["show", &sid(n), "--json"]);
    serde_json::from_str::<serde_json::Value>(&shown).unwrap()[0].clone()
}
