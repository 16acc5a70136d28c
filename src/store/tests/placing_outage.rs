//! CDRs and their calls while there is no index, and after a crash in between.

use proptest::prelude::*;

use super::placing::{all, cdr, place, put, time, waiting, webhook};
use super::*;
use crate::keys::derived;

/// What is heard of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// A webhook, before the Call-ID of the SBC is known.
    Early,
    /// One that says that Call-ID.
    Learns,
    /// The last one.
    Ended,
    /// A CDR that has this Call-ID alone.
    Cdr,
    /// Another one.
    OtherCdr,
}

use Heard::{Cdr, Early, Ended, Learns, OtherCdr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Hear(Heard),
    /// The time of the CDRs that wait is over.
    Place,
    /// What is under the sid of the Call-ID is deleted.
    Delete,
    /// What is in memory goes into the index.
    Wake,
    Away,
    Back,
    Crash,
    /// A crash that costs the index.
    Loss,
}

use Step::{Away, Back, Crash, Delete, Hear, Loss, Place, Wake};

fn event_of(heard: Heard) -> StampedEvent {
    let mut event = match heard {
        Early => webhook(1, 1, "", CallStatus::Trying, 0),
        Learns => webhook(1, 1, "sbc-1", CallStatus::Ringing, 1),
        Ended => webhook(1, 1, "sbc-1", CallStatus::Completed, 39),
        Cdr => cdr(1, None, "sbc-1", CallStatus::NoAnswer),
        OtherCdr => cdr(1, None, "sbc-1", CallStatus::Completed),
    };
    match heard {
        Early => event.extras.clear(),
        OtherCdr => event.extras.push(("host".into(), "\"sbc\"".into())),
        _ => {}
    }
    event
}

fn mended(store: &Store) {
    until("the index is built again", || {
        store.shared.checkpointer.wake();
        store.ready().is_ok()
    });
}

/// The calls that are left in the end, without what is fixed when a call is registered.
fn after(steps: &[Step]) -> Vec<Call> {
    let mut dir = tempfile::tempdir().unwrap();
    let mut lost = false;
    let lives: Vec<_> = steps.split_inclusive(|step| matches!(step, Crash | Loss)).collect();
    for life in lives {
        let store = open(Options { sync: false, build_later: lost, ..options(dir.path()) });
        let next = tempfile::tempdir().unwrap();
        let lock = store.shared.index_writer.lock();
        let mut still = Some(lock).filter(|_| store.ready().is_err());
        for step in life {
            match step {
                Hear(heard) => {
                    let event = Change::Event(Box::new(event_of(*heard)));
                    store.submit(vec![event], time(0)).unwrap().wait().unwrap();
                }
                Delete => {
                    let deleted = Change::Delete(derived(account(1), "sbc-1"));
                    store.apply(&[deleted], time(0), false).unwrap();
                }
                Place if still.is_none() => place(&store, true),
                Wake if still.is_none() => until("calls leave memory", || {
                    store.shared.checkpointer.wake();
                    store.shared.view.registry.read().records() == 0
                }),
                Away if still.is_none() => {
                    still = Some(store.shared.index_writer.lock());
                    store.shared.view.set_index(Err("on purpose".to_owned()));
                }
                Back => {
                    still = None;
                    mended(&store);
                }
                Crash | Loss => {
                    lost = *step == Loss || !index_dir(dir.path()).is_dir();
                    if lost {
                        image_without_index(dir.path(), next.path());
                    } else {
                        crash_image(&store, next.path());
                    }
                }
                Place | Wake | Away => {}
            }
        }
        drop(still);
        drop(store);
        if life.last().is_some_and(|step| matches!(step, Crash | Loss)) {
            dir = next;
        }
    }
    let store = open(Options { sync: false, ..options(dir.path()) });
    place(&store, true);
    assert_eq!(waiting(&store), 0, "{steps:?}");
    assert_eq!(live_calls(&store, account(1)).unwrap()[0], store.meter().live_of(account(1)));
    let calls = all(&store, 1);
    until("calls leave memory", || {
        store.shared.checkpointer.wake();
        store.shared.view.registry.read().records() == 0
    });
    assert_eq!(all(&store, 1), calls, "{steps:?}");
    assert_sound(&store);
    let plain = |call: &Arc<Call>| Call { listed_at: Timestamp::default(), ..(**call).clone() };
    calls.iter().map(plain).collect()
}

/// The same, with no outage and no crash in between.
fn undisturbed(steps: &[Step]) -> Vec<Call> {
    let heard: Vec<_> =
        steps.iter().copied().filter(|step| matches!(step, Hear(_) | Place | Delete)).collect();
    after(&heard)
}

#[test]
fn without_an_index_a_cdr_and_its_call_become_one_in_whatever_order_they_come() {
    let scripts: &[&[Step]] = &[
        // The CDR is a call of its own, which the index has, and the call is in memory.
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(Learns), Back],
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(Learns), Hear(Ended), Back],
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(OtherCdr), Hear(Learns), Back],
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(Learns), Hear(OtherCdr), Back],
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(Learns), Crash],
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(Learns), Loss],
        &[Hear(Cdr), Place, Wake, Hear(Early), Away, Hear(Learns), Loss, Hear(Ended), Back],
        // Neither is in memory.
        &[Hear(Cdr), Place, Wake, Away, Hear(Learns), Hear(OtherCdr), Back],
        &[Hear(Cdr), Place, Wake, Away, Hear(OtherCdr), Hear(Learns), Back],
        &[Hear(Cdr), Place, Wake, Away, Hear(OtherCdr), Hear(Learns), Loss],
        // The call has taken the CDR already, and there is another one.
        &[Hear(Early), Hear(Cdr), Hear(Learns), Away, Hear(OtherCdr), Back],
        &[Hear(Early), Hear(Cdr), Hear(Learns), Wake, Away, Hear(OtherCdr), Back],
        &[Hear(Early), Hear(Cdr), Hear(Learns), Wake, Away, Hear(OtherCdr), Loss],
        &[Hear(Early), Hear(Cdr), Hear(Learns), Wake, Hear(Ended), Away, Hear(OtherCdr), Crash],
        // What the CDR said was deleted before the call came.
        &[Hear(Cdr), Place, Delete, Away, Hear(Learns), Hear(OtherCdr), Back],
        // The index alone knows whose the CDR is.
        &[Hear(Learns), Wake, Away, Hear(Cdr), Hear(OtherCdr), Back],
        &[Hear(Learns), Wake, Away, Hear(Cdr), Crash, Hear(OtherCdr)],
        &[Hear(Learns), Wake, Away, Hear(Cdr), Loss, Hear(OtherCdr)],
    ];
    let mut wrong = Vec::new();
    for script in scripts {
        let (calls, expected) = (after(script), undisturbed(script));
        assert_eq!(expected.len(), 1, "{script:?}");
        if calls != expected {
            wrong.push((script, calls));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_cdr_says_that_was_deleted_longer_ago_than_a_call_lives_waits_and_is_a_call() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(Options { max_lifetime_millis: 1, ..options(dir.path()) });
    put(&store, cdr(1, None, "sbc-1", CallStatus::Busy));
    place(&store, true);
    let alone = all(&store, 1)[0].id;
    store.apply(&[Change::Delete(alone)], time(0), false).unwrap();
    assert_eq!(put(&store, cdr(1, None, "sbc-1", CallStatus::Busy)).cdrs.waiting, 1);
    place(&store, true);
    assert_eq!((all(&store, 1).len(), waiting(&store)), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn outages_and_crashes_between_a_call_and_its_cdrs_do_not_matter(
        steps in Just(vec![
            Hear(Early), Hear(Learns), Hear(Ended), Hear(Cdr), Hear(OtherCdr), Hear(OtherCdr),
            Place, Wake, Wake, Away, Away, Back, Crash, Loss,
        ]).prop_shuffle(),
    ) {
        let expected = undisturbed(&steps);
        prop_assert_eq!(expected.len(), 1);
        prop_assert_eq!(after(&steps), expected);
    }
}
