//! The configuration as TOML: reading a file, checks that concern several keys, and writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::error::{ConfigError, ValueSource};
use super::keys::{ConfigKey, KEYS, hint_for_key, hint_for_section, sections};
use super::retention::SHORT;
use super::sections::ClientAuth;
use super::value::one_line;
use crate::domain::exact_duration;
use crate::wire::show_duration;

/// Characters of a line of the example.
const LINE_MAX: usize = 100;

/// What the example begins with.
const EXAMPLE_HEAD: &str = "\
# Configuration of rollcall: every key, with its default.
#
# Run with it:  rollcall serve --config config.example.toml
# Check it:     rollcall config check --config config.example.toml
# Print it:     rollcall config example
#
# Each key can also be set by a variable (`tls.cert` by ROLLCALL_TLS_CERT) and, for `serve`, by a
# flag (`--tls-cert`). A flag wins over a variable, a variable over this file. --config or
# ROLLCALL_CONFIG names the file. Unknown keys, and unknown variables that begin with ROLLCALL_,
# are refused.
#
# Durations are written \"30s\", \"10m\" (minutes), \"12h\", \"1day 6h\", \"1.5h\". Sizes are numbers of
# bytes, such as 1_000_000, or texts such as \"10GB\" (of 1000 MB) and \"512MiB\" (of 1024 KiB).
# Relative paths start at the directory in which rollcall is started.
";

/// Where values were given, by key; a key that is absent has its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ValueSources(BTreeMap<&'static str, ValueSource>);

impl ValueSources {
    pub fn put(&mut self, key: &'static str, place: ValueSource) {
        self.0.insert(key, place);
    }

    pub fn of(&self, key: &str) -> ValueSource {
        self.of_first(&[key])
    }

    /// Where the first of `keys` that was given at all was given.
    pub fn of_first(&self, keys: &[&str]) -> ValueSource {
        keys.iter().find_map(|key| self.0.get(key)).cloned().unwrap_or(ValueSource::Default)
    }
}

/// Keys whose values are not known, since something is wrong with them.
#[derive(Debug, Default)]
pub struct UnknownValues {
    keys: BTreeSet<&'static str>,
    /// A key may be meant that is misspelt, in any section.
    all: bool,
}

impl UnknownValues {
    pub fn add(&mut self, key: &'static str) {
        self.keys.insert(key);
    }

    /// The value is given elsewhere, and right there.
    pub fn known(&mut self, key: &'static str) {
        self.keys.remove(key);
    }

    fn add_section(&mut self, section: Option<&str>) {
        self.keys.extend(KEYS.iter().filter(|key| key.section() == section).map(|key| key.name));
    }

    fn any_of(&self, keys: &[&str]) -> bool {
        self.all || keys.iter().any(|key| self.keys.contains(key))
    }
}

/// What a file says, and all that is wrong with it; what is wrong has its default.
#[derive(Debug, Default)]
pub struct Gathered {
    pub config: Config,
    pub places: ValueSources,
    pub errors: Vec<ConfigError>,
    pub unknown: UnknownValues,
}

/// Reads `text`, the content of `path`, each value by itself. What is wrong comes by its place: the text is
/// not TOML, has a key or section that does not exist, gives a section's name to a single value, or has a
/// value that is wrong.
pub fn parse(path: &Path, text: &str) -> Gathered {
    let mut gathered = Gathered::default();
    let place_at = |offset: usize| {
        let before = text.bytes().take(offset);
        let line = 1 + before.filter(|byte| *byte == b'\n').count();
        ValueSource::File { path: path.to_owned(), line }
    };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let place = place_at(error.span().map_or(0, |span| span.start));
            let problem = syntax(error.message());
            gathered.errors.push(ConfigError::Syntax { place, problem });
            gathered.unknown.all = true;
            return gathered;
        }
    };
    let mut found = Vec::new();
    let mut wrong: BTreeMap<usize, ConfigError> = BTreeMap::new();
    for (name, value) in table.get_ref() {
        let (section, offset) = (name.get_ref().as_ref(), name.span().start);
        let place = place_at(offset);
        match value.get_ref() {
            DeValue::Table(below) if sections().contains(&section) => {
                found.extend(below.iter().map(|(leaf, value)| (section.to_owned(), leaf, value)));
            }
            // What has sections and no keys of its own.
            DeValue::Table(below) if has_sections(section) => {
                for (leaf, value) in below {
                    let inner = format!("{section}.{}", leaf.get_ref());
                    let (offset, place) = (leaf.span().start, place_at(leaf.span().start));
                    let error = match value.get_ref() {
                        DeValue::Table(below) if sections().contains(&inner.as_str()) => {
                            let keys = below.iter();
                            found.extend(keys.map(|(leaf, value)| (inner.clone(), leaf, value)));
                            continue;
                        }
                        DeValue::Table(_) => {
                            let (section, hint) = (one_line(&inner), hint_for_section(&inner));
                            ConfigError::UnknownSection { place, section, hint }
                        }
                        _ => {
                            let (key, section) = (one_line(leaf.get_ref()), Some(section));
                            let hint = hint_for_key(section, leaf.get_ref());
                            let section = section.map(str::to_owned);
                            ConfigError::UnknownKey { place, key, section, hint }
                        }
                    };
                    gathered.unknown.all = true;
                    wrong.insert(offset, error);
                }
            }
            _ if sections().contains(&section) => {
                gathered.unknown.add_section(Some(section));
                let section = section.to_owned();
                wrong.insert(offset, ConfigError::NotSection { place, section });
            }
            DeValue::Table(_) if ConfigKey::find(section).is_none() => {
                gathered.unknown.all = true;
                let (section, hint) = (one_line(section), hint_for_section(section));
                wrong.insert(offset, ConfigError::UnknownSection { place, section, hint });
            }
            _ => found.push((String::new(), name, value)),
        }
    }
    for (section, name, value) in found {
        let section = Some(section.as_str()).filter(|section| !section.is_empty());
        let (leaf, offset) = (name.get_ref().as_ref(), name.span().start);
        let place = place_at(offset);
        let named = |key: &&ConfigKey| key.section() == section && key.leaf() == leaf;
        let Some(key) = KEYS.iter().find(named) else {
            gathered.unknown.add_section(section);
            // Without its section a key may be one of any.
            gathered.unknown.all |= section.is_none();
            let (hint, section) = (hint_for_key(section, leaf), section.map(str::to_owned));
            let key = one_line(leaf);
            wrong.insert(offset, ConfigError::UnknownKey { place, key, section, hint });
            continue;
        };
        match (key.set)(&mut gathered.config, &plain(value.get_ref()), &key.form) {
            Ok(()) => gathered.places.put(key.name, place),
            Err(problem) => {
                let items = value.get_ref().as_array().into_iter().flatten();
                let item = problem.item.and_then(|item| items.into_iter().nth(item));
                let place = place_at(item.unwrap_or(value).span().start);
                let problem = format!("{}: {}", key.name, problem.text);
                wrong.insert(offset, ConfigError::Value { place, problem });
                gathered.unknown.add(key.name);
            }
        }
    }
    gathered.errors.extend(wrong.into_values());
    gathered
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        // One that is too large is wrong for every key, and is quoted as it stands there.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(
                |_| Value::Float(number.as_str().parse().unwrap_or(f64::MAX)),
                Value::Integer,
            ),
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| plain(item.get_ref())).collect())
        }
        DeValue::Table(fields) => {
            let fields = fields.iter();
            let plain = |(name, value): (&toml::Spanned<_>, &toml::Spanned<_>)| {
                (String::from(AsRef::<str>::as_ref(name.get_ref())), plain(value.get_ref()))
            };
            Value::Table(fields.map(plain).collect())
        }
    }
}

/// Whether sections stand within that one.
fn has_sections(name: &str) -> bool {
    let within =
        |section: &&str| section.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    sections().iter().any(within)
}

/// Why a text is not TOML, in plain words.
fn syntax(message: &str) -> String {
    let number = ["float", "integer", "number", "string values must be quoted", "date", "time"];
    let quotes = ["basic string", "literal string"];
    let said = if number.iter().any(|word| message.contains(word)) {
        "this is neither a number, true or false, nor a text in quotes; sizes, durations, addresses and \
         other texts need quotes, such as \"90days\""
    } else if quotes.iter().any(|word| message.contains(word)) {
        "this text is not right: it lacks the quote at its end, or has a character that must be written \
         otherwise (\\\\ for a backslash)"
    } else if message == "duplicate key" {
        "this key or section stands here a second time; leave one of them"
    } else {
        message
    };
    one_line(said)
}

/// Where the values do not fit together; `places` is for the errors. Nothing is said of values that are not
/// known.
pub fn check(config: &Config, places: &ValueSources, unknown: &UnknownValues) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut note = |keys: &[&str], error: ConfigError| {
        if !unknown.any_of(keys) {
            errors.push(error);
        }
    };
    let Config { tls, http, metrics, limits, retention, .. } = config;
    let mut half = |present, absent| {
        let place = places.of(present);
        note(&[present, absent], ConfigError::HalfTls { place, present, absent });
    };
    match (&tls.cert, &tls.key) {
        (Some(_), None) => half("tls.cert", "tls.key"),
        (None, Some(_)) => half("tls.key", "tls.cert"),
        _ => {}
    }
    let keys = ["tls.client_ca", "tls.client_auth"];
    match (&tls.client_ca, tls.client_auth) {
        (Some(_), ClientAuth::Off) => {
            note(&keys, ConfigError::ClientsNotAsked { place: places.of("tls.client_ca") });
        }
        (None, ClientAuth::Optional | ClientAuth::Required) => {
            note(&keys, ConfigError::ClientsOfNobody { place: places.of("tls.client_auth") });
        }
        _ => {}
    }
    mirror(&config.mirror_redis, places, &mut note);
    cdrs(&config.cdrs, places, &mut note);
    cluster(config, places, &mut note);
    if config.upstream.auth && config.upstream.api_url.is_none() {
        let keys = ["upstream.auth", "upstream.api_url"];
        note(&keys, ConfigError::NobodyToAsk { place: places.of("upstream.auth") });
    }
    if let Some(listen) = http.listen.as_ref().filter(|at| !at.is_loopback() && !http.allow_remote)
    {
        let (place, listen) = (places.of("http.listen"), listen.to_string());
        note(&["http.listen", "http.allow_remote"], ConfigError::RemotePlain { place, listen });
    }
    if http.trusted_proxies.is_empty() {
        let keys = [
            ("proxy_protocol", config.proxy_protocol),
            ("http.proxy_protocol", http.proxy_protocol),
        ];
        for (key, _) in keys.into_iter().filter(|(_, set)| *set) {
            let place = places.of(key);
            note(&[key, "http.trusted_proxies"], ConfigError::ProxyOfNobody { place, key });
        }
    }
    let remote = |at: &&super::ListenAddr| !at.is_loopback() && !metrics.allow_remote;
    if let Some(listen) = metrics.listen.as_ref().filter(remote) {
        let (place, listen) = (places.of("metrics.listen"), listen.to_string());
        note(
            &["metrics.listen", "metrics.allow_remote"],
            ConfigError::RemoteMetrics { place, listen },
        );
    }
    let listeners = [
        ("listen", Some(&config.listen)),
        ("http.listen", http.listen.as_ref()),
        ("metrics.listen", metrics.listen.as_ref()),
        ("cdrs.listen", config.cdrs.listen.as_ref()),
    ];
    let listeners: Vec<_> =
        listeners.into_iter().filter_map(|(key, address)| Some((key, address?))).collect();
    for (n, (key, address)) in listeners.iter().enumerate() {
        let mut earlier = listeners.iter().take(n);
        if let Some((other, taken)) = earlier.find(|(_, taken)| address.conflicts_with(taken)) {
            let (address, taken) = (address.to_string(), taken.to_string());
            let place = places.of_first(&[key, other]);
            note(&[key, other], ConfigError::SameListener { place, key, address, other, taken });
        }
    }
    if let Some(age) = retention.age.filter(|age| *age < SHORT && !retention.allow_short) {
        let (place, words) = (places.of("retention.age"), show_duration(age));
        let keys = ["retention.age", "retention.allow_short"];
        note(&keys, ConfigError::ShortRetention { place, words });
    }
    let (history, erase_within) = (retention.history, retention.erase_within);
    if erase_within < history {
        let keys = ["retention.erase_within", "retention.history"];
        let place = places.of_first(&keys);
        let (history, erase_within) =
            (exact_duration(history).to_string(), exact_duration(erase_within).to_string());
        note(&keys, ConfigError::EraseBelowHistory { place, erase_within, history });
    }
    let (queue, batch) = (limits.queue_events, limits.batch_events);
    if queue < batch {
        let keys = ["limits.queue_events", "limits.batch_events"];
        let place = places.of_first(&keys);
        note(&keys, ConfigError::QueueBelowBatch { place, queue, batch });
    }
    errors
}

/// Where what is said of jambonz's Redis does not fit together.
fn mirror(
    redis: &super::MirrorRedis,
    places: &ValueSources,
    note: &mut dyn FnMut(&[&str], ConfigError),
) {
    let tls = [
        ("mirror.redis.ca", redis.ca.is_some()),
        ("mirror.redis.cert", redis.cert.is_some()),
        ("mirror.redis.key", redis.key.is_some()),
    ];
    let others = [
        ("mirror.redis.password_file", redis.password_file.is_some()),
        ("mirror.redis.sentinels", !redis.sentinels.is_empty()),
        ("mirror.redis.sentinel_user", redis.sentinel_user.is_some()),
        ("mirror.redis.sentinel_password_file", redis.sentinel_password_file.is_some()),
    ];
    for (key, _) in others.into_iter().chain(tls).filter(|(_, given)| *given) {
        let keys = [key, "mirror.redis.url"];
        let is_tls = tls.iter().any(|(one, _)| *one == key);
        match &redis.url {
            None => note(&keys, ConfigError::RedisNotNamed { place: places.of(key), key }),
            Some(url) if is_tls && !url.tls() => {
                let (place, url) = (places.of(key), url.to_string());
                note(&keys, ConfigError::RedisWithoutTls { place, key, url });
            }
            Some(_) => {}
        }
    }
    let user = redis.sentinel_user.is_some().then_some("mirror.redis.sentinel_user");
    let password = redis.sentinel_password_file.is_some();
    let password = password.then_some("mirror.redis.sentinel_password_file");
    if redis.sentinels.is_empty()
        && let Some(key) = user.or(password)
    {
        let place = places.of(key);
        note(&[key, "mirror.redis.sentinels"], ConfigError::NoSentinels { place, key });
    }
    if let (Some(key), None) = (user, password) {
        let place = places.of(key);
        let keys = [key, "mirror.redis.sentinel_password_file"];
        note(&keys, ConfigError::SentinelUserAlone { place });
    }
    let half = match (&redis.cert, &redis.key) {
        (Some(_), None) => Some(["mirror.redis.cert", "mirror.redis.key"]),
        (None, Some(_)) => Some(["mirror.redis.key", "mirror.redis.cert"]),
        _ => None,
    };
    if let Some([present, absent]) = half {
        let place = places.of(present);
        note(&[present, absent], ConfigError::HalfClientCertificate { place, present, absent });
    }
}

/// Where what is said of the listener for CDRs does not fit together.
fn cdrs(
    cdrs: &super::CdrsSection,
    places: &ValueSources,
    note: &mut dyn FnMut(&[&str], ConfigError),
) {
    let given =
        [("cdrs.user", cdrs.user.is_some()), ("cdrs.password_file", cdrs.password_file.is_some())];
    let Some(listen) = &cdrs.listen else {
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            let place = places.of(key);
            note(&[key, "cdrs.listen"], ConfigError::CdrsNotTaken { place, key });
        }
        return;
    };
    for (key, _) in given.into_iter().filter(|(_, given)| !*given) {
        let place = places.of("cdrs.listen");
        note(&[key, "cdrs.listen"], ConfigError::CdrsOfAnyone { place, key });
    }
    if !listen.is_loopback() && !cdrs.tls && !cdrs.allow_remote {
        let (place, listen) = (places.of("cdrs.listen"), listen.to_string());
        let keys = ["cdrs.listen", "cdrs.tls", "cdrs.allow_remote"];
        note(&keys, ConfigError::RemoteCdrs { place, listen });
    }
}

/// Where what is said of the cluster does not fit together.
fn cluster(config: &Config, places: &ValueSources, note: &mut dyn FnMut(&[&str], ConfigError)) {
    const DAY: Duration = Duration::from_hours(24);
    let section = &config.cluster;
    let needed = [
        ("cluster.node", section.node.is_some(), "\"node1\""),
        ("cluster.servers", !section.servers.is_empty(), "[\"tls://10.0.0.1:4222\"]"),
    ];
    let tls = [
        ("cluster.ca", section.ca.is_some()),
        ("cluster.cert", section.cert.is_some()),
        ("cluster.key", section.key.is_some()),
    ];
    let Some(_) = &section.name else {
        let others = [
            ("cluster.user", section.user.is_some()),
            ("cluster.password_file", section.password_file.is_some()),
            ("cluster.monitors", !section.monitors.is_empty()),
        ];
        let needed = needed.map(|(key, given, _)| (key, given));
        for (key, _) in needed.into_iter().chain(others).chain(tls).filter(|(_, given)| *given) {
            let place = places.of(key);
            note(&[key, "cluster.name"], ConfigError::NoCluster { place, key });
        }
        return;
    };
    for (key, _, example) in needed.into_iter().filter(|(_, given, _)| !*given) {
        let place = places.of("cluster.name");
        note(&[key, "cluster.name"], ConfigError::ClusterLacks { place, key, example });
    }
    let plain = section.servers.iter().find(|server| server.is_readable());
    if let Some(server) = plain.filter(|_| !section.allow_plain) {
        let (place, server) = (places.of("cluster.servers"), server.to_string());
        let keys = ["cluster.servers", "cluster.allow_plain"];
        note(&keys, ConfigError::ReadableLog { place, server });
    }
    if !section.servers.is_empty() && section.servers.iter().all(|server| !server.tls()) {
        for (key, _) in tls.into_iter().filter(|(_, given)| *given) {
            let place = places.of(key);
            note(&[key, "cluster.servers"], ConfigError::LogWithoutTls { place, key });
        }
    }
    let pairs = [
        ("cluster.user", section.user.is_some()),
        ("cluster.password_file", section.password_file.is_some()),
        ("cluster.cert", section.cert.is_some()),
        ("cluster.key", section.key.is_some()),
    ];
    let (pairs, _) = pairs.as_chunks::<2>();
    for &[(one, has_one), (other, has_other)] in pairs {
        if has_one != has_other {
            let (present, absent) = if has_one { (one, other) } else { (other, one) };
            let place = places.of(present);
            note(&[one, other], ConfigError::HalfLogin { place, present, absent });
        }
    }
    let (log_age, erase_within) = (section.log_age, config.retention.erase_within);
    if erase_within < log_age + DAY {
        let keys = ["retention.erase_within", "cluster.log_age"];
        let place = places.of_first(&keys);
        let needed = exact_duration(log_age + DAY).to_string();
        let (log_age, erase_within) =
            (exact_duration(log_age).to_string(), exact_duration(erase_within).to_string());
        note(&keys, ConfigError::EraseBelowLog { place, erase_within, log_age, needed });
    }
}

/// The configuration as TOML, every key included.
pub fn write(config: &Config) -> String {
    let mut text = String::new();
    each(config, |section, key, value| {
        if let Some(section) = section {
            let _infallible = writeln!(text, "\n[{section}]");
        }
        let _infallible = writeln!(text, "{} = {value}", key.leaf());
    });
    text
}

/// `config.example.toml`: every key with its meaning, bounds and default.
pub fn example() -> String {
    let mut text = EXAMPLE_HEAD.to_owned();
    each(&Config::default(), |section, key, value| {
        text.push('\n');
        if let Some(section) = section {
            let _infallible = writeln!(text, "[{section}]");
        }
        let mut line = "#".to_owned();
        for word in key.reference().split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > LINE_MAX {
                let _infallible = writeln!(text, "{line}");
                "#".clone_into(&mut line);
            }
            line = format!("{line} {word}");
        }
        let _infallible = writeln!(text, "{line}\n{} = {value}", key.leaf());
    });
    text
}

/// Each key and its value, with the section before the first of a section.
fn each(config: &Config, mut visit: impl FnMut(Option<&str>, &ConfigKey, Value)) {
    let mut last = None;
    for key in KEYS {
        let section = key.section().filter(|_| key.section() != last);
        last = key.section();
        visit(section, key, (key.get)(config));
    }
}
