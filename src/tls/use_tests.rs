//! What is known of certificates in use, how they are renewed, and what TLS is spoken.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ServerConnection};
use tempfile::TempDir;

use super::{
    CertificateRole, Clients, Renew, Setup, TlsError, TlsReloader, TlsSource, load, look, pair,
};

const DAY: Duration = Duration::from_hours(24);

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn made(root: &TempDir) -> Setup {
    let names = vec!["calls.example.org".to_owned(), "192.0.2.7".to_owned()];
    let source = TlsSource::Made { directory: root.path().join("tls"), names };
    Setup { source, clients: None }
}

fn read(root: &TempDir, name: &str) -> Vec<u8> {
    fs::read(root.path().join("tls").join(name)).unwrap()
}

fn write_pair(chain: &Path, key: &Path, authority: bool) {
    let pair = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["own.example.org".to_owned()]).unwrap();
    if authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    fs::write(chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
}

fn files(root: &TempDir) -> Setup {
    let (certificate, key) = (root.path().join("own.pem"), root.path().join("own.key"));
    Setup { source: TlsSource::Files { certificate, key }, clients: None }
}

#[test]
fn what_stands_in_a_made_certificate_is_what_it_was_made_with() {
    let root = TempDir::new().unwrap();
    assert_eq!(look(&made(&root)).unwrap(), []);
    assert!(!root.path().join("tls").exists(), "looking makes nothing");
    let reloader = TlsReloader::new(made(&root), start()).unwrap();
    let loaded = reloader.loaded();
    let [own, authority] = &loaded.certificates[..] else { panic!("{loaded:?}") };
    assert_eq!((own.part, authority.part), (CertificateRole::Server, CertificateRole::Authority));
    assert!(own.made && authority.made);
    assert_eq!(own.subject, "CN=rollcall");
    assert!(authority.subject.starts_with("CN=rollcall private authority "), "{authority:?}");
    let mut names = own.names.clone();
    names.sort();
    assert_eq!(names, ["127.0.0.1", "192.0.2.7", "::1", "calls.example.org", "localhost"]);
    assert_eq!(own.not_after_s, seconds(loaded.not_after.unwrap()));
    assert_eq!(own.not_before_s, seconds(start()) - 3600);
    assert_eq!(own.days_left(seconds(start())), 396);
    assert_eq!(own.days_left(own.not_after_s + 1), -1);
    let ends = reloader.expiries();
    assert_eq!(ends[0], (root.path().join("tls/server.pem"), own.not_after_s));
    assert_eq!(ends[1].1, authority.not_after_s);
    assert_eq!(look(&made(&root)).unwrap(), loaded.certificates);
}

#[test]
fn a_renewal_by_hand_keeps_the_authority_unless_it_is_asked_for() {
    let root = TempDir::new().unwrap();
    let reloader = TlsReloader::new(made(&root), start()).unwrap();
    let before = (read(&root, "ca.key"), read(&root, "ca.pem"), read(&root, "server.pem"));
    let config = reloader.current();
    reloader.renew(Renew::Server, start() + DAY).unwrap();
    assert!(!Arc::ptr_eq(&config, &reloader.current()));
    assert_eq!(
        (read(&root, "ca.key"), read(&root, "ca.pem")),
        (before.0.clone(), before.1.clone())
    );
    assert_ne!(read(&root, "server.pem"), before.2);
    assert_eq!(reloader.loaded().certificates, look(&made(&root)).unwrap());

    // Also where the old authority is beyond use.
    fs::write(root.path().join("tls/ca.key"), "damaged").unwrap();
    reloader.renew(Renew::Authority, start() + DAY).unwrap();
    assert_ne!(read(&root, "ca.key"), before.0);
    assert_ne!(read(&root, "ca.pem"), before.1);
    let loaded = load(&made(&root), Renew::IfDue, start() + DAY).unwrap();
    assert!(!loaded.made_new, "the pair fits the new authority");
}

#[test]
fn a_kill_within_a_renewal_of_the_authority_leaves_no_mismatched_pair() {
    let (old, new) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    load(&made(&old), Renew::IfDue, start()).unwrap();
    load(&made(&new), Renew::IfDue, start()).unwrap();
    // The new authority's files replace the old one's in this order.
    for step in [&["ca.key"][..], &["ca.key", "ca.pem"]] {
        for name in step {
            fs::write(old.path().join("tls").join(name), read(&new, name)).unwrap();
        }
        // What is on disk is still a whole pair, of the old authority, and the next load mends it.
        assert_eq!(look(&made(&old)).unwrap().len(), 2);
        assert!(load(&made(&old), Renew::IfDue, start()).unwrap().made_new);
        assert_eq!(read(&old, "ca.pem"), read(&new, "ca.pem"));
        load(&made(&old), Renew::Authority, start()).unwrap();
    }
}

#[test]
fn a_running_server_renews_before_the_end_and_touches_nothing_before_that() {
    let root = TempDir::new().unwrap();
    let reloader = TlsReloader::new(made(&root), start()).unwrap();
    let (config, file) = (reloader.current(), read(&root, "server.pem"));
    assert!(!reloader.renew_if_due(start() + 366 * DAY).unwrap());
    assert!(Arc::ptr_eq(&config, &reloader.current()));
    assert_eq!(read(&root, "server.pem"), file);
    assert!(reloader.renew_if_due(start() + 367 * DAY).unwrap());
    assert!(!Arc::ptr_eq(&config, &reloader.current()));
    assert_ne!(read(&root, "server.pem"), file);
}

#[test]
fn configured_files_are_not_renewed_and_a_change_of_them_is_seen_until_it_is_taken_up() {
    let root = TempDir::new().unwrap();
    let (certificate, key) = (root.path().join("own.pem"), root.path().join("own.key"));
    write_pair(&certificate, &key, false);
    let reloader = TlsReloader::new(files(&root), start()).unwrap();
    let loaded = reloader.loaded();
    assert_eq!(loaded.certificates.len(), 1);
    assert!(!loaded.certificates[0].made);
    assert_eq!(loaded.certificates[0].names, ["own.example.org"]);
    let refused = reloader.renew(Renew::Server, start()).unwrap_err();
    assert!(matches!(refused, TlsError::NotOurs { .. }), "{refused}");

    assert!(reloader.changed_on_disk().is_empty());
    write_pair(&certificate, &key, false);
    assert!(!reloader.renew_if_due(start()).unwrap());
    assert_eq!(reloader.changed_on_disk(), [certificate.clone(), key.clone()]);
    assert_eq!(reloader.loaded().certificates, loaded.certificates);
    reloader.reload(start()).unwrap();
    assert!(reloader.changed_on_disk().is_empty());
    assert_ne!(reloader.loaded().certificates, loaded.certificates);
    fs::remove_file(&certificate).unwrap();
    assert!(reloader.changed_on_disk().is_empty(), "there is nothing to take up");
}

#[test]
fn the_authorities_of_clients_are_known_and_what_is_none_is_refused_by_name() {
    let root = TempDir::new().unwrap();
    let authority = root.path().join("clients.pem");
    let clients = Some(Clients { authority: authority.clone(), required: true });
    let setup = Setup { clients, ..made(&root) };
    let refused = |text: &str| {
        fs::write(&authority, text).unwrap();
        let error = load(&setup, Renew::IfDue, start()).unwrap_err();
        assert!(error.to_string().contains("clients.pem"), "{error}");
        error
    };
    assert!(matches!(refused(""), TlsError::Empty { .. }));
    assert!(matches!(refused("text"), TlsError::NoClientAuthority { .. }));
    let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(matches!(refused(broken), TlsError::Pem { .. }));
    let strange = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(refused(strange), TlsError::ClientAuthority { .. }));

    write_pair(&authority, &root.path().join("clients.key"), true);
    let reloader = TlsReloader::new(setup.clone(), start()).unwrap();
    let parts = |reloader: &TlsReloader| {
        reloader.loaded().certificates.iter().map(|one| one.part).collect::<Vec<_>>()
    };
    let all =
        [CertificateRole::Server, CertificateRole::Authority, CertificateRole::ClientAuthority];
    assert_eq!(parts(&reloader), all);
    // A renewal goes on asking clients, by what was read before.
    fs::write(&authority, "").unwrap();
    assert!(reloader.renew_if_due(start() + 380 * DAY).unwrap());
    assert_eq!(parts(&reloader), all);
    assert_eq!(reloader.changed_on_disk(), [authority]);
}

#[test]
fn only_suites_with_forward_secrecy_and_authenticated_encryption_are_offered() {
    let offered = pair::provider().cipher_suites;
    let offered: Vec<_> = offered.iter().map(|suite| format!("{:?}", suite.suite())).collect();
    assert_eq!(
        offered,
        [
            "TLS13_AES_256_GCM_SHA384",
            "TLS13_AES_128_GCM_SHA256",
            "TLS13_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ]
    );
}

#[test]
fn the_server_chooses_the_suite_whatever_the_client_likes_best() {
    let root = TempDir::new().unwrap();
    let server = TlsReloader::new(made(&root), start()).unwrap().current();
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(root.path().join("tls/ca.pem")).unwrap();
    roots.add(authority).unwrap();
    for (version, best) in [(&TLS13, "TLS13_AES_256"), (&TLS12, "TLS_ECDHE_ECDSA_WITH_AES_256")] {
        let mut provider = pair::provider();
        provider.cipher_suites.reverse();
        let client = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(&server)).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        server.read_tls(&mut hello.as_slice()).unwrap();
        server.process_new_packets().unwrap();
        let suite = server.negotiated_cipher_suite().unwrap().suite();
        assert!(format!("{suite:?}").starts_with(best), "{suite:?}");
    }
}
