//! Everything that can be configured: each key once, with its meaning, default, form and bounds.
//!
//! The doc comment of a field is what `config.example.toml` says of the key; its first paragraph is
//! the help of the flag. `configuration!` makes the structs, their defaults and [`KEYS`] of it, and
//! all else is made of that table: reading, flags, variables, hints, the example.
#![expect(
    clippy::doc_markdown,
    clippy::doc_link_with_quotes,
    reason = "the comments are the text of the example file, not of rustdoc"
)]

use std::path::PathBuf;
use std::time::Duration;

use super::cdrs::CdrUser;
use super::cluster::{ClusterName, LogServer, LogUser};
use super::forward::ForwardTargets;
use super::keys::ConfigKey;
use super::net::{AllowedOrigin, ListenAddr, ProxyAddress, ServiceUrlTemplate, SubjectName};
use super::redis::{RedisUrl, RedisUser, SentinelAddr, WantedAccounts};
use super::value::{DAY, Form, GIB, HOUR, KIB, MIB, MINUTE, SECOND, Setting, TIB, words};
use crate::domain::AccountSid;
use crate::outbound::{Base, Network};

/// The name of a section: that of its field, unless it is a section of another one.
macro_rules! section_name {
    (mirror_redis) => {
        "mirror.redis"
    };
    ($section:ident) => {
        stringify!($section)
    };
}

/// `key: type = default, form;` for the keys before all sections, then for those of each section.
macro_rules! configuration {
    (
        $(#[$config_doc:meta])*
        Config { $($(#[doc = $doc:literal])* $key:ident: $type:ty = $default:expr, $form:expr;)* }
        $(
            $(#[$section_attribute:meta])*
            $section:ident: $Section:ident {
                $($(#[doc = $sdoc:literal])* $skey:ident: $stype:ty = $sdefault:expr, $sform:expr;)*
            }
        )*
    ) => {
        $(#[$config_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])* pub $key: $type,)*
            $(pub $section: $Section,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($key: $default,)* $($section: $Section::default(),)* }
            }
        }

        $(
            $(#[$section_attribute])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Section { $($(#[doc = $sdoc])* pub $skey: $stype,)* }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $($skey: $sdefault,)* }
                }
            }
        )*

        /// Every key, in the order of the example.
        pub static KEYS: &[ConfigKey] = &[
            $(ConfigKey {
                name: stringify!($key),
                doc: &[$($doc),*],
                form: $form,
                get: |config| config.$key.write(),
                set: |config, value, form| {
                    config.$key = Setting::read(value, form)?;
                    Ok(())
                },
            },)*
            $($(ConfigKey {
                name: concat!(section_name!($section), ".", stringify!($skey)),
                doc: &[$($sdoc),*],
                form: $sform,
                get: |config| config.$section.$skey.write(),
                set: |config, value, form| {
                    config.$section.$skey = Setting::read(value, form)?;
                    Ok(())
                },
            },)*)*
        ];
    };
}

configuration! {
/// All that can be configured.
///
/// The fields are open so that a test can start from [`Config::default`] and change one; what
/// people write goes through [`Config::parse`], which refuses values out of bounds.
Config {
    /// Directory of the store.
    ///
    /// It has the journal, the index, keys and the first admin token. One process uses it at a time.
    data_dir: PathBuf = PathBuf::from("rollcall-data"), Form::Text("DIR");

    /// Address for HTTPS; port 0 is any free one.
    ///
    /// An IP address (IPv6 in brackets) or a name, and a port. With port 0 the line "listening on …"
    /// says which port was found.
    listen: ListenAddr = ListenAddr::loopback(8443), Form::Text("HOST:PORT");

    /// Expect a header of the PROXY protocol at the start of HTTPS connections.
    ///
    /// In this header (version 1 or 2) a load balancer says where a connection came from. It is
    /// believed from http.trusted_proxies, which must not be empty; a connection without the header
    /// is closed.
    proxy_protocol: bool = false, Form::Boolean;

    /// Unix socket for the command line; empty: admin.sock in $RUNTIME_DIRECTORY, else in the data
    /// directory.
    ///
    /// The command line reaches a running server through it. The service manager sets
    /// $RUNTIME_DIRECTORY.
    admin_socket: Option<PathBuf> = None, Form::Text("FILE");
}

/// The HTTPS certificate, and client certificates.
tls: Tls {
    /// Certificate and chain (PEM); where this and the key are empty, rollcall makes a private CA
    /// and a certificate.
    ///
    /// They are made in `tls/` of the data directory. The files are read at the start and on SIGHUP.
    /// "credential:NAME" is a file that systemd hands over by LoadCredential=NAME:PATH.
    cert: Option<PathBuf> = None, Form::Text("FILE");

    /// Private key of the certificate (PEM).
    ///
    /// Set both cert and key, or neither.
    key: Option<PathBuf> = None, Form::Text("FILE");

    /// More DNS names and IP addresses for the certificate that rollcall makes.
    ///
    /// It is always valid for localhost and the loopback addresses; add names such as
    /// ["calls.example.com", "*.internal.example.com", "10.0.0.5"]. Not used with a certificate of
    /// your own.
    names: Vec<SubjectName> = Vec::new(), Form::List("NAME,…", usize::MAX);

    /// File with the authorities (PEM) of client certificates.
    ///
    /// "credential:NAME" works here too.
    client_ca: Option<PathBuf> = None, Form::Text("FILE");

    /// Client certificates: off, optional or required.
    ///
    /// "off" asks for none, "optional" refuses a wrong one, "required" refuses a missing one too. A
    /// client certificate grants no permission: tokens do that.
    client_auth: ClientAuth = ClientAuth::Off, Form::Text("WHO");
}

/// The plain-HTTP listener, and proxies in front of rollcall.
http: Http {
    /// Address for plain HTTP; empty: off.
    ///
    /// For a proxy on the same machine that does TLS.
    listen: Option<ListenAddr> = None, Form::Text("HOST:PORT");

    /// Allow plain HTTP on an address that other machines can reach.
    ///
    /// Plain HTTP shows tokens and calls to everyone who can read the network. Any other `listen`
    /// than a loopback address (127.0.0.1, [::1], localhost) is refused unless this is true.
    allow_remote: bool = false, Form::Boolean;

    /// Expect a header of the PROXY protocol at the start of plain HTTP connections.
    proxy_protocol: bool = false, Form::Boolean;

    /// Proxies, in front of HTTPS too, that are trusted to name the client's address.
    ///
    /// Addresses and networks, such as ["127.0.0.1", "10.0.0.0/24"]. What they say (X-Forwarded-For,
    /// Forwarded, the PROXY protocol) is used in logs and where wrong credentials are slowed down.
    /// What other clients say of it is ignored.
    trusted_proxies: Vec<ProxyAddress> = Vec::new(), Form::List("CIDR,…", 100);
}

/// What a client may take of connections, bytes and time.
#[derive(Copy)]
limits: LimitsSection {
    /// Connections at a time, for each listener.
    ///
    /// Further ones wait, and idle ones are closed for them. There are fewer where the system lets
    /// the server open too few files (`ulimit -n`).
    connections: usize = 4096, Form::Count(1..=1_000_000);

    /// Largest request body.
    ///
    /// A larger one is answered 413.
    body_bytes: usize = 1_048_576, Form::Size(KIB..=256 * MIB);

    /// Most events in one webhook request.
    batch_events: usize = 10_000, Form::Count(1..=1_000_000);

    /// Time for a TLS handshake.
    handshake: Duration = Duration::from_secs(10), Form::Duration(1..=DAY);

    /// Time for a request header.
    ///
    /// It starts with the first byte; for the first request of a connection, with the connection.
    header: Duration = Duration::from_secs(30), Form::Duration(1..=DAY);

    /// How long a connection may be idle between requests; keep it longer than that of proxies in
    /// front.
    ///
    /// Otherwise rollcall closes a connection while the proxy sends on it. nginx and AWS keep theirs
    /// for 60 s, Traefik 90 s, Caddy 2 min, Google's balancers 600 s. Clients read it in the header
    /// Keep-Alive.
    idle: Duration = Duration::from_secs(150), Form::Duration(1..=DAY);

    /// Time for a request body.
    body: Duration = Duration::from_secs(30), Form::Duration(1..=DAY);

    /// How long a client may read nothing of an answer.
    ///
    /// Then the connection is closed.
    write: Duration = Duration::from_secs(30), Form::Duration(1..=DAY);

    /// Time for running requests to end when the server stops.
    drain: Duration = Duration::from_secs(20), Form::Duration(1..=DAY);

    /// Requests that a token may send in token_window; 0: no limit.
    ///
    /// Further ones are answered 429 with Retry-After, and every answer has RateLimit-Limit,
    /// RateLimit-Remaining and RateLimit-Reset.
    token_requests: u64 = 0, Form::Count(0..=1_000_000_000);

    /// Time in which the requests of a token are counted.
    token_window: Duration = Duration::from_mins(5), Form::Duration(SECOND..=DAY);

    /// Events that may wait to be committed; where there are more, webhooks are answered 503.
    ///
    /// The answer has Retry-After, and nothing of the request is stored. Not below batch_events.
    queue_events: usize = 20_000, Form::Count(1..=10_000_000);

    /// Readers of changes at a time, by lines or by events; further ones are answered 503.
    ///
    /// These are requests for `…/Calls/changes`. The answer has Retry-After.
    event_streams: usize = 256, Form::Count(0..=65_536);

    /// How long an event stream of changes may be silent before a keep-alive is sent.
    ///
    /// It says how far the stream has read. Keep it below the idle timeout of proxies on the way.
    event_keep_alive: Duration = Duration::from_secs(15), Form::Duration(1..=DAY);
}

/// Journal, registry and index.
store: StoreSection {
    /// Memory for the cache of the index.
    index_cache_bytes: u64 = 64 * MIB, Form::Size(MIB..=TIB);

    /// Size at which a journal segment is sealed.
    ///
    /// Then the next segment begins.
    segment_bytes: u64 = 64 * MIB, Form::Size(MIB..=4 * GIB);

    /// Calls that are kept in memory.
    ///
    /// These are the active calls, and ended ones until a checkpoint has written them to the index.
    /// An import takes at most half of this.
    registry_calls: usize = 50_000, Form::Count(1000..=100_000_000);

    /// Time between two checkpoints of the index.
    checkpoint_interval: Duration = Duration::from_secs(5), Form::Duration(1..=DAY);

    /// Age at which a call that has not ended is written to the index too.
    ///
    /// So a start does not have to read the whole journal.
    live_checkpoint_age: Duration = Duration::from_mins(10), Form::Duration(1..=DAY);

    /// Size of the journal after the last checkpoint, above which calls that have not ended are
    /// written to the index too.
    ///
    /// Then their age does not matter.
    replay_bytes: u64 = 256 * MIB, Form::Size(MIB..=TIB);

    /// Free disk space below which webhooks and imports are refused; 0: never.
    ///
    /// They are answered 503, and everything else goes on. The space below is for checkpoints (6000
    /// bytes for each of registry_calls), for packing and for a new index. Space that a file system
    /// keeps for root does not count as free.
    min_free_bytes: u64 = 512 * MIB, Form::Size(0..=1024 * TIB);

    /// Disk space kept in reserve, so that the server can start when the disk is full; 0: none.
    ///
    /// The file RESERVE holds it.
    reserve_bytes: u64 = 32 * MIB, Form::Size(0..=64 * GIB);
}

/// How calls age.
calls: CallsSection {
    /// Time without an event after which a call is stale.
    ///
    /// A stale call keeps its last status, but leaves the counts and the lists that filter by status
    /// until its next event. A deleted call is remembered for the same time. In a cluster all nodes
    /// take it from the node that was started last.
    max_lifetime: Duration = Duration::from_hours(12), Form::Duration(MINUTE..=365 * DAY);

    /// Time between two searches for stale calls.
    sweep_interval: Duration = Duration::from_secs(30), Form::Duration(1..=DAY);
}

/// How long calls are kept, and how disk space comes back.
retention: RetentionSection {
    /// How long ended calls are kept; empty: for good.
    ///
    /// The time starts when a call is first listed. Write "365days" for a year. An account can have
    /// its own time (`rollcall account set --keep`). `rollcall expire --dry-run` says what would be
    /// deleted now.
    age: Option<Duration> = None, Form::Duration(1..=36_500 * DAY);

    /// Allow calls to be kept for less than a day.
    ///
    /// This is for `age` and for `--keep`. "12m" is 12 minutes; a year is "365d".
    allow_short: bool = false, Form::Boolean;

    /// Disk space that journal and index may take before the oldest calls are deleted; 0: no limit.
    ///
    /// Calls of accounts that have a --keep of their own stay.
    bytes: u64 = 0, Form::Size(0..=1024 * TIB);

    /// How far back every version of every call is kept.
    ///
    /// A backup can be restored as of any moment within it (`rollcall restore --until`). Older
    /// segments keep the newest version of each call.
    history: Duration = Duration::from_hours(24), Form::Duration(0..=365 * DAY);

    /// Time within which a deleted call is gone from the disk.
    ///
    /// Not below `history`.
    erase_within: Duration = Duration::from_hours(7 * 24), Form::Duration(HOUR..=365 * DAY);

    /// Time between two searches for calls to delete.
    interval: Duration = Duration::from_hours(1), Form::Duration(SECOND..=DAY);
}

/// What a list shows.
list: ListSection {
    /// How long a call stays in the plain list after its end; empty: for good.
    ///
    /// The plain list is the one without `start`, `end` and `stale`; jambonz keeps calls there for
    /// "1h". Active calls are always in it. A call that lasted longer than this and max_lifetime
    /// together leaves it when it ends.
    window: Option<Duration> = None, Form::Duration(1..=36_500 * DAY);
}

/// The call status webhook.
hooks: HooksSection {
    /// Template of service_url where an event has none; empty: off.
    ///
    /// The webhook does not say which server runs the call. {host} is replaced by the host of the
    /// event's fs_sip_address.
    service_url: Option<ServiceUrlTemplate> = Some(ServiceUrlTemplate::feature_server()),
        Form::Text("URL");
}

/// Where calls are controlled.
feature_servers: FeatureServers {
    /// Base URLs of feature servers, which take new calls in turn.
    ///
    /// Such as ["http://10.0.0.5:3000"]. New calls (POST …/Calls) go to them; without any, the
    /// answer is 480. A call whose service_url has the same scheme, host and port is updated there
    /// (PUT …/Calls/{CallSid}).
    urls: Vec<Base> = Vec::new(), Form::List("URL,…", usize::MAX);

    /// Networks in which the service_url of a call may lie.
    ///
    /// Such as ["10.0.0.0/24"]; any port. Every address that its host resolves to must be in one of
    /// them. rollcall connects to no other place, except for urls and api_url.
    networks: Vec<Network> = Vec::new(), Form::List("CIDR,…", usize::MAX);

    /// Time for a connection to a feature server.
    ///
    /// TLS is included.
    connect: Duration = Duration::from_secs(5), Form::Duration(1..=DAY);

    /// Time for a feature server's answer.
    ///
    /// It starts once there is a connection.
    timeout: Duration = Duration::from_secs(20), Form::Duration(1..=DAY);

    /// How long a feature server that did not answer is asked after all others.
    retry_after: Duration = Duration::from_secs(30), Form::Duration(1..=DAY);
}

/// jambonz's own API, and which authorities rollcall trusts as a client.
upstream: Upstream {
    /// Base URL of jambonz's own API, for tokens of jambonz and for new calls that name an
    /// application; empty: off.
    ///
    /// Write it without /v1, such as "https://jambonz.example.com/api". It must lead to jambonz
    /// itself, and not by way of a proxy that sends calls to rollcall. A new call that names an
    /// application_sid is passed on with the caller's own Authorization header, because applications
    /// are in jambonz's database, and so is one that comes with a token of jambonz. Where this is
    /// empty, such a call is refused.
    api_url: Option<Base> = None, Form::Text("URL");

    /// File with the authorities (PEM) for outgoing HTTPS; empty: those of the system.
    ///
    /// It is used for feature servers and for api_url.
    ca: Option<PathBuf> = None, Form::Text("FILE");

    /// Accept tokens of jambonz: those that rollcall does not know are asked for at api_url.
    ///
    /// These are API keys of jambonz and the tokens of people who are logged in at its portal. They
    /// reach the calls of the accounts that they reach in jambonz, and nothing else: no events, no
    /// figures, not all accounts at once.
    auth: bool = false, Form::Boolean;

    /// How long an answer about a token counts, also one that refuses it.
    ///
    /// A token that is revoked in jambonz is refused here after this time.
    auth_cache: Duration = Duration::from_mins(1), Form::Duration(1..=HOUR);

    /// How much longer an accepted token may read while jambonz cannot be asked; "0s": not at all.
    ///
    /// Without such an answer requests are 503 meanwhile. It never outlives a token's own end.
    auth_stale: Duration = Duration::from_mins(5), Form::Duration(0..=DAY);

    /// Time for an answer about a token, connection included.
    auth_timeout: Duration = Duration::from_secs(5), Form::Duration(1..=MINUTE);

    /// Questions about tokens that jambonz is asked in five minutes, and at once after a quiet time.
    ///
    /// jambonz itself answers 600 requests in five minutes, those of its portal included, unless its
    /// RATE_LIMIT_MAX_PER_WINDOW says otherwise. A quarter of them is kept for tokens that it has
    /// accepted before. Further requests are 503 with Retry-After.
    auth_questions: u64 = 120, Form::Count(4..=100_000);

    /// The same for the tokens of one client address that jambonz has not accepted yet.
    ///
    /// So guesses from one address leave something for others. An address of IPv6 is its /64.
    auth_address_questions: u64 = 30, Form::Count(1..=100_000);
}

/// The mirror: calls are read from jambonz's Redis.
mirror_redis: MirrorRedis {
    /// URL of jambonz's Redis, from which calls are read; empty: off.
    ///
    /// redis://[USER@]HOST[:PORT][/DATABASE], or rediss:// for TLS. Nothing is written there, and
    /// nothing is changed in jambonz. With sentinels, HOST is the name of the primary that they
    /// watch.
    url: Option<RedisUrl> = None, Form::Text("URL");

    /// File with the password for it; empty: none.
    ///
    /// Its first line counts. "credential:NAME" is a file that systemd hands over.
    password_file: Option<PathBuf> = None, Form::Text("FILE");

    /// Sentinels that say where the primary is; their port is 26379 where none is given.
    ///
    /// Such as ["10.0.0.5", "10.0.0.6:26379"].
    sentinels: Vec<SentinelAddr> = Vec::new(), Form::List("HOST:PORT,…", 100);

    /// User of the sentinels, where they have users of their own; empty: their default user.
    sentinel_user: Option<RedisUser> = None, Form::Text("USER");

    /// File with the password for the sentinels; empty: none.
    ///
    /// As password_file. It is not that of Redis, which they do not ask for.
    sentinel_password_file: Option<PathBuf> = None, Form::Text("FILE");

    /// File with the authorities (PEM) of its certificate; empty: those of the system.
    ca: Option<PathBuf> = None, Form::Text("FILE");

    /// Client certificate and chain (PEM) for it.
    ///
    /// "credential:NAME" works here and for the key.
    cert: Option<PathBuf> = None, Form::Text("FILE");

    /// Private key of that client certificate (PEM).
    key: Option<PathBuf> = None, Form::Text("FILE");

    /// Accounts whose calls are taken; "*" is all.
    accounts: Vec<WantedAccounts> = vec![WantedAccounts::All], Form::List("SID,…", 10_000);

    /// Commands a second for looking through all calls.
    ///
    /// Changes that Redis reports are read at once and do not count.
    max_commands: u64 = 500, Form::Count(1..=100_000);

    /// Time between two looks through all calls.
    ///
    /// There is one after each connection, too. It finds what was not reported.
    reconcile_interval: Duration = Duration::from_mins(10), Form::Duration(SECOND..=DAY);
}

/// CDRs: what jambonz's SBCs write of ended calls, as to an InfluxDB.
cdrs: CdrsSection {
    /// Address for CDRs, in place of an InfluxDB 1.x or subscribed at one; empty: off.
    ///
    /// Most parts of jambonz want the port 8086. Requests need user and password.
    listen: Option<ListenAddr> = None, Form::Text("HOST:PORT");

    /// Take CDRs over TLS alone, with the certificate of [tls].
    ///
    /// jambonz itself writes without TLS; a subscription of InfluxDB can do either.
    tls: bool = false, Form::Boolean;

    /// Allow CDRs without TLS on an address that other machines can reach.
    ///
    /// That shows the password and telephone numbers to everyone who can read the network. Without
    /// tls, any other `listen` than a loopback address is refused unless this is true.
    allow_remote: bool = false, Form::Boolean;

    /// User that writes CDRs.
    user: Option<CdrUser> = None, Form::Text("USER");

    /// File with the password of that user.
    ///
    /// Its first line counts. "credential:NAME" is a file that systemd hands over.
    password_file: Option<PathBuf> = None, Form::Text("FILE");

    /// Accounts whose CDRs are taken; "*" is all.
    accounts: Vec<WantedAccounts> = vec![WantedAccounts::All], Form::List("SID,…", 10_000);

    /// How long a CDR that names no call waits for the call that has its SIP Call-ID.
    ///
    /// After that it is a call of its own: most of these never reached an application. A call with
    /// that Call-ID that comes later still takes it.
    wait: Duration = Duration::from_mins(10), Form::Duration(SECOND..=DAY);
}

/// Several machines that keep the same calls, by one log.
cluster: ClusterSection {
    /// Name of the cluster; empty: this server is by itself.
    ///
    /// Several servers with the same name keep the same calls: what one accepts goes into a log of NATS
    /// JetStream (nats-server 2.14.6 or later, three of them), which all read. 1 to 32 of a-z, 0-9, - and
    /// _. `rollcall cluster create` makes the log.
    name: Option<ClusterName> = None, Form::Text("NAME");

    /// Name of this node; each has its own.
    ///
    /// As `name`. It stays with the data directory.
    node: Option<ClusterName> = None, Form::Text("NAME");

    /// The nats-servers, the one on this machine first.
    ///
    /// Such as ["tls://10.0.0.1:4222", "tls://10.0.0.2:4222", "tls://10.0.0.3:4222"]. nats:// is without
    /// TLS. Nothing that a server announces is connected to.
    servers: Vec<LogServer> = Vec::new(), Form::List("URL,…", 64);

    /// Allow nats:// to other machines.
    ///
    /// Then password, telephone numbers and secrets of accounts can be read on the way.
    allow_plain: bool = false, Form::Boolean;

    /// User of the nats-servers; empty: none.
    user: Option<LogUser> = None, Form::Text("USER");

    /// File with the password of that user.
    ///
    /// Its first line counts. "credential:NAME" is a file that systemd hands over.
    password_file: Option<PathBuf> = None, Form::Text("FILE");

    /// File with the authorities (PEM) of the nats-servers; empty: those of the system.
    ca: Option<PathBuf> = None, Form::Text("FILE");

    /// Client certificate and chain (PEM) for the nats-servers.
    ///
    /// "credential:NAME" works here and for the key.
    cert: Option<PathBuf> = None, Form::Text("FILE");

    /// Private key of that client certificate (PEM).
    key: Option<PathBuf> = None, Form::Text("FILE");

    /// Where nats-servers say how they are: `http` in nats.conf.
    ///
    /// Such as ["http://127.0.0.1:8222"]. It is enough that each node has that of its own machine. They
    /// prove that each message is on disk before it is acknowledged (`sync_interval: always`).
    monitors: Vec<Base> = Vec::new(), Form::List("URL,…", 64);

    /// Take it on trust that nats-servers whose monitor is not known sync each message.
    ///
    /// One that does not may lose acknowledged calls when the power fails. Without this, such a server
    /// is refused.
    unverified_sync: bool = false, Form::Boolean;

    /// What becomes of events while there is no quorum of nats-servers: keep or refuse.
    ///
    /// "keep": they are acknowledged once they are on the disk of this machine, and go into the log
    /// later; they are not shown before. "refuse": they are answered 503.
    without_quorum: WithoutQuorum = WithoutQuorum::Keep, Form::Text("HOW");

    /// How long the log is tried before events are kept or refused.
    hold: Duration = Duration::from_secs(2), Form::Duration(100..=30 * SECOND);

    /// How far a node may be behind the log, or for how long it may not know how far the log reaches,
    /// before load balancers are told to pass it over.
    ///
    /// `/readyz` is 503 then. It is not where all other nodes are heard: then none is further.
    max_lag: Duration = Duration::from_mins(1), Form::Duration(SECOND..=DAY);

    /// How long the log keeps messages.
    ///
    /// A node that was away for longer starts again from a backup of another one. The log has what calls
    /// were before they were deleted, so retention.erase_within must be a day more. It takes effect when
    /// the log is made.
    log_age: Duration = Duration::from_hours(6 * 24), Form::Duration(HOUR..=90 * DAY);

    /// Disk space of the log on each nats-server; where it is more, the oldest messages go.
    ///
    /// It takes effect when the log is made.
    log_bytes: u64 = 40 * GIB, Form::Size(64 * MIB..=1024 * TIB);

    /// Disk space for events that are kept while there is no quorum.
    ///
    /// Further ones are answered 503.
    kept_bytes: u64 = 8 * GIB, Form::Size(MIB..=1024 * TIB);
}

/// The console: pages for a browser that show calls.
console: ConsoleSection {
    /// Serve the console at /console/, and have / lead there.
    ///
    /// It is served over HTTPS: on the HTTPS listener, and on the plain one to http.trusted_proxies that
    /// end TLS. Sign in with a token, or by a link of `rollcall open`.
    enabled: bool = true, Form::Boolean;

    /// How long a session may be unused before it ends.
    ///
    /// An open page uses its session.
    idle: Duration = Duration::from_hours(12), Form::Duration(SECOND..=365 * DAY);

    /// How long a session lasts at most.
    ///
    /// It also ends with its token.
    lifetime: Duration = Duration::from_hours(7 * 24), Form::Duration(SECOND..=365 * DAY);
}

/// Forwarding: accepted webhooks are passed on to others.
forward: Forward {
    /// Where accepted webhooks are passed on to; none: off.
    ///
    /// Each is a table: [[forward.targets]] with name, url, account_sid, and if need be
    /// application_sids, a list, and user with password_file. A target gets the webhooks of its
    /// account, with application_sids those of these applications alone. The first line of
    /// password_file is the password; "credential:NAME" is a file that systemd hands over. As a flag
    /// or variable it is one line, such as [{ name = "acme", url = "https://acme.example.com/status",
    /// account_sid = "…" }].
    targets: ForwardTargets = ForwardTargets::default(), Form::Tables(1000);

    /// File with the authorities (PEM) of the certificates of targets; empty: those of the system.
    ca: Option<PathBuf> = None, Form::Text("FILE");

    /// Time for a connection to a target.
    connect: Duration = Duration::from_secs(10), Form::Duration(1..=MINUTE);

    /// Time for the answer of a target.
    ///
    /// It starts once there is a connection.
    timeout: Duration = Duration::from_secs(10), Form::Duration(1..=5 * MINUTE);

    /// Webhooks that are on their way to one target at a time.
    ///
    /// Those of one call are sent one after the other.
    concurrency: usize = 8, Form::Count(1..=256);

    /// The longest time between two attempts.
    ///
    /// The first ones follow each other within seconds.
    retry_max: Duration = Duration::from_mins(1), Form::Duration(SECOND..=HOUR);

    /// How long delivery of a webhook is tried; then it is set aside for `rollcall forward retry`.
    max_age: Duration = Duration::from_hours(24), Form::Duration(SECOND..=30 * DAY);
}

/// Cross-origin requests from browsers.
cors: Cors {
    /// Origin whose pages may read answers, or *; empty: no CORS headers.
    ///
    /// Such as "https://app.example.com".
    allow_origin: Option<AllowedOrigin> = Some(AllowedOrigin::any()), Form::Text("ORIGIN");
}

/// The log.
log: Log {
    /// What is logged: messages of this level and graver ones: error, warn, info, debug or trace.
    level: LogLevel = LogLevel::Info, Form::Text("LEVEL");

    /// Shape of the log: auto, human, json or journald.
    ///
    /// "human" is text on stderr; "json" is one object a line on stderr and nothing else; "journald"
    /// writes entries of the systemd journal with a field for each value. "auto" is journald where
    /// stderr leads to that journal, as in a unit of systemd, else human.
    format: LogFormat = LogFormat::Auto, Form::Text("FORMAT");

    /// An answer that takes longer is logged as a warning; empty: never.
    slow: Option<Duration> = Some(Duration::from_secs(1)), Form::Duration(1..=36_500 * DAY);

    /// Telephone numbers in the log: mask or full.
    ///
    /// "mask" shows the last two digits.
    numbers: LogNumbers = LogNumbers::Mask, Form::Text("HOW");

    /// File for the audit log: what admins do, and wrong credentials; empty: the log.
    ///
    /// It has one JSON object a line and is readable by its owner alone. SIGHUP opens it again. In
    /// the log, these entries have the target "audit".
    audit: Option<PathBuf> = None, Form::Text("FILE");

    /// Write each request that reads calls into the audit log: whose token, and of whom.
    ///
    /// Those of sessions of the console too. What was searched for is not written.
    audit_reads: bool = false, Form::Boolean;
}

/// What Prometheus scrapes.
metrics: Metrics {
    /// Address for scrapes by Prometheus over plain HTTP, without a token; empty: off.
    ///
    /// `/metrics` is on the other listeners too, for a token of role metrics or one that may do
    /// everything.
    listen: Option<ListenAddr> = None, Form::Text("HOST:PORT");

    /// Allow scrapes on an address that other machines can reach.
    ///
    /// A scrape tells how much traffic there is. Any other `listen` than a loopback address is
    /// refused unless this is true.
    allow_remote: bool = false, Form::Boolean;

    /// Accounts whose live calls have metrics of their own.
    accounts: Vec<AccountSid> = Vec::new(), Form::List("SID,…", 100);
}
}

words! {
    /// Which clients have to show a certificate.
    ClientAuth {
        Off = "off",
        /// A client that shows one must show a valid one.
        Optional = "optional",
        Required = "required",
    }

    /// What becomes of events while the log takes none.
    WithoutQuorum {
        /// They are on this machine's disk until it does.
        Keep = "keep",
        Refuse = "refuse",
    }

    /// How telephone numbers are shown in the log.
    LogNumbers {
        /// The last two digits alone.
        Mask = "mask",
        Full = "full",
    }

    /// How grave a message must be to be logged.
    LogLevel {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
        Trace = "trace",
    }

    /// The shape of a log line.
    LogFormat {
        /// As [`LogFormat::Journald`] where standard error leads there, else as [`LogFormat::Human`].
        Auto = "auto",
        /// Text for people.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
        /// Entries of the systemd journal, with a field for each value; nothing on stderr.
        Journald = "journald",
    }
}

impl HooksSection {
    /// The template of `service_url`; empty where there is none.
    pub fn service_url(&self) -> &str {
        self.service_url.as_ref().map_or("", ServiceUrlTemplate::as_str)
    }
}

/// The operator's certificate and key.
pub struct TlsFiles<'a> {
    pub cert: &'a PathBuf,
    pub key: &'a PathBuf,
}

/// How client certificates are checked.
pub struct TlsClients<'a> {
    pub ca: &'a PathBuf,
    pub required: bool,
}

impl Tls {
    /// The operator's certificate; `None` where rollcall makes one.
    pub fn files(&self) -> Option<TlsFiles<'_>> {
        Some(TlsFiles { cert: self.cert.as_ref()?, key: self.key.as_ref()? })
    }

    /// `None` where clients are asked for no certificate.
    pub fn clients(&self) -> Option<TlsClients<'_>> {
        let required = match self.client_auth {
            ClientAuth::Off => return None,
            ClientAuth::Optional => false,
            ClientAuth::Required => true,
        };
        Some(TlsClients { ca: self.client_ca.as_ref()?, required })
    }
}
