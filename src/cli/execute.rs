//! Running a command: by the server if one is running, else in this process.

use std::io::{self, BufRead, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::output::Output;
use super::owner::{Acting, Owner};
use crate::config::Config;
use crate::intake::Intake;
use crate::ops::{self, AdminReply, AdminRequest, AuditEntry, Failure, Item};
use crate::store::{Lock, OpenError, Store};
use crate::{admin, clock, fsutil, server, users};

/// How long a command waits for a server that is starting, or for another command.
const TIMEOUT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);

/// What a command answered, and who.
pub(super) struct Answered {
    pub reply: AdminReply,
    pub running: bool,
}

/// Takes output; and records that were not taken, with the reason.
pub(super) type Take<'a> = dyn FnMut(Option<&str>, &[u8]) -> io::Result<()> + 'a;

/// Whether a command may make a store where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Init {
    Yes,
    No,
}

impl From<bool> for Init {
    fn from(flag: bool) -> Self {
        if flag { Self::Yes } else { Self::No }
    }
}

/// Runs a command against the data directory of this configuration.
pub(super) fn execute(
    config: &Config,
    request: AdminRequest,
    input: &mut (dyn BufRead + Send),
    output: &mut Output,
    take: &mut Take<'_>,
) -> Result<Answered, Failure> {
    execute_or_make(config, Init::No, request, input, output, take)
}

/// The same, for a command that may make a store.
pub(super) fn execute_or_make(
    config: &Config,
    init: Init,
    request: AdminRequest,
    input: &mut (dyn BufRead + Send),
    output: &mut Output,
    take: &mut Take<'_>,
) -> Result<Answered, Failure> {
    let dir = &config.data_dir;
    let socket = config.admin_socket_path(runtime_dir().as_deref());
    let foreign = foreign(dir)?;
    let mut owner = Owner::instead_of_root(dir)?;
    let mut acting = None;
    let deadline = Instant::now() + TIMEOUT;
    let mut announced = false;
    loop {
        // The lock decides: only its holder touches the store, and only a server listens.
        let locked = if foreign.is_some() || owner.is_some() {
            None
        } else {
            let new = !is_store(dir);
            match Lock::take(dir, init == Init::Yes) {
                Ok(lock) => {
                    if let Some(refused) = config.cluster().and_then(|_| request.needs_cluster()) {
                        lock.leave_as_it_was()?;
                        return Err(refused);
                    }
                    if new {
                        let (dir, user) = (dir.display(), users::us());
                        output.say(&format!("a new store was made in {dir}, for {user}"));
                    }
                    let reply = here(config, lock, request, input, output, take, &mut acting)?;
                    return Ok(Answered { reply, running: false });
                }
                Err(error @ OpenError::Locked { .. }) => Some(error),
                Err(error) => return Err(server::cannot_open(&error, dir)),
            }
        };
        match connect(&socket, &config.data_dir) {
            Ok(stream) => {
                let mut emit = |item: Item<'_>| emit(item, output, take);
                let reply = admin::ask(&stream, &request, input, &mut emit)?;
                return Ok(Answered { reply, running: true });
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                let (path, us, sudo) = (socket.display(), users::us(), users::sudo(0, "…"));
                return Err(Failure::new(format!(
                    "cannot connect to the server's socket {path}: {error}; this runs as {us}; run this \
                     as the server's user or as root: {sudo}"
                )));
            }
            Err(error) => {
                // Nobody answers: root works on the files as their owner.
                if let Some(owner) = owner.take() {
                    acting = Some(owner.act()?);
                    continue;
                }
                let Some(locked) = &locked else {
                    return Err(foreign.unwrap_or_else(|| error.into()));
                };
                if Instant::now() >= deadline {
                    let path = socket.display();
                    return Err(Failure::new(format!(
                        "{locked}, which does not answer on {path}: {error}"
                    )));
                }
                if !announced && Instant::now() + TIMEOUT > deadline + Duration::from_secs(1) {
                    output.say(&format!("{locked}; waiting for it"));
                    announced = true;
                }
                std::thread::park_timeout(PAUSE);
            }
        }
    }
}

/// Fails where there is neither a server to ask nor a directory that this user may open.
pub(super) fn reachable(config: &Config) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let foreign = foreign(dir)?;
    if !dir.exists() {
        let path = dir.clone();
        return Err(server::cannot_open(&OpenError::Missing { path }, dir));
    }
    let Some(foreign) = foreign else { return Ok(()) };
    let socket = config.admin_socket_path(runtime_dir().as_deref());
    connect(&socket, dir).map(|_| ()).map_err(|_| foreign)
}

/// The server's socket: where this configuration has it, else where the data directory says.
pub(super) fn connect(socket: &Path, data_dir: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(socket)
        .or_else(|error| UnixStream::connect(data_dir.join(admin::SOCKET_NAME)).map_err(|_| error))
}

/// Whether there is a store in a directory, or the beginning of one.
pub(super) fn is_store(dir: &Path) -> bool {
    ["FORMAT", "journal"].iter().any(|name| fsutil::is_there(&dir.join(name)))
}

/// Why this process must not open the store itself: the files that it would make are another
/// user's, who could not open them any more. Root, who can be any user, is handled by [`Owner`].
pub(super) fn foreign(data_dir: &Path) -> Result<Option<Failure>, Failure> {
    let us = rustix::process::geteuid();
    if us.is_root() {
        return Ok(None);
    }
    let ours = |about: &std::fs::Metadata| about.uid() == us.as_raw();
    if std::fs::metadata(data_dir).is_ok_and(|dir| ours(&dir)) {
        // Files of other users in it are reported once they are met.
        return Ok(None);
    }
    match std::fs::symlink_metadata(data_dir.join("LOCK")) {
        Ok(lock) if !ours(&lock) => Ok(Some(server::of_another(data_dir, lock.uid()))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let (dir, us) = (data_dir.display(), users::us());
            let own = users::Closed::on_the_way(&data_dir.join("LOCK"));
            let own = own.filter(|own| !own.is_of_another() && own.keeps_owner_out());
            let whose = match (own, std::fs::metadata(data_dir)) {
                (Some(own), _) => format!("{}; let it: {}", own.whose(""), own.open_it()),
                (None, Ok(about)) => format!(
                    "it belongs to {}, and this runs as {us}; run this as its owner: {}",
                    users::shown(about.uid()),
                    users::sudo(about.uid(), "…")
                ),
                (None, Err(_)) => format!(
                    "this runs as {us}, who may not enter a directory that leads there; run this as the \
                     server's user or as root: {}",
                    users::sudo(0, "…")
                ),
            };
            Err(Failure::new(format!(
                "cannot look into the data directory {dir}: {error}; {whose}"
            )))
        }
        _ => Ok(None),
    }
}

/// Whether a store of another user is given to this one by its group, as a platform does that starts a
/// server as another user and gives the volume to a group of both. A command by itself is no reason to
/// make files that the server, then another user, could not open.
pub(super) fn is_given_by_group(data_dir: &Path) -> bool {
    let wanted = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    let us = rustix::process::geteuid();
    !us.is_root() && rustix::fs::access(data_dir.join("LOCK"), wanted).is_ok()
}

/// systemd's `RUNTIME_DIRECTORY`; the first one where it names several.
pub(super) fn runtime_dir() -> Option<PathBuf> {
    let dirs = std::env::var("RUNTIME_DIRECTORY").ok()?;
    dirs.split(':').next().filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

fn here(
    config: &Config,
    lock: Lock,
    request: AdminRequest,
    input: &mut (dyn BufRead + Send),
    output: &mut Output,
    take: &mut Take<'_>,
    acting: &mut Option<Acting>,
) -> Result<AdminReply, Failure> {
    output.log_quietly();
    let audit = config.audit()?;
    let audit_event = AuditEntry::of(&request);
    // Root stays root there, whichever user it acts as.
    let who = format!("command uid {}", rustix::process::getuid().as_raw());
    if let Some(result) = ops::run_without_store(&config.ops_context(), &request) {
        audit_event.write(&audit, &who, None, &result);
        lock.leave_as_it_was()?;
        return result;
    }
    let writes_elsewhere = matches!(request, AdminRequest::Backup(_));
    let mut options = config.store_options();
    options.rebuild = matches!(request, AdminRequest::Rebuild);
    let rebuilt = options.rebuild;
    let store = {
        let output = parking_lot::Mutex::new(&mut *output);
        let progress = |progress| output.lock().progress(&progress);
        let opened = Store::open(lock, options, clock::now(), &progress);
        Arc::new(opened.map_err(|error| server::cannot_open(&error, &config.data_dir))?)
    };
    if writes_elsewhere {
        // The threads of the store stay the owner of the data; a backup belongs to the user who makes it.
        *acting = None;
    }
    let result = if rebuilt {
        Ok(ops::rebuilt(store.status().calls.unwrap_or_default()))
    } else {
        let mut emit = |item: Item<'_>| emit(item, output, take);
        ops::run(&Intake::Alone(store.clone()), &config.ops_context(), request, input, &mut emit)
    };
    audit_event.write(&audit, &who, None, &result);
    // A store that has failed says why best itself.
    store.close()?;
    result
}

fn emit(item: Item<'_>, output: &mut Output, take: &mut Take<'_>) -> io::Result<()> {
    match item {
        Item::Data(bytes) => take(None, bytes).inspect_err(|error| output.noticed(error)),
        Item::Reject(why, text) => take(Some(why), text),
        Item::Note(note) => {
            output.say(note);
            Ok(())
        }
        Item::Progress(progress) => {
            output.progress(&progress);
            Ok(())
        }
    }
}
