//! The table that a benchmark ends with.

use std::io::{self, Write as _};

use super::Outcome;
use super::figures::short;

/// What was measured, figure, what was asked for, command.
#[derive(Default)]
pub struct Table(Vec<[String; 4]>);

/// What a figure is held against: the first step, and where it is to end.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// At most so much, and so much.
    AtMost(f64, f64),
    /// At least so much, and so much.
    AtLeast(f64, f64),
}

impl Table {
    /// A line without a target.
    pub fn line(&mut self, what: &str, figure: &str, command: &str) {
        self.add([what, figure, "", command]);
    }

    /// A line whose figure comes to `value`, in `unit`, and how far that is.
    pub fn goal(&mut self, what: &str, figure: &str, value: f64, unit: &str, target: Target) {
        let (first, goal, reached) = match target {
            Target::AtMost(first, goal) => (first, goal, [value <= first, value <= goal]),
            Target::AtLeast(first, goal) => (first, goal, [value >= first, value >= goal]),
        };
        let word = match reached {
            [_, true] => "goal",
            [true, false] => "first",
            [false, false] => "missed",
        };
        let asked = format!("{} {unit}; {} {unit}: {word}", short(first), short(goal));
        self.add([what, &format!("**{} {unit}** ({figure})", short(value)), &asked, ""]);
    }

    /// The command that the last line measured.
    pub fn by(&mut self, command: &str) {
        if let Some(row) = self.0.last_mut() {
            command.clone_into(&mut row[3]);
        }
    }

    fn add(&mut self, row: [&str; 4]) {
        // A person who waits sees that it goes on.
        let _nobody_looks = writeln!(io::stderr(), "{}: {} {}", row[0], row[1], row[2]);
        self.0.push(row.map(ToOwned::to_owned));
    }

    /// Writes the table to standard output.
    pub fn print(&self) -> Outcome<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "\n| what | figure | first; goal | command |\n|---|---|---|---|")?;
        for [what, figure, target, command] in &self.0 {
            writeln!(out, "| {what} | {figure} | {target} | `{command}` |")?;
        }
        Ok(())
    }
}
