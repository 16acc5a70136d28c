//! Words about many calls: which ones, and how they are read and written.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::amounts::limit;
use super::paths::whole_path;
use super::search::SearchArgs;
use super::words::ExportFormat;
use crate::domain::CallSid;
use crate::ops::{AdminRequest, Failure, OnError, Selection};
use crate::wire::{RecordFormat, Zone, ZoneError};

/// How records stand in a file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ImportFormat {
    Auto,
    Json,
    Ndjson,
    Csv,
}

impl From<ImportFormat> for RecordFormat {
    fn from(format: ImportFormat) -> Self {
        match format {
            ImportFormat::Auto => Self::Auto,
            ImportFormat::Json => Self::Json,
            ImportFormat::Ndjson => Self::Ndjson,
            ImportFormat::Csv => Self::Csv,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The file; `-` or nothing for standard input.
    #[arg(value_parser = whole_path())]
    pub file: Option<PathBuf>,
    /// The format of the file.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: ImportFormat,
    /// Say what would happen, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// What to do with a bad record: stop the import, or skip the record.
    #[arg(long, value_enum, default_value = "stop")]
    pub on_error: OnError,
    /// Write the records that are skipped to this file.
    #[arg(long, value_name = "FILE", value_parser = whole_path())]
    pub rejects: Option<PathBuf>,
    /// Make a new store where the data directory has none yet.
    #[arg(long)]
    pub init: bool,
}

#[derive(Debug, Clone, Args)]
pub(super) struct Select {
    /// Calls of this account, by its sid or its name; may be given more than once.
    #[arg(long = "account", value_name = "SID|NAME")]
    accounts: Vec<String>,
    /// Calls with one of these statuses, separated by commas.
    #[arg(long = "status", value_name = "STATUS", value_delimiter = ',')]
    statuses: Vec<String>,
    /// inbound or outbound.
    #[arg(long)]
    direction: Option<String>,
    /// Calls from this number, exactly as the calls have it, such as +15551230001; several are separated by
    /// commas.
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// Calls to this number, exactly as the calls have it; several are separated by commas.
    #[arg(long, value_name = "NUMBER")]
    to: Option<String>,
    /// Calls from numbers, or names of SIP users, that begin so, such as +1555; several are separated by
    /// commas.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    from_prefix: Vec<String>,
    /// Calls to numbers that begin so; several are separated by commas.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    to_prefix: Vec<String>,
    /// Calls that this call has made (its B legs); several are separated by commas.
    #[arg(long = "parent", value_name = "CALL_SID", value_delimiter = ',')]
    parents: Vec<CallSid>,
    /// Only calls that were given up because their last event is too old; `--stale=false` for all others.
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    stale: Option<bool>,
    #[command(flatten)]
    search: SearchArgs,
    /// Calls listed at this time or later: 2026-01-31, "2026-01-31 23:59", today, yesterday, or 2h for two
    /// hours ago. Days and times are UTC unless they have a zone: 2026-01-31T23:59+02:00.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    start: Option<String>,
    /// Calls listed before this time, which is written like that of --start.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    end: Option<String>,
    /// Newest first (desc) or oldest first (asc).
    #[arg(long, value_enum, default_value = "desc")]
    order: ListOrder,
}

/// Which calls come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ListOrder {
    Asc,
    Desc,
}

impl Select {
    pub fn one_account(&self) -> bool {
        self.accounts.len() == 1
    }

    /// What to say of numbers that may be meant otherwise than they were given, where nothing was found:
    /// they are compared as texts, and those of SIP users may be any text.
    pub fn hint(&self) -> Option<String> {
        let given = |flag: &'static str, text: &str| {
            let one = |part: &str| number_hint(flag, part.trim());
            text.split(',').find_map(one)
        };
        let whole = [("--from", &self.from), ("--to", &self.to)];
        let of_number = || self.search.numbers().iter().find_map(|text| given("--number", text));
        let prefixes = [("--from-prefix", &self.from_prefix), ("--to-prefix", &self.to_prefix)];
        let of_whole =
            whole.into_iter().find_map(|(flag, text)| given(flag, text.as_ref()?.as_str()));
        let of_prefix = || {
            let mut of = prefixes.into_iter();
            of.find_map(|(flag, texts)| texts.iter().find_map(|text| given(flag, text)))
        };
        of_whole.or_else(of_prefix).or_else(of_number).or_else(|| self.search.hint())
    }
}

impl From<Select> for Selection {
    fn from(select: Select) -> Self {
        Self {
            accounts: select.accounts,
            statuses: select.statuses,
            direction: select.direction,
            from: select.from,
            to: select.to,
            from_prefix: select.from_prefix,
            to_prefix: select.to_prefix,
            parents: select.parents,
            stale: select.stale,
            search: select.search.into(),
            start: select.start,
            end: select.end,
            oldest_first: select.order == ListOrder::Asc,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    pub select: Select,
    /// One record per line, one JSON array, or a table; by default what the ending of FILE says, else ndjson.
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,
    /// With csv: for spreadsheets, with a byte order mark and with an apostrophe before formulas.
    #[arg(long)]
    pub spreadsheet: bool,
    /// With csv: the time zone of all times, as Europe/Berlin; UTC unless it is given.
    #[arg(long, value_name = "NAME", value_parser = time_zone)]
    pub time_zone: Option<String>,
    /// The file, which is written whole or not at all; by default standard output.
    #[arg(short, long, value_name = "FILE", value_parser = whole_path())]
    pub output: Option<PathBuf>,
}

impl Export {
    pub fn request(&self, format: ExportFormat) -> Result<AdminRequest, Failure> {
        let selection = Selection::from(self.select.clone());
        if format == ExportFormat::Csv {
            let (spreadsheet, time_zone) = (self.spreadsheet, self.time_zone.clone());
            return Ok(AdminRequest::ExportCsv { selection, spreadsheet, time_zone });
        }
        let flag = match (self.spreadsheet, &self.time_zone) {
            (true, _) => "--spreadsheet",
            (false, Some(_)) => "--time-zone",
            (false, None) => return Ok(AdminRequest::Export(selection)),
        };
        Err(Failure::usage(format!("{flag} needs --format csv: JSON stays as it is")))
    }
}

/// Why a number may be found in no call: calls have telephone numbers as their provider writes them, mostly
/// as +15551230001.
fn number_hint(flag: &str, text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let written = text.chars().all(|c| c.is_ascii_digit() || "+-./() ".contains(c));
    let why = if text.is_empty() || !digits.is_empty() && text == format!("+{digits}") {
        return None;
    } else if !written || digits.is_empty() {
        "no telephone number, so that only names of SIP users can match it, in the same case; a \
         telephone number is mostly written as +15551230001"
            .to_owned()
    } else {
        let digits = digits.strip_prefix("00").unwrap_or(&digits);
        format!(
            "compared character by character, and most calls have numbers with + and country code: try \
             {flag} +{digits}"
        )
    };
    let what = text.chars().take(80).collect::<String>();
    Some(format!("nothing was found; {flag} {what:?} is {why}"))
}

/// The name of a time zone that there is.
fn time_zone(name: &str) -> Result<String, ZoneError> {
    name.parse::<Zone>().map(|_| name.to_owned())
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub select: Select,
    /// How many calls at most: 50 unless it is given; with --follow, lines after which it ends.
    #[arg(long, value_name = "N", value_parser = limit)]
    pub limit: Option<u32>,
    /// On a terminal: whole sids and times, as they are where the output is no terminal.
    #[arg(long)]
    pub wide: bool,
    /// Show new and changed calls of a running server as they come, a line each, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["order", "end"])]
    pub follow: bool,
}

#[cfg(test)]
mod tests {
    use super::number_hint;

    #[test]
    fn a_number_that_calls_hardly_have_is_told_how_it_is_written() {
        for (text, expected) in [
            ("15551230001", "try --from +15551230001"),
            ("0015551230001", "try --from +15551230001"),
            ("+1 (555) 123-0001", "try --from +15551230001"),
            ("1555", "try --from +1555"),
            ("abc", "only names of SIP users can match"),
            ("+", "no telephone number"),
            ("sip:a@b", "in the same case"),
        ] {
            let hint = number_hint("--from", text).unwrap_or_default();
            assert!(hint.contains(expected), "{text}: {hint}");
            assert!(hint.starts_with(&format!("nothing was found; --from {text:?} is ")), "{hint}");
        }
        for right in ["", "+15551230001", "+1"] {
            assert_eq!(number_hint("--from", right), None);
        }
    }
}
