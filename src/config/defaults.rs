//! Every default, in one place. `config.example.toml` repeats them, and a test compares.

use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::address::ListenAddr;
use super::bounds::MIB;
use super::sections::{
    CallsSection, Cors, FeatureServers, HooksSection, Http, LimitsSection, ListSection, Log,
    LogFormat, LogLevel, LogNumbers, Metrics, RetentionSection, StoreSection, Tls, Upstream,
};
use super::web::{AllowedOrigin, ServiceUrlTemplate};

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("rollcall-data"),
            listen: ListenAddr::loopback(8443),
            proxy_protocol: false,
            admin_socket: None,
            tls: Tls { files: None, names: Vec::new(), clients: None },
            http: Http::default(),
            limits: LimitsSection::default(),
            store: StoreSection::default(),
            calls: CallsSection::default(),
            retention: RetentionSection::default(),
            list: ListSection::default(),
            hooks: HooksSection::default(),
            feature_servers: FeatureServers::default(),
            upstream: Upstream::default(),
            cors: Cors::default(),
            log: Log::default(),
            metrics: Metrics::default(),
        }
    }
}

#[expect(clippy::derivable_impls, reason = "every default stands here, to be read")]
impl Default for Http {
    fn default() -> Self {
        Self {
            listen: None,
            allow_remote: false,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections: 4096,
            body_bytes: 1_048_576,
            batch_events: 10_000,
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(30),
            idle: Duration::from_secs(150),
            body: Duration::from_secs(30),
            write: Duration::from_secs(30),
            drain: Duration::from_secs(20),
            token_requests: 0,
            token_window: Duration::from_mins(5),
            queue_events: 20_000,
            event_streams: 256,
            keep_alive: Duration::from_secs(15),
        }
    }
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            index_cache_bytes: 64 * MIB,
            segment_bytes: 64 * MIB,
            registry_calls: 50_000,
            checkpoint_interval: Duration::from_secs(5),
            live_checkpoint_age: Duration::from_mins(10),
            replay_bytes: 256 * MIB,
            min_free_bytes: 512 * MIB,
            reserve_bytes: 32 * MIB,
        }
    }
}

impl Default for CallsSection {
    fn default() -> Self {
        Self { max_lifetime: Duration::from_hours(12), sweep_interval: Duration::from_secs(30) }
    }
}

impl Default for RetentionSection {
    fn default() -> Self {
        Self {
            age: None,
            allow_short: false,
            bytes: 0,
            history: Duration::from_hours(24),
            erase_within: Duration::from_hours(7 * 24),
            interval: Duration::from_hours(1),
        }
    }
}

impl Default for ListSection {
    fn default() -> Self {
        Self { window: None, page_rows: 100_000, count_rows: 1_000_000 }
    }
}

impl Default for HooksSection {
    fn default() -> Self {
        Self { service_url: Some(ServiceUrlTemplate::feature_server()) }
    }
}

impl Default for FeatureServers {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            networks: Vec::new(),
            connect: Duration::from_secs(5),
            timeout: Duration::from_secs(20),
            retry_after: Duration::from_secs(30),
        }
    }
}

#[expect(clippy::derivable_impls, reason = "every default stands here, to be read")]
impl Default for Upstream {
    fn default() -> Self {
        Self { api_url: None, ca: None }
    }
}

impl Default for Cors {
    fn default() -> Self {
        Self { allow_origin: Some(AllowedOrigin::any()) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            format: LogFormat::Auto,
            slow: Some(Duration::from_secs(1)),
            numbers: LogNumbers::Mask,
            audit: None,
        }
    }
}

#[expect(clippy::derivable_impls, reason = "every default stands here, to be read")]
impl Default for Metrics {
    fn default() -> Self {
        Self { listen: None, allow_remote: false, accounts: Vec::new() }
    }
}
