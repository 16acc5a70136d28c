//! An API that answers as jambonz-api-server 0.9.6 did when it was asked the same, and keeps what it is
//! told: applications point at rows of webhooks, which they may share.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::super::harness::{A1, A2};

pub const ADMIN: &str = "b7c1a0de-admin-key";
/// The token of [`A1`].
pub const ACCOUNT: &str = "b7c1a0de-account-key";
/// The token of [`SP`].
pub const PROVIDER: &str = "b7c1a0de-provider-key";
/// A token of [`A1`] that only reads.
pub const VIEW: &str = "b7c1a0de-view-key";
/// The service provider of [`A1`] and [`A2`].
pub const SP: &str = "2708b1b3-2736-40ea-b502-c53d8396247f";
/// The service provider of [`A3`].
pub const SP2: &str = "0f0f0f0f-2736-40ea-b502-c53d8396247f";
pub const A3: &str = "c2c2c2c2-0c55-4f6e-9c1d-7a9e2f4d8e10";
/// In the webhook of the application `busy`.
pub const PASSWORD: &str = "hunter2-of-busy";
/// In the URL of that webhook.
pub const KEY: &str = "key-of-busy";
/// Where rollcall takes events.
pub const HOOK: &str = "https://calls.example.com:8443/v1/hooks/call-status";
pub const HOOK_SET: &str = "https://calls.example.com:8443/v1/hooks/call-status#rc=5&rp=ct,5xx";

/// The sid of application number `n`.
pub fn app(n: u32) -> String {
    format!("a0000000-0000-4000-8000-{n:012}")
}

/// The sid of webhook number `n`.
pub fn hook(n: u32) -> String {
    format!("d0000000-0000-4000-8000-{n:012}")
}

/// What goes wrong with writes to an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, with what jambonz says then.
    Status(u16),
    /// The connection is cut before anything is done.
    Cut,
    /// The connection is cut when all is done.
    CutAfter,
    /// It is done, and a person sets the first webhook at once.
    Undone,
    /// 204, and nothing is done.
    Ignored,
    /// No answer until the client gives up.
    Hang,
}

/// What is answered to every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answering {
    /// As jambonz does.
    Well,
    /// A redirect to this place.
    Redirect(String),
    /// The page of a portal.
    Page,
    /// So many bytes.
    Bytes(usize),
    /// 429 so many times, each with `Retry-After`.
    TooMany(usize, u64),
}

pub struct State {
    pub applications: Vec<Map<String, Value>>,
    pub webhooks: BTreeMap<String, Map<String, Value>>,
    pub faults: BTreeMap<String, Fault>,
    pub answering: Answering,
    /// What is left of 600 requests, where that is said; a new window of one second begins at nothing.
    pub left: Option<u64>,
    /// Older releases: no `POST /v1/Webhooks`, and a `call_status_hook` by itself is taken.
    pub older: bool,
    /// Passwords are not shown.
    pub masks: bool,
    /// After the next list this application is pointed at the first webhook, as by a person.
    pub meanwhile: Option<u32>,
    /// How many requests are answered before all connections are cut.
    pub answered: Option<u32>,
    /// All requests so far, as method and path.
    pub requests: Vec<String>,
    /// The file that is read before each write, and what was in it.
    pub watched: Option<PathBuf>,
    pub seen: Vec<String>,
    made: u32,
}

/// It runs until the process ends.
pub struct Api {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Api {
    pub fn up() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::seeded()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), shared.clone());
                // A client that goes away is not the test's concern.
                std::thread::spawn(move || serve(stream, &shared).unwrap_or_default());
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/api", self.address)
    }

    /// Looks at its state, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// Has writes to an application fail.
    pub fn fault(&self, n: u32, fault: Fault) {
        self.with(|state| state.faults.insert(app(n), fault));
    }

    /// All that it would tell an admin, byte for byte.
    pub fn snapshot(&self) -> String {
        self.with(|state| Value::from(state.list(|_| true)).to_string())
    }

    /// The call status webhook of an application.
    pub fn hook_of(&self, n: u32) -> Value {
        self.with(|state| {
            state.shown(state.application(&app(n)).unwrap())["call_status_hook"].clone()
        })
    }

    /// The requests since the last time.
    pub fn take(&self) -> Vec<String> {
        self.with(|state| std::mem::take(&mut state.requests))
    }

    /// The writes since the last time.
    pub fn writes(&self) -> Vec<String> {
        self.take().into_iter().filter(|request| !request.starts_with("GET ")).collect()
    }
}

impl State {
    /// Six applications: of [`A1`] one without a webhook, one with a password, one whose webhook an
    /// application of [`A2`] shares; one of [`A3`], and one of a service provider.
    fn seeded() -> Self {
        let webhooks = [
            (1, "https://pbx.example.com/hello".to_owned(), Value::Null, Value::Null),
            (2, format!("https://own.example.com/status?key={KEY}"), "me".into(), PASSWORD.into()),
            (3, "https://own.example.com/shared".to_owned(), Value::Null, Value::Null),
        ];
        let webhooks = webhooks.into_iter().map(|(n, url, user, password)| {
            let row = json!({
                "webhook_sid": hook(n), "url": url, "method": if n == 3 { "GET" } else { "POST" },
                "username": user, "password": password,
            });
            (hook(n), object(row))
        });
        let of = |n: u32, name: &str, account: Option<&str>, call: u32, status: Option<u32>| {
            object(json!({
                "application_sid": app(n), "name": name, "service_provider_sid": null,
                "account_sid": account, "app_json": null, "speech_synthesis_vendor": "google",
                "env_vars": null, "created_at": "2026-11-29T12:44:59.000Z", "record_all_calls": 0,
                "call_hook_sid": hook(call), "call_status_hook_sid": status.map(hook),
                "messaging_hook_sid": null,
            }))
        };
        Self {
            applications: vec![
                of(1, "without", Some(A1), 1, None),
                of(2, "busy", Some(A1), 1, Some(2)),
                of(3, "shared a", Some(A1), 3, Some(3)),
                of(4, "shared b", Some(A2), 1, Some(3)),
                of(5, "other", Some(A3), 1, None),
                of(6, "common", None, 1, None),
            ],
            webhooks: webhooks.collect(),
            faults: BTreeMap::new(),
            answering: Answering::Well,
            left: None,
            older: false,
            masks: false,
            meanwhile: None,
            answered: None,
            requests: Vec::new(),
            watched: None,
            seen: Vec::new(),
            made: 100,
        }
    }

    /// More applications of [`A1`], without a webhook.
    pub fn add(&mut self, count: u32) {
        for n in 0..count {
            let mut more = self.applications[0].clone();
            more.insert("application_sid".to_owned(), app(1000 + n).into());
            more.insert("name".to_owned(), format!("more {n:03}").into());
            more.insert("call_status_hook_sid".to_owned(), Value::Null);
            self.applications.push(more);
        }
    }

    fn application(&self, sid: &str) -> Option<&Map<String, Value>> {
        self.applications.iter().find(|one| one["application_sid"] == sid)
    }

    /// An application as it is answered: with its webhooks, not with their sids.
    fn shown(&self, application: &Map<String, Value>) -> Value {
        let mut shown = application.clone();
        for key in ["call_hook", "call_status_hook", "messaging_hook"] {
            let sid = shown.shift_remove(&format!("{key}_sid")).unwrap();
            let row = sid.as_str().map(|sid| {
                let mut row = self.webhooks[sid].clone();
                if self.masks && row["password"].is_string() {
                    row.insert("password".to_owned(), "huntXXXXXX".into());
                }
                Value::from(row)
            });
            shown.insert(key.to_owned(), row.unwrap_or_default());
        }
        shown.into()
    }

    fn list(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let all = self.applications.iter().map(|one| self.shown(one));
        all.filter(|one| wanted(&one["account_sid"])).collect()
    }

    pub fn make(&mut self, mut row: Map<String, Value>) -> String {
        self.made += 1;
        let sid = hook(self.made);
        let mut whole = object(json!({
            "webhook_sid": sid, "url": null, "method": "POST", "username": null, "password": null,
        }));
        whole.append(&mut row);
        self.webhooks.insert(sid.clone(), whole);
        sid
    }

    /// Points an application at a webhook, as a person does in the portal.
    pub fn point(&mut self, n: u32, row: Option<&str>) {
        let found = self.applications.iter_mut().find(|one| one["application_sid"] == app(n));
        found.unwrap().insert("call_status_hook_sid".to_owned(), row.into());
    }

    fn answer(&mut self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let forbidden = || (403, json!({"msg": "insufficient permissions"}));
        let own = match token {
            ADMIN => &[A1, A2, A3][..],
            PROVIDER => &[A1, A2],
            ACCOUNT | VIEW => &[A1],
            // Not JSON.
            _ => return (401, Value::Null),
        };
        let reaches = |account: &Value| token == ADMIN || own.iter().any(|own| account == own);
        if token == VIEW && method != "GET" {
            return (403, json!({"msg": "User has view-only access"}));
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match (method, &parts[..]) {
            // A service provider is shown those of everybody.
            ("GET", ["v1", "Applications"]) => {
                let all = self.list(|account| token == PROVIDER || reaches(account));
                (200, all.into())
            }
            ("GET", ["v1", "Accounts", account, "Applications"]) => {
                if token != ADMIN && !own.contains(account) {
                    return forbidden();
                }
                (200, self.list(|its| its == account).into())
            }
            ("GET", ["v1", "ServiceProviders", provider, "Accounts"]) => {
                let all = [(A1, SP), (A2, SP), (A3, SP2)];
                let all =
                    all.iter().filter(|(account, its)| its == provider && own.contains(account));
                let all = all.map(|(account, its)| {
                    json!({"account_sid": account, "service_provider_sid": its, "webhook_secret": "wh_secret_x"})
                });
                (200, all.collect::<Vec<_>>().into())
            }
            ("GET", ["v1", "Applications", sid]) => match self.application(sid) {
                Some(found) if reaches(&found["account_sid"]) => (200, self.shown(found)),
                _ => (404, Value::Null),
            },
            ("POST", ["v1", "Webhooks"]) if !self.older => {
                (201, json!({"sid": self.make(object(body.clone()))}))
            }
            ("PUT", ["v1", "Applications", sid]) => {
                let Some(found) = self.application(sid) else {
                    return (403, json!({"msg": "insufficient privileges"}));
                };
                if !reaches(&found["account_sid"]) {
                    return (403, json!({"msg": "insufficient privileges"}));
                }
                self.update(sid, token, object(body.clone()))
            }
            _ => (404, Value::Null),
        }
    }

    fn update(&mut self, sid: &str, token: &str, mut body: Map<String, Value>) -> (u16, Value) {
        if body.contains_key("call_status_hook") {
            // So it is in jambonz, but for service providers.
            if token != PROVIDER && !self.older && !body.contains_key("call_hook") {
                let msg = "'call_status_hook' must be an object when updating an application";
                return (400, json!({"msg": msg}));
            }
            let Value::Object(mut fields) = body.shift_remove("call_status_hook").unwrap() else {
                return (500, json!({"msg": "Cannot convert undefined or null to object"}));
            };
            if let Some(row) = fields.shift_remove("webhook_sid") {
                // The row itself, for all that have it.
                self.webhooks.get_mut(row.as_str().unwrap()).unwrap().append(&mut fields);
            } else {
                let row = self.make(fields);
                body.insert("call_status_hook_sid".to_owned(), row.into());
            }
        }
        if let Some(row) = body.get("call_status_hook_sid").and_then(Value::as_str)
            && !self.webhooks.contains_key(row)
        {
            let msg = "Cannot add or update a child row: a foreign key constraint fails";
            return (500, json!({"msg": msg}));
        }
        let found = self.applications.iter_mut().find(|one| one["application_sid"] == sid);
        found.unwrap().append(&mut body);
        (204, Value::Null)
    }
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(object) = value else { panic!("{value}") };
    object
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut words = line.split(' ');
    let (method, url) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let (mut token, mut length) = (String::new(), 0);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(": ").unwrap();
        match name.to_ascii_lowercase().as_str() {
            "authorization" => value.strip_prefix("Bearer ").unwrap().clone_into(&mut token),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = url.strip_prefix("/api").unwrap().to_owned();
    let mut held = state.lock().unwrap();
    held.requests.push(format!("{method} {path}"));
    if let Some(answered) = held.answered {
        if answered == 0 {
            return stream.shutdown(Shutdown::Both);
        }
        held.answered = Some(answered - 1);
    }
    let answering = held.answering.clone();
    let mut more = String::new();
    match answering {
        Answering::Well => {}
        Answering::Redirect(place) => {
            let head =
                format!("HTTP/1.1 302 Found\r\nlocation: {place}\r\ncontent-length: 0\r\n\r\n");
            return stream.write_all(head.as_bytes());
        }
        Answering::Page => {
            let page = "<!doctype html><title>portal</title>";
            let length = page.len();
            return write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{page}");
        }
        Answering::Bytes(length) => {
            drop(held);
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            let piece = vec![b' '; 1 << 16];
            let mut left = length;
            while left > 0 {
                let now = left.min(piece.len());
                stream.write_all(&piece[..now])?;
                left -= now;
            }
            return Ok(());
        }
        Answering::TooMany(times, seconds) => {
            if times > 0 {
                held.answering = Answering::TooMany(times - 1, seconds);
                let text = "Too many requests, please try again later.";
                let length = text.len();
                return write!(
                    stream,
                    "HTTP/1.1 429 Too Many Requests\r\nRetry-After: {seconds}\r\ncontent-length: \
                     {length}\r\n\r\n{text}"
                );
            }
        }
    }
    if let Some(left) = held.left {
        let left = left.checked_sub(1).unwrap_or(599);
        held.left = Some(if left == 0 { 600 } else { left });
        more = format!(
            "RateLimit-Limit: 600\r\nRateLimit-Remaining: {left}\r\nRateLimit-Reset: 1\r\n"
        );
    }
    if method != "GET"
        && let Some(path) = held.watched.clone()
    {
        let seen = std::fs::read_to_string(path).unwrap_or_default();
        held.seen.push(seen);
    }
    let sid = path.rsplit('/').next().unwrap();
    let is_list = sid == "Applications";
    let fault = if method == "PUT" { held.faults.get(sid).copied() } else { None };
    let (status, answer) = match fault {
        None => held.answer(&method, &path, &token, &body),
        Some(Fault::Status(403)) => (403, json!({"msg": "insufficient privileges"})),
        Some(Fault::Status(status)) => (status, json!({"msg": format!("a fault of {status}")})),
        Some(Fault::Cut) => return stream.shutdown(Shutdown::Both),
        Some(Fault::CutAfter) => {
            held.answer(&method, &path, &token, &body);
            return stream.shutdown(Shutdown::Both);
        }
        Some(Fault::Undone) => {
            held.answer(&method, &path, &token, &body);
            let n = sid.rsplit('0').next().unwrap().parse().unwrap();
            held.point(n, Some(&hook(1)));
            (204, Value::Null)
        }
        Some(Fault::Ignored) => (204, Value::Null),
        Some(Fault::Hang) => {
            drop(held);
            reader.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
    };
    if let Some(n) = held.meanwhile.take_if(|_| is_list) {
        held.point(n, Some(&hook(1)));
    }
    drop(held);
    let answer = match (status, answer) {
        (401, _) => "Unauthorized".to_owned(),
        (_, Value::Null) => String::new(),
        (_, answer) => answer.to_string(),
    };
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status} So\r\n{more}content-type: application/json; charset=utf-8\r\ncontent-length: \
         {length}\r\n\r\n{answer}"
    )
}
