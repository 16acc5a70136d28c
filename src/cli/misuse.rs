//! Command lines that make no sense, and those that ask for help.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Command;
use clap::error::ErrorKind;

use super::log;
use super::output::talk;

/// What is wrong with a command line; or help and version, which were asked for.
pub(super) fn misused(error: &clap::Error) -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let serves = words.any(|word| word == "serve");
    let text = error.render().to_string();
    if error.use_stderr() && is_for_programs(std::env::args_os().skip(1)) {
        let missing = matches!(
            error.kind(),
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand
        );
        let why = if missing {
            "a command or an argument is missing; see --help".to_owned()
        } else {
            in_short(&text)
        };
        let failure = serde_json::json!({ "error": why });
        talk(&failure.to_string());
    } else if !(serves && error.use_stderr() && log::failed(text.trim_end())) {
        let _nobody_reads = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// Whether `--json` is among the flags.
fn is_for_programs(words: impl Iterator<Item = OsString>) -> bool {
    let mut flags = words.take_while(|word| word != "--");
    flags.any(|word| word == "--json")
}

/// The error without usage and without the way to the help, on one line.
fn in_short(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(str::trim);
    let paragraphs = paragraphs.take_while(|part| !part.starts_with("For more information, try"));
    let said: Vec<String> = paragraphs
        .filter(|part| !part.is_empty() && !part.starts_with("Usage:"))
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    said.join("; ").trim_start_matches("error: ").to_owned()
}

/// Takes a negative number as the value that it is meant as, so that the flag before it says what it expects.
pub(super) fn with_negative_values(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let has_none = arg.is_positional() || !arg.get_action().takes_values();
            if has_none { arg } else { arg.allow_negative_numbers(true) }
        })
        .mut_subcommands(with_negative_values)
}

/// The words without a `--help` after `help`, which asks for the same.
pub(super) fn without_help_of_help(mut words: Vec<OsString>, command: &Command) -> Vec<OsString> {
    let mut at = Some(command);
    let mut value_follows = false;
    let mut helps = None;
    for (n, word) in words.iter().enumerate().skip(1) {
        if std::mem::take(&mut value_follows) {
            continue;
        }
        if word == "--config" || word == "--data-dir" {
            value_follows = true;
            continue;
        }
        let Some(word) = word.to_str() else { break };
        if word.starts_with('-') {
            continue;
        }
        let Some(here) = at.filter(|here| here.has_subcommands()) else { break };
        if word == "help" {
            helps = Some(n);
            break;
        }
        at = here.find_subcommand(word);
    }
    if let Some(help) = helps {
        let mut n = 0;
        words.retain(|word| {
            n += 1;
            n <= help + 1 || !(word == "--help" || word == "-h")
        });
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::args::Cli;

    #[test]
    fn help_of_help_is_help() {
        for (words, wanted) in [
            ("rollcall help --help", "rollcall help"),
            ("rollcall help -h", "rollcall help"),
            ("rollcall --json help list --help", "rollcall --json help list"),
            ("rollcall --config help help --help", "rollcall --config help help"),
            ("rollcall token help create -h", "rollcall token help create"),
            ("rollcall list --help", "rollcall list --help"),
            ("rollcall show help --help", "rollcall show help --help"),
            ("rollcall", "rollcall"),
        ] {
            let given: Vec<OsString> = words.split(' ').map(OsString::from).collect();
            let kept = without_help_of_help(given, &Cli::command());
            let wanted: Vec<OsString> = wanted.split(' ').map(OsString::from).collect();
            assert_eq!(kept, wanted, "{words}");
        }
    }
}
