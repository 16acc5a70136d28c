//! The manifest: what a backup is, and every file of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::Path;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::error::BackupError;
use super::names;
use crate::store::FORMAT;

/// The version of backups that this release writes.
pub(super) const VERSION: u32 = 1;
/// Bytes of a manifest: about 200 a file.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What stands in `BACKUP`: this as JSON, and a line with the SHA-256 of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the backup's own form.
    pub rollcall_backup: u32,
    /// The release that made it.
    pub release: String,
    /// The format of the data.
    pub format: u32,
    /// Which life of the data sequence numbers belong to.
    pub epoch: String,
    /// The last sequence number in it.
    pub sequence: u64,
    /// When it was begun, RFC 3339.
    pub made_at: String,
    /// When the last change in it was received, RFC 3339; none without any.
    pub last_change_at: Option<String>,
    pub frames: u64,
    /// Every file, in the order in which they stand in an archive.
    pub files: Vec<ManifestFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its place, with `/`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// The frames of a segment of the journal.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub frames: Option<FrameSpan>,
}

/// The frames of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSpan {
    /// How many.
    pub frames: u64,
    /// The sequence number that the segment is named after.
    pub first_seq: u64,
    /// That of its last frame; none where it has none.
    pub last_seq: Option<u64>,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    /// The content of `BACKUP`.
    pub(super) fn text(&self) -> String {
        // A struct of texts and numbers has a JSON.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        let sum = hex(digest(&SHA256, text.as_bytes()).as_ref());
        let _infallible = writeln!(text, "sha256 {sum}");
        text
    }

    /// Reads what [`Self::text`] wrote.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, BackupError> {
        let damaged = |reason: &str| BackupError::damaged(path, names::MANIFEST, 0, reason);
        let text = std::str::from_utf8(text).map_err(|_| damaged("it is no text"))?;
        // A later release may say other things; its number is read before all else.
        let version = text.lines().find_map(|line| {
            line.trim().strip_prefix("\"rollcall_backup\": ")?.trim_end_matches(',').parse().ok()
        });
        if let Some(found) = version.filter(|version| *version > VERSION) {
            return Err(BackupError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        let (json, sum) = text.rsplit_once("sha256 ").ok_or_else(|| damaged("it is cut off"))?;
        if sum.strip_suffix('\n') != Some(&*hex(digest(&SHA256, json.as_bytes()).as_ref())) {
            return Err(damaged("it does not fit its checksum"));
        }
        let manifest: Self = serde_json::from_str(json)
            .map_err(|error| damaged(&format!("it does not say what it should: {error}")))?;
        if let Some(strange) = manifest.files.iter().find(|file| !names::is_known(&file.name)) {
            return Err(damaged(&format!("{:?} is no file of a backup", strange.name)));
        }
        let mut named = HashSet::new();
        if let Some(twice) = manifest.files.iter().find(|file| !named.insert(&file.name)) {
            return Err(damaged(&format!("it names {:?} twice", twice.name)));
        }
        if manifest.format > FORMAT {
            let (path, found) = (path.to_owned(), manifest.format);
            return Err(BackupError::Newer { path, found, known: FORMAT });
        }
        Ok(manifest)
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_names_a_file_twice_is_refused_by_that_name() {
        let entry = |name: &str| ManifestFile {
            name: name.to_owned(),
            bytes: 1,
            sha256: "0".repeat(64),
            frames: None,
        };
        let manifest = |names: &[&str]| Manifest {
            rollcall_backup: VERSION,
            release: "1".to_owned(),
            format: FORMAT,
            epoch: "e".to_owned(),
            sequence: 1,
            made_at: "2026-11-28T00:00:00.000Z".to_owned(),
            last_change_at: None,
            frames: 0,
            files: names.iter().map(|name| entry(name)).collect(),
        };
        let parse = |names: &[&str]| {
            Manifest::parse(Path::new("backup"), manifest(names).text().as_bytes())
        };
        assert!(parse(&["tls/ca.pem", "tls/ca.key"]).is_ok());
        for names in
            [&["tls/ca.pem", "tls/ca.pem"][..], &["tls/ca.pem", "admin.token", "tls/ca.pem"][..]]
        {
            let refused = parse(names).unwrap_err().to_string();
            assert!(refused.contains("BACKUP is damaged"), "{refused}");
            assert!(refused.contains("it names \"tls/ca.pem\" twice"), "{refused}");
        }
    }
}
