//! What rollcall costs by itself: each file one stage of a store's life.

pub mod backup;
pub mod growth;
pub mod import;
pub mod lists;
pub mod start;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::harness::Outcome;
use crate::harness::calls::write_calls;
use crate::harness::figures::per;
use crate::harness::process::{size, stored};
use crate::harness::server::Rollcall;

/// What the stages share.
pub struct Field {
    pub dir: PathBuf,
    pub calls: u64,
    pub input: PathBuf,
    pub rollcall: Rollcall,
    /// What the client runs on.
    pub runtime: Runtime,
}

impl Field {
    pub fn new(dir: &Path, calls: u64) -> Outcome<Self> {
        let input = dir.join("calls.ndjson");
        write_calls(&input, calls)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let rollcall = Rollcall::new(&dir.join("data"));
        Ok(Self { dir: dir.to_owned(), calls, input, rollcall, runtime })
    }
}

fn rate(count: u64, seconds: f64) -> String {
    format!("{:.0}/s in {seconds:.1} s", per(count, seconds))
}

fn mega(bytes: u64) -> f64 {
    per(bytes, 1e6)
}

fn mb(bytes: u64) -> String {
    format!("{:.0} MB", mega(bytes))
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
