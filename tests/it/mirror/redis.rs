//! A Redis that runs, and what jambonz writes to it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::super::harness::{Rollcall, have, until};

/// Hashes as jambonz writes them, one after each status of two legs.
pub const STATES: &str = include_str!("../../fixtures/redis-hashes.json");

/// A server, until this is dropped.
pub struct Redis {
    pub port: u16,
    pub dir: TempDir,
    args: Vec<String>,
    child: Option<Child>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Redis {
    /// A running one with these arguments; none where it is not installed.
    pub fn up(args: &[&str]) -> Option<Self> {
        if !have("redis-server") {
            return None;
        }
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut redis =
            Self { port: free_port(), dir: tempfile::tempdir().unwrap(), args, child: None };
        // Another test may be faster and take the port.
        while let Err(why) = redis.try_start() {
            assert!(why.contains("Address already in use"), "{why}");
            redis.port = free_port();
        }
        Some(redis)
    }

    /// Starts it on its port, with nothing in it.
    pub fn start(&mut self) {
        self.try_start().unwrap();
    }

    fn try_start(&mut self) -> Result<(), String> {
        let log = self.log_path();
        let out = File::create(&log).unwrap();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]);
        command.arg("--dir").arg(self.dir.path());
        command.args(&self.args);
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        // It ends with this, also where it does not come to listen.
        self.stop();
        self.child = Some(command.spawn().unwrap());
        until("Redis listens", || {
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return Some(Err(fs::read_to_string(&log).unwrap()));
            }
            // What it says after it has bound its port.
            let ready = fs::read_to_string(&log).unwrap().contains("Ready to accept connections");
            (ready && TcpStream::connect(("127.0.0.1", self.port)).is_ok()).then_some(Ok(()))
        })
    }

    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("redis.log")
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection that writes.
    pub fn client(&self) -> Client {
        Client::new(self.port)
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A client of Redis that speaks as much as these tests need.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// The answer to a command: the texts in it, or the error.
    pub fn ask(&mut self, words: &[&str]) -> Vec<String> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.extend(["$", &word.len().to_string(), "\r\n", word, "\r\n"]);
        }
        self.0.get_mut().write_all(command.as_bytes()).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let (kind, rest) = line.trim_end().split_at(1);
        match kind {
            "*" => {
                let count: i64 = rest.parse().unwrap();
                (0..count.max(0)).flat_map(|_| self.answer()).collect()
            }
            "$" => {
                let Ok(length) = rest.parse::<usize>() else { return Vec::new() };
                let mut text = vec![0; length + 2];
                self.0.read_exact(&mut text).unwrap();
                vec![String::from_utf8(text[..length].to_vec()).unwrap()]
            }
            _ => vec![rest.to_owned()],
        }
    }

    /// A command that is to be done.
    pub fn ok(&mut self, words: &[&str]) -> Vec<String> {
        let answer = self.ask(words);
        let error =
            answer.first().is_some_and(|text| text.starts_with("ERR") || text.contains("NOAUTH"));
        assert!(!error, "{words:?}: {answer:?}");
        answer
    }

    /// Writes a state as jambonz does, and says when a call with 100 Trying was entered.
    pub fn write(&mut self, state: &Value, score: u64) {
        let key = state["key"].as_str().unwrap();
        let hash = state["hash"].as_object().unwrap();
        let mut words = vec!["HMSET", key];
        for (field, text) in hash {
            words.extend([field.as_str(), text.as_str().unwrap()]);
        }
        let (ttl, score) = (state["ttl"].to_string(), score.to_string());
        self.ok(&["MULTI"]);
        self.ok(&words);
        self.ok(&["EXPIRE", key, &ttl]);
        if hash["sipStatus"] == "100" {
            self.ok(&["ZADD", "active-call-sids", &score, key]);
        }
        self.ok(&["EXEC"]);
    }
}

/// The states that jambonz writes, in order.
pub fn states() -> Vec<Value> {
    let states: Vec<Value> = serde_json::from_str(STATES).unwrap();
    assert_eq!(states.len(), 8);
    states
}

/// A state of call number `n` of an account, made of one of [`states`].
pub fn state_of(account: &str, n: u32, state: &Value) -> Value {
    let sid = super::super::harness::sid(n);
    let mut state = state.clone();
    state["key"] = format!("call:{account}:{sid}").into();
    state["hash"]["accountSid"] = account.into();
    state["hash"]["callSid"] = sid.into();
    state
}

/// Milliseconds since 1970.
pub fn now() -> u64 {
    rollcall::clock::now().millis()
}

/// Waits until `status` says so of the mirror.
pub fn mirror_is(rollcall: &Rollcall, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until(what, || {
        let figures: Value = serde_json::from_str(&rollcall.figures()).unwrap();
        Some(figures["mirror"].clone()).filter(|mirror| wanted(mirror))
    })
}

/// A rollcall that mirrors this Redis, once all calls have been looked through.
pub fn mirroring(redis: &Redis, flags: &[&str]) -> Rollcall {
    let url = redis.url();
    let flags = [&["--mirror-redis-url", &url], flags].concat();
    let rollcall = Rollcall::up(&flags);
    mirror_is(&rollcall, "all calls are looked through", |mirror| {
        mirror["reconciled_at"].is_string()
    });
    rollcall
}

/// A call as it is answered, once it has this status.
pub fn call_with(rollcall: &Rollcall, account: &str, sid: &str, status: &str) -> Value {
    let (admin, path) = (rollcall.admin(), format!("/v1/Accounts/{account}/Calls/{sid}"));
    until(&format!("{sid} is {status}"), || {
        let answer = rollcall.get(&admin, &path);
        let call = (answer.status == 200).then(|| answer.json())?;
        (call["call_status"] == status).then_some(call)
    })
}

/// The timeline of a call: source, status, and whether the time is known.
pub fn timeline(rollcall: &Rollcall, account: &str, sid: &str) -> Vec<(String, String, bool)> {
    let path = format!("/v1/Accounts/{account}/Calls/{sid}/events");
    let answer = rollcall.get(&rollcall.admin(), &path);
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    answer
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (text(entry, "source"), text(entry, "call_status"), entry["at"].is_string()))
        .collect()
}

/// The path of a file in a directory, as text.
pub fn path_in(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().unwrap().to_owned()
}
