//! The console over its own sockets: its files, its sessions, and what they open.

mod browser;
mod demo;
mod files;
mod links;
mod masked;
mod operation;
mod reads;
mod sessions;

use serde_json::{Value, json};

use super::harness::{Answer, Rollcall};

/// What a browser says of a request that a page of this server sends.
pub const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// A browser with a session.
pub struct Browser<'r> {
    pub rollcall: &'r Rollcall,
    /// The cookie as a browser sends it.
    pub cookie: String,
    /// What signing in answered.
    pub session: Value,
}

/// Asks to sign in with this body, as a page of the server does.
pub fn ask_to_sign_in(rollcall: &Rollcall, body: &Value) -> Answer {
    let origin = rollcall.url("");
    let headers = [SAME_ORIGIN, ("origin", &origin), ("content-type", "application/json")];
    rollcall.send("POST", "/console/api/session", &headers, body.to_string().as_bytes()).unwrap()
}

/// The cookie that an answer sets, as a browser sends it back.
pub fn cookie_of(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap_or_else(|| panic!("{answer:?}"));
    set.split(';').next().unwrap().to_owned()
}

impl<'r> Browser<'r> {
    pub fn sign_in(rollcall: &'r Rollcall, token: &str) -> Self {
        let answer = ask_to_sign_in(rollcall, &json!({ "token": token }));
        assert_eq!(answer.status, 200, "{answer:?}");
        Self { rollcall, cookie: cookie_of(&answer), session: answer.json() }
    }

    /// Sends a request as a page does.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let origin = self.rollcall.url("");
        let headers = [SAME_ORIGIN, ("origin", &*origin), ("cookie", &*self.cookie)];
        self.rollcall.send(method, path, &headers, body.as_bytes()).unwrap()
    }

    pub fn get(&self, path: &str) -> Answer {
        let headers = [SAME_ORIGIN, ("cookie", &*self.cookie)];
        self.rollcall.send("GET", path, &headers, b"").unwrap()
    }
}
