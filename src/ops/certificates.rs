//! Certificates: looked at and renewed, in the server that uses them or on the files.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{AdminContext, AdminReply, Failure};
use crate::clock;
use crate::store::chain;
pub use crate::tls::CertificateRole;
use crate::tls::{self, InUse, Renew, Setup, TlsReloader};

/// Whose certificates a command is about.
#[derive(Debug, Clone)]
pub enum Certificates {
    /// Those of this process, which serves them.
    Served(Arc<TlsReloader>),
    /// Those in the files, where no server runs.
    Files(Setup),
}

/// A certificate that is in use, or would be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateInfo {
    pub part: CertificateRole,
    pub file: PathBuf,
    /// The distinguished name of its subject.
    pub subject: String,
    /// DNS names and IP addresses that it is for.
    pub names: Vec<String>,
    pub not_before: String,
    /// RFC 3339; its last second.
    pub not_after: String,
    /// Whole days until it expires, rounded down; negative afterwards.
    pub days_left: i64,
    /// Of the whole certificate, in hexadecimal digits.
    pub sha256: String,
    /// Whether rollcall made it, and renews it.
    pub made: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct CertificateList {
    /// The server's own first. Empty where none is made yet, and where they cannot be read.
    pub certificates: Vec<CertificateInfo>,
    /// Configured files that have changed since the server read them; SIGHUP takes them up.
    pub certificates_changed: Vec<PathBuf>,
    pub certificates_problem: Option<String>,
}

/// Where a server can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachableAt {
    /// `https://127.0.0.1:8443`.
    pub url: String,
    /// The service manager holds it too: clients that connect while the server restarts wait.
    pub held: bool,
}

/// The certificates, as they are now.
pub fn certificates(context: &AdminContext) -> CertificateList {
    let now = clock::system_time();
    let list = |all: &[InUse]| all.iter().map(|one| info(one, now)).collect();
    match &context.certificates {
        Certificates::Served(reloader) => CertificateList {
            certificates: list(&reloader.loaded().certificates),
            certificates_changed: reloader.changed_on_disk(),
            certificates_problem: None,
        },
        Certificates::Files(setup) => match tls::look(setup) {
            Ok(all) => CertificateList { certificates: list(&all), ..CertificateList::default() },
            Err(error) => CertificateList {
                certificates_problem: Some(chain(&error)),
                ..CertificateList::default()
            },
        },
    }
}

pub(super) fn show(context: &AdminContext) -> Result<AdminReply, Failure> {
    let list = certificates(context);
    match list.certificates_problem {
        Some(problem) => Err(Failure::new(problem)),
        None => Ok(AdminReply::Certificates(list)),
    }
}

/// Makes a new certificate, of a new authority if one is asked for.
pub(super) fn renew(context: &AdminContext, authority: bool) -> Result<AdminReply, Failure> {
    let renew = if authority { Renew::Authority } else { Renew::Server };
    let now = clock::system_time();
    let failed = |error| Failure::new(chain(&error));
    let (loaded, served) = match &context.certificates {
        Certificates::Served(reloader) => {
            reloader.renew(renew, now).map_err(failed)?;
            (reloader.loaded(), true)
        }
        Certificates::Files(setup) => (tls::load(setup, renew, now).map_err(failed)?, false),
    };
    let until = loaded.certificates.first().map(|own| rfc3339(own.not_after_s));
    let until = until.unwrap_or_default();
    let mut text = format!("a new certificate was made; it expires at {until}");
    text.push_str(if served {
        "; new connections are served with it, open ones go on with the old one"
    } else {
        "; the server will use it when it starts"
    });
    if let (true, Some(path)) = (authority, &loaded.authority) {
        let path = path.display();
        let _infallible = write!(
            text,
            "\nthere is a new authority, and every client must trust it before it can connect \
             again: give them {path}"
        );
    }
    Ok(AdminReply::Done(text))
}

fn info(one: &InUse, now: SystemTime) -> CertificateInfo {
    let now_s = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    CertificateInfo {
        part: one.part,
        file: one.file.clone(),
        subject: one.subject.clone(),
        names: one.names.clone(),
        not_before: rfc3339(one.not_before_s),
        not_after: rfc3339(one.not_after_s),
        days_left: one.days_left(now_s),
        sha256: one.sha256.clone(),
        made: one.made,
    }
}

fn rfc3339(unix_s: u64) -> String {
    // 31 December 9999, where X.509 ends; later years do not fit into the text.
    let unix_s = unix_s.min(253_402_300_799);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s)).to_string()
}
