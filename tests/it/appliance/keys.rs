//! Certificates and keys as tools and people write them: each is served, or refused by a word that
//! says what it is and what to do.

use std::fs;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::super::harness::{Rollcall, have, print, until};

/// Makes files with shell and openssl, in their directory.
fn make(dir: &Path, script: &str) {
    // A certificate that signs itself, for the key in $1, as $2.
    let own = "own() { openssl req -x509 -key $1 -subj /CN=localhost \
               -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
               -days 30 -out $2; }";
    let mut command = Command::new("bash");
    command.current_dir(dir).args(["-euc", &format!("{own}\n{script}")]);
    let printed = print(&mut command, b"");
    assert_eq!(printed.code, Some(0), "{script}: {printed:?}");
}

/// A server with the certificate `c.pem` and the key `k.pem` of this directory.
fn server(dir: &Path) -> Rollcall {
    let mut rollcall = Rollcall::down();
    let [cert, key] = ["c.pem", "k.pem"].map(|name| dir.join(name));
    let flags = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    rollcall.set_args(&flags);
    rollcall
}

#[test]
fn what_tools_write_is_served() {
    if !have("openssl") {
        return;
    }
    // Each makes c.pem and k.pem, and leaves a plain certificate in own.pem.
    let ec = "openssl ecparam -name prime256v1 -genkey -noout -out k.pem; own k.pem own.pem; ";
    let same = "cp own.pem c.pem";
    for (name, script) in [
        (
            "EC parameters before the key",
            "openssl ecparam -name prime256v1 -genkey -out k.pem; own k.pem own.pem; cp own.pem c.pem",
        ),
        (
            "P-384 as SEC 1",
            "openssl ecparam -name secp384r1 -genkey -noout -out k.pem; own k.pem own.pem; cp own.pem c.pem",
        ),
        (
            "RSA as PKCS #1",
            "openssl genrsa -traditional -out k.pem 2048; own k.pem own.pem; cp own.pem c.pem",
        ),
        (
            "Ed25519",
            "openssl genpkey -algorithm ed25519 -out k.pem; own k.pem own.pem; cp own.pem c.pem",
        ),
        ("CR LF", &format!("{ec}sed 's/$/\\r/' own.pem > c.pem; sed -i 's/$/\\r/' k.pem")),
        (
            "byte order marks",
            &format!(
                "{ec}printf '\\357\\273\\277' | cat - own.pem > c.pem; \
                 printf '\\357\\273\\277' | cat - k.pem > k; mv k k.pem"
            ),
        ),
        (
            "UTF-16",
            &format!(
                "{ec}(printf '\\377\\376'; iconv -f ascii -t utf-16le own.pem) > c.pem; \
                 (printf '\\376\\377'; iconv -f ascii -t utf-16be k.pem) > k; mv k k.pem"
            ),
        ),
        (
            "blanks before each line",
            &format!("{ec}sed 's/^/    /' own.pem > c.pem; sed -i 's/^/\\t/' k.pem"),
        ),
        ("both in one file", &format!("{ec}cat k.pem own.pem > c.pem; cp c.pem k.pem")),
        (
            "text before it",
            &format!(
                "{ec}(echo 'Bag Attributes'; echo '    friendlyName: x'; cat own.pem) > c.pem"
            ),
        ),
        (
            "symbolic links",
            &format!(
                "{ec}mkdir d; mv k.pem d/; ln -s d/k.pem k.pem; cp own.pem d/; ln -s d/own.pem c.pem"
            ),
        ),
        ("readable by its group", &format!("{ec}{same}; chmod 640 k.pem")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), script);
        let mut rollcall = server(dir.path());
        rollcall.trust(&dir.path().join("own.pem"));
        rollcall.start();
        if name == "Ed25519" {
            // The client of these tests trusts no authority of that kind by itself.
            let mut command = Command::new("openssl");
            let port = format!("localhost:{}", rollcall.port);
            command.args(["s_client", "-connect", &port, "-brief", "-CAfile"]).arg(rollcall.ca());
            let printed = print(&mut command, b"");
            assert!(printed.stderr.contains("Verification: OK"), "{printed:?}");
            continue;
        }
        assert_eq!(rollcall.get("", "/livez").status, 200, "{name}");
    }
}

#[test]
fn what_cannot_be_served_is_named_with_what_to_do() {
    if !have("openssl") {
        return;
    }
    let kinds = "make one of ECDSA P-256 or P-384, RSA of 2048 to 4096 bits, or Ed25519";
    let ec = "openssl ecparam -name prime256v1 -genkey -noout -out k.pem; own k.pem c.pem; ";
    let rsa = "openssl genrsa -out k.pem 2048; own k.pem c.pem; ";
    for (script, said) in [
        (
            "openssl ecparam -name secp521r1 -genkey -noout -out k.pem; own k.pem c.pem",
            &["k.pem\" is ECDSA P-521", kinds][..],
        ),
        (
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out k.pem; own k.pem c.pem",
            &["k.pem\" is ECDSA P-521", kinds],
        ),
        (
            "openssl ecparam -name secp256k1 -genkey -noout -out k.pem; own k.pem c.pem",
            &["of the curve secp256k1", kinds],
        ),
        ("openssl genpkey -algorithm ed448 -out k.pem; own k.pem c.pem", &["an Ed448 key", kinds]),
        ("openssl genrsa -out k.pem 1024; own k.pem c.pem", &["RSA of 1024 bits", kinds]),
        (
            "openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out k.pem; own k.pem c.pem",
            &["an RSA-PSS key", kinds],
        ),
        (
            &format!(
                "{rsa}openssl rsa -aes128 -passout pass:x -traditional -in k.pem -out k; mv k k.pem"
            ),
            &["k.pem\" is encrypted", "openssl pkey -in"],
        ),
        (
            &format!("{rsa}openssl pkey -aes128 -passout pass:x -in k.pem -out k; mv k k.pem"),
            &["k.pem\" is encrypted", "openssl pkey -in"],
        ),
        (
            &format!("{ec}mv k.pem k; mv c.pem k.pem; mv k c.pem"),
            &["c.pem\" holds a private key", "mixed up"],
        ),
        (&format!("{ec}cp c.pem k.pem"), &["k.pem\" holds a certificate", "mixed up"]),
        (
            &format!("{ec}openssl pkey -in k.pem -pubout -out k; mv k k.pem"),
            &["k.pem\" holds a public key"],
        ),
        (
            &format!("{ec}openssl x509 -in c.pem -outform der -out c; mv c c.pem"),
            &["c.pem\" holds a certificate as DER", "openssl x509 -inform der -in"],
        ),
        (
            &format!("{ec}openssl pkey -in k.pem -outform der -out k; mv k k.pem"),
            &["k.pem\" holds a private key as DER", "openssl pkey -inform der -in"],
        ),
        (
            &format!(
                "{ec}openssl pkcs12 -export -passout pass: -inkey k.pem -in c.pem -out c; mv c c.pem"
            ),
            &["c.pem\" holds a PKCS #12 store", "openssl pkcs12 -nodes -in"],
        ),
        (
            &format!("{ec}openssl crl2pkcs7 -nocrl -certfile c.pem -out c; mv c c.pem"),
            &["c.pem\" holds a PKCS #7 bundle", "openssl pkcs7 -print_certs -in"],
        ),
        (
            &format!("{ec}openssl req -new -key k.pem -subj /CN=localhost -out c.pem"),
            &["c.pem\" holds a request for a certificate"],
        ),
        (
            &format!("{ec}openssl x509 -in c.pem -trustout -out c; mv c c.pem"),
            &["c.pem\" holds a certificate of another form", "openssl x509 -in"],
        ),
        (
            &format!(
                "{ec}printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n' > k.pem"
            ),
            &["k.pem\" holds a key for SSH"],
        ),
        (
            &format!("{ec}awk '{{ printf \"%s\\\\n\", $0 }}' k.pem > k; mv k k.pem"),
            &["k.pem\" holds line ends that are written as \\n"],
        ),
        (
            &format!(
                "{ec}openssl req -new -key k.pem -subj /CN=localhost -out r.pem; \
                      openssl x509 -req -in r.pem -signkey k.pem -out c.pem"
            ),
            &["c.pem\" is of X.509 version 1", "one of version 3"],
        ),
        (&format!("{ec}: > c.pem"), &["c.pem\" is empty"]),
        (&format!("{ec}: > k.pem"), &["k.pem\" is empty"]),
        (&format!("{ec}echo hello > c.pem"), &["no certificate in", "c.pem"]),
        (&format!("{ec}echo hello > k.pem"), &["no private key in", "k.pem"]),
        (
            &format!("{ec}openssl ecparam -name prime256v1 -genkey -noout -out k.pem"),
            &["k.pem\" does not belong to the first certificate in", "c.pem"],
        ),
        (
            &format!(
                "{ec}openssl genrsa -out ca.key 2048; own ca.key ca.pem; cat c.pem >> ca.pem; mv ca.pem c.pem"
            ),
            &["k.pem\" belongs to certificate 2 of", "put that one first"],
        ),
        (&format!("{ec}sed -i '3s/^/!/' c.pem"), &["c.pem\" is not well-formed PEM"]),
        (&format!("{ec}sed -i '$d' c.pem"), &["c.pem\" is not well-formed PEM", "END"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), script);
        let refused = server(dir.path()).start_fails();
        assert_eq!(refused.code, Some(1), "{script}: {refused:?}");
        for said in said {
            assert!(refused.stderr.contains(said), "{script}: {said}: {refused:?}");
        }
    }
}

#[test]
fn authorities_of_clients_are_read_as_certificates_are() {
    if !have("openssl") {
        return;
    }
    let ca = "openssl ecparam -name prime256v1 -genkey -noout -out k.pem; own k.pem own.pem; ";
    for (script, said) in [
        (&*format!("{ca}printf '\\357\\273\\277' | cat - own.pem > ca.pem"), None),
        (&format!("{ca}cp k.pem ca.pem"), Some("ca.pem\" holds a private key and no certificate")),
        (&format!("{ca}: > ca.pem"), Some("ca.pem\" is empty")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), script);
        let mut rollcall = Rollcall::down();
        let ca = dir.path().join("ca.pem");
        let flags = ["--tls-client-ca", ca.to_str().unwrap(), "--tls-client-auth", "optional"];
        rollcall.set_args(&flags);
        match said {
            None => rollcall.start(),
            Some(said) => {
                let refused = rollcall.start_fails();
                assert!(refused.stderr.contains(said), "{script}: {refused:?}");
            }
        }
    }
}

#[test]
fn a_certificate_that_is_over_or_not_valid_yet_is_an_error_in_the_log() {
    for (years, said) in [
        ((2020, 2021), "a certificate has expired"),
        ((2090, 2091), "a certificate is not valid yet"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        fs::write(dir.path().join("c.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.path().join("k.pem"), key.serialize_pem()).unwrap();
        let mut rollcall = server(dir.path());
        rollcall.trust(&dir.path().join("c.pem"));
        rollcall.start();
        until(said, || rollcall.log().contains(said).then_some(()));
        assert!(rollcall.log().contains("ERROR"), "{}", rollcall.log());
    }
}
