//! The same page of ever larger stores.

use super::Field;
use super::lists::latencies;
use crate::harness::calls::{LARGE, write_calls};
use crate::harness::figures::Times;
use crate::harness::server::Rollcall;
use crate::harness::table::{Table, Target};
use crate::harness::{Outcome, text};

/// Calls of the stores that are made beside the one of this run.
const SCALES: [u64; 3] = [10_000, 100_000, 1_000_000];
/// Requests of which each latency is taken, after a tenth as many that are not.
const REQUESTS: usize = 3000;

pub fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    let mut halves = Vec::new();
    for calls in SCALES.into_iter().filter(|calls| *calls < field.calls) {
        let dir = field.dir.join(format!("of-{calls}"));
        let rollcall = Rollcall::new(&dir);
        let input = field.dir.join("fewer.ndjson");
        write_calls(&input, calls)?;
        rollcall.timed(&["import", "--init", text(&input)?])?;
        halves.push(measured(field, table, &rollcall, calls)?);
        std::fs::remove_dir_all(dir)?;
        std::fs::remove_file(input)?;
    }
    halves.push(measured(field, table, &field.rollcall, field.calls)?);
    if let [first, .., last] = halves[..] {
        let what = format!("latency of 50 rows, {} calls against {}", field.calls, SCALES[0]);
        let figure = format!("p50 {last:.3} ms against {first:.3} ms");
        table.goal(&what, &figure, last / first, "×", Target::AtMost(2.0, 1.2));
        table.by("GET …/Calls?limit=50, the newest");
    }
    Ok(())
}

fn measured(field: &Field, table: &mut Table, rollcall: &Rollcall, calls: u64) -> Outcome<f64> {
    let server = rollcall.serve(&[])?;
    let times = field.runtime.block_on(async {
        let mut connection = server.peer.connect().await?;
        let path = format!("/v1/Accounts/{LARGE}/Calls?limit=50");
        latencies(&mut connection, &path, REQUESTS / 10).await?;
        Outcome::Ok(latencies(&mut connection, &path, REQUESTS).await?.1)
    })?;
    server.stop()?;
    let times = Times::of(times);
    let what = format!("list of 50, newest, of {calls} calls");
    table.line(&what, &times.text(), &format!("GET /v1/Accounts/{LARGE}/Calls?limit=50"));
    Ok(times.permille(500))
}
