//! The log has lost messages that were applied here, or was made anew: what they did is given back to it.
//!
//! The node finds the last message that it and the log agree on, puts what has changed here since then into the log, and goes
//! on from that message, over all that the log has behind it. Calls are joined, so that it does no harm where others give the
//! same. Of settings the newest counts: what the log has of one behind that message is left as it is, and said once more,
//! since this node would not take it over what it has (`rows.rs`).
//!
//! **Others write meanwhile**, and nobody waits for the node. So a message that gives settings says which message was the last
//! that was looked at for it. It counts where no row of it was set in between: all who read it find that out from the log
//! alone, and take nothing of one that does not count (`behind.rs`). Then the node reads what has come in between, and
//! puts another one. It ends as soon as nobody sets one of the rows that it has to say for as long as one message takes
//! to get into the log. Other messages do not hinder it, however many there are.
//!
//! What is given ends with a message that says so (`given`). With it numbers of messages have a new meaning: some of
//! before were given again. So all positions that were told before it are of another life of the log
//! (`LogPosition::turn`), on every node, from that message on; on one that has gone back from there on where it goes on.
//!
//! Architecture invariants:
//!
//! * The store goes back by one commit, after all was acknowledged by the log. Whatever happens before that, the next
//!   attempt finds the same, and gives it again.
//! * Settings count only behind all messages that set them.
//! * What ends the giving counts only where no setting is unequal any more (`rows.rs`).
//!
//! A call that is deleted behind that message is given as a deletion, with its Call-IDs. So is one whose time was over there:
//! the others have deleted it, whatever is newer here. Only one of which something was heard there before, and which is
//! active here, is active on the others as well.

mod behind;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::compare::{self, until_applied};
use super::{APPEND_TIMEOUT, Node, Running};
use crate::access::SettingRow;
use crate::clock;
use crate::cluster::{
    AppendError, Bounds, DOUBTED_BEYOND, Epoch, Following, Log, Named, OpenError, Position,
    ReadError, Sameness, Stopped,
};
use crate::codec::{LoggedChange, Message, MessageError, assemble, encode_submission};
use crate::domain::{CallId, counted};
use crate::random;
use crate::store::{
    Change, ChangedSince, LogPlace, LogPosition, StoreError, chain, gone_instead, logged,
};

use behind::Behind;

/// How often it is looked whether the log is another one.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before something is tried again.
const PAUSE: Duration = Duration::from_millis(300);
/// How long a node waits for another that has more to give.
const OTHERS_FIRST: Duration = Duration::from_secs(10);
/// Bytes of one message, about.
const MESSAGE_BYTES: usize = 200 * 1024;
/// The setting that says what was given. It means nothing to the store.
const GIVEN: &str = "given";
/// How long one message is tried before it is looked whether the log is still the same.
const TRIED: Duration = Duration::from_secs(30);

/// What a message says that is given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    node: String,
    /// The life of the log in which it was applied (`LogPosition::life`).
    life: String,
    /// It is what has changed between these messages of that log.
    from: u64,
    to: u64,
    /// The last message that was looked at for it, and its CRC; none where that is none of this log.
    behind: u64,
    crc: Option<u32>,
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
    #[error("the log has lost messages that it had a moment ago")]
    WentBack,
}

impl GiveError {
    /// Whether the same may succeed in a moment.
    fn passes(&self) -> bool {
        match self {
            Self::Append(error) => error.passes(),
            Self::Open(OpenError::Api { .. }) | Self::Api(_) | Self::Read(ReadError::Api(_)) => {
                true
            }
            Self::Needs(_)
            | Self::Open(_)
            | Self::Read(_)
            | Self::Message(_)
            | Self::Store(_)
            | Self::Node(_)
            | Self::WentBack => false,
        }
    }
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

/// Takes out of a message what does not count of what it gives back, and begins a new life of the log where it ends that. In a
/// thread that may block.
pub(super) fn judge(
    node: &Arc<Node>,
    running: &Running,
    seq: u64,
    message: &mut Message,
) -> Result<(), String> {
    let Some(given) = given_by(message) else { return Ok(()) };
    let counts = loop {
        match node.runtime.block_on(behind::counts(&running.log, seq, &given, message)) {
            // A log that does not have it any more is gone back to before it, and read again.
            Ok(counts) => break counts.unwrap_or(false),
            Err(ReadError::Api(_)) if !running.halts.load(Ordering::Acquire) => {
                if *node.stopping.borrow() {
                    return Err("the node stops".to_owned());
                }
                std::thread::park_timeout(PAUSE);
            }
            Err(error) => {
                return Err(format!(
                    "whether message {seq} counts is not known: {}",
                    chain(&error)
                ));
            }
        }
    };
    if !counts {
        message.submissions.iter_mut().for_each(|submission| submission.changes.clear());
        return Ok(());
    }
    if given.ends { turn(node, running, seq) } else { Ok(()) }
}

/// Before the message of this number, which ends what was given, a new life of the log begins; unless this store is in it,
/// or in a later one. In a thread that may block.
fn turn(node: &Arc<Node>, running: &Running, seq: u64) -> Result<(), String> {
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
    *node.compared.lock() = None;
    Ok(())
}

/// Looks whether the log is another one than was applied, and does what can be done, for as long as the node runs.
pub(super) async fn watch(node: Arc<Node>) {
    let mut read = None;
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
        let Err(error) = look(&node, &running, found, &mut read).await else { continue };
        let why = chain(&error);
        let mut differs = node.differs.lock();
        differs.giving_back = None;
        if differs.why.as_ref() != Some(&why) {
            tracing::warn!(
                why,
                "the log is not the one that was applied, and nothing was given back yet"
            );
            differs.why = Some(why);
        }
    }
}

/// What was read of a log that others are to give to.
type Read = Option<(Epoch, Behind)>;

/// Does what can be done about a log that is not the one that was applied.
async fn look(
    node: &Arc<Node>,
    running: &Arc<Running>,
    found: Sameness,
    read: &mut Read,
) -> Result<(), GiveError> {
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
    log.doubt(0..=own.seq.saturating_add(DOUBTED_BEYOND));
    let is_of_own_epoch = log.epoch().bytes() == own.epoch;
    if is_of_own_epoch {
        // What is cut off, or has no leader, has lost nothing.
        log.settle().await?;
        log.learn_what_was_lost(true).await?;
    }
    let bounds = log.bounds().await?;
    if is_of_own_epoch {
        if node.refusal().is_some() {
            // It would not be safe there.
            return Ok(());
        }
        let mut segments = SEGMENTS;
        let place = loop {
            let (places, is_all) = places(node, segments).await?;
            match agreement(&log, &bounds, &places).await? {
                Some(place) => {
                    let named = places.iter().map(|place| (place.position.seq, place.position.crc));
                    log.lose(named.filter(|(seq, _)| *seq > place.position.seq));
                    break place;
                }
                None if is_all => return Err(needs(NOTHING_AGREES.to_owned())),
                None => segments = segments.saturating_mul(2),
            }
        };
        if place.position.seq == own.seq {
            // All is there: a leader that was just elected did not have its end in place. The follower finds the same.
            running.log.has_not_gone_back();
            if running.halts.load(Ordering::Acquire) {
                node.halt(running).await;
                node.go_on(log, own).await?;
            }
            return Ok(());
        }
        return give_back(node, running, log, place, place, own).await;
    }
    let Some(after) = bounds.after.filter(|after| after.epoch.bytes() == own.epoch) else {
        return Err(needs(OTHER.to_owned()));
    };
    let end = LogPosition { epoch: log.epoch().bytes(), turn: 0, seq: after.seq, crc: after.crc };
    if own.seq < after.seq {
        return join_given(node, running, log, own, end, read).await;
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
    read: &mut Read,
) -> Result<(), GiveError> {
    let life = own.life();
    if read.as_ref().is_none_or(|(epoch, _)| *epoch != log.epoch()) {
        let nothing = (BTreeSet::new(), BTreeMap::new());
        *read = Some((log.epoch(), Behind::new(end.seq, nothing.0, nothing.1, (life.clone(), 0))));
    }
    let Some((_, behind)) = read else { return Ok(()) };
    if let Err(error) = behind.read_to_end(&log, &node.store).await {
        *read = None;
        return Err(error);
    }
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
    let lost = log.lost(after.saturating_add(1)..=own.seq);
    let store = node.store.clone();
    let changed = blocking(move || store.changed_since(from.end)).await?;
    let given = Given {
        node: node.name.to_string(),
        life: own.life(),
        from: from.position.seq,
        to: own.seq,
        behind: after,
        crc: None,
        ends: false,
    };
    let behind =
        Behind::new(after, changed.calls.clone(), changed.settings.clone(), (own.life(), own.seq));
    let (calls, settings) = (changed.calls.len(), changed.settings.len());
    let mut giving = Giving {
        node,
        log: &log,
        changed,
        lost: lost.clone(),
        given,
        own,
        behind,
        begun: Instant::now(),
        are_calls_given: false,
        gone: HashSet::new(),
    };
    let mut told = None;
    let turn = loop {
        match giving.attempt().await {
            Ok(Some(seq)) => break seq,
            Ok(None) => {}
            Err(error) if error.passes() && !*node.stopping.borrow() => {
                let why = chain(&error);
                if told.as_ref() != Some(&why) {
                    tracing::warn!(why, "what the log has lost cannot be given yet");
                    doing(format!("what was done after message {}: {why}", from.position.seq));
                    told = Some(why);
                }
                if !giving.is_same_log().await {
                    return Err(error);
                }
                sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    };
    giving.compare(turn).await;
    let position = LogPosition { turn, ..place.position };
    tracing::warn!(
        calls,
        settings,
        goes_on_after = after,
        turn,
        "what the log had lost is in it again, and the node goes on with it"
    );
    let log = Log::of(&node.connection, log.epoch());
    log.doubt(after..=own.seq.max(turn).saturating_add(DOUBTED_BEYOND));
    log.lose(lost);
    Ok(node.go_on(log, position).await?)
}

/// What a node gives back, and how far it is with that.
struct Giving<'a> {
    node: &'a Arc<Node>,
    log: &'a Log,
    changed: ChangedSince,
    /// What was applied here and is not in the log.
    lost: Vec<Named>,
    given: Given,
    own: LogPosition,
    behind: Behind,
    begun: Instant,
    are_calls_given: bool,
    /// Calls whose deletion was given.
    gone: HashSet<CallId>,
}

impl Giving<'_> {
    /// Reads what has come in, and puts the next message that is to be put. Returns the number of the message that ends it,
    /// once there is one that counts.
    async fn attempt(&mut self) -> Result<Option<u64>, GiveError> {
        self.behind.read_to_end(self.log, &self.node.store).await?;
        let is_enough = |(_, other): &&(u64, Given)| {
            let given = &self.given;
            other.life == given.life && other.from <= given.from && other.to >= given.to
        };
        let end = self.behind.ends.iter().find(is_enough).map(|(seq, _)| *seq);
        if end.is_some() {
            // Some may have been deleted while they were given.
            self.give_gone().await?;
            return Ok(end);
        }
        if self.begun.elapsed() < OTHERS_FIRST && self.node.is_for_another(&self.own) {
            sleep(PAUSE).await;
            return Ok(None);
        }
        if !self.are_calls_given {
            self.tell_lost().await?;
            self.give_calls().await?;
            self.are_calls_given = true;
            return Ok(None);
        }
        self.give_gone().await?;
        self.give_settings().await?;
        Ok(None)
    }

    /// Says which messages the log had lost, before it has anything that follows from that.
    async fn tell_lost(&self) -> Result<(), GiveError> {
        let message = self.message(Vec::new(), &self.given)?;
        Ok(self.log.append_lost(&self.lost, &message, APPEND_TIMEOUT).await?)
    }

    /// A message that gives these settings.
    fn message(&self, rows: Vec<SettingRow>, given: &Given) -> Result<Bytes, GiveError> {
        let json = serde_json::to_vec(given).unwrap_or_default();
        let given = SettingRow { name: GIVEN.to_owned(), json };
        let changes: Vec<Change> = [given].into_iter().chain(rows).map(Change::setting).collect();
        message_of(self.node, &changes)
    }

    /// Puts calls and webhooks into the log: a call as it is here, or its deletion where it is deleted in the log.
    async fn give_calls(&mut self) -> Result<(), GiveError> {
        let (node, log) = (self.node, self.log);
        let ids: Vec<CallId> = self.changed.calls.iter().copied().collect();
        let of = counted(ids.len(), "call");
        let (mut batch, mut gone) = (Batch::default(), Vec::new());
        for (n, ids) in ids.chunks(256).enumerate() {
            for change in given_calls(node, ids).await? {
                match change.id().filter(|_| self.is_gone(&change)) {
                    None => batch.add(node, log, change).await?,
                    Some(id) => {
                        batch.add_all(node, log, gone_instead(&change)).await?;
                        gone.push(id);
                    }
                }
            }
            node.differs.lock().giving_back = Some(format!("{} of {of}", (n + 1) * 256));
        }
        for head in &self.changed.hooks {
            let (store, head) = (node.store.clone(), head.clone());
            if let Some(change) = blocking(move || store.given_hook(&head)).await? {
                batch.add(node, log, change).await?;
            }
        }
        batch.send(node, log).await?;
        self.gone.extend(gone);
        Ok(())
    }

    /// Puts into the log the deletions of calls that were deleted there since they were given.
    async fn give_gone(&mut self) -> Result<(), GiveError> {
        let may_be = self.behind.calls.gone().filter(|id| !self.gone.contains(id));
        let may_be: Vec<CallId> = may_be.collect();
        let (mut batch, mut gone) = (Batch::default(), Vec::new());
        for ids in may_be.chunks(256) {
            for change in given_calls(self.node, ids).await? {
                if self.is_gone(&change) {
                    batch.add_all(self.node, self.log, gone_instead(&change)).await?;
                    gone.extend(change.id());
                }
            }
        }
        batch.send(self.node, self.log).await?;
        self.gone.extend(gone);
        Ok(())
    }

    /// Whether a call that is given is deleted in the log.
    fn is_gone(&self, change: &Change) -> bool {
        let is_live = matches!(change, Change::Given(call, _) if call.live());
        change.id().is_some_and(|id| self.behind.calls.is_gone(id, is_live))
    }

    /// Puts settings into the log that are not the same everywhere, as many as go into a message, and says that this is the end
    /// where these are all.
    async fn give_settings(&mut self) -> Result<(), GiveError> {
        let (store, unequal) = (self.node.store.clone(), self.behind.rows.unequal().clone());
        let own = blocking(move || store.settings_named(&unequal)).await?;
        let (rows, is_all) = self.behind.rows.next(&own);
        let (behind, crc) = self.behind.looked_at();
        let given = Given { behind, crc, ends: is_all, ..self.given.clone() };
        let seq = self.log.append(self.message(rows, &given)?, APPEND_TIMEOUT).await?;
        self.behind.read_to(self.log, &self.node.store, seq).await
    }

    /// Has all nodes compare what they hold behind what this one has given. They tell where that differs.
    async fn compare(&self, turn: u64) {
        let mut ends = self.behind.ends.iter();
        if !ends.any(|(seq, given)| *seq == turn && given.node == self.node.name.as_str()) {
            return;
        }
        if let Err(error) = self.log.append(compare::mark(self.node), APPEND_TIMEOUT).await {
            tracing::warn!(error = chain(&error), "the nodes are not compared");
        }
    }

    /// Whether what was read is still in the log; also where that is not known.
    async fn is_same_log(&self) -> bool {
        match Log::open(&self.node.connection).await {
            Ok(now) if now.epoch() != self.log.epoch() => false,
            Ok(_) => self.behind.is_there(self.log).await.unwrap_or(true),
            Err(OpenError::Missing(_)) => false,
            Err(_) => true,
        }
    }
}

/// What gives back these calls, as they are now.
async fn given_calls(node: &Node, ids: &[CallId]) -> Result<Vec<Change>, StoreError> {
    let (store, ids) = (node.store.clone(), ids.to_vec());
    blocking(move || ids.into_iter().filter_map(|id| store.given(id).transpose()).collect()).await
}

/// Changes that go into one message.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    bytes: usize,
}

impl Batch {
    async fn add(&mut self, node: &Arc<Node>, log: &Log, change: Change) -> Result<(), GiveError> {
        let alone = logged(std::slice::from_ref(&change), clock::now());
        let bytes = encode_submission(&alone, node.writes())?.len();
        if self.bytes + bytes > MESSAGE_BYTES {
            self.send(node, log).await?;
        }
        self.bytes += bytes;
        self.changes.push(change);
        Ok(())
    }

    async fn add_all(
        &mut self,
        node: &Arc<Node>,
        log: &Log,
        changes: Vec<Change>,
    ) -> Result<(), GiveError> {
        for change in changes {
            self.add(node, log, change).await?;
        }
        Ok(())
    }

    async fn send(&mut self, node: &Arc<Node>, log: &Log) -> Result<(), GiveError> {
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        if changes.is_empty() {
            return Ok(());
        }
        let message = message_of(node, &changes)?;
        let begun = Instant::now();
        loop {
            match log.append(message.clone(), APPEND_TIMEOUT).await {
                Ok(_) => return Ok(()),
                // What is there twice changes nothing.
                Err(error)
                    if error.passes() && begun.elapsed() < TRIED && !*node.stopping.borrow() =>
                {
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn message_of(node: &Node, changes: &[Change]) -> Result<Bytes, GiveError> {
    let body = encode_submission(&logged(changes, clock::now()), node.writes())?;
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
