//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why there is no configuration. The text names the place, quotes what stood there and says
/// what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file that is read where nobody names one cannot be read.
    #[error(
        "cannot read the configuration file `{}`, which is the default one; run this as a user who \
         may, name another with --config, or set ROLLCALL_CONFIG to nothing for none",
        path.display()
    )]
    ReadDefault {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: not TOML: {problem}")]
    Syntax {
        /// Where.
        place: ValueSource,
        /// What the parser says.
        problem: String,
    },
    /// The file has a key that does not exist.
    #[error("{place}: unknown key `{key}`{}; {hint}", within(section.as_deref()))]
    UnknownKey {
        /// Where.
        place: ValueSource,
        /// The key, without its section.
        key: String,
        /// Its section; `None`: it stands before all sections.
        section: Option<String>,
        /// What would be right.
        hint: String,
    },
    /// The file has a section that does not exist.
    #[error("{place}: unknown section [{section}]; {hint}")]
    UnknownSection {
        /// Where.
        place: ValueSource,
        /// The section.
        section: String,
        /// What would be right.
        hint: String,
    },
    /// The name of a section has a value.
    #[error("{place}: `{section}` is a section; write [{section}] and its keys below it")]
    NotSection {
        /// Where.
        place: ValueSource,
        /// The section.
        section: String,
    },
    /// A value has the wrong type or is out of bounds.
    #[error("{place}: {problem}")]
    Value {
        /// Where.
        place: ValueSource,
        /// The value, and what would be right; in a file, the key too.
        problem: String,
    },
    /// A `ROLLCALL_…` variable names no key.
    #[error("unknown environment variable `{name}`; {hint}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// What would be right.
        hint: String,
    },
    /// A `ROLLCALL_…` variable is not UTF-8.
    #[error("the environment variable `{name}` is {value:?}, which is not UTF-8")]
    NotUnicode {
        /// The variable.
        name: String,
        /// Its value.
        value: std::ffi::OsString,
    },
    /// One of `tls.cert` and `tls.key` is set, the other is not.
    #[error(
        "{place}: {present} is set and {absent} is not; \
         set both, or neither to have a certificate made"
    )]
    HalfTls {
        /// Where the one is set.
        place: ValueSource,
        /// The key that is set.
        present: &'static str,
        /// The key that is not.
        absent: &'static str,
    },
    /// Authorities of client certificates are named, and nobody is asked for one.
    #[error(
        "{place}: tls.client_ca is set and tls.client_auth is \"off\", so that no client is asked \
         for a certificate; set tls.client_auth = \"required\" or \"optional\", or remove client_ca"
    )]
    ClientsNotAsked {
        /// Where `tls.client_ca` is set.
        place: ValueSource,
    },
    /// Client certificates are asked for, and nothing says of which authority.
    #[error(
        "{place}: tls.client_auth is set and tls.client_ca is not; \
         name the PEM file with the authorities of client certificates in tls.client_ca"
    )]
    ClientsOfNobody {
        /// Where `tls.client_auth` is set.
        place: ValueSource,
    },
    /// Plain HTTP would be served to other machines without the operator having said so.
    #[error(
        "{place}: http.listen is `{listen}`, which is not a loopback address, and plain HTTP \
         shows tokens and calls to the network; \
         listen on 127.0.0.1 or [::1], or set http.allow_remote = true"
    )]
    RemotePlain {
        /// Where `http.listen` is set.
        place: ValueSource,
        /// Its value.
        listen: String,
    },
    /// Connections have to begin with a header that would never be believed.
    #[error(
        "{place}: {key} is true and http.trusted_proxies is empty, so that nobody would be believed \
         who sends such a header; name the addresses or networks of the load balancers in \
         http.trusted_proxies"
    )]
    ProxyOfNobody {
        /// Where the key is set.
        place: ValueSource,
        /// The key.
        key: &'static str,
    },
    /// Scrapes would be answered to other machines without the operator having said so.
    #[error(
        "{place}: metrics.listen is `{listen}`, which is not a loopback address, and scrapes are \
         answered there to whoever asks; \
         listen on 127.0.0.1 or [::1], or set metrics.allow_remote = true"
    )]
    RemoteMetrics {
        /// Where `metrics.listen` is set.
        place: ValueSource,
        /// Its value.
        listen: String,
    },
    /// A full batch would never fit into the queue.
    #[error(
        "{place}: limits.queue_events is {queue} and limits.batch_events is {batch}, \
         so that a full batch would never be taken; queue_events must not be below batch_events"
    )]
    QueueBelowBatch {
        /// Where one of them is set.
        place: ValueSource,
        /// `limits.queue_events`.
        queue: usize,
        /// `limits.batch_events`.
        batch: usize,
    },
    /// Two listeners cannot be had at once.
    #[error(
        "{place}: {key} is `{address}` and {other} is `{taken}`, and only one of them can listen \
         there; give each a port of its own"
    )]
    SameListener {
        /// Where one of them is set.
        place: ValueSource,
        /// The key.
        key: &'static str,
        /// Its value.
        address: String,
        /// The other key.
        other: &'static str,
        /// The value of that.
        taken: String,
    },
    /// Calls would go sooner than anybody means.
    #[error(
        "{place}: retention.age is {words}, and calls that are older than that would be deleted; give a \
         day or more, such as \"90days\" (\"12m\" is 12 minutes), or set \
         retention.allow_short = true where this is meant"
    )]
    ShortRetention {
        /// Where `retention.age` is set.
        place: ValueSource,
        /// Its value, in words.
        words: String,
    },
}

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// A line of the file; the first is 1.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// A flag, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for ValueSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Flag(name) | Self::Variable(name) => formatter.write_str(name),
            Self::Default => formatter.write_str("default"),
        }
    }
}

fn within(section: Option<&str>) -> String {
    section.map_or_else(String::new, |section| format!(" in [{section}]"))
}
