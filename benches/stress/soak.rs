//! A light mixed load that goes on for long: what does not grow in the first half may not grow in
//! the second.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use tokio::time::MissedTickBehavior;

use super::client::{ACCOUNT, Client, Target, event};
use super::server::{Server, Taken, mib};
use super::{Outcome, Table};

const TICK: Duration = Duration::from_millis(20);
/// Half of what the server keeps an idle connection for: nobody relies on the rest.
const IDLE: Duration = Duration::from_millis(500);
const SAMPLE: Duration = Duration::from_secs(10);
/// Calls that are up at a time.
const LIVE: u64 = 500;

/// Short lives, so that an hour sees many of them.
const FLAGS: [&str; 12] = [
    "--retention-age",
    "10m",
    "--retention-history",
    "2m",
    "--retention-interval",
    "1m",
    "--store-segment-bytes",
    "1048576",
    "--limits-event-keep-alive",
    "1s",
    "--retention-erase-within",
    "1h",
];

#[derive(Default)]
struct Done {
    events: u64,
    reads: u64,
    connections: u64,
}

pub async fn run(table: &mut Table, time: Duration) -> Outcome<()> {
    let server = Server::start(&FLAGS)?;
    let target = Target::of(&server);
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut file = File::create("target/soak.csv")?;
    writeln!(file, "seconds,resident,peak,files,threads,disk,cpu_ticks,events,reads,connections")?;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut writer, mut reader) = (target.client().await?, target.client().await?);
    let mut done = Done::default();
    let mut sampled = Instant::now();
    for turn in 0_u64.. {
        ticks.tick().await;
        act(&target, &mut writer, &mut reader, turn, &mut done).await?;
        if sampled.elapsed() >= SAMPLE {
            sampled = Instant::now();
            let taken = server.taken()?;
            writeln!(
                file,
                "{},{},{},{},{},{},{},{},{},{}",
                begun.elapsed().as_secs(),
                taken.resident_bytes,
                taken.peak_bytes,
                taken.files,
                taken.threads,
                taken.disk_bytes,
                taken.cpu_ticks,
                done.events,
                done.reads,
                done.connections
            )?;
            samples.push(taken);
        }
        if begun.elapsed() >= time {
            break;
        }
    }
    let figure = format!(
        "{} minutes: {} events, {} reads, {} connections",
        begun.elapsed().as_secs() / 60,
        done.events,
        done.reads,
        done.connections
    );
    table.line("soak", figure);
    summary(table, &samples);
    table.line("warnings and errors in the log", server.complaints()?.to_string());
    let code = server.stop()?;
    table.line("exit code after SIGTERM", format!("{code:?}"));
    Ok(())
}

/// One turn: always an event, and now and then everything else.
async fn act(
    target: &Target,
    writer: &mut Client,
    reader: &mut Client,
    turn: u64,
    done: &mut Done,
) -> Outcome<()> {
    for client in [&mut *writer, &mut *reader] {
        done.connections += u64::from(client.reopen_after(IDLE).await?);
    }
    // Each call rings, is up and ends, LIVE turns apart.
    let (round, of_round) = (turn / LIVE, turn % LIVE);
    let status = ["ringing", "in-progress", "completed"].get((round % 3) as usize);
    let status = status.copied().unwrap_or_default();
    let answer = writer.post(&event(round / 3 * LIVE + of_round, status, "")).await?;
    expect(204, answer.status)?;
    done.events += 1;
    let call = format!("/Calls/e0000000-0000-4000-8000-{:012x}", round / 3 * LIVE + of_round);
    let path = match turn % 300 {
        0 => "/Calls",
        1 => "/Calls/changes?limit=100",
        2 => "/CallCount",
        3 => "/CallStats",
        4 => "/Calls?count=true&limit=10",
        5 => call.as_str(),
        n if n % 10 == 0 => "/Calls?limit=50&callStatus=in-progress",
        n if n % 10 == 5 => "/Calls?limit=50&from=%2B15550000042",
        _ => "",
    };
    if !path.is_empty() {
        expect(200, reader.get(&format!("/v1/Accounts/{ACCOUNT}{path}")).await?.status)?;
        done.reads += 1;
    }
    if turn.is_multiple_of(25) {
        // A new connection, which is sometimes left in the middle of a request.
        let mut client = target.client().await?;
        done.connections += 1;
        if turn.is_multiple_of(50) {
            expect(200, client.get("/readyz").await?.status)?;
        } else {
            let path = format!("/v1/Accounts/{ACCOUNT}/Calls/changes");
            let head = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
                 Authorization: Bearer {}\r\n\r\n",
                target.token
            );
            // An event stream has no end: it is left after a while.
            let follow = async move { client.ask(head.as_bytes()).await.map(drop) };
            tokio::spawn(tokio::time::timeout(Duration::from_secs(2), follow));
        }
    }
    Ok(())
}

fn expect(expected: u16, status: u16) -> Outcome<()> {
    if status == expected {
        return Ok(());
    }
    Err(format!("expected {expected}, and the answer was {status}").into())
}

/// Each quarter by its greatest values.
fn summary(table: &mut Table, samples: &[Taken]) {
    let quarter = samples.len().div_ceil(4).max(1);
    for (n, quarter) in samples.chunks(quarter).enumerate() {
        let most = |of: fn(&Taken) -> u64| quarter.iter().map(of).max().unwrap_or(0);
        let figure = format!(
            "memory {}, open files {}, threads {}, disk {}",
            mib(most(|taken| taken.resident_bytes)),
            most(|taken| taken.files as u64),
            most(|taken| taken.threads),
            mib(most(|taken| taken.disk_bytes))
        );
        table.line(&format!("at most in quarter {}", n + 1), figure);
    }
    if let Some(last) = samples.last() {
        let seconds = last.cpu_ticks / 100;
        table.line("processor time", format!("{seconds} s"));
    }
}
