//! Certificates: when they end, whether the key fits, and whom they name.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use super::rights::{READ, Rights, User, UserTable, denied};
use super::server::ObservedServer;
use super::{Finding, Level, Surroundings, shown};
use crate::config::{Config, Host, SubjectName};
use crate::domain::counted;
use crate::ops::{
    AdminContext, CertificateInfo, CertificateList, CertificateRole, Certificates, certificates,
};
use crate::tls;

/// Days before its end from which one should look at a certificate.
const WARN_DAYS: i64 = 30;
/// And from which there is no time left.
const ERROR_DAYS: i64 = 3;
/// The same for rollcall's authority, which clients must be given anew.
const AUTHORITY_DAYS: i64 = 90;

/// `user` is the one that reads the files.
pub(super) fn check(
    config: &Config,
    server: &ObservedServer,
    (user, known): (&User, &UserTable),
    around: &Surroundings,
) -> Vec<Finding> {
    let mut findings = Vec::from_iter(key_rights(config, user, known));
    let list = match server.answers() {
        Some(answers) => answers.figures.tls.clone(),
        None => match on_disk(config, user) {
            Ok(list) => list,
            Err(finding) => {
                findings.push(*finding);
                return findings;
            }
        },
    };
    findings.extend(list.certificates_changed.iter().map(|path| {
        let problem = "it has changed since the server read it";
        let advice = "`systemctl reload rollcall`, or send the server SIGHUP";
        Finding::warn(shown(path), problem, advice)
    }));
    findings.extend(list.certificates.iter().map(|one| judge(one, around.now)));
    if let Some(own) = list.certificates.first() {
        findings.extend(names(config, own));
    } else {
        findings.push(Finding::ok("certificate", "none is made yet; the first start makes one"));
    }
    findings
}

/// The certificates in the files, where no server says which it has.
fn on_disk(config: &Config, server: &User) -> Result<CertificateList, Box<Finding>> {
    let setup = config.tls_setup();
    let tls = &config.tls;
    let mut given = [&tls.cert, &tls.key, &tls.client_ca].into_iter().flatten();
    if let Some(path) = given.find(|path| hidden(path)) {
        return Err(Box::new(Finding::unknown(
            shown(path),
            "only the service sees what systemd hands over to it",
            "run this again while the server is running",
        )));
    }
    if let Err(error) = tls::look(&setup)
        && let Some(denied) = denied("certificate", &error, server, &config.data_dir)
    {
        return Err(Box::new(denied));
    }
    let context = AdminContext {
        service_url: String::new(),
        data_dir: config.data_dir.clone(),
        audit_log: None,
        certificates: Certificates::Files(setup),
        listeners: Vec::new(),
        loops: None,
        keep_least_millis: 0,
        configuration: String::new(),
        sign_in_codes: None,
        started_at: None,
        stopping: None,
    };
    let list = certificates(&context);
    match &list.certificates_problem {
        None => Ok(list),
        Some(problem) => Err(Box::new(Finding::error(
            "certificate",
            problem.clone(),
            "put the right PEM files where tls.cert, tls.key and tls.client_ca say, readable for \
             the server's user",
        ))),
    }
}

/// Whether this is a file that is handed over, and not to this process.
fn hidden(path: &Path) -> bool {
    tls::is_credential(path) && tls::resolve(path).is_err()
}

/// Whether the server may read the configured key, and nobody whom it does not concern. One that is
/// made is in the data directory.
fn key_rights(config: &Config, server: &User, known: &UserTable) -> Option<Finding> {
    let files = config.tls.files()?;
    // What leads there does not count where it is handed over: a volume of secrets has links.
    let key = tls::resolve(files.key).ok()?;
    let about = std::fs::metadata(&key).ok()?;
    let rights = Rights::of(&about);
    let mode = rights.mode;
    let object = shown(&key);
    if !server.may(READ, rights) {
        let (uid, owner, gid) = (server.uid, rights.uid, rights.gid);
        let problem = format!(
            "the server, user {uid}, cannot read the private key: it is user {owner}'s, of group \
             {gid}, mode {mode:o}"
        );
        let advice = if owner == uid {
            format!("chmod 600 {object}")
        } else {
            format!(
                "as root: chown {uid} {object}; for a secret of Kubernetes give the pod a \
                 securityContext.fsGroup, and the secret the mode 0440"
            )
        };
        return Some(Finding::error(object, problem, advice));
    }
    // A group may read it: that of an administration of certificates, or systemd's for credentials.
    let groups = if server.groups.contains(&rights.gid) { 0 } else { 0o020 };
    if mode & (0o007 | groups) == 0 || !reached(&key) {
        return None;
    }
    let known = known.strangers(server, &BTreeSet::new());
    let advice = match known.first() {
        Some(others) if mode & 0o007 != 0 => match server.keep_from(others, &object, rights) {
            advice if advice.starts_with("as root") => format!(
                "{advice}; for a secret of Kubernetes give it the mode 0440, and the pod a \
                 securityContext.fsGroup"
            ),
            advice => advice,
        },
        _ => format!("chmod g-w {object}"),
    };
    let problem = format!("the private key's mode is {mode:o}, so that others may use it");
    Some(Finding::error(object, problem, advice))
}

/// Whether everybody gets to a file, as far as the directories let them that lead to it.
fn reached(path: &Path) -> bool {
    let Ok(path) = std::fs::canonicalize(path) else { return true };
    let mut dirs = path.ancestors().skip(1);
    dirs.all(|dir| {
        std::fs::metadata(dir).is_ok_and(|about| about.permissions().mode() & 0o001 != 0)
    })
}

pub(super) fn judge(one: &CertificateInfo, now: SystemTime) -> Finding {
    let object = format!("certificate {}", shown(&one.file));
    let subject: String =
        one.subject.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let ends = format!("\"{subject}\" ends at {}", one.not_after);
    let advice = match (one.made, one.part) {
        (true, CertificateRole::Authority) => {
            "`rollcall cert renew --ca` makes a new one; then give clients tls/ca.pem"
        }
        (true, _) => "`rollcall cert renew`; a running server does so by itself 30 days before",
        (false, _) => "get a new one, put it in its place, and reload the server",
    };
    let begins = humantime::parse_rfc3339(&one.not_before);
    if begins.is_ok_and(|begins| begins > now) {
        let problem = format!("\"{subject}\" begins only at {}", one.not_before);
        return Finding::error(object, problem, "see whether the clock is right");
    }
    let authority = one.part == CertificateRole::Authority;
    let early = if authority { AUTHORITY_DAYS } else { WARN_DAYS };
    let level = match one.days_left {
        ..0 => return Finding::error(object, format!("{ends}: it has expired"), advice),
        0..ERROR_DAYS => Level::Error,
        days if days < early => Level::Warn,
        days => return Finding::ok(object, format!("{ends}, in {}", counted(days, "day"))),
    };
    let days = counted(one.days_left, "day");
    Finding::bad(level, object, format!("{ends}, in {days}"), advice)
}

/// Names that clients use and the certificate does not have.
fn names(config: &Config, own: &CertificateInfo) -> Vec<Finding> {
    let object = format!("certificate {}", shown(&own.file));
    if own.names.is_empty() {
        let advice = "get one with the server's names as subject alternative names";
        return vec![Finding::error(object, "it names no server: clients refuse it", advice)];
    }
    let listen = match config.listen.host() {
        Host::Name(name) => Some(name.to_string()),
        Host::Ip(ip) if ip.is_unspecified() => None,
        Host::Ip(ip) => Some(ip.to_string()),
    };
    let listed = config.tls.names.iter().map(SubjectName::to_string).filter(|_| own.made);
    let missing: Vec<String> = listen
        // With a certificate of their own, operators choose the names.
        .filter(|_| own.made)
        .into_iter()
        .chain(listed)
        .filter(|name| !own.names.iter().any(|known| covers(known, name)))
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let problem = format!("it lacks {}", missing.join(", "));
    let advice = "put every name in tls.names, and restart the server: it makes a new certificate";
    vec![Finding::warn(object, problem, advice)]
}

/// Whether a certificate's name covers another; a star covers one label.
pub(super) fn covers(known: &str, name: &str) -> bool {
    let (known, name) = (known.to_ascii_lowercase(), name.to_ascii_lowercase());
    let star = || {
        let below = known.strip_prefix("*.")?;
        Some(name.split_once('.')?.1 == below)
    };
    known == name || star().unwrap_or(false)
}
