//! A backup beside a load, what was restored of it, and what deleting gives back.

use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Field, mb, seconds, size};
use crate::harness::calls::LARGE;
use crate::harness::figures::per;
use crate::harness::load::{events, events_for};
use crate::harness::server::Rollcall;
use crate::harness::table::{Table, Target};
use crate::harness::{Outcome, text};

/// The load before the backup.
const LOAD: Duration = Duration::from_secs(10);
/// Days of the month in which all calls of the input were listed, and of its second half.
const HALF_DAYS: u64 = 15;

pub fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    let target = field.dir.join("backup");
    let server = field.rollcall.serve(&[])?;
    let before = field.runtime.block_on(events_for(&server.peer, LOAD))?;
    let mut command = field.rollcall.command(&["backup", "--rate", "0", text(&target)?]);
    let begun = Instant::now();
    let backup = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let backup = Mutex::new(backup);
    let beside = field.runtime.block_on(events(&server.peer, || runs(&backup)))?;
    let took = begun.elapsed();
    let status = backup.lock().map_err(|_| "poisoned")?.wait()?;
    server.stop()?;
    if !status.success() {
        return Err(format!("rollcall backup ended with {status}").into());
    }
    let figure = format!(
        "{}, {}; {:.2} of the load's {:.0} events/s meanwhile",
        seconds(took),
        mb(size(&target)?),
        beside.rate() / before.rate(),
        before.rate()
    );
    table.line("backup under load", &figure, "rollcall backup --rate 0 TARGET");
    let restored = Rollcall::new(&field.dir.join("restored"));
    let begun = Instant::now();
    restored.timed(&["restore", text(&target)?])?;
    let copied = begun.elapsed();
    let server = restored.serve(&[])?;
    field.runtime.block_on(async {
        let mut connection = server.peer.connect().await?;
        connection.get(&format!("/v1/Accounts/{LARGE}/Calls?limit=50")).await.map(|_| ())
    })?;
    let figure = format!("{}, of which restore {}", seconds(begun.elapsed()), seconds(copied));
    table.line("restore to the first list", &figure, "rollcall restore BACKUP; rollcall serve");
    server.stop()?;
    std::fs::remove_dir_all(&restored.data)?;
    std::fs::remove_dir_all(target)?;
    Ok(())
}

fn runs(backup: &Mutex<Child>) -> bool {
    backup.lock().is_ok_and(|mut backup| matches!(backup.try_wait(), Ok(None)))
}

/// Disk after half of the calls are deleted, beside a store that never had them.
pub fn half(field: &Field, table: &mut Table) -> Outcome<()> {
    let text_of_input = std::fs::read_to_string(&field.input)?;
    let lines: Vec<&str> = text_of_input.lines().collect();
    let late = lines.get(lines.len() / 2..).unwrap_or_default();
    let input = field.dir.join("late.ndjson");
    std::fs::write(&input, late.join("\n"))?;
    let full = Rollcall::new(&field.dir.join("full"));
    full.timed(&["import", "--init", text(&field.input)?])?;
    let fresh = Rollcall::new(&field.dir.join("fresh"));
    fresh.timed(&["import", "--init", text(&input)?])?;
    let now = std::process::Command::new("date").arg("+%s").output()?;
    let now: u64 = String::from_utf8_lossy(&now.stdout).trim().parse()?;
    let age = format!("{}s", now - JANUARY_2026_S - HALF_DAYS * 86_400);
    let mut expire = full.command(&["expire"]);
    let expire = expire.env("ROLLCALL_RETENTION_AGE", age).stdout(Stdio::null());
    if !expire.status()?.success() {
        return Err("rollcall expire failed".into());
    }
    full.timed(&["compact", "--drop-history"])?;
    fresh.timed(&["compact", "--drop-history"])?;
    let (left, new) = (size(&full.data)?, size(&fresh.data)?);
    let figure = format!("{} against {}", mb(left), mb(new));
    let what = "disk after deleting half, compacted, against a fresh import of the rest";
    table.goal(what, &figure, per(left, per(new, 1.0)), "×", Target::AtMost(1.3, 1.3));
    table.by("rollcall expire; rollcall compact --drop-history");
    Ok(())
}

/// When the calls of the input begin: 2026-01-01T00:00:00Z, in seconds since 1970.
const JANUARY_2026_S: u64 = 1_767_225_600;
