//! Names of files in a backup, and of what is not finished.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub(super) const MANIFEST: &str = "BACKUP";
/// The first admin token.
pub(super) const TOKEN: &str = "admin.token";
const TOKEN_BYTES_MAX: u64 = 4096;
const TLS_BYTES_MAX: u64 = 4 << 20;
/// Files of a backup.
pub(super) const FILES_MAX: usize = 400_000;
/// Directories of a backup.
pub(super) const DIRS: [&str; 2] = ["journal", "tls"];

/// What archives are called, without and with encryption.
pub(super) const ARCHIVE: &str = ".tar.zst";
pub(super) const ENCRYPTED: &str = ".tar.zst.age";

/// Whether a file of this name may be in a backup. None of them leads out of a directory.
pub(super) fn is_known(name: &str) -> bool {
    let plain = |name: &str| {
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !name.is_empty() && !name.starts_with('.') && name.bytes().all(usual)
    };
    match name.split_once('/') {
        None => name == TOKEN,
        Some((dir, file)) => DIRS.contains(&dir) && plain(file),
    }
}

/// How large a file of this name may be: certificates, keys and a token are short, so that they cannot
/// fill a disk. A segment may be of any size.
pub(super) fn bytes_max(name: &str) -> u64 {
    match name.split_once('/') {
        None => TOKEN_BYTES_MAX,
        Some(("journal", _)) => u64::MAX,
        Some(_) => TLS_BYTES_MAX,
    }
}

/// The name of a segment's file; none for other files.
pub(super) fn segment(name: &str) -> Option<&str> {
    name.strip_prefix("journal/")
}

/// Where something is written before it is whole.
pub(super) fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().map_or_else(OsString::new, OsString::from);
    name.push(".partial");
    path.with_file_name(name)
}

/// Whether this is such a place.
pub(super) fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "partial")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_a_backup() {
        for known in ["admin.token", "tls/ca.pem", "journal/00000000000000000001.log"] {
            assert!(is_known(known), "{known}");
        }
        for strange in [
            "",
            "/",
            "BACKUP",
            "FORMAT",
            "RESERVE",
            "tls",
            "tls/",
            "tls/..",
            "tls/../x",
            "../tls/x",
            "tls/a/b",
            "/tls/x",
            "tls/.x",
            "journal/a b",
            "index-1/db",
            "./tls/x",
            "tls//x",
        ] {
            assert!(!is_known(strange), "{strange}");
        }
        assert_eq!(bytes_max("journal/00000000000000000001.log"), u64::MAX);
        assert_eq!((bytes_max("admin.token"), bytes_max("tls/ca.pem")), (4096, 4 << 20));
        assert_eq!(partial(Path::new("a/b.tar.zst")), Path::new("a/b.tar.zst.partial"));
        assert!(is_partial(Path::new("a/b.partial")) && !is_partial(Path::new("a/partial")));
    }
}
