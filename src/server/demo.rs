//! Sample calls, to try rollcall with.

use crate::domain::{
    AccountSid, CallField, CallId, CallSid, CallStatus, Direction, EventTimes, LeftOut, Source,
    StampedEvent, Timestamp,
};
use crate::ops::Failure;
use crate::store::{Change, Store};

pub const ACCOUNT: &str = "d0000000-0000-4000-8000-000000000001";

/// The stories of the sample calls: who calls, and each status with the seconds since the first.
const STORIES: [(Direction, &[(CallStatus, u64)]); 10] = {
    use CallStatus::{
        Alerting, Busy, Completed, EarlyMedia, Failed, InProgress, NoAnswer, Queued, Ringing,
        Trying,
    };
    use Direction::{Inbound, Outbound};
    [
        (Inbound, &[(Trying, 0), (Ringing, 1), (InProgress, 6), (Completed, 94)]),
        (Outbound, &[(Trying, 0), (Ringing, 2), (Busy, 3)]),
        (Inbound, &[(Trying, 0), (Ringing, 1), (NoAnswer, 31)]),
        (Outbound, &[(Trying, 0), (Failed, 1)]),
        (Inbound, &[(Trying, 0), (Ringing, 1), (InProgress, 9)]),
        (Outbound, &[(Trying, 0), (EarlyMedia, 2)]),
        (Inbound, &[(Trying, 0), (Alerting, 1)]),
        (Outbound, &[(Trying, 0), (Ringing, 1)]),
        (Inbound, &[(Trying, 0)]),
        (Outbound, &[(Queued, 0)]),
    ]
};
const CALLS: u64 = 25;
const MINUTE_MILLIS: u64 = 60_000;

/// Fills an empty store. False where it is not empty.
pub(super) fn fill(store: &Store, now: Timestamp) -> Result<bool, Failure> {
    if store.status().calls != Some(0) {
        return Ok(false);
    }
    let account: AccountSid =
        ACCOUNT.parse().map_err(|error| Failure::new(format!("{ACCOUNT}: {error}")))?;
    let mut changes = Vec::new();
    for (n, (direction, story)) in (1..=CALLS).zip(STORIES.iter().cycle()) {
        let mut sid = [0xd0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 1, 0];
        if let Some(last) = sid.last_mut() {
            *last = u8::try_from(n).unwrap_or(u8::MAX);
        }
        let begun = now.minus_millis((CALLS - n) * 2 * MINUTE_MILLIS + 2 * MINUTE_MILLIS);
        for (status, seconds) in *story {
            let at = begun.plus_millis(seconds * 1000);
            let mut texts: [Option<Box<str>>; CallField::ALL.len()] = Default::default();
            let mut put = |known: CallField, text: String| {
                if let Some(slot) = texts.get_mut(known as usize) {
                    *slot = Some(text.into());
                }
            };
            put(CallField::CallId, format!("demo-{n}@192.0.2.1"));
            put(CallField::From, format!("+1555010{:04}", n % 4));
            put(CallField::To, format!("+1555020{:04}", n % 7));
            put(CallField::ServiceUrl, "http://192.0.2.1:3000".to_owned());
            changes.push(Change::Event(Box::new(StampedEvent {
                id: CallId { account, sid: CallSid::from_bytes(sid) },
                source: Source::Webhook,
                stamp: EventTimes::live(at, Some(*status)),
                status: Some(*status),
                sip_status: None,
                sip_reason: None,
                duration: None,
                direction: *direction,
                texts,
                extras: Vec::new(),
                left_out: LeftOut::default(),
                unread: Vec::new(),
            })));
        }
    }
    store.apply(&changes, now, false)?;
    Ok(true)
}
