//! Certificates while the server is up: swapped, renewed, shown; and what TLS is spoken.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::super::api::raw::{Raw, tcp};
use super::super::harness::{Rollcall, have, print, until};
use super::exposition::Scraped;

/// An authority with its key, and certificates that it gives out, in a directory.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: PathBuf,
    dir: PathBuf,
}

impl Authority {
    pub fn new(dir: &Path, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = dir.join(format!("{name}.pem"));
        fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), pem, dir: dir.to_owned() }
    }

    /// A certificate for localhost that ends after so many days from now, and its key.
    pub fn give(&self, name: &str, days: u64) -> (PathBuf, PathBuf) {
        self.give_from(name, 0, days)
    }

    /// The same of one that begins only after so many days.
    pub fn give_from(&self, name: &str, after: u64, days: u64) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let now = rcgen::date_time_ymd(1970, 1, 1)
            + rollcall::clock::system_time().duration_since(std::time::UNIX_EPOCH).unwrap();
        params.not_before = now + std::time::Duration::from_secs(after * 86_400)
            - std::time::Duration::from_hours(2);
        // Not a whole day, so that the figure does not turn while the test runs.
        params.not_after = now + std::time::Duration::from_secs(days * 86_400 + 1800)
            - std::time::Duration::from_secs(3600 * u64::from(days == 0));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, secret) =
            (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")));
        fs::write(&chain, certificate.pem()).unwrap();
        fs::write(&secret, key.serialize_pem()).unwrap();
        (chain, secret)
    }
}

pub fn args(chain: &Path, key: &Path) -> [String; 4] {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    ["--tls-cert".to_owned(), text(chain), "--tls-key".to_owned(), text(key)]
}

fn up(rollcall: &mut Rollcall, trusted: &Path, args: &[String]) {
    rollcall.trust(trusted);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    rollcall.set_args(&args);
    rollcall.start();
}

/// The status of an answer on a connection that is open.
fn alive(open: &mut Raw) -> u16 {
    open.send("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n");
    open.reply().status
}

fn status(rollcall: &Rollcall) -> Value {
    serde_json::from_str(&rollcall.figures()).unwrap()
}

#[test]
fn a_reload_swaps_the_certificate_and_an_open_connection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let (chain, key) = authority.give("first", 20);
    let mut rollcall = Rollcall::down();
    let mut flags = args(&chain, &key).to_vec();
    flags.extend(["--metrics-listen", "127.0.0.1:0"].map(str::to_owned));
    up(&mut rollcall, &authority.pem, &flags);
    let ends = || {
        let url = format!("http://127.0.0.1:{}/metrics", rollcall.metrics_port);
        let text = ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap();
        Scraped::parse(&text).one("rollcall_tls_certificate_expiry_timestamp_seconds")
    };
    let at_first = ends();
    // Twenty days are said at the start.
    until("the warning", || rollcall.log().contains("is about to expire").then_some(()));
    let mut open = Raw::connect(&rollcall);
    let first = open.certificate();
    assert_eq!(alive(&mut open), 200);
    assert_eq!(status(&rollcall)["certificates_changed"], serde_json::json!([]));

    let (second, its_key) = authority.give("second", 90);
    fs::copy(&second, &chain).unwrap();
    fs::copy(&its_key, &key).unwrap();
    // A changed pair waits for the signal, and is named until then.
    let shown = status(&rollcall);
    let changed = shown["certificates_changed"].as_array().unwrap();
    assert_eq!(changed.len(), 2, "{shown}");
    let text = rollcall.status();
    assert!(text.contains("first.pem has changed since it was read; SIGHUP"), "{text}");
    assert_eq!(Raw::connect(&rollcall).certificate(), first);
    assert_eq!(shown["certificates"][0]["days_left"], 20, "{shown}");

    rollcall.signal("HUP");
    until("the new certificate", || (Raw::connect(&rollcall).certificate() != first).then_some(()));
    assert_eq!(alive(&mut open), 200);
    let shown = status(&rollcall);
    assert_eq!(shown["certificates"][0]["days_left"], 90, "{shown}");
    assert_eq!(shown["certificates"][0]["made"], false);
    assert_eq!(shown["certificates_changed"], serde_json::json!([]));
    // Alerts look at scrapes: they end with the reload.
    let days = (ends() - at_first) / 86_400.0;
    assert!((69.9..70.1).contains(&days), "{days}");

    // One that ends soon is named when it is taken up.
    let (third, its_key) = authority.give("third", 10);
    fs::copy(&third, &chain).unwrap();
    fs::copy(&its_key, &key).unwrap();
    rollcall.signal("HUP");
    until("the warning", || {
        let log = rollcall.log();
        let named = |line: &str| line.contains("is about to expire") && line.contains("third");
        log.lines().any(named).then_some(())
    });
    assert_eq!(rollcall.stop(), Some(0));
}

#[test]
fn a_made_certificate_is_renewed_by_a_command_while_the_server_is_up_and_while_it_is_down() {
    let mut rollcall = Rollcall::up(&["--tls-names", "calls.example.org"]);
    let mut open = Raw::connect(&rollcall);
    let first = open.certificate();
    let authority = fs::read(rollcall.ca()).unwrap();
    let said = rollcall.ok(&["cert", "renew"]);
    assert!(said.contains("new connections are served with it"), "{said}");
    let second = Raw::connect(&rollcall).certificate();
    assert_ne!(second, first);
    assert_eq!(alive(&mut open), 200);
    assert_eq!(fs::read(rollcall.ca()).unwrap(), authority);

    let said = rollcall.ok(&["cert", "renew", "--ca"]);
    assert!(said.contains("every client must trust it") && said.contains("tls/ca.pem"), "{said}");
    assert_ne!(fs::read(rollcall.ca()).unwrap(), authority);
    // A client that trusts the old authority alone is refused; one that has the new one is not.
    assert!(rollcall.new_agent().get(rollcall.url("/livez")).call().is_ok());
    let third = Raw::connect(&rollcall).certificate();
    assert_ne!(third, second);
    let mode = |name: &str| {
        let path = rollcall.data().join("tls").join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("server.pem"), mode("ca.key"), mode("ca.pem")), (0o600, 0o600, 0o644));

    let names = |shown: &str| {
        let shown: Value = serde_json::from_str(shown).unwrap();
        shown["certificates"].clone()
    };
    let running = names(&rollcall.ok(&["cert", "show", "--json"]));
    assert_eq!(running[0]["part"], "server");
    assert_eq!(running[1]["part"], "authority");
    assert_eq!((&running[0]["made"], &running[0]["days_left"]), (&true.into(), &396.into()));
    assert!(running[0]["names"].as_array().unwrap().contains(&"calls.example.org".into()));
    assert_eq!(rollcall.stop(), Some(0));
    // The figure of days may turn at any moment; the digests do not.
    let digests = |all: &Value| {
        let all = all.as_array().unwrap().iter();
        all.map(|one| one["sha256"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let lock = || fs::read_to_string(rollcall.data().join("LOCK")).unwrap();
    assert_eq!(lock(), "clean\n");
    let down = names(&rollcall.ok(&["cert", "show", "--json"]));
    assert_eq!(digests(&down), digests(&running));
    let said = rollcall.ok(&["cert", "renew"]);
    assert!(said.contains("will use it when it starts"), "{said}");
    assert_eq!(lock(), "clean\n", "the store was not opened");
    let renewed = names(&rollcall.ok(&["cert", "show", "--json"]));
    assert_ne!(digests(&renewed)[0], digests(&running)[0]);
    assert_eq!(digests(&renewed)[1], digests(&running)[1]);
    let text = rollcall.ok(&["cert", "show"]);
    assert!(text.contains("certificate      server, made by rollcall"), "{text}");
    rollcall.start();
    assert_ne!(Raw::connect(&rollcall).certificate(), third);
}

#[test]
fn a_configured_certificate_is_not_renewed_by_rollcall() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let (chain, key) = authority.give("own", 90);
    let mut rollcall = Rollcall::down();
    up(&mut rollcall, &authority.pem, &args(&chain, &key));
    let printed = rollcall.run(&["cert", "renew"]);
    assert_eq!(printed.code, Some(1), "{printed:?}");
    assert!(printed.stderr.contains("is configured, and not rollcall's to renew"), "{printed:?}");
}

/// What a client with this certificate is answered; an error where it is refused.
fn knock(rollcall: &Rollcall, own: Option<&(PathBuf, PathBuf)>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(rollcall.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = vec![CertificateDer::from_pem_file(chain).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap())
                .unwrap()
        }
    };
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, tcp(rollcall.port));
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(_) if !answer.is_empty() => {}
        other => drop(other?),
    }
    Ok(answer)
}

#[test]
fn client_certificates_are_asked_for_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "clients");
    let stranger = Authority::new(dir.path(), "strangers");
    let (known, unknown) = (authority.give("known", 5), stranger.give("unknown", 5));
    let over = authority.give("over", 0);
    let ca = authority.pem.to_str().unwrap();
    for (auth, without) in [("required", false), ("optional", true)] {
        let mut rollcall = Rollcall::down();
        rollcall.set_args(&["--tls-client-ca", ca, "--tls-client-auth", auth]);
        rollcall.start();
        let passes = |own| knock(&rollcall, own).is_ok_and(|answer| answer.contains(" 200 "));
        assert!(passes(Some(&known)), "{auth}");
        assert!(!passes(Some(&unknown)), "{auth}");
        assert!(!passes(Some(&over)), "{auth}");
        assert_eq!(passes(None), without, "{auth}");
        let said = "a client was refused for its certificate";
        until(said, || rollcall.log().contains(said).then_some(()));
        let shown = status(&rollcall);
        let last = shown["certificates"].as_array().unwrap().last().unwrap();
        assert_eq!(last["part"], "client-authority", "{shown}");
        if have("curl") {
            let ca = rollcall.ca();
            let curl = |more: &[&str]| {
                let mut command = Command::new("curl");
                command.args(["-sS", "--cacert", ca.to_str().unwrap()]).args(more);
                print(command.arg(rollcall.url("/livez")), b"").code == Some(0)
            };
            let (chain, key) = (known.0.to_str().unwrap(), known.1.to_str().unwrap());
            assert!(curl(&["--cert", chain, "--key", key]), "{auth}");
            assert_eq!(curl(&[]), without, "{auth}");
        }
        // The certificate is no token.
        let listed = knock(&rollcall, Some(&known)).unwrap();
        assert!(listed.starts_with("HTTP/1.1 200"), "{listed}");
        assert_eq!(rollcall.stop(), Some(0));
    }
}

#[test]
fn credentials_of_the_service_manager_are_read_from_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "authority");
    let (chain, key) = authority.give("own", 90);
    let activated = dir.path().join("activated");
    fs::create_dir(&activated).unwrap();
    for (from, name) in [(&chain, "tls.pem"), (&key, "tls.key"), (&authority.pem, "clients.pem")] {
        fs::copy(from, activated.join(name)).unwrap();
        fs::set_permissions(activated.join(name), fs::Permissions::from_mode(0o400)).unwrap();
    }
    let mut rollcall = Rollcall::down();
    rollcall.trust(&authority.pem);
    rollcall.set_args(&[
        "--tls-cert",
        "credential:tls.pem",
        "--tls-key",
        "credential:tls.key",
        "--tls-client-ca",
        "credential:clients.pem",
        "--tls-client-auth",
        "optional",
    ]);
    let refused = rollcall.start_fails();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("CREDENTIALS_DIRECTORY is not set"), "{refused:?}");
    let mut command = rollcall.serve_command();
    command.env("CREDENTIALS_DIRECTORY", &activated);
    rollcall.start_with(command);
    assert_eq!(rollcall.get("", "/livez").status, 200);
    let shown = status(&rollcall);
    let file = shown["certificates"][0]["file"].as_str().unwrap();
    assert_eq!(Path::new(file), activated.join("tls.pem"));
}

/// Whether a handshake comes about with these options of `openssl s_client`.
fn shakes(rollcall: &Rollcall, options: &[&str]) -> bool {
    let port = format!("localhost:{}", rollcall.port);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &port, "-brief", "-CAfile"]).arg(rollcall.ca());
    let printed = print(command.args(options), b"");
    printed.code == Some(0) && printed.stderr.contains("Verification: OK")
}

#[test]
fn old_versions_and_weak_ciphers_are_refused() {
    if !have("openssl") {
        return;
    }
    let rollcall = Rollcall::up(&[]);
    // What openssl itself refuses to speak would prove nothing; level 0 lets it speak all it has.
    let old = ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"];
    for version in ["-tls1", "-tls1_1"] {
        assert!(!shakes(&rollcall, &[&[version][..], &old].concat()), "{version}");
    }
    assert!(shakes(&rollcall, &["-tls1_2"]) && shakes(&rollcall, &["-tls1_3"]));
    let list =
        print(Command::new("openssl").args(["ciphers", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]), b"");
    let mut taken = Vec::new();
    let mut tried = 0;
    for cipher in list.stdout.trim().split(':').filter(|cipher| !cipher.starts_with("TLS_")) {
        // Those of the server's kind of key, or of any.
        let only = format!("{cipher}:@SECLEVEL=0");
        if shakes(&rollcall, &["-tls1_2", "-cipher", &only]) {
            taken.push(cipher.to_owned());
        }
        tried += 1;
    }
    taken.sort();
    assert!(tried > 40, "only {tried} were tried");
    assert_eq!(
        taken,
        [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ]
    );
}
