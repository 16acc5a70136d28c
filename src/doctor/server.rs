//! The server: whether one is running, and what it says of itself.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Finding, Surroundings, shown};
use crate::admin;
use crate::config::{Config, Settings};
use crate::ops::{AdminReply, AdminRequest, Failure, StatusFigures, TokenInfo};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The server of this data directory.
pub(super) enum ObservedServer {
    Up(Box<Answers>),
    /// There is none, or it cannot be asked.
    Silent,
    /// This user may not ask whether there is one.
    Denied,
}

pub(super) struct Answers {
    pub(super) figures: StatusFigures,
    pub(super) tokens: Vec<TokenInfo>,
    /// What it was started with, as TOML.
    configuration: String,
    /// Its process, where the kernel says so.
    pub(super) pid: Option<u32>,
    peer: Option<Peer>,
}

/// Who is at the other end of the socket, as the kernel says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// None where it is a process that this one does not see, as that of another container.
    pub(super) pid: Option<u32>,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl ObservedServer {
    pub(super) fn answers(&self) -> Option<&Answers> {
        match self {
            Self::Up(answers) => Some(answers),
            Self::Silent | Self::Denied => None,
        }
    }

    pub(super) fn is_denied(&self) -> bool {
        matches!(self, Self::Denied)
    }

    /// The user that it runs as.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.answers().and_then(|answers| answers.peer)
    }
}

/// Asks the server, and says how that went.
pub(super) fn ask(config: &Config, around: &Surroundings) -> (ObservedServer, Vec<Finding>) {
    let configured = config.admin_socket_path(around.runtime_dir.as_deref());
    let usual = config.data_dir.join(admin::SOCKET_NAME);
    let object = || format!("admin socket {}", shown(&configured));
    let start = "start the server: `rollcall serve`, or `systemctl start rollcall`";
    let (path, stream) = match connect(&configured, &usual) {
        Ok(connected) => connected,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let owner = std::fs::metadata(&config.data_dir).map(|dir| dir.uid()).ok();
            let what = "whether a server is running is not known: its socket cannot be asked";
            return (ObservedServer::Denied, vec![Finding::denied(object(), what, owner)]);
        }
        Err(error) => {
            let finding = match error.kind() {
                ErrorKind::NotFound => {
                    Finding::unknown(object(), "it is not there: no server is running", start)
                }
                ErrorKind::ConnectionRefused => Finding::warn(
                    object(),
                    "nothing listens on it: the server was killed, or is not ready yet",
                    start,
                ),
                _ => Finding::error(object(), error.to_string(), start),
            };
            return (ObservedServer::Silent, vec![finding]);
        }
    };
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok().map(|peer| Peer {
        pid: u32::try_from(peer.pid.as_raw_nonzero().get()).ok(),
        uid: peer.uid.as_raw(),
        gid: peer.gid.as_raw(),
    });
    let pid = peer.and_then(|peer| peer.pid);
    let (figures, tokens, configuration) = match question(&path) {
        Ok(answers) => answers,
        Err(failure) => {
            let advice = "run this as the server's user or as root; if that does not help, look \
                          at the server's log, and restart it";
            return (
                ObservedServer::Silent,
                vec![Finding::error(object(), failure.message, advice)],
            );
        }
    };
    let who = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    let mut findings = vec![Finding::ok(object(), format!("the server answers{who}"))];
    let owner = std::fs::metadata(&config.data_dir).map(|dir| dir.uid()).unwrap_or_default();
    // Root may do everything; what it makes no other user can open. Others may do what they may by
    // their groups, too, and are looked at with the directory.
    if peer.is_some_and(|peer| peer.uid == 0) && owner != 0 {
        findings.push(Finding::warn(
            object(),
            format!("the server runs as user 0, and the data directory is user {owner}'s"),
            "run the server as the owner of its data directory",
        ));
    }
    (ObservedServer::Up(Box::new(Answers { figures, tokens, configuration, pid, peer })), findings)
}

fn connect(configured: &Path, usual: &Path) -> std::io::Result<(PathBuf, UnixStream)> {
    let to = |path: &Path| UnixStream::connect(path).map(|stream| (path.to_owned(), stream));
    to(configured).or_else(|error| to(usual).map_err(|_| error))
}

/// The configuration that a running server has, where it says so, and what is to be said of it.
pub(super) fn configuration(ours: &Config, server: &ObservedServer) -> (Option<Config>, Finding) {
    let object = "configuration";
    let understood = || (None, Finding::ok(object, "it is understood"));
    let Some(answers) = server.answers() else { return understood() };
    let text = &answers.configuration;
    let Ok(theirs) = Config::parse(Path::new("the server"), text, &Settings::default()) else {
        return understood();
    };
    let who = answers.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
    let differ = theirs.changed(&ours.absolute());
    if differ.is_empty() {
        return (Some(theirs), Finding::ok(object, format!("it is the server's own{who}")));
    }
    let what = format!(
        "the server{who} runs with another one than is given here, and that is what is judged; they \
         differ in {}",
        differ.join(", ")
    );
    (Some(theirs), Finding::ok(object, what))
}

fn question(path: &Path) -> Result<(StatusFigures, Vec<TokenInfo>, String), Failure> {
    let ask = |request: &AdminRequest| {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        admin::ask(&stream, request, &mut std::io::empty(), &mut |_| Ok(()))
    };
    let answers = (
        ask(&AdminRequest::Status)?,
        ask(&AdminRequest::TokenList)?,
        ask(&AdminRequest::Configuration)?,
    );
    match answers {
        (
            AdminReply::Status(figures),
            AdminReply::Tokens(tokens),
            AdminReply::Done(configuration),
        ) => Ok((*figures, tokens, configuration)),
        _ => Err(Failure::new("it answers something else than it was asked")),
    }
}
