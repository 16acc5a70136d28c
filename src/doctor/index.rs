//! The index: a view that can always be built again, so that nothing here is an error.

use std::fs;

use super::rights::{User, denied};
use super::server::ObservedServer;
use super::{Finding, shown};
use crate::config::Config;
use crate::domain::counted;
use crate::fsutil;

pub(super) fn check(config: &Config, server: &ObservedServer, user: &User) -> Vec<Finding> {
    let dir = &config.data_dir;
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let damaged =
        names.iter().filter(|name| name.starts_with("index-") && name.ends_with(".damaged"));
    let mut findings: Vec<Finding> = damaged
        .map(|name| {
            let path = shown(&dir.join(name));
            let problem = "this index had failed, was quarantined and built again";
            let advice = format!(
                "see the log of that day, and whether the disk is sound; then `rm -r {path}`"
            );
            Finding::warn(path.clone(), problem, advice)
        })
        .collect();
    if !dir.join("journal").is_dir() {
        return findings;
    }
    let current = fsutil::read_text(&dir.join("CURRENT"));
    if let Some(denied) = current.as_ref().err().and_then(|error| denied("index", error, user, dir))
    {
        findings.push(denied);
        return findings;
    }
    let current = current.unwrap_or_default();
    let current = format!("index-{}", current.trim());
    let there = dir.join(&current).is_dir();
    let object = "index";
    findings.push(match server.answers() {
        Some(answers) if answers.figures.store.index_bytes.is_none() => Finding::warn(
            object,
            "it has failed and is being built again; lists are answered 503 until then",
            "wait, and see the log; if it fails again, see whether the disk is sound and has space",
        ),
        Some(answers) => {
            let status = &answers.figures.store;
            let behind = status.sequence.saturating_sub(status.checkpoint_sequence);
            let calls = status.calls.map(|calls| format!("{}, ", counted(calls, "call")));
            let calls = calls.unwrap_or_default();
            Finding::ok(object, format!("{calls}{} behind", counted(behind, "change")))
        }
        None if there => Finding::ok(object, format!("{current} is there")),
        None => Finding::warn(
            object,
            format!("{} does not lead to one", shown(&dir.join("CURRENT"))),
            "nothing is lost: the next start builds it from the journal, about a minute for each \
             few million calls",
        ),
    });
    findings
}
