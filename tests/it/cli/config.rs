//! Where the configuration comes from, and what is said of a wrong one.

use std::process::Command;

use super::super::harness::{Printed, ROLLCALL, Rollcall, have, print, skip, until};

fn bare(args: &[&str], vars: &[(&str, &str)], dir: &std::path::Path) -> Printed {
    let mut command = Command::new(ROLLCALL);
    command.args(args).envs(vars.iter().copied()).current_dir(dir);
    print(&mut command, b"")
}

/// Arguments, and variables.
type Way<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// A section that lacks nothing.
const CLUSTER: &str = "[cluster]\nname = \"a\"\nnode = \"b\"\nservers = [\"tls://c\"]\n";

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
        (&["--data-dir", data, "check"], &[]),
        (&["check", "--data-dir", data], &[]),
        (&["--config", file, "check"], &[]),
        (&["check", "--config", file], &[]),
        (&["token", "--config", file, "list"], &[]),
        (&["check"], &[("ROLLCALL_CONFIG", file)]),
        (&["check"], &[("ROLLCALL_DATA_DIR", data)]),
        (&["check", "--data-dir", data], &[("ROLLCALL_DATA_DIR", "/nonexistent")]),
    ];
    for (args, vars) in ways {
        let printed = bare(args, vars, dir);
        assert_eq!(printed.code, Some(0), "{args:?} {vars:?}: {printed:?}");
    }
    let printed = bare(&["status"], &[], dir);
    assert_eq!(printed.code, Some(1));
    assert!(
        printed.stderr.contains("there is no store in rollcall-data, which does not exist;"),
        "{printed:?}"
    );
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
            ("value.toml", &["value.toml:2", "segment_bytes", "1MiB to 4GiB"]),
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

/// A command in a mount namespace of its own whose `/etc` has nothing but a configuration file.
fn with_default(text: &str, rollcall: &Rollcall) -> Command {
    let file = rollcall.dir.path().join("default.toml");
    std::fs::write(&file, text).unwrap();
    let script = "mount -t tmpfs none /etc && mkdir /etc/rollcall && \
                  cp \"$1\" /etc/rollcall/rollcall.toml && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(file).arg(ROLLCALL);
    command.env_remove("ROLLCALL_CONFIG").current_dir(rollcall.dir.path());
    command
}

#[test]
fn what_is_installed_is_found_without_a_flag_and_a_demonstration_leaves_it_alone() {
    if !rustix::process::geteuid().is_root() || !have("unshare") {
        skip("only root may mount a configuration file over that of the machine");
        return;
    }
    let mut rollcall = Rollcall::up(&[]);
    let installed = format!("data_dir = {:?}\n", rollcall.data());
    let status = |text: &str, args: &[&str], vars: &[(&str, &str)]| {
        let mut command = with_default(text, &rollcall);
        print(command.args(args).envs(vars.iter().copied()), b"")
    };
    let printed = status(&installed, &["status"], &[]);
    assert!(printed.stdout.starts_with("server           running"), "{printed:?}");
    let wrong = "data_dir = \"x\"\nlisten = 8443\n";
    let printed = status(wrong, &["status"], &[]);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("/etc/rollcall/rollcall.toml:2: listen: "), "{printed:?}");
    // A command that names another has that one, or none.
    let data = rollcall.data().to_str().unwrap().to_owned();
    let none = [("ROLLCALL_CONFIG", ""), ("ROLLCALL_DATA_DIR", &data)];
    assert_eq!(status(wrong, &["status"], &none).code, Some(0));
    let other = rollcall.dir.path().join("other.toml");
    std::fs::write(&other, &installed).unwrap();
    let named = ["status", "--config", other.to_str().unwrap()];
    assert_eq!(status(wrong, &named, &[]).code, Some(0));
    assert_eq!(rollcall.stop(), Some(0));
    // It would not start if it read this.
    let mut command = with_default(wrong, &rollcall);
    command.args(["serve", "--demo", "--listen", "127.0.0.1:0", "--data-dir"]);
    command.arg(rollcall.dir.path().join("demo"));
    rollcall.start_with(command);
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_service_of_kubernetes_does_not_keep_the_server_from_starting() {
    let mut rollcall = Rollcall::down();
    let mut command = rollcall.serve_command();
    let variables = [
        ("ROLLCALL_SERVICE_HOST", "10.96.0.7"),
        ("ROLLCALL_SERVICE_PORT", "8443"),
        ("ROLLCALL_SERVICE_PORT_HTTPS", "8443"),
        ("ROLLCALL_PORT", "tcp://10.96.0.7:8443"),
        ("ROLLCALL_PORT_8443_TCP", "tcp://10.96.0.7:8443"),
        ("ROLLCALL_PORT_8443_TCP_PROTO", "tcp"),
        ("ROLLCALL_API_PORT_8443_TCP_ADDR", "10.96.0.8"),
    ];
    // Where one looks at the configuration it is said, too.
    let mut check = Command::new(ROLLCALL);
    check.args(["config", "check", "--data-dir"]).arg(rollcall.data()).envs(variables);
    let checked = print(&mut check, b"");
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains("ROLLCALL_PORT_8443_TCP_PROTO, "), "{checked:?}");
    command.envs(variables);
    rollcall.start_with(command);
    let log = rollcall.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("Kubernetes")).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains("ROLLCALL_PORT_8443_TCP_PROTO"), "{log}");
    assert_eq!(rollcall.stop(), Some(0));
    let mut command = rollcall.serve_command();
    command.env("ROLLCALL_PORT", "8443");
    let refused = print(&mut command, b"");
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("`ROLLCALL_PORT`"), "{refused:?}");
}

/// Listeners, and what is said where two of them cannot be had at once.
const LISTENERS: [(&str, &str, &str, bool); 12] = [
    ("127.0.0.1:8443", "127.0.0.1:8443", "", false),
    ("0.0.0.0:8443", "127.0.0.1:8443", "", false),
    ("127.0.0.1:8443", "localhost:8443", "", false),
    ("[::]:8443", "127.0.0.1:8443", "", false),
    ("[::]:8443", "[::1]:8443", "", false),
    ("0.0.0.0:8443", "", "127.0.0.1:8443", false),
    ("127.0.0.1:8443", "127.0.0.1:8080", "127.0.0.1:8080", false),
    ("0.0.0.0:8443", "[::1]:8443", "", true),
    ("10.0.0.1:8443", "127.0.0.1:8443", "", true),
    ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", true),
    ("127.0.0.1:8443", "127.0.0.1:8080", "127.0.0.1:9100", true),
    ("0.0.0.0:8443", "", "", true),
];

#[test]
fn two_listeners_of_one_address_are_refused_before_one_of_them_is_in_use() {
    let rollcall = Rollcall::down();
    let dir = rollcall.dir.path();
    for (https, http, metrics, right) in LISTENERS {
        let text = format!(
            "listen = {https:?}\n[http]\nlisten = {http:?}\n[metrics]\nlisten = {metrics:?}\n"
        );
        std::fs::write(dir.join("c.toml"), &text).unwrap();
        let printed = bare(&["config", "check", "--config", "c.toml"], &[], dir);
        assert_eq!(printed.code, Some(if right { 0 } else { 2 }), "{text}: {printed:?}");
        if !right {
            assert!(printed.stderr.contains("listen is `"), "{printed:?}");
            assert!(printed.stderr.contains("c.toml:"), "{printed:?}");
        }
    }
}

#[test]
fn what_a_configuration_names_is_opened() {
    let rollcall = Rollcall::up(&[]);
    let dir = rollcall.dir.path();
    let tls = rollcall.data().join("tls");
    let pem = std::fs::read_to_string(tls.join("server.pem")).unwrap();
    let (cut, key) = (pem.find("-----BEGIN CERT").unwrap(), "-----BEGIN PRIVATE KEY");
    let key = pem[pem.find(key).unwrap()..].split_inclusive("KEY-----\n").take(2);
    std::fs::write(dir.join("key.pem"), key.collect::<String>()).unwrap();
    std::fs::write(dir.join("cert.pem"), &pem[cut..]).unwrap();
    std::fs::write(dir.join("text"), "nothing\n").unwrap();
    std::fs::create_dir(dir.join("dir")).unwrap();
    let check = |text: &str, json: bool| {
        std::fs::write(dir.join("c.toml"), text).unwrap();
        let args = ["config", "check", "--config", "c.toml", "--json"];
        bare(if json { &args } else { &args[..4] }, &[], dir)
    };
    let own = "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
    let right = format!("data_dir = \"new\"\n[log]\naudit = \"dir/audit.log\"\n{own}");
    let printed = check(&right, false);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    assert!(printed.stderr.contains("calls are kept for good"), "{printed:?}");
    for (text, key, said) in [
        (&*own.replace("cert.pem", "none.pem"), "tls.cert", "none.pem: No such file"),
        (&own.replace("key.pem", "none.pem"), "tls.key", "none.pem: No such file"),
        (&own.replace("cert.pem", "text"), "tls", "no certificate in"),
        (&own.replace("key.pem", "text"), "tls", "no private key in"),
        (
            &format!("{own}client_auth = \"required\"\nclient_ca = \"none.pem\"\n"),
            "tls.client_ca",
            "none.pem: No such file",
        ),
        ("[upstream]\nca = \"none.pem\"\n", "upstream.ca", "none.pem"),
        (
            "[mirror.redis]\nurl = \"redis://a\"\npassword_file = \"none\"\n",
            "mirror.redis.password_file",
            "cannot read none",
        ),
        (
            "[mirror.redis]\nurl = \"rediss://a\"\nca = \"none.pem\"\n",
            "mirror.redis.ca",
            "cannot read none.pem",
        ),
        (
            &format!("{CLUSTER}user = \"a\"\npassword_file = \"none\"\n"),
            "cluster.password_file",
            "cannot read none",
        ),
        (&format!("{CLUSTER}ca = \"none.pem\"\n"), "cluster.ca", "cannot read none.pem"),
        ("[log]\naudit = \"nowhere/audit.log\"\n", "log.audit", "nowhere: No such file"),
        ("[log]\naudit = \"dir\"\n", "log.audit", "dir: Is a directory"),
        ("data_dir = \"text\"\n", "data_dir", "text is no directory"),
        ("admin_socket = \"nowhere/admin.sock\"\n", "admin_socket", "nowhere/admin.sock"),
        (&format!("admin_socket = \"{}\"\n", "x".repeat(200)), "admin_socket", "107 at most"),
    ] {
        let printed = check(text, false);
        assert_eq!(printed.code, Some(1), "{text}: {printed:?}");
        let line = printed.stderr.lines().find(|line| line.contains(&format!(" {key}: ")));
        assert!(line.is_some_and(|line| line.contains(said)), "{text}: {printed:?}");
        // Where it was given, and what would be right.
        let line = line.unwrap();
        assert!(line.starts_with("c.toml:"), "{line}");
        assert!(key == "tls" || line.contains("; name "), "{line}");
        let printed = check(text, true);
        assert_eq!((printed.code, printed.stderr.as_str()), (Some(1), ""), "{printed:?}");
        let value: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
        assert_eq!(value["problems"][0]["key"], key, "{value}");
    }
    // All that is wrong, each with its line.
    let both = own.replace("cert.pem", "none.pem").replace("key.pem", "gone.pem");
    let printed = check(&format!("data_dir = \"text\"\n{both}[log]\naudit = \"dir\"\n"), false);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    for says in [
        "c.toml:1: data_dir: text is no directory; name",
        "c.toml:3: tls.cert: cannot read none.pem",
        "c.toml:4: tls.key: cannot read gone.pem",
        "c.toml:6: log.audit: cannot write dir",
    ] {
        assert!(printed.stderr.contains(says), "{says}: {printed:?}");
    }
    // Also where there are errors of another kind; what they leave at its default is not judged.
    let printed = check(&format!("liste = \"x\"\n{both}names = [5]\n"), false);
    assert_eq!((printed.code, printed.stdout.as_str()), (Some(2), ""), "{printed:?}");
    for says in [
        "the configuration has 4 errors:",
        "\nc.toml:1: unknown key `liste`; did you mean `listen`?",
        "\nc.toml:5: tls.names: ",
        "\nc.toml:3: tls.cert: cannot read none.pem",
        "\nc.toml:4: tls.key: cannot read gone.pem",
    ] {
        assert!(printed.stderr.contains(says), "{says}: {printed:?}");
    }
    let printed = check("[limits]\ndrain = \"3s\"\n", true);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let value: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!((&value["limits"]["drain"], &value["file"]), (&"3s".into(), &"c.toml".into()));
    assert_eq!(value["problems"], serde_json::json!([]));
    assert!(value["says"][0].as_str().unwrap().contains("kept for good"), "{value}");
    // Nothing was made.
    for name in ["new", "dir/audit.log", "nowhere", "rollcall-data"] {
        assert!(!dir.join(name).exists(), "{name}");
    }
}

#[test]
fn a_reload_says_which_keys_need_a_restart() {
    let mut rollcall = Rollcall::down();
    let file = rollcall.dir.path().join("c.toml");
    std::fs::write(&file, "[limits]\ndrain = \"3s\"\n").unwrap();
    rollcall.set_args(&["--config", file.to_str().unwrap(), "--list-window", "1h"]);
    rollcall.start();
    let told = |text: &str, what: &str| {
        let before = rollcall.log().len();
        std::fs::write(&file, text).unwrap();
        rollcall.signal("HUP");
        until(what, || rollcall.log()[before..].contains(what).then_some(()));
        rollcall.log()[before..].to_owned()
    };
    told("[limits]\ndrain = \"3s\"\n", "the configuration is the one that the server runs with");
    // The flag wins over the file, so that the window is as it was.
    let text = "[limits]\ndrain = \"4s\"\n[list]\nwindow = \"2h\"\n[retention]\nage = \"90days\"\n";
    let said = told(text, "need a restart");
    assert!(said.contains("limits.drain retention.age"), "{said}");
    assert!(!said.contains("list.window"), "{said}");
    let said = told("[limits]\ndrain = 4\n", "cannot be read again");
    assert!(said.contains("c.toml:2: limits.drain"), "{said}");
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_configuration_is_checked_with_the_flags_of_the_server() {
    let rollcall = Rollcall::down();
    let dir = rollcall.dir.path();
    let flags = ["--listen", "0.0.0.0:9443", "--retention-age", "90d", "--tls-names", "a,b"];
    let printed = bare(&[&["config", "check"][..], &flags].concat(), &[], dir);
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let table: toml::Table = printed.stdout.parse().unwrap();
    assert_eq!(table["listen"].as_str(), Some("0.0.0.0:9443"));
    assert_eq!(table["retention"]["age"].as_str(), Some("90days"));
    assert_eq!(table["tls"]["names"].as_array().map(Vec::len), Some(2));
    let printed = bare(&["config", "check", "--listen", ":8443"], &[], dir);
    assert_eq!(printed.code, Some(2), "{printed:?}");
    assert!(printed.stderr.contains("--listen: `:8443` has no host"), "{printed:?}");
    assert!(printed.stderr.contains("0.0.0.0:8443"), "{printed:?}");
}
