//! How long a start takes until the first right list, and what a server has in memory.

use std::time::{Duration, Instant};

use super::{Field, mb, mega, seconds};
use crate::harness::Outcome;
use crate::harness::calls::LARGE;
use crate::harness::client::Peer;
use crate::harness::load::events_for;
use crate::harness::process::{memory, peak};
use crate::harness::server::{Rollcall, Server};
use crate::harness::table::{Table, Target};

/// How long calls change before the server is killed.
const LOAD: Duration = Duration::from_secs(5);
/// Long enough for a checkpoint and for what is released late.
const IDLE: Duration = Duration::from_secs(12);
/// Starts of an empty store that are timed.
const STARTS: u32 = 20;

pub fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    empty(field, table)?;
    let (server, newest, took) = first_list(field)?;
    let goal = Target::AtMost(20.0, 2.0);
    let what = format!("start with {} calls to the first list, after a clean stop", field.calls);
    table.goal(&what, &newest, took.as_secs_f64(), "s", goal);
    table.by("rollcall serve; GET …/Calls?limit=50");
    idle(field, table, &server)?;
    let taken = field.runtime.block_on(events_for(&server.peer, LOAD))?;
    let before = field.runtime.block_on(newest_call(&server.peer))?;
    let most = peak(server.pid()).ok_or("the server is gone")?;
    let figure = format!("{} after events: {}", mb(most), taken.text());
    table.line("memory peak of the server", &figure, "VmHWM of rollcall serve");
    drop(server);
    let (server, after, took) = first_list(field)?;
    if before != after {
        return Err(format!("the newest call was {before} before the kill, and is {after}").into());
    }
    let what = format!("start with {} calls to the first list, after kill -9", field.calls);
    let goal = Target::AtMost(30.0, 5.0);
    table.goal(&what, &format!("after {} events", taken.events), took.as_secs_f64(), "s", goal);
    table.by("kill -9; rollcall serve; GET …/Calls?limit=50");
    server.stop()
}

/// The binary itself, and what a start takes without any call.
fn empty(field: &Field, table: &mut Table) -> Outcome<()> {
    let bytes = std::fs::metadata(field.rollcall.command(&[]).get_program())?.len();
    table.goal("binary", &format!("{bytes} B"), mega(bytes), "MB", Target::AtMost(15.0, 8.0));
    table.by("ls -l target/*/release/rollcall");
    let empty = Rollcall::new(&field.dir.join("empty"));
    empty.serve(&[])?.stop()?;
    let mut sum = Duration::ZERO;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let server = empty.serve(&[])?;
        sum += begun.elapsed();
        server.stop()?;
    }
    let mean = sum.as_secs_f64() * 1000.0 / f64::from(STARTS);
    let what = "start of an existing empty store";
    table.goal(what, "until it listens, mean of 20", mean, "ms", Target::AtMost(50.0, 10.0));
    table.by("rollcall serve");
    Ok(())
}

fn idle(field: &Field, table: &mut Table, server: &Server) -> Outcome<()> {
    let begun = Instant::now();
    let resident = field.runtime.block_on(async {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        while begun.elapsed() < IDLE {
            ticks.tick().await;
        }
        memory(server.pid(), "VmRSS:")
    });
    let resident = resident.ok_or("the server is gone")?;
    let what = format!("memory, idle with {} calls", field.calls);
    let figure = format!("{} after the start and one list", seconds(IDLE));
    table.goal(&what, &figure, mega(resident), "MB", Target::AtMost(250.0, 100.0));
    table.by("VmRSS of rollcall serve");
    Ok(())
}

/// Starts the server and asks for a list: the newest call, and how long it took in all.
fn first_list(field: &Field) -> Outcome<(Server, String, Duration)> {
    let begun = Instant::now();
    let server = field.rollcall.serve(&[])?;
    let newest = field.runtime.block_on(newest_call(&server.peer))?;
    Ok((server, newest, begun.elapsed()))
}

async fn newest_call(peer: &Peer) -> Outcome<String> {
    let mut connection = peer.connect().await?;
    let body = connection.get(&format!("/v1/Accounts/{LARGE}/Calls?limit=50")).await?;
    let calls: Vec<serde_json::Value> = serde_json::from_slice(body)?;
    if calls.len() != 50 {
        return Err(format!("a page of 50 has {} calls", calls.len()).into());
    }
    let sid = calls.first().and_then(|call| call.get("call_sid")?.as_str());
    Ok(sid.ok_or("a call has its sid")?.to_owned())
}
