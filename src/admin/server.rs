//! The server's side of the admin socket.

use std::collections::VecDeque;
use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::Access;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::frame::{AdminFrameKind, Input, read_request, write};
use crate::intake::Intake;
use crate::logs::{AuditEvent, AuditLog, AuditOutcome};
use crate::ops::{self, AdminContext, AdminReply, AdminRequest, AuditEntry, Failure, Item};
use crate::{clock, fsutil};

/// The socket, or a link to it, in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// Commands of either kind that run at once.
const COMMANDS_MAX: usize = 16;
/// Connections that have not said yet what they want; for one more the oldest has to go.
const SILENT_MAX: usize = 64;
/// How long a request may take to arrive, and the output of a quick command to be taken.
const QUICK: Duration = Duration::from_secs(10);
/// How long the output of another one may take, and how long one waits for others to end.
const TIMEOUT: Duration = Duration::from_mins(1);

/// Bytes of the path of a socket, whose last one the system keeps.
const PATH_BYTES_MAX: usize = 107;

/// Binds the socket, for its owner alone. The caller holds the lock of the data directory, so that
/// no server listens on a socket that is in there already. Where the socket stands elsewhere, a link
/// in the data directory leads to it, for commands that do not know where.
pub fn bind(path: &Path, data_dir: &Path) -> io::Result<UnixListener> {
    clear(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let usual = data_dir.join(SOCKET_NAME);
    if usual != path {
        clear(&usual)?;
        symlink(std::path::absolute(path)?, &usual)?;
    }
    Ok(listener)
}

/// Whether the socket could be bound, as far as that can be said before its data directory is made;
/// changes nothing.
pub fn check(path: &Path, data_dir: &Path) -> io::Result<()> {
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        let long = format!(
            "its path has {bytes} bytes, and that of a socket has at most {PATH_BYTES_MAX}; set \
             admin_socket to a shorter one"
        );
        return Err(io::Error::new(ErrorKind::InvalidFilename, long));
    }
    is_in_the_way(path)?;
    let usual = data_dir.join(SOCKET_NAME);
    if usual == path {
        return Ok(());
    }
    is_in_the_way(&usual)?;
    let dir = fsutil::parent(path);
    if !std::fs::metadata(dir)?.is_dir() {
        return Err(ErrorKind::NotADirectory.into());
    }
    Ok(rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Removes a socket that no process listens on, or a link to one. Anything else stays.
fn clear(path: &Path) -> io::Result<()> {
    if is_in_the_way(path)? {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Whether such a socket or link is there; an error where it is something else.
fn is_in_the_way(path: &Path) -> io::Result<bool> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if kind.is_socket() && std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(ErrorKind::AddrInUse, "another server listens on it"));
    }
    if !kind.is_socket() && !kind.is_symlink() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    Ok(true)
}

/// What every conversation needs.
struct AdminServer {
    intake: Intake,
    context: AdminContext,
    audit: Arc<AuditLog>,
    /// Short commands that may run at once.
    quick: Arc<Semaphore>,
    /// The others. They may last as long as their client, and so have no part
    /// of the quick ones.
    long: Arc<Semaphore>,
    /// Those that follow, which end when their client does.
    following: Arc<Semaphore>,
}

/// Answers commands until the task is dropped.
pub async fn serve(
    listener: UnixListener,
    intake: Intake,
    context: AdminContext,
    audit: Arc<AuditLog>,
) {
    let limit = || Arc::new(Semaphore::new(COMMANDS_MAX));
    let server = Arc::new(AdminServer {
        intake,
        context,
        audit,
        quick: limit(),
        long: limit(),
        following: limit(),
    });
    let us = rustix::process::geteuid().as_raw();
    let mut silent: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket does not accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let peer = stream.peer_cred().map(|peer| peer.uid()).ok();
        let Some(uid) = peer.filter(|uid| *uid == us || *uid == 0) else {
            tracing::warn!(uid = peer, "the admin socket refused another user");
            refused(&server.audit, peer);
            continue;
        };
        silent.retain(|one| !one.is_finished());
        if silent.len() >= SILENT_MAX
            && let Some(oldest) = silent.pop_front()
        {
            tracing::debug!("a connection to the admin socket said nothing, and others wait");
            oldest.abort();
        }
        silent.push_back(tokio::spawn(hear(server.clone(), stream, uid)).abort_handle());
    }
}

/// Reads what a connection wants. It takes no permit before that.
async fn hear(server: Arc<AdminServer>, mut stream: UnixStream, uid: u32) {
    match tokio::time::timeout(QUICK, read_request(&mut stream)).await {
        Ok(Ok(content)) => drop(tokio::spawn(run(server, stream, content, uid))),
        Ok(Err(error)) => tracing::debug!(%error, "a command went away"),
        Err(_) => tracing::debug!(limit = ?QUICK, "a connection to the admin socket said nothing"),
    }
}

/// Waits for a permit, and runs the command.
async fn run(server: Arc<AdminServer>, mut stream: UnixStream, content: Vec<u8>, uid: u32) {
    let request = serde_json::from_slice(&content).map_err(|error| {
        Failure::new(format!(
            "the server does not understand this command ({error}); it may be of another release"
        ))
    });
    let quick = request.as_ref().map_or(true, is_quick);
    let limit = match &request {
        Ok(AdminRequest::Follow { .. }) => &server.following,
        _ if quick => &server.quick,
        _ => &server.long,
    };
    let Ok(Ok(permit)) = tokio::time::timeout(TIMEOUT, limit.clone().acquire_owned()).await else {
        let failure = Failure::new(format!(
            "{COMMANDS_MAX} other commands are running; try again once one of them has ended"
        ));
        let mut frame = Vec::new();
        if reply(&mut frame, &Err(failure)).is_ok() {
            let _gone = tokio::time::timeout(QUICK, stream.write_all(&frame)).await;
        }
        return;
    };
    let stream = stream.into_std().and_then(|stream| {
        stream.set_nonblocking(false)?;
        // Only bulk commands read their input, and they wait as long as it takes.
        stream.set_read_timeout(None)?;
        stream.set_write_timeout(Some(if quick { QUICK } else { TIMEOUT }))?;
        Ok(stream)
    });
    let Ok(stream) = stream else { return };
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        if let Err(error) = converse(&stream, &server, request, uid) {
            tracing::debug!(%error, "a command went away");
        }
    });
}

/// Whether a command is short, however much data there is.
fn is_quick(request: &AdminRequest) -> bool {
    match request {
        AdminRequest::TokenCreate(_)
        | AdminRequest::TokenList
        | AdminRequest::TokenRevoke { wait: None, .. }
        | AdminRequest::AccountSet(_)
        | AdminRequest::AccountList
        | AdminRequest::AccountRemove { .. }
        | AdminRequest::BackupMade(_)
        | AdminRequest::Status
        | AdminRequest::Configuration
        | AdminRequest::Health
        | AdminRequest::ConsoleOpen(_)
        | AdminRequest::CertShow
        | AdminRequest::ForwardStatus
        | AdminRequest::ForwardRetry { .. }
        | AdminRequest::ForwardPause { .. }
        | AdminRequest::ClusterForget { .. }
        | AdminRequest::ClusterLevel { .. }
        | AdminRequest::ClusterPlace
        | AdminRequest::CertRenew { .. } => true,
        // A part of a sid is looked for among all.
        AdminRequest::Show { call } => ops::is_whole(call),
        AdminRequest::Import(_)
        | AdminRequest::TokenRevoke { wait: Some(_), .. }
        | AdminRequest::Follow { .. }
        | AdminRequest::Export(_)
        | AdminRequest::ExportCsv { .. }
        | AdminRequest::List { .. }
        | AdminRequest::ClusterCompare
        | AdminRequest::Check
        | AdminRequest::Rebuild
        | AdminRequest::Compact { .. }
        | AdminRequest::Expire { .. }
        | AdminRequest::Purge(_)
        | AdminRequest::Backup(_) => false,
    }
}

/// Writes down that another user came.
fn refused(audit: &AuditLog, peer: Option<u32>) {
    let who = peer.map_or_else(|| "nobody".to_owned(), |uid| format!("socket uid {uid}"));
    let audit_event = AuditEvent {
        at: clock::now(),
        who: &who,
        what: "authenticate",
        object: Some("the admin socket"),
        outcome: AuditOutcome::Refused,
        peer: None,
    };
    // One that is left out stands in the next line that is not.
    let _left_out = audit.write_wrong(&audit_event, std::time::Instant::now());
}

fn converse(
    stream: &std::os::unix::net::UnixStream,
    server: &AdminServer,
    request: Result<AdminRequest, Failure>,
    uid: u32,
) -> io::Result<()> {
    let mut to = BufWriter::new(stream);
    let result = request.and_then(|request| {
        let audit_event = AuditEntry::of(&request);
        let mut input = Input::new(BufReader::new(stream));
        let mut emit = |item: Item<'_>| {
            match item {
                // Nothing says something, too: that it begins.
                Item::Data([]) => write(&mut to, AdminFrameKind::Data, &[])?,
                Item::Data(bytes) => {
                    for piece in bytes.chunks(super::frame::PIECE_BYTES) {
                        write(&mut to, AdminFrameKind::Data, piece)?;
                    }
                }
                Item::Note(note) => write(&mut to, AdminFrameKind::Note, note.as_bytes())?,
                Item::Progress(progress) => {
                    write(&mut to, AdminFrameKind::Progress, &serde_json::to_vec(&progress)?)?;
                }
                Item::Reject(why, text) => {
                    let content = [why.as_bytes(), b"\n", text].concat();
                    write(&mut to, AdminFrameKind::Reject, &content)?;
                }
            }
            to.flush()
        };
        let result = ops::run(&server.intake, &server.context, request, &mut input, &mut emit);
        audit_event.write(&server.audit, &format!("socket uid {uid}"), None, &result);
        result
    });
    reply(&mut to, &result)
}

fn reply(to: &mut impl Write, result: &Result<AdminReply, Failure>) -> io::Result<()> {
    write(to, AdminFrameKind::Reply, &serde_json::to_vec(result)?)?;
    to.flush()
}
