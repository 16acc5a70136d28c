//! A stand-in for jambonz's API: it answers the portal's requests with what was recorded, and keeps
//! what it is asked.

use super::super::peer::{Answering, Peer, Received};
use super::super::upstream::jambonz::jwt;

/// What the portal asked for and what jambonz answered: the beginning of each body.
const RECORDED: &str = include_str!("../../fixtures/portal-requests.json");

/// The token of a user of the portal.
pub const PORTAL_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzY29wZSI6ImFkbWluIn0.c2lnbmVk";

/// What jambonz says where the parameters of recent calls are left out.
const MISSING: &str = "{\"msg\":\"missing or invalid \\\"page\\\" query arg\"}";

/// Of another user, who may be one that only views.
pub fn token_of(name: &str, views_only: bool) -> String {
    jwt(&serde_json::json!({"scope": "account", "name": name, "is_view_only": views_only}))
}

fn has_name(token: &str) -> bool {
    [true, false].iter().any(|views_only| token == token_of("one", *views_only))
}

/// A recorded exchange.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Exchange {
    pub method: String,
    /// With `/api` in front, as the portal sends it.
    pub url: String,
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

pub fn recorded() -> Vec<Exchange> {
    serde_json::from_str(RECORDED).unwrap()
}

/// It runs until the process ends.
pub struct JambonzApi {
    pub port: u16,
    peer: Peer,
}

impl JambonzApi {
    pub fn up() -> Self {
        let peer = Peer::up(answering);
        Self { port: peer.address.port(), peer }
    }

    /// It takes connections and answers nothing, or answers again.
    pub fn turns(&self, down: bool) {
        if down {
            self.peer.turn(|_| Answering::Closes);
        } else {
            self.peer.turn(answering);
            // What came meanwhile was not answered.
            self.peer.take();
        }
    }

    /// What others than rollcall itself have asked since the last time.
    pub fn take(&self) -> Vec<Received> {
        let all = self.peer.take().into_iter();
        all.filter(|request| !of_rollcall(request) && !opens_websocket(request)).collect()
    }
}

/// Whether rollcall itself asks, about a token.
fn of_rollcall(request: &Received) -> bool {
    request.header("user-agent").is_some_and(|agent| agent.starts_with("rollcall/"))
}

fn opens_websocket(request: &Received) -> bool {
    let asks =
        request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade"));
    asks && request.header("upgrade") == Some("websocket")
}

fn answering(request: &Received) -> Answering {
    if opens_websocket(request) {
        // The key's answer is that of RFC 6455, section 1.3.
        let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        return Answering::Echoes(head.as_bytes().to_vec());
    }
    let (status, kind, answer) = if of_rollcall(request) {
        (about_token(request), "application/json".to_owned(), MISSING.to_owned())
    } else {
        answer(&request.method, &request.url)
    };
    let length = answer.len();
    let sent = if request.method == "HEAD" { "" } else { &answer };
    Answering::Sends(
        format!(
            "HTTP/1.1 {status} Said\r\nx-answered-by: jambonz\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\n\r\n{sent}"
        )
        .into_bytes(),
    )
}

/// What jambonz says of a token: it may ask for calls, and there is none of that sid; for recent calls, and
/// lacks their parameters; or nobody knows it.
fn about_token(request: &Received) -> u16 {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let known = token == Some(PORTAL_TOKEN) || token.is_some_and(has_name);
    match (known, request.url.contains("/RecentCalls")) {
        (false, _) => 401,
        (true, true) => 400,
        (true, false) => 404,
    }
}

/// What was recorded; of what was not, the request.
fn answer(method: &str, url: &str) -> (u16, String, String) {
    let same = |exchange: &Exchange| {
        exchange.method == method && exchange.url.strip_prefix("/api") == Some(url)
    };
    match recorded().into_iter().find(same) {
        Some(Exchange { status, content_type, body, .. }) => (status, content_type, body),
        None => (207, "text/plain".to_owned(), format!("{method} {url}")),
    }
}
