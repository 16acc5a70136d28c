//! The configuration in the shape of its TOML: each value checked by itself, but not yet what
//! concerns several keys at once.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::Config;
use super::address::{ListenAddr, SubjectName};
use super::bounds::{optional_path, path};
use super::error::ConfigError;
use super::keys::{ConfigKey, ValueKind};
use super::located::{ValueSources, place_at};
use super::plain;
use super::retention::SHORT;
use super::sections::{
    CallsSection, ClientAuth, Cors, FeatureServers, HooksSection, Http, LimitsSection, ListSection,
    Log, Metrics, RetentionSection, StoreSection, Tls, TlsClients, TlsFiles, Upstream,
};
use super::settings::Settings;
use crate::domain::parse_count;
use crate::wire::show_duration;

/// All keys, as they stand in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    #[serde(deserialize_with = "path")]
    data_dir: PathBuf,
    listen: ListenAddr,
    proxy_protocol: bool,
    #[serde(with = "optional_path")]
    admin_socket: Option<PathBuf>,
    tls: TlsKeys,
    http: Http,
    limits: LimitsSection,
    store: StoreSection,
    calls: CallsSection,
    retention: RetentionSection,
    list: ListSection,
    hooks: HooksSection,
    feature_servers: FeatureServers,
    upstream: Upstream,
    cors: Cors,
    log: Log,
    metrics: Metrics,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TlsKeys {
    #[serde(with = "optional_path")]
    cert: Option<PathBuf>,
    #[serde(with = "optional_path")]
    key: Option<PathBuf>,
    names: Vec<SubjectName>,
    #[serde(with = "optional_path")]
    client_ca: Option<PathBuf>,
    client_auth: ClientAuth,
}

impl ConfigFile {
    /// Reads `text`, the content of `path`, whose keys stand at `places`.
    pub fn parse(path: &Path, text: &str, places: &ValueSources) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let offset = span.start;
            let problem = plain::problem(error.message(), text.get(span).unwrap_or_default());
            let problem = match places.key_at(offset) {
                Some(key) => format!("{key}: {problem}"),
                None => problem,
            };
            ConfigError::Value { place: place_at(path, text, offset), problem }
        })
    }

    /// Lays `settings` over it, one at a time, so that a failure is that one's.
    pub fn overlay(self, settings: &Settings) -> Result<Self, ConfigError> {
        let mut table = Table::try_from(&self)?;
        let mut document = self;
        for (name, given) in settings.iter() {
            let Some(key) = ConfigKey::find(name) else { continue };
            put(&mut table, key, value_of(key.kind, &given.text));
            document = table.clone().try_into().map_err(|error: toml::de::Error| {
                let problem = plain::problem(error.message(), &format!("{:?}", given.text));
                ConfigError::Value { place: given.place.clone(), problem }
            })?;
        }
        Ok(document)
    }

    /// The configuration, where its keys fit together; `places` is for the errors.
    pub fn check(self, places: &ValueSources) -> Result<Config, ConfigError> {
        let files = match (self.tls.cert, self.tls.key) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            (Some(_), None) => return Err(half_tls(places, "tls.cert", "tls.key")),
            (None, Some(_)) => return Err(half_tls(places, "tls.key", "tls.cert")),
        };
        let required = self.tls.client_auth == ClientAuth::Required;
        let clients = match (self.tls.client_ca, self.tls.client_auth) {
            (None, ClientAuth::Off) => None,
            (Some(ca), ClientAuth::Optional | ClientAuth::Required) => {
                Some(TlsClients { ca, required })
            }
            (Some(_), ClientAuth::Off) => {
                return Err(ConfigError::ClientsNotAsked { place: places.of("tls.client_ca") });
            }
            (None, _) => {
                return Err(ConfigError::ClientsOfNobody { place: places.of("tls.client_auth") });
            }
        };
        if let Some(listen) = &self.http.listen
            && !listen.is_loopback()
            && !self.http.allow_remote
        {
            let (place, listen) = (places.of("http.listen"), listen.to_string());
            return Err(ConfigError::RemotePlain { place, listen });
        }
        if self.http.trusted_proxies.is_empty() {
            let keys = [
                ("proxy_protocol", self.proxy_protocol),
                ("http.proxy_protocol", self.http.proxy_protocol),
            ];
            if let Some((key, _)) = keys.into_iter().find(|(_, set)| *set) {
                return Err(ConfigError::ProxyOfNobody { place: places.of(key), key });
            }
        }
        if let Some(listen) = &self.metrics.listen
            && !listen.is_loopback()
            && !self.metrics.allow_remote
        {
            let (place, listen) = (places.of("metrics.listen"), listen.to_string());
            return Err(ConfigError::RemoteMetrics { place, listen });
        }
        let listeners = [
            ("listen", Some(&self.listen)),
            ("http.listen", self.http.listen.as_ref()),
            ("metrics.listen", self.metrics.listen.as_ref()),
        ];
        let listeners: Vec<_> =
            listeners.into_iter().filter_map(|(key, address)| Some((key, address?))).collect();
        for (n, (key, address)) in listeners.iter().enumerate() {
            let mut earlier = listeners.iter().take(n);
            if let Some((other, taken)) = earlier.find(|(_, taken)| address.conflicts_with(taken)) {
                let (address, taken) = (address.to_string(), taken.to_string());
                let place = places.of_first(&[key, other]);
                return Err(ConfigError::SameListener { place, key, address, other, taken });
            }
        }
        if let Some(age) = self.retention.age
            && age < SHORT
            && !self.retention.allow_short
        {
            let (place, words) = (places.of("retention.age"), show_duration(age));
            return Err(ConfigError::ShortRetention { place, words });
        }
        let (queue, batch) = (self.limits.queue_events, self.limits.batch_events);
        if queue < batch {
            let place = places.of_first(&["limits.queue_events", "limits.batch_events"]);
            return Err(ConfigError::QueueBelowBatch { place, queue, batch });
        }
        Ok(Config {
            data_dir: self.data_dir,
            listen: self.listen,
            proxy_protocol: self.proxy_protocol,
            admin_socket: self.admin_socket,
            tls: Tls { files, names: self.tls.names, clients },
            http: self.http,
            limits: self.limits,
            store: self.store,
            calls: self.calls,
            retention: self.retention,
            list: self.list,
            hooks: self.hooks,
            feature_servers: self.feature_servers,
            upstream: self.upstream,
            cors: self.cors,
            log: self.log,
            metrics: self.metrics,
        })
    }
}

fn half_tls(places: &ValueSources, present: &'static str, absent: &'static str) -> ConfigError {
    ConfigError::HalfTls { place: places.of(present), present, absent }
}

/// The text as a TOML value of that kind. One that is not of its kind stays a string, which the
/// deserializer refuses, quoting it.
fn value_of(kind: ValueKind, text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    match kind {
        // The deserializer reads a size, and says why a text is none.
        ValueKind::Text | ValueKind::Size => as_text(),
        ValueKind::Integer => {
            let number = parse_count(text).ok().and_then(|number| i64::try_from(number).ok());
            number.or_else(|| text.parse().ok()).map_or_else(as_text, Value::Integer)
        }
        ValueKind::Boolean => text.parse().map_or_else(|_| as_text(), Value::Boolean),
        ValueKind::List if text.is_empty() => Value::Array(Vec::new()),
        ValueKind::List => {
            let items = text.split(',').map(|item| Value::String(item.trim().to_owned()));
            Value::Array(items.collect())
        }
    }
}

fn put(table: &mut Table, key: &ConfigKey, value: Value) {
    let table = match key.section() {
        None => Some(table),
        Some(section) => table.get_mut(section).and_then(Value::as_table_mut),
    };
    // Every section is there, since the table was made from a whole document.
    if let Some(table) = table {
        table.insert(key.leaf().to_owned(), value);
    }
}

impl Default for ConfigFile {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

impl From<&Config> for ConfigFile {
    fn from(config: &Config) -> Self {
        let config = config.clone();
        let (cert, key) = config.tls.files.map(|files| (files.cert, files.key)).unzip();
        let client_auth = match &config.tls.clients {
            None => ClientAuth::Off,
            Some(clients) if clients.required => ClientAuth::Required,
            Some(_) => ClientAuth::Optional,
        };
        let client_ca = config.tls.clients.map(|clients| clients.ca);
        let names = config.tls.names;
        Self {
            data_dir: config.data_dir,
            listen: config.listen,
            proxy_protocol: config.proxy_protocol,
            admin_socket: config.admin_socket,
            tls: TlsKeys { cert, key, names, client_ca, client_auth },
            http: config.http,
            limits: config.limits,
            store: config.store,
            calls: config.calls,
            retention: config.retention,
            list: config.list,
            hooks: config.hooks,
            feature_servers: config.feature_servers,
            upstream: config.upstream,
            cors: config.cors,
            log: config.log,
            metrics: config.metrics,
        }
    }
}
