//! The outbox of a node: hooks by their numbers in the log, and what another node has stored of its targets.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;

use super::hook::{last_of_message, message_of};
use super::{
    Audience, FoundHooks, HookHead, HookReader, LOOK_BYTES, Outbox, OutboxTarget, Progress, STATE,
    Span, StateRow, TARGET, head_of,
};
use crate::access::SettingRow;
use crate::journal::{Frame, Scanner, Segment};
use crate::store::StoreError;
use crate::store::log_map::LogPoint;
use crate::store::open::Store;
use crate::store::state::{Shared, View};

impl Outbox {
    /// Whether this store sends hooks from now on.
    pub fn sends(&self, sends: bool) {
        self.sends.store(sends, Ordering::Release);
    }

    /// A log begins after this message, or goes back to it: what is listed in memory begins there, and numbers of later
    /// messages say nothing. Who sends begins anew, with what is stored of the targets by then.
    pub fn began(&self, message: u64) {
        let last = last_of_message(message);
        let mut recent = self.recent.lock();
        recent.hooks.clear();
        (recent.sids, recent.complete_from) = (0, last.saturating_add(1));
        drop(recent);
        self.sends(false);
        for target in self.targets.read().values() {
            target.progress.lock().back_to(last);
        }
        self.began.send_replace(());
    }

    /// A row of the outbox was applied, here as on every node. What it says of a target counts where this node does
    /// not send. Who wrote it knew no hook after the `last` one that a log has by now, where there is one.
    pub fn stored(&self, row: &SettingRow, last: Option<u64>) {
        if row.name == STATE {
            let Ok(state) = serde_json::from_slice::<StateRow>(&row.json) else { return };
            self.paused.store(state.paused, Ordering::Release);
            *self.said.lock() = Some(state.epoch);
            self.announce();
            return;
        }
        let Some(name) = row.name.strip_prefix(TARGET) else { return };
        if self.sends.load(Ordering::Acquire) {
            return;
        }
        let mut targets = self.targets.write();
        match Progress::read(&row.json) {
            Some(mut progress) => {
                progress.back_to(last.unwrap_or(u64::MAX));
                match targets.get(name) {
                    Some(target) => *target.progress.lock() = progress,
                    None => drop(targets.insert(name.to_owned(), OutboxTarget::new(progress))),
                }
            }
            None if row.json.is_empty() => drop(targets.remove(name)),
            None => tracing::error!(target_name = name, "how far a target has got cannot be read"),
        }
    }
}

impl Store {
    /// Whether this store sends hooks from now on. While it does not, what is stored of the targets counts.
    pub fn sends_hooks(&self, sends: bool) {
        self.shared.outbox.sends(sends);
    }
}

impl Store {
    /// Says when the log begins anew, or goes back: what is sent is found anew then.
    pub fn hooks_begin_anew(&self) -> watch::Receiver<()> {
        self.shared.outbox.began.subscribe()
    }
}

impl Shared {
    /// Hooks before this sequence number are needed by no target.
    pub fn oldest_needed_hook(&self) -> u64 {
        self.view.first_sequence(self.outbox.oldest_needed())
    }
}

impl View {
    /// A sequence number that no hook of this number, or of a later one, comes before.
    fn first_sequence(&self, number: u64) -> u64 {
        let Some(message) = message_of(number).filter(|_| number < u64::MAX) else { return number };
        let before = LogPoint::end_of(message.saturating_sub(1));
        match self.sequence_of(before) {
            Ok(seq) => seq + 1,
            // It is yet to come.
            Err(StoreError::Behind { .. }) => self.published.borrow().saturating_add(1),
            // What is older than the journal begins with it.
            Err(_) => 0,
        }
    }

    /// The segments that have frames from this sequence number on.
    fn segments_from(&self, seq: u64) -> Vec<Arc<Segment>> {
        let segments = self.segments.read();
        let next = segments.partition_point(|segment| segment.first_seq <= seq);
        segments.get(next.saturating_sub(1)..).unwrap_or_default().to_vec()
    }

    /// Whether a hook, whose first frame is this one, is of a life of the log that is over: its number is given again.
    pub(in crate::store) fn is_hook_over(&self, seq: u64, number: u64) -> bool {
        message_of(number).is_some_and(|message| self.log.is_over(seq, message))
    }

    /// The same of one that was found in the journal.
    pub(in crate::store) fn is_over(&self, head: &HookHead) -> bool {
        self.is_hook_over(head.seq, head.number)
    }

    /// The head of a hook that begins with this frame, unless it is of a life of the log that is over.
    fn logged_head_of(
        &self,
        frame: &Frame<'_>,
        offset: u64,
        segment: &Segment,
    ) -> Option<HookHead> {
        head_of(frame, offset, segment).filter(|head| !self.is_over(head))
    }

    /// A number that no hook before the end of this frame is beyond, and none after it is not.
    fn number_at(&self, frame: &Frame<'_>) -> Result<Option<u64>, StoreError> {
        Ok(self.message_of(frame)?.map(last_of_message))
    }

    /// The next hooks of a span up to `last`, some at most. As [`Store::read_hooks`], and of as many segments as have
    /// to be read to say how far it was.
    pub(super) fn read_logged_hooks(
        &self,
        reader: &mut HookReader,
        span: Span,
        last: u64,
        audience: &Audience,
        most: usize,
    ) -> Result<FoundHooks, StoreError> {
        let next = span.next;
        let begun = reader.segment.take().filter(|_| reader.next == next);
        let mut segments = self.segments_from(self.first_sequence(next));
        if let Some(place) = begun
            .as_ref()
            .and_then(|(path, _)| segments.iter().position(|segment| segment.path == *path))
        {
            segments.drain(..place);
        }
        let (mut hooks, mut read) = (Vec::new(), 0);
        for segment in &segments {
            let resumed = begun.as_ref().filter(|(path, _)| *path == segment.path);
            let mut scanner = match resumed {
                Some((_, offset)) => Scanner::resume(segment, *offset)?,
                None => Scanner::new(segment)?,
            };
            let begin = scanner.offset();
            while let Some((offset, frame)) = scanner.next_frame()? {
                let stop = |reader: &mut HookReader, offset: u64, next: u64| {
                    reader.segment = Some((segment.path.clone(), offset));
                    reader.next = next;
                };
                if let Some(head) = self.logged_head_of(&frame, offset, segment) {
                    if head.number > last {
                        return Ok(FoundHooks { hooks, read_to: last, is_all: false });
                    }
                    if head.number < next || !audience.has_hook(&head) {
                        continue;
                    }
                    if hooks.len() == most {
                        stop(reader, offset, head.number);
                        let read_to = head.number - 1;
                        return Ok(FoundHooks { hooks, read_to, is_all: false });
                    }
                    hooks.push(head);
                } else if let Some(ended) = self.number_at(&frame)? {
                    if ended >= last {
                        return Ok(FoundHooks { hooks, read_to: last, is_all: false });
                    }
                    let bytes = read + offset.saturating_sub(begin);
                    if ended >= next && bytes > LOOK_BYTES {
                        stop(reader, scanner.offset(), ended + 1);
                        return Ok(FoundHooks { hooks, read_to: ended, is_all: false });
                    }
                }
            }
            read += scanner.offset().saturating_sub(begin);
        }
        Ok(FoundHooks { hooks, read_to: last, is_all: false })
    }

    /// Where the hooks of these numbers stand now, in ascending order.
    pub(super) fn find_logged_hooks(&self, numbers: &[u64]) -> Result<Vec<HookHead>, StoreError> {
        let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else {
            return Ok(Vec::new());
        };
        let mut found = Vec::with_capacity(numbers.len());
        for segment in self.segments_from(self.first_sequence(first)) {
            let mut scanner = Scanner::new(&segment)?;
            while let Some((offset, frame)) = scanner.next_frame()? {
                let Some(head) = self.logged_head_of(&frame, offset, &segment) else { continue };
                if head.number > last {
                    return Ok(found);
                }
                if numbers.binary_search(&head.number).is_ok() {
                    found.push(head);
                }
            }
            if found.len() == numbers.len() {
                break;
            }
        }
        Ok(found)
    }
}
