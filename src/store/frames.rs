//! What stands in the journal's frames: the bodies of each kind.

use super::OpenError;
use crate::access::SettingRow;
use crate::codec::{self, CodecError};
use crate::domain::{Call, CallId};

/// The body of an admin frame: the name, a line end, the JSON.
pub(super) fn admin_body(row: &SettingRow) -> Vec<u8> {
    let mut body = row.name.clone().into_bytes();
    body.push(b'\n');
    body.extend_from_slice(&row.json);
    body
}

/// The row in the body of an admin frame.
pub(super) fn admin_row(body: &[u8]) -> Option<SettingRow> {
    let end = body.iter().position(|&byte| byte == b'\n')?;
    let name = std::str::from_utf8(body.get(..end)?).ok()?.to_owned();
    Some(SettingRow { name, json: body.get(end + 1..)?.to_vec() })
}

/// The body of a tombstone frame.
pub(super) fn tombstone_body(id: CallId) -> Vec<u8> {
    [id.account.bytes(), id.sid.bytes()].concat()
}

/// The call in the body of a tombstone frame.
pub(super) fn tombstone_id(body: &[u8]) -> Option<CallId> {
    if body.len() == 32 { crate::keys::id_at_end(body) } else { None }
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
