//! How long a sender of webhooks waits for its 204 while they are passed on, and while they are not: turn by
//! turn on one machine, at an even rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::client::{ACCOUNT, Target, event};
use super::probe::millis;
use super::server::{Server, mib};
use super::{Outcome, Table};

/// Webhooks a second.
const RATE: u64 = 200;
/// Turns of each kind.
const ROUNDS: u64 = 4;

/// What the target does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiver {
    Answers,
    Hangs,
}

/// Sends for so many seconds to a server without a target, to one whose target answers, and to one whose target
/// never does, in turns.
pub async fn run(table: &mut Table, time: Duration) -> Outcome<()> {
    let kinds = [
        ("without a target", None),
        ("with a target that answers", Some(Receiver::Answers)),
        ("with a target that never answers", Some(Receiver::Hangs)),
    ];
    let mut servers = Vec::new();
    for (name, receiver) in kinds {
        let delivered = Arc::new(AtomicU64::new(0));
        let mut flags = Vec::new();
        if let Some(receiver) = receiver {
            let port = receive(receiver, delivered.clone()).await?;
            flags.push("--forward-targets".to_owned());
            flags.push(format!(
                "[{{ name = \"bench\", url = \"http://127.0.0.1:{port}/\", account_sid = \"{ACCOUNT}\" }}]"
            ));
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        servers.push((name, Server::start(&flags)?, delivered, Vec::new()));
    }
    let turn = time / u32::try_from(ROUNDS * 3).unwrap_or(u32::MAX);
    for round in 0..ROUNDS {
        for (_, server, _, waits) in &mut servers {
            waits.extend(send(&Target::of(server), turn, round).await?);
        }
    }
    let mut first = None;
    for (name, server, delivered, mut waits) in servers {
        waits.sort_unstable();
        let at = |part: usize| waits.get(waits.len() * part / 1000).copied().unwrap_or_default();
        let (p50, p99) = (at(500), at(990));
        let (base50, base99) = *first.get_or_insert((p50, p99));
        let ratio =
            |one: Duration, base: Duration| one.as_secs_f64() / base.as_secs_f64().max(1e-9);
        table.line(
            name,
            format!(
                "p50 {} (× {:.2}), p99 {} (× {:.2}), {} of {} passed on, {}",
                millis(p50),
                ratio(p50, base50),
                millis(p99),
                ratio(p99, base99),
                delivered.load(Ordering::Relaxed),
                waits.len(),
                mib(server.taken()?.resident_bytes)
            ),
        );
    }
    Ok(())
}

/// How long each answer took.
async fn send(target: &Target, time: Duration, round: u64) -> Outcome<Vec<Duration>> {
    let mut client = target.client().await?;
    let (begun, mut waits) = (Instant::now(), Vec::new());
    let statuses = ["trying", "ringing", "in-progress", "completed"];
    for n in 0_u64.. {
        let due = Duration::from_micros(n * 1_000_000 / RATE);
        if due >= time {
            break;
        }
        tokio::time::sleep_until((begun + due).into()).await;
        let status = statuses.get(usize::try_from(n % 4)?).copied().unwrap_or("trying");
        let body = event(round * 1_000_000 + n / 4, status, "");
        let asked = Instant::now();
        let answer = client.post(&body).await?;
        waits.push(asked.elapsed());
        if answer.status != 204 {
            return Err(format!("a webhook was answered {}", answer.status).into());
        }
    }
    Ok(waits)
}

/// A receiver on a port of its own. It runs until this process ends.
async fn receive(receiver: Receiver, delivered: Arc<AtomicU64>) -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let delivered = delivered.clone();
            tokio::spawn(async move { answer(stream, receiver, &delivered).await });
        }
    });
    Ok(port)
}

async fn answer(mut stream: TcpStream, receiver: Receiver, delivered: &AtomicU64) {
    let mut read = Vec::new();
    loop {
        let Ok(1..) = stream.read_buf(&mut read).await else { return };
        // A body of JSON ends so, and no head does.
        if receiver == Receiver::Answers && read.ends_with(b"}") {
            read.clear();
            delivered.fetch_add(1, Ordering::Relaxed);
            let said = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
            if stream.write_all(said).await.is_err() {
                return;
            }
        }
    }
}
