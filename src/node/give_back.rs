//! The log has lost messages that were applied here, or was made anew: what they did is given back to it.
//!
//! The node finds the last message that it and the log agree on, puts what has changed here since then into the log, and goes
//! on from that message, over all that the log has behind it. Calls are joined, so that it does no harm where others give the
//! same. Of settings the newest counts: what the log has of one behind that message is left as it is, and said once more,
//! since this node would not take it over what it has.
//!
//! What is given ends with a message that says so (`given`). With it numbers of messages have a new meaning: some of
//! before were given again. So all positions that were told before it are of another life of the log
//! (`LogPosition::turn`), on every node, from that message on; on one that has gone back from there on where it goes on.
//!
//! Architecture invariants:
//!
//! * The store goes back by one commit, after all was acknowledged by the log. Whatever happens before that, the next
//!   attempt finds the same, and gives it again.
//! * Settings come into the log behind all messages that were looked at for them, or not at all.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::compare::until_applied;
use super::{APPEND_TIMEOUT, Node, Running};
use crate::access::{Replaces, SettingRow, row_digest};
use crate::clock;
use crate::cluster::{
    AppendError, Bounds, Following, Log, OpenError, Position, ReadError, Sameness, Stopped,
};
use crate::codec::{
    LoggedChange, LoggedSetting, Message, MessageError, assemble, decode_message, encode_submission,
};
use crate::domain::{CallId, counted};
use crate::random;
use crate::store::{
    Change, ChangedSince, FILLER, LogPlace, LogPosition, StoreError, chain, given_setting, logged,
};

/// How often it is looked whether the log is another one.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a node waits for another that has more to give.
const OTHERS_FIRST: Duration = Duration::from_secs(10);
/// So many messages may have been acknowledged, and lost, beyond what was applied here: replicas may still have them.
const DOUBTED_BEYOND: u64 = 1000;
/// Bytes of one message, about.
const MESSAGE_BYTES: usize = 200 * 1024;
/// The setting that says what was given. It means nothing to the store.
const GIVEN: &str = "given";
/// Rows that say when a token was used: of these the greatest counts by itself.
const USED: &str = "used/";
/// Rows of tokens, whose ids are never given again.
const TOKEN: &str = "token/";

/// What a message says that is given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    node: String,
    /// The life of the log in which it was applied (`LogPosition::life`).
    life: String,
    /// It is what has changed between these messages of that log.
    from: u64,
    to: u64,
    /// That was all.
    ends: bool,
}

/// Why nothing was given yet.
#[derive(Debug, thiserror::Error)]
enum GiveError {
    /// Somebody has to do something.
    #[error("{0}")]
    Needs(String),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Api(#[from] crate::cluster::ApiError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Node(#[from] super::NodeError),
}

fn needs(what: String) -> GiveError {
    GiveError::Needs(what)
}

/// What is given by a message; none where it is an ordinary one.
fn given_by(message: &Message) -> Option<Given> {
    let changes = message.submissions.iter().flat_map(|submission| &submission.changes);
    changes.into_iter().find_map(|change| match change {
        LoggedChange::Setting(row) if &*row.name == GIVEN => serde_json::from_slice(&row.json).ok(),
        _ => None,
    })
}

/// The same of the last of such messages.
pub(super) fn ends_with(message: &Message) -> Option<Given> {
    given_by(message).filter(|given| given.ends)
}

/// Before the message of this number, which ends what was given, a new life of the log begins; unless this store is in it,
/// or in a later one. In a thread that may block.
pub(super) fn turn(node: &Arc<Node>, running: &Running, seq: u64) -> Result<(), String> {
    let before = seq.saturating_sub(1);
    if running.turn.load(Ordering::Acquire) >= seq {
        return Ok(());
    }
    if !until_applied(node, running, before) {
        // The message must not be applied in the life before.
        return Err("the node stops".to_owned());
    }
    let crc = running.applied.borrow().crc;
    running.turn.store(seq, Ordering::Release);
    let begun = node.store.begin_log(running.position(before, crc));
    begun.map_err(|error| chain(&error))?;
    // What others have said of it is of before.
    let mut health = node.health.lock();
    let goal = health.goal;
    health.begin_anew(before);
    health.goal = goal;
    drop(health);
    node.erasing.begin_anew();
    Ok(())
}

/// Looks whether the log is another one than was applied, and does what can be done, for as long as the node runs.
pub(super) async fn watch(node: Arc<Node>) {
    loop {
        sleep(LOOK).await;
        let Some(running) = node.running() else { continue };
        let found = match &*running.following.borrow() {
            Following::Stopped(Stopped::Differs(found)) => *found,
            _ => continue,
        };
        if node.stopped.lock().is_some() {
            continue;
        }
        let Err(error) = look(&node, &running, found).await else { continue };
        let why = chain(&error);
        let is_new = node.differs.lock().why.as_ref() != Some(&why);
        if is_new {
            tracing::warn!(
                why,
                "the log is not the one that was applied, and nothing was given back yet"
            );
            node.differs.lock().why = Some(why);
        }
    }
}

/// Does what can be done about a log that is not the one that was applied.
async fn look(node: &Arc<Node>, running: &Arc<Running>, found: Sameness) -> Result<(), GiveError> {
    // What was handed on is applied first: the follower hands on nothing more.
    let handed_on = running.follower.handed_on();
    let mut applied = running.applied.subscribe();
    if applied.wait_for(|position| position.seq >= handed_on).await.is_err() {
        return Ok(());
    }
    let Some(own) = node.store.position() else { return Ok(()) };
    match found {
        Sameness::Same | Sameness::Adjoins | Sameness::Behind { .. } => return Ok(()),
        Sameness::Gone => return Err(needs(GONE.to_owned())),
        _ => {}
    }
    let log = match Log::open(&node.connection).await {
        Err(OpenError::Missing(_)) => return Err(needs(GONE.to_owned())),
        log => log?,
    };
    // What is cut off, or has no leader, has lost nothing.
    log.settle().await?;
    log.doubt_until(own.seq.saturating_add(DOUBTED_BEYOND));
    let bounds = log.bounds().await?;
    if log.epoch().bytes() == own.epoch {
        if node.refusal().is_some() {
            // It would not be safe there.
            return Ok(());
        }
        let mut segments = SEGMENTS;
        let place = loop {
            let (places, is_all) = places(node, segments).await?;
            match agreement(&log, &bounds, &places).await? {
                Some(place) => break place,
                None if is_all => return Err(needs(NOTHING_AGREES.to_owned())),
                None => segments = segments.saturating_mul(2),
            }
        };
        if place.position.seq == own.seq {
            // All is there: a leader that was just elected did not have its end in place. The follower finds the same.
            return Ok(());
        }
        return give_back(node, running, log, place, place, own).await;
    }
    let Some(after) = bounds.after.filter(|after| after.epoch.bytes() == own.epoch) else {
        return Err(needs(OTHER.to_owned()));
    };
    let end = LogPosition { epoch: log.epoch().bytes(), turn: 0, seq: after.seq, crc: after.crc };
    if own.seq < after.seq {
        return join_given(node, running, log, own, end).await;
    }
    // What others lack that have come less far.
    let life = own.life();
    let least = {
        let health = node.health.lock();
        let alive = health.peers.alive(Instant::now());
        alive.filter(|beat| beat.epoch == life).map(|beat| beat.applied).min()
    };
    let least = least.map_or(after.seq, |least| least.min(after.seq));
    let fits =
        |place: &&LogPlace| (place.position.seq, place.position.crc) == (after.seq, after.crc);
    let mut segments = SEGMENTS;
    let (place, places) = loop {
        let (places, is_all) = places(node, segments).await?;
        let has_least = places.first().is_some_and(|place| place.position.seq <= least);
        match places.iter().find(fits).copied() {
            Some(place) if has_least || is_all => break (place, places),
            None if is_all => {
                return Err(needs(format!(
                    "it goes on after a message {} that this node has not applied: {SEED}",
                    after.seq
                )));
            }
            _ => segments = segments.saturating_mul(2),
        }
    };
    let place = LogPlace { position: end, ..place };
    let from = places.iter().rev().find(|place| place.position.seq <= least).copied();
    let from = from.unwrap_or(place);
    if least == own.seq {
        tracing::info!(epoch = %log.epoch(), seq = own.seq, "the node goes on with a log that was made anew");
        node.halt(running).await;
        return Ok(node.go_on(log, end).await?);
    }
    give_back(node, running, log, from, place, own).await
}

/// The places in the last segments of the journal; true where these are all.
async fn places(node: &Node, segments: usize) -> Result<(Vec<LogPlace>, bool), StoreError> {
    let store = node.store.clone();
    blocking(move || store.log_places(segments)).await
}

/// The node has less than the log goes on after: it begins once another has given what is between.
async fn join_given(
    node: &Arc<Node>,
    running: &Arc<Running>,
    log: Log,
    own: LogPosition,
    end: LogPosition,
) -> Result<(), GiveError> {
    let behind = scan(&log, end.seq).await?;
    let life = own.life();
    let is_enough = |(_, given): &&(u64, Given)| {
        given.life == life && given.from <= own.seq && given.to >= end.seq
    };
    if !behind.ends.iter().any(|end| is_enough(&end)) {
        return Err(needs(format!(
            "it was made anew after message {}, and this node has applied {}: a node that has more gives what is between where \
             it hears this one; else {SEED}",
            end.seq, own.seq
        )));
    }
    tracing::info!(epoch = %log.epoch(), seq = end.seq, "the node goes on with a log that was made anew, and takes what others give");
    node.halt(running).await;
    Ok(node.go_on(log, end).await?)
}

const SEED: &str =
    "make it anew from a backup of a node that goes on, with `rollcall cluster seed`";
const GONE: &str = "once all nats-servers run and it is still gone, `rollcall cluster create --again` on the node that has \
                    applied most makes it anew";
const NOTHING_AGREES: &str = "nothing that this node has applied is in it any more: make the node anew from a backup of \
                              a node that goes on, with `rollcall cluster seed`";
const OTHER: &str = "it has nothing to do with the one before; if this one is to be used, make the node anew from a backup of \
                     a node that goes on, with `rollcall cluster seed`; else remove the stream, and `rollcall cluster create \
                     --again` makes one that goes on where this node is";

/// How many segments of the journal are looked at first, from its end; twice as many each time.
const SEGMENTS: usize = 2;

/// The last place that the log agrees with.
async fn agreement(
    log: &Log,
    bounds: &Bounds,
    places: &[LogPlace],
) -> Result<Option<LogPlace>, GiveError> {
    let there: Vec<LogPlace> = places
        .iter()
        .filter(|place| (bounds.first..=bounds.last).contains(&place.position.seq))
        .filter(|place| place.position.seq > 0)
        .copied()
        .collect();
    let positions: Vec<Position> = there
        .iter()
        .map(|place| Position {
            epoch: log.epoch(),
            seq: place.position.seq,
            crc: place.position.crc,
        })
        .collect();
    if let Some(found) = log.agreement(&positions).await? {
        return Ok(there.get(found).copied());
    }
    // Where the log has all from its beginning on, and none of it agrees, that is where both begin. Else nothing says
    // what stood before the first message that it has.
    let begin = bounds.after.map_or(0, |after| after.seq);
    let is_whole = bounds.first == begin + 1;
    Ok(places.iter().find(|place| is_whole && place.position.seq == begin).copied())
}

/// What the log has behind a message.
#[derive(Debug, Default)]
struct Behind {
    last: u64,
    /// Messages that end what somebody has given.
    ends: Vec<(u64, Given)>,
    /// Calls that are deleted there.
    deleted: HashSet<CallId>,
    /// Settings in their order, with what each replaces, and by whom they were given.
    settings: Vec<(Option<Given>, LoggedSetting)>,
}

async fn scan(log: &Log, after: u64) -> Result<Behind, GiveError> {
    let mut behind = Behind { last: after, ..Behind::default() };
    loop {
        let messages = log.read_after(behind.last).await?;
        if messages.is_empty() {
            let last = log.bounds().await?.last;
            if last <= behind.last {
                return Ok(behind);
            }
            sleep(PAUSE).await;
        }
        for stored in messages {
            behind.note(stored.seq, decode_message(&stored.bytes)?);
        }
    }
}

impl Behind {
    fn note(&mut self, seq: u64, message: Message) {
        self.last = seq;
        let given = given_by(&message);
        if let Some(given) = given.clone().filter(|given| given.ends) {
            self.ends.push((seq, given));
        }
        let changes = message.submissions.into_iter().flat_map(|submission| submission.changes);
        for change in changes {
            match change {
                LoggedChange::Delete(id) | LoggedChange::Gone(id) | LoggedChange::Expire(id) => {
                    self.deleted.insert(id);
                }
                LoggedChange::Setting(row) if ![GIVEN, FILLER].contains(&&*row.name) => {
                    self.settings.push((given.clone(), row));
                }
                _ => {}
            }
        }
    }

    /// What a setting is behind all that, where anything of it is said; what was given by nodes that had come less far
    /// than `own` apart.
    fn setting(&self, name: &str, own: &LogPosition) -> Option<Vec<u8>> {
        let mut now: Option<Vec<u8>> = None;
        for (given, row) in self.settings.iter().filter(|(_, row)| &*row.name == name) {
            let is_older =
                given.as_ref().is_some_and(|given| given.life == own.life() && given.to < own.seq);
            let fits = match (&now, row.replaces) {
                // What was there before is not known: it was right for who has sent it.
                (None, _) | (_, Replaces::Anything) => true,
                (Some(now), replaces) => replaces.fits(row_digest(now)),
            };
            if !is_older && fits {
                now = Some(row.json.to_vec());
            }
        }
        now
    }
}

/// Gives back what has changed since `from`, and goes on behind `place`.
async fn give_back(
    node: &Arc<Node>,
    running: &Arc<Running>,
    log: Log,
    from: LogPlace,
    place: LogPlace,
    own: LogPosition,
) -> Result<(), GiveError> {
    let doing = |what: String| node.differs.lock().giving_back = Some(what);
    let after = place.position.seq;
    doing(format!("what was done after message {}", from.position.seq));
    tracing::warn!(
        epoch = %log.epoch(), since = from.position.seq, applied = own.seq, goes_on_after = after,
        "the log has lost messages that were applied here, and this node gives back what they did"
    );
    node.halt(running).await;
    // Should the log have been the same again for a moment.
    let own = node.store.position().unwrap_or(own);
    let store = node.store.clone();
    let changed = blocking(move || store.changed_since(from.end)).await?;
    let given = Given {
        node: node.name.to_string(),
        life: own.life(),
        from: from.position.seq,
        to: own.seq,
        ends: false,
    };
    let begun = Instant::now();
    let (mut are_calls_given, mut told) = (false, None);
    let turn = loop {
        let gives = async {
            let behind = scan(&log, after).await?;
            let is_enough = |(_, other): &&(u64, Given)| {
                other.life == given.life && other.from <= given.from && other.to >= given.to
            };
            if let Some((seq, _)) = behind.ends.iter().find(is_enough) {
                return Ok(Some(*seq));
            }
            if begun.elapsed() < OTHERS_FIRST && node.is_for_another(&own) {
                return Ok(None);
            }
            if !are_calls_given {
                give_calls(node, &log, &changed, &behind.deleted).await?;
                are_calls_given = true;
            }
            let behind = scan(&log, after).await?;
            give_settings(node, &log, &changed, &behind, &given, &own, after).await
        };
        match gives.await {
            Ok(Some(seq)) => break seq,
            Ok(None) | Err(GiveError::Append(AppendError::NotLast(_))) => {}
            Err(error @ (GiveError::Store(_) | GiveError::Message(_))) => return Err(error),
            // It passes, or the log is another one by now.
            Err(error) => {
                let why = chain(&error);
                if told.as_ref() != Some(&why) {
                    tracing::warn!(why, "what the log has lost cannot be given yet");
                    doing(format!("what was done after message {}: {why}", from.position.seq));
                    told = Some(why);
                }
                let is_same = match Log::open(&node.connection).await {
                    Ok(now) => now.epoch() == log.epoch(),
                    Err(OpenError::Missing(_)) => false,
                    Err(_) => true,
                };
                if !is_same {
                    return Err(error);
                }
            }
        }
        sleep(PAUSE).await;
    };
    let position = LogPosition { turn, ..place.position };
    tracing::warn!(
        calls = changed.calls.len(),
        settings = changed.settings.len(),
        goes_on_after = after,
        turn,
        "what the log had lost is in it again, and the node goes on with it"
    );
    let log = Log::of(&node.connection, log.epoch());
    log.doubt_until(own.seq.max(turn).saturating_add(DOUBTED_BEYOND));
    Ok(node.go_on(log, position).await?)
}

/// Puts calls and webhooks into the log.
async fn give_calls(
    node: &Arc<Node>,
    log: &Log,
    changed: &ChangedSince,
    deleted: &HashSet<CallId>,
) -> Result<(), GiveError> {
    let ids: Vec<CallId> = changed.calls.iter().copied().collect();
    let mut batch = Batch::default();
    for (n, ids) in ids.chunks(256).enumerate() {
        let (store, ids) = (node.store.clone(), ids.to_vec());
        let changes = blocking(move || {
            ids.into_iter()
                .filter_map(|id| store.given(id).transpose())
                .collect::<Result<Vec<_>, _>>()
        });
        for change in changes.await? {
            let is_deleted = change.id().filter(|id| deleted.contains(id));
            let change = is_deleted.map_or(change, Change::Gone);
            batch.add(node, log, change).await?;
        }
        let of = counted(changed.calls.len(), "call");
        node.differs.lock().giving_back = Some(format!("{} of {of}", (n + 1) * 256));
    }
    for head in &changed.hooks {
        let (store, head) = (node.store.clone(), head.clone());
        if let Some(change) = blocking(move || store.given_hook(&head)).await? {
            batch.add(node, log, change).await?;
        }
    }
    batch.send(node, log).await
}

/// Puts settings into the log, behind all that was looked at. Returns the number of the message that ends it.
async fn give_settings(
    node: &Arc<Node>,
    log: &Log,
    changed: &ChangedSince,
    behind: &Behind,
    given: &Given,
    own: &LogPosition,
    after: u64,
) -> Result<Option<u64>, GiveError> {
    let rows = changed.settings.iter().filter(|(name, _)| *name != GIVEN).map(|(name, json)| {
        let is_removed_token = json.is_empty() && name.starts_with(TOKEN);
        let json = match behind.setting(name, own) {
            Some(now) if !is_removed_token && !name.starts_with(USED) => now,
            _ => json.clone(),
        };
        given_setting(name.clone(), json, after)
    });
    let mut parts: Vec<Vec<Change>> = vec![Vec::new()];
    let mut bytes = 0;
    for row in rows {
        let weight = row.name.len() + row.json.len() + 32;
        if bytes + weight > MESSAGE_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += weight;
        if let Some(part) = parts.last_mut() {
            part.push(Change::setting(row));
        }
    }
    let (mut last, count) = (behind.last, parts.len());
    for (n, mut changes) in parts.into_iter().enumerate() {
        let given = Given { ends: n + 1 == count, ..given.clone() };
        let json = serde_json::to_vec(&given).unwrap_or_default();
        changes.insert(0, Change::setting(SettingRow { name: GIVEN.to_owned(), json }));
        let message = message_of(node, &changes)?;
        last = log.append_behind(last, message, APPEND_TIMEOUT).await?;
    }
    Ok(Some(last))
}

/// Changes that go into one message.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    async fn add(&mut self, node: &Arc<Node>, log: &Log, change: Change) -> Result<(), GiveError> {
        let bytes = encode_submission(&logged(std::slice::from_ref(&change), clock::now()))?.len();
        if self.bytes + bytes > MESSAGE_BYTES {
            self.send(node, log).await?;
        }
        self.bytes += bytes;
        self.changes.push(change);
        Ok(())
    }

    async fn send(&mut self, node: &Arc<Node>, log: &Log) -> Result<(), GiveError> {
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        if changes.is_empty() {
            return Ok(());
        }
        let message = message_of(node, &changes)?;
        loop {
            match log.append(message.clone(), APPEND_TIMEOUT).await {
                Ok(_) => return Ok(()),
                // What is there twice changes nothing.
                Err(error) if error.passes() && !*node.stopping.borrow() => sleep(PAUSE).await,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn message_of(node: &Node, changes: &[Change]) -> Result<Bytes, GiveError> {
    let body = encode_submission(&logged(changes, clock::now()))?;
    let id = *random::uuid().as_bytes();
    Ok(Bytes::from(assemble(node.name.as_str(), id, &[body])))
}

impl Node {
    /// Whether another node that is alive has at least as much to give.
    fn is_for_another(&self, own: &LogPosition) -> bool {
        let life = own.life();
        let health = self.health.lock();
        let mut alive = health.peers.alive(Instant::now());
        alive.any(|beat| {
            let goes_first = beat.applied == own.seq && beat.node.as_str() < self.name.as_str();
            beat.epoch == life && (beat.applied > own.seq || goes_first)
        })
    }
}

/// Runs what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closing))
}
