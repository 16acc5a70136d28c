//! What can be wrong with a configuration.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::domain::counted;
use crate::fsutil::misread;

/// Why there is no configuration. The text names the place, quotes what stood there and says
/// what would be right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "cannot read the configuration file `{}`; {}",
        path.display(),
        misread(path).unwrap_or("name one with --config FILE or ROLLCALL_CONFIG that is there and that \
                                 this user may read")
    )]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "cannot read the configuration file `{}`, which is the default one; run this as a user who \
         may, name another with --config, or set ROLLCALL_CONFIG to nothing for none",
        path.display()
    )]
    ReadDefault { path: PathBuf, source: io::Error },
    #[error("{place}: not TOML: {problem}")]
    Syntax { place: ValueSource, problem: String },
    #[error("{place}: unknown key `{key}`{}; {hint}", within(section.as_deref()))]
    UnknownKey { place: ValueSource, key: String, section: Option<String>, hint: String },
    #[error("{place}: unknown section [{section}]; {hint}")]
    UnknownSection { place: ValueSource, section: String, hint: String },
    #[error("{place}: `{section}` is a section; write [{section}] and its keys below it")]
    NotSection { place: ValueSource, section: String },
    #[error("{place}: {problem}")]
    Value { place: ValueSource, problem: String },
    #[error("unknown environment variable `{name}`; {hint}")]
    UnknownVariable { name: String, hint: String },
    #[error("the environment variable `{name}` is {value:?}, which is not UTF-8")]
    NotUnicode { name: String, value: std::ffi::OsString },
    #[error(
        "{place}: {present} is set and {absent} is not; \
         set both, or neither to have a certificate made"
    )]
    HalfTls { place: ValueSource, present: &'static str, absent: &'static str },
    #[error(
        "{place}: tls.client_ca is set and tls.client_auth is \"off\", so that no client is asked \
         for a certificate; set tls.client_auth = \"required\" or \"optional\", or remove client_ca"
    )]
    ClientsNotAsked { place: ValueSource },
    #[error(
        "{place}: tls.client_auth is set and tls.client_ca is not; \
         name the PEM file with the authorities of client certificates in tls.client_ca"
    )]
    ClientsOfNobody { place: ValueSource },
    #[error(
        "{place}: http.listen is `{listen}`, which is not a loopback address, and plain HTTP \
         shows tokens and calls to the network; \
         listen on 127.0.0.1 or [::1], or set http.allow_remote = true"
    )]
    RemotePlain { place: ValueSource, listen: String },
    #[error(
        "{place}: {key} is true and http.trusted_proxies is empty, so that no load balancer would be \
         trusted to send such a header; name the addresses or networks of the load balancers in \
         http.trusted_proxies"
    )]
    ProxyOfNobody { place: ValueSource, key: &'static str },
    #[error(
        "{place}: metrics.listen is `{listen}`, which is not a loopback address, and every client is \
         answered there; \
         listen on 127.0.0.1 or [::1], or set metrics.allow_remote = true"
    )]
    RemoteMetrics { place: ValueSource, listen: String },
    #[error(
        "{place}: limits.queue_events is {queue} and limits.batch_events is {batch}, \
         so that a full batch would never be taken; queue_events must not be below batch_events"
    )]
    QueueBelowBatch { place: ValueSource, queue: usize, batch: usize },
    #[error(
        "{place}: retention.erase_within is {erase_within} and retention.history is {history}, so that \
         a deleted call would stay on the disk for longer than erase_within; set erase_within to \
         {history} or more, or history to {erase_within} or less"
    )]
    EraseBelowHistory { place: ValueSource, erase_within: String, history: String },
    #[error(
        "{place}: {key} is `{address}` and {other} is `{taken}`, and only one of them can listen \
         there; give each a port of its own"
    )]
    SameListener {
        place: ValueSource,
        key: &'static str,
        address: String,
        other: &'static str,
        taken: String,
    },
    #[error(
        "{place}: retention.age is {words}, and calls that are older than that would be deleted; give a \
         day or more, such as \"90days\" (\"12m\" is 12 minutes), or set \
         retention.allow_short = true where this is meant"
    )]
    ShortRetention { place: ValueSource, words: String },
    #[error(
        "{place}: {key} is set and mirror.redis.url is not, so that nothing is read from there; set \
         mirror.redis.url, such as \"redis://10.0.0.5:6379\", or remove {key}"
    )]
    RedisNotNamed { place: ValueSource, key: &'static str },
    #[error(
        "{place}: {key} is set and mirror.redis.url is `{url}`, which is without TLS; write rediss:// \
         in place of redis://, or remove {key}"
    )]
    RedisWithoutTls { place: ValueSource, key: &'static str, url: String },
    #[error(
        "{place}: {key} is set and mirror.redis.sentinels is not, so that no sentinel is asked; name \
         them, such as [\"10.0.0.5:26379\"], or remove {key}"
    )]
    NoSentinels { place: ValueSource, key: &'static str },
    #[error(
        "{place}: mirror.redis.sentinel_user is set and mirror.redis.sentinel_password_file is not; a \
         user has a password: set both, or neither"
    )]
    SentinelUserAlone { place: ValueSource },
    #[error(
        "{place}: {present} is set and {absent} is not; set both, or neither for no client certificate"
    )]
    HalfClientCertificate { place: ValueSource, present: &'static str, absent: &'static str },
    #[error(
        "{place}: {key} is set and cdrs.listen is not, so that no CDRs are taken; set cdrs.listen, such as \
         \"127.0.0.1:8086\", or remove {key}"
    )]
    CdrsNotTaken { place: ValueSource, key: &'static str },
    #[error(
        "{place}: cdrs.listen is set and {key} is not; set cdrs.user and cdrs.password_file, so that not \
         everyone can write CDRs"
    )]
    CdrsOfAnyone { place: ValueSource, key: &'static str },
    #[error(
        "{place}: cdrs.listen is `{listen}`, which is not a loopback address, and plain HTTP shows the \
         password and telephone numbers to everyone who can read the network; listen on 127.0.0.1 or \
         [::1], or set cdrs.tls = true, or cdrs.allow_remote = true"
    )]
    RemoteCdrs { place: ValueSource, listen: String },
    #[error(
        "{place}: upstream.auth is true and upstream.api_url is not set, so that no token could be asked \
         for; set upstream.api_url to jambonz's API, such as \"https://jambonz.example.com/api\""
    )]
    NobodyToAsk { place: ValueSource },
    #[error(
        "{place}: {key} is set and cluster.name is not, so that this server is by itself; give the cluster a \
         name, such as cluster.name = \"calls\", or remove {key}"
    )]
    NoCluster { place: ValueSource, key: &'static str },
    #[error("{place}: cluster.name is set and {key} is not; set it, such as {key} = {example}")]
    ClusterLacks { place: ValueSource, key: &'static str, example: &'static str },
    #[error(
        "{place}: cluster.servers has `{server}`, which is another machine and without TLS: password, \
         numbers and secrets could be read on the way; write tls:// in place of nats://, or set \
         cluster.allow_plain = true"
    )]
    ReadableLog { place: ValueSource, server: String },
    #[error(
        "{place}: {key} is set and no address of cluster.servers begins with tls://; write tls:// in place \
         of nats://, or remove {key}"
    )]
    LogWithoutTls { place: ValueSource, key: &'static str },
    #[error("{place}: {present} is set and {absent} is not; set both, or neither")]
    HalfLogin { place: ValueSource, present: &'static str, absent: &'static str },
    #[error(
        "{place}: retention.erase_within is {erase_within} and cluster.log_age is {log_age}, so that the log \
         could have a deleted call for longer than erase_within; set erase_within to {needed} or more, or \
         log_age to a day less than erase_within"
    )]
    EraseBelowLog { place: ValueSource, erase_within: String, log_age: String, needed: String },
    #[error("the configuration has {}:\n{}", counted(errors.len(), "error"), self.lines().join("\n"))]
    Several { errors: Vec<ConfigError> },
}

impl ConfigError {
    /// One error for all of these; none where there are none.
    pub fn of(mut errors: Vec<Self>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(Self::Several { errors }),
        }
    }

    /// A line for each, with its cause.
    pub fn lines(&self) -> Vec<String> {
        if let Self::Several { errors } = self {
            return errors.iter().flat_map(Self::lines).collect();
        }
        let cause = std::error::Error::source(self);
        vec![cause.map_or_else(|| self.to_string(), |cause| format!("{self}: {cause}"))]
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    File { path: PathBuf, line: usize },
    Flag(String),
    Variable(String),
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
