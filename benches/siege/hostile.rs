//! Clients that mean no good, each kind by itself, while others go on asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::client::{ACCOUNT, Place, event};
use super::idle::released;
use super::probe::{millis, probe};
use super::server::{Server, mib};
use super::{Outcome, Table};

/// Short limits, so that a siege of some seconds sees them act.
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
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls in the list that slow readers ask for.
const CALLS: u64 = 20_000;

#[derive(Debug, Clone, Copy)]
enum Attack {
    SilentBeforeTls,
    SilentAfterTls,
    SlowHeaders,
    SlowBody,
    LargeSlowBody,
    SlowReader,
    Garbage,
    HugeHeaders,
    Smuggling,
    TruncatedBody,
    WrongToken,
}

/// Each with how many do it at a time, and their pause between two connections.
const ATTACKS: [(Attack, usize, u64); 11] = [
    (Attack::SilentBeforeTls, 1000, 0),
    (Attack::SilentAfterTls, 500, 0),
    (Attack::SlowHeaders, 500, 0),
    (Attack::SlowBody, 500, 0),
    (Attack::LargeSlowBody, 400, 0),
    (Attack::SlowReader, 200, 0),
    (Attack::Garbage, 10, 50),
    (Attack::HugeHeaders, 10, 100),
    (Attack::Smuggling, 10, 100),
    (Attack::TruncatedBody, 10, 100),
    (Attack::WrongToken, 10, 100),
];

pub async fn run(table: &mut Table, time: Duration) -> Outcome<()> {
    let server = Server::start(&FLAGS)?;
    let place = Place::of(&server);
    let mut writer = place.client().await?;
    for begin in (0..CALLS).step_by(1000) {
        let lines: Vec<_> = (begin..begin + 1000).map(|n| event(n, "in-progress", "")).collect();
        writer.post(&lines.join("\n")).await?;
    }
    drop(writer);
    for (attack, count, pause) in ATTACKS {
        one(table, &server, time, (attack, count, Duration::from_millis(pause))).await?;
    }
    table.line("memory peak", mib(server.taken()?.peak_bytes));
    table.line("exit code after SIGTERM", format!("{:?}", server.stop()?));
    Ok(())
}

async fn one(
    table: &mut Table,
    server: &Server,
    time: Duration,
    (attack, count, pause): (Attack, usize, Duration),
) -> Outcome<()> {
    let place = Place::of(server);
    let quiet = probe(&place, time).await?.percentile(99);
    let before = server.taken()?;
    let stop = Arc::new(AtomicBool::new(false));
    let ended = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let (place, stop, ended) = (place.clone(), stop.clone(), ended.clone());
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // However it ends: what counts is that it ends.
                let outcome = act(attack, &place).await;
                if let Err(error) = &outcome
                    && error.is::<Broken>()
                {
                    return outcome;
                }
                ended.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(pause).await;
            }
            Ok(())
        });
    }
    let waits = probe(&place, time).await?.percentile(99);
    let held = server.taken()?;
    stop.store(true, Ordering::Relaxed);
    // The attackers hold on to what they have until the server ends it.
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    let released = released(server, before.files).await?;
    let figure = format!(
        "p99 of others {} → {} ({:.1} ×); {} files open, {} more memory; {} connections, all \
         ended by the server, files closed {} later",
        millis(quiet),
        millis(waits),
        waits.as_secs_f64() / quiet.as_secs_f64(),
        held.files,
        mib(held.resident_bytes.saturating_sub(before.resident_bytes)),
        ended.load(Ordering::Relaxed),
        millis(released)
    );
    table.line(&format!("{attack:?}, {count} at a time"), figure);
    Ok(())
}

/// The server has done what it must not.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

async fn act(attack: Attack, place: &Place) -> Outcome<()> {
    let hook = "POST /v1/hooks/call-status HTTP/1.1\r\nHost: localhost\r\n\
                Jambonz-Signature: t=1,v1=00\r\nContent-Length: 1048576\r\n\r\n";
    match attack {
        Attack::SilentBeforeTls => ends(place.tcp().await?).await,
        Attack::SilentAfterTls => ends(place.tls().await?).await,
        Attack::SlowHeaders => drip(place.tls().await?, b"GET /livez HTTP/1.1\r\nHost: l").await,
        Attack::SlowBody => drip(place.tls().await?, hook.as_bytes()).await,
        Attack::LargeSlowBody => {
            let most = [hook.as_bytes(), &vec![b' '; 1_000_000]].concat();
            drip(place.tls().await?, &most).await
        }
        Attack::SlowReader => {
            let mut stream = place.tls().await?;
            let head = format!(
                "GET /v1/Accounts/{ACCOUNT}/Calls HTTP/1.1\r\nHost: localhost\r\n\
                 Authorization: Bearer {}\r\n\r\n",
                place.token
            );
            stream.write_all(head.as_bytes()).await?;
            // It reads nothing until the server has lost patience.
            tokio::time::sleep(Duration::from_secs(5)).await;
            ends(stream).await
        }
        Attack::Garbage => {
            let mut stream = place.tcp().await?;
            stream.write_all(&[0x5a; 1024]).await?;
            ends(stream).await
        }
        Attack::HugeHeaders => {
            let mut stream = place.tls().await?;
            let head =
                format!("GET /livez HTTP/1.1\r\nHost: l\r\nX: {}\r\n\r\n", "x".repeat(65_536));
            let _cut = stream.write_all(head.as_bytes()).await;
            ends(stream).await
        }
        Attack::Smuggling => smuggle(place).await,
        Attack::TruncatedBody => {
            let mut stream = place.tls().await?;
            stream.write_all(hook.as_bytes()).await?;
            stream.write_all(b"{\"account_sid\":").await?;
            stream.shutdown().await?;
            ends(stream).await
        }
        Attack::WrongToken => {
            let mut client = place.client().await?;
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

/// A request in the body of another, by two ways of saying how long that is. It is never answered.
async fn smuggle(place: &Place) -> Outcome<()> {
    let inner = "GET /livez HTTP/1.1\r\nHost: l\r\n\r\n";
    for (lengths, body) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", format!("0\r\n\r\n{inner}")),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", format!("0\r\n\r\n{inner}")),
        ("Content-Length: 0\r\nContent-Length: 33", inner.to_owned()),
        ("Transfer-Encoding: xchunked", format!("0\r\n\r\n{inner}")),
        ("Transfer-Encoding : chunked", format!("0\r\n\r\n{inner}")),
    ] {
        let mut stream = place.tls().await?;
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
    tokio::time::timeout(PATIENCE, ended).await.map_err(late)?
}
