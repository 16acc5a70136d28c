//! What a store of a million calls costs, measured on the real binary.
//!
//! ```sh
//! cargo bench --bench million                       # 1 000 000 calls
//! cargo bench --bench million -- 100000             # as many as one likes
//! cargo bench --bench million -- 5000000 start growth  # parts: start, lists, growth, export,
//!                                                      # backup, half; an import is always first
//! ```
//!
//! Everything happens in a temporary directory (`TMPDIR` says where; a RAM disk flatters). Each line
//! of the table names the command that it measures, and holds its figure against what was asked for.
//! `ROLLCALL` names another binary than the one just built.

mod harness;
mod standalone;

use harness::Outcome;
use harness::table::Table;
use standalone::{Field, backup, growth, import, lists, start};

/// A stage of a store's life.
type Stage = fn(&Field, &mut Table) -> Outcome<()>;

const STAGES: [(&str, Stage); 6] = [
    ("start", start::run),
    ("lists", lists::run),
    ("growth", growth::run),
    ("export", import::export),
    ("backup", backup::run),
    ("half", backup::half),
];

fn main() -> Outcome<()> {
    let Some((calls, parts)) = harness::arguments() else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let field = Field::new(dir.path(), calls)?;
    let mut table = Table::default();
    import::import(&field, &mut table)?;
    for (name, stage) in STAGES {
        if parts.is_empty() || parts.iter().any(|part| part == name) {
            stage(&field, &mut table)?;
        }
    }
    table.print()
}
