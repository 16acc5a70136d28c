//! Who is spoken to, and who is let in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rollcall::cluster::{Connection, Identity, Link};

use super::nats::{
    self, EPOCH, LONG, Options, Servers, append, log_options, read_to, settings_of, until,
};

/// An authority with a certificate for servers and one for clients.
fn certificates(dir: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]);
        let certificate = params.unwrap().signed_by(&key, &authority).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn identity(dir: &Path) -> Identity {
    Identity { cert_file: dir.join("client.pem"), key_file: dir.join("client.key") }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_and_nodes_know_each_other_by_certificates_and_password() {
    if !nats::here() {
        return;
    }
    let (dir, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificates(dir.path());
    certificates(others.path());
    let tls = Some(dir.path().to_path_buf());
    let servers = Servers::start(Options { tls, ..Options::default() });
    let ca = |of: &Path| of.join("ca.pem");
    let settings = || servers.settings("node1");
    let good = settings().ca_file(ca(dir.path())).identity(identity(dir.path()));
    let connection = Connection::open(good, LONG).await.unwrap();
    let log = servers.make(&connection, &log_options(EPOCH, 1)).await;
    assert_eq!(append(&log, b"over TLS").await, 1);
    assert_eq!(read_to(&log, 0, 1).await, [b"over TLS"]);

    let short = Duration::from_secs(4);
    let refused = async |settings| match Connection::open(settings, short).await {
        Ok(_) => panic!("it was let in"),
        Err(error) => error.to_string(),
    };
    // Another authority, a client without a certificate, one of another authority, another password.
    let other = settings().ca_file(ca(others.path())).identity(identity(dir.path()));
    let unknown_server = refused(other).await;
    assert!(unknown_server.contains("invalid peer certificate"), "{unknown_server}");
    refused(settings().ca_file(ca(dir.path()))).await;
    refused(settings().ca_file(ca(dir.path())).identity(identity(others.path()))).await;
    let wrong = settings().ca_file(ca(dir.path())).identity(identity(dir.path()));
    let wrong = refused(wrong.user("rollcall", "wrong")).await;
    assert!(wrong.to_lowercase().contains("authorization"), "{wrong}");
    let missing = settings().ca_file(PathBuf::from("/nowhere/ca.pem"));
    let missing = Connection::begin(missing).await.err().unwrap().to_string();
    assert!(missing.contains("/nowhere/ca.pem cannot be read"), "{missing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_are_announced_are_not_connected_to() {
    if !nats::here() {
        return;
    }
    let mut servers = Servers::start(Options { advertise: true, ..Options::default() });
    let only = [servers.addresses()[0].clone()];
    let connection = Connection::open(settings_of("node1", &only), LONG).await;
    let connection = connection.unwrap();
    let log = servers.make(&connection, &log_options(EPOCH, 1)).await;
    append(&log, b"begin").await;
    servers.kill(0);
    let mut link = connection.link();
    tokio::time::timeout(LONG, link.wait_for(|link| *link != Link::Up)).await.unwrap().unwrap();
    // It is tried again and again, and no other.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", servers.all[0].port)).await.unwrap();
    for _ in 0..6 {
        tokio::time::timeout(LONG, listener.accept()).await.unwrap().unwrap();
    }
    drop(listener);
    assert!(matches!(*connection.link().borrow(), Link::Down(_)));
    servers.run(0);
    until("it is back", async || *connection.link().borrow() == Link::Up).await;
    assert_eq!(connection.server().unwrap().0, "n1");
}
