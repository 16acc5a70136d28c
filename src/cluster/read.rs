//! Reading by batched direct gets: any replica answers, and each number must follow the one before it. Where replicas may
//! differ the leader is asked, for each message by itself.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::api::{self, LeaderMessage, RawMessage};
use super::log::{ApiError, Log, StoredMessage};
use crate::domain::Timestamp;
use crate::wire::parse_time;

/// Messages of one batch.
const BATCH_MESSAGES: usize = 1000;
/// Bytes of one batch; one message may go beyond.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// How long the first answer to a question is waited for before another replica is asked, by chance: one that hangs is
/// asked like the others until the servers have noticed.
const FIRST_ANSWER_MILLIS: [u64; 5] = [150, 300, 600, 1000, 1000];
/// How long the next message of a batch is waited for.
const PIECE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a missing message is asked for before the reader gives up.
const HOLE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same where the log itself says that it begins after it.
const BEHIND_TIMEOUT: Duration = Duration::from_millis(1500);
/// How often it is asked for then, each time of another replica by chance: the one that says so may have lost its beginning.
const ASKED_BEFORE_BEHIND: usize = 8;
/// Messages that the leader is asked for at once, each by itself.
const LEADER_MESSAGES: u64 = 32;
/// Pause between two looks for a missing message.
const GAP_PAUSE: Duration = Duration::from_millis(100);
/// How often a message that the leader does not have is asked of replicas, each time another one by chance.
const ASKED_OF_REPLICAS: usize = 4;
/// How long each of them is waited for.
const REPLICA_TIMEOUT: Duration = Duration::from_secs(1);

/// What reading has met since the start.
#[derive(Debug, Default)]
pub struct ReadStats {
    gaps: AtomicU64,
    rereads: AtomicU64,
}

impl ReadStats {
    /// Gaps that were met: answers that passed over a number.
    pub fn gaps(&self) -> u64 {
        self.gaps.load(Ordering::Relaxed)
    }

    /// Questions that were asked again: about messages that were missing, or of replicas that do not answer.
    pub fn rereads(&self) -> u64 {
        self.rereads.load(Ordering::Relaxed)
    }
}

/// Why no more can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(
        "messages {first} to {last} are in no replica that answered within {} s; the log goes on with {}",
        after.as_secs(), last + 1
    )]
    Hole { first: u64, last: u64, after: Duration },
    #[error("the log begins with message {first}, and {wanted} would be next here")]
    Behind { wanted: u64, first: u64 },
    #[error("message {seq} is of another log: its subject is \"{subject}\"")]
    OtherLog { seq: u64, subject: String },
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// What one answer had.
struct Batch {
    /// From the one that was asked for on, without a gap.
    messages: Vec<StoredMessage>,
    /// The number that followed where another was expected.
    gap_until: Option<u64>,
}

impl Log {
    pub fn stats(&self) -> &ReadStats {
        &self.shared.stats
    }

    /// The messages after this number, in their order and without a gap; none where there are none yet. More may
    /// follow.
    ///
    /// # Errors
    /// [`ReadError::Hole`] after ten seconds in which no replica had the next one.
    pub async fn read_after(&self, seq: u64) -> Result<Vec<StoredMessage>, ReadError> {
        let expected = seq.saturating_add(1);
        let doubted = self.shared.doubted.lock().clone();
        let of_leader = match doubted.filter(|doubted| doubted.contains(&expected)) {
            Some(doubted) => self.read_of_leader(expected..=*doubted.end()).await?,
            None => None,
        };
        let messages = match of_leader {
            Some(messages) => messages,
            None => self.read_of_any(expected).await?,
        };
        if let Some(last) = messages.last() {
            self.knows(last.seq);
        }
        Ok(messages)
    }

    /// Reads these messages of the leader alone from now on, and all between them and others that are read so.
    pub fn doubt(&self, messages: RangeInclusive<u64>) {
        let mut doubted = self.shared.doubted.lock();
        let (first, last) = messages.into_inner();
        *doubted = Some(match doubted.take() {
            Some(other) => first.min(*other.start())..=last.max(*other.end()),
            None => first..=last,
        });
    }

    /// The first of these messages, which may not be asked of any replica; none where the leader has lost it.
    async fn read_of_leader(
        &self,
        doubted: RangeInclusive<u64>,
    ) -> Result<Option<Vec<StoredMessage>>, ReadError> {
        let (from, until) = doubted.into_inner();
        let until = until.min(from.saturating_add(LEADER_MESSAGES - 1));
        // Behind the end there is nothing to ask for: it may be long until more comes.
        let first = self.ask_leader(from).await;
        let goes_on = matches!(first, Ok(Some(_)));
        let asked =
            (from.saturating_add(1)..=until).filter(|_| goes_on).map(|seq| self.ask_leader(seq));
        let mut messages = Vec::new();
        let others = futures_util::future::join_all(asked).await;
        for said in std::iter::once(first).chain(others) {
            match said {
                Ok(Some(message)) => messages.push(message),
                // It has lost it, or cannot read it.
                Ok(None) | Err(ApiError::Refused { .. } | ApiError::Unreadable(_)) => break,
                Err(error) if messages.is_empty() => return Err(error.into()),
                Err(_) => break,
            }
        }
        let is_lost = messages.is_empty() && self.bounds().await?.last >= from;
        Ok((!is_lost).then_some(messages))
    }

    async fn read_of_any(&self, expected: u64) -> Result<Vec<StoredMessage>, ReadError> {
        let batch = self.batch(expected).await?;
        match (batch.messages.is_empty(), batch.gap_until) {
            (true, Some(found)) => {
                self.shared.stats.gaps.fetch_add(1, Ordering::Relaxed);
                self.fill(expected, found).await
            }
            _ => Ok(batch.messages),
        }
    }

    /// The message of this number, as the leader has it; that of another replica where the leader has lost it. None where
    /// nobody has it who was asked.
    pub async fn message_at(&self, seq: u64) -> Result<Option<StoredMessage>, ApiError> {
        match self.ask_leader(seq).await {
            Ok(None) | Err(ApiError::Refused { .. } | ApiError::Unreadable(_)) => {}
            said => return said,
        }
        let which = serde_json::json!({ "seq": seq });
        let taken = |answer: Message| {
            let (message, _) = stored(&answer)?;
            Ok(Some(message).filter(|message| !self.is_lost(seq, &message.bytes)))
        };
        if let Some(message) = self.ask_replicas_for(&which, ASKED_OF_REPLICAS, taken).await? {
            return Ok(Some(message));
        }
        self.ask_leader(seq).await
    }

    /// Asks replicas for a message, so many times at once, each time another one by chance, until one has it and it is taken;
    /// none where none has.
    ///
    /// # Errors
    /// None has it of those that answer, and not all do: [`ApiError::Timeout`] of one that hangs.
    pub(super) async fn ask_replicas_for<T>(
        &self,
        which: &serde_json::Value,
        times: usize,
        taken: impl Fn(Message) -> Result<Option<T>, ApiError>,
    ) -> Result<Option<T>, ApiError> {
        let subject = format!("$JS.API.DIRECT.GET.{}", self.shared.stream);
        let what = Bytes::from(which.to_string());
        let ask = |_| async {
            let answer = self.request(subject.clone(), what.clone());
            let answer = tokio::time::timeout(REPLICA_TIMEOUT, answer).await;
            let answer = answer.unwrap_or(Err(ApiError::Timeout(REPLICA_TIMEOUT)))?;
            match answer.status.map(|status| status.as_u16()) {
                None => taken(answer),
                Some(404) => Ok(None),
                Some(code) => Err(refused(code, &answer)),
            }
        };
        let mut answers: FuturesUnordered<_> = (0..times).map(ask).collect();
        let mut failed = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// The messages from the missing one on, of any who has them.
    async fn fill(&self, expected: u64, mut found: u64) -> Result<Vec<StoredMessage>, ReadError> {
        let mut begun = Instant::now();
        let mut led_since = begun;
        let mut asked = 0_usize;
        loop {
            self.shared.stats.rereads.fetch_add(1, Ordering::Relaxed);
            asked += 1;
            // Another replica may answer this time. One that does not answer is as good as one that has it not.
            match self.batch(expected).await {
                Ok(batch) if !batch.messages.is_empty() => return Ok(batch.messages),
                Ok(batch) => found = batch.gap_until.unwrap_or(found).min(found),
                Err(ReadError::Api(_)) => {}
                Err(error) => return Err(error),
            }
            let unknown = match self.ask_leader(expected).await {
                Ok(Some(message)) => return Ok(vec![message]),
                Ok(None) => None,
                Err(error) => {
                    led_since = Instant::now();
                    Some(error)
                }
            };
            let waited = begun.elapsed();
            let first = match self.bounds().await {
                Ok(bounds) => Some(bounds.first),
                Err(_) => None,
            };
            if let Some(first) = first
                && first > expected
                && waited >= BEHIND_TIMEOUT
                && asked >= ASKED_BEFORE_BEHIND
            {
                return Err(ReadError::Behind { wanted: expected, first });
            }
            if waited >= HOLE_TIMEOUT {
                // One replica is not all of them.
                if let Some(error) = unknown {
                    return Err(error.into());
                }
                if self.lost(expected..=expected).is_empty() {
                    let last = found.saturating_sub(1);
                    return Err(ReadError::Hole { first: expected, last, after: HOLE_TIMEOUT });
                }
                // Nobody else has another one: it is there again. Without a quorum only one that keeps it may have answered.
                if led_since.elapsed() >= HOLE_TIMEOUT {
                    self.settle().await?;
                    self.take_all_of(expected);
                    begun = Instant::now();
                }
            }
            tokio::time::sleep(GAP_PAUSE).await;
        }
    }

    /// One batch from this number on.
    async fn batch(&self, from: u64) -> Result<Batch, ReadError> {
        let shared = &*self.shared;
        if !shared.connection.is_up() {
            return Err(ApiError::Disconnected.into());
        }
        let (mut answers, first) = self.ask(from).await?;
        let mut next = Some(first);
        let mut batch = Batch { messages: Vec::new(), gap_until: None };
        let mut expected = from;
        loop {
            let answer = match next.take() {
                Some(answer) => answer,
                None => match tokio::time::timeout(PIECE_TIMEOUT, answers.next()).await {
                    Ok(Some(answer)) => answer,
                    // What has come is right, of whichever replica.
                    Ok(None) | Err(_) => return Ok(batch),
                },
            };
            match answer.status.map(|status| status.as_u16()) {
                None => {}
                // The end of the batch, and nothing after that number.
                Some(204 | 404) => return Ok(batch),
                Some(503) if batch.messages.is_empty() => return Err(ApiError::NoResponders.into()),
                Some(code) if batch.messages.is_empty() => {
                    return Err(refused(code, &answer).into());
                }
                Some(_) => return Ok(batch),
            }
            let (message, subject) = stored(&answer)?;
            if !subject.starts_with(&shared.root) {
                let subject = subject.chars().take(200).collect();
                return Err(ReadError::OtherLog { seq: message.seq, subject });
            }
            if message.seq != expected {
                batch.gap_until = Some(message.seq).filter(|seq| *seq > expected);
                return Ok(batch);
            }
            if self.is_lost(message.seq, &message.bytes) {
                batch.gap_until = Some(expected + 1);
                return Ok(batch);
            }
            expected += 1;
            batch.messages.push(message);
        }
    }

    /// Asks for a batch from this number on. Returns the first answer, and where the others come.
    async fn ask(&self, from: u64) -> Result<(Subscriber, Message), ReadError> {
        let shared = &*self.shared;
        let client = &shared.connection.client;
        let failed = |error: String| ReadError::Api(ApiError::Unreadable(error));
        let subject = format!("$JS.API.DIRECT.GET.{}", shared.stream);
        let what = serde_json::json!({
            "seq": from, "batch": BATCH_MESSAGES, "max_bytes": BATCH_BYTES,
        });
        let what = Bytes::from(what.to_string());
        let begun = Instant::now();
        for longest in FIRST_ANSWER_MILLIS.map(Duration::from_millis) {
            let inbox = client.new_inbox();
            let answers = client.subscribe(inbox.clone()).await;
            let mut answers = answers.map_err(|error| failed(error.to_string()))?;
            let sent = client.publish_with_reply(subject.clone(), inbox, what.clone()).await;
            sent.map_err(|error| failed(error.to_string()))?;
            match tokio::time::timeout(longest, answers.next()).await {
                Ok(Some(first)) => return Ok((answers, first)),
                Ok(None) => return Err(ApiError::Disconnected.into()),
                Err(_) => {
                    self.shared.stats.rereads.fetch_add(1, Ordering::Relaxed);
                }
            }
            if !shared.connection.is_up() {
                return Err(ApiError::Disconnected.into());
            }
        }
        Err(ApiError::Timeout(begun.elapsed()).into())
    }

    async fn ask_leader(&self, seq: u64) -> Result<Option<StoredMessage>, ApiError> {
        let Some(message) = self.ask_leader_for(&serde_json::json!({ "seq": seq })).await? else {
            return Ok(None);
        };
        let unreadable = |what: &str| ApiError::Unreadable(format!("message {seq}: {what}"));
        if message.seq != seq {
            return Err(unreadable("another number"));
        }
        let bytes = data_encoding::BASE64.decode(message.data.as_bytes());
        let bytes = bytes.map_err(|_| unreadable("its data"))?;
        let at = parse_time(&message.time).ok_or_else(|| unreadable("its time"))?;
        let message = StoredMessage { seq, at, bytes: bytes.into() };
        Ok(Some(message).filter(|message| !self.is_lost(seq, &message.bytes)))
    }

    pub(super) async fn ask_leader_for(
        &self,
        which: &serde_json::Value,
    ) -> Result<Option<RawMessage>, ApiError> {
        match self.api::<LeaderMessage>("STREAM.MSG.GET", which).await {
            Ok(found) => Ok(Some(found.message)),
            Err(ApiError::Refused { err_code: api::NO_MESSAGE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A message in an answer to a direct get, and its subject.
pub(super) fn stored(answer: &Message) -> Result<(StoredMessage, String), ApiError> {
    let header = |name: &str| {
        let headers: &HeaderMap = answer.headers.as_ref()?;
        Some(headers.get(name)?.as_str())
    };
    let missing = |name: &str| ApiError::Unreadable(format!("no {name} with a message"));
    let seq = header("Nats-Sequence").and_then(|text| text.parse().ok());
    let seq: u64 = seq.ok_or_else(|| missing("Nats-Sequence"))?;
    let at: Option<Timestamp> = header("Nats-Time-Stamp").and_then(parse_time);
    let at = at.ok_or_else(|| missing("Nats-Time-Stamp"))?;
    let subject = header("Nats-Subject").ok_or_else(|| missing("Nats-Subject"))?;
    let bytes: Bytes = answer.payload.clone();
    Ok((StoredMessage { seq, at, bytes }, subject.to_owned()))
}

fn refused(code: u16, answer: &Message) -> ApiError {
    let description = answer.description.clone().unwrap_or_default();
    ApiError::Refused { code, err_code: 0, description }
}
