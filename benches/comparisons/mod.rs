//! rollcall beside what people use today: each file one kind of work.

pub mod bulk;
mod cost;
pub mod durable;
pub mod lists;
pub mod search;

use std::path::{Path, PathBuf};

use crate::baselines::Missing;
use crate::harness::calls::write_calls;
use crate::harness::server::Rollcall;
use crate::harness::table::Table;
use crate::harness::{Outcome, text};

/// What the parts share: a store with calls in it, and the file that it was filled from.
pub struct Field {
    pub dir: PathBuf,
    pub calls: u64,
    pub input: PathBuf,
    pub rollcall: Rollcall,
}

impl Field {
    pub fn new(dir: &Path, calls: u64) -> Self {
        let rollcall = Rollcall::new(&dir.join("data"));
        Self { dir: dir.to_owned(), calls, input: dir.join("calls.ndjson"), rollcall }
    }

    /// Fills the store. A part that has calls of its own needs that not.
    pub fn fill(&self) -> Outcome<()> {
        write_calls(&self.input, self.calls)?;
        self.rollcall.timed(&["import", "--init", text(&self.input)?]).map(|_| ())
    }

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
