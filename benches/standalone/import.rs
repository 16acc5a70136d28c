//! Calls in, and what they take on disk; calls out.

use super::{Field, mb, mega, rate, size, stored};
use crate::harness::figures::per;
use crate::harness::table::{Table, Target};
use crate::harness::{Outcome, text};

pub fn import(field: &Field, table: &mut Table) -> Outcome<()> {
    let (calls, data) = (field.calls, &field.rollcall.data);
    let bytes = std::fs::metadata(&field.input)?.len();
    table.line("input", &format!("{calls} calls, {} B each", bytes / calls), "calls.ndjson");
    let (seconds, peak) = field.rollcall.timed(&["import", "--init", text(&field.input)?])?;
    let goal = Target::AtLeast(8_000.0, 25_000.0);
    table.goal("import", &rate(calls, seconds), per(calls, seconds), "calls/s", goal);
    table.by("rollcall import calls.ndjson");
    let goal = Target::AtMost(500.0, 300.0);
    table.goal("memory peak of the import", &mb(peak), mega(peak), "MB", goal);
    table.by("rollcall import calls.ndjson");
    let [journal, index] = stored(data)?;
    let each = |bytes: u64| format!("{}, {} B a call", mb(bytes), bytes / calls);
    let figure = format!("journal {}; index {}", each(journal), each(index));
    table.line("disk after the import", &figure, "du data/journal data/index-*");
    let (seconds, peak) = field.rollcall.timed(&["compact"])?;
    let figure = format!("{}, memory peak {}", rate(calls, seconds), mb(peak));
    table.line("compaction", &figure, "rollcall compact");
    let [journal, index] = stored(data)?;
    let figure = format!("journal {}; index {}", each(journal), each(index));
    let kilobytes = per(size(data)?, per(calls, 0.001));
    let goal = Target::AtMost(3.0, 1.5);
    table.goal("disk of a call after compaction", &figure, kilobytes, "KB", goal);
    table.by("du data after rollcall compact");
    let (seconds, _) = field.rollcall.timed(&["check"])?;
    table.line("check of journal and index", &rate(calls, seconds), "rollcall check");
    Ok(())
}

pub fn export(field: &Field, table: &mut Table) -> Outcome<()> {
    let path = field.dir.join("export.ndjson");
    let (seconds, peak) = field.rollcall.timed(&["export", "-o", text(&path)?])?;
    let lines = u64::try_from(std::fs::read(&path)?.split(|byte| *byte == b'\n').count())?;
    std::fs::remove_file(&path)?;
    let figure = format!("{}, memory peak {}", rate(lines, seconds), mb(peak));
    let goal = Target::AtLeast(100_000.0, 300_000.0);
    table.goal("export", &figure, per(lines, seconds), "calls/s", goal);
    table.by("rollcall export -o export.ndjson");
    let (seconds, peak) = field.rollcall.timed(&["rebuild"])?;
    let figure = format!("{}, memory peak {}", rate(lines, seconds), mb(peak));
    table.line("rebuild", &figure, "rollcall rebuild");
    Ok(())
}
