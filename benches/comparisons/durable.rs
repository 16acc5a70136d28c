//! Events that are on disk when they are acknowledged: Redis behind jambonz's package, PostgreSQL,
//! the same binary that does not wait for the disk, and the disk alone.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::cost::cpu;
use super::{Field, skippable};
use crate::baselines::disk;
use crate::baselines::jambonz::{Jambonz, Kept};
use crate::baselines::nginx;
use crate::baselines::postgres::{Postgres, Session};
use crate::harness::Outcome;
use crate::harness::calls::{Events, LARGE};
use crate::harness::client::Peer;
use crate::harness::figures::{Times, per};
use crate::harness::load::{CONNECTIONS, Taken, events_for};
use crate::harness::server::Server;
use crate::harness::table::{Table, Target};

/// Segments, a history and intervals so short that everything that runs in the background does.
const BUSY: [&str; 8] = [
    "--store-segment-bytes",
    "16777216",
    "--retention-history",
    "5s",
    "--retention-interval",
    "5s",
    "--store-checkpoint-interval",
    "2s",
];
/// How often a page is asked for during the load.
const EVERY: Duration = Duration::from_millis(10);
/// How often the disk is tried: in a minute often enough for one time in a thousand.
const DISK_EVERY: Duration = Duration::from_millis(2);
/// Makes `fdatasync` and `fsync` return at once for every caller.
const UNSYNCED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/baselines/unsynced.py");

/// Rows of all durable writes; each load lasts so many seconds.
pub async fn run(field: &Field, table: &mut Table, seconds: u64) -> Outcome<()> {
    let lasting = Duration::from_secs(seconds);
    let server = field.rollcall.serve(&[])?;
    let before = batches(&server.peer).await?;
    let (ours, micros) = measured(&server, lasting).await?;
    let [commits, bytes] = batches(&server.peer).await?;
    let (commits, bytes) = (commits - before[0], bytes - before[1]);
    server.stop()?;
    let each = per(ours.events, per(commits, 1.0));
    let figure = format!(
        "{}; {micros:.0} µs of CPU an event; {each:.1} events a commit of {} B",
        ours.text(),
        bytes / commits
    );
    let hook = "POST /v1/hooks/call-status, an event a request, 64 connections, TLS";
    table.line(&format!("durable events for {seconds} s"), &figure, hook);
    let part = answered(field, table, lasting, micros).await;
    skippable(table, "nginx", part)?;
    unsynced(field, table, lasting, &ours).await?;
    limit(field, table, &ours, [commits, bytes])?;
    let part = jambonz(field, table, seconds, &ours);
    skippable(table, "jambonz", part)?;
    let part = postgres(field, table, lasting, &ours).await;
    skippable(table, "PostgreSQL", part)?;
    busy(field, table, lasting, usize::try_from(bytes / commits)?).await
}

/// Commits, and bytes of all of them, since the start.
async fn batches(peer: &Peer) -> Outcome<[u64; 2]> {
    let mut connection = peer.connect().await?;
    let text = String::from_utf8(connection.get("/metrics").await?.to_vec())?;
    let figure = |name: &str| -> Outcome<u64> {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let whole = found.ok_or(name)?.split('.').next().unwrap_or_default();
        Ok(whole.parse()?)
    };
    Ok([figure("rollcall_commit_size_bytes_count")?, figure("rollcall_commit_size_bytes_sum")?])
}

/// The load for so long, and the processor time of an event in microseconds.
async fn measured(server: &Server, lasting: Duration) -> Outcome<(Taken, f64)> {
    let before = cpu(server.pid())?;
    let taken = events_for(&server.peer, lasting).await?;
    let spent = cpu(server.pid())?.saturating_sub(before);
    let micros = spent.as_secs_f64() * 1e6 / per(taken.events, 1.0);
    Ok((taken, micros))
}

/// nginx, which reads the same events and answers the same, and does nothing else.
async fn answered(field: &Field, table: &mut Table, lasting: Duration, ours: f64) -> Outcome<()> {
    let dir = field.room("nginx-events")?;
    let (server, peer) = nginx::start(&dir, &field.rollcall.data.join("tls"), &[])?;
    let before = cpu(server.pid())?;
    let taken = events_for(&peer, lasting).await?;
    let spent = cpu(server.pid())?.saturating_sub(before);
    let theirs = spent.as_secs_f64() * 1e6 / per(taken.events, 1.0);
    let what = "CPU a durable event against nginx answering 204 to the same";
    let figure = format!("{ours:.1} µs against {theirs:.1}");
    table.goal(what, &figure, ours / theirs, "×", Target::AtMost(3.0, 2.0));
    table.by("POST over TLS 1.3, 64 kept connections, one after the other; nginx: `return 204`");
    Ok(())
}

/// The same binary, whose syncs return at once.
async fn unsynced(
    field: &Field,
    table: &mut Table,
    lasting: Duration,
    ours: &Taken,
) -> Outcome<()> {
    let serve = field.rollcall.command(&["serve", "--listen", "127.0.0.1:0"]);
    let mut command = Command::new("python3");
    command.arg(UNSYNCED).arg(serve.get_program()).args(serve.get_args());
    let server = field.rollcall.serve_by(command)?;
    let (free, micros) = measured(&server, lasting).await?;
    server.stop()?;
    let figure = format!("{}; {micros:.0} µs of CPU an event", free.text());
    table.line(
        "events, nothing synced",
        &figure,
        "the same binary under benches/baselines/unsynced.py",
    );
    let ratio = ours.rate() / free.rate();
    let what = "durable events against the same binary with syncing off";
    let figure = format!("{:.0}/s against {:.0}/s", ours.rate(), free.rate());
    table.goal(what, &figure, ratio, "×", Target::AtLeast(0.6, 0.9));
    Ok(())
}

/// The disk with the same bytes in the same batches, and nothing else to do.
fn limit(
    field: &Field,
    table: &mut Table,
    ours: &Taken,
    [commits, bytes]: [u64; 2],
) -> Outcome<()> {
    let piece = usize::try_from(bytes / commits)?;
    let begun = Instant::now();
    let times = disk::append(&field.room("disk")?, piece, usize::try_from(commits.min(5000))?)?;
    let seconds = begun.elapsed().as_secs_f64();
    let batches = per(times.len() as u64, seconds);
    let events = batches * per(ours.events, per(commits, 1.0));
    let times = Times::of(times);
    let figure = format!("{events:.0}/s, {}, p99.9 {:.2} ms", times.text(), times.permille(999));
    let command = format!("append {piece} B, fdatasync, one after another");
    table.line("the disk alone, the same batches", &figure, &command);
    Ok(())
}

fn jambonz(field: &Field, table: &mut Table, seconds: u64, ours: &Taken) -> Outcome<()> {
    let jambonz = Jambonz::start(&field.room("redis")?, Kept::Disk)?;
    let (rate, [p50, p99, p999]) = jambonz.events(seconds, usize::try_from(CONNECTIONS)?)?;
    let figure = format!("{rate:.0}/s, p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms");
    table.line("Redis by jambonz's updateCallStatus", &figure, "appendfsync always, 64 in flight");
    let what = "durable events against Redis by jambonz's updateCallStatus";
    let figure = format!("{:.0}/s against {rate:.0}/s", ours.rate());
    table.goal(what, &figure, ours.rate() / rate, "×", Target::AtLeast(8.0, 15.0));
    Ok(())
}

async fn postgres(
    field: &Field,
    table: &mut Table,
    lasting: Duration,
    ours: &Taken,
) -> Outcome<()> {
    let postgres = Postgres::start(&field.room("postgres-events")?).await?;
    postgres.fill(None).await?;
    let mut open = Vec::new();
    for row in 0..CONNECTIONS {
        let mut session = postgres.connect().await?;
        session.prepare_event().await?;
        open.push((session, Events::of(row)));
    }
    let begun = Instant::now();
    let sent = open.into_iter().map(|(session, row)| execute(session, row, begun, lasting));
    let theirs = Taken::of(futures_util::future::join_all(sent).await, begun)?;
    let command = "INSERT … ON CONFLICT, prepared, synchronous_commit=on, 64 connections, no TLS";
    table.line("durable events of PostgreSQL, empty table", &theirs.text(), command);
    let what = "durable events against PostgreSQL";
    let figure = format!("{:.0}/s against {:.0}/s", ours.rate(), theirs.rate());
    table.line(what, &format!("**{:.2} ×** ({figure})", ours.rate() / theirs.rate()), "");
    Ok(())
}

async fn execute(
    mut session: Session,
    mut row: Events,
    begun: Instant,
    lasting: Duration,
) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    while begun.elapsed() < lasting {
        let event = format!("EXECUTE event('{}')", row.event());
        let sent = Instant::now();
        session.ask(&event).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}

/// Acknowledgements and pages while checkpoints, sealing, collection and compaction run, and what
/// the disk takes for a batch at the same time.
async fn busy(field: &Field, table: &mut Table, lasting: Duration, piece: usize) -> Outcome<()> {
    let server = field.rollcall.serve(&BUSY)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (dir, told) = (field.room("disk")?, stop.clone());
    let disk = std::thread::spawn(move || {
        disk::beside(&dir, piece, DISK_EVERY, &told).map_err(|error| error.to_string())
    });
    let mut compact = field.rollcall.command(&["compact"]);
    compact.stdout(Stdio::null()).stderr(Stdio::null());
    let compacting = async {
        let begun = Instant::now();
        let status = tokio::task::spawn_blocking(move || compact.status()).await??;
        Outcome::Ok((status, begun.elapsed()))
    };
    let load = async {
        let taken = events_for(&server.peer, lasting).await;
        stop.store(true, Ordering::Relaxed);
        taken
    };
    let pages = pages(&server, &stop);
    let (ours, pages, compacted) = tokio::join!(load, pages, compacting);
    let (ours, pages, (status, took)) = (ours?, Times::of(pages?), compacted?);
    server.stop()?;
    let raw = disk.join().map_err(|_| "the disk's thread has panicked")??;
    let (tries, raw) = (raw.len(), Times::of(raw));
    let figure = format!("{}; compaction {status} in {:.0} s", ours.text(), took.as_secs_f64());
    let all = "events while checkpoints, sealing, collection and compaction run";
    table.line(all, &figure, &format!("serve {}; rollcall compact", BUSY.join(" ")));
    let figure = format!(
        "{:.2} ms of {} against {:.2} ms of {}",
        ours.times.permille(999),
        ours.events,
        raw.permille(999),
        tries
    );
    let what = "acknowledgement p99.9 against append + fdatasync at the same time";
    let ratio = ours.times.permille(999) / raw.permille(999);
    table.goal(what, &figure, ratio, "×", Target::AtMost(5.0, 3.0));
    table.by(&format!("append {piece} B, fdatasync, every {} ms", DISK_EVERY.as_millis()));
    let (figure, p99) = (pages.text(), pages.permille(990));
    table.goal("list of 50, p99 during full ingest", &figure, p99, "ms", Target::AtMost(20.0, 5.0));
    table.by(&format!("GET /v1/Accounts/{LARGE}/Calls?limit=50, every {} ms", EVERY.as_millis()));
    Ok(())
}

async fn pages(server: &Server, stop: &AtomicBool) -> Outcome<Vec<Duration>> {
    let mut connection = server.peer.connect().await?;
    let path = format!("/v1/Accounts/{LARGE}/Calls?limit=50");
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let sent = Instant::now();
        connection.get(&path).await?;
        times.push(sent.elapsed());
    }
    Ok(times)
}
