//! The server's side of the admin socket.

use std::io::{self, BufReader, BufWriter, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::frame::{Input, Kind, read, write};
use crate::clock;
use crate::logs::{Audit, Deed, Outcome};
use crate::ops::{self, Context, Failure, Item, Noted};
use crate::store::Store;

/// The socket, or a link to it, in the data directory.
pub const SOCKET_NAME: &str = "admin.sock";
/// Commands that run at once.
const COMMANDS_MAX: usize = 16;
/// How long a request may take to arrive, and output to be taken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Binds the socket, for its owner alone. Whoever calls this holds the lock of the data directory,
/// so that a socket that is in there already is nobody's. Where the socket stands elsewhere, a link
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

/// Removes a socket that nobody listens on, or a link to one. Anything else stays.
fn clear(path: &Path) -> io::Result<()> {
    let kind = match std::fs::symlink_metadata(path) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if kind.is_socket() && std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(ErrorKind::AddrInUse, "another server listens on it"));
    }
    if !kind.is_socket() && !kind.is_symlink() {
        return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    std::fs::remove_file(path)
}

/// Answers commands until the task is dropped.
pub async fn serve(listener: UnixListener, store: Arc<Store>, context: Context, audit: Arc<Audit>) {
    let room = Arc::new(Semaphore::new(COMMANDS_MAX));
    let us = rustix::process::geteuid().as_raw();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
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
            refused(&audit, peer);
            continue;
        };
        let stream = stream.into_std().and_then(|stream| {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        });
        let Ok(stream) = stream else { continue };
        let (store, context, audit) = (store.clone(), context.clone(), audit.clone());
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            if let Err(error) = converse(&stream, &store, &context, (uid, &audit)) {
                tracing::debug!(%error, "a command went away");
            }
        });
    }
}

/// Writes down that another user came.
fn refused(audit: &Audit, peer: Option<u32>) {
    let who = peer.map_or_else(|| "nobody".to_owned(), |uid| format!("socket uid {uid}"));
    let deed = Deed {
        at: clock::now(),
        who: &who,
        what: "authenticate",
        object: Some("the admin socket"),
        outcome: Outcome::Refused,
        peer: None,
    };
    // One that is left out stands in the next line that is not.
    let _left_out = audit.write_wrong(&deed, std::time::Instant::now());
}

fn converse(
    stream: &std::os::unix::net::UnixStream,
    store: &Store,
    context: &Context,
    (uid, audit): (u32, &Audit),
) -> io::Result<()> {
    let mut from = BufReader::new(stream);
    let mut to = BufWriter::new(stream);
    let mut content = Vec::new();
    if read(&mut from, &mut content)? != Some(Kind::Request) {
        return Ok(());
    }
    let result = match serde_json::from_slice(&content) {
        Err(error) => Err(Failure::new(format!(
            "the server does not understand this command ({error}); it may be of another release"
        ))),
        Ok(request) => {
            let deed = Noted::of(&request);
            // Only bulk commands read their input, and they wait as long as it takes.
            stream.set_read_timeout(None)?;
            let mut input = Input::new(from);
            let result = ops::run(store, context, request, &mut input, &mut |item| {
                match item {
                    Item::Data(bytes) => {
                        for piece in bytes.chunks(super::frame::PIECE_BYTES) {
                            write(&mut to, Kind::Data, piece)?;
                        }
                    }
                    Item::Progress(progress) => {
                        write(&mut to, Kind::Progress, &serde_json::to_vec(&progress)?)?;
                    }
                    Item::Reject(why, text) => {
                        let content = [why.as_bytes(), b"\n", text].concat();
                        write(&mut to, Kind::Reject, &content)?;
                    }
                }
                to.flush()
            });
            deed.write(audit, &format!("socket uid {uid}"), &result);
            result
        }
    };
    write(&mut to, Kind::Reply, &serde_json::to_vec(&result)?)?;
    to.flush()
}
