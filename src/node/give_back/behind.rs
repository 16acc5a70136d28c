//! What the log has behind the place from which a node goes on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::sleep;

use super::rows::{Own, Rows, needs_order};
use super::{GiveError, Given, given_by};
use crate::cluster::{ApiError, Log, ReadError, StoredMessage, message_crc};
use crate::codec::{LoggedChange, LoggedSetting, LoggedSubmission, Message, decode_message};
use crate::domain::CallId;
use crate::store::{Store, chain};

/// Pause where a replica does not have yet what the log has.
const PAUSE: Duration = Duration::from_millis(10);

/// Read on and on, and never twice. It keeps of each setting one value, and nothing of calls that the node has not to give.
pub(super) struct Behind {
    /// The last message that was read.
    pub last: u64,
    /// Its CRC; none where no message was read yet.
    crc: Option<u32>,
    /// Messages that end what somebody has given, where they count.
    pub ends: Vec<(u64, Given)>,
    pub calls: Calls,
    pub rows: Rows,
    /// Of what was lost, how far this node had come.
    life: String,
    to: u64,
}

/// What is said of calls that the node has to give.
#[derive(Debug, Default)]
pub(super) struct Calls {
    changed: BTreeSet<CallId>,
    deleted: HashSet<CallId>,
    /// Something was heard of them, and nothing since that they are stale.
    heard: HashSet<CallId>,
    /// Their time was over though something was heard of them.
    expired: HashSet<CallId>,
}

impl Calls {
    fn note(&mut self, change: &LoggedChange) {
        let is_given = |id: &CallId| self.changed.contains(id);
        match change {
            LoggedChange::Delete(id) | LoggedChange::Gone(id) if is_given(id) => {
                self.deleted.insert(*id);
            }
            // Those that have followed the log have deleted it, unless it was active there. Where it was, nothing but what
            // was heard behind the place says so.
            LoggedChange::Expire(id) if is_given(id) => {
                let is_heard = self.heard.contains(id);
                (if is_heard { &mut self.expired } else { &mut self.deleted }).insert(*id);
            }
            LoggedChange::Stale(id, _) => {
                self.heard.remove(id);
            }
            LoggedChange::Event(event) if is_given(&event.id) => {
                self.heard.insert(event.id);
            }
            _ => {}
        }
    }

    /// Whether a call is deleted where the log was followed, or may be. `is_live` where it is active here.
    pub fn is_gone(&self, id: CallId, is_live: bool) -> bool {
        self.deleted.contains(&id) || !is_live && self.expired.contains(&id)
    }

    /// All of which that may be so.
    pub fn gone(&self) -> impl Iterator<Item = CallId> {
        self.deleted.union(&self.expired).copied()
    }
}

impl Behind {
    /// Nothing was read yet behind this message. `own` is what the node is to give, where it has anything.
    pub fn new(
        after: u64,
        calls: BTreeSet<CallId>,
        settings: BTreeMap<String, Vec<u8>>,
        own: (String, u64),
    ) -> Self {
        let (life, to) = own;
        let calls = Calls { changed: calls, ..Calls::default() };
        let rows = Rows::new(settings, after);
        Self { last: after, crc: None, ends: Vec::new(), calls, rows, life, to }
    }

    /// What the next message says of what was looked at before it.
    pub fn looked_at(&self) -> (u64, Option<u32>) {
        (self.last, self.crc)
    }

    /// Reads all that the log has now.
    pub async fn read_to_end(&mut self, log: &Log, store: &Store) -> Result<(), GiveError> {
        let last = log.bounds().await?.last;
        if last < self.last {
            return Err(GiveError::WentBack);
        }
        self.read_to(log, store, last).await
    }

    /// Reads up to and with a message that the log has.
    pub async fn read_to(&mut self, log: &Log, store: &Store, seq: u64) -> Result<(), GiveError> {
        while self.last < seq {
            let messages = log.read_after(self.last).await?;
            if messages.is_empty() {
                sleep(PAUSE).await;
                if log.bounds().await?.last < seq {
                    return Err(GiveError::WentBack);
                }
            }
            for stored in messages {
                self.note(log, store, stored).await?;
            }
        }
        Ok(())
    }

    /// Whether the last message that was read is still there.
    pub async fn is_there(&self, log: &Log) -> Result<bool, GiveError> {
        let Some(crc) = self.crc else { return Ok(true) };
        let found = log.message_at(self.last).await?;
        Ok(found.is_some_and(|stored| message_crc(&stored.bytes) == crc))
    }

    async fn note(
        &mut self,
        log: &Log,
        store: &Store,
        stored: StoredMessage,
    ) -> Result<(), GiveError> {
        let message = decode_message(&stored.bytes)?;
        let given = given_by(&message);
        let counts = match &given {
            Some(given) => {
                let counts = counts(log, stored.seq, given, &message).await?;
                counts.ok_or(GiveError::WentBack)?
            }
            None => true,
        };
        (self.last, self.crc) = (stored.seq, Some(message_crc(&stored.bytes)));
        if !counts {
            return Ok(());
        }
        for submission in &message.submissions {
            submission.changes.iter().for_each(|change| self.calls.note(change));
            let settings: Vec<_> = settings(submission).collect();
            if let Some(given) = &given {
                let is_older = given.life == self.life && given.to < self.to;
                self.rows.given(&settings, is_older);
            } else {
                let own = |name: &str| {
                    store.access(|access| Own {
                        digest: access.digest(name),
                        is_removed: access.is_removed(name),
                    })
                };
                self.rows.submitted(&settings, own);
            }
        }
        self.ends.extend(given.filter(|given| given.ends).map(|given| (stored.seq, given)));
        Ok(())
    }
}

fn settings(submission: &LoggedSubmission) -> impl Iterator<Item = &LoggedSetting> {
    submission.changes.iter().filter_map(|change| match change {
        LoggedChange::Setting(row) => Some(row),
        _ => None,
    })
}

/// The settings of a message that are right only where nobody else has set them meanwhile.
fn names(message: &Message) -> impl Iterator<Item = &str> {
    let settings = message.submissions.iter().flat_map(settings).map(|row| &*row.name);
    settings.filter(|name| needs_order(name))
}

/// Whether a message counts that is given back: where the log is the one that was looked at for it, and none of its
/// settings was set since. That depends on the log alone, and is the same for all who read it. None where the log has lost
/// the message meanwhile.
///
/// # Errors
/// The messages since cannot be read.
pub(super) async fn counts(
    log: &Log,
    seq: u64,
    given: &Given,
    message: &Message,
) -> Result<Option<bool>, ReadError> {
    let own: HashSet<&str> = names(message).collect();
    let mut last = given.behind.saturating_sub(u64::from(given.crc.is_some()));
    if given.behind >= seq {
        return Ok(Some(false));
    }
    // Nothing of it depends on what stands between: that may be much, or be trimmed by now.
    if own.is_empty() && given.crc.is_none() {
        return Ok(Some(true));
    }
    while last + 1 < seq {
        let messages = log.read_after(last).await?;
        if messages.is_empty() {
            sleep(PAUSE).await;
            if log.bounds().await?.last < seq {
                // Unless a leader says so that is cut off.
                log.settle().await?;
                if log.bounds().await?.last < seq {
                    return Ok(None);
                }
            }
        }
        for stored in messages.iter().take_while(|stored| stored.seq < seq) {
            last = stored.seq;
            if last == given.behind {
                if given.crc != Some(message_crc(&stored.bytes)) {
                    return Ok(Some(false));
                }
                continue;
            }
            let between = decode_message(&stored.bytes).map_err(|error| {
                ApiError::Unreadable(format!("message {}: {}", stored.seq, chain(&error)))
            })?;
            if names(&between).any(|name| own.contains(name)) {
                return Ok(Some(false));
            }
        }
    }
    Ok(Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AccountSid, CallSid, CallStatus, Timestamp, samples};

    fn id(n: u8) -> CallId {
        CallId { account: AccountSid::from_bytes([1; 16]), sid: CallSid::from_bytes([n; 16]) }
    }

    #[test]
    fn a_call_is_given_as_a_deletion_unless_it_is_known_to_be_active_everywhere() {
        let at = Timestamp::default();
        let event = samples::bare_event(id(1), Some(CallStatus::Ringing), at);
        let heard = LoggedChange::Event(Box::new(event));
        let (stale, expire) = (LoggedChange::Stale(id(1), at), LoggedChange::Expire(id(1)));
        let delete = LoggedChange::Delete(id(1));
        for (changes, is_gone, is_gone_if_live) in [
            (vec![&heard], false, false),
            (vec![&delete], true, true),
            (vec![&heard, &delete, &heard], true, true),
            (vec![&expire], true, true),
            (vec![&heard, &expire], true, false),
            (vec![&heard, &stale, &expire], true, true),
            (vec![&stale, &heard, &expire], true, false),
        ] {
            let mut calls = Calls { changed: [id(1)].into(), ..Calls::default() };
            for change in &changes {
                calls.note(change);
            }
            let found = (calls.is_gone(id(1), false), calls.is_gone(id(1), true));
            assert_eq!(found, (is_gone, is_gone_if_live), "{changes:?}");
            assert_eq!(calls.gone().count(), usize::from(is_gone));
        }
        // Nothing is kept of others.
        let mut calls = Calls::default();
        for change in [&heard, &delete, &expire] {
            calls.note(change);
        }
        assert_eq!(calls.gone().count() + calls.heard.len(), 0);
    }
}
