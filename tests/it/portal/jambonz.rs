//! A stand-in for jambonz's API: it answers the portal's requests with what was recorded, and keeps
//! what it is asked.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

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

/// A request as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub method: String,
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Received {
    /// The last one of this name: `HAProxy` adds one of its own where there is one already.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().rfind(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Whether rollcall itself asks, about a token.
    fn of_rollcall(&self) -> bool {
        self.header("user-agent").is_some_and(|agent| agent.starts_with("rollcall/"))
    }
}

/// It runs until the process ends.
pub struct JambonzApi {
    pub port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    /// It takes connections and answers nothing.
    down: Arc<AtomicBool>,
}

impl JambonzApi {
    pub fn up() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let down = Arc::new(AtomicBool::new(false));
        let (kept, is_down) = (received.clone(), down.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, down) = (kept.clone(), is_down.clone());
                // A proxy that goes away is not the test's concern.
                std::thread::spawn(move || serve(stream, &kept, &down).unwrap_or_default());
            }
        });
        Self { port, received, down }
    }

    pub fn turns(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// What has arrived since the last time.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.received.lock().unwrap())
    }
}

fn serve(
    mut stream: TcpStream,
    received: &Mutex<Vec<Received>>,
    down: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, url) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = Vec::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8(body).unwrap();
        let request = Received { method: method.clone(), url, headers, body };
        if down.load(Ordering::SeqCst) {
            return Ok(());
        }
        let asks =
            request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("upgrade"));
        if asks && request.header("upgrade") == Some("websocket") {
            return echo(&mut stream, reader);
        }
        let (status, kind, answer) = if request.of_rollcall() {
            (about_token(&request), "application/json".to_owned(), MISSING.to_owned())
        } else {
            let answer = answer(&method, &request.url);
            received.lock().unwrap().push(request);
            answer
        };
        let length = answer.len();
        let sent = if method == "HEAD" { String::new() } else { answer };
        write!(
            stream,
            "HTTP/1.1 {status} Said\r\nx-answered-by: jambonz\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\n\r\n{sent}"
        )?;
    }
}

/// A WebSocket that says what it is told.
fn echo(stream: &mut TcpStream, mut reader: BufReader<TcpStream>) -> std::io::Result<()> {
    // That of the key in RFC 6455, section 1.3.
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )?;
    let mut said = [0; 4];
    loop {
        reader.read_exact(&mut said)?;
        stream.write_all(&said)?;
    }
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
