//! Frames of the admin socket.

use std::io::{self, BufRead, Read, Write};

use tokio::io::{AsyncRead, AsyncReadExt as _};

pub(super) const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a piece of bulk data.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AdminFrameKind {
    /// JSON of [`crate::ops::AdminRequest`].
    Request,
    /// A piece of the command's input or output.
    Data,
    /// The input is over.
    End,
    /// JSON of [`crate::store::Progress`].
    Progress,
    /// A line that says why, a line end, and the record that was not taken.
    Reject,
    /// A line about a record that was taken.
    Note,
    /// JSON of `Result<Reply, Failure>`.
    Reply,
}

const KINDS: [(u8, AdminFrameKind); 7] = [
    (b'Q', AdminFrameKind::Request),
    (b'D', AdminFrameKind::Data),
    (b'E', AdminFrameKind::End),
    (b'P', AdminFrameKind::Progress),
    (b'J', AdminFrameKind::Reject),
    (b'N', AdminFrameKind::Note),
    (b'R', AdminFrameKind::Reply),
];

pub(super) fn write(to: &mut impl Write, kind: AdminFrameKind, content: &[u8]) -> io::Result<()> {
    let Some((letter, _)) = KINDS.iter().find(|(_, own)| *own == kind) else { return Ok(()) };
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    to.write_all(&[*letter])?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(content)
}

/// The next frame; its content replaces that of the buffer. None at the end.
pub(super) fn read(
    from: &mut impl Read,
    content: &mut Vec<u8>,
) -> io::Result<Option<AdminFrameKind>> {
    let mut letter = [0];
    if from.read(&mut letter)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    match KINDS.iter().find(|(own, _)| [*own] == letter) {
        Some((_, kind)) if length <= FRAME_BYTES_MAX => {
            content.resize(length, 0);
            from.read_exact(content)?;
            Ok(Some(*kind))
        }
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of the admin socket")),
    }
}

/// The content of the first frame of a conversation, which is a request. Memory is taken for it as it
/// comes, and not by the length that it announces.
pub(super) async fn read_request(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not a request of a command");
    let [letter, length @ ..] = {
        let mut head = [0; 5];
        from.read_exact(&mut head).await?;
        head
    };
    let length = u32::from_be_bytes(length);
    let request = KINDS.contains(&(letter, AdminFrameKind::Request));
    if !request || length as usize > FRAME_BYTES_MAX {
        return Err(wrong());
    }
    let mut content = Vec::new();
    let read = from.take(length.into()).read_to_end(&mut content).await?;
    if read == length as usize { Ok(content) } else { Err(wrong()) }
}

/// The input of a command, put together from data frames.
pub(super) struct Input<R> {
    from: R,
    piece: Vec<u8>,
    used: usize,
    over: bool,
}

impl<R: Read> Input<R> {
    pub fn new(from: R) -> Self {
        Self { from, piece: Vec::new(), used: 0, over: false }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..length), piece.get(..length)) {
            to.copy_from_slice(from);
        }
        self.consume(length);
        Ok(length)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.used == self.piece.len() && !self.over {
            self.used = 0;
            match read(&mut self.from, &mut self.piece)? {
                Some(AdminFrameKind::Data) => {}
                Some(AdminFrameKind::End) => {
                    self.piece.clear();
                    self.over = true;
                }
                _ => {
                    self.piece.clear();
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the command went away in the middle of its input",
                    ));
                }
            }
        }
        Ok(self.piece.get(self.used..).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.used = (self.used + length).min(self.piece.len());
    }
}
