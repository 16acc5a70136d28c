//! Erasing what was deleted, on all nodes and in the log, where a command waits for it.
//!
//! **On the nodes.** A *request* is a message of the log that has no submissions, and whose id says what it is. A node that has
//! applied it packs its journal and its index, and waits until nobody reads what was replaced. Up to which request it
//! has done so it tells with what it says of itself each second. Who waits for it repeats the request there, for a node
//! that has started again meanwhile.
//!
//! **In the log.** Once all nodes that are alive have erased it on their disks they apply *filler* (`filler.rs`), and the log
//! lets go of everything up to there.

use std::sync::Arc;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::filler::FILLER_BYTES;
use super::state::LISTENS;
use super::{APPEND_TIMEOUT, Node, Running};
use crate::cluster::{Heartbeat, Peers, ReplicaState};
use crate::codec::{MessageId, assemble};
use crate::domain::counted;
use crate::random;
use crate::store::{Depth, Progress, Store, StoreError, chain};

/// What the id of a request begins with; the rest is random.
const REQUEST: &[u8; 8] = b"erase\0\0\0";
/// How long all nodes that are alive may take to apply filler.
const FILLER_APPLIED: Duration = Duration::from_mins(1);
/// Why a node has not begun with it.
const NOT_APPLIED: &str = "it has not applied all of the log";
const DIFFERS: &str =
    "it has applied something else than the log has, which it is to give back first";
/// How long servers may take to follow the leader.
const SERVERS_FOLLOW: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
/// Pause between two looks whether what was replaced is gone.
const REPLACED_PAUSE: Duration = Duration::from_millis(500);
/// Pause before a node tries again to erase.
const AGAIN: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Erasure {
    /// Nodes that have erased it on their disks, as each says of itself.
    pub nodes: Vec<String>,
    /// The one of them whose files were searched afterwards; none where nothing was.
    #[serde(default)]
    pub searched: Option<String>,
    /// Those that have not, or of which it is not known.
    pub missing: Vec<Missing>,
    /// The log begins after the message of this number; none where it still has what was deleted.
    pub trimmed: Option<u64>,
    /// Servers that have it until they are back, and why the log was not trimmed.
    pub log: Vec<String>,
}

/// A node that may still have what was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub node: String,
    pub why: String,
}

impl Erasure {
    /// It is nowhere any more.
    pub fn is_everywhere(&self) -> bool {
        self.missing.is_empty() && self.log.is_empty() && self.trimmed.is_some()
    }
}

/// How far this node is with it.
pub(super) struct Erasing {
    /// The newest request that was applied or heard of.
    asked: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest request that was done since the start.
    done: u64,
    /// Why the next one is not done yet.
    why: String,
    /// Commands wait for this one.
    waits_for: u64,
}

impl Erasing {
    pub fn new() -> Self {
        Self { asked: watch::Sender::new(0), state: Mutex::default() }
    }

    /// Numbers of messages mean something else from now on.
    pub fn begin_anew(&self) {
        *self.state.lock() = State::default();
        self.asked.send_replace(0);
    }

    /// Somebody asks for all to be erased that was deleted up to this message.
    pub fn ask(&self, seq: u64) {
        self.asked.send_if_modified(|asked| {
            let is_new = *asked < seq;
            *asked = seq.max(*asked);
            is_new
        });
    }

    /// This one is done, or why not.
    fn tried(&self, seq: u64, failed: Option<&StoreError>) {
        let mut state = self.state.lock();
        match failed {
            None => (state.done, state.why) = (seq, String::new()),
            Some(error) => state.why = chain(error),
        }
    }

    /// What the other nodes are told.
    pub fn tell(&self, beat: &mut Heartbeat) {
        let state = self.state.lock();
        (beat.erased, beat.erases) = (state.done, state.waits_for);
        beat.not_erased.clone_from(&state.why);
    }
}

/// Whether a message is a request.
pub(super) fn is_request(id: &MessageId, submissions: usize) -> bool {
    submissions == 0 && id.starts_with(REQUEST)
}

/// Erases on this machine what is asked for, for as long as it runs.
pub(super) async fn erase(node: Arc<Node>, running: Arc<Running>) {
    let (mut asked, mut applied) = (node.erasing.asked.subscribe(), running.applied.subscribe());
    loop {
        let done = node.erasing.state.lock().done;
        let Ok(seq) = asked.wait_for(|asked| *asked > done).await.map(|seq| *seq) else { return };
        if applied.wait_for(|position| position.seq >= seq).await.is_err() {
            return;
        }
        if node.differs() {
            // What was deleted up to there in this log is not known here.
            sleep(AGAIN).await;
            continue;
        }
        let own = node.clone();
        let erased = tokio::task::spawn_blocking(move || erase_files(&own)).await;
        let failed = match erased {
            Ok(Ok(true)) => None,
            Ok(Err(error)) => Some(error),
            // The process ends by it, as by that of any task.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Ok(Ok(false)) | Err(_) => return,
        };
        node.erasing.tried(seq, failed.as_ref());
        node.has_news.notify_one();
        match failed {
            None => tracing::info!(seq, "what was deleted is erased here"),
            Some(error) => {
                tracing::warn!(error = chain(&error), "what was deleted cannot be erased yet");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Has journal and index written without what was deleted, and waits until the files of before are gone. False where the
/// node stops meanwhile.
fn erase_files(node: &Node) -> Result<bool, StoreError> {
    let store: &Store = &node.store;
    store.collect(Depth::Erase)?;
    store.compact(&mut |_| {})?;
    loop {
        if *node.stopping.borrow() {
            return Ok(false);
        }
        if store.replaced()?.is_empty() {
            return Ok(true);
        }
        let users = store.segment_users();
        if users.is_empty() {
            // Once more, without those who held them.
            store.collect(Depth::Erase)?;
        } else {
            node.erasing.state.lock().why = format!("{} runs there", users.join(" and "));
        }
        park_timeout(REPLACED_PAUSE);
    }
}

impl Node {
    /// Waits in a thread of its own until no node keeps a message that is not in the log yet: nobody knows what is in them.
    ///
    /// # Errors
    /// The sentence says which nodes keep how many.
    pub fn until_none_is_kept(&self, longest: Duration) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let mut kept = Vec::new();
            let own = self.store.kept().count;
            if own > 0 {
                kept.push(format!("{} ({})", self.name, counted(own, "message")));
            }
            let health = self.health.lock();
            // Those that had no time to say that they are there.
            let mut unheard =
                health.peers.unheard().next().is_some() && health.since.elapsed() < LISTENS;
            for (beat, ago) in health.peers.all(Instant::now()) {
                // What it has said before this began may not be so any more.
                unheard |= Peers::is_alive(ago) && ago >= begun.elapsed();
                if beat.kept > 0 {
                    kept.push(format!("{} ({})", beat.node, counted(beat.kept, "message")));
                }
            }
            drop(health);
            if kept.is_empty() && !unheard {
                return Ok(());
            }
            if begun.elapsed() >= longest || *self.stopping.borrow() {
                if kept.is_empty() {
                    return Ok(());
                }
                return Err(format!(
                    "events are kept that are not in the log yet, and may have the number: {}; nothing was deleted: wait \
                     until they are in the log (`rollcall cluster status`), or forget a node that is gone for good \
                     (`rollcall cluster forget`)",
                    kept.join(", ")
                ));
            }
            park_timeout(PAUSE);
        }
    }

    /// Has all that was deleted erased on all nodes and in the log, and waits for it in a thread of its own. Nodes that
    /// are silent are not waited for, nor those that are kept from it for longer than `longest`; then the log stays
    /// as it is.
    ///
    /// # Errors
    /// The log takes no message.
    pub fn erase(
        &self,
        longest: Duration,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<Erasure, StoreError> {
        let running = self.running();
        let running = running.ok_or_else(|| StoreError::NoQuorum(self.why_not_begun()))?;
        self.listen();
        let seq = self.block_on(self.request(&running))?;
        self.erasing.ask(seq);
        let waited = self.erasing.state.lock().waits_for.max(seq);
        self.erasing.state.lock().waits_for = waited;
        self.has_news.notify_one();
        let mut erasure = self.until_erased(seq, longest, tell);
        let mut state = self.erasing.state.lock();
        if state.waits_for == seq {
            state.waits_for = 0;
        }
        drop(state);
        if erasure.missing.is_empty() {
            match self.block_on(self.trim(&running, tell)) {
                Ok(trimmed) => erasure.trimmed = Some(trimmed),
                Err(StoreError::Closing) => return Err(StoreError::Closing),
                Err(error) => erasure.log.push(chain(&error)),
            }
            erasure.log.extend(self.block_on(self.troubles(&running))?);
        }
        Ok(erasure)
    }

    /// Other nodes have had the time to say that they are there.
    fn listen(&self) {
        loop {
            let since = *self.caught_up.borrow();
            let listened = since.is_some_and(|at| at.elapsed() >= LISTENS);
            if listened || *self.stopping.borrow() || self.broken().is_some() {
                return;
            }
            park_timeout(PAUSE);
        }
    }

    /// Puts a request into the log. Returns its number.
    async fn request(&self, running: &Running) -> Result<u64, StoreError> {
        // A first message without submissions would be a claim.
        if running.applied.borrow().seq == 0 {
            return Err(StoreError::NoQuorum("there is nothing in the log yet".to_owned()));
        }
        if let Some(why) = self.holds_back() {
            return Err(StoreError::NoQuorum(why));
        }
        let mut id = *random::uuid().as_bytes();
        if let Some(begin) = id.first_chunk_mut() {
            *begin = *REQUEST;
        }
        let request = assemble(self.name.as_str(), id, &[] as &[Vec<u8>]);
        let seq = running.log.append(request.into(), APPEND_TIMEOUT).await;
        let seq = seq.map_err(|error| StoreError::NoQuorum(chain(&error)))?;
        running.wake(seq);
        Ok(seq)
    }

    /// Waits until all nodes that are alive have done this request.
    fn until_erased(&self, seq: u64, longest: Duration, tell: &mut dyn FnMut(Progress)) -> Erasure {
        let begun = Instant::now();
        let mut hindered: Option<Instant> = None;
        loop {
            let (nodes, missing, is_hindered) = self.erased(seq);
            let since = is_hindered.then(|| hindered.unwrap_or_else(Instant::now));
            hindered = since;
            let is_over = since.is_some_and(|since| since.elapsed() >= longest);
            let waits = missing.iter().any(|(_, waits)| *waits);
            if !waits || is_over || *self.stopping.borrow() {
                let missing = missing.into_iter().map(|(missing, _)| missing).collect();
                return Erasure { nodes, missing, ..Erasure::default() };
            }
            let names: Vec<_> = missing.iter().map(|(one, _)| one.node.as_str()).collect();
            let what = format!("waiting for {} to erase it", names.join(" and "));
            let all = (nodes.len() + missing.len()) as u64;
            if begun.elapsed() >= PAUSE {
                tell(Progress::steps(what, nodes.len() as u64, Some(all)));
            }
            park_timeout(PAUSE);
        }
    }

    /// Nodes that have done this request; those that have not, and whether they are to be waited for; and whether something
    /// keeps one of them from it.
    fn erased(&self, seq: u64) -> (Vec<String>, Vec<(Missing, bool)>, bool) {
        let (mut nodes, mut missing, mut is_hindered) = (Vec::new(), Vec::new(), false);
        let epoch = self.running().map(|running| running.life());
        let mut judge = |node: &str, done: u64, why: &str, waits: bool| {
            if done >= seq {
                return nodes.push(node.to_owned());
            }
            is_hindered |= waits && !why.is_empty();
            let why = if why.is_empty() { "it has not finished" } else { why };
            missing.push((Missing { node: node.to_owned(), why: why.to_owned() }, waits));
        };
        let state = self.erasing.state.lock();
        let applied = self.running().map_or(0, |running| running.applied.borrow().seq);
        let (done, why) = match (self.differs(), applied < seq) {
            (true, _) => (0, DIFFERS),
            (false, true) => (state.done, NOT_APPLIED),
            (false, false) => (state.done, &*state.why),
        };
        judge(self.name.as_str(), done, why, self.broken().is_none());
        drop(state);
        let health = self.health.lock();
        for (beat, ago) in health.peers.all(Instant::now()) {
            if !Peers::is_alive(ago) {
                let why = format!(
                    "it has said nothing for {} s: it erases it once it has read that in the log",
                    ago.as_secs()
                );
                judge(&beat.node, 0, &why, false);
            } else if Some(&beat.epoch) != epoch.as_ref() {
                judge(&beat.node, 0, "it does not read this log", false);
            } else if beat.differs {
                judge(&beat.node, 0, DIFFERS, true);
            } else {
                let why = if beat.applied < seq { NOT_APPLIED } else { &beat.not_erased };
                judge(&beat.node, beat.erased, why, true);
            }
        }
        for node in health.peers.unheard() {
            let why = format!(
                "it was not heard since this node was started {} s ago: it erases it once it has read that in the log",
                health.since.elapsed().as_secs()
            );
            judge(node, 0, &why, false);
        }
        (nodes, missing, is_hindered)
    }

    /// Fills the log, and lets go of all that was in it. Returns the number of the last message that went.
    async fn trim(
        &self,
        running: &Running,
        tell: &mut dyn FnMut(Progress),
    ) -> Result<u64, StoreError> {
        let last = self.fill(running, FILLER_BYTES, tell).await?;
        let begun = Instant::now();
        loop {
            let behind = self.behind(last);
            if behind.is_empty() {
                break;
            }
            if begun.elapsed() >= FILLER_APPLIED {
                let why = format!("{} has not applied all that is in it", behind.join(" and "));
                return Err(StoreError::NoQuorum(why));
            }
            sleep(PAUSE).await;
        }
        match running.log.trim(last).await {
            Ok(_) => Ok(last),
            Err(error) => Err(StoreError::NoQuorum(format!(
                "the servers do not let go of messages: {}; expected $JS.API.STREAM.PURGE.{} in the permissions of \
                 cluster.user",
                chain(&error),
                running.log.stream()
            ))),
        }
    }

    /// Servers that have what the others have let go of, until they follow the leader again.
    async fn troubles(&self, running: &Running) -> Result<Vec<String>, StoreError> {
        let begun = Instant::now();
        loop {
            let bounds = running.log.bounds().await;
            let troubles: Vec<String> = match &bounds {
                Ok(bounds) => bounds.replicas.iter().filter_map(ReplicaState::trouble).collect(),
                Err(error) => vec![error.to_string()],
            };
            if troubles.is_empty() || begun.elapsed() >= SERVERS_FOLLOW {
                let has_it = |trouble| format!("{trouble}, and may have it until it does so");
                return Ok(troubles.into_iter().map(has_it).collect());
            }
            sleep(PAUSE).await;
        }
    }

    /// Nodes that are not known to have applied this message: also those that are silent.
    fn behind(&self, seq: u64) -> Vec<String> {
        let health = self.health.lock();
        let others = health.peers.all(Instant::now());
        let behind = others
            .filter(|(beat, _)| beat.differs || beat.applied < seq)
            .map(|(beat, _)| &beat.node);
        let mut behind: Vec<String> = behind.cloned().collect();
        behind.extend(health.peers.unheard().map(str::to_owned));
        drop(health);
        let own = self.running().map_or(0, |running| running.applied.borrow().seq);
        if own < seq || self.differs() {
            behind.push(self.name.to_string());
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_told_from_what_has_submissions_and_asks_once() {
        let mut id = [7; 16];
        assert!(!is_request(&id, 0));
        id[..8].copy_from_slice(REQUEST);
        assert!(is_request(&id, 0) && !is_request(&id, 1));
        let erasing = Erasing::new();
        let mut asked = erasing.asked.subscribe();
        erasing.ask(7);
        assert!(asked.has_changed().unwrap());
        asked.mark_unchanged();
        erasing.ask(5);
        assert!(!asked.has_changed().unwrap() && *erasing.asked.borrow() == 7);
    }

    #[test]
    fn it_is_everywhere_where_no_node_and_no_server_is_missing_and_the_log_is_trimmed() {
        let whole = Erasure { trimmed: Some(7), ..Erasure::default() };
        assert!(whole.is_everywhere() && !Erasure::default().is_everywhere());
        let missing = Missing { node: "b".to_owned(), why: "it is away".to_owned() };
        assert!(!Erasure { missing: vec![missing], ..whole.clone() }.is_everywhere());
        assert!(!Erasure { log: vec!["n3".to_owned()], ..whole }.is_everywhere());
    }
}
