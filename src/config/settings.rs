//! Values from flags and environment variables, by key.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use super::Config;
use super::error::{ConfigError, ValueSource};
use super::keys::{ConfigKey, KEYS, VARIABLE_PREFIX, hint_for_variable};
use super::value::{Form, one_line};
use crate::domain::exact_size;

/// What flags or variables set, by key; what they do not set is absent.
///
/// As `clap::Args` it is the flags of `serve`: one for each key except `data_dir`, whose flag
/// every command has ([`Locations`]).
#[derive(Debug, Clone, Default)]
pub struct Settings {
    by_key: BTreeMap<&'static str, (&'static ConfigKey, Given)>,
}

/// A value as it was given.
#[derive(Debug, Clone)]
pub struct Given {
    /// The value, as text.
    pub text: String,
    /// The flag or variable.
    pub place: ValueSource,
}

impl Settings {
    /// What is set, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static ConfigKey, &Given)> {
        self.by_key.values().map(|(key, given)| (*key, given))
    }

    /// These settings with those of `upper` laid over them.
    pub(super) fn overlaid(mut self, upper: &Self) -> Self {
        self.by_key.extend(upper.by_key.iter().map(|(key, given)| (*key, given.clone())));
        self
    }

    fn put_flag(&mut self, key: &'static ConfigKey, text: String) {
        let place = ValueSource::Flag(format!("--{}", key.flag()));
        self.by_key.insert(key.name, (key, Given { text, place }));
    }
}

/// The flags of every command, before or after its name: `--config FILE` and `--data-dir DIR`.
#[derive(Debug, Clone, Default)]
pub struct Locations {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The data directory; over that of the file.
    pub data_dir: Option<String>,
}

impl Locations {
    /// The flag `--data-dir`, as a setting.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        if let (Some(key), Some(data_dir)) = (ConfigKey::find(DATA_DIR), &self.data_dir) {
            settings.put_flag(key, data_dir.clone());
        }
        settings
    }
}

/// What the environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// `ROLLCALL_CONFIG`, the file; empty: none, not even the default one.
    pub config: Option<PathBuf>,
    /// The other variables.
    pub settings: Settings,
    /// Variables that Kubernetes sets for Services whose names begin with that of rollcall, and that
    /// set nothing here.
    pub passed_over: Vec<String>,
}

impl Environment {
    /// Reads the variables that begin with `ROLLCALL_`.
    /// Beside it those that name no key, or are not UTF-8.
    pub fn read(vars: impl IntoIterator<Item = (OsString, OsString)>) -> (Self, Vec<ConfigError>) {
        let (mut environment, mut errors) = (Self::default(), Vec::new());
        let vars: BTreeMap<String, OsString> = vars
            .into_iter()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
            .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
            .collect();
        for (name, value) in vars {
            if name == CONFIG_VARIABLE {
                environment.config = Some(PathBuf::from(value));
                continue;
            }
            let Some(key) = KEYS.iter().find(|key| key.variable() == name) else {
                if is_of_kubernetes(&name, &value) {
                    environment.passed_over.push(name);
                    continue;
                }
                let hint = hint_for_variable(&name);
                let name = one_line(&name);
                errors.push(ConfigError::UnknownVariable { name, hint });
                continue;
            };
            match value.into_string() {
                Ok(text) => {
                    let given = Given { text, place: ValueSource::Variable(name) };
                    environment.settings.by_key.insert(key.name, (key, given));
                }
                Err(value) => errors.push(ConfigError::NotUnicode { name, value }),
            }
        }
        (environment, errors)
    }
}

/// Whether a variable is one that Kubernetes sets in every container for a Service: its name says the
/// Service and what of it, and its value is of that kind. So a misspelt key is not taken for one.
fn is_of_kubernetes(name: &str, value: &OsStr) -> bool {
    let Some(value) = value.to_str() else { return false };
    let address = || value.parse::<IpAddr>().is_ok();
    let port = || value.parse::<u16>().is_ok_and(|port| port > 0);
    let url = || {
        let rest = ["tcp://", "udp://", "sctp://"].iter().find_map(|way| value.strip_prefix(way));
        rest.is_some_and(|rest| rest.parse::<SocketAddr>().is_ok())
    };
    if name.ends_with("_SERVICE_HOST") {
        return address();
    }
    if name.ends_with("_SERVICE_PORT") {
        return port();
    }
    // A port of the Service by its name.
    if let Some((_, port_name)) = name.rsplit_once("_SERVICE_PORT_") {
        return !port_name.is_empty() && port();
    }
    if let Some((_, of)) = name.rsplit_once("_PORT_") {
        let mut parts = of.split('_');
        let number = parts.next().filter(|number| number.parse::<u16>().is_ok());
        let way = parts.next().filter(|way| ["TCP", "UDP", "SCTP"].contains(way));
        let (Some(number), Some(way)) = (number, way) else { return false };
        return match (parts.next(), parts.next()) {
            (None, _) => url(),
            (Some("PROTO"), None) => value.eq_ignore_ascii_case(way),
            (Some("PORT"), None) => value == number,
            (Some("ADDR"), None) => address(),
            _ => false,
        };
    }
    name.ends_with("_PORT") && url()
}

const DATA_DIR: &str = "data_dir";
/// The configuration file that is read where it exists and no other is named.
pub const DEFAULT_FILE: &str = "/etc/rollcall/rollcall.toml";
const CONFIG: &str = "config";
const CONFIG_VARIABLE: &str = "ROLLCALL_CONFIG";

impl clap::Args for Settings {
    fn augment_args(command: Command) -> Command {
        command.args(KEYS.iter().filter(|key| key.name != DATA_DIR).map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Self::default();
        settings.update_from_arg_matches(matches)?;
        Ok(settings)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in KEYS.iter().filter(|key| key.name != DATA_DIR) {
            if let Some(texts) = matches.get_many::<String>(key.name) {
                self.put_flag(key, texts.cloned().collect::<Vec<_>>().join(","));
            }
        }
        Ok(())
    }
}

impl clap::Args for Locations {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .global(true)
            .help(format!(
                "Configuration file (TOML) [default: {DEFAULT_FILE} where it exists] \
                 [env: {CONFIG_VARIABLE}]"
            ));
        command.arg(config).args(ConfigKey::find(DATA_DIR).map(|key| flag(key).global(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Locations {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let config = matches.get_one::<PathBuf>(CONFIG).cloned();
        let data_dir = matches.get_one::<String>(DATA_DIR).cloned();
        Ok(Self { config, data_dir })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let given = Self::from_arg_matches(matches)?;
        self.config = given.config.or(self.config.take());
        self.data_dir = given.data_dir.or(self.data_dir.take());
        Ok(())
    }
}

/// The flag of `key`. A boolean may stand without a value, and a list may be repeated.
fn flag(key: &ConfigKey) -> Arg {
    let default = match ((key.get)(&Config::default()), &key.form) {
        (toml::Value::Integer(bytes @ 1..), Form::Size(_)) => {
            exact_size(bytes.unsigned_abs()).to_string()
        }
        (value, _) => shown(&value),
    };
    let default = if default.is_empty() { default } else { format!(" [default: {default}]") };
    let arg = Arg::new(key.name)
        .long(key.flag())
        .value_name(key.form.placeholder())
        .help(format!("{}{default} [env: {}]", key.help(), key.variable()))
        .help_heading("Configuration");
    match key.form {
        // What is negative is refused as a value, and not as a flag.
        Form::Count(_) | Form::Size(_) | Form::Duration(_) => {
            arg.action(ArgAction::Set).allow_hyphen_values(true)
        }
        Form::Text(_) => arg.action(ArgAction::Set),
        Form::List(..) => arg.action(ArgAction::Append),
        Form::Tables(_) => arg,
        Form::Boolean => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}

fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
