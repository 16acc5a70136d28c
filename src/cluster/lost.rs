//! Messages that the log has lost, by their numbers and CRCs.
//!
//! A server that was away while the log lost its end keeps what it had there. It answers with that under numbers that the others
//! have given anew, and may even come to lead. So who gives back what was lost says in the log which messages these were, and
//! nobody who reads takes one of them: any other replica has the right one.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_nats::{HeaderValue, Message};
use bytes::Bytes;
use serde_json::{Value, json};

use super::api::{self, RawMessage};
use super::log::{ApiError, AppendError, Log};
use super::read::stored;
use super::same::message_crc;

/// What follows the root in the subject of a message that says what was lost.
const SUBJECT: &str = "lost";
/// Messages that one message names: its headers have 64 KiB at most.
const NAMED_MAX: usize = 3000;
/// Messages that are known to be lost.
const KNOWN_MAX: usize = 1_000_000;
/// So many messages may have been acknowledged, and lost, beyond those that anybody had applied: of these the leader is asked.
pub const DOUBTED_BEYOND: u64 = 1000;
/// How often replicas are asked for what was lost, each time one by chance, and more often the one that is nearest.
const ASKED_OF_REPLICAS: usize = 24;
/// Bytes of one that is named.
const NAMED_BYTES: usize = 12;

/// The number of a message, and its [`message_crc`].
pub type Named = (u64, u32);

/// What is known of a log.
#[derive(Debug, Default)]
pub(super) struct Lost {
    known: BTreeSet<Named>,
    /// The last message that said what was lost.
    told: u64,
}

impl Lost {
    fn add(&mut self, lost: impl IntoIterator<Item = Named>) {
        self.known.extend(lost);
        while self.known.len() > KNOWN_MAX {
            self.known.pop_first();
        }
    }
}

impl Log {
    /// These messages are lost, and are not read any more.
    pub fn lose(&self, lost: impl IntoIterator<Item = Named>) {
        self.shared.lost.lock().add(lost);
    }

    /// What is lost of these messages, as far as is known.
    pub fn lost(&self, messages: RangeInclusive<u64>) -> Vec<Named> {
        let (first, last) = messages.into_inner();
        if first > last {
            return Vec::new();
        }
        let lost = self.shared.lost.lock();
        lost.known.range((first, 0)..=(last, u32::MAX)).copied().collect()
    }

    /// Whether this is a message that the log has lost.
    pub(super) fn is_lost(&self, seq: u64, bytes: &[u8]) -> bool {
        let lost = self.shared.lost.lock();
        !lost.known.is_empty() && lost.known.contains(&(seq, message_crc(bytes)))
    }

    /// Takes what has this number as it comes: the same message may stand there again.
    pub(super) fn take_all_of(&self, seq: u64) {
        self.shared.lost.lock().known.retain(|(number, _)| *number != seq);
    }

    /// Puts a message at the end, as often as these need, that says that they were lost.
    ///
    /// # Errors
    /// As of [`Log::append`].
    pub async fn append_lost(
        &self,
        lost: &[Named],
        bytes: &Bytes,
        longest: Duration,
    ) -> Result<(), AppendError> {
        for named in lost.chunks(NAMED_MAX) {
            let header = [(api::LOST, encoded(named))];
            self.append_with(SUBJECT, &header, bytes.clone(), longest).await?;
        }
        Ok(())
    }

    /// Learns what was lost, of those who gave it back. Whether there was anything new. With `all` other replicas are asked as
    /// well where the leader says that nothing was: it may be the one that keeps it.
    pub async fn learn_what_was_lost(&self, all: bool) -> Result<bool, ApiError> {
        let subject = format!("{}{SUBJECT}", self.shared.root);
        let last = self.find(&json!({ "last_by_subj": subject }), all).await?;
        let told = self.shared.lost.lock().told;
        let Some(last) = last.filter(|last| last.seq != told) else { return Ok(false) };
        let mut seq = if last.seq > told { told } else { 0 };
        while seq < last.seq {
            let next = json!({ "seq": seq.saturating_add(1), "next_by_subj": subject });
            let Some(word) = self.find(&next, all).await? else { break };
            if let (Some((first, _)), Some((last, _))) = (word.lost.first(), word.lost.last()) {
                self.doubt(*first..=last.saturating_add(DOUBTED_BEYOND));
            }
            self.lose(word.lost);
            seq = word.seq;
        }
        self.shared.lost.lock().told = last.seq;
        Ok(true)
    }

    async fn find(&self, which: &Value, all: bool) -> Result<Option<Word>, ApiError> {
        if let Some(message) = self.ask_leader_for(which).await? {
            return Ok(Some(word_of_leader(&message)));
        }
        if !all {
            return Ok(None);
        }
        let taken = |answer: Message| word_of_replica(&answer).map(Some);
        match self.ask_replicas_for(which, ASKED_OF_REPLICAS, taken).await {
            // One hangs, and gets its share of the questions. The others know no less.
            Err(ApiError::Timeout(_)) => Ok(None),
            found => found,
        }
    }
}

/// A message that says what was lost.
struct Word {
    seq: u64,
    lost: Vec<Named>,
}

fn word_of_leader(message: &RawMessage) -> Word {
    let headers = data_encoding::BASE64.decode(message.hdrs.as_bytes()).ok();
    let headers = headers.and_then(|headers| String::from_utf8(headers).ok()).unwrap_or_default();
    let mut lines = headers.lines().filter_map(|line| line.split_once(':'));
    word(message.seq, lines.find(|(name, _)| *name == api::LOST).map(|(_, value)| value))
}

fn word_of_replica(answer: &Message) -> Result<Word, ApiError> {
    let (message, _) = stored(answer)?;
    let headers = answer.headers.as_ref();
    let header = headers.and_then(|headers| headers.get(api::LOST)).map(HeaderValue::as_str);
    Ok(word(message.seq, header))
}

/// One that cannot be read names nothing: what the log has is read all the same.
fn word(seq: u64, header: Option<&str>) -> Word {
    let lost = header.and_then(|value| decoded(value.trim()));
    if lost.is_none() {
        tracing::warn!(seq, "a message of the log does not say what was lost as it has to");
    }
    Word { seq, lost: lost.unwrap_or_default() }
}

fn encoded(lost: &[Named]) -> String {
    let bytes: Vec<u8> = lost
        .iter()
        .flat_map(|(seq, crc)| seq.to_le_bytes().into_iter().chain(crc.to_le_bytes()))
        .collect();
    data_encoding::BASE64.encode(&bytes)
}

fn decoded(text: &str) -> Option<Vec<Named>> {
    let bytes = data_encoding::BASE64.decode(text.as_bytes()).ok()?;
    let one = |chunk: &[u8]| {
        let (seq, crc) = chunk.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*seq), u32::from_le_bytes(crc.try_into().ok()?)))
    };
    bytes.chunks(NAMED_BYTES).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_read_as_it_was_said_and_nothing_else_is() {
        for lost in [vec![], vec![(1, 2)], vec![(u64::MAX, u32::MAX), (7, 0)]] {
            assert_eq!(decoded(&encoded(&lost)), Some(lost));
        }
        let text = encoded(&[(1, 2), (3, 4)]);
        for wrong in ["?", &text[..4], &text[..20]] {
            assert_eq!(decoded(wrong), None, "{wrong}");
            assert!(word(7, Some(wrong)).lost.is_empty());
        }
        assert!(word(7, None).lost.is_empty());
        assert!(encoded(&vec![(1, 2); NAMED_MAX]).len() < 60_000);
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut lost = Lost::default();
        let most = u64::try_from(KNOWN_MAX).unwrap();
        lost.add((0..most + 10).map(|seq| (seq, 0)));
        assert_eq!((lost.known.len(), lost.known.first()), (KNOWN_MAX, Some(&(10, 0))));
    }
}
