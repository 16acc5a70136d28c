//! The directories of valid and invalid configurations, `tests/config/`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Config, Settings};

fn reread(config: &Config) -> Config {
    Config::parse(Path::new(""), &config.to_toml(), &Settings::default()).unwrap()
}

/// The `.toml` files of a directory of fixtures, with their text.
fn fixtures(kind: &str) -> Vec<(PathBuf, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
    let entries = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn valid_fixtures_load_and_survive_being_written() {
    let fixtures = fixtures("valid");
    assert_eq!(fixtures.len(), 10, "a fixture was added or lost");
    for (path, _) in fixtures {
        let config = Config::load(Some(&path), &Settings::default())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(reread(&config), config, "{}", path.display());
    }
}

#[test]
fn invalid_fixtures_are_refused_for_the_reason_they_give() {
    let fixtures = fixtures("invalid");
    assert_eq!(fixtures.len(), 41, "a fixture was added or lost");
    for (path, text) in fixtures {
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# error: "));
        let expected = expected.unwrap_or_else(|| panic!("{}: no `# error: `", path.display()));
        let refused = Config::load(Some(&path), &Settings::default());
        let refused = refused.expect_err(expected).to_string();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(refused.contains(name), "{name} is not named in: {refused}");
        assert!(refused.contains(expected), "{name}\n   gave: {refused}\n wanted: {expected}");
        assert!(!refused.ends_with('.') && !refused.contains('\n'), "{name}: {refused}");
    }
}
