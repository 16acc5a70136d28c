//! jambonz's API as far as it answers questions about tokens: as its own code does, or out of order.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use data_encoding::BASE64URL_NOPAD;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use super::super::control::server::CREATED;
use super::super::harness::{A1, A2};
use super::super::peer::certificate;
use super::{SP1, SP2};

/// The call that is asked for, since there is none of this sid.
pub const NO_CALL: &str = "00000000-0000-0000-0000-000000000000";
const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\n\
     WWW-Authenticate: Bearer realm=\"Users\", error=\"invalid_token\"\r\n\
     Content-Length: 12\r\n\r\nUnauthorized";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\n\
     Content-Type: text/plain; charset=utf-8\r\nContent-Length: 9\r\n\r\nNot Found";

const NO_PRIVILEGES: &str = "{\"status\":\"fail\",\"message\":\"insufficient privileges\"}";

/// Whose token it is.
#[derive(Debug, Clone)]
pub enum Whose {
    Admin,
    Account(String),
    /// Of a service provider with these accounts.
    Provider(String, Vec<String>),
}

/// What it does with a question.
#[derive(Debug, Clone)]
pub enum Manners {
    /// What jambonz does.
    AsJambonz,
    /// It sends this, whatever is asked.
    Sends(String),
    /// It sends this to tokens that it knows.
    SendsKnown(String),
    /// What jambonz did before 0.8.3: a token that it knows reads the calls of every account.
    OpensAll,
    /// It takes the question, and never answers.
    Hangs,
    /// It closes the connection.
    Cuts,
    /// It answers once it is told to.
    Waits,
}

/// A question as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub method: String,
    pub path: String,
    pub token: String,
    /// Whole lines, in lower case.
    pub headers: Vec<String>,
    pub body: String,
}

/// Those of accounts and service providers that there are; others are asked about to see that jambonz tells
/// accounts apart.
const NAMED: [&str; 4] = [A1, A2, SP1, SP2];

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    tokens: HashMap<String, Whose>,
    manners: Manners,
    accepts_ended: bool,
    questions: Vec<Question>,
}

/// It runs until the process ends.
pub struct Jambonz {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// The file with its authority, where it speaks TLS.
    pub ca: Option<PathBuf>,
}

impl Jambonz {
    pub fn up() -> Self {
        Self::up_at("127.0.0.1:0")
    }

    pub fn up_at(address: &str) -> Self {
        Self::with(address, None, None)
    }

    /// One with TLS, whose authority is a file in this directory.
    pub fn secure(dir: &Path) -> Self {
        let (ca, config) = certificate(dir);
        Self::with("127.0.0.1:0", Some(ca), Some(Arc::new(config)))
    }

    fn with(address: &str, ca: Option<PathBuf>, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            tokens: HashMap::new(),
            manners: Manners::AsJambonz,
            accepts_ended: false,
            questions: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let kept = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared, tls) = (stream.unwrap(), kept.clone(), tls.clone());
                // A client that goes away is not the test's concern.
                std::thread::spawn(move || match tls {
                    None => serve(stream, &shared).unwrap_or_default(),
                    Some(tls) => {
                        let tls = ServerConnection::new(tls).unwrap();
                        serve(StreamOwned::new(tls, stream), &shared).unwrap_or_default();
                    }
                });
            }
        });
        Self { address, shared, ca }
    }

    /// The base of its API.
    pub fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}/api", self.address.port())
    }

    /// It knows this token from now on.
    pub fn knows(&self, token: &str, whose: Whose) {
        self.shared.state.lock().unwrap().tokens.insert(token.to_owned(), whose);
    }

    pub fn forgets(&self, token: &str) {
        self.shared.state.lock().unwrap().tokens.remove(token);
    }

    /// Its clock is slow: it takes tokens whose time is over.
    pub fn accepts_ended(&self) {
        self.shared.state.lock().unwrap().accepts_ended = true;
    }

    /// From now on it does this with questions, also with those that wait.
    pub fn turns(&self, manners: Manners) {
        self.shared.state.lock().unwrap().manners = manners;
        self.shared.changed.notify_all();
    }

    /// All questions so far.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.state.lock().unwrap().questions.clone()
    }

    /// Those about this token and what it may open.
    pub fn about(&self, token: &str) -> Vec<Question> {
        let all = self.questions().into_iter().filter(|question| question.token == token);
        all.filter(|question| NAMED.iter().any(|sid| question.path.contains(sid))).collect()
    }
}

/// A token of jambonz's portal with these claims.
pub fn jwt(claims: &Value) -> String {
    let part = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let head = serde_json::json!({"alg": "HS256", "typ": "JWT"});
    format!("{}.{}.c2lnbmF0dXJl", part(&head), part(claims))
}

fn serve(stream: impl Read + Write, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let (mut headers, mut token) = (Vec::new(), String::new());
    loop {
        let mut header = String::new();
        stream.read_line(&mut header)?;
        let header = header.trim_end();
        if header.is_empty() {
            break;
        }
        if header.to_ascii_lowercase().starts_with("authorization: bearer ") {
            header["authorization: bearer ".len()..].clone_into(&mut token);
        }
        headers.push(header.to_ascii_lowercase());
    }
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body)?;
    let body = String::from_utf8(body).unwrap();
    let mut state = shared.state.lock().unwrap();
    let question = Question { method, path, token, headers, body };
    state.questions.push(question.clone());
    while matches!(state.manners, Manners::Waits) {
        state = shared.changed.wait(state).unwrap();
    }
    let whose = state.tokens.get(&question.token).cloned();
    let whose = whose.filter(|_| state.accepts_ended || !has_ended(&question.token));
    let manners = state.manners.clone();
    drop(state);
    let answer = match (manners, whose) {
        (Manners::Hangs, _) => {
            // Until the client gives up.
            stream.read_to_end(&mut Vec::new())?;
            return Ok(());
        }
        (Manners::Cuts, _) => return Ok(()),
        (Manners::Sends(text), _) | (Manners::SendsKnown(text), Some(_)) => text,
        (Manners::OpensAll, Some(_)) if question.path.contains("/Accounts/") => {
            NOT_FOUND.to_owned()
        }
        (_, whose) => answer(&question, whose.as_ref()),
    };
    stream.get_mut().write_all(answer.as_bytes())?;
    stream.get_mut().flush()
}

/// What jambonz answers: `lib/auth/index.js`, then the route.
fn answer(question: &Question, whose: Option<&Whose>) -> String {
    let Some(whose) = whose else { return UNAUTHORIZED.to_owned() };
    let json = |status: &str, body: &str| {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let parts: Vec<&str> = question.path.split('/').collect();
    match parts[..] {
        ["", "api", "v1", "Accounts", account, "Calls", NO_CALL] => {
            let may = match whose {
                Whose::Admin => true,
                Whose::Account(own) => own == account,
                Whose::Provider(_, accounts) => accounts.iter().any(|own| own == account),
            };
            if may {
                return NOT_FOUND.to_owned();
            }
            json("403 Forbidden", "{\"msg\":\"insufficient permissions\"}")
        }
        ["", "api", "v1", "Accounts", account, "Calls"] if question.method == "POST" => match whose
        {
            Whose::Account(own) if own == account => json("201 Created", CREATED),
            Whose::Admin => json("201 Created", CREATED),
            _ => {
                let msg = format!(
                    "{{\"msg\":\"unauthorized createCall request for account {account}\"}}"
                );
                json("400 Bad Request", &msg)
            }
        },
        ["", "api", "v1", "ServiceProviders", provider, "RecentCalls"] if !is_sid(provider) => {
            match whose {
                Whose::Admin => json("400 Bad Request", "{\"msg\":\"Bad request\"}"),
                Whose::Account(_) => json("403 Forbidden", NO_PRIVILEGES),
                Whose::Provider(..) => json(
                    "500 Internal Server Error",
                    "{\"msg\":\"invalid ServiceProvidersSid format\"}",
                ),
            }
        }
        ["", "api", "v1", "ServiceProviders", provider, "RecentCalls"] => {
            let may = match whose {
                Whose::Admin => true,
                Whose::Account(_) => false,
                Whose::Provider(own, _) => own == provider,
            };
            if may {
                let body = "{\"msg\":\"missing or invalid \\\"page\\\" query arg\"}";
                return json("400 Bad Request", body);
            }
            json("403 Forbidden", NO_PRIVILEGES)
        }
        _ => json("418 Not a path of jambonz", "{}"),
    }
}

/// Whether it is a sid to jambonz, which looks at the version, too.
fn is_sid(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|sid| {
        sid.get_variant() == uuid::Variant::RFC4122 && (1..=8).contains(&sid.get_version_num())
    })
}

/// Whether the token's own time is over.
fn has_ended(token: &str) -> bool {
    let Some(payload) = token.split('.').nth(1) else { return false };
    let Ok(payload) = BASE64URL_NOPAD.decode(payload.as_bytes()) else { return false };
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["exp"].as_u64().is_some_and(|end| end <= now())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    rollcall::clock::now().millis() / 1000
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
