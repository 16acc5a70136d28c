//! Calls that jambonz would write into Redis, at a steady rate: how long it takes until the mirror has
//! each state on disk and published, what is missed, and what that costs Redis.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::client::{ACCOUNT, Target};
use super::server::{Server, mib};
use super::{Outcome, Table};

/// Calls that begin in a second.
const RATE: u64 = 200;
/// Time between two states of a call, in turns of the writer, each of which begins one.
const GAP_TURNS: u64 = 60;
const STATES: [(&str, &str, &str); 4] = [
    ("trying", "100", "43200"),
    ("ringing", "180", "43200"),
    ("in-progress", "200", "3600"),
    ("completed", "200", "3600"),
];
/// How long what was written last may take.
const LATE_MAX: Duration = Duration::from_secs(30);

/// When each state of each call was written.
type Sent = Arc<Mutex<HashMap<(u64, usize), Instant>>>;

/// Writes for so long without the mirror, and for so long with it.
pub async fn run(table: &mut Table, time: Duration) -> Outcome<()> {
    let turns = time.as_secs().max(10) * RATE;
    let sent = Sent::default();
    let redis = Redis::start()?;
    let states = write(&redis, 0, turns, &sent).await?;
    let quiet = each(redis.cpu_ticks()?, states);

    let redis = Redis::start()?;
    let server = Server::start(&["--mirror-redis-url", &redis.url()])?;
    let target = Target::of(&server);
    let seen = Arc::new(Mutex::new(Seen::default()));
    let reader = tokio::spawn(follow(target.clone(), sent.clone(), seen.clone()));
    // One call, so that all is under way.
    write(&redis, turns, 1, &sent).await?;
    wait(|| ended(&seen) == 1).await;
    sent.lock().unwrap_or_else(PoisonError::into_inner).clear();
    take(&seen);
    let (redis_before, before) = (redis.cpu_ticks()?, server.taken()?);
    let states = write(&redis, 0, turns, &sent).await?;
    let (redis_after, after) = (redis.cpu_ticks()?, server.taken()?);
    wait(|| ended(&seen) == turns).await;
    reader.abort();
    let mut seen = take(&seen);
    seen.delays.sort_unstable();
    let delay = |part: usize| {
        let at = (seen.delays.len().max(1) - 1) * part / 1000;
        format!("{:.1} ms", seen.delays.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0)
    };
    let followed = each(redis_after - redis_before, states);
    let calls = format!("{turns} calls, {states} states in {} s", time.as_secs().max(10));
    table.line("written", calls);
    let times = format!("p50 {}, p99 {}, most {}", delay(500), delay(990), delay(1000));
    table.line("from the write to the change feed", times);
    table.line("final states missed", (turns - seen.ended).to_string());
    table.line("other states missed", (states - turns - (seen.states - seen.ended)).to_string());
    let cost =
        format!("{quiet:.1} µs, with the mirror {followed:.1} µs, × {:.2}", followed / quiet);
    table.line("processor time of Redis for a state", cost);
    let own = each(after.cpu_ticks - before.cpu_ticks, states);
    table.line("processor time of rollcall for a state", format!("{own:.1} µs"));
    table.line("memory of rollcall", mib(after.resident_bytes));
    let mut client = target.client().await?;
    let live = client.get(&format!("/v1/Accounts/{ACCOUNT}/CallCount")).await?.body;
    table.line("active calls at the end", String::from_utf8_lossy(&live).into_owned());
    table.line("warnings and errors in the log", server.complaints()?.to_string());
    Ok(())
}

/// Microseconds of each.
#[expect(clippy::cast_precision_loss, reason = "few digits are shown")]
fn each(ticks: u64, states: u64) -> f64 {
    ticks as f64 * 10_000.0 / states.max(1) as f64
}

fn take(seen: &Mutex<Seen>) -> Seen {
    std::mem::take(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
}

fn ended(seen: &Mutex<Seen>) -> u64 {
    seen.lock().unwrap_or_else(PoisonError::into_inner).ended
}

/// Waits for a condition, for a while.
async fn wait(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() && begun.elapsed() < LATE_MAX {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the change feed has brought.
#[derive(Default)]
struct Seen {
    states: u64,
    ended: u64,
    delays: Vec<Duration>,
}

/// Reads the change feed until it is dropped.
async fn follow(target: Target, sent: Sent, seen: Arc<Mutex<Seen>>) -> Outcome<()> {
    let mut stream = BufReader::new(target.tls().await?);
    let request = format!(
        "GET /v1/Accounts/{ACCOUNT}/Calls/changes HTTP/1.1\r\nHost: localhost\r\n\
         Accept: text/event-stream\r\nAuthorization: Bearer {}\r\n\r\n",
        target.token
    );
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).await?;
    }
    let mut text = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let size = usize::from_str_radix(line.trim(), 16)?;
        let begin = text.len();
        text.resize(begin + size + 2, 0);
        stream.read_exact(text.get_mut(begin..).unwrap_or_default()).await?;
        text.truncate(begin + size);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Some(json) = line.strip_prefix(b"data: ") {
                note(json, &sent, &seen);
            }
        }
    }
}

fn note(json: &[u8], sent: &Sent, seen: &Mutex<Seen>) {
    let now = Instant::now();
    let Ok(change) = serde_json::from_slice::<serde_json::Value>(json) else { return };
    let call = change.get("call").unwrap_or(&change);
    let text = |key: &str| call.get(key).and_then(serde_json::Value::as_str);
    let (Some(sid), Some(status)) = (text("call_sid"), text("call_status")) else { return };
    let number = sid.rsplit('-').next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let state = STATES.iter().position(|(name, ..)| *name == status);
    let (Some(number), Some(state)) = (number, state) else { return };
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner).remove(&(number, state));
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.states += 1;
    seen.ended += u64::from(state == STATES.len() - 1);
    seen.delays.extend(sent.map(|sent| now.saturating_duration_since(sent)));
}

/// Writes all states of so many calls, from this number on, as jambonz does. How many states that were.
async fn write(redis: &Redis, first: u64, calls: u64, sent: &Sent) -> Outcome<u64> {
    let stream = TcpStream::connect(("127.0.0.1", redis.port)).await?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut written = 0;
    for turn in 0..calls + GAP_TURNS * 3 {
        ticks.tick().await;
        for (state, ago) in [0, 1, 2, 3].map(|n| (n, n as u64 * GAP_TURNS)) {
            let Some(call) = turn.checked_sub(ago).filter(|call| *call < calls) else { continue };
            let call = first + call;
            let (command, lines) = command(call, state);
            let at = Instant::now();
            sent.lock().unwrap_or_else(PoisonError::into_inner).insert((call, state), at);
            stream.write_all(command.as_bytes()).await?;
            let mut line = String::new();
            for _ in 0..lines {
                line.clear();
                stream.read_line(&mut line).await?;
                if line.is_empty() || line.starts_with('-') {
                    return Err(format!("Redis has answered {line:?}").into());
                }
            }
            written += 1;
        }
    }
    Ok(written)
}

/// What jambonz sends for a state, and how many lines its answer has.
fn command(call: u64, state: usize) -> (String, usize) {
    let (status, sip_status, seconds) = STATES.get(state).copied().unwrap_or_default();
    let key = format!("call:{ACCOUNT}:e0000000-0000-4000-8000-{call:012x}");
    let sid = format!("e0000000-0000-4000-8000-{call:012x}");
    let (from, call_id) = (format!("+1555{:07}", call % 5000), format!("fs-{call}@198.51.100.7"));
    let (sbc, trace) = (format!("sbc-{call}@203.0.113.9"), format!("{call:032x}"));
    let mut hash = vec![
        "HMSET",
        &key,
        "callSid",
        &sid,
        "direction",
        "inbound",
        "from",
        &from,
        "to",
        "+15559999999",
        "callId",
        &call_id,
        "sbcCallid",
        &sbc,
        "accountSid",
        ACCOUNT,
        "traceId",
        &trace,
        "applicationSid",
        "7087fe50-8acb-4f3b-b820-97b573723aab",
        "fsSipAddress",
        "10.0.0.5:5060",
        "originatingSipIp",
        "198.51.100.4",
        "originatingSipTrunkName",
        "Twilio",
        "callStatus",
        status,
        "sipStatus",
        sip_status,
        "sipReason",
        "OK",
    ];
    match state {
        0 => hash.extend(["serviceUrl", "http://10.0.0.5:3000"]),
        3 => hash.extend(["duration", "43", "callTerminationBy", "caller"]),
        _ => {}
    }
    let score = call.to_string();
    let mut commands = vec![hash, vec!["EXPIRE", &key, seconds]];
    if state == 0 {
        commands.push(vec!["ZADD", "active-call-sids", &score, &key]);
    }
    let each = commands.len();
    commands.insert(0, vec!["MULTI"]);
    commands.push(vec!["EXEC"]);
    let mut text = String::new();
    for words in commands {
        text.extend(["*", &words.len().to_string(), "\r\n"]);
        for word in words {
            text.extend(["$", &word.len().to_string(), "\r\n", word, "\r\n"]);
        }
    }
    (text, 2 + 2 * each)
}

struct Redis {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Redis {
    fn start() -> Outcome<Self> {
        let dir = tempfile::tempdir()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"]);
        command.arg(dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().map_err(|error| format!("redis-server: {error}"))?;
        let redis = Self { child, port, _dir: dir };
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if begun.elapsed() > LATE_MAX {
                return Err("redis-server does not listen".into());
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its processor time, in hundredths of a second.
    fn cpu_ticks(&self) -> Outcome<u64> {
        let stat = Path::new("/proc").join(self.child.id().to_string()).join("stat");
        let stat = fs::read_to_string(stat)?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |place| after_name.split_whitespace().nth(place)?.parse::<u64>().ok();
        Ok(ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
