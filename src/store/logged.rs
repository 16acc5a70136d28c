//! Changes as messages of the replicated log have them.

use std::sync::Arc;

use super::change::Change;
use super::outbox::{Hook, HookOrigin};
use crate::access::{Replaces, SettingRow};
use crate::codec::{LoggedChange, LoggedSetting, LoggedSubmission};
use crate::domain::{AccountSid, Timestamp};

/// A part of a message that means nothing to this store.
#[derive(Debug, thiserror::Error)]
#[error("a webhook of account {account} in it cannot be read")]
pub struct UnreadableHook {
    account: AccountSid,
}

/// A submission as a message has it.
pub fn logged(changes: &[Change], at: Timestamp) -> LoggedSubmission {
    let changes = changes.iter().map(|change| match change {
        Change::Event(event) => LoggedChange::Event(event.clone()),
        Change::Imported(event) => LoggedChange::Imported(event.clone()),
        Change::Record(call) => LoggedChange::Record(call.clone()),
        Change::Given(call, waits) => LoggedChange::Given(call.clone(), *waits),
        Change::Gone(id) => LoggedChange::Gone(*id),
        Change::Delete(id) => LoggedChange::Delete(*id),
        Change::Stale(id, heard_before) => LoggedChange::Stale(*id, *heard_before),
        Change::Expire(id) => LoggedChange::Expire(*id),
        Change::PlaceCdr { id, due } => LoggedChange::PlaceCdr { id: *id, due: *due },
        Change::Admin(row, replaces) => LoggedChange::Setting(LoggedSetting {
            name: row.name.as_str().into(),
            json: row.json.as_slice().into(),
            replaces: *replaces,
        }),
        Change::Forward(hook) => {
            let (account, content) = (hook.account, hook.content().into());
            match hook.origin {
                None => LoggedChange::Forward { account, content },
                Some(HookOrigin { id, nth }) => {
                    LoggedChange::GivenForward { account, origin: (id, nth), content }
                }
            }
        }
    });
    LoggedSubmission { at, changes: changes.collect() }
}

/// The setting that filler names.
pub const FILLER: &str = "filler";

/// A submission that has these bytes, 240 KiB at most, and changes nothing on any node: a setting that replaces what is nowhere.
pub fn without_effect(bytes: Vec<u8>, at: Timestamp) -> LoggedSubmission {
    // No content has that digest.
    let replaces = Replaces::Content([0; 16]);
    let setting = LoggedSetting { name: FILLER.into(), json: bytes.into(), replaces };
    LoggedSubmission { at, changes: vec![LoggedChange::Setting(setting)] }
}

/// The changes of a submission that was in a message.
pub fn changes_of(submission: LoggedSubmission) -> Result<Vec<Change>, UnreadableHook> {
    let changes = submission.changes.into_iter().map(|change| {
        Ok(match change {
            LoggedChange::Event(event) => Change::Event(event),
            LoggedChange::Imported(event) => Change::Imported(event),
            LoggedChange::Record(call) => Change::Record(call),
            LoggedChange::Given(call, waits) => Change::Given(call, waits),
            LoggedChange::Gone(id) => Change::Gone(id),
            LoggedChange::Delete(id) => Change::Delete(id),
            LoggedChange::Stale(id, heard_before) => Change::Stale(id, heard_before),
            LoggedChange::Expire(id) => Change::Expire(id),
            LoggedChange::PlaceCdr { id, due } => Change::PlaceCdr { id, due },
            LoggedChange::Setting(LoggedSetting { name, json, replaces }) => {
                Change::Admin(SettingRow { name: name.into(), json: json.into() }, replaces)
            }
            LoggedChange::Forward { account, content } => {
                Change::Forward(Arc::new(hook_of(account, &content)?))
            }
            LoggedChange::GivenForward { account, origin: (id, nth), content } => {
                let origin = Some(HookOrigin { id, nth });
                Change::Forward(Arc::new(Hook { origin, ..hook_of(account, &content)? }))
            }
        })
    });
    changes.collect()
}

fn hook_of(account: AccountSid, content: &[u8]) -> Result<Hook, UnreadableHook> {
    Hook::from_content(account, content).ok_or(UnreadableHook { account })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::codec;
    use crate::domain::{ApplicationSid, CallId, CallSid, samples};

    fn id() -> impl Strategy<Value = CallId> {
        (any::<[u8; 16]>(), any::<[u8; 16]>()).prop_map(|(account, sid)| CallId {
            account: AccountSid::from_bytes(account),
            sid: CallSid::from_bytes(sid),
        })
    }

    fn hook() -> impl Strategy<Value = Arc<Hook>> {
        let sids = || vec(any::<[u8; 16]>(), 0..4);
        let bytes = |most: usize| vec(any::<u8>(), 0..most);
        let origin = option::of(any::<([u8; 16], u16)>());
        let headers = (bytes(40), bytes(40));
        (any::<[u8; 16]>(), option::of(sids()), sids(), headers, bytes(400), origin).prop_map(
            |(account, applications, calls, (content_type, b3), body, origin)| {
                let named = |sids: Vec<_>| sids.into_iter().map(ApplicationSid::from_bytes);
                Arc::new(Hook {
                    account: AccountSid::from_bytes(account),
                    applications: applications.map(|sids| named(sids).collect()),
                    calls: calls.into_iter().map(CallSid::from_bytes).collect(),
                    content_type,
                    b3,
                    body: body.into(),
                    origin: origin.map(|(id, nth)| HookOrigin { id, nth }),
                })
            },
        )
    }

    fn setting() -> impl Strategy<Value = Change> {
        let replaces = prop_oneof![
            Just(Replaces::Anything),
            Just(Replaces::Nothing),
            any::<[u8; 16]>().prop_map(Replaces::Content),
        ];
        ("[a-z/0-9]{0,40}", vec(any::<u8>(), 0..300), replaces)
            .prop_map(|(name, json, replaces)| Change::Admin(SettingRow { name, json }, replaces))
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => samples::event().prop_map(|event| Change::Event(Box::new(event))),
            1 => samples::event().prop_map(|event| Change::Imported(Box::new(event))),
            1 => samples::call().prop_map(|call| Change::Record(Arc::new(call))),
            1 => (samples::call(), any::<bool>())
                .prop_map(|(call, waits)| Change::Given(Arc::new(call), waits)),
            1 => id().prop_map(Change::Delete),
            1 => id().prop_map(Change::Gone),
            1 => (id(), samples::time()).prop_map(|(id, at)| Change::Stale(id, at)),
            1 => id().prop_map(Change::Expire),
            1 => (id(), any::<bool>()).prop_map(|(id, due)| Change::PlaceCdr { id, due }),
            1 => setting(),
            1 => hook().prop_map(Change::Forward),
        ]
    }

    proptest! {
        /// What a submission is once it has been in the log is what it was before.
        #[test]
        fn a_submission_comes_out_of_a_message_as_it_went_in(
            changes in vec(change(), 0..6),
            at in samples::time(),
        ) {
            let submission = logged(&changes, at);
            let body = codec::encode_submission(&submission, 1).unwrap();
            let message = codec::assemble("node1", [7; 16], &[body]);
            let mut read = codec::decode_message(&message).unwrap();
            let read = read.submissions.pop().unwrap();
            prop_assert_eq!(&read, &submission);
            prop_assert_eq!(read.at, at);
            let again = changes_of(read).unwrap();
            prop_assert_eq!(format!("{again:?}"), format!("{changes:?}"));
            // What a change does not show of itself: the bodies of hooks.
            for (again, change) in again.iter().zip(&changes) {
                if let (Change::Forward(again), Change::Forward(hook)) = (again, change) {
                    prop_assert_eq!(again, hook);
                }
            }
        }
    }

    #[test]
    fn a_hook_that_is_none_is_an_error_that_names_its_account() {
        let account = AccountSid::from_bytes([0xa1; 16]);
        let change = LoggedChange::Forward { account, content: Box::new([1]) };
        let submission = LoggedSubmission { at: Timestamp::default(), changes: vec![change] };
        let told = changes_of(submission).unwrap_err().to_string();
        assert!(told.contains(&account.to_string()), "{told}");
    }
}
