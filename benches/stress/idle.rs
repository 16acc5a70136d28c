//! Connections that do nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use super::client::Target;
use super::probe::{millis, probe};
use super::server::{Server, mib};
use super::{Outcome, Table};

/// Handshakes at a time.
const AT_ONCE: usize = 32;
/// How long others are asked.
const PROBE: Duration = Duration::from_secs(5);

/// Half of the rounds are silent after the handshake, half have been answered once.
pub async fn run(table: &mut Table, count: u64) -> Outcome<()> {
    let connections = (count + 64).to_string();
    let server = Server::start(&["--limits-connections", &connections, "--limits-header", "10m"])?;
    let target = Target::of(&server);
    let quiet = probe(&target, PROBE).await?;
    let before = server.taken()?;
    table.line("memory before", mib(before.resident_bytes));
    let p99 = quiet.percentile(99);
    table.line("p99 of others before", millis(p99));
    for round in 0..6 {
        let asked = round % 2 == 1;
        let begun = Instant::now();
        let held = hold(&target, count, asked).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let what = format!(
            "{count} idle TLS connections, {}, round {}",
            if asked { "answered once" } else { "silent" },
            round + 1
        );
        let waits = probe(&target, PROBE).await?;
        let taken = server.taken()?;
        let more = taken.resident_bytes.saturating_sub(before.resident_bytes);
        let ratio = waits.percentile(99).as_secs_f64() / p99.as_secs_f64();
        let figure = format!(
            "{} more, {} B each; p99 of others {} ({ratio:.1} × quiet); made in {seconds:.1} s",
            mib(more),
            more / count.max(1),
            millis(waits.percentile(99))
        );
        table.line(&what, figure);
        drop(held);
        let released = released(&server, before.sockets).await?;
        let left = server.taken()?.resident_bytes.saturating_sub(before.resident_bytes);
        let figure = format!("{} more, all released in {}", mib(left), millis(released));
        table.line("after they are closed", figure);
    }
    table.line("memory peak", mib(server.taken()?.peak_bytes));
    server.stop()?;
    Ok(())
}

async fn hold(target: &Target, count: u64, asked: bool) -> Outcome<Vec<TlsStream<TcpStream>>> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let permit = room.clone().acquire_owned().await?;
        let target = target.clone();
        tasks.spawn(async move {
            let _permit = permit;
            if !asked {
                return target.tls().await;
            }
            let mut client = target.client().await?;
            client.get("/livez").await?;
            Ok(client.into_stream())
        });
    }
    let mut held = Vec::new();
    while let Some(stream) = tasks.join_next().await {
        held.push(stream??);
    }
    Ok(held)
}

/// Waits until the server has no more sockets open than before, and says how long that took.
pub async fn released(server: &Server, sockets: usize) -> Outcome<Duration> {
    let begun = Instant::now();
    while server.taken()?.sockets > sockets {
        if begun.elapsed() > Duration::from_mins(1) {
            return Err("connections are not released".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(begun.elapsed())
}
