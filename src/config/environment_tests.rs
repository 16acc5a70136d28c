//! Where a configuration is looked for, and what of the environment is none.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::{Config, ConfigError, Locations, Settings};

fn load_vars(
    vars: impl IntoIterator<Item = (OsString, OsString)>,
    default: Option<&Path>,
) -> Result<Config, ConfigError> {
    let loaded = Locations::default().load(&Settings::default(), vars, default);
    loaded.map(|loaded| loaded.config)
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("this configuration must be refused").to_string()
}

#[test]
fn the_default_file_is_read_where_it_is_there_and_no_other_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rollcall.toml");
    let other = dir.path().join("other.toml");
    fs::write(&other, "data_dir = \"other\"\n").unwrap();
    let var = |value: &Path| vec![(OsString::from("ROLLCALL_CONFIG"), value.into())];
    let data_dir = |vars: Vec<_>| load_vars(vars, Some(&path)).map(|config| config.data_dir);
    assert_eq!(data_dir(Vec::new()).unwrap(), Path::new("rollcall-data"), "there is none");
    fs::write(&path, "data_dir = \"default\"\n").unwrap();
    assert_eq!(data_dir(Vec::new()).unwrap(), Path::new("default"));
    assert_eq!(data_dir(var(&other)).unwrap(), Path::new("other"));
    assert_eq!(data_dir(var(Path::new(""))).unwrap(), Path::new("rollcall-data"));
    assert_eq!(load_vars(Vec::new(), None).unwrap().data_dir, Path::new("rollcall-data"));
    // One that is there and cannot be read is not passed over.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap();
    let refused = message(load_vars(Vec::new(), Some(&path)));
    assert!(refused.contains("rollcall.toml`, which is the default one; run this"), "{refused}");
    assert!(data_dir(var(&other)).is_ok());
}

#[test]
fn what_kubernetes_sets_for_services_is_passed_over_and_a_misspelt_key_is_not() {
    let service = |name: &str| {
        [
            ("_SERVICE_HOST", "10.96.0.7"),
            ("_SERVICE_PORT", "8443"),
            ("_SERVICE_PORT_HTTPS", "8443"),
            ("_SERVICE_PORT_EVENTS_IN", "8080"),
            ("_PORT", "tcp://10.96.0.7:8443"),
            ("_PORT_8443_TCP", "tcp://10.96.0.7:8443"),
            ("_PORT_8443_TCP_PROTO", "tcp"),
            ("_PORT_8443_TCP_PORT", "8443"),
            ("_PORT_8443_TCP_ADDR", "10.96.0.7"),
            ("_PORT_53_UDP", "udp://[fd00::7]:53"),
            ("_PORT_53_UDP_PROTO", "udp"),
            ("_PORT_53_UDP_ADDR", "fd00::7"),
        ]
        .map(|(end, value)| (format!("{name}{end}"), value))
    };
    for name in ["ROLLCALL", "ROLLCALL_API", "ROLLCALL_METRICS_2"] {
        let vars = service(name);
        let read = |vars: &[(String, &str)]| {
            let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
            Locations::default().load(&Settings::default(), vars, None)
        };
        let loaded = read(&vars).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.passed_over.len(), vars.len());
        // Each by itself, and none with a value of another kind.
        for (name, value) in vars {
            assert_eq!(read(&[(name.clone(), value)]).unwrap().passed_over, [name.as_str()]);
            for other in ["yes", "", "0.0.0.0:8443", "-1"] {
                let refused = message(read(&[(name.clone(), other)]).map(|loaded| loaded.config));
                assert!(refused.starts_with(&format!("unknown environment variable `{name}`")));
            }
        }
    }
    for (name, value) in [
        ("ROLLCALL_HTTP_PORT", "8080"),
        ("ROLLCALL_PORT", "8443"),
        ("ROLLCALL_HOST", "10.0.0.1"),
        ("ROLLCALL_LISTEN_PORT_8443", "tcp://10.0.0.1:8443"),
        ("ROLLCALL_PORT_8443_TCP_NAME", "x"),
        ("ROLLCALL_LISTN", "10.0.0.1:8443"),
    ] {
        let vars = [(OsString::from(name), OsString::from(value))];
        let refused = message(load_vars(vars, None));
        assert!(
            refused.starts_with(&format!("unknown environment variable `{name}`")),
            "{refused}"
        );
    }
}
