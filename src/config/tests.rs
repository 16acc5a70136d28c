use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, CommandFactory, Parser};

use super::keys::ConfigKey;
use super::keys::sections;
use super::value::Form;
use super::*;

#[derive(Parser)]
#[command(name = "rollcall")]
struct TestCli {
    #[command(flatten)]
    locations: Locations,
    #[command(subcommand)]
    command: TestCommand,
}

#[derive(clap::Subcommand)]
enum TestCommand {
    Serve(TestServe),
    Status,
}

#[derive(Args)]
struct TestServe {
    #[command(flatten)]
    settings: Settings,
}

fn load(arguments: &[&str], vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let cli = TestCli::try_parse_from([&["rollcall"], arguments].concat()).unwrap();
    let flags = match cli.command {
        TestCommand::Serve(serve) => serve.settings,
        TestCommand::Status => Settings::default(),
    };
    let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    cli.locations.load(&flags, vars, None).map(|loaded| loaded.config)
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("config.toml"), text, &Settings::default())
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("this configuration must be refused").to_string()
}

/// Every leaf of a TOML table, by dotted name.
fn leaves(table: &toml::Table) -> BTreeMap<String, toml::Value> {
    let mut leaves = BTreeMap::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(below) => {
                for (leaf, value) in self::leaves(below) {
                    leaves.insert(format!("{name}.{leaf}"), value);
                }
            }
            value => {
                leaves.insert(name.clone(), value.clone());
            }
        }
    }
    leaves
}

#[test]
fn each_key_stands_once_and_its_default_is_of_its_form() {
    let written = leaves(&rendered(&Config::default()));
    assert_eq!(written.len(), KEYS.len(), "a key is in the table twice");
    for key in KEYS {
        let kind = match &written[key.name] {
            toml::Value::String(_) => matches!(key.form, Form::Text(_) | Form::Duration(_)),
            toml::Value::Integer(_) => matches!(key.form, Form::Count(_) | Form::Size(_)),
            toml::Value::Boolean(_) => key.form == Form::Boolean,
            toml::Value::Array(_) => matches!(key.form, Form::List(..) | Form::Tables(_)),
            other => panic!("{} is {other:?}", key.name),
        };
        assert!(kind, "{} is {}, and its form {:?}", key.name, written[key.name], key.form);
        let size = key.name.ends_with("bytes");
        assert_eq!(matches!(key.form, Form::Size(_)), size, "{}", key.name);
        let mut read = Config::default();
        (key.set)(&mut read, &written[key.name], &key.form).unwrap();
        assert_eq!(read, Config::default(), "{} has a default that is refused", key.name);
    }
}

#[test]
fn every_key_has_a_help_of_one_sentence() {
    for key in KEYS {
        let (name, help) = (key.name, key.help());
        assert!((15..=150).contains(&help.len()), "{name}: {help}");
        assert!(help.starts_with(char::is_uppercase), "{name}: {help}");
        assert!(!help.contains(". ") && !help.ends_with('.'), "{name}: {help}");
        assert!(key.reference().starts_with(&format!("{help}.")), "{name}");
    }
}

#[test]
fn flags_and_variables_are_distinct_and_each_section_stands_together() {
    let flags: BTreeMap<_, _> = KEYS.iter().map(|key| (key.flag(), key.name)).collect();
    let variables: BTreeMap<_, _> = KEYS.iter().map(|key| (key.variable(), key.name)).collect();
    assert_eq!((flags.len(), variables.len()), (KEYS.len(), KEYS.len()));
    let mut once = sections();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), sections().len());
}

#[test]
fn the_example_is_made_of_the_keys_and_has_every_one_with_its_default() {
    let text = include_str!("../../config.example.toml");
    assert_eq!(parse(text).unwrap(), Config::default());
    let names: Vec<_> = leaves(&text.parse().unwrap()).into_keys().collect();
    let mut wanted: Vec<_> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    wanted.sort();
    assert_eq!(names, wanted);
    assert_eq!(toml::from_str::<toml::Table>(text).unwrap(), rendered(&Config::default()));
    assert!(text.lines().all(|line| line.chars().count() <= 100 && line.trim_end() == line));
    assert!(text == example(), "write it again: rollcall config example > config.example.toml");
}

fn rendered(config: &Config) -> toml::Table {
    config.to_toml().parse().unwrap()
}

/// For each key a value that is not its default.
const TARGETS: &str = "[{ account_sid = \"9351f46a-678c-43f5-b8a6-d4eb58d131af\", name = \"acme\", url = \"https://acme.example.com/status?a=1\" }]";

const OTHERS: &[(&str, &str)] = &[
    ("data_dir", "/srv/calls"),
    ("listen", "[::]:0"),
    ("proxy_protocol", "true"),
    ("admin_socket", "/run/x.sock"),
    ("tls.cert", "c.pem"),
    ("tls.key", "k.pem"),
    ("tls.names", "calls.example.com,*.a.example,10.0.0.5,::1"),
    ("tls.client_ca", "clients.pem"),
    ("tls.client_auth", "required"),
    ("http.listen", "proxy-side:8080"),
    ("http.allow_remote", "true"),
    ("http.proxy_protocol", "true"),
    ("http.trusted_proxies", "10.0.0.0/24,::1/128"),
    ("limits.connections", "1"),
    ("limits.body_bytes", "2048"),
    ("limits.batch_events", "7"),
    ("limits.handshake", "1s"),
    ("limits.header", "2s"),
    ("limits.idle", "3m"),
    ("limits.body", "3s"),
    ("limits.write", "4s"),
    ("limits.drain", "250ms"),
    ("limits.token_requests", "600"),
    ("limits.token_window", "2m"),
    ("limits.queue_events", "8"),
    ("limits.event_streams", "9"),
    ("limits.event_keep_alive", "5s"),
    ("store.index_cache_bytes", "1048576"),
    ("store.segment_bytes", "4294967296"),
    ("store.registry_calls", "1000"),
    ("store.checkpoint_interval", "6s"),
    ("store.live_checkpoint_age", "1h"),
    ("store.replay_bytes", "1048577"),
    ("store.min_free_bytes", "1048578"),
    ("store.reserve_bytes", "1048579"),
    ("calls.max_lifetime", "1m"),
    ("calls.sweep_interval", "9s"),
    ("retention.age", "400days"),
    ("retention.allow_short", "true"),
    ("retention.bytes", "123456789"),
    ("retention.history", "2days"),
    ("retention.erase_within", "9days"),
    ("retention.interval", "2h"),
    ("list.window", "1h"),
    ("hooks.service_url", "https://{host}/fs"),
    ("feature_servers.urls", "http://10.0.0.5:3000,https://fs.example.com/a"),
    ("feature_servers.networks", "10.0.0.0/24,fd00::/8"),
    ("feature_servers.connect", "1s"),
    ("feature_servers.timeout", "2s"),
    ("feature_servers.retry_after", "3s"),
    ("upstream.api_url", "https://api.example.com/api"),
    ("upstream.ca", "ca.pem"),
    ("upstream.auth", "true"),
    ("upstream.auth_cache", "7s"),
    ("upstream.auth_stale", "8s"),
    ("upstream.auth_timeout", "6s"),
    ("upstream.auth_questions", "77"),
    ("upstream.auth_address_questions", "7"),
    ("mirror.redis.url", "rediss://rollcall@redis.example.com:6380/2"),
    ("mirror.redis.password_file", "redis.password"),
    ("mirror.redis.sentinels", "10.0.0.5:26379,redis-2:5000"),
    ("mirror.redis.sentinel_user", "watcher"),
    ("mirror.redis.sentinel_password_file", "sentinel.password"),
    ("mirror.redis.ca", "redis-ca.pem"),
    ("mirror.redis.cert", "redis-cert.pem"),
    ("mirror.redis.key", "redis-key.pem"),
    ("mirror.redis.accounts", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
    ("mirror.redis.max_commands", "50"),
    ("mirror.redis.reconcile_interval", "5m"),
    ("cdrs.listen", "0.0.0.0:8086"),
    ("cdrs.tls", "true"),
    ("cdrs.allow_remote", "true"),
    ("cdrs.user", "influx"),
    ("cdrs.password_file", "cdrs.password"),
    ("cdrs.accounts", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
    ("cdrs.wait", "9s"),
    ("cluster.name", "pbx"),
    ("cluster.node", "node-1"),
    ("cluster.servers", "tls://10.0.0.1:4222,nats://10.0.0.2:5222"),
    ("cluster.allow_plain", "true"),
    ("cluster.user", "rollcall"),
    ("cluster.password_file", "nats.password"),
    ("cluster.ca", "nats-ca.pem"),
    ("cluster.cert", "nats-cert.pem"),
    ("cluster.key", "nats-key.pem"),
    ("cluster.monitors", "http://127.0.0.1:8222,https://10.0.0.2:8222"),
    ("cluster.unverified_sync", "true"),
    ("cluster.without_quorum", "refuse"),
    ("cluster.hold", "3s"),
    ("cluster.max_lag", "30s"),
    ("cluster.log_age", "2days"),
    ("cluster.log_bytes", "123456789"),
    ("cluster.kept_bytes", "12345678"),
    ("console.enabled", "false"),
    ("console.idle", "3h"),
    ("console.lifetime", "3days"),
    ("forward.targets", TARGETS),
    ("forward.ca", "targets-ca.pem"),
    ("forward.connect", "11s"),
    ("forward.timeout", "12s"),
    ("forward.concurrency", "3"),
    ("forward.retry_max", "2m"),
    ("forward.max_age", "2h"),
    ("cors.allow_origin", "https://app.example.com:8443"),
    ("log.level", "trace"),
    ("log.format", "json"),
    ("log.slow", "2s"),
    ("log.numbers", "full"),
    ("log.audit", "audit.log"),
    ("log.audit_reads", "true"),
    ("metrics.listen", "10.0.0.1:9100"),
    ("metrics.allow_remote", "true"),
    ("metrics.accounts", "9351f46a-678c-43f5-b8a6-d4eb58d131af"),
];

#[test]
fn every_key_is_taken_from_a_flag_and_from_a_variable_alike() {
    assert_eq!(OTHERS.len(), KEYS.len());
    let key = |name: &str| ConfigKey::find(name).unwrap();
    let mut arguments = vec!["serve".to_owned()];
    arguments.extend(OTHERS.iter().map(|(name, text)| format!("--{}={text}", key(name).flag())));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let vars: Vec<_> = OTHERS.iter().map(|(name, text)| (key(name).variable(), *text)).collect();
    let vars: Vec<_> = vars.iter().map(|(name, text)| (name.as_str(), *text)).collect();

    let by_flags = load(&arguments, &[]).unwrap();
    assert_eq!(by_flags, load(&["serve"], &vars).unwrap());
    assert_eq!(by_flags, load(&["status"], &vars).unwrap());

    let (ours, defaults) = (leaves(&rendered(&by_flags)), leaves(&rendered(&Config::default())));
    for (name, text) in OTHERS {
        assert_ne!(ours[*name], defaults[*name], "{name}");
        let expected = if *name == "forward.targets" {
            (*text).to_owned()
        } else {
            text.replace(',', "\", \"")
        };
        assert!(ours[*name].to_string().contains(&expected), "{name}: {}", ours[*name]);
    }
    assert_eq!(parse(&by_flags.to_toml()).unwrap(), by_flags);
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, "data_dir = \"file\"\n[limits]\nconnections = 11\n").unwrap();
    let file = path.to_str().unwrap();
    let both = |config: Config| (config.data_dir, config.limits.connections);

    let vars = [("ROLLCALL_DATA_DIR", "variable"), ("ROLLCALL_LIMITS_CONNECTIONS", "22")];
    let flags = ["serve", "--config", file, "--data-dir", "flag", "--limits-connections", "33"];
    assert_eq!(both(load(&["serve"], &[]).unwrap()), ("rollcall-data".into(), 4096));
    assert_eq!(both(load(&["serve", "--config", file], &[]).unwrap()), ("file".into(), 11));
    assert_eq!(both(load(&["serve", "--config", file], &vars).unwrap()), ("variable".into(), 22));
    assert_eq!(both(load(&flags, &vars).unwrap()), ("flag".into(), 33));

    // Both flags of every command, before and after its name, and the variable for the file.
    let before = load(&["--config", file, "--data-dir", "flag", "status"], &vars).unwrap();
    let after = load(&["status", "--config", file, "--data-dir", "flag"], &vars).unwrap();
    assert_eq!(both(before), ("flag".into(), 22));
    assert_eq!(both(after), ("flag".into(), 22));
    let config = ("ROLLCALL_CONFIG", file);
    assert_eq!(both(load(&["status"], &[config]).unwrap()), ("file".into(), 11));
    assert_eq!(both(load(&["status"], &[("ROLLCALL_CONFIG", "")]).unwrap()).1, 4096);
    let missing = ("ROLLCALL_CONFIG", "/nowhere/c.toml");
    assert_eq!(both(load(&["status", "--config", file], &[missing]).unwrap()).1, 11);
    assert!(matches!(load(&["status"], &[missing]), Err(ConfigError::Read { .. })));
}

#[test]
fn a_boolean_flag_needs_no_value_and_a_list_may_be_repeated() {
    let allowed = |flag: &str| load(&["serve", flag], &[]).unwrap().http.allow_remote;
    assert!(allowed("--http-allow-remote"));
    assert!(!allowed("--http-allow-remote=false"));
    let config = load(&["serve", "--tls-names", "a,b", "--tls-names", "10.0.0.1"], &[]).unwrap();
    let names: Vec<_> = config.tls.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b", "10.0.0.1"]);
    assert!(load(&["serve", "--tls-names="], &[]).unwrap().tls.names.is_empty());
}

#[test]
fn the_help_names_flag_variable_and_default() {
    let mut cli = TestCli::command();
    cli.build();
    cli.clone().debug_assert();
    let serve = cli.find_subcommand_mut("serve").unwrap();
    // Lines are wrapped, so that any space may be a line break.
    let help = serve.render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for key in KEYS {
        assert!(
            help.contains(&format!("--{} <", key.flag())) || key.form == Form::Boolean,
            "{help}"
        );
        assert!(help.contains(&format!("[env: {}]", key.variable())), "{} {help}", key.name);
    }
    assert!(help.contains("--http-allow-remote[=<BOOL>]"), "{help}");
    assert!(help.contains("[env: ROLLCALL_CONFIG]"), "{help}");
    assert!(help.contains("[default: 127.0.0.1:8443]"), "{help}");
    // Sizes have their units, and are read back as they stand there.
    let sizes = KEYS.iter().filter(|key| matches!(key.form, Form::Size(_)));
    for key in sizes.filter(|key| key.name != "retention.bytes") {
        let end = format!(" [env: {}]", key.variable());
        let (before, _) = help.split_once(&end).unwrap();
        let default = before.rsplit_once("[default: ").unwrap().1.trim_end_matches(']');
        assert!(default.ends_with("iB"), "{}: {default}", key.name);
        let flag = format!("--{}={default}", key.flag());
        assert_eq!(load(&["serve", &flag], &[]).unwrap(), Config::default(), "{flag}");
    }
    let status = cli.find_subcommand_mut("status").unwrap().render_long_help().to_string();
    assert!(status.contains("--data-dir") && status.contains("--config"), "{status}");
    assert!(!status.contains("--tls-cert"), "{status}");
}

#[test]
fn an_error_names_the_flag_or_variable_and_quotes_the_value() {
    for (arguments, vars, expected) in [
        (
            &["serve", "--limits-connections", "many"][..],
            &[][..],
            "--limits-connections: found \"many\", \
             expected a whole number from 1 to 1000000",
        ),
        (
            &["serve"],
            &[("ROLLCALL_LIMITS_DRAIN", "20")],
            "ROLLCALL_LIMITS_DRAIN: found \"20\": it lacks a unit; \
             expected a duration from 1ms to 1day, such as \"90s\" or \"1h 30m\"",
        ),
        (
            &["serve", "--limits-drain", "1M"],
            &[],
            "--limits-drain: found \"1M\": M may be minutes or months: write m for",
        ),
        (
            &["serve", "--limits-drain", "-1s"],
            &[],
            "--limits-drain: found \"-1s\": it is negative; expected a duration",
        ),
        (
            &["serve", "--retention-bytes", "-5GB"],
            &[],
            "--retention-bytes: found \"-5GB\": it is negative; expected a size from \
             0 B to 1PiB, such as \"10GB\" or a number of bytes",
        ),
        (
            &["status"],
            &[("ROLLCALL_STORE_SEGMENT_BYTES", "1,5GB")],
            "ROLLCALL_STORE_SEGMENT_BYTES: found \"1,5GB\": a comma is no decimal",
        ),
        (
            &["status"],
            &[("ROLLCALL_STORE_SEGMENT_BYTES", "5GiB")],
            "ROLLCALL_STORE_SEGMENT_BYTES: found \"5GiB\", expected a size from 1MiB",
        ),
        (
            &["serve", "--http-allow-remote=yes"],
            &[],
            "--http-allow-remote: found \"yes\", expected true or false",
        ),
        (
            &["serve", "--listen", "localhost"],
            &[("ROLLCALL_LISTEN", "127.0.0.1:1")],
            "--listen: `localhost` has no port",
        ),
        (&["status", "--data-dir", ""], &[], "--data-dir: found \"\", expected a"),
        (&["serve", "--log-level", "loud"], &[], "--log-level: found \"loud\", expected"),
        (&["serve", "--tls-names", "a, b c"], &[], "--tls-names: `b c` is neither a DNS name"),
        (
            &["serve", "--feature-servers-urls", "http://a, http://u:p@b/"],
            &[],
            "--feature-servers-urls: `http://u:p@b/` is not a base URL; write http or https",
        ),
        (
            &["status"],
            &[("ROLLCALL_FEATURE_SERVERS_NETWORKS", "10.0.0.1/24")],
            "ROLLCALL_FEATURE_SERVERS_NETWORKS: `10.0.0.1/24` is not a network; write its first",
        ),
        (&["serve", "--tls-key", "k.pem"], &[], "--tls-key: tls.key is set and tls.cert is not"),
        (
            &["status"],
            &[("ROLLCALL_HTTP_LISTEN", "[::]:80")],
            "ROLLCALL_HTTP_LISTEN: http.listen is `[::]:80`, which is not a loopback address",
        ),
        (
            &["serve", "--metrics-listen", "0.0.0.0:9100"],
            &[],
            "--metrics-listen: metrics.listen is `0.0.0.0:9100`, which is not a loopback address",
        ),
        (&["serve", "--metrics-accounts", "a"], &[], "--metrics-accounts: "),
        (
            &["status"],
            &[("ROLLCALL_LIMITS_BATCH_EVENTS", "30000")],
            "ROLLCALL_LIMITS_BATCH_EVENTS: limits.queue_events is 20000 and limits.batch_events \
             is 30000",
        ),
        (
            &["status"],
            &[("ROLLCALL_LISTN", "x"), ("ROLLCALL_ZZZ", "x")],
            "the configuration has 2 errors:\nunknown environment variable `ROLLCALL_LISTN`; did you \
             mean `ROLLCALL_LISTEN`?\nunknown environment variable `ROLLCALL_ZZZ`; variables",
        ),
        (&["status"], &[("ROLLCALL_", "")], "unknown environment variable `ROLLCALL_`; variables"),
    ] {
        let message = message(load(arguments, vars));
        assert!(message.starts_with(expected), "{arguments:?} {vars:?}\n{message}\n{expected}");
    }
    assert!(load(&["status"], &[("ROLL", "x"), ("XROLLCALL_A", "y")]).is_ok());
}

#[test]
fn all_that_is_wrong_is_named_at_once_and_nothing_that_only_follows_from_it() {
    let refused = message(parse(
        "listen = \"nowhere\"\n[tls]\ncrt = \"c.pem\"\nkey = \"k.pem\"\n[limits]\nidle = 5\n\
         queue_events = 20\n[http]\nlisten = \"0.0.0.0:80\"\n",
    ));
    let lines: Vec<_> = refused.lines().collect();
    assert_eq!(lines[0], "the configuration has 5 errors:", "{refused}");
    for (line, says) in lines[1..].iter().zip([
        "config.toml:1: listen: `nowhere` has no port",
        "config.toml:3: unknown key `crt` in [tls]; did you mean `cert`?",
        "config.toml:6: limits.idle: found 5",
        "config.toml:9: http.listen is `0.0.0.0:80`, which is not a loopback address",
        "config.toml:7: limits.queue_events is 20 and limits.batch_events is",
    ]) {
        assert!(line.starts_with(says), "{line}\n{says}");
    }
    // The certificate is given, if by a wrong name.
    assert!(!refused.contains("tls.cert is not"), "{refused}");
    // What is overridden is not known to be wrong together with others.
    let both = load(
        &["serve", "--listen", "x", "--tls-key", "k.pem"],
        &[("ROLLCALL_LIMITS_IDLE", "\"150s\"")],
    );
    let both = message(both);
    assert!(both.starts_with("the configuration has 3 errors:\n"), "{both}");
    for says in ["--listen: `x` has no port", "--tls-key: tls.key is set", "leave them out"] {
        assert!(both.contains(says), "{both}");
    }
    // A text that is no TOML says nothing of the rest.
    let broken = message(parse("listen = \n[tls]\nkey = \"k.pem\"\n"));
    assert!(broken.starts_with("config.toml:1: not TOML") && !broken.contains('\n'), "{broken}");
}

#[test]
fn a_path_that_is_meant_for_a_shell_is_refused() {
    for (path, why) in [
        ("~/rollcall", "`~` stands for no home directory"),
        ("~", "`~` stands for no home directory"),
        ("$HOME/x", "variables are not replaced"),
        ("\"/var/lib/rollcall\"", "the quotes are part of the path"),
        ("'/var/lib/rollcall'", "the quotes are part of the path"),
    ] {
        for (key, name) in [("ROLLCALL_DATA_DIR", "data_dir"), ("ROLLCALL_TLS_KEY", "tls.key")] {
            let refused = message(load(&["status"], &[(key, path)]));
            assert!(refused.starts_with(key) && refused.contains(why), "{name}: {refused}");
        }
    }
    for path in ["./~/x", "a~b", "/srv/'x", "x$"] {
        assert!(load(&["status", "--data-dir", path], &[]).is_ok(), "{path}");
    }
}

#[test]
fn a_variable_that_is_not_utf8_is_refused_by_name() {
    let vars = [(OsString::from("ROLLCALL_DATA_DIR"), OsString::from_vec(vec![b'/', 0xff]))];
    let refused =
        message(Locations::default().load(&Settings::default(), vars, None).map(|l| l.config));
    assert!(refused.starts_with("the environment variable `ROLLCALL_DATA_DIR` is"), "{refused}");
}

#[test]
fn a_file_may_leave_half_of_a_pair_to_a_variable() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.toml");
    fs::write(&path, "tls.cert = \"c.pem\"\n[http]\nlisten = \"0.0.0.0:80\"\n").unwrap();
    let arguments = ["status", "--config", path.to_str().unwrap()];
    let refused = message(load(&arguments, &[]));
    assert!(refused.contains("c.toml:1: tls.cert is set and tls.key is not"), "{refused}");
    let key = ("ROLLCALL_TLS_KEY", "k.pem");
    let refused = message(load(&arguments, &[key]));
    assert!(refused.contains("c.toml:3: http.listen is `0.0.0.0:80`"), "{refused}");
    let config = load(&arguments, &[key, ("ROLLCALL_HTTP_ALLOW_REMOTE", "true")]).unwrap();
    assert_eq!(config.tls.files().unwrap().key, Path::new("k.pem"));
}

#[test]
fn the_admin_socket_is_where_it_was_set_else_in_the_runtime_directory() {
    let mut config = Config { data_dir: PathBuf::from("/d"), ..Config::default() };
    assert_eq!(config.admin_socket_path(None), Path::new("/d/admin.sock"));
    let runtime = Some(Path::new("/run/rollcall"));
    assert_eq!(config.admin_socket_path(runtime), Path::new("/run/rollcall/admin.sock"));
    config.admin_socket = Some("/x".into());
    assert_eq!(config.admin_socket_path(runtime), Path::new("/x"));
}

#[test]
fn numbers_and_durations_are_taken_up_to_their_bounds_and_no_further() {
    for (name, least, most, below, above) in [
        ("limits.connections", "1", "1_000_000", "0", "1_000_001"),
        ("limits.body_bytes", "1024", "268435456", "1023", "268435457"),
        ("limits.queue_events", "1", "10_000_000", "0", "10_000_001"),
        ("limits.event_streams", "0", "65536", "-1", "65537"),
        ("store.index_cache_bytes", "1048576", "1099511627776", "1048575", "1099511627777"),
        ("store.segment_bytes", "1048576", "4294967296", "1048575", "4294967297"),
        ("store.replay_bytes", "1048576", "1099511627776", "-1", "1099511627777"),
        ("store.registry_calls", "1000", "100_000_000", "999", "100_000_001"),
        ("store.checkpoint_interval", "'1ms'", "'1day'", "'999us'", "'1day 1ms'"),
        ("store.live_checkpoint_age", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("limits.handshake", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("limits.header", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("limits.idle", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("limits.body", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("limits.write", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("limits.drain", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("feature_servers.connect", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("feature_servers.timeout", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("feature_servers.retry_after", "'1ms'", "'24h'", "'0s'", "'25h'"),
        ("calls.max_lifetime", "'60s'", "'365days'", "'59s'", "'366days'"),
        ("calls.sweep_interval", "'1ms'", "'1day'", "'0s'", "'2days'"),
        ("cluster.hold", "'100ms'", "'30s'", "'99ms'", "'31s'"),
        ("cluster.max_lag", "'1s'", "'1day'", "'999ms'", "'25h'"),
        ("cluster.log_age", "'1h'", "'90days'", "'59m'", "'91days'"),
        ("cluster.log_bytes", "67108864", "1125899906842624", "67108863", "1125899906842625"),
        ("cluster.kept_bytes", "1048576", "1125899906842624", "1048575", "1125899906842625"),
    ] {
        // A full batch must fit into the least queue.
        let taken = |text| parse(&format!("limits.batch_events = 1\n\n{name} = {text}\n"));
        assert!(taken(least).is_ok(), "{name} = {least}");
        assert!(taken(most).is_ok(), "{name} = {most}");
        for text in [below, above] {
            let message = message(taken(text));
            assert!(message.starts_with(&format!("config.toml:3: {name}: found ")), "{message}");
            assert!(message.contains(" from ") && message.contains(" to "), "{message}");
        }
    }
}

#[test]
fn amounts_are_read_with_their_units_wherever_they_are_given() {
    let text = "limits.body_bytes = \"1.5MiB\"\nretention.age = \"1 week\"\n\
                retention.bytes = \"10GB\"\nlimits.drain = \"0.5 min\"\n\
                store.registry_calls = 1_000_000\n";
    let config = parse(text).unwrap();
    assert_eq!((config.limits.body_bytes, config.retention.bytes), (1_572_864, 10_000_000_000));
    assert_eq!(config.retention.age, Some(Duration::from_hours(7 * 24)));
    assert_eq!(config.limits.drain, Duration::from_secs(30));
    let flags = [
        "serve",
        "--limits-body-bytes=1.5MiB",
        "--retention-age=1 week",
        "--retention-bytes=10GB",
        "--limits-drain=0.5 min",
        "--store-registry-calls=1_000_000",
    ];
    assert_eq!(load(&flags, &[]).unwrap(), config);
    let vars = [
        ("ROLLCALL_LIMITS_BODY_BYTES", "1.5 mib"),
        ("ROLLCALL_RETENTION_AGE", "7D"),
        ("ROLLCALL_RETENTION_BYTES", "10_000_000_000"),
        ("ROLLCALL_LIMITS_DRAIN", "30s"),
        ("ROLLCALL_STORE_REGISTRY_CALLS", "1000000"),
    ];
    assert_eq!(load(&["status"], &vars).unwrap(), config);
}

#[test]
fn durations_are_written_as_people_would() {
    for text in ["1m", "12h 30m", "1day", "31days", "364days 23h 59m 59s 999ms"] {
        let config = parse(&format!("calls.max_lifetime = '{text}'")).unwrap();
        let written = rendered(&config)["calls"]["max_lifetime"].clone();
        assert_eq!(written.as_str(), Some(text));
    }
}

#[test]
fn empty_texts_switch_off() {
    let config =
        parse("hooks.service_url = \"\"\ncors.allow_origin = \"\"\nhttp.listen = \"\"").unwrap();
    assert_eq!((config.hooks.service_url, config.cors.allow_origin), (None, None));
    assert_eq!(config.http.listen, None);
    assert_eq!(config.calls.max_lifetime, Duration::from_hours(12));
}

fn refused(text: &str) -> String {
    let parsed = Config::parse(Path::new("c.toml"), text, &Settings::default());
    parsed.expect_err(text).to_string()
}

#[test]
fn a_wrong_value_is_refused_in_plain_words() {
    for (text, expected) in [
        ("listen = 5", "c.toml:1: listen: found 5, expected a text in quotes"),
        ("listen = 2026-01-01", "listen: found 2026-01-01, expected a text in quotes"),
        ("listen = {a = 1}", "listen: found a table, expected a text in quotes"),
        ("tls.cert = [1]", "tls.cert: found a list, expected a text in quotes"),
        ("tls.names = \"a\"", "tls.names: found \"a\", expected a list, such as [\"a\", \"b\"]"),
        ("tls.names = [5]", "tls.names: found 5, expected a text in quotes"),
        ("proxy_protocol = \"yes\"", "found \"yes\", expected true or false"),
        ("proxy_protocol = 1.5", "found 1.5, expected true or false"),
        ("limits.idle = true", "limits.idle: found true, expected a duration from 1ms to"),
        ("limits.idle = \"5\"", "limits.idle: found \"5\": it lacks a unit; expected a duration"),
        ("log.level = 5", "log.level: found 5, expected a text in quotes"),
        ("log.level = \"loud\"", "found \"loud\", expected error, warn, info, debug or trace"),
        ("log.numbers = \"x\"", "log.numbers: found \"x\", expected mask or full"),
        (
            "metrics.accounts = [\"a\"]",
            "metrics.accounts: found \"a\": not a UUID in its hyphenated",
        ),
        ("listen = 0.0.0.0:1", "c.toml:1: not TOML: this is neither a number, true or false"),
        ("log.level = info", "texts need quotes, such as \"90days\""),
        ("retention.age = 90d", "texts need quotes, such as \"90days\""),
        ("listen = \"a", "it lacks the quote at its end"),
        ("[log]\n[log]", "c.toml:2: not TOML: this key or section stands here a second time"),
        ("limits.foo = 1", "; the keys of [limits] are connections, body_bytes, "),
        ("foo = 1", "; the keys before the first section are data_dir, listen, "),
        ("foo.a = 1", "unknown section [foo]; the sections are tls, http, "),
    ] {
        let message = refused(text);
        assert!(message.contains(expected), "{message}\n{expected}");
        for word in ["invalid", "variant", "sequence", "boolean", "string", "float", "map"] {
            assert!(!message.contains(word), "{word}: {message}");
        }
    }
}

#[test]
fn a_password_is_in_no_error_wherever_it_is_given() {
    let secret = "redis://mirror:hunter2@10.0.0.5";
    let refused = [
        message(parse(&format!("[mirror.redis]\nurl = \"{secret}\""))),
        message(load(&["serve", "--mirror-redis-url", secret], &[])),
        message(load(&["status"], &[("ROLLCALL_MIRROR_REDIS_URL", secret)])),
    ];
    for error in refused {
        assert!(error.contains("mirror.redis.password_file"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let secret = "tls://mirror:hunter2@10.0.0.5";
    let refused = [
        message(parse(&format!("[cluster]\nservers = [\"{secret}\"]"))),
        message(load(&["serve", "--cluster-servers", secret], &[])),
        message(load(&["status"], &[("ROLLCALL_CLUSTER_SERVERS", secret)])),
    ];
    for error in refused {
        assert!(error.contains("cluster.password_file"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn no_control_character_of_a_file_stands_in_an_error() {
    let evil = "a\\n\\u001b[31m\\tb";
    for (text, quoted) in [
        (format!("listen = \"{evil}\""), "a\\n\\u{1b}[31m\\tb"),
        (format!("http.listen = \"{evil}:1\""), "a\\n"),
        (format!("\"{evil}\" = 5"), "a\\n"),
        (format!("[\"{evil}\"]\nx = 5"), "a\\n"),
        (format!("[log]\n\"{evil}\" = 5"), "a\\n"),
        (format!("log.level = \"{evil}\""), "a\\n"),
        (format!("limits.idle = \"{evil}\""), "a\\n"),
        (format!("retention.bytes = \"{evil}\""), "a\\n"),
        (format!("proxy_protocol = \"{evil}\""), "a\\n"),
        (format!("tls.names = [\"{evil}\"]"), "a\\n"),
        (format!("http.trusted_proxies = [\"{evil}\"]"), "a\\n"),
        (format!("feature_servers.networks = [\"{evil}\"]"), "a\\n"),
        (format!("feature_servers.urls = [\"{evil}\"]"), "a\\n"),
        (format!("hooks.service_url = \"{evil}\""), "a\\n"),
        (format!("cors.allow_origin = \"{evil}\""), "a\\n"),
        (format!("metrics.accounts = [\"{evil}\"]"), "a\\n"),
        (format!("cluster.name = \"{evil}\""), "a\\n"),
        (format!("cluster.servers = [\"{evil}\"]"), "a\\n"),
        (format!("cluster.user = \"{evil}\""), "a\\n"),
        ("x = [\n1,\n\u{1}".to_owned(), "c.toml"),
    ] {
        let message = refused(&text);
        assert!(!message.contains(char::is_control), "{message:?}");
        assert!(message.contains(quoted), "{message}");
    }
}
