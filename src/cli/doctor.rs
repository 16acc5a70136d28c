//! `rollcall doctor`: what a person sees of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::execute::runtime_dir;
use super::output::Output;
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::doctor::{Finding, Level, Surroundings, examine, without_configuration};
use crate::domain::counted;
use crate::logs;
use crate::ops::Failure;

/// Examines, prints, and fails where there is an error, or something that this user may not look at.
pub(super) fn doctor(
    config: Result<Config, ConfigError>,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    output.log_quietly();
    let findings = match config {
        Ok(config) => {
            let around = Surroundings {
                runtime_dir: runtime_dir(),
                root: PathBuf::from("/"),
                now: clock::system_time(),
            };
            examine(&config, &around)
        }
        Err(error) => without_configuration(&error),
    };
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings) = (count(Level::Error), count(Level::Warn));
    let unknown = count(Level::Unknown);
    let shown = if output.json {
        let counts = [("errors", errors), ("warnings", warnings), ("unknown", unknown)];
        let mut value = json!({ "findings": findings });
        if let serde_json::Value::Object(members) = &mut value {
            members.extend(counts.map(|(name, count)| (name.to_owned(), json!(count))));
        }
        value.to_string()
    } else {
        let mut text: String = findings.iter().map(lines).collect();
        let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
        let _infallible = writeln!(text, "{errors}, {warnings}, {unknown} unknown");
        text
    };
    output.text(&shown)?;
    // Who may not look has not found that all is well.
    let failed = errors > 0 || findings.iter().any(|finding| finding.denied);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(finding: &Finding) -> String {
    let Finding { level, object, problem, advice, .. } = finding;
    let mut text = format!("{:<8} {object}: {problem}\n", level.as_str());
    if let Some(advice) = advice {
        let _infallible = writeln!(text, "{:<8} → {advice}", "");
    }
    // What a file name or a certificate holds is not to be obeyed by a terminal.
    logs::plain_lines(&text).into_owned()
}
