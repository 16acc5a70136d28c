//! Files that the service manager hands over: `credential:NAME` stands for the file `NAME` in
//! the directory that systemd names in `CREDENTIALS_DIRECTORY` (`LoadCredential=`).
//!
//! Only the service itself sees that directory. So a path is resolved when its file is wanted,
//! and not when the configuration is read, which every command does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::TlsError;
use crate::fsutil;

/// Bytes of a password.
const PASSWORD_BYTES_MAX: usize = 4096;
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What such a path begins with.
const PREFIX: &str = "credential:";
/// Where systemd says that the files are.
const VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The file that a configured path means, as this process sees it.
///
/// # Errors
/// [`TlsError::NoCredentials`] and [`TlsError::CredentialName`].
pub fn resolve(path: &Path) -> Result<PathBuf, TlsError> {
    within(path, std::env::var_os(VARIABLE))
}

/// The first line of a configured file that holds a password.
///
/// # Errors
/// Why there is none, in words.
pub fn first_line(path: &Path) -> Result<String, String> {
    let file = resolve(path).map_err(|error| error.to_string())?;
    let read = fsutil::open_named(&file).and_then(|file| fsutil::contents(file, FILE_BYTES_MAX));
    let bytes = read.map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    match text.lines().next().unwrap_or_default() {
        "" => Err("its first line is empty; expected the password there".to_owned()),
        line if line.len() > PASSWORD_BYTES_MAX => {
            Err(format!("its first line has more than {PASSWORD_BYTES_MAX} bytes"))
        }
        line => Ok(line.to_owned()),
    }
}

/// Whether the path means a file that the service manager hands over.
pub fn is_credential(path: &Path) -> bool {
    name(path).is_some()
}

fn name(path: &Path) -> Option<&str> {
    path.to_str()?.strip_prefix(PREFIX)
}

fn within(path: &Path, directory: Option<OsString>) -> Result<PathBuf, TlsError> {
    let Some(name) = name(path) else { return Ok(path.to_owned()) };
    if matches!(name, "" | "." | "..") || name.contains('/') {
        return Err(TlsError::CredentialName { path: path.to_owned() });
    }
    match directory.filter(|directory| !directory.is_empty()) {
        Some(directory) => Ok(Path::new(&directory).join(name)),
        None => Err(TlsError::NoCredentials { path: path.to_owned(), name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_of_the_directory_that_systemd_names() {
        let directory = || Some(OsString::from("/run/credentials/rollcall.service"));
        let resolved = within(Path::new("credential:tls.key"), directory()).unwrap();
        assert_eq!(resolved, Path::new("/run/credentials/rollcall.service/tls.key"));
        for plain in ["tls.key", "/etc/credential:x", "./credential:x"] {
            assert_eq!(within(Path::new(plain), None).unwrap(), Path::new(plain));
            assert!(!is_credential(Path::new(plain)));
        }
    }

    #[test]
    fn without_the_directory_and_with_a_strange_name_it_says_what_is_wrong() {
        for none in [None, Some(OsString::new())] {
            let error = within(Path::new("credential:tls.key"), none).unwrap_err().to_string();
            assert!(error.contains("CREDENTIALS_DIRECTORY is not set"), "{error}");
            assert!(error.contains("LoadCredential=tls.key:"), "{error}");
        }
        for strange in ["credential:", "credential:..", "credential:a/b", "credential:/etc/x"] {
            let error = within(Path::new(strange), Some("/run".into())).unwrap_err();
            assert!(matches!(error, TlsError::CredentialName { .. }), "{strange}: {error}");
        }
    }
}
