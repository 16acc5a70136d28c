//! Lists and counts of the large account.

use std::time::{Duration, Instant};

use super::{Field, mb, rate};
use crate::harness::Outcome;
use crate::harness::calls::LARGE;
use crate::harness::client::{Connection, Peer};
use crate::harness::figures::Times;
use crate::harness::process::peak;
use crate::harness::table::Table;

/// Requests of which each latency is taken.
const REQUESTS: usize = 1000;
/// Requests that are counted.
const COUNTS: u32 = 20;

pub fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    let server = field.rollcall.serve(&[])?;
    field.runtime.block_on(all(&server.peer, table))?;
    let peak = peak(server.pid()).ok_or("the server is gone")?;
    table.line("memory peak of the server after all lists", &mb(peak), "VmHWM of rollcall serve");
    server.stop()
}

async fn all(peer: &Peer, table: &mut Table) -> Outcome<()> {
    let mut connection = peer.connect().await?;
    let calls = format!("/v1/Accounts/{LARGE}/Calls");
    for (what, query) in [
        ("newest", ""),
        ("by status", "&callStatus=no-answer"),
        ("by two statuses and direction", "&callStatus=busy,failed&direction=inbound"),
        ("live", "&callStatus=in-progress"),
        ("by number", "&from=%2B15550000042"),
        ("by number and status", "&to=%2B15551000007&callStatus=completed"),
        ("by prefix", "&from_prefix=%2B155500012"),
        ("of one day", "&start=2026-01-11&end=2026-01-12"),
        ("oldest", "&order=asc"),
    ] {
        let path = format!("{calls}?limit=50{query}");
        let (rows, times) = latencies(&mut connection, &path, REQUESTS).await?;
        let figure = format!("{rows} rows: {}", Times::of(times).text());
        table.line(&format!("list of 50, {what}"), &figure, &format!("GET {path}"));
    }
    counts(&mut connection, &calls, table).await?;
    let begun = Instant::now();
    let body = connection.get(&calls).await?;
    let took = begun.elapsed().as_secs_f64();
    let figure = format!("{}, {}", rate(count(body) as u64, took), mb(body.len() as u64));
    table.line("list without limit", &figure, &format!("GET {calls}"));
    Ok(())
}

/// What it costs to count, beside the page alone, in turn.
async fn counts(connection: &mut Connection, calls: &str, table: &mut Table) -> Outcome<()> {
    for (what, query) in
        [("all", ""), ("by status", "&callStatus=no-answer"), ("by number", "&from=%2B15550000042")]
    {
        let alone = format!("{calls}?limit=50{query}");
        let counted = format!("{alone}&count=true");
        let mut sums = [Duration::ZERO; 2];
        for _ in 0..COUNTS {
            for (sum, path) in sums.iter_mut().zip([&alone, &counted]) {
                *sum += latencies(connection, path, 1).await?.1.iter().sum::<Duration>();
            }
        }
        let [alone, with] = sums.map(|sum| sum.as_secs_f64());
        let mean = with / f64::from(COUNTS) * 1000.0;
        let total = connection.header("x-total-count").ok_or("no count")?;
        let figure = format!("{:.1} times the page alone, {mean:.1} ms of {total}", with / alone);
        let what = format!("list of 50 with a count, {what}");
        table.line(&what, &figure, &format!("GET {counted}"));
    }
    Ok(())
}

/// How many rows a list has, and how long each of so many requests took.
pub async fn latencies(
    connection: &mut Connection,
    path: &str,
    requests: usize,
) -> Outcome<(usize, Vec<Duration>)> {
    let mut times = Vec::with_capacity(requests);
    let mut rows = 0;
    for _ in 0..requests {
        let begun = Instant::now();
        let body = connection.get(path).await?;
        times.push(begun.elapsed());
        rows = count(body);
    }
    Ok((rows, times))
}

fn count(body: &[u8]) -> usize {
    String::from_utf8_lossy(body).matches("\"call_sid\":").count()
}
