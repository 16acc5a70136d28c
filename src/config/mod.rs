//! The configuration: one TOML file, `ROLLCALL_…` variables and flags, read into checked types.
//!
//! `sections.rs` has each key once, with its meaning, default and bounds. The table [`KEYS`] is made
//! of it, and from that table the flags, the variables, the hints in errors and the example.
//!
//! A value is taken from the flag, else from the variable, else from the file, else from the
//! default. Reading goes in this order, so that each failure can name where it came from:
//!
//! 1. the file by itself: an error names file, line and key;
//! 2. the variables and flags, laid over it one at a time: an error names that one;
//! 3. what concerns several keys at once (both halves of a TLS pair, say), on the result alone,
//!    because a file may leave one half to a variable.
//!
//! There are no secrets in the configuration: it can be printed and logged.

mod cdrs;
mod cluster;
mod document;
#[cfg(test)]
mod environment_tests;
mod error;
#[cfg(test)]
mod fixture_tests;
mod forward;
mod keys;
mod net;
mod redis;
mod retention;
mod sections;
mod settings;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub use cluster::{Cluster, ClusterName, LogServer};
pub use document::{ValueSources, example};
pub use error::ConfigError;
pub use forward::{ForwardTarget, TargetUrl};
pub use keys::KEYS;
pub use net::{Host, ListenAddr, SubjectName};
pub use redis::{RedisUrl, WantedAccounts};
pub use retention::SHORT;
pub use sections::{
    CdrsSection, Config, Forward, LimitsSection, Log, LogFormat, LogLevel, LogNumbers, MirrorRedis,
    Upstream, WithoutQuorum,
};
pub use settings::{DEFAULT_FILE, Locations, Settings};

use error::ValueSource;
use settings::Environment;

impl Config {
    /// Reads `text`, the content of `path` (which errors name), and lays `overrides` over it.
    ///
    /// # Errors
    /// It is not TOML; a key is unknown; a value has the wrong type, is out of bounds, or contradicts
    /// another. The error says where each was given.
    pub fn parse(path: &Path, text: &str, overrides: &Settings) -> Result<Self, ConfigError> {
        let (config, _, errors) = Self::gather(path, text, overrides, true);
        ConfigError::of(errors).map_or(Ok(config), Err)
    }

    /// The same with all that is wrong; what is wrong has its default. Whether values fit together is only
    /// said where they are known: `is_whole` is whether nothing else is missing.
    fn gather(
        path: &Path,
        text: &str,
        overrides: &Settings,
        is_whole: bool,
    ) -> (Self, ValueSources, Vec<ConfigError>) {
        let document::Gathered { mut config, mut places, mut errors, mut unknown } =
            document::parse(path, text);
        for (key, given) in overrides.iter() {
            let value = key.form.value_of(&given.text);
            match (key.set)(&mut config, &value, &key.form) {
                Ok(()) => unknown.known(key.name),
                Err(problem) => {
                    unknown.add(key.name);
                    let place = given.place.clone();
                    let quoted = |quote| {
                        given.text.len() > 1
                            && given.text.starts_with(quote)
                            && given.text.ends_with(quote)
                    };
                    let problem = match place {
                        ValueSource::Variable(_) if quoted('"') || quoted('\'') => {
                            format!(
                                "{}; the quotes are part of the value: leave them out",
                                problem.text
                            )
                        }
                        _ => problem.text,
                    };
                    errors.push(ConfigError::Value { place, problem });
                }
            }
            places.put(key.name, given.place.clone());
        }
        if is_whole {
            errors.extend(document::check(&config, &places, &unknown));
        }
        (config, places, errors)
    }

    /// The admin socket's path: as configured, else `admin.sock` in the runtime directory that
    /// the service manager gave (`$RUNTIME_DIRECTORY`), else `admin.sock` in the data directory.
    pub fn admin_socket_path(&self, runtime_dir: Option<&Path>) -> PathBuf {
        match &self.admin_socket {
            Some(path) => path.clone(),
            None => runtime_dir.unwrap_or(&self.data_dir).join("admin.sock"),
        }
    }

    /// The same with paths that are right from any directory; what is handed over by name stays.
    #[must_use]
    pub fn absolute(&self) -> Self {
        let mut config = self.clone();
        let (tls, redis) = (&mut config.tls, &mut config.mirror_redis);
        let passwords = [&mut redis.password_file, &mut redis.sentinel_password_file];
        let mirror = passwords.into_iter().chain([&mut redis.ca, &mut redis.cert, &mut redis.key]);
        let mirror = mirror.flatten();
        let cluster = &mut config.cluster;
        let cluster =
            [&mut cluster.password_file, &mut cluster.ca, &mut cluster.cert, &mut cluster.key];
        let cluster = cluster.into_iter().flatten();
        let targets = config.forward.targets.0.iter_mut();
        let targets = targets.filter_map(|target| target.password_file.as_mut());
        let paths = [&mut tls.cert, &mut tls.key, &mut tls.client_ca]
            .into_iter()
            .flatten()
            .chain(config.upstream.ca.as_mut())
            .chain(mirror)
            .chain(cluster)
            .chain(config.forward.ca.as_mut())
            .chain(targets)
            .chain(config.cdrs.password_file.as_mut())
            .chain(config.log.audit.as_mut())
            .chain(config.admin_socket.as_mut())
            .chain(std::iter::once(&mut config.data_dir));
        for path in paths {
            if !path.to_string_lossy().starts_with("credential:")
                && let Ok(absolute) = std::path::absolute(&*path)
            {
                *path = absolute;
            }
        }
        config
    }

    /// The keys whose values differ from those of another configuration.
    pub fn changed(&self, other: &Self) -> Vec<&'static str> {
        KEYS.iter().filter(|key| (key.get)(self) != (key.get)(other)).map(|key| key.name).collect()
    }

    /// The effective configuration as TOML, every key included; reading it again gives `self`.
    pub fn to_toml(&self) -> String {
        document::write(self)
    }
}

/// A configuration, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedConfig {
    pub config: Config,
    pub file: Option<PathBuf>,
    /// Where each value was given.
    pub places: ValueSources,
    /// Variables that Kubernetes sets, which name no key and were passed over.
    pub passed_over: Vec<String>,
}

impl Locations {
    /// Loads the configuration with these flags, the `flags` of `serve` (other commands pass
    /// [`Settings::default`]) and the variables `vars` (`std::env::vars_os()`).
    ///
    /// The file is `--config`, else `ROLLCALL_CONFIG`, else `default` where that exists, else none.
    ///
    /// # Errors
    /// The file cannot be read; a `ROLLCALL_…` variable names no key or is not UTF-8; and as
    /// [`Config::parse`]. All of them are named.
    pub fn load(
        &self,
        flags: &Settings,
        vars: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        default: Option<&Path>,
    ) -> Result<LoadedConfig, ConfigError> {
        let (loaded, errors) = self.examine(flags, vars, default);
        ConfigError::of(errors).map_or(Ok(loaded), Err)
    }

    /// The same with all that is wrong; what is wrong has its default.
    pub fn examine(
        &self,
        flags: &Settings,
        vars: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
        default: Option<&Path>,
    ) -> (LoadedConfig, Vec<ConfigError>) {
        let (environment, mut errors) = Environment::read(vars);
        // One that is there and cannot be looked at is read, which says why.
        let there = |path: &&Path| {
            let about = fs::symlink_metadata(path);
            !about.is_err_and(|error| {
                matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
            })
        };
        let named = self.config.as_deref().or(environment.config.as_deref());
        let file = match named {
            Some(path) => Some(path).filter(|path| !path.as_os_str().is_empty()),
            None => default.filter(there),
        };
        let mut text = String::new();
        if let Some(path) = file {
            match fs::read_to_string(path) {
                Ok(read) => text = read,
                Err(source) => {
                    let path = path.to_owned();
                    errors.push(match named {
                        Some(_) => ConfigError::Read { path, source },
                        None => ConfigError::ReadDefault { path, source },
                    });
                }
            }
        }
        let overrides = environment.settings.overlaid(flags).overlaid(&self.settings());
        let path = file.unwrap_or(Path::new(""));
        let (config, places, more) = Config::gather(path, &text, &overrides, errors.is_empty());
        errors.extend(more);
        let (file, passed_over) = (file.map(Path::to_owned), environment.passed_over);
        (LoadedConfig { config, file, places, passed_over }, errors)
    }
}
