//! What both benchmarks stand on: the real binary, calls to fill it with, a cheap client, what a
//! process has cost, and the table.

pub mod calls;
pub mod client;
pub mod figures;
pub mod load;
pub mod process;
pub mod server;
pub mod table;

use std::error::Error;
use std::path::Path;

/// What a part of a benchmark comes to; the first error ends it.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// The words after `--`: how many calls, and which parts are meant; none where only a test run
/// builds the benchmark and does not mean it.
pub fn arguments() -> Option<(u64, Vec<String>)> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = args.iter().find_map(|arg| arg.replace('_', "").parse().ok());
    let parts: Vec<String> =
        args.iter().filter(|arg| arg.chars().all(|c| c.is_ascii_lowercase())).cloned().collect();
    // Which is what `cargo bench` adds by itself.
    let meant = args.iter().any(|arg| arg == "--bench");
    meant.then(|| (number.unwrap_or(1_000_000), parts))
}

/// A path as a word of a command.
pub fn text(path: &Path) -> Outcome<&str> {
    Ok(path.to_str().ok_or("the temporary directory has a name in UTF-8")?)
}
