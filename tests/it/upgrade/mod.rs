//! What earlier releases have written, and what later ones will have.

mod layouts;
mod make;
mod refusals;
mod released;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The data directories that releases have left, one directory a release.
const RELEASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/releases");

/// Nothing of a fixture gets old while it is looked at.
const STILL: [&str; 2] = ["--calls-sweep-interval=1day", "--store-checkpoint-interval=1day"];

/// Packs the directory `data` in `parent`.
fn pack(parent: &Path, archive: &Path) {
    let packed = zstd::Encoder::new(File::create(archive).unwrap(), 19).unwrap().auto_finish();
    let mut tar = tar::Builder::new(packed);
    tar.append_dir_all("data", parent.join("data")).unwrap();
    tar.finish().unwrap();
}

/// Unpacks what [`pack`] has packed.
fn unpack(archive: &Path, parent: &Path) {
    let packed = zstd::Decoder::new(File::open(archive).unwrap()).unwrap();
    tar::Archive::new(packed).unpack(parent).unwrap();
}

/// All files below a directory, with their content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The directories of all generations of the index.
fn generations(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("index-"))
        .collect();
    found.sort();
    found
}
