//! A hook as the journal has it: what of it is sent, and what says to whom it may be sent.
//!
//! ```text
//! body of a frame                          content, in pieces
//!  0  1 or 2 u8: the form                    0  n u16: applications, or 65535
//!  1  number of this piece u16               2  n times 16 bytes
//!  3  number of pieces u16                  ..  n u16: calls, n times 16 bytes
//!  5  account, 16 bytes                     ..  bytes of the content type u16, those
//! 21  of form 2: number in the log u64,     ..  bytes of b3 u16, those
//!     origin: id of a message, 16 bytes,    ..  the first of the body
//!     and place among its hooks u16
//! ..  the piece
//! ```
//!
//! Hooks are known by numbers that only grow. Alone it is the sequence number of the first frame. Where a log is
//! followed the number is made of that of the message ([`logged`]), so that it is the same on every node, and
//! greater than those of all hooks of before the log.
//!
//! A message may be in the log twice: its writer sends it again where no acknowledgement has come. And a log that has lost
//! a message is given its hooks by others. So receivers know a hook by the id of the message that brought it first, and its
//! place there ([`HookHead::delivery_id`]), which are the same each time.

use std::fmt;

use bytes::Bytes;
use data_encoding::HEXLOWER;

use crate::codec::MessageId;
use crate::domain::{AccountSid, ApplicationSid, CallSid, Timestamp};
use crate::journal::FRAME_BODY_BYTES_MAX;

const FORM: u8 = 1;
const LOGGED_FORM: u8 = 2;
const PIECE_AT: usize = 1;
const PIECES_AT: usize = 3;
const ACCOUNT_AT: usize = 5;
const CONTENT_AT: usize = 21;
const LOGGED_CONTENT_AT: usize = 47;
/// From here on numbers are those of hooks in a log.
pub(super) const LOGGED: u64 = 1 << 63;
/// Bits of a number that tell the hooks of one message apart.
const OF_MESSAGE_BITS: u32 = 16;
/// There are events that name no application.
const UNNAMED: u16 = u16::MAX;
/// Calls of one hook.
pub const HOOK_CALLS_MAX: usize = 4096;
/// Bytes of a header field that is passed on.
const HEADER_BYTES_MAX: usize = 1024;
const SID_BYTES: usize = 16;

/// A hook that was accepted and is to be passed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Hook {
    pub account: AccountSid,
    /// None where an event in it names none.
    pub applications: Option<Vec<ApplicationSid>>,
    /// Each once.
    pub calls: Vec<CallSid>,
    pub content_type: Vec<u8>,
    /// The trace of jambonz; empty where there is none.
    pub b3: Vec<u8>,
    /// As it came.
    pub body: Bytes,
    /// What has brought it first, where that is not the message that it is in.
    pub origin: Option<HookOrigin>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hook({}, {} bytes)", self.account, self.body.len())
    }
}

/// Where a hook stands in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct LoggedHook {
    pub number: u64,
    pub origin: HookOrigin,
}

impl LoggedHook {
    /// A hook in this message of a log: the nth that it brings, whether or not those before it were taken.
    pub fn of(message: u64, nth: u16, origin: HookOrigin) -> Self {
        Self { number: logged(message, nth), origin }
    }
}

/// The message of a log that brought a hook first, and its place there: the same however often the hook is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HookOrigin {
    pub id: MessageId,
    pub nth: u16,
}

/// What is known of a hook without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookHead {
    /// It is known by this number: later ones have greater ones.
    pub number: u64,
    /// What has brought it, where a log is followed.
    pub origin: Option<HookOrigin>,
    /// The sequence number of its first frame.
    pub(super) seq: u64,
    /// When it was received.
    pub at: Timestamp,
    pub account: AccountSid,
    /// None where an event in it names none.
    pub applications: Option<Box<[ApplicationSid]>>,
    pub calls: Box<[CallSid]>,
    pub(super) pieces: u16,
    /// Where its first frame begins, in a segment that was packed so often.
    pub(super) offset: u64,
    pub(super) packings: u32,
}

impl HookHead {
    /// Sids that it holds in memory.
    pub fn sids(&self) -> usize {
        self.calls.len() + self.applications.as_ref().map_or(0, |names| names.len())
    }

    /// What names it for its receivers, the same at each attempt.
    pub fn delivery_id(&self) -> String {
        match self.origin {
            None => format!("{:x}-{}", self.at.millis(), self.number),
            Some(HookOrigin { id, nth }) => format!("{}-{nth}", HEXLOWER.encode(&id)),
        }
    }

    /// The batch that it stands in begins at this offset of its segment.
    pub(in crate::store) fn begins_after(&mut self, begin: u64) {
        self.offset += begin;
    }
}

impl Hook {
    /// All that its frames hold, without what each of them begins with. A message of the log has it so, too.
    pub(in crate::store) fn content(&self) -> Vec<u8> {
        let mut content = Vec::with_capacity(self.body.len() + 128);
        let names = self.applications.as_deref();
        let count = names.map_or(UNNAMED, |names| count_of(names.len()));
        content.extend_from_slice(&count.to_le_bytes());
        for name in names.unwrap_or_default() {
            content.extend_from_slice(&name.bytes());
        }
        content.extend_from_slice(&count_of(self.calls.len()).to_le_bytes());
        for call in &self.calls {
            content.extend_from_slice(&call.bytes());
        }
        for header in [&self.content_type, &self.b3] {
            let header = if header.len() > HEADER_BYTES_MAX { &[] } else { header.as_slice() };
            content.extend_from_slice(&count_of(header.len()).to_le_bytes());
            content.extend_from_slice(header);
        }
        content.extend_from_slice(&self.body);
        content
    }

    /// The hook with this content; none where it is none.
    pub(in crate::store) fn from_content(account: AccountSid, content: &[u8]) -> Option<Self> {
        let piece = HookPiece { number: 0, pieces: 1, account, logged: None, content };
        let FirstPiece { applications, calls, content_type, b3, body } = piece.first()?;
        (calls.len() <= HOOK_CALLS_MAX).then(|| Self {
            account,
            applications: applications.map(Vec::from),
            calls: calls.into_vec(),
            content_type: content_type.to_vec(),
            b3: b3.to_vec(),
            body: Bytes::copy_from_slice(body),
            origin: None,
        })
    }

    /// The bodies of its frames; `logged` is where it is in the log, where one is followed.
    pub(in crate::store) fn frames(&self, logged: Option<LoggedHook>) -> Vec<Vec<u8>> {
        let content = self.content();
        let (form, begin) = match logged {
            None => (FORM, CONTENT_AT),
            Some(_) => (LOGGED_FORM, LOGGED_CONTENT_AT),
        };
        let pieces: Vec<_> = content.chunks(FRAME_BODY_BYTES_MAX - begin).collect();
        let count = count_of(pieces.len());
        let frame = |(n, piece): (usize, &&[u8])| {
            let mut frame = vec![form];
            frame.extend_from_slice(&count_of(n).to_le_bytes());
            frame.extend_from_slice(&count.to_le_bytes());
            frame.extend_from_slice(&self.account.bytes());
            if let Some(LoggedHook { number, origin }) = logged {
                frame.extend_from_slice(&number.to_le_bytes());
                frame.extend_from_slice(&origin.id);
                frame.extend_from_slice(&origin.nth.to_le_bytes());
            }
            frame.extend_from_slice(piece);
            frame
        };
        pieces.iter().enumerate().map(frame).collect()
    }

    /// The head of a hook that was written as so many frames, at this place; `logged` as in [`Self::frames`].
    pub(in crate::store) fn head(
        &self,
        (seq, offset, pieces): (u64, u64, usize),
        logged: Option<LoggedHook>,
        at: Timestamp,
    ) -> HookHead {
        HookHead {
            number: logged.map_or(seq, |logged| logged.number),
            origin: logged.map(|logged| logged.origin),
            seq,
            at,
            account: self.account,
            applications: self.applications.as_deref().map(Into::into),
            calls: self.calls.as_slice().into(),
            pieces: count_of(pieces),
            offset,
            packings: 0,
        }
    }
}

/// The number of a hook that is the nth of a message of a log.
fn logged(message: u64, nth: u16) -> u64 {
    LOGGED | message << OF_MESSAGE_BITS | u64::from(nth)
}

/// The greatest number that a hook of a message may have.
pub(in crate::store) fn last_of_message(message: u64) -> u64 {
    logged(message, u16::MAX)
}

/// The message of a hook of this number; none where it is one of before the log, or there is none.
pub(super) fn message_of(number: u64) -> Option<u64> {
    (number >= LOGGED).then_some((number & !LOGGED) >> OF_MESSAGE_BITS)
}

/// How many sequence numbers or messages lie between two numbers.
pub(super) fn steps_between(from: u64, to: u64) -> u64 {
    match message_of(from).zip(message_of(to)) {
        Some((before, after)) => after.saturating_sub(before).max(u64::from(to > from)),
        None => to.saturating_sub(from),
    }
}

/// Lengths here are bounded far below.
fn count_of(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX - 1)
}

/// One frame of a hook.
pub(in crate::store) struct HookPiece<'a> {
    pub number: u16,
    pub pieces: u16,
    pub account: AccountSid,
    /// Where the hook is in the log.
    pub logged: Option<LoggedHook>,
    content: &'a [u8],
}

impl<'a> HookPiece<'a> {
    /// The piece in the body of a frame; none where its form is not known.
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let (number, pieces) = (u16_at(body, PIECE_AT)?, u16_at(body, PIECES_AT)?);
        let account = *body.get(ACCOUNT_AT..)?.first_chunk()?;
        let content = body.get(CONTENT_AT..)?;
        let (logged, content) = match *body.first()? {
            FORM => (None, content),
            LOGGED_FORM => {
                let (number, content) = content.split_first_chunk()?;
                let (id, content) = content.split_first_chunk()?;
                let (nth, content) = content.split_first_chunk()?;
                let origin = HookOrigin { id: *id, nth: u16::from_le_bytes(*nth) };
                (Some(LoggedHook { number: u64::from_le_bytes(*number), origin }), content)
            }
            _ => return None,
        };
        let account = AccountSid::from_bytes(account);
        (number < pieces).then_some(Self { number, pieces, account, logged, content })
    }

    /// What stands before the body, and the first of the body. Of a first piece alone.
    pub fn first(&self) -> Option<FirstPiece<'a>> {
        let mut rest = self.content;
        let count = take_count(&mut rest)?;
        let applications = if count == UNNAMED {
            None
        } else {
            Some(take_sids(&mut rest, count)?.map(ApplicationSid::from_bytes).collect())
        };
        let count = take_count(&mut rest)?;
        let calls = take_sids(&mut rest, count)?.map(CallSid::from_bytes).collect();
        let content_type = take_text(&mut rest)?;
        let b3 = take_text(&mut rest)?;
        Some(FirstPiece { applications, calls, content_type, b3, body: rest })
    }

    /// The bytes of the body in a piece that is not the first.
    pub fn further(&self) -> &'a [u8] {
        self.content
    }
}

/// The content of a first frame.
pub(in crate::store) struct FirstPiece<'a> {
    pub applications: Option<Box<[ApplicationSid]>>,
    pub calls: Box<[CallSid]>,
    pub content_type: &'a [u8],
    pub b3: &'a [u8],
    pub body: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|two| u16::from_le_bytes(*two))
}

fn take_count(rest: &mut &[u8]) -> Option<u16> {
    let (count, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u16::from_le_bytes(*count))
}

fn take_sids<'a>(
    rest: &mut &'a [u8],
    count: u16,
) -> Option<impl Iterator<Item = [u8; SID_BYTES]> + use<'a>> {
    let (sids, after) = rest.split_at_checked(usize::from(count) * SID_BYTES)?;
    *rest = after;
    Some(sids.chunks_exact(SID_BYTES).filter_map(|sid| sid.first_chunk().copied()))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let count = take_count(rest)?;
    let (text, after) = rest.split_at_checked(usize::from(count))?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: HookOrigin = HookOrigin { id: [10; 16], nth: 3 };

    fn hook(body: usize) -> Hook {
        Hook {
            origin: None,
            account: AccountSid::from_bytes([1; 16]),
            applications: Some(vec![ApplicationSid::from_bytes([2; 16])]),
            calls: vec![CallSid::from_bytes([3; 16]), CallSid::from_bytes([4; 16])],
            content_type: b"application/json".to_vec(),
            b3: Vec::new(),
            body: (0..body).map(|n| u8::try_from(n % 251).unwrap()).collect::<Vec<_>>().into(),
        }
    }

    #[test]
    fn a_hook_is_read_as_it_was_written_however_many_frames_it_takes() {
        let sizes = [(0, 1), (500, 1), (300_000, 2), (1 << 20, 5)];
        let numbers = [None, Some(LoggedHook::of(7, 3, ORIGIN))];
        for ((bytes, pieces), number) in sizes.into_iter().flat_map(|s| numbers.map(|n| (s, n))) {
            let hook = hook(bytes);
            let frames = hook.frames(number);
            assert_eq!(frames.len(), pieces, "{bytes}");
            assert!(frames.iter().all(|frame| crate::journal::fits(frame.len()).is_ok()));
            let mut body = Vec::new();
            for (n, frame) in frames.iter().enumerate() {
                let piece = HookPiece::read(frame).unwrap();
                assert_eq!((usize::from(piece.number), piece.account), (n, hook.account));
                assert_eq!(piece.logged, number);
                if n > 0 {
                    body.extend_from_slice(piece.further());
                    continue;
                }
                let first = piece.first().unwrap();
                assert_eq!(first.applications.as_deref(), hook.applications.as_deref());
                assert_eq!(*first.calls, *hook.calls);
                assert_eq!((first.content_type, first.b3), (&*hook.content_type, &*hook.b3));
                body.extend_from_slice(first.body);
            }
            assert_eq!(body, hook.body);
        }
        let unnamed = Hook { applications: None, ..hook(9) };
        let frames = unnamed.frames(None);
        assert_eq!(HookPiece::read(&frames[0]).unwrap().first().unwrap().applications, None);
    }

    #[test]
    fn what_is_cut_off_is_no_hook() {
        for number in [None, Some(LoggedHook::of(7, 3, ORIGIN))] {
            let frame = hook(40).frames(number).remove(0);
            for end in 0..frame.len() - 40 {
                let piece = HookPiece::read(&frame[..end]);
                assert!(piece.is_none_or(|piece| piece.first().is_none()), "{end}");
            }
            assert!(HookPiece::read(&[&[3], &frame[1..]].concat()).is_none());
        }
    }

    #[test]
    fn numbers_of_a_log_grow_with_it_and_follow_all_of_before() {
        let numbers =
            [1, u64::MAX >> 1, logged(0, 0), logged(0, 1), logged(1, 0), last_of_message(1)];
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        assert_eq!(numbers.map(message_of), [None, None, Some(0), Some(0), Some(1), Some(1)]);
        assert_eq!(steps_between(5, 9), 4);
        assert_eq!(steps_between(logged(5, 0), logged(9, 0)), 4);
        assert_eq!(steps_between(logged(5, 0), logged(5, 1)), 1, "something was read");
        assert_eq!(steps_between(logged(5, 1), logged(5, 1)), 0);
        assert!(steps_between(9, logged(1, 0)) > 1 << 50);
    }

    #[test]
    fn a_hook_of_a_log_has_the_same_id_on_every_node_and_each_time_that_it_comes() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let of = |seq, logged, millis| hook(1).head((seq, 0, 1), logged, at(millis)).delivery_id();
        assert_eq!(of(5, None, 16), "10-5", "as before where there is no log");
        let id = "0a".repeat(16) + "-3";
        assert_eq!(of(5, Some(LoggedHook::of(7, 3, ORIGIN)), 16), id);
        assert_eq!(of(6, Some(LoggedHook::of(8, 0, ORIGIN)), 17), id, "it was given back");
        assert_ne!(of(5, Some(LoggedHook::of(7, 3, HookOrigin { nth: 4, ..ORIGIN })), 16), id);
    }

    #[test]
    fn what_is_in_a_hook_is_not_shown() {
        let shown = format!("{:?}", Hook { body: Bytes::from_static(b"+15551230001"), ..hook(0) });
        assert!(!shown.contains("5551230001"), "{shown}");
    }
}
