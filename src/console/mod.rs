//! The files of the console, which are parts of the binary: the page, its scripts and its styles.
//!
//! All of them have one version, a hash over what they say. It stands in their paths, so that a browser
//! keeps a file for good and never mixes those of two releases.

mod files;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use files::FILES;
use ring::digest;

/// The page that every address of the console answers.
const SHELL: &str = "index.html";
/// What stands in the page for the path of the other files.
const PATH_OF_ASSETS: &str = "{{ assets }}";
/// Digits of the version.
const VERSION_DIGITS: usize = 12;

/// A file as it is sent.
#[derive(Debug)]
pub struct Asset {
    /// `Content-Type`.
    pub kind: &'static str,
    pub plain: Bytes,
    /// The same compressed.
    pub gzip: Bytes,
}

/// The version of all files together, in hexadecimal digits.
pub fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let mut all = digest::Context::new(&digest::SHA256);
        for (path, bytes) in FILES {
            let length = (path.len() + bytes.len()).to_string();
            for part in [path.as_bytes(), b"\0", length.as_bytes(), b"\0", bytes] {
                all.update(part);
            }
        }
        let mut digits = HEXLOWER.encode(all.finish().as_ref());
        digits.truncate(VERSION_DIGITS);
        digits
    });
    &VERSION
}

/// The page.
pub fn shell() -> &'static Asset {
    static PAGE: LazyLock<Asset> = LazyLock::new(|| {
        let text = FILES.iter().find(|(path, _)| *path == SHELL).map(|(_, bytes)| *bytes);
        let text = String::from_utf8_lossy(text.unwrap_or_default());
        let assets = format!("/console/assets/{}", version());
        Asset::new(SHELL, text.replace(PATH_OF_ASSETS, &assets).into())
    });
    &PAGE
}

/// A file by its path, such as `js/main.js`.
pub fn asset(path: &str) -> Option<&'static Asset> {
    static ASSETS: LazyLock<BTreeMap<&str, Asset>> = LazyLock::new(|| {
        let others = FILES.iter().filter(|(path, _)| *path != SHELL);
        others.map(|(path, bytes)| (*path, Asset::new(path, Bytes::from_static(bytes)))).collect()
    });
    ASSETS.get(path)
}

impl Asset {
    fn new(path: &str, plain: Bytes) -> Self {
        let gzip = compressed(&plain);
        Self { kind: kind(path), plain, gzip }
    }
}

fn compressed(plain: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    // Writing to a vector does not fail.
    let _infallible = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "webmanifest" => "application/json",
        _ => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console/assets")
    }

    fn on_disk() -> BTreeSet<String> {
        let (mut found, mut dirs) = (BTreeSet::new(), vec![directory()]);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let path = path.strip_prefix(directory()).unwrap();
                    found.insert(path.to_str().unwrap().to_owned());
                }
            }
        }
        found
    }

    #[test]
    fn every_file_of_the_directory_is_a_part_of_the_binary() {
        let listed: BTreeSet<String> = FILES.iter().map(|(path, _)| (*path).to_owned()).collect();
        // What documents the others is not sent.
        let mut there = on_disk();
        there.retain(|path| !["README.md", "LICENSE"].iter().any(|name| path.contains(name)));
        assert_eq!(listed, there, "src/console/files.rs lists what is in src/console/assets");
        assert_eq!(listed.len(), FILES.len());
    }

    #[test]
    fn all_files_together_are_small() {
        let others = FILES.iter().filter_map(|(path, _)| asset(path));
        let bytes: usize = others.chain([shell()]).map(|asset| asset.gzip.len()).sum();
        assert!(bytes <= 120 * 1024, "{bytes} bytes compressed");
    }

    #[test]
    fn the_page_names_what_is_there() {
        let page = String::from_utf8(shell().plain.to_vec()).unwrap();
        assert!(!page.contains("{{"), "{page}");
        let assets = format!("\"/console/assets/{}/", version());
        for rest in page.split(&assets).skip(1) {
            let path = rest.split('"').next().unwrap();
            assert!(asset(path).is_some(), "{path}");
        }
        for (path, _) in FILES {
            assert_ne!(kind(path), "text/plain; charset=utf-8", "{path}");
        }
    }
}
