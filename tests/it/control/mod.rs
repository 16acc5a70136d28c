//! Control of calls: where requests go, and above all where they do not.

mod creates;
mod places;
mod secure;
pub mod server;
mod updates;

use super::harness::{A1, Answer, Rollcall, event, sid};

/// Registers call `n` of account one, run by that server.
fn register(rollcall: &Rollcall, n: u32, service_url: &str) {
    let with = format!("{{\"service_url\":\"{service_url}\",");
    let event = event(n, "in-progress").replacen('{', &with, 1);
    assert_eq!(rollcall.post_events(&event).status, 204);
}

fn send(rollcall: &Rollcall, method: &str, token: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    rollcall.send(method, path, &headers, body.as_bytes()).unwrap()
}

/// Ends call `n` of account one.
fn hang_up(rollcall: &Rollcall, n: u32) -> Answer {
    let path = format!("/v1/Accounts/{A1}/Calls/{}", sid(n));
    send(rollcall, "PUT", &rollcall.admin(), &path, "{\"call_status\":\"completed\"}")
}

/// Makes a new call for account one.
pub fn create(rollcall: &Rollcall, further: &str) -> Answer {
    let body = format!(
        "{{\"from\":\"1\",\"to\":{{\"type\":\"phone\",\"number\":\"2\"}},\
         \"call_hook\":\"http://x/\",\"speech_synthesis_vendor\":\"g\",\
         \"speech_synthesis_language\":\"g\",\"speech_synthesis_voice\":\"g\",\
         \"speech_recognizer_vendor\":\"g\",\"speech_recognizer_language\":\"g\"{further}}}"
    );
    send(rollcall, "POST", &rollcall.admin(), &format!("/v1/Accounts/{A1}/Calls"), &body)
}

/// The message of a refusal with this status.
fn api_error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    answer.json()["msg"].as_str().unwrap().to_owned()
}
