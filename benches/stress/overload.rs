//! More events than can be taken.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore};

use super::client::{ACCOUNT, Client, Target, event};
use super::server::{Server, mib};
use super::{Outcome, Table};

/// Events of one request, each of another call.
const BATCH: u64 = 1000;
/// Connections that find out what is sustainable, and those that bring too much.
const FEW: u64 = 4;
const MANY: u64 = 40;
const CALIBRATION: Duration = Duration::from_secs(20);

/// One connection, the calls that are its own, and what became of them.
struct Source {
    number: u64,
    client: Client,
    sent: u64,
    /// The last of its requests that was acknowledged.
    acknowledged: u64,
}

#[derive(Default)]
struct Counts {
    taken: AtomicU64,
    shed: AtomicU64,
    late: AtomicU64,
}

pub async fn run(table: &mut Table, time: Duration) -> Outcome<()> {
    let server = Server::start(&["--retention-history", "0s", "--retention-interval", "5s"])?;
    let target = Target::of(&server);
    let mut sources = Vec::new();
    for number in 0..MANY {
        let client = target.client().await?;
        sources.push(Arc::new(Mutex::new(Source { number, client, sent: 0, acknowledged: 0 })));
    }
    let rate = sustainable(&sources).await?;
    table.line("sustainable", format!("{rate} events a second, {BATCH} a request"));
    let counts = Arc::new(Counts::default());
    let before = server.taken()?;
    let minutes = offer(&server, &sources, &counts, 3 * rate, time).await?;
    let ended = Instant::now();
    let mut client = target.client().await?;
    while client.post(&event(0, "ringing", "")).await?.status != 204 {}
    let recovered = ended.elapsed();
    let figure = format!(
        "{} events a second for {:.1} minutes: {} requests taken, {} shed with 503, {} not sent \
         since all {MANY} connections were busy",
        3 * rate,
        time.as_secs_f64() / 60.0,
        counts.taken.load(Ordering::Relaxed),
        counts.shed.load(Ordering::Relaxed),
        counts.late.load(Ordering::Relaxed)
    );
    table.line("offered", figure);
    let by_minute: Vec<_> = minutes.iter().map(|bytes| mib(*bytes)).collect();
    let figure = format!("{} before; at most {}", mib(before.resident_bytes), by_minute.join(", "));
    table.line("memory by minute", figure);
    table.line("first event taken after the end", format!("{:.3} s", recovered.as_secs_f64()));
    let (calls, lost) = compare(&mut client, &sources).await?;
    table.line("acknowledged and lost", format!("{lost} of {calls} calls"));
    table.line("disk", mib(server.taken()?.disk_bytes));
    table.line("exit code after SIGTERM", format!("{:?}", server.stop()?));
    if lost > 0 {
        return Err("acknowledged events are lost".into());
    }
    Ok(())
}

impl Source {
    /// Sends one request; whether it was taken.
    async fn send(&mut self) -> Outcome<bool> {
        self.sent += 1;
        let mut body = String::with_capacity(400 * 1024);
        for n in 0..BATCH {
            let more = format!(",\"n\":\"{:012}\"", self.sent);
            writeln!(body, "{}", event(self.number * BATCH + n, "in-progress", &more))?;
        }
        match self.client.post(&body).await?.status {
            204 => {
                self.acknowledged = self.sent;
                Ok(true)
            }
            503 => Ok(false),
            status => Err(format!("the answer was {status}").into()),
        }
    }
}

/// Events a second that few connections bring, one request after the other.
async fn sustainable(sources: &[Arc<Mutex<Source>>]) -> Outcome<u64> {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for source in sources.iter().take(usize::try_from(FEW)?) {
        let source = source.clone();
        tasks.spawn(async move {
            let mut taken = 0;
            while begun.elapsed() < CALIBRATION {
                taken += u64::from(source.lock().await.send().await?);
            }
            Outcome::Ok(taken)
        });
    }
    let mut taken = 0;
    while let Some(task) = tasks.join_next().await {
        taken += task??;
    }
    Ok(taken * BATCH / CALIBRATION.as_secs())
}

/// Sends at this rate, whatever is answered. The greatest memory of each minute.
async fn offer(
    server: &Server,
    sources: &[Arc<Mutex<Source>>],
    counts: &Arc<Counts>,
    rate: u64,
    time: Duration,
) -> Outcome<Vec<u64>> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 * BATCH / rate.max(1)));
    let room = Arc::new(Semaphore::new(sources.len()));
    let mut minutes = Vec::new();
    let mut sampled = Instant::now();
    let mut turn = 0;
    while begun.elapsed() < time {
        ticks.tick().await;
        if sampled.elapsed() > Duration::from_secs(1) {
            sampled = Instant::now();
            let minute = usize::try_from(begun.elapsed().as_secs() / 60)?;
            minutes.resize(minute + 1, 0);
            let resident = server.taken()?.resident_bytes;
            if let Some(most) = minutes.get_mut(minute) {
                *most = resident.max(*most);
            }
        }
        let Ok(permit) = room.clone().try_acquire_owned() else {
            counts.late.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        // One of them is free.
        let free = loop {
            turn = (turn + 1) % sources.len();
            let Some(source) = sources.get(turn) else { continue };
            if let Ok(free) = source.clone().try_lock_owned() {
                break free;
            }
            tokio::task::yield_now().await;
        };
        let counts = counts.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let mut source = free;
            let counter = match source.send().await {
                Ok(true) => &counts.taken,
                Ok(false) => &counts.shed,
                Err(_) => &counts.late,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        });
    }
    let all = room.acquire_many(u32::try_from(sources.len())?).await?;
    drop(all);
    Ok(minutes)
}

/// Calls that are listed, and those that have not the last change that was acknowledged.
async fn compare(client: &mut Client, sources: &[Arc<Mutex<Source>>]) -> Outcome<(u64, u64)> {
    let (mut calls, mut lost) = (0, 0);
    for source in sources {
        let source = source.lock().await;
        if source.acknowledged == 0 {
            continue;
        }
        for n in source.number * BATCH..(source.number + 1) * BATCH {
            let path = format!("/v1/Accounts/{ACCOUNT}/Calls/e0000000-0000-4000-8000-{n:012x}");
            let answer = client.get(&path).await?;
            let call: serde_json::Value = serde_json::from_slice(&answer.body)?;
            let last = call.get("n").and_then(|n| n.as_str()?.parse::<u64>().ok()).unwrap_or(0);
            calls += 1;
            lost += u64::from(last < source.acknowledged);
        }
    }
    Ok((calls, lost))
}
