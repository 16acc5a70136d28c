//! Bulk work beside PostgreSQL: calls in, what they take on disk, and the index built again.

use std::fs;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use super::{Field, skippable};
use crate::baselines::postgres::{COLUMNS, Postgres};
use crate::harness::figures::{per, short};
use crate::harness::process::stored;
use crate::harness::server::Rollcall;
use crate::harness::table::{Table, Target};
use crate::harness::{Outcome, text};

/// Names the binary of an earlier release, to compare with.
const BEFORE: &str = "BEFORE";

pub async fn run(field: &Field, table: &mut Table) -> Outcome<()> {
    let ours = bulk(field, None, &field.input)?;
    let csv = field.dir.join("calls.csv");
    field.rollcall.timed(&["export", "--format", "csv", "-o", text(&csv)?])?;
    let from_csv = bulk(field, None, &csv)?;
    let rate = |seconds: f64| format!("{}/s", short(per(field.calls, seconds)));
    if let Some(binary) = std::env::var_os(BEFORE) {
        let before = bulk(field, Some(Path::new(&binary)), &field.input)?;
        for (what, now, then) in [
            ("rebuild", ours.rebuild, before.rebuild),
            ("compaction of the index", ours.compact, before.compact),
        ] {
            let figure = format!("{}; {}", rate(now), rate(then));
            let goal = Target::AtLeast(5.0, 10.0);
            table.goal(
                &format!("{what} against the binary before"),
                &figure,
                then / now,
                "×",
                goal,
            );
        }
    } else {
        let figure = format!("rebuild {}, compaction {}", rate(ours.rebuild), rate(ours.compact));
        table.line("the index built again", &figure, "rollcall rebuild; rollcall compact");
    }
    let beside = beside(field, table, &ours, &from_csv).await;
    skippable(table, "PostgreSQL", beside)
}

/// Seconds, and bytes on disk.
struct Bulk {
    import: f64,
    imported: u64,
    compact: f64,
    compacted: u64,
    rebuild: f64,
}

/// A store of its own, filled, compacted, and its index built again.
fn bulk(field: &Field, binary: Option<&Path>, input: &Path) -> Outcome<Bulk> {
    let data = field.dir.join("bulk");
    let rollcall = match binary {
        Some(binary) => Rollcall { binary: binary.to_owned(), data: data.clone() },
        None => Rollcall::new(&data),
    };
    let (import, _) = rollcall.timed(&["import", "--init", text(input)?])?;
    let bytes = || stored(&data).map(|bytes| bytes.into_iter().sum::<u64>());
    let imported = bytes()?;
    let (compact, _) = rollcall.timed(&["compact"])?;
    let compacted = bytes()?;
    let (rebuild, _) = rollcall.timed(&["rebuild"])?;
    fs::remove_dir_all(&data)?;
    Ok(Bulk { import, imported, compact, compacted, rebuild })
}

async fn beside(field: &Field, table: &mut Table, ours: &Bulk, from_csv: &Bulk) -> Outcome<()> {
    let calls = field.calls;
    let dir = field.room("postgres-bulk")?;
    let postgres = Postgres::start(&dir).await?;
    let rows = dir.join("rows.csv");
    write_rows(&field.input, &rows)?;
    let mut session = postgres.connect().await?;
    let trigrams = postgres.make_table(&mut session).await?;
    let begun = Instant::now();
    session.ask(&format!("COPY calls FROM '{}' WITH (FORMAT csv)", rows.display())).await?;
    let theirs = begun.elapsed().as_secs_f64();
    session.ask("VACUUM ANALYZE calls").await?;
    let bytes = session.ask("SELECT pg_total_relation_size('calls')").await?;
    let bytes: u64 = String::from_utf8(bytes)?.parse()?;
    let peer = if trigrams { "PostgreSQL with pg_trgm" } else { "PostgreSQL without pg_trgm" };
    let rate = |seconds: f64| format!("{}/s", short(per(calls, seconds)));
    for (what, seconds) in [("NDJSON", ours.import), ("CSV", from_csv.import)] {
        let figure = format!("{}; {}", rate(seconds), rate(theirs));
        let goal = Target::AtLeast(1.0, 3.0);
        table.goal(
            &format!("import of {what} against COPY, {peer}"),
            &figure,
            theirs / seconds,
            "×",
            goal,
        );
        table.by("rollcall import; COPY calls FROM");
    }
    for (what, taken, goal) in [
        ("after the import", ours.imported, Target::AtMost(1.0, 0.6)),
        ("compacted", ours.compacted, Target::AtMost(0.7, 0.5)),
    ] {
        let figure = format!("{} B a call; {} B", taken / calls, bytes / calls);
        let ratio = per(taken, 1.0) / per(bytes, 1.0);
        table.goal(&format!("disk {what} against {peer}"), &figure, ratio, "×", goal);
        table.by("du data/journal data/index-*; pg_total_relation_size");
    }
    Ok(())
}

/// The calls of a file as rows of the table, with nothing left for the database to make of them.
fn write_rows(input: &Path, rows: &Path) -> Outcome<()> {
    let mut out = BufWriter::new(fs::File::create(rows)?);
    for line in BufReader::new(fs::File::open(input)?).lines() {
        let mut call: serde_json::Map<String, Value> = serde_json::from_str(&line?)?;
        let mut cells: Vec<String> = COLUMNS.iter().map(|name| cell(call.remove(*name))).collect();
        cells.push(cell(Some(Value::String(Value::Object(call).to_string()))));
        writeln!(out, "{}", cells.join(","))?;
    }
    out.flush()?;
    Ok(())
}

fn cell(value: Option<Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => format!("\"{}\"", text.replace('"', "\"\"")),
        Some(other) => other.to_string(),
    }
}
