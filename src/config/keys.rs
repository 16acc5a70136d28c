//! The one table of what can be configured.

/// How the text of a flag or variable becomes a TOML value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// A string, as it is. Addresses, durations, paths and choices are strings too.
    Text,
    /// A whole number, in decimal.
    Integer,
    /// A number of bytes, with or without a unit.
    Size,
    /// `true` or `false`.
    Boolean,
    /// Strings, separated by commas; "" is the empty list.
    List,
}

/// One thing that can be configured.
#[derive(Debug, Clone, Copy)]
pub struct ConfigKey {
    /// `section.key`, or `key` where it stands before all sections.
    pub name: &'static str,
    /// How a text becomes its value.
    pub kind: ValueKind,
    /// What stands for the value in the help text.
    pub placeholder: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
}

impl ConfigKey {
    /// The key called `name`, such as `tls.cert`.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The flag without its dashes: `tls-cert` for `tls.cert`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// The environment variable: `ROLLCALL_TLS_CERT` for `tls.cert`.
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// The section, `None` where the key stands before all sections.
    pub fn section(&self) -> Option<&'static str> {
        self.name.split_once('.').map(|(section, _)| section)
    }

    /// The name without its section.
    pub fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }
}

/// With this all variables that concern the configuration begin.
pub const VARIABLE_PREFIX: &str = "ROLLCALL_";

const fn key(
    name: &'static str,
    kind: ValueKind,
    placeholder: &'static str,
    help: &'static str,
) -> ConfigKey {
    ConfigKey { name, kind, placeholder, help }
}

/// Every key, in the order of `config.example.toml`.
#[rustfmt::skip]
pub const KEYS: &[ConfigKey] = &[
    key("data_dir", ValueKind::Text, "DIR", "Directory of the store"),
    key("listen", ValueKind::Text, "HOST:PORT", "Address for HTTPS; port 0 is any free one"),
    key("proxy_protocol", ValueKind::Boolean, "BOOL", "Expect a header of the PROXY protocol at the start of HTTPS connections"),
    key("admin_socket", ValueKind::Text, "FILE", "Unix socket for the command line; empty: admin.sock in $RUNTIME_DIRECTORY, else in the data directory"),

    key("tls.cert", ValueKind::Text, "FILE", "Certificate and chain (PEM); where this and the key are empty, rollcall makes a private CA and a certificate"),
    key("tls.key", ValueKind::Text, "FILE", "Private key of the certificate (PEM)"),
    key("tls.names", ValueKind::List, "NAME,…", "More DNS names and IP addresses for the certificate that rollcall makes"),
    key("tls.client_ca", ValueKind::Text, "FILE", "File with the authorities (PEM) of client certificates"),
    key("tls.client_auth", ValueKind::Text, "WHO", "Client certificates: off, optional or required"),

    key("http.listen", ValueKind::Text, "HOST:PORT", "Address for plain HTTP; empty: off"),
    key("http.allow_remote", ValueKind::Boolean, "BOOL", "Allow plain HTTP on an address that other machines can reach"),
    key("http.proxy_protocol", ValueKind::Boolean, "BOOL", "Expect a header of the PROXY protocol at the start of plain HTTP connections"),
    key("http.trusted_proxies", ValueKind::List, "CIDR,…", "Proxies, in front of HTTPS too, that are trusted to name the client's address"),

    key("limits.connections", ValueKind::Integer, "N", "Connections at a time, for each listener"),
    key("limits.body_bytes", ValueKind::Size, "BYTES", "Largest request body"),
    key("limits.batch_events", ValueKind::Integer, "N", "Most events in one webhook request"),
    key("limits.handshake", ValueKind::Text, "DURATION", "Time for a TLS handshake"),
    key("limits.header", ValueKind::Text, "DURATION", "Time for a request header"),
    key("limits.idle", ValueKind::Text, "DURATION", "How long a connection may be idle between requests; keep it longer than that of proxies in front"),
    key("limits.body", ValueKind::Text, "DURATION", "Time for a request body"),
    key("limits.write", ValueKind::Text, "DURATION", "How long a client may read nothing of an answer"),
    key("limits.drain", ValueKind::Text, "DURATION", "Time for running requests to end when the server stops"),
    key("limits.token_requests", ValueKind::Integer, "N", "Requests that a token may send in token_window; 0: no limit"),
    key("limits.token_window", ValueKind::Text, "DURATION", "Time in which the requests of a token are counted"),
    key("limits.queue_events", ValueKind::Integer, "N", "Events that may wait to be committed; beyond, webhooks are answered 503"),
    key("limits.event_streams", ValueKind::Integer, "N", "Readers of changes at a time, by lines or by events; beyond, they are answered 503"),
    key("limits.keep_alive", ValueKind::Text, "DURATION", "How long an event stream of changes may be silent before a keep-alive is sent"),

    key("store.index_cache_bytes", ValueKind::Size, "BYTES", "Memory for the cache of the index"),
    key("store.segment_bytes", ValueKind::Size, "BYTES", "Size at which a journal segment is sealed"),
    key("store.registry_calls", ValueKind::Integer, "N", "Calls that are kept in memory"),
    key("store.checkpoint_interval", ValueKind::Text, "DURATION", "Time between two checkpoints of the index"),
    key("store.live_checkpoint_age", ValueKind::Text, "DURATION", "Age at which a call that has not ended is written to the index too"),
    key("store.replay_bytes", ValueKind::Size, "BYTES", "Size of the journal after the last checkpoint, beyond which calls that have not ended are written to the index too"),
    key("store.min_free_bytes", ValueKind::Size, "BYTES", "Free disk space below which webhooks and imports are refused; 0: never"),
    key("store.reserve_bytes", ValueKind::Size, "BYTES", "Disk space kept in reserve, so that the server can start when the disk is full; 0: none"),

    key("calls.max_lifetime", ValueKind::Text, "DURATION", "Time without an event after which a call is stale"),
    key("calls.sweep_interval", ValueKind::Text, "DURATION", "Time between two searches for stale calls"),

    key("retention.age", ValueKind::Text, "DURATION", "How long ended calls are kept; empty: for good"),
    key("retention.allow_short", ValueKind::Boolean, "BOOL", "Allow calls to be kept for less than a day"),
    key("retention.bytes", ValueKind::Size, "BYTES", "Disk space that journal and index may take before the oldest calls are deleted; 0: no limit"),
    key("retention.history", ValueKind::Text, "DURATION", "How far back every version of every call is kept"),
    key("retention.erase_within", ValueKind::Text, "DURATION", "Time within which a deleted call is gone from the disk"),
    key("retention.interval", ValueKind::Text, "DURATION", "Time between two searches for calls to delete"),

    key("list.window", ValueKind::Text, "DURATION", "How long a call stays in the plain list after its end; empty: for good"),
    key("list.page_rows", ValueKind::Integer, "N", "Rows that a page of a list reads before it ends early, with a cursor"),
    key("list.count_rows", ValueKind::Integer, "N", "Rows that a count may read"),

    key("hooks.service_url", ValueKind::Text, "URL", "Template of service_url where an event has none; empty: off"),

    key("feature_servers.urls", ValueKind::List, "URL,…", "Base URLs of feature servers, which take new calls in turn"),
    key("feature_servers.networks", ValueKind::List, "CIDR,…", "Networks in which the service_url of a call may lie"),
    key("feature_servers.connect", ValueKind::Text, "DURATION", "Time for a connection to a feature server"),
    key("feature_servers.timeout", ValueKind::Text, "DURATION", "Time for a feature server's answer"),
    key("feature_servers.retry_after", ValueKind::Text, "DURATION", "How long a feature server that did not answer is asked after all others"),

    key("upstream.api_url", ValueKind::Text, "URL", "Base URL of jambonz's own API, for new calls that name an application; empty: off"),
    key("upstream.ca", ValueKind::Text, "FILE", "File with the authorities (PEM) for outgoing HTTPS; empty: those of the system"),

    key("cors.allow_origin", ValueKind::Text, "ORIGIN", "Origin whose pages may read answers, or *; empty: no CORS headers"),

    key("log.level", ValueKind::Text, "LEVEL", "What is logged: messages of this level and graver ones: error, warn, info, debug or trace"),
    key("log.format", ValueKind::Text, "FORMAT", "Shape of the log: auto, human, json or journald"),
    key("log.slow", ValueKind::Text, "DURATION", "An answer that takes longer is logged as a warning; empty: never"),
    key("log.numbers", ValueKind::Text, "HOW", "Telephone numbers in the log: mask or full"),
    key("log.audit", ValueKind::Text, "FILE", "File for the audit log: what admins do, and wrong credentials; empty: the log"),

    key("metrics.listen", ValueKind::Text, "HOST:PORT", "Address for scrapes by Prometheus over plain HTTP, without a token; empty: off"),
    key("metrics.allow_remote", ValueKind::Boolean, "BOOL", "Allow scrapes on an address that other machines can reach"),
    key("metrics.accounts", ValueKind::List, "SID,…", "Accounts whose live calls have metrics of their own"),
];

/// The names of all sections, in the order of the table.
pub fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().filter_map(ConfigKey::section).collect();
    sections.dedup();
    sections
}

/// What to say of an unknown key: the one that was meant, else all that are allowed there.
pub fn hint_for_key(section: Option<&str>, leaf: &str) -> String {
    let here: Vec<&str> =
        KEYS.iter().filter(|key| key.section() == section).map(ConfigKey::leaf).collect();
    if let Some(near) = nearest(leaf, here.iter().copied()) {
        return format!("did you mean `{near}`?");
    }
    match KEYS.iter().find(|key| key.leaf() == leaf).map(ConfigKey::section) {
        Some(Some(other)) => format!("`{leaf}` belongs in [{other}]"),
        Some(None) => format!("`{leaf}` belongs before the first section"),
        None => {
            let section = section.map(|section| format!("of [{section}]"));
            let whose = section.as_deref().unwrap_or("before the first section");
            format!("the keys {whose} are {}", here.join(", "))
        }
    }
}

/// What to say of an unknown section.
pub fn hint_for_section(section: &str) -> String {
    match nearest(section, sections()) {
        Some(near) => format!("did you mean [{near}]?"),
        None => format!("the sections are {}", sections().join(", ")),
    }
}

/// What to say of an unknown variable.
pub fn hint_for_variable(name: &str) -> String {
    let variables: Vec<String> = KEYS.iter().map(ConfigKey::variable).collect();
    match nearest(name, variables.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("variables that begin with {VARIABLE_PREFIX} must name a key"),
    }
}

/// The candidate that a typing error could have turned into `word`.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(4).min(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be changed, added or removed (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, have) in from.chars().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (want, (diagonal, above)) in to.chars().zip(row.iter().zip(row.iter().skip(1))) {
            left = (diagonal + usize::from(have != want)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
