//! TLS, and sentinels.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::super::harness::{A1, ROLLCALL, Rollcall, print, sid, until};
use super::redis::{
    Client, Redis, call_with, free_port, mirror_is, now, path_in, state_of, states,
};

/// An authority, a certificate of it for the server, and one for a client, as files.
fn certificates(dir: &Path) {
    let write = |name: &str, text: String| fs::write(dir.join(name), text).unwrap();
    for (authority, leaves) in [("ca", &["server", "client"][..]), ("other", &["stranger"])] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, authority);
        write(&format!("{authority}.pem"), params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for leaf in leaves {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            write(&format!("{leaf}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{leaf}.key"), key.serialize_pem());
        }
    }
}

#[test]
fn tls_is_spoken_with_its_authority_and_a_client_certificate_and_with_nothing_less() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let [ca, server, server_key] =
        ["ca.pem", "server.pem", "server.key"].map(|f| path_in(dir.path(), f));
    let port = free_port().to_string();
    let args = [
        "--tls-port",
        &port,
        "--tls-cert-file",
        &server,
        "--tls-key-file",
        &server_key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ];
    let Some(redis) = Redis::up(&args) else { return };
    let url = format!("rediss://localhost:{port}");
    let [cert, key] = ["client.pem", "client.key"].map(|file| path_in(dir.path(), file));
    let mut flags = vec!["--mirror-redis-url", &url, "--mirror-redis-ca", &ca];
    flags.extend(["--mirror-redis-cert", &cert, "--mirror-redis-key", &key]);
    let rollcall = Rollcall::up(&flags);
    mirror_is(&rollcall, "it tracks", |mirror| mirror["mode"] == "tracking");
    redis.client().write(&state_of(A1, 1, &states()[0]), now());
    call_with(&rollcall, A1, &sid(1), "trying");
    // Another authority; another name; no certificate; one that the server does not trust.
    let [other, stranger, stranger_key] =
        ["other.pem", "stranger.pem", "stranger.key"].map(|file| path_in(dir.path(), file));
    let address = format!("rediss://127.0.0.1:{port}");
    for (url, ca, identity, says) in [
        (&url, &other, Some((&cert, &key)), "invalid peer certificate: UnknownIssuer"),
        (&address, &ca, Some((&cert, &key)), "not valid for name"),
        (&url, &ca, None, "the connection to localhost:"),
        (&url, &ca, Some((&stranger, &stranger_key)), "the connection to localhost:"),
    ] {
        let mut command = Command::new(ROLLCALL);
        command.args(["mirror", "check"]);
        command.env("ROLLCALL_MIRROR_REDIS_URL", url).env("ROLLCALL_MIRROR_REDIS_CA", ca);
        if let Some((cert, key)) = identity {
            command.env("ROLLCALL_MIRROR_REDIS_CERT", cert).env("ROLLCALL_MIRROR_REDIS_KEY", key);
        }
        let printed = print(&mut command, b"");
        assert_eq!(printed.code, Some(1), "{printed:?}");
        let error = printed.stdout.lines().find(|line| line.starts_with("error")).unwrap();
        assert!(error.contains(says), "{error}");
    }
    // A file that is not there is named before anything is connected to.
    let mut command = Command::new(ROLLCALL);
    command.args(["mirror", "check"]).env("ROLLCALL_MIRROR_REDIS_URL", &url);
    command.env("ROLLCALL_MIRROR_REDIS_CA", "/nowhere/ca.pem");
    let printed = print(&mut command, b"");
    assert!(
        printed.stdout.contains(
            "error    files: cannot read certificates from mirror.redis.ca /nowhere/ca.pem"
        ),
        "{printed:?}"
    );
}

struct Sentinel {
    child: Child,
    port: u16,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Sentinel {
    /// One that watches `primary`.
    fn up(dir: &Path, primary: u16, more: &str) -> Self {
        let port = free_port();
        let config = dir.join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {}\nsentinel monitor The_primary 127.0.0.1 {primary} 1\n{more}",
            dir.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("redis-server");
        command.arg(&config).arg("--sentinel").stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().unwrap();
        let sentinel = Self { child, port };
        until("the sentinel listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        sentinel
    }
}

#[test]
fn the_primary_is_where_the_sentinels_say_also_when_it_has_moved() {
    let (Some(mut first), Some(second)) = (Redis::up(&[]), Redis::up(&[])) else { return };
    let dir = tempfile::tempdir().unwrap();
    let sentinel = Sentinel::up(dir.path(), first.port, "");
    // One of the sentinels is down.
    let sentinels = format!("127.0.0.1:{},127.0.0.1:{}", free_port(), sentinel.port);
    let url = "redis://The_primary";
    let flags = ["--mirror-redis-url", url, "--mirror-redis-sentinels", &sentinels];
    let rollcall = Rollcall::up(&flags);
    mirror_is(&rollcall, "it tracks", |mirror| mirror["mode"] == "tracking");
    first.client().write(&state_of(A1, 1, &states()[0]), now());
    call_with(&rollcall, A1, &sid(1), "trying");
    second.client().write(&state_of(A1, 2, &states()[7]), now());
    let mut client = Client::new(sentinel.port);
    client.ok(&["SENTINEL", "REMOVE", "The_primary"]);
    client.ok(&["SENTINEL", "MONITOR", "The_primary", "127.0.0.1", &second.port.to_string(), "1"]);
    first.stop();
    call_with(&rollcall, A1, &sid(2), "completed");
    second.client().write(&state_of(A1, 3, &states()[0]), now());
    call_with(&rollcall, A1, &sid(3), "trying");
    // A name that no sentinel knows.
    let mut command = Command::new(ROLLCALL);
    command.args(["mirror", "check"]).env("ROLLCALL_MIRROR_REDIS_URL", "redis://the_primary");
    command.env("ROLLCALL_MIRROR_REDIS_SENTINELS", &sentinels);
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(1), "{printed:?}");
    let says =
        "error    sentinels: no sentinel says where the_primary is; cannot connect to 127.0.0.1:";
    assert!(printed.stdout.contains(says), "{printed:?}");
    assert!(printed.stdout.contains("knows no primary of the name \"the_primary\""), "{printed:?}");
}

#[test]
fn sentinels_have_a_password_and_users_of_their_own() {
    let Some(redis) = Redis::up(&["--requirepass", "of the primary"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let more = "sentinel auth-pass The_primary \"of the primary\"\nrequirepass everybody\n\
                user watcher on >watching -@all +sentinel|get-master-addr-by-name\n";
    let sentinel = Sentinel::up(dir.path(), redis.port, more);
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        path_in(dir.path(), name)
    };
    let own = file("own", "of the primary\n");
    let sentinels = format!("127.0.0.1:{}", sentinel.port);
    let check = |variables: &[(&str, &str)]| {
        let mut command = Command::new(ROLLCALL);
        command.args(["mirror", "check"]).env("ROLLCALL_MIRROR_REDIS_URL", "redis://The_primary");
        command.env("ROLLCALL_MIRROR_REDIS_SENTINELS", &sentinels);
        command.env("ROLLCALL_MIRROR_REDIS_PASSWORD_FILE", &own);
        for (key, value) in variables {
            command.env(format!("ROLLCALL_MIRROR_REDIS_{key}"), value);
        }
        print(&mut command, b"")
    };
    let (password, user) = ("SENTINEL_PASSWORD_FILE", "SENTINEL_USER");
    let [everybody, watching, wrong] =
        ["everybody", "watching", "hunter2"].map(|text| file(text, text));
    for (variables, code, says) in [
        (
            &[][..],
            1,
            "wants a password; name the file with it in mirror.redis.sentinel_password_file",
        ),
        (&[(password, &*wrong)], 1, "refuses the login as default: WRONGPASS"),
        (&[(password, &wrong), (user, "watcher")], 1, "refuses the login as watcher: WRONGPASS"),
        (&[(password, &everybody)], 0, "ok       sentinels: The_primary is at 127.0.0.1:"),
        (&[(password, &watching), (user, "watcher")], 0, "ok       calls: 0 calls"),
        (&[(password, "/nowhere")], 1, "cannot read mirror.redis.sentinel_password_file /nowhere"),
    ] {
        let printed = check(variables);
        assert_eq!(printed.code, Some(code), "{printed:?}");
        assert!(printed.stdout.contains(says), "{says}: {printed:?}");
        assert!(!printed.stdout.contains("hunter2"), "{printed:?}");
    }
    let mut flags = vec!["--mirror-redis-url", "redis://The_primary"];
    flags.extend(["--mirror-redis-sentinels", &sentinels, "--mirror-redis-password-file", &own]);
    flags.extend(["--mirror-redis-sentinel-user", "watcher"]);
    flags.extend(["--mirror-redis-sentinel-password-file", &watching]);
    let rollcall = Rollcall::up(&flags);
    mirror_is(&rollcall, "it tracks", |mirror| mirror["mode"] == "tracking");
    let mut client = redis.client();
    client.ok(&["AUTH", "of the primary"]);
    client.write(&state_of(A1, 1, &states()[0]), now());
    call_with(&rollcall, A1, &sid(1), "trying");
}
