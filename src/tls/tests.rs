//! What the files look like after each load, and what is refused.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{LoadedCertificate, Renew, Setup, TlsError, TlsReloader, TlsSource, load};

const DAY: Duration = Duration::from_hours(24);

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn alone(source: TlsSource) -> Setup {
    Setup { source, clients: None }
}

fn load_or_make(source: &TlsSource, now: SystemTime) -> Result<LoadedCertificate, TlsError> {
    load(&alone(source.clone()), Renew::IfDue, now)
}

fn made(root: &TempDir, names: &[&str]) -> TlsSource {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    TlsSource::Made { directory: root.path().join("tls"), names }
}

/// Every file of the made directory with its content.
fn contents(root: &TempDir) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(root.path().join("tls")).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn write_self_signed(chain: &Path, key: &Path) {
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    fs::write(chain, params.self_signed(&pair).unwrap().pem()).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
}

#[test]
fn the_first_load_makes_three_files_for_the_owner_alone() {
    let root = TempDir::new().unwrap();
    let loaded = load_or_make(&made(&root, &[]), start()).unwrap();
    let tls = root.path().join("tls");
    assert!(loaded.made_new);
    assert_eq!(loaded.authority.as_deref(), Some(tls.join("ca.pem").as_path()));
    assert_eq!(contents(&root).keys().collect::<Vec<_>>(), ["ca.key", "ca.pem", "server.pem"]);
    assert_eq!(mode(&tls), 0o700);
    assert_eq!(mode(&tls.join("ca.key")), 0o600);
    assert_eq!(mode(&tls.join("server.pem")), 0o600);
    assert_eq!(mode(&tls.join("ca.pem")), 0o644);
    let published = String::from_utf8(contents(&root)["ca.pem"].clone()).unwrap();
    assert!(!published.contains("PRIVATE"), "{published}");
    assert_eq!(published.matches("BEGIN CERTIFICATE").count(), 1);
}

#[test]
fn rights_given_away_are_taken_back() {
    let root = TempDir::new().unwrap();
    load_or_make(&made(&root, &[]), start()).unwrap();
    let tls = root.path().join("tls");
    fs::set_permissions(&tls, fs::Permissions::from_mode(0o755)).unwrap();
    load_or_make(&made(&root, &[]), start()).unwrap();
    assert_eq!(mode(&tls), 0o700);
}

#[test]
fn a_second_load_makes_nothing_new() {
    let root = TempDir::new().unwrap();
    load_or_make(&made(&root, &["calls.example.org", "192.0.2.7"]), start()).unwrap();
    let before = contents(&root);
    // Another spelling and fewer names are still covered.
    let again = made(&root, &["CALLS.example.org."]);
    let loaded = load_or_make(&again, start() + 300 * DAY).unwrap();
    assert!(!loaded.made_new);
    assert_eq!(contents(&root), before);
}

#[test]
fn new_names_and_a_near_end_remake_the_server_and_keep_the_authority() {
    let root = TempDir::new().unwrap();
    let first = load_or_make(&made(&root, &[]), start()).unwrap();
    let days = first.not_after.unwrap().duration_since(start()).unwrap().as_secs() / 86_400;
    assert_eq!(days, 396, "397 days less the hour for slow clocks");
    let before = contents(&root);

    assert!(load_or_make(&made(&root, &["new.example.org"]), start()).unwrap().made_new);
    let renamed = contents(&root);
    assert_ne!(renamed["server.pem"], before["server.pem"]);
    assert_eq!(renamed["ca.key"], before["ca.key"]);
    assert_eq!(renamed["ca.pem"], before["ca.pem"]);

    let source = made(&root, &["new.example.org"]);
    assert!(!load_or_make(&source, start() + 366 * DAY).unwrap().made_new);
    assert!(load_or_make(&source, start() + 367 * DAY).unwrap().made_new);
    assert_eq!(contents(&root)["ca.key"], before["ca.key"]);
}

#[test]
fn an_authority_about_to_end_is_replaced_and_no_certificate_outlives_it() {
    let root = TempDir::new().unwrap();
    load_or_make(&made(&root, &[]), start()).unwrap();
    let before = contents(&root);
    let late = load_or_make(&made(&root, &[]), start() + 3600 * DAY).unwrap();
    assert_eq!(contents(&root)["ca.key"], before["ca.key"]);
    assert_eq!(late.not_after.unwrap(), start() + 3653 * DAY);
    assert!(load_or_make(&made(&root, &[]), start() + 3630 * DAY).unwrap().made_new);
    assert_ne!(contents(&root)["ca.key"], before["ca.key"]);
    assert_ne!(contents(&root)["ca.pem"], before["ca.pem"]);
}

#[test]
fn a_kill_between_any_two_steps_is_healed_by_the_next_load() {
    // What is on disk after a kill: a half-written temporary file beside the
    // files of the steps that were done.
    let steps: [(&str, &[&str]); 3] = [
        ("ca.key.new", &[]),
        ("ca.pem.new", &["ca.key"]),
        ("server.pem.new", &["ca.key", "ca.pem"]),
    ];
    for (temporary, done) in steps {
        let root = TempDir::new().unwrap();
        load_or_make(&made(&root, &[]), start()).unwrap();
        let whole = contents(&root);
        let tls = root.path().join("tls");
        for name in whole.keys().filter(|name| !done.contains(&name.as_str())) {
            fs::remove_file(tls.join(name)).unwrap();
        }
        fs::write(tls.join(temporary), "-----BEGIN PRIV").unwrap();
        assert!(load_or_make(&made(&root, &[]), start()).unwrap().made_new);
        let healed = contents(&root);
        assert_eq!(healed.keys().collect::<Vec<_>>(), ["ca.key", "ca.pem", "server.pem"]);
        for name in done {
            assert_eq!(healed[*name], whole[*name], "{name} after {temporary}");
        }
    }
}

#[test]
fn a_server_certificate_of_another_authority_or_with_another_key_is_not_loaded() {
    let (root, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    load_or_make(&made(&root, &[]), start()).unwrap();
    load_or_make(&made(&other, &[]), start()).unwrap();
    let path = root.path().join("tls/server.pem");
    let text = |root: &TempDir| String::from_utf8(contents(root)["server.pem"].clone()).unwrap();
    let (mine, theirs) = (text(&root), text(&other));
    let split = |text: &str| {
        let (key, chain) = text.split_at(text.find("-----BEGIN CERT").unwrap());
        (key.to_owned(), chain.to_owned())
    };
    let mixed = format!("{}{}", split(&theirs).0, split(&mine).1);
    for wrong in [theirs, mixed, mine[..mine.len() / 2].to_owned(), String::new()] {
        fs::write(&path, &wrong).unwrap();
        assert!(load_or_make(&made(&root, &[]), start()).unwrap().made_new, "{wrong}");
    }
    assert!(!load_or_make(&made(&root, &[]), start()).unwrap().made_new);
}

#[test]
fn a_damaged_or_missing_authority_is_not_replaced() {
    let root = TempDir::new().unwrap();
    load_or_make(&made(&root, &[]), start()).unwrap();
    let key = root.path().join("tls/ca.key");
    let whole = fs::read(&key).unwrap();
    fs::write(&key, &whole[..whole.len() / 2]).unwrap();
    let error = load_or_make(&made(&root, &[]), start()).unwrap_err();
    assert!(matches!(&error, TlsError::AuthorityDamaged { path } if *path == key), "{error}");
    assert_eq!(fs::read(&key).unwrap(), whole[..whole.len() / 2]);

    fs::remove_file(&key).unwrap();
    let error = load_or_make(&made(&root, &[]), start()).unwrap_err();
    assert!(matches!(&error, TlsError::AuthorityKeyMissing { .. }), "{error}");
    assert!(!key.exists());
}

#[test]
fn what_is_no_name_is_refused_by_name() {
    let root = TempDir::new().unwrap();
    for bad in ["", "two words", "a\nname: b", "[::1]", "https://example.org", "10.0.0.0/8"] {
        let error = load_or_make(&made(&root, &[bad]), start()).unwrap_err();
        assert!(matches!(&error, TlsError::Name { name } if name == bad), "{bad}: {error}");
    }
    for good in ["example.org", "*.example.org", "host_1", "10.1.2.3", "2001:DB8::0:1"] {
        load_or_make(&made(&root, &[good]), start()).unwrap();
    }
}

#[test]
fn a_mismatched_key_is_refused_by_both_names_and_the_old_pair_stays() {
    let root = TempDir::new().unwrap();
    let (certificate, key) = (root.path().join("chain.pem"), root.path().join("key.pem"));
    write_self_signed(&certificate, &key);
    let source = TlsSource::Files { certificate: certificate.clone(), key: key.clone() };
    let reloader = TlsReloader::new(alone(source), start()).unwrap();
    let before = reloader.current();

    write_self_signed(&root.path().join("other.pem"), &key);
    let error = reloader.reload(start()).unwrap_err();
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("chain.pem") && message.contains("key.pem"), "{message}");
    assert!(std::sync::Arc::ptr_eq(&before, &reloader.current()));

    write_self_signed(&certificate, &key);
    reloader.reload(start()).unwrap();
    assert!(!std::sync::Arc::ptr_eq(&before, &reloader.current()));
}

#[test]
fn configured_files_are_refused_by_name_and_no_message_shows_their_text() {
    let root = TempDir::new().unwrap();
    let (certificate, key) = (root.path().join("chain.pem"), root.path().join("key.pem"));
    let source = TlsSource::Files { certificate: certificate.clone(), key: key.clone() };
    let refuse = |name: &str| {
        let error = load_or_make(&source, start()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(name), "{shown}");
        assert!(!shown.contains("SECRET"), "{shown}");
        error
    };
    assert!(matches!(refuse("chain.pem"), TlsError::Read { .. }));
    write_self_signed(&certificate, &key);
    fs::write(&key, "SECRET").unwrap();
    assert!(matches!(refuse("key.pem"), TlsError::NoKey { .. }));
    fs::write(&key, "-----BEGIN PRIVATE KEY-----\n!SECRET!\n-----END PRIVATE KEY-----").unwrap();
    assert!(matches!(refuse("key.pem"), TlsError::Pem { .. }));
    fs::write(&key, "-----BEGIN SECRET").unwrap();
    assert!(matches!(refuse("key.pem"), TlsError::Pem { .. }));
    write_self_signed(&certificate, &key);
    fs::copy(&key, &certificate).unwrap();
    assert!(matches!(refuse("chain.pem"), TlsError::Other { .. }));
    fs::write(&certificate, "SECRET").unwrap();
    assert!(matches!(refuse("chain.pem"), TlsError::NoCertificate { .. }));
}
