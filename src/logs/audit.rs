//! The audit log: what admins did, and requests with wrong credentials.
//!
//! Where a file is configured each event is one JSON object on a line of it, written with one system
//! call; else it is in the log, with the target `audit`. Lines about wrong credentials are limited, so
//! that guessing cannot fill a disk: the next line says how many were left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::plain::plain_log;
use crate::domain::Timestamp;
use crate::wire::show_time;

/// Wrong credentials that are written in one [`WINDOW`].
const WRONG_MAX: u32 = 60;
/// The time in which they are counted.
const WINDOW: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditOutcome {
    Done,
    Failed,
    /// The user had no right to it.
    Refused,
}

/// An action of a user. Nothing in it is secret.
#[derive(Debug, Clone)]
pub struct AuditEvent<'a> {
    pub at: Timestamp,
    /// Who: `token <id>`, `socket uid <n>`, `command uid <n>`, or `nobody`.
    pub who: &'a str,
    /// What was done, such as `token create`.
    pub what: &'a str,
    /// To what.
    pub object: Option<&'a str>,
    pub outcome: AuditOutcome,
    /// Where it came from, where that is an address.
    pub peer: Option<SocketAddr>,
}

/// Where audit events are written.
#[derive(Debug)]
pub struct AuditLog {
    file: Option<(PathBuf, Mutex<File>)>,
    wrong: Mutex<Bound>,
}

/// One line of the file.
#[derive(Serialize)]
struct AuditLine<'a> {
    at: String,
    who: &'a str,
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    outcome: AuditOutcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

/// How many lines there were lately.
#[derive(Debug, Default)]
struct Bound {
    since: Option<Instant>,
    lines: u32,
    left_out: u64,
}

impl Bound {
    /// Whether one more may be written, and then how many were left out before it.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            self.since = Some(now);
            self.lines = 0;
        }
        if self.lines >= WRONG_MAX {
            self.left_out += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl AuditLog {
    /// Writes to the end of this file, which is made for its owner alone where it is missing; to
    /// the log where there is none.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = match path {
            Some(path) => Some((path.to_owned(), Mutex::new(append_to(path)?))),
            None => None,
        };
        Ok(Self { file, wrong: Mutex::default() })
    }

    /// Opens the file anew, after it was rotated. On an error the old one goes on.
    pub fn reopen(&self) -> io::Result<()> {
        if let Some((path, file)) = &self.file {
            let new = append_to(path)?;
            *file.lock() = new;
        }
        Ok(())
    }

    pub fn write(&self, audit_event: &AuditEvent<'_>) {
        self.put(audit_event, None);
    }

    /// Writes that a request had wrong credentials. False where the line was left out, since there
    /// were many in the last minute.
    pub fn write_wrong(&self, audit_event: &AuditEvent<'_>, now: Instant) -> bool {
        let Some(left_out) = self.wrong.lock().pass(now) else { return false };
        self.put(audit_event, (left_out > 0).then_some(left_out));
        true
    }

    fn put(&self, audit_event: &AuditEvent<'_>, left_out: Option<u64>) {
        let AuditEvent { at, who, what, object, outcome, peer } = audit_event.clone();
        // A proxy that names its client may leave the port out.
        let peer = peer.map(|peer| match peer.port() {
            0 => peer.ip().to_string(),
            _ => peer.to_string(),
        });
        let Some((path, file)) = &self.file else {
            let outcome = format!("{outcome:?}").to_ascii_lowercase();
            tracing::info!(target: "audit", who, what, object, outcome, peer, left_out, "audit event");
            return;
        };
        let at = show_time(at).to_string();
        let line = AuditLine { at, who, what, object, outcome, peer, left_out };
        let written = serde_json::to_string(&line).map_err(io::Error::from).and_then(|mut line| {
            line.push('\n');
            file.lock().write_all(plain_log(&line).as_bytes())
        });
        if let Err(error) = written {
            tracing::error!(path = %path.display(), %error, who, what, "the audit log is not written");
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn audit_event(what: &str) -> AuditEvent<'_> {
        let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let (who, object) = ("socket uid 7", Some("a\nb"));
        AuditEvent { at, who, what, object, outcome: AuditOutcome::Done, peer: None }
    }

    #[test]
    fn a_audit_event_is_one_line_and_the_file_can_be_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let audit = AuditLog::open(Some(&path)).unwrap();
        audit.write(&audit_event("one"));
        let moved = dir.path().join("audit.log.1");
        std::fs::rename(&path, &moved).unwrap();
        audit.write(&audit_event("two"));
        audit.reopen().unwrap();
        audit.write(&audit_event("three"));
        let line = "{\"at\":\"2027-01-15T08:00:00.000Z\",\"who\":\"socket uid 7\",\
            \"what\":\"one\",\"object\":\"a\\nb\",\"outcome\":\"done\"}\n";
        let both = [line, &line.replace("\"one\"", "\"two\"")].concat();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), both);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line.replace("\"one\"", "\"three\""));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn wrong_credentials_are_bounded_and_those_left_out_are_counted() {
        let mut bound = Bound::default();
        let now = Instant::now();
        let passed = (0..1000).filter(|_| bound.pass(now).is_some()).count();
        assert_eq!(passed, WRONG_MAX as usize);
        assert_eq!(bound.pass(now + WINDOW), Some(1000 - u64::from(WRONG_MAX)));
        assert_eq!(bound.pass(now + WINDOW), Some(0));
    }
}
