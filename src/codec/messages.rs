//! Messages of the replicated log: whole submissions, as their node took them.
//!
//! ```text
//!  0    version u8: the greatest of its submissions
//!  1    bytes of the node's name u8, those
//!  ..   id of the message, 16 bytes: the same however often it is sent
//!  ..   submissions: bytes u32, version u8, a submission of that version as bincode
//!  -4   CRC-32C of all before, u32
//! ```
//!
//! Numbers are little-endian. A node that meets a version that it does not know stops there, and never passes over it: see
//! [`MessageError::Newer`]. So a shape is frozen, as those of records are; what is new is a further variant of a further
//! version. What a release reads and what it writes are two things: the level of the cluster says what is written
//! (`node/level.rs`), until somebody raises it.
//!
//! Records in it have their own version, as in the journal, and settings are JSON. A release that stores them in a new shape
//! reads a further version of messages, and puts them into those below it as the releases before do.
//!
//! What a change does is decided where it is applied, by what is known there, which is the same on every node. Times are
//! those of the node that took it: whether they are plausible is decided once, there.

use std::sync::Arc;

use bincode::Options as _;
use serde::{Deserialize, Serialize};

use super::words::{TEXTS, direction, direction_byte, source, source_byte, status, status_byte};
use super::{CodecError, decode, encode, micros, millis, moment, shape, time};
use crate::access::Replaces;
use crate::domain::{
    AccountSid, Call, CallField, CallId, CallSid, EVENT_FIELDS, EventTimes, KEY_BYTES_MAX, LeftOut,
    StampedEvent, TEXT_BYTES_MAX, Timestamp,
};

/// The greatest version that this release reads. It reads all from the first on.
pub const MESSAGE_VERSION: u8 = 1;
/// The version that is written where nobody has raised it.
pub const FIRST_MESSAGE_VERSION: u8 = 1;
/// Far above what a server takes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
const NODE_BYTES_MAX: usize = 32;
const ID_BYTES: usize = 16;
const LENGTH_BYTES: usize = 4;
const CRC_BYTES: usize = 4;
/// Of a setting's name.
const NAME_BYTES_MAX: usize = 256;
/// Of a setting's JSON: with its name it fits into a frame of the journal.
const SETTING_BYTES_MAX: usize = 255 * 1024;
/// Of an event's lists of names, each.
const NAMES_MAX: usize = 4096;

/// Which message it is, however often it is in the log.
pub type MessageId = [u8; ID_BYTES];

/// A message as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub node: Box<str>,
    pub id: MessageId,
    /// In the order in which they are applied.
    pub submissions: Vec<LoggedSubmission>,
}

/// Changes of which all are applied or none.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedSubmission {
    /// When they were received.
    pub at: Timestamp,
    pub changes: Vec<LoggedChange>,
}

/// One thing that is to happen to the store of every node.
#[derive(Debug, Clone, PartialEq)]
pub enum LoggedChange {
    Event(Box<StampedEvent>),
    Imported(Box<StampedEvent>),
    Record(Arc<Call>),
    /// A record that the log has lost, and whether it is a CDR that waits for its call.
    Given(Arc<Call>, bool),
    Delete(CallId),
    /// A deletion that the log has lost.
    Gone(CallId),
    /// With the time since which the call must have been silent.
    Stale(CallId, Timestamp),
    Expire(CallId),
    Setting(LoggedSetting),
    /// A CDR that waits is looked at again.
    PlaceCdr {
        id: CallId,
        due: bool,
    },
    /// A hook that is to be passed on: the content of its frames.
    Forward {
        account: AccountSid,
        content: Box<[u8]>,
    },
    /// A hook that the log has lost, with the message that brought it, and its place among the hooks of that.
    GivenForward {
        account: AccountSid,
        origin: (MessageId, u16),
        content: Box<[u8]>,
    },
}

/// A token or the settings of an account, with what must be there before.
#[derive(Clone, PartialEq, Eq)]
pub struct LoggedSetting {
    pub name: Box<str>,
    /// Empty where it is removed.
    pub json: Box<[u8]>,
    pub replaces: Replaces,
}

impl std::fmt::Debug for LoggedSetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The content has secrets in it.
        write!(f, "LoggedSetting({}, {} bytes, {:?})", self.name, self.json.len(), self.replaces)
    }
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error(
        "a message of version {0}, and this release reads up to {MESSAGE_VERSION}: expected a later release here"
    )]
    Newer(u8),
    #[error("the message does not fit its checksum")]
    Checksum,
    #[error("not a message: {0}")]
    Shape(String),
    #[error(transparent)]
    Content(#[from] CodecError),
}

#[derive(Serialize, Deserialize)]
struct SubmissionV1<'a> {
    at: u64,
    #[serde(borrow)]
    changes: Vec<ChangeV1<'a>>,
}

/// The order of the variants is stored.
#[derive(Serialize, Deserialize)]
enum ChangeV1<'a> {
    #[serde(borrow)]
    Event(EventV1<'a>),
    #[serde(borrow)]
    Imported(EventV1<'a>),
    /// A record as the journal has it.
    Record(&'a [u8]),
    Delete(IdV1),
    Stale(IdV1, u64),
    Expire(IdV1),
    Setting(&'a str, &'a [u8], ReplacesV1),
    PlaceCdr(IdV1, bool),
    Forward([u8; 16], &'a [u8]),
    /// A record as the journal has it.
    Given(&'a [u8], bool),
    Gone(IdV1),
    GivenForward([u8; 16], ([u8; 16], u16), &'a [u8]),
}

type IdV1 = ([u8; 16], [u8; 16]);

#[derive(Serialize, Deserialize)]
enum ReplacesV1 {
    Anything,
    Nothing,
    Content([u8; 16]),
}

/// `at` in microseconds, all other times in milliseconds.
#[derive(Serialize, Deserialize)]
struct EventV1<'a> {
    id: IdV1,
    source: u8,
    at: Option<u64>,
    listed_at: Option<u64>,
    attempted_at: Option<u64>,
    answered_at: Option<u64>,
    terminated_at: Option<u64>,
    said_attempted_at: Option<u64>,
    said_answered_at: Option<u64>,
    end_said: bool,
    status: Option<u8>,
    sip_status: Option<u16>,
    #[serde(borrow)]
    sip_reason: Option<&'a str>,
    duration: Option<u32>,
    direction: u8,
    /// In the order of [`TEXTS`].
    #[serde(borrow)]
    texts: [Option<&'a str>; TEXTS.len()],
    #[serde(borrow)]
    extras: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    large: Vec<&'a str>,
    #[serde(borrow)]
    remembered: Vec<&'a str>,
    more: u64,
    /// Places in [`EVENT_FIELDS`], which only grows at its end.
    unread: Vec<u8>,
}

/// The bytes of one submission, for [`assemble`], as this version has them.
///
/// # Errors
/// Something in it is larger than any may be.
pub fn encode_submission(
    submission: &LoggedSubmission,
    version: u8,
) -> Result<Vec<u8>, MessageError> {
    let records: Vec<Vec<u8>> = submission
        .changes
        .iter()
        .filter_map(|change| match change {
            LoggedChange::Record(call) | LoggedChange::Given(call, _) => Some(encode(call)),
            _ => None,
        })
        .collect();
    for change in &submission.changes {
        if let LoggedChange::Setting(row) = change {
            bounded_setting(&row.name, &row.json)?;
        }
    }
    let mut records = records.iter();
    let changes = submission.changes.iter().map(|change| match change {
        LoggedChange::Event(event) => ChangeV1::Event(EventV1::of(event)),
        LoggedChange::Imported(event) => ChangeV1::Imported(EventV1::of(event)),
        LoggedChange::Record(_) => {
            ChangeV1::Record(records.next().map(Vec::as_slice).unwrap_or_default())
        }
        LoggedChange::Given(_, waits) => {
            ChangeV1::Given(records.next().map(Vec::as_slice).unwrap_or_default(), *waits)
        }
        LoggedChange::Delete(id) => ChangeV1::Delete(id_bytes(*id)),
        LoggedChange::Gone(id) => ChangeV1::Gone(id_bytes(*id)),
        LoggedChange::Stale(id, before) => ChangeV1::Stale(id_bytes(*id), before.millis()),
        LoggedChange::Expire(id) => ChangeV1::Expire(id_bytes(*id)),
        LoggedChange::Setting(row) => {
            let replaces = match row.replaces {
                Replaces::Anything => ReplacesV1::Anything,
                Replaces::Nothing => ReplacesV1::Nothing,
                Replaces::Content(digest) => ReplacesV1::Content(digest),
            };
            ChangeV1::Setting(&row.name, &row.json, replaces)
        }
        LoggedChange::PlaceCdr { id, due } => ChangeV1::PlaceCdr(id_bytes(*id), *due),
        LoggedChange::Forward { account, content } => ChangeV1::Forward(account.bytes(), content),
        LoggedChange::GivenForward { account, origin, content } => {
            ChangeV1::GivenForward(account.bytes(), *origin, content)
        }
    });
    let stored = SubmissionV1 { at: submission.at.millis(), changes: changes.collect() };
    let mut bytes = vec![version];
    let written =
        bincode::options().with_limit(MESSAGE_BYTES_MAX as u64).serialize_into(&mut bytes, &stored);
    written.map_err(|error| MessageError::Shape(error.to_string()))?;
    // One that no node could read would stop all of them: it is an error of who made it.
    decode_submission(&bytes, version)?;
    Ok(bytes)
}

/// One message of submissions.
pub fn assemble<B: AsRef<[u8]>>(node: &str, id: MessageId, submissions: &[B]) -> Vec<u8> {
    let node = node.get(..node.floor_char_boundary(NODE_BYTES_MAX)).unwrap_or_default();
    let bodies: usize = submissions.iter().map(|body| LENGTH_BYTES + body.as_ref().len()).sum();
    let mut bytes = Vec::with_capacity(2 + node.len() + ID_BYTES + bodies + CRC_BYTES);
    let versions = submissions.iter().filter_map(|body| body.as_ref().first().copied());
    bytes.push(versions.max().unwrap_or(FIRST_MESSAGE_VERSION));
    bytes.push(u8::try_from(node.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(node.as_bytes());
    bytes.extend_from_slice(&id);
    for body in submissions {
        let body = body.as_ref();
        // Bounded by what `encode_submission` gives.
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(body);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// The id of a message, without what is in it; none where it has none that can be read.
pub fn peek_message_id(bytes: &[u8]) -> Option<MessageId> {
    let node = usize::from(*bytes.get(1)?);
    bytes.get(2 + node..)?.first_chunk().copied()
}

/// The message with these bytes.
pub fn decode_message(bytes: &[u8]) -> Result<Message, MessageError> {
    let malformed = |what: &str| MessageError::Shape(what.to_owned());
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(malformed("it is larger than any"));
    }
    let (content, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or_else(|| malformed("short"))?;
    // The version goes first: a later one may have its checksum elsewhere.
    let version = content.first().copied().unwrap_or_default();
    is_read(version)?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return Err(MessageError::Checksum);
    }
    let rest = content.get(1..).unwrap_or_default();
    let (&length, rest) = rest.split_first().ok_or_else(|| malformed("no node"))?;
    let (node, rest) =
        rest.split_at_checked(usize::from(length)).ok_or_else(|| malformed("no node"))?;
    let node = std::str::from_utf8(node).map_err(|_| malformed("a node that is no text"))?;
    if node.len() > NODE_BYTES_MAX {
        return Err(malformed("a node of so long a name"));
    }
    let (id, mut rest) = rest.split_first_chunk().ok_or_else(|| malformed("no id"))?;
    let mut submissions = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or_else(|| malformed("a submission without its length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (body, after) = after
            .split_at_checked(length)
            .ok_or_else(|| malformed("a submission that is cut off"))?;
        submissions.push(decode_submission(body, version)?);
        rest = after;
    }
    Ok(Message { node: node.into(), id: *id, submissions })
}

/// An error where this is no version that this release reads.
fn is_read(version: u8) -> Result<(), MessageError> {
    match version {
        FIRST_MESSAGE_VERSION..=MESSAGE_VERSION => Ok(()),
        version if version > MESSAGE_VERSION => Err(MessageError::Newer(version)),
        _ => Err(MessageError::Shape("no version".to_owned())),
    }
}

/// `most` is the version of its message.
fn decode_submission(body: &[u8], most: u8) -> Result<LoggedSubmission, MessageError> {
    let Some((version, body)) = body.split_first().filter(|(version, _)| **version <= most) else {
        return Err(MessageError::Shape(
            "a submission without a version of its message".to_owned(),
        ));
    };
    is_read(*version)?;
    // Nothing is as large as a length that is damaged can say.
    let options = bincode::options().with_limit(body.len() as u64).reject_trailing_bytes();
    let stored: SubmissionV1<'_> =
        options.deserialize(body).map_err(|error| MessageError::Shape(error.to_string()))?;
    let at = time(Some(stored.at))?.unwrap_or_default();
    let changes = stored.changes.into_iter().map(ChangeV1::into_change);
    Ok(LoggedSubmission { at, changes: changes.collect::<Result<_, CodecError>>()? })
}

impl ChangeV1<'_> {
    fn into_change(self) -> Result<LoggedChange, CodecError> {
        Ok(match self {
            Self::Event(event) => LoggedChange::Event(Box::new(event.into_event()?)),
            Self::Imported(event) => LoggedChange::Imported(Box::new(event.into_event()?)),
            Self::Record(bytes) => LoggedChange::Record(Arc::new(decode(bytes)?)),
            Self::Given(bytes, waits) => LoggedChange::Given(Arc::new(decode(bytes)?), waits),
            Self::Delete(id) => LoggedChange::Delete(id_of(id)),
            Self::Gone(id) => LoggedChange::Gone(id_of(id)),
            Self::Stale(id, before) => {
                LoggedChange::Stale(id_of(id), time(Some(before))?.unwrap_or_default())
            }
            Self::Expire(id) => LoggedChange::Expire(id_of(id)),
            Self::Setting(name, json, replaces) => {
                bounded_setting(name, json)?;
                let replaces = match replaces {
                    ReplacesV1::Anything => Replaces::Anything,
                    ReplacesV1::Nothing => Replaces::Nothing,
                    ReplacesV1::Content(digest) => Replaces::Content(digest),
                };
                LoggedChange::Setting(LoggedSetting {
                    name: name.into(),
                    json: json.into(),
                    replaces,
                })
            }
            Self::PlaceCdr(id, due) => LoggedChange::PlaceCdr { id: id_of(id), due },
            Self::Forward(account, content) => LoggedChange::Forward {
                account: AccountSid::from_bytes(account),
                content: content.into(),
            },
            Self::GivenForward(account, origin, content) => LoggedChange::GivenForward {
                account: AccountSid::from_bytes(account),
                origin,
                content: content.into(),
            },
        })
    }
}

impl<'a> EventV1<'a> {
    fn of(event: &'a StampedEvent) -> Self {
        let stamp = &event.stamp;
        let mut texts = [None; TEXTS.len()];
        for (stored, field) in texts.iter_mut().zip(TEXTS) {
            *stored = event.texts.get(field as usize).and_then(Option::as_deref);
        }
        let unread = event.unread.iter().filter_map(|name| {
            let place = EVENT_FIELDS.iter().position(|field| field == name)?;
            u8::try_from(place).ok()
        });
        // A request may name the same field any number of times.
        let unread = unread.take(NAMES_MAX);
        Self {
            id: id_bytes(event.id),
            source: source_byte(event.source),
            at: micros(stamp.at),
            listed_at: millis(stamp.listed_at),
            attempted_at: millis(stamp.attempted_at),
            answered_at: millis(stamp.answered_at),
            terminated_at: millis(stamp.terminated_at),
            said_attempted_at: millis(stamp.said_attempted_at),
            said_answered_at: millis(stamp.said_answered_at),
            end_said: stamp.end_said,
            status: event.status.map(status_byte),
            sip_status: event.sip_status,
            sip_reason: event.sip_reason.as_deref(),
            duration: event.duration,
            direction: direction_byte(event.direction),
            texts,
            extras: event.extras.iter().map(|(key, json)| (&**key, &**json)).collect(),
            large: event.left_out.large.iter().map(|name| &**name).collect(),
            remembered: event.left_out.remembered.iter().map(|name| &**name).collect(),
            more: event.left_out.more,
            unread: unread.collect(),
        }
    }

    fn into_event(self) -> Result<StampedEvent, CodecError> {
        let bounded = |text: &str| {
            if text.len() > TEXT_BYTES_MAX { Err(shape("a text of so many bytes")) } else { Ok(()) }
        };
        let mut texts: [Option<Box<str>>; CallField::ALL.len()] = Default::default();
        for (field, stored) in TEXTS.into_iter().zip(self.texts) {
            if let (Some(value), Some(text)) = (stored, texts.get_mut(field as usize)) {
                bounded(value)?;
                *text = Some(value.into());
            }
        }
        if let Some(reason) = self.sip_reason {
            bounded(reason)?;
        }
        // What a record keeps of them is bounded where it is merged; here it is what a request could say at most.
        let lists = [self.extras.len(), self.large.len(), self.remembered.len(), self.unread.len()];
        if lists.into_iter().any(|length| length > NAMES_MAX) {
            return Err(shape("an event of so many keys"));
        }
        if self.extras.iter().any(|(key, _)| key.len() > KEY_BYTES_MAX) {
            return Err(shape("a key of so many bytes"));
        }
        let names = |names: Vec<&str>| names.into_iter().map(Box::from).collect();
        let unread = self.unread.iter().map(|place| {
            let field = EVENT_FIELDS.get(usize::from(*place)).copied();
            field.ok_or_else(|| shape("a field of a later release"))
        });
        Ok(StampedEvent {
            id: id_of(self.id),
            source: source(self.source)?,
            stamp: EventTimes {
                at: moment(self.at)?,
                listed_at: time(self.listed_at)?,
                attempted_at: time(self.attempted_at)?,
                answered_at: time(self.answered_at)?,
                terminated_at: time(self.terminated_at)?,
                said_attempted_at: time(self.said_attempted_at)?,
                said_answered_at: time(self.said_answered_at)?,
                end_said: self.end_said,
            },
            status: self.status.map(status).transpose()?,
            sip_status: self.sip_status,
            sip_reason: self.sip_reason.map(Box::from),
            duration: self.duration,
            direction: direction(self.direction)?,
            texts,
            extras: self.extras.into_iter().map(|(key, json)| (key.into(), json.into())).collect(),
            left_out: LeftOut {
                large: names(self.large),
                remembered: names(self.remembered),
                more: self.more,
            },
            unread: unread.collect::<Result<_, CodecError>>()?,
        })
    }
}

/// An error where a setting is none that the journal can hold.
fn bounded_setting(name: &str, json: &[u8]) -> Result<(), CodecError> {
    if name.len() > NAME_BYTES_MAX || name.contains('\n') {
        return Err(shape("a setting of such a name"));
    }
    if json.len() > SETTING_BYTES_MAX {
        let bytes = json.len();
        return Err(shape(&format!(
            "the setting {name} of {bytes} bytes, where {SETTING_BYTES_MAX} are the most"
        )));
    }
    Ok(())
}

fn id_bytes(id: CallId) -> IdV1 {
    (id.account.bytes(), id.sid.bytes())
}

fn id_of((account, sid): IdV1) -> CallId {
    CallId { account: AccountSid::from_bytes(account), sid: CallSid::from_bytes(sid) }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::samples;

    fn id() -> impl Strategy<Value = CallId> {
        (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(id_of)
    }

    fn bytes() -> impl Strategy<Value = Box<[u8]>> {
        vec(any::<u8>(), 0..300).prop_map(Vec::into_boxed_slice)
    }

    fn replaces() -> impl Strategy<Value = Replaces> {
        prop_oneof![
            Just(Replaces::Anything),
            Just(Replaces::Nothing),
            any::<[u8; 16]>().prop_map(Replaces::Content),
        ]
    }

    /// An event with what those of the samples leave out.
    fn event() -> impl Strategy<Value = Box<StampedEvent>> {
        let unread = vec(prop::sample::select(EVENT_FIELDS.to_vec()), 0..4);
        let listed = option::of(samples::time());
        (samples::event(), unread, listed, any::<u64>()).prop_map(
            |(event, unread, listed, more)| {
                let stamp = EventTimes { listed_at: listed, ..event.stamp };
                let left_out = LeftOut { more, ..event.left_out.clone() };
                Box::new(StampedEvent { stamp, left_out, unread, ..event })
            },
        )
    }

    fn change() -> impl Strategy<Value = LoggedChange> {
        prop_oneof![
            4 => event().prop_map(LoggedChange::Event),
            1 => event().prop_map(LoggedChange::Imported),
            1 => samples::call().prop_map(|call| LoggedChange::Record(Arc::new(call))),
            1 => id().prop_map(LoggedChange::Delete),
            1 => (id(), samples::time()).prop_map(|(id, at)| LoggedChange::Stale(id, at)),
            1 => id().prop_map(LoggedChange::Expire),
            1 => ("[a-z/0-9]{0,40}", bytes(), replaces()).prop_map(|(name, json, replaces)| {
                LoggedChange::Setting(LoggedSetting { name: name.into(), json, replaces })
            }),
            1 => (id(), any::<bool>()).prop_map(|(id, due)| LoggedChange::PlaceCdr { id, due }),
            1 => (any::<[u8; 16]>(), bytes()).prop_map(|(account, content)| {
                LoggedChange::Forward { account: AccountSid::from_bytes(account), content }
            }),
            1 => (any::<[u8; 16]>(), any::<([u8; 16], u16)>(), bytes()).prop_map(
                |(account, origin, content)| LoggedChange::GivenForward {
                    account: AccountSid::from_bytes(account),
                    origin,
                    content,
                }
            ),
        ]
    }

    fn submission() -> impl Strategy<Value = LoggedSubmission> {
        (samples::time(), vec(change(), 0..5))
            .prop_map(|(at, changes)| LoggedSubmission { at, changes })
    }

    fn message() -> impl Strategy<Value = Message> {
        ("[a-z0-9_-]{1,32}", any::<[u8; 16]>(), vec(submission(), 0..4))
            .prop_map(|(node, id, submissions)| Message { node: node.into(), id, submissions })
    }

    fn encoded(message: &Message) -> Vec<u8> {
        let bodies = message.submissions.iter().map(|one| encode_submission(one, 1).unwrap());
        assemble(&message.node, message.id, &bodies.collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(message in message()) {
            let bytes = encoded(&message);
            prop_assert_eq!(peek_message_id(&bytes), Some(message.id));
            prop_assert_eq!(decode_message(&bytes).unwrap(), message);
        }

        #[test]
        fn a_message_that_is_not_whole_is_refused(message in message(), place in any::<prop::sample::Index>(), flip in 1..=255_u8) {
            let mut bytes = encoded(&message);
            let cut = place.index(bytes.len());
            prop_assert!(decode_message(&bytes[..cut]).is_err());
            bytes[cut] ^= flip;
            prop_assert!(decode_message(&bytes).is_err());
        }

        /// Also where the checksum is right: what another has sent on purpose.
        #[test]
        fn no_bytes_make_it_panic_or_take_memory(message in message(), places in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = encoded(&message);
            let end = bytes.len() - CRC_BYTES;
            for (place, value) in places {
                bytes[1 + place.index(end - 1)] = value;
            }
            let crc = crc32c::crc32c(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
            if let Ok(read) = decode_message(&bytes) {
                // What is read can be written again, and is then the same.
                prop_assert_eq!(decode_message(&encoded(&read)).unwrap(), read);
            }
        }
    }

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = assemble("node1", [7; 16], &[] as &[Vec<u8>]);
        bytes[0] = MESSAGE_VERSION + 1;
        let error = decode_message(&bytes).unwrap_err();
        assert!(matches!(error, MessageError::Newer(version) if version == MESSAGE_VERSION + 1));
        bytes[0] = 0;
        assert!(matches!(decode_message(&bytes), Err(MessageError::Shape(_))));
        // A submission has a version of its own, which is that of its message at most.
        let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let nothing = LoggedSubmission { at, changes: Vec::new() };
        let bodies = [0, 1, 2].map(|more| {
            let mut body = encode_submission(&nothing, MESSAGE_VERSION).unwrap();
            body[0] = MESSAGE_VERSION - 1 + more;
            body
        });
        let message = assemble("node1", [7; 16], &bodies[1..]);
        assert_eq!(message[0], MESSAGE_VERSION + 1);
        assert!(matches!(decode_message(&message), Err(MessageError::Newer(_))));
        assert!(decode_message(&assemble("node1", [7; 16], &bodies[1..2])).is_ok());
        let none = decode_message(&assemble("node1", [7; 16], &bodies[..2]));
        assert_eq!(none.is_ok(), MESSAGE_VERSION > FIRST_MESSAGE_VERSION);
        // What says more in it than at its beginning is damaged, and no later release is asked for.
        let mut message = assemble("node1", [7; 16], &bodies[1..]);
        message[0] = MESSAGE_VERSION;
        let end = message.len() - CRC_BYTES;
        let crc = crc32c::crc32c(&message[..end]);
        message[end..].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode_message(&message), Err(MessageError::Shape(_))));
    }

    #[test]
    fn lengths_that_nobody_checked_take_no_memory() {
        let large = LoggedChange::Forward {
            account: AccountSid::from_bytes([1; 16]),
            content: vec![0; MESSAGE_BYTES_MAX + 1].into(),
        };
        let at = Timestamp::from_millis(1_800_000_000_000).unwrap();
        let submission = LoggedSubmission { at, changes: vec![large] };
        assert!(encode_submission(&submission, 1).is_err());
        // A setting that no frame of the journal holds.
        for (bytes, is_taken) in [(SETTING_BYTES_MAX, true), (SETTING_BYTES_MAX + 1, false)] {
            let json = vec![b' '; bytes].into();
            let name = "account/x".into();
            let row = LoggedSetting { name, json, replaces: Replaces::Anything };
            let changes = vec![LoggedChange::Setting(row)];
            let told = encode_submission(&LoggedSubmission { at, changes }, 1);
            assert_eq!(told.is_ok(), is_taken, "{bytes}");
        }
        // What no node would read is no message in the first place.
        let id = CallId { account: samples::ACCOUNT, sid: samples::CALL };
        let long = Some("x".repeat(TEXT_BYTES_MAX + 1).into_boxed_str());
        let event = StampedEvent { sip_reason: long, ..samples::bare_event(id, None, at) };
        let changes = vec![LoggedChange::Event(Box::new(event))];
        assert!(encode_submission(&LoggedSubmission { at, changes }, 1).is_err());
        // A submission that says that it has 2^62 changes.
        let mut body = vec![1_u8, 0xfc, 0, 0, 0, 0];
        body.extend_from_slice(&[0xfd]);
        body.extend_from_slice(&(1_u64 << 62).to_le_bytes());
        assert!(decode_message(&assemble("n", [0; 16], &[body])).is_err());
        assert!(decode_message(&[]).is_err() && decode_message(&[1]).is_err());
    }

    #[test]
    fn secrets_do_not_stand_in_what_is_logged() {
        let row = LoggedSetting {
            name: "account/x".into(),
            json: (*b"{\"webhook_secret\":\"hidden\"}").into(),
            replaces: Replaces::Nothing,
        };
        let shown = format!("{:?}", LoggedChange::Setting(row));
        assert!(shown.contains("account/x") && !shown.contains("hidden"), "{shown}");
    }

    /// The bytes of a message of the first version, with each kind of change.
    #[test]
    fn a_message_of_this_version_has_these_very_bytes() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let id = CallId { account: samples::ACCOUNT, sid: samples::CALL };
        let event = StampedEvent {
            extras: vec![("caller_id".into(), "\"x\"".into())],
            left_out: LeftOut {
                large: vec!["long".into()],
                remembered: vec!["from".into()],
                more: 3,
            },
            unread: vec!["duration", "to"],
            sip_reason: Some("Gone".into()),
            duration: Some(42),
            ..samples::bare_event(id, Some(crate::domain::CallStatus::Busy), at(1_800_000_000_001))
        };
        let changes = vec![
            LoggedChange::Event(Box::new(event.clone())),
            LoggedChange::Imported(Box::new(event)),
            LoggedChange::Record(Arc::new(
                decode(include_bytes!("../../tests/fixtures/record-v3.bin")).unwrap(),
            )),
            LoggedChange::Delete(id),
            LoggedChange::Stale(id, at(1_799_999_000_000)),
            LoggedChange::Expire(id),
            LoggedChange::Setting(LoggedSetting {
                name: "token/a".into(),
                json: (*b"{}").into(),
                replaces: Replaces::Content([9; 16]),
            }),
            LoggedChange::PlaceCdr { id, due: true },
            LoggedChange::Forward { account: id.account, content: (*b"body").into() },
            LoggedChange::Given(
                Arc::new(decode(include_bytes!("../../tests/fixtures/record-v3.bin")).unwrap()),
                true,
            ),
            LoggedChange::Gone(id),
            LoggedChange::GivenForward {
                account: id.account,
                origin: ([7; 16], 258),
                content: (*b"body").into(),
            },
        ];
        let submissions = vec![LoggedSubmission { at: at(1_800_000_000_000), changes }];
        let message = Message { node: "node1".into(), id: [0x5a; 16], submissions };
        let bytes = encoded(&message);
        if std::env::var_os("WRITE_FIXTURES").is_some() {
            std::fs::write("tests/fixtures/message-v1.bin", &bytes).unwrap();
        }
        let stored = std::fs::read("tests/fixtures/message-v1.bin").unwrap();
        assert_eq!(bytes, stored);
        assert_eq!(decode_message(&stored).unwrap(), message);
    }
}
