//! The command line: the same words, the same answer, whether the server is up or down.

mod accounts;
mod amounts;
mod config;
mod documents;
mod expiry;
mod follow;
mod foreign;
mod health;
mod listing;
mod messages;
mod owners;
mod parity;
mod plurals;
pub mod pty;
mod purge;
mod sharing;
mod socket;
mod starts;
mod status;
mod terminal;
mod tokens;

use std::fs;
use std::path::Path;

/// Whether any file below this directory holds these bytes, but for the named ones.
fn holds(dir: &Path, bytes: &[u8], except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    let mut files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                dirs.push(path);
            } else if path.is_file() && !except.contains(&name.as_str()) {
                files += 1;
                let content = fs::read(&path).unwrap();
                if content.windows(bytes.len()).any(|window| window == bytes) {
                    found.push(path.display().to_string());
                }
            }
        }
    }
    assert!(files > 3, "only {files} files were seen");
    found
}

/// A text with times and token ids masked, since they differ from run to run.
fn masked(text: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || "-:.".contains(c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(part) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        out.push_str(match word.trim_end_matches(':') {
            time if time.len() == 24 && time.ends_with('Z') => "TIME",
            id if id.len() == 12 && id.bytes().all(|c| c.is_ascii_hexdigit()) => "ID",
            _ => word,
        });
        rest = after;
    }
    out + rest
}
