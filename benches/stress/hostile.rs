//! Clients that mean no good, each kind by itself, while others go on asking.

use std::error::Error;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::client::{ACCOUNT, CROWDED, Target, event};
use super::idle::released;
use super::probe::{millis, probe};
use super::server::{Server, mib};
use super::{Outcome, Table};

/// Short limits, so that an attack of some seconds sees them act.
const FLAGS: [&str; 8] = [
    "--limits-handshake",
    "3s",
    "--limits-header",
    "3s",
    "--limits-body",
    "3s",
    "--limits-write",
    "3s",
];
/// How long a connection may outlive them.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Calls in the list that slow readers ask for.
const CALLS: u64 = 20_000;

#[derive(Debug, Clone, Copy)]
enum Attack {
    SilentBeforeTls,
    SilentAfterTls,
    SlowHeaders,
    SlowBody,
    LargeSlowBody,
    LargeFastBody,
    SlowReader,
    Garbage,
    HugeHeaders,
    Smuggling,
    TruncatedBody,
    WrongToken,
    Counts,
    PrefixScans,
    LargePages,
    AbandonedCounts,
}

/// Each with how many do it at a time, and their pause between two connections.
const ATTACKS: [(Attack, usize, u64); 16] = [
    (Attack::SilentBeforeTls, 1000, 0),
    (Attack::SilentAfterTls, 500, 0),
    (Attack::SlowHeaders, 500, 0),
    (Attack::SlowBody, 500, 0),
    // Through a link of 1 Gbit/s they have come within two of their three seconds.
    (Attack::LargeSlowBody, 200, 0),
    (Attack::LargeFastBody, 400, 0),
    (Attack::SlowReader, 200, 0),
    (Attack::Garbage, 10, 50),
    (Attack::HugeHeaders, 10, 100),
    (Attack::Smuggling, 10, 100),
    (Attack::TruncatedBody, 10, 100),
    (Attack::WrongToken, 10, 100),
    (Attack::Counts, 32, 0),
    (Attack::PrefixScans, 32, 0),
    (Attack::LargePages, 32, 0),
    (Attack::AbandonedCounts, 32, 0),
];

/// All of them, or the one of this name.
pub async fn run(table: &mut Table, time: Duration, only: Option<&str>) -> Outcome<()> {
    let named = |attack: Attack| only.is_none_or(|only| format!("{attack:?}") == only);
    let chosen = ATTACKS.iter().enumerate().filter(|(_, (attack, ..))| named(*attack));
    let chosen: Vec<_> = chosen.collect();
    if chosen.is_empty() {
        let known: Vec<_> = ATTACKS.iter().map(|(attack, ..)| format!("{attack:?}")).collect();
        return Err(format!("there is no such attack; there are {}", known.join(", ")).into());
    }
    let server = Server::start(&FLAGS)?;
    server.sign(ACCOUNT)?;
    let target = Target::of(&server);
    let mut writer = target.client().await?;
    for begin in (0..CALLS).step_by(1000) {
        let lines: Vec<_> = (begin..begin + 1000).map(|n| event(n, "in-progress", "")).collect();
        let lines = lines.join("\n");
        writer.post(&lines).await?;
        writer.post(&lines.replace(ACCOUNT, CROWDED)).await?;
    }
    drop(writer);
    // What was written settles first: a checkpoint, and packing.
    probe(&target, time).await?;
    for (number, (attack, count, _)) in chosen {
        let figure = one(&server, time, number).await?;
        table.line(&format!("{attack:?}, {count} at a time"), figure);
    }
    table.line("memory peak", mib(server.taken()?.peak_bytes));
    table.line("exit code after SIGTERM", format!("{:?}", server.stop()?));
    Ok(())
}

async fn one(server: &Server, time: Duration, number: usize) -> Outcome<String> {
    let target = Target::of(server);
    let quiet = probe(&target, time).await?.percentile(99);
    let elsewhere = {
        let other = Server::start(&FLAGS)?;
        other.sign(ACCOUNT)?;
        let mut attackers = Attackers::begin(&other, number)?;
        let waits = probe(&target, time).await?.percentile(99);
        attackers.end()?;
        waits
    };
    let before = server.taken()?;
    let mut attackers = Attackers::begin(server, number)?;
    let here = probe(&target, time).await?.percentile(99);
    let held = server.taken()?;
    // They hold on to what they have until the server ends it.
    let ended = attackers.end()?;
    let released = released(server, before.sockets).await?;
    let times = |others: Duration| here.as_secs_f64() / others.as_secs_f64();
    Ok(format!(
        "p99 of others {} quiet, {} during the attack: {:.1} × ({} and {:.1} × while another \
         server of this machine was attacked); {} files open, {} more memory; {ended} connections, \
         all ended by the server, the sockets closed {} later",
        millis(quiet),
        millis(here),
        times(quiet),
        millis(elsewhere),
        times(elsewhere),
        held.files,
        mib(held.resident_bytes.saturating_sub(before.resident_bytes)),
        millis(released)
    ))
}

/// A process of those that mean no good. It has the processors when nobody else wants them, for
/// attackers have machines of their own: what is measured is what they make the server do. Their
/// share of the network's work is not put off like that, nor is what any server would do for them:
/// hence the attack on another one for comparison.
struct Attackers {
    child: Child,
    order: Option<ChildStdin>,
}

impl Attackers {
    fn begin(server: &Server, number: usize) -> Outcome<Self> {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(std::env::current_exe()?);
        command.args(["--bench", "attack", &number.to_string()]);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn()?;
        let mut order = child.stdin.take().ok_or("standard input is piped")?;
        let ca = server.ca();
        writeln!(order, "{}\n{}\n{}", server.port, server.token, ca.display())?;
        Ok(Self { child, order: Some(order) })
    }

    /// Waits until the last connection has ended, and returns how many there were.
    fn end(&mut self) -> Outcome<u64> {
        self.order = None;
        let mut said = String::new();
        self.child.stdout.take().ok_or("standard output is piped")?.read_to_string(&mut said)?;
        let code = self.child.wait()?;
        said.trim().parse().map_err(|_| format!("the attackers ended with {code}: {said}").into())
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The attackers' process: attacks until its standard input ends, and writes how many connections
/// that were.
pub async fn attack(number: u64) -> Outcome<()> {
    let known = usize::try_from(number).ok().and_then(|number| ATTACKS.get(number));
    let &(attack, count, pause) = known.ok_or("there is no such attack")?;
    let mut order = String::new();
    for _ in 0..3 {
        io::stdin().read_line(&mut order)?;
    }
    let mut lines = order.lines().map(str::to_owned);
    let mut line = || lines.next().ok_or("a line is missing");
    let (port, token, ca) = (line()?, line()?, line()?);
    let target = Target::new(port.parse()?, token, Path::new(&ca))?;
    let stop = Arc::new(AtomicBool::new(false));
    let ordered = stop.clone();
    std::thread::spawn(move || {
        let _ended = io::copy(&mut io::stdin(), &mut io::sink());
        ordered.store(true, Ordering::Relaxed);
    });
    let link = Arc::new(Link(Mutex::new(Instant::now())));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (target, stop, link) = (target.clone(), stop.clone(), link.clone());
        tasks.spawn(async move {
            let mut ended = 0;
            while !stop.load(Ordering::Relaxed) {
                // However it ends: what counts is that it ends.
                if let Err(error) = act(attack, &target, &link).await
                    && error.is::<Broken>()
                {
                    return Err(error);
                }
                ended += 1;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Ok::<u64, Box<dyn Error + Send + Sync>>(ended)
        });
    }
    let mut ended = 0;
    while let Some(outcome) = tasks.join_next().await {
        ended += outcome??;
    }
    writeln!(io::stdout(), "{ended}")?;
    Ok(())
}

/// What all large slow bodies come through: a link of 1 Gbit/s. The loopback device has no such limit,
/// and what it carries keeps the processors from everybody.
struct Link(Mutex<Instant>);

/// Bytes that go out at once.
const LINK_BYTES: usize = 8 * 1024;
/// Bytes of a large body, but for a few.
const LARGE_BYTES: usize = 1_000_000;

impl Link {
    /// Waits until so many bytes may go.
    async fn pass(&self, bytes: usize) {
        let time = Duration::from_nanos(8) * u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut free = self.0.lock().await;
        let begin = (*free).max(Instant::now());
        *free = begin + time;
        drop(free);
        tokio::time::sleep_until(begin.into()).await;
    }
}

/// The server has done what it must not.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Broken {}

async fn act(attack: Attack, target: &Target, link: &Link) -> Outcome<()> {
    // A signature of now may be right as long as its body has not come: an old one is refused at once.
    let now = rollcall::clock::system_time().duration_since(UNIX_EPOCH)?.as_secs();
    let hook = format!(
        "POST /v1/hooks/call-status HTTP/1.1\r\nHost: localhost\r\n\
         Jambonz-Signature: t={now},v1={}\r\nContent-Length: 1048576\r\n\r\n",
        "0".repeat(64)
    );
    match attack {
        Attack::SilentBeforeTls => ends(target.tcp().await?).await,
        Attack::SilentAfterTls => ends(target.tls().await?).await,
        Attack::SlowHeaders => drip(target.tls().await?, b"GET /livez HTTP/1.1\r\nHost: l").await,
        Attack::SlowBody => drip(target.tls().await?, hook.as_bytes()).await,
        Attack::LargeSlowBody | Attack::LargeFastBody => {
            let mut stream = target.tls().await?;
            stream.write_all(hook.as_bytes()).await?;
            for _ in 0..LARGE_BYTES / LINK_BYTES {
                if matches!(attack, Attack::LargeSlowBody) {
                    link.pass(LINK_BYTES).await;
                }
                stream.write_all(&[b' '; LINK_BYTES]).await?;
            }
            drip(stream, b"").await
        }
        Attack::SlowReader => {
            let mut stream = target.tls().await?;
            let head = format!(
                "GET /v1/Accounts/{ACCOUNT}/Calls HTTP/1.1\r\nHost: localhost\r\n\
                 Authorization: Bearer {}\r\nConnection: close\r\n\r\n",
                target.token
            );
            stream.write_all(head.as_bytes()).await?;
            // It reads nothing until the server has given up.
            tokio::time::sleep(Duration::from_secs(5)).await;
            ends(stream).await
        }
        Attack::Garbage => {
            let mut stream = target.tcp().await?;
            stream.write_all(&[0x5a; 1024]).await?;
            ends(stream).await
        }
        Attack::HugeHeaders => {
            let mut stream = target.tls().await?;
            let head =
                format!("GET /livez HTTP/1.1\r\nHost: l\r\nX: {}\r\n\r\n", "x".repeat(65_536));
            let _cut = stream.write_all(head.as_bytes()).await;
            ends(stream).await
        }
        Attack::Smuggling => smuggle(target).await,
        Attack::TruncatedBody => {
            let mut stream = target.tls().await?;
            stream.write_all(hook.as_bytes()).await?;
            stream.write_all(b"{\"account_sid\":").await?;
            stream.shutdown().await?;
            ends(stream).await
        }
        Attack::Counts => clients(target, "limit=1&count=true&from_prefix=%2B1").await,
        Attack::PrefixScans => clients(target, "limit=50&from_prefix=%2B9").await,
        Attack::LargePages => clients(target, "limit=10000").await,
        Attack::AbandonedCounts => {
            let mut stream = target.tls().await?;
            let path = format!("/v1/Accounts/{CROWDED}/Calls?count=true&limit=1&from_prefix=%2B1");
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n",
                target.token
            );
            stream.write_all(head.as_bytes()).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        }
        Attack::WrongToken => {
            let mut client = target.client().await?;
            let head =
                "GET /v1/Calls/changes HTTP/1.1\r\nHost: l\r\nAuthorization: Bearer no\r\n\r\n";
            let status = client.ask(head.as_bytes()).await?.status;
            if matches!(status, 401 | 429) {
                Ok(())
            } else {
                Err(Broken(format!("{status}")).into())
            }
        }
    }
}

/// Some questions of the account whose readers want much, one after another.
async fn clients(target: &Target, query: &str) -> Outcome<()> {
    let mut client = target.client().await?;
    for _ in 0..20 {
        let answer = client.get(&format!("/v1/Accounts/{CROWDED}/Calls?{query}")).await?;
        if answer.status != 200 {
            return Err(Broken(format!("{query}: {}", answer.status)).into());
        }
    }
    Ok(())
}

/// A request in the body of another, by two ways of saying how long that is. It is never answered.
async fn smuggle(target: &Target) -> Outcome<()> {
    let inner = "GET /livez HTTP/1.1\r\nHost: l\r\n\r\n";
    for (lengths, body) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", format!("0\r\n\r\n{inner}")),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", format!("0\r\n\r\n{inner}")),
        ("Content-Length: 0\r\nContent-Length: 33", inner.to_owned()),
        ("Transfer-Encoding: xchunked", format!("0\r\n\r\n{inner}")),
        ("Transfer-Encoding : chunked", format!("0\r\n\r\n{inner}")),
    ] {
        let mut stream = target.tls().await?;
        let head = format!("POST /livez HTTP/1.1\r\nHost: l\r\n{lengths}\r\n\r\n{body}");
        stream.write_all(head.as_bytes()).await?;
        let mut said = Vec::new();
        let _cut = stream.read_to_end(&mut said).await;
        let said = String::from_utf8_lossy(&said);
        if said.matches("HTTP/1.1 ").count() != 1 || said.starts_with("HTTP/1.1 200") {
            return Err(Broken(format!("{lengths}: {said}")).into());
        }
    }
    Ok(())
}

/// Sends this at once and then a byte now and then, until the server ends it.
async fn drip(mut stream: impl AsyncRead + AsyncWrite + Unpin, begin: &[u8]) -> Outcome<()> {
    stream.write_all(begin).await?;
    let mut answer = [0; 1024];
    loop {
        let pause = tokio::time::sleep(Duration::from_millis(500));
        tokio::select! {
            read = stream.read(&mut answer) => {
                if read? == 0 {
                    return Ok(());
                }
            }
            () = pause => {
                stream.write_all(b" ").await?;
                stream.flush().await?;
            }
        }
    }
}

/// Waits for the end of a connection, whatever comes before it.
async fn ends(mut stream: impl AsyncRead + Unpin) -> Outcome<()> {
    let mut rest = vec![0; 65_536];
    let ended = async {
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    };
    let late = |_| Broken("the server does not end a connection".to_owned());
    tokio::time::timeout(TIMEOUT, ended).await.map_err(late)?
}
