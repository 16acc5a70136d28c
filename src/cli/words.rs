//! Words of backups, of health checks, and of what is written.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::amounts::{backups, duration, size};
use super::paths::whole_path;
use crate::backup::Until;
use crate::clock;
use crate::config::ClusterName;
use crate::domain::{exact_count, parse_count};
use crate::wire::{When, parse_when, time_fault};

#[derive(Debug, Args)]
pub(super) struct Backup {
    /// A directory to make, a file that ends in .tar.zst or .tar.zst.age, or - for such a file on standard output.
    #[arg(value_parser = whole_path())]
    pub target: PathBuf,
    /// Save space: hard-link files that this earlier backup has too. The new backup is complete all the same.
    #[arg(long, value_name = "BACKUP", value_parser = whole_path())]
    pub incremental_from: Option<PathBuf>,
    /// Encrypt the backup to this recipient (age1…); may be given more than once.
    #[arg(long, value_name = "AGE_RECIPIENT")]
    pub encrypt_to: Vec<String>,
    /// Make a backup named rollcall-<UTC time> in the directory TARGET, linked to the last one there, and
    /// remove all but the newest N.
    #[arg(long, value_name = "N", value_parser = backups)]
    pub keep: Option<u16>,
    /// Bytes to read in a second, such as 16MiB or 100MB; 0 for as fast as it goes.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = size, allow_hyphen_values = true)]
    pub rate: u64,
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The backup, or - for an archive on standard input.
    #[arg(value_parser = whole_path())]
    pub backup: PathBuf,
    /// For an encrypted backup: the file with the age key.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    pub identity: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Restore {
    /// The backup, or - for an archive on standard input.
    #[arg(value_parser = whole_path())]
    pub backup: PathBuf,
    /// Restore the state as of this time, or as of this sequence number: "2026-01-31 23:59" (UTC),
    /// 2026-01-31T23:59+02:00, yesterday, 2h for two hours ago, or a number.
    #[arg(long, value_name = "TIME|SEQUENCE", value_parser = until, allow_hyphen_values = true)]
    pub until: Option<Until>,
    /// For an encrypted backup: the file with the age key.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    pub identity: Option<PathBuf>,
    /// Make it the data of this node of a cluster: its name, as cluster.node will say. What the node of the backup
    /// keeps for the log is left to that one.
    #[arg(long, value_name = "NAME")]
    pub node: Option<ClusterName>,
}

/// How records stand in a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    Ndjson,
    Json,
    Csv,
}

impl ExportFormat {
    /// As it is given.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// What the server has to do: answer lists (as `/readyz`), take events, with or without an index (as
    /// `/readyz?for=events`), or live (as `/livez`).
    #[arg(long = "for", value_enum, value_name = "WHAT", default_value = "lists")]
    pub wanted: ServerWanted,
    /// How long to wait for its answer.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration, allow_hyphen_values = true)]
    pub timeout: Duration,
}

/// What a server is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ServerWanted {
    Lists,
    Events,
    Life,
}

/// Digits from which on a number may be a day (`20261101`) or a Unix time, which is not guessed.
const DAY_DIGITS: usize = 8;

fn until(text: &str) -> Result<Until, String> {
    if let Ok(seq) = parse_count(text) {
        let fault = Some(text.trim()).filter(|digits| digits.len() >= DAY_DIGITS);
        return match fault.and_then(time_fault) {
            Some(fault) => Err(format!(
                "it looks like a time: {fault}; for the sequence number, write {}",
                exact_count(seq)
            )),
            None => Ok(Until::Seq(seq)),
        };
    }
    let time = parse_when(text, clock::now(), When::Ago).map(Until::Time);
    time.map_err(|why| format!("{why}, or a sequence number"))
}
