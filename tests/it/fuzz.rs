//! What fuzzing has found worth keeping, once more: all files of `fuzz/corpus` through the targets
//! that they were found by. `fuzz/Cargo.toml` says how to look for more.

use std::fs;
use std::path::Path;

use rollcall::fuzz::TARGETS;

/// Bytes of all files together: a corpus is kept small.
const BYTES_MAX: usize = 300 * 1024;

#[test]
fn whatever_was_found_is_withstood() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut bytes = 0;
    for (name, target) in TARGETS {
        let mut files = 0;
        for entry in fs::read_dir(fuzz.join("corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| target(&data));
            assert!(outcome.is_ok(), "{}", path.display());
            bytes += data.len();
            files += 1;
        }
        assert!(files > 0, "{name} has no corpus");
        let source = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("rollcall::fuzz::{name}(data)")), "{source}");
    }
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
    assert_eq!(targets, TARGETS.len());
}
