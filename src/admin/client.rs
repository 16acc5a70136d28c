//! The command's side of the admin socket.

use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::net::UnixStream;

use super::frame::{AdminFrameKind, PIECE_BYTES, read, write};
use crate::ops::{AdminReply, AdminRequest, Emit, Failure, Item};

/// Has the server run a command.
pub fn ask(
    stream: &UnixStream,
    request: &AdminRequest,
    input: &mut (dyn BufRead + Send),
    emit: &mut Emit<'_>,
) -> Result<AdminReply, Failure> {
    let mut to = BufWriter::new(stream);
    let json = serde_json::to_vec(request).map_err(|error| Failure::new(error.to_string()))?;
    write(&mut to, AdminFrameKind::Request, &json)
        .and_then(|()| to.flush())
        .map_err(|e| lost(&e))?;
    let has_input = matches!(request, AdminRequest::Import(_));
    std::thread::scope(|scope| {
        let sender = has_input.then(|| scope.spawn(move || send(input, to)));
        let answer = receive(stream, emit);
        // What is not sent yet is of no use once the answer is there.
        let _already_closed = stream.shutdown(std::net::Shutdown::Both);
        let sent = sender.map(std::thread::ScopedJoinHandle::join);
        match (answer, sent) {
            // The server only sees that the input broke off; the reason is known here.
            (_, Some(Ok(Err(InputError::Input(error))))) => {
                Err(Failure::new(format!("the input cannot be read: {error}")))
            }
            (answer, _) => answer,
        }
    })
}

/// Why input was not sent to its end.
enum InputError {
    /// It cannot be read.
    Input(io::Error),
    /// The server takes no more: its answer says why.
    Server,
}

fn send(
    input: &mut (dyn BufRead + Send),
    mut to: BufWriter<&UnixStream>,
) -> Result<(), InputError> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = io::Read::read(input, &mut piece).map_err(|error| {
            // Without its end the server takes the input for cut off, and not for whole.
            let _already_closed = to.get_ref().shutdown(std::net::Shutdown::Write);
            InputError::Input(error)
        })?;
        let sent = match piece.get(..length) {
            Some(bytes) if length > 0 => write(&mut to, AdminFrameKind::Data, bytes),
            _ => write(&mut to, AdminFrameKind::End, &[]).and_then(|()| to.flush()),
        };
        sent.map_err(|_| InputError::Server)?;
        if length == 0 {
            return Ok(());
        }
    }
}

fn receive(stream: &UnixStream, emit: &mut Emit<'_>) -> Result<AdminReply, Failure> {
    let mut from = BufReader::new(stream);
    let mut content = Vec::new();
    loop {
        match read(&mut from, &mut content).map_err(|error| lost(&error))? {
            Some(AdminFrameKind::Data) => emit(Item::Data(&content))?,
            Some(AdminFrameKind::Progress) => {
                if let Ok(progress) = serde_json::from_slice(&content) {
                    emit(Item::Progress(progress))?;
                }
            }
            Some(AdminFrameKind::Reject) => {
                let end = content.iter().position(|&byte| byte == b'\n').unwrap_or(content.len());
                let (why, text) = content.split_at(end);
                let why = String::from_utf8_lossy(why);
                emit(Item::Reject(&why, text.get(1..).unwrap_or_default()))?;
            }
            Some(AdminFrameKind::Note) => emit(Item::Note(&String::from_utf8_lossy(&content)))?,
            Some(AdminFrameKind::Reply) => {
                let result: Result<AdminReply, Failure> = serde_json::from_slice(&content)
                    .map_err(|error| Failure::new(format!("a strange answer: {error}")))?;
                return result;
            }
            Some(AdminFrameKind::Request | AdminFrameKind::End) | None => {
                let gone = io::Error::from(io::ErrorKind::UnexpectedEof);
                return Err(lost(&gone));
            }
        }
    }
}

fn lost(error: &io::Error) -> Failure {
    Failure::new(format!("the server went away before it answered: {error}"))
}
