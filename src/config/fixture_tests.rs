//! The directories of valid and invalid configurations, `tests/config/`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, Locations, Settings};

fn reread(config: &Config) -> Config {
    Config::parse(Path::new(""), &config.to_toml(), &Settings::default()).unwrap()
}

fn load(path: &Path) -> Result<Config, ConfigError> {
    let locations = Locations { config: Some(path.to_owned()), data_dir: None };
    locations.load(&Settings::default(), [], None).map(|loaded| loaded.config)
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
    assert_eq!(fixtures.len(), 13, "a fixture was added or lost");
    for (path, _) in fixtures {
        let config = load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(reread(&config), config, "{}", path.display());
    }
}

#[test]
fn invalid_fixtures_are_refused_for_the_reason_they_give() {
    let fixtures = fixtures("invalid");
    assert_eq!(fixtures.len(), 67, "a fixture was added or lost");
    for (path, text) in fixtures {
        let expected: Vec<_> =
            text.lines().map_while(|line| line.strip_prefix("# error: ")).collect();
        assert!(!expected.is_empty(), "{}: no `# error: `", path.display());
        let refused = load(&path).expect_err(expected[0]).to_string();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(refused.contains(name), "{name} is not named in: {refused}");
        for wanted in &expected {
            assert!(refused.contains(wanted), "{name}\n   gave: {refused}\n wanted: {wanted}");
        }
        // One error is one line, and of several each has its own.
        assert_eq!(refused.lines().count(), expected.len(), "{name}: {refused}");
        assert!(!refused.ends_with('.'), "{name}: {refused}");
    }
}
