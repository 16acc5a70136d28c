//! Where the configuration comes from, and what is said of a wrong one.

use std::process::Command;

use super::super::harness::{Printed, ROLLCALL, Rollcall, print};

fn bare(args: &[&str], vars: &[(&str, &str)], dir: &std::path::Path) -> Printed {
    let mut command = Command::new(ROLLCALL);
    command.args(args).envs(vars.iter().copied()).current_dir(dir);
    print(&mut command, b"")
}

/// Arguments, and variables.
type Way<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

#[test]
fn config_and_data_dir_are_understood_before_and_after_the_command() {
    let mut rollcall = Rollcall::up(&[]);
    assert_eq!(rollcall.stop(), Some(0));
    let dir = rollcall.dir.path();
    let data = rollcall.data().to_str().unwrap();
    let file = dir.join("rollcall.toml");
    std::fs::write(&file, format!("data_dir = {data:?}\n")).unwrap();
    let file = file.to_str().unwrap();
    let ways: [Way<'_>; 8] = [
        (&["--data-dir", data, "status"], &[]),
        (&["status", "--data-dir", data], &[]),
        (&["--config", file, "status"], &[]),
        (&["status", "--config", file], &[]),
        (&["token", "--config", file, "list"], &[]),
        (&["status"], &[("ROLLCALL_CONFIG", file)]),
        (&["status"], &[("ROLLCALL_DATA_DIR", data)]),
        (&["status", "--data-dir", data], &[("ROLLCALL_DATA_DIR", "/nonexistent")]),
    ];
    for (args, vars) in ways {
        let printed = bare(args, vars, dir);
        assert_eq!(printed.code, Some(0), "{args:?} {vars:?}: {printed:?}");
    }
    let printed = bare(&["status"], &[], dir);
    assert_eq!(printed.code, Some(1));
    assert!(printed.stderr.contains("at rollcall-data;"), "{printed:?}");
}

#[test]
fn a_wrong_configuration_is_refused_by_file_and_line_whatever_the_command() {
    let rollcall = Rollcall::down();
    let dir = rollcall.dir.path();
    std::fs::write(dir.join("bad.toml"), "listen = \"127.0.0.1:0\"\n\n[limits]\nbodybytes = 1\n")
        .unwrap();
    std::fs::write(dir.join("value.toml"), "[store]\nsegment_bytes = 1\n").unwrap();
    for command in [&["serve"][..], &["status"], &["import"], &["config", "check"]] {
        for (file, said) in [
            ("bad.toml", &["bad.toml:4", "`bodybytes`", "`body_bytes`"][..]),
            ("value.toml", &["value.toml:2", "segment_bytes", "1048576"]),
            ("none.toml", &["none.toml", "No such file"]),
        ] {
            let printed = bare(&[command, &["--config", file]].concat(), &[], dir);
            assert_eq!((printed.code, printed.stdout.as_str()), (Some(2), ""), "{printed:?}");
            for part in said {
                assert!(printed.stderr.contains(part), "{part}: {printed:?}");
            }
        }
    }
    assert!(!dir.join("rollcall-data").exists());
}

#[test]
fn variables_set_keys_and_unknown_ones_are_refused() {
    let rollcall = Rollcall::down();
    let dir = rollcall.dir.path();
    let vars = [("ROLLCALL_LIMITS_DRAIN", "3s"), ("ROLLCALL_LOG_LEVEL", "debug")];
    let printed = bare(&["config", "check"], &vars, dir);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let table: toml::Table = printed.stdout.parse().unwrap();
    assert_eq!(table["limits"]["drain"].as_str(), Some("3s"));
    assert_eq!(table["log"]["level"].as_str(), Some("debug"));
    // What is printed is a configuration that comes to the same.
    std::fs::write(dir.join("again.toml"), &printed.stdout).unwrap();
    let again = bare(&["config", "check", "--config", "again.toml"], &[], dir);
    assert_eq!(again, printed);
    for (name, value, said) in [
        ("ROLLCALL_LOG_LEVLE", "debug", "ROLLCALL_LOG_LEVEL"),
        ("ROLLCALL_LOG_LEVEL", "loud", "loud"),
        ("ROLLCALL_STORE_REGISTRY_CALLS", "many", "many"),
    ] {
        let printed = bare(&["config", "check"], &[(name, value)], dir);
        assert_eq!((printed.code, printed.stdout.as_str()), (Some(2), ""), "{printed:?}");
        assert!(printed.stderr.contains(name) && printed.stderr.contains(said), "{printed:?}");
    }
}

#[test]
fn the_example_is_the_default() {
    let rollcall = Rollcall::down();
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/config.example.toml");
    let [one, two] = [&["config", "check", "--config", example][..], &["config", "check"]]
        .map(|args| bare(args, &[], rollcall.dir.path()));
    assert_eq!(one.code, Some(0), "{one:?}");
    assert_eq!(one, two);
}
