//! The outbox: accepted hooks that are to be passed on.
//!
//! A hook is written in the commit of its events, as frames of its own kind, and only where a target wants it.
//! From then on it stands in the journal, and the journal is the queue: a target says how far it has got
//! ([`Progress`]), and reads on from there. The newest hooks are also listed in memory, without their bodies, so
//! that a target that keeps up reads nothing but bodies from the disk.
//!
//! Architecture invariants:
//!
//! * A hook is in the journal before its request is answered, and stays there until no target needs it.
//! * A hook of which a call has been deleted is not read any more, and leaves the journal as its call does.
//! * A body leaves through [`View::hook_content`] alone, for a hook that its target wants.
//! * Where no frame is found of a hook, it is done: frames leave after that alone.
//!
//! Where a log is followed every node has the hooks, and one of them sends. What it stores of the progress of its
//! targets comes to all of them by the log, so that another goes on where it was; until then what is in memory here is
//! what was stored last.

mod hook;
mod logged;
mod progress;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::StoreError;
use super::applied::GoneBack;
use super::change::Change;
use super::open::Store;
use super::state::View;
use crate::access::{Replaces, SettingRow};
use crate::domain::{AccountSid, ApplicationSid, CallId, CallSid};
use crate::journal::{Frame, FrameKind, Scanner, Segment};
use crate::random;

pub use hook::{HOOK_CALLS_MAX, Hook, HookHead, HookOrigin};
pub(super) use hook::{HookPiece, LoggedHook, last_of_message};
pub use progress::{Audience, Progress, Span};

/// The setting that says whether hooks are passed on.
const STATE: &str = "forward";
/// Settings of targets begin so.
pub(super) const TARGET: &str = "forward/";
/// Hooks that are listed in memory.
const RECENT_MAX: usize = 8192;
/// Sids of all of these.
const RECENT_SIDS_MAX: usize = 4 * RECENT_MAX;
/// Bytes of the journal that are read at once while hooks are looked for.
const LOOK_BYTES: u64 = 8 << 20;

/// What the threads of the store and the targets share.
pub(super) struct Outbox {
    recent: Mutex<RecentHooks>,
    targets: RwLock<BTreeMap<String, OutboxTarget>>,
    /// Nothing is sent.
    paused: AtomicBool,
    /// The life of the data in which the state was stored; none where it was not.
    said: Mutex<Option<String>>,
    /// This store sends, and knows better than what is stored.
    sends: AtomicBool,
    /// The log begins anew, or goes back.
    began: watch::Sender<()>,
    /// What is being sent, and to how many targets.
    on_their_way: Mutex<HashMap<String, usize>>,
}

/// What is shared with one target.
struct OutboxTarget {
    progress: Arc<Mutex<Progress>>,
    /// Wakes it when there is something to look at.
    wake: Arc<Notify>,
}

impl OutboxTarget {
    fn new(progress: Progress) -> Self {
        Self { progress: Arc::new(Mutex::new(progress)), wake: Arc::default() }
    }
}

/// A hook that is being sent, for as long as this is there.
pub struct OnItsWay<'a> {
    outbox: &'a Outbox,
    id: String,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let mut all = self.outbox.on_their_way.lock();
        if let Some(targets) = all.get_mut(&self.id) {
            *targets -= 1;
            if *targets == 0 {
                all.remove(&self.id);
            }
        }
    }
}

/// The newest hooks.
struct RecentHooks {
    /// All from this number on are here.
    complete_from: u64,
    hooks: VecDeque<HookHead>,
    /// Sids of all of them.
    sids: usize,
}

impl RecentHooks {
    fn extend(&mut self, hooks: Vec<HookHead>) {
        self.sids += hooks.iter().map(HookHead::sids).sum::<usize>();
        self.hooks.extend(hooks);
        while self.hooks.len() > RECENT_MAX || self.sids > RECENT_SIDS_MAX {
            let Some(left) = self.hooks.pop_front() else { break };
            self.sids -= left.sids();
            self.complete_from = left.number + 1;
        }
    }
}

/// Whether hooks are passed on, as it is stored.
#[derive(Serialize, Deserialize)]
struct StateRow {
    paused: bool,
    /// The life of the data in which that was said: in another one nothing is sent until somebody says so.
    epoch: String,
    /// Another one each time that somebody says so: a message that comes again does not find what it replaces.
    #[serde(default)]
    id: String,
}

/// Where a reader of the journal has stopped.
#[derive(Debug, Default)]
pub struct HookReader {
    segment: Option<(PathBuf, u64)>,
    next: u64,
}

/// What one look has found.
#[derive(Debug)]
pub struct FoundHooks {
    pub hooks: Vec<HookHead>,
    /// Everything up to here was looked at.
    pub read_to: u64,
    /// There is nothing more at present.
    pub is_all: bool,
}

/// What is sent of a hook.
#[derive(Clone, PartialEq, Eq)]
pub struct HookContent {
    pub content_type: Vec<u8>,
    pub b3: Vec<u8>,
    pub body: Bytes,
}

/// What became of the wish to read a hook.
pub enum HookLookup {
    Found(HookContent),
    /// It is somewhere else by now: [`View::find_hooks`] says where.
    Moved,
}

impl Outbox {
    pub fn new() -> Self {
        let recent = RecentHooks { complete_from: 0, hooks: VecDeque::new(), sids: 0 };
        Self {
            recent: Mutex::new(recent),
            targets: RwLock::default(),
            paused: AtomicBool::new(false),
            said: Mutex::new(None),
            sends: AtomicBool::new(true),
            began: watch::Sender::new(()),
            on_their_way: Mutex::default(),
        }
    }

    /// What was stored of it, when the store has been opened, each with its sequence number. What is listed in memory begins
    /// after this number. `epochs` are those in which what was said of the state counts; `gone_back` is where the log
    /// went back.
    pub fn begin(
        &self,
        rows: Vec<(u64, SettingRow)>,
        epochs: &[String],
        gone_back: &[GoneBack],
        last: u64,
    ) {
        self.recent.lock().complete_from = last + 1;
        let mut targets = self.targets.write();
        let mut state = None;
        for (seq, row) in rows {
            if row.name == STATE {
                state = serde_json::from_slice::<StateRow>(&row.json).ok();
            } else if let Some(name) = row.name.strip_prefix(TARGET) {
                match Progress::read(&row.json) {
                    Some(mut progress) => {
                        for back in gone_back.iter().filter(|back| seq < back.at) {
                            progress.back_to(last_of_message(back.to_message));
                        }
                        // Another node may have written it that had gone on with a log that is over.
                        progress.back_to(last);
                        targets.insert(name.to_owned(), OutboxTarget::new(progress));
                    }
                    None if row.json.is_empty() => {}
                    None => {
                        tracing::error!(
                            target_name = name,
                            "how far a target has got cannot be read"
                        );
                    }
                }
            }
        }
        *self.said.lock() = state.as_ref().map(|state| state.epoch.clone());
        let known = state.is_some_and(|state| !state.paused && epochs.contains(&state.epoch));
        self.paused.store(!targets.is_empty() && !known, Ordering::Release);
    }

    /// Hooks are on disk, and are published after this. Whom they are for is to be woken then; all others look a
    /// little later, so that a hook costs nothing for each target there is.
    pub fn accepted(&self, hooks: Vec<HookHead>) -> Vec<Arc<Notify>> {
        let mut woken = Vec::new();
        for target in self.targets.read().values() {
            let mut progress = target.progress.lock();
            let wanted = hooks
                .iter()
                .filter(|head| progress.audience.has_hook(head) && progress.needs(head.number));
            let count = wanted.count();
            for _ in 0..count {
                progress.one_more();
            }
            if count > 0 {
                woken.push(target.wake.clone());
            }
        }
        self.recent.lock().extend(hooks);
        woken
    }

    /// Lets all targets look.
    pub fn announce(&self) {
        for target in self.targets.read().values() {
            target.wake.notify_one();
        }
    }

    /// Whether a target needs the hook of this number, of this account and these applications.
    pub fn needs(
        &self,
        number: u64,
        account: AccountSid,
        applications: Option<&[ApplicationSid]>,
    ) -> bool {
        self.targets.read().values().any(|target| {
            let progress = target.progress.lock();
            progress.needs(number) && progress.audience.has(account, applications)
        })
    }

    /// Hooks before this number are needed by no target.
    pub fn oldest_needed(&self) -> u64 {
        let targets = self.targets.read();
        let oldest = targets.values().map(|target| target.progress.lock().oldest_needed());
        oldest.min().unwrap_or(u64::MAX)
    }
}

impl Store {
    /// Whether a hook of this account, with events of these applications, is to be passed on.
    pub fn forwards(&self, account: AccountSid, applications: Option<&[ApplicationSid]>) -> bool {
        self.shared.outbox.needs(u64::MAX, account, applications)
    }

    /// A hook of this id is being sent from now on.
    pub fn hook_on_its_way(&self, id: String) -> OnItsWay<'_> {
        let outbox = &self.shared.outbox;
        *outbox.on_their_way.lock().entry(id.clone()).or_default() += 1;
        OnItsWay { outbox, id }
    }

    /// Whether a hook of this id is being sent, so that who brings it is the target, or has it from there.
    pub fn is_on_its_way(&self, id: &str) -> bool {
        self.shared.outbox.on_their_way.lock().contains_key(id)
    }

    /// How far the targets have got, by name.
    pub fn forward_targets(&self) -> Vec<(String, Arc<Mutex<Progress>>)> {
        let targets = self.shared.outbox.targets.read();
        targets.iter().map(|(name, target)| (name.clone(), target.progress.clone())).collect()
    }

    /// Opens the targets that are configured, and closes all others: what comes from now on is for these. What
    /// was left of one that was there before is for it.
    pub fn set_forward_targets(&self, configured: Vec<(String, Audience)>) {
        let last = self.last_number();
        let mut targets = self.shared.outbox.targets.write();
        let names: Vec<&String> = configured.iter().map(|(name, _)| name).collect();
        for (name, target) in targets.iter() {
            if !names.contains(&name) {
                target.progress.lock().close(last);
            }
        }
        for (name, audience) in configured {
            if let Some(target) = targets.get(&name) {
                target.progress.lock().open(audience, last + 1);
            } else {
                targets.insert(name, OutboxTarget::new(Progress::new(audience, last + 1)));
            }
        }
    }

    /// Whether hooks are kept and not sent.
    pub fn forward_paused(&self) -> bool {
        self.shared.outbox.paused.load(Ordering::Acquire)
    }

    /// The change that says whether hooks are sent, from when it is applied and also after the next start.
    pub fn forward_state(&self, paused: bool) -> Change {
        let seen = self.access(|access| access.digest(STATE));
        Change::Admin(self.state_row(paused), Replaces::seen(seen))
    }

    fn state_row(&self, paused: bool) -> SettingRow {
        let epoch = self.followed_log().unwrap_or_else(|| self.epoch.clone());
        let row = StateRow { paused, epoch, id: random::uuid().simple().to_string() };
        SettingRow { name: STATE.to_owned(), json: serde_json::to_vec(&row).unwrap_or_default() }
    }

    /// What of the targets is to be stored, since it is not any more what is stored. From then on it counts as
    /// stored: who cannot store it says so by [`Self::forward_unstored`].
    /// Large ones are not given again soon, unless `all` are wanted.
    pub fn forward_rows(&self, all: bool) -> Vec<Change> {
        let mut rows = Vec::new();
        let now = Some(Instant::now()).filter(|_| !all);
        for (name, progress) in self.forward_targets() {
            if let Some(json) = progress.lock().take_row(now) {
                rows.push(SettingRow { name: format!("{TARGET}{name}"), json });
            }
        }
        // What was said in another life of the data is said again once a log is followed.
        let said = self.shared.outbox.said.lock().clone();
        let log = self.followed_log();
        let unsaid = said.is_none() || log.is_some() && said != log;
        if unsaid && !rows.is_empty() {
            rows.push(self.state_row(self.forward_paused()));
        }
        // What was said meanwhile counts, and of several nodes also what another has stored.
        let replaces = |name: &str| match self.access(|access| access.digest(name)) {
            _ if name != STATE && log.is_none() => Replaces::Anything,
            seen => Replaces::seen(seen),
        };
        rows.into_iter().map(|row| Change::Admin(row.clone(), replaces(&row.name))).collect()
    }

    /// What [`Self::forward_rows`] has given is not stored.
    pub fn forward_unstored(&self) {
        for (_, progress) in self.forward_targets() {
            progress.lock().note_unstored();
        }
    }

    /// What wakes a target when there may be something new to send.
    pub fn forward_wake(&self, target: &str) -> Arc<Notify> {
        let targets = self.shared.outbox.targets.read();
        targets.get(target).map(|target| target.wake.clone()).unwrap_or_default()
    }

    /// Lets the targets look for something new.
    pub fn announce_forwarding(&self) {
        self.shared.outbox.announce();
    }

    /// The next hooks of a span that this audience gets, some of them at most, where they are listed in memory.
    pub fn recent_hooks(&self, span: Span, audience: &Audience, most: usize) -> Option<FoundHooks> {
        // All that is published is listed: this is read before that.
        let last = self.last_of(span);
        if span.next > last {
            return Some(FoundHooks { hooks: Vec::new(), read_to: last, is_all: true });
        }
        let recent = self.shared.outbox.recent.lock();
        if span.next < recent.complete_from {
            return None;
        }
        let from = recent.hooks.partition_point(|head| head.number < span.next);
        let mut hooks = Vec::new();
        for head in recent.hooks.iter().skip(from).take_while(|head| head.number <= last) {
            if !audience.has_hook(head) {
                continue;
            }
            if hooks.len() == most {
                return Some(FoundHooks { hooks, read_to: head.number - 1, is_all: false });
            }
            hooks.push(head.clone());
        }
        Some(FoundHooks { hooks, read_to: last, is_all: true })
    }

    /// The last number of a span that there is.
    fn last_of(&self, span: Span) -> u64 {
        span.to.unwrap_or(u64::MAX).min(self.last_number())
    }

    /// The same from the journal, of one segment at most. It waits for the disk.
    pub fn read_hooks(
        &self,
        reader: &mut HookReader,
        span: Span,
        audience: &Audience,
        most: usize,
    ) -> Result<FoundHooks, StoreError> {
        let (next, last) = (span.next, self.last_of(span));
        if self.newest_point().is_some() {
            return self.read_logged_hooks(reader, span, last, audience, most);
        }
        let Some((segment, after)) = self.segment_with(next) else {
            return Ok(FoundHooks { hooks: Vec::new(), read_to: last, is_all: false });
        };
        // The whole segment, unless something says otherwise.
        let mut read_to = after.map_or(last, |after| (after - 1).min(last));
        let mut scanner = match &reader.segment {
            Some((path, offset)) if *path == segment.path && reader.next == next => {
                Scanner::resume(&segment, *offset)?
            }
            _ => Scanner::new(&segment)?,
        };
        let mut hooks = Vec::new();
        let begun = scanner.offset();
        while let Some((offset, frame)) = scanner.next_frame()? {
            if frame.seq > last {
                read_to = last;
                break;
            }
            if frame.seq < next {
                continue;
            }
            if hooks.len() == most || offset.saturating_sub(begun) > LOOK_BYTES {
                reader.segment = Some((segment.path.clone(), offset));
                reader.next = frame.seq;
                return Ok(FoundHooks { hooks, read_to: frame.seq - 1, is_all: false });
            }
            hooks.extend(head_of(&frame, offset, &segment).filter(|head| audience.has_hook(head)));
        }
        reader.segment = None;
        Ok(FoundHooks { hooks, read_to, is_all: false })
    }
}

impl View {
    /// The segment in which this sequence number is or was, and where the next one begins.
    pub(super) fn segment_with(&self, seq: u64) -> Option<(Arc<Segment>, Option<u64>)> {
        let segments = self.segments.read();
        let next = segments.partition_point(|segment| segment.first_seq <= seq);
        let found = segments.get(next.checked_sub(1)?)?;
        Some((found.clone(), segments.get(next).map(|segment| segment.first_seq)))
    }

    /// The greatest number that a published hook may have.
    pub(super) fn last_number(&self) -> u64 {
        match self.newest_point() {
            Some((newest, _)) => last_of_message(newest.message),
            None => *self.published.borrow(),
        }
    }

    /// Where the hooks of these numbers stand now; those that have left the journal are missing. They come in
    /// ascending order.
    pub fn find_hooks(&self, numbers: &[u64]) -> Result<Vec<HookHead>, StoreError> {
        if self.newest_point().is_some() {
            return self.find_logged_hooks(numbers);
        }
        let mut found = Vec::with_capacity(numbers.len());
        let mut rest = numbers;
        while let Some(&first) = rest.first() {
            let Some((segment, next)) = self.segment_with(first) else { break };
            let count = rest.partition_point(|seq| next.is_none_or(|next| *seq < next));
            let (here, others) = rest.split_at(count.max(1));
            rest = others;
            let last = here.last().copied().unwrap_or(first);
            let mut scanner = Scanner::new(&segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                if frame.seq > last {
                    break;
                }
                if here.binary_search(&frame.seq).is_ok() {
                    found.extend(head_of(&frame, offset, &segment));
                }
            }
        }
        Ok(found)
    }

    /// What is sent of a hook. It may have been packed meanwhile.
    pub fn hook_content(&self, head: &HookHead) -> Result<HookLookup, StoreError> {
        let Some((segment, _)) = self.segment_with(head.seq) else { return Ok(HookLookup::Moved) };
        if segment.packings() != head.packings {
            return Ok(HookLookup::Moved);
        }
        let mut scanner = Scanner::resume(&segment, head.offset)?;
        let mut body = Vec::new();
        let (mut content_type, mut b3) = (Vec::new(), Vec::new());
        for number in 0..head.pieces {
            let Some((_, frame)) = scanner.next_frame()? else { return Ok(HookLookup::Moved) };
            let ours = frame.kind == FrameKind::Outbox && frame.seq == head.seq + u64::from(number);
            let Some(piece) = Some(frame.body).filter(|_| ours).and_then(HookPiece::read) else {
                return Ok(HookLookup::Moved);
            };
            // What is sent is decided by what stands there, and not by its place.
            if piece.account != head.account {
                return Ok(HookLookup::Moved);
            }
            if number > 0 {
                body.extend_from_slice(piece.further());
            } else if let Some(first) = piece.first() {
                content_type = first.content_type.to_vec();
                b3 = first.b3.to_vec();
                body.extend_from_slice(first.body);
            }
        }
        Ok(HookLookup::Found(HookContent { content_type, b3, body: body.into() }))
    }

    /// Whether all calls of a hook are still there.
    ///
    /// # Errors
    /// It is not known at present.
    pub fn has_calls_of(&self, account: AccountSid, calls: &[CallSid]) -> Result<bool, StoreError> {
        for sid in calls {
            let id = CallId { account, sid: *sid };
            match self.newest(id) {
                Ok(Some((_, None))) => {}
                Ok(_) => return Ok(false),
                // While there is no index, no call is deleted that is not in memory.
                Err(_) if self.registry.read().holds(id) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

pub(super) fn head_of(frame: &Frame<'_>, offset: u64, segment: &Segment) -> Option<HookHead> {
    if frame.kind != FrameKind::Outbox {
        return None;
    }
    let piece = HookPiece::read(frame.body).filter(|piece| piece.number == 0)?;
    let first = piece.first()?;
    Some(HookHead {
        number: piece.logged.map_or(frame.seq, |logged| logged.number),
        origin: piece.logged.map(|logged| logged.origin),
        seq: frame.seq,
        at: frame.at,
        account: piece.account,
        applications: first.applications,
        calls: first.calls,
        pieces: piece.pieces,
        offset,
        packings: segment.packings(),
    })
}

/// The settings of the outbox among all rows.
pub(super) fn is_row(name: &str) -> bool {
    name == STATE || name.starts_with(TARGET)
}

/// The newest of some rows of the same names, each with its sequence number.
pub(super) fn newest_rows(rows: impl Iterator<Item = (u64, SettingRow)>) -> Vec<(u64, SettingRow)> {
    let mut newest: HashMap<String, (u64, SettingRow)> = HashMap::new();
    for (seq, row) in rows {
        let known = newest.get(&row.name).is_some_and(|(have, _)| *have >= seq);
        if !known {
            newest.insert(row.name.clone(), (seq, row));
        }
    }
    newest.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_hook_wakes_those_whom_it_is_for() {
        let outbox = Outbox::new();
        let account = |n: u8| AccountSid::from_bytes([n; 16]);
        for n in [1, 2] {
            let audience = Audience { account: account(n), applications: Vec::new() };
            let target = OutboxTarget::new(Progress::new(audience, 1));
            outbox.targets.write().insert(n.to_string(), target);
        }
        let hook = Hook {
            account: account(2),
            applications: None,
            calls: vec![CallSid::from_bytes([3; 16])],
            content_type: Vec::new(),
            b3: Vec::new(),
            body: Bytes::new(),
            origin: None,
        };
        let heads = [1, 2].map(|seq| hook.head((seq, 0, 1), None, clock::now()));
        let woken = outbox.accepted(heads.to_vec());
        let targets = outbox.targets.read();
        assert_eq!(woken.len(), 1);
        assert!(Arc::ptr_eq(&woken[0], &targets["2"].wake));
        let queued = |name: &str| targets[name].progress.lock().queued();
        assert_eq!((queued("1"), queued("2")), (0, 2));
    }

    #[test]
    fn what_is_listed_in_memory_is_bounded_however_many_calls_a_hook_has() {
        let outbox = Outbox::new();
        let calls = (0..HOOK_CALLS_MAX as u128).map(|n| CallSid::from_bytes(n.to_be_bytes()));
        let hook = Hook {
            account: AccountSid::from_bytes([1; 16]),
            applications: None,
            calls: calls.collect(),
            content_type: Vec::new(),
            b3: Vec::new(),
            body: Bytes::new(),
            origin: None,
        };
        let at = clock::now();
        for seq in 1..=20 {
            assert!(outbox.accepted(vec![hook.head((seq, 0, 1), None, at)]).is_empty());
        }
        let recent = outbox.recent.lock();
        assert_eq!((recent.hooks.len(), recent.sids), (8, RECENT_SIDS_MAX));
        assert_eq!(recent.complete_from, 13);
        drop(recent);
        let small = Hook { calls: Vec::new(), ..hook };
        outbox.accepted((21..40_000).map(|seq| small.head((seq, 0, 1), None, at)).collect());
        let recent = outbox.recent.lock();
        assert_eq!((recent.hooks.len(), recent.sids), (RECENT_MAX, 0));
    }
}
