//! rollcall beside what people use today, in one run on one machine, with ratios.
//!
//! ```sh
//! benches/baselines/setup                          # once: what it is compared with
//! cargo bench --bench beside                    # 1 000 000 calls
//! cargo bench --bench beside -- 100000          # as many as one likes
//! cargo bench --bench beside -- 100000 lists    # a part: bulk, lists, search, durable
//! ```
//!
//! Everything happens in a temporary directory (`TMPDIR` says where; a RAM disk flatters) and on
//! loopback. `ROLLCALL` names another binary than the one just built, `BEFORE` that of a release
//! before, which the bulk work is compared with.

mod baselines;
mod comparisons;
mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use comparisons::{Field, bulk, durable, lists, search};
use harness::Outcome;
use harness::table::Table;

/// How long each load of events lasts: long enough for checkpoints and full segments.
const EVENTS_SECONDS: u64 = 60;

fn main() -> Outcome<()> {
    let Some((calls, parts)) = harness::arguments() else { return Ok(()) };
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|word| word == part);
    let dir = tempfile::tempdir()?;
    // PostgreSQL runs as another user.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let field = Field::new(dir.path(), calls);
    if ["bulk", "lists", "durable"].into_iter().any(wanted) {
        field.fill()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = Table::default();
    if wanted("bulk") {
        runtime.block_on(bulk::run(&field, &mut table))?;
    }
    if wanted("lists") {
        runtime.block_on(lists::run(&field, &mut table))?;
    }
    if wanted("search") {
        runtime.block_on(search::run(&field, &mut table))?;
    }
    if wanted("durable") {
        let quick = field.calls < 1_000_000;
        let seconds = if quick { EVENTS_SECONDS / 6 } else { EVENTS_SECONDS };
        runtime.block_on(durable::run(&field, &mut table, seconds))?;
    }
    table.print()
}
