//! What stands in the journal's frames: the bodies of each kind.

use super::OpenError;
use super::applied::{AppliedFrame, applied_frame};
use super::kept::KeptPiece;
use super::messages::Note;
use super::outbox::HookPiece;
use crate::access::SettingRow;
use crate::codec::{self, CodecError};
use crate::domain::{Call, CallId};
use crate::journal::{Frame, FrameKind};
use crate::keys::id_at_end;

/// The body of an admin frame: the name, a line end, the JSON.
pub(super) fn admin_body(row: &SettingRow) -> Vec<u8> {
    let mut body = row.name.clone().into_bytes();
    body.push(b'\n');
    body.extend_from_slice(&row.json);
    body
}

/// The body of a tombstone frame.
pub(super) fn tombstone_body(id: CallId) -> Vec<u8> {
    [id.account.bytes(), id.sid.bytes()].concat()
}

/// What a frame says. Of a call it is the id at first: a record is decoded where it is wanted, once.
pub(super) enum Body<'a> {
    Record(CallId, Encoded<'a>),
    Part(CallId, Encoded<'a>),
    Tombstone(CallId),
    /// None where its form is not known.
    Setting(Option<SettingRow>),
    /// None where its form is not known.
    Checkpoint(Option<Note>),
    /// None where its form is not known.
    Outbox(Option<HookPiece<'a>>),
    /// A message of the log was applied by the frames before it.
    Applied(AppliedFrame),
    /// None where its form is not known.
    Kept(Option<KeptPiece<'a>>),
}

/// A record that is still to be decoded.
pub(super) struct Encoded<'a> {
    seq: u64,
    body: &'a [u8],
}

impl Encoded<'_> {
    pub fn call(&self) -> Result<Call, OpenError> {
        record(self.seq, self.body)
    }
}

impl<'a> Body<'a> {
    pub fn decode(frame: &Frame<'a>) -> Result<Self, OpenError> {
        let Frame { seq, body, .. } = *frame;
        let encoded = Encoded { seq, body };
        // A record of a later release says so when it is decoded.
        let id = || codec::peek_id(body).map_or_else(|| record(seq, body).map(|call| call.id), Ok);
        Ok(match frame.kind {
            FrameKind::Record => Self::Record(id()?, encoded),
            FrameKind::Part => Self::Part(id()?, encoded),
            FrameKind::Tombstone => {
                let id = Some(body).filter(|body| body.len() == 32).and_then(id_at_end);
                let reason = || "a strange tombstone".to_owned();
                Self::Tombstone(id.ok_or_else(|| OpenError::Record { seq, reason: reason() })?)
            }
            FrameKind::Admin => Self::Setting(setting(body)),
            FrameKind::Checkpoint => Self::Checkpoint(serde_json::from_slice(body).ok()),
            FrameKind::Outbox => Self::Outbox(HookPiece::read(body)),
            FrameKind::Applied => Self::Applied(applied_frame(frame)?),
            FrameKind::Kept => Self::Kept(KeptPiece::read(body)),
        })
    }
}

/// The row in the body of an admin frame.
fn setting(body: &[u8]) -> Option<SettingRow> {
    let end = body.iter().position(|&byte| byte == b'\n')?;
    let name = std::str::from_utf8(body.get(..end)?).ok()?.to_owned();
    Some(SettingRow { name, json: body.get(end + 1..)?.to_vec() })
}

/// The call in the body of a record frame.
pub(super) fn record(seq: u64, body: &[u8]) -> Result<Call, OpenError> {
    codec::decode(body).map_err(|error| match error {
        CodecError::Version(version) if version > codec::VERSION => {
            OpenError::NewerRecord { seq, version }
        }
        error => OpenError::Record { seq, reason: error.to_string() },
    })
}
