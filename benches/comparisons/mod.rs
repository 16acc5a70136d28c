//! rollcall beside what people use today: each file one kind of work.

pub mod bulk;
mod cost;
pub mod durable;
pub mod lists;

use std::path::PathBuf;

use crate::baselines::Missing;
use crate::harness::Outcome;
use crate::harness::server::Rollcall;
use crate::harness::table::Table;

/// What the contests share: a store with calls in it, and the file that it was filled from.
pub struct Field {
    pub dir: PathBuf,
    pub calls: u64,
    pub input: PathBuf,
    pub rollcall: Rollcall,
}

impl Field {
    /// A directory of this name.
    pub fn room(&self, name: &str) -> Outcome<PathBuf> {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }
}

/// A part that needs what may not be installed: it is left out, and the table says so.
pub fn skippable(table: &mut Table, peer: &str, part: Outcome<()>) -> Outcome<()> {
    match part {
        Err(error) if error.is::<Missing>() => {
            table.line(&format!("**left out: {peer}**"), &error.to_string(), "");
            Ok(())
        }
        part => part,
    }
}
