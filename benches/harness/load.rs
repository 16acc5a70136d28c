//! The load of events: call after call, each with its four, an event a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Outcome;
use super::calls::Events;
use super::client::{Connection, Peer};
use super::figures::{Times, per};

/// How many send at a time.
pub const CONNECTIONS: u64 = 64;
/// Loads that were begun: each has calls of its own.
static LOADS: AtomicU64 = AtomicU64::new(0);

/// What became of a load.
pub struct Taken {
    pub events: u64,
    pub seconds: f64,
    pub times: Times,
}

impl Taken {
    /// Of what all connections acknowledged since then.
    pub fn of(all: Vec<Outcome<Vec<Duration>>>, begun: Instant) -> Outcome<Self> {
        let seconds = begun.elapsed().as_secs_f64();
        let mut times = Vec::new();
        for found in all {
            times.extend(found?);
        }
        Ok(Self { events: times.len() as u64, seconds, times: Times::of(times) })
    }

    /// Events a second.
    pub fn rate(&self) -> f64 {
        per(self.events, self.seconds)
    }

    pub fn text(&self) -> String {
        let tail = self.times.permille(999);
        format!("{:.0}/s, {}, p99.9 {tail:.2} ms", self.rate(), self.times.text())
    }
}

/// Sends events over 64 connections while this holds.
pub async fn events(peer: &Peer, goes_on: impl Fn() -> bool) -> Outcome<Taken> {
    let load = LOADS.fetch_add(1, Ordering::Relaxed);
    let mut open = Vec::new();
    for row in 0..CONNECTIONS {
        open.push((peer.connect().await?, Events::of(load * CONNECTIONS + row)));
    }
    let begun = Instant::now();
    let sent = open.into_iter().map(|(connection, row)| post(connection, row, &goes_on));
    Taken::of(futures_util::future::join_all(sent).await, begun)
}

/// The same for so long.
pub async fn events_for(peer: &Peer, lasting: Duration) -> Outcome<Taken> {
    let begun = Instant::now();
    events(peer, || begun.elapsed() < lasting).await
}

async fn post(
    mut connection: Connection,
    mut row: Events,
    goes_on: &impl Fn() -> bool,
) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    while goes_on() {
        let event = row.event();
        let sent = Instant::now();
        connection.post("/v1/hooks/call-status", "application/json", &event).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}
