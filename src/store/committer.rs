//! The committer: the one thread that writes the journal and the registry.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use super::StoreError;
use super::applied::{self, PendingMessages};
use super::group::Group;
use super::kept;
use super::messages::{CheckpointNote, CommitterMessage};
use super::parts::{join_first, replace};
use super::state::Shared;
use crate::journal::{Batch, ChangeOrigin, FrameKind, JournalError, JournalWriter};

/// Runs until [`CommitterMessage::Stop`].
pub(super) fn run(shared: &Shared, mut writer: JournalWriter, jobs: &Receiver<CommitterMessage>) {
    let mut waiting = None;
    let mut messages = PendingMessages::default();
    let doing = shared.queue.doing.clone();
    loop {
        let job = waiting.take().map_or_else(
            || {
                doing.end();
                messages.next_job(jobs)
            },
            |job| Ok(Some(job)),
        );
        let Ok(job) = job else { return };
        match job {
            // A message is to be tried again.
            None => {}
            Some(CommitterMessage::Submit(first)) => {
                doing.begin("looking calls up");
                let mut group = Group::new(shared, &writer);
                group.take(first);
                #[cfg(test)]
                shared.health.strike("committer");
                while group.has_room() {
                    match jobs.try_recv() {
                        Ok(CommitterMessage::Submit(next)) => group.take(next),
                        Ok(other) => {
                            waiting = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                // Who sent them knows already how that went.
                let _told = group.commit(&mut writer);
            }
            Some(CommitterMessage::Apply(first)) => waiting = messages.take(first, jobs),
            Some(CommitterMessage::BeginLog(position, reply)) => {
                doing.begin("beginning a log");
                reply.send(applied::begin(shared, &mut writer, position));
            }
            Some(CommitterMessage::Keep(first)) => {
                doing.begin("keeping messages");
                waiting = kept::write(shared, &mut writer, first, jobs);
            }
            Some(CommitterMessage::Checkpoint(note, reply)) => {
                doing.begin("writing a checkpoint");
                let done = checkpoint(shared, &mut writer, &note);
                let done = done.map(|seq| {
                    shared.view.registry.write().published(seq);
                    // There is nothing new to see: no reader is woken for it.
                    shared.view.published.send_if_modified(|last| {
                        *last = seq;
                        false
                    });
                });
                reply.send(done);
            }
            Some(CommitterMessage::Settle(versions, reply)) => {
                doing.begin("letting calls leave memory");
                versions.settle(shared);
                reply.send(Ok(()));
                messages.try_again();
            }
            Some(CommitterMessage::Place(index, reply)) => {
                doing.begin("looking up calls in a new index");
                reply.send(join_first(shared, &mut writer, &index));
            }
            Some(CommitterMessage::Replace(index, known, reply)) => {
                doing.begin("changing to a new index");
                reply.send(replace(shared, &mut writer, &index, known));
                messages.try_again();
            }
            Some(CommitterMessage::BeginSegment(reply)) => {
                let begun = writer.begin_segment();
                reply.send(note(shared, &writer, begun));
            }
            #[cfg(test)]
            Some(CommitterMessage::Do(act)) => act(),
            Some(CommitterMessage::Stop) => return,
        }
        messages.apply(shared, &mut writer);
    }
}

/// Writes and syncs a batch.
pub(super) fn append(
    shared: &Shared,
    writer: &mut JournalWriter,
    batch: Batch,
) -> Result<(), StoreError> {
    let appended = writer.append(batch).map(|_| ());
    if let Some(time) = writer.take_sync_time() {
        shared.view.meter.sync_time.observe_time(time);
    }
    note(shared, writer, appended)
}

/// Lets readers know of the present segment, and the process of a journal that has failed.
fn note(
    shared: &Shared,
    writer: &JournalWriter,
    done: Result<(), JournalError>,
) -> Result<(), StoreError> {
    if writer.has_failed() {
        let reason = done.err().map(|error| super::error::chain(&error));
        let reason = reason.unwrap_or_else(|| "it takes nothing more".to_owned());
        if shared.health.failed.borrow().is_none() {
            shared.health.journal_failed(&reason);
        }
        return Err(StoreError::Failed(reason));
    }
    // A new segment may have been begun even where a batch itself found no space.
    let mut segments = shared.view.segments.write();
    let current = Arc::new(writer.segment().clone());
    match segments.last_mut() {
        Some(last) if last.first_seq == current.first_seq => *last = current,
        _ => segments.push(current),
    }
    drop(segments);
    done.map_err(StoreError::from)
}

/// Writes the checkpoint into the journal. Returns the sequence number of its frame.
pub(super) fn checkpoint(
    shared: &Shared,
    writer: &mut JournalWriter,
    note: &CheckpointNote,
) -> Result<u64, StoreError> {
    let mut batch = writer.batch();
    let log = shared.log_note(writer);
    let kept_from = log.as_ref().map(|log| log.oldest_kept.unwrap_or(batch.next_seq()));
    batch.push(note.at, ChangeOrigin::Admin, FrameKind::Checkpoint, &note.body(log))?;
    let last_seq = batch.next_seq() - 1;
    append(shared, writer, batch)?;
    if let Some(from) = kept_from {
        shared.kept.note(from);
    }
    shared.newest_checkpoint.store(last_seq, Ordering::Release);
    Ok(last_seq)
}
